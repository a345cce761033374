/* This file waits for everything that can happen to a running command: frames of its session,
 * signals to berth, the end of berth's parent, bytes to copy, and deadlines. It decides how the
 * command ended; it never tells anybody.
 */
#include "api/cli/exec_exit.h"
#include "api/cli/run.h"

#include "runtime/base/fd.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>

enum {
    POLL_FRAMES,
    POLL_SIGNALS,
    POLL_PARENT,
    POLL_NETWORK,
    POLL_GATEWAY,
    POLL_STREAMS,
    POLL_COUNT = POLL_STREAMS + STREAMS_POLL,
    /* init keeps the deadlines; when it does not (it is a hostile peer), berth does, so much
     * later. */
    DEADLINE_MARGIN_MS = 3000,
    RETRY_MS = 250,    /* how often a terminal in another job's foreground is looked at */
    SILENCE_MS = 1000, /* no writer is left: a pipe without bytes and without end is given up */
};

/* What a signal to berth does to the command: it is forwarded, and the `cancel_at`-th of its kind
 * within the grace time ends the command whatever it thinks of it (0: never). */
static const struct forward {
    int signo;
    unsigned cancel_at;
} forwards[] = {{SIGINT, 3}, {SIGTERM, 2}, {SIGHUP, 2}, {SIGQUIT, 3}, {SIGUSR1, 0}, {SIGUSR2, 0}};
enum { FORWARD_COUNT = sizeof forwards / sizeof forwards[0] };

/* The state of one wait. */
struct wait {
    struct run *run;
    uint64_t deadline_ms; /* CLOCK_MONOTONIC; 0: none */
    enum agent_reason at_deadline;
    uint64_t first_ms[FORWARD_COUNT];
    unsigned seen[FORWARD_COUNT];
    bool output_gone; /* the reader of captured output left, and the command was told */
    bool done;
};

static uint64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* "auto" leaves out those who have said that the command is to outlive its starter: nohup ignores
 * SIGHUP, setsid and service managers make a session leader. */
int run_loop_parent(enum run_parent when, int *ret, struct err *err)
{
    pid_t parent = getppid();
    if (when == RUN_PARENT_NEVER || parent <= 1)
        return 0;
    struct sigaction hangup;
    if (when == RUN_PARENT_AUTO &&
        ((sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN) ||
         getsid(0) == getpid()))
        return 0;
    int fd = (int)syscall(SYS_pidfd_open, parent, 0);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "tie the session to its caller", NULL,
                       "--die-with-parent never starts it without.");
    *ret = fd;
    return 0;
}

int run_loop_open(struct run *run, struct err *err)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < FORWARD_COUNT; i++)
        sigaddset(&set, forwards[i].signo);
    sigaddset(&set, SIGWINCH);
    sigaddset(&set, SIGTSTP);
    sigaddset(&set, SIGCONT);
    run->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (run->signals < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a signal descriptor", NULL, NULL);
    /* Blocked and not awaited: a write to a reader that left is EPIPE, a read in the background
     * EIO; both are handled where they happen. */
    sigaddset(&set, SIGPIPE);
    sigaddset(&set, SIGTTIN);
    sigaddset(&set, SIGTTOU);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return 0;
}

/* The signals stay blocked: berth ends next, and one that is pending (SIGPIPE of a reader that
 * left, a late SIGTERM) must not take the place of the command's own status. */
void run_loop_close(struct run *run)
{
    fd_replace(&run->signals, -1);
    fd_replace(&run->parent, -1);
}

static void end_at(struct wait *wait, uint64_t in_ms, enum agent_reason reason)
{
    uint64_t at = now_ms() + in_ms;
    if (wait->deadline_ms == 0 || at < wait->deadline_ms) {
        wait->deadline_ms = at;
        wait->at_deadline = reason;
    }
}

static void cancel(struct wait *wait)
{
    /* A failure means that init does not listen any more: then the deadline ends the session. */
    (void)session_kill(wait->run->session, RUN_EXEC, AGENT_REASON_CANCELLED);
    end_at(wait, RUN_GRACE_MS + DEADLINE_MARGIN_MS, AGENT_REASON_CANCELLED);
}

/* ---- signals ------------------------------------------------------------------------------------
 */

static bool cancels(struct wait *wait, size_t i)
{
    uint64_t now = now_ms();
    if (wait->seen[i] == 0 || now - wait->first_ms[i] > RUN_GRACE_MS) {
        wait->first_ms[i] = now;
        wait->seen[i] = 0;
    }
    return ++wait->seen[i] == forwards[i].cancel_at;
}

/* A key pressed at a terminal goes to the whole foreground job; a signal sent by a process goes to
 * the process that it was sent to. */
static enum agent_scope scope_of(const struct run *run, const struct signalfd_siginfo *info)
{
    if (run->tty)
        return AGENT_SCOPE_FOREGROUND;
    return info->ssi_code == SI_KERNEL ? AGENT_SCOPE_TREE : AGENT_SCOPE_MAIN;
}

static void forward(struct wait *wait, const struct signalfd_siginfo *info)
{
    for (size_t i = 0; i < FORWARD_COUNT; i++) {
        if (forwards[i].signo != (int)info->ssi_signo)
            continue;
        /* A session that takes no signal runs nothing any more: berth is what is to end. */
        if (cancels(wait, i) || session_signal(wait->run->session, RUN_EXEC, forwards[i].signo,
                                               scope_of(wait->run, info)) < 0)
            cancel(wait);
    }
}

/* Ctrl-Z, or a stop by the shell: the command stops too, the shell gets its terminal back as it
 * was, and all of it is undone when berth goes on. */
static void stop_and_continue(struct run *run)
{
    (void)session_signal(run->session, RUN_EXEC, SIGSTOP, AGENT_SCOPE_TREE);
    terminal_leave(&run->streams.terminal);
    kill(getpid(), SIGSTOP);
    streams_enter(&run->streams);
    (void)session_signal(run->session, RUN_EXEC, SIGCONT, AGENT_SCOPE_TREE);
}

static void resize(struct run *run)
{
    if (run->streams.size_fd < 0 || !run->tty)
        return;
    uint16_t rows, columns;
    terminal_size(run->streams.size_fd, &rows, &columns);
    (void)session_resize(run->session, RUN_EXEC, rows, columns);
}

static void take_signals(struct wait *wait)
{
    struct signalfd_siginfo info;
    while (read(wait->run->signals, &info, sizeof info) == sizeof info) {
        switch (info.ssi_signo) {
        case SIGWINCH:
        case SIGCONT:
            resize(wait->run);
            break;
        case SIGTSTP:
            stop_and_continue(wait->run);
            resize(wait->run);
            break;
        default:
            forward(wait, &info);
        }
    }
}

/* ---- frames -------------------------------------------------------------------------------------
 */

static void take_start_failure(struct run_outcome *outcome, const struct agent_start_failed *failed,
                               const char *command)
{
    outcome->fault = (enum agent_start_fault)failed->fault;
    outcome->failed = true;
    char step[sizeof failed->step + 1] = "", subject[sizeof failed->subject + 1] = "";
    memcpy(step, failed->step, sizeof failed->step);
    memcpy(subject, failed->subject, sizeof failed->subject);
    int status = outcome->fault == AGENT_START_NOT_FOUND        ? CLI_EXIT_NOT_FOUND
                 : outcome->fault == AGENT_START_NOT_EXECUTABLE ? CLI_EXIT_NOT_EXECUTABLE
                                                                : CLI_EXIT_BERTH;
    exec_start_error(status, failed->sys, step, subject, command, &outcome->err);
}

static void died_of(struct run_outcome *outcome, int signo)
{
    outcome->reason = AGENT_REASON_SIGNAL;
    outcome->exit.exit_code = -1;
    outcome->exit.signal = signo;
}

static void take_frame(struct wait *wait, const struct agent_frame *frame, const void *payload)
{
    struct run_outcome *outcome = &wait->run->outcome;
    if (frame->exec != RUN_EXEC)
        return;
    switch ((enum agent_frame_type)frame->type) {
    case AGENT_FRAME_DATA:
        streams_feed(&wait->run->streams, (enum agent_stream)frame->stream, payload, frame->length);
        outcome->tty_bytes += frame->length;
        return;
    case AGENT_FRAME_DENIED: {
        struct agent_denied denied;
        memcpy(&denied, payload, sizeof denied);
        run_denied_take(wait->run, &denied);
        return;
    }
    case AGENT_FRAME_START_FAILED: /* the only frame of its exec: no EXIT follows */
        wait->done = true;
        take_start_failure(outcome, payload, wait->run->options.command[0]);
        outcome->reason = AGENT_REASON_START_FAILED;
        return;
    case AGENT_FRAME_EXIT:
        memcpy(&outcome->exit, payload, sizeof outcome->exit);
        outcome->reason = (enum agent_reason)outcome->exit.reason;
        wait->done = true;
        return;
    default: /* READY, PONG and tables are the runtime's */
        return;
    }
}

static void lost(struct wait *wait, const struct err *why)
{
    struct run_outcome *outcome = &wait->run->outcome;
    wait->done = true;
    outcome->reason = AGENT_REASON_LOST;
    outcome->failed = true;
    if (why)
        outcome->err = *why;
    else
        err_set(&outcome->err, ERR_UNAVAILABLE, 0, "wait for the command", NULL,
                "The session ended before its command did.");
}

static void take_frames(struct wait *wait)
{
    while (!wait->done && streams_can_feed(&wait->run->streams)) {
        struct agent_frame frame;
        const void *payload;
        struct err err;
        int r = session_next_frame(wait->run->session, &frame, &payload, &err);
        if (r == SESSION_FRAME_NONE)
            return;
        if (r != 0)
            lost(wait, r < 0 ? &err : NULL);
        else
            take_frame(wait, &frame, payload);
    }
}

/* ---- waiting ------------------------------------------------------------------------------------
 */

static int poll_timeout(const struct wait *wait, bool retry)
{
    int timeout = retry ? RETRY_MS : -1;
    if (wait->deadline_ms == 0)
        return timeout;
    uint64_t now = now_ms(), left = wait->deadline_ms > now ? wait->deadline_ms - now : 0;
    if (left > INT32_MAX / 2)
        left = INT32_MAX / 2;
    return timeout >= 0 && (uint64_t)timeout < left ? timeout : (int)left;
}

static void check_deadline(struct wait *wait)
{
    if (wait->done || wait->deadline_ms == 0 || now_ms() < wait->deadline_ms)
        return;
    /* session_destroy() kills what is left. */
    wait->run->outcome.reason = wait->at_deadline;
    wait->done = true;
}

/* A PTY whose reader is gone has hung up; captured output has lost its pipe. */
static void check_output(struct wait *wait)
{
    if (wait->output_gone || !streams_reader_gone(&wait->run->streams))
        return;
    wait->output_gone = true;
    bool tty = wait->run->tty;
    (void)session_signal(wait->run->session, RUN_EXEC, tty ? SIGHUP : SIGPIPE,
                         tty ? AGENT_SCOPE_FOREGROUND : AGENT_SCOPE_TREE);
}

static void step(struct wait *wait)
{
    struct run *run = wait->run;
    struct pollfd fds[POLL_COUNT];
    bool retry = streams_retry(&run->streams);
    int frames = streams_can_feed(&run->streams) ? session_frames_fd(run->session) : -1;
    fds[POLL_FRAMES] = (struct pollfd){.fd = frames, .events = POLLIN};
    fds[POLL_SIGNALS] = (struct pollfd){.fd = run->signals, .events = POLLIN};
    fds[POLL_PARENT] = (struct pollfd){.fd = run->parent, .events = POLLIN};
    fds[POLL_NETWORK] = (struct pollfd){.fd = run_network_fd(run), .events = POLLIN};
    fds[POLL_GATEWAY] = (struct pollfd){.fd = run_network_asks(run), .events = POLLIN};
    streams_poll(&run->streams, fds + POLL_STREAMS);
    if (poll(fds, POLL_COUNT, poll_timeout(wait, retry)) < 0) {
        if (errno == EINTR)
            return;
        struct err err;
        err_set(&err, ERR_INTERNAL, errno, "wait for the command", NULL, NULL);
        lost(wait, &err);
        return;
    }
    if (fds[POLL_SIGNALS].revents)
        take_signals(wait);
    if (fds[POLL_PARENT].revents) {
        fd_replace(&run->parent, -1);
        run->outcome.parent_died = true;
        cancel(wait);
    }
    if (fds[POLL_NETWORK].revents)
        run_network_take(run);
    if (fds[POLL_GATEWAY].revents)
        run_network_serve(run);
    streams_step(&run->streams, fds + POLL_STREAMS);
    check_output(wait);
    if (fds[POLL_FRAMES].revents)
        take_frames(wait);
    check_deadline(wait);
}

void run_loop(struct run *run)
{
    struct wait wait = {.run = run};
    uint64_t timeout_ms = run->spec->limits.exec_timeout_ms;
    if (timeout_ms)
        end_at(&wait, timeout_ms + RUN_GRACE_MS + DEADLINE_MARGIN_MS, AGENT_REASON_TIMEOUT);
    while (!wait.done)
        step(&wait);
    streams_end_input(&run->streams);
}

/* The signal by which somebody wants berth to end now; 0: none. */
static int signal_to_end(struct run *run)
{
    struct signalfd_siginfo info;
    while (read(run->signals, &info, sizeof info) == sizeof info)
        if (info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM || info.ssi_signo == SIGHUP ||
            info.ssi_signo == SIGQUIT)
            return (int)info.ssi_signo;
    return 0;
}

bool run_loop_told_to_end(struct run *run)
{
    int signo = signal_to_end(run);
    if (signo)
        died_of(&run->outcome, signo);
    return signo != 0;
}

/* Called when no process of the session is left. A reader that is slow is waited for, as the
 * command itself would have waited in write(2); it ends when the reader does or berth is told to.
 * After a deadline the caller wants its prompt back: then only a reader that goes on reading is.
 */
void run_loop_drain(struct run *run)
{
    bool late = run->outcome.reason == AGENT_REASON_TIMEOUT;
    while (!streams_drained(&run->streams)) {
        struct pollfd fds[POLL_COUNT];
        fds[POLL_FRAMES] = (struct pollfd){.fd = -1};
        fds[POLL_SIGNALS] = (struct pollfd){.fd = run->signals, .events = POLLIN};
        fds[POLL_PARENT] = (struct pollfd){.fd = run->parent, .events = POLLIN};
        fds[POLL_NETWORK] = (struct pollfd){.fd = -1};
        fds[POLL_GATEWAY] = (struct pollfd){.fd = -1};
        streams_poll(&run->streams, fds + POLL_STREAMS);
        bool pending =
            relay_pending(&run->streams.relay[1]) || relay_pending(&run->streams.relay[2]);
        int r = poll(fds, POLL_COUNT, pending && !late ? -1 : SILENCE_MS);
        if ((r < 0 && errno != EINTR) || r == 0 || fds[POLL_PARENT].revents)
            return;
        if (r > 0 && fds[POLL_SIGNALS].revents && signal_to_end(run))
            return;
        if (r > 0)
            streams_step(&run->streams, fds + POLL_STREAMS);
    }
}
