/* This file turns a filter of commands into one that asks before it refuses, and says how such a
 * question is to be answered; it never loads a filter, and no answer of it ever lets a call
 * through. init uses it in sessions that explain denied calls (docs/adr/0014-explain-syscalls.md).
 * Pure, no allocation.
 */
#include "runtime/plan/seccomp.h"
#include "runtime/plan/seccomp_table.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>

static bool refuses(uint32_t action)
{
    return (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO &&
           (action & SECCOMP_RET_DATA) != 0;
}

void seccomp_notify(struct sock_filter *code, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (code[i].code == (BPF_RET | BPF_K) && refuses(code[i].k))
            code[i].k = SECCOMP_RET_USER_NOTIF;
}

int seccomp_denied_errno(const struct sock_filter *code, uint32_t length,
                         const struct seccomp_data *data)
{
    uint32_t action = seccomp_simulate(code, length, data);
    return refuses(action) ? (int)(action & SECCOMP_RET_DATA) : EPERM;
}

static uint32_t word(const struct seccomp_data *data, unsigned argument)
{
    uint64_t whole = data->args[argument & (SECCOMP_HIGH - 1u)];
    return (uint32_t)(argument & SECCOMP_HIGH ? whole >> 32 : whole);
}

static bool holds(const struct seccomp_condition *c, const struct seccomp_data *data)
{
    uint32_t value = word(data, c->argument);
    switch (c->test) {
    case TEST_HAS:
        return (value & c->mask) != 0;
    case TEST_WITHIN:
        return value >= c->mask && value <= c->value;
    default:
        return (value & c->mask) == c->value;
    }
}

/* The last condition of a clause is the one that makes the difference: a mode among calls that
 * create, the type of a socket of some family. */
static const struct seccomp_condition *reason_in(const struct seccomp_clause *clause,
                                                 const struct seccomp_data *data)
{
    const struct seccomp_condition *last = NULL;
    for (unsigned i = 0; i < SECCOMP_CONDITIONS_MAX && clause->when[i].test != TEST_NONE; i++) {
        if (!holds(&clause->when[i], data))
            return NULL;
        last = &clause->when[i];
    }
    return last;
}

bool seccomp_denied_argument(const struct seccomp_data *data, unsigned *ret_argument,
                             uint32_t *ret_value)
{
    const struct seccomp_rule *rule =
        data->arch == AUDIT_ARCH_X86_64 ? seccomp_rule_by_number(data->nr) : NULL;
    if (!rule || rule->clause_count == 0)
        return false;
    /* Outside of everything that is listed: by what the list begins with, which is whole. */
    const struct seccomp_condition *reason = &rule->clauses[0].when[0];
    uint32_t mask = UINT32_MAX;
    for (unsigned i = 0; i < rule->clause_count; i++) {
        const struct seccomp_clause *clause = &rule->clauses[i];
        const struct seccomp_condition *found =
            clause->answer == 0 || clause->answer == SECCOMP_PRETEND ? NULL
                                                                     : reason_in(clause, data);
        if (!found)
            continue;
        reason = found;
        mask = found->test == TEST_WITHIN ? UINT32_MAX : found->mask;
        break;
    }
    *ret_argument = reason->argument & (SECCOMP_HIGH - 1u);
    *ret_value = word(data, reason->argument) & mask;
    return true;
}
