/* This file reads the head of an HTTP/1.1 request: request line and header fields; it never reads a
 * body and never guesses. What RFC 9112 lets a server repair (bare line feeds, folded lines, space
 * before a colon, repeated or listed lengths, a length beside chunks) is refused instead, because
 * two readers that repair differently are how requests are smuggled (docs/adr/0011).
 *
 *     head_scan() after each read, until the head is whole; then head_parse() once.
 *
 * Pure; nothing is allocated: every slice points into the caller's bytes. Unprivileged.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HEAD_BYTES_MAX = 16 * 1024, HEAD_FIELDS_MAX = 64 };

enum http_method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_PUT,
    METHOD_POST,
    METHOD_DELETE,
    METHOD_OTHER, /* a well-formed name that no route has */
};

struct slice {
    const char *at;
    size_t length;
};

struct head_field {
    struct slice name, value; /* the value without space around it */
};

struct head {
    enum http_method method;
    struct slice method_text;
    struct slice target; /* begins with "/"; visible ASCII */
    struct head_field fields[HEAD_FIELDS_MAX];
    unsigned field_count;
    uint64_t length; /* of Content-Length; 0 without one */
    bool has_length;
    bool chunked;
    bool expects_continue;
    bool close; /* the client wants no further request on this connection */
};

enum head_outcome { HEAD_MORE = 1 };

/* Look at what came since the last call. `*scanned` is 0 at first and belongs to this function.
 * 0: the head is whole, *ret_length bytes with its empty line. HEAD_MORE: read on. -EINVAL: it can
 * never become a head. -E2BIG: longer than HEAD_BYTES_MAX. */
int head_scan(const char *data, size_t length, size_t *scanned, size_t *ret_length,
              struct err *err);

/* The whole head, as head_scan() found it. 0; -EINVAL; -E2BIG: more than HEAD_FIELDS_MAX fields. */
int head_parse(const char *data, size_t length, struct head *ret, struct err *err);

/* The value of the field `name` (any case). 0; HEAD_ABSENT; HEAD_REPEATED. */
enum head_field_outcome { HEAD_ABSENT = 1, HEAD_REPEATED = 2 };
int head_value(const struct head *head, const char *name, struct slice *ret_value);

const char *http_method_name(enum http_method method); /* "GET" */

/* ASCII letters compare without case. */
bool slice_is(struct slice s, const char *text);
/* Is `word` an element of the comma-separated list? */
bool slice_lists(struct slice list, const char *word);
