/* This file gives names to the system calls of the mount and process APIs that glibc 2.36 does not
 * wrap or whose headers clash; it adds no behaviour. Every function is a bare call: -1 and errno.
 *
 * Async-signal-safe, so usable between clone() and execve(). Only runtime/host and runtime/stage
 * may include it (the layer lint checks that).
 *
 * Sources: fsopen(2), fsconfig(2), fspick(2), fsmount(2), open_tree(2), move_mount(2),
 * mount_setattr(2), openat2(2), clone(2), close_range(2).
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <sched.h>
#include <stdint.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Rights of a mount, as struct mount_attr's. */
enum {
    SYS_ATTR_RDONLY = 0x01,
    SYS_ATTR_NOSUID = 0x02,
    SYS_ATTR_NODEV = 0x04,
    SYS_ATTR_NOEXEC = 0x08,
    SYS_ATTR_IDMAP = 0x00100000,
};

struct sys_mount_attr {
    uint64_t set, clear, propagation, userns_fd;
};

static inline int sys_fsopen(const char *type)
{
    return (int)syscall(SYS_fsopen, type, 1u /* FSOPEN_CLOEXEC */);
}

static inline int sys_fsconfig_string(int fs, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, fs, 1u /* FSCONFIG_SET_STRING */, key, value, 0);
}

static inline int sys_fsconfig_flag(int fs, const char *key)
{
    return (int)syscall(SYS_fsconfig, fs, 0u /* FSCONFIG_SET_FLAG */, key, NULL, 0);
}

static inline int sys_fsconfig_create(int fs)
{
    return (int)syscall(SYS_fsconfig, fs, 6u /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0);
}

static inline int sys_fsconfig_reconfigure(int fs)
{
    return (int)syscall(SYS_fsconfig, fs, 7u /* FSCONFIG_CMD_RECONFIGURE */, NULL, NULL, 0);
}

/* The file system of a mount, to be configured anew. */
static inline int sys_fspick(int mount)
{
    return (int)syscall(SYS_fspick, mount, "", 1u /* CLOEXEC */ | 8u /* EMPTY_PATH */);
}

static inline int sys_fsmount(int fs, uint64_t attributes)
{
    return (int)syscall(SYS_fsmount, fs, 1u /* FSMOUNT_CLOEXEC */, attributes);
}

/* A detached copy of the mount at `path` beneath dirfd. */
static inline int sys_open_tree_clone(int dirfd, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dirfd, path, 1u /* OPEN_TREE_CLONE */ | O_CLOEXEC | flags);
}

/* Attach the mount that `mount_fd` is at the place that `target_fd` is. */
static inline int sys_move_mount_fd(int mount_fd, int target_fd)
{
    return (int)syscall(SYS_move_mount, mount_fd, "", target_fd, "",
                        4u /* MOVE_MOUNT_F_EMPTY_PATH */ | 0x40u /* MOVE_MOUNT_T_EMPTY_PATH */);
}

static inline int sys_move_mount_at(int mount_fd, int dirfd, const char *path)
{
    return (int)syscall(SYS_move_mount, mount_fd, "", dirfd, path, 4u);
}

static inline int sys_mount_setattr(int mount_fd, unsigned flags, const struct sys_mount_attr *attr)
{
    return (int)syscall(SYS_mount_setattr, mount_fd, "", AT_EMPTY_PATH | flags, attr, sizeof *attr);
}

static inline int sys_mount_setattr_at(int dirfd, const char *path, unsigned flags,
                                       const struct sys_mount_attr *attr)
{
    return (int)syscall(SYS_mount_setattr, dirfd, path, flags, attr, sizeof *attr);
}

static inline int sys_openat2(int dirfd, const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = resolve};
    return (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
    return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static inline long sys_clone3(struct clone_args *args)
{
    return syscall(SYS_clone3, args, sizeof *args);
}

static inline int sys_execveat(int fd, char *const argv[], char *const envp[])
{
    return (int)syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
}

/* -1 with errno ESRCH also where the number is that of a thread of another process by now, which
 * the kernel says by EINVAL, later ones by ENOENT: no process has it. */
static inline int sys_pidfd_open(pid_t pid)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0u);
    if (fd < 0 && pid > 0 && (errno == EINVAL || errno == ENOENT))
        errno = ESRCH;
    return fd;
}

static inline int sys_close_range(unsigned first, unsigned last)
{
    return (int)syscall(SYS_close_range, first, last, 0u);
}
