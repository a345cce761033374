/* This file is what the two kinds of followers share (provider_follow.c, provider_output.c,
 * provider_events.c); nobody else includes it.
 *
 * A follower is busy (a job or a turn of the loop is pending), or waits: for its reader
 * (provider_follow_more()), or for more to read (a wake). Its memory goes in its own turn, never
 * under a function that uses it.
 */
#pragma once

#include "provider/provider_exec.h"
#include "runtime/link/spool_reader.h"

enum { EVENT_PAGE = 16 };

struct provider_follower {
    struct work work; /* first */
    struct provider_follow follow;
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE], exec_id[LEDGER_ID_SIZE];
    char policy[65];
    void (*step)(struct provider_follower *follower);
    bool busy;    /* its turn will come */
    bool blocked; /* its reader took no more */
    bool stopped; /* nobody follows any more */
    bool stepping;

    /* output */
    struct exec_row row;
    struct exec *waits; /* whose `followers` it is in */
    struct provider_follower *next_waiting;
    int fd;
    struct spool_reader *reader;
    struct spool_frame frame; /* not taken yet */
    bool has_frame, exit_given, look_again;
    bool look_first;        /* at the row, before the file */
    bool ruined, gap_given; /* the file is no spool: what was in it is missing */
    struct agent_exit exit;
    uint64_t last_seq;

    /* events */
    struct provider_follower *next_events, *previous_events;
    uint64_t hash;
    struct event_row *rows;
    size_t count, next;
    bool woken, session_over, more;
    int64_t after;
};

struct provider_follower *follower_new(struct provider *p, const struct provider_call *call,
                                       const struct provider_follow *follow,
                                       void (*step)(struct provider_follower *follower),
                                       struct err *err);
/* Its step runs in a turn of its own. */
void follower_soon(struct provider_follower *follower);
/* For work_job() and work_later(): the step runs, or the memory goes. */
void follower_turn(struct work *work);
void follower_end(struct provider_follower *follower, const struct err *err);
void follower_unlink(struct provider_follower *follower);

void output_unlink(struct provider_follower *follower);
void events_unlink(struct provider_follower *follower);
