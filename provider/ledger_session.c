/* This file reads and writes sessions, incarnations and intents; it never decides a transition. */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"
#include "runtime/base/buf.h"

#include <errno.h>
#include <string.h>

/* A name of the tables as its number; a name that is not ours means a damaged row. */
static enum session_state state_of(struct ledger_tx *tx, const char *name)
{
    for (int i = 0; i < SESSION_STATE_COUNT; i++)
        if (strcmp(session_state_name((enum session_state)i), name) == 0)
            return (enum session_state)i;
    tx->poisoned = true;
    return SESSION_NONE;
}

static enum session_event verb_of(struct ledger_tx *tx, const char *name)
{
    for (int i = 0; i < SESSION_EVENT_COUNT; i++)
        if (strcmp(session_event_name((enum session_event)i), name) == 0)
            return (enum session_event)i;
    tx->poisoned = true;
    return SESSION_EVENT_DESTROY;
}

/* ---- sessions
 * -----------------------------------------------------------------------------------*/

static int read_session(struct ledger_tx *tx, sqlite3_stmt *s, struct session_row *ret,
                        struct err *err)
{
    char state[16];
    memset(ret, 0, sizeof *ret);
    ret->id = ledger_int(s, 0);
    ledger_text(tx, s, 1, ret->workspace_id, sizeof ret->workspace_id);
    ledger_text(tx, s, 2, ret->session_id, sizeof ret->session_id);
    ledger_text(tx, s, 3, ret->owner, sizeof ret->owner);
    ledger_text(tx, s, 4, state, sizeof state);
    ret->state = state_of(tx, state);
    ledger_text(tx, s, 5, ret->reason, sizeof ret->reason);
    ret->incarnation = ledger_int(s, 6);
    ret->last_seq = ledger_int(s, 7);
    ret->exec_order = ledger_int(s, 8);
    ret->interrupt_floor = ledger_int(s, 9);
    ret->created_ms = ledger_int(s, 10);
    ret->changed_ms = ledger_int(s, 11);
    ledger_text(tx, s, 12, ret->spec_hash, sizeof ret->spec_hash);
    ret->ttl_ms = ledger_int(s, 13);
    ret->idle_after_ms = ledger_int(s, 14);
    ret->idle_action = ledger_int(s, 15);
    ret->network_revision = ledger_int(s, 16);
    ledger_text(tx, s, 17, ret->policy, sizeof ret->policy);
    ret->running_execs = ledger_int(s, 18);
    return ledger_readable(tx, err);
}

static int one_session(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                       size_t count, struct session_row *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, statement, values, count, &s, err);
    return r == 0 ? read_session(tx, s, ret, err) : r;
}

static int many_sessions(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                         size_t count, struct session_row *ret, size_t max, size_t *ret_count,
                         struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, statement, values, count, &s, err);
    while (r == 0 && n < max) {
        r = read_session(tx, s, &ret[n], err);
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

int ledger_session_taken(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                         struct session_row *ret, struct err *err)
{
    return one_session(tx, SQL_SESSION_FIND, VALUES(V_TEXT(workspace_id), V_TEXT(session_id)), ret,
                       err);
}

/* The newest life decides: an older one of the same name is nobody's any more. */
int ledger_session_find(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                        struct session_row *ret, struct err *err)
{
    struct session_row row;
    int r = ledger_session_taken(tx, workspace_id, session_id, &row, err);
    if (r == 0 && tx->policy && strcmp(tx->policy, row.policy) != 0)
        return LEDGER_NOT_FOUND;
    if (r == 0)
        *ret = row;
    return r;
}

int ledger_session_get(struct ledger_tx *tx, int64_t session, struct session_row *ret,
                       struct err *err)
{
    return one_session(tx, SQL_SESSION_GET, VALUES(V_INT(session)), ret, err);
}

int ledger_session_insert(struct ledger_tx *tx, struct session_row *row, struct ledger_blob spec,
                          const char *labels_json, struct err *err)
{
    struct session_row before = {0};
    int r = ledger_fits(row->owner, LEDGER_ID_SIZE, "owner", err);
    if (r == 0)
        r = ledger_session_taken(tx, row->workspace_id, row->session_id, &before, err);
    if (r < 0)
        return r;
    if (r == 0 && !session_is_over(before.state))
        return LEDGER_CONFLICT;
    r = ledger_do(tx, SQL_SESSION_INSERT,
                  VALUES(V_TEXT(row->workspace_id), V_TEXT(row->session_id), V_TEXT(row->owner),
                         V_TEXT(session_state_name(row->state)), V_TEXT(row->reason),
                         V_INT(before.incarnation), V_INT(before.last_seq), V_INT(row->created_ms),
                         V_BLOB(spec), V_TEXT(row->spec_hash), V_TEXT(labels_json),
                         V_INT(row->ttl_ms), V_INT(row->idle_after_ms), V_INT(row->idle_action),
                         V_TEXT(row->policy)),
                  NULL, err);
    if (r != 0)
        return r;
    row->id = sqlite3_last_insert_rowid(tx->db->handle);
    row->incarnation = before.incarnation;
    row->last_seq = before.last_seq;
    return 0;
}

int ledger_session_move(struct ledger_tx *tx, int64_t session, enum session_state state,
                        const char *reason, int64_t now_ms, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_fits(reason, LEDGER_REASON_SIZE, "reason", err);
    if (r == 0)
        r = ledger_do(tx, SQL_SESSION_MOVE,
                      VALUES(V_INT(session), V_TEXT(session_state_name(state)), V_TEXT(reason),
                             V_INT(now_ms)),
                      &changes, err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}

/* The first column. */
static int read_blob(struct ledger_tx *tx, sqlite3_stmt *s, struct buf *ret_spec, struct err *err)
{
    const void *data = sqlite3_column_blob(s, 0);
    int length = sqlite3_column_bytes(s, 0);
    if (!data && length > 0)
        tx->poisoned = true;
    else if (length > 0)
        buf_add(ret_spec, data, (size_t)length);
    if (buf_failed(ret_spec))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the ledger", NULL, NULL);
    return ledger_readable(tx, err);
}

int ledger_session_spec(struct ledger_tx *tx, int64_t session, struct buf *ret_spec,
                        struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_SESSION_SPEC, VALUES(V_INT(session)), &s, err);
    return r == 0 ? read_blob(tx, s, ret_spec, err) : r;
}

static int change_one(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                      size_t count, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_do(tx, statement, values, count, &changes, err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}

int ledger_session_network(struct ledger_tx *tx, int64_t session, struct ledger_blob spec,
                           const char *spec_hash, int64_t revision, struct err *err)
{
    return change_one(tx, SQL_SESSION_NETWORK,
                      VALUES(V_INT(session), V_BLOB(spec), V_TEXT(spec_hash), V_INT(revision)),
                      err);
}

int ledger_session_denied(struct ledger_tx *tx, int64_t session, int64_t count, struct err *err)
{
    return change_one(tx, SQL_SESSION_DENIED, VALUES(V_INT(session), V_INT(count)), err);
}

int ledger_session_revision(struct ledger_tx *tx, int64_t session, int64_t revision,
                            struct err *err)
{
    return change_one(tx, SQL_SESSION_REVISION, VALUES(V_INT(session), V_INT(revision)), err);
}

int ledger_session_page(struct ledger_tx *tx, const char *workspace_id, const char *owner,
                        enum session_state state, const char *after, struct session_row *ret,
                        size_t max, size_t *ret_count, struct err *err)
{
    return many_sessions(tx, SQL_SESSION_PAGE,
                         VALUES(V_TEXT(workspace_id), V_TEXT(after), V_TEXT(owner),
                                V_TEXT(state == SESSION_NONE ? "" : session_state_name(state)),
                                V_INT(max), V_TEXT(tx->policy ? tx->policy : "")),
                         ret, max, ret_count, err);
}

int ledger_session_page_owner(struct ledger_tx *tx, const char *owner, int64_t before_ms,
                              int64_t after, struct session_row *ret, size_t max, size_t *ret_count,
                              struct err *err)
{
    return many_sessions(tx, SQL_SESSION_PAGE_OWNER,
                         VALUES(V_TEXT(owner), V_INT(after), V_INT(before_ms), V_INT(max)), ret,
                         max, ret_count, err);
}

int ledger_session_page_all(struct ledger_tx *tx, int64_t after, struct session_row *ret,
                            size_t max, size_t *ret_count, struct err *err)
{
    return many_sessions(tx, SQL_SESSION_PAGE_ALL, VALUES(V_INT(after), V_INT(max)), ret, max,
                         ret_count, err);
}

int ledger_session_count_all(struct ledger_tx *tx, uint64_t ret[SESSION_STATE_COUNT],
                             struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r;
    memset(ret, 0, SESSION_STATE_COUNT * sizeof *ret);
    for (r = ledger_first(tx, SQL_SESSION_COUNT_ALL, NULL, 0, &s, err); r == 0;
         r = ledger_next(tx, s, err)) {
        char state[16];
        ledger_text(tx, s, 0, state, sizeof state);
        ret[state_of(tx, state)] = (uint64_t)ledger_int(s, 1);
    }
    return r == LEDGER_NOT_FOUND ? ledger_readable(tx, err) : r;
}

/* ---- incarnations
 * ---------------------------------------------------------------------------------*/

int ledger_incarnation_begin(struct ledger_tx *tx, int64_t session, int64_t now_ms,
                             int64_t *ret_incarnation, struct err *err)
{
    int64_t incarnation = 0;
    int r = ledger_number(tx, SQL_SESSION_INCARNATION, VALUES(V_INT(session)), &incarnation, err);
    if (r == 0)
        r = ledger_do(tx, SQL_INCARNATION_INSERT,
                      VALUES(V_INT(session), V_INT(incarnation), V_INT(now_ms)), NULL, err);
    if (r == 0)
        *ret_incarnation = incarnation;
    return r;
}

int ledger_incarnation_set(struct ledger_tx *tx, const struct incarnation_row *row,
                           const char *effective_json, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_fits(row->boot_id, sizeof row->boot_id, "boot id", err);
    if (r == 0)
        r = ledger_do(tx, SQL_INCARNATION_SET,
                      VALUES(V_INT(row->session), V_INT(row->incarnation), V_TEXT(row->boot_id),
                             V_INT(row->init_pid), V_INT(row->init_start), V_INT(row->cgroup_inode),
                             V_INT(row->netns_inode), V_INT(row->uid_base), V_INT(row->uid_count),
                             V_TEXT(effective_json)),
                      &changes, err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}

int ledger_incarnation_end(struct ledger_tx *tx, int64_t session, int64_t incarnation,
                           const char *reason, int64_t now_ms, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_fits(reason, LEDGER_REASON_SIZE, "reason", err);
    if (r == 0)
        r = ledger_do(tx, SQL_INCARNATION_END,
                      VALUES(V_INT(session), V_INT(incarnation), V_TEXT(reason), V_INT(now_ms)),
                      &changes, err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}

int ledger_incarnation_get(struct ledger_tx *tx, int64_t session, int64_t incarnation,
                           struct incarnation_row *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r =
        ledger_first(tx, SQL_INCARNATION_GET, VALUES(V_INT(session), V_INT(incarnation)), &s, err);
    if (r != 0)
        return r;
    memset(ret, 0, sizeof *ret);
    ret->session = ledger_int(s, 0);
    ret->incarnation = ledger_int(s, 1);
    ledger_text(tx, s, 2, ret->boot_id, sizeof ret->boot_id);
    ret->init_pid = ledger_int(s, 3);
    ret->init_start = ledger_int(s, 4);
    ret->cgroup_inode = ledger_int(s, 5);
    ret->netns_inode = ledger_int(s, 6);
    ret->uid_base = ledger_int(s, 7);
    ret->uid_count = ledger_int(s, 8);
    ret->started_ms = ledger_int(s, 9);
    ret->ended_ms = ledger_int(s, 10);
    ledger_text(tx, s, 11, ret->end_reason, sizeof ret->end_reason);
    return ledger_readable(tx, err);
}

/* ---- intents
 * --------------------------------------------------------------------------------------*/

static int read_intent(struct ledger_tx *tx, sqlite3_stmt *s, struct intent_row *ret,
                       struct err *err)
{
    char verb[16];
    memset(ret, 0, sizeof *ret);
    ret->id = ledger_int(s, 0);
    ret->session = ledger_int(s, 1);
    ret->incarnation = ledger_int(s, 2);
    ledger_text(tx, s, 3, verb, sizeof verb);
    ret->verb = verb_of(tx, verb);
    ret->phase = (enum intent_phase)ledger_int(s, 4);
    ret->idempotency = ledger_int(s, 5);
    ret->floor = ledger_int(s, 6);
    ret->created_ms = ledger_int(s, 7);
    ledger_text(tx, s, 8, ret->reason, sizeof ret->reason);
    return ledger_readable(tx, err);
}

int ledger_intent_insert(struct ledger_tx *tx, struct intent_row *row, struct ledger_blob spec,
                         const char *spec_hash, struct err *err)
{
    int r = ledger_fits(row->reason, LEDGER_REASON_SIZE, "reason", err);
    if (r == 0)
        r = ledger_do(tx, SQL_INTENT_INSERT,
                      VALUES(V_INT(row->session), V_INT(row->incarnation),
                             V_TEXT(session_event_name(row->verb)), V_INT(row->phase),
                             V_INT(row->idempotency), V_INT(row->floor), V_INT(row->created_ms),
                             V_TEXT(row->reason), V_BLOB(spec), V_TEXT(spec_hash)),
                      NULL, err);
    if (r == 0)
        row->id = sqlite3_last_insert_rowid(tx->db->handle);
    return r;
}

int ledger_intent_spec(struct ledger_tx *tx, int64_t intent, struct buf *ret_spec,
                       char ret_hash[65], struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_INTENT_SPEC, VALUES(V_INT(intent)), &s, err);
    if (r == 0)
        ledger_text(tx, s, 1, ret_hash, 65);
    return r == 0 ? read_blob(tx, s, ret_spec, err) : r;
}

int ledger_intent_get(struct ledger_tx *tx, int64_t intent, struct intent_row *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_INTENT_GET, VALUES(V_INT(intent)), &s, err);
    return r == 0 ? read_intent(tx, s, ret, err) : r;
}

int ledger_intent_list(struct ledger_tx *tx, int64_t session, struct intent_row *ret, size_t max,
                       size_t *ret_count, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, SQL_INTENT_LIST, VALUES(V_INT(session), V_INT(max)), &s, err);
    while (r == 0 && n < max) {
        r = read_intent(tx, s, &ret[n], err);
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

int ledger_intent_prepare(struct ledger_tx *tx, int64_t intent, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_do(tx, SQL_INTENT_PREPARE, VALUES(V_INT(intent)), &changes, err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}

int ledger_intent_delete(struct ledger_tx *tx, int64_t intent, struct err *err)
{
    int64_t changes = 0;
    int r = ledger_do(tx, SQL_INTENT_DELETE, VALUES(V_INT(intent)), &changes, err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}
