/* This file starts a real berth-init the way the launcher does, in namespaces of its own over the
 * host's root, and speaks the protocol with it. It is included by the agent_*.c tests; it leaves
 * nothing behind after harness_stop().
 */
#pragma once

#include "runtime/agent/frame_reader.h"
#include "runtime/agent/protocol.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/spec.h"
#include "tests/slower.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/filter.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#define UNUSED __attribute__((unused))

enum { HARNESS_UID_BASE = 1879048192, HARNESS_TEXT_MAX = 1 << 20 };

struct harness_options {
    uint32_t flags; /* AGENT_* of the configuration */
    bool no_cgroup;
    bool parent_dies; /* started by a process that ends at once (death signal) */
    const struct sock_filter *base, *exec;
    uint32_t base_length, exec_length;
    uint32_t landlock_abi, landlock_path_count;
    struct agent_landlock_path landlock_paths[8];
    uint64_t epoch;
    uint32_t uid;                     /* 0: SPEC_UID_INIT */
    int oom_fd, pids_fd;              /* 0: none */
    int listen_fd, files_fd, hold_fd; /* 0: none */
    int extra_fd;                     /* left open in init's start at a high number; 0: none */
    uint32_t magic;                   /* 0: the right one */
};

struct harness {
    pid_t pid;
    int control, frames;
    char cgroup[PATH_MAX]; /* "" without */
    struct frame_reader *reader;
    struct agent_ready ready;
    bool ready_seen;
    struct err failed;
    bool failed_seen;
    double start_us; /* exec to READY */
};

UNUSED static double harness_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

UNUSED static const char *harness_cgroup_root(void)
{
    return access("/sys/fs/cgroup/unified/cgroup.procs", F_OK) == 0 ? "/sys/fs/cgroup/unified"
                                                                    : "/sys/fs/cgroup";
}

UNUSED static int harness_write_text(const char *path, const char *text)
{
    return io_write_at(AT_FDCWD, path, text);
}

UNUSED static void harness_make_cgroup(struct harness *h)
{
    static int serial;
    snprintf(h->cgroup, sizeof h->cgroup, "%s/berth-test-%d-%d", harness_cgroup_root(), getpid(),
             serial++);
    const char *const names[] = {"", "/cgroup.procs", "/init", "/run", "/run/cgroup.procs"};
    char path[PATH_MAX + 64];
    cr_assert_eq(mkdir(h->cgroup, 0755), 0, "mkdir %s: %m", h->cgroup);
    snprintf(path, sizeof path, "%s/init", h->cgroup);
    cr_assert_eq(mkdir(path, 0755), 0);
    snprintf(path, sizeof path, "%s/run", h->cgroup);
    cr_assert_eq(mkdir(path, 0755), 0);
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        snprintf(path, sizeof path, "%s%s", h->cgroup, names[i]);
        cr_assert_eq(
            chown(path, HARNESS_UID_BASE + SPEC_UID_INIT, HARNESS_UID_BASE + SPEC_UID_INIT), 0);
    }
}

UNUSED static int harness_config(const struct harness_options *o, bool cgroup)
{
    struct agent_config config = {
        .magic = o->magic ? o->magic : AGENT_MAGIC,
        .version = AGENT_VERSION,
        .size = sizeof config,
        .flags = o->flags,
        .have = (cgroup ? AGENT_HAVE_CGROUP : 0u) | (o->oom_fd ? AGENT_HAVE_OOM : 0u) |
                (o->pids_fd ? AGENT_HAVE_PIDS : 0u) | (o->listen_fd ? AGENT_HAVE_LISTEN : 0u) |
                (o->files_fd ? AGENT_HAVE_FILES : 0u),
        .uid = o->uid ? o->uid : SPEC_UID_INIT,
        .gid = o->uid ? o->uid : SPEC_UID_INIT,
        .base_filter_length = o->base_length,
        .exec_filter_length = o->exec_length,
        .landlock_abi = o->landlock_abi,
        .landlock_path_count = o->landlock_path_count,
        .epoch = o->epoch,
    };
    if (o->flags & AGENT_SHARED_UID)
        config.uid = config.gid = 0;
    int fd = memfd_create("config", MFD_CLOEXEC);
    io_write_full(fd, &config, sizeof config);
    io_write_full(fd, o->base, o->base_length * sizeof(struct sock_filter));
    io_write_full(fd, o->exec, o->exec_length * sizeof(struct sock_filter));
    io_write_full(fd, o->landlock_paths,
                  o->landlock_path_count * sizeof(struct agent_landlock_path));
    return fd;
}

/* In the child: the mounts of a session, over the host's root. */
UNUSED static int harness_mounts(void)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0 ||
        mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
              "newinstance,ptmxmode=0666,mode=0620") < 0)
        return -1;
    struct stat st;
    if (lstat("/dev/ptmx", &st) == 0 && S_ISLNK(st.st_mode))
        return 0;
    return mount("/dev/pts/ptmx", "/dev/ptmx", NULL, MS_BIND, NULL);
}

UNUSED static void harness_child(int go, const int fds[AGENT_FD_END], int exe, int extra)
{
    char byte;
    if (read(go, &byte, 1) != 1 || setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 ||
        setresuid(0, 0, 0) < 0 || harness_mounts() < 0)
        _exit(100);
    int high[AGENT_FD_END];
    for (int i = 0; i < AGENT_FD_END; i++)
        high[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 200);
    int exe_high = fcntl(exe, F_DUPFD_CLOEXEC, 200);
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    if (extra > 0)
        dup2(extra, 150);
    for (int i = 3; i < AGENT_FD_END; i++)
        if (high[i] >= 0)
            dup2(high[i], i);
        else
            close(i);
    char *const argv[] = {(char *)"berth: init", NULL}, *const envp[] = {NULL};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    syscall(SYS_execveat, exe_high, "", argv, envp, AT_EMPTY_PATH);
    _exit(101);
}

UNUSED static int harness_open_init(void)
{
    char path[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 32);
    cr_assert_gt(n, 0);
    path[n] = 0;
    for (int i = 0; i < 3; i++)
        *strrchr(path, '/') = 0;
    strcat(path, "/bin/berth-init");
    int fd = open(path, O_PATH | O_CLOEXEC);
    cr_assert_geq(fd, 0, "open %s: %m (make bin/berth-init first)", path);
    return fd;
}

#define HARNESS_TIMEOUT_MS (20000 * (int)test_slower())

/* The next frame; false when none comes in time or the pipe has ended. */
UNUSED static bool harness_frame(struct harness *h, struct agent_frame *frame, const void **payload,
                                 int timeout_ms)
{
    struct err err = {0};
    double until = harness_now_us() + timeout_ms * 1e3;
    for (;;) {
        int r = frame_reader_next(h->reader, frame, payload, &err);
        if (r == 0)
            return true;
        cr_assert_geq(r, 0, "%s", err.detail);
        double left = until - harness_now_us();
        if (r == FRAME_READER_END || left <= 0)
            return false;
        struct pollfd p = {.fd = h->frames, .events = POLLIN};
        poll(&p, 1, (int)(left / 1e3) + 1);
    }
}

UNUSED static void harness_await_ready(struct harness *h)
{
    struct agent_frame frame;
    const void *payload;
    if (!harness_frame(h, &frame, &payload, HARNESS_TIMEOUT_MS))
        return;
    if (frame.type == AGENT_FRAME_READY) {
        h->ready = *(const struct agent_ready *)payload;
        h->ready_seen = true;
    } else if (frame.type == AGENT_FRAME_FAILED) {
        h->failed = *(const struct err *)payload;
        h->failed_seen = true;
    }
}

UNUSED static void harness_start(struct harness *h, const struct harness_options *o)
{
    *h = (struct harness){.control = -1, .frames = -1};
    h->reader = malloc(sizeof *h->reader);
    if (!o->no_cgroup)
        harness_make_cgroup(h);
    int socket_ends[2], pipe_ends[2], go[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, socket_ends), 0);
    cr_assert_eq(pipe2(pipe_ends, O_CLOEXEC), 0);
    cr_assert_eq(pipe2(go, O_CLOEXEC), 0);
    int fds[AGENT_FD_END];
    memset(fds, 0xff, sizeof fds);
    fds[AGENT_FD_CONTROL] = socket_ends[1];
    fds[AGENT_FD_FRAMES] = pipe_ends[1];
    fds[AGENT_FD_CONFIG] = harness_config(o, !o->no_cgroup);
    char path[PATH_MAX + 64];
    if (!o->no_cgroup) {
        snprintf(path, sizeof path, "%s/run", h->cgroup);
        fds[AGENT_FD_CGROUP] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (o->oom_fd)
        fds[AGENT_FD_OOM] = o->oom_fd;
    if (o->pids_fd)
        fds[AGENT_FD_PIDS] = o->pids_fd;
    if (o->listen_fd)
        fds[AGENT_FD_LISTEN] = o->listen_fd;
    if (o->files_fd)
        fds[AGENT_FD_FILES] = o->files_fd;
    if (o->hold_fd)
        fds[AGENT_FD_HOLD] = o->hold_fd;
    int exe = harness_open_init();

    h->pid = (pid_t)syscall(SYS_clone,
                            CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC |
                                CLONE_NEWUTS | SIGCHLD,
                            NULL, NULL, NULL, NULL);
    cr_assert_geq(h->pid, 0, "clone: %m");
    if (h->pid == 0)
        harness_child(go[0], fds, exe, o->extra_fd);
    snprintf(path, sizeof path, "/proc/%d/uid_map", h->pid);
    char map[64];
    snprintf(map, sizeof map, "0 %u %u", (unsigned)HARNESS_UID_BASE,
             o->flags & AGENT_SHARED_UID ? 1u : 65536u);
    cr_assert_eq(harness_write_text(path, map), 0);
    snprintf(path, sizeof path, "/proc/%d/gid_map", h->pid);
    cr_assert_eq(harness_write_text(path, map), 0);
    if (!o->no_cgroup) {
        char pid[16];
        snprintf(pid, sizeof pid, "%d", h->pid);
        snprintf(path, sizeof path, "%s/init/cgroup.procs", h->cgroup);
        cr_assert_eq(harness_write_text(path, pid), 0);
    }
    double start = harness_now_us();
    cr_assert_eq(write(go[1], "g", 1), 1);
    close(go[0]);
    close(go[1]);
    close(socket_ends[1]);
    close(pipe_ends[1]);
    close(fds[AGENT_FD_CONFIG]);
    fd_close(fds[AGENT_FD_CGROUP]);
    close(exe);
    h->control = socket_ends[0];
    h->frames = pipe_ends[0];
    fcntl(h->frames, F_SETFL, O_NONBLOCK);
    frame_reader_init(h->reader, h->frames);
    harness_await_ready(h);
    h->start_us = harness_now_us() - start;
}

/* Started and ready, with the usual options. */
UNUSED static void harness_start_ready(struct harness *h)
{
    struct harness_options o = {.flags = AGENT_END_WITH_CONTROLLER};
    harness_start(h, &o);
    cr_assert(h->ready_seen, "init is not ready: step '%s' subject '%s' errno %d", h->failed.step,
              h->failed.subject, h->failed.sys);
}

/* True when PID 1 ended by itself in time. */
UNUSED static bool harness_ended(struct harness *h, int timeout_ms, int *ret_status)
{
    double until = harness_now_us() + timeout_ms * 1e3;
    do {
        if (waitpid(h->pid, ret_status, WNOHANG) == h->pid) {
            h->pid = 0;
            return true;
        }
        usleep(1000);
    } while (harness_now_us() < until);
    return false;
}

/* Directories below `path`, itself included, are removed; how many could not be. */
UNUSED static unsigned harness_remove_cgroup(const char *path, unsigned *ret_execs_left)
{
    char sub[2 * PATH_MAX];
    unsigned left = 0;
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (e->d_type == DT_DIR && e->d_name[0] != '.') {
            snprintf(sub, sizeof sub, "%s/%s", path, e->d_name);
            if (e->d_name[0] == 'e')
                (*ret_execs_left)++;
            left += harness_remove_cgroup(sub, ret_execs_left);
        }
    if (dir)
        closedir(dir);
    for (int i = 0; i < 500; i++) {
        if (rmdir(path) == 0 || errno == ENOENT)
            return left;
        usleep(2000);
    }
    return left + 1;
}

/* End the session and prove that it left nothing: no process, no cgroup. */
UNUSED static void harness_stop(struct harness *h)
{
    int status;
    fd_replace(&h->control, -1);
    if (h->pid > 0 && !harness_ended(h, 5000, &status)) {
        kill(h->pid, SIGKILL);
        waitpid(h->pid, &status, 0);
        h->pid = 0;
        cr_assert_fail("init did not end with its controller");
    }
    unsigned execs = 0;
    if (h->cgroup[0])
        cr_assert_eq(harness_remove_cgroup(h->cgroup, &execs), 0, "cgroups are left");
    cr_expect_eq(execs, 0, "init left %u cgroups of commands", execs);
    fd_replace(&h->frames, -1);
    free(h->reader);
    h->reader = NULL;
}

/* ---- messages ------------------------------------------------------------------------------- */

UNUSED static void harness_send_raw(struct harness *h, const void *data, size_t length,
                                    const int *fds, unsigned count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 32)];
    } control = {0};
    struct iovec part = {(void *)data, length};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        m.msg_control = control.bytes;
        m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * count);
        memcpy(CMSG_DATA(c), fds, sizeof(int) * count);
    }
    cr_assert_eq(sendmsg(h->control, &m, MSG_NOSIGNAL), (ssize_t)length, "sendmsg: %m");
}

UNUSED static void harness_send(struct harness *h, uint16_t type, uint64_t exec, uint64_t a,
                                uint64_t b)
{
    struct agent_message m = {.magic = AGENT_MAGIC,
                              .version = AGENT_VERSION,
                              .type = type,
                              .epoch = 1,
                              .exec = exec,
                              .arg = {a, b}};
    harness_send_raw(h, &m, sizeof m, NULL, 0);
}

struct harness_exec {
    const char *const *argv; /* NULL: {"/bin/sh", "-c", shell} */
    const char *shell;
    const char *const *env; /* NULL: a usual PATH */
    const char *cwd;        /* NULL: "/" */
    uint32_t flags, uid;    /* uid 0 and !root: 1000 */
    bool root;
    int stdin_fd, stdout_fd, stderr_fd; /* 0: not given */
    uint16_t rows, cols;
    uint64_t timeout_ms, idle_timeout_ms, grace_ms, open_files, epoch;
};

UNUSED static void harness_exec(struct harness *h, uint64_t number, const struct harness_exec *e)
{
    static const char *const usual_env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8",
                                            NULL};
    const char *const by_shell[] = {"/bin/sh", "-c", e->shell, NULL};
    const char *const *argv = e->argv ? e->argv : by_shell;
    const char *const *env = e->env ? e->env : usual_env;
    struct agent_exec x = {.magic = AGENT_MAGIC,
                           .version = AGENT_VERSION,
                           .size = sizeof x,
                           .flags = e->flags,
                           .uid = e->root  ? 0
                                  : e->uid ? e->uid
                                           : 1000,
                           .rows = e->rows,
                           .cols = e->cols,
                           .open_files = e->open_files,
                           .timeout_ms = e->timeout_ms,
                           .idle_timeout_ms = e->idle_timeout_ms,
                           .grace_ms = e->grace_ms};
    x.gid = x.uid;
    int fds[4], count = 1;
    int given[3] = {e->stdin_fd, e->stdout_fd, e->stderr_fd};
    for (int i = 0; i < 3; i++)
        if (given[i] > 0) {
            x.fds |= 1u << i;
            fds[count++] = given[i];
        }
    static char strings[1 << 20];
    size_t at = 0;
    for (; argv[x.argc]; x.argc++)
        at += (size_t)sprintf(strings + at, "%s", argv[x.argc]) + 1;
    for (; env[x.envc]; x.envc++)
        at += (size_t)sprintf(strings + at, "%s", env[x.envc]) + 1;
    at += (size_t)sprintf(strings + at, "%s", e->cwd ? e->cwd : "/") + 1;
    x.string_bytes = (uint32_t)at;
    fds[0] = memfd_create("payload", MFD_CLOEXEC);
    io_write_full(fds[0], &x, sizeof x);
    io_write_full(fds[0], strings, at);
    struct agent_message m = {.magic = AGENT_MAGIC,
                              .version = AGENT_VERSION,
                              .type = AGENT_EXEC,
                              .epoch = e->epoch ? e->epoch : 1,
                              .exec = number};
    harness_send_raw(h, &m, sizeof m, fds, (unsigned)count);
    close(fds[0]);
}

/* ---- results -------------------------------------------------------------------------------- */

struct harness_result {
    uint64_t number;
    bool started, start_failed, ended;
    struct agent_started start;
    struct agent_start_failed failed;
    struct agent_exit exit;
    uint64_t seq;
    char out[HARNESS_TEXT_MAX], err[HARNESS_TEXT_MAX]; /* a terminal's is in `out` */
    size_t out_length, err_length;
    char background[4096];
    size_t background_length;
};

UNUSED static void harness_take(struct harness_result *r, const struct agent_frame *f,
                                const void *payload)
{
    if (f->exec != r->number)
        return;
    switch (f->type) {
    case AGENT_FRAME_STARTED:
        cr_assert_not(r->started);
        r->started = true;
        r->start = *(const struct agent_started *)payload;
        return;
    case AGENT_FRAME_START_FAILED:
        r->start_failed = true;
        r->failed = *(const struct agent_start_failed *)payload;
        return;
    case AGENT_FRAME_DATA: {
        cr_assert(r->started, "output came before STARTED");
        cr_assert_eq(f->seq, ++r->seq, "a gap before frame %lu", f->seq);
        cr_assert(!r->ended || f->stream == AGENT_BACKGROUND, "output after EXIT");
        bool error = f->stream == AGENT_STDERR, back = f->stream == AGENT_BACKGROUND;
        char *text = back ? r->background : error ? r->err : r->out;
        size_t *length = back ? &r->background_length : error ? &r->err_length : &r->out_length;
        size_t most = back ? sizeof r->background : HARNESS_TEXT_MAX;
        if (*length + f->length < most) {
            memcpy(text + *length, payload, f->length);
            text[*length + f->length] = 0;
        }
        *length += f->length;
        return;
    }
    case AGENT_FRAME_EXIT:
        cr_assert_eq(f->seq, ++r->seq, "a gap before EXIT");
        cr_assert_not(r->ended, "a second EXIT");
        r->ended = true;
        r->exit = *(const struct agent_exit *)payload;
        return;
    default:
        return;
    }
}

/* Until EXIT or START_FAILED of `number`. Frames of others are dropped. */
UNUSED static struct harness_result *harness_wait_from(struct harness *h, struct harness_result *r)
{
    struct agent_frame frame;
    const void *payload;
    while (!r->ended && !r->start_failed) {
        cr_assert(harness_frame(h, &frame, &payload, HARNESS_TIMEOUT_MS),
                  "exec %lu did not end in time", r->number);
        harness_take(r, &frame, payload);
    }
    return r;
}

UNUSED static struct harness_result *harness_result_new(uint64_t number)
{
    struct harness_result *r = calloc(1, sizeof *r);
    r->number = number;
    return r;
}

UNUSED static struct harness_result *harness_wait(struct harness *h, uint64_t number)
{
    return harness_wait_from(h, harness_result_new(number));
}

UNUSED static struct harness_result *harness_run(struct harness *h, uint64_t number,
                                                 const struct harness_exec *e)
{
    harness_exec(h, number, e);
    return harness_wait(h, number);
}

/* Reads frames of `r` until its output contains `text`. */
UNUSED static void harness_until(struct harness *h, struct harness_result *r, const char *text)
{
    struct agent_frame frame;
    const void *payload;
    while (!strstr(r->out, text)) {
        cr_assert(harness_frame(h, &frame, &payload, HARNESS_TIMEOUT_MS),
                  "no '%s' in the output: '%s'", text, r->out);
        harness_take(r, &frame, payload);
        cr_assert_not(r->start_failed, "%s: %s (%d)", r->failed.step, r->failed.subject,
                      r->failed.sys);
        cr_assert_not(r->ended, "ended before '%s': out '%s' err '%s'", text, r->out, r->err);
    }
}
