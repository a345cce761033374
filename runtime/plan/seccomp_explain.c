/* This file says in words what a profile does with one system call; it never builds a filter. A
 * test holds it against the filters themselves. Pure.
 */
#include "runtime/plan/seccomp.h"
#include "runtime/plan/seccomp_table.h"

#include <errno.h>
#include <stdio.h>

static const char *profile_name(enum spec_seccomp_profile profile)
{
    switch (profile) {
    case SPEC_SECCOMP_DEFAULT:
        return "default";
    case SPEC_SECCOMP_STRICT:
        return "strict";
    case SPEC_SECCOMP_DEBUG:
        return "debug";
    default:
        return "?";
    }
}

static bool listed(const uint32_t *allow, uint32_t count, int number)
{
    for (uint32_t i = 0; i < count; i++)
        if (allow[i] == (uint32_t)number)
            return true;
    return false;
}

enum seccomp_decision seccomp_explain(enum spec_seccomp_profile profile, const uint32_t *allow,
                                      uint32_t allow_count, const char *name, char *ret_why,
                                      unsigned long size, bool *ret_addable)
{
    const struct seccomp_call *call = seccomp_table_by_name(name);
    if (!call) {
        snprintf(ret_why, size, "berth knows no system call of this name on x86-64");
        *ret_addable = false;
        return SECCOMP_SAYS_NO_SUCH_CALL;
    }
    *ret_addable = seccomp_class_addable(call->class);
    if (call->class == CALL_CHECK) {
        snprintf(ret_why, size, "%s", call->why);
        return SECCOMP_SAYS_ALLOW_IF;
    }
    int answer = seccomp_class_answer(call->class, profile);
    if (answer != 0 && *ret_addable && listed(allow, allow_count, call->number)) {
        snprintf(ret_why, size, "the policy adds it with seccomp_allow");
        return SECCOMP_SAYS_ALLOW;
    }
    if (answer == 0) {
        snprintf(ret_why, size, "the profile `%s` allows it", profile_name(profile));
        return SECCOMP_SAYS_ALLOW;
    }
    snprintf(ret_why, size, "%s", call->why);
    return answer == ENOSYS ? SECCOMP_SAYS_ENOSYS : SECCOMP_SAYS_EPERM;
}
