/* This file makes a user namespace with its maps, as a descriptor; nothing is left running and
 * this process's own credentials and namespaces never change. PRIVILEGED: the launcher's. */
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/host/userns_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAP_TEXT = USERNS_EXTENTS_MAX * 36 };

int userns_map_print(const struct userns_extent *extents, unsigned count, char *ret, size_t size)
{
    if (count == 0 || count > USERNS_EXTENTS_MAX)
        return -EINVAL;
    size_t n = 0;
    for (unsigned i = 0; i < count; i++) {
        int more = snprintf(ret + n, size - n, "%u %u %u\n", extents[i].inside, extents[i].outside,
                            extents[i].count);
        if (more < 0 || (size_t)more >= size - n)
            return -EINVAL;
        n += (size_t)more;
    }
    return 0;
}

static bool may_setgid(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    return syscall(SYS_capget, &head, data) == 0 && (data[0].effective & (1u << CAP_SETGID));
}

static int write_map(pid_t pid, const char *file, const char *text, struct err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int r = io_write_at(AT_FDCWD, path, text);
    if (r == 0)
        return 0;
    char line[96];
    snprintf(line, sizeof line, "%s", text);
    for (char *p = line; *p; p++)
        if (*p == '\n')
            *p = p[1] ? ',' : 0;
    return err_set(err, ERR_CAPABILITY_UNAVAILABLE, -r, "map ids", file, "The map was \"%s\".",
                   line);
}

static int open_namespace(pid_t pid, const char *kind, int *ret, struct err *err)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, kind);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "open a namespace", kind, NULL);
    *ret = fd;
    return 0;
}

static int write_maps(pid_t pid, const struct userns_extent *uids, unsigned uid_count,
                      const struct userns_extent *gids, unsigned gid_count, struct err *err)
{
    char uid_map[MAP_TEXT], gid_map[MAP_TEXT];
    if (userns_map_print(uids, uid_count, uid_map, sizeof uid_map) < 0 ||
        userns_map_print(gids, gid_count, gid_map, sizeof gid_map) < 0)
        return err_set(err, ERR_INTERNAL, EINVAL, "map ids", NULL,
                       "A map has between 1 and %d extents.", USERNS_EXTENTS_MAX);
    int r = write_map(pid, "uid_map", uid_map, err);
    /* Who may not choose groups outside must not get to drop them inside (CVE-2014-8989). */
    if (r == 0 && !may_setgid())
        r = write_map(pid, "setgroups", "deny", err);
    return r < 0 ? r : write_map(pid, "gid_map", gid_map, err);
}

int userns_make_with(struct userns_helper *h, const struct userns_extent *uids, unsigned uid_count,
                     const struct userns_extent *gids, unsigned gid_count, int *ret_userns,
                     int *ret_cgroupns, struct err *err)
{
    _cleanup_fd_ int userns = -1, cgroupns = -1;
    bool with_cgroup = h->namespaces & CLONE_NEWCGROUP;
    /* One that was born inside need not have run yet, and often has not. */
    int r = h->born_inside ? 0 : userns_helper_wait(h, err);
    if (r == 0)
        r = write_maps(h->pid, uids, uid_count, gids, gid_count, err);
    if (r == 0)
        r = open_namespace(h->pid, "user", &userns, err);
    if (r == 0 && with_cgroup)
        r = open_namespace(h->pid, "cgroup", &cgroupns, err);
    /* Whose helper is gone says so, and not what could not be done with it. */
    struct err gone;
    if (r < 0 && h->born_inside && userns_helper_wait(h, &gone) < 0) {
        r = -gone.sys;
        if (err)
            *err = gone;
    }
    userns_helper_release(h);
    if (r < 0)
        return r;
    *ret_userns = take_fd(&userns);
    if (ret_cgroupns)
        *ret_cgroupns = take_fd(&cgroupns);
    return 0;
}

int userns_make(const struct userns_extent *uids, unsigned uid_count,
                const struct userns_extent *gids, unsigned gid_count, uint32_t owner, int cgroup_fd,
                int *ret_userns, int *ret_cgroupns, struct err *err)
{
    return userns_make_joining(uids, uid_count, gids, gid_count, owner, cgroup_fd, false,
                               ret_userns, ret_cgroupns, err);
}

int userns_make_joining(const struct userns_extent *uids, unsigned uid_count,
                        const struct userns_extent *gids, unsigned gid_count, uint32_t owner,
                        int cgroup_fd, bool join_by_write, int *ret_userns, int *ret_cgroupns,
                        struct err *err)
{
    struct userns_helper helper;
    int r =
        userns_helper_begin(&helper, cgroup_fd >= 0 ? USERNS_HELPER_CGROUP : USERNS_HELPER_ALONE,
                            owner, cgroup_fd, join_by_write, err);
    if (r == 0)
        r = userns_make_with(&helper, uids, uid_count, gids, gid_count, ret_userns, ret_cgroupns,
                             err);
    userns_helper_end(&helper);
    return r;
}
