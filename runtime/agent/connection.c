/* This file lets controllers come and go; it never blocks, never obeys two of them, and never
 * believes anything of one that has not said HELLO.
 *
 * Who may connect is not decided here. The socket lies in a directory of the host that only the
 * user of the launching side can search, and SO_PEERCRED would tell nothing: init's user namespace
 * has no name for ids of the host, so it would read 65534 for each of them. The other direction
 * works: init calls listen(2) itself, so SO_PEERCRED of who connects names init's own process.
 */
#include "runtime/agent/connection.h"

#include "runtime/agent/control.h"
#include "runtime/base/fd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { BACKLOG = 16, ACCEPTED_A_ROUND = 8, ACCEPT_AGAIN_MS = 100 };

static const uint64_t ns_per_ms = 1000000;

static int wait_on(struct init *init, int fd, uint32_t events, enum wait_kind kind, unsigned which)
{
    struct epoll_event event = {.events = events, .data.u64 = init_wait_data(kind, which)};
    return epoll_ctl(init->wait, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

/* Out of the set first: a child between clone and execve() has copies of our descriptors, and the
 * set would go on reporting what only such a copy keeps open. */
static void close_waited(struct init *init, int *fd)
{
    if (*fd >= 0)
        epoll_ctl(init->wait, EPOLL_CTL_DEL, *fd, NULL);
    fd_replace(fd, -1);
}

/* ---- the one that is obeyed ------------------------------------------------------------------ */

void connection_close_control(struct init *init)
{
    close_waited(init, &init->control);
    init->control_ended = false;
}

void connection_close_frames(struct init *init)
{
    close_waited(init, &init->output.fd);
    init->output.broken = true;
    init->output.head = init->output.used = 0;
    init->frames_wait = false;
}

/* Takes both descriptors over. When it fails, nothing has changed but that they are closed. */
static int adopt(struct init *init, int control_fd, int frames_fd)
{
    _cleanup_fd_ int control = control_fd, frames = frames_fd;
    unsigned next = (uint16_t)(init->connection + 1);
    int flags = fcntl(control, F_GETFL);
    if (flags < 0 || fcntl(control, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    int r = wait_on(init, control, EPOLLIN | EPOLLRDHUP, WAIT_CONTROL, next);
    if (r < 0)
        return r;
    r = wait_on(init, frames, 0, WAIT_FRAMES, next);
    if (r < 0)
        return r;
    int old = init->output.fd;
    r = output_init(&init->output, frames);
    if (r < 0)
        return r;
    close_waited(init, &old);
    connection_close_control(init);
    take_fd(&frames);
    init->control = take_fd(&control);
    init->connection = (uint16_t)next;
    init->control_waits = true;
    init->frames_wait = false;
    /* What the one before asked and was not told, this one asks again. */
    memset(init->interrupts, 0, sizeof init->interrupts);
    init->table_sent = init->table_end = 0;
    if (init->table.frozen)
        table_thaw(&init->table);
    return 0;
}

int connection_start(struct init *init, struct err *err)
{
    static const char step[] = "set up connection of init";
    for (unsigned i = 0; i < CONNECTIONS_WAITING; i++)
        init->waiting[i].fd = -1;
    init->output.fd = -1;
    init->table.keeps = !(init->config.flags & AGENT_END_WITH_CONTROLLER);
    int r = adopt(init, AGENT_FD_CONTROL, AGENT_FD_FRAMES);
    if (r < 0)
        return err_raw(err, ERR_INTERNAL, -r, step, NULL);
    if (!(init->config.have & AGENT_HAVE_LISTEN))
        return 0;
    int flags = fcntl(AGENT_FD_LISTEN, F_GETFL);
    if (flags < 0 || fcntl(AGENT_FD_LISTEN, F_SETFL, flags | O_NONBLOCK) < 0 ||
        listen(AGENT_FD_LISTEN, BACKLOG) < 0)
        return err_raw(err, ERR_INTERNAL, errno, "listen for controllers", NULL);
    r = wait_on(init, AGENT_FD_LISTEN, EPOLLIN, WAIT_LISTEN, 0);
    return r < 0 ? err_raw(err, ERR_INTERNAL, -r, step, NULL) : 0;
}

/* ---- those that come ------------------------------------------------------------------------- */

static void listen_rest(struct init *init)
{
    epoll_ctl(init->wait, EPOLL_CTL_DEL, AGENT_FD_LISTEN, NULL);
    init->listen_at_ns = init_now_ns(CLOCK_MONOTONIC) + ACCEPT_AGAIN_MS * ns_per_ms;
}

static void wait_for_hello(struct init *init, int fd)
{
    struct waiting_connection *place = &init->waiting[0];
    for (unsigned i = 0; i < CONNECTIONS_WAITING && place->fd >= 0; i++)
        if (init->waiting[i].fd < 0 || init->waiting[i].until_ns < place->until_ns)
            place = &init->waiting[i];
    close_waited(init, &place->fd);
    place->fd = fd;
    place->until_ns = init_now_ns(CLOCK_MONOTONIC) + AGENT_HELLO_MS * ns_per_ms;
    if (wait_on(init, fd, EPOLLIN | EPOLLRDHUP, WAIT_HELLO, (unsigned)(place - init->waiting)) < 0)
        fd_replace(&place->fd, -1);
}

void connection_accept(struct init *init)
{
    for (int i = 0; i < ACCEPTED_A_ROUND; i++) {
        int fd = accept4(AGENT_FD_LISTEN, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            wait_for_hello(init, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        /* No descriptor or no memory: the connection stays in the queue and would wake us at once.
         */
        if (errno != EAGAIN)
            listen_rest(init);
        return;
    }
}

static bool pipe_for_writing(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & (O_ACCMODE | O_PATH)) == O_WRONLY && fstat(fd, &st) == 0 &&
           S_ISFIFO(st.st_mode);
}

static bool is_hello(const struct init *init, const struct control_received *received)
{
    return agent_message_check(&received->message, received->length) == NULL &&
           received->message.type == AGENT_HELLO && received->message.epoch >= init->epoch &&
           !received->truncated && received->count == 1 && pipe_for_writing(received->fds[0]);
}

void connection_hello(struct init *init, unsigned which)
{
    struct waiting_connection *waiting = &init->waiting[which];
    struct control_received received;
    if (waiting->fd < 0)
        return;
    int r = control_receive(waiting->fd, &received);
    if (r == CONTROL_NONE)
        return;
    if (r == CONTROL_ENDED) {
        close_waited(init, &waiting->fd);
        return;
    }
    epoll_ctl(init->wait, EPOLL_CTL_DEL, waiting->fd, NULL);
    _cleanup_fd_ int fd = take_fd(&waiting->fd);
    if (!is_hello(init, &received)) {
        control_drop_fds(&received);
        return;
    }
    if (adopt(init, take_fd(&fd), received.fds[0]) < 0)
        return;
    init->epoch = received.message.epoch;
    control_hello(init);
}

void connection_times(struct init *init)
{
    if (!(init->config.have & AGENT_HAVE_LISTEN))
        return;
    uint64_t now = init_now_ns(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < CONNECTIONS_WAITING; i++)
        if (init->waiting[i].fd >= 0 && now >= init->waiting[i].until_ns)
            close_waited(init, &init->waiting[i].fd);
    if (init->listen_at_ns > 0 && now >= init->listen_at_ns) {
        init->listen_at_ns = 0;
        if (wait_on(init, AGENT_FD_LISTEN, EPOLLIN, WAIT_LISTEN, 0) < 0)
            init->listen_at_ns = now + ACCEPT_AGAIN_MS * ns_per_ms;
    }
}

uint64_t connection_next_ns(const struct init *init)
{
    uint64_t next = init->listen_at_ns > 0 ? init->listen_at_ns : UINT64_MAX;
    for (unsigned i = 0; i < CONNECTIONS_WAITING; i++)
        if (init->waiting[i].fd >= 0 && init->waiting[i].until_ns < next)
            next = init->waiting[i].until_ns;
    return next;
}
