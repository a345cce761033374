/* This file makes an archive of a directory here while it is sent; it never follows a link below
 * the place that was named, and never waits for what is no regular file.
 *
 * An archive has a bounded number of headers and bytes (runtime/agent/files_tar.c): what is larger
 * goes as several, one after the other, and the reading of directories goes on between them.
 */
#include "api/cli/cp.h"

#include "runtime/agent/tar.h"
#include "runtime/base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct packer {
    struct cp *cp;
    const char *to;                       /* in the session */
    DIR *level[CP_DEPTH_MAX + 1];         /* that are being read; the deepest last */
    unsigned depth;                       /* how many */
    char path[FILES_PATH_MAX];            /* of the entry, from the top */
    size_t length[CP_DEPTH_MAX + 1], own; /* of it: of each level's directory; all of it */
    char block[TAR_HEADER_MAX];           /* what goes out next, and how much of it has gone */
    size_t block_length, sent;
    int file; /* whose content goes out; -1 */
    uint64_t left;
    size_t padding;
    struct cp_tar_bounds in; /* this archive */
    size_t leaf;             /* of path: the entry's name */
    bool ended, held;        /* the archive; the entry at path goes into the next one */
};

/* Less than a session takes, and for its last file as many bytes again. */
struct cp_tar_bounds cp_tar_up_most = {.headers = 400000, .bytes = UINT64_C(1) << 39};

static int local_fail(struct err *err, int sys, const char *name, const char *what)
{
    return err_set(err, sys == ENOENT ? ERR_NOT_FOUND : ERR_INVALID_REQUEST, sys, "copy", name,
                   "%s", what);
}

static void zeros(struct packer *p, size_t length)
{
    memset(p->block, 0, length);
    p->block_length = length;
    p->sent = 0;
}

static void header(struct packer *p, const struct stat *st)
{
    const struct files_stat stat = {
        .type = S_ISDIR(st->st_mode) ? FILES_DIRECTORY : FILES_FILE,
        .mode = st->st_mode & 0777,
        .size = (uint64_t)st->st_size,
        .modified_ns = st->st_mtim.tv_sec < 0 ? 0
                                              : (uint64_t)st->st_mtim.tv_sec * 1000000000 +
                                                    (uint64_t)st->st_mtim.tv_nsec,
    };
    p->block_length = tar_write(&stat, p->path, "", p->block);
    p->sent = 0;
    p->in.headers += p->block_length > TAR_BLOCK ? 2 : 1; /* one before it, of what has no room */
}

/* The directory `fd`, which is taken, at p->path. */
static int enter(struct packer *p, int fd, struct err *err)
{
    if (p->depth > CP_DEPTH_MAX) {
        fd_close(fd);
        return err_set(err, ERR_TOO_LARGE, 0, "copy", p->path, "At most %d directories deep.",
                       CP_DEPTH_MAX);
    }
    DIR *directory = fdopendir(fd);
    if (!directory) {
        int r = local_fail(err, errno, p->path, "");
        fd_close(fd);
        return r;
    }
    p->length[p->depth] = p->own;
    p->level[p->depth++] = directory;
    p->cp->directories++;
    return 0;
}

/* p->path is the entry's. */
static int take(struct packer *p, int directory, const char *name, struct err *err)
{
    struct stat st;
    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return local_fail(err, errno, p->path, "");
    if (files_holds_a_name(st.st_mode))
        return 0;
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        cp_left_out_in(p->cp, p->to, p->path, S_ISLNK(st.st_mode) ? "a link" : "no regular file");
        return 0;
    }
    /* What became a FIFO since is opened without waiting, and seen. */
    _cleanup_fd_ int fd =
        openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return local_fail(err, errno, p->path, "");
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        cp_left_out_in(p->cp, p->to, p->path, "no regular file");
        return 0;
    }
    header(p, &st);
    if (S_ISDIR(st.st_mode))
        return enter(p, take_fd(&fd), err);
    p->file = take_fd(&fd);
    p->left = (uint64_t)st.st_size;
    p->padding = tar_padding(p->left);
    p->cp->files++;
    p->cp->bytes += p->left;
    p->in.bytes += p->left;
    return 0;
}

static int end(struct packer *p)
{
    zeros(p, 2 * (size_t)TAR_BLOCK);
    p->ended = true;
    return 0;
}

/* The next entry, or the end of the archive. */
static int next(struct packer *p, struct err *err)
{
    if (p->depth == 0)
        return end(p);
    DIR *directory = p->level[p->depth - 1];
    if (p->held) {
        p->held = false;
        return take(p, dirfd(directory), p->path + p->leaf, err);
    }
    size_t at = p->length[p->depth - 1];
    errno = 0;
    const struct dirent *entry = readdir(directory);
    p->path[at] = 0;
    if (!entry && errno)
        return local_fail(err, errno, p->path, "");
    if (!entry) {
        closedir(directory);
        p->depth--;
        return 0;
    }
    size_t n = strlen(entry->d_name);
    if (!cp_name_ok(entry->d_name, n))
        return 0;
    if (at + n + 2 > sizeof p->path)
        return local_fail(err, ENAMETOOLONG, p->path, "");
    if (at > 0)
        p->path[at++] = '/';
    memcpy(p->path + at, entry->d_name, n + 1);
    p->own = at + n;
    p->leaf = at;
    if (p->in.headers < cp_tar_up_most.headers && p->in.bytes < cp_tar_up_most.bytes)
        return take(p, dirfd(directory), p->path + at, err);
    /* No archive is begun for what is passed over. */
    struct stat st;
    p->held = fstatat(dirfd(directory), p->path + at, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
              !files_holds_a_name(st.st_mode);
    return p->held ? end(p) : 0;
}

/* Up to `size` bytes of the file's content. */
static int content(struct packer *p, char *to, size_t size, size_t *ret_length, struct err *err)
{
    ssize_t n = read(p->file, to, p->left < size ? (size_t)p->left : size);
    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        return local_fail(err, n < 0 ? errno : 0, p->path,
                          n < 0 ? "" : "The file became shorter while it was read.");
    *ret_length += (size_t)n;
    p->left -= (uint64_t)n;
    return 0;
}

static int more(void *data, char *to, size_t size, size_t *ret_length, struct err *err)
{
    struct packer *p = data;
    int r = 0;
    *ret_length = 0;
    while (r == 0 && *ret_length < size) {
        size_t room = size - *ret_length, there = p->block_length - p->sent;
        if (there > 0) {
            size_t n = there < room ? there : room;
            memcpy(to + *ret_length, p->block + p->sent, n);
            p->sent += n;
            *ret_length += n;
        } else if (p->file >= 0 && p->left > 0) {
            r = content(p, to + *ret_length, room, ret_length, err);
        } else if (p->file >= 0) {
            fd_replace(&p->file, -1);
            zeros(p, p->padding);
        } else if (p->ended) {
            break;
        } else {
            r = next(p, err);
        }
    }
    return r;
}

int cp_tar_up(struct cp *cp, int fd, const char *path, struct err *err)
{
    _cleanup_free_ struct packer *p = calloc(1, sizeof *p);
    /* With a place of its own in the list of names: that of `fd` may be read once more. */
    int own = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!p || own < 0) {
        fd_close(own);
        return err_set(err, ERR_INTERNAL, p ? errno : ENOMEM, "copy", path, NULL);
    }
    p->cp = cp;
    p->to = path;
    p->file = -1;
    int r = enter(p, own, err);
    do {
        p->ended = false;
        p->in = (struct cp_tar_bounds){0};
        if (r == 0)
            r = cp_remote_unpack(cp, path, -1, more, p, err);
    } while (r == 0 && p->held);
    while (p->depth > 0)
        closedir(p->level[--p->depth]);
    fd_close(p->file);
    return r;
}
