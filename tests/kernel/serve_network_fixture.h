/* This file is the setting of tests/kernel/serve_network.c: a launcher and a gateway that are real,
 * the test in the place of the supervisor and of front, and a world of its own; it never judges. */
#pragma once

#include "tests/kernel/gateway_fixture.h"

#include "runtime/launcher_main.h"

#include <dirent.h>
#include <sys/stat.h>

static char place[64];
static struct serve_config serving;
static int front = -1, channel = -1;
static pid_t launcher = -1;
static struct launcher_reply answer;
static const struct launcher_calls *calls; /* NULL: those that are real */

/* ---- launcher ----------------------------------------------------------------------------------
 */

HELPER void make_place(void)
{
    snprintf(place, sizeof place, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(place));
    chmod(place, 0755);
    serving = (struct serve_config){.version = SERVE_CONFIG_VERSION,
                                    .size = sizeof serving,
                                    .front_uid = 64001,
                                    .front_gid = 64001,
                                    .socket_gid = UINT32_MAX,
                                    .sessions_max = 100};
    snprintf(serving.state_dir, sizeof serving.state_dir, "%s/state", place);
    snprintf(serving.runtime_dir, sizeof serving.runtime_dir, "%s/run", place);
    cr_assert(mkdir(serving.state_dir, 0711) == 0 && mkdir(serving.runtime_dir, 0711) == 0);
    /* What a test that failed leaves behind is this process's to end. */
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

HELPER void remove_place(void)
{
    char command[128], path[64];
    snprintf(path, sizeof path, "/proc/self/task/%ld/children", syscall(SYS_gettid));
    do {
        char children[4096] = "", *at = children;
        io_read_at(AT_FDCWD, path, children, sizeof children);
        for (long pid; (pid = strtol(at, &at, 10)) > 0;)
            kill((pid_t)pid, SIGKILL);
        poll(NULL, 0, 5);
    } while (waitpid(-1, NULL, WNOHANG) >= 0 || errno == EINTR);
    snprintf(command, sizeof command, "rm -rf --one-file-system %s", place);
    cr_expect_eq(system(command), 0); /* NOLINT: a literal and a mkdtemp name */
}

TestSuite(serve_network, .init = make_place, .fini = remove_place, .timeout = 120);

HELPER void tell(const struct err *err)
{
    fprintf(stderr, "launcher: %s: %s: %s %s\n", err->step, err->subject, strerror(err->sys),
            err->detail);
}

/* As the supervisor keeps it for the next launcher. */
static int kept_outer = -1;
static struct launcher_kept kept_networks[16];
static unsigned kept_count;

HELPER void hear_kept(void)
{
    struct launcher_keep what;
    int fds[1];
    for (;;) {
        union {
            struct cmsghdr header;
            char room[CMSG_SPACE(sizeof(int))];
        } room;
        struct iovec part = {&what, sizeof what};
        struct msghdr message = {.msg_iov = &part,
                                 .msg_iovlen = 1,
                                 .msg_control = &room,
                                 .msg_controllen = sizeof room.room};
        ssize_t n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (n <= 0)
            return;
        const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        fds[0] = -1;
        if (header)
            memcpy(fds, CMSG_DATA(header), sizeof fds);
        unsigned at = 0;
        while (at < kept_count && (kept_networks[at].row != what.row ||
                                   kept_networks[at].incarnation != what.incarnation))
            at++;
        if (n != (ssize_t)sizeof what)
            fd_close(fds[0]);
        else if (what.kind == LAUNCHER_KEEP_OUTER)
            fd_replace(&kept_outer, fds[0]);
        else if (what.kind == LAUNCHER_KEEP_NETNS && at < ARRAY_LENGTH(kept_networks))
            kept_networks[kept_count++] =
                (struct launcher_kept){what.row, what.incarnation, fds[0]};
        else if (what.kind == LAUNCHER_KEEP_NO_MORE && at < kept_count) {
            fd_close(kept_networks[at].netns);
            kept_networks[at] = kept_networks[--kept_count];
        }
    }
}

HELPER void forget_kept(void)
{
    fd_closep(&kept_outer);
    while (kept_count > 0)
        fd_close(kept_networks[--kept_count].netns);
}

/* `gateway`: its end of the control pair, which goes. */
HELPER void start_launcher(int gateway)
{
    int pair[2], told[2];
    char init[4096];
    program_path(init);
    strcpy(strrchr(init, '/'), "/berth-init");
    MUST(100, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    MUST(101, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, told) == 0);
    launcher = child();
    if (launcher == 0) {
        struct err err = {0};
        const struct launcher_options options = {.front = pair[1],
                                                 .supervisor = told[1],
                                                 .gateway = gateway,
                                                 .outer = kept_outer,
                                                 .kept = kept_networks,
                                                 .kept_count = kept_count,
                                                 .tell = tell,
                                                 .calls = calls,
                                                 .config = &serving,
                                                 .init_path = init};
        int kept[4 + ARRAY_LENGTH(kept_networks)] = {pair[1], told[1]};
        unsigned count = 2;
        if (gateway >= 0)
            kept[count++] = gateway;
        if (kept_outer >= 0)
            kept[count++] = kept_outer;
        for (unsigned i = 0; i < kept_count; i++)
            kept[count++] = kept_networks[i].netns;
        MUST(99, fd_keep_only(kept, count) == 0);
        if (serving.rootless)
            become_dependent_user();
        if (launcher_main(&options, &err) < 0)
            say("launcher: %s: %s: %s", err.step, err.subject, err.detail);
        _exit(0);
    }
    fd_close(pair[1]);
    fd_close(told[1]);
    front = pair[0];
    channel = told[0];
    fd_close(gateway);
}

HELPER int sealed(const void *data, size_t length)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    MUST(102, io_write_full(fd, data, length) == 0);
    MUST(103,
         fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    return fd;
}

static uint64_t ticket; /* of the last order */

HELPER void send_order(unsigned type, int64_t row, uint64_t generation, const void *data,
                       size_t length)
{
    struct launcher_request request = {.magic = LAUNCHER_MAGIC,
                                       .version = LAUNCHER_VERSION,
                                       .type = (uint16_t)type,
                                       .ticket = ++ticket,
                                       .row = row,
                                       .incarnation = 1,
                                       .epoch = type == LAUNCHER_LAUNCH,
                                       .deadline_ms = type == LAUNCHER_LAUNCH ? 30000 : 0,
                                       .generation = generation};
    snprintf(request.instance, sizeof request.instance, "%08x", (unsigned)getpid());
    int fd = data ? sealed(data, length) : -1;
    send_with(front, &request, sizeof request, &fd, data ? 1 : 0);
    fd_close(fd);
}

/* The answer to the last order has come, and is in `answer`. */
HELPER bool is_answered(int patience_ms)
{
    long long until = milliseconds() + patience_ms;
    for (long long now; (now = milliseconds()) <= until;) {
        struct pollfd p = {.fd = front, .events = POLLIN};
        if (poll(&p, 1, (int)(until - now)) != 1)
            return false;
        ssize_t n = recv(front, &answer, sizeof answer, 0);
        MUST(105, n > 0 && !launcher_reply_check(&answer, (size_t)n));
        if (answer.ticket == ticket)
            return true;
    }
    return false;
}

/* The answer's result, which is in `answer`. */
HELPER int order_as(unsigned type, int64_t row, uint64_t generation, const void *data,
                    size_t length)
{
    send_order(type, row, generation, data, length);
    MUST(104, is_answered(2 * PATIENCE_MS));
    return answer.result;
}

HELPER void order(unsigned type, int64_t row)
{
    int r = order_as(type, row, 0, NULL, 0);
    EXPECT(r == 0, "%s: %s: %s: %s", launcher_request_name(type), answer.err.step,
           answer.err.subject, answer.err.detail);
}

/* With the rules of `record`. */
HELPER void make_spec(int64_t row, struct spec *ret)
{
    spec_init(ret);
    strcpy(ret->workspace_id, "local");
    snprintf(ret->session_id, sizeof ret->session_id, "s%lld", (long long)row);
    strcpy(ret->workspace.mount_path, "/workspace");
    ret->image.kind = SPEC_IMAGE_HOST;
    ret->process.seccomp = SPEC_SECCOMP_DEFAULT;
    ret->process.uid = ret->process.gid = SPEC_UID_USER;
    ret->limits.scratch_bytes = 64 << 20;
    ret->limits.scratch_inodes = 10000;
    ret->limits.open_files = 1024;
    ret->network = record.network;
}

HELPER struct session_identity launch(int64_t row)
{
    static struct spec spec;
    make_spec(row, &spec);
    int r = order_as(LAUNCHER_LAUNCH, row, 1, &spec, sizeof spec);
    EXPECT(r == 0, "launch: %s: %s: %s", answer.err.step, answer.err.subject, answer.err.detail);
    MUST(106, r == 0);
    return answer.identity;
}

HELPER void enter_network_of(const struct session_identity *who)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/ns/net", (long long)who->init_pid);
    fd_replace(&session_netns, open(path, O_RDONLY | O_CLOEXEC));
    MUST(107, session_netns >= 0);
}

/* A world, a gateway, a launcher, and one session with these rules. */
HELPER struct session_identity begin(const char *allow)
{
    make_world();
    default_config();
    config.sessions_max = 100;
    start_gateway();
    start_launcher(control);
    control = -1;
    set_rules(SPEC_EGRESS_DENY, allow, "");
    struct session_identity who = launch(1);
    enter_network_of(&who);
    return who;
}

/* Other rules as revision `generation`; the result. */
HELPER int change(uint64_t generation, const char *allow)
{
    set_rules(SPEC_EGRESS_DENY, allow, "");
    return order_as(LAUNCHER_NETWORK, 1, generation, &record.network, sizeof record.network);
}

/* ---- who is killed -----------------------------------------------------------------------------
 */

HELPER void kill_gateway(void)
{
    kill(gateway_pid, SIGKILL);
    MUST(108, waitpid(gateway_pid, NULL, 0) == gateway_pid);
    fd_closep(&life);
    fd_closep(&events);
    if (channel >= 0)
        (void)send(channel, "D", 1, MSG_NOSIGNAL);
}

/* As the supervisor does. */
HELPER void start_another_gateway(void)
{
    start_gateway();
    send_with(channel, "C", 1, &control, 1);
    fd_closep(&control);
}

HELPER void kill_launcher(void)
{
    kill(launcher, SIGKILL);
    MUST(109, waitpid(launcher, NULL, 0) == launcher);
    hear_kept();
    fd_closep(&front);
    fd_closep(&channel);
}

HELPER void start_another_launcher(void)
{
    int pair[2];
    MUST(110, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    send_with(life, "C", 1, &pair[1], 1);
    fd_close(pair[1]);
    start_launcher(pair[0]);
}

HELPER void try_until_served(void)
{
    long long until = milliseconds() + PATIENCE_MS;
    while (milliseconds() < until) {
        if (strcmp(talk(dial_name("four.example", 443, DNS_TYPE_A)), "echo") == 0)
            return;
        poll(NULL, 0, 10);
    }
    say("it is not served again");
}

/* Sockets of the gateway's: those of its sessions and a fixed number of its own. */
HELPER unsigned sockets(void)
{
    char path[64], target[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", gateway_pid);
    DIR *list = opendir(path);
    for (const struct dirent *e; list && (e = readdir(list));) {
        ssize_t n = readlinkat(dirfd(list), e->d_name, target, sizeof target);
        count += n > 7 && memcmp(target, "socket:", 7) == 0;
    }
    closedir(list);
    return count;
}

/* The socket of an answer is closed when the answer has been sent: what stands still is counted. */
HELPER unsigned resting(void)
{
    unsigned count = sockets();
    for (int same = 0; same < 5; same++) {
        poll(NULL, 0, 5);
        unsigned now = sockets();
        same = now == count ? same : -1;
        count = now;
    }
    return count;
}

HELPER unsigned settled(unsigned wanted)
{
    for (int i = 0; i < 200 && sockets() != wanted; i++)
        poll(NULL, 0, 10);
    return sockets();
}

HELPER void expect_nothing_left(unsigned before)
{
    char path[SPEC_PATH_MAX + 16];
    unsigned now = settled(before);
    EXPECT(now == before, "the gateway has %u sockets, not %u", now, before);
    snprintf(path, sizeof path, "%s/sessions", serving.runtime_dir);
    EXPECT(rmdir(path) == 0 || errno == ENOENT, "a directory of a session is left");
}
