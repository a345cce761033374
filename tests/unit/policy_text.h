/* This file is what the tests of policies share: a policy from a text that must be one. */
#pragma once

#include "policy/policy.h"

#include <criterion/criterion.h>
#include <string.h>

static inline struct policy *load(const char *text)
{
    struct policy *policy = NULL;
    struct err err = {0};
    int r = policy_load_text(&policy, "t", text, strlen(text), &err);
    cr_assert(r == 0, "%s\n%s: %s", text, err.subject, err.detail);
    return policy;
}
