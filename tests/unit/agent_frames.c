/* This file tests the checks of init's frames and the reader that reassembles them (attack row 52).
 */
#include "runtime/agent/frame_reader.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static struct agent_frame good(uint16_t type)
{
    static const uint32_t lengths[AGENT_FRAME_TYPE_END] = {
        [AGENT_FRAME_READY] = sizeof(struct agent_ready),
        [AGENT_FRAME_FAILED] = sizeof(struct err),
        [AGENT_FRAME_TABLE] = sizeof(struct agent_table_row),
        [AGENT_FRAME_STARTED] = sizeof(struct agent_started),
        [AGENT_FRAME_START_FAILED] = sizeof(struct agent_start_failed),
        [AGENT_FRAME_DATA] = 10,
        [AGENT_FRAME_EXIT] = sizeof(struct agent_exit),
        [AGENT_FRAME_DENIED] = sizeof(struct agent_denied),
    };
    struct agent_frame f = {.magic = AGENT_MAGIC,
                            .version = AGENT_VERSION,
                            .type = type,
                            .length = lengths[type],
                            .stream = type == AGENT_FRAME_DATA ? AGENT_STDOUT : 0,
                            .exec = 1,
                            .seq = 1};
    return f;
}

Test(agent_frames, every_type_has_a_rule_and_every_field_is_checked)
{
    for (uint16_t type = 1; type < AGENT_FRAME_TYPE_END; type++) {
        struct agent_frame f = good(type);
        cr_assert_null(agent_frame_check(&f), "type %u: %s", type, agent_frame_check(&f));
        bool data = type == AGENT_FRAME_DATA;
        f.length = data ? AGENT_FRAME_PAYLOAD_MAX + 1 : f.length + 1;
        cr_expect(agent_frame_check(&f), "type %u is too long", type);
        f = good(type);
        if (f.length > 0) {
            f.length = data ? 0 : f.length - 1;
            cr_expect(agent_frame_check(&f), "type %u is too short", type);
        }
        f = good(type);
        f.stream = data ? AGENT_STREAM_END : AGENT_STDOUT;
        cr_expect(agent_frame_check(&f), "type %u has a wrong stream", type);
        f = good(type);
        f.magic++;
        cr_expect(agent_frame_check(&f));
        f = good(type);
        f.version++;
        cr_expect(agent_frame_check(&f));
        f = good(type);
        f.reserved = 1;
        cr_expect(agent_frame_check(&f));
        f = good(type);
        f.seq = 0;
        cr_expect_eq(agent_frame_check(&f) != NULL, data || type == AGENT_FRAME_EXIT ||
                                                        type == AGENT_FRAME_SPOOL ||
                                                        type == AGENT_FRAME_STDIN);
        f = good(type);
        f.exec = 0;
        bool session = type <= AGENT_FRAME_HELLO || type == AGENT_FRAME_PONG;
        cr_expect_eq(agent_frame_check(&f) == NULL, session, "type %u without exec", type);
    }
    struct agent_frame f = good(1);
    f.type = 0;
    cr_expect(agent_frame_check(&f));
    f.type = AGENT_FRAME_TYPE_END;
    cr_expect(agent_frame_check(&f));
    f = good(AGENT_FRAME_DATA);
    f.length = AGENT_FRAME_PAYLOAD_MAX;
    cr_expect_null(agent_frame_check(&f));
}

Test(agent_frames, a_text_without_end_and_an_enum_out_of_range_are_refused)
{
    struct agent_frame f = good(AGENT_FRAME_FAILED);
    struct err err = {.code = ERR_INTERNAL};
    cr_expect_null(agent_frame_payload_check(&f, &err));
    memset(err.subject, 'x', sizeof err.subject);
    cr_expect(agent_frame_payload_check(&f, &err));
    err.subject[10] = 0;
    err.code = ERR_CODE_COUNT;
    cr_expect(agent_frame_payload_check(&f, &err));

    f = good(AGENT_FRAME_START_FAILED);
    struct agent_start_failed failed = {.fault = AGENT_START_BERTH};
    cr_expect_null(agent_frame_payload_check(&f, &failed));
    memset(failed.step, 'x', sizeof failed.step);
    cr_expect(agent_frame_payload_check(&f, &failed));
    failed.step[1] = 0;
    failed.fault = 4;
    cr_expect(agent_frame_payload_check(&f, &failed));

    f = good(AGENT_FRAME_EXIT);
    struct agent_exit exit = {.reason = AGENT_REASON_EXIT, .exit_code = 255};
    cr_expect_null(agent_frame_payload_check(&f, &exit));
    exit.exit_code = 256;
    cr_expect(agent_frame_payload_check(&f, &exit));
    exit.exit_code = -1;
    exit.signal = 65;
    cr_expect(agent_frame_payload_check(&f, &exit));
    exit.signal = 9;
    exit.reason = AGENT_REASON_NONE;
    cr_expect(agent_frame_payload_check(&f, &exit));
    exit.reason = AGENT_REASON_END;
    cr_expect(agent_frame_payload_check(&f, &exit));
    exit.reason = AGENT_REASON_SIGNAL;
    exit.scratch_full = AGENT_FULL_BYTES | AGENT_FULL_INODES;
    cr_expect_null(agent_frame_payload_check(&f, &exit));
    exit.scratch_full++;
    cr_expect(agent_frame_payload_check(&f, &exit));
    exit.scratch_full = 0;
    exit.output_truncated = 2;
    cr_expect(agent_frame_payload_check(&f, &exit));

    f = good(AGENT_FRAME_DENIED);
    const struct agent_denied fine = {
        .count = 1, .number = 165, .sys = 1, .flags = AGENT_DENIED_ARGUMENT, .argument = 5};
    struct agent_denied denied = fine;
    cr_expect_null(agent_frame_payload_check(&f, &denied));
    denied.argument = 6;
    cr_expect(agent_frame_payload_check(&f, &denied));
    denied = fine;
    denied.count = 0;
    cr_expect(agent_frame_payload_check(&f, &denied));
    denied = fine;
    denied.sys = 0;
    cr_expect(agent_frame_payload_check(&f, &denied));
    denied.sys = 4096;
    cr_expect(agent_frame_payload_check(&f, &denied));
    denied = fine;
    memset(denied.command, 'x', sizeof denied.command);
    cr_expect(agent_frame_payload_check(&f, &denied));
    denied = (struct agent_denied){.count = 3, .number = -1, .flags = AGENT_DENIED_OTHER};
    cr_expect_null(agent_frame_payload_check(&f, &denied));
    denied.number = 165;
    cr_expect(agent_frame_payload_check(&f, &denied));
    denied.number = -1;
    denied.flags = 4;
    cr_expect(agent_frame_payload_check(&f, &denied));

    f = good(AGENT_FRAME_TABLE);
    struct agent_table_row row = {.exec = 1, .state = 1};
    cr_expect_null(agent_frame_payload_check(&f, &row));
    row.state = 2;
    cr_expect(agent_frame_payload_check(&f, &row), "ended without a reason");
    row.exec = 2;
    row.state = 1;
    cr_expect(agent_frame_payload_check(&f, &row), "another exec");
}

Test(agent_frames, every_reason_has_a_name)
{
    for (int i = AGENT_REASON_NONE + 1; i < AGENT_REASON_END; i++)
        cr_expect_str_neq(agent_reason_name((enum agent_reason)i), "unknown");
    cr_expect_str_eq(agent_reason_name(AGENT_REASON_NONE), "unknown");
    cr_expect_str_eq(agent_reason_name(AGENT_REASON_END), "unknown");
    cr_expect_str_eq(agent_reason_name(AGENT_REASON_IDLE_TIMEOUT), "idle_timeout");
}

/* ---- the reader ------------------------------------------------------------------------------ */

static struct frame_reader reader;
static int ends[2];

static void open_pipe(void)
{
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    frame_reader_init(&reader, ends[0]);
}

TestSuite(frame_reader, .init = open_pipe);

static int next(struct agent_frame *frame, const void **payload)
{
    struct err err = {0};
    return frame_reader_next(&reader, frame, payload, &err);
}

Test(frame_reader, a_frame_in_single_bytes_is_whole_at_its_last)
{
    struct agent_frame f = good(AGENT_FRAME_DATA), got;
    const void *payload;
    unsigned char bytes[sizeof f + 10];
    memcpy(bytes, &f, sizeof f);
    memcpy(bytes + sizeof f, "0123456789", 10);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            cr_assert_eq(next(&got, &payload), FRAME_READER_NONE);
            cr_assert_eq(write(ends[1], bytes + i, 1), 1);
        }
        cr_assert_eq(next(&got, &payload), 0);
        cr_assert_eq(memcmp(&got, &f, sizeof f), 0);
        cr_assert_str_eq(payload, "0123456789");
    }
}

Test(frame_reader, many_frames_in_one_write_come_one_by_one)
{
    struct agent_frame f = good(AGENT_FRAME_PONG), got;
    const void *payload;
    for (f.exec = 0; f.exec < 50; f.exec++)
        cr_assert_eq(io_write_full(ends[1], &f, sizeof f), 0);
    close(ends[1]);
    for (uint64_t i = 0; i < 50; i++) {
        cr_assert_eq(next(&got, &payload), 0);
        cr_assert_eq(got.exec, i);
    }
    cr_assert_eq(next(&got, &payload), FRAME_READER_END);
    cr_assert_eq(next(&got, &payload), FRAME_READER_END);
}

Test(frame_reader, garbage_ends_it_for_good)
{
    struct agent_frame f = good(AGENT_FRAME_PONG), got;
    const void *payload;
    f.magic = 1;
    cr_assert_eq(io_write_full(ends[1], &f, sizeof f), 0);
    cr_assert_eq(next(&got, &payload), -EPROTO);
    f = good(AGENT_FRAME_PONG);
    cr_assert_eq(io_write_full(ends[1], &f, sizeof f), 0);
    struct err err = {0};
    cr_assert_eq(frame_reader_next(&reader, &got, &payload, &err), -EPROTO);
    cr_assert(strstr(err.detail, "magic"));
}

Test(frame_reader, a_payload_that_lies_ends_it_too)
{
    struct agent_frame f = good(AGENT_FRAME_EXIT), got;
    const void *payload;
    struct agent_exit exit = {.reason = 99};
    io_write_full(ends[1], &f, sizeof f);
    io_write_full(ends[1], &exit, sizeof exit);
    cr_assert_eq(next(&got, &payload), -EPROTO);
}

Test(frame_reader, a_frame_that_is_cut_in_half_is_an_end)
{
    struct agent_frame f = good(AGENT_FRAME_DATA), got;
    const void *payload;
    io_write_full(ends[1], &f, sizeof f);
    io_write_full(ends[1], "012", 3);
    cr_assert_eq(next(&got, &payload), FRAME_READER_NONE);
    close(ends[1]);
    cr_assert_eq(next(&got, &payload), FRAME_READER_END);
}
