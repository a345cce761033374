/* This file reads the values of single header fields and query parameters; it never defaults what
 * was written wrongly.
 * Pure. Unprivileged.
 */
#pragma once

#include "api/http/head.h"

enum { IDEMPOTENCY_KEY_MAX = 128 };

/* A range as it was asked for (RFC 9110, 14.1.2), one range of bytes. */
struct byte_range {
    bool present;
    bool suffix; /* the last `last` bytes */
    bool open;   /* from `first` to the end */
    uint64_t first, last;
};

/* Idempotency-Key: 1 to 128 visible ASCII characters without quotes, commas and backslashes; quotes
 * around it are taken off. 0 or -EINVAL. */
int value_idempotency_key(struct slice value, char ret_key[IDEMPOTENCY_KEY_MAX + 1],
                          struct err *err);

/* Last-Event-ID and sequence numbers: decimal digits that fit 63 bits. 0 or -EINVAL. */
int value_sequence(struct slice value, const char *what, uint64_t *ret_sequence, struct err *err);

/* "bytes=0-99", "bytes=100-", "bytes=-50". 0; -EINVAL: not that, or several ranges. */
int value_range(struct slice value, struct byte_range *ret_range, struct err *err);

/* Which bytes of `size` that is. 0; -ERANGE with ERR_RANGE_NOT_SATISFIABLE: none. Without a range:
 * all of them. */
int byte_range_resolve(const struct byte_range *range, uint64_t size, uint64_t *ret_offset,
                       uint64_t *ret_length, struct err *err);

/* Is this the media type of a JSON body, maybe with charset=utf-8? */
bool value_is_json(struct slice content_type);
