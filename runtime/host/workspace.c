/* This file opens, closes and reaps the workspace of a session as a whole, in the one order that is
 * safe against a kill at any point; the parts are in workspace_*.c, volume.c and placeholder.c.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's mount and network namespaces. Should: leave
 * nothing behind on failure. Mustn't: attach a mount, run with a second thread. Callers:
 * runtime/host/session*.c.
 *
 * Order: pin, refuse, clone and map, lock, look for sockets, then placeholders (the only writes to
 * a user's directory, and sockets that nobody listens on). Maps come before locks because
 * userns_make() forks: a helper that outlives its killed parent by a moment would keep its copy of
 * a lock. What a process that was killed leaves is in the records of share_dir, which are written
 * before what they stand for.
 */
#include "runtime/host/workspace.h"

#include "runtime/base/fd.h"
#include "runtime/host/placeholder.h"
#include "runtime/host/volume.h"
#include "runtime/host/workspace_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>

static const char step_name[] = "open the workspace";

void notes_add(const struct notes *n, const char *key, const char *fmt, ...)
{
    char text[384];
    if (!n || !n->call)
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++) /* names come from a directory that anybody may have filled */
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
    n->call(n->data, key, text);
}

enum err_code workspace_code(int sys)
{
    switch (sys) {
    case ENOSPC:
    case EDQUOT:
        return ERR_INSUFFICIENT_STORAGE;
    case ENOENT:
        return ERR_NOT_FOUND;
    case EACCES: /* with the rights of who asks */
        return ERR_FORBIDDEN;
    case ENOMEM:
        return ERR_INTERNAL;
    default:
        return ERR_UNAVAILABLE;
    }
}

/* Protected paths count from protect_begin() on, which sets what it counts: to clear their pages
 * here would cost a fault and a copy each. */
void workspace_init(struct workspace *ws)
{
    memset(ws, 0, offsetof(struct workspace, protect));
    ws->socket_count = 0;
    ws->sockets = NULL;
    ws->private = NULL;
    ws->tree = ws->dir = ws->lock = ws->share_lock = ws->hold = -1;
    for (unsigned i = 0; i < SPEC_MOUNTS_MAX; i++)
        ws->mounts[i].tree = -1, ws->mounts[i].is_directory = false;
}

static struct use_wish use_of(const struct opening *o, bool exclusive, const char *path)
{
    const struct workspace_options *options = o->options;
    return (struct use_wish){
        .exclusive = exclusive ? USE_EXCLUSIVE : USE_SHARED,
        .lasting = options->lasting ? options->run_id : NULL,
        .init_pid = options->init_pid,
        .init_start = options->init_start,
        .holder = o->holder,
        .path = path,
    };
}

static int begin_private(struct opening *o, const struct stat *st, const char *path,
                         struct err *err)
{
    struct workspace_private *p = calloc(1, sizeof *p);
    if (!p)
        return err_raw(err, ERR_INTERNAL, ENOMEM, step_name, path);
    p->share = p->volume_use = -1;
    p->stat = *st;
    p->lasting = o->options->lasting;
    snprintf(p->path, sizeof p->path, "%s", path);
    o->ws->private = p;
    return share_open(o->options->share_dir, &p->share, err);
}

struct tree_map opening_single_map(const struct opening *o, uint32_t uid, uint32_t gid)
{
    return (struct tree_map){
        .idmapped = !o->options->rootless,
        .helper = o->options->helper,
        .uid_inside = uid,
        .uid_outside = o->options->uid_base + o->options->default_uid,
        .gid_inside = gid,
        .gid_outside = o->options->uid_base + o->default_gid,
        .count = 1,
    };
}

static int check_owner(const struct opening *o, const struct pinned *pin, const char *path,
                       struct err *err)
{
    if (o->options->rootless) {
        if (pin->stat.st_uid != geteuid())
            notes_add(&o->notes, "workspace.other_owner",
                      "%s belongs to another user: the session has your own rights there", path);
        return 0;
    }
    if (pin->stat.st_uid == 0 && !o->spec->workspace.allow_root_owned)
        return err_set(
            err, ERR_FORBIDDEN, 0, step_name, path,
            "It belongs to root, so files that the session makes would belong to root on "
            "the host. Give it to another user (chown), or allow it with "
            "allow_root_owned (--allow-root-owned).");
    if (o->as->uid != 0 && o->as->uid != pin->stat.st_uid)
        notes_add(&o->notes, "workspace.other_owner",
                  "%s belongs to uid %u: the session has the rights of uid %u there", path,
                  (unsigned)pin->stat.st_uid, o->as->uid);
    return 0;
}

/* "and 1 other", "and 4 others"; nothing for one alone. */
static const char *and_others(unsigned count, char ret[32])
{
    ret[0] = 0;
    if (count > 1)
        snprintf(ret, 32, " and %u other%s", count - 1, count == 2 ? "" : "s");
    return ret;
}

void workspace_tell(const struct workspace *ws,
                    void (*note)(void *data, const char *key, const char *text), void *data)
{
    struct notes notes = {note, data};
    struct submounts submounts;
    char others[32];
    const struct workspace_private *p = ws->private;
    if (!p || !p->named_directory)
        return;
    int r = pin_submounts(p->path, &submounts);
    if (r < 0)
        notes_add(&notes, "workspace.submount", "mounts beneath the workspace are not known: %s",
                  strerror(-r));
    else if (submounts.count)
        notes_add(&notes, "workspace.submount",
                  p->submounts_inside
                      ? "mounted beneath the workspace and visible inside as it is: %s%s"
                      : "mounted beneath the workspace and not in the session: %s%s; name it with "
                        "read_write or read_only",
                  submounts.first, and_others(submounts.count, others));
}

enum { SOCKETS_TOLD = 8 };

static void tell_about_sockets(const struct opening *o, const struct socket_place *place,
                               uint32_t first)
{
    bool here = place->mount == WORKSPACE_SOCKET_HERE;
    const char *key = here ? "workspace.socket" : "mounts.socket";
    unsigned count = 0;
    for (uint32_t i = first; i < o->scan.count; i++)
        if (!o->scan.sockets[i].placeholder && count++ < SOCKETS_TOLD)
            notes_add(&o->notes, key,
                      "%s%s%s is a unix socket of the host and is hidden from the session",
                      here ? "" : place->path, here ? "" : "/", o->scan.sockets[i].path);
    if (count > SOCKETS_TOLD)
        notes_add(&o->notes, key, "in all %u unix sockets in %s are hidden from the session", count,
                  place->path);
    if (!o->scan.complete)
        notes_add(&o->notes, here ? "workspace.socket_unseen" : "mounts.socket_unseen",
                  "a program of this host listens on a unix socket with a relative name; only the "
                  "first %u entries of %s were searched for it, and deeper it can be reached",
                  o->scan.entries, place->path);
}

int opening_find_sockets(struct opening *o, const struct socket_place *place, struct err *err)
{
    uint32_t first = o->scan.count;
    int r = sockets_scan(place, &o->scan, err);
    if (r == 0)
        tell_about_sockets(o, place, first);
    return r;
}

/* Placeholders that another session made and this one relies on too are sockets without a program
 * behind them, and are protected: they need no mask. */
static void forget_placeholders(struct opening *o)
{
    struct socket_scan *scan = &o->scan;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < scan->count; i++) {
        bool ours = false;
        for (uint32_t k = 0; k < o->ws->protect_count && !ours; k++)
            ours = scan->sockets[i].mount == WORKSPACE_SOCKET_HERE && o->ws->protect[k].held &&
                   o->ws->protect[k].placeholder &&
                   strcmp(scan->sockets[i].path, o->ws->protect[k].path) == 0;
        if (!ours)
            scan->sockets[kept++] = scan->sockets[i];
    }
    scan->count = kept;
}

/* Sockets first: placeholders that are made here must not be found as such. */
static int look_and_protect(struct opening *o, const struct asker *owner, bool with_submounts,
                            struct err *err)
{
    struct workspace *ws = o->ws;
    struct socket_place place = {.dir = ws->dir,
                                 .path = ws->private->path,
                                 .mount = WORKSPACE_SOCKET_HERE,
                                 .owner = ws->owner_uid,
                                 .with_submounts = with_submounts,
                                 .share_dir = o->options->share_dir};
    int r = opening_find_sockets(o, &place, err);
    if (r < 0)
        return r;
    char others[32];
    if (o->scan.foreign_count && o->spec->workspace.kind == SPEC_WORKSPACE_DIRECTORY)
        notes_add(&o->notes, "workspace.other_owners",
                  "at the top of the workspace, what belongs to other users cannot be changed by "
                  "the session: %s%s",
                  o->scan.foreign, and_others(o->scan.foreign_count, others));
    r = protect_begin(ws, o->spec, o->options->rootless ? NULL : owner, &o->notes, err);
    if (r == 0)
        forget_placeholders(o);
    return r;
}

static int begin_use(struct opening *o, bool exclusive, const char *path, struct err *err)
{
    struct workspace *ws = o->ws;
    struct use_wish wish = use_of(o, exclusive, path);
    ws->private->exclusive = exclusive;
    return use_begin(ws->private->share, ws->dir, &wish, ws->private->use_name,
                     o->options->lasting ? &ws->hold : &ws->lock, err);
}

static int open_directory(struct opening *o, struct err *err)
{
    const char *path = o->spec->workspace.path;
    struct workspace *ws = o->ws;
    struct pinned pin;
    int r = pin_path(path, o->as, 0, "the workspace", &pin, err);
    if (r < 0)
        return r;
    ws->dir = pin.fd;
    r = check_owner(o, &pin, path, err);
    if (r < 0)
        return r;
    pin_identity(&pin.stat, o->as, &ws->owner_uid, &ws->owner_gid);
    struct tree_map map = opening_single_map(o, ws->owner_uid, ws->owner_gid);
    bool with_submounts = o->options->rootless;
    const struct own_share share = {&pin, path, "the workspace", WORKSPACE_SOCKET_HERE,
                                    with_submounts};
    r = own_keep_out(o, &share, err);
    if (r < 0)
        return r;
    r = tree_clone(&pin, &map, o->spec->workspace.read_only, with_submounts, "the workspace", path,
                   &ws->tree, err);
    if (r == 0)
        r = begin_private(o, &pin.stat, path, err);
    if (r == 0)
        r = begin_use(o, o->spec->workspace.exclusive, path, err);
    if (r < 0)
        return r;
    struct asker owner = {ws->owner_uid, ws->owner_gid, NULL, 0};
    if (o->as && o->as->uid == ws->owner_uid)
        owner = (struct asker){ws->owner_uid, ws->owner_gid, o->as->groups, o->as->group_count};
    ws->private->named_directory = true;
    ws->private->submounts_inside = with_submounts;
    return look_and_protect(o, &owner, with_submounts, err);
}

/* A volume is held by a flock for as long as the process that opened it lives, and by a record of
 * use as a directory is: of one that lasts init holds that, because the lock's file is not its own.
 */
static int use_volume(struct opening *o, const char *path, struct err *err)
{
    struct workspace *ws = o->ws;
    struct use_wish wish = use_of(o, !o->spec->workspace.read_only, path);
    wish.alone = true;
    ws->private->exclusive = wish.exclusive;
    return use_begin(ws->private->share, ws->dir, &wish, ws->private->use_name,
                     wish.lasting ? &ws->hold : &ws->private->volume_use, err);
}

/* Two waits for the disk, while the session is built. Nobody waits for an answer yet; without a
 * child it is done at once. */
static int begin_sync(struct workspace_private *p, const struct volume *v)
{
    const int kept[] = {v->folder, v->parent};
    if (v->parent < 0)
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        /* Locks of the session are none of its. */
        int r = fd_keep_only(kept, ARRAY_LENGTH(kept));
        if (r == 0)
            r = volume_sync(v);
        _exit(-r & 0xff);
    }
    p->syncing = pid > 0 ? pid : 0;
    return pid < 0 ? volume_sync(v) : 0;
}

static int await_sync(struct workspace_private *p)
{
    int status = 0;
    pid_t pid = p ? p->syncing : 0;
    if (pid == 0)
        return 0;
    p->syncing = 0;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return -errno;
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

int workspace_settle(struct workspace *ws, struct err *err)
{
    int r = await_sync(ws->private);
    return r < 0 ? err_set(err, workspace_code(-r), -r, "keep a new volume", NULL, NULL) : 0;
}

static int open_volume(struct opening *o, struct err *err)
{
    struct workspace *ws = o->ws;
    const char *name = o->spec->workspace.volume;
    bool read_only = o->spec->workspace.read_only;
    struct volume v;
    int r = volume_open(o->spec->workspace_id, name, o->options, &v, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int folder = v.folder, parent = v.parent;
    (void)parent;
    ws->dir = v.data;
    ws->owner_uid = v.stat.st_uid;
    ws->owner_gid = v.stat.st_gid;
    /* The whole range, so that every uid inside is kept on disk whatever range the session has. */
    struct tree_map map = {.idmapped = !o->options->rootless,
                           .uid_outside = o->options->uid_base,
                           .gid_outside = o->options->uid_base,
                           .count = SPEC_UID_SPAN,
                           .helper = o->options->helper};
    struct pinned pin = {.fd = ws->dir, .stat = v.stat, .fs_type = "that of berth's state"};
    r = tree_clone(&pin, &map, read_only, false, "volumes", v.path, &ws->tree, err);
    if (r == 0)
        r = begin_private(o, &v.stat, v.path, err);
    /* Before the lock, of which the child would have a copy that outlives a holder who is killed.
     */
    int synced = r == 0 ? begin_sync(ws->private, &v) : 0;
    if (r == 0)
        r = volume_lock(folder, name, read_only, o->holder, &ws->lock, err);
    if (synced < 0)
        r = err_set(err, workspace_code(-synced), -synced, "keep a new volume", v.path, NULL);
    if (r == 0)
        r = use_volume(o, v.path, err);
    /* Volumes have 0700 parents, but placeholders go by descriptor, so the owner's rights do. */
    struct asker owner = {ws->owner_uid, ws->owner_gid, NULL, 0};
    return r == 0 ? look_and_protect(o, &owner, false, err) : r;
}

static int open_tmpfs(struct opening *o, struct err *err)
{
    const struct spec *spec = o->spec;
    uint64_t size =
        spec->workspace.size_bytes ? spec->workspace.size_bytes : spec->limits.scratch_bytes;
    if (size == 0)
        return err_set(err, ERR_INVALID_REQUEST, 0, step_name, "tmpfs",
                       "A workspace in memory needs a size: give it one, or set a scratch limit.");
    uint64_t inodes = spec->limits.scratch_inodes ? spec->limits.scratch_inodes : size / 4096 + 16;
    struct workspace *ws = o->ws;
    /* Rootless, the default user inside is the caller, whatever number he has in this namespace. */
    ws->owner_uid =
        o->options->rootless ? geteuid() : o->options->uid_base + o->options->default_uid;
    ws->owner_gid = o->options->rootless ? getegid() : o->options->uid_base + o->default_gid;
    /* Read-write here, because explicitly protected paths are made in it. */
    int r = tree_tmpfs(size, inodes, ws->owner_uid, ws->owner_gid, spec->workspace.read_only,
                       &ws->tree, err);
    return r == 0 ? protect_tmpfs(ws, spec, ws->owner_uid, ws->owner_gid, err) : r;
}

static int open_kind(struct opening *o, struct err *err)
{
    switch ((enum spec_workspace_kind)o->spec->workspace.kind) {
    case SPEC_WORKSPACE_NONE:
        return 0;
    case SPEC_WORKSPACE_DIRECTORY:
        return open_directory(o, err);
    case SPEC_WORKSPACE_VOLUME:
        return open_volume(o, err);
    case SPEC_WORKSPACE_TMPFS:
        return open_tmpfs(o, err);
    case SPEC_WORKSPACE_DISK:
    case SPEC_WORKSPACE_SNAPSHOT:
        break;
    }
    return err_set(err, ERR_CAPABILITY_UNAVAILABLE, 0, step_name, "workspace.kind",
                   "This kind of workspace is not built in this release.");
}

int workspace_open(struct workspace *ws, const struct spec *spec,
                   const struct workspace_options *options,
                   void (*note)(void *data, const char *key, const char *text), void *data,
                   struct err *err)
{
    struct opening o = {
        .ws = ws,
        .spec = spec,
        .options = options,
        .asker = {options->asker_uid, options->asker_gid, options->asker_groups,
                  options->asker_group_count},
        .notes = {note, data},
        .default_gid =
            options->default_uid == spec->process.uid ? spec->process.gid : options->default_uid,
    };
    o.as = options->rootless ? NULL : &o.asker;
    snprintf(o.holder, sizeof o.holder, "session %.64s of workspace %.64s (process %ld)",
             spec->session_id, spec->workspace_id, (long)getpid());
    workspace_init(ws);
    int r = mounts_open(&o, err);
    if (r == 0)
        r = open_kind(&o, err);
    ws->socket_count = o.scan.count;
    ws->sockets = take_ptr(&o.scan.sockets);
    sockets_scan_fini(&o.scan);
    own_close(&o.own);
    if (r < 0)
        workspace_close(ws, NULL, NULL, NULL);
    return r;
}

/* Unlocked and not only closed: a forked copy must not hold the workspace for a dead session. */
static void unlock(int *fd)
{
    if (*fd >= 0)
        flock(*fd, LOCK_UN);
    fd_closep(fd);
}

static const char *lasting_use(const struct workspace_private *p)
{
    return p->lasting ? p->use_name : NULL;
}

void workspace_let_go(struct workspace *ws,
                      void (*note)(void *data, const char *key, const char *text), void *data)
{
    struct workspace_private *p = ws->private;
    if (!p || p->let_go)
        return;
    p->let_go = true;
    p->notes = (struct notes){note, data};
    protect_report(ws, &p->notes);
    p->let_go_result =
        placeholder_release_begin(p->share, ws->dir, &p->stat, take_fd(&ws->share_lock),
                                  lasting_use(p), &p->notes, &p->book, &p->let_go_err);
}

/* What fails is owed: it is done by the record of the directory when this is asked for again. */
static int drop_placeholders(struct workspace_private *p, struct err *err)
{
    int r = placeholder_release_end(take_ptr(&p->book), err);
    if (p->let_go_result < 0) {
        r = p->let_go_result;
        p->let_go_result = 0;
        if (err)
            *err = p->let_go_err;
    }
    if (r == 0 && p->owed)
        r = placeholder_end(p->share, p->stat.st_dev, p->stat.st_ino, lasting_use(p), &p->notes,
                            err);
    p->owed = r < 0;
    return r;
}

/* `private` stays what it is. */
static void close_all(struct workspace *ws)
{
    struct workspace_private *private = ws->private;
    for (unsigned i = 0; i < SPEC_MOUNTS_MAX; i++)
        fd_close(ws->mounts[i].tree);
    fd_close(ws->tree);
    fd_close(ws->dir);
    free(ws->sockets);
    workspace_init(ws);
    ws->private = private;
}

/* The use of one that lasts says where its placeholders are, so it stays while they are owed. */
static int close_private(struct workspace *ws, struct workspace_private *p, struct err *err)
{
    int r = drop_placeholders(p, err);
    if (p->use_name[0] && !(r < 0 && p->lasting)) {
        int ended = use_end(p->share, p->use_name, p->exclusive, r < 0 ? NULL : err);
        p->use_name[0] = ended < 0 ? p->use_name[0] : 0;
        r = r < 0 ? r : ended;
    }
    if (r < 0)
        return r;
    unlock(&p->volume_use);
    fd_close(p->share);
    free(p);
    ws->private = NULL;
    return 0;
}

int workspace_close(struct workspace *ws,
                    void (*note)(void *data, const char *key, const char *text), void *data,
                    struct err *err)
{
    struct workspace_private *p = ws->private;
    int r = 0;
    if (p) {
        await_sync(p); /* one that failed is made again by the next user */
        workspace_let_go(ws, note, data);
        p->notes = (struct notes){note, data};
        r = close_private(ws, p, err);
    }
    unlock(&ws->lock);
    unlock(&ws->hold);
    close_all(ws);
    return r;
}

void workspace_leave(struct workspace *ws)
{
    struct workspace_private *p = ws->private;
    if (p)
        fd_close(p->share);
    free(p);
    fd_close(ws->lock);
    fd_close(ws->hold);
    fd_close(ws->share_lock);
    ws->private = NULL;
    close_all(ws);
}

int workspace_open_image(const char *path, const struct workspace_options *options, int *ret_tree,
                         struct err *err)
{
    struct asker as = {options->asker_uid, options->asker_gid, options->asker_groups,
                       options->asker_group_count};
    struct pinned pin;
    int r = pin_path(path, options->rootless ? NULL : &as, 0, "the image", &pin, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int fd = -1;
    fd_replace(&fd, pin.fd);
    bool foreign = !options->rootless && as.uid != 0;
    struct tree_map map = {
        .idmapped = !options->rootless,
        .uid_inside = foreign ? as.uid : 0,
        .gid_inside = foreign ? as.gid : 0,
        .uid_outside = options->uid_base,
        .gid_outside = options->uid_base,
        .count = foreign ? 1 : SPEC_UID_SPAN,
    };
    return tree_clone(&pin, &map, true, false, "the image", path, ret_tree, err);
}
