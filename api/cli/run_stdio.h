/* This file decides, before anything is started, what each standard stream of `berth run` is to
 * the command (contract §12, attacks 38b); it never reads or writes one.
 *
 * Only pipes and regular files go into a session. A terminal is relayed and never passed: with its
 * descriptor a session could push input into the caller's shell (TIOCSTI) or reopen it. A socket is
 * relayed because its peer credentials and descriptor passing would cross the boundary. Whatever
 * else it is (directory, device, O_PATH) names something of the host and is refused.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>

enum stdio_kind {
    STDIO_NULL = 1, /* closed or /dev/null: the session's own /dev/null */
    STDIO_PASS,     /* pipe, FIFO, regular file: the command gets this very descriptor */
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
