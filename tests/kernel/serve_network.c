/* This file proves the network of sessions that last, with the launcher and the gateway that are
 * real (serve_network_fixture.h): what rules allow works and what they refuse is refused, whoever
 * is killed, and nothing is left (NET-5, NET-6). Needs root.
 */
#include "tests/kernel/serve_network_fixture.h"

#include <sys/resource.h>

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

static void reach_one_name(void)
{
    expect_address("93.184.216.35", 80, "ECONNREFUSED");
    expect_address("10.7.7.7", 5432, "ECONNREFUSED");
    try_until_served();
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

/* An ordinary user's: his next launcher is given what the last one made. */
static void begin_rootless(void)
{
    serving.rootless = 1;
    serving.front_uid = serving.front_gid = USER;
    sh("chown -R %d:%d %s", USER, USER, place);
    begin(rules);
}

static void rootless(void)
{
    begin_rootless();
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
    /* Each of them, and both: the launcher first, and the gateway. */
    for (int first = 0; first < 3; first++) {
        kill_launcher();
        MUST(6, kept_count == 1 && kept_outer >= 0);
        if (first == 0) {
            start_another_launcher();
            MUST(7, in_session(reach_by_rules) == 0);
            continue;
        }
        kill_gateway();
        MUST(8, in_session(reach_nothing) == 0);
        if (first == 2) {
            start_launcher(-1);
            start_another_gateway();
        } else {
            start_gateway();
            start_launcher(control);
            control = -1;
        }
        MUST(9, in_session(try_until_served) == 0);
        MUST(10, in_session(reach_by_rules) == 0);
    }
    /* Narrower: what the launcher of now could not enter, it could not narrow. */
    EXPECT(change(3, "four.example:443") == 0, "%s: %s", answer.err.step, answer.err.detail);
    MUST(11, in_session(reach_one_name) == 0);
    order(LAUNCHER_END, 1);
    kill_launcher();
    EXPECT(kept_count == 0, "the network of a session that has ended is kept");
}

Test(serve_network, NET_5_an_ordinary_users_sessions_are_served_by_the_next_launcher_and_gateway)
{
    run_in_child(rootless);
}

/* Nothing was kept, because all of berth was killed: his next launcher may not enter what the last
 * one made, and says so. */
static void rootless_anew(void)
{
    begin_rootless();
    set_rules(SPEC_EGRESS_DENY, rules, "");
    kill_launcher();
    forget_kept();
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

Test(serve_network, NET_5_an_ordinary_users_sessions_are_closed_to_who_was_given_nothing)
{
    run_in_child(rootless_anew);
}

/* What was kept cannot be entered: it is as if nothing had been, and nothing of it is half there.
 */
static void rootless_refused(void)
{
    static const char *const wrong[] = {"/proc/self/ns/net", "/proc/self/ns/user", "/dev/null"};
    begin_rootless();
    for (unsigned i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct stat before, after;
        kill_launcher();
        MUST(1, kept_outer >= 0 && fstat(kept_outer, &before) == 0);
        fd_replace(&kept_outer, open(wrong[i], O_RDONLY | O_CLOEXEC));
        MUST(2, kept_outer >= 0);
        start_another_launcher();
        set_rules(SPEC_EGRESS_DENY, rules, "");
        EXPECT(order_as(LAUNCHER_NETWORK, 1, 3, &record.network, sizeof record.network) == -EACCES,
               "%s: it is not closed: %d", wrong[i], answer.result);
        MUST(3, in_session(reach_by_rules) == 0);
        hear_kept();
        EXPECT(kept_count == 0, "%s: networks that it may not enter are kept", wrong[i]);
        MUST(4, fstat(kept_outer, &after) == 0);
        EXPECT(after.st_ino != before.st_ino, "%s: it is in the one of before", wrong[i]);
        launch(2);
        order(LAUNCHER_END, 2);
    }
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, NET_5_an_ordinary_users_launcher_that_may_not_enter_what_was_kept_begins_anew)
{
    run_in_child(rootless_refused);
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

/* So few that no network is made before it is asked for. */
static void first_rules_without_a_pool(void)
{
    struct rlimit files;
    MUST(1, getrlimit(RLIMIT_NOFILE, &files) == 0);
    files.rlim_cur = 400;
    MUST(2, setrlimit(RLIMIT_NOFILE, &files) == 0);
    serving.rootless = 1;
    serving.front_uid = serving.front_gid = USER;
    sh("chown -R %d:%d %s", USER, USER, place);
    first_rules();
}

Test(serve_network, NET_6_an_ordinary_users_session_that_reached_nothing_is_given_rules_too)
{
    run_in_child(first_rules_without_a_pool);
}
