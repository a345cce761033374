/* This file says which exit status a command's end is; it never ends anything. */
#include "api/cli/exec_exit.h"

#include "api/cli/verb.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <string.h>

static const struct {
    const char *reason;
    int status;
    const char *note; /* "": the command's own affair */
} reasons[] = {
    {"timeout", CLI_EXIT_TIMEOUT, "it ran longer than its timeout"},
    {"idle_timeout", CLI_EXIT_TIMEOUT, "it printed nothing for longer than its idle timeout"},
    {"interrupted", CLI_EXIT_CANCELLED, "the session was interrupted"},
    {"cancelled", CLI_EXIT_CANCELLED, "it was cancelled"},
    {"oom", CLI_EXIT_KILLED, "out of memory"},
    {"output_limit", CLI_EXIT_KILLED, "over its output limit"},
    {"lost", CLI_EXIT_BERTH, "the session died while it ran; how it ended is not known"},
    {"not_started", CLI_EXIT_BERTH, "it was not started"},
};

static int small(const struct json_node *exec, const char *key, uint64_t max, int otherwise)
{
    uint64_t number;
    return verb_number(exec, key, &number) && number <= max ? (int)number : otherwise;
}

int exec_exit_status(const struct json_node *exec, struct buf *note)
{
    const char *reason = verb_text(exec, "reason");
    if (strcmp(reason, "exit") == 0)
        return small(exec, "exit_code", 255, CLI_EXIT_BERTH);
    if (strcmp(reason, "signal") == 0)
        return CLI_EXIT_SIGNAL + small(exec, "signal", 64, 0);
    if (strcmp(reason, "start_failed") == 0) {
        int status = small(exec, "exit_code", 255, CLI_EXIT_BERTH);
        bool told = status == CLI_EXIT_NOT_EXECUTABLE || status == CLI_EXIT_NOT_FOUND;
        buf_puts(note, status == CLI_EXIT_NOT_FOUND        ? "there is no such command"
                       : status == CLI_EXIT_NOT_EXECUTABLE ? "it cannot be executed"
                                                           : "berth could not start it");
        return told ? status : CLI_EXIT_BERTH;
    }
    for (size_t i = 0; i < ARRAY_LENGTH(reasons); i++)
        if (strcmp(reasons[i].reason, reason) == 0) {
            buf_puts(note, reasons[i].note);
            return reasons[i].status;
        }
    buf_puts(note, "its end has a reason that this berth does not know: ");
    table_clean(note, reason, strlen(reason));
    return CLI_EXIT_BERTH;
}

/* The session's init says which step failed, not whose mistake it is. */
static bool is_wrong_directory(const char *step, int sys)
{
    return strstr(step, "working directory") &&
           (sys == ENOENT || sys == ENOTDIR || sys == EACCES || sys == ELOOP);
}

void exec_start_error(int status, int sys, const char *step, const char *subject,
                      const char *command, struct err *err)
{
    if (status == CLI_EXIT_NOT_FOUND)
        err_set(err, ERR_NOT_FOUND, 0, "command not found", command,
                "It is looked for inside the session: PATH there is the session's own, and of the "
                "host's files only the image, the workspace and --ro/--rw paths are there.");
    else if (status == CLI_EXIT_NOT_EXECUTABLE)
        err_set(err, ERR_INVALID_REQUEST, sys, "command not executable", command,
                "Check its mode, its first line and its architecture.");
    else if (is_wrong_directory(step, sys))
        err_set(err, ERR_INVALID_REQUEST, sys, step, subject,
                "--cwd names a directory as the session sees it, and its user must be able to "
                "enter it.");
    else
        err_set(err, ERR_INTERNAL, sys, step, subject, "The session could not start the command.");
}
