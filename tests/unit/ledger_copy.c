/* This file tests copies of a ledger: made while it is written, and brought back
 * (docs/operations.md). */
#include "ledger_fixture.h"
#include "provider/ledger_file.h"
#include "provider/ledger_internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/sendfile.h>

TestSuite(ledger_copy, .init = fixture_init, .fini = fixture_fini);

static unsigned copies;

static void copied(struct ledger_job *job)
{
    (void)job;
    copies++;
}

static void path_of(const char *name, char ret[128])
{
    snprintf(ret, 128, "%s/%s", fixture_directory, name);
}

static void wait_copies(unsigned wanted)
{
    while (copies < wanted) {
        struct pollfd p = {.fd = ledger_fd(fixture_ledger), .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 20000), 1);
        ledger_complete(fixture_ledger);
    }
}

/* As `name` in the ledger's directory. */
static void copy_to(const char *name)
{
    struct ledger_backup backup = {.job = {.done = copied}};
    struct err err = {0};
    struct stat st;
    char path[128];
    fixture_must(ledger_backup(fixture_ledger, &backup, &err), &err);
    wait_copies(copies + 1);
    fixture_must(backup.job.result, &backup.job.err);
    cr_assert_eq(fstat(backup.fd, &st), 0);
    cr_expect_eq(st.st_nlink, 0u, "it has a name still");
    path_of(name, path);
    int to = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    cr_assert_eq(sendfile(to, backup.fd, NULL, (size_t)st.st_size), st.st_size);
    close(to);
    close(backup.fd);
}

static int64_t number_in(const char *name, const char *sql)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *s;
    path_of(name, path);
    cr_assert_eq(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    cr_assert_eq(sqlite3_step(s), SQLITE_ROW);
    int64_t value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

static void close_ledger(void)
{
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
}

struct event {
    struct ledger_job job;
    int64_t session;
};

static int add_event(struct ledger_tx *tx, void *data, struct err *err)
{
    const struct event *event = data;
    return ledger_event_add(tx, event->session, "session.note", "{\"text\":\"0123456789\"}", 1,
                            NULL, err);
}

enum { SESSIONS = 40, MANY = 4000 };

static void make_sessions(unsigned from, unsigned to)
{
    char id[16];
    for (unsigned i = from; i < to; i++) {
        snprintf(id, sizeof id, "s%u", i);
        verb_do("w", id, SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
    }
}

Test(ledger_copy, a_copy_is_whole_and_has_all_that_was_written_before_it_was_asked_for)
{
    make_sessions(0, SESSIONS);
    copy_to("copy");
    close_ledger();
    cr_expect_eq(number_in("copy", "SELECT count(*) FROM sessions"), SESSIONS);
    cr_expect_eq(number_in("copy", "PRAGMA user_version"), LEDGER_SCHEMA_LATEST);
    cr_expect_eq(number_in("copy", "PRAGMA application_id"), LEDGER_APPLICATION_ID);
    cr_expect_eq(number_in("copy", "SELECT (SELECT * FROM pragma_integrity_check) = 'ok'"), 1);
}

Test(ledger_copy, what_is_written_meanwhile_waits_for_no_copy_and_every_copy_is_one_moment)
{
    /* Many pages: pieces and transactions take turns. */
    static struct event events[MANY];
    struct ledger_backup backup = {.job = {.done = copied}}, second = {.job = {.done = copied}};
    struct err err = {0};
    unsigned submitted = 0;
    make_sessions(0, 2);
    for (unsigned i = 0; i < MANY; i++)
        events[i] = (struct event){
            .job = {.op = LEDGER_OP_EVENT_ADD, .apply = add_event, .data = &events[i]},
            .session = 1 + (int64_t)(i % 2)};
    for (; submitted < MANY / 2; submitted++)
        fixture_must(ledger_run(fixture_ledger, &events[submitted].job, &err), &err);
    fixture_must(ledger_backup(fixture_ledger, &backup, &err), &err);
    cr_expect_eq(ledger_backup(fixture_ledger, &second, &err), -EBUSY);
    for (; submitted < MANY; submitted++)
        fixture_must(ledger_run(fixture_ledger, &events[submitted].job, &err), &err);
    wait_copies(1);
    fixture_must(backup.job.result, &backup.job.err);
    char path[128];
    path_of("copy", path);
    struct stat st;
    fstat(backup.fd, &st);
    int to = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(sendfile(to, backup.fd, NULL, (size_t)st.st_size), st.st_size);
    close(to);
    close(backup.fd);
    close_ledger();
    cr_expect_eq(number_in("copy", "SELECT (SELECT * FROM pragma_integrity_check) = 'ok'"), 1);
    cr_expect_geq(number_in("copy", "SELECT count(*) FROM events WHERE type = 'session.note'"),
                  MANY / 2);
    /* EV-1 in the copy too: the number in the row is the last event's. */
    cr_expect_eq(number_in("copy", "SELECT count(*) FROM sessions s WHERE last_seq <>"
                                   " (SELECT max(seq) FROM events e WHERE e.session = s.id)"),
                 0);
}

Test(ledger_copy, a_copy_that_is_being_made_when_the_ledger_closes_is_refused_and_leaves_nothing)
{
    struct ledger_backup backup = {.job = {.done = copied}};
    struct err err = {0};
    char path[128];
    fixture_must(ledger_backup(fixture_ledger, &backup, &err), &err);
    close_ledger();
    cr_expect_eq(copies, 1u, "it was not answered");
    if (backup.job.result == 0)
        close(backup.fd);
    else
        cr_expect_eq(backup.fd, -1);
    path_of(LEDGER_NAME_BACKUP, path);
    cr_expect_neq(access(path, F_OK), 0);
}

Test(ledger_copy, what_comes_back_is_as_it_was_and_never_gives_a_number_again)
{
    struct ledger_status before, after;
    make_sessions(0, 3);
    copy_to(LEDGER_NAME_RESTORE);
    make_sessions(3, 6);
    ledger_status(fixture_ledger, &before);
    int64_t epoch = (int64_t)before.epoch;
    fixture_reopen();
    ledger_status(fixture_ledger, &after);
    cr_expect_gt((int64_t)after.epoch, epoch + 1000);
    cr_expect_str_eq(after.instance, before.instance);
    make_sessions(10, 11);
    close_ledger();
    cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM sessions"), 4);
    cr_expect_gt(number_in(LEDGER_NAME, "SELECT max(id) FROM sessions"), 1000000);
    cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM incarnations WHERE session <= 3 AND"
                                        " (init_pid <> 0 OR init_start <> 0)"),
                 0);
    cr_expect_eq(number_in(LEDGER_NAME_REPLACED, "SELECT count(*) FROM sessions"), 6,
                 "what was there is kept, with what stood in its log");
    char path[128];
    path_of(LEDGER_NAME_RESTORE, path);
    cr_expect_neq(access(path, F_OK), 0);
}

Test(ledger_copy, what_was_under_way_in_a_copy_removes_no_volume_and_empty_tables_jump_too)
{
    make_sessions(0, 1);
    copy_to(LEDGER_NAME_RESTORE);
    cr_assert_eq(
        number_in(LEDGER_NAME_RESTORE, "SELECT count(*) FROM sqlite_sequence WHERE name = 'execs'"),
        0);
    for (int destroy = 0; destroy < 2; destroy++)
        cr_assert_gt(number_in(LEDGER_NAME_RESTORE,
                               destroy ? "INSERT INTO intents (session, incarnation, verb, phase,"
                                         " idempotency, floor, created_ms, reason) VALUES"
                                         " (1, 1, 'destroy', 1, 0, 0, 0, 'delete_volume')"
                                         " RETURNING id"
                                       : "INSERT INTO intents (session, incarnation, verb, phase,"
                                         " idempotency, floor, created_ms, reason) VALUES"
                                         " (1, 1, 'create', 1, 0, 0, 0, 'new_volume')"
                                         " RETURNING id"),
                     0);
    fixture_reopen();
    close_ledger();
    cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM intents WHERE reason = ''"), 2);
    cr_expect_gt(number_in(LEDGER_NAME, "SELECT seq FROM sqlite_sequence WHERE name = 'execs'"),
                 1000000);
}

static int add_token(struct ledger_tx *tx, void *data, struct err *err)
{
    struct token_row row = {.token_id = "t-1", .hash = "h", .workspaces = "w", .verbs = "read"};
    (void)data;
    return ledger_token_insert(tx, &row, err);
}

Test(ledger_copy, tokens_are_over_in_what_comes_back)
{
    struct err err = {0};
    fixture_must(fixture_run(LEDGER_OP_TOKEN_CREATE, add_token, NULL, &err), &err);
    copy_to(LEDGER_NAME_RESTORE);
    fixture_reopen();
    close_ledger();
    cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM tokens"), 1);
    cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM tokens WHERE revoked_ms = 0"), 0);
}

Test(ledger_copy, what_cannot_come_back_changes_nothing)
{
    static const struct {
        const char *sql, *words;
        int expected;
    } rows[] = {
        {"PRAGMA user_version = 99", "newer berth", EPROTO},
        {"PRAGMA application_id = 7", "another program", EPROTO},
        {"UPDATE migrations SET checksum = 'x' WHERE version = 3", "another text", EPROTO},
    };
    char path[128];
    make_sessions(0, 3);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = {0};
        sqlite3 *db;
        copy_to(LEDGER_NAME_RESTORE);
        path_of(LEDGER_NAME_RESTORE, path);
        cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
        cr_assert_eq(sqlite3_exec(db, rows[i].sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
        close_ledger();
        cr_expect_eq(ledger_open(&fixture_ledger, &fixture_options, &err), -rows[i].expected);
        cr_expect(strstr(err.detail, rows[i].words), "%s", err.detail);
        path_of(LEDGER_NAME_REPLACED, path);
        cr_expect_neq(access(path, F_OK), 0);
        path_of(LEDGER_NAME_RESTORE, path);
        unlink(path);
        fixture_open();
    }
    close_ledger();
    cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM sessions"), 3);
}

Test(ledger_copy, one_that_is_damaged_is_refused_and_the_ledger_stays)
{
    struct err err = {0};
    char path[128], garbage[512];
    make_sessions(0, SESSIONS);
    copy_to(LEDGER_NAME_RESTORE);
    path_of(LEDGER_NAME_RESTORE, path);
    memset(garbage, 0x5a, sizeof garbage);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    struct stat st;
    fstat(fd, &st);
    for (off_t page = 6; page < st.st_size / 4096; page++)
        cr_assert_eq(pwrite(fd, garbage, sizeof garbage, page * 4096), (ssize_t)sizeof garbage);
    close(fd);
    close_ledger();
    cr_expect_lt(ledger_open(&fixture_ledger, &fixture_options, &err), 0);
    cr_expect(strstr(err.detail, "damaged"), "%s", err.detail);
    unlink(path);
    fixture_open();
    close_ledger();
    cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM sessions"), SESSIONS);
}

/* Killed between any two steps, the next start ends what was begun. */
Test(ledger_copy, a_restore_that_was_cut_short_is_ended_by_the_next_start)
{
    char a[128], b[128];
    for (unsigned step = 0; step < 3; step++) {
        char id[16];
        snprintf(id, sizeof id, "x%u", step);
        verb_do("w", id, SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
        copy_to(LEDGER_NAME_RESTORE);
        int64_t kept = number_in(LEDGER_NAME_RESTORE, "SELECT count(*) FROM sessions");
        snprintf(id, sizeof id, "y%u", step);
        verb_do("w", id, SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
        close_ledger();
        /* What stood before is away already; or also its log. */
        path_of(LEDGER_NAME, a);
        path_of(LEDGER_NAME_REPLACED, b);
        if (step > 0)
            cr_assert_eq(rename(a, b), 0);
        fixture_open();
        close_ledger();
        cr_expect_eq(number_in(LEDGER_NAME, "SELECT count(*) FROM sessions"), kept);
        fixture_open();
    }
}

Test(ledger_copy, a_copy_of_each_older_version_comes_back_at_the_latest)
{
    char path[128];
    for (int version = 1; version <= ledger_schema_latest(); version++) {
        struct ledger_db db = {0};
        struct err err = {0};
        close_ledger();
        path_of(LEDGER_NAME_RESTORE, path);
        snprintf(db.path, sizeof db.path, "%s", path);
        ledger_schema_stop_after = version;
        fixture_must(ledger_db_open(&db, &err), &err);
        fixture_must(
            ledger_db_exec(&db, "INSERT INTO meta VALUES ('epoch', 5), ('instance', 'x')", &err),
            &err);
        ledger_db_close(&db);
        ledger_schema_stop_after = 0;
        cr_expect_eq(number_in(LEDGER_NAME_RESTORE, "PRAGMA user_version"), version);
        fixture_open();
        verb_do("w", "s", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
        struct ledger_status status;
        ledger_status(fixture_ledger, &status);
        cr_expect_str_eq(status.instance, "x");
        close_ledger();
        cr_expect_eq(number_in(LEDGER_NAME, "PRAGMA user_version"), ledger_schema_latest());
        fixture_open();
    }
}

Test(ledger_copy, no_event_and_no_incarnation_has_a_number_of_what_the_copy_does_not_know)
{
    struct err err = {0};
    make_sessions(0, 3);
    copy_to(LEDGER_NAME_RESTORE);
    /* What the copy does not know: a hundred events, which a follower has seen. */
    for (int i = 0; i < 100; i++) {
        struct event event = {.session = 1};
        fixture_must(fixture_run(LEDGER_OP_EVENT_ADD, add_event, &event, &err), &err);
    }
    close_ledger();
    int64_t seen = number_in(LEDGER_NAME, "SELECT max(last_seq) FROM sessions"),
            lived = number_in(LEDGER_NAME, "SELECT max(incarnation) FROM incarnations");
    fixture_open();
    struct event event = {.session = 1};
    fixture_must(fixture_run(LEDGER_OP_EVENT_ADD, add_event, &event, &err), &err);
    close_ledger();
    cr_expect_gt(number_in(LEDGER_NAME, "SELECT max(seq) FROM events WHERE session = 1"), seen);
    cr_expect_gt(
        number_in(LEDGER_NAME, "SELECT min(incarnation) FROM incarnations WHERE ended_ms = 0"),
        lived);
    /* Rows that speak of the same life still do. */
    cr_expect_eq(
        number_in(LEDGER_NAME,
                  "SELECT count(*) FROM sessions s WHERE NOT EXISTS (SELECT 1 FROM incarnations i"
                  " WHERE i.session = s.id AND i.incarnation = s.incarnation)"),
        0);
    cr_expect_eq(number_in(LEDGER_NAME,
                           "SELECT count(*) FROM uid_ranges u JOIN sessions s ON s.id = u.session"
                           " WHERE s.incarnation <> u.incarnation"),
                 0);
}

Test(ledger_copy, what_a_killed_process_left_of_a_copy_goes_at_the_next_start)
{
    char path[128];
    close_ledger();
    path_of(LEDGER_NAME_BACKUP, path);
    fclose(fopen(path, "we"));
    fixture_open();
    cr_expect_neq(access(path, F_OK), 0);
}
