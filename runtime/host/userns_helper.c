/* This file runs the short-lived process that a user namespace is made in. It shares the caller's
 * memory (no page tables to copy: that is most of a fork's price), so between its birth and its end
 * the helper makes raw system calls only: errno, malloc and everything else of libc are the
 * caller's, who goes on running. PRIVILEGED: the launcher's.
 *
 * Should: change its own effective uid and nothing of the caller's. That is why the helper unshares
 * and is not born in the namespace when an owner is asked for: the caller's credentials never
 * change, so there is nothing to restore. One thing is shared, the memory's dumpable flag, which
 * the kernel clears when an effective uid changes; the helper sets it again at once, and the caller
 * after it.
 * Mustn't: outlive the caller. It waits on a socket of which the caller holds the only other end.
 *
 * Source: clone(2); kernel/fork.c check_unshare_flags(): CLONE_NEWUSER implies CLONE_THREAD and
 * CLONE_FS, which a process with shared memory, but its own thread group, may ask for.
 */
#include "runtime/base/fd.h"
#include "runtime/host/userns_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "the helper's birth is written for x86-64"
#endif

enum { STACK_BYTES = 16384 };

#define NO_SANITIZE __attribute__((no_sanitize("address", "undefined")))

/* Without errno: that is the caller's. */
NO_SANITIZE static inline long raw(long number, long a, long b, long c, long d)
{
    long ret;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return ret;
}

NO_SANITIZE static void fail(struct userns_helper *h, const char *step, long ret)
{
    h->step = step;
    h->sys = (int)-ret;
    raw(SYS_exit, 1, 0, 0, 0);
}

/* An owner that is not the caller: the effective uid alone, and capabilities kept through it. */
NO_SANITIZE static void take_owner(struct userns_helper *h)
{
    long bits = raw(SYS_prctl, PR_GET_SECUREBITS, 0, 0, 0);
    long r = raw(SYS_prctl, PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0);
    if (r < 0)
        fail(h, "keep capabilities through a change of uid", r);
    r = raw(SYS_setresuid, -1, (long)h->owner, -1, 0);
    if (r < 0)
        fail(h, "take the owner's uid", r);
    if (h->dumpable == 1)
        raw(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0);
}

NO_SANITIZE __attribute__((noreturn, used)) static void helper_main(struct userns_helper *h)
{
    int sock = h->ends[1];
    raw(SYS_close, h->ends[0], 0, 0, 0);
    if (h->join >= 0) {
        char self = '0';
        long r = raw(SYS_write, h->join, (long)&self, 1, 0);
        if (r < 0)
            fail(h, "join the session's cgroup", r);
    }
    if (h->owner != UINT32_MAX)
        take_owner(h);
    if (h->owner != UINT32_MAX || h->join >= 0) {
        long r = raw(SYS_unshare, (long)h->namespaces, 0, 0, 0);
        if (r < 0)
            fail(h, "make a user namespace", r);
    }
    char byte = 'r';
    /* Who could not be told waits for ever: the end of the socket says it instead. */
    if (raw(SYS_write, sock, (long)&byte, 1, 0) != 1)
        raw(SYS_exit, 1, 0, 0, 0);
    while (raw(SYS_read, sock, (long)&byte, 1, 0) == -EINTR)
        ;
    for (;;)
        raw(SYS_exit, 0, 0, 0, 0);
}

/* clone3 with a new stack: the child must not return into a frame that the parent goes on using. */
NO_SANITIZE static long clone3_call(struct clone_args *args, struct userns_helper *h)
{
    long ret;
    register struct userns_helper *argument __asm__("r12") = h;
    register void (*entry)(struct userns_helper *) __asm__("r13") = helper_main;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r12, %%rdi\n\t"
                     "call *%%r13\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(ret)
                     : "a"(SYS_clone3), "D"(args), "S"(sizeof *args), "r"(argument), "r"(entry)
                     : "rcx", "r11", "memory");
    return ret;
}

static int born(struct userns_helper *h, int cgroup_fd, struct err *err)
{
    h->born_inside = h->owner == UINT32_MAX && h->join < 0;
    struct clone_args args = {
        .flags = CLONE_VM | (h->born_inside ? h->namespaces : 0) |
                 (cgroup_fd >= 0 && h->join < 0 ? CLONE_INTO_CGROUP : 0),
        .exit_signal = 0, /* nobody's SIGCHLD, whatever the caller does with those */
        .stack = (uint64_t)(uintptr_t)h->stack,
        .stack_size = STACK_BYTES,
        .cgroup = cgroup_fd >= 0 && h->join < 0 ? (unsigned)cgroup_fd : 0,
    };
    /* A signal handler of the caller's must not run in the helper: it would write to the memory of
     * both. Blocked at birth, blocked for its life. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    long pid = clone3_call(&args, h);
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, (int)-pid, "make a user namespace", NULL,
                       NULL);
    h->pid = (pid_t)pid;
    return 0;
}

int userns_helper_wait(struct userns_helper *h, struct err *err)
{
    char byte;
    ssize_t n;
    do
        n = read(h->sock, &byte, 1);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        return 0;
    if (h->sys)
        return err_set(err, ERR_CAPABILITY_UNAVAILABLE, h->sys, h->step, NULL, NULL);
    return err_set(err, ERR_UNAVAILABLE, EOWNERDEAD, "make a user namespace", NULL,
                   "Its helper was killed at birth: a cgroup above was once killed, or memory is "
                   "short.");
}

void userns_helper_init(struct userns_helper *h)
{
    memset(h, 0, sizeof *h);
    h->pid = -1;
    h->sock = h->sock_far = h->join = -1;
}

int userns_helper_begin(struct userns_helper *h, uint64_t namespaces, uint32_t owner, int cgroup_fd,
                        bool join_by_write, struct err *err)
{
    userns_helper_init(h);
    h->namespaces = namespaces;
    h->owner = owner == UINT32_MAX || owner == geteuid() ? UINT32_MAX : owner;
    h->dumpable = prctl(PR_GET_DUMPABLE);
    if (cgroup_fd >= 0 && join_by_write) {
        h->join = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        if (h->join < 0)
            return err_set(err, ERR_UNAVAILABLE, errno, "open the session's cgroup", NULL, NULL);
    }
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a socket pair", NULL, NULL);
    h->sock = h->ends[0] = pair[0];
    h->sock_far = h->ends[1] = pair[1];
    void *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (stack == MAP_FAILED)
        return err_set(err, ERR_UNAVAILABLE, errno, "allocate a stack", NULL, NULL);
    h->stack = stack;
    int r = born(h, cgroup_fd, err);
    if (r == 0)
        fd_replace(&h->sock_far, -1);
    return r;
}

void userns_helper_release(struct userns_helper *h)
{
    int keep = errno;
    /* A byte and not only the end of file: a thread of the caller's that forks in between would
     * hold a copy of the socket. Where the byte does not arrive, the socket's end does, whoever has
     * a copy of it: closing says nothing while another helper, born beside this one, holds one. */
    if (h->pid > 0 && h->sock >= 0 && send(h->sock, "q", 1, MSG_NOSIGNAL) != 1)
        (void)shutdown(h->sock, SHUT_RDWR);
    fd_replace(&h->sock, -1);
    errno = keep;
}

void userns_helper_end(struct userns_helper *h)
{
    userns_helper_release(h);
    if (h->pid > 0) {
        int keep = errno;
        while (waitpid(h->pid, NULL, __WALL) < 0 && errno == EINTR)
            ;
        if (h->owner != UINT32_MAX && h->dumpable == 1)
            prctl(PR_SET_DUMPABLE, 1);
        errno = keep;
    }
    h->pid = -1;
    fd_replace(&h->sock, -1);
    fd_replace(&h->sock_far, -1);
    fd_replace(&h->join, -1);
    if (h->stack)
        munmap(h->stack, STACK_BYTES);
    h->stack = NULL;
}
