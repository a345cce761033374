/* This file feeds arbitrary files to the reader of spools (libFuzzer). Whatever stands there, the
 * reader ends, its numbers rise without a gap that it does not tell, and reading again from any of
 * them gives the same frames. It stops the process when that does not hold.
 *
 * Input: a byte (odd: sums and the header are left as they are), head and tail limits of 16 bits
 * each, then the file from its slots on. Sums of slots and records are put right, so that most
 * inputs get past them.
 */
#include "runtime/agent/spool.h"
#include "runtime/link/spool_reader.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_MOST = 1 << 20, FRAMES_MOST = 100000, STARTS_MOST = 64 };

static unsigned char bytes[FILE_MOST];

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void repair_records(uint64_t at, uint64_t used, size_t size)
{
    for (uint64_t done = 0; done < used;) {
        struct spool_record record;
        if (at + done + sizeof record > size)
            return;
        memcpy(&record, bytes + at + done, sizeof record);
        uint64_t room = size - at - done - sizeof record;
        if (record.length > SPOOL_DATA_MAX || record.length > room)
            return;
        record.magic = SPOOL_RECORD_MAGIC;
        record.sum = spool_record_sum(&record, bytes + at + done + sizeof record);
        memcpy(bytes + at + done, &record, sizeof record);
        done += sizeof record + record.length;
    }
}

static void repair(const uint8_t *limits, size_t size)
{
    struct spool_header header;
    const struct agent_spool_limits said = {(uint64_t)limits[0] << 8 | limits[1],
                                            (uint64_t)limits[2] << 8 | limits[3]};
    spool_header_fill(&header, 1, 1, &said);
    memcpy(bytes, &header, sizeof header);
    for (uint64_t slot = 0; slot < 2; slot++) {
        struct spool_state state;
        unsigned char *at = bytes + SPOOL_SLOT_AT * (slot + 1);
        memcpy(&state, at, sizeof state);
        state.generation = (state.generation & ~(uint64_t)1) | slot;
        spool_state_seal(&state);
        memcpy(at, &state, sizeof state);
        repair_records(SPOOL_REGIONS_AT, state.head_used, size);
        for (uint64_t i = 0; i < state.tail_count && i < SPOOL_SEGMENTS; i++)
            repair_records(spool_segment_at(&header, state.tail_first + i),
                           state.segment[(state.tail_first + i) % SPOOL_SEGMENTS].used, size);
    }
}

struct pass {
    unsigned frames;
    uint64_t sum; /* of everything from the frame that holds `from` on */
    int last;
    uint64_t start[STARTS_MOST];
};

static struct pass read_from(int fd, uint64_t from, uint64_t sum_from)
{
    struct pass pass = {0};
    struct spool_reader *reader;
    struct spool_frame frame;
    struct err err;
    demand(spool_reader_new(&reader, fd, from, &err) == 0);
    uint64_t next = 0;
    unsigned calls = 0;
    while ((pass.last = spool_reader_next(reader, &frame, &err)) == 0 || pass.last == SPOOL_MORE) {
        demand(++calls < 2 * FRAMES_MOST);
        if (pass.last == SPOOL_MORE)
            continue;
        demand(++pass.frames < FRAMES_MOST);
        demand(frame.to_seq >= frame.seq && frame.to_seq >= from);
        demand(next == 0 || frame.seq == next);
        next = frame.to_seq + 1;
        demand(frame.kind >= SPOOL_STDOUT && frame.kind <= SPOOL_GAP);
        demand(frame.kind == SPOOL_GAP ? !frame.data : frame.data && frame.bytes <= SPOOL_DATA_MAX);
        if (pass.frames <= STARTS_MOST)
            pass.start[pass.frames - 1] = frame.seq;
        if (frame.to_seq < sum_from)
            continue;
        const uint64_t words[] = {frame.seq, frame.to_seq, frame.time_ms, frame.kind};
        pass.sum = spool_sum(pass.sum, words, sizeof words);
        if (frame.data)
            pass.sum = spool_sum(pass.sum, frame.data, (size_t)frame.bytes);
    }
    demand(pass.last == SPOOL_NONE || pass.last == SPOOL_END || pass.last == -EPROTO);
    demand(spool_reader_next(reader, &frame, &err) == pass.last);
    spool_reader_free(reader);
    return pass;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 5 || size - 5 > FILE_MOST - SPOOL_SLOT_AT)
        return 0;
    memset(bytes, 0, SPOOL_REGIONS_AT);
    memcpy(bytes + SPOOL_SLOT_AT, data + 5, size - 5);
    size_t length = SPOOL_SLOT_AT + size - 5;
    if (!(data[0] & 1)) {
        length = length < SPOOL_REGIONS_AT ? SPOOL_REGIONS_AT : length;
        repair(data + 1, length);
    }
    int fd = memfd_create("spool", MFD_CLOEXEC);
    demand(fd >= 0 && write(fd, bytes, length) == (ssize_t)length);
    struct spool_status status;
    struct err err;
    int r = spool_status(fd, &status, &err);
    struct pass all = read_from(fd, 0, 0);
    demand((r == -EPROTO) == (all.last == -EPROTO));
    demand(read_from(fd, 1, 0).sum == all.sum);
    for (unsigned i = 0; i < all.frames && i < STARTS_MOST; i++)
        read_from(fd, all.start[i], 0);
    close(fd);
    return 0;
}
