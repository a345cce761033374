/* This file tests sessions behind provider.h with a launcher and inits of its own: verbs, keys,
 * refusals, and what a restart makes of them.
 */
#include "provider_fixture.h"

TestSuite(provider_session, .init = fixture_init, .fini = fixture_fini, .timeout = 60);

Test(provider_session, create_get_list_destroy)
{
    static struct client c;
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
    cr_assert(strstr(c.answer.text, "\"state\":\"running\""));
    cr_assert(strstr(c.answer.text, "\"labels\":{\"k\":\"v\"}"));
    cr_assert(strstr(c.answer.text, "\"landlock_abi\":7"));
    cr_assert(strstr(c.answer.text, "a.note"));
    cr_assert_eq(fake_living(), 1);
    char created[16384];
    snprintf(created, sizeof created, "%s", c.answer.text);
    cr_assert_eq(client_get(&c, "w", "s")->status, 200);
    cr_assert_str_eq(c.answer.text, created, "GET is what create has answered");
    cr_assert_eq(client_get(&c, "other", "s")->status, 404);
    provider_session_list(fixture_provider, client_call(&c, "w", NULL, NULL, ""),
                          &(struct provider_page){.label = "k=v", .state = "running"});
    fixture_until(&c.answer.came);
    cr_assert(strstr(c.answer.text, "\"session_id\":\"s\""), "%s", c.answer.text);
    cr_assert_null(strstr(c.answer.text, "effective"));
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL)->status, 200);
    cr_assert_eq(fake_living(), 0);
    fixture_until(&fixture_idle);
    client_get(&c, "w", "s");
    cr_assert(strstr(c.answer.text, "\"state\":\"destroyed\""), "%s", c.answer.text);
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL)->status, 200);
}

static struct client the_second;

/* As soon as the first one has its answer there is another who asks. */
static void ask_again_when_told(void *data, struct provider_reply *reply)
{
    static const struct provider_verb what = {.verb = SESSION_EVENT_DESTROY, .client_socket = -1};
    answer_reply(data, reply);
    provider_session_verb(fixture_provider, client_call(&the_second, "w", "s", NULL, "d"), &what);
}

Test(provider_session, who_joins_a_destroy_that_was_answered_is_told_the_same)
{
    static const struct provider_verb what = {.verb = SESSION_EVENT_DESTROY, .client_socket = -1};
    static struct client c;
    char path[SPEC_PATH_MAX + 64];
    for (int round = 1; round <= 30; round++) {
        cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
        /* Its removal takes some turns, in which the second one gets its own. */
        snprintf(path, sizeof path, "%s/spool/%x", fixture_config.state_dir, round);
        cr_assert_eq(mkdir(path, 0700), 0, "%s", path);
        for (int i = 0; i < 130; i++) {
            snprintf(path, sizeof path, "%s/spool/%x/%d", fixture_config.state_dir, round, i);
            close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        }
        client_call(&c, "w", "s", NULL, "d")->reply = ask_again_when_told;
        provider_session_verb(fixture_provider, &c.call, &what);
        fixture_until(&c.answer.came);
        fixture_until(&the_second.answer.came);
        cr_assert_str_eq(c.answer.text, the_second.answer.text);
        fixture_until(&fixture_idle);
    }
}

Test(provider_session, SES_1_a_create_that_fails_is_ended_and_leaves_a_tombstone)
{
    static struct client c;
    fake.fail[LAUNCHER_LAUNCH] = 1;
    fake.fail[LAUNCHER_END] = 3; /* proven at the fourth */
    cr_assert_eq(client_create(&c, "w", "s", "k1")->status, 403);
    cr_assert_eq(fake.asked[LAUNCHER_END], 4);
    client_get(&c, "w", "s");
    cr_assert(strstr(c.answer.text, "\"state\":\"failed\""), "%s", c.answer.text);
    cr_assert_eq(client_create(&c, "w", "s", "k1")->status, 403);
    cr_assert(c.answer.replayed, "a 4xx is kept (IDEM-3)");
    fake.fail_with = (struct err){.code = ERR_UNAVAILABLE, .sys = ETIMEDOUT};
    fake.fail[LAUNCHER_LAUNCH] = 1;
    cr_assert_eq(client_create(&c, "w", "s", "k2")->status, 503);
    cr_assert(strstr(c.answer.text, "\"retry_after\":1}"), "%s", c.answer.text);
    cr_assert_eq(client_create(&c, "w", "s", "k2")->status, 201, "a 5xx releases its key");
}

Test(provider_session, where_as_many_live_as_may_nobody_is_asked_to_wait_for_it)
{
    static struct client c;
    fake.fail_with = (struct err){.code = ERR_UNAVAILABLE, .sys = EUSERS};
    fake.fail[LAUNCHER_LAUNCH] = 1;
    cr_assert_eq(client_create(&c, "w", "s", "k")->status, 503);
    cr_assert(strstr(c.answer.text, "\"retry_after\":60}"), "%s", c.answer.text);
    cr_assert_eq(client_create(&c, "w", "s", "k")->status, 201, "and its key is released");
}

Test(provider_session, IDEM_1_a_repeated_create_gets_the_same_bytes_also_after_a_restart)
{
    static struct client a, b;
    client_create(&a, "w", "s", "k");
    cr_assert_eq(client_create(&b, "w", "s", "k")->status, 201);
    cr_assert(b.answer.replayed);
    cr_assert_str_eq(a.answer.text, b.answer.text);
    fixture_restart();
    client_create(&b, "w", "s", "k");
    cr_assert(b.answer.replayed);
    cr_assert_str_eq(a.answer.text, b.answer.text);
    cr_assert_eq(fake.asked[LAUNCHER_LAUNCH], 1);
}

Test(provider_session, SES_8_create_of_a_session_that_exists_is_refused)
{
    static struct client c;
    client_create(&c, "w", "s", NULL);
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 409);
    cr_assert_eq(c.answer.err.code, ERR_SESSION_EXISTS);
    cr_assert_eq(client_create(&c, "v", "s", NULL)->status, 201, "ID-1");
}

Test(provider_session, CAP_2_every_missing_capability_is_named_and_nothing_is_touched)
{
    static struct client c;
    fixture_capabilities.status[CAP_WORKSPACE_VOLUME].available = false;
    fixture_capabilities.status[CAP_ROOTFS_HOST].available = false;
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 422);
    cr_assert(strstr(c.answer.text, "\"missing\":[\"workspace.volume\",\"rootfs.host\"]"), "%s",
              c.answer.text);
    cr_assert_eq(fake.asked[LAUNCHER_LAUNCH], 0);
    cr_assert_eq(client_get(&c, "w", "s")->status, 404);
}
