/* This file opens the workspace of a session that does not run and has the file worker's core do
 * one operation beneath it; it never mounts and never makes a volume.
 *
 * PRIVILEGED: the launcher's worker. Namespace: the host's mount namespace. Should: take the
 * owner's rights before the first path of a client is looked at. Mustn't: resolve such a path with
 * its own rights, or let one lead out of the workspace. Callers: the launcher of `berth serve`.
 *
 * WS-2: who writes is a user of the workspace for that time, by a record of use and beside a
 * volume's lock, so he is refused where a session lives that shares with nobody, and such a session
 * is refused while he writes. Writers of files are in each other's way as little as those in one
 * session, and its own session, which may be frozen, is in nobody's. Who reads changes nothing and
 * needs no record. The launcher's worker holds the lock of the session's row, so whatever becomes
 * of the session next waits until nothing is written any more. That it does not wait long, it dies
 * with the launcher, whose front it would answer.
 */
#include "runtime/host/files_parked.h"

#include "runtime/agent/files.h"
#include "runtime/base/fd.h"
#include "runtime/base/units.h"
#include "runtime/host/lasting.h"
#include "runtime/host/runtime_internal.h"
#include "runtime/host/volume.h"
#include "runtime/host/workspace_home.h"
#include "runtime/host/workspace_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static const char step_name[] = "open the workspace";

enum { GIT_COUNT = 1 };

struct parked {
    struct runtime *rt;
    const struct spec *spec;
    struct asker asker; /* who asks */
    struct asker owner; /* who the session's user is on the host */
    int root;
    struct stat stat;
    struct files_view view;
    int share;                    /* of the use; -1 */
    char use_name[USE_NAME_SIZE]; /* of its record; "" for none */
    int use_lock, volume_lock;
    const char *protect[SPEC_PROTECT_MAX + SPEC_MOUNTS_MAX + OWN_COUNT + GIT_COUNT];
    char own[OWN_COUNT][SPEC_PATH_MAX];
};

static int open_directory(struct parked *p, struct err *err)
{
    struct pinned pin;
    bool rootless = p->rt->facts.rootless;
    const struct asker *as = rootless ? NULL : &p->asker;
    int r = pin_path(p->spec->workspace.path, as, 0, "the workspace", &pin, err);
    if (r < 0)
        return r;
    p->root = pin.fd;
    p->stat = pin.stat;
    if (!rootless && pin.stat.st_uid == 0 && !p->spec->workspace.allow_root_owned)
        return err_set(err, ERR_FORBIDDEN, 0, step_name, p->spec->workspace.path,
                       "It belongs to root now. Give it to another user (chown).");
    pin_identity(&pin.stat, as, &p->owner.uid, &p->owner.gid);
    p->view.uids = p->view.gids = rootless ? FILES_IDS_ROTATED : FILES_IDS_OWNER;
    return 0;
}

/* As volume_open(), but one that is not there stays so. */
static int open_volume(struct parked *p, struct err *err)
{
    char path[SPEC_PATH_MAX];
    const struct spec *spec = p->spec;
    const char *name = spec->workspace.volume;
    if (!id_valid(spec->workspace_id) || !id_valid(name))
        return err_set(err, ERR_INVALID_REQUEST, 0, step_name, name, "Not a valid id.");
    int n = snprintf(path, sizeof path, "%s/volumes/%s/%s/data", p->rt->state_dir,
                     spec->workspace_id, name);
    if (n < 0 || (size_t)n >= sizeof path)
        return err_set(err, ERR_INTERNAL, ENAMETOOLONG, step_name, name, NULL);
    p->root = pin_openat2(AT_FDCWD, path, O_PATH | O_DIRECTORY, RESOLVE_NO_MAGICLINKS);
    if (p->root < 0)
        return p->root == -ENOENT
                   ? err_set(err, ERR_NOT_FOUND, ENOENT, step_name, name,
                             "There is no such volume: it was removed.")
                   : err_set(err, workspace_code(-p->root), -p->root, step_name, name, NULL);
    if (fstat(p->root, &p->stat) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step_name, name, NULL);
    p->owner.uid = p->stat.st_uid;
    p->owner.gid = p->stat.st_gid;
    p->view.uids = p->view.gids = p->rt->facts.rootless ? FILES_IDS_ROTATED : FILES_IDS_SAME;
    return 0;
}

static int open_root(struct parked *p, struct err *err)
{
    switch ((enum spec_workspace_kind)p->spec->workspace.kind) {
    case SPEC_WORKSPACE_DIRECTORY:
        return open_directory(p, err);
    case SPEC_WORKSPACE_VOLUME:
        return open_volume(p, err);
    case SPEC_WORKSPACE_NONE:
    case SPEC_WORKSPACE_TMPFS:
        return err_set(err, ERR_NOT_FOUND, ENOENT, step_name, p->spec->workspace.mount_path,
                       "The workspace was in memory and is gone while the session does not run. "
                       "Resume the session.");
    case SPEC_WORKSPACE_DISK:
    case SPEC_WORKSPACE_SNAPSHOT:
        break;
    }
    return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, step_name, "workspace.kind",
                   "This kind of workspace is not built in this release.");
}

static void hide(struct files_view *view, const struct stat *st)
{
    if (view->hidden_count == FILES_HIDDEN_MAX)
        return;
    view->hidden[view->hidden_count].device = st->st_dev;
    view->hidden[view->hidden_count++].inode = st->st_ino;
}

/* Where the descriptor's directory is on the host; "" when that cannot be told. */
static void real_path(int fd, char ret[SPEC_PATH_MAX])
{
    char handle[32];
    snprintf(handle, sizeof handle, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(handle, ret, SPEC_PATH_MAX - 1);
    ret[n > 0 ? n : 0] = 0;
}

/* A session sees an empty directory there, which like those above it stays where it is
 * (workspace_own.c). */
static int hide_own(struct parked *p, struct err *err)
{
    const char *const own[OWN_COUNT] = {p->rt->state_dir, p->rt->runtime_dir, p->rt->share_dir};
    char root[SPEC_PATH_MAX];
    real_path(p->root, root);
    size_t n = root[1] ? strlen(root) : 0;
    for (size_t i = 0; i < OWN_COUNT; i++) {
        struct stat st;
        _cleanup_fd_ int fd = open(own[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
            continue;
        if (fd < 0 || fstat(fd, &st) < 0)
            return err_set(err, ERR_UNAVAILABLE, errno, "look at berth's own directory", own[i],
                           NULL);
        hide(&p->view, &st);
        real_path(fd, p->own[i]);
        if (root[0] && strncmp(p->own[i], root, n) == 0 && p->own[i][n] == '/')
            p->protect[p->view.protect_count++] = p->own[i] + n + 1;
    }
    return 0;
}

/* What a session sees at the target of an extra mount is not the workspace's. */
static void hide_mounts(struct parked *p)
{
    const char *at = p->spec->workspace.mount_path;
    size_t n = at[1] ? strlen(at) : 0;
    for (uint32_t i = 0; i < p->spec->mount_count; i++) {
        const char *target = p->spec->mounts[i].target;
        if (strncmp(target, at, n) != 0 || target[n] != '/')
            continue;
        struct stat st;
        p->protect[p->view.protect_count++] = target + n + 1;
        _cleanup_fd_ int fd =
            pin_openat2(p->root, target + n + 1, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (fd >= 0 && fstat(fd, &st) == 0)
            hide(&p->view, &st);
    }
}

/* Is it one where paths are protected that mean something in a home only? (adr/0006) */
static bool is_home(const struct parked *p)
{
    const struct spec *spec = p->spec;
    if (spec->workspace.kind == SPEC_WORKSPACE_DIRECTORY &&
        home_is_known(spec->workspace.path, &p->stat))
        return true;
    for (uint32_t i = 0; i < spec->protect_count; i++) {
        struct stat st;
        _cleanup_fd_ int fd = spec->protect[i].home_sign
                                  ? pin_openat2(p->root, spec->protect[i].path, O_PATH | O_NOFOLLOW,
                                                RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
                                  : -1;
        if (fd >= 0 && fstat(fd, &st) == 0)
            return true;
    }
    return false;
}

/* Also where a running session could not hold it, because a parent is missing: it is no less. */
static void protect(struct parked *p)
{
    bool home = is_home(p);
    for (uint32_t i = 0; i < p->spec->protect_count; i++)
        if (!p->spec->protect[i].home || home)
            p->protect[p->view.protect_count++] = p->spec->protect[i].path;
}

/* What would lead git away from it. Where there is no directory .git, what is made in its place
 * could be a file or a link that does. */
static void protect_git(struct parked *p)
{
    if (!protect_has_git(p->spec))
        return;
    _cleanup_fd_ int fd = pin_openat2(p->root, PROTECT_GIT, O_PATH | O_DIRECTORY | O_NOFOLLOW,
                                      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
    p->protect[p->view.protect_count++] = fd < 0 ? PROTECT_GIT : PROTECT_GIT_COMMON;
}

static int prepare(struct parked *p, bool read_only, struct err *err)
{
    struct files_view *view = &p->view;
    const struct spec *spec = p->spec;
    int r = open_root(p, err);
    if (r == 0)
        r = hide_own(p, err);
    if (r < 0)
        return r;
    hide_mounts(p);
    protect(p);
    protect_git(p);
    view->root = p->root;
    view->beneath = true;
    view->mount_path = spec->workspace.mount_path;
    view->submounts = p->rt->facts.rootless && spec->workspace.kind == SPEC_WORKSPACE_DIRECTORY;
    view->access = read_only                   ? FILES_ARCHIVED
                   : spec->workspace.read_only ? FILES_READ_ONLY
                                               : FILES_WRITABLE;
    view->protect = p->protect;
    view->owner_uid = p->owner.uid;
    view->owner_gid = p->owner.gid;
    view->inside_uid = spec->process.uid;
    view->inside_gid = spec->process.gid;
    return 0;
}

/* ---- WS-2 -------------------------------------------------------------------------------------
 */

/* `berth run` holds a volume by this lock alone where it only reads. */
static int lock_volume(struct parked *p, const char *holder, struct err *err)
{
    _cleanup_fd_ int folder =
        openat(p->root, "..", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder < 0)
        return err_set(err, workspace_code(errno), errno, step_name, p->spec->workspace.volume,
                       NULL);
    return volume_lock(folder, p->spec->workspace.volume, true, holder, &p->volume_lock, err);
}

static int begin_use(struct parked *p, const struct session_name *name, struct err *err)
{
    char holder[224], own[USE_NAME_SIZE];
    struct lasting_names names;
    bool volume = p->spec->workspace.kind == SPEC_WORKSPACE_VOLUME;
    int r = lasting_names_make(name, &names, err);
    if (r < 0)
        return r;
    use_lasting_name(names.id, own);
    snprintf(holder, sizeof holder,
             USE_HOLDER_FILES "session %.64s of workspace %.64s (process %ld)", p->spec->session_id,
             p->spec->workspace_id, (long)getpid());
    const struct use_wish wish = {.exclusive = volume ? USE_FILES : USE_SHARED,
                                  .alone = volume,
                                  .own = own,
                                  .holder = holder,
                                  .path =
                                      volume ? p->spec->workspace.volume : p->spec->workspace.path};
    r = share_open(p->rt->share_dir, &p->share, err);
    if (r == 0)
        r = use_begin(p->share, p->root, &wish, p->use_name, &p->use_lock, err);
    return r == 0 && volume ? lock_volume(p, holder, err) : r;
}

/* A record that stays is that of a dead process, and is in nobody's way. */
static void end_use(struct parked *p)
{
    if (p->use_name[0])
        (void)use_end(p->share, p->use_name, p->spec->workspace.kind == SPEC_WORKSPACE_VOLUME,
                      NULL);
    fd_close(p->use_lock);
    fd_close(p->volume_lock);
    fd_close(p->share);
}

/* Also when it is stopped. The kernel forgets it when ids change, so this is done last. */
static int die_with(pid_t parent, struct err *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return err_set(err, ERR_INTERNAL, errno, step_name, NULL, NULL);
    return getppid() == parent ? 0
                               : err_set(err, ERR_UNAVAILABLE, ECANCELED, step_name, NULL,
                                         "The launcher has ended. Try again.");
}

static int work(struct parked *p, const struct files_request *request, int result_fd, int data_fd,
                bool read_only, const struct session_name *name, struct err *err)
{
    struct asker_saved saved;
    pid_t parent = getppid();
    int r = prepare(p, read_only, err);
    if (r == 0 && p->view.access == FILES_WRITABLE && files_operation_changes(request->operation))
        r = begin_use(p, name, err);
    if (r == 0)
        r = asker_become(p->rt->facts.rootless ? NULL : &p->owner, &saved, err);
    if (r == 0)
        r = die_with(parent, err);
    if (r < 0) {
        files_refuse(result_fd, err);
        return r;
    }
    r = files_run(&p->view, request, files_operation_has_in(request->operation) ? data_fd : -1,
                  files_operation_has_out(request->operation) ? data_fd : -1, result_fd, err);
    int back = asker_restore(&saved, r < 0 ? NULL : err);
    return r < 0 ? r : back;
}

int files_parked(struct runtime *rt, const struct spec *spec, uint32_t asker_uid,
                 uint32_t asker_gid, const uint32_t *asker_groups, uint32_t asker_group_count,
                 const struct files_request *request, int result_fd, int data_fd, bool read_only,
                 const struct session_name *name, struct err *err)
{
    bool own = asker_uid == UINT32_MAX;
    struct err here = {0};
    struct parked p = {.rt = rt,
                       .spec = spec,
                       .root = -1,
                       .share = -1,
                       .use_lock = -1,
                       .volume_lock = -1,
                       .asker = {.uid = own ? rt->facts.caller_uid : asker_uid,
                                 .gid = own ? rt->facts.caller_gid : asker_gid,
                                 .groups = asker_groups,
                                 .group_count = own ? 0 : asker_group_count}};
    int r = work(&p, request, result_fd, data_fd, read_only, name, &here);
    if (r < 0 && err)
        *err = here;
    end_use(&p);
    fd_close(p.root);
    return r;
}
