/* This file tests pieces of a stream that are sent from where they stand, against a client that
 * takes a little at a time.
 */
#include "tests/unit/http_harness.h"

#include <sys/ioctl.h>

TestSuite(http_large, .fini = harness_stop, .timeout = 60);

/* The body of chunks at `from`, in place. Its length; SIZE_MAX when it is not whole. */
static size_t decode_chunks(char *from, size_t length)
{
    char *to = from, *at = from, *end = from + length;
    for (;;) {
        char *line = memmem(at, (size_t)(end - at), "\r\n", 2);
        size_t n = line ? strtoul(at, NULL, 16) : 0;
        if (!line || (size_t)(end - line) < n + 4 || memcmp(line + 2 + n, "\r\n", 2) != 0)
            return SIZE_MAX;
        if (n == 0)
            return line + 4 == end ? (size_t)(to - from) : SIZE_MAX;
        memmove(to, line + 2, n);
        to += n;
        at = line + 2 + n + 2;
    }
}

/* A piece of a stream that is large is sent from where it stands: what the socket does not take of
 * it must follow, and nothing may come between. */
Test(http_large, a_large_piece_arrives_whole_however_little_the_socket_takes_at_once)
{
    enum { EVENTS_SENT = 150, BYTES = 60000 };
    char *all = malloc((size_t)EVENTS_SENT * (BYTES + 200));
    size_t have = 0;
    harness.last_event = EVENTS_SENT;
    harness.data_bytes = BYTES;
    harness.limits = http_limits_default;
    harness_start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, "GET /v1/workspaces/w/sessions/s/execs/e/output HTTP/1.1\r\n"
                    "Host: x\r\nConnection: close\r\n\r\n");
    /* Not before the socket is full: it takes no more for a while. */
    for (int last = -1, waits = 0; waits < 1000 && (last <= 0 || last != (int)have); waits++) {
        int there = 0;
        last = (int)have;
        usleep(20000);
        cr_assert_eq(ioctl(fd, FIONREAD, &there), 0);
        have = (size_t)there;
    }
    have = 0;
    for (size_t odd = 1; have < (size_t)EVENTS_SENT * (BYTES + 200); odd = odd * 7 % 100003) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, 2000) == 1 ? recv(fd, all + have, odd, 0) : 0;
        if (n <= 0)
            break;
        have += (size_t)n;
    }
    char *body = memmem(all, have, "\r\n\r\n", 4);
    cr_assert(body);
    size_t length = decode_chunks(body + 4, have - (size_t)(body + 4 - all));
    cr_assert_neq(length, SIZE_MAX, "chunks of %zu bytes", have);
    const char *at = body + 4, *end = at + length;
    for (unsigned i = 1; i <= EVENTS_SENT; i++) {
        char head[80];
        int n = snprintf(head, sizeof head, "id: %u\nevent: data\ndata: %u ", i, i);
        cr_assert((size_t)(end - at) > (size_t)n && memcmp(at, head, (size_t)n) == 0, "event %u",
                  i);
        at = memmem(at, (size_t)(end - at), "\n\n", 2);
        cr_assert(at);
        at += 2;
    }
    cr_assert_eq(at, end);
    cr_assert_gt(length, (size_t)EVENTS_SENT * BYTES);
    cr_assert(harness.rooms > 0, "the socket was full in between");
    free(all);
}
