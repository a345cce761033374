/* This file hashes with SHA-256 (FIPS 180-4); hex out. Pure. Any process may call. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void sha256_hex(const void *data, size_t length, char ret_hex[65]);

/* The same over several pieces, as if they stood one after another. */
struct sha256_part {
    const void *data;
    size_t length;
};
void sha256_parts_hex(const struct sha256_part *parts, size_t count, char ret_hex[65]);

/* The same piece by piece: init, update as often as there is data, then final_hex once. */
struct sha256 {
    uint32_t h[8];
    uint64_t length; /* bytes so far */
    unsigned char block[64];
};
void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t length);
void sha256_final_hex(struct sha256 *s, char ret_hex[65]);
