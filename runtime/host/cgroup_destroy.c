/* This file ends a session's cgroups: kills what lives in them, waits until nothing does, removes
 * every directory and says so only then; it touches nothing outside S. PRIVILEGED.
 *
 * Facts: cgroup.kill reaches frozen processes and forks that race with it (v2, 5.14). A directory
 * is EBUSY while it has children or members, and for a moment after its last member was reaped.
 * The notification of cgroup.events lags 5 ms and more, so the file is read, not polled.
 */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    NAP_FIRST_US = 20,
    NAP_LAST_US = 2000,
    VACATED_PATIENCE_US = 2000, /* a directory is busy for a moment after its last member */
    SCOPE_LATE_US = 60000000,   /* a service manager that is slower than that has given up */
    DEPTH_MAX = 16,             /* more than cgroup_session_delegate() allows below `run` */
};

struct naps {
    uint64_t deadline_us;
    unsigned next_us;
};

/* False when the time is over. */
static bool nap(struct naps *naps)
{
    if (cgroup_now_us() >= naps->deadline_us)
        return false;
    if (naps->next_us == 0)
        naps->next_us = NAP_FIRST_US;
    cgroup_sleep_us(naps->next_us);
    naps->next_us = naps->next_us * 2 > NAP_LAST_US ? NAP_LAST_US : naps->next_us * 2;
    return true;
}

/* 1: something lives in it. 0: nothing does. -errno */
static int is_populated(int dir)
{
    char text[128];
    ssize_t n = io_read_at(dir, "cgroup.events", text, sizeof text);
    if (n < 0)
        return (int)n;
    return strstr(text, "populated 0") ? 0 : 1;
}

static int remove_children(int dir, uint64_t deadline_us, int depth);

static int remove_one(int parent, const char *name, uint64_t deadline_us, int depth)
{
    struct naps naps = {.deadline_us = deadline_us};
    for (;;) {
        if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
            return 0;
        int keep = errno;
        if (keep != EBUSY && keep != ENOTEMPTY)
            return -keep;
        if (depth >= DEPTH_MAX)
            return -ELOOP;
        _cleanup_fd_ int dir =
            openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (dir < 0 && errno != ENOENT)
            return -errno;
        int r = dir < 0 ? 0 : remove_children(dir, deadline_us, depth + 1);
        if (r < 0)
            return r;
        if (!nap(&naps))
            return -keep;
    }
}

/* Positive: how many children were removed. */
static int remove_children(int dir, uint64_t deadline_us, int depth)
{
    int listed = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (listed < 0)
        return errno == ENOENT || errno == ENODEV ? 0 : -errno;
    DIR *stream = fdopendir(listed);
    if (!stream) {
        int keep = errno;
        fd_close(listed);
        return -keep;
    }
    int r = 0;
    for (struct dirent *e; r >= 0 && (e = readdir(stream));)
        if (e->d_type == DT_DIR && strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            int one = remove_one(dir, e->d_name, deadline_us, depth);
            r = one < 0 ? one : r + 1;
        }
    closedir(stream);
    return r;
}

int cgroup_remove_tree(int parent, const char *name, uint64_t deadline_us)
{
    return remove_one(parent, name, deadline_us, 0);
}

static int kill_and_wait(int s, uint64_t deadline_us, struct err *err, const char *name)
{
    int r = is_populated(s);
    if (r == 1) {
        r = io_write_at(s, "cgroup.kill", "1");
        if (r < 0)
            return err_set(err, ERR_UNAVAILABLE, -r, "kill a session's processes", name,
                           "cgroup.kill refuses: a kernel before 5.14?");
        struct naps naps = {.deadline_us = deadline_us};
        while ((r = is_populated(s)) == 1 && nap(&naps))
            ;
    }
    /* ENODEV: removed by another between open and read. */
    if (r == -ENODEV || r == -ENOENT)
        return 0;
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "wait for a session's end", name, NULL);
    if (r == 1) {
        char pids[96] = "";
        io_read_at(s, "run/cgroup.procs", pids, sizeof pids);
        for (char *p = pids; *p; p++)
            if (*p == '\n')
                *p = ' ';
        return err_set(err, ERR_UNAVAILABLE, ETIMEDOUT, "wait for a session's end", name,
                       "Killed processes are still there (%s): in a system call that cannot be "
                       "interrupted. Ask again; they end when the device answers.",
                       pids[0] ? pids : "in a cgroup below");
    }
    return 0;
}

/* Children first; the short way is three calls, because nearly always nothing else is there.
 * `first`: 1 when `run` is gone. */
static int remove_v2(const struct cgroup_host *host, const char *name, int s, size_t first,
                     uint64_t deadline_us, struct err *err)
{
    static const char *const children[] = {"run", "init"};
    for (size_t i = first; i < ARRAY_LENGTH(children); i++) {
        int r = cgroup_remove_tree(s, children[i], deadline_us);
        if (r < 0)
            return err_set(err, ERR_UNAVAILABLE, -r, "remove a session's cgroup", name,
                           "%s/%s/%s is still there.", host->v2, name, children[i]);
    }
    char path[CGROUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", host->v2, name);
    int r = cgroup_remove_tree(AT_FDCWD, path, deadline_us);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "remove a session's cgroup", path, NULL) : 0;
}

static int remove_v1(const struct cgroup_host *host, const char *name, uint64_t deadline_us,
                     struct err *err)
{
    int first = 0;
    for (int i = 0; i < CGROUP_V1_COUNT; i++) {
        if (!host->v1[i][0])
            continue;
        char path[CGROUP_PATH_MAX];
        snprintf(path, sizeof path, "%s/%s", host->v1[i], name);
        int r = cgroup_remove_tree(AT_FDCWD, path, deadline_us);
        if (r < 0 && first == 0)
            first = err_set(err, ERR_UNAVAILABLE, -r, "remove a session's cgroup", path,
                            r == -EBUSY ? "A process that is not in the session's v2 cgroup has "
                                          "joined it: see its `tasks`."
                                        : NULL);
    }
    return first;
}

/* Who wants to know what S counted. */
struct teller {
    void (*empty)(void *data, int s);
    void *data;
};

static int destroy(const struct cgroup_host *host, const char *name, int s, unsigned timeout_ms,
                   const struct teller *teller, struct err *err)
{
    uint64_t deadline_us = cgroup_now_us() + (uint64_t)timeout_ms * 1000;
    if (s >= 0) {
        int r = kill_and_wait(s, deadline_us, err, name);
        if (r == 0 && teller && teller->empty)
            teller->empty(teller->data, s);
        if (r == 0)
            r = remove_v2(host, name, s, 0, deadline_us, err);
        if (r < 0)
            return r;
    }
    return remove_v1(host, name, deadline_us, err);
}

/* Does nothing live in `dir`/`file` but, perhaps, `pid`? */
static bool holds_only(int dir, const char *file, pid_t pid)
{
    char text[32], alone[32];
    ssize_t n = io_read_at(dir, file, text, sizeof text);
    snprintf(alone, sizeof alone, "%ld", (long)pid);
    return n == 0 || (n > 0 && strcmp(text, alone) == 0);
}

bool cgroup_session_vacate(struct cgroup_session *cg, pid_t init)
{
    if (!cg->host || cg->host->layout == RUNTIME_CGROUP_NONE || cg->s_fd < 0)
        return false;
    if (unlinkat(cg->s_fd, "run", AT_REMOVEDIR) < 0)
        return false;
    char path[CGROUP_PATH_MAX];
    bool gone = true;
    for (int i = 0; i < CGROUP_V1_COUNT; i++) {
        if (!cg->host->v1[i][0])
            continue;
        snprintf(path, sizeof path, "%s/%s", cg->host->v1[i], cg->name);
        /* What is busy is looked at again by cgroup_session_destroy(). */
        gone = rmdir(path) == 0 && gone;
    }
    bool alone =
        holds_only(cg->s_fd, "cgroup.procs", -1) && holds_only(cg->s_fd, "init/cgroup.procs", init);
    cg->vacated = gone && alone;
    return alone;
}

/* In the scope of another berth process, which is gone: the user's systemd could not remove the
 * cgroups below it that are the session's id's, and keeps it for them. */
static int destroy_in_scope(const struct cgroup_host *host, const char *scope, const char *name,
                            unsigned timeout_ms, const struct teller *teller, struct err *err)
{
    struct cgroup_host other = *host;
    char path[CGROUP_PATH_MAX];
    int n = snprintf(other.v2, sizeof other.v2, "%s/%s/%s", host->place, scope,
                     strrchr(host->v2, '/') + 1);
    if (n < 0 || (size_t)n >= sizeof other.v2)
        return 0; /* no berth was there: its own base must fit */
    snprintf(path, sizeof path, "%s/%s", other.v2, name);
    _cleanup_fd_ int s = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s < 0)
        return errno == ENOENT
                   ? 0
                   : err_set(err, ERR_UNAVAILABLE, errno, "open a session's cgroup", path, NULL);
    return destroy(&other, name, s, timeout_ms, teller, err);
}

unsigned cgroup_sweep_leaves(int dir)
{
    unsigned removed = 0;
    int listed = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = listed < 0 ? NULL : fdopendir(listed);
    if (!stream) {
        fd_close(listed);
        return 0;
    }
    /* One that still has a member refuses with EBUSY. */
    for (struct dirent *e; (e = readdir(stream));)
        if (strncmp(e->d_name, CGROUP_LEAF_PREFIX, sizeof CGROUP_LEAF_PREFIX - 1) == 0)
            removed += unlinkat(dir, e->d_name, AT_REMOVEDIR) == 0;
    closedir(stream);
    return removed;
}

/* Its name says until when its maker waits to be moved into it (cgroup_scope_ask()): from some time
 * after that on, nobody is on his way there. */
static bool is_overdue(const char *scope)
{
    unsigned long long deadline_us;
    return sscanf(scope, CGROUP_SCOPE_PREFIX "%*d-%llx" CGROUP_SCOPE_SUFFIX, &deadline_us) == 1 &&
           cgroup_now_us() > deadline_us + SCOPE_LATE_US;
}

/* The user's systemd looks once, when the last process has gone: what it could not remove then,
 * because a session's cgroup was in it, nobody does but us. A scope with neither a base nor a leaf
 * is one in which no berth has been yet, whose first process is on its way, or what somebody who
 * was killed here has left: time tells. */
static void sweep_scope(const struct cgroup_host *host, int place, const char *scope)
{
    _cleanup_fd_ int dir = openat(place, scope, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0 || is_populated(dir) != 0)
        return;
    /* A base that a session is in stays, and the scope with it. */
    bool emptied = unlinkat(dir, strrchr(host->v2, '/') + 1, AT_REMOVEDIR) == 0;
    emptied = cgroup_sweep_leaves(dir) > 0 || emptied;
    if (emptied || is_overdue(scope))
        (void)unlinkat(place, scope, AT_REMOVEDIR);
}

static bool is_scope(const char *name)
{
    static const char prefix[] = CGROUP_SCOPE_PREFIX, suffix[] = CGROUP_SCOPE_SUFFIX;
    size_t length = strlen(name);
    return length > sizeof suffix && strncmp(name, prefix, sizeof prefix - 1) == 0 &&
           strcmp(name + length - (sizeof suffix - 1), suffix) == 0;
}

void cgroup_sweep_scopes(const struct cgroup_host *host)
{
    DIR *stream = host->place[0] ? opendir(host->place) : NULL;
    if (!stream)
        return;
    for (struct dirent *e; (e = readdir(stream));)
        if (is_scope(e->d_name))
            sweep_scope(host, dirfd(stream), e->d_name);
    closedir(stream);
}

static int destroy_in_scopes(const struct cgroup_host *host, const char *name, unsigned timeout_ms,
                             const struct teller *teller, struct err *err)
{
    DIR *stream = opendir(host->place);
    if (!stream)
        return errno == ENOENT
                   ? 0
                   : err_set(err, ERR_UNAVAILABLE, errno, "look for scopes", host->place, NULL);
    int r = 0;
    for (struct dirent *e; r == 0 && (e = readdir(stream));)
        if (is_scope(e->d_name)) {
            r = destroy_in_scope(host, e->d_name, name, timeout_ms, teller, err);
            sweep_scope(host, dirfd(stream), e->d_name);
        }
    closedir(stream);
    return r;
}

int cgroup_leftover_destroy(const struct cgroup_host *host, const char *name, unsigned timeout_ms,
                            struct err *err)
{
    return cgroup_leftover_end(host, name, timeout_ms, NULL, NULL, err);
}

int cgroup_leftover_end(const struct cgroup_host *host, const char *name, unsigned timeout_ms,
                        void (*empty)(void *data, int s), void *data, struct err *err)
{
    const struct teller teller = {empty, data};
    if (!cgroup_name_valid(name))
        return err_set(err, ERR_INTERNAL, EINVAL, "remove a session's cgroup", name,
                       "This is no name of berth's own making.");
    if (host->layout == RUNTIME_CGROUP_NONE)
        return 0;
    char path[CGROUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", host->v2, name);
    _cleanup_fd_ int s = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s < 0 && errno != ENOENT)
        return err_set(err, ERR_UNAVAILABLE, errno, "open a session's cgroup", path, NULL);
    if (s < 0 && host->place[0]) {
        int r = destroy_in_scopes(host, name, timeout_ms, &teller, err);
        if (r < 0)
            return r;
    }
    return destroy(host, name, s, timeout_ms, &teller, err);
}

bool cgroup_leftover_kill(const struct cgroup_host *host, const char *name)
{
    char path[CGROUP_PATH_MAX];
    if (!cgroup_name_valid(name) || host->layout == RUNTIME_CGROUP_NONE)
        return false;
    snprintf(path, sizeof path, "%s/%s/cgroup.kill", host->v2, name);
    return io_write_at(AT_FDCWD, path, "1") == 0;
}

int cgroup_session_destroy(struct cgroup_session *cg, unsigned timeout_ms, struct err *err)
{
    if (!cg->host || cg->host->layout == RUNTIME_CGROUP_NONE)
        return 0;
    if (cg->s_fd < 0)
        return cgroup_leftover_destroy(cg->host, cg->name, timeout_ms, err);
    /* Nobody but init was left, and it is gone: there is nothing to kill, or to find out. Should
     * that be wrong, the removal below fails, and the long way is gone. */
    if (cg->vacated && remove_v2(cg->host, cg->name, cg->s_fd, 1,
                                 cgroup_now_us() + (uint64_t)VACATED_PATIENCE_US, NULL) == 0)
        return 0;
    return destroy(cg->host, cg->name, cg->s_fd, timeout_ms, NULL, err);
}
