/* This file is how numbers become Prometheus' text format 0.0.4, and the few that are gathered
 * while calls are served; it never takes a label's value from a client: each set of values is a
 * closed table of berth's own, so nothing of a workspace can come out (docs/operations.md).
 *
 * Pure. The functions are for one thread, the loop's.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"

#include <stdint.h>

#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* symbol, its value of `operation`, the word that calls have (provider_call.c) */
#define METRICS_OPERATIONS(X)           \
    X(CREATE, "create", "create")       \
    X(EXEC_START, "exec_start", "exec") \
    X(RESUME, "resume", "resume")       \
    X(DESTROY, "destroy", "destroy")

enum metrics_operation {
#define X(symbol, name, call) METRICS_##symbol,
    METRICS_OPERATIONS(X)
#undef X
        METRICS_OPERATION_COUNT
};
const char *metrics_operation_name(enum metrics_operation operation);
/* METRICS_OPERATION_COUNT: it is none of these. */
enum metrics_operation metrics_operation_of(const char *call);

enum { METRICS_BUCKETS = 14 };

struct metrics_histogram {
    uint64_t buckets[METRICS_BUCKETS + 1]; /* each by itself; the last: longer than all bounds */
    uint64_t sum_us;
};
void metrics_observe(struct metrics_histogram *histogram, uint64_t us);

/* ---- text ------------------------------------------------------------------------------------ */

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/* A label and its value; a NULL name ends a list of them. */
struct metrics_label {
    const char *name, *value;
};
#define METRICS_LABELS(...) ((const struct metrics_label[]){__VA_ARGS__, {NULL, NULL}})

/* Once, before a family's values. `name` is without "berth_". */
void metrics_family(struct buf *out, const char *name, enum metrics_kind kind, const char *help);
/* `labels` NULL: none. */
void metrics_value(struct buf *out, const char *name, const struct metrics_label *labels,
                   uint64_t value);
/* A value in seconds, from milliseconds. */
void metrics_seconds(struct buf *out, const char *name, const struct metrics_label *labels,
                     uint64_t ms);
void metrics_histogram(struct buf *out, const char *name, const struct metrics_label *label,
                       const struct metrics_histogram *histogram);
