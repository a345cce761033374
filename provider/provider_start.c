/* This file recovers every session at the start, some at a time, and removes what the kernel holds
 * that is in no row; what is done to one session is provider_recover.c's. It never blocks.
 *
 *     LIST (what is there) → the rows, page by page → rescue of those that need it → orphans' END
 *
 * A session that is parked or archived, with no verb under way and nothing in LIST, is as its row
 * says: it costs no question.
 */
#include "provider/provider_internal.h"
#include "provider/provider_recover.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE = 64, AT_ONCE = 64 };

struct recovery {
    struct work work;            /* first: LIST and pages */
    struct launcher_name *names; /* sorted by row and incarnation */
    uint8_t *claimed;            /* names[i] belongs to a row */
    size_t name_count, name_size;
    struct session_row rows[PAGE];
    bool needed[PAGE];
    size_t row_count, row_next;
    int64_t after;
    bool last_page, reading, finished;
    unsigned under_way;
    size_t orphan_next;
};

struct orphan {
    struct work work; /* first */
    bool left_behind; /* nobody waits for it any more */
};

static void list(struct work *work);
static void go_on(struct provider *p);

static void free_recovery_work(struct work *work)
{
    struct recovery *recovery = (struct recovery *)work;
    work->p->recovery = NULL;
    work_end(work);
    free(recovery->names);
    free(recovery->claimed);
    free(recovery);
}

void recovery_free(struct provider *p)
{
    if (p->recovery)
        free_recovery_work(&p->recovery->work);
}

static int by_name(const void *a, const void *b)
{
    const struct launcher_name *x = a, *y = b;
    if (x->row != y->row)
        return x->row < y->row ? -1 : 1;
    return x->incarnation < y->incarnation ? -1 : x->incarnation > y->incarnation;
}

/* ---- what is there --------------------------------------------------------------------------- */

static int add_names(struct recovery *recovery, const struct launcher_reply *reply)
{
    for (unsigned i = 0; i < reply->list.count && i < LAUNCHER_LIST_MAX; i++) {
        if (recovery->name_count == recovery->name_size) {
            size_t size = recovery->name_size ? recovery->name_size * 2 : 256;
            struct launcher_name *grown = realloc(recovery->names, size * sizeof *grown);
            if (!grown)
                return -ENOMEM;
            recovery->names = grown;
            recovery->name_size = size;
        }
        recovery->names[recovery->name_count++] = reply->list.names[i];
    }
    return 0;
}

static void on_list(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct recovery *recovery = data;
    struct work *work = &recovery->work;
    struct err why;
    if (launcher_result(reply, err, &why) < 0 || add_names(recovery, reply) < 0) {
        recovery->name_count = 0;
        work_again(work, list);
        return;
    }
    /* The launcher's word and not what /proc says here: it wrote down what this is compared with.
     */
    if (reply->identity.boot_id[0])
        memcpy(work->p->boot_id, reply->identity.boot_id, sizeof work->p->boot_id);
    if (reply->list.more && reply->list.count > 0) {
        list(work);
        return;
    }
    recovery->claimed = calloc(recovery->name_count + 1, 1);
    if (!recovery->claimed) {
        recovery->name_count = 0;
        work_again(work, list);
        return;
    }
    if (recovery->name_count > 0)
        qsort(recovery->names, recovery->name_count, sizeof *recovery->names, by_name);
    work->tries = 0;
    go_on(work->p);
}

static void list(struct work *work)
{
    struct recovery *recovery = (struct recovery *)work;
    struct err err = {0};
    const struct launcher_name *last =
        recovery->name_count ? &recovery->names[recovery->name_count - 1] : NULL;
    struct launcher_request request = launcher_request_for(
        work->p, LAUNCHER_LIST, last ? last->row : 0, last ? last->incarnation : 0);
    if (provider_ask(work->p, &request, NULL, 0, on_list, recovery, &err) < 0)
        work_again(work, list);
}

/* Marks the name of the row's living incarnation as somebody's. */
static bool claim(struct recovery *recovery, const struct session_row *row)
{
    struct launcher_name wanted = {row->id, row->incarnation};
    if (recovery->name_count == 0)
        return false;
    const struct launcher_name *found =
        bsearch(&wanted, recovery->names, recovery->name_count, sizeof wanted, by_name);
    if (found)
        recovery->claimed[found - recovery->names] = 1;
    return found != NULL;
}

/* ---- the rows -------------------------------------------------------------------------------- */

static int page_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct recovery *recovery = (struct recovery *)work;
    int r = ledger_session_page_all(tx, recovery->after, recovery->rows, PAGE, &recovery->row_count,
                                    err);
    for (size_t i = 0; r == 0 && i < recovery->row_count; i++) {
        struct intent_row intent;
        size_t count = 0;
        const struct session_row *row = &recovery->rows[i];
        r = ledger_intent_list(tx, row->id, &intent, 1, &count, err);
        recovery->needed[i] =
            count > 0 || (row->state != SESSION_PARKED && row->state != SESSION_ARCHIVED);
    }
    return r;
}

static void page(struct work *work);

static void page_read(struct work *work)
{
    struct recovery *recovery = (struct recovery *)work;
    recovery->reading = false;
    recovery->row_next = 0;
    if (work->job.result != 0) {
        recovery->row_count = 0;
        recovery->reading = true;
        work_again(work, page);
        return;
    }
    work->tries = 0;
    recovery->last_page = recovery->row_count < PAGE;
    if (recovery->row_count > 0)
        recovery->after = recovery->rows[recovery->row_count - 1].id;
    go_on(work->p);
}

static void page(struct work *work)
{
    work_job(work, LEDGER_OP_READ, page_apply, page_read);
}

static void one_done(struct provider *p)
{
    if (!p->recovery)
        return;
    p->recovery->under_way--;
    go_on(p);
}

/* ---- what is in no row ----------------------------------------------------------------------- */

static void free_orphan(struct work *work)
{
    work_end(work);
    free(work);
}

static void orphan_ended(struct work *work)
{
    struct provider *p = work->p;
    bool waited_for = !((struct orphan *)work)->left_behind;
    free_orphan(work);
    if (waited_for)
        one_done(p);
}

static void orphan_stuck(struct work *work)
{
    ((struct orphan *)work)->left_behind = true;
    one_done(work->p);
}

/* False: no memory now. */
static bool end_orphan(struct provider *p, const struct launcher_name *name)
{
    struct orphan *orphan = calloc(1, sizeof *orphan);
    if (!orphan)
        return false;
    work_begin(&orphan->work, p, free_orphan);
    orphan->work.ending.stuck = orphan_stuck;
    p->recovery->under_way++;
    p->swept++;
    end_sandbox(&orphan->work, name->row, name->incarnation, orphan_ended);
    return true;
}

/* ---- one after another ----------------------------------------------------------------------- */

static void finish(struct work *work)
{
    struct provider *p = work->p;
    free_recovery_work(work);
    provider_recovered(p, NULL);
}

static void try_again(struct work *work)
{
    go_on(work->p);
}

static void go_on(struct provider *p)
{
    struct recovery *recovery = p->recovery;
    while (recovery->row_next < recovery->row_count && recovery->under_way < AT_ONCE) {
        size_t i = recovery->row_next;
        const struct session_row *row = &recovery->rows[i];
        bool there = claim(recovery, row);
        if (there || recovery->needed[i]) {
            recovery->under_way++;
            if (rescue_start(p, row->id, row, !there, one_done) < 0) {
                recovery->under_way--;
                work_again(&recovery->work, try_again);
                return;
            }
        }
        recovery->row_next++;
    }
    if (recovery->row_next < recovery->row_count || recovery->reading)
        return;
    if (!recovery->last_page) {
        recovery->reading = true;
        page(&recovery->work);
        return;
    }
    /* Sessions first: an object may belong to one that was not looked at yet. */
    if (recovery->orphan_next == 0 && recovery->under_way > 0)
        return;
    while (recovery->orphan_next < recovery->name_count && recovery->under_way < AT_ONCE) {
        if (!recovery->claimed[recovery->orphan_next] &&
            !end_orphan(p, &recovery->names[recovery->orphan_next])) {
            work_again(&recovery->work, try_again);
            return;
        }
        recovery->orphan_next++;
    }
    if (recovery->orphan_next == recovery->name_count && recovery->under_way == 0 &&
        !recovery->finished) {
        recovery->finished = true;
        work_soon(&recovery->work, finish);
    }
}

int recovery_start(struct provider *p, struct err *err)
{
    struct recovery *recovery = calloc(1, sizeof *recovery);
    if (!recovery)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "recover sessions", NULL, NULL);
    work_begin(&recovery->work, p, free_recovery_work);
    p->recovery = recovery;
    recovery->last_page = false;
    work_soon(&recovery->work, list);
    return 0;
}
