/* This file holds names in a workspace that do not exist yet, so that a session cannot make them
 * (WS-3); it never touches what somebody else made. PRIVILEGED: the launcher's.
 *
 * A placeholder is a unix socket that was never bound, of mode 0444 and owned as the session's
 * files are: one inode, and a hard link of it at each name. git does not see sockets, and open(2)
 * of one fails at once (ENXIO). Where the filesystem has no sockets, no hard links or no rename
 * that replaces nothing, it is an empty directory of mode 0555.
 *
 * One record per directory (device and inode) in share_dir lists its placeholders. Every session
 * that relies on one holds a shared flock on the record; the last one removes what is still ours.
 * Calling sequence: placeholder_begin, placeholder_find and placeholder_add for each path,
 * placeholder_make, placeholder_keep or placeholder_cancel.
 */
#pragma once

#include "runtime/host/workspace_internal.h"

enum {
    PLACEHOLDER_MODE = 0444,
    PLACEHOLDER_DIRECTORY_MODE = 0555,
    PLACEHOLDER_MAX = 256,
};

struct placeholder_book; /* opaque: one directory's record, open under its guard */

/* `use` is the name of the use record of a session that lasts, else NULL. It and `notes` (may be
 * NULL) must live as long as the book. */
int placeholder_begin(int share, int dir, const struct stat *st, const char *host_path,
                      const struct asker *owner, const char *use, const struct notes *notes,
                      struct placeholder_book **ret, struct err *err);

/* True when the record says that the thing `st` at `path` is a placeholder. */
bool placeholder_find(struct placeholder_book *book, const char *path, const struct stat *st);

/* Intend one. 0, or -errno (-ENOSPC: the record is full). */
int placeholder_add(struct placeholder_book *book, const char *path, unsigned tag, struct err *err);

enum placeholder_fate {
    PLACEHOLDER_MADE = 1,
    PLACEHOLDER_MADE_DIRECTORY,
    PLACEHOLDER_EXISTS,     /* somebody made the name meanwhile: it is not ours */
    PLACEHOLDER_NOT_NEEDED, /* nothing can be made there by the session either */
};

/* Record the intents, then make each; `made` is called for each with the tag given to add. */
int placeholder_make(struct placeholder_book *book,
                     void (*made)(void *data, unsigned tag, enum placeholder_fate fate), void *data,
                     struct err *err);

/* End the guard. keep: *ret_record holds the record for the session's life (of one that lasts:
 * until its maker lets go of it); -1 where nothing needs it. */
int placeholder_keep(struct placeholder_book *book, int *ret_record, struct err *err);
void placeholder_cancel(struct placeholder_book *book);

/* Give up `record` (closed in every case). The last holder removes what is still ours, in two
 * halves. The first moves it to private names: no process of the session may be able to make a name
 * any more, but the session's mounts may still be there (a rename takes no notice of those, and an
 * unlink would have to dissolve each). The second removes it, when they are gone; it must follow a
 * first that failed, too. `notes` must live until then. *ret may be NULL on return: nothing to do.
 */
int placeholder_release_begin(int share, int dir, const struct stat *st, int record,
                              const char *use, const struct notes *notes,
                              struct placeholder_book **ret, struct err *err);
int placeholder_release_end(struct placeholder_book *book, struct err *err);

/* Of a session that lasted and is dead, whose use record `use` says that it was at dev:ino. */
int placeholder_end(int share, uint64_t dev, uint64_t ino, const char *use,
                    const struct notes *notes, struct err *err);

/* True when a record of any session says that the socket `st` with the name `name` is a
 * placeholder, or is about to be one. It reads records without their guards: right for whatever is
 * at its place, and nothing connects to one. */
bool placeholder_known(const char *share_dir, const char *name, const struct stat *st);

/* Records that nobody holds. What cannot be removed now counts as left. */
int placeholder_reap(int share, struct reaped *reaped, struct err *err);
