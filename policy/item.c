/* This file reads one entry of a list of a policy, from a string, an object or a flag; it never
 * looks at other entries.
 */
#include "policy/model.h"
#include "policy/rule.h"
#include "policy/suggest.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"
#include "runtime/capability_names.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { CALL_NUMBERS = 1024 };

static int __attribute__((format(printf, 2, 3)))
refuse(char ret_why[POLICY_WHY_MAX], const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret_why, POLICY_WHY_MAX, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int no_memory(char ret_why[POLICY_WHY_MAX])
{
    refuse(ret_why, "Out of memory.");
    return -ENOMEM;
}

static int check_characters(const char *text, char ret_why[POLICY_WHY_MAX])
{
    for (const char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return refuse(ret_why, "It has a control character (0x%02x).", (unsigned)*p);
    return 0;
}

/* Parts between slashes: none empty, "." or "..". A single slash at the end is allowed. */
static int check_parts(const char *path, char ret_why[POLICY_WHY_MAX])
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 0)
            return refuse(ret_why, "\"%.200s\" has an empty part (\"//\").", path);
        if (n == 1 && p[0] == '.')
            return refuse(ret_why, "\"%.200s\" has a \".\" part: leave it out.", path);
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return refuse(ret_why, "\"%.200s\" has a \"..\" part: write the path itself.", path);
        p += n + (p[n] == '/');
    }
    return 0;
}

/* A copy of an absolute path, without a slash at its end. */
static int read_absolute(struct arena *arena, const char *text, const char **ret,
                         char ret_why[POLICY_WHY_MAX])
{
    size_t n = strlen(text);
    if (n == 0)
        return refuse(ret_why, "The path is empty.");
    if (text[0] == '~')
        return refuse(ret_why, "\"%.200s\": a \"~\" is not expanded here. Write the whole path.",
                      text);
    if (text[0] != '/')
        return refuse(ret_why, "\"%.200s\" is relative. This path must begin with \"/\".", text);
    if (n >= SPEC_PATH_MAX)
        return refuse(ret_why, "The path has %zu bytes; %d are the most.", n, SPEC_PATH_MAX - 1);
    int e = check_characters(text, ret_why);
    if (e == 0)
        e = check_parts(text + 1, ret_why);
    if (e < 0)
        return e;
    *ret = arena_copy(arena, text, n > 1 && text[n - 1] == '/' ? n - 1 : n);
    return *ret ? 0 : no_memory(ret_why);
}

static bool is_beneath(const char *path, const char *top)
{
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && (path[n] == 0 || path[n] == '/');
}

/* Where nothing may be mounted: these are the kernel's views, or berth's own. */
static int check_target(const char *target, char ret_why[POLICY_WHY_MAX])
{
    static const char *const reserved[] = {"/proc", "/sys", "/dev"};
    if (strcmp(target, "/") == 0)
        return refuse(ret_why, "The target \"/\" is the root filesystem. That is said by "
                               "filesystem.image.");
    for (size_t i = 0; i < ARRAY_LENGTH(reserved); i++)
        if (is_beneath(target, reserved[i]))
            return refuse(ret_why,
                          "Nothing can be mounted at \"%.200s\": %s inside a session is berth's.",
                          target, reserved[i]);
    return 0;
}

/* A session that writes to these owns the host. Exactly these: what lies beneath is judged by the
 * rights of whoever asks. */
static int check_writable_source(const char *source, char ret_why[POLICY_WHY_MAX])
{
    static const char *const tops[] = {
        "/",        "/usr",      "/bin",       "/sbin",         "/lib", "/lib64",
        "/etc",     "/boot",     "/var",       "/run",          "/dev", "/proc",
        "/sys",     "/root",     "/home",      "/opt",          "/srv", "/usr/bin",
        "/usr/lib", "/usr/sbin", "/usr/local", "/usr/local/bin"};
    for (size_t i = 0; i < ARRAY_LENGTH(tops); i++)
        if (strcmp(source, tops[i]) == 0)
            return refuse(ret_why,
                          "\"%s\" is a system directory of the host: writable inside, it gives the "
                          "host away. Name the directory beneath it that is meant.",
                          source);
    return 0;
}

static int read_mount(struct arena *arena, const struct schema_row *row, const char *source,
                      const char *target, struct policy_item *ret, char ret_why[POLICY_WHY_MAX])
{
    int e = read_absolute(arena, source, &ret->text, ret_why);
    if (e == 0)
        e = read_absolute(arena, target ? target : source, &ret->other, ret_why);
    if (e == 0)
        e = check_target(ret->other, ret_why);
    if (e == 0 && row->within == WITHIN_WRITES)
        e = check_writable_source(ret->text, ret_why);
    return e;
}

static int read_protect(struct arena *arena, const char *text, struct policy_item *ret,
                        char ret_why[POLICY_WHY_MAX])
{
    bool home = strncmp(text, "~/", 2) == 0;
    const char *path = home ? text + 2 : text;
    size_t n = strlen(text);
    if (*path == 0 || strcmp(path, ".") == 0 || strcmp(path, "./") == 0)
        return refuse(ret_why, "The whole workspace can't be named here: ask for a read-only "
                               "workspace instead.");
    if (text[0] == '/')
        return refuse(ret_why,
                      "\"%.200s\" is absolute. Protected paths are relative to the workspace. "
                      "(A shell replaces an unquoted \"~/\".)",
                      text);
    if (path[0] == '~')
        return refuse(ret_why,
                      "\"%.200s\": a \"~\" stands only in \"~/NAME\", which is a path of the "
                      "workspace too: protected where it exists, and held when it is missing if "
                      "the workspace is a home directory.",
                      text);
    if (strpbrk(text, "*?"))
        return refuse(ret_why,
                      "\"%.200s\" looks like a pattern. Each path is named by itself: "
                      "patterns are not matched.",
                      text);
    if (strlen(path) >= SPEC_PROTECT_PATH_MAX)
        return refuse(ret_why, "The path has %zu bytes; %d are the most.", strlen(path),
                      SPEC_PROTECT_PATH_MAX - 1);
    int e = check_characters(text, ret_why);
    if (e == 0)
        e = check_parts(path, ret_why);
    if (e < 0)
        return e;
    ret->home = home;
    ret->directory = text[n - 1] == '/';
    ret->text = arena_copy(arena, text, ret->directory ? n - 1 : n);
    return ret->text ? 0 : no_memory(ret_why);
}

/* Keeps the rule, with its text for comparing and showing. */
static int keep_rule(struct arena *arena, const struct spec_rule *rule, struct policy_item *ret,
                     char ret_why[POLICY_WHY_MAX])
{
    _cleanup_buf_ struct buf text = {0};
    rule_print(rule, &text);
    struct spec_rule *copy = arena_alloc(arena, sizeof *copy);
    ret->text = buf_failed(&text) ? NULL : arena_copy(arena, buf_text(&text), text.length);
    if (!copy || !ret->text)
        return no_memory(ret_why);
    *copy = *rule;
    ret->rule = copy;
    return 0;
}

static int read_variable(struct arena *arena, const char *text, struct policy_item *ret,
                         char ret_why[POLICY_WHY_MAX])
{
    size_t n = strcspn(text, "=");
    if (text[n] != '=')
        return refuse(ret_why, "\"%.100s\" has no \"=\": a variable is NAME=VALUE.", text);
    if (n == 0)
        return refuse(ret_why, "The variable has no name.");
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        if (!letter && !(i > 0 && c >= '0' && c <= '9'))
            return refuse(ret_why,
                          "\"%.*s\" is not a name of a variable: letters, digits and \"_\", no "
                          "digit first.",
                          n > 100 ? 100 : (int)n, text);
    }
    ret->text = arena_copy(arena, text, n);
    ret->other = arena_copy(arena, text + n + 1, strlen(text + n + 1));
    return ret->text && ret->other ? 0 : no_memory(ret_why);
}

static int read_call(struct arena *arena, const char *text, struct policy_item *ret,
                     char ret_why[POLICY_WHY_MAX])
{
    int number = seccomp_call_number(text);
    if (number < 0) {
        const char *names[CALL_NUMBERS];
        for (int i = 0; i < CALL_NUMBERS; i++)
            names[i] = seccomp_call_name(i);
        const char *near = suggest_nearest(text, names, CALL_NUMBERS);
        return refuse(ret_why, "\"%.60s\" is not a system call that berth knows.%s%s%s", text,
                      near ? " Did you mean \"" : "", near ? near : "", near ? "\"?" : "");
    }
    char why[256] = "";
    bool addable = false;
    seccomp_explain(SPEC_SECCOMP_DEFAULT, NULL, 0, text, why, sizeof why, &addable);
    if (!addable)
        return refuse(ret_why, "\"%.60s\" can't be allowed by a policy. %s", text, why);
    ret->number = (uint32_t)number;
    ret->text = arena_copy(arena, text, strlen(text));
    return ret->text ? 0 : no_memory(ret_why);
}

static int read_capability(struct arena *arena, const char *text, struct policy_item *ret,
                           char ret_why[POLICY_WHY_MAX])
{
    static const char *const names[CAPABILITY_COUNT] = {
#define X(symbol, name, version) [CAP_##symbol] = name,
        CAPABILITIES(X)
#undef X
    };
    for (uint32_t i = 0; i < CAPABILITY_COUNT; i++) {
        if (strcmp(names[i], text) != 0)
            continue;
        ret->number = i;
        ret->text = arena_copy(arena, text, strlen(text));
        return ret->text ? 0 : no_memory(ret_why);
    }
    const char *near = suggest_nearest(text, names, CAPABILITY_COUNT);
    return refuse(ret_why, "\"%.60s\" is not a capability.%s%s%s `berth capabilities` lists them.",
                  text, near ? " Did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* "3000", or "8080:3000": the host's, and the session's. One way to write each number. */
static int read_port(struct arena *arena, const char *text, struct policy_item *ret,
                     char ret_why[POLICY_WHY_MAX])
{
    const char *colon = strchr(text, ':'), *inside = colon ? colon + 1 : text;
    char outside[8];
    uint64_t host_port, port;
    snprintf(outside, sizeof outside, "%.*s", colon ? (int)(colon - text) : 7, text);
    if (units_parse_u64(inside, &port) < 0 || port < 1 || port > UINT16_MAX ||
        (inside[0] == '0' && port > 0))
        return refuse(ret_why, "%.40s is not a port: 1 to 65535.", inside);
    if (port < SPEC_PORT_FIRST)
        return refuse(ret_why,
                      "Nobody listens on %.40s: a program of a session may use ports from %d on. "
                      "A port of the host below it is written \"%.40s:PORT\".",
                      inside, SPEC_PORT_FIRST, inside);
    if (!colon)
        host_port = port;
    else if (colon - text > 5 || units_parse_u64(outside, &host_port) < 0 ||
             host_port > UINT16_MAX || (outside[0] == '0' && outside[1]))
        return refuse(ret_why,
                      "%.40s: before the colon is a port of the host, 1 to 65535, or 0 for any "
                      "that is free.",
                      text);
    ret->number = (uint32_t)(host_port << 16 | port);
    ret->text = host_port == port
                    ? arena_printf(arena, "%u", (unsigned)port)
                    : arena_printf(arena, "%u:%u", (unsigned)host_port, (unsigned)port);
    return ret->text ? 0 : no_memory(ret_why);
}

int item_from_text(struct arena *arena, const struct schema_row *row, const char *text, bool flag,
                   struct policy_item *ret, char ret_why[POLICY_WHY_MAX])
{
    struct spec_rule rule;
    char why[HOST_WHY_MAX];
    switch (row->type) {
    case TYPE_MOUNTS:
        return read_mount(arena, row, text, NULL, ret, ret_why);
    case TYPE_PROTECT:
        return read_protect(arena, text, ret, ret_why);
    case TYPE_PORTS:
        return read_port(arena, text, ret, ret_why);
    case TYPE_ENV:
        return read_variable(arena, text, ret, ret_why);
    case TYPE_CALLS:
        return read_call(arena, text, ret, ret_why);
    case TYPE_CAPABILITIES:
        return read_capability(arena, text, ret, ret_why);
    case TYPE_RULES:
        if (!flag)
            return refuse(ret_why, "A rule is an object here: {\"host\": \"%.60s\"}.", text);
        if (rule_parse_flag(text, row->default_all_ports ? 0 : 443, &rule, why) < 0)
            return refuse(ret_why, "%s", why);
        return keep_rule(arena, &rule, ret, ret_why);
    default:
        return refuse(ret_why, "%s is not a list.", row->key);
    }
}

/* ---- objects ------------------------------------------------------------------------------------
 */

static int __attribute__((format(printf, 3, 4)))
refuse_at(struct value_error *ret_error, const struct json_node *node, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(ret_error->why, sizeof ret_error->why, fmt, ap);
    va_end(ap);
    ret_error->at = node->at;
    if (node->key) {
        size_t n = strlen(ret_error->path);
        snprintf(ret_error->path + n, sizeof ret_error->path - n, ".%.40s", node->key);
    }
    return -EINVAL;
}

/* Every member is one of `keys`. */
static int check_keys(const struct json_node *object, const char *const *keys, size_t count,
                      struct value_error *ret_error)
{
    for (const struct json_node *m = object->first; m; m = m->next) {
        bool known = false;
        for (size_t i = 0; i < count; i++)
            known |= strcmp(keys[i], m->key) == 0;
        if (known)
            continue;
        const char *near = suggest_nearest(m->key, keys, count);
        refuse_at(
            ret_error, m, "There is no such key here.%s%s%s The keys are \"%s\", \"%s\"%s%s%s.",
            near ? " Did you mean \"" : "", near ? near : "", near ? "\"?" : "", keys[0], keys[1],
            count > 2 ? ", \"" : "", count > 2 ? keys[2] : "", count > 2 ? "\"" : "");
        ret_error->at = m->key_at;
        return -EINVAL;
    }
    return 0;
}

static int read_rule_port(const struct json_node *node, struct spec_rule *rule,
                          struct value_error *ret_error)
{
    if (node->kind != JSON_NUMBER || !node->integer || node->negative || node->magnitude < 1 ||
        node->magnitude > 65535)
        return refuse_at(ret_error, node,
                         "A port is a whole number from 1 to 65535. Every port is \"ports\": "
                         "\"*\", without a list.");
    if (rule->port_count > 0 && rule_has_port(rule, (uint16_t)node->magnitude))
        return refuse_at(ret_error, node, "The port %u is here twice.", (unsigned)node->magnitude);
    if (rule_add_port(rule, (uint16_t)node->magnitude) < 0)
        return refuse_at(ret_error, node, "More than %d ports in one rule.", SPEC_PORTS_MAX);
    return 0;
}

static int read_rule_ports(const struct json_node *node, struct spec_rule *rule,
                           struct value_error *ret_error)
{
    if (node->kind == JSON_STRING && strcmp(node->text, "*") == 0)
        return 0;
    if (node->kind != JSON_ARRAY)
        return refuse_at(ret_error, node, "Ports are a list such as [443], or \"*\" for all.");
    if (node->count == 0)
        return refuse_at(ret_error, node, "The list is empty: a rule without a port says nothing.");
    size_t n = strlen(ret_error->path);
    unsigned index = 0;
    for (const struct json_node *port = node->first; port; port = port->next, index++) {
        snprintf(ret_error->path + n, sizeof ret_error->path - n, ".ports[%u]", index);
        int e = read_rule_port(port, rule, ret_error);
        if (e < 0)
            return e;
    }
    return 0;
}

static int read_rule_object(struct arena *arena, const struct schema_row *row,
                            const struct json_node *node, struct policy_item *ret,
                            struct value_error *ret_error)
{
    static const char *const keys[] = {"host", "cidr", "ports"};
    struct spec_rule rule = {0};
    char why[HOST_WHY_MAX];
    int e = check_keys(node, keys, ARRAY_LENGTH(keys), ret_error);
    if (e < 0)
        return e;
    const struct json_node *host = json_member(node, "host"), *cidr = json_member(node, "cidr");
    const struct json_node *ports = json_member(node, "ports"), *name = host ? host : cidr;
    if (!name)
        return refuse_at(ret_error, node, "The rule names neither a \"host\" nor a \"cidr\".");
    if (host && cidr)
        return refuse_at(ret_error, cidr, "A rule has a \"host\" or a \"cidr\", not both.");
    if (name->kind != JSON_STRING)
        return refuse_at(ret_error, name, "It must be a string, and is %s.",
                         json_kind_name(name->kind));
    e = host ? host_canonical(host->text, true, rule.host, why)
             : rule_parse_cidr(cidr->text, &rule, why);
    if (e < 0)
        return refuse_at(ret_error, name, "%s", why);
    if (ports)
        e = read_rule_ports(ports, &rule, ret_error);
    else if (!row->default_all_ports)
        e = rule_add_port(&rule, 443);
    return e < 0 ? e : keep_rule(arena, &rule, ret, ret_error->why);
}

static int read_mount_object(struct arena *arena, const struct schema_row *row,
                             const struct json_node *node, struct policy_item *ret,
                             struct value_error *ret_error)
{
    static const char *const keys[] = {"source", "target"};
    int e = check_keys(node, keys, ARRAY_LENGTH(keys), ret_error);
    if (e < 0)
        return e;
    const struct json_node *source = json_member(node, "source");
    const struct json_node *target = json_member(node, "target");
    if (!source)
        return refuse_at(ret_error, node, "The \"source\" is missing: the path on the host.");
    for (const struct json_node *m = node->first; m; m = m->next)
        if (m->kind != JSON_STRING)
            return refuse_at(ret_error, m, "It must be a string, and is %s.",
                             json_kind_name(m->kind));
    return read_mount(arena, row, source->text, target ? target->text : NULL, ret, ret_error->why);
}

int item_from_object(struct arena *arena, const struct schema_row *row,
                     const struct json_node *node, struct policy_item *ret,
                     struct value_error *ret_error)
{
    if (row->type == TYPE_RULES)
        return read_rule_object(arena, row, node, ret, ret_error);
    if (row->type == TYPE_MOUNTS)
        return read_mount_object(arena, row, node, ret, ret_error);
    return refuse_at(ret_error, node, "It must be a string, and is an object.");
}

bool item_same(const struct schema_row *row, const struct policy_item *one,
               const struct policy_item *other)
{
    /* A mount is named by where it is, a variable by its name, everything else by itself. */
    if (row->type == TYPE_MOUNTS)
        return strcmp(one->other, other->other) == 0;
    return strcmp(one->text, other->text) == 0;
}

void value_append(struct policy_value *value, struct policy_item *item)
{
    item->next = NULL;
    if (value->last)
        value->last->next = item;
    else
        value->first = item;
    value->last = item;
    value->count++;
}
