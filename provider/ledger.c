/* This file is the ledger's thread, its queue and its completions; it never looks into a job.
 *
 * States of the whole (enum ledger_health), and what moves them:
 *
 *   OK ──any failure that is not a job's own──▶ READ_ONLY (or BROKEN, when it cannot even be
 * opened) ▲                                              │ a write arrives and the pause is over
 *    └────────── probe was durable ─────────────────┘ (pause doubles when it fails)
 *
 * While not OK, a write is refused at once and certainly absent; reads are served while the
 * connection stands. `generation` moves on the way back: what was in memory may differ from the
 * rows then.
 */
#include "provider/failpoint.h"
#include "provider/ledger_internal.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>

enum {
    QUEUE_LIMIT = 1024,
    BATCH_LIMIT = 256,
    CHECKPOINT_PAGES = 1000,
    RETRY_MS = 100,
    RETRY_MAX_MS = 5000
};

struct job_list {
    struct ledger_job *first, **end;
    unsigned count;
};

struct ledger {
    struct ledger_db db; /* the thread's own after ledger_open() */
    struct ledger_options options;
    pthread_t thread;
    bool thread_runs;
    int completion_fd;
    uint64_t retry_at_ms;
    unsigned retry_ms;

    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t work;  /* the queue or `stop` changed */
    pthread_cond_t told;  /* a job that ledger_run() waits for is complete */
    struct job_list queue, completed;
    bool stop;
    struct ledger_backup *backup; /* asked for and not answered; NULL */
    struct ledger_status status;
};

static const struct {
    const char *name;
    enum ledger_durability durability;
    enum ledger_admission admission;
} ops[LEDGER_OP_COUNT] = {
#define X(symbol, name, durability, admission) \
    [LEDGER_OP_##symbol] = {name, LEDGER_##durability, LEDGER_##admission},
    LEDGER_OPS(X)
#undef X
};

const char *ledger_op_name(enum ledger_op op)
{
    return ops[op].name;
}

enum ledger_durability ledger_op_durability(enum ledger_op op)
{
    return ops[op].durability;
}

enum ledger_admission ledger_op_admission(enum ledger_op op)
{
    return ops[op].admission;
}

static uint64_t monotonic_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- lists
 * ----------------------------------------------------------------------------------------*/

static void list_init(struct job_list *list)
{
    *list = (struct job_list){.end = &list->first};
}

static void list_add(struct job_list *list, struct ledger_job *job)
{
    job->next = NULL;
    *list->end = job;
    list->end = &job->next;
    list->count++;
}

static struct ledger_job *list_take(struct job_list *list)
{
    struct ledger_job *job = list->first;
    if (!job)
        return NULL;
    list->first = job->next;
    if (!list->first)
        list->end = &list->first;
    list->count--;
    job->next = NULL;
    return job;
}

/* ---- the thread
 * -------------------------------------------------------------------------------------*/

/* What goes into the next transaction: the jobs before the first FULL one by themselves, so that
 * they wait for no sync; from a FULL one on, everything. Order is kept (L-4). Under the lock. */
static bool take_batch(struct ledger *ledger, struct job_list *ret)
{
    bool full = ledger->queue.first && ledger_op_durability(ledger->queue.first->op) == LEDGER_FULL;
    list_init(ret);
    while (ledger->queue.first && ret->count < ledger->options.batch_limit &&
           (full || ledger_op_durability(ledger->queue.first->op) == LEDGER_NORMAL))
        list_add(ret, list_take(&ledger->queue));
    return full;
}

static void set_health(struct ledger *ledger, enum ledger_health health, const struct err *reason)
{
    pthread_mutex_lock(&ledger->lock);
    if (ledger->status.health != LEDGER_OK && health == LEDGER_OK)
        ledger->status.generation++;
    ledger->status.health = health;
    if (reason)
        ledger->status.reason = *reason;
    pthread_mutex_unlock(&ledger->lock);
}

/* What the connection remembers after a failure is not believed: it is opened again at once, so
 * that reads go on, and written to only after a probe. */
static void fail_closed(struct ledger *ledger, const struct err *reason)
{
    struct err ignored; /* the reason is what made it fail, not what followed */
    ledger_db_close(&ledger->db);
    int r = ledger_db_open(&ledger->db, &ignored);
    set_health(ledger, r == 0 ? LEDGER_READ_ONLY : LEDGER_BROKEN, reason);
    ledger->retry_ms = ledger->options.retry_ms;
    ledger->retry_at_ms = monotonic_ms() + ledger->retry_ms;
}

/* Try to come back when the pause is over. */
static void heal(struct ledger *ledger)
{
    struct err err;
    if (ledger->status.health == LEDGER_OK || monotonic_ms() < ledger->retry_at_ms)
        return;
    if (ledger_db_probe(&ledger->db, &err) == 0) {
        set_health(ledger, LEDGER_OK, NULL);
        return;
    }
    ledger_db_close(&ledger->db);
    struct err ignored;
    int r = ledger_db_open(&ledger->db, &ignored);
    set_health(ledger, r == 0 ? LEDGER_READ_ONLY : LEDGER_BROKEN, &err);
    ledger->retry_ms = ledger->retry_ms < RETRY_MAX_MS / 2 ? ledger->retry_ms * 2 : RETRY_MAX_MS;
    ledger->retry_at_ms = monotonic_ms() + ledger->retry_ms;
}

static void refuse_job(struct ledger *ledger, struct ledger_job *job)
{
    job->err = ledger->status.reason;
    job->result = job->err.sys ? -job->err.sys : -EIO;
    job->certain = true;
    err_add(&job->err, "The ledger takes no writes until the disk does.");
}

/* Takes out of `batch` what cannot be served now, into `answered`. */
static void refuse_unserved(struct ledger *ledger, struct job_list *batch,
                            struct job_list *answered)
{
    struct job_list served;
    list_init(&served);
    for (struct ledger_job *job; (job = list_take(batch));) {
        bool reads = ledger_op_admission(job->op) == LEDGER_READ;
        if (ledger->status.health == LEDGER_OK ||
            (ledger->status.health == LEDGER_READ_ONLY && reads)) {
            list_add(&served, job);
            continue;
        }
        refuse_job(ledger, job);
        list_add(answered, job);
    }
    list_init(batch);
    for (struct ledger_job *job; (job = list_take(&served));)
        list_add(batch, job);
}

static void answer(struct ledger *ledger, struct job_list *answered)
{
    static const uint64_t one = 1;
    for (struct ledger_job *job = answered->first; job; job = job->next)
        (void)FAILPOINT("ledger", ledger_op_name(job->op), "before_answer");
    pthread_mutex_lock(&ledger->lock);
    for (struct ledger_job *job; (job = list_take(answered));) {
        bool waited = job->waited;
        job->complete = true; /* who waits may free it from here on */
        if (!waited && job->done)
            list_add(&ledger->completed, job);
    }
    pthread_cond_broadcast(&ledger->told);
    pthread_mutex_unlock(&ledger->lock);
    /* A full counter of 2^64 is the only way to fail, and then it is readable anyway. */
    if (write(ledger->completion_fd, &one, sizeof one) < 0)
        return;
}

static void run_batch(struct ledger *ledger, struct job_list *batch, bool full)
{
    struct ledger_status counters = {0};
    struct job_list answered;
    struct err err = {0};
    list_init(&answered);
    heal(ledger);
    refuse_unserved(ledger, batch, &answered);
    if (batch->first && ledger_batch_run(&ledger->db, batch->first, full, &counters, &err) < 0)
        fail_closed(ledger, &err);
    pthread_mutex_lock(&ledger->lock);
    ledger->status.jobs += counters.jobs;
    ledger->status.commits += counters.commits;
    ledger->status.syncs += counters.syncs;
    pthread_mutex_unlock(&ledger->lock);
    for (struct ledger_job *job; (job = list_take(batch));)
        list_add(&answered, job);
    answer(ledger, &answered);
}

/* Between batches: when nothing waits, or when the log has grown far past the mark. */
static void maybe_checkpoint(struct ledger *ledger, bool idle)
{
    unsigned pages = ledger->db.log_pages > 0 ? (unsigned)ledger->db.log_pages : 0;
    unsigned mark = ledger->options.checkpoint_pages * (idle ? 1 : 4);
    struct err err = {0};
    if (ledger->status.health != LEDGER_OK || pages < mark)
        return;
    if (ledger_db_checkpoint(&ledger->db, &err) < 0) {
        fail_closed(ledger, &err);
        return;
    }
    pthread_mutex_lock(&ledger->lock);
    ledger->status.checkpoints++;
    pthread_mutex_unlock(&ledger->lock);
}

/* One piece of the copy that was asked for; at its end who asked is answered. */
static void copy_piece(struct ledger *ledger, struct ledger_backup *backup, bool stop)
{
    struct err *err = &backup->job.err;
    struct job_list answered;
    int r = 0;
    if (stop || ledger->status.health == LEDGER_BROKEN)
        r = err_set(err, ERR_UNAVAILABLE, EAGAIN, "copy the ledger", NULL, "%s",
                    stop ? "berth is ending." : "The ledger cannot be read.");
    /* The connection may have been closed under it: then it begins again. */
    if (r == 0 && !ledger->db.copy)
        r = ledger_backup_begin(&ledger->db, err);
    if (r == 0)
        r = ledger_backup_piece(&ledger->db, err);
    if (r == LEDGER_BACKUP_MORE)
        return;
    if (r == 0)
        r = ledger_backup_end(&ledger->db, &backup->fd, err);
    backup->job.result = r;
    backup->job.certain = true;
    pthread_mutex_lock(&ledger->lock);
    ledger->backup = NULL;
    pthread_mutex_unlock(&ledger->lock);
    list_init(&answered);
    list_add(&answered, &backup->job);
    answer(ledger, &answered);
}

static void *thread_main(void *data)
{
    struct ledger *ledger = data;
    for (;;) {
        struct job_list batch;
        pthread_mutex_lock(&ledger->lock);
        bool idle = !ledger->queue.first;
        pthread_mutex_unlock(&ledger->lock);
        maybe_checkpoint(ledger, idle);
        pthread_mutex_lock(&ledger->lock);
        while (!ledger->queue.first && !ledger->stop && !ledger->backup)
            pthread_cond_wait(&ledger->work, &ledger->lock);
        bool full = take_batch(ledger, &batch), stop = ledger->stop;
        struct ledger_backup *backup = ledger->backup;
        pthread_mutex_unlock(&ledger->lock);
        if (!batch.first && !backup)
            return NULL; /* stop, and nothing is left */
        if (batch.first)
            run_batch(ledger, &batch, full);
        if (backup)
            copy_piece(ledger, backup, stop);
    }
}

/* ---- for callers
 * --------------------------------------------------------------------------------------*/

static unsigned admitted(const struct ledger *ledger, enum ledger_op op)
{
    /* What has happened must be recorded: refusing it would leave the kernel ahead of the rows. */
    return ledger->options.queue_limit * (ledger_op_admission(op) == LEDGER_FINISH ? 2 : 1);
}

int ledger_submit(struct ledger *ledger, struct ledger_job *job, struct err *err)
{
    int r = 0;
    job->result = 0;
    job->certain = job->complete = false;
    memset(&job->err, 0, sizeof job->err);
    pthread_mutex_lock(&ledger->lock);
    if (ledger->stop || ledger->queue.count >= admitted(ledger, job->op)) {
        ledger->status.refused++;
        r = err_set(err, ERR_UNAVAILABLE, EAGAIN, "write the ledger", ledger_op_name(job->op),
                    "%s Nothing was done. Try again.",
                    ledger->stop ? "berth is ending." : "Too many requests wait for the disk.");
    } else {
        list_add(&ledger->queue, job);
        pthread_cond_signal(&ledger->work);
    }
    pthread_mutex_unlock(&ledger->lock);
    return r;
}

int ledger_backup(struct ledger *ledger, struct ledger_backup *backup, struct err *err)
{
    int r = 0;
    backup->fd = -1;
    backup->job.op = LEDGER_OP_READ;
    backup->job.waited = backup->job.complete = false;
    pthread_mutex_lock(&ledger->lock);
    if (ledger->backup || ledger->stop) {
        r = err_set(err, ERR_UNAVAILABLE, EBUSY, "copy the ledger", NULL, "%s",
                    ledger->stop ? "berth is ending."
                                 : "A copy is being made already. Ask again when it is done.");
    } else {
        ledger->backup = backup;
        pthread_cond_signal(&ledger->work);
    }
    pthread_mutex_unlock(&ledger->lock);
    return r;
}

unsigned ledger_complete(struct ledger *ledger)
{
    uint64_t count;
    unsigned n = 0;
    if (read(ledger->completion_fd, &count, sizeof count) < 0)
        count = 0; /* nothing new; what is there is taken all the same */
    pthread_mutex_lock(&ledger->lock);
    struct ledger_job *job = ledger->completed.first;
    list_init(&ledger->completed);
    pthread_mutex_unlock(&ledger->lock);
    for (struct ledger_job *next; job; job = next, n++) {
        next = job->next; /* done() may free the job */
        job->done(job);
    }
    return n;
}

int ledger_run(struct ledger *ledger, struct ledger_job *job, struct err *err)
{
    job->done = NULL;
    job->waited = true;
    int r = ledger_submit(ledger, job, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&ledger->lock);
    while (!job->complete)
        pthread_cond_wait(&ledger->told, &ledger->lock);
    pthread_mutex_unlock(&ledger->lock);
    if (job->result < 0 && err)
        *err = job->err;
    return job->result;
}

int ledger_fd(const struct ledger *ledger)
{
    return ledger->completion_fd;
}

void ledger_status(struct ledger *ledger, struct ledger_status *ret)
{
    pthread_mutex_lock(&ledger->lock);
    *ret = ledger->status;
    ret->waiting = ledger->queue.count;
    pthread_mutex_unlock(&ledger->lock);
}

/* ---- opening and closing
 * --------------------------------------------------------------------------*/

/* Facts that every ledger has: made once, then only read; and the epoch, which moves at each
 * opening. */
static int read_facts(struct ledger *ledger, struct err *err)
{
    unsigned char bytes[8];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return err_set(err, ERR_INTERNAL, errno, "open the ledger", NULL, NULL);
    char sql[512];
    snprintf(sql, sizeof sql,
             "BEGIN IMMEDIATE;"
             "INSERT INTO meta VALUES ('instance', '%02x%02x%02x%02x%02x%02x%02x%02x'),"
             " ('secret', lower(hex(randomblob(32)))), ('epoch', 0) ON CONFLICT DO NOTHING;"
             "UPDATE meta SET value = value + 1 WHERE key = 'epoch';"
             "COMMIT",
             bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]);
    int r = ledger_db_exec(&ledger->db, sql, err);
    if (r < 0)
        return r;
    sqlite3_stmt *s = NULL;
    if (sqlite3_prepare_v2(ledger->db.handle,
                           "SELECT (SELECT value FROM meta WHERE key = 'epoch'),"
                           " (SELECT value FROM meta WHERE key = 'instance')",
                           -1, &s, NULL) != SQLITE_OK ||
        sqlite3_step(s) != SQLITE_ROW) {
        r = ledger_db_fail(&ledger->db, "read the ledger", err);
    } else {
        const char *instance = (const char *)sqlite3_column_text(s, 1);
        ledger->status.epoch = (uint64_t)sqlite3_column_int64(s, 0);
        snprintf(ledger->status.instance, sizeof ledger->status.instance, "%s",
                 instance ? instance : "");
    }
    sqlite3_finalize(s);
    return r;
}

static int start(struct ledger *ledger, struct err *err)
{
    ledger->completion_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ledger->completion_fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "open the ledger", NULL, NULL);
    int r = ledger_restore(ledger->options.directory, ledger->options.vfs, err);
    if (r == 0)
        r = ledger_db_open(&ledger->db, err);
    if (r == 0)
        r = read_facts(ledger, err);
    if (r < 0)
        return r;
    ledger_backup_forget(&ledger->db);
    int code = pthread_create(&ledger->thread, NULL, thread_main, ledger);
    if (code != 0)
        return err_set(err, ERR_INTERNAL, code, "start the ledger's thread", NULL, NULL);
    ledger->thread_runs = true;
    return 0;
}

int ledger_open(struct ledger **ret, const struct ledger_options *options, struct err *err)
{
    struct ledger *ledger = calloc(1, sizeof *ledger);
    if (!ledger)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "open the ledger", NULL, NULL);
    ledger->options = *options;
    ledger->completion_fd = -1;
    ledger->db.vfs = options->vfs;
    if (!options->queue_limit)
        ledger->options.queue_limit = QUEUE_LIMIT;
    if (!options->batch_limit)
        ledger->options.batch_limit = BATCH_LIMIT;
    if (!options->checkpoint_pages)
        ledger->options.checkpoint_pages = CHECKPOINT_PAGES;
    if (!options->retry_ms)
        ledger->options.retry_ms = RETRY_MS;
    list_init(&ledger->queue);
    list_init(&ledger->completed);
    pthread_mutex_init(&ledger->lock, NULL);
    pthread_cond_init(&ledger->work, NULL);
    pthread_cond_init(&ledger->told, NULL);
    int n = snprintf(ledger->db.path, sizeof ledger->db.path, "%s/ledger", options->directory);
    int r = n < (int)sizeof ledger->db.path
                ? start(ledger, err)
                : err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "open the ledger", NULL, NULL);
    if (r < 0) {
        ledger_close(ledger);
        return r;
    }
    *ret = ledger;
    return 0;
}

void ledger_close(struct ledger *ledger)
{
    if (!ledger)
        return;
    if (ledger->thread_runs) {
        pthread_mutex_lock(&ledger->lock);
        ledger->stop = true;
        pthread_cond_signal(&ledger->work);
        pthread_mutex_unlock(&ledger->lock);
        pthread_join(ledger->thread, NULL);
        ledger_complete(ledger);
    }
    ledger_db_close(&ledger->db);
    fd_close(ledger->completion_fd);
    pthread_cond_destroy(&ledger->work);
    pthread_cond_destroy(&ledger->told);
    pthread_mutex_destroy(&ledger->lock);
    free(ledger);
}
