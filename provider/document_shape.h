/* This file says what the members of each document are, for whoever describes the interface
 * (api/openapi); it never makes a document. A member is added here with the line that writes it:
 * tests/unit/openapi.c and every answer of the end-to-end tests are held against these tables.
 *
 * Constant data. Any process may read it.
 */
#pragma once

#include <stdbool.h>

enum document_kind {
    DOCUMENT_TEXT = 1,
    DOCUMENT_ID,      /* contract, ID-2 */
    DOCUMENT_TIME,    /* RFC 3339 in UTC, milliseconds */
    DOCUMENT_COUNT,   /* a whole number, 0 or more */
    DOCUMENT_INTEGER, /* a whole number */
    DOCUMENT_NUMBER,
    DOCUMENT_FLAG,
    DOCUMENT_BASE64,
    DOCUMENT_OBJECT, /* of `of`; without it, any members */
    DOCUMENT_LIST,   /* of `of`; without it, of texts */
    DOCUMENT_MAP,    /* names of any kind to `of`; without it, to texts */
    DOCUMENT_COUNTS, /* names of any kind to whole numbers */
};

enum document_may {
    DOCUMENT_ALWAYS = 0,
    DOCUMENT_NULL = 1,   /* null where it does not apply */
    DOCUMENT_ABSENT = 2, /* left out where it does not apply */
};

struct document_shape;

struct document_member {
    const char *name;
    enum document_kind kind;
    unsigned may;
    const struct document_shape *of;
    const char *(*choice)(unsigned index); /* TEXT: one of these, until NULL; NULL: any */
    const char *help;                      /* NULL: the name says it */
};

struct document_shape {
    const char *name; /* "Session": a closed set, the names of the interface's schemas */
    const char *help;
    const struct document_member *members; /* ends with a row without name */
};

extern const struct document_shape document_shape_session, document_shape_session_list,
    document_shape_exec, document_shape_exec_list, document_shape_volume,
    document_shape_volume_list, document_shape_usage, document_shape_event, document_shape_health,
    document_shape_capabilities, document_shape_resources, document_shape_reap,
    document_shape_problem, document_shape_token, document_shape_token_list;

/* All of this file, in order; NULL ends it. */
extern const struct document_shape *const document_shapes[];
