/* This file reads server-sent events; it never keeps more than one. */
#include "api/cli/client_sse.h"

#include "runtime/base/units.h"

#include <errno.h>
#include <string.h>

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_INTERNAL, EPROTO, "read the stream", NULL, "%s", what);
}

void client_sse_fini(struct client_sse *sse)
{
    buf_fini(&sse->line);
    buf_fini(&sse->data);
    *sse = (struct client_sse){0};
}

static void empty(struct buf *b)
{
    b->length = 0;
    if (b->data)
        b->data[0] = 0;
}

static void begin(struct client_sse *sse)
{
    empty(&sse->data);
    sse->type[0] = 0;
    sse->id = 0;
    sse->has_data = sse->has_id = sse->fresh = false;
}

static int take_field(struct client_sse *sse, const char *name, size_t name_length,
                      const char *value, struct err *err)
{
#define IS(text) (name_length == sizeof text - 1 && memcmp(name, text, name_length) == 0)
    if (IS("data")) {
        if (sse->has_data)
            buf_putc(&sse->data, '\n');
        buf_puts(&sse->data, value);
        sse->has_data = true;
        if (sse->data.length > CLIENT_SSE_MAX)
            return bad(err, "An event is too large.");
    } else if (IS("event")) {
        if (strlen(value) >= sizeof sse->type)
            return bad(err, "The type of an event is too long.");
        memcpy(sse->type, value, strlen(value) + 1);
    } else if (IS("id")) {
        if (sse->has_id || units_parse_u64(value, &sse->id) < 0)
            return bad(err, "The number of an event is none.");
        sse->has_id = true;
    }
#undef IS
    return 0;
}

/* A whole line, without its end. 0: the event is whole; CLIENT_SSE_MORE. */
static int take_line(struct client_sse *sse, struct err *err)
{
    const char *line = buf_text(&sse->line);
    if (line[0] == 0 && sse->has_data)
        return 0;
    if (line[0] == 0) {
        begin(sse);
        return CLIENT_SSE_MORE;
    }
    const char *colon = strchr(line, ':');
    size_t name_length = colon ? (size_t)(colon - line) : strlen(line);
    const char *value = colon ? colon + 1 + (colon[1] == ' ') : "";
    int r = take_field(sse, line, name_length, value, err);
    return r < 0 ? r : CLIENT_SSE_MORE;
}

int client_sse_next(struct client_sse *sse, const char *data, size_t length, size_t *at,
                    struct client_event *ret_event, struct err *err)
{
    if (sse->fresh)
        begin(sse);
    while (*at < length) {
        const char *end = memchr(data + *at, '\n', length - *at);
        size_t n = end ? (size_t)(end - data) - *at : length - *at;
        if (sse->line.length + n > CLIENT_SSE_MAX || memchr(data + *at, 0, n))
            return bad(err, "A line is too long, or has a NUL in it.");
        buf_add(&sse->line, data + *at, n);
        *at += n + (end != NULL);
        if (!end)
            break;
        if (sse->line.length && sse->line.data[sse->line.length - 1] == '\r')
            sse->line.data[--sse->line.length] = 0;
        int r = take_line(sse, err);
        empty(&sse->line);
        if (buf_failed(&sse->line) || buf_failed(&sse->data))
            return err_set(err, ERR_INTERNAL, ENOMEM, "read the stream", NULL, NULL);
        if (r < 0)
            return r;
        if (r == 0) {
            *ret_event = (struct client_event){.id = sse->id,
                                               .type = sse->type[0] ? sse->type : "message",
                                               .data = buf_text(&sse->data),
                                               .length = sse->data.length};
            sse->fresh = true;
            return 0;
        }
    }
    return buf_failed(&sse->line)
               ? err_set(err, ERR_INTERNAL, ENOMEM, "read the stream", NULL, NULL)
               : CLIENT_SSE_MORE;
}
