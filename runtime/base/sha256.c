/* This file hashes with SHA-256 (FIPS 180-4); it never fails.
 *
 * It is berth's own because berth is linked with another C library than Debian's static libraries
 * are built for (docs/adr/0004): these lines with the standard's vectors as tests weigh less than a
 * library of the wrong ABI. Where the processor has instructions for it they are used: what a
 * session is made of is hashed on the way of its start, and files while they come in.
 */
#include "runtime/base/sha256.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#if defined __x86_64__ && !defined SHA256_PORTABLE /* a test has it without */
#define HAS_INSTRUCTIONS
#include <cpuid.h>
#include <immintrin.h>
#endif

enum { BLOCK = 64, ROUNDS = 64 };

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

/* FIPS 180-4, 4.2.2. */
static const uint32_t k[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* FIPS 180-4, 6.2.2. */
static void compress(uint32_t state[8], const unsigned char *p)
{
    uint32_t w[ROUNDS];
    for (int i = 0; i < 16; i++, p += 4)
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    for (int i = 16; i < ROUNDS; i++) {
        uint32_t s0 = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t s1 = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t t1 =
            h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
        uint32_t t2 =
            (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t v[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++)
        state[i] += v[i];
}

/* ---- the processor's own instructions ----------------------------------------------------------
 */

#ifdef HAS_INSTRUCTIONS
#define SHA_TARGET __attribute__((target("sha,sse4.1")))

/* CPUID leaf 1 and 7 (Intel SDM, volume 2): SSSE3 and SSE4.1; SHA. */
static bool look_for_instructions(void)
{
    const unsigned needed = 1u << 9 | 1u << 19, sha = 1u << 29;
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & needed) != needed)
        return false;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & sha) != 0;
}

/* To ask takes a virtual machine four exits, some 14 us: as long as the portable code takes for
 * WORTH blocks. Who hashes no more than that at a time never asks. */
enum { WORTH = 64 };

static bool has_instructions(size_t blocks)
{
    static _Atomic signed char known; /* 0: not yet; every thread finds the same */
    if (known == 0 && blocks > WORTH)
        known = look_for_instructions() ? 1 : -1;
    return known > 0;
}

/* Four words of the message schedule out of the sixteen before them, which are in order. */
SHA_TARGET static inline __m128i next_four(__m128i one, __m128i two, __m128i three, __m128i four)
{
    __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(one, two), _mm_alignr_epi8(four, three, 4));
    return _mm_sha256msg2_epu32(sum, four);
}

SHA_TARGET static inline void four_rounds(__m128i *abef, __m128i *cdgh, __m128i words,
                                          const uint32_t *constants)
{
    __m128i sum = _mm_add_epi32(words, _mm_loadu_si128((const __m128i *)constants));
    *cdgh = _mm_sha256rnds2_epu32(*cdgh, *abef, sum);
    *abef = _mm_sha256rnds2_epu32(*abef, *cdgh, _mm_shuffle_epi32(sum, 0x0e));
}

/* The instructions have the state as (a, b, e, f) and (c, d, g, h), highest first. */
SHA_TARGET static void compress_all(uint32_t state[8], const unsigned char *p, size_t blocks)
{
    const __m128i order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i *place = (__m128i *)state;
    __m128i low = _mm_shuffle_epi32(_mm_loadu_si128(place), 0xb1);
    __m128i high = _mm_shuffle_epi32(_mm_loadu_si128(place + 1), 0x1b);
    __m128i abef = _mm_alignr_epi8(low, high, 8), cdgh = _mm_blend_epi16(high, low, 0xf0);
    for (; blocks > 0; blocks--, p += BLOCK) {
        const __m128i *text = (const __m128i *)p;
        const __m128i abef_before = abef, cdgh_before = cdgh;
        __m128i w0 = _mm_shuffle_epi8(_mm_loadu_si128(text), order);
        __m128i w1 = _mm_shuffle_epi8(_mm_loadu_si128(text + 1), order);
        __m128i w2 = _mm_shuffle_epi8(_mm_loadu_si128(text + 2), order);
        __m128i w3 = _mm_shuffle_epi8(_mm_loadu_si128(text + 3), order);
        for (int i = 0;; i += 16) {
            four_rounds(&abef, &cdgh, w0, k + i);
            four_rounds(&abef, &cdgh, w1, k + i + 4);
            four_rounds(&abef, &cdgh, w2, k + i + 8);
            four_rounds(&abef, &cdgh, w3, k + i + 12);
            if (i == ROUNDS - 16)
                break;
            w0 = next_four(w0, w1, w2, w3);
            w1 = next_four(w1, w2, w3, w0);
            w2 = next_four(w2, w3, w0, w1);
            w3 = next_four(w3, w0, w1, w2);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    low = _mm_shuffle_epi32(abef, 0x1b);
    high = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128(place, _mm_blend_epi16(low, high, 0xf0));
    _mm_storeu_si128(place + 1, _mm_alignr_epi8(high, low, 8));
}
#endif

static void compress_blocks(uint32_t state[8], const unsigned char *p, size_t blocks)
{
#ifdef HAS_INSTRUCTIONS
    if (has_instructions(blocks)) {
        compress_all(state, p, blocks);
        return;
    }
#endif
    for (; blocks > 0; blocks--, p += BLOCK)
        compress(state, p);
}

void sha256_init(struct sha256 *s)
{
    *s = (struct sha256){.h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
                               0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_update(struct sha256 *s, const void *data, size_t length)
{
    const unsigned char *p = data;
    size_t at = s->length % BLOCK;
    s->length += length;
    if (at > 0 && length > 0) {
        size_t n = BLOCK - at < length ? BLOCK - at : length;
        memcpy(s->block + at, p, n);
        p += n;
        length -= n;
        if (at + n < BLOCK)
            return;
        compress_blocks(s->h, s->block, 1);
    }
    compress_blocks(s->h, p, length / BLOCK);
    if (length % BLOCK > 0)
        memcpy(s->block, p + length / BLOCK * BLOCK, length % BLOCK);
}

void sha256_final_hex(struct sha256 *s, char ret_hex[65])
{
    static const char digits[] = "0123456789abcdef";
    /* Padding: a one bit, zeros, the length in bits (5.1.1). */
    uint64_t bits = s->length * 8;
    unsigned char tail[8];
    for (int i = 0; i < 8; i++)
        tail[i] = (unsigned char)(bits >> (56 - 8 * i));
    sha256_update(s, "\x80", 1);
    while (s->length % BLOCK != BLOCK - sizeof tail)
        sha256_update(s, "", 1);
    sha256_update(s, tail, sizeof tail);

    for (int i = 0; i < 32; i++) {
        unsigned byte = s->h[i / 4] >> (24 - 8 * (i % 4)) & 0xff;
        ret_hex[2 * i] = digits[byte >> 4];
        ret_hex[2 * i + 1] = digits[byte & 15];
    }
    ret_hex[64] = 0;
}

void sha256_parts_hex(const struct sha256_part *parts, size_t count, char ret_hex[65])
{
    struct sha256 s;
    sha256_init(&s);
    for (size_t i = 0; i < count; i++)
        sha256_update(&s, parts[i].data, parts[i].length);
    sha256_final_hex(&s, ret_hex);
}

void sha256_hex(const void *data, size_t length, char ret_hex[65])
{
    const struct sha256_part part = {data, length};
    sha256_parts_hex(&part, 1, ret_hex);
}
