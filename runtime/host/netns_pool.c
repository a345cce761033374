/* This file makes network namespaces in a child of the launcher's and keeps their descriptors; it
 * never enters one in the launcher itself. PRIVILEGED: the launcher's.
 */
#include "runtime/host/netns_pool.h"

#include "runtime/base/fd.h"
#include "runtime/base/title.h"
#include "runtime/stage/sys.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>

void netns_pool_init(struct netns_pool *pool)
{
    *pool = (struct netns_pool){.from = -1};
    for (unsigned i = 0; i < NETNS_POOL_SIZE; i++)
        pool->ready[i] = -1;
}

bool netns_pool_wants(const struct netns_pool *pool, uint64_t now_ms)
{
    return pool->from < 0 && pool->count <= NETNS_POOL_LOW && now_ms >= pool->not_before_ms;
}

/* ---- the child ------------------------------------------------------------------------------ */

static int raise_loopback(void)
{
    _cleanup_fd_ int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    return s < 0 || ioctl(s, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int send_descriptor(int to, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(to, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Whatever fails ends it: what was sent before is good, and the stage can do without the rest. */
static int make_some(int to, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (unshare(CLONE_NEWNET) < 0)
            return 1;
        int r = raise_loopback();
        _cleanup_fd_ int fd = r < 0 ? -1 : open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (fd < 0 || send_descriptor(to, fd) < 0)
            return 1;
    }
    return 0;
}

static _Noreturn void be_child(int to, unsigned count, pid_t parent)
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
    _exit(make_some(to, count));
}

int netns_pool_fill(struct netns_pool *pool, uint64_t now_ms)
{
    int pair[2];
    /* Whatever becomes of this one, the next is not begun at once. */
    pool->not_before_ms = now_ms + NETNS_POOL_PAUSE_MS;
    pool->gained = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    _cleanup_fd_ int here = pair[0], there = pair[1];
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        be_child(there, NETNS_POOL_SIZE - pool->count, self);
    if (pid < 0)
        return -errno;
    pool->child = pid;
    pool->from = take_fd(&here);
    return 0;
}

/* ---- the launcher --------------------------------------------------------------------------- */

/* 0 with a descriptor; 1: none is there now; -errno, -ECONNRESET: none will come. */
static int receive_one(int from, int *ret)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(from, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : -errno;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (n == 0 || !header || header->cmsg_type != SCM_RIGHTS ||
        header->cmsg_len != CMSG_LEN(sizeof(int)))
        return -ECONNRESET;
    memcpy(ret, CMSG_DATA(header), sizeof *ret);
    return 0;
}

bool netns_pool_receive(struct netns_pool *pool, uint64_t now_ms)
{
    for (;;) {
        int fd = -1;
        int r = receive_one(pool->from, &fd);
        if (r > 0)
            return true;
        if (r < 0)
            break;
        if (pool->count == NETNS_POOL_SIZE) {
            fd_close(fd);
            continue;
        }
        pool->ready[pool->count++] = fd;
        pool->gained = true;
    }
    if (pool->gained)
        pool->not_before_ms = now_ms;
    return false;
}

int netns_pool_take(struct netns_pool *pool)
{
    return pool->count > 0 ? take_fd(&pool->ready[--pool->count]) : -1;
}

void netns_pool_fini(struct netns_pool *pool)
{
    while (pool->count > 0)
        fd_close(netns_pool_take(pool));
    fd_closep(&pool->from);
}
