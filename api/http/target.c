/* This file takes the target of a request apart; it never normalises. */
#include "api/http/target.h"

#include <errno.h>
#include <string.h>

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's target", NULL, "%s", what);
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int decode(struct slice from, bool form, struct arena *arena, const char **ret_text,
                  struct err *err)
{
    char *text = arena_alloc(arena, from.length + 1);
    if (!text)
        return err_set(err, ERR_INTERNAL, ENOMEM, "read the request's target", NULL, NULL);
    size_t n = 0;
    for (size_t i = 0; i < from.length; i++) {
        char c = from.at[i];
        if (c == '%') {
            int high = i + 2 < from.length ? hex_value(from.at[i + 1]) : -1;
            int low = i + 2 < from.length ? hex_value(from.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return bad(err, "A \"%\" is not followed by two hexadecimal digits.");
            c = (char)(high << 4 | low);
            if (c == 0)
                return bad(err, "There is an encoded NUL (%00).");
            i += 2;
        } else if (form && c == '+') {
            c = ' ';
        }
        text[n++] = c;
    }
    text[n] = 0;
    *ret_text = text;
    return 0;
}

/* Up to the next `separator`, which is passed. */
static struct slice cut(struct slice *from, char separator)
{
    const char *end = memchr(from->at, separator, from->length);
    struct slice part = {from->at, end ? (size_t)(end - from->at) : from->length};
    size_t used = part.length + (end != NULL);
    from->at += used;
    from->length -= used;
    return part;
}

static int parse_query(struct slice query, struct arena *arena, struct target *ret, struct err *err)
{
    while (query.length > 0) {
        struct slice value = cut(&query, '&');
        struct slice name = cut(&value, '=');
        struct target_parameter parameter;
        if (ret->query_count == TARGET_QUERY_MAX) {
            err_set(err, ERR_INVALID_REQUEST, 0, "read the request's target", NULL,
                    "There are more than %d query parameters.", TARGET_QUERY_MAX);
            return -E2BIG;
        }
        int r = decode(name, true, arena, &parameter.name, err);
        if (r == 0)
            r = decode(value, true, arena, &parameter.value, err);
        if (r < 0)
            return r;
        if (!parameter.name[0])
            return bad(err, "There is a query parameter without a name.");
        for (unsigned i = 0; i < ret->query_count; i++)
            if (strcmp(ret->query[i].name, parameter.name) == 0)
                return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's target",
                               parameter.name, "This query parameter is here twice.");
        ret->query[ret->query_count++] = parameter;
    }
    return 0;
}

int target_parse(struct slice text, struct arena *arena, struct target *ret, struct err *err)
{
    ret->segment_count = ret->query_count = 0;
    struct slice query = text, path = cut(&query, '?');
    path.at++; /* the first slash */
    path.length--;
    bool more = true;
    while (more) {
        if (ret->segment_count == TARGET_SEGMENTS_MAX)
            return TARGET_UNKNOWN;
        more = path.length > 0 && memchr(path.at, '/', path.length);
        int r = decode(cut(&path, '/'), false, arena, &ret->segments[ret->segment_count], err);
        if (r < 0)
            return r;
        ret->segment_count++;
    }
    return parse_query(query, arena, ret, err);
}
