/* This file tests what the engine makes of what the gateway tells (NET-4): events of the ledger
 * with the rule that would allow what was refused, exact counts under a flood, and a gateway that
 * lies.
 */
#include "provider_fixture.h"

#include "provider/ledger_rows.h"
#include "runtime/gateway/gateway.h"

#include <sys/socket.h>

static int gateway = -1; /* its end */
static unsigned distrusted;

static void on_distrusted(void *data, const char *why)
{
    (void)data, (void)why;
    distrusted++;
}

static void connect_gateway(void)
{
    int ends[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    fd_replace(&gateway, ends[0]);
    provider_gateway(fixture_provider, ends[1]);
}

static void start(void)
{
    gateway = -1;
    distrusted = 0;
    fixture_init();
    fixture_provider->options.distrusted = on_distrusted;
    connect_gateway();
}

static void stop(void)
{
    fd_replace(&gateway, -1);
    fixture_fini();
}

TestSuite(provider_gateway, .init = start, .fini = stop, .timeout = 100);

static struct client c;

static struct fake_box *create(const char *session_id)
{
    cr_assert_eq(client_create(&c, "w", session_id, NULL)->status, 201, "%s", c.answer.text);
    for (unsigned i = fake.box_count; i > 0; i--)
        if (fake.boxes[i - 1])
            return fake.boxes[i - 1];
    return NULL;
}

static struct gateway_event event_of(const struct fake_box *box, unsigned kind, const char *host)
{
    struct gateway_event event = {.magic = GATEWAY_MAGIC,
                                  .version = GATEWAY_VERSION,
                                  .kind = (uint16_t)kind,
                                  .row = box->row,
                                  .incarnation = box->incarnation,
                                  .generation = 1,
                                  .count = 1,
                                  .first_ms = 1000,
                                  .last_ms = 2000,
                                  .protocol = GATEWAY_TCP,
                                  .port = 8443,
                                  .reason = NETWORK_BY_NO_RULE,
                                  .rule = -1};
    snprintf(event.host, sizeof event.host, "%s", host);
    return event;
}

/* As the gateway: what finds no room comes later. */
static void say(const struct gateway_event *event)
{
    int64_t by = now_boot_ms() + 30000;
    while (send(gateway, event, sizeof *event, MSG_NOSIGNAL) < 0) {
        cr_assert_eq(errno, EAGAIN);
        cr_assert_lt(now_boot_ms(), by);
        loop_step(fixture_loop, false);
    }
}

/* ---- what a follower gets -------------------------------------------------------------------- */

static struct seen {
    unsigned events, network;
    uint64_t denied, dropped, sent;
    char last[2048];
    bool ended;
} seen;

static uint64_t number_of(const char *json, const char *key)
{
    const char *at = strstr(json, key);
    return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static bool on_event(void *data, uint64_t seq, const char *type, const char *json, size_t length)
{
    (void)data, (void)length;
    cr_assert_eq(seq, ++seen.events, "EV-1: without gaps");
    if (strncmp(type, "network.", 8) != 0)
        return true;
    seen.network++;
    seen.sent += number_of(json, "\"bytes_sent\":");
    if (strcmp(type, "network.dropped") == 0)
        seen.dropped += number_of(json, "\"count\":");
    else if (strcmp(type, "network.denied") == 0)
        seen.denied += number_of(json, "\"count\":");
    snprintf(seen.last, sizeof seen.last, "%s", json);
    return true;
}

static void on_end(void *data, const struct err *err)
{
    (void)data;
    cr_assert_null(err);
    seen.ended = true;
}

static void look(const char *session_id)
{
    struct err err;
    seen = (struct seen){0};
    struct provider_follow follow = {.event = on_event, .end = on_end};
    cr_assert(provider_events_follow(fixture_provider, client_call(&c, "w", session_id, NULL, ""),
                                     &follow, &err));
    fixture_until(&seen.ended);
}

static void look_until(const char *session_id, uint64_t denied)
{
    int64_t by = now_boot_ms() + 60000;
    do {
        fixture_for_ms(20);
        look(session_id);
        cr_assert_lt(now_boot_ms(), by, "%llu of %llu were told", (unsigned long long)seen.denied,
                     (unsigned long long)denied);
    } while (seen.denied + seen.dropped < denied);
}

#define LAST_HAS(wanted) cr_assert(strstr(seen.last, (wanted)), "%s", seen.last)

Test(provider_gateway, NET_4_a_refusal_is_an_event_with_the_rule_that_would_allow_it)
{
    const struct fake_box *box = create("s");
    struct gateway_event event = event_of(box, GATEWAY_DENIED, "other.example");
    say(&event);
    look_until("s", 1);
    cr_assert_eq(seen.denied, 1);
    LAST_HAS("\"type\":\"network.denied\"");
    LAST_HAS(
        "\"data\":{\"protocol\":\"tcp\",\"host\":\"other.example\",\"address\":null,\"port\":8443,"
        "\"reason\":\"no_rule\",\"count\":1,\"rule_to_add\":{\"host\": \"other.example\", "
        "\"ports\": [8443]},\"rule\":null,\"network_revision\":1,\"exec_id\":null,"
        "\"first_at\":\"1970-01-01T00:00:01.000Z\",\"last_at\":\"1970-01-01T00:00:02.000Z\","
        "\"message\":\"other.example:8443 was refused: no rule names it.\","
        "\"flag\":\"--allow other.example:8443\"}}");
}

Test(provider_gateway, what_was_reached_and_closed_is_told_with_its_bytes)
{
    const struct fake_box *box = create("s");
    struct gateway_event event = event_of(box, GATEWAY_ALLOWED, "a.example");
    event.connection = 7;
    event.rule = 0;
    event.reason = NETWORK_BY_RULE;
    say(&event);
    event.kind = GATEWAY_CLOSED;
    event.sent = 100;
    event.received = 20;
    say(&event);
    while (look("s"), seen.network < 2)
        fixture_for_ms(10);
    LAST_HAS("network.closed");
    LAST_HAS("\"count\":1,\"bytes_sent\":100,\"bytes_received\":20,\"rule\":0,");
}

Test(provider_gateway, NET_4_a_flood_is_few_events_and_every_one_of_it_is_counted)
{
    const struct fake_box *box = create("s");
    struct gateway_event event;
    /* The same again and again, and many that differ. */
    for (unsigned i = 0; i < 5000; i++) {
        event = event_of(box, GATEWAY_DENIED, "same.example");
        say(&event);
        char name[32];
        snprintf(name, sizeof name, "n%u.example", i);
        event = event_of(box, GATEWAY_DENIED, name);
        say(&event);
        if (i % 64 == 0)
            loop_step(fixture_loop, false);
    }
    fixture_for_ms(300);
    /* What waits is told when the session is parked. */
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    fixture_for_ms(200);
    look("s");
    cr_assert_lt(seen.network, 600, "%u rows", seen.network);
    cr_assert_gt(seen.dropped, 0);
    cr_assert_leq(seen.denied + seen.dropped, 10000, "%llu",
                  (unsigned long long)(seen.denied + seen.dropped));
    /* All but what has no place in a row of the ledger yet: at most one count for each of them. */
    cr_assert_gt(seen.denied + seen.dropped, 4000);
}

Test(provider_gateway, NET_4_repetitions_are_told_together_with_their_exact_count)
{
    const struct fake_box *box = create("s");
    struct gateway_event event = event_of(box, GATEWAY_DENIED, "same.example");
    event.count = 3;
    for (unsigned i = 0; i < 1000; i++)
        say(&event);
    look_until("s", 3000);
    cr_assert_eq(seen.denied, 3000);
    cr_assert_eq(seen.dropped, 0);
    cr_assert_leq(seen.network, 20, "%u rows", seen.network);
}

Test(provider_gateway, a_gateway_is_believed_about_sessions_that_live_here_and_nothing_else)
{
    const struct fake_box *box = create("s");
    struct gateway_event event = event_of(box, GATEWAY_DENIED, "a.example");
    event.row += 100;
    say(&event);
    event = event_of(box, GATEWAY_DENIED, "b.example");
    event.incarnation++;
    say(&event);
    event = event_of(box, GATEWAY_DENIED, "c.example");
    say(&event);
    look_until("s", 1);
    LAST_HAS("c.example");
    cr_assert_eq(seen.denied, 1);

    /* A name that would be another member of the object is a text in it. */
    event = event_of(box, GATEWAY_DENIED, "x\",\"exec_id\":\"e1");
    say(&event);
    look_until("s", 2);
    LAST_HAS("\\\"exec_id\\\":\\\"e1\"");
    LAST_HAS("\"rule_to_add\":null");

    /* What has no shape ends it, and a new one is heard again. */
    cr_assert_eq(distrusted, 0);
    event.kind = 99;
    say(&event);
    fixture_for_ms(50);
    cr_assert_eq(distrusted, 1);
    cr_assert_eq(send(gateway, &event, sizeof event, MSG_NOSIGNAL), -1);
    connect_gateway();
    event = event_of(box, GATEWAY_DENIED, "d.example");
    say(&event);
    look_until("s", 3);
    LAST_HAS("d.example");
}

Test(provider_gateway, nothing_comes_behind_the_end_of_a_session)
{
    const struct fake_box *box = create("s");
    struct gateway_event event = event_of(box, GATEWAY_DENIED, "late.example");
    say(&event);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL)->status, 200);
    say(&event);
    fixture_for_ms(300);
    look("s");
    cr_assert(strstr(seen.last, "late.example") && seen.denied == 1, "%s", seen.last);
}

Test(provider_gateway, a_command_knows_how_often_it_was_refused_something)
{
    const char *const argv[] = {"sleep", NULL};
    struct fake_box *box = create("s");
    struct gateway_event event = event_of(box, GATEWAY_DENIED, "before.example");
    say(&event);
    look_until("s", 1);
    provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"),
                        &(struct provider_exec){.argv = argv,
                                                .exec_id = "e",
                                                .timeout_ms = UINT64_MAX,
                                                .idle_timeout_ms = UINT64_MAX,
                                                .grace_ms = UINT64_MAX});
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 201, "%s", c.answer.text);
    cr_assert(strstr(c.answer.text, "\"network_denied\":null"), "%s", c.answer.text);
    event = event_of(box, GATEWAY_DENIED, "during.example");
    event.count = 4;
    say(&event);
    fake_exec_end(box, box->execs[0].number, AGENT_REASON_EXIT, 7);
    struct provider_call *call = client_call(&c, "w", "s", NULL, "");
    call->exec_id = "e";
    provider_exec_get(fixture_provider, call, 5000);
    fixture_until(&c.answer.came);
    cr_assert(strstr(c.answer.text, "\"exit_code\":7") &&
                  strstr(c.answer.text, "\"network_denied\":4,\"events_after\":3"),
              "%s", c.answer.text);
}

static void start_command(const char *exec_id)
{
    const char *const argv[] = {"sleep", NULL};
    provider_exec_start(fixture_provider, client_call(&c, "w", "s", NULL, "/execs"),
                        &(struct provider_exec){.argv = argv,
                                                .exec_id = exec_id,
                                                .timeout_ms = UINT64_MAX,
                                                .idle_timeout_ms = UINT64_MAX,
                                                .grace_ms = UINT64_MAX});
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 201, "%s", c.answer.text);
}

static uint64_t denied_so_far;

static void denied_of(const struct fake_box *box, const char *host, uint64_t cgroup,
                      const char *wanted)
{
    struct gateway_event event = event_of(box, GATEWAY_DENIED, host);
    event.cgroup = cgroup;
    say(&event);
    look_until("s", ++denied_so_far);
    LAST_HAS(host);
    LAST_HAS(wanted);
}

Test(provider_gateway, a_refusal_names_the_command_whose_cgroup_it_came_from)
{
    struct fake_box *box = create("s");
    start_command("first");
    uint64_t first = fake_cgroup(box->execs[0].number);
    start_command("second");
    uint64_t second = fake_cgroup(box->execs[1].number);
    denied_of(box, "a.example", first, "\"exec_id\":\"first\"");
    denied_of(box, "b.example", second, "\"exec_id\":\"second\"");
    denied_of(box, "c.example", 12345, "\"exec_id\":null");
    denied_of(box, "d.example", 0, "\"exec_id\":null");

    /* What is told of it may come behind its end. */
    fake_exec_end(box, box->execs[0].number, AGENT_REASON_EXIT, 0);
    struct provider_call *call = client_call(&c, "w", "s", NULL, "");
    call->exec_id = "first";
    provider_exec_get(fixture_provider, call, 5000);
    fixture_until(&c.answer.came);
    denied_of(box, "e.example", first, "\"exec_id\":\"first\"");

    fixture_stop();
    fixture_open();
    connect_gateway();
    denied_of(box, "f.example", second, "\"exec_id\":\"second\"");
    denied_of(box, "g.example", first, "\"exec_id\":null");
}

Test(provider_gateway, a_refusal_that_is_told_before_the_start_of_its_command_names_it_too)
{
    struct fake_box *box = create("s");
    start_command("first");
    const uint64_t next = fake_cgroup(number_of_order(2));
    struct gateway_event event = event_of(box, GATEWAY_DENIED, "early.example");
    event.cgroup = next;
    say(&event);
    start_command("second");
    cr_assert_eq(fake_cgroup(box->execs[1].number), next);
    look_until("s", 1);
    LAST_HAS("\"exec_id\":\"second\"");
}
