/* This file serves HTTP/1.1 on listening sockets; it never interprets a request beyond the table of
 * routes. It may run with no right at all: after server_listen() it opens no path and starts
 * nothing, and besides memory it needs accept4, recvfrom, sendto, shutdown, getsockopt, splice,
 * sendfile, read, write, lseek, fcntl, ioctl(FIONREAD), poll, epoll_ctl, epoll_pwait and close.
 *
 *     loop_new(&loop, &err);
 *     server_new(&server, loop, &operations, &limits, &err);
 *     server_listen(server, fd, &err);
 *     loop_run(loop, &err);
 *     ... server_drain(server, 5000, stopped, owner); until `stopped` is called
 *     server_free(server); loop_free(loop);
 *
 * SIGPIPE is ignored in the whole process from server_new() on: splice(2) has no MSG_NOSIGNAL.
 * It takes the loop's before-wait call. Unprivileged, one thread.
 */
#pragma once

#include "api/http/operations.h"
#include "runtime/link/loop.h"

struct server;

struct http_limits {
    unsigned connections_max;
    unsigned connections_per_uid_max;
    unsigned connections_tcp_max;       /* so that the unix socket always has room */
    unsigned connections_per_token_max; /* of those */
    uint64_t head_ms;  /* from its first byte to its last, however they drip; over TCP also until
                          the first one, of who has not shown a token yet */
    uint64_t body_ms;  /* a JSON body, the same */
    uint64_t idle_ms;  /* between requests */
    uint64_t stall_ms; /* a client that takes nothing of what is to be sent */
    uint64_t heartbeat_ms;
    uint64_t linger_ms; /* after an early answer: so long the rest of the request is thrown away */
    unsigned queue_bytes;  /* of a stream, per client */
    uint64_t bodies_bytes; /* JSON bodies of all clients that are not whole yet */
};

extern const struct http_limits http_limits_default;

/* -EINVAL: an operation is missing. `operations` is copied. */
int server_new(struct server **ret, struct loop *loop, const struct http_operations *operations,
               const struct http_limits *limits, struct err *err);

/* Cuts every connection (operations hear `gone`). NULL is allowed. */
void server_free(struct server *server);
void server_freep(struct server **server);

/* Serve what connects to `fd`, a listening unix or TCP socket, which is taken. Several are allowed.
 * -EPROTOTYPE: it is another kind of socket, or TCP and nobody identifies callers. */
int server_listen(struct server *server, int fd, struct err *err);

/* Graceful stop: no new connection or request is taken, idle connections are closed, event streams
 * end in order (their clients come back to the next server), other requests are answered. Who is
 * not done after `in_ms` is cut. `stopped` is called when no connection is left. */
void server_drain(struct server *server, uint64_t in_ms, void (*stopped)(void *owner), void *owner);

/* Cut what this caller has open, after this turn. */
void server_cut(struct server *server, int64_t caller);

unsigned server_connections(const struct server *server);

/* Taken since the server was made: one that came and went between two looks is seen by it. */
uint64_t server_connections_taken(const struct server *server);

/* What is open now, for metrics. */
struct server_counts {
    unsigned local, tcp;             /* connections */
    unsigned events, bytes, uploads; /* streams: out, out, in */
};
void server_count(const struct server *server, struct server_counts *ret);
