/* This file is what the two halves of the JSON reader share: json_text.c reads characters, strings,
 * numbers and words; json.c reads what they are arranged in. Nobody else includes it.
 */
#pragma once

#include "policy/json.h"

struct json_level {
    struct json_node *node;
    struct json_node *last; /* newest member */
    const char *key;        /* read, its value not yet */
    struct json_position key_at;
    struct json_position comma_at;
};

struct json_reader {
    const unsigned char *at, *end;
    struct json_position position;
    struct arena *arena;
    bool comments;
    unsigned depth;
    unsigned nodes;
    struct json_level levels[JSON_DEPTH_MAX];
    struct json_error *error;
};

/* Fills the error with the place and the path of what is open. -EINVAL, -ENOMEM. Called once. */
int json_fail(struct json_reader *r, struct json_position at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
int json_fail_memory(struct json_reader *r);

/* Before everything else: UTF-8, no NUL, no control characters. */
int json_check_bytes(struct json_reader *r);

void json_advance(struct json_reader *r); /* one character further */
int json_skip_space(struct json_reader *r);

/* Each begins at the first character of what it reads and ends after its last. */
int json_read_string(struct json_reader *r, const char **ret_text, size_t *ret_length);
int json_read_number(struct json_reader *r, struct json_node *node);
int json_read_word(struct json_reader *r, struct json_node *node);

/* The byte at `offset`, or -1 behind the end. */
static inline int json_peek(const struct json_reader *r, size_t offset)
{
    return (size_t)(r->end - r->at) > offset ? r->at[offset] : -1;
}

static inline bool json_is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static inline bool json_is_word(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || json_is_digit(c) || c == '_' ||
           c == '-' || c == '$';
}
