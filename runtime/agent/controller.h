/* This file is the controller's side of the protocol with init, for whoever controls: `berth run`
 * and the launcher (session.c), front (runtime/link/agent_client.c). init itself does not use it.
 */
#pragma once

#include "runtime/runtime.h"

/* Sends one message with descriptors (at most AGENT_FDS_MAX, borrowed). 0 or -errno: -EPIPE when
 * init is gone, -EAGAIN only on a non-blocking socket. */
int controller_send(int socket, const struct agent_message *message, const int *fds,
                    unsigned fd_count);

/* The payload of AGENT_EXEC in a sealed memfd. `fds`: AGENT_EXEC_FD_* bits of what is sent along.
 * `spool` NULL: none. ERR_TOO_LARGE, ERR_INVALID_REQUEST: the command's fault. */
int controller_payload(const struct exec_request *request, uint32_t fds,
                       const struct agent_spool_limits *spool, int *ret_fd, struct err *err);
