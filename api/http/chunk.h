/* This file reads a body in chunks (RFC 9112, 7.1); it never keeps a byte of it. Chunk extensions
 * are passed over within a bound, trailer fields are refused.
 *
 * Pure. Unprivileged.
 */
#pragma once

#include "api/http/head.h"

enum { CHUNK_LINE_MAX = 256 };

enum chunk_state {
    CHUNK_SIZE,
    CHUNK_EXTENSION,
    CHUNK_SIZE_END, /* its line feed */
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_LAST_CR,
    CHUNK_LAST_LF,
    CHUNK_ENDED,
};

struct chunk_reader {
    enum chunk_state state; /* CHUNK_SIZE, and everything else zero, at first */
    uint64_t left;          /* of this chunk's data */
    unsigned line;          /* bytes of the size line so far */
    unsigned digits;
};

enum chunk_outcome { CHUNK_MORE = 1, CHUNK_END = 2 };

/* The next piece of the body in `data`. *ret_used bytes were consumed; *ret_piece is a part of
 * them, maybe empty. 0: call again with the rest. CHUNK_MORE: all was used, read on. CHUNK_END: the
 * body is whole, the rest is another request's. -EINVAL: no chunked body. */
int chunk_next(struct chunk_reader *r, const char *data, size_t length, size_t *ret_used,
               struct slice *ret_piece, struct err *err);
