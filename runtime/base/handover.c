/* This file is both ends of a handover; it never starts a process, and keeps no descriptor that
 * came with a message which it refuses.
 */
#include "runtime/base/handover.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

enum { HANDOVER_MAGIC = 0x62724831, HANDOVER_VERSION = 1, LISTENER = 3 };

struct handover_message {
    uint32_t magic, version, kind, count;
    uint8_t numbers[HANDOVER_MAX]; /* of the descriptors, in their order */
};

struct handover_reply {
    uint32_t magic, version, kind;
};

union handover_control {
    struct cmsghdr header;
    char room[CMSG_SPACE(HANDOVER_MAX * sizeof(int))];
};

/* ---- the supervisor
 * ------------------------------------------------------------------------------ */

int handover_give(int channel, enum handover_kind kind, const int from[], int first, int end)
{
    struct handover_message message = {
        .magic = HANDOVER_MAGIC, .version = HANDOVER_VERSION, .kind = kind};
    int fds[HANDOVER_MAX];
    const int on = 1;
    message.numbers[message.count] = STDERR_FILENO;
    fds[message.count++] = STDERR_FILENO;
    for (int n = first + 1; n < end; n++) {
        if (from[n] < 0)
            continue;
        if (message.count == HANDOVER_MAX)
            return -E2BIG;
        message.numbers[message.count] = (uint8_t)n;
        fds[message.count++] = from[n];
    }
    union handover_control control;
    memset(&control, 0, sizeof control);
    size_t length = message.count * sizeof fds[0]; /* musl counts all of these in 32 bits */
    struct iovec part = {&message, sizeof message};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.room,
                          .msg_controllen = (socklen_t)CMSG_SPACE(length)};
    struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = (socklen_t)CMSG_LEN(length);
    memcpy(CMSG_DATA(rights), fds, length);
    /* Before the program can answer, and after connect(2), which would give the socket a name. */
    if (setsockopt(channel, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) < 0)
        return -errno;
    return sendmsg(channel, &head, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

static int wait_for(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int r;
    while ((r = poll(&p, 1, HANDOVER_WAIT_MS)) < 0 && errno == EINTR)
        continue;
    return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

/* It held its end when the pidfd was there already: so the number was its own. */
static int open_pidfd(int channel, pid_t pid, int *ret)
{
    _cleanup_fd_ int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd p = {.fd = channel};
    if (pidfd < 0)
        return errno == ESRCH ? -EPIPE : -errno;
    if (poll(&p, 1, 0) < 0)
        return -errno;
    if (p.revents & (POLLHUP | POLLERR))
        return -EPIPE;
    *ret = take_fd(&pidfd);
    return 0;
}

int handover_answer(int channel, enum handover_kind kind, struct handover_peer *ret, int *ret_pidfd)
{
    struct handover_reply reply = {0};
    struct ucred who = {0};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(struct ucred))];
    } control;
    struct iovec part = {&reply, sizeof reply};
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.room,
                          .msg_controllen = sizeof control.room};
    const int off = 0;
    int r = wait_for(channel);
    if (r < 0)
        return r;
    ssize_t n = recvmsg(channel, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n == 0 || errno == ECONNRESET ? -EPIPE : -errno;
    struct cmsghdr *part_of = CMSG_FIRSTHDR(&head);
    /* Descriptors have no room there, and the kernel drops them. */
    if (!part_of || part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_CREDENTIALS ||
        part_of->cmsg_len != CMSG_LEN(sizeof who))
        return -EPROTO;
    memcpy(&who, CMSG_DATA(part_of), sizeof who);
    if (n != (ssize_t)sizeof reply || reply.magic != HANDOVER_MAGIC ||
        reply.version != HANDOVER_VERSION || reply.kind != (uint32_t)kind || who.pid <= 0)
        return -EPROTO;
    r = open_pidfd(channel, who.pid, ret_pidfd);
    if (r < 0)
        return r;
    (void)setsockopt(channel, SOL_SOCKET, SO_PASSCRED, &off, sizeof off);
    *ret = (struct handover_peer){who.pid, who.uid, who.gid};
    return 0;
}

/* ---- the program
 * --------------------------------------------------------------------------------- */

bool handover_asked(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t number;
    return pid && count && strcmp(count, "1") == 0 && units_parse_u64(pid, &number) == 0 &&
           number == (uint64_t)getpid();
}

static int refuse(struct err *err, int sys, const char *what)
{
    return err_set(err, sys == ENOTCONN ? ERR_UNAVAILABLE : ERR_FORBIDDEN, sys,
                   "take what the supervisor gives", NULL, "%s", what);
}

/* What came with the message; -1 behind it. */
struct taken {
    int fds[HANDOVER_MAX];
    unsigned count;
};

static void drop(struct taken *taken)
{
    for (unsigned i = 0; i < taken->count; i++)
        fd_close(taken->fds[i]);
    taken->count = 0;
}

static ssize_t receive(int channel, struct handover_message *message, struct taken *ret)
{
    union handover_control control;
    struct iovec part = {message, sizeof *message};
    /* Not CMSG_SPACE, in which there may be room for one more. */
    struct msghdr head = {.msg_iov = &part,
                          .msg_iovlen = 1,
                          .msg_control = control.room,
                          .msg_controllen = CMSG_LEN(sizeof ret->fds)};
    ssize_t n = recvmsg(channel, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    struct cmsghdr *rights = n > 0 ? CMSG_FIRSTHDR(&head) : NULL;
    if (rights && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
        ret->count = (unsigned)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(ret->fds, CMSG_DATA(rights), ret->count * sizeof(int));
    }
    return n > 0 && (head.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? -1 : n;
}

static bool is_message(const struct handover_message *message, ssize_t n, enum handover_kind kind,
                       unsigned count, int first, int end)
{
    uint64_t seen = 0;
    if (n != (ssize_t)sizeof *message || message->magic != HANDOVER_MAGIC ||
        message->version != HANDOVER_VERSION || message->kind != (uint32_t)kind ||
        message->count != count || count == 0 || message->numbers[0] != STDERR_FILENO)
        return false;
    for (unsigned i = 1; i < count; i++) {
        unsigned number = message->numbers[i];
        if ((int)number <= first || (int)number >= end || (seen >> number & 1))
            return false;
        seen |= UINT64_C(1) << number;
    }
    return true;
}

/* Above every number that is to be filled, then down to it. */
static int place(int channel, const struct handover_message *message, struct taken *taken,
                 int first, int end)
{
    int high[HANDOVER_MAX + 1], kept[HANDOVER_MAX + 1];
    unsigned count = taken->count;
    for (unsigned i = 0; i <= count; i++) {
        high[i] = fcntl(i < count ? taken->fds[i] : channel, F_DUPFD_CLOEXEC, end);
        if (high[i] < 0)
            return -errno;
    }
    kept[0] = first;
    if (dup2(high[count], first) < 0 || dup2(high[0], STDERR_FILENO) < 0 ||
        dup2(high[0], STDOUT_FILENO) < 0)
        return -errno;
    for (unsigned i = 1; i < count; i++) {
        kept[i] = message->numbers[i];
        if (dup2(high[i], kept[i]) < 0)
            return -errno;
    }
    /* The places of what was not given are free, and the manager's socket is gone. */
    return fd_keep_only(kept, count);
}

/* One of root's that is still there: a supervisor that gave up has left its connection behind. */
static int accept_root(int *ret, struct handover_message *message, ssize_t *ret_length,
                       struct taken *ret_taken, struct err *err)
{
    for (;;) {
        int r = wait_for(LISTENER);
        if (r < 0)
            return refuse(err, ENOTCONN, "Nobody has connected: `berth serve --units` does.");
        _cleanup_fd_ int channel = accept4(LISTENER, NULL, NULL, SOCK_CLOEXEC);
        struct ucred who = {.uid = (uid_t)-1};
        socklen_t size = sizeof who;
        if (channel < 0 && (errno == EINTR || errno == EAGAIN || errno == ECONNABORTED))
            continue;
        if (channel < 0)
            return refuse(err, errno, "What the service manager gave is no listening socket.");
        if (getsockopt(channel, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.uid != 0)
            return refuse(err, EPERM, "Who has connected is not root.");
        if (wait_for(channel) < 0)
            continue;
        *ret_length = receive(channel, message, ret_taken);
        if (*ret_length == 0 || (*ret_length < 0 && ret_taken->count == 0))
            continue;
        *ret = take_fd(&channel);
        return 0;
    }
}

int handover_take(enum handover_kind kind, int first, int end, struct err *err)
{
    struct handover_message message = {0};
    const struct handover_reply reply = {HANDOVER_MAGIC, HANDOVER_VERSION, kind};
    struct taken taken = {.count = 0};
    _cleanup_fd_ int channel = -1;
    ssize_t n = 0;
    clearenv();
    umask(077);
    int r = accept_root(&channel, &message, &n, &taken, err);
    if (r < 0)
        return r;
    if (!is_message(&message, n, kind, taken.count, first, end)) {
        drop(&taken);
        return refuse(err, EPROTO,
                      "It is the supervisor of another berth: install the programs together.");
    }
    if (send(channel, &reply, sizeof reply, MSG_NOSIGNAL) < 0)
        r = -errno;
    if (r == 0)
        r = place(take_fd(&channel), &message, &taken, first, end);
    if (r < 0)
        drop(&taken);
    if (r < 0 || chdir("/") < 0)
        return refuse(err, r < 0 ? -r : errno, "It could not be taken.");
    return 0;
}
