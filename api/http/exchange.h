/* This file is what an operation sees of one request and how it answers; it never says how the
 * bytes travel. It is one half of the interface between HTTP and whoever does the work; the other
 * half is operations.h.
 *
 * Life of an exchange. `handle` (operations.h) gets it when the request is understood: head read,
 * route found, caller authorized, and, unless the route's body is a stream, body read and checked.
 * From then on it belongs to the operation until ONE of these is called, which ends it; the pointer
 * is dead afterwards:
 *
 *     exchange_answer()         a document
 *     exchange_refuse()         a problem document
 *     exchange_answer_file()    bytes of a descriptor
 *     exchange_stream_end()     after exchange_events_begin() or exchange_bytes_begin()
 *     exchange_stream_break()   the same, but the client must see that it is not whole
 *     exchange_end()            nothing more to say: after `gone`
 *
 * That may be inside `handle` or any time later, in the loop's thread. The client may leave before:
 * the exchange stays valid, `gone` is called once, and what is answered then goes nowhere. A client
 * that leaves cancels nothing by itself (EXEC-5). No function here calls the operation back.
 *
 * Streams out. exchange_send_*() takes what fits: EXCHANGE_FULL means that nothing was taken; stop,
 * and go on when `room` is called. So a slow follower costs a bounded queue and holds nobody up;
 * an operation sends from a place it can read again (spool, ledger), not from memory. A follower
 * that takes nothing for http_limits.stall_ms is cut, and comes back with Last-Event-ID.
 *
 * Streams in. exchange_body_to() names the pipe that the body goes to; until then not a byte of it
 * is read, so that refusing early costs nothing. `body_end` says how it ended.
 */
#pragma once

#include "api/http/conditions.h"
#include "api/http/peer.h"
#include "api/http/problem.h"
#include "api/http/route.h"
#include "api/http/values.h"
#include "policy/json.h"
#include "runtime/base/buf.h"

struct exchange;

enum { REQUEST_ID_MAX = 32 };

struct exchange_request {
    const struct route *route;
    struct route_names names;
    char id[REQUEST_ID_MAX]; /* X-Request-Id of the answer; for logs */
    const struct peer *peer;
    int64_t caller;                       /* over TCP: what http_operations.identify said; else 0 */
    const struct target_parameter *query; /* only names that the route has */
    unsigned query_count;
    const struct json_node *body; /* BODY_OBJECT: checked by fields.h; else NULL */
    bool wants_events;            /* the answer shall be events (route and Accept say so) */
    bool has_length;              /* BODY_STREAM: its length is known */
    uint64_t length;
    bool has_last_event; /* Last-Event-ID, or the query's `from` as the number before it */
    uint64_t last_event;
    struct byte_range range; /* ANSWER_BYTES */
    struct conditions conditions;
    const char *idempotency_key; /* NULL */
    const char *path;            /* as it was sent, without the query: part of the key's scope */
    char fingerprint[65];        /* of method, path and body; "" before a stream's body_end */
};

const struct exchange_request *exchange_request(const struct exchange *x);

/* The value of a query parameter, or NULL. */
const char *exchange_query(const struct exchange *x, const char *name);

/* The operation's own, NULL at first. */
void exchange_set_data(struct exchange *x, void *data);
/* What is made has this id, which its route does not have: for the log. */
void exchange_named(struct exchange *x, const char *session_id);
void *exchange_data(const struct exchange *x);

/* The client's own socket, for the launcher, which reads the asker's credentials from it and not
 * from our word. Borrowed: it may be sent with SCM_RIGHTS before anything else is called; -1 when
 * the client is gone. Whoever receives it must close it soon: the client sees the end of the
 * connection only when the last copy is closed. */
int exchange_socket(const struct exchange *x);

/* Memory that lives as long as the exchange. */
struct arena *exchange_arena(struct exchange *x);

/* ---- answers --------------------------------------------------------------------------------- */

struct answer_more {
    bool replayed;      /* Idempotent-Replayed: true */
    enum err_code code; /* of a problem document that was made elsewhere; for metrics */
    const char *etag;   /* with its quotes; NULL */
};

/* `document` is taken and empty afterwards. A failed buffer answers 500. `more` may be NULL. */
void exchange_answer(struct exchange *x, int status, struct buf *document,
                     const struct answer_more *more);
/* A stored answer or one of another media type: "application/problem+json" is the other one. */
void exchange_answer_as(struct exchange *x, int status, const char *media_type,
                        struct buf *document, const struct answer_more *more);
void exchange_refuse(struct exchange *x, const struct err *err, const struct problem_more *more);

struct exchange_file {
    int fd;              /* taken; a regular file or the read end of a pipe; -1 for HEAD */
    uint64_t offset;     /* regular file: where to begin. A pipe begins where the range begins. */
    bool has_length;     /* else: a pipe, until its end */
    uint64_t length;     /* bytes to send; fewer than these break the connection */
    bool unchanged;      /* 304: the client has it; nothing is sent */
    bool partial;        /* 206 */
    uint64_t first;      /* of the range, when partial */
    uint64_t size;       /* of the whole file, when partial */
    const char *type;    /* NULL: application/octet-stream */
    const char *etag;    /* NULL */
    const char *headers; /* more header lines, each ended by CR LF, made by berth; NULL */
};
void exchange_answer_file(struct exchange *x, struct exchange_file *file);

/* ---- streams out ----------------------------------------------------------------------------- */

enum exchange_outcome { EXCHANGE_FULL = 1, EXCHANGE_GONE = 2 };

void exchange_events_begin(struct exchange *x); /* 200, text/event-stream, heartbeats */
/* `headers`: more lines, each ended by CR LF, made by berth; NULL */
void exchange_bytes_begin(struct exchange *x, const char *media_type, const char *headers);

/* 0; EXCHANGE_FULL: not taken, wait for `room`; EXCHANGE_GONE; -ENOMEM: not taken. `id` 0: none. */
int exchange_send_event(struct exchange *x, uint64_t id, const char *type, const char *data,
                        size_t length);
int exchange_send_bytes(struct exchange *x, const void *data, size_t length);

void exchange_stream_end(struct exchange *x);
/* The same, with fields behind the last chunk: lines that the field Trailer has announced. */
void exchange_stream_end_with(struct exchange *x, const char *trailers);
void exchange_stream_break(struct exchange *x);
void exchange_end(struct exchange *x);

/* ---- streams in ------------------------------------------------------------------------------ */

enum exchange_body {
    EXCHANGE_BODY_WHOLE,
    EXCHANGE_BODY_CUT,      /* the client left or broke the framing; what came is not all, and
                               `gone` follows: there is nobody to answer */
    EXCHANGE_BODY_TOO_LONG, /* more than `bytes_max` */
    EXCHANGE_BODY_REFUSED,  /* nobody reads the pipe any more */
};

struct exchange_sink {
    int fd;             /* taken; the write end of a pipe. Closed after `body_end` returns: whoever
                           reads it can be told first whether its end is the body's end */
    uint64_t bytes_max; /* BODY_UNBOUNDED */
    uint64_t idle_ms; /* cut when the client sends nothing for so long; 0: a person may be typing */
};

/* Only for BODY_STREAM, once. 0 or -errno; the descriptor is taken in both cases. */
int exchange_body_to(struct exchange *x, struct exchange_sink *sink, struct err *err);
