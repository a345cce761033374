/* This file unpacks the archive of a session's directory here; it never trusts what the session
 * says: a path is made of names beneath the place that was named, each part is entered without
 * following a link, links and special files are left out, bits of 07000 are dropped, and a file has
 * its name when it is whole.
 */
#include "api/cli/cp.h"

#include "runtime/agent/tar.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct unpacker {
    struct cp *cp;
    const char *from; /* in the session */
    struct client_stream *stream;
    const char *piece; /* of the answer, as much as was not used */
    size_t length;
    int top, parent; /* where entries are made; the last parent, which may be the top */
    char parent_path[FILES_PATH_MAX];
    struct tar_reader reader;
    struct tar_entry entry;
    char extension[TAR_EXTENSION_MAX + TAR_BLOCK];
};

static int malformed(struct unpacker *u, const char *wrong, struct err *err)
{
    return err_set(err, ERR_INVALID_REQUEST, EBADMSG, "copy",
                   u->entry.path[0] ? u->entry.path : u->from,
                   "The session sends what cannot be: %s. What came before it was copied.", wrong);
}

static int local_fail(struct err *err, int sys, const char *name, const char *what)
{
    return err_set(err,
                   sys == ENOSPC || sys == EDQUOT ? ERR_INSUFFICIENT_STORAGE : ERR_INVALID_REQUEST,
                   sys, "copy to", name, "%s", what);
}

/* At least a byte in `piece`; CLIENT_STREAM_END: there are no more. */
static int fill(struct unpacker *u, struct err *err)
{
    return u->length > 0 ? 0 : client_stream_wait(u->stream, &u->piece, &u->length, err);
}

static int take(struct unpacker *u, void *to, size_t length, struct err *err)
{
    for (size_t at = 0; at < length;) {
        int r = fill(u, err);
        if (r < 0)
            return r;
        if (r == CLIENT_STREAM_END)
            return malformed(u, "the archive ends before its end", err);
        size_t n = length - at < u->length ? length - at : u->length;
        memcpy((char *)to + at, u->piece, n);
        u->piece += n;
        u->length -= n;
        at += n;
    }
    return 0;
}

static int content(struct unpacker *u, int fd, uint64_t size, struct err *err)
{
    while (size > 0) {
        int r = fill(u, err);
        if (r < 0)
            return r;
        if (r == CLIENT_STREAM_END)
            return malformed(u, "a file ends before its end", err);
        size_t n = size < u->length ? (size_t)size : u->length;
        r = fd < 0 ? 0 : io_write_full(fd, u->piece, n);
        if (r < 0)
            return local_fail(err, -r, u->entry.path, "");
        u->piece += n;
        u->length -= n;
        size -= n;
    }
    return 0;
}

/* ---- where it goes --------------------------------------------------------------------------- */

/* u->parent becomes the directory of the entry; *ret_name its last part. Each part was seen as a
 * directory before, or the session makes things up. */
static int find_parent(struct unpacker *u, const char **ret_name, struct err *err)
{
    char path[FILES_PATH_MAX];
    unsigned depth = 0;
    memcpy(path, u->entry.path, sizeof path);
    char *slash = strrchr(path, '/');
    *ret_name = u->entry.path + (slash ? slash + 1 - path : 0);
    if (slash)
        *slash = 0;
    else
        path[0] = 0;
    if (u->parent >= 0 && strcmp(path, u->parent_path) == 0)
        return 0;
    fd_replace(&u->parent, -1);
    _cleanup_fd_ int at = fcntl(u->top, F_DUPFD_CLOEXEC, 3);
    for (char *part = path, *next; at >= 0 && *part; part = next) {
        size_t n = strcspn(part, "/");
        next = part + n + (part[n] == '/');
        char kept = part[n];
        part[n] = 0;
        if (++depth > CP_DEPTH_MAX)
            return err_set(err, ERR_TOO_LARGE, 0, "copy", u->entry.path,
                           "At most %d directories deep.", CP_DEPTH_MAX);
        fd_replace(&at, openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        part[n] = kept;
    }
    if (at < 0)
        return local_fail(err, errno, u->entry.path,
                          "What it stands in is no directory here, and a link is not followed.");
    u->parent = take_fd(&at);
    memcpy(u->parent_path, path, sizeof u->parent_path);
    return 0;
}

/* A directory that is there is used, when it is one and no link to one. */
static int make_directory(struct unpacker *u, const char *name, struct err *err)
{
    int r = cp_room(u->cp, u->entry.path, 1, 0, err);
    if (r < 0)
        return r;
    bool made = mkdirat(u->parent, name, 0700) == 0;
    if (!made && errno != EEXIST)
        return local_fail(err, errno, u->entry.path, "");
    _cleanup_fd_ int fd = openat(u->parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return local_fail(err, errno, u->entry.path,
                          "There is something else of this name, and a link is not followed.");
    /* Its owner must be able to remove what comes into it. */
    if (made && fchmod(fd, (u->entry.mode & 0777 & ~u->cp->mask) | 0700) < 0)
        return local_fail(err, errno, u->entry.path, "");
    u->cp->directories++;
    return 0;
}

static int fill_file(void *data, int fd, struct cp_file *ret, struct err *err)
{
    struct unpacker *u = data;
    int r = cp_room(u->cp, u->entry.path, 0, u->entry.size, err);
    if (r == 0)
        r = content(u, fd, u->entry.size, err);
    ret->mode = u->entry.mode;
    ret->has_time = true;
    ret->modified =
        (struct timespec){.tv_sec = u->entry.modified, .tv_nsec = (long)u->entry.modified_nsec};
    u->cp->bytes += u->entry.size;
    return r;
}

static int make(struct unpacker *u, struct err *err)
{
    const struct tar_entry *entry = &u->entry;
    char padding[TAR_BLOCK];
    const char *name;
    if (entry->path[0] == 0)
        return 0; /* the place itself, which is there */
    if (entry->type == TAR_HARDLINK)
        return malformed(u, "berth sends no hard links", err);
    if (entry->type == TAR_SYMLINK) {
        cp_left_out_in(u->cp, u->from, entry->path, "a link");
        return 0;
    }
    int r = find_parent(u, &name, err);
    if (r == 0 && entry->type == TAR_DIRECTORY)
        return make_directory(u, name, err);
    if (r == 0)
        r = cp_down_new(u->cp, u->parent, name, fill_file, u, err);
    return r < 0 ? r : take(u, padding, tar_padding(entry->size), err);
}

/* ---- the archive ----------------------------------------------------------------------------- */

enum { ARCHIVE_ENDS = 1 };

static const char more_behind[] = "there is more behind its end";

static bool is_zero(const void *data, size_t length)
{
    const char *bytes = data;
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

static int next(struct unpacker *u, struct err *err)
{
    unsigned char block[TAR_BLOCK];
    const char *wrong = NULL;
    int r = take(u, block, sizeof block, err);
    if (r < 0)
        return r;
    r = tar_read(&u->reader, block, &u->entry, &wrong);
    if (r < 0)
        return malformed(u, wrong, err);
    if (r == TAR_ZERO) {
        r = take(u, block, sizeof block, err);
        if (r < 0)
            return r;
        return is_zero(block, sizeof block) ? ARCHIVE_ENDS : malformed(u, more_behind, err);
    }
    if (r == TAR_ENTRY)
        return make(u, err);
    size_t size = (size_t)u->entry.size;
    r = take(u, u->extension, size + tar_padding(size), err);
    if (r == 0 && tar_extend(&u->reader, u->extension, size, &wrong) < 0)
        return malformed(u, wrong, err);
    return r;
}

/* "a%20b, c". */
void cp_tar_left_out(struct cp *cp, const char *path, const struct client_left_out *out)
{
    uint64_t named = 0;
    for (const char *at = out->names; *at && named < out->count; named++) {
        _cleanup_buf_ struct buf name = {0};
        for (; *at && *at != ','; at++) {
            char hex[3] = {0};
            if (at[0] == '%' && at[1] && at[2]) {
                memcpy(hex, at + 1, 2);
                at += 2;
                buf_putc(&name, (char)strtoul(hex, NULL, 16));
            } else
                buf_putc(&name, *at);
        }
        at += strspn(at, ", ");
        cp_left_out_in(cp, path, buf_text(&name), "no regular file, or its user may not read it");
    }
    if (named < out->count) {
        cp_left_out(cp, path, "more of it, too much to be named");
        cp->left_out += out->count - named - 1;
    }
}

int cp_tar_down(struct cp *cp, const char *path, int directory, struct err *err)
{
    _cleanup_free_ struct unpacker *u = calloc(1, sizeof *u);
    if (!u)
        return err_set(err, ERR_INTERNAL, ENOMEM, "copy", path, NULL);
    u->cp = cp;
    u->from = path;
    u->top = directory;
    u->parent = -1;
    cp->directories++;
    int r = cp_remote_pack(cp, path, &u->stream, err);
    while (r == 0)
        r = next(u, err);
    /* The rest is zeros, and the last chunk says that the archive is whole. */
    for (uint64_t behind = 0; r == ARCHIVE_ENDS;) {
        int more = fill(u, err);
        const bool zeros = is_zero(u->piece, u->length);
        behind += u->length;
        u->length = 0;
        if (more < 0)
            r = more;
        else if (!zeros)
            r = malformed(u, more_behind, err);
        else if (behind > CP_BEHIND_MAX)
            r = malformed(u, "its end has no end", err);
        else if (more == CLIENT_STREAM_END)
            break;
    }
    if (r == ARCHIVE_ENDS)
        cp_tar_left_out(cp, path, client_stream_left_out(u->stream));
    fd_close(u->parent);
    client_stream_free(u->stream);
    return r < 0 ? r : 0;
}
