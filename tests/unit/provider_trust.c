/* This file is inits that were taken over, each of which says something that no init of ours says:
 * its session must end, and nobody else's notice (P-1, attack 52).
 */
#include "provider_fixture.h"

#include "policy/json.h"

static void two_sessions(void)
{
    static struct client c;
    fixture_init();
    cr_assert_eq(client_create(&c, "w", "bad", NULL)->status, 201, "%s", c.answer.text);
    cr_assert_eq(client_create(&c, "w", "good", NULL)->status, 201, "%s", c.answer.text);
}

TestSuite(provider_trust, .init = two_sessions, .fini = fixture_fini, .timeout = 60);

static struct answer *run(const char *session, const char *exec_id, const char *program,
                          uint64_t wait_ms)
{
    static struct client c;
    const char *argv[] = {program, NULL};
    struct provider_exec exec = {.exec_id = exec_id,
                                 .argv = argv,
                                 .timeout_ms = UINT64_MAX,
                                 .idle_timeout_ms = UINT64_MAX,
                                 .grace_ms = UINT64_MAX,
                                 .wait_ms = wait_ms};
    provider_exec_start(fixture_provider, client_call(&c, "w", session, NULL, "/execs"), &exec);
    fixture_until(&c.answer.came);
    return &c.answer;
}

/* The first one made: `bad`. */
static struct fake_box *bad(void)
{
    struct fake_box *box = NULL;
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i] && (!box || fake.boxes[i]->row < box->row))
            box = fake.boxes[i];
    cr_assert(box);
    return box;
}

static void expect_state(const char *session, const char *state)
{
    static struct client c;
    int64_t by = now_boot_ms() + 5000;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\"state\":\"%s\"", state);
    do {
        fixture_for_ms(5);
        client_get(&c, "w", session);
    } while (!strstr(c.answer.text, wanted) && now_boot_ms() < by);
    cr_expect(strstr(c.answer.text, wanted), "%s is not %s: %s", session, state, c.answer.text);
}

static void expect_only_it_ends(void)
{
    expect_state("bad", "parked");
    expect_state("good", "running");
    cr_expect_eq(fake_living(), 1, "what stood under its name is gone");
    cr_expect_eq(run("good", NULL, "true", 5000)->status, 201);
}

static bool is_utf8(const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0, n; i < length; i += n)
        if (!(n = json_utf8_length((const unsigned char *)text + i, length - i)))
            return false;
    return true;
}

static uint64_t running(void)
{
    cr_assert_eq(run("bad", "e1", "sleep", 0)->status, 201);
    fixture_for_ms(20);
    return bad()->execs[0].number;
}

/* Each one would be a row of the ledger. */
Test(provider_trust, SES_2_a_start_that_is_told_twice_ends_the_session)
{
    struct agent_started started = {.pid = 2};
    fake_frame(bad(), AGENT_FRAME_STARTED, running(), 0, &started, sizeof started);
    expect_only_it_ends();
}

Test(provider_trust, a_start_of_a_command_that_was_never_sent_ends_the_session)
{
    struct agent_started started = {.pid = 2};
    fake_frame(bad(), AGENT_FRAME_STARTED, running() + (UINT64_C(1) << 40), 0, &started,
               sizeof started);
    expect_only_it_ends();
}

Test(provider_trust, an_end_of_a_command_that_was_never_sent_ends_the_session)
{
    struct agent_exit exit = {.reason = AGENT_REASON_EXIT};
    fake_frame(bad(), AGENT_FRAME_EXIT, number_of_order(7), 1, &exit, sizeof exit);
    expect_only_it_ends();
}

Test(provider_trust, a_second_greeting_ends_the_session)
{
    fake_frame(bad(), AGENT_FRAME_HELLO, 0, 3, NULL, 0);
    expect_only_it_ends();
}

Test(provider_trust, a_row_of_a_table_that_nobody_asked_for_ends_the_session)
{
    struct agent_table_row row = {.exec = running(), .state = AGENT_ROW_RUNNING};
    fake_frame(bad(), AGENT_FRAME_TABLE, row.exec, 0, &row, sizeof row);
    expect_only_it_ends();
}

Test(provider_trust, what_only_a_sessions_maker_is_told_ends_the_session)
{
    struct agent_ready ready = {.pid = 1};
    fake_frame(bad(), AGENT_FRAME_READY, 0, 0, &ready, sizeof ready);
    expect_only_it_ends();
}

Test(provider_trust, captured_output_that_goes_to_a_spool_ends_the_session_as_a_frame)
{
    fake_frame(bad(), AGENT_FRAME_DATA, running(), 1, "x", 1);
    expect_only_it_ends();
}

static void flood(enum agent_frame_type type, uint64_t exec, uint64_t seq)
{
    /* It is not read any more when it is not believed any more. */
    for (unsigned sent = 0; sent < 2000000 && fake_living() == 2 && bad()->agent; sent++) {
        if (bad()->agent->count == FAKE_FRAMES)
            fixture_for_ms(1);
        else
            fake_frame(bad(), type, exec, seq, NULL, 0);
        if (bad()->agent && bad()->agent->count % 128 == 0)
            loop_step(fixture_loop, false);
    }
    expect_only_it_ends();
}

Test(provider_trust, answers_without_end_to_what_was_not_asked_end_the_session)
{
    flood(AGENT_FRAME_PONG, 1, 0);
}

Test(provider_trust, news_of_a_spool_without_end_end_the_session)
{
    flood(AGENT_FRAME_SPOOL, running(), 1);
}

/* A table of four thousand million rows is memory that all sessions lack. */
Test(provider_trust, SES_2_a_table_that_is_larger_than_a_table_ends_the_session)
{
    running();
    fake.silent_inits = true;
    fixture_stop();
    fixture_start();
    for (int i = 0; i < 2000 && !bad()->agent; i++)
        fixture_for_ms(1);
    cr_assert(bad()->agent);
    fake_frame(bad(), AGENT_FRAME_HELLO, 0, AGENT_TABLE_MAX + 1, NULL, 0);
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i] && fake.boxes[i] != bad() && fake.boxes[i]->agent)
            fake_frame(fake.boxes[i], AGENT_FRAME_HELLO, 0, 0, NULL, 0);
    fake.silent_inits = false;
    fixture_until(&fixture_recovered);
    expect_only_it_ends();
}

Test(provider_trust, anything_before_the_greeting_ends_the_session)
{
    fake.silent_inits = true;
    fixture_stop();
    fixture_start();
    for (int i = 0; i < 2000 && !bad()->agent; i++)
        fixture_for_ms(1);
    fake_frame(bad(), AGENT_FRAME_PONG, 1, 0, NULL, 0);
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i] && fake.boxes[i] != bad() && fake.boxes[i]->agent)
            fake_frame(fake.boxes[i], AGENT_FRAME_HELLO, 0, 0, NULL, 0);
    fake.silent_inits = false;
    fixture_until(&fixture_recovered);
    expect_only_it_ends();
}

/* Forged, and no more than that: sums of them stay numbers. */
Test(provider_trust, numbers_as_large_as_they_come_are_told_and_harm_nothing)
{
    static struct client c;
    for (int i = 0; i < 3; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        cr_assert_eq(run("bad", id, "sleep", 0)->status, 201);
        fixture_for_ms(10);
        struct fake_exec *exec = &bad()->execs[i];
        struct agent_exit exit = {.reason = AGENT_REASON_EXIT,
                                  .cpu_us = UINT64_MAX,
                                  .max_rss_bytes = UINT64_MAX,
                                  .output_bytes = UINT64_MAX,
                                  .started_ns = UINT64_MAX,
                                  .ended_ns = UINT64_MAX,
                                  .oom_kills = UINT32_MAX,
                                  .output_truncated = 1};
        exec->state = 2;
        fake_frame(bad(), AGENT_FRAME_EXIT, exec->number, 1, &exit, sizeof exit);
        fixture_for_ms(10);
    }
    provider_session_usage(fixture_provider, client_call(&c, "w", "bad", NULL, ""));
    fixture_until(&c.answer.came);
    cr_expect_eq(c.answer.status, 200);
    cr_expect_null(strstr(c.answer.text, ":-"), "%s", c.answer.text);
    expect_state("bad", "running");
    expect_state("good", "running");
}

/* Each of them has memory and descriptors that all sessions share. */
Test(provider_trust, commands_that_an_init_never_takes_are_bounded)
{
    static struct client c[80];
    unsigned waiting = 0, refused = 0;
    const char *argv[] = {"sleep", NULL};
    struct provider_exec exec = {
        .argv = argv, .timeout_ms = UINT64_MAX, .idle_timeout_ms = UINT64_MAX, .stdin_pipe = true};
    fake.busy_inits = true;
    for (unsigned i = 0; i < ARRAY_LENGTH(c); i++) {
        provider_exec_start(fixture_provider, client_call(&c[i], "w", "bad", NULL, "/execs"),
                            &exec);
        fixture_for_ms(3);
    }
    fixture_for_ms(100);
    for (unsigned i = 0; i < ARRAY_LENGTH(c); i++) {
        waiting += !c[i].answer.came;
        refused += c[i].answer.came && c[i].answer.err.code == ERR_UNAVAILABLE;
    }
    cr_expect_eq(waiting, 64, "%u", waiting);
    cr_expect_eq(refused, 16, "%u", refused);
    fake.busy_inits = false;
    expect_state("good", "running");
    for (unsigned i = 0; i < ARRAY_LENGTH(c); i++)
        provider_forget(fixture_provider, &c[i].answer);
}

/* What init says of a start that failed is shown to people and parsed by programs. */
Test(provider_trust, words_of_an_init_are_text_in_a_document_whatever_they_are)
{
    static struct client c;
    struct agent_start_failed failed = {.fault = AGENT_START_BERTH,
                                        .sys = ENOEXEC,
                                        .step = "\"}\n\x1b[31m\xff\xc2\x9b",
                                        .subject = "\n\n"};
    uint64_t number = running();
    bad()->execs[0].state = 2;
    fake_frame(bad(), AGENT_FRAME_START_FAILED, number, 0, &failed, sizeof failed);
    fixture_for_ms(50);
    client_call(&c, "w", "bad", NULL, "");
    c.call.exec_id = "e1";
    provider_exec_get(fixture_provider, &c.call, 0);
    fixture_until(&c.answer.came);
    cr_expect(strstr(c.answer.text, "\"reason\":\"start_failed\""), "%s", c.answer.text);
    for (const char *at = c.answer.text; at[0] && at[1]; at++)
        cr_expect((unsigned char)*at >= 0x20 && *at != 0x7f, "a control byte in %s", c.answer.text);
    cr_expect_null(strstr(c.answer.text, "\"}\n"));
    cr_expect(is_utf8(c.answer.text), "no UTF-8: %s", c.answer.text);
}

/* ---- spools that grow behind their cap ------------------------------------------------------- */

static void fill(int fd, uint64_t at, uint64_t bytes)
{
    static char block[1 << 20];
    memset(block, 'x', sizeof block);
    for (uint64_t end = at + bytes; at < end; at += sizeof block)
        cr_assert_eq(pwrite(fd, block, sizeof block, (off_t)at), (ssize_t)sizeof block);
}

static void spool_path(char *ret, size_t size, const char *suffix)
{
    snprintf(ret, size, "%s/spool/%llx/%x%s", fixture_config.state_dir,
             (unsigned long long)bad()->row, 1, suffix);
}

Test(provider_trust, EXEC_8_a_spool_that_grows_behind_its_cap_ends_the_session)
{
    running();
    fill(bad()->execs[0].out, 0, 40 << 20);
    spool_watch_now(fixture_provider);
    expect_state("bad", "running");
    fill(bad()->execs[0].out, 1 << 30, 20 << 20);
    spool_watch_now(fixture_provider);
    expect_only_it_ends();
}

/* It is one that this front never made. */
Test(provider_trust, EXEC_8_a_limit_that_was_asked_for_holds_also_for_a_front_that_is_new)
{
    static struct client c;
    const char *argv[] = {"sleep", NULL};
    struct provider_exec exec = {.exec_id = "e1",
                                 .argv = argv,
                                 .timeout_ms = UINT64_MAX,
                                 .idle_timeout_ms = UINT64_MAX,
                                 .grace_ms = UINT64_MAX,
                                 .output_limit_bytes = 64 << 20};
    provider_exec_start(fixture_provider, client_call(&c, "w", "bad", NULL, "/execs"), &exec);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 201);
    fixture_for_ms(20);
    fill(bad()->execs[0].out, 0, 150 << 20);
    fixture_restart();
    spool_watch_now(fixture_provider);
    expect_state("bad", "running");
    fill(bad()->execs[0].out, 1 << 30, 60 << 20);
    spool_watch_now(fixture_provider);
    expect_only_it_ends();
}

/* What init says of an output is no measure of its file, and a file without a name is still one. */
Test(provider_trust, EXEC_8_what_was_dropped_while_init_has_it_open_is_still_looked_at)
{
    char path[1200], hidden[1200];
    struct stat st;
    int open_still[9];
    for (int i = 0; i < 9; i++) {
        char id[8];
        snprintf(id, sizeof id, "e%d", i);
        cr_assert_eq(run("bad", id, "sleep", 0)->status, 201);
        fixture_for_ms(20);
        struct fake_exec *exec = &bad()->execs[i];
        open_still[i] = fcntl(exec->out, F_DUPFD_CLOEXEC, 3);
        fill(open_still[i], 0, 32 << 20);
        fake_exec_end(bad(), exec->number, AGENT_REASON_EXIT, 0);
        fixture_for_ms(20);
    }
    spool_path(path, sizeof path, "");
    spool_path(hidden, sizeof hidden, "~");
    spool_watch_now(fixture_provider); /* its own timer may have come before */
    cr_expect_lt(stat(path, &st), 0, "the oldest has been dropped");
    cr_assert_eq(stat(hidden, &st), 0);
    cr_expect_eq(st.st_blocks, 0);
    expect_state("bad", "running");
    fill(open_still[0], 0, 60 << 20);
    spool_watch_now(fixture_provider);
    expect_only_it_ends();
    cr_expect_lt(stat(hidden, &st), 0, "nothing is left of it");
    for (int i = 0; i < 9; i++)
        close(open_still[i]);
}
