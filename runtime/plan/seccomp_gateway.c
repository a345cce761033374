/* This file is the filter of the gateway; it never loads one. Numbers of arguments are the kernel's
 * ABI, written out as in seccomp_rules.c. Pure.
 */
#include "runtime/plan/seccomp_gateway.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp_own.h"

#include <errno.h>

/* By what needs them. Calls of the same kind that only another libc would use stand beside. */
static const char *const allowed[] = {
    /* bytes */
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "close",
    "pipe2",
    "splice",
    "poll",
    "ppoll",
    "fstat",
    "newfstatat", /* glibc's fstat(): with an empty path; a path is Landlock's to refuse */
    /* sockets */
    "accept4",
    "connect",
    "bind",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "sendmmsg",
    "recvmmsg",
    "shutdown",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "getpeername",
    /* the loop */
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    /* memory, end */
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "exit",
    "exit_group",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "futex",
    "getrandom",
    /* who and when */
    "getpid",
    "gettid",
    "clock_gettime",
    "gettimeofday",
    "time",
};

static const struct seccomp_clause no_execution[] = {
    OWN_CLAUSE(EACCES, OWN_HAS(2, 4u))};                                            /* PROT_EXEC */
static const struct seccomp_clause of_inet[] = {OWN_CLAUSE(0, OWN_EQUALS(0, 2u)),   /* AF_INET */
                                                OWN_CLAUSE(0, OWN_EQUALS(0, 10u))}; /* AF_INET6 */
static const struct seccomp_clause of_descriptors[] = {
    OWN_CLAUSE(0, OWN_EQUALS(1, 0x541bu)), /* FIONREAD */
    OWN_CLAUSE(0, OWN_EQUALS(1, 0x5421u)), /* FIONBIO */
};
static const struct seccomp_clause flags[] = {
    OWN_CLAUSE(0, OWN_EQUALS(1, 1u)),    /* F_GETFD */
    OWN_CLAUSE(0, OWN_EQUALS(1, 2u)),    /* F_SETFD */
    OWN_CLAUSE(0, OWN_EQUALS(1, 3u)),    /* F_GETFL */
    OWN_CLAUSE(0, OWN_EQUALS(1, 4u)),    /* F_SETFL */
    OWN_CLAUSE(0, OWN_EQUALS(1, 1030u)), /* F_DUPFD_CLOEXEC */
    OWN_CLAUSE(0, OWN_EQUALS(1, 1031u)), /* F_SETPIPE_SZ */
};

static const struct seccomp_own_judged judged[] = {
    {"mmap", {no_execution, 0, 0, ARRAY_LENGTH(no_execution)}},
    {"mprotect", {no_execution, 0, 0, ARRAY_LENGTH(no_execution)}},
    {"socket", {of_inet, 0, EAFNOSUPPORT, ARRAY_LENGTH(of_inet)}},
    {"ioctl", {of_descriptors, 0, ENOTTY, ARRAY_LENGTH(of_descriptors)}},
    {"fcntl", {flags, 0, EPERM, ARRAY_LENGTH(flags)}},
};

int seccomp_gateway(struct sock_filter ret_code[SECCOMP_GATEWAY_MAX], uint32_t *ret_length,
                    struct err *err)
{
    const struct seccomp_own own = {.step = "build the gateway's filter",
                                    .allowed = allowed,
                                    .allowed_count = ARRAY_LENGTH(allowed),
                                    .judged = judged,
                                    .judged_count = ARRAY_LENGTH(judged)};
    return seccomp_own(&own, ret_code, SECCOMP_GATEWAY_MAX, ret_length, err);
}
