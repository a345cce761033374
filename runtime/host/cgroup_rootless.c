/* This file finds or gets a cgroup that an ordinary user may limit in; it never touches a cgroup
 * that is not the user's. Runs as the user, before any user namespace is entered.
 *
 * Two ways. This process's own v2 cgroup is delegated: it moves to a leaf of its own below, because
 * controllers cannot be enabled for the children of a cgroup in which processes live. A shell
 * beside berth in the same cgroup makes that EBUSY: then the second way, a scope from the user's
 * service manager with this process alone in it. It costs some milliseconds, limits are worth it.
 *
 * In hybrid a user gets no v1 controller at all, so only membership and kill can be had, and only
 * what is delegated already is used: no scope is asked for, the PID namespace kills as well.
 */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUSCTL "/usr/bin/busctl"

static const uint32_t ALL = SPEC_LIMIT_MEMORY | SPEC_LIMIT_CPU | SPEC_LIMIT_PIDS;

enum { SCOPE_WAIT_MS = 10000, ENABLE_PATIENCE_MS = 20 };

static int own_directory(const struct cgroup_mounts *mounts, char *ret, size_t size)
{
    char text[4096];
    ssize_t n = io_read_at(AT_FDCWD, "/proc/self/cgroup", text, sizeof text);
    if (n < 0)
        return (int)n;
    int r = cgroup_own_path(text, mounts, ret, size);
    if (r < 0)
        return r;
    /* A child of a berth process is born in that one's leaf: the delegated cgroup is above it. */
    char *last = strrchr(ret, '/');
    if (last && strncmp(last + 1, CGROUP_LEAF_PREFIX, strlen(CGROUP_LEAF_PREFIX)) == 0)
        *last = 0;
    return 0;
}

/* Delegated: the directory and the two files that make a sub-hierarchy are the user's. */
static bool is_delegated(int dir)
{
    static const char *const files[] = {".", "cgroup.procs", "cgroup.subtree_control"};
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        struct stat st;
        if (fstatat(dir, files[i], &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_uid != geteuid())
            return false;
    }
    return true;
}

static int move_to_leaf(int dir, char *ret_leaf, size_t size)
{
    snprintf(ret_leaf, size, CGROUP_LEAF_PREFIX "%d", getpid());
    if (mkdirat(dir, ret_leaf, 0755) < 0 && errno != EEXIST)
        return -errno;
    char procs[96];
    snprintf(procs, sizeof procs, "%.64s/cgroup.procs", ret_leaf);
    int r = io_write_at(dir, procs, "0");
    if (r < 0)
        unlinkat(dir, ret_leaf, AT_REMOVEDIR);
    return r;
}

static void move_back(int dir, const char *leaf)
{
    if (io_write_at(dir, "cgroup.procs", "0") == 0)
        unlinkat(dir, leaf, AT_REMOVEDIR);
}

/* 0 with host filled; -EBUSY when other processes live here; else -errno. */
static int use_delegated(struct cgroup_host *host, const char *path)
{
    _cleanup_fd_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    if (!is_delegated(dir))
        return -EACCES;
    char text[256];
    if (io_read_at(dir, "cgroup.controllers", text, sizeof text) < 0)
        text[0] = 0;
    uint32_t available = cgroup_limits_named(text), have = 0;
    cgroup_sweep_leaves(dir);
    if (available) {
        char leaf[64];
        int r = move_to_leaf(dir, leaf, sizeof leaf);
        if (r < 0)
            return r;
        r = cgroup_enable(dir, available, ENABLE_PATIENCE_MS, &have);
        if (!have) {
            move_back(dir, leaf);
            return r;
        }
    }
    struct err why;
    int r = cgroup_base_unified(host, path, have, &why);
    if (r == 0)
        memcpy(host->place, path, strlen(path) + 1); /* fits: v2 is the same and more */
    return r;
}

static int ask_and_use(struct cgroup_host *host, const struct cgroup_mounts *mounts)
{
    char runtime_dir[128], why[160], path[CGROUP_PATH_MAX];
    const char *set = getenv("XDG_RUNTIME_DIR");
    if (set && set[0] == '/' && strlen(set) < sizeof runtime_dir)
        snprintf(runtime_dir, sizeof runtime_dir, "%s", set);
    else
        snprintf(runtime_dir, sizeof runtime_dir, "/run/user/%u", geteuid());
    if (cgroup_scope_ask(BUSCTL, runtime_dir, SCOPE_WAIT_MS, why, sizeof why) < 0) {
        cgroup_host_none(
            host,
            "no delegated cgroup: %.150s. Log in through systemd, or: systemd-run --user "
            "--scope -p Delegate=yes berth …",
            why);
        return -EACCES;
    }
    int r = own_directory(mounts, path, sizeof path);
    if (r == 0)
        r = use_delegated(host, path);
    char *scope = r == 0 ? strrchr(host->place, '/') : NULL;
    if (scope)
        *scope = 0;
    return r;
}

void cgroup_open_rootless(struct cgroup_host *host, const struct cgroup_mounts *mounts)
{
    char path[CGROUP_PATH_MAX], text[256];
    if (!mounts->v2[0] || mounts->v2_read_only) {
        cgroup_host_none(host, "no writable cgroup v2 file system here");
        return;
    }
    snprintf(path, sizeof path, "%s/cgroup.controllers", mounts->v2);
    bool unified = io_read_at(AT_FDCWD, path, text, sizeof text) > 0 && cgroup_limits_named(text);

    int r = own_directory(mounts, path, sizeof path);
    if (r == 0)
        r = use_delegated(host, path);
    if (!unified) {
        if (r < 0)
            memset(host, 0, sizeof *host);
        else
            cgroup_sweep_scopes(host);
        snprintf(host->reason, sizeof host->reason,
                 "this host limits through cgroup v1, which no ordinary user can be given: boot "
                 "with systemd.unified_cgroup_hierarchy=1, or run berth as root");
        return;
    }
    /* A delegation with fewer controllers than the manager could give is not worth a scope. */
    if (r < 0 || !host->limits)
        r = ask_and_use(host, mounts);
    if (r == 0)
        cgroup_sweep_scopes(host);
    if (r < 0 && !host->reason[0])
        cgroup_host_none(host, "%s",
                         r == -EBUSY
                             ? "other processes live in the delegated cgroup: start berth by "
                               "systemd-run --user --scope -p Delegate=yes"
                             : "the delegated cgroup refuses controllers");
    if (host->limits && host->limits != ALL && !host->reason[0]) {
        char names[64];
        cgroup_limits_print(ALL & ~host->limits, names, sizeof names);
        snprintf(host->reason, sizeof host->reason,
                 "no limit of %s: not delegated to users here. As root: systemctl edit "
                 "user@.service, add [Service] Delegate=cpu cpuset io memory pids",
                 names);
    }
}
