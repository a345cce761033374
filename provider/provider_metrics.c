/* This file tells the engine's numbers to a monitoring system; it never tells one of a single
 * workspace, owner or session: they are sums over all of them (docs/operations.md).
 *
 * It answers also while rows and kernel are compared and when the ledger cannot be read: that is
 * when somebody looks. What must be counted in the ledger is left out then.
 */
#include "provider/provider_exec.h"
#include "provider/provider_internal.h"

#include <stdlib.h>

struct metrics_call {
    struct call call; /* first */
    uint64_t states[SESSION_STATE_COUNT];
    int64_t audit_rows;
};

static void put_one(struct buf *out, const char *name, enum metrics_kind kind, const char *help,
                    uint64_t value)
{
    metrics_family(out, name, kind, help);
    metrics_value(out, name, NULL, value);
}

static void put_sessions(const struct metrics_call *own, struct buf *out)
{
    const struct provider *p = own->call.work.p;
    uint64_t execs = 0;
    if (own->call.work.job.result == 0) {
        metrics_family(out, "sessions", METRICS_GAUGE,
                       "Sessions that are neither destroyed nor failed, by state.");
        for (unsigned s = SESSION_CREATING; s < SESSION_STATE_COUNT; s++)
            if (!session_is_over((enum session_state)s))
                metrics_value(out, "sessions",
                              METRICS_LABELS({"state", session_state_name((enum session_state)s)}),
                              own->states[s]);
    }
    for (unsigned i = 0; i < SEAT_HASH; i++)
        for (const struct seat *seat = p->seats[i]; seat; seat = seat->next)
            for (const struct exec *exec = seat->execs; exec; exec = exec->next)
                execs++;
    put_one(out, "sessions_live", METRICS_GAUGE, "Sessions whose init is connected.", p->live);
    put_one(out, "execs_running", METRICS_GAUGE, "Commands that have not ended.", execs);
}

static void put_operations(const struct engine_metrics *metrics, struct buf *out)
{
    static const char duration[] = "operation_duration_seconds",
                      failures[] = "operation_failures_total";
    metrics_family(out, duration, METRICS_HISTOGRAM,
                   "From a request to its success; exec_start: until the command runs.");
    for (unsigned o = 0; o < METRICS_OPERATION_COUNT; o++)
        metrics_histogram(
            out, duration,
            METRICS_LABELS({"operation", metrics_operation_name((enum metrics_operation)o)}),
            &metrics->durations[o]);
    metrics_family(out, failures, METRICS_COUNTER, "Requests that failed, by error code.");
    for (unsigned o = 0; o < METRICS_OPERATION_COUNT; o++)
        for (unsigned code = ERR_NONE + 1; code < ERR_USAGE; code++)
            metrics_value(
                out, failures,
                METRICS_LABELS({"operation", metrics_operation_name((enum metrics_operation)o)},
                               {"code", err_code_name((enum err_code)code)}),
                metrics->failures[o][code]);
}

static void put_recovery(const struct provider *p, struct buf *out)
{
    static const char *const actions[] = {
#define X(symbol, name, text) name,
        RECOVERY_ACTIONS(X)
#undef X
    };
    put_one(out, "recovering", METRICS_GAUGE, "1 while rows and kernel are compared after a start.",
            p->recovering);
    metrics_family(out, "recovery_duration_seconds", METRICS_GAUGE,
                   "How long that took at the last start.");
    metrics_seconds(out, "recovery_duration_seconds", NULL, p->metrics.recovery_ms);
    metrics_family(out, "recovery_sessions", METRICS_GAUGE,
                   "What was done to sessions after a start or the death of an init, since then.");
    for (unsigned a = 0; a < RECOVERY_ACTION_COUNT; a++)
        metrics_value(out, "recovery_sessions", METRICS_LABELS({"action", actions[a]}),
                      p->metrics.recovered[a]);
    put_one(out, "recovery_orphans", METRICS_GAUGE,
            "Things in the kernel, and output, that belonged to no session and were removed.",
            p->swept);
}

static void put_ledger(const struct ledger_status *ledger, struct buf *out)
{
    static const char *const names[] = {
        [LEDGER_OK] = "ok", [LEDGER_READ_ONLY] = "read_only", [LEDGER_BROKEN] = "broken"};
    metrics_family(out, "ledger_health", METRICS_GAUGE, "1 for what the ledger is.");
    for (unsigned h = LEDGER_OK; h <= LEDGER_BROKEN; h++)
        metrics_value(out, "ledger_health", METRICS_LABELS({"state", names[h]}),
                      ledger->health == h);
    put_one(out, "ledger_jobs_total", METRICS_COUNTER, "Writes that were kept.", ledger->jobs);
    put_one(out, "ledger_commits_total", METRICS_COUNTER, "Transactions.", ledger->commits);
    put_one(out, "ledger_syncs_total", METRICS_COUNTER,
            "Transactions that waited for the disk to be safe against power loss.", ledger->syncs);
    put_one(out, "ledger_checkpoints_total", METRICS_COUNTER,
            "Times that the log was copied into the database.", ledger->checkpoints);
    put_one(out, "ledger_refused_total", METRICS_COUNTER,
            "Jobs that were not taken because too many waited.", ledger->refused);
    put_one(out, "ledger_waiting", METRICS_GAUGE, "Jobs that wait.", ledger->waiting);
}

static void put_audit(const struct metrics_call *own, struct buf *out)
{
    if (own->call.work.job.result == 0)
        put_one(out, "audit_rows", METRICS_GAUGE, "Rows of the ledger's audit.",
                (uint64_t)own->audit_rows);
    put_one(out, "audit_trimmed_total", METRICS_COUNTER,
            "Rows of the ledger's audit that went before their time because they were too many.",
            own->call.work.p->metrics.audit_trimmed);
}

static void put_capabilities(const struct capability_set *set, struct buf *out)
{
    metrics_family(out, "capability_available", METRICS_GAUGE,
                   "1: this host gives it; found out by doing it once at the start.");
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        metrics_value(out, "capability_available",
                      METRICS_LABELS({"capability", capability_name((enum capability)c)}),
                      set->status[c].available);
}

static void write_all(struct work *work)
{
    struct metrics_call *own = (struct metrics_call *)work;
    struct provider *p = work->p;
    struct ledger_status ledger;
    struct buf out = {0};
    ledger_status(p->ledger, &ledger);
    metrics_family(&out, "build_info", METRICS_GAUGE, "1, with the version.");
    metrics_value(&out, "build_info", METRICS_LABELS({"version", BERTH_VERSION}), 1);
    put_sessions(own, &out);
    put_operations(&p->metrics, &out);
    put_recovery(p, &out);
    put_ledger(&ledger, &out);
    put_audit(own, &out);
    put_one(&out, "launcher_up", METRICS_GAUGE, "1 while the launcher is connected.",
            p->launcher_watch != NULL);
    put_one(&out, "config_failed", METRICS_GAUGE,
            "1 when the configuration was read again and is wrong: the one before is in force.",
            p->options.config->reload_failed != 0);
    put_capabilities(p->options.capabilities, &out);
    call_answer(&own->call, 200, &out);
    call_free(&own->call);
}

static int count_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct metrics_call *own = (struct metrics_call *)work;
    int r = ledger_session_count_all(tx, own->states, err);
    return r == 0 ? ledger_audit_count_all(tx, &own->audit_rows, err) : r;
}

static void begin_metrics(struct call *call)
{
    work_job(&call->work, LEDGER_OP_READ, count_apply, write_all);
}

void provider_metrics(struct provider *p, const struct provider_call *from)
{
    call_new(p, from, sizeof(struct metrics_call), NULL, begin_metrics, NULL);
}
