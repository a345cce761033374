/* This file reads and writes whole things through descriptors and restarts after EINTR. Returns
 * are 0 or -errno; no struct err, because the caller knows what it was doing. Async-signal-safe
 * except io_read_file(). Any process may call.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Write all of it. -EPIPE and the like are forwarded. */
int io_write_full(int fd, const void *data, size_t length);

/* Read until `length` bytes or end of file; returns the count read, or -errno. */
ssize_t io_read_full(int fd, void *data, size_t length);

/* Open `path` below `dirfd` (AT_FDCWD allowed) for writing, write `text` in one write(2), close.
 * For kernel control files: no O_CREAT, no O_TRUNC. */
int io_write_at(int dirfd, const char *path, const char *text);

/* Read a small file (cgroup, procfs) into `ret_text`, NUL-terminated, cut at size - 1, trailing
 * newline removed. Returns the length or -errno. */
ssize_t io_read_at(int dirfd, const char *path, char *ret_text, size_t size);

/* A whole file into malloc'ed memory, NUL-terminated. More than `max` bytes: -EFBIG. */
int io_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_length);
