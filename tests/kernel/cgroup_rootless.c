/* This file proves what an ordinary user gets: a delegated cgroup where there is one, a scope where
 * a service manager gives one, and otherwise layout none with a reason. The service manager is a
 * program of the test's own that does what systemd does: it moves the process that it was told of
 * into a cgroup with the scope's name. */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"
#include "tests/kernel/child_harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct cgroup_host root_host;
static struct cgroup_mounts mounts;
static bool unified;
static char delegated[256], scratch[64];

static void make(void)
{
    struct err err;
    cr_assert_eq(cgroup_host_open(&root_host, false, &err), 0);
    unified = root_host.layout == RUNTIME_CGROUP_UNIFIED;
    int fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    cr_assert_eq(cgroup_mounts_scan(fd, &mounts), 0);
    close(fd);
    snprintf(delegated, sizeof delegated, "%.128s/test-user-%d", root_host.v2, getpid());
    cr_assert_eq(mkdir(delegated, 0755), 0);
    static const char *const files[] = {"", "cgroup.procs", "cgroup.subtree_control",
                                        "cgroup.threads"};
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", delegated, files[i]);
        cr_assert_eq(chown(path, USER, USER), 0);
    }
    snprintf(scratch, sizeof scratch, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(scratch));
    setenv("XDG_RUNTIME_DIR", "/nonexistent", 1);
}

static void no_manager_left(void)
{
    static const char *const files[] = {"bus", "manager"};
    for (size_t i = 0; i < ARRAY_LENGTH(files); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", scratch, files[i]);
        unlink(path);
    }
}

static void unmake(void)
{
    cr_assert_eq(cgroup_remove_tree(AT_FDCWD, delegated, cgroup_now_us() + 2000000), 0);
    no_manager_left();
    cr_assert_eq(rmdir(scratch), 0);
}

/* After a test that failed; what fails here would fail no test, so unmake() is in each. */
static void sweep(void)
{
    cgroup_remove_tree(AT_FDCWD, delegated, cgroup_now_us() + 2000000);
    no_manager_left();
    rmdir(scratch);
}

TestSuite(cgroup_rootless, .init = make, .fini = sweep);

#define USER_TEST(title)         \
    static void title(void);     \
    Test(cgroup_rootless, title) \
    {                            \
        title();                 \
        unmake();                \
    }                            \
    static void title(void)

static void be_user_in(const char *cgroup)
{
    char path[512];
    snprintf(path, sizeof path, "%s/cgroup.procs", cgroup);
    MUST(80, io_write_at(AT_FDCWD, path, "0") == 0);
    become_user();
}

static void session_lives_and_dies(const struct cgroup_host *host)
{
    struct cgroup_session cg;
    struct err err;
    MUST(20, cgroup_session_create(&cg, host, "test-s", &err) == 0 &&
                 cgroup_session_complete(&cg, &err) == 0);
    struct spec_limits limits = {.pids = 10, .memory_bytes = 32 << 20, .cpu_millis = 500}, has;
    uint64_t memory;
    MUST(21, cgroup_session_limit(&cg, &limits, &err) == 0);
    MUST(22, cgroup_session_read(&cg, &has, &memory, &err) == 0);
    MUST(23, has.pids == (host->limits & SPEC_LIMIT_PIDS ? 10 : 0));
    MUST(24, memory == (host->limits & SPEC_LIMIT_MEMORY ? 32u << 20 : 0));
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned)cg.run_fd};
    pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (child == 0) {
        pause();
        _exit(0);
    }
    MUST(25, child > 0);
    MUST(26, cgroup_session_destroy(&cg, 2000, &err) == 0);
    int status;
    MUST(27, waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
    cgroup_session_fini(&cg);
}

static void own_cgroup(void)
{
    be_user_in(delegated);
    struct cgroup_host host;
    MUST(1, cgroup_host_open(&host, true, NULL) == 0);
    MUST(2, host.layout == (unified ? RUNTIME_CGROUP_UNIFIED : RUNTIME_CGROUP_HYBRID));
    MUST(3, host.limits == (unified ? root_host.limits : 0));
    MUST(4, unified || strstr(host.reason, "cgroup v1"));
    MUST(5, strncmp(host.v2, delegated, strlen(delegated)) == 0);
    session_lives_and_dies(&host);
    /* A child of this process, or this process again, finds the same base. */
    struct cgroup_host again;
    MUST(6, cgroup_host_open(&again, true, NULL) == 0);
    MUST(7, strcmp(again.v2, host.v2) == 0 && again.limits == host.limits);
}

static int count_leaves(int dir)
{
    int count = 0;
    DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    cr_assert_not_null(d);
    for (struct dirent *e; (e = readdir(d));)
        count += strncmp(e->d_name, "berth-launch-", strlen("berth-launch-")) == 0;
    closedir(d);
    return count;
}

USER_TEST(a_delegated_cgroup_is_used)
{
    _cleanup_fd_ int dir = open(delegated, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    cr_assert_eq(in_child(own_cgroup), 0, "step %d", last);
    cr_expect_eq(count_leaves(dir), unified ? 1 : 0);
    /* Processes can live in it again when nothing below is limited. */
    cr_assert_eq(unlinkat(dir, "berth", AT_REMOVEDIR), 0);
    if (unified)
        cr_assert_eq(io_write_at(dir, "cgroup.subtree_control", "-memory -pids -cpu"), 0);
    cr_assert_eq(in_child(own_cgroup), 0, "step %d", last);
    cr_expect_eq(count_leaves(dir), unified ? 1 : 0, "the next sweeps what the last left");
}

static void beside_another(void)
{
    be_user_in(delegated);
    pid_t other = fork();
    if (other == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        pause();
        _exit(0);
    }
    struct cgroup_host host;
    int r = cgroup_host_open(&host, true, NULL);
    char own[512], text[4096];
    bool back = io_read_at(AT_FDCWD, "/proc/self/cgroup", text, sizeof text) > 0 &&
                cgroup_own_path(text, &mounts, own, sizeof own) == 0 && strcmp(own, delegated) == 0;
    kill(other, SIGKILL);
    waitpid(other, NULL, 0);
    MUST(1, r == 0);
    MUST(2, host.layout == (unified ? RUNTIME_CGROUP_NONE : RUNTIME_CGROUP_HYBRID));
    MUST(3, host.limits == 0 && host.reason[0]);
    MUST(4, !unified || strstr(host.reason, "no user bus at /nonexistent/bus"));
    MUST(5, back); /* where it was before */
}

USER_TEST(beside_another_process_there_is_no_limit_and_a_reason)
{
    cr_assert_eq(in_child(beside_another), 0, "step %d", last);
}

static void not_delegated(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/deny", delegated);
    MUST(60, mkdir(path, 0755) == 0); /* root's */
    be_user_in(path);
    struct cgroup_host host;
    MUST(1, cgroup_host_open(&host, true, NULL) == 0);
    MUST(2, host.layout == RUNTIME_CGROUP_NONE && host.limits == 0 && !host.clone_into);
    MUST(3, host.reason[0] && host.v2[0] == 0);
    struct cgroup_session cg;
    struct err err;
    struct spec_limits limits = {.pids = 5};
    int oom, pids;
    MUST(4, cgroup_session_create(&cg, &host, "test-s", &err) == 0 && cg.s_fd == -1);
    MUST(5, cgroup_session_limit(&cg, &limits, &err) == 0);
    MUST(6, cgroup_session_delegate(&cg, 1, 1, &err) == 0);
    MUST(7, cgroup_session_agent_fds(&cg, &oom, &pids, &err) == 0);
    MUST(8, oom == -1 && pids == -1);
    MUST(9, cgroup_session_destroy(&cg, 1, &err) == 0);
    cgroup_session_fini(&cg);
}

USER_TEST(without_delegation_the_layout_is_none_and_every_call_works)
{
    cr_assert_eq(in_child(not_delegated), 0, "step %d", last);
}

/* The scope of a berth that was killed together with its reaper; the next has one of its own. */
static void left_in_a_scope(void)
{
    be_user_in(delegated);
    struct cgroup_host host;
    MUST(1, cgroup_host_open(&host, true, NULL) == 0);
    MUST(2, strcmp(host.place, delegated) == 0);
    static const char *const below[] = {"", "/berth", "/berth/test-left", "/berth/test-left/run",
                                        "/berth/test-left/run/e1"};
    char scope[300], path[400];
    snprintf(scope, sizeof scope, "%s/berth-7-abc.scope", delegated);
    for (size_t i = 0; i < ARRAY_LENGTH(below); i++) {
        snprintf(path, sizeof path, "%s%s", scope, below[i]);
        MUST(3, mkdir(path, 0755) == 0);
    }
    struct err err;
    MUST(4, cgroup_leftover_destroy(&host, "test-other", 2000, &err) == 0);
    MUST(5, access(path, F_OK) == 0);
    MUST(6, cgroup_leftover_destroy(&host, "test-left", 2000, &err) == 0);
    MUST(7, access(scope, F_OK) < 0 && errno == ENOENT);
}

static void make_all(const char *scope, const char *const *below, size_t count)
{
    char path[400];
    for (size_t i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s%s", scope, below[i]);
        MUST(30, mkdir(path, 0755) == 0);
    }
}

/* The manager could remove nothing: a session of another scope's berth is in the base. */
static void left_with_a_leaf(void)
{
    static const char *const below[] = {"", "/berth-launch-7", "/berth", "/berth/test-a",
                                        "/berth/test-b"};
    be_user_in(delegated);
    struct cgroup_host host;
    struct err err;
    char scope[300], fresh[300], path[400];
    MUST(1, cgroup_host_open(&host, true, NULL) == 0);
    snprintf(scope, sizeof scope, "%s/berth-7-abc.scope", delegated);
    snprintf(fresh, sizeof fresh, "%s/berth-8-%llx.scope", delegated,
             (unsigned long long)cgroup_now_us() + 10000000);
    make_all(scope, below, ARRAY_LENGTH(below));
    make_all(fresh, below, 1);
    MUST(2, cgroup_leftover_destroy(&host, "test-a", 2000, &err) == 0);
    snprintf(path, sizeof path, "%s/berth/test-b", scope);
    MUST(3, access(path, F_OK) == 0);
    MUST(4, cgroup_leftover_destroy(&host, "test-b", 2000, &err) == 0);
    MUST(5, access(scope, F_OK) < 0 && errno == ENOENT);
    MUST(6, access(fresh, F_OK) == 0); /* its first process is on its way */
    /* Killed between the last two removals. */
    make_all(scope, below, 3);
    MUST(7, cgroup_host_open(&host, true, NULL) == 0);
    MUST(8, access(scope, F_OK) < 0 && errno == ENOENT);
    /* Killed before the last one of all: nobody can be on his way there any more. */
    make_all(scope, below, 1);
    MUST(10, cgroup_host_open(&host, true, NULL) == 0);
    MUST(11, access(scope, F_OK) < 0 && errno == ENOENT);
    make_all(scope, below, 1);
    MUST(12, cgroup_leftover_destroy(&host, "test-none", 2000, &err) == 0);
    MUST(13, access(scope, F_OK) < 0 && errno == ENOENT);
    MUST(9, access(fresh, F_OK) == 0 && rmdir(fresh) == 0);
}

USER_TEST(a_scope_that_its_manager_gave_up_is_removed_with_its_last_session)
{
    cr_assert_eq(in_child(left_with_a_leaf), 0, "step %d", last);
}

USER_TEST(what_a_killed_berth_left_in_its_scope_is_removed_by_the_next)
{
    cr_assert_eq(in_child(left_in_a_scope), 0, "step %d", last);
}

static void be_manager(char *program, size_t size, const char *body)
{
    snprintf(program, size, "%s/manager", scratch);
    FILE *f = fopen(program, "we");
    MUST(70, f && fprintf(f, "#!/bin/sh\n%s\n", body) > 0 && fclose(f) == 0);
    MUST(71, chmod(program, 0755) == 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s/bus", scratch);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(72, bind(fd, (struct sockaddr *)&at, sizeof at) == 0);
    close(fd);
}

/* Its words: --user --quiet call S O I M SIGNATURE NAME fail 4 PIDs au 1 PID ... */
static void asks_for_scope(void)
{
    char program[128], body[1024], why[160] = "", text[4096];
    snprintf(body, sizeof body,
             "[ \"$1 $3 $7\" = '--user call StartTransientUnit' ] || exit 3\n"
             "[ \"$XDG_RUNTIME_DIR\" = '%s' ] && [ -z \"$HOME\" ] || exit 4\n"
             "case \"$*\" in *'Delegate b true'*) ;; *) exit 5;; esac\n"
             "shift 8; mkdir '%s'/$1 && echo $7 > '%s'/$1/cgroup.procs",
             scratch, delegated, delegated);
    be_manager(program, sizeof program, body);
    setenv("HOME", "/secret", 1);
    int r = cgroup_scope_ask(program, scratch, 2000, why, sizeof why);
    if (r < 0)
        fprintf(stderr, "%s\n", why);
    MUST(1, r == 0);
    MUST(2, io_read_at(AT_FDCWD, "/proc/self/cgroup", text, sizeof text) > 0);
    MUST(3, strstr(text, ".scope"));
}

USER_TEST(a_scope_holds_this_process_when_the_manager_gave_it)
{
    cr_assert_eq(in_child(asks_for_scope), 0, "step %d", last);
}

static void manager_refuses(void)
{
    char program[128], why[160] = "";
    be_manager(program, sizeof program, "exit 1");
    MUST(1, cgroup_scope_ask(program, scratch, 2000, why, sizeof why) == -ECANCELED);
    MUST(2, strstr(why, "refused"));
}

static void manager_hangs(void)
{
    char program[128], why[160] = "";
    be_manager(program, sizeof program, "exec sleep 100");
    uint64_t start = cgroup_now_us();
    MUST(1, cgroup_scope_ask(program, scratch, 200, why, sizeof why) == -ETIMEDOUT);
    MUST(2, cgroup_now_us() - start < 1000000);
    MUST(3, waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD);
}

static void manager_forgets(void)
{
    char program[128], why[160] = "";
    be_manager(program, sizeof program, "exit 0");
    MUST(1, cgroup_scope_ask(program, scratch, 200, why, sizeof why) == -ETIMEDOUT);
}

static void no_manager(void)
{
    char why[160] = "";
    MUST(1, cgroup_scope_ask("/bin/true", scratch, 200, why, sizeof why) == -ENOENT);
    MUST(2, strstr(why, "no user bus at"));
    char program[128];
    be_manager(program, sizeof program, "exit 0");
    MUST(3, cgroup_scope_ask("/nonexistent", scratch, 200, why, sizeof why) == -ENOENT);
    MUST(4, strstr(why, "/nonexistent is not installed"));
}

USER_TEST(a_manager_that_refuses_hangs_or_forgets_is_waited_for_no_longer)
{
    cr_expect_eq(in_child(no_manager), 0, "step %d", last);
    no_manager_left();
    cr_expect_eq(in_child(manager_refuses), 0, "step %d", last);
    no_manager_left();
    cr_expect_eq(in_child(manager_hangs), 0, "step %d", last);
    no_manager_left();
    cr_expect_eq(in_child(manager_forgets), 0, "step %d", last);
}
