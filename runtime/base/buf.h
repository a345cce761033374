/* This file is a growable byte buffer, always NUL-terminated; it never aborts: when memory is
 * short the buffer is marked failed, later calls do nothing, and buf_failed() tells at the end.
 * Any process that may call malloc() may call; not for code between clone() and execve().
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* owned; NULL when nothing was added */
    size_t length;
    size_t capacity;
    bool failed;
};

void buf_fini(struct buf *b); /* frees, and makes it empty again */
void buf_add(struct buf *b, const void *data, size_t length);
void buf_puts(struct buf *b, const char *text);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *b, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
bool buf_failed(const struct buf *b);
const char *buf_text(const struct buf *b); /* "" when empty; owned by the buffer */
char *buf_take(struct buf *b);             /* caller frees; NULL when failed */

/* `text` as a JSON string with quotes. Bytes that are not UTF-8 become U+FFFD. */
void buf_json_string(struct buf *b, const char *text);

#define _cleanup_buf_ __attribute__((cleanup(buf_fini)))
