/* This file writes server-sent events; it never decides when. */
#include "api/http/sse.h"

#include <inttypes.h>

static bool breaks(char c)
{
    return c == '\n' || c == '\r';
}

void sse_event(struct buf *out, uint64_t id, const char *type, const char *data, size_t length)
{
    if (id)
        buf_printf(out, "id: %" PRIu64 "\n", id);
    if (type)
        buf_printf(out, "event: %s\n", type);
    size_t at = 0;
    for (;;) {
        size_t n = 0;
        while (at + n < length && !breaks(data[at + n]))
            n++;
        buf_puts(out, "data: ");
        buf_add(out, data + at, n);
        buf_putc(out, '\n');
        at += n;
        if (at == length)
            break;
        at += data[at] == '\r' && at + 1 < length && data[at + 1] == '\n' ? 2 : 1;
    }
    buf_putc(out, '\n');
}

void sse_heartbeat(struct buf *out)
{
    buf_puts(out, ":\n\n");
}
