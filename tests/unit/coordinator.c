/* This file tests the steps of verbs as transactions: who may, what is written together, what a
 * retry and a displaced verb get.
 */
#include "ledger_fixture.h"

#include <errno.h>

TestSuite(coordinator, .init = fixture_init, .fini = fixture_fini);

/* ---- state and intents
 * ----------------------------------------------------------------------------*/

/* A session in any state, by the shortest way. */
static void bring_to(enum session_state state)
{
    struct err err = {0};
    struct verb v;
    if (state == SESSION_NONE)
        return;
    v = verb_of_session("w", "s", SESSION_EVENT_CREATE);
    fixture_must(verb_open(&v, &err), &err);
    if (state == SESSION_CREATING)
        return;
    if (state == SESSION_FAILED) {
        fixture_must(verb_close(&v, SESSION_EVENT_START_FAILED, &err), &err);
        return;
    }
    fixture_must(verb_close(&v, SESSION_EVENT_STARTED, &err), &err);
    if (state == SESSION_PARKED)
        verb_do("w", "s", SESSION_EVENT_PARK_STOP, SESSION_EVENT_PARKED_NOW);
    if (state == SESSION_FROZEN)
        verb_do("w", "s", SESSION_EVENT_PARK_FREEZE, SESSION_EVENT_FROZEN_NOW);
    if (state == SESSION_ARCHIVED)
        verb_do("w", "s", SESSION_EVENT_ARCHIVE, SESSION_EVENT_ARCHIVED_NOW);
    if (state == SESSION_DESTROYING || state == SESSION_DESTROYED)
        v = verb_do("w", "s", SESSION_EVENT_DESTROY, SESSION_EVENT_DEAD);
    if (state == SESSION_DESTROYED)
        fixture_must(verb_close(&v, SESSION_EVENT_GONE, &err), &err);
}

/* What the table says about a verb when nothing else is under way. */
static void check_cell(enum session_state state, enum session_event verb)
{
    struct err err = {0};
    fixture_fini();
    fixture_init();
    bring_to(state);
    struct session_row before = session_now("w", "s");
    cr_assert_eq(before.state, state);
    struct verb v = verb_of_session("w", "s", verb);
    int r = verb_open(&v, &err);
    const struct session_transition *t = session_transition(state, verb);
    struct session_row after = session_now("w", "s");
    if (state == SESSION_NONE && verb != SESSION_EVENT_CREATE) {
        cr_assert_eq(r, COORDINATOR_NOT_FOUND);
    } else if (!t->allowed) {
        cr_assert_eq(r,
                     verb == SESSION_EVENT_CREATE ? COORDINATOR_EXISTS : COORDINATOR_INVALID_STATE,
                     "%s in %s: %d", session_event_name(verb), session_state_name(state), r);
        cr_assert_eq(v.ticket.state, state);
    } else if (state == SESSION_DESTROYING) {
        cr_assert_eq(r, COORDINATOR_JOIN);
        cr_assert_gt(v.ticket.intent, 0);
    } else {
        fixture_must(r, &err);
        cr_assert_eq(after.state, t->next);
        cr_assert_eq(v.ticket.effect, t->effect);
        cr_assert_eq(v.ticket.intent != 0, t->effect != SESSION_EFFECT_NONE);
        if (t->effect == SESSION_EFFECT_LAUNCH)
            cr_assert_eq(v.ticket.incarnation, before.incarnation + 1);
    }
    if (r != 0)
        cr_assert_eq(memcmp(&before, &after, sizeof after), 0, "a refusal changed the row");
    buf_fini(&v.body);
}

Test(coordinator, every_verb_in_every_state_does_what_the_table_says)
{
    for (int s = 0; s < SESSION_STATE_COUNT; s++)
        for (int e = 0; e < SESSION_EVENT_COUNT; e++)
            if (session_event_kind((enum session_event)e) == SESSION_VERB)
                check_cell((enum session_state)s, (enum session_event)e);
}

Test(coordinator, one_verb_is_under_way_but_destroy_displaces_any)
{
    struct err err = {0};
    bring_to(SESSION_RUNNING);
    struct verb park = verb_of_session("w", "s", SESSION_EVENT_PARK_STOP);
    struct verb archive = verb_of_session("w", "s", SESSION_EVENT_ARCHIVE);
    struct verb destroy = verb_of_session("w", "s", SESSION_EVENT_DESTROY);
    struct exec_verb exec = exec_of_session("w", "s", "e1");
    fixture_must(verb_open(&park, &err), &err);
    cr_assert_eq(verb_open(&archive, &err), COORDINATOR_IN_PROGRESS);
    cr_assert_eq(archive.ticket.intent, park.ticket.intent);
    cr_assert_eq(exec_accept(&exec, &err), COORDINATOR_IN_PROGRESS);
    fixture_must(verb_open(&destroy, &err), &err);
    cr_assert_eq(destroy.ticket.effect, SESSION_EFFECT_TEARDOWN);
    cr_assert_eq(verb_close(&park, SESSION_EVENT_PARKED_NOW, &err), COORDINATOR_STALE);
    cr_assert_eq(session_now("w", "s").state, SESSION_DESTROYING);
    fixture_must(verb_close(&destroy, SESSION_EVENT_DEAD, &err), &err);
    fixture_must(verb_close(&destroy, SESSION_EVENT_DEAD, &err), &err);
    fixture_must(verb_close(&destroy, SESSION_EVENT_GONE, &err), &err);
    cr_assert_eq(verb_close(&destroy, SESSION_EVENT_GONE, &err), COORDINATOR_STALE);
}

static int apply_settle(struct ledger_tx *tx, void *data, struct err *err)
{
    struct verb *v = data;
    const struct coordinator_answer answer = {200, ERR_NONE, {"settled", 7}};
    int r = coordinator_settle(tx, &v->ticket, &answer, 3000, err);
    return r == 0 ? coordinator_close(tx, &v->ticket, &v->end, err) : r;
}

Test(coordinator, NET_6_what_settles_other_rules_survives_power_loss_and_settles_them_once)
{
    static const enum session_event verbs[] = {SESSION_EVENT_PARK_STOP, SESSION_EVENT_ARCHIVE};
    static const enum session_event ends[] = {SESSION_EVENT_PARKED_NOW, SESSION_EVENT_ARCHIVED_NOW};
    for (unsigned i = 0; i < 2; i++) {
        struct err err = {0};
        fixture_fini();
        fixture_init();
        bring_to(SESSION_RUNNING);
        struct idempotency_request key = {"w", "PUT", "/network", "k", "body"};
        struct verb rules = verb_of_session("w", "s", SESSION_EVENT_NETWORK);
        rules.request.key = &key;
        fixture_must(verb_open(&rules, &err), &err);
        struct verb freeze = verb_of_session("w", "s", SESSION_EVENT_PARK_FREEZE);
        cr_assert_eq(verb_open(&freeze, &err), COORDINATOR_IN_PROGRESS);
        struct verb v = verb_of_session("w", "s", verbs[i]);
        fixture_must(verb_open(&v, &err), &err);
        cr_assert_eq(v.ticket.rules, rules.ticket.intent);
        struct verb second = verb_of_session("w", "s", SESSION_EVENT_NETWORK);
        cr_assert_eq(verb_open(&second, &err), COORDINATOR_IN_PROGRESS);
        v.end.outcome = ends[i];
        cr_assert_lt(fixture_run(LEDGER_OP_VERB_CLOSE, apply_settle, &v, &err), 0,
                     "without a sync it is refused");
        cr_assert_eq(session_now("w", "s").network_revision, 1);
        cr_assert_eq(coordinator_end_op(&v.ticket, ends[i]), LEDGER_OP_VERB_CLOSE_FULL);
        fixture_must(fixture_run(coordinator_end_op(&v.ticket, ends[i]), apply_settle, &v, &err),
                     &err);
        cr_assert_eq(session_now("w", "s").network_revision, 2);
        cr_assert_eq(verb_close(&rules, SESSION_EVENT_NETWORK_CHANGED, &err), COORDINATOR_STALE);
        cr_assert_eq(verb_open(&rules, &err), COORDINATOR_REPLAY);
        cr_assert_str_eq(buf_text(&rules.body), "settled");
        buf_fini(&rules.body);
    }
}

Test(coordinator, a_destroy_is_never_gone_before_it_was_answered)
{
    struct err err = {0};
    bring_to(SESSION_RUNNING);
    struct verb v = verb_of_session("w", "s", SESSION_EVENT_DESTROY);
    fixture_must(verb_open(&v, &err), &err);
    cr_assert_eq(verb_close(&v, SESSION_EVENT_GONE, &err), COORDINATOR_INVALID_STATE);
    cr_assert_eq(session_now("w", "s").state, SESSION_DESTROYING);
}

static int apply_prepared(struct ledger_tx *tx, void *data, struct err *err)
{
    struct verb *v = data;
    struct incarnation_row row = {.session = v->ticket.session,
                                  .incarnation = v->ticket.incarnation,
                                  .boot_id = "boot",
                                  .init_pid = 42,
                                  .init_start = 4242,
                                  .cgroup_inode = 7,
                                  .uid_base = 65536};
    return coordinator_prepared(tx, &v->ticket, &row, "{\"landlock\": 7}", err);
}

struct incarnation {
    int64_t session, incarnation;
    struct incarnation_row row;
};

static int apply_incarnation(struct ledger_tx *tx, void *data, struct err *err)
{
    struct incarnation *i = data;
    return ledger_incarnation_get(tx, i->session, i->incarnation, &i->row, err);
}

Test(coordinator, what_was_prepared_is_found_again_and_ends_with_the_incarnation)
{
    struct err err = {0};
    struct verb v = verb_of_session("w", "s", SESSION_EVENT_CREATE);
    fixture_must(verb_open(&v, &err), &err);
    fixture_must(fixture_run(LEDGER_OP_VERB_PREPARED, apply_prepared, &v, &err), &err);
    fixture_reopen();
    struct incarnation i = {.session = v.ticket.session, .incarnation = 1};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_incarnation, &i, &err), &err);
    cr_assert_eq(i.row.init_pid, 42);
    cr_assert_eq(i.row.init_start, 4242);
    cr_assert_eq(i.row.ended_ms, 0);
    fixture_must(verb_close(&v, SESSION_EVENT_STARTED, &err), &err);
    verb_do("w", "s", SESSION_EVENT_PARK_STOP, SESSION_EVENT_PARKED_NOW);
    fixture_must(fixture_run(LEDGER_OP_READ, apply_incarnation, &i, &err), &err);
    cr_assert_gt(i.row.ended_ms, 0);
    cr_assert_str_eq(i.row.end_reason, "parked");
}

static int apply_lost(struct ledger_tx *tx, void *data, struct err *err)
{
    struct verb *v = data;
    return coordinator_lost(tx, v->ticket.session, &v->end, err);
}

Test(coordinator,
     SES_2_a_session_whose_sandbox_died_is_parked_with_the_reason_and_its_execs_are_lost)
{
    struct err err = {0};
    bring_to(SESSION_RUNNING);
    struct exec_verb e = exec_of_session("w", "s", "e1");
    fixture_must(exec_accept(&e, &err), &err);
    struct verb park = verb_of_session("w", "s", SESSION_EVENT_INTERRUPT);
    fixture_must(verb_open(&park, &err), &err);
    park.end.outcome = SESSION_EVENT_DIED;
    park.end.reason = "init_killed";
    fixture_must(fixture_run(LEDGER_OP_SESSION_LOST, apply_lost, &park, &err), &err);
    struct session_row row = session_now("w", "s");
    cr_assert_eq(row.state, SESSION_PARKED);
    cr_assert_str_eq(row.reason, "init_killed");
    cr_assert_eq(row.running_execs, 0);
    cr_assert_eq(exec_ends(&e.row, "exit", &err), COORDINATOR_STALE, "it ended once");
    cr_assert_eq(verb_close(&park, SESSION_EVENT_INTERRUPTED, &err), COORDINATOR_STALE);
    verb_do("w", "s", SESSION_EVENT_RESUME, SESSION_EVENT_RESUMED);
    cr_assert_eq(session_now("w", "s").incarnation, 2);
}

static int apply_reopen(struct ledger_tx *tx, void *data, struct err *err)
{
    struct verb *v = data;
    struct intent_row rows[4];
    size_t count = 0;
    int r = ledger_intent_list(tx, v->ticket.session, rows, 4, &count, err);
    if (r < 0 || count != 1)
        return r < 0 ? r : -ENOENT;
    return coordinator_reopen(tx, rows[0].id, &v->ticket, err);
}

Test(coordinator, recovery_gets_the_ticket_back_from_the_rows)
{
    static const struct {
        enum session_state from;
        enum session_event verb;
    } cells[] = {
        {SESSION_NONE, SESSION_EVENT_CREATE},       {SESSION_RUNNING, SESSION_EVENT_PARK_STOP},
        {SESSION_PARKED, SESSION_EVENT_RESUME},     {SESSION_FROZEN, SESSION_EVENT_RESUME},
        {SESSION_RUNNING, SESSION_EVENT_INTERRUPT}, {SESSION_PARKED, SESSION_EVENT_ARCHIVE},
        {SESSION_RUNNING, SESSION_EVENT_DESTROY}};
    for (size_t i = 0; i < ARRAY_LENGTH(cells); i++) {
        struct err err = {0};
        fixture_fini();
        fixture_init();
        bring_to(cells[i].from);
        struct verb v = verb_of_session("w", "s", cells[i].verb);
        fixture_must(verb_open(&v, &err), &err);
        struct coordinator_ticket before = v.ticket;
        fixture_reopen();
        fixture_must(fixture_run(LEDGER_OP_READ, apply_reopen, &v, &err), &err);
        cr_assert_eq(v.ticket.intent, before.intent);
        cr_assert_eq(v.ticket.incarnation, before.incarnation);
        cr_assert_eq(v.ticket.effect, before.effect, "%s", session_event_name(cells[i].verb));
        cr_assert_eq(v.ticket.floor, before.floor);
    }
}

/* ---- execs
 * ----------------------------------------------------------------------------------------*/

struct execs {
    int64_t session;
    struct exec_row rows[16];
    size_t count;
};

static int apply_execs(struct ledger_tx *tx, void *data, struct err *err)
{
    struct execs *e = data;
    return ledger_exec_page(tx, e->session, 0, EXEC_PAGE_ALL, e->rows, 16, &e->count, err);
}

Test(coordinator, EXEC_7_the_floor_of_an_interrupt_parts_what_was_accepted_before_from_after)
{
    struct err err = {0};
    bring_to(SESSION_RUNNING);
    struct exec_verb before = exec_of_session("w", "s", "before"),
                     after = exec_of_session("w", "s", "after");
    struct verb first = verb_of_session("w", "s", SESSION_EVENT_INTERRUPT), second = first;
    fixture_must(exec_accept(&before, &err), &err);
    fixture_must(verb_open(&first, &err), &err);
    fixture_must(exec_accept(&after, &err), &err);
    cr_assert_leq(before.row.ord, first.ticket.floor);
    cr_assert_gt(after.row.ord, first.ticket.floor);
    fixture_must(verb_open(&second, &err), &err);
    cr_assert_leq(after.row.ord, second.ticket.floor, "interrupts go together");
    fixture_must(verb_close(&first, SESSION_EVENT_INTERRUPTED, &err), &err);
    fixture_must(verb_close(&second, SESSION_EVENT_INTERRUPTED, &err), &err);
    cr_assert_eq(session_now("w", "s").interrupt_floor, second.ticket.floor);
}

Test(coordinator, an_exec_id_is_used_once_in_a_session)
{
    struct err err = {0};
    bring_to(SESSION_RUNNING);
    struct exec_verb one = exec_of_session("w", "s", "e"), two = exec_of_session("w", "s", "e");
    fixture_must(exec_accept(&one, &err), &err);
    cr_assert_eq(exec_accept(&two, &err), COORDINATOR_EXEC_EXISTS);
    struct execs e = {.session = one.row.session};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_execs, &e, &err), &err);
    cr_assert_eq(e.count, 1);
    cr_assert_eq(e.rows[0].ord, 1);
}

Test(coordinator, EXEC_6_a_command_whose_end_nobody_saw_has_no_status)
{
    struct err err = {0};
    bring_to(SESSION_RUNNING);
    struct exec_verb one = exec_of_session("w", "s", "e");
    struct verb destroy = verb_of_session("w", "s", SESSION_EVENT_DESTROY);
    fixture_must(exec_accept(&one, &err), &err);
    fixture_must(verb_open(&destroy, &err), &err);
    fixture_must(verb_close(&destroy, SESSION_EVENT_DEAD, &err), &err);
    struct execs e = {.session = one.row.session};
    fixture_must(fixture_run(LEDGER_OP_READ, apply_execs, &e, &err), &err);
    cr_assert_eq(e.count, 1);
    cr_assert_str_eq(e.rows[0].reason, "interrupted");
    cr_assert_eq(e.rows[0].exit_code, -1);
}

Test(coordinator, an_exec_is_accepted_only_where_the_table_allows_it)
{
    for (int s = 0; s < SESSION_STATE_COUNT; s++) {
        struct err err = {0};
        fixture_fini();
        fixture_init();
        bring_to((enum session_state)s);
        struct exec_verb e = exec_of_session("w", "s", "e");
        int r = exec_accept(&e, &err);
        if (s == SESSION_NONE)
            cr_assert_eq(r, COORDINATOR_NOT_FOUND);
        else
            cr_assert_eq(r, session_transition((enum session_state)s, SESSION_EVENT_EXEC)->allowed
                                ? 0
                                : COORDINATOR_INVALID_STATE);
    }
}

/* ---- volumes
 * ----------------------------------------------------------------------------------------*/

Test(coordinator, WS_2_a_volume_has_one_live_user_unless_all_only_read)
{
    struct err err = {0};
    struct verb one = verb_of_session("w", "one", SESSION_EVENT_CREATE),
                two = verb_of_session("w", "two", SESSION_EVENT_CREATE),
                other = verb_of_session("x", "two", SESSION_EVENT_CREATE);
    one.request.volume = two.request.volume = other.request.volume = "data";
    fixture_must(verb_open(&one, &err), &err);
    fixture_must(verb_open(&other, &err), &err); /* another workspace's volume of that name */
    cr_assert_eq(verb_open(&two, &err), COORDINATOR_VOLUME_BUSY);
    cr_assert_eq(two.ticket.holder, one.ticket.session);
    cr_assert_eq(session_now("w", "two").state, SESSION_NONE, "nothing was touched");
    fixture_must(verb_close(&one, SESSION_EVENT_STARTED, &err), &err);
    verb_do("w", "one", SESSION_EVENT_PARK_STOP, SESSION_EVENT_PARKED_NOW);
    fixture_must(verb_open(&two, &err), &err);
    struct verb resume = verb_of_session("w", "one", SESSION_EVENT_RESUME);
    cr_assert_eq(verb_open(&resume, &err), COORDINATOR_VOLUME_BUSY);
    cr_assert_eq(resume.ticket.holder, two.ticket.session);
    fixture_must(verb_close(&two, SESSION_EVENT_START_FAILED, &err), &err);
    fixture_must(verb_open(&resume, &err), &err);
}

Test(coordinator, WS_2_readers_of_a_volume_go_together)
{
    struct err err = {0};
    struct verb one = verb_of_session("w", "one", SESSION_EVENT_CREATE),
                two = verb_of_session("w", "two", SESSION_EVENT_CREATE),
                writer = verb_of_session("w", "three", SESSION_EVENT_CREATE);
    one.request.volume = two.request.volume = writer.request.volume = "data";
    one.request.volume_read_only = two.request.volume_read_only = true;
    fixture_must(verb_open(&one, &err), &err);
    fixture_must(verb_open(&two, &err), &err);
    cr_assert_eq(verb_open(&writer, &err), COORDINATOR_VOLUME_BUSY);
}
