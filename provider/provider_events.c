/* This file gives followers the events of a session, page by page from the ledger; a commit wakes
 * those who have all that was there. It never makes an event.
 */
#include "provider/provider_follow.h"

#include <errno.h>
#include <stdlib.h>

enum { LOOK_MS = 100 };

static uint64_t hash_of(const char *workspace_id, const char *session_id)
{
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (const char *p = workspace_id; *p; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    h = (h ^ '/') * 1099511628211u;
    for (const char *p = session_id; *p; p++)
        h = (h ^ (unsigned char)*p) * 1099511628211u;
    return h;
}

static struct provider_follower **bucket(struct provider *p, uint64_t hash)
{
    return &p->events[hash % EVENT_HASH];
}

void events_unlink(struct provider_follower *f)
{
    if (!f->hash)
        return;
    if (f->next_events)
        f->next_events->previous_events = f->previous_events;
    if (f->previous_events)
        f->previous_events->next_events = f->next_events;
    else
        *bucket(f->work.p, f->hash) = f->next_events;
    f->hash = 0;
}

void events_wake(struct provider *p, const char *workspace_id, const char *session_id)
{
    uint64_t hash = hash_of(workspace_id, session_id) | 1;
    for (struct provider_follower *f = *bucket(p, hash); f; f = f->next_events)
        if (f->hash == hash) {
            f->woken = true;
            if (!f->blocked)
                follower_soon(f);
        }
}

static int page_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct provider_follower *f = (struct provider_follower *)work;
    struct session_row session;
    int r = ledger_session_find(tx, f->workspace_id, f->session_id, &session, err);
    if (r == 0)
        r = ledger_event_page(tx, f->workspace_id, f->session_id, f->after, f->rows, EVENT_PAGE,
                              &f->count, err);
    if (r == 0)
        f->session_over = session_is_over(session.state);
    return r;
}

static void step(struct provider_follower *f);

static void read_page(struct provider_follower *f)
{
    f->woken = false;
    f->next = f->count = 0;
    if (!f->rows && !(f->rows = calloc(EVENT_PAGE, sizeof *f->rows))) {
        f->busy = true;
        work_later(&f->work, LOOK_MS, follower_turn);
        f->woken = true;
        return;
    }
    f->look_again = true; /* the answer comes with the next step */
    f->busy = true;
    work_job(&f->work, LEDGER_OP_READ, page_apply, follower_turn);
}

static int page_read(struct provider_follower *f)
{
    struct err err = {0};
    f->look_again = false;
    if (f->work.job.result == 0) {
        f->more = f->count == EVENT_PAGE;
        return 0;
    }
    f->count = 0;
    if (f->work.job.result > 0)
        err_set(&err, ERR_NOT_FOUND, ENOENT, "follow events", f->session_id,
                "There is no such session in this workspace.");
    else
        err = f->work.job.err;
    follower_end(f, &err);
    return -ENOENT;
}

/* 0 when it was taken. */
static int give(struct provider_follower *f, const struct event_row *row)
{
    _cleanup_buf_ struct buf json = {0};
    document_event(&json, row);
    if (buf_failed(&json))
        return -ENOMEM;
    return f->follow.event(f->follow.data, (uint64_t)row->seq, row->type, buf_text(&json),
                           json.length)
               ? 0
               : -EAGAIN;
}

static void step(struct provider_follower *f)
{
    if (f->look_again && page_read(f) < 0)
        return;
    while (f->next < f->count) {
        if (f->blocked)
            return;
        int r = give(f, &f->rows[f->next]);
        if (r < 0) {
            f->blocked = r == -EAGAIN && !f->stopped && !f->busy;
            if (r == -ENOMEM) {
                f->busy = true;
                work_later(&f->work, LOOK_MS, follower_turn);
            }
            return;
        }
        f->after = f->rows[f->next++].seq;
        if (f->stopped)
            return;
    }
    if (f->more || f->woken) {
        read_page(f);
        return;
    }
    free(f->rows);
    f->rows = NULL;
    f->count = f->next = 0;
    if (f->session_over || !f->follow.follow)
        follower_end(f, NULL);
}

static void begin(struct provider_follower *f)
{
    struct provider *p = f->work.p;
    if (p->recovering) {
        f->busy = true;
        work_later(&f->work, LOOK_MS, follower_turn);
        return;
    }
    f->step = step;
    f->after = (int64_t)(f->follow.after < INT64_MAX ? f->follow.after : INT64_MAX);
    f->hash = hash_of(f->workspace_id, f->session_id) | 1;
    struct provider_follower **first = bucket(p, f->hash);
    f->next_events = *first;
    f->previous_events = NULL;
    if (*first)
        (*first)->previous_events = f;
    *first = f;
    read_page(f);
}

struct provider_follower *provider_events_follow(struct provider *p,
                                                 const struct provider_call *from,
                                                 const struct provider_follow *follow,
                                                 struct err *err)
{
    return follower_new(p, from, follow, begin, err);
}
