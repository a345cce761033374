/* This file is long because what is found of one session is one story, told to its end.
 *
 * It brings rows and kernel together: at start for every session, later for one whose init
 * died or whose ledger job failed. What is right is in the tables of recovery.c; it never decides
 * by itself.
 *
 *     the seat's turn → row and intents → LOOK → action → (END | connect, table, execs) → row
 *
 * Every step can be repeated, so one that fails is tried again from the row on.
 */
#include "provider/provider_recover.h"

#include "provider/provider_internal.h"
#include "runtime/link/agent_client.h"

#include <errno.h>
#include <stdlib.h>

enum { TABLE_MS = 5000, EXEC_PAGE = 64, LEDGER_PAUSE_MS = 500 };

static void look(struct work *work);
static void act(struct rescue *rescue);

static void rescue_free(struct rescue *rescue)
{
    struct seat *seat = rescue->seat;
    if (seat && seat->table_data == rescue) {
        seat->table = NULL;
        seat->table_data = NULL;
    }
    work_end(&rescue->work);
    free(rescue->intents);
    free(rescue->table);
    free(rescue->adopted);
    free(rescue);
}

static void free_rescue_work(struct work *work)
{
    rescue_free((struct rescue *)work);
}

static void over(struct rescue *rescue)
{
    struct provider *p = rescue->work.p;
    struct seat *seat = rescue->seat;
    void (*done)(struct provider *) = rescue->done;
    bool gives = seat && seat->holder == &rescue->work;
    if (gives)
        seat_give(seat, &rescue->work);
    rescue->seat = gives ? NULL : seat;
    rescue_free(rescue);
    if (done)
        done(p);
}

/* ---- the row --------------------------------------------------------------------------------- */

static int read_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct rescue *rescue = (struct rescue *)work;
    struct intent_row intents[INTENTS_MAX];
    int r = ledger_session_get(tx, rescue->row_id, &rescue->row, err);
    if (r == 0)
        r = ledger_intent_list(tx, rescue->row_id, intents, INTENTS_MAX, &rescue->intent_count,
                               err);
    if (r != 0)
        return r;
    free(rescue->intents);
    rescue->intents = NULL;
    if (rescue->intent_count > 0) {
        rescue->intents = calloc(rescue->intent_count, sizeof *intents);
        if (!rescue->intents)
            return err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the ledger", NULL, NULL);
        memcpy(rescue->intents, intents, rescue->intent_count * sizeof *intents);
    }
    memset(&rescue->incarnation, 0, sizeof rescue->incarnation);
    if (rescue->row.incarnation > 0)
        r = ledger_incarnation_get(tx, rescue->row_id, rescue->row.incarnation,
                                   &rescue->incarnation, err);
    return r == LEDGER_NOT_FOUND ? 0 : r;
}

static void read_row(struct work *work);

static void row_read(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    if (work->job.result < 0) {
        work_again(work, read_row);
        return;
    }
    if (work->job.result > 0) { /* it was purged meanwhile: nothing is left to agree with */
        over(rescue);
        return;
    }
    if (!rescue->seat) {
        rescue->seat = seat_get(work->p, &rescue->row);
        if (!rescue->seat)
            work_again(work, read_row);
        else /* its turn, then once more: who had it may have changed the row */
            seat_take(rescue->seat, work, read_row);
        return;
    }
    /* A worker of a launcher that is gone may be about to make what LIST did not have. It holds the
     * row's lock: who asks about the row itself hears of what came of it. */
    if (rescue->intent_count > 0)
        rescue->surely_absent = false;
    look(work);
}

static void read_row(struct work *work)
{
    work_job(work, LEDGER_OP_READ, read_apply, row_read);
}

/* ---- the kernel ------------------------------------------------------------------------------ */

static void identity_of(const struct incarnation_row *row, struct session_identity *ret)
{
    memset(ret, 0, sizeof *ret);
    snprintf(ret->boot_id, sizeof ret->boot_id, "%s", row->boot_id);
    ret->init_pid = row->init_pid;
    ret->init_start = row->init_start;
    ret->cgroup_inode = row->cgroup_inode;
    ret->netns_inode = row->netns_inode;
    ret->uid_base = row->uid_base;
    ret->uid_count = row->uid_count;
}

static void on_look(void *data, const struct launcher_reply *reply, const struct err *err)
{
    static const enum recovery_finding findings[] = {[SESSION_FOUND_ABSENT] = FOUND_ABSENT,
                                                     [SESSION_FOUND_WHOLE] = FOUND_WHOLE,
                                                     [SESSION_FOUND_BROKEN] = FOUND_BROKEN,
                                                     [SESSION_FOUND_OTHER] = FOUND_OTHER};
    struct rescue *rescue = data;
    struct err why;
    if (launcher_result(reply, err, &why) < 0) {
        work_again(&rescue->work, look);
        return;
    }
    if (reply->identity.boot_id[0] && !rescue->work.p->boot_id[0])
        snprintf(rescue->work.p->boot_id, sizeof rescue->work.p->boot_id, "%s",
                 reply->identity.boot_id);
    rescue->finding = reply->found < ARRAY_LENGTH(findings) && reply->found > 0
                          ? findings[reply->found]
                          : FOUND_OTHER;
    if (rescue->finding == FOUND_WHOLE && rescue->seat->distrusted)
        rescue->finding = FOUND_OTHER;
    act(rescue);
}

static void look(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    struct err err = {0};
    if (rescue->row.incarnation < 1 || rescue->surely_absent) {
        rescue->finding = FOUND_ABSENT;
        act(rescue);
        return;
    }
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_LOOK, rescue->row_id, rescue->row.incarnation);
    identity_of(&rescue->incarnation, &request.identity);
    if (provider_ask(work->p, &request, NULL, 0, on_look, rescue, &err) < 0)
        work_again(work, look);
}

/* ---- PARK, SWEEP ----------------------------------------------------------------------------- */

static bool other_boot(const struct rescue *rescue)
{
    return rescue->incarnation.boot_id[0] && rescue->work.p->boot_id[0] &&
           strcmp(rescue->incarnation.boot_id, rescue->work.p->boot_id) != 0;
}

static int park_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct rescue *rescue = (struct rescue *)work;
    bool restarted = other_boot(rescue);
    struct coordinator_end end = {
        .last = usage_at_end(work),
        .outcome = restarted ? SESSION_EVENT_HOST_RESTARTED : SESSION_EVENT_DIED,
        .reason = restarted ? "host_restart" : "died",
        .event_json = restarted ? "{\"reason\": \"host_restart\"}" : "{\"reason\": \"died\"}",
        .now_ms = now_ms(),
        .now_boot_ms = now_boot_ms()};
    return coordinator_lost(tx, rescue->row_id, &end, err);
}

static void parked(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    if (work->job.result < 0) {
        work_again(work, read_row);
        return;
    }
    /* > 0: a destroy came meanwhile; it does the rest. */
    seat_execs_over(rescue->seat);
    interrupts_over(rescue->seat);
    provider_committed(work->p, rescue->row.workspace_id, rescue->row.session_id);
    over(rescue);
}

static void ended(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    seat_disconnect(rescue->seat);
    rescue->seat->distrusted = false;
    if (rescue->action == RECOVERY_PARK)
        work_job(work, LEDGER_OP_SESSION_LOST, park_apply, parked);
    else
        over(rescue);
}

/* A workspace on a disk that does not answer, say: the start goes on without this session, which
 * has its turn until it is ended. */
static void stuck(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    void (*done)(struct provider *) = rescue->done;
    rescue->done = NULL;
    if (done)
        done(work->p);
}

static void end_it(struct rescue *rescue, void (*then)(struct work *work))
{
    rescue->seat->ending = true;
    rescue->work.ending.stuck = stuck;
    rescue->work.ending.verb = rescue->intent.id ? session_event_name(rescue->intent.verb) : NULL;
    if (rescue->finding == FOUND_ABSENT && rescue->surely_absent)
        then(&rescue->work);
    else
        end_sandbox(&rescue->work, rescue->row_id, rescue->row.incarnation, then);
}

/* ---- UNDO ------------------------------------------------------------------------------------ */

static int undo_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct rescue *rescue = (struct rescue *)work;
    struct coordinator_ticket ticket;
    int r = coordinator_reopen(tx, rescue->intent.id, &ticket, err);
    if (r != 0)
        return r;
    struct coordinator_end end = {
        .last = usage_at_end(work),
        .outcome = rescue->intent.verb == SESSION_EVENT_CREATE ? SESSION_EVENT_START_FAILED
                                                               : SESSION_EVENT_RESUME_FAILED,
        .reason = rescue->intent.verb == SESSION_EVENT_CREATE ? "restart" : rescue->row.reason,
        .event_json = "{\"reason\": \"restart\"}",
        .now_ms = now_ms(),
        .now_boot_ms = now_boot_ms()};
    return coordinator_close(tx, &ticket, &end, err);
}

static void undone(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    if (work->job.result < 0) {
        work_again(work, read_row);
        return;
    }
    provider_committed(work->p, rescue->row.workspace_id, rescue->row.session_id);
    over(rescue);
}

static void undo(struct work *work);

static void on_volume_removed(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct rescue *rescue = data;
    struct err why;
    rescue->has_volume = launcher_result(reply, err, &why) >= 0;
    (rescue->has_volume ? work_soon : work_again)(&rescue->work, undo);
}

static int volume_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct rescue *rescue = (struct rescue *)work;
    return ledger_volume_claim(tx, rescue->row_id, &rescue->volume, err);
}

/* Before anybody else can take it up: the row still holds it. */
static void volume_known(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    struct err err = {0};
    rescue->has_volume = work->job.result >= 0;
    if (work->job.result != 0) {
        (rescue->has_volume ? work_soon : work_again)(work, undo);
        return;
    }
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_VOLUME_REMOVE, rescue->row_id, 1);
    snprintf(request.workspace_id, sizeof request.workspace_id, "%s", rescue->row.workspace_id);
    snprintf(request.volume, sizeof request.volume, "%s", rescue->volume.name);
    if (provider_ask(work->p, &request, NULL, 0, on_volume_removed, rescue, &err) < 0) {
        rescue->has_volume = false;
        work_again(work, undo);
    }
}

static void undo(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    seat_disconnect(rescue->seat);
    if (!rescue->has_volume && strcmp(rescue->intent.reason, COORDINATOR_NEW_VOLUME) == 0)
        work_job(work, LEDGER_OP_VERB_UNDO, volume_apply, volume_known);
    else
        work_job(work, LEDGER_OP_VERB_UNDO, undo_apply, undone);
}

/* ---- FINISH ---------------------------------------------------------------------------------- */

static int reopen_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct rescue *rescue = (struct rescue *)work;
    int r = coordinator_reopen(tx, rescue->intent.id, &rescue->ticket, err);
    if (r != 0 || strcmp(rescue->intent.reason, "delete_volume") != 0)
        return r;
    r = ledger_volume_of_session(tx, rescue->row_id, &rescue->volume, err);
    rescue->has_volume = r == 0;
    return r == LEDGER_NOT_FOUND ? 0 : r;
}

static void reopened(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    if (work->job.result < 0) {
        work_again(work, read_row);
        return;
    }
    if (work->job.result > 0) {
        over(rescue);
        return;
    }
    struct verb *verb =
        verb_for_recovery(work->p, &rescue->row, &rescue->ticket, rescue->intent.reason);
    if (!verb) {
        work_again(work, read_row);
        return;
    }
    verb->seat = rescue->seat;
    verb->volume_row = rescue->volume;
    verb->has_volume = rescue->has_volume;
    if (rescue->intent.verb == SESSION_EVENT_INTERRUPT) {
        verb_effect(&verb->call.work);
        over(rescue);
        return;
    }
    /* Its turn goes from here to there without a gap. */
    rescue->seat->holder = &verb->call.work;
    work_soon(&verb->call.work, verb_effect);
    over(rescue);
}

/* ---- ADOPT ----------------------------------------------------------------------------------- */

static const struct agent_table_row *table_find_row(const struct rescue *rescue, uint64_t number)
{
    for (size_t i = 0; i < rescue->table_count; i++)
        if (rescue->table[i].exec == number)
            return &rescue->table[i];
    return NULL;
}

static int adopt_exec(struct ledger_tx *tx, struct rescue *rescue, struct exec_row *row,
                      struct err *err)
{
    static const char *const reasons[] = {[EXEC_ACTION_NOT_STARTED] = "not_started",
                                          [EXEC_ACTION_INTERRUPTED] = "interrupted",
                                          [EXEC_ACTION_LOST] = "lost"};
    const struct agent_table_row *said = table_find_row(rescue, number_of_order(row->ord));
    enum recovery_word word = !said ? WORD_UNKNOWN : said->state == 1 ? WORD_RUNNING : WORD_ENDED;
    enum recovery_exec_action action;
    char event[512];
    int r = recovery_exec(row->state, row->ord <= rescue->row.interrupt_floor, word, &action, err);
    if (r < 0)
        return r;
    if (action == EXEC_ACTION_RUNS || action == EXEC_ACTION_KILL) {
        struct adopted *grown =
            realloc(rescue->adopted, (rescue->adopted_count + 1) * sizeof *grown);
        if (!grown)
            return err_set(err, ERR_UNAVAILABLE, ENOMEM, "recover a session", NULL, NULL);
        rescue->adopted = grown;
        grown[rescue->adopted_count++] = (struct adopted){
            .row = *row, .cgroup = said ? said->cgroup : 0, .kill = action == EXEC_ACTION_KILL};
        if (row->state == EXEC_ACCEPTED) {
            r = coordinator_exec_running(tx, row->id, now_ms(), err);
            return r > 0 ? 0 : r;
        }
        return 0;
    }
    row->ended_ms = now_ms();
    if (action == EXEC_ACTION_RECORD)
        exec_row_end(row, &said->exit);
    else {
        row->exit_code = -1; /* nobody knows one */
        snprintf(row->reason, sizeof row->reason, "%s", reasons[action]);
    }
    exec_event(row, event, sizeof event);
    r = coordinator_exec_end(tx, row, event, err);
    if (r == 0 && action == EXEC_ACTION_RECORD)
        r = exec_limits_met(tx, row, &said->exit, err);
    return r > 0 ? 0 : r;
}

static int adopt_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct rescue *rescue = (struct rescue *)work;
    struct exec_row rows[EXEC_PAGE];
    int64_t after = 0;
    size_t count = EXEC_PAGE;
    int r = 0;
    rescue->adopted_count = 0;
    while (r == 0 && count == EXEC_PAGE) {
        r = ledger_exec_page(tx, rescue->row_id, after, EXEC_PAGE_LIVE, rows, EXEC_PAGE, &count,
                             err);
        for (size_t i = 0; r == 0 && i < count; i++) {
            after = rows[i].ord;
            r = adopt_exec(tx, rescue, &rows[i], err);
        }
    }
    if (r == 0)
        r = ledger_event_add(tx, rescue->row_id, "session.recovered", "{}", now_ms(), NULL, err);
    return r;
}

/* What runs there and is none of the ledger's: file operations of an older front, whose pipes have
 * ended, and what an older row gave up. What has ended is in the ledger now: init's table needs
 * its place. */
static void end_strangers(const struct rescue *rescue)
{
    for (size_t i = 0; i < rescue->table_count; i++) {
        bool known = rescue->table[i].state != AGENT_ROW_RUNNING;
        if (known)
            agent_client_forget(rescue->seat->agent, rescue->table[i].exec);
        for (size_t k = 0; k < rescue->adopted_count; k++)
            known |= number_of_order(rescue->adopted[k].row.ord) == rescue->table[i].exec;
        if (!known)
            agent_client_kill(rescue->seat->agent, rescue->table[i].exec, AGENT_REASON_CANCELLED);
    }
}

static void adopted(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    struct seat *seat = rescue->seat;
    if (work->job.result < 0) {
        seat_disconnect(seat);
        work_again(work, read_row);
        return;
    }
    for (size_t i = 0; i < rescue->adopted_count; i++)
        exec_adopt(seat, &rescue->adopted[i].row, rescue->adopted[i].cgroup,
                   rescue->adopted[i].kill);
    end_strangers(rescue);
    seat->frozen = rescue->row.state == SESSION_FROZEN;
    provider_committed(work->p, rescue->row.workspace_id, rescue->row.session_id);
    seat_go_on(seat);
    if (rescue->action == RECOVERY_FINISH)
        work_job(work, LEDGER_OP_READ, reopen_apply, reopened);
    else
        over(rescue);
}

static void no_answer(struct work *work)
{
    struct rescue *rescue = (struct rescue *)work;
    rescue->seat->table = NULL;
    seat_disconnect(rescue->seat);
    rescue->finding = FOUND_BROKEN;
    act(rescue);
}

static void on_table(struct seat *seat, const struct agent_table_row *row)
{
    struct rescue *rescue = seat->table_data;
    if (row) {
        if (rescue->table_count == rescue->table_size) {
            size_t size = rescue->table_size ? rescue->table_size * 2 : 16;
            struct agent_table_row *grown = realloc(rescue->table, size * sizeof *grown);
            if (!grown)
                return; /* an exec that is not in it is `lost`, never started twice */
            rescue->table = grown;
            rescue->table_size = size;
        }
        rescue->table[rescue->table_count++] = *row;
        return;
    }
    seat->table = NULL;
    if (rescue->work.timer)
        loop_timer_clear(rescue->work.timer);
    if (seat->distrusted) {
        work_soon(&rescue->work, no_answer);
        return;
    }
    work_job(&rescue->work, LEDGER_OP_EXEC_END, adopt_apply, adopted);
}

static void adopt(struct rescue *rescue)
{
    struct seat *seat = rescue->seat;
    struct session_identity identity;
    struct err err = {0};
    if (seat->agent && seat->hello && !seat->distrusted &&
        seat->incarnation == rescue->row.incarnation) {
        if (rescue->action == RECOVERY_FINISH)
            work_job(&rescue->work, LEDGER_OP_READ, reopen_apply, reopened);
        else
            over(rescue);
        return;
    }
    identity_of(&rescue->incarnation, &identity);
    rescue->table_count = 0;
    int r = seat_connect(seat, rescue->row.incarnation, &identity, &err);
    if (r < 0) {
        rescue->finding = FOUND_BROKEN;
        act(rescue);
        return;
    }
    seat->spool_hidden = true; /* an older front's, perhaps */
    /* The row may be older than what was sent since. */
    if (seat->last_number < number_of_order(rescue->row.exec_order))
        seat->last_number = number_of_order(rescue->row.exec_order);
    seat->table = on_table;
    seat->table_data = rescue;
    work_later(&rescue->work, TABLE_MS, no_answer);
}

/* ---- the action ------------------------------------------------------------------------------ */

/* The verb under way that is recovery's: one that a client or timer waits for has its own turn.
 * Other rules come last: a park or an archive that came over them settles them. */
static bool yields(const struct intent_row *intent)
{
    return intent->verb == SESSION_EVENT_INTERRUPT || intent->verb == SESSION_EVENT_NETWORK;
}

static const struct intent_row *open_intent(const struct rescue *rescue, bool *ret_owned)
{
    const struct intent_row *found = NULL;
    *ret_owned = false;
    for (size_t i = 0; i < rescue->intent_count; i++) {
        const struct intent_row *intent = &rescue->intents[i];
        if (!verb_of_intent(rescue->work.p, intent->id))
            found = found && !yields(found) ? found : intent;
        else if (intent->verb != SESSION_EVENT_INTERRUPT)
            *ret_owned = true;
    }
    return found;
}

static void act(struct rescue *rescue)
{
    struct err err = {0};
    bool owned = false;
    const struct intent_row *intent = open_intent(rescue, &owned);
    if (owned) {
        over(rescue);
        return;
    }
    memset(&rescue->intent, 0, sizeof rescue->intent);
    if (intent)
        rescue->intent = *intent;
    int r = recovery_action(rescue->row.state, intent ? intent->verb : SESSION_EVENT_COUNT,
                            intent ? intent->phase : 0, rescue->finding, &rescue->action, &err);
    if (r < 0) { /* a row that no berth writes: left alone */
        over(rescue);
        return;
    }
    rescue->work.p->metrics.recovered[rescue->action]++;
    switch (rescue->action) {
    case RECOVERY_NOTHING:
    case RECOVERY_ACTION_COUNT:
        over(rescue);
        break;
    case RECOVERY_ADOPT:
        adopt(rescue);
        break;
    case RECOVERY_FINISH:
        if (rescue->finding == FOUND_WHOLE && rescue->intent.verb != SESSION_EVENT_PARK_STOP &&
            rescue->intent.verb != SESSION_EVENT_ARCHIVE &&
            rescue->intent.verb != SESSION_EVENT_DESTROY)
            adopt(rescue);
        else
            work_job(&rescue->work, LEDGER_OP_READ, reopen_apply, reopened);
        break;
    case RECOVERY_UNDO:
        end_it(rescue, undo);
        break;
    case RECOVERY_PARK:
    case RECOVERY_SWEEP:
        end_it(rescue, ended);
        break;
    }
}

int rescue_start(struct provider *p, int64_t row_id, const struct session_row *row,
                 bool surely_absent, void (*done)(struct provider *p))
{
    struct rescue *rescue = calloc(1, sizeof *rescue);
    if (!rescue)
        return -ENOMEM;
    rescue->row_id = row_id;
    rescue->surely_absent = surely_absent;
    rescue->done = done;
    work_begin(&rescue->work, p, free_rescue_work);
    rescue->seat = row ? seat_get(p, row) : seat_find(p, row_id);
    if (rescue->seat)
        seat_take(rescue->seat, &rescue->work, read_row);
    else
        read_row(&rescue->work);
    return 0;
}

void session_rescue_later(struct provider *p, int64_t row)
{
    struct rescue *rescue = p->closing ? NULL : calloc(1, sizeof *rescue);
    if (!rescue)
        return;
    rescue->row_id = row;
    work_begin(&rescue->work, p, free_rescue_work);
    work_later(&rescue->work, LEDGER_PAUSE_MS, read_row);
}

void session_rescue(struct provider *p, int64_t row)
{
    /* Without memory the session stays as it is until something else looks at it; its rows are
     * right, and the next start recovers it. */
    if (!p->closing)
        rescue_start(p, row, NULL, false, NULL);
}
