/* This file writes a file whole or not at all: a reader sees the old one or the new one (FS-3); it
 * never changes a file in place and never sets a bit of 07000.
 *
 * The new content goes to a private name in the same directory and is renamed into its place; where
 * its parents are missing, in the last directory that is there: they are made when all of it has
 * come, so that what is refused makes nothing, and nothing has to be taken away. So
 * the result has one name (other hard links keep the old content) and belongs to the session's
 * user. It is written back when the kernel does so, as what programs write is: an answer survives
 * the end of every process, not a loss of power in the next seconds.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char step_name[] = "write";

static int too_large(uint64_t most, const char *path, struct err *err)
{
    return err_set(err, ERR_TOO_LARGE, EFBIG, step_name, path,
                   "More than %llu bytes came. The file was left as it was.",
                   (unsigned long long)most);
}

static int check_hash(struct sha256 *hash, const struct files_content *content, struct err *err)
{
    char hex[65];
    sha256_final_hex(hash, hex);
    return strcmp(hex, content->sha256) == 0
               ? 0
               : err_set(err, ERR_INVALID_REQUEST, EBADMSG, step_name, content->path,
                         "The SHA-256 of what came is %s, and not what was said. The file was left "
                         "as it was.",
                         hex);
}

int files_match(const struct files_view *view, const char *match, const struct stat *st,
                const char *path, struct err *err)
{
    char etag[FILES_ETAG_MAX];
    struct files_stat told;
    if (!match || !match[0])
        return 0;
    bool nothing = strcmp(match, "-") == 0;
    if (nothing || !st) {
        bool holds = nothing == !st;
        return holds ? 0
                     : err_set(err, ERR_PRECONDITION_FAILED, st ? EEXIST : ENOENT, step_name, path,
                               st ? "There is something of that name already. Nothing was changed."
                                  : "There is nothing of that name. Nothing was changed.");
    }
    files_tell(view, st, &told);
    files_etag(&told, etag);
    if (strcmp(match, "*") == 0 || strcmp(match, etag) == 0)
        return 0;
    return err_set(err, ERR_PRECONDITION_FAILED, ESTALE, step_name, path,
                   "It has changed: its ETag is \"%s\" now. Nothing was changed. Read it again.",
                   etag);
}

/* What stands at the name now. */
static int match_now(const struct files_view *view, const struct files_place *place,
                     const char *name, const struct files_content *content, struct err *err)
{
    struct stat st;
    if (!content->match || !content->match[0])
        return 0;
    bool there = fstatat(place->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
    if (!there && errno != ENOENT)
        return files_failed(err, errno, step_name, content->path);
    return files_match(view, content->match, there ? &st : NULL, content->path, err);
}

/* Copies until `bytes` have come (UINT64_MAX: until the end). */
static int fill(int to, const struct files_content *content, uint64_t *ret_written, struct err *err)
{
    const char *path = content->path;
    static char buffer[FILES_PIECE];
    uint64_t *written = ret_written;
    bool hashed = content->sha256 && content->sha256[0];
    struct sha256 hash;
    sha256_init(&hash);
    for (*written = 0; *written < content->bytes;) {
        uint64_t left = content->bytes - *written;
        ssize_t n = read(content->in, buffer, left < sizeof buffer ? (size_t)left : sizeof buffer);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return files_failed(err, errno, "read what is to be written to", path);
        if (n == 0)
            break;
        if ((uint64_t)n > content->most - *written)
            return too_large(content->most, path, err);
        int r = io_write_full(to, buffer, (size_t)n);
        if (r < 0)
            return files_failed(err, -r, step_name, path);
        if (hashed)
            sha256_update(&hash, buffer, (size_t)n);
        *written += (uint64_t)n;
    }
    if (content->bytes != UINT64_MAX && *written < content->bytes)
        return err_set(err, ERR_INVALID_REQUEST, EPIPE, step_name, path,
                       "The data ended after %llu of %llu bytes. The file was left as it was.",
                       (unsigned long long)*written, (unsigned long long)content->bytes);
    return hashed ? check_hash(&hash, content, err) : 0;
}

/* What stands at the name must be a regular file that could also be written in place. */
static int check_old(const struct files_view *view, const struct files_place *place,
                     const char *name, const struct stat *old)
{
    if (S_ISDIR(old->st_mode))
        return -EISDIR;
    if (!S_ISREG(old->st_mode))
        return S_ISLNK(old->st_mode) ? 0 : -ENOTSUP;
    int fd = files_open(view, place->dir, name, O_WRONLY, 0, 0);
    /* A program that runs can be replaced; what was exchanged meanwhile is replaced too. */
    if (fd < 0 && fd != -ETXTBSY && fd != -ENOENT && fd != -ELOOP && fd != -ENXIO)
        return fd;
    fd_close(fd);
    return 0;
}

static int publish(struct files_temporary *temporary, int dir, const char *name, uint32_t mode,
                   const struct files_content *content, struct stat *ret_stat, struct err *err)
{
    const struct timespec times[] = {{.tv_nsec = UTIME_OMIT}, content->modified};
    bool fresh = content->match && strcmp(content->match, "-") == 0;
    int r = fchmod(temporary->fd, mode) < 0 ? -errno : 0;
    if (r == 0 && content->has_modified && futimens(temporary->fd, times) < 0)
        r = -errno;
    if (r == 0)
        r = files_temporary_publish(temporary, dir, name, fresh, ret_stat);
    if (r == -EEXIST && fresh)
        return files_match(NULL, "-", ret_stat, content->path, err);
    if (r == -EXDEV)
        return err_set(err, ERR_UNAVAILABLE, EXDEV, step_name, content->path,
                       "While its bytes came, something on its way became a directory of another "
                       "file system. The file was left as it was. Try again.");
    return r < 0 ? files_failed(err, -r, step_name, content->path) : 0;
}

static int refuse_name(const struct files_content *content, struct err *err)
{
    return err_set(err, ERR_INVALID_REQUEST, EINVAL, step_name, content->path,
                   "Names that begin with \".berth-write-\" are those of files that are being "
                   "written; what a killed writer left under one is removed. Choose another.");
}

/* May the file be put at that name, and with which mode? */
static int check_target(const struct files_view *view, const struct files_place *place,
                        const char *name, const struct files_content *content, uint32_t *ret_mode,
                        struct err *err)
{
    struct stat old;
    int r = name[0] ? files_may_change(view, place, name, false, err)
                    : files_failed(err, EISDIR, step_name, content->path);
    if (r < 0)
        return r;
    if (files_temporary_is(name))
        return refuse_name(content, err);
    *ret_mode = content->mode;
    if (fstatat(place->dir, name, &old, AT_SYMLINK_NOFOLLOW) == 0) {
        r = check_old(view, place, name, &old);
        if (r == 0 && content->keep_mode && S_ISREG(old.st_mode))
            *ret_mode = old.st_mode & 0777u;
    } else if (errno != ENOENT) {
        r = -errno;
    }
    return r < 0 ? files_failed(err, -r, step_name, content->path) : 0;
}

/* Takes the next part of *at. Its length, 0: none is left. */
static size_t take_part(const char **at, const char **ret_part)
{
    *ret_part = *at + strspn(*at, "/");
    size_t length = strcspn(*ret_part, "/");
    *at = *ret_part + length;
    return length;
}

/* Whether the way from `name`, the first directory that is to be made, can be gone: making it is
 * not tried before the bytes have come. */
static int check_way(const struct files_view *view, const struct files_place *place,
                     const char *name, const struct files_content *content, struct err *err)
{
    char way[sizeof place->name + 1 + sizeof place->rest];
    size_t used = (size_t)snprintf(way, sizeof way, "%s", name), leaf = 0, length;
    const char *at = place->rest, *part;
    bool ends_in_itself = false;
    while ((length = take_part(&at, &part)) > 0) {
        if (length >= FILES_NAME_MAX)
            return files_failed(err, ENAMETOOLONG, step_name, content->path);
        if (length == 2 && memcmp(part, "..", 2) == 0)
            return err_set(err, ERR_NOT_FOUND, ENOENT, step_name, content->path,
                           "It goes up (..) from a directory that is not there yet. Write the path "
                           "without \"..\", or make the directory first.");
        ends_in_itself = length == 1 && part[0] == '.';
        if (ends_in_itself)
            continue;
        way[used] = '/';
        leaf = used + 1;
        memcpy(way + leaf, part, length);
        used = leaf + length;
        way[used] = 0;
    }
    if (ends_in_itself)
        return files_failed(err, EISDIR, step_name, content->path);
    if (files_temporary_is(way + leaf))
        return refuse_name(content, err);
    if (view->beneath && strlen(place->text) + 1 + leaf > sizeof place->text)
        return files_failed(err, ENAMETOOLONG, step_name, content->path);
    return files_may_change(view, place, way, false, err);
}

/* As check_target() where `name` is a directory that is still to be made: nothing is there yet. */
static int check_missing(const struct files_view *view, const struct files_place *place,
                         const char *name, const struct files_content *content, struct err *err)
{
    int r = check_way(view, place, name, content, err);
    return r < 0 ? r : files_match(view, content->match, NULL, content->path, err);
}

/* The bytes are here and are what they should be: now its parents are made. Nobody takes them away
 * again: another request, or a program of the session, may have them already. */
static int make_parents(const struct files_view *view, const struct files_content *content,
                        struct files_place *ret, uint32_t *ret_mode, struct err *err)
{
    int r = files_resolve(view, content->path, FILES_FOLLOW | FILES_MISSING | FILES_MAKE, ret, err);
    return r < 0 ? r : check_target(view, ret, ret->name, content, ret_mode, err);
}

int files_replace(const struct files_view *view, const struct files_place *place, const char *name,
                  const struct files_content *content, uint64_t *ret_written, struct stat *ret_stat,
                  struct err *err)
{
    _cleanup_place_ struct files_place made = FILES_NOWHERE;
    _cleanup_temporary_ struct files_temporary temporary = {.fd = -1};
    uint32_t mode = content->mode;
    int r = place->missing ? check_missing(view, place, name, content, err)
                           : check_target(view, place, name, content, &mode, err);
    if (r == 0 && !place->missing)
        r = match_now(view, place, name, content, err);
    if (r == 0)
        r = files_temporary_open(view, place->dir, &temporary, err);
    if (r == 0)
        r = fill(temporary.fd, content, ret_written, err);
    if (r == 0 && place->missing) {
        r = make_parents(view, content, &made, &mode, err);
        place = &made;
        name = made.name;
    }
    if (r == 0) /* once more: the bytes may have been long in coming */
        r = match_now(view, place, name, content, err);
    return r < 0 ? r : publish(&temporary, place->dir, name, mode, content, ret_stat, err);
}

int files_write(struct files_job *job, struct err *err)
{
    const struct files_request *request = job->request;
    struct files_content content = {
        .path = request->path,
        .in = job->in,
        .bytes = request->has_length ? request->length : UINT64_MAX,
        .most = request->size_max ? request->size_max : UINT64_MAX,
        .mode = request->mode ? request->mode : FILES_MODE_NEW,
        .keep_mode = true,
        .match = request->match,
        .sha256 = request->sha256,
    };
    if (request->has_length && request->length > content.most)
        return too_large(content.most, request->path, err);
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    struct stat st;
    int r = files_resolve(job->view, request->path, FILES_FOLLOW | FILES_MISSING | FILES_LATER,
                          &place, err);
    if (r == 0)
        r = files_replace(job->view, &place, place.name, &content, &job->result->bytes, &st, err);
    if (r == 0)
        files_tell(job->view, &st, &job->result->stat);
    return r;
}
