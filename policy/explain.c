/* This file answers questions about a policy (POL-3): is this system call or host allowed, and
 * by which line? (Paths: explain_path.c.) It answers from the policy alone and never looks at the
 * host or asks the network.
 */
#include "policy/explain.h"
#include "policy/rule.h"

#include "runtime/base/fd.h"
#include "runtime/plan/network.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

/* Why an address of this class is not reached, and what would change it (NET-3). */
static const char *const class_says[] = {
    [ADDRESS_PUBLIC] = "",
    [ADDRESS_PRIVATE] =
        "A private address is reached only with network.allow_private or a cidr rule.",
    [ADDRESS_LINK_LOCAL] =
        "A link-local address is reached only with network.allow_private or a cidr rule.",
    [ADDRESS_CGNAT] =
        "A carrier's address (100.64.0.0/10) needs network.allow_private or a cidr rule.",
    [ADDRESS_METADATA] = "A metadata address is reached only when a cidr rule names it.",
    [ADDRESS_LOOPBACK] =
        "Loopback is never reached outside: inside it is the session's own, and open.",
    [ADDRESS_MULTICAST] = "Multicast and broadcast are never reached.",
    [ADDRESS_RESERVED] = "A reserved address is reached only when a cidr rule names it.",
    [ADDRESS_TRANSITION] =
        "An address that holds another one (NAT64, 6to4, Teredo, ISATAP) needs a cidr rule.",
    [ADDRESS_POOL] = "This address stands for a name, inside one session only.",
};
_Static_assert(ARRAY_LENGTH(class_says) == ADDRESS_CLASS_COUNT, "a sentence for every class");

static const struct policy_item *item_at(const struct policy_value *value, int index)
{
    const struct policy_item *item = value->first;
    while (item && index-- > 0)
        item = item->next;
    return item;
}

static void say_rule(const struct policy *policy, enum schema_row_id id, int rule, const char *does,
                     const char *then, struct explain_answer *a)
{
    const struct policy_item *item = item_at(&policy->values[id], rule);
    if (!item)
        return;
    snprintf(a->why, sizeof a->why, "The rule %s %s%s", item->text, does, then);
    explain_origin(a, &item->origin, schema_rows[id].key);
}

static void say_why(const struct policy *policy, const struct network_decision *d, bool by_name,
                    struct explain_answer *a)
{
    const struct policy_value *egress = &policy->values[ROW_EGRESS];
    const char *mode = schema_rows[ROW_EGRESS].choices[egress->number].name;
    switch (d->reason) {
    case NETWORK_BY_DENY_RULE:
        say_rule(policy, ROW_DENY, d->rule, "denies it, and deny beats allow.", "", a);
        return;
    case NETWORK_BY_RULE:
        say_rule(policy, ROW_ALLOW, d->rule, "allows it.",
                 by_name ? " The address that the name resolves to is checked when it is dialled."
                         : "",
                 a);
        return;
    case NETWORK_BY_ADDRESS:
        snprintf(a->why, sizeof a->why, "%s", class_says[d->address_class]);
        explain_origin(a, &policy->values[ROW_ALLOW_PRIVATE].origin, "network.allow_private");
        return;
    case NETWORK_BY_PORT:
        snprintf(a->why, sizeof a->why,
                 "A rule names it, but not with this port, and egress is \"%s\".", mode);
        break;
    default:
        snprintf(a->why, sizeof a->why, "No rule names it, and egress is \"%s\".%s", mode,
                 d->allowed && by_name ? " The address that it resolves to must be public." : "");
        break;
    }
    explain_origin(a, &egress->origin, "network.egress");
}

/* The same functions decide when the gateway is asked (runtime/plan/network.h). */
int policy_explain_host(const struct policy *policy, const char *host_port, bool json,
                        struct buf *out, struct err *err)
{
    struct spec_rule target;
    struct network_address address;
    struct network_decision decision;
    char why[HOST_WHY_MAX];
    _cleanup_buf_ struct buf name = {0}, line = {0}, flag = {0};
    if (rule_parse_target(host_port, &target, why) < 0)
        return explain_fail(err, host_port, why);
    _cleanup_free_ struct spec_network *net = calloc(1, sizeof *net);
    if (!net)
        return err_set(err, ERR_INTERNAL, ENOMEM, "explain", NULL, NULL);
    policy_network(policy, net);
    rule_print(&target, &name);
    struct explain_answer a = {.kind = "host", .subject = buf_text(&name)};
    const char *host = target.family ? NULL : target.host;
    uint16_t port = target.ports[0];
    rule_address(&target, &address);
    if (host) {
        network_decide_host(net, host, port, &decision);
    } else {
        /* A literal address without its /32: as it was asked. */
        a.subject = explain_printable(host_port) ? host_port : "";
        network_decide_address(net, &address, port, false, &decision);
    }
    a.allowed = decision.allowed;
    a.decision = a.allowed ? "allowed" : "denied";
    say_why(policy, &decision, host != NULL, &a);
    network_rule_to_add(net, host, host ? NULL : &address, port, &decision, &line, &flag);
    if (buf_failed(&name) || buf_failed(&line) || buf_failed(&flag))
        return err_set(err, ERR_INTERNAL, ENOMEM, "explain", NULL, NULL);
    if (line.length > 0)
        snprintf(a.note, sizeof a.note, "network.allow: %s would allow it; so would %s.",
                 buf_text(&line), buf_text(&flag));
    return explain_print(&a, json, out);
}
