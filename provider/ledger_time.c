/* This file reads and writes what goes with time: usage, timers, audit, and what is kept how long.
 * It never reads a clock.
 */
#include "provider/ledger_internal.h"
#include "provider/ledger_sql.h"

#include <errno.h>
#include <string.h>

/* ---- usage
 * --------------------------------------------------------------------------------------*/

int ledger_usage_get(struct ledger_tx *tx, int64_t session, struct usage_row *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_USAGE_GET, VALUES(V_INT(session)), &s, err);
    if (r != 0)
        return r;
    *ret = (struct usage_row){
        .session = ledger_int(s, 0),
        .cpu_ns = ledger_int(s, 1),
        .memory_byte_seconds = ledger_int(s, 2),
        .memory_byte_ms_rest = ledger_int(s, 3),
        .memory_peak_bytes = ledger_int(s, 4),
        .disk_bytes = ledger_int(s, 5),
        .net_tx_bytes = ledger_int(s, 6),
        .net_rx_bytes = ledger_int(s, 7),
        .exec_count = ledger_int(s, 8),
        .running_ms = ledger_int(s, 9),
        .parked_ms = ledger_int(s, 10),
        .raw_incarnation = ledger_int(s, 11),
        .raw_cpu_ns = ledger_int(s, 12),
        .raw_net_tx_bytes = ledger_int(s, 13),
        .raw_net_rx_bytes = ledger_int(s, 14),
        .raw_time_ms = ledger_int(s, 15),
        .raw_running = ledger_int(s, 16) != 0,
    };
    for (int i = 0; i < NETWORK_COUNTER_COUNT; i++) {
        ret->network[i] = ledger_int(s, 17 + i);
        ret->raw_network[i] = ledger_int(s, 17 + NETWORK_COUNTER_COUNT + i);
    }
    return 0;
}

_Static_assert(NETWORK_COUNTER_COUNT == 4, "a column for each counter");

int ledger_usage_put(struct ledger_tx *tx, const struct usage_row *row, struct err *err)
{
    return ledger_do(
        tx, SQL_USAGE_PUT,
        VALUES(V_INT(row->session), V_INT(row->cpu_ns), V_INT(row->memory_byte_seconds),
               V_INT(row->memory_byte_ms_rest), V_INT(row->memory_peak_bytes),
               V_INT(row->disk_bytes), V_INT(row->net_tx_bytes), V_INT(row->net_rx_bytes),
               V_INT(row->exec_count), V_INT(row->running_ms), V_INT(row->parked_ms),
               V_INT(row->raw_incarnation), V_INT(row->raw_cpu_ns), V_INT(row->raw_net_tx_bytes),
               V_INT(row->raw_net_rx_bytes), V_INT(row->raw_time_ms), V_INT(row->raw_running),
               V_INT(row->network[0]), V_INT(row->network[1]), V_INT(row->network[2]),
               V_INT(row->network[3]), V_INT(row->raw_network[0]), V_INT(row->raw_network[1]),
               V_INT(row->raw_network[2]), V_INT(row->raw_network[3])),
        NULL, err);
}

/* ---- timers
 * ---------------------------------------------------------------------------------------*/

int ledger_timer_set(struct ledger_tx *tx, const struct timer_row *row, struct err *err)
{
    /* Boot time may only be due in this boot, so only what dies with it may go by it. */
    if ((row->exec != 0) != (row->clock == TIMER_BOOT))
        return err_set(err, ERR_INTERNAL, 0, "set a timer", NULL,
                       "Commands go by time since boot, sessions by real time.");
    return ledger_do(tx, SQL_TIMER_SET,
                     VALUES(V_INT(row->session), V_INT(row->exec), V_INT(row->kind),
                            V_INT(row->clock), V_INT(row->due_ms), V_INT(row->remaining_ms)),
                     NULL, err);
}

int ledger_timer_clear(struct ledger_tx *tx, int64_t session, int64_t exec, enum timer_kind kind,
                       struct err *err)
{
    return ledger_do(tx, SQL_TIMER_CLEAR, VALUES(V_INT(session), V_INT(exec), V_INT(kind)), NULL,
                     err);
}

int ledger_timer_clear_all(struct ledger_tx *tx, int64_t session, bool execs_only, struct err *err)
{
    return ledger_do(tx, SQL_TIMER_CLEAR_SESSION, VALUES(V_INT(session), V_INT(execs_only)), NULL,
                     err);
}

int ledger_timer_stop_execs(struct ledger_tx *tx, int64_t session, int64_t now_boot_ms,
                            struct err *err)
{
    return ledger_do(tx, SQL_TIMER_STOP, VALUES(V_INT(session), V_INT(now_boot_ms)), NULL, err);
}

int ledger_timer_go_on_execs(struct ledger_tx *tx, int64_t session, int64_t now_boot_ms,
                             struct err *err)
{
    return ledger_do(tx, SQL_TIMER_GO_ON, VALUES(V_INT(session), V_INT(now_boot_ms)), NULL, err);
}

int ledger_timer_due(struct ledger_tx *tx, int64_t now_ms, int64_t now_boot_ms,
                     struct timer_row *ret, size_t max, size_t *ret_count, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    size_t n = 0;
    int r = ledger_first(tx, SQL_TIMER_DUE, VALUES(V_INT(now_ms), V_INT(now_boot_ms), V_INT(max)),
                         &s, err);
    while (r == 0 && n < max) {
        ret[n++] = (struct timer_row){
            .id = ledger_int(s, 0),
            .session = ledger_int(s, 1),
            .exec = ledger_int(s, 2),
            .kind = (enum timer_kind)ledger_int(s, 3),
            .clock = (enum timer_clock)ledger_int(s, 4),
            .due_ms = ledger_int(s, 5),
            .remaining_ms = ledger_int(s, 6),
        };
        r = ledger_next(tx, s, err);
    }
    if (r < 0)
        return r;
    *ret_count = n;
    return 0;
}

int ledger_timer_next(struct ledger_tx *tx, int64_t now_ms, int64_t now_boot_ms, int64_t *ret_in_ms,
                      struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int r = ledger_first(tx, SQL_TIMER_NEXT, VALUES(V_INT(now_ms), V_INT(now_boot_ms)), &s, err);
    if (r != 0)
        return r;
    if (sqlite3_column_type(s, 0) == SQLITE_NULL)
        *ret_in_ms = -1;
    else
        *ret_in_ms = ledger_int(s, 0) > 0 ? ledger_int(s, 0) : 0;
    return 0;
}

/* ---- audit, retention
 * -------------------------------------------------------------------------------*/

int ledger_audit_add(struct ledger_tx *tx, const char *workspace_id, const char *who,
                     const char *what, const char *target, const char *outcome, int64_t now_ms,
                     struct err *err)
{
    return ledger_do(tx, SQL_AUDIT_INSERT,
                     VALUES(V_TEXT(workspace_id), V_INT(now_ms), V_TEXT(who), V_TEXT(what),
                            V_TEXT(target), V_TEXT(outcome)),
                     NULL, err);
}

int ledger_audit_count_all(struct ledger_tx *tx, int64_t *ret, struct err *err)
{
    return ledger_number(tx, SQL_AUDIT_COUNT_ALL, NULL, 0, ret, err);
}

/* The workspace that has most rows, how many are too many, and of which of its two kinds they go:
 * files' or others', whichever there are more of. So nobody who makes many of one kind takes more
 * than half of the bound from the other. */
struct audit_excess {
    char workspace_id[LEDGER_ID_SIZE];
    bool files;
    int64_t rows; /* 0: none are */
};

static int audit_excess(struct ledger_tx *tx, const struct ledger_audit_bound *bound,
                        struct audit_excess *ret, struct err *err)
{
    _cleanup_row_ sqlite3_stmt *s = NULL;
    int64_t all = 0;
    int r = ledger_audit_count_all(tx, &all, err);
    if (r == 0)
        r = ledger_first(tx, SQL_AUDIT_LARGEST, NULL, 0, &s, err);
    if (r != 0)
        return r < 0 ? r : 0;
    int64_t kept = ledger_int(s, 1), files = ledger_int(s, 2);
    int64_t excess = kept - bound->workspace_rows;
    if (all - bound->rows > excess)
        excess = all - bound->rows;
    ret->files = files * 2 > kept;
    int64_t most = ret->files ? files : kept - files;
    ret->rows = excess < 0 ? 0 : excess < most ? excess : most;
    ledger_text(tx, s, 0, ret->workspace_id, sizeof ret->workspace_id);
    return ledger_readable(tx, err);
}

int ledger_audit_trim(struct ledger_tx *tx, const struct ledger_audit_bound *bound, int64_t max,
                      int64_t *ret_rows, struct err *err)
{
    struct audit_excess excess = {.rows = 0};
    int64_t done = 0;
    int r = audit_excess(tx, bound, &excess, err);
    if (excess.rows > max)
        excess.rows = max;
    if (r == 0 && excess.rows > 0)
        r = ledger_do(tx, SQL_AUDIT_COUNT_TRIMMED,
                      VALUES(V_TEXT(excess.workspace_id), V_INT(excess.files), V_INT(excess.rows)),
                      NULL, err);
    if (r == 0 && excess.rows > 0)
        r = ledger_do(tx, SQL_AUDIT_TRIM,
                      VALUES(V_TEXT(excess.workspace_id), V_INT(excess.files), V_INT(excess.rows)),
                      &done, err);
    if (r == 0 && done != excess.rows)
        r = err_set(err, ERR_INTERNAL, 0, "trim the audit", NULL,
                    "%lld rows were there where %lld were counted. This is a defect of berth.",
                    (long long)done, (long long)excess.rows);
    if (r == 0)
        *ret_rows = done;
    return r;
}

static const int64_t day_ms = 24 * 60 * 60 * 1000LL;
enum { KEPT_DAYS = 7, AUDIT_DAYS = 90 };

int ledger_purge(struct ledger_tx *tx, int64_t now_ms, int64_t max, struct ledger_purged *ret,
                 struct err *err)
{
    struct ledger_purged done = {0};
    const struct {
        int statement;
        int64_t before_ms, *count;
    } steps[] = {
        {SQL_PURGE_KEYS, now_ms, &done.keys},
        {SQL_PURGE_EXECS, now_ms - KEPT_DAYS * day_ms, &done.execs},
        {SQL_PURGE_EVENTS, now_ms - KEPT_DAYS * day_ms, &done.events},
        {SQL_PURGE_SESSIONS, now_ms - KEPT_DAYS * day_ms, &done.sessions},
        {SQL_PURGE_AUDIT, now_ms - AUDIT_DAYS * day_ms, &done.audit},
        {SQL_PURGE_AUDIT_COUNTS, now_ms - AUDIT_DAYS * day_ms, NULL},
    };
    int r = 0;
    for (size_t i = 0; r == 0 && i < sizeof steps / sizeof steps[0]; i++)
        r = ledger_do(tx, steps[i].statement, VALUES(V_INT(steps[i].before_ms), V_INT(max)),
                      steps[i].count, err);
    if (r == 0)
        *ret = done;
    return r;
}
