/* This file is what the parts of `berth exec` share: one command of a session, followed to its end.
 *
 *   exec_cmd.c    options, the request, and what is told at the end; also `berth shell`
 *   exec_loop.c   output, signals, the terminal
 *   exec_stdin.c  standard input, on a connection of its own
 *   exec_exit.c   from the end to an exit status
 *   exec_denied.c what it was refused
 */
#pragma once

#include "api/cli/follow.h"
#include "api/cli/run_terminal.h"
#include "api/cli/verb.h"

#include <poll.h>

struct exec_stdin {
    struct client *client;
    int from, fd;  /* what is read; the upload's connection; -1 */
    char *pending; /* a chunk that is being sent */
    size_t at, length;
    char *kept;              /* the last bytes that were read: who reconnects may need them again */
    uint64_t read, again_at; /* bytes that were read; from which of them on to send again */
    struct terminal *terminal; /* whose keys these are; NULL */
    const char *path;          /* of the exec; borrowed */
    bool ended, end_sent;      /* all was read; and the last chunk is on its way */
    bool done, broken;         /* nothing more is to be sent; some may not have arrived */
};

void exec_stdin_init(struct exec_stdin *in);
void exec_stdin_fini(struct exec_stdin *in);
/* `exec_path` "/v1/…/execs/e1". */
void exec_stdin_begin(struct exec_stdin *in, struct client *client, const char *exec_path, int from,
                      struct terminal *terminal);
enum { EXEC_STDIN_POLL = 2 };

void exec_stdin_poll(const struct exec_stdin *in, struct pollfd fds[EXEC_STDIN_POLL]);
/* Negative with `err`: input was lost (`broken`), or the service does not take it. */
int exec_stdin_step(struct exec_stdin *in, const struct pollfd fds[EXEC_STDIN_POLL],
                    struct err *err);

struct exec_loop {
    struct client *client;
    const char *exec_path; /* "/v1/…/execs/e1" */
    bool tty, with_stdin;
};

/* Follow the command to its end. 0 with the document of its end in `ret_exit`; EXEC_LOOP_SIGNAL:
 * this process was told to end, *ret_signal says by what; the command goes on. */
enum exec_loop_outcome { EXEC_LOOP_SIGNAL = 1 };
int exec_loop_run(const struct exec_loop *loop, struct buf *ret_exit, int *ret_signal,
                  struct err *err);

/* What was refused to the session while this command, that has ended, ran: on stderr. */
void exec_denied_tell(const struct verb *verb, const struct json_node *exec);

/* One event of an output stream: bytes to where they belong, a gap told on stderr. 0;
 * EXEC_EVENT_EXIT: it is the end, and its data is the exec; -EPIPE: nobody reads; negative. */
enum exec_event_outcome { EXEC_EVENT_EXIT = 1 };
int exec_event(const struct client_event *event, struct err *err);
