/* This file is the only one that meets libmd; it never fails. */
#include "runtime/base/sha256.h"

#include <sha256.h>
#include <stdint.h>

void sha256_parts_hex(const struct sha256_part *parts, size_t count, char ret_hex[65])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t digest[SHA256_DIGEST_LENGTH];
    SHA2_CTX context;
    SHA256Init(&context);
    for (size_t i = 0; i < count; i++)
        SHA256Update(&context, parts[i].data, parts[i].length);
    SHA256Final(digest, &context);
    for (size_t i = 0; i < sizeof digest; i++) {
        ret_hex[2 * i] = digits[digest[i] >> 4];
        ret_hex[2 * i + 1] = digits[digest[i] & 15];
    }
    ret_hex[64] = 0;
}

void sha256_hex(const void *data, size_t length, char ret_hex[65])
{
    const struct sha256_part part = {data, length};
    sha256_parts_hex(&part, 1, ret_hex);
}
