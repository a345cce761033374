/* This file is `berth exec` and `berth shell`: a command in a session that lasts; it never decides
 * how the command ends. */
#include "api/cli/exec.h"
#include "api/cli/exec_exit.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>

enum {
    OPT_DETACH,
    OPT_STDIN,
    OPT_TTY,
    OPT_TIMEOUT,
    OPT_IDLE_TIMEOUT,
    OPT_ENV,
    OPT_USER,
    OPT_CWD,
    OPT_EXEC_ID,
    OPT_KEEP_CHILDREN,
    ENV_MAX = 256,
};

static const struct cli_option exec_options[] = {
    {"detach", NULL, "Print the exec's id and leave it alone.", OPT_DETACH, 'd'},
    {"stdin", NULL, "Send standard input.", OPT_STDIN, 'i'},
    {"tty", "WHEN", "auto, always or never give it a terminal. Default: auto.", OPT_TTY, 't'},
    {"timeout", "TIME", "End it after this long, e.g. 10m.", OPT_TIMEOUT, 0},
    {"idle-timeout", "TIME", "End it when it printed nothing for so long.", OPT_IDLE_TIMEOUT, 0},
    {"env", "K[=V]", "Set a variable; K alone takes its value from here. Repeatable.", OPT_ENV,
     'e'},
    {"user", "NAME", "user (1000) or root (0) of the session.", OPT_USER, 'u'},
    {"cwd", "PATH", "Start in this directory inside. Default: the workspace.", OPT_CWD, 0},
    {"exec-id", "ID", "Its name. Default: one is made.", OPT_EXEC_ID, 0},
    {"keep-children", NULL, "What it started may outlive it.", OPT_KEEP_CHILDREN, 0},
};

/* What a shell has none of: it is attached to a terminal. */
static const struct cli_option shell_options[] = {
    {"env", "K[=V]", "Set a variable; K alone takes its value from here. Repeatable.", OPT_ENV,
     'e'},
    {"user", "NAME", "user (1000) or root (0) of the session.", OPT_USER, 'u'},
    {"cwd", "PATH", "Start in this directory inside. Default: the workspace.", OPT_CWD, 0},
};

enum when { WHEN_AUTO, WHEN_ALWAYS, WHEN_NEVER };

struct request {
    bool detach, with_stdin, keep_children, tty;
    enum when when;
    uint64_t timeout_ms, idle_timeout_ms;
    const char *env[ENV_MAX];
    unsigned env_count;
    const char *user, *cwd, *exec_id;
};

static const struct verb_spec exec_spec = {
    .name = "exec",
    .example = "Examples: berth exec build -- make -j2\n"
               "          berth exec --detach build -- ./long-test.sh\n"
               "          tar c src | berth exec --stdin build -- tar x\n",
    .usage = "berth exec SESSION [options] -- COMMAND [words]",
    .text = "Runs a command in a session and follows it to its end. When berth or the\n"
            "connection goes away the command goes on: `berth logs` shows its output.\n"
            "Ctrl-C is sent to the command; the second one cancels it.\n\n"
            "Exit status: the command's own; 124 timeout; 125 berth could not; 126 not\n"
            "executable; 127 not found; 130 cancelled; 137 out of memory; 128+N signal N.",
    .options = exec_options,
    .option_count = ARRAY_LENGTH(exec_options),
    .words_min = 1,
    .words_max = 1,
    .ids = 1,
    .command = true,
};

static const struct verb_spec shell_spec = {
    .name = "shell",
    .example = "Example:  berth shell build\n",
    .usage = "berth shell SESSION [options]",
    .text = "A shell in a session, at this terminal. It ends with the terminal; for a command\n"
            "that is to go on, use `berth exec`.",
    .options = shell_options,
    .option_count = ARRAY_LENGTH(shell_options),
    .words_min = 1,
    .words_max = 1,
    .ids = 1,
};

/* ---- options --------------------------------------------------------------------------------- */

static int bad(struct err *err, const char *flag, const char *value, const char *allowed)
{
    return err_set(err, ERR_USAGE, 0, flag, value, "Allowed: %s.", allowed);
}

static int take_when(struct request *request, const char *value, struct err *err)
{
    static const char *const names[] = {"auto", "always", "never"};
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++)
        if (strcmp(names[i], value) == 0) {
            request->when = (enum when)i;
            return 0;
        }
    return bad(err, "--tty", value, "auto, always, never");
}

static int take_time(const char *flag, const char *value, uint64_t *ret, struct err *err)
{
    return units_parse_duration(value, ret) < 0 || *ret == 0
               ? bad(err, flag, value, "a time like 30s, 10m, 2h")
               : 0;
}

static int take(void *own, const struct cli_option *option, const char *value, struct err *err)
{
    struct request *request = own;
    switch (option->id) {
    case OPT_DETACH:
        request->detach = true;
        return 0;
    case OPT_STDIN:
        request->with_stdin = true;
        return 0;
    case OPT_KEEP_CHILDREN:
        request->keep_children = true;
        return 0;
    case OPT_TTY:
        return take_when(request, value, err);
    case OPT_TIMEOUT:
        return take_time("--timeout", value, &request->timeout_ms, err);
    case OPT_IDLE_TIMEOUT:
        return take_time("--idle-timeout", value, &request->idle_timeout_ms, err);
    case OPT_ENV:
        if (value[0] == 0 || value[0] == '=' || request->env_count == ENV_MAX)
            return bad(err, "--env", value, "NAME=VALUE, or NAME, at most 256 times");
        request->env[request->env_count++] = value;
        return 0;
    case OPT_USER:
        request->user = value;
        return 0;
    case OPT_CWD:
        request->cwd = value;
        return value[0] == '/' ? 0 : bad(err, "--cwd", value, "an absolute path, as seen inside");
    default:
        request->exec_id = value;
        return verb_check_id("--exec-id", value, err);
    }
}

static int choose_tty(struct request *request, struct err *err)
{
    bool all = isatty(0) && isatty(1) && isatty(2);
    request->tty = request->when == WHEN_ALWAYS || (request->when == WHEN_AUTO && all);
    if (!request->detach)
        return 0;
    if (request->with_stdin || request->when == WHEN_ALWAYS)
        return err_set(err, ERR_USAGE, 0, "--detach", request->with_stdin ? "--stdin" : "--tty",
                       "Who leaves at once sends nothing: leave one of the two out.");
    request->tty = false;
    return 0;
}

/* ---- body ------------------------------------------------------------------------------------ */

/* A document has no other bytes, and a word that arrives changed is another word. */
static int put_string(struct buf *out, const char *text, const char *what, struct err *err)
{
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = 0, length = strlen(text); i < length;) {
        size_t n = json_utf8_length(p + i, length - i);
        if (n == 0)
            return err_set(err, ERR_INVALID_REQUEST, 0, what, text,
                           "It must be UTF-8 to be sent to berth serve.");
        i += n;
    }
    buf_json_string(out, text);
    return 0;
}

static int put_one_env(const char *entry, struct buf *out, struct err *err)
{
    const char *sign = strchr(entry, '='), *value = sign ? sign + 1 : getenv(entry);
    if (!value)
        return err_set(err, ERR_INVALID_REQUEST, 0, "--env", entry,
                       "It is not set here. Set it, or write --env %s=VALUE.", entry);
    _cleanup_buf_ struct buf name = {0};
    buf_add(&name, entry, sign ? (size_t)(sign - entry) : strlen(entry));
    int r = put_string(out, buf_text(&name), "--env", err);
    buf_puts(out, ": ");
    return r == 0 ? put_string(out, value, "--env", err) : r;
}

/* The name of a later one is the one that counts: a document has each once. */
static bool named_later(const struct request *request, unsigned at)
{
    size_t n = strcspn(request->env[at], "=");
    for (unsigned i = at + 1; i < request->env_count; i++)
        if (strcspn(request->env[i], "=") == n &&
            strncmp(request->env[i], request->env[at], n) == 0)
            return true;
    return false;
}

static int put_env(const struct request *request, struct buf *out, struct err *err)
{
    /* TERM describes the terminal that the command gets; nothing else of it is ours to say. */
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.+";
    const char *term = request->tty ? getenv("TERM") : NULL;
    bool has_term = term && term[0] && strlen(term) < 64 && term[strspn(term, plain)] == 0;
    for (unsigned i = 0; i < request->env_count; i++)
        has_term = has_term && strncmp(request->env[i], "TERM=", 5) != 0 &&
                   strcmp(request->env[i], "TERM") != 0;
    const char *comma = "";
    buf_puts(out, ", \"env\": {");
    if (has_term) {
        buf_printf(out, "\"TERM\": \"%s\"", term);
        comma = ", ";
    }
    for (unsigned i = 0; i < request->env_count; i++) {
        if (named_later(request, i))
            continue;
        buf_puts(out, comma);
        int r = put_one_env(request->env[i], out, err);
        if (r < 0)
            return r;
        comma = ", ";
    }
    buf_putc(out, '}');
    return 0;
}

static int put_member(const char *key, const char *text, struct buf *out, struct err *err)
{
    if (!text)
        return 0;
    buf_printf(out, ", \"%s\": ", key);
    return put_string(out, text, key, err);
}

static int make_body(const struct request *request, char *const *command, struct buf *out,
                     struct err *err)
{
    int r = 0;
    buf_puts(out, "{\"argv\": [");
    for (size_t i = 0; command[i] && r == 0; i++) {
        buf_puts(out, i ? ", " : "");
        r = put_string(out, command[i], "exec", err);
    }
    buf_puts(out, "]");
    if (r == 0)
        r = put_env(request, out, err);
    if (r == 0)
        r = put_member("cwd", request->cwd, out, err);
    if (r == 0)
        r = put_member("user", request->user, out, err);
    if (r == 0)
        r = put_member("exec_id", request->exec_id, out, err);
    if (r < 0)
        return r;
    if (request->with_stdin || request->tty)
        buf_puts(out, ", \"stdin\": \"pipe\"");
    if (request->tty) {
        uint16_t rows, columns;
        terminal_size(STDOUT_FILENO, &rows, &columns);
        buf_printf(out, ", \"tty\": {\"rows\": %u, \"cols\": %u}", rows, columns);
    }
    if (request->timeout_ms)
        buf_printf(out, ", \"timeout_ms\": %" PRIu64, request->timeout_ms);
    if (request->idle_timeout_ms)
        buf_printf(out, ", \"idle_timeout_ms\": %" PRIu64, request->idle_timeout_ms);
    if (request->keep_children)
        buf_puts(out, ", \"keep_children\": true");
    buf_puts(out, "}");
    return buf_failed(out) ? err_set(err, ERR_INTERNAL, 0, "exec", NULL, "Out of memory.") : 0;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void tell_start_failed(const struct request *request, const char *command, int status,
                              const struct json_node *exec)
{
    const struct json_node *error = json_member(exec, "error");
    const char *step = error ? verb_text(error, "step") : "";
    uint64_t sys = 0;
    struct err err;
    if (error)
        verb_number(error, "errno", &sys);
    exec_start_error(status, sys < 4096 ? (int)sys : 0, step[0] ? step : "start the command",
                     request->cwd ? request->cwd : "", command, &err);
    cli_fail(&err);
}

static int tell_end(const struct verb *verb, const struct request *request, const char *exec_id,
                    const struct buf *document)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf note = {0}, line = {0};
    const struct json_node *root;
    int status = verb_read(&arena, document, &root);
    if (status)
        return status;
    status = exec_exit_status(root, &note);
    if (strcmp(verb_text(root, "reason"), "start_failed") == 0) {
        tell_start_failed(request, verb->command[0] ? verb->command[0] : "", status, root);
    } else if (status == CLI_EXIT_BERTH && note.length) {
        struct err err;
        err_set(&err, ERR_INTERNAL, 0, "run the command", exec_id, "%s.", buf_text(&note));
        cli_fail(&err);
    } else if (note.length && !verb->quiet)
        buf_printf(&line, "berth: %s: %s\n", exec_id, buf_text(&note));
    exec_denied_tell(verb, root);
    if (verb->json)
        buf_printf(&line, "%s\n", buf_text(document));
    (void)io_write_full(STDERR_FILENO, buf_text(&line), line.length);
    return status;
}

/* berth goes, the command stays. */
static int leave(const struct verb *verb, const char *exec_id, int signo)
{
    if (!verb->quiet) {
        _cleanup_buf_ struct buf line = {0};
        buf_printf(&line, "berth: %s goes on; its output: berth logs %s %s --follow\n", exec_id,
                   verb->word[0], exec_id);
        (void)io_write_full(STDERR_FILENO, buf_text(&line), line.length);
    }
    return CLI_EXIT_SIGNAL + signo;
}

static int follow_exec(struct verb *verb, const struct request *request, const char *exec_id)
{
    _cleanup_buf_ struct buf path = {0}, exit = {0};
    struct err err;
    int signo = 0;
    verb_session_path(verb, "/execs/", &path);
    buf_puts(&path, exec_id);
    const struct exec_loop loop = {.client = verb->client,
                                   .exec_path = buf_text(&path),
                                   .tty = request->tty,
                                   .with_stdin = request->with_stdin || request->tty};
    int r = exec_loop_run(&loop, &exit, &signo, &err);
    if (r == EXEC_LOOP_SIGNAL)
        return leave(verb, exec_id, signo);
    return r < 0 ? verb_fail(verb, &err) : tell_end(verb, request, exec_id, &exit);
}

static int start(struct verb *verb, const struct request *request, char *const *command)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf body = {0}, path = {0}, out = {0};
    struct client_answer answer = {0};
    const struct json_node *root;
    struct err err;
    if (make_body(request, command, &body, &err) < 0)
        return verb_fail(verb, &err);
    verb_session_path(verb, "/execs", &path);
    int status = verb_call(verb, "POST", buf_text(&path), buf_text(&body), &answer);
    if (status == 0)
        status = verb_read(&arena, &answer.document, &root);
    const char *exec_id = status == 0 ? verb_text(root, "exec_id") : "";
    if (status == 0 && !id_valid(exec_id)) {
        err_set(&err, ERR_INTERNAL, 0, "run the command", NULL, "The answer names no exec.");
        status = cli_fail(&err);
    } else if (status == 0 && request->detach && verb->json)
        status = verb_print_document(&answer.document);
    else if (status == 0 && request->detach) {
        buf_printf(&out, "%s\n", exec_id);
        status = cli_print(STDOUT_FILENO, &out);
    } else if (status == 0)
        status = follow_exec(verb, request, exec_id);
    buf_fini(&answer.document);
    return status;
}

int cli_exec(int argc, char **argv)
{
    struct request request = {0};
    _cleanup_verb_ struct verb verb;
    struct err err;
    int status;
    if (!verb_begin(&verb, &exec_spec, argc, argv, take, &request, &status))
        return status;
    if (choose_tty(&request, &err) < 0)
        return cli_fail_json(&err, verb.json);
    return start(&verb, &request, verb.command);
}

int cli_shell(int argc, char **argv)
{
    struct request request = {.tty = true};
    char sh[] = "/bin/sh", c[] = "-c",
         choose[] = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi";
    char *const command[] = {sh, c, choose, NULL};
    _cleanup_verb_ struct verb verb;
    struct err err;
    int status;
    if (!verb_begin(&verb, &shell_spec, argc, argv, take, &request, &status))
        return status;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
        err_set(&err, ERR_USAGE, 0, "shell", NULL,
                "It needs a terminal. Write: berth exec --stdin %s -- sh", verb.word[0]);
        return cli_fail_json(&err, verb.json);
    }
    return start(&verb, &request, command);
}
