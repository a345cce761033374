/* This file takes trees apart that hostile programs built; it never follows a link, never crosses a
 * mount, and uses the same memory and as few descriptors for a deep tree as for a flat one.
 *
 * PRIVILEGED: the launcher's workers. Namespace: the host's. Should: work beneath
 * <state_dir>/volumes/<workspace_id> by descriptors of directories that were opened with
 * O_NOFOLLOW. Mustn't: recurse, build a path, believe d_type. Callers: launcher_worker.c.
 *
 * A tree can be deeper than PATH_MAX and than any limit of open files: so instead of going down and
 * coming back, each directory that is met is moved up, beside the volume's own, under a new name
 * (".old-…", as the volume itself). What begins so is no id and is removed by whoever comes next.
 */
#include "runtime/host/volume_remove.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"
#include "runtime/host/volume.h"
#include "runtime/host/workspace_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char old[] = ".old-";
enum { DEPTH_MAX = 256 };

static int failed(struct err *err, int sys, const char *step, const char *subject)
{
    return err_set(err, workspace_code(sys), sys, step, subject, NULL);
}

/* 1: there is none. */
static int open_workspace(const char *state_dir, const char *workspace_id, int *ret_fd,
                          struct err *err)
{
    _cleanup_fd_ int state = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_fd_ int volumes = -1;
    if (state >= 0)
        volumes = openat(state, "volumes", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int fd = volumes < 0
                 ? -1
                 : openat(volumes, workspace_id, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : failed(err, errno, "open the volumes of", workspace_id);
    *ret_fd = fd;
    return 0;
}

enum { AWAY_SIZE = 32 };

/* To a name of its own beside the volumes. */
static int move_to(int from, const char *name, int top, char ret_away[AWAY_SIZE])
{
    int r = id_random(old, ret_away, AWAY_SIZE);
    return r < 0 ? r : renameat(from, name, top, ret_away) < 0 ? -errno : 0;
}

static int move_away(int from, const char *name, int top)
{
    char away[AWAY_SIZE];
    return move_to(from, name, top, away);
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

/* Empty the directory `fd` (taken) of everything: files are unlinked, directories are moved to
 * `top`, or removed when they are empty already. 0 or -errno; *moved: one was moved. */
static int empty(int fd, int top, bool *moved)
{
    DIR *list = fdopendir(fd);
    if (!list) {
        int sys = errno;
        fd_close(fd);
        return -sys;
    }
    int r = 0;
    const struct dirent *e;
    while (r == 0 && (e = readdir(list))) {
        if (is_dots(e->d_name) || unlinkat(dirfd(list), e->d_name, 0) == 0 || errno == ENOENT)
            continue;
        /* EISDIR by POSIX's letter EPERM, and so it is on some filesystems. */
        if (errno != EISDIR && errno != EPERM)
            r = -errno;
        else if (unlinkat(dirfd(list), e->d_name, AT_REMOVEDIR) < 0 && errno != ENOENT) {
            r = errno == ENOTEMPTY || errno == EEXIST ? move_away(dirfd(list), e->d_name, top)
                                                      : -errno;
            *moved = true;
        }
    }
    closedir(list);
    return r;
}

/* 0: gone; 1: it has got company, look again. */
static int remove_old(int top, const char *name, bool *moved)
{
    int fd = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int r = empty(fd, top, moved);
    if (r == 0 && unlinkat(top, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = errno == ENOTEMPTY || errno == EEXIST ? 1 : -errno;
    return r;
}

/* Until no old one is left. Each round takes at least one directory out of a finite tree, of which
 * nobody else has a name any more. */
static int remove_all_old(int top)
{
    for (bool found = true; found;) {
        int fd = openat(top, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *list = fd < 0 ? NULL : fdopendir(fd);
        if (!list) {
            int sys = errno;
            fd_close(fd);
            return -sys;
        }
        found = false;
        int r = 0;
        const struct dirent *e;
        while (r >= 0 && (e = readdir(list)))
            if (strncmp(e->d_name, old, sizeof old - 1) == 0) {
                found = true;
                r = remove_old(top, e->d_name, &found);
            }
        closedir(list);
        if (r < 0)
            return r;
    }
    return 0;
}

int volume_remove(const char *state_dir, const char *workspace_id, const char *name,
                  struct err *err)
{
    _cleanup_fd_ int top = -1, volume = -1, lock = -1;
    if (!id_valid(workspace_id) || !id_valid(name))
        return err_set(err, ERR_INVALID_REQUEST, 0, "remove the volume", name, "Not a valid id.");
    int r = open_workspace(state_dir, workspace_id, &top, err);
    if (r != 0)
        return r < 0 ? r : 0;
    volume = openat(top, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (volume < 0 && errno != ENOENT)
        return failed(err, errno, "open the volume", name);
    /* Its tree is at hand. Others', which somebody was killed over, are looked for by who repeats
     * what he was asked: the list of the directory is as long as there are volumes. */
    bool look = volume < 0;
    if (volume >= 0) {
        char away[AWAY_SIZE];
        /* Whoever uses it holds this lock; a session that opens it later finds no such name. */
        r = volume_lock(volume, name, false, "its removal", &lock, err);
        if (r < 0)
            return r;
        r = move_to(top, name, top, away);
        if (r == 0 && fsync(top) < 0)
            r = -errno;
        if (r < 0)
            return failed(err, -r, "remove the volume", name);
        r = remove_old(top, away, &look);
        look |= r > 0;
    }
    if (r >= 0 && look)
        r = remove_all_old(top);
    return r < 0 ? failed(err, -r, "remove what was in the volume", name) : 0;
}

/* ---- measuring
 * -------------------------------------------------------------------------------------- */

struct level {
    DIR *list;
};

static void add(uint64_t *bytes, const struct stat *st)
{
    /* A file of several names counts once, shared among them. */
    uint64_t own = (uint64_t)st->st_blocks * 512;
    *bytes += S_ISDIR(st->st_mode) || st->st_nlink < 2 ? own : own / st->st_nlink;
}

static void close_levels(struct level *levels, unsigned *depth)
{
    while (*depth > 0)
        closedir(levels[--*depth].list);
}

/* 0, or -errno. Below DEPTH_MAX nothing is counted: it is a number for people, and a tree that deep
 * is made to be in somebody's way. */
static int measure(int fd, dev_t device, uint64_t *bytes)
{
    struct level levels[DEPTH_MAX];
    unsigned depth = 0;
    DIR *list = fdopendir(fd);
    if (!list) {
        int sys = errno;
        fd_close(fd);
        return -sys;
    }
    levels[depth++].list = list;
    while (depth > 0) {
        int at = dirfd(levels[depth - 1].list);
        const struct dirent *e = readdir(levels[depth - 1].list);
        struct stat st;
        if (!e) {
            closedir(levels[--depth].list);
            continue;
        }
        if (is_dots(e->d_name) || fstatat(at, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_dev != device)
            continue;
        add(bytes, &st);
        if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
            continue;
        _cleanup_fd_ int next =
            openat(at, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && errno != ENOENT && errno != ENOTDIR && errno != ELOOP && errno != EACCES) {
            int sys = errno;
            close_levels(levels, &depth);
            return -sys;
        }
        DIR *below = next < 0 ? NULL : fdopendir(next);
        if (below) {
            (void)take_fd(&next);
            levels[depth++].list = below;
        }
    }
    return 0;
}

int volume_measure(const char *state_dir, const char *workspace_id, const char *name,
                   uint64_t *ret_bytes, struct err *err)
{
    _cleanup_fd_ int top = -1, volume = -1;
    if (!id_valid(workspace_id) || !id_valid(name))
        return err_set(err, ERR_INVALID_REQUEST, 0, "measure the volume", name, "Not a valid id.");
    int r = open_workspace(state_dir, workspace_id, &top, err);
    if (r < 0)
        return r;
    if (r == 0)
        volume = openat(top, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    uint64_t bytes = 0;
    int data =
        volume < 0 ? -1 : openat(volume, "data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (data < 0) {
        if (r == 0 && errno != ENOENT)
            return failed(err, errno, "open the volume", name);
        *ret_bytes = 0;
        return 0;
    }
    if (fstat(data, &st) < 0) {
        r = failed(err, errno, "look at the volume", name);
        fd_close(data);
        return r;
    }
    add(&bytes, &st);
    r = measure(data, st.st_dev, &bytes);
    if (r < 0)
        return failed(err, -r, "measure the volume", name);
    *ret_bytes = bytes;
    return 0;
}
