/* This file tries, in a fresh cgroup, how a process can be put into one from here; it never touches
 * a session. PRIVILEGED: the launcher's. For doctor, and for a launcher whose clone has failed. */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { REMOVE_MS = 1000, SURVIVED = 7 };

static int end_of(pid_t child)
{
    int status;
    while (waitpid(child, &status, __WALL) < 0)
        if (errno != EINTR)
            return -errno;
    if (WIFEXITED(status) && WEXITSTATUS(status) == SURVIVED)
        return 0;
    return WIFSIGNALED(status) ? -EOWNERDEAD : -EIO;
}

static int try_clone_into(int dir)
{
    struct clone_args args = {
        .flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = (unsigned)dir};
    pid_t child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (child < 0)
        return -errno;
    if (child == 0)
        _exit(SURVIVED);
    return end_of(child);
}

static int try_write(int dir)
{
    pid_t child = fork();
    if (child < 0)
        return -errno;
    if (child == 0)
        _exit(io_write_at(dir, "cgroup.procs", "0") == 0 ? SURVIVED : 1);
    return end_of(child);
}

int cgroup_host_selftest(struct cgroup_host *host, struct err *err)
{
    if (host->layout == RUNTIME_CGROUP_NONE) {
        host->clone_into = false;
        return 0;
    }
    char path[CGROUP_PATH_MAX];
    snprintf(path, sizeof path, "%s/selftest-%d-%llx", host->v2, getpid(),
             (unsigned long long)cgroup_now_us());
    if (mkdir(path, 0755) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "test a cgroup", path, NULL);
    _cleanup_fd_ int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int clone = dir < 0 ? -errno : try_clone_into(dir);
    int write = clone == 0 || dir < 0 ? clone : try_write(dir);
    int removed = cgroup_remove_tree(AT_FDCWD, path, cgroup_now_us() + (uint64_t)REMOVE_MS * 1000);
    host->clone_into = clone == 0;
    if (write < 0)
        return err_set(err, ERR_UNAVAILABLE, -write, "test a cgroup", path,
                       "A process can neither be born in a fresh cgroup nor move there.");
    if (removed < 0)
        return err_set(err, ERR_UNAVAILABLE, -removed, "remove a cgroup", path, NULL);
    return 0;
}
