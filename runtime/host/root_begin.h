/* This file makes what of a session's root directory needs none of its namespaces, in the launcher,
 * while the session's first process makes those: the scratch, in it the directories, links and
 * files of a fresh root and the places of what is bound into it, and what is in /dev.
 * PRIVILEGED: the launcher's. Namespace: the host's.
 *
 * Should: touch only file systems that it has made itself, that have no name and that no other
 * process knows. Mustn't: attach a mount, open a path of an image, or end with other ids than it
 * began with: what is the session's root's is made with his file-system ids, where the caller has
 * not asked for a signal at its parent's death (changing them would forget that). Caller: launch.c.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/stage/stage.h"

#include <stdbool.h>

struct root_begin {
    const struct rootfs_plan *plan;
    const char *scratch_size, *scratch_inodes; /* as struct stage_args has them */
    uint32_t root_uid, root_gid, user_uid, user_gid;
    uint32_t nobody; /* SPEC_UID_NOBODY, and its group */
    bool make_nodes;
};

/* A detached mount, to be sent to the stage and closed then. `ret_bind`: which steps of the plan
 * are to be bound, of false ones. */
int root_begin(const struct root_begin *what, int *ret_scratch, bool ret_bind[ROOTFS_STEPS_MAX],
               struct err *err);

/* Other sizes for a scratch that was made before anybody knew them, by its mount. -errno: they are
 * too small for what is in it. */
int root_resize(int scratch, const char *size, const char *inodes);
