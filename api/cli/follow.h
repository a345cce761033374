/* This file follows a stream of numbered events over any number of connections: what is lost with
 * one is asked for again by number, so that whoever listens sees each event once, in order, and
 * nothing of the service being ended and started again (EXEC-2, EXEC-5, EV-1). It never knows what
 * an event means.
 *
 *     follow_init(&f, client, path, after, live);
 *     loop: follow_next() until FOLLOW_WAIT; poll follow_fd() for follow_timeout() ms
 */
#pragma once

#include "api/cli/client.h"
#include "api/cli/client_sse.h"

enum { FOLLOW_AWAY_MS = 60000, FOLLOW_EMPTY_MAX = 3 };

struct follow {
    struct client *client;
    const char *path; /* with its query, without a number; borrowed */
    uint64_t last;    /* the last number that was given out */
    bool live;        /* goes on until its user has seen the last event */
    struct client_stream *stream;
    struct client_sse sse;
    const char *piece;
    size_t length, at;
    uint64_t away_since_ms, retry_ms; /* 0: connected */
    uint64_t heard_ms;                /* when something came last, also a sign of life alone */
    unsigned pause_ms, empty;         /* streams in a row that ended without an event */
};

void follow_init(struct follow *f, struct client *client, const char *path, uint64_t after,
                 bool live);
void follow_fini(struct follow *f);
#define _cleanup_follow_ __attribute__((cleanup(follow_fini)))

enum follow_outcome { FOLLOW_WAIT = 1, FOLLOW_END = 2 };

/* 0 with an event, valid until the next call. FOLLOW_END: all that there is was given; of a live
 * one, the service says so again and again. Negative: refused, or nobody answered for
 * FOLLOW_AWAY_MS. */
int follow_next(struct follow *f, struct client_event *ret_event, struct err *err);
int follow_fd(const struct follow *f); /* -1: none now */
/* Of a stream: until it has been silent for too long. */
int follow_timeout(const struct follow *f);
