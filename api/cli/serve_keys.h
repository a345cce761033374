/* This file is the schema of berth's configuration as the files of `berth serve` use it: one row
 * for each key. The reader, --check-config, a reload, the JSON Schema and the reference page walk
 * it; a new key is a new row. Constant data.
 */
#pragma once

#include "api/cli/serve.h"
#include "policy/json.h"

struct serve_reader {
    const char *name;
    struct serve_plan *plan;
    bool root;
    bool nobody;                    /* "socket_group": null */
    const struct json_node *beyond; /* the first address that is not loopback; NULL */
    struct err *err;
};

int serve_refuse(struct serve_reader *r, const struct json_node *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

struct serve_key {
    const char *name; /* first: cli_suggest() reads it */
    int (*read)(struct serve_reader *r, const struct json_node *node);
    /* What is in force, as JSON. */
    void (*show)(const struct serve_plan *plan, struct buf *out);
    /* What a reload leaves until the next start; NULL: a reload puts it in force. */
    void (*keep)(const struct serve_plan *old, struct serve_plan *next);
    const char *allowed; /* the end of a sentence */
    const char *schema;  /* JSON Schema of its value */
    const char *standard, *example;
    const char *help;
};

enum { SERVE_KEY_COUNT = 17 };
extern const struct serve_key serve_keys[SERVE_KEY_COUNT];
extern const char serve_address_rule[];
