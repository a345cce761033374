/* This file feeds arbitrary frames to the checks of both ends of the launcher's socket (libFuzzer).
 * What passes must be safe to use as the launcher and front use it: strings end in their arrays,
 * counts fit, names can be made.
 *
 * Input: a byte (request or reply, number of descriptors, whether the header is put right), then
 * the frame.
 */
#include "runtime/launcher.h"
#include "runtime/serve.h"

#include "runtime/base/units.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void request(const uint8_t *data, size_t size, unsigned fds, bool righted)
{
    /* Its own allocation, so that a read past the end is seen. */
    struct launcher_request *frame = calloc(1, sizeof *frame);
    if (!frame)
        return;
    memcpy(frame, data, size < sizeof *frame ? size : sizeof *frame);
    size_t length = size;
    if (righted) {
        length = sizeof *frame;
        frame->magic = LAUNCHER_MAGIC;
        frame->version = LAUNCHER_VERSION;
        frame->type = (uint16_t)(frame->type % (LAUNCHER_REQUEST_END + 1));
        frame->instance[sizeof frame->instance - 1] = 0;
    }
    if (!launcher_request_check(frame, length, fds)) {
        char name[SERVE_NAME_SIZE];
        demand(length == sizeof *frame && fds <= LAUNCHER_FDS_MAX);
        demand(strlen(frame->instance) < sizeof frame->instance);
        demand(strlen(frame->identity.boot_id) < sizeof frame->identity.boot_id);
        demand(frame->row >= 0 && frame->incarnation >= 0);
        demand((frame->generation > 0) ==
               (frame->type == LAUNCHER_LAUNCH || frame->type == LAUNCHER_NETWORK));
        serve_name(name, frame->row, frame->incarnation);
        demand(strlen(name) < sizeof name - 1 && !strchr(name, '/'));
        if (frame->type == LAUNCHER_VOLUME_REMOVE || frame->type == LAUNCHER_VOLUME_MEASURE)
            demand(id_valid(frame->workspace_id) && id_valid(frame->volume));
    }
    free(frame);
}

static void reply(const uint8_t *data, size_t size, bool righted)
{
    struct launcher_reply *frame = calloc(1, sizeof *frame);
    if (!frame)
        return;
    memcpy(frame, data, size < sizeof *frame ? size : sizeof *frame);
    size_t length = size;
    if (righted) {
        length = sizeof *frame;
        frame->magic = LAUNCHER_MAGIC;
        frame->version = LAUNCHER_VERSION;
        frame->type = (uint16_t)(frame->type % (LAUNCHER_REQUEST_END + 2));
    }
    if (!launcher_reply_check(frame, length)) {
        char text[2048];
        err_format(&frame->err, text, sizeof text);
        if (frame->type == LAUNCHER_LAUNCH || frame->type == LAUNCHER_END)
            for (uint32_t i = 0; i < frame->launched.note_count; i++)
                demand(strlen(frame->launched.notes[i].text) < 384);
        if (frame->type == LAUNCHER_LAUNCH || frame->type == LAUNCHER_END)
            demand(frame->launched.last.taken <= (frame->type == LAUNCHER_END));
        if (frame->type == LAUNCHER_LIST)
            demand(frame->list.count <= LAUNCHER_LIST_MAX);
    }
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 0x80)
        reply(data + 1, size - 1, data[0] & 0x40);
    else
        request(data + 1, size - 1, data[0] & 7, data[0] & 0x40);
    return 0;
}
