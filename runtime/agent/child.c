/* This file takes a new process from clone to execve() of a command; it never returns, never
 * allocates and never starts a command with more rights than none.
 *
 * Privilege: begins with init's (SETUID, SETGID, KILL in the session's user namespace), ends with
 * none. Should: join cgroups, own session, ids, no capability, limits, directory, filter, execve.
 * Mustn't: skip a step that failed; leave a descriptor above 2 open.
 */
#include "runtime/agent/child.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

struct child_report {
    char kind;
    struct agent_start_failed failed;
} __attribute__((packed));

_Static_assert(sizeof(struct child_report) <= PIPE_BUF, "a report is one atomic write");

static void copy_text(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; from && from[i] && i + 1 < size; i++)
        to[i] = from[i];
    to[i] = 0;
}

static _Noreturn void fail(const struct child_plan *plan, enum agent_start_fault fault, int sys,
                           const char *step, const char *subject)
{
    struct child_report report = {.kind = CHILD_FAULT};
    report.failed.fault = fault;
    report.failed.sys = sys;
    copy_text(report.failed.step, sizeof report.failed.step, step);
    copy_text(report.failed.subject, sizeof report.failed.subject, subject);
    io_write_full(plan->error, &report, sizeof report);
    _exit(127);
}

static _Noreturn void fail_berth(const struct child_plan *plan, const char *step,
                                 const char *subject)
{
    fail(plan, AGENT_START_BERTH, errno, step, subject);
}

static void join_cgroups(const struct child_plan *plan)
{
    if (plan->cgroup >= 0) {
        int r = io_write_at(plan->cgroup, "cgroup.procs", "0");
        if (r < 0)
            fail(plan, AGENT_START_BERTH, -r, "join cgroup of command", NULL);
    }
    /* `tasks` moves this thread only, and costs a fiftieth of cgroup.procs (0.3 against 15 ms). */
    for (int i = 0; i < plan->v1_count; i++)
        if (write(AGENT_FD_V1 + i, "0", 1) != 1)
            fail_berth(plan, "join limits of session", NULL);
}

static void take_signals(const struct child_plan *plan)
{
    /* A file worker was born with all of them blocked, and stays so: what is sent to a command's
     * tree where there are no cgroups does not end it (tree.c). */
    if (plan->program >= 0)
        return;
    /* CLONE_CLEAR_SIGHAND does not reset what is ignored; init ignores nothing. */
    sigset_t none;
    sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
        fail_berth(plan, "unblock signals", NULL);
}

static void take_stdio(const struct child_plan *plan)
{
    if (setsid() < 0)
        fail_berth(plan, "make session of processes", NULL);
    if (plan->tty && ioctl(plan->fds[0], TIOCSCTTY, 0) < 0)
        fail_berth(plan, "take terminal", NULL);
    for (int i = 0; i < 3; i++)
        if (plan->fds[i] >= 0 && dup2(plan->fds[i], i) < 0)
            fail_berth(plan, "set up standard streams", NULL);
}

static void take_limits(const struct child_plan *plan)
{
    if (setrlimit(RLIMIT_NOFILE, &plan->open_files) < 0)
        fail_berth(plan, "limit open files", NULL);
}

static void drop_privilege(const struct child_plan *plan)
{
    const struct agent_exec *exec = plan->exec;
    /* This process has one thread. libc's calls block and unblock signals six times to tell all. */
    if (!plan->keep_ids) {
        if (syscall(SYS_setgroups, 0, NULL) < 0)
            fail_berth(plan, "drop groups", NULL);
        if (syscall(SYS_setresgid, exec->gid, exec->gid, exec->gid) < 0)
            fail_berth(plan, "take group of user", NULL);
        if (syscall(SYS_setresuid, exec->uid, exec->uid, exec->uid) < 0)
            fail_berth(plan, "take user", NULL);
    }
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};
    if (syscall(SYS_capset, &header, none) < 0)
        fail_berth(plan, "drop capabilities", NULL);
    /* A change of ids sets it to fs.suid_dumpable, and 1 would let the new user trace us. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        fail_berth(plan, "become non-dumpable", NULL);
}

/* SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, which older headers lack: a signal does not take a
 * question back that init has read. */
enum { WAIT_KILLABLE = 1 << 5 };

static void send_listener(const struct child_plan *plan, int listener)
{
    char kind = CHILD_LISTENER;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof listener)];
    } control = {0};
    struct iovec part = {&kind, 1};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof listener);
    memcpy(CMSG_DATA(c), &listener, sizeof listener);
    if (sendmsg(plan->error, &header, MSG_NOSIGNAL) != 1)
        fail_berth(plan, "hand listener of denied calls to init", NULL);
}

static void take_filter(const struct child_plan *plan)
{
    if (plan->filter.len == 0)
        return;
    unsigned flags = plan->explain ? SECCOMP_FILTER_FLAG_NEW_LISTENER | (unsigned)WAIT_KILLABLE : 0;
    long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &plan->filter);
    if (r < 0)
        fail_berth(plan, "load seccomp filter of command", NULL);
    if (!plan->explain)
        return;
    send_listener(plan, (int)r);
    close((int)r);
}

static void enter_directory(const struct child_plan *plan)
{
    if (chdir(plan->cwd) < 0)
        fail_berth(plan, "enter working directory", plan->cwd);
    /* The raw call answers "(unreachable)/…" for a directory outside our root: a leaked one. */
    char path[4096];
    long n = syscall(SYS_getcwd, path, sizeof path);
    if (n < 0 || path[0] != '/') {
        errno = n < 0 ? errno : EXDEV;
        fail_berth(plan, "check working directory", plan->cwd);
    }
}

/* ---- finding the program -------------------------------------------------------------------- */

/* What an errno of execve() says about the file. */
static enum agent_start_fault fault_of(int sys)
{
    switch (sys) {
    case ENOENT:
    case ENOTDIR:
        return AGENT_START_NOT_FOUND;
    case ENOMEM:
    case EAGAIN:
    case ENFILE:
    case EMFILE:
    case EINTR:
        return AGENT_START_BERTH;
    default:
        return AGENT_START_NOT_EXECUTABLE;
    }
}

/* execve() says ENOENT for a file that is there when its interpreter is not. Name it if we can. */
static _Noreturn void fail_interpreter(const struct child_plan *plan, const char *file)
{
    char line[256] = {0};
    _cleanup_fd_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0)
        io_read_full(fd, line, sizeof line - 1);
    if (line[0] != '#' || line[1] != '!')
        fail(plan, AGENT_START_NOT_FOUND, ENOENT, "find the loader that the program names", file);
    char *name = line + 2 + strspn(line + 2, " \t");
    name[strcspn(name, " \t\r\n")] = 0;
    fail(plan, AGENT_START_NOT_FOUND, ENOENT, "find the interpreter of the script", name);
}

static bool is_there(const char *file)
{
    return faccessat(AT_FDCWD, file, F_OK, 0) == 0;
}

static _Noreturn void run_file(const struct child_plan *plan, const char *file)
{
    execve(file, plan->argv, plan->envp);
    int sys = errno;
    if (sys == ENOENT && is_there(file))
        fail_interpreter(plan, file);
    fail(plan, fault_of(sys), sys, "run command", file);
}

static _Noreturn void run_search(const struct child_plan *plan, const char *name)
{
    char file[4096];
    size_t name_length = strlen(name);
    bool denied = false;
    for (const char *dir = plan->path;; dir++) {
        size_t length = strcspn(dir, ":");
        /* An empty element is the working directory, as everywhere. */
        if (length + name_length + 2 <= sizeof file) {
            memcpy(file, dir, length);
            if (length > 0)
                file[length++] = '/';
            memcpy(file + length, name, name_length + 1);
            execve(file, plan->argv, plan->envp);
            int sys = errno;
            if (sys == EACCES)
                denied = true;
            else if (sys == ENOENT && is_there(file))
                fail_interpreter(plan, file);
            else if (fault_of(sys) != AGENT_START_NOT_FOUND)
                fail(plan, fault_of(sys), sys, "run command", file);
        }
        dir += strcspn(dir, ":");
        if (!*dir)
            break;
    }
    /* EACCES wins over ENOENT, like in a shell: there was something of that name. */
    fail(plan, denied ? AGENT_START_NOT_EXECUTABLE : AGENT_START_NOT_FOUND,
         denied ? EACCES : ENOENT, "run command", name);
}

/* By descriptor: no path of the session leads to it, and none is looked up. */
static _Noreturn void run_program(const struct child_plan *plan)
{
    syscall(SYS_execveat, plan->program, "", plan->argv, plan->envp, AT_EMPTY_PATH);
    fail_berth(plan, "run file worker", NULL);
}

void child_run(const struct child_plan *plan)
{
    join_cgroups(plan);
    take_signals(plan);
    take_stdio(plan);
    /* A listener is sent while we have init's id: the kernel counts descriptors on their way by
     * user, and a command's could use that budget up. It needs a number, too, beside all of init's
     * descriptors. What follows is allowed by every profile. */
    if (plan->explain)
        take_filter(plan);
    take_limits(plan);
    drop_privilege(plan);
    enter_directory(plan);
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        fail_berth(plan, "close descriptors", NULL);
    if (!plan->explain)
        take_filter(plan);
    const char mark = CHILD_MARK;
    if (io_write_full(plan->error, &mark, 1) < 0)
        _exit(127);
    if (plan->program >= 0)
        run_program(plan);
    if (strchr(plan->argv[0], '/'))
        run_file(plan, plan->argv[0]);
    run_search(plan, plan->argv[0]);
}
