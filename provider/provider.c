/* This file opens and closes the engine and joins ledger, launcher and loop; it never decides what
 * a session may do.
 */
#include "provider/provider_exec.h"
#include "provider/provider_internal.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum { PATIENCE_MS = 5000, PAUSE_MS = 20, PAUSE_MAX_MS = 2000, CLOSE_LOOK_MS = 10 };

static int64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t now_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

int64_t now_boot_ms(void)
{
    return clock_ms(CLOCK_BOOTTIME);
}

uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* ---- queues and work ------------------------------------------------------------------------- */

void queue_init(struct queue *queue)
{
    *queue = (struct queue){.end = &queue->first};
}

void queue_add(struct queue *queue, struct work *work)
{
    work->next = NULL;
    *queue->end = work;
    queue->end = &work->next;
    queue->count++;
}

struct work *queue_take(struct queue *queue)
{
    struct work *work = queue->first;
    if (!work)
        return NULL;
    queue->first = work->next;
    if (!queue->first)
        queue->end = &queue->first;
    queue->count--;
    work->next = NULL;
    return work;
}

void work_begin(struct work *work, struct provider *p, void (*free_work)(struct work *work))
{
    work->p = p;
    work->free = free_work;
    work->previous_all = NULL;
    work->next_all = p->all;
    if (p->all)
        p->all->previous_all = work;
    p->all = work;
    p->works++;
}

void work_rest(struct work *work, bool resting)
{
    if (work->resting != resting)
        work->p->resting += resting ? 1 : -1u;
    work->resting = resting;
}

void work_end(struct work *work)
{
    struct provider *p = work->p;
    work_rest(work, false);
    free(take_ptr(&work->ending.notes));
    ending_over(work);
    loop_timer_free(work->timer);
    work->timer = NULL;
    if (work->next_all)
        work->next_all->previous_all = work->previous_all;
    if (work->previous_all)
        work->previous_all->next_all = work->next_all;
    else
        p->all = work->next_all;
    p->works--;
    provider_look_idle(p);
}

static void on_soon(void *owner)
{
    struct provider *p = owner;
    p->soon_set = false;
    /* What is added meanwhile has its turn in the next round. */
    for (unsigned n = p->soon.count; n > 0; n--) {
        struct work *work = queue_take(&p->soon);
        work->then(work);
    }
}

void work_soon(struct work *work, void (*then)(struct work *work))
{
    struct provider *p = work->p;
    work->then = then;
    queue_add(&p->soon, work);
    if (!p->soon_set)
        loop_timer_set(p->soon_timer, 0);
    p->soon_set = true;
}

static void on_work_timer(void *owner)
{
    struct work *work = owner;
    work->then(work);
}

void work_later(struct work *work, uint64_t in_ms, void (*then)(struct work *work))
{
    struct err err;
    if (!work->timer &&
        loop_timer_new(work->p->loop, on_work_timer, work, &work->timer, &err) < 0) {
        work_soon(work, then); /* no memory for a pause: without one */
        return;
    }
    work->then = then;
    loop_timer_set(work->timer, in_ms);
}

void work_again(struct work *work, void (*then)(struct work *work))
{
    uint64_t pause = (uint64_t)PAUSE_MS << (work->tries < 8 ? work->tries : 8);
    work->tries++;
    work_later(work, pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS, then);
}

static int work_apply(struct ledger_tx *tx, void *data, struct err *err)
{
    struct work *work = data;
    return work->apply(tx, work, err);
}

static void work_done(struct ledger_job *job)
{
    struct work *work = job->data;
    work->then(work);
}

void work_job(struct work *work, enum ledger_op op,
              int (*apply)(struct ledger_tx *tx, struct work *work, struct err *err),
              void (*then)(struct work *work))
{
    struct err err = {0};
    work->apply = apply;
    work->then = then;
    work->job = (struct ledger_job){
        .op = op, .apply = work_apply, .done = work_done, .data = work, .policy = work->policy};
    int r = ledger_submit(work->p->ledger, &work->job, &err);
    if (r < 0) {
        work->job.result = r;
        work->job.certain = true;
        work->job.err = err;
        work_soon(work, then);
    }
}

/* ---- the launcher ---------------------------------------------------------------------------- */

struct launcher_request launcher_request_for(const struct provider *p, unsigned type, int64_t row,
                                             int64_t incarnation)
{
    struct launcher_request request = {
        .type = (uint16_t)type, .row = row, .incarnation = incarnation, .epoch = p->born.epoch};
    snprintf(request.instance, sizeof request.instance, "%s", p->born.instance);
    return request;
}

static void watch_launcher(struct provider *p)
{
    if (p->launcher_watch)
        loop_watch_set(p->launcher_watch,
                       LOOP_READ |
                           (launcher_client_wants_write(p->launcher) ? (unsigned)LOOP_WRITE : 0));
}

static void on_launcher(void *owner, unsigned events)
{
    struct provider *p = owner;
    struct err err = {0};
    (void)events;
    int r = launcher_client_work(p->launcher, &err);
    if (r != 0) {
        /* Lost, or it spoke nonsense: either way a new one must come (provider_launcher()). */
        loop_watch_free(p->launcher_watch);
        p->launcher_watch = NULL;
        return;
    }
    watch_launcher(p);
}

static int watch_new_launcher(struct provider *p, struct err *err)
{
    loop_watch_free(p->launcher_watch);
    p->launcher_watch = NULL;
    int r = loop_watch_new(p->loop, launcher_client_fd(p->launcher), on_launcher, p,
                           &p->launcher_watch, err);
    if (r == 0)
        watch_launcher(p);
    return r;
}

void provider_launcher(struct provider *p, int fd)
{
    struct err err = {0};
    loop_watch_free(p->launcher_watch);
    p->launcher_watch = NULL;
    launcher_client_replace(p->launcher, fd);
    watch_new_launcher(p, &err);
}

int provider_ask(struct provider *p, const struct launcher_request *request, const int *fds,
                 unsigned fd_count, launcher_done *done, void *data, struct err *err)
{
    int r = launcher_client_call(p->launcher, request, fds, fd_count, done, data, err);
    watch_launcher(p);
    return r;
}

bool launcher_lost(const struct launcher_reply *reply)
{
    return reply == NULL;
}

int launcher_result(const struct launcher_reply *reply, const struct err *err, struct err *ret_err)
{
    if (reply && reply->result == 0)
        return 0;
    *ret_err = reply ? reply->err : *err;
    if (!reply)
        ret_err->code = ERR_UNAVAILABLE;
    if (reply && ret_err->code == ERR_NONE)
        ret_err->code = ERR_INTERNAL;
    return reply ? reply->result : -ECONNRESET;
}

static void on_died(void *data, int64_t row, int64_t incarnation)
{
    struct provider *p = data;
    struct seat *seat = seat_find(p, row);
    if (seat && seat->incarnation == incarnation && seat->agent && !seat->ending)
        session_rescue(p, row);
}

/* ---- open ------------------------------------------------------------------------------------ */

static void on_ledger(void *owner, unsigned events)
{
    struct provider *p = owner;
    (void)events;
    ledger_complete(p->ledger);
}

/* The ledger and the spools are this process's alone. */
static int own_directory(const char *state_dir, const char *name, char *ret, size_t size,
                         struct err *err)
{
    struct stat st;
    snprintf(ret, size, "%s/%s", state_dir, name);
    if (mkdir(ret, 0700) < 0 && errno != EEXIST)
        return err_set(err, ERR_INTERNAL, errno, "make a directory of the service", name, NULL);
    if (lstat(ret, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "look at a directory of the service", name, NULL);
    if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return err_set(err, ERR_INTERNAL, EPERM, "open a directory of the service", name,
                       "It must be a directory of the service's own user with mode 0700.");
    return 0;
}

static int open_ledger(struct provider *p, struct err *err)
{
    char path[SPEC_PATH_MAX + 32];
    int r = own_directory(p->options.config->state_dir, "spool", path, sizeof path, err);
    if (r == 0)
        r = own_directory(p->options.config->state_dir, "ledger", path, sizeof path, err);
    struct ledger_options options = {.directory = path, .vfs = p->options.ledger_vfs};
    if (r == 0)
        r = ledger_open(&p->ledger, &options, err);
    if (r < 0)
        return r;
    ledger_status(p->ledger, &p->born);
    r = loop_watch_new(p->loop, ledger_fd(p->ledger), on_ledger, p, &p->ledger_watch, err);
    if (r == 0)
        r = loop_watch_set(p->ledger_watch, LOOP_READ);
    return r;
}

static void on_patience(void *owner)
{
    struct provider *p = owner;
    struct err err;
    p->patience_over = true;
    err_set(&err, ERR_UNAVAILABLE, EAGAIN, "serve the request", NULL,
            "berth is still looking what its last end has left. Try again.");
    for (struct work *work; (work = queue_take(&p->waiting));)
        call_refuse((struct call *)work, &err, &(struct document_problem){.retry_after_s = 1});
}

int provider_open(struct provider **ret, const struct provider_options *options, struct err *err)
{
    struct provider *p = calloc(1, sizeof *p);
    int launcher = options->launcher;
    _cleanup_fd_ int events = options->events > 0 ? options->events : -1;
    if (!p) {
        fd_close(launcher);
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "open the engine", NULL, NULL);
    }
    p->options = *options;
    p->loop = options->loop;
    p->recovering = true;
    p->metrics.opened_us = now_us();
    queue_init(&p->soon);
    queue_init(&p->waiting);
    /* Where /proc is not to be had, the launcher's answers say it. */
    io_read_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", p->boot_id, sizeof p->boot_id);
    int r = launcher_client_new(&p->launcher, launcher, err);
    if (r < 0)
        fd_close(launcher);
    if (r == 0)
        r = loop_timer_new(p->loop, on_soon, p, &p->soon_timer, err);
    if (r == 0)
        r = loop_timer_new(p->loop, on_patience, p, &p->patience, err);
    if (r == 0)
        r = open_ledger(p, err);
    if (r == 0)
        r = tokens_open(p, err);
    if (r == 0)
        r = watch_new_launcher(p, err);
    if (r == 0)
        r = timers_open(p, err);
    if (r == 0)
        r = audit_open(p, err);
    if (r == 0)
        r = ports_open(p, err);
    if (r == 0)
        r = spool_watch_open(p, err);
    if (r == 0)
        r = gateway_events_open(p, err);
    if (r == 0) {
        provider_gateway(p, take_fd(&events));
        launcher_client_on_died(p->launcher, on_died, p);
        loop_timer_set(p->patience, PATIENCE_MS);
        r = recovery_start(p, err);
    }
    if (r < 0) {
        provider_free(p);
        return r;
    }
    *ret = p;
    return 0;
}

void provider_recovered(struct provider *p, const struct err *err)
{
    p->recovering = false;
    p->metrics.recovery_ms = (now_us() - p->metrics.opened_us) / 1000;
    loop_timer_clear(p->patience);
    if (p->options.recovered)
        p->options.recovered(p->options.data, err);
    for (struct work *work; (work = queue_take(&p->waiting));)
        work_soon(work, work->then);
    timers_start(p);
    audit_start(p);
    gateway_events_start(p);
    ports_look(p);
    spool_sweep_start(p);
    provider_look_idle(p);
}

/* ---- idle, close ----------------------------------------------------------------------------- */

void provider_look_idle(struct provider *p)
{
    bool idle = !p->recovering && p->live == 0 && p->works == p->resting;
    if (p->closing || p->recovering || (p->idle_known && idle == p->idle))
        return;
    p->idle = idle;
    p->idle_known = true;
    if (p->options.idle)
        p->options.idle(p->options.data, idle);
}

void provider_committed(struct provider *p, const char *workspace_id, const char *session_id)
{
    timers_look(p);
    events_wake(p, workspace_id, session_id);
}

void provider_free(struct provider *p)
{
    /* Jobs that were accepted are applied, and their completions run as ever; whoever then wants
     * another step is not served any more. */
    p->closing = true;
    ledger_close(p->ledger);
    p->ledger = NULL;
    followers_free(p);
    timers_free(p);
    gateway_events_free(p);
    spool_watch_free(p);
    recovery_free(p);
    while (p->all)
        p->all->free(p->all);
    for (unsigned i = 0; i < SEAT_HASH; i++)
        while (p->seats[i])
            seat_free(p->seats[i]);
    tokens_free(p);
    launcher_client_free(p->launcher);
    loop_watch_free(p->launcher_watch);
    loop_watch_free(p->ledger_watch);
    loop_timer_free(p->soon_timer);
    loop_timer_free(p->patience);
    loop_timer_free(p->close_timer);
    free(p);
}

static void on_close(void *owner)
{
    struct provider *p = owner;
    if (p->works > p->resting && p->close_timer && now_boot_ms() < p->close_by_ms) {
        loop_timer_set(p->close_timer, CLOSE_LOOK_MS);
        return;
    }
    void (*closed)(void *data) = p->closed;
    void *data = p->closed_data;
    provider_free(p);
    if (closed)
        closed(data);
}

void provider_close(struct provider *p, uint64_t in_ms, void (*done)(void *data), void *data)
{
    struct err err;
    gateway_events_take(p, -1);
    p->closing = true;
    p->closed = done;
    p->closed_data = data;
    p->close_by_ms = now_boot_ms() + (int64_t)in_ms;
    if (!p->close_timer && loop_timer_new(p->loop, on_close, p, &p->close_timer, &err) < 0) {
        on_close(p); /* no memory for a pause: at once */
        return;
    }
    loop_timer_set(p->close_timer, 0);
}
