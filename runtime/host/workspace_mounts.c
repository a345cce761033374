/* This file opens the extra mounts of a session (read_only, read_write) on the host; it never
 * attaches one.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's mount namespace. Should: treat a source as it
 * treats the workspace: pinned once, with the asker's rights, its sockets found. Mustn't: give
 * anybody more of root's files than everybody may read. Caller: workspace.c.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/fd.h"

/* A read-only mount of root's is not mapped: the toolchain in it is world-readable, and what only
 * root can read stays unreadable. Everything else is mapped as the workspace is, so that the
 * asker's own private files are readable inside; a read-only one that can't be mapped is used as it
 * is. */
static int open_mount(struct opening *o, unsigned i, struct err *err)
{
    const struct spec_mount *m = &o->spec->mounts[i];
    struct pinned pin;
    _cleanup_fd_ int fd = -1;
    int r = pin_path(m->source, o->as, PIN_FILE_ALLOWED, "an extra mount", &pin, err);
    if (r < 0)
        return r;
    fd_replace(&fd, pin.fd);
    if (!m->read_only && pin.stat.st_uid == 0 && !o->options->rootless &&
        !o->spec->workspace.allow_root_owned)
        return err_set(err, ERR_FORBIDDEN, 0, "open a read-write mount", m->source,
                       "It belongs to root, so the session would write root's files on the host. "
                       "Mount it read-only, or allow it with allow_root_owned.");
    bool with_submounts = o->options->rootless;
    const struct own_share share = {&pin, m->source, "an extra mount", (int32_t)i, with_submounts};
    r = own_keep_out(o, &share, err);
    if (r < 0)
        return r;
    uint32_t uid, gid;
    pin_identity(&pin.stat, o->as, &uid, &gid);
    struct tree_map map = opening_single_map(o, uid, gid);
    map.idmapped &= !(m->read_only && pin.stat.st_uid == 0);
    r = tree_clone(&pin, &map, m->read_only, with_submounts, "an extra mount", m->source,
                   &o->ws->mounts[i].tree, err);
    if (r < 0 && m->read_only && map.idmapped) {
        map.idmapped = false;
        r = tree_clone(&pin, &map, true, with_submounts, "an extra mount", m->source,
                       &o->ws->mounts[i].tree, err);
        if (r == 0)
            notes_add(&o->notes, "mounts.not_mapped",
                      "%s is mounted without mapped owners: only what everybody may read is "
                      "readable inside",
                      m->source);
    }
    if (r < 0)
        return r;
    o->ws->mounts[i].is_directory = S_ISDIR(pin.stat.st_mode);
    struct socket_place place = {.dir = fd,
                                 .path = m->source,
                                 .mount = (int32_t)i,
                                 .with_submounts = with_submounts,
                                 .share_dir = o->options->share_dir};
    return S_ISDIR(pin.stat.st_mode) ? opening_find_sockets(o, &place, err) : 0;
}

int mounts_open(struct opening *o, struct err *err)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < o->spec->mount_count; i++)
        r = open_mount(o, i, err);
    return r;
}
