/* This file prints what documents are made of and the base layer does not have: times, and bytes
 * that a session chose; it never cuts or repairs them. Pure.
 */
#pragma once

#include "runtime/base/buf.h"

#include <stdint.h>

/* "2026-01-02T03:04:05.678Z", with its quotes. */
void front_print_time(uint64_t ms_since_1970, struct buf *out);

/* "NAME":"text" where the bytes are UTF-8 without NUL, else "NAME_base64":"…". */
void front_print_bytes(const char *name, const void *data, size_t length, struct buf *out);

/* Three or four octal digits without setuid, setgid and sticky bits. 0 or -EINVAL. */
int front_parse_mode(const char *text, uint32_t *ret_mode);
