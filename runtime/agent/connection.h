/* This file is who init obeys: the connection that it was born with, and in sessions that last
 * those that follow it over AGENT_FD_LISTEN. One at a time: who says HELLO with an epoch that is
 * not older takes over, and the one before is closed with all that is unread in it. Used by init
 * only.
 */
#pragma once

#include "runtime/agent/init.h"
#include "runtime/base/err.h"

/* The connection of the start, and the socket that others come to. 0 or -errno. */
int connection_start(struct init *init, struct err *err);

/* The listening socket is readable. */
void connection_accept(struct init *init);

/* A connection that has not said HELLO is readable: it takes over, waits on, or is closed. */
void connection_hello(struct init *init, unsigned which);

/* Its end was seen. */
void connection_close_control(struct init *init);
void connection_close_frames(struct init *init);

/* Close what has waited for too long; listen again. */
void connection_times(struct init *init);

/* When connection_times() has something to do; CLOCK_MONOTONIC, UINT64_MAX for never. */
uint64_t connection_next_ns(const struct init *init);
