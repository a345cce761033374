/* This file tests captured output, direct descriptors and terminals (contract EXEC-2). */
#include "tests/kernel/agent_harness.h"

static struct harness h;

static void start(void)
{
    harness_start_ready(&h);
}

static void stop(void)
{
    harness_stop(&h);
}

TestSuite(agent_streams, .init = start, .fini = stop);

Test(agent_streams, stdout_and_stderr_are_two_streams_of_one_sequence)
{
    struct harness_result *r =
        harness_run(&h, 1, &(struct harness_exec){.shell = "echo a; echo b >&2; echo c"});
    cr_assert_str_eq(r->out, "a\nc\n");
    cr_assert_str_eq(r->err, "b\n");
    cr_assert_eq(r->exit.output_bytes, 6);
}

Test(agent_streams, captured_streams_can_be_opened_by_name)
{
    for (uint64_t i = 1; i <= 2; i++) {
        struct harness_result *r =
            harness_run(&h, i,
                        &(struct harness_exec){.shell = "echo a >/dev/stdout; echo b >/dev/stderr",
                                               .root = i == 2});
        cr_assert_str_eq(r->out, "a\n");
        cr_assert_str_eq(r->err, "b\n");
    }
}

Test(agent_streams, every_byte_of_a_large_output_arrives_in_order)
{
    struct harness_result *r = harness_run(&h, 1, &(struct harness_exec){.shell = "seq 1 120000"});
    cr_assert_eq(r->exit.exit_code, 0);
    cr_assert_eq(r->exit.output_bytes, r->out_length);
    char *at = r->out;
    for (long i = 1; i <= 120000; i++)
        cr_assert_eq(strtol(at, &at, 10), i);
}

Test(agent_streams, a_reader_that_sleeps_stops_the_writer_and_loses_nothing)
{
    harness_exec(&h, 1, &(struct harness_exec){.shell = "seq 1 120000; echo end >&2"});
    /* Nobody reads the frames; init goes on serving. */
    usleep(500000);
    harness_exec(&h, 2, &(struct harness_exec){.argv = (const char *[]){"/bin/true", NULL}});
    usleep(100000);
    struct harness_result *r = harness_result_new(1), *other = harness_result_new(2);
    struct agent_frame frame;
    const void *payload;
    while (!r->ended || !other->ended) {
        cr_assert(harness_frame(&h, &frame, &payload, HARNESS_TIMEOUT_MS));
        harness_take(r, &frame, payload);
        harness_take(other, &frame, payload);
    }
    cr_assert_eq(other->exit.exit_code, 0);
    char *at = r->out;
    for (long i = 1; i <= 120000; i++)
        cr_assert_eq(strtol(at, &at, 10), i);
    cr_assert_str_eq(r->err, "end\n");
}

Test(agent_streams, a_command_can_be_killed_while_nobody_reads)
{
    harness_exec(&h, 1, &(struct harness_exec){.shell = "yes", .grace_ms = 100});
    usleep(300000);
    harness_send(&h, AGENT_KILL, 1, AGENT_REASON_CANCELLED, 0);
    usleep(300000);
    char path[PATH_MAX + 64], text[64];
    snprintf(path, sizeof path, "%s/run/e1/cgroup.procs", h.cgroup);
    cr_assert_leq(io_read_at(AT_FDCWD, path, text, sizeof text), 0, "it lives: %s", text);
    struct harness_result *r = harness_wait(&h, 1);
    cr_assert_eq(r->exit.reason, AGENT_REASON_CANCELLED);
}

Test(agent_streams, given_descriptors_are_the_command_s_own)
{
    int in[2], out[2], err[2];
    cr_assert_eq(pipe2(in, O_CLOEXEC) | pipe2(out, O_CLOEXEC) | pipe2(err, O_CLOEXEC), 0);
    cr_assert_eq(write(in[1], "hello\n", 6), 6);
    close(in[1]);
    harness_exec(&h, 1,
                 &(struct harness_exec){.shell = "cat; echo wrong >&2",
                                        .stdin_fd = in[0],
                                        .stdout_fd = out[1],
                                        .stderr_fd = err[1]});
    close(in[0]), close(out[1]), close(err[1]);
    struct harness_result *r = harness_wait(&h, 1);
    cr_assert_eq(r->exit.exit_code, 0);
    cr_assert_eq(r->out_length + r->err_length, 0);
    char text[64];
    /* End of file comes: no copy is left in init. */
    cr_assert_eq(io_read_full(out[0], text, sizeof text), 6);
    cr_assert_eq(memcmp(text, "hello\n", 6), 0);
    cr_assert_eq(io_read_full(err[0], text, sizeof text), 6);
}

/* Builtins only: where the machine is emulated, a program takes longer to start than is waited. */
Test(agent_streams, what_a_process_substitution_writes_to_a_given_descriptor_is_waited_for)
{
    int out[2];
    cr_assert_eq(pipe2(out, O_CLOEXEC), 0);
    const char *const argv[] = {"/bin/bash", "-c", "echo text > >(read -r x; echo \"$x\")", NULL};
    harness_exec(&h, 1, &(struct harness_exec){.argv = argv, .stdout_fd = out[1]});
    close(out[1]);
    cr_assert(harness_wait(&h, 1)->ended);
    char text[64];
    cr_assert_eq(io_read_full(out[0], text, sizeof text), 5);
}

Test(agent_streams, null_streams_are_dev_null)
{
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){.shell = "readlink /proc/self/fd/0; readlink /proc/self/fd/2 ",
                               .flags = AGENT_EXEC_NULL_STDERR});
    cr_assert_str_eq(r->out, "/dev/null\n/dev/null\n");
    r = harness_run(
        &h, 2,
        &(struct harness_exec){.shell = "exec 3>&1; readlink /proc/self/fd/3 >&2; echo gone",
                               .flags = AGENT_EXEC_NULL_STDOUT});
    cr_assert_eq(r->out_length, 0);
    cr_assert_str_eq(r->err, "/dev/null\n");
}

static struct harness_result *start_tty(uint64_t number, const char *shell, int *ret_input)
{
    int in[2];
    cr_assert_eq(pipe2(in, O_CLOEXEC), 0);
    const char *const env[] = {"PATH=/usr/bin:/bin", "TERM=dumb", "PS1=$ ", NULL};
    harness_exec(&h, number,
                 &(struct harness_exec){.shell = shell,
                                        .env = env,
                                        .flags = AGENT_EXEC_TTY,
                                        .rows = 24,
                                        .cols = 80,
                                        .stdin_fd = in[0]});
    close(in[0]);
    *ret_input = in[1];
    return harness_result_new(number);
}

static void type(int input, const char *text)
{
    cr_assert_eq(io_write_full(input, text, strlen(text)), 0);
}

Test(agent_streams, a_terminal_has_a_size_an_owner_and_is_the_controlling_one)
{
    int input;
    struct harness_result *r =
        start_tty(1, "stty size; tty; stat -c '%u %a' $(tty); echo x >/dev/tty; id -u", &input);
    harness_wait_from(&h, r);
    cr_assert_str_eq(r->out, "24 80\r\n/dev/pts/0\r\n1000 620\r\nx\r\n1000\r\n", "%s", r->out);
    cr_assert_eq(r->exit.exit_code, 0);
    close(input);
}

Test(agent_streams, a_resize_is_seen_and_told_by_winch)
{
    int input;
    struct harness_result *r = start_tty(
        1, "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.02; done", &input);
    harness_until(&h, r, "ready");
    harness_send(&h, AGENT_RESIZE, 1, 50, 132);
    harness_until(&h, r, "50 132");
    harness_wait_from(&h, r);
    cr_assert_eq(r->exit.exit_code, 0);
    close(input);
}

Test(agent_streams, job_control_works_and_signals_go_to_the_foreground)
{
    int input;
    struct harness_result *r = start_tty(1, "exec bash --norc -i", &input);
    harness_until(&h, r, "$ ");
    type(input, "sleep 1000\n");
    usleep(200000);
    type(input, "\x1a"); /* ^Z */
    harness_until(&h, r, "Stopped");
    type(input, "fg\n");
    usleep(200000);
    harness_send(&h, AGENT_SIGNAL, 1, SIGINT, AGENT_SCOPE_FOREGROUND);
    usleep(100000);
    type(input, "echo status=$?\n");
    harness_until(&h, r, "status=130");
    type(input, "exit 5\n");
    harness_wait_from(&h, r);
    cr_assert_eq(r->exit.reason, AGENT_REASON_EXIT);
    cr_assert_eq(r->exit.exit_code, 5);
    close(input);
}

Test(agent_streams, the_end_of_the_input_is_an_end_of_file_also_in_a_line_that_has_begun)
{
    int input;
    struct harness_result *r = start_tty(1, "stty -echo; echo ready; cat; echo end", &input);
    harness_until(&h, r, "ready");
    type(input, "whole\npart");
    close(input);
    harness_wait_from(&h, r);
    cr_assert(strstr(r->out, "whole\r\npartend\r\n"), "%s", r->out);
    /* The same by message, with the pipe still open. */
    r = start_tty(2, "stty -echo; echo ready; cat; echo end", &input);
    harness_until(&h, r, "ready");
    harness_send(&h, AGENT_CLOSE_STDIN, 2, 0, 0);
    harness_wait_from(&h, r);
    cr_assert(strstr(r->out, "end\r\n"));
    close(input);
}

Test(agent_streams, a_large_paste_into_a_slow_raw_terminal_is_whole)
{
    int input;
    struct harness_result *r =
        start_tty(1, "stty raw -echo; echo ready; sleep 0.3; head -c 200000 | md5sum", &input);
    harness_until(&h, r, "ready");
    pid_t writer = fork();
    if (writer == 0) {
        for (int i = 0; i < 20000; i++)
            io_write_full(input, "0123456789", 10);
        _exit(0);
    }
    harness_wait_from(&h, r);
    waitpid(writer, NULL, 0);
    close(input);
    struct harness_result *expected = harness_run(
        &h, 2,
        &(struct harness_exec){.shell = "yes 0123456789 | tr -d '\\n' | head -c 200000 | md5sum"});
    char sum[33] = {0};
    memcpy(sum, expected->out, 32);
    cr_assert_eq(strlen(sum), 32);
    cr_assert(strstr(r->out, sum), "%s, not %s", r->out, sum);
}

Test(agent_streams, the_last_output_of_a_terminal_is_not_lost)
{
    for (uint64_t i = 1; i <= 20; i++) {
        int input;
        struct harness_result *r = start_tty(i, "seq 1 2000", &input);
        harness_wait_from(&h, r);
        cr_assert(strstr(r->out, "\r\n2000\r\n"), "round %lu ends with %s", i,
                  r->out + r->out_length - (r->out_length < 20 ? r->out_length : 20));
        close(input);
        free(r);
    }
}
