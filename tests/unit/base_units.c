/* This file tests sizes, durations, cpus and ids: every reader takes the whole string or fails. */
#include "runtime/base/units.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

struct size_case {
    const char *text;
    int result;
    uint64_t bytes;
};

static const struct size_case sizes[] = {
    {"0", 0, 0},
    {"1", 0, 1},
    {"1024", 0, 1024},
    {"1KiB", 0, 1024},
    {"1KB", 0, 1000},
    {"2GiB", 0, 2147483648u},
    {"1.5GiB", 0, 1610612736},
    {"0.5KiB", 0, 512},
    {"18446744073709551615", 0, UINT64_MAX},
    {"18446744073709551616", -ERANGE, 0},
    {"17179869184GiB", -ERANGE, 0},
    {"0.3KiB", -EINVAL, 0}, /* not a whole byte */
    {"1.5", -EINVAL, 0},    /* half a byte */
    {"", -EINVAL, 0},
    {" 1", -EINVAL, 0},
    {"1 ", -EINVAL, 0},
    {"1 GiB", -EINVAL, 0},
    {"-1", -EINVAL, 0},
    {"+1", -EINVAL, 0},
    {"0x10", -EINVAL, 0},
    {"1gib", -EINVAL, 0},
    {"1G", -EINVAL, 0},
    {"GiB", -EINVAL, 0},
    {"1.GiB", -EINVAL, 0},
    {".5GiB", -EINVAL, 0},
    {"1e3", -EINVAL, 0},
    {"0.0000000001GiB", -EINVAL, 0},
};

Test(units, a_size_is_read_whole_or_refused)
{
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t bytes = 77;
        int r = units_parse_size(sizes[i].text, &bytes);
        cr_assert_eq(r, sizes[i].result, "\"%s\" gave %d", sizes[i].text, r);
        cr_assert_eq(bytes, r ? 77 : sizes[i].bytes, "\"%s\" gave %lu", sizes[i].text, bytes);
    }
}

Test(units, a_printed_size_reads_back_as_itself)
{
    static const uint64_t values[] = {0,          1,          1000,      1024,
                                      1536 << 20, 4ull << 30, 123456789, UINT64_MAX};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[40];
        uint64_t back;
        units_format_size(values[i], text, sizeof text);
        cr_assert_eq(units_parse_size(text, &back), 0, "%s", text);
        cr_assert_eq(back, values[i], "%s", text);
    }
    char text[40];
    units_format_size(4ull << 30, text, sizeof text);
    cr_assert_str_eq(text, "4GiB");
}

Test(units, a_duration_has_five_units_and_a_bare_number_is_milliseconds)
{
    static const struct size_case durations[] = {
        {"250", 0, 250},    {"250ms", 0, 250},     {"30s", 0, 30000},
        {"10m", 0, 600000}, {"2h", 0, 7200000},    {"1d", 0, 86400000},
        {"1.5s", 0, 1500},  {"0.5ms", -EINVAL, 0}, {"10min", -EINVAL, 0},
        {"1w", -EINVAL, 0}, {"-1s", -EINVAL, 0},   {"999999999999999d", -ERANGE, 0},
    };
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        uint64_t ms = 77;
        int r = units_parse_duration(durations[i].text, &ms);
        cr_assert_eq(r, durations[i].result, "\"%s\" gave %d", durations[i].text, r);
        if (r == 0)
            cr_assert_eq(ms, durations[i].bytes, "%s", durations[i].text);
    }
}

Test(units, cpus_are_thousandths_and_never_none)
{
    uint64_t millis = 0;
    cr_assert_eq(units_parse_cpus("1.5", &millis), 0);
    cr_assert_eq(millis, 1500);
    cr_assert_eq(units_parse_cpus("2", &millis), 0);
    cr_assert_eq(millis, 2000);
    cr_assert_eq(units_parse_cpus("0", &millis), -EINVAL);
    cr_assert_eq(units_parse_cpus("0.0001", &millis), -EINVAL);
    cr_assert_eq(units_parse_cpus("1.5cpus", &millis), -EINVAL);
}

Test(units, ids_follow_the_grammar_of_ID_2)
{
    static const char *const good[] = {
        "a",       "A9", "a.b",
        "a_b-c.d", "0",  "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz012345678901"};
    static const char *const bad[] = {
        "",
        "-a",
        ".a",
        "_a",
        "a..b",
        "a/b",
        "a b",
        "a\n",
        "\xc3\xa9",
        "..",
        "a\x1b",
        "cgroup.procs\x7f",
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789012"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        cr_assert(id_valid(good[i]), "%s", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_assert_not(id_valid(bad[i]), "%s", bad[i]);
}

Test(units, random_ids_are_valid_and_differ)
{
    char a[24], b[24];
    cr_assert_eq(id_random("s-", a, sizeof a), 0);
    cr_assert_eq(id_random("s-", b, sizeof b), 0);
    cr_assert(id_valid(a));
    cr_assert_str_neq(a, b);
    cr_assert_eq(id_random("too-long-for-it", a, 10), -ENAMETOOLONG);
}
