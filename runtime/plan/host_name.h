/* This file knows what a host name is (NET-2); it never resolves one. It is the one canonicaliser:
 * what a policy names, what a program asks for and what a ClientHello says are brought to the same
 * form here.
 * Canonical: ASCII, lower case, no trailing dot, at most 253 bytes, labels of 1 to 63 letters,
 * digits, "-" and "_" that neither begin nor end with "-". A pattern may be "*." and a name of two
 * labels or more: it means one label or more before that name, never the name itself.
 * Pure. Any process may call.
 */
#pragma once

#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>

enum { HOST_WHY_MAX = 320 };

/* 0, or -EINVAL with one or two sentences in ret_why. A name; with `pattern`, also a wildcard. */
int host_canonical(const char *text, bool pattern, char ret_host[SPEC_HOST_MAX],
                   char ret_why[HOST_WHY_MAX]);

/* All three take canonical text. */
bool host_matches(const char *pattern, const char *host);
bool host_covers(const char *wide, const char *narrow); /* both may be patterns */
bool host_overlaps(const char *one, const char *other); /* both may be patterns */
