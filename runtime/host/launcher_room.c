/* This file says for how many sessions a launcher has room, by its limit on open files; it never
 * opens one. PRIVILEGED: the launcher's.
 *
 * Of a session that lives the launcher has the pidfd of its init, and an ordinary user's its
 * network; front has two as well, under the same limit. Who were to make one more than that could
 * no longer watch it, nor be given what comes with a request: so it is refused before it is begun.
 */
#include "runtime/host/launcher_internal.h"

#include <errno.h>
#include <sys/resource.h>

enum {
    OWN = 32,        /* sockets, the runtime's, spares', and what is open for a moment */
    POOL_FROM = 512, /* with fewer, none are spent on networks that are made ahead */
    REQUESTS_MOST = 1024,
    REQUESTS_LEAST = 16,
    EACH = 2,
};

static uint64_t own(uint64_t files)
{
    uint64_t pool = NETNS_POOL_SIZE + NETNS_POOL_FILLED * NETWORK_READY_FDS;
    return files < POOL_FROM ? OWN : OWN + pool;
}

unsigned launcher_room_for(uint64_t files)
{
    if (files > UINT32_MAX)
        files = UINT32_MAX;
    if (files < own(files))
        return 0;
    uint64_t left = files - own(files), requests = left / 4;
    requests = requests < REQUESTS_LEAST  ? REQUESTS_LEAST
               : requests > REQUESTS_MOST ? REQUESTS_MOST
                                          : requests;
    return left < requests ? 0 : (unsigned)((left - requests) / EACH);
}

static uint64_t limit(void)
{
    struct rlimit files;
    return getrlimit(RLIMIT_NOFILE, &files) < 0 ? 0 : files.rlim_cur;
}

int launcher_room_check(unsigned count, struct err *err)
{
    uint64_t files = limit();
    unsigned room = launcher_room_for(files);
    if (count < room)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, EUSERS, "start the session", NULL,
                   "berth may have %llu files open at a time, which is room for %u live sessions, "
                   "and so many live. Park or destroy one, or have the operator raise the limit "
                   "(LimitNOFILE, ulimit -Hn) and start berth again.",
                   (unsigned long long)files, room);
}

bool launcher_room_for_pool(void)
{
    return limit() >= POOL_FROM;
}
