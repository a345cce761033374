/* This file keeps the record of one run: that it exists, by a locked file, and which ids it holds.
 * PRIVILEGED: the launcher's and its reaper's.
 *
 * Invariant: before a run makes anything that outlives a process (a cgroup, a placeholder), its
 * record `<runtime_dir>/runs/<id>` exists and is locked (flock). The lock is shared with the
 * reaper by fork and ends with the last of the two. So a record that can be locked belongs to
 * nobody, and everything named after its id may be removed: no guard lives in memory.
 *
 * Everything that a run makes on the host carries its id in its name: the cgroup is "run-<id>". The
 * content of a record is only what a name can't say: the pid and start time of init, for hosts
 * without a cgroup to kill.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/base/units.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Of a run: 12 random characters. Of a session that lasts: instance, row and incarnation, at most
 * 60, because a name has 64 (ID-2). */
enum { RECORD_ID_SIZE = 64, RECORD_NAME_SIZE = 72 };

struct record {
    int dir; /* <runtime_dir>/runs; borrowed */
    int fd;  /* locked; -1 */
    char id[RECORD_ID_SIZE];
    char cgroup_name[RECORD_NAME_SIZE]; /* "run-<id>" */
};

/* The directory of records, made when missing; O_CLOEXEC. */
int record_dir_open(const char *runtime_dir, int *ret_dir, struct err *err);

/* A new record with a fresh id, locked. */
int record_create(struct record *ret, int dir, struct err *err);

/* The record of a session that lasts, under a name that only it has, locked. It is empty and open
 * for reading alone, because its descriptor goes to init, which may do with it nothing but give the
 * lock up. -EEXIST: something of that name is there. */
int record_create_named(struct record *ret, int dir, const char *id, struct err *err);

/* A record by name, whether or not it exists; locked (`fd`) when nobody else holds it. 0; 1: there
 * is none; 2: somebody holds it; -errno. */
int record_take(struct record *ret, int dir, const char *id, struct err *err);

/* Add who init is. */
int record_set_init(struct record *record, pid_t pid, struct err *err);

/* Everything of the run is gone: remove the record and unlock. */
int record_remove(struct record *record, struct err *err);
void record_fini(struct record *record); /* unlocks only */

/* Call `clean` for each record that nobody holds, with the lock held by this process; the record is
 * removed when it returns 0, and stays for the next reap when it returns 1 or fails. One that fails
 * (a workspace on a disk that does not answer) keeps nobody else's record: 1 is returned for it at
 * the end, and `err` is of the first. *ret_count: the number removed. 0, 1, or -errno: they could
 * not be listed. */
int record_reap(int dir, int (*clean)(void *data, const struct record *record, struct err *err),
                void *data, unsigned *ret_count, struct err *err);

/* Field 22 of /proc/PID/stat: start time in clock ticks since boot (proc(5)). Together with the pid
 * it names one process for as long as the host runs. 0, or -ENOENT, -ESRCH: there is none. */
int process_start_time(pid_t pid, uint64_t *ret);

/* Does that very process live (a zombie does not)? */
bool process_lives(pid_t pid, uint64_t started);

/* SIGKILL to the init of a session, whichever of an ordinary user's user namespaces it is in. 0
 * also when it is dead. */
int process_kill(int pidfd);

/* Kill the init that a record names, if that very process still lives (pid and start time agree),
 * and wait until it is gone or `timeout_ms` passed (-ETIMEDOUT). 0 also when there was none. */
int record_kill_init(const struct record *record, unsigned timeout_ms, struct err *err);
