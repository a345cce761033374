/* This file reads the header fields by which a request depends on what is there: If-Match,
 * If-None-Match, If-Range, and the hash of a body (RFC 9110, 13; RFC 9530); it never decides
 * whether they hold.
 *
 * Which route takes which, route.h says. A field that would protect something, on a
 * route that does not take it, is refused: who sent it believes that it does.
 * Pure. Unprivileged.
 */
#pragma once

#include "api/http/head.h"
#include "api/http/route.h"
#include "policy/arena.h"

enum { ETAGS_MAX = 1024, SHA256_HEX_SIZE = 65 };

/* What stands in one of these fields. */
struct etag_list {
    bool present, any; /* "*" */
    const char *text;  /* as it was sent: tags with their quotes, between commas */
    size_t length;
};

struct conditions {
    struct etag_list match, none_match, range;
    char sha256[SHA256_HEX_SIZE]; /* of the body, in hex; "": not said */
};

/* 0, or -EINVAL. */
int conditions_read(const struct route *route, const struct head *head, struct arena *arena,
                    struct conditions *ret, struct err *err);

/* Is `etag` (with its quotes, strong) in the list? `weak`: a weak one of the same text counts too
 * (If-None-Match); else only strong ones do. */
bool etag_list_has(const struct etag_list *list, const char *etag, bool weak);

/* The one strong tag of a list without its quotes; 0, or -EINVAL when it is not one. */
int etag_list_one(const struct etag_list *list, char *ret, size_t size);
