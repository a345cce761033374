/* This file is what the coordinator does about other rules that nobody could put in force yet while
 * the session is to be parked or archived: their intent stays open until that has ended, and is
 * settled in the transaction that writes so. It never has a side effect and never reads a clock.
 *
 * Why not before: until its end is proven the session runs with the rules of before, or with those
 * of a launcher that was not heard any more. Why not dropped: whoever asked was told that it is not
 * known; a session that does not run takes rules from its row, so now it is.
 */
#include "provider/coordinator_internal.h"
#include "runtime/base/buf.h"

#include <stdio.h>

static int expect(int r, const char *what, struct err *err)
{
    if (r <= 0)
        return r;
    return err_set(err, ERR_INTERNAL, 0, "write the ledger", what,
                   "A row is there twice or not at all (%d). This is a defect of berth.", r);
}

bool coordinator_settles(enum session_event verb)
{
    return verb == SESSION_EVENT_PARK_STOP || verb == SESSION_EVENT_ARCHIVE;
}

int coordinator_rules_waiting(struct ledger_tx *tx, int64_t session, int64_t *ret_intent,
                              struct err *err)
{
    struct intent_row rows[INTENTS_MAX];
    size_t count = 0;
    *ret_intent = 0;
    int r = ledger_intent_list(tx, session, rows, INTENTS_MAX, &count, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        if (rows[i].verb == SESSION_EVENT_NETWORK)
            *ret_intent = rows[i].id;
    return r;
}

int coordinator_take_rules(struct ledger_tx *tx, const struct intent_row *intent, struct err *err)
{
    _cleanup_buf_ struct buf spec = {0};
    char hash[65];
    int r = expect(ledger_intent_spec(tx, intent->id, &spec, hash, err), "intents", err);
    if (r == 0)
        r = expect(ledger_session_network(tx, intent->session,
                                          (struct ledger_blob){buf_text(&spec), spec.length}, hash,
                                          intent->floor, err),
                   "sessions", err);
    return r;
}

enum ledger_op coordinator_end_op(const struct coordinator_ticket *ticket,
                                  enum session_event outcome)
{
    return ticket->rules ? LEDGER_OP_VERB_CLOSE_FULL : coordinator_close_op(outcome);
}

int coordinator_settled_spec(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                             struct buf *ret_spec, int64_t *ret_revision, struct err *err)
{
    struct intent_row intent;
    char hash[65];
    int r = ticket->rules ? ledger_intent_get(tx, ticket->rules, &intent, err) : LEDGER_NOT_FOUND;
    if (r == 0)
        r = ledger_intent_spec(tx, ticket->rules, ret_spec, hash, err);
    if (r == 0)
        *ret_revision = intent.floor;
    return r == LEDGER_NOT_FOUND ? COORDINATOR_STALE : r;
}

int coordinator_settle(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                       const struct coordinator_answer *answer, int64_t now_ms, struct err *err)
{
    struct intent_row intent;
    char data[64];
    int r = ticket->rules ? ledger_intent_get(tx, ticket->rules, &intent, err) : LEDGER_NOT_FOUND;
    if (r != 0)
        return r == LEDGER_NOT_FOUND ? 0 : r;
    if (!ledger_tx_is_full(tx))
        return err_set(err, ERR_INTERNAL, 0, "write the ledger", session_event_name(intent.verb),
                       "This outcome must survive power loss. This is a defect of berth.");
    r = coordinator_take_rules(tx, &intent, err);
    snprintf(data, sizeof data, "{\"network_revision\": %lld}", (long long)intent.floor);
    if (r == 0)
        r = ledger_event_add(tx, intent.session, "policy.changed", data, now_ms, NULL, err);
    if (r == 0)
        r = expect(idempotency_answer(tx, intent.idempotency, answer->status, answer->code,
                                      answer->body, err),
                   "idempotency", err);
    return r == 0 ? expect(ledger_intent_delete(tx, intent.id, err), "intents", err) : r;
}
