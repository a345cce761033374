/* This file plans what a session's root directory holds besides the mounts of the workspace: which
 * directories, links, files and read-only binds of the host, in which order. It is pure: the plan
 * is tables; what differs from host to host is asked once by the launcher and put into struct
 * rootfs_host.
 *
 * Two images. `host`: a fresh tmpfs is the root (it is the session's scratch, capped in bytes and
 * inodes) with the host's /usr and friends bound read-only and an /etc of berth's own. `dir:PATH`:
 * an overlay over the directory, whose upper is on the scratch; only what a session cannot do
 * without is added.
 *
 * Nothing of the host's /home, /root, /var, /run, /sys or /etc is there unless a table row names
 * it; every row of /etc names public configuration, is bound without an id map (so that files which
 * only the host's root may read stay unreadable), and is left out where the host has none.
 */
#pragma once

#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>

enum rootfs_step_kind {
    ROOTFS_DIRECTORY = 1, /* make it unless it is there */
    ROOTFS_SYMLINK,       /* `text` is where it points */
    ROOTFS_FILE,          /* `text` is what it holds; replaces what is there */
    ROOTFS_FILE_DEFAULT,  /* the same, but what is there stays */
    ROOTFS_BIND,          /* `text` is the path on the host; read-only, nosuid, nodev */
    ROOTFS_BIND_NOEXEC,
};

struct rootfs_step {
    uint8_t kind;
    uint8_t optional; /* BIND: left out when the host has no such path */
    uint16_t mode;
    uint32_t owner;   /* id inside */
    const char *path; /* relative to the root, parents stand before */
    const char *text;
};

enum { ROOTFS_STEPS_MAX = 160, ROOTFS_LINK_MAX = 64 };

/* Top-level names of the host that are part of its operating system. */
#define ROOTFS_TOPS(X) X("bin") X("sbin") X("lib") X("lib32") X("lib64") X("libx32")
enum { ROOTFS_TOP_COUNT = 6 };

/* What the launcher looked up on the host. */
struct rootfs_host {
    struct {
        bool exists;
        char link[ROOTFS_LINK_MAX]; /* where it points when it is a link; "" for a directory */
    } tops[ROOTFS_TOP_COUNT];
    bool has_bash;
};

extern const char *const rootfs_top_names[ROOTFS_TOP_COUNT];

struct rootfs_plan {
    uint32_t count;
    bool fresh; /* the root is empty and nobody else's: no symlink can be in the way */
    struct rootfs_step steps[ROOTFS_STEPS_MAX];
};

/* `host` must outlive the plan (its strings are pointed to). */
void rootfs_plan_make(const struct spec *spec, const struct rootfs_host *host,
                      struct rootfs_plan *ret);

/* Paths beneath /proc that a session does not see: NULL-terminated, relative to /proc, with a
 * "/" at the end of a directory. A directory becomes an empty one, a file an empty device. Absent
 * ones are skipped. */
extern const char *const rootfs_proc_masked[];

/* Where commands and the session's tools find programs. */
#define ROOTFS_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
