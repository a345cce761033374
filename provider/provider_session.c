/* This file takes a verb on a session from the client to its intent; what it does to the kernel is
 * in provider_effect.c, how it ends in provider_close.c. It never touches the kernel itself.
 *
 *     open (intent) → the seat's turn → effect → close (outcome and answer, one job) → told
 */
#include "provider/provider_internal.h"
#include "provider/spec_store.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* Beyond enum coordinator_outcome. */
enum { VERB_ACCEPT_LOSS = 100, VERB_VOLUME_SHARED, VERB_UNABLE };

static void verb_fini(struct call *call)
{
    struct verb *verb = (struct verb *)call;
    struct verb **at = &call->work.p->verbs;
    while (*at && *at != verb)
        at = &(*at)->next_verb;
    if (*at)
        *at = verb->next_verb;
    fd_close(verb->client_socket);
    buf_fini(&verb->spec);
    buf_fini(&verb->old_spec);
    free(verb->rules);
    buf_fini(&verb->dropped);
    buf_fini(&verb->replay);
    buf_fini(&verb->effective);
    buf_fini(&verb->answer);
    free(verb->labels_json);
}

struct verb *verb_of_intent(struct provider *p, int64_t intent)
{
    struct verb *verb = p->verbs;
    while (verb && (verb->ticket.intent != intent || intent == 0))
        verb = verb->next_verb;
    return verb;
}

/* ---- the document ---------------------------------------------------------------------------- */

int session_document(struct ledger_tx *tx, struct spec *scratch, const struct session_row *row,
                     const char *effective, bool brief, const struct endings *endings,
                     struct buf *out, struct err *err)
{
    const struct document_ending *ending = NULL;
    for (size_t i = 0; endings && i < endings->count; i++)
        ending = endings->of[i].row == row->id ? &endings->of[i] : ending;
    _cleanup_buf_ struct buf labels = {0}, blob = {0}, built = {0};
    int r = ledger_session_labels(tx, row->id, &labels, err);
    if (r == 0)
        r = ledger_session_spec(tx, row->id, &blob, err);
    if (r == 0)
        r = spec_store_read(buf_text(&blob), blob.length, scratch, err);
    bool lives = row->state == SESSION_RUNNING || row->state == SESSION_FROZEN;
    if (r == 0 && !brief && lives && !effective)
        r = ledger_incarnation_effective(tx, row->id, row->incarnation, &built, err);
    if (r > 0)
        return err_set(err, ERR_INTERNAL, 0, "read the ledger", row->session_id,
                       "A row that its session needs is not there.");
    if (r < 0)
        return r;
    if (!effective)
        effective = buf_text(&built);
    document_session(out, &(struct document_session){.ending = ending,
                                                     .row = row,
                                                     .labels_json = buf_text(&labels),
                                                     .spec = scratch,
                                                     .effective = lives ? effective : "",
                                                     .brief = brief});
    return 0;
}

/* ---- open ------------------------------------------------------------------------------------ */

/* What is lost with the sandbox must be given up by name. */
static int check_loss(struct ledger_tx *tx, const struct verb *verb, struct err *err)
{
    struct spec *spec = &verb->call.work.p->ledger_scratch;
    _cleanup_buf_ struct buf blob = {0};
    if (verb->accept_loss || verb->internal ||
        (verb->event != SESSION_EVENT_PARK_STOP && verb->event != SESSION_EVENT_ARCHIVE))
        return 0;
    int r = ledger_session_spec(tx, verb->ticket.session, &blob, err);
    if (r == 0)
        r = spec_store_read(buf_text(&blob), blob.length, spec, err);
    if (r != 0)
        return r;
    return spec->workspace.kind == SPEC_WORKSPACE_TMPFS ? VERB_ACCEPT_LOSS : 0;
}

/* Destroy with its volume: nobody else may name it. */
static int check_volume(struct ledger_tx *tx, struct verb *verb, struct err *err)
{
    if (verb->event != SESSION_EVENT_DESTROY || !verb->delete_volume || verb->ticket.intent == 0)
        return 0;
    int r = ledger_volume_of_session(tx, verb->ticket.session, &verb->volume_row, err);
    if (r == LEDGER_NOT_FOUND)
        return 0;
    if (r < 0)
        return r;
    verb->has_volume = true;
    r = ledger_volume_other(tx, verb->volume_row.id, verb->ticket.session, &verb->ticket.holder,
                            err);
    return r == 0 ? VERB_VOLUME_SHARED : r == LEDGER_NOT_FOUND ? 0 : r;
}

/* Destroy of a tombstone is answered in the transaction that finds it. */
static int answer_tombstone(struct ledger_tx *tx, struct verb *verb, struct err *err)
{
    struct session_row row;
    if (verb->event != SESSION_EVENT_DESTROY)
        return 0;
    int r = ledger_session_find(tx, verb->call.workspace_id, verb->call.session_id, &row, err);
    if (r == LEDGER_NOT_FOUND || (r == 0 && !session_is_over(row.state)))
        return 0;
    if (r < 0)
        return r;
    if (row.state != SESSION_DESTROYED)
        row.changed_ms = verb->request.now_ms;
    row.state = SESSION_DESTROYED;
    row.reason[0] = 0;
    r = session_document(tx, &verb->call.work.p->ledger_scratch, &row, "", false, NULL,
                         &verb->answer, err);
    buf_putc(&verb->answer, '\n');
    verb->request.answer_if_done = (struct coordinator_answer){
        .status = 200, .code = ERR_NONE, .body = {buf_text(&verb->answer), verb->answer.length}};
    return r;
}

/* WS-2: who has the volume. It is of the same workspace. */
static int name_holder(struct ledger_tx *tx, struct verb *verb, int outcome, struct err *err)
{
    int r = ledger_session_get(tx, verb->ticket.holder, &verb->row, err);
    return r < 0 ? r : outcome;
}

static int open_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct verb *verb = (struct verb *)work;
    buf_fini(&verb->replay);
    buf_fini(&verb->answer);
    verb->request.now_ms = now_ms();
    int r = answer_tombstone(tx, verb, err);
    if (r == 0 && verb->event == SESSION_EVENT_NETWORK)
        r = network_prepare(tx, verb, err);
    if (r == 0)
        r = coordinator_open(tx, &verb->request, &verb->ticket, &verb->replay_status, &verb->replay,
                             err);
    if (r == 0)
        r = verb->unable.code != ERR_NONE ? VERB_UNABLE : 0;
    if (r == 0)
        r = check_loss(tx, verb, err);
    if (r == 0)
        r = check_volume(tx, verb, err);
    if (r == COORDINATOR_VOLUME_BUSY || r == VERB_VOLUME_SHARED)
        return name_holder(tx, verb, r, err);
    if (r == 0)
        r = ledger_session_get(tx, verb->ticket.session, &verb->row, err);
    if (r == 0 && verb->event == SESSION_EVENT_RESUME && verb->ticket.intent != 0)
        r = ledger_session_spec(tx, verb->ticket.session, &verb->spec, err);
    if (r == 0 && verb->ticket.intent == 0)
        r = ledger_audit_add(tx, verb->call.workspace_id, verb->call.who, verb->call.what,
                             verb->call.session_id, "done", verb->request.now_ms, err);
    return r;
}

/* The words of an outcome that is a refusal. */
static void refuse_outcome(struct verb *verb, int outcome)
{
    struct call *call = &verb->call;
    struct document_problem more = {0};
    struct err err = {0};
    switch (outcome) {
    case COORDINATOR_MISMATCH:
        err_set(&err, ERR_IDEMPOTENCY_MISMATCH, 0, "Idempotency-Key", call->key.key,
                "It was used before with another request. Send a new key with a new request.");
        break;
    case COORDINATOR_IN_PROGRESS:
        err_set(&err, ERR_IN_PROGRESS, 0, session_event_name(verb->event), call->session_id,
                "Something is being done with this session. Ask again when it has ended.");
        more.retry_after_s = 1;
        break;
    case COORDINATOR_INVALID_STATE:
        session_refuse(verb->ticket.state, verb->event, call->session_id, &err);
        more.allowed = session_allowed(verb->ticket.state);
        break;
    case COORDINATOR_REVISION:
        err_set(&err, ERR_PRECONDITION_FAILED, 0, session_event_name(verb->event), call->session_id,
                "The revision of its network is %lld. Read what it is now, and ask again.",
                (long long)verb->ticket.revision);
        more.pointer = "/revision";
        break;
    case COORDINATOR_EXISTS:
        err_set(&err, ERR_SESSION_EXISTS, 0, "create", call->session_id,
                "There is a session of this name: it is %s. Use it, or destroy it first.",
                session_state_wire(verb->ticket.state));
        more.allowed = session_allowed(verb->ticket.state);
        break;
    case COORDINATOR_VOLUME_BUSY:
    case VERB_VOLUME_SHARED:
        err_set(&err, ERR_WORKSPACE_IN_USE, 0, session_event_name(verb->event),
                verb->event == SESSION_EVENT_CREATE ? verb->volume : call->session_id,
                "Its volume is used by the session %s. %s that one first.", verb->row.session_id,
                outcome == COORDINATOR_VOLUME_BUSY ? "Park or destroy" : "Destroy");
        break;
    case VERB_ACCEPT_LOSS:
        err_set(&err, ERR_INVALID_REQUEST, 0, session_event_name(verb->event), call->session_id,
                "Its workspace is in memory and would be lost. Say accept_loss: true "
                "(--accept-loss) if that is meant.");
        more.pointer = "/accept_loss";
        break;
    case VERB_UNABLE:
        err = verb->unable;
        break;
    case COORDINATOR_NOT_FOUND:
        no_session(call, &err);
        break;
    default:
        err_set(&err, ERR_INTERNAL, 0, session_event_name(verb->event), call->session_id,
                "Outcome %d.", outcome);
    }
    call_refuse(call, &err, &more);
}

static void opened(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    struct call *call = &verb->call;
    int r = work->job.result;
    if (r < 0) {
        /* When even that is not certain, an intent may stand there: the rows decide. */
        if (!work->job.certain && verb->ticket.session)
            session_rescue_later(work->p, verb->ticket.session);
        call_fail(call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
        call_free(call);
        return;
    }
    if (r == COORDINATOR_REPLAY) {
        call_replay(call, verb->replay_status, &verb->replay);
        call_free(call);
        return;
    }
    if (r == COORDINATOR_JOIN) {
        struct verb *first = verb_of_intent(work->p, verb->ticket.intent);
        if (first && first->call.answered) {
            struct buf copy = {0};
            buf_add(&copy, buf_text(&first->answer), first->answer.length);
            call_answer_stored(call, first->answer_status, &copy);
            return;
        }
        if (first) {
            verb->next_verb = first->joiners;
            first->joiners = verb;
            work_rest(work, true);
            return;
        }
        work_again(work, verb_begin); /* recovery is at it: ask again until it is over */
        return;
    }
    if (r > 0) {
        refuse_outcome(verb, r);
        return;
    }
    provider_committed(work->p, call->workspace_id, call->session_id);
    if (verb->ticket.intent == 0) {
        call_answer(call, 200, &verb->answer);
        call_free(call);
        return;
    }
    verb->next_verb = work->p->verbs;
    work->p->verbs = verb;
    verb->seat = seat_get(work->p, &verb->row);
    if (!verb->seat) { /* the intent stands: the rows decide */
        session_rescue(work->p, verb->row.id);
        struct err err;
        err_set(&err, ERR_UNAVAILABLE, ENOMEM, session_event_name(verb->event), call->session_id,
                "Out of memory.");
        call_fail(call, &err, NULL);
        call_free(call);
        return;
    }
    if (verb->ticket.effect == SESSION_EFFECT_KILL_EXECS) /* interrupts go together */
        verb_effect(work);
    else
        seat_take(verb->seat, work, verb_effect);
}

void verb_begin(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    struct call *call = &verb->call;
    verb->request.workspace_id = call->workspace_id;
    verb->request.session_id = call->session_id;
    verb->request.verb = verb->event;
    verb->request.reason = verb->reason;
    verb->request.key = call->key_texts ? &call->key : NULL;
    work_job(work,
             verb->event == SESSION_EVENT_NETWORK ? LEDGER_OP_VERB_NETWORK : LEDGER_OP_VERB_OPEN,
             open_apply, opened);
}

/* ---- the calls ------------------------------------------------------------------------------- */

static void begin_create(struct call *call)
{
    struct verb *verb = (struct verb *)call;
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, &call->problem);
    else
        verb_begin(&verb->call.work);
}

/* 400, then 422; nothing was touched. Fills the verb, or its refusal. */
static void prepare_create(struct provider *p, struct verb *verb,
                           const struct provider_create *create)
{
    struct call *call = &verb->call;
    struct spec *spec = &p->scratch;
    spec_copy(spec, create->spec);
    snprintf(verb->owner, sizeof verb->owner, "%s", create->owner ? create->owner : "");
    int r = call_check_ids(call, false, &call->refusal);
    if (r == 0 && verb->owner[0] && !id_valid(verb->owner))
        r = err_set(&call->refusal, ERR_INVALID_REQUEST, 0, "read the request", "owner",
                    "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
    if (r == 0)
        r = spec_check(spec, &call->refusal);
    if (r == 0 && (strcmp(spec->workspace_id, call->workspace_id) != 0 ||
                   strcmp(spec->session_id, call->session_id) != 0))
        r = err_set(&call->refusal, ERR_INTERNAL, 0, "read the request", "session_id",
                    "The spec names another session than the request.");
    if (r == 0 && spec->workspace.kind == SPEC_WORKSPACE_TMPFS && create->idle_after_ms > 0 &&
        !create->idle_destroys && !create->accept_loss) {
        call->problem.pointer = "/accept_loss";
        r = err_set(&call->refusal, ERR_INVALID_REQUEST, 0, "read the request", "idle",
                    "Its workspace is in memory and would be lost when it is parked. Say "
                    "accept_loss: true if that is meant.");
    }
    if (r < 0)
        return;
    capability_drop_defaults(spec, p->options.capabilities, &verb->dropped);
    if (capability_check(spec, p->options.capabilities, &call->missing, &call->refusal) < 0) {
        call->problem.missing = &call->missing;
        return;
    }
    spec_hash(spec, verb->spec_hash);
    spec_store_write(spec, &verb->spec);
    if (spec->workspace.kind == SPEC_WORKSPACE_VOLUME)
        snprintf(verb->volume, sizeof verb->volume, "%s", spec->workspace.volume);
    verb->volume_read_only = spec->workspace.read_only;
    verb->labels_json =
        strdup(create->labels_json && create->labels_json[0] ? create->labels_json : "{}");
    verb->idle_action = create->idle_after_ms == 0 ? 0
                        : create->idle_destroys    ? TIMER_IDLE_DESTROY
                                                   : TIMER_IDLE_PARK;
    verb->request.owner = verb->owner;
    verb->request.labels_json = verb->labels_json;
    verb->request.policy = call->work.policy;
    verb->request.spec_hash = verb->spec_hash;
    verb->request.spec = (struct ledger_blob){buf_text(&verb->spec), verb->spec.length};
    verb->request.volume = verb->volume[0] ? verb->volume : NULL;
    verb->request.volume_read_only = verb->volume_read_only;
    verb->request.ttl_ms =
        (int64_t)(create->ttl_ms < INT64_MAX / 4 ? create->ttl_ms : INT64_MAX / 4);
    verb->request.idle_after_ms =
        (int64_t)(create->idle_after_ms < INT64_MAX / 4 ? create->idle_after_ms : INT64_MAX / 4);
    verb->request.idle_action = verb->idle_action;
    if (!verb->labels_json || buf_failed(&verb->spec) || buf_failed(&verb->dropped))
        err_set(&call->refusal, ERR_UNAVAILABLE, ENOMEM, "read the request", NULL,
                "Out of memory.");
}

/* The client's socket goes to the launcher, which asks the kernel who he is (P-7). */
static void keep_socket(struct verb *verb, int fd)
{
    verb->client_socket = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (fd >= 0 && verb->client_socket < 0)
        err_set(&verb->call.refusal, ERR_UNAVAILABLE, errno, "keep the connection", NULL, NULL);
}

void provider_session_create(struct provider *p, const struct provider_call *from,
                             const struct provider_create *create)
{
    struct verb *verb = call_new(p, from, sizeof *verb, "create", begin_create, verb_fini);
    if (!verb)
        return;
    verb->event = SESSION_EVENT_CREATE;
    prepare_create(p, verb, create);
    keep_socket(verb, create->client_socket);
}

struct verb *verb_new(struct provider *p, const struct provider_call *from,
                      enum session_event event, void (*begin)(struct call *call))
{
    struct verb *verb =
        call_new(p, from, sizeof *verb, session_event_name(event), begin, verb_fini);
    if (!verb)
        return NULL;
    verb->event = event;
    verb->client_socket = -1;
    return verb;
}

void provider_session_verb(struct provider *p, const struct provider_call *from,
                           const struct provider_verb *what)
{
    struct verb *verb =
        call_new(p, from, sizeof *verb, session_event_name(what->verb), begin_create, verb_fini);
    if (!verb)
        return;
    verb->event = what->verb;
    verb->accept_loss = what->accept_loss;
    verb->delete_volume = what->delete_volume;
    /* The one word that recovery must find again: see provider_recover.c. */
    snprintf(verb->reason, sizeof verb->reason, "%s",
             what->verb == SESSION_EVENT_DESTROY && what->delete_volume ? "delete_volume"
             : what->reason                                             ? what->reason
                                                                        : "");
    call_check_ids(&verb->call, false, &verb->call.refusal);
    if (session_event_kind(what->verb) != SESSION_VERB || what->verb == SESSION_EVENT_CREATE ||
        what->verb == SESSION_EVENT_NETWORK)
        err_set(&verb->call.refusal, ERR_INTERNAL, 0, "read the request", NULL,
                "This is no verb on a session.");
    if (what->reason && strlen(what->reason) >= sizeof verb->reason)
        err_set(&verb->call.refusal, ERR_INVALID_REQUEST, 0, "read the request", "reason",
                "At most %zu bytes.", sizeof verb->reason - 1);
    keep_socket(verb, what->verb == SESSION_EVENT_RESUME ? what->client_socket : -1);
}

void verb_internal(struct provider *p, const char *workspace_id, const char *session_id,
                   enum session_event event, const char *reason,
                   void (*reply)(void *data, struct provider_reply *reply), void *data)
{
    struct provider_call from = {.workspace_id = workspace_id,
                                 .session_id = session_id,
                                 .who = "berth",
                                 .reply = reply,
                                 .data = data};
    struct verb *verb =
        call_new(p, &from, sizeof *verb, session_event_name(event), begin_create, verb_fini);
    if (!verb)
        return;
    verb->event = event;
    verb->internal = true;
    verb->client_socket = -1;
    snprintf(verb->reason, sizeof verb->reason, "%s", reason);
}

struct verb *verb_for_recovery(struct provider *p, const struct session_row *row,
                               const struct coordinator_ticket *ticket, const char *reason)
{
    struct verb *verb = calloc(1, sizeof *verb);
    if (!verb)
        return NULL;
    struct call *call = &verb->call;
    snprintf(call->workspace_id, sizeof call->workspace_id, "%s", row->workspace_id);
    snprintf(call->session_id, sizeof call->session_id, "%s", row->session_id);
    snprintf(call->who, sizeof call->who, "berth");
    snprintf(call->what, sizeof call->what, "%s", session_event_name(ticket->verb));
    call->fini = verb_fini;
    call_begin_work(call, p);
    verb->event = ticket->verb;
    verb->internal = true;
    verb->client_socket = -1;
    verb->ticket = *ticket;
    verb->row = *row;
    snprintf(verb->reason, sizeof verb->reason, "%s", reason);
    verb->next_verb = p->verbs;
    p->verbs = verb;
    return verb;
}
