/* This file is what front holds in memory of a session that lives or that somebody works on: whose
 * turn it is, the connection to its init, and what init tells. It never changes a row.
 *
 * init is a hostile peer: agent_client.c has proven the shape of what it sends, provider_trust.c
 * looks at its place and number; one that makes no sense ends the session.
 */
#include "provider/provider_internal.h"
#include "runtime/link/agent_client.h"

#include <errno.h>
#include <stdlib.h>

/* Frames of one session before others have their turn. */
enum { FRAMES_AT_ONCE = 64 };

static struct seat **bucket(struct provider *p, int64_t row)
{
    return &p->seats[(uint64_t)row % SEAT_HASH];
}

struct seat *seat_find(struct provider *p, int64_t row)
{
    struct seat *seat = *bucket(p, row);
    while (seat && seat->row != row)
        seat = seat->next;
    return seat;
}

struct seat *seat_get(struct provider *p, const struct session_row *row)
{
    struct seat *seat = seat_find(p, row->id);
    if (seat)
        return seat;
    seat = calloc(1, sizeof *seat);
    if (!seat)
        return NULL;
    seat->p = p;
    seat->row = row->id;
    queue_init(&seat->waiting);
    snprintf(seat->workspace_id, sizeof seat->workspace_id, "%s", row->workspace_id);
    snprintf(seat->session_id, sizeof seat->session_id, "%s", row->session_id);
    snprintf(seat->policy, sizeof seat->policy, "%s", row->policy);
    struct seat **first = bucket(p, row->id);
    seat->next = *first;
    *first = seat;
    return seat;
}

void seat_free(struct seat *seat)
{
    struct seat **at = bucket(seat->p, seat->row);
    while (*at != seat)
        at = &(*at)->next;
    *at = seat->next;
    seat_disconnect(seat);
    execs_free(seat);
    free(seat);
}

void seat_release(struct seat *seat)
{
    if (!seat->holder && !seat->waiting.first && !seat->agent && !seat->execs &&
        !seat->files_running && !seat->sampling && !seat->interrupts)
        seat_free(seat);
}

void seat_take(struct seat *seat, struct work *work, void (*then)(struct work *work))
{
    if (!seat->holder) {
        seat->holder = work;
        then(work);
        return;
    }
    work->then = then;
    queue_add(&seat->waiting, work);
}

void seat_give(struct seat *seat, struct work *work)
{
    if (seat->holder != work)
        return;
    seat->holder = queue_take(&seat->waiting);
    if (seat->holder)
        work_soon(seat->holder, seat->holder->then);
    else
        seat_release(seat);
}

/* ---- its init -------------------------------------------------------------------------------- */

static void table_over(struct seat *seat)
{
    seat->hello = true;
    if (!seat->table)
        return;
    /* What it tells next is of commands that are not in memory yet. */
    seat->held = true;
    loop_watch_set(seat->frames, 0);
    seat->table(seat, NULL);
}

static void hello(struct seat *seat, const struct agent_frame *frame)
{
    seat->table_left = (unsigned)frame->seq;
    if (seat->table_left == 0)
        table_over(seat);
}

static void table_row(struct seat *seat, const struct agent_table_row *row)
{
    if (number_is_files(row->exec))
        files_told(seat, row);
    else
        background_told(seat, row);
    if (seat->table_left == 0)
        return;
    seat->table_left--;
    if (seat->table)
        seat->table(seat, row);
    if (seat->table_left == 0)
        table_over(seat);
}

static void on_frame(struct seat *seat, const struct agent_frame *frame, const void *payload)
{
    switch ((enum agent_frame_type)frame->type) {
    case AGENT_FRAME_HELLO:
        hello(seat, frame);
        break;
    case AGENT_FRAME_TABLE: {
        struct agent_table_row row;
        memcpy(&row, payload, sizeof row);
        table_row(seat, &row);
        break;
    }
    case AGENT_FRAME_INTERRUPTED:
        verb_interrupted(seat, frame->exec);
        break;
    case AGENT_FRAME_STARTED:
    case AGENT_FRAME_START_FAILED:
    case AGENT_FRAME_EXIT:
    case AGENT_FRAME_SPOOL:
    case AGENT_FRAME_STDIN:
        if (number_is_files(frame->exec))
            files_frame(seat, frame, payload);
        else
            exec_frame(seat, frame, payload);
        break;
    case AGENT_FRAME_DENIED: {
        struct agent_denied denied;
        memcpy(&denied, payload, sizeof denied);
        if (!number_is_files(frame->exec))
            denied_frame(seat, frame->exec, &denied);
        break;
    }
    case AGENT_FRAME_PONG:
        verb_paused(seat, frame->exec);
        break;
    case AGENT_FRAME_READY:
    case AGENT_FRAME_FAILED:
    case AGENT_FRAME_DATA:
    case AGENT_FRAME_TYPE_END:
        break;
    }
}

/* Its end, or what no init of ours says: either way it is to be looked at, and ended. */
void seat_distrust(struct seat *seat)
{
    loop_watch_set(seat->frames, 0);
    seat->distrusted = true;
    if (seat->table) /* who waits for the table is at it already */
        seat->table(seat, NULL);
    else if (!seat->ending)
        session_rescue(seat->p, seat->row);
}

static void on_frames(void *owner, unsigned events)
{
    struct seat *seat = owner;
    struct provider *p = seat->p;
    int64_t row = seat->row;
    struct agent_client *agent = seat->agent;
    (void)events;
    for (int i = 0; i < FRAMES_AT_ONCE; i++) {
        struct agent_frame frame;
        const void *payload = NULL;
        struct err err = {0};
        int r = agent_client_next(agent, &frame, &payload, &err);
        if (r == SESSION_FRAME_NONE)
            return;
        if (r != 0 || !trust_frame(seat, &frame, payload)) {
            seat_distrust(seat);
            return;
        }
        on_frame(seat, &frame, payload);
        /* What a frame led to may have ended the connection, or the seat. */
        seat = seat_find(p, row);
        if (!seat || seat->agent != agent || seat->held)
            return;
    }
}

void seat_go_on(struct seat *seat)
{
    seat->held = false;
    if (seat->frames)
        loop_watch_set(seat->frames, LOOP_READ);
}

static void on_control(void *owner, unsigned events)
{
    struct seat *seat = owner;
    (void)events;
    seat_want_write(seat, false);
    execs_send(seat);
}

void seat_want_write(struct seat *seat, bool wanted)
{
    if (seat->control)
        loop_watch_set(seat->control, wanted ? LOOP_WRITE : 0);
}

int seat_connect(struct seat *seat, int64_t incarnation, const struct session_identity *identity,
                 struct err *err)
{
    struct provider *p = seat->p;
    char name[SERVE_NAME_SIZE], path[SPEC_PATH_MAX + 96];
    struct agent_client *agent = NULL;
    seat_disconnect(seat);
    serve_name(name, seat->row, incarnation);
    snprintf(path, sizeof path, "%s/" SERVE_SESSIONS_DIR "/%s-%s/control",
             p->options.config->runtime_dir, p->born.instance, name);
    int r = agent_client_open(&agent, path, identity->init_pid, p->born.epoch, err);
    if (r == 0)
        r = loop_watch_new(p->loop, agent_client_fd(agent), on_frames, seat, &seat->frames, err);
    if (r == 0)
        r = loop_watch_new(p->loop, agent_client_control_fd(agent), on_control, seat,
                           &seat->control, err);
    if (r == 0)
        r = loop_watch_set(seat->frames, LOOP_READ);
    if (r < 0) {
        loop_watch_free(take_ptr(&seat->frames));
        loop_watch_free(take_ptr(&seat->control));
        agent_client_free(agent);
        return r;
    }
    seat->agent = agent;
    seat->incarnation = incarnation;
    seat->identity = *identity;
    seat->hello = seat->ending = seat->held = seat->distrusted = false;
    seat->table_left = 0;
    trust_begin(seat);
    p->live++;
    provider_look_idle(p);
    return 0;
}

void seat_disconnect(struct seat *seat)
{
    if (!seat->agent)
        return;
    loop_watch_free(take_ptr(&seat->frames));
    loop_watch_free(take_ptr(&seat->control));
    agent_client_free(take_ptr(&seat->agent));
    background_forget(seat);
    files_over(seat);
    seat->files_running = 0;
    seat->hello = seat->frozen = false;
    seat->pause_asked = 0; /* who waits for it stops waiting in time */
    seat->table = NULL;
    seat->p->live--;
}
