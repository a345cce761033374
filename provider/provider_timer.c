/* This file does what is due: times to live, idle sessions, deadlines of commands, all of them from
 * the ledger, and the purge of what is kept no longer. It never keeps a time of its own: after a
 * restart the rows say the same.
 *
 * A row stays until what it asks for has happened, so a timer that rings while something else is
 * done with its session rings again a second later.
 */
#include "provider/provider_exec.h"

#include <errno.h>
#include <stdlib.h>

enum {
    DUE_MAX = 64,
    LOOK_MS = 20,         /* commits come in heaps: one look for all of them */
    AGAIN_MS = 1000,      /* what was due and is still there */
    LONGEST_MS = 3600000, /* clocks are set */
#ifdef BERTH_FAILPOINTS
    PURGE_FIRST_MS = 300, /* no process of a crash campaign lives for a minute */
    PURGE_MS = 300,
#else
    PURGE_FIRST_MS = 60000,
    PURGE_MS = 600000,
#endif
    PURGE_MAX = 200,
};

struct due {
    struct timer_row timer;
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE];
    int64_t ord;
};

struct timers {
    struct work work; /* first */
    struct work purge;
    struct loop_timer *timer;
    struct due due[DUE_MAX];
    size_t count;
    int64_t next_ms; /* -1: nothing */
    struct ledger_purged purged;
    bool reading, again, started;
};

static void set(struct timers *timers, uint64_t in_ms)
{
    loop_timer_set(timers->timer, in_ms < LONGEST_MS ? in_ms : LONGEST_MS);
}

static int due_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct timers *timers = (struct timers *)work;
    struct timer_row rows[DUE_MAX];
    struct session_row session;
    struct exec_row exec;
    int64_t now = now_ms(), now_boot = now_boot_ms();
    int r = ledger_timer_due(tx, now, now_boot, rows, DUE_MAX, &timers->count, err);
    for (size_t i = 0; r == 0 && i < timers->count; i++) {
        struct due *due = &timers->due[i];
        *due = (struct due){.timer = rows[i]};
        r = ledger_session_get(tx, rows[i].session, &session, err);
        if (r == 0) {
            snprintf(due->workspace_id, sizeof due->workspace_id, "%s", session.workspace_id);
            snprintf(due->session_id, sizeof due->session_id, "%s", session.session_id);
            r = rows[i].exec ? ledger_exec_get(tx, rows[i].exec, &exec, err) : 0;
            due->ord = rows[i].exec && r == 0 ? exec.ord : 0;
        }
        r = r > 0 ? 0 : r;
    }
    return r == 0 ? ledger_timer_next(tx, now, now_boot, &timers->next_ms, err) : r;
}

static void ring(struct provider *p, const struct due *due)
{
    struct seat *seat = seat_find(p, due->timer.session);
    struct exec *exec;
    if (!due->session_id[0] || (seat && seat->holder))
        return;
    switch (due->timer.kind) {
    case TIMER_TTL:
        verb_internal(p, due->workspace_id, due->session_id, SESSION_EVENT_DESTROY, "ttl", NULL,
                      NULL);
        break;
    case TIMER_IDLE_DESTROY:
    case TIMER_IDLE_PARK:
        /* File operations are no commands and do not start the time anew, but they are not cut;
         * who only watches is. */
        if (seat && (seat->background_count > 0 || seat->idling))
            idle_anew(seat);
        else if (!seat || seat->files_running <= files_watches(seat))
            verb_internal(p, due->workspace_id, due->session_id,
                          due->timer.kind == TIMER_IDLE_PARK ? SESSION_EVENT_PARK_STOP
                                                             : SESSION_EVENT_DESTROY,
                          "idle", NULL, NULL);
        break;
    case TIMER_EXEC_DEADLINE: /* init has the time limit too, and is sooner */
        exec = seat && seat->agent ? exec_find(seat, due->ord) : NULL;
        if (exec && !exec->start && !exec->ending)
            agent_client_kill(seat->agent, exec->number, AGENT_REASON_TIMEOUT);
        break;
    }
}

static void due_read(struct work *work)
{
    struct timers *timers = (struct timers *)work;
    timers->reading = false;
    if (work->p->closing)
        return;
    if (work->job.result < 0) {
        set(timers, AGAIN_MS);
        return;
    }
    for (size_t i = 0; i < timers->count; i++)
        ring(work->p, &timers->due[i]);
    if (timers->count > 0)
        set(timers, AGAIN_MS);
    else if (timers->again)
        set(timers, LOOK_MS);
    else
        set(timers, timers->next_ms < 0 ? LONGEST_MS : (uint64_t)timers->next_ms + 1);
    timers->again = false;
}

static void on_timer(void *owner)
{
    struct timers *timers = owner;
    if (timers->reading || timers->work.p->closing)
        return;
    timers->reading = true;
    timers->again = false;
    work_job(&timers->work, LEDGER_OP_READ, due_apply, due_read);
}

void timers_look(struct provider *p)
{
    struct timers *timers = p->timers;
    if (!timers || !timers->started || timers->again || p->closing)
        return;
    timers->again = true;
    if (!timers->reading)
        set(timers, LOOK_MS);
}

/* ---- retention ------------------------------------------------------------------------------- */

static struct timers *of_purge(struct work *work)
{
    return work->p->timers;
}

static int purge_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    return ledger_purge(tx, now_ms(), PURGE_MAX, &of_purge(work)->purged, err);
}

static void purge(struct work *work);

static void purged(struct work *work)
{
    const struct ledger_purged *done = &of_purge(work)->purged;
    bool more = work->job.result == 0 &&
                (done->keys == PURGE_MAX || done->execs == PURGE_MAX || done->events == PURGE_MAX ||
                 done->sessions == PURGE_MAX || done->audit == PURGE_MAX);
    if (!work->p->closing)
        work_later(work, more ? AGAIN_MS : PURGE_MS, purge);
}

static void purge(struct work *work)
{
    work_job(work, LEDGER_OP_PURGE, purge_apply, purged);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static void free_timers(struct work *work)
{
    struct provider *p = work->p;
    struct timers *timers = p->timers;
    if (!timers)
        return;
    p->timers = NULL;
    work_end(&timers->purge);
    work_end(&timers->work);
    loop_timer_free(timers->timer);
    free(timers);
}

int timers_open(struct provider *p, struct err *err)
{
    struct timers *timers = calloc(1, sizeof *timers);
    if (!timers)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "keep time", NULL, NULL);
    p->timers = timers;
    work_begin(&timers->work, p, free_timers);
    work_begin(&timers->purge, p, free_timers);
    work_rest(&timers->work, true); /* they hold up no end */
    work_rest(&timers->purge, true);
    return loop_timer_new(p->loop, on_timer, timers, &timers->timer, err);
}

void timers_start(struct provider *p)
{
    p->timers->started = true;
    set(p->timers, 0);
    work_later(&p->timers->purge, PURGE_FIRST_MS, purge);
    usage_start(p);
}

void timers_free(struct provider *p)
{
    if (p->timers)
        free_timers(&p->timers->work);
}
