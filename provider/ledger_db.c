/* This file owns the one connection to the database: how it is opened, what its errors mean and
 * when it may be believed again after one. It never runs a job.
 *
 * Order at opening: the exclusive lock first (locking_mode before the first read, so that no
 * shared-memory file is ever made), then whose file it is, then migrations with full durability.
 *
 * Full means synchronous=EXTRA. With a write-ahead log that is FULL; but a new database begins with
 * a rollback journal, and FULL unlinks that without a sync of the directory. A journal that comes
 * back after power loss takes the database back to before it had a log, with everything that was
 * synced since (tests/crash: seen with a file system that promises no more than POSIX).
 */
#include "provider/ledger_internal.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* ---- errors
 * -------------------------------------------------------------------------------------*/

/* Primary result code -> what a caller is told. What is not here is a defect of ours: INTERNAL. */
static const struct {
    int code, sys;
    enum err_code told;
    const char *next;
} meanings[] = {
    {SQLITE_FULL, ENOSPC, ERR_INSUFFICIENT_STORAGE,
     "The disk of berth's state directory is full. Free some space; berth goes on by itself."},
    {SQLITE_NOMEM, ENOMEM, ERR_UNAVAILABLE, "berth is short of memory. Try again."},
    {SQLITE_BUSY, EBUSY, ERR_UNAVAILABLE,
     "Another berth serves this state directory. Stop it, or use another state directory."},
    {SQLITE_IOERR, EIO, ERR_UNAVAILABLE,
     "The disk of berth's state directory failed. berth tries again by itself; look at the host's "
     "log."},
    {SQLITE_CANTOPEN, EIO, ERR_UNAVAILABLE,
     "The ledger in berth's state directory cannot be opened. Look at its permissions and at "
     "limits "
     "on open files."},
    {SQLITE_READONLY, EROFS, ERR_UNAVAILABLE, "berth's state directory cannot be written."},
    {SQLITE_PERM, EACCES, ERR_UNAVAILABLE, "berth's state directory cannot be written."},
    {SQLITE_CORRUPT, EUCLEAN, ERR_INTERNAL,
     "The ledger is damaged. Keep a copy of the state directory and restore one from a backup; "
     "berth does not repair it."},
    {SQLITE_NOTADB, EUCLEAN, ERR_INTERNAL,
     "The file `ledger` is no database. Keep it and restore one from a backup."},
    {SQLITE_TOOBIG, EFBIG, ERR_TOO_LARGE, "A value is too large for the ledger."},
};

int ledger_db_code(int code, int sys, const char *step, const char *text, struct err *err)
{
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (meanings[i].code != (code & 0xff))
            continue;
        /* SQLite tells a full disk apart only where a write says ENOSPC; a quota, a sync and a file
         * that cannot be made come as another failure with the errno kept. */
        if ((sys == ENOSPC || sys == EDQUOT) &&
            (meanings[i].code == SQLITE_IOERR || meanings[i].code == SQLITE_CANTOPEN))
            return ledger_db_code(SQLITE_FULL, sys, step, text, err);
        int number =
            (sys != 0 && (meanings[i].code == SQLITE_IOERR || meanings[i].code == SQLITE_CANTOPEN))
                ? sys
                : meanings[i].sys;
        return err_set(err, meanings[i].told, number, step, NULL, "%s", meanings[i].next);
    }
    return err_set(err, ERR_INTERNAL, EPROTO, step, NULL, "SQLite says: %s (%d).",
                   text ? text : "nothing", code);
}

/* The number that the files of the connection keep of their last failed call; 0: none has failed.
 *
 * sqlite3_system_errno() is not enough. SQLite asks for it where a statement fails on its way, but
 * not where its end does: after a COMMIT that could not be written or synced it says 0, or what an
 * earlier failure left (seen with 3.40.1). The connection is closed after each failure, so what a
 * file keeps is of this one. */
static int errno_of_files(const struct ledger_db *db)
{
    static const int files[] = {SQLITE_FCNTL_JOURNAL_POINTER, SQLITE_FCNTL_FILE_POINTER};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        sqlite3_file *file = NULL;
        int number = 0;
        if (sqlite3_file_control(db->handle, "main", files[i], (void *)&file) != SQLITE_OK)
            continue;
        /* A journal that is not open has no methods; one in memory has not this one. */
        if (file && file->pMethods && file->pMethods->xFileControl &&
            file->pMethods->xFileControl(file, SQLITE_FCNTL_LAST_ERRNO, &number) == SQLITE_OK &&
            number != 0)
            return number;
    }
    return 0;
}

/* Why no file can be made; 0: one can, or the file system cannot tell. SQLite tries a file that it
 * could not make once more for reading only, and what is left of that is ENOENT. The file here has
 * no name: nothing is left of it. */
static int errno_of_directory(const struct ledger_db *db)
{
    char directory[LEDGER_PATH_SIZE];
    snprintf(directory, sizeof directory, "%s", db->path);
    char *slash = strrchr(directory, '/');
    if (!slash)
        return 0;
    *slash = 0;
    _cleanup_fd_ int fd = open(directory, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    return fd < 0 && errno != EOPNOTSUPP ? errno : 0;
}

int ledger_db_fail(const struct ledger_db *db, const char *step, struct err *err)
{
    if (!db->handle)
        return ledger_db_code(SQLITE_CANTOPEN, 0, step, NULL, err);
    int code = sqlite3_extended_errcode(db->handle);
    int primary = code & 0xff;
    int sys = primary == SQLITE_IOERR      ? errno_of_files(db)
              : primary == SQLITE_CANTOPEN ? errno_of_directory(db)
                                           : 0;
    return ledger_db_code(code, sys ? sys : sqlite3_system_errno(db->handle), step,
                          sqlite3_errmsg(db->handle), err);
}

/* ---- opening
 * --------------------------------------------------------------------------------------*/

int ledger_db_exec(struct ledger_db *db, const char *sql, struct err *err)
{
    if (sqlite3_exec(db->handle, sql, NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    return ledger_db_fail(db, "write the ledger", err);
}

int ledger_db_control(struct ledger_db *db, enum ledger_control control, struct err *err)
{
    static const char *const texts[LEDGER_CONTROL_COUNT] = {
        [LEDGER_BEGIN_READ] = "BEGIN",        [LEDGER_BEGIN_WRITE] = "BEGIN IMMEDIATE",
        [LEDGER_SAVEPOINT] = "SAVEPOINT job", [LEDGER_RELEASE] = "RELEASE job",
        [LEDGER_COMMIT] = "COMMIT",
    };
    if (!db->handle)
        return ledger_db_fail(db, "write the ledger", err);
    sqlite3_stmt **s = &db->controls[control];
    if (!*s && sqlite3_prepare_v3(db->handle, texts[control], -1, SQLITE_PREPARE_PERSISTENT, s,
                                  NULL) != SQLITE_OK)
        return ledger_db_fail(db, "write the ledger", err);
    int r = sqlite3_step(*s) == SQLITE_DONE ? 0 : ledger_db_fail(db, "write the ledger", err);
    sqlite3_reset(*s);
    return r;
}

static int count_log(void *data, sqlite3 *handle, const char *name, int pages)
{
    struct ledger_db *db = data;
    (void)handle;
    (void)name;
    db->log_pages = pages;
    return SQLITE_OK;
}

/* PRAGMA journal_mode answers the mode that it got, and no error when that is another one. */
static int enter_wal(struct ledger_db *db, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->handle, "PRAGMA journal_mode=WAL", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    const char *mode = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    int r = 0;
    if (rc != SQLITE_ROW)
        r = ledger_db_fail(db, "open the ledger", err);
    else if (!mode || strcmp(mode, "wal") != 0)
        r = err_set(err, ERR_UNAVAILABLE, EIO, "open the ledger", NULL,
                    "The file system of the state directory does not let SQLite keep a write-ahead "
                    "log. Use a local file system.");
    sqlite3_finalize(s);
    return r;
}

static int open_locked(struct ledger_db *db, struct err *err)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE;
    int rc = sqlite3_open_v2(db->path, &db->handle, flags, db->vfs);
    if (rc != SQLITE_OK)
        return db->handle ? ledger_db_fail(db, "open the ledger", err)
                          : ledger_db_code(rc, 0, "open the ledger", NULL, err);
    /* No connection of ours loads a library, trusts the schema's text or lets it reach functions.
     */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_limit(db->handle, SQLITE_LIMIT_LENGTH, 8 * 1024 * 1024);
    sqlite3_limit(db->handle, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_wal_autocheckpoint(db->handle, 0);
    sqlite3_wal_hook(db->handle, count_log, db);
    int r = ledger_db_exec(db,
                           "PRAGMA locking_mode=EXCLUSIVE;"
                           "PRAGMA temp_store=MEMORY;"
                           "PRAGMA cell_size_check=ON;"
                           "PRAGMA foreign_keys=ON;"
                           "PRAGMA synchronous=EXTRA;"
                           "PRAGMA journal_size_limit=16777216;"
                           "PRAGMA cache_size=-8192",
                           err);
    db->full = true;
    if (r == 0)
        r = enter_wal(db, err);
    /* In this mode the lock is taken by the first transaction and never given back. */
    if (r == 0)
        r = ledger_db_exec(db, "BEGIN IMMEDIATE; COMMIT", err);
    return r;
}

int ledger_db_open(struct ledger_db *db, struct err *err)
{
    db->log_pages = 0;
    int r = open_locked(db, err);
    if (r == 0)
        r = ledger_schema_apply(db, err);
    if (r < 0)
        ledger_db_close(db);
    return r;
}

void ledger_db_close(struct ledger_db *db)
{
    ledger_backup_abort(db);
    ledger_statements_finish(db);
    for (size_t i = 0; i < LEDGER_CONTROL_COUNT; i++) {
        sqlite3_finalize(db->controls[i]);
        db->controls[i] = NULL;
    }
    sqlite3_close(db->handle);
    db->handle = NULL;
}

/* ---- durability
 * -------------------------------------------------------------------------------------*/

int ledger_db_set_full(struct ledger_db *db, bool full, struct err *err)
{
    if (db->full == full)
        return 0;
    int r =
        ledger_db_exec(db, full ? "PRAGMA synchronous=EXTRA" : "PRAGMA synchronous=NORMAL", err);
    if (r == 0)
        db->full = full;
    return r;
}

/* How much of a log stays, and what that costs: one that is written anew from its beginning has its
 * pages in memory and its blocks on disk, one that was cut needs both again, 8 us a page (6.18,
 * ext4). journal_size_limit cuts what grew far past the mark. */
static int checkpoint(struct ledger_db *db, int mode, struct err *err)
{
    int pages = 0, copied = 0;
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, mode, &pages, &copied);
    if (rc != SQLITE_OK)
        return ledger_db_fail(db, "checkpoint the ledger", err);
    db->log_pages = 0;
    return 0;
}

int ledger_db_checkpoint(struct ledger_db *db, struct err *err)
{
    return checkpoint(db, SQLITE_CHECKPOINT_RESTART, err);
}

int ledger_db_probe(struct ledger_db *db, struct err *err)
{
    /* A page that failed to reach the disk may be marked clean in the page cache: what is read back
     * proves nothing. The checkpoint writes every page of the log once more, into the database, and
     * syncs it; only what came through that is believed. Nor is a block of the log that failed
     * used again. */
    int r = db->handle ? 0 : ledger_db_open(db, err);
    if (r == 0)
        r = checkpoint(db, SQLITE_CHECKPOINT_TRUNCATE, err);
    if (r == 0)
        r = ledger_db_set_full(db, true, err);
    if (r == 0)
        r = ledger_db_exec(db,
                           "INSERT INTO meta VALUES ('probe', 1) "
                           "ON CONFLICT (key) DO UPDATE SET value = value + 1",
                           err);
    return r;
}
