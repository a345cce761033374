/* This file tests output that goes to a spool file: it is all there, whoever reads the frames or
 * does not, and its limits end or trim it (contract EXEC-2, 3, 4, 8). */
#include "tests/kernel/agent_lasting.h"

#include "runtime/agent/spool.h"
#include "runtime/link/spool_reader.h"

static int spool = -1;
static struct agent_spool_limits limits = {1 << 20, 1 << 20};

static void end(void)
{
    fd_replace(&spool, -1);
    stop();
}

TestSuite(agent_spool, .fini = end);

static void run_spooled(uint64_t exec, const struct exec_request *request)
{
    struct err err = {0};
    fd_replace(&spool, memfd_create("spool", MFD_CLOEXEC));
    cr_assert_eq(agent_client_exec(client, exec, request, spool, &limits, &err), 0, "%s",
                 err.detail);
}

static void ready(void)
{
    start();
    leave_start_connection();
    connect_with(5);
    const void *payload;
    await(AGENT_FRAME_HELLO, 0, &payload);
}

struct text {
    char bytes[SPOOL_GAP + 1][8192];
    size_t length[SPOOL_GAP + 1];
    uint64_t output, dropped, seq;
    struct agent_exit exit;
    bool exited;
    int last;
};

/* The spool as it is now; what came before the exit is not background, what came after it is. */
static struct text *read_spool(void)
{
    struct text *text = calloc(1, sizeof *text);
    struct spool_reader *reader;
    struct spool_frame frame;
    struct err err = {0};
    cr_assert_eq(spool_reader_new(&reader, spool, 0, &err), 0);
    while ((text->last = spool_reader_next(reader, &frame, &err)) == 0) {
        cr_assert_eq(frame.seq, text->seq + 1);
        text->seq = frame.to_seq;
        if (frame.kind == SPOOL_EXIT) {
            cr_assert_not(text->exited);
            text->exited = true;
            text->exit = *(const struct agent_exit *)frame.data;
            continue;
        }
        text->output += frame.bytes;
        if (frame.kind == SPOOL_GAP) {
            text->dropped += frame.bytes;
            continue;
        }
        cr_assert_eq(frame.kind == SPOOL_BACKGROUND, text->exited);
        size_t *length = &text->length[frame.kind];
        size_t n = sizeof text->bytes[0] - 1 - *length;
        n = n < frame.bytes ? n : frame.bytes;
        memcpy(text->bytes[frame.kind] + *length, frame.data, n);
        *length += n;
    }
    cr_assert_gt(text->last, 0, "%s", err.detail);
    spool_reader_free(reader);
    return text;
}

static struct agent_exit await_exit(uint64_t exec)
{
    const void *payload;
    await(AGENT_FRAME_EXIT, exec, &payload);
    return *(const struct agent_exit *)payload;
}

Test(agent_spool, EXEC_2_streams_and_the_exit_are_in_the_spool_and_not_in_frames)
{
    ready();
    struct exec_request request = shell("echo a; sleep 0.05; echo b >&2; sleep 0.05; exit 4");
    run_spooled(1, &request);
    uint64_t told = 0;
    struct agent_frame frame;
    const void *payload;
    do {
        cr_assert(next_from(client, &frame, &payload));
        cr_assert_neq(frame.type, AGENT_FRAME_DATA);
        if (frame.type == AGENT_FRAME_SPOOL) {
            cr_assert_gt(frame.seq, told);
            told = frame.seq;
        }
    } while (frame.type != AGENT_FRAME_EXIT);
    cr_assert_eq(told, frame.seq, "the last growth was not told");
    struct text *text = read_spool();
    cr_assert_eq(text->last, SPOOL_END);
    cr_assert_str_eq(text->bytes[SPOOL_STDOUT], "a\n");
    cr_assert_str_eq(text->bytes[SPOOL_STDERR], "b\n");
    cr_assert_eq(text->exit.exit_code, 4);
    cr_assert_eq(text->exit.output_bytes, 4);
    cr_assert_eq(text->exit.output_truncated, 0);
    cr_assert_eq(text->seq, frame.seq);
    cr_assert_eq(memcmp(&text->exit, payload, sizeof text->exit), 0);
}

Test(agent_spool, a_terminal_is_spooled_too)
{
    ready();
    struct exec_request request = shell("tty; echo x");
    request.tty = true;
    request.rows = 24;
    request.cols = 80;
    run_spooled(1, &request);
    await_exit(1);
    struct text *text = read_spool();
    cr_assert(strstr(text->bytes[SPOOL_TTY], "/dev/pts/"));
    cr_assert(strstr(text->bytes[SPOOL_TTY], "x\r\n"));
}

Test(agent_spool, EXEC_8_the_middle_is_dropped_and_the_exit_says_so)
{
    limits = (struct agent_spool_limits){10000, 10000};
    ready();
    struct exec_request request = shell("seq 1 200000; echo end");
    run_spooled(1, &request);
    struct agent_exit exit = await_exit(1);
    cr_assert_eq(exit.reason, AGENT_REASON_EXIT);
    cr_assert_eq(exit.output_truncated, 1);
    struct text *text = read_spool();
    cr_assert_eq(text->output, exit.output_bytes);
    cr_assert_gt(text->dropped, 0);
    cr_assert_eq(strncmp(text->bytes[SPOOL_STDOUT], "1\n2\n3\n", 6), 0);
}

Test(agent_spool, EXEC_8_too_much_output_ends_a_command_that_asked_for_it)
{
    limits = (struct agent_spool_limits){50000, 50000};
    ready();
    struct exec_request request = shell("yes");
    request.kill_on_limit = true;
    request.grace_ms = 200;
    run_spooled(1, &request);
    struct agent_exit exit = await_exit(1);
    cr_assert_eq(exit.reason, AGENT_REASON_OUTPUT_LIMIT);
    cr_assert_gt(exit.output_bytes, 100000);
    request = shell("head -c 100000 /dev/zero");
    request.kill_on_limit = true;
    run_spooled(2, &request);
    exit = await_exit(2);
    cr_assert_eq(exit.reason, AGENT_REASON_EXIT);
    cr_assert_eq(exit.output_truncated, 0);
    cr_assert_eq(read_spool()->dropped, 0);
}

Test(agent_spool, EXEC_5_commands_run_and_end_while_nobody_reads_and_nothing_is_lost)
{
    ready();
    enum { COUNT = 40 };
    int files[COUNT];
    struct err err = {0};
    for (unsigned i = 0; i < COUNT; i++) {
        struct exec_request request = shell("seq 1 20000; exit 9");
        files[i] = memfd_create("spool", MFD_CLOEXEC);
        int r;
        while ((r = agent_client_exec(client, i + 1, &request, files[i], &limits, &err)) == -EAGAIN)
            usleep(1000);
        cr_assert_eq(r, 0);
    }
    /* The pipe of frames is not read until all have ended, by what their files say. */
    for (unsigned i = 0; i < COUNT; i++) {
        struct spool_status status = {0};
        for (int k = 0; k < 2000 && !status.ended; k++) {
            spool_status(files[i], &status, &err);
            usleep(10000);
        }
        cr_assert(status.ended, "exec %u", i + 1);
        cr_assert_eq(status.output_bytes, 108894);
        close(files[i]);
    }
    connect_with(6);
    for (unsigned i = 0; i < COUNT; i++) {
        struct agent_table_row row = row_of(i + 1);
        cr_assert_eq(row.state, AGENT_ROW_ENDED);
        cr_assert_eq(row.exit.exit_code, 9);
    }
}

Test(agent_spool, a_reader_of_frames_that_sleeps_stops_no_spooled_command)
{
    ready();
    /* Fill the queue with captured output that nobody reads. */
    run(1, "yes");
    usleep(300000);
    struct exec_request request = shell("seq 1 200000; exit 8");
    run_spooled(2, &request);
    struct spool_status status = {0};
    struct err err;
    for (unsigned i = 0; i < 1000 * test_slower() && !status.ended; i++) {
        spool_status(spool, &status, &err);
        usleep(10000);
    }
    cr_assert(status.ended);
    cr_assert_eq(agent_client_kill(client, 1, AGENT_REASON_CANCELLED), 0);
    const void *payload;
    await(AGENT_FRAME_STARTED, 2, &payload);
    cr_assert_eq(await_exit(2).exit_code, 8);
}

Test(agent_spool, EXEC_3_what_kept_children_write_is_background)
{
    ready();
    struct exec_request request = shell("(sleep 0.5; echo late; sleep 0.2) & echo early; exit 0");
    request.keep_children = true;
    run_spooled(1, &request);
    await_exit(1);
    struct text *text = read_spool();
    cr_assert(text->exited);
    cr_assert_eq(text->last, SPOOL_NONE, "the spool is complete too early");
    cr_assert_str_eq(text->bytes[SPOOL_STDOUT], "early\n");
    const void *payload;
    cr_assert_eq(row_of(1).state, AGENT_ROW_BACKGROUND);
    cr_assert_eq(row_of(1).state, AGENT_ROW_ENDED);
    text = read_spool();
    cr_assert_eq(text->last, SPOOL_END);
    cr_assert_str_eq(text->bytes[SPOOL_BACKGROUND], "late\n");
    run(2, "true");
    await(AGENT_FRAME_EXIT, 2, &payload);
}

Test(agent_spool, EXEC_4_output_up_to_a_timeout_is_kept)
{
    ready();
    struct exec_request request = shell("echo a; sleep 1000");
    request.timeout_ms = 1000 * test_slower();
    run_spooled(1, &request);
    cr_assert_eq(await_exit(1).reason, AGENT_REASON_TIMEOUT);
    cr_assert_str_eq(read_spool()->bytes[SPOOL_STDOUT], "a\n");
    /* All six pauses together are longer than the one that is too long. */
    char text[96];
    snprintf(text, sizeof text, "for i in 1 2 3 4 5 6; do echo $i; sleep %.2f; done; sleep 1000",
             0.15 * test_slower());
    request = shell(text);
    request.timeout_ms = 0;
    request.idle_timeout_ms = 800 * test_slower();
    run_spooled(2, &request);
    cr_assert_eq(await_exit(2).reason, AGENT_REASON_IDLE_TIMEOUT);
    cr_assert_str_eq(read_spool()->bytes[SPOOL_STDOUT], "1\n2\n3\n4\n5\n6\n");
}

Test(agent_spool, a_command_that_cannot_start_leaves_a_complete_and_empty_spool)
{
    ready();
    struct exec_request request = shell("");
    const char *argv[] = {"/nowhere", NULL};
    request.argv = argv;
    run_spooled(1, &request);
    const void *payload;
    await(AGENT_FRAME_START_FAILED, 1, &payload);
    struct text *text = read_spool();
    cr_assert_eq(text->last, SPOOL_END);
    cr_assert_not(text->exited);
    /* A file that is not empty is somebody's. */
    int again = fcntl(spool, F_DUPFD_CLOEXEC, 0);
    request = shell("true");
    struct err err;
    cr_assert_eq(agent_client_exec(client, 2, &request, again, &limits, &err), 0);
    await(AGENT_FRAME_START_FAILED, 2, &payload);
    cr_assert_eq(((const struct agent_start_failed *)payload)->sys, EEXIST);
    close(again);
}

Test(agent_spool, no_command_can_reach_its_own_spool)
{
    ready();
    struct exec_request request =
        shell("ls -l /proc/self/fd /proc/$PPID/fd /proc/1/fd 2>&1 | grep -c memfd");
    run_spooled(1, &request);
    await_exit(1);
    cr_assert_str_eq(read_spool()->bytes[SPOOL_STDOUT], "0\n");
}

Test(agent_spool, init_gives_its_buffers_back)
{
    ready();
    struct exec_request request = shell("head -c 30000000 /dev/zero");
    run_spooled(1, &request);
    await_exit(1);
    usleep(1500000);
    char path_of[64], text[2048];
    snprintf(path_of, sizeof path_of, "/proc/%d/smaps_rollup", h.pid);
    cr_assert_gt(io_read_at(AT_FDCWD, path_of, text, sizeof text), 0);
    long own = atol(strstr(text, "Anonymous:") + 10);
    cr_assert_leq(own, 100, "%ld KiB", own);
}
