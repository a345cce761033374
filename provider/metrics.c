/* This file writes the text of metrics; it never knows what they mean. */
#include "provider/metrics.h"

#include "runtime/base/fd.h"

#include <inttypes.h>
#include <string.h>

/* From half of what the fastest takes to more than any deadline of a start. */
static const struct {
    uint64_t us;
    const char *text;
} bounds[METRICS_BUCKETS] = {
    {500, "0.0005"},  {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},
    {25000, "0.025"}, {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},
    {1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},   {10000000, "10"},
};

static const struct {
    const char *name, *call;
} operations[METRICS_OPERATION_COUNT] = {
#define X(symbol, name, call) {name, call},
    METRICS_OPERATIONS(X)
#undef X
};

const char *metrics_operation_name(enum metrics_operation operation)
{
    return operations[operation].name;
}

enum metrics_operation metrics_operation_of(const char *call)
{
    unsigned i = 0;
    while (i < METRICS_OPERATION_COUNT && strcmp(operations[i].call, call) != 0)
        i++;
    return (enum metrics_operation)i;
}

void metrics_observe(struct metrics_histogram *histogram, uint64_t us)
{
    unsigned i = 0;
    while (i < METRICS_BUCKETS && us > bounds[i].us)
        i++;
    histogram->buckets[i]++;
    histogram->sum_us += us;
}

/* ---- text ------------------------------------------------------------------------------------ */

static void put_escaped(struct buf *out, const char *text, bool quoted)
{
    for (; *text; text++)
        if (*text == '\n')
            buf_puts(out, "\\n");
        else if (*text == '\\' || (quoted && *text == '"'))
            buf_printf(out, "\\%c", *text);
        else
            buf_putc(out, *text);
}

void metrics_family(struct buf *out, const char *name, enum metrics_kind kind, const char *help)
{
    static const char *const kinds[] = {"counter", "gauge", "histogram"};
    buf_printf(out, "# HELP berth_%s ", name);
    put_escaped(out, help, false);
    buf_printf(out, "\n# TYPE berth_%s %s\n", name, kinds[kind]);
}

/* "berth_NAME{a=\"b\",le=\"1\"} ", where `le` may be NULL. */
static void put_name(struct buf *out, const char *name, const char *suffix,
                     const struct metrics_label *labels, const char *le)
{
    const char *before = "{";
    buf_printf(out, "berth_%s%s", name, suffix);
    for (; labels && labels->name; labels++, before = ",") {
        buf_printf(out, "%s%s=\"", before, labels->name);
        put_escaped(out, labels->value, true);
        buf_putc(out, '"');
    }
    if (le)
        buf_printf(out, "%sle=\"%s\"", before, le);
    buf_puts(out, before[0] == ',' || le ? "} " : " ");
}

void metrics_value(struct buf *out, const char *name, const struct metrics_label *labels,
                   uint64_t value)
{
    put_name(out, name, "", labels, NULL);
    buf_printf(out, "%" PRIu64 "\n", value);
}

void metrics_seconds(struct buf *out, const char *name, const struct metrics_label *labels,
                     uint64_t ms)
{
    put_name(out, name, "", labels, NULL);
    buf_printf(out, "%" PRIu64 ".%03" PRIu64 "\n", ms / 1000, ms % 1000);
}

void metrics_histogram(struct buf *out, const char *name, const struct metrics_label *labels,
                       const struct metrics_histogram *histogram)
{
    uint64_t count = 0;
    for (unsigned i = 0; i <= METRICS_BUCKETS; i++) {
        count += histogram->buckets[i];
        put_name(out, name, "_bucket", labels, i < METRICS_BUCKETS ? bounds[i].text : "+Inf");
        buf_printf(out, "%" PRIu64 "\n", count);
    }
    put_name(out, name, "_sum", labels, NULL);
    buf_printf(out, "%" PRIu64 ".%06" PRIu64 "\n", histogram->sum_us / 1000000,
               histogram->sum_us % 1000000);
    put_name(out, name, "_count", labels, NULL);
    buf_printf(out, "%" PRIu64 "\n", count);
}
