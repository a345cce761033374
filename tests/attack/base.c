/* This file is an attack program: it tries to change files that a session shares with the host and
 * with other sessions, by name, by descriptor and by the page cache (row 24). The runner compares
 * the file's hash, mode, owner and times from outside.
 *
 *     base FILE [SECRET…]    FILE: of the base, readable; SECRET: files of the host not to be read
 */
#include "try.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/xattr.h>

static const char *file;

static void by_name(void)
{
    char other[512];
    snprintf(other, sizeof other, "%s.attack", file);
    int fd = open(file, O_WRONLY | O_CLOEXEC);
    try_result("open_write", fd);
    fd = open(file, O_RDONLY | O_TRUNC | O_CLOEXEC);
    try_result("open_truncate", fd);
    try_result("truncate", truncate(file, 0));
    try_result("chmod", chmod(file, 0777));
    try_result("chown", chown(file, getuid(), getgid()));
    int r = rename(file, other);
    try_result("rename", r);
    if (r == 0)
        rename(other, file);
    try_result("link", link(file, other));
    unlink(other);
    try_result("create_beside", open(other, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    unlink(other);
    try_result("utimensat", utimensat(AT_FDCWD, file, NULL, 0));
    try_result("setxattr", setxattr(file, "user.attack", "x", 1, 0));
}

static void by_descriptor(void)
{
    char link[64];
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        try_denied("reopen_for_write", errno);
        return;
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    try_result("reopen_for_write", open(link, O_WRONLY | O_CLOEXEC));
    try_result("fchmod", fchmod(fd, 0777));
    try_result("ftruncate", ftruncate(fd, 0));
    try_result("fallocate_punch", fallocate(fd, 3, 0, 4096));
    try_result("futimens", futimens(fd, NULL));
    int output = open(file, O_WRONLY | O_CLOEXEC);
    int pipes[2];
    if (pipe(pipes) == 0) {
        if (write(pipes[1], "attack", 6) == 6)
            try_result("splice_into",
                       splice(pipes[0], NULL, output >= 0 ? output : fd, NULL, 6, 0));
        close(pipes[0]);
        close(pipes[1]);
    }
    try_result("copy_file_range_into", copy_file_range(fd, NULL, fd, &(off_t){4096}, 6, 0));
    try_result("map_shared_writable",
               mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0);
    char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        try_result("mprotect_shared_writable", mprotect(map, 4096, PROT_READ | PROT_WRITE));
    close(fd);
}

/* A private mapping that is written through /proc/self/mem while its pages are thrown away: the
 * copy must never be lost, whatever the order. The hash outside is the judge. */
static void *discard(void *map)
{
    for (int i = 0; i < 20000; i++)
        madvise(map, 4096, MADV_DONTNEED);
    return NULL;
}

static void by_page_cache(void)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC), mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
    if (fd < 0 || mem < 0) {
        try_denied("private_map_race", errno);
        return;
    }
    char before[8], after[8];
    if (pread(fd, before, sizeof before, 0) != sizeof before)
        return;
    char *map = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    pthread_t thread;
    if (map == MAP_FAILED || pthread_create(&thread, NULL, discard, map) != 0) {
        try_denied("private_map_race", errno);
        return;
    }
    for (int i = 0; i < 20000; i++)
        if (pwrite(mem, "ATTACKED", 8, (off_t)(uintptr_t)map) != 8)
            break;
    pthread_join(thread, NULL);
    if (pread(fd, after, sizeof after, 0) == sizeof after && memcmp(before, after, 8) != 0)
        try_succeeded("private_map_race", "the base's page was changed");
    else
        try_refused("private_map_race", "PRIVATE");
    /* A page of the file in a pipe, with the buffer then written to: the pipe must own a copy or
     * refuse to merge. */
    int pipes[2];
    char byte;
    off_t at = 0;
    if (pipe(pipes) == 0) {
        for (int i = 0; i < 16; i++)
            if (write(pipes[1], map, 4096) != 4096 ||
                read(pipes[0], map == MAP_FAILED ? 0 : &byte, 1) < 0)
                break;
        char drain[4096];
        fcntl(pipes[0], F_SETFL, O_NONBLOCK);
        while (read(pipes[0], drain, sizeof drain) > 0)
            ;
        fcntl(pipes[1], F_SETFL, O_NONBLOCK);
        if (splice(fd, &at, pipes[1], NULL, 1, 0) == 1 && write(pipes[1], "ATTACK", 6) == 6 &&
            pread(fd, after, sizeof after, 0) == sizeof after && memcmp(before, after, 8) != 0)
            try_succeeded("pipe_merge", "the base's page was changed");
        else
            try_refused("pipe_merge", "UNCHANGED");
        close(pipes[0]);
        close(pipes[1]);
    }
    close(fd);
    close(mem);
}

static void out_of_band(void)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0) {
        try_result("unix_oob", send(pair[0], "x", 1, MSG_OOB | MSG_NOSIGNAL));
        close(pair[0]);
        close(pair[1]);
    }
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    file = argv[1];
    try_begin();
    by_name();
    by_descriptor();
    by_page_cache();
    out_of_band();
    long ring = syscall(SYS_io_uring_setup, 8, &(char[120]){0});
    try_result("io_uring", ring);
    try_result("unlink", unlink(file));
    for (int i = 2; i < argc; i++) {
        char name[160], byte;
        snprintf(name, sizeof name, "read:%.140s", argv[i]);
        int fd = open(argv[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
            try_denied(name, errno);
        else if (read(fd, &byte, 1) == 1)
            try_succeeded(name, "readable");
        else
            try_refused(name, "EMPTY");
    }
    return try_end("base");
}
