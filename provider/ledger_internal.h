/* This file is what the ledger's files share; nobody else includes it, and no file outside
 * provider/ledger*.c meets SQLite.
 *
 * ledger.c         thread, queue, completions        ledger_schema.c     migrations
 * ledger_batch.c   one transaction of many jobs      ledger_statement.c  the table of statements
 * ledger_db.c      the connection, errors, probe     ledger_<rows>.c     ledger_rows.h
 * ledger_backup.c  a copy while it is written        ledger_restore.c    a copy that comes back
 */
#pragma once

#include "provider/ledger.h"
#include "provider/ledger_rows.h"

#include <pthread.h>
#include <sqlite3.h>

/* ---- the connection (ledger thread only, after ledger_open())
 * ----------------------------------*/

enum { LEDGER_STATEMENTS_MAX = 128 };

/* What surrounds jobs; prepared once, for each job meets four of them. */
enum ledger_control {
    LEDGER_BEGIN_READ,
    LEDGER_BEGIN_WRITE,
    LEDGER_SAVEPOINT,
    LEDGER_RELEASE,
    LEDGER_COMMIT,
    LEDGER_CONTROL_COUNT
};

struct ledger_db {
    char path[LEDGER_PATH_SIZE];
    const char *vfs;
    sqlite3 *handle; /* NULL while broken */
    sqlite3_stmt *statements[LEDGER_STATEMENTS_MAX];
    sqlite3_stmt *controls[LEDGER_CONTROL_COUNT];
    int log_pages; /* in the write-ahead log after the last commit */
    bool full;     /* synchronous=FULL is set */
    sqlite3 *copy; /* NULL: none is being made */
    sqlite3_backup *backup;
};

/* Opens, locks for good, refuses what is not ours, migrates. */
int ledger_db_open(struct ledger_db *db, struct err *err);
void ledger_db_close(struct ledger_db *db);
int ledger_db_exec(struct ledger_db *db, const char *sql, struct err *err);
int ledger_db_control(struct ledger_db *db, enum ledger_control control, struct err *err);
int ledger_db_set_full(struct ledger_db *db, bool full, struct err *err);
/* Copies the log into the database and syncs both. */
int ledger_db_checkpoint(struct ledger_db *db, struct err *err);
/* After a failure: open again if needed, checkpoint, write and sync a row. 0: believe it again. */
int ledger_db_probe(struct ledger_db *db, struct err *err);
/* What the last failed call on db->handle says. Always negative. */
int ledger_db_fail(const struct ledger_db *db, const char *step, struct err *err);
/* The same for a result code without a connection. */
int ledger_db_code(int code, int sys, const char *step, const char *text, struct err *err);

/* ---- copies ---------------------------------------------------------------------------------- */

/* begin, piece until 0, end. After a failure there is none any more. */
enum { LEDGER_BACKUP_MORE = 1 };
int ledger_backup_begin(struct ledger_db *db, struct err *err);
int ledger_backup_piece(struct ledger_db *db, struct err *err);
int ledger_backup_end(struct ledger_db *db, int *ret_fd, struct err *err);
void ledger_backup_abort(struct ledger_db *db);
/* Before the ledger is opened: what was brought back takes its place. 0, also when there is none.
 */
int ledger_restore(const char *directory, const char *vfs, struct err *err);

/* ---- migrations
 * ------------------------------------------------------------------------------------*/

int ledger_schema_apply(struct ledger_db *db, struct err *err);
int ledger_schema_latest(void);
/* For tests: stop after this version; 0: go on to the latest. */
extern int ledger_schema_stop_after;

/* ---- statements
 * ------------------------------------------------------------------------------------*/

/* The copy of a process that was killed while it made one. Of who has the ledger. */
void ledger_backup_forget(const struct ledger_db *db);

struct ledger_tx {
    struct ledger_db *db;
    const char *policy; /* of the job that is applied */
    bool full;
    bool
        poisoned; /* a statement failed for a reason that is not the job's own: give the batch up */
};

struct ledger_value {
    enum { VALUE_INT, VALUE_TEXT, VALUE_BLOB } kind;
    int64_t number;
    const void *data;
    size_t length;
};

#define V_INT(n)                                  \
    {                                             \
        .kind = VALUE_INT, .number = (int64_t)(n) \
    }
#define V_TEXT(s)                       \
    {                                   \
        .kind = VALUE_TEXT, .data = (s) \
    }
#define V_BLOB(b)                                                  \
    {                                                              \
        .kind = VALUE_BLOB, .data = (b).data, .length = (b).length \
    }
#define VALUES(...)                             \
    (const struct ledger_value[]){__VA_ARGS__}, \
        sizeof((const struct ledger_value[]){__VA_ARGS__}) / sizeof(struct ledger_value)

/* A statement that answers no row. `ret_changes` may be NULL. LEDGER_CONFLICT on a taken key. */
int ledger_do(struct ledger_tx *tx, int statement, const struct ledger_value *values, size_t count,
              int64_t *ret_changes, struct err *err);

/* The first row, to be read until the owner goes out of scope; LEDGER_NOT_FOUND when there is none.
 */
int ledger_first(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                 size_t count, sqlite3_stmt **ret, struct err *err);
int ledger_next(struct ledger_tx *tx, sqlite3_stmt *statement, struct err *err);
void ledger_resetp(sqlite3_stmt **statement);
#define _cleanup_row_ __attribute__((cleanup(ledger_resetp)))

/* A number that the first row answers. */
int ledger_number(struct ledger_tx *tx, int statement, const struct ledger_value *values,
                  size_t count, int64_t *ret, struct err *err);

/* Columns. A text that cannot be had, or does not fit, fails the whole transaction. */
void ledger_text(struct ledger_tx *tx, sqlite3_stmt *row, int column, char *ret, size_t size);
int64_t ledger_int(sqlite3_stmt *row, int column);
/* 0, or the failure of a row that could not be read whole: that is no answer. */
int ledger_readable(const struct ledger_tx *tx, struct err *err);

/* ID_SIZE and the like: does `text` fit a field? */
int ledger_fits(const char *text, size_t size, const char *what, struct err *err);

void ledger_statements_finish(struct ledger_db *db);

/* ---- one transaction of many jobs
 * --------------------------------------------------------------------*/

/* Runs `jobs` (a list) in one transaction; sets result, certain and err of each. 0, or the failure
 * that the whole batch shares: then the connection is not to be believed. */
int ledger_batch_run(struct ledger_db *db, struct ledger_job *jobs, bool full,
                     struct ledger_status *counters, struct err *err);
