/* This file writes spool files; it never reads one, never waits for a reader, and never lets a
 * file grow past the places that its header names.
 *
 * Order of writes, on which readers rely: a segment that is used anew is taken out of the state
 * before its first byte changes, and a record is in the file before the state tells of it.
 */
#include "runtime/agent/spool_writer.h"

#include "runtime/base/fd.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

enum { RECORDS_A_WRITE = 5 };

struct spool {
    int fd;
    struct spool_header header;
    struct spool_state state;
};

_Static_assert(sizeof(struct spool) <= 4096, "a spool is one page");

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

/* The page of the slots was written at the start, so that a full disk does not stop this. When it
 * fails all the same, the next one tells. */
static void publish(struct spool *spool)
{
    spool->state.generation++;
    spool_state_seal(&spool->state);
    off_t at = (off_t)(SPOOL_SLOT_AT * (1 + spool->state.generation % 2));
    if (pwrite(spool->fd, &spool->state, sizeof spool->state, at) < 0)
        return;
}

/* Header and both slots, so that their page is the file's whatever comes. */
static int write_start(struct spool *spool)
{
    unsigned char page[SPOOL_REGIONS_AT] = {0};
    memcpy(page, &spool->header, sizeof spool->header);
    for (unsigned slot = 0; slot < 2; slot++) {
        spool->state.generation = slot;
        spool_state_seal(&spool->state);
        memcpy(page + (size_t)SPOOL_SLOT_AT * (slot + 1), &spool->state, sizeof spool->state);
    }
    ssize_t n = pwrite(spool->fd, page, sizeof page, 0);
    return n == (ssize_t)sizeof page ? 0 : n < 0 ? -errno : -ENOSPC;
}

static int check_file(int fd)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &st) < 0)
        return -errno;
    int access = flags & O_ACCMODE;
    if (!S_ISREG(st.st_mode) || flags & (O_APPEND | O_PATH) ||
        (access != O_WRONLY && access != O_RDWR))
        return -EINVAL;
    return st.st_size == 0 ? 0 : -EEXIST;
}

int spool_writer_open(struct spool **ret, int fd, uint64_t exec,
                      const struct agent_spool_limits *limits, const char **ret_step)
{
    _cleanup_fd_ int file = fd;
    *ret_step = "check spool: an empty file is needed";
    int r = check_file(file);
    if (r < 0)
        return r;
    *ret_step = "write spool";
    struct spool *spool =
        mmap(NULL, sizeof *spool, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (spool == MAP_FAILED)
        return -errno;
    spool_header_fill(&spool->header, exec, now_ms(), limits);
    spool->fd = file;
    r = write_start(spool);
    if (r < 0) {
        munmap(spool, sizeof *spool);
        return r;
    }
    take_fd(&file);
    *ret = spool;
    return 0;
}

/* ---- where records go ------------------------------------------------------------------------ */

/* The region or segment that is being filled: counters that a record moves, and its limits. */
struct place {
    uint64_t at; /* in the file */
    uint64_t *used, *bytes;
    uint64_t size, bytes_most;
};

static struct place place_now(struct spool *spool)
{
    struct spool_state *state = &spool->state;
    if (state->tail_count == 0)
        return (struct place){SPOOL_REGIONS_AT, &state->head_used, &state->head_bytes,
                              spool->header.head_size, spool->header.head};
    uint64_t number = state->tail_first + state->tail_count - 1;
    struct spool_segment *segment = &state->segment[number % SPOOL_SEGMENTS];
    return (struct place){spool_segment_at(&spool->header, number), &segment->used, &segment->bytes,
                          spool->header.segment_size, spool->header.segment_bytes};
}

/* Payload that the next record may have when `used` and `bytes` are taken; 0: the place is full. */
static size_t room_in(const struct place *place, uint64_t used, uint64_t bytes)
{
    if (place->size - used <= sizeof(struct spool_record))
        return 0;
    uint64_t room = place->size - used - sizeof(struct spool_record);
    if (room > place->bytes_most - bytes)
        room = place->bytes_most - bytes;
    return room < SPOOL_DATA_MAX ? (size_t)room : SPOOL_DATA_MAX;
}

static void next_place(struct spool *spool)
{
    struct spool_state *state = &spool->state;
    if (state->tail_count == SPOOL_SEGMENTS) {
        state->dropped_bytes += state->segment[state->tail_first % SPOOL_SEGMENTS].bytes;
        state->tail_first++;
        state->tail_count--;
        publish(spool);
    }
    uint64_t number = state->tail_first + state->tail_count++;
    state->segment[number % SPOOL_SEGMENTS] = (struct spool_segment){
        .first_seq = state->last_seq + 1, .first_offset = state->output_bytes};
}

/* ---- records --------------------------------------------------------------------------------- */

struct batch {
    unsigned count;
    struct spool_record records[RECORDS_A_WRITE];
    struct iovec parts[2 * RECORDS_A_WRITE];
};

/* As many records as fit here, in one write. Returns the payload bytes that they take. */
static size_t fill_batch(const struct spool *spool, const struct place *place, struct batch *batch,
                         enum agent_stream stream, const unsigned char *data, size_t length)
{
    uint64_t used = *place->used, bytes = *place->bytes, time_ms = now_ms();
    size_t taken = 0, room;
    batch->count = 0;
    while (batch->count < RECORDS_A_WRITE && taken < length &&
           (room = room_in(place, used, bytes)) > 0) {
        size_t n = length - taken < room ? length - taken : room;
        struct spool_record *record = &batch->records[batch->count];
        *record = (struct spool_record){
            .magic = SPOOL_RECORD_MAGIC,
            .stream = (uint16_t)stream,
            .length = (uint32_t)n,
            .seq = spool->state.last_seq + 1 + batch->count,
            .offset = spool->state.output_bytes + taken,
            .time_ms = time_ms,
        };
        record->sum = spool_record_sum(record, data + taken);
        batch->parts[2 * batch->count] = (struct iovec){record, sizeof *record};
        batch->parts[2 * batch->count + 1] =
            (struct iovec){(void *)(uintptr_t)(data + taken), record->length};
        batch->count++;
        used += sizeof *record + n;
        bytes += n;
        taken += n;
    }
    return taken;
}

/* Whole records that reached the file are there; numbers of the others stay used, which is how a
 * reader sees that something is missing. */
static void write_batch(struct spool *spool, const struct place *place, const struct batch *batch)
{
    ssize_t n = pwritev(spool->fd, batch->parts, (int)(2 * batch->count),
                        (off_t)(place->at + *place->used));
    uint64_t written = n > 0 ? (uint64_t)n : 0;
    for (unsigned i = 0; i < batch->count; i++) {
        uint64_t length = batch->records[i].length, size = sizeof batch->records[i] + length;
        spool->state.last_seq++;
        spool->state.output_bytes += length;
        if (written < size) {
            written = 0;
            spool->state.dropped_bytes += length;
            continue;
        }
        written -= size;
        *place->used += size;
        *place->bytes += length;
        if (spool->state.tail_count == 0)
            spool->state.head_seq = spool->state.last_seq;
    }
}

void spool_writer_write(struct spool *spool, enum agent_stream stream, const void *data,
                        size_t length)
{
    const unsigned char *at = data;
    while (length > 0) {
        struct batch batch;
        struct place place = place_now(spool);
        size_t taken = fill_batch(spool, &place, &batch, stream, at, length);
        if (taken == 0) {
            next_place(spool);
            continue;
        }
        write_batch(spool, &place, &batch);
        at += taken;
        length -= taken;
    }
    publish(spool);
}

void spool_writer_exit(struct spool *spool, struct agent_exit *exit, bool last)
{
    exit->output_truncated = spool->state.dropped_bytes > 0;
    spool->state.exit = *exit;
    spool->state.exit_seq = ++spool->state.last_seq;
    spool->state.exit_time_ms = now_ms();
    spool->state.flags |= SPOOL_EXITED | (last ? SPOOL_CLOSED : 0u);
    publish(spool);
}

uint64_t spool_writer_seq(const struct spool *spool)
{
    return spool->state.last_seq;
}

void spool_writer_close(struct spool *spool)
{
    if (!spool)
        return;
    if (!(spool->state.flags & SPOOL_CLOSED)) {
        spool->state.flags |= SPOOL_CLOSED;
        publish(spool);
    }
    fd_close(spool->fd);
    munmap(spool, sizeof *spool);
}
