/* This file tests that nobody waits without an end for a lock of another berth, and is told who has
 * it. */
#include "runtime/host/lock_wait.h"
#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

static const struct flock byte_seven = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 7, .l_len = 1};

static int open_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert_geq(fd, 0);
    return fd;
}

/* A child that has the lock when this returns, and does not go on. */
static pid_t hold(const char *path, const struct flock *range)
{
    int ready[2];
    cr_assert_eq(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd < 0 || lock_wait(fd, range, 1000) < 0 || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    char byte;
    close(ready[1]);
    cr_assert_eq(read(ready[0], &byte, 1), 1, "the child has no lock");
    close(ready[0]);
    return pid;
}

static void end(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void stopped_holder_is_named(const struct flock *range)
{
    char path[] = "/tmp/berth-lock-XXXXXX";
    int status, made = mkstemp(path);
    cr_assert_geq(made, 0);
    close(made);
    pid_t pid = hold(path, range);
    kill(pid, SIGSTOP);
    cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
    int fd = open_file(path);
    struct err err = {0};
    int r = lock_take(fd, range, 50, "lock the guard of", "share directory", &err);
    char want[64];
    snprintf(want, sizeof want, "kill -CONT %d\"", (int)pid);
    end(pid);
    unlink(path);
    cr_assert_lt(r, 0);
    cr_assert_eq(err.code, ERR_UNAVAILABLE);
    cr_assert_neq(strstr(err.detail, "is stopped"), NULL, "%s", err.detail);
    cr_assert_neq(strstr(err.detail, want), NULL, "%s", err.detail);
    /* What it had is free with its end. */
    cr_assert_eq(lock_take(fd, range, 8000, "lock", "file", &err), 0);
    close(fd);
}

Test(lock_wait, who_is_stopped_with_a_range_holds_nobody_up_and_is_named)
{
    stopped_holder_is_named(&byte_seven);
}

Test(lock_wait, who_is_stopped_with_a_whole_file_holds_nobody_up_and_is_named)
{
    stopped_holder_is_named(NULL);
}

Test(lock_wait, another_range_of_the_file_is_free)
{
    char path[] = "/tmp/berth-lock-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    pid_t pid = hold(path, &byte_seven);
    struct flock eight = byte_seven;
    eight.l_start = 8;
    int other = lock_wait(fd, &eight, 0), same = lock_wait(fd, &byte_seven, 0);
    end(pid);
    unlink(path);
    close(fd);
    cr_assert_eq(other, 0);
    cr_assert_eq(same, -ETIMEDOUT);
}

Test(lock_wait, who_waits_gets_what_the_other_gives_up)
{
    char path[] = "/tmp/berth-lock-XXXXXX";
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    pid_t pid = hold(path, &byte_seven), killer = fork();
    if (killer == 0) {
        poll(NULL, 0, 50);
        kill(pid, SIGKILL);
        _exit(0);
    }
    int r = lock_wait(fd, &byte_seven, 60000);
    waitpid(killer, NULL, 0);
    end(pid);
    unlink(path);
    close(fd);
    cr_assert_eq(r, 0);
}
