/* This file finds the verb that the command line asks for and calls it; it never does a verb's
 * work. */
#include "api/cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct verb {
    const char *name; /* first: cli_suggest() reads it */
    int (*run)(int argc, char **argv);
    const char *help, *example;
    bool globals_last; /* its own words come first: global options go behind them */
};

static const struct verb verbs[] = {
    {"run", cli_run, "Run a command in a sandbox of its own.", "berth run -- make test", false},
    {"session", cli_session, "Make, park, resume and destroy sessions that last.",
     "berth session create build --workspace .", true},
    {"exec", cli_exec, "Run a command in a session.", "berth exec build -- make -j2", false},
    {"shell", cli_shell, "Open a shell in a session.", "berth shell build", false},
    {"ps", cli_ps, "List the commands of a session.", "berth ps build", false},
    {"logs", cli_logs, "Print what a command has printed.", "berth logs build e1 --follow", false},
    {"cp", cli_cp, "Copy files into and out of a session.", "berth cp build:dist ./dist", false},
    {"events", cli_events, "Say what happened to a session.", "berth events build --follow", false},
    {"usage", cli_usage, "Say what sessions have used.", "berth usage", false},
    {"port", cli_port, "Publish ports of sessions on the host, and close them again.",
     "berth port add build 3000", true},
    {"volume", cli_volume, "Make, list and remove volumes.", "berth volume list", true},
    {"token", cli_token, "Let callers over a network in, and out again.", "berth token list", true},
    {"ledger", cli_ledger, "Copy what a berth knows, and bring it back.",
     "berth ledger backup berth.ledger", true},
    {"reap", cli_reap, "Destroy the sessions of an owner.", "berth reap --owner ci --dry-run",
     false},
    {"policy", cli_policy, "Check, explain and show policies.", "berth policy explain balanced",
     true},
    {"capabilities", cli_capabilities, "Say what berth can guarantee here.",
     "berth capabilities --json", false},
    {"doctor", cli_doctor, "Try everything once, and say what to do about what fails.",
     "berth doctor", false},
    {"serve", cli_serve, "Serve sessions that last.", "berth serve", false},
    {"openapi", cli_openapi, "Describe the HTTP interface to programs.", "berth openapi", false},
    {"help", cli_help, "Show the help of a command.", "berth help run", false},
};
enum { VERB_COUNT = sizeof verbs / sizeof verbs[0] };

enum { GLOBAL_HELP, GLOBAL_VERSION, GLOBAL_JSON, GLOBAL_QUIET, GLOBAL_WORKSPACE_ID, GLOBAL_HOST };
static const struct cli_option globals[] = {
    {"help", NULL, "Show this help, or that of the command.", GLOBAL_HELP, 'h'},
    {"version", NULL, "Show berth's version.", GLOBAL_VERSION, 0},
    {"json", NULL, "Answer with one JSON document.", GLOBAL_JSON, 0},
    {"quiet", NULL, "Say nothing but errors.", GLOBAL_QUIET, 'q'},
    {"workspace-id", "ID", "Whose sessions and volumes. Default: local.", GLOBAL_WORKSPACE_ID, 'w'},
    {"host", "unix:PATH", "Which berth serve. Default: BERTH_HOST.", GLOBAL_HOST, 0},
};
enum { GLOBAL_COUNT = sizeof globals / sizeof globals[0] };

static int print_help(int fd)
{
    _cleanup_buf_ struct buf out = {0};
    buf_puts(&out, "Example:  berth run --memory 1GiB --timeout 10m -- make test\n\n"
                   "Usage:    berth [options] COMMAND [options] [words]\n\n"
                   "berth runs untrusted code in a sandbox of Linux namespaces.\n\nCommands:\n");
    for (size_t i = 0; i < VERB_COUNT; i++)
        buf_printf(&out, "  %-14s %s\n                 e.g. %s\n", verbs[i].name, verbs[i].help,
                   verbs[i].example);
    buf_puts(&out, "\nOptions, before or after the command:\n");
    for (size_t i = 0; i < GLOBAL_COUNT; i++)
        buf_printf(&out, "  --%-12s %s\n", globals[i].name, globals[i].help);
    buf_puts(&out, "\n`berth COMMAND --help` shows the options of a command.\n");
    return cli_print(fd, &out);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < VERB_COUNT; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static int unknown_verb(const char *name)
{
    struct err err;
    const char *near = strcmp(name, "version") == 0
                           ? "--version"
                           : cli_suggest(name, verbs, VERB_COUNT, sizeof verbs[0]);
    err_set(&err, ERR_USAGE, 0, "unknown command", name, "%s%s%s`berth --help` lists the commands.",
            near ? "Did you mean \"" : "", near ? near : "", near ? "\"? " : "");
    return cli_fail(&err);
}

int cli_help(int argc, char **argv)
{
    if (argc < 2 || argv[1][0] == '-')
        return print_help(STDOUT_FILENO);
    const struct verb *verb = find_verb(argv[1]);
    if (!verb)
        return unknown_verb(argv[1]);
    if (verb->run == cli_help)
        return print_help(STDOUT_FILENO);
    char help[] = "--help";
    char *words[] = {argv[1], help, NULL, NULL};
    bool of_verb = verb->globals_last && argc > 2; /* `berth help session create` */
    words[1] = of_verb ? argv[2] : help;
    words[2] = of_verb ? help : NULL;
    return verb->run(of_verb ? 3 : 2, words);
}

/* Call the verb with the global options that stood before it moved behind its name, where its own
 * table reads them. */
static int call(const struct verb *verb, int argc, char **argv, int at)
{
    if (at == 1)
        return verb->run(argc - 1, argv + 1);
    size_t count = (size_t)argc;
    char **words = calloc(count + 1, sizeof *words);
    if (!words) {
        struct err err;
        err_set(&err, ERR_INTERNAL, 0, "read the command line", NULL, "Out of memory.");
        return cli_fail(&err);
    }
    int n = 0;
    words[n++] = argv[at];
    for (int i = at + 1; verb->globals_last && i < argc; i++)
        words[n++] = argv[i];
    for (int i = 1; i < at; i++)
        words[n++] = argv[i];
    for (int i = at + 1; !verb->globals_last && i < argc; i++)
        words[n++] = argv[i];
    int status = verb->run(n, words);
    free(words);
    return status;
}

int cli_main(int argc, char **argv)
{
    struct cli_cursor cursor = {.argc = argc, .at = 1, .argv = argv};
    bool help = false;
    for (;;) {
        const struct cli_option *option;
        const char *value;
        struct err err;
        int r = cli_option_next(&cursor, globals, GLOBAL_COUNT, &option, &value, &err);
        if (r < 0)
            return cli_fail(&err);
        if (r == CLI_OPTION_WORDS)
            break;
        if (option->id == GLOBAL_VERSION) {
            _cleanup_buf_ struct buf out = {0};
            buf_puts(&out, "berth " BERTH_VERSION "\n");
            return cli_print(STDOUT_FILENO, &out);
        }
        help |= option->id == GLOBAL_HELP;
    }
    if (cursor.at >= argc) {
        if (help)
            return print_help(STDOUT_FILENO);
        print_help(STDERR_FILENO);
        return CLI_EXIT_BERTH;
    }
    const struct verb *verb = find_verb(argv[cursor.at]);
    if (!verb)
        return unknown_verb(argv[cursor.at]);
    return call(verb, argc, argv, cursor.at);
}
