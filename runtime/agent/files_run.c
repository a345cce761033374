/* This file does one request and writes its answer; it never decides what an operation does. */
#include "runtime/agent/files_internal.h"

#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

static int probe(struct files_job *job, struct err *err)
{
    (void)job, (void)err;
    return 0;
}

static const struct {
    int (*run)(struct files_job *job, struct err *err);
    bool changes;
} operations[FILES_OPERATION_END] = {
    [FILES_PROBE] = {probe, false},
    [FILES_READ] = {files_read, false},
    [FILES_WRITE] = {files_write, true},
    [FILES_STAT] = {files_stat, false},
    [FILES_LIST] = {files_list, false},
    [FILES_MKDIR] = {files_mkdir, true},
    [FILES_MOVE] = {files_move, true},
    [FILES_REMOVE] = {files_remove, true},
    [FILES_CHMOD] = {files_chmod, true},
    [FILES_TREE_READ] = {files_tree_read, false},
    [FILES_TREE_WRITE] = {files_tree_write, true},
    [FILES_TAR_READ] = {files_tar_read, false},
    [FILES_TAR_WRITE] = {files_tar_write, true},
    [FILES_UPLOAD] = {files_upload, true},
    [FILES_COLLECT] = {files_collect, false},
    [FILES_WATCH] = {files_watch, false},
};

static int run(struct files_job *job, struct err *err)
{
    const char *wrong = files_request_check(job->request);
    if (wrong)
        return err_set(err, ERR_INVALID_REQUEST, 0, "check the request", NULL,
                       "It is malformed: %s.", wrong);
    if (job->view->access != FILES_WRITABLE && operations[job->request->operation].changes)
        return job->view->access == FILES_ARCHIVED
                   ? err_set(err, ERR_INVALID_STATE, EROFS, "change files", job->request->path,
                             "The session is archived: its files can be read, and not changed.")
                   : files_failed(err, EROFS, "change files", job->request->path);
    return operations[job->request->operation].run(job, err);
}

/* What was passed in may be set otherwise by who made it. */
static void make_blocking(int fd)
{
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
}

int files_run(const struct files_view *view, const struct files_request *request, int in, int out,
              int answer, struct err *err)
{
    struct files_result result = {.magic = FILES_MAGIC, .version = FILES_VERSION};
    struct files_job job = {view, request, in, out, answer, &result};
    /* Modes are what is asked for. A reader that went away and a limit are errors of one write. */
    umask(0);
    make_blocking(in);
    make_blocking(out);
    make_blocking(answer);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigaction(SIGXFSZ, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    result.result = run(&job, &result.err);
    int r = io_write_full(answer, &result, sizeof result);
    if (result.result < 0) {
        if (err)
            *err = result.err;
        return result.result;
    }
    return r < 0 ? files_failed(err, -r, "write the answer", NULL) : 0;
}

void files_refuse(int answer, const struct err *err)
{
    struct files_result result = {.magic = FILES_MAGIC, .version = FILES_VERSION, .err = *err};
    result.result = err->sys ? -err->sys : -EINVAL;
    io_write_full(answer, &result, sizeof result);
}
