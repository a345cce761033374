/* This file opens the directory in which all berths of a host tell each other who uses which
 * workspace, and its guard; it knows nothing of what the records mean.
 *
 * Contents of <share_dir>:
 *     guard                     byte ranges that serialise what is done to the rest; never removed
 *     shared/, exclusive/       one record per `berth run` that uses a directory (workspace_use.c)
 *     lasting/                  the same of sessions that last
 *     roots/, beneath/          links of these, by directory: who uses it, who one beneath it
 *     slots/                    ranges of ids (uid_slot.c)
 *     place-<dev>-<ino>         placeholders in one directory (placeholder.c)
 *
 * The guard is one file with open-file-description range locks: range 0 for the uses, one range per
 * workspace directory, so that a slow filesystem under one workspace does not hold up another.
 * Order: who needs both takes the directory's range first, then range 0. Nobody waits longer than
 * LOCK_WAIT_MS for one: its holder may be stopped. PRIVILEGED: the launcher's.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/fd.h"
#include "runtime/host/lock_wait.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>

static int make_directory(int at, const char *name, const char *whole, struct err *err)
{
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return err_set(err, workspace_code(errno), errno, "make", whole,
                       "berth keeps there who uses which workspace. Make its parent writable, or "
                       "name other directories with BERTH_STATE_DIR and BERTH_RUNTIME_DIR.");
    return 0;
}

int share_open(const char *share_dir, int *ret_dir, struct err *err)
{
    int r = make_directory(AT_FDCWD, share_dir, share_dir, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int dir = open(share_dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return err_set(err, workspace_code(errno), errno, "open", share_dir, NULL);
    struct stat st;
    if (fstat(dir, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "stat", share_dir, NULL);
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return err_set(err, ERR_FORBIDDEN, 0, "open", share_dir,
                       "Others than uid %u can write there, so its locks prove nothing. Make it "
                       "belong to that user with mode 0700.",
                       (unsigned)geteuid());
    r = make_directory(dir, "shared", share_dir, err);
    if (r == 0)
        r = make_directory(dir, "exclusive", share_dir, err);
    if (r == 0)
        *ret_dir = take_fd(&dir);
    return r;
}

uint64_t share_directory_key(dev_t dev, ino_t ino)
{
    uint64_t mixed = ((uint64_t)dev * 0x9e3779b97f4a7c15u) ^ (uint64_t)ino;
    return 1 + (mixed & 0x3fffffffffffu);
}

int share_guard(int share, uint64_t key, bool wait, int *ret_guard, struct err *err)
{
    _cleanup_fd_ int fd = openat(share, "guard", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, workspace_code(errno), errno, "open the guard of", "share directory",
                       NULL);
    struct flock range = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)key, .l_len = 1};
    int r = wait ? lock_take(fd, &range, LOCK_WAIT_MS, "lock the guard of", "share directory", err)
                 : lock_wait(fd, &range, 0);
    if (r < 0)
        return r;
    *ret_guard = take_fd(&fd);
    return 0;
}
