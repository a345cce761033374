/* This file cleans up after a run whose processes were killed; it never touches a run that lives.
 *
 * PRIVILEGED, same namespaces as the launcher. Holds: the run's record (its lock is shared), the
 * lock on its range of ids, one pipe. Talks to nobody: it waits for a byte or the end of that pipe.
 * It is born before the run makes anything, so there is no instant at which SIGKILL of the
 * launcher leaves something that nobody will remove; when the reaper is killed too, the record is
 * left unlocked and the next berth command does the same work (runtime_reap()).
 *
 * While it waits it shares the launcher's memory (CLONE_VM): a fork would copy page tables, and
 * make both sides copy pages afterwards, for a process that usually does nothing. So it may use
 * nothing there but its own stack and `struct reaper`. What it must do in the end is done by a new
 * image of berth: the launcher may have been killed in the middle of an allocation, and its memory
 * is not to be trusted. What is lost with this: the kernel's OOM killer takes all who share a
 * memory, so after it the next berth command cleans up.
 */
#include "runtime/host/runtime_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { CLEAN_TIMEOUT_MS = 10000, STACK_BYTES = 32 << 10, WORK_MAGIC = 0x62727265 };

static char reaper_argument[] = RUNTIME_REAPER_ARGUMENT; /* argv[0] of the new image */

/* What the new image is told, on WORK_FD. Plain data. */
struct reaper_work {
    uint32_t magic, size; /* size: of this struct */
    struct cgroup_host cgroup;
    char state_dir[DIR_SIZE], share_dir[DIR_SIZE];
    struct record record; /* its descriptors are RECORD_DIR_FD and RECORD_FD */
};

enum { WORK_FD = 3, RECORD_DIR_FD = 4, RECORD_FD = 5, UID_LOCK_FD = 6, REAPER_FD_END = 7 };

/* Both the launcher and the waiting reaper see this; nobody writes it after clone(). */
struct reaper {
    _Alignas(64) unsigned char stack[STACK_BYTES];
    int pipe_read, uid_lock;
    const char *program;
    struct reaper_work work;
};

int run_clean(const struct cgroup_host *cgroup, const char *share_dir, const char *state_dir,
              const struct record *record, struct err *err)
{
    int r = record_kill_init(record, CLEAN_TIMEOUT_MS, err);
    if (r == 0 && cgroup->layout != RUNTIME_CGROUP_NONE)
        r = cgroup_leftover_destroy(cgroup, record->cgroup_name, CLEAN_TIMEOUT_MS, err);
    if (r == 0)
        r = workspace_reap(share_dir, state_dir, NULL, err);
    return r;
}

/* ---- the new image -------------------------------------------------------------------------- */

int runtime_reaper_main(void)
{
    static struct reaper_work work;
    if (pread(WORK_FD, &work, sizeof work, 0) != (ssize_t)sizeof work || work.magic != WORK_MAGIC ||
        work.size != sizeof work)
        return 1;
    prctl(PR_SET_NAME, "berth: reaper", 0, 0, 0);
    const int kept[] = {RECORD_DIR_FD, RECORD_FD, UID_LOCK_FD};
    if (fd_keep_only(kept, ARRAY_LENGTH(kept)) < 0)
        return 1;
    work.record.dir = RECORD_DIR_FD;
    work.record.fd = RECORD_FD;
    struct err err = {0};
    int r = run_clean(&work.cgroup, work.share_dir, work.state_dir, &work.record, &err);
    if (r == 0)
        r = record_remove(&work.record, &err);
    return r == 0 ? 0 : 1; /* on failure the record stays for the next command to try */
}

/* Puts `from` at `to`, open across execve(); both were moved out of each other's way before. */
static int place(int from, int to)
{
    return dup2(from, to) < 0 ? -errno : 0;
}

static _Noreturn void become_new_image(struct reaper *reaper)
{
    struct reaper_work *work = &reaper->work;
    int fds[] = {memfd_create("berth-reaper", MFD_CLOEXEC), work->record.dir, work->record.fd,
                 reaper->uid_lock};
    if (fds[0] < 0 || io_write_full(fds[0], work, sizeof *work) < 0)
        _exit(1);
    for (int i = 0; i < (int)ARRAY_LENGTH(fds); i++)
        if (fds[i] >= 0 && (fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, REAPER_FD_END)) < 0)
            _exit(1);
    for (int i = 0; i < (int)ARRAY_LENGTH(fds); i++)
        if (fds[i] >= 0 && place(fds[i], WORK_FD + i) < 0)
            _exit(1);
    char *const argv[] = {reaper_argument, NULL}, *const envp[] = {NULL};
    execve(reaper->program, argv, envp);
    _exit(1);
}

/* ---- the one that waits --------------------------------------------------------------------- */

static int wait_for_end(void *data)
{
    struct reaper *reaper = data;
    /* Not the launcher's terminal, process group or output: whoever waits for the end of that
     * output must not wait for this process, and a signal to the group must not end it. */
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3 && null >= 0; i++)
        dup2(null, i);
    /* Nor anything else that it was born with: a pipe of the command's would never end. The
     * launcher's end of our own pipe is among what goes. */
    const int kept[] = {reaper->pipe_read, reaper->work.record.fd, reaper->work.record.dir,
                        reaper->uid_lock};
    if (fd_keep_only(kept, ARRAY_LENGTH(kept)) < 0)
        _exit(1);
    prctl(PR_SET_NAME, "berth: reaper", 0, 0, 0);
    char byte;
    ssize_t n = io_read_full(reaper->pipe_read, &byte, 1);
    if (n == 1)
        _exit(0);
    if (n < 0) /* the launcher lives, for all this process knows: the session is its own */
        _exit(1);
    become_new_image(reaper);
}

int reaper_start(struct session *s, struct err *err)
{
    static const char step[] = "start the reaper";
    const struct runtime *rt = s->runtime;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    _cleanup_fd_ int pipe_read = ends[0], pipe_write = ends[1];
    struct reaper *reaper = mmap(NULL, sizeof *reaper, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    if (reaper == MAP_FAILED)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    reaper->pipe_read = pipe_read;
    reaper->uid_lock = s->uid_lock;
    reaper->program = rt->reaper[0] ? rt->reaper : "/proc/self/exe";
    struct reaper_work *work = &reaper->work;
    work->magic = WORK_MAGIC;
    work->size = sizeof *work;
    work->cgroup = rt->cgroup;
    memcpy(work->state_dir, rt->state_dir, sizeof work->state_dir);
    memcpy(work->share_dir, rt->share_dir, sizeof work->share_dir);
    work->record = s->record;
    /* A handler of the launcher's must not run in a process that shares its memory. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(wait_for_end, reaper->stack + STACK_BYTES, CLONE_VM | SIGCHLD, reaper);
    int failed = errno;
    sigprocmask(SIG_SETMASK, &before, NULL);
    if (pid < 0) {
        munmap(reaper, sizeof *reaper);
        return err_set(err, ERR_UNAVAILABLE, failed, step, NULL, NULL);
    }
    s->reaper = pid;
    s->reaper_memory = reaper;
    s->reaper_pipe = take_fd(&pipe_write);
    return 0;
}

void reaper_dismiss(struct session *s)
{
    if (s->reaper_pipe < 0)
        return;
    /* If this write failed the reaper would find nothing to do: everything is gone already. */
    if (io_write_full(s->reaper_pipe, "D", 1) < 0)
        s->reaper = 0; /* it has ended already */
    fd_closep(&s->reaper_pipe);
}

void reaper_wait(struct session *s)
{
    pid_t pid = s->reaper;
    s->reaper = 0;
    while (pid > 0 && waitpid(pid, NULL, 0) < 0)
        if (errno != EINTR)
            return; /* somebody else reaped it, or the kernel does */
    /* Only where its end was seen is its stack nobody's; else it stays until this process ends. */
    if (pid > 0)
        munmap(s->reaper_memory, sizeof(struct reaper));
}
