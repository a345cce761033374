/* This file copies bytes between a stream that may not go into a session and a pipe that may; it
 * never blocks and never interprets what it copies.
 *
 * A relay holds at most one buffer. It reads only when the buffer is empty and writes until it is,
 * so a slow reader stops the writer (backpressure) and nothing is lost. When its reader goes away
 * it closes the pipe's end, so that the command gets the EPIPE that it would have got outside.
 *
 * Between two pipes it holds nothing: splice(2) moves what is in one to the other and does not
 * block, whatever the flags of the caller's pipe say (SPLICE_F_NONBLOCK).
 *
 * Loop: relay_poll() fills two pollfd (fd -1 where nothing is awaited, so that a hang-up which
 * nobody can act on does not spin), relay_step() acts on what poll() found.
 */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

enum { RELAY_BUFFER = 65536 };

struct relay {
    int from, to;                /* -1: ended, or fed by relay_feed() */
    bool from_owned, to_owned;   /* closed at the end */
    bool from_socket, to_socket; /* MSG_DONTWAIT: their open file description is shared */
    bool to_blocks; /* a terminal that could not be reopened: small writes, after POLLOUT only */
    size_t small;   /* to_blocks: how much surely does not block after POLLOUT */
    bool spliced;   /* both ends are pipes: the kernel moves pages, nothing is held here */
    bool full;      /* spliced: the reader's pipe had no room; wait for it */
    bool fed;       /* the source is relay_feed(), not `from` */
    bool paused;    /* a terminal whose foreground is another job's: not read now */
    bool broken;    /* the reader is gone: what comes is dropped */
    size_t ahead;   /* so many bytes come from a terminal's lines: a NUL is the end-of-file key */
    size_t offset, length;
    unsigned long long bytes; /* copied in all */
    char buffer[RELAY_BUFFER];
};

void relay_init(struct relay *relay);
void relay_fini(struct relay *relay);

/* Both ends closed or unusable and nothing held. */
bool relay_done(const struct relay *relay);

/* Bytes wait for the reader. */
bool relay_pending(const struct relay *relay);

void relay_poll(const struct relay *relay, struct pollfd pair[2]);
void relay_step(struct relay *relay, const struct pollfd pair[2]);

/* Fed relays: takes all (length <= RELAY_BUFFER) when nothing is pending; the caller sees to that.
 */
void relay_feed(struct relay *relay, const void *data, size_t length);

/* No more will be read; what is held is still written. */
void relay_end(struct relay *relay);
