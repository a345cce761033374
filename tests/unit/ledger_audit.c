/* This file tests the bound of the audit: which rows go, that each is counted, and that the
 * database finds them without looking at the others. Times are the test's own. */
#include "ledger_fixture.h"
#include "provider/ledger_internal.h"

TestSuite(ledger_audit, .init = fixture_init, .fini = fixture_fini, .timeout = 60);

struct added {
    const char *workspace_id, *what;
    int count;
    int64_t time_ms; /* of the first; each one more is a millisecond later */
};

static int apply_add(struct ledger_tx *tx, void *data, struct err *err)
{
    const struct added *a = data;
    int r = 0;
    for (int i = 0; r == 0 && i < a->count; i++)
        r = ledger_audit_add(tx, a->workspace_id, "uid 1", a->what, "s", "done", a->time_ms + i,
                             err);
    return r;
}

static void add(const char *workspace_id, const char *what, int count, int64_t time_ms)
{
    struct added a = {workspace_id, what, count, time_ms};
    struct err err = {0};
    fixture_must(fixture_run(LEDGER_OP_AUDIT_ADD, apply_add, &a, &err), &err);
}

struct trimming {
    struct ledger_audit_bound bound;
    int64_t max;
    int64_t done;
};

static int apply_trim(struct ledger_tx *tx, void *data, struct err *err)
{
    struct trimming *t = data;
    return ledger_audit_trim(tx, &t->bound, t->max, &t->done, err);
}

static int64_t trim(int64_t workspace_rows, int64_t rows, int64_t max)
{
    struct trimming t = {.bound = {workspace_rows, rows}, .max = max};
    struct err err = {0};
    fixture_must(fixture_run(LEDGER_OP_AUDIT_TRIM, apply_trim, &t, &err), &err);
    return t.done;
}

static int apply_purge(struct ledger_tx *tx, void *data, struct err *err)
{
    struct ledger_purged purged;
    return ledger_purge(tx, *(int64_t *)data, 1000, &purged, err);
}

/* What `sql` answers of the file, while nobody has it: for each row its columns, "a b\n". */
static const char *asked(const char *sql)
{
    static char text[8192];
    char path[128];
    size_t n = 0;
    sqlite3 *db;
    sqlite3_stmt *s;
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    snprintf(path, sizeof path, "%s/ledger", fixture_directory);
    cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
    cr_assert_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK, "%s: %s", sql,
                 sqlite3_errmsg(db));
    text[0] = 0;
    while (sqlite3_step(s) == SQLITE_ROW)
        for (int c = 0; c < sqlite3_column_count(s); c++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%s",
                                  c   ? " "
                                  : n ? "\n"
                                      : "",
                                  (const char *)sqlite3_column_text(s, c));
    sqlite3_finalize(s);
    sqlite3_close(db);
    fixture_open();
    return text;
}

static const char counts[] =
    "SELECT workspace_id, kept, trimmed, trimmed_until_ms FROM audit_counts ORDER BY 1";

Test(ledger_audit, what_is_within_the_bound_stays)
{
    cr_expect_eq(trim(10, 10, 10), 0, "there is none at all");
    add("w", "file_write", 10, 1000);
    cr_expect_eq(trim(10, 10, 10), 0);
    cr_expect_str_eq(asked(counts), "w 10 0 0");
}

Test(ledger_audit, a_workspace_that_has_too_many_loses_its_oldest_in_pieces_and_each_is_counted)
{
    add("quiet", "file_write", 5, 500);
    add("w", "file_write", 30, 1000);
    cr_expect_eq(trim(10, 1000, 8), 8);
    cr_expect_str_eq(asked(counts), "quiet 5 0 0\nw 22 8 1007");
    cr_expect_eq(trim(10, 1000, 8), 8);
    cr_expect_eq(trim(10, 1000, 8), 4);
    cr_expect_eq(trim(10, 1000, 8), 0);
    cr_expect_str_eq(asked(counts), "quiet 5 0 0\nw 10 20 1019");
    cr_expect_str_eq(asked("SELECT min(time_ms), count(*) FROM audit WHERE workspace_id = 'w'"),
                     "1020 10");
}

/* What is done to files, and all else: neither takes more than half of the bound from the other. */
Test(ledger_audit, many_rows_of_files_leave_the_others_and_many_others_leave_those_of_files)
{
    static const char *const files[] = {"file_write", "file_remove", "files_mkdir",
                                        "files_move", "files_chmod", "tree_write",
                                        "tar_write",  "upload",      "outputs_collect"};
    add("w", "create", 2, 1000);
    add("w", "exec", 3, 1010);
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++)
        add("w", files[i], 2, 2000 + (int64_t)i * 10);
    cr_expect_eq(trim(12, 1000, 100), 11);
    cr_expect_str_eq(asked("SELECT what, count(*) FROM audit GROUP BY 1 ORDER BY min(id)"),
                     "create 2\nexec 3\ntree_write 1\ntar_write 2\nupload 2\noutputs_collect 2");
    cr_expect_str_eq(asked("SELECT kept, kept_files, trimmed FROM audit_counts"), "12 7 11");
    add("w", "exec", 30, 3000);
    cr_expect_eq(trim(12, 1000, 100), 30);
    cr_expect_str_eq(asked("SELECT of_files, count(*), max(time_ms) FROM audit GROUP BY 1"),
                     "0 5 3029\n1 7 2081");
}

Test(ledger_audit, of_all_together_whoever_has_most_loses_some_and_the_others_nothing)
{
    add("-", "token_create", 4, 1000);
    add("quiet", "exec_start", 4, 1000);
    add("a", "file_write", 20, 2000);
    add("b", "file_write", 16, 3000);
    int64_t rows = 0;
    for (int pieces = 0; pieces < 20; pieces++)
        rows += trim(1000, 30, 4);
    cr_expect_eq(rows, 14);
    cr_expect_str_eq(asked("SELECT workspace_id, kept, trimmed FROM audit_counts ORDER BY 1"),
                     "- 4 0\na 12 8\nb 10 6\nquiet 4 0");
    /* A bound that one workspace cannot give is taken from the next. */
    for (int pieces = 0; pieces < 20; pieces++)
        rows += trim(1000, 2, 100);
    cr_expect_eq(rows, 42);
    cr_expect_str_eq(asked("SELECT count(*) FROM audit"), "2");
}

Test(ledger_audit, age_is_no_trimming_and_a_count_goes_with_the_last_row)
{
    const int64_t days = 90 * 24 * 3600 * 1000LL;
    int64_t now = 1005 + days, later = 1009 + days;
    add("w", "file_write", 10, 1000);
    cr_expect_eq(trim(8, 1000, 100), 2);
    struct err err = {0};
    fixture_must(fixture_run(LEDGER_OP_PURGE, apply_purge, &now, &err), &err);
    cr_expect_str_eq(asked(counts), "w 4 2 1001");
    fixture_must(fixture_run(LEDGER_OP_PURGE, apply_purge, &later, &err), &err);
    cr_expect_str_eq(asked(counts), "");
}

Test(ledger_audit, rows_are_found_by_an_index_however_many_there_are)
{
    const char *name, *sql, *scope;
    unsigned seen = 0;
    for (unsigned n = 0; ledger_statement_describe(n, &name, &sql, &scope); n++) {
        if (strncmp(name, "AUDIT_", 6) != 0 || strcmp(name, "AUDIT_INSERT") == 0)
            continue;
        char explain[1024];
        snprintf(explain, sizeof explain, "EXPLAIN QUERY PLAN %s", sql);
        const char *plan = asked(explain);
        seen++;
        cr_expect_null(strstr(plan, "TEMP B-TREE"), "%s: %s", name, plan);
        cr_expect_null(strstr(plan, "SCAN audit\n"), "%s: %s", name, plan);
        cr_expect_null(strstr(plan, "SCAN audit "), "%s: %s", name, plan);
        if (strstr(sql, "FROM audit WHERE"))
            cr_expect(strstr(plan, "INDEX audit_workspace (workspace_id=? AND of_files=?)"),
                      "%s: %s", name, plan);
        if (strcmp(name, "AUDIT_LARGEST") == 0 || strcmp(name, "AUDIT_COUNT_ALL") == 0)
            cr_expect(strstr(plan, "INDEX audit_counts_kept"), "%s: %s", name, plan);
    }
    cr_expect_eq(seen, 4);
}

Test(ledger_audit, an_older_ledger_is_counted_as_it_is_migrated)
{
    struct ledger_db db = {0};
    struct err err = {0};
    snprintf(db.path, sizeof db.path, "%s/ledger", fixture_directory);
    ledger_close(fixture_ledger);
    unlink(db.path);
    ledger_schema_stop_after = 9;
    fixture_must(ledger_db_open(&db, &err), &err);
    fixture_must(ledger_db_exec(&db,
                                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                                " WHERE i < 30000) INSERT INTO audit (time_ms, workspace_id, who,"
                                " what, target, outcome) SELECT i, 'w' || (i % 3), 'uid 1',"
                                " iif(i % 2, 'file_write', 'exec_start'), 's', 'done' FROM n",
                                &err),
                 &err);
    ledger_db_close(&db);
    ledger_schema_stop_after = 0;
    fixture_open();
    cr_expect_str_eq(asked(counts), "w0 10000 0 0\nw1 10000 0 0\nw2 10000 0 0");
    for (int piece = 0; piece < 3; piece++)
        cr_expect_eq(trim(9000, 1000000, 1000), 1000);
    cr_expect_eq(trim(9000, 1000000, 1000), 0);
    cr_expect_str_eq(asked("SELECT count(*), sum(what = 'file_write') FROM audit"), "27000 15000");
}
