/* This file moves execs through their states after they started; it never blocks and never loses a
 * captured byte while somebody reads the frames.
 */
#include "runtime/agent/life.h"

#include "runtime/agent/denied.h"
#include "runtime/agent/exec.h"
#include "runtime/agent/input.h"
#include "runtime/agent/pty.h"
#include "runtime/agent/spool_writer.h"
#include "runtime/agent/tree.h"
#include "runtime/agent/worker.h"
#include "runtime/base/fd.h"

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/statfs.h>
#include <sys/wait.h>

static const uint64_t ns_per_ms = 1000000;

/* Between two looks at a tree that dies, and at one that may stay: the SIGCHLD of its last orphan
 * usually comes first. */
static const uint64_t retry_ns = 2 * 1000000;
static const uint64_t retry_background_ns = 1000 * 1000000;

/* Between two looks at a terminal that its program has closed. */
static const uint64_t rest_again_ns = 100 * 1000000;

/* Between two frames that tell of a spool's growth. */
static const uint64_t tell_again_ns = 5 * 1000000;

/* fs.pipe-max-size for both streams: more than this was not written by the dead. */
enum { REST_MOST = 2 << 20 };

/* ---- frames --------------------------------------------------------------------------------- */

static void push_row(struct init *init, const struct row *row, enum agent_row_state state)
{
    struct agent_table_row payload = {
        .exec = row->number,
        .state = state,
        .pid = (uint32_t)row->pid,
        .last_seq = row->seq,
        .cgroup = state == AGENT_ROW_RUNNING ? row->cgroup_id : 0,
    };
    if (state != AGENT_ROW_RUNNING)
        payload.exit = row->exit;
    struct agent_frame frame = {
        .type = AGENT_FRAME_TABLE, .length = sizeof payload, .exec = row->number};
    output_push(&init->output, &frame, &payload);
}

bool life_push_told(struct init *init, struct row *row)
{
    if (!denied_tell_all(init, row) ||
        !output_has_room(&init->output, sizeof(struct agent_table_row) +
                                            sizeof(struct agent_frame) + sizeof row->failed))
        return false;
    if (row->state == ROW_ENDED && row->exit.reason == AGENT_REASON_START_FAILED) {
        struct agent_frame frame = {
            .type = AGENT_FRAME_START_FAILED, .length = sizeof row->failed, .exec = row->number};
        output_push(&init->output, &frame, &row->failed);
    }
    push_row(init, row,
             row->state == ROW_ENDED        ? AGENT_ROW_ENDED
             : row->state == ROW_BACKGROUND ? AGENT_ROW_BACKGROUND
                                            : AGENT_ROW_RUNNING);
    return true;
}

static bool push_started(struct init *init, struct row *row)
{
    struct agent_started payload = {.pid = (uint32_t)row->pid, .cgroup = row->cgroup_id};
    if (!output_has_room(&init->output, sizeof payload))
        return false;
    struct agent_frame frame = {
        .type = AGENT_FRAME_STARTED, .length = sizeof payload, .exec = row->number};
    output_push(&init->output, &frame, &payload);
    row->owes_started = false;
    return true;
}

static void push_spool(struct init *init, struct row *row, uint64_t now)
{
    struct agent_frame frame = {.type = AGENT_FRAME_SPOOL, .exec = row->number, .seq = row->seq};
    output_push(&init->output, &frame, NULL);
    row->spool_news = false;
    row->told_ns = now;
}

/* These stay off the reserve: what a reader that sleeps is not told it sees in the file. */
static bool may_tell_spool(const struct init *init, const struct row *row)
{
    return row->spool_news && !row->owes_started && output_data_room(&init->output) > 0;
}

static void spool_exit_once(struct row *row, bool last)
{
    if (!row->spool || row->exit_spooled)
        return;
    spool_writer_exit(row->spool, &row->exit, last);
    row->seq = row->exit_seq = spool_writer_seq(row->spool);
    row->exit_spooled = true;
    row->spool_news = true;
}

static bool push_exit(struct init *init, struct row *row)
{
    if (row->owes_started || !denied_tell_all(init, row) ||
        !output_has_room(&init->output, sizeof row->exit + sizeof(struct agent_frame)))
        return false;
    if (row->spool && row->spool_news)
        push_spool(init, row, init_now_ns(CLOCK_MONOTONIC));
    if (!row->exit_spooled)
        row->exit_seq = ++row->seq;
    struct agent_frame frame = {.type = AGENT_FRAME_EXIT,
                                .length = sizeof row->exit,
                                .exec = row->number,
                                .seq = row->exit_seq};
    output_push(&init->output, &frame, &row->exit);
    return true;
}

/* ---- captured output ------------------------------------------------------------------------ */

/* Streams of a spool never wait for the reader of frames. */
static int set_of(const struct init *init, const struct row *row)
{
    return row->spool ? init->wait : init->capture;
}

static bool captures(const struct row *row)
{
    return row->stream[0] >= 0 || row->stream[1] >= 0;
}

static void stream_wait(struct init *init, struct row *row, unsigned which)
{
    if (row->stream[which] < 0)
        return;
    struct epoll_event event = {.events = EPOLLIN,
                                .data.u64 =
                                    init_wait_data(which == 0 ? WAIT_STREAM_0 : WAIT_STREAM_1,
                                                   table_index(&init->table, row))};
    epoll_ctl(set_of(init, row), EPOLL_CTL_ADD, row->stream[which], &event);
}

/* Programs close their streams before they end (all of GNU's do), and closing our end now would
 * kill them with SIGHUP in between. Somebody may open the terminal anew: it is looked at again. */
static void terminal_rest(struct init *init, struct row *row)
{
    epoll_ctl(set_of(init, row), EPOLL_CTL_DEL, row->stream[0], NULL);
    row->rest_ns = init_now_ns(CLOCK_MONOTONIC) + rest_again_ns;
}

static void terminal_again(struct init *init, struct row *row)
{
    if (row->rest_ns == 0)
        return;
    row->rest_ns = 0;
    stream_wait(init, row, 0);
}

/* Out of the set first: a child that is just being started has copies of our descriptors, and the
 * set would go on reporting what only such a copy keeps open. */
static void stream_close(struct init *init, struct row *row, unsigned which)
{
    if (row->stream[which] < 0)
        return;
    if (which == 0) {
        pty_free(init, row);
        row->rest_ns = 0;
    }
    epoll_ctl(set_of(init, row), EPOLL_CTL_DEL, row->stream[which], NULL);
    fd_replace(&row->stream[which], -1);
}

void life_close(struct init *init, struct row *row)
{
    stream_close(init, row, 0);
    stream_close(init, row, 1);
    denied_close(init, row);
    pty_free(init, row);
    input_free(init, row);
    spool_writer_close(row->spool);
    row->spool = NULL;
    if (row->error >= 0)
        epoll_ctl(init->wait, EPOLL_CTL_DEL, row->error, NULL);
    fd_replace(&row->error, -1);
}

static enum agent_stream stream_name(const struct row *row, unsigned which)
{
    if (row->state == ROW_BACKGROUND)
        return AGENT_BACKGROUND;
    if (row->pty)
        return AGENT_TTY;
    return which == 0 ? AGENT_STDOUT : AGENT_STDERR;
}

static size_t capture_room(const struct init *init, const struct row *row)
{
    return row->spool ? sizeof init->piece : output_data_room(&init->output);
}

static void take_piece(struct init *init, struct row *row, enum agent_stream stream, size_t length)
{
    uint64_t now = init_now_ns(CLOCK_MONOTONIC);
    row->exit.output_bytes += length;
    row->activity_ns = now;
    if (length > BUFFER_KEPT)
        init->buffers_ns = now;
    if (row->spool) {
        spool_writer_write(row->spool, stream, init->piece, length);
        row->seq = spool_writer_seq(row->spool);
        row->spool_news = true;
        if (row->output_limit > 0 && row->exit.output_bytes > row->output_limit &&
            row->state == ROW_RUNNING)
            life_ask_end(init, row, AGENT_REASON_OUTPUT_LIMIT);
        return;
    }
    struct agent_frame frame = {.type = AGENT_FRAME_DATA,
                                .length = (uint32_t)length,
                                .stream = (uint16_t)stream,
                                .exec = row->number,
                                .seq = ++row->seq};
    output_push(&init->output, &frame, init->output.chunk);
}

/* 1 something was read, 0 nothing is there now, -1 it has ended (and is closed). The caller has
 * room. */
static int capture_piece(struct init *init, struct row *row, unsigned which, size_t room)
{
    ssize_t n;
    do
        n = read(row->stream[which], row->spool ? init->piece : init->output.chunk, room);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0) { /* a terminal that nobody has open any more says EIO */
        if (row->pty && row->main_alive)
            terminal_rest(init, row);
        else
            stream_close(init, row, which);
        return -1;
    }
    take_piece(init, row, stream_name(row, which), (size_t)n);
    return 1;
}

void life_capture(struct init *init, struct row *row, unsigned which)
{
    size_t room = capture_room(init, row);
    if (room > 0 && row->stream[which] >= 0)
        capture_piece(init, row, which, room);
}

/* Everything that dead processes left in the pipes. An end that somebody else holds (passed to a
 * command that lives) would never close: empty is enough, and so is as much as a pipe can hold,
 * because that somebody may go on writing. False when there is no room now. */
static bool capture_rest(struct init *init, struct row *row)
{
    for (unsigned which = 0; which < 2; which++) {
        while (row->stream[which] >= 0) {
            size_t room = capture_room(init, row);
            if (room == 0)
                return false;
            uint64_t before = row->exit.output_bytes;
            int r = row->rest_bytes < REST_MOST ? capture_piece(init, row, which, room) : 0;
            row->rest_bytes += (uint32_t)(row->exit.output_bytes - before);
            if (r == 0)
                stream_close(init, row, which);
        }
    }
    return true;
}

/* ---- the end -------------------------------------------------------------------------------- */

static uint64_t rusage_us(const struct rusage *usage)
{
    return (uint64_t)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

/* EXEC-6: the kernel's word, and ours about what we did ourselves. */
static enum agent_reason reason_of(const struct row *row)
{
    if (row->reason_asked != AGENT_REASON_NONE)
        return (enum agent_reason)row->reason_asked;
    if (row->exit.signal == SIGKILL && !row->main_killed && row->exit.oom_kills > 0)
        return AGENT_REASON_OOM;
    return row->exit.signal ? AGENT_REASON_SIGNAL : AGENT_REASON_EXIT;
}

/* Our root directory is the scratch: a tmpfs, or an overlay that answers for the tmpfs under its
 * upper. Only what is used up to the last page or file counts: a command that removed what it wrote
 * has room again, and nothing is known of what it was refused before. A number that is 0 stands for
 * no limit. Not to know is no error: it is told, not relied on. */
static uint32_t scratch_full(void)
{
    struct statfs fs;
    if (statfs("/", &fs) < 0)
        return 0;
    return (fs.f_blocks > 0 && fs.f_bavail == 0 ? AGENT_FULL_BYTES : 0u) |
           (fs.f_files > 0 && fs.f_ffree == 0 ? AGENT_FULL_INODES : 0u);
}

static void count_limits(struct init *init, struct row *row)
{
    if (init->config.have & AGENT_HAVE_OOM)
        row->exit.oom_kills = (uint32_t)(tree_counter(AGENT_FD_OOM, "oom_kill") - row->oom_before);
    if (init->config.have & AGENT_HAVE_PIDS)
        row->exit.pids_denied = tree_counter(AGENT_FD_PIDS, "max") - row->pids_before;
    row->exit.scratch_full = scratch_full();
}

void life_main_ended(struct init *init, struct row *row, int status, const struct rusage *usage)
{
    row->main_alive = false;
    row->look_ns = 0;
    terminal_again(init, row);
    struct agent_exit *exit = &row->exit;
    exit->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    exit->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    exit->cpu_us = rusage_us(usage);
    exit->max_rss_bytes = (uint64_t)usage->ru_maxrss * 1024u;
    exit->ended_ns = init_now_ns(CLOCK_REALTIME);
    count_limits(init, row);
    exit->reason = reason_of(row);
    if (row->state == ROW_STARTING)
        exec_check_start(init, row);
    if (row->state == ROW_RUNNING) {
        row->state = ROW_DRAINING;
        row->drain_until_ns = init_now_ns(CLOCK_MONOTONIC) + LIFE_DRAIN_MS * ns_per_ms;
    }
}

void life_ask_end(struct init *init, struct row *row, enum agent_reason reason)
{
    switch ((enum row_state)row->state) {
    case ROW_STARTING:
    case ROW_RUNNING:
        if (row->reason_asked != AGENT_REASON_NONE)
            return;
        row->reason_asked = (uint8_t)reason;
        if (row->grace_ns > 0 && row->state == ROW_RUNNING) {
            tree_signal(init, row, SIGTERM);
            row->kill_at_ns = init_now_ns(CLOCK_MONOTONIC) + row->grace_ns;
        } else {
            tree_kill(init, row);
        }
        return;
    case ROW_DRAINING:
    case ROW_BACKGROUND:
        /* The outcome is known; what is left has had its time. */
        row->keep_children = false;
        tree_kill(init, row);
        return;
    case ROW_KILLING:
    case ROW_FINISHING:
    case ROW_FAILING:
    case ROW_ENDED:
    case ROW_FREE:
        return;
    }
}

/* ---- what can be done now -------------------------------------------------------------------- */

void life_shift(struct row *row, uint64_t from, uint64_t to)
{
    if (row->deadline_ns > 0)
        row->deadline_ns += to - from;
    row->activity_ns = row->activity_ns > from ? to : row->activity_ns + (to - from);
}

static void check_times(struct init *init, struct row *row, uint64_t now)
{
    if (init->paused_ns == 0 && (row->state == ROW_STARTING || row->state == ROW_RUNNING)) {
        if (row->deadline_ns > 0 && now >= row->deadline_ns)
            life_ask_end(init, row, AGENT_REASON_TIMEOUT);
        else if (row->files ? !worker_moved(row, now)
                            : row->idle_ns > 0 && now >= row->activity_ns + row->idle_ns)
            life_ask_end(init, row, AGENT_REASON_IDLE_TIMEOUT);
    }
    if (row->kill_at_ns > 0 && now >= row->kill_at_ns && !row->killed)
        tree_kill(init, row);
    /* One write kills all that there is; again, in case that write failed. */
    if (row->killed && row->main_alive && now >= row->look_ns) {
        if (row->look_ns > 0) {
            tree_kill(init, row);
            if (row->files && !row->abandoned)
                worker_abandon(init, row);
        }
        row->look_ns = now + retry_background_ns;
    }
}

/* tree_gone(), but only when something may have changed. */
static bool gone_now(struct init *init, struct row *row, uint64_t now, uint64_t again_ns)
{
    if (!init->reaped && now < row->look_ns)
        return false;
    row->look_ns = now + again_ns;
    return tree_gone(init, row);
}

static bool drained(struct init *init, struct row *row, uint64_t now)
{
    if (row->killed)
        return true;
    /* Asked to end: the rest of the tree has the same grace as its main process. */
    if (row->reason_asked != AGENT_REASON_NONE)
        return gone_now(init, row, now, retry_ns);
    if (now >= row->drain_until_ns)
        return true;
    if (captures(row))
        return false;
    return !row->direct || gone_now(init, row, now, retry_ns);
}

/* Unasked: not among the rows of a table that is being told, whose reader counts them. */
static bool may_tell_row(const struct init *init)
{
    return !init->table.frozen && output_has_room(&init->output, sizeof(struct agent_table_row) +
                                                                     sizeof(struct agent_frame));
}

static void finish(struct init *init, struct row *row)
{
    if (!capture_rest(init, row))
        return;
    spool_exit_once(row, true);
    if (row->abandoned ? !may_tell_row(init) : !push_exit(init, row))
        return;
    if (row->abandoned)
        push_row(init, row, AGENT_ROW_ENDED);
    life_close(init, row);
    table_end(&init->table, row);
}

static void advance_draining(struct init *init, struct row *row, uint64_t now)
{
    if (!drained(init, row, now))
        return;
    if (row->keep_children && row->reason_asked == AGENT_REASON_NONE) {
        /* Bytes written before the main process ended are its own, not background. */
        spool_exit_once(row, false);
        if (row->spool)
            row->owes_exit = true;
        else if (output_data_room(&init->output) == 0 || !push_exit(init, row))
            return;
        row->state = ROW_BACKGROUND;
        row->owes_background = true;
        return;
    }
    row->state = ROW_KILLING;
    row->look_ns = 0;
}

static void advance_background(struct init *init, struct row *row, uint64_t now)
{
    if (row->owes_background && !row->owes_exit && may_tell_row(init)) {
        push_row(init, row, AGENT_ROW_BACKGROUND);
        row->owes_background = false;
    }
    if (!gone_now(init, row, now, row->killed ? retry_ns : retry_background_ns))
        return;
    /* What is owed comes first; the pipe of frames wakes us. */
    if (!capture_rest(init, row) || row->owes_background || !denied_tell_all(init, row) ||
        !may_tell_row(init)) {
        row->look_ns = 0;
        return;
    }
    bool spooled = row->spool;
    life_close(init, row);
    if (spooled)
        push_spool(init, row, now);
    push_row(init, row, AGENT_ROW_ENDED);
    table_end(&init->table, row);
}

static void advance_killing(struct init *init, struct row *row, uint64_t now)
{
    if (!init->reaped && now < row->look_ns)
        return;
    row->look_ns = now + retry_ns;
    if (tree_gone(init, row))
        row->state = ROW_FINISHING;
    else
        tree_kill(init, row);
}

static void advance_failing(struct init *init, struct row *row, uint64_t now)
{
    if (row->main_alive || !gone_now(init, row, now, retry_ns))
        return;
    /* Ended on demand before it ran: that is how it ended. */
    if (row->reason_asked != AGENT_REASON_NONE)
        row->state = ROW_FINISHING;
    else
        exec_report_failure(init, row);
}

void life_advance(struct init *init, struct row *row)
{
    uint64_t now = init_now_ns(CLOCK_MONOTONIC);
    if (row->owes_started && !push_started(init, row) && !row->spool)
        return;
    if (!row->captures && row->state >= ROW_RUNNING && row->state <= ROW_BACKGROUND) {
        stream_wait(init, row, 0);
        stream_wait(init, row, 1);
        row->captures = true;
    }
    if (row->owes_exit && push_exit(init, row))
        row->owes_exit = false;
    if (may_tell_spool(init, row) && now >= row->told_ns + tell_again_ns)
        push_spool(init, row, now);
    denied_tell(init, row, now);
    check_times(init, row, now);
    if (row->rest_ns > 0 && now >= row->rest_ns)
        terminal_again(init, row);
    if (pty_waits(row))
        pty_work(init, row);
    if (row->state == ROW_DRAINING)
        advance_draining(init, row, now);
    if (row->state == ROW_BACKGROUND)
        advance_background(init, row, now);
    if (row->state == ROW_KILLING)
        advance_killing(init, row, now);
    if (row->state == ROW_FAILING)
        advance_failing(init, row, now);
    if (row->state == ROW_FINISHING)
        finish(init, row);
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return b > 0 && b < a ? b : a;
}

uint64_t life_next_ns(const struct init *init, const struct row *row, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;
    switch ((enum row_state)row->state) {
    case ROW_STARTING:
    case ROW_RUNNING:
        next = sooner(next, row->killed ? row->look_ns : row->kill_at_ns);
        if (row->reason_asked == AGENT_REASON_NONE && init->paused_ns == 0) {
            next = sooner(next, row->deadline_ns);
            if (row->files)
                next = sooner(next, row->cpu_look_ns);
            else
                next = sooner(next, row->idle_ns > 0 ? row->activity_ns + row->idle_ns : 0);
        }
        break;
    case ROW_DRAINING:
        /* Past its time it waits for room in the queue; the pipe of frames wakes us. */
        next = row->drain_until_ns > now_ns ? row->drain_until_ns : UINT64_MAX;
        next = sooner(next, row->killed ? 0 : row->kill_at_ns);
        if (row->direct || row->reason_asked != AGENT_REASON_NONE)
            next = sooner(next, row->look_ns);
        break;
    case ROW_KILLING:
    case ROW_FAILING:
    case ROW_BACKGROUND:
        next = sooner(now_ns + retry_background_ns, row->look_ns);
        break;
    case ROW_FINISHING: /* waits for room: the frames pipe wakes us */
    case ROW_ENDED:
    case ROW_FREE:
        break;
    }
    next = sooner(next, row->rest_ns);
    next = sooner(next, denied_next_ns(init, row));
    if (may_tell_spool(init, row))
        next = sooner(next, row->told_ns + tell_again_ns);
    if (pty_waits(row))
        next = sooner(next, now_ns + 10 * retry_ns);
    return next;
}
