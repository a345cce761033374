/* This file makes terminals and feeds them; it never blocks. One page of memory per terminal. */
#include "runtime/agent/pty.h"

#include "runtime/agent/borrow.h"
#include "runtime/agent/input.h"
#include "runtime/base/fd.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <termios.h>

struct pty {
    bool master_waited;
    bool end_asked, end_sent;
    bool line_open; /* bytes were written since the last newline */
    unsigned start, end;
    unsigned char bytes[1024];
};

_Static_assert(sizeof(struct pty) <= 4096, "the input side of a terminal is one page");

static void wait_for(struct init *init, int fd, bool *waited, bool wanted, uint32_t events,
                     enum wait_kind kind, struct row *row)
{
    if (fd < 0 || *waited == wanted)
        return;
    struct epoll_event event = {.events = events,
                                .data.u64 = init_wait_data(kind, table_index(&init->table, row))};
    if (epoll_ctl(init->wait, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, fd, &event) == 0)
        *waited = wanted;
}

static void wait_for_input(struct init *init, struct row *row, bool wanted)
{
    wait_for(init, row->input[0], &row->input_waited, wanted, EPOLLIN, WAIT_INPUT, row);
}

static void wait_for_master(struct init *init, struct row *row, bool wanted)
{
    wait_for(init, row->stream[0], &row->pty->master_waited, wanted, EPOLLOUT, WAIT_PTY_MASTER,
             row);
}

/* devpts gives a slave to the file-system ids of who opens the master. */
static int open_master(const struct init *init, const struct agent_exec *exec)
{
    borrow_ids(init, exec);
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
    borrow_end(init);
    return master;
}

int pty_open(struct init *init, struct row *row, const struct agent_exec *exec, int input,
             int *ret_slave, const char **ret_step)
{
    _cleanup_fd_ int input_fd = input;
    *ret_step = "open terminal";
    _cleanup_fd_ int master = open_master(init, exec);
    if (master < 0)
        return -errno;
    int unlock = 0;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return -errno;
    /* By the master, not by name: /dev/pts may be anything in an image. */
    _cleanup_fd_ int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0)
        return -errno;
    struct winsize size = {.ws_row = exec->rows, .ws_col = exec->cols};
    if (ioctl(master, TIOCSWINSZ, &size) < 0)
        return -errno;
    if (input_fd >= 0) {
        int flags = fcntl(input_fd, F_GETFL);
        if (flags < 0 || fcntl(input_fd, F_SETFL, flags | O_NONBLOCK) < 0)
            return -errno;
    }
    struct pty *pty =
        mmap(NULL, sizeof *pty, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pty == MAP_FAILED)
        return -errno;
    row->takes_input = input_fd >= 0 && init->table.keeps;
    row->input[0] = take_fd(&input_fd);
    row->input_left = UINT64_MAX;
    row->pty = pty;
    row->stream[0] = take_fd(&master);
    wait_for_input(init, row, true);
    *ret_slave = take_fd(&slave);
    return 0;
}

void pty_resize(struct row *row, uint16_t rows, uint16_t cols)
{
    struct winsize size = {.ws_row = rows, .ws_col = cols};
    if (row->pty && row->stream[0] >= 0)
        ioctl(row->stream[0], TIOCSWINSZ, &size);
}

/* The end-of-file character ends a read; in a line that has begun the first one only hands that
 * line over, so the program would wait on: then it takes two. */
static void queue_end(struct row *row)
{
    struct pty *pty = row->pty;
    struct termios termios;
    unsigned char end = 4;
    bool lines = false;
    if (tcgetattr(row->stream[0], &termios) == 0) {
        end = termios.c_cc[VEOF];
        lines = termios.c_lflag & ICANON;
    }
    pty->start = pty->end = 0;
    pty->bytes[pty->end++] = end;
    if (lines && pty->line_open)
        pty->bytes[pty->end++] = end;
    pty->end_sent = true;
}

/* A controller that has ended is not the end of the input, where the session outlives it. */
static void pipe_ended(struct init *init, struct row *row)
{
    if (input_next(init, row))
        return;
    if (!row->takes_input || row->input_ends)
        row->pty->end_asked = true;
}

static void read_input(struct init *init, struct row *row)
{
    struct pty *pty = row->pty;
    size_t most = input_may_take(row, sizeof pty->bytes);
    ssize_t n = most == 0 ? 0 : read(row->input[0], pty->bytes, most);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        pipe_ended(init, row);
        return;
    }
    pty->start = 0;
    pty->end = (unsigned)n;
    pty->line_open = pty->bytes[n - 1] != '\n' && pty->bytes[n - 1] != '\r';
    input_took(row, (size_t)n);
}

void pty_work(struct init *init, struct row *row)
{
    struct pty *pty = row->pty;
    if (!pty || row->stream[0] < 0)
        return;
    while (pty->start == pty->end && row->input[0] >= 0 && !pty->end_asked) {
        int before = row->input[0];
        read_input(init, row);
        if (row->input[0] == before)
            break;
    }
    pty->end_asked |= row->input_ends && row->input[0] < 0;
    if (pty->start == pty->end && pty->end_asked && !pty->end_sent)
        queue_end(row);
    if (pty->start < pty->end) {
        ssize_t n = write(row->stream[0], pty->bytes + pty->start, pty->end - pty->start);
        if (n > 0)
            pty->start += (unsigned)n;
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            pty->start = pty->end; /* nobody has the terminal open any more */
    }
    bool waits = pty->start < pty->end || (pty->end_asked && !pty->end_sent);
    wait_for_master(init, row, waits);
    wait_for_input(init, row, !waits);
}

bool pty_waits(const struct row *row)
{
    return row->pty && row->stream[0] >= 0 && row->pty->master_waited;
}

void pty_free(struct init *init, struct row *row)
{
    if (!row->pty)
        return;
    wait_for_input(init, row, false);
    wait_for_master(init, row, false);
    munmap(row->pty, sizeof *row->pty);
    row->pty = NULL;
}
