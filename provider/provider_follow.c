/* This file is the life of a follower, of output or of events; it never reads either. */
#include "provider/provider_follow.h"

#include <errno.h>
#include <stdlib.h>

static void free_follower(struct work *work)
{
    struct provider_follower *follower = (struct provider_follower *)work;
    output_unlink(follower);
    events_unlink(follower);
    work_end(work);
    spool_reader_free(follower->reader);
    fd_close(follower->fd);
    free(follower->rows);
    free(follower);
}

struct provider_follower *follower_new(struct provider *p, const struct provider_call *call,
                                       const struct provider_follow *follow,
                                       void (*step)(struct provider_follower *follower),
                                       struct err *err)
{
    struct provider_follower *follower = calloc(1, sizeof *follower);
    if (!follower) {
        err_set(err, ERR_UNAVAILABLE, ENOMEM, "follow", NULL, "Out of memory.");
        return NULL;
    }
    follower->follow = *follow;
    follower->step = step;
    follower->fd = -1;
    snprintf(follower->workspace_id, sizeof follower->workspace_id, "%s",
             call->workspace_id ? call->workspace_id : "");
    snprintf(follower->session_id, sizeof follower->session_id, "%s",
             call->session_id ? call->session_id : "");
    snprintf(follower->exec_id, sizeof follower->exec_id, "%s", call->exec_id ? call->exec_id : "");
    snprintf(follower->policy, sizeof follower->policy, "%s", call->policy ? call->policy : "");
    work_begin(&follower->work, p, free_follower);
    follower->work.policy = call->policy ? follower->policy : NULL;
    work_rest(&follower->work, true); /* holds up no end */
    follower_soon(follower);
    return follower;
}

void follower_turn(struct work *work)
{
    struct provider_follower *follower = (struct provider_follower *)work;
    follower->busy = false;
    if (!follower->stopped) {
        follower->stepping = true;
        follower->step(follower);
        follower->stepping = false;
    }
    if (follower->stopped && !follower->busy)
        free_follower(work);
}

void follower_soon(struct provider_follower *follower)
{
    if (follower->busy)
        return;
    follower->busy = true;
    work_soon(&follower->work, follower_turn);
}

void follower_end(struct provider_follower *follower, const struct err *err)
{
    void (*end)(void *, const struct err *) = follower->stopped ? NULL : follower->follow.end;
    follower->stopped = true;
    if (end)
        end(follower->follow.data, err);
}

void provider_follow_more(struct provider_follower *follower)
{
    follower->blocked = false;
    follower_soon(follower);
}

void provider_follow_stop(struct provider_follower *follower)
{
    if (!follower)
        return;
    follower->stopped = true;
    output_unlink(follower);
    events_unlink(follower);
    if (!follower->busy && !follower->stepping)
        free_follower(&follower->work);
}

void followers_free(struct provider *p)
{
    (void)p; /* each is in the list of works, and goes with it */
}
