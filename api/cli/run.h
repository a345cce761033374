/* This file is what the parts of `berth run` share: one command, its session and how it went.
 *
 *   run.c           the flow, from options to exit status
 *   run_options.c   words to options          run_plan.c      options to a spec
 *   run_stdio.c     what 0, 1 and 2 are       run_streams.c   the copies and the terminal
 *   run_loop.c      frames, signals, deadlines
 *   run_network.c   the gateway and its events
 *   run_denied.c    system calls that were refused
 *   run_result.c    the result record         run_summary.c   what a person is told
 */
#pragma once

#include "api/cli/run_network.h"
#include "api/cli/run_options.h"
#include "api/cli/run_stdio.h"
#include "api/cli/run_streams.h"
#include "provider/capability.h"
#include "runtime/runtime.h"

enum { RUN_EXEC = 1, RUN_GRACE_MS = 2000, RUN_NOTES_MAX = 64 };

/* How it went. `exit` is valid when `reason` is not NONE; berth's own failure is in `err`. */
struct run_outcome {
    enum agent_reason reason;
    struct agent_exit exit;
    enum agent_start_fault fault; /* of START_FAILED */
    bool failed;                  /* `err` says what berth could not do */
    bool parent_died;             /* the reason of CANCELLED */
    struct err err;
    unsigned long long tty_bytes; /* output that berth saw */
    bool output_seen;             /* all output passed through berth */
};

/* Totals of refused calls, as init told them last (`--explain`). */
enum { RUN_DENIED_MAX = 256 };

struct run_denied {
    unsigned count;
    uint64_t more; /* calls that found no row here: init told more kinds than it has rows for */
    struct agent_denied rows[RUN_DENIED_MAX];
};

struct run {
    struct run_options options;
    struct spec *spec;
    struct runtime *runtime;
    struct session *session;
    struct run_network *network;
    struct run_denied *denied; /* NULL: not asked for */
    struct stdio stdio;
    struct streams streams;
    bool tty;
    int parent;  /* pidfd of the process whose end ends the session; -1 */
    int signals; /* signalfd; -1 */
    struct run_outcome outcome;
    struct capability_mask missing; /* what a refusal is about */
    struct buf dropped;             /* lines: default limits that cannot be had here */
    /* Copies, because the session is gone when they are told. */
    bool has_effective;
    struct session_effective effective;
    struct session_note notes[RUN_NOTES_MAX];
    unsigned note_count;
};

/* ---- run_loop.c --------------------------------------------------------------------------------
 */

/* Before the first fork: the parent of now, by pidfd, when its end shall end the session. */
int run_loop_parent(enum run_parent when, int *ret, struct err *err);

/* Block the signals that are forwarded, for the rest of this process's life, and make
 * `run->signals`. */
int run_loop_open(struct run *run, struct err *err);
void run_loop_close(struct run *run);

/* Did a signal that ends berth come before there was a command to forward it to? Then the outcome
 * is that of a command which died of it. */
bool run_loop_told_to_end(struct run *run);

/* From the start of the command to its EXIT frame, or to the end of the session. */
void run_loop(struct run *run);

/* What the command had written before it ended and its reader has not taken yet. */
void run_loop_drain(struct run *run);

/* ---- run_result.c ------------------------------------------------------------------------------
 */

/* Where `--result` and `--learn` go: found before anything starts, so that a mistake costs nothing.
 */
struct run_result_file {
    const char *flag; /* for messages */
    int directory;    /* the temporary file is made and renamed here; -1 */
    int direct;       /* not a regular file: written as it is; -1 */
    char name[256];   /* in `directory` */
};

int run_result_prepare(struct run_result_file *ret, const char *flag, const char *path,
                       struct err *err);
int run_result_write(const struct run_result_file *file, const struct buf *record, struct err *err);
void run_result_fini(struct run_result_file *file);

void run_result_record(const struct run *run, struct buf *out);
int run_result_status(const struct run_outcome *outcome);

/* ---- run_denied.c ------------------------------------------------------------------------------
 */

void run_denied_take(struct run *run, const struct agent_denied *denied);
void run_denied_summary(const struct run *run, void (*say)(const char *format, ...));
void run_denied_record(const struct run *run, struct buf *out);

/* ---- run_summary.c -----------------------------------------------------------------------------
 */

void run_summary_start(const struct run *run); /* one line: what it runs without */
/* One line for each published port; before the command starts. */
void run_summary_published(struct run *run, struct session *session);
void run_summary_end(const struct run *run); /* one line per denied thing with a known reason */
