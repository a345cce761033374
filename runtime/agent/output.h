/* This file is init's bounded queue of frames to the controller's pipe; it never blocks and never
 * allocates. What does not fit is refused, and the caller tries again later: captured output stays
 * in its pipe or PTY, whose writer then waits. DATA frames leave a reserve free, so that the few
 * frames that are not output (started, exit, table) can be queued while a reader sleeps.
 *
 * When the reader is gone (`broken`), frames are taken and dropped. Used by init only.
 */
#pragma once

#include "runtime/agent/protocol.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    OUTPUT_SIZE = 192 * 1024,
    OUTPUT_RESERVE = 48 * 1024, /* DATA frames keep off this much */
    OUTPUT_CHUNK = 32 * 1024,   /* largest payload of one DATA frame */
    OUTPUT_ROOM_LEAST = 2048,   /* less room than this is none: no tiny frames */
};

struct output {
    int fd;
    bool broken;
    size_t head, used;
    unsigned char chunk[OUTPUT_CHUNK]; /* where captured bytes are read to */
    unsigned char ring[OUTPUT_SIZE];
};

/* An empty queue for `fd`, which is made O_NONBLOCK. 0 or -errno, and nothing has changed. */
int output_init(struct output *output, int fd);

/* Bytes that a DATA frame may carry now; 0 when captured output has to wait. */
size_t output_data_room(const struct output *output);

/* Whether a frame with `length` payload bytes that is not DATA can be queued now. */
bool output_has_room(const struct output *output, size_t length);

/* Queue one frame; the caller has asked for room. */
void output_push(struct output *output, const struct agent_frame *head, const void *payload);

/* Write what the pipe takes: 0 all is written, OUTPUT_WAITS, or -EPIPE when the reader is gone
 * (said once; the queue is dropped). */
enum { OUTPUT_WAITS = 1 };
int output_flush(struct output *output);
