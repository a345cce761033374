/* This file reads and writes what sessions hold: volumes and ranges of host ids. It never touches a
 * directory or a namespace.
 */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"

#include <errno.h>
#include <string.h>

/* ---- volumes
 * ------------------------------------------------------------------------------------*/

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

int ledger_volume_create(struct ledger_tx *tx, struct volume_row *row, struct err *err)
{
    int r = ledger_fits(row->name, LEDGER_ID_SIZE, "volume", err);
    if (r == 0)
        r = ledger_do(tx, SQL_VOLUME_INSERT,
                      VALUES(V_TEXT(row->workspace_id), V_TEXT(row->name), V_TEXT(row->owner),
                             V_INT(row->created_ms)),
                      NULL, err);
    if (r == 0)
        row->id = sqlite3_last_insert_rowid(tx->db->handle);
    return r;
}

int ledger_volume_find(struct ledger_tx *tx, const char *workspace_id, const char *name,
                       struct volume_row *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_VOLUME_FIND, VALUES(V_TEXT(workspace_id), V_TEXT(name)), &s, err);
    return r == 0 ? read_volume(tx, s, ret, err) : r;
}

int ledger_volume_page(struct ledger_tx *tx, const char *workspace_id, const char *after,
                       struct volume_row *ret, size_t max, size_t *ret_count, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, SQL_VOLUME_PAGE,
                         VALUES(V_TEXT(workspace_id), V_TEXT(after), V_INT(max)), &s, err);
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

int ledger_volume_delete(struct ledger_tx *tx, const char *workspace_id, const char *name,
                         int64_t *ret_holder, struct err *err)
{
    struct volume_row row;
    int r = ledger_volume_find(tx, workspace_id, name, &row, err);
    if (r != 0)
        return r;
    if (row.holder != 0) {
        *ret_holder = row.holder;
        return LEDGER_CONFLICT;
    }
    return ledger_do(tx, SQL_VOLUME_DELETE, VALUES(V_INT(row.id)), NULL, err);
}

int ledger_volume_use(struct ledger_tx *tx, int64_t volume, int64_t session, bool read_only,
                      int64_t *ret_holder, struct err *err)
{
    int64_t holder = 0;
    int r = ledger_number(tx, SQL_VOLUME_HOLDER,
                          VALUES(V_INT(volume), V_INT(session), V_INT(read_only)), &holder, err);
    if (r == 0) {
        *ret_holder = holder;
        return LEDGER_CONFLICT;
    }
    if (r < 0)
        return r;
    return ledger_do(tx, SQL_VOLUME_USE, VALUES(V_INT(session), V_INT(volume), V_INT(read_only)),
                     NULL, err);
}

int ledger_volume_leave(struct ledger_tx *tx, int64_t session, struct err *err)
{
    return ledger_do(tx, SQL_VOLUME_LEAVE, VALUES(V_INT(session)), NULL, err);
}

int ledger_volume_rejoin(struct ledger_tx *tx, int64_t session, int64_t *ret_holder,
                         struct err *err)
{
    int64_t holder = 0;
    int r = ledger_number(tx, SQL_VOLUME_REJOIN_HOLDER, VALUES(V_INT(session)), &holder, err);
    if (r == 0) {
        *ret_holder = holder;
        return LEDGER_CONFLICT;
    }
    return r < 0 ? r : ledger_do(tx, SQL_VOLUME_REJOIN, VALUES(V_INT(session)), NULL, err);
}

int ledger_volume_drop(struct ledger_tx *tx, int64_t session, struct err *err)
{
    return ledger_do(tx, SQL_VOLUME_DROP, VALUES(V_INT(session)), NULL, err);
}

/* ---- uid ranges
 * -----------------------------------------------------------------------------------*/

enum { UID_SPAN_MAX = 65536 };

int ledger_uid_claim(struct ledger_tx *tx, int64_t session, int64_t incarnation, int64_t first,
                     int64_t last, int64_t count, int64_t *ret_base, struct err *err)
{
    /* The statement looks for neighbours no further away than the largest range there can be. */
    if (count < 1 || count > UID_SPAN_MAX || first < 1)
        return err_set(err, ERR_INTERNAL, 0, "claim a range of ids", NULL,
                       "A range has 1 to 65536 ids.");
    int64_t base = 0;
    int r =
        ledger_number(tx, SQL_UID_GAP, VALUES(V_INT(first), V_INT(last), V_INT(count)), &base, err);
    if (r == 0 && base == 0) /* min() of nothing */
        return LEDGER_NOT_FOUND;
    if (r == 0)
        r = ledger_do(tx, SQL_UID_INSERT,
                      VALUES(V_INT(session), V_INT(incarnation), V_INT(base), V_INT(count)), NULL,
                      err);
    if (r == 0)
        *ret_base = base;
    return r;
}

int ledger_uid_release(struct ledger_tx *tx, int64_t session, struct err *err)
{
    return ledger_do(tx, SQL_UID_RELEASE, VALUES(V_INT(session)), NULL, err);
}
