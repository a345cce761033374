/* This file reads and writes idempotency keys; what a key means is idempotency.c's. */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"
#include "runtime/base/buf.h"

#include <errno.h>
#include <string.h>

int ledger_key_find(struct ledger_tx *tx, const struct key_row *name, struct key_row *ret,
                    struct buf *ret_body, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_KEY_FIND,
                         VALUES(V_TEXT(name->workspace_id), V_TEXT(name->key), V_TEXT(name->path),
                                V_TEXT(name->method)),
                         &s, err);
    if (r != 0)
        return r;
    memset(ret, 0, sizeof *ret);
    ret->id = ledger_int(s, 0);
    ledger_text(tx, s, 1, ret->workspace_id, sizeof ret->workspace_id);
    ledger_text(tx, s, 2, ret->method, sizeof ret->method);
    ledger_text(tx, s, 3, ret->path, sizeof ret->path);
    ledger_text(tx, s, 4, ret->key, sizeof ret->key);
    ledger_text(tx, s, 5, ret->fingerprint, sizeof ret->fingerprint);
    ret->status = ledger_int(s, 6);
    ret->created_ms = ledger_int(s, 7);
    ret->expires_ms = ledger_int(s, 8);
    const void *body = sqlite3_column_blob(s, 9);
    int length = sqlite3_column_bytes(s, 9);
    if (!body && length > 0)
        tx->poisoned = true;
    else if (length > 0 && ret_body)
        buf_add(ret_body, body, (size_t)length);
    if (ret_body && buf_failed(ret_body))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "read the ledger", NULL, NULL);
    return ledger_readable(tx, err);
}

int ledger_key_insert(struct ledger_tx *tx, struct key_row *row, struct err *err)
{
    int r = ledger_fits(row->key, LEDGER_KEY_SIZE, "Idempotency-Key", err);
    if (r == 0)
        r = ledger_fits(row->path, LEDGER_PATH_SIZE, "path", err);
    if (r == 0)
        r = ledger_do(tx, SQL_KEY_INSERT,
                      VALUES(V_TEXT(row->workspace_id), V_TEXT(row->key), V_TEXT(row->path),
                             V_TEXT(row->method), V_TEXT(row->fingerprint), V_INT(row->created_ms),
                             V_INT(row->expires_ms)),
                      NULL, err);
    if (r == 0)
        row->id = sqlite3_last_insert_rowid(tx->db->handle);
    return r;
}

int ledger_key_finish(struct ledger_tx *tx, int64_t key, int64_t status, struct ledger_blob body,
                      struct err *err)
{
    int64_t changes = 0;
    int r = ledger_do(tx, SQL_KEY_FINISH, VALUES(V_INT(key), V_INT(status), V_BLOB(body)), &changes,
                      err);
    return r == 0 && changes == 0 ? LEDGER_NOT_FOUND : r;
}

int ledger_key_release(struct ledger_tx *tx, int64_t key, struct err *err)
{
    return ledger_do(tx, SQL_KEY_RELEASE, VALUES(V_INT(key)), NULL, err);
}

int ledger_key_secret(struct ledger_tx *tx, char ret_hex[65], struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_KEY_SECRET, NULL, 0, &s, err);
    if (r != 0)
        return r;
    ledger_text(tx, s, 0, ret_hex, 65);
    return ledger_readable(tx, err);
}
