/* This file turns a name that a person typed or wrote into a policy into a real path without links;
 * it opens nothing for use: who uses the path opens it again and follows no link then.
 *
 * Any process may call, with the rights of who asks; the launcher itself never resolves a link.
 *
 * A symbolic link is its owner's word. One that belongs to another user (or that a session left in
 * a workspace, where it is that user) could make root share root's own directory by the name of a
 * project. So each link on the way must belong to who asks or to root, as fs.protected_symlinks
 * has it for sticky directories, but everywhere.
 */
#include "runtime/runtime.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINKS_MAX = 40 }; /* as the kernel has it */

struct resolving {
    const char *path, *step; /* as asked, for messages */
    int at;                  /* O_PATH of what `real` names */
    char real[PATH_MAX];     /* "" is the root */
    char rest[PATH_MAX];
    unsigned links;
};

static int cannot(const struct resolving *v, int sys, struct err *err)
{
    return err_set(err, sys == EACCES ? ERR_FORBIDDEN : ERR_INVALID_REQUEST, sys, v->step, v->path,
                   sys == ENOENT ? "Make it first, or name another." : NULL);
}

static int begin(struct resolving *v, struct err *err)
{
    bool absolute = v->path[0] == '/';
    if (strlen(v->path) >= sizeof v->rest)
        return cannot(v, ENAMETOOLONG, err);
    if (v->path[0] == 0)
        return cannot(v, ENOENT, err);
    snprintf(v->rest, sizeof v->rest, "%s", v->path);
    v->at = open(absolute ? "/" : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (v->at < 0)
        return cannot(v, errno, err);
    if (absolute)
        return 0;
    if (!getcwd(v->real, sizeof v->real))
        return cannot(v, errno, err);
    if (v->real[0] != '/') /* "(unreachable)" */
        return cannot(v, ENOENT, err);
    if (v->real[1] == 0)
        v->real[0] = 0;
    return 0;
}

static int refuse_link(const struct resolving *v, const char *name, uint32_t owner, struct err *err)
{
    char *real = realpath(v->path, NULL);
    err_set(err, ERR_FORBIDDEN, 0, v->step, v->path,
            "%s/%s is a symbolic link of uid %u, who can make it lead anywhere: berth follows your "
            "own links and root's. Name the real path%s%s",
            v->real, name, owner, real ? ": " : ".", real ? real : "");
    free(real);
    return -EACCES;
}

/* Put what the link `fd` says before the rest. */
static int follow(struct resolving *v, int fd, const char *name, const struct stat *st,
                  struct err *err)
{
    char target[PATH_MAX], rest[PATH_MAX];
    if (st->st_uid != 0 && st->st_uid != geteuid())
        return refuse_link(v, name, st->st_uid, err);
    ssize_t n = readlinkat(fd, "", target, sizeof target - 1);
    if (n <= 0 || ++v->links > LINKS_MAX)
        return cannot(v, n < 0 ? errno : n == 0 ? ENOENT : ELOOP, err);
    target[n] = 0;
    int length = snprintf(rest, sizeof rest, "%s/%s", target, v->rest);
    if (length < 0 || (size_t)length >= sizeof rest)
        return cannot(v, ENAMETOOLONG, err);
    memcpy(v->rest, rest, (size_t)length + 1);
    if (target[0] != '/')
        return 0;
    v->real[0] = 0;
    fd_replace(&v->at, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    return v->at < 0 ? cannot(v, errno, err) : 0;
}

/* One name of the rest. */
static int go_to(struct resolving *v, const char *name, struct err *err)
{
    bool up = strcmp(name, "..") == 0;
    _cleanup_fd_ int fd = openat(v->at, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return cannot(v, errno, err);
    if (S_ISLNK(st.st_mode))
        return follow(v, fd, name, &st, err);
    if (up) {
        char *slash = strrchr(v->real, '/');
        if (slash)
            *slash = 0;
    } else {
        size_t have = strlen(v->real);
        int n = snprintf(v->real + have, sizeof v->real - have, "/%s", name);
        if (n < 0 || (size_t)n >= sizeof v->real - have)
            return cannot(v, ENAMETOOLONG, err);
    }
    fd_replace(&v->at, take_fd(&fd));
    return 0;
}

static int resolve(struct resolving *v, struct err *err)
{
    int r = begin(v, err);
    while (r == 0) {
        char name[NAME_MAX + 1];
        const char *from = v->rest + strspn(v->rest, "/");
        size_t length = strcspn(from, "/");
        if (length == 0)
            return 0;
        if (length > NAME_MAX)
            return cannot(v, ENAMETOOLONG, err);
        memcpy(name, from, length);
        name[length] = 0;
        memmove(v->rest, from + length, strlen(from + length) + 1);
        if (strcmp(name, ".") != 0)
            r = go_to(v, name, err);
    }
    return r;
}

int runtime_resolve_path(const char *path, const char *step, char *ret, size_t size,
                         struct err *err)
{
    struct resolving v = {.path = path, .step = step, .at = -1};
    int r = resolve(&v, err);
    fd_close(v.at);
    if (r < 0)
        return r;
    if (strlen(v.real) + 2 > size)
        return cannot(&v, ENAMETOOLONG, err);
    snprintf(ret, size, "%s", v.real[0] ? v.real : "/");
    return 0;
}
