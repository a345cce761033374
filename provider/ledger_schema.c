/* This file makes and migrates the ledger's tables: a numbered list that is only ever added to. It
 * never changes a database that a newer berth, a different list or another program has made (L-9).
 *
 * How it is told whose a file is: application_id says "a berth ledger", user_version says up to
 * which migration, and the table `migrations` holds the SHA-256 of each one's text as it was
 * applied. Editing a released migration is thus found at the next start. Each migration is one
 * transaction.
 */
#include "provider/ledger_file.h"
#include "provider/ledger_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/sha256.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int ledger_schema_stop_after;

/* ON DELETE CASCADE: when a life is no longer kept, everything about it goes. Numbers of states,
 * verbs and the like are those of the enums, which are only ever added to at their end. */
static const char *const migrations[] = {
    /* 1: identity, sessions, what starts and what is under way */
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE sessions ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  workspace_id TEXT NOT NULL, session_id TEXT NOT NULL, owner TEXT NOT NULL,"
    "  state TEXT NOT NULL, reason TEXT NOT NULL,"
    "  incarnation INTEGER NOT NULL, last_seq INTEGER NOT NULL,"
    "  exec_order INTEGER NOT NULL DEFAULT 0, interrupt_floor INTEGER NOT NULL DEFAULT 0,"
    "  created_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL,"
    "  ttl_ms INTEGER NOT NULL, idle_after_ms INTEGER NOT NULL, idle_action INTEGER NOT NULL,"
    "  spec BLOB NOT NULL, spec_hash TEXT NOT NULL, labels TEXT NOT NULL"
    ") STRICT;"
    "CREATE UNIQUE INDEX sessions_alive ON sessions (workspace_id, session_id)"
    "  WHERE state NOT IN ('failed', 'destroyed');"
    "CREATE INDEX sessions_name ON sessions (workspace_id, session_id, id);"
    "CREATE INDEX sessions_owner ON sessions (owner, id);"
    "CREATE INDEX sessions_over ON sessions (changed_ms) WHERE state IN ('failed', 'destroyed');"
    "CREATE TABLE incarnations ("
    "  session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
    "  incarnation INTEGER NOT NULL, boot_id TEXT NOT NULL DEFAULT '',"
    "  init_pid INTEGER NOT NULL DEFAULT 0, init_start INTEGER NOT NULL DEFAULT 0,"
    "  cgroup_inode INTEGER NOT NULL DEFAULT 0, netns_inode INTEGER NOT NULL DEFAULT 0,"
    "  uid_base INTEGER NOT NULL DEFAULT 0, uid_count INTEGER NOT NULL DEFAULT 0,"
    "  effective TEXT NOT NULL DEFAULT '', started_ms INTEGER NOT NULL,"
    "  ended_ms INTEGER NOT NULL DEFAULT 0, end_reason TEXT NOT NULL DEFAULT '',"
    "  PRIMARY KEY (session, incarnation)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE TABLE intents ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
    "  incarnation INTEGER NOT NULL, verb TEXT NOT NULL, phase INTEGER NOT NULL,"
    "  idempotency INTEGER NOT NULL, floor INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    "  reason TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX intents_session ON intents (session, id);",

    /* 2: commands and what is told */
    "CREATE TABLE execs ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
    "  incarnation INTEGER NOT NULL, exec_id TEXT NOT NULL, ord INTEGER NOT NULL,"
    "  state INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '', command TEXT NOT NULL,"
    "  exit_code INTEGER NOT NULL DEFAULT 0, signal INTEGER NOT NULL DEFAULT 0,"
    "  accepted_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL DEFAULT 0,"
    "  ended_ms INTEGER NOT NULL DEFAULT 0, cpu_ms INTEGER NOT NULL DEFAULT 0,"
    "  max_rss_bytes INTEGER NOT NULL DEFAULT 0, output_bytes INTEGER NOT NULL DEFAULT 0,"
    "  oom_kills INTEGER NOT NULL DEFAULT 0, output_truncated INTEGER NOT NULL DEFAULT 0,"
    "  keep_children INTEGER NOT NULL DEFAULT 0, idempotency INTEGER NOT NULL DEFAULT 0,"
    "  UNIQUE (session, exec_id), UNIQUE (session, ord)"
    ") STRICT;"
    "CREATE INDEX execs_live ON execs (session, ord) WHERE state <> 3;"
    "CREATE INDEX execs_ended ON execs (ended_ms) WHERE state = 3;"
    "CREATE TABLE events ("
    "  session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
    "  seq INTEGER NOT NULL, time_ms INTEGER NOT NULL, type TEXT NOT NULL, data TEXT NOT NULL,"
    "  PRIMARY KEY (session, seq)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX events_time ON events (time_ms);"
    "CREATE TABLE idempotency ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  workspace_id TEXT NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL, key TEXT NOT NULL,"
    "  fingerprint TEXT NOT NULL, status INTEGER NOT NULL, body BLOB NOT NULL,"
    "  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
    "  UNIQUE (workspace_id, key, path, method)"
    ") STRICT;"
    "CREATE INDEX idempotency_expires ON idempotency (expires_ms);",

    /* 3: what sessions hold, what they used, what is due */
    "CREATE TABLE volumes ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  workspace_id TEXT NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL, UNIQUE (workspace_id, name)"
    ") STRICT;"
    "CREATE TABLE volume_uses ("
    "  volume INTEGER NOT NULL REFERENCES volumes (id) ON DELETE RESTRICT,"
    "  session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
    "  read_only INTEGER NOT NULL, live INTEGER NOT NULL, PRIMARY KEY (volume, session)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX volume_uses_session ON volume_uses (session);"
    "CREATE TABLE uid_ranges ("
    "  base INTEGER PRIMARY KEY, count INTEGER NOT NULL,"
    "  session INTEGER NOT NULL UNIQUE REFERENCES sessions (id) ON DELETE CASCADE,"
    "  incarnation INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE usage ("
    "  session INTEGER PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,"
    "  cpu_ns INTEGER NOT NULL, memory_byte_seconds INTEGER NOT NULL,"
    "  memory_byte_ms_rest INTEGER NOT NULL, memory_peak_bytes INTEGER NOT NULL,"
    "  disk_bytes INTEGER NOT NULL, net_tx_bytes INTEGER NOT NULL, net_rx_bytes INTEGER NOT NULL,"
    "  exec_count INTEGER NOT NULL, running_ms INTEGER NOT NULL, parked_ms INTEGER NOT NULL,"
    "  raw_incarnation INTEGER NOT NULL, raw_cpu_ns INTEGER NOT NULL,"
    "  raw_net_tx_bytes INTEGER NOT NULL, raw_net_rx_bytes INTEGER NOT NULL,"
    "  raw_time_ms INTEGER NOT NULL, raw_running INTEGER NOT NULL"
    ") STRICT;"
    "CREATE TABLE timers ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  session INTEGER NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,"
    "  exec INTEGER NOT NULL, kind INTEGER NOT NULL, clock INTEGER NOT NULL,"
    "  due_ms INTEGER NOT NULL, remaining_ms INTEGER NOT NULL,"
    "  UNIQUE (session, exec, kind)"
    ") STRICT;"
    "CREATE INDEX timers_due ON timers (clock, due_ms) WHERE due_ms >= 0;"
    "CREATE TABLE audit ("
    "  id INTEGER PRIMARY KEY AUTOINCREMENT, time_ms INTEGER NOT NULL,"
    "  workspace_id TEXT NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL,"
    "  target TEXT NOT NULL, outcome TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX audit_time ON audit (time_ms);",

    /* 4: what failed of a command that could not be started */
    ("ALTER TABLE execs ADD COLUMN failed_step TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE execs ADD COLUMN failed_errno INTEGER NOT NULL DEFAULT 0;"),

    /* 5: the rules of a session's network are replaced while it lives (NET-6) */
    ("ALTER TABLE sessions ADD COLUMN network_revision INTEGER NOT NULL DEFAULT 1;"
     "ALTER TABLE intents ADD COLUMN spec BLOB NOT NULL DEFAULT x'';"
     "ALTER TABLE intents ADD COLUMN spec_hash TEXT NOT NULL DEFAULT '';"),

    /* 6: how often a session was refused something, and how often while a command ran */
    ("ALTER TABLE sessions ADD COLUMN network_denied INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE execs ADD COLUMN network_denied INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE execs ADD COLUMN events_after INTEGER NOT NULL DEFAULT 0;"),

    /* 7: what the ruleset of a session's network counted */
    ("ALTER TABLE usage ADD COLUMN network_passed INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE usage ADD COLUMN network_denied_tcp INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE usage ADD COLUMN network_denied_udp INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE usage ADD COLUMN network_denied_other INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE usage ADD COLUMN raw_network_passed INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE usage ADD COLUMN raw_network_denied_tcp INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE usage ADD COLUMN raw_network_denied_udp INTEGER NOT NULL DEFAULT 0;"
     "ALTER TABLE usage ADD COLUMN raw_network_denied_other INTEGER NOT NULL DEFAULT 0;"),

    /* 8: who may call over a network. A hash, never a secret; `policy` is for tokens that are bound
     * to one. */
    ("CREATE TABLE tokens ("
     "  id INTEGER PRIMARY KEY AUTOINCREMENT,"
     "  token_id TEXT NOT NULL UNIQUE, hash TEXT NOT NULL UNIQUE, name TEXT NOT NULL,"
     "  workspaces TEXT NOT NULL, verbs TEXT NOT NULL, policy TEXT NOT NULL DEFAULT '',"
     "  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,"
     "  revoked_ms INTEGER NOT NULL DEFAULT 0, used_ms INTEGER NOT NULL DEFAULT 0"
     ") STRICT;"),

    /* 9: under which policy of a token a session was made: its SHA-256; '': of none */
    "ALTER TABLE sessions ADD COLUMN policy TEXT NOT NULL DEFAULT '';",

    /* 10: the audit has a bound. How many rows each workspace has there, and how many it had more,
     * are counted by the database itself, so that no writer can forget to. Rows of files are
     * counted apart: they are what a client makes thousands of. */
    ("ALTER TABLE audit ADD COLUMN of_files INTEGER GENERATED ALWAYS AS (what IN ('file_write',"
     " 'file_remove', 'files_mkdir', 'files_move', 'files_chmod', 'tree_write', 'tar_write',"
     " 'upload', 'outputs_collect')) VIRTUAL;"
     "CREATE INDEX audit_workspace ON audit (workspace_id, of_files, id);"
     "CREATE TABLE audit_counts ("
     "  workspace_id TEXT PRIMARY KEY, kept INTEGER NOT NULL, kept_files INTEGER NOT NULL,"
     "  trimmed INTEGER NOT NULL DEFAULT 0, trimmed_until_ms INTEGER NOT NULL DEFAULT 0"
     ") STRICT, WITHOUT ROWID;"
     "CREATE INDEX audit_counts_kept ON audit_counts (kept);"
     "INSERT INTO audit_counts (workspace_id, kept, kept_files)"
     "  SELECT workspace_id, count(*), sum(of_files) FROM audit GROUP BY workspace_id;"
     "CREATE TRIGGER audit_added AFTER INSERT ON audit BEGIN"
     "  INSERT INTO audit_counts (workspace_id, kept, kept_files)"
     "   VALUES (new.workspace_id, 1, new.of_files) ON CONFLICT (workspace_id)"
     "   DO UPDATE SET kept = kept + 1, kept_files = kept_files + new.of_files;"
     " END;"
     "CREATE TRIGGER audit_removed AFTER DELETE ON audit BEGIN"
     "  UPDATE audit_counts SET kept = kept - 1, kept_files = kept_files - old.of_files"
     "   WHERE workspace_id = old.workspace_id;"
     " END;"),
};

enum { LATEST = (int)ARRAY_LENGTH(migrations) };
_Static_assert(LATEST == (int)LEDGER_SCHEMA_LATEST, "ledger_file.h tells it to who has no SQLite");

int ledger_schema_latest(void)
{
    return LATEST;
}

/* One number that `sql` answers; plain, because the tables of statements need the tables. */
static int number(struct ledger_db *db, const char *sql, int64_t *ret, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    int64_t value = rc == SQLITE_ROW ? sqlite3_column_int64(s, 0) : 0;
    int r = rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : ledger_db_fail(db, "read the ledger", err);
    sqlite3_finalize(s);
    if (r == 0)
        *ret = value;
    return r;
}

static int refuse(const char *why, struct err *err)
{
    return err_set(err, ERR_INTERNAL, EPROTO, "open the ledger", NULL,
                   "%s It was not changed. Use the berth that made it, or another state directory.",
                   why);
}

static int check_known(struct ledger_db *db, int have, struct err *err)
{
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(db->handle, "SELECT version, checksum FROM migrations ORDER BY version",
                           -1, &s, NULL) != SQLITE_OK)
        return ledger_db_fail(db, "read the ledger's migrations", err);
    int r = 0, seen = 0, rc;
    while (r == 0 && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        char hex[65];
        int version = sqlite3_column_int(s, 0);
        const char *stored = (const char *)sqlite3_column_text(s, 1);
        seen++;
        if (version != seen || version > LATEST) {
            r = refuse("Its list of migrations is not ours.", err);
            break;
        }
        sha256_hex(migrations[version - 1], strlen(migrations[version - 1]), hex);
        if (!stored || strcmp(stored, hex) != 0)
            r = refuse("One of its migrations has another text than ours.", err);
    }
    sqlite3_finalize(s);
    if (r == 0 && rc != SQLITE_DONE)
        r = ledger_db_fail(db, "read the ledger's migrations", err);
    if (r == 0 && seen != have)
        r = refuse("It does not say which migrations were applied.", err);
    return r;
}

static int apply_one(struct ledger_db *db, int version, struct err *err)
{
    char hex[65], note[320];
    const char *text = migrations[version - 1];
    sha256_hex(text, strlen(text), hex);
    snprintf(note, sizeof note,
             "INSERT INTO migrations VALUES (%d, '%s', unixepoch() * 1000);"
             "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             version, hex, LEDGER_APPLICATION_ID, version);
    int r = ledger_db_exec(db, "BEGIN IMMEDIATE", err);
    if (r == 0 && version == 1)
        r = ledger_db_exec(db,
                           "CREATE TABLE migrations (version INTEGER PRIMARY KEY, checksum TEXT NOT"
                           " NULL, applied_ms INTEGER NOT NULL) STRICT",
                           err);
    if (r == 0)
        r = ledger_db_exec(db, text, err);
    if (r == 0)
        r = ledger_db_exec(db, note, err);
    if (r < 0)
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

int ledger_schema_apply(struct ledger_db *db, struct err *err)
{
    int64_t application = 0, have = 0, tables = 0;
    int r = number(db, "PRAGMA application_id", &application, err);
    if (r == 0)
        r = number(db, "PRAGMA user_version", &have, err);
    if (r == 0)
        r = number(db, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (r < 0)
        return r;
    if (tables > 0 && application != LEDGER_APPLICATION_ID)
        return refuse("This is a database of another program.", err);
    if (have < 0)
        return refuse("Its version is a negative number: it is damaged.", err);
    if (have > LATEST)
        return refuse("It was made by a newer berth.", err);
    if (tables > 0)
        r = check_known(db, (int)have, err);
    int until = LATEST;
    if (ledger_schema_stop_after > 0 && ledger_schema_stop_after < LATEST)
        until = ledger_schema_stop_after;
    for (int version = (int)have + 1; r == 0 && version <= until; version++)
        r = apply_one(db, version, err);
    return r;
}
