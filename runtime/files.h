/* This file is the request and the answer of one file operation on a session's own view (FS-1..3).
 * Data only; front, launcher and the file worker include it.
 *
 * In a session that runs the worker is a command (`berth-files`, AGENT_EXEC_FILES) with the
 * session's user's credentials, in the session's cgroup and namespaces: the request is its argv,
 * stdin a pipe of data that goes in, stdout a pipe of data that comes out, stderr a pipe on which
 * the answer comes. For a session that does not run, the launcher's worker does the same beneath
 * the workspace's own root (RESOLVE_IN_ROOT) with the owner's fsuid.
 *
 * The answer is a stream of structs, told apart by their magic (files_message_size()): operations
 * with data that comes out begin with a struct files_begin, before the first byte of data; the last
 * is always one struct files_result. Its end without one means that the worker was killed. Both are
 * written in one piece (PIPE_BUF).
 *
 * What comes out is data of a hostile program: names, sizes, modes. The files_*_check() functions
 * are the only way to trust its shape.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* symbol, name, data in, data out */
#define FILES_OPERATIONS(X)                                                                        \
    X(PROBE, "probe", 0, 0) /* does nothing: a command can start */                                \
    X(READ, "read", 0, 1)   /* `length` bytes from `offset` (UINT64_MAX: all) */                   \
    X(WRITE, "write", 1, 0) /* atomic: a reader sees the old or the new; makes parents */          \
    X(STAT, "stat", 0, 0)                                                                          \
    X(LIST, "list", 0, 1)   /* struct files_entry records, sorted, after `path2` */                \
    X(MKDIR, "mkdir", 0, 0) /* with parents; success when it is one */                             \
    X(MOVE, "move", 0, 0)   /* path to path2; replaces a file, never a directory */                \
    X(REMOVE, "remove", 0, 0)                                                                      \
    X(CHMOD, "chmod", 0, 0)                                                                        \
    X(TREE_READ, "tree_read", 0, 1)   /* directory as a stream of entries and bytes, for cp */     \
    X(TREE_WRITE, "tree_write", 1, 0) /* such a stream, into a directory that is made */           \
    X(TAR_READ, "tar_read", 0, 1)     /* the same as tar */                                        \
    X(TAR_WRITE, "tar_write", 1, 0)   /* inside a session only (adr/0016) */                       \
    X(UPLOAD, "upload", 1, 0)         /* a file of FILES_UPLOADS, as SPEC_UID_NOBODY (adr/0018) */ \
    X(COLLECT, "collect", 0, 1)       /* struct files_output records, sorted */                    \
    X(WATCH, "watch", 0, 1)           /* struct files_change records, until the reader goes away */

enum files_operation {
    FILES_NONE = 0,
#define X(symbol, name, in, out) FILES_##symbol,
    FILES_OPERATIONS(X)
#undef X
        FILES_OPERATION_END
};

enum {
    FILES_VERSION = 3,
    FILES_MAGIC = 0x62726669,       /* "brfi": request, result, entry */
    FILES_BEGIN_MAGIC = 0x62726662, /* "brfb" */
    FILES_PATH_MAX = 4096,
    FILES_NAME_MAX = 256,
    FILES_ETAG_MAX = 96,
    FILES_SHA256_MAX = 72, /* with its NUL, 65 of them used */
    FILES_ARGV_MAX = 12,
    FILES_LIST_MAX = 1000,  /* entries of one list */
    FILES_DEPTH_MAX = 64,   /* of one list */
    FILES_MODE_NEW = 0644,  /* write without a mode, of a file that was not there */
    FILES_MODE_MADE = 0755, /* mkdir without a mode; parents that are made */

    /* What is collected at once: contract for outputs, and what is looked at on the way. */
    FILES_OUTPUTS_MAX = 100,
    FILES_OUTPUT_BYTES_MAX = 25 << 20,
    FILES_OUTPUTS_BYTES_MAX = 100 << 20,
    FILES_OUTPUTS_ENTRIES_MAX = 10000,
    FILES_OUTPUTS_DEPTH_MAX = 32,
    FILES_LEFT_OUT_MAX = 20, /* names that are told of what is left out */

    FILES_LEFT_OUT_BYTES = 1024, /* the same of a tree */

    FILES_WATCH_MAX = 1024, /* directories of one watch */
};

/* Where a session finds what it was given, and puts what it gives. */
#define FILES_UPLOADS "/mnt/session/uploads"
#define FILES_OUTPUTS "/mnt/session/outputs"

/* What the names of files that are being written begin with. */
#define FILES_TEMPORARY ".berth-write-"

/* As `offset` of a read: the last `length` bytes. */
#define FILES_FROM_END UINT64_MAX

/* Paths are absolute and of the session's own view; the kernel's rules hold for "." and "..". A
 * field that its operation does not have is zero. */
struct files_request {
    uint32_t magic, version;
    uint32_t operation;
    uint32_t mode;           /* chmod, mkdir, write of a new file (0: the default); no 07000 bits */
    uint64_t offset, length; /* read; write: length with has_length */
    uint64_t size_max; /* write, tree_write: more is refused (write: nothing changed); 0: none */
    uint32_t depth;    /* list: 1 (or 0) the directory itself; at most FILES_DEPTH_MAX */
    uint32_t limit; /* list: entries, at most FILES_LIST_MAX (or 0); result.more: there are more */
    uint8_t recursive;  /* remove */
    uint8_t has_length; /* write: `length` bytes must come, fewer leave the old file */
    uint8_t reserved[6];
    char path[FILES_PATH_MAX], path2[FILES_PATH_MAX];
    /* read, write, remove: what must stand there, looked at last of all, else
     * ERR_PRECONDITION_FAILED: "*" anything, "-" nothing, or what files_etag() says of it; "":
     * whatever it is. */
    char match[FILES_ETAG_MAX];
    char sha256[FILES_SHA256_MAX]; /* write: of what comes, in hex, else nothing changes; "": any */
};

/* FILES_END: the last record of a tree's stream, without a path. */
enum files_type { FILES_FILE = 1, FILES_DIRECTORY, FILES_SYMLINK, FILES_OTHER, FILES_END };

struct files_stat {
    uint32_t type, mode; /* permission bits only */
    uint32_t uid, gid;   /* inside */
    uint64_t size, modified_ns, changed_ns;
    uint64_t device, inode;
};

/* A record of `list` and of a tree on the data pipe; `path_length` bytes follow (relative to the
 * request's path, no leading slash), then, in a tree, stat.size bytes: of a file its content, of a
 * symbolic link what it says, of a directory none. A list ends with the pipe, a tree with
 * FILES_END. A directory stands before what is in it. */
struct files_entry {
    uint32_t magic, path_length;
    struct files_stat stat;
};

/* A record of `collect`; `path_length` bytes follow. Of a file its hash; of what is left out (a
 * link, a FIFO, …: any other type) none. */
struct files_output {
    uint32_t magic, path_length;
    struct files_stat stat;
    char sha256[FILES_SHA256_MAX];
};

/* symbol, what it is called */
#define FILES_CHANGES(X)                                                               \
    X(READY, "ready")     /* first: what happens from now on is told */                \
    X(CREATED, "created") /* or moved to there */                                      \
    X(MODIFIED, "modified")                                                            \
    X(ATTRIBUTES, "attributes") /* mode, owner, times, number of names */              \
    X(REMOVED, "removed")                                                              \
    X(RENAMED, "renamed")   /* the old name; the new one, if it is seen, is CREATED */ \
    X(OVERFLOW, "overflow") /* there was more than could be kept: look anew */         \
    X(GONE, "gone")         /* last: the directory was removed or renamed */           \
    X(ALIVE, "alive")       /* nothing happened; for whoever counts what moves */

enum files_change_kind {
    FILES_NO_CHANGE = 0,
#define X(symbol, name) FILES_##symbol,
    FILES_CHANGES(X)
#undef X
        FILES_CHANGE_END
};

/* A record of `watch`; `path_length` bytes follow, relative to the request's path. */
struct files_change {
    uint32_t magic, path_length;
    uint32_t kind, type; /* enum files_type, 0: not known any more */
};

/* Before the data of read, list and tree_read: what is read, and how many bytes come (UINT64_MAX:
 * not known). Fewer come only when the result says why. */
struct files_begin {
    uint32_t magic, version;
    struct files_stat stat;
    uint64_t offset, bytes;
};

struct files_result {
    uint32_t magic, version;
    int32_t result;         /* 0 or -errno; then err says it */
    uint32_t more;          /* list: there are further entries */
    struct files_stat stat; /* of what was read, made or changed; type 0: nothing to tell */
    uint64_t bytes;         /* read or written */
    uint64_t entries;       /* of a tree: read or written */
    uint64_t skipped; /* list, tree_read: directories that may not be read, and devices, FIFOs and
                         sockets of a tree; collect: what is no regular file */
    struct err err;
    uint32_t left_out_length, reserved;
    char left_out[FILES_LEFT_OUT_BYTES]; /* tree_read, tar_read: the first of what was left out,
                                            each with its NUL */
};

/* NULL when well-formed; else what is wrong. Pure. */
const char *files_request_check(const struct files_request *request);
const char *files_begin_check(const struct files_begin *begin, size_t length);
const char *files_result_check(const struct files_result *result, size_t length);
const char *files_entry_check(const struct files_entry *entry);
const char *files_output_check(const struct files_output *output);
const char *files_change_check(const struct files_change *change);
/* May it be the name of an upload or output? files_entry_path_check(), and: UTF-8, without control
 * characters and backslashes, no part like a file that is being written. */
const char *files_safe_path_check(const char *path, size_t length);
/* Of an entry's path: relative, no empty, "." or ".." part, no NUL, parts that a name can have. */
const char *files_entry_path_check(const char *path, size_t length);

/* How long the struct of the answer is that begins with `magic`; 0: there is no such. */
size_t files_message_size(uint32_t magic);

/* The worker's argv for a request and back. `strings` holds what the array points to. */
struct files_argv {
    const char *argv[FILES_ARGV_MAX + 1];
    char strings[2 * FILES_PATH_MAX + 768];
};
int files_request_to_argv(const struct files_request *request, struct files_argv *ret);
/* NULL, or what is wrong; a request that comes out has passed files_request_check(). */
const char *files_request_from_argv(int argc, char **argv, struct files_request *ret);
/* Zero, with magic and version. */
void files_request_init(struct files_request *request, enum files_operation operation);
const char *files_operation_name(unsigned operation);
/* Another text whenever the content may be another: a strong ETag, without its quotes. */
void files_etag(const struct files_stat *stat, char ret_etag[FILES_ETAG_MAX]);
/* Which pipe of data it has; the table above. */
bool files_operation_has_in(unsigned operation);
bool files_operation_has_out(unsigned operation);
/* May it change what is there? */
bool files_operation_changes(unsigned operation);

/* A protected name that is missing is held by a socket of this kind while a session lives
 * (runtime/host/placeholder.h). It is berth's own and holds nothing: copies of a directory pass it
 * over and do not count it as left out. */
static inline bool files_holds_a_name(mode_t mode)
{
    return S_ISSOCK(mode) && (mode & 07777) == 0444;
}
