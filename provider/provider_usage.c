/* This file samples what living sessions use, every ten seconds and when somebody asks (USE-1); it
 * never adds anything up: usage.c does, in the ledger's transaction.
 */
#include "provider/provider_internal.h"

#include <errno.h>
#include <stdlib.h>

#ifdef BERTH_FAILPOINTS /* no process of a crash campaign lives that long */
enum { SAMPLE_MS = 300, BATCH = 64 };
#else
enum { SAMPLE_MS = 10000, BATCH = 64 };
#endif

struct sampled {
    int64_t row;
    struct usage_sample sample;
};

struct batch {
    struct work work; /* first */
    struct sampled sampled[BATCH];
    size_t count;
};

struct usage_round {
    struct work work; /* first */
    struct batch *batch;
    unsigned bucket, under_way; /* next bucket of seats to look at; requests that are out */
};

static void free_batch(struct work *work)
{
    work_end(work);
    free(work);
}

static int batch_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct batch *batch = (const struct batch *)work;
    int64_t now = now_ms();
    int r = 0;
    for (size_t i = 0; r >= 0 && i < batch->count; i++)
        r = coordinator_usage(tx, batch->sampled[i].row, &batch->sampled[i].sample, now, err);
    return r < 0 ? r : 0;
}

static void flush(struct usage_round *round)
{
    struct batch *batch = take_ptr(&round->batch);
    /* One that is lost is in the next: counters only go up. */
    if (batch)
        work_job(&batch->work, LEDGER_OP_USAGE_SAMPLE, batch_apply, free_batch);
}

struct usage_sample usage_of_sample(const struct launcher_sample *s, int64_t incarnation)
{
    struct usage_sample sample = {
        .incarnation = incarnation,
        .cpu_ns = (int64_t)(s->cpu_ns & INT64_MAX),
        .net_tx_bytes = (int64_t)(s->net_tx_bytes & INT64_MAX),
        .net_rx_bytes = (int64_t)(s->net_rx_bytes & INT64_MAX),
        .memory_bytes = (int64_t)(s->memory_bytes & INT64_MAX),
        .memory_peak_bytes = (int64_t)(s->memory_peak_bytes & INT64_MAX),
        .disk_bytes = s->disk_bytes == UINT64_MAX ? -1 : (int64_t)(s->disk_bytes & INT64_MAX)};
    for (int i = 0; i < NETWORK_COUNTER_COUNT; i++)
        sample.network[i] = (int64_t)(s->network[i] & INT64_MAX);
    return sample;
}

const struct usage_sample *usage_at_end(const struct work *work)
{
    return work->ending.measured ? &work->ending.last : NULL;
}

static void go_on(struct work *work);

static void on_sample(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct seat *seat = data;
    struct provider *p = seat->p;
    struct usage_round *round = p->usage;
    (void)err;
    seat->sampling = false;
    if (!round)
        return;
    round->under_way--;
    if (reply && reply->result == 0) {
        if (!round->batch && (round->batch = calloc(1, sizeof *round->batch)))
            work_begin(&round->batch->work, p, free_batch);
        if (round->batch)
            round->batch->sampled[round->batch->count++] =
                (struct sampled){seat->row, usage_of_sample(&reply->sample, seat->incarnation)};
        if (round->batch && round->batch->count == BATCH)
            flush(round);
    }
    seat_release(seat);
    go_on(&round->work);
}

static void ask(struct usage_round *round, struct seat *seat)
{
    struct provider *p = seat->p;
    struct err err = {0};
    struct launcher_request request =
        launcher_request_for(p, LAUNCHER_SAMPLE, seat->row, seat->incarnation);
    if (provider_ask(p, &request, NULL, 0, on_sample, seat, &err) < 0)
        return;
    seat->sampling = true;
    round->under_way++;
}

static void again(struct work *work)
{
    ((struct usage_round *)work)->bucket = 0;
    go_on(work);
}

static void go_on(struct work *work)
{
    struct usage_round *round = (struct usage_round *)work;
    struct provider *p = work->p;
    while (round->bucket < SEAT_HASH && round->under_way < BATCH)
        for (struct seat *seat = p->seats[round->bucket++]; seat; seat = seat->next)
            if (seat->agent && !seat->ending && !seat->sampling)
                ask(round, seat);
    if (round->bucket < SEAT_HASH || round->under_way > 0)
        return;
    flush(round);
    if (!p->closing)
        work_later(work, SAMPLE_MS, again);
}

static void free_round(struct work *work)
{
    struct usage_round *round = (struct usage_round *)work;
    work->p->usage = NULL;
    work_end(work);
    free(round);
}

void usage_start(struct provider *p)
{
    struct usage_round *round = calloc(1, sizeof *round);
    if (!round)
        return;
    p->usage = round;
    work_begin(&round->work, p, free_round);
    work_rest(&round->work, true);
    work_later(&round->work, SAMPLE_MS, again);
}

/* ---- for who asks ---------------------------------------------------------------------------- */

struct usage_call {
    struct call call; /* first */
    struct session_row row;
    struct usage_row usage;
    struct usage_sample sample;
    bool sampled;
};

static int find_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct usage_call *call = (struct usage_call *)work;
    return ledger_session_find(tx, call->call.workspace_id, call->call.session_id, &call->row, err);
}

static int usage_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct usage_call *call = (struct usage_call *)work;
    int64_t now = now_ms();
    int r = call->sampled ? coordinator_usage(tx, call->row.id, &call->sample, now, err) : 0;
    if (r >= 0)
        r = ledger_usage_get(tx, call->row.id, &call->usage, err);
    if (r == LEDGER_NOT_FOUND) {
        usage_begin(&call->usage, call->row.id, now);
        return 0;
    }
    if (r == 0)
        usage_advance(&call->usage, now, call->usage.raw_running);
    return r;
}

static void told(struct work *work)
{
    struct usage_call *call = (struct usage_call *)work;
    struct buf document = {0};
    if (work->job.result < 0) {
        call_fail(&call->call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
        call_free(&call->call);
        return;
    }
    document_usage(&document, &call->usage);
    buf_putc(&document, '\n');
    call_answer(&call->call, 200, &document);
    call_free(&call->call);
}

static void on_asked_sample(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct usage_call *call = data;
    (void)err;
    call->sampled = reply && reply->result == 0;
    if (call->sampled)
        call->sample = usage_of_sample(&reply->sample, call->row.incarnation);
    work_job(&call->call.work, call->sampled ? LEDGER_OP_USAGE_SAMPLE : LEDGER_OP_READ, usage_apply,
             told);
}

static void found(struct work *work)
{
    struct usage_call *call = (struct usage_call *)work;
    struct err err = {0};
    if (work->job.result > 0) {
        no_session(&call->call, &err);
        call_refuse(&call->call, &err, NULL);
        return;
    }
    if (work->job.result < 0) {
        told(work);
        return;
    }
    struct seat *seat = seat_find(work->p, call->row.id);
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_SAMPLE, call->row.id, call->row.incarnation);
    if (!seat || !seat->agent || seat->ending ||
        provider_ask(work->p, &request, NULL, 0, on_asked_sample, call, &err) < 0)
        work_job(work, LEDGER_OP_READ, usage_apply, told);
}

static void begin(struct call *call)
{
    struct err err = {0};
    if (call_check_ids(call, false, &err) < 0)
        call_refuse(call, &err, NULL);
    else
        work_job(&call->work, LEDGER_OP_READ, find_apply, found);
}

void provider_session_usage(struct provider *p, const struct provider_call *from)
{
    call_new(p, from, sizeof(struct usage_call), "", begin, NULL);
}
