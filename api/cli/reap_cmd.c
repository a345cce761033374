/* This file is `berth reap`: the sessions of one owner are destroyed, across workspace ids; it
 * never chooses an owner by itself. */
#include "api/cli/verb.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <string.h>

enum { OPT_OWNER, OPT_OLDER_THAN, OPT_DRY_RUN };

static const struct cli_option options[] = {
    {"owner", "NAME", "Whose sessions. Required.", OPT_OWNER, 0},
    {"older-than", "TIME", "Only those that did not change for so long, e.g. 24h.", OPT_OLDER_THAN,
     0},
    {"dry-run", NULL, "Say which, and leave them.", OPT_DRY_RUN, 0},
};

static const struct verb_spec spec = {
    .name = "reap",
    .example = "Examples: berth reap --owner ci --older-than 24h --dry-run\n"
               "          berth reap --owner ci --older-than 24h\n",
    .usage = "berth reap --owner NAME [options]",
    .text = "Destroys the sessions of an owner, in all workspace ids. Volumes and directories\n"
            "stay. It can be called again after any failure.\n\n"
            "Exit status: 0; 1 when one could not be destroyed.",
    .options = options,
    .option_count = ARRAY_LENGTH(options),
};

struct reap {
    const char *owner;
    uint64_t older_than_ms;
    bool dry_run;
};

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct reap *reap = own;
    switch (option->id) {
    case OPT_OWNER:
        reap->owner = value;
        return verb_check_id("--owner", value, err);
    case OPT_OLDER_THAN:
        return units_parse_duration(value, &reap->older_than_ms) < 0
                   ? err_set(err, ERR_USAGE, 0, "--older-than", value,
                             "Allowed: a time like 24h, 7d.")
                   : 0;
    default:
        reap->dry_run = true;
        return 0;
    }
}

/* How many could not be destroyed; -1 after telling. */
static int print_outcomes(const struct verb *verb, const struct buf *document)
{
    static const char *const heads[] = {"WORKSPACE", "SESSION", "STATE", "OUTCOME", "WHY", NULL};
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_table_ struct table table;
    _cleanup_buf_ struct buf out = {0};
    const struct json_node *root;
    int failed = 0;
    table_init(&table, heads);
    if (verb_read(&arena, document, &root))
        return -1;
    const struct json_node *list = json_member(root, "sessions");
    for (const struct json_node *s = list ? list->first : NULL; s; s = s->next) {
        const char *outcome = verb_text(s, "outcome");
        failed += strcmp(outcome, "failed") == 0;
        table_text(&table, verb_text(s, "workspace_id"));
        table_text(&table, verb_text(s, "session_id"));
        table_text(&table, verb_text(s, "state"));
        table_text(&table, outcome);
        table_text(&table, verb_text(s, "error"));
    }
    if (verb->json)
        return verb_print_document(document) ? -1 : failed;
    if (!verb->quiet)
        table_print(&table, &out);
    return cli_print(STDOUT_FILENO, &out) ? -1 : failed;
}

int cli_reap(int argc, char **argv)
{
    struct reap reap = {0};
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf body = {0};
    struct client_answer answer = {0};
    struct err err;
    int status;
    if (!verb_begin(&verb, &spec, argc, argv, take, &reap, &status))
        return status;
    if (!reap.owner) {
        err_set(&err, ERR_USAGE, 0, "reap", "no owner", "Write: %s.", spec.usage);
        return cli_fail_json(&err, verb.json);
    }
    buf_printf(&body, "{\"owner\": \"%s\", \"older_than_ms\": %" PRIu64 ", \"dry_run\": %s}",
               reap.owner, reap.older_than_ms, reap.dry_run ? "true" : "false");
    status = verb_call(&verb, "POST", "/v1/reap", buf_text(&body), &answer);
    if (status == 0) {
        int failed = print_outcomes(&verb, &answer.document);
        status = failed < 0 ? CLI_EXIT_BERTH : failed > 0 ? CLI_EXIT_NO : CLI_EXIT_OK;
    }
    buf_fini(&answer.document);
    return status;
}
