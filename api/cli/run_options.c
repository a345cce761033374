/* This file reads the options of `berth run`; it never looks at a file or at the host. */
#include "api/cli/run_options.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <stdio.h>
#include <string.h>

enum option_id {
    /* These are a policy's values: policy_values tells which. */
    OPT_IMAGE,
    OPT_NET,
    OPT_ALLOW,
    OPT_DENY,
    OPT_PUBLISH,
    OPT_MEMORY,
    OPT_CPUS,
    OPT_PIDS,
    OPT_OPEN_FILES,
    OPT_TIMEOUT,
    OPT_SCRATCH,
    OPT_USER,
    OPT_SECCOMP,
    OPT_REQUIRE,
    OPT_PROTECT,
    OPT_POLICY_KEYS,
    /* These are the command line's own. */
    OPT_POLICY,
    OPT_WORKSPACE,
    OPT_WORKSPACE_AT,
    OPT_READ_ONLY_WORKSPACE,
    OPT_WORKSPACE_ID,
    OPT_IDLE_TIMEOUT,
    OPT_ENV,
    OPT_RO,
    OPT_RW,
    OPT_CWD,
    OPT_TTY,
    OPT_PARENT,
    OPT_JSON,
    OPT_RESULT,
    OPT_RESOLVER,
    OPT_LEARN,
    OPT_EXPLAIN,
    OPT_QUIET,
    OPT_HELP,
};

/* The policy's key, and the origin that explain and messages show: static, because it is kept. */
static const struct {
    const char *key, *flag;
} policy_values[OPT_POLICY_KEYS] = {
    [OPT_IMAGE] = {"filesystem.image", "--image"},
    [OPT_NET] = {"network.egress", "--net"},
    [OPT_ALLOW] = {"network.allow", "--allow"},
    [OPT_DENY] = {"network.deny", "--deny"},
    [OPT_PUBLISH] = {"network.publish", "--publish"},
    [OPT_MEMORY] = {"limits.memory", "--memory"},
    [OPT_CPUS] = {"limits.cpus", "--cpus"},
    [OPT_PIDS] = {"limits.pids", "--pids"},
    [OPT_OPEN_FILES] = {"limits.open_files", "--open-files"},
    [OPT_TIMEOUT] = {"limits.exec_timeout", "--timeout"},
    [OPT_SCRATCH] = {"filesystem.scratch", "--scratch"},
    [OPT_USER] = {"process.user", "--user"},
    [OPT_SECCOMP] = {"process.seccomp", "--seccomp"},
    [OPT_REQUIRE] = {"requires", "--require"},
    [OPT_PROTECT] = {"filesystem.protect", "--protect"},
};

/* In the order of the help. */
static const struct cli_option table[] = {
    {"policy", "FILE|NAME", "Policy file or preset (locked-down, balanced, open).", OPT_POLICY,
     'p'},
    {"workspace", "WHERE", "DIR, volume:NAME, tmpfs[:SIZE] or none. Default: this directory.",
     OPT_WORKSPACE, 0},
    {"workspace-at", "PATH", "Where it is inside. Default: a directory's own path, /workspace.",
     OPT_WORKSPACE_AT, 0},
    {"read-only-workspace", NULL, "The command may read the workspace, not write it.",
     OPT_READ_ONLY_WORKSPACE, 0},
    {"ro", "PATH[:TARGET]", "Show one more host path inside, read-only. Repeatable.", OPT_RO, 0},
    {"rw", "PATH[:TARGET]", "The same, writable. Repeatable.", OPT_RW, 0},
    {"protect", "PATH", "A path in the workspace that stays as it is. Repeatable.", OPT_PROTECT, 0},
    {"image", "host|dir:PATH", "The root file system. Default: the host's /usr.", OPT_IMAGE, 0},
    {"net", "MODE", "deny, public-only or allow. Default: deny.", OPT_NET, 0},
    {"allow", "HOST[:PORT]", "One more host that may be reached. Repeatable.", OPT_ALLOW, 0},
    {"deny", "HOST[:PORT]", "One that may not, whatever allows it. Repeatable.", OPT_DENY, 0},
    {"publish", "[HOST:]PORT", "Lead 127.0.0.1:HOST here to PORT inside. Repeatable.", OPT_PUBLISH,
     0},
    {"resolver", "ADDRESS[:PORT]", "Ask this one for names, not the host's. Repeatable.",
     OPT_RESOLVER, 0},
    {"learn", "FILE", "Allow what is public, and write here the policy that sufficed.", OPT_LEARN,
     0},
    {"memory", "SIZE", "Memory of all processes together, e.g. 1GiB.", OPT_MEMORY, 0},
    {"cpus", "N", "Processor time, e.g. 1.5.", OPT_CPUS, 0},
    {"pids", "N", "Processes and threads at once.", OPT_PIDS, 0},
    {"open-files", "N", "Open files of each process.", OPT_OPEN_FILES, 0},
    {"scratch", "SIZE", "What may be written outside the workspace (/tmp, /home, ...).",
     OPT_SCRATCH, 0},
    {"timeout", "TIME", "End the command after this long, e.g. 10m.", OPT_TIMEOUT, 0},
    {"idle-timeout", "TIME", "End it when it printed nothing for so long.", OPT_IDLE_TIMEOUT, 0},
    {"env", "K[=V]", "Set a variable; K alone takes its value from here. Repeatable.", OPT_ENV,
     'e'},
    {"user", "NAME", "user (1000) or root (0) of the session.", OPT_USER, 'u'},
    {"cwd", "PATH", "Start in this directory inside. Default: the workspace.", OPT_CWD, 0},
    {"tty", "WHEN", "auto, always or never give the command a terminal.", OPT_TTY, 't'},
    {"seccomp", "PROFILE", "default, strict or debug.", OPT_SECCOMP, 0},
    {"explain", NULL, "Count refused system calls, and tell what would allow them.", OPT_EXPLAIN,
     0},
    {"require", "CAPABILITY", "Refuse to start without it (see berth capabilities). Repeatable.",
     OPT_REQUIRE, 0},
    {"die-with-parent", "WHEN", "auto, always or never end when the caller's process ends.",
     OPT_PARENT, 0},
    {"workspace-id", "ID", "Whose volumes. Default: local.", OPT_WORKSPACE_ID, 'w'},
    {"json", NULL, "Print the result record as the last line of stderr.", OPT_JSON, 0},
    {"result", "FILE", "Write the result record to this file.", OPT_RESULT, 0},
    {"quiet", NULL, "Say nothing but errors.", OPT_QUIET, 'q'},
    {"help", NULL, "Show this help.", OPT_HELP, 'h'},
};
enum { TABLE_COUNT = sizeof table / sizeof table[0] };

void run_options_help(struct buf *out)
{
    cli_option_help(
        out,
        "Examples: berth run -- make test\n"
        "          berth run --memory 1GiB --timeout 10m --workspace ./project -- npm test\n"
        "          berth run --allow github.com -- git fetch\n",
        "berth run [options] [--] COMMAND [words]",
        "Runs COMMAND in a sandbox that is made for it and gone after it. The current\n"
        "directory is its workspace: what it writes there stays, everything else is\n"
        "disposable. It sees no network, no home directory and no variable of yours.\n"
        "What was refused is told at the end, with the option that allows it.\n\n"
        "Exit status: the command's own; 124 timeout; 125 berth could not; 126 not\n"
        "executable; 127 not found; 130 cancelled; 137 out of memory; 128+N signal N.",
        table, TABLE_COUNT);
}

static int bad_value(const char *flag, const char *value, const char *allowed, struct err *err)
{
    return err_set(err, ERR_USAGE, 0, flag, value, "Allowed: %s.", allowed);
}

struct choice {
    const char *name;
    int value;
};

static int choose(const struct cli_option *option, const char *value,
                  const struct choice choices[3], int *ret, struct err *err)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(choices[i].name, value) == 0) {
            *ret = choices[i].value;
            return 0;
        }
    const char *near = cli_suggest(value, choices, 3, sizeof choices[0]);
    char flag[40];
    snprintf(flag, sizeof flag, "--%s", option->name);
    return err_set(err, ERR_USAGE, 0, flag, value, "%s%s%sAllowed: %s, %s, %s.",
                   near ? "Did you mean \"" : "", near ? near : "", near ? "\"? " : "",
                   choices[0].name, choices[1].name, choices[2].name);
}

static const struct choice tty_choices[3] = {
    {"auto", RUN_TTY_AUTO}, {"always", RUN_TTY_ALWAYS}, {"never", RUN_TTY_NEVER}};
static const struct choice parent_choices[3] = {
    {"auto", RUN_PARENT_AUTO}, {"always", RUN_PARENT_ALWAYS}, {"never", RUN_PARENT_NEVER}};

static int take_env(struct run_options *options, const char *value, struct err *err)
{
    if (value[0] == 0 || value[0] == '=')
        return bad_value("--env", value, "NAME=VALUE, or NAME to take the value from here", err);
    options->env[options->env_count++] = value;
    return 0;
}

static int take_absolute(const char **ret, const char *flag, const char *value, struct err *err)
{
    if (value[0] != '/')
        return bad_value(flag, value, "an absolute path, as seen inside", err);
    *ret = value;
    return 0;
}

/* The options that are the command line's own. */
static int take_own(struct run_options *options, const struct cli_option *option, const char *value,
                    struct err *err)
{
    int choice, r;
    switch (option->id) {
    case OPT_POLICY:
        options->policy = value;
        return 0;
    case OPT_WORKSPACE:
        options->workspace = value;
        return 0;
    case OPT_WORKSPACE_AT:
        return take_absolute(&options->workspace_at, "--workspace-at", value, err);
    case OPT_READ_ONLY_WORKSPACE:
        options->workspace_read_only = true;
        return 0;
    case OPT_WORKSPACE_ID:
        options->workspace_id = value;
        return 0;
    case OPT_IDLE_TIMEOUT:
        if (units_parse_duration(value, &options->idle_timeout_ms) < 0)
            return bad_value("--idle-timeout", value, "a time like 30s, 10m, 2h", err);
        return 0;
    case OPT_ENV:
        return take_env(options, value, err);
    case OPT_RO:
    case OPT_RW:
        options->mounts[options->mount_count++] =
            (struct run_mount){.text = value,
                               .flag = option->id == OPT_RO ? "--ro" : "--rw",
                               .read_only = option->id == OPT_RO};
        return 0;
    case OPT_CWD:
        return take_absolute(&options->cwd, "--cwd", value, err);
    case OPT_TTY:
        r = choose(option, value, tty_choices, &choice, err);
        if (r == 0)
            options->tty = (enum run_tty)choice;
        return r;
    case OPT_PARENT:
        r = choose(option, value, parent_choices, &choice, err);
        if (r == 0)
            options->parent = (enum run_parent)choice;
        return r;
    case OPT_JSON:
        options->json = true;
        return 0;
    case OPT_RESULT:
        options->result = value;
        return 0;
    case OPT_RESOLVER:
        options->resolvers[options->resolver_count++] = value;
        return 0;
    case OPT_LEARN:
        options->learn = value;
        return 0;
    case OPT_EXPLAIN:
        options->settings[options->setting_count++] = (struct run_setting){
            .key = "process.explain_syscalls", .value = "true", .flag = "--explain"};
        return 0;
    case OPT_QUIET:
        options->quiet = true;
        return 0;
    default:
        return err_set(err, ERR_INTERNAL, 0, "read the options", option->name,
                       "The option has no meaning: a defect of berth.");
    }
}

/* Each option takes a word at least, so arrays of `argc` entries are always enough. */
int run_options_init(struct run_options *options, int argc, struct err *err)
{
    *options = (struct run_options){.workspace_id = "local"};
    size_t count = (size_t)argc + 1;
    options->settings = calloc(count, sizeof *options->settings + sizeof *options->mounts +
                                          sizeof *options->env + sizeof *options->resolvers);
    if (!options->settings)
        return err_set(err, ERR_INTERNAL, 0, "read the options", NULL, "Out of memory.");
    options->mounts = (void *)(options->settings + count);
    options->env = (void *)(options->mounts + count);
    options->resolvers = (void *)(options->env + count);
    return 0;
}

int run_options_take(struct run_options *options, const struct cli_option *option,
                     const char *value, struct err *err)
{
    if (option->id >= OPT_POLICY_KEYS)
        return take_own(options, option, value, err);
    enum option_id id = (enum option_id)option->id;
    options->settings[options->setting_count++] = (struct run_setting){
        .key = policy_values[id].key, .value = value, .flag = policy_values[id].flag};
    return 0;
}

/* What only a command has is said when there is one; what every verb has is the verb's. */
size_t run_options_of_session(struct cli_option *ret, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < TABLE_COUNT; i++)
        switch (table[i].id) {
        case OPT_WORKSPACE_ID:
        case OPT_IDLE_TIMEOUT:
        case OPT_CWD:
        case OPT_TTY:
        case OPT_PARENT:
        case OPT_JSON:
        case OPT_RESULT:
        case OPT_RESOLVER:
        case OPT_LEARN:
        case OPT_QUIET:
        case OPT_HELP:
            break;
        default:
            if (count < room)
                ret[count++] = table[i];
        }
    for (size_t i = 0; i < count; i++)
        if (ret[i].id == OPT_WORKSPACE)
            ret[i].help = "DIR, volume:NAME or tmpfs[:SIZE]. Default: a volume of its own.";
        else if (ret[i].id == OPT_TIMEOUT)
            ret[i].help = "End each command after this long, e.g. 10m.";
    return count;
}

size_t run_options_of_network(struct cli_option *ret, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < TABLE_COUNT && count < room; i++)
        if (table[i].id == OPT_POLICY || table[i].id == OPT_NET || table[i].id == OPT_ALLOW ||
            table[i].id == OPT_DENY || table[i].id == OPT_PUBLISH)
            ret[count++] = table[i];
    for (size_t i = 0; i < count; i++)
        if (ret[i].id == OPT_POLICY)
            ret[i].help = "Take the network of this policy file or preset.";
    return count;
}

int run_options_parse(struct run_options *ret, int argc, char **argv, struct err *err)
{
    int r = run_options_init(ret, argc, err);
    if (r < 0)
        return r;
    struct cli_cursor cursor = {.argc = argc, .at = 1, .argv = argv};
    for (;;) {
        const struct cli_option *option;
        const char *value;
        r = cli_option_next(&cursor, table, TABLE_COUNT, &option, &value, err);
        if (r < 0)
            return r;
        if (r == CLI_OPTION_WORDS)
            break;
        if (option->id == OPT_HELP)
            return RUN_OPTIONS_HELP;
        r = run_options_take(ret, option, value, err);
        if (r < 0)
            return r;
    }
    ret->command = argv + cursor.at;
    if (cursor.at >= argc || ret->command[0][0] == 0)
        return err_set(err, ERR_USAGE, 0, "run", "no command",
                       "Write: berth run [options] -- COMMAND. `berth run --help` shows more.");
    return 0;
}

void run_options_fini(struct run_options *options)
{
    free(options->settings); /* the others are in the same block */
    options->settings = NULL;
    options->mounts = NULL;
    options->env = NULL;
    options->resolvers = NULL;
}
