/* This file chooses the layout and makes berth's base directories with their controllers; it never
 * touches a session. PRIVILEGED: root of the host, or the user for a delegated cgroup.
 *
 * Should: mkdir of its own level, and enabling controllers that are off. Mustn't: disable what
 * another has enabled, move a process of another's, or change a limit above berth's own level.
 * Every start pays for this: what stands where nearly every host has it is proven there in a few
 * calls, and the table of mounts, which is long on a host with containers, is read only when not.
 */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define BASE_NAME "berth"

static const uint32_t ALL = SPEC_LIMIT_MEMORY | SPEC_LIMIT_CPU | SPEC_LIMIT_PIDS;

uint64_t cgroup_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void cgroup_sleep_us(unsigned us)
{
    struct timespec t = {.tv_sec = us / 1000000u, .tv_nsec = (long)(us % 1000000u) * 1000};
    nanosleep(&t, NULL);
}

static uint32_t enabled_in(int dir)
{
    char text[256];
    return io_read_at(dir, "cgroup.subtree_control", text, sizeof text) < 0
               ? 0
               : cgroup_limits_named(text);
}

/* Another program may write the same file at the same time: only what is read back counts. */
static int enable_once(int dir, uint32_t missing)
{
    char text[64] = "";
    size_t n = 0;
    for (int i = 0; i < CGROUP_V1_COUNT; i++)
        if (missing & cgroup_controllers[i].limit)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s+%s", n ? " " : "",
                                  cgroup_controllers[i].name);
    return io_write_at(dir, "cgroup.subtree_control", text);
}

int cgroup_enable(int dir, uint32_t want, unsigned patience_ms, uint32_t *ret_have)
{
    uint32_t have = enabled_in(dir);
    uint64_t deadline = cgroup_now_us() + (uint64_t)patience_ms * 1000;
    int r = 0;
    while ((want & ~have) != 0) {
        r = enable_once(dir, want & ~have);
        /* One controller that cannot be had must not cost the others (cgroup-v2.rst: a write of
         * several succeeds or fails as a whole). */
        for (int i = 0; r < 0 && r != -EBUSY && i < CGROUP_V1_COUNT; i++)
            if (want & ~have & cgroup_controllers[i].limit)
                (void)enable_once(dir, cgroup_controllers[i].limit);
        have = enabled_in(dir);
        if ((want & ~have) == 0 || r != -EBUSY || cgroup_now_us() >= deadline)
            break;
        cgroup_sleep_us(200);
    }
    *ret_have = have;
    if ((want & ~have) == 0)
        return 0;
    return r < 0 ? r : -EIO;
}

/* 0755: everybody may look, as at every other cgroup of a host. */
static int make_base(const char *parent, char *ret, size_t size)
{
    char path[CGROUP_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s", parent, BASE_NAME);
    if (n < 0 || (size_t)n >= size)
        return -ENAMETOOLONG;
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return -errno;
    memcpy(ret, path, (size_t)n + 1);
    return 0;
}

/* Adds "no limit of X: why" to the reason. */
__attribute__((format(printf, 3, 4))) static void lacking(struct cgroup_host *host,
                                                          uint32_t missing, const char *fmt, ...)
{
    char names[64];
    cgroup_limits_print(missing, names, sizeof names);
    size_t n = strlen(host->reason), size = sizeof host->reason;
    n += (size_t)snprintf(host->reason + n, size - n, "%sno limit of %s: ", n ? "; " : "", names);
    if (n >= size)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(host->reason + n, size - n, fmt, ap);
    va_end(ap);
}

static const char *why_not_enabled(int r)
{
    return r == -EBUSY ? "processes live in it (cgroup v2 allows no process beside limited groups: "
                         "in a container, start it with its own init in a cgroup below)"
                       : strerror(-r);
}

static void enable_or_say(struct cgroup_host *host, const char *path, uint32_t want)
{
    _cleanup_fd_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint32_t have = 0;
    int r = dir < 0 ? -errno : cgroup_enable(dir, want, 0, &have);
    host->limits = want & have;
    if (host->limits == want)
        return;
    lacking(host, want & ~have, "%.60s/cgroup.subtree_control: %s", path, why_not_enabled(r));
}

int cgroup_base_unified(struct cgroup_host *host, const char *parent, uint32_t available,
                        struct err *err)
{
    int r = make_base(parent, host->v2, sizeof host->v2);
    if (r < 0)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, -r, "make berth's cgroup", parent,
                       "Sessions need a cgroup of their own below it.");
    enable_or_say(host, parent, available);
    if (host->limits)
        enable_or_say(host, host->v2, host->limits);
    /* Without one controller this is v2 for membership and kill, which is what hybrid means. */
    host->layout = host->limits ? RUNTIME_CGROUP_UNIFIED : RUNTIME_CGROUP_HYBRID;
    host->clone_into = true;
    return 0;
}

static void open_v1(struct cgroup_host *host, const struct cgroup_mounts *mounts)
{
    for (int i = 0; i < CGROUP_V1_COUNT; i++) {
        const struct cgroup_controller *c = &cgroup_controllers[i];
        if (!mounts->v1[i][0]) {
            lacking(host, c->limit, "controller %s is mounted nowhere", c->name);
            continue;
        }
        int r = make_base(mounts->v1[i], host->v1[i], sizeof host->v1[i]);
        if (r < 0) {
            lacking(host, c->limit, "mkdir in %.80s: %s", mounts->v1[i], strerror(-r));
            host->v1[i][0] = 0;
            continue;
        }
        host->limits |= c->limit;
    }
}

void cgroup_host_none(struct cgroup_host *host, const char *fmt, ...)
{
    memset(host, 0, sizeof *host);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(host->reason, sizeof host->reason, fmt, ap);
    va_end(ap);
}

void cgroup_open_root(struct cgroup_host *host, const struct cgroup_mounts *mounts)
{
    if (!mounts->v2[0]) {
        cgroup_host_none(
            host, "no cgroup v2 file system is mounted: mount -t cgroup2 none /sys/fs/cgroup");
        return;
    }
    if (mounts->v2_read_only) {
        cgroup_host_none(
            host, "cgroups are mounted read-only here, as in most containers: run berth on the "
                  "host, or in a container that may write its cgroups");
        return;
    }
    char path[CGROUP_PATH_MAX], text[256];
    snprintf(path, sizeof path, "%s/cgroup.controllers", mounts->v2);
    if (io_read_at(AT_FDCWD, path, text, sizeof text) < 0)
        text[0] = 0;
    uint32_t available = cgroup_limits_named(text);
    struct err why;
    int r = cgroup_base_unified(host, mounts->v2, available, &why);
    if (r < 0) {
        cgroup_host_none(host, "mkdir %.120s/" BASE_NAME ": %s", mounts->v2, strerror(-r));
        return;
    }
    if (!available) {
        open_v1(host, mounts);
        return;
    }
    if (ALL & ~available)
        lacking(host, ALL & ~available,
                "the kernel offers no such controller in cgroup v2 here (cgroup_disable= or v1 "
                "holds it)");
}

/* Is a writable file system of this type mounted exactly at, or above, `path`? */
static bool is_writable(const char *path, unsigned long type)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == type && !(fs.f_flags & ST_RDONLY);
}

/* The usual places, each proven: v2 by the type of its file system, a v1 controller also by a file
 * of its own in berth's directory there, which only that controller's hierarchy has. False: the
 * table of mounts must be read. */
bool cgroup_mounts_usual(const char *base, struct cgroup_mounts *ret)
{
    static const char *const own_files[CGROUP_V1_COUNT] = {
        [CGROUP_V1_MEMORY] = "memory.limit_in_bytes",
        [CGROUP_V1_PIDS] = "pids.max",
        [CGROUP_V1_CPU] = "cpu.cfs_quota_us",
    };
    memset(ret, 0, sizeof *ret);
    if (is_writable(base, CGROUP2_SUPER_MAGIC)) {
        snprintf(ret->v2, sizeof ret->v2, "%s", base);
        return true;
    }
    snprintf(ret->v2, sizeof ret->v2, "%s/unified", base);
    if (!is_writable(ret->v2, CGROUP2_SUPER_MAGIC))
        return false;
    for (int i = 0; i < CGROUP_V1_COUNT; i++) {
        char file[CGROUP_PATH_MAX];
        snprintf(ret->v1[i], sizeof ret->v1[i], "%s/%s", base, cgroup_controllers[i].name);
        snprintf(file, sizeof file, "%s/" BASE_NAME "/%s", ret->v1[i], own_files[i]);
        if (!is_writable(ret->v1[i], CGROUP_SUPER_MAGIC) || access(file, F_OK) < 0)
            return false;
    }
    return true;
}

int cgroup_host_open(struct cgroup_host *ret, bool rootless, struct err *err)
{
    static const char path[] = "/proc/self/mountinfo";
    struct cgroup_mounts mounts;
    if (!rootless && cgroup_mounts_usual("/sys/fs/cgroup", &mounts)) {
        struct cgroup_host host = {0};
        cgroup_open_root(&host, &mounts);
        *ret = host;
        return 0;
    }
    _cleanup_fd_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "find cgroups", path,
                       "Is /proc mounted here? berth needs it.");
    int r = cgroup_mounts_scan(fd, &mounts);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "find cgroups", path, NULL);
    struct cgroup_host host = {0};
    if (rootless)
        cgroup_open_rootless(&host, &mounts);
    else
        cgroup_open_root(&host, &mounts);
    *ret = host;
    return 0;
}
