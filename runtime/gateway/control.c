/* This file takes requests and answers them (gateway.h); it never believes a message that the check
 * refuses: its connection ends, and the gateway goes on with what it has.
 */
#include "runtime/gateway/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    REQUESTS = 16,     /* in one round */
    REPLIES_MAX = 128, /* that wait for their reader; then no request is read */
    CONNECTORS_ASKED = 16,
    CONNECTORS_LOW = 8,
};

struct control {
    struct gateway_reply replies[REPLIES_MAX];
    unsigned first, count;
    uint64_t flush_ticket; /* of a FLUSH that is not answered yet; 0: none */
    int flush_answer;      /* where; -1: on the control socket */
    bool paused;
    int spare; /* a place for a descriptor, so that an answer can always be given; -1 */
};

static const uint32_t watched = EPOLLIN;

static struct gateway_reply reply_to(unsigned type, uint64_t ticket, int64_t row,
                                     int64_t incarnation)
{
    return (struct gateway_reply){.magic = GATEWAY_MAGIC,
                                  .version = GATEWAY_VERSION,
                                  .type = (uint16_t)type,
                                  .ticket = ticket,
                                  .row = row,
                                  .incarnation = incarnation};
}

/* ---- answers --------------------------------------------------------------------------------- */

static void send_replies(struct gateway *g)
{
    struct control *k = g->requests;
    while (k->count > 0 && g->control.added) {
        ssize_t n = send(g->control.fd, &k->replies[k->first], sizeof k->replies[0],
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == ENOBUFS))
            break;
        k->first = (k->first + 1) % REPLIES_MAX;
        k->count--;
    }
    bool pause = k->count >= REPLIES_MAX / 2;
    bool waits = k->count > 0;
    if (g->control.added)
        (void)watch_change(g, &g->control,
                           (pause ? 0 : watched) | (waits ? (uint32_t)EPOLLOUT : 0));
    k->paused = pause;
}

static void answer(struct gateway *g, const struct gateway_reply *reply)
{
    struct control *k = g->requests;
    if (k->count == REPLIES_MAX)
        return; /* only what is asked unasked comes here, and it is asked again */
    k->replies[(k->first + k->count++) % REPLIES_MAX] = *reply;
    send_replies(g);
}

/* On a socket that came with the request (-1: it has none). It has room for one answer; who does
 * not wait for it any more gets none. */
static void answer_on(struct gateway *g, int given, const struct gateway_reply *reply)
{
    if (given < 0)
        answer(g, reply);
    else
        (void)send(given, reply, sizeof *reply, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void control_need(struct gateway *g, struct session *session)
{
    if (session->asked_connectors || session->connector_count[0] >= CONNECTORS_LOW ||
        !g->control.added || g->requests->count > REPLIES_MAX / 2)
        return;
    struct gateway_reply need =
        reply_to(GATEWAY_NEED_SOCKETS, 0, session->row, session->incarnation);
    need.count = CONNECTORS_ASKED;
    session->asked_connectors = true;
    session->asked_connectors_ms = g->now_ms;
    answer(g, &need);
}

/* ---- requests -------------------------------------------------------------------------------- */

static int serve(struct gateway *g, const struct gateway_request *request, int *fds,
                 unsigned fd_count, struct gateway_reply *reply)
{
    struct err *err = &reply->err;
    if (request->type == GATEWAY_ADD)
        return session_add(g, request, fds, fd_count, err);
    if (request->type == GATEWAY_SWEEP) {
        reply->count = session_sweep(g);
        return 0;
    }
    struct session *session = session_find(g, request->row, request->incarnation);
    if (!session)
        return err_set(err, ERR_NOT_FOUND, ENOENT, gateway_request_name(request->type), NULL,
                       "The gateway does not serve this session.");
    session->asked_about = true;
    switch (request->type) {
    case GATEWAY_REPLACE:
        return session_replace(g, session, fds[0], &reply->count, err);
    case GATEWAY_REMOVE:
        reply->count = session_remove(g, session);
        return 0;
    case GATEWAY_PUBLISH:
        return session_publish(g, session, request->ports, fds, fd_count, err);
    case GATEWAY_PUBLISHED:
        reply->count = session_publishes(session, request->ports, request->port_count);
        return 0;
    case GATEWAY_HOLD:
    case GATEWAY_RELEASE:
        session_hold(g, session, request->type == GATEWAY_HOLD);
        return 0;
    default:
        session_connectors(g, session, fds, fd_count);
        return 0;
    }
}

static void take_request(struct gateway *g, const struct gateway_request *request, int *fds,
                         unsigned fd_count)
{
    struct gateway_reply reply =
        reply_to(request->type, request->ticket, request->row, request->incarnation);
    _cleanup_fd_ int given = request->answer ? take_fd(&fds[--fd_count]) : -1;
    if (request->type == GATEWAY_FLUSH) {
        /* One at a time: who asks while another waits is answered with him, or not at all. */
        g->requests->flush_ticket = request->ticket;
        fd_replace(&g->requests->flush_answer, take_fd(&given));
        control_tick(g);
        return;
    }
    reply.result = serve(g, request, fds, fd_count, &reply);
    answer_on(g, given, &reply);
}

void control_tick(struct gateway *g)
{
    struct control *k = g->requests;
    if (!k->flush_ticket)
        return;
    (void)events_run(g->events, g->now_ms, true);
    if (events_waiting(g->events) && g->reader.added)
        return;
    struct gateway_reply reply = reply_to(GATEWAY_FLUSH, k->flush_ticket, 0, 0);
    k->flush_ticket = 0;
    _cleanup_fd_ int given = take_fd(&k->flush_answer);
    answer_on(g, given, &reply);
}

/* ---- messages with descriptors --------------------------------------------------------------- */

/* False: this process has no room for another descriptor. */
static bool keep_spare(struct gateway *g)
{
    struct control *k = g->requests;
    if (k->spare < 0)
        k->spare = fcntl(g->epoll, F_DUPFD_CLOEXEC, 0);
    return k->spare >= 0;
}

/* Length, 0 at the end, -errno. Descriptors are the caller's. -EMSGSIZE: it was longer than a
 * message, or had more of them. *ret_lost: this process has no room for all of them. What comes is
 * given the spare one's place, where there is no other. */
static ssize_t receive(struct gateway *g, int fd, void *data, size_t size, int fds[GATEWAY_FDS_MAX],
                       unsigned *ret_count, bool *ret_lost)
{
    fd_closep(&g->requests->spare);
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(GATEWAY_FDS_MAX * sizeof(int))];
    } ancillary;
    struct iovec part = {data, size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = ancillary.bytes,
                             .msg_controllen = sizeof ancillary.bytes};
    ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return -errno;
    unsigned count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t held = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < held; i++) {
            int given;
            memcpy(&given, CMSG_DATA(c) + i * sizeof given, sizeof given);
            if (count < GATEWAY_FDS_MAX)
                fds[count++] = given;
            else
                fd_close(given);
        }
    }
    *ret_count = count;
    *ret_lost = (message.msg_flags & MSG_CTRUNC) && count < GATEWAY_FDS_MAX;
    if ((message.msg_flags & MSG_TRUNC) || ((message.msg_flags & MSG_CTRUNC) && !*ret_lost))
        return -EMSGSIZE;
    return n;
}

static void close_all(int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        fd_closep(&fds[i]);
}

/* What would take the last place is not taken. A request that brings nothing but where to answer
 * gives it back: to end a session, which makes room, is always possible. */
static bool has_room(struct gateway *g, const struct gateway_request *request, size_t length,
                     unsigned fd_count)
{
    return keep_spare(g) || (length == sizeof *request && request->answer && fd_count == 1);
}

static void control_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct gateway_request request;
    if (events & EPOLLOUT)
        send_replies(g);
    for (int i = 0; i < REQUESTS && watch->added && !g->requests->paused; i++) {
        int fds[GATEWAY_FDS_MAX];
        unsigned count = 0;
        bool lost = false;
        ssize_t n = receive(g, watch->fd, &request, sizeof request, fds, &count, &lost);
        bool room = has_room(g, &request, n > 0 ? (size_t)n : 0, count);
        if (n == -EAGAIN || n == -EINTR)
            return;
        /* Whoever asked sees his socket for the answer closed. */
        if (n > 0 && (lost || !room)) {
            close_all(fds, count);
            (void)keep_spare(g);
            continue;
        }
        const char *wrong = n <= 0 ? "an end" : gateway_request_check(&request, (size_t)n, count);
        if (!wrong)
            take_request(g, &request, fds, count);
        close_all(fds, count);
        (void)keep_spare(g);
        /* Whoever is started again brings a new one. */
        if (wrong) {
            watch_close(g, watch);
            return;
        }
    }
}

static void reader_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    char nothing;
    if ((events & (EPOLLHUP | EPOLLERR)) ||
        recv(watch->fd, &nothing, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
        watch_close(g, watch);
    else
        (void)events_run(g->events, g->now_ms, false);
    control_tick(g);
}

static int watch_reader(struct gateway *g, int fd)
{
    return watch_add(g, &g->reader, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, reader_happened);
}

static int watch_control(struct gateway *g, int fd)
{
    struct control *k = g->requests;
    /* Answers to the one before are nobody's. */
    k->first = k->count = 0;
    k->flush_ticket = 0;
    fd_replace(&k->flush_answer, -1);
    k->paused = false;
    for (struct link *l = g->sessions.next; l != &g->sessions; l = l->next) {
        struct session *session = list_owner(l, struct session, in_gateway);
        session->asked_connectors = session->asked_about = false;
    }
    int r = watch_add(g, &g->control, fd, watched, control_happened);
    for (struct link *l = g->sessions.next; r == 0 && l != &g->sessions; l = l->next) {
        struct session *session = list_owner(l, struct session, in_gateway);
        if (session->net->publish_count > 0)
            control_need(g, session);
    }
    return r;
}

/* Limits stay: what they bound may be there already. */
static int take_config(struct gateway *g, int fd)
{
    struct gateway_config config;
    ssize_t n = pread(fd, &config, sizeof config, 0);
    if (n < 0 || gateway_config_check(&config, (size_t)n))
        return -EINVAL;
    /* Who waits for one that is asked no more is given up soon. */
    bool same = config.resolver_count == g->config.resolver_count &&
                memcmp(config.resolvers, g->config.resolvers,
                       config.resolver_count * sizeof config.resolvers[0]) == 0;
    g->config.resolver_count = config.resolver_count;
    memcpy(g->config.resolvers, config.resolvers, sizeof g->config.resolvers);
    g->config.door_count = config.door_count;
    memcpy(g->config.door_ports, config.door_ports, sizeof g->config.door_ports);
    if (!same)
        resolver_changed(g);
    session_doors(g);
    return 0;
}

/* 'C' and 'E' bring a new control and events socket, 'F' a configuration. Its end is ours. */
static void life_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    int fds[GATEWAY_FDS_MAX];
    unsigned count = 0;
    char what = 0;
    bool lost = false;
    (void)events;
    ssize_t n = receive(g, watch->fd, &what, 1, fds, &count, &lost);
    (void)keep_spare(g);
    if (n == -EAGAIN || n == -EINTR)
        return;
    if (n <= 0 && n != -EMSGSIZE) {
        g->over = true;
        close_all(fds, count);
        return;
    }
    /* One that does not know what is in force opens nothing any more: the next begins with it. */
    if (n == 1 && what == 'F' && (count != 1 || take_config(g, fds[0]) < 0))
        g->over = true;
    if (n == 1 && count == 1 && (what == 'C' || what == 'E')) {
        struct watch *old = what == 'C' ? &g->control : &g->reader;
        watch_close(g, old);
        if ((what == 'C' ? watch_control(g, fds[0]) : watch_reader(g, fds[0])) == 0)
            fds[0] = -1;
    }
    close_all(fds, count);
    (void)keep_spare(g);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

int control_start(struct gateway *g)
{
    g->requests = calloc(1, sizeof *g->requests);
    if (!g->requests)
        return -ENOMEM;
    g->requests->flush_answer = g->requests->spare = -1;
    (void)keep_spare(g);
    int r = watch_add(g, &g->life, GATEWAY_FD_LIFE, EPOLLIN, life_happened);
    if (r == 0 && is_open(GATEWAY_FD_CONTROL))
        r = watch_control(g, GATEWAY_FD_CONTROL);
    if (r == 0 && is_open(GATEWAY_FD_EVENTS))
        r = watch_reader(g, GATEWAY_FD_EVENTS);
    return r;
}
