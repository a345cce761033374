/* This file tests idempotency (IDEM-1..4), usage, timers, ranges of ids and retention in the
 * ledger. */
#include "ledger_fixture.h"

#include <errno.h>

TestSuite(ledger_keys, .init = fixture_init, .fini = fixture_fini);

static const struct idempotency_request key_of_create = {.workspace_id = "w",
                                                         .method = "POST",
                                                         .path = "/v1/workspaces/w/sessions",
                                                         .key = "k1",
                                                         .body_sha256 = "body one"};

static struct verb create_with_key(const struct idempotency_request *key)
{
    struct verb v = verb_of_session("w", "s", SESSION_EVENT_CREATE);
    v.request.key = key;
    return v;
}

Test(ledger_keys, IDEM_1_the_same_key_and_body_get_the_stored_answer_byte_for_byte)
{
    struct err err = {0};
    struct verb first = create_with_key(&key_of_create), again = first, running = first;
    static const char answer[] = "{\"bytes\":\0\1}";
    first.end.answer = (struct coordinator_answer){201, ERR_NONE, {answer, sizeof answer}};
    fixture_must(verb_open(&first, &err), &err);
    cr_assert_eq(verb_open(&running, &err), COORDINATOR_IN_PROGRESS);
    fixture_must(verb_close(&first, SESSION_EVENT_STARTED, &err), &err);
    fixture_reopen();
    cr_assert_eq(verb_open(&again, &err), COORDINATOR_REPLAY);
    cr_assert_eq(again.status, 201);
    cr_assert_eq(again.body.length, sizeof answer);
    cr_assert_eq(memcmp(again.body.data, answer, sizeof answer), 0);
    cr_assert_eq(session_now("w", "s").incarnation, 1, "nothing was done twice");
    buf_fini(&again.body);
}

Test(ledger_keys, IDEM_1_another_body_another_path_another_workspace)
{
    struct err err = {0};
    struct verb first = create_with_key(&key_of_create);
    fixture_must(verb_open(&first, &err), &err);
    fixture_must(verb_close(&first, SESSION_EVENT_STARTED, &err), &err);
    struct idempotency_request body = key_of_create, path = key_of_create, other = key_of_create;
    body.body_sha256 = "body two";
    path.path = "/v1/elsewhere";
    other.workspace_id = "x";
    struct verb v = create_with_key(&body);
    cr_assert_eq(verb_open(&v, &err), COORDINATOR_MISMATCH);
    cr_assert_eq(v.body.length, 0, "nobody sees another's answer");
    v = create_with_key(&path);
    cr_assert_eq(verb_open(&v, &err), COORDINATOR_EXISTS);
    v = create_with_key(&other);
    v.request.workspace_id = "x";
    fixture_must(verb_open(&v, &err), &err);
}

Test(ledger_keys,
     IDEM_2_a_key_completes_with_its_outcome_and_is_released_when_the_verb_is_displaced)
{
    struct err err = {0};
    struct verb first = create_with_key(&key_of_create), again = first;
    fixture_must(verb_open(&first, &err), &err);
    struct verb destroy = verb_do("w", "s", SESSION_EVENT_DESTROY, SESSION_EVENT_DEAD);
    fixture_must(verb_close(&destroy, SESSION_EVENT_GONE, &err), &err);
    fixture_must(verb_open(&again, &err), &err);
    cr_assert_eq(again.ticket.incarnation, 2);
}

Test(ledger_keys, IDEM_3_what_is_stored_and_what_is_not)
{
    static const struct {
        int64_t status;
        enum err_code code;
        bool stored;
    } rows[] = {{200, ERR_NONE, true},
                {201, ERR_NONE, true},
                {400, ERR_INVALID_REQUEST, true},
                {404, ERR_NOT_FOUND, true},
                {409, ERR_INVALID_STATE, true},
                {422, ERR_CAPABILITY_UNAVAILABLE, true},
                {409, ERR_IN_PROGRESS, false},
                {422, ERR_IDEMPOTENCY_MISMATCH, false},
                {429, ERR_RATE_LIMITED, false},
                {500, ERR_INTERNAL, false},
                {503, ERR_UNAVAILABLE, false},
                {507, ERR_INSUFFICIENT_STORAGE, false},
                {0, ERR_NONE, false}};
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct err err = {0};
        struct verb v = create_with_key(&key_of_create), again = v;
        fixture_fini();
        fixture_init();
        fixture_must(verb_open(&v, &err), &err);
        v.end.answer.status = rows[i].status;
        v.end.answer.code = rows[i].code;
        fixture_must(verb_close(&v, SESSION_EVENT_START_FAILED, &err), &err);
        int r = verb_open(&again, &err);
        cr_assert_eq(r == COORDINATOR_REPLAY, rows[i].stored, "%d", (int)rows[i].status);
        if (rows[i].stored)
            cr_assert_eq(again.status, rows[i].status);
        else
            fixture_must(r, &err);
        buf_fini(&again.body);
    }
}

Test(ledger_keys, IDEM_4_an_exec_completes_its_key_when_it_is_accepted_and_only_not_started_reopens)
{
    static const char *const reasons[] = {"exit", "lost", "interrupted", "not_started"};
    struct err err = {0};
    verb_do("w", "s", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
    for (size_t i = 0; i < ARRAY_LENGTH(reasons); i++) {
        struct idempotency_request key = key_of_create;
        key.path = reasons[i];
        struct exec_verb e = exec_of_session("w", "s", reasons[i]), again = e;
        e.request.key = again.request.key = &key;
        fixture_must(exec_accept(&e, &err), &err);
        cr_assert_eq(exec_accept(&again, &err), COORDINATOR_REPLAY);
        cr_assert_str_eq(buf_text(&again.body), reasons[i]);
        buf_fini(&again.body);
        fixture_must(exec_ends(&e.row, reasons[i], &err), &err);
        again.request.exec_id = "another";
        cr_assert_eq(exec_accept(&again, &err),
                     strcmp(reasons[i], "not_started") == 0 ? 0 : COORDINATOR_REPLAY);
        buf_fini(&again.body);
    }
}

static int apply_purge(struct ledger_tx *tx, void *data, struct err *err)
{
    struct ledger_purged purged;
    return ledger_purge(tx, *(int64_t *)data, 1000, &purged, err);
}

Test(ledger_keys, a_key_is_kept_for_a_day_and_one_in_progress_until_its_outcome)
{
    const int64_t day = 24 * 3600 * 1000LL;
    struct err err = {0};
    struct verb v = create_with_key(&key_of_create), again = v;
    int64_t later = 1000 + 2 * day, soon = 1000 + day - 1;
    fixture_must(verb_open(&v, &err), &err);
    again.request.now_ms = later;
    fixture_must(fixture_run(LEDGER_OP_PURGE, apply_purge, &later, &err), &err);
    cr_assert_eq(verb_open(&again, &err), COORDINATOR_IN_PROGRESS);
    fixture_must(verb_close(&v, SESSION_EVENT_STARTED, &err), &err);
    fixture_must(fixture_run(LEDGER_OP_PURGE, apply_purge, &soon, &err), &err);
    again.request.now_ms = soon;
    cr_assert_eq(verb_open(&again, &err), COORDINATOR_REPLAY);
    again.request.now_ms = later;
    cr_assert_eq(verb_open(&again, &err), COORDINATOR_EXISTS, "it is forgotten");
    buf_fini(&again.body);
}

Test(ledger_keys, the_fingerprint_depends_on_every_part_and_on_the_ledger)
{
    char a[65], b[65];
    const char *secret = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const char *other = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdee";
    struct idempotency_request changed;
    idempotency_fingerprint(secret, &key_of_create, a);
    idempotency_fingerprint(other, &key_of_create, b);
    cr_assert_str_neq(a, b);
    changed = key_of_create;
    changed.method = "PUT";
    idempotency_fingerprint(secret, &changed, b);
    cr_assert_str_neq(a, b);
    changed = key_of_create;
    changed.path = "/v1/workspaces/w/session";
    changed.body_sha256 = "sbody one";
    idempotency_fingerprint(secret, &changed, b);
    cr_assert_str_neq(a, b, "parts do not run into each other");
}

/* ---- timers
 * -----------------------------------------------------------------------------------------*/

struct due {
    int64_t now_ms, now_boot_ms, next;
    struct timer_row rows[8];
    size_t count;
};

static int apply_due(struct ledger_tx *tx, void *data, struct err *err)
{
    struct due *d = data;
    int r = ledger_timer_due(tx, d->now_ms, d->now_boot_ms, d->rows, 8, &d->count, err);
    return r == 0 ? ledger_timer_next(tx, d->now_ms, d->now_boot_ms, &d->next, err) : r;
}

static struct due due_at(int64_t now_ms, int64_t now_boot_ms)
{
    struct due d = {.now_ms = now_ms, .now_boot_ms = now_boot_ms};
    struct err err = {0};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_due, &d, &err), &err);
    return d;
}

static struct verb create_with_timers(void)
{
    struct err err = {0};
    struct verb v = verb_of_session("w", "s", SESSION_EVENT_CREATE);
    v.request.ttl_ms = 50000;
    v.request.idle_after_ms = 10000;
    v.request.idle_action = TIMER_IDLE_PARK;
    fixture_must(verb_open(&v, &err), &err);
    fixture_must(verb_close(&v, SESSION_EVENT_STARTED, &err), &err);
    return v;
}

Test(ledger_keys, SES_6_timers_survive_a_restart_and_a_running_exec_is_not_idle)
{
    struct err err = {0};
    create_with_timers(); /* created at 1000, running at 2000 */
    fixture_reopen();
    cr_assert_eq(due_at(11999, 0).count, 0);
    cr_assert_eq(due_at(11999, 0).next, 1);
    cr_assert_eq(due_at(12000, 0).count, 1);
    cr_assert_eq(due_at(12000, 0).rows[0].kind, TIMER_IDLE_PARK);
    struct exec_verb e = exec_of_session("w", "s", "e");
    fixture_must(exec_accept(&e, &err), &err);
    cr_assert_eq(due_at(12000, 0).count, 0);
    fixture_must(exec_ends(&e.row, "exit", &err), &err); /* at 4000 */
    cr_assert_eq(due_at(13999, 0).count, 0);
    cr_assert_eq(due_at(14000, 0).count, 1);
    struct due d = due_at(51000, 0);
    cr_assert_eq(d.count, 2);
    verb_do("w", "s", SESSION_EVENT_PARK_STOP, SESSION_EVENT_PARKED_NOW);
    d = due_at(51000, 0);
    cr_assert_eq(d.count, 1);
    cr_assert_eq(d.rows[0].kind, TIMER_TTL, "ttl is hard: it goes on while parked");
}

Test(ledger_keys, SES_7_while_frozen_deadlines_stand_still_and_ttl_does_not)
{
    struct err err = {0};
    create_with_timers();
    struct exec_verb e = exec_of_session("w", "s", "e");
    e.request.deadline_boot_ms = 9000;
    fixture_must(exec_accept(&e, &err), &err);
    struct verb freeze = verb_of_session("w", "s", SESSION_EVENT_PARK_FREEZE);
    fixture_must(verb_open(&freeze, &err), &err);
    freeze.end.now_boot_ms = 5000;
    fixture_must(verb_close(&freeze, SESSION_EVENT_FROZEN_NOW, &err), &err);
    cr_assert_eq(due_at(0, 1000000).count, 0);
    cr_assert_eq(due_at(51000, 1000000).count, 1);
    struct verb thaw = verb_of_session("w", "s", SESSION_EVENT_RESUME);
    fixture_must(verb_open(&thaw, &err), &err);
    thaw.end.now_boot_ms = 100000;
    fixture_must(verb_close(&thaw, SESSION_EVENT_RESUMED, &err), &err);
    cr_assert_eq(due_at(0, 103999).count, 0);
    cr_assert_eq(due_at(0, 104000).count, 1);
    cr_assert_eq(due_at(0, 104000).rows[0].exec, e.row.id);
    fixture_must(exec_ends(&e.row, "timeout", &err), &err);
    cr_assert_eq(due_at(0, 104000).count, 0);
}

/* ---- usage
 * --------------------------------------------------------------------------------------------*/

struct usage_job {
    int64_t session, now_ms;
    struct usage_sample sample;
    struct usage_row row;
};

static int apply_usage(struct ledger_tx *tx, void *data, struct err *err)
{
    struct usage_job *u = data;
    int r = coordinator_usage(tx, u->session, &u->sample, u->now_ms, err);
    return r == 0 ? ledger_usage_get(tx, u->session, &u->row, err) : r;
}

/* A writer whose memory is older than the row. */
static int apply_stale_usage(struct ledger_tx *tx, void *data, struct err *err)
{
    struct usage_job *u = data;
    struct usage_row old = {.session = u->session, .cpu_ns = 1};
    int r = ledger_usage_put(tx, &old, err);
    return r == 0 ? ledger_usage_get(tx, u->session, &u->row, err) : r;
}

Test(ledger_keys, USE_1_usage_survives_park_and_restart_and_no_write_makes_it_smaller)
{
    struct err err = {0};
    struct verb v = create_with_timers();
    struct usage_job u = {.session = v.ticket.session,
                          .now_ms = 5000,
                          .sample = {.incarnation = 1, .cpu_ns = 900, .memory_bytes = 1000}};
    fixture_must(fixture_run(LEDGER_OP_USAGE_SAMPLE, apply_usage, &u, &err), &err);
    cr_assert_eq(u.row.cpu_ns, 900);
    cr_assert_eq(u.row.running_ms, 3000);
    cr_assert_eq(u.row.memory_byte_seconds, 3000);
    struct verb park = verb_of_session("w", "s", SESSION_EVENT_PARK_STOP);
    park.end.now_ms = 6000;
    fixture_must(verb_open(&park, &err), &err);
    park.end.now_ms = 6000;
    fixture_must(verb_close(&park, SESSION_EVENT_PARKED_NOW, &err), &err);
    fixture_reopen();
    struct verb resume = verb_of_session("w", "s", SESSION_EVENT_RESUME);
    fixture_must(verb_open(&resume, &err), &err);
    resume.end.now_ms = 8000;
    fixture_must(verb_close(&resume, SESSION_EVENT_RESUMED, &err), &err);
    u.now_ms = 9000;
    u.sample = (struct usage_sample){.incarnation = 2, .cpu_ns = 50};
    fixture_must(fixture_run(LEDGER_OP_USAGE_SAMPLE, apply_usage, &u, &err), &err);
    cr_assert_eq(u.row.cpu_ns, 950);
    cr_assert_eq(u.row.running_ms, 3000 + 1000 + 1000);
    cr_assert_eq(u.row.parked_ms, 1000 + 2000);
    fixture_must(fixture_run(LEDGER_OP_USAGE_SAMPLE, apply_stale_usage, &u, &err), &err);
    cr_assert_eq(u.row.cpu_ns, 950);
    cr_assert_eq(u.row.running_ms, 5000);
}

/* ---- ranges of ids
 * --------------------------------------------------------------------------------------*/

struct claim {
    int64_t session, count, base;
};

static int apply_claim(struct ledger_tx *tx, void *data, struct err *err)
{
    struct claim *c = data;
    return ledger_uid_claim(tx, c->session, 1, 100000, 100000 + 5 * 65536 - 1, c->count, &c->base,
                            err);
}

static int apply_release(struct ledger_tx *tx, void *data, struct err *err)
{
    return ledger_uid_release(tx, ((struct claim *)data)->session, err);
}

Test(ledger_keys, ranges_of_ids_never_overlap_and_are_used_again)
{
    struct err err = {0};
    struct claim claims[6] = {0};
    for (int i = 0; i < 6; i++) {
        char name[8];
        snprintf(name, sizeof name, "s%d", i);
        struct verb v = verb_of_session("w", name, SESSION_EVENT_CREATE);
        fixture_must(verb_open(&v, &err), &err);
        claims[i] = (struct claim){.session = v.ticket.session, .count = 65536};
    }
    for (int i = 0; i < 5; i++) {
        fixture_must(fixture_run(LEDGER_OP_UID_CLAIM, apply_claim, &claims[i], &err), &err);
        cr_assert_eq(claims[i].base, 100000 + i * 65536);
    }
    cr_assert_eq(fixture_run(LEDGER_OP_UID_CLAIM, apply_claim, &claims[5], &err), LEDGER_NOT_FOUND);
    fixture_must(fixture_run(LEDGER_OP_UID_RELEASE, apply_release, &claims[2], &err), &err);
    fixture_must(fixture_run(LEDGER_OP_UID_CLAIM, apply_claim, &claims[5], &err), &err);
    cr_assert_eq(claims[5].base, claims[2].base);
}

/* ---- retention
 * ------------------------------------------------------------------------------------------*/

Test(ledger_keys, a_dead_life_is_kept_for_a_week_and_then_goes_with_all_that_was_its)
{
    const int64_t week = 7 * 24 * 3600 * 1000LL;
    int64_t soon = 2000 + week - 1, later = 2000 + week;
    struct err err = {0};
    struct verb v = verb_do("w", "s", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
    v = verb_do("w", "s", SESSION_EVENT_DESTROY, SESSION_EVENT_DEAD);
    fixture_must(verb_close(&v, SESSION_EVENT_GONE, &err), &err);
    verb_do("w", "alive", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
    fixture_must(fixture_run(LEDGER_OP_PURGE, apply_purge, &soon, &err), &err);
    cr_assert_eq(session_now("w", "s").state, SESSION_DESTROYED);
    fixture_must(fixture_run(LEDGER_OP_PURGE, apply_purge, &later, &err), &err);
    cr_assert_eq(session_now("w", "s").state, SESSION_NONE);
    cr_assert_eq(session_now("w", "alive").state, SESSION_RUNNING);
    struct verb again = verb_of_session("w", "s", SESSION_EVENT_CREATE);
    fixture_must(verb_open(&again, &err), &err);
    cr_assert_gt(again.ticket.session, v.ticket.session, "a row id is never used twice");
}
