/* This file is what a policy is in memory, for the files of policy/ only; it never appears above.
 *
 * A policy holds one value for each row of the schema, always: what nobody set has the row's
 * standard. Everything it points to lives in its arena.
 */
#pragma once

#include "policy/arena.h"
#include "policy/json.h"
#include "policy/policy.h"
#include "policy/schema.h"

enum origin_kind { ORIGIN_STANDARD = 1, ORIGIN_PRESET, ORIGIN_FILE, ORIGIN_FLAG };

struct policy_origin {
    enum origin_kind kind;
    const char *name; /* preset, file or flag */
    struct json_position at;
};

/* Origin of what a request's body says. */
#define POLICY_BODY_NAME "body"

/* One entry of a list. */
struct policy_item {
    struct policy_item *next;
    struct policy_origin origin;
    const char *text;             /* what is compared and shown: path, rule, name */
    const char *other;            /* MOUNTS: target; ENV: value; else NULL */
    const struct spec_rule *rule; /* RULES */
    uint32_t number;              /* CALLS, CAPABILITIES; PORTS: the host's << 16 | inside */
    bool directory;               /* PROTECT: was written with a "/"; for showing only */
    bool home;                    /* PROTECT: was written "~/…", as `text` still has it */
};

/* PROTECT: relative to the workspace, without "~/". */
static inline const char *item_protected_path(const struct policy_item *item)
{
    return item->home ? item->text + 2 : item->text;
}

/* PORTS; the host's is 0 for any that is free. */
static inline uint16_t item_host_port(const struct policy_item *item)
{
    return (uint16_t)(item->number >> 16);
}

static inline uint16_t item_port(const struct policy_item *item)
{
    return (uint16_t)item->number;
}

struct policy_value {
    struct policy_origin origin; /* of a scalar; of a list: of whoever set it last */
    bool set;                    /* in a layer: this file names it */
    uint64_t number;             /* SIZE … ENUM (its place in choices), USER */
    const char *text;            /* IMAGE, BASE */
    struct policy_item *first, *last;
    uint32_t count;
};

struct policy {
    struct arena arena;
    struct policy_value values[ROW_COUNT];
};

enum { POLICY_FILE_MAX = 1 << 20, POLICY_EXTENDS_MAX = 8, POLICY_WHY_MAX = 640 };

/* ---- value.c: one value, from a file or from a flag ---- */

/* Fill `ret` from a member of a file. -EINVAL: ret_why is a sentence, ret_at its place, ret_path
 * the key's path with an index where there is one. */
struct value_error {
    struct json_position at;
    char path[JSON_PATH_MAX];
    char why[POLICY_WHY_MAX];
};
int value_from_json(struct arena *arena, const struct schema_row *row, const struct json_node *node,
                    const struct policy_origin *origin, struct policy_value *ret,
                    struct value_error *ret_error);

/* One entry of a list, or a scalar, from a flag. */
int value_from_text(struct arena *arena, const struct schema_row *row, const char *text,
                    const struct policy_origin *origin, struct policy_value *ret,
                    struct value_error *ret_error);

void value_print(const struct schema_row *row, const struct policy_value *value, struct buf *out);
void value_print_json(const struct schema_row *row, const struct policy_value *value,
                      struct buf *out);
void item_print(const struct schema_row *row, const struct policy_item *item, struct buf *out);
void item_print_json(const struct schema_row *row, const struct policy_item *item, struct buf *out);
void origin_print(const struct policy_origin *origin, struct buf *out);

/* ---- item.c: entries of lists ---- */

int item_from_text(struct arena *arena, const struct schema_row *row, const char *text, bool flag,
                   struct policy_item *ret, char ret_why[POLICY_WHY_MAX]);
int item_from_object(struct arena *arena, const struct schema_row *row,
                     const struct json_node *node, struct policy_item *ret,
                     struct value_error *ret_error);
/* The same thing again: which of two entries would be one too many. */
bool item_same(const struct schema_row *row, const struct policy_item *one,
               const struct policy_item *other);
void value_append(struct policy_value *value, struct policy_item *item);

/* ---- compile.c ---- */

/* The network's part of a spec. What `net` says it uses of its lists is cleared first: zero it, or
 * give one that was filled before. */
void policy_network(const struct policy *policy, struct spec_network *net);

/* ---- within.c ---- */

/* One value that is no list, by its row's rule. */
bool policy_scalar_within(enum schema_row_id id, const struct policy_value *mine,
                          const struct policy *ceiling);

/* ---- show.c ---- */

/* Entries come from outside, and values of the environment may hold control characters: none may
 * reach a terminal. */
void show_clean(struct buf *out, const char *text);

/* ---- merge.c, check.c ---------------------------------------------------------------------------
 */

/* Lay `layer` over `policy` as the row's merge rule says; `flag`: lists add. */
int policy_merge(struct policy *policy, enum schema_row_id id, const struct policy_value *layer,
                 bool flag, struct err *err);

/* What no single row can see: entries that contradict each other (POL-1). */
int policy_check(const struct policy *policy, struct err *err);

/* An error about a value: "FILE:LINE:COLUMN: key.path" is the subject. */
int policy_fail(struct err *err, const struct policy_origin *origin, const char *path,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));
