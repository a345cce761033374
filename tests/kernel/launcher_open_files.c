/* This file tests what the launcher makes of its descriptors: each worker has what it was given and
 * no other one's, and where few may be open, requests are refused and nothing else is lost. */
#include "tests/kernel/launcher_fixture.h"

#include <dirent.h>
#include <sys/resource.h>

TestSuite(launcher_open_files, .init = fixture, .fini = fixture_end, .timeout = 60);

static struct launcher_reply reply;

static void launch_row(int64_t row)
{
    ask_launch(row, plain_spec(), -1);
}

static void send_for(unsigned type, int64_t row)
{
    struct launcher_request r = request_of(type, row);
    ask(&r, NULL, 0);
}

static void may_open(rlim_t count)
{
    struct rlimit files;
    cr_assert_eq(prlimit(launcher, RLIMIT_NOFILE, NULL, &files), 0);
    files.rlim_cur = count;
    cr_assert_eq(prlimit(launcher, RLIMIT_NOFILE, &files, NULL), 0);
}

Test(launcher_open_files, no_more_sessions_than_the_limit_on_open_files_has_room_for)
{
    enum { FILES = 60 };
    const unsigned room = launcher_room_for(FILES);
    start_fake();
    may_open(FILES);
    cr_assert(room > 2 && room < 20);
    for (unsigned row = 1; row <= room + 1; row++) {
        launch_row(row);
        cr_assert_eq(hear(&reply, 5000), 1);
        cr_expect_eq(reply.result, row <= room ? 0 : -EUSERS, "%u of %u: %s", row, room,
                     reply.err.detail);
    }
    cr_expect_eq(shared->creates, room, "what is refused was begun");
    cr_expect_eq(reply.err.code, ERR_UNAVAILABLE);
    cr_expect_not_null(strstr(reply.err.detail, "LimitNOFILE"));
    send_for(LAUNCHER_END, 1);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0);
    launch_row(room + 1);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0, "%s", reply.err.detail);
    stop_launcher();
}

/* The lowest number that the launcher has not open. */
static rlim_t lowest_free(void)
{
    char path[64];
    for (unsigned fd = 0;; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%u", launcher, fd);
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
            return fd;
    }
}

Test(launcher_open_files, what_it_has_no_number_for_is_answered_and_nothing_of_it_is_done)
{
    start_fake();
    send_for(LAUNCHER_LOOK, 1);
    cr_assert_eq(hear(&reply, 5000), 1);
    nap(200); /* what is made at rest is made */
    for (rlim_t number = 0; number < 3; number++) {
        may_open(lowest_free());
        launch_row(2);
        cr_assert_eq(hear(&reply, 5000), 1, "the launcher has ended");
        cr_expect_eq(reply.result, -EMFILE, "%d: %s", reply.result, reply.err.detail);
        cr_expect_eq(reply.type, LAUNCHER_LAUNCH);
        cr_expect_not_null(strstr(reply.err.detail, "LimitNOFILE"));
    }
    cr_expect_eq(shared->creates, 0);
    may_open(1024);
    launch_row(2);
    cr_assert_eq(hear(&reply, 5000), 1);
    cr_expect_eq(reply.result, 0, "%s: %s", reply.err.step, reply.err.detail);
    stop_launcher();
}

/* Network namespaces that the launcher has open: all, or that one. */
static unsigned pooled(ino_t which)
{
    char path[64], target[64];
    unsigned count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", launcher);
    DIR *fds = opendir(path);
    cr_assert_not_null(fds);
    for (const struct dirent *e; (e = readdir(fds));) {
        unsigned long long inode = 0;
        ssize_t n = readlinkat(dirfd(fds), e->d_name, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        count += sscanf(target, "net:[%llu]", &inode) == 1 && (!which || inode == which);
    }
    closedir(fds);
    return count;
}

Test(launcher_open_files, every_worker_is_given_a_network_of_its_own_and_answers)
{
    start_fake();
    for (unsigned i = 0; i < 12; i++) {
        for (unsigned waited = 0; waited < 2000 * test_slower() && pooled(0) == 0; waited++)
            nap(5);
        nap(i % 2 ? 0 : 20); /* with a worker that waited, and without one */
        shared->network = 0;
        launch_row(1 + i);
        cr_assert_eq(hear(&reply, 5000), 1);
        cr_assert_eq(reply.result, 0, "%u: %s: %s", i, reply.err.step, reply.err.detail);
        cr_expect_neq(shared->network, 0, "%u has none", i);
        cr_expect_eq(pooled(shared->network), 0, "that of %u may be given again", i);
    }
    stop_launcher();
}
