/* This file ends a sandbox by asking the launcher until that is proven, and keeps what only the one
 * who ended it can tell: what it had used, and what is to be told of its end. It never writes an
 * outcome: who asked for the end does.
 */
#include "provider/provider_internal.h"

#include <errno.h>
#include <stdlib.h>

enum { END_TRIES = 4 };

/* ---- who is told that it takes its time ------------------------------------------------------ */

static void ending_refused(struct work *work, const struct err *why)
{
    work->ending.why = *why;
    if (work->ending.refused)
        return;
    work->ending.refused = true;
    work->ending.next_refused = work->p->refused;
    work->p->refused = work;
}

void ending_over(struct work *work)
{
    struct work **at = &work->p->refused;
    while (*at && *at != work)
        at = &(*at)->ending.next_refused;
    if (*at)
        *at = work->ending.next_refused;
    work->ending.refused = false;
}

void endings_take(const struct provider *p, struct endings *ret)
{
    size_t count = 0;
    for (const struct work *work = p->refused; work; work = work->ending.next_refused)
        count++;
    ret->of = count ? calloc(count, sizeof *ret->of) : NULL;
    for (const struct work *work = p->refused; ret->of && work; work = work->ending.next_refused)
        ret->of[ret->count++] = (struct document_ending){.row = work->ending.row,
                                                         .since_ms = work->ending.since_ms,
                                                         .verb = work->ending.verb,
                                                         .why = work->ending.why};
}

/* ---- the end --------------------------------------------------------------------------------- */

static void ask_end(struct work *work);

static void ended(struct work *work)
{
    free(take_ptr(&work->ending.notes));
    work->tries = 0;
    work->ending.then(work);
}

static int notes_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    int r = 0;
    for (unsigned i = 0; r == 0 && i < work->ending.note_count; i++) {
        const struct launcher_note *note = &work->ending.notes[i];
        _cleanup_buf_ struct buf data = {0};
        document_note(&data, note->key, note->text);
        if (data.length >= sizeof((struct event_row *)0)->data) { /* full of what is escaped */
            buf_fini(&data);
            document_note(&data, note->key, "");
        }
        r = buf_failed(&data) ? -ENOMEM
                              : ledger_event_add(tx, work->ending.row, "session.note",
                                                 buf_text(&data), now_ms(), NULL, err);
    }
    return r;
}

static void add_notes(struct work *work);

static void notes_added(struct work *work)
{
    if (work->job.result < 0)
        work_again(work, add_notes);
    else
        ended(work);
}

static void add_notes(struct work *work)
{
    work_job(work, LEDGER_OP_EVENT_ADD, notes_apply, notes_added);
}

/* What is worth telling of its end is an event before the end is one: asked again, the launcher
 * would not know it any more. */
static void keep_notes(struct work *work, const struct launcher_reply *reply)
{
    unsigned count = reply->launched.note_count;
    if (count > LAUNCHER_NOTES_MAX)
        count = LAUNCHER_NOTES_MAX;
    free(take_ptr(&work->ending.notes));
    work->ending.notes = count ? calloc(count, sizeof *work->ending.notes) : NULL;
    work->ending.note_count = work->ending.notes ? count : 0;
    for (unsigned i = 0; i < work->ending.note_count; i++) {
        work->ending.notes[i] = reply->launched.notes[i];
        work->ending.notes[i].key[sizeof work->ending.notes[i].key - 1] = 0;
        work->ending.notes[i].text[sizeof work->ending.notes[i].text - 1] = 0;
    }
}

/* Also of an END that failed: its counters may be gone by the next. */
static void keep_last(struct work *work, const struct launcher_reply *reply)
{
    if (!reply || !reply->launched.last.taken)
        return;
    work->ending.last = usage_of_sample(&reply->launched.last.sample, work->ending.incarnation);
    work->ending.measured = true;
}

static void on_ended(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct work *work = data;
    struct err why;
    keep_last(work, reply);
    if (launcher_result(reply, err, &why) < 0) {
        void (*stuck)(struct work *) = work->ending.stuck;
        if (reply)
            ending_refused(work, &why);
        if (reply && stuck && work->tries >= END_TRIES) {
            work->ending.stuck = NULL;
            stuck(work);
        }
        work_again(work, ask_end);
        return;
    }
    ending_over(work);
    keep_notes(work, reply);
    work->tries = 0;
    gateway_events_take(work->p, work->ending.row); /* its connections are closed */
    if (work->ending.note_count)
        add_notes(work);
    else
        ended(work);
}

static void ask_end(struct work *work)
{
    struct err err = {0};
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_END, work->ending.row, work->ending.incarnation);
    if (provider_ask(work->p, &request, NULL, 0, on_ended, work, &err) < 0)
        work_again(work, ask_end);
}

void end_sandbox(struct work *work, int64_t row, int64_t incarnation,
                 void (*then)(struct work *work))
{
    work->tries = 0;
    /* Asked again, nobody would know it any more. */
    work->ending.measured &= work->ending.row == row && work->ending.incarnation == incarnation;
    work->ending.row = row;
    work->ending.incarnation = incarnation;
    work->ending.then = then;
    work->ending.since_ms = now_ms();
    /* A session that never began an incarnation has no name to look for. */
    if (incarnation < 1)
        work_soon(work, then);
    else
        ask_end(work);
}
