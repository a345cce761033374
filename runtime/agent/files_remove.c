/* This file removes a name, or a directory with all that is in it; it never follows a link and
 * never leaves the tree, whatever is renamed meanwhile.
 *
 * A tree may be deeper than there are descriptors, so only one is kept: the way up is "..", and
 * what is found there must be the directory (device and inode) that the way down came from. If it
 * is not, somebody moves directories about, and the removal ends with an error.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DEPTH_MAX = 1 << 20, ENTRIES_SIZE = 32 * 1024 };

struct above {
    dev_t device;
    ino_t inode;
};

struct removal {
    const struct files_view *view;
    int dir; /* the directory that is emptied */
    struct stat stat;
    size_t depth, room;
    struct above *above; /* owned */
    char failed[FILES_NAME_MAX];
};

static int push(struct removal *m)
{
    if (m->depth == m->room) {
        size_t room = m->room ? 2 * m->room : 64;
        struct above *more = room > DEPTH_MAX ? NULL : reallocarray(m->above, room, sizeof *more);
        if (!more)
            return -ENOMEM;
        m->above = more;
        m->room = room;
    }
    m->above[m->depth++] = (struct above){m->stat.st_dev, m->stat.st_ino};
    return 0;
}

static int down(struct removal *m, const char *name)
{
    struct stat st;
    _cleanup_fd_ int fd =
        files_open(m->view, m->dir, name, O_RDONLY | O_DIRECTORY, 0, m->stat.st_dev);
    if (fd < 0)
        return fd;
    int r = fstat(fd, &st) < 0 ? -errno : push(m);
    if (r < 0)
        return r;
    m->stat = st;
    fd_replace(&m->dir, take_fd(&fd));
    return 0;
}

static int up(struct removal *m)
{
    struct stat st;
    const struct above *above = &m->above[m->depth - 1];
    _cleanup_fd_ int fd = openat(m->dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (st.st_dev != above->device || st.st_ino != above->inode)
        return -ESTALE;
    m->depth--;
    m->stat = st;
    fd_replace(&m->dir, take_fd(&fd));
    return 0;
}

enum { WENT_DOWN = 1 };

/* 0 when it is gone, WENT_DOWN when it is a directory that must be emptied first. */
static int remove_name(struct removal *m, const char *name)
{
    if (unlinkat(m->dir, name, 0) == 0 || errno == ENOENT)
        return 0;
    int sys = errno;
    if (sys != EISDIR && sys != EPERM) /* EPERM: what POSIX says for a directory */
        return -sys;
    if (unlinkat(m->dir, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    if (errno == ENOTDIR)
        return -sys;
    if (errno != ENOTEMPTY && errno != EEXIST)
        return -errno;
    int r = down(m, name);
    return r < 0 ? r : WENT_DOWN;
}

struct entry { /* linux_dirent64, getdents64(2) */
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};

/* 0 when the directory is empty, WENT_DOWN into one of its own. What is removed while it is read
 * may make some file systems pass over others: so it is read until nothing is found. */
static int empty_one(struct removal *m)
{
    _Alignas(struct entry) static char buffer[ENTRIES_SIZE];
    for (;;) {
        bool found = false;
        if (lseek(m->dir, 0, SEEK_SET) < 0)
            return -errno;
        long n;
        while ((n = syscall(SYS_getdents64, m->dir, buffer, sizeof buffer)) > 0)
            for (long at = 0; at < n;) {
                const struct entry *e = (const void *)(buffer + at);
                at += e->length;
                if (strcmp(e->name, ".") == 0 || strcmp(e->name, "..") == 0)
                    continue;
                found = true;
                int r = remove_name(m, e->name);
                if (r < 0) {
                    size_t length = strnlen(e->name, sizeof m->failed - 1);
                    memcpy(m->failed, e->name, length);
                    m->failed[length] = 0;
                }
                if (r != 0)
                    return r;
            }
        if (n < 0)
            return -errno;
        if (!found)
            return 0;
    }
}

static int empty_tree(struct removal *m)
{
    for (;;) {
        int r = empty_one(m);
        if (r == 0 && m->depth == 0)
            return 0;
        if (r == 0)
            r = up(m);
        if (r < 0)
            return r;
    }
}

static int remove_tree(struct files_job *job, const struct files_place *place, struct err *err)
{
    static const char doing[] = "remove";
    struct stat above;
    struct removal m = {.view = job->view, .dir = -1};
    if (fstat(place->dir, &above) < 0)
        return files_failed(err, errno, doing, job->request->path);
    m.dir = files_open(job->view, place->dir, place->name, O_RDONLY | O_DIRECTORY, 0, above.st_dev);
    int r = m.dir < 0 ? m.dir : fstat(m.dir, &m.stat) < 0 ? -errno : empty_tree(&m);
    fd_close(m.dir);
    free(m.above);
    if (r == 0 && unlinkat(place->dir, place->name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = -errno;
    if (r < 0) {
        files_failed(err, -r, doing, job->request->path);
        err_add(err, "%s%s%sA part of it may be gone.", m.failed[0] ? "It was at \"" : "", m.failed,
                m.failed[0] ? "\". " : "");
    }
    return r;
}

int files_remove(struct files_job *job, struct err *err)
{
    static const char doing[] = "remove";
    const char *path = job->request->path;
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    int r = files_resolve(job->view, path, 0, &place, err);
    if (r < 0)
        return r;
    if (!place.name[0])
        return files_failed(err, EBUSY, doing, path);
    r = files_may_change(job->view, &place, place.name, true, err);
    if (r < 0)
        return r;
    r = files_match(job->view, job->request->match, &place.stat, path, err);
    if (r < 0)
        return r;
    files_tell(job->view, &place.stat, &job->result->stat);
    bool directory = S_ISDIR(place.stat.st_mode);
    if (directory && job->request->recursive && job->request->match[0] &&
        strcmp(job->request->match, "*") != 0)
        return err_set(err, ERR_INVALID_REQUEST, EISDIR, doing, path,
                       "A directory's ETag says nothing of what is below it. Remove it without "
                       "If-Match, or what is in it one by one. Nothing was removed.");
    if (unlinkat(place.dir, place.name, directory ? AT_REMOVEDIR : 0) == 0)
        return 0;
    if (directory && job->request->recursive && (errno == ENOTEMPTY || errno == EEXIST))
        return remove_tree(job, &place, err);
    return files_failed(err, errno, doing, path);
}
