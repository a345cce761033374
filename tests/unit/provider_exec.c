/* This file tests commands behind provider.h with a launcher and inits of its own: acceptance,
 * keys, ends, output, interrupts, and what a restart makes of them.
 */
#include "provider_fixture.h"

static void init_with_session(void)
{
    static struct client c;
    fixture_init();
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
}

TestSuite(provider_exec, .init = init_with_session, .fini = fixture_fini, .timeout = 60);

static void exec_begin(struct client *c, const char *exec_id, const char *program, const char *key,
                       uint64_t wait_ms)
{
    const char *argv[] = {program, "x y", NULL};
    struct provider_exec exec = {.exec_id = exec_id,
                                 .argv = argv,
                                 .timeout_ms = UINT64_MAX,
                                 .idle_timeout_ms = UINT64_MAX,
                                 .grace_ms = UINT64_MAX,
                                 .wait_ms = wait_ms};
    provider_exec_start(fixture_provider, client_call(c, "w", "s", key, "/execs"), &exec);
    cr_assert_not(c->answer.came, "a reply from inside the call");
}

static struct answer *exec_do(struct client *c, const char *exec_id, const char *program,
                              const char *key, uint64_t wait_ms)
{
    exec_begin(c, exec_id, program, key, wait_ms);
    fixture_until(&c->answer.came);
    return &c->answer;
}

static struct answer *exec_get(struct client *c, const char *exec_id, uint64_t wait_ms)
{
    client_call(c, "w", "s", NULL, "");
    c->call.exec_id = exec_id;
    provider_exec_get(fixture_provider, &c->call, wait_ms);
    fixture_until(&c->answer.came);
    return &c->answer;
}

static struct fake_box *box(void)
{
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i])
            return fake.boxes[i];
    cr_assert_fail("no session");
    return NULL;
}

#define HAS(c, wanted) cr_assert(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)

Test(provider_exec, a_command_runs_and_its_end_is_told)
{
    static struct client c;
    cr_assert_eq(exec_do(&c, "e1", "true", NULL, 5000)->status, 201);
    HAS(c, "\"state\":\"ended\",\"reason\":\"exit\",\"exit_code\":0");
    HAS(c, "\"command\":\"true 'x y'\"");
    HAS(c, "\"last_seq\":1");
    fixture_for_ms(50);
    cr_assert(box()->execs[0].forgotten, "init may forget what is recorded");
    cr_assert_eq(exec_do(&c, "e1", "true", NULL, 0)->status, 409, "an exec_id is used once");
    cr_assert_eq(exec_do(&c, "e2", "missing", NULL, 5000)->status, 201);
    HAS(c, "\"reason\":\"start_failed\",\"exit_code\":127");
    HAS(c, "\"error\":{\"step\":\"find the program\",\"errno\":2,\"message\":\"No such file");
    fixture_restart();
    client_call(&c, "w", "s", NULL, "");
    exec_get(&c, "e2", 0);
    HAS(c, "\"error\":{\"step\":\"find the program\"");
    cr_assert_eq(exec_do(&c, NULL, "sleep", NULL, 0)->status, 201);
    HAS(c, "\"state\":\"running\"");
    cr_assert_eq(exec_get(&c, "e9", 0)->status, 404);
    provider_exec_list(fixture_provider, client_call(&c, "w", "s", NULL, ""),
                       &(struct provider_page){.state = "running"});
    fixture_until(&c.answer.came);
    cr_assert(strstr(c.answer.text, "sleep 'x y'") && !strstr(c.answer.text, "\"e2\""));
    provider_exec_list(fixture_provider, client_call(&c, "w", "s", NULL, ""),
                       &(struct provider_page){.state = "ended"});
    fixture_until(&c.answer.came);
    cr_assert(strstr(c.answer.text, "\"e2\"") && !strstr(c.answer.text, "sleep 'x y'"));
}

Test(provider_exec, EXEC_8_a_limit_that_could_not_be_kept_to_is_refused)
{
    static struct client c;
    static const struct {
        uint64_t limit;
        bool kill;
        int64_t status;
    } rows[] = {{131071, false, 400}, {131072, false, 201}, {1, true, 201}, {1, false, 400}};
    const char *argv[] = {"true", NULL};
    struct provider_exec exec = {.argv = argv, .timeout_ms = UINT64_MAX};
    exec.idle_timeout_ms = exec.grace_ms = UINT64_MAX;
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        exec.output_limit_bytes = rows[i].limit;
        exec.kill_on_limit = rows[i].kill;
        provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"), &exec);
        fixture_until(&c.answer.came);
        cr_assert_eq(c.answer.status, rows[i].status, "%s", c.answer.text);
        cr_assert(c.answer.status == 201 || strstr(c.answer.text, "131072 (128 KiB)"));
    }
}

Test(provider_exec, IDEM_4_a_key_is_complete_when_the_command_is_accepted)
{
    static struct client a, b;
    exec_do(&a, NULL, "sleep", "k", 0);
    exec_do(&b, NULL, "sleep", "k", 0);
    cr_assert(b.answer.replayed);
    cr_assert_str_eq(a.answer.text, b.answer.text);
    cr_assert_eq(box()->exec_count, 1);
    fixture_restart();
    exec_do(&b, NULL, "sleep", "k", 0);
    cr_assert(b.answer.replayed);
    cr_assert_eq(box()->exec_count, 1, "no command ran twice");
}

Test(provider_exec, IDEM_4_a_replay_that_waits_is_told_the_end_of_the_same_command)
{
    static struct client a, b;
    exec_do(&a, NULL, "sleep", "k", 0);
    exec_begin(&b, NULL, "sleep", "k", 5000);
    fixture_for_ms(100);
    cr_assert_not(b.answer.came, "it has not ended");
    fake_exec_end(box(), box()->execs[0].number, AGENT_REASON_EXIT, 3);
    fixture_until(&b.answer.came);
    cr_assert_eq(b.answer.status, 201);
    cr_assert(b.answer.replayed);
    HAS(b, "\"state\":\"ended\",\"reason\":\"exit\",\"exit_code\":3");
    cr_assert_eq(strncmp(a.answer.text, b.answer.text, 30), 0, "the same exec_id");
    exec_do(&b, NULL, "sleep", "k", 0);
    cr_assert_str_eq(a.answer.text, b.answer.text, "without a wait: what was stored");
    cr_assert_eq(box()->exec_count, 1);
}

Test(provider_exec, IDEM_4_what_init_never_got_is_not_started_and_its_key_open_again)
{
    static struct client a, b;
    fake.busy_inits = true;
    exec_begin(&a, "e1", "true", "k", 0);
    fixture_for_ms(100);
    cr_assert_not(a.answer.came);
    fake.busy_inits = false;
    fixture_stop(); /* before it was sent */
    fixture_open();
    exec_get(&b, "e1", 0);
    HAS(b, "\"reason\":\"not_started\"");
    cr_assert_eq(exec_do(&b, "e2", "true", "k", 5000)->status, 201);
    cr_assert_not(b.answer.replayed);
    HAS(b, "\"reason\":\"exit\"");
}

Test(provider_exec, EXEC_7_an_interrupt_ends_what_was_accepted_before_and_nothing_after)
{
    static struct client e1, e2, e3, i;
    exec_do(&e1, "e1", "sleep", NULL, 0);
    exec_begin(&e2, "e2", "sleep", NULL, 60000);
    fixture_for_ms(20);
    client_verb_begin(&i, "w", "s", SESSION_EVENT_INTERRUPT, NULL);
    exec_begin(&e3, "e3", "sleep", NULL, 0);
    fixture_until(&i.answer.came);
    cr_assert_eq(i.answer.status, 200, "%s", i.answer.text);
    fixture_until(&e2.answer.came);
    HAS(e2, "\"reason\":\"interrupted\"");
    fixture_until(&e3.answer.came);
    cr_assert_eq(e3.answer.status, 201);
    exec_get(&e1, "e1", 0);
    HAS(e1, "\"reason\":\"interrupted\"");
    exec_get(&e3, "e3", 0);
    HAS(e3, "\"state\":\"running\"");
}

Test(provider_exec, live_commands_go_on_over_a_restart_and_what_ended_meanwhile_is_recorded)
{
    static struct client c;
    exec_do(&c, "e1", "sleep", NULL, 0);
    exec_do(&c, "e2", "sleep", NULL, 0);
    uint64_t first = box()->execs[0].number;
    fixture_stop();
    fake_exec_end(box(), first, AGENT_REASON_EXIT, 7);
    fixture_open();
    exec_get(&c, "e1", 0);
    HAS(c, "\"reason\":\"exit\",\"exit_code\":7");
    exec_get(&c, "e2", 0);
    HAS(c, "\"state\":\"running\"");
    fake_exec_end(box(), box()->execs[1].number, AGENT_REASON_EXIT, 3);
    exec_get(&c, "e2", 5000);
    HAS(c, "\"exit_code\":3");
    cr_assert_eq(box()->connects, 2);
}

Test(provider_exec, SES_2_a_session_whose_init_dies_is_parked_and_its_commands_are_lost)
{
    static struct client e, c;
    exec_begin(&e, "e1", "sleep", NULL, 60000);
    fixture_for_ms(20);
    fake_box_ends(box());
    fixture_until(&e.answer.came);
    HAS(e, "\"reason\":\"lost\"");
    client_get(&c, "w", "s");
    HAS(c, "\"state\":\"parked\",\"mode\":\"stop\",\"reason\":\"died\"");
    cr_assert_eq(fake_living(), 0, "what it has left is removed");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
    HAS(c, "\"incarnation\":2");
    cr_assert_eq(exec_do(&c, "e2", "true", NULL, 5000)->status, 201);
    HAS(c, "\"incarnation\":2");
}

Test(provider_exec, EXEC_5_signal_cancel_and_standard_input)
{
    static struct client c;
    const char *argv[] = {"cat", NULL};
    struct provider_exec exec = {.exec_id = "e1", .argv = argv, .stdin_pipe = true};
    provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"), &exec);
    fixture_until(&c.answer.came);
    int fd = -1;
    char byte = 0;
    struct err err;
    c.call.exec_id = "e1";
    uint64_t offset = 9;
    cr_assert_eq(provider_exec_stdin(fixture_provider, &c.call, UINT64_MAX, &fd, &offset, &err), 0);
    cr_assert_eq(offset, 0);
    cr_assert_eq(write(fd, "x", 1), 1);
    int second = -1;
    cr_assert_lt(provider_exec_stdin(fixture_provider, &c.call, UINT64_MAX, &second, &offset, &err),
                 0);
    cr_assert_eq(err.code, ERR_IN_PROGRESS, "one writer at a time");
    close(fd);
    provider_exec_stdin_end(fixture_provider, &c.call, 1);
    cr_assert_lt(provider_exec_stdin(fixture_provider, &c.call, 0, &fd, &offset, &err), 0);
    cr_assert_eq(err.code, ERR_PRECONDITION_FAILED);
    cr_assert_eq(provider_exec_stdin(fixture_provider, &c.call, 1, &fd, &offset, &err), 0);
    cr_assert_eq(offset, 1);
    close(fd);
    provider_exec_stdin_end(fixture_provider, &c.call, 0);
    cr_assert_eq(read(box()->execs[0].in, &byte, 1), 1);
    cr_assert_eq(byte, 'x');
    client_call(&c, "w", "s", NULL, "");
    c.call.exec_id = "e1";
    provider_exec_close_stdin(fixture_provider, &c.call);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200);
    cr_assert_eq(read(box()->execs[0].in, &byte, 1), 0, "its end");
    cr_assert_lt(provider_exec_stdin(fixture_provider, &c.call, UINT64_MAX, &fd, &offset, &err), 0);
    client_call(&c, "w", "s", NULL, "");
    c.call.exec_id = "e1";
    provider_exec_cancel(fixture_provider, &c.call);
    fixture_until(&c.answer.came);
    exec_get(&c, "e1", 5000);
    HAS(c, "\"reason\":\"cancelled\"");
    client_call(&c, "w", "s", NULL, "");
    c.call.exec_id = "e1";
    provider_exec_signal(fixture_provider, &c.call, 15, false);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 409);
}

Test(provider_exec, EXEC_5_standard_input_goes_on_over_a_restart_where_it_was)
{
    static struct client c;
    const char *argv[] = {"cat", NULL};
    struct provider_exec exec = {.exec_id = "e1", .argv = argv, .stdin_pipe = true};
    provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"), &exec);
    fixture_until(&c.answer.came);
    struct provider_exec none = {.exec_id = "e2", .argv = argv};
    provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"), &none);
    fixture_until(&c.answer.came);
    fixture_restart();
    fixture_for_ms(30);
    int fd = -1;
    uint64_t offset = 0;
    char byte = 0;
    struct err err;
    c.call.exec_id = "e1";
    cr_assert_eq(provider_exec_stdin(fixture_provider, &c.call, 41, &fd, &offset, &err), 0, "%s",
                 err.detail);
    cr_assert_eq(offset, 41, "what init says");
    cr_assert_eq(write(fd, "y", 1), 1);
    cr_assert_eq(read(box()->execs[0].in, &byte, 1), 1);
    close(fd);
    c.call.exec_id = "e2";
    cr_assert_lt(provider_exec_stdin(fixture_provider, &c.call, UINT64_MAX, &fd, &offset, &err), 0);
    cr_assert_eq(err.code, ERR_INVALID_STATE);
}

Test(provider_exec, SES_7_a_session_is_frozen_only_when_its_init_has_stopped_its_clocks)
{
    static struct client c;
    fake.slow_inits = true;
    client_verb_begin(&c, "w", "s", SESSION_EVENT_PARK_FREEZE, NULL);
    fixture_for_ms(200);
    cr_assert_eq(fake.asked[LAUNCHER_FREEZE], 0, "init has not answered yet");
    fake_pong(box());
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200);
    cr_assert_eq(fake.asked[LAUNCHER_FREEZE], 1);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_FREEZE, NULL)->status, 200,
                 "one that never answers is frozen all the same");
    cr_assert_eq(fake.asked[LAUNCHER_FREEZE], 2);
}

static int64_t exec_control(struct client *c, const char *exec_id, int signo, bool tree)
{
    client_call(c, "w", "s", NULL, "");
    c->call.exec_id = exec_id;
    if (signo)
        provider_exec_signal(fixture_provider, &c->call, signo, tree);
    else
        provider_exec_cancel(fixture_provider, &c->call);
    fixture_until(&c->answer.came);
    return c->answer.status;
}

Test(provider_exec, EXEC_3_children_that_are_kept_can_be_ended_also_after_a_restart)
{
    static struct client c;
    const char *argv[] = {"true", NULL};
    for (unsigned i = 0; i < 2; i++) {
        struct provider_exec exec = {
            .exec_id = i ? "e2" : "e1", .argv = argv, .keep_children = true, .wait_ms = 5000};
        provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"), &exec);
        fixture_until(&c.answer.came);
        HAS(c, "\"state\":\"ended\"");
        fixture_for_ms(50);
        cr_assert_eq(box()->execs[i].state, AGENT_ROW_BACKGROUND);
    }
    cr_expect_eq(exec_control(&c, "e1", 15, false), 409, "its main process has ended");
    cr_expect_eq(exec_control(&c, "e1", 15, true), 200);
    cr_assert_eq(exec_control(&c, "e1", 0, false), 200);
    cr_assert_eq(box()->execs[0].state, AGENT_ROW_ENDED);
    fixture_for_ms(50);
    cr_expect_eq(exec_control(&c, "e1", 0, false), 409, "there are no more");
    fixture_stop();
    fixture_open();
    cr_assert_eq(exec_control(&c, "e2", 0, false), 200);
    cr_assert_eq(box()->execs[1].state, AGENT_ROW_ENDED);
}

Test(provider_exec, EXEC_3_a_session_with_kept_children_is_not_idle)
{
    static struct client c;
    static struct spec spec;
    const char *argv[] = {"true", NULL};
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL)->status, 200);
    fixture_for_ms(50);
    spec_for_test(&spec, "w", "i");
    struct provider_create create = {.spec = &spec,
                                     .owner = "me",
                                     .labels_json = "{}",
                                     .client_socket = -1,
                                     .idle_after_ms = 200};
    provider_session_create(fixture_provider, client_call(&c, "w", "i", NULL, "/sessions"),
                            &create);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 201);
    struct provider_exec exec = {
        .exec_id = "e1", .argv = argv, .keep_children = true, .wait_ms = 5000};
    provider_exec_start(fixture_provider, client_call(&c, "w", "i", NULL, "/execs"), &exec);
    fixture_until(&c.answer.came);
    HAS(c, "\"state\":\"ended\"");
    fixture_for_ms(1500);
    client_get(&c, "w", "i");
    HAS(c, "\"state\":\"running\"");
    fake_children_end(box(), &box()->execs[0]);
    fixture_for_ms(1500);
    client_get(&c, "w", "i");
    HAS(c, "\"state\":\"parked\"");
    HAS(c, "\"reason\":\"idle\"");
}

/* ---- followers ------------------------------------------------------------------------------- */

struct followed {
    unsigned frames, room;
    uint64_t last;
    bool exited, ended, gap;
    struct err err;
    char text[4096];
    bool deleted;
    unsigned events;
};

static bool on_frame(void *data, const struct spool_frame *frame)
{
    struct followed *f = data;
    if (f->room == 0)
        return false;
    f->room--;
    cr_assert_eq(frame->seq, f->last + 1, "no gap, no duplicate");
    cr_assert_not(f->exited, "one exit, last");
    f->last = frame->to_seq;
    f->frames++;
    f->exited = frame->kind == SPOOL_EXIT;
    f->gap |= frame->kind == SPOOL_GAP;
    if (frame->kind == SPOOL_STDOUT)
        snprintf(f->text + strlen(f->text), sizeof f->text - strlen(f->text), "%.*s",
                 (int)frame->bytes, (const char *)frame->data);
    return true;
}

static bool on_event(void *data, uint64_t seq, const char *type, const char *json, size_t length)
{
    struct followed *f = data;
    cr_assert_eq(seq, f->last + 1, "EV-1");
    cr_assert_eq(strlen(json), length);
    f->last = seq;
    f->events++;
    f->deleted = strcmp(type, "session.deleted") == 0;
    size_t at = strlen(f->text);
    snprintf(f->text + at, sizeof f->text - at, "%s %s\n", type, json);
    return true;
}

static void on_end(void *data, const struct err *err)
{
    struct followed *f = data;
    cr_assert_not(f->ended);
    f->ended = true;
    if (err)
        f->err = *err;
}

static struct provider_follower *follow(struct client *c, struct followed *f, const char *exec_id,
                                        bool go_on)
{
    struct err err;
    struct provider_follow what = {.after = f->last,
                                   .follow = go_on,
                                   .frame = on_frame,
                                   .event = on_event,
                                   .end = on_end,
                                   .data = f};
    client_call(c, "w", "s", NULL, "");
    c->call.exec_id = exec_id;
    struct provider_follower *follower =
        exec_id ? provider_output_follow(fixture_provider, &c->call, &what, &err)
                : provider_events_follow(fixture_provider, &c->call, &what, &err);
    cr_assert(follower);
    return follower;
}

Test(provider_exec, EXEC_2_a_command_that_could_not_be_started_has_an_exit_too)
{
    static struct client c;
    static struct followed late = {.room = 1000};
    exec_do(&c, "e1", "missing", NULL, 5000);
    follow(&c, &late, "e1", true);
    fixture_until(&late.ended);
    cr_assert(late.exited, "else its follower comes back for ever");
}

Test(provider_exec, EXEC_2_a_follower_gets_every_frame_once_slow_or_not_and_over_a_restart)
{
    static struct client c;
    static struct followed fast = {.room = 1000}, slow, again;
    exec_do(&c, "e1", "sleep", NULL, 0);
    uint64_t number = box()->execs[0].number;
    follow(&c, &fast, "e1", true);
    struct provider_follower *lazy = follow(&c, &slow, "e1", true);
    for (int i = 0; i < 50; i++) {
        fake_print(box(), number, "a");
        fixture_for_ms(1);
    }
    fixture_for_ms(50);
    cr_assert_eq(fast.frames, 50, "the slow one holds nobody up");
    cr_assert_eq(slow.frames, 0);
    slow.room = 10;
    provider_follow_more(lazy);
    fixture_for_ms(20);
    cr_assert_eq(slow.frames, 10);
    provider_follow_stop(lazy);
    fixture_stop();
    fake_print(box(), number, "b");
    fixture_open();
    again = slow;
    again.room = 1000;
    follow(&c, &again, "e1", true);
    fixture_for_ms(20);
    fake_print(box(), number, "c");
    fake_exec_end(box(), number, AGENT_REASON_EXIT, 0);
    fixture_until(&again.ended);
    cr_assert(again.exited);
    cr_assert_eq(again.err.code, ERR_NONE);
    cr_assert_eq(again.frames, 53);
    cr_assert_eq(again.text[50], 'b');
    cr_assert_eq(again.text[51], 'c');
}

Test(provider_exec, EXEC_2_a_stream_whose_init_died_has_an_exit_and_one_that_was_dropped_a_gap)
{
    static struct client c;
    static struct followed f = {.room = 1000}, g = {.room = 1000}, none = {.room = 10};
    char path[SPEC_PATH_MAX + 96];
    exec_do(&c, "e1", "sleep", NULL, 0);
    exec_do(&c, "e2", "echo", NULL, 5000);
    follow(&c, &f, "e1", true);
    fake_print(box(), box()->execs[0].number, "x");
    fixture_for_ms(20);
    fake_box_ends(box());
    fixture_until(&f.ended);
    cr_assert(f.exited);
    cr_assert_str_eq(f.text, "x");
    provider_spool_path(fixture_provider, path, sizeof path, 1, 2);
    cr_assert_eq(unlink(path), 0);
    follow(&c, &g, "e2", true);
    fixture_until(&g.ended);
    cr_assert(g.gap);
    cr_assert(g.exited);
    follow(&c, &none, "e9", true);
    fixture_until(&none.ended);
    cr_assert_eq(none.err.code, ERR_NOT_FOUND);
}

/* A client that is cut off comes back, for ever when it is cut off each time. */
Test(provider_exec, EXEC_2_a_stream_from_a_file_that_is_no_spool_ends_with_a_gap_and_the_exit)
{
    static struct client c;
    struct followed f = {.room = 1000}, once = {.room = 10};
    exec_do(&c, "e1", "sleep", NULL, 0);
    follow(&c, &f, "e1", true);
    uint64_t number = box()->execs[0].number;
    fake_print(box(), number, "x");
    fake_spool_add(&box()->execs[0], FAKE_NO_SPOOL, "y", 1);
    fake_print(box(), number, "z");
    fixture_for_ms(20);
    follow(&c, &once, "e1", false);
    fixture_until(&once.ended);
    cr_expect_eq(once.err.code, ERR_NONE);
    cr_expect_not(f.ended, "it may be right again");
    fake_exec_end(box(), number, AGENT_REASON_EXIT, 0);
    fixture_until(&f.ended);
    cr_expect_eq(f.err.code, ERR_NONE);
    cr_expect(f.gap);
    cr_expect(f.exited);
    cr_expect_str_eq(f.text, "x");
}

Test(provider_exec, WS_3_what_is_told_of_an_end_is_an_event_before_it)
{
    static struct client c, d;
    static struct followed f;
    snprintf(fake.end_note, sizeof fake.end_note, "\"x\" appeared");
    cr_assert_eq(client_verb(&d, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    follow(&c, &f, NULL, false);
    fixture_until(&f.ended);
    const char *note = strstr(f.text, "\"data\":{\"key\":\"protect.appeared\",\"text\":"
                                      "\"\\\"x\\\" appeared\"}}\n");
    cr_assert(note && strstr(note, "session.parked"), "%s", f.text);
}

Test(provider_exec, EV_1_events_come_in_order_from_any_number_and_end_after_session_deleted)
{
    static struct client c, d;
    static struct followed f, late;
    follow(&c, &f, NULL, true);
    exec_do(&d, "e1", "true", NULL, 5000);
    fixture_for_ms(50);
    cr_assert_eq(f.events, 4, "created, running, exec.started, exec.ended");
    cr_assert_not(f.ended);
    late.last = 2;
    follow(&c, &late, NULL, false);
    fixture_until(&late.ended);
    cr_assert_eq(late.events, 2);
    client_verb(&d, "w", "s", SESSION_EVENT_DESTROY, NULL);
    fixture_until(&f.ended);
    cr_assert(f.deleted);
    cr_assert_eq(f.err.code, ERR_NONE);
}
