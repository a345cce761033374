/* This file turns the bytes of a request into an exchange: head, route, caller, body; it never
 * answers one that was understood.
 *
 * Order of refusals: grammar of the head (400, 431), over TCP who asks (403, 401), path (404),
 * method (405), ids and query (400), what he may (401, 403, 404), not built (422), header fields
 * and announced length (400, 413), then the body. Everything before the body is refused before a
 * byte of it is read.
 */
#include "api/http/connection.h"
#include "api/http/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { INPUT_BODY_BYTES = 16 * 1024 };

static int bad(struct err *err, const char *step, const char *subject, const char *what)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, step, subject, "%s", what);
}

void request_refuse_head(struct connection *c, const struct err *err)
{
    /* 431 (RFC 6585) tells a head that is too large from a body; the code is the contract's. */
    struct problem_more more = {.status = err->code == ERR_TOO_LARGE ? 431 : 0};
    c->close = true;
    c->body.whole = false;
    answer_problem(c, err, &more, NULL);
}

/* Refuse in front of the body. */
static void refuse(struct connection *c, struct exchange *x, const struct err *err,
                   const struct problem_more *more, const char *headers)
{
    exchange_free(x);
    if (err->code == ERR_UNAUTHORIZED)
        headers = "WWW-Authenticate: Bearer realm=\"berth\"\r\n";
    answer_problem(c, err, more, headers);
}

/* ---- what the head says ---------------------------------------------------------------------- */

static void set_framing(struct connection *c, const struct head *head)
{
    c->body.framing = head->chunked                          ? FRAMING_CHUNKED
                      : head->has_length && head->length > 0 ? FRAMING_LENGTH
                                                             : FRAMING_NONE;
    c->body.left = head->length;
    c->body.whole = c->body.framing == FRAMING_NONE;
    c->body.say_continue = head->expects_continue && !c->body.whole;
    c->body.piece = 0;
    c->body.chunks = (struct chunk_reader){0};
}

static int check_body(const struct connection *c, const struct route *route,
                      const struct head *head, struct err *err)
{
    struct slice type;
    if (c->body.whole)
        return 0;
    if (route->body == BODY_NONE)
        return bad(err, "read the request's head", NULL, "This route takes no body.");
    if (head->has_length && head->length > route->body_bytes_max) {
        err_set(err, ERR_TOO_LARGE, 0, "read the request's body", NULL,
                "The body has %" PRIu64 " bytes; this route takes %" PRIu64 ".", head->length,
                route->body_bytes_max);
        return -E2BIG;
    }
    int r = head_value(head, "content-encoding", &type);
    if (r != HEAD_ABSENT && (r == HEAD_REPEATED || !slice_is(type, "identity")))
        return bad(err, "read the request's head", "Content-Encoding", "Send the body as it is.");
    if (route->body != BODY_OBJECT)
        return 0;
    r = head_value(head, "content-type", &type);
    if (r == HEAD_REPEATED || (r == 0 && !value_is_json(type)))
        return bad(err, "read the request's head", "Content-Type",
                   "The body of this route is JSON, in UTF-8: send Content-Type: application/json, "
                   "or none.");
    return 0;
}

static bool accepts_events(const struct head *head)
{
    static const char type[] = "text/event-stream";
    struct slice accept;
    if (head_value(head, "accept", &accept) != 0)
        return false;
    while (accept.length > 0) {
        const char *comma = memchr(accept.at, ',', accept.length);
        size_t n = comma ? (size_t)(comma - accept.at) : accept.length, skip = 0;
        while (skip < n && accept.at[skip] == ' ')
            skip++;
        const char *semicolon = memchr(accept.at + skip, ';', n - skip);
        size_t end = semicolon ? (size_t)(semicolon - accept.at) : n;
        if (slice_is((struct slice){accept.at + skip, end - skip}, type))
            return true;
        n += comma != NULL;
        accept.at += n;
        accept.length -= n;
    }
    return false;
}

/* A client that connects again sends the URL that it began with: its Last-Event-ID is newer. */
static int read_position(struct exchange *x, const struct head *head, struct err *err)
{
    struct exchange_request *request = &x->request;
    const char *from = exchange_query(x, "from");
    struct slice value;
    int r = head_value(head, "last-event-id", &value);
    if (request->route->answer == ANSWER_EVENTS && r == HEAD_REPEATED)
        return bad(err, "read the request's head", "Last-Event-ID", "This field is here twice.");
    if (request->route->answer == ANSWER_EVENTS && r == 0) {
        request->has_last_event = true;
        return value_sequence(value, "Last-Event-ID", &request->last_event, err);
    }
    if (!from)
        return 0;
    uint64_t first;
    r = value_sequence((struct slice){from, strlen(from)}, "from", &first, err);
    request->has_last_event = r == 0 && first > 0;
    request->last_event = request->has_last_event ? first - 1 : 0;
    return r;
}

static int read_key(struct exchange *x, const struct head *head, struct err *err)
{
    struct slice value;
    char key[IDEMPOTENCY_KEY_MAX + 1];
    int r = head_value(head, "idempotency-key", &value);
    if (r == HEAD_ABSENT)
        return 0;
    if (r == HEAD_REPEATED)
        return bad(err, "read the request's head", "Idempotency-Key", "This field is here twice.");
    if (x->request.route->key == KEY_NONE)
        return bad(err, "read the request's head", "Idempotency-Key",
                   "Only POST takes a key; this request may be repeated as it is.");
    r = value_idempotency_key(value, key, err);
    if (r < 0)
        return r;
    x->request.idempotency_key = arena_copy(&x->arena, key, strlen(key));
    return x->request.idempotency_key
               ? 0
               : err_set(err, ERR_INTERNAL, ENOMEM, "read the request's head", NULL, NULL);
}

static int read_fields(struct exchange *x, const struct head *head, struct err *err)
{
    struct exchange_request *request = &x->request;
    struct slice value;
    request->has_length = head->has_length || !head->chunked;
    request->length = head->length;
    request->wants_events = request->route->answer == ANSWER_EVENTS
                                ? !exchange_query(x, "stream")
                                : request->route->answer == ANSWER_EITHER && accepts_events(head);
    int r = read_position(x, head, err);
    if (r < 0)
        return r;
    if (request->route->answer == ANSWER_BYTES) {
        r = head_value(head, "range", &value);
        if (r == HEAD_REPEATED)
            return bad(err, "read the request's head", "Range", "This field is here twice.");
        r = r == 0 ? value_range(value, &request->range, err) : 0;
        if (r < 0)
            return r;
    }
    r = conditions_read(request->route, head, &x->arena, &request->conditions, err);
    return r == 0 ? read_key(x, head, err) : r;
}

/* The path without the query, kept for the key's scope. */
static int keep_path(struct exchange *x, const struct head *head, struct err *err)
{
    const char *question = memchr(head->target.at, '?', head->target.length);
    size_t n = question ? (size_t)(question - head->target.at) : head->target.length;
    x->request.path = arena_copy(&x->arena, head->target.at, n);
    return x->request.path
               ? 0
               : err_set(err, ERR_INTERNAL, ENOMEM, "read the request's head", NULL, NULL);
}

/* ---- the whole request ----------------------------------------------------------------------- */

static void dispatch(struct connection *c)
{
    struct exchange *x = c->exchange;
    const struct http_operations *operations = &c->server->operations;
    c->state = CONNECTION_SERVE;
    x->owned = true;
    operations->handle[x->request.route->id](operations->context, x);
}

static const struct json_node *empty_object(struct arena *arena)
{
    struct json_node *node = arena_alloc(arena, sizeof *node);
    if (node)
        *node = (struct json_node){.kind = JSON_OBJECT, .at = {1, 1}};
    return node;
}

/* `place` is where JSON_PATH_MAX bytes for the pointer are. */
static int read_object(struct exchange *x, const struct buf *text, char *place, struct err *err)
{
    const struct json_node *root = NULL;
    struct json_error error;
    int r = 0;
    place[0] = 0;
    if (text->length == 0)
        root = empty_object(&x->arena);
    else
        r = json_parse(&x->arena, text->data, text->length, x->request.route->body_bytes_max, false,
                       &root, &error);
    if (r == -ENOMEM || (r == 0 && !root))
        return err_set(err, ERR_INTERNAL, ENOMEM, "read the request's body", NULL, NULL);
    if (r < 0) {
        memcpy(place, error.pointer, sizeof error.pointer);
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's body", error.path,
                       "Line %u, column %u: %s", error.at.line, error.at.column, error.message);
    }
    x->request.body = root;
    return fields_check(x->request.route->fields, root, place, err);
}

/* BODY_OBJECT: all of it is there. */
static void finish_object(struct connection *c)
{
    struct exchange *x = c->exchange;
    char pointer[JSON_PATH_MAX];
    struct err err;
    struct sha256 hash;
    _Static_assert((int)FIELD_POINTER_MAX <= (int)JSON_PATH_MAX, "one place for both pointers");
    fingerprint_begin(x, &hash);
    sha256_update(&hash, buf_text(&c->body.text), c->body.text.length);
    fingerprint_end(x, &hash);
    int r = read_object(x, &c->body.text, pointer, &err);
    request_forget_body(c);
    if (r == 0) {
        dispatch(c);
        return;
    }
    struct problem_more more = {.pointer = err.code == ERR_INVALID_REQUEST ? pointer : NULL};
    c->exchange = NULL;
    refuse(c, x, &err, &more, NULL);
}

static void refuse_route(struct connection *c, struct exchange *x, int r,
                         const char allow[ROUTE_ALLOW_MAX], struct err *err)
{
    char line[ROUTE_ALLOW_MAX + 16];
    struct problem_more more = {0};
    const char *methods[8];
    if (r == ROUTE_METHOD) {
        char list[ROUTE_ALLOW_MAX];
        snprintf(line, sizeof line, "Allow: %s\r\n", allow);
        snprintf(list, sizeof list, "%s", allow);
        for (char *at = list; at && more.allowed_count < 8;) {
            char *comma = strstr(at, ", ");
            methods[more.allowed_count++] = at;
            if (comma)
                *comma = 0;
            at = comma ? comma + 2 : NULL;
        }
        more.allowed = methods;
        err_set(err, ERR_METHOD_NOT_ALLOWED, 0, "find the route", NULL, "This path has: %s.",
                allow);
        refuse(c, x, err, &more, line);
        return;
    }
    if (r > 0)
        err_set(err, ERR_NOT_FOUND, 0, "find the route", NULL,
                "There is no such path in this interface.");
    refuse(c, x, err, NULL, NULL);
}

static void refuse_later(struct connection *c, struct exchange *x, const char *capability)
{
    struct err err;
    struct problem_more more = {.missing = &capability, .missing_count = 1};
    if (capability[0])
        err_set(&err, ERR_CAPABILITY_UNAVAILABLE, 0, "find the route", capability,
                "Not built in this release of berth.");
    else
        err_set(&err, ERR_NOT_FOUND, 0, "find the route", NULL,
                "Not built in this release of berth.");
    refuse(c, x, &err, capability[0] ? &more : NULL, NULL);
}

/* For the log, when the exchange is gone. */
static void keep_names(struct connection *c, const struct route_names *names)
{
    const struct {
        char *to;
        const char *from;
    } all[] = {{c->names.workspace_id, names->workspace_id},
               {c->names.session_id, names->session_id},
               {c->names.exec_id, names->exec_id},
               {c->names.volume_name, names->volume_name},
               {c->names.token_id, names->token_id}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        snprintf(all[i].to, ROUTE_ID_SIZE, "%s", all[i].from ? all[i].from : "");
}

static void serve(struct connection *c, const struct head *head, struct exchange *x)
{
    struct err err;
    char allow[ROUTE_ALLOW_MAX] = "";
    struct exchange_request *request = &x->request;
    const struct http_operations *operations = &c->server->operations;
    int r = caller_check(c, x, head, &err);
    if (r < 0) {
        c->close = true; /* who shows no token has no further turn */
        refuse(c, x, &err, NULL, NULL);
        return;
    }
    r = target_parse(head->target, &x->arena, &x->target, &err);
    if (r == 0)
        r = route_find(head->method, &x->target, &request->route, &request->names, allow, &err);
    else if (r == TARGET_UNKNOWN)
        r = ROUTE_UNKNOWN;
    if (r != 0) {
        refuse_route(c, x, r, allow, &err);
        return;
    }
    c->route = request->route;
    keep_names(c, &request->names);
    request->query = x->target.query;
    request->query_count = x->target.query_count;
    r = keep_path(x, head, &err);
    if (r == 0)
        r = operations->authorize(operations->context, request, &err);
    if (r == 0 && request->route->later) {
        refuse_later(c, x, request->route->later);
        return;
    }
    if (r == 0)
        r = check_body(c, request->route, head, &err);
    if (r == 0)
        r = read_fields(x, head, &err);
    if (r < 0) {
        refuse(c, x, &err, NULL, NULL);
        return;
    }
    c->exchange = x;
    c->state = request->route->body == BODY_OBJECT ? CONNECTION_BODY : CONNECTION_SERVE;
    if (c->state == CONNECTION_SERVE)
        dispatch(c);
    else if (c->body.whole)
        finish_object(c);
    else if (c->body.say_continue && c->in.length == 0)
        outgoing_add(&c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

void request_begin(struct connection *c, size_t head_length)
{
    struct head head;
    struct err err;
    c->began_ms = loop_now_ms(c->server->loop);
    c->status = 0;
    c->code = ERR_NONE;
    c->told = false;
    c->route = NULL;
    c->names = (struct connection_names){0};
    server_new_id(c->server, c->id);
    int r = head_parse(c->in.data + c->in.start, head_length, &head, &err);
    if (r < 0) {
        input_use(&c->in, head_length);
        request_refuse_head(c, &err);
        return;
    }
    c->head_request = head.method == METHOD_HEAD;
    c->close = head.close || c->server->draining;
    set_framing(c, &head);
    struct exchange *x = exchange_new(c);
    if (!x) {
        c->broken = true;
        c->state = CONNECTION_SERVE;
        return;
    }
    /* The head's slices point into the input: it is used up only now. Nothing that serve() calls
     * reads more input. */
    size_t before = c->in.length;
    c->in.length -= head_length;
    c->in.start += head_length;
    serve(c, &head, x);
    if (before == head_length)
        c->in.start = 0;
}

void request_forget_body(struct connection *c)
{
    c->server->bodies_bytes -= c->body.text.length;
    buf_fini(&c->body.text);
}

/* Over TCP nobody has all of the room, and all of them together leave some. */
static bool bodies_are_full(const struct connection *c, uint64_t more)
{
    const struct server *server = c->server;
    uint64_t most = server->limits.bodies_bytes, tcp = more, own = more;
    if (server->bodies_bytes + more > most)
        return true;
    if (c->peer.local || server->bodies_bytes + more <= most / 4)
        return false;
    for (const struct connection *other = server->connections; other; other = other->next) {
        if (other->peer.local)
            continue;
        tcp += other->body.text.length;
        own += other->caller == c->caller ? other->body.text.length : 0;
    }
    return tcp > most / 4 * 3 || own > most / 4;
}

int request_read_body(struct connection *c)
{
    struct request_body *body = &c->body;
    const struct route *route = c->exchange->request.route;
    struct slice piece;
    struct err err;
    struct problem_more more = {0};
    size_t used = 0;
    int r = 0;
    if (c->in.length == 0) {
        r = input_read(c, INPUT_BODY_BYTES);
        return r == INPUT_WAITS ? NEED_INPUT : r == INPUT_END ? -ECONNRESET : r;
    }
    if (body->framing == FRAMING_CHUNKED) {
        r = chunk_next(&body->chunks, c->in.data + c->in.start, c->in.length, &used, &piece, &err);
        body->whole = r == CHUNK_END;
    } else {
        used = c->in.length < body->left ? c->in.length : (size_t)body->left;
        piece = (struct slice){c->in.data + c->in.start, used};
        body->left -= used;
        body->whole = body->left == 0;
    }
    if (r >= 0 && body->text.length + piece.length > route->body_bytes_max)
        r = err_set(&err, ERR_TOO_LARGE, 0, "read the request's body", NULL,
                    "The body has more than the %" PRIu64 " bytes that this route takes.",
                    route->body_bytes_max);
    else if (r >= 0 && bodies_are_full(c, piece.length)) {
        more.retry_after_s = 1;
        r = err_set(&err, ERR_UNAVAILABLE, 0, "read the request's body", NULL,
                    "Too many bodies are being read at the same time.");
    }
    if (r < 0) {
        struct exchange *x = c->exchange;
        c->exchange = NULL;
        body->whole = false;
        request_forget_body(c);
        refuse(c, x, &err, &more, NULL);
        return 0;
    }
    buf_add(&body->text, piece.at, piece.length);
    c->server->bodies_bytes += piece.length;
    input_use(&c->in, used);
    if (buf_failed(&body->text))
        return -ENOMEM;
    if (body->whole)
        finish_object(c);
    return 0;
}
