/* This file puts a ledger that an operator has brought back in the place of the one that is there;
 * it never does so before the one brought back was read whole and is at the latest migration.
 *
 * Time has gone on since the copy was made, and the kernel does not go back. So what comes back is
 * changed before it is used:
 *   - numbers of rows and the epoch jump ahead: a name that was given since is never given again
 *     (ID-3), and inits take the new front for a newer one (P-8);
 *   - every incarnation is made one that is not what lives: sessions that lived are parked, those
 *     that were made since are in no row and are ended (docs/recovery.md). An init knows commands
 *     of which these rows know nothing; neither side could be believed about them;
 *   - events go on with numbers that nobody has: who follows with the number of one that the copy
 *     does not know would else be told nothing of the next ones. The numbers between stay unused;
 *   - tokens are over: one that was revoked since would be valid again.
 *
 * Each step may be repeated: a crash at any point is gone on with by the next start. What was there
 * keeps its log beside it, under another name.
 */
#include "provider/ledger_file.h"
#include "provider/ledger_internal.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char step[] = "bring the ledger back";

static int failed(const char *name, struct err *err)
{
    return err_set(err, errno == ENOSPC ? ERR_INSUFFICIENT_STORAGE : ERR_UNAVAILABLE, errno, step,
                   name, NULL);
}

static int check_whole(struct ledger_db *db, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->handle, "PRAGMA integrity_check(1)", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    const char *said = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    int r = rc != SQLITE_ROW ? ledger_db_fail(db, step, err) : 0;
    if (r == 0 && (!said || strcmp(said, "ok") != 0))
        r = err_set(err, ERR_INTERNAL, EUCLEAN, step, LEDGER_NAME_RESTORE,
                    "The copy is damaged. Bring another one back, or remove this file from the "
                    "ledger's directory to go on with the ledger that is there.");
    sqlite3_finalize(s);
    return r;
}

static int change(struct ledger_db *db, struct err *err)
{
    return ledger_db_exec(
        db,
        "BEGIN IMMEDIATE;"
        "UPDATE meta SET value = value + 1048576 WHERE key = 'epoch';"
        /* A table that nothing was ever added to has no row there yet. */
        "INSERT INTO sqlite_sequence (name, seq) SELECT name, 0 FROM sqlite_master WHERE type = "
        "'table' AND sql LIKE '%AUTOINCREMENT%' AND name NOT IN (SELECT name FROM sqlite_sequence);"
        "UPDATE sqlite_sequence SET seq = seq + 1048576;"
        /* Verbs that were under way in the copy have ended since: a volume that stands there may
         * be another session's, or this one's with all that was written in it. */
        "UPDATE intents SET reason = '' WHERE reason IN ('new_volume', 'delete_volume');"
        "UPDATE incarnations SET init_pid = 0, init_start = 0, cgroup_inode = 0, netns_inode = 0,"
        " incarnation = incarnation + 1048576 WHERE ended_ms = 0;"
        "UPDATE intents SET incarnation = incarnation + 1048576;"
        "UPDATE uid_ranges SET incarnation = incarnation + 1048576;"
        "UPDATE sessions SET incarnation = incarnation + 1048576, last_seq = last_seq + 1048576;"
        "UPDATE tokens SET revoked_ms = unixepoch() * 1000 WHERE revoked_ms = 0;"
        "INSERT INTO audit (time_ms, workspace_id, who, what, target, outcome)"
        " VALUES (unixepoch() * 1000, '-', 'berth', 'ledger_restore', '', 'restored');"
        "COMMIT",
        err);
}

static int prepare(const char *path, const char *vfs, struct err *err)
{
    struct ledger_db db = {.vfs = vfs};
    snprintf(db.path, sizeof db.path, "%s", path);
    int r = ledger_db_open(&db, err);
    if (r == 0)
        r = check_whole(&db, err);
    if (r == 0)
        r = change(&db, err);
    /* All of it is in the one file then, and on the disk. */
    if (r == 0)
        r = ledger_db_checkpoint(&db, err);
    ledger_db_close(&db);
    return r;
}

/* `from` may be gone already. */
static int move(int directory, const char *from, const char *to, struct err *err)
{
    if (renameat(directory, from, directory, to) < 0 && errno != ENOENT)
        return failed(from, err);
    return 0;
}

int ledger_restore(const char *directory, const char *vfs, struct err *err)
{
    char path[LEDGER_PATH_SIZE];
    if (snprintf(path, sizeof path, "%s/" LEDGER_NAME_RESTORE, directory) >= (int)sizeof path)
        return 0; /* the ledger's own path does not fit either, and says so */
    _cleanup_fd_ int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : failed(directory, err);
    if (faccessat(fd, LEDGER_NAME_RESTORE, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : failed(LEDGER_NAME_RESTORE, err);
    int r = prepare(path, vfs, err);
    /* What stands beside an older replaced ledger is not this one's. */
    if (r == 0 && faccessat(fd, LEDGER_NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        unlinkat(fd, LEDGER_NAME_REPLACED "-wal", 0);
        unlinkat(fd, LEDGER_NAME_REPLACED "-journal", 0);
    }
    /* The log goes with its database: what comes now must not find it. */
    if (r == 0)
        r = move(fd, LEDGER_NAME, LEDGER_NAME_REPLACED, err);
    if (r == 0)
        r = move(fd, LEDGER_NAME "-wal", LEDGER_NAME_REPLACED "-wal", err);
    if (r == 0) /* of a first start that was killed */
        r = move(fd, LEDGER_NAME "-journal", LEDGER_NAME_REPLACED "-journal", err);
    if (r == 0 && fsync(fd) < 0)
        r = failed(LEDGER_NAME, err);
    if (r == 0)
        r = move(fd, LEDGER_NAME_RESTORE, LEDGER_NAME, err);
    if (r == 0 && fsync(fd) < 0)
        r = failed(LEDGER_NAME, err);
    return r;
}
