/* This file is the v1 half of the hybrid layout: one directory per controller with the limits,
 * joined by each command through its `tasks`; it never kills, which is v2's work. PRIVILEGED.
 *
 * Init stays in the launcher's v1 cgroups, outside the limits, as it does in unified. The
 * directories are the launcher's and stay so: nothing in v1 is ever handed to a session, because
 * v1 has no boundary of delegation (release_agent, notify_on_release).
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

static int create_one(struct cgroup_session *cg, int i, struct err *err)
{
    char path[CGROUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", cg->host->v1[i], cg->name);
    if (mkdir(path, 0755) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a session's cgroup", path, NULL);
    cg->v1_fd[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (cg->v1_fd[i] >= 0)
        cg->v1_tasks[i] = openat(cg->v1_fd[i], "tasks", O_WRONLY | O_CLOEXEC);
    if (cg->v1_tasks[i] >= 0)
        return 0;
    int r = err_set(err, ERR_UNAVAILABLE, errno, "open a session's cgroup", path, NULL);
    rmdir(path);
    fd_replace(&cg->v1_fd[i], -1);
    return r;
}

int cgroup_v1_create(struct cgroup_session *cg, struct err *err)
{
    int r = 0;
    for (int i = 0; r == 0 && i < CGROUP_V1_COUNT; i++)
        if (cg->host->v1[i][0])
            r = create_one(cg, i, err);
    return r;
}

/* With swap accounting memory and swap share one limit; without it (swapaccount=0) the kernel is
 * told not to swap this cgroup out. */
static int limit_memory(int dir, uint64_t memory, struct err *err)
{
    int r = cgroup_write_number(dir, "memory.limit_in_bytes", memory, "limit memory", err);
    if (r < 0)
        return r;
    static const char memsw[] = "memory.memsw.limit_in_bytes";
    if (faccessat(dir, memsw, F_OK, 0) == 0)
        return cgroup_write_number(dir, memsw, memory, "limit memory", err);
    if (errno != ENOENT) /* not there: the kernel counts no swap */
        return err_set(err, ERR_UNAVAILABLE, errno, "limit memory", memsw, NULL);
    return cgroup_write_number(dir, "memory.swappiness", 0, "limit memory", err);
}

static int limit_cpu(int dir, uint64_t cpu_millis, struct err *err)
{
    int r = cgroup_write_number(dir, "cpu.cfs_period_us", CGROUP_PERIOD_US, "limit cpu", err);
    if (r < 0)
        return r;
    return cgroup_write_number(dir, "cpu.cfs_quota_us", cgroup_quota_us(cpu_millis), "limit cpu",
                               err);
}

int cgroup_v1_limit(struct cgroup_session *cg, const struct spec_limits *limits,
                    uint64_t kernel_memory, struct err *err)
{
    int r = 0;
    if (kernel_memory && cg->v1_fd[CGROUP_V1_MEMORY] >= 0)
        r = limit_memory(cg->v1_fd[CGROUP_V1_MEMORY], kernel_memory, err);
    if (r == 0 && limits->pids && cg->v1_fd[CGROUP_V1_PIDS] >= 0)
        r = cgroup_write_number(cg->v1_fd[CGROUP_V1_PIDS], "pids.max", limits->pids,
                                "limit processes", err);
    if (r == 0 && limits->cpu_millis && cg->v1_fd[CGROUP_V1_CPU] >= 0)
        r = limit_cpu(cg->v1_fd[CGROUP_V1_CPU], limits->cpu_millis, err);
    return r;
}

int cgroup_v1_read(const struct cgroup_session *cg, struct spec_limits *ret,
                   uint64_t *ret_kernel_memory, struct err *err)
{
    uint64_t memory = 0, quota = 0, period = 0;
    int r = 0;
    if (cg->v1_fd[CGROUP_V1_MEMORY] >= 0)
        r = cgroup_read_number(cg->v1_fd[CGROUP_V1_MEMORY], "memory.limit_in_bytes", &memory, err);
    if (r == 0 && cg->v1_fd[CGROUP_V1_PIDS] >= 0)
        r = cgroup_read_number(cg->v1_fd[CGROUP_V1_PIDS], "pids.max", &ret->pids, err);
    if (r == 0 && cg->v1_fd[CGROUP_V1_CPU] >= 0)
        r = cgroup_read_number(cg->v1_fd[CGROUP_V1_CPU], "cpu.cfs_quota_us", &quota, err);
    if (r == 0 && quota)
        r = cgroup_read_number(cg->v1_fd[CGROUP_V1_CPU], "cpu.cfs_period_us", &period, err);
    if (r < 0)
        return r;
    ret->cpu_millis = period ? quota * 1000 / period : 0;
    /* No limit is LONG_MAX rounded down to a page. */
    *ret_kernel_memory = memory >= INT64_MAX - 0xffff ? 0 : memory;
    return 0;
}
