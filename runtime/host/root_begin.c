/* This file makes file systems of a session's own that have no name yet; it never attaches one and
 * never opens a path that is not in them (root_begin.h).
 */
#include "runtime/host/root_begin.h"

#include "runtime/base/fd.h"
#include "runtime/stage/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int fail(struct err *err, const char *step, const char *subject)
{
    return err_raw(err, ERR_INTERNAL, errno, step, subject);
}

static int make_scratch(const struct root_begin *w, int *ret_mount, struct err *err)
{
    _cleanup_fd_ int fs = sys_fsopen("tmpfs");
    if (fs < 0)
        return fail(err, "open a tmpfs for the scratch", NULL);
    if (sys_fsconfig_string(fs, "size", w->scratch_size) < 0)
        return fail(err, "set the size of the scratch", NULL);
    if (sys_fsconfig_string(fs, "nr_inodes", w->scratch_inodes) < 0)
        return fail(err, "set the inodes of the scratch", NULL);
    if (sys_fsconfig_string(fs, "mode", "755") < 0)
        return fail(err, "set the mode of the scratch", NULL);
    if (sys_fsconfig_create(fs) < 0)
        return fail(err, "create the scratch", NULL);
    _cleanup_fd_ int mount = sys_fsmount(fs, SYS_ATTR_NOSUID | SYS_ATTR_NODEV);
    if (mount < 0)
        return fail(err, "mount the scratch", NULL);
    if (fchownat(mount, "", w->root_uid, w->root_gid, AT_EMPTY_PATH) < 0)
        return fail(err, "own the scratch", NULL);
    *ret_mount = take_fd(&mount);
    return 0;
}

/* ---- a fresh root -------------------------------------------------------------------------------
 */

static int make_file(int root, const struct rootfs_step *step, struct err *err)
{
    _cleanup_fd_ int fd =
        openat(root, step->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, step->mode);
    if (fd < 0)
        return fail(err, "make a file of the root directory", step->path);
    size_t length = strlen(step->text);
    if (write(fd, step->text, length) != (ssize_t)length)
        return fail(err, "write a file of the root directory", step->path);
    return 0;
}

static int link_like(int root, const struct rootfs_step *step, const char *to, struct err *err)
{
    return symlinkat(to, root, step->path) < 0 ? fail(err, "copy a link of the host", step->path)
                                               : 0;
}

/* The place for a read-only view of a path of the host. A link of the host into its /usr becomes
 * the same link. 1: to be bound. */
static int make_place(int root, const struct rootfs_step *step, struct err *err)
{
    struct stat st;
    char link[256];
    ssize_t n = step->optional ? readlinkat(AT_FDCWD, step->text, link, sizeof link - 1) : 0;
    if (n < 0 && errno == ENOENT)
        return 0;
    link[n > 0 ? n : 0] = 0;
    if (strncmp(link, "/usr/", 5) == 0 || strncmp(link, "../usr/", 7) == 0)
        return link_like(root, step, link, err);
    if (fstatat(AT_FDCWD, step->text, &st, 0) < 0)
        return step->optional && errno == ENOENT
                   ? 0
                   : fail(err, "look at a part of the host's system", step->text);
    if (S_ISDIR(st.st_mode))
        return mkdirat(root, step->path, 0755) < 0 && errno != EEXIST
                   ? fail(err, "make a mount target", step->path)
                   : 1;
    _cleanup_fd_ int file =
        openat(root, step->path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    return file < 0 ? fail(err, "make a mount target", step->path) : 1;
}

static int make_step(int root, const struct rootfs_step *step, struct err *err)
{
    switch (step->kind) {
    case ROOTFS_DIRECTORY:
        return mkdirat(root, step->path, step->mode) < 0
                   ? fail(err, "make a directory of the root", step->path)
                   : 0;
    case ROOTFS_SYMLINK:
        return symlinkat(step->text, root, step->path) < 0
                   ? fail(err, "make a link of the root", step->path)
                   : 0;
    case ROOTFS_FILE:
    case ROOTFS_FILE_DEFAULT:
        return make_file(root, step, err);
    default:
        return make_place(root, step, err);
    }
}

/* As whom the process makes files: itself, or the session's root, so that they are born as his and
 * none is given to him by a call of its own (2 µs each, 45 of them). */
struct maker {
    uint32_t uid, gid; /* now */
    uint32_t own_uid, own_gid;
    int dumpable;
    bool may_change;
};

/* Another file-system id clears the signal for a parent's death and dumpability (credentials(7),
 * kernel/cred.c): who has asked for that signal keeps his ids, the other is put back. */
static void maker_begin(struct maker *m)
{
    int death = 0;
    m->uid = m->own_uid = (uint32_t)setfsuid((uid_t)-1);
    m->gid = m->own_gid = (uint32_t)setfsgid((gid_t)-1);
    m->dumpable = prctl(PR_GET_DUMPABLE);
    m->may_change = prctl(PR_GET_PDEATHSIG, &death) == 0 && death == 0;
}

static int maker_become(struct maker *m, uint32_t uid, uint32_t gid)
{
    if (m->uid == uid && m->gid == gid)
        return 0;
    setfsgid(gid);
    setfsuid(uid);
    /* They do not report failure: ask what it is now. */
    m->uid = (uint32_t)setfsuid((uid_t)-1);
    m->gid = (uint32_t)setfsgid((gid_t)-1);
    return m->uid == uid && m->gid == gid ? 0 : -EPERM;
}

static int maker_end(struct maker *m, struct err *err)
{
    bool changed = m->may_change && m->dumpable == 1;
    if (maker_become(m, m->own_uid, m->own_gid) < 0)
        return err_raw(err, ERR_INTERNAL, EPERM, "take back the ids of the process", NULL);
    if (changed && prctl(PR_SET_DUMPABLE, 1) < 0)
        return err_raw(err, ERR_INTERNAL, errno, "become dumpable again", NULL);
    return 0;
}

static bool is_place(const struct rootfs_step *step)
{
    return step->kind == ROOTFS_BIND || step->kind == ROOTFS_BIND_NOEXEC;
}

/* What is the session's own. */
static int make_own(const struct root_begin *w, int root, struct maker *m,
                    const struct rootfs_step *step, struct err *err)
{
    bool given = step->kind == ROOTFS_DIRECTORY && step->owner != 0;
    bool nobodys = given && step->owner == SPEC_UID_NOBODY;
    bool as_root = m->may_change && !given; /* a home is made in what is root's */
    if (maker_become(m, as_root ? w->root_uid : m->own_uid, as_root ? w->root_gid : m->own_gid) < 0)
        return err_raw(err, ERR_INTERNAL, EPERM, "make files as the session's root", step->path);
    int r = make_step(root, step, err);
    if (r < 0 || as_root)
        return r;
    if (fchownat(root, step->path,
                 nobodys ? w->nobody
                 : given ? w->user_uid
                         : w->root_uid,
                 nobodys ? w->nobody
                 : given ? w->user_gid
                         : w->root_gid,
                 AT_SYMLINK_NOFOLLOW) < 0)
        return fail(err, "give a part of the root to the session", step->path);
    return 0;
}

/* Its paths are what they say: only this process has made anything in it. Places are leaves, so
 * they can come last: the host's paths are looked at with all rights of the process. */
static int populate(const struct root_begin *w, int root, bool *ret_bind, struct err *err)
{
    struct maker m;
    struct err back = {0};
    int r = 0;
    maker_begin(&m);
    for (uint32_t i = 0; r == 0 && i < w->plan->count; i++)
        if (!is_place(&w->plan->steps[i]))
            r = make_own(w, root, &m, &w->plan->steps[i], err);
    int ended = maker_end(&m, &back);
    if (ended < 0) {
        *err = back; /* worse than what may have failed before */
        return ended;
    }
    for (uint32_t i = 0; r >= 0 && i < w->plan->count; i++)
        if (is_place(&w->plan->steps[i])) {
            r = make_step(root, &w->plan->steps[i], err);
            ret_bind[i] = r == 1;
        }
    return r < 0 ? r : 0;
}

/* ---- /dev ---------------------------------------------------------------------------------------
 */

static int make_nodes(const struct root_begin *w, int dev, struct err *err)
{
    for (size_t i = 0; i < STAGE_NODES; i++) {
        const struct stage_node *node = &stage_nodes[i];
        if (w->make_nodes) {
            if (mknodat(dev, node->name, S_IFCHR | 0666, makedev(node->major, node->minor)) < 0)
                return fail(err, "make the device", node->name);
            continue;
        }
        /* The host's is bound on it. */
        int fd = openat(dev, node->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0)
            return fail(err, "make the device", node->name);
        fd_close(fd);
    }
    return 0;
}

static int make_dev(const struct root_begin *w, int scratch, struct err *err)
{
    static const struct {
        const char *name, *to;
    } links[] = {
        {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
        {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},         {"shm", "/run/shm"},
    };
    if (!w->plan->fresh) {
        if (mkdirat(scratch, STAGE_DEV, 0755) < 0)
            return fail(err, "make a directory for /dev", NULL);
        if (fchownat(scratch, STAGE_DEV, w->root_uid, w->root_gid, AT_SYMLINK_NOFOLLOW) < 0)
            return fail(err, "own /dev", NULL);
    }
    _cleanup_fd_ int dev =
        openat(scratch, STAGE_DEV, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dev < 0)
        return fail(err, "open the directory for /dev", NULL);
    if (mkdirat(dev, "pts", 0755) < 0)
        return fail(err, "make /dev/pts", NULL);
    if (mkdirat(dev, ".empty", 0555) < 0)
        return fail(err, "make the empty directory of masks", NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(links); i++)
        if (symlinkat(links[i].to, dev, links[i].name) < 0)
            return fail(err, "make a link of /dev", links[i].name);
    return make_nodes(w, dev, err);
}

int root_begin(const struct root_begin *w, int *ret_scratch, bool ret_bind[ROOTFS_STEPS_MAX],
               struct err *err)
{
    _cleanup_fd_ int scratch = -1;
    mode_t before = umask(0); /* of the process, which has one thread */
    int r = make_scratch(w, &scratch, err);
    if (r == 0 && w->plan->fresh)
        r = populate(w, scratch, ret_bind, err);
    if (r == 0)
        r = make_dev(w, scratch, err);
    umask(before);
    if (r == 0)
        *ret_scratch = take_fd(&scratch);
    return r;
}

int root_resize(int scratch, const char *size, const char *inodes)
{
    _cleanup_fd_ int fs = sys_fspick(scratch);
    if (fs < 0 || sys_fsconfig_string(fs, "size", size) < 0 ||
        sys_fsconfig_string(fs, "nr_inodes", inodes) < 0 || sys_fsconfig_reconfigure(fs) < 0)
        return -errno;
    return 0;
}
