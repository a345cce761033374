/* This file reads the rules that are to replace those of a session's network (NET-6): by the reader
 * of policies, compared with who has authority as a create's are. It never applies them.
 */
#include "api/front/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char revision[] = "revision", part[] = "network";

struct body {
    struct json_node root, network;
};

/* The body is what a policy has as its `network`, and a precondition; here it is a policy again. */
static int wrap(struct front_call *call, const struct json_node *from, struct body *ret)
{
    const struct json_node **at = &ret->network.first;
    ret->network = *from;
    ret->network.key = part;
    ret->network.key_at = from->at;
    ret->network.next = NULL;
    ret->network.count = 0;
    *at = NULL;
    for (const struct json_node *m = from->first; m; m = m->next) {
        if (strcmp(m->key, revision) == 0)
            continue;
        struct json_node *copy = front_call_memory(call, sizeof *copy);
        if (!copy)
            return -ENOMEM;
        *copy = *m;
        copy->next = NULL;
        *at = copy;
        at = &copy->next;
        ret->network.count++;
    }
    ret->root =
        (struct json_node){.kind = JSON_OBJECT, .at = from->at, .first = &ret->network, .count = 1};
    return 0;
}

static void refuse(struct front_call *call, const struct body *body, const struct err *err)
{
    char pointer[POLICY_POINTER_MAX];
    policy_body_pointer(&body->root, err, pointer);
    bool inside = strncmp(pointer, "/network/", sizeof "/network/" - 1) == 0;
    front_call_refuse(call, err, inside ? pointer + strlen("/network") : "");
}

static void policy_freep(struct policy **policy)
{
    policy_free(*policy);
}

static void ask(struct front_call *call, const struct body *body, const struct policy *policy)
{
    const struct json_node *expected = json_member(exchange_request(call->x)->body, revision);
    struct capability_mask missing = {{0}};
    struct err err;
    struct spec *spec = front_call_memory(call, sizeof *spec);
    if (!spec)
        return;
    spec_init_zeroed(spec);
    policy_compile_network(policy, &spec->network);
    if (capability_check(spec, call->front->capabilities, &missing, &err) < 0)
        front_call_refuse_missing(call, &err, &missing);
    else if (front_network_within(call, policy, &err) < 0)
        refuse(call, body, &err);
    else
        provider_session_network(
            call->front->provider, front_call_ask(call, NULL),
            &(struct provider_network){.network = &spec->network,
                                       .revision = expected ? expected->magnitude : 0});
}

void session_network_handle(struct front_call *call)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    struct body body;
    struct err err;
    if (wrap(call, exchange_request(call->x)->body, &body) < 0)
        return;
    if (policy_load_body(&policy, &body.root, &err) < 0)
        refuse(call, &body, &err);
    else
        ask(call, &body, policy);
}
