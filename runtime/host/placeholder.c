/* This file keeps the records of placeholders and counts who needs them; it never makes or removes
 * one itself (placeholder_make.c, placeholder_remove.c).
 *
 * PRIVILEGED: the launcher's. Namespace: the host's. Should: reach everything beneath the pinned
 * directory by openat2 without symlinks, because a live session may be moving things there.
 * Mustn't: act on a directory without its guard. Callers: workspace*.c.
 *
 * Life of the placeholders of a directory, each step safe against SIGKILL after it:
 *     1. the entries are written, phase MAKING    nothing is there yet
 *     2. one socket is made at a private name     a reaper removes what has such a name
 *     3. its inode is written to every entry      from now on links are known exactly
 *     4. it is renamed to the first name, and linked at the others; phase QUIET
 *     5. phase REMOVING; each name that is still ours is renamed to its private name, looked at
 *        once more, and unlinked there; then the record itself
 *
 * Locks: whoever opens, reads or unlinks a record holds the directory's guard. The shared flock on
 * the record is the count of users, kept by the kernel; an exclusive flock that is granted under
 * the guard proves that nobody else is left. The flock belongs to the open file description, so a
 * reaper forked from the session's process keeps it until both are gone.
 *
 * A session that lasts holds no such flock: its init would need a descriptor of a file that others
 * share. It is counted by its use record (workspace_use.c), which says what directory it is of, and
 * the header says that there may be one to look for.
 *
 * The record is written with pwrite, entries first and then the header whose count covers them.
 * It needs no fsync: after a reboot no session lives, and what is left of a lost record are sockets
 * that nobody listens on.
 */
#include "runtime/host/placeholder.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/placeholder_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/syscall.h>

static const char record_magic[8] = "berthP2";
#define PRIVATE_FORMAT ".berth-%016" PRIx64 "-" /* then the number of the entry */
static const uint64_t beneath = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;

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

int placeholder_save(struct placeholder_book *b, uint32_t first)
{
    int r = 0;
    if (first < b->head.count)
        r = write_at(b->record, &b->entries[first], (b->head.count - first) * sizeof(struct entry),
                     entry_offset(first));
    return r == 0 ? write_at(b->record, &b->head, offsetof(struct header, path), 0) : r;
}

/* Killed before the header was first written: nothing was made. (Entries are written before it, so
 * the file may have a hole in its place.) */
static int start_record(struct placeholder_book *b)
{
    if (getrandom(&b->head.token, sizeof b->head.token, 0) != (ssize_t)sizeof b->head.token)
        return -errno;
    return write_at(b->record, b->head.path, strlen(b->head.path) + 1,
                    offsetof(struct header, path));
}

static bool header_is_good(const struct header *head, ssize_t size)
{
    return size > (ssize_t)offsetof(struct header, path) &&
           memcmp(head->magic, record_magic, sizeof record_magic) == 0 &&
           head->count <= PLACEHOLDER_MAX && head->phase <= PHASE_REMOVING &&
           memchr(head->path, 0, sizeof head->path);
}

/* Read a record into the book; a torn or foreign one is -EBADMSG. */
static int load(struct placeholder_book *b)
{
    struct header head = {0};
    ssize_t n = pread(b->record, &head, sizeof head, 0);
    if (n < 0)
        return -errno;
    static const char blank[sizeof head.magic];
    if (n == 0 || memcmp(head.magic, blank, sizeof blank) == 0)
        return start_record(b);
    if (!header_is_good(&head, n) || head.dev != b->head.dev || head.ino != b->head.ino)
        return -EBADMSG;
    size_t size = head.count * sizeof(struct entry);
    n = pread(b->record, b->entries, size, entry_offset(0));
    if (n != (ssize_t)size)
        return n < 0 ? -errno : -EBADMSG;
    for (uint32_t i = 0; i < head.count; i++)
        if (!memchr(b->entries[i].path, 0, sizeof b->entries[i].path))
            return -EBADMSG;
    b->head = head;
    return 0;
}

/* 0 with a locked record that is not loaded yet, 1 when there is none, or -errno. */
static int lock_record(struct placeholder_book *b, bool create, struct err *err)
{
    int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC | (create ? O_CREAT : 0);
    _cleanup_fd_ int fd = openat(b->share, b->name, flags, 0600);
    if (fd < 0 && errno == ENOENT && !create)
        return 1;
    if (fd < 0)
        return err_set(err, workspace_code(errno), errno, "open the record of placeholders",
                       b->name, NULL);
    /* Under the guard nobody holds it exclusively, so this never waits. */
    if (flock(fd, LOCK_SH | LOCK_NB) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "lock the record of placeholders", b->name,
                       NULL);
    b->record = take_fd(&fd);
    return 0;
}

/* A record that is damaged or another version's, whose sessions are all gone, stands in nobody's
 * way. Placeholders that it knew are sockets without a listener, or empty directories. */
static int discard_record(struct placeholder_book *b, struct err *err)
{
    if (flock(b->record, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_UNAVAILABLE, EBADMSG, "read the record of placeholders", b->name,
                       "It is damaged, or of another version of berth, and a session that uses the "
                       "directory holds it: `fuser` on that file in berth's directory of locks "
                       "shows its process. End it, or use another directory.");
    if (unlinkat(b->share, b->name, 0) < 0)
        return err_set(err, workspace_code(errno), errno, "remove the record of placeholders",
                       b->name, "It is damaged, or of another version of berth.");
    fd_closep(&b->record);
    notes_add(b->notes, "protect.record_removed",
              "a record of placeholders in %s was damaged or another version's and is gone; "
              "what it knew may be left: `find . -perm 0444 -type s` there lists it",
              b->head.path);
    return 0;
}

static int open_record(struct placeholder_book *b, bool create, struct err *err)
{
    for (;;) {
        int r = lock_record(b, create, err);
        if (r != 0)
            return r < 0 ? r : 0;
        r = load(b);
        if (r == -EBADMSG) {
            r = discard_record(b, err);
            if (r < 0)
                return r;
            continue; /* with none, or with a new one */
        }
        return r < 0 ? err_set(err, workspace_code(-r), -r, "read the record of placeholders",
                               b->name, NULL)
                     : 0;
    }
}

/* One book is open at a time, nearly always: it has a place of its own, whose pages are touched
 * once and given back with the process. */
static struct placeholder_book first_book;
static bool first_book_taken;

static struct placeholder_book *book_new(void)
{
    if (first_book_taken)
        return malloc(sizeof(struct placeholder_book));
    first_book_taken = true;
    return &first_book;
}

static void book_free(struct placeholder_book *b)
{
    fd_close(b->record);
    fd_close(b->guard);
    fd_close(b->parent);
    if (b == &first_book)
        first_book_taken = false;
    else
        free(b);
}

/* A locked guard and the record, if there is one. */
static int book_open(int share, int dir, uint64_t dev, uint64_t ino, const char *host_path,
                     bool wait, const struct notes *notes, struct placeholder_book **ret,
                     struct err *err)
{
    struct placeholder_book *b = book_new(); /* 80 KiB: not cleared whole */
    if (!b)
        return err_raw(err, ERR_INTERNAL, ENOMEM, "hold missing paths", NULL);
    memset(b, 0, offsetof(struct placeholder_book, entries));
    b->share = share;
    b->dir = dir;
    b->notes = notes;
    b->guard = b->record = b->parent = b->source = -1;
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

/* Who wrote the record last died in the middle: finish that first. */
static int settle(struct placeholder_book *b, struct err *err)
{
    if (b->head.phase == PHASE_QUIET)
        return 0;
    const char *path = NULL;
    int r = placeholder_sweep(b, &path);
    b->head.phase = PHASE_QUIET;
    if (r == 0)
        r = placeholder_save(b, b->head.count);
    if (r < 0)
        err_set(err, workspace_code(-r), -r, "clean up after a session that was killed", path,
                "A file beside it whose name begins with \".berth-\" is left.");
    return r;
}

int placeholder_begin(int share, int dir, const struct stat *st, const char *host_path,
                      const struct asker *owner, const char *use, const struct notes *notes,
                      struct placeholder_book **ret, struct err *err)
{
    struct placeholder_book *b = NULL;
    int r = book_open(share, dir, st->st_dev, st->st_ino, host_path, true, notes, &b, err);
    if (r < 0)
        return r;
    b->owner = owner;
    b->use = use;
    r = settle(b, err);
    if (r < 0)
        book_free(b);
    else
        *ret = b;
    return r;
}

static struct entry *find_path(struct placeholder_book *b, const char *path)
{
    for (uint32_t i = 0; i < b->head.count; i++)
        if (strcmp(b->entries[i].path, path) == 0)
            return &b->entries[i];
    return NULL;
}

/* A socket is known by its inode alone: it has no content that could be somebody's, and bind(2)
 * always makes an inode of its own. A directory is not known by its inode's number, because FAT
 * gives another one each time that it reads the directory; rmdir(2) spares what is not empty. */
bool placeholder_is(const struct entry *e, const struct stat *st)
{
    switch (e->state) {
    case ENTRY_LINK:
        return S_ISSOCK(st->st_mode) && st->st_dev == e->dev && st->st_ino == e->ino;
    case ENTRY_DIRECTORY_INTENT:
        return S_ISDIR(st->st_mode);
    case ENTRY_DIRECTORY:
        return st->st_mode == e->mode && st->st_uid == e->uid && st->st_dev == e->dev &&
               st->st_mtim.tv_sec == e->mtime_sec && st->st_mtim.tv_nsec == (long)e->mtime_nsec;
    default:
        return false;
    }
}

bool placeholder_find(struct placeholder_book *b, const char *path, const struct stat *st)
{
    const struct entry *e = find_path(b, path);
    if (!e || !placeholder_is(e, st))
        return false;
    if (e->state == ENTRY_LINK)
        b->source = (int32_t)(e - b->entries);
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
    snprintf(e->path, sizeof e->path, "%s", path);
    b->tags[b->pending] = tag;
    b->index[b->pending++] = (uint32_t)(e - b->entries);
    return 0;
}

bool placeholder_parent_is_open(const struct placeholder_book *b, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    return !slash ||
           (b->parent >= 0 && strlen(b->parent_path) == n && strncmp(b->parent_path, path, n) == 0);
}

int placeholder_parent(struct placeholder_book *b, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    if (!slash)
        return b->dir;
    if (placeholder_parent_is_open(b, path))
        return b->parent;
    size_t n = (size_t)(slash - path);
    memcpy(b->parent_path, path, n);
    b->parent_path[n] = 0;
    fd_replace(&b->parent,
               pin_openat2(b->dir, b->parent_path, O_PATH | O_DIRECTORY | O_NOFOLLOW, beneath));
    return b->parent;
}

void placeholder_private_name(const struct placeholder_book *b, const struct entry *e,
                              char ret[PLACEHOLDER_PRIVATE_MAX])
{
    int n = snprintf(ret, PLACEHOLDER_PRIVATE_MAX, PRIVATE_FORMAT, b->head.token);
    snprintf(ret + n, PLACEHOLDER_PRIVATE_MAX - (size_t)n, "%u", (unsigned)(e - b->entries));
}

int placeholder_move(int parent, const char *from, const char *to)
{
    /* By number: musl 1.2.4 has no renameat2(). */
    return syscall(SYS_renameat2, parent, from, parent, to, RENAME_NOREPLACE) < 0 ? -errno : 0;
}

int placeholder_make(struct placeholder_book *b,
                     void (*made)(void *data, unsigned tag, enum placeholder_fate fate), void *data,
                     struct err *err)
{
    enum placeholder_fate fates[PLACEHOLDER_MAX];
    if (b->pending == 0)
        return 0;
    int r = b->record >= 0 ? 0 : open_record(b, true, err);
    if (r < 0)
        return r;
    r = placeholder_make_pending(b, fates, err);
    for (uint32_t i = 0; r == 0 && i < b->pending; i++) {
        b->relied |= fates[i] == PLACEHOLDER_MADE || fates[i] == PLACEHOLDER_MADE_DIRECTORY;
        made(data, b->tags[i], fates[i]);
    }
    b->pending = 0;
    return r;
}

/* The guard and a shared flock are held. 1: nobody but this one needs what the record knows; 0:
 * somebody does, or there is no record. Only a lock that is held says that somebody is there: that
 * a lock could not be had for another reason says nothing, and is an error. */
static int is_alone(struct placeholder_book *b, struct err *err)
{
    if (b->record < 0)
        return 0;
    if (flock(b->record, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? 0
                                    : err_set(err, workspace_code(errno), errno,
                                              "lock the record of placeholders", b->name, NULL);
    int r = b->head.lasting ? use_lasts(b->share, b->head.dev, b->head.ino, b->use, err) : 0;
    return r < 0 ? r : r == 0;
}

/* Where others are left it is theirs to clean up. */
static int take_out_of_sight(struct placeholder_book *b, struct err *err)
{
    int r = is_alone(b, err);
    if (r <= 0)
        return r;
    const char *path = NULL;
    r = settle(b, err);
    if (r < 0)
        return r;
    b->ours = true;
    r = placeholder_move_all(b, &path);
    if (r == 0)
        return 0;
    b->ours = false; /* the record stays as it is, and the next reap tries again */
    return err_set(err, workspace_code(-r), -r, "move a placeholder away", path, NULL);
}

/* Gives up the locks. */
static int remove_for_good(struct placeholder_book *b, struct err *err)
{
    if (!b->ours)
        return 0;
    const char *path = NULL;
    int r = placeholder_clear_all(b, &path);
    if (r < 0) /* the record stays: the next reap tries again */
        return err_set(err, workspace_code(-r), -r, "remove a placeholder", path,
                       "It is a socket without a listener, or an empty directory, that berth "
                       "made.");
    if (unlinkat(b->share, b->name, 0) < 0)
        return err_set(err, workspace_code(errno), errno, "remove the record of placeholders",
                       b->name, NULL);
    return 0;
}

static int release_locked(struct placeholder_book *b, struct err *err)
{
    int r = take_out_of_sight(b, err);
    return r < 0 ? r : remove_for_good(b, err);
}

int placeholder_keep(struct placeholder_book *b, int *ret_record, struct err *err)
{
    if (!b->relied) {
        release_locked(b, NULL);
        book_free(b);
        *ret_record = -1;
        return 0;
    }
    int r = 0;
    if (b->use && !b->head.lasting) {
        b->head.lasting = 1;
        r = placeholder_save(b, b->head.count);
    }
    if (r < 0) {
        err_set(err, workspace_code(-r), -r, "write the record of placeholders", b->name, NULL);
        release_locked(b, NULL);
    } else {
        *ret_record = take_fd(&b->record);
    }
    book_free(b);
    return r;
}

void placeholder_cancel(struct placeholder_book *b)
{
    if (!b)
        return;
    release_locked(b, NULL);
    book_free(b);
}

int placeholder_release_begin(int share, int dir, const struct stat *st, int record,
                              const char *use, const struct notes *notes,
                              struct placeholder_book **ret, struct err *err)
{
    *ret = NULL;
    if (record < 0)
        return 0;
    struct placeholder_book *b = NULL;
    int r = book_open(share, dir, st->st_dev, st->st_ino, "", true, notes, &b, err);
    /* Unlocked and not only closed: a forked copy of the descriptor must not count as a user. */
    flock(record, LOCK_UN);
    close(record);
    if (r < 0 || !b)
        return r;
    b->use = use;
    *ret = b;
    return take_out_of_sight(b, err);
}

int placeholder_release_end(struct placeholder_book *b, struct err *err)
{
    if (!b)
        return 0;
    int r = remove_for_good(b, err);
    book_free(b);
    return r;
}

/* The path no longer leads there: renamed, removed, or closed to us since. Anything else (no
 * descriptor, no memory, a disk that fails) says nothing about what is there. */
bool placeholder_is_away(int r)
{
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP || r == -EXDEV || r == -EACCES ||
           r == -ESTALE;
}

/* Without the directory itself, by the path in its record. The guard is held. */
static int release_by_path(struct placeholder_book *b, struct err *err)
{
    struct stat st;
    int r = is_alone(b, err);
    if (r <= 0)
        return r;
    _cleanup_fd_ int dir =
        pin_openat2(AT_FDCWD, b->head.path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    r = dir < 0 ? dir : fstat(dir, &st) < 0 ? -errno : 0;
    if (r < 0 && !placeholder_is_away(r))
        return err_set(err, workspace_code(-r), -r, "open the workspace to clean up", b->head.path,
                       "What a dead session has left in it stays until it answers: mend it, or "
                       "unmount it.");
    /* What is left there are sockets that nobody can find by a name that is known here. */
    if (r < 0 || st.st_dev != b->head.dev || st.st_ino != b->head.ino) {
        if (b->head.count > 0)
            notes_add(b->notes, "protect.left",
                      "%s is not where it was: placeholders may be left in it; "
                      "`find . -perm 0444 -type s` there lists them",
                      b->head.path);
        b->head.count = 0;
    }
    b->dir = dir;
    return release_locked(b, err);
}

int placeholder_end(int share, uint64_t dev, uint64_t ino, const char *use,
                    const struct notes *notes, struct err *err)
{
    struct placeholder_book *b = NULL;
    struct stat st;
    char name[64];
    record_name(dev, ino, name);
    /* Those of this session were made when its use was written, and it is dead: none comes now. */
    if (fstatat(share, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    int r = book_open(share, -1, dev, ino, "", true, notes, &b, err);
    if (r < 0)
        return r;
    b->use = use;
    r = release_by_path(b, err);
    book_free(b);
    return r;
}

int placeholder_reap_one(int share, uint64_t dev, uint64_t ino, bool *ret_ours)
{
    struct placeholder_book *b = NULL;
    int r = book_open(share, -1, dev, ino, "", false, NULL, &b, NULL);
    if (r < 0)
        return r;
    r = release_by_path(b, NULL);
    *ret_ours = r == 0 && b->ours;
    book_free(b);
    return r;
}

struct question {
    const char *name;
    const struct stat *st;
};

static bool visit_to_ask(int share, const char *record, void *data)
{
    const struct question *q = data;
    struct header head = {0};
    struct entry e;
    char private_name[PLACEHOLDER_PRIVATE_MAX];
    _cleanup_fd_ int fd = openat(share, record, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || !header_is_good(&head, pread(fd, &head, sizeof head, 0)))
        return false;
    int length = snprintf(private_name, sizeof private_name, PRIVATE_FORMAT, head.token);
    if (strncmp(q->name, private_name, (size_t)length) == 0)
        return true;
    for (uint32_t i = 0; i < head.count; i++)
        if (pread(fd, &e, sizeof e, entry_offset(i)) == (ssize_t)sizeof e &&
            e.state == ENTRY_LINK && placeholder_is(&e, q->st))
            return true;
    return false;
}

bool placeholder_known(const char *share_dir, const char *name, const struct stat *st)
{
    _cleanup_fd_ int share = -1;
    struct question q = {name, st};
    return S_ISSOCK(st->st_mode) && (st->st_mode & 07777) == PLACEHOLDER_MODE &&
           share_open(share_dir, &share, NULL) == 0 &&
           placeholder_each(share, visit_to_ask, &q) == 1;
}
