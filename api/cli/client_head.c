/* This file reads the head and the framing of an answer; it never keeps a byte of it but of what
 * stands behind an archive. */
#include "api/cli/client_head.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { FIELDS_BEHIND_MAX = 16 };

static int bad(struct err *err, const char *what)
{
    return err_set(err, ERR_INTERNAL, EPROTO, "read the answer", NULL,
                   "%s Is this berth's socket, and of the same version?", what);
}

/* ---- head ------------------------------------------------------------------------------------ */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits to the end, that fit 63 bits. */
static bool read_number(const char *text, size_t length, uint64_t *ret)
{
    uint64_t number = 0;
    for (size_t i = 0; i < length; i++) {
        if (!is_digit(text[i]) || number > (INT64_MAX - 9) / 10)
            return false;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *ret = number;
    return length > 0;
}

static int read_status(const char *line, size_t length, struct client_head *head, struct err *err)
{
    static const char version[] = "HTTP/1.1 ";
    enum { AT = sizeof version - 1 };
    if (length < AT + 3 || memcmp(line, version, AT) != 0 ||
        (length > AT + 3 && line[AT + 3] != ' '))
        return bad(err, "Its first line is not one of HTTP/1.1.");
    for (int i = 0; i < 3; i++)
        if (!is_digit(line[AT + i]))
            return bad(err, "Its status is no number.");
    head->status = (line[AT] - '0') * 100 + (line[AT + 1] - '0') * 10 + (line[AT + 2] - '0');
    return head->status < 100 || head->status > 599 ? bad(err, "There is no such status.") : 0;
}

/* What is no mode is as if it had not been said. */
static void read_mode(const char *value, size_t length, struct client_head *head)
{
    uint32_t mode = 0;
    if (length < 3 || length > 6)
        return;
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '7')
            return;
        mode = mode * 8 + (uint32_t)(value[i] - '0');
    }
    head->has_mode = true;
    head->mode = mode & 0777;
}

static int take_field(const char *name, size_t name_length, const char *value, size_t length,
                      struct client_head *head, struct err *err)
{
    uint64_t number;
#define IS(text) (name_length == sizeof text - 1 && strncasecmp(name, text, name_length) == 0)
    if (IS("content-length")) {
        if (head->has_length || head->chunked || !read_number(value, length, &head->length))
            return bad(err, "Its length is not clear.");
        head->has_length = true;
    } else if (IS("transfer-encoding")) {
        if (head->has_length || head->chunked || length != 7 ||
            strncasecmp(value, "chunked", 7) != 0)
            return bad(err, "Its length is not clear.");
        head->chunked = true;
    } else if (IS("connection")) {
        head->close |= length == 5 && strncasecmp(value, "close", 5) == 0;
    } else if (IS("retry-after")) {
        if (read_number(value, length, &number) && number < 3600)
            head->retry_after_s = (unsigned)number;
    } else if (IS("x-berth-mode")) {
        read_mode(value, length, head);
    } else if (IS("x-berth-type") && length < sizeof head->type) {
        memcpy(head->type, value, length);
        head->type[length] = 0;
    } else if (IS("content-type")) {
        if (length >= CLIENT_MEDIA_MAX)
            return bad(err, "Its media type is too long.");
        memcpy(head->media_type, value, length);
        head->media_type[length] = 0;
    }
#undef IS
    return 0;
}

static int read_field(const char *line, size_t length, struct client_head *head, struct err *err)
{
    const char *colon = memchr(line, ':', length);
    if (!colon || colon == line)
        return bad(err, "A line of its head is no field.");
    size_t name_length = (size_t)(colon - line);
    for (size_t i = 0; i < name_length; i++)
        if (line[i] <= ' ' || line[i] >= 0x7f)
            return bad(err, "The name of a field of its head is none.");
    const char *value = colon + 1, *end = line + length;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return take_field(line, name_length, value, (size_t)(end - value), head, err);
}

/* No line of a head has a control character in it. */
static bool is_clean(const char *line, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
            return false;
    return true;
}

static int read_lines(const char *data, size_t length, struct client_head *head, struct err *err)
{
    bool first = true;
    for (const char *line = data; line < data + length;) {
        const char *end = memchr(line, '\r', (size_t)(data + length - line));
        size_t n = end ? (size_t)(end - line) : 0;
        if (!end || end[1] != '\n' || !is_clean(line, n))
            return bad(err, "A line of its head has a control character.");
        int r = first ? read_status(line, n, head, err) : read_field(line, n, head, err);
        if (r < 0)
            return r;
        first = false;
        line = end + 2;
    }
    return 0;
}

int client_head_read(const char *data, size_t length, struct client_head *ret, size_t *ret_used,
                     struct err *err)
{
    struct client_head head = {0};
    size_t room = length < CLIENT_HEAD_MAX ? length : CLIENT_HEAD_MAX;
    const char *end = memmem(data, room, "\r\n\r\n", 4);
    if (!end)
        return length < CLIENT_HEAD_MAX ? CLIENT_HEAD_MORE : bad(err, "Its head is too long.");
    int r = read_lines(data, (size_t)(end - data) + 2, &head, err);
    if (r < 0)
        return r;
    *ret = head;
    *ret_used = (size_t)(end - data) + 4;
    return 0;
}

/* ---- body ------------------------------------------------------------------------------------ */

int client_body_init(struct client_body *body, const struct client_head *head, bool none,
                     struct err *err)
{
    *body = (struct client_body){.state = CLIENT_BODY_DONE};
    if (none || head->status == 204 || head->status == 304)
        return 0;
    if (!head->chunked && !head->has_length)
        return bad(err, "It does not say how long it is.");
    if (head->chunked)
        body->state = CLIENT_BODY_SIZE;
    else if (head->length > 0)
        *body = (struct client_body){.state = CLIENT_BODY_LENGTH, .left = head->length};
    return 0;
}

static int hex_digit(char c)
{
    if (is_digit(c))
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A whole line behind the last chunk. What is not known is passed over. */
static int end_field(struct client_body *body, struct err *err)
{
    static const char count[] = "x-berth-left-out:", names[] = "x-berth-left-out-names:";
    char *line = body->field;
    line[body->field_length] = 0;
    const char *value = strchr(line, ':');
    if (++body->fields > FIELDS_BEHIND_MAX || !value || value == line)
        return bad(err, "What stands behind the last chunk is no field.");
    value++;
    value += strspn(value, " ");
    if (strncasecmp(line, count, sizeof count - 1) == 0 &&
        !read_number(value, strlen(value), &body->left_out.count))
        return bad(err, "How much was left out is no number.");
    if (strncasecmp(line, names, sizeof names - 1) == 0)
        snprintf(body->left_out.names, sizeof body->left_out.names, "%s", value);
    body->field_length = 0;
    body->state = CLIENT_BODY_FIELD;
    return 0;
}

static int step_field(struct client_body *body, char c, struct err *err)
{
    if (body->state == CLIENT_BODY_FIELD && c == '\r')
        body->state = CLIENT_BODY_FIELD_LF;
    else if (body->state == CLIENT_BODY_FIELD) {
        if ((unsigned char)c < ' ' || body->field_length + 1 >= sizeof body->field)
            return bad(err, "What stands behind the last chunk is no field, or too long.");
        body->field[body->field_length++] = c;
    } else if (c != '\n')
        return bad(err, "A line behind the last chunk does not end where it should.");
    else if (body->field_length == 0)
        body->state = CLIENT_BODY_DONE;
    else
        return end_field(body, err);
    return 0;
}

/* One byte of what stands between the pieces. */
static int step(struct client_body *body, char c, struct err *err)
{
    static const struct {
        char want;
        enum client_body_state next;
    } fixed[] = {
        [CLIENT_BODY_DATA_CR] = {'\r', CLIENT_BODY_DATA_LF},
        [CLIENT_BODY_DATA_LF] = {'\n', CLIENT_BODY_SIZE},
    };
    if (body->state == CLIENT_BODY_SIZE) {
        int digit = hex_digit(c);
        /* 15 digits: below 2^60 */
        if (digit >= 0 && body->digits < 15) {
            body->left = body->left * 16 + (unsigned)digit;
            body->digits++;
            return 0;
        }
        if (c != '\r' || body->digits == 0)
            return bad(err, "The size of a chunk is none.");
        body->state = CLIENT_BODY_SIZE_LF;
        return 0;
    }
    if (body->state == CLIENT_BODY_SIZE_LF) {
        if (c != '\n')
            return bad(err, "The size of a chunk is none.");
        body->digits = 0;
        body->state = body->left ? CLIENT_BODY_DATA : CLIENT_BODY_FIELD;
        return 0;
    }
    if (body->state == CLIENT_BODY_FIELD || body->state == CLIENT_BODY_FIELD_LF)
        return step_field(body, c, err);
    if (c != fixed[body->state].want)
        return bad(err, "A chunk does not end where it should.");
    body->state = fixed[body->state].next;
    return 0;
}

int client_body_next(struct client_body *body, const char *data, size_t length, size_t *ret_used,
                     const char **ret_piece, size_t *ret_piece_length, struct err *err)
{
    size_t at = 0;
    *ret_piece = NULL;
    *ret_piece_length = 0;
    while (at < length && body->state != CLIENT_BODY_DONE) {
        if (body->state != CLIENT_BODY_DATA && body->state != CLIENT_BODY_LENGTH) {
            int r = step(body, data[at++], err);
            if (r < 0)
                return r;
            continue;
        }
        size_t n = length - at;
        if (n > body->left)
            n = (size_t)body->left;
        *ret_piece = data + at;
        *ret_piece_length = n;
        body->left -= n;
        if (body->left == 0)
            body->state =
                body->state == CLIENT_BODY_LENGTH ? CLIENT_BODY_DONE : CLIENT_BODY_DATA_CR;
        *ret_used = at + n;
        return 0;
    }
    *ret_used = at;
    return body->state == CLIENT_BODY_DONE ? CLIENT_BODY_END : CLIENT_BODY_MORE;
}
