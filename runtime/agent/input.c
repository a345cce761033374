/* This file moves standard input from controllers to commands and counts it; it never looks at a
 * byte and never waits.
 */
#include "runtime/agent/input.h"

#include "runtime/agent/borrow.h"
#include "runtime/agent/pty.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INPUT_PIECE = 64 * 1024 };

static int make_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static void wait_for(struct init *init, struct row *row, int fd, uint32_t events,
                     enum wait_kind kind, bool *waited)
{
    struct epoll_event event = {.events = events,
                                .data.u64 = init_wait_data(kind, table_index(&init->table, row))};
    if (fd >= 0 && epoll_ctl(init->wait, *waited ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) == 0)
        *waited = true;
}

/* The command's end is watched always: that nobody reads any more is known at once. */
static void choose(struct init *init, struct row *row, bool full)
{
    wait_for(init, row, row->feed, full ? EPOLLOUT : 0, WAIT_FEED, &row->feed_waited);
    wait_for(init, row, row->input[0], full ? 0 : EPOLLIN, WAIT_INPUT, &row->input_waited);
}

static void close_waited(struct init *init, int *fd, bool *waited)
{
    if (*waited)
        epoll_ctl(init->wait, EPOLL_CTL_DEL, *fd, NULL);
    *waited = false;
    fd_replace(fd, -1);
}

static void close_all(struct init *init, struct row *row)
{
    close_waited(init, &row->feed, &row->feed_waited);
    close_waited(init, &row->input[0], &row->input_waited);
    fd_replace(&row->input[1], -1);
}

int input_open(struct init *init, struct row *row, const struct agent_exec *exec, int from,
               int *ret_read, const char **ret_step)
{
    int ends[2];
    *ret_step = "open pipe for input";
    row->input[0] = from;
    row->input_left = UINT64_MAX;
    borrow_ids(init, exec);
    int r = pipe2(ends, O_CLOEXEC);
    borrow_end(init);
    if (r < 0)
        return -errno;
    row->feed = ends[1];
    *ret_read = ends[0];
    row->takes_input = true;
    r = make_nonblocking(row->feed);
    if (r == 0)
        r = make_nonblocking(row->input[0]);
    if (r == 0)
        choose(init, row, false);
    return r;
}

size_t input_may_take(const struct row *row, size_t most)
{
    return row->input_left < most ? (size_t)row->input_left : most;
}

void input_took(struct row *row, size_t n)
{
    row->input_bytes += n;
    row->activity_ns = init_now_ns(CLOCK_MONOTONIC);
    if (row->input_left != UINT64_MAX)
        row->input_left -= n;
}

bool input_next(struct init *init, struct row *row)
{
    close_waited(init, &row->input[0], &row->input_waited);
    row->input[0] = take_fd(&row->input[1]);
    row->input_left = UINT64_MAX;
    return row->input[0] >= 0;
}

void input_work(struct init *init, struct row *row)
{
    bool full = false;
    struct pollfd reader = {.fd = row->feed};
    if (row->feed >= 0 && poll(&reader, 1, 0) == 1 && reader.revents & POLLERR) {
        close_all(init, row);
        return;
    }
    while (row->feed >= 0 && row->input[0] >= 0 && !full) {
        size_t most = input_may_take(row, INPUT_PIECE);
        ssize_t n = most == 0 ? 0
                              : splice(row->input[0], NULL, row->feed, NULL, most,
                                       SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
        if (n > 0) {
            input_took(row, (size_t)n);
            continue;
        }
        if (n == 0) { /* its controller has ended, or has nothing more to say */
            input_next(init, row);
            continue;
        }
        int available = 0;
        if (errno != EAGAIN && errno != EINTR) { /* EPIPE: nobody reads any more */
            close_all(init, row);
            return;
        }
        if (ioctl(row->input[0], FIONREAD, &available) < 0 || available == 0)
            break;
        full = true;
    }
    if (row->input[0] < 0 && row->input_ends)
        close_all(init, row);
    choose(init, row, full);
}

void input_end(struct init *init, struct row *row)
{
    row->input_ends = true;
    if (row->feed >= 0)
        input_work(init, row);
    else if (!row->takes_input)
        close_all(init, row);
}

static bool is_pipe(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* What the older pipe holds is counted, and more of it is not read: one writer at a time. */
static uint64_t attach(struct init *init, struct row *row, int *from)
{
    int left = 0;
    if (!row->takes_input || row->input_ends || (row->feed < 0 && !row->pty) || !is_pipe(*from) ||
        make_nonblocking(*from) < 0)
        return AGENT_STDIN_NONE;
    if (row->input[1] >= 0)
        return AGENT_STDIN_BUSY;
    if (row->input[0] >= 0 && ioctl(row->input[0], FIONREAD, &left) < 0)
        return AGENT_STDIN_NONE;
    row->input_left = (uint64_t)left;
    row->input[1] = take_fd(from);
    if (row->input[0] < 0 || left == 0)
        input_next(init, row);
    return row->input_bytes + (uint64_t)left;
}

void input_attach(struct init *init, struct row *row, int from)
{
    struct agent_frame frame = {.type = AGENT_FRAME_STDIN, .exec = row->number};
    frame.seq = attach(init, row, &from) + 1; /* 0 is no number of a frame */
    output_push(&init->output, &frame, NULL);
    fd_close(from);
    if (row->pty)
        pty_work(init, row);
    else
        input_work(init, row);
}

void input_free(struct init *init, struct row *row)
{
    close_all(init, row);
    row->takes_input = false;
}
