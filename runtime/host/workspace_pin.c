/* This file turns a path that somebody named into a descriptor of what it really is, and refuses
 * what cannot be a workspace; it never mounts and never writes.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's mount namespace. Should: resolve a path exactly
 * once, with the asker's rights, and use only the descriptor from then on. Mustn't: follow a magic
 * link, resolve a path a second time. Callers: workspace.c, volume.c.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/stat.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

/* Filesystems of which no directory is a workspace. A name that ends in '.' is a prefix. The
 * kernel's own can't hold files; FUSE is served by a process that can stop every reader, berth too.
 */
static const char *const refused_types[] = {
    "proc",       "sysfs",    "cgroup",    "cgroup2",   "debugfs",    "tracefs",
    "securityfs", "pstore",   "bpf",       "devpts",    "mqueue",     "binfmt_misc",
    "configfs",   "efivarfs", "fusectl",   "hugetlbfs", "rpc_pipefs", "nsfs",
    "autofs",     "devtmpfs", "selinuxfs", "fuse",      "fuseblk",    "fuse.",
};

int pin_openat2(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    int fd;
    /* EAGAIN: a rename raced with a resolution that must stay beneath; openat2(2) asks to retry. */
    for (unsigned tries = 0; tries < 64; tries++) {
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
        if (fd >= 0 || errno != EAGAIN)
            break;
    }
    return fd >= 0 ? fd : -errno;
}

static bool type_is_refused(const char *type)
{
    for (size_t i = 0; i < ARRAY_LENGTH(refused_types); i++) {
        const char *t = refused_types[i];
        size_t n = strlen(t);
        if (t[n - 1] == '.' ? strncmp(type, t, n) == 0 : strcmp(type, t) == 0)
            return true;
    }
    return false;
}

/* mountinfo writes space, tab, newline and backslash as three octal digits. In place. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *p = text; *p; to++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] && p[3]) {
            *to = (char)((p[1] - '0') * 64 + (p[2] - '0') * 8 + (p[3] - '0'));
            p += 4;
        } else {
            *to = *p++;
        }
    }
    *to = 0;
}

/* One line: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw". */
static void read_mount_line(char *line, uint64_t mount_id, const char *path, struct pinned *pin)
{
    unsigned long long id;
    int point_at = 0, point_end = 0;
    if (sscanf(line, "%llu %*s %*s %*s %n%*s%n", &id, &point_at, &point_end) != 1 || !point_end)
        return;
    char *rest = line + point_end;
    if (*rest)
        *rest++ = 0;
    char *point = line + point_at;
    if (id == mount_id) {
        const char *type = strstr(rest, " - ");
        if (type)
            sscanf(type + 3, "%63s", pin->fs_type);
        return;
    }
    unescape(point);
    size_t n = strlen(path);
    if (strncmp(point, path, n) == 0 && point[n] == '/') {
        if (pin->submount_count++ == 0)
            snprintf(pin->submount, sizeof pin->submount, "%s", point + n + 1);
    }
}

/* Filesystem type and submounts, by one pass over the process's own mount table. */
static int read_mounts(const char *path, struct pinned *pin, struct err *err)
{
    struct statx sx;
    if (syscall(SYS_statx, pin->fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 ||
        !(sx.stx_mask & STATX_MNT_ID))
        return err_set(err, ERR_INTERNAL, errno, "find the mount of", path,
                       "statx(2) must tell mount ids: Linux 5.8 or newer is needed.");
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r = io_read_file(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, &text, &length);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "read the mount table", "/proc/self/mountinfo",
                       "A readable /proc is needed on the host.");
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = 0;
        read_mount_line(line, sx.stx_mnt_id, path, pin);
    }
    return 0;
}

static int explain_symlink(const char *path, const struct asker *as, const char *what,
                           struct err *err)
{
    char real[512] = "", link[64];
    struct asker_saved saved;
    int r = asker_become(as, &saved, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int fd = pin_openat2(AT_FDCWD, path, O_PATH, RESOLVE_NO_MAGICLINKS);
    r = asker_restore(&saved, err);
    if (r < 0)
        return r;
    if (fd >= 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, real, sizeof real - 1);
        real[n > 0 ? n : 0] = 0;
    }
    if (!real[0])
        return err_set(err, ERR_INVALID_REQUEST, ELOOP, "open", path,
                       "A part of the path of %s is a symbolic link that leads nowhere.", what);
    return err_set(err, ERR_INVALID_REQUEST, ELOOP, "open", path,
                   "A part of the path of %s is a symbolic link, which could be changed between "
                   "this check and its use. Use the real path %s",
                   what, real);
}

static int explain(int sys, const char *path, const struct asker *as, const char *what,
                   struct err *err)
{
    switch (sys) {
    case ELOOP:
        return explain_symlink(path, as, what, err);
    case ENOENT:
        return err_set(err, ERR_NOT_FOUND, sys, "open", path,
                       "There is no such path for %s: create it, or name another.", what);
    case ENOTDIR:
        return err_set(err, ERR_INVALID_REQUEST, sys, "open", path,
                       "It is not a directory: %s must be one.", what);
    case EACCES:
        return err_set(err, ERR_FORBIDDEN, sys, "open", path,
                       "Who asks (uid %u) may not go there himself, so berth does not for him.",
                       as ? as->uid : (unsigned)geteuid());
    default:
        return err_set(err, ERR_INVALID_REQUEST, sys, "open", path, NULL);
    }
}

static int check_kind(const struct pinned *pin, const char *path, bool file_allowed,
                      const char *what, struct err *err)
{
    struct stat root;
    if (S_ISSOCK(pin->stat.st_mode))
        return err_set(err, ERR_INVALID_REQUEST, 0, "open", path,
                       "It is a unix socket: through it the session would reach a program of the "
                       "host. berth hides such sockets and does not share them.");
    if (!S_ISDIR(pin->stat.st_mode) && !(file_allowed && S_ISREG(pin->stat.st_mode)))
        return err_set(err, ERR_INVALID_REQUEST, ENOTDIR, "open", path, "%s must be a directory%s.",
                       what, file_allowed ? " or a regular file" : "");
    if (!file_allowed &&
        (strcmp(path, "/") == 0 || (stat("/", &root) == 0 && root.st_dev == pin->stat.st_dev &&
                                    root.st_ino == pin->stat.st_ino)))
        return err_set(err, ERR_FORBIDDEN, 0, "open", path,
                       "The root of the host cannot be a workspace: name a project's directory.");
    if (type_is_refused(pin->fs_type))
        return err_set(err, ERR_FORBIDDEN, 0, "open", path,
                       "It is on a filesystem of type %s, which cannot be shared with a session "
                       "safely. Copy the files to a directory on a local disk, or use "
                       "--workspace volume:NAME.",
                       pin->fs_type);
    return 0;
}

int pin_path(const char *path, const struct asker *as, unsigned flags, const char *what,
             struct pinned *ret, struct err *err)
{
    bool file_allowed = flags & PIN_FILE_ALLOWED;
    struct asker_saved saved;
    int r = asker_become(as, &saved, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int fd = pin_openat2(AT_FDCWD, path, O_PATH | (file_allowed ? 0u : O_DIRECTORY),
                                      RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
    r = asker_restore(&saved, err);
    if (r < 0)
        return r;
    /* With O_DIRECTORY a symlink as the last part is ENOTDIR on some kernels, ELOOP on others. */
    struct stat link;
    if (fd == -ENOTDIR && lstat(path, &link) == 0 && S_ISLNK(link.st_mode))
        fd = -ELOOP;
    if (fd < 0)
        return explain(-fd, path, as, what, err);
    struct pinned pin = {.fd = fd};
    if (fstat(fd, &pin.stat) < 0)
        return err_set(err, ERR_INTERNAL, errno, "stat", path, NULL);
    r = read_mounts(path, &pin, err);
    if (r == 0)
        r = check_kind(&pin, path, file_allowed, what, err);
    if (r < 0)
        return r;
    *ret = pin;
    ret->fd = take_fd(&fd);
    return 0;
}

void pin_identity(const struct stat *st, const struct asker *as, uint32_t *ret_uid,
                  uint32_t *ret_gid)
{
    bool owner = !as || as->uid == 0;
    *ret_uid = owner ? st->st_uid : as->uid;
    *ret_gid = owner || asker_has_group(as, st->st_gid) ? st->st_gid : as->gid;
}
