/* This file looks through all records of placeholders; it never opens one itself.
 *
 * PRIVILEGED: the launcher's. Namespace: the host's. Should: count what could not be done, so that
 * it is asked for again. Mustn't: wait for a berth that is stopped. Callers: workspace_end.c,
 * placeholder.c.
 */
#include "runtime/host/placeholder_internal.h"

#include "runtime/base/fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { TRIES = 20 }; /* a millisecond between two */

int placeholder_each(int share, bool (*visit)(int share, const char *name, void *data), void *data)
{
    _cleanup_fd_ int fd = openat(share, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    DIR *list = fdopendir(fd);
    if (!list)
        return -errno;
    (void)take_fd(&fd); /* the list's now */
    const struct dirent *e;
    bool over = false;
    errno = 0;
    while (!over && (e = readdir(list))) {
        over = strncmp(e->d_name, "place-", 6) == 0 && visit(share, e->d_name, data);
        errno = 0;
    }
    int sys = errno;
    closedir(list);
    return over ? 1 : -sys;
}

/* Who holds the guard is at work on this very directory, for milliseconds unless he is stopped. */
static int reap_soon(int share, uint64_t dev, uint64_t ino, bool *ret_ours)
{
    int r = 0;
    for (unsigned tries = 0; tries < TRIES; tries++) {
        r = placeholder_reap_one(share, dev, ino, ret_ours);
        if (r != -ETIMEDOUT)
            return r;
        poll(NULL, 0, 1);
    }
    return r;
}

static bool visit_to_reap(int share, const char *name, void *data)
{
    struct reaped *reaped = data;
    unsigned long long dev, ino;
    bool ours = false;
    if (sscanf(name, "place-%llx-%llx", &dev, &ino) != 2)
        return false;
    reaped->left += reap_soon(share, dev, ino, &ours) < 0;
    reaped->count += ours;
    return false;
}

int placeholder_reap(int share, struct reaped *reaped, struct err *err)
{
    int r = placeholder_each(share, visit_to_reap, reaped);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "list", "share directory", NULL) : 0;
}
