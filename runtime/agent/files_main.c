/* This file is the file worker of a session that runs: a command of init's that does one operation
 * and ends; it never has more rights than the session's user, beside whose hostile programs it
 * runs.
 *
 * They have the same uid: they can stop it, kill it, take memory from it or change the files that
 * it looks at, and what comes of that is an error of this one request. That they cannot look into
 * it or take its pipes over is by being non-dumpable: from execve() on where its file may not be
 * read (mode 0111, as it is built and installed), since whoever stops it again and again has all
 * the time that he wants between its first instructions.
 */
#include "runtime/agent/files.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>

/* A request that cannot be read is answered too. */
static int refuse(const char *wrong)
{
    struct err err = {0};
    err_set(&err, ERR_INVALID_REQUEST, 0, "read the request", NULL, "It is malformed: %s.", wrong);
    files_refuse(STDERR_FILENO, &err);
    return 2;
}

int main(int argc, char **argv)
{
    static struct files_request request;
    struct files_view view = {.root = -1};
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return refuse("the worker cannot be kept from others");
    const char *wrong = files_request_from_argv(argc, argv, &request);
    if (wrong)
        return refuse(wrong);
    _cleanup_fd_ int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        struct err err = {0};
        err_set(&err, ERR_UNAVAILABLE, errno, "open the session's root directory", NULL, NULL);
        files_refuse(STDERR_FILENO, &err);
        return 1;
    }
    view.root = root;
    return files_run(&view, &request, STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO, NULL) < 0;
}
