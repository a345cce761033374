/* This file asks the gateway (docs/adr/0013): one request, one answer, with a deadline. The gateway
 * is unprivileged and may be taken over: nothing of its answer is believed but the outcome.
 *
 * PRIVILEGED: the launcher's workers, `berth run`. Several processes may share one control socket:
 * each gives a socket of its own along for the answer.
 */
#pragma once

#include "runtime/gateway/gateway.h"

enum { NETWORK_ASK_MS = 2000 };

/* 0, or -errno with the gateway's own error or "it has ended". `ret` may be NULL. The descriptors
 * stay the caller's. */
int network_ask(int control, struct gateway_request *request, const int *fds, unsigned count,
                struct gateway_reply *ret, struct err *err);

/* For what is to be known to the gateway, whatever it makes of it. 0: it was sent, or nobody is
 * there any more. A gateway does what it was sent even when it cannot answer, and one that has
 * thrown this socket away is told again, or swept, by the launcher's next one. -errno: it could not
 * be sent; again. */
int network_deliver(int control, struct gateway_request *request, struct err *err);
