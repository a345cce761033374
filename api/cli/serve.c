/* This file is `berth serve`: it reads the options, prepares everything that can fail before
 * anything is started, and becomes the supervisor. What it starts is in serve_children.c.
 *
 * The launcher is forked from a process that has read the operator's own files and nothing else.
 */
#include "api/cli/serve.h"

#include "api/cli/child.h"
#include "api/cli/cli.h"
#include "runtime/base/fd.h"
#include "runtime/base/title.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

enum {
    OPT_CONFIG,
    OPT_SOCKET,
    OPT_LISTEN,
    OPT_LOG_FORMAT,
    OPT_UNITS,
    OPT_ON_DEMAND,
    OPT_CHECK,
    OPT_SCHEMA,
    OPT_REFERENCE,
    OPT_HELP
};
static const struct cli_option table[] = {
    {"config", "FILE", "What an operator fixes. Default for root: /etc/berth/berth.jsonc.",
     OPT_CONFIG, 0},
    {"socket", "PATH", "Listen there. Default: berth.sock in the runtime directory.", OPT_SOCKET,
     0},
    {"listen", "ADDR:PORT", "Also over TCP, with tokens. Repeat it for more.", OPT_LISTEN, 0},
    {"log-format", "json|text", "How each line of the log is written. Default: json.",
     OPT_LOG_FORMAT, 0},
    {"units", "DIR", "Front and the gateway are units of a service manager, met there.", OPT_UNITS,
     0},
    {"on-demand", NULL, "End when no session is live and no client was there for 10 s.",
     OPT_ON_DEMAND, 0},
    {"check-config", NULL, "Read the configuration, say what it comes to, and start nothing.",
     OPT_CHECK, 0},
    {"config-schema", NULL, "Print the JSON Schema of the configuration.", OPT_SCHEMA, 0},
    {"config-reference", NULL, "Print its reference page.", OPT_REFERENCE, 0},
    {"help", NULL, "Show this help.", OPT_HELP, 'h'},
};
enum { TABLE_COUNT = sizeof table / sizeof table[0] };

static struct serve_plan the_plan;

static int parse(int argc, char **argv, struct serve_options *ret, struct err *err)
{
    struct cli_cursor cursor = {.argc = argc, .at = 1, .argv = argv};
    for (;;) {
        const struct cli_option *option;
        const char *value;
        int r = cli_option_next(&cursor, table, TABLE_COUNT, &option, &value, err);
        if (r < 0)
            return r;
        if (r == CLI_OPTION_WORDS)
            break;
        if (option->id == OPT_CONFIG)
            ret->config = value;
        else if (option->id == OPT_SOCKET)
            ret->socket = value;
        else if (option->id == OPT_LOG_FORMAT) {
            ret->log_format = strcmp(value, "text") == 0 ? "text" : "json";
            if (strcmp(value, ret->log_format) != 0)
                return err_set(err, ERR_USAGE, 0, "--log-format", value, "It is json or text.");
        } else if (option->id == OPT_LISTEN) {
            if (ret->listen_count == SERVE_TCP_MAX)
                return err_set(err, ERR_USAGE, 0, "too many addresses", "--listen",
                               "At most %d are allowed.", SERVE_TCP_MAX);
            ret->listen[ret->listen_count++] = value;
        } else if (option->id == OPT_UNITS)
            ret->units = value;
        else if (option->id == OPT_ON_DEMAND)
            ret->on_demand = true;
        else if (option->id == OPT_CHECK)
            ret->check = true;
        else if (option->id == OPT_SCHEMA)
            ret->schema = true;
        else if (option->id == OPT_REFERENCE)
            ret->reference = true;
        else
            ret->help = true;
    }
    if (cursor.at < argc)
        return err_set(err, ERR_USAGE, 0, "unexpected word", argv[cursor.at],
                       "`berth serve` takes options only; --help lists them.");
    return 0;
}

static int help(void)
{
    _cleanup_buf_ struct buf out = {0};
    cli_option_help(
        &out, "Example:  berth serve --config /etc/berth/berth.jsonc", "berth serve [options]",
        "Serves sessions that last, over a unix socket, until SIGTERM. Sessions go on\n"
        "without it; the next `berth serve` finds them again. As root it serves the\n"
        "system, as anybody else that user alone. SIGHUP reads its configuration again.\n\n"
        "Exit status: 0 it was ended in order; 125 it could not start.",
        table, TABLE_COUNT);
    return cli_print(STDOUT_FILENO, &out);
}

int serve_absolute(const char *option, const char *given, char ret[SPEC_PATH_MAX], struct err *err)
{
    char here[PATH_MAX];
    int n;
    if (!given[0])
        return err_set(err, ERR_USAGE, 0, "option needs a value", option, NULL);
    if (given[0] == '/')
        n = snprintf(ret, SPEC_PATH_MAX, "%s", given);
    else if (getcwd(here, sizeof here))
        n = snprintf(ret, SPEC_PATH_MAX, "%s/%s", here, given);
    else
        return err_set(err, ERR_UNAVAILABLE, errno, "find the current directory", NULL, NULL);
    return n > 0 && n < SPEC_PATH_MAX
               ? 0
               : err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, option, given, NULL);
}

static int print_about(const struct serve_options *options)
{
    _cleanup_buf_ struct buf out = {0};
    if (options->schema)
        serve_config_schema(&out);
    else
        serve_config_reference(&out);
    return cli_print(STDOUT_FILENO, &out);
}

static int check_config(const struct serve_options *options)
{
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    if (serve_config_all(options, &the_plan, &err) < 0)
        return cli_fail(&err);
    const char *path = options->config_path;
    buf_printf(&out, "%s%s In force would be:\n", path[0] ? path : "There is no file.",
               the_plan.file_read ? " is right."
               : path[0]          ? " is not there."
                                  : "");
    serve_config_show(&the_plan, &out);
    buf_fini(&the_plan.ceiling);
    return cli_print(STDOUT_FILENO, &out);
}

/* The name of the process goes over what they point to, and its directory is / later; but a reload
 * needs them. They live as long as the process. */
static int keep_options(struct serve_options *options, struct err *err)
{
    static char socket_path[SPEC_PATH_MAX];
    int r = options->socket ? serve_absolute("--socket", options->socket, socket_path, err) : 0;
    if (r == 0 && options->socket)
        options->socket = socket_path;
    static char units_path[SPEC_PATH_MAX];
    if (r == 0 && options->units)
        r = geteuid() == 0
                ? serve_absolute("--units", options->units, units_path, err)
                : err_set(err, ERR_USAGE, 0, "--units", options->units,
                          "Units have users of their own: it is for root's berth. Without it front "
                          "and the gateway are children.");
    if (r == 0 && options->units)
        options->units = units_path;
    if (options->config)
        options->config = options->config_path;
    for (unsigned i = 0; r == 0 && i < options->listen_count; i++) {
        options->listen[i] = strdup(options->listen[i]);
        if (!options->listen[i])
            r = err_set(err, ERR_INTERNAL, ENOMEM, "read the options", NULL, NULL);
    }
    return r;
}

static int prepare(const struct serve_options *options, struct serve_place *ret_place,
                   struct serve_launch *ret, struct err *err)
{
    int r = serve_config_all(options, &the_plan, err);
    if (r == 0 && the_plan.log_said)
        cli_log_begin("supervisor", the_plan.config.log_text);
    ret->units = options->units;
    if (r == 0 && !ret->units)
        r = serve_find_front(&ret->program, err);
    if (r == 0)
        r = serve_place_open(ret_place, &the_plan, err);
    if (r < 0)
        return r;
    /* Without one berth serves on, and says of each network that it cannot be had (CAP-1). */
    struct err no_gateway;
    ret->carries = serve_try_gateway(&the_plan, ret->units, &ret->gateway, &no_gateway) == 0;
    if (!ret->carries)
        (void)cli_fail(&no_gateway);
    r = serve_status_open(&ret->counted, &ret->status, err);
    if (r == 0)
        r = serve_probe(&the_plan.config, ret->carries ? NULL : &no_gateway, &ret->capabilities,
                        err);
    if (r < 0)
        return r;
    ret->config = child_sealed("berth-config", &the_plan.config, sizeof the_plan.config,
                               buf_text(&the_plan.ceiling), the_plan.ceiling.length);
    if (ret->config < 0)
        return err_set(err, ERR_INTERNAL, -ret->config, "keep the configuration", NULL, NULL);
    ret->plan = &the_plan;
    ret->place = ret_place;
    return chdir("/") < 0 ? err_set(err, ERR_INTERNAL, errno, "go to", "/", NULL) : 0;
}

/* The limit, not "sessions_max", would be what refuses sessions. */
static void tell_room(const struct serve_config *config)
{
    struct rlimit files;
    char text[256];
    unsigned room =
        getrlimit(RLIMIT_NOFILE, &files) < 0 ? UINT_MAX : launcher_room_for(files.rlim_cur);
    if (room >= config->sessions_max)
        return;
    snprintf(text, sizeof text,
             "with %llu open files (LimitNOFILE, ulimit -Hn) there is room for %u live sessions, "
             "not for %u (\"sessions_max\"): further ones are refused.",
             (unsigned long long)files.rlim_cur, room, config->sessions_max);
    cli_log("warning", "files", text);
}

int cli_serve(int argc, char **argv)
{
    struct serve_options options = {0};
    struct err err;
    if (parse(argc, argv, &options, &err) < 0)
        return cli_fail(&err);
    if (options.help)
        return help();
    if (options.log_format && !options.check)
        cli_log_begin("supervisor", strcmp(options.log_format, "text") == 0);
    if (options.schema || options.reference)
        return print_about(&options);
    if (serve_config_path(&options, options.config_path, &err) < 0)
        return cli_fail(&err);
    if (options.check)
        return check_config(&options);
    struct serve_place place = {.state_lock = -1, .runtime_lock = -1, .listen = -1};
    struct serve_launch launch = {
        .program = -1, .gateway = -1, .config = -1, .capabilities = -1, .status = -1};
    child_raise_files();
    serve_kept_init(&launch.kept);
    int status, r = keep_options(&options, &err);
    if (r == 0)
        r = prepare(&options, &place, &launch, &err);
    if (r < 0) {
        status = cli_fail(&err);
        /* Whoever asked for one has it: the other's. */
        if (r == -EALREADY && options.on_demand)
            status = 0;
    } else {
        /* Read before the name of the process goes over it; children get none of it. */
        const char *given = getenv("NOTIFY_SOCKET");
        _cleanup_free_ char *notify = given ? strdup(given) : NULL;
        clearenv();
        title_init();
        title_set("berth: supervisor");
        cli_log_begin("supervisor", the_plan.config.log_text);
        tell_room(&the_plan.config);
        status = serve_supervise(&launch, &options, notify);
    }
    serve_place_close(&place);
    fd_close(launch.program);
    fd_close(launch.gateway);
    fd_close(launch.config);
    fd_close(launch.capabilities);
    fd_close(launch.status);
    serve_kept_fini(&launch.kept);
    buf_fini(&the_plan.ceiling);
    return status;
}
