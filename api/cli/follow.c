/* This file follows a stream of numbered events over any number of connections; it never knows what
 * an event means. */
#include "api/cli/follow.h"

#include <errno.h>
#include <string.h>

enum { FIRST_PAUSE_MS = 20, LAST_PAUSE_MS = 1000 };

void follow_init(struct follow *f, struct client *client, const char *path, uint64_t after,
                 bool live)
{
    *f = (struct follow){.client = client, .path = path, .last = after, .live = live};
}

void follow_fini(struct follow *f)
{
    client_stream_free(f->stream);
    client_sse_fini(&f->sse);
    f->stream = NULL;
}

int follow_fd(const struct follow *f)
{
    return f->stream ? client_stream_fd(f->stream) : -1;
}

int follow_timeout(const struct follow *f)
{
    uint64_t now = client_now_ms();
    uint64_t until = f->heard_ms + client_stream_silence_ms(f->client);
    if (f->stream)
        return until > now ? (int)(until - now) : 0;
    return f->retry_ms > now ? (int)(f->retry_ms - now) : 0;
}

/* The connection is gone: half an event with it. */
static void leave(struct follow *f)
{
    follow_fini(f);
    f->piece = NULL;
    f->length = f->at = 0;
    uint64_t now = client_now_ms();
    if (!f->away_since_ms)
        f->away_since_ms = now;
    f->pause_ms = f->pause_ms ? f->pause_ms * 2 : FIRST_PAUSE_MS;
    if (f->pause_ms > LAST_PAUSE_MS)
        f->pause_ms = LAST_PAUSE_MS;
    f->retry_ms = now + f->pause_ms;
}

/* 0: connected. FOLLOW_WAIT: not yet. */
static int join(struct follow *f, struct err *err)
{
    if (client_now_ms() < f->retry_ms)
        return FOLLOW_WAIT;
    const struct client_request request = {.method = "GET",
                                           .path = f->path,
                                           .accept = "text/event-stream",
                                           .last_event = f->last,
                                           .once = true};
    int r = client_stream_open(f->client, &request, &f->stream, err);
    if (r == CLIENT_STREAM_AGAIN) {
        if (f->away_since_ms && client_now_ms() - f->away_since_ms > FOLLOW_AWAY_MS)
            return err_set(err, ERR_UNAVAILABLE, ETIMEDOUT, "follow", NULL,
                           "berth serve has not answered for a minute. What was followed goes on "
                           "without it.");
        leave(f);
        return FOLLOW_WAIT;
    }
    if (r < 0)
        return r;
    f->away_since_ms = 0;
    f->heard_ms = client_now_ms();
    if (strcmp(client_stream_head(f->stream)->media_type, "text/event-stream") == 0)
        return 0;
    return err_set(err, ERR_INTERNAL, EPROTO, "follow", NULL, "The answer is no stream of events.");
}

/* The end of a stream, in order or not. */
static int stream_end(struct follow *f, bool whole)
{
    if (whole && (!f->live || ++f->empty >= FOLLOW_EMPTY_MAX))
        return FOLLOW_END;
    leave(f);
    return FOLLOW_WAIT;
}

int follow_next(struct follow *f, struct client_event *ret_event, struct err *err)
{
    for (;;) {
        int r = f->stream ? 0 : join(f, err);
        if (r != 0)
            return r;
        r = client_sse_next(&f->sse, f->piece, f->length, &f->at, ret_event, err);
        if (r == 0) {
            /* Nothing twice, whoever thinks that it was not given yet. */
            if (ret_event->id && ret_event->id <= f->last)
                continue;
            f->last = ret_event->id ? ret_event->id : f->last;
            f->empty = 0;
            f->pause_ms = 0;
            return 0;
        }
        if (r < 0)
            return r;
        struct err broken;
        f->piece = NULL;
        f->length = f->at = 0;
        r = client_stream_next(f->stream, &f->piece, &f->length, &broken);
        if (r == 0)
            f->heard_ms = client_now_ms();
        /* One that hangs is left like one that has ended; connecting anew tells which it is. */
        if (r == CLIENT_STREAM_WAIT && follow_timeout(f) > 0)
            return FOLLOW_WAIT;
        if (r != 0)
            r = stream_end(f, r == CLIENT_STREAM_END);
        if (r != 0)
            return r;
    }
}
