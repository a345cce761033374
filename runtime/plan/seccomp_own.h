/* This file makes the filter of a program of berth's own (front, the gateway) from two lists: calls
 * that are allowed whatever their arguments, and calls that are judged by them. Every other call is
 * ENOSYS. Pure. Any process may call.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/plan/seccomp_emit.h"

#include <linux/filter.h>

struct seccomp_own_judged {
    const char *name;
    struct seccomp_rule rule;
};

struct seccomp_own {
    const char *step; /* for messages: "build front's filter" */
    const char *const *allowed;
    size_t allowed_count;
    const struct seccomp_own_judged *judged;
    size_t judged_count;
};

/* At most `max` instructions. -E2BIG, or -ENOENT for a name that is no call. */
int seccomp_own(const struct seccomp_own *own, struct sock_filter *ret_code, uint32_t max,
                uint32_t *ret_length, struct err *err);

/* How the lists are written: one clause answers `verdict` when its tests of 32-bit arguments hold.
 */
/* clang-format off */
#define OWN_CLAUSE(verdict, ...) {.answer = (verdict), .when = {__VA_ARGS__}}
#define OWN_EQUALS(arg, val) {TEST_IS, arg, 0xffffffffu, val}
#define OWN_HAS(arg, mask) {TEST_HAS, arg, mask, 0}
/* clang-format on */
