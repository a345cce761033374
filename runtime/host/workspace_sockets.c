/* This file finds unix sockets beneath a workspace, so that the launcher can mask them; it never
 * connects to one and never follows a symbolic link.
 *
 * A socket file connects across network and user namespaces, through a read-only mount too. Neither
 * seccomp (it sees a pointer) nor Landlock before ABI 9 (LANDLOCK_ACCESS_FS_RESOLVE_UNIX) can tell
 * one path from another, so sockets that are there at attach are masked one by one. Two sources:
 *
 *  1. /proc/net/unix: every bound socket of the host's network namespace with the path given to
 *     bind(2). Complete for absolute paths, wherever in the tree they are, without walking it.
 *  2. A walk, breadth first (".git" before its siblings), for what 1 can't tell: relative paths and
 *     sockets of containers. A tree of a million files may not cost more than the session: the walk
 *     has a budget, a larger one only when the kernel's list has a relative path in it.
 *
 * What is left: a socket deep in a tree, bound in another network namespace; and whatever the host
 * makes after this. docs/workspace.md says so.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/buf.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

enum {
    SOCKETS_MAX = 256,         /* to be masked, each with a mount of its own */
    WALK_SHORT_US = 60,        /* always */
    WALK_LONG_US = 20000,      /* a relative path is bound somewhere */
    WALK_ENTRIES = 20000,      /* looked at, in either */
    WALK_DIRECTORIES_MIN = 16, /* of the root, however slow the host is now */
    WALK_DEPTH = 8,
    WALK_QUEUE_BYTES = 1 << 20,
    FOREIGN_CHECKED = 64, /* entries of the root whose owner is looked at */
};

static const uint64_t beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;

struct walk {
    int root;
    uint32_t owner;
    struct socket_scan *scan;
    struct buf queue; /* directories to read: depth byte, relative path, NUL */
    size_t next;
    int64_t deadline_us;
    unsigned directories; /* read beside the root and .git */
    bool over;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int add_socket(struct socket_scan *scan, const char *path, struct err *err)
{
    for (uint32_t i = 0; i < scan->count; i++)
        if (strcmp(scan->sockets[i], path) == 0)
            return 0;
    if (scan->count == SOCKETS_MAX)
        return err_set(err, ERR_INVALID_REQUEST, 0, "mask the sockets of the workspace", path,
                       "There are more than %d unix sockets beneath it, through which a session "
                       "could reach programs of the host. Remove stale ones, or use a directory "
                       "beneath this one.",
                       SOCKETS_MAX);
    char(*more)[SPEC_PATH_MAX] =
        reallocarray(scan->sockets, scan->count + 1, sizeof *scan->sockets);
    if (!more)
        return err_raw(err, ERR_INTERNAL, ENOMEM, "mask the sockets of the workspace", NULL);
    scan->sockets = more;
    snprintf(scan->sockets[scan->count++], SPEC_PATH_MAX, "%s", path);
    return 0;
}

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
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && path[n] == '/' && path[n + 1] ? path + n + 1 : NULL;
}

static int scan_bound(struct walk *w, const char *host_path, bool *ret_relative, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
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
        if (path[0] != '/') {
            *ret_relative = true;
            continue;
        }
        const char *inside = beneath_of(path, host_path);
        if (!inside || strlen(inside) >= SPEC_PATH_MAX)
            continue;
        _cleanup_fd_ int fd = pin_openat2(w->root, inside, O_PATH | O_NOFOLLOW, beneath);
        struct stat st;
        if (fd < 0 || fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
            continue;
        r = add_socket(w->scan, inside, err);
        if (r < 0)
            return r;
    }
    return 0;
}

static void enqueue(struct walk *w, const char *parent, const char *name, unsigned depth)
{
    if (depth > WALK_DEPTH || w->queue.length > WALK_QUEUE_BYTES) {
        w->over = true;
        return;
    }
    buf_putc(&w->queue, (char)depth);
    buf_printf(&w->queue, "%s%s%s", parent, *parent ? "/" : "", name);
    buf_putc(&w->queue, 0);
}

static void look_at_owner(struct walk *w, int dir, const char *name)
{
    struct stat st;
    if (w->scan->entries > FOREIGN_CHECKED || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        st.st_uid == w->owner)
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

static int take_entry(struct walk *w, int dir, const char *parent, unsigned depth,
                      const struct directory_entry *e, struct err *err)
{
    if (e->name[0] == '.' && (!e->name[1] || (e->name[1] == '.' && !e->name[2])))
        return 0;
    w->scan->entries++;
    if (depth == 0)
        look_at_owner(w, dir, e->name);
    unsigned char type = e->type;
    if (type == DT_UNKNOWN) {
        struct stat st;
        if (fstatat(dir, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return 0;
        type = (unsigned char)IFTODT(st.st_mode);
    }
    if (type == DT_DIR)
        enqueue(w, parent, e->name, depth + 1);
    if (type != DT_SOCK)
        return 0;
    char path[SPEC_PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s%s", parent, *parent ? "/" : "", e->name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "mask a socket of the workspace",
                       parent, "A unix socket lies too deep in it to be masked: remove it.");
    return add_socket(w->scan, path, err);
}

static int read_directory(struct walk *w, const char *path, unsigned depth, struct err *err)
{
    _cleanup_fd_ int dir = pin_openat2(w->root, *path ? path : ".",
                                       O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NOATIME, beneath);
    if (dir == -EPERM) /* O_NOATIME is for the owner */
        dir =
            pin_openat2(w->root, *path ? path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, beneath);
    if (dir <
        0) /* a submount, gone, or unreadable for a rootless caller: not in the session either */
        return 0;
    _Alignas(struct directory_entry) char buffer[16384];
    for (;;) {
        long n = syscall(SYS_getdents64, dir, buffer, sizeof buffer);
        if (n <= 0)
            return 0;
        for (long at = 0; at < n;) {
            const struct directory_entry *e = (const void *)(buffer + at);
            at += e->length;
            int r = take_entry(w, dir, path, depth, e, err);
            if (r < 0)
                return r;
        }
        if (w->scan->entries > WALK_ENTRIES) {
            w->over = true;
            return 0;
        }
    }
}

static int walk(struct walk *w, struct err *err)
{
    /* ".git" first, whatever the budget: fsmonitor's socket is there and is bound by a relative
     * path. The root is read first of all for the owners. */
    int r = read_directory(w, "", 0, err);
    if (r == 0)
        r = read_directory(w, ".git", 1, err);
    while (r == 0 && w->next < w->queue.length && !w->over) {
        unsigned depth = (unsigned char)w->queue.data[w->next];
        char path[SPEC_PATH_MAX];
        const char *queued = w->queue.data + w->next + 1; /* moves when the queue grows */
        w->next += strlen(queued) + 2;
        if (strcmp(queued, ".git") == 0 || strlen(queued) >= sizeof path)
            continue;
        if (++w->directories > WALK_DIRECTORIES_MIN && now_us() > w->deadline_us)
            w->over = true;
        memcpy(path, queued, strlen(queued) + 1);
        if (!w->over)
            r = read_directory(w, path, depth, err);
    }
    if (r == 0 && buf_failed(&w->queue))
        r = err_raw(err, ERR_INTERNAL, ENOMEM, "look for sockets in the workspace", NULL);
    return r;
}

int sockets_scan(int dir, const char *host_path, uint32_t owner, struct socket_scan *ret,
                 struct err *err)
{
    struct socket_scan scan = {0};
    struct walk w = {.root = dir, .owner = owner, .scan = &scan};
    bool relative = false;
    int r = scan_bound(&w, host_path, &relative, err);
    w.deadline_us = now_us() + (relative ? WALK_LONG_US : WALK_SHORT_US);
    if (r == 0)
        r = walk(&w, err);
    buf_fini(&w.queue);
    if (r < 0) {
        free(scan.sockets);
        return r;
    }
    scan.complete = !w.over;
    *ret = scan;
    return 0;
}

unsigned sockets_bound_beneath(const char *host_path)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    unsigned count = 0;
    if (io_read_file(AT_FDCWD, "/proc/net/unix", 64u << 20, &text, &length) < 0)
        return 0;
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        const char *path = bound_path(line);
        if (path && (beneath_of(path, host_path) || strcmp(path, host_path) == 0))
            count++;
    }
    return count;
}
