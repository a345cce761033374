/* This file receives what a client sends, into a buffer that a client at rest does not have; it
 * never looks at it.
 */
#include "api/http/connection.h"

#include "runtime/base/fd.h"

#include <string.h>
#include <sys/socket.h>

enum { INPUT_FIRST_BYTES = 2048 };

void input_use(struct input *in, size_t length)
{
    in->start += length;
    in->length -= length;
    if (in->length == 0)
        in->start = 0;
}

void input_rest(struct input *in)
{
    if (in->length > 0)
        return;
    free(in->data);
    *in = (struct input){0};
}

/* Room for at least one more byte, up to `capacity_max` in all. */
static int make_room(struct input *in, size_t capacity_max)
{
    if (in->start > 0 && in->length > 0)
        memmove(in->data, in->data + in->start, in->length);
    in->start = 0;
    if (in->length < in->capacity)
        return 0;
    size_t capacity = in->capacity ? in->capacity * 2 : INPUT_FIRST_BYTES;
    if (capacity > capacity_max)
        capacity = capacity_max;
    if (capacity <= in->length)
        return -E2BIG;
    char *data = realloc(in->data, capacity);
    if (!data)
        return -ENOMEM;
    in->data = data;
    in->capacity = capacity;
    return 0;
}

int input_read(struct connection *c, size_t capacity_max)
{
    struct input *in = &c->in;
    if (c->half_closed)
        return INPUT_END;
    int r = make_room(in, capacity_max);
    if (r < 0)
        return r;
    ssize_t n;
    do
        n = recv(c->fd, in->data + in->length, in->capacity - in->length, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? INPUT_WAITS : -errno;
    if (n == 0) {
        c->half_closed = true;
        return INPUT_END;
    }
    in->length += (size_t)n;
    c->progress += (uint64_t)n;
    return 0;
}
