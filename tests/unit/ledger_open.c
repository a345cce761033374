/* This file tests whose database is opened, how it is migrated, and that nobody else has it. */
#include "ledger_fixture.h"
#include "provider/ledger_internal.h"

#include <errno.h>
#include <sys/wait.h>

TestSuite(ledger_open, .init = fixture_make_directory, .fini = fixture_fini);

static void sql(const char *text)
{
    char path[128];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/ledger", fixture_directory);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void must_refuse(int expected, const char *words)
{
    struct err err = {0};
    struct stat before, after;
    char path[128];
    snprintf(path, sizeof path, "%s/ledger", fixture_directory);
    stat(path, &before);
    cr_assert_eq(ledger_open(&fixture_ledger, &fixture_options, &err), -expected);
    cr_assert(strstr(err.detail, words), "%s", err.detail);
    stat(path, &after);
    cr_assert_eq(before.st_size, after.st_size);
}

Test(ledger_open, each_opening_moves_the_epoch_and_keeps_the_instance)
{
    struct ledger_status first, second;
    fixture_open();
    ledger_status(fixture_ledger, &first);
    fixture_reopen();
    ledger_status(fixture_ledger, &second);
    cr_assert_eq(second.epoch, first.epoch + 1);
    cr_assert_eq(strlen(first.instance), 16);
    cr_assert_str_eq(first.instance, second.instance);
}

Test(ledger_open, every_older_version_is_migrated_to_the_latest)
{
    cr_assert_geq(ledger_schema_latest(), 3);
    for (int version = 1; version <= ledger_schema_latest(); version++) {
        struct ledger_db db = {0};
        struct err err = {0};
        snprintf(db.path, sizeof db.path, "%s/ledger", fixture_directory);
        ledger_schema_stop_after = version;
        fixture_must(ledger_db_open(&db, &err), &err);
        ledger_db_close(&db);
        ledger_schema_stop_after = 0;
        fixture_open();
        verb_do("w", "s", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
        ledger_close(fixture_ledger);
        fixture_ledger = NULL;
        unlink(db.path);
    }
}

Test(ledger_open, a_newer_database_is_refused_and_not_touched)
{
    fixture_open();
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    sql("PRAGMA user_version = 999");
    must_refuse(EPROTO, "newer berth");
}

Test(ledger_open, a_migration_with_another_text_is_refused)
{
    fixture_open();
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    sql("UPDATE migrations SET checksum = 'x' WHERE version = 2");
    must_refuse(EPROTO, "another text");
    sql("DELETE FROM migrations WHERE version = 2");
    must_refuse(EPROTO, "not ours");
    sql("DELETE FROM migrations WHERE version > 1");
    must_refuse(EPROTO, "does not say");
}

Test(ledger_open, a_database_of_another_program_is_refused)
{
    sql("CREATE TABLE x (y)");
    must_refuse(EPROTO, "another program");
}

Test(ledger_open, a_file_that_is_no_database_is_refused)
{
    char path[128], text[4096];
    memset(text, 'x', sizeof text);
    snprintf(path, sizeof path, "%s/ledger", fixture_directory);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert_eq(write(fd, text, sizeof text), (ssize_t)sizeof text);
    close(fd);
    must_refuse(EUCLEAN, "no database");
}

Test(ledger_open, a_directory_that_is_not_there_is_a_clear_error)
{
    struct err err = {0};
    struct ledger_options options = {.directory = "/tmp/berth-no-such-directory"};
    struct ledger *ledger = NULL;
    cr_assert_lt(ledger_open(&ledger, &options, &err), 0);
    cr_assert_gt(strlen(err.detail), 20);
    cr_assert_null(ledger);
}

Test(ledger_open, a_second_owner_is_refused_until_the_first_is_gone)
{
    int ready[2], status;
    cr_assert_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        fixture_open();
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    char byte;
    struct err err = {0};
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_assert_eq(ledger_open(&fixture_ledger, &fixture_options, &err), -EBUSY);
    cr_assert(strstr(err.detail, "Another berth"), "%s", err.detail);
    kill(child, SIGKILL);
    cr_assert_eq(waitpid(child, &status, 0), child);
    fixture_open();
}

Test(ledger_open, no_shared_memory_file_is_made_and_the_log_is_gone_after_an_orderly_end)
{
    char path[128];
    fixture_open();
    verb_do("w", "s", SESSION_EVENT_CREATE, SESSION_EVENT_STARTED);
    snprintf(path, sizeof path, "%s/ledger-shm", fixture_directory);
    cr_assert_neq(access(path, F_OK), 0);
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    snprintf(path, sizeof path, "%s/ledger-wal", fixture_directory);
    cr_assert_neq(access(path, F_OK), 0);
}
