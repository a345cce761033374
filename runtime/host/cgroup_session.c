/* This file makes a session's cgroups, hands them to init and opens what init watches; it
 * writes no limit and removes nothing but what its own failed create has made. PRIVILEGED.
 *
 * Should: keep every limit file, `S` itself and `S/init` the launcher's. Mustn't: make a name
 * twice (a cgroup that was once killed kills its newborns on 6.18), follow a client's string.
 */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* What init may make below `run`: exec cgroups and one level in them. Removing a session walks
     * this tree, so that its size must have a bound that a hostile init cannot move. */
    RUN_MAX_DEPTH = 2,
    RUN_MAX_DESCENDANTS = 4096,
};

void cgroup_session_init(struct cgroup_session *cg)
{
    memset(cg, 0, sizeof *cg);
    cg->s_fd = cg->init_fd = cg->run_fd = -1;
    for (int i = 0; i < CGROUP_V1_COUNT; i++)
        cg->v1_fd[i] = cg->v1_tasks[i] = -1;
}

void cgroup_session_fini(struct cgroup_session *cg)
{
    fd_replace(&cg->s_fd, -1);
    fd_replace(&cg->init_fd, -1);
    fd_replace(&cg->run_fd, -1);
    for (int i = 0; i < CGROUP_V1_COUNT; i++) {
        fd_replace(&cg->v1_fd[i], -1);
        fd_replace(&cg->v1_tasks[i], -1);
    }
}

static int make_directory(int parent, const char *path, int *ret, struct err *err)
{
    if (mkdirat(parent, path, 0755) < 0)
        return err_set(err, errno == EEXIST ? ERR_INTERNAL : ERR_UNAVAILABLE, errno,
                       "make a session's cgroup", path,
                       errno == EEXIST   ? "The name is used already, and a name is used once."
                       : errno == EAGAIN ? "cgroup.max.descendants or .max.depth above is reached."
                                         : NULL);
    int fd = openat(parent, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int keep = errno;
        unlinkat(parent, path, AT_REMOVEDIR);
        return err_set(err, ERR_UNAVAILABLE, keep, "open a session's cgroup", path, NULL);
    }
    *ret = fd;
    return 0;
}

static int create_all(struct cgroup_session *cg, struct err *err)
{
    char path[CGROUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", cg->host->v2, cg->name);
    int r = make_directory(AT_FDCWD, path, &cg->s_fd, err);
    /* Whatever the umask: the session's first process opens `run` in it with ids of the session. */
    if (r == 0 && fchmod(cg->s_fd, 0755) < 0)
        r = err_set(err, ERR_UNAVAILABLE, errno, "open a session's cgroup to itself", path, NULL);
    if (r == 0)
        r = make_directory(cg->s_fd, "init", &cg->init_fd, err);
    return r;
}

/* Only what this call has made is open, so only that is removed: never a directory that another
 * owns under the same name. Nothing lives in it yet. */
static void undo(struct cgroup_session *cg)
{
    char path[CGROUP_PATH_MAX];
    if (cg->s_fd >= 0) {
        unlinkat(cg->s_fd, "init", AT_REMOVEDIR);
        snprintf(path, sizeof path, "%s/%s", cg->host->v2, cg->name);
        rmdir(path);
    }
    cgroup_session_fini(cg);
}

int cgroup_session_create(struct cgroup_session *cg, const struct cgroup_host *host,
                          const char *name, struct err *err)
{
    if (!cgroup_name_valid(name))
        return err_set(err, ERR_INTERNAL, EINVAL, "make a session's cgroup", name,
                       "This is no name of berth's own making.");
    cgroup_session_init(cg);
    cg->host = host;
    snprintf(cg->name, sizeof cg->name, "%s", name);
    if (host->layout == RUNTIME_CGROUP_NONE)
        return 0;
    int r = create_all(cg, err);
    if (r < 0)
        undo(cg);
    return r;
}

int cgroup_session_complete(struct cgroup_session *cg, struct err *err)
{
    if (!cg->host || cg->host->layout == RUNTIME_CGROUP_NONE)
        return 0;
    int r = make_directory(cg->s_fd, "run", &cg->run_fd, err);
    if (r == 0 && cg->host->layout == RUNTIME_CGROUP_HYBRID)
        r = cgroup_v1_create(cg, err);
    return r;
}

/* To make and enter S/run/e1 from S/init, init must own `run` and be able to write cgroup.procs of
 * the common ancestor, S. It gets no more: with the directory S it could make a sibling of `run`
 * that has no limit, with S/cgroup.subtree_control it could switch the controllers of `run` off,
 * and with S/init/cgroup.procs it could move commands out of `run`. */
static const struct {
    bool in_run;
    const char *file; /* "" is the directory */
} handed_over[] = {
    {false, "cgroup.procs"},          {true, ""}, {true, "cgroup.procs"}, {true, "cgroup.threads"},
    {true, "cgroup.subtree_control"},
};

int cgroup_session_delegate(struct cgroup_session *cg, uint32_t uid, uint32_t gid, struct err *err)
{
    if (cg->run_fd < 0)
        return 0;
    int r = cgroup_write_number(cg->run_fd, "cgroup.max.depth", RUN_MAX_DEPTH,
                                "bound a session's cgroups", err);
    if (r == 0)
        r = cgroup_write_number(cg->run_fd, "cgroup.max.descendants", RUN_MAX_DESCENDANTS,
                                "bound a session's cgroups", err);
    for (size_t i = 0; r == 0 && i < ARRAY_LENGTH(handed_over); i++) {
        int dir = handed_over[i].in_run ? cg->run_fd : cg->s_fd;
        const char *file = handed_over[i].file;
        int done =
            file[0] ? fchownat(dir, file, uid, gid, AT_SYMLINK_NOFOLLOW) : fchown(dir, uid, gid);
        if (done < 0)
            r = err_set(err, ERR_UNAVAILABLE, errno, "hand a cgroup to the session's init",
                        file[0] ? file : "run", NULL);
    }
    if (r == 0)
        cg->delegated_once = true;
    return r;
}

static int open_events(int dir, const char *file, int *ret, struct err *err)
{
    int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "open a cgroup's events", file, NULL);
    *ret = fd;
    return 0;
}

int cgroup_session_agent_fds(struct cgroup_session *cg, int *ret_oom, int *ret_pids,
                             struct err *err)
{
    _cleanup_fd_ int oom = -1, pids = -1;
    bool unified = cg->host && cg->host->layout == RUNTIME_CGROUP_UNIFIED;
    uint32_t limits = cg->host ? cg->host->limits : 0;
    int r = 0;
    if (unified && (limits & SPEC_LIMIT_MEMORY))
        r = open_events(cg->run_fd, "memory.events", &oom, err);
    else if (cg->v1_fd[CGROUP_V1_MEMORY] >= 0)
        r = open_events(cg->v1_fd[CGROUP_V1_MEMORY], "memory.oom_control", &oom, err);
    if (r == 0 && unified && (limits & SPEC_LIMIT_PIDS))
        r = open_events(cg->run_fd, "pids.events", &pids, err);
    else if (r == 0 && cg->v1_fd[CGROUP_V1_PIDS] >= 0)
        r = open_events(cg->v1_fd[CGROUP_V1_PIDS], "pids.events", &pids, err);
    if (r < 0)
        return r;
    *ret_oom = take_fd(&oom);
    *ret_pids = take_fd(&pids);
    return 0;
}
