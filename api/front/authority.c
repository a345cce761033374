/* This file is what a caller cannot go beyond, whatever he writes: the operator's ceiling, and the
 * policy that his token is bound to (POL-2, W-8). It never cuts a request down: what goes beyond is
 * refused. Which sessions he meets is the ledger's to say (ledger_job.policy).
 */
#include "api/front/front.h"

#include <errno.h>
#include <string.h>

const char *front_token_policy(const struct front *front, const struct exchange_request *request)
{
    struct provider_token token;
    bool has =
        !request->peer->local && provider_token_get(front->provider, request->caller, &token);
    return has ? token.policy : NULL;
}

static void policy_freep(struct policy **policy)
{
    policy_free(*policy);
}

/* 0 with the token's policy, NULL: it has none. One that cannot be read allows nothing. */
static int load(const struct front_call *call, struct policy **ret, struct err *err)
{
    const char *text = front_token_policy(call->front, exchange_request(call->x));
    *ret = NULL;
    if (!text)
        return 0;
    int r = policy_load_text(ret, FRONT_TOKEN_POLICY, text, strlen(text), err);
    if (r < 0 && r != -ENOMEM) {
        err->code = ERR_FORBIDDEN;
        err_add(err, "This berth cannot read the policy that the token is bound to. Make another "
                     "token.");
    }
    return r;
}

int front_token_policy_check(const struct front_call *call, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *own = NULL;
    return load(call, &own, err);
}

static int within(const struct front_call *call, const struct policy *policy,
                  int (*compare)(const struct policy *policy, const struct policy *ceiling,
                                 struct err *err),
                  struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *own = NULL;
    int r = call->front->ceiling ? compare(policy, call->front->ceiling, err) : 0;
    if (r >= 0)
        r = load(call, &own, err);
    if (r >= 0 && own)
        r = compare(policy, own, err);
    return r < 0 ? r : 0;
}

int front_within(const struct front_call *call, const struct policy *policy, struct err *err)
{
    return within(call, policy, policy_within, err);
}

int front_network_within(const struct front_call *call, const struct policy *policy,
                         struct err *err)
{
    return within(call, policy, policy_network_within, err);
}

/* Both are asked, so that the answer has all of what either of them does not allow. */
int front_exec_within(const struct front_call *call, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *own = NULL;
    const struct json_node *body = exchange_request(call->x)->body;
    struct err also;
    int r = load(call, &own, err);
    if (r < 0)
        return r;
    if (call->front->ceiling)
        r = policy_command_within(body, call->front->ceiling, err);
    if (own && (r == 0 || err->code == ERR_POLICY_REJECTED)) {
        int bound = policy_command_within(body, own, &also);
        if (bound < 0 && r < 0)
            err_add(err, "%s", also.detail);
        else if (bound < 0)
            *err = also;
        r = r < 0 ? r : bound;
    }
    if (r < 0 && err->code == ERR_POLICY_REJECTED)
        err_add(err, "Ask for what is allowed, or have it raised.");
    return r;
}
