/* This file tests that init runs the file worker's program by descriptor, like any command (FS-1).
 */
#include "tests/kernel/agent_lasting.h"

#include "runtime/plan/landlock.h"

TestSuite(agent_files, .fini = stop);

/* Whatever runs: this is about how. */
static bool without_cgroup;
static void start_files(const char *program, uint32_t landlock_abi)
{
    int fd = open(program, O_PATH | O_CLOEXEC);
    start_with((struct harness_options){
        .files_fd = fd,
        .no_cgroup = without_cgroup,
        .landlock_abi = landlock_abi,
        .landlock_path_count = landlock_abi ? 2u : 0u,
        .landlock_paths = {{LANDLOCK_FS_READ_DIR | LANDLOCK_FS_READ_FILE, "/"},
                           {LANDLOCK_FS_EXECUTE | LANDLOCK_FS_READ_FILE, "/lib64"}}});
    close(fd);
    connect_with(5);
}

static struct harness_result *run_files(uint64_t exec, const char *const *argv)
{
    struct exec_request request = shell("");
    request.argv = argv;
    request.files = true;
    struct err err = {0};
    cr_assert_eq(agent_client_exec(client, exec, &request, -1, NULL, &err), 0, "%s", err.detail);
    struct harness_result *result = harness_result_new(exec);
    struct agent_frame frame;
    const void *payload;
    while (!result->ended && !result->start_failed) {
        cr_assert(next_from(client, &frame, &payload));
        harness_take(result, &frame, payload);
    }
    return result;
}

Test(agent_files, the_worker_s_program_runs_whatever_its_argv_says)
{
    start_files("/bin/echo", 0);
    struct harness_result *r = run_files(1, (const char *const[]){"berth-files", "a b", NULL});
    cr_assert_not(r->start_failed, "%s: %s %d", r->failed.step, r->failed.subject, r->failed.sys);
    cr_assert_str_eq(r->out, "a b\n");
    cr_assert_eq(r->exit.exit_code, 0);
}

Test(agent_files, the_worker_is_a_command_with_no_right_of_its_own)
{
    start_files("/bin/sh", 0);
    struct harness_result *r =
        run_files(1, (const char *const[]){"sh", "-c",
                                           "id -u; grep -E 'Cap(Eff|Prm|Bnd)' /proc/self/status | "
                                           "tr -d '\\t '; ls /proc/self/fd | wc -l",
                                           NULL});
    cr_assert_str_eq(r->out, "1000\nCapPrm:0000000000000000\nCapEff:0000000000000000\n"
                             "CapBnd:0000000000000000\n4\n");
}

Test(agent_files, landlock_lets_the_worker_s_program_run_and_none_beside_it)
{
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1u);
    if (abi < 1) {
        cr_skip_test("no Landlock on this kernel");
        return;
    }
    char path_of[PATH_MAX];
    cr_assert(realpath("/proc/self/exe", path_of));
    /* A static program, so that no loader has to be allowed. */
    *strrchr(path_of, '/') = 0;
    *strrchr(path_of, '/') = 0;
    *strrchr(path_of, '/') = 0;
    strcat(path_of, "/bin/berth");
    start_files(path_of, (uint32_t)abi);
    struct harness_result *r = run_files(1, (const char *const[]){"berth", "--version", NULL});
    cr_assert_not(r->start_failed, "%s: %s %d", r->failed.step, r->failed.subject, r->failed.sys);
    cr_assert_eq(strncmp(r->out, "berth ", 6), 0, "%s", r->out);
    r = run_files(2, (const char *const[]){"berth", "--version", NULL});
    struct exec_request request = shell("true");
    struct err err;
    cr_assert_eq(agent_client_exec(client, 3, &request, -1, NULL, &err), 0);
    const void *payload;
    await(AGENT_FRAME_START_FAILED, 3, &payload);
}

static struct exec_request worker_of(const char *text)
{
    static const char *argv[] = {"sh", "-c", NULL, NULL};
    struct exec_request request = shell("");
    argv[2] = text;
    request.argv = argv;
    request.files = true;
    request.null_stdout = true;
    return request;
}

static struct agent_exit end_of(uint64_t exec)
{
    const void *payload;
    struct agent_exit exit;
    await(AGENT_FRAME_EXIT, exec, &payload);
    memcpy(&exit, payload, sizeof exit);
    return exit;
}

static void expect_alone(uint64_t number)
{
    struct exec_request request = shell("true");
    struct err err;
    const void *payload;
    struct agent_start_failed failed;
    cr_assert_eq(agent_client_exec(client, number, &request, -1, NULL, &err), 0);
    await(AGENT_FRAME_START_FAILED, number, &payload);
    memcpy(&failed, payload, sizeof failed);
    cr_expect_eq(failed.sys, EBUSY, "the first command lives");
}

Test(agent_files, without_cgroups_a_worker_runs_beside_the_command_and_ends_alone)
{
    without_cgroup = true;
    start_files("/bin/sh", 0);
    struct err err;
    const void *payload;
    struct exec_request command = shell("sleep 1000 & sleep 1000");
    cr_assert_eq(agent_client_exec(client, 1, &command, -1, NULL, &err), 0);
    await(AGENT_FRAME_STARTED, 1, &payload);
    struct harness_result *r = run_files(2, (const char *const[]){"sh", "-c", "echo here", NULL});
    cr_assert_not(r->start_failed, "%s: %s %d", r->failed.step, r->failed.subject, r->failed.sys);
    cr_assert_str_eq(r->out, "here\n");
    expect_alone(3);

    struct exec_request worker = shell("");
    worker.argv = (const char *const[]){"sh", "-c", "read forever; :", NULL};
    worker.files = true;
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    worker.stdin_fd = ends[0];
    cr_assert_eq(agent_client_exec(client, 4, &worker, -1, NULL, &err), 0);
    await(AGENT_FRAME_STARTED, 4, &payload);
    agent_client_kill(client, 4, AGENT_REASON_CANCELLED);
    await(AGENT_FRAME_EXIT, 4, &payload);
    expect_alone(5);

    /* A command's end does not wait for a worker that does not end, and does not end it. */
    cr_assert_eq(agent_client_exec(client, 6, &worker, -1, NULL, &err), 0);
    await(AGENT_FRAME_STARTED, 6, &payload);
    agent_client_kill(client, 1, AGENT_REASON_CANCELLED);
    await(AGENT_FRAME_EXIT, 1, &payload);
    struct exec_request next = shell("true");
    cr_assert_eq(agent_client_exec(client, 7, &next, -1, NULL, &err), 0);
    await(AGENT_FRAME_EXIT, 7, &payload);
    close(ends[0]);
    close(ends[1]);
    await(AGENT_FRAME_EXIT, 6, &payload);
    struct agent_exit exit;
    memcpy(&exit, payload, sizeof exit);
    cr_expect_eq(exit.reason, AGENT_REASON_EXIT, "the worker read to its end");
}

Test(agent_files, EXEC_3_without_cgroups_what_a_command_leaves_ends_and_a_worker_beside_it_does_not)
{
    /* Of other sessions of processes, stopped, of several levels, and many. */
    static const char *const left[] = {
        "sleep 1000 & sleep 1000 & setsid sh -c 'sleep 1000; :' & true",
        "sh -c 'kill -STOP $$' & setsid nohup sh -c '(sleep 1000 & sleep 1000)' & true",
        "trap '' TERM; while :; do sleep 1000 & [ $((i=i+1)) -lt 50 ] || exit 3; done",
    };
    struct err err;
    const void *payload;
    int ends[2];
    without_cgroup = true;
    start_files("/bin/sh", 0);
    struct exec_request worker = worker_of("read forever; exit 9");
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    worker.stdin_fd = ends[0];
    cr_assert_eq(agent_client_exec(client, 100, &worker, -1, NULL, &err), 0);
    await(AGENT_FRAME_STARTED, 100, &payload);
    for (uint64_t i = 0; i < sizeof left / sizeof *left; i++) {
        run(101 + i, left[i]);
        await(AGENT_FRAME_EXIT, 101 + i, &payload);
        struct harness_result *r = harness_result_new(201 + i);
        run(201 + i, "cat /proc/[0-9]*/comm | grep -c sleep");
        struct agent_frame frame;
        while (!r->ended) {
            cr_assert(next_from(client, &frame, &payload));
            harness_take(r, &frame, payload);
        }
        cr_expect_str_eq(r->out, "0\n", "something outlived the command: %s", r->out);
    }
    /* Signals to the tree pass it by. */
    run(301, "trap 'exit 5' TERM; while :; do sleep 0.1; done");
    await(AGENT_FRAME_STARTED, 301, &payload);
    agent_client_signal(client, 301, SIGSTOP, AGENT_SCOPE_TREE);
    agent_client_signal(client, 301, SIGCONT, AGENT_SCOPE_TREE);
    agent_client_signal(client, 301, SIGTERM, AGENT_SCOPE_TREE);
    await(AGENT_FRAME_EXIT, 301, &payload);
    close(ends[0]);
    close(ends[1]);
    cr_expect_eq(end_of(100).exit_code, 9, "the worker read to its end");
}

Test(agent_files, a_session_without_a_worker_says_so)
{
    start();
    connect_with(5);
    struct harness_result *r = run_files(1, (const char *const[]){"berth-files", NULL});
    cr_assert(r->start_failed);
    cr_assert_eq(r->failed.sys, EOPNOTSUPP);
}

Test(agent_files, FS_2_a_worker_that_does_not_move_is_ended_and_one_that_moves_is_not)
{
    struct err err;
    const void *payload;
    start_files("/bin/sh", 0);
    struct exec_request moves =
        worker_of("i=0; while [ $i -lt 50 ]; do sleep 0.1; i=$((i+1)); done; exit 7");
    moves.idle_timeout_ms = 3000;
    cr_assert_eq(agent_client_exec(client, 1, &moves, -1, NULL, &err), 0);
    await(AGENT_FRAME_STARTED, 1, &payload);
    struct exec_request stops = worker_of("kill -STOP $$");
    stops.idle_timeout_ms = 300;
    cr_assert_eq(agent_client_exec(client, 2, &stops, -1, NULL, &err), 0);
    cr_expect_eq(end_of(2).reason, AGENT_REASON_IDLE_TIMEOUT);
    cr_expect_eq(end_of(1).exit_code, 7, "it was ended while it moved");
}

static void expect_ended_by(uint64_t exec, void (*end)(void), enum agent_reason reason)
{
    struct err err;
    const void *payload;
    struct exec_request stops = worker_of("kill -STOP $$");
    cr_assert_eq(agent_client_exec(client, exec, &stops, -1, NULL, &err), 0);
    await(AGENT_FRAME_STARTED, exec, &payload);
    end();
    cr_expect_eq(end_of(exec).reason, reason);
}

static void interrupts(void)
{
    cr_assert_eq(agent_client_interrupt(client, 5), 0);
}

static void pauses(void)
{
    cr_assert_eq(agent_client_pause(client, true), 0);
    cr_assert_eq(agent_client_pause(client, false), 0);
}

Test(agent_files, FS_2_an_interrupt_and_a_freeze_end_workers_whatever_their_number)
{
    const void *payload;
    start_files("/bin/sh", 0);
    expect_ended_by(1000, interrupts, AGENT_REASON_INTERRUPTED);
    await(AGENT_FRAME_INTERRUPTED, 5, &payload);
    expect_ended_by(1001, pauses, AGENT_REASON_CANCELLED);
}
