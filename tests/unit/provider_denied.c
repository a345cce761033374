/* This file is inits that tell of refused calls and of limits: the events that come of it, over a
 * fake kernel. */
#include "provider_fixture.h"

#include <linux/audit.h>
#include <signal.h>

static void one_session(void)
{
    static struct client c;
    fixture_init();
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
}

TestSuite(provider_denied, .init = one_session, .fini = fixture_fini, .timeout = 60);

enum { EVENTS_MAX = 8192, TEXT_MAX = 1 << 20 };

/* Events as they are in the ledger now: "type json\n". */
static struct {
    unsigned denied, limits, all;
    bool ended;
    size_t length;
    char text[TEXT_MAX];
} seen;

static bool on_event(void *data, uint64_t seq, const char *type, const char *json, size_t length)
{
    (void)data;
    (void)seq;
    seen.all++;
    seen.denied += strcmp(type, "syscall.denied") == 0;
    seen.limits += strncmp(type, "limit.", 6) == 0;
    if (seen.length + length + strlen(type) + 3 < sizeof seen.text)
        seen.length += (size_t)snprintf(seen.text + seen.length, sizeof seen.text - seen.length,
                                        "%s %s\n", type, json);
    return true;
}

static void on_end(void *data, const struct err *err)
{
    (void)data;
    cr_assert_null(err);
    seen.ended = true;
}

static void read_events(void)
{
    static struct client c;
    struct err err;
    struct provider_follow what = {.event = on_event, .end = on_end};
    memset(&seen, 0, sizeof seen);
    client_call(&c, "w", "s", NULL, "");
    cr_assert(provider_events_follow(fixture_provider, &c.call, &what, &err));
    fixture_until((const volatile bool *)&seen.ended);
}

static struct fake_box *box(void)
{
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i])
            return fake.boxes[i];
    cr_assert_fail("no session");
    return NULL;
}

static uint64_t running(const char *exec_id)
{
    static struct client c;
    const char *argv[] = {"sleep", NULL};
    struct provider_exec exec = {.exec_id = exec_id,
                                 .argv = argv,
                                 .timeout_ms = UINT64_MAX,
                                 .idle_timeout_ms = UINT64_MAX,
                                 .grace_ms = UINT64_MAX};
    provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"), &exec);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 201, "%s", c.answer.text);
    fixture_for_ms(20);
    return box()->execs[box()->exec_count - 1].number;
}

static void tell(uint64_t number, int32_t call, uint64_t count, const char *command)
{
    struct agent_denied denied = {
        .count = count, .number = call, .arch = AUDIT_ARCH_X86_64, .sys = EPERM};
    snprintf(denied.command, sizeof denied.command, "%s", command);
    fake_frame(box(), AGENT_FRAME_DENIED, number, 0, &denied, sizeof denied);
}

#define HAS(wanted) cr_assert(strstr(seen.text, (wanted)), "%s", seen.text)

Test(provider_denied, a_refused_call_is_an_event_with_the_line_that_allows_it)
{
    uint64_t number = running("e1");
    tell(number, 165, 3, "foo\x1b[2J\"");
    tell(number, 237, 1, "numa"); /* mbind */
    fixture_for_ms(400);
    read_events();
    cr_assert_eq(seen.denied, 2, "%s", seen.text);
    HAS("\"exec_id\":\"e1\",\"count\":3,\"call\":\"mount\",\"number\":165,\"arch\":\"x86_64\","
        "\"error\":\"EPERM\",\"argument\":null,\"value\":null,\"command\":\"foo\\u001b[2J\\\"\"");
    HAS("\"line_to_add\":null");
    HAS("\"line_to_add\":\"\\\"process\\\": {\\\"seccomp_allow\\\": [\\\"mbind\\\"]}\"");
}

Test(provider_denied, totals_that_grow_in_a_moment_are_one_event_with_the_last)
{
    uint64_t number = running("e1");
    for (uint64_t i = 1; i <= 100; i++)
        tell(number, 165, i, "foo");
    fixture_for_ms(400);
    read_events();
    cr_assert_eq(seen.denied, 1, "%s", seen.text);
    HAS("\"count\":100,");
}

Test(provider_denied, what_was_refused_stands_before_the_end_of_its_command)
{
    uint64_t number = running("e1");
    tell(number, 165, 7, "foo");
    fake_exec_end(box(), number, AGENT_REASON_EXIT, 0);
    fixture_for_ms(100);
    read_events();
    const char *denied = strstr(seen.text, "syscall.denied"),
               *end = strstr(seen.text, "exec.ended");
    cr_assert(denied && end && denied < end, "%s", seen.text);
}

Test(provider_denied, a_front_that_is_new_knows_the_command_of_what_it_is_told)
{
    uint64_t number = running("e1");
    fixture_restart();
    fixture_for_ms(100);
    tell(number, 165, 2, "foo");
    fixture_for_ms(400);
    read_events();
    cr_assert_eq(seen.denied, 1, "%s", seen.text);
    HAS("\"exec_id\":\"e1\"");
}

/* A taken-over init may say anything in the right shape: of a command that it has. */
Test(provider_denied, events_of_an_init_that_tells_without_end_are_bounded)
{
    uint64_t number = running("e1");
    for (int round = 0; round < 40; round++) {
        for (int i = 0; i < 200; i++)
            tell(number, 1000 + round * 200 + i, 1, "x");
        fixture_for_ms(250);
    }
    fixture_for_ms(400);
    read_events();
    cr_assert_leq(seen.denied, 4096 + 256, "%u", seen.denied);
    cr_assert_geq(seen.denied, 4000, "%u", seen.denied);
}

Test(provider_denied, a_session_that_is_over_gets_no_event_any_more)
{
    static struct client c;
    uint64_t number = running("e1");
    tell(number, 165, 1, "foo");
    loop_step(fixture_loop, false);
    client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL);
    fixture_until(&c.answer.came);
    fixture_for_ms(400);
    read_events();
    const char *deleted = strstr(seen.text, "session.deleted");
    cr_assert(deleted, "%s", seen.text);
    cr_assert_null(strstr(deleted, "syscall.denied"), "%s", seen.text);
}

Test(provider_denied, limits_that_a_command_met_are_events_with_the_key_of_the_limit)
{
    uint64_t number = running("e1");
    struct fake_exec *exec = fake_exec_find(box(), number);
    exec->exit = (struct agent_exit){.reason = AGENT_REASON_OOM,
                                     .exit_code = -1,
                                     .signal = SIGKILL,
                                     .oom_kills = 2,
                                     .pids_denied = 5,
                                     .scratch_full = AGENT_FULL_BYTES,
                                     .output_truncated = 1};
    exec->state = 2;
    fake_frame(box(), AGENT_FRAME_EXIT, number, 2, &exec->exit, sizeof exec->exit);
    fixture_for_ms(100);
    read_events();
    cr_assert_eq(seen.limits, 4, "%s", seen.text);
    HAS("{\"exec_id\":\"e1\",\"limit\":\"limits.memory\",\"count\":2}");
    HAS("{\"exec_id\":\"e1\",\"limit\":\"limits.pids\",\"count\":5}");
    HAS("{\"exec_id\":\"e1\",\"limit\":\"filesystem.scratch\",\"count\":1}");
    HAS("{\"exec_id\":\"e1\",\"limit\":\"limits.output\",\"count\":1}");
    uint64_t second = running("e2");
    fake_exec_end(box(), second, AGENT_REASON_EXIT, 0);
    fixture_for_ms(100);
    read_events();
    cr_assert_eq(seen.limits, 4, "a command that met none has none");
}
