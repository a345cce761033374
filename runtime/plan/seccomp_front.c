/* This file is the filter of front; it never loads one. Numbers of arguments are the kernel's ABI,
 * written out as in seccomp_rules.c. Pure.
 */
#include "runtime/plan/seccomp_front.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp_emit.h"

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

#define WHOLE 0xffffffffu
/* clang-format off */
#define CLAUSE(verdict, ...) {.answer = (verdict), .when = {__VA_ARGS__}}
#define EQUALS(arg, val) {TEST_IS, arg, WHOLE, val}
#define HAS(arg, mask) {TEST_HAS, arg, mask, 0}
/* clang-format on */

static const struct seccomp_clause no_execution[] = {CLAUSE(EACCES, HAS(2, 4u))}; /* PROT_EXEC */
static const struct seccomp_clause threads[] = {CLAUSE(0, HAS(0, 0x10000u))};     /* CLONE_THREAD */
static const struct seccomp_clause of_unix[] = {CLAUSE(0, EQUALS(0, 1u))};        /* AF_UNIX */
static const struct seccomp_clause of_itself[] = {CLAUSE(0, EQUALS(0, 0u))};
static const struct seccomp_clause of_thread_name[] = {CLAUSE(0, EQUALS(0, 15u))}; /* PR_SET_NAME */
static const struct seccomp_clause of_descriptors[] = {
    CLAUSE(0, EQUALS(1, 0x541bu)), /* FIONREAD */
    CLAUSE(0, EQUALS(1, 0x5421u)), /* FIONBIO */
};
/* The ways by which a descriptor sends a signal to somebody, or holds another process up. */
static const struct seccomp_clause no_signals[] = {
    CLAUSE(EPERM, EQUALS(1, 8u)),    /* F_SETOWN */
    CLAUSE(EPERM, EQUALS(1, 10u)),   /* F_SETSIG */
    CLAUSE(EPERM, EQUALS(1, 15u)),   /* F_SETOWN_EX */
    CLAUSE(EPERM, EQUALS(1, 1024u)), /* F_SETLEASE */
    CLAUSE(EPERM, EQUALS(1, 1026u)), /* F_NOTIFY */
};

static const struct {
    const char *name;
    struct seccomp_rule rule;
} judged[] = {
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

static int find(const char *name, uint16_t *ret_number, struct err *err)
{
    const struct seccomp_call *call = seccomp_table_by_name(name);
    if (!call)
        return err_set(err, ERR_INTERNAL, ENOENT, "build front's filter", name,
                       "This call is not in the table.");
    *ret_number = call->number;
    return 0;
}

int seccomp_front(struct sock_filter ret_code[SECCOMP_FRONT_MAX], uint32_t *ret_length,
                  struct err *err)
{
    struct seccomp_verdict verdicts[SECCOMP_NUMBER_END];
    uint16_t number = 0;
    int r = 0;
    for (unsigned i = 0; i < SECCOMP_NUMBER_END; i++)
        verdicts[i] = (struct seccomp_verdict){.answer = ENOSYS};
    for (unsigned i = 0; r == 0 && i < ARRAY_LENGTH(allowed); i++) {
        r = find(allowed[i], &number, err);
        if (r == 0)
            verdicts[number].answer = 0;
    }
    for (unsigned i = 0; r == 0 && i < ARRAY_LENGTH(judged); i++) {
        r = find(judged[i].name, &number, err);
        if (r == 0)
            verdicts[number].rule = &judged[i].rule;
    }
    if (r == 0)
        r = seccomp_emit(verdicts, ENOSYS, SPEC_SECCOMP_DEFAULT, ret_code, SECCOMP_FRONT_MAX,
                         ret_length);
    if (r == -E2BIG)
        return err_set(err, ERR_INTERNAL, E2BIG, "build front's filter", NULL, NULL);
    return r;
}
