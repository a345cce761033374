/* This file is the one strict JSON reader of berth; it never guesses what a writer meant.
 *
 * Order: json_parse() first looks at the bytes alone (size, UTF-8, control characters), so that
 * what follows may take characters for granted; then one loop reads values, with a stack of open
 * arrays and objects in `struct reader`. An error stops everything: fail() is called once.
 */
#include "policy/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct level {
    struct json_node *node;
    struct json_node *last; /* newest member */
    const char *key;        /* read, its value not yet */
    struct json_position key_at;
    struct json_position comma_at;
};

struct reader {
    const unsigned char *at, *end;
    struct json_position position;
    struct arena *arena;
    bool comments;
    unsigned depth;
    struct level levels[JSON_DEPTH_MAX];
    struct json_error *error;
};

size_t json_utf8_length(const unsigned char *p, size_t room)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t min;
    } forms[] = {{0x80, 0x00, 0}, {0xe0, 0xc0, 0x80}, {0xf0, 0xe0, 0x800}, {0xf8, 0xf0, 0x10000}};
    for (size_t n = 0; n < 4; n++) {
        if (room <= n || (p[0] & forms[n].mask) != forms[n].lead)
            continue;
        uint32_t c = p[0] & (unsigned char)~forms[n].mask;
        for (size_t i = 1; i <= n; i++) {
            if ((p[i] & 0xc0) != 0x80)
                return 0;
            c = c << 6 | (p[i] & 0x3f);
        }
        if (c < forms[n].min || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
            return 0;
        return n + 1;
    }
    return 0;
}

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

/* Where in the document: the keys and indexes of what is open. */
static void make_path(const struct reader *r, char *ret_path, size_t size)
{
    size_t n = 0;
    ret_path[0] = 0;
    for (unsigned i = 0; i < r->depth && n < size; i++) {
        const struct level *level = &r->levels[i];
        int add = 0;
        if (level->node->kind == JSON_ARRAY)
            add = snprintf(ret_path + n, size - n, "[%u]", level->node->count);
        else if (level->key)
            add = snprintf(ret_path + n, size - n, "%s%.64s", n ? "." : "", level->key);
        n += add > 0 ? (size_t)add : 0;
    }
}

static int __attribute__((format(printf, 3, 4)))
fail(struct reader *r, struct json_position at, const char *fmt, ...)
{
    r->error->at = at;
    make_path(r, r->error->path, sizeof r->error->path);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->error->message, sizeof r->error->message, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int fail_memory(struct reader *r)
{
    fail(r, r->position, "Out of memory.");
    return -ENOMEM;
}

static void advance_ascii(struct reader *r)
{
    if (*r->at++ == '\n') {
        r->position.line++;
        r->position.column = 1;
    } else {
        r->position.column++;
    }
}

/* One character further. The bytes are known to be UTF-8. */
static void advance(struct reader *r)
{
    advance_ascii(r);
    while (r->at < r->end && (*r->at & 0xc0) == 0x80)
        r->at++;
}

static void advance_by(struct reader *r, size_t count)
{
    while (count-- > 0)
        advance(r);
}

static int peek(const struct reader *r, size_t offset)
{
    return (size_t)(r->end - r->at) > offset ? r->at[offset] : -1;
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' ||
           c == '-' || c == '$';
}

static int check_bytes(struct reader *r)
{
    if (r->end - r->at >= 3 && memcmp(r->at, "\xef\xbb\xbf", 3) == 0)
        return fail(r, r->position,
                    "The text begins with a byte order mark. Save it as UTF-8 without one.");
    struct reader scan = *r;
    while (scan.at < scan.end) {
        unsigned char c = *scan.at;
        if (c == 0)
            return fail(r, scan.position, "There is a NUL byte here. Is this a text file?");
        if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f)
            return fail(r, scan.position,
                        "There is a control character (0x%02x) here. In a string, write it as "
                        "\\u%04x.",
                        c, c);
        size_t n = json_utf8_length(scan.at, (size_t)(scan.end - scan.at));
        if (n == 0)
            return fail(r, scan.position,
                        "The byte 0x%02x here is not UTF-8. Save the file as UTF-8.", c);
        /* By its own length: advance() would take stray continuation bytes along. */
        if (n == 1) {
            advance_ascii(&scan);
        } else {
            scan.at += n;
            scan.position.column++;
        }
    }
    return 0;
}

static int skip_comment(struct reader *r)
{
    struct json_position begin = r->position;
    int second = peek(r, 1);
    if (second != '/' && second != '*')
        return fail(r, begin, "A \"/\" alone means nothing here. A comment is // … or /* … */.");
    if (!r->comments)
        return fail(r, begin, "Comments are not allowed here: this must be plain JSON.");
    advance_by(r, 2);
    if (second == '/') {
        while (r->at < r->end && *r->at != '\n')
            advance(r);
        return 0;
    }
    while (r->at < r->end) {
        if (peek(r, 0) == '*' && peek(r, 1) == '/') {
            advance_by(r, 2);
            return 0;
        }
        advance(r);
    }
    return fail(r, begin, "The comment that begins here is not closed: \"*/\" is missing.");
}

static int skip_space(struct reader *r)
{
    for (;;) {
        int c = peek(r, 0);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            advance(r);
        } else if (c == '/') {
            int e = skip_comment(r);
            if (e < 0)
                return e;
        } else if (c == '#') {
            return fail(r, r->position, "A comment begins with // here, not with #.");
        } else {
            return 0;
        }
    }
}

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | c >> 18);
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Four hex digits at `offset`; -1 when they are not there. */
static int32_t hex4(const struct reader *r, size_t offset)
{
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int c = peek(r, offset + i);
        int digit = is_digit(c)              ? c - '0'
                    : (c >= 'a' && c <= 'f') ? c - 'a' + 10
                    : (c >= 'A' && c <= 'F') ? c - 'A' + 10
                                             : -1;
        if (digit < 0)
            return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* After the backslash of \uXXXX, surrogate pairs included. */
static int read_unicode_escape(struct reader *r, char *to, size_t *used)
{
    struct json_position at = r->position;
    int32_t c = hex4(r, 2);
    if (c < 0)
        return fail(r, at, "\\u must be followed by four hexadecimal digits.");
    if (c == 0)
        return fail(r, at,
                    "\\u0000 is refused: no value of a policy or a request may contain NUL.");
    size_t length = 6;
    if (c >= 0xd800 && c <= 0xdfff) {
        int32_t low = peek(r, 6) == '\\' && peek(r, 7) == 'u' ? hex4(r, 8) : -1;
        if (c >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
            return fail(r, at,
                        "\\u%04x is half of a surrogate pair. Write the character itself, or both "
                        "halves.",
                        (unsigned)c);
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        length = 12;
    }
    *used += put_utf8(to + *used, (uint32_t)c);
    advance_by(r, length);
    return 0;
}

static int read_escape(struct reader *r, char *to, size_t *used)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    int c = peek(r, 1);
    if (c == 'u')
        return read_unicode_escape(r, to, used);
    const char *letter = c > 0 ? strchr(letters, c) : NULL;
    if (!letter) {
        if (c < 0x20 || c > 0x7e)
            return fail(r, r->position,
                        "A backslash must be followed by one of \" \\ / b f n r t "
                        "u.");
        return fail(r, r->position,
                    "\\%c is not an escape of JSON. A backslash itself is written \\\\.", c);
    }
    to[(*used)++] = meanings[letter - letters];
    advance_by(r, 2);
    return 0;
}

/* Bytes of the string up to its closing quote, escapes not decoded: room enough for what it is. */
static size_t string_room(const struct reader *r)
{
    size_t n = 1;
    while (peek(r, n) >= 0 && peek(r, n) != '"' && peek(r, n) != '\n')
        n += peek(r, n) == '\\' ? 2 : 1;
    return n;
}

static int read_string(struct reader *r, const char **ret_text, size_t *ret_length)
{
    struct json_position begin = r->position;
    char *text = arena_alloc(r->arena, string_room(r) + 1);
    size_t used = 0;
    if (!text)
        return fail_memory(r);
    advance(r);
    for (;;) {
        int c = peek(r, 0);
        if (c < 0 || c == '\n' || c == '\r')
            return fail(r, begin,
                        "The string that begins here is not closed on its line: a \" is "
                        "missing.");
        if (c == '"')
            break;
        if (c == '\t')
            return fail(r, r->position, "A tab in a string is written \\t.");
        if (c == '\\') {
            int e = read_escape(r, text, &used);
            if (e < 0)
                return e;
            continue;
        }
        const unsigned char *from = r->at;
        advance(r);
        memcpy(text + used, from, (size_t)(r->at - from));
        used += (size_t)(r->at - from);
    }
    advance(r);
    text[used] = 0;
    *ret_text = text;
    *ret_length = used;
    return 0;
}

static int number_too_big(struct reader *r, const struct json_node *node)
{
    char path[JSON_PATH_MAX];
    make_path(r, path, sizeof path);
    return fail(r, node->at, "The number %.40s of %s does not fit 64 bits. It is refused, not cut.",
                node->text, path[0] ? path : "this document");
}

static int check_number_text(struct reader *r, const char *p, struct json_position at)
{
    const char *digits = p + (*p == '-');
    if (!is_digit(*digits))
        return fail(r, at, "%s",
                    *digits == '.' ? "A number needs a digit before its point: write "
                                     "0.5, not .5."
                                   : "A \"-\" must be followed by a number.");
    if (digits[0] == '0' && is_digit(digits[1]))
        return fail(r, at, "A number has no leading zero: octal is not JSON.");
    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X'))
        return fail(r, at, "Hexadecimal is not JSON: write the number in decimal.");
    while (is_digit(*digits))
        digits++;
    if (*digits == '.') {
        if (!is_digit(*++digits))
            return fail(r, at, "A number needs a digit after its point.");
        while (is_digit(*digits))
            digits++;
    }
    if (*digits == 'e' || *digits == 'E') {
        digits++;
        digits += *digits == '+' || *digits == '-';
        if (!is_digit(*digits))
            return fail(r, at, "The exponent of this number has no digits.");
        while (is_digit(*digits))
            digits++;
    }
    if (*digits)
        return fail(r, at, "%.40s is not a number. A value with a unit is a string: \"%.40s\".", p,
                    p);
    return 0;
}

static int read_number(struct reader *r, struct json_node *node)
{
    size_t n = 0;
    while (is_word(peek(r, n)) || peek(r, n) == '.' || peek(r, n) == '+')
        n++;
    node->kind = JSON_NUMBER;
    node->text = arena_copy(r->arena, (const char *)r->at, n);
    node->length = n;
    if (!node->text)
        return fail_memory(r);
    int e = check_number_text(r, node->text, node->at);
    if (e < 0)
        return e;
    advance_by(r, n);
    node->negative = node->text[0] == '-';
    node->integer = !strpbrk(node->text, ".eE");
    for (const char *p = node->text + node->negative; node->integer && *p; p++)
        if (__builtin_mul_overflow(node->magnitude, 10u, &node->magnitude) ||
            __builtin_add_overflow(node->magnitude, (uint64_t)(*p - '0'), &node->magnitude))
            return number_too_big(r, node);
    if (node->integer && node->negative && node->magnitude > (uint64_t)INT64_MAX + 1)
        return number_too_big(r, node);
    return 0;
}

/* Letters without quotes where a value should be. */
static int read_word(struct reader *r, struct json_node *node)
{
    static const struct {
        const char *word;
        enum json_kind kind;
        bool value;
    } words[] = {
        {"true", JSON_BOOLEAN, true}, {"false", JSON_BOOLEAN, false}, {"null", JSON_NULL, 0}};
    static const struct {
        const char *word, *advice;
    } strangers[] = {
        {"True", "Write true."},
        {"False", "Write false."},
        {"TRUE", "Write true."},
        {"FALSE", "Write false."},
        {"None", "Write null, or leave the key out."},
        {"yes", "Write true."},
        {"no", "Write false."},
        {"undefined", "Leave the key out."},
        {"on", "Write true."},
        {"off", "Write false."},
        {"NaN", "It is not a number."},
        {"Infinity", "It is not a number of JSON."},
        {NULL, NULL},
    };
    size_t n = 0;
    while (is_word(peek(r, n)))
        n++;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i].word) != n || memcmp(words[i].word, r->at, n) != 0)
            continue;
        node->kind = words[i].kind;
        node->boolean = words[i].value;
        advance_by(r, n);
        return 0;
    }
    const char *advice = "A string is written in double quotes.";
    for (size_t i = 0; strangers[i].word; i++)
        if (strlen(strangers[i].word) == n && memcmp(strangers[i].word, r->at, n) == 0)
            advice = strangers[i].advice;
    return fail(r, r->position, "%.*s is not a value of JSON. %s", n > 40 ? 40 : (int)n, r->at,
                advice);
}

static int refuse_character(struct reader *r, const char *wanted)
{
    int c = peek(r, 0);
    if (c < 0) {
        if (r->depth == 0)
            return fail(r, r->position, "The text is empty: %s is missing.", wanted);
        const struct json_node *open = r->levels[r->depth - 1].node;
        return fail(r, r->position, "The text ends inside %s that begins at line %u, column %u.",
                    json_kind_name(open->kind), open->at.line, open->at.column);
    }
    if (c == '\'')
        return fail(r, r->position,
                    "Strings and keys are written in \"double quotes\", not in "
                    "'single' ones.");
    size_t n = json_utf8_length(r->at, (size_t)(r->end - r->at));
    return fail(r, r->position, "Found \"%.*s\" where %s should be.", (int)n, r->at, wanted);
}

static int read_key(struct reader *r, struct level *level)
{
    size_t length;
    level->key = NULL;
    level->key_at = r->position;
    int c = peek(r, 0);
    if (c == '}' && level->node->count > 0)
        return fail(r, level->comma_at, "This comma has no member after it: remove it.");
    if (is_word(c)) {
        size_t n = 0;
        while (is_word(peek(r, n)))
            n++;
        return fail(r, r->position, "Keys are written in double quotes: \"%.*s\".",
                    n > 40 ? 40 : (int)n, r->at);
    }
    if (c != '"')
        return refuse_character(r, "a key in double quotes");
    int e = read_string(r, &level->key, &length);
    if (e == 0)
        e = skip_space(r);
    if (e < 0)
        return e;
    if (peek(r, 0) == '=')
        return fail(r, r->position, "A key and its value are separated by \":\", not by \"=\".");
    if (peek(r, 0) != ':')
        return refuse_character(r, "a \":\"");
    advance(r);
    return skip_space(r);
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
static int check_duplicates(struct reader *r, const struct json_node *object)
{
    if (object->count < 2)
        return 0;
    const struct json_node **sorted = malloc(object->count * sizeof(*sorted));
    if (!sorted)
        return fail_memory(r);
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
    free(sorted);
    if (!second)
        return 0;
    r->levels[r->depth - 1].key = second->key;
    return fail(r, second->key_at, "The key \"%.64s\" is here twice; first at line %u, column %u.",
                second->key, first->key_at.line, first->key_at.column);
}

static int open_level(struct reader *r, struct json_node *node, enum json_kind kind)
{
    if (r->depth == JSON_DEPTH_MAX)
        return fail(r, node->at, "More than %d levels of arrays and objects.", JSON_DEPTH_MAX);
    node->kind = kind;
    advance(r);
    r->levels[r->depth++] = (struct level){.node = node};
    return 0;
}

/* Reads a scalar, or opens an array or object. */
static int read_value(struct reader *r, struct json_node **ret_node)
{
    struct json_node *node = arena_alloc(r->arena, sizeof *node);
    if (!node)
        return fail_memory(r);
    node->at = r->position;
    *ret_node = node;
    int c = peek(r, 0);
    if (c == '{')
        return open_level(r, node, JSON_OBJECT);
    if (c == '[')
        return open_level(r, node, JSON_ARRAY);
    if (c == '"') {
        node->kind = JSON_STRING;
        return read_string(r, &node->text, &node->length);
    }
    if (c == '-' && (peek(r, 1) == 'I' || peek(r, 1) == 'N'))
        return fail(r, r->position, "Infinity and NaN are not numbers of JSON.");
    if (c == '+')
        return fail(r, r->position, "A number has no \"+\" before it.");
    if (is_digit(c) || c == '-' || c == '.')
        return read_number(r, node);
    if (is_word(c))
        return read_word(r, node);
    return refuse_character(r, "a value");
}

/* A new member of the innermost open level. */
static void attach(struct level *level, struct json_node *node)
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
static int read_separator(struct reader *r, struct level *level, bool *ret_closed)
{
    char closing = level->node->kind == JSON_OBJECT ? '}' : ']';
    int c = peek(r, 0);
    *ret_closed = c == closing;
    if (*ret_closed)
        return 0;
    if (c == ',') {
        level->comma_at = r->position;
        advance(r);
        return skip_space(r);
    }
    if (c == '"' || c == '{' || c == '[' || is_word(c))
        return fail(r, r->position, "A comma is missing before this.");
    return refuse_character(r, closing == '}' ? "a comma or \"}\"" : "a comma or \"]\"");
}

/* One step inside the innermost open level: its next member, or its end. */
static int read_member(struct reader *r)
{
    struct level *level = &r->levels[r->depth - 1];
    bool object = level->node->kind == JSON_OBJECT, closed = false;
    int e = skip_space(r);
    if (e == 0 && level->node->count == 0)
        closed = peek(r, 0) == (object ? '}' : ']');
    else if (e == 0)
        e = read_separator(r, level, &closed);
    if (e < 0)
        return e;
    if (closed) {
        advance(r);
        e = object ? check_duplicates(r, level->node) : 0;
        if (e == 0)
            r->depth--;
        if (e == 0 && r->depth > 0)
            r->levels[r->depth - 1].node->count++;
        return e;
    }
    if (!object && peek(r, 0) == ']')
        return fail(r, level->comma_at, "This comma has no member after it: remove it.");
    e = object ? read_key(r, level) : 0;
    if (e < 0)
        return e;
    struct json_node *node = NULL;
    unsigned depth = r->depth;
    e = read_value(r, &node);
    if (e < 0)
        return e;
    attach(level, node);
    if (r->depth == depth)
        level->node->count++; /* a nested level is counted when it closes, for the path */
    return 0;
}

int json_parse(struct arena *arena, const char *text, size_t length, size_t max_bytes,
               bool comments, const struct json_node **ret_root, struct json_error *ret_error)
{
    struct reader r = {.at = (const unsigned char *)text,
                       .end = (const unsigned char *)text + length,
                       .position = {1, 1},
                       .arena = arena,
                       .comments = comments,
                       .error = ret_error};
    if (length > max_bytes) {
        fail(&r, r.position, "The text has %zu bytes; at most %zu are read.", length, max_bytes);
        return -E2BIG;
    }
    struct json_node *root = NULL;
    int e = check_bytes(&r);
    if (e == 0)
        e = skip_space(&r);
    if (e == 0 && r.at == r.end)
        return refuse_character(&r, "an object { … }");
    if (e == 0)
        e = read_value(&r, &root);
    while (e == 0 && r.depth > 0)
        e = read_member(&r);
    if (e == 0)
        e = skip_space(&r);
    if (e < 0)
        return e;
    if (r.at < r.end)
        return fail(&r, r.position, "There is more text after the end of the document.");
    *ret_root = root;
    return 0;
}
