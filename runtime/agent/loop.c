/* This file waits for what happens to a session and hands it to whoever deals with it; it never
 * blocks anywhere else than in its one wait.
 */
#include "runtime/agent/loop.h"

#include "runtime/agent/connection.h"
#include "runtime/agent/control.h"
#include "runtime/agent/denied.h"
#include "runtime/agent/exec.h"
#include "runtime/agent/input.h"
#include "runtime/agent/life.h"
#include "runtime/agent/pty.h"
#include "runtime/agent/tree.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    EVENTS_A_ROUND = 32,
    REAPED_A_ROUND = 1024, /* a program that makes zombies for a living is not all there is */
    END_TRIES = 1000,
};

static const uint64_t buffers_rest_ns = (uint64_t)1000 * 1000000;

void loop_send_ready(struct init *init)
{
    struct agent_ready ready = {
        .pid = (uint32_t)getpid(),
        .seccomp_mode = (uint32_t)prctl(PR_GET_SECCOMP, 0, 0, 0, 0),
        .landlock_abi = init->config.landlock_abi,
        .have = init->config.have,
    };
    struct agent_frame frame = {.type = AGENT_FRAME_READY, .length = sizeof ready};
    output_push(&init->output, &frame, &ready);
}

void loop_send_failed(int fd, const struct err *err)
{
    struct {
        struct agent_frame frame;
        struct err err;
    } whole = {
        .frame = {.magic = AGENT_MAGIC,
                  .version = AGENT_VERSION,
                  .type = AGENT_FRAME_FAILED,
                  .length = sizeof *err,
                  .time_ns = init_now_ns(CLOCK_REALTIME)},
        .err = *err,
    };
    _Static_assert(sizeof whole == sizeof(struct agent_frame) + sizeof(struct err), "no padding");
    io_write_full(fd, &whole, sizeof whole); /* atomic; when the reader is gone nobody minds */
}

/* ---- children ------------------------------------------------------------------------------- */

static struct row *row_of_pid(struct init *init, pid_t pid)
{
    for (unsigned i = 0; i < init->table.live_count; i++) {
        struct row *row = &init->table.rows[init->table.live[i]];
        if (row->main_alive && row->pid == pid)
            return row;
    }
    return NULL;
}

/* Everything that died: our commands, and what they left behind. */
static void reap(struct init *init)
{
    struct signalfd_siginfo ignored;
    while (read(init->children, &ignored, sizeof ignored) > 0) {
    }
    init->reap_more = false;
    for (int i = 0; i < REAPED_A_ROUND; i++) {
        int status;
        struct rusage usage;
        pid_t pid = wait4(-1, &status, WNOHANG, &usage);
        if (pid < 0)
            init->no_children = errno == ECHILD;
        if (pid <= 0)
            return;
        init->reaped = true;
        struct row *row = row_of_pid(init, pid);
        if (row)
            life_main_ended(init, row, status, &usage);
    }
    init->reap_more = true;
}

/* ---- events --------------------------------------------------------------------------------- */

static void read_captured(struct init *init)
{
    struct epoll_event events[EVENTS_A_ROUND];
    int n = epoll_wait(init->capture, events, EVENTS_A_ROUND, 0);
    for (int i = 0; i < n; i++) {
        struct row *row = &init->table.rows[events[i].data.u64 >> 8];
        life_capture(init, row, (events[i].data.u64 & 0xff) == WAIT_STREAM_0 ? 0 : 1);
    }
}

static void handle(struct init *init, const struct epoll_event *event)
{
    unsigned which = (unsigned)(event->data.u64 >> 8);
    struct row *row = &init->table.rows[which < TABLE_ROWS ? which : 0];
    switch ((enum wait_kind)(event->data.u64 & 0xff)) {
    case WAIT_LISTEN:
        connection_accept(init);
        return;
    case WAIT_HELLO:
        connection_hello(init, which);
        return;
    case WAIT_CONTROL:
        if (which != init->connection)
            return;
        if (event->events & EPOLLHUP && !control_ready(init))
            init->control_ended = true;
        control_read(init);
        return;
    case WAIT_CHILDREN:
        reap(init);
        return;
    case WAIT_CAPTURE:
        read_captured(init);
        return;
    case WAIT_ERROR:
        if (row->state == ROW_STARTING && row->error >= 0)
            exec_check_start(init, row);
        return;
    case WAIT_INPUT:
    case WAIT_FEED:
    case WAIT_PTY_MASTER:
        if (row->pty)
            pty_work(init, row);
        else
            input_work(init, row);
        return;
    case WAIT_STREAM_0: /* of a spool; others are in the nested set */
    case WAIT_STREAM_1:
        life_capture(init, row, (event->data.u64 & 0xff) == WAIT_STREAM_0 ? 0 : 1);
        return;
    case WAIT_DENIED:
        denied_take(init, row, event->events);
        return;
    case WAIT_FRAMES: /* flushed after every round; when the reader is gone that finds out */
        return;
    }
}

static void watch(struct init *init, int fd, uint32_t events, enum wait_kind kind)
{
    unsigned which = kind == WAIT_CAPTURE ? 0 : init->connection;
    struct epoll_event event = {.events = events, .data.u64 = init_wait_data(kind, which)};
    epoll_ctl(init->wait, EPOLL_CTL_MOD, fd, &event);
}

/* The pipe of frames has no reader any more. */
static void lost_reader(struct init *init)
{
    connection_close_frames(init);
    if (init->config.flags & AGENT_END_WITH_CONTROLLER)
        init->shutdown = true;
}

static bool reader_gone(const struct init *init)
{
    struct pollfd frames = {.fd = init->output.fd};
    return poll(&frames, 1, 0) == 1 && frames.revents & POLLERR;
}

static void send_frames(struct init *init, bool asked)
{
    if (init->output.broken)
        return;
    int r = output_flush(&init->output);
    if (r == 0 && asked && reader_gone(init)) {
        init->output.broken = true;
        r = -EPIPE;
    }
    if (r < 0) {
        lost_reader(init);
        return;
    }
    bool wait = r == OUTPUT_WAITS;
    if (wait != init->frames_wait)
        watch(init, init->output.fd, wait ? EPOLLOUT : 0, WAIT_FRAMES);
    init->frames_wait = wait;
}

/* What may be read now depends on what could be written. Captured streams rest as a whole. */
static void choose_waits(struct init *init)
{
    bool capture = output_data_room(&init->output) > 0;
    if (capture != init->capture_waits)
        watch(init, init->capture, capture ? EPOLLIN : 0, WAIT_CAPTURE);
    init->capture_waits = capture;

    bool control = control_ready(init);
    if (control != init->control_waits && init->control >= 0)
        watch(init, init->control, control ? EPOLLIN | EPOLLRDHUP : 0, WAIT_CONTROL);
    init->control_waits = control;
}

static void lost_controller(struct init *init)
{
    if (!init->control_ended)
        return;
    connection_close_control(init);
    if (init->config.flags & AGENT_END_WITH_CONTROLLER)
        init->shutdown = true;
}

/* Rows may leave the list while it is walked: from the end, a removal moves one that was seen. */
static void advance_all(struct init *init)
{
    for (unsigned i = init->table.live_count; i-- > 0;)
        life_advance(init, &init->table.rows[init->table.live[i]]);
    init->reaped = false;
}

/* Whole pages in it are zero again and cost nothing. */
static void give_back(void *start, size_t length)
{
    uintptr_t page = 4096, from = ((uintptr_t)start + page - 1) & ~(page - 1),
              to = ((uintptr_t)start + length) & ~(page - 1);
    if (from < to)
        madvise((void *)from, to - from, MADV_DONTNEED);
}

/* A session that is idle keeps no buffer, however much passed through it. */
static void rest_buffers(struct init *init)
{
    uint64_t now = init_now_ns(CLOCK_MONOTONIC);
    if (init->output.used > BUFFER_KEPT)
        init->buffers_ns = now;
    if (init->buffers_ns == 0 || now < init->buffers_ns + buffers_rest_ns)
        return;
    give_back(init->piece, sizeof init->piece);
    give_back(init->output.chunk, sizeof init->output.chunk);
    if (init->output.used == 0)
        give_back(init->output.ring, sizeof init->output.ring);
    init->buffers_ns = 0;
}

static int wait_ms(const struct init *init)
{
    if (init->reap_more)
        return 0;
    uint64_t now = init_now_ns(CLOCK_MONOTONIC), next = connection_next_ns(init);
    if (init->buffers_ns > 0 && init->buffers_ns + buffers_rest_ns < next)
        next = init->buffers_ns + buffers_rest_ns;
    for (unsigned i = 0; i < init->table.live_count; i++) {
        uint64_t at = life_next_ns(init, &init->table.rows[init->table.live[i]], now);
        if (at < next)
            next = at;
    }
    if (next == UINT64_MAX)
        return -1;
    if (next <= now)
        return 1;
    uint64_t ms = (next - now + 999999) / 1000000;
    return ms > 60000 ? 60000 : (int)ms;
}

/* The one command of a session that is for one: nothing of it is left, and its outcome is out. */
static bool command_over(const struct init *init)
{
    return (init->config.flags & AGENT_END_WITH_COMMAND) && init->table.used > 0 &&
           init->table.live_count == 0 && init->output.used == 0;
}

static void round_of(struct init *init)
{
    struct epoll_event events[EVENTS_A_ROUND];
    int n = epoll_wait(init->wait, events, EVENTS_A_ROUND, wait_ms(init));
    bool frames_event = false;
    for (int i = 0; i < n && !init->shutdown; i++) {
        frames_event |= (events[i].data.u64 & 0xff) == WAIT_FRAMES;
        handle(init, &events[i]);
    }
    if (init->reap_more)
        reap(init);
    lost_controller(init);
    connection_times(init);
    advance_all(init);
    control_send_table(init);
    control_answer_interrupts(init);
    send_frames(init, frames_event);
    rest_buffers(init);
    choose_waits(init);
    init->shutdown |= command_over(init);
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Everything but us. Our own exit would do it too, but leave the cgroups of commands. */
static void end_session(struct init *init)
{
    for (int i = 0; i < END_TRIES; i++) {
        bool all_gone = true;
        kill(-1, SIGKILL);
        reap(init);
        for (unsigned k = 0; k < init->table.live_count; k++) {
            struct row *row = &init->table.rows[init->table.live[k]];
            if (!tree_gone(init, row)) {
                tree_kill(init, row);
                all_gone = false;
            }
        }
        if (all_gone && init->no_children)
            break;
        poll(NULL, 0, 1);
    }
    output_flush(&init->output);
}

void loop_run(struct init *init)
{
    init->control_waits = true;
    send_frames(init, false);
    while (!init->shutdown)
        round_of(init);
    end_session(init);
}
