/* This file checks what the gateway and its peers send each other; it never sends. Pure. */
#include "runtime/gateway/gateway.h"

#include "runtime/base/fd.h"

#include <string.h>

static const struct {
    const char *name;
    unsigned fewest, most;
} requests[] = {
#define X(symbol, text, low, high) [GATEWAY_##symbol] = {text, low, high},
    GATEWAY_REQUESTS(X)
#undef X
};

const char *gateway_request_name(unsigned type)
{
    if (type == GATEWAY_NEED_SOCKETS)
        return "need_sockets";
    return type > GATEWAY_REQUEST_NONE && type < ARRAY_LENGTH(requests) ? requests[type].name
                                                                        : "unknown";
}

static bool terminated(const char *text, size_t size)
{
    return memchr(text, 0, size) != NULL;
}

const char *gateway_request_check(const struct gateway_request *request, size_t length,
                                  unsigned fd_count)
{
    if (length != sizeof *request)
        return "the length of no request";
    if (request->magic != GATEWAY_MAGIC || request->version != GATEWAY_VERSION)
        return "of another version";
    if (request->type == GATEWAY_REQUEST_NONE || request->type >= ARRAY_LENGTH(requests))
        return "no request";
    if (request->ticket == 0)
        return "no ticket";
    bool of_all = request->type == GATEWAY_FLUSH || request->type == GATEWAY_SWEEP;
    if (!of_all && (request->row <= 0 || request->incarnation <= 0))
        return "no session";
    if (request->answer > 1 || fd_count < request->answer)
        return "a socket for the answer, or none";
    fd_count -= request->answer;
    if (fd_count < requests[request->type].fewest || fd_count > requests[request->type].most)
        return "too few or too many descriptors";
    if (request->port_count > GATEWAY_PUBLISH_MAX)
        return "too many ports";
    if (request->type == GATEWAY_PUBLISHED
            ? request->port_count == 0
            : request->port_count != (request->type == GATEWAY_PUBLISH ? fd_count : 0))
        return "as many ports as descriptors are published";
    for (unsigned i = 0; i < request->port_count; i++)
        if (request->ports[i] == 0)
            return "port 0";
    return NULL;
}

const char *gateway_reply_check(const struct gateway_reply *reply, size_t length)
{
    if (length != sizeof *reply)
        return "the length of no reply";
    if (reply->magic != GATEWAY_MAGIC || reply->version != GATEWAY_VERSION)
        return "of another version";
    if (reply->type == GATEWAY_REQUEST_NONE || reply->type >= GATEWAY_REQUEST_END)
        return "an answer to no request";
    if ((reply->ticket == 0) != (reply->type == GATEWAY_NEED_SOCKETS))
        return "a ticket where none is, or none";
    if (reply->result > 0)
        return "a result that is neither 0 nor an error";
    if (!terminated(reply->err.step, sizeof reply->err.step) ||
        !terminated(reply->err.subject, sizeof reply->err.subject) ||
        !terminated(reply->err.detail, sizeof reply->err.detail) ||
        reply->err.code >= ERR_CODE_COUNT)
        return "an error without an end";
    return NULL;
}

const char *gateway_event_check(const struct gateway_event *event, size_t length)
{
    if (length != sizeof *event)
        return "the length of no event";
    if (event->magic != GATEWAY_MAGIC || event->version != GATEWAY_VERSION)
        return "of another version";
    if (event->kind < GATEWAY_DENIED || event->kind > GATEWAY_DROPPED)
        return "no event";
    if (event->row <= 0 || event->incarnation <= 0 || event->count == 0)
        return "an event of nobody";
    if (event->protocol > GATEWAY_OTHER || event->reason >= NETWORK_REASON_COUNT ||
        event->address_class >= ADDRESS_CLASS_COUNT || event->rule < -1 ||
        event->rule >= SPEC_RULES_MAX)
        return "a word that is not in the tables";
    if (event->address.family != 0 && event->address.family != 4 && event->address.family != 6)
        return "an address of no family";
    if (!terminated(event->host, sizeof event->host))
        return "a name without an end";
    /* It is shown on terminals: what is not printable was escaped by who asked for no trouble. */
    for (const char *c = event->host; *c; c++)
        if (*c <= ' ' || *c > '~')
            return "a name that is no text";
    return NULL;
}

const char *gateway_record_check(const struct network_record *record, size_t length)
{
    struct err err;
    if (length != sizeof *record)
        return "the length of no record";
    if (record->magic != GATEWAY_MAGIC || record->version != GATEWAY_VERSION)
        return "of another version";
    return network_check(&record->network, &err) < 0 ? "rules of a wrong shape" : NULL;
}

const char *gateway_config_check(const struct gateway_config *config, size_t length)
{
    if (length != sizeof *config || config->size != sizeof *config ||
        config->version != GATEWAY_VERSION)
        return "of another version";
    if (config->resolver_count > GATEWAY_RESOLVERS_MAX)
        return "too many resolvers";
    for (unsigned i = 0; i < config->resolver_count; i++)
        if (config->resolvers[i].port == 0 ||
            (config->resolvers[i].address.family != 4 && config->resolvers[i].address.family != 6))
            return "a resolver that is no address and port";
    if (config->door_count > GATEWAY_DOOR_MAX)
        return "too many ports of the host";
    for (unsigned i = 0; i < config->door_count; i++)
        if (config->door_ports[i] == 0)
            return "port 0 of the host";
    if (config->sessions_max == 0 || config->connections_per_session == 0 ||
        config->connections_max == 0 || config->connect_timeout_ms == 0 ||
        config->idle_timeout_ms == 0)
        return "a limit that is 0";
    return NULL;
}
