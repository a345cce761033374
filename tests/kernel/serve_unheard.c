/* This file proves that what a gateway is to be told of a session's end, its freezing and thawing
 * counts when the gateway that serves it has heard it, or has ended, and never before; with the
 * launcher and the gateway that are real (serve_network_fixture.h). Needs root.
 */
#include "tests/kernel/serve_network_fixture.h"

#include "runtime/host/launcher_internal.h"

enum { PORT = 23200, INSIDE = 3000, MOMENT_MS = 300 };

static const char worker_title[] = "berth: worker";

/* A session that publishes a port at which nobody listens inside: reset, while it is open. */
static void begin_published(void)
{
    make_world();
    default_config();
    config.sessions_max = 100;
    start_gateway();
    /* The test keeps an end, by which it can have the gateway throw the socket away. */
    start_launcher(fcntl(control, F_DUPFD_CLOEXEC, 3));
    set_rules(SPEC_EGRESS_DENY, "", "");
    record.network.publish_count = 1;
    record.network.publish[0] = (struct spec_publish){PORT, INSIDE};
    launch(1);
}

static const char *said_at_port(void)
{
    return talk(dial_address("127.0.0.1", PORT));
}

static void expect_closed(const char *when)
{
    const char *said = said_at_port();
    EXPECT(strcmp(said, "ECONNREFUSED") == 0, "%s: its port says %s", when, said);
}

static void wait_for_port(const char *wanted)
{
    const char *said = "";
    for (long long until = milliseconds() + PATIENCE_MS; milliseconds() < until; poll(NULL, 0, 10))
        if (strcmp(said = said_at_port(), wanted) == 0)
            return;
    say("its port says %s instead of %s", said, wanted);
}

static void forget_control(void)
{
    MUST(1, send(control, "garbage", 7, MSG_NOSIGNAL) == 7);
    fd_closep(&control);
}

/* As the supervisor does when it is asked. */
static void bring_another_control(void)
{
    int pair[2];
    MUST(2, socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
    send_with(life, "C", 1, &pair[1], 1);
    send_with(channel, "C", 1, &pair[0], 1);
    fd_close(pair[0]);
    fd_close(pair[1]);
}

/* ---- a gateway that lives and uses another socket ----------------------------------------------
 */

static void thrown_away(void)
{
    begin_published();
    forget_control();
    send_order(LAUNCHER_END, 1, 0, NULL, 0);
    bool early = is_answered(MOMENT_MS);
    if (early && answer.result == 0)
        expect_closed("an end that was answered for before anybody had heard it");
    bring_another_control();
    MUST(3, early || is_answered(PATIENCE_MS));
    EXPECT(answer.result == 0, "the end: %s: %s", answer.err.step, answer.err.detail);
    expect_closed("an end that was answered for");
    kill_launcher();
}

Test(serve_network, an_end_that_the_gateway_did_not_hear_is_none_until_it_has)
{
    run_in_child(thrown_away);
}

/* Nobody brings another socket: the end is refused, and asked for again it is one. */
static void thrown_away_for_long(void)
{
    begin_published();
    forget_control();
    int r = order_as(LAUNCHER_END, 1, 0, NULL, 0);
    EXPECT(r < 0 && answer.err.code == ERR_UNAVAILABLE, "%d: %s", r, answer.err.detail);
    EXPECT(strcmp(said_at_port(), "ECONNRESET") == 0, "its port is not open: %s", said_at_port());
    /* Its cgroups are gone: what they counted is told all the same, and for as long as it is asked
     * for (USE-1). */
    struct launcher_last first = answer.launched.last;
    EXPECT(first.taken && first.sample.cpu_ns > 0, "the end that is refused tells no reading");
    bring_another_control();
    order(LAUNCHER_END, 1);
    EXPECT(answer.launched.last.taken && answer.launched.last.sample.cpu_ns == first.sample.cpu_ns,
           "nor does the next one");
    expect_closed("the second end");
    kill_launcher();
}

Test(serve_network, an_end_that_nobody_can_be_told_is_refused_and_can_be_asked_for_again)
{
    run_in_child(thrown_away_for_long);
}

/* ---- no gateway yet ----------------------------------------------------------------------------
 */

static void none_yet(void)
{
    static struct spec spec;
    make_world();
    default_config();
    config.sessions_max = 100;
    start_launcher(-1);
    MUST(19, send(channel, "D", 1, MSG_NOSIGNAL) == 1);
    set_rules(SPEC_EGRESS_DENY, "four.example:443", "");
    make_spec(1, &spec);
    int r = order_as(LAUNCHER_LAUNCH, 1, 1, &spec, sizeof spec);
    EXPECT(r == -EAGAIN && answer.err.code == ERR_UNAVAILABLE, "%d: %u %s", r, answer.err.code,
           answer.err.detail);
    order(LAUNCHER_END, 1); /* what it began, as front does */
    start_another_gateway();
    launch(1);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, that_no_gateway_serves_yet_is_no_lack_of_the_host)
{
    run_in_child(none_yet);
}

/* ---- a gateway that has ended ------------------------------------------------------------------
 */

static void ended(void)
{
    begin_published();
    order(LAUNCHER_FREEZE, 1);
    kill_gateway();
    /* Nobody starts another: neither a thaw nor an end waits for one. */
    order(LAUNCHER_THAW, 1);
    order(LAUNCHER_FREEZE, 1);
    order(LAUNCHER_THAW, 1);
    order(LAUNCHER_END, 1);
    expect_closed("an end without a gateway");
    kill_launcher();
}

Test(serve_network, a_gateway_that_has_ended_keeps_no_session_frozen_and_none_alive)
{
    run_in_child(ended);
}

/* The launcher hears the end by its own socket before the supervisor has waited for it. */
static void ended_unsaid(void)
{
    begin_published();
    order(LAUNCHER_FREEZE, 1);
    int said = channel;
    channel = -1;
    kill_gateway();
    channel = said;
    order(LAUNCHER_THAW, 1);
    send_order(LAUNCHER_END, 1, 0, NULL, 0);
    bool early = is_answered(MOMENT_MS);
    EXPECT(!early || answer.result < 0, "it took for granted what it could not know");
    MUST(4, send(channel, "D", 1, MSG_NOSIGNAL) == 1);
    EXPECT((early                      ? order_as(LAUNCHER_END, 1, 0, NULL, 0)
            : is_answered(PATIENCE_MS) ? answer.result
                                       : -ETIMEDOUT) == 0,
           "the end: %s: %s", answer.err.step, answer.err.detail);
    expect_closed("an end without a gateway");
    kill_launcher();
}

Test(serve_network, a_thaw_waits_for_no_gateway_and_an_end_for_the_proof_that_it_is_gone)
{
    run_in_child(ended_unsaid);
}

/* A gateway that stands still has heard nothing of an end. */
static void stands_still(void)
{
    begin_published();
    order(LAUNCHER_FREEZE, 1);
    kill(gateway_pid, SIGSTOP);
    order(LAUNCHER_THAW, 1);
    int r = order_as(LAUNCHER_END, 1, 0, NULL, 0);
    EXPECT(r < 0 && answer.err.code == ERR_UNAVAILABLE, "an end that nobody heard: %d: %s", r,
           answer.err.detail);
    kill(gateway_pid, SIGCONT);
    order(LAUNCHER_END, 1);
    expect_closed("an end that was heard");
    kill_launcher();
}

Test(serve_network, a_gateway_that_stands_still_keeps_no_session_frozen)
{
    run_in_child(stands_still);
}

/* The supervisor's: the launcher says that it stands still, for which it has asked three times. */
static void wait_until_told_still(void)
{
    char kind = 0;
    long long until = milliseconds() + 2 * PATIENCE_MS;
    while (kind != 'K' && milliseconds() < until) {
        struct pollfd p = {.fd = channel, .events = POLLIN};
        if (poll(&p, 1, 100) == 1)
            MUST(13, recv(channel, &kind, 1, 0) == 1);
    }
    EXPECT(kind == 'K', "nobody was told that the gateway stands still");
}

static void stands_still_for_good(void)
{
    struct session_identity who;
    begin_published();
    record.network.publish[0].host_port = PORT + 1;
    who = launch(2);
    kill(gateway_pid, SIGSTOP);
    /* It has ended when its init has, not when that was told to. */
    struct pollfd init = {.fd = (int)syscall(SYS_pidfd_open, (pid_t)who.init_pid, 0),
                          .events = POLLIN};
    MUST(14, init.fd >= 0 && kill((pid_t)who.init_pid, SIGKILL) == 0);
    MUST(25, poll(&init, 1, PATIENCE_MS) == 1);
    fd_close(init.fd);
    order(LAUNCHER_LOOK, 2);
    EXPECT(answer.found == SESSION_FOUND_BROKEN, "one that died is %d", (int)answer.found);
    int r = order_as(LAUNCHER_END, 2, 0, NULL, 0);
    EXPECT(r == 0 || answer.err.code == ERR_UNAVAILABLE, "%d: %s", r, answer.err.detail);
    wait_until_told_still();
    kill_gateway();
    start_another_gateway();
    order(LAUNCHER_END, 2);
    wait_for_port("ECONNRESET");
    order(LAUNCHER_END, 1);
    expect_closed("an end after a gateway that stood still");
    kill_launcher();
}

Test(serve_network, a_gateway_that_stands_still_is_told_of_and_the_next_one_serves)
{
    run_in_child(stands_still_for_good);
}

/* One that answers late is no such: the launcher says nothing. */
static void stood_still(void)
{
    begin_published();
    kill(gateway_pid, SIGSTOP);
    int r = order_as(LAUNCHER_END, 1, 0, NULL, 0);
    kill(gateway_pid, SIGCONT);
    EXPECT(r < 0, "an end that nobody heard");
    order(LAUNCHER_END, 1);
    struct pollfd p = {.fd = channel, .events = POLLIN};
    EXPECT(poll(&p, 1, 5000) == 0, "a gateway that answers was told of");
    kill_launcher();
}

Test(serve_network, a_gateway_that_goes_on_is_left_to)
{
    run_in_child(stood_still);
}

/* ---- a launch that is late ---------------------------------------------------------------------
 */

static volatile unsigned *stage; /* 1: its gateway has it, 2: it may be answered for */

static int create_and_wait(struct session **ret, struct runtime *rt, const struct spec *spec,
                           const struct session_lasting *lasting, struct err *err)
{
    int r = launcher_real_calls()->create(ret, rt, spec, lasting, err);
    *stage = 1;
    while (*stage != 2)
        poll(NULL, 0, 2);
    return r;
}

/* An ordinary user's: only who has its network's descriptor can give it to a gateway. */
static void launched_late(void)
{
    static struct launcher_calls slow;
    static struct spec spec;
    slow = *launcher_real_calls();
    slow.create = create_and_wait;
    calls = &slow;
    stage = mmap(NULL, sizeof *stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(20, stage != MAP_FAILED);
    serving.rootless = 1;
    serving.front_uid = serving.front_gid = USER;
    sh("chown -R %d:%d %s", USER, USER, place);
    make_world();
    default_config();
    config.sessions_max = 100;
    start_gateway();
    start_launcher(control);
    control = -1;
    set_rules(SPEC_EGRESS_DENY, "four.example:443", "");
    make_spec(1, &spec);
    send_order(LAUNCHER_LAUNCH, 1, 1, &spec, sizeof spec);
    for (long long until = milliseconds() + PATIENCE_MS; *stage != 1 && milliseconds() < until;)
        poll(NULL, 0, 5);
    MUST(21, *stage == 1);
    kill_gateway();
    start_another_gateway();
    poll(NULL, 0, MOMENT_MS); /* the next gateway's sessions are being brought to it */
    *stage = 2;
    MUST(22, is_answered(PATIENCE_MS));
    EXPECT(answer.result == 0, "launch: %s: %s", answer.err.step, answer.err.detail);
    enter_network_of(&answer.identity);
    MUST(23, in_session(try_until_served) == 0);
    order(LAUNCHER_END, 1);
    kill_launcher();
}

Test(serve_network, a_launch_that_the_gateway_did_not_outlive_is_given_to_the_next_one)
{
    run_in_child(launched_late);
}

/* ---- a worker that is late ---------------------------------------------------------------------
 *
 * It was given the socket of a gateway that is killed, and has its row only when what brings
 * sessions back has given the session to the next one.
 */

static int row_lock = -1;

static void hold_row(void)
{
    char path[SPEC_PATH_MAX + 16];
    struct flock one = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 1};
    snprintf(path, sizeof path, "%s/workers", serving.runtime_dir);
    row_lock = open(path, O_RDWR | O_CLOEXEC);
    MUST(5, row_lock >= 0 && fcntl(row_lock, F_OFD_SETLKW, &one) == 0);
}

static bool is_worker(pid_t pid)
{
    char path[48], text[32] = "";
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    return io_read_at(AT_FDCWD, path, text, sizeof text) > 0 &&
           strncmp(text, worker_title, sizeof worker_title - 1) == 0;
}

/* A worker of the launcher's; -1: there is none. */
static pid_t look_for_worker(void)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", launcher, launcher);
    MUST(6, io_read_at(AT_FDCWD, path, text, sizeof text) >= 0);
    for (char *save = NULL, *word = strtok_r(text, " \n", &save); word;
         word = strtok_r(NULL, " \n", &save)) {
        pid_t pid = (pid_t)strtol(word, NULL, 10);
        if (is_worker(pid))
            return pid;
    }
    return -1;
}

/* Whoever has answered may not have gone yet. */
static void wait_for_no_worker(void)
{
    long long until = milliseconds() + PATIENCE_MS;
    while (look_for_worker() > 0 && milliseconds() < until)
        poll(NULL, 0, 5);
    MUST(7, look_for_worker() < 0);
}

static pid_t wait_for_worker(void)
{
    pid_t pid;
    long long until = milliseconds() + PATIENCE_MS;
    while ((pid = look_for_worker()) < 0 && milliseconds() < until)
        poll(NULL, 0, 5);
    MUST(8, pid > 0);
    return pid;
}

/* `before`: what the port says when the next gateway has the session. */
static void order_late(unsigned type, const char *before)
{
    hold_row();
    wait_for_no_worker();
    send_order(type, 1, 0, NULL, 0);
    pid_t worker = wait_for_worker();
    MUST(9, kill(worker, SIGSTOP) == 0);
    kill_gateway();
    start_another_gateway();
    fd_closep(&row_lock);
    wait_for_port(before);
    MUST(10, kill(worker, SIGCONT) == 0);
    MUST(11, is_answered(PATIENCE_MS));
    EXPECT(answer.result == 0, "%s: %s: %s", launcher_request_name(type), answer.err.step,
           answer.err.detail);
}

static void serve_loopback(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons(INSIDE),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    MUST(12, bind(listener, (void *)&at, sizeof at) == 0 && listen(listener, 64) == 0);
    for (;;) {
        char text[8];
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        ssize_t n = recv(fd, text, 5, MSG_WAITALL);
        (void)!send(fd, text, n > 0 ? (size_t)n : 0, MSG_NOSIGNAL);
        fd_close(fd);
    }
}

static void late(void)
{
    begin_published();
    enter_network_of(&answer.identity);
    fd_closep(&control);
    pid_t server = child();
    if (server == 0)
        _exit(in_session(serve_loopback));
    wait_for_port("echo");
    order(LAUNCHER_FREEZE, 1);
    order_late(LAUNCHER_THAW, "ECONNRESET");
    expect_address("127.0.0.1", PORT, "echo");
    order_late(LAUNCHER_FREEZE, "echo");
    expect_address("127.0.0.1", PORT, "ECONNRESET");
    order_late(LAUNCHER_END, "ECONNRESET");
    expect_closed("an end that was late");
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    kill_launcher();
}

Test(serve_network, who_is_late_tells_the_gateway_that_serves_it_by_then)
{
    run_in_child(late);
}

/* ---- a socket that is full ---------------------------------------------------------------------
 */

static void fill_control(void)
{
    struct gateway_request request = {.magic = GATEWAY_MAGIC,
                                      .version = GATEWAY_VERSION,
                                      .type = GATEWAY_RELEASE,
                                      .ticket = 1,
                                      .row = 99,
                                      .incarnation = 1};
    kill(gateway_pid, SIGSTOP);
    while (send(control, &request, sizeof request, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        continue;
    MUST(24, errno == EAGAIN);
}

static void full(void)
{
    begin_published();
    enter_network_of(&answer.identity);
    pid_t server = child();
    if (server == 0)
        _exit(in_session(serve_loopback));
    wait_for_port("echo");
    fill_control();
    order(LAUNCHER_FREEZE, 1);
    kill(gateway_pid, SIGCONT);
    wait_for_port("ECONNRESET");
    fill_control();
    order(LAUNCHER_THAW, 1);
    kill(gateway_pid, SIGCONT);
    wait_for_port("echo");
    fd_closep(&control);
    order(LAUNCHER_END, 1);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    kill_launcher();
}

Test(serve_network, a_gateway_that_could_be_sent_nothing_is_told_when_it_reads_again)
{
    run_in_child(full);
}

/* One that is not even sent anything is as still as one that does not answer. */
static void full_for_good(void)
{
    begin_published();
    fill_control();
    (void)order_as(LAUNCHER_FREEZE, 1, 0, NULL, 0);
    wait_until_told_still();
    kill_gateway();
    start_another_gateway();
    order(LAUNCHER_END, 1);
    expect_closed("an end after a gateway whose socket was full");
    kill_launcher();
}

Test(serve_network, a_gateway_whose_socket_stays_full_is_told_of_and_the_next_one_serves)
{
    run_in_child(full_for_good);
}

/* The gateway has ended before it began: it ended the session, and told nobody. */
static volatile unsigned *ends;

static int end_and_tell(struct runtime *rt, const struct session_name *name, unsigned timeout_ms,
                        void (*note)(void *data, const char *key, const char *text), void *data,
                        struct launcher_last *ret_last, struct err *err)
{
    int r = session_end(rt, name, timeout_ms, note, data, ret_last, err);
    if (r == 0 && __sync_fetch_and_add(ends, 1) == 0)
        note(data, "protect.appeared", "Something appeared.");
    return r;
}

static void late_after_an_end(void)
{
    static struct launcher_calls telling;
    telling = *launcher_real_calls();
    telling.end = end_and_tell;
    calls = &telling;
    ends = mmap(NULL, sizeof *ends, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    MUST(15, ends != MAP_FAILED);
    begin_published();
    kill_gateway();
    hold_row();
    wait_for_no_worker();
    send_order(LAUNCHER_END, 1, 0, NULL, 0);
    pid_t worker = wait_for_worker();
    MUST(16, kill(worker, SIGSTOP) == 0);
    start_another_gateway();
    fd_closep(&row_lock);
    wait_for_port("ECONNRESET");
    MUST(17, kill(worker, SIGCONT) == 0);
    MUST(18, is_answered(PATIENCE_MS));
    EXPECT(answer.result == 0, "%s: %s", answer.err.step, answer.err.detail);
    EXPECT(*ends == 2, "it was done %u times", *ends);
    EXPECT(answer.launched.note_count == 1 &&
               strcmp(answer.launched.notes[0].key, "protect.appeared") == 0,
           "%u notes", answer.launched.note_count);
    expect_closed("an end that was done once more");
    kill_launcher();
}

Test(serve_network, an_end_that_is_done_once_more_tells_what_the_first_one_saw)
{
    run_in_child(late_after_an_end);
}
