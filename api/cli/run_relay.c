/* This file copies bytes between two descriptors without blocking; it never interprets them. */
#include "api/cli/run_relay.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

/* A terminal says POLLOUT while it has room for a little: so much of it does not block. */
enum { SMALL_WRITE = 256 };

void relay_init(struct relay *relay)
{
    /* The buffer is not cleared: a start of berth must not touch pages that it may never use. */
    memset(relay, 0, offsetof(struct relay, buffer));
    relay->from = relay->to = -1;
    relay->small = SMALL_WRITE;
}

static void close_from(struct relay *relay)
{
    if (relay->from_owned)
        fd_close(relay->from);
    relay->from = -1;
}

static void close_to(struct relay *relay)
{
    if (relay->to_owned)
        fd_close(relay->to);
    relay->to = -1;
}

void relay_fini(struct relay *relay)
{
    close_from(relay);
    close_to(relay);
    relay->length = relay->offset = 0;
    relay->fed = false;
}

bool relay_pending(const struct relay *relay)
{
    return relay->offset < relay->length || relay->full;
}

bool relay_done(const struct relay *relay)
{
    return relay->from < 0 && !relay->fed && relay->to < 0;
}

void relay_end(struct relay *relay)
{
    close_from(relay);
    relay->fed = false;
    if (!relay_pending(relay))
        close_to(relay);
}

/* The reader is gone: closing our end of the source is how the writer learns it. */
static void reader_gone(struct relay *relay)
{
    relay->broken = true;
    relay->offset = relay->length = 0;
    close_from(relay);
    close_to(relay);
}

void relay_poll(const struct relay *relay, struct pollfd pair[2])
{
    bool pending = relay_pending(relay);
    bool read = relay->from >= 0 && !pending && !relay->paused;
    pair[0] = (struct pollfd){.fd = read ? relay->from : -1, .events = POLLIN};
    /* With no events asked, poll() still tells POLLERR and POLLHUP: the reader went away while
     * there was nothing to write. */
    pair[1] = (struct pollfd){.fd = relay->to, .events = pending ? POLLOUT : 0};
}

static bool try_again(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* The key is given on as what a terminal understands by default. */
static void restore_ends(struct relay *relay)
{
    enum { END_OF_FILE_KEY = 4 };
    for (size_t i = 0; i < relay->length && relay->ahead > 0; i++, relay->ahead--)
        if (relay->buffer[i] == 0)
            relay->buffer[i] = END_OF_FILE_KEY;
}

static void read_some(struct relay *relay)
{
    ssize_t n = relay->from_socket
                    ? recv(relay->from, relay->buffer, sizeof relay->buffer, MSG_DONTWAIT)
                    : read(relay->from, relay->buffer, sizeof relay->buffer);
    if (n > 0) {
        relay->offset = 0;
        relay->length = (size_t)n;
        restore_ends(relay);
        return;
    }
    if (n < 0 && try_again())
        return;
    /* EIO on a terminal: this job is in its background (SIGTTIN is blocked), or it hung up; the
     * loop tells the two apart and lifts the pause. */
    if (n < 0 && errno == EIO && isatty(relay->from)) {
        relay->paused = true;
        return;
    }
    relay_end(relay);
}

static void write_some(struct relay *relay)
{
    while (relay_pending(relay)) {
        const char *data = relay->buffer + relay->offset;
        size_t length = relay->length - relay->offset;
        if (relay->to_blocks && length > relay->small)
            length = relay->small;
        ssize_t n = relay->to_socket ? send(relay->to, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
                                     : write(relay->to, data, length);
        if (n < 0 && try_again())
            return;
        if (n < 0) {
            reader_gone(relay);
            return;
        }
        relay->offset += (size_t)n;
        relay->bytes += (unsigned long long)n;
        if (relay->to_blocks && relay_pending(relay))
            return;
    }
    if (relay->from < 0 && !relay->fed)
        close_to(relay);
}

enum { SPLICE_MOST = 1 << 20 };

static void splice_some(struct relay *relay)
{
    ssize_t n =
        splice(relay->from, NULL, relay->to, NULL, SPLICE_MOST, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    relay->full = false;
    if (n > 0) {
        relay->bytes += (unsigned long long)n;
        return;
    }
    if (n < 0 && errno == EINTR)
        return;
    /* The source was readable, so it is the reader's pipe that has no room. */
    if (n < 0 && errno == EAGAIN)
        relay->full = true;
    else if (n < 0)
        reader_gone(relay);
    else
        relay_end(relay);
}

static void splice_step(struct relay *relay, const struct pollfd pair[2])
{
    bool room = pair[1].fd == relay->to && (pair[1].revents & POLLOUT);
    bool gone = pair[1].fd == relay->to && (pair[1].revents & (POLLERR | POLLNVAL));
    if (gone)
        reader_gone(relay);
    else if (relay->full ? room : pair[0].fd >= 0 && pair[0].fd == relay->from && pair[0].revents)
        splice_some(relay);
}

void relay_step(struct relay *relay, const struct pollfd pair[2])
{
    if (relay->spliced) {
        splice_step(relay, pair);
        return;
    }
    if (pair[0].fd >= 0 && pair[0].fd == relay->from && pair[0].revents)
        read_some(relay);
    if (relay->to < 0)
        return;
    bool ready = pair[1].fd == relay->to && (pair[1].revents & (POLLOUT | POLLERR | POLLHUP));
    if (relay_pending(relay)) {
        if (!relay->to_blocks || ready)
            write_some(relay);
    } else if (pair[1].fd == relay->to && (pair[1].revents & (POLLERR | POLLHUP | POLLNVAL)))
        reader_gone(relay);
}

void relay_feed(struct relay *relay, const void *data, size_t length)
{
    if (relay->broken || relay->to < 0)
        return;
    memcpy(relay->buffer, data, length);
    relay->offset = 0;
    relay->length = length;
    if (!relay->to_blocks)
        write_some(relay);
}
