/* This file tests the lines of the log: whatever stands in them, each is one line and one object.
 */
#include "runtime/base/log_line.h"

#include "policy/json.h"
#include "runtime/base/err.h"

#include <criterion/criterion.h>
#include <string.h>

static const char hostile[] = "a\"b\\c\nd\x1b[31m \xff {\"level\":\"x\"}";

static void fill(struct log_line *line, enum log_line_format format)
{
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, 5, "do it", hostile, "%s", hostile);
    log_line_begin(line, format, "error", "launcher", "failure");
    log_line_text(line, "id", hostile);
    log_line_text(line, "none", NULL);
    log_line_number(line, "status", UINT64_MAX);
    log_line_err(line, &err);
    log_line_end(line);
}

Test(log_line, whatever_stands_in_it_is_one_line_and_one_object)
{
    struct log_line line;
    struct arena arena = {0};
    struct json_error error;
    const struct json_node *root;
    fill(&line, LOG_LINE_JSON);
    const char *text = buf_text(&line.text);
    cr_expect_eq(strchr(text, '\n'), text + line.text.length - 1, "%s", text);
    cr_assert_eq(json_parse(&arena, text, line.text.length, 65536, false, &root, &error), 0, "%s",
                 text);
    static const char *const members[] = {"time", "level",  "role", "event", "id",
                                          "none", "status", "code", "errno", "detail"};
    for (unsigned i = 0; i < sizeof members / sizeof members[0]; i++)
        cr_expect(json_member(root, members[i]), "no %s in %s", members[i], text);
    cr_expect_str_eq(json_member(root, "role")->text, "launcher");
    cr_expect_str_eq(json_member(root, "level")->text, "error");
    cr_expect_str_eq(json_member(root, "code")->text, "unavailable");
    arena_fini(&arena);
    buf_fini(&line.text);
}

Test(log_line, as_text_it_is_one_line_that_drives_no_terminal)
{
    struct log_line line;
    fill(&line, LOG_LINE_TEXT);
    const char *text = buf_text(&line.text);
    cr_expect_eq(strncmp(text, "berth: launcher: failure id=\"", 29), 0, "%s", text);
    cr_expect_eq(strchr(text, '\n'), text + line.text.length - 1, "%s", text);
    cr_expect_null(strchr(text, 0x1b), "%s", text);
    cr_expect(strstr(text, " none=- status=18446744073709551615"), "%s", text);
    buf_fini(&line.text);
}

Test(log_line, times_are_those_of_the_calendar)
{
    static const struct {
        uint64_t ms;
        const char *text;
    } times[] = {{0, "\"1970-01-01T00:00:00.000Z\""},
                 {951782399999, "\"2000-02-28T23:59:59.999Z\""},
                 {951782400000, "\"2000-02-29T00:00:00.000Z\""},
                 {4107542400001, "\"2100-03-01T00:00:00.001Z\""}};
    for (unsigned i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct buf out = {0};
        log_line_time(times[i].ms, &out);
        cr_expect_str_eq(buf_text(&out), times[i].text);
        buf_fini(&out);
    }
}
