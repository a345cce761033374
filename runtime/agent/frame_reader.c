/* This file reassembles frames from a pipe that a hostile init writes; it never blocks, never
 * allocates, and never hands out a frame that it did not check.
 */
#include "runtime/agent/frame_reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void frame_reader_init(struct frame_reader *reader, int fd)
{
    reader->fd = fd;
    reader->ended = 0;
    reader->got = 0;
    reader->wrong = NULL;
}

static int report(struct frame_reader *reader, struct err *err)
{
    if (reader->ended == -EPROTO)
        return err_set(err, ERR_INTERNAL, EPROTO, "read frame", NULL,
                       "The session's init sent something else than a frame: %s.", reader->wrong);
    if (reader->ended < 0)
        return err_set(err, ERR_INTERNAL, -reader->ended, "read frame", NULL, NULL);
    return reader->ended;
}

static int garbage(struct frame_reader *reader, const char *wrong, struct err *err)
{
    reader->wrong = wrong;
    reader->ended = -EPROTO;
    return report(reader, err);
}

/* Read until `got` is `want` bytes of the frame. 0, FRAME_READER_NONE, or `ended` is set. */
static int fill(struct frame_reader *reader, unsigned char *part, size_t part_start, size_t want)
{
    while (reader->got < want) {
        ssize_t n = read(reader->fd, part + (reader->got - part_start), want - reader->got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return FRAME_READER_NONE;
        if (n <= 0) {
            reader->ended = n == 0 ? FRAME_READER_END : -errno;
            return reader->ended;
        }
        reader->got += (size_t)n;
    }
    return 0;
}

int frame_reader_next(struct frame_reader *reader, struct agent_frame *ret_frame,
                      const void **ret_payload, struct err *err)
{
    if (reader->ended)
        return report(reader, err);

    bool had_header = reader->got >= sizeof reader->frame;
    int r = fill(reader, (unsigned char *)&reader->frame, 0, sizeof reader->frame);
    if (r)
        return reader->ended ? report(reader, err) : r;
    if (!had_header) {
        const char *wrong = agent_frame_check(&reader->frame);
        if (wrong)
            return garbage(reader, wrong, err);
    }
    r = fill(reader, reader->payload, sizeof reader->frame,
             sizeof reader->frame + reader->frame.length);
    if (r)
        return reader->ended ? report(reader, err) : r;
    const char *wrong = agent_frame_payload_check(&reader->frame, reader->payload);
    if (wrong)
        return garbage(reader, wrong, err);

    reader->payload[reader->frame.length] = 0;
    reader->got = 0;
    *ret_frame = reader->frame;
    *ret_payload = reader->payload;
    return 0;
}
