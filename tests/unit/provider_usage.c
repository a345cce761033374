/* This file tests that what a session used is told to its last moment, with a launcher of its own:
 * what an END says of it is written with the outcome of that end, once.
 */
#include "provider_fixture.h"

TestSuite(provider_usage, .init = fixture_init, .fini = fixture_fini, .timeout = 100);

#define HAS(c, wanted) cr_assert(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)

static struct launcher_last last_of(uint64_t cpu_ns)
{
    return (struct launcher_last){.taken = 1,
                                  .sample = {.cpu_ns = cpu_ns,
                                             .memory_peak_bytes = 4096 + cpu_ns,
                                             .disk_bytes = UINT64_MAX,
                                             .network = {[NETWORK_COUNT_PASSED] = cpu_ns / 1000}}};
}

static void expect_cpu(uint64_t cpu_ns)
{
    static struct client c;
    char wanted[64];
    provider_session_usage(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_until(&c.answer.came);
    snprintf(wanted, sizeof wanted, "\"cpu_ns\":%llu,", (unsigned long long)cpu_ns);
    HAS(c, wanted);
}

static void must_create(void)
{
    static struct client c;
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
}

static void must(enum session_event verb)
{
    static struct client c;
    cr_assert_eq(client_verb(&c, "w", "s", verb, NULL)->status, 200, "%s", c.answer.text);
}

Test(provider_usage, USE_1_every_verb_that_ends_it_writes_what_it_had_used)
{
    static const enum session_event verbs[] = {SESSION_EVENT_PARK_STOP, SESSION_EVENT_ARCHIVE,
                                               SESSION_EVENT_DESTROY};
    static struct client c;
    for (unsigned i = 0; i < ARRAY_LENGTH(verbs); i++) {
        must_create();
        fake.last = last_of(70000);
        must(verbs[i]);
        expect_cpu(70000);
        provider_session_usage(fixture_provider, client_call(&c, "w", "s", NULL, ""));
        fixture_until(&c.answer.came);
        HAS(c, "\"memory_peak_bytes\":74096");
        HAS(c, "\"network_passed\":70");
        fixture_for_ms(50); /* a destroy is closed once more */
        expect_cpu(70000);
        if (verbs[i] != SESSION_EVENT_DESTROY)
            must(SESSION_EVENT_DESTROY);
    }
}

Test(provider_usage, USE_1_incarnations_are_added_and_an_end_that_knows_nothing_adds_nothing)
{
    must_create();
    expect_cpu(1000); /* a sample */
    fake.last = last_of(70000);
    must(SESSION_EVENT_PARK_STOP);
    expect_cpu(70000);
    must(SESSION_EVENT_RESUME);
    fake.last = last_of(500);
    must(SESSION_EVENT_PARK_STOP);
    expect_cpu(70500);
    must(SESSION_EVENT_RESUME);
    fake.last = (struct launcher_last){0};
    must(SESSION_EVENT_DESTROY);
    expect_cpu(70500);
}

Test(provider_usage, USE_1_what_an_end_that_failed_has_told_is_kept_and_is_told_once)
{
    must_create();
    fake.fail_with = (struct err){.code = ERR_UNAVAILABLE, .sys = ETIMEDOUT};
    fake.fail[LAUNCHER_END] = 2;
    fake.failed_last = last_of(70000);
    must(SESSION_EVENT_PARK_STOP);
    cr_assert_eq(fake.asked[LAUNCHER_END], 3);
    expect_cpu(70000);
    must(SESSION_EVENT_RESUME);
    must(SESSION_EVENT_PARK_STOP);
    expect_cpu(70000);
}

Test(provider_usage, USE_1_of_a_session_whose_init_died_it_is_written_too)
{
    static struct client c;
    must_create();
    fake.last = last_of(70000);
    for (unsigned i = 0; i < FAKE_BOXES; i++)
        if (fake.boxes[i])
            fake_box_ends(fake.boxes[i]);
    for (int i = 0; i < 100 && !strstr(c.answer.text, "\"reason\":\"died\""); i++) {
        fixture_for_ms(20);
        client_get(&c, "w", "s");
    }
    HAS(c, "\"reason\":\"died\"");
    expect_cpu(70000);
}

Test(provider_usage, USE_1_an_end_that_recovery_finishes_is_written_once)
{
    static const enum session_event verbs[] = {SESSION_EVENT_PARK_STOP, SESSION_EVENT_ARCHIVE,
                                               SESSION_EVENT_DESTROY};
    static struct client c;
    for (unsigned i = 0; i < ARRAY_LENGTH(verbs); i++) {
        must_create();
        fake.last = last_of(70000);
        fake.hold[LAUNCHER_END] = true;
        client_verb_begin(&c, "w", "s", verbs[i], "k");
        fixture_for_ms(50);
        cr_assert_not(c.answer.came);
        fixture_stop();
        fake.hold[LAUNCHER_END] = false;
        fixture_open();
        fixture_for_ms(50);
        expect_cpu(70000);
        fixture_restart();
        expect_cpu(70000);
        must(SESSION_EVENT_DESTROY);
    }
}

Test(provider_usage, USE_1_what_is_found_broken_is_told_before_it_is_removed)
{
    must_create();
    fixture_stop();
    for (unsigned i = 0; i < FAKE_BOXES; i++)
        if (fake.boxes[i])
            fake.boxes[i]->lives = false;
    fake.last = last_of(70000);
    fixture_open();
    fixture_for_ms(50);
    expect_cpu(70000);
}

Test(provider_usage, what_was_not_measured_is_null_and_not_nothing)
{
    static struct client c;
    must_create();
    provider_session_usage(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_until(&c.answer.came);
    HAS(c, "\"disk_bytes\":null,");
    HAS(c, "\"net_tx_bytes\":0,");
}
