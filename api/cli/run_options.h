/* This file reads the options of `berth run` by a table; what they mean for a policy is told to
 * policy_set() by key, what only the command line knows is kept here. It looks at no file.
 */
#pragma once

#include "api/cli/cli.h"

#include <stdint.h>

enum run_tty { RUN_TTY_AUTO, RUN_TTY_ALWAYS, RUN_TTY_NEVER };
enum run_parent { RUN_PARENT_AUTO, RUN_PARENT_ALWAYS, RUN_PARENT_NEVER };

/* One value for policy_set(), in the order of the command line. */
struct run_setting {
    const char *key, *value;
    const char *flag; /* "--memory": the origin that explain and messages show */
};

struct run_mount {
    const char *text; /* PATH or PATH:TARGET */
    const char *flag;
    bool read_only;
};

struct run_options {
    const char *policy, *workspace, *workspace_at, *cwd, *result, *workspace_id;
    bool workspace_read_only, json, quiet;
    enum run_tty tty;
    enum run_parent parent;
    uint64_t idle_timeout_ms;
    struct run_setting *settings; /* owned; as many as there are words at most */
    struct run_mount *mounts;     /* owned */
    const char **env;             /* owned array, NULL-terminated; "K=V", or "K" to be looked up */
    const char **resolvers;       /* owned array; --resolver */
    const char *learn;            /* where --learn writes; NULL */
    size_t setting_count, mount_count, env_count, resolver_count;
    char **command; /* NULL-terminated, in argv */
};

enum run_options_outcome { RUN_OPTIONS_HELP = 1 };

/* `argv` must outlive the options. RUN_OPTIONS_HELP: asked for help. */
int run_options_parse(struct run_options *ret, int argc, char **argv, struct err *err);
void run_options_fini(struct run_options *options);

/* The same one by one, for `berth session create`: its part of the table, with room for arrays of
 * `argc` words, and each option as it comes. */
size_t run_options_of_session(struct cli_option *ret, size_t room);
/* Those of a session's network. */
size_t run_options_of_network(struct cli_option *ret, size_t room);
int run_options_init(struct run_options *options, int argc, struct err *err);
int run_options_take(struct run_options *options, const struct cli_option *option,
                     const char *value, struct err *err);
void run_options_help(struct buf *out);
