/* This file hashes with SHA-256 (FIPS 180-4); hex out. Pure. Any process may call. */
#pragma once

#include <stddef.h>

void sha256_hex(const void *data, size_t length, char ret_hex[65]);

/* The same over several pieces, as if they stood one after another. */
struct sha256_part {
    const void *data;
    size_t length;
};
void sha256_parts_hex(const struct sha256_part *parts, size_t count, char ret_hex[65]);
