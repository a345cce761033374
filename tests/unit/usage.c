/* This file tests the arithmetic of usage. */
#include "provider/usage.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static int64_t *totals(struct usage_row *row, size_t i)
{
    int64_t *const all[] = {&row->cpu_ns,     &row->memory_byte_seconds, &row->memory_peak_bytes,
                            &row->disk_bytes, &row->net_tx_bytes,        &row->net_rx_bytes,
                            &row->exec_count, &row->running_ms,          &row->parked_ms,
                            &row->network[0], &row->network[1],          &row->network[2],
                            &row->network[3]};
    return i < sizeof all / sizeof all[0] ? all[i] : NULL;
}

/* Numbers of every size, also absurd ones. */
static int64_t any_number(unsigned *seed)
{
    int64_t n = (int64_t)(((uint64_t)rand_r(seed) << 33) ^ ((uint64_t)rand_r(seed) << 11) ^
                          (uint64_t)rand_r(seed));
    return n >> rand_r(seed) % 63;
}

Test(usage, USE_1_no_total_ever_decreases_whatever_is_sampled)
{
    for (unsigned seed = 1; seed <= 300; seed++) {
        unsigned state = seed;
        struct usage_row row;
        usage_begin(&row, 1, any_number(&state));
        for (int step = 0; step < 200; step++) {
            struct usage_row before = row;
            struct usage_sample sample = {
                .incarnation = rand_r(&state) % 3,
                .cpu_ns = any_number(&state),
                .net_tx_bytes = any_number(&state),
                .net_rx_bytes = any_number(&state),
                .memory_bytes = any_number(&state),
                .memory_peak_bytes = any_number(&state),
                .disk_bytes = any_number(&state),
                .network = {any_number(&state), any_number(&state), any_number(&state),
                            any_number(&state)},
            };
            if (rand_r(&state) % 3)
                usage_add(&row, &sample, any_number(&state));
            else
                usage_advance(&row, any_number(&state), rand_r(&state) % 2);
            for (size_t i = 0; totals(&row, i); i++)
                cr_assert_geq(*totals(&row, i), *totals(&before, i), "seed %u total %zu", seed, i);
            cr_assert(row.memory_byte_ms_rest >= 0 && row.memory_byte_ms_rest < 1000);
        }
    }
}

Test(usage, differences_of_kernel_counters_are_added_across_incarnations)
{
    struct usage_row row;
    usage_begin(&row, 1, 1000);
    usage_advance(&row, 2000, true);
    usage_add(&row, &(struct usage_sample){.incarnation = 1, .cpu_ns = 500}, 3000);
    usage_add(&row, &(struct usage_sample){.incarnation = 1, .cpu_ns = 700, .network = {9, 4}},
              4000);
    usage_add(&row, &(struct usage_sample){.incarnation = 2, .cpu_ns = 50, .network = {1, 1}},
              5000);
    usage_advance(&row, 6000, false);
    usage_advance(&row, 9000, true);
    cr_assert_eq(row.cpu_ns, 750);
    cr_assert_eq(row.network[NETWORK_COUNT_PASSED], 10);
    cr_assert_eq(row.network[NETWORK_COUNT_DENIED_TCP], 5);
    cr_assert_eq(row.running_ms, 4000);
    cr_assert_eq(row.parked_ms, 1000 + 3000);
}

Test(usage, memory_is_bytes_times_seconds_however_often_it_is_sampled)
{
    struct usage_row often, seldom;
    struct usage_sample sample = {.incarnation = 1, .memory_bytes = 123456789};
    usage_begin(&often, 1, 0);
    usage_begin(&seldom, 1, 0);
    often.raw_running = seldom.raw_running = true;
    for (int ms = 7; ms <= 70000; ms += 7)
        usage_add(&often, &sample, ms);
    usage_add(&seldom, &sample, 70000);
    cr_assert_eq(often.memory_byte_seconds, seldom.memory_byte_seconds);
    cr_assert_eq(seldom.memory_byte_seconds, 123456789LL * 70);
}

Test(usage, USE_1_what_comes_late_is_not_counted_twice)
{
    struct usage_row row;
    usage_begin(&row, 1, 0);
    usage_add(&row, &(struct usage_sample){.incarnation = 2, .cpu_ns = 700, .network = {9}}, 1000);
    /* Taken before the last one, or of counters that could not be read. */
    usage_add(&row, &(struct usage_sample){.incarnation = 2, .cpu_ns = 500, .network = {0}}, 2000);
    usage_add(&row, &(struct usage_sample){.incarnation = 2, .cpu_ns = 800, .network = {10}}, 3000);
    cr_assert_eq(row.cpu_ns, 800);
    cr_assert_eq(row.network[0], 10);
    /* Of the incarnation before. */
    usage_add(&row, &(struct usage_sample){.incarnation = 1, .cpu_ns = 4000, .memory_bytes = 1000},
              4000);
    cr_assert_eq(row.cpu_ns, 800);
    cr_assert_eq(row.memory_byte_seconds, 0);
    usage_add(&row, &(struct usage_sample){.incarnation = 2, .cpu_ns = 900}, 5000);
    cr_assert_eq(row.cpu_ns, 900);
}

Test(usage, commands_that_no_cgroup_counts_are_added_and_nothing_overflows)
{
    struct usage_row row;
    usage_begin(&row, 1, 0);
    usage_add_exec(&row, 7, 5000);
    usage_add_exec(&row, 3, 4000);
    cr_assert_eq(row.cpu_ns, 10000000);
    cr_assert_eq(row.memory_peak_bytes, 5000);
    usage_add_exec(&row, INT64_MIN, INT64_MIN);
    cr_assert_eq(row.cpu_ns, 10000000);
    usage_add_exec(&row, INT64_MAX, INT64_MAX);
    usage_add_exec(&row, 1, 1);
    cr_assert_eq(row.cpu_ns, INT64_MAX);
    cr_assert_eq(row.memory_peak_bytes, INT64_MAX);
}
