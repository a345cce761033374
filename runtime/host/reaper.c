/* This file cleans up after a run whose processes were killed; it never touches a run that lives.
 *
 * PRIVILEGED, same namespaces as the launcher. Holds: the run's record (its lock is shared), the
 * lock on its range of ids, one pipe. Talks to nobody: it waits for a byte or the end of that pipe.
 * It is forked before the run makes anything, so there is no instant at which SIGKILL of the
 * launcher leaves something that nobody will remove; when the reaper is killed too, the record is
 * left unlocked and the next berth command does the same work (runtime_reap()).
 */
#include "runtime/host/runtime_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { CLEAN_TIMEOUT_MS = 10000 };

int run_clean(struct runtime *rt, const struct record *record, struct err *err)
{
    int r = record_kill_init(record, CLEAN_TIMEOUT_MS, err);
    if (r == 0 && rt->cgroup.layout != RUNTIME_CGROUP_NONE)
        r = cgroup_leftover_destroy(&rt->cgroup, record->cgroup_name, CLEAN_TIMEOUT_MS, err);
    if (r == 0)
        r = workspace_reap(rt->share_dir, rt->state_dir, NULL, err);
    return r;
}

static _Noreturn void reaper_main(struct session *s, int pipe_read)
{
    /* Not the launcher's terminal, process group or output: whoever waits for the end of that
     * output must not wait for this process, and a signal to the group must not end it. */
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3 && null >= 0; i++)
        dup2(null, i);
    /* Nor anything else that it was born with: a pipe of the command's would never end. */
    const int kept[] = {pipe_read, s->record.fd, s->record.dir, s->uid_lock};
    if (fd_keep_only(kept, ARRAY_LENGTH(kept)) < 0)
        _exit(1);
    prctl(PR_SET_NAME, "berth: reaper", 0, 0, 0);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);

    char byte;
    ssize_t n = io_read_full(pipe_read, &byte, 1);
    if (n == 1)
        _exit(0);
    if (n < 0) /* the launcher lives, for all this process knows: the session is its own */
        _exit(1);
    struct err err = {0};
    int r = run_clean(s->runtime, &s->record, &err);
    if (r == 0)
        r = record_remove(&s->record, &err);
    _exit(r == 0 ? 0 : 1); /* on failure the record stays for the next command to try */
}

int reaper_start(struct session *s, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make the reaper's pipe", NULL, NULL);
    _cleanup_fd_ int pipe_read = ends[0], pipe_write = ends[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "fork the reaper", NULL, NULL);
    if (pid == 0) {
        fd_closep(&pipe_write);
        reaper_main(s, pipe_read);
    }
    s->reaper = pid;
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
    while (s->reaper > 0 && waitpid(s->reaper, NULL, 0) < 0 && errno == EINTR)
        ;
    s->reaper = 0;
}
