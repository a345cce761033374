/* This file makes, finds and locks volumes; it never deletes one and never looks into `data`.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's. Should: use only names by the grammar of ids,
 * beneath state_dir. Mustn't: follow a symbolic link, loosen a mode. Callers: workspace.c.
 *
 * An exclusive flock on volumes/<workspace_id> itself serialises making. While it is held, a `.new`
 * (no id begins with a dot) can only be what a killed process left: it is removed and made afresh.
 */
#include "runtime/host/volume.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"
#include "runtime/host/lock_wait.h"
#include "runtime/host/workspace_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>

static const char unfinished[] = ".new";

static int failed(struct err *err, int sys, const char *step, const char *subject)
{
    return err_set(err, workspace_code(sys), sys, step, subject,
                   sys == ENOSPC || sys == EDQUOT
                       ? "The disk of berth's state is full. Free space there, or set "
                         "BERTH_STATE_DIR to another disk."
                   : sys == EROFS || sys == EACCES
                       ? "Volumes are kept in berth's state directory, which must be writable. Set "
                         "BERTH_STATE_DIR to a directory that is."
                       : NULL);
}

/* A private directory of berth's own, made when missing. */
static int private_directory(int at, const char *name, const char *whole, int *ret_fd,
                             struct err *err)
{
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return failed(err, errno, "make the directory of a volume", whole);
    _cleanup_fd_ int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(err, errno, "open the directory of a volume", whole);
    if (st.st_uid != geteuid() || (st.st_mode & 077))
        return err_set(err, ERR_FORBIDDEN, 0, "open the directory of a volume", whole,
                       "It must belong to uid %u with mode 0700, else users of this host could "
                       "write files of a session. Restore that with chown and chmod.",
                       (unsigned)geteuid());
    *ret_fd = take_fd(&fd);
    return 0;
}

static int remove_unfinished(int parent)
{
    _cleanup_fd_ int fd = openat(parent, unfinished, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 1 : -errno;
    unlinkat(fd, "data", AT_REMOVEDIR);
    unlinkat(fd, "lock", 0);
    return unlinkat(parent, unfinished, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* What is there already stays: this also repairs. */
static int fill(int fd, uint32_t owner, const char **ret_step)
{
    *ret_step = "make a volume";
    if (mkdirat(fd, "data", 0755) < 0 && errno != EEXIST)
        return -errno;
    _cleanup_fd_ int data = openat(fd, "data", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    *ret_step = "give a volume to the session's user";
    if (data < 0 || fchmod(data, 0755) < 0 ||
        (owner != UINT32_MAX && fchown(data, owner, owner) < 0))
        return -errno;
    *ret_step = "write a volume's lock file";
    _cleanup_fd_ int lock = openat(fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (lock < 0)
        return -errno;
    /* Written once now, so that naming the holder later does not need room on a full disk. */
    static const char blank[256];
    return io_write_full(lock, blank, sizeof blank);
}

static int fill_unfinished(int parent, uint32_t owner, const char **ret_step)
{
    *ret_step = "make a volume";
    if (mkdirat(parent, unfinished, 0700) < 0)
        return -errno;
    _cleanup_fd_ int fd =
        openat(parent, unfinished, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0700) < 0)
        return -errno;
    return fill(fd, owner, ret_step);
}

static int make(int parent, const char *name, uint32_t owner, const char *path, struct err *err)
{
    int r = remove_unfinished(parent);
    if (r < 0)
        return failed(err, -r, "remove an unfinished volume", path);
    const char *step;
    r = fill_unfinished(parent, owner, &step);
    if (r == 0 && renameat(parent, unfinished, parent, name) < 0) {
        r = -errno;
        step = "put a new volume in its place";
    }
    if (r < 0) {
        remove_unfinished(parent);
        return failed(err, -r, step, path);
    }
    return 0;
}

/* A power loss before volume_sync() may have kept the name without what it is of. */
static bool is_whole(int parent, const char *name)
{
    char path[160];
    struct stat st;
    snprintf(path, sizeof path, "%s/lock", name);
    bool lock = fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
    snprintf(path, sizeof path, "%s/data", name);
    return lock && (fstatat(parent, path, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT);
}

static int repair(int parent, const char *name, uint32_t owner, const char *path, struct err *err)
{
    const char *step;
    _cleanup_fd_ int fd = -1;
    int r = private_directory(parent, name, path, &fd, err);
    if (r < 0)
        return r;
    r = fill(fd, owner, &step);
    return r < 0 ? failed(err, -r, step, path) : 0;
}

/* A lock of the directory, whose end is that of the descriptor. One name for what is unfinished
 * means one maker at a time, so nothing under this waits for a disk. */
static int lock_makers(int parent, const char *path, int *ret_lock, struct err *err)
{
    /* An open file description of our own, so that the flock ends with the caller's scope. */
    _cleanup_fd_ int making = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (making < 0)
        return failed(err, errno, "lock the directory of volumes", path);
    int r = lock_take(making, NULL, LOCK_WAIT_MS, "lock the directory of volumes", path, err);
    if (r < 0)
        return r;
    *ret_lock = take_fd(&making);
    return 0;
}

static int find_or_make(int parent, const char *name, uint32_t owner, const char *path,
                        int *ret_volume, bool *ret_made, struct err *err)
{
    int r = 0;
    if (!is_whole(parent, name)) {
        struct stat st;
        _cleanup_fd_ int making = -1;
        r = lock_makers(parent, path, &making, err);
        if (r < 0)
            return r;
        if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            r = make(parent, name, owner, path, err);
        else if (!is_whole(parent, name))
            r = repair(parent, name, owner, path, err);
        if (r < 0)
            return r;
        *ret_made = true;
    }
    return private_directory(parent, name, path, ret_volume, err);
}

int volume_sync(const struct volume *v)
{
    return v->parent >= 0 && (fsync(v->folder) < 0 || fsync(v->parent) < 0) ? -errno : 0;
}

/* The lock file tells who locked it last: for a person, not for a decision. */
static int refuse(int lock, const char *name, struct err *err)
{
    char text[256] = "";
    ssize_t n = pread(lock, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    bool files = strncmp(text, USE_HOLDER_FILES, sizeof USE_HOLDER_FILES - 1) == 0;
    return err_set(err, ERR_WORKSPACE_IN_USE, 0, "lock the volume", name, "It is used by %s. %s.",
                   text[0] ? text : "another session",
                   files ? "Try again when it has ended"
                         : "End that session, or ask for it read-only in both");
}

int volume_lock(int folder, const char *name, bool read_only, const char *holder, int *ret_lock,
                struct err *err)
{
    _cleanup_fd_ int lock = openat(folder, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (lock < 0)
        return failed(err, errno, "open the lock of volume", name);
    if (flock(lock, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? refuse(lock, name, err)
                                    : failed(err, errno, "lock the volume", name);
    char text[256] = "";
    snprintf(text, sizeof text, "%s", holder);
    if (pwrite(lock, text, sizeof text, 0) != (ssize_t)sizeof text)
        return failed(err, errno, "write the lock of volume", name);
    *ret_lock = take_fd(&lock);
    return 0;
}

int volume_open(const char *workspace_id, const char *name, const struct workspace_options *options,
                struct volume *ret, struct err *err)
{
    if (!id_valid(workspace_id) || !id_valid(name))
        return err_set(err, ERR_INVALID_REQUEST, 0, "open the volume", name,
                       "Not a valid id: letters, digits, \"_\", \".\" and \"-\", at most 64.");
    struct volume v = {.folder = -1, .data = -1, .parent = -1};
    bool made = false;
    snprintf(v.path, sizeof v.path, "%s/volumes/%s/%s/data", options->state_dir, workspace_id,
             name);
    if (mkdir(options->state_dir, 0700) < 0 && errno != EEXIST)
        return failed(err, errno, "make the state directory", options->state_dir);
    _cleanup_fd_ int state = open(options->state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return failed(err, errno, "open the state directory", options->state_dir);
    _cleanup_fd_ int volumes = -1, mine = -1, volume = -1, data = -1;
    int r = private_directory(state, "volumes", v.path, &volumes, err);
    if (r == 0)
        r = private_directory(volumes, workspace_id, v.path, &mine, err);
    uint32_t owner = options->rootless ? UINT32_MAX : options->default_uid;
    if (r == 0)
        r = find_or_make(mine, name, owner, v.path, &volume, &made, err);
    if (r < 0)
        return r;
    data = openat(volume, "data", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (data < 0 || fstat(data, &v.stat) < 0)
        return failed(err, errno, "open the volume", v.path);
    *ret = v;
    ret->data = take_fd(&data);
    ret->folder = take_fd(&volume);
    ret->parent = made ? take_fd(&mine) : -1;
    return 0;
}

static void reap_one(int volumes, const char *name, unsigned *count)
{
    _cleanup_fd_ int fd = openat(volumes, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && faccessat(fd, unfinished, F_OK, AT_SYMLINK_NOFOLLOW) == 0 &&
        flock(fd, LOCK_EX | LOCK_NB) == 0 && remove_unfinished(fd) == 0)
        ++*count;
}

int volume_reap(const char *state_dir, unsigned *count, struct err *err)
{
    _cleanup_fd_ int state = open(state_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return errno == ENOENT ? 0 : failed(err, errno, "open the state directory", state_dir);
    _cleanup_fd_ int fd = openat(state, "volumes", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : failed(err, errno, "open the volumes", state_dir);
    DIR *list = fdopendir(fd);
    if (!list)
        return failed(err, errno, "list the volumes", state_dir);
    int volumes = take_fd(&fd);
    const struct dirent *e;
    while ((e = readdir(list)))
        if (id_valid(e->d_name))
            reap_one(volumes, e->d_name, count);
    closedir(list);
    return 0;
}
