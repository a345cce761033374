/* This file tests the check of an exec's payload, and init's table and queue. */
#include "runtime/agent/output.h"
#include "runtime/agent/protocol.h"
#include "runtime/agent/table.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    struct agent_exec exec;
    char strings[64];
} p;

static const char *check(size_t strings)
{
    const struct agent_exec *exec;
    const char *text;
    return agent_exec_check(&p, sizeof p.exec + strings, &exec, &text);
}

enum { GOOD = 16 };

static void make_good(void)
{
    memset(&p, 0, sizeof p);
    p.exec = (struct agent_exec){.magic = AGENT_MAGIC,
                                 .version = AGENT_VERSION,
                                 .size = sizeof p.exec,
                                 .argc = 2,
                                 .envc = 2,
                                 .string_bytes = GOOD,
                                 .uid = 1000,
                                 .gid = 1000};
    memcpy(p.strings, "prog\0\0A=\0B=1\0/d", GOOD);
}

Test(agent_payload, a_good_one_passes_and_each_wrong_one_is_named)
{
    make_good();
    cr_assert_null(check(GOOD), "%s", check(GOOD));
    cr_expect(check(GOOD - 1));
    cr_expect(check(GOOD + 1));
    const struct agent_exec *exec;
    const char *text;
    cr_expect(agent_exec_check(&p, 3, &exec, &text));
    cr_expect(agent_exec_check(&p, AGENT_EXEC_PAYLOAD_MAX + 1, &exec, &text));
#define WRONG(change) \
    make_good();      \
    change;           \
    cr_expect(check(p.exec.string_bytes), "%s passed", #change)
    WRONG(p.exec.magic++);
    WRONG(p.exec.version++);
    WRONG(p.exec.size--);
    WRONG(p.exec.flags = 1u << 30);
    WRONG(p.exec.fds = 1u << 4);
    WRONG(p.exec.spool.head = 1);
    WRONG((p.exec.fds = AGENT_EXEC_FD_SPOOL, p.exec.spool.tail = UINT64_MAX));
    WRONG(p.exec.flags = AGENT_EXEC_KILL_ON_LIMIT);
    WRONG((p.exec.fds = AGENT_EXEC_FD_SPOOL, p.exec.flags = AGENT_EXEC_KILL_ON_LIMIT));
    WRONG(p.exec.flags = AGENT_EXEC_FILES | AGENT_EXEC_TTY);
    WRONG(p.exec.flags = 1u << 6);
    WRONG(p.exec.reserved = 1);
    WRONG(p.exec.argc = 0);
    WRONG(p.exec.argc = 3);
    WRONG(p.exec.argc = 1);
    WRONG(p.exec.argc = UINT32_MAX);
    WRONG(p.exec.envc = UINT32_MAX);
    WRONG(p.exec.uid = UINT32_MAX);
    WRONG(p.exec.gid = UINT32_MAX);
    WRONG(p.exec.timeout_ms = UINT64_MAX);
    WRONG(p.exec.idle_timeout_ms = UINT64_MAX / 2);
    WRONG(p.exec.grace_ms = UINT64_MAX / 1000);
    WRONG(p.strings[0] = 0);
    WRONG(p.strings[GOOD - 1] = 'x');
    WRONG(p.strings[7] = 'x');        /* "Ax": no '=' */
    WRONG(p.strings[6] = '=');        /* "==": no name */
    WRONG(p.strings[GOOD - 3] = 'd'); /* cwd "dd" */
    WRONG((p.exec.flags = AGENT_EXEC_TTY, p.exec.fds = AGENT_EXEC_FD_STDOUT));
    WRONG(p.exec.flags = AGENT_EXEC_TTY | AGENT_EXEC_NULL_STDERR);
    WRONG((p.exec.flags = AGENT_EXEC_NULL_STDOUT, p.exec.fds = AGENT_EXEC_FD_STDOUT));
    make_good();
    p.exec.flags = AGENT_EXEC_TTY;
    p.exec.fds = AGENT_EXEC_FD_STDIN;
    cr_expect_null(check(GOOD));
}

Test(agent_payload, messages_are_checked)
{
    struct agent_message m = {.magic = AGENT_MAGIC, .version = AGENT_VERSION, .type = AGENT_PING};
    cr_expect_null(agent_message_check(&m, sizeof m));
    cr_expect(agent_message_check(&m, sizeof m - 1));
    cr_expect(agent_message_check(&m, 0));
    m.type = AGENT_MESSAGE_TYPE_END;
    cr_expect(agent_message_check(&m, sizeof m));
    m.type = 0;
    cr_expect(agent_message_check(&m, sizeof m));
}

/* ---- the table ------------------------------------------------------------------------------ */

Test(agent_table, a_full_table_gives_the_lowest_ended_number_away_and_never_a_live_one)
{
    struct table *t = calloc(1, sizeof *t);
    for (uint64_t i = 1; i <= TABLE_ROWS; i++)
        cr_assert(table_add(t, i));
    cr_assert_null(table_add(t, 9999), "all are live");
    table_end(t, table_find(t, 7));
    table_end(t, table_find(t, 3));
    cr_assert_eq(t->live_count, TABLE_ROWS - 2);
    t->frozen = true;
    cr_assert_null(table_add(t, 10000));
    t->frozen = false;
    cr_assert(table_add(t, 10000));
    cr_assert_null(table_find(t, 3));
    cr_assert(table_find(t, 7));
    cr_assert_eq(t->forgotten, 3);
    cr_assert(table_add(t, 10001));
    cr_assert_eq(t->forgotten, 7);
    cr_assert_null(table_add(t, 10002));
    cr_assert_eq(table_find(t, 10000)->state, ROW_STARTING);
    free(t);
}

Test(agent_table, a_table_that_keeps_gives_nothing_away_until_it_is_recorded)
{
    struct table *t = calloc(1, sizeof *t);
    t->keeps = true;
    for (uint64_t i = 1; i <= TABLE_ROWS; i++)
        cr_assert(table_add(t, i));
    for (uint64_t i = 1; i <= TABLE_ROWS; i++)
        table_end(t, table_find(t, i));
    cr_assert_null(table_add(t, 9999));
    table_record(t, table_find(t, 100));
    cr_assert_null(table_find(t, 100));
    cr_assert(table_had(t, 100));
    cr_assert_not(table_had(t, 99));
    cr_assert_eq(table_count(t), TABLE_ROWS - 1);
    struct row *row = table_add(t, 9999);
    cr_assert_eq(table_index(t, row), 99, "the free place is used again");
    /* A live one is not recorded, one with children that live goes with them. */
    table_record(t, row);
    cr_assert(table_find(t, 9999));
    row->state = ROW_BACKGROUND;
    table_record(t, row);
    cr_assert(table_find(t, 9999));
    table_end(t, row);
    cr_assert_null(table_find(t, 9999));
    free(t);
}

Test(agent_table, numbers_that_went_are_never_taken_again)
{
    struct table *t = calloc(1, sizeof *t);
    t->keeps = true;
    for (uint64_t i = 1; i <= 3 * TABLE_GONE; i++) {
        uint64_t number = i * 2;
        table_add(t, number);
        table_end(t, table_find(t, number));
        table_record(t, table_find(t, number));
        cr_assert_eq(t->used, 0, "a table of none touches no page");
        for (uint64_t k = 1; k <= i; k += 97)
            cr_assert(table_had(t, k * 2), "%lu after %lu", k * 2, number);
        cr_assert_not(table_had(t, number - 1), "one that was not used is free for long");
    }
    cr_assert_eq(t->forgotten, 2 * 2 * TABLE_GONE);
    free(t);
}

Test(agent_table, nothing_is_freed_while_a_table_is_sent)
{
    struct table *t = calloc(1, sizeof *t);
    t->keeps = true;
    for (uint64_t i = 1; i <= 3; i++)
        table_add(t, i);
    t->frozen = true;
    table_find(t, 2)->state = ROW_BACKGROUND;
    table_record(t, table_find(t, 2));
    table_end(t, table_find(t, 2));
    cr_assert_eq(table_count(t), 3);
    table_thaw(t);
    cr_assert_eq(table_count(t), 2);
    cr_assert_null(table_find(t, 2));
    cr_assert_null(table_find(t, 0));
    free(t);
}

/* ---- the queue ------------------------------------------------------------------------------ */

Test(agent_output, data_leaves_a_reserve_and_everything_comes_out_in_order)
{
    static struct output o;
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    cr_assert_eq(output_init(&o, ends[1]), 0);
    static unsigned char bytes[OUTPUT_CHUNK], in[1 << 20], out[1 << 20];
    size_t in_length = 0, out_length = 0;
    for (int round = 0; round < 200; round++) {
        size_t room = output_data_room(&o);
        cr_assert(output_has_room(&o, OUTPUT_RESERVE - sizeof(struct agent_frame)));
        if (room > 0 && in_length + room < sizeof in) {
            room = room < 5000 ? room : 5000 + (size_t)round;
            for (size_t i = 0; i < room; i++)
                bytes[i] = in[in_length++] = (unsigned char)(i * 31 + (size_t)round);
            struct agent_frame f = {.type = AGENT_FRAME_DATA,
                                    .length = (uint32_t)room,
                                    .stream = AGENT_STDOUT,
                                    .exec = 1,
                                    .seq = 1};
            output_push(&o, &f, bytes);
        }
        cr_assert_geq(output_flush(&o), 0);
        if (round % 7 == 0) {
            static unsigned char raw[70000];
            static unsigned char carry[1 << 20];
            static size_t carried;
            ssize_t n = read(ends[0], raw, sizeof raw);
            if (n > 0) {
                memcpy(carry + carried, raw, (size_t)n);
                carried += (size_t)n;
            }
            size_t at = 0;
            while (carried - at >= sizeof(struct agent_frame)) {
                struct agent_frame f;
                memcpy(&f, carry + at, sizeof f);
                cr_assert_null(agent_frame_check(&f));
                if (carried - at < sizeof f + f.length)
                    break;
                memcpy(out + out_length, carry + at + sizeof f, f.length);
                out_length += f.length;
                at += sizeof f + f.length;
            }
            memmove(carry, carry + at, carried - at);
            carried -= at;
        }
    }
    cr_assert_gt(out_length, 300000);
    cr_assert_eq(memcmp(in, out, out_length), 0);
}
