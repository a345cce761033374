/* This file takes a file's bytes whose number the client does not say, as a pipe's; it never lets a
 * worker begin before all of them are here. The worker replaces a file by as many bytes as it was
 * told of, or leaves the old one (FS-3): an end of a pipe alone would not tell a body that is whole
 * from one that was cut. So they are kept in a file without a name among the spools.
 *
 * An upload is kept there too: it is counted and hashed before anything in the session is touched.
 */
#include "api/front/files.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { TURN_BYTES = 1 << 20, HASH_BYTES = 64 * 1024, IDLE_MS = 60 * 1000 };

static void refuse_disk(struct file_call *file, int sys)
{
    struct err err;
    bool full = sys == ENOSPC || sys == EDQUOT || sys == EFBIG;
    err_set(&err, full ? ERR_INSUFFICIENT_STORAGE : ERR_UNAVAILABLE, sys, "keep a file's bytes",
            NULL, "%s",
            full && file->hash ? "The disk of berth's state directory is full. Try again."
            : full ? "The disk of berth's state directory is full. Send the file with its length: "
                     "then it is not kept there."
                   : "berth's state directory cannot be written. Try again.");
    front_call_refuse(file->call, &err, NULL);
}

/* One thread, and the name is gone at once: one name is enough, and what a kill leaves is found by
 * the next one. */
static int make_spool(const struct serve_config *config)
{
    char path[SPEC_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR "/upload", config->state_dir);
    unlink(path);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    unlink(path);
    return fd;
}

int front_file_watch(struct file_call *file, void (*function)(void *owner, unsigned events),
                     unsigned events)
{
    struct err err;
    int r = fcntl(file->pipe, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
    loop_watch_free(file->watch);
    file->watch = NULL;
    if (r < 0)
        err_set(&err, ERR_INTERNAL, -r, "watch a pipe", NULL, NULL);
    if (r == 0)
        r = loop_watch_new(file->call->front->loop, file->pipe, function, file, &file->watch, &err);
    if (r == 0 && (r = loop_watch_set(file->watch, events)) < 0)
        err_set(&err, ERR_INTERNAL, -r, "watch a pipe", NULL, NULL);
    if (r < 0)
        front_call_refuse(file->call, &err, NULL);
    return r;
}

static bool refuse_upload(struct file_call *file, const char *what, const char *more)
{
    struct err err;
    err_set(&err, ERR_INVALID_REQUEST, 0, "check an upload", file->request.path,
            "%s%s. The session was not touched.", what, more);
    front_call_refuse(file->call, &err, NULL);
    return false;
}

/* Is all that was said of it true? */
static bool upload_holds(struct file_call *file)
{
    char hex[65], text[96];
    if (!file->hash)
        return true;
    snprintf(text, sizeof text, "%" PRIu64 " bytes came, and %" PRIu64 " were said", file->spooled,
             file->request.length);
    if (file->spooled != file->request.length)
        return refuse_upload(file, "size mismatch: ", text);
    sha256_final_hex(file->hash, hex);
    snprintf(text, sizeof text, "its SHA-256 is %s", hex);
    return strcmp(hex, file->request.sha256) == 0 ||
           refuse_upload(file, "failed integrity validation: ", text);
}

/* ---- out of the spool ------------------------------------------------------------------------ */

static void on_worker(void *owner, unsigned events)
{
    struct file_call *file = owner;
    (void)events;
    ssize_t n = splice(file->spool, NULL, file->pipe, NULL, TURN_BYTES, SPLICE_F_NONBLOCK);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    /* All is out, or the worker reads no more: what it says next decides. */
    loop_watch_free(file->watch);
    file->watch = NULL;
    fd_replace(&file->pipe, -1);
}

static void start_worker(struct file_call *file)
{
    struct stat st;
    int worker = -1;
    loop_watch_free(file->watch);
    file->watch = NULL;
    fd_replace(&file->pipe, -1);
    if (fstat(file->spool, &st) < 0 || lseek(file->spool, 0, SEEK_SET) < 0) {
        refuse_disk(file, errno);
        return;
    }
    if (!upload_holds(file))
        return;
    file->request.has_length = 1;
    file->request.length = (uint64_t)st.st_size;
    if (front_file_pipe(file, false, &worker) < 0)
        return;
    if (front_file_watch(file, on_worker, LOOP_WRITE) < 0)
        fd_close(worker);
    else
        front_file_write(file, worker);
}

/* ---- into the spool -------------------------------------------------------------------------- */

void front_file_unspool(struct file_call *file)
{
    struct front *front = file->call->front;
    struct file_call **at = &front->spools;
    while (*at && *at != file)
        at = &(*at)->next_spool;
    if (*at)
        *at = file->next_spool;
    front->spooled_bytes -= file->spooled;
    file->spooled = 0;
}

/* What a token has of it, and all tokens together. */
static bool has_room(const struct file_call *file)
{
    const struct front *front = file->call->front;
    const struct exchange_request *request = exchange_request(file->call->x);
    uint64_t tcp = 0, own = 0;
    if (front->spooled_bytes > FRONT_SPOOLED_MAX)
        return false;
    if (request->peer->local)
        return true;
    for (const struct file_call *other = front->spools; other; other = other->next_spool) {
        const struct exchange_request *its = exchange_request(other->call->x);
        tcp += its->peer->local ? 0 : other->spooled;
        own += !its->peer->local && its->caller == request->caller ? other->spooled : 0;
    }
    return tcp <= FRONT_SPOOLED_TCP_MAX && own <= FRONT_SPOOLED_TOKEN_MAX;
}

/* False: the call is gone. */
static bool keep(struct file_call *file, uint64_t bytes)
{
    struct front *front = file->call->front;
    struct err err;
    file->spooled += bytes;
    front->spooled_bytes += bytes;
    if (has_room(file))
        return true;
    err_set(&err, ERR_INSUFFICIENT_STORAGE, 0, "keep a file's bytes", NULL,
            "Uploads and files that are being sent without their length have 4 GiB together, and 1 "
            "GiB those of one token. %s",
            file->hash ? "Try again when others are done."
                       : "Send it with its length: then it is not kept.");
    front_call_refuse(file->call, &err, NULL);
    return false;
}

/* What a body brings, kept and hashed. As splice(2). */
static ssize_t take_hashed(struct file_call *file)
{
    char bytes[HASH_BYTES];
    ssize_t n = read(file->pipe, bytes, sizeof bytes);
    if (n <= 0)
        return n;
    sha256_update(file->hash, bytes, (size_t)n);
    int r = io_write_full(file->spool, bytes, (size_t)n);
    errno = r < 0 ? -r : 0;
    return r < 0 ? -1 : n;
}

static void on_bytes(void *owner, unsigned events)
{
    struct file_call *file = owner;
    (void)events;
    ssize_t n = file->hash
                    ? take_hashed(file)
                    : splice(file->pipe, NULL, file->spool, NULL, TURN_BYTES, SPLICE_F_NONBLOCK);
    if (n > 0 && !keep(file, (uint64_t)n))
        return;
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    if (n < 0) {
        refuse_disk(file, errno);
        return;
    }
    if (file->body_whole) {
        start_worker(file);
        return;
    }
    /* Cut: who would be answered is gone, and `gone` is on its way. */
    loop_watch_free(file->watch);
    file->watch = NULL;
}

static void on_body_end(struct front_call *call, enum exchange_body how, uint64_t bytes)
{
    struct file_call *file = call->own;
    (void)bytes;
    /* The last bytes may still be in the pipe; its end comes after them. */
    file->body_whole = how == EXCHANGE_BODY_WHOLE;
    if (how != EXCHANGE_BODY_TOO_LONG)
        return;
    struct err err;
    if (file->hash) {
        refuse_upload(file, "size mismatch: more bytes came than were said", "");
        return;
    }
    err_set(&err, ERR_TOO_LARGE, 0, "keep a file's bytes", NULL,
            "Without its length a file has at most 4 GiB. Send it with its length.");
    front_call_refuse(call, &err, NULL);
}

void front_file_spool(struct file_call *file)
{
    struct front_call *call = file->call;
    int sink = -1;
    struct err err;
    call->release = front_file_release;
    file->next_spool = call->front->spools;
    call->front->spools = file;
    file->spool = make_spool(call->front->config);
    if (file->spool < 0) {
        refuse_disk(file, -file->spool);
        return;
    }
    if (front_file_pipe(file, true, &sink) < 0)
        return;
    if (front_file_watch(file, on_bytes, LOOP_READ) < 0) {
        fd_close(sink);
        return;
    }
    struct exchange_sink body = {.fd = sink,
                                 .bytes_max = file->hash ? file->request.length : FRONT_SPOOLED_MAX,
                                 .idle_ms = IDLE_MS};
    call->body_end = on_body_end;
    if (exchange_body_to(call->x, &body, &err) < 0)
        front_call_refuse(call, &err, NULL);
}
