/* This file gives a session a file that its commands can only read: it never lets a worker begin
 * before all bytes are here and are what the client says they are (docs/adr/0018).
 */
#include "api/front/files.h"

#include "api/front/print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void refuse(struct front_call *call, const char *subject, const char *what)
{
    struct err err;
    err_set(&err, ERR_INVALID_REQUEST, 0, "read the request", subject, "%s", what);
    front_call_refuse(call, &err, NULL);
}

void front_file_uploaded(struct file_call *file)
{
    const struct files_stat *stat = &file->stat;
    _cleanup_buf_ struct buf out = {0};
    buf_puts(&out, "{\"path\":");
    buf_json_string(&out, file->request.path);
    buf_printf(&out, ",\"size\":%" PRIu64 ",\"sha256\":\"%s\",\"mode\":\"%04o\",\"modified_at\":",
               stat->size, file->request.sha256, stat->mode & 0777);
    front_print_time(stat->modified_ns / 1000000, &out);
    buf_puts(&out, "}\n");
    front_call_answer(file->call, 200, &out);
}

/* What it is to be, from the query. False: refused. */
static bool read_query(struct file_call *file, const char *name)
{
    struct front_call *call = file->call;
    const char *sha256 = exchange_query(call->x, "sha256"), *size = exchange_query(call->x, "size");
    const struct exchange_request *request = exchange_request(call->x);
    const char *wrong = files_safe_path_check(name, strlen(name));
    if (wrong) {
        refuse(call, "name", wrong);
        return false;
    }
    if (!sha256 || strlen(sha256) != 64 || strspn(sha256, "0123456789abcdef") != 64) {
        refuse(call, "sha256",
               "Give the SHA-256 of the bytes: 64 hexadecimal digits, in lower case.");
        return false;
    }
    if (!size) {
        refuse(call, "size", "Give the number of bytes.");
        return false;
    }
    if (front_call_query_number(call, "size", 0, INT64_MAX, &file->request.length) < 0)
        return false;
    if (request->has_length && request->length != file->request.length) {
        refuse(call, "size",
               "size mismatch: Content-Length is another. The session was not touched.");
        return false;
    }
    file->request.has_length = 1;
    snprintf(file->request.sha256, sizeof file->request.sha256, "%s", sha256);
    return true;
}

static bool fits(struct file_call *file)
{
    struct err err;
    if (file->request.length <= FRONT_SPOOLED_MAX)
        return true;
    err_set(&err, ERR_TOO_LARGE, 0, "read the request", "size", "An upload has at most 4 GiB.");
    front_call_refuse(file->call, &err, NULL);
    return false;
}

/* There is such a session: not a byte of the body was read before that. */
static void on_found(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    if (reply->status >= 400) {
        front_call_reply(call, reply);
        return;
    }
    call->waiting = false;
    front_file_spool(call->own);
}

void upload_handle(struct front_call *call)
{
    char path[FILES_PATH_MAX];
    const char *name = exchange_query(call->x, "name");
    if (front_file_refuse_key(call))
        return;
    if (!name || (size_t)snprintf(path, sizeof path, FILES_UPLOADS "/%s", name) >= sizeof path) {
        refuse(call, "name",
               "Give the name that the file is to have beneath " FILES_UPLOADS ", of one or more "
               "parts.");
        return;
    }
    struct file_call *file = front_file_call_new(call, FILES_UPLOAD, path, NULL);
    if (!file || !read_query(file, name) || !fits(file))
        return;
    file->hash = front_call_memory(call, sizeof *file->hash);
    if (!file->hash)
        return;
    sha256_init(file->hash);
    provider_session_get(call->front->provider, front_call_ask(call, on_found));
}
