/* This file writes server-sent events (HTML standard, section 9.2); it never decides when.
 * Pure. Unprivileged.
 */
#pragma once

#include "runtime/base/buf.h"

#include <stdint.h>

/* One event. `id` 0: without id. `type` is berth's own word, NULL for none. A line break in `data`
 * begins another data line, so that no text of a session's can end an event or begin another. */
void sse_event(struct buf *out, uint64_t id, const char *type, const char *data, size_t length);

void sse_heartbeat(struct buf *out); /* a comment: keeps proxies and clients sure of the stream */
