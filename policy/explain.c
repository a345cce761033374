/* This file answers questions about a policy (POL-3): is this system call or host allowed, and
 * by which line? (Paths: explain_path.c.) It answers from the policy alone and never looks at the
 * host or asks the network.
 */
#include "policy/explain.h"
#include "policy/rule.h"

#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int explain_print(const struct explain_answer *a, bool json, struct buf *out)
{
    if (json) {
        buf_printf(out, "{\"%s\": ", a->kind);
        buf_json_string(out, a->subject);
        buf_printf(out, ", \"allowed\": %s, \"decision\": \"%s\", \"why\": ",
                   a->allowed ? "true" : "false", a->decision);
        buf_json_string(out, a->why);
        buf_puts(out, ", \"origin\": ");
        if (a->origin[0])
            buf_json_string(out, a->origin);
        else
            buf_puts(out, "null");
        if (a->note[0]) {
            buf_puts(out, ", \"note\": ");
            buf_json_string(out, a->note);
        }
        buf_puts(out, "}\n");
    } else {
        buf_printf(out, "%s %s: %s\n  %s\n", a->kind, a->subject, a->decision, a->why);
        if (a->origin[0])
            buf_printf(out, "  by: %s\n", a->origin);
        if (a->note[0])
            buf_printf(out, "  note: %s\n", a->note);
    }
    return buf_failed(out) ? -ENOMEM : a->allowed;
}

void explain_origin(struct explain_answer *a, const struct policy_origin *origin, const char *key)
{
    _cleanup_buf_ struct buf text = {0};
    origin_print(origin, &text);
    snprintf(a->origin, sizeof a->origin, "%s (%s)", buf_text(&text), key);
}

bool explain_printable(const char *text)
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return *text != 0;
}

int explain_fail(struct err *err, const char *subject, const char *why)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "explain", subject, "%s", why);
}

/* ---- system calls -------------------------------------------------------------------------------
 */

int policy_explain_syscall(const struct policy *policy, const char *name, bool json,
                           struct buf *out, struct err *err)
{
    const struct policy_value *profile = &policy->values[ROW_SECCOMP];
    const struct policy_item *added = NULL;
    uint32_t allow[SPEC_SECCOMP_ALLOW_MAX], count = 0;
    for (const struct policy_item *i = policy->values[ROW_SECCOMP_ALLOW].first; i; i = i->next) {
        allow[count++] = i->number;
        if (strcmp(i->text, name) == 0)
            added = i;
    }
    struct explain_answer a = {.kind = "syscall", .subject = name};
    bool addable = false;
    enum seccomp_decision says = seccomp_explain(
        (enum spec_seccomp_profile)schema_rows[ROW_SECCOMP].choices[profile->number].value, allow,
        count, name, a.why, 256, &addable);
    static const char *const words[] = {
        [SECCOMP_SAYS_ALLOW] = "allowed",
        [SECCOMP_SAYS_ALLOW_IF] = "allowed for some arguments",
        [SECCOMP_SAYS_EPERM] = "denied (EPERM)",
        [SECCOMP_SAYS_ENOSYS] = "denied (ENOSYS)",
    };
    if (says == SECCOMP_SAYS_NO_SUCH_CALL)
        return explain_fail(err, name, "This is not a system call that berth knows.");
    a.allowed = says == SECCOMP_SAYS_ALLOW || says == SECCOMP_SAYS_ALLOW_IF;
    a.decision = words[says];
    if (added)
        explain_origin(&a, &added->origin, "process.seccomp_allow");
    else
        explain_origin(&a, &profile->origin, "process.seccomp");
    if (!a.allowed)
        snprintf(
            a.note, sizeof a.note, "%s",
            addable ? "process.seccomp_allow may name it."
                    : "process.seccomp_allow cannot add it: a session has it by its profile or not "
                      "at all.");
    return explain_print(&a, json, out);
}

/* ---- hosts ---- */

static const struct policy_item *find_rule(const struct policy_value *rules,
                                           const struct spec_rule *target, uint16_t port)
{
    for (const struct policy_item *i = rules->first; i; i = i->next)
        if (rule_has_port(i->rule, port) && rule_names_cover(i->rule, target))
            return i;
    return NULL;
}

/* What NET-3 says of a literal address that no cidr rule names. NULL: nothing against it. */
static const char *refuse_address(const struct policy *policy, const struct spec_rule *target)
{
    switch (rule_classify(target)) {
    case RULE_ADDRESS_NEVER:
        return "Loopback, multicast and reserved addresses are never reached outside; loopback "
               "inside is the session's own.";
    case RULE_ADDRESS_METADATA:
        return "A metadata address is reached only when a cidr rule names it.";
    case RULE_ADDRESS_PRIVATE:
        return policy->values[ROW_ALLOW_PRIVATE].number
                   ? NULL
                   : "A private address is reached only with network.allow_private or a cidr rule.";
    case RULE_ADDRESS_PUBLIC:
        break;
    }
    return NULL;
}

static void decide_host(const struct policy *policy, const struct spec_rule *target,
                        struct explain_answer *a)
{
    uint16_t port = target->ports[0];
    const struct policy_value *egress = &policy->values[ROW_EGRESS];
    const struct policy_item *deny = find_rule(&policy->values[ROW_DENY], target, port);
    const struct policy_item *allow = find_rule(&policy->values[ROW_ALLOW], target, port);
    const char *mode = schema_rows[ROW_EGRESS].choices[egress->number].name;
    const char *against = target->family ? refuse_address(policy, target) : NULL;
    bool never = target->family && rule_classify(target) == RULE_ADDRESS_NEVER;
    if (never) {
        snprintf(a->why, sizeof a->why, "%s", against);
    } else if (deny) {
        snprintf(a->why, sizeof a->why, "The rule %s denies it, and deny beats allow.", deny->text);
        explain_origin(a, &deny->origin, "network.deny");
    } else if (allow) {
        a->allowed = true;
        snprintf(a->why, sizeof a->why, "The rule %s allows it.%s", allow->text,
                 target->family ? ""
                                : " The address that the name resolves to is checked when it "
                                  "is dialled.");
        explain_origin(a, &allow->origin, "network.allow");
    } else if (against) {
        snprintf(a->why, sizeof a->why, "%s", against);
        explain_origin(a, &policy->values[ROW_ALLOW_PRIVATE].origin, "network.allow_private");
    } else {
        a->allowed = egress->number > 0;
        snprintf(a->why, sizeof a->why, "No rule names it, and egress is \"%s\".", mode);
        explain_origin(a, &egress->origin, "network.egress");
    }
    a->decision = a->allowed ? "allowed" : "denied";
}

int policy_explain_host(const struct policy *policy, const char *host_port, bool json,
                        struct buf *out, struct err *err)
{
    struct spec_rule target;
    char why[HOST_WHY_MAX];
    _cleanup_buf_ struct buf name = {0};
    if (rule_parse_target(host_port, &target, why) < 0)
        return explain_fail(err, host_port, why);
    rule_print(&target, &name);
    struct explain_answer a = {.kind = "host", .subject = buf_text(&name)};
    if (target.family) {
        /* A literal address without its /32: as it was asked. */
        a.subject = explain_printable(host_port) ? host_port : "";
    }
    decide_host(policy, &target, &a);
    bool asks = policy->values[ROW_EGRESS].number > 0 || policy->values[ROW_ALLOW].first;
    if (asks)
        snprintf(a.note, sizeof a.note,
                 "Network rules are not available in this release: a session that needs them is "
                 "refused when it is made, and this is what the rules will say.");
    return explain_print(&a, json, out);
}
