/* This file is `berth ps` and `berth logs`: which commands a session has, and what they have
 * printed; it never changes anything. */
#include "api/cli/exec.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>

/* ---- ps -------------------------------------------------------------------------------------- */

enum { OPT_STATE, OPT_AFTER, OPT_FOLLOW, OPT_FROM };

static const struct cli_option ps_options[] = {
    {"state", "STATE", "Only those that are running, or ended.", OPT_STATE, 0},
    {"after", "EXEC", "With --json: the page behind this one.", OPT_AFTER, 0},
};

static const struct verb_spec ps_spec = {
    .name = "ps",
    .example = "Example:  berth ps build\n",
    .usage = "berth ps SESSION [options]",
    .text = "Lists the commands of a session: those that run, and those that have ended and\n"
            "whose output is kept.",
    .options = ps_options,
    .option_count = ARRAY_LENGTH(ps_options),
    .words_min = 1,
    .words_max = 1,
    .ids = 1,
};

struct ps {
    const char *state, *after;
};

static int take_ps(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct ps *ps = own;
    if (option->id == OPT_STATE) {
        ps->state = value;
        return strcmp(value, "running") != 0 && strcmp(value, "ended") != 0
                   ? err_set(err, ERR_USAGE, 0, "--state", value, "Allowed: running, ended.")
                   : 0;
    }
    ps->after = value;
    return verb_check_id("--after", value, err);
}

/* "exit 0", "signal 9", "timeout", "running". */
static void add_how(struct table *table, const struct json_node *exec)
{
    _cleanup_buf_ struct buf how = {0};
    const char *reason = verb_text(exec, "reason");
    buf_puts(&how, reason[0] ? reason : verb_text(exec, "state"));
    const char *number = strcmp(reason, "exit") == 0     ? "exit_code"
                         : strcmp(reason, "signal") == 0 ? "signal"
                                                         : NULL;
    if (number) {
        buf_putc(&how, ' ');
        verb_value(&how, exec, number);
    }
    table_text(table, buf_text(&how));
}

static void add_exec(struct table *table, const struct json_node *exec)
{
    _cleanup_buf_ struct buf time = {0}, cpu = {0}, bytes = {0};
    uint64_t number;
    const char *started = verb_text(exec, "started_at");
    table_time(&time, started[0] ? started : verb_text(exec, "accepted_at"));
    if (verb_number(exec, "cpu_ms", &number))
        buf_printf(&cpu, "%" PRIu64 ".%03us", number / 1000, (unsigned)(number % 1000));
    verb_value(&bytes, exec, "output_bytes");
    table_text(table, verb_text(exec, "exec_id"));
    add_how(table, exec);
    table_text(table, buf_text(&time));
    table_text(table, buf_text(&cpu));
    table_text(table, buf_text(&bytes));
    table_text(table, verb_text(exec, "command"));
}

static int ps_one(struct verb *verb, void *data, const struct json_node *exec)
{
    (void)verb;
    add_exec(data, exec);
    return 0;
}

int cli_ps(int argc, char **argv)
{
    static const char *const heads[] = {"EXEC",    "ENDED BY", "STARTED (UTC)", ">CPU", ">OUTPUT",
                                        "COMMAND", NULL};
    struct ps ps = {0};
    _cleanup_verb_ struct verb verb;
    _cleanup_table_ struct table table;
    _cleanup_buf_ struct buf out = {0}, path = {0};
    int status;
    table_init(&table, heads);
    if (!verb_begin(&verb, &ps_spec, argc, argv, take_ps, &ps, &status))
        return status;
    verb_session_path(&verb, "/execs", &path);
    if (ps.state)
        client_query(&path, "state", ps.state);
    const struct verb_pages pages = {.member = "execs",
                                     .after = ps.after,
                                     .as_it_is = verb.json,
                                     .each = ps_one,
                                     .data = &table};
    status = verb_pages(&verb, buf_text(&path), &pages);
    if (status || verb.json)
        return status;
    table_print(&table, &out);
    return cli_print(STDOUT_FILENO, &out);
}

/* ---- logs ------------------------------------------------------------------------------------ */

static const struct cli_option logs_options[] = {
    {"follow", NULL, "Go on until the command has ended.", OPT_FOLLOW, 'f'},
    {"from", "SEQ", "Begin with this frame. --json shows their numbers.", OPT_FROM, 0},
};

static const struct verb_spec logs_spec = {
    .name = "logs",
    .example = "Examples: berth logs build e1\n"
               "          berth logs build e1 --follow\n",
    .usage = "berth logs SESSION EXEC [options]",
    .text = "Prints what a command has printed, byte by byte: its stdout to stdout, its\n"
            "stderr to stderr. --json prints its frames instead, one object a line.",
    .options = logs_options,
    .option_count = ARRAY_LENGTH(logs_options),
    .words_min = 2,
    .words_max = 2,
    .ids = 3,
};

struct logs {
    bool follow;
    uint64_t from;
};

static int take_logs(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct logs *logs = own;
    if (option->id == OPT_FOLLOW) {
        logs->follow = true;
        return 0;
    }
    return units_parse_u64(value, &logs->from) < 0 || logs->from > INT64_MAX
               ? err_set(err, ERR_USAGE, 0, "--from", value, "Allowed: a number of a frame.")
               : 0;
}

static int print_line(const struct client_event *event)
{
    _cleanup_buf_ struct buf line = {0};
    buf_add(&line, event->data, event->length);
    buf_putc(&line, '\n');
    return io_write_full(STDOUT_FILENO, buf_text(&line), line.length);
}

/* A reader that leaves ends it in silence, as it does other programs. */
static int gone(void)
{
    return CLI_EXIT_SIGNAL + SIGPIPE;
}

static int show_logs(struct verb *verb, struct follow *follow)
{
    for (;;) {
        struct client_event event;
        struct err err;
        int r = follow_next(follow, &event, &err);
        if (r == FOLLOW_END)
            return CLI_EXIT_OK;
        if (r == FOLLOW_WAIT) {
            struct pollfd p = {.fd = follow_fd(follow), .events = POLLIN};
            (void)poll(&p, 1, follow_timeout(follow));
            continue;
        }
        if (r == 0 && verb->json)
            r = print_line(&event) < 0 ? -EPIPE : strcmp(event.type, "exit") == 0;
        else if (r == 0)
            r = exec_event(&event, &err);
        /* What children that were kept print behind the exit is not waited for. */
        if (r == EXEC_EVENT_EXIT && follow->live)
            return CLI_EXIT_OK;
        if (r == -EPIPE)
            return gone();
        if (r < 0)
            return verb_fail(verb, &err);
    }
}

int cli_logs(int argc, char **argv)
{
    struct logs logs = {0};
    _cleanup_verb_ struct verb verb;
    _cleanup_follow_ struct follow follow = {0};
    _cleanup_buf_ struct buf path = {0};
    int status;
    if (!verb_begin(&verb, &logs_spec, argc, argv, take_logs, &logs, &status))
        return status;
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    verb_session_path(&verb, "/execs/", &path);
    buf_printf(&path, "%s/output?follow=%s", verb.word[1], logs.follow ? "true" : "false");
    follow_init(&follow, verb.client, buf_text(&path), logs.from ? logs.from - 1 : 0, logs.follow);
    return show_logs(&verb, &follow);
}
