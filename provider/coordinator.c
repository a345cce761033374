/* This file writes what belongs to one step of a verb, in one transaction; it never has a side
 * effect and never reads a clock. Execs are in coordinator_exec.c.
 */
#include "provider/coordinator_internal.h"
#include "runtime/base/buf.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* An outcome of the ledger that cannot be here: a row that a transaction just read is gone. */
static int expect(int r, const char *what, struct err *err)
{
    if (r <= 0)
        return r;
    return err_set(err, ERR_INTERNAL, 0, "write the ledger", what,
                   "A row is there twice or not at all (%d). This is a defect of berth.", r);
}

/* ---- usage and timers that go with a state
 * ----------------------------------------------------------*/

int coordinator_usage_state(struct ledger_tx *tx, int64_t session, bool running, int64_t now_ms,
                            struct err *err)
{
    struct usage_row row;
    int r = ledger_usage_get(tx, session, &row, err);
    if (r == LEDGER_NOT_FOUND)
        usage_begin(&row, session, now_ms);
    else if (r < 0)
        return r;
    usage_advance(&row, now_ms, running);
    return ledger_usage_put(tx, &row, err);
}

int coordinator_usage(struct ledger_tx *tx, int64_t session, const struct usage_sample *sample,
                      int64_t now_ms, struct err *err)
{
    struct usage_row row;
    int r = ledger_usage_get(tx, session, &row, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_NOT_FOUND;
    if (r < 0)
        return r;
    usage_add(&row, sample, now_ms);
    return ledger_usage_put(tx, &row, err);
}

int coordinator_idle(struct ledger_tx *tx, const struct session_row *session, bool idle,
                     int64_t now_ms, struct err *err)
{
    if (session->idle_action == 0)
        return 0;
    enum timer_kind kind = (enum timer_kind)session->idle_action;
    if (!idle)
        return ledger_timer_clear(tx, session->id, 0, kind, err);
    return ledger_timer_set(tx,
                            &(struct timer_row){.session = session->id,
                                                .kind = kind,
                                                .clock = TIMER_REAL,
                                                .due_ms = now_ms + session->idle_after_ms},
                            err);
}

static int set_ttl(struct ledger_tx *tx, const struct session_row *session, struct err *err)
{
    if (session->ttl_ms == 0)
        return 0;
    return ledger_timer_set(tx,
                            &(struct timer_row){.session = session->id,
                                                .kind = TIMER_TTL,
                                                .clock = TIMER_REAL,
                                                .due_ms = session->created_ms + session->ttl_ms},
                            err);
}

/* ---- what a session gives up
 * -------------------------------------------------------------------------*/

/* Whatever has not ended ends with `reason`; one event each. */
static int end_execs(struct ledger_tx *tx, int64_t session, const char *reason, int64_t now_ms,
                     struct err *err)
{
    struct exec_row rows[32];
    size_t count = 1;
    int r = 0;
    while (r == 0 && count > 0) {
        r = ledger_exec_page(tx, session, 0, EXEC_PAGE_LIVE, rows, sizeof rows / sizeof rows[0],
                             &count, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
            char data[256];
            rows[i].ended_ms = now_ms;
            rows[i].exit_code = -1; /* nobody knows one */
            snprintf(rows[i].reason, sizeof rows[i].reason, "%s", reason);
            snprintf(data, sizeof data, "{\"exec_id\": \"%s\", \"reason\": \"%s\"}",
                     rows[i].exec_id, reason);
            r = expect(ledger_exec_ended(tx, &rows[i], err), "execs", err);
            if (r == 0)
                r = ledger_event_add(tx, session, "exec.ended", data, now_ms, NULL, err);
        }
    }
    return r;
}

/* Verbs under way other than `keep`: given up, their keys released, so that a retry begins anew. */
static int drop_intents(struct ledger_tx *tx, int64_t session, int64_t keep, struct err *err)
{
    struct intent_row rows[INTENTS_MAX];
    size_t count = 0;
    int r = ledger_intent_list(tx, session, rows, INTENTS_MAX, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++) {
        if (rows[i].id == keep)
            continue;
        r = rows[i].idempotency ? ledger_key_release(tx, rows[i].idempotency, err) : 0;
        if (r == 0)
            r = expect(ledger_intent_delete(tx, rows[i].id, err), "intents", err);
    }
    return r;
}

static bool has_sandbox(enum session_state state)
{
    return state == SESSION_CREATING || state == SESSION_RUNNING || state == SESSION_FROZEN ||
           state == SESSION_DESTROYING;
}

/* The sandbox of this session is no more: execs, range, volume, deadlines. */
static int release(struct ledger_tx *tx, const struct session_row *session, const char *exec_reason,
                   const char *why, int64_t now_ms, struct err *err)
{
    int r = end_execs(tx, session->id, exec_reason, now_ms, err);
    if (r == 0)
        r = ledger_timer_clear_all(tx, session->id, true, err);
    if (r == 0)
        r = coordinator_idle(tx, session, false, now_ms, err);
    if (r == 0)
        r = ledger_uid_release(tx, session->id, err);
    if (r == 0)
        r = ledger_volume_leave(tx, session->id, err);
    if (r == 0 && session->incarnation > 0) {
        r = ledger_incarnation_end(tx, session->id, session->incarnation, why, now_ms, err);
        r = r == LEDGER_NOT_FOUND ? 0 : r; /* it had ended when the session was parked */
    }
    return r;
}

/* ---- open
 * ---------------------------------------------------------------------------------------------*/

static int check_names(const struct coordinator_request *request, struct err *err)
{
    if (!id_valid(request->workspace_id))
        return err_set(err, ERR_INVALID_REQUEST, 0, "workspace_id", NULL,
                       "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
    if (!id_valid(request->session_id))
        return err_set(err, ERR_INVALID_REQUEST, 0, "session_id", NULL,
                       "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
    if (request->volume && !id_valid(request->volume))
        return err_set(err, ERR_INVALID_REQUEST, 0, "volume", NULL,
                       "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
    return 0;
}

int coordinator_look_key(struct ledger_tx *tx, const struct idempotency_request *key,
                         int64_t now_ms, int64_t *ret_status, struct buf *ret_body, struct err *err)
{
    static const int outcomes[] = {[IDEMPOTENCY_REPLAY] = COORDINATOR_REPLAY,
                                   [IDEMPOTENCY_MISMATCH] = COORDINATOR_MISMATCH,
                                   [IDEMPOTENCY_IN_PROGRESS] = COORDINATOR_IN_PROGRESS};
    int r = key ? idempotency_look(tx, key, now_ms, ret_status, ret_body, err) : 0;
    return r > 0 ? outcomes[r] : r;
}

int coordinator_in_the_way(struct ledger_tx *tx, int64_t session, enum session_event verb,
                           int64_t *ret_intent, struct err *err)
{
    struct intent_row rows[INTENTS_MAX];
    size_t count = 0;
    *ret_intent = 0;
    int r = ledger_intent_list(tx, session, rows, INTENTS_MAX, &count, err);
    for (size_t i = 0; r == 0 && i < count && *ret_intent == 0; i++) {
        bool together = (rows[i].verb == SESSION_EVENT_INTERRUPT &&
                         (verb == SESSION_EVENT_INTERRUPT || verb == SESSION_EVENT_EXEC)) ||
                        (rows[i].verb == SESSION_EVENT_NETWORK &&
                         (verb == SESSION_EVENT_EXEC || coordinator_settles(verb)));
        if (!together)
            *ret_intent = rows[i].id;
    }
    /* So many interrupts at once are a loop somewhere, and recovery reads them all. */
    if (r == 0 && count >= INTENTS_MAX && verb != SESSION_EVENT_DESTROY)
        *ret_intent = rows[0].id;
    return r;
}

static int insert_session(struct ledger_tx *tx, const struct coordinator_request *request,
                          struct session_row *ret, struct err *err)
{
    memset(ret, 0, sizeof *ret);
    snprintf(ret->workspace_id, sizeof ret->workspace_id, "%s", request->workspace_id);
    snprintf(ret->session_id, sizeof ret->session_id, "%s", request->session_id);
    int r = ledger_fits(request->owner, sizeof ret->owner, "owner", err);
    if (r == 0)
        r = ledger_fits(request->spec_hash, sizeof ret->spec_hash, "spec hash", err);
    if (r < 0)
        return r;
    snprintf(ret->owner, sizeof ret->owner, "%s", request->owner);
    snprintf(ret->spec_hash, sizeof ret->spec_hash, "%s", request->spec_hash);
    snprintf(ret->policy, sizeof ret->policy, "%s", request->policy ? request->policy : "");
    ret->state = SESSION_CREATING;
    ret->created_ms = ret->changed_ms = request->now_ms;
    ret->ttl_ms = request->ttl_ms;
    ret->idle_after_ms = request->idle_after_ms;
    ret->idle_action = request->idle_action;
    r = ledger_session_insert(tx, ret, request->spec, request->labels_json, err);
    if (r == 0)
        r = coordinator_usage_state(tx, ret->id, false, request->now_ms, err);
    if (r == 0)
        r = set_ttl(tx, ret, err);
    return expect(r, "sessions", err);
}

static int use_volume(struct ledger_tx *tx, const struct coordinator_request *request,
                      struct coordinator_ticket *ticket, struct err *err)
{
    struct volume_row volume = {0};
    int r = ledger_volume_find(tx, request->workspace_id, request->volume, &volume, err);
    if (r == LEDGER_NOT_FOUND) {
        snprintf(volume.workspace_id, sizeof volume.workspace_id, "%s", request->workspace_id);
        snprintf(volume.name, sizeof volume.name, "%s", request->volume);
        snprintf(volume.owner, sizeof volume.owner, "%s", request->owner);
        volume.created_ms = request->now_ms;
        r = ledger_volume_create(tx, &volume, err);
        ticket->volume_made = true;
    }
    if (r == 0)
        r = ledger_volume_use(tx, volume.id, ticket->session, request->volume_read_only,
                              &ticket->holder, err);
    ticket->volume = volume.id;
    return r == LEDGER_CONFLICT ? COORDINATOR_VOLUME_BUSY : r;
}

/* What a verb takes before its effect: a number, a volume, a floor. */
static int take(struct ledger_tx *tx, const struct coordinator_request *request,
                struct coordinator_ticket *ticket, struct err *err)
{
    int r = 0;
    if (ticket->effect == SESSION_EFFECT_LAUNCH)
        r = ledger_incarnation_begin(tx, ticket->session, request->now_ms, &ticket->incarnation,
                                     err);
    if (r == 0 && request->verb == SESSION_EVENT_CREATE && request->volume)
        r = use_volume(tx, request, ticket, err);
    if (r == 0 && request->verb == SESSION_EVENT_RESUME) {
        r = ledger_volume_rejoin(tx, ticket->session, &ticket->holder, err);
        r = r == LEDGER_CONFLICT ? COORDINATOR_VOLUME_BUSY : r;
    }
    if (r == 0 && ticket->effect == SESSION_EFFECT_KILL_EXECS)
        r = ledger_exec_floor(tx, ticket->session, &ticket->floor, err);
    if (r == 0 && ticket->effect == SESSION_EFFECT_NETWORK)
        ticket->floor = ticket->revision;
    return r;
}

static int write_intent(struct ledger_tx *tx, const struct coordinator_request *request,
                        struct coordinator_ticket *ticket, struct err *err)
{
    struct intent_row intent = {
        .session = ticket->session,
        .incarnation = ticket->incarnation,
        .verb = request->verb,
        .phase = INTENT_OPEN,
        .idempotency = ticket->key,
        .floor = ticket->floor,
        .created_ms = request->now_ms,
    };
    int r = ledger_fits(request->reason, sizeof intent.reason, "reason", err);
    if (r < 0)
        return r;
    snprintf(intent.reason, sizeof intent.reason, "%s",
             ticket->volume_made ? COORDINATOR_NEW_VOLUME : request->reason);
    bool has_spec = request->verb == SESSION_EVENT_NETWORK;
    r = ledger_intent_insert(tx, &intent, has_spec ? request->spec : (struct ledger_blob){"", 0},
                             has_spec ? request->spec_hash : "", err);
    ticket->intent = intent.id;
    return r;
}

static int tell(struct ledger_tx *tx, const struct coordinator_ticket *ticket, const char *type,
                int64_t now_ms, struct err *err)
{
    char data[64] = "{}";
    if (ticket->verb == SESSION_EVENT_NETWORK)
        snprintf(data, sizeof data, "{\"network_revision\": %lld}", (long long)ticket->revision);
    return ledger_event_add(tx, ticket->session, type, data, now_ms, NULL, err);
}

/* The verb has nothing to do: it is done and answered here. */
static int finish_at_once(struct ledger_tx *tx, const struct coordinator_request *request,
                          const struct session_transition *go, struct coordinator_ticket *ticket,
                          struct err *err)
{
    int r = 0;
    if (go->next != ticket->state)
        r = expect(ledger_session_move(tx, ticket->session, go->next, "", request->now_ms, err),
                   "sessions", err);
    if (r == 0 && go->next == SESSION_DESTROYED && ticket->state != SESSION_DESTROYED)
        r = ledger_volume_drop(tx, ticket->session, err);
    if (r == 0 && request->verb == SESSION_EVENT_NETWORK)
        r = expect(ledger_session_network(tx, ticket->session, request->spec, request->spec_hash,
                                          ticket->revision, err),
                   "sessions", err);
    if (r == 0 && go->tells)
        r = tell(tx, ticket, go->tells, request->now_ms, err);
    if (r == 0)
        r = idempotency_answer(tx, ticket->key, request->answer_if_done.status,
                               request->answer_if_done.code, request->answer_if_done.body, err);
    return r;
}

/* Is this verb allowed now? 0, an outcome, or a failure. */
static int admit(struct ledger_tx *tx, const struct coordinator_request *request,
                 const struct session_row *row, bool exists, struct coordinator_ticket *ticket,
                 struct err *err)
{
    if (!exists && request->verb != SESSION_EVENT_CREATE)
        return COORDINATOR_NOT_FOUND;
    if (!session_transition(ticket->state, request->verb)->allowed)
        return request->verb == SESSION_EVENT_CREATE ? COORDINATOR_EXISTS
                                                     : COORDINATOR_INVALID_STATE;
    if (!exists || session_is_over(row->state))
        return 0;
    if (request->verb == SESSION_EVENT_NETWORK && request->revision &&
        request->revision != row->network_revision)
        return COORDINATOR_REVISION;
    int r = coordinator_in_the_way(tx, row->id, request->verb, &ticket->intent, err);
    if (r < 0 || ticket->intent == 0)
        return r;
    if (ticket->state == SESSION_DESTROYING)
        return COORDINATOR_JOIN;
    return request->verb == SESSION_EVENT_DESTROY ? 0 : COORDINATOR_IN_PROGRESS;
}

static int carry_on(struct ledger_tx *tx, const struct coordinator_request *request,
                    struct session_row *row, struct coordinator_ticket *ticket, struct err *err)
{
    const struct session_transition *go = session_transition(ticket->state, request->verb);
    int r = 0;
    ticket->effect = go->effect;
    ticket->intent = 0;
    if (request->key)
        r = idempotency_take(tx, request->key, request->now_ms, &ticket->key, err);
    if (r == 0 && request->verb == SESSION_EVENT_CREATE)
        r = insert_session(tx, request, row, err);
    ticket->session = row->id;
    ticket->incarnation = row->incarnation;
    if (request->verb == SESSION_EVENT_NETWORK || request->verb == SESSION_EVENT_CREATE)
        ticket->revision = row->network_revision + 1;
    if (r == 0 && coordinator_settles(request->verb))
        r = coordinator_rules_waiting(tx, row->id, &ticket->rules, err);
    if (r == 0 && go->effect == SESSION_EFFECT_NONE)
        return finish_at_once(tx, request, go, ticket, err);
    if (r == 0 && request->verb == SESSION_EVENT_DESTROY)
        r = drop_intents(tx, row->id, 0, err);
    if (r == 0)
        r = take(tx, request, ticket, err);
    if (r == 0 && go->next != row->state)
        r = expect(
            ledger_session_move(tx, row->id, go->next, request->reason, request->now_ms, err),
            "sessions", err);
    if (r == 0 && go->tells)
        r = ledger_event_add(tx, row->id, go->tells, "{}", request->now_ms, NULL, err);
    if (r == 0)
        r = write_intent(tx, request, ticket, err);
    return r;
}

int coordinator_open(struct ledger_tx *tx, const struct coordinator_request *request,
                     struct coordinator_ticket *ret, int64_t *ret_status, struct buf *ret_body,
                     struct err *err)
{
    struct session_row row = {0};
    memset(ret, 0, sizeof *ret);
    ret->verb = request->verb;
    int r = check_names(request, err);
    if (r == 0)
        r = coordinator_look_key(tx, request->key, request->now_ms, ret_status, ret_body, err);
    if (r != 0)
        return r;
    r = (request->verb == SESSION_EVENT_CREATE ? ledger_session_taken : ledger_session_find)(
        tx, request->workspace_id, request->session_id, &row, err);
    if (r < 0)
        return r;
    ret->state = r == 0 ? row.state : SESSION_NONE;
    ret->session = row.id;
    ret->revision = row.network_revision;
    r = admit(tx, request, &row, r == 0, ret, err);
    return r == 0 ? carry_on(tx, request, &row, ret, err) : r;
}

/* ---- prepared, close
 * --------------------------------------------------------------------------------*/

/* The session and intent of a ticket, or COORDINATOR_STALE. */
static int revisit(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                   struct session_row *ret_session, struct intent_row *ret_intent, struct err *err)
{
    int r = ledger_intent_get(tx, ticket->intent, ret_intent, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_STALE;
    if (r == 0)
        r = expect(ledger_session_get(tx, ret_intent->session, ret_session, err), "sessions", err);
    return r;
}

int coordinator_prepared(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                         const struct incarnation_row *row, const char *effective_json,
                         struct err *err)
{
    struct session_row session;
    struct intent_row intent;
    int r = revisit(tx, ticket, &session, &intent, err);
    if (r == 0 && intent.verb == SESSION_EVENT_DESTROY)
        return COORDINATOR_INVALID_STATE; /* only `dead` prepares a destroy: it answers */
    if (r == 0 && row)
        r = expect(ledger_incarnation_set(tx, row, effective_json, err), "incarnations", err);
    if (r == 0 && intent.phase == INTENT_OPEN)
        r = expect(ledger_intent_prepare(tx, intent.id, err), "intents", err);
    return r;
}

enum ledger_op coordinator_close_op(enum session_event outcome)
{
    if (outcome == SESSION_EVENT_DEAD)
        return LEDGER_OP_VERB_ANSWERED;
    for (unsigned state = 0; state < SESSION_STATE_COUNT; state++) {
        const struct session_transition *t = session_transition((enum session_state)state, outcome);
        if (t->allowed && t->durability == LEDGER_FULL)
            return LEDGER_OP_VERB_CLOSE_FULL;
    }
    return LEDGER_OP_VERB_CLOSE;
}

/* What the state itself brings: usage, timers, what is held. */
static int enter(struct ledger_tx *tx, const struct session_row *session, enum session_state next,
                 const struct coordinator_end *end, struct err *err)
{
    const char *exec_reason =
        end->outcome == SESSION_EVENT_DIED || end->outcome == SESSION_EVENT_HOST_RESTARTED
            ? "lost"
            : "interrupted";
    const char *why = end->reason[0] ? end->reason : session_event_name(end->outcome);
    int r = end->last ? coordinator_usage(tx, session->id, end->last, end->now_ms, err) : 0;
    if (r >= 0)
        r = coordinator_usage_state(tx, session->id, next == SESSION_RUNNING, end->now_ms, err);
    if (r == 0 && next == SESSION_RUNNING && session->state == SESSION_FROZEN)
        r = ledger_timer_go_on_execs(tx, session->id, end->now_boot_ms, err);
    if (r == 0 && next == SESSION_RUNNING && session->state != SESSION_RUNNING)
        r = coordinator_idle(tx, session, session->running_execs == 0, end->now_ms, err);
    if (r == 0 && next == SESSION_FROZEN && session->state != SESSION_FROZEN)
        r = ledger_timer_stop_execs(tx, session->id, end->now_boot_ms, err);
    if (r == 0 && next == SESSION_FROZEN)
        r = coordinator_idle(tx, session, false, end->now_ms, err);
    if (r == 0 && (!has_sandbox(next) || end->outcome == SESSION_EVENT_DEAD))
        r = release(tx, session, exec_reason, why, end->now_ms, err);
    if (r == 0 && session_is_over(next))
        r = ledger_volume_drop(tx, session->id, err);
    if (r == 0 && (session_is_over(next) || end->outcome == SESSION_EVENT_DEAD))
        r = ledger_timer_clear_all(tx, session->id, false, err);
    return r;
}

static int move(struct ledger_tx *tx, const struct session_row *session,
                const struct session_transition *go, const struct coordinator_end *end,
                struct err *err)
{
    int r = enter(tx, session, go->next, end, err);
    if (r == 0 && (go->next != session->state || end->reason[0]))
        r = expect(ledger_session_move(tx, session->id, go->next, end->reason, end->now_ms, err),
                   "sessions", err);
    if (r == 0 && go->tells)
        r = ledger_event_add(tx, session->id, go->tells, end->event_json, end->now_ms, NULL, err);
    return r;
}

int coordinator_spec(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                     struct buf *ret_spec, struct err *err)
{
    char hash[65];
    int r = ledger_intent_spec(tx, ticket->intent, ret_spec, hash, err);
    return r == LEDGER_NOT_FOUND ? COORDINATOR_STALE : r;
}

int coordinator_close(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                      const struct coordinator_end *end, struct err *err)
{
    struct session_row session;
    struct intent_row intent;
    int r = revisit(tx, ticket, &session, &intent, err);
    if (r != 0)
        return r;
    const struct session_transition *go = session_transition(session.state, end->outcome);
    bool answered = intent.verb == SESSION_EVENT_DESTROY && intent.phase == INTENT_PREPARED;
    if (!go->allowed || (end->outcome == SESSION_EVENT_GONE && !answered))
        return COORDINATOR_INVALID_STATE;
    if (go->stays_open && answered)
        return 0; /* said again after a crash */
    if (go->durability == LEDGER_FULL && !ledger_tx_is_full(tx))
        return err_set(err, ERR_INTERNAL, 0, "write the ledger", session_event_name(end->outcome),
                       "This outcome must survive power loss. This is a defect of berth.");
    struct volume_row volume = {0};
    if (end->outcome == SESSION_EVENT_START_FAILED &&
        strcmp(intent.reason, COORDINATOR_NEW_VOLUME) == 0)
        r = ledger_volume_of_session(tx, session.id, &volume, err);
    r = r < 0 ? r : move(tx, &session, go, end, err);
    if (r == 0 && end->outcome == SESSION_EVENT_NETWORK_CHANGED)
        r = coordinator_take_rules(tx, &intent, err);
    int64_t holder;
    if (r == 0 && volume.id) /* one that somebody else names by now stays */
        r = ledger_volume_delete(tx, session.workspace_id, volume.name, &holder, err);
    r = r > 0 ? 0 : r;
    /* A destroy that is prepared was answered by `dead`; a key is answered once. */
    if (r == 0 && !answered)
        r = expect(idempotency_answer(tx, intent.idempotency, end->answer.status, end->answer.code,
                                      end->answer.body, err),
                   "idempotency", err);
    if (r == 0 && go->stays_open)
        return expect(ledger_intent_prepare(tx, intent.id, err), "intents", err);
    if (r == 0)
        r = expect(ledger_intent_delete(tx, intent.id, err), "intents", err);
    return r;
}

int coordinator_give_up(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                        const struct coordinator_answer *answer, struct err *err)
{
    struct session_row session;
    struct intent_row intent;
    int r = revisit(tx, ticket, &session, &intent, err);
    if (r != 0)
        return r;
    r = expect(
        idempotency_answer(tx, intent.idempotency, answer->status, answer->code, answer->body, err),
        "idempotency", err);
    return r == 0 ? expect(ledger_intent_delete(tx, intent.id, err), "intents", err) : r;
}

int coordinator_lost(struct ledger_tx *tx, int64_t session_id, const struct coordinator_end *end,
                     struct err *err)
{
    struct session_row session;
    int r = ledger_session_get(tx, session_id, &session, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_NOT_FOUND;
    if (r < 0)
        return r;
    const struct session_transition *go = session_transition(session.state, end->outcome);
    if (!go->allowed)
        return COORDINATOR_INVALID_STATE;
    r = drop_intents(tx, session.id, 0, err);
    if (r == 0)
        r = move(tx, &session, go, end, err);
    return r;
}

int coordinator_reopen(struct ledger_tx *tx, int64_t intent_id, struct coordinator_ticket *ret,
                       struct err *err)
{
    struct session_row session;
    struct intent_row intent;
    struct coordinator_ticket ticket = {.intent = intent_id};
    int r = revisit(tx, &ticket, &session, &intent, err);
    if (r != 0)
        return r;
    ticket.session = session.id;
    ticket.incarnation = intent.incarnation;
    ticket.key = intent.idempotency;
    ticket.floor = intent.floor;
    ticket.revision =
        intent.verb == SESSION_EVENT_NETWORK ? intent.floor : session.network_revision;
    ticket.verb = intent.verb;
    ticket.volume_made = strcmp(intent.reason, COORDINATOR_NEW_VOLUME) == 0;
    ticket.state = session.state;
    if (coordinator_settles(intent.verb))
        r = coordinator_rules_waiting(tx, session.id, &ticket.rules, err);
    if (r != 0)
        return r;
    /* The effect of the cell that wrote it: of a passing state, the cell that led there. */
    ticket.effect = session_transition(session.state, intent.verb)->effect;
    if (session.state == SESSION_DESTROYING)
        ticket.effect = SESSION_EFFECT_TEARDOWN;
    if (session.state == SESSION_CREATING)
        ticket.effect = SESSION_EFFECT_LAUNCH;
    *ret = ticket;
    return 0;
}
