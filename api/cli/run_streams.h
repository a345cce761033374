/* This file connects the caller's standard streams to those of the command: passes, makes null or
 * relays each as run_stdio.h decided, and gives the command a PTY when that is asked for.
 *
 *     streams_open(&s, &stdio, tty, &err);     makes pipes, reopens terminals
 *     streams_request(&s, &request);           the descriptors of the exec
 *     session_exec(...)
 *     streams_started(&s);                     lets go of what the command has now
 *     loop: streams_poll(), poll(), streams_step()
 *     streams_close(&s);                       terminal restored, on every path
 */
#pragma once

#include "api/cli/run_relay.h"
#include "api/cli/run_stdio.h"
#include "api/cli/run_terminal.h"
#include "runtime/runtime.h"

enum { STREAMS_POLL = 6 };

struct streams {
    const struct stdio *stdio;
    bool tty;
    bool seen;     /* init must see every byte */
    bool captured; /* output comes in frames: always with a PTY, and where init must see it */
    struct terminal terminal;
    int inside[3]; /* ends of pipes that the command gets, owned until started; -1 */
    int size_fd;   /* terminal whose size the PTY follows; -1 */
    struct relay relay[3];
};

void streams_init(struct streams *streams); /* so that streams_close() works on every path */
/* `seen`: init must see output go by (idle timeouts), so it is captured instead of passed. */
int streams_open(struct streams *streams, const struct stdio *stdio, bool tty, bool seen,
                 struct err *err);
void streams_close(struct streams *streams);
void streams_request(struct streams *streams, struct exec_request *request);
void streams_started(struct streams *streams);

/* The terminal in raw mode, as far as it can be now; what was typed before is read as typed. */
void streams_enter(struct streams *streams);

void streams_poll(const struct streams *streams, struct pollfd fds[STREAMS_POLL]);
void streams_step(struct streams *streams, const struct pollfd fds[STREAMS_POLL]);

/* May a DATA frame be taken? Not while one is still being written: the frames wait in their pipe,
 * and the command in its PTY. */
bool streams_can_feed(const struct streams *streams);
void streams_feed(struct streams *streams, enum agent_stream stream, const void *data,
                  size_t length);

/* The command has ended: nothing is read from the caller any more, and what it wrote is drained.
 * True when nothing is left to do. */
void streams_end_input(struct streams *streams);
bool streams_drained(const struct streams *streams);

/* Captured output whose reader is gone is dropped; the command is to be told by a signal. */
bool streams_reader_gone(const struct streams *streams);

/* A terminal in another job's foreground is looked at again: true while one is waited for. */
bool streams_retry(struct streams *streams);
