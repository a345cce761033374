/* This file declares the filters that the generator (runtime/plan/gen) wrote when berth was built;
 * they are read-only data of the program. Used by seccomp.c.
 */
#pragma once

#include <linux/filter.h>
#include <stdint.h>

enum seccomp_generated_index {
    GENERATED_BASE,
    GENERATED_BASE_SHARED_UID,
    GENERATED_DEFAULT,
    GENERATED_STRICT,
    GENERATED_DEBUG,
    GENERATED_COUNT
};

struct seccomp_generated {
    const struct sock_filter *code;
    uint32_t length;
    char hash[65];
};

extern const struct seccomp_generated seccomp_generated[GENERATED_COUNT];
