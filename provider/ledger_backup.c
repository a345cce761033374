/* This file copies the ledger while it is written: some pages at a time, between transactions. It
 * never changes the ledger, and never holds a transaction up for longer than one piece takes.
 *
 * The copy is made with the ledger's own connection, because nobody else can have one (its lock is
 * exclusive): SQLite carries what is written meanwhile over by itself, so the copy is the ledger as
 * it is when the last piece is made. It has no name any more when it is handed over.
 */
#include "provider/ledger_internal.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PIECE_PAGES = 256 };

static const char step_name[] = "copy the ledger";

static void name_of(const struct ledger_db *db, char ret[LEDGER_PATH_SIZE + 8])
{
    snprintf(ret, LEDGER_PATH_SIZE + 8, "%s.backup", db->path);
}

void ledger_backup_forget(const struct ledger_db *db)
{
    char name[LEDGER_PATH_SIZE + 8];
    name_of(db, name);
    unlink(name);
}

void ledger_backup_abort(struct ledger_db *db)
{
    if (!db->copy)
        return;
    sqlite3_backup_finish(db->backup);
    sqlite3_close(db->copy);
    db->backup = NULL;
    db->copy = NULL;
    ledger_backup_forget(db);
}

static int failed(struct ledger_db *db, int code, struct err *err)
{
    int sys = db->copy ? sqlite3_system_errno(db->copy) : 0;
    int r = ledger_db_code(code, sys, step_name, db->copy ? sqlite3_errmsg(db->copy) : NULL, err);
    ledger_backup_abort(db);
    return r;
}

int ledger_backup_begin(struct ledger_db *db, struct err *err)
{
    char name[LEDGER_PATH_SIZE + 8];
    name_of(db, name);
    ledger_backup_forget(db);
    int rc = sqlite3_open_v2(name, &db->copy,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                                 SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_EXRESCODE,
                             db->vfs);
    /* Who wants it to last syncs what he makes of it. */
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(db->copy,
                          "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF;"
                          "PRAGMA synchronous=OFF",
                          NULL, NULL, NULL);
    if (rc != SQLITE_OK)
        return failed(db, rc, err);
    db->backup = sqlite3_backup_init(db->copy, "main", db->handle, "main");
    return db->backup ? 0 : failed(db, sqlite3_errcode(db->copy), err);
}

int ledger_backup_piece(struct ledger_db *db, struct err *err)
{
    int rc = sqlite3_backup_step(db->backup, PIECE_PAGES);
    if (rc == SQLITE_OK)
        return LEDGER_BACKUP_MORE;
    return rc == SQLITE_DONE ? 0 : failed(db, rc, err);
}

int ledger_backup_end(struct ledger_db *db, int *ret_fd, struct err *err)
{
    char name[LEDGER_PATH_SIZE + 8];
    name_of(db, name);
    int rc = sqlite3_backup_finish(db->backup);
    db->backup = NULL;
    if (rc != SQLITE_OK)
        return failed(db, rc, err);
    _cleanup_fd_ int fd = open(name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int sys = errno;
    ledger_backup_abort(db); /* closes it and takes its name */
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, sys, step_name, NULL, NULL);
    *ret_fd = take_fd(&fd);
    return 0;
}
