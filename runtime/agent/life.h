/* This file is the life of a command after its start: captured output, its end for whatever
 * reason, and the frames that tell of it. table.h has the states. Used by init only.
 *
 * Order at the end: main process reaped, bounded drain, KILL to what is left of the tree, wait
 * until no process is there, read what they wrote, EXIT. With keep_children: EXIT after the drain,
 * then BACKGROUND frames until the tree is gone.
 */
#pragma once

#include "runtime/agent/init.h"

#include <sys/resource.h>

enum { LIFE_DRAIN_MS = 200 };

/* Queue what is known of the row: a TABLE frame, and before it START_FAILED when it was that. False
 * when there is no room. */
bool life_push_told(struct init *init, struct row *row);

/* Close what the row has open except its cgroup. */
void life_close(struct init *init, struct row *row);

/* One piece of captured output of row->stream[which], if there is room for it. */
void life_capture(struct init *init, struct row *row, unsigned which);

/* The main process was reaped. */
void life_main_ended(struct init *init, struct row *row, int status, const struct rusage *usage);

/* Somebody wants it to end: TERM to the tree, and KILL after its grace. The first reason stays. */
void life_ask_end(struct init *init, struct row *row, enum agent_reason reason);

/* Time stood still for it from `from` to `to`. */
void life_shift(struct row *row, uint64_t from, uint64_t to);

/* Do whatever can be done at this moment; called for each live row after each round of events. */
void life_advance(struct init *init, struct row *row);

/* When life_advance() has something to do even if nothing happens; CLOCK_MONOTONIC, UINT64_MAX for
 * never. */
uint64_t life_next_ns(const struct init *init, const struct row *row, uint64_t now_ns);
