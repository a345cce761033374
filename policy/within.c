/* This file compares a policy with a ceiling (POL-2, authority); it never changes either.
 *
 * policy_within() is one walk over the schema: each row names its rule, each rule is one function
 * here. The relation is reflexive and transitive. Network rules are compared port by port, as sets:
 * the ports that any rule names, and one that no rule names and that stands for all the others.
 * That makes the rules for `allow` and `deny` pointwise statements, and so transitive:
 *
 *   allow  at each port p: a rule of the policy at p is covered by one rule of the ceiling at p,
 * or, for names but the host's own, by the ceiling's egress. deny   at each port p: a denial of the
 * ceiling at p that the policy could reach at p is covered by one denial of the policy at p. What a
 * policy can't reach it need not deny.
 */
#include "policy/model.h"
#include "policy/rule.h"
#include "runtime/plan/network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { PORT_OTHER = 0 }; /* not a port of TCP: only a rule for all ports has it */

/* The entry of the policy or of the ceiling that breaks the rule; NULL for a scalar. */
struct breach {
    const struct policy_item *item;
    bool missing; /* it is the ceiling's, and the policy lacks it */
};

struct comparison {
    const struct schema_row *row;
    const struct policy *policy, *ceiling;
    const struct policy_value *mine, *its;
};

static bool at_most(const struct comparison *c, struct breach *ret)
{
    (void)ret;
    if (c->its->number == 0 && c->row->unlimited)
        return true;
    if (c->mine->number == 0 && c->row->unlimited)
        return false;
    return c->mine->number <= c->its->number;
}

static bool rank(const struct comparison *c, struct breach *ret)
{
    (void)ret;
    return c->mine->number <= c->its->number; /* places in the list of choices */
}

static bool same_text(const struct comparison *c, struct breach *ret)
{
    (void)ret;
    return strcmp(c->mine->text, c->its->text) == 0;
}

static bool no_more_root(const struct comparison *c, struct breach *ret)
{
    (void)ret;
    return c->mine->number != SPEC_UID_ROOT || c->its->number == SPEC_UID_ROOT;
}

static bool is_beneath(const char *path, const char *top)
{
    size_t n = strlen(top);
    if (n == 1 && top[0] == '/')
        return true;
    return strncmp(path, top, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static bool has_above(const struct policy_value *list, const char *path)
{
    for (const struct policy_item *i = list->first; i; i = i->next)
        if (is_beneath(path, i->text))
            return true;
    return false;
}

/* Where a mount stands inside is the session's own affair; what it shows of the host is not. */
static bool reads(const struct comparison *c, struct breach *ret)
{
    for (const struct policy_item *i = c->mine->first; i; i = i->next) {
        ret->item = i;
        if (!has_above(c->its, i->text) && !has_above(&c->ceiling->values[ROW_READ_WRITE], i->text))
            return false;
    }
    return true;
}

static bool writes(const struct comparison *c, struct breach *ret)
{
    for (const struct policy_item *i = c->mine->first; i; i = i->next) {
        ret->item = i;
        if (!has_above(c->its, i->text))
            return false;
    }
    return true;
}

/* What is held always is held in homes too. */
static bool keeps_protected(const struct policy_item *mine, const struct policy_item *its)
{
    return (its->home || !mine->home) &&
           is_beneath(item_protected_path(its), item_protected_path(mine));
}

static bool keeps(const struct comparison *c, struct breach *ret)
{
    ret->missing = true;
    for (const struct policy_item *i = c->its->first; i; i = i->next) {
        ret->item = i;
        bool found = false;
        for (const struct policy_item *k = c->mine->first; k && !found; k = k->next)
            found = c->row->type == TYPE_PROTECT ? keeps_protected(k, i)
                                                 : strcmp(i->text, k->text) == 0;
        if (!found)
            return false;
    }
    return true;
}

static bool subset(const struct comparison *c, struct breach *ret)
{
    for (const struct policy_item *i = c->mine->first; i; i = i->next) {
        ret->item = i;
        bool found = false;
        for (const struct policy_item *k = c->its->first; k && !found; k = k->next)
            found = item_same(c->row, i, k);
        if (!found)
            return false;
    }
    return true;
}

/* ---- network rules ------------------------------------------------------------------------------
 */

/* The ports at which something holds. */
struct ports {
    bool all; /* also the other port */
    uint8_t bits[(UINT16_MAX + 1) / 8];
};

static void add_port(struct ports *ports, uint16_t port)
{
    ports->bits[port / 8] |= (uint8_t)(1u << port % 8);
}

static bool has_port(const struct ports *ports, unsigned port)
{
    return ports->all || (port != PORT_OTHER && (ports->bits[port / 8] >> port % 8 & 1));
}

/* The host's loopback, which no wildcard and no mode opens (NET-7). */
static bool is_door(const struct spec_rule *rule)
{
    return rule->family == 0 && strcmp(rule->host, NETWORK_HOST_DOOR) == 0;
}

/* Where one of `rules` covers the names of `rule`. A list of 256 rules is walked once for each of
 * another 256: a policy comes from a client. */
static void where_covered(const struct policy_value *rules, const struct spec_rule *rule,
                          bool by_name, struct ports *ret)
{
    memset(ret, 0, sizeof *ret);
    for (const struct policy_item *i = rules->first; i && !ret->all; i = i->next) {
        if (!rule_names_cover(i->rule, rule) || (by_name && !is_door(i->rule)))
            continue;
        ret->all = i->rule->port_count == 0;
        for (unsigned p = 0; p < i->rule->port_count; p++)
            add_port(ret, i->rule->ports[p]);
    }
}

static bool reaches_names(const struct policy *policy)
{
    return policy->values[ROW_EGRESS].number > 0; /* not deny */
}

/* At every port of the rule: at the other one, if it has all. Whatever has that one has all. */
static bool has_ports_of(const struct ports *ports, const struct spec_rule *rule)
{
    if (rule->port_count == 0)
        return has_port(ports, PORT_OTHER);
    for (unsigned p = 0; p < rule->port_count; p++)
        if (!has_port(ports, rule->ports[p]))
            return false;
    return true;
}

/* At every port that both rules have. */
static bool has_shared_ports(const struct ports *ports, const struct spec_rule *one,
                             const struct spec_rule *other)
{
    if (one->port_count == 0)
        return has_ports_of(ports, other);
    if (other->port_count == 0)
        return has_ports_of(ports, one);
    for (unsigned p = 0; p < one->port_count; p++)
        if (rule_has_port(other, one->ports[p]) && !has_port(ports, one->ports[p]))
            return false;
    return true;
}

static bool rules(const struct comparison *c, struct breach *ret)
{
    struct ports covered;
    for (const struct policy_item *i = c->mine->first; i; i = i->next) {
        ret->item = i;
        bool door = is_door(i->rule);
        if (i->rule->family == 0 && !door && reaches_names(c->ceiling))
            continue;
        where_covered(&c->ceiling->values[ROW_ALLOW], i->rule, door, &covered);
        if (!has_ports_of(&covered, i->rule))
            return false;
    }
    return true;
}

static bool denied(const struct comparison *c, const struct spec_rule *rule)
{
    struct ports covered;
    where_covered(&c->policy->values[ROW_DENY], rule, false, &covered);
    if (reaches_names(c->policy))
        return has_ports_of(&covered, rule);
    for (const struct policy_item *i = c->policy->values[ROW_ALLOW].first; i; i = i->next)
        if (rule_names_overlap(i->rule, rule) && !has_shared_ports(&covered, i->rule, rule))
            return false;
    return true;
}

static bool denies(const struct comparison *c, struct breach *ret)
{
    ret->missing = true;
    for (const struct policy_item *i = c->its->first; i; i = i->next) {
        ret->item = i;
        if (!denied(c, i->rule))
            return false;
    }
    return true;
}

static bool (*const rules_of[WITHIN_COUNT])(const struct comparison *, struct breach *) = {
    [WITHIN_AT_MOST] = at_most, [WITHIN_RANK] = rank,         [WITHIN_FALSE] = rank,
    [WITHIN_SAME] = same_text,  [WITHIN_USER] = no_more_root, [WITHIN_READS] = reads,
    [WITHIN_WRITES] = writes,   [WITHIN_KEEPS] = keeps,       [WITHIN_RULES] = rules,
    [WITHIN_DENIES] = denies,   [WITHIN_SUBSET] = subset,
};

bool policy_scalar_within(enum schema_row_id id, const struct policy_value *mine,
                          const struct policy *ceiling)
{
    const struct comparison c = {
        .row = &schema_rows[id], .ceiling = ceiling, .mine = mine, .its = &ceiling->values[id]};
    struct breach breach = {0};
    return rules_of[c.row->within](&c, &breach);
}

/* ---- the answer ---- */

static int reject(const struct comparison *c, const struct breach *breach, struct err *err)
{
    _cleanup_buf_ struct buf mine = {0}, its = {0}, mine_at = {0}, its_at = {0};
    origin_print(breach->item && !breach->missing ? &breach->item->origin : &c->mine->origin,
                 &mine_at);
    origin_print(breach->item && breach->missing ? &breach->item->origin : &c->its->origin,
                 &its_at);
    if (breach->item)
        item_print(c->row, breach->item, breach->missing ? &its : &mine);
    else
        value_print(c->row, c->mine, &mine);
    if (!breach->missing)
        value_print(c->row, c->its, &its);
    if (breach->missing)
        return err_set(err, ERR_POLICY_REJECTED, 0, "policy", c->row->key,
                       "The ceiling has \"%.200s\" (%.200s) and the policy (%.200s) does not. Add "
                       "it.",
                       buf_text(&its), buf_text(&its_at), buf_text(&mine_at));
    return err_set(err, ERR_POLICY_REJECTED, 0, "policy", c->row->key,
                   "The policy says %.200s (%.200s), and the ceiling %.200s (%.200s). Ask for what "
                   "is within the ceiling, or have it raised.",
                   buf_text(&mine), buf_text(&mine_at), buf_text(&its), buf_text(&its_at));
}

static int within(const struct policy *policy, const struct policy *ceiling, const char *part,
                  struct err *err)
{
    for (int i = 0; i < ROW_COUNT; i++) {
        const struct comparison c = {.row = &schema_rows[i],
                                     .policy = policy,
                                     .ceiling = ceiling,
                                     .mine = &policy->values[i],
                                     .its = &ceiling->values[i]};
        struct breach breach = {0};
        if (c.row->within == WITHIN_META || c.row->within == WITHIN_FREE ||
            strncmp(c.row->key, part, strlen(part)) != 0)
            continue;
        if (!rules_of[c.row->within](&c, &breach))
            return reject(&c, &breach, err);
    }
    return 0;
}

int policy_within(const struct policy *policy, const struct policy *ceiling, struct err *err)
{
    return within(policy, ceiling, "", err);
}

int policy_network_within(const struct policy *policy, const struct policy *ceiling,
                          struct err *err)
{
    return within(policy, ceiling, "network.", err);
}
