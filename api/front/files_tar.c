/* This file carries trees as tar archives between a client and a worker; it never looks into one:
 * archives are read and written by the worker, beside the session's own programs (docs/adr/0016).
 *
 * An archive that goes in needs no length: it says by itself where it ends, so a cut one is seen by
 * the worker. One that goes out ends in order only when the worker said that all of it came: front
 * passes its bytes on, and breaks the answer off when he says something else.
 */
#include "api/front/files.h"

#include "api/front/print.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { STALL_MS = 60 * 1000, PIECE_BYTES = 64 * 1024 };

/* A byte of a name is three at most. */
enum { TRAILERS_MAX = 3 * FILES_LEFT_OUT_BYTES + 128 };

/* An archive is as long as it is: this only ends one that would never end. */
#define TREE_BYTES_MAX (UINT64_C(1) << 40)

static int refuse(struct front_call *call, const char *subject, const char *what)
{
    struct err err;
    int r = err_set(&err, ERR_INVALID_REQUEST, 0, "read the request", subject, "%s", what);
    front_call_refuse(call, &err, NULL);
    return r;
}

/* ---- in -------------------------------------------------------------------------------------- */

static void answer_unpacked(struct file_call *file)
{
    _cleanup_buf_ struct buf out = {0};
    if (!file->body_whole || !file->done)
        return;
    buf_putc(&out, '{');
    front_print_bytes("path", file->request.path, strlen(file->request.path), &out);
    buf_printf(&out, ",\"entries\":%" PRIu64 ",\"bytes\":%" PRIu64 "}\n", file->entries,
               file->length);
    front_call_answer(file->call, 200, &out);
}

static void on_unpacked(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    if (front_file_refused(call, reply))
        return;
    file->entries = reply->result->entries;
    file->length = reply->result->bytes;
    file->done = true;
    answer_unpacked(file);
}

static void on_body_end(struct front_call *call, enum exchange_body how, uint64_t bytes)
{
    struct file_call *file = call->own;
    (void)bytes;
    /* Cut: the worker misses the end of the archive. Refused: he says why. */
    file->body_whole = how == EXCHANGE_BODY_WHOLE;
    if (file->body_whole)
        answer_unpacked(file);
}

void tar_write_handle(struct front_call *call)
{
    int worker = -1;
    struct err err;
    struct file_call *file =
        front_file_call_new(call, FILES_TAR_WRITE, exchange_query(call->x, "path"), NULL);
    if (!file)
        return;
    file->request.size_max = TREE_BYTES_MAX;
    if (front_file_pipe(file, false, &worker) < 0)
        return;
    struct exchange_sink sink = {
        .fd = take_fd(&file->pipe), .bytes_max = BODY_UNBOUNDED, .idle_ms = STALL_MS};
    call->body_end = on_body_end;
    if (exchange_body_to(call->x, &sink, &err) < 0) {
        fd_close(worker);
        front_call_refuse(call, &err, NULL);
        return;
    }
    front_file_ask(file, worker, -1, on_unpacked);
}

/* ---- out ------------------------------------------------------------------------------------- */

static void begin_archive(struct file_call *file)
{
    exchange_bytes_begin(file->call->x, "application/x-tar",
                         "Trailer: X-Berth-Left-Out, X-Berth-Left-Out-Names\r\n");
}

/* What was left out, for a field: names with all but the plainest bytes as %XX, one after another.
 */
static void name_left_out(struct file_call *file, const struct files_result *result)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~/";
    struct buf *out = &file->list.left_out;
    file->list.skipped = result->skipped;
    for (uint32_t i = 0; i < result->left_out_length; i++) {
        char c = result->left_out[i];
        if (c == 0)
            buf_puts(out, i + 1 < result->left_out_length ? ", " : "");
        else if (strchr(plain, c))
            buf_putc(out, c);
        else
            buf_printf(out, "%%%02X", (unsigned)(unsigned char)c);
    }
}

/* The pipe's end and the worker's word: in any order, and both are needed. */
static void end_archive(struct file_call *file)
{
    struct front_call *call = file->call;
    if (!file->ended || !file->done)
        return;
    char trailers[TRAILERS_MAX];
    snprintf(trailers, sizeof trailers, "X-Berth-Left-Out: %" PRIu64 "\r\n%s%s%s",
             file->list.skipped, file->list.left_out.length ? "X-Berth-Left-Out-Names: " : "",
             buf_text(&file->list.left_out), file->list.left_out.length ? "\r\n" : "");
    if (file->begun)
        exchange_stream_end_with(front_call_finish(call), trailers);
    else
        refuse(call, file->request.path, "What came out of the session is no archive.");
}

/* A piece is lost: the client must see that. Nothing of the file's call may be used after this. */
static bool break_off(struct file_call *file)
{
    if (!file->begun)
        begin_archive(file);
    exchange_stream_break(front_call_finish(file->call));
    return false;
}

/* False: no more can be passed on now. */
static bool pass_on(struct file_call *file)
{
    static char data[PIECE_BYTES];
    struct exchange *x = file->call->x;
    if (file->held == 0) {
        ssize_t n = read(file->pipe, data, sizeof data);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (n <= 0) {
            file->ended = true;
            loop_watch_free(take_ptr(&file->watch));
            end_archive(file);
            return false;
        }
        buf_add(&file->list.raw, data, (size_t)n);
        if (buf_failed(&file->list.raw))
            return break_off(file);
        file->held = (size_t)n;
    }
    if (!file->begun)
        begin_archive(file);
    file->begun = true;
    int r = exchange_send_bytes(x, buf_text(&file->list.raw), file->held);
    if (r == EXCHANGE_FULL) {
        loop_watch_set(file->watch, 0); /* until there is room */
        return false;
    }
    if (r == -ENOMEM)
        return break_off(file);
    buf_fini(&file->list.raw);
    file->held = 0;
    /* A client that left: `gone` follows. */
    return r == 0;
}

static void on_bytes(void *owner, unsigned events)
{
    struct file_call *file = owner;
    (void)events;
    pass_on(file);
}

static void on_room(struct front_call *call)
{
    struct file_call *file = call->own;
    if (file->watch && pass_on(file))
        loop_watch_set(file->watch, LOOP_READ);
}

static void on_packed(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    /* With bytes on their way the answer is broken off by this. */
    if (front_file_refused(call, reply))
        return;
    name_left_out(file, reply->result);
    file->done = true;
    end_archive(file);
}

void tar_read_handle(struct front_call *call)
{
    int worker = -1;
    struct err err;
    if (exchange_request(call->x)->range.present) {
        refuse(call, "Range", "An archive is made while it is sent: it has no ranges.");
        return;
    }
    struct file_call *file =
        front_file_call_new(call, FILES_TAR_READ, exchange_query(call->x, "path"), NULL);
    if (!file || front_file_pipe(file, true, &worker) < 0)
        return;
    call->release = front_file_release;
    call->room = on_room;
    int r = fcntl(file->pipe, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    if (r == 0)
        r = loop_watch_new(call->front->loop, file->pipe, on_bytes, file, &file->watch, &err);
    else
        err_set(&err, ERR_INTERNAL, -r, "watch a pipe", NULL, NULL);
    if (r == 0 && (r = loop_watch_set(file->watch, LOOP_READ)) < 0)
        err_set(&err, ERR_INTERNAL, -r, "watch a pipe", NULL, NULL);
    if (r < 0) {
        fd_close(worker);
        front_call_refuse(call, &err, NULL);
        return;
    }
    front_file_ask(file, -1, worker, on_packed);
}
