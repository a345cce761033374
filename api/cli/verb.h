/* This file is what the verbs over a `berth serve` share: the options that all of them have, words
 * and options in any order, calls, and how an answer is told. It never knows a verb.
 *
 *     static const struct verb_spec spec = {...};
 *     _cleanup_verb_ struct verb verb;
 *     int status;
 *     if (!verb_begin(&verb, &spec, argc, argv, take, &own, &status))
 *         return status;                       // help was printed, or an error told
 *     ... verb_call(&verb, "GET", path, NULL, &answer) ...
 */
#pragma once

#include "api/cli/cli.h"
#include "api/cli/client.h"
#include "policy/json.h"

enum { VERB_WORDS_MAX = 4, VERB_OPTIONS_MAX = 48 };

enum { VERB_OPT_WORKSPACE_ID = 9000, VERB_OPT_HOST, VERB_OPT_JSON, VERB_OPT_QUIET, VERB_OPT_HELP };

struct verb;

/* A verb's own option. `own` is its caller's. Negative with `err` filled. */
typedef int verb_take(void *own, const struct cli_option *option, const char *value,
                      struct err *err);

struct verb_spec {
    const char *name; /* "session park" */
    const char *example, *usage, *text;
    const struct cli_option *options;
    size_t option_count;
    unsigned words_min, words_max; /* VERB_WORDS_MAX at most */
    unsigned ids;                  /* bit n: word n is an id (ID-2) */
    bool command;                  /* behind the words stands a command */
};

struct verb {
    const struct verb_spec *spec;
    const char *workspace_id, *host;
    bool json, quiet;
    const char *word[VERB_WORDS_MAX];
    unsigned word_count;
    char **command; /* NULL-terminated; maybe empty */
    struct client *client;
};

bool verb_begin(struct verb *verb, const struct verb_spec *spec, int argc, char **argv,
                verb_take *take, void *own, int *ret_status);
/* The first half: words and options, and no client. 0; VERB_HELP: asked for help. */
enum verb_outcome { VERB_HELP = 1 };
int verb_parse(struct verb *verb, const struct verb_spec *spec, int argc, char **argv,
               verb_take *take, void *own, struct err *err);
void verb_help(const struct verb_spec *spec, struct buf *out);
void verb_end(struct verb *verb);
#define _cleanup_verb_ __attribute__((cleanup(verb_end)))

int verb_check_id(const char *what, const char *id, struct err *err);

/* "/v1/workspaces/W/WHAT", and "/v1/workspaces/W/sessions/WORD0WHAT". */
void verb_path(const struct verb *verb, const char *what, struct buf *out);
void verb_session_path(const struct verb *verb, const char *what, struct buf *out);

/* A whole exchange. `body` NULL: none; a POST gets a key. 0, or an exit status after telling. */
int verb_call(struct verb *verb, const char *method, const char *path, const char *body,
              struct client_answer *ret);
/* The same without telling. */
int verb_try(struct verb *verb, const char *method, const char *path, const char *body,
             struct client_answer *ret, struct err *err);

/* Tell an error; with --json the problem document as it came is stderr's last line. */
int verb_fail(const struct verb *verb, const struct err *err);

/* Print a document as it is, with a line's end. */
int verb_print_document(const struct buf *document);

/* A command whose first word is a verb: `berth session park`. Options that stand before the verb
 * are moved behind it. */
struct verb_group {
    const char *name, *example, *text;
    struct {
        const char *name; /* first: cli_suggest() reads it. NULL ends the list */
        int (*run)(int argc, char **argv);
        const char *help;
    } verbs[10];
};
int verb_group_run(const struct verb_group *group, int argc, char **argv);

/* ---- documents ------------------------------------------------------------------------------- */

/* A document that must be an object, or telling and an exit status. */
int verb_read(struct arena *arena, const struct buf *document, const struct json_node **ret);
const char *verb_text(const struct json_node *object, const char *key); /* "" when it is no text */
bool verb_number(const struct json_node *object, const char *key, uint64_t *ret);
/* Any scalar for a person: text, number, yes and no, "-" for null and what is missing. */
void verb_value(struct buf *out, const struct json_node *object, const char *key);
/* Bytes of a member that is `key` as text or `key`_base64. 0 or -EPROTO. */
int verb_bytes(struct buf *out, const struct json_node *object, const char *key);

/* ---- lists (verb_pages.c) -------------------------------------------------------------------- */

struct verb_pages {
    const char *member; /* of each page's document: the list in it */
    const char *after;  /* begins behind this one; NULL: at the beginning */
    bool one;           /* one page and no more */
    bool as_it_is;      /* the document of the first page is printed instead */
    int (*each)(struct verb *verb, void *data, const struct json_node *entry); /* 0, or a status */
    void *data;
};
/* `path` with its query, but for `after`. 0, or an exit status after telling. */
int verb_pages(struct verb *verb, const char *path, const struct verb_pages *pages);

/* ---- tables (table.c) ------------------------------------------------------------------------ */

enum { TABLE_COLUMNS_MAX = 10 };
struct table {
    unsigned columns, rows;
    struct buf cells;                /* NUL-terminated texts, row by row */
    size_t width[TABLE_COLUMNS_MAX]; /* characters */
    bool right[TABLE_COLUMNS_MAX];   /* numbers */
    unsigned at;
};

/* Heads in capitals, NULL-terminated; one that begins with ">" is a column of numbers. */
void table_init(struct table *table, const char *const *heads);
void table_fini(struct table *table);
/* The next cell, of at most `length` bytes. Control characters are escaped: what a session or
 * another user has named drives no terminal. */
void table_cell(struct table *table, const char *text, size_t length);
void table_text(struct table *table, const char *text);
void table_print(const struct table *table, struct buf *out);
#define _cleanup_table_ __attribute__((cleanup(table_fini)))

/* `text` with control characters as \xNN. */
void table_clean(struct buf *out, const char *text, size_t length);
/* "2026-01-02 03:04:05" of an RFC 3339 time; anything else as it is; "-" of "". */
void table_time(struct buf *out, const char *time);
