/* This file keeps berth's own directories out of what a session shares; it never writes in them.
 *
 * Whoever can write berth's records can have it kill another process, or believe in abilities that
 * this host has not: and a session of an ordinary user writes with that user's own rights. With
 * default places that is easily asked for: the state is beneath the home, and the runtime directory
 * beneath /tmp where the system makes none.
 *
 *     what is shared is                            outcome
 *     above one of them                            it is covered by an empty directory
 *     one of them, or beneath it                   refused
 *     beneath the state, and not in the volumes    nothing of berth's is there: shared
 *
 * They are compared by device and inode along "..", so that neither a link nor a bind mount hides
 * one. Read-only shares are treated the same: a socket can be connected to through them, and
 * volumes of others are nobody's business. PRIVILEGED: the launcher's. Caller: workspace.c,
 * workspace_mounts.c.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char step_name[] = "keep berth's own directories from the session";

static bool same(const struct use_node *a, const struct use_node *b)
{
    return a->dev == b->dev && a->ino == b->ino;
}

/* `dir`, its parent, and so on up to "/", which is its own parent. Deeper ones are -ELOOP. */
static int climb(int dir, struct own_chain *ret)
{
    char up[3 * OWN_CHAIN_MAX] = ".";
    ret->count = 0;
    for (size_t length = 0; ret->count < OWN_CHAIN_MAX;) {
        struct stat st;
        if (fstatat(dir, up, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        struct use_node node = {st.st_dev, st.st_ino};
        if (ret->count && same(&ret->nodes[ret->count - 1], &node))
            return 0;
        ret->nodes[ret->count++] = node;
        length += (size_t)snprintf(up + length, sizeof up - length, length ? "/.." : "..");
    }
    return -ELOOP;
}

/* Where `node` is in the chain, or -1. */
static int find(const struct own_chain *chain, const struct use_node *node)
{
    for (unsigned i = 0; i < chain->count; i++)
        if (same(&chain->nodes[i], node))
            return (int)i;
    return -1;
}

/* One that is not there yet is made: a session that shares its parent would make it. *ret is -1 for
 * one that is not there and cannot be made, not by a session either; and for one that berth's own
 * rights do not reach: a session's are fewer. */
static int open_own(const char *path, int *ret)
{
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == EACCES) {
        *ret = -1;
        return 0;
    }
    if (fd < 0 && errno == ENOENT) {
        char part[SPEC_PATH_MAX];
        if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
            return -ENAMETOOLONG;
        for (char *p = part + 1; *p; p++)
            if (*p == '/') {
                *p = 0;
                (void)mkdir(part, 0755); /* one that cannot be made shows below */
                *p = '/';
            }
        if (mkdir(path, 0700) < 0 && errno != EEXIST) {
            bool refused = errno == EROFS || errno == EACCES || errno == EPERM || errno == ENOENT;
            *ret = -1;
            return refused ? 0 : -errno;
        }
        fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0)
        return -errno;
    *ret = fd;
    return 0;
}

static int own_open(struct opening *o, struct err *err)
{
    const struct {
        const char *path, *what;
    } places[OWN_COUNT] = {
        [OWN_RUNTIME] = {o->options->runtime_dir, "berth's runtime directory"},
        [OWN_SHARE] = {o->options->share_dir, "the directory of berth's locks"},
        [OWN_STATE] = {o->options->state_dir, "berth's state directory"},
    };
    struct own_directories *own = &o->own;
    for (unsigned i = 0; i < OWN_COUNT; i++) {
        own->what[i] = places[i].what;
        own->fds[i] = -1;
        if (!places[i].path)
            continue;
        int r = open_own(places[i].path, &own->fds[i]);
        if (r == 0 && own->fds[i] >= 0)
            r = climb(own->fds[i], &own->chains[i]);
        if (r < 0)
            return err_set(err, ERR_UNAVAILABLE, -r, step_name, places[i].path, NULL);
    }
    own->open = true;
    return 0;
}

void own_close(struct own_directories *own)
{
    for (unsigned i = 0; own->open && i < OWN_COUNT; i++)
        fd_close(own->fds[i]);
    own->open = false;
}

/* The chain of what is shared; that of its directory when it is a file. */
static int climb_shared(const struct pinned *pin, struct own_chain *ret)
{
    char handle[32], real[4096];
    if (S_ISDIR(pin->stat.st_mode))
        return climb(pin->fd, ret);
    snprintf(handle, sizeof handle, "/proc/self/fd/%d", pin->fd);
    ssize_t n = readlink(handle, real, sizeof real - 1);
    if (n < 0)
        return -errno;
    real[n] = 0;
    char *slash = strrchr(real, '/');
    if (!slash)
        return -ENOENT;
    slash[slash == real] = 0;
    _cleanup_fd_ int dir = open(real, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return dir < 0 ? -errno : climb(dir, ret);
}

/* Beneath the state only the volumes are berth's records. */
static bool is_free(const struct own_directories *own, unsigned i, const struct own_chain *shared,
                    int depth)
{
    struct stat st;
    if (i != OWN_STATE || depth == 0)
        return false;
    struct use_node volumes = {0};
    if (fstatat(own->fds[i], "volumes", &st, AT_SYMLINK_NOFOLLOW) == 0)
        volumes = (struct use_node){st.st_dev, st.st_ino};
    else if (errno != ENOENT) /* it may be what is shared: then it is not free */
        return false;
    return !same(&shared->nodes[depth - 1], &volumes);
}

static int refuse(const char *what, const char *path, bool inside, const char *own, struct err *err)
{
    return err_set(err, ERR_FORBIDDEN, 0, step_name, path,
                   "It is %s%s: a session that shares it could have berth do things on the host, "
                   "or see what belongs to other sessions. Name another directory as %s, or use "
                   "--workspace volume:NAME for files that only sessions see.",
                   inside ? "inside " : "", own, what);
}

/* Covered together with one that it lies in. */
static bool is_in_another(const struct own_directories *own, unsigned i, int depth)
{
    for (unsigned k = 0; k < OWN_COUNT; k++) {
        int at = k == i || own->fds[k] < 0 ? -1 : find(&own->chains[i], &own->chains[k].nodes[0]);
        if (at > 0 ? at < depth : at == 0 && k < i)
            return true;
    }
    return false;
}

/* `own` lies `depth` levels beneath what is shared. */
static int hide(struct opening *o, unsigned i, int depth, const struct own_share *share,
                struct err *err)
{
    char handle[32], real[4096];
    snprintf(handle, sizeof handle, "/proc/self/fd/%d", o->own.fds[i]);
    ssize_t n = readlink(handle, real, sizeof real - 1);
    real[n > 0 ? n : 0] = 0;
    char *tail = real + strlen(real);
    for (int k = 0; tail > real && k < depth; k++)
        while (tail > real && *--tail != '/')
            ;
    tail += *tail == '/';
    uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
                       (share->with_submounts ? 0u : (uint64_t)RESOLVE_NO_XDEV);
    struct stat st;
    _cleanup_fd_ int fd =
        pin_openat2(share->pin->fd, tail, O_PATH | O_DIRECTORY | O_NOFOLLOW, resolve);
    if (fd == -EXDEV) /* on a mount of its own, which is not in the session */
        return 0;
    struct use_node node = {0};
    if (fd >= 0 && fstat(fd, &st) == 0)
        node = (struct use_node){st.st_dev, st.st_ino};
    if (!same(&node, &o->own.chains[i].nodes[0]) || strlen(tail) >= SPEC_PATH_MAX)
        return err_set(err, ERR_FORBIDDEN, 0, step_name, share->path,
                       "%s (%s) lies in it and cannot be hidden from the session there. Share a "
                       "directory that does not contain it.",
                       o->own.what[i], real);
    int r = sockets_add_directory(&o->scan, share->mount, tail, share->path, err);
    if (r == 0)
        notes_add(&o->notes, "workspace.own_directory",
                  "%s/%s is %s and is hidden from the session", share->path, tail, o->own.what[i]);
    return r;
}

int own_keep_out(struct opening *o, const struct own_share *share, struct err *err)
{
    struct own_chain shared = {0};
    bool directory = S_ISDIR(share->pin->stat.st_mode);
    int r = o->own.open ? 0 : own_open(o, err);
    if (r < 0)
        return r;
    r = climb_shared(share->pin, &shared);
    if (r < 0)
        return err_set(err, r == -ELOOP ? ERR_INVALID_REQUEST : ERR_FORBIDDEN, -r,
                       "find the ancestors of", share->path,
                       "Every directory above it must be searchable, and there may be %d of them.",
                       OWN_CHAIN_MAX - 1);
    for (unsigned i = 0; r == 0 && i < OWN_COUNT; i++) {
        if (o->own.fds[i] < 0)
            continue;
        const struct use_node *root = &o->own.chains[i].nodes[0];
        int depth = find(&shared, root);
        if (depth >= 0 && !is_free(&o->own, i, &shared, depth))
            return refuse(share->what, share->path, depth > 0 || !directory, o->own.what[i], err);
        depth = directory ? find(&o->own.chains[i], &shared.nodes[0]) : -1;
        if (depth > 0 && !is_in_another(&o->own, i, depth))
            r = hide(o, i, depth, share, err);
    }
    return r;
}
