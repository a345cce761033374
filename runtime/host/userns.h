/* This file makes user namespaces: the session's own, those that only serve an idmapped mount, and
 * the outer one of an ordinary user. PRIVILEGED: the launcher's.
 *
 * Sources: user_namespaces(7), newuidmap(1), subuid(5).
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct userns_extent {
    uint32_t inside, outside, count;
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

/* Why making a user namespace failed with errno `sys`, looked for on this host, and the command
 * that would change it; both in whole sentences, never empty. Changes nothing. */
void userns_why(int sys, char *ret_reason, size_t reason_size, char *ret_remedy,
                size_t remedy_size);
