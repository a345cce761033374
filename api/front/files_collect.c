/* This file tells a client what a session leaves in its outputs: records come through a pipe from a
 * worker inside, which is hostile, and nothing is answered before all of them are here and keep
 * every bound again. It never carries content: that is read as files are, by the ETag that is told.
 */
#include "api/front/files.h"

#include "api/front/print.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { READ_BYTES = 32 * 1024 };

static void on_refusal_written(void *data, struct provider_reply *reply)
{
    (void)data, (void)reply;
}

/* Written down although its client is answered before: that an answer waits for the ledger is for
 * what leaves the session. */
static void refuse(struct file_call *file)
{
    struct err err;
    provider_collected(
        file->call->front->provider, front_call_ask(file->call, on_refusal_written),
        &(struct provider_collected){.path = file->request.path, .code = ERR_UNAVAILABLE});
    err_set(&err, ERR_UNAVAILABLE, EPROTO, "collect", file->request.path,
            "What came out of the session is no collection.");
    front_call_refuse(file->call, &err, NULL);
}

static void add_file(struct file_call *file, const struct files_output *output, const char *name)
{
    struct buf *out = &file->list.entries;
    char etag[FILES_ETAG_MAX];
    files_etag(&output->stat, etag);
    buf_puts(out, file->list.count++ ? ",{\"name\":" : "{\"name\":");
    buf_json_string(out, name);
    buf_printf(out,
               ",\"size\":%" PRIu64 ",\"sha256\":\"%s\",\"etag\":\"\\\"%s\\\"\",\"mode\":\"%04o\","
               "\"modified_at\":",
               output->stat.size, output->sha256, etag, output->stat.mode & 0777);
    front_print_time(output->stat.modified_ns / 1000000, out);
    buf_putc(out, '}');
}

static void add_left_out(struct file_call *file, const struct files_output *output,
                         const char *name)
{
    struct buf *out = &file->list.left_out;
    buf_puts(out, file->list.left_out_count++ ? ",{\"name\":" : "{\"name\":");
    buf_json_string(out, name);
    buf_printf(out, ",\"type\":\"%s\"}", front_file_type_name(output->stat.type));
}

/* False: it breaks what a worker of berth's keeps. */
static bool take(struct file_call *file, const struct files_output *output, const char *name)
{
    bool is_file = output->stat.type == FILES_FILE;
    if (!is_file) {
        add_left_out(file, output, name);
        return file->list.left_out_count <= FILES_LEFT_OUT_MAX;
    }
    /* Sorted, each once, and before what is left out. */
    if (file->list.left_out_count > 0 || (file->list.count && strcmp(file->list.last, name) >= 0))
        return false;
    snprintf(file->list.last, sizeof file->list.last, "%s", name);
    add_file(file, output, name);
    file->list.bytes += output->stat.size;
    return file->list.count <= FILES_OUTPUTS_MAX && file->list.bytes <= FILES_OUTPUTS_BYTES_MAX;
}

/* The whole records that are there. */
static bool take_records(struct file_call *file)
{
    struct buf *raw = &file->list.raw;
    size_t used = 0;
    while (raw->length - used >= sizeof(struct files_output)) {
        struct files_output output;
        char name[FILES_PATH_MAX];
        memcpy(&output, raw->data + used, sizeof output);
        if (files_output_check(&output))
            return false;
        if (raw->length - used < sizeof output + output.path_length)
            break;
        memcpy(name, raw->data + used + sizeof output, output.path_length);
        name[output.path_length] = 0;
        if (files_safe_path_check(name, output.path_length) || !take(file, &output, name))
            return false;
        used += sizeof output + output.path_length;
    }
    if (used > 0)
        memmove(raw->data, raw->data + used, raw->length - used);
    raw->length -= used;
    return true;
}

/* In the audit and among the events; a ledger that takes nothing keeps nobody's outputs from him.
 */
static void on_told(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    _cleanup_buf_ struct buf document = file->list.entries;
    (void)reply;
    file->list.entries = (struct buf){0};
    call->waiting = false;
    front_call_answer(call, 200, &document);
}

static void answer(struct file_call *file)
{
    const struct buf *left_out = &file->list.left_out;
    _cleanup_buf_ struct buf out = {0};
    if (!file->list.ended || !file->list.done)
        return;
    if (file->list.raw.length > 0) {
        refuse(file);
        return;
    }
    buf_putc(&out, '{');
    front_print_bytes("path", file->request.path, strlen(file->request.path), &out);
    buf_puts(&out, ",\"files\":[");
    buf_add(&out, buf_text(&file->list.entries), file->list.entries.length);
    buf_printf(&out, "],\"bytes\":%" PRIu64 ",\"left_out\":[", file->list.bytes);
    buf_add(&out, buf_text(left_out), left_out->length);
    buf_printf(&out, "],\"left_out_count\":%" PRIu64 "}\n", file->list.skipped);
    out.failed |= file->list.entries.failed || file->list.raw.failed || left_out->failed;
    buf_fini(&file->list.entries);
    file->list.entries = out;
    out = (struct buf){0};
    provider_collected(file->call->front->provider, front_call_ask(file->call, on_told),
                       &(struct provider_collected){.session = file->session,
                                                    .path = file->request.path,
                                                    .entries = file->list.count,
                                                    .bytes = file->list.bytes,
                                                    .left_out = file->list.skipped});
}

static void on_records(void *owner, unsigned events)
{
    struct file_call *file = owner;
    char data[READ_BYTES];
    (void)events;
    ssize_t n = read(file->pipe, data, sizeof data);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        buf_add(&file->list.raw, data, (size_t)n);
        if (!take_records(file))
            refuse(file);
        return;
    }
    file->list.ended = true;
    loop_watch_free(take_ptr(&file->watch));
    answer(file);
}

static void on_done(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    if (front_file_refused(call, reply))
        return;
    file->list.done = true;
    file->session = reply->session;
    file->list.skipped = reply->result->skipped;
    answer(file);
}

void collect_handle(struct front_call *call)
{
    const char *path = front_call_text(call, "path");
    int worker = -1;
    if (front_file_refuse_key(call))
        return;
    struct file_call *file =
        front_file_call_new(call, FILES_COLLECT, path ? path : FILES_OUTPUTS, "/path");
    if (!file || front_file_pipe(file, true, &worker) < 0)
        return;
    call->release = front_file_release;
    if (front_file_watch(file, on_records, LOOP_READ) < 0)
        fd_close(worker);
    else
        front_file_ask(file, -1, worker, on_done);
}
