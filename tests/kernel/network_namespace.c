/* This file proves on the real kernel what else there is in a session's network beside rules for
 * TCP: other protocols, the resolver's port, loopback, whose ports are whose, and what is left when
 * the gateway is gone. It leaves nothing behind. */
#include "tests/kernel/network_fixture.h"

#include <dirent.h>
#include <sys/stat.h>

static struct network_namespace ns;
static pid_t gateway;

static bool ready_before; /* made before its rules are known */

static int make(struct network_namespace *ret, struct err *err)
{
    struct network_ready ready;
    if (!ready_before)
        return network_namespace_make(&net, ret, err);
    int r = network_ready_make(&ready, err);
    return r == 0 ? network_ready_use(&ready, &net, ret, err) : r;
}

static void begin(void)
{
    MUST(80, make(&ns, NULL) == 0);
    gateway = start_gateway(&ns);
}

static void end(void)
{
    stop(gateway);
    network_namespace_fini(&ns);
}

static void run(void (*work)(void))
{
    share_memory();
    for (int before = 0; before < 2; before++) {
        ready_before = before;
        no_rules(SPEC_EGRESS_DENY);
        ALLOW("93.184.216.0/24", 443);
        cr_assert_eq(in_child(work), 0, "ready before: %d, step %d: %s", before, last,
                     shared->said);
        cr_assert_str_empty(shared->said, "ready before: %d: %s", before, shared->said);
    }
}

/* ---- other protocols
 * --------------------------------------------------------------------------------- */

static void expect(const char *what, const char *outcome, const char *wanted)
{
    if (strcmp(outcome, wanted) != 0)
        say("%s: %s, not %s; ", what, outcome, wanted);
}

static void datagrams(void)
{
    static const char *const refused[] = {"8.8.8.8",     "93.184.216.34",  "169.254.169.254",
                                          "2606::1",     "::ffff:8.8.8.8", "198.18.0.16",
                                          "224.0.0.251", "255.255.255.255"};
    static const char *const answered[] = {"8.8.8.8",         "127.0.0.53", "93.184.216.34",
                                           "2001:4860::8888", "::1",        "::ffff:9.9.9.9",
                                           "169.254.169.254", "192.0.2.2",  "fd00::2"};
    for (int connected = 0; connected < 2; connected++) {
        for (size_t i = 0; i < ARRAY_LENGTH(refused); i++)
            expect(refused[i], try_udp(refused[i], 443, connected, 0), "EPERM");
        for (size_t i = 0; i < ARRAY_LENGTH(answered); i++)
            expect(answered[i], try_udp(answered[i], NETWORK_DNS_PORT, connected, 0), "answered");
    }
}

/* Whatever this kernel says to them, it says it. */
static void others(void)
{
    static const struct {
        const char *name;
        int family, type, protocol;
    } none[] = {
        {"ping", AF_INET, SOCK_DGRAM, IPPROTO_ICMP},
        {"ping6", AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6},
        {"raw", AF_INET, SOCK_RAW, IPPROTO_ICMP},
        {"raw IP", AF_INET, SOCK_RAW, IPPROTO_RAW},
        {"raw6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6},
        {"packet", AF_PACKET, SOCK_RAW, 0x300},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(none); i++) {
        _cleanup_fd_ int fd = socket(none[i].family, none[i].type | SOCK_CLOEXEC, none[i].protocol);
        if (fd >= 0 || (errno != EPERM && errno != EACCES && errno != EAFNOSUPPORT))
            say("%s: %s; ", none[i].name, fd >= 0 ? "open" : strerrorname_np(errno));
    }
    const char *outcome = try_udp("8.8.8.8", 443, false, IPPROTO_UDPLITE);
    if (strcmp(outcome, "EPERM") != 0 && strcmp(outcome, "EPROTONOSUPPORT") != 0)
        say("UDP-Lite: %s; ", outcome);
    static const struct {
        const char *name;
        int type, protocol;
    } streams[] = {
        {"SCTP", SOCK_STREAM, 132}, {"DCCP", 6 /* SOCK_DCCP */, 33}, {"MPTCP", SOCK_STREAM, 262}};
    for (size_t i = 0; i < ARRAY_LENGTH(streams); i++) {
        _cleanup_fd_ int fd =
            socket(AF_INET, streams[i].type | SOCK_NONBLOCK | SOCK_CLOEXEC, streams[i].protocol);
        if (fd < 0)
            continue;
        outcome = try_socket(fd, "8.8.8.8", 443);
        /* No session has an SCTP or DCCP socket (docs/seccomp.md), and where the kernel has them
         * they do not take this refusal for the end (SCTP of Linux 6.1): nothing comes of it. */
        bool waits = strcmp(outcome, "HANGS") == 0 && streams[i].protocol != 262;
        if (!waits && (strncmp(outcome, "to ", 3) == 0 || strcmp(outcome, "open") == 0 ||
                       strcmp(outcome, "HANGS") == 0))
            say("%s: %s; ", streams[i].name, outcome);
    }
    _cleanup_fd_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 262);
    if (fd >= 0)
        expect("MPTCP", try_socket(fd, "93.184.216.34", 443), "to 93.184.216.34 443");
}

static void protocols(void)
{
    begin();
    MUST(1, in_session(ns.netns, datagrams) == 0);
    MUST(2, in_session(ns.netns, others) == 0);
    end();
}

Test(network_namespace, NET_4_every_other_protocol_is_refused_at_once_or_is_not_there,
     .timeout = 120)
{
    run(protocols);
}

/* ---- loopback
 * ------------------------------------------------------------------------------------------ */

static int listen_at(const char *address, int port, int *ret_port)
{
    struct sockaddr_storage at;
    socklen_t length = address_make(address, port, &at);
    int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    /* As servers do: connections of the gateway's that end have the port that was meant. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&at, length) < 0 || listen(fd, 8) < 0) {
        fd_close(fd);
        return -errno;
    }
    getsockname(fd, (struct sockaddr *)&at, &length);
    *ret_port = ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
                                              : ((struct sockaddr_in6 *)&at)->sin6_port);
    return fd;
}

static void one_to_itself(const char *listen_on, const char *connect_to)
{
    int port = 0;
    _cleanup_fd_ int listener = listen_at(listen_on, 0, &port);
    struct sockaddr_storage to;
    socklen_t length = address_make(connect_to, port, &to);
    _cleanup_fd_ int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(30, listener >= 0);
    if (connect(fd, (const struct sockaddr *)&to, length) < 0)
        say("%s: %s; ", connect_to, strerrorname_np(errno));
}

static void datagram_to_itself(const char *address)
{
    struct sockaddr_storage at;
    socklen_t length = address_make(address, 0, &at);
    _cleanup_fd_ int to = socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0),
                     from = socket(at.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char byte;
    MUST(31, bind(to, (const struct sockaddr *)&at, length) == 0);
    MUST(32, getsockname(to, (struct sockaddr *)&at, &length) == 0);
    struct pollfd p = {.fd = to, .events = POLLIN};
    if (sendto(from, "x", 1, 0, (const struct sockaddr *)&at, length) != 1 ||
        poll(&p, 1, PATIENCE_MS) != 1 || recv(to, &byte, 1, 0) != 1)
        say("UDP %s: %s; ", address, strerrorname_np(errno));
}

static void to_itself(void)
{
    one_to_itself("127.0.0.1", "127.0.0.1");
    one_to_itself("0.0.0.0", "127.0.0.1");
    one_to_itself("0.0.0.0", "127.7.7.7");
    one_to_itself("0.0.0.0", "0.0.0.0");
    one_to_itself("::1", "::1");
    one_to_itself("::", "127.0.0.1");
    one_to_itself("::", "::ffff:127.0.0.1");
    one_to_itself("0.0.0.0", "192.0.2.2");
    one_to_itself("::", "fd00::2");
    datagram_to_itself("127.0.0.1");
    datagram_to_itself("::1");
    datagram_to_itself("192.0.2.2");
}

static void loopback(void)
{
    begin();
    MUST(1, in_session(ns.netns, to_itself) == 0);
    end();
}

Test(network_namespace, loopback_and_its_own_addresses_are_free)
{
    run(loopback);
}

/* ---- whose ports are whose
 * --------------------------------------------------------------------------------
 */

/* As root of the session, with every option that shares a port. */
static void take_ports(void)
{
    static const char *const at[] = {"0.0.0.0", "127.0.0.1", "93.184.216.34", "::", "::1"};
    static const int taken[] = {NETWORK_LISTENER_PORT, NETWORK_DNS_PORT, 1};
    for (size_t i = 0; i < ARRAY_LENGTH(at); i++)
        for (size_t p = 0; p < ARRAY_LENGTH(taken); p++)
            for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
                struct sockaddr_storage to;
                int one = 1;
                socklen_t length = address_make(at[i], taken[p], &to);
                _cleanup_fd_ int fd = socket(to.ss_family, type | SOCK_CLOEXEC, 0);
                setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
                setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
                if (bind(fd, (const struct sockaddr *)&to, length) == 0 || errno != EACCES)
                    say("%s %d: %s; ", at[i], taken[p], strerrorname_np(errno));
            }
    int one = 1;
    _cleanup_fd_ int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(40,
         setsockopt(fd, SOL_IP, 19 /* IP_TRANSPARENT */, &one, sizeof one) < 0 && errno == EPERM);
}

static void serve_80(void)
{
    int port;
    _cleanup_fd_ int fd = listen_at("0.0.0.0", 80, &port);
    MUST(41, fd >= 0);
}

static void ports(void)
{
    begin();
    MUST(1, in_session(ns.netns, take_ports) == 0);
    MUST(2, in_session(ns.netns, serve_80) == 0);
    stop(gateway);
    network_namespace_fini(&(struct network_namespace){
        .netns = -1,
        .fds = {-1, -1, ns.fds[GATEWAY_ADD_TCP4], ns.fds[GATEWAY_ADD_TCP6],
                ns.fds[GATEWAY_ADD_UDP4], ns.fds[GATEWAY_ADD_UDP6], ns.fds[GATEWAY_ADD_DNS4],
                ns.fds[GATEWAY_ADD_DNS6], ns.fds[GATEWAY_ADD_LOG]}});
    /* Nor while nobody has them. */
    MUST(3, in_session(ns.netns, take_ports) == 0);
    fd_close(ns.netns);
}

Test(network_namespace, no_program_of_a_session_can_have_the_resolvers_or_the_listeners_port)
{
    run(ports);
}

/* ---- without a gateway
 * ------------------------------------------------------------------------------- */

static void close_sockets(void)
{
    stop(gateway);
    for (int i = 0; i < GATEWAY_ADD_END; i++)
        fd_closep(&ns.fds[i]);
}

/* A program that listens on every address must not get what was for outside. */
static void nobody_serves(void)
{
    static const struct attempt attempts[] = {{"93.184.216.34", 443, "ECONNREFUSED"},
                                              {"8.8.8.8", 443, "ECONNREFUSED"},
                                              {"8.8.8.8", 53, "ECONNREFUSED"}};
    int port;
    _cleanup_fd_ int fd = listen_at("::", 443, &port), fd4 = listen_at("0.0.0.0", 443, &port);
    MUST(50, fd >= 0 || fd4 >= 0);
    expect_tcp(attempts, ARRAY_LENGTH(attempts));
    expect("UDP 53", try_udp("8.8.8.8", 53, true, 0), "ECONNREFUSED");
    expect("UDP 443", try_udp("8.8.8.8", 443, true, 0), "EPERM");
}

static void served_again(void)
{
    static const struct attempt attempts[] = {
        {"93.184.216.34", 443, NULL}, {"8.8.8.8", 443, "ECONNREFUSED"}, {"8.8.8.8", 53, NULL}};
    expect_tcp(attempts, ARRAY_LENGTH(attempts));
    expect("UDP 53", try_udp("8.8.8.8", 53, true, 0), "answered");
}

static void without_gateway(void)
{
    begin();
    MUST(1, in_session(ns.netns, served_again) == 0);
    close_sockets();
    MUST(2, in_session(ns.netns, nobody_serves) == 0);
    for (int i = 0; i < 5; i++) {
        struct network_namespace again;
        MUST(3, network_namespace_sockets(ns.netns, &again, NULL) == 0);
        MUST(4, again.netns == -1);
        memcpy(ns.fds, again.fds, sizeof ns.fds);
        /* While one serves there is no second. */
        struct err err = {0};
        MUST(5, network_namespace_sockets(ns.netns, &again, &err) < 0);
        MUST(6, err.code == ERR_IN_PROGRESS);
        gateway = start_gateway(&ns);
        MUST(7, in_session(ns.netns, served_again) == 0);
        close_sockets();
    }
    MUST(8, in_session(ns.netns, nobody_serves) == 0);
    fd_close(ns.netns);
}

Test(network_namespace, NET_5_without_a_gateway_all_is_refused_and_new_sockets_serve_again,
     .timeout = 120)
{
    run(without_gateway);
}

/* ---- what it leaves
 * -------------------------------------------------------------------------------------- */

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void no_trace(void)
{
    struct stat before, after;
    sigset_t mask, mask_after;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    MUST(1, stat("/proc/self/ns/net", &before) == 0);
    begin();
    end();
    unsigned files = open_files();
    for (int i = 0; i < 20; i++) {
        struct network_namespace made;
        uint64_t counters[NETWORK_COUNTER_COUNT];
        int connectors[4];
        network_namespace_init(&made);
        MUST(2, make(&made, NULL) == 0);
        MUST(3, network_namespace_counters(made.netns, counters, NULL) == 0);
        MUST(4, network_namespace_connectors(made.netns, AF_INET, 4, connectors, NULL) == 0);
        for (int k = 0; k < 4; k++)
            close(connectors[k]);
        for (int k = GATEWAY_ADD_TCP4; k < GATEWAY_ADD_END; k++)
            MUST(5, fcntl(made.fds[k], F_GETFD) == FD_CLOEXEC);
        network_namespace_fini(&made);
    }
    /* What fails leaves nothing either: this is no namespace of berth's. */
    struct network_namespace made;
    struct err err = {0};
    int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint64_t counters[NETWORK_COUNTER_COUNT];
    MUST(6, network_namespace_sockets(null, &made, &err) == -EINVAL);
    MUST(7, network_namespace_counters(here, counters, &err) < 0);
    close(null);
    close(here);
    MUST(8, open_files() == files);
    MUST(9, stat("/proc/self/ns/net", &after) == 0 && after.st_ino == before.st_ino);
    sigprocmask(SIG_SETMASK, NULL, &mask_after);
    for (int i = 1; i < SIGRTMAX; i++)
        MUST(10, sigismember(&mask, i) == sigismember(&mask_after, i));
    MUST(11, waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

Test(network_namespace, the_caller_stays_as_it_was_and_nothing_is_left, .timeout = 60)
{
    run(no_trace);
}

/* What nobody has been given yet is closed, whatever there is in it to pass a packet on to. */
static void try_closed(void)
{
    static const char *const addresses[] = {"8.8.8.8",        "93.184.216.34", "169.254.169.254",
                                            "198.18.0.16",    "2606:2800::1",  "fd00:6272::10",
                                            "::ffff:8.8.8.8", "10.0.0.1"};
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++) {
        const char *outcome = try_tcp(addresses[i], 443);
        if (strcmp(outcome, "ECONNREFUSED") != 0)
            say("%s: %s; ", addresses[i], outcome);
        outcome = try_udp(addresses[i], 443, true, 0);
        if (strcmp(outcome, "EPERM") != 0)
            say("UDP to %s: %s; ", addresses[i], outcome);
    }
}

static void closed(void)
{
    struct network_ready ready;
    uint64_t counters[NETWORK_COUNTER_COUNT];
    MUST(1, network_ready_make(&ready, NULL) == 0);
    MUST(2, network_namespace_counters(ready.netns, counters, NULL) == 0);
    for (unsigned i = 0; i < NETWORK_COUNTER_COUNT; i++)
        MUST(3, counters[i] == 0);
    MUST(4, in_session(ready.netns, try_closed) == 0);
    MUST(5, network_namespace_counters(ready.netns, counters, NULL) == 0);
    MUST(6, counters[NETWORK_COUNT_PASSED] == 0 && counters[NETWORK_COUNT_DENIED_TCP] >= 8);
    /* It goes where it cannot be given what it was made for. */
    struct network_namespace made;
    network_namespace_init(&made);
    fd_replace(&ready.rules, open("/dev/null", O_RDWR | O_CLOEXEC));
    struct err err = {0};
    unsigned before = open_files();
    MUST(7, network_ready_use(&ready, &net, &made, &err) < 0);
    MUST(8, made.netns < 0 && ready.netns < 0);
    MUST(9, open_files() == before - NETWORK_READY_FDS);
}

Test(network_namespace, NET_5_what_is_made_before_its_rules_are_known_refuses_everything)
{
    run(closed);
}

/* A connection that is tracked would be charged to nobody. */
static void look_for_conntrack(void)
{
    char text[32] = "0";
    (void)try_tcp("93.184.216.34", 443);
    (void)try_tcp("8.8.8.8", 443);
    (void)try_udp("8.8.8.8", 53, true, 0);
    ssize_t n =
        io_read_at(AT_FDCWD, "/proc/sys/net/netfilter/nf_conntrack_count", text, sizeof text);
    MUST(60, n < 0 || strtol(text, NULL, 10) == 0);
}

static void untracked(void)
{
    begin();
    MUST(1, in_session(ns.netns, look_for_conntrack) == 0);
    end();
}

Test(network_namespace, no_connection_is_tracked)
{
    run(untracked);
}
