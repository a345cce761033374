/* This file is the durable record of a berth: who may write it, when a write is durable, and what a
 * failed write means (docs/adr/0010). It never decides what is right to write; coordinator.h does.
 *
 *     ledger_open(&ledger, &options, &err);              // front only; refuses a second owner
 *     job = (struct ledger_job){.op = LEDGER_OP_VERB_OPEN, .apply = f, .done = g, .data = d};
 *     ledger_submit(ledger, &job, &err);                 // any thread; never blocks
 *     poll(ledger_fd(ledger)) -> ledger_complete(ledger) // one thread: calls done(&job)
 *     ledger_close(ledger);                              // finishes what was accepted
 *
 * `apply` runs on the ledger's thread inside a transaction, with the functions of ledger_rows.h. It
 * touches nothing but the transaction and job->data, and never waits. It returns 0 to keep what it
 * wrote, anything else to take it back: > 0 is an outcome for its caller, < 0 a failure. Jobs are
 * applied in the order of submission. `done` comes when the result is as durable as the operation's
 * row in LEDGER_OPS says, never before.
 *
 * A job belongs to its submitter and must stay where it is until done() was called.
 */
#pragma once

#include "provider/ledger_ops.h"
#include "runtime/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct ledger;
struct ledger_tx; /* valid inside apply() only */

struct ledger_job {
    enum ledger_op op;
    int (*apply)(struct ledger_tx *tx, void *data, struct err *err);
    void (*done)(struct ledger_job *job); /* NULL: nobody waits */
    void *data;
    /* Whose token is bound to a policy meets the sessions of that policy alone: to functions that
     * take a session's name, others are not there. NULL: to him they are. */
    const char *policy;

    /* Results, valid in done(). */
    int result;     /* of apply(), or of the commit when that failed */
    bool certain;   /* result < 0: surely nothing was written. false: only the rows tell */
    struct err err; /* when result < 0 */

    /* The ledger's own. */
    struct ledger_job *next;
    bool waited, complete;
};

struct ledger_options {
    const char *directory;     /* exists, belongs to this user, 0700; the file is `ledger` */
    const char *vfs;           /* NULL; tests put one in between */
    unsigned queue_limit;      /* new jobs that may wait; 0: 1024. Outcomes: twice that */
    unsigned batch_limit;      /* jobs of one transaction; 0: 256 */
    unsigned checkpoint_pages; /* 0: 1000 pages of 4 KiB in the log */
    unsigned retry_ms;         /* first pause after a failure; 0: 100, doubling to 5 s */
};

enum ledger_health {
    LEDGER_OK,
    LEDGER_READ_ONLY, /* a write failed; writes are refused until a probe write was durable */
    LEDGER_BROKEN,    /* not even reads: cannot be opened, damaged */
};

struct ledger_status {
    enum ledger_health health;
    struct err reason;      /* when not LEDGER_OK */
    uint64_t epoch;         /* counts openings: connections to init carry it */
    uint64_t generation;    /* moves when the ledger came back: rows decide again */
    char instance[24];      /* marks every object of this berth */
    uint64_t jobs, refused; /* applied and kept; not admitted */
    uint64_t commits, syncs, checkpoints;
    unsigned waiting;
};

/* Opens or makes it, applies migrations, moves the epoch (durably), starts the thread. -EBUSY:
 * another berth has it; -EPROTO: made by a newer berth, or not by berth. */
int ledger_open(struct ledger **ret, const struct ledger_options *options, struct err *err);

/* Applies what was submitted, calls every done() from here, ends the thread. NULL allowed. */
void ledger_close(struct ledger *ledger);

/* 0: accepted, done() will be called. -EAGAIN (ERR_UNAVAILABLE): the queue is full; nothing was
 * done. Any thread. */
int ledger_submit(struct ledger *ledger, struct ledger_job *job, struct err *err);

/* Submit and wait: for start-up and for threads without an event loop; done() is not called.
 * Returns job->result, with `err` filled when that is negative. Never from apply() or done(). */
int ledger_run(struct ledger *ledger, struct ledger_job *job, struct err *err);

/* A copy of the ledger as it is when `done` comes, made while jobs go on. `fd` is a file without a
 * name, the caller's; -1 when result < 0. One at a time: -EBUSY. */
struct ledger_backup {
    struct ledger_job job; /* done, data; result and err then */
    int fd;
};
int ledger_backup(struct ledger *ledger, struct ledger_backup *backup, struct err *err);

int ledger_fd(const struct ledger *ledger);      /* readable when completions wait */
unsigned ledger_complete(struct ledger *ledger); /* calls done() of each; how many */
void ledger_status(struct ledger *ledger, struct ledger_status *ret);

/* Inside apply(): is this transaction made durable against power loss before it is answered? */
bool ledger_tx_is_full(const struct ledger_tx *tx);
