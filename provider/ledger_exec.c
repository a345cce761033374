/* This file reads and writes commands and events; it never decides how a command ended. */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"

#include <errno.h>
#include <string.h>

/* ---- execs
 * --------------------------------------------------------------------------------------*/

static int read_exec(struct ledger_tx *tx, sqlite3_stmt *s, struct exec_row *ret, struct err *err)
{
    memset(ret, 0, sizeof *ret);
    ret->id = ledger_int(s, 0);
    ret->session = ledger_int(s, 1);
    ret->incarnation = ledger_int(s, 2);
    ledger_text(tx, s, 3, ret->exec_id, sizeof ret->exec_id);
    ret->ord = ledger_int(s, 4);
    ret->state = (enum exec_state)ledger_int(s, 5);
    ledger_text(tx, s, 6, ret->reason, sizeof ret->reason);
    ret->exit_code = ledger_int(s, 7);
    ret->signal = ledger_int(s, 8);
    ret->accepted_ms = ledger_int(s, 9);
    ret->started_ms = ledger_int(s, 10);
    ret->ended_ms = ledger_int(s, 11);
    ret->cpu_ms = ledger_int(s, 12);
    ret->max_rss_bytes = ledger_int(s, 13);
    ret->output_bytes = ledger_int(s, 14);
    ret->oom_kills = ledger_int(s, 15);
    ret->output_truncated = ledger_int(s, 16) != 0;
    ret->keep_children = ledger_int(s, 17) != 0;
    ret->idempotency = ledger_int(s, 18);
    ledger_text(tx, s, 19, ret->failed_step, sizeof ret->failed_step);
    ret->failed_errno = ledger_int(s, 20);
    ret->network_denied = ledger_int(s, 21);
    ret->events_after = ledger_int(s, 22);
    return ledger_readable(tx, err);
}

int ledger_exec_insert(struct ledger_tx *tx, struct exec_row *row, const char *command,
                       struct err *err)
{
    int64_t ord = 0;
    int r = ledger_fits(row->exec_id, LEDGER_ID_SIZE, "exec_id", err);
    if (r == 0)
        r = ledger_number(tx, SQL_SESSION_EXEC_ORDER, VALUES(V_INT(row->session)), &ord, err);
    if (r == 0)
        r = ledger_do(tx, SQL_EXEC_INSERT,
                      VALUES(V_INT(row->session), V_INT(row->incarnation), V_TEXT(row->exec_id),
                             V_INT(ord), V_TEXT(command), V_INT(row->accepted_ms),
                             V_INT(row->keep_children), V_INT(row->idempotency)),
                      NULL, err);
    if (r != 0)
        return r;
    row->id = sqlite3_last_insert_rowid(tx->db->handle);
    row->ord = ord;
    row->state = EXEC_ACCEPTED;
    return 0;
}

static int one_exec(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                    size_t count, struct exec_row *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, statement, values, count, &s, err);
    return r == 0 ? read_exec(tx, s, ret, err) : r;
}

int ledger_exec_find(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                     const char *exec_id, struct exec_row *ret, struct err *err)
{
    struct session_row session;
    int r = tx->policy ? ledger_session_find(tx, workspace_id, session_id, &session, err) : 0;
    if (r != 0)
        return r;
    return one_exec(tx, SQL_EXEC_FIND,
                    VALUES(V_TEXT(workspace_id), V_TEXT(session_id), V_TEXT(exec_id)), ret, err);
}

int ledger_exec_get(struct ledger_tx *tx, int64_t exec, struct exec_row *ret, struct err *err)
{
    return one_exec(tx, SQL_EXEC_GET, VALUES(V_INT(exec)), ret, err);
}

int ledger_exec_page(struct ledger_tx *tx, int64_t session, int64_t after, enum exec_page which,
                     struct exec_row *ret, size_t max, size_t *ret_count, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, SQL_EXEC_PAGE,
                         VALUES(V_INT(session), V_INT(after), V_INT(which), V_INT(max)), &s, err);
    while (r == 0 && n < max) {
        r = read_exec(tx, s, &ret[n], err);
        if (r == 0) {
            n++;
            r = ledger_next(tx, s, err);
        }
    }
    if (r < 0)
        return r;
    *ret_count = n;
    return 0;
}

int ledger_exec_started(struct ledger_tx *tx, int64_t exec, int64_t now_ms, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_do(tx, SQL_EXEC_STARTED, VALUES(V_INT(exec), V_INT(now_ms)), &changes, err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}

int ledger_exec_ended(struct ledger_tx *tx, const struct exec_row *row, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_fits(row->reason, LEDGER_REASON_SIZE, "reason", err);
    if (r == 0)
        r = ledger_do(
            tx, SQL_EXEC_ENDED,
            VALUES(V_INT(row->id), V_TEXT(row->reason), V_INT(row->exit_code), V_INT(row->signal),
                   V_INT(row->ended_ms), V_INT(row->cpu_ms), V_INT(row->max_rss_bytes),
                   V_INT(row->output_bytes), V_INT(row->oom_kills), V_INT(row->output_truncated),
                   V_INT(row->started_ms), V_TEXT(row->failed_step), V_INT(row->failed_errno)),
            &changes, err);
    if (r == 0 && changes == 0)
        return LEDGER_NOT_FOUND;
    if (r == 0)
        r = ledger_do(tx, SQL_TIMER_CLEAR_EXEC, VALUES(V_INT(row->id)), NULL, err);
    return r;
}

int ledger_exec_floor(struct ledger_tx *tx, int64_t session, int64_t *ret_floor, struct err *err)
{
    return ledger_number(tx, SQL_SESSION_FLOOR, VALUES(V_INT(session)), ret_floor, err);
}

/* ---- events
 * -------------------------------------------------------------------------------------*/

int ledger_event_add(struct ledger_tx *tx, int64_t session, const char *type, const char *data,
                     int64_t now_ms, int64_t *ret_seq, struct err *err)
{
    int64_t seq = 0;
    int r = ledger_fits(type, sizeof((struct event_row *)0)->type, "event type", err);
    if (r == 0)
        r = ledger_fits(data, sizeof((struct event_row *)0)->data, "event data", err);
    if (r == 0)
        r = ledger_number(tx, SQL_SESSION_SEQ, VALUES(V_INT(session)), &seq, err);
    if (r == 0)
        r = ledger_do(tx, SQL_EVENT_INSERT,
                      VALUES(V_INT(session), V_INT(seq), V_INT(now_ms), V_TEXT(type), V_TEXT(data)),
                      NULL, err);
    if (r == 0 && ret_seq)
        *ret_seq = seq;
    return r;
}

int ledger_event_page(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                      int64_t after, struct event_row *ret, size_t max, size_t *ret_count,
                      struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, SQL_EVENT_PAGE,
                         VALUES(V_TEXT(workspace_id), V_TEXT(session_id), V_INT(after), V_INT(max),
                                V_TEXT(tx->policy ? tx->policy : "")),
                         &s, err);
    while (r == 0 && n < max) {
        struct event_row *row = &ret[n++];
        memset(row, 0, sizeof *row);
        row->session = ledger_int(s, 0);
        row->seq = ledger_int(s, 1);
        row->time_ms = ledger_int(s, 2);
        ledger_text(tx, s, 3, row->type, sizeof row->type);
        ledger_text(tx, s, 4, row->data, sizeof row->data);
        r = ledger_readable(tx, err);
        if (r == 0)
            r = ledger_next(tx, s, err);
    }
    if (r < 0)
        return r;
    *ret_count = n;
    return 0;
}
