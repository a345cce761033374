/* This file is the filter of front; it never loads one. Numbers of arguments are the kernel's ABI,
 * written out as in seccomp_rules.c. Pure.
 */
#include "runtime/plan/seccomp_front.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp_own.h"

#include <errno.h>

/* By what needs them. The list was made by tracing the tests, with a ledger on a full disk and
 * clients that leave; calls of the same kind that only another libc would use stand beside. */
static const char *const allowed[] = {
    /* bytes */
    "read",
    "write",
    "readv",
    "writev",
    "pread64",
    "pwrite64",
    "preadv",
    "pwritev",
    "close",
    "lseek",
    "pipe2",
    "dup",
    "dup3",
    "splice",
    "tee",
    "sendfile",
    "poll",
    "ppoll",
    "memfd_create",
    /* clients, inits, the launcher */
    "accept4",
    "connect",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "shutdown",
    "getsockopt",
    "setsockopt",
    "getsockname",
    "getpeername",
    /* the loop */
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "eventfd2",
    "timerfd_create",
    "timerfd_settime",
    /* ledger and spools, in directories that Landlock leaves */
    "open",
    "openat",
    "stat",
    "lstat",
    "fstat",
    "newfstatat",
    "statx",
    "statfs",
    "fstatfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getcwd",
    "getdents64",
    "mkdir",
    "mkdirat",
    "rmdir",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "fchmod",
    "fchown",
    "flock",
    "umask",
    "utimensat",
    "fadvise64",
    /* memory and threads */
    "brk",
    "munmap",
    "mremap",
    "madvise",
    "futex",
    "set_robust_list",
    "rseq",
    "set_tid_address",
    "sched_yield",
    "sched_getaffinity",
    "membarrier",
    "exit",
    "exit_group",
    "restart_syscall",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sigaltstack",
    "getrandom",
    /* who and when */
    "getpid",
    "gettid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getresuid",
    "getresgid",
    "clock_gettime",
    "clock_getres",
    "clock_nanosleep",
    "nanosleep",
    "gettimeofday",
    "time",
    "uname",
    "sysinfo",
    "getrlimit",
    "getrusage",
};

static const struct seccomp_clause no_execution[] = {
    OWN_CLAUSE(EACCES, OWN_HAS(2, 4u))}; /* PROT_EXEC */
static const struct seccomp_clause threads[] = {
    OWN_CLAUSE(0, OWN_HAS(0, 0x10000u))}; /* CLONE_THREAD */
static const struct seccomp_clause of_unix[] = {OWN_CLAUSE(0, OWN_EQUALS(0, 1u))}; /* AF_UNIX */
static const struct seccomp_clause of_itself[] = {OWN_CLAUSE(0, OWN_EQUALS(0, 0u))};
static const struct seccomp_clause of_thread_name[] = {
    OWN_CLAUSE(0, OWN_EQUALS(0, 15u))}; /* PR_SET_NAME */
static const struct seccomp_clause of_descriptors[] = {
    OWN_CLAUSE(0, OWN_EQUALS(1, 0x541bu)), /* FIONREAD */
    OWN_CLAUSE(0, OWN_EQUALS(1, 0x5421u)), /* FIONBIO */
};
/* The ways by which a descriptor sends a signal to somebody, or holds another process up. */
static const struct seccomp_clause no_signals[] = {
    OWN_CLAUSE(EPERM, OWN_EQUALS(1, 8u)),    /* F_SETOWN */
    OWN_CLAUSE(EPERM, OWN_EQUALS(1, 10u)),   /* F_SETSIG */
    OWN_CLAUSE(EPERM, OWN_EQUALS(1, 15u)),   /* F_SETOWN_EX */
    OWN_CLAUSE(EPERM, OWN_EQUALS(1, 1024u)), /* F_SETLEASE */
    OWN_CLAUSE(EPERM, OWN_EQUALS(1, 1026u)), /* F_NOTIFY */
};

static const struct seccomp_own_judged judged[] = {
    {"mmap", {no_execution, 0, 0, ARRAY_LENGTH(no_execution)}},
    {"mprotect", {no_execution, 0, 0, ARRAY_LENGTH(no_execution)}},
    /* clone3 hides its flags in memory: it is ENOSYS, and libc then uses this one. */
    {"clone", {threads, 0, EPERM, ARRAY_LENGTH(threads)}},
    {"socket", {of_unix, 0, EAFNOSUPPORT, ARRAY_LENGTH(of_unix)}},
    {"prlimit64", {of_itself, 0, EPERM, ARRAY_LENGTH(of_itself)}},
    {"prctl", {of_thread_name, 0, EPERM, ARRAY_LENGTH(of_thread_name)}},
    {"ioctl", {of_descriptors, 0, ENOTTY, ARRAY_LENGTH(of_descriptors)}},
    {"fcntl", {no_signals, 0, 0, ARRAY_LENGTH(no_signals)}},
};

int seccomp_front(struct sock_filter ret_code[SECCOMP_FRONT_MAX], uint32_t *ret_length,
                  struct err *err)
{
    const struct seccomp_own own = {.step = "build front's filter",
                                    .allowed = allowed,
                                    .allowed_count = ARRAY_LENGTH(allowed),
                                    .judged = judged,
                                    .judged_count = ARRAY_LENGTH(judged)};
    return seccomp_own(&own, ret_code, SECCOMP_FRONT_MAX, ret_length, err);
}
