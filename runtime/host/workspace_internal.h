/* This file is what the parts of the workspace module share among themselves; nothing outside
 * runtime/host/{workspace,volume,placeholder}* includes it. PRIVILEGED: the launcher's.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/host/workspace.h"

#include <linux/capability.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* ---- workspace_asker.c: acting with somebody's own rights --------------------------------------
 */

struct asker {
    uint32_t uid, gid;
    const uint32_t *groups;
    uint32_t group_count;
};

/* What the process was before; only asker_restore() reads it. */
struct asker_saved {
    bool changed, groups_changed;
    uint32_t fsuid, fsgid;
    int group_count;
    uint32_t *groups; /* owned */
    struct __user_cap_data_struct capabilities[2];
};

/* From here on file access is checked as `as`, without the capabilities that bypass it when `as`
 * is not root. Proves that each change took effect. NULL `as`: nothing changes (rootless). */
int asker_become(const struct asker *as, struct asker_saved *ret_saved, struct err *err);

/* Until asker_restore(): mode bits stop nobody, if they did not stop this process before. What is
 * made belongs to the asker from the beginning, so that nothing has to be given to him by a name
 * that he could put something else at. */
int asker_override(const struct asker_saved *saved, struct err *err);

/* Back. A failure leaves the process with fewer rights than before and must end the start. */
int asker_restore(struct asker_saved *saved, struct err *err);

bool asker_has_group(const struct asker *as, uint32_t gid);

/* ---- workspace_pin.c: from a path to a pinned descriptor ----------------------------------------
 */

struct pinned {
    int fd; /* O_PATH */
    struct stat stat;
    char fs_type[64];
};

struct submounts {
    char first[256]; /* relative */
    unsigned count;
};

enum { PIN_FILE_ALLOWED = 1 };

/* Open `path` once with the asker's rights, and refuse what cannot be a workspace. `what` is for
 * messages: "the workspace". The descriptor is the caller's. */
int pin_path(const char *path, const struct asker *as, unsigned flags, const char *what,
             struct pinned *ret, struct err *err);

/* The ids that the session's default user has on the host beneath `st`: the directory's owner for
 * root, else the asker himself, so that nobody gets more through berth than by himself. */
void pin_identity(const struct stat *st, const struct asker *as, uint32_t *ret_uid,
                  uint32_t *ret_gid);

/* What is mounted beneath a directory of the host, by the name that it had when it was pinned. 0 or
 * -errno. Linear in the mounts of the host. */
int pin_submounts(const char *path, struct submounts *ret);

int pin_openat2(int dir, const char *path, uint64_t flags, uint64_t resolve);

/* ---- workspace_tree.c: detached mounts
 * ----------------------------------------------------------- */

struct tree_map {
    bool idmapped;
    uint32_t uid_inside, uid_outside, gid_inside, gid_outside, count;
    struct userns_helper *helper; /* as in workspace_options */
};

int tree_clone(const struct pinned *pin, const struct tree_map *map, bool read_only,
               bool with_submounts, const char *what, const char *path, int *ret_tree,
               struct err *err);
int tree_tmpfs(uint64_t size_bytes, uint64_t inodes, uint32_t uid, uint32_t gid, bool read_only,
               int *ret_tree, struct err *err);

/* ---- workspace_share.c: the directory that all berths of a host share ---------------------------
 */

int share_open(const char *share_dir, int *ret_dir, struct err *err);

enum { SHARE_GUARD_USES = 0 };
/* One range of the guard file, exclusively, until the descriptor is closed. wait: as lock_take();
 * else -ETIMEDOUT at once, without `err`, when another has it. */
int share_guard(int share, uint64_t key, bool wait, int *ret_guard, struct err *err);
uint64_t share_directory_key(dev_t dev, ino_t ino); /* never SHARE_GUARD_USES */

/* ---- workspace_use.c: who uses which directory (WS-2) -------------------------------------------
 */

enum { USE_CHAIN_MAX = 512 };

struct use_node {
    uint64_t dev, ino;
};

/* What else a use lets beside it where the two overlap. */
enum {
    USE_SHARED,    /* who shares too */
    USE_EXCLUSIVE, /* nobody */
    USE_FILES,     /* files are written beneath a session that does not run: the same only */
};

struct use_record {
    char magic[8];
    uint32_t exclusive, count; /* exclusive: one of the above; an older berth knows the first two */
    int64_t pid;
    char holder[176];
    int64_t init_pid; /* of a session that lasts; else 0 */
    uint64_t init_start;
    struct use_node chain[USE_CHAIN_MAX]; /* the root first, then its ancestors up to "/" */
};

/* WS-2's algebra, pure: may these two live together? */
bool use_conflicts(const struct use_record *a, const struct use_record *b);

/* A holder's words begin like this when it ends by itself: no session is to be ended for it. */
#define USE_HOLDER_FILES "a file operation of "

enum { USE_NAME_SIZE = 72 };

struct use_wish {
    unsigned exclusive;  /* USE_… */
    bool alone;          /* its ancestors are nobody's business (a volume) */
    const char *own;     /* the record of this name is in nobody's way; NULL: none */
    const char *lasting; /* the session's record id: init will hold it; NULL: this process does */
    pid_t init_pid;      /* with `lasting` */
    uint64_t init_start;
    const char *holder, *path; /* for messages; of this user, of the directory */
};

/* Refuse (ERR_WORKSPACE_IN_USE) or record this use; *ret_lock lives as long as the use does. */
int use_begin(int share, int dir, const struct use_wish *wish, char ret_name[USE_NAME_SIZE],
              int *ret_lock, struct err *err);
/* The name of the use of a session that lasts, by its record's id. */
void use_lasting_name(const char *record_id, char ret[USE_NAME_SIZE]);
/* `exclusive` is looked at for a session that does not last only. */
int use_end(int share, const char *name, bool exclusive, struct err *err);

struct use_found {
    char name[USE_NAME_SIZE];
    struct use_node root; /* zero: none was written */
    int64_t init_pid;     /* with the next: of which session of that name; zero: none was written */
    uint64_t init_start;
};

/* The use of a session that lasted and is dead, by its record's id. 0; 1: there is none; -errno. */
int use_find_lasting(int share, const char *record_id, struct use_found *ret, struct err *err);

/* Remove the record and its links, if it is still that session's. 0; 1: it has gone, and what has
 * its name now, if anything, stays; -errno. */
int use_end_found(int share, const struct use_found *use, struct err *err);

/* What a reap did: how many records are gone, how many it has to be asked for again. */
struct reaped {
    unsigned count, left;
};

/* What to do with the use of a session that lasted and is dead: its placeholders, then
 * use_end_found(). No guard is held: its name may be another session's meanwhile. As
 * use_end_found(). */
struct use_dead {
    int (*end)(void *data, const struct use_found *use);
    void *data;
};

int use_reap(int share, const struct use_dead *dead, struct reaped *reaped, struct err *err);
/* Does a session that lasts, another than the one of `except` (NULL allowed), live there? 1, 0,
 * -errno. */
int use_lasts(int share, uint64_t dev, uint64_t ino, const char *except, struct err *err);

/* ---- workspace_sockets.c
 * -------------------------------------------------------------------------- */

/* Where to look. */
struct socket_place {
    int dir;               /* O_PATH of a directory */
    const char *path;      /* of it, on the host */
    int32_t mount;         /* as in struct workspace_socket */
    uint32_t owner;        /* of the workspace: entries of others are counted */
    bool with_submounts;   /* what is mounted beneath is in the session too */
    const char *share_dir; /* its placeholders are no sockets of programs */
};

/* What was found in all places of one session. Zero it first. */
struct socket_scan {
    struct workspace_socket *sockets; /* owned */
    uint32_t count;
    /* Of the last place: */
    unsigned entries;       /* looked at */
    bool complete;          /* else a socket with a relative name may be where nobody looked */
    unsigned foreign_count; /* of the first entries of the workspace: not owned by `owner` */
    char foreign[256];
    uint64_t placeholder_dev, placeholder_ino; /* the one met last: all of a directory are one */
    /* The kernel's list, read when it is needed. */
    struct buf bound; /* absolute paths, each with its NUL, then an empty one */
    bool relative;    /* there are relative ones */
};

int sockets_scan(const struct socket_place *place, struct socket_scan *scan, struct err *err);
void sockets_scan_fini(struct socket_scan *scan);

/* Before the sockets of that place: hide the directory at `path`, relative to it. */
int sockets_add_directory(struct socket_scan *scan, int32_t mount, const char *path,
                          const char *place, struct err *err);

/* ---- workspace_own.c: berth's own directories
 * ----------------------------------------------------
 */

enum { OWN_CHAIN_MAX = 128 };

struct own_chain {
    unsigned count;
    struct use_node nodes[OWN_CHAIN_MAX]; /* the directory first, then its ancestors up to "/" */
};

enum { OWN_RUNTIME, OWN_SHARE, OWN_STATE, OWN_COUNT };

struct own_directories {
    bool open;
    int fds[OWN_COUNT]; /* -1: there is none */
    const char *what[OWN_COUNT];
    struct own_chain chains[OWN_COUNT];
};

/* ---- workspace.c
 * ----------------------------------------------------------------------------------- */

typedef void note_fn(void *data, const char *key, const char *text);

struct notes {
    note_fn *call;
    void *data;
};

void notes_add(const struct notes *n, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The contract's code for a failed system call on a path. */
enum err_code workspace_code(int sys);

struct opening {
    struct workspace *ws;
    const struct spec *spec;
    const struct workspace_options *options;
    struct asker asker;
    const struct asker *as; /* NULL: rootless, this process is the asker */
    struct notes notes;
    uint32_t default_gid; /* inside */
    char holder[192];
    struct socket_scan scan;
    struct own_directories own;
};

/* The session's default user and nobody else is the owner: one id each, one to one. */
struct tree_map opening_single_map(const struct opening *o, uint32_t uid, uint32_t gid);

/* Look for sockets, and tell what was found. */
int opening_find_sockets(struct opening *o, const struct socket_place *place, struct err *err);

/* What is shared, and what it is called in messages. */
struct own_share {
    const struct pinned *pin;
    const char *path, *what;
    int32_t mount; /* as in struct workspace_socket */
    bool with_submounts;
};

/* Refuse what is one of berth's own directories or lies in one; have those hidden that lie in it.
 */
int own_keep_out(struct opening *o, const struct own_share *share, struct err *err);
void own_close(struct own_directories *own);

/* ---- workspace_mounts.c
 * ----------------------------------------------------------------------------------- */

/* Fill ws->mounts. */
int mounts_open(struct opening *o, struct err *err);

/* ---- workspace_protect.c (WS-3)
 * ------------------------------------------------------------------- */

struct workspace_private {
    int share;                    /* the shared directory; -1 */
    char use_name[USE_NAME_SIZE]; /* of the record of this use; "" for none */
    bool exclusive, lasting;
    int volume_use;                 /* of a run: the lock of that record; -1 */
    pid_t syncing;                  /* a child that makes a new volume durable; 0 */
    bool submounts_inside;          /* rootless: they came along */
    bool named_directory;           /* a path of the host that somebody named */
    struct stat stat;               /* of the pinned directory */
    char path[4096];                /* of it, on the host */
    bool watched[SPEC_PROTECT_MAX]; /* nothing could hold it: told when it is there at the end */
    /* Of those: not held because this is nobody's home. */
    bool home_only[SPEC_PROTECT_MAX];
    bool owed; /* placeholders may be left of it, and no book of theirs is open */
    /* From workspace_let_go() to workspace_close(). */
    bool let_go;
    struct notes notes;
    struct placeholder_book *book;
    int let_go_result;
    struct err let_go_err;
};

/* Where git is told that its config and hooks lie elsewhere: .git where it is a file, and a file in
 * it. Held, and told, with what a policy protects beneath .git. */
#define PROTECT_GIT        ".git"
#define PROTECT_GIT_COMMON ".git/commondir"
bool protect_has_git(const struct spec *spec);

/* Fill ws->protect and ws->share_lock. `owner` makes placeholders; NULL: this process. */
int protect_begin(struct workspace *ws, const struct spec *spec, const struct asker *owner,
                  const struct notes *notes, struct err *err);

/* The same for a tmpfs, which nobody shares and where nothing lasts. */
int protect_tmpfs(struct workspace *ws, const struct spec *spec, uint32_t uid, uint32_t gid,
                  struct err *err);

/* Tell what appeared where nothing could be held. */
void protect_report(const struct workspace *ws, const struct notes *notes);
