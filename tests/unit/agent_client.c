/* This file tests front's end of an init against an init that the test plays, a hostile one at
 * times. */
#include "runtime/link/agent_client.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static char directory[] = "/tmp/berth-client-XXXXXX";
static char path[512];
static int listener = -1, peer = -1, frames = -1;
static struct agent_client *client;

static void start(void)
{
    cr_assert(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/control", directory);
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%.100s", path);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listener, 4), 0);
}

static void stop(void)
{
    agent_client_free(client);
    fd_close(listener);
    fd_close(peer);
    fd_close(frames);
    snprintf(path, sizeof path, "%s/control", directory);
    unlink(path);
    rmdir(directory);
}

TestSuite(agent_client, .init = start, .fini = stop);

/* One message with its descriptors, which are the caller's. */
static struct agent_message receive(int fds[8], unsigned *count)
{
    struct agent_message message = {0};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 8)];
    } control;
    struct iovec part = {&message, sizeof message};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    cr_assert_eq(recvmsg(peer, &header, MSG_CMSG_CLOEXEC), (ssize_t)sizeof message);
    cr_assert_null(agent_message_check(&message, sizeof message));
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    *count = c ? (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
    if (c)
        memcpy(fds, CMSG_DATA(c), *count * sizeof(int));
    return message;
}

static void connect_client(uint64_t epoch)
{
    struct err err = {0};
    int fds[8];
    unsigned count;
    cr_assert_eq(agent_client_open(&client, path, getpid(), epoch, &err), 0, "%s", err.detail);
    peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    cr_assert_geq(peer, 0);
    struct agent_message hello = receive(fds, &count);
    cr_assert_eq(hello.type, AGENT_HELLO);
    cr_assert_eq(hello.epoch, epoch);
    cr_assert_eq(count, 1);
    frames = fds[0];
    struct stat st;
    cr_assert_eq(fstat(frames, &st), 0);
    cr_assert(S_ISFIFO(st.st_mode));
    cr_assert_eq(fcntl(frames, F_GETFL) & O_ACCMODE, O_WRONLY);
}

static int next(struct agent_frame *frame)
{
    const void *payload;
    struct err err;
    return agent_client_next(client, frame, &payload, &err);
}

Test(agent_client, P_5_a_connection_begins_with_HELLO_and_the_write_end_of_a_pipe)
{
    connect_client(42);
    struct agent_frame frame = {.magic = AGENT_MAGIC,
                                .version = AGENT_VERSION,
                                .type = AGENT_FRAME_HELLO,
                                .seq = 0},
                       got;
    cr_assert_eq(next(&got), SESSION_FRAME_NONE);
    cr_assert_eq(io_write_full(frames, &frame, 10), 0);
    cr_assert_eq(next(&got), SESSION_FRAME_NONE);
    cr_assert_eq(io_write_full(frames, (char *)&frame + 10, sizeof frame - 10), 0);
    cr_assert_eq(next(&got), 0);
    cr_assert_eq(got.type, AGENT_FRAME_HELLO);
    /* Nobody but init has the write end: its end is the end. */
    fd_replace(&frames, -1);
    cr_assert_eq(next(&got), SESSION_FRAME_END);
}

Test(agent_client, what_is_no_frame_ends_the_session)
{
    connect_client(1);
    char text[64];
    memset(text, 'x', sizeof text);
    cr_assert_eq(io_write_full(frames, text, sizeof text), 0);
    struct agent_frame got;
    cr_assert_eq(next(&got), -EPROTO);
    cr_assert_eq(next(&got), -EPROTO);
}

/* A socket that lingers would be closed by front, and front would wait for it. */
Test(agent_client, P_5_nothing_can_be_handed_to_front_from_the_first_instant_on)
{
    connect_client(1);
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 'x';
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    control.header = (struct cmsghdr){
        .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &listener, sizeof listener);
    cr_expect_eq(send(peer, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT), -1);
    cr_expect_eq(errno, EPIPE);
    cr_expect_eq(sendmsg(peer, &message, MSG_NOSIGNAL | MSG_DONTWAIT), -1);
    cr_expect_eq(errno, EPIPE);
    /* What goes in goes in, and init's end of it looks as it always does. */
    struct pollfd look = {.fd = peer, .events = POLLIN | POLLRDHUP};
    cr_expect_eq(poll(&look, 1, 0), 0, "%x", look.revents);
    cr_expect_eq(agent_client_ping(client, 7), 0);
    int fds[8];
    unsigned count;
    cr_expect_eq(receive(fds, &count).exec, 7);
}

Test(agent_client, another_process_that_listens_is_not_spoken_to)
{
    struct err err = {0};
    cr_assert_eq(agent_client_open(&client, path, getpid() + 1, 1, &err), -EPROTO);
    peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct agent_message message;
    cr_assert_eq(recv(peer, &message, sizeof message, 0), 0, "it was sent something");
}

Test(agent_client, an_init_that_is_gone_is_told)
{
    struct err err = {0};
    fd_replace(&listener, -1);
    cr_assert_eq(agent_client_open(&client, path, getpid(), 1, &err), -ECONNREFUSED);
    unlink(path);
    cr_assert_eq(agent_client_open(&client, path, getpid(), 1, &err), -ENOENT);
}

Test(agent_client, a_path_may_be_longer_than_an_address)
{
    char deep[400], to[512];
    snprintf(deep, sizeof deep, "%s/%0200d", directory, 0);
    cr_assert_eq(mkdir(deep, 0700), 0);
    snprintf(to, sizeof to, "%s/control", deep);
    cr_assert_eq(rename(path, to), 0);
    char keep[512];
    snprintf(keep, sizeof keep, "%s", path);
    snprintf(path, sizeof path, "%s", to);
    connect_client(9);
    cr_assert_eq(rename(to, keep), 0);
    rmdir(deep);
}

static struct exec_request request(void)
{
    static const char *const argv[] = {"/bin/true", NULL}, *const env[] = {"A=b", NULL};
    return (struct exec_request){.argv = argv,
                                 .env = env,
                                 .cwd = "/",
                                 .uid = 1000,
                                 .gid = 1000,
                                 .stdin_fd = -1,
                                 .stdout_fd = -1,
                                 .stderr_fd = -1};
}

Test(agent_client, a_command_is_sent_with_what_it_needs_in_order)
{
    connect_client(3);
    int ends[2], fds[8];
    unsigned count;
    struct err err = {0};
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    int spool = memfd_create("spool", MFD_CLOEXEC);
    struct exec_request r = request();
    r.stdin_fd = ends[0];
    r.kill_on_limit = true;
    const struct agent_spool_limits limits = {100, 200};
    cr_assert_eq(agent_client_exec(client, 77, &r, spool, &limits, &err), 0, "%s", err.detail);
    struct agent_message message = receive(fds, &count);
    cr_assert_eq(message.type, AGENT_EXEC);
    cr_assert_eq(message.exec, 77);
    cr_assert_eq(message.epoch, 3);
    cr_assert_eq(count, 3);
    static unsigned char data[4096];
    ssize_t n = pread(fds[0], data, sizeof data, 0);
    const struct agent_exec *exec;
    const char *strings;
    cr_assert_null(agent_exec_check(data, (size_t)n, &exec, &strings));
    cr_assert_eq(exec->fds, AGENT_EXEC_FD_STDIN | AGENT_EXEC_FD_SPOOL);
    cr_assert_eq(exec->flags, AGENT_EXEC_KILL_ON_LIMIT);
    cr_assert_eq(exec->spool.head, 100);
    cr_assert_eq(exec->spool.tail, 200);
    struct stat a, b;
    fstat(fds[1], &a);
    fstat(ends[0], &b);
    cr_assert_eq(a.st_ino, b.st_ino);
    fstat(fds[2], &a);
    fstat(spool, &b);
    cr_assert_eq(a.st_ino, b.st_ino);
}

Test(agent_client, what_is_no_pipe_and_no_file_does_not_go_in)
{
    connect_client(3);
    struct err err;
    const int bad[] = {
        open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), open("/dev/null", O_RDWR | O_CLOEXEC),
        open("/etc/passwd", O_PATH | O_CLOEXEC), socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct exec_request r = request();
        r.stdin_fd = bad[i];
        cr_assert_lt(agent_client_exec(client, 1, &r, -1, NULL, &err), 0, "%zu", i);
        r = request();
        const struct agent_spool_limits limits = {1, 1};
        cr_assert_lt(agent_client_exec(client, 1, &r, bad[i], &limits, &err), 0, "%zu", i);
        close(bad[i]);
    }
    struct pollfd p = {.fd = peer, .events = POLLIN};
    cr_assert_eq(poll(&p, 1, 0), 0, "something was sent");
}

Test(agent_client, a_socket_that_is_full_is_EAGAIN_and_nothing_was_sent)
{
    connect_client(3);
    unsigned sent = 0, got = 0, count;
    int r, fds[8];
    while ((r = agent_client_ping(client, sent + 1)) == 0)
        sent++;
    cr_assert_eq(r, -EAGAIN);
    struct pollfd p = {.fd = agent_client_control_fd(client), .events = POLLOUT};
    cr_assert_eq(poll(&p, 1, 0), 0);
    while (got < sent)
        cr_assert_eq(receive(fds, &count).exec, ++got);
    cr_assert_eq(poll(&p, 1, 1000), 1);
    cr_assert_eq(agent_client_ping(client, 1), 0);
    fd_replace(&peer, -1);
    r = agent_client_ping(client, 1);
    cr_assert(r == -EPIPE || r == -ECONNRESET, "%d", r);
}

Test(agent_client, each_verb_says_what_it_means)
{
    connect_client(3);
    int fds[8];
    unsigned count;
    const struct {
        int sent;
        uint16_t type;
        uint64_t exec, first, second;
    } verbs[] = {
        {agent_client_signal(client, 5, 15, AGENT_SCOPE_TREE), AGENT_SIGNAL, 5, 15,
         AGENT_SCOPE_TREE},
        {agent_client_resize(client, 5, 24, 80), AGENT_RESIZE, 5, 24, 80},
        {agent_client_kill(client, 5, AGENT_REASON_CANCELLED), AGENT_KILL, 5,
         AGENT_REASON_CANCELLED, 0},
        {agent_client_close_stdin(client, 5), AGENT_CLOSE_STDIN, 5, 0, 0},
        {agent_client_interrupt(client, 9), AGENT_INTERRUPT, 9, 0, 0},
        {agent_client_ping(client, 6), AGENT_PING, 6, 0, 0},
        {agent_client_forget(client, 5), AGENT_FORGET, 5, 0, 0},
        {agent_client_pause(client, true), AGENT_PAUSE, 0, 1, 0},
    };
    cr_assert_eq(agent_client_interrupt(client, 0), -EINVAL);
    for (size_t i = 0; i < ARRAY_LENGTH(verbs); i++) {
        cr_assert_eq(verbs[i].sent, 0);
        struct agent_message m = receive(fds, &count);
        cr_assert_eq(m.type, verbs[i].type, "%zu", i);
        cr_assert_eq(m.exec, verbs[i].exec);
        cr_assert_eq(m.arg[0], verbs[i].first);
        cr_assert_eq(m.arg[1], verbs[i].second);
        cr_assert_eq(m.epoch, 3);
        cr_assert_eq(count, 0);
    }
}
