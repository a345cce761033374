/* This file keeps named volumes: made, listed, measured, removed. It never touches a directory: the
 * launcher does.
 */
#include "provider/provider_internal.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE = 64 };

struct volume_call {
    struct call call; /* first */
    struct volume_row row;
    char name[LEDGER_ID_SIZE], owner[LEDGER_ID_SIZE], used_by[LEDGER_ID_SIZE];
    uint64_t disk_bytes;
    bool made;

    /* list */
    unsigned limit;
    size_t count;
    struct volume_row rows[PAGE];
    char users[PAGE][LEDGER_ID_SIZE];
};

static const char id_rule[] =
    "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.";

static int used_by(struct ledger_tx *tx, const struct volume_row *row, char ret[LEDGER_ID_SIZE],
                   struct err *err)
{
    struct session_row session;
    ret[0] = 0;
    int r = row->holder ? ledger_session_get(tx, row->holder, &session, err) : 0;
    if (r == 0 && row->holder)
        snprintf(ret, LEDGER_ID_SIZE, "%s", session.session_id);
    return r > 0 ? 0 : r;
}

static void fail(struct volume_call *call)
{
    struct work *work = &call->call.work;
    struct err err;
    if (work->job.result > 0) {
        err_set(&err, ERR_NOT_FOUND, ENOENT, "find the volume", call->name,
                "There is no such volume in this workspace.");
        call_refuse(&call->call, &err, NULL);
        return;
    }
    call_fail(&call->call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
    call_free(&call->call);
}

static void tell(struct volume_call *call, int status)
{
    struct buf document = {0};
    document_volume(&document, &call->row, call->disk_bytes, call->used_by);
    buf_putc(&document, '\n');
    call_answer(&call->call, status, &document);
    call_free(&call->call);
}

static int find_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct volume_call *call = (struct volume_call *)work;
    int r = ledger_volume_find(tx, call->call.workspace_id, call->name, &call->row, err);
    return r == 0 ? used_by(tx, &call->row, call->used_by, err) : r;
}

static struct launcher_request request_for(const struct volume_call *call, unsigned type)
{
    struct launcher_request request = launcher_request_for(call->call.work.p, type, 0, 0);
    snprintf(request.workspace_id, sizeof request.workspace_id, "%s", call->call.workspace_id);
    snprintf(request.volume, sizeof request.volume, "%s", call->name);
    return request;
}

static struct volume_call *new_call(struct provider *p, const struct provider_call *from,
                                    const char *name, const char *what,
                                    void (*begin)(struct call *call))
{
    struct volume_call *call = call_new(p, from, sizeof *call, what, begin, NULL);
    if (!call)
        return NULL;
    snprintf(call->name, sizeof call->name, "%s", name ? name : "");
    call->disk_bytes = UINT64_MAX;
    if (!id_valid(call->call.workspace_id) || (name && !id_valid(call->name)))
        err_set(&call->call.refusal, ERR_INVALID_REQUEST, 0, "read the request", "name", "%s",
                id_rule);
    return call;
}

/* ---- create ---------------------------------------------------------------------------------- */

static int create_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct volume_call *call = (struct volume_call *)work;
    int r = ledger_volume_find(tx, call->call.workspace_id, call->name, &call->row, err);
    call->made = r == LEDGER_NOT_FOUND;
    if (r == 0)
        return used_by(tx, &call->row, call->used_by, err);
    if (r < 0)
        return r;
    memset(&call->row, 0, sizeof call->row);
    snprintf(call->row.workspace_id, sizeof call->row.workspace_id, "%s", call->call.workspace_id);
    snprintf(call->row.name, sizeof call->row.name, "%s", call->name);
    snprintf(call->row.owner, sizeof call->row.owner, "%s", call->owner);
    call->row.created_ms = now_ms();
    return ledger_volume_create(tx, &call->row, err);
}

static void created(struct work *work)
{
    struct volume_call *call = (struct volume_call *)work;
    struct buf document = {0};
    if (work->job.result != 0) {
        fail(call);
        return;
    }
    document_volume(&document, &call->row, call->disk_bytes, call->used_by);
    buf_putc(&document, '\n');
    /* To make one that is there is to have made it, so its key may come after it. */
    call_answer_stored(&call->call, call->made ? 201 : 200, &document);
}

static void begin_create(struct call *call)
{
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else
        work_job(&call->work, LEDGER_OP_VOLUME_CREATE, create_apply, created);
}

void provider_volume_create(struct provider *p, const struct provider_call *from, const char *name,
                            const char *owner)
{
    struct volume_call *call = new_call(p, from, name ? name : "", "volume_create", begin_create);
    if (!call)
        return;
    snprintf(call->owner, sizeof call->owner, "%s", owner ? owner : "");
    if (call->owner[0] && !id_valid(call->owner))
        err_set(&call->call.refusal, ERR_INVALID_REQUEST, 0, "read the request", "owner", "%s",
                id_rule);
}

/* ---- get ------------------------------------------------------------------------------------- */

static void on_measured(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct volume_call *call = data;
    (void)err;
    if (reply && reply->result == 0)
        call->disk_bytes = reply->sample.disk_bytes;
    tell(call, 200);
}

static void found(struct work *work)
{
    struct volume_call *call = (struct volume_call *)work;
    struct err err = {0};
    if (work->job.result != 0) {
        fail(call);
        return;
    }
    struct launcher_request request = request_for(call, LAUNCHER_VOLUME_MEASURE);
    if (provider_ask(work->p, &request, NULL, 0, on_measured, call, &err) < 0)
        tell(call, 200);
}

static void begin_get(struct call *call)
{
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else
        work_job(&call->work, LEDGER_OP_READ, find_apply, found);
}

void provider_volume_get(struct provider *p, const struct provider_call *from, const char *name)
{
    new_call(p, from, name ? name : "", "", begin_get);
}

/* ---- list ------------------------------------------------------------------------------------ */

static int list_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct volume_call *call = (struct volume_call *)work;
    int r = ledger_volume_page(tx, call->call.workspace_id, call->name, call->rows, call->limit,
                               &call->count, err);
    for (size_t i = 0; r == 0 && i < call->count; i++)
        r = used_by(tx, &call->rows[i], call->users[i], err);
    return r;
}

static void listed(struct work *work)
{
    struct volume_call *call = (struct volume_call *)work;
    struct buf document = {0};
    if (work->job.result != 0) {
        fail(call);
        return;
    }
    buf_puts(&document, "{\"volumes\":[");
    for (size_t i = 0; i < call->count; i++) {
        if (i > 0)
            buf_putc(&document, ',');
        document_volume(&document, &call->rows[i], UINT64_MAX, call->users[i]);
    }
    buf_puts(&document, "],\"next\":");
    document_text(&document, call->count == call->limit ? call->rows[call->count - 1].name : NULL);
    buf_puts(&document, "}\n");
    call_answer(&call->call, 200, &document);
    call_free(&call->call);
}

static void begin_list(struct call *call)
{
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else
        work_job(&call->work, LEDGER_OP_READ, list_apply, listed);
}

void provider_volume_list(struct provider *p, const struct provider_call *from,
                          const struct provider_page *page)
{
    const char *after = page->after && page->after[0] ? page->after : NULL;
    struct volume_call *call = new_call(p, from, after, "", begin_list);
    if (!call)
        return;
    call->limit = page_limit(page->limit) < PAGE ? page_limit(page->limit) : (unsigned)PAGE;
    if (page->state || page->label || page->owner)
        err_set(&call->call.refusal, ERR_INVALID_REQUEST, 0, "read the request", "query",
                "A list of volumes takes `after` and `limit` only.");
}

/* ---- remove ----------------------------------------------------------------------------------
 *
 * The directory goes first and the row after it, so that a crash between leaves a row that can be
 * removed again, never data that nobody names. A session that takes the name up in between finds
 * the volume as new: its create came after this removal. */

static int delete_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct volume_call *call = (struct volume_call *)work;
    int64_t holder = 0;
    int r = ledger_volume_delete(tx, call->call.workspace_id, call->name, &holder, err);
    if (r >= 0)
        r = ledger_audit_add(tx, call->call.workspace_id, call->call.who, call->call.what,
                             call->name, "removed", now_ms(), err);
    return r;
}

static void deleted(struct work *work)
{
    struct volume_call *call = (struct volume_call *)work;
    if (work->job.result != 0) {
        fail(call);
        return;
    }
    call->disk_bytes = 0;
    tell(call, 200);
}

static void remove_directory(struct work *work);

static void on_removed(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct volume_call *call = data;
    struct work *work = &call->call.work;
    struct err why;
    if (launcher_result(reply, err, &why) == 0) {
        work_job(work, LEDGER_OP_VOLUME_DELETE, delete_apply, deleted);
    } else if (launcher_lost(reply)) {
        work_again(work, remove_directory);
    } else {
        call_fail(&call->call, &why, NULL);
        call_free(&call->call);
    }
}

static void remove_directory(struct work *work)
{
    struct volume_call *call = (struct volume_call *)work;
    struct err err = {0};
    struct launcher_request request = request_for(call, LAUNCHER_VOLUME_REMOVE);
    if (provider_ask(work->p, &request, NULL, 0, on_removed, call, &err) < 0)
        work_again(work, remove_directory);
}

static void remove_found(struct work *work)
{
    struct volume_call *call = (struct volume_call *)work;
    struct err err;
    if (work->job.result != 0) {
        fail(call);
        return;
    }
    if (call->row.holder) {
        err_set(&err, ERR_WORKSPACE_IN_USE, EBUSY, "remove the volume", call->name,
                "The session %s names it. Destroy that session first.", call->used_by);
        call_refuse(&call->call, &err, NULL);
        return;
    }
    remove_directory(work);
}

static void begin_remove(struct call *call)
{
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else
        work_job(&call->work, LEDGER_OP_READ, find_apply, remove_found);
}

void provider_volume_remove(struct provider *p, const struct provider_call *from, const char *name)
{
    new_call(p, from, name ? name : "", "volume_remove", begin_remove);
}
