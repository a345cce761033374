/* This file starts commands and writes down what init tells of them; it never decides how one
 * ended: the kernel told init, and init tells here.
 */
#include "provider/provider_exec.h"
#include "provider/spec_store.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* A start is written after this, and with the end of a command that is quicker. */
enum { STARTED_MS = 2 };

/* ---- in memory ------------------------------------------------------------------------------- */

uint64_t number_of_order(int64_t ord)
{
    return (uint64_t)ord << NUMBER_ORDER_SHIFT;
}

bool number_is_files(uint64_t number)
{
    return (number & ((UINT64_C(1) << NUMBER_ORDER_SHIFT) - 1)) != 0;
}

void free_strings(char **strings)
{
    for (size_t i = 0; strings && strings[i]; i++)
        free(strings[i]);
    free(strings);
}

void exec_start_free(struct exec_start *start)
{
    if (!start)
        return;
    free_strings(start->argv);
    free(start->env); /* one allocation */
    free(start->cwd);
    fd_close(start->stdin_read);
    fd_close(start->spool);
    free(start);
}

struct exec *exec_of_number(struct seat *seat, uint64_t number)
{
    struct exec *exec = seat->execs;
    while (exec && exec->number != number)
        exec = exec->next;
    return exec;
}

struct exec *exec_find(struct seat *seat, int64_t ord)
{
    return exec_of_number(seat, number_of_order(ord));
}

struct exec *exec_new(struct seat *seat, const struct exec_row *row)
{
    struct exec *exec = calloc(1, sizeof *exec), **at = &seat->execs;
    if (!exec)
        return NULL;
    exec->seat = seat;
    exec->row = row->id;
    exec->ord = row->ord;
    exec->number = number_of_order(row->ord);
    exec->stdin_write = -1;
    snprintf(exec->exec_id, sizeof exec->exec_id, "%s", row->exec_id);
    while (*at && (*at)->ord < exec->ord)
        at = &(*at)->next;
    exec->next = *at;
    *at = exec;
    return exec;
}

void exec_free(struct exec *exec)
{
    struct exec **at = &exec->seat->execs;
    while (*at != exec)
        at = &(*at)->next;
    *at = exec->next;
    exec_start_free(exec->start);
    fd_close(exec->stdin_write);
    free(exec);
}

void execs_free(struct seat *seat)
{
    while (seat->execs)
        exec_free(seat->execs);
}

/* `row` and `command`: as they are now; NULL: that is to be read. */
static void over(struct exec *exec, const struct exec_row *row, const char *command)
{
    struct seat *seat = exec->seat;
    struct provider *p = seat->p;
    for (struct exec_call *call; (call = exec->waiters);) {
        struct work *work = &call->call.work;
        exec->waiters = call->next_waiter;
        call->waits = NULL;
        call->waited = true;
        loop_timer_free(take_ptr(&work->timer));
        work_rest(work, false);
        if (row)
            exec_answer_with(call, row, command);
        else
            exec_answer(call);
    }
    if (seat->agent && !exec->start)
        agent_client_forget(seat->agent, exec->number);
    output_wake(exec);
    if (exec->cgroup) {
        struct exec_gone *gone = &seat->gone[seat->gone_next++ % EXECS_GONE];
        gone->cgroup = exec->cgroup;
        memcpy(gone->exec_id, exec->exec_id, sizeof gone->exec_id);
    }
    exec_free(exec);
    spool_trim(seat);
    provider_committed(p, seat->workspace_id, seat->session_id);
    seat_release(seat);
}

const char *exec_of_cgroup(const struct seat *seat, uint64_t cgroup)
{
    if (cgroup == 0)
        return NULL;
    for (const struct exec *exec = seat->execs; exec; exec = exec->next)
        if (exec->cgroup == cgroup)
            return exec->exec_id;
    for (unsigned i = 0; i < EXECS_GONE; i++)
        if (seat->gone[i].cgroup == cgroup)
            return seat->gone[i].exec_id;
    return NULL;
}

void exec_over(struct exec *exec)
{
    over(exec, NULL, NULL);
}

void seat_execs_over(struct seat *seat)
{
    spool_let_go(seat);
    /* Those whose end is being written have a job that finds its row ended, and calls again. */
    for (struct exec *exec = seat->execs, *next; exec; exec = next) {
        next = exec->next;
        if (exec->ending)
            continue;
        struct exec_call *asker = exec->asker;
        exec->asker = NULL;
        if (asker)
            exec_answer(asker);
        if (next) {
            exec_over(exec);
            continue;
        }
        exec_over(exec); /* the last one: the seat may be gone with it */
        return;
    }
}

/* ---- its end, written down ------------------------------------------------------------------- */

struct record {
    struct work work; /* first */
    int64_t session, ord;
    bool running; /* its start, not its end */
    bool wanted;  /* somebody waits for the end: what he is answered is read with it */
    int64_t started_ms;
    struct exec_row row;
    struct agent_exit exit; /* as init told it; zero when it did not */
    char event[512];
    struct exec_call *asker; /* told `err` when it is written */
    struct err err;
    struct exec_row told; /* id 0: not read */
    struct buf command;
};

static void free_record(struct work *work)
{
    buf_fini(&((struct record *)work)->command);
    work_end(work);
    free(work);
}

void exec_row_end(struct exec_row *row, const struct agent_exit *exit)
{
    row->state = EXEC_ENDED;
    snprintf(row->reason, sizeof row->reason, "%s",
             agent_reason_name((enum agent_reason)exit->reason));
    row->exit_code = exit->exit_code;
    row->signal = exit->signal;
    row->ended_ms = now_ms();
    row->cpu_ms = (int64_t)(exit->cpu_us / 1000);
    row->max_rss_bytes = (int64_t)(exit->max_rss_bytes & INT64_MAX);
    row->output_bytes = (int64_t)(exit->output_bytes & INT64_MAX);
    row->oom_kills = exit->oom_kills;
    row->output_truncated = exit->output_truncated != 0;
    if (row->started_ms == 0 && exit->started_ns && exit->reason != AGENT_REASON_START_FAILED)
        row->started_ms = (int64_t)(exit->started_ns / 1000000);
}

void exec_event(const struct exec_row *row, char *ret, size_t size)
{
    snprintf(ret, size, "{\"exec_id\":\"%s\",\"reason\":\"%s\",\"exit_code\":%lld,\"signal\":%lld}",
             row->exec_id, row->reason, (long long)row->exit_code, (long long)row->signal);
}

static int read_told(struct ledger_tx *tx, struct record *record, struct err *err)
{
    struct exec_row row;
    buf_fini(&record->command);
    record->told.id = 0;
    int r = ledger_exec_get(tx, record->row.id, &row, err);
    if (r == 0)
        r = ledger_exec_command(tx, row.id, &record->command, err);
    if (r == 0)
        record->told = row;
    return r;
}

static int record_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct record *record = (struct record *)work;
    int r = 0;
    /* STALE, NOT_FOUND: written by another way, or purged. The outcome is the same. */
    if (record->started_ms > 0)
        r = coordinator_exec_running(tx, record->row.id, record->started_ms, err);
    if (r >= 0 && !record->running)
        r = coordinator_exec_end(tx, &record->row, record->event, err);
    if (r == 0 && !record->running) {
        record->row.session = record->session;
        r = exec_limits_met(tx, &record->row, &record->exit, err);
    }
    if (r >= 0 && record->wanted)
        r = read_told(tx, record, err);
    return r > 0 ? 0 : r;
}

static void record_again(struct work *work);

static void recorded(struct work *work)
{
    struct record *record = (struct record *)work;
    struct provider *p = work->p;
    if (work->job.result != 0 && !p->closing) {
        /* The ledger is away. What init told does not change: it is said until it is taken. */
        work_again(work, record_again);
        return;
    }
    struct seat *seat = seat_find(p, record->session);
    struct exec *exec = seat ? exec_find(seat, record->ord) : NULL;
    struct exec_call *asker = record->asker;
    if (asker) {
        call_fail(&asker->call, &record->err, NULL);
        call_free(&asker->call);
    }
    if (exec && !record->running)
        over(exec, record->told.id ? &record->told : NULL, buf_text(&record->command));
    else if (seat)
        provider_committed(p, seat->workspace_id, seat->session_id);
    free_record(work);
}

static void record_again(struct work *work)
{
    struct record *record = (struct record *)work;
    struct seat *seat = record->running ? seat_find(work->p, record->session) : NULL;
    struct exec *exec = seat ? exec_find(seat, record->ord) : NULL;
    if (exec && exec->started == record)
        exec->started = NULL;
    work_job(work, record->running ? LEDGER_OP_EXEC_RUNNING : LEDGER_OP_EXEC_END, record_apply,
             recorded);
}

static struct record *record_new(struct exec *exec)
{
    struct record *record = calloc(1, sizeof *record);
    if (!record)
        return NULL;
    record->session = exec->seat->row;
    record->ord = exec->ord;
    record->row.id = exec->row;
    snprintf(record->row.exec_id, sizeof record->row.exec_id, "%s", exec->exec_id);
    work_begin(&record->work, exec->seat->p, free_record);
    return record;
}

/* Its end came before its start was written: they go together. */
static void take_started(struct exec *exec, struct record *record)
{
    struct record *started = exec->started;
    if (!started)
        return;
    exec->started = NULL;
    record->started_ms = started->started_ms;
    free_record(&started->work);
}

void exec_record(struct exec *exec, const struct exec_row *end, const struct agent_exit *exit)
{
    struct record *record = exec->ending ? NULL : record_new(exec);
    if (!record) /* no memory: its row says that it runs until the session is looked at again */
        return;
    record->row = *end;
    if (exit)
        record->exit = *exit;
    record->row.id = exec->row;
    snprintf(record->row.exec_id, sizeof record->row.exec_id, "%s", exec->exec_id);
    exec_event(&record->row, record->event, sizeof record->event);
    if (__builtin_add_overflow(exec->seat->spool_added, end->output_bytes,
                               &exec->seat->spool_added))
        exec->seat->spool_added = INT64_MAX; /* init may say any number */
    take_started(exec, record);
    record->wanted = exec->waiters != NULL;
    record->asker = exec->asker;
    exec->asker = NULL;
    exec->ending = true;
    record_again(&record->work);
}

void exec_not_sent(struct exec *exec, const char *reason, const struct err *err)
{
    struct exec_row end = {.state = EXEC_ENDED, .exit_code = -1, .ended_ms = now_ms()};
    struct record *record = exec->ending ? NULL : record_new(exec);
    if (!record)
        return;
    snprintf(end.reason, sizeof end.reason, "%s", reason);
    end.id = exec->row;
    snprintf(end.exec_id, sizeof end.exec_id, "%s", exec->exec_id);
    record->row = end;
    exec_event(&end, record->event, sizeof record->event);
    record->asker = exec->asker;
    exec->asker = NULL;
    record->err = *err;
    exec->ending = true;
    record_again(&record->work);
}

/* ---- what init tells ------------------------------------------------------------------------- */

static void start_failed(struct exec *exec, const struct agent_start_failed *failed)
{
    static const int64_t codes[] = {[AGENT_START_BERTH] = -1,
                                    [AGENT_START_NOT_FOUND] = 127,
                                    [AGENT_START_NOT_EXECUTABLE] = 126};
    struct exec_row end = {.state = EXEC_ENDED, .exit_code = -1, .ended_ms = now_ms()};
    if (failed->fault < ARRAY_LENGTH(codes) && failed->fault > 0)
        end.exit_code = codes[failed->fault];
    snprintf(end.reason, sizeof end.reason, "start_failed");
    snprintf(end.failed_step, sizeof end.failed_step, "%s", failed->step);
    end.failed_errno = failed->sys;
    exec_record(exec, &end, NULL);
}

/* Without input its pipe is of no use; one that is busy is asked for again when it is needed. */
static void attached(struct exec *exec, uint64_t bytes)
{
    if (exec->attach != ATTACH_ASKED)
        return;
    exec->attach = bytes == AGENT_STDIN_BUSY ? ATTACH_BUSY : ATTACH_NONE;
    if (bytes == AGENT_STDIN_BUSY || bytes == AGENT_STDIN_NONE)
        fd_closep(&exec->stdin_write);
    else
        exec->stdin_bytes = bytes;
}

void exec_frame(struct seat *seat, const struct agent_frame *frame, const void *payload)
{
    struct exec *exec = exec_of_number(seat, frame->exec);
    if (!exec || exec->start)
        return;
    if (frame->type == AGENT_FRAME_STARTED) {
        struct agent_started started;
        memcpy(&started, payload, sizeof started);
        exec->cgroup = started.cgroup;
    }
    if (frame->type == AGENT_FRAME_STARTED && !exec->ending) {
        if (exec->asked_us)
            metrics_observe(&seat->p->metrics.durations[METRICS_EXEC_START],
                            now_us() - exec->asked_us);
        exec->asked_us = 0;
        struct record *record = exec->started ? NULL : record_new(exec);
        if (record) {
            record->running = true;
            record->started_ms = now_ms();
            exec->started = record;
            work_later(&record->work, STARTED_MS, record_again);
        }
    } else if (frame->type == AGENT_FRAME_START_FAILED) {
        struct agent_start_failed failed;
        memcpy(&failed, payload, sizeof failed);
        start_failed(exec, &failed);
    } else if (frame->type == AGENT_FRAME_EXIT) {
        struct agent_exit exit;
        struct exec_row end = {0};
        memcpy(&exit, payload, sizeof exit);
        gateway_events_take(seat->p, seat->row); /* what was refused to it, before its end */
        exec_row_end(&end, &exit);
        denied_flush(seat); /* what was refused comes before the end */
        exec_record(exec, &end, &exit);
    } else if (frame->type == AGENT_FRAME_SPOOL) {
        output_wake(exec);
    } else if (frame->type == AGENT_FRAME_STDIN) {
        attached(exec, frame->seq - 1);
    }
}

void exec_adopt(struct seat *seat, const struct exec_row *row, uint64_t cgroup, bool kill)
{
    struct exec *exec = exec_find(seat, row->ord);
    if (!exec)
        exec = exec_new(seat, row);
    if (!exec)
        return;
    exec->cgroup = cgroup;
    exec->kill = kill;
    if (kill) {
        agent_client_kill(seat->agent, exec->number, AGENT_REASON_INTERRUPTED);
        return;
    }
    exec->attach = ATTACH_WANTED;
    execs_send(seat);
}

void execs_interrupt(struct seat *seat, int64_t floor)
{
    struct err err;
    err_set(&err, ERR_INVALID_STATE, ECANCELED, "start the command", NULL,
            "The session was interrupted before it began.");
    for (struct exec *exec = seat->execs, *next; exec; exec = next) {
        next = exec->next;
        if (exec->ord <= floor && exec->start)
            exec_not_sent(exec, "interrupted", &err);
    }
}

/* ---- to init --------------------------------------------------------------------------------- */

/* Its input was an older front's. Whether it has any, init knows. 0, -EAGAIN. */
static int attach_stdin(struct exec *exec)
{
    int ends[2];
    fd_closep(&exec->stdin_write);
    if (!exec->seat->agent || pipe2(ends, O_CLOEXEC) < 0) {
        exec->attach = ATTACH_BUSY;
        return 0;
    }
    int r = agent_client_stdin(exec->seat->agent, exec->number, ends[0]);
    fd_close(ends[0]);
    exec->stdin_write = ends[1];
    if (r == 0)
        exec->attach = ATTACH_ASKED;
    return r == -EAGAIN ? r : 0;
}

static int send_one(struct exec *exec, struct err *err)
{
    const struct exec_start *start = exec->start;
    const struct exec_request request = {
        .argv = (const char *const *)start->argv,
        .env = (const char *const *)start->env,
        .cwd = start->cwd,
        .uid = start->uid,
        .gid = start->gid,
        .tty = start->tty,
        .rows = start->rows,
        .cols = start->cols,
        .stdin_fd = start->stdin_read,
        .stdout_fd = -1,
        .stderr_fd = -1,
        .keep_children = start->keep_children,
        .kill_on_limit = start->kill_on_limit,
        .timeout_ms = start->timeout_ms,
        .idle_timeout_ms = start->idle_timeout_ms,
        .grace_ms = start->grace_ms,
        .open_files = start->open_files,
    };
    return agent_client_exec(exec->seat->agent, exec->number, &request, start->spool,
                             &start->limits, err);
}

void execs_send(struct seat *seat)
{
    for (struct exec *exec = seat->execs, *next; exec; exec = next) {
        struct err err = {0};
        next = exec->next;
        if (exec->attach == ATTACH_WANTED && attach_stdin(exec) == -EAGAIN) {
            seat_want_write(seat, true);
            return;
        }
        if (!exec->start || exec->ending)
            continue;
        int r = seat->agent ? send_one(exec, &err)
                            : err_set(&err, ERR_UNAVAILABLE, EPIPE, "start the command",
                                      seat->session_id, "The session has ended.");
        if (r == -EAGAIN) {
            seat_want_write(seat, true);
            return;
        }
        if (r < 0) {
            exec_not_sent(exec, "not_started", &err);
            continue;
        }
        seat->last_number = exec->number;
        seat->files_count = 0;
        trust_more(seat);
        exec_start_free(take_ptr(&exec->start));
        struct exec_call *asker = exec->asker;
        exec->asker = NULL;
        if (!asker)
            continue;
        if (asker->wait_ms > 0) {
            exec_wait(asker, exec);
        } else {
            call_answer(&asker->call, 201, &asker->accepted);
            call_free(&asker->call);
        }
    }
}
