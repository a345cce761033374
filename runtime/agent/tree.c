/* This file ends process trees; it never waits and never allocates. */
#include "runtime/agent/tree.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CGROUP_NAME_MAX = 24, SPARING_TRIES = 100 };

/* "e" and the number in decimal. */
static void cgroup_name(uint64_t number, char ret_name[CGROUP_NAME_MAX])
{
    char digits[CGROUP_NAME_MAX];
    unsigned count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    *ret_name++ = 'e';
    while (count > 0)
        *ret_name++ = digits[--count];
    *ret_name = 0;
}

static bool has_cgroup(const struct init *init)
{
    return init->config.have & AGENT_HAVE_CGROUP;
}

/* The only command of its session needs no cgroup beside itself: it runs in `run`, which is empty
 * before it and is removed after it. */
static bool has_run_alone(const struct init *init)
{
    return init->config.flags & AGENT_END_WITH_COMMAND;
}

int tree_make(struct init *init, struct row *row, const char **ret_step)
{
    if (!has_cgroup(init))
        return 0;
    if (has_run_alone(init)) {
        *ret_step = "open cgroup of command";
        row->cgroup = openat(AGENT_FD_CGROUP, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return row->cgroup < 0 ? -errno : 0;
    }
    char name[CGROUP_NAME_MAX];
    cgroup_name(row->number, name);
    *ret_step = "make cgroup of command";
    if (mkdirat(AGENT_FD_CGROUP, name, 0755) < 0)
        return -errno;
    row->cgroup = openat(AGENT_FD_CGROUP, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (row->cgroup < 0) {
        int r = -errno;
        unlinkat(AGENT_FD_CGROUP, name, AT_REMOVEDIR);
        return r;
    }
    /* For who reads events alone: without it nothing is missing. */
    struct stat st;
    row->cgroup_id = fstat(row->cgroup, &st) == 0 ? st.st_ino : 0;
    return 0;
}

static void send_signal(struct row *row, pid_t pid, int signo)
{
    if (kill(pid, signo) < 0)
        return;
    if (signo == SIGKILL && row->main_alive && pid == row->pid)
        row->main_killed = true;
}

/* cgroup.procs in pieces: numbers, one a line. A pid may be used anew between the read and the
 * kill when its parent inside reaps it; it is then another process of this same session. */
static void signal_members(struct row *row, int signo)
{
    _cleanup_fd_ int fd = openat(row->cgroup, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    char text[4096];
    pid_t pid = 0;
    for (;;) {
        ssize_t n = read(fd, text, sizeof text);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            /* 0: a process of another PID namespace; 1: never ourselves. */
            if (pid > 1)
                send_signal(row, pid, signo);
            pid = 0;
        }
    }
}

/* ---- without cgroups ------------------------------------------------------------------------ */

static bool is_worker(const struct init *init, pid_t pid)
{
    for (unsigned i = 0; i < init->table.live_count; i++) {
        const struct row *row = &init->table.rows[init->table.live[i]];
        if (row->files && row->main_alive && row->pid == pid)
            return true;
    }
    return false;
}

static bool has_workers(const struct init *init)
{
    for (unsigned i = 0; i < init->table.live_count; i++)
        if (init->table.rows[init->table.live[i]].files &&
            init->table.rows[init->table.live[i]].main_alive)
            return true;
    return false;
}

/* init's children but file workers get `signo` (0: none). How many there were, or -errno. None
 * leaves the list while it is read: only init reaps. What stands beneath a child comes into it when
 * that child has gone, whatever it is hidden by, so an empty list is proof. */
static int signal_children(const struct init *init, int signo)
{
    _cleanup_fd_ int fd = open("/proc/1/task/1/children", O_RDONLY | O_CLOEXEC);
    char text[4096];
    pid_t pid = 0;
    int count = 0;
    if (fd < 0)
        return -errno; /* CONFIG_PROC_CHILDREN */
    for (;;) {
        ssize_t n = read(fd, text, sizeof text);
        if (n <= 0)
            return n < 0 ? -errno : count;
        for (ssize_t i = 0; i < n; i++) {
            if (text[i] >= '0' && text[i] <= '9') {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            if (pid > 1 && !is_worker(init, pid)) {
                count++;
                if (signo)
                    kill(pid, signo);
            }
            pid = 0;
        }
    }
}

/* File workers are spared, level by level of what a command has left. What forks faster than it is
 * met goes with kill(-1), which nobody escapes, and the workers with it. */
static void kill_without_cgroup(struct init *init, struct row *row)
{
    bool spare = has_workers(init) && row->kill_tries < SPARING_TRIES;
    row->kill_tries++;
    if (!spare || signal_children(init, SIGKILL) < 0)
        kill(-1, SIGKILL);
    row->main_killed = true;
}

/* Workers have every signal blocked (child.c); one that is stopped goes on. */
static void signal_without_cgroup(const struct init *init, int signo)
{
    kill(-1, signo);
    for (unsigned i = 0; i < init->table.live_count; i++) {
        const struct row *row = &init->table.rows[init->table.live[i]];
        if (row->files && row->main_alive && (signo == SIGSTOP || signo == SIGTSTP))
            kill(row->pid, SIGCONT);
    }
}

static bool gone_without_cgroup(const struct init *init)
{
    return init->no_children || (has_workers(init) && signal_children(init, 0) == 0);
}

/* ---- all of a tree -------------------------------------------------------------------------- */

static void signal_all(struct init *init, struct row *row, int signo)
{
    if (row->cgroup >= 0)
        signal_members(row, signo);
    else if (!has_cgroup(init) && row->files) {
        if (row->main_alive)
            send_signal(row, row->pid, signo);
    } else if (!has_cgroup(init) && signo == SIGKILL) {
        kill_without_cgroup(init, row);
    } else if (!has_cgroup(init)) {
        signal_without_cgroup(init, signo);
    }
}

static bool should_end(int signo)
{
    return signo == SIGTERM || signo == SIGHUP || signo == SIGINT || signo == SIGQUIT;
}

void tree_signal(struct init *init, struct row *row, int signo)
{
    signal_all(init, row, signo);
    if (should_end(signo))
        signal_all(init, row, SIGCONT);
}

void tree_kill(struct init *init, struct row *row)
{
    if (row->main_alive)
        row->main_killed = true;
    row->killed = true;
    /* No cgroup.kill before 5.14, nor in a threaded cgroup: one by one, and again by the caller
     * until the tree is gone. */
    if (row->cgroup < 0 || io_write_at(row->cgroup, "cgroup.kill", "1") < 0)
        signal_all(init, row, SIGKILL);
}

/* The value of "name N" at the start of a line. */
static uint64_t counter_in(const char *text, const char *name)
{
    size_t length = strlen(name);
    while (text) {
        if (strncmp(text, name, length) == 0 && text[length] == ' ') {
            uint64_t value = 0;
            for (text += length + 1; *text >= '0' && *text <= '9'; text++)
                value = value * 10 + (uint64_t)(*text - '0');
            return value;
        }
        text = strchr(text, '\n');
        if (text)
            text++;
    }
    return 0;
}

uint64_t tree_counter(int fd, const char *name)
{
    char text[512];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = 0;
    return counter_in(text, name);
}

bool tree_gone(struct init *init, struct row *row)
{
    if (!has_cgroup(init))
        return row->files ? !row->main_alive : gone_without_cgroup(init);
    if (row->cgroup < 0)
        return true;
    /* cpu.stat is there without any controller (5.x and later), and counts who was reaped too. */
    char text[512];
    if (io_read_at(row->cgroup, "cpu.stat", text, sizeof text) > 0) {
        uint64_t used = counter_in(text, "usage_usec");
        if (used > row->exit.cpu_us)
            row->exit.cpu_us = used;
    }
    if (has_run_alone(init)) {
        if (io_read_at(row->cgroup, "cgroup.events", text, sizeof text) <= 0 ||
            !strstr(text, "populated 0\n"))
            return false;
        fd_replace(&row->cgroup, -1);
        return true;
    }
    char name[CGROUP_NAME_MAX];
    cgroup_name(row->number, name);
    if (unlinkat(AGENT_FD_CGROUP, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        return false;
    fd_replace(&row->cgroup, -1);
    return true;
}
