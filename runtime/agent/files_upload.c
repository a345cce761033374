/* This file writes one file that a session is given: beneath FILES_UPLOADS, which belongs to an id
 * that no command has; it never follows a link, and never writes anywhere else.
 *
 * It runs as that id, with none of the rights of the session's user, inside the session alone. What
 * it writes was counted and hashed before by who sends it; both are checked again here.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char step_name[] = "write the upload";

enum { UPLOAD_MODE = 0644 };

/* The directory, which a session whose commands are root could have moved away: it must be ours. */
static int open_top(struct files_job *job, struct files_place *ret, struct err *err)
{
    static const char *const parts[] = {"mnt", "session", "uploads"};
    _cleanup_place_ struct files_place at = FILES_NOWHERE;
    at.dir = fcntl(job->view->root, F_DUPFD_CLOEXEC, 3);
    int r = at.dir < 0 || fstat(at.dir, &at.stat) < 0 ? -errno : 0;
    for (unsigned i = 0; r == 0 && i < ARRAY_LENGTH(parts); i++) {
        int fd = files_open(job->view, at.dir, parts[i], O_PATH | O_DIRECTORY, 0, at.stat.st_dev);
        if (fd < 0)
            r = fd;
        else {
            fd_replace(&at.dir, fd);
            r = fstat(fd, &at.stat) < 0 ? -errno : 0;
        }
    }
    if (r == 0 && (at.stat.st_uid != geteuid() || at.stat.st_mode & 022))
        r = -ENOTDIR;
    if (r < 0)
        return err_set(err, ERR_INVALID_STATE, -r, step_name, FILES_UPLOADS,
                       "The session's directory for uploads is not what berth made. Park the "
                       "session and resume it.");
    *ret = at;
    at.dir = -1;
    return 0;
}

int files_upload(struct files_job *job, struct err *err)
{
    static struct files_tree_writer t; /* one request per process; too large for a stack */
    const struct files_request *request = job->request;
    _cleanup_place_ struct files_place top = FILES_NOWHERE;
    const struct files_content content = {
        .path = request->path,
        .in = job->in,
        .bytes = request->length,
        .most = UINT64_MAX,
        .mode = UPLOAD_MODE,
        .sha256 = request->sha256,
    };
    const char *name;
    struct stat st;
    /* Beneath a view are other files, and other rights. */
    if (job->view->beneath)
        return err_set(err, ERR_INVALID_STATE, 0, step_name, request->path,
                       "Uploads are in the memory of a session that runs: resume it first.");
    int r = open_top(job, &top, err);
    if (r < 0)
        return r;
    t = (struct files_tree_writer){.job = job, .base = &top, .parent = FILES_NOWHERE};
    snprintf(t.path, sizeof t.path, "%s", request->path + sizeof FILES_UPLOADS);
    r = files_tree_parent(&t, &name);
    r = r < 0 ? files_tree_failed(err, -r, step_name, request->path)
              : files_replace(job->view, &t.parent, name, &content, &job->result->bytes, &st, err);
    if (r == 0)
        files_tell(job->view, &st, &job->result->stat);
    files_place_fini(&t.parent);
    return r;
}
