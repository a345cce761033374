/* This file says of a system call that a session was denied what it is called, why it was refused,
 * and which line of a policy would allow it; it never denies one. The words are those of `policy
 * explain --syscall`: both ask the table of system calls. Pure.
 */
#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <stdio.h>
#include <string.h>

static const uint32_t x32_bit = 0x40000000;

static const char *name_of(const struct policy_denied_call *call)
{
    return call->arch == AUDIT_ARCH_X86_64 ? seccomp_call_name(call->number) : NULL;
}

static void say_name(const struct policy_denied_call *call, struct policy_denied_words *w)
{
    const char *name = name_of(call);
    uint32_t number = (uint32_t)call->number;
    if (name)
        snprintf(w->call, sizeof w->call, "%s", name);
    else if (call->arch != AUDIT_ARCH_X86_64)
        snprintf(w->call, sizeof w->call, "%s call %u",
                 call->arch == AUDIT_ARCH_I386 ? "32-bit" : "foreign", number);
    else if (call->number > 0 && number & x32_bit)
        snprintf(w->call, sizeof w->call, "x32 call %u", number & ~x32_bit);
    else
        snprintf(w->call, sizeof w->call, "call %d", call->number);
}

/* Every errno that a filter of berth's gives (a test holds that); C libraries have no common way to
 * name one. */
static void say_error(uint32_t sys, struct policy_denied_words *w)
{
    static const struct {
        uint32_t sys;
        const char *name;
    } names[] = {
        {EPERM, "EPERM"},
        {ENOSYS, "ENOSYS"},
        {EINVAL, "EINVAL"},
        {EAFNOSUPPORT, "EAFNOSUPPORT"},
        {EPROTONOSUPPORT, "EPROTONOSUPPORT"},
        {ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"},
        {EOPNOTSUPP, "EOPNOTSUPP"},
    };
    snprintf(w->error, sizeof w->error, "error %u", sys);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        if (names[i].sys == sys)
            snprintf(w->error, sizeof w->error, "%s", names[i].name);
}

/* The whole list: a policy's own one replaces what it extends. */
static void say_allow(const struct spec *spec, const char *name, struct policy_denied_words *w)
{
    size_t at = (size_t)snprintf(w->line, sizeof w->line, "\"process\": {\"seccomp_allow\": [");
    for (uint32_t i = 0; i < spec->process.seccomp_allow_count; i++) {
        const char *other = seccomp_call_name((int)spec->process.seccomp_allow[i]);
        if (other && at + strlen(other) + 64 < sizeof w->line)
            at += (size_t)snprintf(w->line + at, sizeof w->line - at, "\"%s\", ", other);
    }
    snprintf(w->line + at, sizeof w->line - at, "\"%s\"]}", name);
}

void policy_denied_call(const struct spec *spec, const struct policy_denied_call *call,
                        struct policy_denied_words *ret)
{
    const char *name = name_of(call);
    bool addable = false;
    *ret = (struct policy_denied_words){0};
    say_name(call, ret);
    say_error(call->sys, ret);
    if (!name) {
        snprintf(ret->why, sizeof ret->why, "%s",
                 call->arch != AUDIT_ARCH_X86_64 || (call->number > 0 && call->number & 0x40000000)
                     ? "only 64-bit programs run in a session"
                     : "berth's table does not have it, and what is unknown is missing");
        return;
    }
    enum seccomp_decision says = seccomp_explain(
        (enum spec_seccomp_profile)spec->process.seccomp, spec->process.seccomp_allow,
        spec->process.seccomp_allow_count, name, ret->why, sizeof ret->why, &addable);
    if (says != SECCOMP_SAYS_EPERM && says != SECCOMP_SAYS_ENOSYS)
        return;
    if (addable) {
        say_allow(spec, name, ret);
        return;
    }
    char why[256];
    bool ignored;
    if (seccomp_explain(SPEC_SECCOMP_DEBUG, NULL, 0, name, why, sizeof why, &ignored) ==
        SECCOMP_SAYS_ALLOW)
        snprintf(ret->line, sizeof ret->line, "\"process\": {\"seccomp\": \"debug\"}");
}
