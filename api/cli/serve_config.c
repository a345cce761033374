/* This file reads the configuration of `berth serve`; it never falls back to a default because of a
 * mistake in it.
 */
#include "api/cli/serve.h"

#include "api/cli/gateway_child.h"
#include "policy/json.h"
#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/cli/cli.h"

enum {
    FILE_MAX = 1 << 20,
    SESSIONS_DEFAULT = 1000,
    SESSIONS_MOST = 4000,
    START_TIMEOUT_MOST_S = 120,
    ID_MOST = 0x7fffffff
};

static const char default_file[] = "/etc/berth/serve.jsonc";

struct reader {
    const char *name;
    struct serve_plan *plan;
    bool root;
    const char *group; /* as the file names it; NULL: not said */
    bool nobody;       /* "socket_group": null */
    struct err *err;
};

static int refuse(struct reader *r, const struct json_node *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static int refuse(struct reader *r, const struct json_node *at, const char *fmt, ...)
{
    char place[320];
    const struct json_position *p = at->key ? &at->key_at : &at->at;
    snprintf(place, sizeof place, "%s:%u:%u: %s", r->name, p->line, p->column,
             at->key ? at->key : "");
    err_set(r->err, ERR_INVALID_REQUEST, 0, "read the configuration", place, NULL);
    va_list ap;
    va_start(ap, fmt);
    if (r->err)
        vsnprintf(r->err->detail, sizeof r->err->detail, fmt, ap);
    va_end(ap);
    return -EINVAL;
}

static int read_number(struct reader *r, const struct json_node *node, uint64_t least,
                       uint64_t most, uint32_t *ret)
{
    if (node->kind != JSON_NUMBER || !node->integer || node->negative || node->magnitude < least ||
        node->magnitude > most)
        return refuse(r, node, "It must be a whole number from %llu to %llu.",
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

static int read_start_timeout(struct reader *r, const struct json_node *node)
{
    return read_number(r, node, 1, START_TIMEOUT_MOST_S, &r->plan->config.start_timeout_s);
}

static int read_sessions_max(struct reader *r, const struct json_node *node)
{
    return read_number(r, node, 1, SESSIONS_MOST, &r->plan->config.sessions_max);
}

static int read_front_uid(struct reader *r, const struct json_node *node)
{
    if (!r->root)
        return refuse(r, node, "Only root's berth has a front with an id of its own.");
    return read_number(r, node, 1, ID_MOST, &r->plan->config.front_uid);
}

static int read_front_gid(struct reader *r, const struct json_node *node)
{
    if (!r->root)
        return refuse(r, node, "Only root's berth has a front with an id of its own.");
    return read_number(r, node, 1, ID_MOST, &r->plan->config.front_gid);
}

static int read_socket_group(struct reader *r, const struct json_node *node)
{
    if (node->kind == JSON_NULL) {
        r->nobody = true;
        return 0;
    }
    if (node->kind == JSON_NUMBER)
        return read_number(r, node, 0, ID_MOST, &r->plan->config.socket_gid);
    if (node->kind != JSON_STRING || !node->length)
        return refuse(r, node, "It must be the name or number of a group, or null for nobody.");
    _cleanup_free_ char *text = NULL;
    size_t length;
    if (io_read_file(AT_FDCWD, "/etc/group", FILE_MAX, &text, &length) == 0)
        r->plan->config.socket_gid = serve_find_group(text, node->text);
    if (r->plan->config.socket_gid == SERVE_NOBODY)
        return refuse(r, node, "/etc/group has no group \"%s\". Make it, or write its number.",
                      node->text);
    return 0;
}

static int read_roots(struct reader *r, const struct json_node *node)
{
    if (node->kind != JSON_ARRAY)
        return refuse(r, node, "It must be a list of absolute paths.");
    if (node->count > SERVE_ROOTS_MAX)
        return refuse(r, node, "It has %u entries; at most %d are allowed.", node->count,
                      SERVE_ROOTS_MAX);
    struct serve_config *config = &r->plan->config;
    for (const struct json_node *root = node->first; root; root = root->next) {
        struct stat st;
        if (root->kind != JSON_STRING || !path_is_plain(root->text))
            return refuse(r, root,
                          "It must be an absolute path without empty, \".\" or \"..\" parts.");
        /* Sessions follow no symbolic link, so a root behind one would allow nothing. */
        char real[SPEC_PATH_MAX];
        if (stat(root->text, &st) < 0 || !S_ISDIR(st.st_mode))
            return refuse(r, root, "There is no directory \"%s\".", root->text);
        _cleanup_free_ char *resolved = realpath(root->text, NULL);
        int n = snprintf(real, sizeof real, "%s", resolved ? resolved : "");
        if (n <= 0 || (size_t)n >= sizeof real)
            return refuse(r, root, "\"%s\" cannot be resolved.", root->text);
        memcpy(config->roots[config->root_count++], real, sizeof real);
    }
    return 0;
}

static int read_ceiling(struct reader *r, const struct json_node *node)
{
    if (node->kind != JSON_STRING || node->text[0] != '/')
        return refuse(r, node, "It must be the absolute path of a policy file.");
    _cleanup_free_ char *text = NULL;
    size_t length;
    int x = io_read_file(AT_FDCWD, node->text, FILE_MAX, &text, &length);
    if (x < 0)
        return refuse(r, node, "\"%s\" cannot be read: %s.", node->text, strerror(-x));
    struct policy *policy = NULL;
    x = policy_load_text(&policy, node->text, text, length, r->err);
    policy_free(x == 0 ? policy : NULL);
    if (x < 0)
        return x;
    buf_fini(&r->plan->ceiling);
    buf_add(&r->plan->ceiling, text, length);
    return 0;
}

static int read_listen(struct reader *r, const struct json_node *node)
{
    return refuse(r, node, "This release serves a unix socket only. Remove the key.");
}

static const struct key {
    const char *name; /* first: cli_suggest() reads it */
    int (*read)(struct reader *r, const struct json_node *node);
} keys[] = {
    {"sessions_max", read_sessions_max},
    {"start_timeout_s", read_start_timeout},
    {"roots", read_roots},
    {"ceiling", read_ceiling},
    {"socket_group", read_socket_group},
    {"front_uid", read_front_uid},
    {"front_gid", read_front_gid},
    {"listen", read_listen},
};

static int read_member(struct reader *r, const struct json_node *member)
{
    for (size_t i = 0; i < ARRAY_LENGTH(keys); i++)
        if (strcmp(keys[i].name, member->key) == 0)
            return keys[i].read(r, member);
    const char *near = cli_suggest(member->key, keys, ARRAY_LENGTH(keys), sizeof keys[0]);
    return refuse(r, member, "There is no such key.%s%s%s", near ? " Did you mean \"" : "",
                  near ? near : "", near ? "\"?" : "");
}

static int read_text(struct reader *r, const char *text, size_t length)
{
    _cleanup_arena_ struct arena arena = {0};
    const struct json_node *root;
    struct json_error wrong;
    int x = json_parse(&arena, text, length, FILE_MAX, true, &root, &wrong);
    if (x == -ENOMEM)
        return err_raw(r->err, ERR_INTERNAL, ENOMEM, "read the configuration", r->name);
    if (x < 0) {
        char place[320];
        snprintf(place, sizeof place, "%s:%u:%u", r->name, wrong.at.line, wrong.at.column);
        return err_set(r->err, ERR_INVALID_REQUEST, 0, "read the configuration", place, "%s",
                       wrong.message);
    }
    if (root->kind != JSON_OBJECT)
        return refuse(r, root, "It must be an object, {\"sessions_max\": 1000}.");
    for (const struct json_node *member = root->first; member && x == 0; member = member->next)
        x = read_member(r, member);
    return x;
}

/* ---- accounts, without NSS --------------------------------------------------------------------
 */

/* Field `index` of the line that begins with `name`, as a number. */
static uint32_t find_field(const char *text, const char *name, unsigned index)
{
    size_t length = strlen(name);
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        if (strncmp(line, name, length) != 0 || line[length] != ':')
            continue;
        const char *at = line;
        size_t end = strcspn(line, "\n");
        for (unsigned i = 0; i < index && at; i++) {
            at = memchr(at, ':', end - (size_t)(at - line));
            at = at ? at + 1 : NULL;
        }
        char digits[16] = "";
        size_t n = at ? strspn(at, "0123456789") : 0;
        uint64_t value;
        if (n == 0 || n >= sizeof digits)
            continue;
        memcpy(digits, at, n);
        if (units_parse_u64(digits, &value) == 0 && value < UINT32_MAX)
            return (uint32_t)value;
    }
    return SERVE_NOBODY;
}

uint32_t serve_find_user(const char *text, const char *name, uint32_t *ret_gid)
{
    uint32_t uid = find_field(text, name, 2), gid = find_field(text, name, 3);
    if (uid == SERVE_NOBODY || gid == SERVE_NOBODY || uid == 0)
        return SERVE_NOBODY;
    *ret_gid = gid;
    return uid;
}

uint32_t serve_find_group(const char *text, const char *name)
{
    return find_field(text, name, 2);
}

static bool uid_is_taken(const char *passwd, uint32_t uid)
{
    char middle[32];
    snprintf(middle, sizeof middle, ":%u:", uid);
    for (const char *line = passwd; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *at = strchr(line, ':');
        at = at ? strchr(at + 1, ':') : NULL;
        if (at && strncmp(at, middle, strlen(middle)) == 0)
            return true;
    }
    return false;
}

/* Root's front: the configuration, else the account `berth`, else an id that nobody has. */
static int choose_front(struct serve_config *config, struct err *err)
{
    if (config->rootless) {
        config->front_uid = geteuid();
        config->front_gid = getegid();
        return 0;
    }
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r = io_read_file(AT_FDCWD, "/etc/passwd", 16 * FILE_MAX, &text, &length);
    if (r < 0 && r != -ENOENT)
        return err_set(err, ERR_UNAVAILABLE, -r, "look for the account of front", "/etc/passwd",
                       "Set \"front_uid\" and \"front_gid\" in the configuration.");
    uint32_t gid = SERVE_NOBODY;
    uint32_t uid = config->front_uid != SERVE_NOBODY
                       ? config->front_uid
                       : serve_find_user(text ? text : "", "berth", &gid);
    if (uid == SERVE_NOBODY) {
        uid = SERVE_FRONT_UID;
        if (text && uid_is_taken(text, uid))
            return err_set(err, ERR_UNAVAILABLE, 0, "choose an id for front", NULL,
                           "Uid %u belongs to an account. Make an account named berth, or set "
                           "\"front_uid\" and \"front_gid\" in the configuration.",
                           uid);
    }
    config->front_uid = uid;
    if (config->front_gid == SERVE_NOBODY)
        config->front_gid = gid != SERVE_NOBODY ? gid : uid;
    return 0;
}

/* Root's gateway: the account `berth-gateway`, else the id below front's. Never front's, whose
 * files and processes it must not touch. */
static int choose_gateway(struct serve_plan *plan, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    if (plan->config.rootless)
        return 0;
    int r = io_read_file(AT_FDCWD, "/etc/passwd", 16 * FILE_MAX, &text, &length);
    if (r < 0 && r != -ENOENT)
        return err_set(err, ERR_UNAVAILABLE, -r, "look for the account of the gateway",
                       "/etc/passwd", NULL);
    uint32_t gid;
    uint32_t uid = serve_find_user(text ? text : "", "berth-gateway", &gid);
    if (uid == SERVE_NOBODY) {
        uid = GATEWAY_UID;
        if (text && uid_is_taken(text, uid))
            return err_set(err, ERR_UNAVAILABLE, 0, "choose an id for the gateway", NULL,
                           "Uid %u belongs to an account. Make an account named berth-gateway.",
                           uid);
    }
    if (uid == plan->config.front_uid)
        return err_set(err, ERR_INVALID_REQUEST, 0, "choose an id for the gateway", NULL,
                       "Uid %u is front's. Give front another one (\"front_uid\"), or make an "
                       "account named berth-gateway.",
                       uid);
    plan->gateway_uid = uid;
    return 0;
}

/* ---- all of it ---------------------------------------------------------------------------------
 */

static int complete(struct reader *r)
{
    struct serve_config *config = &r->plan->config;
    _cleanup_free_ char *text = NULL;
    size_t length;
    /* Contract: the group `berth` where it exists, else the owner alone. */
    if (r->root && !r->nobody && config->socket_gid == SERVE_NOBODY &&
        io_read_file(AT_FDCWD, "/etc/group", 16 * FILE_MAX, &text, &length) == 0)
        config->socket_gid = serve_find_group(text, "berth");
    if (buf_failed(&r->plan->ceiling))
        return err_raw(r->err, ERR_INTERNAL, ENOMEM, "read the configuration", r->name);
    config->ceiling_length = (uint32_t)r->plan->ceiling.length;
    int x = choose_front(config, r->err);
    return x < 0 ? x : choose_gateway(r->plan, r->err);
}

int serve_config_parse(const char *name, const char *text, size_t length, struct serve_plan *plan,
                       struct err *err)
{
    struct serve_config *config = &plan->config;
    config->version = SERVE_CONFIG_VERSION;
    config->size = sizeof *config;
    config->rootless = geteuid() != 0;
    config->front_uid = config->front_gid = config->socket_gid = SERVE_NOBODY;
    config->sessions_max = SESSIONS_DEFAULT;
    config->start_timeout_s = SERVE_START_TIMEOUT_S;
    struct reader reader = {.name = name, .plan = plan, .root = geteuid() == 0, .err = err};
    int r = text ? read_text(&reader, text, length) : 0;
    return r < 0 ? r : complete(&reader);
}

int serve_config_load(const char *path, struct serve_plan *plan, struct err *err)
{
    const char *name = path ? path : default_file;
    _cleanup_fd_ int fd = -1;
    if (path || geteuid() == 0)
        fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && !path && (geteuid() != 0 || errno == ENOENT))
        return serve_config_parse(name, NULL, 0, plan, err);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INVALID_REQUEST, errno, "open the configuration", name, NULL);
    if (!S_ISREG(st.st_mode) || (st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022))
        return err_set(err, ERR_FORBIDDEN, 0, "use the configuration", name,
                       "It must be a file of root's or your own that nobody else can write.");
    if (st.st_size > FILE_MAX)
        return err_set(err, ERR_TOO_LARGE, 0, "read the configuration", name,
                       "It may have 1 MiB at most.");
    size_t length = (size_t)st.st_size;
    _cleanup_free_ char *text = malloc(length + 1);
    ssize_t n = text ? io_read_full(fd, text, length) : -ENOMEM;
    if (n < 0)
        return err_set(err, ERR_INVALID_REQUEST, (int)-n, "read the configuration", name, NULL);
    text[n] = 0;
    return serve_config_parse(name, text, (size_t)n, plan, err);
}
