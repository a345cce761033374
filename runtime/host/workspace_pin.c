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
#include <sys/vfs.h>

/* Filesystems of which no directory is a workspace. A name that ends in '.' is a prefix. The
 * kernel's own can't hold files; FUSE is served by a process that can stop every reader, berth too.
 */
static const char *const refused_types[] = {
    "proc",       "sysfs",    "cgroup",    "cgroup2",   "debugfs",    "tracefs",
    "securityfs", "pstore",   "bpf",       "devpts",    "mqueue",     "binfmt_misc",
    "configfs",   "efivarfs", "fusectl",   "hugetlbfs", "rpc_pipefs", "nsfs",
    "autofs",     "devtmpfs", "selinuxfs", "fuse",      "fuseblk",    "fuse.",
};

/* Types that are certainly none of those: most workspaces, without a look at the mount table. */
static const struct {
    uint32_t magic;
    const char *name;
} plain_types[] = {
    {0xef53, "ext4"},    {0x58465342, "xfs"},      {0x9123683e, "btrfs"},   {0xf2f52010, "f2fs"},
    {0x2fc12fc1, "zfs"}, {0xca451a4e, "bcachefs"}, {0x794c7630, "overlay"}, {0x6969, "nfs"},
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

static int read_mount_table(char **ret_text)
{
    size_t length;
    return io_read_file(AT_FDCWD, "/proc/self/mountinfo", 16u << 20, ret_text, &length);
}

/* One line: "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw", cut in place into its
 * id, its mount point (unescaped) and its type ("ext3 /dev/root rw"). */
static bool split_mount_line(char *line, uint64_t *ret_id, char **ret_point, char **ret_type)
{
    unsigned long long id;
    int point_at = 0, point_end = 0;
    if (sscanf(line, "%llu %*s %*s %*s %n%*s%n", &id, &point_at, &point_end) != 1 || !point_end ||
        !line[point_end])
        return false;
    char *type = strstr(line + point_end, " - ");
    if (!type)
        return false;
    line[point_end] = 0;
    unescape(line + point_at);
    *ret_id = id;
    *ret_point = line + point_at;
    *ret_type = type + 3;
    return true;
}

static char *cut_line(char *line)
{
    char *next = strchr(line, '\n');
    if (next)
        *next++ = 0;
    return next;
}

int pin_submounts(const char *path, struct submounts *ret)
{
    _cleanup_free_ char *text = NULL;
    struct submounts found = {.count = 0};
    int r = read_mount_table(&text);
    if (r < 0)
        return r;
    size_t n = strlen(path);
    bool escaped = strpbrk(path, " \t\n\\") != NULL; /* written in another way there */
    for (char *line = text, *next; line && *line; line = next) {
        uint64_t id;
        char *point, *type;
        next = cut_line(line);
        /* Most lines name nothing below it: they are not taken apart. */
        if (!escaped && !strstr(line, path))
            continue;
        if (split_mount_line(line, &id, &point, &type) && strncmp(point, path, n) == 0 &&
            point[n] == '/' && found.count++ == 0)
            snprintf(found.first, sizeof found.first, "%s", point + n + 1);
    }
    *ret = found;
    return 0;
}

static int find_type(const char *path, struct pinned *pin, struct err *err)
{
    struct statfs fs;
    if (fstatfs(pin->fd, &fs) == 0)
        for (size_t i = 0; i < ARRAY_LENGTH(plain_types); i++)
            if ((uint32_t)fs.f_type == plain_types[i].magic) {
                snprintf(pin->fs_type, sizeof pin->fs_type, "%s", plain_types[i].name);
                return 0;
            }
    struct statx sx;
    if (syscall(SYS_statx, pin->fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0 ||
        !(sx.stx_mask & STATX_MNT_ID))
        return err_set(err, ERR_INTERNAL, errno, "find the mount of", path,
                       "statx(2) must tell mount ids: Linux 5.8 or newer is needed.");
    _cleanup_free_ char *text = NULL;
    int r = read_mount_table(&text);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "read the mount table", "/proc/self/mountinfo",
                       "A readable /proc is needed on the host.");
    for (char *line = text, *next; line && *line; line = next) {
        uint64_t id;
        char *point, *type;
        next = cut_line(line);
        if (split_mount_line(line, &id, &point, &type) && id == sx.stx_mnt_id)
            sscanf(type, "%63s", pin->fs_type);
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
    if (stat("/", &root) < 0)
        return err_set(err, ERR_INTERNAL, errno, "look at the root of the host", "/", NULL);
    if (!file_allowed && (strcmp(path, "/") == 0 ||
                          (root.st_dev == pin->stat.st_dev && root.st_ino == pin->stat.st_ino)))
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
    /* To name a directory is not to be allowed into it: whoever resumes may be another user. */
    int inside = fd < 0 ? fd : pin_openat2(fd, ".", O_PATH, RESOLVE_BENEATH);
    fd_close(inside);
    if (fd >= 0 && inside < 0 && !(file_allowed && inside == -ENOTDIR))
        fd_replace(&fd, inside);
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
    r = find_type(path, &pin, err);
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
