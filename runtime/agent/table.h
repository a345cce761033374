/* This file is init's table of execs: the truth about what was started in this incarnation. It
 * never makes a system call.
 *
 *   STARTING ── execve() done ──► RUNNING ── main process reaped ──► DRAINING ──► KILLING
 *       │                                                               │            │ tree is gone
 *       └─ could not start ──► FAILING ──► ENDED ◄── EXIT is queued ── FINISHING ◄───┘
 *                                            ▲                          │ keep_children
 *                                            └────── tree is gone ── BACKGROUND
 *
 * Facts: `pid` names our own unreaped child exactly while `main_alive`; the exec's cgroup exists
 * exactly while `cgroup` >= 0; a row is in `live` exactly while its state is not ENDED; frames of
 * an exec are STARTED, DATA…, EXIT, background DATA…, or START_FAILED alone.
 *
 * `keeps` (sessions that outlive their controller): an ended row stays until the controller has
 * said that its outcome is recorded; when every row is live or unsaid, nothing more is started.
 * Numbers of rows that went so are remembered one by one, the last TABLE_GONE of them; no number up
 * to one that fell out of there is accepted, so that nothing can be started twice. Otherwise an
 * ended row stays until its place is needed; then the lowest number goes first and no number up to
 * it is accepted any more.
 */
#pragma once

#include "runtime/agent/protocol.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum row_state {
    ROW_FREE = 0,
    ROW_STARTING,
    ROW_RUNNING,
    ROW_DRAINING,
    ROW_KILLING,
    ROW_FINISHING,
    ROW_BACKGROUND,
    ROW_FAILING,
    ROW_ENDED
};

enum { TABLE_ROWS = AGENT_TABLE_MAX, TABLE_GONE = 1024 };

struct pty;
struct spool;

struct row {
    uint64_t number;
    uint8_t state;        /* enum row_state */
    uint8_t reason_asked; /* enum agent_reason: why init ends it; NONE while it does not */
    bool keep_children;   /* AGENT_EXEC_KEEP_CHILDREN */
    bool files;           /* a file worker: one process, which starts none */
    bool direct;          /* an output goes to a descriptor that init does not see */
    bool main_alive;      /* `pid` is our child and was not reaped */
    bool marked;          /* the child wrote that it is about to execve() */
    bool owes_started;    /* STARTED is to be queued before anything else */
    bool killed;          /* init sent KILL to the whole tree */
    bool main_killed;     /* init sent KILL to the main process */
    bool recorded;        /* the controller needs this row no more */
    bool owes_exit;       /* BACKGROUND with a spool: EXIT is to be queued */
    bool owes_background; /* that it is BACKGROUND is to be queued, after EXIT */
    bool captures;        /* its streams are waited for */
    bool exit_spooled;    /* the exit is in the spool, as exit_seq */
    bool spool_news;      /* SPOOL is to be queued */
    uint16_t kill_tries;  /* without a cgroup: kills of the whole tree */
    bool abandoned;       /* a file worker that was killed and has not gone: EXIT was queued */
    pid_t pid;            /* of the main process; stays for the table after it ended */
    int cgroup;           /* directory e<number>; -1 */
    uint64_t cgroup_id;   /* its inode; 0 */
    int error;            /* pipe (explained: socket) from the child until execve(); -1 */
    int listener;         /* of its denied calls; -1 */
    int stream[2];        /* captured stdout (or PTY master) and stderr; -1 */
    int input[2];         /* pipes from controllers: the one that is read, the next one; -1 */
    int feed;             /* write end of the command's input; -1: none, or a terminal */
    bool takes_input;     /* a controller may attach (input.h) */
    bool input_ends;      /* AGENT_CLOSE_STDIN */
    bool input_waited, feed_waited; /* are in the wait set */
    uint64_t input_left;            /* of input[0]; UINT64_MAX: until its end */
    uint64_t input_bytes;           /* that were taken */
    struct pty *pty;                /* input side of a PTY; NULL */
    struct spool *spool;            /* captured output goes there; NULL: into frames */
    uint64_t seq;                   /* of the last frame of its stream */
    uint64_t exit_seq;
    uint64_t told_ns;      /* of the last SPOOL */
    uint64_t output_limit; /* more of it ends the exec; 0: none */
    uint64_t idle_ns;      /* idle timeout; 0: none */
    uint64_t grace_ns;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none */
    uint64_t activity_ns; /* last byte of output or input */
    uint64_t kill_at_ns;  /* end of the grace; 0: none */
    uint64_t drain_until_ns;
    uint64_t rest_ns; /* a terminal that nobody has open is looked at again then; 0: it is read */
    uint64_t look_ns; /* do not look again whether the tree is gone before */
    uint64_t cpu_ns, cpu_look_ns; /* a file worker's, when last looked at; when to look again */
    uint32_t rest_bytes;          /* read after the tree was gone */
    uint64_t oom_before, pids_before;
    uint32_t uid, gid;                /* of the command */
    uint64_t denied_other;            /* calls that found no row among init's denials */
    uint64_t denied_told;             /* of denied_other */
    uint64_t denied_told_ns;          /* when some were told last */
    bool denied_news;                 /* counted since they were looked at */
    struct agent_exit exit;           /* filled as it becomes known */
    struct agent_start_failed failed; /* reason START_FAILED */
};

struct table {
    unsigned used;       /* rows[used..) were never used, or are free again */
    unsigned free_count; /* free ones among rows[0..used) */
    unsigned live_count;
    bool keeps;
    bool frozen;        /* a table is being sent: no row is given away or freed */
    uint64_t forgotten; /* no number up to it is accepted */
    unsigned gone_next; /* in `gone`, a ring; 0 is no number */
    uint64_t gone[TABLE_GONE];
    uint16_t live[TABLE_ROWS];
    uint64_t numbers[TABLE_ROWS]; /* of rows[i]: a search touches little memory */
    struct row rows[TABLE_ROWS];
};

struct row *table_find(struct table *table, uint64_t number);

/* A fresh row for `number`, which must not be in the table: state STARTING, live, nothing open.
 * NULL when every row is live (or must stay). */
struct row *table_add(struct table *table, uint64_t number);

/* The row is over: state ENDED, no more in `live`. Free, when it is recorded already: `row` may not
 * be used after it. */
void table_end(struct table *table, struct row *row);

/* Its outcome is recorded: frees an ended row; one with children that live is freed with them. */
void table_record(struct table *table, struct row *row);

/* The table was sent: what was recorded meanwhile is freed. */
void table_thaw(struct table *table);

/* Whether a row with this number was freed or given away. */
bool table_had(const struct table *table, uint64_t number);

/* Rows that are not free. */
unsigned table_count(const struct table *table);

unsigned table_index(const struct table *table, const struct row *row);
