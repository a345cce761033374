/* This file proves the network of sessions that last, with the launcher and the gateway that are
 * real, this test in the place of the supervisor and of front, and a world of its own: what rules
 * allow works and what they refuse is refused, whoever is killed, and nothing is left (NET-5,
 * NET-6). Needs root. This file is long because supervisor, front and world are one setting: what
 * follows from the death of each needs all of it.
 */
#include "tests/kernel/gateway_fixture.h"

#include "runtime/launcher_main.h"

#include <dirent.h>
#include <sys/stat.h>

static char place[64];
static struct serve_config serving;
static int front = -1, channel = -1;
static pid_t launcher = -1;
static struct launcher_reply answer;

/* ---- launcher ----------------------------------------------------------------------------------
 */

static void make_place(void)
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

static void remove_place(void)
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

static void tell(const struct err *err)
{
    fprintf(stderr, "launcher: %s: %s: %s %s\n", err->step, err->subject, strerror(err->sys),
            err->detail);
}

/* `gateway`: its end of the control pair, which goes. */
static void start_launcher(int gateway)
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
                                                 .tell = tell,
                                                 .config = &serving,
                                                 .init_path = init};
        const int kept[] = {pair[1], told[1], gateway};
        MUST(99, fd_keep_only(kept, gateway >= 0 ? 3 : 2) == 0);
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

static int sealed(const void *data, size_t length)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    MUST(102, io_write_full(fd, data, length) == 0);
    MUST(103,
         fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    return fd;
}

/* The answer's result, which is in `answer`. */
static int order_as(unsigned type, int64_t row, uint64_t generation, const void *data,
                    size_t length)
{
    static uint64_t ticket;
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
    for (;;) {
        struct pollfd p = {.fd = front, .events = POLLIN};
        MUST(104, poll(&p, 1, 40000) == 1);
        ssize_t n = recv(front, &answer, sizeof answer, 0);
        MUST(105, n > 0 && !launcher_reply_check(&answer, (size_t)n));
        if (answer.ticket == ticket)
            return answer.result;
    }
}

static void order(unsigned type, int64_t row)
{
    int r = order_as(type, row, 0, NULL, 0);
    EXPECT(r == 0, "%s: %s: %s: %s", launcher_request_name(type), answer.err.step,
           answer.err.subject, answer.err.detail);
}

static struct session_identity launch(int64_t row)
{
    static struct spec spec;
    spec_init(&spec);
    strcpy(spec.workspace_id, "local");
    snprintf(spec.session_id, sizeof spec.session_id, "s%lld", (long long)row);
    strcpy(spec.workspace.mount_path, "/workspace");
    spec.image.kind = SPEC_IMAGE_HOST;
    spec.process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec.process.uid = spec.process.gid = SPEC_UID_USER;
    spec.limits.scratch_bytes = 64 << 20;
    spec.limits.scratch_inodes = 10000;
    spec.limits.open_files = 1024;
    spec.network = record.network;
    int r = order_as(LAUNCHER_LAUNCH, row, 1, &spec, sizeof spec);
    EXPECT(r == 0, "launch: %s: %s: %s", answer.err.step, answer.err.subject, answer.err.detail);
    MUST(106, r == 0);
    return answer.identity;
}

static void enter_network_of(const struct session_identity *who)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%lld/ns/net", (long long)who->init_pid);
    fd_replace(&session_netns, open(path, O_RDONLY | O_CLOEXEC));
    MUST(107, session_netns >= 0);
}

/* A world, a gateway, a launcher, and one session with these rules. */
static struct session_identity begin(const char *allow)
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
static int change(uint64_t generation, const char *allow)
{
    set_rules(SPEC_EGRESS_DENY, allow, "");
    return order_as(LAUNCHER_NETWORK, 1, generation, &record.network, sizeof record.network);
}

/* ---- who is killed -----------------------------------------------------------------------------
 */

static void kill_gateway(void)
{
    kill(gateway_pid, SIGKILL);
    MUST(108, waitpid(gateway_pid, NULL, 0) == gateway_pid);
    fd_closep(&life);
    fd_closep(&events);
}

/* As the supervisor does. */
static void start_another_gateway(void)
{
    start_gateway();
    send_with(channel, "C", 1, &control, 1);
    fd_closep(&control);
}

static void kill_launcher(void)
{
    kill(launcher, SIGKILL);
    MUST(109, waitpid(launcher, NULL, 0) == launcher);
    fd_closep(&front);
    fd_closep(&channel);
}

static void start_another_launcher(void)
{
    int pair[2];
    MUST(110, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    send_with(life, "C", 1, &pair[1], 1);
    fd_close(pair[1]);
    start_launcher(pair[0]);
}

static void try_until_served(void)
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
static unsigned sockets(void)
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
static unsigned resting(void)
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

static unsigned settled(unsigned wanted)
{
    for (int i = 0; i < 200 && sockets() != wanted; i++)
        poll(NULL, 0, 10);
    return sockets();
}

static void expect_nothing_left(unsigned before)
{
    char path[SPEC_PATH_MAX + 16];
    unsigned now = settled(before);
    EXPECT(now == before, "the gateway has %u sockets, not %u", now, before);
    snprintf(path, sizeof path, "%s/sessions", serving.runtime_dir);
    EXPECT(rmdir(path) == 0 || errno == ENOENT, "a directory of a session is left");
}

/* ---- rules -------------------------------------------------------------------------------------
 */

static const char rules[] = "four.example:443 93.184.216.35/32:80";

static void reach_by_rules(void)
{
    expect_name("four.example", 443, "echo");
    expect_address("93.184.216.35", 80, "echo");
    long long begun = milliseconds();
    expect_name("four.example", 80, "ECONNRESET");
    expect_name("six.example", 443, "EADDRNOTAVAIL");
    expect_address("93.184.216.35", 443, "ECONNREFUSED");
    expect_address("10.7.7.7", 443, "ECONNREFUSED");
    expect_address("10.99.0.1", 80, "ECONNREFUSED");
    long long took = milliseconds() - begun;
    EXPECT(took < 7 * 1000, "seven refusals took %lld ms", took);
}

static void by_rules(void)
{
    make_world();
    default_config();
    start_gateway();
    MUST(2, ask(GATEWAY_FLUSH, NULL, NULL, 0) == 0);
    unsigned before = resting();
    start_launcher(control);
    control = -1;
    set_rules(SPEC_EGRESS_DENY, rules, "");
    struct session_identity who = launch(1);
    enter_network_of(&who);
    MUST(3, in_session(reach_by_rules) == 0);
    order(LAUNCHER_SAMPLE, 1);
    const uint64_t *counted = answer.sample.network;
    EXPECT(counted[NETWORK_COUNT_PASSED] >= 5 && counted[NETWORK_COUNT_DENIED_TCP] >= 3,
           "counted: %llu passed, %llu denied", (unsigned long long)counted[NETWORK_COUNT_PASSED],
           (unsigned long long)counted[NETWORK_COUNT_DENIED_TCP]);
    order(LAUNCHER_FREEZE, 1);
    order(LAUNCHER_THAW, 1);
    fd_closep(&session_netns);
    order(LAUNCHER_END, 1);
    expect_nothing_left(before);
    order(LAUNCHER_END, 1);
    /* One that reaches nothing has no part in any of it. */
    set_rules(SPEC_EGRESS_DENY, "", "");
    launch(2);
    EXPECT(settled(before) == before, "a session without rules is the gateway's");
    order(LAUNCHER_SAMPLE, 2);
    EXPECT(answer.sample.network[NETWORK_COUNT_DENIED_TCP] == 0, "and is counted");
    order(LAUNCHER_END, 2);
    kill_launcher();
}

Test(serve_network, NET_4_what_rules_name_works_and_all_else_is_refused_and_the_end_leaves_nothing)
{
    run_in_child(by_rules);
}

/* ---- killed ------------------------------------------------------------------------------------
 */

static void reach_nothing(void)
{
    expect_address("198.18.0.16", 443, "ECONNREFUSED");
    expect_address("93.184.216.35", 80, "ECONNREFUSED");
    expect_address("10.7.7.7", 443, "ECONNREFUSED");
}

static void killed_gateway(void)
{
    begin(rules);
    MUST(1, in_session(reach_by_rules) == 0);
    for (int i = 0; i < 3; i++) {
        kill_gateway();
        MUST(2, in_session(reach_nothing) == 0);
        start_another_gateway();
        MUST(3, in_session(try_until_served) == 0);
        MUST(4, in_session(reach_by_rules) == 0);
    }
    /* One that is made while there is none waits for the next. */
    kill_gateway();
    pid_t later = child();
    if (later == 0) {
        poll(NULL, 0, 300);
        start_another_gateway();
        poll(NULL, 0, PATIENCE_MS);
        _exit(0);
    }
    struct session_identity second = launch(2);
    enter_network_of(&second);
    MUST(5, in_session(try_until_served) == 0);
    order(LAUNCHER_END, 1);
    order(LAUNCHER_END, 2);
    kill_launcher();
}

Test(serve_network,
     NET_5_a_killed_gateway_leaves_refusals_and_the_next_one_serves_without_being_asked)
{
    run_in_child(killed_gateway);
}

/* An ordinary user's: his next launcher may not enter what the last one made, and says so. */
static void rootless(void)
{
    serving.rootless = 1;
    serving.front_uid = serving.front_gid = USER;
    sh("chown -R %d:%d %s", USER, USER, place);
    begin(rules);
    for (int i = 0; i < 2; i++) {
        kill_gateway();
        MUST(1, in_session(reach_nothing) == 0);
        start_another_gateway();
        MUST(2, in_session(try_until_served) == 0);
    }
    EXPECT(change(2, "four.example:443 93.184.216.35/32:80 10.7.7.0/24:5432") == 0, "%s: %s",
           answer.err.step, answer.err.detail);
    set_rules(SPEC_EGRESS_DENY, rules, "");
    MUST(3, in_session(reach_by_rules) == 0);
    kill_launcher();
    start_another_launcher();
    EXPECT(order_as(LAUNCHER_NETWORK, 1, 3, &record.network, sizeof record.network) == -EACCES,
           "it is not closed: %d", answer.result);
    MUST(4, in_session(reach_by_rules) == 0);
    kill_gateway();
    start_another_gateway();
    MUST(5, in_session(reach_nothing) == 0);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_5_an_ordinary_users_sessions_are_served_by_the_next_gateway_too)
{
    run_in_child(rootless);
}

static int go[2], gone[2];

/* Says one byte and hears it each time that it is told to, on one connection. */
static void hold_one(void)
{
    char byte;
    int fd = dial_name("four.example", 443, DNS_TYPE_A);
    MUST(120, fd >= 0);
    do {
        bool lives = send(fd, "x", 1, MSG_NOSIGNAL) == 1 && recv(fd, &byte, 1, 0) == 1;
        MUST(121, write(gone[1], lives ? "y" : "n", 1) == 1);
    } while (read(go[0], &byte, 1) == 1);
}

static pid_t begin_to_hold(void)
{
    MUST(122, pipe2(go, O_CLOEXEC) == 0 && pipe2(gone, O_CLOEXEC) == 0);
    pid_t pid = child();
    if (pid == 0) {
        fd_close(go[1]);
        _exit(in_session(hold_one));
    }
    return pid;
}

static bool lives_still(bool ask)
{
    char byte = 0;
    if (ask)
        MUST(123, write(go[1], "g", 1) == 1);
    struct pollfd p = {.fd = gone[0], .events = POLLIN};
    MUST(124, poll(&p, 1, PATIENCE_MS) == 1 && read(gone[0], &byte, 1) == 1);
    return byte == 'y';
}

static void let_go(pid_t pid)
{
    fd_closep(&go[1]);
    waitpid(pid, NULL, 0);
}

static void killed_launcher(void)
{
    begin(rules);
    unsigned before = resting();
    pid_t holder = begin_to_hold();
    MUST(1, lives_still(false));
    for (int i = 0; i < 3; i++) {
        kill_launcher();
        EXPECT(lives_still(true), "a connection ended with the launcher");
        MUST(2, in_session(reach_by_rules) == 0);
        start_another_launcher();
        order(LAUNCHER_SAMPLE, 1);
        EXPECT(lives_still(true), "a connection ended with the next launcher");
    }
    let_go(holder);
    MUST(3, in_session(reach_by_rules) == 0);
    /* Both, and the launcher comes first. */
    kill_launcher();
    kill_gateway();
    start_launcher(-1);
    start_another_gateway();
    MUST(4, in_session(try_until_served) == 0);
    MUST(5, in_session(reach_by_rules) == 0);
    EXPECT(settled(before) == before, "the gateway has it twice");
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_5_a_killed_launcher_is_not_noticed_and_the_next_one_has_every_session)
{
    run_in_child(killed_launcher);
}

/* Its init dies while there is no launcher, and the next one is asked about it. */
static void dies_unseen(void)
{
    begin("four.example:443");
    unsigned one = resting();
    struct session_identity second = launch(2);
    unsigned both = resting();
    EXPECT(both > one, "the second has no descriptors at the gateway");
    kill_launcher();
    _cleanup_fd_ int init = (int)syscall(SYS_pidfd_open, (pid_t)second.init_pid, 0);
    struct pollfd ended = {.fd = init, .events = POLLIN};
    kill((pid_t)second.init_pid, SIGKILL);
    MUST(1, init >= 0 && poll(&ended, 1, PATIENCE_MS) == 1);
    start_another_launcher();
    order(LAUNCHER_LOOK, 2);
    EXPECT(answer.found != SESSION_FOUND_WHOLE, "found: %u", answer.found);
    EXPECT(settled(one) == one, "the gateway serves what is dead");
    order(LAUNCHER_END, 2);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, a_session_that_died_unseen_is_forgotten_by_the_gateway_when_it_is_looked_at)
{
    run_in_child(dies_unseen);
}

/* Somebody works on one session for long: the others are served meanwhile, and it is afterwards. */
static void busy_row(void)
{
    char path[SPEC_PATH_MAX + 16];
    struct session_identity one = begin("four.example:443"), two = launch(2);
    snprintf(path, sizeof path, "%s/workers", serving.runtime_dir);
    struct flock row = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    _cleanup_fd_ int lock = open(path, O_RDWR | O_CLOEXEC);
    MUST(1, lock >= 0 && fcntl(lock, F_OFD_SETLK, &row) == 0);
    kill_gateway();
    start_another_gateway();
    enter_network_of(&two);
    MUST(2, in_session(try_until_served) == 0);
    enter_network_of(&one);
    MUST(3, in_session(reach_nothing) == 0);
    fd_closep(&lock);
    MUST(4, in_session(try_until_served) == 0);
    order(LAUNCHER_END, 2);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, P_4_a_session_that_somebody_works_on_keeps_no_other_from_being_served_again)
{
    run_in_child(busy_row);
}

/* ---- other rules -------------------------------------------------------------------------------
 */

static void reach_the_other(void)
{
    expect_name("four.example", 443, "EADDRNOTAVAIL");
    expect_address("198.18.0.16", 443, "ECONNRESET");
    expect_address("93.184.216.35", 80, "ECONNREFUSED");
    expect_name("dual.example", 443, "echo");
    expect_address("10.7.7.7", 5432, "echo");
}

static void other_rules(void)
{
    begin(rules);
    pid_t holder = begin_to_hold();
    MUST(1, lives_still(false));
    EXPECT(change(2, "four.example:443 dual.example:443") == 0, "%s", answer.err.detail);
    EXPECT(answer.network.cut == 0 && lives_still(true), "what is allowed still was cut");
    EXPECT(change(3, "dual.example:443 10.7.7.0/24:5432") == 0, "%s", answer.err.detail);
    EXPECT(answer.network.cut == 1, "%u cut", answer.network.cut);
    EXPECT(!lives_still(true), "what is refused now goes on");
    let_go(holder);
    MUST(2, in_session(reach_the_other) == 0);
    EXPECT(change(3, "dual.example:443 10.7.7.0/24:5432") == 0, "again: %s", answer.err.detail);
    EXPECT(change(2, rules) == -ESTALE, "older: %d", answer.result);
    MUST(3, in_session(reach_the_other) == 0);
    /* They are what the next gateway and the next launcher find. */
    kill_gateway();
    kill_launcher();
    start_launcher(-1);
    start_another_gateway();
    EXPECT(change(4, rules) == 0, "wider: %s %s", answer.err.step, answer.err.detail);
    MUST(4, in_session(reach_by_rules) == 0);
    kill_gateway();
    start_another_gateway();
    MUST(5, in_session(try_until_served) == 0);
    MUST(6, in_session(reach_by_rules) == 0);
    EXPECT(change(5, "") == 0, "nothing: %s", answer.err.detail);
    MUST(7, in_session(reach_nothing) == 0);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_6_other_rules_hold_when_they_are_answered_for_whoever_is_killed_afterwards)
{
    run_in_child(other_rules);
}

static void reach_nowhere(void)
{
    expect_address("93.184.216.35", 80, "ENETUNREACH");
    expect_address("10.7.7.7", 443, "ENETUNREACH");
}

static void first_rules(void)
{
    begin("");
    MUST(1, in_session(reach_nowhere) == 0);
    EXPECT(change(7, rules) == 0, "%s: %s", answer.err.step, answer.err.detail);
    MUST(2, in_session(reach_by_rules) == 0);
    EXPECT(change(6, "") == -ESTALE, "older: %d", answer.result);
    kill_gateway();
    start_another_gateway();
    MUST(3, in_session(try_until_served) == 0);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_6_a_session_that_reached_nothing_is_given_rules_while_it_runs)
{
    run_in_child(first_rules);
}
