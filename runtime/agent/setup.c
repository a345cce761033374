/* This file reads init's configuration and puts its descriptors, signals and limits in order; it
 * never goes on after a step that failed.
 *
 * Privilege: root of the session's user namespace on entry; setup_rights.c gives it up.
 */
#include "runtime/agent/setup.h"

#include "runtime/agent/connection.h"
#include "runtime/agent/denied.h"
#include "runtime/agent/setup_internal.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/plan/landlock.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static int failed(struct err *err, int sys, const char *step, const char *subject)
{
    return err_raw(err, ERR_INTERNAL, sys, step, subject);
}

/* ---- configuration -------------------------------------------------------------------------- */

static int check_config(const struct agent_config *config, size_t length, struct err *err)
{
    const char *step = "check configuration of init";
    if (config->magic != AGENT_MAGIC || config->version != AGENT_VERSION ||
        config->size != sizeof *config)
        return failed(err, EINVAL, step, "another protocol version: install matching programs");
    if (config->flags & ~(uint32_t)(AGENT_END_WITH_CONTROLLER | AGENT_SHARED_UID |
                                    AGENT_NO_CLONE_INTO | AGENT_END_WITH_COMMAND | AGENT_EXPLAIN))
        return failed(err, EINVAL, step, "flags");
    if (config->have & ~(uint32_t)(AGENT_HAVE_CGROUP | AGENT_HAVE_OOM | AGENT_HAVE_PIDS |
                                   AGENT_HAVE_LISTEN | AGENT_HAVE_FILES))
        return failed(err, EINVAL, step, "have");
    if (config->v1_count > AGENT_V1_MAX)
        return failed(err, EINVAL, step, "v1_count");
    if (config->base_filter_length > AGENT_SECCOMP_MAX ||
        config->exec_filter_length > AGENT_SECCOMP_MAX)
        return failed(err, EINVAL, step, "filter length");
    if (config->flags & AGENT_EXPLAIN && config->exec_filter_length == 0)
        return failed(err, EINVAL, step, "there is no filter to explain");
    if (config->landlock_path_count > LANDLOCK_PATHS_MAX)
        return failed(err, EINVAL, step, "landlock_path_count");
    if (config->uid == UINT32_MAX || config->gid == UINT32_MAX ||
        (!(config->flags & AGENT_SHARED_UID) && (config->uid == 0 || config->gid == 0)))
        return failed(err, EINVAL, step, "uid");
    size_t expected = sizeof *config +
                      sizeof(struct sock_filter) *
                          ((size_t)config->base_filter_length + config->exec_filter_length) +
                      sizeof(struct agent_landlock_path) * config->landlock_path_count;
    if (length != expected)
        return failed(err, EINVAL, step, "length");
    return 0;
}

/* Copied once, then checked: the copy is what counts. It stays, for the filter of commands. */
static int read_config(struct init *init, struct err *err)
{
    struct stat st;
    if (fstat(AGENT_FD_CONFIG, &st) < 0)
        return failed(err, errno, "read configuration of init", NULL);
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof init->config || st.st_size > 1 << 20)
        return failed(err, EINVAL, "read configuration of init", NULL);
    size_t length = (size_t)st.st_size;
    unsigned char *data =
        mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return failed(err, errno, "read configuration of init", NULL);
    ssize_t n = pread(AGENT_FD_CONFIG, data, length, 0);
    if (n != (ssize_t)length)
        return failed(err, n < 0 ? errno : EINVAL, "read configuration of init", NULL);
    memcpy(&init->config, data, sizeof init->config);
    int r = check_config(&init->config, length, err);
    if (r < 0)
        return r;
    data += sizeof init->config;
    init->base_filter = (const struct sock_filter *)(const void *)data;
    data += sizeof(struct sock_filter) * init->config.base_filter_length;
    init->exec_filter = (const struct sock_filter *)(const void *)data;
    data += sizeof(struct sock_filter) * init->config.exec_filter_length;
    init->landlock_paths = (const struct agent_landlock_path *)(const void *)data;
    init->epoch = init->config.epoch;
    return 0;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

static bool expected_fd(const struct agent_config *config, int fd)
{
    switch (fd) {
    case AGENT_FD_CONTROL:
    case AGENT_FD_FRAMES:
        return true;
    case AGENT_FD_CGROUP:
        return config->have & AGENT_HAVE_CGROUP;
    case AGENT_FD_OOM:
        return config->have & AGENT_HAVE_OOM;
    case AGENT_FD_PIDS:
        return config->have & AGENT_HAVE_PIDS;
    case AGENT_FD_LISTEN:
        return config->have & AGENT_HAVE_LISTEN;
    case AGENT_FD_FILES:
        return config->have & AGENT_HAVE_FILES;
    default:
        return fd >= AGENT_FD_V1 && fd < AGENT_FD_V1 + (int)config->v1_count;
    }
}

/* Locks that end with init: whoever made the session says by them that it lives. */
static bool held_fd(const struct agent_config *config, int fd)
{
    return config->have & AGENT_HAVE_LISTEN && fd >= AGENT_FD_HOLD &&
           fd < AGENT_FD_HOLD + AGENT_HOLD_MAX;
}

/* From here on nothing is open but what is expected, and none of it survives an execve(). */
static int take_descriptors(struct init *init, struct err *err)
{
    for (int fd = 0; fd < AGENT_FD_END; fd++) {
        bool expected = fd <= 2 || expected_fd(&init->config, fd);
        if (!expected && !held_fd(&init->config, fd))
            close(fd);
        else if (expected && fcntl(fd, F_GETFD) < 0)
            return failed(err, errno, "find descriptors of init", fd <= 2 ? "/dev/null" : NULL);
    }
    if (syscall(SYS_close_range, (unsigned)AGENT_FD_END, ~0u, 0) < 0)
        return failed(err, errno, "close descriptors of launcher", NULL);
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
        return failed(err, errno, "mark descriptors of init", NULL);
    return 0;
}

/* ---- signals and limits --------------------------------------------------------------------- */

/* PID 1 gets no signal that it has no handler for, so nothing is ignored or blocked but SIGCHLD,
 * which is read from a descriptor: blocked signals would queue up. */
static int take_signals(struct init *init, struct err *err)
{
    if (getpid() != 1)
        return failed(err, EPERM, "start as PID 1", "the process has another pid");
    /* Not through libc, which keeps 32 and 33 to itself; what posix_spawn() started (make, python)
     * has them ignored, and a command would inherit it. KILL and STOP refuse: they are default. */
    struct {
        unsigned long handler, flags, restorer;
        uint64_t mask;
    } fallback = {.handler = 0 /* SIG_DFL */};
    for (int signo = 1; signo < NSIG; signo++)
        syscall(SYS_rt_sigaction, signo, &fallback, NULL, sizeof fallback.mask);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &children, NULL) < 0)
        return failed(err, errno, "block signals", NULL);
    init->children = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (init->children < 0)
        return failed(err, errno, "watch children", NULL);
    umask(022);
    return 0;
}

/* What every command inherits, whatever service or shell the launcher was started from. A hard
 * limit below is kept: raising one needs a privilege on the host. */
static const struct {
    int resource;
    rlim_t soft, hard;
    const char *name;
} limits[] = {
    /* One byte, not none: no file is that small (and the filter of commands lets none of them lower
     * it: setrlimit_resource in runtime/plan/seccomp_rules.c), and 1 is the value at which the
     * kernel does not start a crash handler either (core(5) and fs/coredump.c: a pipe in
     * core_pattern ignores the limit 0), which would run as the host's root on input of the
     * session's making. */
    {RLIMIT_CORE, 1, 1, "core"},
    {RLIMIT_STACK, 8 << 20, RLIM_INFINITY, "stack"},
    {RLIMIT_MEMLOCK, 8 << 20, 8 << 20, "memlock"},
    {RLIMIT_MSGQUEUE, 819200, 819200, "msgqueue"},
    {RLIMIT_NICE, 0, 0, "nice"},
    {RLIMIT_RTPRIO, 0, 0, "rtprio"},
};

static int take_limits(struct init *init, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LENGTH(limits); i++) {
        struct rlimit now, next = {limits[i].soft, limits[i].hard};
        if (syscall(SYS_prlimit64, 0, limits[i].resource, NULL, &now) < 0)
            return failed(err, errno, "read limit", limits[i].name);
        if (next.rlim_max > now.rlim_max)
            next.rlim_max = now.rlim_max;
        if (next.rlim_cur > next.rlim_max)
            next.rlim_cur = next.rlim_max;
        if (syscall(SYS_prlimit64, 0, limits[i].resource, &next, NULL) < 0)
            return failed(err, errno, "set limit", limits[i].name);
    }
    if (getrlimit(RLIMIT_NOFILE, &init->open_files) < 0)
        return failed(err, errno, "read limit", "nofile");
    struct rlimit most = {init->open_files.rlim_max, init->open_files.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &most) < 0)
        return failed(err, errno, "set limit", "nofile");
    return 0;
}

static int wait_on(const struct init *init, int fd, uint32_t events, enum wait_kind kind,
                   struct err *err)
{
    struct epoll_event event = {.events = events, .data.u64 = init_wait_data(kind, 0)};
    if (epoll_ctl(init->wait, EPOLL_CTL_ADD, fd, &event) < 0)
        return failed(err, errno, "wait for events", NULL);
    return 0;
}

static int make_loop(struct init *init, struct err *err)
{
    init->wait = epoll_create1(EPOLL_CLOEXEC);
    init->capture = epoll_create1(EPOLL_CLOEXEC);
    if (init->wait < 0 || init->capture < 0)
        return failed(err, errno, "wait for events", NULL);
    init->capture_waits = true;
    int r = connection_start(init, err);
    if (r == 0)
        r = wait_on(init, init->children, EPOLLIN, WAIT_CHILDREN, err);
    if (r == 0)
        r = wait_on(init, init->capture, EPOLLIN, WAIT_CAPTURE, err);
    return r;
}

int setup_run(struct init *init, struct err *err)
{
    int (*const steps[])(struct init *, struct err *) = {
        read_config, take_descriptors,     take_signals,
        take_limits, setup_rights_prepare, setup_rights_drop,
        make_loop,   denied_setup,         setup_rights_filter,
    };
    init->landlock = init->control = -1;
    for (size_t i = 0; i < ARRAY_LENGTH(steps); i++) {
        int r = steps[i](init, err);
        if (r < 0)
            return r;
    }
    return 0;
}
