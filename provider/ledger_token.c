/* This file reads and writes the rows of tokens; it never sees a token, only the hash of one. */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"

#include <string.h>

int ledger_token_insert(struct ledger_tx *tx, struct token_row *row, struct err *err)
{
    int r = ledger_do(tx, SQL_TOKEN_INSERT,
                      VALUES(V_TEXT(row->token_id), V_TEXT(row->hash), V_TEXT(row->name),
                             V_TEXT(row->workspaces), V_TEXT(row->verbs), V_INT(row->created_ms),
                             V_INT(row->expires_ms), V_TEXT(row->policy ? row->policy : "")),
                      NULL, err);
    if (r == 0)
        row->id = sqlite3_last_insert_rowid(tx->db->handle);
    return r;
}

static int read_token(struct ledger_tx *tx, sqlite3_stmt *s, struct token_row *ret, struct err *err)
{
    memset(ret, 0, sizeof *ret);
    ret->id = ledger_int(s, 0);
    ledger_text(tx, s, 1, ret->token_id, sizeof ret->token_id);
    ledger_text(tx, s, 2, ret->hash, sizeof ret->hash);
    ledger_text(tx, s, 3, ret->name, sizeof ret->name);
    ledger_text(tx, s, 4, ret->workspaces, sizeof ret->workspaces);
    ledger_text(tx, s, 5, ret->verbs, sizeof ret->verbs);
    ret->created_ms = ledger_int(s, 6);
    ret->expires_ms = ledger_int(s, 7);
    ret->revoked_ms = ledger_int(s, 8);
    ret->used_ms = ledger_int(s, 9);
    return ledger_readable(tx, err);
}

int ledger_token_page_all(struct ledger_tx *tx, int64_t after, struct token_row *ret, size_t max,
                          size_t *ret_count, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, SQL_TOKEN_PAGE_ALL, VALUES(V_INT(after), V_INT(max)), &s, err);
    while (r == 0 && n < max) {
        r = read_token(tx, s, &ret[n], err);
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

int ledger_token_revoke(struct ledger_tx *tx, int64_t token, int64_t now_ms, struct err *err)
{
    return ledger_do(tx, SQL_TOKEN_REVOKE, VALUES(V_INT(token), V_INT(now_ms)), NULL, err);
}

int ledger_token_used(struct ledger_tx *tx, int64_t token, int64_t now_ms, struct err *err)
{
    return ledger_do(tx, SQL_TOKEN_USED, VALUES(V_INT(token), V_INT(now_ms)), NULL, err);
}

int ledger_token_purge(struct ledger_tx *tx, int64_t before_ms, struct err *err)
{
    return ledger_do(tx, SQL_TOKEN_PURGE, VALUES(V_INT(before_ms)), NULL, err);
}
