/* This file does the arithmetic of usage; it never reads a counter or a clock. */
#include "provider/usage.h"

#include <string.h>

/* Additions stop at the largest number: a counter that stands still is wrong by less than one that
 * becomes negative. */
static int64_t plus(int64_t total, int64_t more)
{
    int64_t sum;
    if (more <= 0)
        return total;
    return __builtin_add_overflow(total, more, &sum) ? INT64_MAX : sum;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

void usage_begin(struct usage_row *row, int64_t session, int64_t now_ms)
{
    memset(row, 0, sizeof *row);
    row->session = session;
    row->raw_time_ms = now_ms;
}

/* Milliseconds since the last call; moves the base also when the clock went back. */
static int64_t elapsed(struct usage_row *row, int64_t now_ms)
{
    int64_t passed = now_ms - row->raw_time_ms;
    row->raw_time_ms = now_ms;
    return passed > 0 ? passed : 0;
}

static void pass(struct usage_row *row, int64_t passed_ms)
{
    if (row->raw_running)
        row->running_ms = plus(row->running_ms, passed_ms);
    else
        row->parked_ms = plus(row->parked_ms, passed_ms);
}

void usage_advance(struct usage_row *row, int64_t now_ms, bool running)
{
    pass(row, elapsed(row, now_ms));
    row->raw_running = running;
}

void usage_add_exec(struct usage_row *row, int64_t cpu_ms, int64_t max_rss_bytes)
{
    int64_t cpu_ns;
    if (__builtin_mul_overflow(cpu_ms, INT64_C(1000000), &cpu_ns))
        cpu_ns = cpu_ms < 0 ? 0 : INT64_MAX;
    row->cpu_ns = plus(row->cpu_ns, cpu_ns);
    row->memory_peak_bytes = larger(row->memory_peak_bytes, max_rss_bytes);
}

/* What was counted from 0 on since the incarnation began. */
static void count(int64_t *total, int64_t *raw, int64_t now)
{
    if (now <= *raw)
        return;
    *total = plus(*total, now - *raw);
    *raw = now;
}

void usage_add(struct usage_row *row, const struct usage_sample *sample, int64_t now_ms)
{
    int64_t passed_ms = elapsed(row, now_ms);
    pass(row, passed_ms);
    if (sample->incarnation < row->raw_incarnation)
        return;
    if (sample->incarnation > row->raw_incarnation) {
        row->raw_incarnation = sample->incarnation;
        row->raw_cpu_ns = row->raw_net_tx_bytes = row->raw_net_rx_bytes = 0;
        memset(row->raw_network, 0, sizeof row->raw_network);
    }
    count(&row->cpu_ns, &row->raw_cpu_ns, sample->cpu_ns);
    count(&row->net_tx_bytes, &row->raw_net_tx_bytes, sample->net_tx_bytes);
    count(&row->net_rx_bytes, &row->raw_net_rx_bytes, sample->net_rx_bytes);
    for (int i = 0; i < NETWORK_COUNTER_COUNT; i++)
        count(&row->network[i], &row->raw_network[i], sample->network[i]);
    row->memory_peak_bytes =
        larger(row->memory_peak_bytes, larger(sample->memory_peak_bytes, sample->memory_bytes));
    row->disk_bytes = larger(row->disk_bytes, sample->disk_bytes);

    /* Bytes times milliseconds of years overflow 64 bits: whole byte-seconds and a rest below 1000.
     */
    int64_t seconds = passed_ms / 1000, rest_ms = passed_ms % 1000, product;
    int64_t bytes = larger(sample->memory_bytes, 0);
    if (__builtin_mul_overflow(bytes, seconds, &product))
        product = INT64_MAX;
    row->memory_byte_seconds = plus(row->memory_byte_seconds, product);
    row->memory_byte_seconds = plus(row->memory_byte_seconds, bytes / 1000 * rest_ms);
    row->memory_byte_ms_rest += bytes % 1000 * rest_ms;
    row->memory_byte_seconds = plus(row->memory_byte_seconds, row->memory_byte_ms_rest / 1000);
    row->memory_byte_ms_rest %= 1000;
}
