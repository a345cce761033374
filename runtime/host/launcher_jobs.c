/* This file gives requests to workers and answers for workers that cannot; it never does a
 * request's work in the launcher's own process (P-4).
 *
 * PRIVILEGED: the launcher's. Requests about one session run one after another in the order in
 * which they came; others beside each other.
 *
 * A worker that dies, or is killed because its time is over, may have left half a session: after
 * LAUNCH and END another worker ends what stands under that name, and the answer says so. FREEZE
 * and THAW are left as they are: they can be repeated, and the session may hold work that is worth
 * something.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/title.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

enum { UNKILLABLE_MS = 5000 };

uint64_t launcher_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void job_free(struct launcher *l, struct job *job)
{
    for (struct job **at = &l->jobs; *at; at = &(*at)->next) {
        if (*at != job)
            continue;
        *at = job->next;
        if (l->jobs_end == &job->next)
            l->jobs_end = at;
        l->job_count--;
        break;
    }
    for (unsigned i = 0; i < job->fd_count; i++)
        fd_close(job->fds[i]);
    launcher_unwatch(l, &job->result);
    fd_close(job->given);
    free(job->reply);
    free(job->done);
    free(job);
}

static int answer_err(struct launcher *l, struct job *job, const struct err *err)
{
    if (job->answered)
        return 0;
    job->answered = true;
    return launcher_answer(l, launcher_reply_new(&job->request, err));
}

/* ---- CANCEL
 * -------------------------------------------------------------------------------------- */

static void kill_worker(struct job *job, const char *detail)
{
    err_set(&job->why, ERR_UNAVAILABLE, 0, "work on the session",
            launcher_request_name(job->request.type), "%s", detail);
    kill(job->worker, SIGKILL);
    job->state = JOB_KILLED;
    job->deadline_ms = launcher_now_ms() + UNKILLABLE_MS;
}

static int cancel(struct launcher *l, const struct launcher_request *request)
{
    for (struct job *job = l->jobs; job; job = job->next) {
        if (job->request.ticket != request->ticket || job->answered)
            continue;
        if (job->state == JOB_RUNNING && !job->reply) {
            kill_worker(job, "It was given up, as was asked.");
        } else if (job->state == JOB_WAITING) {
            struct err err;
            err_set(&err, ERR_UNAVAILABLE, ECANCELED, "work on the session",
                    launcher_request_name(job->request.type), "It was given up before it began.");
            int r = answer_err(l, job, &err);
            job_free(l, job);
            if (r < 0)
                return r;
        }
        break;
    }
    return launcher_answer(l, launcher_reply_new(request, NULL));
}

/* ---- queue
 * --------------------------------------------------------------------------------------- */

int launcher_job_new(struct launcher *l, const struct launcher_request *request, int *fds,
                     unsigned fd_count)
{
    if (request->type == LAUNCHER_CANCEL)
        return cancel(l, request);
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return -ENOMEM;
    job->watch.kind = WATCH_JOB;
    job->request = *request;
    job->result = job->given = -1;
    for (; job->fd_count < fd_count; job->fd_count++)
        job->fds[job->fd_count] = take_fd(&fds[job->fd_count]);
    *l->jobs_end = job;
    l->jobs_end = &job->next;
    l->job_count++;
    return 0;
}

static bool of_volume(const struct launcher_request *request)
{
    return request->type == LAUNCHER_VOLUME_REMOVE || request->type == LAUNCHER_VOLUME_MEASURE;
}

static bool same_thing(const struct launcher_request *a, const struct launcher_request *b)
{
    if (a->type == LAUNCHER_LIST || b->type == LAUNCHER_LIST || of_volume(a) != of_volume(b))
        return false;
    if (of_volume(a))
        return strcmp(a->workspace_id, b->workspace_id) == 0 && strcmp(a->volume, b->volume) == 0;
    return a->row == b->row && a->incarnation == b->incarnation;
}

/* Files of one session are worked on side by side, as they are while it runs. */
static bool is_before(const struct launcher_request *before, const struct launcher_request *request)
{
    return same_thing(before, request) &&
           !(before->type == LAUNCHER_FILES && request->type == LAUNCHER_FILES);
}

static bool must_wait(const struct launcher *l, const struct job *job)
{
    if (l->running >= l->workers_max ||
        (launcher_is_slow(job->request.type) && l->slow >= (l->workers_max + 1) / 2) ||
        launcher_network_awaits(l, job))
        return true;
    for (const struct job *before = l->jobs; before != job; before = before->next)
        if (is_before(&before->request, &job->request))
            return true;
    return false;
}

/* sessions_max, and the limit on open files: what lives and what is being made. 0, or the refusal.
 */
static int check_count(struct launcher *l, const struct job *job, struct err *err)
{
    int r = launcher_live_count(l, err);
    if (r < 0)
        return r;
    if (launcher_live_find(l, job->request.row, job->request.incarnation))
        return 0;
    unsigned count = l->live_count;
    for (const struct job *other = l->jobs; other; other = other->next)
        count += other != job && other->request.type == LAUNCHER_LAUNCH &&
                 other->state != JOB_WAITING &&
                 !launcher_live_find(l, other->request.row, other->request.incarnation);
    if (count < l->config->sessions_max)
        return launcher_room_check(count, err);
    return err_set(err, ERR_UNAVAILABLE, EUSERS, "start the session", NULL,
                   "As many sessions live as this berth may have (\"sessions_max\"). Park or "
                   "destroy one, or have the operator raise it.");
}

static void in_worker(struct launcher *l, const struct job *job, bool clean,
                      struct network_ready *netns, int result)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* Front sees the launcher's end by its own descriptor alone. */
    fd_close(l->front);
    fd_close(l->supervisor);
    fd_close(l->epoll);
    fd_close(l->signals);
    l->gateway_ended = job->gateway_ended;
    /* Those of other sessions. */
    netns_pool_fini(&l->pool);
    launcher_live_close(l);
    title_set("berth: worker");
    _exit(launcher_work(l, job, clean, netns, result));
}

/* Its pid, and where it will answer; -errno. */
static pid_t fork_worker(struct launcher *l, const struct job *job, bool clean,
                         struct network_ready *netns, int *ret_result)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    _cleanup_fd_ int ours = pair[0], theirs = pair[1];
    pid_t pid = fork();
    if (pid == 0)
        in_worker(l, job, clean, netns, theirs);
    if (pid < 0)
        return -errno;
    *ret_result = take_fd(&ours);
    return pid;
}

static void netns_for(struct launcher *l, const struct job *job, struct network_ready *ret)
{
    const struct launcher_request *request = &job->request;
    if (request->type == LAUNCHER_LAUNCH)
        (void)netns_pool_take(&l->pool, launcher_network_is_wanted(job), ret);
    else if (request->type == LAUNCHER_NETWORK || request->type == LAUNCHER_SAMPLE ||
             request->type == LAUNCHER_END)
        ret->netns = launcher_live_netns(l, request->row, request->incarnation);
}

/* 0, also when it was answered with an error instead; -errno: the launcher cannot go on. */
static int start(struct launcher *l, struct job *job, bool clean)
{
    struct err err;
    int result = -1;
    /* Given to this worker alone; a copy of the launcher's ends below. */
    __attribute__((cleanup(network_ready_fini))) struct network_ready netns;
    network_ready_init(&netns);
    if (!clean)
        netns_for(l, job, &netns);
    job->gateway_ended = launcher_network_is_over(l, job);
    job->gateway_number = l->gateway_number;
    pid_t pid = launcher_spare_take(l, job, clean, &netns, &result);
    if (pid == 0)
        pid = fork_worker(l, job, clean, &netns, &result);
    if (pid < 0) {
        err_set(&err, ERR_UNAVAILABLE, -pid, "start a worker of the launcher", NULL,
                "This host is short of processes, memory or files. Try again.");
        int r = answer_err(l, job, clean ? &job->why : &err);
        job_free(l, job);
        return r;
    }
    for (unsigned i = 0; i < job->fd_count; i++)
        fd_close(job->fds[i]);
    job->fd_count = 0;
    launcher_unwatch(l, &job->result);
    job->result = result;
    job->worker = pid;
    job->state = clean ? JOB_CLEANING : JOB_RUNNING;
    job->deadline_ms = launcher_now_ms() + launcher_time_of(&job->request);
    l->running++;
    l->slow += launcher_is_slow(job->request.type);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = job};
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, job->result, &event) < 0 ? -errno : 0;
}

int launcher_schedule(struct launcher *l)
{
    for (struct job *job = l->jobs, *next; job; job = next) {
        next = job->next;
        if (job->state != JOB_WAITING || must_wait(l, job))
            continue;
        struct err err;
        int r = job->request.type == LAUNCHER_LAUNCH ? check_count(l, job, &err) : 0;
        if (r < 0) {
            r = answer_err(l, job, &err);
            job_free(l, job);
        } else {
            r = start(l, job, false);
        }
        if (r < 0)
            return r;
    }
    return 0;
}

void launcher_drop_waiting(struct launcher *l)
{
    for (struct job *job = l->jobs, *next; job; job = next) {
        next = job->next;
        if (job->state == JOB_WAITING)
            job_free(l, job);
    }
}

bool launcher_is_ending(const struct launcher *l, int64_t row, int64_t incarnation)
{
    for (const struct job *job = l->jobs; job; job = job->next)
        if (job->request.row == row && job->request.incarnation == incarnation &&
            (job->worker || job->unheard_until_ms) &&
            (job->request.type == LAUNCHER_END || job->state == JOB_CLEANING))
            return true;
    return false;
}

/* What ended under an END that failed is told after all. */
static void let_go(struct launcher *l, const struct launcher_request *request)
{
    struct live *live = launcher_live_find(l, request->row, request->incarnation);
    if (live && live->held)
        launcher_live_ended(l, live);
}

/* ---- what comes back
 * -------------------------------------------------------------------------------- */

static int receive_result(struct job *job)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct launcher_reply *reply = calloc(1, sizeof *reply);
    if (!reply)
        return -ENOMEM;
    struct iovec part = {reply, sizeof *reply};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(job->result, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n != (ssize_t)sizeof *reply) {
        free(reply);
        return n < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : 1;
    }
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof job->given))
        memcpy(&job->given, CMSG_DATA(header), sizeof job->given);
    job->reply = reply;
    return 0;
}

/* Only who ended it knows what was to be told of it (WS-3), and not who did it once more. */
static void keep_done(struct job *job)
{
    if (job->request.type == LAUNCHER_END && job->reply->result == 0 && !job->done)
        job->done = take_ptr(&job->reply);
    else
        free(take_ptr(&job->reply));
}

/* Front gets the answer as soon as it is there; the job stays until its worker is gone. */
int launcher_result(struct launcher *l, struct job *job)
{
    int r = receive_result(job);
    if (r == -EAGAIN)
        return 0;
    launcher_unwatch(l, &job->result);
    if (r < 0)
        return r;
    if (r == 0 && launcher_network_again(l, job)) {
        job->again = true;
        keep_done(job);
        fd_closep(&job->given);
        return 0;
    }
    if (r > 0 || job->state == JOB_CLEANING || job->answered)
        return 0;
    struct launcher_reply *copy = malloc(sizeof *copy);
    if (copy)
        *copy = *job->reply;
    if (copy && job->done && copy->result == 0)
        copy->launched = job->done->launched;
    job->answered = true;
    /* Whoever reads the answer may start another session in its place (sessions_max). */
    if (job->request.type == LAUNCHER_END && job->reply->result == 0)
        launcher_live_remove(l, job->request.row, job->request.incarnation);
    return launcher_answer(l, copy);
}

static int remember(struct launcher *l, struct job *job)
{
    const struct launcher_reply *reply = job->reply;
    int64_t row = job->request.row, incarnation = job->request.incarnation;
    if (reply->result < 0)
        return 0;
    switch (job->request.type) {
    case LAUNCHER_LAUNCH: {
        int pidfd = launcher_live_open(&reply->identity);
        int r = launcher_live_set(l, row, incarnation, pidfd < 0 ? -1 : pidfd);
        struct live *live = r == 0 ? launcher_live_find(l, row, incarnation) : NULL;
        if (live) {
            fd_replace(&live->netns, take_fd(&job->given));
            launcher_live_keep(l, live);
        }
        if (live && pidfd == -ESRCH)
            launcher_live_ended(l, live);
        return r;
    }
    case LAUNCHER_LOOK:
        if (reply->found == SESSION_FOUND_ABSENT)
            launcher_live_remove(l, row, incarnation);
        else if (reply->found == SESSION_FOUND_WHOLE && job->given >= 0)
            return launcher_live_set(l, row, incarnation, take_fd(&job->given));
        return 0;
    case LAUNCHER_END:
        launcher_live_remove(l, row, incarnation);
        return 0;
    default:
        return 0;
    }
}

/* Whoever asks again finds nothing: what is known of its end goes with this answer. */
static int answer_cleaned(struct launcher *l, struct job *job)
{
    struct launcher_reply *reply = launcher_reply_new(&job->request, &job->why);
    if (reply && job->reply && job->request.type == LAUNCHER_END)
        reply->launched.last = job->reply->launched.last;
    job->answered = true;
    return launcher_answer(l, reply);
}

static int cleaned(struct launcher *l, struct job *job)
{
    if (job->reply && job->reply->result == 0) {
        launcher_live_remove(l, job->request.row, job->request.incarnation);
        err_add(&job->why, "What stood under its name was ended.");
    } else {
        err_add(&job->why, "What it began could not be ended yet: end it by its name.");
    }
    return job->answered ? 0 : answer_cleaned(l, job);
}

static int worker_gone(struct launcher *l, struct job *job, int status)
{
    l->running--;
    l->slow -= launcher_is_slow(job->request.type);
    job->worker = 0;
    int r = job->result >= 0 ? launcher_result(l, job) : 0;
    if (r < 0)
        return r;
    if (job->again && job->state != JOB_KILLED) {
        job->again = false;
        if (job->state == JOB_CLEANING)
            return start(l, job, true);
        job->state = JOB_WAITING;
        return 0;
    }
    if (job->state == JOB_CLEANING) {
        r = cleaned(l, job);
        let_go(l, &job->request);
        job_free(l, job);
        return r;
    }
    if (job->reply) {
        /* What brings sessions back to the gateway of now was forked without its network. */
        if (job->request.type == LAUNCHER_LAUNCH && job->reply->result == 0 &&
            job->gateway_number != l->gateway_number)
            l->restore_wanted = true;
        r = remember(l, job);
        let_go(l, &job->request);
        job_free(l, job);
        return r;
    }
    if (job->state != JOB_KILLED)
        err_set(&job->why, ERR_UNAVAILABLE, 0, "work on the session",
                launcher_request_name(job->request.type), "Its worker ended early (%s %d).",
                WIFSIGNALED(status) ? "signal" : "status",
                WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    if (job->request.type == LAUNCHER_LAUNCH || job->request.type == LAUNCHER_END)
        return start(l, job, true);
    r = answer_err(l, job, &job->why);
    job_free(l, job);
    return r;
}

/* Workers, and inits whose worker has left them: the launcher is a subreaper. One at a time, so
 * that an init's number is not free while its pidfd is opened (launcher_live_open). */
int launcher_reap(struct launcher *l)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return 0;
        launcher_spare_died(l, pid, status);
        launcher_network_died(l, pid, status);
        launcher_connect_died(l, pid);
        launcher_still_died(l, pid, status);
        for (struct job *job = l->jobs; job; job = job->next) {
            if (job->worker != pid)
                continue;
            int r = worker_gone(l, job, status);
            if (r < 0)
                return r;
            break;
        }
    }
}

/* Whoever moves a byte uses the processor; whoever waits for a client or a disk does not. */
static bool is_still(struct job *job, uint64_t now, uint64_t *next)
{
    clockid_t clock;
    struct timespec used = {0};
    if (job->request.type != LAUNCHER_FILES || job->state != JOB_RUNNING)
        return false;
    if (clock_getcpuclockid(job->worker, &clock) == 0)
        clock_gettime(clock, &used);
    uint64_t cpu_ns = (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
    if (cpu_ns != job->cpu_ns || job->moved_ms == 0)
        job->moved_ms = now;
    job->cpu_ns = cpu_ns;
    uint64_t again = now + LAUNCHER_FILES_STILL_MS / 4;
    if (again < *next)
        *next = again;
    return now >= job->moved_ms + LAUNCHER_FILES_STILL_MS;
}

int launcher_overdue(struct launcher *l, int *ret_wait_ms)
{
    uint64_t now = launcher_now_ms(), next = UINT64_MAX;
    for (struct job *job = l->jobs; job; job = job->next) {
        if (job->state == JOB_WAITING || (job->state == JOB_KILLED && job->answered))
            continue;
        if (is_still(job, now, &next)) {
            kill_worker(job, "It did not move for a long time and was ended: its disk does not "
                             "answer, or its data did not come or was not taken.");
        } else if (now >= job->deadline_ms && job->state == JOB_RUNNING) {
            kill_worker(job, "It took longer than it may and was killed.");
        } else if (now >= job->deadline_ms && job->state == JOB_CLEANING) {
            kill(job->worker, SIGKILL);
            job->deadline_ms = now + UNKILLABLE_MS;
        } else if (now >= job->deadline_ms) {
            /* Even SIGKILL waits for a disk that does not answer. Its name stays taken. */
            err_add(&job->why, "It has not even ended when it was killed: a disk may not answer.");
            int r = answer_err(l, job, &job->why);
            if (r < 0)
                return r;
            continue;
        }
        if (job->deadline_ms < next)
            next = job->deadline_ms;
    }
    *ret_wait_ms = next == UINT64_MAX ? -1 : next <= now ? 0 : (int)(next - now);
    return 0;
}
