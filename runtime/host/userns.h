/* This file makes user namespaces: the session's own, those that only serve an idmapped mount, and
 * the outer one of an ordinary user. PRIVILEGED: the launcher's.
 *
 * Sources: user_namespaces(7), newuidmap(1), subuid(5).
 */
#pragma once

#include "runtime/base/err.h"

#include <linux/sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct userns_extent {
    uint32_t inside, outside, count;
};

/* The short-lived process that a namespace is made in. It shares the caller's memory, so the caller
 * keeps this, where it is, until userns_helper_end(). */
struct userns_helper {
    pid_t pid;          /* -1: none */
    int sock, sock_far; /* the caller's end and the helper's, as the caller has them open */
    int ends[2];        /* the same numbers for the helper, who has its own copies; constant */
    bool born_inside;   /* in its namespaces from its birth: there is nothing to wait for */
    int join;           /* cgroup.procs to write itself into, when it could not be born there; -1 */
    uint32_t owner;
    int dumpable;        /* of the shared memory, as it was */
    uint64_t namespaces; /* CLONE_NEW* */
    int sys;             /* written by the helper: errno of its failed step, 0 */
    const char *step;    /* written by the helper: that step */
    void *stack;
};

void userns_helper_init(struct userns_helper *h); /* none */

/* Gives it birth, and does not wait for it: the caller has other work to do meanwhile, and where it
 * waits at once it often waits for a processor. Always followed by _end(), also when this fails.
 * `h->pid` is -1 before and after its life. */
int userns_helper_begin(struct userns_helper *h, uint64_t namespaces, uint32_t owner, int cgroup_fd,
                        bool join_by_write, struct err *err);
int userns_helper_wait(struct userns_helper *h, struct err *err); /* its namespaces exist */
/* Tells it to end, and does not wait for that: _end() does. Nothing can be made with it any more.
 */
void userns_helper_release(struct userns_helper *h);
void userns_helper_end(struct userns_helper *h); /* safe after a failed begin, and twice */

/* userns_make_joining() with a helper that was begun, for the same owner, cgroup and way to join;
 * the helper is released. *ret_cgroupns only where it was begun with a cgroup. */
int userns_make_with(struct userns_helper *h, const struct userns_extent *uids, unsigned uid_count,
                     const struct userns_extent *gids, unsigned gid_count, int *ret_userns,
                     int *ret_cgroupns, struct err *err);
enum {
    USERNS_HELPER_ALONE = CLONE_NEWUSER,
    USERNS_HELPER_CGROUP = CLONE_NEWUSER | CLONE_NEWCGROUP
};

/* A user namespace as a descriptor, by a short-lived helper that exits at once. `owner` is the
 * effective uid with which it is made (budgets such as inotify follow the namespace's owner);
 * UINT32_MAX: the caller's. `cgroup_fd` >= 0: the helper is born in that cgroup and also makes a
 * cgroup namespace rooted there, *ret_cgroupns. Maps are at most 5 extents. */
int userns_make(const struct userns_extent *uids, unsigned uid_count,
                const struct userns_extent *gids, unsigned gid_count, uint32_t owner, int cgroup_fd,
                int *ret_userns, int *ret_cgroupns, struct err *err);

/* The same; with `join_by_write` the helper joins the cgroup by writing to cgroup.procs, for a host
 * where processes that are born in one die (cgroup_host_selftest()). Slower by a migration. */
int userns_make_joining(const struct userns_extent *uids, unsigned uid_count,
                        const struct userns_extent *gids, unsigned gid_count, uint32_t owner,
                        int cgroup_fd, bool join_by_write, int *ret_userns, int *ret_cgroupns,
                        struct err *err);

struct userns_outer {
    bool single_uid;  /* no usable subordinate ids: only the caller's own id is mapped */
    char reason[256]; /* why single_uid, and what would change it */
    uint32_t count;   /* ids mapped: 0 is the caller, 1.. are subordinate */
};

/* Move this process into a user namespace of the caller's own, with itself as 0 and its subordinate
 * ids after that (newuidmap, newgidmap), or itself alone. Single-threaded callers only. */
int userns_enter_outer(struct userns_outer *ret, struct err *err);

/* The same into one that is there already: `userns`, in which a process of the caller's own user
 * did that. Nothing was changed where it fails. */
int userns_join_outer(int userns, struct userns_outer *ret, struct err *err);

/* Why making a user namespace failed with errno `sys`, looked for on this host, and the command
 * that would change it; both in whole sentences, never empty. Changes nothing. */
void userns_why(int sys, char *ret_reason, size_t reason_size, char *ret_remedy,
                size_t remedy_size);
