/* This file turns a stream of entries and bytes into a directory; it never follows a symbolic link
 * beneath the directory, neither one that was there nor one that came in the stream.
 *
 * Each file is written as a whole or not at all; the tree is not: an error leaves what came before.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int go_to(struct files_tree_writer *t, const char *name)
{
    struct files_place *p = &t->parent;
    struct stat above;
    if (fstat(p->dir, &above) < 0)
        return -errno;
    for (int tries = 0; tries < 2; tries++) {
        int fd = files_open(t->job->view, p->dir, name, O_PATH | O_DIRECTORY, 0, above.st_dev);
        if (fd >= 0) {
            snprintf(p->name, sizeof p->name, "%s", name);
            fd_replace(&p->fd, fd);
            return files_enter(p);
        }
        if (fd != -ENOENT)
            return fd;
        fd = files_may_change(t->job->view, p, name, false, NULL);
        if (fd < 0)
            return fd;
        if (mkdirat(p->dir, name, FILES_MODE_MADE) < 0 && errno != EEXIST)
            return -errno;
    }
    return -ENOENT;
}

int files_tree_parent(struct files_tree_writer *t, const char **ret_name)
{
    struct files_place *p = &t->parent;
    const char *slash = strrchr(t->path, '/');
    size_t length = slash ? (size_t)(slash - t->path) : 0;
    *ret_name = slash ? slash + 1 : t->path;
    if (p->dir >= 0 && strlen(t->parent_path) == length &&
        memcmp(t->parent_path, t->path, length) == 0)
        return 0;
    fd_replace(&p->dir, fcntl(t->base->dir, F_DUPFD_CLOEXEC, 3));
    if (p->dir < 0)
        return -errno;
    memcpy(p->text, t->base->text, sizeof p->text);
    int r = 0;
    for (size_t at = 0; r == 0 && at < length;) {
        char name[FILES_NAME_MAX];
        size_t n = strcspn(t->path + at, "/");
        memcpy(name, t->path + at, n); /* an entry's path has parts that fit */
        name[n] = 0;
        r = go_to(t, name);
        at += n + 1;
    }
    if (r < 0) {
        fd_replace(&p->dir, -1);
        return r;
    }
    memcpy(t->parent_path, t->path, length);
    t->parent_path[length] = 0;
    return 0;
}

int files_tree_failed(struct err *err, int sys, const char *doing, const char *path)
{
    if (sys != ENOTDIR && sys != ELOOP)
        return files_failed(err, sys, doing, path);
    return err_set(err, ERR_INVALID_REQUEST, sys, doing, path,
                   "What stands on its way is no directory: links are not followed there.");
}

static int write_directory(struct files_tree_writer *t, const char *name, uint32_t mode)
{
    struct stat st;
    /* With less the rest of the stream could not be written into it. */
    if (mkdirat(t->parent.dir, name, mode | 0700u) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    if (fstatat(t->parent.dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int make_name(int dir, const char *name, const struct files_tree_new *new)
{
    int r = new->symlink ? symlinkat(new->symlink, dir, name)
                         : linkat(new->link_dir, new->link_name, dir, name, 0);
    return r < 0 ? -errno : 0;
}

int files_tree_name(int dir, const char *name, const struct files_tree_new *new)
{
    char temporary[64];
    int r = make_name(dir, name, new);
    if (r != -EEXIST)
        return r;
    r = id_random(FILES_TEMPORARY, temporary, sizeof temporary);
    if (r == 0)
        r = make_name(dir, temporary, new);
    if (r < 0)
        return r;
    r = renameat(dir, temporary, dir, name) < 0 ? -errno : 0;
    /* Also when both are names of one file already: then rename(2) does nothing. */
    unlinkat(dir, temporary, 0);
    return r;
}

static int malformed(const char *path, const char *wrong, struct err *err)
{
    return err_set(err, ERR_INVALID_REQUEST, EPROTO, "write the tree", path,
                   "The stream is malformed: %s. What came before it was written.", wrong);
}

static int write_file(struct files_tree_writer *t, const char *name, const struct files_stat *stat,
                      const struct timespec *modified, struct err *err)
{
    struct stat st;
    uint64_t written = 0;
    struct files_content content = {.path = t->path,
                                    .in = t->job->in,
                                    .bytes = stat->size,
                                    .most = t->most - t->job->result->bytes,
                                    .mode = stat->mode};
    if (modified) {
        content.has_modified = true;
        content.modified = *modified;
    }
    if (stat->size > content.most)
        return err_set(err, ERR_TOO_LARGE, EFBIG, "write the tree", t->path,
                       "With it more than %llu bytes would come. What came before it was written.",
                       (unsigned long long)t->most);
    int r = files_replace(t->job->view, &t->parent, name, &content, &written, &st, err);
    if (r < 0)
        return r;
    t->job->result->bytes += written;
    t->job->result->entries++;
    return 0;
}

int files_tree_put(struct files_tree_writer *t, const struct files_stat *stat, const char *link,
                   const struct timespec *modified, struct err *err)
{
    const char *name;
    int r = files_tree_parent(t, &name);
    if (r < 0)
        return files_tree_failed(err, -r, "write the tree", t->path);
    if (stat->type == FILES_FILE)
        return write_file(t, name, stat, modified, err);
    r = files_may_change(t->job->view, &t->parent, name, false, err);
    if (r < 0)
        return r;
    r = stat->type == FILES_DIRECTORY
            ? write_directory(t, name, stat->mode)
            : files_tree_name(t->parent.dir, name, &(struct files_tree_new){.symlink = link});
    if (r < 0)
        return files_tree_failed(err, -r, "write the tree", t->path);
    t->job->result->entries++;
    return 0;
}

/* What a symbolic link of the stream says. */
static int read_text(struct files_tree_writer *t, uint64_t size, char ret[FILES_PATH_MAX],
                     struct err *err)
{
    ssize_t n = io_read_full(t->job->in, ret, (size_t)size);
    if (n < 0)
        return files_failed(err, (int)-n, "read what is to be written", t->path);
    if ((uint64_t)n < size || n == 0 || memchr(ret, 0, (size_t)n))
        return malformed(t->path, "a symbolic link says nothing, or the stream ends in it", err);
    ret[n] = 0;
    return 0;
}

enum { TREE_ENDS = 1 };

static int next_entry(struct files_tree_writer *t, struct err *err)
{
    struct files_entry entry;
    ssize_t n = io_read_full(t->job->in, &entry, sizeof entry);
    if (n < 0)
        return files_failed(err, (int)-n, "read what is to be written", t->job->request->path);
    if ((size_t)n < sizeof entry)
        return malformed(t->path, "it ends before its end", err);
    const char *wrong = files_entry_check(&entry);
    if (wrong)
        return malformed(t->path, wrong, err);
    if (entry.stat.type == FILES_END)
        return TREE_ENDS;
    n = io_read_full(t->job->in, t->path, entry.path_length);
    if (n != (ssize_t)entry.path_length)
        return malformed(NULL, "it ends in a name", err);
    t->path[n] = 0;
    wrong = files_entry_path_check(t->path, (size_t)n);
    if (!wrong && entry.stat.type == FILES_OTHER)
        wrong = "it has an entry that is neither file, directory nor symbolic link";
    if (!wrong && entry.stat.type == FILES_DIRECTORY && entry.stat.size)
        wrong = "a directory has no bytes of its own";
    if (wrong)
        return malformed(t->path, wrong, err);
    char link[FILES_PATH_MAX] = "";
    int r = entry.stat.type == FILES_SYMLINK ? read_text(t, entry.stat.size, link, err) : 0;
    return r < 0 ? r : files_tree_put(t, &entry.stat, link, NULL, err);
}

int files_tree_base(struct files_job *job, struct files_place *ret, struct err *err)
{
    const char *path = job->request->path;
    int r = files_mkdir(job, err);
    if (r == 0)
        r = files_resolve(job->view, path, FILES_FOLLOW, ret, err);
    if (r == 0 && !S_ISDIR(ret->stat.st_mode))
        r = -ENOTDIR;
    if (r == 0)
        r = files_enter(ret);
    return r == 0 || (err && err->code) ? r : files_failed(err, -r, "write the tree", path);
}

int files_tree_write(struct files_job *job, struct err *err)
{
    _cleanup_place_ struct files_place base = FILES_NOWHERE;
    int r = files_tree_base(job, &base, err);
    if (r < 0)
        return r;
    struct files_tree_writer t = {.job = job,
                                  .base = &base,
                                  .most =
                                      job->request->size_max ? job->request->size_max : UINT64_MAX,
                                  .parent = FILES_NOWHERE};
    while (r == 0)
        r = next_entry(&t, err);
    files_place_fini(&t.parent);
    return r < 0 ? r : 0;
}
