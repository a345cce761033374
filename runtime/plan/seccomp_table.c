/* This file answers questions about the table of system calls; it never builds a filter. Pure. */
#include "runtime/plan/seccomp_table.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"
#include "runtime/plan/seccomp_calls.h"

#include <errno.h>
#include <string.h>

static const struct seccomp_call calls[] = {
#define X(call_number, call_name, call_class, call_why) \
    {.number = call_number, .class = CALL_##call_class, .name = #call_name, .why = call_why},
    SECCOMP_CALLS(X)
#undef X
};

/* Two rows of one number, or one that is too great, do not compile. */
#define X(call_number, call_name, call_class, call_why) \
    enum { CALL_NUMBER_##call_number = call_number };   \
    _Static_assert((call_number) < SECCOMP_NUMBER_END, "number of " #call_name);
SECCOMP_CALLS(X)
#undef X

static const struct {
    const char *name;
    uint16_t answer[3]; /* default, strict, debug */
    bool addable;
} classes[] = {
#define X(class_name, in_default, in_strict, in_debug, class_addable) \
    [CALL_##class_name] = {#class_name, {in_default, in_strict, in_debug}, class_addable},
    SECCOMP_CLASSES(X)
#undef X
};

const struct seccomp_call *seccomp_table(size_t *ret_count)
{
    *ret_count = ARRAY_LENGTH(calls);
    return calls;
}

const struct seccomp_call *seccomp_table_by_number(int number)
{
    for (size_t i = 0; i < ARRAY_LENGTH(calls); i++)
        if (calls[i].number == number)
            return &calls[i];
    return NULL;
}

const struct seccomp_call *seccomp_table_by_name(const char *name)
{
    if (!name)
        return NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(calls); i++)
        if (strcmp(calls[i].name, name) == 0)
            return &calls[i];
    return NULL;
}

int seccomp_class_answer(uint8_t class, enum spec_seccomp_profile profile)
{
    if (class >= ARRAY_LENGTH(classes) || profile < SPEC_SECCOMP_DEFAULT ||
        profile > SPEC_SECCOMP_DEBUG)
        return EPERM;
    return classes[class].answer[profile - SPEC_SECCOMP_DEFAULT];
}

bool seccomp_class_addable(uint8_t class)
{
    return class < ARRAY_LENGTH(classes) && classes[class].addable;
}

const char *seccomp_class_name(uint8_t class)
{
    return class < ARRAY_LENGTH(classes) ? classes[class].name : "?";
}

int seccomp_call_number(const char *name)
{
    const struct seccomp_call *call = seccomp_table_by_name(name);
    return call ? call->number : -1;
}

const char *seccomp_call_name(int number)
{
    const struct seccomp_call *call = seccomp_table_by_number(number);
    return call ? call->name : NULL;
}
