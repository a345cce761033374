/* This file gives memory that is freed all at once; it never gives back a single piece. A policy or
 * a JSON document owns one arena, and everything in it lives as long as its owner.
 * Single-threaded. Unprivileged.
 */
#pragma once

#include <stddef.h>

struct arena_chunk;

struct arena {
    struct arena_chunk *chunks; /* newest first; NULL when empty */
};

/* Zeroed memory, aligned for any object. NULL: out of memory. */
void *arena_alloc(struct arena *arena, size_t size);

/* A copy of `length` bytes with a NUL behind it. NULL: out of memory. */
char *arena_copy(struct arena *arena, const char *text, size_t length);
char *arena_printf(struct arena *arena, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

void arena_fini(struct arena *arena); /* frees all, and makes it empty again */

#define _cleanup_arena_ __attribute__((cleanup(arena_fini)))
