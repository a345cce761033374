/* This file is what the parts of the placeholder module share; nothing outside
 * runtime/host/placeholder*.c includes it. PRIVILEGED: the launcher's.
 *
 * The record of one directory, <share_dir>/place-<dev>-<ino>:
 *
 *     header     which directory, a random token, the phase, how many entries
 *     entry[]    path, and by what the placeholder at it is known
 *
 * Private names: entry i of a record may use ".berth-<token>-<i>" beside its path, for one system
 * call or two. The token is not known to anybody else, so whatever stands there was put there by
 * berth. The phase in the header says whether one may be in use: who opens a record whose phase is
 * not PHASE_QUIET knows, because he holds the guard, that its writer died, and looks.
 */
#pragma once

#include "runtime/host/placeholder.h"

enum { PHASE_QUIET, PHASE_MAKING, PHASE_REMOVING };

enum {
    ENTRY_INTENT = 1,       /* nothing at the path yet */
    ENTRY_LINK,             /* the socket dev:ino, and nothing else, is ours */
    ENTRY_DIRECTORY_INTENT, /* nothing but an empty directory could be ours */
    ENTRY_DIRECTORY,        /* an empty directory with this owner, mode and mtime is ours */
    ENTRY_NOTHING,          /* stands for nothing */
};

struct header {
    char magic[8];
    uint64_t dev, ino, token;
    uint32_t count;
    uint16_t phase;
    uint16_t lasting; /* a session that lasts has relied on it: see `use` */
    char path[4096];  /* of the directory on the host, for the reaper */
};

/* `state` stands after what it vouches for: a write that was cut short leaves the old state. */
struct entry {
    uint64_t dev, ino;
    int64_t mtime_sec;
    uint32_t mtime_nsec, mode, uid, state;
    char path[SPEC_PROTECT_PATH_MAX];
};

struct placeholder_book {
    int share, dir, guard, record;
    int parent;            /* of the path used last, unless it is the directory itself */
    const char *use;       /* the session lasts: the name of its use record, which counts */
    bool relied;           /* this session needs the record kept */
    bool ours;             /* nobody else needs what it knows, and nobody can begin to */
    bool directories_only; /* the filesystem has no sockets or no links */
    char parent_path[SPEC_PROTECT_PATH_MAX];
    char name[64];
    const struct asker *owner;
    const struct notes *notes; /* may be NULL */
    int32_t source;            /* index of an entry whose link was seen; -1 */
    uint32_t pending;
    unsigned tags[PLACEHOLDER_MAX];
    uint32_t index[PLACEHOLDER_MAX]; /* of the pending ones in entries */
    struct header head;
    struct entry entries[PLACEHOLDER_MAX];
};

enum { PLACEHOLDER_PRIVATE_MAX = 48 };

/* ---- placeholder.c ---- */

/* What the record of that directory knows, if nobody holds it. *ret_ours: it is gone. -ETIMEDOUT:
 * somebody has the guard. */
int placeholder_reap_one(int share, uint64_t dev, uint64_t ino, bool *ret_ours);

/* Write the header without its path, and the entries from `first` on. */
int placeholder_save(struct placeholder_book *b, uint32_t first);

/* The directory that holds `path`, owned by the book; *ret_name points into `path`. -errno. */
int placeholder_parent(struct placeholder_book *b, const char *path, const char **ret_name);
bool placeholder_parent_is_open(const struct placeholder_book *b, const char *path);

void placeholder_private_name(const struct placeholder_book *b, const struct entry *e,
                              char ret[PLACEHOLDER_PRIVATE_MAX]);

/* Is the thing `st` what this entry stands for? */
bool placeholder_is(const struct entry *e, const struct stat *st);

/* Does -errno say that nothing of ours can be found there any more? */
bool placeholder_is_away(int r);

/* rename(2) that replaces nothing. 0 or -errno. */
int placeholder_move(int parent, const char *from, const char *to);

/* ---- placeholder_make.c ---- */

/* Make each pending one; `ret_fates` has as many places. The record is saved before effects. */
int placeholder_make_pending(struct placeholder_book *b, enum placeholder_fate *ret_fates,
                             struct err *err);

/* ---- placeholder_reap.c ---- */

/* Each record's name. -errno, or 1 when `visit` returned true and ended it. */
int placeholder_each(int share, bool (*visit)(int share, const char *name, void *data), void *data);

/* ---- placeholder_remove.c ---- */

/* Remove whatever is still ours, in two halves: move it out of sight, in the phase REMOVING; remove
 * it. -errno: something of ours could not be removed now. */
int placeholder_move_all(struct placeholder_book *b, const char **ret_path);
int placeholder_clear_all(struct placeholder_book *b, const char **ret_path);

/* After a death in the middle: nothing stands at a private name any more when this returns 0. */
int placeholder_sweep(struct placeholder_book *b, const char **ret_path);
