/* This file lists what an owner has, destroys what an owner has left behind, and says how the
 * engine is. It never touches another owner's (ID-4).
 */
#include "provider/provider_internal.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdlib.h>

enum { PAGE = 32, REAP_MAX = 1000, REAP_AT_ONCE = 32 };

static int check_owner(const char *owner, struct err *err)
{
    if (owner && id_valid(owner))
        return 0;
    return err_set(err, ERR_INVALID_REQUEST, 0, "read the request", "owner",
                   "Say whose: 1 to 64 of A-Z a-z 0-9 _ . - that begin with a letter or digit.");
}

/* ---- resources ------------------------------------------------------------------------------- */

struct resources {
    struct call call; /* first */
    char owner[LEDGER_ID_SIZE];
    struct buf kernel;
    int64_t *rows; /* of this owner, sorted by id */
    size_t row_count, row_size;
    struct launcher_name last;
};

static void resources_fini(struct call *call)
{
    struct resources *resources = (struct resources *)call;
    buf_fini(&resources->kernel);
    free(resources->rows);
}

static int keep_row(struct resources *resources, int64_t row)
{
    if (resources->row_count == resources->row_size) {
        size_t size = resources->row_size ? resources->row_size * 2 : 64;
        int64_t *grown = realloc(resources->rows, size * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        resources->rows = grown;
        resources->row_size = size;
    }
    resources->rows[resources->row_count++] = row;
    return 0;
}

static int add_sessions(struct ledger_tx *tx, struct resources *resources, struct err *err)
{
    struct session_row rows[PAGE];
    struct buf *out = &resources->call.answer;
    size_t count = PAGE;
    int64_t after = 0;
    int r = 0;
    while (r == 0 && count == PAGE) {
        r = ledger_session_page_owner(tx, resources->owner, INT64_MAX, after, rows, PAGE, &count,
                                      err);
        for (size_t i = 0; r == 0 && i < count; i++) {
            after = rows[i].id;
            if (resources->row_count > 0)
                buf_putc(out, ',');
            if (keep_row(resources, after) < 0)
                return err_set(err, ERR_UNAVAILABLE, ENOMEM, "list resources", NULL, NULL);
            r = session_document(tx, &resources->call.work.p->ledger_scratch, &rows[i], "", true,
                                 &resources->call.endings, out, err);
        }
    }
    return r;
}

static int add_volumes(struct ledger_tx *tx, struct resources *resources, struct err *err)
{
    struct volume_row rows[PAGE];
    struct buf *out = &resources->call.answer;
    size_t count = PAGE;
    int64_t after = 0;
    int r = 0;
    bool first = true;
    while (r == 0 && count == PAGE) {
        r = ledger_volume_page_owner(tx, resources->owner, after, rows, PAGE, &count, err);
        for (size_t i = 0; r == 0 && i < count; i++, first = false) {
            struct session_row session = {0};
            after = rows[i].id;
            if (rows[i].holder)
                r = ledger_session_get(tx, rows[i].holder, &session, err);
            if (!first)
                buf_putc(out, ',');
            document_volume(out, &rows[i], UINT64_MAX, session.session_id);
            r = r > 0 ? 0 : r;
        }
    }
    return r;
}

static int resources_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct resources *resources = (struct resources *)work;
    struct buf *out = &resources->call.answer;
    buf_fini(out);
    resources->row_count = 0;
    buf_puts(out, "{\"sessions\":[");
    int r = add_sessions(tx, resources, err);
    buf_puts(out, "],\"volumes\":[");
    if (r == 0)
        r = add_volumes(tx, resources, err);
    return r;
}

static bool is_owners(const struct resources *resources, int64_t row)
{
    for (size_t i = 0; i < resources->row_count; i++)
        if (resources->rows[i] == row)
            return true;
    return false;
}

static void ask_list(struct resources *resources);

static void on_list(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct resources *resources = data;
    struct call *call = &resources->call;
    struct err why;
    if (launcher_result(reply, err, &why) < 0) {
        call_fail(call, &why, &(struct document_problem){.retry_after_s = 1});
        call_free(call);
        return;
    }
    for (unsigned i = 0; i < reply->list.count && i < LAUNCHER_LIST_MAX; i++) {
        char name[SERVE_NAME_SIZE];
        resources->last = reply->list.names[i];
        if (!is_owners(resources, resources->last.row))
            continue;
        serve_name(name, resources->last.row, resources->last.incarnation);
        buf_printf(&resources->kernel,
                   "%s{\"name\":\"%s\",\"row\":%lld,\"incarnation\":%lld,\"what\":null}",
                   resources->kernel.length ? "," : "", name, (long long)resources->last.row,
                   (long long)resources->last.incarnation);
    }
    if (reply->list.more && reply->list.count > 0) {
        ask_list(resources);
        return;
    }
    buf_printf(&call->answer, "],\"kernel\":[%s]}\n", buf_text(&resources->kernel));
    call_answer(call, 200, &call->answer);
    call_free(call);
}

static void ask_list(struct resources *resources)
{
    struct call *call = &resources->call;
    struct err err = {0};
    struct launcher_request request = launcher_request_for(
        call->work.p, LAUNCHER_LIST, resources->last.row, resources->last.incarnation);
    if (provider_ask(call->work.p, &request, NULL, 0, on_list, resources, &err) < 0) {
        call_fail(call, &err, &(struct document_problem){.retry_after_s = 1});
        call_free(call);
    }
}

static void resources_read(struct work *work)
{
    struct resources *resources = (struct resources *)work;
    if (work->job.result == 0) {
        ask_list(resources);
        return;
    }
    call_fail(&resources->call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
    call_free(&resources->call);
}

static void begin_resources(struct call *call)
{
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else {
        endings_take(call->work.p, &call->endings);
        work_job(&call->work, LEDGER_OP_READ, resources_apply, resources_read);
    }
}

void provider_resources(struct provider *p, const struct provider_call *from, const char *owner)
{
    struct resources *resources =
        call_new(p, from, sizeof *resources, "", begin_resources, resources_fini);
    if (!resources)
        return;
    snprintf(resources->owner, sizeof resources->owner, "%s", owner ? owner : "");
    check_owner(owner, &resources->call.refusal);
}

/* ---- reap ------------------------------------------------------------------------------------ */

struct reaped {
    struct reap *reap;
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE];
    enum session_state state;
    bool failed;
    char error[1500];
};

struct reap {
    struct call call; /* first */
    char owner[LEDGER_ID_SIZE];
    int64_t before_ms;
    bool dry_run;
    struct reaped *sessions;
    size_t count, next, under_way;
};

static void reap_fini(struct call *call)
{
    free(((struct reap *)call)->sessions);
}

static int reap_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct reap *reap = (struct reap *)work;
    struct session_row rows[PAGE];
    size_t count = PAGE;
    int64_t after = 0;
    int r = 0;
    reap->count = 0;
    while (r == 0 && count == PAGE && reap->count + PAGE <= REAP_MAX) {
        r = ledger_session_page_owner(tx, reap->owner, reap->before_ms, after, rows, PAGE, &count,
                                      err);
        for (size_t i = 0; r == 0 && i < count; i++) {
            struct reaped *reaped = &reap->sessions[reap->count++];
            after = rows[i].id;
            reaped->reap = reap;
            reaped->state = rows[i].state;
            snprintf(reaped->workspace_id, sizeof reaped->workspace_id, "%s", rows[i].workspace_id);
            snprintf(reaped->session_id, sizeof reaped->session_id, "%s", rows[i].session_id);
        }
    }
    return r;
}

static void tell_reap(struct reap *reap)
{
    struct call *call = &reap->call;
    struct buf *out = &call->answer;
    buf_fini(out);
    buf_puts(out, "{\"sessions\":[");
    for (size_t i = 0; i < reap->count; i++) {
        const struct reaped *reaped = &reap->sessions[i];
        buf_printf(out,
                   "%s{\"workspace_id\":\"%s\",\"session_id\":\"%s\",\"state\":\"%s\","
                   "\"outcome\":\"%s\",\"error\":",
                   i ? "," : "", reaped->workspace_id, reaped->session_id,
                   session_state_wire(reaped->state),
                   reap->dry_run    ? "would_destroy"
                   : reaped->failed ? "failed"
                                    : "destroyed");
        document_text(out, reaped->error);
        buf_putc(out, '}');
    }
    buf_puts(out, "]}\n");
    struct buf document = call->answer;
    call->answer = (struct buf){0};
    call_answer_stored(call, 200, &document);
}

static void reap_more(struct reap *reap);

static void on_destroyed(void *data, struct provider_reply *reply)
{
    struct reaped *reaped = data;
    struct reap *reap = reaped->reap;
    reaped->failed = reply->status >= 400;
    if (reaped->failed)
        err_format(&reply->err, reaped->error, sizeof reaped->error);
    reap->under_way--;
    reap_more(reap);
}

static void reap_more(struct reap *reap)
{
    while (reap->next < reap->count && reap->under_way < REAP_AT_ONCE) {
        struct reaped *reaped = &reap->sessions[reap->next++];
        reap->under_way++;
        verb_internal(reap->call.work.p, reaped->workspace_id, reaped->session_id,
                      SESSION_EVENT_DESTROY, "reap", on_destroyed, reaped);
    }
    if (reap->next == reap->count && reap->under_way == 0)
        tell_reap(reap);
}

static void reap_read(struct work *work)
{
    struct reap *reap = (struct reap *)work;
    if (work->job.result < 0) {
        call_fail(&reap->call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
        call_free(&reap->call);
    } else if (reap->dry_run) {
        tell_reap(reap);
    } else {
        reap_more(reap);
    }
}

static void begin_reap(struct call *call)
{
    struct reap *reap = (struct reap *)call;
    if (call->refusal.code == ERR_NONE &&
        !(reap->sessions = calloc(REAP_MAX, sizeof *reap->sessions)))
        err_set(&call->refusal, ERR_UNAVAILABLE, ENOMEM, "reap", NULL, "Out of memory.");
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else
        work_job(&call->work, LEDGER_OP_READ, reap_apply, reap_read);
}

void provider_reap(struct provider *p, const struct provider_call *from, const char *owner,
                   uint64_t older_than_ms, bool dry_run)
{
    struct provider_call here = *from;
    here.workspace_id = from->workspace_id ? from->workspace_id : "-"; /* of every workspace */
    struct reap *reap = call_new(p, &here, sizeof *reap, "reap", begin_reap, reap_fini);
    if (!reap)
        return;
    int64_t older = (int64_t)(older_than_ms < INT64_MAX / 4 ? older_than_ms : INT64_MAX / 4);
    snprintf(reap->owner, sizeof reap->owner, "%s", owner ? owner : "");
    reap->before_ms = older ? now_ms() - older : INT64_MAX;
    reap->dry_run = dry_run;
    check_owner(owner, &reap->call.refusal);
}

/* ---- health ---------------------------------------------------------------------------------- */

static void begin_health(struct call *call)
{
    static const char *const names[] = {
        [LEDGER_OK] = "ok", [LEDGER_READ_ONLY] = "read_only", [LEDGER_BROKEN] = "broken"};
    struct provider *p = call->work.p;
    struct ledger_status ledger;
    struct buf document = {0};
    if (p->recovering) { /* until then nobody should send requests here */
        struct err err;
        err_set(&err, ERR_UNAVAILABLE, EAGAIN, "serve", NULL,
                "berth has just started and compares its rows with what the kernel holds; %u "
                "sessions are known to live so far.",
                p->live);
        call_fail(call, &err, &(struct document_problem){.retry_after_s = 1});
        call_free(call);
        return;
    }
    ledger_status(p->ledger, &ledger);
    bool launcher = p->launcher_watch != NULL;
    bool well = launcher && ledger.health == LEDGER_OK;
    buf_printf(&document,
               "{\"status\":\"%s\",\"version\":\"%s\",\"ledger\":\"%s\",\"launcher\":\"%s\","
               "\"recovering\":false,\"sessions_live\":%u,\"orphans_ended\":%llu,",
               well ? "ok" : "degraded", BERTH_VERSION, names[ledger.health],
               launcher ? "ok" : "away", p->live, (unsigned long long)p->swept);
    const struct serve_config *config = p->options.config;
    buf_puts(&document, "\"config\":{\"read_at\":");
    document_time(&document, (int64_t)config->read_ms);
    buf_printf(&document,
               ",\"failed\":%s,\"waits_for_restart\":", config->reload_failed ? "true" : "false");
    document_words(&document, config->pending);
    buf_puts(&document, "}}\n");
    call_answer(call, well || ledger.health != LEDGER_BROKEN ? 200 : 503, &document);
    call_free(call);
}

void provider_health(struct provider *p, const struct provider_call *from)
{
    call_new(p, from, sizeof(struct call), NULL, begin_health, NULL);
}
