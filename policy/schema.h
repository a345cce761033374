/* This file is the schema of policy files: one row for each key, and nothing about a key stands
 * anywhere else. The reader, flags, merging, the ceiling, `show`, the JSON Schema and the reference
 * page walk this table. A new key is a new row (and, for a new type, a row of value.c's table).
 * Constant data. Any process may read it.
 */
#pragma once

#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of the file and of every listing. */
#define SCHEMA_ROWS(X)  \
    X(VERSION)          \
    X(EXTENDS)          \
    X(IMAGE)            \
    X(READ_ONLY)        \
    X(READ_WRITE)       \
    X(PROTECT)          \
    X(SCRATCH)          \
    X(SCRATCH_INODES)   \
    X(EGRESS)           \
    X(SNI)              \
    X(ALLOW)            \
    X(DENY)             \
    X(ALLOW_PRIVATE)    \
    X(PUBLISH)          \
    X(USER)             \
    X(ENV)              \
    X(SECCOMP)          \
    X(SECCOMP_ALLOW)    \
    X(EXPLAIN_SYSCALLS) \
    X(MEMORY)           \
    X(CPUS)             \
    X(PIDS)             \
    X(OPEN_FILES)       \
    X(EXEC_TIMEOUT)     \
    X(OUTPUT)           \
    X(REQUIRES)

enum schema_row_id {
#define X(symbol) ROW_##symbol,
    SCHEMA_ROWS(X)
#undef X
        ROW_COUNT
};

enum schema_type {
    TYPE_VERSION = 1, /* the integer 1 */
    TYPE_BASE,        /* what it extends: a preset's name or a relative path */
    TYPE_SIZE,        /* bytes */
    TYPE_DURATION,    /* milliseconds */
    TYPE_CPUS,        /* thousandths */
    TYPE_INTEGER,
    TYPE_BOOLEAN,
    TYPE_ENUM,
    TYPE_IMAGE,  /* host, dir:PATH or a name */
    TYPE_USER,   /* user, root or a number */
    TYPE_MOUNTS, /* lists from here on */
    TYPE_PROTECT,
    TYPE_RULES,
    TYPE_PORTS,
    TYPE_ENV,          /* an object of names and values */
    TYPE_CALLS,        /* system calls by name */
    TYPE_CAPABILITIES, /* capabilities by name */
    TYPE_COUNT
};

/* POL-2: when is a value within the ceiling's? */
enum schema_within {
    WITHIN_META = 1, /* not part of what a policy allows */
    WITHIN_FREE,     /* gives nothing away: any value */
    WITHIN_AT_MOST,  /* not above; "unlimited" is above everything */
    WITHIN_RANK,     /* the choice stands at or before the ceiling's in the row's list */
    WITHIN_FALSE,    /* true only where the ceiling has true */
    WITHIN_SAME,     /* equal */
    WITHIN_USER,     /* root only where the ceiling is root */
    WITHIN_READS,    /* each source lies at or beneath one that the ceiling mounts */
    WITHIN_WRITES,   /* each source lies at or beneath one that the ceiling mounts read-write */
    WITHIN_KEEPS,    /* has all of the ceiling's entries, or what contains them */
    WITHIN_RULES,    /* each rule is covered by the ceiling's */
    WITHIN_DENIES,   /* denies what the ceiling denies, as far as it could be reached */
    WITHIN_SUBSET,   /* only entries that the ceiling has */
    WITHIN_COUNT
};

/* POL-2: what happens to what a policy extends. Flags always add to lists. */
enum schema_merge {
    MERGE_NONE = 1, /* belongs to one file */
    MERGE_REPLACE,
    MERGE_ADD,
    MERGE_BY_NAME, /* same name: replaced; else added */
};

struct schema_choice {
    const char *name; /* NULL ends the list; from the narrowest to the widest */
    uint32_t value;   /* in struct spec */
    const char *help;
};

struct schema_row {
    const char *key; /* "limits.memory" */
    enum schema_type type;
    enum schema_within within;
    enum schema_merge merge;
    uint32_t asked;    /* SPEC_LIMIT_* of spec.limits.asked, 0: none */
    uint64_t min, max; /* numbers in the unit of the type; of lists: most entries in max */
    const char *unit;  /* "bytes"; "" when there is none */
    const struct schema_choice *choices; /* ENUM */
    const char *standard;                /* default, as a flag would give it; NULL: an empty list */
    const char *example;                 /* JSON */
    size_t offset, width;   /* scalar: where in struct spec; width 0: filled by compile.c itself */
    const char *field;      /* the same in words, for the tests of completeness */
    const char *help;       /* one or two sentences */
    bool unlimited;         /* the word "unlimited" is a value, stored as 0 */
    bool default_all_ports; /* RULES: an entry without ports means all of them, not 443 */
};

extern const struct schema_row schema_rows[ROW_COUNT];

/* Top-level objects in order, each with a sentence; name NULL ends it. */
struct schema_section {
    const char *name, *help;
};
extern const struct schema_section schema_sections[];

/* -1 when there is none. */
int schema_find(const char *key);

bool schema_is_list(const struct schema_row *row);

/* The part of the key after its section: "memory"; the key itself at the top level. */
const char *schema_leaf(const struct schema_row *row);

/* Does the key stand in this section? "" is the top level. */
bool schema_in_section(const struct schema_row *row, const char *section);

/* What a value may be, as the end of a sentence: "a size from 4MiB to 1024TiB, …". */
void schema_allowed(const struct schema_row *row, char *ret_text, size_t size);
