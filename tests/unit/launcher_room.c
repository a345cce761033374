/* This file tests for how many sessions a launcher has room by its limit on open files, and what it
 * makes of an init that it has no room to look at. */
#include "runtime/host/launcher_internal.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

Test(launcher_room, it_follows_the_limit)
{
    static const struct {
        uint64_t files;
        unsigned sessions;
    } rows[] = {{0, 0},    {31, 0},     {48, 0},      {50, 1},      {100, 25},
                {256, 84}, {1024, 354}, {4096, 1506}, {8192, 3544}, {65536, 32216}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++)
        cr_expect_eq(launcher_room_for(rows[i].files), rows[i].sessions, "%llu: %u",
                     (unsigned long long)rows[i].files, launcher_room_for(rows[i].files));
    cr_expect_gt(launcher_room_for(RLIM_INFINITY), 1000000);
    /* Nowhere less for more, but where networks are begun to be made ahead. */
    for (uint64_t files = 1; files < 5000; files++)
        cr_assert(files == 512 || launcher_room_for(files) >= launcher_room_for(files - 1), "%llu",
                  (unsigned long long)files);
}

static void may_open(rlim_t count, struct rlimit *ret_before)
{
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, ret_before), 0);
    struct rlimit files = *ret_before;
    files.rlim_cur = count;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
}

Test(launcher_room, one_more_than_there_is_room_for_is_refused_and_what_to_do_is_said)
{
    struct rlimit before;
    struct err err;
    may_open(100, &before);
    cr_expect_eq(launcher_room_check(24, &err), 0);
    cr_expect_eq(launcher_room_check(25, &err), -EUSERS);
    cr_expect_eq(err.code, ERR_UNAVAILABLE);
    cr_expect_not_null(strstr(err.detail, "100 files"));
    cr_expect_not_null(strstr(err.detail, "25 live sessions"));
    cr_expect_not_null(strstr(err.detail, "LimitNOFILE"));
    cr_expect_not(launcher_room_for_pool());
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static int64_t own_start(void)
{
    long long start = 0;
    FILE *f = fopen("/proc/self/stat", "re");
    cr_assert_not_null(f);
    cr_assert_eq(fscanf(f,
                        "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d "
                        "%*d %*d %*d %*d %*d %lld",
                        &start),
                 1);
    fclose(f);
    return start;
}

Test(launcher_room, an_init_that_cannot_be_looked_at_is_not_taken_for_dead)
{
    struct session_identity self = {.init_pid = getpid(), .init_start = own_start()};
    struct rlimit before;
    int fd = launcher_live_open(&self);
    cr_assert_geq(fd, 0);
    close(fd);
    /* Room for none, and for the first of two. */
    for (rlim_t room = 0; room < 2; room++) {
        may_open((rlim_t)fd + room, &before);
        int r = launcher_live_open(&self);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        cr_expect_eq(r, -EMFILE, "with room for %u: %d", (unsigned)room, r);
    }
    self.init_start++;
    cr_expect_eq(launcher_live_open(&self), -ESRCH, "another process of its number");
    self.init_pid = -1;
    cr_expect_eq(launcher_live_open(&self), -ESRCH);
}
