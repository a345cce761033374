/* This file resolves paths part by part, in a view of files that a hostile program shares and
 * changes meanwhile; it never opens anything but with O_PATH, which has no effect on what is
 * opened.
 *
 * openat2(2) would do much of it, but filters of sessions answer ENOSYS (its modes can't be
 * judged), and the two cases that need a hand of our own are here anyway: parents that are made on
 * the way, and a view whose root stands at a path. Links are followed here, at most 40 of them, by
 * text; a magic link (procfs) is never met, because no filesystem of the kernel's own is entered.
 *
 * Beneath a workspace on the host, where a wrong step would leave the view, ".." is never given to
 * the kernel: a directory that was renamed away meanwhile would lead elsewhere. The way from the
 * root is kept as text without links, and is gone again with RESOLVE_BENEATH.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { LINKS_MAX = 40 };

static const char step_name[] = "find the path";

/* ---- one step ----------------------------------------------------------------------------------
 */

/* No directory of these holds files of a session, and reading one of their files may have effects
 * or never end: proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf,
 * nsfs, configfs, pstore, efivarfs, fusectl, binfmt_misc, hugetlbfs, rpc_pipefs, selinuxfs, pipefs,
 * sockfs, anon_inode, autofs. */
static const uint32_t pseudo_types[] = {
    0x9fa0,     0x62656572, 0x27e0eb,   0x63677270, 0x1cd1,     0x19800202, 0x64626720, 0x74726163,
    0x73636673, 0xcafe4a11, 0x6e736673, 0x62656570, 0x6165676c, 0xde5e81e4, 0x65735543, 0x42494e4d,
    0x958458f6, 0x67596969, 0xf97cff8c, 0x50495045, 0x534f434b, 0x09041934, 0x0187,
};

bool files_is_pseudo(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return true;
    for (size_t i = 0; i < ARRAY_LENGTH(pseudo_types); i++)
        if ((uint32_t)fs.f_type == pseudo_types[i])
            return true;
    return false;
}

static int open_beneath(const struct files_view *view, int dir, const char *path, int flags,
                        mode_t mode)
{
    struct open_how how = {
        .flags = (unsigned)flags,
        .mode = (flags & O_CREAT) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS |
                   (view->submounts ? 0u : (uint64_t)RESOLVE_NO_XDEV),
    };
    int fd;
    /* EAGAIN: something was renamed meanwhile; openat2(2) asks to try again. */
    for (unsigned tries = 0; tries < 64; tries++) {
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return fd < 0 ? -errno : fd;
}

static bool is_hidden(const struct files_view *view, const struct stat *st)
{
    for (unsigned i = 0; i < view->hidden_count; i++)
        if (view->hidden[i].device == st->st_dev && view->hidden[i].inode == st->st_ino)
            return true;
    return false;
}

/* A link is opened as itself: O_PATH with O_NOFOLLOW does so under RESOLVE_NO_SYMLINKS too. */
static int open_path(const struct files_view *view, int dir, const char *name)
{
    int flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    int fd = view->beneath ? open_beneath(view, dir, name, flags, 0) : openat(dir, name, flags);
    return fd < 0 ? (view->beneath ? fd : -errno) : fd;
}

int files_open(const struct files_view *view, int dir, const char *name, int flags, mode_t mode,
               dev_t above)
{
    flags |= O_NOFOLLOW | O_CLOEXEC | ((flags & O_PATH) ? 0 : O_NONBLOCK | O_NOCTTY);
    _cleanup_fd_ int fd =
        view->beneath ? open_beneath(view, dir, name, flags, mode) : openat(dir, name, flags, mode);
    if (fd < 0)
        return view->beneath ? fd : -errno;
    struct stat st;
    if (flags & O_DIRECTORY) {
        if (fstat(fd, &st) < 0)
            return -errno;
        if (is_hidden(view, &st) || (st.st_dev != above && files_is_pseudo(fd)))
            return -EXDEV;
    }
    return take_fd(&fd);
}

/* ---- what is told ------------------------------------------------------------------------------
 */

int files_failed(struct err *err, int sys, const char *doing, const char *path)
{
    static const struct {
        int sys;
        enum err_code code;
        const char *what;
    } rows[] = {
        {ENOENT, ERR_NOT_FOUND, "There is nothing of that name in the session."},
        {ENOTDIR, ERR_NOT_FOUND, "A part of the path is not a directory."},
        {EACCES, ERR_FORBIDDEN, "The session's user may not do that there: look at the modes."},
        {EPERM, ERR_FORBIDDEN, "The session's user may not do that there."},
        {EROFS, ERR_FORBIDDEN, "It is read-only in this session."},
        {ELOOP, ERR_INVALID_REQUEST,
         "There are too many symbolic links, or a link that may not be followed."},
        {ENAMETOOLONG, ERR_INVALID_REQUEST, "A name is longer than the file system can keep."},
        {EINVAL, ERR_INVALID_REQUEST, "The file system refuses it."},
        {EISDIR, ERR_NOT_A_REGULAR_FILE, "It is a directory."},
        {EEXIST, ERR_INVALID_REQUEST, "There is something of that name already."},
        {ENOTEMPTY, ERR_INVALID_REQUEST, "The directory is not empty: remove it recursively."},
        {EBUSY, ERR_FORBIDDEN, "It is protected, or something is mounted on it in this session."},
        {EXDEV, ERR_FORBIDDEN,
         "It is on a file system of the kernel's own, or outside the session."},
        {ENOSPC, ERR_INSUFFICIENT_STORAGE, "There is no room left: remove files of the session."},
        {EDQUOT, ERR_INSUFFICIENT_STORAGE, "A quota is used up: remove files of the session."},
        {EFBIG, ERR_TOO_LARGE, "It is larger than allowed."},
        {ERANGE, ERR_RANGE_NOT_SATISFIABLE, "The file ends before the range begins."},
        {ENOTSUP, ERR_NOT_A_REGULAR_FILE,
         "It is neither a file nor a directory: devices, FIFOs and sockets are not opened."},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++)
        if (rows[i].sys == sys)
            return err_set(err, rows[i].code, sys, doing, path, "%s", rows[i].what);
    return err_set(err, ERR_UNAVAILABLE, sys, doing, path, "Try again.");
}

static uint32_t id_inside(enum files_ids ids, uint32_t id, uint32_t owner, uint32_t inside)
{
    switch (ids) {
    case FILES_IDS_OWNER:
        return id == owner ? inside : 65534;
    case FILES_IDS_ROTATED:
        return id == 0 ? inside : id <= inside ? id - 1 : id;
    case FILES_IDS_SAME:
        break;
    }
    return id;
}

static uint64_t nanoseconds(const struct timespec *t)
{
    return t->tv_sec < 0 ? 0 : (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;
}

void files_tell(const struct files_view *view, const struct stat *st, struct files_stat *ret)
{
    *ret = (struct files_stat){
        .type = S_ISREG(st->st_mode)   ? FILES_FILE
                : S_ISDIR(st->st_mode) ? FILES_DIRECTORY
                : S_ISLNK(st->st_mode) ? FILES_SYMLINK
                                       : FILES_OTHER,
        .mode = st->st_mode & 0777u,
        .uid = id_inside(view->uids, st->st_uid, view->owner_uid, view->inside_uid),
        .gid = id_inside(view->gids, st->st_gid, view->owner_gid, view->inside_gid),
        .size = st->st_size > 0 ? (uint64_t)st->st_size : 0,
        .modified_ns = nanoseconds(&st->st_mtim),
        .changed_ns = nanoseconds(&st->st_ctim),
        .device = st->st_dev,
        .inode = st->st_ino,
    };
}

/* ---- the walk
 * ------------------------------------------------------------------------------------ */

struct walk {
    const struct files_view *view;
    struct files_place *place;
    unsigned flags, links;
    /* With view->beneath: where in the mount path the walk stands; at its end it is in the root. */
    const char *mount;
    char rest[2 * FILES_PATH_MAX]; /* what is still to go */
};

void files_place_fini(struct files_place *place)
{
    fd_closep(&place->dir);
    fd_closep(&place->fd);
}

static bool in_root(const struct walk *w)
{
    return !w->view->beneath || *w->mount == 0;
}

static int to_top(struct walk *w)
{
    struct files_place *p = w->place;
    fd_replace(&p->fd, -1);
    fd_replace(&p->dir, fcntl(w->view->root, F_DUPFD_CLOEXEC, 3));
    p->text[0] = p->name[0] = 0;
    w->mount = w->view->beneath ? w->view->mount_path + 1 : "";
    return p->dir < 0 ? -errno : 0;
}

/* The descriptor of the directory whose text is place->text. */
static int reopen(struct walk *w)
{
    struct files_place *p = w->place;
    int fd = p->text[0] ? open_beneath(w->view, w->view->root, p->text,
                                       O_PATH | O_DIRECTORY | O_CLOEXEC, 0)
                        : fcntl(w->view->root, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return p->text[0] ? fd : -errno;
    fd_replace(&p->dir, fd);
    return 0;
}

static int step_up(struct walk *w)
{
    struct files_place *p = w->place;
    if (!w->view->beneath) {
        int fd = openat(p->dir, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        fd_replace(&p->dir, fd);
        return 0;
    }
    if (in_root(w) && p->text[0]) {
        char *slash = strrchr(p->text, '/');
        *(slash ? slash : p->text) = 0;
        return reopen(w);
    }
    const char *top = w->view->mount_path + 1;
    if (w->mount > top) {
        w->mount -= *w->mount ? 1 : 0;
        while (w->mount > top && w->mount[-1] != '/')
            w->mount--;
    }
    return 0;
}

/* A part of the path at which the root stands. */
static int step_mount(struct walk *w, const char *name)
{
    size_t n = strlen(name);
    if (strncmp(w->mount, name, n) != 0 || (w->mount[n] != '/' && w->mount[n] != 0))
        return -ENOENT;
    w->mount += n + (w->mount[n] == '/');
    return 0;
}

static int add_text(struct files_place *p, const char *name)
{
    size_t n = strlen(p->text);
    if ((size_t)snprintf(p->text + n, sizeof p->text - n, "%s%s", n ? "/" : "", name) >=
        sizeof p->text - n) {
        p->text[n] = 0;
        return -ENAMETOOLONG;
    }
    return 0;
}

int files_enter(struct files_place *place)
{
    int r = place->name[0] ? add_text(place, place->name) : 0;
    if (r < 0)
        return r;
    fd_replace(&place->dir, take_fd(&place->fd));
    place->name[0] = 0;
    return 0;
}

static int enter_link(struct walk *w, int link)
{
    char text[FILES_PATH_MAX];
    ssize_t n = readlinkat(link, "", text, sizeof text - 1);
    if (n < 0)
        return -errno;
    if (n == 0 || (size_t)n == sizeof text - 1 || ++w->links > LINKS_MAX)
        return n == 0 ? -ENOENT : -ELOOP;
    text[n] = 0;
    size_t rest = strlen(w->rest);
    if ((size_t)n + 1 + rest >= sizeof w->rest)
        return -ENAMETOOLONG;
    memmove(w->rest + n + (rest > 0), w->rest, rest + 1);
    memcpy(w->rest, text, (size_t)n);
    w->rest[n] = rest ? '/' : 0;
    return text[0] == '/' ? to_top(w) : 0;
}

/* Opens `name` of place->dir as place->fd; a missing directory on the way is made if wanted. */
static int look(struct walk *w, const char *name, bool last)
{
    struct files_place *p = w->place;
    int fd = open_path(w->view, p->dir, name);
    if (fd == -ENOENT && !last && (w->flags & FILES_MAKE)) {
        int r = files_may_change(w->view, p, name, false, NULL);
        if (r < 0)
            return r;
        if (mkdirat(p->dir, name, FILES_MODE_MADE) < 0 && errno != EEXIST)
            return -errno;
        fd = open_path(w->view, p->dir, name);
    }
    if (fd < 0)
        return fd;
    fd_replace(&p->fd, fd);
    return fstat(fd, &p->stat) < 0 ? -errno : 0;
}

/* place->fd becomes the directory that the walk goes on from. */
static int go_in(struct walk *w, const char *name)
{
    struct files_place *p = w->place;
    struct stat above;
    if (!S_ISDIR(p->stat.st_mode))
        return -ENOTDIR;
    if (fstat(p->dir, &above) < 0)
        return -errno;
    if (is_hidden(w->view, &p->stat) || (p->stat.st_dev != above.st_dev && files_is_pseudo(p->fd)))
        return -EXDEV;
    int r = w->view->beneath ? add_text(p, name) : 0;
    if (r == 0)
        fd_replace(&p->dir, take_fd(&p->fd));
    return r;
}

enum { WALK_GOES_ON = 0, WALK_IS_THERE = 1 };

static int step(struct walk *w, const char *name, bool last, bool slash)
{
    struct files_place *p = w->place;
    if (strcmp(name, ".") == 0)
        return in_root(w) ? 0 : -ENOENT;
    if (strcmp(name, "..") == 0)
        return step_up(w);
    if (!in_root(w))
        return step_mount(w, name);
    int r = look(w, name, last);
    if (r == -ENOENT && (last || (w->flags & FILES_LATER))) {
        p->missing = !last;
        snprintf(p->name, sizeof p->name, "%s", name);
        snprintf(p->rest, sizeof p->rest, "%s", w->rest);
        return WALK_IS_THERE;
    }
    if (r < 0)
        return r;
    if (S_ISLNK(p->stat.st_mode) && (!last || slash || (w->flags & FILES_FOLLOW))) {
        _cleanup_fd_ int link = take_fd(&p->fd);
        return enter_link(w, link);
    }
    if (!last || slash || S_ISDIR(p->stat.st_mode)) {
        /* A directory at the end is looked at like one on the way, but stays at its name. */
        if (!last)
            return go_in(w, name);
        if (!S_ISDIR(p->stat.st_mode))
            return -ENOTDIR;
        if (is_hidden(w->view, &p->stat))
            return -EXDEV;
    }
    snprintf(p->name, sizeof p->name, "%s", name);
    return WALK_IS_THERE;
}

static int walk(struct walk *w)
{
    int r = to_top(w);
    while (r == WALK_GOES_ON) {
        char name[FILES_NAME_MAX];
        size_t skip = strspn(w->rest, "/"), n = strcspn(w->rest + skip, "/");
        if (n == 0)
            break;
        if (n >= sizeof name)
            return -ENAMETOOLONG;
        memcpy(name, w->rest + skip, n);
        name[n] = 0;
        size_t end = skip + n, slashes = strspn(w->rest + end, "/");
        bool last = w->rest[end + slashes] == 0;
        memmove(w->rest, w->rest + end + slashes, strlen(w->rest + end + slashes) + 1);
        r = step(w, name, last, slashes > 0);
    }
    return r;
}

/* The path ended at a directory itself ("/", "a/..") and not at a name in one. */
static int stand(struct walk *w)
{
    struct files_place *p = w->place;
    if (!in_root(w))
        return -ENOENT;
    fd_replace(&p->fd, fcntl(p->dir, F_DUPFD_CLOEXEC, 3));
    p->name[0] = 0;
    return p->fd < 0 || fstat(p->fd, &p->stat) < 0 ? -errno : 0;
}

int files_resolve(const struct files_view *view, const char *path, unsigned flags,
                  struct files_place *ret, struct err *err)
{
    _cleanup_place_ struct files_place place = FILES_NOWHERE;
    struct walk w = {.view = view, .place = &place, .flags = flags};
    snprintf(w.rest, sizeof w.rest, "%s", path);
    int r = walk(&w);
    if (r == WALK_GOES_ON)
        r = stand(&w);
    else if (r == WALK_IS_THERE)
        r = place.fd < 0 && !(flags & FILES_MISSING) ? -ENOENT : 0;
    if (r == 0 && place.fd >= 0 && !S_ISLNK(place.stat.st_mode) && files_is_pseudo(place.fd))
        r = -EXDEV;
    if (r < 0)
        return files_failed(err, -r, step_name, path);
    *ret = place;
    place.dir = place.fd = -1;
    return 0;
}

/* ---- what may be changed
 * ------------------------------------------------------------------------- */

/* Is `a` the path `b`, or one above it? */
static bool is_above(const char *a, const char *b)
{
    size_t n = strlen(a);
    return strncmp(a, b, n) == 0 && (b[n] == 0 || b[n] == '/');
}

int files_may_change(const struct files_view *view, const struct files_place *place,
                     const char *name, bool away, struct err *err)
{
    char path[FILES_PATH_MAX + FILES_NAME_MAX + 1];
    if (!view->protect_count)
        return 0;
    snprintf(path, sizeof path, "%s%s%s", place->text, place->text[0] && name[0] ? "/" : "", name);
    for (unsigned i = 0; i < view->protect_count; i++)
        if (is_above(view->protect[i], path) || (away && is_above(path, view->protect[i])))
            return err_set(err, ERR_FORBIDDEN, EROFS, "change a protected path", path,
                           "The session's policy protects %s: it is read-only in every session of "
                           "this workspace.",
                           view->protect[i]);
    return 0;
}
