/* This file reads the values of single header fields; it never defaults what was written wrongly.
 */
#include "api/http/values.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int bad(struct err *err, const char *field, const char *what)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "read a header field", field, "%s", what);
}

int value_idempotency_key(struct slice value, char ret_key[IDEMPOTENCY_KEY_MAX + 1],
                          struct err *err)
{
    if (value.length >= 2 && value.at[0] == '"' && value.at[value.length - 1] == '"')
        value = (struct slice){value.at + 1, value.length - 2};
    if (value.length == 0 || value.length > IDEMPOTENCY_KEY_MAX)
        return bad(err, "Idempotency-Key", "A key has 1 to 128 characters.");
    for (size_t i = 0; i < value.length; i++)
        if (value.at[i] <= ' ' || value.at[i] >= 0x7f || strchr("\",\\", value.at[i]))
            return bad(err, "Idempotency-Key",
                       "A key has only visible ASCII characters, without quotes, commas and "
                       "backslashes.");
    memcpy(ret_key, value.at, value.length);
    ret_key[value.length] = 0;
    return 0;
}

/* Digits at the front; false when there is none or too many. */
static bool take_number(struct slice *from, uint64_t *ret_number)
{
    uint64_t number = 0;
    size_t n = 0;
    while (n < from->length && from->at[n] >= '0' && from->at[n] <= '9') {
        uint64_t digit = (uint64_t)(from->at[n++] - '0');
        if (number > (INT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *ret_number = number;
    from->at += n;
    from->length -= n;
    return n > 0;
}

int value_sequence(struct slice value, const char *what, uint64_t *ret_sequence, struct err *err)
{
    uint64_t sequence;
    if (!take_number(&value, &sequence) || value.length > 0)
        return bad(err, what, "Must be the decimal number of an event.");
    *ret_sequence = sequence;
    return 0;
}

int value_range(struct slice value, struct byte_range *ret_range, struct err *err)
{
    static const char unit[] = "bytes=";
    static const char form[] =
        "One range is understood: bytes=FIRST-LAST, bytes=FIRST- or bytes=-COUNT.";
    struct byte_range range = {.present = true};
    if (value.length < sizeof unit || !slice_is((struct slice){value.at, sizeof unit - 1}, unit))
        return bad(err, "Range", form);
    value.at += sizeof unit - 1;
    value.length -= sizeof unit - 1;
    range.suffix = !take_number(&value, &range.first);
    if (value.length == 0 || value.at[0] != '-')
        return bad(err, "Range", form);
    value.at++;
    value.length--;
    range.open = !take_number(&value, &range.last);
    if (value.length > 0 || (range.suffix && range.open))
        return bad(err, "Range", form);
    if (!range.suffix && !range.open && range.last < range.first)
        return bad(err, "Range", "The last byte stands before the first.");
    *ret_range = range;
    return 0;
}

int byte_range_resolve(const struct byte_range *range, uint64_t size, uint64_t *ret_offset,
                       uint64_t *ret_length, struct err *err)
{
    uint64_t first = range->present ? range->first : 0, end = size;
    if (range->present && range->suffix)
        first = range->last < size ? size - range->last : 0;
    else if (range->present && !range->open && range->last < size)
        end = range->last + 1;
    if (range->present && (first >= size || (range->suffix && range->last == 0))) {
        err_set(err, ERR_RANGE_NOT_SATISFIABLE, 0, "read a part of a file", NULL,
                "The file has %" PRIu64 " bytes.", size);
        return -ERANGE;
    }
    *ret_offset = first;
    *ret_length = end - first;
    return 0;
}

bool value_is_json(struct slice content_type)
{
    static const char json[] = "application/json";
    const char *semicolon = memchr(content_type.at, ';', content_type.length);
    struct slice type = {content_type.at, content_type.length};
    struct slice parameter = {NULL, 0};
    if (semicolon) {
        type.length = (size_t)(semicolon - content_type.at);
        parameter = (struct slice){semicolon + 1, content_type.length - type.length - 1};
    }
    while (type.length > 0 && type.at[type.length - 1] == ' ')
        type.length--;
    while (parameter.length > 0 && parameter.at[0] == ' ') {
        parameter.at++;
        parameter.length--;
    }
    return slice_is(type, json) && (parameter.length == 0 || slice_is(parameter, "charset=utf-8") ||
                                    slice_is(parameter, "charset=\"utf-8\""));
}
