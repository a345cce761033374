/* This file tests that nothing of a command outlives it, whatever it did (contract EXEC-3, EXEC-4,
 * EXEC-7; attack rows 25 and 29). */
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

TestSuite(agent_tree, .init = start, .fini = stop);

/* Processes in the session's PID namespace besides PID 1, as the cgroup sees them. */
static unsigned processes_left(void)
{
    char path[PATH_MAX + 64], text[65536];
    unsigned count = 0;
    snprintf(path, sizeof path, "%s/run", h.cgroup);
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_type != DT_DIR || e->d_name[0] != 'e')
            continue;
        snprintf(path, sizeof path, "%s/run/%.32s/cgroup.procs", h.cgroup, e->d_name);
        if (io_read_at(AT_FDCWD, path, text, sizeof text) > 0)
            for (char *p = text; *p; p++)
                count += *p == '\n' || !p[1];
    }
    if (dir)
        closedir(dir);
    return count;
}

/* Daemons of every kind: setsid and double fork, stopped, deaf to TERM, no streams of ours. */
static const char *const busy_tree =
    "setsid sh -c 'trap \"\" TERM HUP; (sleep 1000 & sleep 1000) >/dev/null 2>&1 & sleep 1000' "
    ">/dev/null 2>&1 & sh -c 'kill -STOP $$; sleep 1000' >/dev/null 2>&1 & (setsid sh -c 'sleep "
    "1000 & sleep 1000' >/dev/null 2>&1 &) ; nohup sleep 1000 >/dev/null 2>&1 & sleep 0.2;";

Test(agent_tree, nothing_that_a_command_started_outlives_it)
{
    char text[1024];
    snprintf(text, sizeof text, "%s exit 7", busy_tree);
    struct harness_result *r = harness_run(&h, 1, &(struct harness_exec){.shell = text});
    cr_assert_eq(r->exit.reason, AGENT_REASON_EXIT);
    cr_assert_eq(r->exit.exit_code, 7);
    cr_assert_eq(processes_left(), 0);
    r = harness_run(&h, 2, &(struct harness_exec){.shell = "set -- /proc/[0-9]*; echo $#"});
    cr_assert_str_eq(r->out, "2\n", "PID 1, this shell and: %s", r->out);
}

Test(agent_tree, the_exit_does_not_wait_for_a_background_child_s_pipe)
{
    double before = harness_now_us();
    struct harness_result *r =
        harness_run(&h, 1, &(struct harness_exec){.shell = "sleep 1000 & echo done"});
    double ms = (harness_now_us() - before) / 1e3;
    cr_assert_str_eq(r->out, "done\n");
    cr_assert_eq(r->exit.exit_code, 0);
    cr_assert_lt(ms, 1500 * test_slower(), "%.0f ms", ms);
}

Test(agent_tree, a_child_that_writes_soon_after_the_main_process_is_heard)
{
    /* Words of the shell itself: nothing has to be started in the time that a child is given. */
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){
            .shell = "(while kill -0 $$ 2>/dev/null; do :; done; echo late) & echo early"});
    cr_assert_str_eq(r->out, "early\nlate\n");
}

Test(agent_tree, a_timeout_terms_the_tree_then_kills_it_and_keeps_the_output)
{
    double before = harness_now_us();
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){
            .shell =
                "trap 'echo term' TERM; sh -c 'trap \"\" TERM; sleep 1000' & echo begin; while "
                ":; do wait; done",
            .timeout_ms = 200 * test_slower(),
            .grace_ms = 300});
    double ms = (harness_now_us() - before) / 1e3;
    cr_assert_eq(r->exit.reason, AGENT_REASON_TIMEOUT);
    cr_assert_eq(r->exit.signal, SIGKILL);
    cr_assert_str_eq(r->out, "begin\nterm\n");
    cr_assert_geq(ms, 480);
    cr_assert_lt(ms, 3000 * test_slower());
    cr_assert_eq(processes_left(), 0);
}

Test(agent_tree, a_command_that_ends_on_term_is_not_kept_for_its_grace)
{
    double before = harness_now_us();
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){.shell = "trap 'exit 3' TERM; sleep 1000 & wait",
                                           .timeout_ms = 100 * test_slower(),
                                           .grace_ms = 10000});
    cr_assert_eq(r->exit.reason, AGENT_REASON_TIMEOUT);
    cr_assert_eq(r->exit.exit_code, 3);
    cr_assert_lt(harness_now_us() - before, 3e6 * test_slower());
}

Test(agent_tree, a_stopped_tree_ends_within_its_grace)
{
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){.shell = "kill -STOP $$; sleep 1000",
                                           .timeout_ms = 100 * test_slower(),
                                           .grace_ms = 10000});
    cr_assert_eq(r->exit.reason, AGENT_REASON_TIMEOUT);
    cr_assert_eq(r->exit.signal, SIGTERM);
}

Test(agent_tree, without_grace_the_kill_is_at_once)
{
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){.shell = "trap '' TERM; sleep 1000",
                                           .timeout_ms = 100 * test_slower()});
    cr_assert_eq(r->exit.reason, AGENT_REASON_TIMEOUT);
    cr_assert_eq(r->exit.signal, SIGKILL);
}

Test(agent_tree, output_and_input_hold_an_idle_timeout_off_and_silence_does_not)
{
    char shell[96];
    double before = harness_now_us();
    snprintf(shell, sizeof shell, "for i in 1 2 3 4 5 6; do echo $i; sleep %g; done; sleep 1000",
             0.1 * test_slower());
    struct harness_result *r = harness_run(
        &h, 1, &(struct harness_exec){.shell = shell, .idle_timeout_ms = 300 * test_slower()});
    double ms = (harness_now_us() - before) / 1e3;
    cr_assert_eq(r->exit.reason, AGENT_REASON_IDLE_TIMEOUT);
    cr_assert_str_eq(r->out, "1\n2\n3\n4\n5\n6\n");
    cr_assert_geq(ms, 790 * test_slower());
    cr_assert_lt(ms, 4000 * test_slower());
}

Test(agent_tree, an_idle_timeout_that_could_not_see_the_output_is_refused)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){.shell = "true", .idle_timeout_ms = 300, .stdout_fd = ends[1]});
    cr_assert(r->start_failed);
    cr_assert_eq(r->failed.fault, AGENT_START_BERTH);
}

Test(agent_tree, a_cancelled_command_says_so)
{
    harness_exec(&h, 1, &(struct harness_exec){.shell = "sleep 1000", .grace_ms = 1000});
    harness_send(&h, AGENT_KILL, 1, AGENT_REASON_CANCELLED, 0);
    struct harness_result *r = harness_wait(&h, 1);
    cr_assert_eq(r->exit.reason, AGENT_REASON_CANCELLED);
}

Test(agent_tree, signals_reach_the_main_process_or_the_tree)
{
    struct harness_result *r = harness_result_new(1);
    harness_exec(&h, 1,
                 &(struct harness_exec){.shell =
                                            "trap 'echo main' USR1; sh -c 'trap \"echo child\" "
                                            "USR1; echo ready; while :; do sleep 0.02; done' "
                                            "& while :; do sleep 0.02; done"});
    harness_until(&h, r, "ready");
    harness_send(&h, AGENT_SIGNAL, 1, SIGUSR1, AGENT_SCOPE_MAIN);
    harness_until(&h, r, "main");
    cr_assert_not(strstr(r->out, "child"));
    harness_send(&h, AGENT_SIGNAL, 1, SIGUSR1, AGENT_SCOPE_TREE);
    harness_until(&h, r, "child");
    harness_send(&h, AGENT_SIGNAL, 1, SIGKILL, AGENT_SCOPE_MAIN);
    harness_wait_from(&h, r);
    cr_assert_eq(r->exit.reason, AGENT_REASON_SIGNAL);
    cr_assert_eq(r->exit.signal, SIGKILL);
    cr_assert_eq(processes_left(), 0);
}

Test(agent_tree, EXEC_6_who_is_killed_before_it_could_run_died_of_that_signal)
{
    for (uint64_t exec = 1; exec <= 20; exec++) {
        struct harness_result *r = harness_result_new(exec);
        harness_exec(&h, exec, &(struct harness_exec){.shell = "sleep 20"});
        harness_send(&h, AGENT_SIGNAL, exec, SIGKILL, AGENT_SCOPE_MAIN);
        harness_wait_from(&h, r);
        cr_assert_eq(r->exit.reason, AGENT_REASON_SIGNAL, "%d", r->exit.reason);
        cr_assert_eq(r->exit.signal, SIGKILL);
    }
}

/* EXEC-7 */
Test(agent_tree, an_interrupt_ends_what_was_accepted_before_it_and_nothing_after)
{
    for (uint64_t i = 1; i <= 3; i++)
        harness_exec(&h, i, &(struct harness_exec){.shell = "sleep 1000"});
    harness_exec(&h, 10, &(struct harness_exec){.shell = "sleep 0.5; echo whole"});
    harness_send(&h, AGENT_INTERRUPT, 5, 0, 0);
    struct harness_result *r[4];
    const uint64_t numbers[] = {1, 2, 3, 10};
    for (int i = 0; i < 4; i++)
        r[i] = harness_result_new(numbers[i]);
    struct agent_frame frame;
    const void *payload;
    while (!r[0]->ended || !r[1]->ended || !r[2]->ended || !r[3]->ended) {
        cr_assert(harness_frame(&h, &frame, &payload, HARNESS_TIMEOUT_MS));
        for (int i = 0; i < 4; i++)
            harness_take(r[i], &frame, payload);
    }
    for (int i = 0; i < 3; i++)
        cr_assert_eq(r[i]->exit.reason, AGENT_REASON_INTERRUPTED);
    cr_assert_eq(r[3]->exit.reason, AGENT_REASON_EXIT);
    cr_assert_str_eq(r[3]->out, "whole\n");
    /* Accepted below the floor, but late. */
    struct harness_result *late = harness_run(&h, 4, &(struct harness_exec){.shell = "echo no"});
    cr_assert_not(late->started);
    cr_assert_eq(late->exit.reason, AGENT_REASON_INTERRUPTED);
    late = harness_run(&h, 6, &(struct harness_exec){.shell = "echo yes"});
    cr_assert_str_eq(late->out, "yes\n");
}

Test(agent_tree, kept_children_stay_are_heard_and_can_be_killed)
{
    struct harness_result *r = harness_result_new(1);
    harness_exec(&h, 1,
                 &(struct harness_exec){.shell = "(sleep 0.5; echo later; sleep 1000) & echo first",
                                        .flags = AGENT_EXEC_KEEP_CHILDREN});
    harness_wait_from(&h, r);
    cr_assert_eq(r->exit.reason, AGENT_REASON_EXIT);
    cr_assert_str_eq(r->out, "first\n");
    cr_assert_gt(processes_left(), 0);
    struct agent_frame frame;
    const void *payload;
    while (!strstr(r->background, "later")) {
        cr_assert(harness_frame(&h, &frame, &payload, HARNESS_TIMEOUT_MS));
        harness_take(r, &frame, payload);
    }
    harness_send(&h, AGENT_KILL, 1, AGENT_REASON_CANCELLED, 0);
    for (int i = 0; i < 500 && processes_left() > 0; i++)
        usleep(4000);
    cr_assert_eq(processes_left(), 0);
    usleep(50000); /* its cgroup goes too: harness_stop() counts */
}

/* Attack row 29. */
Test(agent_tree, three_thousand_zombies_are_reaped_while_others_are_served)
{
    const char *const argv[] = {
        "/usr/bin/python3", "-c",
        "import os\n"
        "for i in range(3000):\n"
        "    if os.fork() == 0:\n"
        "        if os.fork() == 0: os._exit(0)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "print(len([p for p in os.listdir('/proc') if p.isdigit()]) < 1000)\n",
        NULL};
    struct harness_result *r = harness_result_new(1);
    harness_exec(&h, 1, &(struct harness_exec){.argv = argv});
    double worst = 0;
    for (uint64_t i = 2; i < 30; i++) {
        double before = harness_now_us();
        harness_exec(&h, i, &(struct harness_exec){.argv = (const char *[]){"/bin/true", NULL}});
        struct agent_frame frame;
        const void *payload;
        do {
            cr_assert(harness_frame(&h, &frame, &payload, HARNESS_TIMEOUT_MS));
            harness_take(r, &frame, payload);
        } while (frame.type != AGENT_FRAME_EXIT || frame.exec != i);
        double took = harness_now_us() - before;
        worst = took > worst ? took : worst;
    }
    harness_wait_from(&h, r);
    cr_assert_eq(r->exit.exit_code, 0, "%s", r->err);
    cr_assert_str_eq(r->out, "True\n");
    cr_assert_lt(worst, 2e6 * test_slower());
}

Test(agent_tree, vfork_never_exec_ing_and_ptraced_children_are_killable)
{
    const char *const argv[] = {
        "/usr/bin/python3", "-c",
        "import ctypes, os, signal, time\n"
        "libc = ctypes.CDLL(None)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    time.sleep(1000)\n"
        "print('seized', libc.ptrace(0x4206, pid, 0, 0), flush=True)\n"
        "libc.ptrace(0x4207, pid, 0, 0)\n"
        "libc.syscall(58)\n" /* vfork: the parent waits for a child that sleeps */
        "time.sleep(1000)\n",
        NULL};
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){.argv = argv, .timeout_ms = 500 * test_slower(), .grace_ms = 100});
    cr_assert_str_eq(r->out, "seized 0\n", "%s", r->err);
    cr_assert_eq(r->exit.reason, AGENT_REASON_TIMEOUT);
    cr_assert_eq(processes_left(), 0);
}

/* Attack row 25, without a limit of pids: bounded by the test itself. */
Test(agent_tree, a_fork_bomb_is_gone_in_a_second)
{
    const char *const argv[] = {"/usr/bin/python3", "-c",
                                "import os, time\n"
                                "for i in range(9):\n"
                                "    if os.fork() == 0: os.setsid()\n"
                                "print('x', flush=True)\n"
                                "while True: time.sleep(1)\n",
                                NULL};
    struct harness_result *r = harness_result_new(1);
    harness_exec(&h, 1, &(struct harness_exec){.argv = argv});
    while (r->out_length < 2 * 512) {
        struct agent_frame frame;
        const void *payload;
        cr_assert(harness_frame(&h, &frame, &payload, HARNESS_TIMEOUT_MS));
        harness_take(r, &frame, payload);
    }
    double before = harness_now_us();
    harness_send(&h, AGENT_KILL, 1, AGENT_REASON_CANCELLED, 0);
    harness_wait_from(&h, r);
    cr_assert_lt(harness_now_us() - before, 1e6 * test_slower());
    cr_assert_eq(processes_left(), 0);
}

Test(agent_tree, another_command_that_writes_into_its_pipe_without_end_does_not_keep_it)
{
    struct harness_result *r = harness_result_new(1);
    harness_exec(&h, 1, &(struct harness_exec){.shell = "echo $$; echo ready; exec sleep 100"});
    harness_until(&h, r, "ready");
    char shell[64];
    snprintf(shell, sizeof shell, "exec yes >/proc/%d/fd/1", atoi(r->out));
    harness_exec(&h, 2, &(struct harness_exec){.shell = shell});
    harness_until(&h, r, "y\ny\ny\n");
    double before = harness_now_us();
    snprintf(shell, sizeof shell, "kill %d", atoi(r->out));
    harness_exec(&h, 3, &(struct harness_exec){.shell = shell});
    harness_wait_from(&h, r);
    cr_assert_eq(r->exit.signal, SIGTERM);
    cr_assert_lt(harness_now_us() - before, 5e6 * test_slower());
    /* And that one ends with its pipe. */
    struct harness_result *other = harness_wait(&h, 2);
    cr_assert_eq(other->exit.signal, SIGPIPE);
}
