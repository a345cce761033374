/* This file makes detached mounts: a private, idmapped clone of a pinned directory or file, and the
 * tmpfs of a workspace in memory; it never attaches one.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's mount namespace (rootless: the copy that
 * belongs to the caller's own user namespace). Should: set every attribute in one mount_setattr(2),
 * so that no half-protected mount exists. Mustn't: share propagation with the host. Callers:
 * workspace.c.
 *
 * A clone of a mount that is "shared" on the host is born into its peer group (fs/namespace.c,
 * clone_mnt): what the host mounts beneath would appear inside, and a protect bind made inside
 * would appear on the host. MS_PRIVATE in the same call ends that before anybody sees the mount.
 *
 * Submounts are not cloned. Each is a filesystem with owners of its own that would need its own
 * map, and may be one that no map fits (overlay, FUSE, proc). What is wanted inside is named with
 * read_write or read_only. Rootless cannot choose: its mounts came as one locked tree, and the
 * kernel refuses to clone a part that would uncover something (EINVAL), so there they come along.
 */
#include "runtime/host/workspace_internal.h"

#include "runtime/base/fd.h"
#include "runtime/host/userns.h"
#include "runtime/stage/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int refuse_idmap(int sys, const struct pinned *pin, const char *what, const char *path,
                        struct err *err)
{
    return err_set(err, ERR_CAPABILITY_UNAVAILABLE, sys, "give owners of the session to", path,
                   "The filesystem (%s) of %s cannot be mounted with mapped owners on this kernel. "
                   "Use a directory on ext4, xfs or btrfs, or --workspace volume:NAME with berth's "
                   "state on such a filesystem, or run berth as the directory's owner instead of "
                   "root.",
                   pin->fs_type, what);
}

static int make_map(const struct tree_map *map, int *ret_userns, struct err *err)
{
    struct userns_extent uid = {map->uid_inside, map->uid_outside, map->count};
    struct userns_extent gid = {map->gid_inside, map->gid_outside, map->count};
    if (map->helper && map->helper->sock >= 0)
        return userns_make_with(map->helper, &uid, 1, &gid, 1, ret_userns, NULL, err);
    return userns_make(&uid, 1, &gid, 1, UINT32_MAX, -1, ret_userns, NULL, err);
}

int tree_clone(const struct pinned *pin, const struct tree_map *map, bool read_only,
               bool with_submounts, const char *what, const char *path, int *ret_tree,
               struct err *err)
{
    unsigned recursive = with_submounts ? AT_RECURSIVE : 0;
    _cleanup_fd_ int userns = -1;
    struct sys_mount_attr attr = {.set = SYS_ATTR_NOSUID | SYS_ATTR_NODEV,
                                  .propagation = MS_PRIVATE};
    if (read_only)
        attr.set |= SYS_ATTR_RDONLY;
    if (map->idmapped) {
        int r = make_map(map, &userns, err);
        if (r < 0)
            return r;
        attr.set |= SYS_ATTR_IDMAP;
        attr.userns_fd = (uint64_t)userns;
    }
    _cleanup_fd_ int tree = sys_open_tree_clone(pin->fd, "", AT_EMPTY_PATH | recursive);
    if (tree < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "clone the mount of", path,
                       "berth needs CAP_SYS_ADMIN over the mount namespace it runs in.");
    if (sys_mount_setattr(tree, recursive, &attr) < 0) {
        int sys = errno;
        if (map->idmapped && (sys == EINVAL || sys == EPERM || sys == EOPNOTSUPP))
            return refuse_idmap(sys, pin, what, path, err);
        return err_set(err, ERR_UNAVAILABLE, sys, "set nosuid,nodev on the mount of", path, NULL);
    }
    *ret_tree = take_fd(&tree);
    return 0;
}

int tree_tmpfs(uint64_t size_bytes, uint64_t inodes, uint32_t uid, uint32_t gid, bool read_only,
               int *ret_tree, struct err *err)
{
    struct {
        const char *key;
        char value[32];
    } options[] = {{"size", ""}, {"nr_inodes", ""}, {"uid", ""}, {"gid", ""}, {"mode", "0755"}};
    snprintf(options[0].value, sizeof options[0].value, "%" PRIu64, size_bytes);
    snprintf(options[1].value, sizeof options[1].value, "%" PRIu64, inodes);
    snprintf(options[2].value, sizeof options[2].value, "%" PRIu32, uid);
    snprintf(options[3].value, sizeof options[3].value, "%" PRIu32, gid);

    _cleanup_fd_ int fs = sys_fsopen("tmpfs");
    if (fs < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "open a tmpfs", "workspace", NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(options); i++)
        if (sys_fsconfig_string(fs, options[i].key, options[i].value) < 0)
            return err_set(err, ERR_UNAVAILABLE, errno, "set a tmpfs option", options[i].key,
                           "The value was \"%s\".", options[i].value);
    if (sys_fsconfig_create(fs) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a tmpfs", "workspace", NULL);
    uint64_t attr = SYS_ATTR_NOSUID | SYS_ATTR_NODEV | (read_only ? SYS_ATTR_RDONLY : 0u);
    _cleanup_fd_ int tree = sys_fsmount(fs, attr);
    if (tree < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "mount a tmpfs", "workspace", NULL);
    *ret_tree = take_fd(&tree);
    return 0;
}
