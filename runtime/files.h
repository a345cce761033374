/* This file is the request and the answer of one file operation on a session's own view (FS-1..3).
 * Data only; front, launcher and the file worker include it.
 *
 * In a session that runs the worker is a command (`berth-files`, AGENT_EXEC_FILES) with the
 * session's user's credentials, in the session's cgroup and namespaces: the request is its argv,
 * stdin a pipe of data that goes in, stdout a pipe of data that comes out, stderr a pipe on which
 * one struct files_result comes, written last. For a session that does not run, the launcher's
 * worker does the same beneath the workspace's own root (RESOLVE_IN_ROOT) with the owner's fsuid.
 *
 * What comes out is data of a hostile program: names, sizes, modes. files_result_check() and
 * files_entry_check() are the only way to trust their shape.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/spec.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* symbol, name, data in, data out */
#define FILES_OPERATIONS(X)                                                                  \
    X(PROBE, "probe", 0, 0) /* does nothing: a command can start */                          \
    X(READ, "read", 0, 1)   /* `length` bytes from `offset` (UINT64_MAX: all) */             \
    X(WRITE, "write", 1, 0) /* atomic: a reader sees the old or the new; makes parents */    \
    X(STAT, "stat", 0, 0)                                                                    \
    X(LIST, "list", 0, 1)   /* struct files_entry records, sorted, after `path2` */          \
    X(MKDIR, "mkdir", 0, 0) /* with parents; success when it is one */                       \
    X(MOVE, "move", 0, 0)   /* path to path2; replaces a file, never a directory */          \
    X(REMOVE, "remove", 0, 0)                                                                \
    X(CHMOD, "chmod", 0, 0)                                                                  \
    X(TREE_READ, "tree_read", 0, 1) /* directory as a stream of entries and bytes, for cp */ \
    X(TREE_WRITE, "tree_write", 1, 0)

enum files_operation {
    FILES_NONE = 0,
#define X(symbol, name, in, out) FILES_##symbol,
    FILES_OPERATIONS(X)
#undef X
        FILES_OPERATION_END
};

enum {
    FILES_VERSION = 1,
    FILES_MAGIC = 0x62726669, /* "brfi" */
    FILES_PATH_MAX = 4096,
    FILES_NAME_MAX = 256,
    FILES_ARGV_MAX = 12,
};

struct files_request {
    uint32_t magic, version;
    uint32_t operation;
    uint32_t mode; /* chmod, mkdir, write of a new file; no 07000 bits */
    uint64_t offset, length;
    uint64_t size_max;  /* write: more is refused and nothing changed */
    uint32_t depth;     /* list: 1 the directory itself */
    uint32_t limit;     /* list: entries; more are told in result.more */
    uint8_t recursive;  /* remove */
    uint8_t has_length; /* write: `length` bytes must come, fewer leave the old file */
    uint8_t reserved[6];
    char path[FILES_PATH_MAX], path2[FILES_PATH_MAX];
};

enum files_type { FILES_FILE = 1, FILES_DIRECTORY, FILES_SYMLINK, FILES_OTHER };

struct files_stat {
    uint32_t type, mode; /* permission bits only */
    uint32_t uid, gid;   /* inside */
    uint64_t size, modified_ns;
    uint64_t device, inode;
};

/* A record of `list` and `tree_read` on the data pipe; `path_length` bytes follow (relative to the
 * request's path, no leading slash), then, for a file of tree_read, stat.size bytes. */
struct files_entry {
    uint32_t magic, path_length;
    struct files_stat stat;
};

struct files_result {
    uint32_t magic, version;
    int32_t result; /* 0 or -errno; then err says it */
    uint32_t more;  /* list: there are further entries */
    struct files_stat stat;
    uint64_t bytes; /* read or written */
    struct err err;
};

/* NULL when well-formed; else what is wrong. Pure. */
const char *files_request_check(const struct files_request *request);
const char *files_result_check(const struct files_result *result, size_t length);
const char *files_entry_check(const struct files_entry *entry);

/* The worker's argv for a request and back. `strings` holds what the array points to. */
struct files_argv {
    const char *argv[FILES_ARGV_MAX + 1];
    char strings[2 * FILES_PATH_MAX + 512];
};
int files_request_to_argv(const struct files_request *request, struct files_argv *ret);
const char *files_request_from_argv(int argc, char **argv, struct files_request *ret);
const char *files_operation_name(unsigned operation);
