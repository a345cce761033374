/* This file sends what an exec wrote, and what happened to a session, to a client that may be slow,
 * may leave, and comes back with the number of the last thing that it has. It keeps nothing but the
 * document of an exec's end: what finds no room stays with the provider until there is some.
 */
#include "api/front/front.h"

#include "api/front/print.h"
#include "runtime/base/fd.h"
#include "runtime/link/spool_reader.h"

#include <inttypes.h>
#include <string.h>

enum { EXIT_WAIT_MS = 10 * 1000 };

struct stream {
    struct front_call *call;
    struct provider_follower *follower;
    bool follow;
    uint64_t after;
    uint32_t only; /* enum spool_kind of a stream of bytes; 0: events */
    bool starting, ended, failed, cut;

    /* The event of an exec's end carries its document, which the provider is asked for. */
    bool exit_wanted, exit_here;
    uint64_t exit_seq;
    struct buf exit;
};

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = {
        [SPOOL_STDOUT] = "stdout",         [SPOOL_STDERR] = "stderr", [SPOOL_TTY] = "tty",
        [SPOOL_BACKGROUND] = "background", [SPOOL_EXIT] = "exit",     [SPOOL_GAP] = "gap",
    };
    return kind < ARRAY_LENGTH(names) && names[kind] ? names[kind] : NULL;
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void release(struct front_call *call)
{
    struct stream *s = call->own;
    if (s->follower)
        provider_follow_stop(s->follower);
    s->follower = NULL;
    buf_fini(&s->exit);
}

static void finish_if_over(struct stream *s)
{
    if (!s->ended || s->starting || s->exit_wanted)
        return;
    bool whole = !s->failed && !s->cut;
    struct exchange *x = front_call_finish(s->call);
    if (whole)
        exchange_stream_end(x);
    else
        exchange_stream_break(x);
}

static void on_end(void *data, const struct err *err)
{
    struct stream *s = data;
    s->follower = NULL; /* it has ended by itself */
    s->ended = true;
    s->failed |= err != NULL;
    finish_if_over(s);
}

/* ---- output ---------------------------------------------------------------------------------- */

/* What a send came to: was it taken? Who is gone takes everything, until `gone` ends it. */
static bool taken(struct stream *s, int outcome)
{
    if (outcome == EXCHANGE_FULL)
        return false;
    s->cut |= outcome < 0;
    return true;
}

static void send_exit(struct stream *s)
{
    int r =
        exchange_send_event(s->call->x, s->exit_seq, "exit", buf_text(&s->exit), s->exit.length);
    if (!taken(s, r))
        return;
    s->exit_wanted = false;
    buf_fini(&s->exit);
    if (s->ended)
        finish_if_over(s);
    else
        provider_follow_more(s->follower);
}

static void on_exit_document(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    struct stream *s = call->own;
    call->waiting = false;
    if (reply->status >= 400) {
        /* The client has all but the end: it comes back for that. */
        exchange_stream_break(front_call_finish(call));
        return;
    }
    s->exit = reply->document;
    reply->document = (struct buf){0};
    while (s->exit.length > 0 && s->exit.data[s->exit.length - 1] == '\n')
        s->exit.data[--s->exit.length] = 0;
    s->exit_here = true;
    send_exit(s);
}

static bool send_data(struct stream *s, const struct spool_frame *frame, const char *kind)
{
    _cleanup_buf_ struct buf text = {0};
    buf_printf(&text, "{\"seq\":%" PRIu64 ",\"stream\":\"%s\",\"time\":", frame->seq, kind);
    front_print_time(frame->time_ms, &text);
    buf_putc(&text, ',');
    front_print_bytes("data", frame->data, (size_t)frame->bytes, &text);
    buf_putc(&text, '}');
    s->cut |= buf_failed(&text);
    return taken(s,
                 exchange_send_event(s->call->x, frame->seq, kind, buf_text(&text), text.length));
}

static bool send_gap(struct stream *s, const struct spool_frame *frame)
{
    _cleanup_buf_ struct buf text = {0};
    buf_printf(&text, "{\"from_seq\":%" PRIu64 ",\"to_seq\":%" PRIu64 ",\"bytes\":%" PRIu64 "}",
               frame->seq, frame->to_seq, frame->bytes);
    s->cut |= buf_failed(&text);
    /* Its id is the last number that is missing: who comes back is not told of it again. */
    return taken(
        s, exchange_send_event(s->call->x, frame->to_seq, "gap", buf_text(&text), text.length));
}

static bool on_frame(void *data, const struct spool_frame *frame)
{
    struct stream *s = data;
    const char *kind = kind_name(frame->kind);
    if (s->exit_wanted)
        return false;
    if (s->only)
        return frame->kind != s->only ||
               taken(s, exchange_send_bytes(s->call->x, frame->data, (size_t)frame->bytes));
    if (frame->kind == SPOOL_GAP)
        return send_gap(s, frame);
    if (frame->kind != SPOOL_EXIT)
        return !kind || send_data(s, frame, kind);
    s->exit_wanted = true;
    s->exit_here = false;
    s->exit_seq = frame->seq;
    provider_exec_get(s->call->front->provider, front_call_ask(s->call, on_exit_document),
                      EXIT_WAIT_MS);
    return true;
}

/* ---- events ---------------------------------------------------------------------------------- */

static bool on_event(void *data, uint64_t seq, const char *type, const char *json, size_t length)
{
    struct stream *s = data;
    return taken(s, exchange_send_event(s->call->x, seq, type, json, length));
}

/* ---- beginning ------------------------------------------------------------------------------- */

static void on_room(struct front_call *call)
{
    struct stream *s = call->own;
    if (s->exit_wanted) {
        if (s->exit_here)
            send_exit(s);
        return;
    }
    if (s->follower)
        provider_follow_more(s->follower);
}

static void begin(struct stream *s, bool of_session)
{
    struct front_call *call = s->call;
    const struct provider_follow follow = {
        .after = s->after,
        .follow = s->follow,
        .frame = of_session ? NULL : on_frame,
        .event = of_session ? on_event : NULL,
        .end = on_end,
        .data = s,
    };
    struct err err;
    call->room = on_room;
    s->starting = true;
    struct provider_follower *follower =
        of_session ? provider_events_follow(call->front->provider, &call->provider, &follow, &err)
                   : provider_output_follow(call->front->provider, &call->provider, &follow, &err);
    s->starting = false;
    if (!follower) {
        exchange_stream_break(front_call_finish(call));
        return;
    }
    if (!s->ended)
        s->follower = follower;
    finish_if_over(s);
}

static struct stream *stream_new(struct front_call *call)
{
    const struct exchange_request *request = exchange_request(call->x);
    struct stream *s = front_call_memory(call, sizeof *s);
    if (!s)
        return NULL;
    s->call = call;
    s->after = request->has_last_event ? request->last_event : 0;
    call->own = s;
    call->release = release;
    return s;
}

/* Whether there is such a thing is asked first: a stream cannot be refused any more. */
static void on_found(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    struct stream *s = call->own;
    if (reply->status >= 400) {
        front_call_reply(call, reply);
        return;
    }
    call->waiting = false;
    bool of_session = exchange_request(call->x)->route->id == ROUTE_SESSION_EVENTS;
    if (s->only)
        exchange_bytes_begin(call->x, "application/octet-stream", NULL);
    else
        exchange_events_begin(call->x);
    begin(s, of_session);
}

void stream_events_handle(struct front_call *call)
{
    bool follow = true;
    struct stream *s = stream_new(call);
    if (!s || front_call_query_flag(call, "follow", &follow) < 0)
        return;
    s->follow = follow;
    provider_session_get(call->front->provider, front_call_ask(call, on_found));
}

void stream_output_handle(struct front_call *call)
{
    const char *only = exchange_query(call->x, "stream");
    struct stream *s = stream_new(call);
    if (!s || front_call_query_flag(call, "follow", &s->follow) < 0)
        return;
    for (uint32_t kind = SPOOL_STDOUT; only && kind <= SPOOL_BACKGROUND; kind++)
        if (strcmp(only, kind_name(kind)) == 0)
            s->only = kind;
    if (only && !s->only) {
        struct err err;
        err_set(&err, ERR_INVALID_REQUEST, 0, "read the query", "stream",
                "Must be one of stdout, stderr, tty, background.");
        front_call_refuse(call, &err, NULL);
        return;
    }
    provider_exec_get(call->front->provider, front_call_ask(call, on_found), 0);
}

/* The id is in the document: it may be one that was made, or that of the request which this one
 * repeats (IDEM-4). NULL: it has none. */
static const char *exec_id_of(struct front_call *call, const struct buf *document)
{
    const struct json_node *root = NULL;
    struct json_error error;
    if (json_parse(exchange_arena(call->x), buf_text(document), document->length, MIB, false, &root,
                   &error) < 0 ||
        root->kind != JSON_OBJECT)
        return NULL;
    const struct json_node *id = json_member(root, "exec_id");
    return id && id->kind == JSON_STRING ? id->text : NULL;
}

void stream_start_reply(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    const char *exec_id = reply->status < 400 ? exec_id_of(call, &reply->document) : NULL;
    if (!exec_id) {
        front_call_reply(call, reply);
        return;
    }
    call->waiting = false;
    struct stream *s = stream_new(call);
    if (!s)
        return;
    size_t length = reply->document.length;
    while (length > 0 && reply->document.data[length - 1] == '\n')
        length--;
    /* A repeated request is served from the beginning too. */
    s->after = 0;
    s->follow = true;
    call->provider.exec_id = exec_id;
    call->provider.key = NULL;
    exchange_events_begin(call->x);
    taken(s, exchange_send_event(call->x, 0, "exec", reply->document.data, length));
    begin(s, false);
}
