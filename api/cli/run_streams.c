/* This file connects the caller's standard streams to the command's; it never blocks on them. */
#include "api/cli/run_streams.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

static bool relayed(enum stdio_kind kind)
{
    return kind == STDIO_TERMINAL || kind == STDIO_SOCKET || kind == STDIO_FILE ||
           kind == STDIO_PIPE;
}

/* The caller's side of a relay. */
static void outside(struct relay *relay, int number, enum stdio_kind kind)
{
    int access = number == 0 ? O_RDONLY : O_WRONLY;
    int own = -1;
    if (kind == STDIO_TERMINAL)
        own = terminal_reopen(number, access);
    /* A copy that can be closed when the command closes its end, so that the caller's other end
     * learns it. The flags of a pipe are shared with the caller: writes are small ones. */
    if (kind == STDIO_PIPE)
        own = fcntl(number, F_DUPFD_CLOEXEC, 3);
    int fd = own >= 0 ? own : number;
    if (number == 0) {
        relay->from = fd;
        relay->from_owned = own >= 0;
        relay->from_socket = kind == STDIO_SOCKET;
    } else {
        relay->to = fd;
        relay->to_owned = own >= 0;
        relay->to_socket = kind == STDIO_SOCKET;
        relay->to_blocks = (kind == STDIO_TERMINAL && own < 0) || kind == STDIO_PIPE;
        /* pipe(7): POLLOUT says that PIPE_BUF bytes can be written without blocking. */
        if (kind == STDIO_PIPE)
            relay->small = PIPE_BUF;
    }
}

/* A pipe between the command and berth; only berth's end is non-blocking. */
static int make_pipe(struct streams *streams, int number, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a pipe", NULL, NULL);
    int mine = number == 0 ? 1 : 0;
    streams->inside[number] = ends[!mine];
    if (number == 0) {
        streams->relay[0].to = ends[1];
        streams->relay[0].to_owned = true;
    } else {
        streams->relay[number].from = ends[0];
        streams->relay[number].from_owned = true;
    }
    streams->relay[number].spliced = streams->stdio->kind[number] == STDIO_PIPE;
    if (fcntl(ends[mine], F_SETFL, O_NONBLOCK) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a pipe non-blocking", NULL, NULL);
    return 0;
}

/* Output that comes in frames is written to `number`. */
static void capture(struct streams *streams, int number)
{
    enum stdio_kind kind = streams->stdio->kind[number];
    if (kind == STDIO_NULL)
        return;
    outside(&streams->relay[number], number, kind);
    /* A pipe or file is the caller's: it may block, and its flags are shared. */
    streams->relay[number].to_blocks |= kind == STDIO_PASS;
    streams->relay[number].fed = true;
}

/* stdin through a pipe that init reads into the PTY; output from frames to stdout. */
static int open_tty(struct streams *streams, struct err *err)
{
    const struct stdio *stdio = streams->stdio;
    if (stdio->kind[0] == STDIO_TERMINAL)
        terminal_init(&streams->terminal, 0);
    if (relayed(stdio->kind[0])) {
        outside(&streams->relay[0], 0, stdio->kind[0]);
        int r = make_pipe(streams, 0, err);
        if (r < 0)
            return r;
    }
    capture(streams, 1);
    streams->size_fd = stdio->kind[1] == STDIO_TERMINAL   ? 1
                       : stdio->kind[0] == STDIO_TERMINAL ? 0
                                                          : -1;
    return 0;
}

static int open_plain(struct streams *streams, struct err *err)
{
    const struct stdio *stdio = streams->stdio;
    for (int i = 0; i < 3; i++) {
        if (i > 0 && streams->captured) {
            capture(streams, i);
            continue;
        }
        if (!relayed(stdio->kind[i]) || (i == 2 && stdio->one_output))
            continue;
        outside(&streams->relay[i], i, stdio->kind[i]);
        int r = make_pipe(streams, i, err);
        if (r < 0)
            return r;
    }
    return 0;
}

void streams_init(struct streams *streams)
{
    streams->stdio = NULL;
    streams->tty = streams->seen = streams->captured = false;
    streams->size_fd = -1;
    terminal_init(&streams->terminal, -1);
    for (int i = 0; i < 3; i++) {
        streams->inside[i] = -1;
        relay_init(&streams->relay[i]);
    }
}

int streams_open(struct streams *streams, const struct stdio *stdio, bool tty, bool seen,
                 struct err *err)
{
    streams->stdio = stdio;
    streams->tty = tty;
    streams->seen = seen;
    streams->captured = tty || seen;
    return tty ? open_tty(streams, err) : open_plain(streams, err);
}

static void close_inside(struct streams *streams)
{
    for (int i = 0; i < 3; i++)
        fd_replace(&streams->inside[i], -1);
}

void streams_close(struct streams *streams)
{
    terminal_leave(&streams->terminal);
    close_inside(streams);
    for (int i = 0; i < 3; i++)
        relay_fini(&streams->relay[i]);
}

static int descriptor(const struct streams *streams, int number)
{
    return streams->stdio->kind[number] == STDIO_PASS ? number : streams->inside[number];
}

void streams_request(struct streams *streams, struct exec_request *request)
{
    request->tty = streams->tty;
    terminal_size(streams->size_fd, &request->rows, &request->cols);
    request->stdin_fd = descriptor(streams, 0);
    for (unsigned i = 0; i < 3; i++)
        if (streams->inside[i] >= 0)
            request->own_pipes |= 1u << i;
    if (streams->stdio->one_output)
        request->own_pipes |= 1u << 2;
    request->stdout_fd = request->stderr_fd = -1;
    /* A terminal has one output: what the command says on stderr comes to stdout too. */
    if (streams->tty)
        return;
    request->null_stdout = streams->stdio->kind[1] == STDIO_NULL;
    request->null_stderr = streams->stdio->kind[2] == STDIO_NULL;
    if (streams->captured)
        return;
    request->stdout_fd = descriptor(streams, 1);
    request->stderr_fd = streams->stdio->one_output ? streams->inside[1] : descriptor(streams, 2);
}

void streams_enter(struct streams *streams)
{
    terminal_enter(&streams->terminal);
    if (streams->terminal.raw)
        streams->relay[0].ahead = (size_t)streams->terminal.ahead;
}

/* The command has its own copies of what was passed: while berth held them too, the other end of a
 * pipe would not learn that the command has closed it. stderr stays, for berth's own words. */
void streams_started(struct streams *streams)
{
    close_inside(streams);
    for (int i = 0; i < 2; i++) {
        bool passed = streams->stdio->kind[i] == STDIO_PASS && !(streams->captured && i == 1);
        bool copied = streams->stdio->kind[i] == STDIO_PIPE;
        if (!passed && !copied)
            continue;
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null >= 0) {
            dup2(null, i);
            close(null);
        }
    }
    streams_enter(streams);
}

void streams_poll(const struct streams *streams, struct pollfd fds[STREAMS_POLL])
{
    for (int i = 0; i < 3; i++)
        relay_poll(&streams->relay[i], fds + 2 * i);
}

void streams_step(struct streams *streams, const struct pollfd fds[STREAMS_POLL])
{
    for (int i = 0; i < 3; i++)
        relay_step(&streams->relay[i], fds + 2 * i);
}

bool streams_can_feed(const struct streams *streams)
{
    return !streams->captured ||
           !(relay_pending(&streams->relay[1]) || relay_pending(&streams->relay[2]));
}

void streams_feed(struct streams *streams, enum agent_stream stream, const void *data,
                  size_t length)
{
    struct relay *to = &streams->relay[stream == AGENT_STDERR ? 2 : 1];
    if (streams->captured && to->fed && stream != AGENT_BACKGROUND)
        relay_feed(to, data, length);
}

bool streams_reader_gone(const struct streams *streams)
{
    return streams->captured && (streams->relay[1].broken || streams->relay[2].broken);
}

void streams_end_input(struct streams *streams)
{
    relay_fini(&streams->relay[0]);
    for (int i = 1; i < 3; i++)
        if (streams->relay[i].fed)
            relay_end(&streams->relay[i]);
}

bool streams_drained(const struct streams *streams)
{
    return relay_done(&streams->relay[1]) && relay_done(&streams->relay[2]);
}

bool streams_retry(struct streams *streams)
{
    struct relay *input = &streams->relay[0];
    bool waiting = false;
    if (input->from >= 0 && input->paused) {
        input->paused = !terminal_foreground(input->from);
        waiting = input->paused;
    }
    if (streams->terminal.fd >= 0 && !streams->terminal.raw) {
        streams_enter(streams);
        waiting |= !streams->terminal.raw;
    }
    return waiting;
}
