/* This file is `berth session network`: what a session may reach, said or replaced while it lives;
 * it never decides what a rule means.
 *
 * What is asked for is the whole of it, made from a policy and flags as a create's is. With --add
 * it is made from what is in force, and is refused when that has changed meanwhile.
 */
#include "api/cli/session_cmd.h"

#include "api/cli/run_options.h"
#include "api/cli/run_plan.h"
#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <string.h>

enum { OPT_ADD = 1000, OPT_REVISION };

static const struct cli_option own_options[] = {
    {"add", NULL, "On top of what it may reach now, not in its place.", OPT_ADD, 0},
    {"revision", "N", "Only when this is the revision in force.", OPT_REVISION, 0},
};

struct request {
    struct run_options run;
    uint64_t revision;
    bool add;
};

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct request *request = own;
    switch (option->id) {
    case OPT_ADD:
        request->add = true;
        return 0;
    case OPT_REVISION:
        return units_parse_u64(value, &request->revision) < 0 || request->revision == 0 ||
                       request->revision > INT64_MAX
                   ? err_set(err, ERR_USAGE, 0, "--revision", value, "Allowed: a number from 1.")
                   : 0;
    default:
        return run_options_take(&request->run, option, value, err);
    }
}

/* ---- documents ------------------------------------------------------------------------------- */

void network_rule_text(const struct json_node *rule, struct buf *out)
{
    const struct json_node *ports = json_member(rule, "ports");
    const char *host = verb_text(rule, "host"), *cidr = verb_text(rule, "cidr");
    const char *name = host[0] ? host : cidr;
    bool brackets = strchr(name, ':') != NULL;
    buf_puts(out, brackets ? "[" : "");
    table_clean(out, name, strlen(name));
    buf_puts(out, brackets ? "]" : "");
    if (ports && ports->kind == JSON_STRING)
        buf_puts(out, ":*");
    for (const struct json_node *p = ports && ports->kind == JSON_ARRAY ? ports->first : NULL; p;
         p = p->next)
        buf_printf(out, "%s%" PRIu64, p == ports->first ? ":" : ",", p->magnitude);
}

void network_node_text(const struct json_node *node, struct buf *out)
{
    bool object = node && node->kind == JSON_OBJECT;
    if (!node) {
        buf_puts(out, "null");
        return;
    }
    switch (node->kind) {
    case JSON_NULL:
        buf_puts(out, "null");
        return;
    case JSON_BOOLEAN:
        buf_puts(out, node->boolean ? "true" : "false");
        return;
    case JSON_NUMBER:
        buf_puts(out, node->text);
        return;
    case JSON_STRING:
        buf_json_string(out, node->text);
        return;
    case JSON_ARRAY:
    case JSON_OBJECT:
        buf_putc(out, object ? '{' : '[');
        for (const struct json_node *m = node->first; m; m = m->next) {
            buf_puts(out, m == node->first ? "" : ",");
            if (object) {
                buf_json_string(out, m->key);
                buf_putc(out, ':');
            }
            network_node_text(m, out);
        }
        buf_putc(out, object ? '}' : ']');
        return;
    }
}

static void put_list(struct buf *out, const char *name, const struct json_node *network,
                     const char *key)
{
    const struct json_node *list = json_member(network, key);
    for (const struct json_node *m = list ? list->first : NULL; m; m = m->next) {
        buf_printf(out, "%-14s ", name);
        if (m->kind == JSON_OBJECT)
            network_rule_text(m, out);
        else if (m->kind == JSON_STRING)
            table_clean(out, m->text, strlen(m->text));
        else
            buf_printf(out, "%" PRIu64, m->magnitude);
        buf_putc(out, '\n');
    }
}

static void put_line(struct buf *out, const char *name, const struct json_node *object,
                     const char *key)
{
    buf_printf(out, "%-14s ", name);
    verb_value(out, object, key);
    buf_putc(out, '\n');
}

static int print(const struct json_node *root, const char *revision, struct buf *out)
{
    const struct json_node *network = json_member(root, "network");
    struct err err;
    if (!network || network->kind != JSON_OBJECT) {
        err_set(&err, ERR_INTERNAL, 0, "read the answer", "network", "It is not there.");
        return cli_fail(&err);
    }
    put_line(out, "revision", root, revision);
    put_line(out, "net", network, "egress");
    put_list(out, "allow", network, "allow");
    put_list(out, "deny", network, "deny");
    put_line(out, "allow private", network, "allow_private");
    put_list(out, "publish", network, "publish");
    return CLI_EXIT_OK;
}

/* What of the host leads in now. Nothing is said of a session that does not live. */
static int put_ports(struct verb *verb, struct buf *out)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    const struct json_node *root = NULL;
    verb_session_path(verb, "/ports", &path);
    int status = verb_call(verb, "GET", buf_text(&path), NULL, &answer);
    if (status == 0)
        status = verb_read(&arena, &answer.document, &root);
    const struct json_node *list = status == 0 ? json_member(root, "ports") : NULL;
    for (const struct json_node *m = list ? list->first : NULL; m; m = m->next) {
        const struct json_node *open = json_member(m, "open");
        buf_printf(out, "%-14s 127.0.0.1:", "published");
        verb_value(out, m, "host_port");
        buf_puts(out, " → ");
        verb_value(out, m, "port");
        buf_puts(out, open && open->boolean ? "\n" : ", closed: somebody has it\n");
    }
    buf_fini(&answer.document);
    return status;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

static void policy_freep(struct policy **policy)
{
    policy_free(*policy);
}

/* What is in force, as a policy, and its revision. */
static int load_present(struct request *request, const struct json_node *root, struct policy **ret,
                        struct err *err)
{
    _cleanup_buf_ struct buf text = {0};
    const struct json_node *network = json_member(root, "network");
    uint64_t revision;
    if (!network || !verb_number(root, "network_revision", &revision))
        return err_set(err, ERR_INTERNAL, 0, "read the answer", "network", "It is not there.");
    if (request->revision == 0)
        request->revision = revision;
    buf_puts(&text, "{\"version\": 1, \"network\": ");
    network_node_text(network, &text);
    buf_putc(&text, '}');
    return policy_load_text(ret, "session", buf_text(&text), text.length, err);
}

static int make_body(struct request *request, const struct json_node *present, struct buf *out,
                     struct err *err)
{
    __attribute__((cleanup(policy_freep))) struct policy *policy = NULL;
    static struct spec_network network;
    int r = request->add ? load_present(request, present, &policy, err)
                         : run_plan_policy(&request->run, &policy, err);
    for (size_t i = 0; r == 0 && request->add && i < request->run.setting_count; i++) {
        const struct run_setting *setting = &request->run.settings[i];
        r = policy_set(policy, setting->key, setting->value, setting->flag, err);
    }
    if (r < 0)
        return r;
    policy_compile_network(policy, &network);
    policy_print_network(&network, out);
    if (request->revision && out->length) {
        out->data[--out->length] = 0;
        buf_printf(out, ",\"revision\":%" PRIu64 "}", request->revision);
    }
    return buf_failed(out)
               ? err_set(err, ERR_INTERNAL, 0, "make the request", NULL, "Out of memory.")
               : 0;
}

static int tell(const struct verb *verb, const struct json_node *root)
{
    _cleanup_buf_ struct buf out = {0};
    uint64_t cut;
    buf_printf(&out, "%s: revision ", verb->word[0]);
    verb_value(&out, root, "revision");
    if (verb_number(root, "connections_cut", &cut) && cut > 0)
        buf_printf(&out, ", %" PRIu64 " connection%s cut", cut, cut == 1 ? "" : "s");
    buf_putc(&out, '\n');
    return verb->quiet ? CLI_EXIT_OK : cli_print(STDOUT_FILENO, &out);
}

static int replace(struct verb *verb, struct request *request, const struct json_node *present)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf body = {0}, path = {0};
    struct client_answer answer = {0};
    const struct json_node *root;
    struct err err;
    if (make_body(request, present, &body, &err) < 0)
        return cli_fail_json(&err, verb->json);
    verb_session_path(verb, "/network", &path);
    int status = verb_call(verb, "PUT", buf_text(&path), buf_text(&body), &answer);
    if (status == 0 && verb->json)
        status = verb_print_document(&answer.document);
    else if (status == 0 && (status = verb_read(&arena, &answer.document, &root)) == 0)
        status = tell(verb, root);
    buf_fini(&answer.document);
    return status;
}

static int run(struct verb *verb, struct request *request)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf path = {0}, out = {0};
    struct client_answer answer = {0};
    const struct json_node *root = NULL;
    bool changes = request->run.policy || request->run.setting_count > 0;
    struct err err;
    if (request->add && request->run.policy) {
        err_set(&err, ERR_USAGE, 0, "session network", "--add",
                "--policy says the whole of it: leave one of them out.");
        return cli_fail_json(&err, verb->json);
    }
    if (!changes && (request->add || request->revision)) {
        err_set(&err, ERR_USAGE, 0, "session network", request->add ? "--add" : "--revision",
                "Say what it may reach: --net, --allow, --deny, --publish or --policy.");
        return cli_fail_json(&err, verb->json);
    }
    if (changes && !request->add)
        return replace(verb, request, NULL);
    verb_session_path(verb, "", &path);
    int status = verb_call(verb, "GET", buf_text(&path), NULL, &answer);
    if (status == 0)
        status = verb_read(&arena, &answer.document, &root);
    if (status == 0 && changes)
        status = replace(verb, request, root);
    else if (status == 0 && verb->json) {
        buf_puts(&out, "{\"revision\":");
        network_node_text(json_member(root, "network_revision"), &out);
        buf_puts(&out, ",\"network\":");
        network_node_text(json_member(root, "network"), &out);
        buf_puts(&out, "}\n");
        status = cli_print(STDOUT_FILENO, &out);
    } else if (status == 0 && (status = print(root, "network_revision", &out)) == 0) {
        const struct json_node *rules = json_member(root, "network");
        const struct json_node *publish = json_member(rules, "publish");
        if (publish && publish->first)
            status = put_ports(verb, &out);
        if (status == 0)
            status = cli_print(STDOUT_FILENO, &out);
    }
    buf_fini(&answer.document);
    return status;
}

static int network(struct request *request, int argc, char **argv)
{
    struct cli_option options[VERB_OPTIONS_MAX];
    size_t count = run_options_of_network(options, ARRAY_LENGTH(options));
    memcpy(options + count, own_options, sizeof own_options);
    const struct verb_spec spec = {
        .name = "session network",
        .example = "Examples: berth session network build\n"
                   "          berth session network build --add --allow github.com\n"
                   "          berth session network build --net deny\n",
        .usage = "berth session network SESSION [options]",
        .text = "Without options it says what a session may reach. With them it replaces that, at\n"
                "once, and cuts the connections that are no longer allowed.",
        .options = options,
        .option_count = count + ARRAY_LENGTH(own_options),
        .words_min = 1,
        .words_max = 1,
        .ids = 1,
    };
    _cleanup_verb_ struct verb verb;
    int status;
    if (!verb_begin(&verb, &spec, argc, argv, take, request, &status))
        return status;
    return run(&verb, request);
}

int session_network_cmd(int argc, char **argv)
{
    static struct request request;
    struct err err;
    if (run_options_init(&request.run, argc, &err) < 0)
        return cli_fail(&err);
    int status = network(&request, argc, argv);
    run_options_fini(&request.run);
    return status;
}
