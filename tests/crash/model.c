/* This file lets the lanes of the model do their steps (model.h); it never judges what is left. */
#include "tests/crash/model.h"

struct world *world;
struct ledger *ledger;
bool after_power_loss;

void violated(const struct lane *lane, const char *what, int64_t a, int64_t b)
{
    if (!world->violation[0])
        snprintf(world->violation, sizeof world->violation,
                 "lane %d step %lld kind %d: %s (%lld, %lld)", (int)(lane - world->lanes),
                 (long long)lane->step, lane->kind, what, (long long)a, (long long)b);
    _exit(3);
}

/* ---- side effects
 * ---------------------------------------------------------------------------------*/

/* Each can be repeated, as the real ones can: its object is named by row and incarnation. */
void effect(struct lane *lane, enum session_effect what, int64_t incarnation)
{
    (void)FAILPOINT("effect", session_effect_name(what), "before");
    switch (what) {
    case SESSION_EFFECT_LAUNCH:
        lane->frozen = false;
        lane->init_ord = 0;
        lane->alive = incarnation;
        lane->rules = lane->rules_asked;
        break;
    case SESSION_EFFECT_NETWORK:
        lane->rules = lane->rules_asked;
        break;
    case SESSION_EFFECT_STOP:
    case SESSION_EFFECT_SEAL:
    case SESSION_EFFECT_TEARDOWN:
    case SESSION_EFFECT_RELEASE:
        lane->alive = 0;
        lane->frozen = false;
        break;
    case SESSION_EFFECT_FREEZE:
        lane->frozen = true;
        break;
    case SESSION_EFFECT_THAW:
        lane->frozen = false;
        break;
    case SESSION_EFFECT_KILL_EXECS:
        lane->init_word = WORD_ENDED;
        break;
    case SESSION_EFFECT_NONE:
    case SESSION_EFFECT_START:
    case SESSION_EFFECT_FILES:
    case SESSION_EFFECT_COUNT:
        break;
    }
    (void)FAILPOINT("effect", session_effect_name(what), "after");
}

static void start_command(struct lane *lane, int64_t ord)
{
    (void)FAILPOINT("effect", session_effect_name(SESSION_EFFECT_START), "before");
    lane->init_word = WORD_RUNNING;
    lane->init_ord = ord;
    if (lane->step < STEPS_MAX)
        lane->runs[lane->step]++;
    (void)FAILPOINT("effect", session_effect_name(SESSION_EFFECT_START), "after");
}

/* ---- jobs
 * -----------------------------------------------------------------------------------------*/

int run_job(struct step *s, enum ledger_op op, step_function *apply)
{
    struct ledger_job job = {.op = op, .apply = apply, .data = s};
    buf_fini(&s->body);
    int r = ledger_run(ledger, &job, &s->err);
    s->certain = job.certain;
    return r;
}

int apply_open(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    return coordinator_open(tx, &s->request, &s->ticket, &s->status, &s->body, err);
}

static int apply_prepared(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    struct incarnation_row row = {.session = s->ticket.session,
                                  .incarnation = s->ticket.incarnation,
                                  .boot_id = "boot",
                                  .init_pid = 1};
    return coordinator_prepared(tx, &s->ticket, &row, "{}", err);
}

/* What a step of this number is answered. */
static void answer_of(char ret[32], int kind, int64_t number)
{
    snprintf(ret, 32, "%d %lld", kind, (long long)number);
}

int apply_close(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    char text[32];
    answer_of(text, SESSION_EVENT_NETWORK, s->lane->rules_step);
    const struct coordinator_answer answer = {200, ERR_NONE, {text, strlen(text)}};
    int r = coordinator_settle(tx, &s->ticket, &answer, 2000, err);
    return r == 0 ? coordinator_close(tx, &s->ticket, &s->end, err) : r;
}

int apply_lost(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    return coordinator_lost(tx, s->session.id, &s->end, err);
}

int apply_look(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    memset(&s->session, 0, sizeof s->session);
    s->intent_count = s->exec_count = 0;
    int r = ledger_session_find(tx, s->workspace, "s", &s->session, err);
    if (r == 0)
        r = ledger_intent_list(tx, s->session.id, s->intents, 4, &s->intent_count, err);
    if (r == 0)
        r = ledger_exec_page(tx, s->session.id, 0, EXEC_PAGE_LIVE, s->execs, 8, &s->exec_count,
                             err);
    return r == LEDGER_NOT_FOUND ? 0 : r;
}

int apply_reopen(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    return coordinator_reopen(tx, s->intents[s->intent_count - 1].id, &s->ticket, err);
}

static int apply_accept(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    return coordinator_exec_accept(tx, &s->exec, &s->exec_row, &s->state, &s->status, &s->body,
                                   err);
}

static int apply_running(struct ledger_tx *tx, void *data, struct err *err)
{
    return coordinator_exec_running(tx, ((struct step *)data)->exec_row.id, 1000, err);
}

int apply_exec_end(struct ledger_tx *tx, void *data, struct err *err)
{
    return coordinator_exec_end(tx, &((struct step *)data)->exec_row, "{}", err);
}

/* A marker writes the same number into four tables: wholeness can be seen. */
int apply_marker(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    struct session_row row;
    char text[32], events[64];
    snprintf(text, sizeof text, "%lld", (long long)s->number);
    snprintf(events, sizeof events, "{\"n\": %s}", text);
    int r = ledger_session_find(tx, s->workspace, "m", &row, err);
    if (r == LEDGER_NOT_FOUND) {
        memset(&row, 0, sizeof row);
        snprintf(row.workspace_id, sizeof row.workspace_id, "%s", s->workspace);
        snprintf(row.session_id, sizeof row.session_id, "m");
        row.state = SESSION_PARKED;
        struct ledger_blob spec = {"", 0};
        r = ledger_session_insert(tx, &row, spec, "{}", err);
    }
    struct usage_row usage = {.session = row.id, .cpu_ns = s->number};
    struct timer_row timer = {
        .session = row.id, .kind = TIMER_TTL, .clock = TIMER_REAL, .due_ms = s->number};
    if (r == 0)
        r = ledger_event_add(tx, row.id, "marker", events, 0, NULL, err);
    if (r == 0)
        r = ledger_usage_put(tx, &usage, err);
    if (r == 0)
        r = ledger_audit_add(tx, s->workspace, "m", "marker", text, "", 0, err);
    if (r == 0)
        r = ledger_timer_set(tx, &timer, err);
    return r;
}

/* The audit has a bound that the lanes go beyond all the time. */
int apply_trim(struct ledger_tx *tx, void *data, struct err *err)
{
    static const struct ledger_audit_bound bound = {.workspace_rows = 12, .rows = 60};
    int64_t trimmed;
    (void)data;
    return ledger_audit_trim(tx, &bound, 5, &trimmed, err);
}

/* The last marker of this lane, and whether all places agree: else a negative number. */
int apply_marker_check(struct ledger_tx *tx, void *data, struct err *err)
{
    struct step *s = data;
    struct session_row row;
    struct usage_row usage;
    struct timer_row timers[64];
    static __thread struct event_row events[256];
    size_t count = 0;
    int64_t last = 0;
    s->number = 0;
    int r = ledger_session_find(tx, s->workspace, "m", &row, err);
    if (r == LEDGER_NOT_FOUND)
        return 0;
    do {
        r = ledger_event_page(tx, s->workspace, "m", last, events, 256, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++) {
            char expected[32];
            last++;
            snprintf(expected, sizeof expected, "{\"n\": %lld}", (long long)last);
            if (events[i].seq != last || strcmp(events[i].data, expected) != 0)
                s->number = -1;
        }
    } while (r == 0 && count > 0);
    if (r == 0)
        r = ledger_usage_get(tx, row.id, &usage, err);
    if (r == 0)
        r = ledger_timer_due(tx, INT64_MAX, INT64_MAX, timers, 64, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        if (timers[i].session == row.id && timers[i].due_ms != last)
            s->number = -3;
    if (r == 0 && usage.cpu_ns != last)
        s->number = -2;
    if (r == 0 && s->number == 0)
        s->number = last;
    return r;
}

/* ---- one step of a lane
 * -----------------------------------------------------------------------------*/

bool is_full(int kind)
{
    return kind == SESSION_EVENT_CREATE || kind == SESSION_EVENT_ARCHIVE ||
           kind == SESSION_EVENT_DESTROY || kind == SESSION_EVENT_NETWORK;
}

enum session_event outcome_of(enum session_event verb)
{
    return verb == SESSION_EVENT_CREATE        ? SESSION_EVENT_STARTED
           : verb == SESSION_EVENT_PARK_STOP   ? SESSION_EVENT_PARKED_NOW
           : verb == SESSION_EVENT_PARK_FREEZE ? SESSION_EVENT_FROZEN_NOW
           : verb == SESSION_EVENT_RESUME      ? SESSION_EVENT_RESUMED
           : verb == SESSION_EVENT_INTERRUPT   ? SESSION_EVENT_INTERRUPTED
           : verb == SESSION_EVENT_ARCHIVE     ? SESSION_EVENT_ARCHIVED_NOW
           : verb == SESSION_EVENT_NETWORK     ? SESSION_EVENT_NETWORK_CHANGED
                                               : SESSION_EVENT_DEAD;
}

void prepare_step(struct step *s, struct lane *lane, int64_t number, int kind)
{
    static const char spec[] = "spec";
    memset(s, 0, sizeof *s);
    s->lane = lane;
    snprintf(s->workspace, sizeof s->workspace, "w%d", (int)(lane - world->lanes));
    snprintf(s->key, sizeof s->key, "k%lld", (long long)number);
    answer_of(s->answer, kind, number);
    s->idempotency = (struct idempotency_request){s->workspace, "POST", "/p", s->key, s->answer};
    s->request = (struct coordinator_request){
        .workspace_id = s->workspace,
        .session_id = "s",
        .verb = (enum session_event)kind,
        .reason = "",
        .key = &s->idempotency,
        .now_ms = 1000,
        .owner = "o",
        .labels_json = "{}",
        .spec_hash = "h",
        .spec = {spec, sizeof spec - 1},
        .volume = "v",
        .ttl_ms = 100000,
        .idle_after_ms = 1000,
        .idle_action = TIMER_IDLE_PARK,
        .answer_if_done = {200, ERR_NONE, {s->answer, strlen(s->answer)}},
    };
    s->end = (struct coordinator_end){.outcome = outcome_of((enum session_event)kind),
                                      .reason = "",
                                      .event_json = "{}",
                                      .answer = s->request.answer_if_done,
                                      .now_ms = 2000};
    snprintf(s->exec_id, sizeof s->exec_id, "e%lld-%d", (long long)number, lane->attempt);
    s->exec = (struct coordinator_exec){
        .workspace_id = s->workspace,
        .session_id = "s",
        .exec_id = s->exec_id,
        .command = "true",
        .key = &s->idempotency,
        .answer = {201, ERR_NONE, {s->exec_id, strlen(s->exec_id)}},
        .now_ms = 1000,
        .deadline_boot_ms = 5000,
    };
}

int finish_verb(struct step *s)
{
    struct lane *lane = s->lane;
    if (s->ticket.verb == SESSION_EVENT_DESTROY) {
        effect(lane, SESSION_EFFECT_TEARDOWN, 0);
        s->end.outcome = SESSION_EVENT_DEAD;
        if (run_job(s, LEDGER_OP_VERB_ANSWERED, apply_close) < 0)
            return LANE_STOPS;
        s->end.outcome = SESSION_EVENT_GONE;
        return run_job(s, LEDGER_OP_VERB_CLOSE, apply_close) < 0 ? LANE_STOPS : LANE_GOES_ON;
    }
    lane->rules_asked = s->ticket.revision;
    effect(lane, s->ticket.effect, s->ticket.incarnation);
    if (s->ticket.effect == SESSION_EFFECT_LAUNCH &&
        run_job(s, LEDGER_OP_VERB_PREPARED, apply_prepared) < 0)
        return LANE_STOPS;
    if (s->ticket.verb == SESSION_EVENT_CREATE && lane->step % 11 == 0) { /* it did not start */
        effect(lane, SESSION_EFFECT_RELEASE, 0);
        s->end.outcome = SESSION_EVENT_START_FAILED;
        return run_job(s, LEDGER_OP_VERB_UNDO, apply_close) < 0 ? LANE_STOPS : LANE_GOES_ON;
    }
    int r = run_job(s, coordinator_end_op(&s->ticket, s->end.outcome), apply_close);
    if (r > 0)
        violated(lane, "an outcome was refused", r, s->end.outcome);
    if (r == 0 && s->ticket.rules)
        rules_answered(lane);
    return r < 0 ? LANE_STOPS : LANE_GOES_ON;
}

/* They stand in the ledger with their answer, as durable as the verb that was closed with them. */
void rules_answered(struct lane *lane)
{
    if (lane->acked - lane->rules_step < HISTORY && lane->rules_step <= lane->acked)
        lane->history[lane->rules_step % HISTORY] = SESSION_EVENT_NETWORK;
}

/* Whoever would put them in force is away, or was not heard any more: the intent stays, and the
 * client goes on to something else. */
static int leave_rules(struct step *s)
{
    s->lane->rules_asked = s->ticket.revision;
    if (s->lane->step % 2 == 0)
        effect(s->lane, s->ticket.effect, s->ticket.incarnation);
    s->lane->kind = STEP_FILES;
    return LANE_GOES_ON;
}

static int step_verb(struct step *s)
{
    bool network = s->request.verb == SESSION_EVENT_NETWORK;
    if (network)
        s->lane->rules_step = s->lane->step;
    int r = run_job(s, network ? LEDGER_OP_VERB_NETWORK : LEDGER_OP_VERB_OPEN, apply_open);
    if (r < 0)
        return LANE_STOPS;
    if (r == 0 && network && s->ticket.intent && s->lane->attempt == 0 && s->lane->step % 3 != 0)
        return leave_rules(s);
    if (r == 0)
        return s->ticket.intent ? finish_verb(s) : LANE_GOES_ON;
    if (r == COORDINATOR_REPLAY) {
        if (strcmp(buf_text(&s->body), s->answer) != 0)
            violated(s->lane, "another answer than the first", s->status, 0);
        return LANE_GOES_ON;
    }
    /* Recovery may have parked what this retry was for; a first attempt has no such excuse. */
    bool excused =
        s->lane->attempt > 0 && (r == COORDINATOR_INVALID_STATE || r == COORDINATOR_EXISTS ||
                                 (r == COORDINATOR_NOT_FOUND && after_power_loss));
    if (!excused)
        violated(s->lane, "a verb was refused", r, s->ticket.state);
    s->lane->kind = STEP_FILES; /* no answer of it is stored that could be asked for again */
    return LANE_GOES_ON;
}

static int step_exec(struct step *s)
{
    int r = run_job(s, LEDGER_OP_EXEC_ACCEPT, apply_accept);
    if (r < 0)
        return LANE_STOPS;
    if (r == COORDINATOR_REPLAY || (r == COORDINATOR_INVALID_STATE && s->lane->attempt > 0) ||
        (r == COORDINATOR_NOT_FOUND && after_power_loss))
        return LANE_GOES_ON;
    if (r > 0)
        violated(s->lane, "an exec was refused", r, s->state);
    start_command(s->lane, s->exec_row.ord);
    if (run_job(s, LEDGER_OP_EXEC_RUNNING, apply_running) < 0)
        return LANE_STOPS;
    s->lane->init_word = WORD_ENDED;
    s->exec_row.ended_ms = 2000;
    snprintf(s->exec_row.reason, sizeof s->exec_row.reason, "exit");
    return run_job(s, LEDGER_OP_EXEC_END, apply_exec_end) < 0 ? LANE_STOPS : LANE_GOES_ON;
}

static int step_death(struct step *s)
{
    if (run_job(s, LEDGER_OP_READ, apply_look) < 0)
        return LANE_STOPS;
    s->lane->alive = 0;
    effect(s->lane, SESSION_EFFECT_RELEASE, 0);
    s->end.outcome = SESSION_EVENT_DIED;
    s->end.reason = "init_killed";
    return run_job(s, LEDGER_OP_SESSION_LOST, apply_lost) < 0 ? LANE_STOPS : LANE_GOES_ON;
}

static int step_marker(struct step *s)
{
    struct lane *lane = s->lane;
    /* Every operation takes its turn, so that each of its fail points is passed. */
    enum ledger_op op = (enum ledger_op)(lane->marker % LEDGER_OP_COUNT);
    if (op == LEDGER_OP_READ) {
        if (run_job(s, op, apply_look) < 0)
            return LANE_STOPS;
        op = LEDGER_OP_EVENT_ADD;
    }
    if (op == LEDGER_OP_AUDIT_TRIM) {
        if (run_job(s, op, apply_trim) < 0)
            return LANE_STOPS;
        op = LEDGER_OP_AUDIT_ADD;
    }
    lane->marker = lane->marker_acked + 1;
    s->number = lane->marker;
    if (run_job(s, op, apply_marker) != 0) {
        lane->marker_absent = s->certain;
        return LANE_STOPS;
    }
    lane->marker_acked = lane->marker;
    if (ledger_op_durability(op) == LEDGER_FULL)
        lane->marker_full = lane->marker;
    return LANE_GOES_ON;
}

static int choose(struct lane *lane, enum session_state state, bool rules_wait)
{
    int luck = rand_r(&lane->seed) % 100;
    if (rules_wait)
        return luck < 25 && state == SESSION_RUNNING ? STEP_EXEC
               : luck < 60                           ? SESSION_EVENT_PARK_STOP
               : luck < 80                           ? SESSION_EVENT_ARCHIVE
               : luck < 90                           ? STEP_DEATH
                                                     : SESSION_EVENT_DESTROY;
    switch (state) {
    case SESSION_RUNNING:
        return luck < 50   ? STEP_EXEC
               : luck < 56 ? SESSION_EVENT_PARK_STOP
               : luck < 64 ? SESSION_EVENT_PARK_FREEZE
               : luck < 76 ? SESSION_EVENT_INTERRUPT
               : luck < 80 ? SESSION_EVENT_ARCHIVE
               : luck < 86 ? STEP_DEATH
               : luck < 88 ? STEP_FILES
               : luck < 93 ? SESSION_EVENT_NETWORK
                           : SESSION_EVENT_DESTROY;
    case SESSION_PARKED:
        return luck < 70   ? SESSION_EVENT_RESUME
               : luck < 75 ? SESSION_EVENT_NETWORK
               : luck < 85 ? SESSION_EVENT_ARCHIVE
                           : SESSION_EVENT_DESTROY;
    case SESSION_FROZEN:
        return luck < 55   ? SESSION_EVENT_RESUME
               : luck < 60 ? SESSION_EVENT_NETWORK
               : luck < 75 ? SESSION_EVENT_PARK_STOP
               : luck < 85 ? SESSION_EVENT_ARCHIVE
                           : SESSION_EVENT_DESTROY;
    case SESSION_ARCHIVED:
        return SESSION_EVENT_DESTROY;
    default:
        return SESSION_EVENT_CREATE;
    }
}

/* The next step, or the one that a crash interrupted once more. */
int lane_step(struct lane *lane)
{
    struct step s;
    int r;
    if (lane->step > lane->acked) {
        lane->attempt++;
    } else {
        prepare_step(&s, lane, lane->step, 0);
        if (run_job(&s, LEDGER_OP_READ, apply_look) < 0)
            return LANE_STOPS;
        lane->kind =
            choose(lane, s.session.id ? s.session.state : SESSION_NONE, s.intent_count > 0);
        lane->attempt = 0;
        lane->step = lane->acked + 1;
    }
    prepare_step(&s, lane, lane->step, lane->kind);
    r = lane->kind == STEP_EXEC    ? step_exec(&s)
        : lane->kind == STEP_DEATH ? step_death(&s)
        : lane->kind == STEP_FILES ? (effect(lane, SESSION_EFFECT_FILES, 0), LANE_GOES_ON)
                                   : step_verb(&s);
    buf_fini(&s.body);
    if (r != LANE_GOES_ON)
        return r;
    lane->history[lane->step % HISTORY] = lane->kind;
    if (is_full(lane->kind))
        lane->acked_full = lane->step;
    lane->acked = lane->step;
    __atomic_fetch_add(&world->acked_total, 1, __ATOMIC_RELAXED);
    r = step_marker(&s);
    buf_fini(&s.body);
    return r;
}
