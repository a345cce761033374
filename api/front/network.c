/* This file reads the rules that are to replace those of a session's network (NET-6): by the reader
 * of policies, compared with who has authority as a create's are; and one port that is to be
 * published beside what they have. It never applies them.
 */
#include "api/front/front.h"

#include "runtime/plan/network.h"

#include <errno.h>
#include <stdio.h>
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

/* NET-7: what a session is given of the host is the operator's word, port by port. */
static bool door_is_open(const struct serve_config *config, const struct spec_rule *rule)
{
    bool open = rule->port_count > 0; /* never all of them */
    for (unsigned i = 0; i < rule->port_count && open; i++) {
        unsigned k = 0;
        while (k < config->door_count && config->door_ports[k] != rule->ports[i])
            k++;
        open = k < config->door_count;
    }
    return open;
}

/* Who reaches the host's port by its door is not to meet another session there. */
static int check_published(struct front_call *call, const struct spec_network *net,
                           const char *pointer)
{
    const struct serve_config *config = call->front->config;
    struct err err;
    for (unsigned i = 0; i < net->publish_count; i++)
        for (unsigned k = 0; k < config->door_count; k++)
            if (net->publish[i].host_port == config->door_ports[k]) {
                int r = err_set(&err, ERR_POLICY_REJECTED, 0, "policy", "network.publish",
                                "Port %u of the host is one that the operator has opened to "
                                "sessions (\"host_door\"): publish at another.",
                                net->publish[i].host_port);
                front_call_refuse(call, &err, pointer);
                return r;
            }
    return 0;
}

int front_check_door(struct front_call *call, const struct spec_network *net, const char *pointer,
                     const char *publish_pointer)
{
    struct err err;
    for (unsigned i = 0; i < net->allow_count; i++) {
        const struct spec_rule *rule = &net->allow[i];
        if (rule->family != 0 || strcmp(rule->host, NETWORK_HOST_DOOR) != 0 ||
            door_is_open(call->front->config, rule))
            continue;
        int r = err_set(&err, ERR_POLICY_REJECTED, 0, "policy", "network.allow",
                        "A rule has a port of %s that the operator has not opened: \"host_door\" "
                        "of berth's configuration names those that are.",
                        NETWORK_HOST_DOOR);
        front_call_refuse(call, &err, pointer);
        return r;
    }
    return check_published(call, net, publish_pointer);
}

static void ask(struct front_call *call, const struct body *body, const struct policy *policy)
{
    const struct json_node *expected = json_member(exchange_request(call->x)->body, revision);
    struct capability_mask missing = {{0}};
    struct err err;
    struct spec *spec = front_call_memory(call, sizeof *spec);
    if (!spec)
        return;
    capability_part(spec);
    policy_compile_network(policy, &spec->network);
    if (capability_check(spec, call->front->capabilities, &missing, &err) < 0)
        front_call_refuse_missing(call, &err, &missing);
    else if (front_network_within(call, policy, &err) < 0)
        refuse(call, body, &err);
    else if (front_check_door(call, &spec->network, "/allow", "/publish") == 0)
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

/* ---- one port more --------------------------------------------------------------------------- */

/* What a policy would say of it, so that it is judged as one. */
static int load_port(const struct spec_publish *port, struct policy **ret, struct err *err)
{
    char text[128];
    int n = snprintf(text, sizeof text, "{\"version\": 1, \"network\": {\"publish\": [\"%u:%u\"]}}",
                     port->host_port, port->port);
    return policy_load_text(ret, "body", text, (size_t)n, err);
}

void session_publish_handle(struct front_call *call)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    const struct json_node *body = exchange_request(call->x)->body;
    const struct json_node *inside = json_member(body, "port"),
                           *outside = json_member(body, "host_port");
    const struct spec_publish port = {
        .port = (uint16_t)inside->magnitude,
        .host_port = (uint16_t)(outside ? outside->magnitude : inside->magnitude)};
    struct capability_mask missing = {{0}};
    struct err err;
    struct spec *spec = front_call_memory(call, sizeof *spec);
    if (!spec)
        return;
    capability_part(spec);
    if (load_port(&port, &policy, &err) < 0) {
        front_call_refuse(call, &err, "/port");
        return;
    }
    policy_compile_network(policy, &spec->network);
    if (capability_check(spec, call->front->capabilities, &missing, &err) < 0)
        front_call_refuse_missing(call, &err, &missing);
    else if (front_network_within(call, policy, &err) < 0)
        front_call_refuse(call, &err, "/port");
    else if (check_published(call, &spec->network, "/host_port") == 0)
        provider_session_publish(call->front->provider, front_call_ask(call, NULL), &port);
}
