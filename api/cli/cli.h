/* This file is what the verbs of the command line share: their entry points, exit statuses, how
 * options are read and how an error is told. Verbs print and return an exit status; nothing here
 * calls exit().
 *
 * A verb is one row of the table in dispatch.c. Its function gets argv[0] = the verb and options
 * after it; global options that stood before the verb have been moved behind it.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Exit statuses of contract §12. Everything else is the command's own. */
enum cli_exit {
    CLI_EXIT_OK = 0,
    CLI_EXIT_NO = 1, /* doctor, policy check: the answer is no */
    CLI_EXIT_TIMEOUT = 124,
    CLI_EXIT_BERTH = 125, /* berth could not; stderr begins with "berth: " */
    CLI_EXIT_NOT_EXECUTABLE = 126,
    CLI_EXIT_NOT_FOUND = 127,
    CLI_EXIT_SIGNAL = 128, /* plus the signal's number */
    CLI_EXIT_CANCELLED = 130,
    CLI_EXIT_KILLED = 137, /* oom, output_limit */
};

int cli_main(int argc, char **argv);

int cli_run(int argc, char **argv);
int cli_policy(int argc, char **argv); /* policy_cmd.c */
int cli_capabilities(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_serve(int argc, char **argv); /* serve.c */
int cli_help(int argc, char **argv);

/* Over a `berth serve`: verb.h. */
int cli_session(int argc, char **argv); /* session_cmd.c */
int cli_exec(int argc, char **argv);    /* exec_cmd.c, and shell */
int cli_shell(int argc, char **argv);
int cli_ps(int argc, char **argv); /* exec_show_cmd.c, and logs */
int cli_logs(int argc, char **argv);
int cli_cp(int argc, char **argv);
int cli_events(int argc, char **argv); /* events_cmd.c, and usage */
int cli_usage(int argc, char **argv);
int cli_volume(int argc, char **argv);
int cli_port(int argc, char **argv);
int cli_token(int argc, char **argv);
int cli_ledger(int argc, char **argv);
int cli_reap(int argc, char **argv);
int cli_openapi(int argc, char **argv); /* openapi_cmd.c */

/* ---- options ----------------------------------------------------------------------------------
 */

struct cli_option {
    const char *name;     /* without "--" */
    const char *argument; /* "SIZE", shown in help; NULL: the option takes none */
    const char *help;     /* one line */
    int id;               /* the verb's own number */
    char letter;          /* 0: none */
};

struct cli_cursor {
    int argc, at; /* `at`: the next word */
    char **argv;
};

enum cli_option_outcome { CLI_OPTION_WORDS = 1 };

/* The next option of `table`, "--name value", "--name=value" or "-l value". CLI_OPTION_WORDS when
 * the words begin: at the first that is no option, or behind "--". ERR_USAGE names a near miss. */
int cli_option_next(struct cli_cursor *cursor, const struct cli_option *table, size_t count,
                    const struct cli_option **ret_option, const char **ret_value, struct err *err);

/* The help of a verb: an example first, then usage, then the options of `table`. */
void cli_option_help(struct buf *out, const char *example, const char *usage, const char *text,
                     const struct cli_option *table, size_t count);

/* The nearest of `count` names at `stride` bytes from each other (each the first member of its
 * row), when it is near enough to be meant; else NULL. */
const char *cli_suggest(const char *word, const void *names, size_t count, size_t stride);

/* ---- telling ----------------------------------------------------------------------------------
 */

/* `berth serve` alone says things in lines of a log (runtime/base/log_line.h): from then on
 * cli_fail() does too. `role`: which of its processes this one is. */
void cli_log_begin(const char *role, bool text);
/* "" level and event go into lines that are JSON; before cli_log_begin() `detail` is told as it is.
 */
void cli_log(const char *level, const char *event, const char *detail);

/* "berth: CODE: message" on stderr; returns CLI_EXIT_BERTH. */
int cli_fail(const struct err *err);

/* As cli_fail(), and with `json` the problem document of contract §10 as stderr's last line. */
int cli_fail_json(const struct err *err, bool json);

/* {"type":…,"title":…,"status":…,"code":…,"detail":…}; `members` (NULL: none) are more of them,
 * `"key":value` text. */
void cli_problem(struct buf *out, const struct err *err, const char *members);

/* Write the buffer to `fd`; CLI_EXIT_OK, or CLI_EXIT_BERTH after telling. */
/* Whether a note is said where nobody asked: a default path whose parent is not there is not. */
bool cli_note_matters(const char *key);
int cli_print(int fd, const struct buf *text);

/* Give 0, 1 and 2 a /dev/null where they are closed, so that nothing that berth opens can land
 * there. First thing in main(). */
void cli_stdio_guard(void);
