/* This file makes network namespaces in a child of the launcher's and keeps their descriptors; it
 * never enters one in the launcher itself. PRIVILEGED: the launcher's.
 */
#include "runtime/host/netns_pool.h"

#include "runtime/base/fd.h"
#include "runtime/base/title.h"
#include "runtime/stage/sys.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>

void netns_pool_init(struct netns_pool *pool)
{
    *pool = (struct netns_pool){.from = -1};
}

bool netns_pool_wants(const struct netns_pool *pool, bool filled, uint64_t now_ms)
{
    bool plain = pool->count <= NETNS_POOL_LOW && now_ms >= pool->not_before_ms[false];
    bool more = filled && pool->filled_count <= NETNS_POOL_FILLED_LOW &&
                now_ms >= pool->not_before_ms[true];
    return pool->from < 0 && (plain || more);
}

/* ---- the child ------------------------------------------------------------------------------ */

union control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int) * NETWORK_READY_FDS)];
};

static int send_ready(int to, const struct network_ready *ready)
{
    union control control;
    int fds[NETWORK_READY_FDS];
    unsigned count = network_ready_list(ready, fds);
    memset(&control, 0, sizeof control);
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = (socklen_t)CMSG_SPACE(sizeof(int) * count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = (socklen_t)CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
    return sendmsg(to, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Whatever fails ends it: what was sent before is good, and who starts a session can do without the
 * rest, and says then what this host lacks. */
static int make_some(int to, unsigned plain, unsigned filled)
{
    for (unsigned i = 0; i < plain + filled; i++) {
        __attribute__((cleanup(network_ready_fini))) struct network_ready ready;
        struct err unseen;
        network_ready_init(&ready);
        if ((i < plain ? network_plain_make(&ready.netns, &unseen)
                       : network_ready_make(&ready, &unseen)) < 0 ||
            send_ready(to, &ready) < 0)
            return 1;
    }
    return 0;
}

static _Noreturn void be_child(int to, unsigned plain, unsigned filled, pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* What else of the launcher's it has a copy of would say "open" to whoever waits for its end.
     */
    const int kept[] = {to};
    if (fd_keep_only(kept, ARRAY_LENGTH(kept)) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
        getppid() != parent)
        _exit(1);
    const struct itimerval alarm = {.it_value = {.tv_sec = NETNS_POOL_PATIENCE_MS / 1000}};
    setitimer(ITIMER_REAL, &alarm, NULL);
    title_set("berth: network");
    _exit(make_some(to, plain, filled));
}

/* How many of a kind are to be made now. Whatever becomes of them, the next are not begun at once.
 */
static unsigned begin(struct netns_pool *pool, bool filled, uint64_t now_ms)
{
    unsigned missing =
        filled ? NETNS_POOL_FILLED - pool->filled_count : NETNS_POOL_SIZE - pool->count;
    pool->gained[filled] = false;
    if (now_ms < pool->not_before_ms[filled])
        return 0;
    if (missing > 0)
        pool->not_before_ms[filled] = now_ms + NETNS_POOL_PAUSE_MS;
    return missing;
}

int netns_pool_fill(struct netns_pool *pool, bool filled, uint64_t now_ms)
{
    int pair[2];
    unsigned plain = begin(pool, false, now_ms), more = filled ? begin(pool, true, now_ms) : 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    _cleanup_fd_ int here = pair[0], there = pair[1];
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        be_child(there, plain, more, self);
    if (pid < 0)
        return -errno;
    pool->child = pid;
    pool->from = take_fd(&here);
    return 0;
}

/* ---- the launcher --------------------------------------------------------------------------- */

/* 0 with one; 1: none is there now; -errno, -ECONNRESET: none will come. */
static int receive_one(int from, struct network_ready *ret)
{
    union control control;
    int fds[NETWORK_READY_FDS];
    memset(&control, 0, sizeof control);
    char byte;
    struct iovec part = {&byte, 1};
    /* Not CMSG_SPACE, in which there may be room for one more. */
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_LEN(sizeof fds)};
    ssize_t n = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : -errno;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (n == 0 || !header || header->cmsg_type != SCM_RIGHTS)
        return -ECONNRESET;
    /* Where this process has no room for all of them, they are too few. */
    unsigned count = (unsigned)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(header), count * sizeof(int));
    if (network_ready_take(ret, fds, count) && !(message.msg_flags & MSG_CTRUNC))
        return 0;
    network_ready_fini(ret);
    return -ECONNRESET;
}

/* What there is no place for is nobody's. */
static void keep(struct netns_pool *pool, struct network_ready *ready)
{
    bool filled = ready->rules >= 0;
    unsigned *count = filled ? &pool->filled_count : &pool->count;
    if (*count == (filled ? (unsigned)NETNS_POOL_FILLED : (unsigned)NETNS_POOL_SIZE)) {
        network_ready_fini(ready);
        return;
    }
    (filled ? pool->filled : pool->plain)[(*count)++] = *ready;
    pool->gained[filled] = true;
}

bool netns_pool_receive(struct netns_pool *pool, uint64_t now_ms)
{
    struct network_ready ready;
    int r;
    network_ready_init(&ready);
    while ((r = receive_one(pool->from, &ready)) == 0)
        keep(pool, &ready);
    if (r > 0)
        return true;
    for (unsigned kind = 0; kind < ARRAY_LENGTH(pool->gained); kind++) {
        if (pool->gained[kind])
            pool->not_before_ms[kind] = now_ms;
        pool->gained[kind] = false;
    }
    return false;
}

bool netns_pool_take(struct netns_pool *pool, bool filled, struct network_ready *ret)
{
    network_ready_init(ret);
    if (filled && pool->filled_count > 0)
        *ret = pool->filled[--pool->filled_count];
    else if (pool->count > 0)
        *ret = pool->plain[--pool->count];
    return ret->netns >= 0;
}

void netns_pool_fini(struct netns_pool *pool)
{
    while (pool->count > 0)
        network_ready_fini(&pool->plain[--pool->count]);
    while (pool->filled_count > 0)
        network_ready_fini(&pool->filled[--pool->filled_count]);
    fd_closep(&pool->from);
}
