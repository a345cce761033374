/* This file decides what a session may reach (contract §6), and says which rule would change it; it
 * never looks anything up. Pure.
 */
#include "runtime/plan/network.h"

#include "runtime/base/fd.h"
#include "runtime/plan/host_name.h"

#include <stdio.h>
#include <string.h>

const char *network_reason_name(enum network_reason reason)
{
    static const char *const names[] = {[NETWORK_REASON_NONE] = "none",
#define X(symbol, name) [NETWORK_BY_##symbol] = name,
                                        NETWORK_REASONS(X)
#undef X
    };
    return (unsigned)reason < NETWORK_REASON_COUNT ? names[reason] : "unknown";
}

/* ---- one rule -------------------------------------------------------------------------------- */

bool network_rule_port(const struct spec_rule *rule, uint16_t port)
{
    for (unsigned i = 0; i < rule->port_count && i < SPEC_PORTS_MAX; i++)
        if (rule->ports[i] == port)
            return true;
    return rule->port_count == 0;
}

bool network_rule_host(const struct spec_rule *rule, const char *name)
{
    return rule->family == 0 && host_matches(rule->host, name);
}

bool network_rule_address(const struct spec_rule *rule, const struct network_address *address)
{
    struct network_address prefix = {.family = rule->family};
    if (rule->family == 0)
        return false;
    memcpy(prefix.bytes, rule->address, sizeof prefix.bytes);
    return address_within(address, &prefix, rule->prefix);
}

/* What is asked about: a name or an address. */
struct target {
    const char *name;
    const struct network_address *address;
};

static bool names(const struct spec_rule *rule, const struct target *target)
{
    if (!target->name)
        return network_rule_address(rule, target->address);
    /* Who means the host says so. */
    if (strcmp(target->name, NETWORK_HOST_DOOR) == 0)
        return rule->family == 0 && strcmp(rule->host, target->name) == 0;
    return network_rule_host(rule, target->name);
}

/* A denial names whatever it covers, the host's door too. */
static bool denies(const struct spec_rule *rule, const struct target *target)
{
    return target->name ? network_rule_host(rule, target->name)
                        : network_rule_address(rule, target->address);
}

static int find_deny(const struct spec_network *net, const struct target *target, uint16_t port)
{
    for (unsigned i = 0; i < net->deny_count; i++)
        if (network_rule_port(&net->deny[i], port) && denies(&net->deny[i], target))
            return (int)i;
    return -1;
}

/* `*ret_other_port`: one names it, with other ports. */
static int find_allow(const struct spec_network *net, const struct target *target, uint16_t port,
                      bool *ret_other_port)
{
    bool other = false;
    for (unsigned i = 0; i < net->allow_count; i++) {
        if (!names(&net->allow[i], target))
            continue;
        if (network_rule_port(&net->allow[i], port))
            return (int)i;
        other = true;
    }
    *ret_other_port = other;
    return -1;
}

static bool mode_reaches(const struct spec_network *net)
{
    return net->egress == SPEC_EGRESS_PUBLIC_ONLY || net->egress == SPEC_EGRESS_ALLOW;
}

static void decide(struct network_decision *ret, bool allowed, enum network_reason reason, int rule)
{
    ret->allowed = allowed;
    ret->reason = reason;
    ret->rule = rule;
}

/* ---- names ----------------------------------------------------------------------------------- */

void network_decide_host(const struct spec_network *net, const char *name, uint16_t port,
                         struct network_decision *ret)
{
    const struct target target = {.name = name};
    bool other = false, door = strcmp(name, NETWORK_HOST_DOOR) == 0;
    int deny = find_deny(net, &target, port);
    int allow = find_allow(net, &target, port, &other);
    ret->address_class = ADDRESS_PUBLIC;
    if (deny >= 0)
        decide(ret, false, NETWORK_BY_DENY_RULE, deny);
    else if (allow >= 0)
        decide(ret, true, NETWORK_BY_RULE, allow);
    else if (mode_reaches(net) && !door)
        decide(ret, true, NETWORK_BY_EGRESS, -1);
    else
        decide(ret, false, other ? NETWORK_BY_PORT : NETWORK_BY_NO_RULE, -1);
}

void network_decide_name(const struct spec_network *net, const char *name,
                         struct network_decision *ret)
{
    const struct target target = {.name = name};
    /* Denials of single ports are fewer than ports, so that a mode or a rule for every port always
     * leaves one: port 0, which only "every port" has, stands for all that nobody names. */
    network_decide_host(net, name, 0, ret);
    for (unsigned i = 0; !ret->allowed && i < net->allow_count; i++) {
        const struct spec_rule *rule = &net->allow[i];
        if (!names(rule, &target))
            continue;
        for (unsigned p = 0; !ret->allowed && p < rule->port_count; p++)
            network_decide_host(net, name, rule->ports[p], ret);
    }
}

/* ---- addresses ------------------------------------------------------------------------------- */

/* What opens an address of this class. */
enum opener { BY_MODE, BY_PRIVATE, BY_CIDR, BY_NOTHING };

static const enum opener openers[] = {
    [ADDRESS_PUBLIC] = BY_MODE,        [ADDRESS_PRIVATE] = BY_PRIVATE,
    [ADDRESS_LINK_LOCAL] = BY_PRIVATE, [ADDRESS_CGNAT] = BY_PRIVATE,
    [ADDRESS_METADATA] = BY_CIDR,      [ADDRESS_LOOPBACK] = BY_NOTHING,
    [ADDRESS_MULTICAST] = BY_NOTHING,  [ADDRESS_RESERVED] = BY_CIDR,
    [ADDRESS_TRANSITION] = BY_CIDR,    [ADDRESS_POOL] = BY_NOTHING,
};
_Static_assert(ARRAY_LENGTH(openers) == ADDRESS_CLASS_COUNT, "a row for every class");

static bool class_is_open(const struct spec_network *net, enum address_class what)
{
    return openers[what] == BY_MODE || (openers[what] == BY_PRIVATE && net->allow_private);
}

bool network_mode_opens(const struct spec_network *net, enum address_class what)
{
    return mode_reaches(net) && class_is_open(net, what);
}

bool network_class_is_closed(enum address_class what)
{
    return openers[what] == BY_NOTHING;
}

/* Refusals that no rule changes. */
static bool is_never(enum address_class what, bool own, struct network_decision *ret)
{
    ret->address_class = what;
    if (openers[what] == BY_NOTHING)
        decide(ret, false, NETWORK_BY_ADDRESS, -1);
    else if (own)
        decide(ret, false, NETWORK_BY_OWN_ADDRESS, -1);
    return openers[what] == BY_NOTHING || own;
}

void network_decide_address(const struct spec_network *net, const struct network_address *address,
                            uint16_t port, bool own, struct network_decision *ret)
{
    const struct target target = {.address = address};
    enum address_class what = address_classify(address);
    bool other = false;
    if (is_never(what, own, ret))
        return;
    int deny = find_deny(net, &target, port);
    int allow = find_allow(net, &target, port, &other);
    if (deny >= 0)
        decide(ret, false, NETWORK_BY_DENY_RULE, deny);
    else if (allow >= 0)
        decide(ret, true, NETWORK_BY_RULE, allow);
    else if (mode_reaches(net) && class_is_open(net, what))
        decide(ret, true, NETWORK_BY_EGRESS, -1);
    else if (other)
        decide(ret, false, NETWORK_BY_PORT, -1);
    else
        decide(ret, false, class_is_open(net, what) ? NETWORK_BY_NO_RULE : NETWORK_BY_ADDRESS, -1);
}

void network_decide_resolved(const struct spec_network *net, const char *name, uint16_t port,
                             const struct network_address *address, bool own,
                             struct network_decision *ret)
{
    const struct target target = {.address = address};
    enum address_class what = address_classify(address);
    bool other = false, door = strcmp(name, NETWORK_HOST_DOOR) == 0;
    network_decide_host(net, name, port, ret);
    ret->address_class = what;
    if (!ret->allowed)
        return;
    int deny = find_deny(net, &target, port);
    if (deny >= 0) {
        decide(ret, false, NETWORK_BY_DENY_RULE, deny);
        return;
    }
    if (door) {
        if (!own && what != ADDRESS_LOOPBACK)
            decide(ret, false, NETWORK_BY_ADDRESS, -1);
        return;
    }
    struct network_decision by_name = *ret;
    if (is_never(what, own, ret))
        return;
    *ret = by_name;
    if (!class_is_open(net, what) && find_allow(net, &target, port, &other) < 0)
        decide(ret, false, NETWORK_BY_ADDRESS, -1);
}

/* ---- what would allow it --------------------------------------------------------------------- */

static void put_rule(const char *key, const char *what, uint16_t port, bool brackets,
                     struct buf *line, struct buf *flag)
{
    /* A rule without a port means 443; so does a question that had none yet. */
    buf_printf(line, "{\"%s\": \"%s\", \"ports\": [%u]}", key, what, port ? port : 443);
    buf_printf(flag, brackets ? "--allow [%s]" : "--allow %s", what);
    if (port != 0 && port != 443)
        buf_printf(flag, ":%u", port);
}

void network_rule_to_add(const struct spec_network *net, const char *name,
                         const struct network_address *address, uint16_t port,
                         const struct network_decision *decision, struct buf *ret_line,
                         struct buf *ret_flag)
{
    (void)net;
    bool by_address = decision->reason == NETWORK_BY_ADDRESS;
    bool by_rule = decision->reason == NETWORK_BY_NO_RULE || decision->reason == NETWORK_BY_PORT;
    if (decision->allowed || !(by_address || by_rule))
        return;
    if (by_rule && name) {
        put_rule("host", name, port, false, ret_line, ret_flag);
        return;
    }
    if (!address || openers[address_classify(address)] == BY_NOTHING ||
        (name && strcmp(name, NETWORK_HOST_DOOR) == 0))
        return;
    char text[ADDRESS_TEXT_SIZE], cidr[ADDRESS_TEXT_SIZE + 8];
    address_print(address, text);
    snprintf(cidr, sizeof cidr, "%s/%d", text, address->family == 4 ? 32 : 128);
    put_rule("cidr", cidr, port, address->family == 6, ret_line, ret_flag);
}

bool network_wanted(const struct spec_network *net)
{
    return mode_reaches(net) || net->allow_count > 0 || net->publish_count > 0;
}

/* ---- shape ----------------------------------------------------------------------------------- */

static bool has_host_bits(const struct spec_rule *rule)
{
    for (unsigned i = 0; i < sizeof rule->address; i++) {
        unsigned keep = rule->prefix > i * 8 ? rule->prefix - i * 8 : 0;
        unsigned mask = keep >= 8 ? 0xffu : (0xff00u >> keep) & 0xffu;
        if (rule->address[i] & ~mask)
            return true;
    }
    return false;
}

/* NULL, or what is wrong. */
static const char *rule_wrong(const struct spec_rule *rule)
{
    char canonical[SPEC_HOST_MAX], why[HOST_WHY_MAX];
    if (rule->port_count > SPEC_PORTS_MAX)
        return "Too many ports.";
    for (unsigned i = 0; i < rule->port_count; i++)
        if (rule->ports[i] == 0)
            return "Port 0.";
    if (!memchr(rule->host, 0, sizeof rule->host))
        return "A name without an end.";
    if (rule->family == 0)
        return host_canonical(rule->host, true, canonical, why) == 0 &&
                       strcmp(canonical, rule->host) == 0
                   ? NULL
                   : "Not the canonical form of a name.";
    if (rule->host[0] || (rule->family != 4 && rule->family != 6) ||
        rule->prefix > (rule->family == 4 ? 32 : 128) || has_host_bits(rule))
        return "Not a network.";
    return NULL;
}

static int bad(struct err *err, const char *field, const char *why)
{
    return err_set(err, ERR_INTERNAL, EINVAL, "check network rules", field, "%s", why);
}

int network_check(const struct spec_network *net, struct err *err)
{
    const char *wrong = NULL;
    if (net->egress < SPEC_EGRESS_DENY || net->egress > SPEC_EGRESS_ALLOW)
        return bad(err, "network.egress", "Unknown mode.");
    if (net->sni_match > 1 || net->allow_private > 1)
        return bad(err, "network", "Neither yes nor no.");
    if (net->allow_count > SPEC_RULES_MAX || net->deny_count > SPEC_RULES_MAX ||
        net->publish_count > SPEC_PUBLISH_MAX)
        return bad(err, "network", "Too many rules.");
    for (unsigned i = 0; !wrong && i < net->allow_count; i++)
        wrong = rule_wrong(&net->allow[i]);
    if (wrong)
        return bad(err, "network.allow", wrong);
    for (unsigned i = 0; !wrong && i < net->deny_count; i++)
        wrong = rule_wrong(&net->deny[i]);
    if (wrong)
        return bad(err, "network.deny", wrong);
    for (unsigned i = 0; i < net->publish_count; i++)
        if (net->publish[i].port < SPEC_PORT_FIRST)
            return bad(err, "network.publish", "A port that nobody listens on.");
    return 0;
}
