/* This file follows a command of a session to its end: output, signals, the terminal; it never ends
 * the command by itself (EXEC-5).
 *
 * Ctrl-C without a terminal inside: the first is the command's, as SIGINT; the second cancels it;
 * with the third berth leaves it alone. With a terminal the keys go to the command. SIGTERM and
 * SIGHUP end berth and nothing else.
 */
#include "api/cli/exec.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

enum { INTERRUPTS_MAX = 3 };

struct run {
    const struct exec_loop *loop;
    struct follow follow;
    struct exec_stdin input;
    struct terminal terminal;
    int signals;
    sigset_t before;
    unsigned interrupts;
    bool reader_gone;
};

/* ---- output ---------------------------------------------------------------------------------- */

/* Blocking, whatever the mode of the descriptor is: it is shared with others, who choose it. */
static int write_out(int fd, const char *data, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        if (n < 0 && errno == EAGAIN)
            n = poll(&p, 1, -1) < 0 && errno != EINTR ? -1 : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        length -= (size_t)n;
    }
    return 0;
}

static int bytes_event(const struct client_event *event, int fd, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf bytes = {0};
    struct json_error error;
    const struct json_node *root;
    int r = json_parse(&arena, event->data, event->length, CLIENT_SSE_MAX, false, &root, &error);
    if (r == 0 && root->kind == JSON_OBJECT)
        r = verb_bytes(&bytes, root, "data");
    else
        r = -EPROTO;
    if (r < 0 || buf_failed(&bytes))
        return err_set(err, ERR_INTERNAL, EPROTO, "read the output", NULL,
                       "A piece of it is not what it should be.");
    r = write_out(fd, buf_text(&bytes), bytes.length);
    if (r < 0 && r != -EPIPE)
        return err_set(err, ERR_INTERNAL, -r, "write the output", NULL, NULL);
    return r;
}

static int gap_event(const struct client_event *event)
{
    _cleanup_arena_ struct arena arena = {0};
    _cleanup_buf_ struct buf line = {0};
    struct json_error error;
    const struct json_node *root;
    buf_puts(&line, "berth: a part of the output was not kept");
    if (json_parse(&arena, event->data, event->length, CLIENT_SSE_MAX, false, &root, &error) == 0 &&
        root->kind == JSON_OBJECT) {
        buf_puts(&line, ": ");
        verb_value(&line, root, "bytes");
        buf_puts(&line, " bytes");
    }
    buf_putc(&line, '\n');
    (void)write_out(STDERR_FILENO, buf_text(&line), line.length);
    return 0;
}

int exec_event(const struct client_event *event, struct err *err)
{
    static const struct {
        const char *type;
        int fd;
    } streams[] = {{"stdout", STDOUT_FILENO},
                   {"stderr", STDERR_FILENO},
                   {"tty", STDOUT_FILENO},
                   {"background", STDOUT_FILENO}};
    for (size_t i = 0; i < ARRAY_LENGTH(streams); i++)
        if (strcmp(event->type, streams[i].type) == 0)
            return bytes_event(event, streams[i].fd, err);
    if (strcmp(event->type, "exit") == 0)
        return EXEC_EVENT_EXIT;
    return strcmp(event->type, "gap") == 0 ? gap_event(event) : 0;
}

/* ---- verbs on the running command --------------------------------------------------------------
 */

/* What fails here is not what the user waits for: the command has ended, mostly. */
static void tell_exec(struct run *run, const char *verb, const char *body)
{
    _cleanup_buf_ struct buf path = {0};
    char key[CLIENT_KEY_SIZE];
    struct err err;
    if (client_key(key, &err) < 0)
        return;
    buf_printf(&path, "%s/%s", run->loop->exec_path, verb);
    const struct client_request request = {
        .method = "POST", .path = buf_text(&path), .body = body, .key = key, .once = true};
    if (client_call(run->loop->client, &request, NULL, &err) < 0 && err.code != ERR_INVALID_STATE &&
        err.code != ERR_NOT_FOUND && err.code != ERR_UNAVAILABLE)
        cli_fail(&err);
}

static void tell_size(struct run *run)
{
    uint16_t rows, columns;
    _cleanup_buf_ struct buf body = {0};
    if (!run->loop->tty || !isatty(STDOUT_FILENO))
        return;
    terminal_size(STDOUT_FILENO, &rows, &columns);
    buf_printf(&body, "{\"rows\": %u, \"cols\": %u}", rows, columns);
    tell_exec(run, "resize", buf_text(&body));
}

/* Nobody reads the output: the command is told so once, as a pipe would tell it. */
static void reader_left(struct run *run)
{
    if (!run->reader_gone)
        tell_exec(run, "signal", "{\"signal\": \"PIPE\"}");
    run->reader_gone = true;
}

/* ---- signals --------------------------------------------------------------------------------- */

static int signals_open(struct run *run, struct err *err)
{
    static const int caught[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGWINCH};
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_LENGTH(caught); i++) {
        struct sigaction before;
        /* What the caller ignores (nohup) stays ignored. */
        if (sigaction(caught[i], NULL, &before) == 0 && before.sa_handler == SIG_IGN)
            continue;
        sigaddset(&set, caught[i]);
    }
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigprocmask(SIG_BLOCK, &set, &run->before);
    run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return run->signals < 0 ? err_set(err, ERR_INTERNAL, errno, "follow the command", NULL, NULL)
                            : 0;
}

/* 0; EXEC_LOOP_SIGNAL. */
static int take_signal(struct run *run, int *ret_signal)
{
    struct signalfd_siginfo info;
    if (read(run->signals, &info, sizeof info) != sizeof info)
        return 0;
    int signo = (int)info.ssi_signo;
    if (signo == SIGWINCH) {
        tell_size(run);
        return 0;
    }
    if (signo == SIGQUIT) {
        tell_exec(run, "signal", "{\"signal\": \"QUIT\"}");
        return 0;
    }
    if (signo == SIGINT && ++run->interrupts < INTERRUPTS_MAX) {
        if (run->interrupts == 1)
            tell_exec(run, "signal", "{\"signal\": \"INT\"}");
        else
            tell_exec(run, "cancel", "{}");
        return 0;
    }
    *ret_signal = signo;
    return EXEC_LOOP_SIGNAL;
}

/* ---- the loop -------------------------------------------------------------------------------- */

/* The output is over and has no end in it: what did not start wrote none. The exec itself knows. */
static int ask_end(struct run *run, struct buf *ret_exit, struct err *err)
{
    _cleanup_arena_ struct arena arena = {0};
    struct client_answer answer = {0};
    struct json_error error;
    const struct json_node *root;
    const struct client_request request = {.method = "GET", .path = run->loop->exec_path};
    int r = client_call(run->loop->client, &request, &answer, err);
    if (r < 0)
        return r;
    bool ended = json_parse(&arena, buf_text(&answer.document), answer.document.length,
                            CLIENT_DOCUMENT_MAX, false, &root, &error) == 0 &&
                 root->kind == JSON_OBJECT && strcmp(verb_text(root, "state"), "ended") == 0;
    if (ended)
        buf_add(ret_exit, buf_text(&answer.document), answer.document.length);
    buf_fini(&answer.document);
    return ended ? EXEC_EVENT_EXIT
                 : err_set(err, ERR_INTERNAL, EPROTO, "follow the command", NULL,
                           "Its output ended, and how it ended was not said.");
}

/* All events that are there. 0: more may come; EXEC_EVENT_EXIT. */
static int take_events(struct run *run, struct buf *ret_exit, struct err *err)
{
    for (;;) {
        struct client_event event;
        int r = follow_next(&run->follow, &event, err);
        if (r == FOLLOW_WAIT)
            return 0;
        if (r == FOLLOW_END)
            return ask_end(run, ret_exit, err);
        if (r < 0)
            return r;
        if (run->reader_gone && strcmp(event.type, "stdout") == 0)
            continue;
        r = exec_event(&event, err);
        if (r == EXEC_EVENT_EXIT)
            buf_add(ret_exit, event.data, event.length);
        if (r == -EPIPE) {
            reader_left(run);
            continue;
        }
        if (r != 0)
            return r;
    }
}

static int loop(struct run *run, struct buf *ret_exit, int *ret_signal, struct err *err)
{
    for (;;) {
        int r = take_events(run, ret_exit, err);
        if (r != 0)
            return r;
        struct pollfd fds[2 + EXEC_STDIN_POLL] = {
            {.fd = run->signals, .events = POLLIN},
            {.fd = follow_fd(&run->follow), .events = POLLIN},
        };
        exec_stdin_poll(&run->input, fds + 2);
        if (poll(fds, ARRAY_LENGTH(fds), follow_timeout(&run->follow)) < 0 && errno != EINTR)
            return err_set(err, ERR_INTERNAL, errno, "follow the command", NULL, NULL);
        if (fds[0].revents && take_signal(run, ret_signal) == EXEC_LOOP_SIGNAL)
            return EXEC_LOOP_SIGNAL;
        terminal_enter(&run->terminal);
        r = exec_stdin_step(&run->input, fds + 2, err);
        if (r < 0 && run->input.broken)
            tell_exec(run, "cancel", "{}");
        if (r < 0)
            return r;
    }
}

int exec_loop_run(const struct exec_loop *exec_loop, struct buf *ret_exit, int *ret_signal,
                  struct err *err)
{
    struct run run = {.loop = exec_loop, .signals = -1};
    _cleanup_buf_ struct buf path = {0};
    bool keys = exec_loop->tty && isatty(STDIN_FILENO);
    buf_printf(&path, "%s/output?follow=true", exec_loop->exec_path);
    exec_stdin_init(&run.input);
    terminal_init(&run.terminal, keys ? STDIN_FILENO : -1);
    follow_init(&run.follow, exec_loop->client, buf_text(&path), 0, true);
    int r = signals_open(&run, err);
    if (r == 0) {
        if (exec_loop->with_stdin)
            exec_stdin_begin(&run.input, exec_loop->client, exec_loop->exec_path, STDIN_FILENO,
                             keys ? &run.terminal : NULL);
        terminal_enter(&run.terminal);
        int outcome = loop(&run, ret_exit, ret_signal, err);
        r = outcome == EXEC_EVENT_EXIT && ret_exit->length ? 0 : outcome;
    }
    terminal_leave(&run.terminal);
    exec_stdin_fini(&run.input);
    follow_fini(&run.follow);
    fd_close(run.signals);
    sigprocmask(SIG_SETMASK, &run.before, NULL);
    return r;
}
