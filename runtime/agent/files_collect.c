/* This file tells what a session leaves in a directory: its regular files, sorted, with their
 * hashes, all of them or none; it changes nothing and follows no link.
 *
 * The programs of the session go on meanwhile. So names, number and sizes are looked at first and
 * bound what is read; then each file is opened again, must be the one that was looked at, and must
 * still be it (size, both times) when its last byte was hashed. What else is there is left out and
 * told; a name that is not safe elsewhere refuses the whole.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/sha256.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char step_name[] = "collect";

struct found {
    char *path; /* owned */
    struct stat stat;
};

struct collection {
    struct files_job *job;
    char path[FILES_PATH_MAX]; /* of the directory that is read, or of an entry */
    unsigned depth, entries, files, left_out;
    uint64_t bytes;
    struct found found[FILES_OUTPUTS_MAX];
    struct found other[FILES_LEFT_OUT_MAX];
};

static int refuse(struct collection *c, enum err_code code, const char *what, struct err *err)
{
    return err_set(err, code, 0, step_name, c->path[0] ? c->path : c->job->request->path,
                   "%s. Nothing is collected.", what);
}

static int keep(struct found *to, const char *path, const struct stat *st)
{
    to->path = strdup(path);
    to->stat = *st;
    return to->path ? 0 : -ENOMEM;
}

/* ---- looking --------------------------------------------------------------------------------- */

static int add_file(struct collection *c, const struct stat *st, struct err *err)
{
    if (c->files == FILES_OUTPUTS_MAX)
        return refuse(c, ERR_TOO_LARGE, "There are more than 100 files", err);
    if (st->st_size > FILES_OUTPUT_BYTES_MAX)
        return refuse(c, ERR_TOO_LARGE, "It is larger than 25 MiB", err);
    c->bytes += (uint64_t)st->st_size;
    if (c->bytes > FILES_OUTPUTS_BYTES_MAX)
        return refuse(c, ERR_TOO_LARGE, "With it there are more than 100 MiB", err);
    int r = keep(&c->found[c->files], c->path, st);
    c->files += r == 0;
    return r < 0 ? files_failed(err, -r, step_name, c->path) : 0;
}

static int leave_out(struct collection *c, const struct stat *st, struct err *err)
{
    int r = c->left_out < FILES_LEFT_OUT_MAX ? keep(&c->other[c->left_out], c->path, st) : 0;
    c->left_out += r == 0;
    return r < 0 ? files_failed(err, -r, step_name, c->path) : 0;
}

static int look_into(struct collection *c, int dir, struct err *err);

static int look_at(struct collection *c, int dir, dev_t device, const char *name, struct err *err)
{
    struct stat st;
    const char *wrong = files_safe_path_check(c->path, strlen(c->path));
    if (wrong)
        return refuse(c, ERR_INVALID_REQUEST, wrong, err);
    if (++c->entries > FILES_OUTPUTS_ENTRIES_MAX)
        return refuse(c, ERR_TOO_LARGE, "There are more than 10000 entries", err);
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return errno == ENOENT ? 0 : files_failed(err, errno, step_name, c->path);
    if (S_ISREG(st.st_mode))
        return add_file(c, &st, err);
    if (files_holds_a_name(st.st_mode))
        return 0;
    if (!S_ISDIR(st.st_mode))
        return leave_out(c, &st, err);
    if (c->depth == FILES_OUTPUTS_DEPTH_MAX)
        return refuse(c, ERR_TOO_LARGE, "It is deeper than 32 directories", err);
    int fd = files_open(c->job->view, dir, name, O_RDONLY | O_DIRECTORY, 0, device);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
        return refuse(c, ERR_UNAVAILABLE, "It was changed while it was looked at. Try again", err);
    if (fd < 0)
        return files_failed(err, -fd, step_name, c->path);
    c->depth++;
    int r = look_into(c, fd, err);
    c->depth--;
    return r;
}

/* Takes `dir`. */
static int look_into(struct collection *c, int dir, struct err *err)
{
    struct stat st;
    size_t length = strlen(c->path);
    DIR *stream = fstat(dir, &st) < 0 ? NULL : fdopendir(dir);
    if (!stream) {
        fd_close(dir);
        return files_failed(err, errno, step_name, c->path);
    }
    int r = 0;
    while (r == 0) {
        errno = 0;
        const struct dirent *e = readdir(stream); /* NOLINT(concurrency-mt-unsafe): own stream */
        if (!e) {
            r = errno ? files_failed(err, errno, step_name, c->path) : 0;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            files_temporary_is(e->d_name)) /* somebody's half-written file */
            continue;
        size_t n = (size_t)snprintf(c->path + length, sizeof c->path - length, "%s%s",
                                    length ? "/" : "", e->d_name);
        r = n >= sizeof c->path - length
                ? refuse(c, ERR_INVALID_REQUEST, "Its path is too long", err)
                : look_at(c, dir, st.st_dev, e->d_name, err);
        if (r == 0)
            c->path[length] = 0;
    }
    closedir(stream);
    return r;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Down from the top by `path`, of which no part may be a link. */
static int open_again(struct collection *c, int top, const char *path)
{
    char name[FILES_NAME_MAX];
    _cleanup_fd_ int dir = fcntl(top, F_DUPFD_CLOEXEC, 3);
    struct stat st;
    for (;;) {
        size_t n = strcspn(path, "/");
        memcpy(name, path, n); /* a part was a name */
        name[n] = 0;
        if (dir < 0 || fstat(dir, &st) < 0)
            return -errno;
        if (!path[n])
            return files_open(c->job->view, dir, name, O_RDONLY, 0, 0);
        int fd = files_open(c->job->view, dir, name, O_PATH | O_DIRECTORY, 0, st.st_dev);
        if (fd < 0)
            return fd;
        fd_replace(&dir, fd);
        path += n + 1;
    }
}

static bool same(const struct stat *a, const struct stat *b)
{
    return S_ISREG(b->st_mode) && a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
           a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
           a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* 0; -ESTALE: it is another by now, or became one while it was read. */
static int hash_file(int fd, const struct stat *looked_at, char ret_hex[65])
{
    static char buffer[FILES_PIECE];
    struct sha256 hash;
    struct stat st;
    off_t size = looked_at->st_size, at = 0;
    sha256_init(&hash);
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!same(looked_at, &st))
        return -ESTALE;
    while (at < size) {
        size_t piece = size - at < FILES_PIECE ? (size_t)(size - at) : FILES_PIECE;
        ssize_t n = read(fd, buffer, piece);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ESTALE;
        sha256_update(&hash, buffer, (size_t)n);
        at += n;
    }
    if (fstat(fd, &st) < 0)
        return -errno;
    sha256_final_hex(&hash, ret_hex);
    return same(looked_at, &st) ? 0 : -ESTALE;
}

static int send_record(struct collection *c, const struct found *found, const char *hex)
{
    static char piece[sizeof(struct files_output) + FILES_PATH_MAX];
    size_t length = strlen(found->path);
    struct files_output record = {.magic = FILES_MAGIC, .path_length = (uint32_t)length};
    files_tell(c->job->view, &found->stat, &record.stat);
    snprintf(record.sha256, sizeof record.sha256, "%s", hex);
    memcpy(piece, &record, sizeof record);
    memcpy(piece + sizeof record, found->path, length);
    return io_write_full(c->job->out, piece, sizeof record + length);
}

static int read_file(struct collection *c, int top, const struct found *found, struct err *err)
{
    char hex[65];
    _cleanup_fd_ int fd = open_again(c, top, found->path);
    int r = fd < 0 ? fd : hash_file(fd, &found->stat, hex);
    snprintf(c->path, sizeof c->path, "%s", found->path);
    if (r == -ESTALE || r == -ENOENT || r == -ELOOP || r == -ENXIO || r == -ENOTDIR)
        return refuse(c, ERR_UNAVAILABLE, "It was changed while it was read. Try again", err);
    if (r == 0)
        r = send_record(c, found, hex);
    if (r < 0)
        return files_failed(err, -r, step_name, found->path);
    c->job->result->entries++;
    c->job->result->bytes += (uint64_t)found->stat.st_size;
    return 0;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->path, ((const struct found *)b)->path);
}

static int read_all(struct collection *c, int top, struct err *err)
{
    unsigned told = c->left_out < FILES_LEFT_OUT_MAX ? c->left_out : FILES_LEFT_OUT_MAX;
    int r = 0;
    qsort(c->found, c->files, sizeof c->found[0], by_path);
    qsort(c->other, told, sizeof c->other[0], by_path);
    for (unsigned i = 0; r == 0 && i < c->files; i++)
        r = read_file(c, top, &c->found[i], err);
    for (unsigned i = 0; r == 0 && i < told; i++) {
        r = send_record(c, &c->other[i], "");
        if (r < 0)
            files_failed(err, -r, step_name, c->other[i].path);
    }
    c->job->result->skipped = c->left_out;
    return r;
}

int files_collect(struct files_job *job, struct err *err)
{
    static struct collection c; /* one request per process; too large for a stack */
    const char *path = job->request->path;
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    int r = files_resolve(job->view, path, FILES_FOLLOW, &place, err);
    if (r < 0)
        return r;
    if (!S_ISDIR(place.stat.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, step_name, path, "It is no directory.");
    _cleanup_fd_ int top =
        files_open(job->view, place.name[0] ? place.dir : place.fd,
                   place.name[0] ? place.name : ".", O_RDONLY | O_DIRECTORY, 0, place.stat.st_dev);
    if (top < 0)
        return files_failed(err, -top, step_name, path);
    memset(&c, 0, sizeof c);
    c.job = job;
    r = files_begin(job, &place.stat, 0, UINT64_MAX, err);
    int fd = r == 0 ? fcntl(top, F_DUPFD_CLOEXEC, 3) : -1;
    if (r == 0)
        r = fd < 0 ? files_failed(err, errno, step_name, path) : look_into(&c, fd, err);
    if (r == 0)
        r = read_all(&c, top, err);
    for (unsigned i = 0; i < FILES_OUTPUTS_MAX; i++)
        free(c.found[i].path);
    for (unsigned i = 0; i < FILES_LEFT_OUT_MAX; i++)
        free(c.other[i].path);
    return r;
}
