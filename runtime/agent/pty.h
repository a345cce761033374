/* This file gives a command a terminal: the master stays with init, output is captured like a
 * pipe's, and input is copied from a pipe into the master without ever blocking. Used by init only.
 */
#pragma once

#include "runtime/agent/init.h"

/* The input side of one terminal. */
struct pty;

/* Open a pair for `row`: the master becomes row->stream[0]; *ret_slave is the caller's. The slave
 * belongs to uid and gid. `input` is a pipe, taken over (also on failure), or -1.
 * 0, or -errno with *ret_step. */
int pty_open(struct init *init, struct row *row, const struct agent_exec *exec, int input,
             int *ret_slave, const char **ret_step);

void pty_resize(struct row *row, uint16_t rows, uint16_t cols);

/* The input pipe or the master is ready, or time has passed: move what can be moved. */
void pty_work(struct init *init, struct row *row);

/* Whether input waits for the terminal: call pty_work() again in a while, because not every kernel
 * path that makes room in a terminal wakes its master. */
bool pty_waits(const struct row *row);

void pty_free(struct init *init, struct row *row); /* input side only; NULL pty allowed */
