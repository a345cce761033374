/* This file is the launcher's loop: frames in, jobs, answers out; it never does a request's work
 * and never waits for anything but its descriptors.
 *
 * PRIVILEGED: root in the host's namespaces; rootless: it enters the caller's own user namespace
 * before the loop. Should: read frames of front only, one at a time, each checked before anything
 * of it is used. Mustn't: parse what a client wrote, keep what cannot be found again. Caller:
 * `berth serve`, in a process of its own.
 *
 * Memory is bounded by LAUNCHER_OUTSTANDING: while that many requests are not answered and read by
 * front, no further one is taken from the socket.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/host/network_ask.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* How long nothing is asked before what may be asked is prepared. */
enum { REST_MS = 2 };

static const struct watch watch_front = {WATCH_FRONT}, watch_supervisor = {WATCH_SUPERVISOR},
                          watch_signals = {WATCH_SIGNALS}, watch_pool = {WATCH_POOL};

/* ---- answers
 * ---------------------------------------------------------------------------------------- */

struct launcher_reply *launcher_reply_new(const struct launcher_request *request,
                                          const struct err *err)
{
    struct launcher_reply *reply = calloc(1, sizeof *reply);
    if (!reply)
        return NULL;
    reply->magic = LAUNCHER_MAGIC;
    reply->version = LAUNCHER_VERSION;
    reply->type = request->type;
    reply->ticket = request->ticket;
    reply->row = request->row;
    reply->incarnation = request->incarnation;
    if (err) {
        reply->result = err->sys ? -err->sys : -EINVAL;
        reply->err = *err;
    }
    return reply;
}

/* 0, -EAGAIN, or -errno: front is gone. */
static int send_reply(const struct launcher *l, const struct launcher_reply *reply)
{
    ssize_t n;
    do
        n = send(l->front, reply, sizeof *reply, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

int launcher_answer(struct launcher *l, struct launcher_reply *reply)
{
    if (!reply)
        return -ENOMEM;
    struct outgoing *out = l->front >= 0 ? calloc(1, sizeof *out) : NULL;
    if (out) {
        out->reply = *reply;
        *l->out_end = out;
        l->out_end = &out->next;
        l->out_count++;
    }
    free(reply);
    return out || l->front < 0 ? 0 : -ENOMEM;
}

static int send_died(struct launcher *l)
{
    static struct launcher_reply reply;
    for (unsigned i = 0; i < LAUNCHER_BUCKETS && l->untold > 0; i++)
        for (struct live *live = l->live[i]; live; live = live->next) {
            if (!live->untold)
                continue;
            reply = (struct launcher_reply){.magic = LAUNCHER_MAGIC,
                                            .version = LAUNCHER_VERSION,
                                            .type = LAUNCHER_REQUEST_END,
                                            .row = live->row,
                                            .incarnation = live->incarnation};
            int r = send_reply(l, &reply);
            if (r < 0)
                return r;
            live->untold = false;
            l->untold--;
        }
    return 0;
}

/* Answers first: front hears of a session before it hears of its end. */
static int flush(struct launcher *l)
{
    while (l->out) {
        struct outgoing *out = l->out;
        int r = send_reply(l, &out->reply);
        if (r < 0)
            return r;
        l->out = out->next;
        if (!l->out)
            l->out_end = &l->out;
        l->out_count--;
        free(out);
    }
    return send_died(l);
}

/* ---- requests
 * ---------------------------------------------------------------------------------------- */

struct arrival {
    struct launcher_request request;
    size_t length;
    int fds[LAUNCHER_FDS_MAX + 1]; /* one more than allowed: too many are seen to be */
    unsigned fd_count;
    bool more_fds;
};

static void close_all(struct arrival *arrival)
{
    for (unsigned i = 0; i < arrival->fd_count; i++)
        fd_close(arrival->fds[i]);
    arrival->fd_count = 0;
}

/* 0, -EAGAIN; 1: nobody is there any more. */
static int receive(int socket, struct arrival *ret)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * (LAUNCHER_FDS_MAX + 1))];
    } control;
    memset(ret, 0, sizeof *ret);
    memset(&control, 0, sizeof control);
    struct iovec part = {&ret->request, sizeof ret->request};
    /* CMSG_LEN: what CMSG_SPACE adds to an odd number is room for one more, which is filled. */
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_LEN(sizeof ret->fds)};
    ssize_t n = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : 1;
    ret->length = (size_t)n;
    ret->more_fds = message.msg_flags & MSG_CTRUNC;
    /* All descriptors of a message are in one header, and nothing else was asked for. */
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        ret->fd_count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(ret->fds, CMSG_DATA(header), ret->fd_count * sizeof(int));
    }
    return n == 0 ? 1 : 0;
}

static int not_ours(struct err *err, const char *wrong)
{
    return err_set(err, ERR_FORBIDDEN, EPROTO, "read a request of front", NULL,
                   "What came is no request: %s. The connection is ended.", wrong);
}

/* It came with descriptors for which this process has no room, and nothing else is wrong with it.
 */
static bool is_short(const struct arrival *arrival)
{
    if (!arrival->more_fds || arrival->fd_count > LAUNCHER_FDS_MAX)
        return false;
    for (unsigned count = arrival->fd_count + 1; count <= LAUNCHER_FDS_MAX; count++)
        if (!launcher_request_check(&arrival->request, arrival->length, count))
            return true;
    return false;
}

static int answer_short(struct launcher *l, const struct launcher_request *request)
{
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, EMFILE, launcher_request_name(request->type), NULL,
            "berth has as many files open as it may have. Try again; where this stays, have the "
            "operator raise the limit (LimitNOFILE, ulimit -Hn) and start berth again.");
    return launcher_answer(l, launcher_reply_new(request, &err));
}

/* One request; 0, 1: none is there or front is gone (then l->front is -1), -errno. */
static int take_request(struct launcher *l, struct err *err)
{
    struct arrival arrival;
    int r = receive(l->front, &arrival);
    if (r == -EAGAIN)
        return 1;
    if (r > 0) {
        close_all(&arrival);
        launcher_unwatch(l, &l->front);
        return 1;
    }
    if (is_short(&arrival)) {
        close_all(&arrival);
        r = answer_short(l, &arrival.request);
        return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "answer front", NULL, NULL) : 0;
    }
    const char *wrong =
        arrival.more_fds || arrival.fd_count > LAUNCHER_FDS_MAX
            ? "it has too many descriptors"
            : launcher_request_check(&arrival.request, arrival.length, arrival.fd_count);
    if (!wrong)
        wrong = launcher_permit_fds(&arrival.request, arrival.fds, arrival.fd_count);
    r = wrong ? not_ours(err, wrong) : launcher_permit_instance(l, arrival.request.instance, err);
    if (r == 0) {
        r = launcher_job_new(l, &arrival.request, arrival.fds, arrival.fd_count);
        if (r < 0)
            err_set(err, ERR_UNAVAILABLE, -r, "take a request of front", NULL, NULL);
    }
    close_all(&arrival);
    return r;
}

static int take_requests(struct launcher *l, struct err *err)
{
    int r = 0;
    while (r == 0 && l->job_count + l->out_count < LAUNCHER_OUTSTANDING)
        r = take_request(l, err);
    return r < 0 ? r : 0;
}

/* ---- the loop
 * ---------------------------------------------------------------------------------------- */

static int watch(const struct launcher *l, int fd, const struct watch *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = (void *)(uintptr_t)what};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

void launcher_unwatch(const struct launcher *l, int *fd)
{
    if (*fd >= 0)
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, *fd, NULL);
    fd_replace(fd, -1);
}

static int watch_front_for(struct launcher *l)
{
    bool reading = l->job_count + l->out_count < LAUNCHER_OUTSTANDING;
    bool writing = l->out || l->untold > 0;
    if (l->front < 0 || (reading == l->reading && writing == l->writing))
        return 0;
    struct epoll_event event = {.events = (reading ? (uint32_t)EPOLLIN : 0u) |
                                          (writing ? (uint32_t)EPOLLOUT : 0u),
                                .data.ptr = (void *)(uintptr_t)&watch_front};
    l->reading = reading;
    l->writing = writing;
    return epoll_ctl(l->epoll, EPOLL_CTL_MOD, l->front, &event) < 0 ? -errno : 0;
}

/* 'C' and a socket of the gateway's, 'D': it is dead, or the end. */
static int hear_supervisor(struct launcher *l)
{
    struct arrival arrival;
    int r = receive(l->supervisor, &arrival);
    if (r == -EAGAIN)
        return 0;
    if (r > 0)
        launcher_unwatch(l, &l->supervisor);
    else if (arrival.length == 1 && *(const char *)&arrival.request == 'C' && arrival.fd_count == 1)
        r = launcher_network_open(l, take_fd(&arrival.fds[0]));
    else if (arrival.length == 1 && *(const char *)&arrival.request == 'D')
        launcher_network_ended(l);
    close_all(&arrival);
    return r < 0 ? r : 0;
}

static int hear(struct launcher *l, struct watch *what, uint32_t events, struct err *err)
{
    struct signalfd_siginfo info[8];
    int r = 0;
    switch (what->kind) {
    case WATCH_FRONT:
        if (events & EPOLLIN)
            return take_requests(l, err);
        /* A hang-up while nothing is read: what is left in the socket is of a front that is gone.
         */
        if (events & (EPOLLHUP | EPOLLERR))
            launcher_unwatch(l, &l->front);
        return 0;
    case WATCH_SUPERVISOR:
        r = hear_supervisor(l);
        break;
    case WATCH_GATEWAY:
        launcher_network_hear(l);
        break;
    case WATCH_STILL:
        launcher_still_hear(l);
        break;
    case WATCH_SIGNALS:
        if (read(l->signals, info, sizeof info) > 0)
            r = launcher_reap(l);
        break;
    case WATCH_POOL:
        if (!netns_pool_receive(&l->pool, launcher_now_ms()))
            launcher_unwatch(l, &l->pool.from);
        break;
    case WATCH_JOB:
        r = launcher_result(l, (struct job *)what);
        break;
    case WATCH_LIVE:
        launcher_live_ended(l, (struct live *)what);
        break;
    }
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "run the launcher", NULL, NULL) : 0;
}

/* Front or the supervisor is gone: nothing new, and what runs is let finish. */
static bool ends(struct launcher *l)
{
    if (l->front >= 0 && l->supervisor >= 0)
        return false;
    launcher_unwatch(l, &l->front);
    launcher_drop_waiting(l);
    return l->running == 0;
}

static bool wants_pool(const struct launcher *l, uint64_t now)
{
    return l->runtime && !l->jobs && launcher_room_for_pool() &&
           netns_pool_wants(&l->pool, l->gateway >= 0, now);
}

/* What the next request will need: after a rest, so that who was just started or answered has the
 * processor first. A pool that cannot be filled is no failure: sessions make their own. 0, a count
 * of events like epoll_wait(), -errno. */
static int use_rest(struct launcher *l, int *wait_ms, struct epoll_event *ret)
{
    uint64_t now = launcher_now_ms();
    if (l->front < 0 || (!launcher_spare_wanted(l, now, wait_ms) && !wants_pool(l, now)))
        return 0;
    int rest_ms = *wait_ms < 0 || *wait_ms > REST_MS ? REST_MS : *wait_ms;
    int r = epoll_wait(l->epoll, ret, 1, rest_ms);
    if (r != 0)
        return r < 0 ? -errno : r;
    now = launcher_now_ms();
    launcher_spare_make(l, now);
    if (launcher_spare_wanted(l, now, wait_ms))
        *wait_ms = 0; /* the next one after another rest, whether or not something else happens */
    if (!wants_pool(l, now) || netns_pool_fill(&l->pool, l->gateway >= 0, now) < 0)
        return 0;
    return watch(l, l->pool.from, &watch_pool);
}

/* One event at a time: what it tells of may free what another one tells of. */
static int turn(struct launcher *l, struct err *err)
{
    int wait_ms = -1;
    int r = launcher_schedule(l);
    if (r == 0)
        r = launcher_overdue(l, &wait_ms);
    if (r == 0 && l->front >= 0) {
        int sent = flush(l);
        if (sent < 0 && sent != -EAGAIN)
            launcher_unwatch(l, &l->front);
        r = watch_front_for(l);
    }
    launcher_network_tend(l, &wait_ms);
    launcher_connect_tend(l);
    launcher_still_tend(l);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "run the launcher", NULL, NULL);
    struct epoll_event event;
    if (l->front < 0 && l->running == 0)
        return 0;
    r = use_rest(l, &wait_ms, &event);
    if (r == 0 && (r = epoll_wait(l->epoll, &event, 1, wait_ms)) < 0)
        r = -errno;
    if (r < 0 && r != -EINTR)
        return err_set(err, ERR_UNAVAILABLE, -r, "run the launcher", NULL, NULL);
    return r > 0 ? hear(l, event.data.ptr, event.events, err) : 0;
}

static void close_launcher(struct launcher *l)
{
    /* The sessions of workers under way are found by name; the workers go on without a launcher. */
    while (l->out) {
        struct outgoing *out = l->out;
        l->out = out->next;
        free(out);
    }
    launcher_drop_waiting(l);
    launcher_live_fini(l);
    launcher_spare_end(l);
    launcher_network_stop(l);
    launcher_connect_stop(l);
    launcher_still_stop(l);
    network_ask_tell_still(-1);
    fd_close(l->still);
    netns_pool_fini(&l->pool);
    fd_close(l->gateway);
    fd_close(l->front);
    fd_close(l->supervisor);
    fd_close(l->epoll);
    fd_close(l->signals);
}

static int open_launcher(struct launcher *l, const struct launcher_options *options,
                         struct err *err)
{
    const struct runtime_options how = {.state_dir = options->config->state_dir,
                                        .runtime_dir = options->config->runtime_dir,
                                        .init_path = options->init_path,
                                        .outer = options->outer,
                                        .no_reaper = true};
    l->runtime = options->runtime;
    int r = l->runtime ? 0 : runtime_open(&l->runtime, &how, err);
    if (r < 0)
        return r;
    if (!options->runtime && runtime_kept(l->runtime) && options->tell)
        options->tell(runtime_kept(l->runtime));
    l->generation = options->generation;
    if (l->generation == 0)
        r = launcher_number(l->config, &l->generation, err);
    if (r < 0)
        return r;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    l->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    /* Inits whose worker is gone become this process's children: their ends are seen, and no zombie
     * of theirs is left to a PID 1 that may not look. */
    if (l->signals < 0 || l->epoll < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        r = -errno;
    if (r == 0)
        r = watch(l, l->front, &watch_front);
    if (r == 0)
        r = watch(l, l->supervisor, &watch_supervisor);
    if (r == 0)
        r = watch(l, l->signals, &watch_signals);
    if (r == 0)
        r = launcher_still_open(l);
    if (r == 0)
        r = launcher_live_open_kept(l, options);
    if (r == 0 && options->gateway > 0)
        r = launcher_network_open(l, options->gateway);
    else if (options->gateway < 0)
        launcher_network_await(l);
    l->reading = true;
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "start the launcher", NULL, NULL) : 0;
}

int launcher_main(const struct launcher_options *options, struct err *err)
{
    struct launcher l = {.config = options->config,
                         .calls = options->calls ? options->calls : launcher_real_calls(),
                         .front = options->front,
                         .supervisor = options->supervisor,
                         .epoll = -1,
                         .signals = -1,
                         .spare_socket = -1,
                         .gateway = -1,
                         .still = -1,
                         .tell = options->tell,
                         .spare_wanted = true,
                         .workers_max =
                             options->workers_max ? options->workers_max : LAUNCHER_WORKERS};
    netns_pool_init(&l.pool);
    l.jobs_end = &l.jobs;
    l.out_end = &l.out;
    int r = open_launcher(&l, options, err);
    while (r == 0 && !ends(&l))
        r = turn(&l, err);
    if (!options->runtime)
        runtime_close(l.runtime);
    close_launcher(&l);
    return r;
}
