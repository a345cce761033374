/* This file holds what a client asked for until it was told, once; it never decides what.
 *
 * A refusal is an answer that IDEM-3 wants kept: with a key it is written down before it is told,
 * in a job of its own, because the transaction that refused was taken back. Between the two another
 * delivery of the same request may have been served: then that one's answer is given.
 */
#include "provider/provider_internal.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdlib.h>

static const char json[] = "application/json", problem_json[] = "application/problem+json";

static void free_call_work(struct work *work)
{
    call_free((struct call *)work);
}

void call_free(struct call *call)
{
    if (!call)
        return;
    work_end(&call->work);
    if (call->fini)
        call->fini(call);
    buf_fini(&call->answer);
    buf_fini(&call->stored);
    free(call->endings.of);
    free(call->key_texts);
    free(call);
}

void call_begin_work(struct call *call, struct provider *p)
{
    work_begin(&call->work, p, free_call_work);
}

/* The key's five texts, one after another. */
static int copy_key(struct call *call, const struct idempotency_request *from)
{
    const char *texts[] = {from->workspace_id, from->method, from->path, from->key,
                           from->body_sha256};
    const char **fields[] = {&call->key.workspace_id, &call->key.method, &call->key.path,
                             &call->key.key, &call->key.body_sha256};
    size_t length = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++)
        length += strlen(texts[i]) + 1;
    char *at = call->key_texts = malloc(length);
    if (!at)
        return -ENOMEM;
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        size_t n = strlen(texts[i]) + 1;
        memcpy(at, texts[i], n);
        *fields[i] = at;
        at += n;
    }
    return 0;
}

static void begin(struct work *work)
{
    struct call *call = (struct call *)work;
    call->begin(call);
}

static void refuse_too_many(struct work *work)
{
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, EAGAIN, "serve the request", NULL,
            "berth is still looking what its last end has left. Try again.");
    call_refuse((struct call *)work, &err, &(struct document_problem){.retry_after_s = 1});
}

/* Last resort: not even this much memory. */
static void *no_memory(const struct provider_call *from)
{
    struct provider_reply reply = {.status = 503, .media_type = problem_json};
    err_set(&reply.err, ERR_UNAVAILABLE, ENOMEM, "serve the request", NULL, "Out of memory.");
    document_problem(&reply.document, &reply.err, NULL);
    if (from->reply)
        from->reply(from->data, &reply);
    buf_fini(&reply.document);
    return NULL;
}

void *call_new(struct provider *p, const struct provider_call *from, size_t size, const char *what,
               void (*begin_call)(struct call *call), void (*fini)(struct call *call))
{
    struct call *call = calloc(1, size);
    if (!call)
        return no_memory(from);
    if (from->key && copy_key(call, from->key) < 0) {
        free(call);
        return no_memory(from);
    }
    /* A name that is too long is cut to one that call_check_ids() refuses. */
    snprintf(call->workspace_id, sizeof call->workspace_id, "%s",
             from->workspace_id ? from->workspace_id : "");
    snprintf(call->session_id, sizeof call->session_id, "%s",
             from->session_id ? from->session_id : "");
    snprintf(call->exec_id, sizeof call->exec_id, "%s", from->exec_id ? from->exec_id : "");
    snprintf(call->who, sizeof call->who, "%s", from->who ? from->who : "");
    snprintf(call->what, sizeof call->what, "%s", what ? what : "");
    call->reply = from->reply;
    call->data = from->data;
    call->begin = begin_call;
    call->fini = fini;
    call->born_us = now_us();
    snprintf(call->policy, sizeof call->policy, "%s", from->policy ? from->policy : "");
    work_begin(&call->work, p, free_call_work);
    call->work.policy = from->policy ? call->policy : NULL;
    call->work.then = begin;
    if (!p->recovering || !what)
        work_soon(&call->work, begin);
    else if (p->patience_over || p->waiting.count >= WAITING_MAX)
        work_soon(&call->work, refuse_too_many);
    else
        queue_add(&p->waiting, &call->work);
    return call;
}

static void forget(struct call *call)
{
    call->reply = NULL;
    if (call->forget)
        call->forget(call);
}

void provider_forget(struct provider *p, const void *data)
{
    for (struct work *work = p->all; work; work = work->next_all)
        if (work->free == free_call_work && ((struct call *)work)->data == data)
            forget((struct call *)work);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void tell(struct call *call, struct provider_reply *reply, struct buf *document)
{
    struct err err;
    if (buf_failed(document)) {
        buf_fini(document);
        err_set(&err, ERR_UNAVAILABLE, ENOMEM, "write the answer", NULL, "Out of memory.");
        *reply = (struct provider_reply){.status = 503, .err = err, .media_type = problem_json};
        document_problem(document, &err, NULL);
    }
    void (*function)(void *, struct provider_reply *) = call->reply;
    call->reply = NULL;
    call->answered = true;
    reply->document = *document;
    *document = (struct buf){0};
    if (call->told)
        call->told(call, reply);
    else if (function)
        function(call->data, reply);
    buf_fini(&reply->document);
}

void call_answer(struct call *call, int64_t status, struct buf *document)
{
    struct provider_reply reply = {.status = (int)status, .media_type = json};
    const enum metrics_operation operation = metrics_operation_of(call->what);
    /* A command's is observed when its init says that it runs (provider_exec.c). */
    if (operation != METRICS_OPERATION_COUNT && operation != METRICS_EXEC_START && status < 400 &&
        call->born_us)
        metrics_observe(&call->work.p->metrics.durations[operation], now_us() - call->born_us);
    tell(call, &reply, document);
}

void call_replay(struct call *call, int64_t status, struct buf *document)
{
    struct provider_reply reply = {
        .status = (int)status, .replayed = true, .media_type = status >= 400 ? problem_json : json};
    tell(call, &reply, document);
}

enum { FULL_S = 60 };

void call_fail(struct call *call, const struct err *err, const struct document_problem *more)
{
    struct provider_reply reply = {.err = *err, .media_type = problem_json};
    struct buf document = {0};
    if (reply.err.code == ERR_NONE || reply.err.code >= ERR_CODE_COUNT)
        reply.err.code = ERR_INTERNAL;
    reply.status = err_code_status((enum err_code)reply.err.code);
    const enum metrics_operation operation = metrics_operation_of(call->what);
    if (operation != METRICS_OPERATION_COUNT)
        call->work.p->metrics.failures[operation][reply.err.code]++;
    if (more) {
        reply.pointer = more->pointer;
        reply.allowed = more->allowed;
        reply.retry_after_s = more->retry_after_s;
        if (more->missing)
            reply.missing = *more->missing;
    }
    /* Whatever is not there for now says when to ask again: soon; where there are as many sessions
     * as there may be, not before somebody has ended one, which no client should wait for. */
    struct document_problem all = more ? *more : (struct document_problem){0};
    if (reply.err.code == ERR_UNAVAILABLE && reply.retry_after_s == 0)
        all.retry_after_s = reply.retry_after_s = reply.err.sys == EUSERS ? FULL_S : 1;
    document_problem(&document, &reply.err, &all);
    tell(call, &reply, &document);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static int refuse_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct call *call = (struct call *)work;
    int64_t now = now_ms(), key = 0;
    int r = call->key_texts
                ? idempotency_look(tx, &call->key, now, &call->stored_status, &call->stored, err)
                : 0;
    if (r != 0)
        return r;
    if (call->key_texts && idempotency_is_stored(call->status, (enum err_code)call->refusal.code)) {
        r = idempotency_take(tx, &call->key, now, &key, err);
        if (r == 0)
            r = idempotency_answer(
                tx, key, call->status, (enum err_code)call->refusal.code,
                (struct ledger_blob){buf_text(&call->answer), call->answer.length}, err);
    }
    if (r == 0 && call->what[0])
        r = ledger_audit_add(tx, call->workspace_id, call->who, call->what, call->session_id,
                             call->refusal.code ? err_code_name((enum err_code)call->refusal.code)
                                                : "done",
                             now, err);
    return r;
}

static void fail_key(struct call *call, int outcome)
{
    struct err err;
    if (outcome == IDEMPOTENCY_MISMATCH)
        err_set(&err, ERR_IDEMPOTENCY_MISMATCH, 0, "Idempotency-Key", call->key.key,
                "It was used before with another request. Send a new key with a new request.");
    else
        err_set(&err, ERR_IN_PROGRESS, 0, "Idempotency-Key", call->key.key,
                "The first request with it is not answered yet. Ask again.");
    call_fail(call, &err,
              &(struct document_problem){.retry_after_s = outcome == IDEMPOTENCY_MISMATCH ? 0 : 1});
}

static void refused(struct work *work)
{
    struct call *call = (struct call *)work;
    int r = work->job.result;
    if (r == IDEMPOTENCY_REPLAY)
        call_replay(call, call->stored_status, &call->stored);
    else if (r == IDEMPOTENCY_MISMATCH || r == IDEMPOTENCY_IN_PROGRESS)
        fail_key(call, r);
    else if (call->refusal.code != ERR_NONE)
        call_fail(call, &call->refusal, &call->problem); /* also when it could not be kept */
    else
        call_answer(call, call->status, &call->answer);
    call_free(call);
}

void call_refuse(struct call *call, const struct err *err, const struct document_problem *more)
{
    call->refusal = *err;
    if (err->code == ERR_NONE || err->code >= ERR_CODE_COUNT)
        call->refusal.code = ERR_INTERNAL;
    if (more) {
        call->problem = *more;
        if (more->missing) {
            call->missing = *more->missing;
            call->problem.missing = &call->missing;
        }
    }
    call->status = err_code_status((enum err_code)call->refusal.code);
    buf_fini(&call->answer);
    document_problem(&call->answer, &call->refusal, more);
    bool kept = call->key_texts || call->what[0];
    if (!kept || call->work.p->recovering || call->status >= 500 || buf_failed(&call->answer)) {
        call_fail(call, &call->refusal, more);
        call_free(call);
        return;
    }
    work_job(&call->work, LEDGER_OP_KEY_FINISH, refuse_apply, refused);
}

void call_answer_stored(struct call *call, int64_t status, struct buf *document)
{
    call->status = status;
    call->answer = *document;
    *document = (struct buf){0};
    work_job(&call->work, LEDGER_OP_KEY_FINISH, refuse_apply, refused);
}

/* ---- names ----------------------------------------------------------------------------------- */

int call_check_ids(const struct call *call, bool exec, struct err *err)
{
    const struct {
        const char *what, *value;
    } ids[] = {{"workspace_id", call->workspace_id},
               {"session_id", call->session_id},
               {"exec_id", exec ? call->exec_id : "e"}};
    for (size_t i = 0; i < ARRAY_LENGTH(ids); i++)
        if (!id_valid(ids[i].value))
            return err_set(
                err, ERR_INVALID_REQUEST, 0, "read the request", ids[i].what,
                "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
    return 0;
}

int no_session(const struct call *call, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, ENOENT, "find the session", call->session_id,
                   "There is no such session in this workspace.");
}
