/* This file asks whether this host can enforce a session's network rules (docs/adr/0013): one
 * namespace with ruleset and sockets is made for real, and is gone when it returns. PRIVILEGED as
 * the launcher is.
 */
#pragma once

#include "runtime/base/err.h"

/* 0, or what this kernel or this user lacks. */
int probe_network(struct err *err);
