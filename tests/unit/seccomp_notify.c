/* This file holds the filters of a session that explains denied calls against those of one that
 * does not (attack row 21): both layers together, as the kernel weighs them, over every number,
 * other architectures and the classes of arguments of the golden tables. It loads no filter.
 */
#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"
#include "runtime/plan/seccomp_build.h"
#include "tests/unit/seccomp_samples.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <string.h>

enum { NUMBERS = 601 };

/* What a program sees of a call. */
enum { ALLOWED = -1 };

struct stack {
    struct seccomp_program base, exec, base_explained;
    struct sock_filter asking[BPF_MAXINSNS];
};

static void stack_init(struct stack *s, uint32_t profile, bool shared_uid, const uint32_t *allow,
                       uint32_t allow_count)
{
    struct err err = {0};
    cr_assert_eq(seccomp_base(shared_uid, &s->base, &err), 0, "%s", err.detail);
    cr_assert_eq(seccomp_base_explained(shared_uid, &s->base_explained, &err), 0, "%s", err.detail);
    cr_assert_eq(seccomp_exec(profile, allow, allow_count, &s->exec, &err), 0, "%s", err.detail);
    memcpy(s->asking, s->exec.code, s->exec.length * sizeof s->asking[0]);
    seccomp_notify(s->asking, s->exec.length);
}

static void stack_fini(struct stack *s)
{
    seccomp_program_fini(&s->base);
    seccomp_program_fini(&s->base_explained);
    seccomp_program_fini(&s->exec);
}

/* kernel/seccomp.c, seccomp_run_filters(): the newest first, the smallest action (signed) wins, and
 * of equal ones the first that was asked. */
static uint32_t weigh(uint32_t newer, uint32_t older, bool *ret_newer)
{
    int32_t a = (int32_t)(newer & SECCOMP_RET_ACTION_FULL),
            b = (int32_t)(older & SECCOMP_RET_ACTION_FULL);
    *ret_newer = a <= b;
    return *ret_newer ? newer : older;
}

static int seen(uint32_t action)
{
    if (action == SECCOMP_RET_ALLOW)
        return ALLOWED;
    cr_assert_eq(action & SECCOMP_RET_ACTION_FULL, SECCOMP_RET_ERRNO, "action %#x", action);
    return (int)(action & SECCOMP_RET_DATA);
}

static int without(const struct stack *s, const struct seccomp_data *data)
{
    bool newer;
    return seen(weigh(seccomp_simulate(s->exec.code, s->exec.length, data),
                      seccomp_simulate(s->base.code, s->base.length, data), &newer));
}

static int with(const struct stack *s, const struct seccomp_data *data, bool *ret_asked)
{
    bool newer;
    uint32_t action =
        weigh(seccomp_simulate(s->asking, s->exec.length, data),
              seccomp_simulate(s->base_explained.code, s->base_explained.length, data), &newer);
    *ret_asked = action == SECCOMP_RET_USER_NOTIF;
    if (!*ret_asked)
        return seen(action);
    /* Nobody listens to the base layer: ENOSYS. */
    return newer ? seccomp_denied_errno(s->exec.code, s->exec.length, data) : ENOSYS;
}

/* The same answer; and what is refused with an errno is asked about, but for what only the base
 * layer refuses. */
static void compare(const struct stack *s, const struct seccomp_data *data)
{
    bool asked;
    int plain = without(s, data), explained = with(s, data, &asked);
    cr_assert_eq(plain, explained, "call %d, arch %#x, arguments %#lx %#lx %#lx: %d and %d",
                 data->nr, data->arch, (unsigned long)data->args[0], (unsigned long)data->args[1],
                 (unsigned long)data->args[2], plain, explained);
    uint32_t exec = seccomp_simulate(s->exec.code, s->exec.length, data);
    cr_assert_eq(asked, exec != SECCOMP_RET_ALLOW && exec != SECCOMP_RET_ERRNO);
}

static void compare_number(const struct stack *s, uint32_t arch, uint32_t number)
{
    struct seccomp_data data = {.nr = (int)number, .arch = arch};
    compare(s, &data);
    for (size_t i = 0; i < ARRAY_LENGTH(data.args); i++)
        for (unsigned bit = 0; bit < 64; bit++) {
            memset(data.args, 0, sizeof data.args);
            data.args[i] = (uint64_t)1 << bit;
            compare(s, &data);
        }
    memset(data.args, 0xff, sizeof data.args);
    compare(s, &data);
}

static void compare_all(const struct stack *s)
{
    static const uint32_t foreign[] = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_AARCH64, 0};
    for (uint32_t n = 0; n < NUMBERS; n++) {
        compare_number(s, AUDIT_ARCH_X86_64, n);
        compare_number(s, AUDIT_ARCH_X86_64, n | 0x40000000u);
        compare_number(s, AUDIT_ARCH_X86_64, n | 0xfffffc00u);
        for (size_t i = 0; i < ARRAY_LENGTH(foreign); i++)
            compare_number(s, foreign[i], n);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(samples); i++) {
        struct seccomp_data data = {.nr = (int)samples[i].number, .arch = AUDIT_ARCH_X86_64};
        memcpy(data.args, samples[i].args, sizeof data.args);
        compare(s, &data);
    }
    for (uint32_t domain = 0; domain < 48; domain++)
        for (uint32_t type = 0; type < 16; type++)
            for (uint32_t protocol = 0; protocol < 300; protocol += protocol < 20 ? 1 : 14) {
                struct seccomp_data data = {.nr = 41, .arch = AUDIT_ARCH_X86_64};
                data.args[0] = domain;
                data.args[1] = type | 02004000u;
                data.args[2] = protocol;
                compare(s, &data);
            }
    for (uint32_t option = 0; option < 100; option++) {
        struct seccomp_data data = {.nr = 157, .arch = AUDIT_ARCH_X86_64, .args = {option}};
        compare(s, &data);
    }
}

static void check_profile(uint32_t profile)
{
    static struct stack s;
    for (int shared = 0; shared <= 1; shared++) {
        stack_init(&s, profile, shared, NULL, 0);
        compare_all(&s);
        stack_fini(&s);
    }
}

Test(seccomp_notify, every_call_of_the_default_profile_is_answered_as_without_it, .timeout = 120)
{
    check_profile(SPEC_SECCOMP_DEFAULT);
}

Test(seccomp_notify, every_call_of_the_strict_profile_is_answered_as_without_it, .timeout = 120)
{
    check_profile(SPEC_SECCOMP_STRICT);
}

Test(seccomp_notify, every_call_of_the_debug_profile_is_answered_as_without_it, .timeout = 120)
{
    check_profile(SPEC_SECCOMP_DEBUG);
}

Test(seccomp_notify, so_is_every_call_where_a_policy_adds_some, .timeout = 120)
{
    static struct stack s;
    const uint32_t allow[] = {(uint32_t)seccomp_call_number("mbind"),
                              (uint32_t)seccomp_call_number("io_setup"),
                              (uint32_t)seccomp_call_number("vmsplice")};
    stack_init(&s, SPEC_SECCOMP_DEFAULT, false, allow, ARRAY_LENGTH(allow));
    compare_all(&s);
    stack_fini(&s);
}

/* A second wall: with an exec layer that allows everything the base layer refuses what it did. */
Test(seccomp_notify, the_base_layer_alone_refuses_what_it_refused)
{
    for (int shared = 0; shared <= 1; shared++) {
        struct seccomp_program plain = {0}, explained = {0};
        cr_assert_eq(seccomp_base(shared, &plain, NULL), 0);
        cr_assert_eq(seccomp_base_explained(shared, &explained, NULL), 0);
        for (uint32_t n = 0; n < NUMBERS; n++)
            for (unsigned i = 0; i < 3; i++) {
                struct seccomp_data data = {.nr = (int)n, .arch = AUDIT_ARCH_X86_64};
                data.args[0] = data.args[1] = i;
                uint32_t a = seccomp_simulate(plain.code, plain.length, &data),
                         b = seccomp_simulate(explained.code, explained.length, &data);
                cr_assert_eq(a == SECCOMP_RET_ALLOW, b == SECCOMP_RET_ALLOW, "call %u", n);
                cr_assert(b == SECCOMP_RET_ALLOW || b == SECCOMP_RET_USER_NOTIF || b == a);
            }
        seccomp_program_fini(&plain);
        seccomp_program_fini(&explained);
    }
}

/* ENOSYS marks what of the base layer is asked about (seccomp_build.c). */
Test(seccomp_notify, no_rule_of_a_shared_uid_answers_with_the_mark)
{
    size_t count;
    const struct seccomp_rule *rules = seccomp_shared_uid_rules(&count);
    for (size_t i = 0; i < count; i++) {
        cr_assert_neq(rules[i].otherwise, ENOSYS);
        for (unsigned c = 0; c < rules[i].clause_count; c++)
            cr_assert_neq(rules[i].clauses[c].answer, ENOSYS);
    }
}

Test(seccomp_notify, a_call_that_would_be_allowed_is_answered_eperm_and_nothing_lets_it_through)
{
    struct seccomp_program exec = {0};
    cr_assert_eq(seccomp_exec(SPEC_SECCOMP_DEFAULT, NULL, 0, &exec, NULL), 0);
    struct seccomp_data getpid_call = {.nr = 39, .arch = AUDIT_ARCH_X86_64};
    cr_assert_eq(seccomp_denied_errno(exec.code, exec.length, &getpid_call), EPERM);
    struct seccomp_data core = {.nr = 160, .arch = AUDIT_ARCH_X86_64, .args = {4}};
    cr_assert_eq(seccomp_denied_errno(exec.code, exec.length, &core), EPERM);
    cr_assert_eq(seccomp_denied_errno(exec.code, 0, &getpid_call), EPERM);
    seccomp_program_fini(&exec);
}

Test(seccomp_notify, the_argument_that_decided_is_named_with_what_was_looked_at)
{
    static const struct {
        int number;
        uint64_t args[6];
        bool named;
        unsigned argument;
        uint32_t value;
    } cases[] = {
        {165, {1, 2, 3}, false, 0, 0},                  /* mount: not judged by arguments */
        {257, {3, 4, 0101, 04755}, true, 3, 04000},     /* openat: the mode's bits */
        {90, {1, 02755}, true, 1, 02000},               /* chmod */
        {16, {0, 0xffffffff00005412}, true, 1, 0x5412}, /* ioctl TIOCSTI with high bits */
        {41, {38, 5, 0}, true, 0, 38},                  /* socket(AF_ALG): outside the list */
        {41, {2, 02000003, 1}, true, 1, 3},             /* raw */
        {56, {0x10000000 | 17}, true, 0, 0x10000000},   /* clone(NEWUSER) */
        {157, {35, 8}, true, 0, 35},                    /* prctl(PR_SET_MM) */
        {157, {5000}, true, 0, 5000},                   /* unknown option */
        {317, {1, 8}, true, 1, 8},                      /* seccomp(NEW_LISTENER) */
        {46, {3, 4, 0x4001}, true, 2, 1},               /* sendmsg(MSG_OOB) */
        {133, {1, 020666, 0}, true, 1, 020000},         /* mknod of a character device */
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct seccomp_data data = {.nr = cases[i].number, .arch = AUDIT_ARCH_X86_64};
        memcpy(data.args, cases[i].args, sizeof data.args);
        unsigned argument = 99;
        uint32_t value = 0;
        cr_expect_eq(seccomp_denied_argument(&data, &argument, &value), cases[i].named, "%zu", i);
        if (!cases[i].named)
            continue;
        cr_expect_eq(argument, cases[i].argument, "case %zu: argument %u", i, argument);
        cr_expect_eq(value, cases[i].value, "case %zu: value %#x", i, value);
        data.arch = AUDIT_ARCH_I386;
        cr_expect_not(seccomp_denied_argument(&data, &argument, &value));
    }
}
