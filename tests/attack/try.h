/* This file is what the attack programs share: how a try is reported. It never decides whether an
 * attack as a whole has failed: the runner does, from outside, with these lines as one witness.
 *
 *     try NAME: denied ERRNO
 *     try NAME: SUCCEEDED what was got
 *     done PROGRAM COUNT          (last line: a program that died early has none)
 *
 * Programs are static, print without buffering, and do each dangerous step in a child of theirs
 * where its success would change the process that goes on.
 */
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned try_count;

static inline void try_begin(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    try_count = 0;
}

static inline int try_end(const char *program)
{
    printf("done %s %u\n", program, try_count);
    fflush(stdout);
    return 0;
}

static inline void try_denied(const char *name, int sys)
{
    const char *text = strerrorname_np(sys);
    try_count++;
    printf("try %s: denied %s\n", name, text ? text : "?");
}

/* Refused by something that is not an errno: a signal that had no effect, a file that is empty. */
static inline void try_refused(const char *name, const char *how)
{
    try_count++;
    printf("try %s: denied %s\n", name, how);
}

__attribute__((format(printf, 2, 3))) static inline void try_succeeded(const char *name,
                                                                       const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    try_count++;
    printf("try %s: SUCCEEDED ", name);
    vprintf(fmt, args);
    printf("\n");
    va_end(args);
}

/* A call that must fail, whatever its error. `result` is its return value, errno still set. */
static inline void try_result(const char *name, long result)
{
    if (result == -1)
        try_denied(name, errno);
    else
        try_succeeded(name, "returned %ld", result);
}

/* A system call with arguments that the kernel itself would refuse with another error (EFAULT,
 * EINVAL, EBADF): only EPERM, EACCES and ENOSYS say that it was kept from the kernel's code. */
static inline bool try_kept_out(long result)
{
    return result == -1 && (errno == EPERM || errno == ENOSYS || errno == EACCES);
}

static inline void try_reach(const char *name, long result)
{
    if (try_kept_out(result))
        try_denied(name, errno);
    else if (result == -1)
        try_succeeded(name, "reached the kernel: %s", strerrorname_np(errno));
    else
        try_succeeded(name, "returned %ld", result);
}

/* Run `step` in a child; its result is the child's exit status: 0 succeeded, else an errno. A child
 * that a signal ended counts as a defect (a refusal must leave the process alive). */
static inline void try_in_child(const char *name, int (*step)(void *), void *argument)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(step(argument) & 0xff);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        try_succeeded(name, "could not be judged: %s", strerrorname_np(errno));
    else if (WIFSIGNALED(status))
        try_succeeded(name, "killed the process by signal %d", WTERMSIG(status));
    else if (WEXITSTATUS(status) == 0)
        try_succeeded(name, "done in a child");
    else
        try_denied(name, WEXITSTATUS(status));
}

static inline int64_t try_now_ms(void)
{
    struct {
        int64_t sec, nsec;
    } t = {0};
    syscall(SYS_clock_gettime, 1, &t);
    return t.sec * 1000 + t.nsec / 1000000;
}
