/* This file checks what crosses the border between a controller and init, in both directions; it
 * never makes a system call and never allocates.
 */
#include "runtime/agent/protocol.h"

#include "runtime/agent/spool.h"
#include "runtime/base/err.h"

#include <string.h>

_Static_assert(sizeof(struct agent_frame) == 40, "the header is part of the protocol");
_Static_assert(sizeof(struct agent_message) == 56, "a message is part of the protocol");
_Static_assert(sizeof(struct agent_exit) == 72, "an exit record is part of the protocol");
_Static_assert(sizeof(struct agent_denied) == 48, "a denied call is part of the protocol");
_Static_assert(sizeof(struct err) <= AGENT_FRAME_PAYLOAD_MAX, "an error fits a frame");

static const char *const reason_names[AGENT_REASON_END] = {
#define X(sym, name) [AGENT_REASON_##sym] = name,
    AGENT_REASONS(X)
#undef X
};

const char *agent_reason_name(enum agent_reason reason)
{
    if ((unsigned)reason >= AGENT_REASON_END || !reason_names[reason])
        return "unknown";
    return reason_names[reason];
}

/* What a header of each type must say. `least` and `most` bound the payload's length. */
static const struct frame_rule {
    uint32_t least, most;
    bool has_exec; /* names an exec: `exec` is not 0 */
    bool has_seq;  /* is part of an exec's stream: `seq` counts from 1 */
} frame_rules[AGENT_FRAME_TYPE_END] = {
    [AGENT_FRAME_READY] = {sizeof(struct agent_ready), sizeof(struct agent_ready), false, false},
    [AGENT_FRAME_FAILED] = {sizeof(struct err), sizeof(struct err), false, false},
    [AGENT_FRAME_HELLO] = {0, 0, false, false},
    [AGENT_FRAME_TABLE] = {sizeof(struct agent_table_row), sizeof(struct agent_table_row), true,
                           false},
    [AGENT_FRAME_STARTED] = {sizeof(struct agent_started), sizeof(struct agent_started), true,
                             false},
    [AGENT_FRAME_START_FAILED] = {sizeof(struct agent_start_failed),
                                  sizeof(struct agent_start_failed), true, false},
    [AGENT_FRAME_DATA] = {1, AGENT_FRAME_PAYLOAD_MAX, true, true},
    [AGENT_FRAME_EXIT] = {sizeof(struct agent_exit), sizeof(struct agent_exit), true, true},
    [AGENT_FRAME_PONG] = {0, 0, false, false},
    [AGENT_FRAME_SPOOL] = {0, 0, true, true},
    [AGENT_FRAME_INTERRUPTED] = {0, 0, true, false},
    [AGENT_FRAME_STDIN] = {0, 0, true, true},
    [AGENT_FRAME_DENIED] = {sizeof(struct agent_denied), sizeof(struct agent_denied), true, false},
};

const char *agent_frame_check(const struct agent_frame *frame)
{
    if (frame->magic != AGENT_MAGIC)
        return "the magic number of a frame is wrong";
    if (frame->version != AGENT_VERSION)
        return "a frame has another protocol version";
    if (frame->type == 0 || frame->type >= AGENT_FRAME_TYPE_END)
        return "the type of a frame is unknown";
    const struct frame_rule *rule = &frame_rules[frame->type];
    if (frame->length < rule->least || frame->length > rule->most)
        return "the length of a frame does not fit its type";
    bool is_data = frame->type == AGENT_FRAME_DATA;
    if (is_data ? frame->stream == 0 || frame->stream >= AGENT_STREAM_END : frame->stream != 0)
        return "the stream of a frame does not fit its type";
    if (frame->reserved != 0)
        return "a reserved field of a frame is used";
    if (rule->has_exec && frame->exec == 0)
        return "a frame names no exec";
    if (rule->has_seq && frame->seq == 0)
        return "a frame of a stream has no sequence number";
    return NULL;
}

static bool terminated(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

static const char *exit_check(const struct agent_exit *exit)
{
    if (exit->reason == AGENT_REASON_NONE || exit->reason >= AGENT_REASON_END)
        return "the reason of an exit is unknown";
    if (exit->exit_code < -1 || exit->exit_code > 255)
        return "the exit code of an exit is out of range";
    if (exit->signal < 0 || exit->signal > 64)
        return "the signal of an exit is out of range";
    if (exit->scratch_full & ~(uint32_t)(AGENT_FULL_BYTES | AGENT_FULL_INODES) ||
        exit->output_truncated > 1)
        return "an exit has unknown flags";
    return NULL;
}

static const char *denied_check(const struct agent_denied *denied)
{
    if (denied->flags & ~(uint32_t)(AGENT_DENIED_ARGUMENT | AGENT_DENIED_OTHER))
        return "a denied call has unknown flags";
    if (denied->count == 0)
        return "a denied call was denied never";
    if (!terminated(denied->command, sizeof denied->command))
        return "the command of a denied call has no end";
    if (denied->flags & AGENT_DENIED_OTHER)
        return denied->flags != AGENT_DENIED_OTHER || denied->number != -1 || denied->sys != 0
                   ? "a total of denied calls names one"
                   : NULL;
    if (denied->sys == 0 || denied->sys > 4095)
        return "the error of a denied call is out of range";
    if (denied->flags & AGENT_DENIED_ARGUMENT && denied->argument > 5)
        return "the argument of a denied call is out of range";
    return NULL;
}

const char *agent_frame_payload_check(const struct agent_frame *frame, const void *payload)
{
    union {
        struct err err;
        struct agent_start_failed failed;
        struct agent_exit exit;
        struct agent_table_row row;
        struct agent_denied denied;
    } copy;

    switch (frame->type) {
    case AGENT_FRAME_FAILED:
        memcpy(&copy.err, payload, sizeof copy.err);
        if (copy.err.code >= ERR_CODE_COUNT)
            return "the code of an error is unknown";
        if (!terminated(copy.err.step, sizeof copy.err.step) ||
            !terminated(copy.err.subject, sizeof copy.err.subject) ||
            !terminated(copy.err.detail, sizeof copy.err.detail))
            return "a text of an error has no end";
        return NULL;
    case AGENT_FRAME_START_FAILED:
        memcpy(&copy.failed, payload, sizeof copy.failed);
        if (copy.failed.fault < AGENT_START_BERTH || copy.failed.fault > AGENT_START_NOT_EXECUTABLE)
            return "the fault of a failed start is unknown";
        if (!terminated(copy.failed.step, sizeof copy.failed.step) ||
            !terminated(copy.failed.subject, sizeof copy.failed.subject))
            return "a text of a failed start has no end";
        return NULL;
    case AGENT_FRAME_DENIED:
        memcpy(&copy.denied, payload, sizeof copy.denied);
        return denied_check(&copy.denied);
    case AGENT_FRAME_EXIT:
        memcpy(&copy.exit, payload, sizeof copy.exit);
        return exit_check(&copy.exit);
    case AGENT_FRAME_TABLE:
        memcpy(&copy.row, payload, sizeof copy.row);
        if (copy.row.exec != frame->exec)
            return "a row of the table names another exec than its frame";
        if (copy.row.state < AGENT_ROW_RUNNING || copy.row.state > AGENT_ROW_BACKGROUND)
            return "the state of a row of the table is unknown";
        return copy.row.state != AGENT_ROW_RUNNING ? exit_check(&copy.row.exit) : NULL;
    default:
        return NULL;
    }
}

const char *agent_message_check(const struct agent_message *message, size_t length)
{
    if (length != sizeof *message)
        return "a message has the wrong length";
    if (message->magic != AGENT_MAGIC)
        return "the magic number of a message is wrong";
    if (message->version != AGENT_VERSION)
        return "a message has another protocol version";
    if (message->type == 0 || message->type >= AGENT_MESSAGE_TYPE_END)
        return "the type of a message is unknown";
    return NULL;
}

enum {
    EXEC_FLAGS = AGENT_EXEC_TTY | AGENT_EXEC_KEEP_CHILDREN | AGENT_EXEC_NULL_STDOUT |
                 AGENT_EXEC_NULL_STDERR | AGENT_EXEC_FILES | AGENT_EXEC_KILL_ON_LIMIT,
    EXEC_FDS =
        AGENT_EXEC_FD_STDIN | AGENT_EXEC_FD_STDOUT | AGENT_EXEC_FD_STDERR | AGENT_EXEC_FD_SPOOL,
};

/* Longest time that init counts: keeps sums of nanoseconds far from overflow. */
static const uint64_t longest_ms = (uint64_t)366 * 24 * 3600 * 1000;

static const char *exec_header_check(const struct agent_exec *exec, size_t length)
{
    if (exec->magic != AGENT_MAGIC || exec->version != AGENT_VERSION || exec->size != sizeof *exec)
        return "an exec payload has another protocol version";
    if (exec->flags & ~(uint32_t)EXEC_FLAGS || exec->fds & ~(uint32_t)EXEC_FDS ||
        exec->reserved != 0)
        return "an exec payload has unknown flags";
    if ((exec->flags & AGENT_EXEC_TTY) &&
        (exec->fds & (AGENT_EXEC_FD_STDOUT | AGENT_EXEC_FD_STDERR) ||
         exec->flags & (AGENT_EXEC_NULL_STDOUT | AGENT_EXEC_NULL_STDERR)))
        return "an exec with a terminal has no other output";
    if ((exec->fds & AGENT_EXEC_FD_STDOUT && exec->flags & AGENT_EXEC_NULL_STDOUT) ||
        (exec->fds & AGENT_EXEC_FD_STDERR && exec->flags & AGENT_EXEC_NULL_STDERR))
        return "an output is both given and /dev/null";
    if (exec->fds & AGENT_EXEC_FD_SPOOL
            ? exec->spool.head > SPOOL_LIMIT_MAX || exec->spool.tail > SPOOL_LIMIT_MAX ||
                  (exec->flags & AGENT_EXEC_KILL_ON_LIMIT && !(exec->spool.head | exec->spool.tail))
            : exec->spool.head | exec->spool.tail || exec->flags & AGENT_EXEC_KILL_ON_LIMIT)
        return "the limits of an exec's output are out of range, or it has no spool";
    if (exec->flags & AGENT_EXEC_FILES && exec->flags & AGENT_EXEC_TTY)
        return "the file worker has no terminal";
    if (exec->string_bytes != length - sizeof *exec)
        return "the strings of an exec payload have another length";
    if (exec->argc == 0)
        return "an exec has no program";
    /* Each string has at least its NUL; the sum in 64 bits cannot wrap. */
    if ((uint64_t)exec->argc + exec->envc + 1 > exec->string_bytes)
        return "an exec payload has fewer strings than it says";
    if (exec->uid == UINT32_MAX || exec->gid == UINT32_MAX)
        return "an exec has no user";
    if (exec->timeout_ms > longest_ms || exec->idle_timeout_ms > longest_ms ||
        exec->grace_ms > longest_ms)
        return "a time of an exec is longer than a year";
    return NULL;
}

const char *agent_exec_check(const void *data, size_t length, const struct agent_exec **ret_exec,
                             const char **ret_strings)
{
    if (length > AGENT_EXEC_PAYLOAD_MAX)
        return "an exec payload is too large";
    if (length < sizeof(struct agent_exec))
        return "an exec payload is too short";
    const struct agent_exec *exec = data;
    const char *wrong = exec_header_check(exec, length);
    if (wrong)
        return wrong;

    const char *strings = (const char *)data + sizeof *exec;
    const char *at = strings, *end = strings + exec->string_bytes;
    uint64_t count = (uint64_t)exec->argc + exec->envc + 1;
    for (uint64_t i = 0; i < count; i++) {
        const char *stop = at < end ? memchr(at, 0, (size_t)(end - at)) : NULL;
        if (!stop)
            return "a string of an exec payload has no end";
        if (i == 0 && stop == at)
            return "the program of an exec is empty";
        if (i >= exec->argc && i < count - 1) {
            const char *equals = memchr(at, '=', (size_t)(stop - at));
            if (!equals || equals == at)
                return "a variable of an exec's environment is not NAME=VALUE";
        }
        if (i == count - 1 && at[0] != '/')
            return "the working directory of an exec is not absolute";
        at = stop + 1;
    }
    if (at != end)
        return "an exec payload has bytes after its strings";
    *ret_exec = exec;
    *ret_strings = strings;
    return NULL;
}
