/* This file is the format of a spool file: the captured output of one exec, as init writes it and
 * anybody reads it (docs/spool.md). Data, and the pure functions that both sides share.
 *
 *     0      struct spool_header              never changes
 *     1024   struct spool_state, slot 0   ┐   written in turn, the higher generation counts:
 *     2048   struct spool_state, slot 1   ┘   what of the regions below is valid, and the exit
 *     4096   head region: records, one after another, never overwritten
 *     …      SPOOL_SEGMENTS segments of the tail, used round and round
 *
 * A record is struct spool_record and `length` bytes. It lies in one region or segment, is never
 * changed, and goes only when its whole segment is used anew. Segment number n (from 0, ever
 * growing) stands in place n % SPOOL_SEGMENTS. Integers are the machine's own: a spool is read
 * where it was written.
 */
#pragma once

#include "runtime/agent/protocol.h"

#include <stddef.h>
#include <stdint.h>

enum {
    SPOOL_VERSION = 1,
    SPOOL_HEADER_MAGIC = 0x68707362, /* "bsph" */
    SPOOL_STATE_MAGIC = 0x73707362,  /* "bsps" */
    SPOOL_RECORD_MAGIC = 0x7362,     /* "bs" */
    SPOOL_SEGMENTS = 9,              /* eight that are full hold the tail, one is being written */
    SPOOL_DATA_MAX = 65536,          /* payload of one record */
    SPOOL_SLOT_AT = 1024,            /* slot n: at SPOOL_SLOT_AT * (n + 1) */
    SPOOL_REGIONS_AT = 4096,
    SPOOL_SEGMENT_LEAST = 8192, /* payload of a segment, however small the tail is */
};

/* Largest head and tail: sums of a few of them are far from overflow. */
#define SPOOL_LIMIT_MAX ((uint64_t)1 << 40)

struct spool_header {
    uint32_t magic, version, size; /* size: of this struct */
    uint32_t segments;             /* SPOOL_SEGMENTS */
    uint64_t exec;
    uint64_t created_ms;    /* since 1970 */
    uint64_t head, tail;    /* struct agent_spool_limits */
    uint64_t head_size;     /* of the head region in the file */
    uint64_t segment_bytes; /* payload that a segment takes */
    uint64_t segment_size;  /* of a segment in the file */
    uint64_t sum;           /* spool_sum() of what stands above */
};

/* Bits of spool_state.flags */
enum {
    SPOOL_EXITED = 1u << 0, /* exit_seq, exit_time_ms and exit are valid */
    SPOOL_CLOSED = 1u << 1, /* nothing will be written any more */
};

struct spool_segment {
    uint64_t first_seq;    /* of its first record, or of one that was lost before it */
    uint64_t first_offset; /* payload bytes before that */
    uint64_t used;         /* bytes of the file; what is behind is nothing */
    uint64_t bytes;        /* payload */
};

struct spool_state {
    uint32_t magic, size; /* size: of this struct */
    uint64_t generation;  /* slot: generation % 2 */
    uint32_t flags, reserved;
    uint64_t head_used, head_bytes, head_seq; /* file, payload, last sequence number in the head */
    uint64_t tail_first, tail_count;          /* segment numbers that are kept */
    struct spool_segment segment[SPOOL_SEGMENTS];
    uint64_t last_seq;      /* given to a record, a lost one, or the exit */
    uint64_t output_bytes;  /* payload of everything, lost or not */
    uint64_t dropped_bytes; /* of it: not in the file any more */
    uint64_t exit_seq, exit_time_ms;
    struct agent_exit exit;
    uint64_t sum; /* spool_sum() of what stands above */
};

_Static_assert(sizeof(struct spool_header) <= SPOOL_SLOT_AT, "the header fits its place");
_Static_assert(sizeof(struct spool_state) <= SPOOL_SLOT_AT, "a slot fits its place");

struct spool_record {
    uint16_t magic;
    uint16_t stream; /* enum agent_stream */
    uint32_t length; /* 1 to SPOOL_DATA_MAX */
    uint64_t seq;    /* rises from record to record; a number that is missing was lost */
    uint64_t offset; /* payload bytes before this record, lost ones included */
    uint64_t time_ms;
    uint64_t sum; /* spool_record_sum() */
};

_Static_assert(sizeof(struct spool_record) == 40, "a record is part of the format");

/* Sums find torn and overwritten data, not forgeries. */
uint64_t spool_sum(uint64_t seed, const void *data, size_t length);
uint64_t spool_record_sum(const struct spool_record *record, const void *data);

/* Fills sizes of the regions from `limits`, and the sum. */
void spool_header_fill(struct spool_header *ret, uint64_t exec, uint64_t created_ms,
                       const struct agent_spool_limits *limits);
void spool_state_seal(struct spool_state *state);

/* NULL when it is what spool_header_fill() makes of its limits; else a sentence. */
const char *spool_header_check(const struct spool_header *header);

/* NULL when it is whole and fits the header: no place lies outside its region. */
const char *spool_state_check(const struct spool_state *state, const struct spool_header *header);

/* Where segment `number` begins in the file. */
uint64_t spool_segment_at(const struct spool_header *header, uint64_t number);
