/* This file is the filter of the gateway, which talks to programs of sessions and to the world: an
 * allowlist of what its work needs; it never loads one. Everything else is answered ENOSYS, for the
 * reasons that stand in seccomp_front.h.
 *
 * Unprivileged, pure.
 */
#pragma once

#include "runtime/base/err.h"

#include <linux/filter.h>
#include <stdint.h>

enum { SECCOMP_GATEWAY_MAX = 1024 };

/* No file is opened, no program started, no process or thread made, none signalled or traced, no
 * memory made executable, no rights changed; sockets are TCP and UDP. */
int seccomp_gateway(struct sock_filter ret_code[SECCOMP_GATEWAY_MAX], uint32_t *ret_length,
                    struct err *err);
