/* This file reads and writes whole things through descriptors; it never allocates except for
 * io_read_file(). */
#include "runtime/base/io.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <stdbool.h>
#include <string.h>

int io_write_full(int fd, const void *data, size_t length)
{
    const char *p = data;
    while (length > 0) {
        ssize_t n = write(fd, p, length);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        p += n;
        length -= (size_t)n;
    }
    return 0;
}

ssize_t io_read_full(int fd, void *data, size_t length)
{
    char *p = data;
    size_t got = 0;
    while (got < length) {
        ssize_t n = read(fd, p + got, length - got);
        if (n < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

int io_write_at(int dirfd, const char *path, const char *text)
{
    _cleanup_fd_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    ssize_t n;
    do
        n = write(fd, text, strlen(text));
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

ssize_t io_read_at(int dirfd, const char *path, char *ret_text, size_t size)
{
    _cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    ssize_t n = io_read_full(fd, ret_text, size - 1);
    if (n < 0)
        return n;
    while (n > 0 && ret_text[n - 1] == '\n')
        n--;
    ret_text[n] = 0;
    return n;
}

int io_read_file(int dirfd, const char *path, size_t max, char **ret_data, size_t *ret_length)
{
    _cleanup_fd_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    /* Most files are shorter than this, and then the memory is what they need: a block of a page or
     * more costs a mapping each time. */
    char first[4096];
    ssize_t n = io_read_full(fd, first, sizeof first);
    if (n < 0)
        return (int)n;
    size_t length = (size_t)n;
    bool more = length == sizeof first;
    size_t capacity = more ? 4 * sizeof first : length;
    _cleanup_free_ char *data = malloc(capacity + 1);
    if (!data)
        return -ENOMEM;
    memcpy(data, first, length);
    while (more && length <= max) {
        if (length == capacity) {
            capacity *= 2;
            char *p = realloc(data, capacity + 1);
            if (!p)
                return -ENOMEM;
            data = p;
        }
        n = io_read_full(fd, data + length, capacity - length);
        if (n < 0)
            return (int)n;
        length += (size_t)n;
        more = length == capacity;
    }
    if (length > max)
        return -EFBIG;
    data[length] = 0;
    *ret_data = take_ptr(&data);
    *ret_length = length;
    return 0;
}
