/* This file reads the configuration of `berth serve`; it never falls back to a default because of a
 * mistake in it.
 */
#include "api/cli/serve_keys.h"

#include "api/cli/gateway_child.h"
#include "policy/json.h"
#include "policy/policy.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/cli/cli.h"

enum { FILE_MAX = 1 << 20, SESSIONS_DEFAULT = 1000 };

static int read_member(struct serve_reader *r, const struct json_node *member)
{
    for (unsigned i = 0; i < SERVE_KEY_COUNT; i++)
        if (strcmp(serve_keys[i].name, member->key) == 0)
            return serve_keys[i].read(r, member);
    const char *near = cli_suggest(member->key, serve_keys, SERVE_KEY_COUNT, sizeof serve_keys[0]);
    return serve_refuse(r, member, "There is no such key.%s%s%s", near ? " Did you mean \"" : "",
                        near ? near : "", near ? "\"?" : "");
}

static int read_text(struct serve_reader *r, const char *text, size_t length)
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
        return serve_refuse(r, root, "It must be an object, {\"sessions_max\": 1000}.");
    for (const struct json_node *member = root->first; member && x == 0; member = member->next)
        x = read_member(r, member);
    if (x == 0 && r->beyond && !r->plan->beyond_loopback)
        x = serve_refuse(
            r, r->beyond,
            "It is reached from beyond this host, in plain HTTP. Use 127.0.0.1 and let TLS end "
            "in front of it, or say \"listen_beyond_loopback\": true.");
    return x;
}

int serve_config_listen(const char *text, struct serve_plan *plan, struct err *err)
{
    static const char step[] = "listen on";
    struct serve_config *config = &plan->config;
    if (config->tcp_count == SERVE_TCP_MAX)
        return err_set(err, ERR_USAGE, 0, step, text, "At most %d addresses are allowed.",
                       SERVE_TCP_MAX);
    struct serve_address *address = &plan->addresses[config->tcp_count];
    if (serve_address_parse(text, address) < 0)
        return err_set(err, ERR_USAGE, 0, step, text, "%s", serve_address_rule);
    if (!address->loopback && !plan->beyond_loopback)
        return err_set(
            err, ERR_USAGE, 0, step, text,
            "It is reached from beyond this host, in plain HTTP. Use 127.0.0.1 and let TLS "
            "end in front of it, or have the configuration say "
            "\"listen_beyond_loopback\": true.");
    config->tcp_count++;
    return 0;
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

static int complete(struct serve_reader *r)
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
    config->audit_rows_max = SERVE_AUDIT_ROWS;
    config->audit_workspace_rows_max = SERVE_AUDIT_WORKSPACE_ROWS;
    struct serve_reader reader = {.name = name, .plan = plan, .root = geteuid() == 0, .err = err};
    int r = text ? read_text(&reader, text, length) : 0;
    return r < 0 ? r : complete(&reader);
}

int serve_config_path(const struct serve_options *options, char ret[SPEC_PATH_MAX], struct err *err)
{
    const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (options->config)
        return serve_absolute("--config", options->config, ret, err);
    ret[0] = 0;
    int n = 0;
    if (geteuid() == 0)
        n = snprintf(ret, SPEC_PATH_MAX, "/etc/berth/berth.jsonc");
    else if (base && base[0] == '/')
        n = snprintf(ret, SPEC_PATH_MAX, "%s/berth/berth.jsonc", base);
    else if (home && home[0] == '/')
        n = snprintf(ret, SPEC_PATH_MAX, "%s/.config/berth/berth.jsonc", home);
    return n < SPEC_PATH_MAX ? 0
                             : err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG,
                                       "find the configuration", base ? base : home, NULL);
}

int serve_config_load(const char *name, bool required, struct serve_plan *plan, struct err *err)
{
    _cleanup_fd_ int fd = -1;
    if (name[0])
        fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && !required && (!name[0] || errno == ENOENT))
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
    plan->file_read = true;
    return serve_config_parse(name, text, (size_t)n, plan, err);
}

int serve_config_all(const struct serve_options *options, struct serve_plan *plan, struct err *err)
{
    static const char old_file[] = "/etc/berth/serve.jsonc";
    plan->config.on_demand = options->on_demand;
    int r = serve_config_load(options->config_path, options->config != NULL, plan, err);
    /* What an operator has fixed there must not be passed over. */
    if (r == 0 && !plan->file_read && geteuid() == 0 && access(old_file, F_OK) == 0)
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the configuration", old_file,
                       "It is called /etc/berth/berth.jsonc now. Move it there.");
    if (r == 0 && options->socket)
        r = serve_absolute("--socket", options->socket, plan->socket, err);
    if (options->log_format) {
        plan->config.log_text = strcmp(options->log_format, "text") == 0;
        plan->log_said = true;
    }
    for (unsigned i = 0; r == 0 && i < options->listen_count; i++)
        r = serve_config_listen(options->listen[i], plan, err);
    plan->config.read_ms = plan->file_read ? serve_clock_ms() : 0;
    return r;
}
