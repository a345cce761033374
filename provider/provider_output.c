/* This file gives followers the output of commands, from the spool files; it never trusts what
 * stands there (spool_reader.c) and never keeps more than one frame in memory.
 *
 * The row says whether the command has ended; the file says what it wrote. A command whose init
 * died has no exit frame in its file: then one is made from the row, so that each stream has one.
 */
#include "provider/provider_follow.h"

#include <errno.h>
#include <stdlib.h>

enum { FRAMES_AT_ONCE = 32, LOOK_MS = 100, BACKGROUND_MS = 500 };

static void step(struct provider_follower *f);

void output_unlink(struct provider_follower *f)
{
    if (!f->waits)
        return;
    struct provider_follower **at = &f->waits->followers;
    while (*at && *at != f)
        at = &(*at)->next_waiting;
    if (*at)
        *at = f->next_waiting;
    f->waits = NULL;
}

void output_wake(struct exec *exec)
{
    for (struct provider_follower *f; (f = exec->followers);) {
        exec->followers = f->next_waiting;
        f->waits = NULL;
        follower_soon(f);
    }
}

/* ---- the row --------------------------------------------------------------------------------- */

static int find_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct provider_follower *f = (struct provider_follower *)work;
    return ledger_exec_find(tx, f->workspace_id, f->session_id, f->exec_id, &f->row, err);
}

static void look_at_row(struct provider_follower *f)
{
    f->busy = true;
    f->look_again = true;
    work_job(&f->work, LEDGER_OP_READ, find_apply, follower_turn);
}

/* 0, or it has ended with an error. */
static int row_read(struct provider_follower *f)
{
    struct err err = {0};
    f->look_again = false;
    if (f->work.job.result == 0)
        return 0;
    if (f->work.job.result > 0)
        err_set(&err, ERR_NOT_FOUND, ENOENT, "follow the output", f->exec_id,
                "There is no such command in this session.");
    else
        err = f->work.job.err;
    follower_end(f, &err);
    return -ENOENT;
}

static void pause_for(struct provider_follower *f, uint64_t ms)
{
    f->busy = true;
    work_later(&f->work, ms, follower_turn);
}

/* ---- frames that no file has ----------------------------------------------------------------- */

static enum agent_reason reason_by_name(const char *name)
{
    for (int i = AGENT_REASON_NONE + 1; i < AGENT_REASON_END; i++)
        if (strcmp(agent_reason_name((enum agent_reason)i), name) == 0)
            return (enum agent_reason)i;
    return AGENT_REASON_LOST;
}

static void make_exit(struct provider_follower *f)
{
    f->exit = (struct agent_exit){.reason = reason_by_name(f->row.reason),
                                  .exit_code = (int32_t)f->row.exit_code,
                                  .signal = (int32_t)f->row.signal,
                                  .output_bytes = (uint64_t)f->row.output_bytes};
    f->frame = (struct spool_frame){.seq = f->last_seq + 1,
                                    .to_seq = f->last_seq + 1,
                                    .time_ms = (uint64_t)f->row.ended_ms,
                                    .bytes = sizeof f->exit,
                                    .kind = SPOOL_EXIT,
                                    .data = &f->exit};
    f->has_frame = true;
}

/* Its spool went when there was no more room for it: that is said, not hidden (EXEC-8). */
static void make_gap(struct provider_follower *f)
{
    f->frame = (struct spool_frame){.seq = f->last_seq + 1,
                                    .to_seq = f->last_seq + 1,
                                    .time_ms = (uint64_t)f->row.ended_ms,
                                    .bytes = (uint64_t)f->row.output_bytes,
                                    .kind = SPOOL_GAP};
    f->has_frame = f->row.output_bytes > 0;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* 0 with a frame to give; 1: wait; < 0: it has ended. */
static int nothing_more(struct provider_follower *f)
{
    struct seat *seat = seat_find(f->work.p, f->row.session);
    struct exec *exec = seat ? exec_find(seat, f->row.ord) : NULL;
    if (f->row.state == EXEC_ENDED) {
        if (!f->exit_given) {
            make_exit(f);
            return 0;
        }
        /* Children that it kept may go on writing as long as their session lives. */
        if (f->follow.follow && f->row.keep_children && seat && seat->agent) {
            pause_for(f, BACKGROUND_MS);
            return 1;
        }
        follower_end(f, NULL);
        return -1;
    }
    if (!f->follow.follow) {
        follower_end(f, NULL);
        return -1;
    }
    if (!exec) { /* it has ended since the row was read, or is being looked at */
        if (f->work.tries++ == 0)
            look_at_row(f);
        else
            pause_for(f, LOOK_MS);
        if (f->work.tries > 1)
            f->work.tries = 0;
        return 1;
    }
    f->waits = exec;
    f->next_waiting = exec->followers;
    exec->followers = f;
    return 1;
}

static int open_spool(struct provider_follower *f)
{
    struct err err = {0};
    if (f->reader)
        return 0;
    int fd = f->ruined ? -ENOENT : spool_open(f->work.p, f->row.session, f->row.id);
    if (fd < 0 && fd != -ENOENT) {
        err_set(&err, ERR_UNAVAILABLE, -fd, "read the output", f->exec_id, NULL);
        follower_end(f, &err);
        return -1;
    }
    if (fd < 0) {
        if (f->row.state == EXEC_ENDED && !f->exit_given && !f->gap_given &&
            (f->ruined || f->last_seq == f->follow.after))
            make_gap(f);
        if (f->has_frame) {
            f->gap_given = true;
            f->last_seq++;
            return 0;
        }
        return nothing_more(f);
    }
    fd_replace(&f->fd, fd);
    int r = spool_reader_new(&f->reader, fd, f->last_seq + 1, &err);
    if (r < 0) {
        follower_end(f, &err);
        return -1;
    }
    return 0;
}

/* Its init has written something else there, or writes at this moment: 0, 1 or -1 as next_frame().
 * A stream that broke each time would have its client come back for ever. */
static int not_a_spool(struct provider_follower *f)
{
    spool_reader_free(take_ptr(&f->reader));
    fd_replace(&f->fd, -1);
    if (f->row.state == EXEC_ENDED) {
        f->ruined = true;
        return open_spool(f);
    }
    if (!f->follow.follow) {
        follower_end(f, NULL);
        return -1;
    }
    f->look_first = true;
    pause_for(f, BACKGROUND_MS);
    return 1;
}

static int next_frame(struct provider_follower *f)
{
    struct err err = {0};
    if (f->has_frame)
        return 0;
    int r = open_spool(f);
    if (r != 0 || f->has_frame)
        return r;
    r = spool_reader_next(f->reader, &f->frame, &err);
    if (r == 0) {
        f->has_frame = true;
        f->work.tries = 0;
        return 0;
    }
    if (r == -EPROTO)
        return not_a_spool(f);
    if (r < 0) {
        follower_end(f, &err);
        return -1;
    }
    /* The file of a command that could not be started is closed without an exit: the row has it. */
    if (r == SPOOL_END && spool_reader_has_exit(f->reader)) {
        follower_end(f, NULL);
        return -1;
    }
    if (r == SPOOL_MORE) { /* others have their turn */
        follower_soon(f);
        return 1;
    }
    return nothing_more(f);
}

static void step(struct provider_follower *f)
{
    if (f->look_first) {
        f->look_first = false;
        look_at_row(f);
        return;
    }
    if (f->look_again && row_read(f) < 0)
        return;
    if (f->blocked)
        return;
    output_unlink(f);
    for (int i = 0; i < FRAMES_AT_ONCE; i++) {
        if (next_frame(f) != 0)
            return;
        if (!f->follow.frame(f->follow.data, &f->frame)) {
            f->blocked = !f->stopped && !f->busy;
            return;
        }
        f->has_frame = false;
        f->exit_given |= f->frame.kind == SPOOL_EXIT;
        f->last_seq = f->frame.to_seq > f->last_seq ? f->frame.to_seq : f->last_seq;
        if (f->stopped)
            return;
    }
    follower_soon(f); /* others have their turn */
}

static void begin(struct provider_follower *f)
{
    f->step = step;
    f->last_seq = f->follow.after;
    if (f->work.p->recovering) {
        f->step = begin;
        pause_for(f, LOOK_MS);
        return;
    }
    look_at_row(f);
}

struct provider_follower *provider_output_follow(struct provider *p,
                                                 const struct provider_call *from,
                                                 const struct provider_follow *follow,
                                                 struct err *err)
{
    return follower_new(p, from, follow, begin, err);
}
