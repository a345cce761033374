/* This file keeps frames until the controller's pipe takes them; it never blocks. */
#include "runtime/agent/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>

int output_init(struct output *output, int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    output->fd = fd;
    output->broken = false;
    output->head = output->used = 0;
    return 0;
}

size_t output_data_room(const struct output *output)
{
    if (output->broken)
        return OUTPUT_CHUNK;
    size_t taken = output->used + sizeof(struct agent_frame) + OUTPUT_RESERVE;
    if (taken + OUTPUT_ROOM_LEAST > OUTPUT_SIZE)
        return 0;
    size_t room = OUTPUT_SIZE - taken;
    return room < OUTPUT_CHUNK ? room : OUTPUT_CHUNK;
}

bool output_has_room(const struct output *output, size_t length)
{
    return output->broken ||
           output->used + sizeof(struct agent_frame) + length <= sizeof output->ring;
}

static void put(struct output *output, const void *data, size_t length)
{
    size_t at = (output->head + output->used) % OUTPUT_SIZE;
    size_t first = length < OUTPUT_SIZE - at ? length : OUTPUT_SIZE - at;
    memcpy(output->ring + at, data, first);
    memcpy(output->ring, (const unsigned char *)data + first, length - first);
    output->used += length;
}

void output_push(struct output *output, const struct agent_frame *head, const void *payload)
{
    if (output->broken)
        return;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct agent_frame frame = *head;
    frame.magic = AGENT_MAGIC;
    frame.version = AGENT_VERSION;
    frame.time_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    put(output, &frame, sizeof frame);
    if (frame.length > 0)
        put(output, payload, frame.length);
}

int output_flush(struct output *output)
{
    while (output->used > 0) {
        size_t first = OUTPUT_SIZE - output->head;
        if (first > output->used)
            first = output->used;
        struct iovec parts[2] = {{output->ring + output->head, first},
                                 {output->ring, output->used - first}};
        ssize_t n = writev(output->fd, parts, output->used > first ? 2 : 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return OUTPUT_WAITS;
        if (n < 0) {
            /* EPIPE; anything else means just as much that nobody gets these frames. */
            output->broken = true;
            output->used = 0;
            return -EPIPE;
        }
        output->head = (output->head + (size_t)n) % OUTPUT_SIZE;
        output->used -= (size_t)n;
    }
    /* Start over at the front: a session with little output touches few pages. */
    output->head = 0;
    return 0;
}
