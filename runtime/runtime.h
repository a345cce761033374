/* This file is the facade of the runtime: everything that api/ and provider/ may call to build a
 * sandbox, run commands in it and take it down. `berth run`, `doctor` and the launcher use it.
 *
 *     struct runtime *rt;
 *     runtime_open(&rt, &options, &err);           // what this process may use of the host
 *     session_create(&s, rt, &spec, &err);         // all or nothing (SES-1)
 *     session_exec(s, 1, &request, &err);
 *     while (poll(session_frames_fd(s)))
 *         session_next_frame(s, &frame, payload, &err);
 *     session_destroy(s, &err);                    // proven gone
 *     runtime_close(rt);
 *
 * One thread only. Returns follow docs/STYLE.md: 0 done, -errno failed with `err` filled, > 0 named
 * outcomes. The caller must be root, or any user (rootless): runtime_open() then enters a user
 * namespace of the caller's own, for the rest of this process's life.
 */
#pragma once

#include "runtime/agent/protocol.h"
#include "runtime/base/err.h"
#include "runtime/gateway/gateway.h"
#include "runtime/launcher.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct runtime;
struct session;

enum runtime_cgroup_layout {
    RUNTIME_CGROUP_NONE = 0,
    RUNTIME_CGROUP_UNIFIED,
    RUNTIME_CGROUP_HYBRID
};

struct runtime_options {
    const char *state_dir;   /* durable: volumes; NULL: contract §12's default for this user */
    const char *runtime_dir; /* gone at reboot: run records, probed facts; NULL: the default */
    const char *init_path;   /* PID 1's program; NULL: beside this one, else the installed one */
    const char *reaper_path; /* berth's program, for runtime_reaper_main(); NULL: this one is it */
    bool no_reaper;          /* do not fork a reaper (the caller is one itself, or a test) */
    int outer;   /* an ordinary user's namespace of before, which is joined where it can be; 0 or
                    -1: a new one is made */
    int gateway; /* control socket of a gateway (runtime/gateway/gateway.h), for sessions
                    that may reach something; the caller's. 0 or -1: there is none, and
                    such a session is refused */
};

/* Facts of this host and user that were found at runtime_open(); never change afterwards. */
struct runtime_facts {
    bool rootless;
    bool single_uid;                 /* rootless without subordinate ids: one uid inside */
    char single_uid_reason[256];     /* why, and what would change it */
    uint32_t caller_uid, caller_gid; /* as seen on the host */
    enum runtime_cgroup_layout cgroup_layout;
    uint32_t limits_available;        /* SPEC_LIMIT_* that the cgroup layout can enforce */
    char cgroup_reason[256];          /* why not all of them; what would change it */
    char cgroup_place[SPEC_PATH_MAX]; /* rootless: above berth's cgroup, the same in each start */
    uint32_t landlock_abi;            /* 0: none */
    char kernel[65];                  /* uname -r */
    const char *state_dir, *runtime_dir; /* owned by the runtime */
};

/* Where they are: the options', else the variables', else this user's default. Makes nothing. */
enum { RUNTIME_DIR_SIZE = 512 };
int runtime_directories(const struct runtime_options *options, char ret_state[RUNTIME_DIR_SIZE],
                        char ret_runtime[RUNTIME_DIR_SIZE], struct err *err);

/* A program that starts sessions and leaves `reaper_path` NULL calls this, and exits with what it
 * returns, when its argv[0] is RUNTIME_REAPER_ARGUMENT: it is then what cleans up after a run whose
 * launcher was killed. */
#define RUNTIME_REAPER_ARGUMENT "berth: reaper"
int runtime_reaper_main(void);

int runtime_open(struct runtime **ret, const struct runtime_options *options, struct err *err);
void runtime_close(struct runtime *rt); /* NULL allowed */
/* Why runtime_open() could not clean up all that others had left behind; NULL: it could. */
const struct err *runtime_kept(const struct runtime *rt);

/* Returns when the gateway has sent every event of before. */
int runtime_network_flush(struct runtime *rt, struct err *err);
const struct runtime_facts *runtime_facts(const struct runtime *rt);

/* Clean up what processes of berth that are gone have left behind (cgroups, placeholders, run
 * records of this runtime directory). Called by runtime_open(); `ret_count` may be NULL. 0; 1: some
 * of it could not be cleaned up now, stays on record and is tried again by the next one, `err` says
 * why of the first; -errno. */
int runtime_reap(struct runtime *rt, unsigned *ret_count, struct err *err);

/* May `path`, which nobody named, be the workspace? Refuses "/", the caller's home (`home`, NULL
 * allowed) and system directories with a message that says how to ask for it explicitly. */
int runtime_check_implicit_workspace(const char *path, const char *home, struct err *err);

/* The real absolute path of what a person or a policy of his names, before it goes into a spec: the
 * runtime itself follows no link in a path. Each link on the way must belong to who asks or to
 * root, else ERR_FORBIDDEN with a message that names it. `step` is the flag or key, for messages.
 * Call it before runtime_open(), which changes what uids look like. */
int runtime_resolve_path(const char *path, const char *step, char *ret, size_t size,
                         struct err *err);

/* Something that create found and did as its rules say, but that the user would want to know: a
 * protected path that could not be held, files of another owner, a masked socket, a default limit
 * that cannot be had here. One sentence, no control characters. */
struct session_note {
    char key[64]; /* machine name: "protect.missing_parent", "limits.memory", "workspace.socket" */
    char text[384];
};

/* The sandbox as it really is, read back (CAP-4). */
struct session_effective {
    uint32_t uid_base, uid_count; /* host ids of the session; count 1 when single_uid */
    uint32_t default_uid_host;    /* who owns, on the host, what the default user makes */
    uint32_t landlock_abi;
    char seccomp_hash[65], spec_hash[65];
    enum runtime_cgroup_layout cgroup_layout;
    struct spec_limits limits;    /* as read back from the kernel; 0 where there is none */
    uint64_t kernel_memory_bytes; /* memory + scratch: the number that the kernel enforces */
    uint32_t namespaces;          /* CLONE_NEW* bits that differ from the caller's */
    pid_t init_pid;               /* on the host */
    uint64_t phase_us[8];         /* enum session_phase: where the time of creation went */
};

enum session_phase {
    PHASE_RECORD, /* run record, uid slot, reaper */
    PHASE_CGROUP,
    PHASE_USERNS,
    PHASE_WORKSPACE, /* from clone on; the session's first process works at the same time */
    PHASE_CLONE,     /* from the user namespace to the return of clone3 */
    PHASE_STAGE,     /* from the workspace to init's READY, as the launcher sees it */
    PHASE_TEARDOWN,
};

int session_create(struct session **ret, struct runtime *rt, const struct spec *spec,
                   struct err *err);

/* The same for a session whose first command is known already: `call` sends it (session_exec() on
 * `s`) while init still starts, and init takes it up when it is ready; without a round trip between
 * the two. It may also send nothing. When it fails, so does the creation. It is called once for
 * each attempt, of which there may be two, and keeps no pointer to `s`. */
struct session_first {
    int (*call)(void *data, struct session *s, struct err *err);
    void *data;
    bool only; /* there will be no other: init ends with it by itself */
};
int session_create_with(struct session **ret, struct runtime *rt, const struct spec *spec,
                        const struct session_first *first, struct err *err);
const struct session_effective *session_effective(const struct session *s);
unsigned session_notes(const struct session *s, const struct session_note **ret_notes);

/* A command. Strings are the caller's and are copied. Descriptors are the caller's, are passed in
 * and stay open here. Only pipes and regular files go in; anything else is ERR_INVALID_REQUEST.
 *
 * A pipe has no direction: whoever may open its inode reaches the other end through /proc/self/fd.
 * So what is passed must be a pipe that was made for this command (own_pipes: then its inode is
 * lent to the command's user, and "echo >/dev/stderr" works), or one whose owner has no id inside.
 * Bit n of own_pipes stands for descriptor n. */
struct exec_request {
    const char *const *argv; /* NULL-terminated */
    const char *const
        *env;          /* NULL-terminated "K=V"; the whole environment, see exec_environment() */
    const char *cwd;   /* absolute path inside */
    uint32_t uid, gid; /* inside */
    bool tty;
    uint16_t rows, cols;
    int stdin_fd, stdout_fd,
        stderr_fd;                 /* -1: /dev/null for stdin, captured into frames for others */
    bool null_stdout, null_stderr; /* /dev/null of the session instead of capture */
    unsigned own_pipes;
    bool keep_children, files, kill_on_limit; /* AGENT_EXEC_* of the same name */
    uint64_t timeout_ms, idle_timeout_ms, grace_ms, open_files;
};

int session_exec(struct session *s, uint64_t exec, const struct exec_request *request,
                 struct err *err);
int session_signal(struct session *s, uint64_t exec, int signo, enum agent_scope scope);
int session_resize(struct session *s, uint64_t exec, uint16_t rows, uint16_t cols);
int session_kill(struct session *s, uint64_t exec, enum agent_reason reason);
int session_close_stdin(struct session *s, uint64_t exec);

/* Readable when a frame (or init's end) is there. */
int session_frames_fd(const struct session *s);

enum session_frame_outcome { SESSION_FRAME_NONE = 1, SESSION_FRAME_END = 2 };

/* The next whole frame without blocking: 0 with *ret_frame and its payload (NUL-terminated one past
 * its length), SESSION_FRAME_NONE when none is complete yet, SESSION_FRAME_END when init is gone,
 * -EPROTO when init sent garbage: the session must be destroyed. *ret_payload is valid until the
 * next call. */
int session_next_frame(struct session *s, struct agent_frame *ret_frame, const void **ret_payload,
                       struct err *err);

/* The first part of session_destroy(): everything is killed and removed, but `s`, its notes (there
 * may be new ones: what appeared at protected paths) and its effective values can still be read.
 * session_destroy() must follow. */
int session_stop(struct session *s, struct err *err);

/* Kill everything, wait, remove what was made on the host, and prove that nothing is left. Frees
 * `s` in every case. Idempotent against a session that died by itself. */
int session_destroy(struct session *s, struct err *err);

/* ---- sessions that last: the workers of the launcher of `berth serve` (docs/adr/0012) ----------
 *
 * They are named (instance, row, incarnation) and nothing of them is in memory: each of these
 * functions finds its session under that name, can be repeated, and may be called by another
 * process than the one that made it. The caller is the launcher's worker; runtime_options.no_reaper
 * is set. */

struct session_name {
    char instance[24]; /* of the ledger: only [0-9a-f] */
    int64_t row, incarnation;
};

struct session_lasting {
    struct session_name name;
    uint64_t epoch;      /* older connections than this are refused from the start */
    uint64_t generation; /* of its network's rules; 0: 1 */
    uid_t connect_uid;   /* front: owner of the session's socket */
    gid_t connect_gid;
    unsigned deadline_ms; /* SES-5: READY and a probe command, by then; 0: 5 s */
    /* Who asks: host paths are opened with his rights. UINT32_MAX: this process's own. */
    uid_t asker_uid;
    gid_t asker_gid;
    const uint32_t *asker_groups; /* his other groups (SO_PEERGROUPS); NULL: none */
    uint32_t asker_group_count;
};

/* As session_create(), but init listens on `<runtime_dir>/sessions/<instance>-<name>/control`,
 * holds its own locks (P-6) and lives on when the caller ends. Ready means that init answered *and*
 * that a probe command ran. On failure nothing is left. `*ret` is for session_effective(),
 * session_notes() and session_leave() only. */
int session_create_lasting(struct session **ret, struct runtime *rt, const struct spec *spec,
                           const struct session_lasting *lasting, struct err *err);

/* A descriptor of its network, where whoever has not made it cannot find it (rootless); the
 * caller's. -1: it is found by name. */
int session_keep_netns(const struct session *s);

/* Who its init is, then frees `s` and lets the session live. */
void session_leave(struct session *s, struct session_identity *ret);

/* What is there under this name, compared with `expected`. 0 with *ret_found; a pidfd of the living
 * init in *ret_pidfd (-1 else) when not NULL. */
int session_look(struct runtime *rt, const struct session_name *name,
                 const struct session_identity *expected, enum session_found *ret_found,
                 struct session_identity *ret_identity, int *ret_pidfd, struct err *err);

/* Kill, remove, prove gone: processes, cgroups, socket, record, placeholders, claims. Success when
 * there was nothing. `note` and `ret_last` may be NULL. *ret_last, what it had used, is told by the
 * call that removed its counters, and until one succeeds by those after it; it is written whatever
 * comes of this one. */
int session_end(struct runtime *rt, const struct session_name *name, unsigned timeout_ms,
                void (*note)(void *data, const char *key, const char *text), void *data,
                struct launcher_last *ret_last, struct err *err);

/* Every process of the session but init. -EOPNOTSUPP without a cgroup. */
int session_freeze(struct runtime *rt, const struct session_name *name, bool freeze,
                   unsigned timeout_ms, struct err *err);
int session_sample(struct runtime *rt, const struct session_name *name, struct launcher_sample *ret,
                   struct err *err);

/* Calls `each` for every name of this instance of which anything is there. */
int session_list(struct runtime *rt, const char *instance,
                 int (*each)(void *data, const struct session_name *name), void *data,
                 struct err *err);

/* ---- network (docs/adr/0013) --------------------------------------------------------------------
 *
 * A session whose policy reaches anything has a namespace in which the gateway serves: creation
 * hands it to the gateway of the options. What these tell a gateway is told the one that serves
 * now. Where none serves, everything is refused. The caller sees to it that nobody else works on
 * the session meanwhile. */

/* The gateway is new, or may have missed something: rules as they are recorded hold, in the kernel
 * and there. 1: it has no network, or does not live. */
int session_network_restore(struct runtime *rt, const struct session_name *name, struct err *err);

/* Other rules, at one instant (NET-6). With the generation in force done again, with an older one
 * refused (ESTALE). When it fails at the gateway, the kernel's part holds: asked again, or
 * restored, it is completed. */
int session_network_replace(struct runtime *rt, const struct session_name *name,
                            const struct spec_network *net, uint64_t generation, uint32_t *ret_cut,
                            struct err *err);

/* What has ended is served no more; success where the gateway does not know it, or has ended for
 * certain. -ENOLINK: it could not be told, and may serve it still. */
int session_network_forget(struct runtime *rt, const struct session_name *name, struct err *err);

/* All 0 for one without a network. */
int session_network_counters(struct runtime *rt, const struct session_name *name,
                             uint64_t ret[NETWORK_COUNTER_COUNT], struct err *err);
/* A descriptor of its network, by which its counters can be read when it has ended; the caller's.
 * 1: it has none, or does not live. */
int session_network_hold(struct runtime *rt, const struct session_name *name, int *ret_netns,
                         struct err *err);
/* What the gateway asked for: TCP sockets made inside, for clients of published ports. */
int session_network_connect(struct runtime *rt, const struct session_name *name, unsigned count,
                            struct err *err);
/* Its published ports; none where it has no network. */
int session_network_published(struct runtime *rt, const struct session_name *name,
                              struct launcher_published *ret, struct err *err);

/* What of the host's loopback leads into a session, in the order of its spec, with the ports that
 * were had. How many there are; of them `room` are written. */
struct session_published {
    uint16_t host_port, port;
    bool six; /* at ::1 too, not at 127.0.0.1 alone */
};
unsigned session_published(const struct session *s, struct session_published *ret, unsigned room);
/* Of one for a command that was given no network at all: has something in it looked for a way out?
 * The kernel's count of packets without a route; loopback is none of them. 0 also where the kernel
 * did not say. */
uint64_t session_unrouted(struct session *s);
/* The gateway's control socket can be read: it wants sockets for clients of published ports. 1: it
 * has ended. For a session that has its gateway for itself. */
int session_publish_serve(struct session *s, struct err *err);

/* The environment of a command: PATH, HOME, USER, LOGNAME, LANG, TERM with defaults, then the
 * policy's, then `extra` (NULL-terminated "K=V"); later wins. Nothing of this process's own
 * environment (EXEC-1). One allocation: free() the returned array. NULL: out of memory. */
char **exec_environment(const struct spec *spec, const char *term, const char *const *extra);
