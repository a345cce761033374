/* This file sends what changes in a directory of a session to a client, as events; it keeps one
 * piece of them and reads no further while the client has no room, so that what is too much is lost
 * where it can be told (runtime/agent/files_watch.c).
 */
#include "api/front/files.h"

#include "api/front/print.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <string.h>

enum { READ_BYTES = 16 * 1024 };

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = {
#define X(symbol, name) [FILES_##symbol] = (name),
        FILES_CHANGES(X)
#undef X
    };
    return kind < ARRAY_LENGTH(names) ? names[kind] : NULL;
}

/* What came is not what a worker of berth's says, or memory is short: the client connects again. */
static void break_off(struct file_call *file)
{
    struct err err;
    if (file->begun) {
        exchange_stream_break(front_call_finish(file->call));
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, EPROTO, "watch", file->request.path,
            "What came out of the session are no changes.");
    front_call_refuse(file->call, &err, NULL);
}

/* 0; EXCHANGE_FULL; negative: it cannot be told. */
static int send_change(struct file_call *file, const struct files_change *change, const char *path)
{
    _cleanup_buf_ struct buf out = {0}, whole = {0};
    const char *slash = memrchr(path, '/', change->path_length);
    const char *name = slash ? slash + 1 : path;
    if (change->kind == FILES_ALIVE)
        return 0;
    buf_puts(&whole, file->request.path);
    if (change->path_length > 0 && buf_text(&whole)[whole.length - 1] != '/')
        buf_putc(&whole, '/');
    buf_add(&whole, path, change->path_length);
    buf_putc(&out, '{');
    front_print_bytes("path", buf_text(&whole), whole.length, &out);
    buf_putc(&out, ',');
    front_print_bytes("name", name, (size_t)(path + change->path_length - name), &out);
    if (change->type)
        buf_printf(&out, ",\"type\":\"%s\"}", front_file_type_name(change->type));
    else
        buf_puts(&out, ",\"type\":null}");
    if (buf_failed(&out) || buf_failed(&whole))
        return -ENOMEM;
    return exchange_send_event(file->call->x, 0, kind_name(change->kind), buf_text(&out),
                               out.length);
}

static void begin_stream(struct file_call *file)
{
    if (!file->begun)
        exchange_events_begin(file->call->x);
    file->begun = true;
}

/* The whole records that are there. 0; EXCHANGE_FULL, EXCHANGE_GONE; negative: the call is gone. */
static int pass_on(struct file_call *file)
{
    struct buf *raw = &file->list.raw;
    size_t used = 0;
    int r = 0;
    while (r == 0 && raw->length - used >= sizeof(struct files_change)) {
        struct files_change change;
        memcpy(&change, raw->data + used, sizeof change);
        if (files_change_check(&change)) {
            r = -EPROTO;
            break;
        }
        if (raw->length - used < sizeof change + change.path_length)
            break;
        const char *path = raw->data + used + sizeof change;
        if (change.path_length > 0 && files_entry_path_check(path, change.path_length)) {
            r = -EPROTO;
            break;
        }
        begin_stream(file);
        r = send_change(file, &change, path);
        if (r == 0)
            used += sizeof change + change.path_length;
    }
    if (r < 0) {
        break_off(file);
        return r;
    }
    if (used > 0) {
        memmove(raw->data, raw->data + used, raw->length - used);
        raw->length -= used;
    }
    return r;
}

/* Why it is over, when all that came before it is told. */
static void end(struct file_call *file)
{
    _cleanup_buf_ struct buf out = {0};
    const struct err *why = &file->why;
    if (!file->ended || !file->done)
        return;
    if (!file->begun || file->list.raw.length > 0) {
        break_off(file);
        return;
    }
    buf_printf(&out, "{\"code\":%s%s%s,\"detail\":", why->code ? "\"" : "",
               why->code ? err_code_name((enum err_code)why->code) : "null", why->code ? "\"" : "");
    buf_json_string(&out, why->code ? why->detail : "The directory is not there any more.");
    buf_putc(&out, '}');
    int r = buf_failed(&out)
                ? -ENOMEM
                : exchange_send_event(file->call->x, 0, "end", buf_text(&out), out.length);
    if (r == EXCHANGE_FULL)
        return; /* once more when there is room */
    struct exchange *x = front_call_finish(file->call);
    if (r < 0)
        exchange_stream_break(x);
    else
        exchange_stream_end(x);
}

static void on_bytes(void *owner, unsigned events)
{
    struct file_call *file = owner;
    char data[READ_BYTES];
    (void)events;
    ssize_t n = read(file->pipe, data, sizeof data);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        buf_add(&file->list.raw, data, (size_t)n);
        if (buf_failed(&file->list.raw))
            break_off(file);
        else if (pass_on(file) > 0)
            loop_watch_set(file->watch, 0); /* until there is room, or `gone` follows */
        return;
    }
    file->ended = true;
    loop_watch_free(take_ptr(&file->watch));
    end(file);
}

static void on_room(struct front_call *call)
{
    struct file_call *file = call->own;
    if (!file->begun || pass_on(file) != 0)
        return;
    if (file->watch)
        loop_watch_set(file->watch, LOOP_READ);
    else
        end(file);
}

static void on_done(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    if (!file->begun && reply->err) {
        front_file_refused(call, reply);
        return;
    }
    call->waiting = false;
    if (reply->err)
        file->why = *reply->err;
    file->done = true;
    end(file);
}

void files_watch_handle(struct front_call *call)
{
    bool recursive = false;
    int worker = -1;
    if (front_call_query_flag(call, "recursive", &recursive) < 0)
        return;
    if (exchange_request(call->x)->has_last_event) {
        struct err err;
        err_set(&err, ERR_INVALID_REQUEST, 0, "read the request", "Last-Event-ID",
                "Changes of files are not kept: watch anew, and look at what is there.");
        front_call_refuse(call, &err, NULL);
        return;
    }
    struct file_call *file =
        front_file_call_new(call, FILES_WATCH, exchange_query(call->x, "path"), NULL);
    if (!file)
        return;
    file->request.recursive = recursive;
    if (front_file_pipe(file, true, &worker) < 0)
        return;
    call->release = front_file_release;
    call->room = on_room;
    if (front_file_watch(file, on_bytes, LOOP_READ) < 0)
        fd_close(worker);
    else
        front_file_ask(file, -1, worker, on_done);
}
