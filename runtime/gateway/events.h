/* This file keeps what there is to tell until it is told (struct gateway_event): the first of a
 * kind at once, its repetitions together with their count after a second; bounded, with the count
 * of what had no room. It never waits for its reader.
 */
#pragma once

#include "runtime/gateway/gateway.h"

#include <stddef.h>

enum {
    EVENTS_MAX = 2048,
    EVENTS_OF_SESSION_MAX = 256, /* one session's flood leaves room for the others */
    EVENTS_HOLD_MS = 1000,
};

struct events;

/* `send` gives one to the reader: 0, -EAGAIN (later), another -errno (no reader: kept). */
int events_new(struct events **ret, int (*send)(void *owner, const struct gateway_event *event),
               void *owner);
void events_free(struct events *events);

/* `given` without magic, version, count and times: they are set here. Events with `connection` 0
 * that differ in nothing but numbers are one. */
void events_add(struct events *events, const struct gateway_event *given, uint64_t now_ms,
                uint64_t real_ms);

/* Tell what is due at `now_ms`, or everything. Milliseconds until the next is due; -1: none is, or
 * the reader takes none (call again when it does). */
int events_run(struct events *events, uint64_t now_ms, bool everything);
/* What waits of this one's is due now: it has ended. */
void events_hurry(struct events *events, int64_t row, int64_t incarnation, uint64_t now_ms);
bool events_waiting(const struct events *events); /* something is not told yet */
