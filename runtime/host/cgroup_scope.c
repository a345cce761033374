/* This file asks the user's systemd for a delegated scope around this process, through busctl, and
 * waits until the kernel has moved it; it never waits longer than it was told. Runs as the user. */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct words {
    char runtime[160], scope[48], pid[16];
};

/* StartTransientUnit(name, mode, properties, aux); the scope ends with its last process. */
static void exec_busctl(const char *program, struct words *w)
{
    const char *argv[] = {program,
                          "--user",
                          "--quiet",
                          "call",
                          "org.freedesktop.systemd1",
                          "/org/freedesktop/systemd1",
                          "org.freedesktop.systemd1.Manager",
                          "StartTransientUnit",
                          "ssa(sv)a(sa(sv))",
                          w->scope,
                          "fail",
                          "4",
                          "PIDs",
                          "au",
                          "1",
                          w->pid,
                          "Delegate",
                          "b",
                          "true",
                          "CollectMode",
                          "s",
                          "inactive-or-failed",
                          "Description",
                          "s",
                          "berth sandbox",
                          "0",
                          NULL};
    const char *envp[] = {w->runtime, "LC_ALL=C", "PATH=/usr/bin:/bin", NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
        _exit(126);
    sigset_t nothing;
    sigemptyset(&nothing);
    sigprocmask(SIG_SETMASK, &nothing, NULL);
    execve(program, (char **)argv, (char **)envp);
    _exit(127);
}

/* 0 when it ended well, else -errno; killed when the time is over. */
static int wait_child(pid_t child, uint64_t deadline_us)
{
    for (;;) {
        int status;
        pid_t r = waitpid(child, &status, WNOHANG);
        if (r < 0 && errno != EINTR)
            return -errno;
        if (r == child)
            return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECANCELED;
        if (cgroup_now_us() >= deadline_us) {
            kill(child, SIGKILL);
            while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
                ;
            return -ETIMEDOUT;
        }
        cgroup_sleep_us(500);
    }
}

static int wait_moved(const char *scope, uint64_t deadline_us)
{
    char text[4096];
    for (;;) {
        ssize_t n = io_read_at(AT_FDCWD, "/proc/self/cgroup", text, sizeof text);
        if (n < 0)
            return (int)n;
        const char *own = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
        if (own && strstr(own, scope))
            return 0;
        if (cgroup_now_us() >= deadline_us)
            return -ETIMEDOUT;
        cgroup_sleep_us(500);
    }
}

int cgroup_scope_ask(const char *program, const char *runtime_dir, unsigned wait_ms, char *ret_why,
                     size_t size)
{
    struct stat st;
    char bus[160];
    snprintf(bus, sizeof bus, "%.128s/bus", runtime_dir);
    if (stat(bus, &st) < 0 || !S_ISSOCK(st.st_mode)) {
        snprintf(ret_why, size, "no user bus at %s", bus);
        return -ENOENT;
    }
    if (access(program, X_OK) < 0) {
        snprintf(ret_why, size, "%s is not installed", program);
        return -ENOENT;
    }
    uint64_t deadline_us = cgroup_now_us() + (uint64_t)wait_ms * 1000;
    struct words w;
    snprintf(w.runtime, sizeof w.runtime, "XDG_RUNTIME_DIR=%.128s", runtime_dir);
    snprintf(w.pid, sizeof w.pid, "%d", getpid());
    /* Unit names must be new: a pid comes again, a time does not. */
    snprintf(w.scope, sizeof w.scope, CGROUP_SCOPE_PREFIX "%d-%llx" CGROUP_SCOPE_SUFFIX, getpid(),
             (unsigned long long)deadline_us);
    pid_t child = fork();
    if (child < 0) {
        int keep = errno;
        snprintf(ret_why, size, "fork: %s", strerror(keep));
        return -keep;
    }
    if (child == 0)
        exec_busctl(program, &w);
    int r = wait_child(child, deadline_us);
    if (r == 0)
        r = wait_moved(w.scope, deadline_us);
    if (r == -ETIMEDOUT)
        snprintf(ret_why, size, "the user's systemd gave no scope within %u ms", wait_ms);
    else if (r < 0)
        snprintf(ret_why, size, "the user's systemd refused a scope");
    return r;
}
