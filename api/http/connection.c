/* This file is the life of a connection and the one place where its work is done; it never looks
 * into a request (request.c) or an answer (exchange.c).
 */
#include "api/http/connection.h"

#include "api/http/sse.h"
#include "runtime/base/fd.h"

#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>

enum {
    STEPS_A_TURN = 64,
    LINGER_BYTES_MAX = 16 * 1024 * 1024,
    LINGER_INPUT_BYTES = 16 * 1024,
};

/* ---- life ------------------------------------------------------------------------------------ */

static void on_event(void *owner, unsigned events);
static void on_deadline(void *owner);

int connection_new(struct server *server, int *fd, const struct peer *peer, struct err *err)
{
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_INTERNAL, ENOMEM, "take a connection", NULL, NULL);
    c->server = server;
    c->peer = *peer;
    c->fd = -1;
    outgoing_init(&c->out);
    int r = loop_timer_new(server->loop, on_deadline, c, &c->timer, err);
    if (r == 0)
        r = loop_watch_new(server->loop, *fd, on_event, c, &c->watch, err);
    if (r < 0) {
        loop_timer_free(c->timer);
        free(c);
        return r;
    }
    c->fd = take_fd(fd);
    c->body.whole = true;
    c->next = server->connections;
    if (c->next)
        c->next->previous = c;
    server->connections = c;
    server->connection_count++;
    connection_make_ready(c);
    return 0;
}

void connection_detach(struct connection *c)
{
    const struct http_operations *operations = &c->server->operations;
    struct exchange *x = c->exchange;
    if (!x)
        return;
    c->exchange = NULL;
    x->connection = NULL;
    if (x->owned)
        operations->gone(operations->context, x);
    else
        exchange_free(x);
}

static void tell_served(struct connection *c)
{
    const struct http_operations *operations = &c->server->operations;
    if (!operations->served)
        return;
    const struct http_served served = {
        .route = c->route ? c->route->name : "",
        .changes = c->route && c->route->method != METHOD_GET && c->route->method != METHOD_HEAD,
        .names = {c->names.workspace_id, c->names.session_id, c->names.exec_id,
                  c->names.volume_name, c->names.token_id},
        .id = c->id,
        .status = c->status,
        .code = c->code,
        .duration_ms = loop_now_ms(c->server->loop) - c->began_ms,
        .peer = &c->peer,
        .caller = c->caller,
    };
    operations->served(operations->context, &served);
}

void connection_drop(struct connection *c)
{
    if (c->state == CONNECTION_SERVE && !c->told)
        tell_served(c);
    /* Whatever is answered from here on goes nowhere. */
    c->broken = true;
    upload_cut(c);
    connection_detach(c);
    server_forget(c);
    loop_watch_free(c->source_watch);
    loop_watch_free(c->watch);
    loop_timer_free(c->timer);
    fd_close(c->fd);
    outgoing_fini(&c->out);
    request_forget_body(c);
    free(c->in.data);
    free(c);
}

void connection_make_ready(struct connection *c)
{
    /* A step goes on until nothing moves any more: it needs no other one after it. */
    if (c->ready || c->stepping)
        return;
    c->ready = true;
    c->next_ready = c->server->ready;
    c->server->ready = c;
}

/* ---- one step of each state ------------------------------------------------------------------ */

/* What a step came to. */
enum { STEP_MOVED = 0, STEP_WAITS = 1, STEP_DROP = 2 };

static int need(struct connection *c, unsigned what)
{
    c->needs |= what;
    return STEP_WAITS;
}

static int step_head(struct connection *c)
{
    struct err err;
    size_t length = 0;
    int r = HEAD_MORE;
    if (c->in.length > 0)
        r = head_scan(c->in.data + c->in.start, c->in.length, &c->scanned, &length, &err);
    if (r <= 0)
        c->scanned = 0;
    if (r == 0) {
        request_begin(c, length);
        return STEP_MOVED;
    }
    if (r < 0) {
        c->began_ms = loop_now_ms(c->server->loop);
        c->status = 0;
        c->code = ERR_NONE;
        c->told = false;
        c->route = NULL;
        c->head_request = false;
        server_new_id(c->server, c->id);
        request_refuse_head(c, &err);
        return STEP_MOVED;
    }
    if (c->server->draining)
        return STEP_DROP;
    r = input_read(c, HEAD_BYTES_MAX);
    if (r == INPUT_WAITS) {
        input_rest(&c->in);
        return need(c, NEED_INPUT);
    }
    return r == 0 ? STEP_MOVED : STEP_DROP;
}

static int step_body(struct connection *c)
{
    int r = request_read_body(c);
    return r < 0 ? STEP_DROP : r > 0 ? need(c, (unsigned)r) : STEP_MOVED;
}

/* The answer is out. */
static int finish_request(struct connection *c)
{
    tell_served(c);
    c->told = true;
    c->deadline = DEADLINE_NONE;
    loop_timer_clear(c->timer);
    if (!c->body.whole && !c->half_closed) {
        /* Closing now would reset the connection under an answer that is not read yet. */
        shutdown(c->fd, SHUT_WR);
        c->state = CONNECTION_LINGER;
        c->progress = 0;
        return STEP_MOVED;
    }
    if (c->close || c->server->draining || !c->body.whole)
        return STEP_DROP;
    c->state = CONNECTION_HEAD;
    c->scanned = 0;
    return STEP_MOVED;
}

/* A stream of events that is not its operation's any more: it ends, so that its client connects to
 * whoever serves next. */
static int end_events(struct connection *c)
{
    if (outgoing_add(&c->out, "0\r\n\r\n", 5) < 0)
        return STEP_DROP;
    connection_detach(c);
    return STEP_MOVED;
}

static int step_serve(struct connection *c)
{
    struct exchange *x = c->exchange;
    const struct http_operations *operations = &c->server->operations;
    if (!x)
        return outgoing_empty(&c->out) ? finish_request(c) : STEP_WAITS;
    if (x->wants_room && c->out.length <= c->server->limits.queue_bytes / 4) {
        x->wants_room = false;
        operations->room(operations->context, x);
        return STEP_MOVED;
    }
    if (x->stream == STREAM_EVENTS && c->server->draining)
        return end_events(c);
    if (!x->sink.set)
        return STEP_WAITS;
    int r = upload_step(c);
    if (r > 0 && !(r & NEED_INPUT) && c->exchange)
        r = loop_watch_set(c->exchange->sink.watch, LOOP_WRITE) < 0 ? -EIO : r;
    return r < 0 ? STEP_DROP : r > 0 ? need(c, (unsigned)r) : STEP_MOVED;
}

static int step_linger(struct connection *c)
{
    int r = 0;
    c->in.length = c->in.start = 0;
    r = input_read(c, LINGER_INPUT_BYTES);
    if (r == INPUT_WAITS)
        return need(c, NEED_INPUT);
    return r == 0 && c->progress < LINGER_BYTES_MAX ? STEP_MOVED : STEP_DROP;
}

static int step_state(struct connection *c)
{
    switch (c->state) {
    case CONNECTION_HEAD:
        return step_head(c);
    case CONNECTION_BODY:
        return step_body(c);
    case CONNECTION_SERVE:
        return step_serve(c);
    case CONNECTION_LINGER:
        return step_linger(c);
    }
    return STEP_DROP;
}

static int flush(struct connection *c)
{
    int r = outgoing_flush(&c->out, c->fd);
    if (r < 0)
        return STEP_DROP;
    if (r > 0)
        c->needs |= r == OUTPUT_PEER ? NEED_PEER : r == OUTPUT_WAITS ? NEED_SOURCE : NEED_TURN;
    return STEP_MOVED;
}

/* ---- what is waited for ---------------------------------------------------------------------- */

static void on_source(void *owner, unsigned events)
{
    (void)events;
    connection_make_ready(owner);
}

static int watch(struct connection *c)
{
    unsigned events = 0;
    struct err err;
    if (c->needs & NEED_INPUT)
        events |= LOOP_READ;
    else
        events |= c->last_seen ? LOOP_BROKEN : LOOP_CLOSED;
    /* A socket that has room is what brings the next turn. */
    if (c->needs & (NEED_PEER | NEED_TURN))
        events |= LOOP_WRITE;
    if (loop_watch_set(c->watch, events) < 0)
        return STEP_DROP;
    if (!(c->needs & NEED_SOURCE))
        return STEP_WAITS;
    if (loop_watch_new(c->server->loop, c->out.fd, on_source, c, &c->source_watch, &err) < 0 ||
        loop_watch_set(c->source_watch, LOOP_READ) < 0)
        return STEP_DROP;
    return STEP_WAITS;
}

/* Which deadline holds now, its length, and what counts as progress. */
static enum deadline choose_deadline(const struct connection *c, uint64_t *ret_ms,
                                     uint64_t *ret_progress)
{
    const struct http_limits *limits = &c->server->limits;
    const struct exchange *x = c->exchange;
    *ret_progress = 0;
    switch (c->state) {
    case CONNECTION_HEAD:
        *ret_ms = c->in.length > 0 || (!c->peer.local && c->caller == 0) ? limits->head_ms
                                                                         : limits->idle_ms;
        return c->in.length > 0 ? DEADLINE_HEAD : DEADLINE_IDLE;
    case CONNECTION_BODY:
        *ret_ms = limits->body_ms;
        return DEADLINE_BODY;
    case CONNECTION_LINGER:
        *ret_ms = limits->linger_ms;
        return DEADLINE_LINGER;
    case CONNECTION_SERVE:
        break;
    }
    if (c->needs & NEED_PEER) {
        *ret_ms = limits->stall_ms;
        *ret_progress = c->out.sent;
        return DEADLINE_STALL;
    }
    if (x && x->sink.set && x->sink.idle_ms && c->needs & NEED_INPUT) {
        *ret_ms = x->sink.idle_ms;
        *ret_progress = c->progress;
        return DEADLINE_UPLOAD;
    }
    if (x && x->stream == STREAM_EVENTS) {
        *ret_ms = limits->heartbeat_ms;
        *ret_progress = c->out.sent;
        return DEADLINE_HEARTBEAT;
    }
    return DEADLINE_NONE;
}

/* Dripping does not move a deadline: only another one, or progress where that counts. */
static void set_deadline(struct connection *c)
{
    uint64_t ms = 0, progress = 0;
    enum deadline deadline = choose_deadline(c, &ms, &progress);
    if (deadline == c->deadline && progress == c->deadline_progress)
        return;
    c->deadline = deadline;
    c->deadline_progress = progress;
    if (deadline == DEADLINE_NONE)
        loop_timer_clear(c->timer);
    else
        loop_timer_set(c->timer, ms);
}

void connection_step(struct connection *c)
{
    int r = STEP_MOVED;
    c->stepping = true;
    /* What is watched besides the socket may be closed by any step. */
    loop_watch_free(c->source_watch);
    c->source_watch = NULL;
    if (c->exchange && c->exchange->sink.watch)
        loop_watch_set(c->exchange->sink.watch, 0);
    for (int i = 0; r == STEP_MOVED; i++) {
        c->needs = 0;
        r = c->broken ? STEP_DROP : flush(c);
        if (r == STEP_MOVED)
            r = step_state(c);
        if (r == STEP_MOVED && i == STEPS_A_TURN) {
            c->needs |= NEED_TURN;
            break;
        }
    }
    if (r != STEP_DROP && c->broken)
        r = STEP_DROP;
    if (r != STEP_DROP)
        r = watch(c);
    c->stepping = false;
    if (r == STEP_DROP)
        connection_drop(c);
    else
        set_deadline(c);
}

/* ---- events ---------------------------------------------------------------------------------- */

/* Has the client left, or only said that it will send no more? Over TCP one looks like the other.
 */
static bool has_left(struct connection *c)
{
    struct pollfd p = {.fd = c->fd};
    if (poll(&p, 1, 0) < 0 || p.revents & (POLLHUP | POLLERR | POLLNVAL))
        return true;
    c->last_seen = true;
    return !c->peer.local;
}

static void on_event(void *owner, unsigned events)
{
    struct connection *c = owner;
    if (!(c->needs & NEED_INPUT) && events & (LOOP_CLOSED | LOOP_BROKEN) && has_left(c)) {
        connection_drop(c);
        return;
    }
    connection_step(c);
}

static void on_deadline(void *owner)
{
    struct connection *c = owner;
    static const char heartbeat[] = "3\r\n:\n\n\r\n";
    bool beat = c->deadline == DEADLINE_HEARTBEAT;
    c->deadline = DEADLINE_NONE;
    if (!beat || outgoing_add(&c->out, heartbeat, sizeof heartbeat - 1) < 0)
        connection_drop(c);
    else
        connection_step(c);
}
