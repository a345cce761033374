/* This file is what the parts of `berth cp` share: files and directories between this machine and a
 * session's own view.
 *
 *   cp_cmd.c     words, and which of the two ways
 *   cp_down.c    out of the session      cp_up.c   into it
 *   cp_tar_down.c, cp_tar_up.c           a directory as one archive
 *   cp_remote.c  the requests
 *
 * A directory goes as one archive. Where that cannot be (into a session that does not run), and
 * where it breaks off because the service is started anew, it goes file by file: each request
 * waits for the service, and what is there already is written again.
 *
 * Names, types, modes and sizes that come from a session are a hostile program's data. Below the
 * place that the user named nothing on this side is reached by more than one name at a time, no
 * link is followed, and no file is opened before it was seen to be a regular one.
 */
#pragma once

#include "api/cli/verb.h"

#include <sys/types.h>
#include <time.h>

enum { CP_DEPTH_MAX = 128, CP_NAME_MAX = 255, CP_BEHIND_MAX = 1 << 20, CP_LINES_MAX = 1000 };

struct cp {
    struct verb *verb;
    struct buf base;                 /* "/v1/workspaces/W/sessions/S" */
    mode_t mask;                     /* the umask */
    uint64_t entries_max, bytes_max; /* of what is made here by a copy out of a session */
    uint64_t files, directories, bytes, left_out;
    struct buf lines;                 /* what was left out; told at the end */
    uint64_t lines_count, lines_left; /* those that are there, and that would be too many */
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
/* A name; of a link the link itself. */
int cp_remote_remove(struct cp *cp, const char *path, struct err *err);
int cp_remote_mkdir(struct cp *cp, const char *path, mode_t mode, struct err *err);
/* A tar into a directory, which is made: from `fd`, or where that is -1 what `more` gives. */
int cp_remote_unpack(struct cp *cp, const char *path, int fd,
                     int (*more)(void *data, char *to, size_t size, size_t *ret_length,
                                 struct err *err),
                     void *data, struct err *err);
/* A directory as tar, piece by piece. */
int cp_remote_pack(struct cp *cp, const char *path, struct client_stream **ret, struct err *err);
/* A page of a directory. */
int cp_remote_list(struct cp *cp, const char *path, const char *after, struct buf *ret_document,
                   struct err *err);
/* What each entry of a directory is, page by page. */
int cp_remote_each(struct cp *cp, const char *path,
                   int (*each)(void *data, const struct json_node *entry, struct err *err),
                   void *data, struct err *err);

/* ---- ways ------------------------------------------------------------------------------------ */

/* Negative with `err`. `word` is the local path, "-" for a standard stream. */
int cp_down(struct cp *cp, const char *path, const char *word, struct err *err);
int cp_up(struct cp *cp, const char *word, const char *path, bool into, struct err *err);

/* The content of a directory. Negative with ERR_UNAVAILABLE: the connection was lost, or (up)
 * ERR_INVALID_STATE: the session takes no archive now. */
int cp_tar_down(struct cp *cp, const char *path, int directory, struct err *err);
/* What the session's side says that its archive does not have. */
void cp_tar_left_out(struct cp *cp, const char *path, const struct client_left_out *out);
int cp_tar_up(struct cp *cp, int fd, const char *path, struct err *err);
/* After so much another archive is begun. */
extern struct cp_tar_bounds {
    uint64_t headers, bytes;
} cp_tar_up_most;
/* A file at `name` beneath `directory`, whole or not at all: `fill` writes it and says the rest. */
struct cp_file {
    mode_t mode;
    bool has_time;
    struct timespec modified;
};
/* May one entry more, and so many bytes, be made here? 0, or a refusal. */
int cp_room(const struct cp *cp, const char *path, uint64_t entries, uint64_t bytes,
            struct err *err);
int cp_down_new(struct cp *cp, int directory, const char *name,
                int (*fill)(void *data, int fd, struct cp_file *ret, struct err *err), void *data,
                struct err *err);
/* What was not copied, on stderr at the end. */
void cp_left_out(struct cp *cp, const char *path, const char *why);
void cp_left_out_in(struct cp *cp, const char *top, const char *path, const char *why);
void cp_left_out_end(struct cp *cp); /* how many more there were */
/* Everything is copied again in another way: what was counted until now was not. */
void cp_begin_again(struct cp *cp);
