/* This file tests what the supervisor keeps of one launcher for the next. */
#include "api/cli/serve.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static int some(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    cr_assert_geq(fd, 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int say(struct serve_kept *kept, uint8_t kind, int64_t row, bool brings)
{
    const struct launcher_keep what = {.kind = kind, .row = row, .incarnation = 1};
    int fd = brings ? some() : -1, number = fd;
    serve_kept_take(kept, &what, &fd);
    cr_assert(fd < 0 || fd == number);
    fd_close(fd);
    return number;
}

Test(serve_kept, each_network_once_until_its_session_has_ended)
{
    struct serve_kept kept;
    int fds[40];
    serve_kept_init(&kept);
    for (int i = 0; i < 40; i++)
        fds[i] = say(&kept, LAUNCHER_KEEP_NETNS, i + 1, true);
    cr_assert_eq(kept.count, 40);
    /* The same again is instead of the one before. */
    say(&kept, LAUNCHER_KEEP_NETNS, 7, true);
    cr_assert_eq(kept.count, 40);
    cr_assert_not(is_open(fds[6]));
    for (int i = 0; i < 40; i += 2)
        say(&kept, LAUNCHER_KEEP_NO_MORE, i + 1, false);
    cr_assert_eq(kept.count, 20);
    for (unsigned i = 0; i < kept.count; i++) {
        cr_assert_eq(kept.items[i].row % 2, 0);
        cr_assert(is_open(kept.items[i].netns));
    }
    cr_assert_not(is_open(fds[0]));
    serve_kept_fini(&kept);
    for (int i = 0; i < 40; i++)
        cr_assert_not(is_open(fds[i]));
}

Test(serve_kept, one_user_namespace_and_nothing_that_is_no_such_word)
{
    struct serve_kept kept;
    serve_kept_init(&kept);
    int first = say(&kept, LAUNCHER_KEEP_OUTER, 0, true);
    int second = say(&kept, LAUNCHER_KEEP_OUTER, 0, true);
    cr_assert_neq(first, second);
    cr_assert_eq(kept.outer, second);
    cr_assert_not(is_open(first));
    say(&kept, LAUNCHER_KEEP_OUTER, 0, false);
    say(&kept, LAUNCHER_KEEP_NETNS, 1, false);
    say(&kept, LAUNCHER_KEEP_NO_MORE, 1, false);
    say(&kept, 'Z', 1, true);
    cr_assert_eq(kept.outer, second);
    cr_assert_eq(kept.count, 0);
    serve_kept_fini(&kept);
    cr_assert_not(is_open(second));
    cr_assert_eq(kept.outer, -1);
}

/* The supervisor had no number for it. */
Test(serve_kept, what_was_lost_on_its_way_is_told_and_what_was_kept_before_stays)
{
    struct serve_kept kept;
    serve_kept_init(&kept);
    int first = say(&kept, LAUNCHER_KEEP_NETNS, 1, true);
    say(&kept, LAUNCHER_KEEP_NETNS, 2, false);
    cr_assert(kept.untold);
    cr_assert_eq(kept.count, 1);
    cr_assert_eq(kept.items[0].netns, first);
    say(&kept, LAUNCHER_KEEP_NETNS, 1, false);
    cr_assert_eq(kept.count, 1);
    cr_assert(is_open(first));
    serve_kept_fini(&kept);
    cr_assert_not(is_open(first));
}

Test(serve_kept, what_would_leave_too_few_descriptors_is_not_kept_and_that_is_told_once)
{
    struct serve_kept kept;
    struct rlimit files;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = SERVE_KEPT_RESERVE + 60;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    serve_kept_init(&kept);
    cr_assert_eq(kept.end, 30);
    for (int i = 0; i < 200; i++)
        say(&kept, LAUNCHER_KEEP_NETNS, i + 1, true);
    cr_assert_gt(kept.count, 10);
    cr_assert_leq(kept.count, 30);
    for (unsigned i = 0; i < kept.count; i++)
        cr_assert_lt(kept.items[i].netns, 30);
    cr_assert(kept.untold);
    kept.untold = false;
    kept.told = true;
    say(&kept, LAUNCHER_KEEP_NETNS, 500, true);
    cr_assert_not(kept.untold);
    /* One that ends makes room. */
    unsigned count = kept.count;
    say(&kept, LAUNCHER_KEEP_NO_MORE, 1, false);
    say(&kept, LAUNCHER_KEEP_NETNS, 501, true);
    cr_assert_eq(kept.count, count);
    serve_kept_fini(&kept);
    /* Hardly any: none. */
    files.rlim_cur = SERVE_KEPT_RESERVE - 24;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
    serve_kept_init(&kept);
    say(&kept, LAUNCHER_KEEP_NETNS, 1, true);
    cr_assert_eq(kept.count, 0);
    serve_kept_fini(&kept);
}
