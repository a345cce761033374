/* This file is the schema of berth's configuration: one row for each key, with how it is read,
 * shown and described, and whether a reload puts it in force. It never opens the file itself.
 */
#include "api/cli/serve_keys.h"

#include "api/cli/gateway_child.h"
#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_MAX = 1 << 20,
    SESSIONS_MOST = 4000,
    START_TIMEOUT_MOST_S = 120,
    AUDIT_ROWS_LEAST = 100,
    AUDIT_ROWS_MOST = 100000000,
    ID_MOST = 0x7fffffff,
};

/* ---- reading --------------------------------------------------------------------------------- */

int serve_refuse(struct serve_reader *r, const struct json_node *at, const char *fmt, ...)
{
    char place[320];
    const struct json_position *p = at->key ? &at->key_at : &at->at;
    snprintf(place, sizeof place, "%s:%u:%u%s%s", r->name, p->line, p->column, at->key ? ": " : "",
             at->key ? at->key : "");
    err_set(r->err, ERR_INVALID_REQUEST, 0, "read the configuration", place, NULL);
    va_list ap;
    va_start(ap, fmt);
    if (r->err)
        vsnprintf(r->err->detail, sizeof r->err->detail, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int read_number(struct serve_reader *r, const struct json_node *node, uint64_t least,
                       uint64_t most, uint32_t *ret)
{
    if (node->kind != JSON_NUMBER || !node->integer || node->negative || node->magnitude < least ||
        node->magnitude > most)
        return serve_refuse(r, node, "It must be a whole number from %llu to %llu.",
                            (unsigned long long)least, (unsigned long long)most);
    *ret = (uint32_t)node->magnitude;
    return 0;
}

/* Absolute, without empty, "." or ".." parts, and short enough for a spec. */
static bool path_is_plain(const char *path)
{
    if (path[0] != '/' || strlen(path) >= SPEC_PATH_MAX)
        return false;
    for (const char *at = path + 1; *path && path[1];) {
        size_t n = strcspn(at, "/");
        if (n == 0 || (n == 1 && at[0] == '.') || (n == 2 && at[0] == '.' && at[1] == '.'))
            return false;
        if (!at[n])
            return true;
        at += n + 1;
    }
    return true;
}

static int read_sessions_max(struct serve_reader *r, const struct json_node *node)
{
    return read_number(r, node, 1, SESSIONS_MOST, &r->plan->config.sessions_max);
}

static int read_start_timeout(struct serve_reader *r, const struct json_node *node)
{
    return read_number(r, node, 1, START_TIMEOUT_MOST_S, &r->plan->config.start_timeout_s);
}

static int read_audit_rows(struct serve_reader *r, const struct json_node *node)
{
    return read_number(r, node, AUDIT_ROWS_LEAST, AUDIT_ROWS_MOST, &r->plan->config.audit_rows_max);
}

static int read_audit_workspace_rows(struct serve_reader *r, const struct json_node *node)
{
    return read_number(r, node, AUDIT_ROWS_LEAST, AUDIT_ROWS_MOST,
                       &r->plan->config.audit_workspace_rows_max);
}

static int read_front_uid(struct serve_reader *r, const struct json_node *node)
{
    if (!r->root)
        return serve_refuse(r, node, "Only root's berth has a front with an id of its own.");
    return read_number(r, node, 1, ID_MOST, &r->plan->config.front_uid);
}

static int read_front_gid(struct serve_reader *r, const struct json_node *node)
{
    if (!r->root)
        return serve_refuse(r, node, "Only root's berth has a front with an id of its own.");
    return read_number(r, node, 1, ID_MOST, &r->plan->config.front_gid);
}

static int read_socket_group(struct serve_reader *r, const struct json_node *node)
{
    if (node->kind == JSON_NULL) {
        r->nobody = true;
        return 0;
    }
    if (node->kind == JSON_NUMBER)
        return read_number(r, node, 0, ID_MOST, &r->plan->config.socket_gid);
    if (node->kind != JSON_STRING || !node->length)
        return serve_refuse(r, node,
                            "It must be the name or number of a group, or null for nobody.");
    _cleanup_free_ char *text = NULL;
    size_t length;
    if (io_read_file(AT_FDCWD, "/etc/group", FILE_MAX, &text, &length) == 0)
        r->plan->config.socket_gid = serve_find_group(text, node->text);
    if (r->plan->config.socket_gid == SERVE_NOBODY)
        return serve_refuse(
            r, node, "/etc/group has no group \"%s\". Make it, or write its number.", node->text);
    return 0;
}

static int read_roots(struct serve_reader *r, const struct json_node *node)
{
    if (node->kind != JSON_ARRAY)
        return serve_refuse(r, node, "It must be a list of absolute paths.");
    if (node->count > SERVE_ROOTS_MAX)
        return serve_refuse(r, node, "It has %u entries; at most %d are allowed.", node->count,
                            SERVE_ROOTS_MAX);
    struct serve_config *config = &r->plan->config;
    for (const struct json_node *root = node->first; root; root = root->next) {
        struct stat st;
        if (root->kind != JSON_STRING || !path_is_plain(root->text))
            return serve_refuse(
                r, root, "It must be an absolute path without empty, \".\" or \"..\" parts.");
        /* Sessions follow no symbolic link, so a root behind one would allow nothing. */
        char real[SPEC_PATH_MAX];
        if (stat(root->text, &st) < 0 || !S_ISDIR(st.st_mode))
            return serve_refuse(r, root, "There is no directory \"%s\". Make it, or name another.",
                                root->text);
        _cleanup_free_ char *resolved = realpath(root->text, NULL);
        int n = snprintf(real, sizeof real, "%s", resolved ? resolved : "");
        if (n <= 0 || (size_t)n >= sizeof real)
            return serve_refuse(r, root, "\"%s\" cannot be resolved.", root->text);
        memcpy(config->roots[config->root_count++], real, sizeof real);
    }
    return 0;
}

static int read_ceiling(struct serve_reader *r, const struct json_node *node)
{
    if (node->kind != JSON_STRING || node->text[0] != '/' || node->length >= SPEC_PATH_MAX)
        return serve_refuse(r, node, "It must be the absolute path of a policy file.");
    _cleanup_free_ char *text = NULL;
    size_t length;
    int x = io_read_file(AT_FDCWD, node->text, FILE_MAX, &text, &length);
    if (x < 0)
        return serve_refuse(r, node, "\"%s\" cannot be read: %s.", node->text, strerror(-x));
    struct policy *policy = NULL;
    x = policy_load_text(&policy, node->text, text, length, r->err);
    policy_free(x == 0 ? policy : NULL);
    if (x < 0)
        return x;
    buf_fini(&r->plan->ceiling);
    buf_add(&r->plan->ceiling, text, length);
    snprintf(r->plan->ceiling_path, sizeof r->plan->ceiling_path, "%s", node->text);
    return 0;
}

const char serve_address_rule[] =
    "It must be an address and a port, \"127.0.0.1:8080\" or \"[::1]:8080\"; no name.";

static int read_listen(struct serve_reader *r, const struct json_node *node)
{
    if (node->kind != JSON_ARRAY)
        return serve_refuse(r, node, "It must be a list of addresses, [\"127.0.0.1:8080\"].");
    if (node->count > SERVE_TCP_MAX)
        return serve_refuse(r, node, "It has %u entries; at most %d are allowed.", node->count,
                            SERVE_TCP_MAX);
    for (const struct json_node *at = node->first; at; at = at->next) {
        struct serve_address *address = &r->plan->addresses[r->plan->config.tcp_count];
        if (at->kind != JSON_STRING || serve_address_parse(at->text, address) < 0)
            return serve_refuse(r, at, "%s", serve_address_rule);
        if (!address->loopback && !r->beyond)
            r->beyond = at;
        r->plan->config.tcp_count++;
    }
    return 0;
}

static int read_beyond(struct serve_reader *r, const struct json_node *node)
{
    if (node->kind != JSON_BOOLEAN)
        return serve_refuse(r, node, "It must be true or false.");
    r->plan->beyond_loopback = node->boolean;
    return 0;
}

static bool is_host_name(const char *text, size_t length)
{
    if (length == 0 || length >= SERVE_HOST_SIZE)
        return false;
    for (size_t i = 0; i < length; i++) {
        char c = text[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '.' || c == '-'))
            return false;
    }
    return true;
}

static int read_hosts(struct serve_reader *r, const struct json_node *node)
{
    struct serve_config *config = &r->plan->config;
    if (node->kind != JSON_ARRAY)
        return serve_refuse(r, node, "It must be a list of names, [\"berth.example.org\"].");
    if (node->count > SERVE_HOSTS_MAX)
        return serve_refuse(r, node, "It has %u entries; at most %d are allowed.", node->count,
                            SERVE_HOSTS_MAX);
    for (const struct json_node *host = node->first; host; host = host->next) {
        if (host->kind != JSON_STRING || !is_host_name(host->text, host->length))
            return serve_refuse(r, host, "It must be the name of a host, without a port.");
        memcpy(config->hosts[config->host_count++], host->text, host->length + 1);
    }
    return 0;
}

static int read_socket(struct serve_reader *r, const struct json_node *node)
{
    if (node->kind != JSON_STRING || !path_is_plain(node->text))
        return serve_refuse(r, node, "It must be an absolute path.");
    snprintf(r->plan->socket, sizeof r->plan->socket, "%s", node->text);
    return 0;
}

static int read_log(struct serve_reader *r, const struct json_node *node)
{
    bool requests = node->kind == JSON_STRING && strcmp(node->text, "requests") == 0;
    if (!requests && (node->kind != JSON_STRING || strcmp(node->text, "failures") != 0))
        return serve_refuse(r, node, "It must be \"requests\" or \"failures\".");
    r->plan->config.log_failures_only = !requests;
    return 0;
}

static int read_log_format(struct serve_reader *r, const struct json_node *node)
{
    bool text = node->kind == JSON_STRING && strcmp(node->text, "text") == 0;
    if (!text && (node->kind != JSON_STRING || strcmp(node->text, "json") != 0))
        return serve_refuse(r, node, "It must be \"json\" or \"text\".");
    r->plan->config.log_text = text;
    r->plan->log_said = true;
    return 0;
}

static int read_resolver(struct serve_reader *r, const struct json_node *node)
{
    struct serve_plan *plan = r->plan;
    if (node->kind != JSON_ARRAY)
        return serve_refuse(r, node, "It must be a list of addresses, [\"192.0.2.53\"].");
    if (node->count > SERVE_RESOLVERS_MAX)
        return serve_refuse(r, node, "It has %u entries; at most %d are allowed.", node->count,
                            SERVE_RESOLVERS_MAX);
    for (const struct json_node *at = node->first; at; at = at->next) {
        struct network_address address;
        uint16_t port;
        if (at->kind != JSON_STRING || at->length >= SERVE_RESOLVER_SIZE ||
            gateway_resolver_parse(at->text, &address, &port) < 0)
            return serve_refuse(r, at,
                                "It must be an address, \"192.0.2.53\", \"192.0.2.53:5353\" or "
                                "\"[2001:db8::53]:5353\"; no name.");
        memcpy(plan->resolvers[plan->resolver_count++], at->text, at->length + 1);
    }
    return 0;
}

static int read_host_door(struct serve_reader *r, const struct json_node *node)
{
    struct serve_config *config = &r->plan->config;
    if (node->kind != JSON_ARRAY)
        return serve_refuse(r, node, "It must be a list of ports, [5432].");
    if (node->count > SERVE_DOOR_MAX)
        return serve_refuse(r, node, "It has %u entries; at most %d are allowed.", node->count,
                            SERVE_DOOR_MAX);
    for (const struct json_node *at = node->first; at; at = at->next) {
        uint32_t port = 0;
        int x = read_number(r, at, 1, UINT16_MAX, &port);
        if (x < 0)
            return x;
        config->door_ports[config->door_count++] = (uint16_t)port;
    }
    return 0;
}

/* ---- showing, as it would be written --------------------------------------------------------- */

static void show_sessions_max(const struct serve_plan *plan, struct buf *out)
{
    buf_printf(out, "%u", plan->config.sessions_max);
}

static void show_start_timeout(const struct serve_plan *plan, struct buf *out)
{
    buf_printf(out, "%u", plan->config.start_timeout_s);
}

static void show_audit_rows(const struct serve_plan *plan, struct buf *out)
{
    buf_printf(out, "%u", plan->config.audit_rows_max);
}

static void show_audit_workspace_rows(const struct serve_plan *plan, struct buf *out)
{
    buf_printf(out, "%u", plan->config.audit_workspace_rows_max);
}

static void show_roots(const struct serve_plan *plan, struct buf *out)
{
    buf_putc(out, '[');
    for (uint32_t i = 0; i < plan->config.root_count; i++) {
        buf_puts(out, i ? ", " : "");
        buf_json_string(out, plan->config.roots[i]);
    }
    buf_putc(out, ']');
}

static void show_path(const char *path, struct buf *out)
{
    if (path[0])
        buf_json_string(out, path);
    else
        buf_puts(out, "null");
}

static void show_ceiling(const struct serve_plan *plan, struct buf *out)
{
    show_path(plan->ceiling_path, out);
}

static void show_socket(const struct serve_plan *plan, struct buf *out)
{
    show_path(plan->socket, out);
}

static void show_id(uint32_t id, struct buf *out)
{
    if (id == SERVE_NOBODY)
        buf_puts(out, "null");
    else
        buf_printf(out, "%u", id);
}

static void show_socket_group(const struct serve_plan *plan, struct buf *out)
{
    show_id(plan->config.socket_gid, out);
}

static void show_front_uid(const struct serve_plan *plan, struct buf *out)
{
    show_id(plan->config.front_uid, out);
}

static void show_front_gid(const struct serve_plan *plan, struct buf *out)
{
    show_id(plan->config.front_gid, out);
}

static void show_listen(const struct serve_plan *plan, struct buf *out)
{
    buf_putc(out, '[');
    for (uint32_t i = 0; i < plan->config.tcp_count; i++) {
        const struct serve_address *at = &plan->addresses[i];
        char host[INET6_ADDRSTRLEN];
        inet_ntop(at->six ? AF_INET6 : AF_INET, at->bytes, host, sizeof host);
        buf_printf(out, at->six ? "%s\"[%s]:%u\"" : "%s\"%s:%u\"", i ? ", " : "", host,
                   (unsigned)at->port);
    }
    buf_putc(out, ']');
}

static void show_beyond(const struct serve_plan *plan, struct buf *out)
{
    buf_puts(out, plan->beyond_loopback ? "true" : "false");
}

static void show_hosts(const struct serve_plan *plan, struct buf *out)
{
    buf_putc(out, '[');
    for (uint32_t i = 0; i < plan->config.host_count; i++)
        buf_printf(out, "%s\"%s\"", i ? ", " : "", plan->config.hosts[i]);
    buf_putc(out, ']');
}

static void show_log(const struct serve_plan *plan, struct buf *out)
{
    buf_puts(out, plan->config.log_failures_only ? "\"failures\"" : "\"requests\"");
}

static void show_log_format(const struct serve_plan *plan, struct buf *out)
{
    buf_puts(out, plan->config.log_text ? "\"text\"" : "\"json\"");
}

static void show_resolver(const struct serve_plan *plan, struct buf *out)
{
    buf_putc(out, '[');
    for (unsigned i = 0; i < plan->resolver_count; i++)
        buf_printf(out, "%s\"%s\"", i ? ", " : "", plan->resolvers[i]);
    buf_putc(out, ']');
}

static void show_host_door(const struct serve_plan *plan, struct buf *out)
{
    buf_putc(out, '[');
    for (uint32_t i = 0; i < plan->config.door_count; i++)
        buf_printf(out, "%s%u", i ? ", " : "", (unsigned)plan->config.door_ports[i]);
    buf_putc(out, ']');
}

/* ---- what stays as it was until berth starts again --------------------------------------------
 */

static void keep_socket(const struct serve_plan *old, struct serve_plan *next)
{
    memcpy(next->socket, old->socket, sizeof next->socket);
}

static void keep_listen(const struct serve_plan *old, struct serve_plan *next)
{
    next->config.tcp_count = old->config.tcp_count;
    memcpy(next->addresses, old->addresses, sizeof next->addresses);
}

static void keep_beyond(const struct serve_plan *old, struct serve_plan *next)
{
    next->beyond_loopback = old->beyond_loopback;
}

static void keep_front_uid(const struct serve_plan *old, struct serve_plan *next)
{
    next->config.front_uid = old->config.front_uid;
}

static void keep_front_gid(const struct serve_plan *old, struct serve_plan *next)
{
    next->config.front_gid = old->config.front_gid;
}

/* ---- the table ------------------------------------------------------------------------------- */

#define PATHS(most)                                                                  \
    "{\"type\": \"array\", \"items\": {\"type\": \"string\", \"pattern\": \"^/\"}, " \
    "\"maxItems\": " #most "}"
#define TEXTS(most) \
    "{\"type\": \"array\", \"items\": {\"type\": \"string\"}, \"maxItems\": " #most "}"
#define AUDIT_ROWS "{\"type\": \"integer\", \"minimum\": 100, \"maximum\": 100000000}"
#define ID         "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 2147483647}"

const struct serve_key serve_keys[SERVE_KEY_COUNT] = {
    {"sessions_max", read_sessions_max, show_sessions_max, NULL, "a whole number from 1 to 4000",
     "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 4000}", "1000", "200",
     "Live sessions at most; further ones are refused with 503, as they are where the limit on "
     "open files has room for fewer (docs/operations.md)."},
    {"start_timeout_s", read_start_timeout, show_start_timeout, NULL,
     "a whole number from 1 to 120", "{\"type\": \"integer\", \"minimum\": 1, \"maximum\": 120}",
     "5", "30",
     "How many seconds a session may take to be ready before its start is given up with 503; more "
     "for slow or emulated machines."},
    {"roots", read_roots, show_roots, NULL, "a list of absolute paths, at most 16", PATHS(16), "[]",
     "[\"/srv/build\"]",
     "Directories beneath which a session may use host directories; links in them are resolved "
     "when "
     "the file is read."},
    {"ceiling", read_ceiling, show_ceiling, NULL, "the absolute path of a policy file",
     "{\"type\": \"string\", \"pattern\": \"^/\"}", "null", "\"/etc/berth/ceiling.jsonc\"",
     "What a session, other rules for its network or a command ask for beyond this policy is "
     "refused with 422. The policy is read when this file is: after a change of it, reload."},
    {"socket", read_socket, show_socket, keep_socket, "an absolute path",
     "{\"type\": \"string\", \"pattern\": \"^/\"}", "null", "\"/run/berth.sock\"",
     "The unix socket of clients. Without it, berth.sock in the runtime directory. `--socket` goes "
     "before it."},
    {"socket_group", read_socket_group, show_socket_group, NULL,
     "a group's name or number, or null for nobody",
     "{\"type\": [\"string\", \"integer\", \"null\"]}", "null", "\"berth\"",
     "Who may connect to the unix socket beside the owner. When nothing is said, root's berth "
     "takes "
     "the group `berth`, where it exists."},
    {"listen", read_listen, show_listen, keep_listen,
     "a list of addresses with ports, \"127.0.0.1:8080\" or \"[::1]:8080\", at most 8", TEXTS(8),
     "[]", "[\"127.0.0.1:8080\"]",
     "Where callers over TCP are served, each of them with a token. `--listen` adds to it. Port 0 "
     "is "
     "one that the kernel chooses."},
    {"listen_beyond_loopback", read_beyond, show_beyond, keep_beyond, "true or false",
     "{\"type\": \"boolean\"}", "false", "true",
     "Whether an address of `listen` may be reached from beyond this host. What goes there is "
     "plain "
     "HTTP, tokens too: let TLS end in front of it."},
    {"hosts", read_hosts, show_hosts, NULL, "a list of names without ports, at most 8", TEXTS(8),
     "[]", "[\"berth.example.org\"]",
     "Names by which callers over TCP may call this host, besides its addresses and `localhost`. "
     "Others are refused, so that no page in a browser gets here by a name of its own."},
    {"front_uid", read_front_uid, show_front_uid, keep_front_uid,
     "a whole number from 1 to 2147483647", ID, "null", "990",
     "Whose the process is that reads what clients send (root only). Without it, the account "
     "`berth`, "
     "else an id that belongs to nobody."},
    {"front_gid", read_front_gid, show_front_gid, keep_front_gid,
     "a whole number from 1 to 2147483647", ID, "null", "990", "Its group."},
    {"log", read_log, show_log, NULL, "\"requests\" or \"failures\"",
     "{\"enum\": [\"requests\", \"failures\"]}", "\"requests\"", "\"failures\"",
     "Whether each request has a line in the log, or only what failed because of berth and who "
     "changed what."},
    {"log_format", read_log_format, show_log_format, NULL, "\"json\" or \"text\"",
     "{\"enum\": [\"json\", \"text\"]}", "\"json\"", "\"text\"",
     "How each line of the log is written, whichever process says it: one JSON object with time, "
     "level, role and event, or a sentence. `--log-format` goes before it."},
    {"audit_rows_max", read_audit_rows, show_audit_rows, NULL,
     "a whole number from 100 to 100000000", AUDIT_ROWS, "1000000", "5000000",
     "Rows of the ledger's audit that are kept for 90 days, of all workspaces together. When there "
     "are more, the workspace that has most of them loses its oldest: of files or of all else, "
     "whichever it has more of. A million take some 100 MB."},
    {"audit_workspace_rows_max", read_audit_workspace_rows, show_audit_workspace_rows, NULL,
     "a whole number from 100 to 100000000", AUDIT_ROWS, "100000", "20000",
     "Rows of the ledger's audit that are kept of one workspace."},
    {"resolver", read_resolver, show_resolver, NULL,
     "a list of addresses, \"192.0.2.53\", \"192.0.2.53:5353\" or \"[2001:db8::53]:5353\", at most "
     "8",
     TEXTS(8), "[]", "[\"192.0.2.53\"]",
     "Who is asked for the addresses of names that sessions may reach. Without it, the "
     "`nameserver`s of the host's /etc/resolv.conf, as they are when this is read."},
    {"host_door", read_host_door, show_host_door, NULL,
     "a list of ports from 1 to 65535, at most 16",
     "{\"type\": \"array\", \"items\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": "
     "65535}, "
     "\"maxItems\": 16}",
     "[]", "[5432]",
     "Ports of this host's loopback that a session may reach by the name `host.berth.internal`, "
     "where a rule of its policy names it with the port, and the `ceiling` has such a rule too. "
     "What listens there is reached as if by a program of the host."},
};
