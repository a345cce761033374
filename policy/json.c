/* This file is the one strict JSON reader of berth; it never guesses what a writer meant.
 *
 * Order: json_parse() first looks at the bytes alone (size, UTF-8, control characters), so that
 * what follows may take characters for granted; then one loop reads values, with a stack of open
 * arrays and objects in `struct json_reader`. An error stops everything: json_fail() is called
 * once.
 */
#include "policy/json_reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *json_kind_name(enum json_kind kind)
{
    static const char *const names[] = {
        [JSON_NULL] = "null",       [JSON_BOOLEAN] = "true or false", [JSON_NUMBER] = "a number",
        [JSON_STRING] = "a string", [JSON_ARRAY] = "an array",        [JSON_OBJECT] = "an object",
    };
    return names[kind];
}

const struct json_node *json_member(const struct json_node *object, const char *key)
{
    if (object->kind != JSON_OBJECT)
        return NULL;
    for (const struct json_node *m = object->first; m; m = m->next)
        if (strcmp(m->key, key) == 0)
            return m;
    return NULL;
}

static int refuse_character(struct json_reader *r, const char *wanted)
{
    int c = json_peek(r, 0);
    if (c < 0) {
        if (r->depth == 0)
            return json_fail(r, r->position, "The text is empty: %s is missing.", wanted);
        const struct json_node *open = r->levels[r->depth - 1].node;
        return json_fail(r, r->position,
                         "The text ends inside %s that begins at line %u, column %u.",
                         json_kind_name(open->kind), open->at.line, open->at.column);
    }
    if (c == '\'')
        return json_fail(r, r->position,
                         "Strings and keys are written in \"double quotes\", not in "
                         "'single' ones.");
    size_t n = json_utf8_length(r->at, (size_t)(r->end - r->at));
    return json_fail(r, r->position, "Found \"%.*s\" where %s should be.", (int)n, r->at, wanted);
}

static int read_key(struct json_reader *r, struct json_level *level)
{
    size_t length;
    level->key = NULL;
    level->key_at = r->position;
    int c = json_peek(r, 0);
    if (c == '}' && level->node->count > 0)
        return json_fail(r, level->comma_at, "This comma has no member after it: remove it.");
    if (json_is_word(c)) {
        size_t n = 0;
        while (json_is_word(json_peek(r, n)))
            n++;
        return json_fail(r, r->position, "Keys are written in double quotes: \"%.*s\".",
                         n > 40 ? 40 : (int)n, r->at);
    }
    if (c != '"')
        return refuse_character(r, "a key in double quotes");
    int e = json_read_string(r, &level->key, &length);
    if (e == 0)
        e = json_skip_space(r);
    if (e < 0)
        return e;
    if (json_peek(r, 0) == '=')
        return json_fail(r, r->position,
                         "A key and its value are separated by \":\", not by \"=\".");
    if (json_peek(r, 0) != ':')
        return refuse_character(r, "a \":\"");
    json_advance(r);
    return json_skip_space(r);
}

static int compare_members(const void *left, const void *right)
{
    const struct json_node *a = *(const struct json_node *const *)left;
    const struct json_node *b = *(const struct json_node *const *)right;
    int order = strcmp(a->key, b->key);
    if (order)
        return order;
    if (a->key_at.line != b->key_at.line)
        return a->key_at.line < b->key_at.line ? -1 : 1;
    return a->key_at.column < b->key_at.column ? -1 : a->key_at.column > b->key_at.column;
}

/* Sorted, so that a hostile object of many keys costs n log n. */
static int check_duplicates(struct json_reader *r, const struct json_node *object)
{
    if (object->count < 2)
        return 0;
    enum { FEW = 32 };
    const struct json_node *few[FEW], **sorted = few;
    if (object->count > FEW)
        sorted = malloc(object->count * sizeof(*sorted));
    if (!sorted)
        return json_fail_memory(r);
    size_t n = 0;
    for (const struct json_node *m = object->first; m; m = m->next)
        sorted[n++] = m;
    qsort(sorted, n, sizeof(*sorted), compare_members);
    const struct json_node *first = NULL, *second = NULL;
    for (size_t i = 1; i < n && !second; i++)
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0) {
            first = sorted[i - 1];
            second = sorted[i];
        }
    if (sorted != few)
        free(sorted);
    if (!second)
        return 0;
    r->levels[r->depth - 1].key = second->key;
    return json_fail(r, second->key_at,
                     "The key \"%.64s\" is here twice; first at line %u, column %u.", second->key,
                     first->key_at.line, first->key_at.column);
}

static int open_level(struct json_reader *r, struct json_node *node, enum json_kind kind)
{
    if (r->depth == JSON_DEPTH_MAX)
        return json_fail(r, node->at, "More than %d levels of arrays and objects.", JSON_DEPTH_MAX);
    node->kind = kind;
    json_advance(r);
    r->levels[r->depth++] = (struct json_level){.node = node};
    return 0;
}

/* Reads a scalar, or opens an array or object. */
static int read_value(struct json_reader *r, struct json_node **ret_node)
{
    if (r->nodes++ == JSON_NODES_MAX)
        return json_fail(r, r->position, "The text has more than %d values.", JSON_NODES_MAX);
    struct json_node *node = arena_alloc(r->arena, sizeof *node);
    if (!node)
        return json_fail_memory(r);
    node->at = r->position;
    *ret_node = node;
    int c = json_peek(r, 0);
    if (c == '{')
        return open_level(r, node, JSON_OBJECT);
    if (c == '[')
        return open_level(r, node, JSON_ARRAY);
    if (c == '"') {
        node->kind = JSON_STRING;
        return json_read_string(r, &node->text, &node->length);
    }
    if (c == '-' && (json_peek(r, 1) == 'I' || json_peek(r, 1) == 'N'))
        return json_fail(r, r->position, "Infinity and NaN are not numbers of JSON.");
    if (c == '+')
        return json_fail(r, r->position, "A number has no \"+\" before it.");
    if (json_is_digit(c) || c == '-' || c == '.')
        return json_read_number(r, node);
    if (json_is_word(c))
        return json_read_word(r, node);
    return refuse_character(r, "a value");
}

/* A new member of the innermost open level. */
static void attach(struct json_level *level, struct json_node *node)
{
    if (level->node->kind == JSON_OBJECT) {
        node->key = level->key;
        node->key_at = level->key_at;
    }
    if (level->last)
        level->last->next = node;
    else
        level->node->first = node;
    level->last = node;
}

/* After a value inside a level: a comma, or the closing bracket. Sets *ret_closed. */
static int read_separator(struct json_reader *r, struct json_level *level, bool *ret_closed)
{
    char closing = level->node->kind == JSON_OBJECT ? '}' : ']';
    int c = json_peek(r, 0);
    *ret_closed = c == closing;
    if (*ret_closed)
        return 0;
    if (c == ',') {
        level->comma_at = r->position;
        json_advance(r);
        return json_skip_space(r);
    }
    if (c == '"' || c == '{' || c == '[' || json_is_word(c))
        return json_fail(r, r->position, "A comma is missing before this.");
    return refuse_character(r, closing == '}' ? "a comma or \"}\"" : "a comma or \"]\"");
}

/* One step inside the innermost open level: its next member, or its end. */
static int read_member(struct json_reader *r)
{
    struct json_level *level = &r->levels[r->depth - 1];
    bool object = level->node->kind == JSON_OBJECT, closed = false;
    int e = json_skip_space(r);
    if (e == 0 && level->node->count == 0)
        closed = json_peek(r, 0) == (object ? '}' : ']');
    else if (e == 0)
        e = read_separator(r, level, &closed);
    if (e < 0)
        return e;
    if (closed) {
        json_advance(r);
        e = object ? check_duplicates(r, level->node) : 0;
        if (e == 0)
            r->depth--;
        if (e == 0 && r->depth > 0)
            r->levels[r->depth - 1].node->count++;
        return e;
    }
    if (!object && json_peek(r, 0) == ']')
        return json_fail(r, level->comma_at, "This comma has no member after it: remove it.");
    e = object ? read_key(r, level) : 0;
    if (e < 0)
        return e;
    struct json_node *node = NULL;
    unsigned depth = r->depth;
    e = read_value(r, &node);
    if (e < 0 || !node)
        return e;
    attach(level, node);
    if (r->depth == depth)
        level->node->count++; /* a nested level is counted when it closes, for the path */
    return 0;
}

int json_parse(struct arena *arena, const char *text, size_t length, size_t max_bytes,
               bool comments, const struct json_node **ret_root, struct json_error *ret_error)
{
    struct json_reader r = {.at = (const unsigned char *)text,
                            .end = (const unsigned char *)text + length,
                            .position = {1, 1},
                            .arena = arena,
                            .comments = comments,
                            .error = ret_error};
    if (length > max_bytes) {
        json_fail(&r, r.position, "The text has %zu bytes; at most %zu are read.", length,
                  max_bytes);
        return -E2BIG;
    }
    struct json_node *root = NULL;
    int e = json_check_bytes(&r);
    if (e == 0)
        e = json_skip_space(&r);
    if (e == 0 && r.at == r.end)
        return refuse_character(&r, "an object { … }");
    if (e == 0)
        e = read_value(&r, &root);
    while (e == 0 && r.depth > 0)
        e = read_member(&r);
    if (e == 0)
        e = json_skip_space(&r);
    if (e < 0)
        return e;
    if (r.at < r.end)
        return json_fail(&r, r.position, "There is more text after the end of the document.");
    *ret_root = root;
    return 0;
}
