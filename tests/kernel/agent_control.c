/* This file tests what init makes of its controller's messages: epochs, duplicates, garbage, and
 * the controller's end (contract EXEC-5; attack row 52 from the other side). */
#include "tests/kernel/agent_harness.h"

static struct harness h;

static void stop(void)
{
    harness_stop(&h);
}

TestSuite(agent_control, .fini = stop);

static void send_epoch(uint16_t type, uint64_t epoch, uint64_t exec)
{
    struct agent_message m = {
        .magic = AGENT_MAGIC, .version = AGENT_VERSION, .type = type, .epoch = epoch, .exec = exec};
    harness_send_raw(&h, &m, sizeof m, NULL, 0);
}

static struct agent_frame next_of(uint16_t type, const void **ret_payload)
{
    struct agent_frame frame;
    do
        cr_assert(harness_frame(&h, &frame, ret_payload, HARNESS_TIMEOUT_MS), "no frame %u", type);
    while (frame.type != type);
    return frame;
}

static void is_alive(uint64_t token)
{
    const void *payload;
    send_epoch(AGENT_PING, 1000, token);
    cr_assert_eq(next_of(AGENT_FRAME_PONG, &payload).exec, token);
}

Test(agent_control, ready_says_what_init_is)
{
    harness_start_ready(&h);
    cr_assert_eq(h.ready.pid, 1);
    cr_assert_eq(h.ready.seccomp_mode, 0);
    cr_assert_eq(h.ready.have, AGENT_HAVE_CGROUP);
    is_alive(77);
}

Test(agent_control, a_new_epoch_gets_the_table_and_the_old_one_is_deaf)
{
    harness_start_ready(&h);
    harness_run(&h, 1, &(struct harness_exec){.shell = "exit 4"});
    harness_exec(&h, 2, &(struct harness_exec){.shell = "sleep 1000"});
    const void *payload;
    next_of(AGENT_FRAME_STARTED, &payload);
    send_epoch(AGENT_HELLO, 5, 0);
    struct agent_frame hello = next_of(AGENT_FRAME_HELLO, &payload);
    cr_assert_eq(hello.seq, 2);
    for (int i = 0; i < 2; i++) {
        next_of(AGENT_FRAME_TABLE, &payload);
        struct agent_table_row row = *(const struct agent_table_row *)payload;
        if (row.exec == 1) {
            cr_assert_eq(row.state, 2);
            cr_assert_eq(row.exit.exit_code, 4);
            cr_assert_eq(row.last_seq, 1);
        } else {
            cr_assert_eq(row.exec, 2);
            cr_assert_eq(row.state, 1);
            cr_assert_gt(row.pid, 1);
        }
    }
    harness_exec(&h, 3, &(struct harness_exec){.shell = "true", .epoch = 4});
    harness_exec(&h, 4, &(struct harness_exec){.shell = "true", .epoch = 5});
    struct agent_frame frame;
    do {
        cr_assert(harness_frame(&h, &frame, &payload, HARNESS_TIMEOUT_MS));
        cr_assert_neq(frame.exec, 3, "a dead controller's command ran");
    } while (frame.type != AGENT_FRAME_EXIT);
    cr_assert_eq(frame.exec, 4);
}

Test(agent_control, a_number_is_started_once)
{
    harness_start_ready(&h);
    char file[] = "/tmp/berth-agent-XXXXXX";
    close(mkstemp(file));
    chmod(file, 0666);
    char shell[128];
    snprintf(shell, sizeof shell, "echo x >>%s", file);
    harness_run(&h, 1, &(struct harness_exec){.shell = shell});
    harness_exec(&h, 1, &(struct harness_exec){.shell = shell});
    const void *payload;
    next_of(AGENT_FRAME_TABLE, &payload);
    struct agent_table_row row = *(const struct agent_table_row *)payload;
    cr_assert_eq(row.exec, 1);
    cr_assert_eq(row.state, 2);
    harness_run(&h, 2, &(struct harness_exec){.shell = "true"});
    struct stat st;
    stat(file, &st);
    unlink(file);
    cr_assert_eq(st.st_size, 2, "it ran %ld times", (long)st.st_size / 2);
}

Test(agent_control, garbage_is_dropped_with_its_descriptors)
{
    harness_start_ready(&h);
    unsigned char bytes[512];
    unsigned seed = 1;
    char path[64];
    int many[16];
    for (int i = 0; i < 16; i++)
        many[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    for (int round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++)
            bytes[i] = (unsigned char)(rand_r(&seed) >> 8);
        if (round % 2)
            memcpy(bytes, &(struct agent_message){.magic = AGENT_MAGIC, .version = AGENT_VERSION},
                   6);
        if (round % 4 == 3) {
            bytes[6] = (unsigned char)(rand_r(&seed) % AGENT_MESSAGE_TYPE_END), bytes[7] = 0;
            if (bytes[6] == AGENT_SHUTDOWN || bytes[6] == AGENT_INTERRUPT)
                bytes[6] = AGENT_EXEC;
            memset(bytes + 8, 0, 8);
        }
        size_t length = round % 3 ? sizeof(struct agent_message) : (size_t)(round % 500);
        harness_send_raw(&h, bytes, length, many, length == 0 ? 0 : (unsigned)(round % 17));
        if (round % 50 == 0)
            is_alive((uint64_t)round + 1);
    }
    is_alive(99999);
    snprintf(path, sizeof path, "/proc/%d/fd", h.pid);
    int count = 0;
    DIR *dir = opendir(path);
    while (dir && readdir(dir))
        count++;
    closedir(dir);
    cr_assert_lt(count, 20, "init has %d descriptors open", count);
    for (int i = 0; i < 16; i++)
        close(many[i]);
}

static void refused(uint64_t number, const void *data, size_t length)
{
    int fd = memfd_create("payload", MFD_CLOEXEC);
    io_write_full(fd, data, length);
    struct agent_message m = {.magic = AGENT_MAGIC,
                              .version = AGENT_VERSION,
                              .type = AGENT_EXEC,
                              .epoch = 1000,
                              .exec = number};
    harness_send_raw(&h, &m, sizeof m, &fd, 1);
    close(fd);
    struct harness_result *r = harness_wait(&h, number);
    cr_assert(r->start_failed);
    cr_assert_eq(r->failed.fault, AGENT_START_BERTH);
    free(r);
}

Test(agent_control, malformed_payloads_are_refused_with_a_reason)
{
    harness_start_ready(&h);
    struct {
        struct agent_exec exec;
        char strings[16];
    } p = {.exec = {.magic = AGENT_MAGIC,
                    .version = AGENT_VERSION,
                    .size = sizeof p.exec,
                    .argc = 1,
                    .uid = 1000,
                    .gid = 1000,
                    .string_bytes = 12},
           .strings = "/bin/true\0/"};
    size_t whole = sizeof p.exec + 12;
    refused(1, &p, whole - 1);
    refused(2, &p, whole + 1);
    refused(3, "", 0);
    p.exec.uid = SPEC_UID_INIT;
    refused(4, &p, whole);
    p.exec.uid = 70000; /* not in the session's range */
    refused(5, &p, whole);
    p.exec.uid = 1000;
    p.exec.fds = AGENT_EXEC_FD_STDIN; /* which is not there */
    refused(6, &p, whole);
    p.exec.fds = 0;
    p.exec.argc = 0xffffffff;
    refused(7, &p, whole);
    p.exec.argc = 1;
    int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    struct agent_message m = {.magic = AGENT_MAGIC,
                              .version = AGENT_VERSION,
                              .type = AGENT_EXEC,
                              .epoch = 1000,
                              .exec = 8};
    harness_send_raw(&h, &m, sizeof m, &fd, 1);
    close(fd);
    cr_assert(harness_wait(&h, 8)->start_failed);
    m.exec = 9;
    harness_send_raw(&h, &m, sizeof m, NULL, 0);
    cr_assert(harness_wait(&h, 9)->start_failed);
}

Test(agent_control, shutdown_ends_everything_and_exits_0)
{
    harness_start_ready(&h);
    harness_exec(&h, 1, &(struct harness_exec){.shell = "setsid sleep 1000 & sleep 1000"});
    const void *payload;
    next_of(AGENT_FRAME_STARTED, &payload);
    send_epoch(AGENT_SHUTDOWN, 1, 0);
    int status;
    cr_assert(harness_ended(&h, 3000, &status));
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Test(agent_control, the_session_ends_with_its_controller)
{
    harness_start_ready(&h);
    harness_exec(&h, 1, &(struct harness_exec){.shell = "trap '' TERM HUP; setsid sleep 1000"});
    const void *payload;
    next_of(AGENT_FRAME_STARTED, &payload);
    fd_replace(&h.control, -1);
    int status;
    cr_assert(harness_ended(&h, 3000, &status));
}

Test(agent_control, the_session_ends_with_the_reader_of_its_frames)
{
    harness_start_ready(&h);
    harness_exec(&h, 1, &(struct harness_exec){.shell = "sleep 0.1; echo x; sleep 1000"});
    fd_replace(&h.frames, -1);
    int status;
    cr_assert(harness_ended(&h, 3000, &status));
}

Test(agent_control, a_session_that_is_served_outlives_reader_and_controller)
{
    struct harness_options o = {0};
    harness_start(&h, &o);
    cr_assert(h.ready_seen);
    char file[] = "/tmp/berth-agent-XXXXXX";
    close(mkstemp(file));
    chmod(file, 0666);
    char shell[128];
    snprintf(shell, sizeof shell, "yes | head -c 3000000; echo x >>%s", file);
    harness_exec(&h, 1, &(struct harness_exec){.shell = shell});
    fd_replace(&h.frames, -1);
    fd_replace(&h.control, -1);
    struct stat st = {0};
    for (int i = 0; i < 1000 && st.st_size == 0; i++, usleep(2000))
        stat(file, &st);
    unlink(file);
    cr_assert_eq(st.st_size, 2);
    int status;
    cr_assert_not(harness_ended(&h, 100, &status));
    kill(h.pid, SIGTERM); /* PID 1 has no handler: nothing */
    cr_assert_not(harness_ended(&h, 100, &status));
    usleep(100000);
    kill(h.pid, SIGKILL);
    cr_assert(harness_ended(&h, 3000, &status));
}
