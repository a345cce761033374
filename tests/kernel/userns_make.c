/* This file proves on the real kernel, as root and as a user, that userns_make() makes what it says
 * and leaves its caller as it was. It leaves nothing behind. */
#include "runtime/host/userns_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "tests/kernel/child_harness.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BASE = 1879048192 };

static int open_files(void)
{
    int count = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void several_extents(void)
{
    struct userns_extent uids[] = {
        {0, BASE + 1, 1000}, {1000, BASE, 1}, {1001, BASE + 1001, 64535}};
    struct userns_extent gids[] = {{0, BASE, 65536}};
    int userns, cgroupns = 7;
    MUST(1, userns_make(uids, 3, gids, 1, UINT32_MAX, -1, &userns, &cgroupns, NULL) == 0);
    MUST(2, cgroupns == -1);
    MUST(3, fcntl(userns, F_GETFD) == FD_CLOEXEC);
    MUST(4, setns(userns, CLONE_NEWUSER) == 0);
    MUST(5, map_is("/proc/self/uid_map", "0 1879048193 1000,1000 1879048192 1,1001 1879049193 "
                                         "64535"));
    MUST(6, map_is("/proc/self/gid_map", "0 1879048192 65536"));
    char text[16];
    MUST(7, io_read_at(AT_FDCWD, "/proc/self/setgroups", text, sizeof text) > 0);
    MUST(8, strcmp(text, "allow") == 0);
}

Test(userns_make, maps_of_several_extents_are_as_asked)
{
    cr_assert_eq(in_child(several_extents), 0, "step %d", last);
}

static void leaves_no_trace(uint32_t owner)
{
    struct userns_extent map = {0, BASE, 65536};
    sigset_t before, after;
    sigprocmask(SIG_SETMASK, NULL, &before);
    int files = open_files(), bits = prctl(PR_GET_SECUREBITS);
    for (int i = 0; i < 100; i++) {
        int userns = -1;
        MUST(1, userns_make(&map, 1, &map, 1, owner, -1, &userns, NULL, NULL) == 0);
        uid_t its = 1;
        MUST(2, ioctl(userns, NS_GET_OWNER_UID, &its) == 0);
        MUST(3, its == (owner == UINT32_MAX ? 0 : owner));
        close(userns);
    }
    uid_t r, e, s;
    MUST(4, getresuid(&r, &e, &s) == 0 && r == 0 && e == 0 && s == 0);
    MUST(5, prctl(PR_GET_SECUREBITS) == bits);
    MUST(6, prctl(PR_GET_DUMPABLE) == 1);
    MUST(7, open_files() == files);
    sigprocmask(SIG_SETMASK, NULL, &after);
    for (int i = 1; i < SIGRTMAX; i++)
        MUST(8, sigismember(&before, i) == sigismember(&after, i));
    MUST(9, waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}

static void by_root(void)
{
    leaves_no_trace(UINT32_MAX);
}

static void by_the_range(void)
{
    leaves_no_trace(BASE);
}

Test(userns_make, the_caller_is_as_before)
{
    cr_assert_eq(in_child(by_root), 0, "step %d", last);
}

Test(userns_make, the_owner_is_as_asked_and_the_caller_is_as_before)
{
    cr_assert_eq(in_child(by_the_range), 0, "step %d", last);
}

static void refused(void)
{
    struct err err = {0};
    int userns = -1, files = open_files();
    struct userns_extent map = {0, BASE, 10}, overlapping[] = {{0, BASE, 10}, {5, BASE + 10, 10}};
    MUST(1, userns_make(overlapping, 2, &map, 1, UINT32_MAX, -1, &userns, NULL, &err) == -EINVAL);
    MUST(2, strcmp(err.subject, "uid_map") == 0 && strstr(err.detail, "0 1879048192 10,5"));
    MUST(3, userns_make(&map, 1, overlapping, 2, UINT32_MAX, -1, &userns, NULL, &err) == -EINVAL);
    MUST(4, userns_make(&map, 0, &map, 1, UINT32_MAX, -1, &userns, NULL, &err) == -EINVAL);
    MUST(5, userns_make(&map, 6, &map, 1, UINT32_MAX, -1, &userns, NULL, &err) == -EINVAL);
    MUST(6, userns_make(&map, 1, &map, 1, UINT32_MAX, 0, &userns, NULL, &err) == -EBADF);
    MUST(7, userns == -1 && open_files() == files);
    MUST(8, waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}

Test(userns_make, what_is_refused_leaves_nothing)
{
    cr_assert_eq(in_child(refused), 0, "step %d", last);
}

/* With no right to change uids the owner cannot be another: it must be said, not left out. */
static void owner_without_the_right(void)
{
    MUST(1, setresuid(USER, USER, USER) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    struct userns_extent map = {0, USER, 1};
    struct err err = {0};
    int userns = -1;
    MUST(2, userns_make(&map, 1, &map, 1, BASE, -1, &userns, NULL, &err) == -EPERM);
    MUST(3, err.step[0] && userns == -1);
}

Test(userns_make, an_owner_that_cannot_be_is_an_error)
{
    cr_assert_eq(in_child(owner_without_the_right), 0, "step %d", last);
}

static void as_user(void)
{
    become_user();
    struct userns_extent map = {0, USER, 1};
    int userns;
    MUST(3, userns_make(&map, 1, &map, 1, UINT32_MAX, -1, &userns, NULL, NULL) == 0);
    MUST(4, setns(userns, CLONE_NEWUSER) == 0 && getuid() == 0 && getgid() == 0);
    MUST(5, syscall(SYS_setgroups, 0, NULL) < 0 && errno == EPERM);
}

Test(userns_make, a_user_without_setgid_gets_setgroups_denied)
{
    cr_assert_eq(in_child(as_user), 0, "step %d", last);
}

static int signals, strangers;
static pid_t myself;

static void count(int signal_number)
{
    (void)signal_number;
    signals++;
    strangers += syscall(SYS_gettid) != myself;
}

/* A handler that ran in the helper would write to this very memory. */
static void under_signals(void)
{
    myself = getpid();
    struct sigaction counting = {.sa_handler = count, .sa_flags = SA_RESTART};
    MUST(8, sigaction(SIGUSR1, &counting, NULL) == 0);
    pid_t storm = fork();
    if (storm == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct sigaction deaf = {.sa_handler = SIG_IGN};
        sigaction(SIGUSR1, &deaf, NULL);
        for (;;)
            kill(0, SIGUSR1);
    }
    MUST(1, storm > 0);
    struct userns_extent map = {0, BASE, 65536};
    int failed = 0;
    for (int i = 0; i < 200; i++) {
        int userns = -1;
        if (userns_make(&map, 1, &map, 1, i % 2 ? BASE : UINT32_MAX, -1, &userns, NULL, NULL) < 0)
            failed++;
        fd_close(userns);
    }
    kill(storm, SIGKILL);
    while (waitpid(storm, NULL, 0) < 0 && errno == EINTR)
        ;
    MUST(2, failed == 0);
    MUST(3, signals > 0);
    MUST(4, strangers == 0);
}

static void own_group(void)
{
    MUST(9, setpgid(0, 0) == 0);
    under_signals();
}

Test(userns_make, signals_to_the_whole_group_do_no_harm)
{
    cr_assert_eq(in_child(own_group), 0, "step %d", last);
}

/* The helper holds nothing but its end of a socket, so it ends with its caller. */
static void dies_in_the_middle(void)
{
    static struct userns_helper helper;
    MUST(1, userns_helper_begin(&helper, CLONE_NEWUSER, UINT32_MAX, -1, false, NULL) == 0 &&
                userns_helper_wait(&helper, NULL) == 0);
    FILE *f = fopen("/tmp/berth-test-helper", "we");
    MUST(2, f && fprintf(f, "%d", helper.pid) > 0 && fclose(f) == 0);
    kill(getpid(), SIGKILL);
}

Test(userns_make, a_helper_ends_with_its_caller)
{
    cr_assert_eq(in_child(dies_in_the_middle), 128 + SIGKILL, "step %d", last);
    char text[16];
    cr_assert_gt(io_read_at(AT_FDCWD, "/tmp/berth-test-helper", text, sizeof text), 0);
    unlink("/tmp/berth-test-helper");
    char path[32];
    snprintf(path, sizeof path, "/proc/%s/status", text);
    for (int tries = 0; tries < 1000; tries++) {
        char status[4096];
        if (io_read_at(AT_FDCWD, path, status, sizeof status) < 0 || strstr(status, "State:\tZ"))
            return;
        usleep(1000);
    }
    cr_assert_fail("helper %s still runs", text);
}
