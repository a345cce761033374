/* This file is what the parts of `berth cp` share: files and directories between this machine and a
 * session's own view.
 *
 *   cp_cmd.c     words, and which of the two ways
 *   cp_down.c    out of the session      cp_up.c   into it
 *   cp_remote.c  the requests
 *
 * Names, types, modes and sizes that come from a session are a hostile program's data. Below the
 * place that the user named nothing on this side is reached by more than one name at a time, no
 * link is followed, and no file is opened before it was seen to be a regular one.
 */
#pragma once

#include "api/cli/verb.h"

#include <sys/types.h>

enum { CP_DEPTH_MAX = 128, CP_NAME_MAX = 255 };

struct cp {
    struct verb *verb;
    struct buf base; /* "/v1/workspaces/W/sessions/S" */
    mode_t mask;     /* the umask */
    uint64_t files, directories, bytes, left_out;
};

/* May this be the name of one entry of a directory here? Not "", ".", "..", nor with a slash or a
 * NUL. */
bool cp_name_ok(const char *name, size_t length);

/* "SESSION:PATH" has no slash before its first colon; "-" and "./a:b" are local. *ret_path gets
 * what is behind the colon. 0: local; CP_REMOTE; negative: neither. */
enum cp_word_outcome { CP_REMOTE = 1 };
int cp_word(const char *word, struct buf *ret_session, const char **ret_path, struct err *err);

/* `path` seen from `cwd` (absolute), without empty and "." parts and without a slash at its end. */
void cp_path(const char *cwd, const char *path, struct buf *out);
/* The last part; "" of "/". */
const char *cp_leaf(const char *path);

/* ---- requests -------------------------------------------------------------------------------- */

/* Where relative paths begin. */
int cp_remote_cwd(struct cp *cp, struct buf *ret, struct err *err);
/* 0 with its type and mode; CP_ABSENT. */
enum cp_stat_outcome { CP_ABSENT = 1 };
int cp_remote_stat(struct cp *cp, const char *path, struct client_head *ret, struct err *err);
/* Its bytes to `fd`; *ret_head (NULL: not wanted) has the mode. */
int cp_remote_get(struct cp *cp, const char *path, int fd, struct client_head *ret_head,
                  struct err *err);
int cp_remote_put(struct cp *cp, const char *path, int fd, mode_t mode, bool has_mode,
                  struct err *err);
int cp_remote_mkdir(struct cp *cp, const char *path, mode_t mode, struct err *err);
/* A page of a directory. */
int cp_remote_list(struct cp *cp, const char *path, const char *after, struct buf *ret_document,
                   struct err *err);

/* ---- ways ------------------------------------------------------------------------------------ */

/* Negative with `err`. `word` is the local path, "-" for a standard stream. */
int cp_down(struct cp *cp, const char *path, const char *word, struct err *err);
int cp_up(struct cp *cp, const char *word, const char *path, bool into, struct err *err);

/* A file at `name` beneath `directory`, whole or not at all. For cp_down() and its tests. */
int cp_down_file(struct cp *cp, const char *path, int directory, const char *name, bool has_mode,
                 mode_t mode, struct err *err);
/* What was not copied, on stderr. */
void cp_left_out(struct cp *cp, const char *path, const char *why);
