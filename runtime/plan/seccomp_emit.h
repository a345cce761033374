/* This file declares the emitter that turns answers by call number into a classic BPF program for
 * seccomp; it knows nothing of profiles. Pure, no allocation. Used by seccomp_build.c.
 *
 * Why berth has its own (docs/seccomp.md, "Why no libseccomp"): a rule here is "refuse these
 * argument values, allow the rest" or the other way round, call by call, which a library with one
 * default action cannot say for masked values; and numbers that follow each other with one answer
 * become one range, a fifth of the instructions.
 */
#pragma once

#include "runtime/plan/seccomp_table.h"

#include <linux/filter.h>
#include <stdint.h>

/* What happens to one call: a constant answer (0 allowed, else errno), or a rule. */
struct seccomp_verdict {
    uint16_t answer;
    const struct seccomp_rule *rule; /* NULL: `answer` */
};

/* The filter: another architecture than x86-64 is ENOSYS (never killed: programs probe int 0x80),
 * number n < SECCOMP_NUMBER_END is verdicts[n], greater ones are `beyond`, and those with the x32
 * bit or above ENOSYS. `profile` (0 for the base layer) selects clauses. -E2BIG when `capacity`
 * instructions do not hold it. */
int seccomp_emit(const struct seccomp_verdict verdicts[SECCOMP_NUMBER_END], uint16_t beyond,
                 uint32_t profile, struct sock_filter *ret_code, uint32_t capacity,
                 uint32_t *ret_length);
