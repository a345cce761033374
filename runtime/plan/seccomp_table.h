/* This file declares what the parts of the seccomp plan share: classes, rows of the call table and
 * the rules for arguments; it never builds or loads a filter. Included by runtime/plan/seccomp*.c,
 * the generator and the tests only; everybody else uses seccomp.h. Pure.
 */
#pragma once

#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One past the greatest number of the table; x32 calls have bit 30. */
enum { SECCOMP_NUMBER_END = 471, SECCOMP_X32_BIT = 0x40000000 };

/* name, answer in default, strict, debug (0: allowed, else an errno), may `seccomp_allow` name it
 */
#define SECCOMP_CLASSES(X)                          \
    X(ALLOW, 0, 0, 0, true)                         \
    X(CHECK, 0, 0, 0, false) /* by its rule */      \
    X(NOT_STRICT, 0, EPERM, 0, true)                \
    X(NOT_STRICT_MISSING, 0, ENOSYS, 0, true)       \
    X(DEBUG, EPERM, EPERM, 0, false)                \
    X(REFUSE, EPERM, EPERM, EPERM, true)            \
    X(MISSING, ENOSYS, ENOSYS, ENOSYS, true)        \
    X(NEVER, EPERM, EPERM, EPERM, false)            \
    X(NEVER_MISSING, ENOSYS, ENOSYS, ENOSYS, false) \
    X(GONE, ENOSYS, ENOSYS, ENOSYS, false)

enum seccomp_class {
#define X(name, in_default, in_strict, in_debug, addable) CALL_##name,
    SECCOMP_CLASSES(X)
#undef X
};

struct seccomp_call {
    uint16_t number;
    uint8_t class; /* enum seccomp_class */
    const char *name;
    const char *why; /* NULL when simply allowed */
};

/* Every row, by rising number. */
const struct seccomp_call *seccomp_table(size_t *ret_count);
const struct seccomp_call *seccomp_table_by_number(int number); /* NULL when unknown */
const struct seccomp_call *seccomp_table_by_name(const char *name);

/* 0 or the errno of a class in a profile (CALL_CHECK: 0). */
int seccomp_class_answer(uint8_t class, enum spec_seccomp_profile profile);
bool seccomp_class_addable(uint8_t class);
const char *seccomp_class_name(uint8_t class);

/* A condition on the low 32 bits of one argument: every argument that berth judges is an int, an
 * unsigned int or a umode_t to the kernel, which drops the high half. A filter that looked at 64
 * bits would be passed by setting any of them. The exception is a pointer, which is or is not NULL:
 * SECCOMP_HIGH is added to the argument for its high half. */
enum seccomp_test {
    TEST_NONE = 0,
    TEST_IS,     /* (argument & mask) == value */
    TEST_HAS,    /* (argument & mask) != 0 */
    TEST_WITHIN, /* mask <= argument <= value, unsigned */
};

struct seccomp_condition {
    uint8_t test; /* enum seccomp_test */
    uint8_t argument;
    uint32_t mask, value;
};

enum {
    SECCOMP_CONDITIONS_MAX = 3,
    SECCOMP_HIGH = 8,
    SECCOMP_PRETEND = 0xffff, /* an answer: nothing is done, and the caller is told that it was */
    IN_ALL = 0,               /* every profile, and the base layer */
    IN_DEFAULT = 1u << SPEC_SECCOMP_DEFAULT,
    IN_STRICT = 1u << SPEC_SECCOMP_STRICT,
    IN_DEBUG = 1u << SPEC_SECCOMP_DEBUG,
};

/* The first clause whose conditions all hold gives the answer. */
struct seccomp_clause {
    struct seccomp_condition when[SECCOMP_CONDITIONS_MAX];
    uint16_t answer;  /* 0: allowed, else errno */
    uint8_t profiles; /* IN_* */
};

struct seccomp_rule {
    const struct seccomp_clause *clauses;
    uint16_t number;
    uint16_t otherwise; /* 0: allowed, else errno */
    uint8_t clause_count;
};

/* Rules of the exec layer: exactly one for each call of CALL_CHECK. */
const struct seccomp_rule *seccomp_rules(size_t *ret_count);
const struct seccomp_rule *seccomp_rule_by_number(int number);

/* The base layer: refused whatever the arguments, as ranges of numbers; and the rules that keep
 * commands off PID 1 when it has their uid. */
struct seccomp_base_range {
    uint16_t first, last;
    uint16_t answer;
};
const struct seccomp_base_range *seccomp_base_ranges(size_t *ret_count);
const struct seccomp_rule *seccomp_shared_uid_rules(size_t *ret_count);

/* The tables of docs/seccomp.md, as Markdown. */
struct buf;
void seccomp_describe(struct buf *out);
