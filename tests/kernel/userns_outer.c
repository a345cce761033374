/* This file proves on the real kernel how an ordinary user's process enters its outer namespace,
 * with and without subordinate ids, and what it says when it cannot. The host's /etc is never
 * written: each test binds files of its own over it, in a mount namespace of its own. */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/userns_internal.h"
#include "tests/kernel/child_harness.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void cover(const char *path, const char *text)
{
    static int number;
    char own[64];
    snprintf(own, sizeof own, "/mnt/%d", number++);
    FILE *f = fopen(own, "we");
    MUST(90, f && fputs(text, f) >= 0 && fclose(f) == 0);
    MUST(91, mount(own, path, NULL, MS_BIND, NULL) == 0);
}

/* A host with these files, and this process an ordinary user of it. */
static void be_user(const char *subuid, const char *subgid)
{
    MUST(80, unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    MUST(81, mount("t", "/mnt", "tmpfs", 0, "mode=755") == 0);
    cover("/etc/passwd", "root:x:0:0::/:/bin/sh\ntester:x:54321:54321::/:/bin/sh\n");
    cover("/etc/subuid", subuid);
    cover("/etc/subgid", subgid);
}

static void full_range(void)
{
    be_user("tester:300000:65536\n", "54321:400000:70000\n");
    become_user();
    struct userns_outer outer;
    MUST(1, userns_enter_outer(&outer, NULL) == 0);
    MUST(2, !outer.single_uid && outer.count == 65536 && !outer.reason[0]);
    MUST(3, map_is("/proc/self/uid_map", "0 54321 1,1 300000 65535"));
    MUST(4, map_is("/proc/self/gid_map", "0 54321 1,1 400000 65535"));
    MUST(5, getuid() == 0 && geteuid() == 0 && getgid() == 0);
    MUST(6, waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
    MUST(7, unshare(CLONE_NEWNS) == 0);
    /* And the session's own namespace in it, owned by one of the ids. */
    struct userns_extent map[] = {{0, 1, 1000}, {1000, 0, 1}, {1001, 1001, 64535}};
    int userns = -1;
    MUST(8, userns_make(map, 3, map, 3, UINT32_MAX, -1, &userns, NULL, NULL) == 0);
    close(userns);
    MUST(9, userns_make(map, 3, map, 3, 1, -1, &userns, NULL, NULL) == 0);
    close(userns);
}

Test(userns_outer, subordinate_ids_follow_the_callers_own)
{
    cr_assert_eq(in_child(full_range), 0, "step %d", last);
}

static void joined_ranges(void)
{
    be_user("tester:300000:30000\nother:1:65536\ntester:500000:40000\n", "tester:300000:65536\n");
    become_user();
    struct userns_outer outer;
    MUST(1, userns_enter_outer(&outer, NULL) == 0);
    MUST(2, !outer.single_uid && outer.count == 65536);
    MUST(3, map_is("/proc/self/uid_map", "0 54321 1,1 300000 30000,30001 500000 35535"));
}

Test(userns_outer, several_ranges_are_joined)
{
    cr_assert_eq(in_child(joined_ranges), 0, "step %d", last);
}

static void must_be_single(const char *word)
{
    struct userns_outer outer;
    struct err err;
    MUST(1, userns_enter_outer(&outer, &err) == 0);
    MUST(2, outer.single_uid && outer.count == 1);
    if (!strstr(outer.reason, word)) {
        fprintf(stderr, "reason: %s\n", outer.reason);
        _exit(3);
    }
    MUST(4, getuid() == 0 && getgid() == 0);
    MUST(5, map_is("/proc/self/uid_map", "0 54321 1"));
    MUST(6, map_is("/proc/self/gid_map", "0 54321 1"));
    MUST(7, waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
    struct userns_extent map = {0, 0, 1};
    int userns = -1;
    MUST(8, userns_make(&map, 1, &map, 1, UINT32_MAX, -1, &userns, NULL, NULL) == 0);
    close(userns);
}

static void no_line(void)
{
    be_user("other:300000:65536\n", "tester:300000:65536\n");
    become_user();
    must_be_single("/etc/subuid grants 0 of the 65535 ids needed: usermod --add-subuids");
}

Test(userns_outer, without_a_line_the_own_id_is_mapped_alone)
{
    cr_assert_eq(in_child(no_line), 0, "step %d", last);
}

static void small_range(void)
{
    be_user("tester:300000:65536\n", "tester:300000:1000\n");
    become_user();
    must_be_single("/etc/subgid grants 1000 of the 65535");
}

Test(userns_outer, a_range_too_small_is_named)
{
    cr_assert_eq(in_child(small_range), 0, "step %d", last);
}

static void not_installed(void)
{
    be_user("tester:300000:65536\n", "tester:300000:65536\n");
    MUST(60, mount("/dev/null", "/usr/bin/newgidmap", NULL, MS_BIND, NULL) == 0);
    become_user();
    must_be_single("newgidmap is not installed");
}

Test(userns_outer, a_missing_tool_is_named)
{
    cr_assert_eq(in_child(not_installed), 0, "step %d", last);
}

/* The mount is nosuid: the tool runs and is refused, which is its own message to give. */
static void not_setuid(void)
{
    be_user("tester:300000:65536\n", "tester:300000:65536\n");
    MUST(60, mount("/usr/bin", "/usr/bin", NULL, MS_BIND, NULL) == 0);
    MUST(61, mount(NULL, "/usr/bin", NULL, MS_BIND | MS_REMOUNT | MS_NOSUID, NULL) == 0);
    become_user();
    must_be_single("newuidmap failed: newuidmap:");
}

Test(userns_outer, what_newuidmap_says_is_passed_on)
{
    cr_assert_eq(in_child(not_setuid), 0, "step %d", last);
}

static void only_gids_fail(void)
{
    be_user("tester:300000:65536\n", "tester:300000:65536\n");
    MUST(60, mount("/usr/bin/false", "/usr/bin/newgidmap", NULL, MS_BIND, NULL) == 0);
    become_user();
    struct userns_outer outer;
    MUST(1, userns_enter_outer(&outer, NULL) == 0);
    MUST(2, outer.single_uid && outer.count == 1 && strstr(outer.reason, "newgidmap failed"));
    MUST(3, map_is("/proc/self/gid_map", "0 54321 1"));
}

Test(userns_outer, a_half_made_range_counts_as_one_id)
{
    cr_assert_eq(in_child(only_gids_fail), 0, "step %d", last);
}

static void must_be_refused(int sys, const char *word)
{
    struct userns_outer outer;
    struct err err = {0};
    int r = userns_enter_outer(&outer, &err);
    if (r != -sys || !strstr(err.detail, word)) {
        fprintf(stderr, "%d: %s\n", r, err.detail);
        _exit(1);
    }
    MUST(2, waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}

/* The number is a namespace's own, so a namespace around the test can be set to 0. */
static void none_allowed(void)
{
    struct userns_extent map = {0, 0, 65536};
    int userns = -1;
    MUST(60, userns_make(&map, 1, &map, 1, UINT32_MAX, -1, &userns, NULL, NULL) == 0);
    MUST(61, setns(userns, CLONE_NEWUSER) == 0);
    MUST(62, io_write_at(AT_FDCWD, "/proc/sys/user/max_user_namespaces", "0") == 0);
    must_be_refused(ENOSPC, "user.max_user_namespaces is 0");
}

Test(userns_outer, a_sysctl_of_zero_is_named)
{
    cr_assert_eq(in_child(none_allowed), 0, "step %d", last);
}

static void in_chroot(void)
{
    MUST(60, unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    MUST(61, mount("t", "/mnt", "tmpfs", 0, "mode=755") == 0);
    MUST(62, mkdir("/mnt/tree", 0755) == 0 && mkdir("/mnt/tree/proc", 0755) == 0);
    MUST(63, mount("/proc", "/mnt/tree/proc", NULL, MS_BIND | MS_REC, NULL) == 0);
    MUST(64, chroot("/mnt/tree") == 0 && chdir("/") == 0);
    become_user();
    must_be_refused(EPERM, "in a chroot");
}

Test(userns_outer, a_chroot_is_named)
{
    cr_assert_eq(in_child(in_chroot), 0, "step %d", last);
}

/* ---- one that is there already ----------------------------------------------------------------
 */

static ino_t own_namespace(void)
{
    struct stat st;
    MUST(70, stat("/proc/self/ns/user", &st) == 0);
    return st.st_ino;
}

/* Its descriptor is all that is left of who made it. */
static int made_before(void)
{
    /* It has this process's table of descriptors. */
    pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        struct userns_outer outer;
        int fd = userns_enter_outer(&outer, NULL) == 0 ? open("/proc/self/ns/user", O_RDONLY) : -1;
        _exit(fd < 0 ? 255 : fd);
    }
    int status;
    MUST(71, child > 0 && waitpid(child, &status, 0) == child);
    MUST(72, WIFEXITED(status) && WEXITSTATUS(status) != 255);
    return WEXITSTATUS(status);
}

static void joined(void)
{
    be_user("tester:300000:65536\n", "54321:400000:70000\n");
    become_user();
    struct userns_outer outer;
    struct stat st;
    int before = made_before();
    MUST(1, fstat(before, &st) == 0 && own_namespace() != st.st_ino);
    MUST(2, userns_join_outer(before, &outer, NULL) == 0);
    MUST(3, own_namespace() == st.st_ino);
    MUST(4, !outer.single_uid && outer.count == 65536 && !outer.reason[0]);
    MUST(5, map_is("/proc/self/uid_map", "0 54321 1,1 300000 65535"));
    MUST(6, getuid() == 0 && geteuid() == 0 && getgid() == 0);
    MUST(7, unshare(CLONE_NEWNS) == 0);
}

Test(userns_outer, one_whose_maker_has_ended_is_joined)
{
    cr_assert_eq(in_child(joined), 0, "step %d", last);
}

static void not_joined(int userns, int sys)
{
    struct userns_outer outer = {.count = 4242};
    struct err err = {0};
    ino_t before = own_namespace();
    int r = userns_join_outer(userns, &outer, &err);
    if (r != -sys) {
        fprintf(stderr, "%d: %s\n", r, err.detail);
        _exit(1);
    }
    MUST(2, strcmp(err.step, "enter the user namespace of before") == 0);
    MUST(3, outer.count == 4242 && own_namespace() == before);
    MUST(4, getuid() == USER && geteuid() == USER && getgid() == USER);
    MUST(5, unshare(CLONE_NEWNS) < 0 && errno == EPERM); /* no right of another place has come */
    MUST(6, waitpid(-1, NULL, __WALL | WNOHANG) < 0 && errno == ECHILD);
}

static void refused_to_join(void)
{
    struct userns_extent map = {0, 100000, 65536};
    int foreign = -1;
    MUST(60, userns_make(&map, 1, &map, 1, UINT32_MAX, -1, &foreign, NULL, NULL) == 0);
    be_user("tester:300000:65536\n", "54321:400000:70000\n");
    become_user();
    int own = open("/proc/self/ns/user", O_RDONLY | O_CLOEXEC);
    int net = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    MUST(61, own >= 0 && net >= 0);
    not_joined(foreign, EPERM);
    not_joined(own, EINVAL);
    not_joined(net, EINVAL);
    close(net);
    not_joined(net, EBADF);
    /* And a new one can be made instead. */
    struct userns_outer outer;
    MUST(62, userns_enter_outer(&outer, NULL) == 0);
    MUST(63, !outer.single_uid && outer.count == 65536);
    MUST(64, map_is("/proc/self/uid_map", "0 54321 1,1 300000 65535"));
}

Test(userns_outer, one_that_cannot_be_joined_changes_nothing_and_a_new_one_is_made)
{
    cr_assert_eq(in_child(refused_to_join), 0, "step %d", last);
}
