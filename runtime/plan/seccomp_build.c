/* This file builds the filters: the table's classes and rules become one verdict a number, and the
 * emitter makes the program; it never loads one. Pure.
 */
#include "runtime/plan/seccomp_build.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <stdio.h>

static int emit(const struct seccomp_verdict *verdicts, uint16_t beyond, uint32_t profile,
                struct sock_filter *ret_code, uint32_t capacity, uint32_t *ret_length,
                struct err *err)
{
    int r = seccomp_emit(verdicts, beyond, profile, ret_code, capacity, ret_length);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "build the seccomp filter", NULL,
                       "It needs more than %u instructions.", capacity);
    return 0;
}

/* `whole`: the answer to what is refused whatever its arguments; 0: the range's own. */
static int build_base(bool shared_uid, uint16_t whole, struct sock_filter *ret_code,
                      uint32_t capacity, uint32_t *ret_length, struct err *err)
{
    struct seccomp_verdict verdicts[SECCOMP_NUMBER_END] = {0};
    size_t count;

    const struct seccomp_base_range *ranges = seccomp_base_ranges(&count);
    for (size_t i = 0; i < count; i++)
        for (uint32_t n = ranges[i].first; n <= ranges[i].last; n++)
            verdicts[n].answer = whole ? whole : ranges[i].answer;

    const struct seccomp_rule *rules = seccomp_shared_uid_rules(&count);
    for (size_t i = 0; shared_uid && i < count; i++)
        verdicts[rules[i].number].rule = &rules[i];

    return emit(verdicts, 0, 0, ret_code, capacity, ret_length, err);
}

int seccomp_build_base(bool shared_uid, struct sock_filter *ret_code, uint32_t capacity,
                       uint32_t *ret_length, struct err *err)
{
    return build_base(shared_uid, 0, ret_code, capacity, ret_length, err);
}

/* ENOSYS marks what is asked about: other architectures have it already, and no rule of a shared
 * uid answers so (a test holds that). */
int seccomp_build_base_explained(bool shared_uid, struct sock_filter *ret_code, uint32_t capacity,
                                 uint32_t *ret_length, struct err *err)
{
    int r = build_base(shared_uid, ENOSYS, ret_code, capacity, ret_length, err);
    for (uint32_t i = 0; r == 0 && i < *ret_length; i++)
        if (ret_code[i].code == (BPF_RET | BPF_K) && ret_code[i].k == (SECCOMP_RET_ERRNO | ENOSYS))
            ret_code[i].k = SECCOMP_RET_USER_NOTIF;
    return r;
}

static int add_allowed(struct seccomp_verdict *verdicts, uint32_t number, struct err *err)
{
    const struct seccomp_call *call =
        number < SECCOMP_NUMBER_END ? seccomp_table_by_number((int)number) : NULL;
    if (!call) {
        char text[16];
        snprintf(text, sizeof(text), "%u", number);
        return err_set(err, ERR_INVALID_REQUEST, EINVAL, "allow a system call", text,
                       "berth knows no system call of this number.");
    }
    if (!seccomp_class_addable(call->class))
        return err_set(err, ERR_INVALID_REQUEST, EINVAL, "allow a system call", call->name,
                       "It can't be added to a profile: %s.", call->why);
    verdicts[number] = (struct seccomp_verdict){.answer = 0};
    return 0;
}

int seccomp_build_exec(enum spec_seccomp_profile profile, const uint32_t *allow,
                       uint32_t allow_count, struct sock_filter *ret_code, uint32_t capacity,
                       uint32_t *ret_length, struct err *err)
{
    struct seccomp_verdict verdicts[SECCOMP_NUMBER_END];
    size_t count;

    if (profile < SPEC_SECCOMP_DEFAULT || profile > SPEC_SECCOMP_DEBUG)
        return err_set(err, ERR_INTERNAL, EINVAL, "build the seccomp filter", NULL,
                       "There is no profile number %d.", (int)profile);

    for (uint32_t n = 0; n < SECCOMP_NUMBER_END; n++)
        verdicts[n] = (struct seccomp_verdict){.answer = ENOSYS};
    const struct seccomp_call *calls = seccomp_table(&count);
    for (size_t i = 0; i < count; i++) {
        struct seccomp_verdict *v = &verdicts[calls[i].number];
        v->answer = (uint16_t)seccomp_class_answer(calls[i].class, profile);
        if (calls[i].class != CALL_CHECK)
            continue;
        v->rule = seccomp_rule_by_number(calls[i].number);
        if (!v->rule) /* fail closed; a test sees to it that no row lacks its rule */
            v->answer = EPERM;
    }
    for (uint32_t i = 0; i < allow_count; i++) {
        int r = add_allowed(verdicts, allow[i], err);
        if (r < 0)
            return r;
    }
    return emit(verdicts, ENOSYS, profile, ret_code, capacity, ret_length, err);
}
