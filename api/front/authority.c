/* This file is what a caller cannot go beyond, whatever he writes: the operator's ceiling, and the
 * policy that his token is bound to (POL-2, W-8). It never cuts a request down: what goes beyond is
 * refused. Which sessions he meets is the ledger's to say (ledger_job.policy).
 */
#include "api/front/front.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---- commands -------------------------------------------------------------------------------- */

/* Where time is bound, a command has no more of it to end in. */
enum { GRACE_MAX_MS = 10000 };

/* "root", "0", "0:0", "1000:0": as the provider reads it, which refuses what is none. */
static bool is_root(const char *user)
{
    char first[24];
    uint64_t id;
    size_t n = strcspn(user, ":");
    if (strcmp(user, "root") == 0)
        return true;
    snprintf(first, sizeof first, "%.*s", (int)(n < sizeof first ? n : 0), user);
    if (units_parse_u64(first, &id) == 0 && id == SPEC_UID_ROOT)
        return true;
    return user[n] == ':' && units_parse_u64(user + n + 1, &id) == 0 && id == SPEC_UID_ROOT;
}

static int beyond(struct err *err, const char *subject, const char *what)
{
    return err_set(err, ERR_POLICY_REJECTED, 0, "start the command", subject,
                   "%s goes beyond the policy that this token is bound to.", what);
}

int front_exec_within(const struct front_call *call, const struct provider_exec *exec,
                      const char **ret_pointer, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *own = NULL;
    _cleanup_free_ struct spec *spec = NULL;
    int r = load(call, &own, err);
    if (r < 0 || !own)
        return r;
    spec = calloc(1, sizeof *spec);
    if (!spec)
        return err_set(err, ERR_INTERNAL, ENOMEM, "start the command", NULL, NULL);
    spec_init_zeroed(spec);
    r = policy_compile(own, spec, err);
    if (r < 0)
        return r;
    const uint64_t timeout_ms = spec->limits.exec_timeout_ms,
                   output_bytes = spec->limits.output_bytes;
    *ret_pointer = "/user";
    if (exec->user && spec->process.uid != SPEC_UID_ROOT && is_root(exec->user))
        return beyond(err, "user", "A command of root");
    *ret_pointer = "/timeout_ms";
    if (timeout_ms > 0 && exec->timeout_ms != UINT64_MAX &&
        (exec->timeout_ms == 0 || exec->timeout_ms > timeout_ms))
        return beyond(err, "timeout_ms", "That much time");
    /* What a command that does not end may take beyond it, and what its children may. */
    *ret_pointer = "/grace_ms";
    if (timeout_ms > 0 && exec->grace_ms != UINT64_MAX && exec->grace_ms > GRACE_MAX_MS)
        return beyond(err, "grace_ms", "That much time to end");
    *ret_pointer = "/keep_children";
    if (timeout_ms > 0 && exec->keep_children)
        return beyond(err, "keep_children", "What stays when a command has ended");
    *ret_pointer = "/output_limit_bytes";
    if (output_bytes > 0 && exec->output_limit_bytes > output_bytes)
        return beyond(err, "output_limit_bytes", "That much output");
    return 0;
}
