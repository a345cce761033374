/* This file reads the head of an HTTP/1.1 request; it never guesses. Grammar: RFC 9112 section 2 to
 * 6, RFC 9110 section 5, minus every leniency that they allow.
 */
#include "api/http/head.h"

#include <errno.h>
#include <string.h>

static const char *const methods[] = {
    [METHOD_GET] = "GET",   [METHOD_HEAD] = "HEAD",     [METHOD_PUT] = "PUT",
    [METHOD_POST] = "POST", [METHOD_DELETE] = "DELETE", [METHOD_OTHER] = "other",
};

const char *http_method_name(enum http_method method)
{
    return methods[method];
}

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "read the request's head", NULL, "%s", what);
}

static int too_large(struct err *err, const char *what)
{
    err_set(err, ERR_TOO_LARGE, 0, "read the request's head", NULL, "%s", what);
    return -E2BIG;
}

/* ---- characters ------------------------------------------------------------------------------ */

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_alpha(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 9110, 5.6.2. */
static bool is_token(unsigned char c)
{
    return is_alpha(c) || is_digit(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_space(unsigned char c)
{
    return c == ' ' || c == '\t';
}

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

bool slice_is(struct slice s, const char *text)
{
    if (strlen(text) != s.length)
        return false;
    for (size_t i = 0; i < s.length; i++)
        if (lower((unsigned char)s.at[i]) != lower((unsigned char)text[i]))
            return false;
    return true;
}

static struct slice trim(struct slice s)
{
    while (s.length > 0 && is_space((unsigned char)s.at[0])) {
        s.at++;
        s.length--;
    }
    while (s.length > 0 && is_space((unsigned char)s.at[s.length - 1]))
        s.length--;
    return s;
}

bool slice_lists(struct slice list, const char *word)
{
    while (list.length > 0) {
        const char *comma = memchr(list.at, ',', list.length);
        size_t n = comma ? (size_t)(comma - list.at) : list.length;
        if (slice_is(trim((struct slice){list.at, n}), word))
            return true;
        n += comma != NULL;
        list.at += n;
        list.length -= n;
    }
    return false;
}

/* ---- the whole head -------------------------------------------------------------------------- */

int head_scan(const char *data, size_t length, size_t *scanned, size_t *ret_length, struct err *err)
{
    /* The last byte is looked at again: a carriage return waits for its line feed. */
    for (size_t i = *scanned; i < length && i < HEAD_BYTES_MAX; i++) {
        unsigned char c = (unsigned char)data[i];
        if (c >= 0x20 ? c != 0x7f : c == '\t') {
            *scanned = i + 1;
            continue;
        }
        if (c == '\n')
            return bad(err, "A line ends with a line feed alone; HTTP wants CR and LF.");
        if (c != '\r')
            return bad(err, "There is a control character in the head.");
        if (i + 1 == length)
            break;
        if (data[i + 1] != '\n')
            return bad(err, "There is a carriage return without its line feed.");
        if (i == 0)
            return bad(err, "The request begins with an empty line.");
        *scanned = ++i + 1;
        if (i >= 3 && memcmp(data + i - 3, "\r\n\r\n", 4) == 0) {
            *ret_length = i + 1;
            return 0;
        }
    }
    if (length >= HEAD_BYTES_MAX)
        return too_large(err, "Request line and header fields are longer than 16 KiB.");
    return HEAD_MORE;
}

/* ---- the request line ------------------------------------------------------------------------ */

static enum http_method method_of(struct slice text)
{
    for (int m = 0; m < METHOD_OTHER; m++)
        if (strlen(methods[m]) == text.length && memcmp(methods[m], text.at, text.length) == 0)
            return (enum http_method)m;
    return METHOD_OTHER;
}

static int parse_request_line(struct slice line, struct head *head, struct err *err)
{
    size_t n = 0;
    while (n < line.length && is_token((unsigned char)line.at[n]))
        n++;
    if (n == 0 || n > 32 || n == line.length || line.at[n] != ' ')
        return bad(err, "The request line does not begin with a method and one space.");
    head->method_text = (struct slice){line.at, n};
    head->method = method_of(head->method_text);
    const char *target = line.at + n + 1;
    size_t left = line.length - n - 1, t = 0;
    while (t < left && target[t] > ' ' && target[t] < 0x7f && target[t] != '#')
        t++;
    if (t == 0 || target[0] != '/')
        return bad(err, "The request's target must be a path that begins with \"/\".");
    if (t == left || target[t] != ' ')
        return bad(err, "The request's target has a character that must be percent-encoded.");
    head->target = (struct slice){target, t};
    static const char version[] = "HTTP/1.1";
    if (left - t - 1 != sizeof version - 1 ||
        memcmp(target + t + 1, version, sizeof version - 1) != 0)
        return bad(err, "The request line must end with HTTP/1.1.");
    return 0;
}

/* ---- header fields --------------------------------------------------------------------------- */

static int parse_field(struct slice line, struct head *head, struct err *err)
{
    if (head->field_count == HEAD_FIELDS_MAX)
        return too_large(err, "There are more than 64 header fields.");
    if (is_space((unsigned char)line.at[0]))
        return bad(err, "A header field is folded over two lines, or begins with space.");
    size_t n = 0;
    while (n < line.length && is_token((unsigned char)line.at[n]))
        n++;
    if (n == 0 || n == line.length || line.at[n] != ':')
        return bad(err, "A header field is not a name, directly followed by a colon.");
    struct head_field *field = &head->fields[head->field_count++];
    field->name = (struct slice){line.at, n};
    field->value = trim((struct slice){line.at + n + 1, line.length - n - 1});
    return 0;
}

int head_value(const struct head *head, const char *name, struct slice *ret_value)
{
    const struct head_field *found = NULL;
    for (unsigned i = 0; i < head->field_count; i++) {
        if (!slice_is(head->fields[i].name, name))
            continue;
        if (found)
            return HEAD_REPEATED;
        found = &head->fields[i];
    }
    if (!found)
        return HEAD_ABSENT;
    *ret_value = found->value;
    return 0;
}

static int parse_length(struct slice value, struct head *head, struct err *err)
{
    uint64_t length = 0;
    if (value.length == 0 || value.length > 18)
        return bad(err, "Content-Length is not a number of bytes.");
    for (size_t i = 0; i < value.length; i++) {
        if (!is_digit((unsigned char)value.at[i]))
            return bad(err, "Content-Length is not a number of bytes.");
        length = length * 10 + (uint64_t)(value.at[i] - '0');
    }
    head->has_length = true;
    head->length = length;
    return 0;
}

static int parse_host(const struct head *head, struct err *err)
{
    struct slice host;
    int r = head_value(head, "host", &host);
    if (r != 0)
        return bad(err, r == HEAD_ABSENT ? "The header field Host is missing."
                                         : "The header field Host is here twice.");
    if (host.length > 255)
        return bad(err, "The header field Host is too long.");
    for (size_t i = 0; i < host.length; i++) {
        unsigned char c = (unsigned char)host.at[i];
        if (!is_alpha(c) && !is_digit(c) && !strchr("-._~:[]%", c))
            return bad(err, "The header field Host has a character that no host has.");
    }
    return 0;
}

/* RFC 9112, 6.1 and 6.3: where the request ends must have one answer. */
static int parse_framing(struct head *head, struct err *err)
{
    struct slice value;
    int r = head_value(head, "transfer-encoding", &value);
    if (r == HEAD_REPEATED)
        return bad(err, "Transfer-Encoding is here twice.");
    if (r == 0 && !slice_is(value, "chunked"))
        return bad(err, "The only Transfer-Encoding understood is \"chunked\".");
    head->chunked = r == 0;
    r = head_value(head, "content-length", &value);
    if (r == HEAD_REPEATED)
        return bad(err, "Content-Length is here twice.");
    if (r == HEAD_ABSENT)
        return 0;
    if (head->chunked)
        return bad(err, "Content-Length and Transfer-Encoding exclude each other.");
    return parse_length(value, head, err);
}

static int parse_expect(struct head *head, struct err *err)
{
    struct slice value;
    int r = head_value(head, "expect", &value);
    if (r == HEAD_ABSENT)
        return 0;
    if (r == HEAD_REPEATED || !slice_is(value, "100-continue"))
        return bad(err, "The only expectation understood is \"100-continue\".");
    head->expects_continue = true;
    return 0;
}

int head_parse(const char *data, size_t length, struct head *ret, struct err *err)
{
    ret->field_count = 0;
    ret->length = 0;
    ret->has_length = ret->chunked = ret->expects_continue = ret->close = false;
    size_t at = 0;
    bool first = true;
    while (at + 2 < length) {
        const char *end = memchr(data + at, '\r', length - at);
        if (!end)
            return bad(err, "A line has no end.");
        struct slice line = {data + at, (size_t)(end - data) - at};
        int r = line.length == 0 ? bad(err, "There is an empty line inside the head.")
                : first          ? parse_request_line(line, ret, err)
                                 : parse_field(line, ret, err);
        if (r < 0)
            return r;
        first = false;
        at += line.length + 2;
    }
    if (first)
        return bad(err, "The head has no request line.");
    int r = parse_host(ret, err);
    if (r == 0)
        r = parse_framing(ret, err);
    if (r == 0)
        r = parse_expect(ret, err);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < ret->field_count; i++)
        if (slice_is(ret->fields[i].name, "connection") &&
            slice_lists(ret->fields[i].value, "close"))
            ret->close = true;
    return 0;
}
