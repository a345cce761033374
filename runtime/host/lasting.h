/* This file is what the files of sessions that last share (docs/adr/0012): names, the place of one,
 * and who its init is. PRIVILEGED: the launcher's.
 *
 * Of a session named <row>-<incarnation> of an instance there can be on the host:
 *
 *     runs/<instance>-<row>-<incarnation>      its record; empty, locked by init (P-6)
 *     sessions/<instance>-<row>-<incarnation>/control     the socket on which init listens
 *                                            /identity    who init is
 *                                            /watched     what WS-3 could not hold
 *     cgroup run-<instance>-<row>-<incarnation>
 *     in the shared directory                  a slot of ids, a record of use, placeholders
 *
 * The record is the first that is made and the last that is removed, so who finds none of that name
 * needs to look for nothing else.
 */
#pragma once

#include "runtime/host/runtime_internal.h"
#include "runtime/serve.h"

struct lasting_names {
    char id[RECORD_ID_SIZE];       /* <instance>-<row>-<incarnation>; so is its directory */
    char cgroup[RECORD_NAME_SIZE]; /* run-<id> */
};

/* ERR_INVALID_REQUEST when it is no name. */
int lasting_names_make(const struct session_name *name, struct lasting_names *ret, struct err *err);

/* The name that a record's id says; false when it is no session's that lasts. */
bool lasting_name_parse(const char *id, struct session_name *ret);

/* What the identity file holds: `identity`, and where S is (a scope may have a new name for each
 * berth, so that it can't be computed). */
struct lasting_file {
    struct session_identity identity;
    char cgroup[SPEC_PATH_MAX + 128]; /* "" in layout none */
};

/* The directory of a session: made (it must not be there), opened, removed. */
int lasting_place_make(struct runtime *rt, const char *directory, bool searchable, int *ret_place,
                       struct err *err);
int lasting_place_open(struct runtime *rt, const char *directory, int *ret_place, struct err *err);
int lasting_place_remove(struct runtime *rt, const char *directory, struct err *err);

int lasting_file_write(int place, const struct lasting_file *file, struct err *err);
/* 0; 1: there is none; -errno. */
int lasting_file_read(int place, struct lasting_file *ret, struct err *err);

/* The boot that this process is in. */
int lasting_boot_id(char ret[40], struct err *err);

/* 0 with a pidfd of the init that `identity` names, when that process lives; 1: it does not (a
 * zombie is dead); -errno. */
int lasting_open_init(const struct session_identity *identity, int *ret_pidfd, struct err *err);

/* S of a session as a descriptor. 0; 1: there is none; -errno. `recorded` may be "". */
int lasting_open_cgroup(const struct runtime *rt, const char *cgroup, const char *recorded,
                        int *ret, struct err *err);

/* Steps of launch() for a session that lasts (s->lasting). Before and after clone3(). */
int lasting_begin(struct session *s, struct err *err);
int lasting_born(struct session *s, struct err *err);
/* The probe command is sent before init is ready: it takes it up without a round trip between. */
int lasting_probe(struct session *s, const struct spec *spec, uint64_t deadline_us,
                  struct err *err);
/* Init has answered: wait for the end of that command, and write down the rest of who it is. */
int lasting_prove(struct session *s, uint64_t netns_inode, uint64_t deadline_us, struct err *err);

/* The part of session_destroy() that is for one of these: its directory. */
int lasting_unmake(struct session *s, struct err *err);

/* What it had used, while it is ended (lasting_last.c): begin before anybody is killed, `empty` as
 * cgroup_leftover_end() calls it, finish. Each may be called again; what was read once is not read
 * again. */
struct lasting_last {
    struct runtime *rt;
    const struct session_name *name;
    const char *id, *cgroup;
    struct launcher_last *ret;
    const struct cgroup_host *host; /* from begin to finish */
    struct launcher_sample before;  /* when `began` */
    bool began;
    int netns; /* -1: it has none, or it cannot be found any more */
};
void lasting_last_begin(struct lasting_last *last, const struct cgroup_host *host, bool lives);
void lasting_last_empty(void *data, int s);
void lasting_last_finish(struct lasting_last *last);

/* Kill, remove and prove gone everything of a name but its record, whose lock is held or does not
 * exist. Repeatable. */
int lasting_clean(struct runtime *rt, const char *id, unsigned timeout_ms, struct err *err);
