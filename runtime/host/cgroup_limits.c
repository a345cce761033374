/* This file writes the limits of a session and reads them back, in unified; it calls cgroup_v1.c
 * for hybrid, and it never makes or removes a cgroup. PRIVILEGED: the launcher's.
 *
 * A limit is believed when the kernel has read it back, not when the write succeeded.
 */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"
#include "runtime/host/cgroup_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ENABLE_PATIENCE_MS = 200 };

int cgroup_write_number(int dir, const char *file, uint64_t value, const char *step,
                        struct err *err)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    int r = io_write_at(dir, file, text);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, step, file, "The value was %s.", text) : 0;
}

int cgroup_read_number(int dir, const char *file, uint64_t *ret, struct err *err)
{
    char text[64];
    ssize_t n = io_read_at(dir, file, text, sizeof text);
    if (n < 0)
        return err_set(err, ERR_UNAVAILABLE, (int)-n, "read a limit back", file, NULL);
    if (strcmp(text, "max") == 0 || text[0] == '-') {
        *ret = 0;
        return 0;
    }
    if (units_parse_u64(text, ret) < 0)
        return err_set(err, ERR_INTERNAL, EPROTO, "read a limit back", file,
                       "The kernel says \"%s\".", text);
    return 0;
}

uint64_t cgroup_quota_us(uint64_t cpu_millis)
{
    uint64_t quota = cpu_millis > UINT64_MAX / (CGROUP_PERIOD_US / 1000)
                         ? UINT64_MAX
                         : cpu_millis * (CGROUP_PERIOD_US / 1000);
    return quota < CGROUP_QUOTA_MIN_US ? CGROUP_QUOTA_MIN_US : quota;
}

int cgroup_kernel_memory(const struct spec_limits *limits, uint64_t *ret, struct err *err)
{
    uint64_t sum;
    if (__builtin_add_overflow(limits->memory_bytes, limits->scratch_bytes, &sum) ||
        sum > INT64_MAX)
        return err_set(err, ERR_INVALID_REQUEST, ERANGE, "limit memory", NULL,
                       "memory and scratch together are more than a kernel can count.");
    *ret = limits->memory_bytes ? sum : 0;
    return 0;
}

/* The kernel keeps a memory limit in whole pages, rounded down. */
static int prove(const char *what, uint64_t want, uint64_t got, uint64_t slack, struct err *err)
{
    if (got != 0 && got <= want && want - got < slack)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, EIO, "limit a session", what,
                   "The kernel took %llu and then answered %llu: this limit does not hold here.",
                   (unsigned long long)want, (unsigned long long)got);
}

static int prove_limits(struct cgroup_session *cg, const struct spec_limits *limits,
                        uint64_t memory, struct err *err)
{
    struct spec_limits has = {0};
    uint64_t has_memory = 0;
    int r = cgroup_session_read(cg, &has, &has_memory, err);
    uint32_t can = cg->host->limits;
    if (r == 0 && memory && (can & SPEC_LIMIT_MEMORY))
        r = prove("memory", memory, has_memory, (uint64_t)sysconf(_SC_PAGESIZE), err);
    if (r == 0 && limits->pids && (can & SPEC_LIMIT_PIDS))
        r = prove("pids", limits->pids, has.pids, 1, err);
    if (r == 0 && limits->cpu_millis && (can & SPEC_LIMIT_CPU))
        r = prove("cpu", cgroup_quota_us(limits->cpu_millis) * 1000 / CGROUP_PERIOD_US,
                  has.cpu_millis, 1, err);
    if (r == 0) {
        cg->proven = has;
        cg->proven_kernel_memory = has_memory;
    }
    return r;
}

static int limit_cpu(int run, uint64_t cpu_millis, struct err *err)
{
    char text[64];
    snprintf(text, sizeof text, "%llu %d", (unsigned long long)cgroup_quota_us(cpu_millis),
             CGROUP_PERIOD_US);
    int r = io_write_at(run, "cpu.max", text);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "limit cpu", "cpu.max", "The value was %s.",
                           text)
                 : 0;
}

static int limit_memory(int run, uint64_t memory, struct err *err)
{
    int r = cgroup_write_number(run, "memory.max", memory, "limit memory", err);
    if (r < 0)
        return r;
    /* No such file: the kernel counts no swap, and a cgroup cannot use what it is not charged for
     * only where there is no swap at all; read-back is of memory.max, doctor looks at swap. */
    r = io_write_at(run, "memory.swap.max", "0");
    if (r < 0 && r != -ENOENT)
        return err_set(err, ERR_UNAVAILABLE, -r, "limit memory", "memory.swap.max", NULL);
    /* One command's death must not take the others with it. 0 is the default, but only of today. */
    r = io_write_at(run, "memory.oom.group", "0");
    if (r < 0 && r != -ENOENT)
        return err_set(err, ERR_UNAVAILABLE, -r, "limit memory", "memory.oom.group", NULL);
    return 0;
}

static int limit_unified(const struct cgroup_session *cg, const struct spec_limits *limits,
                         uint64_t memory, struct err *err)
{
    uint32_t can = cg->host->limits, have = 0;
    int r = cgroup_enable(cg->s_fd, can, ENABLE_PATIENCE_MS, &have);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "enable controllers", cg->name,
                       "cgroup.subtree_control of the session's cgroup refuses them.");
    if (memory && (can & SPEC_LIMIT_MEMORY))
        r = limit_memory(cg->run_fd, memory, err);
    if (r == 0 && limits->pids && (can & SPEC_LIMIT_PIDS))
        r = cgroup_write_number(cg->run_fd, "pids.max", limits->pids, "limit processes", err);
    if (r == 0 && limits->cpu_millis && (can & SPEC_LIMIT_CPU))
        r = limit_cpu(cg->run_fd, limits->cpu_millis, err);
    return r;
}

int cgroup_session_limit(struct cgroup_session *cg, const struct spec_limits *limits,
                         struct err *err)
{
    if (cg->run_fd < 0)
        return 0;
    uint64_t memory = 0;
    int r = cgroup_kernel_memory(limits, &memory, err);
    if (r < 0)
        return r;
    cg->scratch_bytes = limits->scratch_bytes;
    r = cg->host->layout == RUNTIME_CGROUP_UNIFIED ? limit_unified(cg, limits, memory, err)
                                                   : cgroup_v1_limit(cg, limits, memory, err);
    return r < 0 ? r : prove_limits(cg, limits, memory, err);
}

/* "max 100000" or "150000 100000". */
static int read_cpu(int run, uint64_t *ret_millis, struct err *err)
{
    char text[64];
    ssize_t n = io_read_at(run, "cpu.max", text, sizeof text);
    if (n < 0)
        return err_set(err, ERR_UNAVAILABLE, (int)-n, "read a limit back", "cpu.max", NULL);
    unsigned long long quota, period;
    *ret_millis = 0;
    if (sscanf(text, "%llu %llu", &quota, &period) == 2 && period > 0)
        *ret_millis = quota * 1000 / period;
    return 0;
}

static int read_unified(const struct cgroup_session *cg, struct spec_limits *ret, uint64_t *memory,
                        struct err *err)
{
    uint32_t can = cg->host->limits;
    int r = 0;
    if (can & SPEC_LIMIT_MEMORY)
        r = cgroup_read_number(cg->run_fd, "memory.max", memory, err);
    if (r == 0 && (can & SPEC_LIMIT_PIDS))
        r = cgroup_read_number(cg->run_fd, "pids.max", &ret->pids, err);
    if (r == 0 && (can & SPEC_LIMIT_CPU))
        r = read_cpu(cg->run_fd, &ret->cpu_millis, err);
    return r;
}

int cgroup_session_read(const struct cgroup_session *cg, struct spec_limits *ret,
                        uint64_t *ret_kernel_memory, struct err *err)
{
    struct spec_limits has = {0};
    uint64_t memory = 0;
    int r = 0;
    if (cg->run_fd >= 0)
        r = cg->host->layout == RUNTIME_CGROUP_UNIFIED ? read_unified(cg, &has, &memory, err)
                                                       : cgroup_v1_read(cg, &has, &memory, err);
    if (r < 0)
        return r;
    if (memory) {
        has.scratch_bytes = cg->scratch_bytes;
        has.memory_bytes = memory > cg->scratch_bytes ? memory - cg->scratch_bytes : 0;
    }
    *ret = has;
    *ret_kernel_memory = memory;
    return 0;
}
