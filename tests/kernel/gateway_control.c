/* This file tests what happens to a session's network while its rules change, its gateway is killed
 * and started again, and its ports are published (NET-5, NET-6).
 */
#include "tests/kernel/gateway_fixture.h"

#include <sys/resource.h>

/* ---- other rules ----------------------------------------------------------------------------- */

static int go[2], gone[2];

static void hold_two(void)
{
    char byte;
    int one = dial_name("four.example", 443, DNS_TYPE_A);
    int other = dial_name("dual.example", 443, DNS_TYPE_A);
    MUST(1, one >= 0 && other >= 0);
    for (int i = 0; i < 2; i++) {
        int fd = i ? other : one;
        MUST(2, send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1);
    }
    MUST(3, write(gone[1], "o", 1) == 1 && read(go[0], &byte, 1) == 1);
    EXPECT(recv(one, &byte, 1, 0) < 0 && errno == ECONNRESET, "a refused connection lives");
    EXPECT(strcmp(talk(other), "echo") == 0, "an allowed connection was cut");
    expect_name("four.example", 443, "EADDRNOTAVAIL");
    expect_address("198.18.0.16", 443, "ECONNRESET");
    expect_name("six.example", 443, "echo");
}

static void rules_change(void)
{
    char byte;
    make_all(SPEC_EGRESS_DENY, "four.example:443 dual.example:443", "");
    MUST(4, pipe2(go, O_CLOEXEC) == 0 && pipe2(gone, O_CLOEXEC) == 0);
    pid_t pid = child();
    if (pid == 0)
        _exit(in_session(hold_two));
    MUST(5, read(gone[0], &byte, 1) == 1);
    replace_rules(SPEC_EGRESS_DENY, "dual.example:443 six.example:443", "");
    EXPECT(reply.count == 1, "%u connections cut", reply.count);
    MUST(6, write(go[1], "g", 1) == 1);
    int status = -1;
    waitpid(pid, &status, 0);
    EXPECT(status == 0, "the program: %d", status);
    /* Rules that are older than those that hold are not taken. */
    record.generation--;
    int fd = memory_file(&record, sizeof record);
    EXPECT(ask(GATEWAY_REPLACE, NULL, &fd, 1) == -ESTALE, "older rules: %d", reply.result);
    EXPECT(ask(GATEWAY_FLUSH, NULL, NULL, 0) == 0, "flush: %d", reply.result);
    EXPECT(ask(GATEWAY_REMOVE, NULL, NULL, 0) == 0, "remove: %d", reply.result);
    EXPECT(ask(GATEWAY_REMOVE, NULL, NULL, 0) == -ENOENT, "remove again: %d", reply.result);
}

Test(gateway_control, NET_6_other_rules_cut_what_they_refuse_and_nothing_else)
{
    run_in_child(rules_change);
}

static void hold_one_that_is_dialled(void)
{
    char byte;
    int fd = dial_name("private.example", 80, DNS_TYPE_A);
    MUST(7, fd >= 0);
    MUST(8, write(gone[1], "o", 1) == 1 && read(go[0], &byte, 1) == 1);
    const char *said = talk(fd);
    EXPECT(strcmp(said, "ECONNRESET") == 0, "opened by the rules of before: %s", said);
}

/* The other side answers after the rules have changed; by its name alone it would be allowed. */
static void rules_change_while_dialling(void)
{
    char byte;
    make_all(SPEC_EGRESS_DENY, "private.example:80 10.7.7.0/24:80", "");
    sh("nft add table ip late && nft 'add chain ip late in { type filter hook input priority 0; }' "
       "&& "
       "nft add rule ip late in ip saddr 10.7.7.7 tcp sport 80 drop");
    MUST(9, pipe2(go, O_CLOEXEC) == 0 && pipe2(gone, O_CLOEXEC) == 0);
    pid_t pid = child();
    if (pid == 0)
        _exit(in_session(hold_one_that_is_dialled));
    MUST(10, read(gone[0], &byte, 1) == 1);
    poll(NULL, 0,
         300); /* until it is dialled; if it is not yet, the new rules refuse it all the same */
    replace_rules(SPEC_EGRESS_DENY, "private.example:80", "");
    sh("nft delete table ip late");
    MUST(11, write(go[1], "g", 1) == 1);
    int status = -1;
    waitpid(pid, &status, 0);
    EXPECT(status == 0, "the program: %d", status);
}

Test(gateway_control, NET_6_what_answers_after_the_rules_have_changed_is_decided_by_them)
{
    run_in_child(rules_change_while_dialling);
}

/* Kilobytes of the gateway that are its own; by its pages, not by counters that are rounded. */
static long memory_of_gateway(void)
{
    char path[48], text[4096];
    long kilobytes = -1;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", gateway_pid);
    MUST(10, io_read_at(AT_FDCWD, path, text, sizeof text) > 0);
    const char *line = strstr(text, "\nAnonymous:");
    MUST(11, line && sscanf(line, "\nAnonymous: %ld", &kilobytes) == 1);
    return kilobytes;
}

static void give_rules(unsigned count)
{
    set_rules(SPEC_EGRESS_DENY, "four.example:443", "");
    for (unsigned i = 1; i < count; i++)
        record.network.allow[i] = record.network.deny[i - 1] = record.network.allow[0];
    record.network.allow_count = count;
    record.network.deny_count = count - 1;
    int fd = memory_file(&record, sizeof record);
    MUST(12, ask(GATEWAY_REPLACE, NULL, &fd, 1) == 0);
    fd_close(fd);
}

static void many_rules(void)
{
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    give_rules(SPEC_RULES_MAX);
    give_rules(1);
    long one = memory_of_gateway();
    give_rules(SPEC_RULES_MAX);
    long many = memory_of_gateway();
    give_rules(1);
    long again = memory_of_gateway();
    const long all = (long)(2 * SPEC_RULES_MAX * sizeof(struct spec_rule) >> 10);
    EXPECT(many - one > all / 2 && again - one < 16,
           "%ld KiB with one rule, %ld with all, then %ld", one, many, again);
}

Test(gateway_control, a_session_takes_memory_for_the_rules_that_it_has)
{
    run_in_child(many_rules);
}

/* ---- a gateway that is killed ---------------------------------------------------------------- */

static void reach_nothing(void)
{
    expect_address("198.18.0.16", 443, "ECONNREFUSED");
    expect_address("93.184.216.34", 443, "ECONNREFUSED");
    expect_address("10.7.7.7", 443, "ECONNREFUSED");
}

static void reach_as_before(void)
{
    /* The address that the name had: the map outlived the gateway. */
    expect_address("198.18.0.17", 443, "echo");
    expect_address("198.18.0.16", 443, "echo");
    expect_address("10.7.7.7", 443, "ECONNREFUSED");
    expect_name("four.example", 443, "echo");
}

static void look_both_up(void)
{
    expect_name("four.example", 443, "echo");
    expect_name("six.example", 443, "echo");
}

static void killed(void)
{
    make_all(SPEC_EGRESS_DENY, "four.example:443 six.example:443", "");
    MUST(1, in_session(look_both_up) == 0);
    for (int i = 0; i < 3; i++) {
        kill(gateway_pid, SIGKILL);
        waitpid(gateway_pid, NULL, 0);
        MUST(2, in_session(reach_nothing) == 0);
        fd_closep(&life);
        fd_closep(&control);
        fd_closep(&events);
        start_gateway();
        MUST(3, add_session() == 0);
        MUST(4, in_session(reach_as_before) == 0);
    }
}

Test(gateway_control, NET_5_without_its_gateway_a_session_reaches_nothing_and_then_what_it_did)
{
    run_in_child(killed);
}

static void no_life(void)
{
    int status = -1;
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    fd_closep(&life);
    MUST(1, waitpid(gateway_pid, &status, 0) == gateway_pid);
    EXPECT(status == 0, "it ended with %d", status);
}

Test(gateway_control, the_gateway_ends_with_who_started_it)
{
    run_in_child(no_life);
}

static void other_launcher(void)
{
    int pair[2];
    make_all(SPEC_EGRESS_DENY, "four.example:443 six.example:443", "");
    /* Garbage ends the connection, and nothing else. */
    MUST(1, send(control, "garbage", 7, MSG_NOSIGNAL) == 7);
    struct pollfd p = {.fd = control, .events = POLLIN};
    MUST(2, poll(&p, 1, PATIENCE_MS) == 1 && recv(control, &reply, sizeof reply, 0) == 0);
    fd_close(control);
    MUST(3, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    send_with(life, "C", 1, &pair[1], 1);
    fd_close(pair[1]);
    control = pair[0];
    EXPECT(ask(GATEWAY_FLUSH, NULL, NULL, 0) == 0, "flush: %d", reply.result);
    MUST(4, in_session(look_both_up) == 0);
}

Test(gateway_control, another_launcher_goes_on_where_the_last_one_sent_garbage)
{
    run_in_child(other_launcher);
}

/* ---- published ports ------------------------------------------------------------------------- */

static int connectors[8];

static void make_connectors(void)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(connectors); i++) {
        connectors[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        MUST(1, connectors[i] >= 0);
    }
}

static void serve_inside(void)
{
    struct sockaddr_storage at;
    socklen_t length = address_make("127.0.0.1", 3000, &at);
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    MUST(2, bind(listener, (void *)&at, length) == 0 && listen(listener, 64) == 0);
    MUST(3, write(gone[1], "l", 1) == 1);
    for (;;) {
        char text[8];
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        ssize_t n = recv(fd, text, 5, MSG_WAITALL);
        (void)!send(fd, text, n > 0 ? (size_t)n : 0, MSG_NOSIGNAL);
        fd_close(fd);
    }
}

static int one_socket[1];

static void make_one_socket(void)
{
    one_socket[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(1, one_socket[0] >= 0);
}

static void send_alone(unsigned type, int fd, bool answer)
{
    const struct gateway_request request = {.magic = GATEWAY_MAGIC,
                                            .version = GATEWAY_VERSION,
                                            .type = (uint16_t)type,
                                            .ticket = 1000,
                                            .row = 1,
                                            .incarnation = 1,
                                            .answer = answer};
    send_with(control, &request, sizeof request, &fd, 1);
}

enum { DESCRIPTORS = 60 }; /* fewer than a session's sockets for clients may be */

static void no_descriptors(void)
{
    const struct rlimit few = {.rlim_cur = DESCRIPTORS, .rlim_max = DESCRIPTORS};
    int pair[2];
    MUST(2, setrlimit(RLIMIT_NOFILE, &few) == 0);
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    enter_session(make_one_socket);
    for (int i = 0; i < DESCRIPTORS; i++)
        send_alone(GATEWAY_SOCKETS, one_socket[0], false);
    MUST(3, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    send_alone(GATEWAY_REMOVE, pair[1], true);
    fd_close(pair[1]);
    /* It keeps a place for where to say it. */
    EXPECT(recv(pair[0], &reply, sizeof reply, 0) == (ssize_t)sizeof reply && reply.result == 0,
           "it was not answered: %d", reply.result);
    EXPECT(ask(GATEWAY_REMOVE, NULL, NULL, 0) == -ENOENT, "the session is served still: %d",
           reply.result);
    EXPECT(ask(GATEWAY_FLUSH, NULL, NULL, 0) == 0, "and it goes on: %d", reply.result);
    fd_close(pair[0]);
}

Test(gateway_control, a_session_is_ended_by_a_gateway_without_descriptors_too)
{
    run_in_child(no_descriptors);
}

static void bring_another_control(void)
{
    int pair[2];
    fd_close(control);
    MUST(1, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    send_with(life, "C", 1, &pair[1], 1);
    fd_close(pair[1]);
    control = pair[0];
}

static void swept(void)
{
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    EXPECT(ask(GATEWAY_SWEEP, NULL, NULL, 0) == 0 && reply.count == 0, "%u swept, which was added",
           reply.count);
    bring_another_control();
    replace_rules(SPEC_EGRESS_DENY, "four.example:443", "");
    EXPECT(ask(GATEWAY_SWEEP, NULL, NULL, 0) == 0 && reply.count == 0, "%u swept, which was named",
           reply.count);
    bring_another_control();
    EXPECT(ask(GATEWAY_SWEEP, NULL, NULL, 0) == 0 && reply.count == 1, "%u swept", reply.count);
    EXPECT(ask(GATEWAY_REMOVE, NULL, NULL, 0) == -ENOENT, "it is served: %d", reply.result);
}

Test(gateway_control, what_a_new_launcher_does_not_name_is_forgotten_when_he_is_done)
{
    run_in_child(swept);
}

static void give_connectors(void)
{
    enter_session(make_connectors);
    MUST(4, ask(GATEWAY_SOCKETS, NULL, connectors, ARRAY_LENGTH(connectors)) == 0);
    for (unsigned i = 0; i < ARRAY_LENGTH(connectors); i++)
        fd_close(connectors[i]);
}

static void published(void)
{
    static const uint16_t ports[] = {3000};
    char byte;
    make_world();
    default_config();
    set_rules(SPEC_EGRESS_DENY, "", "");
    record.network.publish[record.network.publish_count++] = (struct spec_publish){13000, 3000};
    start_gateway();
    MUST(5, add_session() == 0 && pipe2(gone, O_CLOEXEC) == 0);
    int listener = listen_at(AF_INET, 13000);
    MUST(6, ask(GATEWAY_PUBLISH, ports, &listener, 1) == 0);
    fd_close(listener);
    if (child() == 0)
        _exit(in_session(serve_inside));
    MUST(7, read(gone[0], &byte, 1) == 1);
    /* More clients than one hand-over of sockets: who waits is served by the next. */
    for (int round = 0; round < 3; round++) {
        int fds[ARRAY_LENGTH(connectors)];
        for (unsigned i = 0; i < ARRAY_LENGTH(fds); i++)
            fds[i] = dial_address("127.0.0.1", 13000);
        give_connectors();
        for (unsigned i = 0; i < ARRAY_LENGTH(fds); i++) {
            const char *said = talk(fds[i]);
            EXPECT(strcmp(said, "echo") == 0, "client %u: %s", i, said);
        }
    }
    /* While it is frozen its clients are told so, and the port stays its own. */
    EXPECT(ask(GATEWAY_HOLD, NULL, NULL, 0) == 0, "hold: %d", reply.result);
    for (int i = 0; i < 3; i++)
        expect_address("127.0.0.1", 13000, "ECONNRESET");
    EXPECT(ask(GATEWAY_RELEASE, NULL, NULL, 0) == 0, "release: %d", reply.result);
    give_connectors();
    expect_address("127.0.0.1", 13000, "echo");
    MUST(8, ask(GATEWAY_REMOVE, NULL, NULL, 0) == 0);
    EXPECT(dial_address("127.0.0.1", 13000) == -ECONNREFUSED, "the port outlived the session");
}

Test(gateway_control, a_published_port_leads_to_the_sessions_loopback_and_ends_with_it)
{
    run_in_child(published);
}
