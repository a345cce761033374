/* This file is front's connection to one init; it never blocks, never hands a descriptor of its own
 * out but those of its caller and the pipe it made, and believes no frame that was not checked.
 */
#include "runtime/link/agent_client.h"

#include "runtime/agent/controller.h"
#include "runtime/agent/frame_reader.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct agent_client {
    int control, frames;
    uint64_t epoch;
    struct frame_reader reader; /* large, and touched only as far as frames reach */
};

_Static_assert((int)SESSION_FRAME_NONE == (int)FRAME_READER_NONE &&
                   (int)SESSION_FRAME_END == (int)FRAME_READER_END,
               "the outcomes are the reader's");

/* ---- connecting ------------------------------------------------------------------------------ */

static int fail(struct err *err, int sys, const char *detail)
{
    return err_set(err, ERR_UNAVAILABLE, sys, "connect to the session's init", NULL, "%s", detail);
}

/* A path that does not fit into an address is reached through a descriptor of its directory. */
static int make_address(const char *path, struct sockaddr_un *ret, int *ret_directory)
{
    *ret = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (strlen(path) < sizeof ret->sun_path) {
        memcpy(ret->sun_path, path, strlen(path) + 1);
        return 0;
    }
    const char *slash = strrchr(path, '/');
    _cleanup_free_ char *directory = slash ? strndup(path, (size_t)(slash - path)) : NULL;
    if (!directory)
        return slash ? -ENOMEM : -ENAMETOOLONG;
    _cleanup_fd_ int fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int n = snprintf(ret->sun_path, sizeof ret->sun_path, "/proc/self/fd/%d%s", fd, slash);
    if (n < 0 || (size_t)n >= sizeof ret->sun_path)
        return -ENAMETOOLONG;
    *ret_directory = take_fd(&fd);
    return 0;
}

static int connect_to(const char *path, int *ret_fd)
{
    struct sockaddr_un address;
    _cleanup_fd_ int directory = -1;
    int r = make_address(path, &address, &directory);
    if (r < 0)
        return r;
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* Nothing can be sent to us, from the first instant on (unix(7) leaves a socket that is not
     * connected yet its shutdown; Linux 3.0 to 6.18). What came unread would be closed by us, and
     * closing a socket with SO_LINGER out of it would hold the whole front up (P-5). */
    if (fd < 0 || shutdown(fd, SHUT_RD) < 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int check_peer(int fd, int64_t init_pid, struct err *err)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return fail(err, errno, "Its socket does not tell who listens.");
    if (peer.pid != init_pid)
        return fail(err, EPROTO, "Another process listens on its socket.");
    return 0;
}

static int send_message(const struct agent_client *agent, struct agent_message message,
                        const int *fds, unsigned count)
{
    message.magic = AGENT_MAGIC;
    message.version = AGENT_VERSION;
    message.epoch = agent->epoch;
    return controller_send(agent->control, &message, fds, count);
}

static int say_hello(struct agent_client *agent, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return fail(err, errno, "There is no pipe for its frames.");
    _cleanup_fd_ int write_end = ends[1];
    agent->frames = ends[0];
    frame_reader_init(&agent->reader, agent->frames);
    int r = send_message(agent, (struct agent_message){.type = AGENT_HELLO}, &write_end, 1);
    return r < 0 ? fail(err, -r, "It took no message.") : 0;
}

int agent_client_open(struct agent_client **ret, const char *path, int64_t init_pid, uint64_t epoch,
                      struct err *err)
{
    /* Not from the heap, which clears what it gives: 64 KiB of room for a frame are resident for
     * each session then, and with pages of its own it is the first of them. */
    struct agent_client *agent =
        mmap(NULL, sizeof *agent, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (agent == MAP_FAILED)
        return fail(err, ENOMEM, "There is no memory.");
    agent->control = agent->frames = -1;
    agent->epoch = epoch;
    int r = connect_to(path, &agent->control);
    if (r < 0)
        fail(err, -r, r == -ECONNREFUSED || r == -ENOENT ? "It is gone." : "");
    if (r == 0)
        r = check_peer(agent->control, init_pid, err);
    if (r == 0)
        r = say_hello(agent, err);
    if (r < 0) {
        agent_client_free(agent);
        return r;
    }
    *ret = agent;
    return 0;
}

void agent_client_free(struct agent_client *agent)
{
    if (!agent)
        return;
    fd_close(agent->control);
    fd_close(agent->frames);
    munmap(agent, sizeof *agent);
}

int agent_client_fd(const struct agent_client *agent)
{
    return agent->frames;
}

int agent_client_control_fd(const struct agent_client *agent)
{
    return agent->control;
}

int agent_client_next(struct agent_client *agent, struct agent_frame *ret_frame,
                      const void **ret_payload, struct err *err)
{
    return frame_reader_next(&agent->reader, ret_frame, ret_payload, err);
}

/* ---- commands ---------------------------------------------------------------------------------
 */

/* What else could be passed would be a way to the host's files, or could stall who writes to it. */
static int check_stream(int fd, const char *name, struct err *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "pass in", name, NULL);
    if ((flags & O_PATH) || !(S_ISFIFO(st.st_mode) || S_ISREG(st.st_mode)))
        return err_set(err, ERR_INTERNAL, EINVAL, "pass in", name,
                       "Only a pipe or a regular file may go into a session.");
    return 0;
}

static int check_spool(int fd, struct err *err)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "pass in", "spool", NULL);
    if ((flags & (O_ACCMODE | O_APPEND | O_PATH)) != O_RDWR && (flags & O_ACCMODE) != O_WRONLY)
        return err_set(err, ERR_INTERNAL, EINVAL, "pass in", "spool", "It cannot be written.");
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_INTERNAL, EINVAL, "pass in", "spool", "It is no regular file.");
    return 0;
}

static int collect(const struct exec_request *request, int spool, int fds[AGENT_FDS_MAX],
                   unsigned *ret_count, uint32_t *ret_bits, struct err *err)
{
    static const char *const names[] = {"standard input", "standard output", "standard error"};
    const int streams[] = {request->stdin_fd, request->stdout_fd, request->stderr_fd};
    unsigned count = 1;
    uint32_t bits = 0;
    for (unsigned i = 0; i < ARRAY_LENGTH(streams); i++) {
        if (streams[i] < 0)
            continue;
        int r = check_stream(streams[i], names[i], err);
        if (r < 0)
            return r;
        bits |= 1u << i;
        fds[count++] = streams[i];
    }
    if (spool >= 0) {
        int r = check_spool(spool, err);
        if (r < 0)
            return r;
        bits |= AGENT_EXEC_FD_SPOOL;
        fds[count++] = spool;
    }
    *ret_count = count;
    *ret_bits = bits;
    return 0;
}

int agent_client_exec(struct agent_client *agent, uint64_t exec, const struct exec_request *request,
                      int spool, const struct agent_spool_limits *limits, struct err *err)
{
    int fds[AGENT_FDS_MAX];
    unsigned count = 0;
    uint32_t bits = 0;
    _cleanup_fd_ int payload = -1;
    int r = collect(request, spool, fds, &count, &bits, err);
    if (r == 0)
        r = controller_payload(request, bits, limits, &payload, err);
    if (r < 0)
        return r;
    fds[0] = payload;
    r = send_message(agent, (struct agent_message){.type = AGENT_EXEC, .exec = exec}, fds, count);
    if (r < 0 && r != -EAGAIN)
        err_set(err, ERR_UNAVAILABLE, -r, "send the command to init", NULL,
                "The session's init is gone.");
    return r;
}

static int tell(const struct agent_client *agent, enum agent_message_type type, uint64_t exec,
                uint64_t first, uint64_t second)
{
    return send_message(
        agent, (struct agent_message){.type = (uint16_t)type, .exec = exec, .arg = {first, second}},
        NULL, 0);
}

int agent_client_signal(struct agent_client *agent, uint64_t exec, int signo,
                        enum agent_scope scope)
{
    return tell(agent, AGENT_SIGNAL, exec, (uint64_t)signo, scope);
}

int agent_client_resize(struct agent_client *agent, uint64_t exec, uint16_t rows, uint16_t cols)
{
    return tell(agent, AGENT_RESIZE, exec, rows, cols);
}

int agent_client_kill(struct agent_client *agent, uint64_t exec, enum agent_reason reason)
{
    return tell(agent, AGENT_KILL, exec, reason, 0);
}

int agent_client_close_stdin(struct agent_client *agent, uint64_t exec)
{
    return tell(agent, AGENT_CLOSE_STDIN, exec, 0, 0);
}

int agent_client_stdin(struct agent_client *agent, uint64_t exec, int pipe)
{
    return send_message(agent, (struct agent_message){.type = AGENT_STDIN, .exec = exec}, &pipe, 1);
}

int agent_client_interrupt(struct agent_client *agent, uint64_t floor)
{
    return floor == 0 ? -EINVAL : tell(agent, AGENT_INTERRUPT, floor, 0, 0);
}

int agent_client_ping(struct agent_client *agent, uint64_t number)
{
    return tell(agent, AGENT_PING, number, 0, 0);
}

int agent_client_forget(struct agent_client *agent, uint64_t exec)
{
    return tell(agent, AGENT_FORGET, exec, 0, 0);
}

int agent_client_pause(struct agent_client *agent, bool pause)
{
    return tell(agent, AGENT_PAUSE, 0, pause, 0);
}
