/* This file feeds arbitrary messages and exec payloads to init's own handling (libFuzzer), with a
 * state in which no command can be started: what would come next is always refused. Every frame
 * that init queues in answer must pass the controller's checks.
 *
 * Input: records of a message, a length of 16 bits, and as many bytes of payload. Magic and version
 * are put right unless the last byte of the message is odd, so that most of them get through.
 */
#include "runtime/agent/control.h"
#include "runtime/agent/protocol.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct init init;

static void demand(bool holds)
{
    if (!holds)
        abort();
}

/* No epoll set: the start of a command ends at its first descriptor, long before a clone. */
static void reset(void)
{
    init.config = (struct agent_config){.flags = AGENT_SHARED_UID, .uid = 1000, .gid = 1000};
    init.wait = init.capture = init.children = -1;
    init.no_children = true;
    init.epoch = init.interrupt_floor = 0;
    init.shutdown = false;
    init.paused_ns = 0;
    init.table.used = init.table.live_count = init.table.free_count = 0;
    init.table.forgotten = 0;
    memset(init.table.gone, 0, sizeof init.table.gone);
    init.table.frozen = false;
    init.table.keeps = true;
    memset(init.interrupts, 0, sizeof init.interrupts);
    init.table_sent = init.table_end = 0;
    init.output.fd = -1;
    init.output.head = init.output.used = 0;
}

static void check_queue(void)
{
    size_t at = 0;
    while (at < init.output.used) {
        struct agent_frame frame;
        demand(init.output.used - at >= sizeof frame);
        memcpy(&frame, init.output.ring + at, sizeof frame);
        demand(agent_frame_check(&frame) == NULL);
        demand(init.output.used - at >= sizeof frame + frame.length);
        demand(agent_frame_payload_check(&frame, init.output.ring + at + sizeof frame) == NULL);
        at += sizeof frame + frame.length;
    }
    init.output.head = init.output.used = 0;
}

static void check_payload(const uint8_t *data, size_t length)
{
    /* Its own allocation, so that a read past the end is seen. */
    void *copy = malloc(length + 1);
    const struct agent_exec *exec;
    const char *strings;
    if (!copy)
        return;
    memcpy(copy, data, length);
    if (!agent_exec_check(copy, length, &exec, &strings)) {
        size_t total = 0, count = (size_t)exec->argc + exec->envc + 1;
        for (size_t i = 0; i < count; i++)
            total += strlen(strings + total) + 1;
        demand(total == exec->string_bytes);
        demand(total + sizeof *exec == length);
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    reset();
    while (size >= sizeof(struct agent_message) + 2) {
        struct agent_message message;
        memcpy(&message, data, sizeof message);
        data += sizeof message;
        size_t length = (size_t)data[0] << 8 | data[1];
        data += 2;
        size -= sizeof message + 2;
        if (length > size)
            length = size;
        check_payload(data, length);

        if (!(message.arg[3] >> 56 & 1)) {
            message.magic = AGENT_MAGIC;
            message.version = AGENT_VERSION;
            message.type = (uint16_t)(message.type % (AGENT_MESSAGE_TYPE_END + 1));
        }
        int fds[AGENT_FDS_MAX];
        unsigned count = (unsigned)(message.arg[3] >> 48 & 3);
        for (unsigned i = 0; i < count; i++) {
            fds[i] = memfd_create("payload", MFD_CLOEXEC);
            demand(i > 0 || write(fds[i], data, length) == (ssize_t)length);
        }
        size_t said = message.arg[3] >> 40 & 0x40 ? 17 : sizeof message;
        control_message(&init, &message, said, fds, count, message.arg[3] >> 40 & 0x80);
        control_send_table(&init);
        control_answer_interrupts(&init);
        check_queue();
        data += length;
        size -= length;
    }
    return 0;
}
