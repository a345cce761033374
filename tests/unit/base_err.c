/* This file tests errors and text buffers: what a person reads cannot drive his terminal. */
#include "runtime/base/buf.h"
#include "runtime/base/err.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(err, the_return_is_the_system_error_or_EINVAL)
{
    struct err err = {0};
    cr_assert_eq(err_set(&err, ERR_NOT_FOUND, ENOENT, "open", "x", NULL), -ENOENT);
    cr_assert_eq(err_set(&err, ERR_USAGE, 0, "read", "y", "why %d", 3), -EINVAL);
    cr_assert_str_eq(err.detail, "why 3");
    cr_assert_eq(err_set(NULL, ERR_USAGE, 0, "read", "y", NULL), -EINVAL);
}

Test(err, who_met_a_shortage_is_told_to_ask_again)
{
    struct err err = {0};
    cr_assert_eq(err_set(&err, ERR_INVALID_REQUEST, EMFILE, "open", "x", NULL), -EMFILE);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    err_raw(&err, ERR_CAPABILITY_UNAVAILABLE, EAGAIN, "clone", NULL);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    err_raw(&err, ERR_INTERNAL, ENOMEM, "read", NULL);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    err_raw(&err, ERR_IN_PROGRESS, EAGAIN, "lock", NULL);
    cr_assert_eq(err.code, ERR_IN_PROGRESS, "an outcome of its own stays");
    err_raw(&err, ERR_INVALID_REQUEST, ENOENT, "open", NULL);
    cr_assert_eq(err.code, ERR_INVALID_REQUEST);
}

Test(err, every_code_has_a_name_and_a_status)
{
    for (int c = 1; c < ERR_CODE_COUNT; c++) {
        cr_assert(err_code_name((enum err_code)c)[0], "code %d", c);
        int status = err_code_status((enum err_code)c);
        cr_assert(status >= 400 && status < 600, "code %d", c);
    }
    cr_assert_str_eq(err_code_name((enum err_code)9999), "internal");
}

Test(err, a_message_escapes_control_characters)
{
    struct err err = {0};
    char text[512];
    err_set(&err, ERR_NOT_FOUND, ENOENT, "open",
            "a\x1b[31m\nb\xc2\x9b"
            "c",
            "Try %s.", "\x07this");
    err_format(&err, text, sizeof text);
    for (const char *p = text; *p; p++)
        cr_assert((unsigned char)*p >= 0x20 && *p != 0x7f, "%s", text);
    cr_assert(strstr(text, "\\x1b[31m\\x0ab"), "%s", text);
    cr_assert_not(strstr(text, "\xc2\x9b"), "C1 controls are escaped too");
    cr_assert(strncmp(text, "not_found: open: ", 17) == 0, "%s", text);
}

Test(err, a_long_subject_is_cut_at_a_character)
{
    char subject[600];
    for (size_t i = 0; i + 2 < sizeof subject; i += 2)
        memcpy(subject + i, "\xc3\xa9", 3);
    struct err err = {0};
    err_raw(&err, ERR_INTERNAL, EIO, "step", subject);
    size_t n = strlen(err.subject);
    cr_assert(n < sizeof err.subject);
    cr_assert_eq(n % 2, 0, "no half character");
}

Test(buf, json_strings_are_valid_whatever_the_bytes)
{
    _cleanup_buf_ struct buf b = {0};
    buf_json_string(&b, "a\"\\\n\x01\xff\xc3\xa9\xed\xa0\x80");
    cr_assert_str_eq(buf_text(&b), "\"a\\\"\\\\\\n\\u0001\\ufffd\xc3\xa9\\ufffd\\ufffd\\ufffd\"");
}

Test(buf, grows_and_hands_over)
{
    struct buf b = {0};
    for (int i = 0; i < 1000; i++)
        buf_printf(&b, "%d,", i);
    cr_assert_not(buf_failed(&b));
    cr_assert_eq(b.length, strlen(b.data));
    char *text = buf_take(&b);
    cr_assert(strncmp(text, "0,1,2,", 6) == 0);
    free(text);
    cr_assert_str_eq(buf_text(&b), "");
}
