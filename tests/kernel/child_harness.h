/* This file is what kernel tests share that work in a child of their own, some as an ordinary user:
 * steps that must hold, and what a namespace maps; it never decides what a test means.
 *
 * The process of a Criterion test has two threads, and namespaces and rights are changed per
 * thread: in_child() forks, and the child's exit status is the number of the step that did not
 * hold. Needs root.
 */
#pragma once

#include "runtime/base/io.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* An ordinary user of the host; no account has this id. */
enum { USER = 54321 };

#define MUST(n, condition) \
    do {                   \
        if (!(condition))  \
            _exit(n);      \
    } while (0)

static int last; /* of in_child(), for messages */

/* A test's work in a process of one thread; 0 when every MUST held, 128 + N when it died of N. */
static inline int in_child(void (*work)(void))
{
    pid_t child = fork();
    if (child == 0) {
        work();
        _exit(0);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    last = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return last;
}

/* Give root up for good. Dumpable again, because /proc of a process that is not belongs to root. */
static inline void become_user(void)
{
    MUST(98, syscall(SYS_setgroups, 0, NULL) == 0 && setresgid(USER, USER, USER) == 0);
    MUST(99, setresuid(USER, USER, USER) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
}

/* Spaces of a map file are for the eye: "0 1 2,3 4 5". */
static inline void squeeze(char *text)
{
    char *to = text;
    for (char *from = text; *from; from++) {
        char c = *from == '\n' ? ',' : *from;
        if (c != ' ' || (to > text && to[-1] != ' ' && to[-1] != ','))
            *to++ = c;
    }
    *to = 0;
}

static inline bool map_is(const char *file, const char *want)
{
    char text[512];
    if (io_read_at(AT_FDCWD, file, text, sizeof text) < 0)
        return false;
    squeeze(text);
    return strcmp(text, want) == 0;
}
