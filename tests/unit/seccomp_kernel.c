/* This file loads the real filters in a forked child and holds the kernel's answers against the
 * simulation: every call that the simulation refuses is really made (a refused call does nothing),
 * and a few harmless ones that it allows. No privilege, and root's is given up; the child ends with
 * the test.
 */
#include "runtime/base/fd.h"
#include "runtime/plan/seccomp.h"
#include "tests/unit/seccomp_samples.h"

#include <criterion/criterion.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

struct report {
    unsigned refused, wrong;
    char first[200]; /* the first difference */
};

static bool load(const struct seccomp_program *p)
{
    struct sock_fprog program = {.len = (unsigned short)p->length, .filter = p->code};
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0;
}

/* Of two filters that both answer an errno the newer one's is returned; 0: both allow. */
static int expected(const struct seccomp_program *base, const struct seccomp_program *exec,
                    const struct seccomp_data *data)
{
    uint32_t newer = seccomp_simulate(exec->code, exec->length, data);
    uint32_t older = seccomp_simulate(base->code, base->length, data);
    if (newer != SECCOMP_RET_ALLOW)
        return (int)(newer & SECCOMP_RET_DATA);
    return older == SECCOMP_RET_ALLOW ? 0 : (int)(older & SECCOMP_RET_DATA);
}

static void make_call(const struct seccomp_data *data, int want, struct report *report)
{
    const __u64 *a = data->args;
    errno = 0;
    long r = syscall(data->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    int have = errno;
    report->refused++;
    if (r == -1 && have == want)
        return;
    if (report->wrong++ == 0)
        snprintf(report->first, sizeof(report->first),
                 "call %d (%#llx, %#llx, %#llx): %ld %d, not %d", data->nr, a[0], a[1], a[2], r,
                 have, want);
}

static void try_everything(const struct seccomp_program *base, const struct seccomp_program *exec,
                           struct report *report)
{
    for (int high = 0; high < 2; high++)
        for (int n = 0; n <= 600; n++) {
            struct seccomp_data data = {.nr = high ? n | 0x40000000 : n, .arch = AUDIT_ARCH_X86_64};
            int want = expected(base, exec, &data);
            if (want)
                make_call(&data, want, report);
        }
    for (int high = 0; high < 2; high++)
        for (size_t i = 0; i < ARRAY_LENGTH(samples); i++) {
            struct seccomp_data data = {.nr = samples[i].number, .arch = AUDIT_ARCH_X86_64};
            for (int k = 0; k < 6; k++)
                data.args[k] = samples[i].args[k] | (high ? 0xffffffff00000000u : 0);
            int want = expected(base, exec, &data);
            if (want)
                make_call(&data, want, report);
        }
}

static bool harmless_calls_work(void)
{
    char name[16] = "";
    int fd = (int)syscall(SYS_openat, -100, "/dev/null", 0, 06755);
    return fd >= 0 && close(fd) == 0 && getpid() > 0 && prctl(PR_GET_NAME, name) == 0 &&
           (fd = (int)syscall(SYS_socket, 1, 02000001, 0)) >= 0 && close(fd) == 0 &&
           (fd = (int)syscall(SYS_socket, 16, 3, 0)) >= 0 && close(fd) == 0 &&
           (fd = (int)syscall(SYS_memfd_create, "", 0)) >= 0 && close(fd) == 0 &&
           syscall(SYS_personality, 0xffffffff) == 0;
}

static void child(bool shared_uid, enum spec_seccomp_profile profile, int out)
{
    struct seccomp_program base, exec;
    struct report report = {0};
    /* Should a filter be wrong, then nothing happens to the machine that runs this. */
    if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
        _exit(2);
    if (seccomp_base(shared_uid, &base, NULL) != 0 ||
        seccomp_exec(profile, NULL, 0, &exec, NULL) != 0 ||
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !load(&base) || !load(&exec))
        _exit(2);
    try_everything(&base, &exec, &report);
    if (profile == SPEC_SECCOMP_DEFAULT && !harmless_calls_work())
        _exit(3);
    _exit(write(out, &report, sizeof(report)) == sizeof(report) ? 0 : 4);
}

static void kernel_equals_simulation(bool shared_uid, enum spec_seccomp_profile profile,
                                     unsigned least)
{
    int pipe_fds[2], status;
    struct report report = {0};
    cr_assert_eq(pipe(pipe_fds), 0);
    pid_t pid = fork();
    if (pid == 0)
        child(shared_uid, profile, pipe_fds[1]);
    close(pipe_fds[1]);
    ssize_t got = read(pipe_fds[0], &report, sizeof(report));
    close(pipe_fds[0]);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
    cr_assert_eq(got, sizeof(report));
    cr_assert_eq(report.wrong, 0, "%u differences, first: %s", report.wrong, report.first);
    cr_assert_gt(report.refused, least);
}

Test(seccomp_kernel, answers_as_the_simulation_of_default_does)
{
    kernel_equals_simulation(false, SPEC_SECCOMP_DEFAULT, 900);
}

Test(seccomp_kernel, answers_as_the_simulation_of_strict_does)
{
    kernel_equals_simulation(false, SPEC_SECCOMP_STRICT, 900);
}

Test(seccomp_kernel, answers_as_the_simulation_of_debug_with_a_shared_uid_does)
{
    kernel_equals_simulation(true, SPEC_SECCOMP_DEBUG, 900);
}

static long call_by_int_0x80(long number)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(0L), "c"(0L), "d"(0L), "S"(0L), "D"(0L)
                     : "memory", "r8", "r9", "r10", "r11", "cc");
    return result;
}

/* Exit status of a child that makes i386 calls: 0 all ENOSYS, 1 some were not, 2 not set up. */
static int int_0x80_child(bool filtered)
{
    pid_t pid = fork();
    int status = -1;
    if (pid == 0) {
        struct seccomp_program base;
        if (filtered && (seccomp_base(false, &base, NULL) != 0 ||
                         prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || !load(&base)))
            _exit(2);
        /* getpid; then, filtered only: fork, unshare, mount, exit as i386 numbers them. */
        static const long numbers[] = {20, 2, 310, 21, 1};
        size_t count = filtered ? ARRAY_LENGTH(numbers) : 1;
        for (size_t i = 0; i < count; i++)
            if (call_by_int_0x80(numbers[i]) != -ENOSYS)
                _exit(1);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* Attack row 20. */
Test(seccomp_kernel, int_0x80_is_enosys_and_the_process_lives)
{
    int plain = int_0x80_child(false);
    if (WIFSIGNALED(plain)) /* a kernel without IA32 emulation: nothing to filter */
        cr_skip_test("this kernel has no 32-bit calls");
    cr_assert(WIFEXITED(plain) && WEXITSTATUS(plain) == 1, "unfiltered, getpid must work");
    int filtered = int_0x80_child(true);
    cr_assert(WIFEXITED(filtered) && WEXITSTATUS(filtered) == 0, "ended with %#x", filtered);
}
