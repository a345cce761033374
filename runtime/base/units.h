/* This file reads and prints sizes, durations and ids: the grammars of the contract, once.
 * Pure. Any process may call. Every reader takes the whole string or fails: no leading space, no
 * trailing text, no sign, no octal, no overflow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "1073741824", "1GiB", "500 MB" is refused (no space). Units KiB MiB GiB TiB, KB MB GB TB, B.
 * A decimal fraction is allowed with a unit ("1.5GiB") when the result is a whole byte.
 * 0 or -EINVAL (not a size), -ERANGE (too large). */
int units_parse_size(const char *text, uint64_t *ret_bytes);

/* "500ms", "30s", "10m", "2h", "1d", or a plain integer of milliseconds. */
int units_parse_duration(const char *text, uint64_t *ret_ms);

/* "1.5" CPUs -> 1500 thousandths; at most three decimals; more than 0. */
int units_parse_cpus(const char *text, uint64_t *ret_millis);

/* Decimal digits only. */
int units_parse_u64(const char *text, uint64_t *ret);

/* Shortest exact form with binary units: "4GiB", "1536MiB", "1000". */
void units_format_size(uint64_t bytes, char *ret_text, size_t size);
void units_format_duration(uint64_t ms, char *ret_text, size_t size);

/* ID-2: [A-Za-z0-9][A-Za-z0-9_.-]{0,63}, without "..". */
bool id_valid(const char *text);

/* `prefix` and 12 random characters of [a-z2-7], from getrandom(2). -errno when it fails. */
int id_random(const char *prefix, char *ret_text, size_t size);
