/* This file removes and measures volumes; see volume.h for what one is. PRIVILEGED: the launcher's
 * workers.
 *
 * A removal that is interrupted at any instant is finished by the next one in that workspace: the
 * volume leaves its name first, by one rename, and what has left is found by the new name.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdint.h>

/* Success when there is none. ERR_WORKSPACE_IN_USE names who holds it. It is gone from its name
 * when this returns 0 or fails later than that; bytes may be given back by a later call. */
int volume_remove(const char *state_dir, const char *workspace_id, const char *name,
                  struct err *err);

/* Bytes on disk of what is in it, each inode once per name; 0 when there is none. A session may
 * change it meanwhile: then the sum is of some instants. */
int volume_measure(const char *state_dir, const char *workspace_id, const char *name,
                   uint64_t *ret_bytes, struct err *err);
