/* This file is what the tests of a session's network share: rules, a gateway that only says where a
 * connection wanted to go, and programs of a session that try to connect; it judges nothing.
 *
 * Nothing leaves the namespace that a test made: it has lo and nothing else. Needs root.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/host/network.h"
#include "tests/kernel/child_harness.h"
#include "tests/slower.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

/* ---- rules ----------------------------------------------------------------------------------- */

static struct spec_network net; /* of the test that runs */

/* "10.0.0.0/8", ports up to a 0; none: every port. */
__attribute__((unused)) static struct spec_rule *rule(struct spec_rule *to, const char *cidr, ...)
{
    struct network_address address;
    char text[64];
    snprintf(text, sizeof text, "%s", cidr);
    char *slash = strchr(text, '/');
    *slash = 0;
    cr_assert_eq(address_parse(text, &address), 0, "%s", cidr);
    *to = (struct spec_rule){.family = address.family};
    memcpy(to->address, address.bytes, sizeof to->address);
    to->prefix = (uint8_t)strtoul(slash + 1, NULL, 10);
    va_list ports;
    va_start(ports, cidr);
    for (int port; (port = va_arg(ports, int)) != 0;)
        to->ports[to->port_count++] = (uint16_t)port;
    va_end(ports);
    return to;
}

#define ALLOW(...) rule(&net.allow[net.allow_count++], __VA_ARGS__, 0)
#define DENY(...)  rule(&net.deny[net.deny_count++], __VA_ARGS__, 0)

__attribute__((unused)) static void allow_host(const char *name)
{
    struct spec_rule *to = &net.allow[net.allow_count++];
    *to = (struct spec_rule){.port_count = 1, .ports = {443}};
    snprintf(to->host, sizeof to->host, "%s", name);
}

__attribute__((unused)) static void no_rules(enum spec_egress egress)
{
    memset(&net, 0, sizeof net);
    net.egress = egress;
}

/* ---- the gateway -------------------------------------------------------------------------------
 */

/* What processes of a test tell each other. */
static struct shared {
    unsigned logged, accepted, probed;
    volatile int stop;
    char said[4096];
} * shared;

__attribute__((unused)) static void share_memory(void)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
}

/* The first thing that went wrong, in words. */
__attribute__((unused, format(printf, 1, 2))) static void say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (!shared->said[0])
        vsnprintf(shared->said, sizeof shared->said, format, ap);
    va_end(ap);
}

static void name_of(const struct sockaddr_storage *from, char *ret, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "?";
    const struct sockaddr_in *in4 = (const void *)from;
    const struct sockaddr_in6 *in6 = (const void *)from;
    bool is4 = from->ss_family == AF_INET;
    inet_ntop(from->ss_family, is4 ? (const void *)&in4->sin_addr : (const void *)&in6->sin6_addr,
              text, sizeof text);
    snprintf(ret, size, "%s %d", text, ntohs(is4 ? in4->sin_port : in6->sin6_port));
}

static void answer_stream(int listener)
{
    char text[80] = "dns";
    struct sockaddr_storage name = {0};
    socklen_t length = sizeof name;
    _cleanup_fd_ int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    getsockname(fd, (struct sockaddr *)&name, &length);
    name_of(&name, text, sizeof text);
    __atomic_add_fetch(&shared->accepted, 1, __ATOMIC_SEQ_CST);
    send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* From the address that was asked, or the program would not take the answer. */
static void answer_datagram(int fd)
{
    char text[64], control[256];
    struct sockaddr_storage from;
    struct iovec part = {text, sizeof text};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof from,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(fd, &message, 0);
    if (n <= 0)
        return;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c))
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            struct in_pktinfo *info = (void *)CMSG_DATA(c);
            info->ipi_spec_dst = info->ipi_addr;
        }
    part.iov_len = (size_t)n;
    sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* Until it is killed. */
__attribute__((unused)) static pid_t start_gateway(struct network_namespace *ns)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct pollfd fds[GATEWAY_ADD_END] = {0};
    for (int i = 0; i < GATEWAY_ADD_END; i++)
        fds[i] = (struct pollfd){.fd = ns->fds[i], .events = POLLIN};
    while (poll(fds, GATEWAY_ADD_END, -1) > 0)
        for (int i = GATEWAY_ADD_TCP4; i < GATEWAY_ADD_END; i++) {
            char packet[8192];
            if (!(fds[i].revents & POLLIN))
                continue;
            if (i == GATEWAY_ADD_UDP4 || i == GATEWAY_ADD_UDP6)
                answer_datagram(fds[i].fd);
            else if (i != GATEWAY_ADD_LOG)
                answer_stream(fds[i].fd);
            else if (recv(fds[i].fd, packet, sizeof packet, 0) > 0)
                __atomic_add_fetch(&shared->logged, 1, __ATOMIC_SEQ_CST);
        }
    _exit(0);
}

__attribute__((unused)) static void stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* ---- programs of the session
 * --------------------------------------------------------------------- */

/* This process becomes one: root with every capability, in a user namespace of its own, which is
 * none over the network namespace. */
__attribute__((unused)) static void become_session(int netns)
{
    MUST(90, setns(netns, CLONE_NEWNET) == 0);
    become_user();
    MUST(91, unshare(CLONE_NEWUSER) == 0);
    MUST(92, io_write_at(AT_FDCWD, "/proc/self/setgroups", "deny") == 0);
    MUST(93, io_write_at(AT_FDCWD, "/proc/self/uid_map", "0 54321 1") == 0);
    MUST(94, io_write_at(AT_FDCWD, "/proc/self/gid_map", "0 54321 1") == 0);
    MUST(95, setresuid(0, 0, 0) == 0);
}

/* Run as a program of the session; the exit status, 0 when every MUST held. */
__attribute__((unused)) static int in_session(int netns, void (*work)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        become_session(netns);
        work();
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

__attribute__((unused)) static socklen_t address_make(const char *text, int port,
                                                      struct sockaddr_storage *ret)
{
    struct sockaddr_in *in4 = (void *)ret;
    struct sockaddr_in6 *in6 = (void *)ret;
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
        in4->sin_family = AF_INET;
        in4->sin_port = htons((uint16_t)port);
        return sizeof *in4;
    }
    MUST(96, inet_pton(AF_INET6, text, &in6->sin6_addr) == 1);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    return sizeof *in6;
}

static long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

/* For an answer of another process; the kernel's own, to connect(), needs none of that. */
#define PATIENCE_MS (10000 * (int)test_slower())
enum { HANGS_MS = 10000 };

/* "to ADDRESS PORT" as the gateway saw it, "open" for somebody who is not the gateway, or the name
 * of an error. A connection that hangs is "HANGS". */
__attribute__((unused)) static const char *try_socket(int fd, const char *address, int port)
{
    static char text[96];
    struct sockaddr_storage to;
    socklen_t length = address_make(address, port, &to);
    int r = connect(fd, (const struct sockaddr *)&to, length);
    if (r < 0 && errno == EINPROGRESS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int failed = 0;
        socklen_t size = sizeof failed;
        if (poll(&p, 1, HANGS_MS) == 0)
            return "HANGS";
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &size);
        errno = failed;
        r = failed ? -1 : 0;
    }
    if (r < 0)
        return strerrorname_np(errno);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    memcpy(text, "to ", 3);
    ssize_t n = poll(&p, 1, PATIENCE_MS) > 0 ? recv(fd, text + 3, sizeof text - 4, 0) : -1;
    if (n < 0)
        return errno == ECONNRESET ? "RESET" : "SILENT";
    text[3 + n] = 0;
    return n == 0 ? "open" : text;
}

__attribute__((unused)) static const char *try_tcp(const char *address, int port)
{
    struct sockaddr_storage to;
    address_make(address, port, &to);
    _cleanup_fd_ int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? strerrorname_np(errno) : try_socket(fd, address, port);
}

/* "answered", "silent", or the error of the call that had one. */
__attribute__((unused)) static const char *try_udp(const char *address, int port, bool connected,
                                                   int protocol)
{
    struct sockaddr_storage to;
    int one = 1;
    socklen_t length = address_make(address, port, &to);
    _cleanup_fd_ int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, protocol);
    if (fd < 0)
        return strerrorname_np(errno);
    setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof one);
    if (connected && connect(fd, (const struct sockaddr *)&to, length) < 0)
        return strerrorname_np(errno);
    ssize_t n = connected ? send(fd, "q", 1, 0)
                          : sendto(fd, "q", 1, 0, (const struct sockaddr *)&to, length);
    if (n < 0)
        return strerrorname_np(errno);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;
    if (poll(&p, 1, port == NETWORK_DNS_PORT ? PATIENCE_MS : 200) == 0)
        return "silent";
    return recv(fd, &byte, 1, MSG_DONTWAIT) == 1 ? "answered" : strerrorname_np(errno);
}

/* One of a table of attempts: what is to come of it. */
struct attempt {
    const char *address;
    int port;
    const char *outcome; /* NULL: "to ADDRESS PORT" */
};

__attribute__((unused)) static void expect_tcp(const struct attempt *attempts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char passed[96];
        const struct attempt *a = &attempts[i];
        snprintf(passed, sizeof passed, "to %s %d", a->address, a->port);
        long long begun = now_ms();
        const char *outcome = try_tcp(a->address, a->port);
        long long took = now_ms() - begun;
        if (strcmp(outcome, a->outcome ? a->outcome : passed) != 0)
            say("%s %d: %s, not %s; ", a->address, a->port, outcome,
                a->outcome ? a->outcome : passed);
        if (took >= 5000 * test_slower())
            say("%s %d: %s after %lld ms; ", a->address, a->port, outcome, took);
    }
}
