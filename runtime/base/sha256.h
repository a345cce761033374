/* This file hashes with SHA-256 (FIPS 180-4) through libmd; hex out. Pure. Any process may call. */
#pragma once

#include <stddef.h>

void sha256_hex(const void *data, size_t length, char ret_hex[65]);
