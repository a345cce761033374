/* This file joins a session to the gateway (docs/adr/0013). PRIVILEGED: the launcher's, `berth
 * run`'s.
 */
#pragma once

#include "runtime/host/network.h"

/* Hands the session (row, incarnation) over: its rules, its file of names and its sockets, of which
 * the caller keeps copies. It is served when this returns. */
int network_link_add(int gateway, int64_t row, int64_t incarnation,
                     const struct network_namespace *ns, struct err *err);
/* -ENOENT of the gateway is success: there is nothing to end. */
int network_link_remove(int gateway, int64_t row, int64_t incarnation, struct err *err);
/* With the connections that the new rules refuse, which are cut. -ENOENT: it does not serve it. */
int network_link_replace(int gateway, int64_t row, int64_t incarnation, int record,
                         uint32_t *ret_cut, struct err *err);
