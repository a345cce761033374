/* This file is one call from its request to its answer; it never decides what a route does. */
#include "api/front/front.h"

#include "api/front/log.h"
#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PAGE_MOST = 1000, PAGE_USUAL = 100 };

static void answer_reply(void *data, struct provider_reply *reply)
{
    front_call_reply(data, reply);
}

struct front_call *front_call_new(struct front *front, struct exchange *x)
{
    const struct exchange_request *request = exchange_request(x);
    struct front_call *call = arena_alloc(exchange_arena(x), sizeof *call);
    if (!call) {
        struct err err;
        err_set(&err, ERR_INTERNAL, ENOMEM, "serve the request", NULL, NULL);
        exchange_refuse(x, &err, NULL);
        return NULL;
    }
    call->front = front;
    call->x = x;
    struct provider_token token = {0};
    front_who(front, request, call->who, sizeof call->who);
    if (!request->peer->local && provider_token_get(front->provider, request->caller, &token) &&
        token.policy)
        snprintf(call->policy, sizeof call->policy, "%s", token.policy_hash);
    call->provider = (struct provider_call){
        .workspace_id = request->names.workspace_id,
        .session_id = request->names.session_id,
        .exec_id = request->names.exec_id,
        .who = call->who,
        .policy = call->policy[0] ? call->policy : NULL,
        .data = call,
    };
    if (request->idempotency_key) {
        /* The answer to another policy's caller may show what this one is not to meet. */
        snprintf(call->body_hash, sizeof call->body_hash, "%s%s", request->fingerprint,
                 call->policy);
        /* A route across workspaces has a scope of its own: "" is no workspace's id. */
        call->key = (struct idempotency_request){
            .workspace_id = request->names.workspace_id ? request->names.workspace_id : "",
            .method = http_method_name(request->route->method),
            .path = request->path,
            .key = request->idempotency_key,
            .body_sha256 = call->body_hash,
        };
        call->provider.key = &call->key;
    }
    exchange_set_data(x, call);
    return call;
}

void *front_call_memory(struct front_call *call, size_t size)
{
    void *memory = arena_alloc(exchange_arena(call->x), size);
    if (!memory) {
        struct err err;
        err_set(&err, ERR_INTERNAL, ENOMEM, "serve the request", NULL, NULL);
        front_call_refuse(call, &err, NULL);
    }
    return memory;
}

const struct provider_call *front_call_ask(struct front_call *call,
                                           void (*reply)(void *data, struct provider_reply *reply))
{
    call->waiting = true;
    call->provider.reply = reply ? reply : answer_reply;
    return &call->provider;
}

/* ---- ends ------------------------------------------------------------------------------------ */

int front_call_asker(const struct front_call *call)
{
    bool local = call->x && exchange_request(call->x)->peer->local;
    return call->front->config->rootless || !local ? -1 : exchange_socket(call->x);
}

struct exchange *front_call_finish(struct front_call *call)
{
    if (call->waiting)
        provider_forget(call->front->provider, call);
    call->waiting = false;
    if (call->release)
        call->release(call);
    call->release = NULL;
    return call->x;
}

void front_call_gone(struct front_call *call)
{
    exchange_end(front_call_finish(call));
}

void front_call_answer(struct front_call *call, int status, struct buf *document)
{
    exchange_answer(front_call_finish(call), status, document, NULL);
}

/* Only the log gets to know what berth's own failures are about. */
static void tell(const struct front_call *call, const struct err *err)
{
    if (err_code_status((enum err_code)err->code) >= 500)
        front_log_failure(exchange_request(call->x)->id, err);
}

void front_call_refuse(struct front_call *call, const struct err *err, const char *pointer)
{
    const struct problem_more more = {.pointer = pointer && *pointer ? pointer : NULL};
    tell(call, err);
    exchange_refuse(front_call_finish(call), err, &more);
}

static size_t missing_names(const struct capability_mask *missing,
                            const char *ret_names[CAPABILITY_COUNT])
{
    size_t count = 0;
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        if (missing->bits[c / 64] >> (c % 64) & 1)
            ret_names[count++] = capability_name((enum capability)c);
    return count;
}

void front_call_refuse_missing(struct front_call *call, const struct err *err,
                               const struct capability_mask *missing)
{
    const char *names[CAPABILITY_COUNT];
    const struct problem_more more = {.missing = names,
                                      .missing_count = missing_names(missing, names)};
    exchange_refuse(front_call_finish(call), err, &more);
}

static size_t allowed_names(uint32_t allowed, const char *ret_names[SESSION_EVENT_COUNT])
{
    size_t count = 0;
    for (unsigned event = 0; event < SESSION_EVENT_COUNT; event++)
        if (allowed >> event & 1)
            ret_names[count++] = session_event_name((enum session_event)event);
    return count;
}

void front_call_refuse_state(struct front_call *call, const struct err *err, uint32_t allowed)
{
    const char *names[SESSION_EVENT_COUNT];
    const struct problem_more more = {.allowed = names,
                                      .allowed_count = allowed_names(allowed, names)};
    tell(call, err);
    exchange_refuse(front_call_finish(call), err, &more);
}

void front_call_reply(struct front_call *call, struct provider_reply *reply)
{
    call->waiting = false;
    if (reply->status >= 400 && !reply->replayed)
        tell(call, &reply->err);
    /* What may be stored is sent as it was rendered. The rest, which says when to come back, gets
     * the header field that belongs to it. */
    if (reply->document.length > 0 && (reply->replayed || !reply->retry_after_s)) {
        struct buf document = reply->document;
        reply->document = (struct buf){0};
        const struct answer_more more = {.replayed = reply->replayed,
                                         .code = reply->status >= 400 && !reply->replayed
                                                     ? (enum err_code)reply->err.code
                                                     : ERR_NONE};
        exchange_answer_as(front_call_finish(call), reply->status,
                           reply->media_type ? reply->media_type : "application/json", &document,
                           &more);
        return;
    }
    const char *missing[CAPABILITY_COUNT], *allowed[SESSION_EVENT_COUNT];
    const struct problem_more more = {
        .pointer = reply->pointer,
        .missing = missing,
        .missing_count = missing_names(&reply->missing, missing),
        .allowed = allowed,
        .allowed_count = allowed_names(reply->allowed, allowed),
        .retry_after_s = reply->retry_after_s,
    };
    struct err err = reply->err;
    exchange_refuse(front_call_finish(call), &err, &more);
}

/* ---- what a request says --------------------------------------------------------------------- */

static const struct json_node *member(const struct front_call *call, const char *name)
{
    const struct json_node *body = exchange_request(call->x)->body;
    return body ? json_member(body, name) : NULL;
}

const char *front_call_text(const struct front_call *call, const char *name)
{
    const struct json_node *node = member(call, name);
    return node ? node->text : NULL;
}

uint64_t front_call_number(const struct front_call *call, const char *name, uint64_t otherwise)
{
    const struct json_node *node = member(call, name);
    return node ? node->magnitude : otherwise;
}

bool front_call_flag(const struct front_call *call, const char *name)
{
    const struct json_node *node = member(call, name);
    return node && node->boolean;
}

static int refuse_query(struct front_call *call, const char *name, const char *what)
{
    struct err err;
    int r = err_set(&err, ERR_INVALID_REQUEST, 0, "read the query", name, "%s", what);
    front_call_refuse(call, &err, NULL);
    return r;
}

int front_call_query_number(struct front_call *call, const char *name, uint64_t min, uint64_t max,
                            uint64_t *ret_value)
{
    const char *text = exchange_query(call->x, name);
    uint64_t value;
    char what[96];
    if (!text)
        return 0;
    snprintf(what, sizeof what, "Must be a whole number from %" PRIu64 " to %" PRIu64 ".", min,
             max);
    if (units_parse_u64(text, &value) < 0 || value < min || value > max)
        return refuse_query(call, name, what);
    *ret_value = value;
    return 0;
}

int front_call_query_flag(struct front_call *call, const char *name, bool *ret_value)
{
    const char *text = exchange_query(call->x, name);
    if (!text)
        return 0;
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
        return refuse_query(call, name, "Must be true or false.");
    *ret_value = strcmp(text, "true") == 0;
    return 0;
}

/* What a client may ask for by `state`: the names that documents have. */
static bool is_state(const char *text, bool exec)
{
    if (exec)
        return strcmp(text, "running") == 0 || strcmp(text, "ended") == 0;
    for (unsigned s = SESSION_NONE + 1; s < SESSION_STATE_COUNT; s++)
        if (strcmp(session_state_wire((enum session_state)s), text) == 0)
            return true;
    return false;
}

int front_call_page(struct front_call *call, struct provider_page *ret)
{
    const bool exec = exchange_request(call->x)->route->id == ROUTE_EXEC_LIST;
    uint64_t limit = PAGE_USUAL;
    int r = front_call_query_number(call, "limit", 1, PAGE_MOST, &limit);
    if (r < 0)
        return r;
    *ret = (struct provider_page){
        .after = exchange_query(call->x, "after"),
        .state = exchange_query(call->x, "state"),
        .owner = exchange_query(call->x, "owner"),
        .label = exchange_query(call->x, "label"),
        .limit = (unsigned)limit,
    };
    if (ret->state && !is_state(ret->state, exec))
        return refuse_query(call, "state",
                            exec ? "Must be running or ended."
                                 : "Must be one of creating, running, parked, archived, "
                                   "destroying, destroyed, failed.");
    if (ret->owner && !id_valid(ret->owner))
        return refuse_query(call, "owner", "This is no owner's id.");
    if (ret->after && !id_valid(ret->after))
        return refuse_query(call, "after", "Give back what `next` said.");
    const char *equals = ret->label ? strchr(ret->label, '=') : NULL;
    if (ret->label && (!equals || equals == ret->label))
        return refuse_query(call, "label", "Write it as NAME=VALUE.");
    return 0;
}
