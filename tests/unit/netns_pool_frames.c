/* This file tests what the launcher takes of who makes networks for it: whole ones, and of all else
 * nothing, nor a descriptor that is left. */
#include "runtime/host/netns_pool.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static struct netns_pool pool;
static int theirs;

static unsigned open_ones(void)
{
    unsigned count = 0;
    DIR *fds = opendir("/proc/self/fd");
    cr_assert_not_null(fds);
    while (readdir(fds))
        count++;
    closedir(fds);
    return count;
}

static void setup(void)
{
    int pair[2];
    netns_pool_init(&pool);
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pool.from = pair[0];
    theirs = pair[1];
}

static void teardown(void)
{
    netns_pool_fini(&pool);
    fd_close(theirs);
}

TestSuite(netns_pool_frames, .init = setup, .fini = teardown);

static void give(const void *data, size_t length, unsigned count)
{
    enum { MOST = 3 * NETWORK_READY_FDS };
    char room[CMSG_SPACE(sizeof(int) * MOST)] __attribute__((aligned(8))) = {0};
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fds[MOST];
    cr_assert(null >= 0 && count <= MOST);
    for (unsigned i = 0; i < count; i++)
        fds[i] = null;
    struct iovec part = {(void *)(uintptr_t)data, length};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = room;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    }
    cr_assert_eq(sendmsg(theirs, &message, MSG_NOSIGNAL), (ssize_t)length);
    close(null);
}

Test(netns_pool_frames, plain_and_filled_ones_are_taken)
{
    unsigned before = open_ones();
    give("", 1, 1);
    give("", 1, NETWORK_READY_FDS);
    give("", 1, NETWORK_READY_FDS - 1);
    cr_expect(netns_pool_receive(&pool, 0), "more may come");
    cr_expect_eq(pool.count, 1);
    cr_expect_eq(pool.filled_count, 2);
    cr_expect_eq(open_ones(), before + 1 + NETWORK_READY_FDS + NETWORK_READY_FDS - 1);
    netns_pool_fini(&pool);
    cr_expect_eq(open_ones(), before - 1);
}

Test(netns_pool_frames, what_is_none_ends_it_and_leaves_no_descriptor)
{
    static const unsigned counts[] = {0,
                                      2,
                                      NETWORK_READY_FDS - 2,
                                      NETWORK_READY_FDS + 1,
                                      NETWORK_READY_FDS + 2,
                                      3 * NETWORK_READY_FDS};
    unsigned before = open_ones();
    for (unsigned i = 0; i < sizeof counts / sizeof *counts; i++) {
        give("", 1, counts[i]);
        cr_expect_not(netns_pool_receive(&pool, 0), "with %u", counts[i]);
        cr_expect_eq(pool.count + pool.filled_count, 0, "with %u", counts[i]);
        cr_expect_eq(open_ones(), before, "with %u", counts[i]);
    }
}

/* A whole one, of which this process can take some. */
Test(netns_pool_frames, one_that_there_is_no_room_for_is_none_and_those_before_it_stay)
{
    unsigned before = open_ones();
    give("", 1, 1);
    for (unsigned room = 0; room < NETWORK_READY_FDS; room++) {
        struct rlimit files, few;
        give("", 1, NETWORK_READY_FDS);
        cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
        few = files;
        int next = fcntl(0, F_DUPFD_CLOEXEC, 0);
        close(next);
        /* The plain one comes first. */
        few.rlim_cur = (rlim_t)next + (room == 0) + room;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
        bool more = netns_pool_receive(&pool, 0);
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
        cr_expect_not(more, "room for %u", room);
        cr_expect_eq(pool.count, 1, "room for %u", room);
        cr_expect_eq(pool.filled_count, 0, "room for %u", room);
        cr_expect_eq(open_ones(), before + 1, "room for %u", room);
    }
}
