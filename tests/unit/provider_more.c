/* This file tests files, volumes, reaping, timers and the state table behind provider.h, with a
 * launcher and inits of its own.
 */
#include "provider_fixture.h"

TestSuite(provider_more, .init = fixture_init, .fini = fixture_fini, .timeout = 100);

#define HAS(c, wanted) cr_assert(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)

static void must_create(const char *workspace_id, const char *session_id)
{
    static struct client c;
    cr_assert_eq(client_create(&c, workspace_id, session_id, NULL)->status, 201, "%s",
                 c.answer.text);
}

/* ---- the table ------------------------------------------------------------------------------- */

static void bring_to(enum session_state state)
{
    static struct client c;
    if (state == SESSION_FAILED)
        fake.fail[LAUNCHER_LAUNCH] = 1;
    if (state != SESSION_NONE)
        client_create(&c, "w", "s", NULL);
    if (state == SESSION_PARKED)
        client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL);
    if (state == SESSION_FROZEN)
        client_verb(&c, "w", "s", SESSION_EVENT_PARK_FREEZE, NULL);
    if (state == SESSION_ARCHIVED)
        client_verb(&c, "w", "s", SESSION_EVENT_ARCHIVE, NULL);
    if (state == SESSION_DESTROYED) {
        client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL);
        fixture_for_ms(30);
    }
}

Test(provider_more, every_verb_in_every_state_twice_and_an_absent_cell_says_what_is_allowed)
{
    static const enum session_state states[] = {SESSION_NONE,   SESSION_RUNNING,  SESSION_PARKED,
                                                SESSION_FROZEN, SESSION_ARCHIVED, SESSION_DESTROYED,
                                                SESSION_FAILED};
    static const enum session_event verbs[] = {SESSION_EVENT_PARK_STOP, SESSION_EVENT_PARK_FREEZE,
                                               SESSION_EVENT_RESUME,    SESSION_EVENT_INTERRUPT,
                                               SESSION_EVENT_ARCHIVE,   SESSION_EVENT_DESTROY};
    static struct client c, again;
    for (size_t s = 0; s < ARRAY_LENGTH(states); s++)
        for (size_t v = 0; v < ARRAY_LENGTH(verbs); v++) {
            fixture_fini();
            fixture_init();
            bring_to(states[s]);
            bool allowed = session_transition(states[s], verbs[v])->allowed;
            client_verb(&c, "w", "s", verbs[v], "k");
            int wanted = states[s] == SESSION_NONE ? 404 : allowed ? 200 : 409;
            cr_assert_eq(c.answer.status, wanted, "%s in %s: %s", session_event_name(verbs[v]),
                         session_state_name(states[s]), c.answer.text);
            if (wanted == 409)
                cr_assert_eq(c.answer.allowed, session_allowed(states[s]));
            client_verb(&again, "w", "s", verbs[v], "k");
            cr_assert(again.answer.replayed, "%s", again.answer.text);
            cr_assert_str_eq(again.answer.text, c.answer.text, "IDEM-1");
            cr_assert_eq(again.answer.status, wanted);
        }
}

/* ---- files ----------------------------------------------------------------------------------- */

struct operated {
    bool came;
    struct err err;
    struct files_result result;
};

static void on_done(void *data, const struct provider_files_reply *reply)
{
    struct operated *o = data;
    cr_assert_not(o->came);
    if (reply->err)
        o->err = *reply->err;
    if (reply->result)
        o->result = *reply->result;
    o->came = true;
}

static void operate_begin(struct operated *o, struct client *c, enum files_operation what)
{
    struct files_request request;
    files_request_init(&request, what);
    snprintf(request.path, sizeof request.path, "/workspace/a");
    memset(o, 0, sizeof *o);
    provider_files(fixture_provider, client_call(c, "w", "s", NULL, ""),
                   &(struct provider_files){.request = &request, .data_in = -1, .data_out = -1},
                   on_done, o);
    cr_assert_not(o->came);
}

static struct operated *operate(struct operated *o, struct client *c, enum files_operation what)
{
    operate_begin(o, c, what);
    fixture_until(&o->came);
    return o;
}

static struct fake_box *box(void)
{
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i])
            return fake.boxes[i];
    cr_assert_fail("no session");
    return NULL;
}

Test(provider_more, FS_files_of_a_running_session_are_its_workers_and_no_commands)
{
    static struct client c;
    static struct operated o;
    must_create("w", "s");
    operate_begin(&o, &c, FILES_STAT);
    fixture_for_ms(30);
    struct fake_exec *worker = &box()->execs[0];
    cr_assert(worker->has_files);
    fake_files_answer(fcntl(worker->err, F_DUPFD_CLOEXEC, 3));
    fake_exec_end(box(), worker->number, AGENT_REASON_EXIT, 0);
    fixture_until(&o.came);
    cr_assert_eq(o.err.code, ERR_NONE, "%s", o.err.detail);
    cr_assert_eq(o.result.bytes, 5);
    fixture_for_ms(20);
    cr_assert(worker->forgotten);
    provider_exec_list(fixture_provider, client_call(&c, "w", "s", NULL, ""),
                       &(struct provider_page){0});
    fixture_until(&c.answer.came);
    HAS(c, "\"execs\":[]");
    /* A worker that is killed, and one that answers nonsense. */
    operate_begin(&o, &c, FILES_STAT);
    fixture_for_ms(30);
    fake_exec_end(box(), box()->execs[1].number, AGENT_REASON_SIGNAL, -1);
    fixture_until(&o.came);
    cr_assert_eq(o.err.code, ERR_UNAVAILABLE);
    operate_begin(&o, &c, FILES_STAT);
    fixture_for_ms(30);
    cr_assert_eq(write(box()->execs[2].err, "nonsense", 8), 8);
    fixture_until(&o.came);
    cr_assert_eq(o.err.code, ERR_UNAVAILABLE);
    fake_exec_end(box(), box()->execs[2].number, AGENT_REASON_EXIT, 0);
}

static struct fake_exec *last_worker(void)
{
    return &box()->execs[box()->exec_count - 1];
}

Test(provider_more, FS_2_workers_that_do_not_end_fill_no_more_than_their_places)
{
    enum { MOST = 64 };
    static struct client c[MOST + 1];
    static struct operated o[MOST + 1];
    must_create("w", "s");
    for (unsigned i = 0; i < MOST + 1; i++)
        operate_begin(&o[i], &c[i], FILES_STAT);
    fixture_until(&o[MOST].came);
    cr_assert_eq(o[MOST].err.code, ERR_UNAVAILABLE);
    cr_assert(strstr(o[MOST].err.detail, "64 file operations"), "%s", o[MOST].err.detail);
    cr_assert_eq(box()->exec_count, MOST);

    /* What is told of one that was killed and does not go: its asker waits no longer, its place is
     * taken until it has gone. */
    struct fake_exec *worker = &box()->execs[3];
    struct agent_exit early = {.reason = AGENT_REASON_IDLE_TIMEOUT, .exit_code = -1};
    fake_frame(box(), AGENT_FRAME_EXIT, worker->number, 1, &early, sizeof early);
    fixture_until(&o[3].came);
    cr_assert_eq(o[3].err.code, ERR_UNAVAILABLE);
    cr_assert(strstr(o[3].err.detail, "did not move"), "%s", o[3].err.detail);
    operate(&o[MOST], &c[MOST], FILES_STAT);
    cr_assert(strstr(o[MOST].err.detail, "64 file operations"), "%s", o[MOST].err.detail);
    worker->state = AGENT_ROW_ENDED;
    fake_table_row(box(), worker);
    fixture_for_ms(20);
    cr_assert(worker->forgotten);

    /* An interrupt ends all of them; before the first command too. */
    cr_assert_eq(client_verb(&c[MOST], "w", "s", SESSION_EVENT_INTERRUPT, NULL)->status, 200);
    for (unsigned i = 0; i < MOST; i++)
        cr_assert(o[i].came, "an operation goes on after the interrupt");
    operate_begin(&o[0], &c[0], FILES_STAT);
    fixture_for_ms(30);
    cr_assert_eq(box()->exec_count, MOST + 1, "there is no room again");
}

Test(provider_more, FS_2_a_freeze_and_a_lost_connection_end_what_is_under_way)
{
    static struct client c;
    static struct operated o;
    must_create("w", "s");
    operate_begin(&o, &c, FILES_STAT);
    fixture_for_ms(30);
    cr_assert_not(o.came);
    struct provider_verb freeze = {.verb = SESSION_EVENT_PARK_FREEZE, .client_socket = -1};
    static struct client park;
    provider_session_verb(fixture_provider, client_call(&park, "w", "s", NULL, "park"), &freeze);
    fixture_until(&park.answer.came);
    cr_assert_eq(park.answer.status, 200, "%s", park.answer.text);
    cr_assert(o.came && o.err.code == ERR_UNAVAILABLE);
    cr_assert_eq(client_verb(&park, "w", "s", SESSION_EVENT_RESUME, NULL)->status, 200);
    operate_begin(&o, &c, FILES_STAT);
    fixture_for_ms(30);
    cr_assert_not(o.came);
    cr_assert_eq(last_worker()->state, 1);
    fake_box_ends(box());
    fixture_until(&o.came);
    cr_assert_eq(o.err.code, ERR_UNAVAILABLE);
}

Test(provider_more, FS_2_workers_of_an_older_front_are_ended_and_their_places_free)
{
    static struct client c;
    static struct operated o;
    must_create("w", "s");
    operate_begin(&o, &c, FILES_STAT);
    fixture_for_ms(30);
    fixture_restart();
    fixture_for_ms(30);
    cr_assert_neq(box()->execs[0].state, 1);
    cr_assert(box()->execs[0].forgotten);
}

Test(provider_more, FS_2_a_park_destroy_or_archive_gives_up_what_the_launcher_does)
{
    static struct client c;
    static struct operated o;
    must_create("w", "s");
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL)->status, 200);
    fake.hold[LAUNCHER_FILES] = true;
    operate_begin(&o, &c, FILES_STAT);
    fixture_for_ms(30);
    static struct client destroy;
    cr_assert_eq(client_verb(&destroy, "w", "s", SESSION_EVENT_DESTROY, NULL)->status, 200);
    fixture_until(&o.came);
    cr_assert_eq(o.err.code, ERR_UNAVAILABLE);
}

Test(provider_more, FS_3_a_resume_ends_what_is_written_beneath_and_lets_nobody_begin)
{
    static struct client c, resume;
    static struct operated o, late;
    static const struct {
        enum session_event park;
        enum launcher_request_type effect;
    } ways[] = {{SESSION_EVENT_PARK_STOP, LAUNCHER_LAUNCH},
                {SESSION_EVENT_PARK_FREEZE, LAUNCHER_THAW}};
    must_create("w", "s");
    for (unsigned i = 0; i < ARRAY_LENGTH(ways); i++) {
        cr_assert_eq(client_verb(&c, "w", "s", ways[i].park, NULL)->status, 200, "%s",
                     c.answer.text);
        fake.hold[LAUNCHER_FILES] = fake.hold[ways[i].effect] = true;
        operate_begin(&o, &c, FILES_WRITE);
        fixture_for_ms(30);
        unsigned asked = fake.asked[LAUNCHER_FILES];
        client_verb_begin(&resume, "w", "s", SESSION_EVENT_RESUME, NULL);
        fixture_until(&o.came);
        cr_assert_eq(o.err.code, ERR_UNAVAILABLE);
        /* One that comes meanwhile is the launcher's no more. */
        operate_begin(&late, &c, FILES_STAT);
        fixture_for_ms(50);
        cr_assert_not(late.came);
        cr_assert_eq(fake.asked[LAUNCHER_FILES], asked);
        fake_release(ways[i].effect);
        fake_release(LAUNCHER_FILES);
        fixture_until(&resume.answer.came);
        cr_assert_eq(resume.answer.status, 200, "%s", resume.answer.text);
        for (unsigned k = 0; k < 500 && !(box()->exec_count && last_worker()->state == 1); k++)
            fixture_for_ms(20);
        fake_exec_end(box(), last_worker()->number, AGENT_REASON_SIGNAL, -1);
        fixture_until(&late.came);
        cr_assert_eq(fake.asked[LAUNCHER_FILES], asked);
    }
}

Test(provider_more, FS_files_of_a_session_that_does_not_run_are_the_launchers_by_the_table)
{
    static struct client c;
    static struct operated o;
    must_create("w", "s");
    client_verb(&c, "w", "s", SESSION_EVENT_PARK_STOP, NULL);
    cr_assert_eq(operate(&o, &c, FILES_MKDIR)->err.code, ERR_NONE, "%s", o.err.detail);
    cr_assert_not(fake.files_read_only);
    client_verb(&c, "w", "s", SESSION_EVENT_ARCHIVE, NULL);
    cr_assert_eq(operate(&o, &c, FILES_STAT)->err.code, ERR_NONE);
    cr_assert(fake.files_read_only);
    cr_assert_eq(operate(&o, &c, FILES_MKDIR)->err.code, ERR_INVALID_STATE);
    client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL);
    fixture_for_ms(30);
    cr_assert_eq(operate(&o, &c, FILES_STAT)->err.code, ERR_INVALID_STATE);
}

/* ---- volumes, reaping ------------------------------------------------------------------------ */

Test(provider_more, volumes_are_made_listed_and_removed_when_nobody_names_them)
{
    static struct client c;
    provider_volume_create(fixture_provider, client_call(&c, "w", NULL, "k", "v"), "v1", "me");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 201, "%s", c.answer.text);
    provider_volume_create(fixture_provider, client_call(&c, "w", NULL, NULL, "v"), "v1", "me");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200);
    provider_volume_create(fixture_provider, client_call(&c, "w", NULL, "k", "v"), "v1", "me");
    fixture_until(&c.answer.came);
    cr_assert(c.answer.replayed);
    cr_assert_eq(c.answer.status, 201);
    must_create("w", "s");
    provider_volume_list(fixture_provider, client_call(&c, "w", NULL, NULL, ""),
                         &(struct provider_page){.limit = 1});
    fixture_until(&c.answer.came);
    HAS(c, "\"name\":\"s\"");
    HAS(c, "\"used_by\":\"s\"}],\"next\":\"s\"");
    provider_volume_remove(fixture_provider, client_call(&c, "w", NULL, NULL, ""), "s");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 409);
    provider_volume_remove(fixture_provider, client_call(&c, "w", NULL, NULL, ""), "v1");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200);
    cr_assert_str_eq(fake.volume_removed, "v1");
    provider_volume_get(fixture_provider, client_call(&c, "other", NULL, NULL, ""), "s");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 404, "ID-1");
    provider_volume_get(fixture_provider, client_call(&c, "w", NULL, NULL, ""), "s");
    fixture_until(&c.answer.came);
    HAS(c, "\"disk_bytes\":8192");
}

Test(provider_more, ID_4_reaping_and_resources_are_of_one_owner)
{
    static struct client c;
    must_create("w1", "a");
    must_create("w2", "a");
    spec_for_test(&client_spec, "w1", "b");
    struct provider_create create = {.spec = &client_spec, .owner = "other", .client_socket = -1};
    provider_session_create(fixture_provider, client_call(&c, "w1", "b", NULL, "/s"), &create);
    fixture_until(&c.answer.came);
    provider_resources(fixture_provider, client_call(&c, NULL, NULL, NULL, ""), "me");
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200);
    HAS(c, "\"name\":\"1-1\",\"row\":1");
    cr_assert_null(strstr(c.answer.text, "other"));
    provider_reap(fixture_provider, client_call(&c, NULL, NULL, NULL, ""), "me", 0, true);
    fixture_until(&c.answer.came);
    HAS(c, "would_destroy");
    cr_assert_eq(fake_living(), 3);
    provider_reap(fixture_provider, client_call(&c, NULL, NULL, NULL, ""), "me", 0, false);
    fixture_until(&c.answer.came);
    HAS(c, "\"outcome\":\"destroyed\"");
    cr_assert_eq(fake_living(), 1);
    provider_reap(fixture_provider, client_call(&c, NULL, NULL, NULL, ""), NULL, 0, false);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 400);
}

/* ---- timers, usage, health ------------------------------------------------------------------- */

Test(provider_more, SES_6_time_to_live_and_idleness_end_a_session_by_themselves)
{
    static struct client c;
    const char *const names[] = {"ttl", "idle"};
    for (int i = 0; i < 2; i++) {
        spec_for_test(&client_spec, "w", names[i]);
        struct provider_create create = {.spec = &client_spec,
                                         .ttl_ms = i == 0 ? 100 : 0,
                                         .idle_after_ms = i == 1 ? 100 : 0,
                                         .client_socket = -1};
        provider_session_create(fixture_provider, client_call(&c, "w", names[i], NULL, "/s"),
                                &create);
        fixture_until(&c.answer.came);
        cr_assert_eq(c.answer.status, 201);
    }
    fixture_for_ms(700);
    cr_assert_eq(fake_living(), 0);
    client_get(&c, "w", "ttl");
    HAS(c, "\"state\":\"destroyed\"");
    client_get(&c, "w", "idle");
    HAS(c, "\"state\":\"parked\",\"mode\":\"stop\",\"reason\":\"idle\"");
}

Test(provider_more, USE_1_usage_is_sampled_when_asked_and_health_answers_always)
{
    static struct client c;
    must_create("w", "s");
    provider_session_usage(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_until(&c.answer.came);
    HAS(c, "\"cpu_ns\":1000");
    fixture_stop();
    fake.hold[LAUNCHER_LIST] = true;
    fixture_start();
    provider_health(fixture_provider, client_call(&c, NULL, NULL, NULL, ""));
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 503, "it recovers: %s", c.answer.text);
    cr_assert_gt(c.answer.retry_after_s, 0);
    fake_release(LAUNCHER_LIST);
    fixture_until(&fixture_recovered);
    provider_health(fixture_provider, client_call(&c, NULL, NULL, NULL, ""));
    fixture_until(&c.answer.came);
    HAS(c, "\"status\":\"ok\"");
}

Test(provider_more, a_caller_that_left_is_not_told_and_the_work_goes_on)
{
    static struct client c;
    client_create_begin(&c, "w", "s", NULL);
    provider_forget(fixture_provider, &c.answer);
    fixture_for_ms(100);
    cr_assert_not(c.answer.came);
    cr_assert_eq(fake_living(), 1);
}

Test(provider_more, what_was_frozen_by_half_is_thawed_until_it_is)
{
    static struct client c;
    client_create(&c, "w", "s", NULL);
    fake.fail_with = (struct err){.code = ERR_UNAVAILABLE, .sys = EMFILE};
    fake.fail[LAUNCHER_FREEZE] = 1;
    fake.fail[LAUNCHER_THAW] = 3;
    cr_assert_eq(client_verb(&c, "w", "s", SESSION_EVENT_PARK_FREEZE, NULL)->status, 503);
    cr_assert_eq(fake.asked[LAUNCHER_THAW], 4);
    client_get(&c, "w", "s");
    cr_assert(strstr(c.answer.text, "\"state\":\"running\""), "%s", c.answer.text);
}
