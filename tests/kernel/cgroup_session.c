/* This file proves on the real kernel, as root and in whichever layout this host has, that a
 * session's cgroups limit, kill and vanish as cgroup.h says. It leaves nothing behind. */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"
#include "runtime/host/userns.h"
#include "tests/kernel/child_harness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, INIT_ID = 1879048192 + 65533 };

static struct cgroup_host host;
static struct cgroup_session cg;
static char name[96];
static struct err err;

#define OK(call)                                     \
    do {                                             \
        int r_ = (call);                             \
        char text_[2048] = "";                       \
        if (r_ < 0)                                  \
            err_format(&err, text_, sizeof text_);   \
        cr_assert_eq(r_, 0, "%s: %s", #call, text_); \
    } while (0)

static void make(void)
{
    OK(cgroup_host_open(&host, false, &err));
    cr_assert_neq(host.layout, RUNTIME_CGROUP_NONE, "root must have cgroups here: %s", host.reason);
    cr_assert_eq(host.limits, (uint32_t)(SPEC_LIMIT_MEMORY | SPEC_LIMIT_CPU | SPEC_LIMIT_PIDS),
                 "%s", host.reason);
    snprintf(name, sizeof name, "test-%d", getpid());
    OK(cgroup_session_create(&cg, &host, name, &err));
    OK(cgroup_session_complete(&cg, &err));
}

static bool exists(const char *base)
{
    char path[CGROUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", base, name);
    return access(path, F_OK) == 0;
}

static void unmake(void)
{
    OK(cgroup_session_destroy(&cg, 5000, &err));
    cgroup_session_fini(&cg);
    cr_assert_not(exists(host.v2));
    for (int i = 0; i < CGROUP_V1_COUNT; i++)
        cr_assert(!host.v1[i][0] || !exists(host.v1[i]));
}

/* After a test that failed; what fails here would fail no test, so unmake() is in each. */
static void sweep(void)
{
    cgroup_session_destroy(&cg, 5000, &err);
}

TestSuite(cgroup_session, .init = make, .fini = sweep);

#define SESSION_TEST(title)     \
    static void title(void);    \
    Test(cgroup_session, title) \
    {                           \
        title();                \
        unmake();               \
    }                           \
    static void title(void)

/* A child born in `dir`, in the session's v1 cgroups too when it is `run`. */
static pid_t born_in(int dir)
{
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned)dir};
    pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (child != 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (int i = 0; dir != cg.init_fd && i < CGROUP_V1_COUNT; i++)
        if (cg.v1_tasks[i] >= 0 && write(cg.v1_tasks[i], "0", 1) != 1)
            _exit(99);
    return 0;
}

static int end_of(pid_t child)
{
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child, "%s", strerror(errno));
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static void limit(uint64_t memory, uint64_t scratch, uint64_t pids, uint64_t cpu)
{
    struct spec_limits l = {
        .memory_bytes = memory, .scratch_bytes = scratch, .pids = pids, .cpu_millis = cpu};
    OK(cgroup_session_limit(&cg, &l, &err));
}

SESSION_TEST(limits_are_read_back_from_the_kernel)
{
    limit(48 * MIB, 16 * MIB, 77, 250);
    struct spec_limits has;
    uint64_t memory;
    OK(cgroup_session_read(&cg, &has, &memory, &err));
    cr_expect_eq(memory, (uint64_t)64 * MIB);
    cr_expect_eq(has.memory_bytes, (uint64_t)48 * MIB);
    cr_expect_eq(has.scratch_bytes, (uint64_t)16 * MIB);
    cr_expect_eq(has.pids, 77u);
    cr_expect_eq(has.cpu_millis, 250u);
}

SESSION_TEST(swap_is_no_way_around_the_memory_limit)
{
    limit(48 * MIB, 16 * MIB, 0, 0);
    uint64_t swap = 1;
    if (host.layout == RUNTIME_CGROUP_UNIFIED) {
        char text[32];
        ssize_t n = io_read_at(cg.run_fd, "memory.swap.max", text, sizeof text);
        cr_expect(n == -ENOENT || (n > 0 && strcmp(text, "0") == 0), "%s", text);
        return;
    }
    int dir = cg.v1_fd[CGROUP_V1_MEMORY];
    if (faccessat(dir, "memory.memsw.limit_in_bytes", F_OK, 0) == 0) {
        OK(cgroup_read_number(dir, "memory.memsw.limit_in_bytes", &swap, &err));
        cr_expect_eq(swap, (uint64_t)64 * MIB);
    } else {
        OK(cgroup_read_number(dir, "memory.swappiness", &swap, &err));
        cr_expect_eq(swap, 0u);
    }
}

SESSION_TEST(no_limit_reads_back_as_zero)
{
    limit(0, 16 * MIB, 0, 0);
    struct spec_limits has;
    uint64_t memory;
    OK(cgroup_session_read(&cg, &has, &memory, &err));
    cr_expect_eq(memory, 0u);
    cr_expect_eq(has.memory_bytes, 0u);
    cr_expect_eq(has.pids, 0u);
    cr_expect_eq(has.cpu_millis, 0u);
}

static int touch(size_t bytes)
{
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return 1;
    for (size_t i = 0; i < bytes; i += 4096)
        p[i] = 1;
    return 0;
}

SESSION_TEST(a_process_that_eats_more_than_its_memory_is_killed_and_counted)
{
    limit(24 * MIB, 8 * MIB, 0, 0);
    int run = fcntl(cg.run_fd, F_DUPFD_CLOEXEC, 3), oom, pids;
    OK(cgroup_session_agent_fds(&cg, &oom, &pids, &err));
    pid_t small = born_in(cg.run_fd);
    if (small == 0)
        _exit(touch(16 * MIB));
    cr_expect_eq(end_of(small), 0, "16 MiB fit");
    pid_t large = born_in(cg.run_fd);
    if (large == 0)
        _exit(touch(96 * MIB));
    cr_expect_eq(end_of(large), 128 + SIGKILL);
    char text[512] = "";
    ssize_t n = pread(oom, text, sizeof text - 1, 0);
    cr_assert_gt(n, 0);
    cr_expect_not_null(strstr(text, "oom_kill 1"), "%s", text);
    cr_expect_eq(write(oom, "1", 1), -1, "read-only");
    close(run);
    close(oom);
    close(pids);
}

SESSION_TEST(init_is_outside_the_memory_limit)
{
    limit(8 * MIB, 0, 0, 0);
    pid_t child = born_in(cg.init_fd);
    if (child == 0)
        _exit(touch(32 * MIB));
    cr_expect_eq(end_of(child), 0);
}

SESSION_TEST(forks_end_with_eagain_at_the_limit)
{
    limit(0, 0, 20, 0);
    pid_t child = born_in(cg.run_fd);
    if (child == 0) {
        int made = 0;
        for (pid_t p; (p = fork()) >= 0; made++)
            if (p == 0) {
                pause();
                _exit(0);
            }
        _exit(errno == EAGAIN ? made : 200);
    }
    cr_expect_eq(end_of(child), 19);
}

SESSION_TEST(cpu_time_is_capped)
{
    limit(0, 0, 0, 200);
    pid_t child = born_in(cg.run_fd);
    if (child == 0) {
        uint64_t end = cgroup_now_us() + 1000000;
        while (cgroup_now_us() < end)
            ;
        struct rusage use;
        getrusage(RUSAGE_SELF, &use);
        long ms = use.ru_utime.tv_sec * 1000 + use.ru_utime.tv_usec / 1000 +
                  use.ru_stime.tv_sec * 1000 + use.ru_stime.tv_usec / 1000;
        _exit(ms > 500 ? 1 : 0);
    }
    cr_expect_eq(end_of(child), 0, "a fifth of a CPU was asked for, more than half was had");
}

/* However busy the machine is: the test's own time limit is the end. */
static void wait_for_members(int dir, int at_least)
{
    for (;;) {
        char text[16384];
        int count = 0;
        if (io_read_at(dir, "cgroup.procs", text, sizeof text) > 0)
            for (char *p = text; *p; p++)
                count += *p == '\n' || !p[1];
        if (count >= at_least)
            return;
        cgroup_sleep_us(1000);
    }
}

static pid_t plant_tree(int count)
{
    pid_t child = born_in(cg.run_fd);
    if (child != 0)
        return child;
    for (int i = 0; i < count; i++)
        if (fork() == 0) {
            setsid();
            if (fork() > 0)
                _exit(0);
            signal(SIGTERM, SIG_IGN);
            pause();
            _exit(0);
        }
    pause();
    _exit(0);
}

SESSION_TEST(destroy_kills_a_tree_that_has_double_forked)
{
    limit(0, 0, 500, 0);
    pid_t child = plant_tree(50);
    wait_for_members(cg.run_fd, 51);
    OK(cgroup_session_destroy(&cg, 5000, &err));
    cr_expect_eq(end_of(child), 128 + SIGKILL);
    cr_expect_not(exists(host.v2));
}

SESSION_TEST(destroy_kills_what_is_frozen)
{
    pid_t child = plant_tree(5);
    wait_for_members(cg.run_fd, 6);
    cr_assert_eq(io_write_at(cg.run_fd, "cgroup.freeze", "1"), 0);
    cgroup_sleep_us(20000);
    OK(cgroup_session_destroy(&cg, 5000, &err));
    cr_expect_eq(end_of(child), 128 + SIGKILL);
}

SESSION_TEST(destroy_removes_nested_cgroups_and_may_be_repeated)
{
    cr_assert_eq(mkdirat(cg.run_fd, "e1", 0755), 0);
    cr_assert_eq(mkdirat(cg.run_fd, "e2", 0755), 0);
    cr_assert_eq(mkdirat(cg.run_fd, "e2/deeper", 0755), 0);
    cr_assert_eq(mkdirat(cg.s_fd, "other", 0755), 0);
    OK(cgroup_session_destroy(&cg, 1000, &err));
    OK(cgroup_session_destroy(&cg, 1000, &err));
    cgroup_session_fini(&cg);
    OK(cgroup_session_destroy(&cg, 1000, &err));
}

SESSION_TEST(destroy_names_what_remains_when_the_time_is_over)
{
    struct cgroup_session other = cg;
    if (host.layout != RUNTIME_CGROUP_HYBRID) {
        unmake(); /* a skip leaves without it */
        cr_skip_test("a member of a v1 directory that no v2 kill reaches exists in hybrid only");
    }
    pid_t child = fork();
    if (child == 0) {
        if (write(cg.v1_tasks[CGROUP_V1_PIDS], "0", 1) != 1)
            _exit(1);
        pause();
        _exit(0);
    }
    char tasks[64] = "";
    while (io_read_at(cg.v1_fd[CGROUP_V1_PIDS], "tasks", tasks, sizeof tasks) <= 0)
        cgroup_sleep_us(1000);
    cr_expect_lt(cgroup_session_destroy(&other, 20, &err), 0);
    cr_expect_not_null(strstr(err.subject, name), "%s", err.subject);
    kill(child, SIGKILL);
    end_of(child);
}

SESSION_TEST(a_leftover_is_destroyed_by_its_name)
{
    pid_t child = plant_tree(3);
    wait_for_members(cg.run_fd, 4);
    cgroup_session_fini(&cg);
    OK(cgroup_leftover_destroy(&host, name, 5000, &err));
    cr_expect_eq(end_of(child), 128 + SIGKILL);
    OK(cgroup_leftover_destroy(&host, name, 5000, &err));
    cr_expect_lt(cgroup_leftover_destroy(&host, "..", 1, &err), 0);
    cr_expect_lt(cgroup_leftover_destroy(&host, "", 1, &err), 0);
    cr_expect(access(host.v2, F_OK) == 0, "the base stays");
}

SESSION_TEST(a_name_is_used_once)
{
    struct cgroup_session second;
    cgroup_session_init(&second);
    cr_assert_eq(cgroup_session_create(&second, &host, name, &err), -EEXIST);
    cr_expect(exists(host.v2), "the first is untouched");
    struct stat st;
    cr_expect_eq(fstatat(cg.s_fd, "run", &st, 0), 0);
}

/* What init is: the delegated id, without any capability, in S/init. */
static void become_init(void)
{
    if (syscall(SYS_setgroups, 0, NULL) < 0 || setresgid(INIT_ID, INIT_ID, INIT_ID) < 0 ||
        setresuid(INIT_ID, INIT_ID, INIT_ID) < 0)
        _exit(98);
}

SESSION_TEST(init_makes_and_kills_exec_cgroups)
{
    limit(64 * MIB, 0, 50, 0);
    OK(cgroup_session_delegate(&cg, INIT_ID, INIT_ID, &err));
    int run = fcntl(cg.run_fd, F_DUPFD_CLOEXEC, 3), oom, pids;
    OK(cgroup_session_agent_fds(&cg, &oom, &pids, &err));
    pid_t child = born_in(cg.init_fd);
    if (child == 0) {
        become_init();
        for (int i = 1; i < 4; i++) {
            char exec[8];
            snprintf(exec, sizeof exec, "e%d", i);
            MUST(1, mkdirat(run, exec, 0755) == 0);
            int dir = openat(run, exec, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
            MUST(2, dir >= 0);
            pid_t command = born_in(dir);
            if (command == 0) {
                pause();
                _exit(0);
            }
            MUST(3, command > 0);
            MUST(4, io_write_at(dir, "cgroup.kill", "1") == 0);
            int status;
            MUST(5, waitpid(command, &status, 0) == command && WTERMSIG(status) == SIGKILL);
            MUST(6, cgroup_remove_tree(run, exec, cgroup_now_us() + 1000000) == 0);
            close(dir);
        }
        _exit(0);
    }
    cr_expect_eq(end_of(child), 0);
    close(run);
    close(oom);
    close(pids);
}

SESSION_TEST(a_hostile_init_can_neither_leave_its_limits_nor_change_them)
{
    limit(64 * MIB, 0, 50, 500);
    OK(cgroup_session_delegate(&cg, INIT_ID, INIT_ID, &err));
    int run = fcntl(cg.run_fd, F_DUPFD_CLOEXEC, 3), oom, pids;
    OK(cgroup_session_agent_fds(&cg, &oom, &pids, &err));
    bool unified = host.layout == RUNTIME_CGROUP_UNIFIED;
    pid_t child = born_in(cg.init_fd);
    if (child == 0) {
        become_init();
        int s = openat(run, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        MUST(1, s >= 0);
        MUST(3, mkdirat(s, "free", 0755) < 0 && errno == EACCES);
        MUST(4, !unified || io_write_at(run, "memory.max", "max") == -EACCES);
        MUST(5, !unified || io_write_at(run, "pids.max", "max") == -EACCES);
        MUST(6, !unified || io_write_at(run, "cpu.max", "max") == -EACCES);
        MUST(7, io_write_at(s, "cgroup.subtree_control", "-memory -pids") == -EACCES);
        MUST(8, io_write_at(s, "cgroup.kill", "1") == -EACCES);
        MUST(9, io_write_at(run, "cgroup.freeze", "1") == -EACCES);
        MUST(10, io_write_at(run, "cgroup.max.descendants", "max") == -EACCES);
        MUST(11, unlinkat(s, "init", AT_REMOVEDIR) < 0);
        MUST(12, io_write_at(s, "init/cgroup.procs", "0") == -EACCES);
        int i = 0;
        char exec[8];
        do
            snprintf(exec, sizeof exec, "e%d", i++);
        while (i < 10000 && mkdirat(run, exec, 0755) == 0);
        MUST(13, i < 5000 && errno == EAGAIN); /* a bounded number to remove */
        _exit(0);
    }
    cr_expect_eq(end_of(child), 0);
    close(run);
    close(oom);
    close(pids);
}

SESSION_TEST(a_helper_born_in_s_roots_the_cgroup_namespace_there)
{
    struct userns_extent map = {0, 1879048192, 65536};
    int userns, cgroupns;
    OK(userns_make(&map, 1, &map, 1, UINT32_MAX, cg.s_fd, &userns, &cgroupns, &err));
    limit(0, 0, 50, 0); /* the helper is gone: controllers can be enabled */
    pid_t child = born_in(cg.run_fd);
    if (child == 0) {
        char text[4096];
        MUST(1, setns(cgroupns, CLONE_NEWCGROUP) == 0);
        MUST(2, io_read_at(AT_FDCWD, "/proc/self/cgroup", text, sizeof text) > 0);
        char *own = strstr(text, "0::");
        MUST(3, own && strcmp(own, "0::/run") == 0);
        _exit(0);
    }
    cr_expect_eq(end_of(child), 0);
    close(userns);
    close(cgroupns);
}

SESSION_TEST(the_selftest_tells_what_a_clone_does)
{
    OK(cgroup_host_selftest(&host, &err));
    cr_expect(host.clone_into);
    /* In a cgroup that was once killed newborns die on 6.18 and live on 6.1: the test must say
     * which, by trying, and the way by write must work on both. */
    cr_assert_eq(io_write_at(cg.run_fd, "cgroup.kill", "1"), 0);
    pid_t child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        MUST(1, io_write_at(cg.run_fd, "cgroup.procs", "0") == 0);
        MUST(2, cgroup_host_selftest(&host, &err) == 0);
        MUST(3, mkdirat(cg.s_fd, "fresh", 0755) == 0);
        int fresh = openat(cg.s_fd, "fresh", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        pid_t newborn = born_in(fresh);
        if (newborn == 0)
            _exit(0);
        int status;
        MUST(4, newborn > 0 && waitpid(newborn, &status, 0) == newborn);
        _exit(host.clone_into == WIFEXITED(status) ? 0 : 5);
    }
    cr_expect_eq(end_of(child), 0);
}

SESSION_TEST(vacating_is_true_only_when_init_alone_is_left)
{
    pid_t init = born_in(cg.init_fd);
    if (init == 0) {
        pause();
        _exit(0);
    }
    cr_expect(cgroup_session_vacate(&cg, init));
    cr_expect_not(exists(host.v1[CGROUP_V1_PIDS]) && host.v1[CGROUP_V1_PIDS][0]);
    kill(init, SIGKILL);
    end_of(init);
}

SESSION_TEST(vacating_takes_nothing_from_a_command_that_lives)
{
    limit(64 * MIB, 0, 50, 0);
    pid_t command = born_in(cg.run_fd);
    if (command == 0) {
        pause();
        _exit(0);
    }
    usleep(20000); /* until it has joined its limits */
    cr_expect_not(cgroup_session_vacate(&cg, 1));
    char text[64];
    cr_expect(io_read_at(cg.run_fd, "cgroup.procs", text, sizeof text) > 0);
    for (int i = 0; i < CGROUP_V1_COUNT; i++)
        cr_expect(!host.v1[i][0] || exists(host.v1[i]));
    kill(command, SIGKILL);
    end_of(command);
}

SESSION_TEST(vacating_sees_whoever_lives_beside_init)
{
    pid_t init = born_in(cg.init_fd);
    if (init == 0) {
        pause();
        _exit(0);
    }
    pid_t other = born_in(cg.init_fd);
    if (other == 0) {
        pause();
        _exit(0);
    }
    cr_expect_not(cgroup_session_vacate(&cg, init));
    kill(other, SIGKILL);
    end_of(other);
    kill(init, SIGKILL);
    end_of(init);
}

SESSION_TEST(destroying_an_empty_session_is_cheap)
{
    enum { ROUNDS = 20 };
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < ROUNDS; i++) {
        struct cgroup_session each;
        char its[96];
        snprintf(its, sizeof its, "test-%d-%d", getpid(), i);
        OK(cgroup_session_create(&each, &host, its, &err));
        OK(cgroup_session_complete(&each, &err));
        uint64_t start = cgroup_now_us();
        OK(cgroup_session_destroy(&each, 1000, &err));
        uint64_t took = cgroup_now_us() - start;
        best = took < best ? took : best;
        cgroup_session_fini(&each);
    }
    cr_expect_lt(best, 5000u, "%llu us", (unsigned long long)best);
}
