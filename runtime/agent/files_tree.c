/* This file turns a directory into a stream of entries and bytes, berth's own or tar; it never
 * follows a symbolic link beneath the directory.
 *
 * A stream holds files, directories and symbolic links. Devices, FIFOs, sockets and what the
 * session's user may not read are left out, counted, and the first ones named. Names come in the
 * order of the directory.
 */
#include "runtime/agent/files_internal.h"
#include "runtime/agent/tar.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One descriptor is open per level. */
enum { DEPTH_MAX = 512 };

struct reader {
    struct files_job *job;
    bool tar;
    char path[FILES_PATH_MAX];
    size_t length;
    unsigned depth;
    uint64_t named; /* of what was left out */
};

/* Counted, and the first ones named: as many as there is room for. */
static void leave_out(struct reader *t)
{
    struct files_result *result = t->job->result;
    size_t room = sizeof result->left_out - result->left_out_length;
    bool first = result->skipped == t->named;
    result->skipped++;
    if (!first || t->length + 1 > room)
        return;
    memcpy(result->left_out + result->left_out_length, t->path, t->length);
    result->left_out_length += (uint32_t)t->length;
    result->left_out[result->left_out_length++] = 0;
    t->named++;
}

static int send_entry(struct reader *t, const struct stat *st, uint64_t size, const char *text)
{
    static char piece[TAR_HEADER_MAX];
    _Static_assert(sizeof piece >= sizeof(struct files_entry) + FILES_PATH_MAX, "either fits");
    struct files_entry entry = {.magic = FILES_MAGIC, .path_length = (uint32_t)t->length};
    files_tell(t->job->view, st, &entry.stat);
    entry.stat.size = size;
    t->job->result->entries++;
    if (t->tar)
        return io_write_full(t->job->out, piece,
                             tar_write(&entry.stat, t->path, text ? text : "", piece));
    memcpy(piece, &entry, sizeof entry);
    memcpy(piece + sizeof entry, t->path, t->length);
    int r = io_write_full(t->job->out, piece, sizeof entry + t->length);
    return r == 0 && text ? io_write_full(t->job->out, text, (size_t)size) : r;
}

static int send_padding(const struct reader *t, uint64_t size)
{
    static const char zeros[TAR_BLOCK];
    return t->tar ? io_write_full(t->job->out, zeros, tar_padding(size)) : 0;
}

/* A tar ends with two blocks of zeros. */
static int send_end(const struct reader *t)
{
    static const char zeros[2 * TAR_BLOCK];
    const struct files_entry end = {.magic = FILES_MAGIC, .stat.type = FILES_END};
    return t->tar ? io_write_full(t->job->out, zeros, sizeof zeros)
                  : io_write_full(t->job->out, &end, sizeof end);
}

static int read_link(struct reader *t, int dir, const char *name, const struct stat *st)
{
    char text[FILES_PATH_MAX];
    ssize_t n = readlinkat(dir, name, text, sizeof text);
    if (n <= 0 || (size_t)n == sizeof text) {
        leave_out(t);
        return 0;
    }
    text[n] = 0;
    return send_entry(t, st, (uint64_t)n, text);
}

static int read_file(struct reader *t, int dir, const char *name, struct err *err)
{
    struct stat st;
    uint64_t sent = 0;
    _cleanup_fd_ int fd = files_open(t->job->view, dir, name, O_RDONLY, 0, 0);
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return files_failed(err, -fd, "read", t->path);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        leave_out(t);
        return 0;
    }
    int r = send_entry(t, &st, (uint64_t)st.st_size, NULL);
    if (r == 0)
        r = files_send(fd, 0, (uint64_t)st.st_size, t->job->out, &sent);
    if (r < 0)
        return files_failed(err, -r, "read", t->path);
    t->job->result->bytes += sent;
    if (sent < (uint64_t)st.st_size)
        return err_set(err, ERR_UNAVAILABLE, ESTALE, "read", t->path,
                       "The file became shorter meanwhile. Copy it again.");
    r = send_padding(t, sent);
    return r < 0 ? files_failed(err, -r, "read", t->path) : 0;
}

static int read_directory(struct reader *t, int dir, struct err *err);

static int read_below(struct reader *t, int dir, dev_t device, const char *name,
                      const struct stat *st, struct err *err)
{
    _cleanup_fd_ int fd = files_open(t->job->view, dir, name, O_RDONLY | O_DIRECTORY, 0, device);
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return files_failed(err, -fd, "read", t->path);
    if (fd < 0 || t->depth == DEPTH_MAX) {
        leave_out(t);
        return 0;
    }
    int r = send_entry(t, st, 0, NULL);
    if (r < 0)
        return files_failed(err, -r, "read", t->path);
    t->depth++;
    r = read_directory(t, take_fd(&fd), err);
    t->depth--;
    return r;
}

static int read_name(struct reader *t, int dir, dev_t device, const char *name, struct err *err)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return 0; /* it was removed meanwhile */
    if (S_ISDIR(st.st_mode))
        return read_below(t, dir, device, name, &st, err);
    if (S_ISREG(st.st_mode))
        return read_file(t, dir, name, err);
    if (files_holds_a_name(st.st_mode))
        return 0;
    if (!S_ISLNK(st.st_mode)) {
        leave_out(t);
        return 0;
    }
    int r = read_link(t, dir, name, &st);
    return r < 0 ? files_failed(err, -r, "read", t->path) : 0;
}

/* Takes `dir`. */
static int read_directory(struct reader *t, int dir, struct err *err)
{
    struct stat st;
    size_t length = t->length;
    DIR *stream = fstat(dir, &st) < 0 ? NULL : fdopendir(dir);
    if (!stream) {
        fd_close(dir);
        return files_failed(err, errno, "read", t->path);
    }
    const struct dirent *e;
    int r = 0;
    while (r == 0) {
        errno = 0;
        e = readdir(stream); /* NOLINT(concurrency-mt-unsafe): one thread, own stream */
        if (!e) {
            r = errno ? files_failed(err, errno, "read", t->path) : 0;
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
            files_temporary_is(e->d_name)) /* somebody's half-written file */
            continue;
        size_t n = (size_t)snprintf(t->path + length, sizeof t->path - length, "%s%s",
                                    length ? "/" : "", e->d_name);
        if (n >= sizeof t->path - length) {
            leave_out(t);
            continue;
        }
        t->length = length + n;
        r = read_name(t, dir, st.st_dev, e->d_name, err);
    }
    closedir(stream);
    t->length = length;
    t->path[length] = 0;
    return r;
}

static int read_tree(struct files_job *job, bool tar, struct err *err)
{
    const char *path = job->request->path;
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    int r = files_resolve(job->view, path, FILES_FOLLOW, &place, err);
    if (r < 0)
        return r;
    if (!S_ISDIR(place.stat.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, "read the tree", path,
                       "It is not a directory.");
    _cleanup_fd_ int dir =
        files_open(job->view, place.name[0] ? place.dir : place.fd,
                   place.name[0] ? place.name : ".", O_RDONLY | O_DIRECTORY, 0, place.stat.st_dev);
    if (dir < 0)
        return files_failed(err, -dir, "read the tree", path);
    r = files_begin(job, &place.stat, 0, UINT64_MAX, err);
    struct reader t = {.job = job, .tar = tar};
    if (r == 0)
        r = read_directory(&t, take_fd(&dir), err);
    if (r < 0)
        return r;
    r = send_end(&t);
    return r < 0 ? files_failed(err, -r, "read the tree", path) : 0;
}

int files_tree_read(struct files_job *job, struct err *err)
{
    return read_tree(job, false, err);
}

int files_tar_read(struct files_job *job, struct err *err)
{
    return read_tree(job, true, err);
}
