/* This file joins a session to the gateway (docs/adr/0013). PRIVILEGED: the launcher's, `berth
 * run`'s.
 */
#pragma once

#include "runtime/host/network.h"

/* Hands the session (row, incarnation) over: its rules, its file of names and its sockets, of which
 * the caller keeps copies. It is served when this returns. */
int network_link_add(int gateway, int64_t row, int64_t incarnation,
                     const struct network_namespace *ns, struct err *err);
/* The same in two parts. Who does not wait for the answer does not know whether it is served: then
 * it is to be removed. */
int network_link_add_begin(int gateway, int64_t row, int64_t incarnation,
                           const struct network_namespace *ns, int *ret_answer, struct err *err);
int network_link_add_end(int answer, struct err *err);
/* 0: the gateway does not serve it. -ENOLINK, -ETIMEDOUT, -EXFULL: network_deliver(). */
int network_link_remove(int gateway, int64_t row, int64_t incarnation, struct err *err);
/* It is frozen, or not any more: whether clients of its published ports are refused. 0 also where
 * it will be so when a gateway that stands still goes on. Else network_deliver(). */
int network_link_hold(int gateway, int64_t row, int64_t incarnation, bool hold, struct err *err);
/* Every session that nothing was asked about since this control socket came has ended. */
int network_link_sweep(int gateway, struct err *err);
/* Whether a question that changes nothing is not even answered, or not even taken, in time. */
bool network_link_stands_still(int gateway);
/* With the connections that the new rules refuse, which are cut. -ENOENT: it does not serve it. */
int network_link_replace(int gateway, int64_t row, int64_t incarnation, int record,
                         uint32_t *ret_cut, struct err *err);
