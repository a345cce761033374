/* This file tests what is told of published ports that are lost: when, once, and of whom; over the
 * fakes of provider_fake.h, where a test says which are open. */
#include "provider_fixture.h"

TestSuite(provider_ports, .timeout = 100);

/* ---- what has changed ------------------------------------------------------------------------ */

static struct seat_ports known;
static uint32_t lost, restored;

static void look(unsigned count, uint32_t open, uint32_t taken)
{
    const struct launcher_published found = {
        .count = count, .open = open, .taken = taken, .ports = {{100, 1}, {200, 2}, {300, 3}}};
    ports_compare(&known, &found, &lost, &restored);
}

Test(provider_ports, a_port_that_is_closed_once_is_no_news)
{
    look(2, 3, 0);
    cr_expect(known.looks == 0 && !lost);
    look(2, 2, 1);
    cr_expect(known.looks > 0 && !lost);
    look(2, 3, 0);
    cr_expect(known.looks == 0 && !lost && !restored);
    look(2, 2, 1);
    cr_expect_eq(lost, 0u, "it was open in between");
}

Test(provider_ports, a_port_that_somebody_has_is_told_once_and_once_more_when_it_is_had_again)
{
    look(3, 4, 1);
    look(3, 4, 1);
    cr_expect_eq(lost, 1u, "%x: of the other nobody knows why", lost);
    look(3, 4, 1);
    cr_expect_eq(lost, 0u);
    look(3, 4, 1);
    look(3, 4, 1);
    cr_expect_eq(lost, 2u, "%x", lost);
    look(3, 5, 0);
    cr_expect_eq(restored, 1u);
    cr_expect(known.looks > 0);
    look(3, 7, 0);
    cr_expect_eq(restored, 2u);
    cr_expect(known.looks == 0);
    look(3, 7, 0);
    cr_expect_eq(restored, 0u);
}

Test(provider_ports, a_port_that_is_published_no_more_is_forgotten)
{
    look(2, 0, 3);
    look(2, 0, 3);
    cr_expect_eq(lost, 3u);
    look(1, 0, 1);
    cr_expect_eq(known.lost_count, 1u);
    look(1, 1, 0);
    cr_expect_eq(restored, 1u);
    look(2, 3, 0);
    cr_expect_eq(restored, 0u, "it was not lost as one of these");
}

/* ---- events ---------------------------------------------------------------------------------- */

static struct {
    bool ended;
    unsigned count;
    size_t length;
    char text[8192];
} seen;

static bool on_event(void *data, uint64_t seq, const char *type, const char *json, size_t length)
{
    (void)data, (void)seq, (void)length;
    if (strncmp(type, "network.port", 12) == 0) {
        seen.count++;
        seen.length += (size_t)snprintf(seen.text + seen.length, sizeof seen.text - seen.length,
                                        "%s %s\n", type, strstr(json, "\"data\":"));
    }
    return true;
}

static void on_end(void *data, const struct err *err)
{
    (void)data;
    cr_assert_null(err);
    seen.ended = true;
}

static unsigned events(const char *session_id)
{
    static struct client c;
    struct err err;
    struct provider_follow what = {.event = on_event, .end = on_end};
    memset(&seen, 0, sizeof seen);
    client_call(&c, "w", session_id, NULL, "");
    cr_assert(provider_events_follow(fixture_provider, &c.call, &what, &err));
    fixture_until((const volatile bool *)&seen.ended);
    return seen.count;
}

static void must_be_told(const char *session_id, unsigned count)
{
    int64_t by = now_boot_ms() + 30000 * (int64_t)test_slower();
    while (events(session_id) < count) {
        cr_assert_lt(now_boot_ms(), by, "%u of %u: %s", seen.count, count, seen.text);
        fixture_for_ms(50);
    }
    cr_assert_eq(seen.count, count, "%s", seen.text);
}

/* "s" publishes two ports, "other" none. */
static void two_sessions(void)
{
    static struct client c;
    const struct spec_network net = {
        .egress = SPEC_EGRESS_DENY, .publish = {{23456, 3000}, {23457, 3001}}, .publish_count = 2};
    fixture_init();
    fake.published =
        (struct launcher_published){.count = 2, .open = 3, .ports = {{23456, 3000}, {23457, 3001}}};
    cr_assert_eq(client_create(&c, "w", "other", NULL)->status, 201, "%s", c.answer.text);
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
    provider_session_network(fixture_provider, client_call(&c, "w", "s", NULL, "/network"),
                             &(struct provider_network){.network = &net});
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
}

Test(provider_ports, a_port_that_the_next_gateway_cannot_have_is_an_event_and_so_is_its_return,
     .init = two_sessions, .fini = fixture_fini)
{
    provider_gateway(fixture_provider, -1);
    fixture_for_ms(500);
    cr_expect_eq(events("s"), 0u, "%s", seen.text);
    cr_expect_eq(fake.asked[LAUNCHER_PORTS], 1u, "the other publishes nothing");
    fake.published.open = 2;
    fake.published.taken = 1;
    provider_gateway(fixture_provider, -1);
    must_be_told("s", 1);
    cr_expect_str_eq(
        seen.text,
        "network.port_lost "
        "\"data\":{\"host_port\":23456,\"port\":3000,\"addresses\":[\"127.0.0.1\"],"
        "\"reason\":\"port_in_use\",\"message\":\"127.0.0.1:23456 leads to port 3000 of the session"
        " no more: somebody has it. It is tried again.\"}}\n");
    fixture_for_ms(2000);
    cr_expect_eq(events("s"), 1u, "%s", seen.text);
    fake.published.open = 3;
    fake.published.taken = 0;
    must_be_told("s", 2);
    cr_expect(strstr(seen.text,
                     "\nnetwork.port_restored \"data\":{\"host_port\":23456,\"port\":3000,"
                     "\"addresses\":[\"127.0.0.1\"],\"message\":\"127.0.0.1:23456 leads to "
                     "port 3000 of the session again.\"}}\n"),
              "%s", seen.text);
    unsigned asked = fake.asked[LAUNCHER_PORTS];
    fixture_for_ms(1500);
    cr_expect_eq(fake.asked[LAUNCHER_PORTS], asked, "all are open: nobody is asked again");
    cr_expect_eq(events("other"), 0u);
}

Test(provider_ports, a_port_that_was_lost_while_nobody_was_there_is_told_by_the_next_engine,
     .init = two_sessions, .fini = fixture_fini)
{
    fixture_stop();
    fake.published.open = 1;
    fake.published.barred = 2;
    fixture_open();
    must_be_told("s", 1);
    cr_expect(strstr(seen.text, "\"host_port\":23457,\"port\":3001,\"addresses\":[\"127.0.0.1\"],"
                                "\"reason\":\"forbidden\""),
              "%s", seen.text);
}
