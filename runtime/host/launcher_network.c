/* This file is the launcher's end of the gateway (docs/adr/0013): its socket, and the process that
 * makes a gateway or a launcher that is new know every session; it never looks at a session itself.
 *
 * PRIVILEGED: the launcher's. Should: be at it again, after a pause, for as long as something could
 * not be done. Mustn't: wait for the gateway or for a session in the launcher's own process (P-4),
 * believe anything that the gateway says. A session that it does not know reaches nothing.
 *
 * Each session is brought back under the lock of its row, so that whoever makes, ends or changes it
 * does so before or after. One whose row is busy is passed over until it is not.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/title.h"
#include "runtime/host/network_link.h"
#include "runtime/host/runtime_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

enum {
    SEND_SECONDS = 2,      /* until who stands still is taken for dead */
    RESTORE_SECONDS = 300, /* and then again */
    PAUSE_FIRST_MS = 100,
    PAUSE_MOST_MS = 60000,
    ASK_MS = 200, /* between two questions for another socket */
    FAILURES_MAX = 5,
    HEARD_MAX = 512,    /* messages at once; a socket holds fewer */
    AFTERWARDS_MS = 20, /* between two looks at whether another job is over */
    GRACE_MS = 3000,    /* in which the next gateway is waited for, rather than refuse */
};

static const struct watch watch_gateway = {WATCH_GATEWAY};

/* ---- the socket ------------------------------------------------------------------------------ */

int launcher_network_open(struct launcher *l, int fd)
{
    static const struct timeval patience = {.tv_sec = SEND_SECONDS};
    launcher_network_stop(l);
    launcher_connect_stop(l);
    launcher_still_stop(l);
    launcher_unwatch(l, &l->gateway);
    l->gateway = fd;
    l->gateway_number++;
    l->gateway_lost = l->gateway_ended = false;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) < 0)
        return -errno;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = (void *)(uintptr_t)&watch_gateway};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    l->restore_wanted = true;
    l->restore_due_ms = 0;
    l->restore_pause_ms = PAUSE_FIRST_MS;
    return 0;
}

void launcher_network_await(struct launcher *l)
{
    uint64_t now = launcher_now_ms();
    l->gateway_lost = true;
    l->gateway_ask_ms = now + ASK_MS;
    l->gateway_until_ms = now + GRACE_MS;
}

void launcher_network_ended(struct launcher *l)
{
    if (!l->gateway_lost) {
        epoll_ctl(l->epoll, EPOLL_CTL_DEL, l->gateway, NULL);
        launcher_network_await(l);
    }
    l->gateway_ended = true;
}

/* ---- who has been told -------------------------------------------------------------------------
 *
 * That a session has ended, stands still or moves is told to a gateway by a worker. One that was
 * answered has told it. One that was not may have told nobody, while a gateway that lives serves on
 * by another socket: only the supervisor's word that it is gone is as good as an answer. And who
 * had that word while the next gateway came may have been late: what brings sessions back may have
 * given it this one before the worker had the row's lock. Then it is done once more, and told to
 * the one of now.
 */

static bool is_told(const struct job *job)
{
    switch (job->request.type) {
    case LAUNCHER_END:
    case LAUNCHER_FREEZE:
    case LAUNCHER_THAW:
    case LAUNCHER_LOOK:
        return true;
    default:
        return job->state == JOB_CLEANING;
    }
}

static bool is_frozen(const struct job *job)
{
    return job->request.type == LAUNCHER_FREEZE || job->request.type == LAUNCHER_THAW;
}

static bool is_news(const struct launcher *l, const struct job *job)
{
    return l->gateway_number != job->gateway_number || (l->gateway_ended && !job->gateway_ended);
}

/* A frozen session is thawed without a gateway too: whoever comes is told by what the kernel says,
 * as it is told of every session. */
bool launcher_network_is_over(const struct launcher *l, const struct job *job)
{
    return l->gateway_ended || (is_frozen(job) && job->unheard_until_ms && !is_news(l, job));
}

/* A gateway that may live was not told, and is when all sessions are brought back to it. */
static void tell_later(struct launcher *l, const struct job *job)
{
    if (job->reply->result == 0 && is_frozen(job) && job->gateway_ended && !l->gateway_ended)
        l->restore_wanted = true;
}

bool launcher_network_again(struct launcher *l, struct job *job)
{
    int result = job->reply->result;
    bool untold = result == -ENOLINK || result == -EXFULL;
    if (job->answered || !is_told(job) || (!untold && (result != 0 || !job->gateway_ended)))
        return false;
    /* Its end may be in the socket, and not heard yet. */
    if (l->gateway >= 0 && !l->gateway_lost)
        launcher_network_hear(l);
    if (is_news(l, job))
        return true;
    if (!untold || (!l->gateway_lost && result != -EXFULL) || job->unheard_until_ms ||
        job->state == JOB_CLEANING) {
        tell_later(l, job);
        return false;
    }
    job->unheard_until_ms = launcher_now_ms() + GRACE_MS;
    return true;
}

/* It is sealed: what is read now is what the worker will check. */
bool launcher_network_is_wanted(const struct job *job)
{
    static struct spec_network net;
    /* Its head, which says how much there is, not the rules: those are a hundred KiB. */
    const size_t head = offsetof(struct spec_network, allow);
    ssize_t n =
        job->fd_count == 0 ? -1 : pread(job->fds[0], &net, head, offsetof(struct spec, network));
    return n == (ssize_t)head && network_wanted(&net);
}

static bool waits_for_news(const struct launcher *l, const struct job *job)
{
    return job->state == JOB_WAITING && job->unheard_until_ms && !is_news(l, job);
}

bool launcher_network_awaits(const struct launcher *l, const struct job *job)
{
    if (waits_for_news(l, job))
        return launcher_now_ms() < job->unheard_until_ms;
    if (!l->gateway_lost || launcher_now_ms() >= l->gateway_until_ms)
        return false;
    return job->request.type == LAUNCHER_LAUNCH ? launcher_network_is_wanted(job)
                                                : job->request.type == LAUNCHER_NETWORK;
}

/* All that is there: its end may stand behind what it wants. */
void launcher_network_hear(struct launcher *l)
{
    struct gateway_reply reply;
    for (int i = 0; i < HEARD_MAX; i++) {
        ssize_t n = recv(l->gateway, &reply, sizeof reply, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0 || gateway_reply_check(&reply, (size_t)n))
            break;
        /* Answers go to who asked, on sockets of their own. */
        launcher_connect_need(l, &reply);
        if (i == HEARD_MAX - 1)
            return;
    }
    /* The descriptor stays: whoever asks meanwhile learns that nobody is there. */
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, l->gateway, NULL);
    launcher_network_await(l);
}

/* ---- the process that brings back ------------------------------------------------------------ */

/* What is still to be done, and how often it failed. */
struct due {
    struct session_name name;
    unsigned failures;
};

struct restore {
    struct launcher *l;
    struct due *due; /* owned */
    size_t count, room;
    bool given_up;
    bool unsure; /* whether the gateway was told of each that lives */
};

static void tell(const struct launcher *l, const struct err *err)
{
    if (l->tell)
        l->tell(err);
}

static int add_due(void *data, const struct session_name *name)
{
    struct restore *restore = data;
    if (restore->count == restore->room) {
        size_t room = restore->room ? restore->room * 2 : 64;
        struct due *more = realloc(restore->due, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        restore->due = more;
        restore->room = room;
    }
    restore->due[restore->count++] = (struct due){.name = *name};
    return 0;
}

/* 0 when it is done with, 1 when it is to be tried again, -ESTALE: this launcher's time is over. */
static int restore_one(struct restore *restore, struct due *due)
{
    struct launcher *l = restore->l;
    struct err err = {0};
    _cleanup_fd_ int netns = launcher_live_netns(l, due->name.row, due->name.incarnation);
    _cleanup_fd_ int lock = -1;
    int r = launcher_lock(l, due->name.row, &lock, &err);
    l->runtime->session_netns = netns;
    if (r == 0)
        r = l->calls->restore(l->runtime, &due->name, &err);
    else if (r > 0 || r == -ESTALE)
        return r;
    if (r >= 0)
        return 0;
    /* A socket of the gateway before may not be gone yet: once is nothing. Who may not enter its
     * network never will. */
    bool barred = r == -EACCES || r == -EPERM;
    if (!barred && ++due->failures < FAILURES_MAX)
        return 1;
    restore->given_up |= !barred;
    restore->unsure |= r != -EADDRINUSE; /* a port of it is somebody's: all else is served */
    tell(l, &err);
    return 0;
}

/* One after the other, and those whose row is busy again and again: nobody waits for another. */
static int restore_due(struct restore *restore)
{
    for (int pause_ms = 10; restore->count > 0; pause_ms += pause_ms < 200 ? 10 : 0) {
        size_t left = 0;
        for (size_t i = 0; i < restore->count; i++) {
            int r = restore_one(restore, &restore->due[i]);
            if (r < 0)
                return r;
            if (r > 0)
                restore->due[left++] = restore->due[i];
        }
        restore->count = left;
        if (left > 0)
            poll(NULL, 0, pause_ms);
    }
    return 0;
}

/* The exit status: 0 when nothing is left to do. */
static int restore_all(struct launcher *l)
{
    struct restore restore = {.l = l};
    struct err err = {0};
    char instance[sizeof l->instance];
    int r = launcher_permit_known(l, instance, &err);
    if (r > 0)
        return 0; /* nobody has made a session here yet */
    if (r == 0)
        r = l->calls->list(l->runtime, instance, add_due, &restore, &err);
    if (r < 0)
        tell(l, &err);
    else
        r = restore_due(&restore);
    /* What ended while the gateway could not be told. Whoever lives stood in the list: his record
     * is older than what the gateway had of him when this socket came. */
    if (r == 0 && !restore.unsure && (r = network_link_sweep(l->gateway, &err)) < 0)
        tell(l, &err);
    free(restore.due);
    return (r < 0 && r != -ESTALE) || restore.given_up;
}

void launcher_network_child(struct launcher *l, pid_t launcher, unsigned seconds)
{
    const struct itimerval alarm = {.it_value = {.tv_sec = (time_t)seconds}};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    launcher_close_others(l);
    title_set("berth: network");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != launcher)
        _exit(0);
    setitimer(ITIMER_REAL, &alarm, NULL);
    l->runtime->gateway = l->gateway;
}

static _Noreturn void be_restorer(struct launcher *l, pid_t launcher)
{
    launcher_network_child(l, launcher, RESTORE_SECONDS);
    _exit(restore_all(l));
}

static void pause_restoring(struct launcher *l, uint64_t now)
{
    l->restore_wanted = true;
    l->restore_due_ms = now + l->restore_pause_ms;
    l->restore_pause_ms =
        l->restore_pause_ms * 2 > PAUSE_MOST_MS ? PAUSE_MOST_MS : l->restore_pause_ms * 2;
}

static void wait_until(uint64_t now, uint64_t at, int *wait_ms)
{
    int left = at > now ? (int)(at - now) : 0;
    *wait_ms = *wait_ms < 0 || left < *wait_ms ? left : *wait_ms;
}

/* The supervisor starts one that has died without being asked, and gives its socket. One that lives
 * and has only closed this one has to be asked for. */
static void ask_again(struct launcher *l, uint64_t now, int *wait_ms)
{
    if (l->gateway < 0) {
        if (now < l->gateway_until_ms)
            wait_until(now, l->gateway_until_ms, wait_ms);
        return;
    }
    if (now >= l->gateway_ask_ms) {
        (void)send(l->supervisor, "C", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        l->gateway_ask_ms = now + ASK_MS;
    }
    wait_until(now, l->gateway_ask_ms, wait_ms);
}

void launcher_network_tend(struct launcher *l, int *wait_ms)
{
    uint64_t now = launcher_now_ms();
    if (l->front < 0 || l->supervisor < 0)
        return;
    /* One whose time is over may wait for another's end yet. */
    for (const struct job *job = l->jobs; job; job = job->next)
        if (waits_for_news(l, job))
            wait_until(now,
                       job->unheard_until_ms > now ? job->unheard_until_ms : now + AFTERWARDS_MS,
                       wait_ms);
    if (l->gateway_lost) {
        ask_again(l, now, wait_ms);
        return;
    }
    if (l->gateway < 0 || !l->restore_wanted || l->restorer > 0)
        return;
    if (now < l->restore_due_ms) {
        wait_until(now, l->restore_due_ms, wait_ms);
        return;
    }
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        be_restorer(l, self);
    l->restore_wanted = false;
    if (pid > 0)
        l->restorer = pid;
    else
        pause_restoring(l, now);
}

void launcher_network_died(struct launcher *l, pid_t pid, int status)
{
    if (pid != l->restorer)
        return;
    l->restorer = 0;
    if (status != 0 && !l->restore_wanted)
        pause_restoring(l, launcher_now_ms());
}

/* Killed anywhere, another one finds what is left to do. */
void launcher_network_stop(struct launcher *l)
{
    if (l->restorer <= 0)
        return;
    kill(l->restorer, SIGKILL);
    while (waitpid(l->restorer, NULL, 0) < 0 && errno == EINTR)
        ;
    l->restorer = 0;
}
