/* This file replaces the rules of a session's network while it lives (NET-6); it never decides what
 * they mean.
 *
 *     open: the new spec and its revision stand in the verb's row
 *     effect: the launcher is asked until it says that they are in force, as this revision
 *     close: they stand in the session's row; who asked is told
 *
 * A port more is the same, made of what stands in the session's row by then.
 *
 * A launcher that refuses is asked for the rules of before, as a revision of their own: what it did
 * of the new ones is not known, and numbers only rise. One that cannot be reached leaves the verb's
 * row where it is, and recovery asks again, until it has an answer or the session is parked,
 * archived or destroyed. A session that does not live has no effect: the row is what its next start
 * is made from.
 */
#include "policy/policy.h"
#include "provider/provider_internal.h"
#include "provider/spec_store.h"

#include <errno.h>
#include <stdlib.h>

enum { NETWORK_TRIES = 7 }; /* some 2.5 s: who destroys it meanwhile waits so long */

/* ---- what is asked for ----------------------------------------------------------------------- */

static void begin(struct call *call)
{
    struct verb *verb = (struct verb *)call;
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, &call->problem);
    else
        verb_begin(&verb->call.work);
}

/* CAP-2, of the rules alone: what else the session is was looked at when it was made. */
static int check_rules(struct provider *p, struct verb *verb)
{
    struct call *call = &verb->call;
    capability_part(&p->scratch);
    p->scratch.network = *verb->rules;
    int r = capability_check(&p->scratch, p->options.capabilities, &call->missing, &call->refusal);
    if (r < 0)
        call->problem.missing = &call->missing;
    return r;
}

void provider_session_network(struct provider *p, const struct provider_call *from,
                              const struct provider_network *what)
{
    struct verb *verb = verb_new(p, from, SESSION_EVENT_NETWORK, begin);
    if (!verb)
        return;
    struct call *call = &verb->call;
    verb->request.revision = (int64_t)(what->revision < INT64_MAX ? what->revision : INT64_MAX);
    verb->rules = malloc(sizeof *verb->rules);
    if (!verb->rules) {
        err_set(&call->refusal, ERR_UNAVAILABLE, ENOMEM, "read the request", NULL,
                "Out of memory.");
        return;
    }
    *verb->rules = *what->network;
    if (call_check_ids(call, false, &call->refusal) == 0)
        check_rules(p, verb);
}

void provider_session_publish(struct provider *p, const struct provider_call *from,
                              const struct spec_publish *port)
{
    struct verb *verb = verb_new(p, from, SESSION_EVENT_NETWORK, begin);
    if (!verb)
        return;
    struct call *call = &verb->call;
    verb->rules = malloc(sizeof *verb->rules);
    if (!verb->rules) {
        err_set(&call->refusal, ERR_UNAVAILABLE, ENOMEM, "read the request", NULL,
                "Out of memory.");
        return;
    }
    spec_init(&p->scratch);
    *verb->rules = p->scratch.network;
    verb->rules->publish[verb->rules->publish_count++] = *port;
    verb->adds = true;
    if (call_check_ids(call, false, &call->refusal) == 0)
        check_rules(p, verb);
}

/* ---- in the ledger's transactions ------------------------------------------------------------ */

static int print_answer(const struct buf *stored, struct spec *scratch, int64_t revision,
                        uint32_t cut, struct buf *out, struct err *err)
{
    int r = spec_store_read(buf_text(stored), stored->length, scratch, err);
    if (r < 0)
        return r;
    buf_printf(out, "{\"revision\":%lld,\"network\":", (long long)revision);
    policy_print_network(&scratch->network, out);
    buf_printf(out, ",\"connections_cut\":%u}\n", cut);
    return 0;
}

int network_answer(struct verb *verb, struct spec *scratch, int64_t revision, struct err *err)
{
    return print_answer(&verb->spec, scratch, revision, verb->cut, &verb->answer, err);
}

int network_settle(struct ledger_tx *tx, struct verb *verb, struct err *err)
{
    _cleanup_buf_ struct buf spec = {0}, answer = {0};
    int64_t revision = 0;
    int r = coordinator_settled_spec(tx, &verb->ticket, &spec, &revision, err);
    if (r != 0)
        return r == COORDINATOR_STALE ? 0 : r;
    r = print_answer(&spec, &verb->call.work.p->ledger_scratch, revision, 0, &answer, err);
    if (r == 0 && buf_failed(&answer))
        r = err_set(err, ERR_UNAVAILABLE, ENOMEM, "write the answer", NULL, "Out of memory.");
    const struct coordinator_answer kept = {
        .status = 200, .code = ERR_NONE, .body = {buf_text(&answer), answer.length}};
    if (r == 0)
        r = coordinator_settle(tx, &verb->ticket, &kept, verb->end.now_ms, err);
    if (r == 0)
        r = ledger_audit_add(tx, verb->call.workspace_id, "berth", "network", verb->call.session_id,
                             "settled", verb->end.now_ms, err);
    return r;
}

/* One that is there already is no second one; any that is free is. */
static void add_port(struct spec_network *net, const struct spec_publish *port, struct err *ret)
{
    char subject[24];
    snprintf(subject, sizeof subject, "127.0.0.1:%u", port->host_port);
    for (unsigned i = 0; i < net->publish_count && port->host_port; i++) {
        if (net->publish[i].host_port != port->host_port)
            continue;
        if (net->publish[i].port != port->port)
            err_set(ret, ERR_PORT_IN_USE, 0, "publish a port", subject,
                    "This session has it, for port %u. Publish at another one; 0 is any that is "
                    "free.",
                    net->publish[i].port);
        return;
    }
    if (net->publish_count == SPEC_PUBLISH_MAX)
        err_set(ret, ERR_INVALID_REQUEST, 0, "publish a port", subject,
                "A session has %d published ports at most.", SPEC_PUBLISH_MAX);
    else
        net->publish[net->publish_count++] = *port;
}

int network_prepare(struct ledger_tx *tx, struct verb *verb, struct err *err)
{
    struct spec *spec = &verb->call.work.p->ledger_scratch;
    _cleanup_buf_ struct buf blob = {0};
    struct session_row row;
    buf_fini(&verb->spec);
    verb->request.spec = (struct ledger_blob){"", 0};
    verb->request.spec_hash = verb->spec_hash;
    int r = ledger_session_find(tx, verb->call.workspace_id, verb->call.session_id, &row, err);
    if (r != 0 || session_is_over(row.state))
        return r < 0 ? r : 0; /* coordinator_open() says so */
    r = ledger_session_spec(tx, row.id, &blob, err);
    if (r == 0)
        r = spec_store_read(buf_text(&blob), blob.length, spec, err);
    if (r != 0)
        return r;
    verb->unable = (struct err){0};
    if (verb->adds)
        add_port(&spec->network, &verb->rules->publish[0], &verb->unable);
    else
        spec->network = *verb->rules;
    r = spec_check(spec, err);
    if (r < 0)
        return r;
    spec_hash(spec, verb->spec_hash);
    spec_store_write(spec, &verb->spec);
    r = network_answer(verb, spec, row.network_revision + 1, err);
    if (r == 0 && (buf_failed(&verb->spec) || buf_failed(&verb->answer)))
        r = err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the request", NULL, "Out of memory.");
    verb->request.spec = (struct ledger_blob){buf_text(&verb->spec), verb->spec.length};
    verb->request.answer_if_done = (struct coordinator_answer){
        .status = 200, .code = ERR_NONE, .body = {buf_text(&verb->answer), verb->answer.length}};
    return r;
}

/* The verb ends without its rules: those of before are in force, as the revision behind. */
int network_given_up(struct ledger_tx *tx, const struct verb *verb, struct err *err)
{
    int r = ledger_session_revision(tx, verb->ticket.session, verb->ticket.revision + 1, err);
    return r < 0 ? r : 0;
}

/* ---- the effect ------------------------------------------------------------------------------ */

static void cannot_now(struct verb *verb)
{
    session_rescue_later(verb->call.work.p, verb->ticket.session);
    /* A refusal that could not be ended is none yet: its rules may still become the session's. */
    if (verb->failed)
        verb->failure.code = ERR_UNAVAILABLE;
    if (!verb->call.answered)
        call_fail(&verb->call, &verb->failure, &(struct document_problem){.retry_after_s = 1});
    verb_end(verb);
}

static void on_replaced(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct verb *verb = data;
    struct work *work = &verb->call.work;
    struct err why;
    int r = launcher_result(reply, err, &why);
    if (r < 0 && !verb->failed)
        verb->failure = why;
    if (launcher_lost(reply)) {
        work_again(work, verb_effect);
    } else if (r < 0 && (why.sys == EACCES || why.sys == EPERM) && why.code == ERR_UNAVAILABLE) {
        /* This launcher cannot enter its network, now and later: nothing was done. */
        err_set(&verb->failure, ERR_FORBIDDEN, why.sys, "replace the rules of a network",
                verb->call.session_id,
                "berth may not enter the network of this session while it runs. Park it, ask "
                "again, and resume it.");
        verb->failed = true;
        verb_give_up(verb);
    } else if (r < 0 && why.code == ERR_UNAVAILABLE) {
        if (work->tries < NETWORK_TRIES)
            work_again(work, verb_effect);
        else
            cannot_now(verb);
    } else if (r < 0 && why.code == ERR_INVALID_STATE) {
        /* Its init is dead, and the row does not say so yet: no answer that is kept (IDEM-3). */
        verb->failure.code = ERR_UNAVAILABLE;
        verb->failed = true;
        session_rescue(work->p, verb->ticket.session);
        verb_give_up(verb);
    } else if (verb->failed) {
        verb_give_up(verb);
    } else if (r < 0) {
        verb->failed = true;
        work->tries = 0;
        verb_effect(work);
    } else {
        verb->cut = reply->network.cut;
        snprintf(verb->event_json, sizeof verb->event_json, "{\"network_revision\": %lld}",
                 (long long)verb->ticket.revision);
        verb->end.event_json = verb->event_json;
        verb_succeed(verb, SESSION_EVENT_NETWORK_CHANGED);
    }
}

static void ask(struct verb *verb, const struct buf *stored)
{
    struct provider *p = verb->call.work.p;
    struct err err = {0};
    _cleanup_fd_ int memfd = -1;
    struct launcher_request request =
        launcher_request_for(p, LAUNCHER_NETWORK, verb->ticket.session, verb->row.incarnation);
    request.generation = (uint64_t)verb->ticket.revision + verb->failed;
    int r = spec_store_read(buf_text(stored), stored->length, &p->scratch, &err);
    if (r == 0)
        r = sealed_memfd("berth-network", &p->scratch.network, sizeof p->scratch.network, &memfd,
                         &err);
    if (r == 0)
        r = provider_ask(p, &request, &memfd, 1, on_replaced, verb, &err);
    if (r < 0) {
        if (!verb->failed)
            verb->failure = err;
        work_again(&verb->call.work, verb_effect);
    }
}

static int spec_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct verb *verb = (struct verb *)work;
    buf_fini(&verb->old_spec);
    if (verb->failed)
        return ledger_session_spec(tx, verb->ticket.session, &verb->old_spec, err);
    return coordinator_spec(tx, &verb->ticket, &verb->spec, err);
}

static void spec_known(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    if (work->job.result < 0) {
        work_again(work, verb_effect);
    } else if (work->job.result > 0) { /* another verb took its place: closing says so */
        verb_give_up(verb);
    } else {
        ask(verb, verb->failed ? &verb->old_spec : &verb->spec);
    }
}

void network_effect(struct verb *verb)
{
    if (verb->failed || verb->spec.length == 0)
        work_job(&verb->call.work, LEDGER_OP_READ, spec_apply, spec_known);
    else
        ask(verb, &verb->spec);
}
