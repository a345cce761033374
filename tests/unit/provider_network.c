/* This file tests how the rules of a session's network are replaced while it lives (NET-6): order
 * and revision, each state, and an engine that ends between any two steps.
 */
#include "provider_fixture.h"

#include "policy/rule.h"

TestSuite(provider_network, .init = fixture_init, .fini = fixture_fini, .timeout = 100);

#define HAS(c, wanted) cr_assert(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)

static struct spec_network rules_of(const char *host)
{
    struct spec_network net = {.egress = SPEC_EGRESS_DENY, .sni_match = 1};
    char why[HOST_WHY_MAX];
    if (host)
        cr_assert_eq(rule_parse_flag(host, 443, &net.allow[net.allow_count++], why), 0, "%s", why);
    return net;
}

static void put_begin(struct client *c, const char *session_id, const char *host, uint64_t revision,
                      const char *key)
{
    const struct spec_network net = rules_of(host);
    provider_session_network(fixture_provider, client_call(c, "w", session_id, key, "/network"),
                             &(struct provider_network){.network = &net, .revision = revision});
    cr_assert_not(c->answer.came, "a reply from inside the call");
}

static struct answer *put(struct client *c, const char *session_id, const char *host,
                          uint64_t revision, const char *key)
{
    put_begin(c, session_id, host, revision, key);
    fixture_until(&c->answer.came);
    return &c->answer;
}

static void must_create(const char *session_id)
{
    static struct client c;
    cr_assert_eq(client_create(&c, "w", session_id, NULL)->status, 201, "%s", c.answer.text);
    HAS(c, "\"network_revision\":1,\"network\":{\"egress\":\"deny\"");
}

static struct fake_box *the_box(void)
{
    struct fake_box *found = NULL;
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i]) {
            cr_assert_null(found, "one sandbox");
            found = fake.boxes[i];
        }
    cr_assert(found);
    return found;
}

static void expect_in_force(uint64_t generation, const char *host)
{
    const struct fake_box *box = the_box();
    cr_assert_eq(box->generation, generation, "%llu", (unsigned long long)box->generation);
    cr_assert_eq(box->rules.allow_count, host ? 1 : 0);
    if (host)
        cr_assert_str_eq(box->rules.allow[0].host, host);
}

static void expect_shown(const char *session_id, const char *wanted)
{
    static struct client c;
    cr_assert_eq(client_get(&c, "w", session_id)->status, 200);
    HAS(c, wanted);
}

Test(provider_network, NET_6_rules_of_a_living_session_are_replaced_as_a_new_revision)
{
    static struct client c;
    must_create("s");
    cr_assert_eq(the_box()->generation, 1, "a start says which revision it makes");
    fake.cut = 3;
    cr_assert_eq(put(&c, "s", "a.example", 0, NULL)->status, 200, "%s", c.answer.text);
    HAS(c,
        "{\"revision\":2,\"network\":{\"egress\":\"deny\",\"sni\":\"match\",\"allow\":[{\"host\": "
        "\"a.example\", \"ports\": [443]}],\"deny\":[],\"allow_private\":false,\"publish\":[]},"
        "\"connections_cut\":3}");
    expect_in_force(2, "a.example");
    expect_shown("s", "\"network_revision\":2,\"network\":{\"egress\":\"deny\",\"sni\":\"match\","
                      "\"allow\":[{\"host\": \"a.example\"");
    cr_assert_eq(put(&c, "s", NULL, 2, NULL)->status, 200, "%s", c.answer.text);
    expect_in_force(3, NULL);

    cr_assert_eq(put(&c, "s", "b.example", 2, NULL)->status, 412, "%s", c.answer.text);
    HAS(c, "\"pointer\":\"/revision\"");
    HAS(c, "revision of its network is 3");
    expect_in_force(3, NULL);
}

Test(provider_network, IDEM_1_the_same_key_replaces_once)
{
    static struct client c;
    char first[16384];
    must_create("s");
    cr_assert_eq(put(&c, "s", "a.example", 0, "k")->status, 200, "%s", c.answer.text);
    snprintf(first, sizeof first, "%s", c.answer.text);
    cr_assert_eq(put(&c, "s", "a.example", 0, "k")->status, 200);
    cr_assert(c.answer.replayed);
    cr_assert_str_eq(c.answer.text, first);
    cr_assert_eq(fake.asked[LAUNCHER_NETWORK], 1);
    expect_in_force(2, "a.example");
}

Test(provider_network, each_state_takes_other_rules_or_says_what_it_takes)
{
    static struct client c;
    cr_assert_eq(put(&c, "none", "a.example", 0, NULL)->status, 404);

    must_create("s");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_FREEZE, NULL)->status, 200);
    cr_assert_eq(put(&c, "s", "frozen.example", 0, NULL)->status, 200, "%s", c.answer.text);
    expect_in_force(2, "frozen.example");

    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    cr_assert_eq(put(&c, "s", "parked.example", 2, "k")->status, 200, "%s", c.answer.text);
    HAS(c, "\"revision\":3");
    cr_assert_eq(put(&c, "s", "parked.example", 2, "k")->status, 200);
    cr_assert(c.answer.replayed);
    cr_assert_eq(fake.asked[LAUNCHER_NETWORK], 1, "nothing lives that has rules");
    expect_shown("s", "\"state\":\"parked\"");
    expect_shown("s", "\"network_revision\":3");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
    cr_assert_eq(the_box()->generation, 3, "a resume makes the revision of the row");
    expect_shown("s", "parked.example");

    static const enum session_event ends[] = {SESSION_EVENT_ARCHIVE, SESSION_EVENT_DESTROY};
    for (unsigned i = 0; i < ARRAY_LENGTH(ends); i++) {
        cr_assert_eq(client_verb(&c, "w", "s", ends[i], NULL)->status, 200, "%s", c.answer.text);
        cr_assert_eq(put(&c, "s", "a.example", 0, NULL)->status, 409, "%s", c.answer.text);
        HAS(c, "invalid_state");
        cr_assert_not(c.answer.allowed & 1u << SESSION_EVENT_NETWORK);
    }
    /* A life that begins anew begins with revision 1. */
    must_create("s");
    cr_assert_eq(the_box()->generation, 1);
}

static struct answer *publish(struct client *c, const char *session_id, unsigned host_port,
                              unsigned port, const char *key)
{
    const struct spec_publish one = {.host_port = (uint16_t)host_port, .port = (uint16_t)port};
    provider_session_publish(fixture_provider, client_call(c, "w", session_id, key, "/ports"),
                             &one);
    cr_assert_not(c->answer.came, "a reply from inside the call");
    fixture_until(&c->answer.came);
    return &c->answer;
}

Test(provider_network, NET_6_a_port_more_is_published_beside_what_there_is)
{
    static struct client c;
    cr_assert_eq(publish(&c, "none", 0, 3000, NULL)->status, 404);
    must_create("s");
    cr_assert_eq(put(&c, "s", "a.example", 0, NULL)->status, 200, "%s", c.answer.text);
    cr_assert_eq(publish(&c, "s", 8080, 3000, "k")->status, 200, "%s", c.answer.text);
    HAS(c, "{\"revision\":3,");
    HAS(c, "\"host\": \"a.example\"");
    HAS(c, "\"publish\":[\"8080:3000\"]");
    expect_in_force(3, "a.example");
    cr_assert_eq(the_box()->rules.publish_count, 1);
    /* The key has an answer; what is there is not there twice, and any that is free is. */
    cr_assert_eq(publish(&c, "s", 8080, 3000, "k")->status, 200);
    cr_assert(c.answer.replayed);
    cr_assert_eq(publish(&c, "s", 8080, 3000, NULL)->status, 200, "%s", c.answer.text);
    cr_assert_eq(the_box()->rules.publish_count, 1);
    cr_assert_eq(publish(&c, "s", 0, 3000, NULL)->status, 200, "%s", c.answer.text);
    cr_assert_eq(publish(&c, "s", 0, 3000, NULL)->status, 200, "%s", c.answer.text);
    cr_assert_eq(the_box()->rules.publish_count, 3);
    uint64_t generation = the_box()->generation;
    /* A refusal is kept as any, and does not ask to be asked again. */
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(publish(&c, "s", 8080, 3001, "taken")->status, 409, "%s", c.answer.text);
        HAS(c, "port_in_use");
        cr_assert_eq(c.answer.replayed, i == 1);
        cr_assert_eq(c.answer.retry_after_s, 0);
    }
    for (unsigned i = 3; i < SPEC_PUBLISH_MAX; i++)
        cr_assert_eq(publish(&c, "s", 9000 + i, 3000, i == 3 ? "q" : NULL)->status, 200, "%s",
                     c.answer.text);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(publish(&c, "s", 9999, 3000, "full")->status, 400, "%s", c.answer.text);
        cr_assert_eq(c.answer.replayed, i == 1);
        cr_assert_eq(c.answer.retry_after_s, 0);
    }
    cr_assert_eq(publish(&c, "s", 9003, 3000, "q")->status, 200, "a full table keeps no answer");
    cr_assert(c.answer.replayed);
    cr_assert_eq(the_box()->generation, generation + SPEC_PUBLISH_MAX - 3);
    /* Of one that is parked with its next start. */
    cr_assert_eq(put(&c, "s", NULL, 0, NULL)->status, 200, "%s", c.answer.text);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    cr_assert_eq(publish(&c, "s", 0, 3000, NULL)->status, 200, "%s", c.answer.text);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL)->status, 200);
    cr_assert_eq(publish(&c, "s", 0, 3000, NULL)->status, 409, "%s", c.answer.text);
}

Test(provider_network, NET_6_an_engine_that_ends_between_two_steps_asks_again_and_ends_the_same)
{
    static struct client c;
    for (int happened = 0; happened < 2; happened++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", happened);
        must_create(name);
        fake.hold[LAUNCHER_NETWORK] = true;
        put_begin(&c, name, "a.example", 0, name);
        unsigned before = fake.asked[LAUNCHER_NETWORK];
        for (int i = 0; i < 5000 && fake.asked[LAUNCHER_NETWORK] == before; i++)
            fixture_for_ms(1);
        cr_assert_gt(fake.asked[LAUNCHER_NETWORK], before);
        expect_shown(name, "\"network_revision\":1");
        if (happened) /* the launcher has done it, and nobody hears of it */
            for (unsigned i = 0; i < FAKE_CALLS; i++)
                if (fake.calls[i].used && fake.calls[i].request.type == LAUNCHER_NETWORK) {
                    struct launcher_reply reply = {0};
                    fake_serve(&fake.calls[i].request, &reply);
                }
        fixture_stop();
        fake.hold[LAUNCHER_NETWORK] = false;
        fixture_open();
        for (int i = 0; i < 5000 && the_box()->generation < 2; i++)
            fixture_for_ms(1);
        expect_in_force(2, "a.example");
        for (int i = 0; i < 5000 && put(&c, name, "a.example", 0, name)->status == 409; i++)
            fixture_for_ms(1);
        cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
        cr_assert(c.answer.replayed, "the verb was finished under its key");
        expect_shown(name, "\"network_revision\":2");
        cr_assert_eq(client_verb(&c, "w", name, SESSION_EVENT_DESTROY, NULL)->status, 200);
    }
}

Test(provider_network, NET_6_rules_that_the_launcher_refuses_leave_those_of_before_in_force)
{
    static struct client c;
    must_create("s");
    cr_assert_eq(put(&c, "s", "a.example", 0, NULL)->status, 200, "%s", c.answer.text);
    fake.fail[LAUNCHER_NETWORK] = 1;
    cr_assert_eq(put(&c, "s", "b.example", 0, NULL)->status, 403, "%s", c.answer.text);
    expect_in_force(4, "a.example");
    expect_shown("s", "\"network_revision\":4,\"network\":{\"egress\":\"deny\",\"sni\":\"match\","
                      "\"allow\":[{\"host\": \"a.example\"");
    cr_assert_eq(put(&c, "s", "b.example", 4, NULL)->status, 200, "%s", c.answer.text);
    expect_in_force(5, "b.example");
}

Test(provider_network, a_launcher_that_is_away_is_asked_again)
{
    static struct client c;
    must_create("s");
    fake.fail[LAUNCHER_NETWORK] = 2;
    fake.fail_with = (struct err){.code = ERR_UNAVAILABLE, .sys = EAGAIN};
    cr_assert_eq(put(&c, "s", "a.example", 0, NULL)->status, 200, "%s", c.answer.text);
    expect_in_force(2, "a.example");

    fake.hold[LAUNCHER_NETWORK] = true;
    put_begin(&c, "s", "b.example", 0, NULL);
    fixture_for_ms(50);
    fake_lose(false);
    fake_release(LAUNCHER_NETWORK);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
    expect_in_force(3, "b.example");
}

Test(provider_network,
     a_network_that_the_launcher_may_not_enter_keeps_its_rules_until_it_is_resumed)
{
    static struct client c;
    must_create("s");
    fake.fail[LAUNCHER_NETWORK] = 1;
    fake.fail_with = (struct err){.code = ERR_UNAVAILABLE, .sys = EACCES};
    cr_assert_eq(put(&c, "s", "a.example", 0, "k")->status, 403, "%s", c.answer.text);
    HAS(c, "Park it, ask again");
    cr_assert_eq(fake.asked[LAUNCHER_NETWORK], 1);
    expect_shown("s", "\"network_revision\":3,\"network\":{\"egress\":\"deny\"");
    expect_shown("s", "\"allow\":[],\"deny\":[]");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    cr_assert_eq(put(&c, "s", "a.example", 3, "k2")->status, 200, "%s", c.answer.text);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
    cr_assert_eq(the_box()->generation, 4);
}

Test(provider_network, commands_start_beside_it_other_verbs_wait_and_destroy_takes_its_place)
{
    static struct client c, other;
    const char *const argv[] = {"true", NULL};
    must_create("s");
    fake.hold[LAUNCHER_NETWORK] = true;
    put_begin(&c, "s", "a.example", 0, NULL);
    fixture_for_ms(50);
    provider_exec_start(fixture_provider, client_call(&other, "w", "s", NULL, "/execs"),
                        &(struct provider_exec){.argv = argv,
                                                .timeout_ms = UINT64_MAX,
                                                .idle_timeout_ms = UINT64_MAX,
                                                .grace_ms = UINT64_MAX});
    fixture_until(&other.answer.came);
    cr_assert_eq(other.answer.status, 201, "%s", other.answer.text);
    static const enum session_event verbs[] = {SESSION_EVENT_PARK_FREEZE, SESSION_EVENT_INTERRUPT};
    for (unsigned i = 0; i < ARRAY_LENGTH(verbs); i++) {
        cr_assert_eq(client_verb(&other, "w", "s", verbs[i], NULL)->status, 409);
        cr_assert(strstr(other.answer.text, "in_progress"));
    }
    client_verb_begin(&other, "w", "s", SESSION_EVENT_DESTROY, NULL);
    fixture_for_ms(50);
    fake_release(LAUNCHER_NETWORK);
    fixture_until(&other.answer.came);
    fixture_until(&c.answer.came);
    cr_assert_eq(other.answer.status, 200, "%s", other.answer.text);
    cr_assert_eq(c.answer.status, 503, "%s", c.answer.text);
}

/* ---- rules that nobody can put in force ------------------------------------------------------ */

static void nobody_can(bool can)
{
    fake.fail[LAUNCHER_NETWORK] = can ? 0 : 1000000;
    fake.fail_with = (struct err){.code = ERR_UNAVAILABLE, .sys = EAGAIN};
}

/* The client was told that it is not known, and the intent stays. */
static void put_in_vain(const char *session_id, const char *host, const char *key)
{
    static struct client c;
    nobody_can(false);
    cr_assert_eq(put(&c, session_id, host, 0, key)->status, 503, "%s", c.answer.text);
    cr_assert_eq(put(&c, session_id, host, 0, key)->status, 409, "it is asked again");
    HAS(c, "in_progress");
}

static void expect_settled(const char *session_id, const char *key)
{
    static struct client c;
    cr_assert_eq(put(&c, session_id, "a.example", 0, key)->status, 200, "%s", c.answer.text);
    cr_assert(c.answer.replayed, "it was settled under its key");
    HAS(c,
        "{\"revision\":2,\"network\":{\"egress\":\"deny\",\"sni\":\"match\",\"allow\":[{\"host\": "
        "\"a.example\"");
    HAS(c, "\"connections_cut\":0}");
    expect_shown(session_id, "\"network_revision\":2,");
    expect_shown(session_id, "\"allow\":[{\"host\": \"a.example\"");
}

Test(provider_network, NET_6_a_park_settles_rules_that_nobody_could_put_in_force)
{
    static struct client c;
    must_create("s");
    put_in_vain("s", "a.example", "k");
    expect_shown("s", "\"network_revision\":1");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, "p")->status, 200, "%s",
                 c.answer.text);
    HAS(c, "\"network_revision\":2");
    expect_settled("s", "k");
    unsigned asked = fake.asked[LAUNCHER_NETWORK];
    fixture_for_ms(1200);
    cr_assert_eq(fake.asked[LAUNCHER_NETWORK], asked, "nobody asks any more");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
    cr_assert_eq(the_box()->generation, 2, "a resume makes the revision of the row");
}

Test(provider_network, NET_6_a_park_of_a_frozen_session_and_an_archive_settle_them_too)
{
    static struct client c;
    must_create("s");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_FREEZE, NULL)->status, 200);
    put_in_vain("s", "a.example", "k");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200, "%s",
                 c.answer.text);
    expect_settled("s", "k");
    must_create("t");
    put_in_vain("t", "a.example", "k2");
    cr_assert_eq(client_verb(&c, "w", "t", SESSION_EVENT_ARCHIVE, NULL)->status, 200, "%s",
                 c.answer.text);
    expect_settled("t", "k2");
    expect_shown("t", "\"state\":\"archived\"");
}

Test(provider_network,
     NET_6_rules_that_come_in_force_before_a_park_has_its_turn_are_no_ones_to_settle)
{
    static struct client c, other;
    must_create("s");
    fake.hold[LAUNCHER_NETWORK] = true;
    put_begin(&c, "s", "a.example", 0, "k");
    fixture_for_ms(50);
    client_verb_begin(&other, "w", "s", SESSION_EVENT_PARK_STOP, NULL);
    fixture_for_ms(50);
    fake.cut = 3;
    fake_release(LAUNCHER_NETWORK);
    fixture_until(&c.answer.came);
    fixture_until(&other.answer.came);
    cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
    HAS(c, "\"connections_cut\":3}");
    cr_assert_eq(other.answer.status, 200, "%s", other.answer.text);
    expect_shown("s", "\"network_revision\":2,");
}

Test(provider_network, NET_6_an_engine_that_ends_while_a_park_settles_rules_ends_the_same)
{
    static struct client c;
    for (int died = 0; died < 2; died++) {
        char name[8], key[8], park[8];
        snprintf(name, sizeof name, "s%d", died);
        snprintf(park, sizeof park, "p%d", died);
        snprintf(key, sizeof key, "k%d", died);
        must_create(name);
        put_in_vain(name, "a.example", key);
        fake.hold[LAUNCHER_END] = true;
        unsigned before = fake.asked[LAUNCHER_END];
        client_verb_begin(&c, "w", name, SESSION_EVENT_PARK_STOP, park);
        for (int i = 0; i < 8000 && fake.asked[LAUNCHER_END] == before; i++)
            fixture_for_ms(1);
        cr_assert_gt(fake.asked[LAUNCHER_END], before);
        expect_shown(name, "\"network_revision\":1,");
        if (died) /* it was ended, and nobody hears of it */
            for (unsigned i = 0; i < FAKE_CALLS; i++)
                if (fake.calls[i].used && fake.calls[i].request.type == LAUNCHER_END) {
                    struct launcher_reply reply = {0};
                    fake_serve(&fake.calls[i].request, &reply);
                }
        fixture_stop();
        fake.hold[LAUNCHER_END] = false;
        unsigned asked = fake.asked[LAUNCHER_NETWORK];
        fixture_open();
        cr_assert_eq(client_verb(&c, "w", name, SESSION_EVENT_PARK_STOP, park)->status, 200, "%s",
                     c.answer.text);
        cr_assert(c.answer.replayed, "recovery has answered");
        cr_assert_eq(fake.asked[LAUNCHER_NETWORK], asked, "the park counts, and not the rules");
        expect_settled(name, key);
        cr_assert_eq(client_verb(&c, "w", name, SESSION_EVENT_DESTROY, NULL)->status, 200);
    }
}

Test(provider_network, IDEM_2_a_destroy_takes_the_place_of_a_park_and_of_the_rules_it_came_over)
{
    static struct client c, park;
    must_create("s");
    put_in_vain("s", "a.example", "k");
    fake.hold[LAUNCHER_END] = true;
    client_verb_begin(&park, "w", "s", SESSION_EVENT_PARK_STOP, "p");
    fixture_for_ms(50);
    client_verb_begin(&c, "w", "s", SESSION_EVENT_DESTROY, NULL);
    fixture_for_ms(50);
    fake.hold[LAUNCHER_END] = false;
    fake_release(LAUNCHER_END);
    fixture_until(&park.answer.came);
    fixture_until(&c.answer.came);
    cr_assert_eq(park.answer.status, 503, "%s", park.answer.text);
    cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
    cr_assert_eq(put(&c, "s", "a.example", 0, "k")->status, 409, "%s", c.answer.text);
    HAS(c, "invalid_state");
}

Test(provider_network, CAP_2_rules_that_this_host_cannot_give_are_refused_before_anything)
{
    static struct client c;
    must_create("s");
    fixture_capabilities.status[CAP_NETWORK_HOST_RULES].available = false;
    cr_assert_eq(put(&c, "s", "a.example", 0, NULL)->status, 422, "%s", c.answer.text);
    HAS(c, "network.host_rules");
    fixture_capabilities.status[CAP_NETWORK_HOST_RULES].available = true;
    expect_shown("s", "\"network_revision\":1");
    cr_assert_eq(fake.asked[LAUNCHER_NETWORK], 0);
}

Test(provider_network, published_ports_are_those_of_the_launcher_and_none_where_nothing_lives)
{
    static struct client c;
    fake.published = (struct launcher_published){
        .count = 4, .open = 1, .taken = 4, .barred = 8, .ports = {{40817, 3000}, {80, 81}}};
    must_create("s");
    provider_session_ports(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_until(&c.answer.came);
    HAS(c, "{\"ports\":[{\"host_port\":40817,\"port\":3000,\"addresses\":[\"127.0.0.1\"],"
           "\"open\":true,\"reason\":null},{\"host_port\":80,\"port\":81,\"addresses\":"
           "[\"127.0.0.1\"],\"open\":false,\"reason\":\"unavailable\"},");
    HAS(c, "\"open\":false,\"reason\":\"port_in_use\"},");
    HAS(c, "\"open\":false,\"reason\":\"forbidden\"}]}");
    fake.fail[LAUNCHER_PORTS] = 1;
    provider_session_ports(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_until(&c.answer.came);
    cr_assert_geq(c.answer.status, 400, "%s", c.answer.text);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    provider_session_ports(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_until(&c.answer.came);
    HAS(c, "{\"ports\":[]}");
    provider_session_ports(fixture_provider, client_call(&c, "w", "none", NULL, ""));
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 404, "%s", c.answer.text);
}

Test(provider_network, a_port_that_is_taken_is_told_and_leaves_the_rules_of_before)
{
    static struct client c;
    must_create("s");
    err_set(&fake.fail_with, ERR_PORT_IN_USE, EADDRINUSE, "publish a port", "127.0.0.1:80", NULL);
    fake.fail[LAUNCHER_NETWORK] = 1;
    cr_assert_eq(put(&c, "s", "a.example", 0, NULL)->status, 409, "%s", c.answer.text);
    HAS(c, "port_in_use");
    expect_shown("s", "\"allow\":[]");
    cr_assert_eq(fake.asked[LAUNCHER_NETWORK], 2, "the new rules, and then those of before");
}

Test(provider_network, IDEM_3_a_port_that_cannot_be_had_now_says_when_to_ask_again)
{
    static struct client c;
    must_create("s");
    /* Its init is dead, and the row does not say so yet. */
    err_set(&fake.fail_with, ERR_INVALID_STATE, ENOENT, "find a session that lives", NULL, NULL);
    fake.fail[LAUNCHER_NETWORK] = 1;
    cr_assert_eq(publish(&c, "s", 8080, 3000, "k")->status, 503, "%s", c.answer.text);
    cr_assert_eq(c.answer.retry_after_s, 1);
    HAS(c, "\"retry_after\":1");
    for (int i = 0; i < 5000 && publish(&c, "s", 8080, 3000, "k")->status != 200; i++)
        fixture_for_ms(1);
    cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
}

Test(provider_network, USE_1_what_the_rules_counted_is_of_all_starts)
{
    static struct client c;
    must_create("s");
    for (int start = 1; start <= 2; start++) {
        char wanted[128];
        provider_session_usage(fixture_provider, client_call(&c, "w", "s", NULL, ""));
        fixture_until(&c.answer.came);
        snprintf(wanted, sizeof wanted,
                 "\"network_passed\":%d,\"network_denied_tcp\":0,\"network_denied_udp\":0,"
                 "\"network_denied_other\":%d}",
                 start * 5, start * 2);
        HAS(c, wanted);
        if (start == 1) {
            cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
            cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
        }
    }
}
