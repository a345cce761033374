/* This file compares a policy with a ceiling (POL-2, authority); it never changes either.
 *
 * policy_within() is one walk over the schema: each row names its rule, each rule is one function
 * here. The relation is reflexive and transitive. Network rules are compared port by port, as sets:
 * the ports that any rule names, and one that no rule names and that stands for all the others.
 * That makes the rules for `allow` and `deny` pointwise statements, and so transitive:
 *
 *   allow  at each port p: a rule of the policy at p is covered by one rule of the ceiling at p,
 * or, for names, by the ceiling's egress. deny   at each port p: a denial of the ceiling at p that
 * the policy could reach at p is covered by one denial of the policy at p. What a policy can't
 * reach it need not deny.
 */
#include "policy/model.h"
#include "policy/rule.h"

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

static bool has_port(const struct spec_rule *rule, unsigned port)
{
    return port == PORT_OTHER ? rule->port_count == 0 : rule_has_port(rule, (uint16_t)port);
}

static bool covered_at(const struct policy_value *rules, const struct spec_rule *rule,
                       unsigned port)
{
    for (const struct policy_item *i = rules->first; i; i = i->next)
        if (has_port(i->rule, port) && rule_names_cover(i->rule, rule))
            return true;
    return false;
}

static bool reaches_names(const struct policy *policy)
{
    return policy->values[ROW_EGRESS].number > 0; /* not deny */
}

static bool could_reach_at(const struct policy *policy, const struct spec_rule *rule, unsigned port)
{
    if (reaches_names(policy))
        return true;
    for (const struct policy_item *i = policy->values[ROW_ALLOW].first; i; i = i->next)
        if (has_port(i->rule, port) && rule_names_overlap(i->rule, rule))
            return true;
    return false;
}

/* Calls `holds` for the other port and for every port that some rule of either policy names. */
static bool for_each_port(const struct comparison *c, const struct spec_rule *rule,
                          bool (*holds)(const struct comparison *, const struct spec_rule *,
                                        unsigned))
{
    const struct policy_value *lists[] = {
        &c->policy->values[ROW_ALLOW], &c->policy->values[ROW_DENY], &c->ceiling->values[ROW_ALLOW],
        &c->ceiling->values[ROW_DENY]};
    if (has_port(rule, PORT_OTHER) && !holds(c, rule, PORT_OTHER))
        return false;
    for (unsigned l = 0; l < sizeof lists / sizeof *lists; l++)
        for (const struct policy_item *i = lists[l]->first; i; i = i->next)
            for (unsigned p = 0; p < i->rule->port_count; p++)
                if (has_port(rule, i->rule->ports[p]) && !holds(c, rule, i->rule->ports[p]))
                    return false;
    return true;
}

static bool allowed_by_ceiling(const struct comparison *c, const struct spec_rule *rule,
                               unsigned port)
{
    if (rule->family == 0 && reaches_names(c->ceiling))
        return true;
    return covered_at(&c->ceiling->values[ROW_ALLOW], rule, port);
}

static bool denied_by_policy(const struct comparison *c, const struct spec_rule *rule,
                             unsigned port)
{
    return !could_reach_at(c->policy, rule, port) ||
           covered_at(&c->policy->values[ROW_DENY], rule, port);
}

static bool rules(const struct comparison *c, struct breach *ret)
{
    for (const struct policy_item *i = c->mine->first; i; i = i->next) {
        ret->item = i;
        if (!for_each_port(c, i->rule, allowed_by_ceiling))
            return false;
    }
    return true;
}

static bool denies(const struct comparison *c, struct breach *ret)
{
    ret->missing = true;
    for (const struct policy_item *i = c->its->first; i; i = i->next) {
        ret->item = i;
        if (!for_each_port(c, i->rule, denied_by_policy))
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
