/* This file is what the tests of the gateway share: a host, a world behind it with servers and a
 * resolver, a session's network, and the real berth-gateway between them, all in network namespaces
 * that the test makes; it never judges, and nothing of it leaves them. Needs root. This file is
 * long because a world, a host and a session are one setting: tests of each part need all of it.
 *
 * A test's work runs in a child (in_child()): the child is the host and the launcher in one. What
 * programs of the session and of the world do runs in children of its own, which end with it.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/gateway/dns.h"
#include "runtime/gateway/gateway.h"
#include "runtime/plan/host_name.h"
#include "tests/kernel/child_harness.h"
#include "tests/slower.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#define HELPER __attribute__((unused)) static

enum { WORLD_DNS = 53 };
#define PATIENCE_MS (20000 * (int)test_slower())

/* What the processes of a test tell each other. */
static struct shared {
    char said[4096]; /* the first thing that went wrong */
    unsigned questions, accepted, resolved_turns;
} * shared;

HELPER __attribute__((format(printf, 1, 2))) void say(const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (!shared->said[0])
        vsnprintf(shared->said, sizeof shared->said, format, ap);
    va_end(ap);
}

#define EXPECT(condition, ...) \
    do {                       \
        if (!(condition))      \
            say(__VA_ARGS__);  \
    } while (0)

static void (*test_work)(void);

HELPER void die_with_parent_and_work(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    test_work();
}

/* Whoever changes his credentials is not ended with his parent any more, unless he says so again.
 */
HELPER void become_dependent_user(void)
{
    become_user();
    MUST(79, prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
}

/* The test's verdict. */
HELPER void run_in_child(void (*work)(void))
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(shared, MAP_FAILED);
    test_work = work;
    int r = in_child(die_with_parent_and_work);
    cr_expect(r == 0 && !shared->said[0], "step %d: %s", r, shared->said);
    munmap(shared, sizeof *shared);
}

HELPER long long milliseconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

HELPER __attribute__((format(printf, 1, 2))) void sh(const char *format, ...)
{
    char command[2048];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof command, format, ap);
    va_end(ap);
    if (system(command) != 0)
        say("failed: %s", command);
    MUST(80, !shared->said[0]);
}

/* A process that ends with its parent. 0 in it. */
HELPER pid_t child(void)
{
    pid_t pid = fork();
    MUST(81, pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

HELPER socklen_t address_make(const char *text, int port, struct sockaddr_storage *ret)
{
    struct sockaddr_in *in4 = (void *)ret;
    struct sockaddr_in6 *in6 = (void *)ret;
    memset(ret, 0, sizeof *ret);
    if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
        in4->sin_family = AF_INET;
        in4->sin_port = htons((uint16_t)port);
        return sizeof *in4;
    }
    MUST(82, inet_pton(AF_INET6, text, &in6->sin6_addr) == 1);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    return sizeof *in6;
}

/* ---- the world -------------------------------------------------------------------------------
 * 93.184.216.34 and .35, 2606:4700::34 and 10.7.7.7 are hosts in it; 10.99.0.1 is the host's own
 * address there. Port 2222 speaks first, port 5000 counts until the end and then says how many,
 * every other port of the list says back what it hears; 81 listens nowhere. */

static const int world_ports[] = {80, 443, 2222, 5000, 5432};

static const struct {
    const char *name, *addresses; /* space between them; in turns after '|' */
} zone[] = {
    {"four.example", "93.184.216.34"},
    {"six.example", "2606:4700::34"},
    {"dual.example", "93.184.216.34 2606:4700::34"},
    /* The first of each family answers nothing. */
    {"broken-six.example", "2606:4700::dead 93.184.216.34"},
    {"many.example", "93.184.216.40 93.184.216.41 93.184.216.42 93.184.216.43 93.184.216.34"},
    {"other.example", "93.184.216.35"},
    {"private.example", "10.7.7.7"},
    {"metadata.example", "169.254.169.254"},
    {"loopback.example", "127.0.0.1"},
    {"mapped.example", "::ffff:10.7.7.7"},
    {"own.example", "10.99.0.1"},
    {"half.example", "10.7.7.7 93.184.216.34"},
    {"turns.example", "93.184.216.34|10.7.7.7"},
};

static size_t put_record(uint8_t *at, const char *text, uint16_t type)
{
    struct network_address a;
    MUST(83, address_parse(text, &a) == 0);
    /* What a hostile server says is what it says: v4-mapped goes out as it stands. */
    uint8_t six[16];
    bool is6 = inet_pton(AF_INET6, text, six) == 1;
    if ((type == DNS_TYPE_AAAA) != is6)
        return 0;
    const uint8_t head[] = {0xc0, 12, 0, (uint8_t)type, 0, 1, 0, 0, 0, 1, 0, is6 ? 16 : 4};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, is6 ? six : a.bytes, is6 ? 16 : 4);
    return sizeof head + (is6 ? 16 : 4);
}

/* A small name server: the question comes back with what the zone has. */
HELPER size_t world_answer(uint8_t *message, size_t length)
{
    struct dns_question q;
    uint8_t out[2048];
    if (dns_read(message, length, &q) != DNS_NOERROR)
        return 0;
    __atomic_add_fetch(&shared->questions, 1, __ATOMIC_SEQ_CST);
    size_t at = 12u + q.question_length, count = 0;
    memcpy(out, message, at);
    char list[512] = "";
    bool known = false;
    for (unsigned i = 0; i < ARRAY_LENGTH(zone); i++)
        if (strcasecmp(zone[i].name, q.name) == 0) {
            snprintf(list, sizeof list, "%s", zone[i].addresses);
            known = true;
        }
    char *second = strchr(list, '|'), *mine = list;
    if (second) {
        *second = 0;
        if (q.type == DNS_TYPE_A &&
            __atomic_fetch_add(&shared->resolved_turns, 1, __ATOMIC_SEQ_CST))
            mine = second + 1;
    }
    for (char *save = NULL, *a = strtok_r(mine, " ", &save); a; a = strtok_r(NULL, " ", &save)) {
        size_t n = put_record(out + at, a, q.type);
        at += n;
        count += n > 0;
    }
    out[2] = 0x81;
    out[3] = known ? 0x80 : 0x83;
    memset(out + 6, 0, 6);
    out[7] = (uint8_t)count;
    memcpy(message, out, at);
    return at;
}

struct served {
    int fd, port;
    unsigned long heard;
    char *rest; /* owned: what is still to be said back; nothing more is heard meanwhile */
    size_t rest_length;
};

/* One who does not read holds nobody else up. */
HELPER void world_say(int epoll, struct served *s, const char *bytes, size_t length)
{
    ssize_t n = send(s->fd, bytes, length, MSG_NOSIGNAL);
    size_t said = n >= 0 ? (size_t)n : errno == EAGAIN ? 0 : length; /* to nobody: he is gone */
    char *before = s->rest;
    struct epoll_event e = {.events = said < length ? EPOLLOUT : EPOLLIN, .data.ptr = s};
    s->rest = NULL;
    s->rest_length = length - said;
    if (s->rest_length > 0) {
        s->rest = malloc(s->rest_length);
        MUST(88, s->rest != NULL);
        memcpy(s->rest, bytes + said, s->rest_length);
    }
    if ((before != NULL) != (s->rest != NULL))
        epoll_ctl(epoll, EPOLL_CTL_MOD, s->fd, &e);
    free(before);
}

HELPER void world_hear(int epoll, struct served *s)
{
    static char bytes[65536];
    if (s->rest) {
        world_say(epoll, s, s->rest, s->rest_length);
        return;
    }
    ssize_t n = recv(s->fd, bytes, sizeof bytes, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n > 0) {
        s->heard += (unsigned long)n;
        if (s->port != 5000)
            world_say(epoll, s, bytes, (size_t)n);
        return;
    }
    if (n == 0 && s->port == 5000) {
        int length = snprintf(bytes, sizeof bytes, "%lu", s->heard);
        (void)!send(s->fd, bytes, (size_t)length, MSG_NOSIGNAL);
    }
    fd_close(s->fd);
    free(s);
}

HELPER int listen_at(int family, int port)
{
    struct sockaddr_storage any;
    int one = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = address_make(family == AF_INET ? "0.0.0.0" : "::", port, &any);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    MUST(84, bind(fd, (void *)&any, length) == 0 && listen(fd, 4096) == 0);
    return fd;
}

HELPER void world_accept(int epoll, struct served *listener)
{
    struct served *s = calloc(1, sizeof *s);
    s->fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    s->port = -listener->port;
    if (s->fd < 0) {
        free(s);
        return;
    }
    __atomic_add_fetch(&shared->accepted, 1, __ATOMIC_SEQ_CST);
    if (s->port == 2222)
        (void)!send(s->fd, "SSH-2.0-first\r\n", 15, MSG_NOSIGNAL);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e);
}

HELPER void raise_files(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

/* A process of its own: what the servers have to do delays no answer. */
HELPER void world_resolve(int ready)
{
    struct sockaddr_storage any, from;
    socklen_t size, length = address_make("0.0.0.0", WORLD_DNS, &any);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    MUST(85, bind(fd, (void *)&any, length) == 0 && write(ready, "r", 1) == 1);
    for (;;) {
        uint8_t message[2048];
        size = sizeof from;
        ssize_t got = recvfrom(fd, message, 512, 0, (void *)&from, &size);
        size_t answer = got > 0 ? world_answer(message, (size_t)got) : 0;
        if (answer > 0)
            sendto(fd, message, answer, 0, (void *)&from, size);
    }
}

/* Ports of listeners are kept negative. */
HELPER void world_serve(int ready)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    raise_files();
    for (unsigned i = 0; i < 2 * ARRAY_LENGTH(world_ports); i++) {
        struct served *s = calloc(1, sizeof *s);
        s->port = -world_ports[i / 2];
        s->fd = listen_at(i % 2 ? AF_INET6 : AF_INET, world_ports[i / 2]);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
        MUST(86, epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e) == 0);
    }
    if (child() == 0)
        world_resolve(ready);
    for (;;) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            struct served *s = events[i].data.ptr;
            if (s->port < 0)
                world_accept(epoll, s);
            else
                world_hear(epoll, s);
        }
    }
}

/* This process becomes the host; the world is beside it. */
HELPER void make_world(void)
{
    int down[2], up[2];
    char byte;
    MUST(70,
         unshare(CLONE_NEWNET) == 0 && pipe2(down, O_CLOEXEC) == 0 && pipe2(up, O_CLOEXEC) == 0);
    pid_t world = child();
    if (world == 0) {
        MUST(71, unshare(CLONE_NEWNET) == 0 && write(up[1], "n", 1) == 1);
        MUST(72, read(down[0], &byte, 1) == 1);
        sh("ip link set lo up; ip link set w0 up; ip addr add 10.99.0.2/24 dev w0; "
           "ip addr add fd99::2/64 dev w0 nodad; for a in 93.184.216.34 93.184.216.35 10.7.7.7; "
           "do ip addr add $a/32 dev lo; done; ip addr add 2606:4700::34/128 dev lo nodad; "
           "for n in 40 41 42 43; do ip route add unreachable 93.184.216.$n; done; "
           "ip -6 route add blackhole 2606:4700::dead");
        world_serve(up[1]);
    }
    MUST(73, read(up[0], &byte, 1) == 1);
    sh("ip link set lo up; ip link add h0 type veth peer name w0 netns %d; ip link set h0 up; "
       "ip addr add 10.99.0.1/24 dev h0; ip addr add fd99::1/64 dev h0 nodad; "
       "ip route add default via 10.99.0.2; ip -6 route add default via fd99::2",
       (int)world);
    MUST(74, write(down[1], "g", 1) == 1 && read(up[0], &byte, 1) == 1);
}

/* ---- a session's network -----------------------------------------------------------------------
 */

static struct network_record record; /* the rules of the test's session */
static int session_netns = -1, names_fd = -1;

/* "a.example:443", "10.0.0.0/8:5432", "*.b.example:*": words apart. */
HELPER void add_rules(struct spec_rule *rules, uint32_t *count, const char *texts)
{
    char text[300];
    int used = 0;
    for (; sscanf(texts, "%299s%n", text, &used) == 1; texts += used) {
        struct spec_rule *rule = &rules[(*count)++];
        char *port = strrchr(text, ':'), *slash, why[HOST_WHY_MAX];
        memset(rule, 0, sizeof *rule);
        MUST(60, port != NULL);
        *port++ = 0;
        if (strcmp(port, "*") != 0)
            rule->ports[rule->port_count++] = (uint16_t)strtoul(port, NULL, 10);
        if ((slash = strchr(text, '/'))) {
            struct network_address a;
            *slash++ = 0;
            MUST(61, address_parse(text, &a) == 0);
            rule->family = a.family;
            rule->prefix = (uint8_t)strtoul(slash, NULL, 10);
            memcpy(rule->address, a.bytes, sizeof rule->address);
        } else {
            MUST(62, host_canonical(text, true, rule->host, why) == 0);
        }
    }
}

HELPER void set_rules(uint32_t egress, const char *allow, const char *deny)
{
    struct err err;
    uint64_t generation = record.generation;
    memset(&record, 0, sizeof record);
    record.magic = GATEWAY_MAGIC;
    record.version = GATEWAY_VERSION;
    record.generation = generation + 1;
    record.network.egress = egress;
    record.network.sni_match = 1;
    add_rules(record.network.allow, &record.network.allow_count, allow);
    add_rules(record.network.deny, &record.network.deny_count, deny);
    MUST(63, network_check(&record.network, &err) == 0);
}

HELPER int memory_file(const void *data, size_t length)
{
    int fd = memfd_create("gateway", MFD_CLOEXEC);
    MUST(64, fd >= 0 && (length == 0 || pwrite(fd, data, length, 0) == (ssize_t)length));
    return fd;
}

HELPER int inside_socket(int family, int type, int port, const int (*options)[2], unsigned count)
{
    struct sockaddr_storage any;
    int one = 1, fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t length = address_make(family == AF_INET ? "0.0.0.0" : "::", port, &any);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    for (unsigned i = 0; i < count; i++)
        MUST(65, setsockopt(fd, options[i][0], options[i][1], &one, sizeof one) == 0);
    MUST(66, bind(fd, (void *)&any, length) == 0);
    MUST(67, type != SOCK_STREAM || listen(fd, 4096) == 0);
    return fd;
}

/* The log as the ruleset sends it: bound to this network, whole packets are not wanted. */
HELPER int log_socket(void)
{
    struct {
        struct nlmsghdr head;
        struct {
            uint8_t family, version;
            uint16_t group;
        } body;
        struct nlattr attribute;
        uint8_t command, padding[3];
    } bind_group = {.head = {.nlmsg_len = sizeof bind_group,
                             .nlmsg_type = 4 << 8 | 1, /* nfnetlink_log, config */
                             .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                             .nlmsg_seq = 1},
                    .body = {.group = htons(NETWORK_LOG_GROUP)},
                    .attribute = {.nla_len = 5, .nla_type = 1},
                    .command = 1};
    struct {
        struct nlmsghdr head;
        struct {
            uint8_t family, version;
            uint16_t group;
        } body;
        struct nlattr mode;
        uint32_t range;
        uint8_t copy, padding[3];
    } __attribute__((packed)) copy = {.head = {.nlmsg_len = sizeof copy - 2,
                                               .nlmsg_type = 4 << 8 | 1,
                                               .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                                               .nlmsg_seq = 2},
                                      .body = {.group = htons(NETWORK_LOG_GROUP)},
                                      .mode = {.nla_len = 10, .nla_type = 2},
                                      .range = htonl(96),
                                      .copy = 2};
    struct sockaddr_nl any = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    char answer[1024];
    copy.head.nlmsg_len = sizeof copy;
    MUST(68, fd >= 0 && bind(fd, (void *)&any, sizeof any) == 0);
    MUST(69, send(fd, &bind_group, sizeof bind_group, 0) > 0 && recv(fd, answer, 1024, 0) > 0);
    MUST(75, send(fd, &copy, sizeof copy, 0) > 0 && recv(fd, answer, 1024, 0) > 0);
    return fd;
}

enum { OPT_TRANSPARENT4 = 19, OPT_TRANSPARENT6 = 75, OPT_FREEBIND6 = 78 };

/* TCP4 … LOG, and the one that asks who asked. */
HELPER void inside_sockets(int fds[GATEWAY_ADD_END + 1])
{
    static const int tcp4[][2] = {{IPPROTO_IP, OPT_TRANSPARENT4}};
    static const int tcp6[][2] = {{IPPROTO_IPV6, OPT_TRANSPARENT6}};
    static const int udp4[][2] = {{IPPROTO_IP, IP_PKTINFO}};
    static const int udp6[][2] = {{IPPROTO_IPV6, IPV6_RECVPKTINFO}, {IPPROTO_IPV6, OPT_FREEBIND6}};
    fds[GATEWAY_ADD_TCP4] = inside_socket(AF_INET, SOCK_STREAM, NETWORK_LISTENER_PORT, tcp4, 1);
    fds[GATEWAY_ADD_TCP6] = inside_socket(AF_INET6, SOCK_STREAM, NETWORK_LISTENER_PORT, tcp6, 1);
    fds[GATEWAY_ADD_UDP4] = inside_socket(AF_INET, SOCK_DGRAM, NETWORK_DNS_PORT, udp4, 1);
    fds[GATEWAY_ADD_UDP6] = inside_socket(AF_INET6, SOCK_DGRAM, NETWORK_DNS_PORT, udp6, 2);
    fds[GATEWAY_ADD_DNS4] = inside_socket(AF_INET, SOCK_STREAM, NETWORK_DNS_PORT, NULL, 0);
    fds[GATEWAY_ADD_DNS6] = inside_socket(AF_INET6, SOCK_STREAM, NETWORK_DNS_PORT, NULL, 0);
    fds[GATEWAY_ADD_LOG] = log_socket();
    fds[GATEWAY_ADD_DIAG] = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    MUST(76, fds[GATEWAY_ADD_DIAG] >= 0);
}

HELPER void load_rules(void)
{
    _cleanup_buf_ struct buf text = {0};
    network_print(&record.network, &text);
    FILE *nft = popen("nft -f -", "w");
    MUST(77, nft && fputs(buf_text(&text), nft) >= 0);
    EXPECT(pclose(nft) == 0, "nft refuses:\n%.3000s", buf_text(&text));
    MUST(78, !shared->said[0]);
}

/* In the session's network, which is made first when there is none; back to the host. */
HELPER void enter_session(void (*work)(void))
{
    _cleanup_fd_ int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (session_netns < 0) {
        MUST(50, unshare(CLONE_NEWNET) == 0);
        session_netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        sh("ip link set lo up; ip addr add 192.0.2.2/32 dev lo; ip addr add fd00::2/128 dev lo "
           "nodad; "
           "ip route add local default dev lo src 192.0.2.2; "
           "ip -6 route add local default dev lo src fd00::2");
        load_rules();
    } else {
        MUST(51, setns(session_netns, CLONE_NEWNET) == 0);
    }
    work();
    MUST(52, setns(home, CLONE_NEWNET) == 0);
}

/* ---- the gateway -------------------------------------------------------------------------------
 */

static int life = -1, control = -1, events = -1;
static pid_t gateway_pid = -1;
static struct gateway_config config;

HELPER void default_config(void)
{
    config = (struct gateway_config){.version = GATEWAY_VERSION,
                                     .size = sizeof config,
                                     .resolver_count = 1,
                                     .sessions_max = 16,
                                     .connections_per_session = 4000,
                                     .connections_max = 8000,
                                     .connect_timeout_ms = 60000,
                                     .idle_timeout_ms = 600000};
    config.resolvers[0].port = WORLD_DNS;
    MUST(53, address_parse("10.99.0.2", &config.resolvers[0].address) == 0);
}

HELPER void program_path(char path[4096])
{
    ssize_t n = readlink("/proc/self/exe", path, 4000);
    MUST(54, n > 0);
    path[n] = 0;
    for (int i = 0; i < 3; i++) /* BUILD/tests/kernel/NAME -> BUILD */
        *strrchr(path, '/') = 0;
    strcat(path, "/bin/berth-gateway");
}

HELPER void start_gateway(void)
{
    int pairs[3][2], config_fd = memory_file(&config, sizeof config);
    char path[4096];
    program_path(path);
    for (int i = 0; i < 3; i++)
        MUST(55, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[i]) == 0);
    gateway_pid = child();
    if (gateway_pid == 0) {
        int given[] = {pairs[0][1], pairs[1][1], pairs[2][1], config_fd};
        for (int i = 0; i < 4; i++)
            given[i] = fcntl(given[i], F_DUPFD, 50);
        for (int i = 0; i < 4; i++)
            MUST(56, dup2(given[i], GATEWAY_FD_LIFE + i) >= 0);
        MUST(57, syscall(SYS_close_range, GATEWAY_FD_END, ~0u, 0) == 0);
        /* A user of its own, as berth gives it. */
        become_dependent_user();
        char *argv[] = {path, NULL};
        execv(path, argv);
        _exit(58);
    }
    life = pairs[0][0];
    control = pairs[1][0];
    events = pairs[2][0];
    for (int i = 0; i < 3; i++)
        fd_close(pairs[i][1]);
    fd_close(config_fd);
}

HELPER void send_with(int to, const void *data, size_t length, const int *fds, unsigned count)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(GATEWAY_FDS_MAX * sizeof(int))];
    } ancillary = {.bytes = {0}};
    struct iovec part = {(void *)(uintptr_t)data, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = ancillary.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof(int));
        ancillary.head.cmsg_level = SOL_SOCKET;
        ancillary.head.cmsg_type = SCM_RIGHTS;
        ancillary.head.cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(&ancillary.head), fds, count * sizeof(int));
    }
    MUST(40, sendmsg(to, &message, MSG_NOSIGNAL) == (ssize_t)length);
}

static struct gateway_reply reply;

HELPER bool take_reply(void)
{
    struct pollfd p = {.fd = control, .events = POLLIN};
    if (poll(&p, 1, PATIENCE_MS) <= 0)
        return false;
    ssize_t n = recv(control, &reply, sizeof reply, 0);
    return n > 0 && gateway_reply_check(&reply, (size_t)n) == NULL;
}

/* Its result; what is said unasked is left aside. */
HELPER int ask(unsigned type, const uint16_t *ports, const int *fds, unsigned count)
{
    static uint64_t ticket;
    struct gateway_request request = {.magic = GATEWAY_MAGIC,
                                      .version = GATEWAY_VERSION,
                                      .type = (uint16_t)type,
                                      .ticket = ++ticket,
                                      .row = 1,
                                      .incarnation = 1,
                                      .port_count = ports ? count : 0};
    for (unsigned i = 0; ports && i < count; i++)
        request.ports[i] = ports[i];
    send_with(control, &request, sizeof request, fds, count);
    do
        MUST(41, take_reply());
    while (reply.ticket != ticket);
    return reply.result;
}

static int handed[GATEWAY_ADD_END + 1];

HELPER void make_handed(void)
{
    inside_sockets(handed);
}

/* What berth's launcher does for a session. */
HELPER int add_session(void)
{
    enter_session(make_handed);
    if (names_fd < 0)
        names_fd = memory_file(NULL, 0);
    handed[GATEWAY_ADD_RECORD] = memory_file(&record, sizeof record);
    handed[GATEWAY_ADD_NAMES] = names_fd;
    int r = ask(GATEWAY_ADD, NULL, handed, GATEWAY_ADD_END + 1);
    for (int i = 0; i <= GATEWAY_ADD_END; i++)
        if (i != GATEWAY_ADD_NAMES)
            fd_close(handed[i]);
    EXPECT(r == 0, "add: %s %s", reply.err.step, reply.err.detail);
    return r;
}

HELPER void make_all(uint32_t egress, const char *allow, const char *deny)
{
    make_world();
    set_rules(egress, allow, deny);
    if (config.version == 0)
        default_config();
    start_gateway();
    MUST(42, add_session() == 0);
}

/* Other rules, as a launcher gives them: kernel, then gateway. */
HELPER void reload(void)
{
    sh("nft flush ruleset");
    load_rules();
}

HELPER void replace_rules(uint32_t egress, const char *allow, const char *deny)
{
    set_rules(egress, allow, deny);
    enter_session(reload);
    int fd = memory_file(&record, sizeof record);
    MUST(43, ask(GATEWAY_REPLACE, NULL, &fd, 1) == 0);
    fd_close(fd);
}

/* The next event of this kind; false: none came. */
HELPER bool take_event(unsigned kind, struct gateway_event *ret)
{
    long long until = milliseconds() + PATIENCE_MS;
    for (;;) {
        struct pollfd p = {.fd = events, .events = POLLIN};
        int left = (int)(until - milliseconds());
        if (left <= 0 || poll(&p, 1, left) <= 0)
            return false;
        ssize_t n = recv(events, ret, sizeof *ret, 0);
        const char *wrong = n > 0 ? gateway_event_check(ret, (size_t)n) : "an end";
        EXPECT(!wrong, "event: %s", wrong);
        if (wrong || ret->kind == kind)
            return !wrong;
    }
}

/* ---- programs of the session -------------------------------------------------------------------
 */

/* In the session, as an ordinary user; 0 when every MUST held. */
HELPER int in_session(void (*work)(void))
{
    pid_t pid = child();
    if (pid == 0) {
        MUST(30, setns(session_netns, CLONE_NEWNET) == 0);
        raise_files();
        become_dependent_user();
        work();
        _exit(0);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    int r = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    EXPECT(r == 0, "a program of the session ended at step %d", r);
    return r;
}

HELPER size_t put_question(uint8_t *at, const char *name, unsigned type)
{
    static uint16_t id;
    uint8_t *to = at;
    id++;
    const uint8_t head[12] = {(uint8_t)(id >> 8), (uint8_t)id, 1, 0, 0, 1};
    memcpy(to, head, sizeof head);
    to += sizeof head;
    for (const char *label = name; *label;) {
        size_t n = strcspn(label, ".");
        *to++ = (uint8_t)n;
        memcpy(to, label, n);
        to += n;
        label += n + (label[n] == '.');
    }
    *to++ = 0;
    const uint8_t tail[4] = {0, (uint8_t)type, 0, 1};
    memcpy(to, tail, sizeof tail);
    return (size_t)(to - at) + sizeof tail;
}

/* One question to `server`; the code of the answer, -1: none. `ret_text`: its address, or "". */
HELPER int look_up_at(const char *server, const char *name, unsigned type,
                      char ret_text[ADDRESS_TEXT_SIZE])
{
    uint8_t bytes[1500];
    struct sockaddr_storage to;
    socklen_t length = address_make(server, NETWORK_DNS_PORT, &to);
    size_t n = put_question(bytes, name, type);
    _cleanup_fd_ int fd = socket(to.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    ret_text[0] = 0;
    if (connect(fd, (void *)&to, length) < 0 || send(fd, bytes, n, 0) != (ssize_t)n)
        return -1;
    for (int tries = 0; poll(&p, 1, PATIENCE_MS / 4) <= 0; tries++)
        if (tries == 3 || send(fd, bytes, n, 0) < 0)
            return -1;
    ssize_t got = recv(fd, bytes, sizeof bytes, 0);
    if (got < (ssize_t)n)
        return -1;
    size_t size = type == DNS_TYPE_A ? 4 : 16;
    if (bytes[7] == 1 && (size_t)got >= n + 12 + size) {
        struct network_address a;
        address_canonical(size == 4 ? 4 : 6, bytes + n + 12, &a);
        address_print(&a, ret_text);
    }
    return bytes[3] & 15;
}

HELPER int look_up(const char *name, unsigned type, char ret_text[ADDRESS_TEXT_SIZE])
{
    return look_up_at("10.0.0.53", name, type, ret_text);
}

/* A connected socket, or -errno. */
HELPER int dial_address(const char *address, int port)
{
    struct sockaddr_storage to;
    socklen_t length = address_make(address, port, &to);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (void *)&to, length) < 0) {
        int e = errno;
        fd_close(fd);
        return -e;
    }
    return fd;
}

HELPER int dial_name(const char *name, int port, unsigned type)
{
    char address[ADDRESS_TEXT_SIZE];
    int code = look_up(name, type, address);
    return code != 0 || !address[0] ? -EADDRNOTAVAIL : dial_address(address, port);
}

/* What becomes of a few bytes that are said: "echo", "end", or the name of an error. */
HELPER const char *talk(int fd)
{
    char text[16] = "";
    if (fd < 0)
        return strerrorname_np(-fd);
    ssize_t n = send(fd, "hello", 5, MSG_NOSIGNAL);
    if (n == 5)
        n = recv(fd, text, 5, MSG_WAITALL);
    const char *said = n < 0                           ? strerrorname_np(errno)
                       : n == 0                        ? "end"
                       : memcmp(text, "hello", 5) == 0 ? "echo"
                                                       : "other";
    fd_close(fd);
    return said;
}

/* RESET and the errors of connect() are refusals. */
HELPER void expect_name(const char *name, int port, const char *what)
{
    for (unsigned type = DNS_TYPE_A; type <= DNS_TYPE_AAAA; type += DNS_TYPE_AAAA - DNS_TYPE_A) {
        const char *said = talk(dial_name(name, port, type));
        /* A reset may come before or after the first byte was sent. */
        if (strcmp(said, "EPIPE") == 0)
            said = "ECONNRESET";
        EXPECT(strcmp(said, what) == 0, "%s:%d by type %u: %s, not %s", name, port, type, said,
               what);
    }
}

HELPER void expect_address(const char *address, int port, const char *what)
{
    const char *said = talk(dial_address(address, port));
    if (strcmp(said, "EPIPE") == 0)
        said = "ECONNRESET";
    EXPECT(strcmp(said, what) == 0, "%s:%d: %s, not %s", address, port, said, what);
}
