/* This file is an attack program: it looks for a working directory or a parent that lies outside
 * the session's root (row 2). It never changes a file.
 */
#include "try.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

static bool has_marker(int dir, const char *marker)
{
    return faccessat(dir, marker, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* Walk up 64 times from `fd`; the marker is a name that exists in the host's root only. */
static bool escapes(int fd, const char *marker)
{
    int at = dup(fd);
    for (int i = 0; i < 64 && at >= 0; i++) {
        if (has_marker(at, marker)) {
            close(at);
            return true;
        }
        int up = openat(at, "..", O_PATH | O_DIRECTORY | O_CLOEXEC);
        close(at);
        at = up;
    }
    if (at >= 0)
        close(at);
    return false;
}

int main(int argc, char **argv)
{
    const char *marker = argc > 1 ? argv[1] : "host-root-marker";
    try_begin();

    char path[PATH_MAX];
    long r = syscall(SYS_getcwd, path, sizeof path);
    if (r < 0 || path[0] != '/')
        try_succeeded("cwd_unreachable", "getcwd says %.60s", r < 0 ? "an error" : path);
    else
        try_refused("cwd_unreachable", "ABSOLUTE");

    int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (here >= 0 && escapes(here, marker))
        try_succeeded("cwd_walk_up", "found %s", marker);
    else
        try_refused("cwd_walk_up", "ROOT");

    for (int n = 0; n < 64; n++) {
        char name[32], link[32];
        snprintf(name, sizeof name, "chdir_fd_%d", n);
        snprintf(link, sizeof link, "/proc/self/fd/%d", n);
        if (n == here)
            continue;
        int fd = open(link, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            try_denied(name, errno);
            continue;
        }
        if (escapes(fd, marker))
            try_succeeded(name, "a directory of the host");
        else
            try_refused(name, "INSIDE");
        close(fd);
    }
    if (here >= 0)
        close(here);
    return try_end("cwd");
}
