/* This file keeps named volumes: <state_dir>/volumes/<workspace_id>/<name>/{data,lock}; it never
 * mounts. PRIVILEGED: the launcher's.
 *
 * A volume is made whole or not at all: everything is made in `.new` beside it and renamed. Its
 * parents have mode 0700, because what a session makes in it belongs, on disk, to ids 0..65535 that
 * on the host may be people.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/host/workspace.h"

#include <sys/stat.h>

struct volume {
    int folder; /* of `data` and `lock` */
    int data;   /* O_PATH */
    int parent; /* where its name is, when this call made it: volume_sync(); else -1 */
    struct stat stat;
    char path[4096];
};

/* Makes it on first use, does not lock it. On failure nothing is left. What it made outlives a
 * power loss only after volume_sync(), so nobody may be told of it before; one that a power loss
 * has left without its parts is made whole. */
int volume_open(const char *workspace_id, const char *name, const struct workspace_options *options,
                struct volume *ret, struct err *err);

int volume_sync(const struct volume *v);

/* WS-2: an exclusive flock, or a shared one when read-only. ERR_WORKSPACE_IN_USE names the holder.
 */
int volume_lock(int folder, const char *name, bool read_only, const char *holder, int *ret_lock,
                struct err *err);

/* What a process that was killed in the middle of making a volume has left. */
int volume_reap(const char *state_dir, unsigned *count, struct err *err);
