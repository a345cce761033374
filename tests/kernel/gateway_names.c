/* This file tests what programs of a session reach through the real gateway, by name and by
 * address, and what is told of it (NET-1 to NET-4, NET-7); servers and resolver are the test's own.
 */
#include "tests/kernel/gateway_fixture.h"

static void reach_names(void)
{
    expect_name("four.example", 443, "echo");
    expect_name("six.example", 443, "echo");
    expect_name("dual.example", 443, "echo");
    expect_name("broken-six.example", 443, "echo");
    expect_name("many.example", 443, "echo");
    expect_name("half.example", 443, "echo");
    expect_name("FOUR.Example", 443, "echo");
    expect_name("www.four.example", 443, "EADDRNOTAVAIL");
    expect_name("other.example", 443, "EADDRNOTAVAIL");
}

static void names_are_reached(void)
{
    make_all(SPEC_EGRESS_DENY,
             "four.example:443 six.example:443 dual.example:443 broken-six.example:443 "
             "many.example:443 half.example:443",
             "");
    MUST(1, in_session(reach_names) == 0);
}

Test(gateway, NET_1_what_a_rule_names_is_reached_by_either_family_and_nothing_else)
{
    run_in_child(names_are_reached);
}

static void reach_refused(void)
{
    expect_name("private.example", 443, "ECONNRESET");
    expect_name("metadata.example", 443, "ECONNRESET");
    expect_name("loopback.example", 443, "ECONNRESET");
    expect_name("mapped.example", 443, "ECONNRESET");
    expect_name("own.example", 443, "ECONNRESET");
    expect_name("nowhere.example", 443, "ECONNRESET");
    /* The port has no rule: the kernel lets a pool address pass, the gateway does not. */
    expect_name("four.example", 80, "ECONNRESET");
    expect_name("four.example", 443, "echo");
}

static void refused_after_resolution(void)
{
    static const struct {
        const char *host;
        enum network_reason reason;
    } told[] = {
        {"private.example", NETWORK_BY_ADDRESS},  {"metadata.example", NETWORK_BY_ADDRESS},
        {"loopback.example", NETWORK_BY_ADDRESS}, {"mapped.example", NETWORK_BY_ADDRESS},
        {"own.example", NETWORK_BY_OWN_ADDRESS},  {"nowhere.example", NETWORK_BY_UNREACHABLE},
        {"four.example", NETWORK_BY_PORT}};
    struct gateway_event event;
    make_all(SPEC_EGRESS_DENY,
             "four.example:443 private.example:443 metadata.example:443 loopback.example:443 "
             "mapped.example:443 own.example:443 nowhere.example:443",
             "");
    MUST(1, in_session(reach_refused) == 0);
    for (unsigned i = 0; i < ARRAY_LENGTH(told); i++) {
        MUST(2, take_event(GATEWAY_DENIED, &event));
        /* Some are told twice: dialled by each family. */
        while (i > 0 && strcmp(event.host, told[i - 1].host) == 0)
            MUST(3, take_event(GATEWAY_DENIED, &event));
        EXPECT(strcmp(event.host, told[i].host) == 0 && event.reason == told[i].reason,
               "told of %s: %s", event.host, network_reason_name(event.reason));
    }
}

Test(gateway, NET_3_what_a_name_resolves_to_is_decided_again)
{
    run_in_child(refused_after_resolution);
}

static void reach_turning(void)
{
    expect_address("198.18.0.16", 443, "ECONNRESET");
    char address[ADDRESS_TEXT_SIZE];
    MUST(1, look_up("turns.example", DNS_TYPE_A, address) == 0);
    EXPECT(strcmp(address, "198.18.0.16") == 0, "its address is %s", address);
    expect_address("198.18.0.16", 443, "echo");
    for (int i = 0; i < 5; i++)
        expect_address("198.18.0.16", 443, "ECONNRESET");
}

static void a_name_turns(void)
{
    make_all(SPEC_EGRESS_DENY, "turns.example:443", "");
    MUST(2, in_session(reach_turning) == 0);
}

Test(gateway, NET_3_a_name_that_turns_private_after_its_first_use_is_refused)
{
    run_in_child(a_name_turns);
}

static void reach_addresses(void)
{
    static const char *const refused[] = {
        "127.0.0.2",       "10.7.7.7",  "169.254.169.254", "10.99.0.1",      "0.0.0.0",
        "100.64.0.1",      "224.0.0.1", "198.18.200.1",    "192.168.0.1",    "64:ff9b::a07:707",
        "2002:a07:707::1", "fe80::1",   "fd00:ec2::254",   "::ffff:10.7.7.7"};
    expect_address("93.184.216.34", 443, "echo");
    expect_address("2606:4700::34", 80, "echo");
    expect_address("::ffff:93.184.216.34", 443, "echo");
    for (unsigned i = 0; i < ARRAY_LENGTH(refused); i++) {
        long long begun = milliseconds();
        const char *said = talk(dial_address(refused[i], 443));
        EXPECT(strcmp(said, "echo") != 0 && strcmp(said, "other") != 0, "%s: %s", refused[i], said);
        EXPECT(milliseconds() - begun < PATIENCE_MS / 2, "%s hangs", refused[i]);
    }
    expect_name("four.example", 80, "echo");
    expect_name("private.example", 443, "ECONNRESET");
}

static void modes_reach(void)
{
    make_all(SPEC_EGRESS_PUBLIC_ONLY, "", "");
    MUST(1, in_session(reach_addresses) == 0);
}

Test(gateway, NET_3_public_only_reaches_what_is_public_and_never_the_host)
{
    run_in_child(modes_reach);
}

/* The host's own address is public here: only its routes know that it is its own. */
static void reach_own_public(void)
{
    expect_address("93.184.216.99", 443, "ECONNRESET");
    expect_address("93.184.216.34", 443, "echo");
}

static void own_is_refused(void)
{
    struct gateway_event event;
    make_all(SPEC_EGRESS_ALLOW, "93.184.216.0/24:*", "");
    sh("ip addr add 93.184.216.99/32 dev h0");
    int listener = listen_at(AF_INET, 443);
    MUST(1, in_session(reach_own_public) == 0);
    struct pollfd p = {.fd = listener, .events = POLLIN};
    EXPECT(poll(&p, 1, 0) == 0, "the host was reached");
    MUST(2, take_event(GATEWAY_DENIED, &event));
    EXPECT(event.reason == NETWORK_BY_OWN_ADDRESS && event.port == 443, "told: %s",
           network_reason_name(event.reason));
}

Test(gateway, NET_7_an_address_that_the_host_has_is_refused_whatever_rule_names_it)
{
    run_in_child(own_is_refused);
}

static void reach_door(void)
{
    expect_name("host.berth.internal", 5432, "echo");
    expect_name("host.berth.internal", 80, "ECONNRESET");
}

static void reach_closed_door(void)
{
    expect_name("host.berth.internal", 5432, "EADDRNOTAVAIL");
}

static void serve_host(void)
{
    if (child() == 0) {
        int listener = listen_at(AF_INET, 5432);
        for (;;) {
            char text[8];
            int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            ssize_t n = recv(fd, text, sizeof text, 0);
            (void)!send(fd, text, n > 0 ? (size_t)n : 0, MSG_NOSIGNAL);
            fd_close(fd);
        }
    }
}

static void open_door(void)
{
    default_config();
    config.door_count = 1;
    config.door_ports[0] = 5432;
    make_all(SPEC_EGRESS_ALLOW, "host.berth.internal:5432", "");
    serve_host();
    MUST(1, in_session(reach_door) == 0);
}

static void closed_door(void)
{
    make_all(SPEC_EGRESS_ALLOW, "host.berth.internal:5432", "");
    serve_host();
    MUST(1, in_session(reach_closed_door) == 0);
}

Test(gateway, NET_7_the_hosts_door_is_open_where_the_operator_and_a_rule_say_so)
{
    run_in_child(open_door);
    run_in_child(closed_door);
}

static int told[2], heard[2];

static void give_config(void)
{
    int fd = memory_file(&config, sizeof config);
    send_with(life, "F", 1, &fd, 1);
    fd_close(fd);
}

/* Who has just changed may be a moment late. */
static void name_becomes(const char *name, int port, const char *wanted)
{
    const char *said = "";
    for (long long until = milliseconds() + PATIENCE_MS; milliseconds() < until; poll(NULL, 0, 10))
        if (strcmp(said = talk(dial_name(name, port, DNS_TYPE_A)), wanted) == 0)
            return;
    say("%s:%d: %s", name, port, said);
}

static void hold_the_door(void)
{
    char byte;
    int fd = dial_name("host.berth.internal", 5432, DNS_TYPE_A);
    MUST(1, fd >= 0 && write(told[1], "o", 1) == 1 && read(heard[0], &byte, 1) == 1);
    EXPECT(recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET, "it goes through a door that is shut");
    expect_name("host.berth.internal", 5432, "EADDRNOTAVAIL");
    name_becomes("four.example", 443, "ECONNRESET");
    MUST(2, write(told[1], "o", 1) == 1 && read(heard[0], &byte, 1) == 1);
    name_becomes("host.berth.internal", 5432, "echo");
    name_becomes("four.example", 443, "echo");
}

static void read_again(void)
{
    char byte;
    default_config();
    config.connect_timeout_ms = 1000;
    config.door_count = 1;
    config.door_ports[0] = 5432;
    const struct gateway_config before = config;
    make_all(SPEC_EGRESS_DENY, "host.berth.internal:5432 four.example:443", "");
    serve_host();
    MUST(3, pipe2(told, O_CLOEXEC) == 0 && pipe2(heard, O_CLOEXEC) == 0);
    pid_t pid = child();
    if (pid == 0)
        _exit(in_session(hold_the_door));
    MUST(4, read(told[0], &byte, 1) == 1);
    poll(NULL, 0, 100); /* until it is dialled; if it is not yet, it is refused all the same */
    config.door_count = 0;
    config.resolvers[0].port = 9;
    give_config();
    MUST(5, write(heard[1], "g", 1) == 1 && read(told[0], &byte, 1) == 1);
    config = before;
    give_config();
    MUST(6, write(heard[1], "g", 1) == 1);
    int status = -1;
    waitpid(pid, &status, 0);
    EXPECT(status == 0, "the program: %d", status);
    /* What it cannot take it must not go on without: a door may be shut in it. */
    config.version = 0;
    give_config();
    EXPECT(waitpid(gateway_pid, &status, 0) == gateway_pid && WIFEXITED(status), "it goes on");
}

Test(gateway, NET_7_a_door_that_is_shut_while_it_runs_cuts_what_goes_through_it)
{
    run_in_child(read_again);
}

/* ---- other resolvers ------------------------------------------------------------------------- */

enum { SILENT_PORT = 5399, SILENT_TOO_PORT = 5398 };

static int shout[2], answer_back[2];

/* The test does something at this point, and says when it has. */
static void turn_of_the_test(void)
{
    char byte;
    MUST(20, write(shout[1], "t", 1) == 1 && read(answer_back[0], &byte, 1) == 1);
}

static void expect_reset(int fd)
{
    char byte;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    EXPECT(poll(&p, 1, PATIENCE_MS) == 1 && recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET,
           "it waits for a resolver that is asked no more");
    fd_close(fd);
}

/* Each by one resolver; all of the same name. */
static void dial_by_each(void)
{
    int by_first = dial_name("four.example", 443, DNS_TYPE_A);
    MUST(21, by_first >= 0);
    turn_of_the_test();
    int by_second = dial_name("four.example", 443, DNS_TYPE_A);
    MUST(22, by_second >= 0);
    turn_of_the_test();
    /* Nobody is asked about it who is silent; and it does not wait for those who are. */
    const char *said = talk(dial_name("four.example", 443, DNS_TYPE_A));
    EXPECT(strcmp(said, "echo") == 0, "by the resolver of now: %s", said);
    expect_reset(by_first);
    expect_reset(by_second);
}

static int listen_silently(int port)
{
    struct sockaddr_storage at;
    socklen_t length = address_make("127.0.0.1", port, &at);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    MUST(23, fd >= 0 && bind(fd, (void *)&at, length) == 0);
    return fd;
}

static void ask_silent(int port)
{
    MUST(24, address_parse("127.0.0.1", &config.resolvers[0].address) == 0);
    config.resolvers[0].port = (uint16_t)port;
}

/* Until the silent one was asked, the lookup is not one of his. */
static void next_resolver(int silent)
{
    char byte;
    struct pollfd p = {.fd = silent, .events = POLLIN};
    MUST(25, read(shout[0], &byte, 1) == 1);
    EXPECT(poll(&p, 1, PATIENCE_MS) == 1, "the resolver at that time was not asked");
    give_config();
    /* LIFE and the listeners are heard in one round, in any order: what follows follows. */
    EXPECT(ask(GATEWAY_FLUSH, NULL, NULL, 0) == 0, "flush: %d", reply.result);
    EXPECT(ask(GATEWAY_FLUSH, NULL, NULL, 0) == 0, "flush: %d", reply.result);
    MUST(26, write(answer_back[1], "g", 1) == 1);
}

static void resolvers_change(void)
{
    struct gateway_event event;
    default_config();
    const struct gateway_config good = config;
    ask_silent(SILENT_PORT);
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    int silent = listen_silently(SILENT_PORT), silent_too = listen_silently(SILENT_TOO_PORT);
    MUST(27, pipe2(shout, O_CLOEXEC) == 0 && pipe2(answer_back, O_CLOEXEC) == 0);
    pid_t pid = child();
    if (pid == 0)
        _exit(in_session(dial_by_each));
    ask_silent(SILENT_TOO_PORT);
    next_resolver(silent);
    config = good;
    next_resolver(silent_too);
    int status = -1;
    waitpid(pid, &status, 0);
    EXPECT(status == 0, "the program: %d", status);
    for (int i = 0; i < 2; i++)
        EXPECT(take_event(GATEWAY_DENIED, &event) && event.sys == ECANCELED &&
                   strcmp(event.host, "four.example") == 0,
               "told: %s, %s", event.host, strerrorname_np(event.sys));
}

Test(gateway, other_resolvers_are_asked_at_once_and_those_of_before_are_not_waited_for)
{
    run_in_child(resolvers_change);
}

static void dial_and_wait(void)
{
    int fd = dial_name("four.example", 443, DNS_TYPE_A);
    MUST(28, fd >= 0);
    turn_of_the_test();
    expect_reset(fd);
}

static void resolvers_stay(void)
{
    struct gateway_event event;
    default_config();
    ask_silent(SILENT_PORT);
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    int silent = listen_silently(SILENT_PORT);
    MUST(29, pipe2(shout, O_CLOEXEC) == 0 && pipe2(answer_back, O_CLOEXEC) == 0);
    pid_t pid = child();
    if (pid == 0)
        _exit(in_session(dial_and_wait));
    next_resolver(silent);
    int status = -1;
    waitpid(pid, &status, 0);
    EXPECT(status == 0, "the program: %d", status);
    EXPECT(take_event(GATEWAY_DENIED, &event) && event.sys == ETIMEDOUT, "told: %s",
           strerrorname_np(event.sys));
}

Test(gateway, a_configuration_with_the_same_resolvers_cuts_no_lookup_short)
{
    run_in_child(resolvers_stay);
}

/* ---- DNS ------------------------------------------------------------------------------------- */

static void ask_dns(void)
{
    char text[ADDRESS_TEXT_SIZE];
    EXPECT(look_up("four.example", DNS_TYPE_A, text) == 0 && strcmp(text, "198.18.0.16") == 0,
           "A: %s", text);
    EXPECT(look_up("four.example", DNS_TYPE_AAAA, text) == 0 && strcmp(text, "fd00:6272::10") == 0,
           "AAAA: %s", text);
    EXPECT(look_up("Four.EXAMPLE", DNS_TYPE_A, text) == 0 && strcmp(text, "198.18.0.16") == 0,
           "case: %s", text);
    EXPECT(look_up("x.y.four.example", DNS_TYPE_A, text) == 5, "below is refused");
    EXPECT(look_up("four.example", 16, text) == 0 && !text[0], "another type is empty");
    EXPECT(look_up("denied.example", DNS_TYPE_A, text) == 5, "denied is refused");
    EXPECT(look_up("localhost", DNS_TYPE_A, text) == 0 && strcmp(text, "127.0.0.1") == 0, "%s",
           text);
    EXPECT(look_up("1.0.0.10.in-addr.arpa", DNS_TYPE_PTR, text) == 3, "no name of an address");
    /* Whatever server a program asks, over either family. */
    EXPECT(look_up_at("8.8.8.8", "four.example", DNS_TYPE_A, text) == 0 && text[0], "at 8.8.8.8");
    EXPECT(look_up_at("127.0.0.53", "four.example", DNS_TYPE_A, text) == 0 && text[0], "stub");
    EXPECT(look_up_at("2001:4860:4860::8888", "four.example", DNS_TYPE_A, text) == 0 && text[0],
           "over IPv6");
    EXPECT(look_up_at("::1", "four.example", DNS_TYPE_A, text) == 0 && text[0], "at ::1");
    /* And over TCP: two questions in one piece. */
    uint8_t bytes[1024];
    size_t one = put_question(bytes + 2, "four.example", DNS_TYPE_A);
    bytes[0] = 0;
    bytes[1] = (uint8_t)one;
    memcpy(bytes + 2 + one, bytes, 2 + one);
    int fd = dial_address("9.9.9.9", NETWORK_DNS_PORT);
    EXPECT(fd >= 0, "TCP: %s", strerrorname_np(-fd));
    MUST(1, send(fd, bytes, 2 * (2 + one), 0) == (ssize_t)(2 * (2 + one)));
    ssize_t got = recv(fd, bytes, 2 * (2 + one + 16), MSG_WAITALL);
    EXPECT(got == (ssize_t)(2 * (2 + one + 16)), "%zd bytes over TCP", got);
    fd_close(fd);
}

static void dns_answers(void)
{
    struct gateway_event event;
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    MUST(2, in_session(ask_dns) == 0);
    EXPECT(__atomic_load_n(&shared->questions, __ATOMIC_SEQ_CST) == 0, "a question left");
    MUST(3, take_event(GATEWAY_DENIED, &event));
    EXPECT(strcmp(event.host, "x.y.four.example") == 0 && event.protocol == GATEWAY_DNS, "%s",
           event.host);
    MUST(4, take_event(GATEWAY_DENIED, &event));
    EXPECT(strcmp(event.host, "denied.example") == 0 && event.reason == NETWORK_BY_NO_RULE, "%s",
           event.host);
}

Test(gateway, names_are_answered_from_the_pool_and_no_question_leaves)
{
    run_in_child(dns_answers);
}

static void ask_many(void)
{
    char name[64], text[ADDRESS_TEXT_SIZE], first[ADDRESS_TEXT_SIZE];
    MUST(1, look_up("n0.four.example", DNS_TYPE_A, first) == 0);
    for (int i = 1; i < NETWORK_NAMES_MAX; i++) {
        snprintf(name, sizeof name, "n%d.four.example", i);
        if (look_up(name, DNS_TYPE_A, text) != 0)
            say("name %d is refused", i);
    }
    EXPECT(look_up("one-more.four.example", DNS_TYPE_A, text) == 5, "one more has %s", text);
    EXPECT(look_up("n0.four.example", DNS_TYPE_A, text) == 0 && strcmp(text, first) == 0,
           "the first has %s", text);
}

static void names_are_bounded(void)
{
    struct gateway_event event;
    make_all(SPEC_EGRESS_DENY, "*.four.example:443", "");
    MUST(2, in_session(ask_many) == 0);
    MUST(3, take_event(GATEWAY_DENIED, &event));
    EXPECT(event.reason == NETWORK_BY_NAMES_MAX, "told: %s", network_reason_name(event.reason));
}

Test(gateway, a_session_has_4096_names_and_none_twice, .timeout = 120)
{
    run_in_child(names_are_bounded);
}
