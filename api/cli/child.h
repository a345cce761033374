/* This file is how berth begins a program of its own beside itself (front, the gateway): found
 * where nobody else can have put it, with exactly the descriptors that it is meant to have, no
 * environment, default signals, and without rights that it does not need. The functions between
 * fork() and execveat() are called by the child.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `name` beside this program, else the installed one: an O_PATH descriptor. It must be a file of
 * root's or the caller's that nobody else can write. `step` is for messages. */
int child_find_program(const char *name, const char *step, int *ret_program, struct err *err);

/* As many descriptors as may be had: one is open for each client, session and connection. */
void child_raise_files(void);
/* Default signals (SIGPIPE ignored), a session of its own, as many descriptors as may be had. */
void child_begin(void);
int child_null_stdin(void);

/* Whom a program runs as: these ids and no others. */
struct child_rights {
    bool keep; /* rootless: the caller's own ids */
    uint32_t uid, gid;
};

/* The child becomes `program`: descriptor from[n] is its descriptor n for first <= n < end (-1:
 * none), 0 is /dev/null, 1 and 2 stay, every other is closed; with no_new_privs. The numbers in
 * `from` may overlap with the fixed ones. Returns -errno when it cannot. */
int child_exec(int program, int from[], int first, int end, const struct child_rights *rights,
               const char *title);

/* A sealed memfd of these bytes, or -errno. */
int child_sealed(const char *name, const void *first, size_t first_length, const void *second,
                 size_t second_length);
