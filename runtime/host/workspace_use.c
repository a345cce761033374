/* This file decides who may use a `directory` at the same time (WS-2); it never opens what a path
 * names, only descriptors that are pinned.
 *
 * A directory is shared unless a session asks for it exclusively. A session at root x has a chain:
 * x, then every ancestor of x up to "/". Two sessions overlap when the root of one is in the chain
 * of the other (the same directory, an ancestor or a descendant), and they conflict when they
 * overlap and at least one of them is exclusive. Siblings never conflict, whatever they asked for.
 *
 * That relation can't be had from shared and exclusive flocks on the nodes alone: "non-exclusive
 * user at a" must be compatible with "non-exclusive user beneath a" and not with "exclusive user
 * beneath a", while two exclusive users beneath a are compatible with each other. So each session
 * writes one record, locks it for its life, and the relation is evaluated pair by pair under the
 * guard:
 *
 *     non-exclusive:  compares itself with exclusive/ only (nearly always empty), records in
 * shared/ exclusive:      compares itself with both,                                  records in
 * exclusive/
 *
 * A record is created, locked and written under the guard, so nobody sees one that is unlocked but
 * alive. A record whose lock can be taken belongs to a dead session: removed by whoever finds it.
 * An ancestor is found by ".." from the pinned descriptor; a directory that is bind-mounted at two
 * places has the ancestors of the place that was named.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

static const char use_magic[8] = "berthU1";

static const char *const use_folder[2] = {"shared", "exclusive"};

static size_t record_size(const struct use_record *r)
{
    return offsetof(struct use_record, chain) + r->count * sizeof r->chain[0];
}

static bool in_chain(const struct use_node *root, const struct use_record *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->chain[i].dev == root->dev && r->chain[i].ino == root->ino)
            return true;
    return false;
}

bool use_conflicts(const struct use_record *a, const struct use_record *b)
{
    if (!a->exclusive && !b->exclusive)
        return false;
    return in_chain(&a->chain[0], b) || in_chain(&b->chain[0], a);
}

static int fill_chain(int dir, const char *path, struct use_record *ret, struct err *err)
{
    _cleanup_fd_ int at = fcntl(dir, F_DUPFD_CLOEXEC, 0);
    while (at >= 0) {
        struct stat st;
        if (fstat(at, &st) < 0)
            break;
        struct use_node node = {st.st_dev, st.st_ino};
        /* ".." of "/" is "/" itself. */
        if (ret->count && ret->chain[ret->count - 1].dev == node.dev &&
            ret->chain[ret->count - 1].ino == node.ino)
            return 0;
        if (ret->count == USE_CHAIN_MAX)
            return err_set(err, ERR_INVALID_REQUEST, ELOOP, "find the ancestors of", path,
                           "It lies deeper than %d directories.", USE_CHAIN_MAX);
        ret->chain[ret->count++] = node;
        fd_replace(&at, openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    }
    return err_set(err, ERR_FORBIDDEN, errno, "find the ancestors of", path,
                   "Every directory above it must be searchable.");
}

/* 0 and a live record, 1 when it is dead or not a record (and is gone now), or -errno. */
static int read_record(int folder, const char *name, struct use_record *ret)
{
    _cleanup_fd_ int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        unlinkat(folder, name, 0);
        return 1;
    }
    memset(ret, 0, offsetof(struct use_record, chain));
    ssize_t n = io_read_full(fd, ret, sizeof *ret);
    if (n < 0)
        return (int)n;
    if (n < (ssize_t)offsetof(struct use_record, chain) || ret->count < 1 ||
        ret->count > USE_CHAIN_MAX || (size_t)n != record_size(ret) ||
        memcmp(ret->magic, use_magic, sizeof use_magic) != 0)
        return -EBADMSG;
    ret->holder[sizeof ret->holder - 1] = 0;
    return 0;
}

static int refuse(const struct use_record *mine, const struct use_record *other, const char *path,
                  struct err *err)
{
    bool same =
        mine->chain[0].dev == other->chain[0].dev && mine->chain[0].ino == other->chain[0].ino;
    return err_set(err, ERR_WORKSPACE_IN_USE, 0, "use the directory", path,
                   "%s uses %s%s. End that session, or use another directory.", other->holder,
                   same                               ? "it"
                   : in_chain(&other->chain[0], mine) ? "a directory above it"
                                                      : "a directory beneath it",
                   other->exclusive ? " exclusively" : ", and exclusive use was asked for");
}

static int compare_all(int share, const struct use_record *mine, const char *folder_name,
                       const char *path, struct err *err)
{
    _cleanup_fd_ int fd = openat(share, folder_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "open", folder_name, NULL);
    DIR *dir = fdopendir(fd);
    if (!dir)
        return err_set(err, ERR_UNAVAILABLE, errno, "list", folder_name, NULL);
    int folder = take_fd(&fd), r = 0;
    const struct dirent *e;
    static struct use_record other; /* 8 KiB; one thread only */
    while (r == 0) {
        errno = 0;
        e = readdir(dir);
        if (!e && errno)
            r = err_set(err, ERR_UNAVAILABLE, errno, "list", folder_name,
                        "Exclusive use cannot be proven.");
        if (!e)
            break;
        if (e->d_name[0] == '.')
            continue;
        int found = read_record(folder, e->d_name, &other);
        if (found < 0)
            r = err_set(err, ERR_UNAVAILABLE, -found, "read the record of a session", e->d_name,
                        "Exclusive use cannot be proven. Remove that file from %s of berth's "
                        "shared directory when no session lives.",
                        folder_name);
        else if (found == 0 && use_conflicts(mine, &other))
            r = refuse(mine, &other, path, err);
    }
    closedir(dir);
    return r;
}

static int write_record(int share, const struct use_record *mine, char ret_name[64], int *ret_lock,
                        struct err *err)
{
    char id[16], name[64], path[96];
    int r = id_random("", id, sizeof id);
    if (r < 0)
        return err_raw(err, ERR_INTERNAL, -r, "name the record of a session", NULL);
    snprintf(name, sizeof name, "%lld-%s", (long long)mine->pid, id);
    snprintf(path, sizeof path, "%s/%s", use_folder[mine->exclusive], name);
    _cleanup_fd_ int fd =
        openat(share, path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, workspace_code(errno), errno, "make the record of a session", path,
                       NULL);
    r = flock(fd, LOCK_EX | LOCK_NB) < 0 ? -errno : io_write_full(fd, mine, record_size(mine));
    if (r < 0) {
        unlinkat(share, path, 0);
        return err_set(err, workspace_code(-r), -r, "write the record of a session", path, NULL);
    }
    memcpy(ret_name, name, sizeof name);
    *ret_lock = take_fd(&fd);
    return 0;
}

int use_begin(int share, int dir, bool exclusive, const char *holder, const char *path,
              char ret_name[64], int *ret_lock, struct err *err)
{
    static struct use_record mine; /* 8 KiB; one thread only */
    memset(&mine, 0, sizeof mine);
    memcpy(mine.magic, use_magic, sizeof use_magic);
    mine.exclusive = exclusive;
    mine.pid = getpid();
    snprintf(mine.holder, sizeof mine.holder, "%s", holder);
    int r = fill_chain(dir, path, &mine, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int guard = -1;
    r = share_guard(share, SHARE_GUARD_USES, true, &guard, err);
    if (r == 0)
        r = compare_all(share, &mine, use_folder[1], path, err);
    if (r == 0 && exclusive)
        r = compare_all(share, &mine, use_folder[0], path, err);
    if (r == 0)
        r = write_record(share, &mine, ret_name, ret_lock, err);
    return r;
}

void use_end(int share, const char *name, bool exclusive)
{
    char path[96];
    snprintf(path, sizeof path, "%s/%s", use_folder[exclusive], name);
    unlinkat(share, path, 0);
}

/* The process that wrote it is there: not worth opening. A pid that was given out again only
 * postpones: the lock decides, here or when somebody compares. */
static bool writer_lives(const char *name)
{
    int pid = 0;
    return sscanf(name, "%d-", &pid) == 1 && pid > 0 && (kill(pid, 0) == 0 || errno == EPERM);
}

int use_reap(int share, unsigned *count, struct err *err)
{
    for (unsigned i = 0; i < 2; i++) {
        _cleanup_fd_ int fd = openat(share, use_folder[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
            return err_set(err, ERR_UNAVAILABLE, errno, "open", use_folder[i], NULL);
        DIR *dir = fdopendir(fd);
        if (!dir)
            return err_set(err, ERR_UNAVAILABLE, errno, "list", use_folder[i], NULL);
        int folder = take_fd(&fd);
        const struct dirent *e;
        while ((e = readdir(dir))) {
            if (e->d_name[0] == '.' || writer_lives(e->d_name))
                continue;
            /* The guard: a record just made may not be locked yet. */
            _cleanup_fd_ int guard = -1;
            if (share_guard(share, SHARE_GUARD_USES, true, &guard, NULL) < 0)
                continue;
            _cleanup_fd_ int file = openat(folder, e->d_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
            if (file >= 0 && flock(file, LOCK_EX | LOCK_NB) == 0 &&
                unlinkat(folder, e->d_name, 0) == 0)
                ++*count;
        }
        closedir(dir);
    }
    return 0;
}
