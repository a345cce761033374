/* This file is the launcher's end of the gateway (docs/adr/0013): its socket, and the process that
 * makes a gateway or a launcher that is new know every session; it never looks at a session itself.
 *
 * PRIVILEGED: the launcher's. Should: be at it again, after a pause, for as long as something could
 * not be done. Mustn't: wait for the gateway or for a session in the launcher's own process (P-4),
 * believe anything that the gateway says. A session that it does not know reaches nothing.
 *
 * Each session is brought back under the lock of its row, so that whoever makes, ends or changes it
 * does so before or after. One whose row is busy is left for the end.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/title.h"
#include "runtime/host/runtime_internal.h"

#include <fcntl.h>
#include <signal.h>
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
    PAUSE_MOST_MS = 10000,
};

static const struct watch watch_gateway = {WATCH_GATEWAY};

/* ---- the socket ------------------------------------------------------------------------------ */

int launcher_network_open(struct launcher *l, int fd)
{
    static const struct timeval patience = {.tv_sec = SEND_SECONDS};
    launcher_network_stop(l);
    launcher_unwatch(l, &l->gateway);
    l->gateway = fd;
    l->gateway_lost = false;
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

/* Its descriptor stays: whoever asks it meanwhile learns that nobody is there. */
static void lose(struct launcher *l)
{
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, l->gateway, NULL);
    l->gateway_lost = true;
    if (l->supervisor >= 0)
        (void)send(l->supervisor, "C", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void launcher_network_hear(struct launcher *l)
{
    struct gateway_reply reply;
    ssize_t n = recv(l->gateway, &reply, sizeof reply, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* Answers go to who asked, on sockets of their own. */
    if (n <= 0 || gateway_reply_check(&reply, (size_t)n))
        lose(l);
}

/* ---- the process that brings back ------------------------------------------------------------ */

struct restore {
    const struct launcher *l;
    struct session_name *busy; /* owned */
    size_t busy_count, busy_room;
    bool failed;
};

static void failed(struct restore *restore, const struct err *err)
{
    restore->failed = true;
    if (restore->l->tell)
        restore->l->tell(err);
}

/* 0, 1: its row is busy, -ESTALE: this launcher's time is over. */
static int restore_one(struct restore *restore, const struct session_name *name, bool wait)
{
    const struct launcher *l = restore->l;
    struct err err = {0};
    _cleanup_fd_ int lock = -1;
    int r = launcher_lock(l, name->row, wait, &lock, &err);
    if (r == 0)
        r = l->calls->restore(l->runtime, name, &err);
    else if (r > 0 || r == -ESTALE)
        return r;
    if (r < 0)
        failed(restore, &err);
    return 0;
}

static int keep_busy(struct restore *restore, const struct session_name *name)
{
    if (restore->busy_count == restore->busy_room) {
        size_t room = restore->busy_room ? restore->busy_room * 2 : 16;
        struct session_name *more = realloc(restore->busy, room * sizeof *more);
        if (!more)
            return -ENOMEM;
        restore->busy = more;
        restore->busy_room = room;
    }
    restore->busy[restore->busy_count++] = *name;
    return 0;
}

static int restore_each(void *data, const struct session_name *name)
{
    struct restore *restore = data;
    int r = restore_one(restore, name, false);
    return r > 0 ? keep_busy(restore, name) : r;
}

/* The exit status: 0 when nothing is left to do. */
static int restore_all(const struct launcher *l)
{
    struct restore restore = {.l = l};
    struct err err = {0};
    char instance[sizeof l->instance];
    int r = launcher_permit_known(l, instance, &err);
    if (r > 0)
        return 0; /* nobody has made a session here yet */
    if (r == 0)
        r = l->calls->list(l->runtime, instance, restore_each, &restore, &err);
    for (size_t i = 0; r == 0 && i < restore.busy_count; i++)
        r = restore_one(&restore, &restore.busy[i], true);
    free(restore.busy);
    if (r == -ESTALE)
        return 0;
    if (r < 0)
        failed(&restore, &err);
    return restore.failed;
}

static _Noreturn void be_restorer(struct launcher *l, pid_t launcher)
{
    const struct itimerval alarm = {.it_value = {.tv_sec = RESTORE_SECONDS}};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    launcher_close_others(l);
    title_set("berth: network");
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != launcher)
        _exit(0);
    setitimer(ITIMER_REAL, &alarm, NULL);
    l->runtime->gateway = l->gateway;
    _exit(restore_all(l));
}

static void pause_restoring(struct launcher *l, uint64_t now)
{
    l->restore_wanted = true;
    l->restore_due_ms = now + l->restore_pause_ms;
    l->restore_pause_ms =
        l->restore_pause_ms * 2 > PAUSE_MOST_MS ? PAUSE_MOST_MS : l->restore_pause_ms * 2;
}

void launcher_network_tend(struct launcher *l, int *wait_ms)
{
    uint64_t now = launcher_now_ms();
    if (!l->restore_wanted || l->restorer > 0 || l->gateway < 0 || l->gateway_lost || l->front < 0)
        return;
    if (now < l->restore_due_ms) {
        int left = (int)(l->restore_due_ms - now);
        *wait_ms = *wait_ms < 0 || left < *wait_ms ? left : *wait_ms;
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
