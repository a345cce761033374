/* This file takes a lock that another berth may hold, and waits a bounded time for it; it never
 * ends the holder. PRIVILEGED: the launcher's.
 *
 * Such locks are held for moments. Whoever has one longer was stopped or frozen inside of it, or a
 * disk holds him, and the rest of the host's berths must not stand still with him.
 */
#pragma once

#include "runtime/base/err.h"

#include <fcntl.h>

/* For locks that are held for moments. Less than the shortest time that a worker of the launcher
 * has (launcher_worker.c), so that it is told who is in the way before it is killed. */
enum { LOCK_WAIT_MS = 8000 };

/* `range`: an open-file-description lock; NULL: an exclusive flock of the whole. 0, -ETIMEDOUT when
 * another had it all of the time, -errno. */
int lock_wait(int fd, const struct flock *range, unsigned timeout_ms);

/* The same; ERR_UNAVAILABLE says which process holds it and what to do. */
int lock_take(int fd, const struct flock *range, unsigned timeout_ms, const char *step,
              const char *subject, struct err *err);
