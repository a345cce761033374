/* This file feeds arbitrary bytes, in arbitrary pieces, to the reader of init's frames (libFuzzer).
 * A frame that is handed out must hold what its header and the payload's struct promise; after
 * garbage nothing more may come. It stops the process when that does not hold.
 */
#include "runtime/agent/frame_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void check_frame(const struct agent_frame *frame, const void *payload)
{
    demand(agent_frame_check(frame) == NULL);
    demand(agent_frame_payload_check(frame, payload) == NULL);
    demand(((const char *)payload)[frame->length] == 0);
    if (frame->type == AGENT_FRAME_START_FAILED) {
        const struct agent_start_failed *failed = payload;
        demand(strlen(failed->step) < sizeof failed->step);
        demand(strlen(failed->subject) < sizeof failed->subject);
    } else if (frame->type == AGENT_FRAME_EXIT) {
        const struct agent_exit *exit = payload;
        demand(strcmp(agent_reason_name((enum agent_reason)exit->reason), "unknown") != 0);
    } else if (frame->type == AGENT_FRAME_DENIED) {
        const struct agent_denied *denied = payload;
        demand(strlen(denied->command) < sizeof denied->command);
        demand(denied->count > 0 && denied->sys <= 4095);
        demand(!(denied->flags & AGENT_DENIED_ARGUMENT) || denied->argument <= 5);
    } else if (frame->type == AGENT_FRAME_FAILED) {
        char text[4096];
        err_format(payload, text, sizeof text);
    }
}

/* Take everything that is there; false after an end. */
static bool take(struct frame_reader *reader)
{
    struct agent_frame frame;
    const void *payload;
    struct err err;
    int r;
    while ((r = frame_reader_next(reader, &frame, &payload, &err)) == 0)
        check_frame(&frame, payload);
    demand(r == FRAME_READER_NONE || r == FRAME_READER_END || r == -EPROTO);
    if (r != FRAME_READER_NONE)
        demand(frame_reader_next(reader, &frame, &payload, &err) == r);
    return r == FRAME_READER_NONE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct frame_reader reader;
    int ends[2];
    if (size < 1 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return 0;
    frame_reader_init(&reader, ends[0]);
    /* The first byte is the size of the pieces; 0: whole. */
    size_t piece = data[0] ? data[0] : 4096;
    bool good = true;
    for (size_t at = 1; at < size && good; at += piece) {
        size_t length = size - at < piece ? size - at : piece;
        demand(write(ends[1], data + at, length) == (ssize_t)length);
        good = take(&reader);
    }
    close(ends[1]);
    demand(!take(&reader));
    close(ends[0]);
    return 0;
}
