/* This file decides, before anything is started, what each standard stream of `berth run` is to
 * the command (contract §12, attacks 38b); it never reads or writes one.
 *
 * A pipe has no direction of its own: whoever may open its inode can open the other end through
 * /proc/self/fd, and would write into the script that the caller's shell reads, or read the log
 * that it writes. So a session gets a pipe of the caller's only where the inode's owner has no id
 * inside: root's standard input. That one exception is there because copying reads ahead, and a
 * loop of the caller's that reads the same pipe would miss what berth took. A terminal is relayed
 * and never passed: with its descriptor a session could push input into the caller's shell
 * (TIOCSTI) or reopen it. A socket is relayed because its peer credentials and descriptor passing
 * would cross the boundary. Whatever else it is (directory, device, O_PATH) names something of the
 * host and is refused.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>

enum stdio_kind {
    STDIO_NULL = 1, /* closed or /dev/null: the session's own /dev/null */
    STDIO_PASS,     /* regular file, root's standard input: the command gets this very descriptor */
    STDIO_PIPE,     /* pipe or FIFO: copied to or from a pipe of berth's own */
    STDIO_TERMINAL, /* through the session's PTY, or copied */
    STDIO_SOCKET,   /* stream socket: copied */
    STDIO_FILE,     /* a file of procfs, sysfs or cgroupfs: copied, its descriptor is the host's */
};

struct stdio {
    enum stdio_kind kind[3];
    bool one_output; /* 1 and 2 are one terminal, socket or file: one pipe keeps their order */
};

/* `number` is 0, 1 or 2, for messages. ERR_INVALID_REQUEST when it may not go in. */
int stdio_classify(int fd, int number, enum stdio_kind *ret, struct err *err);

int stdio_classify_all(struct stdio *ret, struct err *err);

/* Copy regular files too: for a session whose user owns them and whom Landlock does not keep from
 * opening them again for more than they were passed for. */
void stdio_copy_files(struct stdio *stdio);
