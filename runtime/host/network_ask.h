/* This file asks the gateway (docs/adr/0013): one request, one answer, with a deadline. The gateway
 * is unprivileged and may be taken over: nothing of its answer is believed but the outcome.
 *
 * PRIVILEGED: the launcher's workers, `berth run`. Several processes may share one control socket:
 * each gives a socket of its own along for the answer.
 */
#pragma once

#include "runtime/gateway/gateway.h"

#include <stdbool.h>

enum { NETWORK_ASK_MS = 2000 };

/* An eventfd that counts who was not answered in time from here on, in this process and its forks
 * (-1: none does). It stays the caller's. */
void network_ask_tell_still(int eventfd);

/* 0, or -errno with the gateway's own error or "it has ended". `ret` may be NULL. The descriptors
 * stay the caller's. */
int network_ask(int control, struct gateway_request *request, const int *fds, unsigned count,
                struct gateway_reply *ret, struct err *err);

/* The same in two parts, between which the caller does something else. The socket on which the
 * answer comes is the caller's, who closes it: what was asked is done whether he waits or not. */
int network_ask_begin(int control, struct gateway_request *request, const int *fds, unsigned count,
                      int *ret_answer, struct err *err);
int network_ask_end(int answer, const struct gateway_request *request, struct gateway_reply *ret,
                    struct err *err);

/* For what is to be known to the gateway, whatever it makes of it. 0: it has answered. -ENOLINK:
 * nobody did, and nobody will on this socket: the gateway has ended, or uses another one and serves
 * on as if nothing had been said. -ETIMEDOUT: it was sent, and a gateway that stands still does it
 * when it goes on, unless it ends first. -EXFULL: nothing was sent, and it may serve on: its socket
 * is full, because it stands still, or this process is short of something. */
int network_deliver(int control, struct gateway_request *request, struct err *err);
