/* This file is `berth port`: ports of the host that lead into a session; it never listens on one.
 *
 * A port more is one request. A port less is the rules of now without it, and is refused when they
 * have changed meanwhile: nobody's other rule is lost by it.
 */
#include "api/cli/session_cmd.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const struct verb_spec add_spec = {
    .name = "port add",
    .example = "Examples: berth port add build 3000\n"
               "          berth port add build 0:5173\n",
    .usage = "berth port add SESSION [HOST:]PORT [options]",
    .text = "Publishes one port more of a session, on the host's loopback: at the same number,\n"
            "at HOST, or with 0 at any that is free. Prints where.",
    .words_min = 2,
    .words_max = 2,
    .ids = 1,
};
static const struct verb_spec list_spec = {
    .name = "port list",
    .example = "Example:  berth port list build\n",
    .usage = "berth port list SESSION [options]",
    .text = "Lists the ports of the host that lead into a session now.",
    .words_min = 1,
    .words_max = 1,
    .ids = 1,
};
static const struct verb_spec remove_spec = {
    .name = "port remove",
    .example = "Example:  berth port remove build 3000\n",
    .usage = "berth port remove SESSION [HOST:]PORT [options]",
    .text = "Closes a published port, and cuts the connections through it. HOST is needed\n"
            "where several lead to PORT.",
    .words_min = 2,
    .words_max = 2,
    .ids = 1,
};

/* ---- words ----------------------------------------------------------------------------------- */

struct port {
    uint64_t host, port;
    bool named; /* the host's was said */
};

static bool parse_part(const char *text, size_t length, uint64_t least, uint64_t *ret)
{
    char part[8];
    if (length == 0 || length >= sizeof part)
        return false;
    memcpy(part, text, length);
    part[length] = 0;
    return units_parse_u64(part, ret) == 0 && *ret >= least && *ret <= UINT16_MAX;
}

static int parse(const char *step, const char *text, struct port *ret, struct err *err)
{
    const char *colon = strchr(text, ':'), *inside = colon ? colon + 1 : text;
    struct port port = {.named = colon != NULL};
    if (!parse_part(inside, strlen(inside), 1, &port.port) ||
        (colon && !parse_part(text, (size_t)(colon - text), 0, &port.host)))
        return err_set(err, ERR_USAGE, 0, step, text,
                       "Write PORT or HOST:PORT, of numbers up to 65535: 3000, 8080:3000, 0:3000.");
    if (!colon)
        port.host = port.port;
    *ret = port;
    return 0;
}

/* ---- documents ------------------------------------------------------------------------------- */

static int get(struct verb *verb, const char *what, struct arena *arena, struct buf *document,
               const struct json_node **ret)
{
    _cleanup_buf_ struct buf path = {0};
    struct client_answer answer = {0};
    verb_session_path(verb, what, &path);
    int status = verb_call(verb, "GET", buf_text(&path), NULL, &answer);
    buf_fini(document);
    *document = answer.document;
    return status ? status : verb_read(arena, document, ret);
}

static const struct json_node *list_of(const struct json_node *object, const char *key)
{
    const struct json_node *list = object ? json_member(object, key) : NULL;
    return list && list->kind == JSON_ARRAY ? list->first : NULL;
}

static bool is_open(const struct json_node *port)
{
    const struct json_node *open = json_member(port, "open");
    return open && open->kind == JSON_BOOLEAN && open->boolean;
}

static const char *state_of(const struct json_node *port)
{
    const char *reason = verb_text(port, "reason");
    return is_open(port)                        ? "open"
           : strcmp(reason, "forbidden") == 0   ? "closed: it is root's"
           : strcmp(reason, "unavailable") == 0 ? "closed: not opened yet"
                                                : "closed: somebody has it";
}

/* "8080:3000" of a rule. */
static bool read_rule(const struct json_node *rule, struct port *ret)
{
    struct err unseen;
    return (rule->kind == JSON_STRING || rule->kind == JSON_NUMBER) &&
           parse("", rule->text, ret, &unseen) == 0;
}

/* ---- add ------------------------------------------------------------------------------------- */

/* Any that is free is the last one that leads there: it was added behind the others. */
static const struct json_node *find_added(const struct json_node *ports, const struct port *wanted)
{
    const struct json_node *found = NULL;
    for (const struct json_node *m = ports; m; m = m->next) {
        uint64_t host, port;
        if (verb_number(m, "host_port", &host) && verb_number(m, "port", &port) &&
            port == wanted->port && (wanted->host == 0 || wanted->host == host))
            found = m;
    }
    return found;
}

static int tell_added(struct verb *verb, const struct port *port)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf document = {0}, out = {0};
    const struct json_node *root = NULL;
    int status = get(verb, "/ports", &arena, &document, &root);
    if (status || verb->json)
        return status ? status : verb_print_document(&document);
    const struct json_node *added = find_added(list_of(root, "ports"), port);
    uint64_t host;
    if (added && verb_number(added, "host_port", &host))
        buf_printf(&out, "127.0.0.1:%" PRIu64 " → %" PRIu64 "%s%s\n", host, port->port,
                   is_open(added) ? "" : ", ", is_open(added) ? "" : state_of(added));
    else
        buf_printf(&out, "%" PRIu64 " is published when %s runs\n", port->port, verb->word[0]);
    return verb->quiet ? CLI_EXIT_OK : cli_print(STDOUT_FILENO, &out);
}

static int add(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_buf_ struct buf path = {0}, body = {0};
    struct client_answer answer = {0};
    struct port port;
    struct err err;
    int status;
    if (!verb_begin(&verb, &add_spec, argc, argv, NULL, NULL, &status))
        return status;
    if (parse(add_spec.name, verb.word[1], &port, &err) < 0)
        return cli_fail_json(&err, verb.json);
    verb_session_path(&verb, "/ports", &path);
    buf_printf(&body, "{\"port\": %" PRIu64 ", \"host_port\": %" PRIu64 "}", port.port, port.host);
    status = verb_call(&verb, "POST", buf_text(&path), buf_text(&body), &answer);
    buf_fini(&answer.document);
    return status ? status : tell_added(&verb, &port);
}

/* ---- list ------------------------------------------------------------------------------------ */

static int list(int argc, char **argv)
{
    static const char *const heads[] = {"HOST", ">PORT", "STATE", NULL};
    _cleanup_verb_ struct verb verb;
    _cleanup_table_ struct table table;
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf document = {0}, out = {0};
    const struct json_node *root = NULL;
    int status;
    table_init(&table, heads);
    if (!verb_begin(&verb, &list_spec, argc, argv, NULL, NULL, &status))
        return status;
    status = get(&verb, "/ports", &arena, &document, &root);
    if (status || verb.json)
        return status ? status : verb_print_document(&document);
    for (const struct json_node *m = list_of(root, "ports"); m; m = m->next) {
        _cleanup_buf_ struct buf host = {0}, port = {0};
        buf_puts(&host, "127.0.0.1:");
        verb_value(&host, m, "host_port");
        verb_value(&port, m, "port");
        table_text(&table, buf_text(&host));
        table_text(&table, buf_text(&port));
        table_text(&table, state_of(m));
    }
    table_print(&table, &out);
    return cli_print(STDOUT_FILENO, &out);
}

/* ---- remove ---------------------------------------------------------------------------------- */

struct removal {
    struct port wanted, rule;      /* what was said, and the rule that it is */
    unsigned at, count;            /* which one; how many it could be */
    const struct json_node *ports; /* as they were had, in the order of the rules; NULL: it is not
                                      known */
};

static uint64_t had(const struct json_node *port)
{
    uint64_t host = 0;
    return port && verb_number(port, "host_port", &host) ? host : 0;
}

static void find_rule(const struct json_node *rules, struct removal *removal)
{
    const struct json_node *port = removal->ports;
    unsigned at = 0;
    for (const struct json_node *m = rules; m; m = m->next, at++, port = port ? port->next : NULL) {
        const struct port *wanted = &removal->wanted;
        struct port rule;
        if (!read_rule(m, &rule) || rule.port != wanted->port ||
            (wanted->named && rule.host != wanted->host && had(port) != wanted->host))
            continue;
        removal->at = at;
        removal->rule = rule;
        removal->count++;
    }
}

/* The others. Where several have any port of the host, for the same one inside, which of them stays
 * is said by the one that it has. */
static void put_others(const struct json_node *rules, const struct removal *removal,
                       struct buf *out)
{
    const struct json_node *port = removal->ports;
    const char *comma = "";
    unsigned at = 0;
    buf_putc(out, '[');
    for (const struct json_node *m = rules; m; m = m->next, at++, port = port ? port->next : NULL) {
        struct port rule;
        bool same = read_rule(m, &rule) && rule.host == 0 && removal->rule.host == 0 &&
                    rule.port == removal->rule.port;
        if (at == removal->at)
            continue;
        buf_puts(out, comma);
        comma = ",";
        if (same && had(port))
            buf_printf(out, "\"%" PRIu64 ":%" PRIu64 "\"", had(port), rule.port);
        else
            network_node_text(m, out);
    }
    buf_putc(out, ']');
}

static int make_body(const struct json_node *session, const struct removal *removal,
                     struct buf *out, struct err *err)
{
    const struct json_node *network = json_member(session, "network");
    uint64_t revision;
    if (!network || network->kind != JSON_OBJECT ||
        !verb_number(session, "network_revision", &revision))
        return err_set(err, ERR_INTERNAL, 0, "read the answer", "network", "It is not there.");
    buf_putc(out, '{');
    for (const struct json_node *m = network->first; m; m = m->next) {
        buf_json_string(out, m->key);
        buf_putc(out, ':');
        if (strcmp(m->key, "publish") == 0)
            put_others(m->first, removal, out);
        else
            network_node_text(m, out);
        buf_putc(out, ',');
    }
    buf_printf(out, "\"revision\":%" PRIu64 "}", revision);
    return buf_failed(out)
               ? err_set(err, ERR_INTERNAL, 0, "make the request", NULL, "Out of memory.")
               : 0;
}

static int replace(struct verb *verb, const struct json_node *session,
                   const struct removal *removal)
{
    _cleanup_buf_ struct buf path = {0}, body = {0};
    struct client_answer answer = {0};
    struct err err;
    if (make_body(session, removal, &body, &err) < 0)
        return cli_fail_json(&err, verb->json);
    verb_session_path(verb, "/network", &path);
    int status = verb_call(verb, "PUT", buf_text(&path), buf_text(&body), &answer);
    if (status == 0 && verb->json)
        status = verb_print_document(&answer.document);
    buf_fini(&answer.document);
    return status;
}

static int which(const struct verb *verb, const struct removal *removal)
{
    struct err err;
    if (removal->count == 0)
        err_set(&err, ERR_NOT_FOUND, 0, remove_spec.name, verb->word[1],
                "%s publishes no such port. `berth port list %s` lists them.", verb->word[0],
                verb->word[0]);
    else
        err_set(&err, ERR_USAGE, 0, remove_spec.name, verb->word[1],
                "%u ports of the host lead to it. Say which: HOST:PORT.", removal->count);
    return cli_fail_json(&err, verb->json);
}

static int remove_port(int argc, char **argv)
{
    _cleanup_verb_ struct verb verb;
    _cleanup_arena_ struct arena arena = {0}, other_arena = {0};
    _cleanup_buf_ struct buf document = {0}, other = {0};
    const struct json_node *session = NULL, *root = NULL;
    struct removal removal = {.count = 0};
    struct err err;
    int status;
    if (!verb_begin(&verb, &remove_spec, argc, argv, NULL, NULL, &status))
        return status;
    if (parse(remove_spec.name, verb.word[1], &removal.wanted, &err) < 0)
        return cli_fail_json(&err, verb.json);
    /* The revision first: what changes behind it is refused. */
    status = get(&verb, "", &arena, &document, &session);
    if (status == 0)
        status = get(&verb, "/ports", &other_arena, &other, &root);
    if (status)
        return status;
    const struct json_node *rules = list_of(json_member(session, "network"), "publish");
    removal.ports = list_of(root, "ports");
    find_rule(rules, &removal);
    return removal.count == 1 ? replace(&verb, session, &removal) : which(&verb, &removal);
}

static const struct verb_group group = {
    .name = "port",
    .example = "Examples: berth port add build 3000\n"
               "          berth port list build\n",
    .text = "A published port is one of the host's loopback that leads into a session.",
    .verbs =
        {
            {"add", add, "Publish one more."},
            {"list", list, "List those that lead into a session."},
            {"remove", remove_port, "Close one."},
        },
};

int cli_port(int argc, char **argv)
{
    return verb_group_run(&group, argc, argv);
}
