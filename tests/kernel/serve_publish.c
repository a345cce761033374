/* This file proves the published ports of sessions that last, with the launcher and the gateway
 * that are real (serve_network_fixture.h): where they lead, who may have them, and that they are
 * had again whoever is killed. Needs root.
 */
#include "tests/kernel/serve_network_fixture.h"

enum { PORT = 23100, INSIDE = 3000 };

static pid_t server = -1;
static int gone[2] = {-1, -1};

/* In the session: one who says back what he hears, on 127.0.0.1 alone. */
static void serve_loopback(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(INSIDE),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    MUST(2, bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 64) == 0);
    MUST(3, write(gone[1], "l", 1) == 1);
    for (;;) {
        char text[8];
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        ssize_t n = recv(fd, text, 5, MSG_WAITALL);
        (void)!send(fd, text, n > 0 ? (size_t)n : 0, MSG_NOSIGNAL);
        fd_close(fd);
    }
}

static void start_server(void)
{
    char byte;
    fd_closep(&gone[0]);
    fd_closep(&gone[1]);
    MUST(4, pipe2(gone, O_CLOEXEC) == 0);
    server = child();
    if (server == 0)
        _exit(in_session(serve_loopback));
    MUST(5, read(gone[0], &byte, 1) == 1);
}

static void stop_server(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
}

static void publish_ports(unsigned count, const struct spec_publish *ports)
{
    set_rules(SPEC_EGRESS_DENY, "", "");
    record.network.publish_count = count;
    memcpy(record.network.publish, ports, count * sizeof *ports);
}

static int try_launch(int64_t row)
{
    static struct spec spec;
    make_spec(row, &spec);
    return order_as(LAUNCHER_LAUNCH, row, 1, &spec, sizeof spec);
}

static struct session_identity begin_published(unsigned count, const struct spec_publish *ports)
{
    make_world();
    default_config();
    config.sessions_max = 100;
    start_gateway();
    start_launcher(control);
    control = -1;
    publish_ports(count, ports);
    struct session_identity who = launch(1);
    enter_network_of(&who);
    start_server();
    return who;
}

static int replace_ports(uint64_t generation, unsigned count, const struct spec_publish *ports)
{
    publish_ports(count, ports);
    return order_as(LAUNCHER_NETWORK, 1, generation, &record.network, sizeof record.network);
}

static void expect_closed(int port)
{
    expect_address("127.0.0.1", port, "ECONNREFUSED");
    expect_address("::1", port, "ECONNREFUSED");
}

static void expect_open(int port)
{
    expect_address("127.0.0.1", port, "echo");
    expect_address("::1", port, "echo");
}

/* Who is started again is not waited for by anybody: until it leads there again. */
static void open_again(int port)
{
    for (long long until = milliseconds() + PATIENCE_MS; milliseconds() < until; poll(NULL, 0, 10))
        if (strcmp(talk(dial_address("127.0.0.1", port)), "echo") == 0)
            return;
    say("port %d of the host leads nowhere", port);
}

/* Who has given it to the gateway may be about to close his copy. */
static void closed_soon(int port)
{
    const char *said = "";
    for (long long until = milliseconds() + PATIENCE_MS; milliseconds() < until; poll(NULL, 0, 5))
        if (strcmp(said = talk(dial_address("127.0.0.1", port)), "ECONNREFUSED") == 0)
            return;
    say("port %d of the host: %s", port, said);
}

static const struct launcher_published *published(int64_t row)
{
    order(LAUNCHER_PORTS, row);
    return &answer.network.published;
}

static const struct spec_publish one_port[] = {{PORT, INSIDE}};

/* ---- where it leads ----------------------------------------------------------------------------
 */

static void for_a_life(void)
{
    static const struct spec_publish three[] = {{PORT, INSIDE}, {0, INSIDE}, {PORT + 1, 3001}};
    begin_published(3, three);
    const struct launcher_published *ports = published(1);
    uint16_t any = ports->ports[1].host_port;
    EXPECT(ports->count == 3 && ports->open == 7 && ports->six && any >= 1024 &&
               ports->ports[0].host_port == PORT,
           "%u published, %x open, any is %u", ports->count, ports->open, any);
    /* More clients than one hand-over of sockets. */
    for (int i = 0; i < 100; i++)
        expect_address("127.0.0.1", i % 2 ? PORT : any, "echo");
    expect_open(PORT);
    expect_open(any);
    expect_address("127.0.0.1", PORT + 1, "ECONNRESET"); /* nobody listens inside */
    stop_server();
    order(LAUNCHER_END, 1);
    expect_closed(PORT);
    expect_closed(any);
    /* The same session, later: the port is to be had again. */
    publish_ports(1, one_port);
    struct session_identity who = launch(2);
    enter_network_of(&who);
    start_server();
    expect_open(PORT);
    stop_server();
    order(LAUNCHER_END, 2);
    expect_closed(PORT);
    kill_launcher();
}

Test(serve_network, a_published_port_leads_to_the_sessions_loopback_for_as_long_as_it_lives)
{
    run_in_child(for_a_life);
}

/* ---- who has it --------------------------------------------------------------------------------
 */

static int somebody_at(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    MUST(6, fd >= 0 && bind(fd, (void *)&at, sizeof at) == 0 && listen(fd, 8) == 0);
    return fd;
}

static void taken(void)
{
    static const struct spec_publish two[] = {{PORT + 5, INSIDE}, {PORT, INSIDE}};
    static const struct spec_publish low[] = {{80, INSIDE}};
    static const struct spec_publish twice[] = {{PORT + 6, INSIDE}, {PORT + 6, 3001}};
    begin_published(1, one_port);
    unsigned before = resting();
    /* Another session's, and somebody's. */
    publish_ports(2, two);
    EXPECT(try_launch(2) == -EADDRINUSE && answer.err.code == ERR_PORT_IN_USE &&
               strcmp(answer.err.subject, "127.0.0.1:23100") == 0,
           "%d %s: %s", answer.result, answer.err.subject, answer.err.detail);
    expect_closed(PORT + 5);
    int other = somebody_at(PORT + 5);
    publish_ports(1, two);
    EXPECT(try_launch(2) == -EADDRINUSE && answer.err.code == ERR_PORT_IN_USE, "%d %s",
           answer.result, answer.err.detail);
    EXPECT(replace_ports(2, 2, (const struct spec_publish[]){{PORT, INSIDE}, {PORT + 5, INSIDE}}) ==
                   -EADDRINUSE &&
               answer.err.code == ERR_PORT_IN_USE,
           "replaced: %d %s", answer.result, answer.err.detail);
    EXPECT(published(1)->count == 1, "a replacement that was refused is recorded");
    fd_close(other);
    publish_ports(1, low);
    EXPECT(try_launch(2) == -EACCES && answer.err.code == ERR_FORBIDDEN, "%d %s", answer.result,
           answer.err.detail);
    publish_ports(2, twice);
    EXPECT(try_launch(2) < 0 && answer.err.code == ERR_INVALID_REQUEST, "%d %s", answer.result,
           answer.err.detail);
    order(LAUNCHER_LOOK, 2);
    EXPECT(answer.found == SESSION_FOUND_ABSENT, "something was made: %u", answer.found);
    EXPECT(settled(before) == before, "the gateway has something of it");
    expect_open(PORT);
    stop_server();
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, a_port_that_is_taken_is_refused_by_its_name_and_nothing_is_made)
{
    run_in_child(taken);
}

/* ---- other ports -------------------------------------------------------------------------------
 */

static void other_ports(void)
{
    static const struct spec_publish moved[] = {{PORT, 3001}, {0, INSIDE}};
    static const struct spec_publish again[] = {{0, INSIDE}};
    begin_published(1, one_port);
    int held = dial_address("127.0.0.1", PORT);
    MUST(7, held >= 0 && send(held, "he", 2, 0) == 2);
    /* It leads elsewhere, at the same port of the host. */
    EXPECT(replace_ports(2, 2, moved) == 0, "%s: %s", answer.err.step, answer.err.detail);
    uint16_t any = answer.network.published.ports[1].host_port;
    EXPECT(answer.network.cut == 1 && answer.network.published.open == 3, "%u cut, %x open",
           answer.network.cut, answer.network.published.open);
    EXPECT(strcmp(talk(held), "echo") != 0, "a connection that is not published any more goes on");
    expect_open(any);
    expect_address("127.0.0.1", PORT, "ECONNRESET");
    /* What was any stays what it is. */
    EXPECT(replace_ports(3, 1, again) == 0 && answer.network.published.ports[0].host_port == any,
           "%u is not %u: %s", answer.network.published.ports[0].host_port, any, answer.err.detail);
    EXPECT(replace_ports(3, 1, again) == 0 && answer.network.published.ports[0].host_port == any,
           "asked again: %s", answer.err.detail);
    expect_open(any);
    expect_closed(PORT);
    EXPECT(replace_ports(4, 0, NULL) == 0, "%s", answer.err.detail);
    expect_closed(any);
    EXPECT(replace_ports(5, 1, one_port) == 0, "%s", answer.err.detail);
    expect_open(PORT);
    stop_server();
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_6_other_published_ports_are_in_force_when_they_are_answered_for)
{
    run_in_child(other_ports);
}

static void first_port(void)
{
    begin("");
    EXPECT(replace_ports(2, 1, one_port) == 0, "%s: %s", answer.err.step, answer.err.detail);
    start_server();
    expect_open(PORT);
    stop_server();
    order(LAUNCHER_END, 1);
    expect_closed(PORT);
    kill_launcher();
}

Test(serve_network, a_session_without_a_network_publishes_while_it_runs)
{
    run_in_child(first_port);
}

/* ---- killed ------------------------------------------------------------------------------------
 */

static void who_is_killed(void)
{
    static const struct spec_publish two[] = {{PORT, INSIDE}, {0, INSIDE}};
    struct session_identity who = begin_published(2, two);
    uint16_t any = published(1)->ports[1].host_port;
    for (int i = 0; i < 3; i++) {
        kill_gateway();
        closed_soon(PORT);
        start_another_gateway();
        open_again(PORT);
        open_again(any);
    }
    for (int i = 0; i < 2; i++) {
        kill_launcher();
        expect_open(PORT);
        start_another_launcher();
        /* More than the gateway has sockets for: the new one is asked. */
        for (int k = 0; k < 100; k++)
            expect_address("127.0.0.1", any, "echo");
    }
    kill_launcher();
    kill_gateway();
    start_launcher(-1);
    start_another_gateway();
    open_again(PORT);
    open_again(any);
    EXPECT(published(1)->ports[1].host_port == any, "another port than before");
    /* Its init dies, and it is looked at: the ports are closed. */
    _cleanup_fd_ int init = (int)syscall(SYS_pidfd_open, (pid_t)who.init_pid, 0);
    struct pollfd ended = {.fd = init, .events = POLLIN};
    kill((pid_t)who.init_pid, SIGKILL);
    MUST(8, init >= 0 && poll(&ended, 1, PATIENCE_MS) == 1);
    stop_server();
    order(LAUNCHER_LOOK, 1);
    expect_closed(PORT);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_5_published_ports_are_had_again_whoever_is_killed)
{
    run_in_child(who_is_killed);
}

/* Somebody takes it while no gateway is there: he has it, and when he goes the session does. No
 * other session may have it meanwhile. */
static void lost_for_a_while(void)
{
    static const struct spec_publish two[] = {{PORT, INSIDE}, {PORT + 1, INSIDE}};
    begin_published(2, two);
    kill_gateway();
    int other = somebody_at(PORT);
    start_another_gateway();
    open_again(PORT + 1);
    const struct launcher_published *ports = published(1);
    EXPECT(ports->count == 2 && ports->open == 2, "%x open", ports->open);
    EXPECT(ports->taken == 1 && ports->barred == 0, "%x taken", ports->taken);
    /* Other rules come all the same: a port that is lost refuses none. */
    EXPECT(replace_ports(2, 2, two) == 0, "%d: %s", answer.result, answer.err.detail);
    EXPECT(published(1)->open == 2, "%x open", published(1)->open);
    fd_close(other);
    publish_ports(1, one_port);
    EXPECT(try_launch(2) == -EADDRINUSE && answer.err.code == ERR_PORT_IN_USE, "%d: %s",
           answer.result, answer.err.detail);
    open_again(PORT);
    stop_server();
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, a_port_that_was_lost_is_had_again_and_is_no_other_sessions_meanwhile)
{
    run_in_child(lost_for_a_while);
}

/* One of them may not be had by anybody now: the others are, and each that is lost is named. */
static void lost_by_rule(void)
{
    static const struct spec_publish three[] = {
        {PORT, INSIDE}, {PORT + 1, INSIDE}, {PORT + 2, INSIDE}};
    begin_published(3, three);
    kill_gateway();
    sh("sysctl -qw net.ipv4.ip_unprivileged_port_start=%d", PORT + 2);
    start_another_gateway();
    open_again(PORT + 2);
    EXPECT(published(1)->open == 4, "%x open", answer.network.published.open);
    EXPECT(answer.network.published.barred == 3 && answer.network.published.taken == 0, "%x barred",
           answer.network.published.barred);
    sh("sysctl -qw net.ipv4.ip_unprivileged_port_start=1024");
    open_again(PORT);
    open_again(PORT + 1);
    stop_server();
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, a_port_that_may_not_be_had_any_more_keeps_no_other_back)
{
    run_in_child(lost_by_rule);
}

/* All but one port of the host that are anybody's to choose are lost ones of another session. */
static void any_but_lost(void)
{
    struct spec_publish lost[2] = {{PORT, INSIDE}, {PORT + 1, INSIDE}};
    static const struct spec_publish any[] = {{0, INSIDE}};
    begin_published(2, lost);
    kill_gateway();
    sh("sysctl -qw net.ipv4.ip_local_port_range='%d %d'", PORT, PORT + 3);
    int other[] = {somebody_at(PORT), somebody_at(PORT + 1)};
    start_another_gateway();
    MUST(9, published(1)->open == 0);
    /* Nobody brings them back meanwhile. */
    char path[SPEC_PATH_MAX + 16];
    struct flock one = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    snprintf(path, sizeof path, "%s/workers", serving.runtime_dir);
    _cleanup_fd_ int row_lock = open(path, O_RDWR | O_CLOEXEC);
    MUST(10, row_lock >= 0 && fcntl(row_lock, F_OFD_SETLKW, &one) == 0);
    fd_close(other[0]);
    fd_close(other[1]);
    for (int64_t row = 2; row < 4; row++) {
        publish_ports(1, any);
        EXPECT(try_launch(row) == 0, "%d %s: %s", answer.result, answer.err.subject,
               answer.err.detail);
        uint16_t had = published(row)->ports[0].host_port;
        EXPECT(had != PORT && had != PORT + 1, "another session's port %u was had", had);
    }
    fd_closep(&row_lock);
    order(LAUNCHER_END, 3);
    order(LAUNCHER_END, 2);
    stop_server();
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, a_port_that_is_any_is_never_one_that_another_session_has_lost)
{
    run_in_child(any_but_lost);
}

/* All but one port of the host that are anybody's to choose are doors to the host. */
static void any_but_doors(void)
{
    static const struct spec_publish any[] = {{0, INSIDE}}, two[] = {{0, INSIDE}, {0, 3001}};
    serving.door_count = 3;
    for (uint16_t i = 0; i < serving.door_count; i++)
        serving.door_ports[i] = (uint16_t)(PORT + i);
    make_world();
    default_config();
    config.sessions_max = 100;
    start_gateway();
    start_launcher(control);
    control = -1;
    sh("sysctl -qw net.ipv4.ip_local_port_range='%d %d'", PORT, PORT + 3);
    publish_ports(1, any);
    launch(1);
    EXPECT(published(1)->ports[0].host_port == PORT + 3, "%u was had at a start",
           answer.network.published.ports[0].host_port);
    EXPECT(replace_ports(2, 2, two) == -EADDRINUSE && answer.err.code == ERR_PORT_IN_USE,
           "one more of none: %d, %u", answer.result, answer.network.published.ports[1].host_port);
    EXPECT(replace_ports(3, 0, NULL) == 0 && replace_ports(4, 1, any) == 0 &&
               answer.network.published.ports[0].host_port == PORT + 3,
           "%u was had by other rules: %s", answer.network.published.ports[0].host_port,
           answer.err.detail);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_7_a_port_that_is_any_is_never_a_door_to_the_host)
{
    run_in_child(any_but_doors);
}

/* ---- frozen ------------------------------------------------------------------------------------
 */

static void frozen(void)
{
    begin_published(1, one_port);
    for (int i = 0; i < 2; i++) {
        order(LAUNCHER_FREEZE, 1);
        expect_address("127.0.0.1", PORT, "ECONNRESET");
        expect_address("::1", PORT, "ECONNRESET");
        publish_ports(1, one_port);
        EXPECT(try_launch(2) == -EADDRINUSE, "somebody had its port: %d", answer.result);
        order(LAUNCHER_THAW, 1);
        expect_open(PORT);
    }
    /* The next gateway knows, and the next launcher finds out. */
    order(LAUNCHER_FREEZE, 1);
    kill_gateway();
    start_another_gateway();
    for (long long until = milliseconds() + PATIENCE_MS;
         published(1)->open != 1 && milliseconds() < until;)
        poll(NULL, 0, 10);
    expect_address("127.0.0.1", PORT, "ECONNRESET");
    kill_launcher();
    start_another_launcher();
    order(LAUNCHER_THAW, 1);
    expect_open(PORT);
    stop_server();
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, clients_of_a_frozen_session_are_reset_at_once_and_its_port_stays_its_own)
{
    run_in_child(frozen);
}

static void ordinary_users(void)
{
    serving.rootless = 1;
    serving.front_uid = serving.front_gid = USER;
    sh("chown -R %d:%d %s", USER, USER, place);
    begin_published(1, one_port);
    for (int k = 0; k < 60; k++)
        expect_address("127.0.0.1", PORT, "echo");
    kill_gateway();
    start_another_gateway();
    open_again(PORT);
    EXPECT(replace_ports(2, 1, (const struct spec_publish[]){{PORT + 1, INSIDE}}) == 0, "%s: %s",
           answer.err.step, answer.err.detail);
    expect_open(PORT + 1);
    expect_closed(PORT);
    kill_launcher();
    start_another_launcher();
    EXPECT(replace_ports(3, 1, one_port) == 0, "%s: %s", answer.err.step, answer.err.detail);
    expect_open(PORT);
    expect_closed(PORT + 1);
    /* More clients than the gateway has sockets of that network: the next launcher makes them. */
    for (int k = 0; k < 80; k++)
        expect_address("127.0.0.1", PORT, "echo");
    stop_server();
    order(LAUNCHER_END, 1);
    expect_closed(PORT);
    kill_launcher();
}

Test(serve_network, an_ordinary_users_sessions_publish_too)
{
    run_in_child(ordinary_users);
}
