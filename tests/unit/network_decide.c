/* This file tests what the rules of a session decide (NET-1, NET-2, NET-3, NET-7), by tables and by
 * properties over random rules; it asks no network.
 */
#include "policy/rule.h"
#include "runtime/plan/host_name.h"
#include "runtime/plan/network.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

/* Rules as flags write them, words apart. */
static void put(struct spec_rule *rules, uint32_t *count, const char *texts, uint16_t port)
{
    char text[300], why[HOST_WHY_MAX];
    int used = 0;
    for (; sscanf(texts, "%299s%n", text, &used) == 1; texts += used)
        cr_assert(rule_parse_flag(text, port, &rules[(*count)++], why) == 0, "%s: %s", text, why);
}

static void make(struct spec_network *net, uint32_t egress, const char *allow, const char *deny)
{
    struct err err = {0};
    memset(net, 0, sizeof *net);
    net->egress = egress;
    put(net->allow, &net->allow_count, allow, 443);
    put(net->deny, &net->deny_count, deny, 0);
    cr_assert(network_check(net, &err) == 0, "%s: %s", err.subject, err.detail);
}

static void decide_text(const struct spec_network *net, const char *text, uint16_t port,
                        struct network_decision *ret)
{
    struct network_address address;
    if (address_parse(text, &address) == 0)
        network_decide_address(net, &address, port, false, ret);
    else
        network_decide_host(net, text, port, ret);
}

struct row {
    const char *what;
    uint16_t port;
    enum network_reason reason; /* RULE and EGRESS: allowed */
};

static void expect(const struct spec_network *net, const struct row *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct network_decision d;
        decide_text(net, table[i].what, table[i].port, &d);
        bool allowed = table[i].reason == NETWORK_BY_RULE || table[i].reason == NETWORK_BY_EGRESS;
        cr_expect(d.reason == table[i].reason && d.allowed == allowed, "%s:%u is %s, not %s",
                  table[i].what, table[i].port, network_reason_name(d.reason),
                  network_reason_name(table[i].reason));
        cr_expect((d.rule >= 0) ==
                  (d.reason == NETWORK_BY_RULE || d.reason == NETWORK_BY_DENY_RULE));
    }
}
#define EXPECT(net, table) expect(net, table, sizeof(table) / sizeof((table)[0]))

Test(decide, NET_1_the_default_reaches_nothing)
{
    static struct spec_network net;
    static const struct row table[] = {{"a.example", 443, NETWORK_BY_NO_RULE},
                                       {"8.8.8.8", 53, NETWORK_BY_NO_RULE},
                                       {"10.0.0.1", 443, NETWORK_BY_ADDRESS},
                                       {NETWORK_HOST_DOOR, 443, NETWORK_BY_NO_RULE},
                                       {"127.0.0.1", 443, NETWORK_BY_ADDRESS}};
    make(&net, SPEC_EGRESS_DENY, "", "");
    EXPECT(&net, table);
    cr_expect(!network_wanted(&net));
    struct network_decision d;
    network_decide_name(&net, "a.example", &d);
    cr_expect(!d.allowed && d.reason == NETWORK_BY_NO_RULE);
    net.publish[net.publish_count++] = (struct spec_publish){3000, 3000};
    cr_expect(network_wanted(&net));
}

Test(decide, NET_2_rules_name_hosts_and_deny_beats_allow)
{
    static struct spec_network net;
    static const struct row table[] = {
        {"a.example", 443, NETWORK_BY_RULE},          {"a.example", 80, NETWORK_BY_PORT},
        {"x.b.example", 8080, NETWORK_BY_RULE},       {"b.example", 8080, NETWORK_BY_NO_RULE},
        {"y.x.b.example", 8080, NETWORK_BY_RULE},     {"bad.b.example", 8080, NETWORK_BY_DENY_RULE},
        {"half.b.example", 80, NETWORK_BY_DENY_RULE}, {"half.b.example", 8080, NETWORK_BY_RULE},
        {"xb.example", 8080, NETWORK_BY_NO_RULE},     {"10.1.2.3", 5432, NETWORK_BY_RULE},
        {"10.1.2.3", 5433, NETWORK_BY_PORT},          {"10.1.9.9", 5432, NETWORK_BY_DENY_RULE},
        {"10.2.0.1", 5432, NETWORK_BY_ADDRESS},       {"8.8.4.4", 53, NETWORK_BY_NO_RULE}};
    make(&net, SPEC_EGRESS_DENY, "a.example *.b.example:* 10.1.0.0/16:5432",
         "bad.b.example half.b.example:80 10.1.9.0/24");
    EXPECT(&net, table);
}

Test(decide, NET_3_modes_reach_what_is_public)
{
    static struct spec_network net;
    static const struct row table[] = {
        {"any.example", 1, NETWORK_BY_EGRESS},        {"8.8.8.8", 65535, NETWORK_BY_EGRESS},
        {"2606:4700::1", 443, NETWORK_BY_EGRESS},     {"::ffff:8.8.8.8", 1, NETWORK_BY_EGRESS},
        {"10.0.0.1", 443, NETWORK_BY_ADDRESS},        {"192.168.0.1", 443, NETWORK_BY_ADDRESS},
        {"169.254.169.254", 80, NETWORK_BY_ADDRESS},  {"100.64.0.1", 80, NETWORK_BY_ADDRESS},
        {"::ffff:10.0.0.1", 443, NETWORK_BY_ADDRESS}, {"::10.0.0.1", 443, NETWORK_BY_ADDRESS},
        {"0.0.0.0", 80, NETWORK_BY_ADDRESS},          {"255.255.255.255", 80, NETWORK_BY_ADDRESS},
        {"224.0.0.1", 80, NETWORK_BY_ADDRESS},        {"64:ff9b::808:808", 80, NETWORK_BY_ADDRESS},
        {"2002:a00:1::", 80, NETWORK_BY_ADDRESS},     {"fe80::1", 80, NETWORK_BY_ADDRESS},
        {"fd00:ec2::254", 80, NETWORK_BY_ADDRESS},    {"198.18.0.16", 80, NETWORK_BY_ADDRESS},
        {"240.0.0.1", 80, NETWORK_BY_ADDRESS},        {"::1", 80, NETWORK_BY_ADDRESS},
        {"bad.example", 443, NETWORK_BY_DENY_RULE},   {"9.9.9.9", 443, NETWORK_BY_DENY_RULE},
        {NETWORK_HOST_DOOR, 443, NETWORK_BY_NO_RULE}};
    for (uint32_t egress = SPEC_EGRESS_PUBLIC_ONLY; egress <= SPEC_EGRESS_ALLOW; egress++) {
        make(&net, egress, "", "bad.example 9.9.9.9/32");
        EXPECT(&net, table);
    }
}

Test(decide, NET_3_private_addresses_open_by_allow_private_and_metadata_by_a_cidr_rule_alone)
{
    static struct spec_network net;
    static const struct row table[] = {
        {"10.0.0.1", 443, NETWORK_BY_EGRESS},         {"fc00::1", 443, NETWORK_BY_EGRESS},
        {"169.254.1.1", 443, NETWORK_BY_EGRESS},      {"100.64.1.1", 443, NETWORK_BY_EGRESS},
        {"169.254.169.254", 80, NETWORK_BY_RULE},     {"169.254.170.2", 80, NETWORK_BY_ADDRESS},
        {"64:ff9b::808:808", 80, NETWORK_BY_ADDRESS}, {"240.0.0.1", 80, NETWORK_BY_ADDRESS},
        {"127.0.0.1", 80, NETWORK_BY_ADDRESS}};
    make(&net, SPEC_EGRESS_ALLOW, "169.254.169.254/32:80", "");
    net.allow_private = 1;
    EXPECT(&net, table);
    /* The widest rule that there is opens no loopback, no pool, no multicast. */
    static const struct row wide[] = {
        {"10.0.0.1", 443, NETWORK_BY_RULE},        {"127.0.0.1", 443, NETWORK_BY_ADDRESS},
        {"0.0.0.0", 443, NETWORK_BY_ADDRESS},      {"224.0.0.1", 443, NETWORK_BY_ADDRESS},
        {"198.18.0.16", 443, NETWORK_BY_ADDRESS},  {"::1", 443, NETWORK_BY_ADDRESS},
        {"::", 443, NETWORK_BY_ADDRESS},           {"ff02::1", 443, NETWORK_BY_ADDRESS},
        {"fd00:6272::10", 443, NETWORK_BY_ADDRESS}};
    make(&net, SPEC_EGRESS_DENY, "0.0.0.0/0:* [::/0]:*", "");
    EXPECT(&net, wide);
}

Test(decide, NET_3_what_a_name_resolved_to_is_decided_again)
{
    static struct spec_network net;
    static const struct {
        const char *name, *address;
        uint16_t port;
        bool own;
        enum network_reason reason;
    } table[] = {
        {"a.example", "93.184.216.34", 443, false, NETWORK_BY_RULE},
        {"a.example", "2606:4700::1", 443, false, NETWORK_BY_RULE},
        {"a.example", "93.184.216.34", 443, true, NETWORK_BY_OWN_ADDRESS},
        {"a.example", "93.184.216.34", 80, false, NETWORK_BY_PORT},
        {"a.example", "10.0.0.1", 443, false, NETWORK_BY_ADDRESS},
        {"a.example", "10.7.0.1", 443, false, NETWORK_BY_RULE}, /* a cidr rule names it */
        {"a.example", "10.7.0.1", 443, true, NETWORK_BY_OWN_ADDRESS},
        {"a.example", "127.0.0.1", 443, true, NETWORK_BY_ADDRESS},
        {"a.example", "::1", 443, false, NETWORK_BY_ADDRESS},
        {"a.example", "169.254.169.254", 443, false, NETWORK_BY_ADDRESS},
        {"a.example", "64:ff9b::7f00:1", 443, false, NETWORK_BY_ADDRESS},
        {"a.example", "198.18.0.16", 443, false, NETWORK_BY_ADDRESS},
        {"a.example", "203.0.113.9", 443, false, NETWORK_BY_ADDRESS},
        {"a.example", "9.9.9.9", 443, false, NETWORK_BY_DENY_RULE},
        {"other.example", "93.184.216.34", 443, false, NETWORK_BY_NO_RULE},
        {NETWORK_HOST_DOOR, "127.0.0.1", 8080, true, NETWORK_BY_RULE},
        {NETWORK_HOST_DOOR, "93.184.216.34", 8080, true, NETWORK_BY_RULE},
        {NETWORK_HOST_DOOR, "93.184.216.34", 8080, false, NETWORK_BY_ADDRESS},
        {NETWORK_HOST_DOOR, "127.0.0.1", 443, true, NETWORK_BY_PORT},
    };
    make(&net, SPEC_EGRESS_DENY, "a.example 10.7.0.0/16 host.berth.internal:8080", "9.9.9.9/32");
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct network_address address;
        struct network_decision d;
        cr_assert(address_parse(table[i].address, &address) == 0);
        network_decide_resolved(&net, table[i].name, table[i].port, &address, table[i].own, &d);
        cr_expect(d.reason == table[i].reason && d.allowed == (d.reason == NETWORK_BY_RULE),
                  "%s at %s is %s", table[i].name, table[i].address, network_reason_name(d.reason));
    }
}

Test(decide, NET_7_the_hosts_door_is_named_by_a_rule_of_its_own)
{
    static struct spec_network net;
    struct network_decision d;
    make(&net, SPEC_EGRESS_ALLOW, "*.berth.internal:*", "");
    network_decide_host(&net, NETWORK_HOST_DOOR, 80, &d);
    cr_expect(!d.allowed && d.reason == NETWORK_BY_NO_RULE);
    network_decide_name(&net, NETWORK_HOST_DOOR, &d);
    cr_expect(!d.allowed);
    make(&net, SPEC_EGRESS_DENY, "host.berth.internal:80", "*.berth.internal");
    network_decide_host(&net, NETWORK_HOST_DOOR, 80, &d);
    cr_expect(!d.allowed && d.reason == NETWORK_BY_DENY_RULE);
}

Test(decide, a_name_is_answered_when_some_port_of_it_may_be_reached)
{
    static struct spec_network net;
    static const struct {
        const char *name;
        bool answered;
    } table[] = {{"a.example", true},      {"x.b.example", true},     {"bad.b.example", false},
                 {"half.b.example", true}, {"none.c.example", false}, {"some.c.example", true},
                 {"d.example", false}};
    make(&net, SPEC_EGRESS_DENY,
         "a.example *.b.example:* none.c.example:80 some.c.example:80 "
         "some.c.example:81",
         "bad.b.example half.b.example:80 *.c.example:80");
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct network_decision d;
        network_decide_name(&net, table[i].name, &d);
        cr_expect(d.allowed == table[i].answered, "%s: %s", table[i].name,
                  network_reason_name(d.reason));
    }
}

/* ---- what would allow it --------------------------------------------------------------------- */

static void expect_rule(const struct spec_network *net, const char *name, const char *address,
                        uint16_t port, const char *flag)
{
    struct network_address at = {0};
    struct network_decision d;
    struct buf line = {0}, says = {0};
    if (address)
        cr_assert(address_parse(address, &at) == 0);
    if (name && address)
        network_decide_resolved(net, name, port, &at, false, &d);
    else if (name)
        network_decide_host(net, name, port, &d);
    else
        network_decide_address(net, &at, port, false, &d);
    network_rule_to_add(net, name, address ? &at : NULL, port, &d, &line, &says);
    cr_expect_str_eq(buf_text(&says), flag);
    cr_expect((line.length > 0) == (says.length > 0));
    /* And it does. */
    if (says.length > 0) {
        static struct spec_network with;
        with = *net;
        put(with.allow, &with.allow_count, buf_text(&says) + strlen("--allow "), 443);
        if (name && address)
            network_decide_resolved(&with, name, port, &at, false, &d);
        else if (name)
            network_decide_host(&with, name, port, &d);
        else
            network_decide_address(&with, &at, port, false, &d);
        cr_expect(d.allowed, "%s does not allow it", buf_text(&says));
    }
    buf_fini(&line);
    buf_fini(&says);
}

Test(decide, NET_4_a_refusal_names_the_rule_that_allows_it)
{
    static struct spec_network net;
    make(&net, SPEC_EGRESS_DENY, "a.example", "bad.example");
    expect_rule(&net, "b.example", NULL, 443, "--allow b.example");
    expect_rule(&net, "b.example", NULL, 8443, "--allow b.example:8443");
    expect_rule(&net, "a.example", NULL, 80, "--allow a.example:80");
    expect_rule(&net, "a.example", "10.0.0.1", 443, "--allow 10.0.0.1/32");
    expect_rule(&net, "a.example", "169.254.169.254", 443, "--allow 169.254.169.254/32");
    expect_rule(&net, NULL, "8.8.8.8", 53, "--allow 8.8.8.8/32:53");
    expect_rule(&net, NULL, "2606:4700::1", 80, "--allow [2606:4700::1/128]:80");
    expect_rule(&net, NETWORK_HOST_DOOR, NULL, 80, "--allow host.berth.internal:80");
    expect_rule(&net, "bad.example", NULL, 443, "");
    expect_rule(&net, "a.example", "127.0.0.1", 443, "");
    expect_rule(&net, NULL, "127.0.0.1", 80, "");
    expect_rule(&net, NULL, "224.0.0.1", 80, "");
    expect_rule(&net, "a.example", NULL, 443, "");
}

/* ---- attack 42: names ------------------------------------------------------------------------ */

Test(host_name, NET_2_hostile_spellings_have_one_form_or_none)
{
    static const struct {
        const char *text, *canonical; /* NULL: refused */
    } table[] = {
        {"OK.Example.", "ok.example"},
        {"ok.example", "ok.example"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"ok.example..", NULL},
        {".ok.example", NULL},
        {"ok..example", NULL},
        {"127.1", NULL},
        {"0x7f.1", NULL},
        {"0X7F.1", NULL},
        {"2130706433", NULL},
        {"0177.0.0.1", NULL},
        {"127.0.0.1", NULL},
        {"127.0.0.1.", NULL},
        {"1.0x", NULL},
        {"a.1", NULL},
        {"[::ffff:10.0.0.1]", NULL},
        {"::ffff:10.0.0.1", NULL},
        {"::1", NULL},
        {"evil.example/ok.example", NULL},
        {"evil.example#ok.example", NULL},
        {"user@ok.example", NULL},
        {"ok.example:443", NULL},
        {"http://ok.example.org", NULL},
        {"ok.example\n", NULL},
        {"ok.exam ple", NULL},
        {"ok.example\t.com", NULL},
        {"\xd0\xbe\xd0\xba.example", NULL}, /* Cyrillic */
        {"ok\xe3\x80\x82"
         "example",
         NULL}, /* ideographic full stop */
        {"\xef\xbd\x8f"
         "k.example",
         NULL}, /* full width */
        {"\xc2\xad"
         "ok.example",
         NULL}, /* soft hyphen */
        {"ok%2eexample", NULL},
        {"-ok.example", NULL},
        {"ok-.example", NULL},
        {"*.example.org", NULL},
        {"*", NULL},
        {"", NULL},
        {".", NULL},
        {"localhost", NULL},
        {"LOCALHOST.", NULL},
        {"x.localhost", NULL},
        {"ok.example\\", NULL},
        {"ok.example\x7f", NULL},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        char host[SPEC_HOST_MAX] = "", why[HOST_WHY_MAX] = "";
        int r = host_canonical(table[i].text, false, host, why);
        cr_expect((r == 0) == (table[i].canonical != NULL), "\"%s\": %s", table[i].text, why);
        if (r == 0 && table[i].canonical)
            cr_expect_str_eq(host, table[i].canonical);
        cr_expect(r == 0 || why[0]);
    }
}

/* ---- properties over random rules --------------------------------------------------------------
 */

static uint32_t seed;

static uint32_t next(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % below;
}

static const char *const hosts[] = {"a.example", "b.a.example", "c.b.a.example", "b.example",
                                    "x.other"};
static const char *const patterns[] = {"a.example",  "*.a.example",     "*.b.a.example",
                                       "b.example",  "*.other.example", "x.other",
                                       "b.a.example"};
static const char *const cidrs[] = {
    "0.0.0.0/0",          "10.0.0.0/8", "10.1.0.0/16",    "8.8.8.0/24",
    "169.254.169.254/32", "::/0",       "2606:4700::/32", "fc00::/7"};
static const char *const addresses[] = {"10.1.2.3",     "10.2.2.3", "8.8.8.8",   "169.254.169.254",
                                        "2606:4700::1", "fd00::1",  "127.0.0.1", "224.0.0.1"};
static const uint16_t ports[] = {80, 443, 5432};
#define PICK(list) (list)[next(sizeof(list) / sizeof((list)[0]))]

static void random_rule(struct spec_rule *rule)
{
    char text[300], why[HOST_WHY_MAX];
    const char *name = next(2) ? PICK(patterns) : PICK(cidrs);
    snprintf(text, sizeof text, strchr(name, ':') ? "[%s]:%u" : "%s:%u", name, PICK(ports));
    if (next(4) == 0)
        snprintf(text, sizeof text, strchr(name, ':') ? "[%s]:*" : "%s:*", name);
    cr_assert(rule_parse_flag(text, 443, rule, why) == 0, "%s: %s", text, why);
}

static void random_network(struct spec_network *net)
{
    memset(net, 0, sizeof *net);
    net->egress = SPEC_EGRESS_DENY + next(3);
    net->allow_private = next(2) != 0;
    net->allow_count = next(5);
    net->deny_count = next(4);
    for (unsigned i = 0; i < net->allow_count; i++)
        random_rule(&net->allow[i]);
    for (unsigned i = 0; i < net->deny_count; i++)
        random_rule(&net->deny[i]);
}

static bool reaches(const struct spec_network *net, const char *what, uint16_t port)
{
    struct network_decision d;
    decide_text(net, what, port, &d);
    return d.allowed;
}

Test(decide, NET_2_a_denial_only_ever_narrows_and_a_rule_only_ever_widens)
{
    static struct spec_network net, denied, wider;
    for (seed = 1; seed % 4096 != 0; seed++) {
        uint32_t keep = seed;
        random_network(&net);
        denied = wider = net;
        random_rule(&denied.deny[denied.deny_count++]);
        random_rule(&wider.allow[wider.allow_count++]);
        const struct spec_rule *added = &denied.deny[denied.deny_count - 1];
        for (unsigned i = 0; i < sizeof hosts / sizeof hosts[0]; i++)
            for (unsigned p = 0; p < 3; p++) {
                bool before = reaches(&net, hosts[i], ports[p]);
                cr_assert(before || !reaches(&denied, hosts[i], ports[p]));
                cr_assert(!before || reaches(&wider, hosts[i], ports[p]));
                if (network_rule_port(added, ports[p]) && network_rule_host(added, hosts[i]))
                    cr_assert(!reaches(&denied, hosts[i], ports[p]));
            }
        for (unsigned i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
            for (unsigned p = 0; p < 3; p++) {
                struct network_address at;
                bool before = reaches(&net, addresses[i], ports[p]);
                cr_assert(before || !reaches(&denied, addresses[i], ports[p]));
                cr_assert(!before || reaches(&wider, addresses[i], ports[p]));
                cr_assert(address_parse(addresses[i], &at) == 0);
                if (network_rule_port(added, ports[p]) && network_rule_address(added, &at))
                    cr_assert(!reaches(&denied, addresses[i], ports[p]));
            }
        seed = keep;
    }
}

Test(decide, NET_3_a_resolved_address_never_reaches_more_than_its_name)
{
    static struct spec_network net;
    for (seed = 1; seed % 4096 != 0; seed++) {
        uint32_t keep = seed;
        random_network(&net);
        for (unsigned n = 0; n < sizeof hosts / sizeof hosts[0]; n++)
            for (unsigned i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
                for (unsigned p = 0; p < 3; p++) {
                    struct network_decision d, name, own;
                    struct network_address at;
                    cr_assert(address_parse(addresses[i], &at) == 0);
                    network_decide_host(&net, hosts[n], ports[p], &name);
                    network_decide_resolved(&net, hosts[n], ports[p], &at, false, &d);
                    network_decide_resolved(&net, hosts[n], ports[p], &at, true, &own);
                    cr_assert(!own.allowed && (name.allowed || !d.allowed));
                    enum address_class what = address_classify(&at);
                    if (what == ADDRESS_LOOPBACK || what == ADDRESS_MULTICAST)
                        cr_assert(!d.allowed);
                    network_decide_name(&net, hosts[n], &own);
                    cr_assert(own.allowed || !name.allowed);
                }
        seed = keep;
    }
}

Test(decide, cover_and_match_agree)
{
    for (unsigned w = 0; w < sizeof patterns / sizeof patterns[0]; w++)
        for (unsigned n = 0; n < sizeof patterns / sizeof patterns[0]; n++)
            for (unsigned h = 0; h < sizeof hosts / sizeof hosts[0]; h++) {
                bool wide = host_matches(patterns[w], hosts[h]);
                bool narrow = host_matches(patterns[n], hosts[h]);
                if (host_covers(patterns[w], patterns[n]))
                    cr_expect(wide || !narrow);
                if (wide && narrow)
                    cr_expect(host_overlaps(patterns[w], patterns[n]));
            }
}

Test(decide, rules_of_a_wrong_shape_are_refused)
{
    static struct spec_network good, bad;
    struct err err = {0};
    make(&good, SPEC_EGRESS_DENY, "a.example 10.0.0.0/8", "b.example");
#define REFUSED(change)                                    \
    do {                                                   \
        bad = good;                                        \
        change;                                            \
        cr_expect(network_check(&bad, &err) < 0, #change); \
    } while (0)
    REFUSED(bad.egress = 0);
    REFUSED(bad.egress = 4);
    REFUSED(bad.sni_match = 2);
    REFUSED(bad.allow_private = 2);
    REFUSED(bad.allow_count = SPEC_RULES_MAX + 1);
    REFUSED(bad.deny_count = 0xffffffff);
    REFUSED(bad.publish_count = SPEC_PUBLISH_MAX + 1);
    REFUSED(bad.publish_count = 1);
    REFUSED(bad.allow[0].host[0] = 'A');
    REFUSED(bad.allow[0].host[0] = 0);
    REFUSED(memset(bad.deny[0].host, 'a', SPEC_HOST_MAX));
    REFUSED(bad.allow[0].port_count = SPEC_PORTS_MAX + 1);
    REFUSED(bad.allow[0].ports[0] = 0);
    REFUSED(bad.allow[1].family = 5);
    REFUSED(bad.allow[1].prefix = 33);
    REFUSED(bad.allow[1].prefix = 4);
    REFUSED(bad.allow[1].host[0] = 'a');
    REFUSED(bad.allow[1].family = 0);
}
