/* This file makes what the gateway tells into events of the sessions that it tells of; it never
 * believes it: an event of no session that lives here is nobody's, and a message of a wrong shape
 * ends the connection.
 *
 * Bounded, however much is told (docs/adr/0013). Of each session there are LOG_ROWS things at a
 * time that are told together: one at once, its repetitions with their count after a second, then
 * after two, up to a minute. Each session may have BURST rows of the ledger at once and one more
 * every REFILL_MS, refusals apart from the rest; what has to wait waits with its count, and what
 * finds no place is counted in `network.dropped`. So the counts are exact, and a flood costs each
 * session's events some ten thousand rows a day. What waits here dies with this process.
 */
#include "provider/provider_internal.h"
#include "provider/spec_store.h"
#include "runtime/plan/network_tell.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

enum {
    LOG_ROWS = 64,
    LOGS_MAX = 4096,
    BATCH = 32,
    READ_AT_ONCE = 256, /* before others have their turn */
    BURST = 256,
    REFILL_MS = 10000, /* a log is looked at so often when nothing waits */
    HOLD_MS = 1000,
    HOLD_MAX_MS = 60000,
    TICK_MS = 250,
};

enum bucket { BUCKET_DENIED, BUCKET_OTHERS, BUCKET_COUNT };

/* Count 0: told, and here to hold repetitions back. */
struct log_row {
    struct gateway_event event;
    char exec_id[LEDGER_ID_SIZE]; /* the last that is known of them; "": none is */
    int64_t due_ms, hold_ms;
    bool used;
};

struct log {
    struct log *next;
    int64_t row, incarnation;
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE];
    unsigned tokens[BUCKET_COUNT];
    int64_t token_ms[BUCKET_COUNT];
    struct log_row rows[LOG_ROWS];
};

struct log_batch {
    struct work work; /* first */
    struct gateway_events *of;
    struct {
        struct gateway_event event;
        char exec_id[LEDGER_ID_SIZE];
        char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE];
    } told[BATCH];
    unsigned count;
};

struct gateway_events {
    struct provider *p;
    int fd;
    struct loop_watch *watch;
    struct loop_timer *timer;
    struct log *logs;
    unsigned log_count;
    struct log_batch *batch; /* on its way to the ledger */
    bool ticking, used;      /* used: a row waits, or holds repetitions back */
};

/* ---- rows of the ledger ---------------------------------------------------------------------- */

static enum bucket bucket_of(const struct gateway_event *event)
{
    return event->kind == GATEWAY_DENIED ? BUCKET_DENIED : BUCKET_OTHERS;
}

static void put_data(const struct spec_network *net, const struct gateway_event *event,
                     const char *exec_id, struct buf *out)
{
    if (event->kind == GATEWAY_DROPPED) {
        buf_printf(out, "{\"count\":%llu", (unsigned long long)event->count);
    } else {
        buf_putc(out, '{');
        network_tell_members(net, event, out);
        buf_puts(out, ",\"rule\":");
        if (event->rule >= 0)
            buf_printf(out, "%d", event->rule);
        else
            buf_puts(out, "null");
        buf_printf(
            out, ",\"network_revision\":%llu,\"exec_id\":", (unsigned long long)event->generation);
        document_text(out, exec_id);
    }
    buf_puts(out, ",\"first_at\":");
    document_time(out, (int64_t)(event->first_ms & INT64_MAX));
    buf_puts(out, ",\"last_at\":");
    document_time(out, (int64_t)(event->last_ms & INT64_MAX));
    if (event->kind == GATEWAY_DENIED) {
        _cleanup_buf_ struct buf line = {0}, flag = {0}, sentence = {0};
        network_tell_rule(net, event, &line, &flag);
        network_tell(event, event->count, &sentence);
        buf_puts(out, ",\"message\":");
        buf_json_string(out, buf_text(&sentence));
        buf_puts(out, ",\"flag\":");
        document_text(out, buf_text(&flag));
    }
    buf_putc(out, '}');
}

static int tell_one(struct ledger_tx *tx, const struct gateway_event *event, const char *exec_id,
                    struct spec *spec, struct err *err)
{
    _cleanup_buf_ struct buf blob = {0}, data = {0};
    struct session_row row;
    char type[32];
    int r = ledger_session_get(tx, event->row, &row, err);
    /* Nothing comes behind session.deleted, and nothing of an older start. */
    if (r != 0 || row.incarnation != event->incarnation || session_is_over(row.state))
        return r < 0 ? r : 0;
    if (event->kind == GATEWAY_DENIED) {
        r = ledger_session_spec(tx, event->row, &blob, err);
        if (r == 0)
            r = spec_store_read(buf_text(&blob), blob.length, spec, err);
        if (r == 0)
            r = ledger_session_denied(
                tx, event->row, (int64_t)(event->count < INT32_MAX ? event->count : INT32_MAX),
                err);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    put_data(&spec->network, event, exec_id, &data);
    if (buf_failed(&data))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "tell an event", NULL, NULL);
    snprintf(type, sizeof type, "network.%s", network_tell_kind(event->kind));
    return ledger_event_add(tx, event->row, type, buf_text(&data), now_ms(), NULL, err);
}

static int batch_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct log_batch *batch = (const struct log_batch *)work;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < batch->count; i++)
        r = tell_one(tx, &batch->told[i].event, batch->told[i].exec_id, &work->p->ledger_scratch,
                     err);
    return r;
}

static void flush(struct gateway_events *g);

static void free_batch(struct work *work)
{
    struct log_batch *batch = (struct log_batch *)work;
    if (batch->of)
        batch->of->batch = NULL;
    work_end(work);
    free(batch);
}

static void submit(struct work *work);

static void batch_done(struct work *work)
{
    struct log_batch *batch = (struct log_batch *)work;
    struct gateway_events *g = batch->of;
    struct provider *p = work->p;
    /* Again, also where it is not certain that nothing was written: told twice, not lost. */
    if (work->job.result < 0 && !p->closing) {
        work_again(work, submit);
        return;
    }
    for (unsigned i = 0; i < batch->count; i++)
        provider_committed(p, batch->told[i].workspace_id, batch->told[i].session_id);
    free_batch(work);
    if (g && !p->closing)
        flush(g);
}

static void submit(struct work *work)
{
    work_job(work, LEDGER_OP_EVENT_ADD, batch_apply, batch_done);
}

/* ---- what waits ------------------------------------------------------------------------------ */

static bool take_token(struct log *log, enum bucket bucket, int64_t now)
{
    int64_t passed = (now - log->token_ms[bucket]) / REFILL_MS;
    if (passed > 0) {
        log->token_ms[bucket] += passed * REFILL_MS;
        uint64_t tokens = log->tokens[bucket] + (uint64_t)passed;
        log->tokens[bucket] = tokens < BURST ? (unsigned)tokens : BURST;
    }
    if (log->tokens[bucket] == 0)
        return false;
    log->tokens[bucket]--;
    return true;
}

/* Whose it is. Init may say so a moment after the gateway: then it is asked for again. */
static bool name_exec(struct gateway_events *g, const struct log *log, struct log_row *row)
{
    const struct seat *seat = seat_find(g->p, log->row);
    const char *exec_id = seat && seat->incarnation == log->incarnation
                              ? exec_of_cgroup(seat, row->event.cgroup)
                              : NULL;
    if (exec_id)
        snprintf(row->exec_id, sizeof row->exec_id, "%s", exec_id);
    return exec_id || row->event.cgroup == 0;
}

static void batch_add(struct gateway_events *g, const struct log *log, struct log_row *row,
                      int64_t now)
{
    struct log_batch *batch = g->batch;
    unsigned i = batch->count++;
    name_exec(g, log, row);
    batch->told[i].event = row->event;
    memcpy(batch->told[i].exec_id, row->exec_id, sizeof row->exec_id);
    row->exec_id[0] = 0;
    memcpy(batch->told[i].workspace_id, log->workspace_id, sizeof log->workspace_id);
    memcpy(batch->told[i].session_id, log->session_id, sizeof log->session_id);
    row->event.count = row->event.sent = row->event.received = row->event.cgroup = 0;
    row->hold_ms = row->hold_ms * 2 > HOLD_MAX_MS ? HOLD_MAX_MS : row->hold_ms * 2;
    row->due_ms = now + row->hold_ms;
}

/* Is a row of it still used? */
static bool flush_log(struct gateway_events *g, struct log *log, int64_t now)
{
    bool used = false;
    for (unsigned i = 0; i < LOG_ROWS; i++) {
        struct log_row *row = &log->rows[i];
        if (row->used && row->due_ms <= now && row->event.count == 0)
            row->used = false;
        used |= row->used;
        if (row->used && row->due_ms <= now && g->batch->count < BATCH &&
            (row->event.kind == GATEWAY_DROPPED || take_token(log, bucket_of(&row->event), now)))
            batch_add(g, log, row, now);
    }
    return used;
}

/* One whose tokens are all there again has nothing to remember. */
static bool is_idle(const struct log *log, int64_t now)
{
    for (unsigned i = 0; i < BUCKET_COUNT; i++)
        if ((int64_t)(BURST - log->tokens[i]) > (now - log->token_ms[i]) / REFILL_MS)
            return false;
    return true;
}

static void tick(struct gateway_events *g)
{
    if (g->logs && (!g->ticking || g->used))
        loop_timer_set(g->timer, g->used ? TICK_MS : REFILL_MS);
    g->ticking = g->logs != NULL;
}

static void flush(struct gateway_events *g)
{
    int64_t now = now_boot_ms();
    if (g->batch || !(g->batch = calloc(1, sizeof *g->batch)))
        return;
    g->batch->of = g;
    g->used = false;
    work_begin(&g->batch->work, g->p, free_batch);
    for (struct log **at = &g->logs; *at;) {
        struct log *log = *at;
        bool used = flush_log(g, log, now);
        g->used |= used;
        if (used || !is_idle(log, now)) {
            at = &log->next;
            continue;
        }
        *at = log->next;
        g->log_count--;
        free(log);
    }
    if (g->batch->count > 0)
        submit(&g->batch->work);
    else
        free_batch(&g->batch->work);
}

static void on_tick(void *owner)
{
    struct gateway_events *g = owner;
    g->ticking = false;
    flush(g);
    tick(g);
}

static bool same(const struct gateway_event *a, const struct gateway_event *b)
{
    return a->kind == b->kind && a->port == b->port && a->protocol == b->protocol &&
           a->reason == b->reason && a->rule == b->rule && a->generation == b->generation &&
           strcmp(a->host, b->host) == 0 && (a->host[0] || address_equal(&a->address, &b->address));
}

static void merge(struct gateway_event *into, const struct gateway_event *event)
{
    if (into->count == 0)
        into->first_ms = event->first_ms;
    into->last_ms = event->last_ms;
    into->address = event->address;
    if (event->cgroup)
        into->cgroup = event->cgroup;
    if (__builtin_add_overflow(into->count, event->count, &into->count))
        into->count = UINT64_MAX;
    into->sent += event->sent;
    into->received += event->received;
}

/* The row of this, or one for it; NULL: there is none. The last is for what is dropped. */
static struct log_row *row_for(struct log *log, const struct gateway_event *event)
{
    struct log_row *room = NULL;
    if (event->kind == GATEWAY_DROPPED)
        return &log->rows[LOG_ROWS - 1];
    for (unsigned i = 0; i < LOG_ROWS - 1; i++) {
        struct log_row *row = &log->rows[i];
        if (row->used && same(&row->event, event))
            return row;
        if (!row->used && (!room || room->used))
            room = row; /* the first: they are told in this order */
        else if (row->used && row->event.count == 0 &&
                 (!room || (room->used && row->due_ms < room->due_ms)))
            room = row;
    }
    if (room)
        room->used = false;
    return room;
}

static void keep(struct gateway_events *g, struct log *log, const struct gateway_event *event)
{
    struct gateway_event dropped = {.kind = GATEWAY_DROPPED,
                                    .row = event->row,
                                    .incarnation = event->incarnation,
                                    .rule = -1,
                                    .count = event->count,
                                    .first_ms = event->first_ms,
                                    .last_ms = event->last_ms};
    struct log_row *row = row_for(log, event);
    if (!row) {
        row = row_for(log, &dropped);
        event = &dropped;
    }
    if (row->used) {
        merge(&row->event, event);
        name_exec(g, log, row);
        return;
    }
    *row = (struct log_row){
        .event = *event, .due_ms = now_boot_ms(), .hold_ms = HOLD_MS / 2, .used = true};
    if (!name_exec(g, log, row))
        row->due_ms += TICK_MS;
}

/* ---- the socket ------------------------------------------------------------------------------ */

static struct log *log_of(struct gateway_events *g, int64_t row, int64_t incarnation)
{
    for (struct log *log = g->logs; log; log = log->next)
        if (log->row == row && log->incarnation == incarnation)
            return log;
    const struct seat *seat = seat_find(g->p, row);
    if (!seat || seat->incarnation != incarnation || g->log_count >= LOGS_MAX)
        return NULL;
    struct log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->row = row;
    log->incarnation = incarnation;
    memcpy(log->workspace_id, seat->workspace_id, sizeof log->workspace_id);
    memcpy(log->session_id, seat->session_id, sizeof log->session_id);
    for (unsigned i = 0; i < BUCKET_COUNT; i++) {
        log->tokens[i] = BURST;
        log->token_ms[i] = now_boot_ms();
    }
    log->next = g->logs;
    g->logs = log;
    g->log_count++;
    return log;
}

static void close_socket(struct gateway_events *g)
{
    loop_watch_free(g->watch);
    g->watch = NULL;
    fd_replace(&g->fd, -1);
}

/* false: nothing more is there now. */
static bool read_one(struct gateway_events *g)
{
    struct gateway_event event;
    ssize_t n = recv(g->fd, &event, sizeof event, MSG_DONTWAIT | MSG_TRUNC);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    const char *wrong = n > 0 ? gateway_event_check(&event, (size_t)n) : NULL;
    if (n <= 0 || wrong) { /* a new one comes with a new gateway */
        close_socket(g);
        if (wrong && g->p->options.distrusted)
            g->p->options.distrusted(g->p->options.data, wrong);
        return false;
    }
    struct log *log = log_of(g, event.row, event.incarnation);
    if (log)
        keep(g, log, &event);
    return true;
}

void gateway_events_take(struct provider *p, int64_t row)
{
    struct gateway_events *g = p->gateway;
    if (!g || p->recovering)
        return;
    if (p->closing) {
        close_socket(g); /* what comes is nobody's any more, and would be told again and again */
        return;
    }
    for (unsigned n = 0; n < READ_AT_ONCE && g->fd >= 0; n++)
        if (!read_one(g))
            break;
    for (struct log *log = row ? g->logs : NULL; log; log = log->next)
        for (unsigned i = 0; (row < 0 || log->row == row) && i < LOG_ROWS; i++)
            if (log->rows[i].used && log->rows[i].event.count > 0)
                log->rows[i].due_ms = 0;
    if (g->logs)
        flush(g);
    tick(g);
}

static void on_events(void *owner, unsigned events)
{
    struct gateway_events *g = owner;
    (void)events;
    gateway_events_take(g->p, 0);
}

void gateway_events_start(struct provider *p)
{
    struct gateway_events *g = p->gateway;
    struct err err;
    if (!g || g->fd < 0 || g->watch || p->recovering)
        return;
    if (loop_watch_new(p->loop, g->fd, on_events, g, &g->watch, &err) < 0 ||
        loop_watch_set(g->watch, LOOP_READ) < 0)
        close_socket(g);
}

int gateway_events_open(struct provider *p, struct err *err)
{
    struct gateway_events *g = calloc(1, sizeof *g);
    if (!g)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "open the engine", NULL, NULL);
    g->p = p;
    g->fd = -1;
    p->gateway = g;
    return loop_timer_new(p->loop, on_tick, g, &g->timer, err);
}

void provider_gateway(struct provider *p, int fd)
{
    close_socket(p->gateway);
    p->gateway->fd = fd;
    gateway_events_start(p);
    ports_look(p);
}

void gateway_events_free(struct provider *p)
{
    struct gateway_events *g = p->gateway;
    if (!g)
        return;
    p->gateway = NULL;
    close_socket(g);
    loop_timer_free(g->timer);
    if (g->batch)
        g->batch->of = NULL;
    while (g->logs) {
        struct log *log = g->logs;
        g->logs = log->next;
        free(log);
    }
    free(g);
}
