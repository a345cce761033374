/* This file is `berth session create`: options of `berth run` made into the body of a request; it
 * makes no session itself.
 *
 * The body says what a policy file and flags ask for, and leaves a preset's own values to whoever
 * serves: so a default that this host cannot give is still a default there (CAP-2).
 */
#include "api/cli/session_cmd.h"

#include "api/cli/run_options.h"
#include "api/cli/run_plan.h"
#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <string.h>

enum {
    OPT_OWNER = 1000, /* behind those of run */
    OPT_LABEL,
    OPT_TTL,
    OPT_IDLE,
    OPT_IDLE_ACTION,
    OPT_ACCEPT_LOSS,
    OPT_EXCLUSIVE,
    LABELS_MAX = 64,
};

static const struct cli_option own_options[] = {
    {"owner", "NAME", "Whose it is, for list and reap. Default: your uid.", OPT_OWNER, 0},
    {"label", "K=V", "A label, for list. Repeatable.", OPT_LABEL, 0},
    {"ttl", "TIME", "Destroy it after this long.", OPT_TTL, 0},
    {"idle", "TIME", "Park it when nothing ran for so long.", OPT_IDLE, 0},
    {"idle-action", "WHAT", "park or destroy it then. Default: park.", OPT_IDLE_ACTION, 0},
    {"accept-loss", NULL, "Parking may lose a tmpfs.", OPT_ACCEPT_LOSS, 0},
    {"exclusive", NULL, "Nobody else may use the directory.", OPT_EXCLUSIVE, 0},
};

struct create {
    struct run_options run;
    const char *owner, *idle_action;
    const char *labels[LABELS_MAX];
    unsigned label_count;
    uint64_t ttl_ms, idle_ms;
    bool accept_loss, exclusive;
};

static struct spec the_spec;

static int bad(struct err *err, const char *flag, const char *value, const char *allowed)
{
    return err_set(err, ERR_USAGE, 0, flag, value, "Allowed: %s.", allowed);
}

static int take_time(const char *flag, const char *value, uint64_t *ret, struct err *err)
{
    return units_parse_duration(value, ret) < 0 || *ret == 0
               ? bad(err, flag, value, "a time like 30m, 8h, 7d")
               : 0;
}

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct create *create = own;
    switch (option->id) {
    case OPT_OWNER:
        create->owner = value;
        return verb_check_id("--owner", value, err);
    case OPT_LABEL:
        if (!strchr(value, '=') || value[0] == '=' || create->label_count == LABELS_MAX)
            return bad(err, "--label", value, "NAME=VALUE, at most 64 times");
        create->labels[create->label_count++] = value;
        return 0;
    case OPT_TTL:
        return take_time("--ttl", value, &create->ttl_ms, err);
    case OPT_IDLE:
        return take_time("--idle", value, &create->idle_ms, err);
    case OPT_IDLE_ACTION:
        create->idle_action = value;
        return strcmp(value, "park") == 0 || strcmp(value, "destroy") == 0
                   ? 0
                   : bad(err, "--idle-action", value, "park, destroy");
    case OPT_ACCEPT_LOSS:
        create->accept_loss = true;
        return 0;
    case OPT_EXCLUSIVE:
        create->exclusive = true;
        return 0;
    default:
        return run_options_take(&create->run, option, value, err);
    }
}

/* ---- body ------------------------------------------------------------------------------------ */

static void put_text(struct buf *out, const char *key, const char *text)
{
    buf_printf(out, ", \"%s\": ", key);
    buf_json_string(out, text);
}

/* Where nothing is said about it, whoever serves makes it: a volume of the session's name. */
static int put_workspace(const struct create *create, const struct spec *spec, struct buf *out,
                         struct err *err)
{
    char size[32];
    buf_puts(out, ", \"workspace\": {\"mount_path\": ");
    buf_json_string(out, spec->workspace.mount_path);
    if (spec->workspace.read_only)
        buf_puts(out, ", \"read_only\": true");
    switch (spec->workspace.kind) {
    case SPEC_WORKSPACE_DIRECTORY:
        buf_puts(out, ", \"persistence\": {\"kind\": \"directory\"");
        put_text(out, "path", spec->workspace.path);
        if (spec->workspace.allow_root_owned)
            buf_puts(out, ", \"allow_root_owned\": true");
        if (create->exclusive)
            buf_puts(out, ", \"exclusive\": true");
        break;
    case SPEC_WORKSPACE_VOLUME:
        buf_puts(out, ", \"persistence\": {\"kind\": \"volume\"");
        put_text(out, "name", spec->workspace.volume);
        break;
    case SPEC_WORKSPACE_TMPFS:
        units_format_size(spec->workspace.size_bytes, size, sizeof size);
        buf_printf(out, ", \"persistence\": {\"kind\": \"tmpfs\", \"size\": \"%s\"", size);
        break;
    default:
        return err_set(err, ERR_USAGE, 0, "--workspace", create->run.workspace,
                       "A session that lasts has a workspace: DIR, volume:NAME or tmpfs[:SIZE].");
    }
    buf_puts(out, "}}");
    return 0;
}

static void put_labels(const struct create *create, struct buf *out)
{
    for (unsigned i = 0; i < create->label_count; i++) {
        const char *label = create->labels[i], *sign = strchr(label, '=');
        _cleanup_buf_ struct buf name = {0};
        buf_add(&name, label, (size_t)(sign - label));
        buf_puts(out, i ? ", " : ", \"labels\": {");
        buf_json_string(out, buf_text(&name));
        buf_puts(out, ": ");
        buf_json_string(out, sign + 1);
    }
    if (create->label_count)
        buf_putc(out, '}');
}

static void policy_freep(struct policy **policy)
{
    policy_free(*policy);
}

/* `--env K` takes its value from here, because it was asked for by name. */
static int set_env(const struct create *create, struct policy *policy, struct err *err)
{
    for (size_t i = 0; i < create->run.env_count; i++) {
        const char *entry = create->run.env[i];
        _cleanup_buf_ struct buf text = {0};
        buf_puts(&text, entry);
        if (!strchr(entry, '=')) {
            const char *value = getenv(entry);
            if (!value)
                return err_set(err, ERR_INVALID_REQUEST, 0, "--env", entry,
                               "It is not set here. Set it, or write --env %s=VALUE.", entry);
            buf_printf(&text, "=%s", value);
        }
        int r = policy_set(policy, "process.env", buf_text(&text), "--env", err);
        if (r < 0)
            return r;
    }
    return 0;
}

static int make_body(struct verb *verb, struct create *create, struct buf *out, struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    _cleanup_buf_ struct buf volume = {0};
    bool implied =
        !create->run.workspace && !create->run.workspace_at && !create->run.workspace_read_only;
    char made[SPEC_ID_MAX];
    const char *id = verb->word[0];
    if (!id) {
        int made_it = id_random("s-", made, sizeof made);
        if (made_it < 0)
            return err_set(err, ERR_INTERNAL, -made_it, "make an id", NULL, NULL);
        id = made;
    }
    buf_printf(&volume, "volume:%s", id);
    if (!create->run.workspace)
        create->run.workspace = buf_text(&volume);
    int r = run_plan_spec(&create->run, &the_spec, err);
    if (r == 0)
        r = run_plan_policy(&create->run, &policy, err);
    if (r == 0)
        r = set_env(create, policy, err);
    if (r < 0)
        return r;
    buf_puts(out, "{");
    policy_request(policy, &the_spec, out);
    put_text(out, "session_id", id);
    if (!implied)
        r = put_workspace(create, &the_spec, out, err);
    if (create->owner)
        put_text(out, "owner", create->owner);
    put_labels(create, out);
    if (create->ttl_ms)
        buf_printf(out, ", \"ttl_ms\": %" PRIu64, create->ttl_ms);
    if (create->idle_ms)
        buf_printf(out, ", \"idle\": {\"after_ms\": %" PRIu64 ", \"action\": \"%s\"%s}",
                   create->idle_ms, create->idle_action ? create->idle_action : "park",
                   create->accept_loss ? ", \"accept_loss\": true" : "");
    else if (create->idle_action || create->accept_loss)
        r = err_set(err, ERR_USAGE, 0, "session create",
                    create->idle_action ? "--idle-action" : "--accept-loss",
                    "It belongs to --idle TIME.");
    buf_puts(out, "}");
    return r == 0 && buf_failed(out)
               ? err_set(err, ERR_INTERNAL, 0, "make the request", NULL, "Out of memory.")
               : r;
}

/* ---- answer ---------------------------------------------------------------------------------- */

static int tell(const struct verb *verb, const struct buf *document)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf out = {0}, notes = {0};
    const struct json_node *root;
    if (verb->json)
        return verb_print_document(document);
    int status = verb_read(&arena, document, &root);
    if (status)
        return status;
    const struct json_node *list = json_member(root, "notes");
    bool told = list && list->kind == JSON_ARRAY && !verb->quiet;
    for (const struct json_node *note = told ? list->first : NULL; note; note = note->next) {
        if (!cli_note_matters(verb_text(note, "key")))
            continue;
        buf_puts(&notes, "berth: note: ");
        verb_value(&notes, note, "text");
        buf_putc(&notes, '\n');
    }
    (void)io_write_full(STDERR_FILENO, buf_text(&notes), notes.length);
    verb_value(&out, root, "session_id");
    buf_putc(&out, '\n');
    return cli_print(STDOUT_FILENO, &out);
}

static int create_session(struct create *create, int argc, char **argv)
{
    struct cli_option options[VERB_OPTIONS_MAX];
    size_t count = run_options_of_session(options, ARRAY_LENGTH(options));
    memcpy(options + count, own_options, sizeof own_options);
    const struct verb_spec spec = {
        .name = "session create",
        .example = "Examples: berth session create build --memory 2GiB --workspace .\n"
                   "          berth session create --policy team.jsonc --idle 30m\n",
        .usage = "berth session create [SESSION] [options]",
        .text = "Makes a session that lasts until it is destroyed, and prints its id. Without\n"
                "--workspace it has a volume of its own, at /workspace.",
        .options = options,
        .option_count = count + ARRAY_LENGTH(own_options),
        .words_max = 1,
        .ids = 1,
    };
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf body = {0}, path = {0};
    struct client_answer answer = {0};
    struct err err;
    int status;
    if (!verb_begin(&verb, &spec, argc, argv, take, create, &status))
        return status;
    create->run.workspace_id = verb.workspace_id;
    if (make_body(&verb, create, &body, &err) < 0)
        return cli_fail_json(&err, verb.json);
    verb_path(&verb, "sessions", &path);
    status = verb_call(&verb, "POST", buf_text(&path), buf_text(&body), &answer);
    if (status == 0)
        status = tell(&verb, &answer.document);
    buf_fini(&answer.document);
    return status;
}

int session_create_cmd(int argc, char **argv)
{
    static struct create create;
    struct err err;
    if (run_options_init(&create.run, argc, &err) < 0)
        return cli_fail(&err);
    int status = create_session(&create, argc, argv);
    run_options_fini(&create.run);
    return status;
}
