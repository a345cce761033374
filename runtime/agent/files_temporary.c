/* This file makes a private name in a directory for what is about to be renamed into its place, and
 * takes over what a writer that was killed has left; it never removes anything else.
 *
 *     .berth-write-0 … .berth-write-7     the first that is free
 *     .berth-write-<random>               when all of these are busy, or not ours to touch
 *
 * Who writes holds a lock (flock) on the file, which ends with him. So a file whose lock is free is
 * left over, and the next writer of the directory removes it: a regular file, with no second name,
 * that this user owns. Whoever else puts something at these names only makes us take the next.
 */
#include "runtime/agent/files_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SLOTS = 8, RANDOM_TRIES = 8 };

static const char prefix[] = FILES_TEMPORARY;

static bool name_is(int dir, const char *name, const struct stat *file)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == file->st_dev &&
           st.st_ino == file->st_ino;
}

/* Removes what stands at `name` if a writer left it. */
static void sweep(const struct files_view *view, int dir, const char *name)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
        return;
    _cleanup_fd_ int fd = files_open(view, dir, name, O_RDONLY, 0, 0);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
        st.st_uid != (uid_t)setfsuid((uid_t)-1))
        return;
    /* With the lock, the name is checked: it may be a new file of another writer by now. */
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && name_is(dir, name, &st))
        unlinkat(dir, name, 0);
}

/* Between its birth and its lock a file looks as if it were left over: so its name is looked at
 * again. */
static int try_name(const struct files_view *view, int dir, struct files_temporary *t)
{
    struct stat st;
    _cleanup_fd_ int fd =
        files_open(view, dir, t->name, O_RDWR | O_CREAT | O_EXCL, S_IRUSR | S_IWUSR, 0);
    if (fd < 0)
        return fd;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EEXIST : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!name_is(dir, t->name, &st))
        return -EEXIST;
    t->fd = take_fd(&fd);
    return 0;
}

bool files_temporary_is(const char *name)
{
    return strncmp(name, prefix, sizeof prefix - 1) == 0;
}

int files_temporary_open(const struct files_view *view, int dir, struct files_temporary *ret,
                         struct err *err)
{
    struct files_temporary t = {.dir = dir, .fd = -1};
    int r = -EEXIST;
    for (unsigned slot = 0; r == -EEXIST && slot < SLOTS; slot++) {
        snprintf(t.name, sizeof t.name, "%s%u", prefix, slot);
        r = try_name(view, dir, &t);
        if (r != -EEXIST)
            break;
        sweep(view, dir, t.name);
        r = try_name(view, dir, &t);
    }
    for (unsigned i = 0; r == -EEXIST && i < RANDOM_TRIES; i++) {
        r = id_random(prefix, t.name, sizeof t.name);
        if (r == 0)
            r = try_name(view, dir, &t);
    }
    if (r < 0)
        return files_failed(err, -r, "make a file in the directory of", NULL);
    *ret = t;
    return 0;
}

static int move_to(const struct files_temporary *t, int dir, const char *name, bool fresh)
{
    struct stat st;
    if (fresh && syscall(SYS_renameat2, t->dir, t->name, dir, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (fresh && errno != EINVAL && errno != ENOSYS)
        return -errno;
    /* A file system that cannot do both at once. */
    if (fresh && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        return -EEXIST;
    return renameat(t->dir, t->name, dir, name) < 0 ? -errno : 0;
}

int files_temporary_publish(struct files_temporary *temporary, int dir, const char *name,
                            bool fresh, struct stat *ret_stat)
{
    struct stat st;
    int r = move_to(temporary, dir, name, fresh);
    if (r == 0 && fstat(temporary->fd, &st) < 0)
        r = -errno;
    if (r < 0) {
        files_temporary_drop(temporary);
        return r;
    }
    fd_closep(&temporary->fd);
    *ret_stat = st;
    return 0;
}

void files_temporary_drop(struct files_temporary *temporary)
{
    struct stat st;
    if (!temporary || temporary->fd < 0)
        return;
    if (fstat(temporary->fd, &st) == 0 && name_is(temporary->dir, temporary->name, &st))
        unlinkat(temporary->dir, temporary->name, 0);
    fd_closep(&temporary->fd);
}
