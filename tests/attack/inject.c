/* This file is the injector of tests/e2e/fault.sh: it runs a command, follows every process that is
 * born of it, and makes one system call of one of them fail. It never depends on which process ran
 * first: a process is named by whose child it is and by the order of its parent's births, and a
 * call by its number among its process's calls of that name. It runs on the host's side only.
 *
 *     inject -o FILE [-u UID] [ROLE CALL NUMBER ERROR] -- PROGRAM ARGUMENT…
 *
 * ROLE is "run" for PROGRAM, "run.1" for its first child, and so on. Without a call to fail, FILE
 * gets one line "ROLE CALL COUNT" for each kind of call that a process made. Otherwise FILE gets
 * the call that failed and the last one before it that had a descriptor or a path, their
 * descriptors with what they stand for; nothing, when it was never made.
 *
 * Only calls before the command (a program named hostside) is executed are counted and fail, and
 * none of a program that is neither PROGRAM nor berth-init (which an ordinary user may not look
 * into). From the fault on nothing is followed any more. Status: PROGRAM's, 128 and the signal that
 * ended it, or 99 when the injector itself failed.
 *
 * This file is long because of the table of the calls that it shows.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CALLS_MAX = 512, TRACEES_MAX = 512, ROLE_MAX = 48, LINE_BYTES = 2048, INJECTOR_FAILED = 99 };

/* How the arguments are shown: f descriptor, p text, b bytes (their number is the next argument),
 * d number, o octal, x hexadecimal, H openat2's flags and resolution; P, F, I, K: the first
 * argument of prctl, fcntl, ioctl, keyctl.
 */
static const struct {
    long number;
    const char *name, *arguments;
} calls[] = {
#define CALL(name, arguments)        \
    {                                \
        SYS_##name, #name, arguments \
    }
    CALL(access, "po"),
    CALL(arch_prctl, "xx"),
    CALL(bind, "fxd"),
    CALL(brk, "x"),
    CALL(capget, "xx"),
    CALL(capset, "xx"),
    CALL(chdir, "p"),
    CALL(chmod, "po"),
    CALL(chown, "pdd"),
    CALL(clock_gettime, "dx"),
    CALL(clock_nanosleep, "dxxx"),
    CALL(clone, "x"),
    CALL(clone3, "xd"),
    CALL(close, "f"),
    CALL(close_range, "ddx"),
    CALL(connect, "fxd"),
    CALL(dup, "f"),
    CALL(dup2, "fd"),
    CALL(dup3, "fdx"),
    CALL(epoll_create1, "x"),
    CALL(epoll_ctl, "fdfx"),
    CALL(epoll_pwait, "fxdd"),
    CALL(epoll_wait, "fxdd"),
    CALL(eventfd2, "dx"),
    CALL(execve, "pxx"),
    CALL(execveat, "fpxxx"),
    CALL(exit, "d"),
    CALL(exit_group, "d"),
    CALL(faccessat, "fpo"),
    CALL(faccessat2, "fpox"),
    CALL(fadvise64, "fddd"),
    CALL(fallocate, "fxdd"),
    CALL(fchdir, "f"),
    CALL(fchmod, "fo"),
    CALL(fchmodat, "fpo"),
    CALL(fchown, "fdd"),
    CALL(fchownat, "fpddx"),
    CALL(fcntl, "fFx"),
    CALL(fdatasync, "f"),
    CALL(flock, "fx"),
    CALL(fork, ""),
    CALL(fsconfig, "fxppd"),
    CALL(fsetxattr, "fpxdx"),
    CALL(fgetxattr, "fpxd"),
    CALL(fsmount, "fxx"),
    CALL(fsopen, "px"),
    CALL(fstat, "fx"),
    CALL(fstatfs, "fx"),
    CALL(fsync, "f"),
    CALL(ftruncate, "fd"),
    CALL(futex, "xxx"),
    CALL(getcwd, "xd"),
    CALL(getdents64, "fxd"),
    CALL(getegid, ""),
    CALL(geteuid, ""),
    CALL(getgid, ""),
    CALL(getgroups, "dx"),
    CALL(getpid, ""),
    CALL(getppid, ""),
    CALL(getpriority, "dd"),
    CALL(getrandom, "xdx"),
    CALL(getresgid, "xxx"),
    CALL(getresuid, "xxx"),
    CALL(getrlimit, "dx"),
    CALL(getrusage, "dx"),
    CALL(getsid, "d"),
    CALL(getsockopt, "fddxx"),
    CALL(gettid, ""),
    CALL(getuid, ""),
    CALL(ioctl, "fIx"),
    CALL(ioprio_get, "dd"),
    CALL(ioprio_set, "ddx"),
    CALL(keyctl, "Kx"),
    CALL(kill, "dd"),
    CALL(landlock_add_rule, "fdxx"),
    CALL(landlock_create_ruleset, "xdx"),
    CALL(landlock_restrict_self, "fx"),
    CALL(link, "pp"),
    CALL(linkat, "fpfpx"),
    CALL(listen, "fd"),
    CALL(lseek, "fdd"),
    CALL(lstat, "px"),
    CALL(madvise, "xdd"),
    CALL(memfd_create, "px"),
    CALL(mkdir, "po"),
    CALL(mkdirat, "fpo"),
    CALL(mknod, "pox"),
    CALL(mknodat, "fpox"),
    CALL(mmap, "xdxxfx"),
    CALL(mount, "pppx"),
    CALL(mount_setattr, "fpxxd"),
    CALL(move_mount, "fpfpx"),
    CALL(mprotect, "xdx"),
    CALL(mremap, "xddx"),
    CALL(munmap, "xd"),
    CALL(name_to_handle_at, "fp"),
    CALL(nanosleep, "xx"),
    CALL(newfstatat, "fpxx"),
    CALL(open, "pxo"),
    CALL(open_tree, "fpx"),
    CALL(openat, "fpxo"),
    CALL(openat2, "fpHd"),
    CALL(personality, "x"),
    CALL(pidfd_getfd, "fdx"),
    CALL(pidfd_open, "dx"),
    CALL(pidfd_send_signal, "fdxx"),
    CALL(pipe2, "xx"),
    CALL(pivot_root, "pp"),
    CALL(poll, "xdd"),
    CALL(ppoll, "xdxx"),
    CALL(prctl, "Px"),
    CALL(pread64, "fxdd"),
    CALL(preadv, "fxd"),
    CALL(prlimit64, "ddxx"),
    CALL(pwrite64, "fbdd"),
    CALL(read, "fxd"),
    CALL(readlink, "pxd"),
    CALL(readlinkat, "fpxd"),
    CALL(readv, "fxd"),
    CALL(recvfrom, "fxdx"),
    CALL(recvmsg, "fxx"),
    CALL(rename, "pp"),
    CALL(renameat, "fpfp"),
    CALL(renameat2, "fpfpx"),
    CALL(rmdir, "p"),
    CALL(rseq, "xdxx"),
    CALL(rt_sigaction, "dxx"),
    CALL(rt_sigprocmask, "dxx"),
    CALL(rt_sigreturn, ""),
    CALL(rt_sigtimedwait, "xxx"),
    CALL(sched_get_priority_max, "d"),
    CALL(sched_getaffinity, "ddx"),
    CALL(sched_getattr, "dxdx"),
    CALL(sched_getparam, "dx"),
    CALL(sched_getscheduler, "d"),
    CALL(sched_setaffinity, "ddx"),
    CALL(sched_setattr, "dxx"),
    CALL(sched_setscheduler, "ddx"),
    CALL(sched_yield, ""),
    CALL(seccomp, "dxx"),
    CALL(sendfile, "ffxd"),
    CALL(sendmsg, "fxx"),
    CALL(sendto, "fbdx"),
    CALL(set_robust_list, "xd"),
    CALL(set_tid_address, "x"),
    CALL(setfsgid, "d"),
    CALL(setfsuid, "d"),
    CALL(setgid, "d"),
    CALL(setgroups, "dx"),
    CALL(sethostname, "bd"),
    CALL(setns, "fx"),
    CALL(setpgid, "dd"),
    CALL(setpriority, "ddd"),
    CALL(setresgid, "ddd"),
    CALL(setresuid, "ddd"),
    CALL(setrlimit, "dx"),
    CALL(setsid, ""),
    CALL(setsockopt, "fddxd"),
    CALL(setuid, "d"),
    CALL(setxattr, "ppxdx"),
    CALL(shutdown, "fd"),
    CALL(signalfd4, "fxdx"),
    CALL(socket, "ddd"),
    CALL(socketpair, "dddx"),
    CALL(splice, "fxfxdx"),
    CALL(stat, "px"),
    CALL(statfs, "px"),
    CALL(statx, "fpxx"),
    CALL(symlink, "pp"),
    CALL(symlinkat, "pfp"),
    CALL(sysinfo, "x"),
    CALL(tgkill, "ddd"),
    CALL(timerfd_create, "dx"),
    CALL(timerfd_settime, "fxxx"),
    CALL(tkill, "dd"),
    CALL(umask, "o"),
    CALL(umount2, "px"),
    CALL(uname, "x"),
    CALL(unlink, "p"),
    CALL(unlinkat, "fpx"),
    CALL(unshare, "x"),
    CALL(utimensat, "fpxx"),
    CALL(vfork, ""),
    CALL(wait4, "dxxx"),
    CALL(waitid, "ddxx"),
    CALL(write, "fbd"),
    CALL(writev, "fxd"),
};

static const struct {
    char kind;
    unsigned long value;
    const char *name;
} words[] = {
    {'P', 1, "PR_SET_PDEATHSIG"},
    {'P', 2, "PR_GET_PDEATHSIG"},
    {'P', 3, "PR_GET_DUMPABLE"},
    {'P', 4, "PR_SET_DUMPABLE"},
    {'P', 15, "PR_SET_NAME"},
    {'P', 22, "PR_SET_SECCOMP"},
    {'P', 23, "PR_CAPBSET_READ"},
    {'P', 24, "PR_CAPBSET_DROP"},
    {'P', 27, "PR_GET_SECUREBITS"},
    {'P', 28, "PR_SET_SECUREBITS"},
    {'P', 35, "PR_SET_MM"},
    {'P', 36, "PR_SET_CHILD_SUBREAPER"},
    {'P', 38, "PR_SET_NO_NEW_PRIVS"},
    {'P', 39, "PR_GET_NO_NEW_PRIVS"},
    {'P', 47, "PR_CAP_AMBIENT"},
    {'P', 21, "PR_GET_SECCOMP"},
    {'P', 53, "PR_SET_SPECULATION_CTRL"},
    {'F', F_GETFD, "F_GETFD"},
    {'F', F_SETFD, "F_SETFD"},
    {'F', F_GETFL, "F_GETFL"},
    {'F', F_SETFL, "F_SETFL"},
    {'F', F_DUPFD_CLOEXEC, "F_DUPFD_CLOEXEC"},
    {'F', F_ADD_SEALS, "F_ADD_SEALS"},
    {'F', F_GET_SEALS, "F_GET_SEALS"},
    {'F', F_SETPIPE_SZ, "F_SETPIPE_SZ"},
    {'F', F_OFD_SETLK, "F_OFD_SETLK"},
    {'F', F_OFD_GETLK, "F_OFD_GETLK"},
    {'F', F_SETLK, "F_SETLK"},
    {'F', F_OFD_SETLKW, "F_OFD_SETLKW"},
    {'I', 0x5401, "TCGETS"},
    {'I', 0x5413, "TIOCGWINSZ"},
    {'K', 1, "KEYCTL_JOIN_SESSION_KEYRING"},
};

struct text {
    char bytes[LINE_BYTES];
    size_t length;
};

struct tracee {
    pid_t pid; /* 0: free */
    char role[ROLE_MAX];
    bool named;       /* its parent's birth was seen */
    bool held;        /* stopped until then */
    bool ours;        /* runs PROGRAM or berth-init */
    bool failing;     /* the call that it is in was taken from it */
    struct text last; /* the call before this one; only of the process that is to fail */
    unsigned births;
    unsigned made[CALLS_MAX];
};

static struct tracee tracees[TRACEES_MAX];
static struct {
    const char *role, *program;
    long call;
    unsigned number;
    int error;
    FILE *out;
    bool done; /* the fault has happened, or the command has started */
} plan;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fprintf(stderr, "inject: ");
    vfprintf(stderr, format, list);
    fprintf(stderr, "\n");
    va_end(list);
    exit(INJECTOR_FAILED);
}

static const char *name_of(long number)
{
    static char unknown[32];
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].number == number)
            return calls[i].name;
    snprintf(unknown, sizeof unknown, "syscall_%ld", number);
    return unknown;
}

static long number_of(const char *name)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (strcmp(calls[i].name, name) == 0)
            return calls[i].number;
    if (strncmp(name, "syscall_", 8) == 0)
        return strtol(name + 8, NULL, 10);
    die("there is no call %s", name);
}

static int error_of(const char *name)
{
    for (int error = 1; error < 134; error++)
        if (strerrorname_np(error) && strcmp(strerrorname_np(error), name) == 0)
            return error;
    die("there is no error %s", name);
}

/* ---- the call as text
 * ---------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(t->bytes + t->length, sizeof t->bytes - t->length, format, list);
    va_end(list);
    if (n > 0)
        t->length +=
            (size_t)n < sizeof t->bytes - t->length ? (size_t)n : sizeof t->bytes - t->length - 1;
}

static void add_quoted(struct text *t, const char *bytes, size_t length)
{
    add(t, "\"");
    for (size_t i = 0; i < length; i++)
        if (bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '"')
            add(t, "%c", bytes[i]);
        else
            add(t, "\\x%02x", (unsigned char)bytes[i]);
    add(t, "\"");
}

/* Page by page: what follows a text may not be mapped. */
static size_t read_memory(pid_t pid, uint64_t address, void *to, size_t size)
{
    size_t have = 0;
    while (have < size) {
        size_t step = 4096 - (address + have) % 4096;
        struct iovec here = {(char *)to + have, step < size - have ? step : size - have};
        struct iovec there = {(void *)(uintptr_t)(address + have), here.iov_len};
        ssize_t n = process_vm_readv(pid, &here, 1, &there, 1, 0);
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    return have;
}

static void add_text(struct text *t, pid_t pid, uint64_t address)
{
    char bytes[256] = "";
    size_t n = address ? read_memory(pid, address, bytes, sizeof bytes) : 0;
    if (n == 0)
        add(t, address ? "0x%llx" : "NULL", (unsigned long long)address);
    else
        add_quoted(t, bytes, strnlen(bytes, n));
}

static void add_bytes(struct text *t, pid_t pid, uint64_t address, uint64_t length)
{
    char bytes[96] = "";
    add_quoted(t, bytes,
               read_memory(pid, address, bytes, length < sizeof bytes ? length : sizeof bytes));
}

static void add_descriptor(struct text *t, pid_t pid, uint64_t value)
{
    char path[64], target[512];
    int fd = (int)value;
    if (fd == AT_FDCWD) {
        add(t, "AT_FDCWD");
        return;
    }
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
    ssize_t n = fd < 0 ? -1 : readlink(path, target, sizeof target - 1);
    add(t, "%d", fd);
    if (n > 0)
        add(t, "<%.*s>", (int)n, target);
}

/* The first three of struct open_how: flags, mode, resolve. */
static void add_how(struct text *t, pid_t pid, uint64_t address)
{
    uint64_t how[3] = {0};
    if (read_memory(pid, address, how, sizeof how) == sizeof how)
        add(t, "{flags=0x%llx, resolve=0x%llx}", (unsigned long long)how[0],
            (unsigned long long)how[2]);
    else
        add(t, "0x%llx", (unsigned long long)address);
}

static void add_word(struct text *t, char kind, uint64_t value)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].kind == kind && words[i].value == value) {
            add(t, "%s", words[i].name);
            return;
        }
    add(t, "0x%llx", (unsigned long long)value);
}

static void call_text(struct text *t, pid_t pid, const struct __ptrace_syscall_info *info)
{
    const char *arguments = "xxxxxx";
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (calls[i].number == (long)info->entry.nr)
            arguments = calls[i].arguments;
    add(t, "%s(", name_of((long)info->entry.nr));
    for (size_t i = 0; arguments[i]; i++) {
        uint64_t value = info->entry.args[i];
        add(t, i ? ", " : "");
        switch (arguments[i]) {
        case 'f':
            add_descriptor(t, pid, value);
            break;
        case 'p':
            add_text(t, pid, value);
            break;
        case 'b':
            add_bytes(t, pid, value, info->entry.args[i + 1]);
            break;
        case 'H':
            add_how(t, pid, value);
            break;
        case 'd':
            add(t, "%lld", (long long)value);
            break;
        case 'o':
            add(t, "0%llo", (unsigned long long)value);
            break;
        case 'x':
            add(t, "0x%llx", (unsigned long long)value);
            break;
        default:
            add_word(t, arguments[i], value);
        }
    }
    add(t, ")");
}

/* ---- processes
 * ----------------------------------------------------------------------------------- */

static struct tracee *find(pid_t pid)
{
    for (size_t i = 0; i < TRACEES_MAX; i++)
        if (tracees[i].pid == pid)
            return &tracees[i];
    return NULL;
}

static struct tracee *find_or_add(pid_t pid)
{
    struct tracee *t = find(pid);
    if (t)
        return t;
    t = find(0);
    if (!t)
        die("more than %d processes", TRACEES_MAX);
    memset(t, 0, sizeof *t);
    t->pid = pid;
    return t;
}

/* A process that was killed in its stop is gone for ptrace: its end is waited for like any other.
 */
static void go_on(struct tracee *t, int signal_number)
{
    long r = plan.done && !t->failing ? ptrace(PTRACE_DETACH, t->pid, NULL, (long)signal_number)
                                      : ptrace(PTRACE_SYSCALL, t->pid, NULL, (long)signal_number);
    if (r < 0 && errno != ESRCH)
        die("resume %s: %s", t->role, strerror(errno));
    if (plan.done && !t->failing)
        t->pid = 0;
}

/* What a process had called is told when it ends, or at the command's start. */
static void tell_calls(const struct tracee *t)
{
    if (plan.role)
        return;
    for (long call = 0; call < CALLS_MAX; call++)
        if (t->made[call])
            fprintf(plan.out, "%s %s %u\n", t->role, name_of(call), t->made[call]);
}

static void finish(void)
{
    for (size_t i = 0; i < TRACEES_MAX && !plan.done; i++)
        if (tracees[i].pid)
            tell_calls(&tracees[i]);
    plan.done = true;
}

static void born(struct tracee *parent)
{
    unsigned long pid;
    if (ptrace(PTRACE_GETEVENTMSG, parent->pid, NULL, &pid) < 0)
        die("birth in %s: %s", parent->role, strerror(errno));
    struct tracee *t = find_or_add((pid_t)pid);
    if (snprintf(t->role, sizeof t->role, "%s.%u", parent->role, ++parent->births) >=
        (int)sizeof t->role)
        die("%s.%u: births too deep", parent->role, parent->births);
    t->named = true;
    t->ours = parent->ours;
    if (t->held) {
        t->held = false;
        go_on(t, 0);
    }
}

static void executed(struct tracee *t)
{
    char path[64], program[512];
    snprintf(path, sizeof path, "/proc/%d/exe", t->pid);
    ssize_t n = readlink(path, program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    const char *slash = strrchr(program, '/');
    const char *base = slash ? slash + 1 : program;
    if (strcmp(base, "hostside") == 0)
        finish();
    t->ours = strcmp(base, "berth-init") == 0 || strcmp(base, plan.program) == 0;
}

/* The kernel makes a harmless call in its place, and its result is overwritten. */
static void call_begins(struct tracee *t, const struct __ptrace_syscall_info *info)
{
    uint64_t call = info->entry.nr;
    if (plan.done || !t->ours || call >= CALLS_MAX)
        return;
    t->made[call]++;
    if (!plan.role || strcmp(t->role, plan.role) != 0)
        return;
    struct text text = {0};
    call_text(&text, t->pid, info);
    if (call != (uint64_t)plan.call || t->made[call] != plan.number) {
        if (strpbrk(text.bytes, "<\"")) /* one that says where we are */
            t->last = text;
        return;
    }
    fprintf(plan.out, "%s after %s\n", text.bytes, t->last.bytes);
    fflush(plan.out);
    if (ptrace(PTRACE_POKEUSER, t->pid, (void *)offsetof(struct user_regs_struct, orig_rax),
               (void *)(long)SYS_getpid) < 0)
        die("take a call from %s: %s", t->role, strerror(errno));
    t->failing = true;
}

static void call_ends(struct tracee *t)
{
    if (!t->failing)
        return;
    if (ptrace(PTRACE_POKEUSER, t->pid, (void *)offsetof(struct user_regs_struct, rax),
               (void *)(long)-plan.error) < 0)
        die("fail a call of %s: %s", t->role, strerror(errno));
    t->failing = false;
    finish();
}

static void stopped(struct tracee *t, int status)
{
    int signal_number = WSTOPSIG(status), event = status >> 16;
    if (signal_number == (SIGTRAP | 0x80)) {
        struct __ptrace_syscall_info info;
        long n = ptrace(PTRACE_GET_SYSCALL_INFO, t->pid, (void *)sizeof info, &info);
        if (n > 0 && info.op == PTRACE_SYSCALL_INFO_ENTRY)
            call_begins(t, &info);
        else if (n > 0)
            call_ends(t);
        signal_number = 0;
    } else if (event == PTRACE_EVENT_STOP && signal_number != SIGTRAP && !plan.done) {
        if (ptrace(PTRACE_LISTEN, t->pid, NULL, NULL) < 0 && errno != ESRCH)
            die("%s stays stopped: %s", t->role, strerror(errno));
        return;
    } else if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_VFORK ||
               event == PTRACE_EVENT_CLONE) {
        born(t);
        signal_number = 0;
    } else if (event == PTRACE_EVENT_EXEC) {
        executed(t);
        signal_number = 0;
    } else if (event) {
        signal_number = 0;
    }
    if (t->named)
        go_on(t, signal_number);
    else
        t->held = true;
}

/* The status of the first process; the others are followed to their end. */
static int follow(pid_t first)
{
    int status, ret = INJECTOR_FAILED;
    for (;;) {
        pid_t pid = waitpid(-1, &status, __WALL);
        if (pid < 0 && errno == ECHILD)
            return ret;
        if (pid < 0 && errno != EINTR)
            die("wait: %s", strerror(errno));
        if (pid < 0)
            continue;
        if (WIFSTOPPED(status)) {
            stopped(find_or_add(pid), status);
            continue;
        }
        struct tracee *t = find(pid);
        if (t) {
            if (!plan.done)
                tell_calls(t);
            t->pid = 0;
        }
        if (pid == first)
            ret = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
}

static pid_t start(char **argv, long uid)
{
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) < 0)
        die("pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0)
        die("fork: %s", strerror(errno));
    if (child == 0) {
        char byte;
        close(gate[1]);
        (void)!read(gate[0], &byte, 1);
        if (uid >= 0 &&
            (setgroups(0, NULL) < 0 || setresgid((gid_t)uid, (gid_t)uid, (gid_t)uid) < 0 ||
             setresuid((uid_t)uid, (uid_t)uid, (uid_t)uid) < 0))
            die("become %ld: %s", uid, strerror(errno));
        execv(argv[0], argv);
        die("%s: %s", argv[0], strerror(errno));
    }
    long options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                   PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC;
    if (ptrace(PTRACE_SEIZE, child, NULL, (void *)options) < 0)
        die("follow the program: %s", strerror(errno));
    struct tracee *t = find_or_add(child);
    snprintf(t->role, sizeof t->role, "run");
    t->named = true;
    /* The calls of the gate's end are not counted: `ours` comes with the execve(). A stop is needed
     * for the first PTRACE_SYSCALL. */
    if (ptrace(PTRACE_INTERRUPT, child, NULL, NULL) < 0)
        die("stop the program: %s", strerror(errno));
    close(gate[0]);
    close(gate[1]);
    return child;
}

int main(int argc, char **argv)
{
    long uid = -1;
    const char *file = NULL;
    int at = 1;
    for (; at + 1 < argc && argv[at][0] == '-' && argv[at][1] != '-'; at += 2)
        if (strcmp(argv[at], "-o") == 0)
            file = argv[at + 1];
        else if (strcmp(argv[at], "-u") == 0)
            uid = strtol(argv[at + 1], NULL, 10);
        else
            die("no such option: %s", argv[at]);
    if (at + 4 < argc && strcmp(argv[at], "--") != 0) {
        plan.role = argv[at];
        plan.call = number_of(argv[at + 1]);
        plan.number = (unsigned)strtoul(argv[at + 2], NULL, 10);
        plan.error = error_of(argv[at + 3]);
        at += 4;
    }
    if (!file || at + 1 >= argc || strcmp(argv[at], "--") != 0)
        die("usage: inject -o FILE [-u UID] [ROLE CALL NUMBER ERROR] -- PROGRAM ARGUMENT...");
    plan.out = fopen(file, "we");
    if (!plan.out)
        die("%s: %s", file, strerror(errno));
    const char *slash = strrchr(argv[at + 1], '/');
    plan.program = slash ? slash + 1 : argv[at + 1];
    int status = follow(start(argv + at + 1, uid));
    if (fclose(plan.out) != 0)
        die("%s: %s", file, strerror(errno));
    return status;
}
