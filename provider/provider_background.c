/* This file knows which commands have ended and keep children (EXEC-3), as init tells, and begins
 * the idle time of a session anew when there are no more. It never ends any of them.
 */
#include "provider/provider_internal.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdlib.h>

/* init has no more rows; one that says so is not believed. */
enum { BACKGROUND_MAX = 4096 };

static size_t place_of(const struct seat *seat, uint64_t number)
{
    size_t i = 0;
    while (i < seat->background_count && seat->background[i] != number)
        i++;
    return i;
}

bool background_has(const struct seat *seat, uint64_t number)
{
    return place_of(seat, number) < seat->background_count;
}

void background_forget(struct seat *seat)
{
    free(take_ptr(&seat->background));
    seat->background_count = seat->background_size = 0;
}

static void add(struct seat *seat, uint64_t number)
{
    if (seat->background_count == seat->background_size) {
        size_t size = seat->background_size ? seat->background_size * 2 : 4;
        uint64_t *grown = reallocarray(seat->background, size, sizeof *grown);
        if (!grown) /* no memory: they can be ended with their session only */
            return;
        seat->background = grown;
        seat->background_size = size;
    }
    seat->background[seat->background_count++] = number;
}

void background_told(struct seat *seat, const struct agent_table_row *row)
{
    size_t i = place_of(seat, row->exec);
    bool known = i < seat->background_count;
    if (row->state == AGENT_ROW_BACKGROUND && !known && seat->background_count < BACKGROUND_MAX) {
        add(seat, row->exec);
    } else if (row->state == AGENT_ROW_ENDED && known) {
        seat->background[i] = seat->background[--seat->background_count];
        if (seat->background_count == 0)
            idle_anew(seat);
    }
}

/* ---- the idle time --------------------------------------------------------------------------- */

struct idle {
    struct work work; /* first */
    int64_t session;
};

static void free_idle(struct work *work)
{
    work_end(work);
    free(work);
}

static int idle_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct idle *idle = (const struct idle *)work;
    int r = coordinator_idle_anew(tx, idle->session, now_ms(), err);
    return r > 0 ? 0 : r; /* a row that is gone has no idle time */
}

static void idle_again(struct work *work);

static void idle_written(struct work *work)
{
    struct provider *p = work->p;
    if (work->job.result < 0 && !p->closing) {
        work_again(work, idle_again);
        return;
    }
    struct seat *seat = seat_find(p, ((const struct idle *)work)->session);
    if (seat) {
        seat->idling = false;
        provider_committed(p, seat->workspace_id, seat->session_id);
    }
    free_idle(work);
}

static void idle_again(struct work *work)
{
    work_job(work, LEDGER_OP_EXEC_END, idle_apply, idle_written);
}

void idle_anew(struct seat *seat)
{
    struct idle *idle = seat->idling ? NULL : calloc(1, sizeof *idle);
    if (!idle) /* no memory: it rings a second later again, or is idle sooner than it might be */
        return;
    idle->session = seat->row;
    seat->idling = true;
    work_begin(&idle->work, seat->p, free_idle);
    idle_again(&idle->work);
}
