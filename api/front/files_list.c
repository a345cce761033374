/* This file lists a directory: records come through a pipe from a worker inside the session, which
 * is hostile, and are believed only as data: a name is a name whatever is in it.
 */
#include "api/front/files.h"

#include "api/front/print.h"
#include "runtime/base/fd.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { READ_BYTES = 32 * 1024, LIMIT_USUAL = 500 };

static void add_entry(struct file_call *file, const struct files_entry *entry, const char *path)
{
    struct buf *out = &file->list.entries;
    const char *slash = memrchr(path, '/', entry->path_length);
    const char *name = slash ? slash + 1 : path;
    _cleanup_buf_ struct buf whole = {0};
    buf_puts(&whole, file->request.path);
    if (whole.length > 0 && whole.data[whole.length - 1] != '/')
        buf_putc(&whole, '/');
    buf_add(&whole, path, entry->path_length);
    buf_puts(out, file->list.count ? ",{" : "{");
    front_print_bytes("name", name, (size_t)(path + entry->path_length - name), out);
    buf_putc(out, ',');
    front_print_bytes("path", buf_text(&whole), whole.length, out);
    out->failed |= whole.failed;
    buf_printf(out,
               ",\"type\":\"%s\",\"size\":%" PRIu64
               ",\"mode\":\"%04o\",\"uid\":%u,\"gid\":%u,\"modified_at\":",
               front_file_type_name(entry->stat.type), entry->stat.size, entry->stat.mode & 0777,
               entry->stat.uid, entry->stat.gid);
    front_print_time(entry->stat.modified_ns / 1000000, out);
    buf_putc(out, '}');
    snprintf(file->list.last, sizeof file->list.last, "%.*s", (int)entry->path_length, path);
    file->list.count++;
}

/* The whole records that are there. */
static void take_records(struct file_call *file)
{
    struct buf *raw = &file->list.raw;
    size_t used = 0;
    while (!file->list.broken && raw->length - used >= sizeof(struct files_entry)) {
        struct files_entry entry;
        memcpy(&entry, raw->data + used, sizeof entry);
        if (files_entry_check(&entry) || entry.stat.type == FILES_END ||
            file->list.count >= file->request.limit) {
            file->list.broken = true;
            return;
        }
        if (raw->length - used < sizeof entry + entry.path_length)
            break;
        if (files_entry_path_check(raw->data + used + sizeof entry, entry.path_length)) {
            file->list.broken = true;
            return;
        }
        add_entry(file, &entry, raw->data + used + sizeof entry);
        used += sizeof entry + entry.path_length;
    }
    if (used == 0)
        return;
    memmove(raw->data, raw->data + used, raw->length - used);
    raw->length -= used;
}

/* Nothing more is read of it: with the pipe its writer may end, and if he does not, what he is goes
 * on without us. */
static void refuse_listing(struct file_call *file)
{
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 0, "list a directory", file->request.path,
            "What came out of the session is no listing.");
    front_call_refuse(file->call, &err, NULL);
}

static void answer(struct file_call *file)
{
    _cleanup_buf_ struct buf out = {0};
    if (!file->list.ended || !file->list.done)
        return;
    if (file->list.raw.length > 0) {
        refuse_listing(file);
        return;
    }
    buf_puts(&out, "{\"entries\":[");
    buf_add(&out, buf_text(&file->list.entries), file->list.entries.length);
    buf_puts(&out, "],");
    if (file->list.more && file->list.count)
        front_print_bytes("next", file->list.last, strlen(file->list.last), &out);
    else
        buf_puts(&out, "\"next\":null");
    buf_printf(&out, ",\"skipped\":%" PRIu64 "}\n", file->list.skipped);
    out.failed |= file->list.entries.failed || file->list.raw.failed;
    front_call_answer(file->call, 200, &out);
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
        take_records(file);
        if (file->list.broken)
            refuse_listing(file);
        return;
    }
    file->list.ended = true;
    loop_watch_free(file->watch);
    file->watch = NULL;
    answer(file);
}

static void on_done(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    if (front_file_refused(call, reply))
        return;
    file->list.done = true;
    file->list.more = reply->result->more != 0;
    file->list.skipped = reply->result->skipped;
    answer(file);
}

void files_list_handle(struct front_call *call)
{
    uint64_t depth = 1, limit = LIMIT_USUAL;
    const char *after = exchange_query(call->x, "after");
    int worker = -1;
    if (front_call_query_number(call, "depth", 1, FILES_DEPTH_MAX, &depth) < 0 ||
        front_call_query_number(call, "limit", 1, FILES_LIST_MAX, &limit) < 0)
        return;
    if (after && strlen(after) >= FILES_PATH_MAX) {
        struct err err;
        err_set(&err, ERR_INVALID_REQUEST, 0, "read the query", "after",
                "Give back what `next` said.");
        front_call_refuse(call, &err, NULL);
        return;
    }
    struct file_call *file =
        front_file_call_new(call, FILES_LIST, exchange_query(call->x, "path"), NULL);
    if (!file)
        return;
    file->request.depth = (uint32_t)depth;
    file->request.limit = (uint32_t)limit;
    snprintf(file->request.path2, sizeof file->request.path2, "%s", after ? after : "");
    if (front_file_pipe(file, true, &worker) < 0)
        return;
    call->release = front_file_release;
    if (front_file_watch(file, on_records, LOOP_READ) < 0)
        fd_close(worker);
    else
        front_file_ask(file, -1, worker, on_done);
}
