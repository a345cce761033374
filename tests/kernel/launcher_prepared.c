/* This file tests the workers that the launcher keeps prepared, with sessions that are real: each
 * is used once, and whoever is killed leaves nothing (docs/adr/0017).
 */
#include "tests/kernel/launcher_fixture.h"

#include "runtime/host/launcher_internal.h"

#include <dirent.h>
#include <sched.h>
#include <sys/mount.h>

static char init_program[4096];

static void setup(void)
{
    fixture();
    /* What others mount meanwhile is not this launcher's business. */
    cr_assert_eq(unshare(CLONE_NEWNS), 0);
    cr_assert_eq(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    ssize_t n = readlink("/proc/self/exe", init_program, sizeof init_program - 32);
    cr_assert_gt(n, 0);
    init_program[n] = 0;
    for (int i = 0; i < 3; i++) /* BUILD/tests/kernel/NAME -> BUILD */
        *strrchr(init_program, '/') = 0;
    strcat(init_program, "/bin/berth-init");
    init_path = init_program;
}

TestSuite(launcher_prepared, .init = setup, .fini = fixture_end, .timeout = 120);

static struct launcher_reply reply;

static struct session_identity launch_row(int64_t row)
{
    struct launcher_request r = request_of(LAUNCHER_LAUNCH, row);
    r.epoch = 1;
    r.deadline_ms = 30000;
    int fd = sealed(plain_spec(), sizeof(struct spec), ALL_SEALS);
    ask(&r, &fd, 1);
    close(fd);
    cr_assert_eq(hear(&reply, 30000), 1);
    cr_assert_eq(reply.type, LAUNCHER_LAUNCH);
    cr_assert_eq(reply.result, 0, "%s: %s: %s", reply.err.step, reply.err.subject,
                 reply.err.detail);
    return reply.identity;
}

static void end(int64_t row)
{
    struct launcher_request r = request_of(LAUNCHER_END, row);
    ask(&r, NULL, 0);
    cr_assert_eq(hear(&reply, 30000), 1);
    cr_assert_eq(reply.result, 0, "%s: %s", reply.err.step, reply.err.detail);
}

/* A child of the launcher that holds a mount namespace and a range of ids. */
struct ready {
    pid_t pid;
    unsigned slot;
    long long mounts;
};

static bool is_prepared(pid_t pid, struct ready *ret)
{
    char path[64], target[256];
    *ret = (struct ready){.pid = pid, .slot = UINT32_MAX};
    for (int fd = 0; fd < 64; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        const char *slot = strstr(target, "/slots/");
        if (slot)
            ret->slot = (unsigned)atoi(slot + 7);
        sscanf(target, "mnt:[%lld]", &ret->mounts);
    }
    /* It waits for its order: it has said that it is ready. */
    char call[64] = "";
    snprintf(path, sizeof path, "/proc/%d/syscall", pid);
    io_read_at(AT_FDCWD, path, call, sizeof call);
    return ret->mounts && ret->slot != UINT32_MAX && atoi(call) == SYS_poll;
}

static unsigned prepared(struct ready ret[LAUNCHER_PREPARED])
{
    char path[64], children[4096] = "", *at = children;
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", launcher, launcher);
    io_read_at(AT_FDCWD, path, children, sizeof children);
    for (long pid; (pid = strtol(at, &at, 10)) > 0 && count < LAUNCHER_PREPARED;)
        count += is_prepared((pid_t)pid, &ret[count]);
    return count;
}

static void await_prepared(struct ready ret[LAUNCHER_PREPARED])
{
    for (unsigned i = 0; i < 4000 && prepared(ret) < LAUNCHER_PREPARED; i++)
        nap(5);
    cr_assert_eq(prepared(ret), LAUNCHER_PREPARED, "none was prepared");
}

static unsigned slot_of(const struct session_identity *id)
{
    return (unsigned)(id->uid_base - 1879048192) / 65536;
}

static bool is_one_of(unsigned slot, const struct ready ready[LAUNCHER_PREPARED])
{
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
        if (ready[i].slot == slot)
            return true;
    return false;
}

/* Its namespace is a descriptor and nothing more. To be asked while it is there: its number is
 * given to another one afterwards. */
static void assert_empty(const struct ready *ready)
{
    DIR *proc = opendir("/proc");
    cr_assert_not_null(proc);
    for (const struct dirent *e; (e = readdir(proc));) {
        char path[64], target[64];
        long long mounts = 0;
        snprintf(path, sizeof path, "/proc/%.20s/ns/mnt", e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        if (sscanf(target, "mnt:[%lld]", &mounts) == 1)
            cr_expect_neq(mounts, ready->mounts, "process %s is in it", e->d_name);
    }
    closedir(proc);
}

/* Ended, and with it what it held: nobody else has a descriptor of it. */
static void assert_gone(const struct ready *ready)
{
    char exe[64], target[64];
    snprintf(exe, sizeof exe, "/proc/%d/exe", ready->pid);
    for (unsigned i = 0; i < 4000 && readlink(exe, target, sizeof target) > 0; i++)
        nap(5);
    cr_expect_lt(readlink(exe, target, sizeof target), 0, "process %d goes on", ready->pid);
}

/* What a launcher that is gone had comes to this process, and ends. */
static void assert_no_children(void)
{
    for (unsigned i = 0; i < 4000; i++) {
        pid_t pid = waitpid(-1, NULL, WNOHANG);
        if (pid < 0 && errno == ECHILD)
            return;
        if (pid == 0)
            nap(5);
    }
    cr_assert_fail("what the launcher started goes on");
}

Test(launcher_prepared, each_serves_one_session_and_another_takes_its_place)
{
    enum { SESSIONS = 6 };
    struct ready ready[LAUNCHER_PREPARED];
    unsigned slots[SESSIONS];
    start_launcher(NULL, NULL);
    for (int64_t row = 1; row <= SESSIONS; row++) {
        await_prepared(ready);
        struct session_identity who = launch_row(row);
        unsigned slot = slots[row - 1] = slot_of(&who);
        cr_expect(is_one_of(slot, ready), "session %d was made without", (int)row);
        for (int64_t k = 1; k < row; k++)
            cr_expect_neq(slots[k - 1], slot, "two sessions share a range");
        await_prepared(ready);
        cr_expect_not(is_one_of(slot, ready), "it is kept for another one");
    }
    for (int64_t row = 1; row <= SESSIONS; row++)
        end(row);
    stop_launcher();
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
        assert_gone(&ready[i]);
    assert_no_children();
}

static void cgroup_of(pid_t pid, char ret[4096])
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/cgroup", pid);
    ret[0] = 0;
    cr_assert_gt(io_read_at(AT_FDCWD, path, ret, 4096), 0);
}

Test(launcher_prepared, what_is_prepared_is_charged_to_berth_and_a_session_to_itself)
{
    struct ready ready[LAUNCHER_PREPARED];
    char own[4096], its[4096], wanted[64];
    start_launcher(NULL, NULL);
    await_prepared(ready);
    cgroup_of(launcher, own);
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++) {
        assert_empty(&ready[i]);
        cgroup_of(ready[i].pid, its);
        cr_expect_str_eq(its, own);
    }
    struct session_identity who = launch_row(1);
    cr_expect(is_one_of(slot_of(&who), ready));
    cgroup_of((pid_t)who.init_pid, its);
    snprintf(wanted, sizeof wanted, "/berth/run-%s-1-1/init", instance);
    cr_expect_not_null(strstr(its, wanted), "%s", its);
    end(1);
    stop_launcher();
}

Test(launcher_prepared, more_are_asked_for_than_are_ready_and_each_comes)
{
    enum { SESSIONS = 12 };
    struct ready ready[LAUNCHER_PREPARED];
    start_launcher(NULL, NULL);
    await_prepared(ready);
    for (int64_t row = 1; row <= SESSIONS; row++) {
        struct launcher_request r = request_of(LAUNCHER_LAUNCH, row);
        r.deadline_ms = 60000;
        int fd = sealed(plain_spec(), sizeof(struct spec), ALL_SEALS);
        ask(&r, &fd, 1);
        close(fd);
    }
    unsigned used = 0;
    for (int64_t row = 1; row <= SESSIONS; row++) {
        cr_assert_eq(hear(&reply, 60000), 1);
        cr_assert_eq(reply.result, 0, "%s: %s", reply.err.step, reply.err.detail);
        used += is_one_of(slot_of(&reply.identity), ready);
    }
    cr_expect_eq(used, LAUNCHER_PREPARED);
    for (int64_t row = 1; row <= SESSIONS; row++)
        end(row);
    stop_launcher();
}

Test(launcher_prepared, a_launcher_that_is_killed_leaves_none)
{
    struct ready ready[LAUNCHER_PREPARED];
    for (unsigned round = 0; round < 3; round++) {
        start_launcher(NULL, NULL);
        await_prepared(ready);
        kill(launcher, SIGKILL);
        cr_assert_eq(wait_launcher(5000), 128 + SIGKILL);
        for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
            assert_gone(&ready[i]);
        assert_no_children();
        fd_replace(&front, -1);
        fd_replace(&life, -1);
    }
}

Test(launcher_prepared, a_launcher_that_is_killed_while_it_prepares_leaves_none)
{
    for (unsigned ms = 0; ms < 24; ms += 2) {
        start_launcher(NULL, NULL);
        nap(ms);
        kill(launcher, SIGKILL);
        cr_assert_eq(wait_launcher(5000), 128 + SIGKILL);
        fd_replace(&front, -1);
        fd_replace(&life, -1);
        assert_no_children();
    }
}

Test(launcher_prepared, one_that_is_killed_is_missed_by_nobody)
{
    struct ready ready[LAUNCHER_PREPARED];
    start_launcher(NULL, NULL);
    await_prepared(ready);
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
        kill(ready[i].pid, SIGKILL);
    for (unsigned i = 0; i < LAUNCHER_PREPARED; i++)
        assert_gone(&ready[i]);
    launch_row(1);
    end(1);
    stop_launcher();
}
