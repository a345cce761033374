/* This file fills and formats errors; it never prints them. */
#include "runtime/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int status;
} codes[ERR_CODE_COUNT] = {[ERR_NONE] = {"none", 200},
#define X(sym, text, code) [ERR_##sym] = {text, code},
                           ERR_CODES(X)
#undef X
};

const char *err_code_name(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT ? codes[code].name : "internal";
}

int err_code_status(enum err_code code)
{
    return (unsigned)code < ERR_CODE_COUNT ? codes[code].status : 500;
}

/* Copy without libc's formatting, so that it is safe between clone() and execve(). */
static void copy_text(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; from && from[i] && i + 1 < size; i++)
        to[i] = from[i];
    to[i] = 0;
    /* Do not leave half a UTF-8 character before the cut: its tail, then its first byte. */
    if (!from || ((unsigned char)from[i] & 0xc0) != 0x80)
        return;
    while (i > 0 && ((unsigned char)to[i - 1] & 0xc0) == 0x80)
        i--;
    to[i > 0 ? i - 1 : 0] = 0;
}

/* Who was refused because memory or descriptors were short just then did nothing wrong, and is
 * right to ask again: whatever the caller takes a failure of that step for. */
static enum err_code code_of(enum err_code code, int sys)
{
    if (sys != EMFILE && sys != ENFILE && sys != ENOMEM &&
        (sys != EAGAIN || code != ERR_CAPABILITY_UNAVAILABLE))
        return code;
    switch (code) {
    case ERR_INVALID_REQUEST:
    case ERR_FORBIDDEN:
    case ERR_NOT_FOUND:
    case ERR_CAPABILITY_UNAVAILABLE:
    case ERR_INTERNAL:
        return ERR_UNAVAILABLE;
    default:
        return code;
    }
}

int err_raw(struct err *err, enum err_code code, int sys, const char *step, const char *subject)
{
    if (err) {
        err->sys = sys;
        err->code = (uint16_t)code_of(code, sys);
        copy_text(err->step, sizeof err->step, step);
        copy_text(err->subject, sizeof err->subject, subject);
        err->detail[0] = 0;
    }
    return sys ? -sys : -EINVAL;
}

int err_set(struct err *err, enum err_code code, int sys, const char *step, const char *subject,
            const char *fmt, ...)
{
    int r = err_raw(err, code, sys, step, subject);
    if (err && fmt) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(err->detail, sizeof err->detail, fmt, ap);
        va_end(ap);
    }
    return r;
}

void err_add(struct err *err, const char *fmt, ...)
{
    if (!err)
        return;
    size_t n = strnlen(err->detail, sizeof err->detail - 1);
    if (n > 0 && n + 2 < sizeof err->detail)
        err->detail[n++] = ' ';
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->detail + n, sizeof err->detail - n, fmt, ap);
    va_end(ap);
}

/* Append `text`, escaping control characters (C0, DEL and the C1 range in UTF-8). */
static size_t append_clean(char *to, size_t size, size_t at, const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p && at + 5 < size; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        if (*p >= 0x20 && *p != 0x7f && !c1) {
            to[at++] = (char)*p;
            continue;
        }
        at += (size_t)snprintf(to + at, size - at, "\\x%02x", *p);
    }
    to[at] = 0;
    return at;
}

void err_format(const struct err *err, char *ret_text, unsigned long size)
{
    if (size < 8)
        return;
    size_t n = 0;
    n = append_clean(ret_text, size, n, err_code_name((enum err_code)err->code));
    n = append_clean(ret_text, size, n, ": ");
    n = append_clean(ret_text, size, n, err->step);
    if (err->subject[0]) {
        n = append_clean(ret_text, size, n, err->step[0] ? ": " : "");
        n = append_clean(ret_text, size, n, err->subject);
    }
    if (err->sys) {
        n = append_clean(ret_text, size, n, ": ");
        n = append_clean(ret_text, size, n, strerror(err->sys));
    }
    if (err->detail[0]) {
        n = append_clean(ret_text, size, n, err->sys ? ". " : ": ");
        append_clean(ret_text, size, n, err->detail);
    }
}
