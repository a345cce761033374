/* This file keeps the records of placeholders and makes and removes them; it never removes anything
 * that changed since berth made it.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's. Should: reach everything beneath the pinned
 * directory by openat2 without symlinks, because a live session may be moving things there.
 * Mustn't: remove recursively, follow a link, unlink a file. Callers: workspace.c.
 *
 * Life of a placeholder, each step safe against SIGKILL after it:
 *     1. an entry INTENT is written to the record      a reaper finds no directory, or one that is
 *                                                      empty and of our mode and owner: removed
 *     2. mkdirat, with the owner's own rights
 *     3. the entry becomes MADE with inode and mtime   a reaper removes that inode if untouched
 *     4. the last holder of the record: rmdir, then the record itself is unlinked
 *
 * Locks: whoever opens, reads or unlinks a record holds the directory's guard. The shared flock on
 * the record is the count of users, kept by the kernel; an exclusive flock that is granted under
 * the guard proves that nobody else is left. The flock belongs to the open file description, so a
 * reaper forked from the session's process keeps it until both are gone.
 *
 * The record is written with pwrite, entries first and then the header whose count covers them.
 * It needs no fsync: after a reboot no session lives, and what is left of a lost record is an empty
 * directory.
 */
#include "runtime/host/placeholder.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

static const char record_magic[8] = "berthP1";
static const uint64_t beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;

enum { ENTRY_INTENT = 1, ENTRY_MADE = 2 };

struct header {
    char magic[8];
    uint64_t dev, ino;
    uint32_t count, reserved;
    char path[4096]; /* of the directory on the host, for the reaper */
};

struct entry {
    uint64_t dev, ino;
    int64_t mtime_sec;
    uint32_t mtime_nsec;
    uint32_t state;
    uint32_t owner, reserved;
    char path[SPEC_PROTECT_PATH_MAX];
};

struct placeholder_book {
    int share, dir, guard, record;
    bool relied; /* this session needs the record kept */
    char name[64];
    const struct asker *owner;
    struct header head;
    uint32_t pending;
    unsigned tags[PLACEHOLDER_MAX];
    uint32_t index[PLACEHOLDER_MAX]; /* of the pending ones in entries */
    struct entry entries[PLACEHOLDER_MAX];
};

static void record_name(uint64_t dev, uint64_t ino, char ret[64])
{
    snprintf(ret, 64, "place-%" PRIx64 "-%" PRIx64, dev, ino);
}

static off_t entry_offset(uint32_t i)
{
    return (off_t)(sizeof(struct header) + i * sizeof(struct entry));
}

static int write_at(int fd, const void *data, size_t size, off_t at)
{
    ssize_t n = pwrite(fd, data, size, at);
    return n == (ssize_t)size ? 0 : n < 0 ? -errno : -ENOSPC;
}

/* Read a record into the book; a torn or foreign one is -EBADMSG. */
static int load(struct placeholder_book *b)
{
    struct header head = {0};
    ssize_t n = pread(b->record, &head, sizeof head, 0);
    if (n < 0)
        return -errno;
    /* Killed before the header was first written: nothing was made. (Entries are written before it,
     * so the file may have a hole in its place.) */
    static const char blank[sizeof head.magic];
    if (n == 0 || memcmp(head.magic, blank, sizeof blank) == 0)
        return 0;
    if (n != (ssize_t)sizeof head || memcmp(head.magic, record_magic, sizeof record_magic) != 0 ||
        head.dev != b->head.dev || head.ino != b->head.ino || head.count > PLACEHOLDER_MAX ||
        !memchr(head.path, 0, sizeof head.path))
        return -EBADMSG;
    size_t size = head.count * sizeof(struct entry);
    n = pread(b->record, b->entries, size, entry_offset(0));
    if (n != (ssize_t)size)
        return n < 0 ? -errno : -EBADMSG;
    for (uint32_t i = 0; i < head.count; i++)
        if (!memchr(b->entries[i].path, 0, sizeof b->entries[i].path))
            return -EBADMSG;
    b->head.count = head.count;
    return 0;
}

static int open_record(struct placeholder_book *b, bool create, struct err *err)
{
    int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT : 0);
    _cleanup_fd_ int fd = openat(b->share, b->name, flags, 0600);
    if (fd < 0 && errno == ENOENT && !create)
        return 0;
    if (fd < 0)
        return err_set(err, workspace_code(errno), errno, "open the record of placeholders",
                       b->name, NULL);
    /* Under the guard nobody holds it exclusively, so this never waits. */
    if (flock(fd, LOCK_SH | LOCK_NB) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "lock the record of placeholders", b->name,
                       NULL);
    b->record = take_fd(&fd);
    int r = load(b);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "read the record of placeholders", b->name,
                       "It is damaged. When no session uses the directory, remove that file from "
                       "berth's shared directory.");
    return 0;
}

static void book_free(struct placeholder_book *b)
{
    fd_close(b->record);
    fd_close(b->guard);
    free(b);
}

/* A locked guard and the record, if there is one. */
static int book_open(int share, int dir, uint64_t dev, uint64_t ino, const char *host_path,
                     bool wait, struct placeholder_book **ret, struct err *err)
{
    struct placeholder_book *b = malloc(sizeof *b); /* 80 KiB: not cleared whole */
    if (!b)
        return err_raw(err, ERR_INTERNAL, ENOMEM, "hold missing paths", NULL);
    memset(b, 0, offsetof(struct placeholder_book, entries));
    b->share = share;
    b->dir = dir;
    b->guard = b->record = -1;
    memcpy(b->head.magic, record_magic, sizeof record_magic);
    b->head.dev = dev;
    b->head.ino = ino;
    snprintf(b->head.path, sizeof b->head.path, "%s", host_path);
    record_name(dev, ino, b->name);
    int r = share_guard(share, share_directory_key(dev, ino), wait, &b->guard, err);
    if (r == 0)
        r = open_record(b, false, err);
    if (r < 0) {
        book_free(b);
        return r;
    }
    *ret = b;
    return 0;
}

int placeholder_begin(int share, int dir, const struct stat *st, const char *host_path,
                      const struct asker *owner, struct placeholder_book **ret, struct err *err)
{
    int r = book_open(share, dir, st->st_dev, st->st_ino, host_path, true, ret, err);
    if (r == 0)
        (*ret)->owner = owner;
    return r;
}

static struct entry *find_path(struct placeholder_book *b, const char *path)
{
    for (uint32_t i = 0; i < b->head.count; i++)
        if (strcmp(b->entries[i].path, path) == 0)
            return &b->entries[i];
    return NULL;
}

/* Still exactly what was made? An INTENT whose second half was lost is known by its shape. */
static bool untouched(const struct entry *e, const struct stat *st)
{
    if (!S_ISDIR(st->st_mode) || (st->st_mode & 07777) != PLACEHOLDER_MODE ||
        st->st_uid != e->owner)
        return false;
    if (e->state == ENTRY_INTENT)
        return true;
    return st->st_dev == e->dev && st->st_ino == e->ino && st->st_mtim.tv_sec == e->mtime_sec &&
           st->st_mtim.tv_nsec == (long)e->mtime_nsec;
}

bool placeholder_find(struct placeholder_book *b, const char *path, const struct stat *st)
{
    const struct entry *e = find_path(b, path);
    if (!e || !untouched(e, st))
        return false;
    b->relied = true;
    return true;
}

int placeholder_add(struct placeholder_book *b, const char *path, unsigned tag, struct err *err)
{
    struct entry *e = find_path(b, path);
    if (!e) {
        if (b->head.count == PLACEHOLDER_MAX)
            return err_set(err, ERR_INVALID_REQUEST, ENOSPC, "hold a missing path", path,
                           "The sessions that use this directory hold %d missing paths already.",
                           PLACEHOLDER_MAX);
        e = &b->entries[b->head.count++];
    }
    memset(e, 0, sizeof *e);
    e->state = ENTRY_INTENT;
    e->owner = b->owner ? b->owner->uid : geteuid();
    snprintf(e->path, sizeof e->path, "%s", path);
    b->tags[b->pending] = tag;
    b->index[b->pending++] = (uint32_t)(e - b->entries);
    return 0;
}

/* The directory that holds `path`; *ret_name points into `path`. -errno. */
static int open_parent(int dir, const char *path, const char **ret_name)
{
    char parent[SPEC_PROTECT_PATH_MAX];
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    if (!slash)
        return fcntl(dir, F_DUPFD_CLOEXEC, 0);
    snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    return pin_openat2(dir, parent, O_PATH | O_DIRECTORY | O_NOFOLLOW, beneath);
}

static int save(struct placeholder_book *b, struct err *err)
{
    int r = 0;
    for (uint32_t i = 0; r == 0 && i < b->pending; i++) {
        uint32_t at = b->index[i], run = 1;
        while (i + run < b->pending && b->index[i + run] == at + run)
            run++;
        r = write_at(b->record, &b->entries[at], run * sizeof(struct entry), entry_offset(at));
        i += run - 1;
    }
    if (r == 0)
        r = write_at(b->record, &b->head, sizeof b->head, 0);
    if (r < 0)
        return err_set(err, workspace_code(-r), -r, "write the record of placeholders", b->name,
                       NULL);
    return 0;
}

/* With the owner's rights where they suffice, which also keeps quotas honest; with berth's where
 * the directory is the owner's but not writable: he could make it writable from inside. */
static int make_one(struct placeholder_book *b, struct entry *e)
{
    const char *name;
    struct stat st;
    _cleanup_fd_ int parent = open_parent(b->dir, e->path, &name);
    if (parent < 0 || fstat(parent, &st) < 0)
        return parent < 0 ? parent : -errno;
    struct asker_saved saved;
    int r = asker_become(b->owner, &saved, NULL);
    if (r < 0)
        return r;
    int made = mkdirat(parent, name, PLACEHOLDER_MODE) < 0 ? -errno : 0;
    r = asker_restore(&saved, NULL);
    if (r < 0)
        return r;
    if (made == -EACCES && b->owner && st.st_uid == b->owner->uid) {
        made = mkdirat(parent, name, PLACEHOLDER_MODE) < 0 ? -errno : 0;
        if (made == 0 &&
            fchownat(parent, name, b->owner->uid, b->owner->gid, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
    } else if (made == -EACCES || made == -EROFS) {
        return PLACEHOLDER_NOT_NEEDED;
    }
    if (made == -EEXIST)
        return PLACEHOLDER_EXISTS;
    if (made < 0 || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return made < 0 ? made : -errno;
    e->dev = st.st_dev;
    e->ino = st.st_ino;
    e->mtime_sec = st.st_mtim.tv_sec;
    e->mtime_nsec = (uint32_t)st.st_mtim.tv_nsec;
    e->state = ENTRY_MADE;
    return PLACEHOLDER_MADE;
}

/* An entry that stands for nothing of ours: no state matches it, so no one is removed for it. */
static void forget(struct entry *e)
{
    e->state = ENTRY_MADE;
    e->dev = e->ino = 0;
}

int placeholder_make(struct placeholder_book *b,
                     void (*made)(void *data, unsigned tag, enum placeholder_fate fate), void *data,
                     struct err *err)
{
    if (b->pending == 0)
        return 0;
    int r = b->record >= 0 ? 0 : open_record(b, true, err);
    if (r == 0)
        r = save(b, err);
    if (r < 0)
        return r;
    mode_t mask = umask(0); /* of the process, which has one thread */
    for (uint32_t i = 0; r >= 0 && i < b->pending; i++) {
        struct entry *e = &b->entries[b->index[i]];
        r = make_one(b, e);
        if (r < 0)
            err_set(err, workspace_code(-r), -r, "hold a missing path", e->path,
                    "An empty directory could not be made in its place.");
        if (r != PLACEHOLDER_MADE)
            forget(e);
        b->relied |= r == PLACEHOLDER_MADE;
        if (r > 0)
            made(data, b->tags[i], (enum placeholder_fate)r);
    }
    umask(mask);
    int saved = save(b, r < 0 ? NULL : err); /* also when one failed: those before it are there */
    b->pending = 0;
    return r < 0 ? r : saved;
}

/* 0: gone, or not ours to remove. -errno: ours, and it cannot be removed now. */
static int remove_one(int dir, const struct entry *e)
{
    const char *name;
    struct stat st;
    _cleanup_fd_ int parent = open_parent(dir, e->path, &name);
    if (parent < 0 || fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !untouched(e, &st))
        return 0;
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT || errno == ENOTEMPTY ||
        errno == EEXIST || errno == ENOTDIR)
        return 0;
    return -errno;
}

/* The guard and a shared flock are held. Gives both up. */
static int release_locked(struct placeholder_book *b, struct err *err)
{
    if (b->record < 0 || flock(b->record, LOCK_EX | LOCK_NB) < 0)
        return 0; /* others are left: it is theirs to clean up */
    for (uint32_t i = 0; i < b->head.count; i++) {
        int r = remove_one(b->dir, &b->entries[i]);
        if (r < 0) /* the record stays: the next reap tries again */
            return err_set(err, workspace_code(-r), -r, "remove a placeholder", b->entries[i].path,
                           "It is an empty directory that berth made.");
    }
    if (unlinkat(b->share, b->name, 0) < 0)
        return err_set(err, workspace_code(errno), errno, "remove the record of placeholders",
                       b->name, NULL);
    return 0;
}

int placeholder_keep(struct placeholder_book *b)
{
    int record = -1;
    if (b->relied)
        record = take_fd(&b->record);
    else
        release_locked(b, NULL);
    book_free(b);
    return record;
}

void placeholder_cancel(struct placeholder_book *b)
{
    if (!b)
        return;
    release_locked(b, NULL);
    book_free(b);
}

int placeholder_release(int share, int dir, const struct stat *st, int record, struct err *err)
{
    if (record < 0)
        return 0;
    struct placeholder_book *b = NULL;
    int r = book_open(share, dir, st->st_dev, st->st_ino, "", true, &b, err);
    /* Unlocked and not only closed: a forked copy of the descriptor must not count as a user. */
    flock(record, LOCK_UN);
    close(record);
    if (r < 0 || !b)
        return r;
    r = release_locked(b, err);
    book_free(b);
    return r;
}

static void reap_one(int share, const char *name, unsigned *count)
{
    unsigned long long dev, ino;
    struct placeholder_book *b = NULL;
    if (sscanf(name, "place-%llx-%llx", &dev, &ino) != 2)
        return;
    /* Who holds the guard is at work on this very directory: the next reap comes. */
    if (book_open(share, -1, dev, ino, "", false, &b, NULL) < 0 || !b)
        return;
    struct header head;
    if (b->record >= 0 && flock(b->record, LOCK_EX | LOCK_NB) == 0) {
        _cleanup_fd_ int dir = -1;
        struct stat st;
        bool known = pread(b->record, &head, sizeof head, 0) == (ssize_t)sizeof head;
        if (known)
            dir = pin_openat2(AT_FDCWD, head.path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
        /* Moved or deleted since: what is left there is an empty directory that nobody can find. */
        if (dir >= 0 && (fstat(dir, &st) < 0 || st.st_dev != dev || st.st_ino != ino))
            b->head.count = 0;
        if (dir < 0)
            b->head.count = 0;
        b->dir = dir;
        if (release_locked(b, NULL) == 0)
            ++*count;
    }
    book_free(b);
}

int placeholder_reap(int share, unsigned *count, struct err *err)
{
    _cleanup_fd_ int fd = openat(share, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "list", "share directory", NULL);
    DIR *list = fdopendir(fd);
    if (!list)
        return err_set(err, ERR_UNAVAILABLE, errno, "list", "share directory", NULL);
    (void)take_fd(&fd); /* the list's now */
    const struct dirent *e;
    while ((e = readdir(list)))
        if (strncmp(e->d_name, "place-", 6) == 0)
            reap_one(share, e->d_name, count);
    closedir(list);
    return 0;
}
