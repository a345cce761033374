/* This file ends a verb: outcome, answer and what belongs to them in one transaction, then the
 * client is told. It never has a side effect.
 *
 * A job of the ledger that fails after the effect began is a crash of that session: the client is
 * told that nothing is known, and the rows decide (session_rescue()).
 */
#include "provider/provider_internal.h"

#include <errno.h>

/* ---- close ----------------------------------------------------------------------------------- */

static const int success_status[SESSION_EVENT_COUNT] = {[SESSION_EVENT_STARTED] = 201};

/* The row as it will stand when the outcome was written. */
static void foresee(const struct verb *verb, const struct session_transition *go,
                    struct session_row *row)
{
    if (go->next != row->state || verb->end.reason[0]) {
        row->changed_ms = verb->end.now_ms;
        snprintf(row->reason, sizeof row->reason, "%s", verb->end.reason);
    }
    row->state = go->next;
    if (go->next != SESSION_RUNNING && go->next != SESSION_FROZEN)
        row->running_execs = 0;
}

static int answer_made(struct verb *verb, struct err *err)
{
    if (buf_failed(&verb->answer))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "write the answer", NULL, "Out of memory.");
    verb->end.answer = (struct coordinator_answer){
        .status = verb->answer_status,
        .code = verb->failed ? (enum err_code)verb->failure.code : ERR_NONE,
        .body = {buf_text(&verb->answer), verb->answer.length}};
    return 0;
}

static int make_answer(struct ledger_tx *tx, struct verb *verb, struct err *err)
{
    struct session_row row;
    buf_fini(&verb->answer);
    if (verb->failed) {
        document_problem(&verb->answer, &verb->failure, NULL);
        verb->answer_status = err_code_status((enum err_code)verb->failure.code);
    } else {
        int r = ledger_session_get(tx, verb->ticket.session, &row, err);
        if (r != 0)
            return r;
        foresee(verb, session_transition(row.state, verb->outcome), &row);
        if (verb->outcome == SESSION_EVENT_NETWORK_CHANGED) {
            r = network_answer(verb, &verb->call.work.p->ledger_scratch, verb->ticket.revision,
                               err);
            verb->answer_status = 200;
            return r == 0 ? answer_made(verb, err) : r;
        }
        r = session_document(tx, &verb->call.work.p->ledger_scratch, &row,
                             verb->effective.length ? buf_text(&verb->effective) : NULL, false,
                             NULL, &verb->answer, err);
        if (r < 0)
            return r;
        buf_putc(&verb->answer, '\n');
        verb->answer_status = success_status[verb->outcome] ? success_status[verb->outcome] : 200;
    }
    return answer_made(verb, err);
}

static int write_incarnation(struct ledger_tx *tx, const struct verb *verb, struct err *err)
{
    const struct session_identity *id = &verb->identity;
    struct incarnation_row row = {.session = verb->ticket.session,
                                  .incarnation = verb->ticket.incarnation,
                                  .init_pid = id->init_pid,
                                  .init_start = id->init_start,
                                  .cgroup_inode = id->cgroup_inode,
                                  .netns_inode = id->netns_inode,
                                  .uid_base = id->uid_base,
                                  .uid_count = id->uid_count};
    snprintf(row.boot_id, sizeof row.boot_id, "%s", id->boot_id);
    return coordinator_prepared(tx, &verb->ticket, &row, buf_text(&verb->effective), err);
}

static int close_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct verb *verb = (struct verb *)work;
    verb->end.now_ms = now_ms();
    verb->end.now_boot_ms = now_boot_ms();
    verb->end.outcome = verb->outcome;
    /* Of a destroy it was written with the answer. */
    verb->end.last = verb->outcome == SESSION_EVENT_GONE ? NULL : usage_at_end(work);
    /* A destroy was answered when it was dead, and whoever joins it meanwhile is given that answer:
     * it stays as it is, the other thread may be reading it. */
    int r = verb->ticket.rules && !verb->failed ? network_settle(tx, verb, err) : 0;
    if (r == 0 && verb->outcome != SESSION_EVENT_GONE)
        r = make_answer(tx, verb, err);
    if (r == 0 && verb->effective.length && !verb->failed)
        r = write_incarnation(tx, verb, err);
    if (r == 0)
        r = coordinator_close(tx, &verb->ticket, &verb->end, err);
    if (r == 0 && verb->outcome == SESSION_EVENT_DEAD && verb->has_volume) {
        int64_t holder = 0;
        r = ledger_volume_drop(tx, verb->ticket.session, err);
        if (r == 0)
            r = ledger_volume_delete(tx, verb->call.workspace_id, verb->volume_row.name, &holder,
                                     err);
        r = r == LEDGER_NOT_FOUND ? 0 : r;
    }
    if (r == 0 && verb->outcome != SESSION_EVENT_GONE)
        r = ledger_audit_add(tx, verb->call.workspace_id, verb->call.who, verb->call.what,
                             verb->call.session_id, session_event_name(verb->outcome),
                             verb->end.now_ms, err);
    return r;
}

/* The answer of a destroy is that of each who waited for it. */
void verb_tell(struct verb *verb)
{
    for (struct verb *joiner; (joiner = verb->joiners);) {
        struct buf copy = {0};
        verb->joiners = joiner->next_verb;
        joiner->next_verb = NULL;
        work_rest(&joiner->call.work, false);
        buf_add(&copy, buf_text(&verb->answer), verb->answer.length);
        call_answer_stored(&joiner->call, verb->answer_status, &copy);
    }
    if (verb->call.answered)
        return;
    struct buf copy = {0};
    buf_add(&copy, buf_text(&verb->answer), verb->answer.length);
    if (verb->failed)
        call_fail(&verb->call, &verb->failure, NULL);
    else
        call_answer(&verb->call, verb->answer_status, &copy);
    buf_fini(&copy);
}

void verb_end(struct verb *verb)
{
    struct seat *seat = verb->seat;
    struct work *work = &verb->call.work;
    for (struct verb *joiner; (joiner = verb->joiners);) { /* it was not told: ask anew */
        verb->joiners = joiner->next_verb;
        joiner->next_verb = NULL;
        work_rest(&joiner->call.work, false);
        work_soon(&joiner->call.work, verb_begin);
    }
    if (seat && seat->holder == work)
        seat_give(seat, work);
    else if (seat)
        seat_release(seat);
    call_free(&verb->call);
}

/* Another verb took its place, or the sandbox died under it. Its key was released with that
 * (IDEM-2), so this is no answer that would be kept (IDEM-3): who asks again hears of the state. */
static void displaced(struct verb *verb)
{
    struct err err;
    err_set(
        &err, ERR_UNAVAILABLE, ECANCELED, session_event_name(verb->event), verb->call.session_id,
        "The session was destroyed or has ended meanwhile. Ask again: the answer is then that of "
        "its new state.");
    if (!verb->call.answered)
        call_fail(&verb->call, &err, &(struct document_problem){.retry_after_s = 1});
    verb_end(verb);
}

static void displaced_ended(struct work *work)
{
    displaced((struct verb *)work);
}

static void closed(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    int r = work->job.result;
    if (r == 0) {
        provider_committed(work->p, verb->call.workspace_id, verb->call.session_id);
        verb_settled(verb);
        return;
    }
    if (r > 0 && verb->ticket.effect == SESSION_EFFECT_LAUNCH && !verb->failed) {
        /* What it made belongs to nobody (COORDINATOR_STALE). */
        verb->seat->ending = true;
        seat_disconnect(verb->seat);
        end_sandbox(work, verb->ticket.session, verb->ticket.incarnation, displaced_ended);
        return;
    }
    if (r > 0) {
        displaced(verb);
        return;
    }
    session_rescue_later(work->p, verb->ticket.session);
    if (!verb->call.answered)
        call_fail(&verb->call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
    verb_end(verb);
}

void verb_close(struct verb *verb)
{
    verb->end.reason = verb->end.reason ? verb->end.reason : "";
    verb->end.event_json = verb->end.event_json ? verb->end.event_json : "{}";
    work_job(&verb->call.work, coordinator_end_op(&verb->ticket, verb->outcome), close_apply,
             closed);
}

static int give_up_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct verb *verb = (struct verb *)work;
    int r = make_answer(tx, verb, err);
    if (r == 0)
        r = coordinator_give_up(tx, &verb->ticket, &verb->end.answer, err);
    if (r == 0 && verb->event == SESSION_EVENT_NETWORK)
        r = network_given_up(tx, verb, err);
    if (r == 0)
        r = ledger_audit_add(tx, verb->call.workspace_id, verb->call.who, verb->call.what,
                             verb->call.session_id,
                             err_code_name((enum err_code)verb->failure.code), now_ms(), err);
    return r;
}

void verb_give_up(struct verb *verb)
{
    work_job(&verb->call.work, LEDGER_OP_VERB_UNDO, give_up_apply, closed);
}
