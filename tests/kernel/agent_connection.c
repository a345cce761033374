/* This file tests that a session outlives its controllers: one after another takes it over, each by
 * its epoch, and none learns less than the table (ADR 12, P-5, P-8; attack row 52). */
#include "tests/kernel/agent_lasting.h"

#include <sys/file.h>

TestSuite(agent_connection, .fini = stop);

/* Nobody is told while nobody is connected: that all else has ended is seen from outside. */
static bool only_sleep_runs(void)
{
    char name[64], comm[16] = "";
    snprintf(name, sizeof name, "/proc/%d/task/%d/children", h.pid, h.pid);
    FILE *f = fopen(name, "re");
    int child = 0, other, children = f ? fscanf(f, "%d %d", &child, &other) : 0;
    if (f)
        fclose(f);
    snprintf(name, sizeof name, "/proc/%d/comm", child);
    f = children == 1 ? fopen(name, "re") : NULL;
    bool sleeps = f && fgets(comm, sizeof comm, f) && strcmp(comm, "sleep\n") == 0;
    if (f)
        fclose(f);
    return sleeps;
}

Test(agent_connection, P_8_a_session_outlives_its_controllers_and_the_table_tells_what_they_missed)
{
    start();
    harness_exec(&h, 1, &(struct harness_exec){.shell = "exit 4"});
    harness_exec(&h, 2, &(struct harness_exec){.argv = (const char *[]){"/nowhere", NULL}});
    harness_exec(&h, 3, &(struct harness_exec){.argv = (const char *[]){"sleep", "1000", NULL}});
    leave_start_connection();
    for (double until = harness_now_us() + HARNESS_TIMEOUT_MS * 1e3; !only_sleep_runs();) {
        cr_assert_lt(harness_now_us(), until, "the first commands do not end");
        usleep(5000);
    }
    connect_with(1);
    const void *payload;
    cr_assert_eq(await(AGENT_FRAME_HELLO, 0, &payload).seq, 3);
    struct agent_table_row row = row_of(1);
    cr_assert_eq(row.state, AGENT_ROW_ENDED);
    cr_assert_eq(row.exit.exit_code, 4);
    await(AGENT_FRAME_START_FAILED, 2, &payload);
    cr_assert_eq(((const struct agent_start_failed *)payload)->fault, AGENT_START_NOT_FOUND);
    row = row_of(2);
    cr_assert_eq(row.exit.reason, AGENT_REASON_START_FAILED);
    cr_assert_eq(row.exit.exit_code, 127);
    row = row_of(3);
    cr_assert_eq(row.state, AGENT_ROW_RUNNING);
    cr_assert_gt(row.pid, 1);
    run(4, "exit 5");
    await(AGENT_FRAME_EXIT, 4, &payload);
    cr_assert_eq(((const struct agent_exit *)payload)->exit_code, 5);
    cr_assert_eq(agent_client_kill(client, 3, AGENT_REASON_CANCELLED), 0);
    await(AGENT_FRAME_EXIT, 3, &payload);
}

Test(agent_connection, P_8_a_newer_controller_cuts_the_older_one_off_with_what_it_said_last)
{
    start();
    connect_with(5);
    const void *payload;
    await(AGENT_FRAME_HELLO, 0, &payload);
    struct agent_client *old = client;
    client = NULL;
    /* init sleeps while both speak: the new one first in the queue of nobody. */
    kill(h.pid, SIGSTOP);
    struct exec_request request = shell("true");
    struct err err = {0};
    struct agent_client *new;
    cr_assert_eq(agent_client_open(&new, path, h.pid, 6, &err), 0);
    kill(h.pid, SIGCONT);
    client = new;
    await(AGENT_FRAME_HELLO, 0, &payload);
    int r = agent_client_exec(old, 77, &request, -1, NULL, &err);
    cr_assert(r == -EPIPE || r == -ECONNRESET, "%d", r);
    struct agent_frame frame;
    cr_assert_not(next_from(old, &frame, &payload), "the old reader got frame %u", frame.type);
    agent_client_free(old);
    /* Again with words that are unread when the new one is heard: none of them is obeyed after the
     * answer, which tells of each that was. */
    old = client;
    for (uint64_t exec = 100; exec < 120; exec++)
        if (agent_client_exec(old, exec, &request, -1, NULL, &err) < 0)
            break;
    cr_assert_eq(agent_client_open(&client, path, h.pid, 7, &err), 0);
    uint64_t told = await(AGENT_FRAME_HELLO, 0, &payload).seq;
    usleep(300000);
    agent_client_free(old);
    connect_with(7);
    cr_assert_eq(await(AGENT_FRAME_HELLO, 0, &payload).seq, told);
}

static bool refused(uint64_t epoch)
{
    struct err err;
    struct agent_client *agent;
    cr_assert_eq(agent_client_open(&agent, path, h.pid, epoch, &err), 0);
    struct agent_frame frame;
    const void *payload;
    bool ended = !next_from(agent, &frame, &payload);
    agent_client_free(agent);
    return ended;
}

Test(agent_connection, P_8_an_older_epoch_is_refused)
{
    start_with((struct harness_options){.epoch = 10});
    cr_assert(refused(9));
    connect_with(10);
    const void *payload;
    await(AGENT_FRAME_HELLO, 0, &payload);
    cr_assert(refused(9));
    cr_assert_eq(agent_client_ping(client, 3), 0);
    await(AGENT_FRAME_PONG, 3, &payload);
}

static int raw_connect(void)
{
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0, "%m");
    return fd;
}

static bool closed_within(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char byte;
    return poll(&p, 1, ms) == 1 && recv(fd, &byte, 1, MSG_DONTWAIT) <= 0;
}

static void send_with(int fd, uint16_t type, const int *fds, unsigned count)
{
    struct agent_message m = {
        .magic = AGENT_MAGIC, .version = AGENT_VERSION, .type = type, .epoch = 50};
    int keep = h.control;
    h.control = fd;
    harness_send_raw(&h, &m, sizeof m, fds, count);
    h.control = keep;
}

Test(agent_connection, what_says_no_proper_hello_is_closed_and_takes_nothing_over)
{
    start();
    connect_with(5);
    const void *payload;
    await(AGENT_FRAME_HELLO, 0, &payload);
    int ends[2], pair[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    int file = memfd_create("file", MFD_CLOEXEC);
    const struct {
        uint16_t type;
        unsigned count;
        int fds[2];
    } tries[] = {
        {AGENT_HELLO, 0, {-1, -1}},           {AGENT_HELLO, 1, {ends[0], -1}},
        {AGENT_HELLO, 1, {file, -1}},         {AGENT_HELLO, 1, {pair[0], -1}},
        {AGENT_HELLO, 2, {ends[1], ends[1]}}, {AGENT_PING, 1, {ends[1], -1}},
        {AGENT_SHUTDOWN, 0, {-1, -1}},        {AGENT_EXEC, 1, {ends[1], -1}},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(tries); i++) {
        int fd = raw_connect();
        send_with(fd, tries[i].type, tries[i].fds, tries[i].count);
        cr_assert(closed_within(fd, 1500), "try %zu was not closed", i);
        close(fd);
    }
    int fd = raw_connect();
    cr_assert_eq(send(fd, "x", 1, 0), 1);
    cr_assert(closed_within(fd, 1500));
    close(fd);
    cr_assert_eq(agent_client_ping(client, 3), 0);
    await(AGENT_FRAME_PONG, 3, &payload);
}

Test(agent_connection, the_silent_are_few_and_have_two_seconds)
{
    start();
    int fds[64];
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        fds[i] = raw_connect();
        if (i % 8 == 7)
            usleep(50000);
    }
    const void *payload;
    connect_with(5); /* a crowd of the silent keeps nobody out */
    await(AGENT_FRAME_HELLO, 0, &payload);
    unsigned open = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++)
        open += !closed_within(fds[i], 0);
    cr_assert_leq(open, 4);
    usleep((AGENT_HELLO_MS + 300) * 1000);
    for (size_t i = 0; i < ARRAY_LENGTH(fds); i++) {
        cr_assert(closed_within(fds[i], 0));
        close(fds[i]);
    }
}

Test(agent_connection, who_connects_sees_by_the_kernel_s_word_that_init_listens)
{
    start();
    struct err err = {0};
    struct agent_client *agent;
    cr_assert_eq(agent_client_open(&agent, path, h.pid + 1, 5, &err), -EPROTO);
    int fd = raw_connect();
    struct ucred peer;
    socklen_t size = sizeof peer;
    cr_assert_eq(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), 0);
    cr_assert_eq(peer.pid, h.pid);
    cr_assert_eq(peer.uid, HARNESS_UID_BASE + SPEC_UID_INIT);
    close(fd);
    cr_assert_eq(agent_client_open(&agent, "/tmp/berth-no-such/control", 1, 5, &err), -ENOENT);
}

Test(agent_connection, P_6_a_lock_that_init_was_born_with_ends_with_init)
{
    char file[80];
    int fd = bound_socket();
    snprintf(file, sizeof file, "%s/lock", directory);
    int lock = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_eq(flock(lock, LOCK_EX | LOCK_NB), 0);
    harness_start(&h, &(struct harness_options){.listen_fd = fd, .hold_fd = lock, .epoch = 1});
    cr_assert(h.ready_seen);
    close(fd);
    close(lock);
    lock = open(file, O_RDWR | O_CLOEXEC);
    unlink(file);
    cr_assert_lt(flock(lock, LOCK_EX | LOCK_NB), 0);
    harness_run(&h, 1, &(struct harness_exec){.shell = "exit 0"});
    int status;
    kill(h.pid, SIGKILL);
    cr_assert(harness_ended(&h, 5000, &status));
    cr_assert_eq(flock(lock, LOCK_EX | LOCK_NB), 0);
    close(lock);
}

Test(agent_connection, no_command_has_a_descriptor_of_init)
{
    start();
    connect_with(5);
    const void *payload;
    struct exec_request request = shell("ls /proc/self/fd | wc -l");
    struct err err = {0};
    cr_assert_eq(agent_client_exec(client, 1, &request, -1, NULL, &err), 0);
    await(AGENT_FRAME_DATA, 1, &payload);
    cr_assert_eq(atoi(payload), 4); /* 0, 1, 2 and that of ls */
}

Test(agent_connection, a_row_stays_until_its_outcome_is_recorded)
{
    start();
    connect_with(5);
    const void *payload;
    run(1, "exit 1");
    await(AGENT_FRAME_EXIT, 1, &payload);
    run(2, "exit 2");
    await(AGENT_FRAME_EXIT, 2, &payload);
    cr_assert_eq(agent_client_forget(client, 1), 0);
    connect_with(6);
    cr_assert_eq(await(AGENT_FRAME_HELLO, 0, &payload).seq, 1);
    cr_assert_eq(row_of(2).exit.exit_code, 2);
    /* Forgotten is not unused. */
    run(1, "exit 1");
    await(AGENT_FRAME_START_FAILED, 1, &payload);
    cr_assert_eq(((const struct agent_start_failed *)payload)->sys, EEXIST);
}

Test(agent_connection, EXEC_3_kept_children_are_in_the_table_until_they_end)
{
    start();
    connect_with(5);
    const void *payload;
    struct exec_request request = shell("sleep 1000 & exit 0");
    request.keep_children = true;
    struct err err = {0};
    cr_assert_eq(agent_client_exec(client, 1, &request, -1, NULL, &err), 0);
    await(AGENT_FRAME_EXIT, 1, &payload);
    cr_assert_eq(agent_client_forget(client, 1), 0);
    connect_with(6);
    cr_assert_eq(row_of(1).state, AGENT_ROW_BACKGROUND);
    cr_assert_eq(agent_client_kill(client, 1, AGENT_REASON_CANCELLED), 0);
    cr_assert_eq(row_of(1).state, AGENT_ROW_ENDED);
    connect_with(7);
    cr_assert_eq(await(AGENT_FRAME_HELLO, 0, &payload).seq, 0);
}

Test(agent_connection, EXEC_7_an_interrupt_is_answered_when_all_below_have_ended)
{
    start();
    connect_with(5);
    const void *payload;
    struct exec_request request = shell("trap '' TERM; echo x; while :; do sleep 0.1; done");
    request.grace_ms = 300;
    struct err err = {0};
    cr_assert_eq(agent_client_exec(client, 10, &request, -1, NULL, &err), 0);
    await(AGENT_FRAME_DATA, 10, &payload);
    run(20, "sleep 1000");
    await(AGENT_FRAME_STARTED, 20, &payload);
    cr_assert_eq(agent_client_interrupt(client, 0), -EINVAL);
    cr_assert_eq(agent_client_interrupt(client, 15), 0);
    run(15, "true"); /* accepted before the interrupt, arrives after it */
    bool ended = false, refused_at_once = false;
    for (;;) {
        struct agent_frame frame;
        cr_assert(next_from(client, &frame, &payload));
        if (frame.type == AGENT_FRAME_EXIT) {
            cr_assert_eq(((const struct agent_exit *)payload)->reason, AGENT_REASON_INTERRUPTED);
            cr_assert_neq(frame.exec, 20);
            ended |= frame.exec == 10;
            refused_at_once |= frame.exec == 15;
        }
        if (frame.type == AGENT_FRAME_INTERRUPTED) {
            cr_assert_eq(frame.exec, 15);
            break;
        }
    }
    cr_assert(ended);
    cr_assert(refused_at_once);
    run(21, "exit 7");
    await(AGENT_FRAME_EXIT, 21, &payload);
    cr_assert_eq(agent_client_interrupt(client, 15), 0);
    await(AGENT_FRAME_INTERRUPTED, 15, &payload);
}

Test(agent_connection, SES_7_time_outs_stand_still_while_a_session_is_frozen)
{
    start();
    connect_with(5);
    const void *payload;
    cr_assert_eq(agent_client_pause(client, true), 0);
    struct exec_request request = shell("sleep 1000");
    request.timeout_ms = 300;
    struct err err = {0};
    cr_assert_eq(agent_client_exec(client, 1, &request, -1, NULL, &err), 0);
    request.timeout_ms = 0;
    request.idle_timeout_ms = 300;
    cr_assert_eq(agent_client_exec(client, 2, &request, -1, NULL, &err), 0);
    usleep(700000);
    connect_with(6); /* and stay so, whoever comes */
    cr_assert_eq(row_of(1).state, AGENT_ROW_RUNNING);
    cr_assert_eq(row_of(2).state, AGENT_ROW_RUNNING);
    double before = harness_now_us();
    cr_assert_eq(agent_client_pause(client, false), 0);
    bool timeout = false, idle = false;
    while (!timeout || !idle) {
        struct agent_frame frame;
        cr_assert(next_from(client, &frame, &payload));
        if (frame.type != AGENT_FRAME_EXIT)
            continue;
        uint32_t reason = ((const struct agent_exit *)payload)->reason;
        timeout |= frame.exec == 1 && reason == AGENT_REASON_TIMEOUT;
        idle |= frame.exec == 2 && reason == AGENT_REASON_IDLE_TIMEOUT;
    }
    cr_assert_geq(harness_now_us() - before, 250000);
}
