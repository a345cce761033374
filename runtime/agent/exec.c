/* This file starts commands; it never leaves half of one behind and never waits for one. */
#include "runtime/agent/exec.h"

#include "runtime/agent/borrow.h"
#include "runtime/agent/child.h"
#include "runtime/agent/denied.h"
#include "runtime/agent/input.h"
#include "runtime/agent/life.h"
#include "runtime/agent/pty.h"
#include "runtime/agent/spool_writer.h"
#include "runtime/agent/tree.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* What a start needs until clone: released by start_fini() on every path. */
struct start {
    void *memory; /* payload, then the pointers of argv and envp */
    size_t memory_size;
    const struct agent_exec *exec;
    char **argv, **envp;
    const char *cwd, *path;
    int fds[3]; /* the child's ends */
    int error;  /* the child's end */
    int sys;    /* errno, step and subject of what failed */
    const char *step, *subject;
};

static void start_fini(struct start *start)
{
    if (start->memory)
        munmap(start->memory, start->memory_size);
    for (int i = 0; i < 3; i++)
        fd_close(start->fds[i]);
    fd_close(start->error);
}

/* Always -1: the errno is in start->sys. */
static int wrong(struct start *start, int sys, const char *step, const char *subject)
{
    start->sys = sys;
    start->step = step;
    start->subject = subject;
    return -1;
}

/* ---- the payload ---------------------------------------------------------------------------- */

/* One copy into memory of our own, then checked: whoever holds the memfd may go on writing it. */
static int read_payload(struct start *start, int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return wrong(start, errno, "read request", NULL);
    if (!S_ISREG(st.st_mode) || st.st_size < 1 || st.st_size > AGENT_EXEC_PAYLOAD_MAX)
        return wrong(start, EINVAL, "read request", "its payload is not a file of a valid size");
    size_t length = (size_t)st.st_size;
    size_t table = (length + 15) & ~(size_t)15;
    /* Each pointer stands for a string of at least one byte. */
    start->memory_size = table + (length + 2) * sizeof(char *);
    void *memory = mmap(NULL, start->memory_size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return wrong(start, errno, "read request", NULL);
    start->memory = memory;
    ssize_t n = pread(fd, memory, length, 0);
    if (n != (ssize_t)length)
        return wrong(start, n < 0 ? errno : EINVAL, "read request", "its payload is short");

    const char *strings;
    const char *why = agent_exec_check(memory, length, &start->exec, &strings);
    if (why || !start->exec)
        return wrong(start, EINVAL, "check request", why);
    char *at = (char *)memory + (strings - (const char *)memory);
    char **pointer = (char **)(void *)((char *)memory + table);
    start->argv = pointer;
    for (uint32_t i = 0; i < start->exec->argc; i++, at += strlen(at) + 1)
        *pointer++ = at;
    *pointer++ = NULL;
    start->envp = pointer;
    start->path = "/usr/local/bin:/usr/bin:/bin";
    for (uint32_t i = 0; i < start->exec->envc; i++, at += strlen(at) + 1) {
        *pointer++ = at;
        if (strncmp(at, "PATH=", 5) == 0)
            start->path = at + 5;
    }
    *pointer = NULL;
    start->cwd = at;
    return 0;
}

/* Without cgroups a command's tree is everything that runs but file workers, which start nothing:
 * so there can be one command, and workers beside it (tree.c). */
static int check_alone(const struct init *init, struct start *start, const struct row *row)
{
    for (unsigned i = 0; !row->files && i < init->table.live_count; i++) {
        const struct row *other = &init->table.rows[init->table.live[i]];
        if (other == row || other->files)
            continue;
        return wrong(start, EBUSY, "start command",
                     "without cgroups a session runs one command at a time");
    }
    return 0;
}

static int check_allowed(struct init *init, struct start *start, const struct row *row,
                         unsigned given)
{
    const struct agent_exec *exec = start->exec;
    unsigned named = (unsigned)__builtin_popcount(exec->fds);
    if (named != given)
        return wrong(start, EINVAL, "check request",
                     "it came with other descriptors than it names");
    if (init->config.flags & AGENT_SHARED_UID) {
        if (exec->uid != init->config.uid || exec->gid != init->config.gid)
            return wrong(start, EPERM, "check request", "this session has one user only");
    } else if (exec->uid == init->config.uid || exec->gid == init->config.gid) {
        return wrong(start, EPERM, "check request", "the user is init's own");
    }
    if (exec->flags & AGENT_EXEC_FILES && !(init->config.have & AGENT_HAVE_FILES))
        return wrong(start, EOPNOTSUPP, "start file worker", "this session has none");
    if (exec->idle_timeout_ms > 0 && !row->files &&
        exec->fds & (AGENT_EXEC_FD_STDOUT | AGENT_EXEC_FD_STDERR))
        return wrong(start, EINVAL, "check request",
                     "an idle timeout needs output that goes through init");
    if (!(init->config.have & AGENT_HAVE_CGROUP)) {
        int r = check_alone(init, start, row);
        if (r < 0)
            return r;
        if (exec->flags & AGENT_EXEC_KEEP_CHILDREN)
            return wrong(start, EOPNOTSUPP, "start command",
                         "without cgroups the children of a command cannot be kept");
    }
    return 0;
}

/* ---- streams -------------------------------------------------------------------------------- */

/* Pipes for the streams that are nowhere yet. The ids are borrowed once for both. */
static int open_captured(const struct init *init, struct row *row, struct start *start)
{
    static const uint32_t nowhere[] = {AGENT_EXEC_NULL_STDOUT, AGENT_EXEC_NULL_STDERR};
    bool wanted[2];
    int r = 0;
    for (int i = 0; i < 2; i++)
        wanted[i] = start->fds[i + 1] < 0 && !(start->exec->flags & nowhere[i]);
    if (!wanted[0] && !wanted[1])
        return 0;
    borrow_ids(init, start->exec);
    for (int i = 0; r == 0 && i < 2; i++) {
        int ends[2];
        if (!wanted[i] || (r = pipe2(ends, O_CLOEXEC)) < 0)
            continue;
        row->stream[i] = ends[0];
        start->fds[i + 1] = ends[1];
    }
    borrow_end(init);
    /* Only our end: the flag of the command's end is its own business. */
    for (int i = 0; r == 0 && i < 2; i++)
        if (wanted[i])
            r = fcntl(row->stream[i], F_SETFL, O_RDONLY | O_NONBLOCK);
    return r < 0 ? wrong(start, errno, "open pipe for output", NULL) : 0;
}

static int open_spool(struct row *row, uint64_t number, struct start *start, int fd)
{
    const struct agent_exec *exec = start->exec;
    const char *step;
    int r = spool_writer_open(&row->spool, fd, number, &exec->spool, &step);
    if (r < 0)
        return wrong(start, -r, step, NULL);
    if (exec->flags & AGENT_EXEC_KILL_ON_LIMIT)
        row->output_limit = exec->spool.head + exec->spool.tail;
    return 0;
}

static int open_streams(struct init *init, struct row *row, struct start *start, int *fds)
{
    const struct agent_exec *exec = start->exec;
    unsigned next = 0;
    int given[3] = {-1, -1, -1};
    for (int i = 0; i < 3; i++)
        if (exec->fds & (1u << i))
            given[i] = take_fd(&fds[next++]);
    for (int i = 0; i < 3; i++)
        start->fds[i] = given[i];
    if (exec->fds & AGENT_EXEC_FD_SPOOL) {
        int r = open_spool(row, row->number, start, take_fd(&fds[next]));
        if (r < 0)
            return r;
    }

    if (exec->flags & AGENT_EXEC_TTY) {
        const char *step;
        int slave = -1;
        int r = pty_open(init, row, exec, take_fd(&start->fds[0]), &slave, &step);
        if (r < 0)
            return wrong(start, -r, step, NULL);
        start->fds[0] = slave;
        for (int i = 1; i < 3; i++)
            if ((start->fds[i] = fcntl(slave, F_DUPFD_CLOEXEC, AGENT_FD_END)) < 0)
                return wrong(start, errno, "open terminal", NULL);
        return 0;
    }
    if (start->fds[0] >= 0 && init->table.keeps && !row->files) {
        const char *step;
        int from = take_fd(&start->fds[0]);
        int r = input_open(init, row, exec, from, &start->fds[0], &step);
        if (r < 0)
            return wrong(start, -r, step, NULL);
    }
    row->direct = exec->fds & (AGENT_EXEC_FD_STDOUT | AGENT_EXEC_FD_STDERR);
    return open_captured(init, row, start);
}

static int open_error_pipe(struct init *init, struct row *row, struct start *start)
{
    int ends[2];
    int r = init->asking_filter ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)
                                : pipe2(ends, O_CLOEXEC);
    if (r < 0)
        return wrong(start, errno, "open pipe for start", NULL);
    row->error = ends[0];
    start->error = ends[1];
    struct epoll_event event = {
        .events = EPOLLIN,
        .data.u64 = init_wait_data(WAIT_ERROR, table_index(&init->table, row)),
    };
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ||
        epoll_ctl(init->wait, EPOLL_CTL_ADD, ends[0], &event) < 0)
        return wrong(start, errno, "open pipe for start", NULL);
    return 0;
}

/* ---- clone ---------------------------------------------------------------------------------- */

/* An outcome of clone3() that says "not this way", as against "not now". */
static bool clone_into_missing(int sys)
{
    return sys == ENOSYS || sys == EINVAL || sys == E2BIG || sys == EOPNOTSUPP;
}

/* The raw call, so that no library function runs between; no CLONE_VFORK: init would wait for a
 * program of the session. Without CLONE_INTO_CGROUP the child joins by writing its own pid before
 * anything else; it is then in init's cgroup for that moment only, running our code. */
static pid_t clone_child(struct init *init, struct row *row, struct child_plan *plan)
{
    struct clone_args args = {.flags = CLONE_CLEAR_SIGHAND, .exit_signal = SIGCHLD};
    if (row->cgroup >= 0 && !(init->config.flags & AGENT_NO_CLONE_INTO)) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (unsigned)row->cgroup;
        plan->cgroup = -1;
        long pid = syscall(SYS_clone3, &args, sizeof args);
        if (pid >= 0)
            return (pid_t)pid;
        if (!clone_into_missing(errno))
            return -1;
        init->config.flags |= AGENT_NO_CLONE_INTO;
    }
    plan->cgroup = row->cgroup;
    return (pid_t)syscall(SYS_clone, SIGCHLD, 0, NULL, NULL, 0);
}

static int start_child(struct init *init, struct row *row, struct start *start)
{
    struct child_plan plan = {
        .exec = start->exec,
        .argv = start->argv,
        .envp = start->envp,
        .path = start->path,
        .cwd = start->cwd,
        .fds = {start->fds[0], start->fds[1], start->fds[2]},
        .tty = start->exec->flags & AGENT_EXEC_TTY,
        .program = start->exec->flags & AGENT_EXEC_FILES ? AGENT_FD_FILES : -1,
        .error = start->error,
        .v1_count = (int)init->config.v1_count,
        .keep_ids = init->config.flags & AGENT_SHARED_UID,
        .filter = {(unsigned short)init->config.exec_filter_length,
                   init->asking_filter ? init->asking_filter
                                       : (struct sock_filter *)init->exec_filter},
        .explain = init->asking_filter,
    };
    /* A host may give the launcher fewer than a policy's default: never more than there are. */
    plan.open_files = init->open_files;
    if (start->exec->open_files > 0) {
        if (start->exec->open_files < plan.open_files.rlim_max)
            plan.open_files.rlim_max = start->exec->open_files;
        plan.open_files.rlim_cur = plan.open_files.rlim_max;
    }
    sigset_t all, before;
    sigfillset(&all);
    if (plan.program >= 0 && sigprocmask(SIG_SETMASK, &all, &before) < 0)
        return wrong(start, errno, "block signals", NULL);
    pid_t pid = clone_child(init, row, &plan);
    if (pid == 0)
        child_run(&plan);
    int r = pid < 0 ? wrong(start, errno, "clone command", NULL) : pid;
    if (plan.program >= 0)
        sigprocmask(SIG_SETMASK, &before, NULL);
    return r;
}

static void note_start(struct init *init, struct row *row, const struct agent_exec *exec, pid_t pid)
{
    row->pid = pid;
    row->main_alive = true;
    init->no_children = false;
    row->keep_children = exec->flags & AGENT_EXEC_KEEP_CHILDREN;
    row->idle_ns = exec->idle_timeout_ms * 1000000u;
    if (row->files && row->idle_ns == 0)
        row->idle_ns = AGENT_FILES_STILL_MS * UINT64_C(1000000);
    row->uid = exec->uid;
    row->gid = exec->gid;
    row->grace_ns = exec->grace_ms * 1000000u;
    row->activity_ns = init_now_ns(CLOCK_MONOTONIC);
    row->cpu_look_ns = row->activity_ns + row->idle_ns / 4;
    if (exec->timeout_ms > 0)
        row->deadline_ns = row->activity_ns + exec->timeout_ms * 1000000u;
    row->exit.started_ns = init_now_ns(CLOCK_REALTIME);
}

static int start_command(struct init *init, struct row *row, struct start *start, int *fds,
                         unsigned count)
{
    if (count == 0)
        return wrong(start, EINVAL, "read request", "it has no payload");
    int r = read_payload(start, fds[0]);
    row->files = r == 0 && start->exec->flags & AGENT_EXEC_FILES;
    if (r == 0)
        r = check_allowed(init, start, row, count - 1);
    if (r == 0)
        r = open_streams(init, row, start, fds + 1);
    if (r == 0)
        r = open_error_pipe(init, row, start);
    if (r < 0)
        return r;
    r = tree_make(init, row, &start->step);
    if (r < 0)
        return wrong(start, -r, start->step, NULL);
    if (init->config.have & AGENT_HAVE_OOM)
        row->oom_before = tree_counter(AGENT_FD_OOM, "oom_kill");
    if (init->config.have & AGENT_HAVE_PIDS)
        row->pids_before = tree_counter(AGENT_FD_PIDS, "max");
    r = start_child(init, row, start);
    if (r < 0)
        return r;
    note_start(init, row, start->exec, r);
    return 0;
}

/* ---- entry points --------------------------------------------------------------------------- */

static void copy_text(char *to, size_t size, const char *from)
{
    size_t i = 0;
    for (; from && from[i] && i + 1 < size; i++)
        to[i] = from[i];
    to[i] = 0;
}

static void push_failed(struct init *init, uint64_t number, const struct agent_start_failed *failed)
{
    struct agent_frame frame = {
        .type = AGENT_FRAME_START_FAILED, .length = sizeof *failed, .exec = number};
    output_push(&init->output, &frame, failed);
}

static void fill_failed(struct agent_start_failed *failed, int sys, const char *step,
                        const char *subject)
{
    *failed = (struct agent_start_failed){.fault = AGENT_START_BERTH, .sys = sys};
    copy_text(failed->step, sizeof failed->step, step);
    copy_text(failed->subject, sizeof failed->subject, subject);
}

void exec_refuse(struct init *init, uint64_t number, int sys, const char *step, const char *subject)
{
    struct agent_start_failed failed;
    fill_failed(&failed, sys, step, subject);
    push_failed(init, number, &failed);
}

/* row->failed says why: told, and kept until it is recorded. */
static void end_failed(struct init *init, struct row *row)
{
    push_failed(init, row->number, &row->failed);
    row->exit.reason = AGENT_REASON_START_FAILED;
    row->exit.exit_code = row->failed.fault == AGENT_START_NOT_FOUND        ? 127
                          : row->failed.fault == AGENT_START_NOT_EXECUTABLE ? 126
                                                                            : -1;
    life_close(init, row);
    table_end(&init->table, row);
}

/* What stands in the way of the number itself. True when the message is answered. */
static bool answered_already(struct init *init, uint64_t number)
{
    struct row *row = table_find(&init->table, number);
    if (row) {
        /* Sent twice, by a controller that lost the answer: the row is the answer. */
        life_push_told(init, row);
        return true;
    }
    if (table_had(&init->table, number)) {
        exec_refuse(init, number, EEXIST, "start command", "its number was used before");
        return true;
    }
    if (number <= init->interrupt_floor) {
        struct agent_exit exit = {.reason = AGENT_REASON_INTERRUPTED, .exit_code = -1};
        exit.started_ns = exit.ended_ns = init_now_ns(CLOCK_REALTIME);
        struct agent_frame frame = {
            .type = AGENT_FRAME_EXIT, .length = sizeof exit, .exec = number, .seq = 1};
        output_push(&init->output, &frame, &exit);
        return true;
    }
    return false;
}

void exec_request(struct init *init, const struct agent_message *message, int *fds, unsigned count)
{
    uint64_t number = message->exec;
    if (!answered_already(init, number)) {
        struct row *row = table_add(&init->table, number);
        struct start start = {.fds = {-1, -1, -1}, .error = -1};
        if (!row) {
            exec_refuse(init, number, EAGAIN, "start command",
                        "4096 commands run already, or have ended and are not recorded yet");
        } else if (start_command(init, row, &start, fds, count) < 0) {
            /* Nothing was cloned, so the cgroup is empty and everything can go at once. */
            tree_gone(init, row);
            fill_failed(&row->failed, start.sys, start.step, start.subject);
            end_failed(init, row);
        }
        start_fini(&start);
    }
    for (unsigned i = 0; i < count; i++)
        fd_close(fds[i]);
}

void exec_check_start(struct init *init, struct row *row)
{
    char kind;
    for (;;) {
        ssize_t n =
            init->asking_filter ? denied_read_start(init, row, &kind) : read(row->error, &kind, 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n == 1 && kind == CHILD_LISTENER && row->listener >= 0)
            continue;
        if (n == 1 && kind == CHILD_MARK) {
            row->marked = true;
            continue;
        }
        if (n == 0 && row->marked) {
            fd_replace(&row->error, -1);
            row->state = ROW_RUNNING;
            row->owes_started = true;
            return;
        }
        /* The report stays in the pipe until it can be queued; where there is no reading it, that
         * is why. */
        if (n < 0)
            fill_failed(&row->failed, errno, "read how the command starts", "");
        epoll_ctl(init->wait, EPOLL_CTL_DEL, row->error, NULL);
        row->state = ROW_FAILING;
        tree_kill(init, row);
        return;
    }
}

bool exec_report_failure(struct init *init, struct row *row)
{
    if (!output_has_room(&init->output, sizeof row->failed))
        return false;
    bool known = row->failed.step[0] != 0;
    if (!known &&
        io_read_full(row->error, &row->failed, sizeof row->failed) != (ssize_t)sizeof row->failed) {
        /* Killed by somebody else, the kernel for want of memory or a client's signal: that is how
         * it ended, and the kernel has told it (EXEC-6). */
        if (row->exit.signal != 0) {
            row->state = ROW_FINISHING;
            return true;
        }
        fill_failed(&row->failed, ECHILD, "start command", "it ended before it could run");
    }
    end_failed(init, row);
    return true;
}
