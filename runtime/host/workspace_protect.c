/* This file finds out what stands at each protected path and has the missing ones held (WS-3); the
 * launcher makes the binds. It never removes anything itself.
 *
 *     at the path                    outcome
 *     file or directory              held
 *     nothing, the parent is there   held by a placeholder (placeholder.c)
 *     nothing, no parent             not held, told now, and told at the end if it appeared
 *     nothing, a path for homes      as above in a home directory; elsewhere not held, and told at
 *                                    the end if it appeared (docs/adr/0006)
 *     a symbolic link in the way     not held: told for a preset's path, refused for one that was
 *                                    asked for, because a bind would follow it to somewhere else
 *     on another filesystem beneath  not held: that filesystem is not in the session
 *     what leads git elsewhere       held where it is; told at the end if it appeared (hold_git())
 *     workspace mounted read-only    nothing to do
 *
 * All of it happens under the directory's guard, so that a placeholder that another session is
 * about to remove is not taken for the user's own directory. PRIVILEGED: the launcher's.
 */
#include "runtime/host/placeholder.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/names.h"
#include "runtime/host/workspace_home.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/vfs.h>

static const uint64_t beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;

enum found { FOUND = 1, FOUND_NOTHING, FOUND_NO_PARENT, FOUND_LINK, FOUND_ELSEWHERE };

/* What is at the top of the directory, read at once: most of what is looked for is not there, and
 * a lookup of each costs more than the list. The list says "not there" and nothing else; that it is
 * complete, and that no name in it could be found under another one (file systems without letter
 * case), is made sure of first; others than the usual ones may find what they do not list. */
struct top {
    bool known;
    size_t length;
    char names[2048]; /* each with its NUL */
};

struct lookup {
    const struct top *top; /* NULL: look */
    int dir;
    int parent; /* of the path looked up last; -1 */
    char parent_path[SPEC_PROTECT_PATH_MAX];
    const char *name; /* last part of the path looked up last */
};

static int open_parent(struct lookup *l, const char *path)
{
    const char *slash = strrchr(path, '/');
    l->name = slash ? slash + 1 : path;
    if (!slash)
        return l->dir;
    size_t n = (size_t)(slash - path);
    if (l->parent >= 0 && strlen(l->parent_path) == n && strncmp(l->parent_path, path, n) == 0)
        return l->parent;
    fd_close(l->parent);
    memcpy(l->parent_path, path, n);
    l->parent_path[n] = 0;
    l->parent = pin_openat2(l->dir, l->parent_path, O_PATH | O_DIRECTORY | O_NOFOLLOW, beneath);
    return l->parent;
}

static bool lists_all(int dir)
{
    static const unsigned long usual[] = {EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC,
                                          TMPFS_MAGIC};
    struct statfs fs;
    if (fstatfs(dir, &fs) < 0)
        return false;
    for (size_t i = 0; i < ARRAY_LENGTH(usual); i++)
        if ((unsigned long)fs.f_type == usual[i])
            return true;
    return false;
}

static void read_top(int dir, struct top *ret)
{
    struct names list;
    const char *name;
    int r;
    ret->length = 0;
    ret->known = false;
    _cleanup_fd_ int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || !lists_all(fd))
        return;
    names_begin(&list, fd, NAMES_ALL);
    while ((r = names_next(&list, &name)) > 0) {
        size_t size = strlen(name) + 1;
        if (size > sizeof ret->names - ret->length)
            return;
        for (size_t i = 0; i < size; i++)
            if (name[i] & 0x80)
                return;
        memcpy(ret->names + ret->length, name, size);
        ret->length += size;
    }
    ret->known = r == 0;
}

static bool is_absent(const struct lookup *l, const char *path)
{
    if (!l->top || !l->top->known || strchr(path, '/'))
        return false;
    for (size_t at = 0; at < l->top->length; at += strlen(l->top->names + at) + 1)
        if (strcasecmp(l->top->names + at, path) == 0)
            return false;
    return true;
}

/* One of enum found, or -errno. */
static int look_up(struct lookup *l, const char *path, struct stat *ret_st)
{
    int parent = open_parent(l, path);
    if (is_absent(l, path))
        return FOUND_NOTHING;
    switch (parent < 0 ? -parent : 0) {
    case 0:
        break;
    case ENOENT:
        return FOUND_NO_PARENT;
    case ENOTDIR: {
        /* A file where a directory should be, or, on some kernels, a link with O_DIRECTORY. */
        _cleanup_fd_ int fd = pin_openat2(l->dir, l->parent_path, O_PATH | O_NOFOLLOW, beneath);
        struct stat st;
        return fd == -ELOOP || (fd >= 0 && fstat(fd, &st) == 0 && S_ISLNK(st.st_mode))
                   ? FOUND_LINK
                   : FOUND_NO_PARENT;
    }
    case ELOOP:
        return FOUND_LINK;
    case EXDEV:
    case EACCES:
        return FOUND_ELSEWHERE;
    default:
        return parent;
    }
    if (fstatat(parent, l->name, ret_st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? FOUND_NOTHING : errno == EACCES ? FOUND_ELSEWHERE : -errno;
    return S_ISLNK(ret_st->st_mode) ? FOUND_LINK : FOUND;
}

static int refuse_or_tell(const struct spec_protect *want, const struct notes *notes,
                          const char *why, struct err *err)
{
    if (!want->is_default)
        return err_set(err, ERR_INVALID_REQUEST, 0, "protect", want->path,
                       "%s Name the real path beneath the workspace, or take it from \"protect\".",
                       why);
    notes_add(notes, "protect.not_held", "%s is not protected: %s", want->path, why);
    return 0;
}

static int take_found(struct workspace *ws, const char *path, unsigned i, const struct stat *st,
                      const struct notes *notes, struct placeholder_book *book)
{
    struct workspace_protect *p = &ws->protect[i];
    p->held = true;
    p->directory = S_ISDIR(st->st_mode);
    p->placeholder = placeholder_find(book, p->path, st);
    if (S_ISREG(st->st_mode) && st->st_nlink > 1)
        notes_add(notes, "protect.hardlink",
                  "%s has %lu names (hard links): what is written through another one changes it",
                  path, (unsigned long)st->st_nlink);
    return 0;
}

struct holding {
    struct workspace *ws;
    const struct spec *spec;
    struct placeholder_book *book;
    const struct notes *notes;
    struct lookup lookup;
    bool home_sign;                       /* something is there that is found in homes */
    enum found put_off[SPEC_PROTECT_MAX]; /* missing, and for homes only: decided at the end */
    unsigned put_off_count;
};

/* Missing, with its parent or without. */
static int hold_missing(struct holding *h, uint32_t i, enum found found, struct err *err)
{
    const char *path = h->spec->protect[i].path;
    if (found == FOUND_NOTHING)
        return placeholder_add(h->book, path, i, err);
    h->ws->private->watched[i] = true;
    notes_add(h->notes, "protect.missing_parent",
              "%s is not protected: there is no directory to hold it in yet", path);
    return 0;
}

static int hold_one(struct holding *h, uint32_t i, struct err *err)
{
    const struct spec_protect *want = &h->spec->protect[i];
    struct workspace_protect *p = &h->ws->protect[i];
    struct stat st;
    int found = look_up(&h->lookup, want->path, &st);
    int r = 0;
    if (found == FOUND)
        r = take_found(h->ws, want->path, i, &st, h->notes, h->book);
    /* What another session put there says nothing; what cannot be looked at may be anything. */
    if (found == FOUND_LINK || found == FOUND_ELSEWHERE || (found == FOUND && !p->placeholder))
        h->home_sign |= want->home_sign || want->home;
    switch (found) {
    case FOUND:
        return r;
    case FOUND_NOTHING:
    case FOUND_NO_PARENT:
        if (!want->home)
            return hold_missing(h, i, (enum found)found, err);
        h->put_off[i] = (enum found)found;
        h->put_off_count++;
        return 0;
    case FOUND_LINK:
        return refuse_or_tell(want, h->notes, "A part of it is a symbolic link.", err);
    case FOUND_ELSEWHERE:
        return refuse_or_tell(want, h->notes,
                              "It lies on another filesystem or out of reach, and so not in the "
                              "session.",
                              err);
    default:
        return err_set(err, ERR_UNAVAILABLE, -found, "look at the protected path", want->path,
                       NULL);
    }
}

/* Nobody's shell starts in a volume. */
static bool is_home(const struct holding *h)
{
    const struct workspace_private *private = h->ws->private;
    return private->named_directory &&
           (h->home_sign || home_is_known(private->path, &private->stat));
}

static int hold_in_homes(struct holding *h, struct err *err)
{
    if (h->put_off_count == 0)
        return 0;
    bool home = is_home(h);
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < h->spec->protect_count; i++) {
        if (!h->put_off[i])
            continue;
        if (home)
            r = hold_missing(h, i, h->put_off[i], err);
        else
            h->ws->private->watched[i] = h->ws->private->home_only[i] = true;
    }
    return r;
}

static void set_path(struct workspace_protect *p, const char *path)
{
    p->held = p->placeholder = p->directory = false;
    memcpy(p->path, path, strlen(path) + 1); /* spec_check() has seen that it fits */
}

bool protect_has_git(const struct spec *spec)
{
    for (uint32_t i = 0; i < spec->protect_count; i++)
        if (strncmp(spec->protect[i].path, PROTECT_GIT "/", sizeof PROTECT_GIT) == 0)
            return true;
    return false;
}

static bool is_named(const struct spec *spec, const char *path)
{
    for (uint32_t i = 0; i < spec->protect_count; i++)
        if (strcmp(spec->protect[i].path, path) == 0)
            return true;
    return false;
}

/* What is protected beneath .git protects nothing where git is told to look elsewhere. One that is
 * missing cannot be held: git reads whatever has such a name, and stops at what it cannot read. */
static int hold_git_one(struct holding *h, const char *path, struct err *err)
{
    struct workspace *ws = h->ws;
    uint32_t at = ws->protect_count;
    struct stat st;
    int found = look_up(&h->lookup, path, &st);
    if (found < 0)
        return err_set(err, ERR_UNAVAILABLE, -found, "look at the protected path", path, NULL);
    /* A directory is above what is held and stays with it; of a link in its place those tell. */
    if ((found == FOUND && S_ISDIR(st.st_mode)) || found == FOUND_ELSEWHERE ||
        (found == FOUND_LINK && strcmp(path, PROTECT_GIT) == 0))
        return 0;
    if (at == SPEC_PROTECT_MAX || found == FOUND_LINK) {
        notes_add(h->notes, "protect.not_held",
                  "%s is not protected, and can tell git that its config and hooks are elsewhere",
                  path);
        return 0;
    }
    set_path(&ws->protect[at], path);
    ws->protect_count++;
    if (found == FOUND)
        return take_found(ws, path, at, &st, h->notes, h->book);
    ws->private->watched[at] = true;
    return 0;
}

static int hold_git(struct holding *h, struct err *err)
{
    static const char *const paths[] = {PROTECT_GIT, PROTECT_GIT_COMMON};
    int r = 0;
    for (size_t i = 0; r == 0 && i < ARRAY_LENGTH(paths) && protect_has_git(h->spec); i++)
        if (!is_named(h->spec, paths[i]))
            r = hold_git_one(h, paths[i], err);
    return r;
}

struct making {
    struct workspace *ws;
    const struct notes *notes;
};

static void made(void *data, unsigned i, enum placeholder_fate fate)
{
    struct making *m = data;
    struct workspace_protect *p = &m->ws->protect[i];
    switch (fate) {
    case PLACEHOLDER_MADE:
    case PLACEHOLDER_MADE_DIRECTORY:
        p->held = p->placeholder = true;
        p->directory = fate == PLACEHOLDER_MADE_DIRECTORY;
        return;
    case PLACEHOLDER_EXISTS: { /* made by somebody in the last microseconds: it is there now */
        struct lookup l = {.dir = m->ws->dir, .parent = -1};
        struct stat st;
        if (look_up(&l, p->path, &st) == FOUND) {
            p->held = true;
            p->directory = S_ISDIR(st.st_mode);
        } else {
            notes_add(m->notes, "protect.not_held",
                      "%s is not protected: it was changed on the host at this moment", p->path);
        }
        fd_close(l.parent);
        return;
    }
    case PLACEHOLDER_NOT_NEEDED:
        return;
    }
}

int protect_begin(struct workspace *ws, const struct spec *spec, const struct asker *owner,
                  const struct notes *notes, struct err *err)
{
    struct workspace_private *private = ws->private;
    ws->protect_count = spec->protect_count;
    for (uint32_t i = 0; i < spec->protect_count; i++)
        set_path(&ws->protect[i], spec->protect[i].path);
    if (spec->workspace.read_only || spec->protect_count == 0)
        return 0;
    struct placeholder_book *book = NULL;
    int r = placeholder_begin(private->share, ws->dir, &private->stat, private->path, owner,
                              private->lasting ? private->use_name : NULL, notes, &book, err);
    struct top top = {.known = false};
    if (r == 0)
        read_top(ws->dir, &top);
    struct holding h = {ws, spec, book, notes,
                        .lookup = {.top = &top, .dir = ws->dir, .parent = -1}};
    for (uint32_t i = 0; r == 0 && i < spec->protect_count; i++)
        r = hold_one(&h, i, err);
    if (r == 0)
        r = hold_git(&h, err);
    fd_close(h.lookup.parent);
    if (r == 0)
        r = hold_in_homes(&h, err);
    struct making m = {ws, notes};
    if (r == 0)
        r = placeholder_make(book, made, &m, err);
    if (r < 0)
        placeholder_cancel(book);
    else
        r = placeholder_keep(book, &ws->share_lock, err);
    private->owed = r < 0;
    return r;
}

int protect_tmpfs(struct workspace *ws, const struct spec *spec, uint32_t uid, uint32_t gid,
                  struct err *err)
{
    ws->protect_count = spec->protect_count;
    struct lookup l = {.dir = ws->tree, .parent = -1};
    int r = 0;
    for (uint32_t i = 0; i < spec->protect_count; i++)
        set_path(&ws->protect[i], spec->protect[i].path);
    for (uint32_t i = 0; i < spec->protect_count && r >= 0; i++) {
        struct workspace_protect *p = &ws->protect[i];
        struct stat st;
        if (spec->protect[i].is_default || spec->protect[i].home || spec->workspace.read_only)
            continue;
        r = look_up(&l, p->path, &st);
        int at = strchr(p->path, '/') ? l.parent : l.dir;
        if (r == FOUND_NOTHING && (mkdirat(at, l.name, PLACEHOLDER_DIRECTORY_MODE) < 0 ||
                                   fchownat(at, l.name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0))
            r = -errno;
        p->held = p->directory = r == FOUND_NOTHING || r == FOUND;
        if (r < 0)
            err_set(err, workspace_code(-r), -r, "protect", p->path, NULL);
    }
    fd_close(l.parent);
    return r < 0 ? r : 0;
}

static void report_one(struct lookup *l, const char *path, bool home_only,
                       const struct notes *notes)
{
    struct stat st = {0};
    int found = look_up(l, path, &st);
    if (found != FOUND && found != FOUND_LINK)
        return;
    if (strcmp(path, PROTECT_GIT) == 0 && found == FOUND && S_ISDIR(st.st_mode))
        return; /* what is in it is told by itself */
    if (!home_only)
        notes_add(notes, "protect.appeared",
                  "%s could not be protected and is there now: look at it before using it", path);
    /* A socket is another session's placeholder, or what no shell can read. */
    else if (!S_ISSOCK(st.st_mode))
        notes_add(notes, "protect.appeared",
                  "%s appeared: nothing reads it unless this directory becomes a home directory; "
                  "look at it",
                  path);
}

void protect_report(const struct workspace *ws, const struct notes *notes)
{
    struct lookup l = {.dir = ws->dir, .parent = -1};
    for (uint32_t i = 0; ws->private && ws->dir >= 0 && i < ws->protect_count; i++)
        if (ws->private->watched[i])
            report_one(&l, ws->protect[i].path, ws->private->home_only[i], notes);
    fd_close(l.parent);
}

/* ---- of a session that lasts --------------------------------------------------------------------
 */

#define WATCHED_NAME "watched"

/* What nothing could hold, in the session's place: whoever ends it has nothing else in hand. */
struct watched {
    char magic[8];
    uint64_t dev, ino; /* of the workspace */
    uint32_t count, reserved;
    char path[sizeof((struct workspace_private *)0)->path]; /* of it, on the host */
    struct {
        char path[SPEC_PROTECT_PATH_MAX];
        uint32_t home_only;
    } entries[SPEC_PROTECT_MAX];
};

static const char watched_magic[8] = "berthW1";

int workspace_watch_lasting(const struct workspace *ws, int place, struct err *err)
{
    static struct watched w; /* 30 KiB; one session is made at a time */
    const struct workspace_private *private = ws->private;
    if (!private || ws->dir < 0)
        return 0;
    w.count = 0;
    for (uint32_t i = 0; i < ws->protect_count; i++) {
        if (!private->watched[i])
            continue;
        memset(&w.entries[w.count], 0, sizeof w.entries[0]);
        snprintf(w.entries[w.count].path, SPEC_PROTECT_PATH_MAX, "%s", ws->protect[i].path);
        w.entries[w.count++].home_only = private->home_only[i];
    }
    if (w.count == 0)
        return 0;
    memcpy(w.magic, watched_magic, sizeof w.magic);
    w.dev = private->stat.st_dev;
    w.ino = private->stat.st_ino;
    snprintf(w.path, sizeof w.path, "%s", private->path);
    size_t size = offsetof(struct watched, entries) + w.count * sizeof w.entries[0];
    _cleanup_fd_ int fd =
        openat(place, WATCHED_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    int r = fd < 0 ? -errno : io_write_full(fd, &w, size);
    return r < 0 ? err_set(err, workspace_code(-r), -r, "write down what could not be protected",
                           NULL, NULL)
                 : 0;
}

/* Cut short: its session was never told of. */
static bool read_watched(int place, struct watched *ret)
{
    _cleanup_fd_ int fd = openat(place, WATCHED_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : io_read_full(fd, ret, sizeof *ret);
    size_t least = offsetof(struct watched, entries);
    return n >= (ssize_t)least && memcmp(ret->magic, watched_magic, sizeof ret->magic) == 0 &&
           ret->count <= SPEC_PROTECT_MAX &&
           (size_t)n == least + ret->count * sizeof ret->entries[0];
}

void workspace_report_lasting(int place,
                              void (*note)(void *data, const char *key, const char *text),
                              void *data)
{
    static struct watched w;
    const struct notes notes = {note, data};
    struct stat st;
    if (!note || !read_watched(place, &w))
        return;
    w.path[sizeof w.path - 1] = 0;
    _cleanup_fd_ int dir = pin_openat2(AT_FDCWD, w.path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    /* Moved or removed since: nobody will use it under the name that the session had. */
    if (dir < 0 || fstat(dir, &st) < 0 || st.st_dev != w.dev || st.st_ino != w.ino)
        return;
    struct lookup l = {.dir = dir, .parent = -1};
    for (uint32_t i = 0; i < w.count; i++) {
        w.entries[i].path[SPEC_PROTECT_PATH_MAX - 1] = 0;
        report_one(&l, w.entries[i].path, w.entries[i].home_only, &notes);
    }
    fd_close(l.parent);
}
