/* This file is what the parts of the file worker share; nothing outside runtime/agent/files_*.c
 * includes it.
 */
#pragma once

#include "runtime/agent/files.h"

#include <stddef.h>
#include <sys/stat.h>

/* One request under way. */
struct files_job {
    const struct files_view *view;
    const struct files_request *request;
    int in, out, answer;
    struct files_result *result; /* but for magic, version, result and err */
};

/* Pieces in which bytes are moved. */
enum { FILES_PIECE = 128 * 1024 };

/* ---- files_walk.c ---------------------------------------------------------------------------- */

/* Where a path leads. `dir` and `name` name it (name "" for the top of the view and for a path that
 * ends in ".."); `fd` is it, O_PATH. */
struct files_place {
    int dir, fd; /* -1: none; fd -1: there is nothing of that name */
    char name[FILES_NAME_MAX];
    struct stat stat; /* of fd */
    bool missing;     /* FILES_LATER: a part on the way; `dir` is the last that is there */
    char rest[2 * FILES_PATH_MAX]; /* then: what comes behind `name`, links read */
    /* With view->beneath: of dir, relative to the root, "" for the root itself. */
    char text[FILES_PATH_MAX];
};

enum {
    FILES_FOLLOW = 1 << 0,  /* a symbolic link at the end */
    FILES_MAKE = 1 << 1,    /* parents that are missing */
    FILES_MISSING = 1 << 2, /* success when only the last part is missing */
    FILES_LATER = 1 << 3, /* with MISSING: also when a part on the way is, which is not made yet */
};

int files_resolve(const struct files_view *view, const char *path, unsigned flags,
                  struct files_place *ret, struct err *err);
/* What stands at `place` becomes the directory `place->dir`, with no name. It must be one. */
int files_enter(struct files_place *place);
void files_place_fini(struct files_place *place);
#define _cleanup_place_ __attribute__((cleanup(files_place_fini)))
#define FILES_NOWHERE       \
    {                       \
        .dir = -1, .fd = -1 \
    }

/* openat() of one name, never through a link, never out of the view; O_NOFOLLOW, O_CLOEXEC,
 * O_NONBLOCK and O_NOCTTY are added. The descriptor or -errno; -EXDEV: it is not of the view. With
 * O_DIRECTORY filesystems of the kernel's own are refused (-EXDEV) too: `above` is the device of
 * `dir`. */
int files_open(const struct files_view *view, int dir, const char *name, int flags, mode_t mode,
               dev_t above);

/* Regular files of the kernel's own filesystems are none. */
bool files_is_pseudo(int fd);

/* WS-3: may what `name` in the directory `place->text` stands for be changed? `away`: it
 * is removed or renamed. 0, or a refusal. */
int files_may_change(const struct files_view *view, const struct files_place *place,
                     const char *name, bool away, struct err *err);

void files_tell(const struct files_view *view, const struct stat *st, struct files_stat *ret);

/* Fills `err` by what the system said; `doing` what was done, `path` on what. */
int files_failed(struct err *err, int sys, const char *doing, const char *path);

/* ---- one function per operation -------------------------------------------------------------- */

int files_read(struct files_job *job, struct err *err);
int files_write(struct files_job *job, struct err *err);
int files_stat(struct files_job *job, struct err *err);
int files_list(struct files_job *job, struct err *err);
int files_mkdir(struct files_job *job, struct err *err);
int files_move(struct files_job *job, struct err *err);
int files_remove(struct files_job *job, struct err *err);
int files_chmod(struct files_job *job, struct err *err);
int files_tree_read(struct files_job *job, struct err *err);
int files_tree_write(struct files_job *job, struct err *err);

int files_tar_read(struct files_job *job, struct err *err);
int files_tar_write(struct files_job *job, struct err *err);
int files_upload(struct files_job *job, struct err *err);
int files_collect(struct files_job *job, struct err *err);
int files_watch(struct files_job *job, struct err *err);

/* ---- what they share ------------------------------------------------------------------------- */

/* files_read.c: a regular file for reading, whatever is put at its name meanwhile. */
int files_open_regular(struct files_job *job, int *ret_fd, struct stat *ret_stat, struct err *err);
int files_send(int from, uint64_t offset, uint64_t bytes, int to, uint64_t *ret_sent);
int files_begin(struct files_job *job, const struct stat *st, uint64_t offset, uint64_t bytes,
                struct err *err);

/* files_tree_in.c: a directory that is filled, entry by entry, at t->path. */
struct files_tree_writer {
    struct files_job *job;
    const struct files_place *base; /* dir: the directory that is filled */
    uint64_t most;
    char path[FILES_PATH_MAX]; /* of the entry */
    struct files_place parent; /* of the last entry: the next is often beside it */
    char parent_path[FILES_PATH_MAX];
};
/* The directory at the request's path, made when it is not there. */
int files_tree_base(struct files_job *job, struct files_place *ret, struct err *err);
/* t->parent becomes the directory of t->path, without a link on the way. *ret_name is the rest. */
int files_tree_parent(struct files_tree_writer *t, const char **ret_name);
/* Its failure, told: what is no directory on the way is the request's fault. */
int files_tree_failed(struct err *err, int sys, const char *doing, const char *path);
/* `link`: what a symbolic link says; `modified` NULL: now. A file's bytes are read from `in`. */
int files_tree_put(struct files_tree_writer *t, const struct files_stat *stat, const char *link,
                   const struct timespec *modified, struct err *err);
/* A symbolic link, or another name of a file, in the place of what is no directory. */
struct files_tree_new {
    const char *symlink; /* NULL: a hard link */
    int link_dir;
    const char *link_name;
};
int files_tree_name(int dir, const char *name, const struct files_tree_new *new);

/* files_temporary.c: a private name in a directory, for what is to be renamed. */
struct files_temporary {
    int dir; /* borrowed */
    int fd;  /* open for writing, locked; -1: none */
    char name[64];
};
/* Is it a name that only this file's may have? */
bool files_temporary_is(const char *name);
int files_temporary_open(const struct files_view *view, int dir, struct files_temporary *ret,
                         struct err *err);
/* Onto `name` (`fresh`: -EEXIST if there is something); gone afterwards in every case. *ret_stat is
 * what stands there then. */
int files_temporary_publish(struct files_temporary *temporary, int dir, const char *name,
                            bool fresh, struct stat *ret_stat);
void files_temporary_drop(struct files_temporary *temporary); /* NULL and none allowed */
#define _cleanup_temporary_ __attribute__((cleanup(files_temporary_drop)))

/* files_write.c: `bytes` (UINT64_MAX: to the end) of `in` become the file `name` of `place`'s
 * directory. *ret_written also tells on failure. */
struct files_content {
    const char *path; /* for messages */
    int in;
    uint64_t bytes, most; /* most: ERR_TOO_LARGE beyond; UINT64_MAX: none */
    uint32_t mode;        /* of a new file */
    bool keep_mode;       /* of an old one */
    const char *match;    /* as in the request; NULL or "": whatever stands there */
    const char *sha256;   /* NULL or "": any */
    bool has_modified;    /* when it was modified, as its sender says */
    struct timespec modified;
};
/* Is what stands at `name` (`st` NULL: nothing) what the request asks for? 0, or a refusal. */
int files_match(const struct files_view *view, const char *match, const struct stat *st,
                const char *path, struct err *err);
int files_replace(const struct files_view *view, const struct files_place *place, const char *name,
                  const struct files_content *content, uint64_t *ret_written, struct stat *ret_stat,
                  struct err *err);
