/* This file is a sandbox for probes: sessions with small limits, and short commands whose output
 * and end are collected with a deadline. It judges nothing; probe.c does. PRIVILEGED as the
 * launcher is.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/runtime.h"

#include <stdbool.h>

/* The deadline is for what is broken, not for what is slow (a loaded host, strace, an emulated
 * CPU). A session that missed it is not asked again: its other commands fail at once. */
enum { PROBE_TEXT_MAX = 8192, PROBE_EXECS_MAX = 16, PROBE_DEADLINE_MS = 60000 };

struct probe_exec {
    bool ended; /* `exit` is valid */
    struct agent_exit exit;
    struct err err; /* code ERR_NONE: none; else the session, or the start, failed */
    int input;      /* write end of its stdin, held open so that a read waits; -1 */
    size_t length;
    char text[PROBE_TEXT_MAX + 1]; /* what it printed */
};

struct probe_session {
    struct session *session; /* NULL: could not be made, `err` */
    struct err err; /* why no more commands can be started in it; code ERR_NONE: they can */
    struct spec spec;
    unsigned count;
    struct probe_exec exec[PROBE_EXECS_MAX];
};

/* A spec with everything that is not the caller's business filled in: ids, host image, tmpfs at
 * /workspace, user, default filter, no network, no limits. */
void probe_spec(struct spec *spec, const char *name);

/* Make it from `p->spec`. Failure is kept in p->err, and every probe_start() on it fails. */
void probe_open(struct probe_session *p, struct runtime *rt);
void probe_close(struct probe_session *p);

struct probe_command {
    const char *shell;   /* for /bin/sh -c; or: */
    const char *program; /* run with the single argument `argument` */
    const char *argument;
    bool input, tty; /* stdin is a pipe that stays open; a PTY of 33 rows by 77 columns */
    unsigned timeout_ms, idle_timeout_ms;
};

/* Start; returns the number for the calls below, or -1 when it could not. */
int probe_start(struct probe_session *p, const struct probe_command *command);

/* Collect frames until this command has ended or printed `until` (NULL: ended), or the deadline. */
const struct probe_exec *probe_wait(struct probe_session *p, int number, const char *until);

/* Collect frames for so long: 0 when the command has ended (or failed), 1 when it goes on. */
int probe_wait_ms(struct probe_session *p, int number, unsigned ms);

/* Start, and wait for the end. */
const struct probe_exec *probe_do(struct probe_session *p, const struct probe_command *command);
