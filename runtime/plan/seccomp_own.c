/* This file makes filters of berth's own programs; what is in the lists is theirs. */
#include "runtime/plan/seccomp_own.h"

#include <errno.h>

static int find(const struct seccomp_own *own, const char *name, uint16_t *ret_number,
                struct err *err)
{
    const struct seccomp_call *call = seccomp_table_by_name(name);
    if (!call)
        return err_set(err, ERR_INTERNAL, ENOENT, own->step, name,
                       "This call is not in the table.");
    *ret_number = call->number;
    return 0;
}

int seccomp_own(const struct seccomp_own *own, struct sock_filter *ret_code, uint32_t max,
                uint32_t *ret_length, struct err *err)
{
    struct seccomp_verdict verdicts[SECCOMP_NUMBER_END];
    uint16_t number = 0;
    int r = 0;
    for (unsigned i = 0; i < SECCOMP_NUMBER_END; i++)
        verdicts[i] = (struct seccomp_verdict){.answer = ENOSYS};
    for (size_t i = 0; r == 0 && i < own->allowed_count; i++) {
        r = find(own, own->allowed[i], &number, err);
        if (r == 0)
            verdicts[number].answer = 0;
    }
    for (size_t i = 0; r == 0 && i < own->judged_count; i++) {
        r = find(own, own->judged[i].name, &number, err);
        if (r == 0)
            verdicts[number].rule = &own->judged[i].rule;
    }
    if (r == 0)
        r = seccomp_emit(verdicts, ENOSYS, SPEC_SECCOMP_DEFAULT, ret_code, max, ret_length);
    if (r == -E2BIG)
        return err_set(err, ERR_INTERNAL, E2BIG, own->step, NULL, NULL);
    return r;
}
