/* This file finds the place in a request's body that an error of the policy layer is about; it
 * never reads a value.
 *
 * An error names its place as every other one does, "body:LINE:COLUMN" (origin_print() writes it).
 * A position is the beginning of one value, or of one key, and of no other: so it leads back to the
 * node, and the way to it is the pointer.
 */
#include "policy/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The first "body:LINE:COLUMN" of `text`. */
static bool find_place(const char *text, struct json_position *ret)
{
    static const char mark[] = POLICY_BODY_NAME ":";
    for (const char *at = text; (at = strstr(at, mark)); at++) {
        if (at > text && at[-1] != '(' && at[-1] != ' ')
            continue;
        char *end;
        unsigned long line = strtoul(at + sizeof mark - 1, &end, 10);
        if (*end != ':' || end == at + sizeof mark - 1)
            continue;
        const char *column = end + 1;
        unsigned long place = strtoul(column, &end, 10);
        if (end == column)
            continue;
        *ret = (struct json_position){(uint32_t)line, (uint32_t)place};
        return true;
    }
    return false;
}

static bool same(struct json_position a, struct json_position b)
{
    return a.line == b.line && a.column == b.column;
}

/* Adds "/name" with its escapes; -1 when it does not fit. */
static int add_name(const char *name, char pointer[POLICY_POINTER_MAX], size_t *length)
{
    size_t n = *length;
    if (n + 2 > POLICY_POINTER_MAX)
        return -1;
    pointer[n++] = '/';
    for (; *name; name++) {
        bool escape = *name == '~' || *name == '/';
        if (n + 3 > POLICY_POINTER_MAX)
            return -1;
        pointer[n++] = escape ? '~' : *name;
        if (escape)
            pointer[n++] = *name == '~' ? '0' : '1';
    }
    pointer[n] = 0;
    *length = n;
    return 0;
}

/* One level: the child that is at the place or holds it. A node begins before what it holds, and
 * the next one after it. */
static const struct json_node *child_towards(const struct json_node *node,
                                             struct json_position place, unsigned *ret_index)
{
    const struct json_node *found = NULL;
    unsigned index = 0;
    for (const struct json_node *m = node->first; m; m = m->next, index++) {
        const struct json_position *from = m->key ? &m->key_at : &m->at;
        if (from->line > place.line || (from->line == place.line && from->column > place.column))
            break;
        found = m;
        *ret_index = index;
    }
    return found;
}

void policy_body_pointer(const struct json_node *body, const struct err *err,
                         char ret_pointer[POLICY_POINTER_MAX])
{
    struct json_position place;
    size_t length = 0;
    ret_pointer[0] = 0;
    if (!find_place(err->subject, &place) && !find_place(err->detail, &place))
        return;
    const struct json_node *node = body;
    while (node && (node->kind == JSON_OBJECT || node->kind == JSON_ARRAY)) {
        char number[16];
        unsigned index = 0;
        node = child_towards(node, place, &index);
        snprintf(number, sizeof number, "%u", index);
        if (!node || add_name(node->key ? node->key : number, ret_pointer, &length) < 0)
            return;
        if (same(node->at, place) || (node->key && same(node->key_at, place)))
            return;
    }
    /* No node begins there. */
    ret_pointer[0] = 0;
}
