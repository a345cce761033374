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

/* Rights by number (include/uapi/linux/landlock.h), with the ABI that brought the later ones. */
enum landlock_fs {
    LANDLOCK_FS_EXECUTE = 1u << 0,
    LANDLOCK_FS_WRITE_FILE = 1u << 1,
    LANDLOCK_FS_READ_FILE = 1u << 2,
    LANDLOCK_FS_READ_DIR = 1u << 3,
    LANDLOCK_FS_REMOVE_DIR = 1u << 4,
    LANDLOCK_FS_REMOVE_FILE = 1u << 5,
    LANDLOCK_FS_MAKE_CHAR = 1u << 6,
    LANDLOCK_FS_MAKE_DIR = 1u << 7,
    LANDLOCK_FS_MAKE_REG = 1u << 8,
    LANDLOCK_FS_MAKE_SOCK = 1u << 9,
    LANDLOCK_FS_MAKE_FIFO = 1u << 10,
    LANDLOCK_FS_MAKE_BLOCK = 1u << 11,
    LANDLOCK_FS_MAKE_SYM = 1u << 12,
    LANDLOCK_FS_REFER = 1u << 13,     /* ABI 2 */
    LANDLOCK_FS_TRUNCATE = 1u << 14,  /* ABI 3 */
    LANDLOCK_FS_IOCTL_DEV = 1u << 15, /* ABI 5 */

    /* What a rule on anything but a directory may hold: more is EINVAL, so init masks with it. */
    LANDLOCK_FS_OF_FILE = LANDLOCK_FS_EXECUTE | LANDLOCK_FS_WRITE_FILE | LANDLOCK_FS_READ_FILE |
                          LANDLOCK_FS_TRUNCATE | LANDLOCK_FS_IOCTL_DEV,

    /* What init needs beneath its cgroup directory, to be allowed by a rule on that descriptor: a
     * directory of a detached clone of a mount has no way up to "/", so no rule on a path covers
     * it and every openat() and mkdirat() there is EACCES (6.18). O_PATH, and descriptors opened
     * before, need no right. */
    LANDLOCK_FS_OF_CGROUP = LANDLOCK_FS_WRITE_FILE | LANDLOCK_FS_READ_FILE | LANDLOCK_FS_READ_DIR |
                            LANDLOCK_FS_REMOVE_DIR | LANDLOCK_FS_MAKE_DIR,
};

enum landlock_scope {
    LANDLOCK_SCOPE_ABSTRACT_SOCKET = 1u << 0, /* ABI 6 */
    LANDLOCK_SCOPE_OF_SIGNALS = 1u << 1,      /* ABI 6 */
};

/* Rights that an ABI can handle: all of it is handled. 0 for ABI 0, and for ABI 1: without REFER
 * every rename or link across directories is EXDEV, which breaks more than the layer is worth; such
 * a kernel (5.13 to 5.18) has no `isolation.landlock`. Newer ABIs than 7 are handled as 7. Inline,
 * because init uses it and is not linked with the plans. */
static inline uint64_t landlock_handled_fs(uint32_t abi)
{
    if (abi < 2)
        return 0;
    uint64_t handled = (LANDLOCK_FS_REFER << 1) - 1; /* everything up to REFER */
    if (abi >= 3)
        handled |= LANDLOCK_FS_TRUNCATE;
    if (abi >= 5)
        handled |= LANDLOCK_FS_IOCTL_DEV;
    return handled;
}

/* Scoped restrictions (ABI 6), 0 below. The domain is init's and so one for all commands of the
 * session: among themselves nothing changes; towards anything that shares a namespace but not the
 * domain (a file worker, a helper of the launcher) no signal and no abstract socket goes. */
static inline uint64_t landlock_scoped(uint32_t abi)
{
    return abi >= 6 ? (uint64_t)(LANDLOCK_SCOPE_ABSTRACT_SOCKET | LANDLOCK_SCOPE_OF_SIGNALS) : 0;
}

enum { LANDLOCK_PATHS_MAX = 48 };

/* The paths, as seen inside, and what is allowed beneath each: rights that landlock_handled_fs()
 * has. Returns 0, with no path at all when the ABI is not used. A path that does not exist inside
 * is skipped by whoever makes the rules: that allows less. A path too long for the struct is
 * replaced by its longest ancestor that fits. */
int landlock_plan(const struct spec *spec, uint32_t abi, struct agent_landlock_path *ret_paths,
                  uint32_t *ret_count, struct err *err);
