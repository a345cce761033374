/* This file is the standard input of commands in sessions that outlive their controllers: bytes
 * come through a pipe from front and go on into a pipe of init's own (or into a terminal, pty.h).
 * So the end of a front is no end of the input, and how many bytes were taken is known exactly: the
 * next front attaches a pipe of its own and is told that number. Only AGENT_CLOSE_STDIN ends the
 * input.
 */
#pragma once

#include "runtime/agent/init.h"

/* A pipe for the command, whose read end is *ret_read; `from` is taken over, also on failure. 0, or
 * -errno with *ret_step. */
int input_open(struct init *init, struct row *row, const struct agent_exec *exec, int from,
               int *ret_read, const char **ret_step);

/* AGENT_STDIN: bytes come through `from` after those that the older pipe still holds. */
void input_attach(struct init *init, struct row *row, int from);

/* No more will come: what is in the pipes goes on first. */
void input_end(struct init *init, struct row *row);

/* Something is ready: move what can be moved. Not for terminals. */
void input_work(struct init *init, struct row *row);

/* For terminals. How much may be read from row->input[0]; that `n` bytes were; and whether there is
 * another pipe after one that has ended. */
size_t input_may_take(const struct row *row, size_t most);
void input_took(struct row *row, size_t n);
bool input_next(struct init *init, struct row *row);

void input_free(struct init *init, struct row *row);
