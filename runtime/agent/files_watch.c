/* This file follows what changes in a directory, and below it if that is asked for, until its asker
 * goes away; it changes nothing, follows no link beneath the directory, and keeps no change that
 * the kernel could not: what was lost is told as such.
 *
 * The kernel's queue is the only one (fs.inotify.max_queued_events): while the pipe is full nothing
 * is read of it, and when it overflows the watcher is told to look for himself, and the watches are
 * made anew. A directory is reached from the one above by name, never through a link, and is
 * watched by descriptor. So that a worker that waits is told from one that was stopped
 * (FILES_ALIVE), it says that it lives.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static const char step_name[] = "watch";

enum { QUEUE_BYTES = 64 * 1024, ALIVE_MS = 20 * 1000 };

#define EVENTS                                                                        \
    (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | \
     IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)

struct directory {
    int watch;
    char *path; /* owned; relative to the top, "" for it */
};

struct watching {
    struct files_job *job;
    int top, queue;
    struct stat stat; /* of top */
    unsigned count;
    struct directory all[FILES_WATCH_MAX];
    bool over; /* the top is gone */
};

/* ---- telling --------------------------------------------------------------------------------- */

static int tell(struct watching *w, enum files_change_kind kind, uint32_t type, const char *path)
{
    static char piece[sizeof(struct files_change) + FILES_PATH_MAX];
    size_t length = strlen(path);
    const struct files_change change = {.magic = FILES_MAGIC,
                                        .path_length = (uint32_t)length,
                                        .kind = (uint32_t)kind,
                                        .type = type};
    memcpy(piece, &change, sizeof change);
    memcpy(piece + sizeof change, path, length + 1); /* the NUL is not sent */
    w->job->result->entries += kind != FILES_ALIVE;
    return io_write_full(w->job->out, piece, sizeof change + length);
}

static int join(const char *path, const char *name, char ret[FILES_PATH_MAX])
{
    int n = snprintf(ret, FILES_PATH_MAX, "%s%s%s", path, path[0] ? "/" : "", name);
    return n < 0 || n >= FILES_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* ---- watches --------------------------------------------------------------------------------- */

static struct directory *by_watch(struct watching *w, int watch)
{
    for (unsigned i = 0; i < w->count; i++)
        if (w->all[i].watch == watch)
            return &w->all[i];
    return NULL;
}

static void forget(struct watching *w, struct directory *d)
{
    free(d->path);
    *d = w->all[--w->count];
}

/* Everything at `path` and below. */
static void drop(struct watching *w, const char *path)
{
    size_t n = strlen(path);
    for (unsigned i = w->count; i-- > 0;) {
        const char *its = w->all[i].path;
        if (strncmp(its, path, n) != 0 || (n > 0 && its[n] != 0 && its[n] != '/'))
            continue;
        inotify_rm_watch(w->queue, w->all[i].watch);
        forget(w, &w->all[i]);
    }
}

/* inotify takes a path: that of the directory that this process stands in. */
static int watch_directory(struct watching *w, int dir, const char *path)
{
    if (w->count == FILES_WATCH_MAX)
        return -ENOSPC;
    if (fchdir(dir) < 0)
        return -errno;
    int watch = inotify_add_watch(w->queue, ".", EVENTS);
    if (watch < 0)
        return -errno;
    struct directory *known = by_watch(w, watch);
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    if (known) { /* it has been renamed: one inode has one watch */
        free(known->path);
        known->path = copy;
        return 0;
    }
    w->all[w->count++] = (struct directory){.watch = watch, .path = copy};
    return 0;
}

/* Down from the top by `path`, of which no part may be a link. */
static int open_path(struct watching *w, const char *path)
{
    char name[FILES_NAME_MAX];
    struct stat st = w->stat;
    /* Opened anew: a copy would go on reading where the last one stopped. */
    _cleanup_fd_ int dir =
        files_open(w->job->view, w->top, ".", O_RDONLY | O_DIRECTORY, 0, st.st_dev);
    while (dir >= 0 && *path) {
        size_t n = strcspn(path, "/");
        memcpy(name, path, n); /* a part was a name */
        name[n] = 0;
        int fd = files_open(w->job->view, dir, name, O_RDONLY | O_DIRECTORY, 0, st.st_dev);
        if (fd < 0)
            return fd;
        fd_replace(&dir, fd);
        if (fstat(dir, &st) < 0)
            return -errno;
        path += n + (path[n] == '/');
    }
    return dir < 0 ? dir : take_fd(&dir);
}

static unsigned depth_of(const char *path)
{
    unsigned depth = path[0] != 0;
    for (; *path; path++)
        depth += *path == '/';
    return depth;
}

/* What may be of a directory that is not watched: it went away, or may not be read. */
static bool is_passed_over(int r)
{
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EACCES || r == -EXDEV;
}

static int watch_below(struct watching *w, const char *path, bool told);

/* One entry of a directory that is watched from now on; `told`: it is told as made. */
static int look_at(struct watching *w, int dir, const char *path, const char *name, bool told)
{
    char below[FILES_PATH_MAX];
    struct stat st;
    struct files_stat stat;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) < 0)
        return 0; /* it is gone: that comes as an event */
    if (files_temporary_is(name) || join(path, name, below) < 0)
        return 0;
    files_tell(w->job->view, &st, &stat);
    int r = told ? tell(w, FILES_CREATED, stat.type, below) : 0;
    return r == 0 && stat.type == FILES_DIRECTORY ? watch_below(w, below, told) : r;
}

/* Watches `path`, and with `recursive` what is below. */
static int watch_below(struct watching *w, const char *path, bool told)
{
    if (depth_of(path) > FILES_DEPTH_MAX)
        return -ENOSPC;
    int dir = open_path(w, path);
    if (dir < 0)
        return path[0] && is_passed_over(dir) ? 0 : dir;
    int r = watch_directory(w, dir, path);
    DIR *stream = r == 0 && w->job->request->recursive ? fdopendir(dir) : NULL;
    if (!stream) {
        fd_close(dir);
        return path[0] && is_passed_over(r) ? 0 : r;
    }
    const struct dirent *e;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread, own stream */
    while (r == 0 && (e = readdir(stream)))
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            r = look_at(w, dirfd(stream), path, e->d_name, told);
    closedir(stream);
    return r;
}

/* ---- events ---------------------------------------------------------------------------------- */

/* What was not seen is not guessed: whoever watches looks for himself. He is told when everything
 * is watched again, so that what happens after he was told is seen; where it cannot be, that is the
 * end. */
static int lose(struct watching *w)
{
    drop(w, "");
    int r = watch_below(w, "", false), told = tell(w, FILES_OVERFLOW, 0, "");
    return r < 0 ? r : told;
}

static uint32_t type_at(struct watching *w, const char *path)
{
    struct stat st;
    struct files_stat stat;
    const char *slash = strrchr(path, '/');
    char above[FILES_PATH_MAX];
    snprintf(above, sizeof above, "%.*s", slash ? (int)(slash - path) : 0, path);
    _cleanup_fd_ int dir = open_path(w, above);
    if (dir < 0 || fstatat(dir, slash ? slash + 1 : path, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    files_tell(w->job->view, &st, &stat);
    return stat.type;
}

static int on_name(struct watching *w, const char *above, const struct inotify_event *e)
{
    char path[FILES_PATH_MAX];
    static const struct {
        uint32_t mask;
        enum files_change_kind kind;
    } kinds[] = {{IN_CREATE | IN_MOVED_TO, FILES_CREATED},
                 {IN_MODIFY | IN_CLOSE_WRITE, FILES_MODIFIED},
                 {IN_ATTRIB, FILES_ATTRIBUTES},
                 {IN_DELETE, FILES_REMOVED},
                 {IN_MOVED_FROM, FILES_RENAMED}};
    bool directory = e->mask & IN_ISDIR;
    if (files_temporary_is(e->name) || join(above, e->name, path) < 0)
        return 0;
    int r = 0;
    for (unsigned i = 0; r == 0 && i < ARRAY_LENGTH(kinds); i++) {
        if (!(e->mask & kinds[i].mask))
            continue;
        bool gone = kinds[i].mask & (IN_DELETE | IN_MOVED_FROM);
        r = tell(w, kinds[i].kind, directory ? FILES_DIRECTORY : gone ? 0 : type_at(w, path), path);
    }
    if (r < 0 || !directory || !w->job->request->recursive)
        return r;
    if (e->mask & (IN_MOVED_FROM | IN_DELETE))
        drop(w, path);
    if (e->mask & (IN_CREATE | IN_MOVED_TO))
        r = watch_below(w, path, true);
    return r == -ENOSPC ? lose(w) : r;
}

static int on_event(struct watching *w, const struct inotify_event *e)
{
    if (e->mask & IN_Q_OVERFLOW)
        return lose(w);
    struct directory *d = by_watch(w, e->wd);
    if (!d)
        return 0; /* of a watch that was dropped */
    bool top = d->path[0] == 0;
    if (top && e->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) {
        w->over = true;
        return tell(w, FILES_GONE, 0, "");
    }
    if (e->mask & IN_IGNORED)
        forget(w, d);
    return e->len > 0 ? on_name(w, d->path, e) : 0;
}

static int take_events(struct watching *w)
{
    _Alignas(struct inotify_event) static char buffer[QUEUE_BYTES];
    ssize_t n = read(w->queue, buffer, sizeof buffer);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    int r = 0;
    for (ssize_t at = 0; r == 0 && !w->over && at < n;) {
        const struct inotify_event *e = (const void *)(buffer + at);
        at += (ssize_t)(sizeof *e + e->len);
        r = on_event(w, e);
    }
    return r;
}

static int follow(struct watching *w)
{
    struct pollfd polled[] = {{.fd = w->queue, .events = POLLIN}, {.fd = w->job->out}};
    int r = 0;
    while (r == 0 && !w->over) {
        int n = poll(polled, ARRAY_LENGTH(polled), ALIVE_MS);
        if (n < 0)
            r = errno == EINTR ? 0 : -errno;
        else if (n == 0)
            r = tell(w, FILES_ALIVE, 0, "");
        else if (polled[1].revents)
            r = -EPIPE; /* nobody reads any more */
        else
            r = take_events(w);
    }
    return r;
}

static int failed(struct watching *w, int r, struct err *err)
{
    const char *path = w->job->request->path;
    if (r == -ENOSPC)
        return err_set(err, ERR_TOO_LARGE, ENOSPC, step_name, path,
                       "More than %d directories, %d levels, or what the session's user may watch "
                       "(fs.inotify.max_user_watches). Watch a smaller part.",
                       FILES_WATCH_MAX, FILES_DEPTH_MAX);
    if (r == -EMFILE)
        return err_set(err, ERR_UNAVAILABLE, EMFILE, step_name, path,
                       "The session's user has as many watchers as the kernel gives one "
                       "(fs.inotify.max_user_instances).");
    return files_failed(err, -r, step_name, path);
}

int files_watch(struct files_job *job, struct err *err)
{
    static struct watching w; /* one request per process; too large for a stack */
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    /* A workspace of a session that does not run is changed by nobody but its asker. */
    if (job->view->beneath)
        return err_set(err, ERR_INVALID_STATE, 0, step_name, job->request->path,
                       "Only a session that runs is watched: resume it first.");
    int r = files_resolve(job->view, job->request->path, FILES_FOLLOW, &place, err);
    if (r < 0)
        return r;
    if (!S_ISDIR(place.stat.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, step_name, job->request->path,
                       "It is not a directory. Watch the one that it is in.");
    w = (struct watching){.job = job, .stat = place.stat, .queue = -1};
    w.top =
        files_open(job->view, place.name[0] ? place.dir : place.fd,
                   place.name[0] ? place.name : ".", O_RDONLY | O_DIRECTORY, 0, place.stat.st_dev);
    r = w.top < 0 ? w.top : 0;
    if (r == 0 && (w.queue = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) < 0)
        r = -errno;
    if (r == 0)
        r = watch_below(&w, "", false);
    bool begun = r == 0 && files_begin(job, &place.stat, 0, UINT64_MAX, err) == 0;
    if (begun)
        r = tell(&w, FILES_READY, 0, "");
    if (begun && r == 0)
        r = follow(&w);
    drop(&w, "");
    fd_close(w.queue);
    fd_close(w.top);
    return r < 0 ? failed(&w, r, err) : begun ? 0 : -EPIPE;
}
