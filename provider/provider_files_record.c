/* This file writes down what was done to the files of a session: a row of the audit, and an event
 * where much came in or went out at once. It never names a path in the audit, and never holds up
 * what has happened: what the ledger cannot take is told to its caller all the same.
 */
#include "provider/provider_internal.h"

#include "provider/document.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Of an event's path; a longer one is not told, as the event would not fit its row. */
enum { PATH_TOLD_MAX = 1500 };

/* As it is called in the audit, and by what its files came; "": it changes nothing. Who collects is
 * written down too: these are what leaves the session. */
static const struct {
    const char *what, *by;
} told_as[FILES_OPERATION_END] = {
    [FILES_WRITE] = {"file_write", NULL},        [FILES_REMOVE] = {"file_remove", NULL},
    [FILES_MKDIR] = {"files_mkdir", NULL},       [FILES_MOVE] = {"files_move", NULL},
    [FILES_CHMOD] = {"files_chmod", NULL},       [FILES_TREE_WRITE] = {"tree_write", "tree"},
    [FILES_TAR_WRITE] = {"tar_write", "tar"},    [FILES_UPLOAD] = {"upload", "upload"},
    [FILES_COLLECT] = {"outputs_collect", NULL},
};

const char *files_record_name(unsigned operation)
{
    const char *what = operation < FILES_OPERATION_END ? told_as[operation].what : NULL;
    return what ? what : "";
}

static int add_event(struct ledger_tx *tx, const struct call *call, int64_t session,
                     const char *type, const struct buf *data, struct err *err)
{
    struct session_row row;
    if (buf_failed(data))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "tell an event", NULL, NULL);
    int r = ledger_session_get(tx, session, &row, err);
    /* Nothing comes behind session.deleted. */
    if (r != 0 || session_is_over(row.state) || strcmp(row.session_id, call->session_id) != 0 ||
        strcmp(row.workspace_id, call->workspace_id) != 0)
        return r < 0 ? r : 0;
    return ledger_event_add(tx, session, type, buf_text(data), now_ms(), NULL, err);
}

static void put_path(const char *path, struct buf *out)
{
    _cleanup_buf_ struct buf text = {0};
    buf_json_string(&text, path);
    buf_puts(out, "\"path\":");
    buf_puts(out, text.length > PATH_TOLD_MAX ? "null" : buf_text(&text));
    out->failed |= text.failed;
}

/* A tree that was refused half way has come in as far as it has. How far it came of whose worker
 * nothing was heard, nobody knows; an upload is there whole or not at all, and is not told then. */
static int tell_copied(struct ledger_tx *tx, const struct call *call,
                       const struct files_record *record, struct err *err)
{
    static const struct files_result unknown = {.result = -ECONNRESET};
    _cleanup_buf_ struct buf data = {0};
    const struct files_request *request = record->request;
    const bool upload = request->operation == FILES_UPLOAD;
    const bool silent = !record->result && record->carried && !upload;
    const struct files_result *result = record->result ? record->result : &unknown;
    const uint64_t entries = upload && result->result == 0 ? 1 : result->entries;
    if (entries == 0 && !silent)
        return 0;
    buf_printf(&data, "{\"by\":\"%s\",", told_as[request->operation].by);
    put_path(request->path, &data);
    if (silent)
        buf_puts(&data, ",\"entries\":null,\"bytes\":null,\"complete\":false}");
    else
        buf_printf(&data, ",\"entries\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"complete\":%s}",
                   entries, result->bytes, result->result == 0 ? "true" : "false");
    return add_event(tx, call, record->session, "files.copied_in", &data, err);
}

int files_record(struct ledger_tx *tx, const struct call *call, const struct files_record *record,
                 struct err *ret_untold, struct err *err)
{
    const enum err_code code = record->code;
    int r = ledger_audit_add(tx, call->workspace_id, call->who, call->what, call->session_id,
                             code != ERR_NONE ? err_code_name(code) : "done", now_ms(), err);
    /* A failure that is not the event's own ends the batch of jobs, whatever is returned here. */
    if (r == 0 && told_as[record->request->operation].by)
        tell_copied(tx, call, record, ret_untold);
    return r;
}

void provider_written(const struct work *work, const char *workspace_id, const char *session_id,
                      const struct err *untold)
{
    struct provider *p = work->p;
    const struct err *lost = work->job.result < 0                 ? &work->job.err
                             : untold && untold->code != ERR_NONE ? untold
                                                                  : NULL;
    if (work->job.result == 0)
        provider_committed(p, workspace_id, session_id);
    if (lost && p->options.unwritten)
        p->options.unwritten(p->options.data, lost);
}

/* ---- what was collected ---------------------------------------------------------------------- */

struct collected_call {
    struct call call; /* first */
    struct provider_collected collected;
    struct buf path;
    struct err untold;
};

static void collected_fini(struct call *call)
{
    buf_fini(&((struct collected_call *)call)->path);
}

static int collected_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct collected_call *own = (struct collected_call *)work;
    const struct call *call = &own->call;
    _cleanup_buf_ struct buf data = {0};
    buf_putc(&data, '{');
    buf_add(&data, buf_text(&own->path), own->path.length);
    data.failed |= own->path.failed;
    buf_printf(&data, ",\"entries\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"left_out\":%" PRIu64 "}",
               own->collected.entries, own->collected.bytes, own->collected.left_out);
    const enum err_code code = own->collected.code;
    int r = ledger_audit_add(tx, call->workspace_id, call->who, call->what, call->session_id,
                             code != ERR_NONE ? err_code_name(code) : "done", now_ms(), err);
    own->untold = (struct err){0};
    if (r == 0 && code == ERR_NONE)
        add_event(tx, call, own->collected.session, "files.collected", &data, &own->untold);
    return r;
}

static void collected_written(struct work *work)
{
    struct call *call = (struct call *)work;
    struct buf none = {0};
    provider_written(work, call->workspace_id, call->session_id,
                     &((struct collected_call *)call)->untold);
    call_answer(call, 200, &none);
    call_free(call);
}

static void collected_begin(struct call *call)
{
    work_job(&call->work, LEDGER_OP_EVENT_ADD, collected_apply, collected_written);
}

void provider_collected(struct provider *p, const struct provider_call *from,
                        const struct provider_collected *collected)
{
    struct collected_call *own = call_new(p, from, sizeof *own, files_record_name(FILES_COLLECT),
                                          collected_begin, collected_fini);
    if (!own)
        return;
    own->collected = *collected;
    own->collected.path = NULL;
    put_path(collected->path, &own->path);
}
