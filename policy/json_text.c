/* This file reads the characters of a JSON text: bytes, space, comments, strings, numbers, words;
 * it knows nothing of arrays and objects (json.c).
 */
#include "policy/json_reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

/* Where in the document: the keys and indexes of what is open. */
static void make_path(const struct json_reader *r, char *ret_path, size_t size)
{
    size_t n = 0;
    ret_path[0] = 0;
    for (unsigned i = 0; i < r->depth && n < size; i++) {
        const struct json_level *level = &r->levels[i];
        int add = 0;
        if (level->node->kind == JSON_ARRAY)
            add = snprintf(ret_path + n, size - n, "[%u]", level->node->count);
        else if (level->key)
            add = snprintf(ret_path + n, size - n, "%s%.64s", n ? "." : "", level->key);
        n += add > 0 ? (size_t)add : 0;
    }
}

/* One member of a pointer: "~" and "/" of a key are escaped. False: no room for all of it. */
static bool add_pointer(char *pointer, size_t size, size_t *n, const char *key)
{
    size_t at = *n;
    if (at + 1 >= size)
        return false;
    pointer[at++] = '/';
    for (; *key; key++) {
        bool escape = *key == '~' || *key == '/';
        if (at + 2 >= size)
            return false;
        pointer[at++] = escape ? '~' : *key;
        if (escape)
            pointer[at++] = *key == '~' ? '0' : '1';
    }
    *n = at;
    return true;
}

static void make_pointer(const struct json_reader *r, char *ret_pointer, size_t size)
{
    size_t n = 0;
    bool room = true;
    for (unsigned i = 0; i < r->depth && room; i++) {
        const struct json_level *level = &r->levels[i];
        char index[16];
        snprintf(index, sizeof index, "%u", level->node->count);
        if (level->node->kind == JSON_ARRAY)
            room = add_pointer(ret_pointer, size, &n, index);
        else if (level->key)
            room = add_pointer(ret_pointer, size, &n, level->key);
    }
    ret_pointer[n] = 0;
}

int json_fail(struct json_reader *r, struct json_position at, const char *fmt, ...)
{
    r->error->at = at;
    make_path(r, r->error->path, sizeof r->error->path);
    make_pointer(r, r->error->pointer, sizeof r->error->pointer);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->error->message, sizeof r->error->message, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

int json_fail_memory(struct json_reader *r)
{
    json_fail(r, r->position, "Out of memory.");
    return -ENOMEM;
}

static void advance_ascii(struct json_reader *r)
{
    if (*r->at++ == '\n') {
        r->position.line++;
        r->position.column = 1;
    } else {
        r->position.column++;
    }
}

/* One character further. The bytes are known to be UTF-8. */
void json_advance(struct json_reader *r)
{
    advance_ascii(r);
    while (r->at < r->end && (*r->at & 0xc0) == 0x80)
        r->at++;
}

static void advance_by(struct json_reader *r, size_t count)
{
    while (count-- > 0)
        json_advance(r);
}

int json_check_bytes(struct json_reader *r)
{
    if (r->end - r->at >= 3 && memcmp(r->at, "\xef\xbb\xbf", 3) == 0)
        return json_fail(r, r->position,
                         "The text begins with a byte order mark. Save it as UTF-8 without one.");
    struct json_reader scan = *r;
    while (scan.at < scan.end) {
        unsigned char c = *scan.at;
        if (c == 0)
            return json_fail(r, scan.position, "There is a NUL byte here. Is this a text file?");
        if ((c < 0x20 && c != '\n' && c != '\t' && c != '\r') || c == 0x7f)
            return json_fail(r, scan.position,
                             "There is a control character (0x%02x) here. In a string, write it as "
                             "\\u%04x.",
                             c, c);
        size_t n = json_utf8_length(scan.at, (size_t)(scan.end - scan.at));
        if (n == 0)
            return json_fail(r, scan.position,
                             "The byte 0x%02x here is not UTF-8. Save the file as UTF-8.", c);
        /* By its own length: json_advance() would take stray continuation bytes along. */
        if (n == 1) {
            advance_ascii(&scan);
        } else {
            scan.at += n;
            scan.position.column++;
        }
    }
    return 0;
}

static int skip_comment(struct json_reader *r)
{
    struct json_position begin = r->position;
    int second = json_peek(r, 1);
    if (second != '/' && second != '*')
        return json_fail(r, begin,
                         "A \"/\" alone means nothing here. A comment is // … or /* … */.");
    if (!r->comments)
        return json_fail(r, begin, "Comments are not allowed here: this must be plain JSON.");
    advance_by(r, 2);
    if (second == '/') {
        while (r->at < r->end && *r->at != '\n')
            json_advance(r);
        return 0;
    }
    while (r->at < r->end) {
        if (json_peek(r, 0) == '*' && json_peek(r, 1) == '/') {
            advance_by(r, 2);
            return 0;
        }
        json_advance(r);
    }
    return json_fail(r, begin, "The comment that begins here is not closed: \"*/\" is missing.");
}

int json_skip_space(struct json_reader *r)
{
    for (;;) {
        int c = json_peek(r, 0);
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
            json_advance(r);
        } else if (c == '/') {
            int e = skip_comment(r);
            if (e < 0)
                return e;
        } else if (c == '#') {
            return json_fail(r, r->position, "A comment begins with // here, not with #.");
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
static int32_t hex4(const struct json_reader *r, size_t offset)
{
    int32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        int c = json_peek(r, offset + i);
        int digit = json_is_digit(c)         ? c - '0'
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
static int read_unicode_escape(struct json_reader *r, char *to, size_t *used)
{
    struct json_position at = r->position;
    int32_t c = hex4(r, 2);
    if (c < 0)
        return json_fail(r, at, "\\u must be followed by four hexadecimal digits.");
    if (c == 0)
        return json_fail(r, at,
                         "\\u0000 is refused: no value of a policy or a request may contain NUL.");
    size_t length = 6;
    if (c >= 0xd800 && c <= 0xdfff) {
        int32_t low = json_peek(r, 6) == '\\' && json_peek(r, 7) == 'u' ? hex4(r, 8) : -1;
        if (c >= 0xdc00 || low < 0xdc00 || low > 0xdfff)
            return json_fail(
                r, at,
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

static int read_escape(struct json_reader *r, char *to, size_t *used)
{
    static const char letters[] = "\"\\/bfnrt", meanings[] = "\"\\/\b\f\n\r\t";
    int c = json_peek(r, 1);
    if (c == 'u')
        return read_unicode_escape(r, to, used);
    const char *letter = c > 0 ? strchr(letters, c) : NULL;
    if (!letter) {
        if (c < 0x20 || c > 0x7e)
            return json_fail(r, r->position,
                             "A backslash must be followed by one of \" \\ / b f n r t "
                             "u.");
        return json_fail(r, r->position,
                         "\\%c is not an escape of JSON. A backslash itself is written \\\\.", c);
    }
    to[(*used)++] = meanings[letter - letters];
    advance_by(r, 2);
    return 0;
}

/* Bytes of the string up to its closing quote, escapes not decoded: room enough for what it is. */
static size_t string_room(const struct json_reader *r)
{
    size_t n = 1;
    while (json_peek(r, n) >= 0 && json_peek(r, n) != '"' && json_peek(r, n) != '\n')
        n += json_peek(r, n) == '\\' ? 2 : 1;
    return n;
}

int json_read_string(struct json_reader *r, const char **ret_text, size_t *ret_length)
{
    struct json_position begin = r->position;
    char *text = arena_alloc(r->arena, string_room(r) + 1);
    size_t used = 0;
    if (!text)
        return json_fail_memory(r);
    json_advance(r);
    for (;;) {
        int c = json_peek(r, 0);
        if (c < 0 || c == '\n' || c == '\r')
            return json_fail(r, begin,
                             "The string that begins here is not closed on its line: a \" is "
                             "missing.");
        if (c == '"')
            break;
        if (c == '\t')
            return json_fail(r, r->position, "A tab in a string is written \\t.");
        if (c == '\\') {
            int e = read_escape(r, text, &used);
            if (e < 0)
                return e;
            continue;
        }
        const unsigned char *from = r->at;
        json_advance(r);
        memcpy(text + used, from, (size_t)(r->at - from));
        used += (size_t)(r->at - from);
    }
    json_advance(r);
    text[used] = 0;
    *ret_text = text;
    *ret_length = used;
    return 0;
}

static int number_too_big(struct json_reader *r, const struct json_node *node)
{
    char path[JSON_PATH_MAX];
    make_path(r, path, sizeof path);
    return json_fail(r, node->at,
                     "The number %.40s of %s does not fit 64 bits. It is refused, not cut.",
                     node->text, path[0] ? path : "this document");
}

static int check_number_text(struct json_reader *r, const char *p, struct json_position at)
{
    const char *digits = p + (*p == '-');
    if (!json_is_digit(*digits))
        return json_fail(r, at, "%s",
                         *digits == '.' ? "A number needs a digit before its point: write "
                                          "0.5, not .5."
                                        : "A \"-\" must be followed by a number.");
    if (digits[0] == '0' && json_is_digit(digits[1]))
        return json_fail(r, at, "A number has no leading zero: octal is not JSON.");
    if (digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X'))
        return json_fail(r, at, "Hexadecimal is not JSON: write the number in decimal.");
    while (json_is_digit(*digits))
        digits++;
    if (*digits == '.') {
        if (!json_is_digit(*++digits))
            return json_fail(r, at, "A number needs a digit after its point.");
        while (json_is_digit(*digits))
            digits++;
    }
    if (*digits == 'e' || *digits == 'E') {
        digits++;
        digits += *digits == '+' || *digits == '-';
        if (!json_is_digit(*digits))
            return json_fail(r, at, "The exponent of this number has no digits.");
        while (json_is_digit(*digits))
            digits++;
    }
    if (*digits)
        return json_fail(
            r, at, "%.40s is not a number. A value with a unit is a string: \"%.40s\".", p, p);
    return 0;
}

int json_read_number(struct json_reader *r, struct json_node *node)
{
    size_t n = 0;
    while (json_is_word(json_peek(r, n)) || json_peek(r, n) == '.' || json_peek(r, n) == '+')
        n++;
    node->kind = JSON_NUMBER;
    node->text = arena_copy(r->arena, (const char *)r->at, n);
    node->length = n;
    if (!node->text)
        return json_fail_memory(r);
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
int json_read_word(struct json_reader *r, struct json_node *node)
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
    while (json_is_word(json_peek(r, n)))
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
    return json_fail(r, r->position, "%.*s is not a value of JSON. %s", n > 40 ? 40 : (int)n, r->at,
                     advice);
}
