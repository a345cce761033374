/* This file reads and prints one value of a policy; it never looks at another one. */
#include "policy/model.h"
#include "policy/rule.h"
#include "policy/suggest.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CHOICES_MAX = 8 };

static int __attribute__((format(printf, 2, 3)))
refuse(char ret_why[POLICY_WHY_MAX], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret_why, POLICY_WHY_MAX, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int refuse_allowed(char ret_why[POLICY_WHY_MAX], const struct schema_row *row,
                          const char *text, const char *what)
{
    char allowed[320];
    schema_allowed(row, allowed, sizeof allowed);
    return refuse(ret_why, "\"%.80s\" %s. Allowed: %s.", text, what, allowed);
}

/* Sizes and durations with a slip in the unit have one likely meaning. */
static int refuse_unit(char ret_why[POLICY_WHY_MAX], const struct schema_row *row, const char *text)
{
    static const char *const sizes[] = {"B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"};
    static const char *const times[] = {"ms", "s", "m", "h", "d"};
    static const struct {
        const char *wrong, *right;
    } slips[] = {{"G", "GiB"},   {"M", "MiB"},  {"K", "KiB"},    {"T", "TiB"},     {"k", "KiB"},
                 {"g", "GiB"},   {"sec", "s"},  {"secs", "s"},   {"second", "s"},  {"seconds", "s"},
                 {"min", "m"},   {"mins", "m"}, {"minute", "m"}, {"minutes", "m"}, {"hour", "h"},
                 {"hours", "h"}, {"hr", "h"},   {"day", "d"},    {"days", "d"},    {"H", "h"},
                 {"S", "s"},     {"D", "d"},    {"bytes", "B"},  {"m", "MiB"}};
    size_t n = strspn(text, "0123456789.");
    const char *unit = text + n + strspn(text + n, " ");
    bool size = row->type == TYPE_SIZE;
    const char *near = NULL;
    for (size_t i = 0; i < ARRAY_LENGTH(slips) && !near; i++)
        for (size_t k = 0; k < (size ? ARRAY_LENGTH(sizes) : ARRAY_LENGTH(times)); k++)
            if (strcmp(unit, slips[i].wrong) == 0 &&
                strcmp(slips[i].right, size ? sizes[k] : times[k]) == 0)
                near = slips[i].right;
    if (!near && *unit)
        near = size ? suggest_nearest(unit, sizes, ARRAY_LENGTH(sizes))
                    : suggest_nearest(unit, times, ARRAY_LENGTH(times));
    if (n == 0 || !near)
        return refuse_allowed(ret_why, row, text, size ? "is not a size" : "is not a duration");
    refuse_allowed(ret_why, row, text, size ? "is not a size" : "is not a duration");
    size_t used = strlen(ret_why);
    snprintf(ret_why + used, POLICY_WHY_MAX - used, " Did you mean \"%.*s%s\"?", (int)n, text,
             near);
    return -EINVAL;
}

static int read_number(const struct schema_row *row, const char *text, struct policy_value *ret,
                       char ret_why[POLICY_WHY_MAX])
{
    uint64_t number = 0;
    if (row->unlimited && strcmp(text, "unlimited") == 0) {
        ret->number = 0;
        return 0;
    }
    int e = row->type == TYPE_SIZE       ? units_parse_size(text, &number)
            : row->type == TYPE_DURATION ? units_parse_duration(text, &number)
            : row->type == TYPE_CPUS     ? units_parse_cpus(text, &number)
                                         : units_parse_u64(text, &number);
    if (row->type == TYPE_CPUS && e < 0 && strspn(text, "0.") == strlen(text))
        e = 0; /* zero: told below as out of range */
    if (e == -ERANGE)
        return refuse_allowed(ret_why, row, text, "is too large");
    if (e < 0 && (row->type == TYPE_SIZE || row->type == TYPE_DURATION) && text[0] != '-')
        return refuse_unit(ret_why, row, text);
    if (e < 0)
        return refuse_allowed(ret_why, row, text,
                              text[0] == '-' ? "is negative" : "is not a number of this kind");
    if (number < row->min || number > row->max)
        return refuse_allowed(ret_why, row, text,
                              number < row->min ? "is too small" : "is too large");
    ret->number = number;
    return 0;
}

static int read_choice(const struct schema_row *row, const char *text, struct policy_value *ret,
                       char ret_why[POLICY_WHY_MAX])
{
    const char *names[CHOICES_MAX];
    size_t count = 0;
    for (const struct schema_choice *c = row->choices; c->name && count < CHOICES_MAX; c++) {
        if (strcmp(c->name, text) == 0) {
            ret->number = count;
            return 0;
        }
        names[count++] = c->name;
    }
    const char *near = suggest_nearest(text, names, count);
    refuse_allowed(ret_why, row, text, "is not one of the choices");
    if (near) {
        size_t used = strlen(ret_why);
        snprintf(ret_why + used, POLICY_WHY_MAX - used, " Did you mean \"%s\"?", near);
    }
    return -EINVAL;
}

static int read_image(struct arena *arena, const struct schema_row *row, const char *text,
                      struct policy_value *ret, char ret_why[POLICY_WHY_MAX])
{
    size_t n = strlen(text);
    if (strncmp(text, "dir:", 4) == 0) {
        /* The rules of a path are those of a mount's source; "/" alone is the host itself. */
        struct policy_item item = {0};
        const struct schema_row *paths = &schema_rows[ROW_READ_ONLY];
        if (strcmp(text, "dir:/") == 0)
            return refuse(ret_why, "\"dir:/\" is the whole host, its secrets included. \"host\" "
                                   "gives its programs, read-only.");
        int e = item_from_text(arena, paths, text + 4, false, &item, ret_why);
        if (e < 0)
            return e;
        ret->text = arena_printf(arena, "dir:%s", item.text);
        return ret->text ? 0 : -ENOMEM;
    }
    if (strchr(text, '/'))
        return refuse(ret_why, "\"%.80s\" is a path. A tree on the host is \"dir:%.80s\".", text,
                      text);
    if (!id_valid(text))
        return refuse_allowed(ret_why, row, text, "is not the name of an image");
    const char *const known[] = {"host"};
    if (strcmp(text, "host") != 0 && n <= 5 && suggest_nearest(text, known, 1))
        return refuse_allowed(ret_why, row, text,
                              "is not an image that berth has. Did you mean \"host\"?");
    ret->text = arena_copy(arena, text, n);
    return ret->text ? 0 : -ENOMEM;
}

static int read_user(const struct schema_row *row, const char *text, struct policy_value *ret,
                     char ret_why[POLICY_WHY_MAX])
{
    if (strcmp(text, "user") == 0)
        ret->number = SPEC_UID_USER;
    else if (strcmp(text, "root") == 0)
        ret->number = SPEC_UID_ROOT;
    else if (units_parse_u64(text, &ret->number) < 0 || ret->number > row->max ||
             (text[0] == '0' &&
              text[1])) /* one way to write a number: 00 reads like 0 and is not */
        return refuse_allowed(ret_why, row, text, "is not a user of a session");
    return 0;
}

static int read_base(struct arena *arena, const struct schema_row *row, const char *text,
                     struct policy_value *ret, char ret_why[POLICY_WHY_MAX])
{
    if (!*text)
        return refuse_allowed(ret_why, row, text, "is empty");
    if (text[0] == '/' || text[0] == '~')
        return refuse(ret_why,
                      "\"%.200s\" is not relative. A policy extends a preset, or a file "
                      "named relative to itself.",
                      text);
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20)
            return refuse(ret_why, "It has a control character.");
    ret->text = arena_copy(arena, text, strlen(text));
    return ret->text ? 0 : -ENOMEM;
}

/* A scalar, whatever it was written as. */
static int read_scalar(struct arena *arena, const struct schema_row *row, const char *text,
                       struct policy_value *ret, char ret_why[POLICY_WHY_MAX])
{
    switch (row->type) {
    case TYPE_VERSION:
        if (strcmp(text, "1") != 0)
            return refuse(ret_why, "Version \"%.20s\" is not known. This berth reads version 1.",
                          text);
        ret->number = 1;
        return 0;
    case TYPE_BASE:
        return read_base(arena, row, text, ret, ret_why);
    case TYPE_BOOLEAN:
        if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
            return refuse_allowed(ret_why, row, text, "is neither true nor false");
        ret->number = strcmp(text, "true") == 0;
        return 0;
    case TYPE_ENUM:
        return read_choice(row, text, ret, ret_why);
    case TYPE_IMAGE:
        return read_image(arena, row, text, ret, ret_why);
    case TYPE_USER:
        return read_user(row, text, ret, ret_why);
    default:
        return read_number(row, text, ret, ret_why);
    }
}

int value_from_text(struct arena *arena, const struct schema_row *row, const char *text,
                    const struct policy_origin *origin, struct policy_value *ret,
                    struct value_error *ret_error)
{
    struct policy_value value = {.origin = *origin, .set = true};
    snprintf(ret_error->path, sizeof ret_error->path, "%s", row->key);
    ret_error->at = origin->at;
    if (!schema_is_list(row)) {
        int e = read_scalar(arena, row, text, &value, ret_error->why);
        if (e < 0)
            return e;
    } else {
        struct policy_item *item = arena_alloc(arena, sizeof *item);
        if (!item) {
            refuse(ret_error->why, "Out of memory.");
            return -ENOMEM;
        }
        item->origin = *origin;
        int e = item_from_text(arena, row, text, true, item, ret_error->why);
        if (e < 0)
            return e;
        value_append(&value, item);
    }
    *ret = value;
    return 0;
}

/* ---- from a file --------------------------------------------------------------------------------
 */

/* Which kinds of JSON a scalar may be: strict, so that "true" is not true. */
static bool kind_fits(const struct schema_row *row, const struct json_node *node)
{
    bool integer = node->kind == JSON_NUMBER && node->integer;
    bool unlimited =
        row->unlimited && node->kind == JSON_STRING && strcmp(node->text, "unlimited") == 0;
    switch (row->type) {
    case TYPE_VERSION:
        return integer;
    case TYPE_SIZE:
    case TYPE_DURATION:
        return integer || node->kind == JSON_STRING;
    case TYPE_USER:
        return integer || node->kind == JSON_STRING;
    case TYPE_INTEGER:
        return integer || unlimited;
    case TYPE_CPUS:
        return node->kind == JSON_NUMBER || unlimited;
    case TYPE_BOOLEAN:
        return node->kind == JSON_BOOLEAN;
    default:
        return node->kind == JSON_STRING;
    }
}

static int refuse_kind(const struct schema_row *row, const struct json_node *node,
                       struct value_error *ret_error)
{
    char allowed[320], found[96];
    schema_allowed(row, allowed, sizeof allowed);
    if (node->kind == JSON_NUMBER || node->kind == JSON_STRING)
        snprintf(found, sizeof found, "%s (%s%.40s%s)", json_kind_name(node->kind),
                 node->kind == JSON_STRING ? "\"" : "", node->text,
                 node->kind == JSON_STRING ? "\"" : "");
    else if (node->kind == JSON_BOOLEAN)
        snprintf(found, sizeof found, "%s", node->boolean ? "true" : "false");
    else
        snprintf(found, sizeof found, "%s", json_kind_name(node->kind));
    ret_error->at = node->at;
    return refuse(ret_error->why, "The value is %s. Allowed: %s.", found, allowed);
}

static int scalar_from_json(struct arena *arena, const struct schema_row *row,
                            const struct json_node *node, struct policy_value *value,
                            struct value_error *ret_error)
{
    ret_error->at = node->at;
    if (!kind_fits(row, node))
        return refuse_kind(row, node, ret_error);
    const char *text = node->kind == JSON_BOOLEAN ? (node->boolean ? "true" : "false") : node->text;
    return read_scalar(arena, row, text, value, ret_error->why);
}

static int item_from_json(struct arena *arena, const struct schema_row *row,
                          const struct json_node *node, struct policy_item *item,
                          struct value_error *ret_error)
{
    if (row->type == TYPE_ENV) {
        if (node->kind != JSON_STRING)
            return refuse(ret_error->why, "The value of a variable is a string, and this is %s.",
                          json_kind_name(node->kind));
        char *text = arena_printf(arena, "%s=%s", node->key, node->text);
        if (strchr(node->key, '='))
            return refuse(ret_error->why, "The name of a variable has no \"=\".");
        return text ? item_from_text(arena, row, text, false, item, ret_error->why) : -ENOMEM;
    }
    if (node->kind == JSON_OBJECT)
        return item_from_object(arena, row, node, item, ret_error);
    if (row->type == TYPE_PORTS) {
        bool pair = node->kind == JSON_STRING && strchr(node->text, ':');
        if (node->kind != JSON_NUMBER && !pair)
            return refuse(ret_error->why,
                          "A port is a whole number from 1 to 65535, or \"HOST:PORT\" with a port "
                          "of the host, and this is %s.",
                          json_kind_name(node->kind));
        return item_from_text(arena, row, node->text, false, item, ret_error->why);
    }
    if (node->kind != JSON_STRING) {
        char allowed[320];
        schema_allowed(row, allowed, sizeof allowed);
        return refuse(ret_error->why, "This entry is %s. Allowed: %s.", json_kind_name(node->kind),
                      allowed);
    }
    return item_from_text(arena, row, node->text, false, item, ret_error->why);
}

static const struct policy_item *find_same(const struct schema_row *row,
                                           const struct policy_value *value,
                                           const struct policy_item *item)
{
    for (const struct policy_item *i = value->first; i; i = i->next)
        if (item_same(row, i, item))
            return i;
    return NULL;
}

static int list_from_json(struct arena *arena, const struct schema_row *row,
                          const struct json_node *node, const struct policy_origin *origin,
                          struct policy_value *value, struct value_error *ret_error)
{
    enum json_kind wanted = row->type == TYPE_ENV ? JSON_OBJECT : JSON_ARRAY;
    ret_error->at = node->at;
    if (node->kind != wanted)
        return refuse_kind(row, node, ret_error);
    if (node->count > row->max)
        return refuse(ret_error->why, "The list has %u entries; %" PRIu64 " are the most.",
                      node->count, row->max);
    unsigned index = 0;
    for (const struct json_node *m = node->first; m; m = m->next, index++) {
        struct policy_item *item = arena_alloc(arena, sizeof *item);
        if (!item)
            return refuse(ret_error->why, "Out of memory.");
        if (row->type == TYPE_ENV)
            snprintf(ret_error->path, sizeof ret_error->path, "%s.%.64s", row->key, m->key);
        else
            snprintf(ret_error->path, sizeof ret_error->path, "%s[%u]", row->key, index);
        ret_error->at = m->at;
        item->origin = *origin;
        item->origin.at = m->at;
        int e = item_from_json(arena, row, m, item, ret_error);
        if (e < 0)
            return e;
        const struct policy_item *same = find_same(row, value, item);
        if (same)
            return refuse(ret_error->why,
                          "\"%.100s\" is in this list already, at line %u, column "
                          "%u.",
                          item->text, same->origin.at.line, same->origin.at.column);
        value_append(value, item);
    }
    return 0;
}

int value_from_json(struct arena *arena, const struct schema_row *row, const struct json_node *node,
                    const struct policy_origin *origin, struct policy_value *ret,
                    struct value_error *ret_error)
{
    struct policy_value value = {.origin = *origin, .set = true};
    value.origin.at = node->at;
    snprintf(ret_error->path, sizeof ret_error->path, "%s", row->key);
    int e = schema_is_list(row) ? list_from_json(arena, row, node, origin, &value, ret_error)
                                : scalar_from_json(arena, row, node, &value, ret_error);
    if (e < 0)
        return e;
    *ret = value;
    return 0;
}
