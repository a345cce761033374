/* This file knows which inits live, and tells front once when one has ended; it never ends one and
 * never decides by what it remembers. PRIVILEGED: the launcher's.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

static unsigned bucket_of(int64_t row, int64_t incarnation)
{
    return (unsigned)((uint64_t)(row * 31 + incarnation) % LAUNCHER_BUCKETS);
}

struct live *launcher_live_find(struct launcher *l, int64_t row, int64_t incarnation)
{
    struct live *live = l->live[bucket_of(row, incarnation)];
    while (live && (live->row != row || live->incarnation != incarnation))
        live = live->next;
    return live;
}

int launcher_live_set(struct launcher *l, int64_t row, int64_t incarnation, int pidfd)
{
    _cleanup_fd_ int own = pidfd;
    struct live *live = launcher_live_find(l, row, incarnation);
    if (!live) {
        live = calloc(1, sizeof *live);
        if (!live)
            return -ENOMEM;
        struct live **bucket = &l->live[bucket_of(row, incarnation)];
        *live = (struct live){.watch = {WATCH_LIVE},
                              .next = *bucket,
                              .row = row,
                              .incarnation = incarnation,
                              .pidfd = -1,
                              .netns = -1};
        *bucket = live;
        l->live_count++;
    }
    if (own < 0)
        return 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = live};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, own, &event) < 0)
        return -errno;
    launcher_unwatch(l, &live->pidfd);
    live->pidfd = take_fd(&own);
    if (live->untold)
        l->untold--;
    live->untold = live->held = false;
    return 0;
}

void launcher_live_remove(struct launcher *l, int64_t row, int64_t incarnation)
{
    for (struct live **at = &l->live[bucket_of(row, incarnation)]; *at; at = &(*at)->next) {
        struct live *live = *at;
        if (live->row != row || live->incarnation != incarnation)
            continue;
        *at = live->next;
        l->live_count--;
        l->untold -= live->untold;
        launcher_unwatch(l, &live->pidfd);
        fd_close(live->netns);
        free(live);
        return;
    }
}

void launcher_live_ended(struct launcher *l, struct live *live)
{
    launcher_unwatch(l, &live->pidfd);
    fd_closep(&live->netns);
    live->held = launcher_is_ending(l, live->row, live->incarnation);
    if (live->held)
        return;
    if (!live->untold)
        l->untold++;
    live->untold = true;
}

/* Field 22 of stat(5); 0: there is no such process. */
static int64_t start_of(int64_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    const char *at = io_read_at(AT_FDCWD, path, text, sizeof text) < 0 ? NULL : strrchr(text, ')');
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    long long start;
    return at && sscanf(at, " %lld", &start) == 1 ? start : 0;
}

/* Its number cannot have been given to another process between opening and comparing: while the
 * descriptor is there and the process lives, the number is its own. */
int launcher_live_open(const struct session_identity *identity)
{
    _cleanup_fd_ int pidfd =
        (int)syscall(SYS_pidfd_open, (pid_t)identity->init_pid, 0u); /* musl has no name for it */
    if (pidfd < 0 || start_of(identity->init_pid) != identity->init_start)
        return -1;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) == 0 ? take_fd(&pidfd) : -1;
}

static int count_one(void *data, const struct session_name *name)
{
    return launcher_live_set(data, name->row, name->incarnation, -1);
}

int launcher_live_count(struct launcher *l, struct err *err)
{
    if (l->counted)
        return 0;
    int r = l->calls->list(l->runtime, l->instance, count_one, l, err);
    l->counted = r == 0;
    return r;
}

int launcher_live_netns(struct launcher *l, int64_t row, int64_t incarnation)
{
    const struct live *live = launcher_live_find(l, row, incarnation);
    int netns = live ? live->netns : -1;
    /* Its worker has answered, and is not gone yet. */
    for (const struct job *job = l->jobs; job && netns < 0; job = job->next)
        if (job->request.type == LAUNCHER_LAUNCH && job->request.row == row &&
            job->request.incarnation == incarnation)
            netns = job->given;
    return netns >= 0 ? fcntl(netns, F_DUPFD_CLOEXEC, 3) : -1;
}

void launcher_live_close(struct launcher *l)
{
    for (unsigned i = 0; i < LAUNCHER_BUCKETS; i++)
        for (struct live *live = l->live[i]; live; live = live->next)
            fd_closep(&live->netns);
    for (struct job *job = l->jobs; job; job = job->next)
        fd_closep(&job->given);
}

void launcher_live_fini(struct launcher *l)
{
    for (unsigned i = 0; i < LAUNCHER_BUCKETS; i++)
        while (l->live[i])
            launcher_live_remove(l, l->live[i]->row, l->live[i]->incarnation);
}
