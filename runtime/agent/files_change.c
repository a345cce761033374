/* This file makes directories, moves, and changes modes; it never follows a link at the end of what
 * is moved, never replaces a directory, and never sets a bit of 07000.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of Debian 12. Linux 6.6. */
enum { NUMBER_FCHMODAT2 = 452 };

static int tell_name(struct files_job *job, const struct files_place *place)
{
    struct stat st;
    if (fstatat(place->dir, place->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    files_tell(job->view, &st, &job->result->stat);
    return 0;
}

int files_mkdir(struct files_job *job, struct err *err)
{
    const struct files_request *request = job->request;
    static const char doing[] = "make the directory";
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    int r = files_resolve(job->view, request->path, FILES_FOLLOW | FILES_MAKE | FILES_MISSING,
                          &place, err);
    if (r < 0)
        return r;
    if (place.fd >= 0) {
        files_tell(job->view, &place.stat, &job->result->stat);
        return S_ISDIR(place.stat.st_mode) ? 0 : files_failed(err, EEXIST, doing, request->path);
    }
    r = files_may_change(job->view, &place, place.name, false, err);
    if (r < 0)
        return r;
    if (mkdirat(place.dir, place.name, request->mode ? request->mode : FILES_MODE_MADE) < 0 &&
        errno != EEXIST)
        return files_failed(err, errno, doing, request->path);
    r = tell_name(job, &place);
    if (r == 0 && job->result->stat.type != FILES_DIRECTORY)
        r = -EEXIST; /* somebody else was faster */
    return r < 0 ? files_failed(err, -r, doing, request->path) : 0;
}

/* The name of a file is replaced at once; for a directory there must be nothing, and where the
 * kernel can promise that it does. */
static int rename_place(const struct files_place *from, const struct files_place *to)
{
    if (S_ISDIR(from->stat.st_mode)) {
        if (to->fd >= 0)
            return -EEXIST;
        if (syscall(SYS_renameat2, from->dir, from->name, to->dir, to->name, 1u /* NOREPLACE */) ==
            0)
            return 0;
        if (errno != EINVAL)
            return -errno;
    }
    return renameat(from->dir, from->name, to->dir, to->name) < 0 ? -errno : 0;
}

int files_move(struct files_job *job, struct err *err)
{
    const struct files_request *request = job->request;
    static const char doing[] = "move";
    _cleanup_place_ struct files_place from = FILES_NOWHERE, to = FILES_NOWHERE;
    int r = files_resolve(job->view, request->path, 0, &from, err);
    if (r == 0)
        r = files_resolve(job->view, request->path2, FILES_MISSING, &to, err);
    if (r < 0)
        return r;
    if (!from.name[0])
        return files_failed(err, EBUSY, doing, request->path);
    if (to.fd >= 0 && S_ISDIR(to.stat.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, EISDIR, doing, request->path2,
                       "It is a directory, which is not replaced: name what is to be in it.");
    r = files_may_change(job->view, &from, from.name, true, err);
    if (r == 0)
        r = files_may_change(job->view, &to, to.name, true, err);
    if (r < 0)
        return r;
    r = rename_place(&from, &to);
    if (r == -EXDEV)
        return err_set(err, ERR_INVALID_REQUEST, EXDEV, doing, request->path2,
                       "It is on another file system than %s: copy it there, then remove it.",
                       request->path);
    if (r == -EINVAL)
        return err_set(err, ERR_INVALID_REQUEST, EINVAL, doing, request->path2,
                       "A directory cannot be moved into itself.");
    if (r == 0)
        r = tell_name(job, &to);
    return r < 0 ? files_failed(err, -r, doing, request->path) : 0;
}

/* By the descriptor, so that it is what was looked at: a name could have become a link. */
static int change_mode(int fd, uint32_t mode)
{
    char own[32];
    if (syscall(NUMBER_FCHMODAT2, fd, "", mode, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno != ENOSYS)
        return -errno;
    snprintf(own, sizeof own, "/proc/self/fd/%d", fd);
    return chmod(own, mode) < 0 ? -errno : 0;
}

int files_chmod(struct files_job *job, struct err *err)
{
    const struct files_request *request = job->request;
    static const char doing[] = "change the mode";
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    int r = files_resolve(job->view, request->path, FILES_FOLLOW, &place, err);
    if (r < 0)
        return r;
    if (!S_ISREG(place.stat.st_mode) && !S_ISDIR(place.stat.st_mode))
        return files_failed(err, ENOTSUP, doing, request->path);
    r = files_may_change(job->view, &place, place.name, false, err);
    if (r < 0)
        return r;
    r = change_mode(place.fd, request->mode);
    if (r == 0 && fstat(place.fd, &place.stat) < 0)
        r = -errno;
    if (r < 0)
        return files_failed(err, -r, doing, request->path);
    files_tell(job->view, &place.stat, &job->result->stat);
    return 0;
}
