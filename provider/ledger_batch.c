/* This file runs many jobs in one transaction: group commit. It never lets one job's refusal take
 * another's work back, and never lets a job be answered before the transaction is as durable as the
 * job asked for.
 *
 * A failure that is not a job's own (disk, memory) ends the whole batch: everything in it is taken
 * back and every caller is told. Before COMMIT was tried that is certain; after, only the rows
 * tell, because a commit whose sync failed may be found again by a later start.
 */
#include "provider/failpoint.h"
#include "provider/ledger_internal.h"

#include <errno.h>

static int fail_point(const struct ledger_job *job, const char *step, struct err *err)
{
    int r = FAILPOINT("ledger", ledger_op_name(job->op), step);
    return r < 0
               ? err_set(err, ERR_UNAVAILABLE, -r, "write the ledger", step, "A test asked for it.")
               : 0;
}

/* One job within the batch. 0, or the failure of the batch; the job's own result is in the job. */
static int run_one(struct ledger_tx *tx, struct ledger_job *job, struct ledger_status *counters,
                   struct err *err)
{
    bool writes = ledger_op_admission(job->op) != LEDGER_READ;
    int r = fail_point(job, "before_apply", err);
    if (r == 0 && writes)
        r = ledger_db_control(tx->db, LEDGER_SAVEPOINT, err);
    if (r < 0)
        return r;
    int64_t changes = sqlite3_total_changes64(tx->db->handle);
    tx->policy = job->policy;
    job->result = job->apply(tx, job->data, &job->err);
    job->certain = true;
    /* A reader has no savepoint and is served while writes are refused: it may not write. */
    if (!writes && sqlite3_total_changes64(tx->db->handle) != changes)
        return job->result = err_set(err, ERR_INTERNAL, 0, "write the ledger",
                                     ledger_op_name(job->op), "A job that reads has written.");
    /* Some failures make SQLite take the whole transaction back by itself. */
    if (tx->poisoned || sqlite3_get_autocommit(tx->db->handle)) {
        if (job->result < 0)
            *err = job->err;
        return job->result < 0 ? job->result
                               : ledger_db_code(SQLITE_IOERR, 0, "write the ledger", NULL, err);
    }
    if (writes && job->result != 0)
        r = ledger_db_exec(tx->db, "ROLLBACK TO job", err);
    if (r == 0 && writes)
        r = ledger_db_control(tx->db, LEDGER_RELEASE, err);
    if (r == 0)
        r = fail_point(job, "after_apply", err);
    if (r == 0 && job->result == 0 && writes)
        counters->jobs++;
    return r;
}

static int fail_points(const struct ledger_job *jobs, const char *step, struct err *err)
{
    int r = 0;
    for (const struct ledger_job *job = jobs; r == 0 && job; job = job->next)
        r = fail_point(job, step, err);
    return r;
}

static bool any_write(const struct ledger_job *jobs)
{
    for (; jobs; jobs = jobs->next)
        if (ledger_op_admission(jobs->op) != LEDGER_READ)
            return true;
    return false;
}

static void tell_all(struct ledger_job *jobs, int r, bool certain, const struct err *err)
{
    for (; jobs; jobs = jobs->next) {
        jobs->result = r;
        jobs->certain = certain;
        jobs->err = *err;
    }
}

int ledger_batch_run(struct ledger_db *db, struct ledger_job *jobs, bool full,
                     struct ledger_status *counters, struct err *err)
{
    struct ledger_tx tx = {.db = db, .full = full};
    bool writes = any_write(jobs), committing = false;
    uint64_t jobs_before = counters->jobs;
    int r = writes ? ledger_db_set_full(db, full, err) : 0;
    if (r == 0)
        r = ledger_db_control(db, writes ? LEDGER_BEGIN_WRITE : LEDGER_BEGIN_READ, err);
    for (struct ledger_job *job = jobs; r == 0 && job; job = job->next)
        r = run_one(&tx, job, counters, err);
    if (r == 0)
        r = fail_points(jobs, "before_commit", err);
    if (r == 0) {
        committing = writes;
        r = ledger_db_control(db, LEDGER_COMMIT, err);
    }
    if (r < 0) {
        if (db->handle && !sqlite3_get_autocommit(db->handle))
            sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL);
        counters->jobs = jobs_before;
        tell_all(jobs, r, !committing, err);
        return r;
    }
    if (writes) {
        counters->commits++;
        counters->syncs += full;
    }
    r = fail_points(jobs, "after_commit", err);
    if (r < 0)
        tell_all(jobs, r, false, err);
    return r;
}

bool ledger_tx_is_full(const struct ledger_tx *tx)
{
    return tx->full;
}
