/* This file answers what only reads: sessions and their lists. It never changes a row.
 */
#include "provider/provider_internal.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdlib.h>

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 500, PAGE = 50 };

/* ---- one ------------------------------------------------------------------------------------- */

static int get_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct call *call = (struct call *)work;
    struct session_row row;
    int r = ledger_session_find(tx, call->workspace_id, call->session_id, &row, err);
    if (r == 0)
        r = session_document(tx, &work->p->ledger_scratch, &row, NULL, false, &call->endings,
                             &call->answer, err);
    buf_putc(&call->answer, '\n');
    return r;
}

static void got(struct work *work)
{
    struct call *call = (struct call *)work;
    struct err err;
    if (work->job.result == 0) {
        call_answer(call, 200, &call->answer);
    } else if (work->job.result > 0) {
        no_session(call, &err);
        call_fail(call, &err, NULL);
    } else {
        call_fail(call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
    }
    call_free(call);
}

static void begin_get(struct call *call)
{
    struct err err = {0};
    if (call_check_ids(call, false, &err) < 0) {
        call_refuse(call, &err, NULL);
        return;
    }
    endings_take(call->work.p, &call->endings);
    work_job(&call->work, LEDGER_OP_READ, get_apply, got);
}

void provider_session_get(struct provider *p, const struct provider_call *from)
{
    call_new(p, from, sizeof(struct call), "", begin_get, NULL);
}

/* ---- lists ----------------------------------------------------------------------------------- */

struct list {
    struct call call; /* first */
    char after[LEDGER_ID_SIZE], owner[LEDGER_ID_SIZE];
    char *label;
    enum session_state state;
    bool parked; /* both kinds, which clients see as one */
    unsigned limit, count;
    struct session_row rows[PAGE];
};

static void list_fini(struct call *call)
{
    free(((struct list *)call)->label);
}

/* 0, 1 when it is not wanted. */
static int add_row(struct ledger_tx *tx, struct list *list, const struct session_row *row,
                   struct err *err)
{
    struct call *call = &list->call;
    if (list->parked && row->state != SESSION_PARKED && row->state != SESSION_FROZEN)
        return 1;
    if (list->label) {
        _cleanup_buf_ struct buf labels = {0};
        int r = ledger_session_labels(tx, row->id, &labels, err);
        if (r < 0)
            return r;
        if (!document_has_label(buf_text(&labels), list->label))
            return 1;
    }
    if (list->count > 0)
        buf_putc(&call->answer, ',');
    return session_document(tx, &call->work.p->ledger_scratch, row, "", true, &call->endings,
                            &call->answer, err);
}

static int list_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct list *list = (struct list *)work;
    struct buf *out = &list->call.answer;
    char after[LEDGER_ID_SIZE], last[LEDGER_ID_SIZE] = "";
    size_t count = PAGE;
    bool more = false;
    int r = 0;
    buf_fini(out);
    list->count = 0;
    snprintf(after, sizeof after, "%s", list->after);
    buf_puts(out, "{\"sessions\":[");
    while (r >= 0 && count == PAGE && !more) {
        r = ledger_session_page(tx, list->call.workspace_id, list->owner, list->state, after,
                                list->rows, PAGE, &count, err);
        for (size_t i = 0; r >= 0 && i < count && !more; i++) {
            snprintf(after, sizeof after, "%s", list->rows[i].session_id);
            if (list->count == list->limit) {
                more = true;
                break;
            }
            r = add_row(tx, list, &list->rows[i], err);
            if (r == 0) {
                list->count++;
                snprintf(last, sizeof last, "%s", after);
            }
        }
    }
    buf_puts(out, "],\"next\":");
    document_text(out, more ? last : NULL);
    buf_puts(out, "}\n");
    return r < 0 ? r : 0;
}

static void begin_list(struct call *call)
{
    if (call->refusal.code != ERR_NONE) {
        call_refuse(call, &call->refusal, &call->problem);
        return;
    }
    endings_take(call->work.p, &call->endings);
    work_job(&call->work, LEDGER_OP_READ, list_apply, got);
}

static int state_by_name(const char *name, struct list *list)
{
    for (int s = SESSION_NONE + 1; s < SESSION_STATE_COUNT; s++)
        if (strcmp(session_state_wire((enum session_state)s), name) == 0) {
            list->parked = s == SESSION_PARKED;
            list->state = list->parked ? SESSION_NONE : (enum session_state)s;
            return 0;
        }
    return -EINVAL;
}

unsigned page_limit(unsigned asked)
{
    return asked == 0 ? (unsigned)LIMIT_DEFAULT : asked < LIMIT_MAX ? asked : (unsigned)LIMIT_MAX;
}

void provider_session_list(struct provider *p, const struct provider_call *from,
                           const struct provider_page *page)
{
    struct list *list = call_new(p, from, sizeof *list, "", begin_list, list_fini);
    if (!list)
        return;
    struct call *call = &list->call;
    list->limit = page_limit(page->limit);
    snprintf(list->after, sizeof list->after, "%s", page->after ? page->after : "");
    snprintf(list->owner, sizeof list->owner, "%s", page->owner ? page->owner : "");
    if (page->label && !(list->label = strdup(page->label)))
        err_set(&call->refusal, ERR_UNAVAILABLE, ENOMEM, "read the request", NULL, NULL);
    if (!id_valid(call->workspace_id) || (list->after[0] && !id_valid(list->after)) ||
        (list->owner[0] && !id_valid(list->owner)))
        err_set(&call->refusal, ERR_INVALID_REQUEST, 0, "read the request", "id",
                "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
    if (page->state && page->state[0] && state_by_name(page->state, list) < 0)
        err_set(&call->refusal, ERR_INVALID_REQUEST, 0, "read the request", "state",
                "It is one of creating, running, parked, archived, destroying, destroyed, failed.");
}
