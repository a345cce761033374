/* This file recovers the lanes of the model after a crash and says what must hold then (model.h).
 */
#include "tests/crash/model.h"

/* ---- recovery, as the front will do it
 * --------------------------------------------------------------*/

static int64_t word_of(const struct lane *lane, const struct exec_row *exec)
{
    if (lane->alive == 0)
        return WORD_SILENT;
    return lane->init_ord == exec->ord ? lane->init_word : WORD_UNKNOWN;
}

static void recover_exec(struct step *s, const struct exec_row *exec)
{
    static const char *const reasons[] = {[EXEC_ACTION_NOT_STARTED] = "not_started",
                                          [EXEC_ACTION_INTERRUPTED] = "interrupted",
                                          [EXEC_ACTION_RUNS] = "exit",
                                          [EXEC_ACTION_RECORD] = "exit",
                                          [EXEC_ACTION_KILL] = "interrupted",
                                          [EXEC_ACTION_LOST] = "lost"};
    enum recovery_exec_action action;
    if (recovery_exec(exec->state, exec->ord <= s->session.interrupt_floor,
                      (enum recovery_word)word_of(s->lane, exec), &action, &s->err) < 0)
        violated(s->lane, "no action for an exec", exec->state, exec->ord);
    s->exec_row = *exec;
    s->exec_row.ended_ms = 2000;
    snprintf(s->exec_row.reason, sizeof s->exec_row.reason, "%s", reasons[action]);
    if (run_job(s, LEDGER_OP_EXEC_END, apply_exec_end) != 0)
        violated(s->lane, "an exec could not end", exec->id, action);
}

static void must(struct step *s, int r, const char *what)
{
    if (r != 0)
        violated(s->lane, what, r, s->err.sys);
}

static void give_up_sandbox(struct step *s)
{
    effect(s->lane, SESSION_EFFECT_RELEASE, 0);
    s->end.outcome = after_power_loss ? SESSION_EVENT_HOST_RESTARTED : SESSION_EVENT_DIED;
    s->end.reason = "lost";
    must(s, run_job(s, LEDGER_OP_SESSION_LOST, apply_lost), "a session could not be parked");
}

void recover_lane(struct lane *lane)
{
    struct step s;
    enum recovery_action action;
    prepare_step(&s, lane, lane->step, lane->kind);
    must(&s, run_job(&s, LEDGER_OP_READ, apply_look), "the rows could not be read");
    if (s.session.id == 0)
        return;
    bool intent = s.intent_count > 0;
    /* The last one counts: it may have come over other rules that nobody put in force. */
    const struct intent_row *open = intent ? &s.intents[s.intent_count - 1] : NULL;
    if (s.intent_count > 2 || (s.intent_count == 2 && (s.intents[0].verb != SESSION_EVENT_NETWORK ||
                                                       (open->verb != SESSION_EVENT_PARK_STOP &&
                                                        open->verb != SESSION_EVENT_ARCHIVE))))
        violated(lane, "more than one verb under way", (int64_t)s.intent_count, 0);
    if (intent && open->verb == SESSION_EVENT_NETWORK) {
        buf_fini(&s.body);
        prepare_step(&s, lane, lane->rules_step, SESSION_EVENT_NETWORK);
        must(&s, run_job(&s, LEDGER_OP_READ, apply_look), "the rows could not be read");
    }
    int64_t expected = intent ? open->incarnation : s.session.incarnation;
    enum recovery_finding found = lane->alive == 0          ? FOUND_ABSENT
                                  : lane->alive == expected ? FOUND_WHOLE
                                                            : FOUND_OTHER;
    if (recovery_action(s.session.state, intent ? open->verb : SESSION_EVENT_COUNT,
                        intent ? open->phase : (enum intent_phase)0, found, &action, &s.err) < 0)
        violated(lane, "no action for a row", s.session.state, intent ? (int64_t)open->verb : -1);
    if (intent)
        must(&s, run_job(&s, LEDGER_OP_READ, apply_reopen), "an intent has no ticket");
    if (action == RECOVERY_ADOPT ||
        (action == RECOVERY_FINISH &&
         (open->verb == SESSION_EVENT_INTERRUPT || open->verb == SESSION_EVENT_NETWORK)))
        for (size_t i = 0; i < s.exec_count; i++)
            recover_exec(&s, &s.execs[i]);
    if (action == RECOVERY_FINISH) {
        s.end.outcome = outcome_of(s.ticket.verb);
        must(&s, finish_verb(&s), "a verb could not be finished");
        if (s.ticket.verb == SESSION_EVENT_NETWORK)
            rules_answered(lane);
    } else if (action == RECOVERY_UNDO) {
        effect(lane, SESSION_EFFECT_RELEASE, 0);
        s.end.outcome = s.ticket.verb == SESSION_EVENT_CREATE ? SESSION_EVENT_START_FAILED
                                                              : SESSION_EVENT_RESUME_FAILED;
        s.end.answer.status = 0;
        must(&s, run_job(&s, LEDGER_OP_VERB_UNDO, apply_close), "a verb could not be undone");
    } else if (action == RECOVERY_PARK) {
        give_up_sandbox(&s);
    } else if (action == RECOVERY_SWEEP) {
        effect(lane, SESSION_EFFECT_RELEASE, 0);
    }
    buf_fini(&s.body);
}

/* ---- what must hold afterwards
 * ----------------------------------------------------------------------*/

void check_rows(struct lane *lane)
{
    struct step s;
    prepare_step(&s, lane, lane->step, lane->kind);
    must(&s, run_job(&s, LEDGER_OP_READ, apply_look), "the rows could not be read");
    if (s.intent_count != 0 || s.exec_count != 0)
        violated(lane, "something is under way after recovery", (int64_t)s.intent_count,
                 (int64_t)s.exec_count);
    bool runs = s.session.state == SESSION_RUNNING, frozen = s.session.state == SESSION_FROZEN;
    if (runs || frozen) {
        if (lane->alive != s.session.incarnation || lane->frozen != frozen)
            violated(lane, "row and kernel differ", lane->alive, s.session.incarnation);
        if (lane->rules != s.session.network_revision)
            violated(lane, "other rules than the row's", lane->rules, s.session.network_revision);
    } else if (lane->alive != 0) {
        violated(lane, "an orphan", lane->alive, s.session.state);
    }
    for (int64_t i = 0; !after_power_loss && i <= lane->step && i < STEPS_MAX; i++)
        if (lane->runs[i] > 1)
            violated(lane, "a command ran twice", i, lane->runs[i]);
    must(&s, run_job(&s, LEDGER_OP_READ, apply_marker_check), "markers could not be read");
    int64_t promised = after_power_loss ? lane->marker_full : lane->marker_acked;
    int64_t possible = lane->marker_acked + (lane->marker_absent ? 0 : 1);
    if (s.number < promised || s.number > possible)
        violated(lane, "markers that were acknowledged", promised, s.number);
    lane->marker_acked = s.number;
    lane->marker_absent = false;
}

/* Every answered verb of late, asked again: the same answer, and nothing done. */
void check_answers(struct lane *lane)
{
    int64_t oldest = lane->acked > HISTORY - 1 ? lane->acked - HISTORY + 1 : 1;
    for (int64_t step = oldest; step <= lane->acked; step++) {
        struct step s;
        int kind = lane->history[step % HISTORY];
        bool failed_start = kind == SESSION_EVENT_CREATE && step % 11 == 0;
        if (kind >= STEP_EXEC || (after_power_loss && (!is_full(kind) || failed_start)))
            continue;
        prepare_step(&s, lane, step, kind);
        int r = run_job(&s, LEDGER_OP_VERB_OPEN, apply_open);
        /* A ledger that opens anew says that nothing was done: a client asks again. */
        for (int again = 0; r < 0 && s.certain && again < 200; again++) {
            usleep(5000);
            r = run_job(&s, LEDGER_OP_VERB_OPEN, apply_open);
        }
        /* A step that was refused with an excuse has no stored answer, and is refused again. */
        if (r == 0)
            violated(lane, "an answered verb was done again", step, kind);
        if (r == COORDINATOR_REPLAY && strcmp(buf_text(&s.body), s.answer) != 0)
            violated(lane, "another answer", step, kind);
        if (r == COORDINATOR_MISMATCH || r == COORDINATOR_IN_PROGRESS || r < 0)
            violated(lane, "an answered verb is not answered", step, r);
        buf_fini(&s.body);
    }
}
