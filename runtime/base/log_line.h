/* This file makes lines of a log: one JSON object each, or a sentence for a person; it never writes
 * one. Every process of `berth serve` says what it says by it, so that each line has the same
 * members: time, level, role, event.
 *
 *     log_line_begin(&line, LOG_LINE_JSON, "info", "front", "request");
 *     log_line_text(&line, "token", "t-…");
 *     log_line_end(&line);
 *
 * Pure, but for the clock.
 */
#pragma once

#include "runtime/base/buf.h"

#include <stdint.h>

struct err;

enum log_line_format { LOG_LINE_JSON, LOG_LINE_TEXT };

struct log_line {
    struct buf text; /* the owner frees it */
    enum log_line_format format;
};

/* "2026-01-02T03:04:05.678Z", with its quotes. */
void log_line_time(uint64_t ms_since_1970, struct buf *out);

/* JSON: {"time":"…","level":"…","role":"…","event":"…"; text: berth: ROLE: EVENT */
void log_line_begin(struct log_line *line, enum log_line_format format, const char *level,
                    const char *role, const char *event);
/* NULL is null, or - in a text; which has what is no plain word in quotes. */
void log_line_text(struct log_line *line, const char *member, const char *value);
void log_line_number(struct log_line *line, const char *member, uint64_t value);
/* What happened, in words: the member `detail`; in a text the sentence itself. */
void log_line_detail(struct log_line *line, const char *detail);
/* code, errno and the whole of it as detail. */
void log_line_err(struct log_line *line, const struct err *err);
void log_line_end(struct log_line *line); /* with its newline */
