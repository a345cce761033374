/* This file computes and checks what stands in a spool file; it never makes a system call. */
#include "runtime/agent/spool.h"

#include <string.h>

/* ---- sums ------------------------------------------------------------------------------------ */

/* Odd, with bits all over (from the square roots of small primes). */
static const uint64_t factor = 0xbb67ae8584caa73bu, other = 0x9b05688c2b3e6c1fu;

static uint64_t mix(uint64_t sum, uint64_t word)
{
    sum = (sum ^ word) * factor;
    return sum ^ sum >> 29;
}

/* Four lanes, so that multiplications overlap: captured output passes here at full speed. Each has
 * a name: gcc makes vectors of an array, and multiplies these three times as slowly. */
uint64_t spool_sum(uint64_t seed, const void *data, size_t length)
{
    const unsigned char *at = data;
    uint64_t a = seed ^ factor, b = seed ^ other, c = seed + factor, d = seed + other;
    uint64_t total = length, words[4];
    for (; length >= sizeof words; length -= sizeof words, at += sizeof words) {
        memcpy(words, at, sizeof words);
        a = mix(a, words[0]);
        b = mix(b, words[1]);
        c = mix(c, words[2]);
        d = mix(d, words[3]);
    }
    const uint64_t lane[4] = {a, b, c, d};
    uint64_t rest[4] = {0};
    memcpy(rest, at, length);
    for (int i = 0; i < 4; i++)
        total = mix(mix(total, rest[i]), lane[i]);
    return total;
}

uint64_t spool_record_sum(const struct spool_record *record, const void *data)
{
    uint64_t seed = spool_sum(0, record, offsetof(struct spool_record, sum));
    return spool_sum(seed, data, record->length);
}

/* ---- header ---------------------------------------------------------------------------------- */

/* The limits count payload. Twice as much of the file is set aside, so that records of 40 bytes and
 * more are kept up to the limit; where they are larger, that room is never written to. */
static uint64_t room_for(uint64_t bytes)
{
    return 2 * bytes + 4096;
}

void spool_header_fill(struct spool_header *ret, uint64_t exec, uint64_t created_ms,
                       const struct agent_spool_limits *limits)
{
    uint64_t segment = (limits->tail + SPOOL_SEGMENTS - 2) / (SPOOL_SEGMENTS - 1);
    if (segment < SPOOL_SEGMENT_LEAST)
        segment = SPOOL_SEGMENT_LEAST;
    *ret = (struct spool_header){
        .magic = SPOOL_HEADER_MAGIC,
        .version = SPOOL_VERSION,
        .size = sizeof *ret,
        .segments = SPOOL_SEGMENTS,
        .exec = exec,
        .created_ms = created_ms,
        .head = limits->head,
        .tail = limits->tail,
        .head_size = room_for(limits->head),
        .segment_bytes = segment,
        .segment_size = room_for(segment),
    };
    ret->sum = spool_sum(0, ret, offsetof(struct spool_header, sum));
}

const char *spool_header_check(const struct spool_header *header)
{
    if (header->magic != SPOOL_HEADER_MAGIC)
        return "it does not begin like a spool";
    if (header->version != SPOOL_VERSION)
        return "it is of another version";
    if (header->head > SPOOL_LIMIT_MAX || header->tail > SPOOL_LIMIT_MAX)
        return "its limits are out of range";
    struct spool_header expected;
    const struct agent_spool_limits limits = {header->head, header->tail};
    spool_header_fill(&expected, header->exec, header->created_ms, &limits);
    return memcmp(header, &expected, sizeof expected) == 0 ? NULL : "its header is damaged";
}

uint64_t spool_segment_at(const struct spool_header *header, uint64_t number)
{
    return SPOOL_REGIONS_AT + header->head_size + number % SPOOL_SEGMENTS * header->segment_size;
}

/* ---- state ----------------------------------------------------------------------------------- */

void spool_state_seal(struct spool_state *state)
{
    state->magic = SPOOL_STATE_MAGIC;
    state->size = sizeof *state;
    state->sum = spool_sum(0, state, offsetof(struct spool_state, sum));
}

static const char *segments_check(const struct spool_state *state,
                                  const struct spool_header *header)
{
    uint64_t seq = state->head_seq;
    for (uint64_t i = 0; i < state->tail_count; i++) {
        const struct spool_segment *segment =
            &state->segment[(state->tail_first + i) % SPOOL_SEGMENTS];
        if (segment->used > header->segment_size || segment->bytes > header->segment_bytes)
            return "a segment is larger than its place";
        if (segment->first_seq <= seq || segment->first_seq > state->last_seq)
            return "its segments are out of order";
        seq = segment->first_seq;
    }
    return NULL;
}

const char *spool_state_check(const struct spool_state *state, const struct spool_header *header)
{
    if (state->magic != SPOOL_STATE_MAGIC || state->size != sizeof *state ||
        state->sum != spool_sum(0, state, offsetof(struct spool_state, sum)))
        return "its state is damaged";
    if (state->flags & ~(uint32_t)(SPOOL_EXITED | SPOOL_CLOSED) || state->reserved != 0)
        return "its state has unknown flags";
    if (state->head_used > header->head_size || state->head_bytes > header->head ||
        state->head_seq > state->last_seq)
        return "its head is larger than its place";
    if (state->tail_count > SPOOL_SEGMENTS || state->tail_first > UINT64_MAX - SPOOL_SEGMENTS)
        return "it has more segments than places";
    if (state->dropped_bytes > state->output_bytes || state->last_seq == UINT64_MAX)
        return "its counts are out of range";
    if (state->flags & SPOOL_EXITED) {
        struct agent_frame frame = {.type = AGENT_FRAME_EXIT};
        if (state->exit_seq == 0 || state->exit_seq > state->last_seq)
            return "the sequence number of its exit is out of range";
        const char *wrong = agent_frame_payload_check(&frame, &state->exit);
        if (wrong)
            return wrong;
    }
    return segments_check(state, header);
}
