/* This file is the narrow waist between policy and mechanism: what to build, as plain data.
 *
 * A struct spec holds no pointer and no descriptor, only fixed-size fields, so that it can be
 * compared, hashed, stored and sent between processes as bytes. It says *what*; how and with
 * which host resources is the runtime's own business. Every string is NUL-terminated within its
 * array and unused bytes are zero (spec_init() sees to it), so two equal specs are equal bytes.
 *
 * The policy layer fills it (policy_compile()), the command line or the API adds what a policy
 * does not carry (ids, the workspace), spec_check() proves its shape before anything privileged
 * reads it. Sizes are in bytes, times in milliseconds. Any process may call.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SPEC_VERSION = 2,
    SPEC_ID_MAX = 64,      /* longest id that a client may choose */
    SPEC_PATH_MAX = 1024,  /* bytes of a path, with its NUL */
    SPEC_MOUNTS_MAX = 32,  /* extra read_only and read_write mounts */
    SPEC_PROTECT_MAX = 96, /* protected paths in the workspace */
    SPEC_PROTECT_PATH_MAX = 256,
    SPEC_SECCOMP_ALLOW_MAX = 64,
    SPEC_ENV_MAX = 16384, /* bytes of policy environment, "K=V" strings one after another */
    SPEC_RULES_MAX = 256, /* network rules of each kind */
    SPEC_HOST_MAX = 254,
    SPEC_PORTS_MAX = 16,
    SPEC_PUBLISH_MAX = 16, /* published ports */
    /* Programs of a session with a network may listen from here on; the ports below it, the
     * resolver's and the gateway's among them, are nobody's inside. */
    SPEC_PORT_FIRST = 54,
};

enum spec_image_kind { SPEC_IMAGE_HOST = 1, SPEC_IMAGE_DIR, SPEC_IMAGE_NAME };

enum spec_workspace_kind {
    SPEC_WORKSPACE_NONE = 0, /* nothing durable: a tmpfs of the scratch is at mount_path */
    SPEC_WORKSPACE_DIRECTORY,
    SPEC_WORKSPACE_VOLUME,
    SPEC_WORKSPACE_TMPFS,
    SPEC_WORKSPACE_DISK,     /* not built: refused as a capability */
    SPEC_WORKSPACE_SNAPSHOT, /* not built: refused as a capability */
};

enum spec_egress { SPEC_EGRESS_DENY = 1, SPEC_EGRESS_PUBLIC_ONLY, SPEC_EGRESS_ALLOW };

enum spec_seccomp_profile { SPEC_SECCOMP_DEFAULT = 1, SPEC_SECCOMP_STRICT, SPEC_SECCOMP_DEBUG };

/* The user that commands run as, inside. uid and gid are those of the session's own id space. */
enum {
    SPEC_UID_ROOT = 0,
    SPEC_UID_USER = 1000,
    SPEC_UID_INIT = 65533,   /* PID 1's own; no command may have it */
    SPEC_UID_NOBODY = 65534, /* owns what the session may only read (adr/0018); no command's */
    SPEC_UID_SPAN = 65536,
};

struct spec_mount {
    char source[SPEC_PATH_MAX]; /* host path, absolute */
    char target[SPEC_PATH_MAX]; /* path inside, absolute */
    uint8_t read_only;
    uint8_t reserved[7];
};

struct spec_protect {
    char path[SPEC_PROTECT_PATH_MAX]; /* relative to the workspace, normalised, without ".." */
    uint8_t is_default; /* from a preset: when it cannot be held that is reported, not refused */
    uint8_t home;       /* a missing one is held only where the workspace is a home directory */
    uint8_t home_sign;  /* where it exists, the workspace is taken for a home directory */
    uint8_t reserved[5];
};

struct spec_rule {
    char host[SPEC_HOST_MAX]; /* canonical name or wildcard; empty for a cidr rule */
    uint8_t family;           /* 4 or 6 for a cidr rule, 0 for a host rule */
    uint8_t prefix;           /* length of the cidr prefix in bits */
    uint8_t address[16];      /* network byte order */
    uint16_t port_count;      /* 0: every port */
    uint16_t ports[SPEC_PORTS_MAX];
};

/* A port of the session that the host's loopback leads to. */
struct spec_publish {
    uint16_t host_port; /* 0: any that is free */
    uint16_t port;      /* inside */
};

/* What a session may reach (contract §6). */
struct spec_network {
    uint32_t egress; /* enum spec_egress */
    uint8_t sni_match;
    uint8_t allow_private;
    uint16_t reserved;
    uint32_t allow_count, deny_count, publish_count;
    struct spec_publish publish[SPEC_PUBLISH_MAX];
    struct spec_rule allow[SPEC_RULES_MAX];
    struct spec_rule deny[SPEC_RULES_MAX];
};

/* Bits of struct spec_limits.asked: which limits somebody asked for by name (a file, a flag, a
 * body), as against a preset's default. CAP-2: what was asked for is had or refused. */
enum {
    SPEC_LIMIT_MEMORY = 1u << 0,
    SPEC_LIMIT_CPU = 1u << 1,
    SPEC_LIMIT_PIDS = 1u << 2,
    SPEC_LIMIT_OPEN_FILES = 1u << 3,
    SPEC_LIMIT_SCRATCH_BYTES = 1u << 4,
    SPEC_LIMIT_SCRATCH_INODES = 1u << 5,
    SPEC_LIMIT_IO = 1u << 6,
};

struct spec_limits {
    uint64_t memory_bytes;  /* 0: no limit. The kernel's limit is memory + scratch */
    uint64_t scratch_bytes; /* root filesystem upper, /tmp, /home, /var and /run together */
    uint64_t scratch_inodes;
    uint64_t cpu_millis;      /* thousandths of a CPU; 0: all */
    uint64_t pids;            /* processes and threads; 0: no limit */
    uint64_t open_files;      /* RLIMIT_NOFILE of every command, soft and hard */
    uint64_t output_bytes;    /* kept output of one exec */
    uint64_t exec_timeout_ms; /* 0: none */
    uint32_t asked;           /* SPEC_LIMIT_* */
    uint32_t reserved;
};

struct spec {
    uint32_t version; /* SPEC_VERSION */
    uint32_t size;    /* sizeof(struct spec) */

    char workspace_id[SPEC_ID_MAX + 8];
    char session_id[SPEC_ID_MAX + 8];

    struct {
        uint32_t kind;            /* enum spec_image_kind */
        char path[SPEC_PATH_MAX]; /* DIR: host path; NAME: the image's name */
    } image;

    struct {
        uint32_t kind; /* enum spec_workspace_kind */
        uint8_t read_only;
        uint8_t exclusive;
        uint8_t allow_root_owned; /* DIRECTORY owned by root is refused without it (WS-1) */
        uint8_t reserved;
        uint64_t size_bytes;            /* TMPFS */
        char path[SPEC_PATH_MAX];       /* DIRECTORY: host path, absolute */
        char volume[SPEC_ID_MAX + 8];   /* VOLUME: name */
        char mount_path[SPEC_PATH_MAX]; /* where it is inside, absolute, normalised */
    } workspace;

    uint32_t mount_count;
    uint32_t protect_count;
    struct spec_mount mounts[SPEC_MOUNTS_MAX];
    struct spec_protect protect[SPEC_PROTECT_MAX];

    struct spec_network network;

    struct {
        uint32_t uid, gid; /* inside: SPEC_UID_USER or SPEC_UID_ROOT, or another below 65,533 */
        uint32_t seccomp;  /* enum spec_seccomp_profile */
        uint32_t seccomp_allow_count;
        uint32_t seccomp_allow[SPEC_SECCOMP_ALLOW_MAX]; /* x86-64 call numbers, sorted, unique */
        uint8_t explain_syscalls;
        uint8_t reserved[7];
        uint32_t env_bytes; /* used part of env */
        uint32_t env_count;
        char env[SPEC_ENV_MAX]; /* "K=V\0K=V\0" */
    } process;

    struct spec_limits limits;
    uint64_t requires_mask[2]; /* bit n: enum capability n is named in `requires` */
};

/* Zero it, set version and size, and nothing else. */
void spec_init(struct spec *spec);

/* The same for memory that is zero already (static, or fresh from calloc()): a start that uses a
 * few kilobytes of it then touches no other page. */
void spec_init_zeroed(struct spec *spec);

/* Most of a spec is arrays that are hardly used. These touch what is used and no other page: `spec`
 * and `to` were zero or initialised before, and become as after spec_init(), or as `from`. */
void spec_clear(struct spec *spec);
void spec_copy(struct spec *to, const struct spec *from);
/* What is used, in order; everything else is zero. */
enum { SPEC_PARTS = 9 };
struct spec_part {
    size_t at, length;
};
void spec_parts(const struct spec *spec, struct spec_part ret[SPEC_PARTS]);
/* Write it to a file that is empty from `at` on: sizeof(struct spec) bytes, with holes where it is
 * not used. 0 or -errno. */
int spec_write(int fd, uint64_t at, const struct spec *spec);

/* Shape only, no look at the host: version, size, NUL-termination, enum ranges, counts, absolute
 * and normalised paths, ids by grammar ID-2, mounts that do not collide. -EINVAL with
 * `err->subject` naming the field. */
int spec_check(const struct spec *spec, struct err *err);
/* Of its published ports alone. */
int spec_check_publish(const struct spec_network *net, struct err *err);

/* SHA-256 of its content (of a spec that passed spec_check()) as 64 hex characters and NUL: equal
 * for equal specs, whatever stands in the unused parts of arrays. */
void spec_hash(const struct spec *spec, char ret_hex[65]);
