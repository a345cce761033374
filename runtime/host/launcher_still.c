/* This file finds out whether the gateway stands still (stopped, spinning), and tells the
 * supervisor, which ends it (docs/adr/0013); it never ends it itself, nor waits for its answer in
 * the launcher's own process (P-4).
 *
 * PRIVILEGED: the launcher's. Whoever of its forks was not answered in time says so by one count
 * that they share (network_ask_tell_still()). That may have been a moment in which the host was
 * busy: so a process asks it something of no consequence, twice, and any answer is a sign of life.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/host/network_ask.h"
#include "runtime/host/network_link.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { QUESTIONS = 2, ASK_SECONDS = 30 };

static const struct watch watch_still = {WATCH_STILL};

int launcher_still_open(struct launcher *l)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = (void *)(uintptr_t)&watch_still};
    l->still = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->still < 0 || epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->still, &event) < 0)
        return -errno;
    network_ask_tell_still(l->still);
    return 0;
}

void launcher_still_hear(struct launcher *l)
{
    uint64_t count;
    l->still_suspected |= read(l->still, &count, sizeof count) == (ssize_t)sizeof count;
}

static _Noreturn void be_asker(struct launcher *l, pid_t launcher)
{
    bool still = true;
    launcher_network_child(l, launcher, ASK_SECONDS);
    network_ask_tell_still(-1); /* what it finds is its exit status */
    for (int i = 0; i < QUESTIONS && still; i++)
        still = network_link_stands_still(l->gateway);
    _exit(still);
}

void launcher_still_tend(struct launcher *l)
{
    if (!l->still_suspected || l->still_asker > 0 || l->gateway < 0 || l->gateway_lost ||
        l->supervisor < 0)
        return;
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        be_asker(l, self);
    /* Where none can be made, the next one who is not answered says so again. */
    l->still_suspected = false;
    l->still_asker = pid > 0 ? pid : 0;
}

void launcher_still_died(struct launcher *l, pid_t pid, int status)
{
    if (pid != l->still_asker)
        return;
    l->still_asker = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 1 && !l->gateway_lost && l->supervisor >= 0)
        (void)send(l->supervisor, "K", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Another gateway, or another socket: what was found out is of the one before. */
void launcher_still_stop(struct launcher *l)
{
    l->still_suspected = false;
    if (l->still_asker <= 0)
        return;
    kill(l->still_asker, SIGKILL);
    while (waitpid(l->still_asker, NULL, 0) < 0 && errno == EINTR)
        ;
    l->still_asker = 0;
}
