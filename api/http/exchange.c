/* This file makes answers: head lines, documents, files and streams, into the queue of their
 * connection; it never calls an operation, and sends by itself only a large piece of a stream.
 */
#include "api/http/connection.h"

#include "api/http/sse.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A piece of a stream that is worth a call of its own. */
enum { DIRECT_BYTES = 16 * 1024 };

static const char problem_type[] = "application/problem+json";

/* ---- life ------------------------------------------------------------------------------------ */

struct exchange *exchange_new(struct connection *c)
{
    struct exchange *x = calloc(1, sizeof *x);
    if (!x)
        return NULL;
    x->connection = c;
    x->server = c->server;
    x->peer = c->peer;
    x->request.peer = &x->peer;
    x->sink.fd = -1;
    memcpy(x->request.id, c->id, sizeof c->id);
    return x;
}

void exchange_free(struct exchange *x)
{
    upload_close(x);
    arena_fini(&x->arena);
    free(x);
}

/* The operation is done with it. Returns the connection that the answer goes to, or NULL. */
static struct connection *finish(struct exchange *x)
{
    struct connection *c = x->connection;
    if (c) {
        c->exchange = NULL;
        connection_make_ready(c);
    }
    exchange_free(x);
    return c;
}

const struct exchange_request *exchange_request(const struct exchange *x)
{
    return &x->request;
}

const char *exchange_query(const struct exchange *x, const char *name)
{
    for (unsigned i = 0; i < x->request.query_count; i++)
        if (strcmp(x->request.query[i].name, name) == 0)
            return x->request.query[i].value;
    return NULL;
}

void exchange_named(struct exchange *x, const char *session_id)
{
    if (x->connection)
        snprintf(x->connection->names.session_id, sizeof x->connection->names.session_id, "%s",
                 session_id);
}

void exchange_set_data(struct exchange *x, void *data)
{
    x->data = data;
}

void *exchange_data(const struct exchange *x)
{
    return x->data;
}

int exchange_socket(const struct exchange *x)
{
    return x->connection ? x->connection->fd : -1;
}

struct arena *exchange_arena(struct exchange *x)
{
    return &x->arena;
}

/* Keyed in front and behind: what is hashed is the client's. */
void fingerprint_begin(const struct exchange *x, struct sha256 *hash)
{
    const char *method = http_method_name(x->request.route->method);
    sha256_init(hash);
    sha256_update(hash, x->server->operations.fingerprint_key, FINGERPRINT_KEY_BYTES);
    sha256_update(hash, method, strlen(method) + 1);
    sha256_update(hash, x->request.path, strlen(x->request.path) + 1);
}

void fingerprint_end(struct exchange *x, struct sha256 *hash)
{
    sha256_update(hash, x->server->operations.fingerprint_key, FINGERPRINT_KEY_BYTES);
    sha256_final_hex(hash, x->request.fingerprint);
}

/* ---- heads ----------------------------------------------------------------------------------- */

static const char *reason_of(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {409, "Conflict"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {416, "Range Not Satisfiable"},
        {422, "Unprocessable Content"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {503, "Service Unavailable"},
        {507, "Insufficient Storage"},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(reasons); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "";
}

static void begin_head(struct connection *c, int status, const char *type, struct buf *out)
{
    c->status = status;
    c->close |= !c->body.whole || c->server->draining;
    buf_printf(out,
               "HTTP/1.1 %d %s\r\nDate: %s\r\nX-Request-Id: %s\r\nCache-Control: no-store\r\n"
               "X-Content-Type-Options: nosniff\r\n",
               status, reason_of(status), server_date(c->server), c->id);
    if (c->close)
        buf_puts(out, "Connection: close\r\n");
    if (type)
        buf_printf(out, "Content-Type: %s\r\n", type);
}

static void queue(struct connection *c, const struct buf *out)
{
    if (buf_failed(out) || outgoing_add(&c->out, buf_text(out), out->length) < 0)
        c->broken = true;
}

static void add_etag(struct buf *out, const char *etag)
{
    if (etag)
        buf_printf(out, "ETag: %s\r\n", etag);
}

static void queue_document(struct connection *c, int status, const char *type, const char *headers,
                           const struct buf *document)
{
    _cleanup_buf_ struct buf out = {0};
    begin_head(c, status, type, &out);
    buf_printf(&out, "%sContent-Length: %zu\r\n\r\n", headers, document->length);
    if (!c->head_request)
        buf_add(&out, buf_text(document), document->length);
    queue(c, &out);
}

/* ---- documents ------------------------------------------------------------------------------- */

void answer_problem(struct connection *c, const struct err *err, const struct problem_more *more,
                    const char *headers)
{
    _cleanup_buf_ struct buf document = {0}, lines = {0};
    c->state = CONNECTION_SERVE;
    problem_document(err, more, &document);
    buf_puts(&lines, headers ? headers : "");
    if (more && more->retry_after_s)
        buf_printf(&lines, "Retry-After: %u\r\n", more->retry_after_s);
    if (buf_failed(&document) || buf_failed(&lines)) {
        c->broken = true;
        return;
    }
    c->code = (enum err_code)err->code;
    queue_document(c, problem_status(err, more), problem_type, buf_text(&lines), &document);
}

void exchange_answer_as(struct exchange *x, int status, const char *media_type,
                        struct buf *document, const struct answer_more *more)
{
    _cleanup_buf_ struct buf body = *document, lines = {0};
    *document = (struct buf){0};
    struct connection *c = x->connection;
    if (c && (buf_failed(&body) || c->status != 0)) {
        struct err err;
        err_set(&err, ERR_INTERNAL, ENOMEM, "make the answer", NULL, NULL);
        exchange_refuse(x, &err, NULL);
        return;
    }
    if (c) {
        if (more && more->replayed)
            buf_puts(&lines, "Idempotent-Replayed: true\r\n");
        add_etag(&lines, more ? more->etag : NULL);
        c->code = more ? more->code : ERR_NONE;
        queue_document(c, status, media_type, buf_text(&lines), &body);
    }
    finish(x);
}

void exchange_answer(struct exchange *x, int status, struct buf *document,
                     const struct answer_more *more)
{
    exchange_answer_as(x, status, "application/json", document, more);
}

void exchange_refuse(struct exchange *x, const struct err *err, const struct problem_more *more)
{
    struct connection *c = x->connection;
    /* Too late for a status: the client must see that this is no whole answer. */
    if (c && c->status != 0)
        c->broken = true;
    else if (c)
        answer_problem(c, err, more, NULL);
    finish(x);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A pipe that an operation reads from or writes to must never block the loop. */
static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK)
        return 0;
    return fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static void add_length(const struct exchange_file *file, struct buf *out)
{
    if (file->has_length)
        buf_printf(out, "Content-Length: %" PRIu64 "\r\n", file->length);
    else
        buf_puts(out, "Transfer-Encoding: chunked\r\n");
    if (file->partial && file->length > 0)
        buf_printf(out, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", file->first,
                   file->first + file->length - 1, file->size);
}

static void queue_file(struct connection *c, const struct exchange_file *file, int *fd)
{
    _cleanup_buf_ struct buf out = {0};
    bool pipe = *fd >= 0 && lseek(*fd, 0, SEEK_CUR) < 0;
    begin_head(c,
               file->unchanged ? 304
               : file->partial ? 206
                               : 200,
               file->type ? file->type : "application/octet-stream", &out);
    buf_puts(&out, "Accept-Ranges: bytes\r\n");
    add_etag(&out, file->etag);
    buf_puts(&out, file->headers ? file->headers : "");
    if (!file->unchanged)
        add_length(file, &out);
    buf_puts(&out, "\r\n");
    queue(c, &out);
    if (c->head_request || file->unchanged || (file->has_length && file->length == 0))
        return;
    if (*fd < 0 || set_nonblocking(*fd) < 0) {
        c->broken = true;
        return;
    }
    outgoing_set_source(&c->out,
                        !file->has_length ? OUTPUT_PIPE_IN_CHUNKS
                        : pipe            ? OUTPUT_PIPE
                                          : OUTPUT_FILE,
                        take_fd(fd), file->offset, file->length);
}

void exchange_answer_file(struct exchange *x, struct exchange_file *file)
{
    _cleanup_fd_ int fd = take_fd(&file->fd);
    struct connection *c = x->connection;
    if (c && c->status != 0)
        c->broken = true;
    else if (c)
        queue_file(c, file, &fd);
    finish(x);
}

/* ---- streams out ----------------------------------------------------------------------------- */

static void begin_stream(struct exchange *x, enum stream_kind kind, const char *type,
                         const char *headers)
{
    struct connection *c = x->connection;
    x->stream = kind;
    if (!c)
        return;
    _cleanup_buf_ struct buf out = {0};
    begin_head(c, 200, type, &out);
    buf_puts(&out, headers ? headers : "");
    buf_puts(&out, "Transfer-Encoding: chunked\r\n\r\n");
    queue(c, &out);
    connection_make_ready(c);
}

void exchange_events_begin(struct exchange *x)
{
    begin_stream(x, STREAM_EVENTS, "text/event-stream", NULL);
}

void exchange_bytes_begin(struct exchange *x, const char *media_type, const char *headers)
{
    begin_stream(x, STREAM_BYTES, media_type, headers);
}

static int queue_chunk(struct outgoing *out, const void *data, size_t length)
{
    char line[24];
    int n = snprintf(line, sizeof line, "%zx\r\n", length);
    /* All or nothing: half a chunk could not be taken back. */
    size_t before = out->length;
    int r = outgoing_add(out, line, (size_t)n);
    if (r == 0)
        r = outgoing_add(out, data, length);
    if (r == 0)
        r = outgoing_add(out, "\r\n", 2);
    if (r < 0)
        out->length = before;
    return r;
}

/* Much is sent from where it stands: what the socket takes is not copied. A little waits for more.
 */
static int send_or_queue(struct connection *c, const void *data, size_t length)
{
    char line[24];
    if (length < DIRECT_BYTES)
        return queue_chunk(&c->out, data, length);
    int n = snprintf(line, sizeof line, "%zx\r\n", length);
    const struct iovec parts[3] = {
        {line, (size_t)n}, {(void *)(uintptr_t)data, length}, {(char[]){'\r', '\n'}, 2}};
    int r = outgoing_send(&c->out, c->fd, parts);
    c->broken |= r < 0; /* half a chunk may be out */
    return r;
}

/* May another piece be queued? */
static int check_room(struct exchange *x)
{
    struct connection *c = x->connection;
    if (!c || c->broken)
        return EXCHANGE_GONE;
    if (c->out.length < x->server->limits.queue_bytes)
        return 0;
    if (outgoing_flush(&c->out, c->fd) < 0) {
        c->broken = true;
        connection_make_ready(c);
        return EXCHANGE_GONE;
    }
    if (c->out.length < x->server->limits.queue_bytes)
        return 0;
    x->wants_room = true;
    return EXCHANGE_FULL;
}

static int send_chunk(struct exchange *x, const void *data, size_t length)
{
    int r = check_room(x);
    if (r != 0 || length == 0)
        return r;
    r = x->connection->head_request ? 0 : send_or_queue(x->connection, data, length);
    connection_make_ready(x->connection);
    return r;
}

int exchange_send_event(struct exchange *x, uint64_t id, const char *type, const char *data,
                        size_t length)
{
    _cleanup_buf_ struct buf event = {0};
    int r = check_room(x);
    if (r != 0)
        return r;
    sse_event(&event, id, type, data, length);
    return buf_failed(&event) ? -ENOMEM : send_chunk(x, buf_text(&event), event.length);
}

int exchange_send_bytes(struct exchange *x, const void *data, size_t length)
{
    return send_chunk(x, data, length);
}

void exchange_stream_end_with(struct exchange *x, const char *trailers)
{
    struct connection *c = x->connection;
    if (c && (outgoing_add(&c->out, "0\r\n", 3) < 0 ||
              outgoing_add(&c->out, trailers, strlen(trailers)) < 0 ||
              outgoing_add(&c->out, "\r\n", 2) < 0))
        c->broken = true;
    finish(x);
}

void exchange_stream_end(struct exchange *x)
{
    exchange_stream_end_with(x, "");
}

void exchange_stream_break(struct exchange *x)
{
    if (x->connection)
        x->connection->broken = true;
    finish(x);
}

void exchange_end(struct exchange *x)
{
    if (x->connection) {
        struct err err;
        err_set(&err, ERR_INTERNAL, 0, "answer the request", NULL, NULL);
        exchange_refuse(x, &err, NULL);
        return;
    }
    finish(x);
}

/* ---- streams in ------------------------------------------------------------------------------ */

static void on_sink(void *owner, unsigned events)
{
    struct exchange *x = owner;
    (void)events;
    if (x->connection)
        connection_make_ready(x->connection);
}

int exchange_body_to(struct exchange *x, struct exchange_sink *sink, struct err *err)
{
    _cleanup_fd_ int fd = take_fd(&sink->fd);
    struct connection *c = x->connection;
    if (x->request.route->body != BODY_STREAM || x->sink.set)
        return err_set(err, ERR_INTERNAL, EINVAL, "take the request's body", NULL, NULL);
    int r = set_nonblocking(fd);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "take the request's body", NULL, NULL);
    r = loop_watch_new(x->server->loop, fd, on_sink, x, &x->sink.watch, err);
    if (r < 0)
        return r;
    x->sink.set = true;
    x->sink.fd = take_fd(&fd);
    x->sink.bytes_max = sink->bytes_max;
    x->sink.idle_ms = sink->idle_ms;
    x->sink.hashed = x->request.idempotency_key != NULL;
    if (x->sink.hashed)
        fingerprint_begin(x, &x->sink.hash);
    if (!c)
        return 0;
    if (c->body.say_continue && c->in.length == 0 &&
        outgoing_add(&c->out, "HTTP/1.1 100 Continue\r\n\r\n", 25) < 0)
        c->broken = true;
    connection_make_ready(c);
    return 0;
}
