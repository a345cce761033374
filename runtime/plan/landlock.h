/* This file plans the Landlock ruleset of a session, the second layer behind the mounts; it never
 * makes a system call. init builds and enforces it from the plan (runtime/agent).
 *
 * Source: Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h. Access rights
 * are defined here by number, because Debian 12's headers know ABI 2 only.
 */
#pragma once

#include "runtime/agent/protocol.h"
#include "runtime/base/err.h"
#include "runtime/spec.h"

#include <stdint.h>

/* Rights that an ABI can handle (all of it is handled; REFER is allowed where writing is). */
uint64_t landlock_handled_fs(uint32_t abi);

/* Scoped restrictions (ABI 6), 0 below. */
uint64_t landlock_scoped(uint32_t abi);

enum { LANDLOCK_PATHS_MAX = 48 };

/* The paths, as seen inside, and what is allowed beneath each. Returns the count. */
int landlock_plan(const struct spec *spec, uint32_t abi, struct agent_landlock_path *ret_paths,
                  uint32_t *ret_count, struct err *err);
