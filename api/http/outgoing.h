/* This file holds what a client is still to be sent: bytes, then perhaps what a descriptor gives;
 * it never waits. Bytes of a descriptor do not pass through this process (sendfile, splice).
 * Unprivileged.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum outgoing_source { OUTPUT_NO_SOURCE, OUTPUT_FILE, OUTPUT_PIPE, OUTPUT_PIPE_IN_CHUNKS };

struct outgoing {
    char *bytes;
    size_t start, length, capacity;
    enum outgoing_source source;
    int fd;        /* of the source; owned; -1 */
    uint64_t left; /* of FILE and PIPE; of the chunk that was announced: PIPE_IN_CHUNKS */
    uint64_t offset;
    uint64_t sent; /* bytes in all: progress */
};

void outgoing_init(struct outgoing *out);
void outgoing_fini(struct outgoing *out);

/* 0 or -ENOMEM. */
int outgoing_add(struct outgoing *out, const void *data, size_t length);

/* The same of three parts, none or all; what the socket takes at once is sent and not kept. A
 * failure of the socket is met by the next flush. -ENOMEM: a part may be out, and the rest is lost.
 */
int outgoing_send(struct outgoing *out, int socket, const struct iovec parts[3]);

/* After the bytes. One at a time; `fd` is taken. */
void outgoing_set_source(struct outgoing *out, enum outgoing_source source, int fd, uint64_t offset,
                         uint64_t length);

static inline bool outgoing_empty(const struct outgoing *out)
{
    return out->length == 0 && out->source == OUTPUT_NO_SOURCE;
}

/* Send what can be sent without waiting. 0: all is out. OUTPUT_PEER: the socket is full.
 * OUTPUT_WAITS: the source has nothing yet. OUTPUT_MORE: there is more, let others have their turn.
 * -EIO: the source has ended too early; other negative: the client is gone. */
enum outgoing_outcome { OUTPUT_PEER = 1, OUTPUT_WAITS = 2, OUTPUT_MORE = 3 };
int outgoing_flush(struct outgoing *out, int socket);
