/* This file holds what a client is still to be sent; it never waits. */
#include "api/http/outgoing.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

enum { TURN_BYTES = 1024 * 1024, KEPT_BYTES = 4096 };

void outgoing_init(struct outgoing *out)
{
    *out = (struct outgoing){.fd = -1};
}

void outgoing_fini(struct outgoing *out)
{
    free(out->bytes);
    fd_close(out->fd);
    outgoing_init(out);
}

int outgoing_add(struct outgoing *out, const void *data, size_t length)
{
    if (length == 0)
        return 0;
    if (out->start > 0 && out->start + out->length + length > out->capacity) {
        memmove(out->bytes, out->bytes + out->start, out->length);
        out->start = 0;
    }
    size_t need = out->start + out->length + length;
    if (need > out->capacity) {
        size_t capacity = out->capacity ? out->capacity : 512;
        while (capacity < need)
            capacity *= 2;
        char *bytes = realloc(out->bytes, capacity);
        if (!bytes)
            return -ENOMEM;
        out->bytes = bytes;
        out->capacity = capacity;
    }
    memcpy(out->bytes + out->start + out->length, data, length);
    out->length += length;
    return 0;
}

int outgoing_send(struct outgoing *out, int socket, const struct iovec parts[3])
{
    struct iovec now[3] = {parts[0], parts[1], parts[2]};
    const struct msghdr message = {.msg_iov = now, .msg_iovlen = 3};
    ssize_t n = 0;
    if (outgoing_empty(out))
        n = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    size_t sent = n > 0 ? (size_t)n : 0;
    out->sent += sent;
    int r = 0;
    for (int i = 0; r == 0 && i < 3; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len;
        sent -= skip;
        r = outgoing_add(out, (const char *)parts[i].iov_base + skip, parts[i].iov_len - skip);
    }
    return r;
}

void outgoing_set_source(struct outgoing *out, enum outgoing_source source, int fd, uint64_t offset,
                         uint64_t length)
{
    out->source = source;
    out->fd = fd;
    out->offset = offset;
    out->left = source == OUTPUT_PIPE_IN_CHUNKS ? 0 : length;
}

static void end_source(struct outgoing *out)
{
    fd_replace(&out->fd, -1);
    out->source = OUTPUT_NO_SOURCE;
}

static int flush_bytes(struct outgoing *out, int socket)
{
    while (out->length > 0) {
        ssize_t n = send(socket, out->bytes + out->start, out->length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? OUTPUT_PEER : -errno;
        out->start += (size_t)n;
        out->length -= (size_t)n;
        out->sent += (uint64_t)n;
    }
    out->start = 0;
    /* An idle connection keeps nothing. */
    if (out->capacity > KEPT_BYTES || out->source == OUTPUT_NO_SOURCE) {
        free(out->bytes);
        out->bytes = NULL;
        out->capacity = 0;
    }
    return 0;
}

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && p.revents != 0;
}

/* Up to `want` bytes of the source to the socket: how many, or -errno. *ret_wait says what is
 * waited for when nothing could move, else 0. */
static ssize_t move(struct outgoing *out, int socket, uint64_t want, int *ret_wait)
{
    size_t n = want < TURN_BYTES ? (size_t)want : TURN_BYTES;
    off_t offset = (off_t)out->offset;
    ssize_t moved = out->source == OUTPUT_FILE
                        ? sendfile(socket, out->fd, &offset, n)
                        : splice(out->fd, NULL, socket, NULL, n, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    *ret_wait = 0;
    if (moved < 0 && (errno == EAGAIN || errno == EINTR)) {
        *ret_wait = out->source == OUTPUT_FILE || readable(out->fd) ? OUTPUT_PEER : OUTPUT_WAITS;
        return 0;
    }
    if (moved < 0)
        return -errno;
    out->offset = (uint64_t)offset;
    out->sent += (uint64_t)moved;
    return moved;
}

static int flush_sized(struct outgoing *out, int socket)
{
    int wait = 0;
    if (out->left > 0) {
        ssize_t n = move(out, socket, out->left, &wait);
        if (n < 0)
            return (int)n;
        if (wait)
            return wait;
        if (n == 0)
            return -EIO;
        out->left -= (uint64_t)n;
    }
    if (out->left > 0)
        return OUTPUT_MORE;
    end_source(out);
    return 0;
}

/* A chunk is as long as what the pipe holds: its size is sent first, then the bytes are moved. */
static int announce_chunk(struct outgoing *out)
{
    int available = 0;
    char line[24];
    if (ioctl(out->fd, FIONREAD, &available) < 0)
        return -errno;
    if (available == 0 && !readable(out->fd))
        return OUTPUT_WAITS;
    /* What came between the two looks is seen by a third. */
    if (available == 0 && (ioctl(out->fd, FIONREAD, &available) < 0 || available == 0)) {
        end_source(out);
        return outgoing_add(out, "0\r\n\r\n", 5);
    }
    out->left = (uint64_t)available;
    int n = snprintf(line, sizeof line, "%x\r\n", (unsigned)available);
    return outgoing_add(out, line, (size_t)n);
}

static int flush_chunks(struct outgoing *out, int socket)
{
    int wait = 0;
    if (out->left == 0) {
        int r = announce_chunk(out);
        return r == 0 ? OUTPUT_MORE : r;
    }
    ssize_t n = move(out, socket, out->left, &wait);
    if (n < 0)
        return (int)n;
    if (wait)
        return wait;
    if (n == 0)
        return -EIO;
    out->left -= (uint64_t)n;
    int r = out->left == 0 ? outgoing_add(out, "\r\n", 2) : 0;
    return r < 0 ? r : OUTPUT_MORE;
}

int outgoing_flush(struct outgoing *out, int socket)
{
    /* Chunks alternate between bytes and the source: a bounded number of times. */
    for (int i = 0; i < 64; i++) {
        int r = flush_bytes(out, socket);
        if (r != 0 || out->source == OUTPUT_NO_SOURCE)
            return r;
        uint64_t before = out->sent;
        r = out->source == OUTPUT_PIPE_IN_CHUNKS ? flush_chunks(out, socket)
                                                 : flush_sized(out, socket);
        if (r != 0 && r != OUTPUT_MORE)
            return r;
        if (out->sent - before >= TURN_BYTES)
            return OUTPUT_MORE;
    }
    return outgoing_empty(out) ? 0 : OUTPUT_MORE;
}
