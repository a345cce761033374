/* This file makes placeholders; it never replaces anything that is there.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's. Should: make as the owner, which keeps
 * quotas honest; record before making. Mustn't: follow a link, open what it did not make, change
 * anything by a name (the owner of the directory may have put something else there). Callers:
 * placeholder.c.
 *
 * Why one inode and links: allocating an inode costs ext4 tens of microseconds, and milliseconds
 * when many were freed within the last five seconds (recently_deleted() in fs/ext4/ialloc.c steps
 * over each); a link costs four. The links are made from a descriptor, not from a name, so that a
 * name which the host replaces in between is never linked elsewhere. linkat(2) of a descriptor by
 * AT_EMPTY_PATH needs CAP_DAC_READ_SEARCH (or Linux 6.10); by /proc/self/fd it needs nothing.
 */
#include "runtime/base/fd.h"
#include "runtime/host/placeholder_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct maker {
    struct placeholder_book *b;
    uint32_t next; /* the pending one at work */
    struct asker_saved saved;
    bool lent;
    int descriptors; /* /proc/self/fd */
    int source;      /* O_PATH of the socket to link; -1 */
};

static int lend(struct maker *m)
{
    int r = m->lent ? 0 : asker_become(m->b->owner, &m->saved, NULL);
    m->lent = r == 0;
    return r;
}

static int take_back(struct maker *m)
{
    int r = m->lent ? asker_restore(&m->saved, NULL) : 0;
    m->lent = false;
    return r;
}

/* What links of `st` are known by, in every entry that is yet to be made. */
static void identify(struct maker *m, const struct stat *st)
{
    for (uint32_t i = m->next; i < m->b->pending; i++) {
        struct entry *e = &m->b->entries[m->b->index[i]];
        e->dev = st->st_dev;
        e->ino = st->st_ino;
        e->state = ENTRY_LINK;
    }
}

static void unidentify(struct maker *m)
{
    for (uint32_t i = m->next; i < m->b->pending; i++)
        m->b->entries[m->b->index[i]].state = ENTRY_INTENT;
}

/* The socket of the sessions before this one, if one of its names is still there. */
static void find_source(struct maker *m)
{
    struct placeholder_book *b = m->b;
    const char *name;
    struct stat st;
    if (b->source < 0)
        return;
    const struct entry *e = &b->entries[b->source];
    int parent = placeholder_parent(b, e->path, &name);
    if (parent < 0)
        return;
    _cleanup_fd_ int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !placeholder_is(e, &st))
        return;
    identify(m, &st);
    m->source = take_fd(&fd);
}

/* Errors that say "not on this filesystem" or "not at this name", and not "something is wrong". */
static bool is_unsupported(int r)
{
    return r == -EPERM || r == -EOPNOTSUPP || r == -ENOSYS || r == -EINVAL || r == -EMLINK ||
           r == -EXDEV;
}

/* Filesystems that give everything to one user (FAT, NFS with all_squash) give what is made to him
 * who has the directory. */
static bool is_makers(const struct maker *m, int parent, uid_t uid)
{
    struct stat st;
    return uid == (m->b->owner ? m->b->owner->uid : geteuid()) ||
           (fstat(parent, &st) == 0 && st.st_uid == uid);
}

/* What was made at a name a moment ago, proven before it is relied on: the owner may rename in his
 * directory whenever he likes. Nothing is ever given to anybody by a name: see asker_override(). */
static int open_made(const struct maker *m, int parent, const char *name, mode_t type, int *ret_fd,
                     struct stat *ret_st)
{
    struct stat st;
    _cleanup_fd_ int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if ((st.st_mode & S_IFMT) != type || !is_makers(m, parent, st.st_uid) ||
        (type == S_IFSOCK && (st.st_nlink != 1 || st.st_size != 0)))
        return -ESTALE;
    *ret_st = st;
    *ret_fd = take_fd(&fd);
    return 0;
}

static int drop_source(struct maker *m, int parent, const char *private_name, int r)
{
    unlinkat(parent, private_name, 0);
    fd_closep(&m->source);
    unidentify(m);
    return r;
}

/* The socket itself, made at a private name and moved to its own. The move also proves that this
 * filesystem has RENAME_NOREPLACE, which removing needs (NFS has not). */
static int make_source(struct maker *m, struct entry *e, int parent, const char *name)
{
    char private_name[PLACEHOLDER_PRIVATE_MAX];
    struct stat st;
    placeholder_private_name(m->b, e, private_name);
    if (mknodat(parent, private_name, S_IFSOCK | PLACEHOLDER_MODE, 0) < 0)
        return -errno;
    int r = open_made(m, parent, private_name, S_IFSOCK, &m->source, &st);
    if (r == -ESTALE) /* somebody's: it stays where he put it */
        return r;
    if (r < 0)
        return drop_source(m, parent, private_name, r);
    identify(m, &st);
    r = placeholder_save(m->b, 0);
    if (r == 0)
        r = placeholder_move(parent, private_name, name);
    return r < 0 ? drop_source(m, parent, private_name, r) : 0;
}

static int make_link(struct maker *m, struct entry *e, int parent, const char *name)
{
    struct stat st;
    if (m->source >= 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", m->source);
        if (linkat(m->descriptors, number, parent, name, AT_SYMLINK_FOLLOW) == 0)
            return 0;
        /* The host removed every name of it: an inode without one cannot be linked. */
        if (errno != ENOENT || fstat(m->source, &st) < 0 || st.st_nlink > 0)
            return -errno;
        fd_closep(&m->source);
    }
    return make_source(m, e, parent, name);
}

static int make_directory(struct maker *m, struct entry *e, int parent, const char *name)
{
    struct stat st;
    e->state = ENTRY_DIRECTORY_INTENT;
    int r = placeholder_save(m->b, (uint32_t)(e - m->b->entries));
    if (r < 0)
        return r;
    if (mkdirat(parent, name, PLACEHOLDER_DIRECTORY_MODE) < 0) {
        r = -errno;
        e->state = ENTRY_NOTHING;
        return r;
    }
    _cleanup_fd_ int fd = -1;
    r = open_made(m, parent, name, S_IFDIR, &fd, &st);
    if (r < 0)
        return r;
    e->dev = st.st_dev;
    e->mtime_sec = st.st_mtim.tv_sec;
    e->mtime_nsec = (uint32_t)st.st_mtim.tv_nsec;
    e->mode = st.st_mode;
    e->uid = st.st_uid;
    e->state = ENTRY_DIRECTORY;
    return 0;
}

static int make_either(struct maker *m, struct entry *e, int parent, const char *name)
{
    struct placeholder_book *b = m->b;
    if (!b->directories_only) {
        int r = make_link(m, e, parent, name);
        if (!is_unsupported(r))
            return r == 0 ? PLACEHOLDER_MADE : r;
        b->directories_only = m->source < 0;
    }
    int r = make_directory(m, e, parent, name);
    return r == 0 ? PLACEHOLDER_MADE_DIRECTORY : r;
}

/* Where the directory is the owner's but not writable: he could make it writable from inside. */
static int make_in_unwritable(struct maker *m, struct entry *e, int parent, const char *name)
{
    struct stat st;
    if (fstat(parent, &st) < 0)
        return -errno;
    if (st.st_uid != m->b->owner->uid)
        return -EACCES;
    int r = asker_override(&m->saved, NULL);
    if (r == 0)
        r = make_either(m, e, parent, name);
    int restored = take_back(m); /* the next one is made without */
    return restored < 0 ? restored : r;
}

static int make_one(struct maker *m, struct entry *e)
{
    const char *name;
    int r = placeholder_parent_is_open(m->b, e->path) ? 0 : take_back(m);
    if (r < 0)
        return r;
    int parent = placeholder_parent(m->b, e->path, &name);
    if (parent < 0)
        return parent;
    r = lend(m);
    if (r == 0)
        r = make_either(m, e, parent, name);
    if (r == -EACCES && m->b->owner)
        r = make_in_unwritable(m, e, parent, name);
    switch (r) {
    case -EEXIST:
        return PLACEHOLDER_EXISTS;
    case -EACCES:
    case -EROFS:
        return PLACEHOLDER_NOT_NEEDED;
    default:
        return r;
    }
}

static int make_each(struct maker *m, enum placeholder_fate *ret_fates, struct err *err)
{
    struct placeholder_book *b = m->b;
    for (; m->next < b->pending; m->next++) {
        struct entry *e = &b->entries[b->index[m->next]];
        int r = make_one(m, e);
        if (r < 0)
            return err_set(err, workspace_code(-r), -r, "hold a missing path", e->path,
                           r == -ESTALE
                               ? "Another program put something else in its place at that moment."
                               : "Neither a socket nor an empty directory could be made there.");
        if (r != PLACEHOLDER_MADE && r != PLACEHOLDER_MADE_DIRECTORY)
            e->state = ENTRY_NOTHING;
        ret_fates[m->next] = (enum placeholder_fate)r;
    }
    return 0;
}

int placeholder_make_pending(struct placeholder_book *b, enum placeholder_fate *ret_fates,
                             struct err *err)
{
    _cleanup_fd_ int descriptors = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (descriptors < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "open", "/proc/self/fd",
                       "A readable /proc is needed on the host.");
    struct maker m = {.b = b, .descriptors = descriptors, .source = -1};
    find_source(&m);
    b->head.phase = PHASE_MAKING;
    int r = placeholder_save(b, 0);
    if (r < 0)
        return err_set(err, workspace_code(-r), -r, "write the record of placeholders", b->name,
                       NULL);
    mode_t mask = umask(0); /* of the process, which has one thread */
    r = make_each(&m, ret_fates, err);
    umask(mask);
    int restored = take_back(&m);
    fd_close(m.source);
    if (restored < 0)
        return err_set(err, ERR_INTERNAL, -restored, "take back berth's rights", NULL, NULL);
    b->head.phase = PHASE_QUIET; /* also when one failed: those before it are there */
    int saved = placeholder_save(b, 0);
    if (r == 0 && saved < 0)
        r = err_set(err, workspace_code(-saved), -saved, "write the record of placeholders",
                    b->name, NULL);
    return r;
}
