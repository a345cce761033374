/* This file is `berth token`: who may call over a network, made, listed and revoked; it never keeps
 * a token: it is printed once, by the command that makes it. */
#include "api/cli/verb.h"

#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <string.h>

enum { OPT_WORKSPACE, OPT_VERBS, OPT_EXPIRES, OPT_NAME, OPT_POLICY };

static const struct cli_option create_options[] = {
    {"workspace", "ID", "A workspace id that it is for. Repeat it for more.", OPT_WORKSPACE, 0},
    {"verbs", "LIST",
     "What it may: read, lifecycle, exec, files, files.read, files.write. Default: all. Or "
     "metrics.",
     OPT_VERBS, 0},
    {"expires", "TIME", "Until when: 30d, 12h. Default: until it is revoked.", OPT_EXPIRES, 0},
    {"name", "NAME", "What it is for, in the list.", OPT_NAME, 0},
    {"policy", "FILE|NAME",
     "Bind it: its sessions stay within this policy, and no others are there.", OPT_POLICY, 0},
};

static const struct verb_spec create_spec = {
    .name = "token create",
    .example = "Example:  berth token create --workspace ci --verbs read,exec --expires 30d\n",
    .usage = "berth token create --workspace ID [options]",
    .text =
        "Makes a token for callers over a network (`berth serve --listen`) and prints it: once,\n"
        "berth keeps only its hash. Root's berth takes this from root alone. With the verb\n"
        "metrics, which stands alone, it is for no workspace and reads GET /metrics. With a "
        "policy,\n"
        "what goes beyond it is refused, and sessions made otherwise are not there for it.",
    .options = create_options,
    .option_count = ARRAY_LENGTH(create_options),
};
static const struct verb_spec list_spec = {
    .name = "token list",
    .example = "Example:  berth token list\n",
    .usage = "berth token list [options]",
    .text = "Lists the tokens, without what they are. Those that are over stay for 30 days.",
};
static const struct verb_spec revoke_spec = {
    .name = "token revoke",
    .example = "Example:  berth token revoke t-3kq7v2nxw5bd\n",
    .usage = "berth token revoke ID [options]",
    .text =
        "Makes a token worthless, at once: what it has open is cut. Commands that it started go "
        "on.",
    .words_min = 1,
    .words_max = 1,
    .ids = 1,
};

struct wanted {
    struct buf workspaces, verbs; /* members of JSON lists */
    struct buf policy;            /* a JSON document */
    const char *name;
    uint64_t lives_ms;
};

static void add_member(struct buf *out, const char *text)
{
    buf_puts(out, out->length ? ", " : "");
    buf_json_string(out, text);
}

static int take_verbs(struct buf *out, const char *list, struct err *err)
{
    char word[32];
    for (const char *at = list; *at;) {
        size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof word)
            return err_set(err, ERR_USAGE, 0, "verbs of a token", list,
                           "Write them with commas between: read,exec.");
        memcpy(word, at, n);
        word[n] = 0;
        add_member(out, word);
        at += n + (at[n] == ',');
    }
    return 0;
}

/* Files are read here, with all that they extend; a preset is the service's own. */
static int take_policy(struct buf *out, const char *file, struct err *err)
{
    struct policy *policy = NULL;
    buf_fini(out);
    if (policy_preset_text(file)) {
        buf_json_string(out, file);
        return 0;
    }
    int r = policy_load_file(&policy, file, err);
    if (r == 0)
        r = policy_keep(policy, out, err);
    policy_free(policy);
    return r;
}

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct wanted *wanted = own;
    int r = 0;
    switch (option->id) {
    case OPT_WORKSPACE:
        r = verb_check_id("--workspace", value, err);
        if (r == 0)
            add_member(&wanted->workspaces, value);
        return r;
    case OPT_VERBS:
        return take_verbs(&wanted->verbs, value, err);
    case OPT_EXPIRES:
        if (units_parse_duration(value, &wanted->lives_ms) == 0 && wanted->lives_ms > 0)
            return 0;
        return err_set(err, ERR_USAGE, 0, "--expires", value, "Write a time such as 30d or 12h.");
    case OPT_POLICY:
        return take_policy(&wanted->policy, value, err);
    default:
        wanted->name = value;
        return verb_check_id("--name", value, err);
    }
}

static void wanted_fini(struct wanted *wanted)
{
    buf_fini(&wanted->workspaces);
    buf_fini(&wanted->verbs);
    buf_fini(&wanted->policy);
}

static void add_body(struct buf *out, const struct wanted *wanted)
{
    const char *comma = "";
    buf_putc(out, '{');
    if (wanted->workspaces.length) {
        buf_printf(out, "\"workspaces\": [%s]", buf_text(&wanted->workspaces));
        comma = ", ";
    }
    if (wanted->verbs.length)
        buf_printf(out, "%s\"verbs\": [%s]", comma, buf_text(&wanted->verbs));
    if (wanted->lives_ms)
        buf_printf(out, ", \"lives_ms\": %" PRIu64, wanted->lives_ms);
    if (wanted->name) {
        buf_puts(out, ", \"name\": ");
        buf_json_string(out, wanted->name);
    }
    if (wanted->policy.length)
        buf_printf(out, ", \"policy\": %s", buf_text(&wanted->policy));
    out->failed |= wanted->policy.failed;
    buf_putc(out, '}');
}

/* The token alone on standard output, for whoever keeps it; the rest for a person. */
static int print_made(const struct verb *verb, const struct buf *document)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf out = {0}, told = {0};
    const struct json_node *root;
    if (verb->json)
        return verb_print_document(document);
    int status = verb_read(&arena, document, &root);
    if (status)
        return status;
    if (!verb->quiet) {
        buf_puts(&told, "berth: this is the token ");
        verb_value(&told, root, "token_id");
        buf_puts(&told, "; it is not shown again\n");
        (void)io_write_full(STDERR_FILENO, buf_text(&told), told.length);
    }
    verb_value(&out, root, "token");
    buf_putc(&out, '\n');
    return cli_print(STDOUT_FILENO, &out);
}

static int create(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    __attribute__((cleanup(wanted_fini))) struct wanted wanted = {0};
    _cleanup_buf_ struct buf body = {0};
    struct client_answer answer = {0};
    struct err err;
    int status;
    if (!verb_begin(&verb, &create_spec, argc, argv, take, &wanted, &status))
        return status;
    if (wanted.workspaces.length == 0 && strcmp(buf_text(&wanted.verbs), "\"metrics\"") != 0) {
        err_set(&err, ERR_USAGE, 0, "a token for which workspaces?", NULL,
                "Name them: --workspace ID. Only --verbs metrics is for none.");
        return verb_fail(&verb, &err);
    }
    verb.keyless = true;
    add_body(&body, &wanted);
    status = verb_call(&verb, "POST", "/v1/tokens", buf_text(&body), &answer);
    if (status == 0)
        status = print_made(&verb, &answer.document);
    buf_fini(&answer.document);
    return status;
}

/* ---- list, revoke ---------------------------------------------------------------------------- */

static void add_list(struct table *table, const struct json_node *token, const char *key)
{
    _cleanup_buf_ struct buf words = {0};
    const struct json_node *list = json_member(token, key);
    for (const struct json_node *word = list ? list->first : NULL; word; word = word->next)
        if (word->kind == JSON_STRING)
            buf_printf(&words, "%s%s", words.length ? "," : "", word->text);
    table_text(table, buf_text(&words));
}

static void add_time(struct table *table, const char *time, const char *otherwise)
{
    _cleanup_buf_ struct buf text = {0};
    table_time(&text, time);
    table_text(table, time[0] ? buf_text(&text) : otherwise);
}

static void add_token(struct table *table, const struct json_node *token)
{
    const char *name = verb_text(token, "name");
    table_text(table, verb_text(token, "token_id"));
    table_text(table, name[0] ? name : "-");
    add_list(table, token, "workspaces");
    add_list(table, token, "verbs");
    const struct json_node *policy = json_member(token, "policy");
    table_text(table, policy && policy->kind == JSON_OBJECT ? "bound" : "-");
    if (verb_text(token, "revoked_at")[0])
        table_text(table, "revoked");
    else
        add_time(table, verb_text(token, "expires_at"), "never");
    add_time(table, verb_text(token, "used_at"), "-");
}

static int list_page(struct verb *verb, const char *after, struct table *table,
                     struct buf *ret_next)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    const struct json_node *root;
    buf_puts(&path, "/v1/tokens");
    if (after[0])
        client_query(&path, "after", after);
    int status = verb_call(verb, "GET", buf_text(&path), NULL, &answer);
    if (status == 0 && verb->json)
        status = verb_print_document(&answer.document);
    else if (status == 0 && (status = verb_read(&arena, &answer.document, &root)) == 0) {
        const struct json_node *tokens = json_member(root, "tokens");
        for (const struct json_node *t = tokens ? tokens->first : NULL; t; t = t->next)
            add_token(table, t);
        buf_puts(ret_next, verb_text(root, "next"));
    }
    buf_fini(&answer.document);
    return status;
}

static int list(int argc, char **argv)
{
    static const char *const heads[] = {"TOKEN",  "NAME",          "WORKSPACES",      "VERBS",
                                        "POLICY", "EXPIRES (UTC)", "LAST USED (UTC)", NULL};
    _cleanup_verb_ struct verb verb;
    _cleanup_table_ struct table table;
    _cleanup_buf_ struct buf out = {0}, next = {0};
    int status;
    table_init(&table, heads);
    if (!verb_begin(&verb, &list_spec, argc, argv, NULL, NULL, &status))
        return status;
    do {
        _cleanup_buf_ struct buf after = next;
        next = (struct buf){0};
        status = list_page(&verb, buf_text(&after), &table, &next);
        if (status == 0 && strcmp(buf_text(&next), buf_text(&after)) == 0)
            buf_fini(&next);
    } while (status == 0 && next.length);
    if (status || verb.json)
        return status;
    table_print(&table, &out);
    return cli_print(STDOUT_FILENO, &out);
}

static int revoke_token(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    int status;
    if (!verb_begin(&verb, &revoke_spec, argc, argv, NULL, NULL, &status))
        return status;
    buf_printf(&path, "/v1/tokens/%s", verb.word[0]);
    status = verb_call(&verb, "DELETE", buf_text(&path), NULL, &answer);
    if (status == 0 && verb.json)
        status = verb_print_document(&answer.document);
    buf_fini(&answer.document);
    return status;
}

static const struct verb_group group = {
    .name = "token",
    .example = "Examples: berth token create --workspace ci --expires 30d\n"
               "          berth token revoke t-3kq7v2nxw5bd\n",
    .text =
        "A token lets a caller over a network (`berth serve --listen`) into some workspace ids.",
    .verbs =
        {
            {"create", create, "Make one, and print it once."},
            {"list", list, "List them, without what they are."},
            {"revoke", revoke_token, "Make one worthless, at once."},
        },
};

int cli_token(int argc, char **argv)
{
    return verb_group_run(&group, argc, argv);
}
