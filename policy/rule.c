/* This file reads, prints and compares network rules (contract §6); it never asks the network. */
#include "policy/rule.h"

#include "runtime/base/units.h"
#include "runtime/plan/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int __attribute__((format(printf, 2, 3)))
refuse(char ret_why[HOST_WHY_MAX], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret_why, HOST_WHY_MAX, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

void rule_address(const struct spec_rule *rule, struct network_address *ret)
{
    address_canonical(rule->family, rule->address, ret);
}

static void prefix_of(const struct spec_rule *rule, struct network_address *ret)
{
    *ret = (struct network_address){.family = rule->family};
    memcpy(ret->bytes, rule->address, sizeof ret->bytes);
}

/* An IPv4 address in the clothes of an IPv6 one: what would be dialled is the first. */
static bool is_ipv4_within(const struct spec_rule *rule)
{
    uint8_t bytes[16];
    struct network_address one;
    memcpy(bytes, rule->address, sizeof bytes);
    bytes[15] |= 2; /* not :: and not ::1 */
    address_canonical(rule->family, bytes, &one);
    return rule->family == 6 && rule->prefix >= 96 && one.family == 4;
}

/* No rule reaches these (NET-3): a rule that lies within them is a mistake, and is told so. */
static const char *refuse_network(const struct spec_rule *rule)
{
    struct network_address prefix;
    struct address_row row;
    prefix_of(rule, &prefix);
    for (size_t i = 0; address_row(i, &row); i++) {
        if (row.bits > rule->prefix || !address_within(&prefix, &row.prefix, row.bits))
            continue;
        switch (row.address_class) {
        case ADDRESS_LOOPBACK:
            return "is loopback: no rule reaches it (NET-3). 127.0.0.0/8 and ::1 are the session's "
                   "own and always open inside.";
        case ADDRESS_MULTICAST:
            return "is multicast: no rule reaches it (NET-3).";
        case ADDRESS_POOL:
            return "is where berth's own names stand: no rule reaches it (NET-3).";
        case ADDRESS_TRANSITION:
            return is_ipv4_within(rule) ? "is IPv4 written as IPv6. Write it as IPv4." : NULL;
        case ADDRESS_PUBLIC:
        case ADDRESS_PRIVATE:
        case ADDRESS_LINK_LOCAL:
        case ADDRESS_CGNAT:
        case ADDRESS_METADATA:
        case ADDRESS_RESERVED:
        case ADDRESS_CLASS_COUNT:
            return NULL;
        }
    }
    return NULL;
}

static void format_address(const struct spec_rule *rule, char ret_text[INET6_ADDRSTRLEN])
{
    inet_ntop(rule->family == 4 ? AF_INET : AF_INET6, rule->address, ret_text, INET6_ADDRSTRLEN);
}

/* Clears the host bits; true when there were any. */
static bool clear_host_bits(struct spec_rule *rule)
{
    bool had = false;
    unsigned bytes = rule->family == 4 ? 4 : 16;
    for (unsigned i = 0; i < bytes; i++) {
        unsigned keep = rule->prefix > i * 8 ? rule->prefix - i * 8 : 0;
        uint8_t mask = (uint8_t)((keep >= 8 ? 0xffu : 0xff00u >> keep) & 0xffu);
        had = had || (rule->address[i] & ~mask) != 0;
        rule->address[i] = (uint8_t)(rule->address[i] & mask);
    }
    return had;
}

static int parse_address(const char *text, struct spec_rule *ret)
{
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, text, ret->address) == 1)
        ret->family = 4;
    else if (inet_pton(AF_INET6, text, ret->address) == 1)
        ret->family = 6;
    else
        return -EINVAL;
    ret->prefix = ret->family == 4 ? 32 : 128;
    return 0;
}

int rule_parse_cidr(const char *text, struct spec_rule *ret, char ret_why[HOST_WHY_MAX])
{
    struct spec_rule rule;
    char address[64], plain[INET6_ADDRSTRLEN];
    uint64_t prefix;
    size_t n = strcspn(text, "/");
    if (n >= sizeof address)
        return refuse(ret_why, "\"%.60s…\" is not an address and a prefix length.", text);
    memcpy(address, text, n);
    address[n] = 0;
    if (parse_address(address, &rule) < 0)
        return refuse(ret_why,
                      "\"%.60s\" is not an address and a prefix length, as in \"10.0.0.0/8\" or "
                      "\"2001:db8::/32\". A name goes into {\"host\": …}.",
                      text);
    if (!text[n])
        return refuse(ret_why, "The prefix length is missing: one address is \"%s/%d\".", address,
                      rule.prefix);
    if (units_parse_u64(text + n + 1, &prefix) < 0 || prefix > rule.prefix)
        return refuse(ret_why, "The prefix length of \"%.60s\" must be 0 to %d.", text,
                      rule.prefix);
    if (text[n + 1] == '0' && text[n + 2])
        return refuse(ret_why, "The prefix length of \"%.60s\" has a leading zero.", text);
    rule.prefix = (uint8_t)prefix;
    if (clear_host_bits(&rule)) {
        format_address(&rule, plain);
        return refuse(ret_why,
                      "\"%.60s\" has bits set after its prefix. The network is \"%s/%d\"; the one "
                      "address is \"%s/%d\".",
                      text, plain, rule.prefix, address, rule.family == 4 ? 32 : 128);
    }
    const char *never = refuse_network(&rule);
    if (never)
        return refuse(ret_why, "\"%.60s\" %s", text, never);
    *ret = rule;
    return 0;
}

int rule_add_port(struct spec_rule *rule, uint16_t port)
{
    unsigned at = 0;
    while (at < rule->port_count && rule->ports[at] < port)
        at++;
    if (at < rule->port_count && rule->ports[at] == port)
        return 0;
    if (rule->port_count == SPEC_PORTS_MAX)
        return -ENOSPC;
    memmove(rule->ports + at + 1, rule->ports + at,
            (rule->port_count - at) * sizeof rule->ports[0]);
    rule->ports[at] = port;
    rule->port_count++;
    return 0;
}

/* Splits "NAME:PORT" and "[NAME]:PORT"; *ret_port is -1 without one, 0 for "*". */
static int split_port(const char *text, char *ret_name, size_t size, int *ret_port,
                      char ret_why[HOST_WHY_MAX])
{
    const char *name = text, *port = NULL;
    size_t n = strlen(text);
    if (text[0] == '[') {
        const char *close = strchr(text, ']');
        if (!close || (close[1] && close[1] != ':'))
            return refuse(ret_why, "\"%.60s\" has a \"[\" without \"]\" or \"]:PORT\".", text);
        name = text + 1;
        n = (size_t)(close - name);
        port = close[1] ? close + 2 : NULL;
    } else {
        const char *colon = strchr(text, ':');
        /* Two colons are an IPv6 address without a port. */
        if (colon && !strchr(colon + 1, ':')) {
            n = (size_t)(colon - text);
            port = colon + 1;
        }
    }
    if (n >= size)
        return refuse(ret_why, "\"%.60s…\" is too long.", text);
    *ret_port = -1;
    if (port && strcmp(port, "*") == 0) {
        *ret_port = 0;
    } else if (port) {
        uint64_t number;
        if (units_parse_u64(port, &number) < 0 || number < 1 || number > 65535)
            return refuse(ret_why, "\"%.20s\" is not a port: 1 to 65535, or \"*\" for all.", port);
        *ret_port = (int)number;
    }
    memcpy(ret_name, name, n);
    ret_name[n] = 0;
    return 0;
}

int rule_parse_flag(const char *text, uint16_t port, struct spec_rule *ret,
                    char ret_why[HOST_WHY_MAX])
{
    char name[SPEC_HOST_MAX + 64];
    int given = -1;
    if (strstr(text, "://"))
        return refuse(ret_why, "\"%.60s\" is a URL. Write HOST or HOST:PORT.", text);
    int e = split_port(text, name, sizeof name, &given, ret_why);
    if (e < 0)
        return e;
    struct spec_rule rule = {0};
    e = strchr(name, '/') ? rule_parse_cidr(name, &rule, ret_why)
                          : host_canonical(name, true, rule.host, ret_why);
    if (e < 0)
        return e;
    if (given < 0)
        given = port;
    if (given > 0)
        rule_add_port(&rule, (uint16_t)given);
    *ret = rule;
    return 0;
}

int rule_parse_target(const char *text, struct spec_rule *ret, char ret_why[HOST_WHY_MAX])
{
    char name[SPEC_HOST_MAX + 64];
    int port = -1;
    struct spec_rule rule = {0};
    int e = split_port(text, name, sizeof name, &port, ret_why);
    if (e == 0 && port == 0)
        return refuse(ret_why, "A question names one port: \"%.60s\" has all of them.", text);
    if (e == 0 && parse_address(name, &rule) < 0) {
        memset(&rule, 0, sizeof rule);
        e = host_canonical(name, false, rule.host, ret_why);
    }
    if (e < 0)
        return e;
    rule_add_port(&rule, (uint16_t)(port < 0 ? 443 : port));
    *ret = rule;
    return 0;
}

bool rule_has_port(const struct spec_rule *rule, uint16_t port)
{
    return network_rule_port(rule, port);
}

bool rule_names_cover(const struct spec_rule *wide, const struct spec_rule *narrow)
{
    if (wide->family != narrow->family)
        return false;
    if (wide->family == 0)
        return host_covers(wide->host, narrow->host);
    struct network_address prefix;
    prefix_of(narrow, &prefix);
    return wide->prefix <= narrow->prefix && network_rule_address(wide, &prefix);
}

bool rule_names_overlap(const struct spec_rule *one, const struct spec_rule *other)
{
    if (one->family == 0 && other->family == 0)
        return host_overlaps(one->host, other->host);
    if (one->family == 0 || other->family == 0)
        return true;
    return rule_names_cover(one, other) || rule_names_cover(other, one);
}

void rule_print(const struct spec_rule *rule, struct buf *out)
{
    if (rule->family) {
        char text[INET6_ADDRSTRLEN];
        format_address(rule, text);
        buf_printf(out, rule->family == 6 ? "[%s/%d]" : "%s/%d", text, rule->prefix);
    } else {
        buf_puts(out, rule->host);
    }
    buf_putc(out, ':');
    if (rule->port_count == 0)
        buf_putc(out, '*');
    for (unsigned i = 0; i < rule->port_count; i++)
        buf_printf(out, "%s%u", i ? "," : "", rule->ports[i]);
}

void rule_print_json(const struct spec_rule *rule, struct buf *out)
{
    char text[INET6_ADDRSTRLEN];
    if (rule->family) {
        format_address(rule, text);
        buf_printf(out, "{\"cidr\": \"%s/%d\", \"ports\": ", text, rule->prefix);
    } else {
        buf_printf(out, "{\"host\": \"%s\", \"ports\": ", rule->host);
    }
    if (rule->port_count == 0) {
        buf_puts(out, "\"*\"}");
        return;
    }
    for (unsigned i = 0; i < rule->port_count; i++)
        buf_printf(out, "%s%u", i ? ", " : "[", rule->ports[i]);
    buf_puts(out, "]}");
}
