/* This file tests how the command line reads what a server sends: heads, bodies and events, whole,
 * in single bytes, and malformed. */
#include "api/cli/client_head.h"
#include "api/cli/client_sse.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#define OK "HTTP/1.1 200 OK\r\n"

/* ---- heads ----------------------------------------------------------------------------------- */

Test(client_head, a_head_is_read_when_it_is_whole_and_not_before)
{
    static const char text[] =
        OK "Content-Type: application/json\r\ncontent-length:  12 \r\n"
           "Connection: close\r\nRetry-After: 3\r\nX-Berth-Type: directory\r\n"
           "X-Berth-Mode: 0755\r\n\r\n{}";
    size_t whole = sizeof text - 3, used = 0;
    struct client_head head;
    for (size_t n = 0; n < whole; n++)
        cr_assert_eq(client_head_read(text, n, &head, &used, NULL), CLIENT_HEAD_MORE, "%zu", n);
    cr_assert_eq(client_head_read(text, sizeof text - 1, &head, &used, NULL), 0);
    cr_expect_eq(used, whole);
    cr_expect_eq(head.status, 200);
    cr_expect(head.has_length && head.length == 12 && !head.chunked && head.close);
    cr_expect_eq(head.retry_after_s, 3u);
    cr_expect_str_eq(head.media_type, "application/json");
    cr_expect_str_eq(head.type, "directory");
    cr_expect(head.has_mode && head.mode == 0755);
}

Test(client_head, what_berth_never_sends_is_refused)
{
    static const char *const rows[] = {
        "HTTP/1.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000\r\n\r\n",
        "HTTP/1.1 999 X\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "SSH-2.0-x\r\n\r\n",
        OK "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        OK "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK "Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK "Content-Length: -1\r\n\r\n",
        OK "Content-Length: 99999999999999999999\r\n\r\n",
        OK "Content-Length: 1 2\r\n\r\n",
        OK "Content-Length:\r\n\r\n",
        OK "A b: c\r\n\r\n",
        OK ": c\r\n\r\n",
        OK "no colon\r\n\r\n",
        OK "A: b\nB: c\r\n\r\n",
        OK "A: b\x01\r\n\r\n",
        OK "A: b\r\r\n\r\n",
        OK " folded: x\r\n\r\n",
        "\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct client_head head;
        struct err err = {0};
        size_t used;
        cr_expect_lt(client_head_read(rows[i], strlen(rows[i]), &head, &used, &err), 0, "row %zu",
                     i);
        cr_expect_neq(err.code, ERR_NONE, "row %zu", i);
    }
}

Test(client_head, a_head_without_end_is_refused_at_its_bound)
{
    static char text[CLIENT_HEAD_MAX + 64] = OK "A: ";
    struct client_head head;
    size_t used, begin = strlen(text);
    memset(text + begin, 'x', sizeof text - begin);
    cr_expect_eq(client_head_read(text, CLIENT_HEAD_MAX - 1, &head, &used, NULL), CLIENT_HEAD_MORE);
    cr_expect_lt(client_head_read(text, CLIENT_HEAD_MAX, &head, &used, NULL), 0);
    memcpy(text + CLIENT_HEAD_MAX, "\r\n\r\n", 4);
    cr_expect_lt(client_head_read(text, CLIENT_HEAD_MAX + 4, &head, &used, NULL), 0);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* The body of `data` as it comes in pieces of `step` bytes; negative, or how it ended. */
static int body_of(bool chunked, uint64_t length, const char *data, size_t size, size_t step,
                   struct buf *out)
{
    const struct client_head head = {
        .status = 200, .chunked = chunked, .has_length = !chunked, .length = length};
    struct client_body body;
    int r = client_body_init(&body, &head, false, NULL);
    size_t at = 0;
    while (r == 0 || r == CLIENT_BODY_MORE) {
        size_t room = size - at < step ? size - at : step, used;
        const char *piece;
        size_t n;
        if (r == CLIENT_BODY_MORE && room == 0)
            return r;
        r = client_body_next(&body, data + at, room, &used, &piece, &n, NULL);
        if (r >= 0 && n > 0)
            buf_add(out, piece, n);
        if (r >= 0)
            at += used;
    }
    return r;
}

Test(client_body, chunks_are_put_together_wherever_they_are_split)
{
    static const char text[] = "5\r\nhello\r\n1\r\n,\r\n0A\r\n worldwide\r\n0\r\n\r\n";
    for (size_t step = 1; step <= sizeof text; step++) {
        _cleanup_buf_ struct buf out = {0};
        cr_assert_eq(body_of(true, 0, text, sizeof text - 1, step, &out), CLIENT_BODY_END, "%zu",
                     step);
        cr_assert_str_eq(buf_text(&out), "hello, worldwide");
    }
}

Test(client_body, a_length_is_kept_and_what_is_missing_is_seen)
{
    _cleanup_buf_ struct buf out = {0}, cut = {0}, none = {0};
    cr_expect_eq(body_of(false, 5, "hello, and more", 15, 3, &out), CLIENT_BODY_END);
    cr_expect_str_eq(buf_text(&out), "hello");
    cr_expect_eq(body_of(false, 6, "hello", 5, 5, &cut), CLIENT_BODY_MORE);
    cr_expect_eq(body_of(false, 0, "", 0, 1, &none), CLIENT_BODY_END);
}

Test(client_body, what_stands_behind_the_last_chunk_is_kept_and_has_a_bound)
{
    static const char text[] =
        "1\r\nx\r\n0\r\nDate: never\r\nX-Berth-Left-Out: 12\r\nx-berth-left-out-names:  a%20b, "
        "c\r\n\r\n";
    const struct client_head head = {.status = 200, .chunked = true};
    struct client_body body;
    _cleanup_buf_ struct buf out = {0}, many = {0}, longest = {0};
    cr_assert_eq(client_body_init(&body, &head, false, NULL), 0);
    for (size_t at = 0, used, n; at < sizeof text - 1; at += used) {
        const char *piece;
        cr_assert_geq(client_body_next(&body, text + at, 1, &used, &piece, &n, NULL), 0);
    }
    cr_expect_eq(body.state, CLIENT_BODY_DONE);
    cr_expect_eq(body.left_out.count, 12u);
    cr_expect_str_eq(body.left_out.names, "a%20b, c");
    buf_puts(&many, "0\r\n");
    buf_puts(&longest, "0\r\nX-Berth-Left-Out-Names: ");
    for (unsigned i = 0; i < 4000; i++) {
        if (i < 17)
            buf_puts(&many, "A: b\r\n");
        buf_putc(&longest, 'a');
    }
    cr_expect_lt(body_of(true, 0, buf_text(&many), many.length, 100, &out), 0);
    cr_expect_lt(body_of(true, 0, buf_text(&longest), longest.length, 100, &out), 0);
}

Test(client_body, broken_chunks_are_refused)
{
    static const char *const rows[] = {
        "\r\n",
        "x\r\n",
        "5 \r\nhello\r\n",
        "5;a=b\r\nhello\r\n",
        "5\nhello",
        "5\r\nhello0",
        "5\r\nhello\n0\r\n",
        "0\r\nno field\r\n\r\n",
        "0\r\n: x\r\n\r\n",
        "0\r\nA: x\n\r\n",
        "0\r\nA: \x01\r\n\r\n",
        "0\r\nX-Berth-Left-Out: many\r\n\r\n",
        "0\r\nX-Berth-Left-Out: -1\r\n\r\n",
        "-1\r\n",
        "1000000000000000\r\n",
        "0x5\r\nhello\r\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++)
        for (size_t step = 1; step < 8; step++) {
            _cleanup_buf_ struct buf out = {0};
            cr_expect_lt(body_of(true, 0, rows[i], strlen(rows[i]), step, &out), 0, "row %zu", i);
        }
}

Test(client_body, an_answer_without_framing_is_refused_and_one_to_head_has_no_body)
{
    struct client_body body;
    struct err err;
    const struct client_head bare = {.status = 200},
                             sized = {.status = 200, .has_length = true, .length = 9};
    cr_expect_lt(client_body_init(&body, &bare, false, &err), 0);
    cr_expect_eq(client_body_init(&body, &sized, true, &err), 0);
    size_t used, n;
    const char *piece;
    cr_expect_eq(client_body_next(&body, "next", 4, &used, &piece, &n, &err), CLIENT_BODY_END);
    cr_expect_eq(used, 0u);
}

/* ---- events ---------------------------------------------------------------------------------- */

static const char stream[] = ":\n\n"
                             "id: 7\nevent: stdout\ndata: {\"a\":1}\n\n"
                             "event: lonely\n\n"
                             "id: 8\r\nevent: exit\r\ndata: one\r\ndata:two\r\n\r\n"
                             "data\n\n"
                             "id:9\nunknown: x\ndata: :x\n\n"
                             "id: 10\ndata: half";
static const char told[] = "7 stdout {\"a\":1}|8 exit one\ntwo|0 message |9 message :x|";

static void read_all(const char *text, size_t length, size_t step, struct buf *out)
{
    struct client_sse sse = {0};
    for (size_t begin = 0; begin < length; begin += step) {
        size_t room = length - begin < step ? length - begin : step, at = 0;
        for (;;) {
            struct client_event event;
            int r = client_sse_next(&sse, text + begin, room, &at, &event, NULL);
            cr_assert_geq(r, 0);
            if (r == CLIENT_SSE_MORE)
                break;
            buf_printf(out, "%llu %s %s|", (unsigned long long)event.id, event.type, event.data);
            cr_assert_eq(strlen(event.data), event.length);
        }
        cr_assert_eq(at, room);
    }
    client_sse_fini(&sse);
}

Test(client_sse, events_are_the_same_wherever_they_are_split)
{
    for (size_t step = 1; step <= sizeof stream; step++) {
        _cleanup_buf_ struct buf out = {0};
        read_all(stream, sizeof stream - 1, step, &out);
        cr_assert_str_eq(buf_text(&out), told, "step %zu", step);
    }
}

Test(client_sse, EXEC_2_half_an_event_is_not_given_out)
{
    _cleanup_buf_ struct buf out = {0};
    read_all("id: 1\ndata: x\n", 14, 14, &out);
    cr_expect_eq(out.length, 0u);
}

Test(client_sse, what_is_no_number_or_too_large_is_refused)
{
    static const char *const rows[] = {
        "id: x\n", "id: 1\nid: 2\n", "id: 99999999999999999999999\n",
        "event: 0123456789012345678901234567890123456789012345678901234567890123456789\n"};
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct client_sse sse = {0};
        struct client_event event;
        size_t at = 0;
        cr_expect_lt(client_sse_next(&sse, rows[i], strlen(rows[i]), &at, &event, NULL), 0, "%zu",
                     i);
        client_sse_fini(&sse);
    }
    struct client_sse sse = {0};
    struct client_event event;
    size_t at = 0, sent = 0;
    int r = CLIENT_SSE_MORE;
    char *block = malloc(1 << 16);
    cr_assert(block);
    memset(block, 'x', 1 << 16);
    cr_assert_eq(client_sse_next(&sse, "data: ", 6, &at, &event, NULL), CLIENT_SSE_MORE);
    while (r == CLIENT_SSE_MORE && sent <= 2u * CLIENT_SSE_MAX) {
        at = 0;
        r = client_sse_next(&sse, block, 1 << 16, &at, &event, NULL);
        sent += 1 << 16;
    }
    cr_expect_lt(r, 0, "a line without end is taken");
    cr_expect_leq(sent, (size_t)CLIENT_SSE_MAX + (1 << 17));
    at = 0;
    client_sse_fini(&sse);
    cr_expect_lt(client_sse_next(&sse, "data: a\0b\n", 10, &at, &event, NULL), 0);
    client_sse_fini(&sse);
    free(block);
}
