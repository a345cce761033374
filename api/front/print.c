/* This file prints times, bytes and modes; it never cuts or repairs them. */
#include "api/front/print.h"

#include "policy/json.h"
#include "runtime/base/log_line.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void front_print_time(uint64_t ms, struct buf *out)
{
    log_line_time(ms, out);
}

static bool is_text(const unsigned char *data, size_t length)
{
    for (size_t i = 0; i < length;) {
        size_t n = data[i] ? json_utf8_length(data + i, length - i) : 0;
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

static void put_text(const unsigned char *data, size_t length, struct buf *out)
{
    size_t from = 0;
    for (size_t i = 0; i < length; i++) {
        bool plain = data[i] >= 0x20 && data[i] != '"' && data[i] != '\\';
        if (plain)
            continue;
        buf_add(out, data + from, i - from);
        from = i + 1;
        if (data[i] == '\n')
            buf_puts(out, "\\n");
        else if (data[i] < 0x20)
            buf_printf(out, "\\u%04x", data[i]);
        else
            buf_printf(out, "\\%c", data[i]);
    }
    buf_add(out, data + from, length - from);
}

static void put_base64(const unsigned char *data, size_t length, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        size_t n = length - i < 3 ? length - i : 3;
        uint32_t bits = (uint32_t)data[i] << 16;
        if (n > 1)
            bits |= (uint32_t)data[i + 1] << 8;
        if (n > 2)
            bits |= data[i + 2];
        const char four[] = {digits[bits >> 18], digits[bits >> 12 & 63],
                             n > 1 ? digits[bits >> 6 & 63] : '=', n > 2 ? digits[bits & 63] : '='};
        buf_add(out, four, sizeof four);
    }
}

void front_print_bytes(const char *name, const void *data, size_t length, struct buf *out)
{
    bool text = is_text(data, length);
    buf_printf(out, "\"%s%s\":\"", name, text ? "" : "_base64");
    if (text)
        put_text(data, length, out);
    else
        put_base64(data, length, out);
    buf_putc(out, '"');
}

int front_parse_mode(const char *text, uint32_t *ret_mode)
{
    size_t n = strlen(text);
    uint32_t mode = 0;
    if (n < 3 || n > 4 || strspn(text, "01234567") != n)
        return -EINVAL;
    for (; *text; text++)
        mode = mode * 8 + (uint32_t)(*text - '0');
    if (mode & 07000)
        return -EINVAL;
    *ret_mode = mode;
    return 0;
}
