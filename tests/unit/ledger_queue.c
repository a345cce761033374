/* This file tests the ledger's queue: order, what a refusal takes back, group commit, backpressure.
 */
#include "ledger_fixture.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/stat.h>

TestSuite(ledger_queue, .init = fixture_init, .fini = fixture_fini);

/* Jobs that hold the thread until the test has queued what it wants behind them. */
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static int wait_at_gate(struct ledger_tx *tx, void *data, struct err *err)
{
    (void)tx;
    (void)data;
    (void)err;
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    return 0;
}

struct mark {
    struct ledger_job job;
    int number, result;
    int applied_as, done_as;
    bool full;
};
static int applied, completed;

static int apply_mark(struct ledger_tx *tx, void *data, struct err *err)
{
    struct mark *m = data;
    char target[16];
    m->applied_as = ++applied;
    m->full = ledger_tx_is_full(tx);
    snprintf(target, sizeof target, "%d", m->number);
    int r = ledger_audit_add(tx, "w", "test", "mark", target, "", m->number, err);
    return r == 0 ? m->result : r;
}

static void done_mark(struct ledger_job *job)
{
    ((struct mark *)job->data)->done_as = ++completed;
}

static void submit_mark(struct mark *m, int number, enum ledger_op op)
{
    struct err err = {0};
    m->number = number;
    m->job = (struct ledger_job){.op = op, .apply = apply_mark, .done = done_mark, .data = m};
    fixture_must(ledger_submit(fixture_ledger, &m->job, &err), &err);
}

static void drain(int until)
{
    while (completed < until) {
        struct pollfd fd = {.fd = ledger_fd(fixture_ledger), .events = POLLIN};
        cr_assert_eq(poll(&fd, 1, 10000), 1);
        ledger_complete(fixture_ledger);
    }
}

Test(ledger_queue, jobs_are_applied_and_answered_in_the_order_of_submission)
{
    enum { N = 100 };
    static struct mark marks[N];
    struct ledger_status status;
    struct ledger_job first = {.op = LEDGER_OP_READ, .apply = wait_at_gate};
    struct err err = {0};
    pthread_mutex_lock(&gate);
    fixture_must(ledger_submit(fixture_ledger, &first, &err), &err);
    for (int i = 0; i < N; i++)
        submit_mark(&marks[i], i + 1, i % 10 == 9 ? LEDGER_OP_VOLUME_CREATE : LEDGER_OP_EVENT_ADD);
    pthread_mutex_unlock(&gate);
    drain(N);
    ledger_status(fixture_ledger, &status);
    for (int i = 0; i < N; i++) {
        cr_assert_eq(marks[i].applied_as, i + 1);
        cr_assert_eq(marks[i].done_as, i + 1);
        cr_assert_eq(marks[i].job.result, 0);
        if (i % 10 == 9)
            cr_assert(marks[i].full, "a FULL job is never in a batch without a sync");
    }
    cr_assert_not(marks[0].full, "the jobs before the first FULL one wait for no sync");
    cr_assert_eq(status.jobs, N);
    cr_assert_leq(status.commits, 4, "%llu", (unsigned long long)status.commits);
    cr_assert_geq(status.syncs, 1);
}

static int count_marks(struct ledger_tx *tx, void *data, struct err *err)
{
    struct ledger_purged purged;
    int r = ledger_purge(tx, INT64_MAX / 2, 1000, &purged, err);
    *(int64_t *)data = purged.audit;
    return r;
}

Test(ledger_queue, a_job_that_refuses_takes_back_its_own_writes_only)
{
    static struct mark marks[4];
    struct ledger_job first = {.op = LEDGER_OP_READ, .apply = wait_at_gate};
    struct err err = {0};
    int64_t kept = 0;
    marks[1].result = 7;
    marks[2].result = -ENOENT;
    pthread_mutex_lock(&gate);
    fixture_must(ledger_submit(fixture_ledger, &first, &err), &err);
    for (int i = 0; i < 4; i++)
        submit_mark(&marks[i], i + 1, LEDGER_OP_EVENT_ADD);
    pthread_mutex_unlock(&gate);
    drain(4);
    cr_assert_eq(marks[0].job.result, 0);
    cr_assert_eq(marks[1].job.result, 7);
    cr_assert_eq(marks[2].job.result, -ENOENT);
    cr_assert(marks[2].job.certain);
    cr_assert_eq(marks[3].job.result, 0);
    fixture_must(fixture_run(LEDGER_OP_PURGE, count_marks, &kept, &err), &err);
    cr_assert_eq(kept, 2);
}

Test(ledger_queue, a_full_queue_refuses_what_is_new_and_still_takes_what_has_happened)
{
    enum { LIMIT = 8 };
    static struct mark marks[2 * LIMIT + 1];
    struct ledger_status status;
    struct err err = {0};
    ledger_close(fixture_ledger);
    fixture_options.queue_limit = LIMIT;
    fixture_open();
    struct ledger_job first = {.op = LEDGER_OP_READ, .apply = wait_at_gate};
    pthread_mutex_lock(&gate);
    fixture_must(ledger_submit(fixture_ledger, &first, &err), &err);
    do /* until the thread holds it */
        ledger_status(fixture_ledger, &status);
    while (status.waiting > 0);
    for (int i = 0; i < LIMIT; i++)
        submit_mark(&marks[i], i + 1, LEDGER_OP_VERB_OPEN);
    struct ledger_job more = {.op = LEDGER_OP_VERB_OPEN, .apply = apply_mark, .data = &marks[0]};
    cr_assert_eq(ledger_submit(fixture_ledger, &more, &err), -EAGAIN);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    cr_assert(strstr(err.detail, "Nothing was done"));
    for (int i = LIMIT; i < 2 * LIMIT; i++)
        submit_mark(&marks[i], i + 1, LEDGER_OP_VERB_CLOSE);
    more.op = LEDGER_OP_VERB_CLOSE;
    cr_assert_eq(ledger_submit(fixture_ledger, &more, &err), -EAGAIN);
    pthread_mutex_unlock(&gate);
    drain(2 * LIMIT);
    ledger_status(fixture_ledger, &status);
    cr_assert_eq(status.refused, 2);
    cr_assert_eq(status.jobs, 2 * LIMIT);
}

Test(ledger_queue, a_reader_that_writes_is_stopped)
{
    struct mark m = {.number = 1};
    struct err err = {0};
    int64_t kept = -1;
    cr_assert_lt(fixture_run(LEDGER_OP_READ, apply_mark, &m, &err), 0);
    cr_assert_eq(err.code, ERR_INTERNAL);
    cr_assert_eq(fixture_run(LEDGER_OP_PURGE, count_marks, &kept, &err) < 0, true,
                 "after a failure writes wait for the probe");
}

Test(ledger_queue, closing_finishes_and_answers_what_was_accepted)
{
    enum { N = 50 };
    static struct mark marks[N];
    int64_t kept = 0;
    struct err err = {0};
    for (int i = 0; i < N; i++)
        submit_mark(&marks[i], i + 1, LEDGER_OP_EVENT_ADD);
    ledger_close(fixture_ledger);
    fixture_ledger = NULL;
    cr_assert_eq(completed, N);
    fixture_open();
    fixture_must(fixture_run(LEDGER_OP_PURGE, count_marks, &kept, &err), &err);
    cr_assert_eq(kept, N);
}

static void *writer(void *data)
{
    for (int i = 0; i < 50; i++) {
        struct mark m = {.number = *(int *)data * 1000 + i};
        struct err err = {0};
        struct ledger_job job = {.op = LEDGER_OP_EVENT_ADD, .apply = apply_mark, .data = &m};
        if (ledger_run(fixture_ledger, &job, &err) != 0)
            return data;
    }
    return NULL;
}

Test(ledger_queue, many_threads_share_commits)
{
    enum { THREADS = 16 };
    pthread_t threads[THREADS];
    int numbers[THREADS];
    struct ledger_status status;
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        cr_assert_eq(pthread_create(&threads[i], NULL, writer, &numbers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        cr_assert_null(failed);
    }
    ledger_status(fixture_ledger, &status);
    cr_assert_eq(status.jobs, THREADS * 50);
    cr_assert_lt(status.commits, THREADS * 50);
}

Test(ledger_queue, the_log_is_copied_into_the_database_when_it_has_grown)
{
    struct ledger_status status;
    ledger_close(fixture_ledger);
    fixture_options.checkpoint_pages = 10;
    fixture_open();
    int number = 1;
    cr_assert_null(writer(&number));
    ledger_status(fixture_ledger, &status);
    cr_assert_gt(status.checkpoints, 0);
}

static off_t size_of_log(void)
{
    char path[128];
    struct stat st;
    snprintf(path, sizeof path, "%s/ledger-wal", fixture_directory);
    cr_assert_eq(stat(path, &st), 0);
    return st.st_size;
}

Test(ledger_queue, a_log_that_was_copied_is_written_again_from_its_beginning)
{
    enum { MARK = 10, PAGE = 4096 + 24, A_JOB = 40 };
    struct ledger_status status;
    ledger_close(fixture_ledger);
    fixture_options.checkpoint_pages = MARK;
    fixture_open();
    for (int number = 1; number <= 4; number++) {
        off_t before = number > 1 ? size_of_log() : 0;
        cr_assert_null(writer(&number));
        cr_assert_geq(size_of_log(), before, "it was cut");
        cr_assert_leq(size_of_log(), 32 + (4 * MARK + A_JOB) * PAGE, "it grows for ever");
    }
    ledger_status(fixture_ledger, &status);
    cr_assert_gt(status.checkpoints, 4);
}
