/* This file turns a directory into a stream of entries and bytes, and such a stream into a
 * directory; it never follows a symbolic link beneath the directory, neither one that was there nor
 * one that came in the stream.
 *
 * A stream holds files, directories and symbolic links. Devices, FIFOs, sockets and what the
 * session's user may not read are left out and counted. Names come in the order of the directory.
 * Each file is written as a whole or not at all; the tree is not: an error leaves what came before.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* One descriptor is open per level. */
enum { DEPTH_MAX = 512 };

/* ---- out ------------------------------------------------------------------------------------- */

struct reader {
    struct files_job *job;
    char path[FILES_PATH_MAX];
    size_t length;
    unsigned depth;
};

static int send_entry(struct reader *t, const struct stat *st, uint64_t size, const char *text)
{
    char piece[sizeof(struct files_entry) + FILES_PATH_MAX];
    struct files_entry entry = {.magic = FILES_MAGIC, .path_length = (uint32_t)t->length};
    files_tell(t->job->view, st, &entry.stat);
    entry.stat.size = size;
    memcpy(piece, &entry, sizeof entry);
    memcpy(piece + sizeof entry, t->path, t->length);
    int r = io_write_full(t->job->out, piece, sizeof entry + t->length);
    return r == 0 && text ? io_write_full(t->job->out, text, (size_t)size) : r;
}

static int read_link(struct reader *t, int dir, const char *name, const struct stat *st)
{
    char text[FILES_PATH_MAX];
    ssize_t n = readlinkat(dir, name, text, sizeof text);
    if (n <= 0 || (size_t)n == sizeof text) {
        t->job->result->skipped++;
        return 0;
    }
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
        t->job->result->skipped++;
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
    return 0;
}

static int read_directory(struct reader *t, int dir, struct err *err);

static int read_below(struct reader *t, int dir, dev_t device, const char *name,
                      const struct stat *st, struct err *err)
{
    _cleanup_fd_ int fd = files_open(t->job->view, dir, name, O_RDONLY | O_DIRECTORY, 0, device);
    if (fd == -EMFILE || fd == -ENFILE || fd == -ENOMEM)
        return files_failed(err, -fd, "read", t->path);
    if (fd < 0 || t->depth == DEPTH_MAX) {
        t->job->result->skipped++;
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
    if (!S_ISLNK(st.st_mode)) {
        t->job->result->skipped++;
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
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        size_t n = (size_t)snprintf(t->path + length, sizeof t->path - length, "%s%s",
                                    length ? "/" : "", e->d_name);
        if (n >= sizeof t->path - length) {
            t->job->result->skipped++;
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

int files_tree_read(struct files_job *job, struct err *err)
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
    struct reader t = {.job = job};
    if (r == 0)
        r = read_directory(&t, take_fd(&dir), err);
    if (r < 0)
        return r;
    struct files_entry end = {.magic = FILES_MAGIC, .stat.type = FILES_END};
    r = io_write_full(job->out, &end, sizeof end);
    return r < 0 ? files_failed(err, -r, "read the tree", path) : 0;
}

/* ---- in -------------------------------------------------------------------------------------- */

struct writer {
    struct files_job *job;
    const struct files_place *base; /* dir: the directory that is filled */
    uint64_t most;
    char path[FILES_PATH_MAX]; /* of the entry */
    struct files_place parent; /* of the last entry: the next is often beside it */
    char parent_path[FILES_PATH_MAX];
};

static int go_to(struct writer *t, const char *name)
{
    struct files_place *p = &t->parent;
    struct stat above;
    if (fstat(p->dir, &above) < 0)
        return -errno;
    for (int tries = 0; tries < 2; tries++) {
        int fd = files_open(t->job->view, p->dir, name, O_PATH | O_DIRECTORY, 0, above.st_dev);
        if (fd >= 0) {
            snprintf(p->name, sizeof p->name, "%s", name);
            fd_replace(&p->fd, fd);
            return files_enter(p);
        }
        if (fd != -ENOENT)
            return fd;
        fd = files_may_change(t->job->view, p, name, false, NULL);
        if (fd < 0)
            return fd;
        if (mkdirat(p->dir, name, FILES_MODE_MADE) < 0 && errno != EEXIST)
            return -errno;
    }
    return -ENOENT;
}

/* t->parent becomes the directory of t->path, without a link on the way. *ret_name is the rest. */
static int find_parent(struct writer *t, const char **ret_name)
{
    struct files_place *p = &t->parent;
    const char *slash = strrchr(t->path, '/');
    size_t length = slash ? (size_t)(slash - t->path) : 0;
    *ret_name = slash ? slash + 1 : t->path;
    if (p->dir >= 0 && strlen(t->parent_path) == length &&
        memcmp(t->parent_path, t->path, length) == 0)
        return 0;
    fd_replace(&p->dir, fcntl(t->base->dir, F_DUPFD_CLOEXEC, 3));
    if (p->dir < 0)
        return -errno;
    memcpy(p->text, t->base->text, sizeof p->text);
    int r = 0;
    for (size_t at = 0; r == 0 && at < length;) {
        char name[FILES_NAME_MAX];
        size_t n = strcspn(t->path + at, "/");
        memcpy(name, t->path + at, n); /* an entry's path has parts that fit */
        name[n] = 0;
        r = go_to(t, name);
        at += n + 1;
    }
    if (r < 0) {
        fd_replace(&p->dir, -1);
        return r;
    }
    memcpy(t->parent_path, t->path, length);
    t->parent_path[length] = 0;
    return 0;
}

static int write_directory(struct writer *t, const char *name, uint32_t mode)
{
    struct stat st;
    /* With less the rest of the stream could not be written into it. */
    if (mkdirat(t->parent.dir, name, mode | 0700u) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if (fstatat(t->parent.dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int write_link(struct writer *t, const char *name, uint64_t size)
{
    char text[FILES_PATH_MAX], temporary[64];
    int dir = t->parent.dir;
    ssize_t n = io_read_full(t->job->in, text, (size_t)size);
    if (n < 0)
        return (int)n;
    if ((uint64_t)n < size || n == 0 || memchr(text, 0, (size_t)n))
        return -EPROTO;
    text[n] = 0;
    if (symlinkat(text, dir, name) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    int r = id_random(".berth-write-", temporary, sizeof temporary);
    if (r < 0)
        return r;
    if (symlinkat(text, dir, temporary) < 0)
        return -errno;
    if (renameat(dir, temporary, dir, name) == 0)
        return 0;
    r = -errno;
    unlinkat(dir, temporary, 0);
    return r;
}

static int malformed(const char *path, const char *wrong, struct err *err)
{
    return err_set(err, ERR_INVALID_REQUEST, EPROTO, "write the tree", path,
                   "The stream is malformed: %s. What came before it was written.", wrong);
}

static int write_file(struct writer *t, const char *name, const struct files_stat *stat,
                      struct err *err)
{
    struct stat st;
    uint64_t written = 0;
    struct files_content content = {.path = t->path,
                                    .in = t->job->in,
                                    .bytes = stat->size,
                                    .most = t->most - t->job->result->bytes,
                                    .mode = stat->mode};
    if (stat->size > content.most)
        return err_set(err, ERR_TOO_LARGE, EFBIG, "write the tree", t->path,
                       "With it more than %llu bytes would come. What came before it was written.",
                       (unsigned long long)t->most);
    int r = files_replace(t->job->view, &t->parent, name, &content, &written, &st, err);
    t->job->result->bytes += written;
    return r;
}

static int write_entry(struct writer *t, const struct files_stat *stat, struct err *err)
{
    const char *name;
    int r = find_parent(t, &name);
    if (r < 0)
        return files_failed(err, -r, "write the tree", t->path);
    if (stat->type == FILES_FILE)
        return write_file(t, name, stat, err);
    r = files_may_change(t->job->view, &t->parent, name, false, err);
    if (r < 0)
        return r;
    r = stat->type == FILES_DIRECTORY ? write_directory(t, name, stat->mode)
                                      : write_link(t, name, stat->size);
    if (r == -EPROTO)
        return malformed(t->path, "a symbolic link says nothing, or the stream ends in it", err);
    return r < 0 ? files_failed(err, -r, "write the tree", t->path) : 0;
}

enum { TREE_ENDS = 1 };

static int next_entry(struct writer *t, struct err *err)
{
    struct files_entry entry;
    ssize_t n = io_read_full(t->job->in, &entry, sizeof entry);
    if (n < 0)
        return files_failed(err, (int)-n, "read what is to be written", t->job->request->path);
    if ((size_t)n < sizeof entry)
        return malformed(t->path, "it ends before its end", err);
    const char *wrong = files_entry_check(&entry);
    if (wrong)
        return malformed(t->path, wrong, err);
    if (entry.stat.type == FILES_END)
        return TREE_ENDS;
    n = io_read_full(t->job->in, t->path, entry.path_length);
    if (n != (ssize_t)entry.path_length)
        return malformed(NULL, "it ends in a name", err);
    t->path[n] = 0;
    wrong = files_entry_path_check(t->path, (size_t)n);
    if (!wrong && entry.stat.type == FILES_OTHER)
        wrong = "it has an entry that is neither file, directory nor symbolic link";
    if (!wrong && entry.stat.type == FILES_DIRECTORY && entry.stat.size)
        wrong = "a directory has no bytes of its own";
    return wrong ? malformed(t->path, wrong, err) : write_entry(t, &entry.stat, err);
}

/* The directory at the request's path, made when it is not there. */
static int make_base(struct files_job *job, struct files_place *ret, struct err *err)
{
    const char *path = job->request->path;
    int r = files_mkdir(job, err);
    if (r == 0)
        r = files_resolve(job->view, path, FILES_FOLLOW, ret, err);
    if (r == 0 && !S_ISDIR(ret->stat.st_mode))
        r = -ENOTDIR;
    if (r == 0)
        r = files_enter(ret);
    return r == 0 || (err && err->code) ? r : files_failed(err, -r, "write the tree", path);
}

int files_tree_write(struct files_job *job, struct err *err)
{
    _cleanup_place_ struct files_place base = FILES_NOWHERE;
    int r = make_base(job, &base, err);
    if (r < 0)
        return r;
    struct writer t = {.job = job,
                       .base = &base,
                       .most = job->request->size_max ? job->request->size_max : UINT64_MAX,
                       .parent = FILES_NOWHERE};
    while (r == 0)
        r = next_entry(&t, err);
    files_place_fini(&t.parent);
    return r < 0 ? r : 0;
}
