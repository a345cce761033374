/* This file adds what was sampled to what a session has used (USE-1: no total ever decreases).
 * Pure.
 *
 * Kernel counters begin at 0 with each incarnation and are seen at intervals; differences are
 * added. A clock that goes back adds nothing. Within an incarnation they only grow: a smaller one
 * is of a sample that comes late, or of a counter that could not be read, and adds nothing, now or
 * with the next. A sample of an incarnation before the one that was seen last adds nothing either.
 * disk_bytes and memory_peak_bytes are the largest that was seen.
 */
#pragma once

#include "provider/ledger_rows.h"

struct usage_sample {
    int64_t incarnation;
    int64_t cpu_ns, net_tx_bytes, net_rx_bytes; /* since this incarnation began */
    int64_t memory_bytes, memory_peak_bytes;    /* now; so far */
    int64_t disk_bytes;                         /* -1: not looked at */
    int64_t network[NETWORK_COUNTER_COUNT];     /* since this incarnation began */
};

/* A session that begins its life at `now_ms`, not running. */
void usage_begin(struct usage_row *row, int64_t session, int64_t now_ms);

/* Time passes until `now_ms`: running or parked, as it was since the last call; `running` from now
 * on. */
void usage_advance(struct usage_row *row, int64_t now_ms, bool running);

/* A command has ended, of a session that no cgroup counts: its own time and that of the children
 * that it waited for, and the memory of the largest of them, as init was told by the kernel. */
void usage_add_exec(struct usage_row *row, int64_t cpu_ms, int64_t max_rss_bytes);

/* A sample of a running incarnation, taken at `now_ms`; advances too. */
void usage_add(struct usage_row *row, const struct usage_sample *sample, int64_t now_ms);
