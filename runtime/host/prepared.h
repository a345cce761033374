/* This file makes, before anybody asks, what of a session's root directory is the same for every
 * session with the image `host`: a mount namespace in which it stands, in files of a range of ids
 * that is claimed with it (docs/adr/0017). PRIVILEGED: a spare worker's of root's launcher.
 *
 * Should: make it of constants and of the host alone, and say that it does not fit when the host is
 * not what it was. Mustn't: read a request, give one to two sessions, or make anything that has a
 * name or outlives this process: all of it is descriptors. Callers: the launcher's spare,
 * session.c, launch.c.
 */
#pragma once

#include "runtime/host/runtime_internal.h"

struct prepared {
    int mounts;  /* the namespace; the host's root is not in it, nor is a procfs */
    int scratch; /* the mount that is its root */
    int uid_lock;
    uint32_t uid_base;
    int changes; /* POLLPRI: something was mounted or let go of in this process's namespace */
    struct rootfs_plan plan;
    struct prepared_look {
        uint64_t device, inode;       /* of what is found; 0: nothing */
        int64_t seconds, nanoseconds; /* its last change, unless it is a directory */
    } looks[2 * ROOTFS_STEPS_MAX + 64];
    unsigned look_count;
};

/* -EOPNOTSUPP: nothing is prepared for an ordinary user's sessions. */
int prepared_make(struct prepared **ret, const struct runtime *rt, struct err *err);

/* May this session be made of it? Its scratch has the size that `spec` says then. */
bool prepared_fits(struct prepared *p, const struct spec *spec);

void prepared_free(struct prepared *p); /* NULL too */

/* For the next session that lasts of this runtime (struct launcher_calls). */
int session_prepare(struct runtime *rt, int *ret_changes, struct err *err);
void session_unprepare(struct runtime *rt);
