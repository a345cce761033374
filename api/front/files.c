/* This file serves the routes of files: it describes the operation, makes the pipes, and lets bytes
 * go through them without looking at one. It opens no path: what names a client gives are resolved
 * in the session's own view by a worker there (FS-1).
 */
#include "api/front/files.h"

#include "api/front/print.h"
#include "runtime/base/fd.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

enum { STALL_MS = 60 * 1000, ETAG_SIZE = FILES_ETAG_MAX + 2 };

static void refuse_condition(struct front_call *call, const char *etag)
{
    struct err err;
    err_set(&err, ERR_PRECONDITION_FAILED, 0, "look at the file", NULL,
            "Its ETag is %s now, and not what If-Match says. Read it again.", etag);
    front_call_refuse(call, &err, NULL);
}

static void refuse(struct front_call *call, const char *subject, const char *pointer,
                   const char *what)
{
    struct err err;
    err_set(&err, ERR_INVALID_REQUEST, 0, "read the request", subject, "%s", what);
    front_call_refuse(call, &err, pointer);
}

static bool copy_path(struct front_call *call, const char *path, const char *pointer,
                      char ret_path[FILES_PATH_MAX])
{
    if (!path || *path != '/' || strlen(path) >= FILES_PATH_MAX) {
        refuse(call, "path", pointer,
               "Give an absolute path, as the session sees it, of at most 4095 bytes.");
        return false;
    }
    snprintf(ret_path, FILES_PATH_MAX, "%s", path);
    return true;
}

struct file_call *front_file_call_new(struct front_call *call, enum files_operation operation,
                                      const char *path, const char *pointer)
{
    struct file_call *file = front_call_memory(call, sizeof *file);
    if (!file)
        return NULL;
    file->call = call;
    file->pipe = file->spool = -1;
    files_request_init(&file->request, operation);
    if (!copy_path(call, path, pointer, file->request.path))
        return NULL;
    call->own = file;
    return file;
}

void front_file_release(struct front_call *call)
{
    struct file_call *file = call->own;
    loop_watch_free(file->watch);
    file->watch = NULL;
    fd_replace(&file->pipe, -1);
    fd_replace(&file->spool, -1);
    front_file_unspool(file);
    buf_fini(&file->list.raw);
    buf_fini(&file->list.entries);
    buf_fini(&file->list.left_out);
}

int front_file_pipe(struct file_call *file, bool reads, int *ret_worker)
{
    int ends[2];
    struct err err;
    if (pipe2(ends, O_CLOEXEC) < 0) {
        err_set(&err, ERR_UNAVAILABLE, errno, "make a pipe", NULL,
                "berth has too many descriptors open. Try again.");
        front_call_refuse(file->call, &err, NULL);
        return -EMFILE;
    }
    file->pipe = ends[reads ? 0 : 1];
    *ret_worker = ends[reads ? 1 : 0];
    return 0;
}

void front_file_ask(struct file_call *file, int data_in, int data_out,
                    void (*done)(void *data, const struct provider_files_reply *reply))
{
    const struct provider_files files = {.request = &file->request,
                                         .data_in = data_in,
                                         .data_out = data_out,
                                         .begun = file->begin,
                                         .client_socket = front_call_asker(file->call)};
    const char *wrong = files_request_check(&file->request);
    file->call->release = front_file_release;
    if (wrong) {
        fd_close(data_in);
        fd_close(data_out);
        refuse(file->call, NULL, NULL, wrong);
        return;
    }
    /* Its `reply` is not used: an operation of files has an outcome of its own. */
    provider_files(file->call->front->provider, front_call_ask(file->call, NULL), &files, done,
                   file->call);
}

/* The operation's own failure, or a worker that says what cannot be. True: the call is refused. */
bool front_file_refused(struct front_call *call, const struct provider_files_reply *reply)
{
    call->waiting = false;
    if (!reply->err)
        return false;
    struct err err = *reply->err;
    front_call_refuse_state(call, &err, reply->allowed);
    return true;
}

const char *front_file_type_name(uint32_t type)
{
    return type == FILES_FILE        ? "file"
           : type == FILES_DIRECTORY ? "directory"
           : type == FILES_SYMLINK   ? "symlink"
                                     : "other";
}

/* ---- documents ------------------------------------------------------------------------------- */

static void answer_stat(struct front_call *call, const char *path, const struct files_stat *stat,
                        const char *etag)
{
    _cleanup_buf_ struct buf out = {0};
    buf_putc(&out, '{');
    front_print_bytes("path", path, strlen(path), &out);
    buf_printf(&out, ",\"size\":%" PRIu64 ",\"mode\":\"%04o\",\"type\":\"%s\",\"modified_at\":",
               stat->size, stat->mode & 0777, front_file_type_name(stat->type));
    front_print_time(stat->modified_ns / 1000000, &out);
    buf_puts(&out, "}\n");
    exchange_answer(front_call_finish(call), 200, &out, &(struct answer_more){.etag = etag});
}

static void on_changed(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    if (front_file_refused(call, reply))
        return;
    if (file->request.operation == FILES_REMOVE) {
        _cleanup_buf_ struct buf out = {0};
        buf_putc(&out, '{');
        front_print_bytes("path", file->request.path, strlen(file->request.path), &out);
        buf_puts(&out, ",\"removed\":true}\n");
        front_call_answer(call, 200, &out);
        return;
    }
    answer_stat(call,
                file->request.operation == FILES_MOVE ? file->request.path2 : file->request.path,
                &reply->result->stat, NULL);
}

/* A member "mode" of a body, or the query's. False: refused. */
static bool read_mode(struct front_call *call, const char *text, const char *pointer,
                      uint32_t *ret_mode)
{
    bool made = exchange_request(call->x)->route->id != ROUTE_FILES_CHMOD;
    if (!text)
        return true;
    /* To the worker 0 means the usual mode of what is made: it cannot be asked for. */
    if (front_parse_mode(text, ret_mode) == 0 && !(made && *ret_mode == 0))
        return true;
    refuse(call, "mode", pointer,
           "Must be three or four octal digits like \"0644\", without setuid, setgid and sticky "
           "bits, and for what is made more than 0.");
    return false;
}

/* What is done to a file is in no ledger, so no key can stand for it (CAP-3). */
bool front_file_refuse_key(struct front_call *call)
{
    struct err err;
    if (!exchange_request(call->x)->idempotency_key)
        return false;
    err_set(&err, ERR_INVALID_REQUEST, 0, "read the request's head", "Idempotency-Key",
            "Operations on files take no key: a session's own commands change its files too. Send "
            "it without one, and before you repeat it look at what is there.");
    front_call_refuse(call, &err, NULL);
    return true;
}

static struct file_call *change_new(struct front_call *call, enum files_operation operation,
                                    const char *member, const char *pointer)
{
    return front_file_refuse_key(call)
               ? NULL
               : front_file_call_new(call, operation, front_call_text(call, member), pointer);
}

void files_mkdir_handle(struct front_call *call)
{
    struct file_call *file = change_new(call, FILES_MKDIR, "path", "/path");
    if (!file)
        return;
    if (read_mode(call, front_call_text(call, "mode"), "/mode", &file->request.mode))
        front_file_ask(file, -1, -1, on_changed);
}

void files_chmod_handle(struct front_call *call)
{
    struct file_call *file = change_new(call, FILES_CHMOD, "path", "/path");
    if (file && read_mode(call, front_call_text(call, "mode"), "/mode", &file->request.mode))
        front_file_ask(file, -1, -1, on_changed);
}

void files_move_handle(struct front_call *call)
{
    struct file_call *file = change_new(call, FILES_MOVE, "from", "/from");
    if (file && copy_path(call, front_call_text(call, "to"), "/to", file->request.path2))
        front_file_ask(file, -1, -1, on_changed);
}

/* What must stand there, for the worker. */
static bool take_conditions(struct file_call *file)
{
    struct files_request *to = &file->request;
    const struct conditions *from = &exchange_request(file->call->x)->conditions;
    const struct etag_list *match = &from->match, *none = &from->none_match;
    snprintf(to->sha256, sizeof to->sha256, "%s", from->sha256);
    if ((match->present && none->present) || (none->present && !none->any)) {
        refuse(file->call, "If-None-Match", NULL,
               "Of what is to be written it is *, and stands alone: nothing may be there yet.");
        return false;
    }
    if (none->present || match->any) {
        snprintf(to->match, sizeof to->match, "%s", none->present ? "-" : "*");
        return true;
    }
    if (!match->present)
        return true;
    if (etag_list_one(match, to->match, sizeof to->match) < 0) {
        refuse(file->call, "If-Match", NULL, "Give one ETag, as it was told; or *.");
        return false;
    }
    /* "-" alone would mean another thing to the worker. */
    if (to->match[0] && to->match[1] && !to->match[strspn(to->match, "0123456789abcdef-")])
        return true;
    refuse_condition(file->call, "another one");
    return false;
}

void file_remove_handle(struct front_call *call)
{
    bool recursive = false;
    if (front_call_query_flag(call, "recursive", &recursive) < 0)
        return;
    struct file_call *file =
        front_file_call_new(call, FILES_REMOVE, exchange_query(call->x, "path"), NULL);
    if (!file)
        return;
    file->request.recursive = recursive;
    if (!take_conditions(file))
        return;
    front_file_ask(file, -1, -1, on_changed);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* With its quotes. */
static void make_etag(const struct files_stat *stat, char ret_etag[ETAG_SIZE])
{
    char text[FILES_ETAG_MAX];
    files_etag(stat, text);
    snprintf(ret_etag, ETAG_SIZE, "\"%s\"", text);
}

/* The answer's head is known, and either a first byte has come or there is none to come. */
static void answer_bytes(struct file_call *file, bool unchanged)
{
    const struct files_stat *stat = &file->stat;
    char etag[ETAG_SIZE], headers[256];
    make_etag(stat, etag);
    snprintf(headers, sizeof headers,
             "X-Berth-Type: %s\r\nX-Berth-Mode: %04o\r\nX-Berth-Owner: %u:%u\r\n",
             front_file_type_name(stat->type), stat->mode & 0777, stat->uid, stat->gid);
    struct exchange_file answer = {
        .fd = take_fd(&file->pipe),
        .has_length = true,
        .length = file->length,
        .unchanged = unchanged,
        .partial = file->partial && !unchanged,
        .first = file->request.offset,
        .size = stat->size,
        .etag = etag,
        .headers = headers,
    };
    exchange_answer_file(front_call_finish(file->call), &answer);
}

static void read_all(struct file_call *file);

static void on_read_done(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    struct err err;
    /* Another file stands there by now: a part of it is of no use to who has a part of the old. */
    if (reply->err && reply->err->code == ERR_PRECONDITION_FAILED && file->partial &&
        !exchange_request(call->x)->conditions.match.present) {
        file->partial = false;
        read_all(file);
        return;
    }
    /* With nothing sent yet an error has a status of its own. */
    if (front_file_refused(call, reply))
        return;
    if (file->begun) {
        answer_bytes(file, false);
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, EPROTO, "read a file", file->request.path,
            "What came out of the session is no answer.");
    front_call_refuse(call, &err, NULL);
}

/* What is read: since it was looked at it may have become another. */
static void on_begun(void *data, const struct files_begin *begin)
{
    struct file_call *file = ((struct front_call *)data)->own;
    file->begun = true;
    file->stat = begin->stat;
    file->request.offset = begin->offset;
    file->length = begin->bytes;
    if (file->watch)
        loop_watch_set(file->watch, LOOP_READ);
}

static void on_first_byte(void *owner, unsigned events)
{
    struct file_call *file = owner;
    int available = 0;
    (void)events;
    if (ioctl(file->pipe, FIONREAD, &available) == 0 && available > 0) {
        if (file->begun)
            answer_bytes(file, false);
        else /* what stands before it is on its way, in another pipe */
            loop_watch_set(file->watch, 0);
        return;
    }
    /* The worker has closed it: its outcome comes. */
    loop_watch_free(file->watch);
    file->watch = NULL;
}

static void start_reading(struct file_call *file)
{
    struct front_call *call = file->call;
    int worker = -1;
    struct err err;
    if (front_file_pipe(file, true, &worker) < 0)
        return;
    call->release = front_file_release;
    int r = loop_watch_new(call->front->loop, file->pipe, on_first_byte, file, &file->watch, &err);
    if (r == 0 && (r = loop_watch_set(file->watch, LOOP_READ)) < 0)
        err_set(&err, ERR_INTERNAL, -r, "watch a pipe", NULL, NULL);
    if (r < 0) {
        fd_close(worker);
        front_call_refuse(call, &err, NULL);
        return;
    }
    file->request.operation = FILES_READ;
    file->begin = on_begun;
    front_file_ask(file, -1, worker, on_read_done);
}

static void read_all(struct file_call *file)
{
    loop_watch_free(take_ptr(&file->watch));
    fd_replace(&file->pipe, -1);
    file->begun = false;
    file->request.offset = 0;
    file->request.length = UINT64_MAX;
    file->request.match[0] = 0;
    start_reading(file);
}

/* What the request depends on. False: it is answered. The worker looks once more, when it has the
 * file open. */
static bool holds(struct file_call *file)
{
    const struct exchange_request *request = exchange_request(file->call->x);
    const struct conditions *conditions = &request->conditions;
    char etag[ETAG_SIZE];
    make_etag(&file->stat, etag);
    file->partial = request->range.present;
    if (conditions->match.present && !etag_list_has(&conditions->match, etag, false)) {
        refuse_condition(file->call, etag);
        return false;
    }
    if (conditions->none_match.present && etag_list_has(&conditions->none_match, etag, true)) {
        answer_bytes(file, true);
        return false;
    }
    /* A part of another file would be of no use: then all of it is sent. */
    if (conditions->range.present &&
        (conditions->range.any || !etag_list_has(&conditions->range, etag, false)))
        file->partial = false;
    if ((conditions->match.present && !conditions->match.any) ||
        (conditions->range.present && file->partial))
        files_etag(&file->stat, file->request.match);
    return true;
}

static void on_stat(void *data, const struct provider_files_reply *reply)
{
    static const struct byte_range whole = {0};
    struct front_call *call = data;
    struct file_call *file = call->own;
    const struct exchange_request *request = exchange_request(call->x);
    struct err err;
    if (front_file_refused(call, reply))
        return;
    file->stat = reply->result->stat;
    bool head = request->route->method == METHOD_HEAD;
    if (!head && file->stat.type != FILES_FILE) {
        err_set(&err, ERR_NOT_A_REGULAR_FILE, 0, "read a file", file->request.path,
                "This is %s. Only regular files are read; files/list lists a directory.",
                file->stat.type == FILES_DIRECTORY ? "a directory" : "no regular file");
        front_call_refuse(call, &err, NULL);
        return;
    }
    if (file->stat.type != FILES_FILE)
        file->stat.size = 0;
    if (!holds(file))
        return;
    if (byte_range_resolve(file->partial ? &request->range : &whole, file->stat.size,
                           &file->request.offset, &file->length, &err) < 0) {
        front_call_refuse(call, &err, NULL);
        return;
    }
    file->request.length = file->partial ? file->length : UINT64_MAX;
    if (head)
        answer_bytes(file, false);
    else
        start_reading(file);
}

void file_read_handle(struct front_call *call)
{
    struct file_call *file =
        front_file_call_new(call, FILES_STAT, exchange_query(call->x, "path"), NULL);
    if (file)
        front_file_ask(file, -1, -1, on_stat);
}

void file_stat_handle(struct front_call *call)
{
    file_read_handle(call);
}

/* ---- writing --------------------------------------------------------------------------------- */

static void answer_written(struct file_call *file)
{
    char etag[ETAG_SIZE];
    if (!file->body_whole || !file->done)
        return;
    if (file->hash) {
        front_file_uploaded(file);
        return;
    }
    make_etag(&file->stat, etag);
    answer_stat(file->call, file->request.path, &file->stat, etag);
}

static void on_written(void *data, const struct provider_files_reply *reply)
{
    struct front_call *call = data;
    struct file_call *file = call->own;
    /* A failure is told at once: the rest of the body is of no use. */
    if (front_file_refused(call, reply))
        return;
    file->stat = reply->result->stat;
    file->done = true;
    answer_written(file);
}

void front_file_write(struct file_call *file, int worker)
{
    front_file_ask(file, worker, -1, on_written);
}

static void on_body_end(struct front_call *call, enum exchange_body how, uint64_t bytes)
{
    struct file_call *file = call->own;
    (void)bytes;
    /* Cut: the worker sees fewer bytes than were announced and leaves the old file; `gone` follows.
     * Refused: the worker has stopped reading, and its outcome says why. */
    if (how != EXCHANGE_BODY_WHOLE)
        return;
    file->body_whole = true;
    answer_written(file);
}

void file_write_handle(struct front_call *call)
{
    const struct exchange_request *request = exchange_request(call->x);
    int worker = -1;
    struct err err;
    struct file_call *file =
        front_file_call_new(call, FILES_WRITE, exchange_query(call->x, "path"), NULL);
    if (!file)
        return;
    if (!read_mode(call, exchange_query(call->x, "mode"), NULL, &file->request.mode) ||
        !take_conditions(file))
        return;
    if (!request->has_length) {
        front_file_spool(file);
        return;
    }
    file->request.has_length = 1;
    file->request.length = request->length;
    if (front_file_pipe(file, false, &worker) < 0)
        return;
    struct exchange_sink sink = {
        .fd = take_fd(&file->pipe), .bytes_max = BODY_UNBOUNDED, .idle_ms = STALL_MS};
    call->body_end = on_body_end;
    int r = exchange_body_to(call->x, &sink, &err);
    if (r < 0) {
        fd_close(worker);
        front_call_refuse(call, &err, NULL);
        return;
    }
    front_file_write(file, worker);
}
