/* This file tests the network namespaces that the launcher keeps ready, with real ones. */
#include "runtime/host/netns_pool.h"

#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

TestSuite(netns_pool, .timeout = 60);

static void receive_all(struct netns_pool *pool, uint64_t now)
{
    do {
        struct pollfd p = {.fd = pool->from, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 20000), 1, "the child neither sends nor ends");
    } while (netns_pool_receive(pool, now));
    fd_closep(&pool->from);
}

static void fill(struct netns_pool *pool, bool filled)
{
    cr_assert_eq(netns_pool_fill(pool, filled, 0), 0);
    receive_all(pool, 0);
    cr_assert_gt(waitpid(-1, NULL, 0), 0);
}

/* It has nothing but its namespace. */
static int take_plain(struct netns_pool *pool)
{
    struct network_ready ready;
    int fds[NETWORK_READY_FDS];
    cr_assert(netns_pool_take(pool, false, &ready));
    cr_assert_eq(network_ready_list(&ready, fds), 1);
    return ready.netns;
}

static ino_t inode_of(int fd)
{
    struct stat st;
    cr_assert_eq(fstat(fd, &st), 0);
    return st.st_ino;
}

/* In a namespace of the pool: 0 when lo is there, up, and alone. */
static int look_inside(int netns)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (setns(netns, CLONE_NEWNET) < 0)
            _exit(1);
        int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct ifreq lo = {.ifr_name = "lo"};
        if (ioctl(s, SIOCGIFFLAGS, &lo) < 0 || !(lo.ifr_flags & IFF_UP))
            _exit(2);
        struct if_nameindex *all = if_nameindex();
        _exit(all && all[0].if_index && all[1].if_index == 0 ? 0 : 3);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(netns_pool, each_is_given_once_and_is_like_no_other)
{
    struct netns_pool pool;
    netns_pool_init(&pool);
    cr_assert(netns_pool_wants(&pool, false, 0));
    struct network_ready none;
    cr_assert_not(netns_pool_take(&pool, false, &none));
    fill(&pool, false);
    cr_assert_eq(pool.count, NETNS_POOL_SIZE);
    int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), given[NETNS_POOL_SIZE];
    ino_t seen[NETNS_POOL_SIZE + 1] = {inode_of(host)};
    for (unsigned i = 0; i < NETNS_POOL_SIZE; i++) {
        cr_assert_eq(netns_pool_wants(&pool, false, 0), NETNS_POOL_SIZE - i <= NETNS_POOL_LOW);
        given[i] = take_plain(&pool);
        cr_assert_geq(given[i], 0);
        cr_assert(fcntl(given[i], F_GETFD) & FD_CLOEXEC);
        cr_assert_eq(look_inside(given[i]), 0);
        seen[i + 1] = inode_of(given[i]);
        for (unsigned k = 0; k <= i; k++)
            cr_assert_neq(seen[k], seen[i + 1]);
    }
    cr_assert_not(netns_pool_take(&pool, false, &none));
    for (unsigned i = 0; i < NETNS_POOL_SIZE; i++)
        close(given[i]);
    close(host);
    netns_pool_fini(&pool);
}

Test(netns_pool, what_is_missing_is_made_and_no_more)
{
    struct netns_pool pool;
    netns_pool_init(&pool);
    fill(&pool, false);
    ino_t kept[NETNS_POOL_LOW];
    while (pool.count > NETNS_POOL_LOW)
        close(take_plain(&pool));
    for (unsigned i = 0; i < NETNS_POOL_LOW; i++)
        kept[i] = inode_of(pool.plain[i].netns);
    fill(&pool, false);
    cr_assert_eq(pool.count, NETNS_POOL_SIZE);
    for (unsigned i = 0; i < NETNS_POOL_LOW; i++)
        cr_assert_eq(inode_of(pool.plain[i].netns), kept[i]);
    netns_pool_fini(&pool);
}

Test(netns_pool, filled_ones_are_for_who_asks_for_them_and_plain_ones_stay_plain)
{
    struct netns_pool pool;
    struct network_ready ready;
    struct err err = {0};
    uint64_t counters[NETWORK_COUNTER_COUNT];
    int fds[NETWORK_READY_FDS];
    netns_pool_init(&pool);
    fill(&pool, false);
    cr_assert_eq(pool.filled_count, 0);
    cr_assert_not(netns_pool_wants(&pool, false, 0));
    cr_assert(netns_pool_wants(&pool, true, 0));
    /* None is there: one in which all is still to be made. */
    cr_assert(netns_pool_take(&pool, true, &ready));
    cr_assert_lt(ready.rules, 0);
    cr_assert_lt(network_namespace_counters(ready.netns, counters, &err), 0);
    network_ready_fini(&ready);
    fill(&pool, true);
    cr_assert_eq(pool.count, NETNS_POOL_SIZE);
    cr_assert_eq(pool.filled_count, NETNS_POOL_FILLED);
    for (unsigned i = 0; i < NETNS_POOL_SIZE; i++)
        cr_assert_lt(network_namespace_counters(pool.plain[i].netns, counters, &err), 0);
    for (unsigned i = 0; i < NETNS_POOL_FILLED; i++) {
        cr_assert_eq(netns_pool_wants(&pool, true, 0),
                     NETNS_POOL_FILLED - i <= NETNS_POOL_FILLED_LOW);
        cr_assert(netns_pool_take(&pool, true, &ready));
        unsigned count = network_ready_list(&ready, fds);
        cr_assert_geq(count, NETWORK_READY_FDS - 1);
        for (unsigned k = 0; k < count; k++)
            cr_assert(fcntl(fds[k], F_GETFD) & FD_CLOEXEC);
        cr_assert_eq(look_inside(ready.netns), 0);
        cr_assert_eq(network_namespace_counters(ready.netns, counters, &err), 0, "%s", err.detail);
        network_ready_fini(&ready);
    }
    cr_assert_eq(pool.count, NETNS_POOL_SIZE);
    netns_pool_fini(&pool);
}

static unsigned open_files(void)
{
    unsigned count = 0;
    DIR *own = opendir("/proc/self/fd");
    while (own && readdir(own))
        count++;
    closedir(own);
    return count;
}

Test(netns_pool, a_child_that_is_killed_leaves_what_it_sent_and_nothing_else)
{
    unsigned before = open_files();
    struct netns_pool pool;
    for (unsigned round = 0; round < 20; round++) {
        netns_pool_init(&pool);
        cr_assert_eq(netns_pool_fill(&pool, true, 0), 0);
        siginfo_t info;
        struct pollfd p = {.fd = pool.from, .events = POLLIN};
        cr_assert_eq(poll(&p, 1, 20000), 1);
        poll(NULL, 0, (int)round); /* at another one of them */
        cr_assert_eq(kill(pool.child, SIGKILL), 0);
        cr_assert_eq(waitid(P_PID, (id_t)pool.child, &info, WEXITED), 0);
        /* Its own worker ends with it, a moment later. */
        receive_all(&pool, 0);
        cr_assert_gt(pool.count, 0);
        cr_assert_eq(look_inside(pool.plain[0].netns), 0);
        netns_pool_fini(&pool);
        cr_assert_eq(open_files(), before);
    }
}

Test(netns_pool, whoever_may_not_make_one_is_not_asked_again_at_once)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (setresgid(54321, 54321, 54321) < 0 || setresuid(54321, 54321, 54321) < 0)
            _exit(1);
        struct netns_pool pool;
        netns_pool_init(&pool);
        if (netns_pool_fill(&pool, false, 1000) < 0)
            _exit(2);
        struct pollfd p = {.fd = pool.from, .events = POLLIN};
        while (poll(&p, 1, 20000) == 1 && netns_pool_receive(&pool, 1000))
            ;
        fd_closep(&pool.from);
        if (pool.count > 0 || waitpid(-1, NULL, 0) < 0)
            _exit(3);
        _exit(!netns_pool_wants(&pool, false, 1000) &&
                      !netns_pool_wants(&pool, false, NETNS_POOL_PAUSE_MS) &&
                      netns_pool_wants(&pool, false, 1000 + NETNS_POOL_PAUSE_MS)
                  ? 0
                  : 4);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%#x", status);
}

Test(netns_pool, what_fails_for_filled_ones_does_not_delay_plain_ones)
{
    struct netns_pool pool;
    netns_pool_init(&pool);
    fill(&pool, false);
    /* Killed before it has sent one: plain ones were not missing. */
    cr_assert_eq(netns_pool_fill(&pool, true, 1000), 0);
    cr_assert_eq(kill(pool.child, SIGKILL), 0);
    receive_all(&pool, 1000);
    cr_assert_gt(waitpid(-1, NULL, 0), 0);
    cr_assert_eq(pool.filled_count, 0);
    cr_assert_not(netns_pool_wants(&pool, true, 1000), "filled ones have their pause");
    while (pool.count > NETNS_POOL_LOW)
        close(take_plain(&pool));
    cr_assert(netns_pool_wants(&pool, true, 1000), "plain ones have none");
    cr_assert_eq(netns_pool_fill(&pool, true, 1000), 0);
    receive_all(&pool, 1000);
    cr_assert_gt(waitpid(-1, NULL, 0), 0);
    cr_assert_eq(pool.count, NETNS_POOL_SIZE);
    cr_assert_eq(pool.filled_count, 0, "made in their pause");
    cr_assert_not(netns_pool_wants(&pool, true, NETNS_POOL_PAUSE_MS));
    cr_assert(netns_pool_wants(&pool, true, 1000 + NETNS_POOL_PAUSE_MS));
    netns_pool_fini(&pool);
}

Test(netns_pool, the_child_ends_with_its_launcher)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t launcher = fork();
    if (launcher == 0) {
        struct netns_pool pool;
        netns_pool_init(&pool);
        int r = netns_pool_fill(&pool, false, 0);
        if (r < 0 || write(ends[1], &pool.child, sizeof pool.child) != sizeof pool.child)
            _exit(1);
        for (;;)
            pause();
    }
    close(ends[1]);
    pid_t child;
    cr_assert_eq(read(ends[0], &child, sizeof child), (ssize_t)sizeof child);
    kill(launcher, SIGKILL);
    cr_assert_eq(waitpid(launcher, NULL, 0), launcher);
    /* A zombie until PID 1 takes it, so its state is what is asked. */
    char path[40], text[256] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", child);
    for (unsigned i = 0; i < 2000; i++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
        fd_close(fd);
        const char *state = n > 0 ? strrchr(text, ')') : NULL;
        if (!state || state[2] == 'Z' || state[2] == 'X')
            return;
        poll(NULL, 0, 5);
    }
    cr_assert_fail("it goes on: %s", text);
}
