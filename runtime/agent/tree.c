/* This file ends process trees; it never waits and never allocates. */
#include "runtime/agent/tree.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

enum { CGROUP_NAME_MAX = 24 };

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

static void signal_all(struct init *init, struct row *row, int signo)
{
    if (row->cgroup >= 0)
        signal_members(row, signo);
    else if (!has_cgroup(init) && row->files) {
        if (row->main_alive)
            send_signal(row, row->pid, signo);
    } else if (!has_cgroup(init)) {
        kill(-1, signo);
        if (signo == SIGKILL)
            row->main_killed = true;
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
        return row->files ? !row->main_alive : init->no_children;
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
