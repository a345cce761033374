/* This file is front's end of one session's init: it connects, takes the session over with an
 * epoch, sends messages and reads frames; it never blocks and believes nothing unchecked (init is a
 * hostile peer). Unprivileged, one thread.
 *
 *     agent_client_open(&agent, path, init_pid, epoch, &err); // connects; HELLO is sent
 *     poll(agent_client_fd(agent), POLLIN) -> agent_client_next(...) until NONE
 *
 * The write end of the frames' pipe is made here and passed in (P-5). First come AGENT_FRAME_HELLO
 * and the table, which is the truth about what was started; after it what is told is new.
 */
#pragma once

#include "runtime/agent/protocol.h"
#include "runtime/base/err.h"
#include "runtime/runtime.h"

#include <stdbool.h>

struct agent_client;

/* `path`: of the socket on which init listens. Its peer must be `init_pid` (SO_PEERCRED is who
 * called listen(2)), else -EPROTO. -ECONNREFUSED, -ENOENT: init is gone. */
int agent_client_open(struct agent_client **ret, const char *path, int64_t init_pid, uint64_t epoch,
                      struct err *err);
void agent_client_free(struct agent_client *agent); /* the session goes on; NULL allowed */

int agent_client_fd(const struct agent_client *agent); /* readable: a frame or the end */
/* As session_next_frame(): 0, SESSION_FRAME_NONE, SESSION_FRAME_END, -EPROTO. */
int agent_client_next(struct agent_client *agent, struct agent_frame *ret_frame,
                      const void **ret_payload, struct err *err);

/* Where the socket is full: -EAGAIN, nothing was sent; agent_client_control_fd() becomes writable.
 * -EPIPE, -ECONNRESET: init is gone, or a newer connection took over; the frames' end says so too.
 * A pipe that is passed in must belong to nobody inside, as one that this process made does.
 * `spool`: descriptor of the exec's spool file, which init writes (runtime/agent/spool.h). */
int agent_client_exec(struct agent_client *agent, uint64_t exec, const struct exec_request *request,
                      int spool, const struct agent_spool_limits *limits, struct err *err);
int agent_client_signal(struct agent_client *agent, uint64_t exec, int signo,
                        enum agent_scope scope);
int agent_client_resize(struct agent_client *agent, uint64_t exec, uint16_t rows, uint16_t cols);
int agent_client_kill(struct agent_client *agent, uint64_t exec, enum agent_reason reason);
int agent_client_close_stdin(struct agent_client *agent, uint64_t exec);
/* Another front's command takes its input from this pipe's read end (the caller's) from now on;
 * answered by AGENT_FRAME_STDIN. */
int agent_client_stdin(struct agent_client *agent, uint64_t exec, int pipe);
/* Ends every exec with a number <= `floor` and refuses such numbers from now on; answered by
 * AGENT_FRAME_INTERRUPTED with exec = floor when they have ended. */
int agent_client_interrupt(struct agent_client *agent, uint64_t floor);
int agent_client_ping(struct agent_client *agent, uint64_t number);
/* The outcome of `exec` is recorded durably: init needs its row no more. To be said after each EXIT
 * and START_FAILED; a table that is full of rows of which it was not said takes no new exec. */
int agent_client_forget(struct agent_client *agent, uint64_t exec);
/* Time-outs of execs stand still, or go on: to be said before the session is frozen, and after it
 * was thawed (SES-7). What a controller that is gone has said stays. */
int agent_client_pause(struct agent_client *agent, bool pause);
int agent_client_control_fd(const struct agent_client *agent);
