/* This file reads server-sent events (HTML standard, section 9.2) out of pieces of any size; it
 * never reads from a descriptor, and never keeps more than one event of bounded size.
 *
 *     client_sse_next() until CLIENT_SSE_MORE, then with the next piece.
 *
 * Pure but for memory. Unprivileged.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"

#include <stdint.h>

enum { CLIENT_SSE_MAX = 4 << 20, CLIENT_SSE_TYPE_MAX = 64 };

struct client_sse {
    struct buf line, data;
    char type[CLIENT_SSE_TYPE_MAX];
    uint64_t id;
    bool has_data, has_id;
    bool fresh; /* the last event was given out: begin another */
};

struct client_event {
    uint64_t id;      /* 0: none */
    const char *type; /* "message" when none was said */
    const char *data; /* NUL-terminated */
    size_t length;
};

void client_sse_fini(struct client_sse *sse); /* empty again */

enum client_sse_outcome { CLIENT_SSE_MORE = 1 };

/* 0 with *ret_event, valid until the next call; CLIENT_SSE_MORE: all of the piece was used. *at
 * goes on through `data`. -EPROTO: no events, or one that is too large. -ENOMEM. */
int client_sse_next(struct client_sse *sse, const char *data, size_t length, size_t *at,
                    struct client_event *ret_event, struct err *err);
