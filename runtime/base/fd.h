/* This file owns descriptors and memory by scope: every owner is a local with a cleanup attribute,
 * and ownership moves with take_fd() and take_ptr(). An unset descriptor is -1.
 *
 *     _cleanup_fd_ int fd = open(...);
 *     ...
 *     *ret_fd = take_fd(&fd);
 *
 * Any process may call; fd_close() is async-signal-safe and keeps errno.
 */
#pragma once

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static inline void fd_close(int fd)
{
    int keep = errno;
    if (fd >= 0)
        close(fd);
    errno = keep;
}

static inline void fd_closep(int *fd)
{
    fd_close(*fd);
    *fd = -1;
}

static inline int take_fd(int *fd)
{
    int r = *fd;
    *fd = -1;
    return r;
}

/* Replace what *fd owns. */
static inline void fd_replace(int *fd, int with)
{
    fd_close(*fd);
    *fd = with;
}

/* Close every descriptor from 3 on that is not in `kept` (-1 entries allowed). 0 or -errno.
 * Async-signal-safe. Linux 5.9, close_range(2). */
int fd_keep_only(const int *kept, unsigned count);

static inline void ptr_freep(void *p)
{
    int keep = errno;
    free(*(void **)p);
    errno = keep;
}

#define take_ptr(pp)                      \
    __extension__({                       \
        __typeof__(*(pp)) taken_ = *(pp); \
        *(pp) = NULL;                     \
        taken_;                           \
    })

#define _cleanup_fd_    __attribute__((cleanup(fd_closep)))
#define _cleanup_free_  __attribute__((cleanup(ptr_freep)))
#define ARRAY_LENGTH(a) (sizeof(a) / sizeof((a)[0]))
