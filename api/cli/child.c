/* This file begins a program of berth's own in a child; it never waits for one. */
#include "api/cli/child.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#ifndef BERTH_PREFIX
#define BERTH_PREFIX "/usr/local"
#endif

int child_find_program(const char *name, const char *step, int *ret_program, struct err *err)
{
    char path[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);
    char *slash = n > 0 ? strrchr(path, '/') : NULL;
    _cleanup_fd_ int fd = -1;
    if (slash) {
        snprintf(slash, sizeof path - (size_t)(slash - path), "/%s", name);
        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0) {
        snprintf(path, sizeof path, BERTH_PREFIX "/libexec/berth/%s", name);
        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, path,
                       "It is built and installed together with berth: run `make` or `make "
                       "install` again.");
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 022) ||
        (st.st_uid != 0 && st.st_uid != geteuid()))
        return err_set(err, ERR_FORBIDDEN, 0, step, path,
                       "It must be a file that belongs to root or to you and that nobody else can "
                       "write.");
    *ret_program = take_fd(&fd);
    return 0;
}

void child_raise_files(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

void child_begin(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int signo = 1; signo < 32; signo++)
        if (signo != SIGKILL && signo != SIGSTOP && signo != SIGXFSZ)
            sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    child_raise_files();
}

int child_null_stdin(void)
{
    _cleanup_fd_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return null < 0 || dup2(null, STDIN_FILENO) < 0 ? -errno : 0;
}

/* From numbers that may overlap with the fixed ones to these. */
static int place(int from[], int first, int end)
{
    for (int to = first; to < end; to++) {
        if (from[to] < 0)
            continue;
        from[to] = fcntl(from[to], F_DUPFD_CLOEXEC, end);
        if (from[to] < 0)
            return -errno;
    }
    for (int to = first; to < end; to++)
        if (from[to] < 0)
            close(to);
        else if (dup2(from[to], to) < 0)
            return -errno;
    return 0;
}

/* Those below `end` stay, and this one. */
static int close_others(int end, int program)
{
    if (syscall(SYS_close_range, (unsigned)program + 1, ~0U, 0) < 0 ||
        (program > end && syscall(SYS_close_range, (unsigned)end, (unsigned)program - 1, 0) < 0))
        return -errno;
    return 0;
}

static int give_up_rights(const struct child_rights *rights)
{
    if (!rights->keep && (syscall(SYS_setgroups, 0L, NULL) < 0 ||
                          syscall(SYS_setresgid, rights->gid, rights->gid, rights->gid) < 0 ||
                          syscall(SYS_setresuid, rights->uid, rights->uid, rights->uid) < 0))
        return -errno;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int child_exec(int program, int from[], int first, int end, const struct child_rights *rights,
               const char *title)
{
    char name[64];
    snprintf(name, sizeof name, "%s", title);
    char *argv[] = {name, NULL}, *environment[] = {NULL};
    /* By descriptor: whom the child becomes may not be able to reach its program by path. */
    int kept = fcntl(program, F_DUPFD_CLOEXEC, end);
    int r = kept < 0 ? -errno : child_null_stdin();
    if (r == 0)
        r = place(from, first, end);
    if (r == 0)
        r = close_others(end, kept);
    if (r == 0)
        r = give_up_rights(rights);
    if (r < 0)
        return r;
    syscall(SYS_execveat, kept, "", argv, environment, AT_EMPTY_PATH);
    return -errno;
}

int child_sealed(const char *name, const void *first, size_t first_length, const void *second,
                 size_t second_length)
{
    _cleanup_fd_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = io_write_full(fd, first, first_length);
    if (r == 0)
        r = io_write_full(fd, second, second_length);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return -errno;
    return take_fd(&fd);
}
