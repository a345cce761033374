/* This file is tokens as callers meet them: what one may do (docs/adr/0015), and the routes of who
 * makes and revokes them. It never looks anything up to refuse another workspace (W-3).
 */
#include "api/front/front.h"

#include "runtime/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- what a token may ------------------------------------------------------------------------ */

/* The same words as of what is not there in a workspace of his own: one answer for both. */
static int no_such(const struct route_names *names, struct err *err)
{
    if (names->session_id)
        return err_set(err, ERR_NOT_FOUND, 0, "find the session", names->session_id,
                       "There is no such session in this workspace.");
    if (names->volume_name)
        return err_set(err, ERR_NOT_FOUND, 0, "find the volume", names->volume_name,
                       "There is no such volume in this workspace.");
    return err_set(err, ERR_NOT_FOUND, 0, "find the workspace", names->workspace_id,
                   "There is no such workspace.");
}

int front_token_authorize(const struct front *front, const struct exchange_request *request,
                          struct err *err)
{
    static const char step[] = "know the caller";
    const enum http_scope scope = request->route->scope;
    struct provider_token token;
    if (!provider_token_get(front->provider, request->caller, &token) || token.over)
        return err_set(err, ERR_UNAUTHORIZED, 0, step, NULL, "This token is not valid any more.");
    switch (http_scope_rule(scope)) {
    case SCOPE_RULE_ANY:
        return 0;
    case SCOPE_RULE_NONE:
        return err_set(err, ERR_FORBIDDEN, 0, step, NULL,
                       "This is across workspaces: no token may do it, only who is let in on the "
                       "unix socket.");
    case SCOPE_RULE_ALONE:
        if (provider_token_lists(token.verbs, http_scope_name(scope)))
            return 0;
        return err_set(err, ERR_FORBIDDEN, 0, step, NULL,
                       "These are sums over all workspaces: only a token with the verb \"%s\" "
                       "alone may read them, and who owns this berth, on the unix socket.",
                       http_scope_name(scope));
    case SCOPE_RULE_VERB:
        break;
    }
    if (!request->names.workspace_id ||
        !provider_token_lists(token.workspaces, request->names.workspace_id))
        return no_such(&request->names, err);
    if (!provider_token_lists(token.verbs, http_scope_name(scope)))
        return err_set(err, ERR_FORBIDDEN, 0, step, NULL,
                       "This token has not the verb \"%s\". It has: %s.", http_scope_name(scope),
                       token.verbs);
    return 0;
}

void front_who(const struct front *front, const struct exchange_request *request, char *ret,
               size_t size)
{
    struct provider_token token;
    if (request->peer->local)
        snprintf(ret, size, "uid %u", (unsigned)request->peer->uid);
    else if (provider_token_get(front->provider, request->caller, &token))
        snprintf(ret, size, "token %s", token.token_id);
    else
        snprintf(ret, size, "nobody");
}

void front_owner(const struct front *front, const struct exchange_request *request, char *ret,
                 size_t size)
{
    struct provider_token token;
    if (request->peer->local)
        snprintf(ret, size, "uid-%u", (unsigned)request->peer->uid);
    else if (provider_token_get(front->provider, request->caller, &token))
        snprintf(ret, size, "%s", token.token_id);
    else
        snprintf(ret, size, "nobody");
}

/* ---- routes ---------------------------------------------------------------------------------- */

enum { VERBS_SIZE = 128 };

/* Scopes that a token needs a verb for, one space between. */
static void all_verbs(char ret[VERBS_SIZE])
{
    size_t n = 0;
    ret[0] = 0;
    for (unsigned s = 0; s < SCOPE_COUNT; s++)
        if (http_scope_rule((enum http_scope)s) == SCOPE_RULE_VERB)
            n += (size_t)snprintf(ret + n, VERBS_SIZE - n, "%s%s", n ? " " : "",
                                  http_scope_name((enum http_scope)s));
}

static void refuse(struct front_call *call, const char *list, unsigned index, const char *what)
{
    struct err err;
    char pointer[48];
    snprintf(pointer, sizeof pointer, "/%s/%u", list, index);
    err_set(&err, ERR_INVALID_REQUEST, 0, "read the request's body", pointer, "%s", what);
    front_call_refuse(call, &err, pointer);
}

static void add_word(struct buf *out, const char *word)
{
    if (!provider_token_lists(buf_text(out), word))
        buf_printf(out, "%s%s", out->length ? " " : "", word);
}

/* -EINVAL: refused. */
static int read_workspaces(struct front_call *call, struct buf *out)
{
    const struct json_node *list = json_member(exchange_request(call->x)->body, "workspaces");
    unsigned i = 0;
    if (!list) {
        struct err err;
        err_set(&err, ERR_INVALID_REQUEST, 0, "read the request's body", "/workspaces",
                "Say which the token is for.");
        front_call_refuse(call, &err, "/workspaces");
        return -EINVAL;
    }
    for (const struct json_node *node = list->first; node; node = node->next, i++) {
        if (node->kind != JSON_STRING || !id_valid(node->text)) {
            refuse(call, "workspaces", i,
                   "It must be a workspace's id: 1 to 64 letters, digits, \"_\", \".\" or \"-\".");
            return -EINVAL;
        }
        add_word(out, node->text);
    }
    return 0;
}

/* 1: the token is for what crosses workspaces: it has this one verb and no workspace; 0. */
static int read_alone(struct front_call *call, struct buf *ret_verbs)
{
    const struct json_node *body = exchange_request(call->x)->body;
    const struct json_node *verbs = json_member(body, "verbs"),
                           *workspaces = json_member(body, "workspaces");
    const char *metrics = http_scope_name(SCOPE_METRICS);
    unsigned i = 0;
    for (const struct json_node *node = verbs ? verbs->first : NULL; node; node = node->next, i++) {
        if (node->kind != JSON_STRING || strcmp(node->text, metrics) != 0)
            continue;
        if (i > 0 || node->next || workspaces) {
            refuse(call, "verbs", i,
                   "\"metrics\" is sums over all workspaces: its token has no other verb, and "
                   "names no workspace.");
            return -EINVAL;
        }
        buf_puts(ret_verbs, metrics);
        return 1;
    }
    return 0;
}

/* Without any: all. "files" is both of its halves. */
static int read_verbs(struct front_call *call, struct buf *out)
{
    const struct json_node *list = json_member(exchange_request(call->x)->body, "verbs");
    char known[VERBS_SIZE], what[VERBS_SIZE + 64];
    unsigned i = 0;
    all_verbs(known);
    if (!list)
        buf_puts(out, known);
    for (const struct json_node *node = list ? list->first : NULL; node; node = node->next, i++) {
        bool files = node->kind == JSON_STRING && strcmp(node->text, "files") == 0;
        if (files) {
            add_word(out, http_scope_name(SCOPE_FILES_READ));
            add_word(out, http_scope_name(SCOPE_FILES_WRITE));
            continue;
        }
        if (node->kind != JSON_STRING || strchr(node->text, ' ') ||
            !provider_token_lists(known, node->text)) {
            snprintf(what, sizeof what, "It must be one of: %s, files (both), metrics (alone).",
                     known);
            refuse(call, "verbs", i, what);
            return -EINVAL;
        }
        add_word(out, node->text);
    }
    return 0;
}

/* -EINVAL: refused. */
static int read_policy(struct front_call *call, bool alone, struct buf *out)
{
    const struct json_node *body = exchange_request(call->x)->body;
    char pointer[POLICY_POINTER_MAX] = "/policy";
    struct policy *policy = NULL;
    struct err err;
    if (!json_member(body, "policy"))
        return 0;
    int r = alone ? err_set(&err, ERR_INVALID_REQUEST, 0, "read the request's body", "policy",
                            "A token for metrics makes no sessions.")
                  : policy_load_body(&policy, body, &err);
    if (r == 0)
        r = policy_keep(policy, out, &err);
    if (r < 0 && !alone)
        policy_body_pointer(body, &err, pointer);
    policy_free(policy);
    if (r < 0)
        front_call_refuse(call, &err, pointer);
    return r < 0 ? -EINVAL : 0;
}

void token_create_handle(struct front_call *call)
{
    _cleanup_buf_ struct buf workspaces = {0}, verbs = {0}, policy = {0};
    int alone = read_alone(call, &verbs);
    if (alone < 0 ||
        (!alone && (read_workspaces(call, &workspaces) < 0 || read_verbs(call, &verbs) < 0)) ||
        read_policy(call, alone, &policy) < 0)
        return;
    if (buf_failed(&workspaces) || buf_failed(&verbs) || buf_failed(&policy)) {
        struct err err;
        err_set(&err, ERR_INTERNAL, ENOMEM, "read the request's body", NULL, NULL);
        front_call_refuse(call, &err, NULL);
        return;
    }
    const struct provider_token_new asked = {
        .name = front_call_text(call, "name"),
        .workspaces = buf_text(&workspaces),
        .verbs = buf_text(&verbs),
        .policy = policy.length ? buf_text(&policy) : NULL,
        .lives_ms = front_call_number(call, "lives_ms", 0),
    };
    provider_token_create(call->front->provider, front_call_ask(call, NULL), &asked);
}

void token_list_handle(struct front_call *call)
{
    struct provider_page page;
    if (front_call_page(call, &page) == 0)
        provider_token_list(call->front->provider, front_call_ask(call, NULL), &page);
}

void token_revoke_handle(struct front_call *call)
{
    provider_token_revoke(call->front->provider, front_call_ask(call, NULL),
                          exchange_request(call->x)->names.token_id);
}
