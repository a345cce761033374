/* This file tests what a start makes of what an older engine has left: rows and a fake kernel that
 * agree or do not, verbs cut at each step, and a ledger or launcher that goes away.
 */
#include "provider_fixture.h"

TestSuite(provider_recover, .init = fixture_init, .fini = fixture_fini, .timeout = 100);

#define HAS(c, wanted) cr_assert(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)

static void must_create(const char *session_id)
{
    static struct client c;
    cr_assert_eq(client_create(&c, "w", session_id, NULL)->status, 201, "%s", c.answer.text);
}

static void expect_no_volume(const char *name)
{
    static struct client c;
    provider_volume_get(fixture_provider, client_call(&c, "w", NULL, NULL, ""), name);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 404, "%s", c.answer.text);
    cr_assert_str_eq(fake.volume_removed, name, "its files");
}

Test(provider_recover, SES_1_a_create_that_fails_or_is_cut_leaves_no_volume_that_it_made)
{
    static struct client c;
    fake.fail[LAUNCHER_LAUNCH] = 1;
    cr_assert_eq(client_create(&c, "w", "fails", NULL)->status, 403, "%s", c.answer.text);
    expect_no_volume("fails");

    fake.hold[LAUNCHER_LAUNCH] = true;
    client_create_begin(&c, "w", "cut", NULL);
    fixture_for_ms(50);
    fake.hold[LAUNCHER_LAUNCH] = false;
    fixture_restart();
    expect_no_volume("cut");

    /* One that was there stays. */
    provider_volume_create(fixture_provider, client_call(&c, "w", NULL, NULL, ""), "old", "me");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 201, "%s", c.answer.text);
    fake.fail[LAUNCHER_LAUNCH] = 1;
    cr_assert_eq(client_create(&c, "w", "old", NULL)->status, 403, "%s", c.answer.text);
    provider_volume_get(fixture_provider, client_call(&c, "w", NULL, NULL, ""), "old");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);
}

Test(provider_recover, SES_5_a_start_may_take_as_long_as_the_operator_says)
{
    must_create("usual");
    cr_assert_eq(fake.deadline_ms, 5000);
    fixture_config.start_timeout_s = 40;
    must_create("slow");
    cr_assert_eq(fake.deadline_ms, 40000);
}

static void create_read_only(struct client *client, const char *session_id)
{
    spec_for_test(&client_spec, "w", session_id);
    client_spec.workspace.read_only = true;
    snprintf(client_spec.workspace.volume, sizeof client_spec.workspace.volume, "readers");
    struct provider_create create = {
        .spec = &client_spec, .owner = "me", .labels_json = "{}", .client_socket = -1};
    provider_session_create(fixture_provider,
                            client_call(client, "w", session_id, NULL, "/sessions"), &create);
}

Test(provider_recover, SES_1_a_read_only_volume_of_a_create_that_fails_goes_unless_others_name_it)
{
    static struct client c, other, late;
    fake.fail[LAUNCHER_LAUNCH] = 1;
    create_read_only(&c, "fails");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 403, "%s", c.answer.text);
    expect_no_volume("readers");
    fake.volume_removed[0] = 0;

    fake.hold[LAUNCHER_LAUNCH] = true;
    create_read_only(&c, "cut");
    fixture_for_ms(50);
    fake.hold[LAUNCHER_LAUNCH] = false;
    fixture_restart();
    expect_no_volume("readers");
    fake.volume_removed[0] = 0;

    /* Another reader has joined: what its maker made is his now. */
    fake.hold[LAUNCHER_LAUNCH] = true;
    create_read_only(&c, "maker");
    create_read_only(&other, "joins");
    fixture_for_ms(50);
    fake.fail[LAUNCHER_LAUNCH] = 1;
    fake_release(LAUNCHER_LAUNCH);
    fixture_until(&c.answer.came);
    fixture_until(&other.answer.came);
    cr_assert_eq(c.answer.status, 403, "%s", c.answer.text);
    cr_assert_eq(other.answer.status, 201, "%s", other.answer.text);
    cr_assert_str_empty(fake.volume_removed);
    client_verb(&other, "w", "joins", SESSION_EVENT_DESTROY, NULL);
    provider_volume_remove(fixture_provider, client_call(&c, "w", NULL, NULL, ""), "readers");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200, "%s", c.answer.text);

    /* One that comes while it is being removed does not get half of it. */
    fake.fail[LAUNCHER_LAUNCH] = 1;
    fake.hold[LAUNCHER_VOLUME_REMOVE] = true;
    create_read_only(&c, "fails-2");
    fixture_for_ms(100);
    create_read_only(&late, "late");
    fixture_until(&late.answer.came);
    cr_assert_eq(late.answer.status, 409, "%s", late.answer.text);
    fake_release(LAUNCHER_VOLUME_REMOVE);
    fixture_until(&c.answer.came);
    expect_no_volume("readers");
}

Test(provider_recover, sessions_that_agree_are_adopted_and_what_is_in_no_row_is_ended)
{
    static struct client c;
    char name[16];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "s%d", i);
        must_create(name);
    }
    for (int i = 100; i < 150; i++) {
        snprintf(name, sizeof name, "s%d", i);
        cr_assert_eq(client_verb(&c, "w", name, SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    }
    fixture_stop();
    fake_add(9999, 1);
    fake_add(1, 7); /* an older incarnation's name */
    memset(fake.asked, 0, sizeof fake.asked);
    fixture_open();
    cr_assert_eq(fake_living(), 150);
    cr_assert_eq(fake.asked[LAUNCHER_LOOK], 150, "a parked session costs no question");
    cr_assert_eq(fake.asked[LAUNCHER_END], 2);
    cr_assert_eq(fixture_provider->swept, 2);
    cr_assert_eq(fixture_provider->live, 150);
    client_get(&c, "w", "s7");
    HAS(c, "\"state\":\"running\"");
}

Test(provider_recover,
     SES_2_after_a_reboot_that_only_the_launcher_sees_every_running_session_is_parked_and_resumes)
{
    static struct client c;
    must_create("a");
    must_create("b");
    cr_assert_eq(client_verb(&c, "w", "b", SESSION_EVENT_PARK_FREEZE, NULL)->status, 200);
    HAS(c, "\"mode\":\"freeze\"");
    fixture_stop();
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i])
            fake_remove(fake.boxes[i]);
    snprintf(fake.boot_id, sizeof fake.boot_id, "another-boot");
    fixture_open();
    client_get(&c, "w", "a");
    HAS(c, "\"state\":\"parked\",\"mode\":\"stop\",\"reason\":\"host_restart\"");
    client_get(&c, "w", "b");
    HAS(c, "\"mode\":\"stop\",\"reason\":\"host_restart\"");
    cr_assert_eq(client_verb(&c, "w", "a", SESSION_EVENT_RESUME, NULL)->status, 200);
    HAS(c, "\"state\":\"running\"");
}

Test(provider_recover, a_create_that_was_cut_is_undone_and_its_key_free)
{
    static struct client c, d;
    fake.hold[LAUNCHER_LAUNCH] = true;
    client_create_begin(&c, "w", "s", "k");
    fixture_for_ms(50);
    fixture_stop();
    fake.hold[LAUNCHER_LAUNCH] = false;
    fake_add(1, 1); /* its worker had come so far */
    fixture_open();
    cr_assert_eq(fake_living(), 0);
    client_get(&d, "w", "s");
    HAS(d, "\"state\":\"failed\"");
    cr_assert_eq(client_create(&d, "w", "s", "k")->status, 201);
    cr_assert_not(d.answer.replayed);
}

Test(provider_recover,
     SES_1_a_create_that_was_cut_is_ended_by_name_also_when_nothing_of_it_is_there_yet)
{
    static struct client c, d;
    fake.hold[LAUNCHER_LAUNCH] = true;
    client_create_begin(&c, "w", "s", "k");
    fixture_for_ms(50);
    fixture_stop();
    fake.hold[LAUNCHER_LAUNCH] = false;
    unsigned before = fake.asked[LAUNCHER_END];
    fixture_open();
    cr_assert_gt(fake.asked[LAUNCHER_END], before, "its worker may have begun after LIST");
    client_get(&d, "w", "s");
    HAS(d, "\"state\":\"failed\"");
}

static void cut_and_finish(enum session_event verb, enum launcher_request_type held,
                           const char *wanted)
{
    static struct client c, d;
    fake.hold[held] = true;
    client_verb_begin(&c, "w", "s", verb, "k");
    fixture_for_ms(50);
    cr_assert_not(c.answer.came);
    fixture_stop();
    fake.hold[held] = false;
    fixture_open();
    fixture_for_ms(50);
    client_verb(&d, "w", "s", verb, "k");
    cr_assert_eq(d.answer.status, 200, "%s", d.answer.text);
    cr_assert(d.answer.replayed, "recovery has answered");
    client_get(&d, "w", "s");
    HAS(d, wanted);
}

Test(provider_recover, a_park_that_was_cut_is_finished_and_answered)
{
    must_create("s");
    cut_and_finish(SESSION_EVENT_PARK_STOP, LAUNCHER_END, "\"mode\":\"stop\"");
}

Test(provider_recover, a_freeze_that_was_cut_is_finished_and_answered)
{
    must_create("s");
    cut_and_finish(SESSION_EVENT_PARK_FREEZE, LAUNCHER_FREEZE, "\"mode\":\"freeze\"");
}

Test(provider_recover, an_archive_that_was_cut_is_finished_and_answered)
{
    must_create("s");
    cut_and_finish(SESSION_EVENT_ARCHIVE, LAUNCHER_END, "\"state\":\"archived\"");
}

Test(provider_recover, a_destroy_that_was_cut_is_finished_and_answered)
{
    must_create("s");
    cut_and_finish(SESSION_EVENT_DESTROY, LAUNCHER_END, "\"state\":\"destroyed\"");
    cr_assert_eq(fake_living(), 0);
}

Test(provider_recover, SES_3_a_destroy_with_its_volume_that_was_cut_removes_it)
{
    static struct client c;
    must_create("s");
    fake.hold[LAUNCHER_VOLUME_REMOVE] = true;
    struct provider_verb what = {
        .verb = SESSION_EVENT_DESTROY, .delete_volume = true, .client_socket = -1};
    provider_session_verb(fixture_provider, client_call(&c, "w", "s", NULL, "d"), &what);
    fixture_for_ms(50);
    cr_assert_not(c.answer.came, "not before the fate of the workspace is durable");
    fixture_stop();
    fake.hold[LAUNCHER_VOLUME_REMOVE] = false;
    fixture_open();
    fixture_for_ms(100);
    cr_assert_str_eq(fake.volume_removed, "s");
    provider_volume_get(fixture_provider, client_call(&c, "w", NULL, NULL, ""), "s");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 404);
}

Test(provider_recover, what_is_not_what_the_row_says_is_ended_and_the_session_parked)
{
    static struct client c;
    must_create("s");
    fixture_stop();
    fake.boxes[0]->identity.init_start++;
    fixture_open();
    cr_assert_eq(fake_living(), 0);
    client_get(&c, "w", "s");
    HAS(c, "\"state\":\"parked\"");
}

Test(provider_recover, an_init_that_does_not_answer_is_not_adopted)
{
    static struct client c;
    must_create("s");
    fixture_stop();
    fake.silent_inits = true;
    fixture_open();
    cr_assert_eq(fake_living(), 0);
    client_get(&c, "w", "s");
    HAS(c, "\"state\":\"parked\"");
}

Test(provider_recover, P_3_a_launcher_that_is_lost_leaves_nothing_doubled)
{
    static struct client c, d;
    fake.hold[LAUNCHER_LAUNCH] = true;
    client_create_begin(&c, "w", "s", "k");
    fixture_for_ms(50);
    fake.hold[LAUNCHER_LAUNCH] = false;
    fake_lose(true); /* it had been done, and nobody heard of it */
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 503);
    cr_assert_eq(fake_living(), 0);
    cr_assert_eq(client_create(&d, "w", "s", "k")->status, 201);
    fake.hold[LAUNCHER_END] = true;
    client_verb_begin(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL);
    fixture_for_ms(50);
    fake.hold[LAUNCHER_END] = false;
    fake_lose(false);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200, "ending is asked again");
    cr_assert_eq(fake_living(), 0);
}

Test(provider_recover, destroy_takes_the_place_of_a_create_and_waits_for_its_worker)
{
    static struct client c, d, e;
    fake.hold[LAUNCHER_LAUNCH] = true;
    client_create_begin(&c, "w", "s", NULL);
    fixture_for_ms(30);
    client_verb_begin(&d, "w", "s", SESSION_EVENT_DESTROY, NULL);
    client_verb_begin(&e, "w", "s", SESSION_EVENT_DESTROY, "k");
    fixture_for_ms(50);
    cr_assert_eq(fake.asked[LAUNCHER_END], 0, "not beside the worker that builds it");
    fake_release(LAUNCHER_LAUNCH);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 503);
    fixture_until(&d.answer.came);
    fixture_until(&e.answer.came);
    cr_assert_eq(d.answer.status, 200);
    cr_assert_str_eq(d.answer.text, e.answer.text, "a second destroy gets the first one's answer");
    cr_assert_eq(fake_living(), 0);
}

/* After a ledger was brought back: rows that it has are not touched, nor is what is no row's. */
Test(provider_recover, output_of_what_is_in_no_row_goes_after_the_start_and_nothing_else_does)
{
    static const char *const made[] = {"",         "/1",     "/1/1",    "/1/1.gone", "/fffff",
                                       "/fffff/1", "/ffffe", "/upload", "/0ffff",    "/FFFF"};
    static const char *const stay[] = {"/1/1", "/1/1.gone", "/upload", "/0ffff", "/FFFF"};
    char path[SPEC_PATH_MAX + 64];
    must_create("s1");
    fixture_stop();
    for (size_t i = 0; i < ARRAY_LENGTH(made); i++) {
        snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR "%s", fixture_config.state_dir, made[i]);
        const char *name = strrchr(made[i], '/');
        bool file = name && name != made[i];
        cr_assert(file ? (close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0)
                       : (mkdir(path, 0700) == 0 || errno == EEXIST),
                  "%s", path);
    }
    for (int i = 0; i < 600; i++) { /* more than is removed in one go, and than are asked for */
        snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR "/fffff/a%x", fixture_config.state_dir,
                 i);
        cr_assert_eq(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
        snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR "/%x", fixture_config.state_dir,
                 0x10000 + i);
        cr_assert_eq(mkdir(path, 0700), 0);
    }
    fixture_open();
    for (int i = 0; fixture_provider->swept < 602 && i < 1000; i++)
        fixture_for_ms(10);
    cr_expect_eq(fixture_provider->swept, 602);
    for (size_t i = 0; i < ARRAY_LENGTH(stay); i++) {
        snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR "%s", fixture_config.state_dir, stay[i]);
        cr_expect_eq(access(path, F_OK), 0, "%s has gone", path);
    }
    snprintf(path, sizeof path, "%s/" SERVE_SPOOL_DIR "/fffff", fixture_config.state_dir);
    cr_expect(access(path, F_OK) < 0 && errno == ENOENT);
    client_get(&(struct client){0}, "w", "s1");
}

Test(provider_recover, calls_wait_for_recovery)
{
    static struct client c;
    must_create("s");
    fixture_stop();
    fake.hold[LAUNCHER_LOOK] = true;
    fixture_start();
    provider_session_get(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_for_ms(50);
    cr_assert_not(c.answer.came);
    fake_release(LAUNCHER_LOOK);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200);
}
