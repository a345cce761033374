/* This file takes a lock that another berth may hold, and says who that is when it does not come;
 * it never ends the holder.
 *
 * PRIVILEGED: as the launcher. Should: look at other processes through /proc alone. Mustn't: wait
 * without an end. Callers: workspace_share.c, volume.c, launcher_worker.c.
 *
 * A blocking wait could be ended by a signal only, and signals are the program's, not a library's:
 * so it asks again, soon at first. Whoever holds an open-file-description lock is not in
 * /proc/locks (its pid is -1 there, on 6.18 too): it is in the fdinfo of the descriptor.
 */
#include "runtime/host/lock_wait.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

enum { FIRST_NS = 100000, LONGEST_NS = 1000000 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int try_once(int fd, const struct flock *range)
{
    struct flock copy;
    if (!range)
        return flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : 0;
    copy = *range;
    return fcntl(fd, F_OFD_SETLK, &copy) < 0 ? -errno : 0;
}

int lock_wait(int fd, const struct flock *range, unsigned timeout_ms)
{
    int r = try_once(fd, range);
    uint64_t until = r == 0 ? 0 : now_ns() + timeout_ms * UINT64_C(1000000);
    for (long pause_ns = FIRST_NS; r == -EAGAIN || r == -EACCES || r == -EINTR;
         pause_ns = pause_ns * 2 > LONGEST_NS ? LONGEST_NS : pause_ns * 2) {
        if (now_ns() >= until)
            return -ETIMEDOUT;
        const struct timespec pause = {0, pause_ns};
        nanosleep(&pause, NULL);
        r = try_once(fd, range);
    }
    return r;
}

/* ---- who has it ---------------------------------------------------------------------------------
 */

struct holder {
    int pid;
    char state; /* as in /proc/<pid>/stat; '?' */
    char name[32];
};

/* "lock:\t1: OFDLCK ADVISORY  WRITE -1 08:01:1234 0 0"; the end is a number or EOF. */
static bool is_the_lock(const char *line, const struct stat *st, const struct flock *range)
{
    char kind[16];
    unsigned major_number, minor_number;
    uint64_t inode;
    long long first;
    return sscanf(line, "lock: %*[0-9]: %15s %*s %*s %*d %x:%x:%" SCNu64 " %lld", kind,
                  &major_number, &minor_number, &inode, &first) == 5 &&
           inode == st->st_ino && makedev(major_number, minor_number) == st->st_dev &&
           strcmp(kind, range ? "OFDLCK" : "FLOCK") == 0 && (!range || first == range->l_start);
}

static bool has_the_lock(int process, const char *number, const struct stat *st,
                         const struct flock *range)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "fdinfo/%s", number);
    if (io_read_at(process, path, text, sizeof text) <= 0)
        return false;
    for (const char *line = text; (line = strstr(line, "lock:")) != NULL; line++)
        if (is_the_lock(line, st, range))
            return true;
    return false;
}

static bool process_has(int process, const struct stat *st, const struct flock *range)
{
    int fd = openat(process, "fdinfo", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd < 0 ? NULL : fdopendir(fd);
    if (!list) {
        fd_close(fd);
        return false;
    }
    bool found = false;
    for (const struct dirent *e; !found && (e = readdir(list));)
        found = e->d_name[0] != '.' && has_the_lock(process, e->d_name, st, range);
    closedir(list);
    return found;
}

static void describe(int process, struct holder *ret)
{
    char text[512];
    ssize_t n = io_read_at(process, "stat", text, sizeof text);
    const char *end = n > 0 ? strrchr(text, ')') : NULL;
    ret->state = end && end[1] == ' ' && end[2] ? end[2] : '?';
    if (io_read_at(process, "comm", ret->name, sizeof ret->name) <= 0)
        snprintf(ret->name, sizeof ret->name, "berth");
}

/* A descriptor may have been handed on with the lock: one that is stopped is the answer, else the
 * first. */
static bool find_holder(int fd, const struct flock *range, struct holder *ret)
{
    struct stat st;
    DIR *list = fstat(fd, &st) == 0 ? opendir("/proc") : NULL;
    if (!list)
        return false;
    ret->pid = 0;
    for (const struct dirent *e; ret->state != 'T' && (e = readdir(list));) {
        uint64_t pid;
        if (units_parse_u64(e->d_name, &pid) < 0)
            continue;
        _cleanup_fd_ int process =
            openat(dirfd(list), e->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct holder one = {.pid = (int)pid};
        if (process < 0 || !process_has(process, &st, range))
            continue;
        describe(process, &one);
        if (!ret->pid || one.state == 'T')
            *ret = one;
    }
    closedir(list);
    return ret->pid != 0;
}

int lock_take(int fd, const struct flock *range, unsigned timeout_ms, const char *step,
              const char *subject, struct err *err)
{
    int r = lock_wait(fd, range, timeout_ms);
    if (r == 0)
        return 0;
    if (r != -ETIMEDOUT || !err)
        return err_set(err, ERR_UNAVAILABLE, -r, step, subject, NULL);
    struct holder holder = {.state = '?'};
    if (!find_holder(fd, range, &holder))
        return err_set(err, ERR_UNAVAILABLE, -r, step, subject,
                       "Another berth has held it for %u s, and /proc does not show which: it may "
                       "be in another container or another user's. Look there for one that is "
                       "stopped or frozen.",
                       timeout_ms / 1000);
    char go_on[48] = "";
    if (holder.state == 'T')
        snprintf(go_on, sizeof go_on, " with \"kill -CONT %d\"", holder.pid);
    return err_set(err, ERR_UNAVAILABLE, -r, step, subject,
                   "Process %d (%s) has held it for %u s%s. Let it go on%s, or end it with "
                   "\"kill -KILL %d\": what it was at is cleaned up by the next berth.",
                   holder.pid, holder.name, timeout_ms / 1000, go_on[0] ? " and is stopped" : "",
                   go_on, holder.pid);
}
