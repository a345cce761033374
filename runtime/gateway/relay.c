/* This file moves the bytes of open connections, and ends them; it never reads them but for the
 * name in a ClientHello, which it looks at where it lies.
 *
 * Descriptors are watched edge by edge: what an end can do is remembered until a call says that it
 * cannot. A connection that could go on stands in the list `ready`, and each there has its turn
 * once in a round. A pipe is held only while bytes are in it; without one (a session holds many, or
 * there are no descriptors) bytes are looked at, sent, and taken as far as they were sent: a
 * connection whose reader is slow costs nothing but itself.
 */
#include "runtime/gateway/internal.h"

#include "runtime/gateway/client_hello.h"
#include "runtime/plan/host_name.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    TURNS = 4,              /* of a direction in one round */
    PIPE_BYTES = 256 << 10, /* asked for; what is given is enough */
    PIPES_MAX = 512,
    COPY_BYTES = 64 << 10,
};

enum pumped { PUMP_IDLE, PUMP_MORE, PUMP_BROKEN };

static uint8_t scratch[COPY_BYTES];
_Static_assert((int)COPY_BYTES > (int)CLIENT_HELLO_MAX,
               "a ClientHello that is too long is seen to be");

/* ---- pipes ----------------------------------------------------------------------------------- */

static struct pipe *new_pipe(struct gateway *g)
{
    struct pipe *pipe = g->pipe_count < PIPES_MAX ? calloc(1, sizeof *pipe) : NULL;
    if (!pipe || pipe2(pipe->ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        free(pipe);
        return NULL;
    }
    (void)fcntl(pipe->ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    list_init(&pipe->link);
    g->pipe_count++;
    return pipe;
}

static bool take_pipe(struct gateway *g, struct session *session, struct flow *f)
{
    if (f->pipe)
        return true;
    if (session->pipe_count >= PIPES_OF_SESSION)
        return false;
    if (list_empty(&g->pipes)) {
        f->pipe = new_pipe(g);
    } else {
        f->pipe = list_owner(g->pipes.next, struct pipe, link);
        list_remove(&f->pipe->link);
    }
    session->pipe_count += f->pipe != NULL;
    return f->pipe != NULL;
}

/* One with bytes in it is of no use to anybody. */
static void give_pipe(struct gateway *g, struct session *session, struct flow *f)
{
    if (!f->pipe)
        return;
    session->pipe_count--;
    if (f->held == 0) {
        list_put(&g->pipes, &f->pipe->link);
    } else {
        fd_close(f->pipe->ends[0]);
        fd_close(f->pipe->ends[1]);
        free(f->pipe);
        g->pipe_count--;
    }
    f->pipe = NULL;
    f->held = 0;
}

/* ---- one direction --------------------------------------------------------------------------- */

/* What a call says of the end that it was for. True: go on later. */
static bool waits(bool *able)
{
    if (errno == EAGAIN) {
        *able = false;
        return true;
    }
    return errno == EINTR;
}

static bool pump_pipe(struct flow *f, struct end *from, struct end *to)
{
    if (f->held == 0) {
        ssize_t n = splice(from->watch.fd, NULL, f->pipe->ends[1], NULL, PIPE_BYTES,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n < 0)
            return waits(&from->readable);
        f->ended = n == 0;
        f->held = (uint32_t)n;
    }
    if (f->held > 0) {
        ssize_t n = splice(f->pipe->ends[0], NULL, to->watch.fd, NULL, f->held,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n < 0)
            return waits(&to->writable);
        f->held -= (uint32_t)n;
        f->bytes += (uint64_t)n;
    }
    return true;
}

static bool pump_copy(struct flow *f, struct end *from, struct end *to)
{
    ssize_t n = recv(from->watch.fd, scratch, sizeof scratch, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0)
        return waits(&from->readable);
    f->ended = n == 0;
    if (n == 0)
        return true;
    n = send(to->watch.fd, scratch, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n < 0)
        return waits(&to->writable);
    f->bytes += (uint64_t)n;
    /* They are there: they were seen. */
    return recv(from->watch.fd, scratch, (size_t)n, MSG_DONTWAIT) == n;
}

static enum pumped pump(struct gateway *g, struct connection *c, struct flow *f, struct end *from,
                        struct end *to)
{
    for (int turn = 0; turn < TURNS; turn++) {
        if (f->shut)
            return PUMP_IDLE;
        if (f->ended && f->held == 0) {
            give_pipe(g, c->session, f);
            f->shut = true;
            if (shutdown(to->watch.fd, SHUT_WR) < 0)
                return PUMP_BROKEN;
            return PUMP_IDLE;
        }
        bool able = to->writable && (f->held > 0 || from->readable);
        if (!able) {
            if (f->held == 0)
                give_pipe(g, c->session, f);
            return PUMP_IDLE;
        }
        uint64_t before = f->bytes + f->held;
        bool good = take_pipe(g, c->session, f) ? pump_pipe(f, from, to) : pump_copy(f, from, to);
        if (!good)
            return PUMP_BROKEN;
        if (f->bytes + f->held != before) {
            c->since_ms = g->now_ms;
            list_put(&g->idle, &c->in_time);
        }
    }
    return PUMP_MORE;
}

/* ---- the name in a ClientHello --------------------------------------------------------------- */

static void refuse_name(struct gateway *g, struct connection *c, const char *name)
{
    struct gateway_event event = {.protocol = GATEWAY_TCP,
                                  .port = c->port,
                                  .reason = NETWORK_BY_SNI,
                                  .rule = -1,
                                  .address = c->address,
                                  .cgroup = c->cgroup};
    snprintf(event.host, sizeof event.host, "%s", name);
    tell(g, c->session, GATEWAY_DENIED, &event);
}

/* Until it is known whom it names, nothing goes out; what comes in is not held up by it.
 * PUMP_MORE: it may go. */
static enum pumped look_for_name(struct gateway *g, struct connection *c)
{
    char name[SPEC_HOST_MAX + 2] = "", host[SPEC_HOST_MAX], why[HOST_WHY_MAX];
    if (!c->near.readable)
        return PUMP_IDLE;
    ssize_t n = recv(c->near.watch.fd, scratch, CLIENT_HELLO_MAX + 1, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0)
        return waits(&c->near.readable) ? PUMP_IDLE : PUMP_BROKEN;
    enum client_hello what =
        n == 0 ? CLIENT_HELLO_OTHER : client_hello_read(scratch, (size_t)n, name);
    switch (what) {
    case CLIENT_HELLO_MORE:
        if (n <= CLIENT_HELLO_MAX && !c->near.gone) {
            c->near.readable = false;
            return PUMP_IDLE;
        }
        break;
    case CLIENT_HELLO_OTHER:
    case CLIENT_HELLO_NO_NAME:
        c->sniff = false;
        return PUMP_MORE;
    case CLIENT_HELLO_NAME:
        if (host_canonical(name, false, host, why) == 0) {
            if (strcmp(host, connection_host(c)) == 0) {
                c->sniff = false;
                return PUMP_MORE;
            }
            refuse_name(g, c, host);
            return PUMP_BROKEN;
        }
        break;
    case CLIENT_HELLO_BROKEN:
        break;
    }
    refuse_name(g, c, "");
    return PUMP_BROKEN;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static bool is_over(const struct connection *c)
{
    return c->out.shut && c->in.shut;
}

/* An end that failed after it had said that it sends no more: nobody would read the error. */
static bool is_lost(const struct connection *c)
{
    return (c->near.failed && c->out.shut) || (c->far.failed && c->in.shut);
}

/* 1: it has more to do. */
static int turn(struct gateway *g, struct connection *c)
{
    enum pumped out = PUMP_MORE, in = pump(g, c, &c->in, &c->far, &c->near);
    if (in != PUMP_BROKEN && c->sniff)
        out = look_for_name(g, c);
    if (in != PUMP_BROKEN && out == PUMP_MORE)
        out = pump(g, c, &c->out, &c->near, &c->far);
    if (in == PUMP_BROKEN || out == PUMP_BROKEN || (!is_over(c) && is_lost(c))) {
        connection_close(g, c, true);
        return 0;
    }
    if (is_over(c)) {
        connection_close(g, c, false);
        return 0;
    }
    return in == PUMP_MORE || out == PUMP_MORE;
}

void relay_ready(struct gateway *g)
{
    /* Those that are put back wait for the next round. */
    struct link now;
    list_init(&now);
    while (!list_empty(&g->ready)) {
        struct link *first = g->ready.next;
        list_put(&now, first);
    }
    while (!list_empty(&now)) {
        struct connection *c = list_owner(now.next, struct connection, in_ready);
        list_remove(&c->in_ready);
        if (turn(g, c))
            list_put(&g->ready, &c->in_ready);
    }
}

void relay_tick(struct gateway *g)
{
    while (!list_empty(&g->idle)) {
        struct connection *c = list_owner(g->idle.next, struct connection, in_time);
        if (g->now_ms - c->since_ms < g->config.idle_timeout_ms)
            return;
        connection_close(g, c, true);
    }
}

/* ---- connections ----------------------------------------------------------------------------- */

static void end_happened(struct end *end, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        end->readable = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        end->writable = true;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        end->gone = true;
    if (events & EPOLLERR)
        end->failed = true;
}

static void near_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct connection *c = list_owner(watch, struct connection, near.watch);
    end_happened(&c->near, events);
    if (c->state == CONNECTION_OPEN)
        list_put(&g->ready, &c->in_ready);
    else if (events & (EPOLLHUP | EPOLLERR))
        connection_close(g, c, true); /* nobody is there any more to dial for */
}

static void far_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct connection *c = list_owner(watch, struct connection, far.watch);
    end_happened(&c->far, events);
    list_put(&g->ready, &c->in_ready);
}

struct connection *connection_new(struct gateway *g, struct session *session, int fd)
{
    static const int one = 1;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) {
        fd_close(fd);
        return NULL;
    }
    c->session = session;
    c->near.watch.fd = c->far.watch.fd = -1;
    c->name = c->rule = -1;
    c->state = CONNECTION_RESOLVING;
    c->number = ++g->last_connection;
    c->since_ms = g->now_ms;
    c->near.writable = c->near.readable = true;
    list_init(&c->in_ready);
    list_init(&c->in_lookup);
    list_init(&c->in_session);
    list_init(&c->in_time);
    if (watch_add(g, &c->near.watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, near_happened) <
        0) {
        fd_close(fd);
        free(c);
        return NULL;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    list_put(&session->connections, &c->in_session);
    list_put(&g->dialling, &c->in_time);
    session->connection_count++;
    g->connection_count++;
    return c;
}

/* far.watch.fd is the dialled descriptor, not watched yet. */
void connection_open(struct gateway *g, struct connection *c)
{
    static const int one = 1;
    int fd = c->far.watch.fd;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (watch_add(g, &c->far.watch, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, far_happened) <
        0) {
        connection_close(g, c, true);
        return;
    }
    c->far.readable = c->far.writable = true;
    c->state = CONNECTION_OPEN;
    c->since_ms = g->now_ms;
    list_put(&g->idle, &c->in_time);
    list_put(&g->ready, &c->in_ready);
    if (!c->published)
        tell_connection(g, c, GATEWAY_ALLOWED, NULL, 0);
}

static void close_end(struct gateway *g, struct end *end, bool reset)
{
    static const struct linger none = {1, 0};
    if (end->watch.fd < 0)
        return;
    if (reset)
        (void)setsockopt(end->watch.fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    if (end->watch.added)
        watch_close(g, &end->watch);
    else
        fd_closep(&end->watch.fd);
}

void connection_close(struct gateway *g, struct connection *c, bool reset)
{
    struct session *session = c->session;
    if (c->state == CONNECTION_OPEN && !c->published)
        tell_connection(g, c, GATEWAY_CLOSED, NULL, 0);
    dial_end(g, c);
    give_pipe(g, session, &c->out);
    give_pipe(g, session, &c->in);
    close_end(g, &c->near, reset);
    close_end(g, &c->far, reset);
    list_remove(&c->in_ready);
    list_remove(&c->in_time);
    list_remove(&c->in_session);
    session->connection_count--;
    g->connection_count--;
    bury(g, c);
}
