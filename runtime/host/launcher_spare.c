/* This file keeps workers ready before there is a request for them; it never does a request's
 * work and never holds what belongs to one.
 *
 * PRIVILEGED: the launcher's. Forking costs a fifth of what most requests cost, so it is done while
 * nothing else waits. A spare has no state: what it is asked comes in one message, with the
 * request's descriptors, on the socket on which it answers. It ends with the launcher, however that
 * ends, for as long as it has nothing to do. A launcher without one forks as it goes.
 *
 * One spare is for any request. Others are prepared for a LAUNCH (docs/adr/0017): each has made
 * what a session's root directory can be made of, for the one session that it will be asked for.
 * One that sees the host change before that lets go of it and ends; what it was asked meanwhile it
 * does as any other worker.
 */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/title.h"

#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>

/* What a worker is told. */
struct order {
    struct launcher_request request;
    /* fd_count: so many of the first descriptors are the request's; netns: so many of the last
     * descriptors are a network namespace that is ready; gateway: the one before them, or the last,
     * is the gateway's socket, which is not the one that the spare was born with */
    uint32_t clean, fd_count, netns, gateway;
    uint32_t gateway_lost, gateway_ended; /* of struct launcher, and of struct job */
};

enum { ORDER_FDS = LAUNCHER_FDS_MAX + 1 + NETWORK_READY_FDS, ENDED_MS = 2000 };

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
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
        if (l->prepared[i].pid > 0)
            fd_close(l->prepared[i].socket);
    for (const struct job *job = l->jobs; job; job = job->next) {
        for (unsigned i = 0; i < job->fd_count; i++)
            fd_close(job->fds[i]);
        fd_close(job->result);
    }
}

/* False: they are not what the order says, and nothing is taken. */
static bool take_descriptors(const struct order *order, const int *fds, unsigned count,
                             struct job *job, struct network_ready *ret_netns, int *ret_gateway)
{
    if (order->gateway > 1 || order->netns > NETWORK_READY_FDS ||
        count < order->netns + order->gateway ||
        order->fd_count != count - order->netns - order->gateway ||
        order->fd_count > LAUNCHER_FDS_MAX)
        return false;
    memcpy(job->fds, fds, order->fd_count * sizeof(int));
    job->fd_count = order->fd_count;
    if (order->gateway)
        *ret_gateway = fds[order->fd_count];
    return order->netns == 0 ||
           network_ready_take(ret_netns, &fds[order->fd_count + order->gateway], order->netns);
}

/* False: the launcher is gone, or this process has no room for what it was given. */
static bool receive(int socket, struct order *order, struct job *job,
                    struct network_ready *ret_netns, int *ret_gateway)
{
    union control control;
    int fds[ORDER_FDS];
    memset(&control, 0, sizeof control);
    struct iovec part = {order, sizeof *order};
    /* Not CMSG_SPACE, in which there may be room for one more. */
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_LEN(sizeof fds)};
    ssize_t n;
    do
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *order || (message.msg_flags & (MSG_CTRUNC | MSG_TRUNC)))
        return false;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    unsigned count = 0;
    if (header && header->cmsg_type == SCM_RIGHTS) {
        count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(header), count * sizeof(int));
    }
    job->request = order->request;
    return take_descriptors(order, fds, count, job, ret_netns, ret_gateway);
}

/* Until there is an order, or none will come. The launcher sees that this end takes nothing more
 * when it sends; what it sent before is read. */
static void wait_for_order(struct launcher *l, int socket, int changes)
{
    struct pollfd p[] = {{.fd = socket, .events = POLLIN}, {.fd = changes, .events = POLLPRI}};
    while (poll(p, 2, -1) < 0 && errno == EINTR)
        ;
    if (p[1].revents == 0)
        return;
    shutdown(socket, SHUT_RD);
    l->calls->unprepare(l->runtime);
}

static void prepare(struct launcher *l, int socket)
{
    static const struct itimerval patience = {.it_value = {.tv_sec = LAUNCHER_PREPARE_MS / 1000}},
                                  none = {{0}, {0}};
    struct err err = {0};
    int changes = -1;
    setitimer(ITIMER_REAL, &patience, NULL);
    if (l->calls->prepare(l->runtime, &changes, &err) < 0) {
        if (l->tell)
            l->tell(&err);
        _exit(1);
    }
    setitimer(ITIMER_REAL, &none, NULL);
    if (send(socket, "r", 1, MSG_NOSIGNAL) != 1)
        _exit(0);
    wait_for_order(l, socket, changes);
}

static void be_spare(struct launcher *l, pid_t launcher, int socket, bool prepared)
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
    if (prepared)
        prepare(l, socket);
    struct network_ready netns;
    network_ready_init(&netns);
    if (!receive(socket, &order, &job, &netns, &l->gateway))
        _exit(0);
    prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0); /* what was begun is finished without a launcher */
    title_set("berth: worker");
    l->gateway_lost = order.gateway_lost != 0;
    l->gateway_ended = order.gateway_ended != 0;
    _exit(launcher_work(l, &job, order.clean != 0, &netns, socket));
}

/* Its pid; 0: it could not be made. */
static pid_t make_one(struct launcher *l, bool prepared, int *ret_socket)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return 0;
    pid_t launcher = getpid(), pid = fork();
    if (pid == 0) {
        fd_close(pair[0]);
        be_spare(l, launcher, pair[1], prepared);
    }
    fd_close(pair[1]);
    if (pid < 0) {
        fd_close(pair[0]);
        return 0;
    }
    *ret_socket = pair[0];
    return pid;
}

/* A place for one that is to be made; -1. */
static int place_to_prepare(const struct launcher *l)
{
    if (!l->calls->prepare || l->config->rootless || l->jobs)
        return -1;
    for (int i = 0; i < LAUNCHER_PREPARED; i++)
        if (l->prepared[i].pid == 0)
            return i;
    return -1;
}

bool launcher_spare_wanted(const struct launcher *l, uint64_t now_ms, int *wait_ms)
{
    if (l->spare_wanted && l->spare == 0)
        return true;
    if (place_to_prepare(l) < 0)
        return false;
    if (now_ms >= l->prepare_not_before_ms)
        return true;
    int left = (int)(l->prepare_not_before_ms - now_ms);
    if (*wait_ms < 0 || left < *wait_ms)
        *wait_ms = left;
    return false;
}

void launcher_spare_make(struct launcher *l, uint64_t now_ms)
{
    if (l->spare_wanted && l->spare == 0) {
        l->spare = make_one(l, false, &l->spare_socket);
        l->spare_wanted = false; /* one that dies is not made again and again */
    }
    int at = place_to_prepare(l);
    if (at < 0 || now_ms < l->prepare_not_before_ms)
        return;
    struct prepared_spare *place = &l->prepared[at];
    *place = (struct prepared_spare){.socket = -1};
    place->pid = make_one(l, true, &place->socket);
    if (place->pid == 0)
        l->prepare_not_before_ms = now_ms + LAUNCHER_PREPARE_FAILED_MS;
}

static int send_order(const struct launcher *l, int socket, const struct job *job, bool clean,
                      const struct network_ready *netns)
{
    union control control;
    int fds[ORDER_FDS];
    unsigned count = job->fd_count;
    memcpy(fds, job->fds, count * sizeof(int));
    if (l->gateway >= 0)
        fds[count++] = l->gateway;
    unsigned given = network_ready_list(netns, &fds[count]);
    count += given;
    struct order order = {.request = job->request,
                          .clean = clean,
                          .fd_count = job->fd_count,
                          .netns = given,
                          .gateway = l->gateway >= 0,
                          .gateway_lost = l->gateway_lost,
                          .gateway_ended = job->gateway_ended};
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

/* A hint, no more: who makes the session looks at all of its spec. */
static bool can_use_prepared(const struct job *job)
{
    uint32_t image = 0;
    return job->request.type == LAUNCHER_LAUNCH && job->fd_count > 0 &&
           pread(job->fds[0], &image, sizeof image, offsetof(struct spec, image.kind)) ==
               (ssize_t)sizeof image &&
           image == SPEC_IMAGE_HOST;
}

static bool is_ready(struct prepared_spare *spare)
{
    char byte;
    if (spare->pid > 0 && !spare->ready)
        spare->ready = recv(spare->socket, &byte, 1, MSG_DONTWAIT) == 1;
    return spare->pid > 0 && spare->ready;
}

static pid_t take_prepared(struct launcher *l, const struct job *job,
                           const struct network_ready *netns, int *ret_result)
{
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++) {
        struct prepared_spare *spare = &l->prepared[i];
        if (!is_ready(spare) || send_order(l, spare->socket, job, false, netns) < 0)
            continue;
        pid_t pid = spare->pid;
        *ret_result = take_fd(&spare->socket);
        spare->pid = 0;
        return pid;
    }
    return 0;
}

pid_t launcher_spare_take(struct launcher *l, const struct job *job, bool clean,
                          const struct network_ready *netns, int *ret_result)
{
    pid_t pid = !clean && can_use_prepared(job) ? take_prepared(l, job, netns, ret_result) : 0;
    if (pid > 0)
        return pid;
    pid = l->spare;
    l->spare_wanted = true;
    if (pid <= 0 || send_order(l, l->spare_socket, job, clean, netns) < 0)
        return 0;
    *ret_result = take_fd(&l->spare_socket);
    l->spare = 0;
    return pid;
}

static void prepared_died(struct launcher *l, struct prepared_spare *spare, int status)
{
    bool in_order = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    spare->pid = 0;
    fd_replace(&spare->socket, -1);
    l->prepare_not_before_ms =
        launcher_now_ms() +
        (in_order ? (uint64_t)LAUNCHER_PREPARE_AGAIN_MS : (uint64_t)LAUNCHER_PREPARE_FAILED_MS);
}

void launcher_spare_died(struct launcher *l, pid_t pid, int status)
{
    if (pid == l->spare) {
        l->spare = 0;
        fd_replace(&l->spare_socket, -1);
    }
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
        if (pid == l->prepared[i].pid)
            prepared_died(l, &l->prepared[i], status);
}

/* One that does not end in time is in a system call that cannot be interrupted: a disk does not
 * answer. It holds nothing that anybody waits for, and whoever is this process's reaper has it. */
static void end_one(pid_t *pid, int *socket)
{
    if (*pid <= 0)
        return;
    fd_replace(socket, -1);
    kill(*pid, SIGKILL);
    for (unsigned waited_ms = 0; waitpid(*pid, NULL, WNOHANG) == 0 && waited_ms < ENDED_MS;
         waited_ms++)
        poll(NULL, 0, 1);
    *pid = 0;
}

void launcher_spare_end(struct launcher *l)
{
    end_one(&l->spare, &l->spare_socket);
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
        end_one(&l->prepared[i].pid, &l->prepared[i].socket);
}
