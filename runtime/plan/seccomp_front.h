/* This file is the filter of front, which speaks to clients: an allowlist of what its work needs,
 * every day and in its worst hour; it never loads one. Everything else is answered ENOSYS, as by a
 * kernel that does not have the call: libraries know what to do then. Killing would tell no more
 * than the log of a front that fails does, and would make an outage of the first path through libc,
 * libuv or SQLite that nobody saw before; what it could do is the same, nothing.
 *
 * Unprivileged, pure.
 */
#pragma once

#include "runtime/base/err.h"

#include <linux/filter.h>
#include <stdint.h>

enum { SECCOMP_FRONT_MAX = 1024 };

/* No program is started, no process made (threads are), none signalled or traced, no socket but of
 * this host's unix family, no memory made executable, no rights changed. */
int seccomp_front(struct sock_filter ret_code[SECCOMP_FRONT_MAX], uint32_t *ret_length,
                  struct err *err);
