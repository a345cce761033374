/* This file is the state of init, PID 1 of one session, and the names of what its loop waits for.
 * init is single-threaded and has one of these, in its zeroed data; after setup it never allocates
 * but for the payload of an exec that is being started and the input side of a PTY.
 */
#pragma once

#include "runtime/agent/output.h"
#include "runtime/agent/protocol.h"
#include "runtime/agent/table.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

/* What an epoll event is about: the kind, and the index of a row above bit 8. */
enum wait_kind {
    WAIT_CONTROL = 1,
    WAIT_FRAMES,
    WAIT_CHILDREN,
    WAIT_CAPTURE, /* the nested set of captured streams */
    WAIT_ERROR,
    WAIT_PTY_INPUT,
    WAIT_PTY_MASTER,
    WAIT_STREAM_0, /* in the nested set: row->stream[0] */
    WAIT_STREAM_1,
};

struct init {
    struct agent_config config;
    const struct sock_filter *base_filter, *exec_filter; /* into the copy of the configuration */
    const struct agent_landlock_path *landlock_paths;
    struct rlimit open_files; /* as init found it: for commands that leave theirs */
    int landlock;             /* ruleset until it is enforced; -1 */

    int wait;     /* epoll: everything */
    int capture;  /* epoll: captured streams; is in `wait` while the queue has room */
    int children; /* signalfd of SIGCHLD */
    bool capture_waits, frames_wait, control_waits; /* what `wait` has now */
    bool control_open, control_gone;                /* no end of file yet; that was dealt with */
    bool reap_more;                                 /* a bounded round of reaping left some */
    bool reaped;      /* this round reaped something: a tree may be gone */
    bool no_children; /* the last round found that init has no child at all */
    bool shutdown;

    uint64_t epoch, interrupt_floor;
    unsigned table_sent, table_end; /* rows of an answer to HELLO: next, end */

    struct table table;
    struct output output;
};

static inline uint64_t init_now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t init_wait_data(enum wait_kind kind, unsigned row)
{
    return (uint64_t)row << 8 | (uint64_t)kind;
}
