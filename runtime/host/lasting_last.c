/* This file reads what a session that lasts had used when it ends (USE-1); it never ends one.
 *
 * PRIVILEGED: a worker of the launcher's. Counters of a cgroup go with it, and those of a network
 * with the last process in it. So both are taken hold of before anybody is killed and read when
 * nobody is left; what was read is kept in the session's directory before the first cgroup is
 * removed. Who ends it again, because another worker was killed or refused something, finds it
 * there. What cannot be read is not told: a session ends all the same.
 */
#include "runtime/host/lasting.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/network.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

_Static_assert(NETWORK_COUNTER_COUNT == 4, "as many are written and read below");

#define NUMBERS "cpu %" SCNu64 " memory %" SCNu64 " %" SCNu64 " pids %" SCNu64
#define NETWORK " network %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64

static void keep(const struct lasting_last *last, const struct launcher_sample *sample)
{
    _cleanup_fd_ int place = -1;
    char text[256];
    int n =
        snprintf(text, sizeof text, NUMBERS NETWORK " end\n", sample->cpu_ns, sample->memory_bytes,
                 sample->memory_peak_bytes, sample->pids, sample->network[0], sample->network[1],
                 sample->network[2], sample->network[3]);
    if (lasting_place_open(last->rt, last->id, &place, NULL) != 0)
        return;
    _cleanup_fd_ int fd =
        openat(place, "used", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0)
        (void)io_write_full(fd, text, (size_t)n);
}

/* A file that was cut off has no end. */
static bool read_kept(const struct lasting_last *last, struct launcher_sample *ret)
{
    _cleanup_fd_ int place = -1;
    struct launcher_sample sample = {.disk_bytes = UINT64_MAX};
    char text[256];
    int at = 0;
    if (lasting_place_open(last->rt, last->id, &place, NULL) != 0 ||
        io_read_at(place, "used", text, sizeof text) <= 0 ||
        sscanf(text, NUMBERS NETWORK " end%n", &sample.cpu_ns, &sample.memory_bytes,
               &sample.memory_peak_bytes, &sample.pids, &sample.network[0], &sample.network[1],
               &sample.network[2], &sample.network[3], &at) != 8 ||
        at == 0)
        return false;
    *ret = sample;
    return true;
}

void lasting_last_begin(struct lasting_last *last, const struct cgroup_host *host, bool lives)
{
    char path[SPEC_PATH_MAX + 128];
    last->host = host;
    if (last->ret->taken || last->began || host->layout == RUNTIME_CGROUP_NONE)
        return;
    snprintf(path, sizeof path, "%s/%s", host->v2, last->cgroup);
    _cleanup_fd_ int s = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    last->began = s >= 0 && cgroup_sample(host, s, last->cgroup, &last->before, NULL) == 0;
    if (last->began && lives)
        (void)session_network_hold(last->rt, last->name, &last->netns, NULL);
}

void lasting_last_empty(void *data, int s)
{
    struct lasting_last *last = data;
    struct launcher_sample sample;
    if (last->ret->taken || cgroup_sample(last->host, s, last->cgroup, &sample, NULL) < 0)
        return;
    if (last->began) {
        sample.memory_bytes = last->before.memory_bytes;
        sample.pids = last->before.pids;
    }
    if (last->netns >= 0)
        (void)network_namespace_counters(last->netns, sample.network, NULL);
    fd_closep(&last->netns);
    keep(last, &sample);
    *last->ret = (struct launcher_last){.taken = 1, .sample = sample};
}

void lasting_last_finish(struct lasting_last *last)
{
    struct launcher_sample sample = last->before;
    fd_closep(&last->netns);
    if (!last->ret->taken && (read_kept(last, &sample) || last->began))
        *last->ret = (struct launcher_last){.taken = 1, .sample = sample};
}
