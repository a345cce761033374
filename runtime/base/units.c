/* This file reads and prints sizes, durations and ids; it never guesses. */
#include "runtime/base/units.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {
    {"B", 1},
    {"KB", 1000},
    {"MB", 1000 * 1000},
    {"GB", 1000ull * 1000 * 1000},
    {"TB", 1000ull * 1000 * 1000 * 1000},
    {"KiB", 1ull << 10},
    {"MiB", 1ull << 20},
    {"GiB", 1ull << 30},
    {"TiB", 1ull << 40},
    {NULL, 0},
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 86400 * 1000}, {NULL, 0},
};

static const struct unit no_units[] = {{NULL, 0}};

/* Digits, an optional fraction of at most nine digits, then a unit of the table or nothing. The
 * value is computed in exact integers: whole * factor + fraction * factor / 10^digits. */
static int parse_scaled(const char *text, const struct unit *units, uint64_t bare,
                        bool bare_fraction, uint64_t *ret)
{
    const char *p = text;
    uint64_t whole = 0, fraction = 0, scale = 1;
    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    for (; isdigit((unsigned char)*p); p++) {
        if (__builtin_mul_overflow(whole, 10u, &whole) ||
            __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
            return -ERANGE;
    }
    bool has_fraction = *p == '.';
    if (has_fraction) {
        if (!isdigit((unsigned char)*++p))
            return -EINVAL;
        for (; isdigit((unsigned char)*p); p++) {
            if (scale >= 1000000000)
                return -EINVAL;
            fraction = fraction * 10 + (uint64_t)(*p - '0');
            scale *= 10;
        }
    }
    uint64_t factor = 0;
    if (!*p) {
        if (has_fraction && !bare_fraction)
            return -EINVAL;
        factor = bare;
    } else {
        for (const struct unit *u = units; u->name; u++)
            if (strcmp(u->name, p) == 0)
                factor = u->factor;
        if (factor == 0)
            return -EINVAL;
    }
    __extension__ typedef unsigned __int128 wide;
    wide part = (wide)fraction * factor;
    if (part % scale != 0)
        return -EINVAL;
    wide value = (wide)whole * factor + part / scale;
    if (value > UINT64_MAX)
        return -ERANGE;
    *ret = (uint64_t)value;
    return 0;
}

int units_parse_size(const char *text, uint64_t *ret_bytes)
{
    return parse_scaled(text, size_units, 1, false, ret_bytes);
}

int units_parse_duration(const char *text, uint64_t *ret_ms)
{
    return parse_scaled(text, duration_units, 1, false, ret_ms);
}

int units_parse_cpus(const char *text, uint64_t *ret_millis)
{
    uint64_t millis;
    int r = parse_scaled(text, no_units, 1000, true, &millis);
    if (r < 0)
        return r;
    if (millis == 0)
        return -EINVAL;
    *ret_millis = millis;
    return 0;
}

int units_parse_u64(const char *text, uint64_t *ret)
{
    return parse_scaled(text, no_units, 1, false, ret);
}

/* The largest unit of the table that divides the value. */
static void format_scaled(uint64_t value, const struct unit *units, const char *bare,
                          char *ret_text, size_t size)
{
    const struct unit *best = NULL;
    for (const struct unit *u = units; u->name; u++)
        if (value && value % u->factor == 0 && (!best || u->factor > best->factor))
            best = u;
    if (best)
        snprintf(ret_text, size, "%" PRIu64 "%s", value / best->factor, best->name);
    else
        snprintf(ret_text, size, "%" PRIu64 "%s", value, bare);
}

void units_format_size(uint64_t bytes, char *ret_text, size_t size)
{
    static const struct unit binary[] = {{"KiB", 1ull << 10},
                                         {"MiB", 1ull << 20},
                                         {"GiB", 1ull << 30},
                                         {"TiB", 1ull << 40},
                                         {NULL, 0}};
    format_scaled(bytes, binary, "", ret_text, size);
}

void units_format_duration(uint64_t ms, char *ret_text, size_t size)
{
    format_scaled(ms, duration_units, "ms", ret_text, size);
}

bool id_valid(const char *text)
{
    size_t n = strnlen(text, 65);
    if (n == 0 || n > 64 || !isalnum((unsigned char)text[0]) || (unsigned char)text[0] > 127)
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c > 127 || !(isalnum(c) || c == '_' || c == '.' || c == '-'))
            return false;
        if (c == '.' && text[i + 1] == '.')
            return false;
    }
    return true;
}

int id_random(const char *prefix, char *ret_text, size_t size)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    unsigned char bytes[12];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return errno ? -errno : -EIO;
    char text[sizeof bytes + 1];
    for (size_t i = 0; i < sizeof bytes; i++)
        text[i] = alphabet[bytes[i] & 31];
    text[sizeof bytes] = 0;
    if ((size_t)snprintf(ret_text, size, "%s%s", prefix, text) >= size)
        return -ENAMETOOLONG;
    return 0;
}
