/* This file freezes, measures and lists the cgroups of sessions that are there already; it makes,
 * limits and removes none. PRIVILEGED.
 *
 * Facts: cgroup.freeze is v2's own (5.2) and works without any controller, so it is there in the
 * hybrid layout too, on `run`, of which every command is a member. `frozen 1` in cgroup.events
 * means that every process below has stopped. cpu.stat of v2 counts usage_usec without the
 * controller.
 */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { NAP_US = 500 };

int cgroup_freeze(int s, bool freeze, unsigned timeout_ms, struct err *err)
{
    const char *step = freeze ? "freeze a session" : "thaw a session";
    int r = io_write_at(s, "run/cgroup.freeze", freeze ? "1" : "0");
    if (r == -ENOENT)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, EOPNOTSUPP, step, "cgroup.freeze",
                       "Linux 5.2 or newer is needed, and a session with its cgroups.");
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, step, "cgroup.freeze", NULL);
    uint64_t deadline = cgroup_now_us() + timeout_ms * 1000ull;
    for (;;) {
        char text[128];
        ssize_t n = io_read_at(s, "run/cgroup.events", text, sizeof text);
        if (n < 0)
            return err_set(err, ERR_UNAVAILABLE, (int)-n, step, "cgroup.events", NULL);
        if (strstr(text, freeze ? "frozen 1" : "frozen 0"))
            return 0;
        if (cgroup_now_us() >= deadline)
            return err_set(err, ERR_UNAVAILABLE, ETIMEDOUT, step, NULL,
                           "A process of it is in a system call that can't be interrupted. Ask "
                           "again.");
        cgroup_sleep_us(NAP_US);
    }
}

bool cgroup_is_frozen(int s)
{
    char text[16] = "";
    return io_read_at(s, "run/cgroup.freeze", text, sizeof text) > 0 && text[0] == '1';
}

/* A number in `file` behind `key`, or the file's own; 0 when it is not there. */
static uint64_t number(int dir, const char *file, const char *key)
{
    char text[1024];
    unsigned long long value = 0;
    if (dir < 0 || io_read_at(dir, file, text, sizeof text) <= 0)
        return 0;
    const char *at = key ? strstr(text, key) : text;
    return at && sscanf(at + (key ? strlen(key) : 0), "%llu", &value) == 1 ? value : 0;
}

static int open_v1(const struct cgroup_host *host, int controller, const char *name)
{
    char path[CGROUP_PATH_MAX];
    if (!host->v1[controller][0])
        return -1;
    snprintf(path, sizeof path, "%s/%s", host->v1[controller], name);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

int cgroup_sample(const struct cgroup_host *host, int s, const char *name,
                  struct launcher_sample *ret, struct err *err)
{
    _cleanup_fd_ int run = openat(s, "run", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (run < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "measure a session", "run", NULL);
    struct launcher_sample sample = {.disk_bytes = UINT64_MAX};
    sample.cpu_ns = number(run, "cpu.stat", "usage_usec ") * 1000;
    if (host->layout == RUNTIME_CGROUP_HYBRID) {
        _cleanup_fd_ int memory = open_v1(host, CGROUP_V1_MEMORY, name);
        _cleanup_fd_ int pids = open_v1(host, CGROUP_V1_PIDS, name);
        sample.memory_bytes = number(memory, "memory.usage_in_bytes", NULL);
        sample.memory_peak_bytes = number(memory, "memory.max_usage_in_bytes", NULL);
        sample.pids = number(pids, "pids.current", NULL);
    } else {
        sample.memory_bytes = number(run, "memory.current", NULL);
        sample.memory_peak_bytes = number(run, "memory.peak", NULL); /* 5.19 */
        sample.pids = number(run, "pids.current", NULL);
    }
    *ret = sample;
    return 0;
}

static int each_in(const char *base, const char *prefix, int (*each)(void *data, const char *name),
                   void *data, struct err *err)
{
    DIR *stream = base[0] ? opendir(base) : NULL;
    if (!stream)
        return !base[0] || errno == ENOENT
                   ? 0
                   : err_set(err, ERR_UNAVAILABLE, errno, "list cgroups", base, NULL);
    int r = 0;
    for (const struct dirent *e; r == 0 && (e = readdir(stream));)
        if (e->d_type == DT_DIR && strncmp(e->d_name, prefix, strlen(prefix)) == 0)
            r = each(data, e->d_name);
    closedir(stream);
    return r;
}

int cgroup_each(const struct cgroup_host *host, const char *prefix,
                int (*each)(void *data, const char *name), void *data, struct err *err)
{
    int r = each_in(host->v2, prefix, each, data, err);
    for (int i = 0; r == 0 && i < CGROUP_V1_COUNT; i++)
        r = each_in(host->v1[i], prefix, each, data, err);
    return r;
}
