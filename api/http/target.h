/* This file takes the target of a request apart: path and query, percent-decoded once; it never
 * normalises, so that what was checked is what is used. "." and ".." are names like others, which
 * no route has.
 *
 * Pure. What is decoded lives in the caller's arena. Unprivileged.
 */
#pragma once

#include "api/http/head.h"
#include "policy/arena.h"

enum { TARGET_SEGMENTS_MAX = 12, TARGET_QUERY_MAX = 16 };

struct target_parameter {
    const char *name;
    const char *value; /* bytes; never with a NUL inside */
};

struct target {
    const char *segments[TARGET_SEGMENTS_MAX]; /* between the slashes; maybe "" */
    unsigned segment_count;
    struct target_parameter query[TARGET_QUERY_MAX];
    unsigned query_count;
};

/* 0; -EINVAL: a bad escape, an encoded NUL, a query parameter without name or twice;
 * TARGET_UNKNOWN: more segments than any route has; -E2BIG: too many parameters; -ENOMEM.
 * In a query "+" is a space, as in forms. */
enum target_outcome { TARGET_UNKNOWN = 1 };
int target_parse(struct slice text, struct arena *arena, struct target *ret, struct err *err);
