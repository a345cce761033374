/* This file listens, takes connections within their limits, and stops in order; it never reads a
 * request.
 */
#include "api/http/connection.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { ACCEPTS_A_TURN = 64, NO_DESCRIPTORS_MS = 100 };

const struct http_limits http_limits_default = {
    .connections_max = 4096,
    .connections_per_uid_max = 3072,
    .connections_tcp_max = 3072,
    .connections_per_token_max = 1536,
    .head_ms = 10 * 1000,
    .body_ms = 30 * 1000,
    .idle_ms = 75 * 1000,
    .stall_ms = 60 * 1000,
    .heartbeat_ms = 15 * 1000,
    .linger_ms = 2 * 1000,
    .queue_bytes = 32 * 1024,
    .bodies_bytes = 64 * MIB,
};

/* ---- how many -------------------------------------------------------------------------------- */

static struct uid_count *count_of(struct server *server, uid_t uid)
{
    for (size_t i = 0; i < server->uid_count; i++)
        if (server->uids[i].uid == uid)
            return &server->uids[i];
    return NULL;
}

static int count_in(struct server *server, uid_t uid)
{
    struct uid_count *count = count_of(server, uid);
    unsigned max = uid == PEER_NOBODY ? server->limits.connections_tcp_max
                                      : server->limits.connections_per_uid_max;
    if (count && count->connections >= max)
        return -EUSERS;
    if (!count && server->uid_count == server->uid_capacity) {
        size_t capacity = server->uid_capacity ? server->uid_capacity * 2 : 8;
        struct uid_count *uids = reallocarray(server->uids, capacity, sizeof *uids);
        if (!uids)
            return -ENOMEM;
        server->uids = uids;
        server->uid_capacity = capacity;
    }
    if (!count) {
        count = &server->uids[server->uid_count++];
        *count = (struct uid_count){.uid = uid};
    }
    count->connections++;
    return 0;
}

static void count_out(struct server *server, uid_t uid)
{
    struct uid_count *count = count_of(server, uid);
    if (count && --count->connections == 0)
        *count = server->uids[--server->uid_count];
}

void server_forget(struct connection *c)
{
    struct server *server = c->server;
    if (c->previous)
        c->previous->next = c->next;
    else
        server->connections = c->next;
    if (c->next)
        c->next->previous = c->previous;
    for (struct connection **at = &server->ready; c->ready && *at; at = &(*at)->next_ready)
        if (*at == c) {
            *at = c->next_ready;
            break;
        }
    server->connection_count--;
    count_out(server, c->peer.uid);
}

void server_count(const struct server *server, struct server_counts *ret)
{
    *ret = (struct server_counts){0};
    for (const struct connection *c = server->connections; c; c = c->next) {
        const struct exchange *x = c->exchange;
        ret->local += c->peer.local;
        ret->tcp += !c->peer.local;
        ret->events += x && x->stream == STREAM_EVENTS;
        ret->bytes += x && x->stream == STREAM_BYTES;
        ret->uploads += x && x->sink.set;
    }
}

unsigned server_connections(const struct server *server)
{
    return server->connection_count;
}

uint64_t server_connections_taken(const struct server *server)
{
    return server->connections_taken;
}

/* ---- taking connections ---------------------------------------------------------------------- */

/* One answer for who is one too many; what it sent is not read. */
static void turn_away(int fd)
{
    static const char document[] =
        "{\"type\":\"urn:berth:problem:unavailable\",\"title\":\"berth cannot serve this now\","
        "\"status\":503,\"code\":\"unavailable\",\"detail\":\"Too many connections are open."
        "\",\"retry_after\":1}\n";
    char answer[512];
    int n =
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\n"
                 "Retry-After: 1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                 sizeof document - 1, document);
    send(fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(fd, SHUT_WR);
}

/* Over TCP, when there is no room: the oldest of those who have shown no token makes some. */
static void make_room(struct server *server)
{
    const struct uid_count *count = count_of(server, PEER_NOBODY);
    struct connection *oldest = NULL;
    if (server->connection_count < server->limits.connections_max &&
        (!count || count->connections < server->limits.connections_tcp_max))
        return;
    for (struct connection *c = server->connections; c; c = c->next)
        if (!c->peer.local && c->caller == 0)
            oldest = c;
    if (oldest && !oldest->stepping)
        connection_drop(oldest);
}

static void take(struct server *server, int *fd)
{
    struct peer peer;
    struct err err;
    if (peer_of(*fd, &peer, &err) < 0)
        return;
    if (!peer.local)
        make_room(server);
    if (server->connection_count >= server->limits.connections_max ||
        count_in(server, peer.uid) < 0) {
        turn_away(*fd);
        return;
    }
    if (connection_new(server, fd, &peer, &err) < 0) {
        count_out(server, peer.uid);
        turn_away(*fd);
        return;
    }
    server->connections_taken++;
}

static void listen_again(struct server *server, unsigned events)
{
    for (struct listener *l = server->listeners; l; l = l->next)
        loop_watch_set(l->watch, events);
}

static void on_accept_timer(void *owner)
{
    listen_again(owner, LOOP_READ);
}

static void on_accept(void *owner, unsigned events)
{
    struct listener *listener = owner;
    struct server *server = listener->server;
    (void)events;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        _cleanup_fd_ int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            take(server, &fd);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* They wait in the queue; asking at once again would only burn the processor. */
            listen_again(server, 0);
            loop_timer_set(server->accept_timer, NO_DESCRIPTORS_MS);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

int server_listen(struct server *server, int fd, struct err *err)
{
    _cleanup_fd_ int owned = fd;
    int domain = 0;
    socklen_t length = sizeof domain;
    bool known = getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
                 (domain == AF_UNIX || domain == AF_INET || domain == AF_INET6);
    /* The kernel has no word on who asks but on a unix socket. */
    if (!known || (domain != AF_UNIX && !server->operations.identify))
        return err_set(err, ERR_INTERNAL, EPROTOTYPE, "listen for clients", NULL,
                       "Only unix sockets are served, and TCP where callers are identified.");
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return err_set(err, ERR_INTERNAL, ENOMEM, "listen for clients", NULL, NULL);
    listener->server = server;
    int r = loop_watch_new(server->loop, fd, on_accept, listener, &listener->watch, err);
    if (r == 0 && (r = loop_watch_set(listener->watch, LOOP_READ)) < 0)
        err_set(err, ERR_INTERNAL, -r, "listen for clients", NULL, NULL);
    if (r < 0) {
        loop_watch_free(listener->watch);
        free(listener);
        return r;
    }
    listener->fd = take_fd(&owned);
    listener->next = server->listeners;
    server->listeners = listener;
    return 0;
}

static void stop_listening(struct server *server)
{
    while (server->listeners) {
        struct listener *listener = server->listeners;
        server->listeners = listener->next;
        loop_watch_free(listener->watch);
        fd_close(listener->fd);
        free(listener);
    }
    loop_timer_clear(server->accept_timer);
}

void server_cut(struct server *server, int64_t caller)
{
    for (struct connection *c = server->connections; c; c = c->next) {
        if (c->peer.local || c->caller != caller)
            continue;
        c->broken = true;
        connection_make_ready(c);
    }
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void tell_stopped(struct server *server)
{
    if (!server->draining || server->freeing || server->stopped_told || server->connection_count)
        return;
    server->stopped_told = true;
    loop_timer_clear(server->drain_timer);
    if (server->stopped)
        server->stopped(server->stopped_owner);
}

/* The work of this round. A step may make others ready, or drop them. */
static void do_ready(void *owner)
{
    struct server *server = owner;
    while (server->ready) {
        struct connection *c = server->ready;
        server->ready = c->next_ready;
        c->ready = false;
        connection_step(c);
    }
    tell_stopped(server);
}

static void on_drain_timer(void *owner)
{
    struct server *server = owner;
    while (server->connections)
        connection_drop(server->connections);
    tell_stopped(server);
}

void server_drain(struct server *server, uint64_t in_ms, void (*stopped)(void *owner), void *owner)
{
    server->draining = true;
    server->stopped = stopped;
    server->stopped_owner = owner;
    stop_listening(server);
    for (struct connection *c = server->connections; c; c = c->next)
        connection_make_ready(c);
    loop_timer_set(server->drain_timer, in_ms);
}

/* ---- what answers carry ---------------------------------------------------------------------- */

/* Year, month and day of a day since 1970 (a Thursday), by counting in periods of 400 years that
 * begin with March: leap days then stand at the end. Not by gmtime_r(): glibc's opens the host's
 * time zone file, which a process without rights cannot, and names depend on a locale. */
static void civil_date(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    int64_t from_march = days + 719468, period = from_march / 146097;
    int64_t day = from_march - period * 146097;
    int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    int64_t of_year = day - (365 * year + year / 4 - year / 100);
    int64_t month = (5 * of_year + 2) / 153;
    *ret_day = (int)(of_year - (153 * month + 2) / 5 + 1);
    *ret_month = (int)(month < 10 ? month + 3 : month - 9);
    *ret_year = (int)(year + period * 400 + (*ret_month <= 2));
}

void http_date(int64_t seconds, char ret_text[HTTP_DATE_SIZE])
{
    static const char days[7][4] = {"Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    if (seconds < 0)
        seconds = 0;
    int64_t day_number = seconds / 86400, second = seconds % 86400;
    int year, month, day;
    civil_date(day_number, &year, &month, &day);
    snprintf(ret_text, HTTP_DATE_SIZE, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[day_number % 7],
             day % 100, months[(month - 1) % 12], year % 10000, (int)(second / 3600),
             (int)(second / 60 % 60), (int)(second % 60));
}

const char *server_date(struct server *server)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != server->date_second) {
        http_date(now.tv_sec, server->date);
        server->date_second = now.tv_sec;
    }
    return server->date;
}

void server_new_id(struct server *server, char ret_id[REQUEST_ID_MAX])
{
    /* Not a count: it would tell each caller how many others there are. */
    if (id_random("r", ret_id, REQUEST_ID_MAX) < 0)
        snprintf(ret_id, REQUEST_ID_MAX, "%s-%" PRIx64, server->id_prefix,
                 ++server->request_number);
}

/* ---- life ------------------------------------------------------------------------------------ */

static int check_operations(const struct http_operations *operations, struct err *err)
{
    bool streams = operations->room && operations->body_end && operations->gone;
    if (!operations->authorize || !streams)
        return err_set(err, ERR_INTERNAL, EINVAL, "start the HTTP server", "operations",
                       "authorize, room, body_end and gone are required.");
    for (unsigned i = 0; i < ROUTE_COUNT; i++)
        if (!operations->handle[i] && !route_at((enum route_id)i)->later)
            return err_set(err, ERR_INTERNAL, EINVAL, "start the HTTP server",
                           route_at((enum route_id)i)->name, "This route has no operation.");
    return 0;
}

int server_new(struct server **ret, struct loop *loop, const struct http_operations *operations,
               const struct http_limits *limits, struct err *err)
{
    int r = check_operations(operations, err);
    if (r < 0)
        return r;
    struct server *server = calloc(1, sizeof *server);
    if (!server)
        return err_set(err, ERR_INTERNAL, ENOMEM, "start the HTTP server", NULL, NULL);
    server->loop = loop;
    server->operations = *operations;
    server->limits = *limits;
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    if (sigaction(SIGPIPE, &ignore, NULL) < 0)
        r = err_set(err, ERR_INTERNAL, errno, "ignore SIGPIPE", NULL, NULL);
    if (r == 0 && (r = id_random("r", server->id_prefix, sizeof server->id_prefix)) < 0)
        err_set(err, ERR_INTERNAL, -r, "make an id", NULL, NULL);
    if (r == 0)
        r = loop_timer_new(loop, on_accept_timer, server, &server->accept_timer, err);
    if (r == 0)
        r = loop_timer_new(loop, on_drain_timer, server, &server->drain_timer, err);
    if (r < 0) {
        server_free(server);
        return r;
    }
    loop_before_wait(loop, do_ready, server);
    *ret = server;
    return 0;
}

void server_free(struct server *server)
{
    if (!server)
        return;
    server->freeing = true;
    if (server->accept_timer)
        stop_listening(server);
    while (server->connections)
        connection_drop(server->connections);
    loop_before_wait(server->loop, NULL, NULL);
    loop_timer_free(server->accept_timer);
    loop_timer_free(server->drain_timer);
    free(server->uids);
    free(server);
}

void server_freep(struct server **server)
{
    server_free(*server);
    *server = NULL;
}
