/* This file reads spool files that a hostile init may have written; it never follows a place
 * outside of the file's own regions, never hands out a record whose sum, length or number does not
 * fit, and each call moves on or says that there is nothing.
 *
 * A record that reads whole, with the number that is expected or a later one, is the right one
 * whatever is being written meanwhile. One that does not was overwritten (the state has left its
 * segment by then), or never got to the disk: both are missing numbers, which are told as a gap as
 * soon as something after them stands there.
 */
#include "runtime/link/spool_reader.h"

#include "runtime/agent/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert((int)SPOOL_STDOUT == (int)AGENT_STDOUT && (int)SPOOL_STDERR == (int)AGENT_STDERR &&
                   (int)SPOOL_TTY == (int)AGENT_TTY &&
                   (int)SPOOL_BACKGROUND == (int)AGENT_BACKGROUND,
               "a stream has one number");

/* What one call passes over on the way to `from`: a spool may have 2^40 bytes before that, and its
 * reader's thread has others to serve. */
enum { PASS_RECORDS = 4096, PASS_BYTES = 1 << 20 };
enum { STATE_TRIES = 16, WINDOW = SPOOL_DATA_MAX + (int)sizeof(struct spool_record) };

/* What a record is looked for in: the head, or a segment by its number. */
struct position {
    bool in_tail;
    uint64_t number; /* of the segment */
    uint64_t at;     /* bytes into it */
};

struct spool_reader {
    int fd;
    bool begun, exit_given;
    struct spool_header header;
    struct spool_state state; /* as it was read last */
    struct position position;
    uint64_t from, next_seq;
    uint64_t offset;                   /* payload bytes before next_seq */
    uint64_t window_at, window_length; /* what of the file `window` holds */
    _Alignas(16) unsigned char window[WINDOW];
};

/* ---- header and state ------------------------------------------------------------------------ */

static int not_a_spool(struct err *err, const char *why)
{
    return err_set(err, ERR_INTERNAL, EPROTO, "read spool", NULL, "This is no spool: %s.", why);
}

static int cannot_read(struct err *err)
{
    return err_set(err, ERR_UNAVAILABLE, errno, "read spool", NULL, NULL);
}

/* Both slots in one read; each may be half written at this moment, but never both for long. */
static int read_state(int fd, const struct spool_header *header, struct spool_state *ret,
                      struct err *err)
{
    const char *wrong = "its state is damaged";
    for (int i = 0; i < STATE_TRIES; i++) {
        struct spool_state slot[2];
        bool good[2];
        for (int k = 0; k < 2; k++) {
            ssize_t n = pread(fd, &slot[k], sizeof slot[k], (off_t)SPOOL_SLOT_AT * (k + 1));
            if (n < 0)
                return cannot_read(err);
            const char *why = n == (ssize_t)sizeof slot[k] ? spool_state_check(&slot[k], header)
                                                           : "its state is cut off";
            good[k] = !why && slot[k].generation % 2 == (uint64_t)k;
            wrong = why ? why : wrong;
        }
        if (good[0] || good[1]) {
            *ret = good[1] && (!good[0] || slot[1].generation > slot[0].generation) ? slot[1]
                                                                                    : slot[0];
            return 0;
        }
    }
    return not_a_spool(err, wrong);
}

/* SPOOL_NONE: init has not begun to write. */
static int read_header(int fd, struct spool_header *ret, struct err *err)
{
    ssize_t n = pread(fd, ret, sizeof *ret, 0);
    if (n < 0)
        return cannot_read(err);
    if (n == 0)
        return SPOOL_NONE;
    const char *wrong = n == (ssize_t)sizeof *ret ? spool_header_check(ret) : "it is cut off";
    return wrong ? not_a_spool(err, wrong) : 0;
}

/* A state never goes back: an older slot that is valid by itself is not the newest. */
static int look_again(struct spool_reader *reader, bool *ret_changed, struct err *err)
{
    struct spool_state state;
    int r = read_state(reader->fd, &reader->header, &state, err);
    if (r < 0)
        return r;
    *ret_changed = state.generation > reader->state.generation;
    if (*ret_changed)
        reader->state = state;
    return 0;
}

/* ---- where to read --------------------------------------------------------------------------- */

static const struct spool_segment *segment_of(const struct spool_state *state, uint64_t number)
{
    return &state->segment[number % SPOOL_SEGMENTS];
}

static bool is_kept(const struct spool_state *state, uint64_t number)
{
    return number >= state->tail_first && number - state->tail_first < state->tail_count;
}

/* Bytes of the position's region that hold records now; 0 when the segment is gone. */
static uint64_t region_used(const struct spool_reader *reader)
{
    const struct position *position = &reader->position;
    if (!position->in_tail)
        return reader->state.head_used;
    return is_kept(&reader->state, position->number)
               ? segment_of(&reader->state, position->number)->used
               : 0;
}

static uint64_t region_at(const struct spool_reader *reader)
{
    return reader->position.in_tail ? spool_segment_at(&reader->header, reader->position.number)
                                    : SPOOL_REGIONS_AT;
}

/* To the region after this one; false when there is none yet. */
static bool next_region(struct spool_reader *reader)
{
    struct position *position = &reader->position;
    const struct spool_state *state = &reader->state;
    uint64_t number = state->tail_first;
    if (position->in_tail && position->number >= number)
        number = position->number + 1;
    if (!is_kept(state, number))
        return false;
    *position = (struct position){.in_tail = true, .number = number};
    return true;
}

/* In the segment that `from` lies in, when that is kept: what is before it need not be read. Else
 * at the beginning, so that a gap which `from` lies in is always the same one. */
static void begin(struct spool_reader *reader)
{
    const struct spool_state *state = &reader->state;
    reader->begun = true;
    reader->next_seq = 1;
    uint64_t number = state->tail_first;
    if (state->tail_count == 0 || reader->from < segment_of(state, number)->first_seq)
        return;
    while (is_kept(state, number + 1) && segment_of(state, number + 1)->first_seq <= reader->from)
        number++;
    reader->position = (struct position){.in_tail = true, .number = number};
    reader->next_seq = segment_of(state, number)->first_seq;
    reader->offset = segment_of(state, number)->first_offset;
}

/* ---- records --------------------------------------------------------------------------------- */

/* `length` bytes of the file at `at`; NULL when they are not there. At most WINDOW. */
static const unsigned char *bytes_at(struct spool_reader *reader, uint64_t at, uint64_t length,
                                     uint64_t end)
{
    if (at < reader->window_at || at + length > reader->window_at + reader->window_length) {
        uint64_t want = end - at < WINDOW ? end - at : WINDOW;
        ssize_t n = pread(reader->fd, reader->window, (size_t)want, (off_t)at);
        reader->window_at = at;
        reader->window_length = n > 0 ? (uint64_t)n : 0;
        if (length > reader->window_length)
            return NULL;
    }
    return reader->window + (at - reader->window_at);
}

/* The record at the position, which lies wholly before `used`. False when none stands there. */
static bool read_record(struct spool_reader *reader, uint64_t used, struct spool_record *ret,
                        const void **ret_data)
{
    uint64_t base = region_at(reader), at = base + reader->position.at, end = base + used;
    if (end - at < sizeof *ret)
        return false;
    const unsigned char *bytes = bytes_at(reader, at, sizeof *ret, end);
    if (!bytes)
        return false;
    struct spool_record record;
    memcpy(&record, bytes, sizeof record);
    if (record.magic != SPOOL_RECORD_MAGIC || record.stream == 0 ||
        record.stream >= AGENT_STREAM_END || record.length == 0 || record.length > SPOOL_DATA_MAX ||
        end - at - sizeof record < record.length)
        return false;
    bytes = bytes_at(reader, at, sizeof record + record.length, end);
    if (!bytes || memcmp(bytes, &record, sizeof record) != 0)
        return false;
    const void *data = bytes + sizeof record;
    if (record.sum != spool_record_sum(&record, data) || record.seq < reader->next_seq ||
        record.seq > reader->state.last_seq || record.offset > reader->state.output_bytes ||
        record.offset < reader->offset)
        return false;
    *ret = record;
    *ret_data = data;
    return true;
}

/* What the window holds of a segment may be of its former use. */
static void forget_window(struct spool_reader *reader)
{
    reader->window_length = 0;
}

/* Look for the next record from the position on. SPOOL_NONE: there is none now. */
static int find_record(struct spool_reader *reader, struct spool_record *ret, const void **ret_data,
                       struct err *err)
{
    bool fresh = false;
    for (;;) {
        uint64_t used = region_used(reader);
        if (reader->position.at < used && read_record(reader, used, ret, ret_data))
            return 0;
        /* A second look: the window or the state may be old. Then what cannot be read is lost with
         * the rest of its region. */
        if (!fresh) {
            bool changed;
            int r = look_again(reader, &changed, err);
            if (r < 0)
                return r;
            forget_window(reader);
            fresh = true;
            continue;
        }
        if (!next_region(reader))
            return SPOOL_NONE;
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

static bool exit_is_next(const struct spool_reader *reader, uint64_t before)
{
    return reader->state.flags & SPOOL_EXITED && !reader->exit_given &&
           reader->state.exit_seq >= reader->next_seq && reader->state.exit_seq < before;
}

/* Numbers up to `to` are missing; `offset` is that of what follows. False when nobody asked. */
static bool give_gap(struct spool_reader *reader, uint64_t to, uint64_t offset,
                     struct spool_frame *ret)
{
    *ret = (struct spool_frame){
        .kind = SPOOL_GAP,
        .seq = reader->next_seq,
        .to_seq = to,
        .bytes = offset > reader->offset ? offset - reader->offset : 0,
    };
    reader->next_seq = to + 1;
    reader->offset = offset;
    return to >= reader->from;
}

static bool give_exit(struct spool_reader *reader, struct spool_frame *ret)
{
    *ret = (struct spool_frame){
        .kind = SPOOL_EXIT,
        .seq = reader->state.exit_seq,
        .to_seq = reader->state.exit_seq,
        .time_ms = reader->state.exit_time_ms,
        .bytes = sizeof reader->state.exit,
        .data = &reader->state.exit,
    };
    reader->next_seq = reader->state.exit_seq + 1;
    reader->exit_given = true;
    return ret->seq >= reader->from;
}

static bool give_record(struct spool_reader *reader, const struct spool_record *record,
                        const void *data, struct spool_frame *ret)
{
    *ret = (struct spool_frame){
        .kind = record->stream,
        .seq = record->seq,
        .to_seq = record->seq,
        .time_ms = record->time_ms,
        .bytes = record->length,
        .data = data,
    };
    reader->next_seq = record->seq + 1;
    reader->offset = record->offset + record->length;
    reader->position.at += sizeof *record + record->length;
    return ret->seq >= reader->from;
}

/* Nothing is there to read: what is missing up to the exit, the exit, what is missing up to the
 * end. A file that is not complete may still get what is missing. */
static int give_end(struct spool_reader *reader, struct spool_frame *ret, bool *ret_wanted)
{
    const struct spool_state *state = &reader->state;
    if (exit_is_next(reader, UINT64_MAX)) {
        *ret_wanted = state->exit_seq > reader->next_seq
                          ? give_gap(reader, state->exit_seq - 1, state->exit.output_bytes, ret)
                          : give_exit(reader, ret);
        return 0;
    }
    if (!(state->flags & SPOOL_CLOSED))
        return SPOOL_NONE;
    if (reader->next_seq > state->last_seq)
        return SPOOL_END;
    *ret_wanted = give_gap(reader, state->last_seq, state->output_bytes, ret);
    return 0;
}

/* One step on, to a frame that may be one that nobody asked for. */
static int step(struct spool_reader *reader, struct spool_frame *ret, bool *ret_wanted,
                struct err *err)
{
    struct spool_record record;
    const void *data;
    int r = find_record(reader, &record, &data, err);
    if (r == SPOOL_NONE)
        return give_end(reader, ret, ret_wanted);
    if (r < 0)
        return r;
    if (exit_is_next(reader, record.seq)) {
        uint64_t seq = reader->state.exit_seq;
        *ret_wanted = seq > reader->next_seq
                          ? give_gap(reader, seq - 1, reader->state.exit.output_bytes, ret)
                          : give_exit(reader, ret);
        return 0;
    }
    *ret_wanted = record.seq > reader->next_seq
                      ? give_gap(reader, record.seq - 1, record.offset, ret)
                      : give_record(reader, &record, data, ret);
    return 0;
}

int spool_reader_next(struct spool_reader *reader, struct spool_frame *ret, struct err *err)
{
    if (!reader->begun) {
        int r = read_header(reader->fd, &reader->header, err);
        if (r == 0)
            r = read_state(reader->fd, &reader->header, &reader->state, err);
        if (r != 0)
            return r;
        begin(reader);
    }
    /* Each step takes a number off those up to last_seq, or ends. */
    uint64_t bytes = 0;
    for (unsigned i = 0; i < PASS_RECORDS && bytes < PASS_BYTES; i++) {
        bool wanted = false;
        int r = step(reader, ret, &wanted, err);
        if (r != 0 || wanted)
            return r;
        bytes += ret->kind == SPOOL_GAP ? 0 : ret->bytes;
    }
    return SPOOL_MORE;
}

int spool_reader_new(struct spool_reader **ret, int fd, uint64_t from, struct err *err)
{
    struct spool_reader *reader = calloc(1, sizeof *reader);
    if (!reader)
        return err_set(err, ERR_INTERNAL, ENOMEM, "read spool", NULL, NULL);
    reader->fd = fd;
    reader->from = from;
    *ret = reader;
    return 0;
}

bool spool_reader_has_exit(const struct spool_reader *reader)
{
    return reader->state.flags & SPOOL_EXITED;
}

void spool_reader_free(struct spool_reader *reader)
{
    free(reader);
}

int spool_status(int fd, struct spool_status *ret, struct err *err)
{
    struct spool_header header;
    struct spool_state state = {0};
    struct stat st;
    if (fstat(fd, &st) < 0)
        return cannot_read(err);
    int r = read_header(fd, &header, err);
    if (r == 0)
        r = read_state(fd, &header, &state, err);
    if (r < 0)
        return r;
    *ret = (struct spool_status){
        .last_seq = state.last_seq,
        .output_bytes = state.output_bytes,
        .dropped_bytes = state.dropped_bytes,
        .file_bytes = (uint64_t)st.st_blocks * 512u,
        .ended = state.flags & SPOOL_EXITED,
    };
    return 0;
}
