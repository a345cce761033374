/* This file prepares, binds and steps statements; it never contains one (ledger_sql.h) and never
 * decides what a row means.
 */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"

#include <errno.h>
#include <string.h>

_Static_assert((int)LEDGER_STATEMENT_COUNT <= (int)LEDGER_STATEMENTS_MAX,
               "room in struct ledger_db");

static const struct {
    const char *name, *scope, *text;
} table[LEDGER_STATEMENT_COUNT] = {
#define X(symbol, scope, text) [SQL_##symbol] = {#symbol, scope, text},
    LEDGER_STATEMENTS(X)
#undef X
};

bool ledger_statement_describe(unsigned n, const char **ret_name, const char **ret_sql,
                               const char **ret_scope)
{
    if (n >= LEDGER_STATEMENT_COUNT)
        return false;
    *ret_name = table[n].name;
    *ret_sql = table[n].text;
    *ret_scope = table[n].scope;
    return true;
}

void ledger_statements_finish(struct ledger_db *db)
{
    for (size_t i = 0; i < LEDGER_STATEMENT_COUNT; i++) {
        sqlite3_finalize(db->statements[i]);
        db->statements[i] = NULL;
    }
}

/* Anything but a broken rule of the tables means that the connection, not the job, is at fault. */
static int fail(struct ledger_tx *tx, int code, struct err *err)
{
    if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY)
        return LEDGER_CONFLICT;
    if ((code & 0xff) != SQLITE_CONSTRAINT && (code & 0xff) != SQLITE_TOOBIG)
        tx->poisoned = true;
    return ledger_db_fail(tx->db, "write the ledger", err);
}

static int bind_one(sqlite3_stmt *s, int at, const struct ledger_value *value)
{
    switch (value->kind) {
    case VALUE_INT:
        return sqlite3_bind_int64(s, at, value->number);
    case VALUE_TEXT:
        return sqlite3_bind_text(s, at, value->data ? value->data : "", -1, SQLITE_TRANSIENT);
    case VALUE_BLOB:
        return sqlite3_bind_blob64(s, at, value->data ? value->data : "", value->length,
                                   SQLITE_TRANSIENT);
    }
    return SQLITE_MISUSE;
}

static int prepare(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                   size_t count, sqlite3_stmt **ret, struct err *err)
{
    sqlite3_stmt **s = &tx->db->statements[statement];
    if (!*s && sqlite3_prepare_v3(tx->db->handle, table[statement].text, -1,
                                  SQLITE_PREPARE_PERSISTENT, s, NULL) != SQLITE_OK)
        return fail(tx, sqlite3_extended_errcode(tx->db->handle), err);
    if (sqlite3_stmt_busy(*s) || (size_t)sqlite3_bind_parameter_count(*s) != count)
        return err_set(err, ERR_INTERNAL, 0, "write the ledger", table[statement].name,
                       "A statement was used while it was being read, or with another number of "
                       "values. This is a defect of berth.");
    for (size_t i = 0; i < count; i++) {
        int rc = bind_one(*s, (int)i + 1, &values[i]);
        if (rc != SQLITE_OK)
            return fail(tx, rc, err);
    }
    *ret = *s;
    return 0;
}

void ledger_resetp(sqlite3_stmt **statement)
{
    if (*statement) {
        sqlite3_reset(*statement);
        sqlite3_clear_bindings(*statement);
    }
    *statement = NULL;
}

int ledger_next(struct ledger_tx *tx, sqlite3_stmt *statement, struct err *err)
{
    int rc = sqlite3_step(statement);
    if (rc == SQLITE_ROW)
        return 0;
    if (rc == SQLITE_DONE)
        return LEDGER_NOT_FOUND;
    return fail(tx, sqlite3_extended_errcode(tx->db->handle), err);
}

int ledger_first(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                 size_t count, sqlite3_stmt **ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = prepare(tx, statement, values, count, &s, err);
    if (r == 0)
        r = ledger_next(tx, s, err);
    if (r != 0)
        return r;
    *ret = s;
    s = NULL;
    return 0;
}

int ledger_do(struct ledger_tx *tx, int statement, const struct ledger_value *values, size_t count,
              int64_t *ret_changes, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = prepare(tx, statement, values, count, &s, err);
    if (r == 0)
        r = ledger_next(tx, s, err);
    if (r != LEDGER_NOT_FOUND)
        return r == 0 ? err_set(err, ERR_INTERNAL, 0, "write the ledger", table[statement].name,
                                "A statement answered a row that nobody reads.")
                      : r;
    if (ret_changes)
        *ret_changes = sqlite3_changes64(tx->db->handle);
    return 0;
}

int ledger_number(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                  size_t count, int64_t *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, statement, values, count, &s, err);
    if (r != 0)
        return r;
    int64_t number = sqlite3_column_int64(s, 0);
    /* With RETURNING the change is complete only when the statement is. */
    r = ledger_next(tx, s, err);
    if (r < 0)
        return r;
    *ret = number;
    return 0;
}

void ledger_text(struct ledger_tx *tx, sqlite3_stmt *row, int column, char *ret, size_t size)
{
    const char *text = (const char *)sqlite3_column_text(row, column);
    size_t length = text ? strlen(text) : 0;
    /* No column of the tables is NULL: memory was short. And what does not fit was not written by
     * ledger_fits(). Neither may pass for a shorter text. */
    if (!text || length >= size) {
        tx->poisoned = true;
        length = 0;
    }
    if (length > 0)
        memcpy(ret, text, length);
    ret[length] = 0;
}

int ledger_readable(const struct ledger_tx *tx, struct err *err)
{
    if (!tx->poisoned)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, EIO, "read the ledger", NULL,
                   "A row could not be read whole. berth opens the ledger again.");
}

int64_t ledger_int(sqlite3_stmt *row, int column)
{
    return sqlite3_column_int64(row, column);
}

int ledger_fits(const char *text, size_t size, const char *what, struct err *err)
{
    if (text && strlen(text) < size)
        return 0;
    return err_set(err, ERR_INVALID_REQUEST, 0, "write the ledger", what,
                   "It is longer than %zu bytes.", size - 1);
}
