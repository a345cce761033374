/* This file reads an exec's spool file, while init writes it and after; it never trusts it: a
 * length that does not fit, a sequence that goes back, a torn frame at the end are told, not
 * followed. Unprivileged; any thread, one reader each. The format is in runtime/agent/spool.h.
 *
 * Reading again from a sequence number gives the same frames (EXEC-2). What was dropped (EXEC-8) is
 * one gap frame.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool_reader;

struct spool_frame {
    uint64_t seq;     /* of a gap: the first that is missing */
    uint64_t to_seq;  /* of a gap: the last that is missing; else seq */
    uint64_t time_ms; /* since 1970 */
    uint64_t bytes;   /* of data; of a gap: how many are missing */
    uint32_t kind;    /* enum spool_kind */
    const void *data; /* valid until the next call; NULL for a gap */
};

enum spool_kind {
    SPOOL_STDOUT = 1, /* as enum agent_stream */
    SPOOL_STDERR,
    SPOOL_TTY,
    SPOOL_BACKGROUND,
    SPOOL_EXIT, /* data: struct agent_exit */
    SPOOL_GAP,
};

enum spool_outcome { SPOOL_NONE = 1, SPOOL_END = 2, SPOOL_MORE = 3 };

/* `fd` is borrowed, opened for reading. `from`: first sequence number wanted (0 and 1: all). */
int spool_reader_new(struct spool_reader **ret, int fd, uint64_t from, struct err *err);
void spool_reader_free(struct spool_reader *reader); /* NULL allowed */

/* Does the file, as far as it was read, tell of an exit? One that is complete may have none: of a
 * command that could not be started. */
bool spool_reader_has_exit(const struct spool_reader *reader);

/* 0 and a frame; SPOOL_NONE: no whole frame yet (wait for AGENT_FRAME_SPOOL); SPOOL_END: the exit
 * frame was given and the file is closed; SPOOL_MORE: only what is before `from` was passed yet,
 * and one call has done enough; -EPROTO: what stands there is not a spool. */
int spool_reader_next(struct spool_reader *reader, struct spool_frame *ret, struct err *err);

/* What is known without reading it all. */
struct spool_status {
    uint64_t last_seq, output_bytes, dropped_bytes, file_bytes;
    bool ended;
};
int spool_status(int fd, struct spool_status *ret, struct err *err);
