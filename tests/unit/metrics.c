/* This file tests the text of metrics: what a scraper would refuse is refused here. */
#include "provider/metrics.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Test(metrics, a_label_is_escaped_and_a_help_has_no_line_of_its_own)
{
    _cleanup_buf_ struct buf out = {0};
    metrics_family(&out, "x", METRICS_GAUGE, "one\\two\n\"three\"");
    metrics_value(&out, "x", METRICS_LABELS({"a", "q\"b\\n\n"}, {"b", ""}), 7);
    cr_expect_str_eq(buf_text(&out), "# HELP berth_x one\\\\two\\n\"three\"\n"
                                     "# TYPE berth_x gauge\n"
                                     "berth_x{a=\"q\\\"b\\\\n\\n\",b=\"\"} 7\n");
}

Test(metrics, a_value_without_labels_has_no_braces_and_seconds_have_a_point)
{
    _cleanup_buf_ struct buf out = {0};
    metrics_value(&out, "x_total", NULL, UINT64_MAX);
    metrics_seconds(&out, "y_seconds", NULL, 12034);
    metrics_seconds(&out, "y_seconds", METRICS_LABELS({"a", "b"}), 7);
    cr_expect_str_eq(buf_text(&out), "berth_x_total 18446744073709551615\n"
                                     "berth_y_seconds 12.034\n"
                                     "berth_y_seconds{a=\"b\"} 0.007\n");
}

Test(metrics, a_histogram_is_cumulative_and_its_last_bucket_is_its_count)
{
    static const uint64_t seen[] = {0, 500, 501, 4000, 9999999, 10000000, 10000001, 3600000000};
    _cleanup_buf_ struct buf out = {0};
    struct metrics_histogram histogram = {0};
    uint64_t sum = 0, last = 0;
    unsigned buckets = 0;
    char line[64];
    for (unsigned i = 0; i < ARRAY_LENGTH(seen); i++) {
        metrics_observe(&histogram, seen[i]);
        sum += seen[i];
    }
    metrics_histogram(&out, "d_seconds", METRICS_LABELS({"operation", "create"}), &histogram);
    const char *text = buf_text(&out);
    for (const char *at = text; (at = strstr(at, "le=\"")); buckets++) {
        at = strchr(at, '}');
        cr_assert_not_null(at);
        uint64_t value = strtoull(at + 1, NULL, 10);
        cr_expect_geq(value, last);
        last = value;
    }
    cr_expect_eq(buckets, METRICS_BUCKETS + 1u);
    cr_expect_eq(last, ARRAY_LENGTH(seen));
    cr_expect(strstr(text, "_bucket{operation=\"create\",le=\"0.0005\"} 2\n"), "%s", text);
    cr_expect(strstr(text, "_bucket{operation=\"create\",le=\"0.001\"} 3\n"), "%s", text);
    cr_expect(strstr(text, "_bucket{operation=\"create\",le=\"10\"} 6\n"), "%s", text);
    cr_expect(strstr(text, "_bucket{operation=\"create\",le=\"+Inf\"} 8\n"), "%s", text);
    snprintf(line, sizeof line, "_sum{operation=\"create\"} %llu.%06llu\n",
             (unsigned long long)(sum / 1000000), (unsigned long long)(sum % 1000000));
    cr_expect(strstr(text, line), "%s: %s", line, text);
    cr_expect(strstr(text, "_count{operation=\"create\"} 8\n"), "%s", text);
}

Test(metrics, the_words_of_calls_are_those_that_are_measured)
{
    cr_expect_eq(metrics_operation_of("create"), METRICS_CREATE);
    cr_expect_eq(metrics_operation_of("exec"), METRICS_EXEC_START);
    cr_expect_eq(metrics_operation_of("resume"), METRICS_RESUME);
    cr_expect_eq(metrics_operation_of("destroy"), METRICS_DESTROY);
    cr_expect_eq(metrics_operation_of("park"), METRICS_OPERATION_COUNT);
    cr_expect_eq(metrics_operation_of(""), METRICS_OPERATION_COUNT);
    cr_expect_str_eq(metrics_operation_name(METRICS_EXEC_START), "exec_start");
}
