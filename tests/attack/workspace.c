/* This file is an attack program: it attacks the workspace that it stands in (rows 36 to 39).
 *
 *     workspace protect PATH…     each is protected: create, write, rename, replace, link, bind
 *     workspace names             makes files with hostile names
 *     workspace hardlink FILE…    names a file that is another's
 *     workspace wait NAME SECONDS writes NAME again and again while the host swaps the directory
 */
#include "try.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

static void label(char *name, size_t size, const char *verb, const char *path)
{
    snprintf(name, size, "%s:%s", verb, path);
}

static int step_bind(void *argument)
{
    const char *path = argument;
    return mount("/tmp", path, NULL, MS_BIND, NULL) < 0 ? errno : 0;
}

static int step_unmount(void *argument)
{
    return umount2(argument, MNT_DETACH) < 0 ? errno : 0;
}

static void attack_protected(const char *path)
{
    char name[300], other[300], parent[300];
    struct stat st;
    bool there = lstat(path, &st) == 0, directory = there && S_ISDIR(st.st_mode);

    label(name, sizeof name, "create", path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    if (!there || !directory)
        try_result(name, fd);
    if (fd >= 0)
        close(fd);
    label(name, sizeof name, "mkdir", path);
    if (!there)
        try_result(name, mkdir(path, 0755));
    if (directory) {
        snprintf(other, sizeof other, "%.250s/pre-commit", path);
        label(name, sizeof name, "plant", path);
        fd = open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
        try_result(name, fd);
        if (fd >= 0)
            close(fd);
        label(name, sizeof name, "remove", path);
        try_result(name, rmdir(path));
    } else {
        label(name, sizeof name, "remove", path);
        try_result(name, unlink(path));
    }
    snprintf(other, sizeof other, "%.250s.moved", path);
    label(name, sizeof name, "rename_away", path);
    try_result(name, rename(path, other));
    rename(other, path);

    /* The parent renamed away, and a new one of the same name put in its place. */
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash) {
        *slash = 0;
        snprintf(other, sizeof other, "%.250s.moved", parent);
        label(name, sizeof name, "rename_parent", path);
        int r = rename(parent, other);
        try_result(name, r);
        if (r == 0)
            rename(other, parent);
        label(name, sizeof name, "exchange_parent", path);
        mkdir("swap-attack", 0755);
        r = (int)syscall(SYS_renameat2, AT_FDCWD, parent, AT_FDCWD, "swap-attack", 2);
        try_result(name, r);
        if (r == 0)
            syscall(SYS_renameat2, AT_FDCWD, parent, AT_FDCWD, "swap-attack", 2);
        rmdir("swap-attack");
    }
    fd = open("source-attack", O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
    close(fd);
    label(name, sizeof name, "rename_over", path);
    try_result(name, rename("source-attack", path));
    label(name, sizeof name, "link_over", path);
    try_result(name, link("source-attack", path));
    label(name, sizeof name, "symlink_over", path);
    try_result(name, symlink("/tmp", path));
    unlink("source-attack");
    label(name, sizeof name, "hardlink_out", path);
    if (!directory) {
        int r = link(path, "link-attack");
        if (r == 0) {
            fd = open("link-attack", O_WRONLY | O_CLOEXEC);
            r = fd < 0 ? -1 : 0;
            unlink("link-attack");
        }
        try_result(name, r);
    }
    label(name, sizeof name, "chmod", path);
    if (there)
        try_result(name, chmod(path, st.st_mode & 0777));
    label(name, sizeof name, "bind_over", path);
    try_in_child(name, step_bind, (void *)(uintptr_t)path);
    label(name, sizeof name, "unmount", path);
    try_in_child(name, step_unmount, (void *)(uintptr_t)path);
}

static int make_names(void)
{
    static const char *const names[] = {"new\nline",      "bad\xff\xfeutf8", "\x1b[2Jescape", "-rf",
                                        "quote\"'`$(id)", " space ",         "tab\t",         "*"};
    char longest[256];
    memset(longest, 'L', 255);
    longest[255] = 0;
    try_begin();
    for (size_t i = 0; i <= sizeof names / sizeof *names; i++) {
        const char *name = i < sizeof names / sizeof *names ? names[i] : longest;
        int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
        printf("made %zu: %s\n", i, fd >= 0 ? "yes" : strerrorname_np(errno));
        if (fd >= 0)
            close(fd);
    }
    return try_end("workspace");
}

static int write_while(const char *name, long seconds)
{
    int64_t end = try_now_ms() + seconds * 1000;
    unsigned long written = 0;
    printf("ready\n");
    fflush(stdout);
    while (try_now_ms() < end) {
        int fd = open(name, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
        if (fd >= 0 && write(fd, "inside\n", 7) == 7)
            written++;
        if (fd >= 0)
            close(fd);
        usleep(1000);
    }
    printf("written %lu\n", written);
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *kind = argc > 1 ? argv[1] : "";
    if (strcmp(kind, "names") == 0)
        return make_names();
    if (strcmp(kind, "wait") == 0 && argc == 4)
        return write_while(argv[2], strtol(argv[3], NULL, 10));
    try_begin();
    for (int i = 2; i < argc; i++)
        if (strcmp(kind, "protect") == 0) {
            attack_protected(argv[i]);
        } else if (strcmp(kind, "hardlink") == 0) {
            char name[300];
            label(name, sizeof name, "link", argv[i]);
            try_result(name, link(argv[i], "stolen"));
            label(name, sizeof name, "write", argv[i]);
            try_result(name, open(argv[i], O_WRONLY | O_CLOEXEC));
            label(name, sizeof name, "remove", argv[i]);
            try_result(name, unlink(argv[i]));
        } else {
            return 2;
        }
    return try_end("workspace");
}
