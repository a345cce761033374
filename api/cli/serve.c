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

enum { OPT_CONFIG, OPT_SOCKET, OPT_LISTEN, OPT_ON_DEMAND, OPT_HELP };
static const struct cli_option table[] = {
    {"config", "FILE", "What an operator fixes. Default for root: /etc/berth/serve.jsonc.",
     OPT_CONFIG, 0},
    {"socket", "PATH", "Listen there. Default: berth.sock in the runtime directory.", OPT_SOCKET,
     0},
    {"listen", "ADDR:PORT", "Also over TCP, with tokens. Repeat it for more.", OPT_LISTEN, 0},
    {"on-demand", NULL, "End when no session is live and no client was there for 10 s.",
     OPT_ON_DEMAND, 0},
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
        else if (option->id == OPT_LISTEN) {
            if (ret->listen_count == SERVE_TCP_MAX)
                return err_set(err, ERR_USAGE, 0, "too many addresses", "--listen",
                               "At most %d are allowed.", SERVE_TCP_MAX);
            ret->listen[ret->listen_count++] = value;
        } else if (option->id == OPT_ON_DEMAND)
            ret->on_demand = true;
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
    cli_option_help(&out, "Example:  berth serve --config /etc/berth/serve.jsonc",
                    "berth serve [options]",
                    "Serves sessions that last, over a unix socket, until SIGTERM. Sessions go on\n"
                    "without it; the next `berth serve` finds them again. As root it serves the\n"
                    "system, as anybody else that user alone.\n\n"
                    "Exit status: 0 it was ended in order; 125 it could not start.",
                    table, TABLE_COUNT);
    return cli_print(STDOUT_FILENO, &out);
}

/* Absolute: the supervisor's directory is / later. */
static int resolve_socket(const char *given, char *ret_path, size_t size, struct err *err)
{
    char here[PATH_MAX];
    int n;
    if (!given[0])
        return err_set(err, ERR_USAGE, 0, "option needs a value", "--socket", NULL);
    if (given[0] == '/')
        n = snprintf(ret_path, size, "%s", given);
    else if (getcwd(here, sizeof here))
        n = snprintf(ret_path, size, "%s/%s", here, given);
    else
        return err_set(err, ERR_UNAVAILABLE, errno, "find the current directory", NULL, NULL);
    return n > 0 && (size_t)n < size
               ? 0
               : err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "listen on", given, NULL);
}

static int prepare(const struct serve_options *options, struct serve_place *ret_place,
                   struct serve_launch *ret, struct err *err)
{
    the_plan.config.on_demand = options->on_demand;
    int r = serve_config_load(options->config, &the_plan, err);
    if (r == 0 && options->socket)
        r = resolve_socket(options->socket, the_plan.socket, sizeof the_plan.socket, err);
    for (unsigned i = 0; r == 0 && i < options->listen_count; i++)
        r = serve_config_listen(options->listen[i], &the_plan, err);
    if (r == 0)
        r = serve_find_front(&ret->program, err);
    if (r == 0)
        r = serve_place_open(ret_place, &the_plan, err);
    if (r < 0)
        return r;
    /* Without one berth serves on, and says of each network that it cannot be had (CAP-1). */
    struct err no_gateway;
    bool carries = serve_try_gateway(&the_plan, &ret->gateway, &no_gateway) == 0;
    if (!carries)
        (void)cli_fail(&no_gateway);
    r = serve_probe(&the_plan.config, carries ? NULL : &no_gateway, &ret->capabilities, err);
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

int cli_serve(int argc, char **argv)
{
    struct serve_options options = {0};
    struct err err;
    if (parse(argc, argv, &options, &err) < 0)
        return cli_fail(&err);
    if (options.help)
        return help();
    struct serve_place place = {.state_lock = -1, .runtime_lock = -1, .listen = -1};
    struct serve_launch launch = {.program = -1, .gateway = -1, .config = -1, .capabilities = -1};
    int status;
    if (prepare(&options, &place, &launch, &err) < 0) {
        status = cli_fail(&err);
    } else {
        /* Read before the name of the process goes over it; children get none of it. */
        const char *given = getenv("NOTIFY_SOCKET");
        _cleanup_free_ char *notify = given ? strdup(given) : NULL;
        clearenv();
        title_init();
        title_set("berth: supervisor");
        status = serve_supervise(&launch, notify);
    }
    serve_place_close(&place);
    fd_close(launch.program);
    fd_close(launch.gateway);
    fd_close(launch.config);
    fd_close(launch.capabilities);
    buf_fini(&the_plan.ceiling);
    return status;
}
