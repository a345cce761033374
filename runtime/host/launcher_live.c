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
#include <sys/socket.h>
#include <sys/stat.h>
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

/* ---- for the next launcher --------------------------------------------------------------------
 */

/* The supervisor reads whenever it is not starting somebody: where it has no room, the next
 * launcher may lack this one, or the supervisor has it longer than it is of use. */
static void tell_keep(const struct launcher *l, uint8_t kind, int64_t row, int64_t incarnation,
                      int fd)
{
    struct launcher_keep keep = {.kind = kind, .row = row, .incarnation = incarnation};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&keep, sizeof keep};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    memset(&control, 0, sizeof control);
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    if (l->supervisor >= 0)
        (void)sendmsg(l->supervisor, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void launcher_live_keep(const struct launcher *l, const struct live *live)
{
    if (live->netns >= 0)
        tell_keep(l, LAUNCHER_KEEP_NETNS, live->row, live->incarnation, live->netns);
}

static void let_go(const struct launcher *l, struct live *live)
{
    if (live->netns >= 0)
        tell_keep(l, LAUNCHER_KEEP_NO_MORE, live->row, live->incarnation, -1);
    fd_closep(&live->netns);
}

/* 0; 1: this launcher's is not the one that networks were kept with. */
static int tell_outer(struct launcher *l, int before)
{
    struct stat was, is;
    _cleanup_fd_ int userns = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    if (userns < 0 || fstat(userns, &is) < 0)
        return -errno;
    struct err err;
    bool other = before <= 0 || fstat(before, &was) < 0 || was.st_ino != is.st_ino;
    if (before > 0 && other && l->tell) {
        err_set(&err, ERR_UNAVAILABLE, 0, "enter the user namespace of before", NULL,
                "Networks of sessions that live are served on by the gateway that has them, and by "
                "no later one until they are parked and resumed.");
        l->tell(&err);
    }
    tell_keep(l, LAUNCHER_KEEP_OUTER, 0, 0, userns);
    return other;
}

static void drop_one(const struct launcher *l, struct launcher_kept *kept)
{
    tell_keep(l, LAUNCHER_KEEP_NO_MORE, kept->row, kept->incarnation, -1);
    fd_closep(&kept->netns);
}

/* Every session is known, and what is kept of another one is of one that has ended unseen; or this
 * launcher has no rights in any of them, and no use. */
static void drop_kept(struct launcher *l)
{
    for (unsigned i = 0; i < l->kept_count; i++)
        if (l->kept[i].netns >= 0)
            drop_one(l, &l->kept[i]);
}

int launcher_live_open_kept(struct launcher *l, const struct launcher_options *options)
{
    _cleanup_fd_ int before = options->outer > 0 ? options->outer : -1;
    int r = l->config->rootless ? tell_outer(l, before) : 0;
    if (r < 0 || options->kept_count == 0)
        return r < 0 ? r : 0;
    l->kept = calloc(options->kept_count, sizeof *l->kept);
    if (!l->kept)
        return -ENOMEM;
    l->kept_count = options->kept_count;
    memcpy(l->kept, options->kept, l->kept_count * sizeof *l->kept);
    if (r > 0)
        drop_kept(l);
    return 0;
}

static struct launcher_kept *find_kept(const struct launcher *l, int64_t row, int64_t incarnation)
{
    for (unsigned i = 0; i < l->kept_count; i++)
        if (l->kept[i].row == row && l->kept[i].incarnation == incarnation && l->kept[i].netns >= 0)
            return &l->kept[i];
    return NULL;
}

/* From the time on when its session is known here. */
static int take_kept(const struct launcher *l, int64_t row, int64_t incarnation)
{
    struct launcher_kept *kept = find_kept(l, row, incarnation);
    return kept ? take_fd(&kept->netns) : -1;
}

/* ---- those that are known -------------------------------------------------------------------- */

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
                              .netns = take_kept(l, row, incarnation)};
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

/* ---- ends ------------------------------------------------------------------------------------ */

void launcher_live_remove(struct launcher *l, int64_t row, int64_t incarnation)
{
    struct launcher_kept *kept = find_kept(l, row, incarnation);
    if (kept)
        drop_one(l, kept);
    for (struct live **at = &l->live[bucket_of(row, incarnation)]; *at; at = &(*at)->next) {
        struct live *live = *at;
        if (live->row != row || live->incarnation != incarnation)
            continue;
        *at = live->next;
        l->live_count--;
        l->untold -= live->untold;
        launcher_unwatch(l, &live->pidfd);
        let_go(l, live);
        free(live);
        return;
    }
}

void launcher_live_ended(struct launcher *l, struct live *live)
{
    launcher_unwatch(l, &live->pidfd);
    let_go(l, live);
    live->held = launcher_is_ending(l, live->row, live->incarnation);
    if (live->held)
        return;
    if (!live->untold)
        l->untold++;
    live->untold = true;
}

static bool is_short(int sys)
{
    return sys == EMFILE || sys == ENFILE || sys == ENOMEM;
}

/* Field 22 of stat(5); 0: there is no such process. -errno: this process is short of something. */
static int64_t start_of(int64_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    ssize_t r = io_read_at(AT_FDCWD, path, text, sizeof text);
    if (r < 0 && is_short((int)-r))
        return r;
    const char *at = r < 0 ? NULL : strrchr(text, ')');
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
    if (pidfd < 0)
        return is_short(errno) ? -errno : -ESRCH;
    int64_t start = start_of(identity->init_pid);
    if (start != identity->init_start)
        return start < 0 ? (int)start : -ESRCH;
    struct pollfd ended = {.fd = pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) == 0 ? take_fd(&pidfd) : -ESRCH;
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
    if (r == 0)
        drop_kept(l);
    return r;
}

int launcher_live_netns(struct launcher *l, int64_t row, int64_t incarnation)
{
    const struct live *live = launcher_live_find(l, row, incarnation);
    const struct launcher_kept *kept = find_kept(l, row, incarnation);
    int netns = live ? live->netns : kept ? kept->netns : -1;
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
    for (unsigned i = 0; i < l->kept_count; i++)
        fd_closep(&l->kept[i].netns);
    for (struct job *job = l->jobs; job; job = job->next)
        fd_closep(&job->given);
}

/* They live on, and the next launcher has them. */
void launcher_live_fini(struct launcher *l)
{
    launcher_live_close(l);
    for (unsigned i = 0; i < LAUNCHER_BUCKETS; i++)
        while (l->live[i])
            launcher_live_remove(l, l->live[i]->row, l->live[i]->incarnation);
    free(l->kept);
    l->kept = NULL;
    l->kept_count = 0;
}
