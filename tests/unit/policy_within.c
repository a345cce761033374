/* This file tests the ceiling (POL-2): by one case for each row, and by properties over thousands
 * of policies from a seeded generator.
 */
#include "policy/model.h"
#include "policy/policy.h"
#include "policy/rule.h"
#include "tests/slower.h"
#include "tests/unit/policy_text.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool within(const char *policy_body, const char *ceiling_body, struct err *err)
{
    char text[2][2048];
    snprintf(text[0], sizeof text[0], "{\"version\": 1, %s}", policy_body);
    snprintf(text[1], sizeof text[1], "{\"version\": 1, %s}", ceiling_body);
    struct policy *policy = load(text[0]), *ceiling = load(text[1]);
    int r = policy_within(policy, ceiling, err);
    cr_assert(r == 0 || err->code == ERR_POLICY_REJECTED);
    policy_free(policy);
    policy_free(ceiling);
    return r == 0;
}

#define LIMIT(t) "\"limits\": {" t "}"
#define NET(t)   "\"network\": {" t "}"
#define FS(t)    "\"filesystem\": {" t "}"
#define PROC(t)  "\"process\": {" t "}"
#define HOST(h)  "{\"host\": \"" h "\"}"

/* For each row one pair that is within only in one direction. */
static const struct {
    enum schema_row_id row;
    const char *narrow, *wide;
} pairs[] = {
    {ROW_IMAGE, FS("\"image\": \"host\""), FS("\"image\": \"dir:/srv/x\"")},
    {ROW_READ_ONLY, FS("\"read_only\": [\"/opt/a/b\"]"), FS("\"read_only\": [\"/opt/a\"]")},
    {ROW_READ_ONLY, FS("\"read_only\": [\"/opt/a\"]"), FS("\"read_write\": [\"/opt/a\"]")},
    {ROW_READ_WRITE, FS("\"read_write\": []"), FS("\"read_write\": [\"/opt/a\"]")},
    {ROW_PROTECT, FS("\"protect\": [\"a\"]"), FS("\"protect\": [\"a/b\"]")},
    {ROW_SCRATCH, FS("\"scratch\": \"1GiB\""), FS("\"scratch\": \"2GiB\"")},
    {ROW_SCRATCH_INODES, FS("\"scratch_inodes\": 1000"), FS("\"scratch_inodes\": 1001")},
    {ROW_EGRESS, NET("\"egress\": \"deny\""), NET("\"egress\": \"public-only\"")},
    {ROW_EGRESS, NET("\"egress\": \"public-only\""), NET("\"egress\": \"allow\"")},
    {ROW_SNI, NET("\"sni\": \"match\""), NET("\"sni\": \"off\"")},
    {ROW_ALLOW, NET("\"allow\": [" HOST("a.b.org") "]"), NET("\"allow\": [" HOST("*.b.org") "]")},
    {ROW_ALLOW, NET("\"allow\": [" HOST("a.b.org") "]"), NET("\"egress\": \"public-only\"")},
    {ROW_ALLOW, NET("\"allow\": [{\"cidr\": \"10.1.0.0/16\"}]"),
     NET("\"allow\": [{\"cidr\": \"10.0.0.0/8\"}]")},
    {ROW_ALLOW, NET("\"allow\": [{\"host\": \"a.b\", \"ports\": [80]}]"),
     NET("\"allow\": [{\"host\": \"a.b\", \"ports\": \"*\"}]")},
    {ROW_DENY, NET("\"egress\": \"allow\", \"deny\": [" HOST("*.b.org") "]"),
     NET("\"egress\": \"allow\", \"deny\": [" HOST("a.b.org") "]")},
    {ROW_ALLOW_PRIVATE, NET("\"allow_private\": false"), NET("\"allow_private\": true")},
    {ROW_PUBLISH, NET("\"publish\": [80]"), NET("\"publish\": [80, 81]")},
    {ROW_USER, PROC("\"user\": 1234"), PROC("\"user\": \"root\"")},
    {ROW_SECCOMP, PROC("\"seccomp\": \"strict\""), PROC("\"seccomp\": \"default\"")},
    {ROW_SECCOMP, PROC("\"seccomp\": \"default\""), PROC("\"seccomp\": \"debug\"")},
    {ROW_SECCOMP_ALLOW, PROC("\"seccomp_allow\": []"),
     PROC("\"seccomp_allow\": [\"userfaultfd\"]")},
    {ROW_MEMORY, LIMIT("\"memory\": \"1GiB\""), LIMIT("\"memory\": \"unlimited\"")},
    {ROW_CPUS, LIMIT("\"cpus\": 0.5"), LIMIT("\"cpus\": \"unlimited\"")},
    {ROW_PIDS, LIMIT("\"pids\": 10"), LIMIT("\"pids\": 11")},
    {ROW_OPEN_FILES, LIMIT("\"open_files\": 100"), LIMIT("\"open_files\": 101")},
    {ROW_EXEC_TIMEOUT, LIMIT("\"exec_timeout\": \"1m\""), LIMIT("\"exec_timeout\": \"61s\"")},
    {ROW_OUTPUT, LIMIT("\"output\": \"1MiB\""), LIMIT("\"output\": \"2MiB\"")},
    {ROW_REQUIRES, "\"requires\": [\"gpu\"]", "\"requires\": []"},
    {ROW_PROTECT, FS("\"protect\": [\"a\"]"), FS("\"protect\": [\"~/a\"]")},
    {ROW_PROTECT, FS("\"protect\": [\"a\"]"), FS("\"protect\": [\"~/a/b\"]")},
    {ROW_PROTECT, FS("\"protect\": [\"~/a\"]"), FS("\"protect\": [\"~/a/b\"]")},
    {ROW_PROTECT, FS("\"protect\": [\"~/a\", \"a/b\"]"), FS("\"protect\": [\"~/a\"]")},
};

Test(within, each_row_is_compared_in_its_own_direction)
{
    bool seen[ROW_COUNT] = {false};
    for (unsigned i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct err err = {0};
        const char *key = schema_rows[pairs[i].row].key;
        seen[pairs[i].row] = true;
        if (pairs[i].row != ROW_IMAGE)
            cr_expect(within(pairs[i].narrow, pairs[i].wide, &err), "%s: %s", key, err.detail);
        cr_expect(!within(pairs[i].wide, pairs[i].narrow, &err), "%s: %s within %s", key,
                  pairs[i].wide, pairs[i].narrow);
        cr_expect(strcmp(err.subject, key) == 0 || i == 2 || i == 11, "%s: told %s", key,
                  err.subject);
        cr_expect(strstr(err.detail, "eiling") && strstr(err.detail, "t:1:"), "%s", err.detail);
    }
    for (int i = 0; i < ROW_COUNT; i++)
        cr_expect(seen[i] || schema_rows[i].within == WITHIN_META ||
                      schema_rows[i].within == WITHIN_FREE,
                  "%s has no case", schema_rows[i].key);
}

/* A literal address needs a cidr rule of the ceiling: public-only is about names. */
Test(within, an_address_is_not_covered_by_egress)
{
    struct err err = {0};
    cr_expect(!within(NET("\"allow\": [{\"cidr\": \"10.0.0.0/8\"}]"), NET("\"egress\": \"allow\""),
                      &err));
    cr_expect(strcmp(err.subject, "network.allow") == 0, "%s", err.subject);
}

/* The ceiling's "X" holds in every directory, so what holds in homes only is less. */
Test(within, a_path_for_homes_is_kept_by_both_forms_and_keeps_only_its_own)
{
    static const struct {
        const char *policy, *ceiling;
        bool kept;
    } rows[] = {
        {"\"~/x\"", "\"~/x\"", true},      {"\"x\"", "\"~/x\"", true},
        {"\"~/x\"", "\"x\"", false},       {"\"x\", \"~/x\"", "\"x\"", true},
        {"\"~/x\", \"y\"", "\"y\"", true}, {"\"~/x/\"", "\"~/x/y\"", true},
        {"\"x\"", "\"~/x/y\"", true},      {"\"~/x\"", "\"x/y\"", false},
        {"\"~/x/y\"", "\"~/x\"", false},   {"\"~/xy\"", "\"~/x\"", false},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        char policy[128], ceiling[128];
        struct err err = {0};
        snprintf(policy, sizeof policy, FS("\"protect\": [%s]"), rows[i].policy);
        snprintf(ceiling, sizeof ceiling, FS("\"protect\": [%s]"), rows[i].ceiling);
        cr_expect(within(policy, ceiling, &err) == rows[i].kept, "%s within %s", policy, ceiling);
    }
    struct err err = {0};
    cr_expect(!within(FS("\"protect\": []"), FS("\"protect\": [\"~/zz/\"]"), &err));
    cr_expect(strstr(err.detail, "\"~/zz/\""), "as it was written: %s", err.detail);
}

Test(within, free_rows_never_matter)
{
    struct err err = {0};
    cr_expect(within(PROC("\"env\": {\"A\": \"1\"}, \"explain_syscalls\": true"),
                     PROC("\"env\": {}"), &err));
}

Test(within, what_cannot_be_reached_need_not_be_denied)
{
    struct err err = {0};
    const char *ceiling = NET("\"egress\": \"public-only\", \"deny\": [" HOST("bad.org") "]");
    cr_expect(within(NET("\"egress\": \"deny\""), ceiling, &err), "%s", err.detail);
    cr_expect(within(NET("\"allow\": [" HOST("good.org") "]"), ceiling, &err), "%s", err.detail);
    cr_expect(!within(NET("\"allow\": [" HOST("bad.org") "]"), ceiling, &err));
    cr_expect(!within(NET("\"egress\": \"public-only\""), ceiling, &err));
}

/* ---- properties ---- */

static uint64_t state;

static unsigned dice(unsigned sides)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)(state >> 33) % sides;
}

static const char *pick(const char *const *words)
{
    unsigned n = 0;
    while (words[n])
        n++;
    return words[dice(n)];
}

static void add_list(struct buf *out, const char *key, const char *const *words)
{
    bool first = true;
    buf_printf(out, "\"%s\": [", key);
    for (; *words; words++) {
        if (dice(3) != 0)
            continue;
        buf_printf(out, "%s%s", first ? "" : ", ", *words);
        first = false;
    }
    buf_putc(out, ']');
}

/* Small domains, so that two random policies are related often enough. */
static void make_text(struct buf *out)
{
    static const char *const mounts[] = {"\"/o\"", "\"/o/a\"", "\"/o/a/b\"", "\"/s/c\"", NULL};
    static const char *const writes[] = {"{\"source\": \"/o\", \"target\": \"/1\"}",
                                         "{\"source\": \"/o/a\", \"target\": \"/2\"}", NULL};
    static const char *const protect[] = {"\"p\"",     "\"p/q\"", "\"r\"", "\"~/p\"",
                                          "\"~/p/q\"", "\"~/r\"", NULL};
    static const char *const rules[] = {"{\"host\": \"a.b.c\"}",
                                        "{\"host\": \"*.b.c\", \"ports\": [443, 80]}",
                                        "{\"host\": \"*.b.c\", \"ports\": \"*\"}",
                                        "{\"host\": \"x.y\", \"ports\": [80]}",
                                        "{\"cidr\": \"10.0.0.0/8\"}",
                                        "{\"cidr\": \"10.1.0.0/16\", \"ports\": \"*\"}",
                                        "{\"cidr\": \"fd00::/8\", \"ports\": [80, 443]}",
                                        NULL};
    static const char *const egress[] = {"deny", "deny", "public-only", "allow", NULL};
    static const char *const ports[] = {"80", "81", NULL};
    static const char *const users[] = {"\"user\"", "\"root\"", "7", NULL};
    static const char *const profiles[] = {"strict", "default", "debug", NULL};
    static const char *const calls[] = {"\"userfaultfd\"", NULL};
    static const char *const sizes[] = {"\"1GiB\"", "\"2GiB\"", "\"unlimited\"", NULL};
    static const char *const counts[] = {"100", "200", "\"unlimited\"", NULL};
    static const char *const needs[] = {"\"gpu\"", "\"limits.cpu\"", NULL};
    buf_puts(out, "{\"version\": 1, \"extends\": \"balanced\", \"filesystem\": {");
    add_list(out, "read_only", mounts);
    buf_puts(out, ", ");
    add_list(out, "read_write", writes);
    buf_puts(out, ", ");
    add_list(out, "protect", protect);
    buf_printf(out, ", \"scratch_inodes\": %u}, \"network\": {\"egress\": \"%s\", ", 1000 + dice(2),
               pick(egress));
    add_list(out, "allow", rules);
    buf_puts(out, ", ");
    add_list(out, "deny", rules);
    buf_puts(out, ", ");
    add_list(out, "publish", ports);
    buf_printf(out, ", \"sni\": \"%s\", \"allow_private\": %s}, \"process\": {\"user\": %s, ",
               dice(2) ? "match" : "off", dice(2) ? "true" : "false", pick(users));
    add_list(out, "seccomp_allow", calls);
    buf_printf(out, ", \"seccomp\": \"%s\"}, \"limits\": {\"memory\": %s, \"pids\": %s}, ",
               pick(profiles), pick(sizes), pick(counts));
    add_list(out, "requires", needs);
    buf_putc(out, '}');
}

static struct policy *make(void)
{
    struct buf text = {0};
    make_text(&text);
    struct policy *policy = load(text.data);
    buf_fini(&text);
    return policy;
}

/* One value made narrower: what is left must be within what was. */
static bool narrow(struct policy *policy)
{
    int i = (int)dice(ROW_COUNT);
    const struct schema_row *row = &schema_rows[i];
    struct policy_value *value = &policy->values[i];
    switch (row->within) {
    case WITHIN_AT_MOST:
        value->number = value->number ? value->number - (value->number > row->min) : row->max;
        return true;
    case WITHIN_RANK:
    case WITHIN_FALSE:
        value->number -= value->number > 0;
        return true;
    case WITHIN_USER:
        value->number = SPEC_UID_USER;
        return true;
    case WITHIN_READS:
    case WITHIN_WRITES:
    case WITHIN_SUBSET:
    case WITHIN_RULES:
        /* One entry less. */
        if (!value->first)
            return false;
        value->first = value->first->next;
        return true;
    case WITHIN_KEEPS:
    case WITHIN_DENIES: {
        /* One entry more: a copy of another policy's. */
        struct policy *other = make();
        struct policy_value *from = &other->values[i];
        bool added = false;
        struct policy_value layer = {.origin = value->origin, .set = true};
        struct err err = {0};
        if (from->last) {
            struct policy_item *item = arena_alloc(&policy->arena, sizeof *item);
            *item = *from->last;
            item->text = arena_copy(&policy->arena, item->text, strlen(item->text));
            item->origin.name = "other";
            if (item->rule) {
                struct spec_rule *rule = arena_alloc(&policy->arena, sizeof *rule);
                *rule = *item->rule;
                item->rule = rule;
            }
            value_append(&layer, item);
            added = policy_merge(policy, (enum schema_row_id)i, &layer, true, &err) == 0;
        }
        policy_free(other);
        return added;
    }
    default:
        return false;
    }
}

Test(within, is_reflexive_over_random_policies)
{
    state = 0x9e3779b97f4a7c15;
    for (int i = 0; i < 2000; i++) {
        struct policy *p = make();
        struct err err = {0};
        cr_assert(policy_within(p, p, &err) == 0, "%s: %s", err.subject, err.detail);
        policy_free(p);
    }
}

enum { CROWD = 160, STEPS = 3 };

/* A crowd of related policies: random ones, and each one narrowed several times. */
static void make_crowd(struct policy *crowd[CROWD])
{
    for (int i = 0; i < CROWD; i++) {
        uint64_t seed = state;
        struct policy *p = make();
        uint64_t next = state;
        crowd[i] = p;
        /* The same text once more, narrowed step by step. */
        for (int k = 1; k <= STEPS && i + 1 < CROWD; k++) {
            state = seed;
            struct policy *q = make();
            state = next + (uint64_t)k;
            for (int n = 0; n < 4 * k; n++)
                narrow(q);
            crowd[++i] = q;
        }
        state = next;
    }
}

Test(within, is_transitive_over_random_policies, .timeout = 60)
{
    static struct policy *crowd[CROWD];
    static bool table[CROWD][CROWD];
    unsigned long chains = 0, pairs_within = 0;
    for (uint64_t round = 1; round <= 4; round++) {
        state = 0x2545f4914f6cdd1d * round;
        make_crowd(crowd);
        for (int a = 0; a < CROWD; a++)
            for (int b = 0; b < CROWD; b++) {
                table[a][b] = policy_within(crowd[a], crowd[b], NULL) == 0;
                pairs_within += table[a][b];
            }
        for (int a = 0; a < CROWD; a++)
            for (int b = 0; b < CROWD; b++)
                for (int c = 0; table[a][b] && c < CROWD; c++) {
                    if (!table[b][c])
                        continue;
                    chains++;
                    cr_assert(table[a][c], "%d in %d in %d", a, b, c);
                }
        for (int a = 0; a < CROWD; a++)
            policy_free(crowd[a]);
    }
    /* The test bites only when there are chains of different policies. */
    cr_assert(pairs_within > 5 * CROWD && chains > 1000, "%lu pairs, %lu chains", pairs_within,
              chains);
}

Test(within, is_monotone_narrowing_stays_within, .timeout = 60)
{
    state = 0xda942042e4dd58b5;
    unsigned narrowed = 0;
    for (int i = 0; i < 2000; i++) {
        uint64_t seed = state;
        struct policy *wide = make();
        state = seed;
        struct policy *small = make();
        for (int k = 0; k < 3; k++)
            narrowed += narrow(small);
        struct err err = {0};
        cr_assert(policy_within(small, wide, &err) == 0, "%s: %s", err.subject, err.detail);
        policy_free(small);
        policy_free(wide);
    }
    cr_assert(narrowed > 2000, "%u", narrowed);
}

/* ---- network rules, port by port: the definition, slow --------------------------------------- */

static bool at(const struct spec_rule *rule, unsigned port)
{
    return port == 0 ? rule->port_count == 0 : rule_has_port(rule, (uint16_t)port);
}

static bool covered(const struct policy *p, enum schema_row_id row, const struct spec_rule *rule,
                    unsigned port)
{
    for (const struct policy_item *i = p->values[row].first; i; i = i->next)
        if (at(i->rule, port) && rule_names_cover(i->rule, rule))
            return true;
    return false;
}

static bool reachable(const struct policy *p, const struct spec_rule *rule, unsigned port)
{
    bool yes = p->values[ROW_EGRESS].number > 0;
    for (const struct policy_item *i = p->values[ROW_ALLOW].first; i && !yes; i = i->next)
        yes = at(i->rule, port) && rule_names_overlap(i->rule, rule);
    return yes;
}

static bool by_definition(const struct policy *p, const struct policy *ceiling)
{
    static const unsigned ports[] = {0, 80, 81, 443, 8080};
    for (unsigned k = 0; k < sizeof ports / sizeof *ports; k++) {
        for (const struct policy_item *i = p->values[ROW_ALLOW].first; i; i = i->next)
            if (at(i->rule, ports[k]) &&
                !(i->rule->family == 0 && ceiling->values[ROW_EGRESS].number > 0) &&
                !covered(ceiling, ROW_ALLOW, i->rule, ports[k]))
                return false;
        for (const struct policy_item *i = ceiling->values[ROW_DENY].first; i; i = i->next)
            if (at(i->rule, ports[k]) && reachable(p, i->rule, ports[k]) &&
                !covered(p, ROW_DENY, i->rule, ports[k]))
                return false;
    }
    return true;
}

static struct policy *make_rules(const char *egress)
{
    static const char *const names[] = {"\"host\": \"a.b.c\"", "\"host\": \"*.b.c\"",
                                        "\"host\": \"x.y\"", "\"cidr\": \"10.0.0.0/8\"",
                                        "\"cidr\": \"10.1.0.0/16\""};
    static const char *const ports[] = {"\"*\"", "[80]", "[80, 443]", "[81, 443, 8080]"};
    struct buf text = {0};
    buf_printf(&text, "{\"version\": 1, \"network\": {\"egress\": \"%s\"", egress);
    for (unsigned list = 0; list < 2; list++) {
        const char *comma = "";
        buf_printf(&text, ", \"%s\": [", list ? "deny" : "allow");
        for (unsigned n = 0; n < 5; n++)
            for (unsigned p = 0; p < 4; p++)
                if (dice(6) == 0) {
                    buf_printf(&text, "%s{%s, \"ports\": %s}", comma, names[n], ports[p]);
                    comma = ", ";
                }
        buf_putc(&text, ']');
    }
    buf_puts(&text, "}}");
    struct policy *policy = load(text.data);
    buf_fini(&text);
    return policy;
}

Test(within, network_rules_are_compared_as_their_definition_says, .timeout = 60)
{
    static const char *const egress[] = {"deny", "public-only"};
    unsigned yes = 0, no = 0;
    state = 0x2545f4914f6cdd1d;
    for (int i = 0; i < 6000; i++) {
        const char *mode = egress[i % 2];
        struct policy *p = make_rules(mode), *ceiling = make_rules(mode);
        /* Often enough one that is within: what the ceiling denies is denied. */
        if (dice(2))
            p->values[ROW_DENY] = ceiling->values[ROW_DENY];
        struct err err = {0};
        bool is = policy_within(p, ceiling, &err) == 0;
        cr_assert(is == by_definition(p, ceiling), "policy %d: %s: %s", i, err.subject, err.detail);
        yes += is;
        no += !is;
        policy_free(p);
        policy_free(ceiling);
    }
    cr_assert(yes > 300 && no > 300, "%u are, %u are not", yes, no);
}

Test(within, NET_7_the_hosts_own_name_is_opened_by_a_rule_of_the_ceiling_that_names_it_alone)
{
    static const char mine[] = "{\"version\": 1, \"network\": {\"allow\": [{\"host\": "
                               "\"host.berth.internal\", \"ports\": [5432]}]}}";
    static const struct {
        const char *ceiling;
        bool is;
    } rows[] = {
        {"{\"version\": 1, \"network\": {\"egress\": \"allow\"}}", false},
        {"{\"version\": 1, \"network\": {\"allow\": [{\"host\": \"*.berth.internal\", \"ports\": "
         "\"*\"}]}}",
         false},
        {"{\"version\": 1, \"network\": {\"allow\": [{\"host\": \"host.berth.internal\", "
         "\"ports\": [80]}]}}",
         false},
        {mine, true},
    };
    struct policy *p = load(mine);
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct policy *ceiling = load(rows[i].ceiling);
        struct err err = {0};
        cr_expect((policy_within(p, ceiling, &err) == 0) == rows[i].is, "%s: %s", rows[i].ceiling,
                  err.detail);
        policy_free(ceiling);
    }
    policy_free(p);
}

/* A policy is a client's: as many rules and ports as there can be cost no time. */
Test(within, as_many_rules_as_there_can_be_are_compared_at_once)
{
    struct buf text = {0};
    buf_puts(&text, "{\"version\": 1, \"network\": {\"allow\": [");
    for (unsigned list = 0; list < 2; list++) {
        for (unsigned i = 0; i < SPEC_RULES_MAX; i++) {
            buf_printf(&text, "%s{\"host\": \"*.n%u.example.org\", \"ports\": [", i ? ", " : "", i);
            for (unsigned p = 0; p < SPEC_PORTS_MAX; p++)
                buf_printf(&text, "%s%u", p ? ", " : "", 1000 + i * SPEC_PORTS_MAX + p);
            buf_puts(&text, "]}");
        }
        buf_puts(&text, list ? "]}}" : "], \"deny\": [");
    }
    struct policy *p = load(text.data);
    struct err err = {0};
    clock_t began = clock();
    cr_assert(policy_within(p, p, &err) == 0, "%s: %s", err.subject, err.detail);
    cr_assert_lt(clock() - began, 4 * CLOCKS_PER_SEC * (clock_t)test_slower());
    policy_free(p);
    /* One more is told with the most. */
    buf_fini(&text);
    buf_puts(&text, "{\"version\": 1, \"network\": {\"allow\": [");
    for (unsigned i = 0; i <= SPEC_RULES_MAX; i++)
        buf_printf(&text, "%s{\"host\": \"n%u.example.org\"}", i ? ", " : "", i);
    buf_puts(&text, "]}}");
    cr_assert_lt(policy_load_text(&p, "t", text.data, text.length, &err), 0);
    cr_assert(strstr(err.detail, "256 are the most"), "%s", err.detail);
    buf_fini(&text);
}
