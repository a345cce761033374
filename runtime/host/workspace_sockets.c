/* This file finds unix sockets beneath a workspace or an extra mount, so that the stage can mask
 * them; it never connects to one and never follows a symbolic link.
 *
 * A socket file connects across network and user namespaces, through a read-only mount too. Neither
 * seccomp (it sees a pointer) nor Landlock before ABI 9 (LANDLOCK_ACCESS_FS_RESOLVE_UNIX) can tell
 * one path from another, so sockets that are there at attach are masked one by one. Two sources:
 *
 *  1. A walk, breadth first (".git" before its siblings). It sees every socket, whoever bound it
 *     and under which name, but a tree of a million files may not cost more than the session: the
 *     walk has a budget.
 *  2. When the walk did not see all: /proc/net/unix, every bound socket of the host's network
 *     namespace with the path given to bind(2). Complete for absolute paths, wherever in the tree
 *     they are. A relative path in it could be anywhere, so the walk then goes on, with a larger
 *     budget.
 *
 * What is left: a socket deep in a tree, bound in another network namespace or by a name that leads
 * through a link; and whatever the host makes after this. docs/workspace.md says so.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/placeholder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

enum {
    WALK_SHORT_US = 60,        /* always */
    WALK_LONG_US = 20000,      /* a relative path is bound somewhere */
    WALK_ENTRIES = 20000,      /* looked at, in either */
    WALK_DIRECTORIES_MIN = 16, /* read, however slow the host is now */
    WALK_QUEUE_BYTES = 1 << 20,
    FOREIGN_CHECKED = 64, /* entries of the root whose owner is looked at */
};

static const uint64_t beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;

struct walk {
    const struct socket_place *place;
    struct socket_scan *scan;
    struct buf queue; /* directories to read: relative path, NUL */
    size_t next;
    int64_t deadline_us;
    unsigned directories;
    bool late;   /* the time was over: walk_on() may go on */
    bool hidden; /* something that the walk cannot or must not look at */
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static bool is_known(const struct socket_scan *scan, int32_t mount, const char *path)
{
    for (uint32_t i = 0; i < scan->count; i++)
        if (scan->sockets[i].mount == mount && strcmp(scan->sockets[i].path, path) == 0)
            return true;
    return false;
}

/* `place` is for messages. */
static int add(struct socket_scan *scan, const struct workspace_socket *what, const char *path,
               const char *place, struct err *err)
{
    if (scan->count == WORKSPACE_SOCKETS_MAX)
        return err_set(err, ERR_INVALID_REQUEST, 0, "mask the sockets of", place,
                       "There are more than %d unix sockets in what the session would see, through "
                       "which it could reach programs of the host. Remove stale ones, or share a "
                       "directory beneath this one.",
                       WORKSPACE_SOCKETS_MAX);
    struct workspace_socket *more =
        reallocarray(scan->sockets, scan->count + 1, sizeof *scan->sockets);
    if (!more)
        return err_raw(err, ERR_INTERNAL, ENOMEM, "mask the sockets of", place);
    scan->sockets = more;
    struct workspace_socket *added = &more[scan->count++];
    added->mount = what->mount;
    added->placeholder = what->placeholder;
    added->directory = what->directory;
    snprintf(added->path, sizeof added->path, "%s", path);
    return 0;
}

static int add_socket(struct walk *w, const char *path, mode_t mode, struct err *err)
{
    const struct workspace_socket what = {.mount = w->place->mount,
                                          .placeholder = (mode & 07777) == PLACEHOLDER_MODE};
    return is_known(w->scan, what.mount, path) ? 0 : add(w->scan, &what, path, w->place->path, err);
}

int sockets_add_directory(struct socket_scan *scan, int32_t mount, const char *path,
                          const char *place, struct err *err)
{
    const struct workspace_socket what = {.mount = mount, .directory = true};
    return add(scan, &what, path, place, err);
}

/* ---- the kernel's list -------------------------------------------------------------------------
 */

/* The path column of a line of /proc/net/unix, or NULL: what follows seven fields and one space. */
static const char *bound_path(const char *line)
{
    for (unsigned field = 0; field < 7; field++) {
        line += strspn(line, " ");
        line += strcspn(line, " ");
    }
    return *line == ' ' ? line + 1 : NULL;
}

static const char *beneath_of(const char *path, const char *top)
{
    size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);
    return strncmp(path, top, n) == 0 && path[n] == '/' && path[n + 1] ? path + n + 1 : NULL;
}

/* Keep the paths, one after the other with their NULs; a session with many mounts reads it once. */
static int bound_read(struct socket_scan *scan, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    if (scan->bound.data)
        return 0;
    int r = io_read_file(AT_FDCWD, "/proc/net/unix", 64u << 20, &text, &length);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "list bound sockets", "/proc/net/unix",
                       "Sockets in the workspace could not be found and masked. A readable /proc "
                       "is needed on the host.");
    char *line = strchr(text, '\n'); /* after the heading */
    for (char *next; line && *++line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next = 0;
        const char *path = bound_path(line);
        if (!path || path[0] == '@' || path[0] == 0)
            continue;
        if (path[0] != '/')
            scan->relative = true;
        else {
            buf_puts(&scan->bound, path);
            buf_putc(&scan->bound, 0);
        }
    }
    buf_putc(&scan->bound, 0);
    return buf_failed(&scan->bound)
               ? err_raw(err, ERR_INTERNAL, ENOMEM, "list bound sockets", "/proc/net/unix")
               : 0;
}

static int add_bound(struct walk *w, struct err *err)
{
    uint64_t resolve = beneath | (w->place->with_submounts ? 0u : (uint64_t)RESOLVE_NO_XDEV);
    for (const char *path = w->scan->bound.data; *path; path += strlen(path) + 1) {
        const char *inside = beneath_of(path, w->place->path);
        if (!inside || strlen(inside) >= SPEC_PATH_MAX)
            continue;
        _cleanup_fd_ int fd = pin_openat2(w->place->dir, inside, O_PATH | O_NOFOLLOW, resolve);
        struct stat st;
        /* Gone, behind a link, on a mount that is not shared, or where berth's rights do not reach.
         */
        if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP || fd == -EXDEV || fd == -EACCES)
            continue;
        int r = fd < 0 ? fd : fstat(fd, &st) < 0 ? -errno : 0;
        if (r < 0)
            return err_set(err, ERR_UNAVAILABLE, -r, "look at a bound socket in", w->place->path,
                           "It could not be masked.");
        if (!S_ISSOCK(st.st_mode))
            continue;
        r = add_socket(w, inside, st.st_mode, err);
        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- the walk ----------------------------------------------------------------------------------
 */

/* Neither of the two is a path that can be masked or opened: it stays unseen, which is remembered.
 */
static int join(struct walk *w, const char *parent, const char *name, char ret[SPEC_PATH_MAX])
{
    int n = snprintf(ret, SPEC_PATH_MAX, "%s%s%s", parent, *parent ? "/" : "", name);
    if (n >= 0 && n < SPEC_PATH_MAX)
        return 0;
    w->hidden = true;
    return -ENAMETOOLONG;
}

static void enqueue(struct walk *w, const char *path)
{
    if (is_known(w->scan, w->place->mount, path)) /* covered, and what is in it with it */
        return;
    if (w->queue.length > WALK_QUEUE_BYTES) {
        w->hidden = true;
        return;
    }
    buf_puts(&w->queue, path);
    buf_putc(&w->queue, 0);
}

static void look_at_owner(struct walk *w, int dir, const char *name)
{
    struct stat st;
    if (w->scan->entries > FOREIGN_CHECKED || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        st.st_uid == w->place->owner)
        return;
    if (w->scan->foreign_count++ == 0)
        snprintf(w->scan->foreign, sizeof w->scan->foreign, "%s", name);
}

struct directory_entry { /* struct linux_dirent64, which no header declares */
    uint64_t ino;
    int64_t off;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* A placeholder of a session has no listener, and goes when its session ends: a mask over it could
 * find it gone. */
static bool is_placeholder(struct walk *w, int dir, const char *name)
{
    struct socket_scan *scan = w->scan;
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT;
    if (!S_ISSOCK(st.st_mode))
        return true; /* replaced by something else in between */
    if (scan->placeholder_ino != 0 && st.st_dev == scan->placeholder_dev &&
        st.st_ino == scan->placeholder_ino)
        return true;
    if (!placeholder_known(w->place->share_dir, name, &st))
        return false;
    scan->placeholder_dev = st.st_dev;
    scan->placeholder_ino = st.st_ino;
    return true;
}

static int take_entry(struct walk *w, int dir, const char *parent, const struct directory_entry *e,
                      struct err *err)
{
    if (e->name[0] == '.' && (!e->name[1] || (e->name[1] == '.' && !e->name[2])))
        return 0;
    w->scan->entries++;
    if (w->place->mount == WORKSPACE_SOCKET_HERE && *parent == 0)
        look_at_owner(w, dir, e->name);
    unsigned char type = e->type;
    struct stat st = {.st_mode = S_IFSOCK};
    if (type == DT_UNKNOWN || type == DT_SOCK) {
        if (fstatat(dir, e->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            type = (unsigned char)IFTODT(st.st_mode);
        else if (errno == ENOENT)
            return 0;
        else if (type == DT_UNKNOWN)
            w->hidden = true;
        /* A socket that cannot be looked at is masked like any other. */
    }
    char path[SPEC_PATH_MAX];
    if (type != DT_DIR && (type != DT_SOCK || is_placeholder(w, dir, e->name)))
        return 0;
    int r = join(w, parent, e->name, path);
    if (r < 0 && type == DT_SOCK)
        return err_set(err, ERR_INVALID_REQUEST, -r, "mask a socket in", parent,
                       "A unix socket lies too deep in %s to be masked: remove it.",
                       w->place->path);
    if (r < 0)
        return 0;
    if (type == DT_SOCK)
        return add_socket(w, path, st.st_mode, err);
    enqueue(w, path);
    return 0;
}

/* A directory that could not be opened. A mount beneath is not in the session, unless all are; one
 * that is gone is gone; and a caller without root may still know names in what he can't list. */
static void missed(struct walk *w, int error)
{
    if (error == -EXDEV ? w->place->with_submounts : error != -ENOENT && error != -ENOTDIR)
        w->hidden = true;
}

static int read_directory(struct walk *w, const char *path, struct err *err)
{
    const char *name = *path ? path : ".";
    uint64_t flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW, resolve = beneath | RESOLVE_NO_XDEV;
    _cleanup_fd_ int dir = pin_openat2(w->place->dir, name, flags | O_NOATIME, resolve);
    if (dir == -EPERM) /* O_NOATIME is for the owner */
        dir = pin_openat2(w->place->dir, name, flags, resolve);
    if (dir < 0) {
        missed(w, dir);
        return 0;
    }
    w->directories++;
    _Alignas(struct directory_entry) char buffer[16384];
    for (;;) {
        long n = syscall(SYS_getdents64, dir, buffer, sizeof buffer);
        if (n < 0)
            w->hidden = true;
        if (n <= 0)
            return 0;
        for (long at = 0; at < n;) {
            const struct directory_entry *e = (const void *)(buffer + at);
            at += e->length;
            int r = take_entry(w, dir, path, e, err);
            if (r < 0)
                return r;
        }
        if (w->scan->entries > WALK_ENTRIES) {
            w->hidden = true;
            return 0;
        }
    }
}

static int walk_on(struct walk *w, int64_t budget_us, struct err *err)
{
    int r = 0;
    w->deadline_us = now_us() + budget_us;
    w->late = false;
    while (r == 0 && w->next < w->queue.length && w->scan->entries <= WALK_ENTRIES) {
        if (w->directories >= WALK_DIRECTORIES_MIN && now_us() > w->deadline_us) {
            w->late = true;
            return 0;
        }
        char path[SPEC_PATH_MAX]; /* the queue moves when it grows; join() has checked the length */
        size_t length = strlen(w->queue.data + w->next) + 1;
        memcpy(path, w->queue.data + w->next, length);
        w->next += length;
        if (strcmp(path, ".git") != 0)
            r = read_directory(w, path, err);
    }
    if (w->next < w->queue.length)
        w->hidden = true;
    if (r == 0 && buf_failed(&w->queue))
        r = err_raw(err, ERR_INTERNAL, ENOMEM, "look for sockets in", w->place->path);
    return r;
}

int sockets_scan(const struct socket_place *place, struct socket_scan *scan, struct err *err)
{
    struct walk w = {.place = place, .scan = scan};
    scan->entries = 0;
    scan->complete = true;
    /* The root first, for the owners; then ".git", where fsmonitor's socket is, bound by a relative
     * path. */
    int r = read_directory(&w, "", err);
    if (r == 0)
        r = read_directory(&w, ".git", err);
    if (r == 0)
        r = walk_on(&w, WALK_SHORT_US, err);
    if (r == 0 && (w.late || w.hidden)) {
        r = bound_read(scan, err);
        if (r == 0)
            r = add_bound(&w, err);
        if (r == 0 && w.late && scan->relative)
            r = walk_on(&w, WALK_LONG_US, err);
        scan->complete = !scan->relative || (!w.late && !w.hidden);
    }
    buf_fini(&w.queue);
    return r;
}

void sockets_scan_fini(struct socket_scan *scan)
{
    free(scan->sockets);
    buf_fini(&scan->bound);
    memset(scan, 0, sizeof *scan);
}
