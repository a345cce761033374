/* This file is the controller's side of the pipe of frames: it reassembles them without blocking.
 *
 *     frame_reader_init(&reader, pipe_fd);
 *     while ((r = frame_reader_next(&reader, &frame, &payload, &err)) == 0)
 *         ...
 *
 * init is a hostile peer: a frame is handed out only after its header passed agent_frame_check()
 * and its payload agent_frame_payload_check(). Memory is the struct and nothing else, whatever the
 * peer sends. After a negative return or FRAME_READER_END every later call returns the same.
 * Any process may call; one thread per reader.
 */
#pragma once

#include "runtime/agent/protocol.h"
#include "runtime/base/err.h"

enum frame_reader_outcome {
    FRAME_READER_NONE = 1, /* no whole frame is there yet; poll the pipe */
    FRAME_READER_END = 2,  /* the pipe is closed: init is gone. A frame cut in half is dropped */
};

struct frame_reader {
    int fd;     /* the caller's, O_NONBLOCK */
    int ended;  /* what every later call returns; 0 while the pipe is good */
    size_t got; /* bytes of the frame that is being read, header included */
    struct agent_frame frame;
    const char *wrong; /* sentence, once garbage came */
    _Alignas(16) unsigned char payload[AGENT_FRAME_PAYLOAD_MAX + 1];
};

/* `fd` stays the caller's and must be O_NONBLOCK. */
void frame_reader_init(struct frame_reader *reader, int fd);

/* The next whole frame: 0 with *ret_frame and *ret_payload, which is aligned for every payload
 * struct, has a NUL one past its length, and is valid until the next call. Else an outcome,
 * -EPROTO when the peer sent garbage (the session must end), or the errno of read(2). At most two
 * reads that make progress per call for a frame that is wholly there. */
int frame_reader_next(struct frame_reader *reader, struct agent_frame *ret_frame,
                      const void **ret_payload, struct err *err);
