/* This file is `berth session`: the verbs on sessions that last, but create; it never decides what
 * a session is. */
#include "api/cli/session_cmd.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <string.h>

enum {
    OPT_STATE,
    OPT_OWNER,
    OPT_LABEL,
    OPT_AFTER,
    OPT_LIMIT,
    OPT_MODE,
    OPT_ACCEPT_LOSS,
    OPT_REASON,
    OPT_DELETE_VOLUME,
    OPT_ALL,
};

static const struct cli_option list_options[] = {
    {"all", NULL, "Those that were destroyed too; --json has them always.", OPT_ALL, 0},
    {"state", "STATE", "Only sessions in it: running, parked, archived, ...", OPT_STATE, 0},
    {"owner", "NAME", "Only sessions of this owner.", OPT_OWNER, 0},
    {"label", "K=V", "Only sessions with this label.", OPT_LABEL, 0},
    {"after", "SESSION", "With --json: the page behind this one.", OPT_AFTER, 0},
    {"limit", "N", "With --json: at most so many.", OPT_LIMIT, 0},
};
static const struct cli_option park_options[] = {
    {"mode", "MODE", "stop ends processes, freeze keeps them. Default: stop.", OPT_MODE, 0},
    {"accept-loss", NULL, "Lose a tmpfs workspace.", OPT_ACCEPT_LOSS, 0},
};
static const struct cli_option archive_options[] = {
    {"accept-loss", NULL, "Lose a tmpfs workspace.", OPT_ACCEPT_LOSS, 0},
};
static const struct cli_option interrupt_options[] = {
    {"reason", "TEXT", "Why, for its events.", OPT_REASON, 0},
};
static const struct cli_option destroy_options[] = {
    {"delete-volume", NULL, "Its volume too, with all that is in it.", OPT_DELETE_VOLUME, 0},
};

struct values {
    const char *state, *owner, *label, *after, *limit, *mode, *reason;
    bool accept_loss, delete_volume, all;
};

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct values *values = own;
    uint64_t number;
    switch (option->id) {
    case OPT_STATE:
        values->state = value;
        return 0;
    case OPT_OWNER:
        values->owner = value;
        return verb_check_id("--owner", value, err);
    case OPT_LABEL:
        values->label = value;
        return 0;
    case OPT_AFTER:
        values->after = value;
        return verb_check_id("--after", value, err);
    case OPT_LIMIT:
        values->limit = value;
        return units_parse_u64(value, &number) < 0
                   ? err_set(err, ERR_USAGE, 0, "--limit", value, "Allowed: a number.")
                   : 0;
    case OPT_MODE:
        values->mode = value;
        return strcmp(value, "stop") != 0 && strcmp(value, "freeze") != 0
                   ? err_set(err, ERR_USAGE, 0, "--mode", value, "Allowed: stop, freeze.")
                   : 0;
    case OPT_REASON:
        values->reason = value;
        return 0;
    case OPT_ALL:
        values->all = true;
        return 0;
    case OPT_ACCEPT_LOSS:
        values->accept_loss = true;
        return 0;
    default:
        values->delete_volume = true;
        return 0;
    }
}

/* ---- list ------------------------------------------------------------------------------------ */

static const struct verb_spec list_spec = {
    .name = "session list",
    .example = "Example:  berth session list --state running\n",
    .usage = "berth session list [options]",
    .text =
        "Lists the sessions of a workspace id, but for those that were destroyed. --json prints\n"
        "one page of the API's answer; its \"next\" is what --after takes.",
    .options = list_options,
    .option_count = ARRAY_LENGTH(list_options),
};

static void list_path(const struct verb *verb, const struct values *values, struct buf *out)
{
    verb_path(verb, "sessions", out);
    const struct {
        const char *name, *value;
    } parameters[] = {{"state", values->state},
                      {"owner", values->owner},
                      {"label", values->label},
                      {"limit", values->limit}};
    for (size_t i = 0; i < ARRAY_LENGTH(parameters); i++)
        if (parameters[i].value && parameters[i].value[0])
            client_query(out, parameters[i].name, parameters[i].value);
}

/* "parked (freeze)", "running (ending)" */
static void add_state(struct buf *out, const struct json_node *session)
{
    const char *mode = verb_text(session, "mode");
    const struct json_node *ending = json_member(session, "ending");
    bool ends = ending && ending->kind == JSON_OBJECT;
    buf_puts(out, verb_text(session, "state"));
    if (mode[0] || ends)
        buf_printf(out, " (%s%s%s)", mode, mode[0] && ends ? ", " : "", ends ? "ending" : "");
}

static void add_session(struct table *table, const struct json_node *session)
{
    _cleanup_buf_ struct buf time = {0}, execs = {0};
    table_time(&time, verb_text(session, "changed_at"));
    verb_value(&execs, session, "running_execs");
    _cleanup_buf_ struct buf state = {0};
    add_state(&state, session);
    table_text(table, verb_text(session, "session_id"));
    table_text(table, buf_text(&state));
    table_text(table, buf_text(&execs));
    table_text(table, verb_text(session, "owner"));
    table_text(table, buf_text(&time));
    table_text(table, verb_text(session, "reason"));
}

struct listing {
    const struct values *values;
    struct table table;
};

static int list_one(struct verb *verb, void *data, const struct json_node *session)
{
    struct listing *listing = data;
    const struct values *values = listing->values;
    (void)verb;
    if (values->all || values->state || strcmp(verb_text(session, "state"), "destroyed") != 0)
        add_session(&listing->table, session);
    return 0;
}

static int list(int argc, char **argv)
{
    static const char *const heads[] = {"SESSION",     "STATE",  ">EXECS", "OWNER",
                                        "SINCE (UTC)", "REASON", NULL};
    struct values values = {0};
    _cleanup_verb_ struct verb verb;
    struct listing listing = {.values = &values};
    _cleanup_buf_ struct buf out = {0}, path = {0};
    int status;
    if (!verb_begin(&verb, &list_spec, argc, argv, take, &values, &status))
        return status;
    table_init(&listing.table, heads);
    list_path(&verb, &values, &path);
    const struct verb_pages pages = {.member = "sessions",
                                     .after = values.after,
                                     .one = values.limit != NULL,
                                     .as_it_is = verb.json,
                                     .each = list_one,
                                     .data = &listing};
    status = verb_pages(&verb, buf_text(&path), &pages);
    if (status == 0 && !verb.json && (listing.table.rows > 1 || !verb.quiet)) {
        table_print(&listing.table, &out);
        status = cli_print(STDOUT_FILENO, &out);
    }
    table_fini(&listing.table);
    return status;
}

/* ---- show ------------------------------------------------------------------------------------ */

static const struct verb_spec show_spec = {
    .name = "session show",
    .example = "Example:  berth session show build\n",
    .usage = "berth session show SESSION [options]",
    .text = "Says what a session is, and what its isolation is in effect.",
    .words_min = 1,
    .words_max = 1,
    .ids = 1,
};

static void add_line(struct buf *out, const char *name, const struct json_node *object,
                     const char *key)
{
    _cleanup_buf_ struct buf value = {0};
    if (!object)
        return;
    verb_value(&value, object, key);
    if (strcmp(buf_text(&value), "-") != 0)
        buf_printf(out, "%-18s %s\n", name, buf_text(&value));
}

static void add_size(struct buf *out, const char *name, const struct json_node *object,
                     const char *key)
{
    uint64_t bytes;
    char text[32];
    if (!object || !verb_number(object, key, &bytes))
        return;
    units_format_size(bytes, text, sizeof text);
    buf_printf(out, "%-18s %s\n", name, text);
}

static const struct json_node *part(const struct json_node *object, const char *key)
{
    const struct json_node *node = object ? json_member(object, key) : NULL;
    return node && node->kind == JSON_OBJECT ? node : NULL;
}

static void add_rules(struct buf *out, const char *name, const struct json_node *network,
                      const char *key)
{
    const struct json_node *list = network ? json_member(network, key) : NULL;
    for (const struct json_node *r = list ? list->first : NULL; r; r = r->next) {
        _cleanup_buf_ struct buf rule = {0};
        network_rule_text(r, &rule);
        buf_printf(out, "%-18s %s\n", name, buf_text(&rule));
    }
}

/* "park after 1h" */
static void add_idle(struct buf *out, const struct json_node *idle)
{
    _cleanup_buf_ struct buf action = {0};
    uint64_t ms;
    char time[32];
    if (!idle || !verb_number(idle, "after_ms", &ms))
        return;
    verb_value(&action, idle, "action");
    units_format_duration(ms, time, sizeof time);
    buf_printf(out, "%-18s %s after %s\n", "idle", buf_text(&action), time);
}

static void show_document(const struct json_node *root, struct buf *out)
{
    static const char *const lines[] = {"session_id", "state",       "mode",         "reason",
                                        "owner",      "created_at",  "changed_at",   "expires_at",
                                        "image",      "incarnation", "running_execs"};
    for (size_t i = 0; i < ARRAY_LENGTH(lines); i++)
        add_line(out, lines[i], root, lines[i]);
    add_idle(out, part(root, "idle"));
    const struct json_node *ending = part(root, "ending");
    add_line(out, "ending since", ending, "since");
    add_line(out, "  for", ending, "verb");
    add_line(out, "  tried again", part(ending, "error"), "detail");
    const struct json_node *workspace = part(root, "workspace");
    const struct json_node *kept = part(workspace, "persistence");
    add_line(out, "workspace", workspace, "mount_path");
    add_line(out, "  kind", kept, "kind");
    add_line(out, "  name", kept, "name");
    add_line(out, "  path", kept, "path");
    const struct json_node *network = part(root, "network");
    add_line(out, "network", network, "egress");
    add_rules(out, "  allow", network, "allow");
    add_rules(out, "  deny", network, "deny");
    add_line(out, "  revision", root, "network_revision");
    const struct json_node *effective = part(root, "effective"),
                           *limits = part(effective, "limits");
    add_size(out, "memory", limits, "memory");
    add_size(out, "scratch", limits, "scratch");
    add_size(out, "kernel memory", limits, "kernel_memory");
    add_line(out, "processes", limits, "pids");
    add_line(out, "cpus", limits, "cpus");
    add_line(out, "host uids from", effective, "uid_base");
    add_line(out, "landlock", effective, "landlock_abi");
    const struct json_node *labels = part(root, "labels");
    for (const struct json_node *l = labels ? labels->first : NULL; l; l = l->next) {
        buf_puts(out, "label              ");
        table_clean(out, l->key, strlen(l->key));
        buf_putc(out, '=');
        verb_value(out, labels, l->key);
        buf_putc(out, '\n');
    }
    const struct json_node *notes = json_member(root, "notes");
    for (const struct json_node *n = notes ? notes->first : NULL; n; n = n->next) {
        buf_puts(out, "note               ");
        verb_value(out, n, "text");
        buf_putc(out, '\n');
    }
}

static int print_session(const struct verb *verb, const struct buf *document)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf out = {0};
    const struct json_node *root;
    if (verb->json)
        return verb_print_document(document);
    int status = verb_read(&arena, document, &root);
    if (status)
        return status;
    show_document(root, &out);
    return cli_print(STDOUT_FILENO, &out);
}

static int show(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    int status;
    if (!verb_begin(&verb, &show_spec, argc, argv, NULL, NULL, &status))
        return status;
    verb_session_path(&verb, "", &path);
    status = verb_call(&verb, "GET", buf_text(&path), NULL, &answer);
    if (status == 0)
        status = print_session(&verb, &answer.document);
    buf_fini(&answer.document);
    return status;
}

/* ---- verbs that change ----------------------------------------------------------------------- */

#define SESSION_WORD   .words_min = 1, .words_max = 1, .ids = 1
#define OPTIONS(table) .options = table, .option_count = ARRAY_LENGTH(table)

static const struct verb_spec park_spec = {
    .name = "session park",
    .example = "Examples: berth session park build\n"
               "          berth session park build --mode freeze\n",
    .usage = "berth session park SESSION [options]",
    .text = "stop: its processes end and it needs no memory; its workspace stays. freeze: its\n"
            "processes stop where they are and keep their memory.",
    SESSION_WORD,
    OPTIONS(park_options),
};
static const struct verb_spec resume_spec = {
    .name = "session resume",
    .example = "Example:  berth session resume build\n",
    .usage = "berth session resume SESSION [options]",
    .text = "Makes a parked session run again, with its workspace.",
    SESSION_WORD,
};
static const struct verb_spec interrupt_spec = {
    .name = "session interrupt",
    .example = "Example:  berth session interrupt build\n",
    .usage = "berth session interrupt SESSION [options]",
    .text = "Ends every command that runs in it. Answers when they have ended; the session\n"
            "can be used at once.",
    SESSION_WORD,
    OPTIONS(interrupt_options),
};
static const struct verb_spec archive_spec = {
    .name = "session archive",
    .example = "Example:  berth session archive build\n",
    .usage = "berth session archive SESSION [options]",
    .text = "Nothing runs in it any more; its files can be read.",
    SESSION_WORD,
    OPTIONS(archive_options),
};
static const struct verb_spec destroy_spec = {
    .name = "session destroy",
    .example = "Examples: berth session destroy build\n"
               "          berth session destroy build --delete-volume\n",
    .usage = "berth session destroy SESSION [options]",
    .text = "Removes a session in any state. A volume stays unless --delete-volume is said, a\n"
            "directory always. Destroying one that is destroyed succeeds.",
    SESSION_WORD,
    OPTIONS(destroy_options),
};

static void make_body(const struct values *values, struct buf *out)
{
    const char *comma = "";
    buf_putc(out, '{');
    if (values->mode) {
        buf_printf(out, "\"mode\": \"%s\"", values->mode);
        comma = ", ";
    }
    if (values->accept_loss) {
        buf_printf(out, "%s\"accept_loss\": true", comma);
        comma = ", ";
    }
    if (values->reason) {
        buf_printf(out, "%s\"reason\": ", comma);
        buf_json_string(out, values->reason);
    }
    buf_putc(out, '}');
}

static int say_state(const struct verb *verb, const struct buf *document)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf out = {0};
    const struct json_node *root;
    if (verb->json)
        return verb_print_document(document);
    if (verb->quiet)
        return CLI_EXIT_OK;
    int status = verb_read(&arena, document, &root);
    if (status)
        return status;
    verb_value(&out, root, "session_id");
    buf_puts(&out, ": ");
    verb_value(&out, root, "state");
    if (verb_text(root, "mode")[0]) {
        buf_puts(&out, " (");
        verb_value(&out, root, "mode");
        buf_putc(&out, ')');
    }
    buf_putc(&out, '\n');
    return cli_print(STDOUT_FILENO, &out);
}

static int change(const struct verb_spec *spec, const char *what, int argc, char **argv)
{
    struct values values = {0};
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf path = {0}, body = {0};
    struct client_answer answer = {0};
    int status;
    if (!verb_begin(&verb, spec, argc, argv, take, &values, &status))
        return status;
    verb_session_path(&verb, what, &path);
    make_body(&values, &body);
    if (values.delete_volume)
        client_query(&path, "delete_volume", "true");
    status = what[0] ? verb_call(&verb, "POST", buf_text(&path), buf_text(&body), &answer)
                     : verb_call(&verb, "DELETE", buf_text(&path), NULL, &answer);
    if (status == 0)
        status = say_state(&verb, &answer.document);
    buf_fini(&answer.document);
    return status;
}

static int park(int argc, char **argv)
{
    return change(&park_spec, "/park", argc, argv);
}

static int resume(int argc, char **argv)
{
    return change(&resume_spec, "/resume", argc, argv);
}

static int interrupt(int argc, char **argv)
{
    return change(&interrupt_spec, "/interrupt", argc, argv);
}

static int archive(int argc, char **argv)
{
    return change(&archive_spec, "/archive", argc, argv);
}

static int destroy(int argc, char **argv)
{
    return change(&destroy_spec, "", argc, argv);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct verb_group group = {
    .name = "session",
    .example = "Examples: berth session create build --workspace .\n"
               "          berth exec build -- make -j2\n"
               "          berth session park build\n",
    .text = "Sessions last until they are destroyed. They outlive the command that made them\n"
            "and every process of berth. `berth serve` keeps them; your own is started when\n"
            "there is none.",
    .verbs =
        {
            {"create", session_create_cmd, "Make a session."},
            {"list", list, "List sessions."},
            {"show", show, "Say what one is."},
            {"network", session_network_cmd, "Say or replace what one may reach."},
            {"park", park, "End or freeze its processes, keep its workspace."},
            {"resume", resume, "Make a parked one run again."},
            {"interrupt", interrupt, "End what runs in it."},
            {"archive", archive, "Make it read-only for good."},
            {"destroy", destroy, "Remove it."},
        },
};

int cli_session(int argc, char **argv)
{
    return verb_group_run(&group, argc, argv);
}
