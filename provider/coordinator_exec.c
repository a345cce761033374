/* This file writes what belongs to one step of a command, in one transaction; it never has a side
 * effect.
 */
#include "provider/coordinator_internal.h"
#include "runtime/base/units.h"

#include <stdio.h>
#include <string.h>

static int count_exec(struct ledger_tx *tx, int64_t session, int64_t now_ms, struct err *err)
{
    struct usage_row usage;
    int r = ledger_usage_get(tx, session, &usage, err);
    if (r != 0)
        return r;
    usage_advance(&usage, now_ms, usage.raw_running);
    usage.exec_count++;
    return ledger_usage_put(tx, &usage, err);
}

/* 0 and the session, or why it takes no command now. */
static int admit(struct ledger_tx *tx, const struct coordinator_exec *request,
                 struct session_row *ret, enum session_state *ret_state, struct err *err)
{
    int64_t intent = 0;
    int r = ledger_session_find(tx, request->workspace_id, request->session_id, ret, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_NOT_FOUND;
    if (r < 0)
        return r;
    *ret_state = ret->state;
    if (!session_transition(ret->state, SESSION_EVENT_EXEC)->allowed)
        return COORDINATOR_INVALID_STATE;
    r = coordinator_in_the_way(tx, ret->id, SESSION_EVENT_EXEC, &intent, err);
    return r == 0 && intent != 0 ? COORDINATOR_IN_PROGRESS : r;
}

static int store_answer(struct ledger_tx *tx, const struct coordinator_exec *request,
                        int64_t *ret_key, struct err *err)
{
    if (!request->key)
        return 0;
    int r = idempotency_take(tx, request->key, request->now_ms, ret_key, err);
    if (r == 0)
        r = idempotency_answer(tx, *ret_key, request->answer.status, request->answer.code,
                               request->answer.body, err);
    return r;
}

int coordinator_exec_accept(struct ledger_tx *tx, const struct coordinator_exec *request,
                            struct exec_row *ret, enum session_state *ret_state,
                            int64_t *ret_status, struct buf *ret_body, struct err *err)
{
    struct session_row session;
    memset(ret, 0, sizeof *ret);
    if (!id_valid(request->workspace_id) || !id_valid(request->session_id) ||
        !id_valid(request->exec_id))
        return err_set(err, ERR_INVALID_REQUEST, 0, "exec_id", NULL,
                       "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
    int r = coordinator_look_key(tx, request->key, request->now_ms, ret_status, ret_body, err);
    if (r == 0)
        r = admit(tx, request, &session, ret_state, err);
    if (r == 0)
        r = store_answer(tx, request, &ret->idempotency, err);
    if (r != 0)
        return r;
    ret->session = session.id;
    ret->incarnation = session.incarnation;
    ret->accepted_ms = request->now_ms;
    ret->keep_children = request->keep_children;
    snprintf(ret->exec_id, sizeof ret->exec_id, "%s", request->exec_id);
    r = ledger_exec_insert(tx, ret, request->command, err);
    if (r == LEDGER_CONFLICT)
        return COORDINATOR_EXEC_EXISTS;
    if (r == 0)
        r = coordinator_idle(tx, &session, false, request->now_ms, err);
    if (r == 0 && request->deadline_boot_ms > 0)
        r = ledger_timer_set(tx,
                             &(struct timer_row){.session = session.id,
                                                 .exec = ret->id,
                                                 .kind = TIMER_EXEC_DEADLINE,
                                                 .clock = TIMER_BOOT,
                                                 .due_ms = request->deadline_boot_ms},
                             err);
    if (r == 0)
        r = count_exec(tx, session.id, request->now_ms, err);
    return r;
}

int coordinator_idle_anew(struct ledger_tx *tx, int64_t session, int64_t now_ms, struct err *err)
{
    struct session_row row;
    int r = ledger_session_get(tx, session, &row, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_NOT_FOUND;
    if (r < 0 || row.state != SESSION_RUNNING || row.running_execs > 0)
        return r;
    return coordinator_idle(tx, &row, true, now_ms, err);
}

int coordinator_exec_running(struct ledger_tx *tx, int64_t exec, int64_t now_ms, struct err *err)
{
    struct exec_row row;
    char data[128];
    int r = ledger_exec_get(tx, exec, &row, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_NOT_FOUND;
    if (r == 0)
        r = ledger_exec_started(tx, exec, now_ms, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_STALE;
    if (r < 0)
        return r;
    snprintf(data, sizeof data, "{\"exec_id\": \"%s\"}", row.exec_id);
    return ledger_event_add(tx, row.session, "exec.started", data, now_ms, NULL, err);
}

/* Where there is a cgroup it is sampled, and has counted this command too. */
static int count_used(struct ledger_tx *tx, const struct exec_row *before,
                      const struct exec_row *row, struct err *err)
{
    struct incarnation_row built;
    struct usage_row usage;
    if (row->cpu_ms <= 0 && row->max_rss_bytes <= 0)
        return 0;
    int r = ledger_incarnation_get(tx, before->session, before->incarnation, &built, err);
    if (r == 0 && built.cgroup_inode != 0)
        return 0;
    if (r == 0)
        r = ledger_usage_get(tx, before->session, &usage, err);
    if (r != 0)
        return r < 0 ? r : 0;
    usage_add_exec(&usage, row->cpu_ms, row->max_rss_bytes);
    return ledger_usage_put(tx, &usage, err);
}

int coordinator_exec_end(struct ledger_tx *tx, const struct exec_row *row, const char *event_json,
                         struct err *err)
{
    struct exec_row before;
    struct session_row session;
    int r = ledger_exec_get(tx, row->id, &before, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_NOT_FOUND;
    if (r == 0)
        r = ledger_exec_ended(tx, row, err);
    if (r == LEDGER_NOT_FOUND)
        return COORDINATOR_STALE;
    if (r == 0)
        r = ledger_event_add(tx, before.session, "exec.ended", event_json, row->ended_ms, NULL,
                             err);
    if (r == 0)
        r = count_used(tx, &before, row, err);
    /* IDEM-4: it never ran, so a retry may. */
    if (r == 0 && strcmp(row->reason, "not_started") == 0 && before.idempotency != 0)
        r = ledger_key_release(tx, before.idempotency, err);
    if (r == 0)
        r = ledger_session_get(tx, before.session, &session, err);
    if (r == 0 && session.state == SESSION_RUNNING && session.running_execs == 0)
        r = coordinator_idle(tx, &session, true, row->ended_ms, err);
    return r;
}
