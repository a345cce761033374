/* This file loads the filters that explain denied calls in a child and answers one call of it; it
 * never loads a filter in berth itself, and leaves no process.
 *
 * PRIVILEGED as the launcher is. Should: wait with a deadline. Mustn't: let the child go on past
 * its two calls. Caller: probe.c.
 */
#include "runtime/host/probe_explain.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum {
    WAIT_KILLABLE = 1 << 5, /* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV */
    WAIT_MS = 5000,
    /* How the child ended */
    CHILD_FINE = 0,
    CHILD_BASE_LOAD,
    CHILD_BASE_ANSWER,
    CHILD_LISTENER_LOAD,
    CHILD_SEND,
    CHILD_ANSWER,
};

struct filters {
    struct seccomp_program base, exec;
    struct sock_filter asking[BPF_MAXINSNS];
};

static long load(const struct sock_filter *code, uint32_t length, unsigned flags)
{
    struct sock_fprog program = {(unsigned short)length, (struct sock_filter *)code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static bool refused_with(int sys)
{
    return syscall(SYS_mount, NULL, NULL, NULL, 0, NULL) == -1 && errno == sys;
}

static bool send_listener(int socket, int listener)
{
    char byte = 'l';
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof listener)];
    } control = {0};
    struct iovec part = {&byte, 1};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof listener);
    memcpy(CMSG_DATA(c), &listener, sizeof listener);
    return sendmsg(socket, &header, MSG_NOSIGNAL) == 1;
}

/* Without a listener ENOSYS, with one what its holder says. */
static _Noreturn void child(const struct filters *f, int socket)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || load(f->base.code, f->base.length, 0) < 0)
        _exit(CHILD_BASE_LOAD);
    if (!refused_with(ENOSYS))
        _exit(CHILD_BASE_ANSWER);
    long listener =
        load(f->asking, f->exec.length, SECCOMP_FILTER_FLAG_NEW_LISTENER | (unsigned)WAIT_KILLABLE);
    if (listener < 0)
        _exit(CHILD_LISTENER_LOAD);
    if (!send_listener(socket, (int)listener))
        _exit(CHILD_SEND);
    close((int)listener);
    _exit(refused_with(EPERM) ? CHILD_FINE : CHILD_ANSWER);
}

static int receive_listener(int socket)
{
    char byte;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {&byte, 1};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct pollfd wait = {.fd = socket, .events = POLLIN};
    int fd = -1;
    if (poll(&wait, 1, WAIT_MS) != 1 || recvmsg(socket, &header, MSG_CMSG_CLOEXEC) != 1)
        return -1;
    const struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof fd))
        memcpy(&fd, CMSG_DATA(c), sizeof fd);
    return fd;
}

static bool answer(const struct filters *f, int listener)
{
    union {
        struct seccomp_notif notif;
        unsigned char room[512];
    } question;
    union {
        struct seccomp_notif_resp response;
        unsigned char room[512];
    } reply;
    memset(&question, 0, sizeof question);
    memset(&reply, 0, sizeof reply);
    struct pollfd wait = {.fd = listener, .events = POLLIN};
    if (poll(&wait, 1, WAIT_MS) != 1 || !(wait.revents & POLLIN) ||
        syscall(SYS_ioctl, listener, SECCOMP_IOCTL_NOTIF_RECV, &question) < 0)
        return false;
    reply.response.id = question.notif.id;
    reply.response.error =
        -seccomp_denied_errno(f->exec.code, f->exec.length, &question.notif.data);
    return syscall(SYS_ioctl, listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) == 0;
}

static int judge(int status, struct err *err)
{
    static const char step[] = "explain denied calls";
    static const char *const says[] = {
        [CHILD_BASE_LOAD] = "A filter that asks could not be loaded.",
        [CHILD_BASE_ANSWER] = "This kernel does not refuse a call that nobody is asked about.",
        [CHILD_LISTENER_LOAD] = "There is no listener: it needs Linux 5.19, and none on berth.",
        [CHILD_SEND] = "The listener could not be handed over.",
        [CHILD_ANSWER] = "A refused call was not answered by its listener.",
    };
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == CHILD_FINE)
        return 0;
    bool known = code > 0 && code < (int)ARRAY_LENGTH(says) && says[code];
    return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, step, NULL, "%s",
                   known ? says[code] : "Its child ended early.");
}

int probe_explain(struct err *err)
{
    __attribute__((cleanup(seccomp_program_fini))) struct seccomp_program base = {0}, exec = {0};
    static struct filters f;
    int r = seccomp_base_explained(false, &base, err);
    if (r == 0)
        r = seccomp_exec(SPEC_SECCOMP_DEFAULT, NULL, 0, &exec, err);
    if (r < 0)
        return r;
    if (!exec.code || exec.length > ARRAY_LENGTH(f.asking))
        return err_set(err, ERR_INTERNAL, 0, "explain denied calls", NULL, NULL);
    f.base = base;
    f.exec = exec;
    memcpy(f.asking, exec.code, exec.length * sizeof f.asking[0]);
    seccomp_notify(f.asking, exec.length);

    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "probe: make a socket", NULL, NULL);
    _cleanup_fd_ int ours = ends[0];
    pid_t pid = fork();
    if (pid == 0)
        child(&f, ends[1]);
    fd_close(ends[1]);
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "probe: start a process", NULL, NULL);
    _cleanup_fd_ int listener = receive_listener(ours);
    /* Whoever waits for an answer that does not come waits for ever; one that has ended keeps its
     * status. */
    if (listener < 0 || !answer(&f, listener))
        kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return judge(status, err);
}
