/* This file words what the gateway tells; it never decides. */
#include "runtime/plan/network_tell.h"

#include "runtime/base/fd.h"
#include "runtime/plan/host_name.h"

#include <stdio.h>
#include <string.h>

void network_tell_name(const struct gateway_event *event, struct buf *out)
{
    char address[ADDRESS_TEXT_SIZE] = "";
    if (event->address.family)
        address_print(&event->address, address);
    if (event->host[0])
        buf_puts(out, event->host);
    else if (event->address.family == 6 && event->port)
        buf_printf(out, "[%s]", address);
    else
        buf_puts(out, address);
    if (event->port && event->protocol != GATEWAY_DNS)
        buf_printf(out, ":%u", event->port);
}

void network_tell_why(const struct gateway_event *event, struct buf *out)
{
    char address[ADDRESS_TEXT_SIZE] = "";
    if (event->address.family)
        address_print(&event->address, address);
    switch ((enum network_reason)event->reason) {
    case NETWORK_BY_DENY_RULE:
        buf_puts(out, "a deny rule names it");
        return;
    case NETWORK_BY_NO_RULE:
        buf_puts(out, "no rule names it");
        return;
    case NETWORK_BY_PORT:
        buf_puts(out, "the host is allowed, this port is not");
        return;
    case NETWORK_BY_ADDRESS:
        buf_printf(out, "%s%s%s %s address", event->host[0] ? "it resolves to " : "it is ",
                   event->host[0] ? address : "", event->host[0] ? ", a" : "a",
                   address_class_name((enum address_class)event->address_class));
        return;
    case NETWORK_BY_OWN_ADDRESS:
        buf_puts(out, "it is an address of this host");
        return;
    case NETWORK_BY_PROTOCOL:
        buf_puts(out, "only TCP leaves a session");
        return;
    case NETWORK_BY_SNI:
        buf_puts(out, "the TLS greeting names another host");
        return;
    case NETWORK_BY_NAME:
        buf_puts(out, "it is no host name");
        return;
    case NETWORK_BY_NAMES_MAX:
        buf_printf(out, "the session has asked for %d names already", NETWORK_NAMES_MAX);
        return;
    case NETWORK_BY_LIMIT:
        buf_puts(out, "the session has too many connections");
        return;
    case NETWORK_BY_UNREACHABLE:
        buf_printf(out, "it cannot be reached from here (%s)", strerror(event->sys));
        return;
    default:
        buf_puts(out, "it is not allowed");
    }
}

/* A name that is none has no rule, and its bytes get into nothing that is read again. */
static bool is_host(const char *name)
{
    char canonical[SPEC_HOST_MAX], why[HOST_WHY_MAX];
    return host_canonical(name, false, canonical, why) == 0 && strcmp(canonical, name) == 0;
}

void network_tell_rule(const struct spec_network *net, const struct gateway_event *event,
                       struct buf *ret_line, struct buf *ret_flag)
{
    const struct network_decision decision = {.reason = (enum network_reason)event->reason,
                                              .rule = event->rule,
                                              .address_class =
                                                  (enum address_class)event->address_class};
    if (event->host[0] && !is_host(event->host))
        return;
    /* A name that was only asked for has no port yet: the default's, says the flag. */
    network_rule_to_add(net, event->host[0] ? event->host : NULL, &event->address,
                        event->protocol == GATEWAY_DNS ? 443 : event->port, &decision, ret_line,
                        ret_flag);
}

void network_tell(const struct gateway_event *event, uint64_t count, struct buf *out)
{
    network_tell_name(event, out);
    buf_printf(out, " was %s",
               event->reason == NETWORK_BY_UNREACHABLE ? "allowed and not reached" : "refused");
    if (count > 1)
        buf_printf(out, " (%llu times)", (unsigned long long)count);
    buf_puts(out, ": ");
    network_tell_why(event, out);
    buf_putc(out, '.');
}

const char *network_tell_kind(unsigned kind)
{
    static const char *const kinds[] = {[GATEWAY_DENIED] = "denied",
                                        [GATEWAY_ALLOWED] = "allowed",
                                        [GATEWAY_CLOSED] = "closed",
                                        [GATEWAY_DROPPED] = "dropped"};
    return kind < ARRAY_LENGTH(kinds) && kinds[kind] ? kinds[kind] : "other";
}

static const char *protocol_name(unsigned protocol)
{
    static const char *const protocols[] = {[GATEWAY_TCP] = "tcp",
                                            [GATEWAY_UDP] = "udp",
                                            [GATEWAY_DNS] = "dns",
                                            [GATEWAY_OTHER] = "other"};
    return protocol < ARRAY_LENGTH(protocols) && protocols[protocol] ? protocols[protocol]
                                                                     : "other";
}

void network_tell_members(const struct spec_network *net, const struct gateway_event *event,
                          struct buf *out)
{
    buf_printf(out, "\"protocol\":\"%s\",\"host\":", protocol_name(event->protocol));
    if (event->host[0])
        buf_json_string(out, event->host);
    else
        buf_puts(out, "null");
    if (event->address.family) {
        char address[ADDRESS_TEXT_SIZE];
        address_print(&event->address, address);
        buf_printf(out, ",\"address\":\"%s\"", address);
    } else {
        buf_puts(out, ",\"address\":null");
    }
    buf_printf(out, ",\"port\":%u,\"reason\":\"%s\",\"count\":%llu", event->port,
               network_reason_name((enum network_reason)event->reason),
               (unsigned long long)event->count);
    if (event->kind == GATEWAY_CLOSED)
        buf_printf(out, ",\"bytes_sent\":%llu,\"bytes_received\":%llu",
                   (unsigned long long)event->sent, (unsigned long long)event->received);
    if (event->kind == GATEWAY_DENIED) {
        _cleanup_buf_ struct buf line = {0}, flag = {0};
        network_tell_rule(net, event, &line, &flag);
        buf_printf(out, ",\"rule_to_add\":%s", line.length ? buf_text(&line) : "null");
    }
}
