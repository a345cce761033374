/* This file tells clang's analyzer, which sees one source file at a time, what runtime/base/err.h
 * promises: that a failing function returns less than 0. It is included before each source by the
 * clang-tidy run (tests/lint/lint.mk); no compiler ever sees it. */
#pragma once

#include "runtime/base/err.h"

#include <errno.h>

static inline int analyzer_negative(int r)
{
    if (r >= 0)
        __builtin_unreachable();
    return r;
}

static inline int *analyzer_errno(int *location)
{
    if (*location <= 0)
        __builtin_unreachable();
    return location;
}

#define err_set(...) analyzer_negative(err_set(__VA_ARGS__))
#define err_raw(...) analyzer_negative(err_raw(__VA_ARGS__))
#undef errno
#define errno (*analyzer_errno(__errno_location()))
