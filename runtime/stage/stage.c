/* This file runs a session's first process from clone3() to the execve() of init; it never
 * allocates, never logs, and never goes on after a failure.
 *
 * It is in four parts, in the order in which they run: report, place (paths inside the new root),
 * assemble (mounts), enter (namespaces, ids, descriptors, execve).
 *
 * This file is long because it is one sequence of steps between clone and exec: their order decides
 * what a session can do, and it must be readable in one place.
 */
#include "runtime/stage/stage.h"

#include "runtime/base/err.h"
#include "runtime/base/fd.h"
#include "runtime/stage/sys.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <linux/stat.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>

/* ---- report -------------------------------------------------------------------------------- */

/* One frame to the launcher, then the end. The frame fits one atomic pipe write. */
static _Noreturn void stage_fail(const struct stage_args *args, const char *step,
                                 const char *subject)
{
    struct err err = {0};
    err_raw(&err, ERR_INTERNAL, errno, step, subject);
    struct agent_frame frame = {
        .magic = AGENT_MAGIC,
        .version = AGENT_VERSION,
        .type = AGENT_FRAME_FAILED,
        .length = sizeof err,
    };
    _Static_assert(sizeof frame + sizeof err <= PIPE_BUF, "must arrive whole");
    struct iovec parts[] = {{&frame, sizeof frame}, {&err, sizeof err}};
    /* Nobody is left to be told when this fails: the launcher sees the pipe's end instead. */
    ssize_t n = writev(args->agent_fds[AGENT_FD_FRAMES], parts, 2);
    _exit(n < 0 ? 2 : 1);
}

#define TRY(call, step, subject)             \
    __extension__({                          \
        __typeof__(call) try_ = (call);      \
        if (try_ < 0)                        \
            stage_fail(args, step, subject); \
        try_;                                \
    })

/* ---- place: paths inside the new root ----------------------------------------------------------
 */

/* Open the place `path` (relative) beneath the new root, never above it. Symlinks: in a fresh root
 * all are berth's own or the host's /usr's and are followed inside the root; an image's are not
 * followed at all, because an image may be hostile. */
static int place_open(const struct stage_args *args, int root, const char *path, bool directory)
{
    uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    if (!args->plan->fresh)
        resolve |= RESOLVE_NO_SYMLINKS;
    return sys_openat2(root, path, (uint64_t)(O_PATH | (directory ? O_DIRECTORY : 0)), resolve);
}

/* The parent directory of `path`, and the last component. Parents that are missing are made, owned
 * by the session's root, each beneath the descriptor of the one before: nothing of the host is
 * touched, because whatever can be written in the new root is the session's own scratch. */
static int place_parent(const struct stage_args *args, int root, const char *path,
                        const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    int here = TRY(fcntl(root, F_DUPFD_CLOEXEC, 3), "open the parent of a mount target", path);
    if (!slash)
        return here;
    for (const char *p = path; p < slash;) {
        char part[NAME_MAX + 1];
        size_t length = strcspn(p, "/");
        if (length >= sizeof part) {
            errno = ENAMETOOLONG;
            stage_fail(args, "open the parent of a mount target", path);
        }
        memcpy(part, p, length);
        part[length] = 0;
        uint64_t flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
        uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
        int next = sys_openat2(here, part, flags, resolve);
        if (next < 0 && errno == ENOENT) {
            TRY(mkdirat(here, part, 0755), "make the parent of a mount target", path);
            next = sys_openat2(here, part, flags, resolve);
        }
        fd_close(here);
        here = TRY(next, "open the parent of a mount target", path);
        p += length + 1;
    }
    return here;
}

/* The place where a mount will be attached, made when it is missing. */
static int place_target(const struct stage_args *args, int root, const char *path, bool directory)
{
    int target = place_open(args, root, path, directory);
    if (target >= 0)
        return target;
    if (errno != ENOENT)
        stage_fail(args, "open a mount target", path);
    const char *name;
    int parent = place_parent(args, root, path, &name);
    if (directory)
        TRY(mkdirat(parent, name, 0755), "make a mount target", path);
    else
        fd_close(TRY(openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644),
                     "make a mount target", path));
    fd_close(parent);
    return TRY(place_open(args, root, path, directory), "open a mount target", path);
}

/* Become the session's root for the file system only, so that what is made belongs to it; the
 * capabilities over files go with it and come back with the id (capabilities(7), "fsuid"). */
static void act_as(const struct stage_args *args, uint32_t uid, uint32_t gid)
{
    setfsgid(gid);
    setfsuid(uid);
    /* setfsuid() does not report failure: ask what it is now. */
    if (setfsuid((uid_t)-1) != (int)uid || setfsgid((gid_t)-1) != (int)gid) {
        errno = EPERM;
        stage_fail(args, "take the session's file system id", NULL);
    }
}

static void make_file(const struct stage_args *args, int root, const struct rootfs_step *step)
{
    const char *name;
    int parent = place_parent(args, root, step->path, &name);
    if (step->kind == ROOTFS_FILE && unlinkat(parent, name, 0) < 0 && errno != ENOENT)
        stage_fail(args, "replace a file of the image", step->path);
    int fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, step->mode);
    if (fd < 0 && errno == EEXIST && step->kind == ROOTFS_FILE_DEFAULT) {
        fd_close(parent);
        return;
    }
    TRY(fd, "make a file of the root directory", step->path);
    size_t length = strlen(step->text);
    if (write(fd, step->text, length) != (ssize_t)length)
        stage_fail(args, "write a file of the root directory", step->path);
    fd_close(fd);
    fd_close(parent);
}

static void make_directory(const struct stage_args *args, int root, const struct rootfs_step *step)
{
    /* What an image brought must really be a directory, not a link to somewhere. */
    const char *name;
    int parent = place_parent(args, root, step->path, &name);
    if (mkdirat(parent, name, step->mode) < 0 && errno != EEXIST)
        stage_fail(args, "make a directory of the root", step->path);
    fd_close(TRY(place_open(args, root, step->path, true),
                 "use a directory of the image (a link or file is in its place)", step->path));
    fd_close(parent);
}

/* Everything that is not a mount, in an image. A fresh root comes with it (root_begin.c). Runs with
 * the umask 0. */
static void populate(const struct stage_args *args, int root)
{
    const struct rootfs_plan *plan = args->plan;
    act_as(args, args->root_uid, args->root_gid);
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct rootfs_step *step = &plan->steps[i];
        switch (step->kind) {
        case ROOTFS_DIRECTORY:
            make_directory(args, root, step);
            break;
        case ROOTFS_FILE:
        case ROOTFS_FILE_DEFAULT:
            make_file(args, root, step);
            break;
        default:
            break;
        }
    }
    act_as(args, 0, 0);
    for (uint32_t i = 0; i < plan->count; i++) {
        const struct rootfs_step *step = &plan->steps[i];
        if (step->kind != ROOTFS_DIRECTORY || step->owner == 0)
            continue;
        int place = TRY(place_open(args, root, step->path, true), "open a directory", step->path);
        bool nobodys = step->owner == SPEC_UID_NOBODY;
        TRY(fchownat(place, "", nobodys ? args->nobody : args->user_uid,
                     nobodys ? args->nobody : args->user_gid, AT_EMPTY_PATH),
            "give a directory to whose it is", step->path);
        fd_close(place);
    }
}

/* ---- assemble: mounts ------------------------------------------------------------------------ */

static void attach(const struct stage_args *args, int mount, int root, const char *path,
                   bool directory)
{
    int target = place_target(args, root, path, directory);
    TRY(sys_move_mount_fd(mount, target), "attach a mount at", path);
    fd_close(target);
}

/* The scratch, and with a `dir:` image the overlay whose upper is on it. Returns the new root,
 * attached. */
static int make_root(const struct stage_args *args)
{
    int scratch = args->scratch;
    TRY(sys_move_mount_at(scratch, AT_FDCWD, args->attach_dir), "attach the scratch at",
        args->attach_dir);
    if (args->image_tree < 0)
        return scratch;

    static const char *const parts[] = {"lower", "upper", "work", "root"};
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++)
        TRY(mkdirat(scratch, parts[i], 0755), "make a directory of the overlay", parts[i]);
    TRY(fchownat(scratch, "upper", args->root_uid, args->root_gid, 0), "own the overlay's upper",
        NULL);
    /* Linux 6.1 takes only attached layers; the lower is detached again below. */
    TRY(sys_move_mount_at(args->image_tree, scratch, "lower"), "attach the image", NULL);
    TRY(fchdir(scratch), "enter the scratch", NULL);
    int fs = TRY(sys_fsopen("overlay"), "open an overlay", NULL);
    TRY(sys_fsconfig_string(fs, "source", "berth"), "name the overlay", NULL);
    TRY(sys_fsconfig_string(fs, "lowerdir", "lower"), "set the overlay's lower", NULL);
    TRY(sys_fsconfig_string(fs, "upperdir", "upper"), "set the overlay's upper", NULL);
    TRY(sys_fsconfig_string(fs, "workdir", "work"), "set the overlay's work", NULL);
    TRY(sys_fsconfig_string(fs, "xino", "off"), "set the overlay's xino", NULL);
    if (args->overlay_userxattr)
        TRY(sys_fsconfig_flag(fs, "userxattr"), "set the overlay's userxattr", NULL);
    else
        TRY(sys_fsconfig_string(fs, "redirect_dir", "on"), "set the overlay's redirect_dir", NULL);
    TRY(sys_fsconfig_create(fs), "create the overlay", NULL);
    int root = TRY(sys_fsmount(fs, SYS_ATTR_NOSUID | SYS_ATTR_NODEV), "mount the overlay", NULL);
    fd_close(fs);
    TRY(umount2("lower", MNT_DETACH), "detach the image's layer", NULL);
    TRY(sys_move_mount_at(root, scratch, "root"), "attach the overlay", NULL);
    TRY(chdir("/"), "leave the scratch", NULL);
    return root;
}

/* Read-only views of paths of the host. Where each belongs was made by the launcher, in a root that
 * nobody else has ever been in: its paths are what they say. What is gone since then is as if it
 * had never been there. */
static void bind_host(const struct stage_args *args, int root)
{
    TRY(fchdir(root), "enter the new root", NULL);
    for (uint32_t i = 0; i < args->plan->count; i++) {
        const struct rootfs_step *step = &args->plan->steps[i];
        if (!args->late->bind[i])
            continue;
        if (mount(step->text, step->path, NULL, MS_BIND | MS_REC, NULL) < 0) {
            if (step->optional && errno == ENOENT)
                continue;
            stage_fail(args, "bind a part of the host's system", step->text);
        }
        struct sys_mount_attr attr = {.set = SYS_ATTR_RDONLY | SYS_ATTR_NOSUID | SYS_ATTR_NODEV};
        if (step->kind == ROOTFS_BIND_NOEXEC)
            attr.set |= SYS_ATTR_NOEXEC;
        TRY(sys_mount_setattr_at(root, step->path, AT_RECURSIVE, &attr), "make read-only",
            step->text);
    }
    TRY(chdir("/"), "leave the new root", NULL);
}

const struct stage_node stage_nodes[STAGE_NODES] = {
    {"null", "/dev/null", 1, 3},     {"zero", "/dev/zero", 1, 5},       {"full", "/dev/full", 1, 7},
    {"random", "/dev/random", 1, 8}, {"urandom", "/dev/urandom", 1, 9}, {"tty", "/dev/tty", 5, 0},
};

static void make_dev(const struct stage_args *args, int root)
{
    int dev =
        TRY(sys_open_tree_clone(args->scratch, STAGE_DEV, 0), "take /dev of the scratch", NULL);
    /* Nothing is ever made in /dev but terminals, which devpts makes; its devices work here and
     * nowhere else in the scratch. */
    struct sys_mount_attr attr = {.set = SYS_ATTR_RDONLY | SYS_ATTR_NOSUID | SYS_ATTR_NOEXEC,
                                  .clear = SYS_ATTR_NODEV};
    TRY(sys_mount_setattr(dev, 0, &attr), "make /dev read-only, with devices", NULL);
    attach(args, dev, root, "dev", true);
    for (size_t i = 0; i < STAGE_NODES && !args->make_nodes; i++) {
        const struct stage_node *node = &stage_nodes[i];
        int tree =
            TRY(sys_open_tree_clone(AT_FDCWD, node->host, 0), "open the host's device", node->host);
        TRY(sys_move_mount_at(tree, dev, node->name), "bind the device", node->name);
        fd_close(tree);
    }
    int fs = TRY(sys_fsopen("devpts"), "open devpts", NULL);
    TRY(sys_fsconfig_string(fs, "ptmxmode", "0666"), "set up devpts", NULL);
    TRY(sys_fsconfig_string(fs, "mode", "0620"), "set up devpts", NULL);
    /* Terminals are counted for the whole host (kernel.pty.max): a session gets a share of its own.
     */
    TRY(sys_fsconfig_string(fs, "max", "64"), "set up devpts", NULL);
    TRY(sys_fsconfig_create(fs), "create devpts", NULL);
    int pts = TRY(sys_fsmount(fs, SYS_ATTR_NOSUID | SYS_ATTR_NOEXEC), "mount devpts", NULL);
    fd_close(fs);
    TRY(sys_move_mount_at(pts, dev, "pts"), "attach devpts", NULL);
    fd_close(pts);
    fd_close(dev);
}

/* Attach a copy of the mount at `source_dir`/`source` over what `target` is, read-only. */
static void cover(const struct stage_args *args, int source_dir, const char *source, int target,
                  const char *what)
{
    int tree = TRY(sys_open_tree_clone(source_dir, source, 0), "open the mask for", what);
    struct sys_mount_attr attr = {.set = SYS_ATTR_RDONLY | SYS_ATTR_NOSUID | SYS_ATTR_NOEXEC};
    TRY(sys_mount_setattr(tree, 0, &attr), "make the mask read-only for", what);
    TRY(sys_move_mount_fd(tree, target), "mask", what);
    fd_close(tree);
}

/* What stands there is the kernel's and no session's, and is named without a link on the way: an
 * empty thing of the same kind is bound on each name that this kernel has. A copy of a mount is
 * what that mount is: /dev is read-only, a device of the host is not. */
static void mask_proc(const struct stage_args *args, int proc)
{
    static const char *const sources[] = {"../dev/null", "../dev/.empty"};
    unsigned masked[ARRAY_LENGTH(sources)] = {0};
    TRY(fchdir(proc), "enter /proc", NULL);
    for (const char *const *p = rootfs_proc_masked; *p; p++) {
        char name[32];
        size_t n = strlen(*p);
        bool directory = (*p)[n - 1] == '/';
        memcpy(name, *p, n + 1);
        name[n - directory] = 0;
        if (mount(sources[directory], name, NULL, MS_BIND, NULL) < 0) {
            if (errno == ENOENT)
                continue;
            stage_fail(args, "mask in /proc", *p);
        }
        masked[directory]++;
        struct sys_mount_attr attr = {.set = SYS_ATTR_RDONLY | SYS_ATTR_NOSUID | SYS_ATTR_NOEXEC};
        if (!args->make_nodes && !directory)
            TRY(sys_mount_setattr_at(proc, name, 0, &attr), "make the mask read-only for", *p);
    }
    /* The last name of each kind is in every procfs: what is missing then is what masks. */
    for (size_t i = 0; i < ARRAY_LENGTH(sources); i++)
        if (masked[i] == 0) {
            errno = ENOENT;
            stage_fail(args, "mask in /proc", sources[i]);
        }
    TRY(chdir("/"), "leave /proc", NULL);
}

/* procfs of the session's own PID namespace, which this process is the first of. `ret_sysctl_user`
 * stays usable after /proc/sys has become read-only. */
static int make_proc(const struct stage_args *args, int root, int *ret_sysctl_user)
{
    int fs = TRY(sys_fsopen("proc"), "open procfs", NULL);
    TRY(sys_fsconfig_string(fs, "hidepid", "invisible"), "hide other users' processes", NULL);
    TRY(sys_fsconfig_create(fs), "create procfs", NULL);
    int proc = TRY(sys_fsmount(fs, SYS_ATTR_NOSUID | SYS_ATTR_NODEV | SYS_ATTR_NOEXEC),
                   "mount procfs", NULL);
    fd_close(fs);
    attach(args, proc, root, "proc", true);
    *ret_sysctl_user = TRY(openat(proc, "sys/user", O_PATH | O_DIRECTORY | O_CLOEXEC),
                           "open /proc/sys/user", NULL);

    mask_proc(args, proc);
    int sys = TRY(sys_open_tree_clone(proc, "sys", 0), "open /proc/sys", NULL);
    struct sys_mount_attr attr = {.set = SYS_ATTR_RDONLY | SYS_ATTR_NOSUID | SYS_ATTR_NODEV |
                                         SYS_ATTR_NOEXEC};
    TRY(sys_mount_setattr(sys, 0, &attr), "make /proc/sys read-only", NULL);
    TRY(sys_move_mount_at(sys, proc, "sys"), "attach /proc/sys", NULL);
    fd_close(sys);
    return proc;
}

/* Which descriptor of a message is what (struct stage_late); each returns how many there must be.
 */
static unsigned place_roots(struct stage_args *args, const int *fds)
{
    args->scratch = fds[0];
    return 1;
}

static unsigned place_workspace(struct stage_args *args, const int *fds)
{
    unsigned n = 0;
    args->workspace_tree = args->late->has_workspace ? fds[n++] : -1;
    for (uint32_t i = 0; i < args->late->mount_count; i++)
        args->mount_trees[i] = fds[n++];
    return n;
}

static unsigned place_identity(struct stage_args *args, const int *fds)
{
    unsigned n = 0;
    args->userns = fds[n++];
    args->cgroupns = args->late->has_cgroupns ? fds[n++] : -1;
    return n;
}

static unsigned place_descriptors(struct stage_args *args, const int *fds)
{
    unsigned n = 0;
    for (int i = 0; i < AGENT_FD_END; i++)
        if (args->late->has_agent_fd[i])
            args->agent_fds[i] = fds[n++];
    return n;
}

/* Wait for a part of the launcher's: its memory and its descriptors. */
static void receive_late(struct stage_args *args,
                         unsigned (*place)(struct stage_args *args, const int *fds))
{
    int fds[STAGE_LATE_FDS_MAX];
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof fds)];
    } control;
    char byte;
    struct iovec part = {&byte, 1};
    /* Not CMSG_SPACE, in which there may be room for one more. */
    struct msghdr message = {
        .msg_iov = &part,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_LEN(sizeof fds),
    };
    ssize_t n;
    do
        n = recvmsg(args->agent_fds[AGENT_FD_CONTROL], &message, MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n != 1 || (message.msg_flags & MSG_CTRUNC)) {
        if (n >= 0)
            errno = ECONNRESET;
        stage_fail(args, "wait for the launcher's part", NULL);
    }
    const struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    size_t bytes = c && c->cmsg_type == SCM_RIGHTS ? c->cmsg_len - CMSG_LEN(0) : 0;
    memset(fds, -1, sizeof fds);
    if (bytes > 0)
        memcpy(fds, CMSG_DATA(c), bytes);
    if (bytes != place(args, fds) * sizeof(int)) {
        errno = EPROTO;
        stage_fail(args, "read the launcher's part", NULL);
    }
}

/* A path of the workspace as a descriptor. Its content is hostile: no symlink is followed anywhere.
 */
static int open_beneath(int tree, const char *path)
{
    return sys_openat2(tree, path, O_PATH | O_NOFOLLOW,
                       RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

static int workspace_open_path(const struct stage_args *args, int workspace, const char *path)
{
    return TRY(open_beneath(workspace, path), "open a protected path of the workspace", path);
}

/* Bind a path of the workspace on itself. Source and target are one descriptor, so that a rename
 * between the two cannot make them differ. */
static void bind_on_itself(const struct stage_args *args, int workspace, const char *path,
                           uint64_t attributes)
{
    int place = workspace_open_path(args, workspace, path);
    int tree = TRY(sys_open_tree_clone(place, "", AT_EMPTY_PATH), "copy a protected path", path);
    struct sys_mount_attr attr = {.set = attributes};
    if (attributes)
        TRY(sys_mount_setattr(tree, 0, &attr), "make a protected path read-only", path);
    TRY(sys_move_mount_fd(tree, place), "protect", path);
    fd_close(tree);
    fd_close(place);
}

/* WS-3. Bind the path read-only on itself, and each of its ancestors writable on itself: a
 * directory that is a mount point cannot be renamed or removed, so the path cannot be moved away
 * with a parent. An ancestor that is held already stays as it is; the paths come sorted, so it is a
 * prefix of the one before. */
static void protect(const struct stage_args *args, int workspace, const char *path, char *held)
{
    for (size_t i = 1; path[i]; i++) {
        if (path[i] != '/')
            continue;
        if (strncmp(held, path, i) == 0 && (held[i] == 0 || held[i] == '/'))
            continue;
        memcpy(held, path, i);
        held[i] = 0;
        bind_on_itself(args, workspace, held, 0);
    }
    bind_on_itself(args, workspace, path, SYS_ATTR_RDONLY);
}

/* Bind each directory above `path` on itself, with what is mounted in it: a mount point cannot be
 * renamed, so the cover cannot be moved away while something else is put at the path. */
static void hold_ancestors(const struct stage_args *args, int tree, const char *path)
{
    char part[SPEC_PATH_MAX];
    for (size_t i = 0; path[i]; i++) {
        struct statx at;
        part[i] = path[i];
        if (path[i] != '/')
            continue;
        part[i] = 0;
        int place = TRY(open_beneath(tree, part), "open a directory above one to hide", part);
        TRY(syscall(SYS_statx, place, "", AT_EMPTY_PATH, 0u, &at),
            "look at a directory above one to hide", part);
        if (!(at.stx_attributes & STATX_ATTR_MOUNT_ROOT)) {
            int copy = TRY(sys_open_tree_clone(place, "", AT_EMPTY_PATH | AT_RECURSIVE),
                           "copy a directory above one to hide", part);
            TRY(sys_move_mount_fd(copy, place), "hold a directory above one to hide", part);
            fd_close(copy);
        }
        fd_close(place);
        part[i] = '/';
    }
}

/* Before anything else is attached: a later mount may cover a path of this one. A socket that its
 * program has removed since it was found needs no mask. */
static void mask(const struct stage_args *args, int root, int tree, int32_t mount)
{
    for (uint32_t i = 0; i < args->late->masked_count; i++) {
        const struct stage_masked *masked = &args->late->masked[i];
        if (masked->mount != mount)
            continue;
        if (masked->directory)
            hold_ancestors(args, tree, masked->path);
        int target = open_beneath(tree, masked->path);
        if (target < 0 && errno == ENOENT && !masked->directory)
            continue;
        TRY(target, "open what is to be masked", masked->path);
        cover(args, root, masked->directory ? "dev/.empty" : "dev/null", target, masked->path);
        fd_close(target);
    }
}

/* The rest of `path` when it is beneath `top`, else NULL. */
static const char *rest_beneath(const char *path, const char *top)
{
    size_t n = strlen(top);
    return strncmp(path, top, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

/* The place of a mount in the workspace or in a mount before it is looked for from there, and no
 * link is followed: who can write there, in this session or an earlier one, would else choose what
 * of the session's system the mount covers. It is not made either, because it would be made on the
 * host. */
static void attach_mount(const struct stage_args *args, int root, uint32_t i)
{
    const struct spec *spec = args->spec;
    const char *path = spec->mounts[i].target, *where = NULL;
    bool directory = args->late->mount_is_directory[i];
    int base = -1;
    if (args->late->has_workspace && (where = rest_beneath(path, spec->workspace.mount_path)))
        base = args->workspace_tree;
    for (uint32_t k = 0; k < i; k++) {
        const char *rest = rest_beneath(path, spec->mounts[k].target);
        if (rest && (!where || rest > where)) {
            where = rest;
            base = args->mount_trees[k];
        }
    }
    if (base < 0) {
        attach(args, args->mount_trees[i], root, path + 1, directory);
        return;
    }
    int place = TRY(sys_openat2(base, where, (uint64_t)(O_PATH | (directory ? O_DIRECTORY : 0)),
                                RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS),
                    "find the place for a mount", path);
    TRY(sys_move_mount_fd(args->mount_trees[i], place), "attach a mount at", path);
    fd_close(place);
}

/* A placeholder is an empty socket, and they are all alike: the others at the top of the workspace
 * are covered with copies of the first one's mount, which is read-only already. Half the calls of
 * bind_on_itself(), and no directory on the way whose meaning could change. False when it did not
 * come about, for whatever reason. */
static bool cover_alike(int workspace, const char *first, const char *path)
{
    int tree = sys_open_tree_clone(workspace, first, 0);
    if (tree < 0)
        return false;
    int r = sys_move_mount_at(tree, workspace, path);
    fd_close(tree);
    return r == 0;
}

static void protect_all(const struct stage_args *args)
{
    const struct stage_late *late = args->late;
    int workspace = args->workspace_tree;
    char held[SPEC_PROTECT_PATH_MAX] = "";
    const char *first = NULL;
    for (uint32_t i = 0; i < late->protect_count; i++) {
        const char *path = late->protect[i];
        bool alike = late->placeholder[i] && !strchr(path, '/');
        if (alike && first && cover_alike(workspace, first, path))
            continue;
        protect(args, workspace, path, held);
        if (alike)
            first = path;
    }
}

static void make_workspace(const struct stage_args *args, int root)
{
    const struct stage_late *late = args->late;
    const char *where = args->spec->workspace.mount_path + 1;
    if (late->has_workspace) {
        int workspace = args->workspace_tree;
        attach(args, workspace, root, where, true);
        protect_all(args);
        mask(args, root, workspace, STAGE_MASKED_WORKSPACE);
    } else {
        int place = place_target(args, root, where, true);
        TRY(fchownat(place, "", args->user_uid, args->user_gid, AT_EMPTY_PATH),
            "own the working directory", where);
        fd_close(place);
    }
    for (uint32_t i = 0; i < late->mount_count; i++) {
        attach_mount(args, root, i);
        mask(args, root, args->mount_trees[i], (int32_t)i);
    }
}

/* The root directory with what is the same for every session of its image. */
static int make_system(const struct stage_args *args)
{
    int root = make_root(args);
    if (!args->plan->fresh)
        populate(args, root);
    if (args->plan->fresh)
        bind_host(args, root);
    make_dev(args, root);
    return root;
}

static void turn_to(const struct stage_args *args, int root)
{
    TRY(fchdir(root), "enter the new root", NULL);
    TRY(sys_pivot_root(".", "."), "pivot to the new root", NULL);
    TRY(umount2(".", MNT_DETACH), "detach the host's root", NULL);
    TRY(chdir("/"), "enter the root directory", NULL);
    char where[8];
    if (!getcwd(where, sizeof where) || strcmp(where, "/") != 0)
        stage_fail(args, "check that the root directory is the session's", NULL);
}

/* Where the root stands already, entering its namespace is the turn to it. */
static int enter_prepared(struct stage_args *args)
{
    TRY(setns(args->mounts, CLONE_NEWNS), "enter the prepared root directory", NULL);
    fd_close(args->mounts);
    args->mounts = -1;
    return TRY(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "open the new root", NULL);
}

static void assemble(struct stage_args *args, int *ret_sysctl_user)
{
    mode_t umask_before = umask(0);
    bool prepared = args->mounts >= 0;
    if (!prepared)
        receive_late(args, place_roots);
    int root = prepared ? enter_prepared(args) : make_system(args);
    make_proc(args, root, ret_sysctl_user);
    receive_late(args, place_workspace);
    make_workspace(args, root);
    umask(umask_before);
    if (!prepared)
        turn_to(args, root);
}

/* ---- enter: namespaces, ids, descriptors ----------------------------------------------------- */

/* The loopback interface; the network namespace has no other. */
static void raise_loopback(const struct stage_args *args)
{
    int s = TRY(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "open a socket for lo", NULL);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    TRY(ioctl(s, SIOCSIFFLAGS, &request), "raise lo", NULL);
    fd_close(s);
}

/* Both belong to the user namespace that this process is still in: the session's own owns neither,
 * so nobody inside has rights over them. */
static void make_outer_namespaces(struct stage_args *args)
{
    int missing = (args->netns < 0 ? CLONE_NEWNET : 0) | (args->mounts < 0 ? CLONE_NEWNS : 0);
    if (args->netns >= 0) {
        TRY(setns(args->netns, CLONE_NEWNET), "enter the session's network namespace", NULL);
        fd_close(args->netns);
        args->netns = -1;
    }
    if (missing)
        TRY(unshare(missing), "make the session's mount and network namespaces", NULL);
    if (missing & CLONE_NEWNET)
        raise_loopback(args);
    /* Mounts made here must not travel to the host's namespace, nor its to here. */
    if (missing & CLONE_NEWNS)
        TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private", NULL);
}

/* The socket on which init will listen, by its own listen(2), so that who connects sees init's ids.
 */
static void bind_listener(struct stage_args *args)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = STAGE_SOCKET_NAME};
    struct stat st;
    if (args->listen_dir < 0)
        return;
    TRY(stat("/proc/self/ns/net", &st), "look at the network namespace", NULL);
    args->late->netns_inode = st.st_ino;
    int s = TRY(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), "make init's socket", NULL);
    /* The mode of the file that bind(2) makes is that of the socket, less the umask. */
    TRY(fchmod(s, 0600), "make init's socket", NULL);
    TRY(fchdir(args->listen_dir), "bind init's socket", NULL);
    TRY(bind(s, (const struct sockaddr *)&name, sizeof name), "bind init's socket", NULL);
    if (args->listen_uid != UINT32_MAX)
        TRY(lchown(STAGE_SOCKET_NAME, args->listen_uid, args->listen_gid),
            "give away init's socket", NULL);
    TRY(chdir("/"), "bind init's socket", NULL);
    fd_close(args->listen_dir);
    args->listen_dir = -1;
    args->agent_fds[AGENT_FD_LISTEN] = s;
}

/* Nobody in the session may make another namespace, even if a filter had a hole; and what a user
 * could otherwise exhaust for the host is bounded (user_namespaces(7), /proc/sys/user). */
static void bound_namespaces(const struct stage_args *args, int sysctl_user)
{
    static const struct {
        const char *name, *value;
        bool optional, rootless;
    } caps[] = {
        {"max_user_namespaces", "0", false, false},
        {"max_mnt_namespaces", "0", false, false},
        {"max_pid_namespaces", "0", false, false},
        {"max_net_namespaces", "0", false, false},
        {"max_ipc_namespaces", "0", false, false},
        {"max_uts_namespaces", "0", false, false},
        {"max_cgroup_namespaces", "0", false, false},
        {"max_time_namespaces", "0", false, false},
        {"max_fanotify_groups", "0", true, false},
        /* An ordinary user's sessions draw on his own budget, half of which stays his; root's have
         * one each. */
        {"max_inotify_instances", "64", true, true},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(caps); i++) {
        if (caps[i].rootless && args->make_nodes)
            continue;
        int fd = openat(sysctl_user, caps[i].name, O_WRONLY | O_CLOEXEC);
        if (fd < 0 && caps[i].optional && errno == ENOENT)
            continue;
        TRY(fd, "open a limit on namespaces", caps[i].name);
        TRY(write(fd, caps[i].value, strlen(caps[i].value)), "set a limit on namespaces",
            caps[i].name);
        fd_close(fd);
    }
}

/* The session's cgroup as a mount of its own, in which ".." of whatever is opened ends: the rest of
 * the host's tree is out of init's reach. It goes with the host's root, and what is open in it
 * stays (to clone a mount and never attach it does the same, and costs a grace period of RCU: where
 * the host's root is gone already, the launcher does that and waits for it later). */
static int hold_cgroup(const struct stage_args *args)
{
    const char *path = args->cgroup_dir;
    if (!path)
        return -1;
    TRY(mount(path, path, NULL, MS_BIND, NULL), "hold the session's cgroup", path);
    return TRY(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), "hold the session's cgroup", path);
}

/* `run` is there, and is init's, when the identity has come. */
static void open_cgroup(struct stage_args *args, int cgroup)
{
    if (cgroup < 0)
        return;
    args->agent_fds[AGENT_FD_CGROUP] =
        TRY(openat(cgroup, "run", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
            "open the session's cgroup", args->cgroup_dir);
    fd_close(cgroup);
}

static void enter_namespaces(const struct stage_args *args, int sysctl_user)
{
    TRY(setns(args->userns, CLONE_NEWUSER), "enter the user namespace", NULL);
    if (args->cgroupns >= 0)
        TRY(setns(args->cgroupns, CLONE_NEWCGROUP), "enter the cgroup namespace", NULL);
    /* The copy of the mount namespace into this user namespace locks every mount in it. */
    TRY(unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS |
                (args->cgroupns < 0 ? CLONE_NEWCGROUP : 0)),
        "make the session's namespaces", NULL);
    TRY(sethostname(args->hostname, strlen(args->hostname)), "set the host name", args->hostname);
    bound_namespaces(args, sysctl_user);
    fd_close(sysctl_user);
}

/* init's program starts as the session's root with capabilities there, and gives them up itself as
 * the first thing it does. A session with one id has no root inside: then they are ambient. */
static void take_ids(const struct stage_args *args)
{
    uint32_t id = args->single_uid ? SPEC_UID_USER : SPEC_UID_ROOT;
    if (!args->single_uid)
        TRY(setgroups(0, NULL), "drop the launcher's groups", NULL);
    /* These bits keep the capabilities over the change of id, which comes from outside the map. */
    TRY(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0), "keep capabilities", NULL);
    TRY(setresgid(id, id, id), "take the session's group id", NULL);
    TRY(setresuid(id, id, id), "take the session's user id", NULL);
    TRY(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0), "restore the rules of capabilities", NULL);
    if (!args->single_uid)
        return;
    static const int kept[] = {CAP_SETPCAP, CAP_SETUID, CAP_SETGID, CAP_KILL};
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++)
        data[0].permitted |= 1u << kept[i];
    data[0].effective = data[0].inheritable = data[0].permitted;
    TRY(syscall(SYS_capset, &header, data), "reduce capabilities", NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++)
        TRY(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept[i], 0, 0), "keep capabilities", NULL);
}

static void take_descriptors(struct stage_args *args)
{
    /* First out of the way of each other, then into place. Errors go to the copy from then on. */
    for (int i = AGENT_FD_CONTROL; i < AGENT_FD_END; i++)
        if (args->agent_fds[i] >= 0)
            args->agent_fds[i] = TRY(fcntl(args->agent_fds[i], F_DUPFD_CLOEXEC, AGENT_FD_END + 2),
                                     "move a descriptor", NULL);
    args->init =
        TRY(fcntl(args->init, F_DUPFD_CLOEXEC, AGENT_FD_END + 2), "move a descriptor", NULL);
    int null = TRY(open("/dev/null", O_RDWR | O_CLOEXEC), "open the session's /dev/null", NULL);
    for (int i = 0; i < 3; i++)
        TRY(dup2(null, i), "set standard descriptors", NULL);
    for (int i = AGENT_FD_CONTROL; i < AGENT_FD_END; i++) {
        if (args->agent_fds[i] >= 0)
            TRY(dup2(args->agent_fds[i], i), "place a descriptor", NULL);
        else
            close(i);
    }
    TRY(dup3(args->init, AGENT_FD_END, O_CLOEXEC), "place a descriptor", NULL);
    args->agent_fds[AGENT_FD_FRAMES] = AGENT_FD_FRAMES;
    TRY(sys_close_range(AGENT_FD_END + 1, ~0u), "close the launcher's descriptors", NULL);
}

/* A launcher that is a protected service would otherwise have sessions that the kernel never ends
 * when they run out of their memory; raising the score is always allowed (proc(5), oom_score_adj).
 */
static void take_oom_score(const struct stage_args *args)
{
    int fd = TRY(open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC), "read the OOM score", NULL);
    char text[8] = "";
    TRY(read(fd, text, sizeof text - 1), "read the OOM score", NULL);
    if (text[0] == '-')
        TRY(pwrite(fd, "0", 1, 0), "raise the OOM score", NULL);
    fd_close(fd);
}

/* The child has a copy of every descriptor of the launcher: among them the other ends of its own
 * channels, the reaper's pipe, the locks of the run and the caller's output. While it held those,
 * the end of the launcher would be seen by nobody. Only what stage_args names stays. */
static void drop_descriptors(struct stage_args *args)
{
    int *const kept[] = {&args->agent_fds[AGENT_FD_CONTROL],
                         &args->agent_fds[AGENT_FD_FRAMES],
                         &args->init,
                         &args->image_tree,
                         &args->netns,
                         &args->mounts,
                         &args->scratch,
                         &args->listen_dir,
                         &args->agent_fds[AGENT_FD_HOLD]};
    int null = TRY(open("/dev/null", O_RDWR | O_CLOEXEC), "open /dev/null", NULL);
    /* A caller without standard streams has left 0 to 2 to whatever was opened first. */
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++)
        if (*kept[i] >= 0 && *kept[i] < 3)
            *kept[i] = TRY(fcntl(*kept[i], F_DUPFD_CLOEXEC, 3), "keep a descriptor", NULL);
    for (int i = 0; i < 3; i++)
        if (i != null)
            TRY(dup2(null, i), "set standard descriptors", NULL);
    int numbers[ARRAY_LENGTH(kept)];
    for (size_t i = 0; i < ARRAY_LENGTH(kept); i++)
        numbers[i] = *kept[i];
    TRY(fd_keep_only(numbers, ARRAY_LENGTH(numbers)), "close the launcher's descriptors", NULL);
}

/* How the caller was scheduled, and with which personality, is not the session's: real-time
 * priority would starve the host, a fixed address layout would reach PID 1. A lower priority stays.
 */
static void drop_inherited(const struct stage_args *args)
{
    TRY(personality(PER_LINUX), "reset the personality", NULL);
    /* By number: musl has no scheduling calls, because POSIX means something else by them. */
    long now = TRY(syscall(SYS_sched_getscheduler, 0), "read the scheduling policy", NULL);
    long policy = now & ~(long)SCHED_RESET_ON_FORK;
    struct sched_param none = {0};
    if (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE)
        TRY(syscall(SYS_sched_setscheduler, 0, SCHED_OTHER, &none), "reset the scheduling policy",
            NULL);
    /* The kernel's own answer is 20 - nice: -1 is a failure and nothing else. */
    if (TRY(syscall(SYS_getpriority, PRIO_PROCESS, 0), "read the priority", NULL) > 20)
        TRY(setpriority(PRIO_PROCESS, 0, 0), "reset the priority", NULL);
    /* init makes it 1 and says why (runtime/agent/setup.c); raising a hard limit of 0 is root's. */
    struct rlimit core;
    TRY(getrlimit(RLIMIT_CORE, &core), "read a limit", "core");
    if (core.rlim_max == 0) {
        core = (struct rlimit){1, 1};
        if (setrlimit(RLIMIT_CORE, &core) < 0 && errno != EPERM)
            stage_fail(args, "set a limit", "core");
    }
}

_Noreturn void stage_main(const struct stage_args *prepared)
{
    struct stage_args copy = *prepared, *args = &copy;
    /* For as long as the credentials do not change, which clears it; then the end of the control
     * socket does the same, and init sets it for good. */
    TRY(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "tie the session to its launcher", NULL);
    drop_descriptors(args);
    sigset_t none;
    sigemptyset(&none);
    TRY(sigprocmask(SIG_SETMASK, &none, NULL), "clear the signal mask", NULL);
    TRY(prctl(PR_SET_NAME, "berth: stage", 0, 0, 0), "name the process", NULL);
    make_outer_namespaces(args);
    drop_inherited(args);
    take_oom_score(args);
    bool lasts = args->listen_dir >= 0;
    bind_listener(args);

    int sysctl_user = -1, cgroup = args->mounts < 0 ? hold_cgroup(args) : -1;
    assemble(args, &sysctl_user);
    receive_late(args, place_identity);
    enter_namespaces(args, sysctl_user);
    take_ids(args);
    TRY(setsid(), "start a new terminal session", NULL);
    /* Other ids have cleared it. */
    TRY(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "tie the session to its launcher", NULL);
    receive_late(args, place_descriptors);
    open_cgroup(args, cgroup);
    if (lasts)
        TRY(prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0), "free the session of its maker", NULL);
    take_descriptors(args);

    char name[] = "berth: init";
    char *const argv[] = {name, NULL}, *const envp[] = {NULL};
    sys_execveat(AGENT_FD_END, argv, envp);
    stage_fail(args, "start init's program", NULL);
}

_Noreturn void stage_root_main(const struct stage_args *prepared)
{
    struct stage_args copy = *prepared, *args = &copy;
    TRY(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "tie the process to its launcher", NULL);
    drop_descriptors(args);
    TRY(prctl(PR_SET_NAME, "berth: stage", 0, 0, 0), "name the process", NULL);
    TRY(unshare(CLONE_NEWNS), "make a mount namespace", NULL);
    TRY(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make mounts private", NULL);
    umask(0);
    turn_to(args, make_system(args));
    const struct agent_frame ready = {
        .magic = AGENT_MAGIC, .version = AGENT_VERSION, .type = AGENT_FRAME_READY};
    TRY(write(args->agent_fds[AGENT_FD_FRAMES], &ready, sizeof ready), "tell that it stands", NULL);
    char byte;
    while (read(args->agent_fds[AGENT_FD_CONTROL], &byte, 1) < 0 && errno == EINTR)
        ;
    _exit(0);
}
