/* This file is the way of a command's process from clone to execve(). Everything it needs was made
 * before; it allocates nothing and says what went wrong through a pipe. Used by init only.
 *
 * What the pipe carries: the byte CHILD_MARK just before execve(); the byte CHILD_FAULT and a
 * struct agent_start_failed when it could not start. Where calls are explained it is a socket, and
 * the byte CHILD_LISTENER comes first, with the filter's listener. End of file after the mark alone
 * means that the command runs; without the mark, that the process was ended before it could.
 */
#pragma once

#include "runtime/agent/protocol.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

enum { CHILD_MARK = 'x', CHILD_FAULT = 'f', CHILD_LISTENER = 'l' };

struct child_plan {
    const struct agent_exec *exec;
    char **argv, **envp; /* NULL-terminated */
    const char *path;    /* value of PATH in envp, or the default */
    const char *cwd;
    int fds[3];    /* to become 0, 1, 2; -1: leave init's /dev/null */
    bool tty;      /* fds[0] is the terminal to control */
    int program;   /* what to execute; -1: argv[0] says it */
    int error;     /* the pipe */
    int cgroup;    /* directory to join by write; -1: cloned into it, or there is none */
    int v1_count;  /* tasks files from AGENT_FD_V1 on */
    bool keep_ids; /* AGENT_SHARED_UID */
    struct rlimit open_files;
    struct sock_fprog filter; /* length 0: none */
    bool explain;             /* it asks a listener, which is sent through `error` */
};

_Noreturn void child_run(const struct child_plan *plan);
