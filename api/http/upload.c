/* This file moves the body of a request into the pipe that an operation gave; it never keeps more
 * of it than one buffer. A body of known length is spliced from the socket without passing through
 * this process; chunks, and bodies whose hash an idempotency key wants, are copied.
 */
#include "api/http/connection.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

enum { UPLOAD_INPUT_BYTES = 64 * 1024, UPLOAD_TURN_BYTES = 1024 * 1024 };

void upload_close(struct exchange *x)
{
    loop_watch_free(x->sink.watch);
    x->sink.watch = NULL;
    fd_replace(&x->sink.fd, -1);
    x->sink.set = false;
}

/* Tells the operation; `c->exchange` may be NULL afterwards. After a cut body the operation has
 * nothing to answer any more; a client that is still there learns why. */
static void end(struct connection *c, enum exchange_body how, const struct err *why)
{
    struct exchange *x = c->exchange;
    const struct http_operations *operations = &c->server->operations;
    if (!x || !x->sink.set)
        return;
    if (x->sink.hashed)
        fingerprint_end(x, &x->sink.hash);
    loop_watch_free(x->sink.watch);
    x->sink.watch = NULL;
    x->sink.set = false;
    if (how != EXCHANGE_BODY_WHOLE)
        c->close = true;
    /* Open while the operation hears of it, and it may end the exchange there. */
    int fd = take_fd(&x->sink.fd);
    operations->body_end(operations->context, x, how, x->sink.bytes);
    fd_close(fd);
    if (how != EXCHANGE_BODY_CUT)
        return;
    connection_detach(c);
    if (why && c->status == 0)
        answer_problem(c, why, NULL, NULL);
}

static void end_early(struct connection *c)
{
    struct err err;
    err_set(&err, ERR_INVALID_REQUEST, 0, "read the request's body", NULL,
            "The body ended before it was whole.");
    end(c, EXCHANGE_BODY_CUT, &err);
}

void upload_cut(struct connection *c)
{
    end(c, EXCHANGE_BODY_CUT, NULL);
}

/* `n` bytes at the front of the input to the sink. */
static int copy(struct connection *c, size_t n)
{
    struct exchange *x = c->exchange;
    ssize_t moved;
    do
        moved = write(x->sink.fd, c->in.data + c->in.start, n);
    while (moved < 0 && errno == EINTR);
    if (moved < 0 && errno == EAGAIN)
        return NEED_SINK;
    if (moved < 0) {
        end(c, EXCHANGE_BODY_REFUSED, NULL);
        return 0;
    }
    if (x->sink.hashed)
        sha256_update(&x->sink.hash, c->in.data + c->in.start, (size_t)moved);
    input_use(&c->in, (size_t)moved);
    x->sink.bytes += (uint64_t)moved;
    if (c->body.framing == FRAMING_CHUNKED)
        c->body.piece -= (size_t)moved;
    else
        c->body.left -= (uint64_t)moved;
    return 0;
}

static int read_more(struct connection *c)
{
    int r = input_read(c, UPLOAD_INPUT_BYTES);
    if (r == INPUT_WAITS)
        return NEED_INPUT;
    if (r == 0)
        return 0;
    /* An end in the middle: whether the client is there to read an answer is another question. */
    end_early(c);
    return r == INPUT_END ? 0 : r;
}

static int move(struct connection *c)
{
    struct exchange *x = c->exchange;
    size_t n = c->body.left < UPLOAD_TURN_BYTES ? (size_t)c->body.left : UPLOAD_TURN_BYTES;
    ssize_t moved = splice(c->fd, NULL, x->sink.fd, NULL, n, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (moved < 0 && (errno == EAGAIN || errno == EINTR)) {
        /* Nothing to take, or no room to put it? */
        int available = 0;
        if (ioctl(c->fd, FIONREAD, &available) < 0 || available == 0)
            return NEED_INPUT;
        return NEED_SINK;
    }
    if (moved <= 0) {
        c->half_closed |= moved == 0;
        if (moved < 0 && errno == EPIPE)
            end(c, EXCHANGE_BODY_REFUSED, NULL);
        else
            end_early(c);
        return 0;
    }
    c->body.left -= (uint64_t)moved;
    x->sink.bytes += (uint64_t)moved;
    c->progress += (uint64_t)moved;
    return 0;
}

static int step_chunks(struct connection *c)
{
    struct slice piece;
    struct err err;
    size_t used = 0;
    if (c->body.piece > 0)
        return copy(c, c->body.piece);
    if (c->in.length == 0)
        return read_more(c);
    int r =
        chunk_next(&c->body.chunks, c->in.data + c->in.start, c->in.length, &used, &piece, &err);
    if (r < 0) {
        end(c, EXCHANGE_BODY_CUT, &err);
        return 0;
    }
    /* The piece stands at the end of what was used. */
    input_use(&c->in, used - piece.length);
    c->body.piece = piece.length;
    c->body.whole = r == CHUNK_END;
    return 0;
}

int upload_step(struct connection *c)
{
    struct exchange *x = c->exchange;
    uint64_t coming = c->body.framing == FRAMING_CHUNKED ? c->body.piece : 0;
    if (c->body.framing == FRAMING_LENGTH)
        c->body.whole = c->body.left == 0;
    if (c->body.whole) {
        end(c, EXCHANGE_BODY_WHOLE, NULL);
        return 0;
    }
    if (x->sink.bytes + coming > x->sink.bytes_max ||
        (c->body.framing == FRAMING_LENGTH && c->body.left > x->sink.bytes_max - x->sink.bytes)) {
        end(c, EXCHANGE_BODY_TOO_LONG, NULL);
        return 0;
    }
    if (c->body.framing == FRAMING_CHUNKED)
        return step_chunks(c);
    if (c->in.length > 0)
        return copy(c, c->in.length < c->body.left ? c->in.length : (size_t)c->body.left);
    return x->sink.hashed ? read_more(c) : move(c);
}
