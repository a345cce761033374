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

/* What an epoll event is about: the kind, and above bit 8 the index of a row or of a waiting
 * connection, or (control, frames) the number of the connection. */
enum wait_kind {
    WAIT_CONTROL = 1,
    WAIT_FRAMES,
    WAIT_CHILDREN,
    WAIT_CAPTURE, /* the nested set of captured streams */
    WAIT_ERROR,
    WAIT_INPUT, /* row->input[0] */
    WAIT_FEED,
    WAIT_PTY_MASTER,
    WAIT_STREAM_0, /* row->stream[0]; in the nested set unless the row has a spool */
    WAIT_STREAM_1,
    WAIT_LISTEN,
    WAIT_HELLO,  /* an accepted connection that has not said it */
    WAIT_DENIED, /* row->listener */
};

/* Captured bytes on their way to a spool. */
enum { PIECE_SIZE = 256 * 1024, BUFFER_KEPT = 16 * 1024 };

/* Connections that may be without a HELLO at the same time: the oldest makes room. */
enum { CONNECTIONS_WAITING = 4 };

struct waiting_connection {
    int fd; /* -1: free */
    uint64_t until_ns;
};

/* Interrupts that are not answered yet. */
enum { INTERRUPTS_MAX = 8 };

/* Denied calls of the session that are counted one by one, and of one exec. */
enum { DENIALS_MAX = 256, DENIALS_OF_EXEC_MAX = 63 };

struct denial {
    uint64_t exec; /* 0: free */
    uint64_t told; /* of denied.count */
    struct agent_denied denied;
};

struct init {
    struct agent_config config;
    const struct sock_filter *base_filter, *exec_filter; /* into the copy of the configuration */
    struct sock_filter *asking_filter; /* what commands load instead; NULL: nothing is explained */
    const struct agent_landlock_path *landlock_paths;
    struct rlimit open_files; /* as init found it: for commands that leave theirs */
    int landlock;             /* ruleset until it is enforced; -1 */

    int wait;     /* epoll: everything */
    int capture;  /* epoll: captured streams; is in `wait` while the queue has room */
    int children; /* signalfd of SIGCHLD */
    bool capture_waits, frames_wait, control_waits; /* what `wait` has now */
    int control;                                    /* the one connection that is obeyed; -1 */
    bool control_ended;                             /* end of file was seen at it */
    uint16_t connection; /* counts them: events of one that was closed mean nothing */
    struct waiting_connection waiting[CONNECTIONS_WAITING];
    uint64_t listen_at_ns; /* accept() failed for want of something: again then; 0: it listens */
    bool reap_more;        /* a bounded round of reaping left some */
    bool reaped;           /* this round reaped something: a tree may be gone */
    bool no_children;      /* the last round found that init has no child at all */
    bool shutdown;

    uint64_t epoch, interrupt_floor;
    uint64_t paused_ns;                  /* time-outs stand still since then; 0: they do not */
    uint64_t interrupts[INTERRUPTS_MAX]; /* floors to be answered; 0: none */
    unsigned table_sent, table_end;      /* rows of an answer to HELLO: next, end */

    struct table table;
    unsigned denials_used; /* denials[denials_used..) were never used */
    uint64_t reclaimed_ns; /* when rows that nobody needs were looked for among them */
    struct denial denials[DENIALS_MAX];
    struct output output;
    uint64_t
        buffers_ns; /* when much of the buffers was last used; 0: their pages were given back */
    unsigned char piece[PIECE_SIZE];
};

static inline uint64_t init_now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t init_wait_data(enum wait_kind kind, unsigned which)
{
    return (uint64_t)which << 8 | (uint64_t)kind;
}
