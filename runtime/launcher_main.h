/* This file is the launcher of `berth serve`: the privileged process that builds, looks at and ends
 * sessions for front, by frames of fixed layout (runtime/launcher.h, docs/adr/0012).
 *
 * `berth serve` forks it before anything else; it runs until front or the supervisor ends. It keeps
 * nothing that matters: everything is found again by name.
 */
#pragma once

#include "runtime/runtime.h"
#include "runtime/serve.h"

/* What a worker calls. Tests put their own in, to fail, wait and die where they want. */
struct launcher_calls {
    /* In a spare worker: make ready what the next session that `create` makes in this process can
     * be made of. *ret_changes: POLLPRI when it is of no use any more, and then `unprepare`. NULL:
     * nothing can be prepared. */
    int (*prepare)(struct runtime *rt, int *ret_changes, struct err *err);
    void (*unprepare)(struct runtime *rt);
    int (*create)(struct session **ret, struct runtime *rt, const struct spec *spec,
                  const struct session_lasting *lasting, struct err *err);
    const struct session_effective *(*effective)(const struct session *s);
    unsigned (*notes)(const struct session *s, const struct session_note **ret_notes);
    int (*keep_netns)(const struct session *s);
    void (*leave)(struct session *s, struct session_identity *ret);
    int (*look)(struct runtime *rt, const struct session_name *name,
                const struct session_identity *expected, enum session_found *ret_found,
                struct session_identity *ret_identity, int *ret_pidfd, struct err *err);
    int (*end)(struct runtime *rt, const struct session_name *name, unsigned timeout_ms,
               void (*note)(void *data, const char *key, const char *text), void *data,
               struct launcher_last *ret_last, struct err *err);
    int (*freeze)(struct runtime *rt, const struct session_name *name, bool freeze,
                  unsigned timeout_ms, struct err *err);
    int (*sample)(struct runtime *rt, const struct session_name *name, struct launcher_sample *ret,
                  struct err *err);
    int (*list)(struct runtime *rt, const char *instance,
                int (*each)(void *data, const struct session_name *name), void *data,
                struct err *err);
    /* Other rules for one that lives, as revision `generation`. */
    int (*network)(struct runtime *rt, const struct session_name *name,
                   const struct spec_network *net, uint64_t generation, uint32_t *ret_cut,
                   struct err *err);
    /* The gateway is new, or the launcher: it serves the session again. 1: no network. */
    int (*restore)(struct runtime *rt, const struct session_name *name, struct err *err);
    /* The gateway wants `count` sockets of it, for clients of its published ports. */
    int (*connect)(struct runtime *rt, const struct session_name *name, unsigned count,
                   struct err *err);
    /* Its published ports as they are now. */
    int (*published)(struct runtime *rt, const struct session_name *name,
                     struct launcher_published *ret, struct err *err);
    /* It has ended, however: the gateway forgets it. */
    int (*forget)(struct runtime *rt, const struct session_name *name, struct err *err);
    /* A file operation on the workspace of a session that does not run. */
    int (*files)(struct runtime *rt, const struct spec *spec, uint32_t asker_uid,
                 uint32_t asker_gid, const uint32_t *asker_groups, uint32_t asker_group_count,
                 const struct files_request *request, int result_fd, int data_fd, bool read_only,
                 const struct session_name *name, struct err *err);
};

/* What an ordinary user's launcher has the supervisor keep for the next one, because a namespace of
 * his is closed to any process that did not make it (docs/adr/0013). One message on `supervisor`,
 * with a descriptor where it brings one. */
enum {
    LAUNCHER_KEEP_OUTER = 'U', /* the user namespace in which it makes sessions: for the next one */
    LAUNCHER_KEEP_NETNS = 'N', /* a session's network */
    LAUNCHER_KEEP_NO_MORE = 'X', /* of this session, which has ended */
};
struct launcher_keep {
    uint8_t kind, reserved[7];
    int64_t row, incarnation; /* OUTER: 0 */
};
/* As it is given to the next one. */
struct launcher_kept {
    int64_t row, incarnation;
    int netns;
};

struct launcher_options {
    int front; /* SOCK_SEQPACKET; taken */
    /* SOCK_SEQPACKET: a byte 'C' + a new socket of the gateway's comes in, or 'D': the one whose
     * socket came last has ended, and was waited for. Its end means: end. The launcher sends 'C'
     * when it has lost the gateway's, 'K' when it stands still, and struct launcher_keep. Taken. A
     * pipe does for an end alone. */
    int supervisor;
    /* What the ones before had kept; taken. `outer` 0 or -1, `kept_count` 0: nothing. */
    int outer;
    const struct launcher_kept *kept;
    unsigned kept_count;
    /* SOCK_SEQPACKET, runtime/gateway/gateway.h; -1: there is none yet, 0: and will be none; taken
     */
    int gateway;
    /* What could not be done that nobody asked for; NULL: nobody is told. */
    void (*tell)(const struct err *err);
    const struct serve_config *config;
    const struct launcher_calls *calls; /* NULL: those of runtime/runtime.h */
    struct runtime *runtime;            /* tests: opened already; NULL: by the configuration */
    const char *init_path;              /* PID 1's program; NULL: as runtime_options says */
    unsigned workers_max;               /* at once; 0: the default */
    uint64_t generation;                /* of launcher_number(); 0: takes one itself */
};

/* The number of the next launcher, higher than all before. Workers of a launcher that has not the
 * highest refuse to work. So who starts launchers takes it, in the order in which he starts them:
 * one that takes it itself may do so late, after the one that follows it, which then never works.
 */
int launcher_number(const struct serve_config *config, uint64_t *ret, struct err *err);

/* How many sessions may live under a launcher that may have so many files open. */
unsigned launcher_room_for(uint64_t open_files);

/* Until front or the supervisor ends and no worker is left: 0. -EPROTO: front sent what is no
 * request. Rootless: this process enters a user namespace for the rest of its life. */
int launcher_main(const struct launcher_options *options, struct err *err);
