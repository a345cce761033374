/* This file is the one strict JSON reader of berth, for policy files and for request bodies; it
 * never guesses what a writer meant. The whole text is read, or it is refused with a position and
 * one sentence.
 *
 * Refused, unlike in most readers: duplicate keys, bytes that are not UTF-8, a byte order mark, NUL
 * and unescaped control characters, lone surrogates, integers that do not fit 64 bits, more than
 * JSON_DEPTH_MAX levels or JSON_NODES_MAX values (a value of two bytes costs a hundred), anything
 * after the document. Comments (line and block) are read only when the caller allows them. The
 * parser keeps its own stack of fixed size: input can't make it recurse. It uses no locale
 * function.
 *
 * Unprivileged, pure. The tree and its strings live in the caller's arena.
 */
#pragma once

#include "policy/arena.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { JSON_DEPTH_MAX = 32, JSON_PATH_MAX = 256, JSON_NODES_MAX = 64 * 1024 };

enum json_kind { JSON_NULL = 1, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* Lines and columns count from 1; a column is a character, not a byte. */
struct json_position {
    uint32_t line, column;
};

struct json_node {
    enum json_kind kind;
    struct json_position at;     /* where the value begins */
    struct json_position key_at; /* where its key begins, when it is a member of an object */
    const char *key;             /* NULL in an array and at the root */
    const struct json_node *next;
    const struct json_node *first; /* ARRAY, OBJECT: members in the order of the text */
    uint32_t count;
    bool boolean;  /* BOOLEAN */
    bool integer;  /* NUMBER: no fraction and no exponent; then magnitude is exact */
    bool negative; /* NUMBER */
    uint64_t magnitude;
    const char *text; /* STRING: decoded, without NUL inside; NUMBER: as it was written */
    size_t length;
};

struct json_error {
    struct json_position at;
    char path[JSON_PATH_MAX];    /* "limits.memory", "network.allow[2].ports"; "" at the root */
    char pointer[JSON_PATH_MAX]; /* the same as RFC 6901: "/network/allow/2/ports"; "" at the root,
                                    cut at a member when it is too long */
    char message[320];           /* one or two sentences */
};

/* 0 with *ret_root; -EINVAL with *ret_error; -E2BIG when length > max_bytes (ret_error says so);
 * -ENOMEM. `text` need not be NUL-terminated. */
int json_parse(struct arena *arena, const char *text, size_t length, size_t max_bytes,
               bool comments, const struct json_node **ret_root, struct json_error *ret_error);

/* The member of an object, or NULL. */
const struct json_node *json_member(const struct json_node *object, const char *key);

/* "a string", "an object": for messages. */
const char *json_kind_name(enum json_kind kind);

/* Length of the valid UTF-8 character at `p` (1 to 4), or 0 when there is none. */
size_t json_utf8_length(const unsigned char *p, size_t room);
