/* This file makes, limits, kills and removes the cgroups of a session, in the three layouts that
 * exist in the field. PRIVILEGED: the launcher's (root, or root of the outer user namespace).
 *
 *   unified  cgroup v2 with controllers        S, S/init, S/run with limits on S/run
 *   hybrid   v2 for membership and kill        S, S/init, S/run; and per v1 controller one
 *            v1 for limits                     directory S with the limits, joined through `tasks`
 *   none     no cgroup that this user may write: no limits, no cgroup kill
 *
 * S is <base>/<name>; a name is berth's own (row id and incarnation), never a client's string, and
 * carries the instance's mark, so that leftovers can be told from another berth's.
 *
 * A cgroup that was ever killed with cgroup.kill is never a clone target again (a newborn is killed
 * at birth on 6.18): names are used once.
 *
 * Sources: Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/{memory,pids}.rst, sched-bwc.rst.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/runtime.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { CGROUP_V1_MEMORY, CGROUP_V1_PIDS, CGROUP_V1_CPU, CGROUP_V1_COUNT };

/* What this host and user allow; found once, when the runtime is opened. */
struct cgroup_host {
    enum runtime_cgroup_layout layout;
    uint32_t limits;        /* SPEC_LIMIT_{MEMORY,CPU,PIDS,IO} that can be enforced */
    char reason[256];       /* for what is missing: why, and the command that would change it */
    char v2[SPEC_PATH_MAX]; /* base for sessions, exists; "" in layout none */
    /* Rootless: the cgroup below which berth got its own, without what has a new name in each
     * process (its leaf, its scope); "" when it got none, and for root, who has one base. */
    char place[SPEC_PATH_MAX];
    char v1[CGROUP_V1_COUNT][SPEC_PATH_MAX]; /* hybrid: base per controller, "" when missing */
    bool clone_into; /* CLONE_INTO_CGROUP works from here (self-test); else join by write */
};

/* Finds the layout, makes the base directories (mkdir -p of berth's own level), enables controllers
 * and proves each by use. Rootless: uses the process's own cgroup when it is delegated, else asks
 * the user's systemd for a delegated scope (busctl, bounded to 10 s), else layout none with the
 * reason. Must be called before this process enters a user namespace of its own. */
int cgroup_host_open(struct cgroup_host *ret, bool rootless, struct err *err);

/* Is a newborn of CLONE_INTO_CGROUP alive here? False after a kill of a cgroup above this process
 * (6.18): sets host->clone_into, and proves that joining by write works instead. For doctor, and
 * for the launcher after a clone that failed: cgroup_host_open() assumes the best, because each
 * start would pay some 200 us. Fails when neither way works. */
int cgroup_host_selftest(struct cgroup_host *host, struct err *err);

struct cgroup_session {
    const struct cgroup_host *host;
    char name[96];
    int s_fd, init_fd, run_fd;     /* v2 directories, O_DIRECTORY; -1 in layout none */
    int v1_fd[CGROUP_V1_COUNT];    /* v1 directories; -1 */
    int v1_tasks[CGROUP_V1_COUNT]; /* `tasks` files, write-only; -1 */
    bool delegated_once;           /* the owner id was handed over */
    uint64_t scratch_bytes;        /* part of the kernel's memory limit, to tell them apart */
    struct spec_limits proven;     /* read back by cgroup_session_limit() */
    uint64_t proven_kernel_memory;
    bool vacated; /* cgroup_session_vacate() has said so */
};

/* Unset all descriptors; call before anything else, so that _fini works on every path. */
void cgroup_session_init(struct cgroup_session *cg);

/* mkdir of S and S/init, and descriptors; in unified the controllers are NOT yet enabled in S (a
 * helper that makes the cgroup namespace is first cloned into S itself). All or nothing. */
int cgroup_session_create(struct cgroup_session *cg, const struct cgroup_host *host,
                          const char *name, struct err *err);

/* The rest: S/run, and in hybrid the directories of the v1 controllers. Apart from the first step
 * because only commands join them, so that they may be made while a session's first process works
 * already. On failure what exists is removed by cgroup_session_destroy(). */
int cgroup_session_complete(struct cgroup_session *cg, struct err *err);

/* Enable controllers in S, then write the limits: kernel memory limit = memory + scratch, swap 0,
 * memory.oom.group 0, cpu quota over 100 ms, pids. Skips what host->limits lacks (the caller has
 * refused what was asked for). What the kernel then has is in `proven`. */
int cgroup_session_limit(struct cgroup_session *cg, const struct spec_limits *limits,
                         struct err *err);

/* Hand S, init and run to init's host id, so that it can make and kill exec cgroups below run;
 * limit files stay the launcher's. */
int cgroup_session_delegate(struct cgroup_session *cg, uint32_t uid, uint32_t gid, struct err *err);

/* Read-only event files for init, O_CLOEXEC, caller closes; -1 where the layout has none. (`run`
 * itself is opened by the session's first process, see runtime/stage.) */
int cgroup_session_agent_fds(struct cgroup_session *cg, int *ret_oom, int *ret_pids,
                             struct err *err);

/* Limits as the kernel has them now. */
int cgroup_session_read(const struct cgroup_session *cg, struct spec_limits *ret,
                        uint64_t *ret_kernel_memory, struct err *err);

/* While init, which has been killed, dies: removes the cgroups of commands and of limits, which an
 * rmdir does only when nothing is in them. True when they are gone and init is the only process of
 * the session that is left, so that nobody can run a line of the session's code any more: init has
 * a fatal signal pending, and fork() refuses for who has. */
bool cgroup_session_vacate(struct cgroup_session *cg, pid_t init);

/* Kill all of S (v2 cgroup.kill), wait until it is empty (bounded by `timeout_ms`), rmdir all.
 * 0 only when every directory is gone. Works by name too, for a leftover of a dead process. */
int cgroup_session_destroy(struct cgroup_session *cg, unsigned timeout_ms, struct err *err);
int cgroup_leftover_destroy(const struct cgroup_host *host, const char *name, unsigned timeout_ms,
                            struct err *err);

/* The same, and `empty` (may be NULL) is called with S when nothing lives in it, before anything of
 * it is removed: what it counted is whole then. */
int cgroup_leftover_end(const struct cgroup_host *host, const char *name, unsigned timeout_ms,
                        void (*empty)(void *data, int s), void *data, struct err *err);

/* Begins it: kill all of S, where there is an S that can be. Who has a descriptor that tells of the
 * end waits there before he calls the former, which can only look again and again. */
bool cgroup_leftover_kill(const struct cgroup_host *host, const char *name);

/* Of a session that lasts, by the directory S. Freeze or thaw `run`, never init, and wait until it
 * is so. -EOPNOTSUPP: before Linux 5.2. */
int cgroup_freeze(int s, bool freeze, unsigned timeout_ms, struct err *err);
/* Is it meant to be frozen? */
bool cgroup_is_frozen(int s);

/* What commands have used and use now. A value that no controller counts here is 0. */
int cgroup_sample(const struct cgroup_host *host, int s, const char *name,
                  struct launcher_sample *ret, struct err *err);

/* Calls `each` for every directory of a session whose name begins with `prefix`, in all layouts. */
int cgroup_each(const struct cgroup_host *host, const char *prefix,
                int (*each)(void *data, const char *name), void *data, struct err *err);

void cgroup_session_fini(struct cgroup_session *cg); /* closes descriptors, removes nothing */
