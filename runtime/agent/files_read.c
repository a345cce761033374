/* This file reads: a range of a regular file into a pipe, and what is told about a path; it never
 * waits for anything but that pipe and the disk, and changes nothing.
 *
 * A file is looked at with O_PATH first: opening a FIFO or a device has effects on others. What is
 * at the name when it is opened then is looked at again, because it may have been replaced.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>

/* How often a name may turn into something else between two looks. */
enum { TRIES_MAX = 64 };

int files_begin(struct files_job *job, const struct stat *st, uint64_t offset, uint64_t bytes,
                struct err *err)
{
    struct files_begin begin = {
        .magic = FILES_BEGIN_MAGIC, .version = FILES_VERSION, .offset = offset, .bytes = bytes};
    files_tell(job->view, st, &begin.stat);
    job->result->stat = begin.stat;
    int r = io_write_full(job->answer, &begin, sizeof begin);
    return r < 0 ? files_failed(err, -r, "begin the answer", NULL) : 0;
}

/* 0, -EAGAIN when what is there is not what was looked at, or -errno. */
static int open_looked_at(const struct files_view *view, const struct files_place *place,
                          int *ret_fd, struct stat *ret_stat)
{
    if (S_ISDIR(place->stat.st_mode))
        return -EISDIR;
    if (!S_ISREG(place->stat.st_mode))
        return -ENOTSUP;
    _cleanup_fd_ int fd = files_open(view, place->dir, place->name, O_RDONLY, 0, 0);
    if (fd == -ELOOP || fd == -ENXIO || fd == -ENOENT)
        return -EAGAIN;
    if (fd < 0)
        return fd;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -EAGAIN;
    *ret_stat = st;
    *ret_fd = take_fd(&fd);
    return 0;
}

int files_open_regular(struct files_job *job, int *ret_fd, struct stat *ret_stat, struct err *err)
{
    const char *path = job->request->path;
    for (unsigned tries = 0; tries < TRIES_MAX; tries++) {
        _cleanup_place_ struct files_place place = FILES_NOWHERE;
        int r = files_resolve(job->view, path, FILES_FOLLOW, &place, err);
        if (r < 0)
            return r;
        r = open_looked_at(job->view, &place, ret_fd, ret_stat);
        if (r != -EAGAIN)
            return r < 0 ? files_failed(err, -r, "read", path) : 0;
    }
    return files_failed(err, EAGAIN, "read what is changed all the time", path);
}

static int send_piece(int from, off_t *at, size_t piece, int to, char *bytes, bool *plain)
{
    if (!*plain) {
        ssize_t n = sendfile(to, from, at, piece);
        if (n >= 0 || (errno != EINVAL && errno != ENOSYS))
            return n < 0 ? -errno : (int)n;
        *plain = true; /* a file system without splice */
    }
    ssize_t n = pread(from, bytes, piece, *at);
    if (n <= 0)
        return n < 0 ? -errno : 0;
    *at += n;
    int r = io_write_full(to, bytes, (size_t)n);
    return r < 0 ? r : (int)n;
}

int files_send(int from, uint64_t offset, uint64_t bytes, int to, uint64_t *ret_sent)
{
    static char buffer[FILES_PIECE];
    off_t at = (off_t)offset;
    bool plain = false;
    uint64_t sent = 0;
    int r = 0;
    while (sent < bytes) {
        size_t piece = bytes - sent < FILES_PIECE ? (size_t)(bytes - sent) : FILES_PIECE;
        r = send_piece(from, &at, piece, to, buffer, &plain);
        if (r == -EINTR)
            continue;
        if (r <= 0)
            break;
        sent += (uint64_t)r;
    }
    *ret_sent = sent;
    return r < 0 ? r : 0;
}

int files_read(struct files_job *job, struct err *err)
{
    const struct files_request *request = job->request;
    _cleanup_fd_ int fd = -1;
    struct stat st = {0};
    int r = files_open_regular(job, &fd, &st, err);
    if (r < 0)
        return r;
    r = files_match(job->view, request->match, &st, request->path, err);
    if (r < 0)
        return r;
    uint64_t size = (uint64_t)st.st_size, offset = request->offset, bytes = request->length;
    if (offset == FILES_FROM_END)
        offset = bytes < size ? size - bytes : 0;
    files_tell(job->view, &st, &job->result->stat);
    if (offset > size || (offset == size && offset > 0 && bytes > 0))
        return files_failed(err, ERANGE, "read", request->path);
    if (bytes > size - offset)
        bytes = size - offset;
    r = files_begin(job, &st, offset, bytes, err);
    if (r < 0)
        return r;
    r = files_send(fd, offset, bytes, job->out, &job->result->bytes);
    if (r < 0)
        return files_failed(err, -r, "read", request->path);
    if (job->result->bytes < bytes)
        return err_set(err, ERR_UNAVAILABLE, ESTALE, "read", request->path,
                       "The file became shorter meanwhile. Read it again.");
    return 0;
}

int files_stat(struct files_job *job, struct err *err)
{
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    int r = files_resolve(job->view, job->request->path, FILES_FOLLOW, &place, err);
    if (r == 0)
        files_tell(job->view, &place.stat, &job->result->stat);
    return r;
}
