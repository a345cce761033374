/* This file makes, signals, kills and removes the process tree of one exec: by its own cgroup
 * (layout unified and hybrid), else by everything in the PID namespace, which is then one exec.
 * It never waits. A cgroup is used once: e<number> is never made twice. Used by init only.
 */
#pragma once

#include "runtime/agent/init.h"

/* mkdir of the exec's cgroup. 0, or -errno with *ret_step. */
int tree_make(struct init *init, struct row *row, const char **ret_step);

/* Send `signo` to every process of the tree, best effort (a fork bomb outruns it; tree_kill() is
 * what ends one). Stopped processes are continued after a signal that should end them. */
void tree_signal(struct init *init, struct row *row, int signo);

/* KILL the whole tree at once; may be repeated until tree_gone(). */
void tree_kill(struct init *init, struct row *row);

/* Whether no process is left; removes the cgroup when it is so, and reads what the tree used. */
bool tree_gone(struct init *init, struct row *row);

/* A counter "name N" of a control file that is open at `fd`; 0 when there is none. */
uint64_t tree_counter(int fd, const char *name);
