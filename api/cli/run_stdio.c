/* This file classifies standard streams; it never reads or writes one. */
#include "api/cli/run_stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static const char *const names[3] = {"stdin", "stdout", "stderr"};

/* `what` names something of the host. The way round is a pipe, which carries bytes only. */
static int refuse(int number, const char *what, struct err *err)
{
    return err_set(err, ERR_INVALID_REQUEST, 0, "check the standard streams", names[number],
                   "It is %s, which may not go into a session. Give a pipe, a regular file, a "
                   "terminal or /dev/null; \"%s\" makes a pipe of anything.",
                   what, number == 0 ? "cat FILE | berth run ..." : "berth run ... | cat > FILE");
}

/* Files that are doors into the host's kernel rather than data: their descriptors stay outside. */
static bool is_kernel_file(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return true;
    switch ((unsigned long)fs.f_type) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC:
    case BPF_FS_MAGIC:
    case NSFS_MAGIC:
        return true;
    default:
        return false;
    }
}

static int classify_socket(int fd, int number, enum stdio_kind *ret, struct err *err)
{
    int type = 0;
    socklen_t length = sizeof type;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
        return err_set(err, ERR_INVALID_REQUEST, errno, "check the standard streams", names[number],
                       NULL);
    if (type != SOCK_STREAM)
        return refuse(number, "a datagram or packet socket", err);
    *ret = STDIO_SOCKET;
    return 0;
}

static int classify_character_device(int fd, int number, const struct stat *st,
                                     enum stdio_kind *ret, struct err *err)
{
    if (st->st_rdev == makedev(1, 3)) {
        *ret = STDIO_NULL;
        return 0;
    }
    if (isatty(fd)) {
        *ret = STDIO_TERMINAL;
        return 0;
    }
    return refuse(number, "a device", err);
}

int stdio_classify(int fd, int number, enum stdio_kind *ret, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 && errno == EBADF) {
        *ret = STDIO_NULL;
        return 0;
    }
    struct stat st;
    if (flags < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INVALID_REQUEST, errno, "check the standard streams", names[number],
                       NULL);
    if (flags & O_PATH)
        return refuse(number, "a descriptor opened with O_PATH", err);
    switch (st.st_mode & S_IFMT) {
    case S_IFIFO:
        *ret = number == 0 && geteuid() == 0 ? STDIO_PASS : STDIO_PIPE;
        return 0;
    case S_IFREG:
        *ret = is_kernel_file(fd) ? STDIO_FILE : STDIO_PASS;
        return 0;
    case S_IFCHR:
        return classify_character_device(fd, number, &st, ret, err);
    case S_IFSOCK:
        return classify_socket(fd, number, ret, err);
    case S_IFDIR:
        return refuse(number, "a directory", err);
    case S_IFBLK:
        return refuse(number, "a block device", err);
    default: /* epoll, eventfd, signalfd and their like have no type at all */
        return refuse(number, "neither a file nor a pipe", err);
    }
}

static bool copied(enum stdio_kind kind)
{
    return kind == STDIO_TERMINAL || kind == STDIO_SOCKET || kind == STDIO_FILE ||
           kind == STDIO_PIPE;
}

static void find_one_output(struct stdio *all)
{
    struct stat out, error;
    if (copied(all->kind[1]) && all->kind[1] == all->kind[2] && fstat(1, &out) == 0 &&
        fstat(2, &error) == 0)
        all->one_output = out.st_dev == error.st_dev && out.st_ino == error.st_ino;
}

int stdio_classify_all(struct stdio *ret, struct err *err)
{
    struct stdio all = {0};
    for (int fd = 0; fd < 3; fd++) {
        int r = stdio_classify(fd, fd, &all.kind[fd], err);
        if (r < 0)
            return r;
    }
    find_one_output(&all);
    *ret = all;
    return 0;
}

void stdio_copy_files(struct stdio *stdio)
{
    for (int i = 0; i < 3; i++)
        if (stdio->kind[i] == STDIO_PASS)
            stdio->kind[i] = STDIO_FILE;
    find_one_output(stdio);
}
