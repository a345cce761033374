/* This file keeps one worker ready before there is a request for it; it never does a request's
 * work and never holds what belongs to one.
 *
 * PRIVILEGED: the launcher's. Forking costs a fifth of what most requests cost, so it is done while
 * nothing else waits. The spare has no state: what it is asked comes in one message, with the
 * request's descriptors, on the socket on which it answers. It ends with the launcher, however that
 * ends, for as long as it has nothing to do. A launcher without one forks as it goes.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/title.h"

#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* What a worker is told. */
struct order {
    struct launcher_request request;
    /* netns: the last descriptor is a network namespace that is ready; gateway: the one before
     * it, or the last, is the gateway's socket, which is not the one that the spare was born with
     */
    uint32_t clean, netns, gateway;
};

enum { ORDER_FDS = LAUNCHER_FDS_MAX + 2 };

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int) * ORDER_FDS)];
};

/* Nothing of the launcher's, and nothing of the requests that wait or run: a client would not see
 * the end of a connection that a spare has open. */
void launcher_close_others(struct launcher *l)
{
    netns_pool_fini(&l->pool);
    fd_close(l->front);
    fd_close(l->supervisor);
    fd_close(l->epoll);
    fd_close(l->signals);
    fd_close(l->spare_socket);
    for (const struct job *job = l->jobs; job; job = job->next) {
        for (unsigned i = 0; i < job->fd_count; i++)
            fd_close(job->fds[i]);
        fd_close(job->result);
        fd_close(job->given);
    }
}

/* False: the launcher is gone. */
static bool receive(int socket, struct order *order, struct job *job, int *ret_netns,
                    int *ret_gateway)
{
    union control control;
    memset(&control, 0, sizeof control);
    struct iovec part = {order, sizeof *order};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t n;
    do
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *order)
        return false;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_type == SCM_RIGHTS) {
        int fds[ORDER_FDS];
        unsigned count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(header), count * sizeof(int));
        if (order->netns)
            *ret_netns = fds[--count];
        if (order->gateway)
            *ret_gateway = fds[--count];
        memcpy(job->fds, fds, count * sizeof(int));
        job->fd_count = count;
    }
    job->request = order->request;
    return true;
}

static void be_spare(struct launcher *l, pid_t launcher, int socket)
{
    static struct order order;
    static struct job job;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    launcher_close_others(l);
    launcher_live_close(l);
    fd_replace(&l->gateway, -1);
    title_set("berth: spare");
    /* The launcher's end of the socket is in workers that were forked meanwhile, so an end of file
     * alone would come late. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != launcher)
        _exit(0);
    int netns = -1;
    if (!receive(socket, &order, &job, &netns, &l->gateway))
        _exit(0);
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0); /* what was begun is finished without a launcher */
    title_set("berth: worker");
    _exit(launcher_work(l, &job, order.clean != 0, netns, socket));
}

void launcher_spare_make(struct launcher *l)
{
    int pair[2];
    if (!l->spare_wanted || l->spare > 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    pid_t launcher = getpid(), pid = fork();
    if (pid == 0) {
        fd_close(pair[0]);
        be_spare(l, launcher, pair[1]);
    }
    fd_close(pair[1]);
    l->spare_wanted = false; /* one that dies is not made again and again */
    if (pid < 0) {
        fd_close(pair[0]);
        return;
    }
    l->spare = pid;
    l->spare_socket = pair[0];
}

static int send_order(int socket, const struct job *job, bool clean, int netns, int gateway)
{
    union control control;
    int fds[ORDER_FDS];
    unsigned count = job->fd_count;
    memcpy(fds, job->fds, count * sizeof(int));
    if (gateway >= 0)
        fds[count++] = gateway;
    if (netns >= 0)
        fds[count++] = netns;
    struct order order = {
        .request = job->request, .clean = clean, .netns = netns >= 0, .gateway = gateway >= 0};
    struct iovec part = {&order, sizeof order};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    }
    ssize_t n;
    do
        n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

pid_t launcher_spare_take(struct launcher *l, const struct job *job, bool clean, int netns,
                          int *ret_result)
{
    pid_t pid = l->spare;
    l->spare_wanted = true;
    if (pid <= 0 || send_order(l->spare_socket, job, clean, netns, l->gateway) < 0)
        return 0;
    *ret_result = take_fd(&l->spare_socket);
    l->spare = 0;
    return pid;
}

void launcher_spare_died(struct launcher *l, pid_t pid)
{
    if (pid != l->spare)
        return;
    l->spare = 0;
    fd_replace(&l->spare_socket, -1);
}

void launcher_spare_end(struct launcher *l)
{
    fd_replace(&l->spare_socket, -1);
    if (l->spare <= 0)
        return;
    kill(l->spare, SIGKILL);
    while (waitpid(l->spare, NULL, 0) < 0 && errno == EINTR)
        ;
    l->spare = 0;
}
