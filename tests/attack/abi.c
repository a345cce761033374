/* This file is an attack program: it makes system calls through the other doors of an x86-64
 * kernel, int 0x80 (i386 numbers) and x32 numbers (row 20, and row 16 by every ABI). Every one must
 * be answered ENOSYS, with the process alive. It never passes an argument that would do harm.
 */
#include "try.h"

#include <signal.h>

#if !defined(__x86_64__)
#error "these doors exist on x86-64 only"
#endif

enum { X32_BIT = 0x40000000 };

static long int80(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "a"(number), "b"(a), "c"(b), "d"(c)
                     : "memory", "r8", "r9", "r10", "r11");
    return (int)result;
}

struct row {
    const char *name;
    long number, a, b, c;
};

/* i386 numbers */
static const struct row i386_rows[] = {
    {"getpid", 20, 0, 0, 0},
    {"chmod_setuid", 15, 1, 04755, 0},
    {"mknod", 14, 1, 020666, 0x103},
    {"mount", 21, 1, 1, 1},
    {"ptrace", 26, 0x7fff, 0, 0},
    {"reboot", 88, 0, 0, 0},
    {"init_module", 128, 1, 0, 1},
    {"personality", 136, 0xffffffff, 0, 0},
    {"socketcall_vsock", 102, 1, 1, 0},
    {"socket_vsock", 359, 40, 1, 0},
    {"unshare", 310, 1, 0, 0},
    {"setns", 346, -1, 0, 0},
    {"bpf", 357, 0x7fff, 1, 8},
    {"io_uring_setup", 425, 1, 1, 0},
    {"open_tree", 428, -1, 1, 0},
    {"keyctl", 288, 0, -3, 0},
    {"vm86old", 113, 0, 0, 0},
};

static const struct row x32_rows[] = {
    {"getpid", SYS_getpid, 0, 0, 0},
    {"chmod_setuid", SYS_chmod, 1, 04755, 0},
    {"mount", SYS_mount, 1, 1, 1},
    {"unshare", SYS_unshare, 1, 0, 0},
    {"setns", SYS_setns, -1, 0, 0},
    {"socket_vsock", SYS_socket, 40, 1, 0},
    {"bpf", SYS_bpf, 0x7fff, 1, 8},
    {"keyctl", SYS_keyctl, 0, -3, 0},
    {"io_uring_setup", SYS_io_uring_setup, 1, 1, 0},
    {"x32_ptrace", 521, 0x7fff, 0, 0},
    {"x32_kexec_load", 528, 0, 0x7fffffff, 1},
    {"x32_execve", 520, 1, 1, 1},
    {"x32_ioctl", 514, -1, 0, 0},
};

static void judge(const char *name, long result)
{
    if (result == -ENOSYS)
        try_denied(name, ENOSYS);
    else if (result < 0 && result > -4096)
        try_succeeded(name, "answered %s, not ENOSYS", strerrorname_np((int)-result));
    else
        try_succeeded(name, "returned %ld", result);
}

static int step_int80(void *argument)
{
    const struct row *row = argument;
    long r = int80(row->number, row->a, row->b, row->c);
    return r == -ENOSYS ? ENOSYS : 0;
}

/* A kernel without 32-bit emulation sends SIGSEGV for int 0x80: then there is no such door. */
static bool has_int80(void)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        int80(20, 0, 0, 0);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return !(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(void)
{
    char name[64];
    try_begin();
    if (has_int80()) {
        for (size_t i = 0; i < sizeof i386_rows / sizeof *i386_rows; i++) {
            snprintf(name, sizeof name, "int80_%s", i386_rows[i].name);
            try_in_child(name, step_int80, (void *)(uintptr_t)&i386_rows[i]);
        }
    } else {
        printf("missing int80: this kernel has no 32-bit emulation\n");
    }
    for (size_t i = 0; i < sizeof x32_rows / sizeof *x32_rows; i++) {
        const struct row *row = &x32_rows[i];
        snprintf(name, sizeof name, "x32_%s", row->name);
        long r = syscall(row->number | X32_BIT, row->a, row->b, row->c);
        judge(name, r == -1 ? -errno : r);
    }
    /* Numbers that do not exist, and one that is negative as a 32-bit number. */
    long strange[] = {1000, 0x3fffffff, 0x7fffffff, -2};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        snprintf(name, sizeof name, "number_%ld", strange[i]);
        long r = syscall(strange[i], 0, 0, 0);
        judge(name, r == -1 ? -errno : r);
    }
    return try_end("abi");
}
