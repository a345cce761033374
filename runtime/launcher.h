/* This file is the protocol between front and launcher: fixed-layout frames on a SOCK_SEQPACKET
 * socket, one request or reply per message, with descriptors attached (docs/adr/0012). Data only.
 *
 * The launcher answers each request exactly once, in any order, by its `ticket`. It believes of a
 * request nothing but (row, incarnation) of this instance; everything else is checked. A message
 * that launcher_request_check() refuses ends the connection: a front that sends such a thing is not
 * ours. Each request can be repeated: "already so" is success.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/files.h"
#include "runtime/gateway/gateway.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LAUNCHER_VERSION = 2,
    LAUNCHER_MAGIC = 0x62726c61, /* "brla" */
    LAUNCHER_FDS_MAX = 4,
    LAUNCHER_NOTES_MAX = 32,
    LAUNCHER_LIST_MAX = 64,
};

/* symbol, name, descriptors that must come with it (fewest, most) */
#define LAUNCHER_REQUESTS(X)                                                                     \
    X(LAUNCH, "launch", 1, 2) /* sealed memfd of struct spec [, the client's socket] */          \
    X(END, "end", 0, 0)       /* kill, remove, prove gone */                                     \
    X(FREEZE, "freeze", 0, 0)                                                                    \
    X(THAW, "thaw", 0, 0)                                                                        \
    X(LOOK, "look", 0, 0)     /* what of this incarnation is there: enum session_found */        \
    X(LIST, "list", 0, 0)     /* names of this instance after (row, incarnation) */              \
    X(SAMPLE, "sample", 0, 0) /* usage counters of a living one */                               \
    X(FILES, "files", 2, 4)   /* file operation on the workspace of a session that does not run: \
                                 sealed memfd of struct launcher_files, pipe for its answer      \
                                 [, pipe of data] [, the client's socket: directories] */        \
    X(VOLUME_REMOVE, "volume_remove", 0, 0)                                                      \
    X(VOLUME_MEASURE, "volume_measure", 0, 0)                                                    \
    X(NETWORK, "network", 1, 1) /* other rules for a session that lives (NET-6): sealed memfd of \
                                   struct spec_network, in force as `generation` */              \
    X(PORTS, "ports", 0, 0)     /* what of the host leads into one that lives */                 \
    X(CANCEL, "cancel", 0, 0)   /* give up the worker of the request with this `ticket` (a slow  \
                                   disk); both are answered */

enum launcher_request_type {
    LAUNCHER_REQUEST_NONE = 0,
#define X(symbol, name, fewest, most) LAUNCHER_##symbol,
    LAUNCHER_REQUESTS(X)
#undef X
        LAUNCHER_REQUEST_END
};

/* What the memfd of FILES holds: what to do, and whose workspace it is. */
struct launcher_files {
    struct files_request request;
    struct spec spec;
};

/* Who a session's init is; survives every process of berth. */
struct session_identity {
    char boot_id[40];
    int64_t init_pid, init_start; /* field 22 of stat(5) */
    int64_t cgroup_inode, netns_inode;
    int64_t uid_base, uid_count;
};

struct launcher_request {
    uint32_t magic;
    uint16_t version, type;
    uint64_t ticket;
    int64_t row, incarnation;
    char instance[24];
    uint64_t epoch;       /* LAUNCH */
    uint64_t generation;  /* LAUNCH, NETWORK: revision of the network's rules, from 1. Asked again
                             with the one in force: done again; with an older one: refused */
    uint32_t deadline_ms; /* LAUNCH: SES-5 */
    uint32_t read_only;   /* FILES: archived */
    char workspace_id[SPEC_ID_MAX + 8], volume[SPEC_ID_MAX + 8]; /* VOLUME_* */
    struct session_identity identity;                            /* LOOK: what the ledger says */
};

enum session_found {
    SESSION_FOUND_ABSENT = 1, /* nothing */
    SESSION_FOUND_WHOLE,      /* every part, and it is the one of `identity` */
    SESSION_FOUND_BROKEN,     /* something, but init is dead or a part is missing */
    SESSION_FOUND_OTHER,      /* lives, but is not what `identity` says */
};

struct launcher_note {
    char key[64], text[384];
};

/* What was built, read back (CAP-4). */
struct launcher_effective {
    uint32_t landlock_abi, cgroup_layout, namespaces, default_uid_host;
    char seccomp_hash[65], spec_hash[65], reserved[2];
    struct spec_limits limits;
    uint64_t kernel_memory_bytes;
    uint64_t phase_us[8];
};

/* Published ports of a living session, in the order of its spec. */
struct launcher_published {
    uint32_t count;
    uint32_t open;                               /* bit i: the gateway listens for ports[i] */
    uint32_t six;                                /* at ::1 too */
    struct spec_publish ports[SPEC_PUBLISH_MAX]; /* host_port: the one that was had */
    /* Why it is not open, where that is known: somebody has it; ports below the host's
     * ip_unprivileged_port_start are nobody's. */
    uint32_t taken, barred;
};

struct launcher_sample {
    uint64_t cpu_ns, memory_bytes, memory_peak_bytes, net_tx_bytes, net_rx_bytes, pids;
    uint64_t disk_bytes; /* UINT64_MAX: not measured */
    /* By the ruleset since the session's start, whoever was served; all 0: it has no network. */
    uint64_t network[NETWORK_COUNTER_COUNT];
};

/* What a session had used when it ended (USE-1): read when nothing of it ran any more and before
 * its counters were removed. What it held of memory, and its processes, are those of before it was
 * killed. */
struct launcher_last {
    uint32_t taken, reserved; /* taken 0: nobody can tell any more, or nothing counts here */
    struct launcher_sample sample;
};

struct launcher_name {
    int64_t row, incarnation;
};

struct launcher_reply {
    uint32_t magic;
    uint16_t version, type; /* of the request; LAUNCHER_REQUEST_END: DIED, nobody asked */
    uint64_t ticket;
    int64_t row, incarnation;
    int32_t result; /* 0 or -errno, then `err` says it */
    uint32_t found; /* LOOK */
    struct err err;
    struct session_identity identity; /* LAUNCH, LOOK; LIST: this boot alone */
    union {
        struct {
            struct launcher_effective effective;
            uint32_t note_count, reserved;
            struct launcher_note notes[LAUNCHER_NOTES_MAX];
            struct launcher_last last; /* END; also of one that failed */
        } launched;                    /* LAUNCH; notes of END too */
        struct launcher_sample sample;
        struct {
            uint32_t cut, reserved; /* connections that the new rules refuse */
            struct launcher_published published;
        } network; /* PORTS: `published` alone */
        struct {
            uint32_t count, more;
            struct launcher_name names[LAUNCHER_LIST_MAX];
        } list;
    };
};

/* NULL when well-formed: size, magic, version, type, number of descriptors, NUL-termination, ids by
 * grammar, row and incarnation positive (LIST, VOLUME_* and CANCEL: not negative), instance only
 * [0-9a-f], volume ids where and only where they mean something. Else what is wrong. Pure. */
const char *launcher_request_check(const struct launcher_request *request, size_t length,
                                   unsigned fd_count);
const char *launcher_reply_check(const struct launcher_reply *reply, size_t length);
const char *launcher_request_name(unsigned type);
