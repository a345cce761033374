/* This file serves the routes of commands: starting, signals, terminals and standard input; their
 * output is streams.c. It never keeps a byte that goes into a command.
 */
#include "api/front/front.h"

#include "api/http/fields.h"
#include "runtime/base/fd.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { WAIT_MOST_MS = 3600 * 1000, ENV_MAX = 1024 };

static void refuse_at(struct front_call *call, const char *pointer, const char *subject,
                      const char *what)
{
    struct err err;
    err_set(&err, ERR_INVALID_REQUEST, 0, "read the request's body", subject, "%s", what);
    front_call_refuse(call, &err, pointer);
}

/* ---- starting -------------------------------------------------------------------------------- */

/* NULL: refused. */
static const char **read_argv(struct front_call *call, const struct json_node *node)
{
    const char **argv = front_call_memory(call, (node->count + 1) * sizeof *argv);
    unsigned n = 0;
    for (const struct json_node *m = argv ? node->first : NULL; m; m = m->next) {
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/argv/%u", n);
        if (m->kind != JSON_STRING) {
            refuse_at(call, pointer, "argv", "Each argument is a string.");
            return NULL;
        }
        argv[n++] = m->text;
    }
    if (argv && !argv[0][0]) {
        refuse_at(call, "/argv/0", "argv", "The first argument is the program's name.");
        return NULL;
    }
    return argv;
}

static const char **read_env(struct front_call *call, const struct json_node *node)
{
    const char **env = front_call_memory(call, (node->count + 1) * sizeof *env);
    unsigned n = 0;
    if (env && node->count > ENV_MAX) {
        refuse_at(call, "/env", "env", "There are at most 1024 variables.");
        return NULL;
    }
    for (const struct json_node *m = env ? node->first : NULL; m; m = m->next) {
        if (m->kind != JSON_STRING || !m->key[0] || strchr(m->key, '=')) {
            refuse_at(call, "/env", "env",
                      "A variable has a name without \"=\", and its value is a string.");
            return NULL;
        }
        env[n++] = arena_printf(exchange_arena(call->x), "%s=%s", m->key, m->text);
        if (!env[n - 1]) {
            struct err err;
            err_set(&err, ERR_INTERNAL, ENOMEM, "read the request's body", NULL, NULL);
            front_call_refuse(call, &err, NULL);
            return NULL;
        }
    }
    return env;
}

static int read_tty(struct front_call *call, const struct json_node *node,
                    struct provider_exec *exec)
{
    char pointer[FIELD_POINTER_MAX], place[FIELD_POINTER_MAX + 8];
    struct err err;
    int r = fields_check(fields_of_resize, node, pointer, &err);
    if (r < 0) {
        snprintf(place, sizeof place, "/tty%s", pointer);
        front_call_refuse(call, &err, place);
        return r;
    }
    exec->tty = true;
    exec->rows = (uint16_t)json_member(node, "rows")->magnitude;
    exec->cols = (uint16_t)json_member(node, "cols")->magnitude;
    return 0;
}

/* Everything but numbers and flags. False: refused. */
static bool read_command(struct front_call *call, struct provider_exec *exec)
{
    const struct json_node *body = exchange_request(call->x)->body;
    const struct json_node *argv = json_member(body, "argv"), *env = json_member(body, "env"),
                           *tty = json_member(body, "tty");
    const char *input = front_call_text(call, "stdin"),
               *on_limit = front_call_text(call, "on_limit");
    exec->shell = front_call_text(call, "shell");
    if (!argv == !exec->shell) {
        refuse_at(call, argv ? "/shell" : NULL, "argv", "Give exactly one of argv and shell.");
        return false;
    }
    if (argv && !(exec->argv = read_argv(call, argv)))
        return false;
    if (env && !(exec->env = read_env(call, env)))
        return false;
    if (tty && tty->kind == JSON_OBJECT && read_tty(call, tty, exec) < 0)
        return false;
    exec->exec_id = front_call_text(call, "exec_id");
    exec->cwd = front_call_text(call, "cwd");
    exec->user = front_call_text(call, "user");
    exec->stdin_pipe = input && strcmp(input, "pipe") == 0;
    exec->kill_on_limit = on_limit && strcmp(on_limit, "kill") == 0;
    return true;
}

void exec_start_handle(struct front_call *call)
{
    struct provider_exec exec = {
        .keep_children = front_call_flag(call, "keep_children"),
        .timeout_ms = front_call_number(call, "timeout_ms", UINT64_MAX),
        .idle_timeout_ms = front_call_number(call, "idle_timeout_ms", UINT64_MAX),
        .grace_ms = front_call_number(call, "grace_ms", UINT64_MAX),
        .output_limit_bytes = front_call_number(call, "output_limit_bytes", 0),
    };
    const bool events = exchange_request(call->x)->wants_events;
    if (front_call_query_number(call, "wait_ms", 0, WAIT_MOST_MS, &exec.wait_ms) < 0 ||
        !read_command(call, &exec))
        return;
    if (events && exec.wait_ms) {
        struct err err;
        err_set(&err, ERR_INVALID_REQUEST, 0, "read the query", "wait_ms",
                "A stream of events waits by itself: leave wait_ms out, or Accept JSON.");
        front_call_refuse(call, &err, NULL);
        return;
    }
    char pointer[POLICY_POINTER_MAX] = "";
    struct err err;
    if (front_exec_within(call, &err) < 0) {
        if (err.code == ERR_POLICY_REJECTED)
            policy_body_pointer(exchange_request(call->x)->body, &err, pointer);
        front_call_refuse(call, &err, pointer);
        return;
    }
    provider_exec_start(call->front->provider,
                        front_call_ask(call, events ? stream_start_reply : NULL), &exec);
}

void exec_list_handle(struct front_call *call)
{
    struct provider_page page;
    if (front_call_page(call, &page) == 0)
        provider_exec_list(call->front->provider, front_call_ask(call, NULL), &page);
}

void exec_get_handle(struct front_call *call)
{
    uint64_t wait_ms = 0;
    if (front_call_query_number(call, "wait_ms", 0, WAIT_MOST_MS, &wait_ms) == 0)
        provider_exec_get(call->front->provider, front_call_ask(call, NULL), wait_ms);
}

/* ---- signals and terminals ------------------------------------------------------------------- */

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},       {"INT", SIGINT},   {"QUIT", SIGQUIT},   {"ILL", SIGILL},
    {"TRAP", SIGTRAP},     {"ABRT", SIGABRT}, {"BUS", SIGBUS},     {"FPE", SIGFPE},
    {"KILL", SIGKILL},     {"USR1", SIGUSR1}, {"SEGV", SIGSEGV},   {"USR2", SIGUSR2},
    {"PIPE", SIGPIPE},     {"ALRM", SIGALRM}, {"TERM", SIGTERM},   {"CHLD", SIGCHLD},
    {"CONT", SIGCONT},     {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},   {"TTIN", SIGTTIN},
    {"TTOU", SIGTTOU},     {"URG", SIGURG},   {"XCPU", SIGXCPU},   {"XFSZ", SIGXFSZ},
    {"VTALRM", SIGVTALRM}, {"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"IO", SIGIO},
    {"PWR", SIGPWR},       {"SYS", SIGSYS},
};

/* 0: no such signal. */
static int signal_of(const struct json_node *node)
{
    if (node->kind == JSON_NUMBER)
        return (int)node->magnitude;
    const char *name = strncmp(node->text, "SIG", 3) == 0 ? node->text + 3 : node->text;
    for (unsigned i = 0; i < ARRAY_LENGTH(signals); i++)
        if (strcmp(signals[i].name, name) == 0)
            return signals[i].number;
    return 0;
}

void exec_signal_handle(struct front_call *call)
{
    int number = signal_of(json_member(exchange_request(call->x)->body, "signal"));
    if (number == 0) {
        refuse_at(call, "/signal", "signal",
                  "There is no such signal. Names are those of Linux: TERM, KILL, INT, HUP, …");
        return;
    }
    provider_exec_signal(call->front->provider, front_call_ask(call, NULL), number,
                         front_call_flag(call, "tree"));
}

void exec_resize_handle(struct front_call *call)
{
    provider_exec_resize(call->front->provider, front_call_ask(call, NULL),
                         (uint16_t)front_call_number(call, "rows", 0),
                         (uint16_t)front_call_number(call, "cols", 0));
}

/* ---- standard input -------------------------------------------------------------------------- */

static void input_end(struct front_call *call, enum exchange_body how, uint64_t bytes)
{
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    const uint64_t *before = call->own;
    provider_exec_stdin_end(call->front->provider, &call->provider, bytes);
    switch (how) {
    case EXCHANGE_BODY_CUT:
        return; /* what came has gone in; nobody is there to be told */
    case EXCHANGE_BODY_WHOLE:
        buf_printf(&out, "{\"bytes\":%" PRIu64 ",\"offset\":%" PRIu64 "}\n", bytes,
                   *before + bytes);
        front_call_answer(call, 200, &out);
        return;
    case EXCHANGE_BODY_TOO_LONG:
    case EXCHANGE_BODY_REFUSED:
        err_set(&err, ERR_INVALID_STATE, 0, "write to standard input", call->provider.exec_id,
                "The command does not read any more; %" PRIu64 " bytes went into its pipe.", bytes);
        front_call_refuse(call, &err, NULL);
    }
}

void exec_stdin_handle(struct front_call *call)
{
    struct err err;
    struct exchange_sink sink = {.fd = -1, .bytes_max = BODY_UNBOUNDED};
    if (call->provider.key) {
        err_set(&err, ERR_INVALID_REQUEST, 0, "read the request's head", "Idempotency-Key",
                "Bytes that went into a running command cannot be given a second time or taken "
                "back: send them without a key.");
        front_call_refuse(call, &err, NULL);
        return;
    }
    uint64_t offset = UINT64_MAX, *before = front_call_memory(call, sizeof *before);
    if (!before || front_call_query_number(call, "offset", 0, INT64_MAX, &offset) < 0)
        return;
    call->own = before;
    int r =
        provider_exec_stdin(call->front->provider, &call->provider, offset, &sink.fd, before, &err);
    if (r < 0) {
        front_call_refuse(call, &err, NULL);
        return;
    }
    call->body_end = input_end;
    r = exchange_body_to(call->x, &sink, &err);
    if (r < 0) {
        provider_exec_stdin_end(call->front->provider, &call->provider, 0);
        front_call_refuse(call, &err, NULL);
    }
}
