/* This file is what the parts of the HTTP server share: the connection and its exchange. Nobody
 * outside api/http includes it.
 *
 * A connection is in one of these states:
 *
 *     HEAD    reading a head; between requests with nothing read
 *     BODY    reading a JSON body
 *     SERVE   a request was understood or refused; its answer is being made or sent
 *     LINGER  answered before the request was read: what still comes is thrown away
 *
 * Facts: one request at a time (what is pipelined stays in the socket). In HEAD and BODY there is
 * no exchange and nothing is queued but "100 Continue". In SERVE the operation owns `exchange`;
 * when it has ended it, `exchange` is NULL and the queue holds the rest of the answer. HEAD follows
 * when that is out and the body was read to its end; else the connection ends.
 *
 * Functions that operations call only change state and put the connection on the server's list of
 * those with work; connection_step() does it before the loop waits. So no operation is ever called
 * back from inside its own call.
 */
#pragma once

#include "api/http/chunk.h"
#include "api/http/exchange.h"
#include "api/http/outgoing.h"
#include "api/http/server.h"
#include "runtime/base/sha256.h"

#include <time.h>

enum connection_state { CONNECTION_HEAD, CONNECTION_BODY, CONNECTION_SERVE, CONNECTION_LINGER };

enum deadline {
    DEADLINE_NONE,
    DEADLINE_IDLE,
    DEADLINE_HEAD,
    DEADLINE_BODY,
    DEADLINE_STALL,
    DEADLINE_UPLOAD,
    DEADLINE_HEARTBEAT,
    DEADLINE_LINGER,
};

struct input {
    char *data;
    size_t start, length, capacity;
};

struct request_body {
    enum { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED } framing;
    bool whole;        /* all of it was read */
    bool say_continue; /* the client waits for "100 Continue" */
    uint64_t left;     /* FRAMING_LENGTH */
    size_t piece;      /* FRAMING_CHUNKED: bytes at the front of the input that are body */
    struct chunk_reader chunks;
    struct buf text; /* BODY_OBJECT */
};

/* Who waits for what before a step can do more. */
enum { NEED_INPUT = 1, NEED_PEER = 2, NEED_SOURCE = 4, NEED_SINK = 8, NEED_TURN = 16 };

struct connection {
    struct server *server;
    struct connection *next, *previous;
    struct connection *next_ready; /* the server's list of those with work */
    bool ready, stepping;
    int fd;
    struct loop_watch *watch;
    struct loop_watch *source_watch; /* of output.fd, while it is waited for */
    struct loop_timer *timer;
    enum deadline deadline;
    uint64_t deadline_progress; /* `progress` when it was set */
    uint64_t progress;          /* bytes received, for deadlines */
    struct peer peer;
    int64_t caller; /* of the last request, over TCP; 0: nobody has shown a token */

    enum connection_state state;
    unsigned needs;
    bool close;       /* after this answer */
    bool last_seen;   /* the client will send no more; what it sent may not be read yet */
    bool half_closed; /* all that it sent was read */
    bool told;        /* `served` was called for the request of this state */
    bool broken;      /* nothing more can be sent: cut it at the next step */

    struct input in;
    size_t scanned;
    struct request_body body;
    struct outgoing out;
    struct exchange *exchange;

    bool head_request; /* HEAD: the answer has no body */
    char id[REQUEST_ID_MAX];
    const struct route *route; /* of the request being served; NULL */
    struct connection_names {  /* which outlive the exchange */
        char workspace_id[ROUTE_ID_SIZE], session_id[ROUTE_ID_SIZE], exec_id[ROUTE_ID_SIZE],
            volume_name[ROUTE_ID_SIZE], token_id[ROUTE_ID_SIZE];
    } names;
    int status;         /* answered; 0: not yet */
    enum err_code code; /* of a problem that was answered */
    uint64_t began_ms;
};

enum stream_kind { STREAM_NONE, STREAM_EVENTS, STREAM_BYTES };

struct exchange {
    struct connection *connection; /* NULL: gone */
    struct server *server;
    struct exchange_request request;
    struct peer peer;
    bool owned; /* by an operation */
    struct arena arena;
    struct target target;
    void *data;
    enum stream_kind stream;
    bool wants_room;
    struct {
        bool set;
        int fd;
        struct loop_watch *watch;
        uint64_t bytes, bytes_max, idle_ms;
        bool hashed;
        struct sha256 hash;
    } sink;
};

enum { HTTP_DATE_SIZE = 32 };

struct uid_count {
    uid_t uid;
    unsigned connections;
};

struct listener {
    struct server *server;
    struct listener *next;
    int fd;
    struct loop_watch *watch;
};

struct server {
    struct loop *loop;
    struct http_operations operations;
    struct http_limits limits;
    struct listener *listeners;
    struct loop_timer *accept_timer; /* accepting rests while there are no descriptors */
    struct connection *connections;
    struct connection *ready;
    unsigned connection_count;
    uint64_t connections_taken;
    struct uid_count *uids;
    size_t uid_count, uid_capacity;
    uint64_t bodies_bytes; /* in `text` of all connections */
    uint64_t request_number;
    char id_prefix[16];
    time_t date_second;
    char date[HTTP_DATE_SIZE];
    bool draining, stopped_told, freeing;
    struct loop_timer *drain_timer;
    void (*stopped)(void *owner);
    void *stopped_owner;
};

/* ---- connection.c: life and the one place where work is done --------------------------------- */
int connection_new(struct server *server, int *fd, const struct peer *peer, struct err *err);
void connection_drop(struct connection *c);   /* cuts it; the operation hears `gone` */
void connection_detach(struct connection *c); /* from its exchange; the operation hears `gone` */
void connection_step(struct connection *c);   /* may drop it */
void connection_make_ready(struct connection *c);

/* ---- input.c --------------------------------------------------------------------------------- */
/* Receive what is there. 0; INPUT_WAITS; INPUT_END: the client sends no more; -errno. */
enum input_outcome { INPUT_WAITS = 1, INPUT_END = 2 };
int input_read(struct connection *c, size_t capacity_max);
void input_use(struct input *in, size_t length);
void input_rest(struct input *in); /* gives memory back when nothing is left */

/* ---- request.c: from a head to an exchange --------------------------------------------------- */
/* Each leaves `c` in the state that comes next. */
void request_begin(struct connection *c, size_t head_length);
void request_refuse_head(struct connection *c, const struct err *err);
/* In BODY. 0: something moved; NEED_INPUT; -errno: the client is gone. */
int request_read_body(struct connection *c);
void request_forget_body(struct connection *c); /* gives the memory of a JSON body back */

/* ---- caller.c: who asks, over TCP -------------------------------------------------------------
 */
/* Before the path is looked at. 0 with x->request.caller; negative with `err`. */
int caller_check(struct connection *c, struct exchange *x, const struct head *head,
                 struct err *err);
/* An address or "localhost", with a port or without. Pure. */
bool caller_host_is_plain(const char *host, size_t length);
/* "Bearer TOKEN": the token. Pure. */
bool caller_token(struct slice value, struct slice *ret_token);

/* ---- upload.c: a body into an operation's pipe ----------------------------------------------- */
int upload_step(struct connection *c); /* 0: something moved; NEED_*; -errno: the client is gone */
void upload_cut(struct connection *c); /* the operation hears of it, and `gone` */
void upload_close(struct exchange *x);

/* ---- exchange.c ------------------------------------------------------------------------------ */
struct exchange *exchange_new(struct connection *c); /* NULL: out of memory */
void exchange_free(struct exchange *x);
/* A refusal that no operation made. */
void answer_problem(struct connection *c, const struct err *err, const struct problem_more *more,
                    const char *headers);
void fingerprint_begin(const struct exchange *x, struct sha256 *hash);
void fingerprint_end(struct exchange *x, struct sha256 *hash);

/* ---- server.c -------------------------------------------------------------------------------- */
const char *server_date(struct server *server);
void http_date(int64_t seconds, char ret_text[HTTP_DATE_SIZE]); /* RFC 9110, 5.6.7 */
void server_new_id(struct server *server, char ret_id[REQUEST_ID_MAX]);
void server_forget(struct connection *c); /* takes it off all lists */
