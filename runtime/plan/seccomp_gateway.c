/* This file is the filter of the gateway; it never loads one. Numbers of arguments are the kernel's
 * ABI, written out as in seccomp_rules.c. Pure.
 */
#include "runtime/plan/seccomp_gateway.h"

#include "runtime/base/fd.h"
#include "runtime/plan/seccomp_emit.h"

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

#define WHOLE 0xffffffffu
/* clang-format off */
#define CLAUSE(verdict, ...) {.answer = (verdict), .when = {__VA_ARGS__}}
#define EQUALS(arg, val) {TEST_IS, arg, WHOLE, val}
#define HAS(arg, mask) {TEST_HAS, arg, mask, 0}
/* clang-format on */

static const struct seccomp_clause no_execution[] = {CLAUSE(EACCES, HAS(2, 4u))}; /* PROT_EXEC */
static const struct seccomp_clause of_inet[] = {CLAUSE(0, EQUALS(0, 2u)),         /* AF_INET */
                                                CLAUSE(0, EQUALS(0, 10u))};       /* AF_INET6 */
static const struct seccomp_clause of_descriptors[] = {
    CLAUSE(0, EQUALS(1, 0x541bu)), /* FIONREAD */
    CLAUSE(0, EQUALS(1, 0x5421u)), /* FIONBIO */
};
static const struct seccomp_clause flags[] = {
    CLAUSE(0, EQUALS(1, 1u)),    /* F_GETFD */
    CLAUSE(0, EQUALS(1, 2u)),    /* F_SETFD */
    CLAUSE(0, EQUALS(1, 3u)),    /* F_GETFL */
    CLAUSE(0, EQUALS(1, 4u)),    /* F_SETFL */
    CLAUSE(0, EQUALS(1, 1030u)), /* F_DUPFD_CLOEXEC */
    CLAUSE(0, EQUALS(1, 1031u)), /* F_SETPIPE_SZ */
};

static const struct {
    const char *name;
    struct seccomp_rule rule;
} judged[] = {
    {"mmap", {no_execution, 0, 0, ARRAY_LENGTH(no_execution)}},
    {"mprotect", {no_execution, 0, 0, ARRAY_LENGTH(no_execution)}},
    {"socket", {of_inet, 0, EAFNOSUPPORT, ARRAY_LENGTH(of_inet)}},
    {"ioctl", {of_descriptors, 0, ENOTTY, ARRAY_LENGTH(of_descriptors)}},
    {"fcntl", {flags, 0, EPERM, ARRAY_LENGTH(flags)}},
};

static int find(const char *name, uint16_t *ret_number, struct err *err)
{
    const struct seccomp_call *call = seccomp_table_by_name(name);
    if (!call)
        return err_set(err, ERR_INTERNAL, ENOENT, "build the gateway's filter", name,
                       "This call is not in the table.");
    *ret_number = call->number;
    return 0;
}

int seccomp_gateway(struct sock_filter ret_code[SECCOMP_GATEWAY_MAX], uint32_t *ret_length,
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
        r = seccomp_emit(verdicts, ENOSYS, SPEC_SECCOMP_DEFAULT, ret_code, SECCOMP_GATEWAY_MAX,
                         ret_length);
    if (r == -E2BIG)
        return err_set(err, ERR_INTERNAL, E2BIG, "build the gateway's filter", NULL, NULL);
    return r;
}
