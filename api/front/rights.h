/* This file gives up every right that front does not need, before it reads a byte of a client; it
 * never goes on after a step that failed.
 *
 * What is left: its own uid without groups and capabilities, its descriptors, two directories
 * (ledger and spools) and /dev/urandom by Landlock, unix sockets, and the calls of
 * runtime/plan/seccomp_front.c. Unix sockets by path are not Landlock's to judge (at ABI 7, 6.18;
 * seen): the modes of their directories hold.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/serve.h"

/* RIGHTS_NO_LANDLOCK: the kernel has none that is of use (before 5.19, or turned off); the rest
 * holds. One thread, once. Makes the two directories where they are not there. */
enum rights_outcome { RIGHTS_NO_LANDLOCK = 1 };
int front_rights_drop(const struct serve_config *config, struct err *err);
