/* This file opens the workspace and extra mounts of a session on the host and hands them over as
 * detached mounts; it never attaches one. PRIVILEGED: the launcher's.
 *
 * Invariants: WS-1 (owner on the host, no setuid), WS-2 (who may use it at once), WS-3 (protect).
 * A path is resolved once, by openat2 without symlinks in its last component beyond those that the
 * asker himself could follow, with the asker's fsuid; from then on only the descriptor is used.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/runtime.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stdint.h>

struct userns_helper;

struct workspace_options {
    bool rootless;
    uint32_t asker_uid, asker_gid; /* host ids whose rights open directories */
    uint32_t uid_base;             /* host id of the session's id 0 */
    uint32_t default_uid;          /* inside */
    const char *state_dir;         /* volumes: <state_dir>/volumes/<workspace_id>/<name> */
    const char *share_dir;   /* placeholder counts, locks; shared by every berth of the host */
    const char *runtime_dir; /* kept from the session, as the two above; may be NULL */
    const char *run_id;      /* this run's name in records */
    bool lasting;            /* its init (below) holds what must last, by struct workspace.hold */
    pid_t init_pid;
    uint64_t init_start;
    /* The asker's other groups, for an asker who is not root; may be NULL. */
    const uint32_t *asker_groups;
    uint32_t asker_group_count;
    /* Begun by the caller, who ends it; used for the first map. NULL: made when it is needed. */
    struct userns_helper *helper;
};

struct workspace_private; /* what workspace_close() must remember; owned by struct workspace */

struct workspace_protect {
    char path[SPEC_PROTECT_PATH_MAX]; /* relative */
    bool held;                        /* exists (or placeholder made): bind it read-only */
    bool placeholder; /* made by berth, removed when the last user is gone and it is untouched */
    bool directory;
};

enum { WORKSPACE_SOCKETS_MAX = 256, WORKSPACE_SOCKET_HERE = -1 };

/* A unix socket of the host that must be masked (attacks 38a), or a directory of berth's own that
 * must be covered and stay where it is: its ancestors may not be renamed. Directories come before
 * the sockets of the same mount. */
struct workspace_socket {
    int32_t mount;    /* index in spec.mounts, or WORKSPACE_SOCKET_HERE */
    bool placeholder; /* looks like one of another session (placeholder.h): not worth telling */
    bool directory;
    char path[SPEC_PATH_MAX]; /* relative to that */
};

struct workspace {
    int tree;       /* detached mount, idmapped when not rootless, nosuid,nodev; -1: none */
    int dir;        /* O_PATH of the pinned directory on the host; -1: none */
    int lock;       /* held for the session's life (WS-2); -1 */
    int share_lock; /* held for the session's life when placeholders are shared; -1 */
    int hold;       /* of a session that lasts: its use, read-only, for init; -1 */
    uint32_t owner_uid, owner_gid; /* on the host */
    uint32_t protect_count;
    struct workspace_protect protect[SPEC_PROTECT_MAX]; /* the first protect_count are set */
    uint32_t socket_count;
    struct workspace_socket *sockets; /* owned */
    struct {
        int tree;
        bool is_directory;
    } mounts[SPEC_MOUNTS_MAX]; /* as in spec.mounts, detached */
    struct workspace_private *private;
};

void workspace_init(struct workspace *ws);

/* Does everything: opens, checks, locks, makes placeholders, clones and idmaps. `note` is called
 * for each thing worth telling (session_note). On failure nothing is left, unless ws->private says
 * that placeholders are: then workspace_close() is to be asked. */
int workspace_open(struct workspace *ws, const struct spec *spec,
                   const struct workspace_options *options,
                   void (*note)(void *data, const char *key, const char *text), void *data,
                   struct err *err);

/* Waits until what was made for it outlives a power loss, which goes on beside the start. Before
 * anybody is told that the session is there. */
int workspace_settle(struct workspace *ws, struct err *err);

/* What is worth telling and needs no answer before the session starts (mounts beneath). */
void workspace_tell(const struct workspace *ws,
                    void (*note)(void *data, const char *key, const char *text), void *data);

/* May be called before workspace_close() while the session's first process is dying, when it has
 * been proven that no other process of the session is left: what can be done then already. */
void workspace_let_go(struct workspace *ws,
                      void (*note)(void *data, const char *key, const char *text), void *data);

/* After the session's processes are dead: drop placeholders that no other session holds and nobody
 * touched, report what appeared at unprotected missing paths, release locks. Idempotent; after a
 * failure it is to be asked again, and what it owes stands in the records of share_dir. */
int workspace_close(struct workspace *ws,
                    void (*note)(void *data, const char *key, const char *text), void *data,
                    struct err *err);

/* Of a session that lasts and goes on: closes everything and removes nothing. */
void workspace_leave(struct workspace *ws);

/* Of a session that lasts: writes into its place which protected paths nothing could hold, where
 * there are such. workspace_report_lasting() tells when it is dead which of them are there now. */
int workspace_watch_lasting(const struct workspace *ws, int place, struct err *err);
void workspace_report_lasting(int place,
                              void (*note)(void *data, const char *key, const char *text),
                              void *data);

/* Of a session that lasted, by its record's name, when it is dead: its use, and the placeholders
 * that nobody else needs. It looks at no other directory than the session's. Repeatable. */
int workspace_end_lasting(const char *share_dir, const char *record_id,
                          void (*note)(void *data, const char *key, const char *text), void *data,
                          struct err *err);

/* Volumes that nobody is making any more. */
int workspace_reap_volumes(const char *state_dir, struct err *err);

/* Open the directory of an image with the asker's rights and clone its mount. The owner that an
 * asker who is not root is himself becomes the session's root; every other owner stays unknown. */
int workspace_open_image(const char *path, const struct workspace_options *options, int *ret_tree,
                         struct err *err);

/* The same from the records in share_dir, when the process that opened it is gone. 0; 1: something
 * could not be removed now and is to be asked for again; -errno. */
int workspace_reap(const char *share_dir, const char *state_dir, unsigned *ret_count,
                   struct err *err);

/* Refuses "/", the caller's home, and system directories as a workspace nobody named (contract
 * §12). `home` may be NULL. 0, or -EINVAL with a message that says how to ask explicitly. Pure
 * string and stat work. */
int workspace_check_implicit(const char *path, const char *home, struct err *err);
