/* This file tests the records of runs against a reaper that is quicker than their maker. Its
 * flock() stands before the C library's: at the instant that a maker asks for its lock, another has
 * it. */
#include "runtime/host/record.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

static int quick = -1;        /* the reaper's own descriptor of what it was quicker at */
static unsigned refused;      /* how many locks it is still quicker than */
static bool removes, lets_go; /* what it does when it is asked for the second time */

int flock(int fd, int operation)
{
    char path[40];
    if (refused > 0) {
        refused--;
        if (quick < 0) {
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            quick = open(path, O_RDONLY | O_CLOEXEC);
            if (syscall(SYS_flock, quick, LOCK_EX | LOCK_NB) < 0)
                abort();
        } else if (removes || lets_go) {
            char name[256];
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            ssize_t n = readlink(path, name, sizeof name - 1);
            name[n > 0 ? n : 0] = 0;
            if (removes)
                unlink(name);
            fd_closep(&quick);
            refused = 0;
        }
    }
    return (int)syscall(SYS_flock, fd, operation);
}

static char place[] = "/tmp/berth-record-XXXXXX";
static int records = -1;

static void make_place(void)
{
    struct err err = {0};
    cr_assert(mkdtemp(place));
    cr_assert_eq(record_dir_open(place, &records, &err), 0, "%s", err.detail);
}

static unsigned how_many(void)
{
    int fd = openat(records, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fdopendir(fd);
    unsigned count = 0;
    for (const struct dirent *e; (e = readdir(list));)
        count += e->d_name[0] != '.';
    closedir(list);
    return count;
}

static void remove_place(void)
{
    char runs[64];
    fd_closep(&quick);
    cr_assert_eq(how_many(), 0, "a record is left");
    fd_closep(&records);
    snprintf(runs, sizeof runs, "%s/runs", place);
    cr_assert_eq(rmdir(runs), 0);
    cr_assert_eq(rmdir(place), 0);
}

TestSuite(record, .init = make_place, .fini = remove_place, .timeout = 60);

/* The reaper holds the first name and does not remove it: something else was in its way. */
Test(record, a_name_that_was_not_locked_in_time_is_not_left)
{
    struct record record;
    struct err err = {0};
    refused = 1;
    cr_assert_eq(record_create(&record, records, &err), 0, "%s %s", err.step, err.detail);
    cr_assert_geq(quick, 0, "nobody was quicker");
    cr_assert_eq(how_many(), 1, "%u records", how_many());
    cr_assert_eq(record_remove(&record, &err), 0);
}

static int never(void *data, const struct record *record, struct err *err)
{
    (void)record, (void)err;
    ++*(unsigned *)data;
    return 0;
}

static int held(const char *name)
{
    unsigned asked = 0, count = 0;
    struct err err = {0};
    cr_assert_eq(how_many(), 1, "%s: %u records", name, how_many());
    cr_assert_eq(record_reap(records, never, &asked, &count, &err), 0);
    return asked == 0 && count == 0;
}

static void create_named(const char *name)
{
    struct record record;
    struct err err = {0};
    cr_assert_eq(record_create_named(&record, records, name, &err), 0, "%s %s", err.step,
                 err.detail);
    cr_assert(held(name), "%s is not locked", name);
    cr_assert_eq(record_remove(&record, &err), 0);
}

/* Another reaper finds a name that has no other: whoever makes it waits for what becomes of it. */
Test(record, a_given_name_is_had_when_the_reaper_leaves_it)
{
    refused = 3;
    lets_go = true;
    create_named("ab-1-1");
}

Test(record, a_given_name_is_made_again_when_the_reaper_removes_it)
{
    refused = 3;
    removes = true;
    create_named("ab-1-2");
}

Test(record, a_given_name_that_is_there_is_refused)
{
    struct record record, second;
    struct err err = {0};
    cr_assert_eq(record_create_named(&record, records, "ab-1-3", &err), 0);
    cr_assert_lt(record_create_named(&second, records, "ab-1-3", &err), 0);
    cr_assert_eq(err.code, ERR_SESSION_EXISTS, "%d", (int)err.code);
    cr_assert(held("ab-1-3"), "the first one's lock is gone");
    cr_assert_eq(record_remove(&record, &err), 0);
}
