/* This file reads what documents show beside the rows: labels, effective isolation, commands, who
 * names a volume, policies of tokens. It never writes.
 */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"
#include "runtime/base/buf.h"

#include <errno.h>
#include <string.h>

static int one_text(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                    size_t count, struct buf *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, statement, values, count, &s, err);
    if (r != 0)
        return r;
    const void *text = sqlite3_column_text(s, 0);
    int length = sqlite3_column_bytes(s, 0);
    if (!text && sqlite3_column_type(s, 0) != SQLITE_NULL)
        tx->poisoned = true;
    else if (text && length > 0)
        buf_add(ret, text, (size_t)length);
    if (buf_failed(ret))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the ledger", NULL, NULL);
    return ledger_readable(tx, err);
}

int ledger_session_labels(struct ledger_tx *tx, int64_t session, struct buf *ret, struct err *err)
{
    return one_text(tx, SQL_SESSION_LABELS, VALUES(V_INT(session)), ret, err);
}

int ledger_incarnation_effective(struct ledger_tx *tx, int64_t session, int64_t incarnation,
                                 struct buf *ret, struct err *err)
{
    return one_text(tx, SQL_INCARNATION_EFFECTIVE, VALUES(V_INT(session), V_INT(incarnation)), ret,
                    err);
}

int ledger_exec_command(struct ledger_tx *tx, int64_t exec, struct buf *ret, struct err *err)
{
    return one_text(tx, SQL_EXEC_COMMAND, VALUES(V_INT(exec)), ret, err);
}

int ledger_token_policy(struct ledger_tx *tx, int64_t token, struct buf *ret, struct err *err)
{
    return one_text(tx, SQL_TOKEN_POLICY, VALUES(V_INT(token)), ret, err);
}

static int read_volume(struct ledger_tx *tx, sqlite3_stmt *s, struct volume_row *ret,
                       struct err *err)
{
    memset(ret, 0, sizeof *ret);
    ret->id = ledger_int(s, 0);
    ledger_text(tx, s, 1, ret->workspace_id, sizeof ret->workspace_id);
    ledger_text(tx, s, 2, ret->name, sizeof ret->name);
    ledger_text(tx, s, 3, ret->owner, sizeof ret->owner);
    ret->created_ms = ledger_int(s, 4);
    ret->holder = ledger_int(s, 5);
    return ledger_readable(tx, err);
}

int ledger_volume_of_session(struct ledger_tx *tx, int64_t session, struct volume_row *ret,
                             struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_VOLUME_OF_SESSION, VALUES(V_INT(session)), &s, err);
    return r == 0 ? read_volume(tx, s, ret, err) : r;
}

int ledger_volume_other(struct ledger_tx *tx, int64_t volume, int64_t session, int64_t *ret_session,
                        struct err *err)
{
    return ledger_number(tx, SQL_VOLUME_OTHER, VALUES(V_INT(volume), V_INT(session)), ret_session,
                         err);
}

int ledger_volume_claim(struct ledger_tx *tx, int64_t session, struct volume_row *ret,
                        struct err *err)
{
    int64_t other;
    int r = ledger_volume_of_session(tx, session, ret, err);
    if (r != 0)
        return r;
    r = ledger_volume_other(tx, ret->id, session, &other, err);
    if (r == 0)
        return LEDGER_CONFLICT;
    return r == LEDGER_NOT_FOUND
               ? ledger_do(tx, SQL_VOLUME_CLAIM, VALUES(V_INT(session)), NULL, err)
               : r;
}

int ledger_volume_page_owner(struct ledger_tx *tx, const char *owner, int64_t after,
                             struct volume_row *ret, size_t max, size_t *ret_count, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, SQL_VOLUME_PAGE_OWNER, VALUES(V_TEXT(owner), V_INT(after), V_INT(max)),
                         &s, err);
    while (r == 0 && n < max) {
        r = read_volume(tx, s, &ret[n], err);
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
