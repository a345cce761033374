/* This file tests what the seccomp plan says in words against what its filters do, the table
 * against libseccomp's numbers (an oracle that berth itself does without), and seccomp_allow. It
 * loads no filter.
 */
#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/plan/seccomp.h"
#include "runtime/plan/seccomp_build.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <string.h>

static uint32_t ask(const struct seccomp_program *p, int number)
{
    struct seccomp_data data = {.nr = number, .arch = AUDIT_ARCH_X86_64};
    return seccomp_simulate(p->code, p->length, &data);
}

static enum seccomp_decision decision_of(uint32_t action)
{
    if (action == SECCOMP_RET_ALLOW)
        return SECCOMP_SAYS_ALLOW;
    if (action == (SECCOMP_RET_ERRNO | EPERM))
        return SECCOMP_SAYS_EPERM;
    return action == (SECCOMP_RET_ERRNO | ENOSYS) ? SECCOMP_SAYS_ENOSYS : 0;
}

Test(seccomp_table, rises_has_a_reason_for_every_refusal_and_a_rule_for_every_check)
{
    size_t count, rule_count, checks = 0;
    const struct seccomp_call *calls = seccomp_table(&count);
    seccomp_rules(&rule_count);
    cr_assert_gt(count, 370);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            cr_assert_gt(calls[i].number, calls[i - 1].number);
        cr_assert_eq(calls[i].why == NULL, calls[i].class == CALL_ALLOW, "%s", calls[i].name);
        cr_assert(!calls[i].why || strlen(calls[i].why) < 200, "%s", calls[i].name);
        cr_assert_eq(seccomp_rule_by_number(calls[i].number) != NULL, calls[i].class == CALL_CHECK,
                     "%s", calls[i].name);
        checks += calls[i].class == CALL_CHECK;
    }
    cr_assert_eq(checks, rule_count);
}

Test(seccomp_table, has_the_numbers_that_libseccomp_knows)
{
    int compared = 0;
    for (int n = 0; n < SECCOMP_NUMBER_END; n++) {
        char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_X86_64, n);
        if (!name)
            continue;
        cr_expect_str_eq(seccomp_call_name(n) ? seccomp_call_name(n) : "-", name);
        cr_expect_eq(seccomp_call_number(name), n);
        free(name);
        compared++;
    }
    cr_assert_gt(compared, 350);
    cr_assert_eq(seccomp_call_number("no_such_call"), -1);
    cr_assert_null(seccomp_call_name(400));
}

Test(seccomp_explain, agrees_with_the_filter_for_every_call_and_profile)
{
    size_t count;
    const struct seccomp_call *calls = seccomp_table(&count);
    for (int profile = SPEC_SECCOMP_DEFAULT; profile <= SPEC_SECCOMP_DEBUG; profile++) {
        struct seccomp_program p;
        cr_assert_eq(seccomp_exec((enum spec_seccomp_profile)profile, NULL, 0, &p, NULL), 0);
        for (size_t i = 0; i < count; i++) {
            char why[200] = "";
            bool addable;
            enum seccomp_decision said =
                seccomp_explain((enum spec_seccomp_profile)profile, NULL, 0, calls[i].name, why,
                                sizeof(why), &addable);
            cr_expect(strlen(why) > 10, "%s", calls[i].name);
            if (calls[i].class == CALL_CHECK)
                cr_expect_eq(said, SECCOMP_SAYS_ALLOW_IF, "%s", calls[i].name);
            else
                cr_expect_eq(said, decision_of(ask(&p, calls[i].number)), "%s", calls[i].name);
        }
        seccomp_program_fini(&p);
    }
}

Test(seccomp_explain, says_when_a_name_is_unknown)
{
    char why[200] = "";
    bool addable = true;
    cr_assert_eq(seccomp_explain(SPEC_SECCOMP_DEFAULT, NULL, 0, "opne", why, sizeof(why), &addable),
                 SECCOMP_SAYS_NO_SUCH_CALL);
    cr_assert(!addable);
    cr_assert(strlen(why) > 10);
}

Test(seccomp_allow, adds_exactly_the_call_that_is_named)
{
    size_t count;
    const struct seccomp_call *calls = seccomp_table(&count);
    struct seccomp_program plain, more;
    cr_assert_eq(seccomp_exec(SPEC_SECCOMP_STRICT, NULL, 0, &plain, NULL), 0);
    for (size_t i = 0; i < count; i++) {
        uint32_t number = calls[i].number;
        struct err err = {0};
        char why[200];
        bool addable;
        enum seccomp_decision said = seccomp_explain(SPEC_SECCOMP_STRICT, &number, 1, calls[i].name,
                                                     why, sizeof(why), &addable);
        int r = seccomp_exec(SPEC_SECCOMP_STRICT, &number, 1, &more, &err);
        cr_assert_eq(r == 0, addable, "%s", calls[i].name);
        if (r < 0) {
            cr_assert_eq(r, -EINVAL);
            cr_assert_eq(err.code, ERR_INVALID_REQUEST);
            cr_assert_str_eq(err.subject, calls[i].name);
            continue;
        }
        cr_assert_eq(said, SECCOMP_SAYS_ALLOW);
        cr_assert(more.owned);
        for (int n = 0; n <= 600; n++)
            cr_assert_eq(ask(&more, n), n == (int)number ? SECCOMP_RET_ALLOW : ask(&plain, n),
                         "%s added, call %d", calls[i].name, n);
        seccomp_program_fini(&more);
    }
    seccomp_program_fini(&plain);
}

Test(seccomp_allow, never_adds_what_would_break_a_guarantee)
{
    static const char *const never[] = {
        "mount",     "umount2",         "pivot_root",   "chroot",
        "open_tree", "open_tree_attr",  "move_mount",   "fsopen",
        "fsmount",   "fsconfig",        "fspick",       "mount_setattr",
        "unshare",   "setns",           "clone",        "clone3",
        "openat2",   "io_uring_setup",  "bpf",          "kexec_load",
        "add_key",   "init_module",     "finit_module", "delete_module",
        "ptrace",    "keyctl",          "request_key",  "io_uring_enter",
        "chmod",     "fchmodat2",       "ioctl",        "socket",
        "prctl",     "perf_event_open", "syslog",       "open_by_handle_at",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(never); i++) {
        uint32_t number = (uint32_t)seccomp_call_number(never[i]);
        struct seccomp_program p;
        cr_expect_eq(seccomp_exec(SPEC_SECCOMP_DEBUG, &number, 1, &p, NULL), -EINVAL, "%s",
                     never[i]);
    }
    static const uint32_t wrong[] = {400, 471, 0x40000000, 0xffffffff};
    for (size_t i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct seccomp_program p;
        cr_expect_eq(seccomp_exec(SPEC_SECCOMP_DEBUG, &wrong[i], 1, &p, NULL), -EINVAL);
    }
}

Test(seccomp_allow, does_not_depend_on_order_and_names_bytes_by_their_hash)
{
    static const uint32_t forth[] = {206, 237, 323}, back[] = {323, 206, 237};
    struct seccomp_program a, b, plain;
    cr_assert_eq(seccomp_exec(SPEC_SECCOMP_DEFAULT, forth, 3, &a, NULL), 0);
    cr_assert_eq(seccomp_exec(SPEC_SECCOMP_DEFAULT, back, 3, &b, NULL), 0);
    cr_assert_eq(seccomp_exec(SPEC_SECCOMP_DEFAULT, NULL, 0, &plain, NULL), 0);
    cr_assert_str_eq(a.hash, b.hash);
    cr_assert_str_neq(a.hash, plain.hash);
    cr_assert(!plain.owned);
    seccomp_program_fini(&a);
    seccomp_program_fini(&b);
    seccomp_program_fini(&plain);
    cr_assert_null(a.code);
}

Test(seccomp_build, what_is_in_the_program_is_what_the_table_makes)
{
    static struct sock_filter code[BPF_MAXINSNS];
    uint32_t length;
    for (int profile = SPEC_SECCOMP_DEFAULT; profile <= SPEC_SECCOMP_DEBUG; profile++) {
        struct seccomp_program p;
        cr_assert_eq(seccomp_build_exec((enum spec_seccomp_profile)profile, NULL, 0, code,
                                        BPF_MAXINSNS, &length, NULL),
                     0);
        cr_assert_eq(seccomp_exec((enum spec_seccomp_profile)profile, NULL, 0, &p, NULL), 0);
        cr_assert_eq(length, p.length);
        cr_assert_arr_eq(code, p.code, length * sizeof(code[0]));
    }
    struct seccomp_program base;
    cr_assert_eq(seccomp_base(false, &base, NULL), 0);
    cr_assert_leq(base.length, 60, "every call of every process pays for the base layer");
    cr_assert_eq(seccomp_build_exec(SPEC_SECCOMP_DEFAULT, NULL, 0, code, 100, &length, NULL),
                 -E2BIG);
    cr_assert_eq(seccomp_build_exec((enum spec_seccomp_profile)9, NULL, 0, code, BPF_MAXINSNS,
                                    &length, NULL),
                 -EINVAL);
}

Test(seccomp_simulate, a_filter_that_the_kernel_would_refuse_never_looks_permissive)
{
    static const struct sock_filter broken[][2] = {
        {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 64}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 2}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_LD | BPF_W | BPF_ABS, 0, 0, 0xfffffffc}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_LD | BPF_B | BPF_ABS, 0, 0, 0}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_JMP | BPF_JA, 0, 0, 1}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_JMP | BPF_JA, 0, 0, 0xffffffff}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_LD | BPF_MEM, 0, 0, 16}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_ALU | BPF_DIV | BPF_K, 0, 0, 0}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{0xffff, 0, 0, 0}, {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW}},
        {{BPF_LD | BPF_IMM, 0, 0, 0}, {BPF_LD | BPF_IMM, 0, 0, 0}},
    };
    struct seccomp_data data = {0};
    for (size_t i = 0; i < ARRAY_LENGTH(broken); i++)
        cr_expect_eq(seccomp_simulate(broken[i], 2, &data), SECCOMP_RET_KILL_PROCESS, "%zu", i);
    cr_assert_eq(seccomp_simulate(NULL, 0, &data), SECCOMP_RET_KILL_PROCESS);
}

Test(seccomp_docs, show_the_table_that_the_filters_are_made_of)
{
    _cleanup_buf_ struct buf table = {0};
    _cleanup_free_ char *page = NULL;
    size_t length = 0;
    seccomp_describe(&table);
    cr_assert_eq(io_read_file(AT_FDCWD, "docs/seccomp.md", 1 << 20, &page, &length), 0);
    cr_assert(strstr(page, buf_text(&table)) != NULL,
              "docs/seccomp.md is out of date: replace its table by what "
              "$(BUILD)/gen/seccomp_gen table prints");
}
