/* This file tests init's own start: fail-closed steps, filters, Landlock, the layouts without
 * cgroup and with one uid, and the death of the starter. */
#include "tests/kernel/agent_harness.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>

static struct harness h;

static void stop(void)
{
    harness_stop(&h);
}

TestSuite(agent_setup, .fini = stop);

/* Refuses `number` with `answer`, allows everything else. */
#define DENY(number, answer)                                                   \
    {                                                                          \
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)), \
            BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),                 \
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (answer)),           \
            BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),                      \
    }

static const struct sock_filter deny_unshare[] = DENY(SYS_unshare, EPERM);
static const struct sock_filter deny_mkdir[] = DENY(SYS_mkdir, ENOSPC);

Test(agent_setup, both_filters_bind_commands_and_the_base_binds_init)
{
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER,
                                .base = deny_unshare,
                                .base_length = 4,
                                .exec = deny_mkdir,
                                .exec_length = 4};
    harness_start(&h, &o);
    cr_assert(h.ready_seen);
    cr_assert_eq(h.ready.seccomp_mode, 2);
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){.shell = "grep -E '^Seccomp' /proc/self/status; mkdir /tmp/x.$$; "
                                        "grep Seccomp: /proc/1/status"});
    cr_assert_str_eq(r->out, "Seccomp:\t2\nSeccomp_filters:\t2\nSeccomp:\t2\n");
    cr_assert(strstr(r->err, "No space left"), "%s", r->err);
}

Test(agent_setup, a_wrong_configuration_ends_the_start_with_its_reason)
{
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER, .magic = 7};
    harness_start(&h, &o);
    cr_assert(h.failed_seen);
    cr_assert_str_eq(h.failed.step, "check configuration of init");
    int status;
    cr_assert(harness_ended(&h, 1000, &status));
    cr_assert_eq(WEXITSTATUS(status), 1);
}

Test(agent_setup, a_filter_that_the_kernel_refuses_ends_the_start)
{
    static const struct sock_filter endless[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
    struct harness_options o = {
        .flags = AGENT_END_WITH_CONTROLLER, .base = endless, .base_length = 1};
    harness_start(&h, &o);
    cr_assert(h.failed_seen);
    cr_assert_str_eq(h.failed.step, "load seccomp filter of init");
    cr_assert_eq(h.failed.sys, EINVAL);
}

Test(agent_setup, a_filter_of_commands_that_the_kernel_refuses_fails_the_start_of_each)
{
    static const struct sock_filter endless[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)};
    struct harness_options o = {
        .flags = AGENT_END_WITH_CONTROLLER, .exec = endless, .exec_length = 1};
    harness_start(&h, &o);
    cr_assert(h.ready_seen);
    struct harness_result *r = harness_run(&h, 1, &(struct harness_exec){.shell = "echo no"});
    cr_assert(r->start_failed);
    cr_assert_str_eq(r->failed.step, "load seccomp filter of command");
    cr_assert_eq(r->failed.fault, AGENT_START_BERTH);
}

Test(agent_setup, descriptors_that_nobody_named_are_closed)
{
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER,
                                .extra_fd = open("/", O_RDONLY)};
    harness_start(&h, &o);
    cr_assert(h.ready_seen);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", h.pid);
    DIR *dir = opendir(path);
    for (struct dirent *e; (e = readdir(dir));) {
        int fd = atoi(e->d_name);
        cr_expect(fd <= AGENT_FD_CGROUP || fd < 20, "descriptor %d is open", fd);
        cr_expect_neq(fd, 150);
    }
    closedir(dir);
}

enum {
    LL_READ = 1 << 0 | 1 << 2 | 1 << 3, /* execute, read file, read dir */
    LL_ALL = (1 << 15) - 1,
    LL_ALL_DEV = (1 << 16) - 1,
};

Test(agent_setup, landlock_binds_commands_and_init_still_makes_cgroups_and_terminals)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    cr_assert_gt(abi, 0, "no Landlock here");
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER,
                                .landlock_abi = (uint32_t)abi,
                                .landlock_path_count = 6,
                                .landlock_paths = {{LL_READ, "/usr"},
                                                   {LL_READ, "/lib"},
                                                   {LL_READ, "/proc"},
                                                   {LL_ALL_DEV, "/dev"},
                                                   {LL_ALL, "/no/such/path"},
                                                   {LL_READ, "/lib64"}}};
    harness_start(&h, &o);
    cr_assert(h.ready_seen, "%s %s %d", h.failed.step, h.failed.subject, h.failed.sys);
    cr_assert_eq(h.ready.landlock_abi, (uint32_t)abi);
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){.argv = (const char *[]){"/usr/bin/cat", "/usr/bin/true",
                                                                    "/etc/hostname", NULL}});
    cr_assert(strstr(r->err, "/etc/hostname: Permission denied"), "%s", r->err);
    cr_assert_not(strstr(r->err, "/usr/bin/true"));
    r = harness_run(&h, 2,
                    &(struct harness_exec){.argv = (const char *[]){"/usr/bin/tty", NULL},
                                           .flags = AGENT_EXEC_TTY});
    cr_assert_str_eq(r->out, "/dev/pts/0\r\n", "%s %s", r->failed.step, r->failed.subject);
}

Test(agent_setup, without_cgroups_one_command_at_a_time_and_its_whole_tree)
{
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER, .no_cgroup = true};
    harness_start(&h, &o);
    cr_assert(h.ready_seen);
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){.shell = "setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 & "
                                        "(sleep 1000 &) >/dev/null 2>&1; sleep 0.1; exit 9"});
    cr_assert_eq(r->exit.exit_code, 9);
    r = harness_run(&h, 2, &(struct harness_exec){.shell = "set -- /proc/[0-9]*; echo $#"});
    cr_assert_str_eq(r->out, "2\n");

    harness_exec(&h, 3, &(struct harness_exec){.shell = "sleep 1000", .grace_ms = 100});
    struct harness_result *second = harness_run(&h, 4, &(struct harness_exec){.shell = "true"});
    cr_assert(second->start_failed);
    cr_assert_eq(second->failed.sys, EBUSY);
    second = harness_run(
        &h, 5, &(struct harness_exec){.shell = "true", .flags = AGENT_EXEC_KEEP_CHILDREN});
    cr_assert(second->start_failed);
    harness_send(&h, AGENT_KILL, 3, AGENT_REASON_CANCELLED, 0);
    r = harness_wait(&h, 3);
    cr_assert_eq(r->exit.reason, AGENT_REASON_CANCELLED);
    r = harness_run(&h, 6,
                    &(struct harness_exec){
                        .shell = "trap '' TERM; sleep 1000", .timeout_ms = 100, .grace_ms = 100});
    cr_assert_eq(r->exit.reason, AGENT_REASON_TIMEOUT);
}

Test(agent_setup, with_one_uid_commands_share_it_and_have_no_capability)
{
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER | AGENT_SHARED_UID,
                                .no_cgroup = true};
    harness_start(&h, &o);
    cr_assert(h.ready_seen, "%s %s %d", h.failed.step, h.failed.subject, h.failed.sys);
    struct harness_result *r =
        harness_run(&h, 1,
                    &(struct harness_exec){
                        .shell = "grep CapEff /proc/self/status; grep 'Cap.*:.*[1-9a-f]' "
                                 "/proc/1/status; kill -9 1; kill -STOP 1; kill -TERM 1; cat "
                                 "/proc/1/environ >/dev/null; sleep 1000 & exit 0",
                        .root = true});
    cr_assert_eq(r->exit.exit_code, 0);
    cr_assert_str_eq(r->out, "CapEff:\t0000000000000000\n");
    cr_assert(strstr(r->err, "denied"));
    r = harness_run(&h, 2, &(struct harness_exec){.shell = "true", .uid = 1000});
    cr_assert(r->start_failed);
}

Test(agent_setup, joining_by_write_works_where_clone_into_does_not)
{
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER | AGENT_NO_CLONE_INTO};
    harness_start(&h, &o);
    cr_assert(h.ready_seen);
    struct harness_result *r = harness_run(
        &h, 1,
        &(struct harness_exec){.shell = "setsid sleep 1000 & grep -o 'run/e1$' /proc/self/cgroup"});
    cr_assert_str_eq(r->out, "run/e1\n", "%s %s %d", r->failed.step, r->failed.subject,
                     r->failed.sys);
}

/* A SIGKILL by the death signal ends PID 1, though it comes from a parent in another namespace. */
Test(agent_setup, the_session_dies_with_the_process_that_started_it)
{
    int report[2], hold[2];
    cr_assert_eq(pipe2(report, O_CLOEXEC) | pipe2(hold, O_CLOEXEC), 0);
    pid_t starter = fork();
    if (starter == 0) {
        struct harness mine;
        harness_start_ready(&mine);
        io_write_full(report[1], &mine, sizeof mine);
        pause();
    }
    struct harness mine;
    cr_assert_eq(io_read_full(report[0], &mine, sizeof mine), (ssize_t)sizeof mine);
    char path[64];
    /* Somebody else holds the control socket: only the death signal is left. */
    snprintf(path, sizeof path, "/proc/%d", mine.pid);
    int pidfd = (int)syscall(SYS_pidfd_open, starter, 0);
    int held = (int)syscall(SYS_pidfd_getfd, pidfd, mine.control, 0);
    int held_pipe = (int)syscall(SYS_pidfd_getfd, pidfd, mine.frames, 0);
    cr_assert_geq(held, 0);
    cr_assert_geq(held_pipe, 0);
    kill(starter, SIGKILL);
    waitpid(starter, NULL, 0);
    bool gone = false;
    for (unsigned i = 0; i < 1000 * test_slower() && !gone; i++, usleep(2000)) {
        char stat_text[256] = "";
        char file[80];
        snprintf(file, sizeof file, "%s/stat", path);
        gone = io_read_at(AT_FDCWD, file, stat_text, sizeof stat_text) <= 0 ||
               strstr(stat_text, ") Z") != NULL;
    }
    cr_assert(gone, "init outlived its starter");
    unsigned execs = 0;
    cr_assert_eq(harness_remove_cgroup(mine.cgroup, &execs), 0);
    harness_start_ready(&h); /* for the suite's end */
}

/* Counters of limits, from files of the test's own. */
Test(agent_setup, out_of_memory_is_told_from_a_kill_by_the_session_itself)
{
    int oom = memfd_create("oom", 0), pids = memfd_create("pids", 0);
    io_write_full(oom, "low 0\noom 3\noom_kill 4\noom_group_kill 0\n", 41);
    io_write_full(pids, "max 10\n", 7);
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER, .oom_fd = oom, .pids_fd = pids};
    harness_start(&h, &o);
    cr_assert(h.ready_seen);
    struct harness_result *r = harness_run(&h, 1, &(struct harness_exec){.shell = "kill -9 $$"});
    cr_assert_eq(r->exit.reason, AGENT_REASON_SIGNAL);
    cr_assert_eq(r->exit.oom_kills, 0);
    r = harness_result_new(2);
    harness_exec(&h, 2, &(struct harness_exec){.shell = "echo ready; sleep 0.3; kill -9 $$"});
    harness_until(&h, r, "ready");
    cr_assert_eq(pwrite(oom, "low 0\noom 3\noom_kill 6\noom_group_kill 0\n", 41, 0), 41);
    cr_assert_eq(pwrite(pids, "max 12\n", 7, 0), 7);
    harness_wait_from(&h, r);
    cr_assert_eq(r->exit.reason, AGENT_REASON_OOM);
    cr_assert_eq(r->exit.signal, 9);
    cr_assert_eq(r->exit.oom_kills, 2);
    cr_assert_eq(r->exit.pids_denied, 2);
}

Test(agent_setup, an_idle_init_is_small_and_starts_fast)
{
    double best = 1e9;
    for (int i = 0; i < 20; i++) {
        struct harness one;
        harness_start_ready(&one);
        best = one.start_us < best ? one.start_us : best;
        harness_stop(&one);
    }
    harness_start_ready(&h);
    char path[64], text[2048] = "";
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", h.pid);
    cr_assert_gt(io_read_at(AT_FDCWD, path, text, sizeof text), 0);
    /* Clean pages are the program's own, and shared by all sessions. */
    long rss = 0, pss = 0, own = 0;
    sscanf(strstr(text, "Rss:"), "Rss: %ld", &rss);
    sscanf(strstr(text, "Pss:"), "Pss: %ld", &pss);
    sscanf(strstr(text, "Anonymous:"), "Anonymous: %ld", &own);
    printf("idle init: RSS %ld KiB, PSS %ld KiB, own memory %ld KiB; mounts and start to READY "
           "%.0f us at best\n",
           rss, pss, own, best);
    cr_assert_lt(rss, 1024);
    cr_assert_lt(own, 128);
}
