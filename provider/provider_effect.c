/* This file carries out what a verb does to the kernel, by asking the launcher and init, and says
 * what came of it; it never writes a row.
 *
 * Each effect can be repeated. What makes something (LAUNCH) is undone by name when it failed or
 * when nothing is known of it; what ends something (END) is asked again until it is proven.
 */
#include "provider/failpoint.h"
#include "provider/provider_internal.h"
#include "provider/spec_store.h"
#include "runtime/base/io.h"
#include "runtime/link/agent_client.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAUSED_MS = 1000, UNLINK_AT_ONCE = 64, THAW_TRIES = 20 };

static int point(enum session_effect effect, const char *step, struct err *err)
{
    int r = FAILPOINT("effect", session_effect_name(effect), step);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, session_effect_name(effect), step,
                           "A test asked for it.")
                 : 0;
}

void verb_succeed(struct verb *verb, enum session_event outcome)
{
    struct err err = {0};
    verb->outcome = outcome;
    if (point(verb->ticket.effect, "after", &err) < 0)
        verb->outcome = outcome; /* what has happened is written down all the same */
    verb_close(verb);
}

/* ---- launch ---------------------------------------------------------------------------------- */

static void remove_volume(struct work *work);

static void launch_undone(struct work *work);

static int claim_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct verb *verb = (struct verb *)work;
    return ledger_volume_claim(tx, verb->ticket.session, &verb->volume_row, err);
}

/* What it made and somebody else names by now stays. */
static void claimed(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    if (work->job.result < 0) {
        work_again(work, launch_undone);
        return;
    }
    verb->has_volume = true;
    work->tries = 0;
    if (work->job.result == 0)
        remove_volume(work);
    else
        launch_undone(work);
}

static void launch_undone(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    if (verb->ticket.volume_made && !verb->has_volume) {
        work_job(work, LEDGER_OP_VERB_UNDO, claim_apply, claimed);
        return;
    }
    verb->outcome = verb->event == SESSION_EVENT_CREATE ? SESSION_EVENT_START_FAILED
                                                        : SESSION_EVENT_RESUME_FAILED;
    verb_close(verb);
}

/* verb->failure says why. Nothing may be left of it (SES-1). */
static void launch_failed(struct verb *verb)
{
    verb->failed = true;
    buf_fini(&verb->effective);
    verb->seat->ending = true;
    verb->call.work.ending.verb = session_event_name(verb->event);
    seat_disconnect(verb->seat);
    end_sandbox(&verb->call.work, verb->ticket.session, verb->ticket.incarnation, launch_undone);
}

static void on_launched(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct verb *verb = data;
    int r = launcher_result(reply, err, &verb->failure);
    if (r == 0) {
        verb->identity = reply->identity;
        document_effective(&verb->effective, &reply->launched.effective, &reply->identity,
                           reply->launched.notes, reply->launched.note_count,
                           buf_text(&verb->dropped));
        if (buf_failed(&verb->effective))
            r = err_set(&verb->failure, ERR_UNAVAILABLE, ENOMEM, "create the session", NULL,
                        "Out of memory.");
    }
    if (r == 0)
        r = seat_connect(verb->seat, verb->ticket.incarnation, &verb->identity, &verb->failure);
    if (r < 0) {
        launch_failed(verb);
        return;
    }
    verb->seat->last_number = number_of_order(verb->row.exec_order);
    verb_succeed(verb, verb->event == SESSION_EVENT_CREATE ? SESSION_EVENT_STARTED
                                                           : SESSION_EVENT_RESUMED);
}

static int seal(int fd, int written, int *ret, struct err *err)
{
    _cleanup_fd_ int own = fd;
    int r = own < 0 ? -errno : written;
    if (r == 0 &&
        fcntl(own, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        r = -errno;
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "hand the request over", NULL, NULL);
    *ret = take_fd(&own);
    return 0;
}

int sealed_memfd(const char *name, const void *data, size_t size, int *ret, struct err *err)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return seal(fd, fd < 0 ? 0 : io_write_full(fd, data, size), ret, err);
}

static int spec_memfd(const struct spec *spec, int *ret, struct err *err)
{
    int fd = memfd_create("berth-spec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    return seal(fd, fd < 0 ? 0 : spec_write(fd, 0, spec), ret, err);
}

static void launch(struct verb *verb)
{
    struct provider *p = verb->call.work.p;
    _cleanup_fd_ int memfd = -1;
    unsigned start_s = p->options.config->start_timeout_s;
    struct launcher_request request =
        launcher_request_for(p, LAUNCHER_LAUNCH, verb->ticket.session, verb->ticket.incarnation);
    request.generation = (uint64_t)verb->row.network_revision;
    request.deadline_ms = 1000 * (start_s ? start_s : SERVE_START_TIMEOUT_S);
    int r = spec_store_read(buf_text(&verb->spec), verb->spec.length, &p->scratch, &verb->failure);
    if (r == 0)
        r = spec_memfd(&p->scratch, &memfd, &verb->failure);
    if (r == 0) {
        const int fds[] = {memfd, verb->client_socket};
        r = provider_ask(p, &request, fds, verb->client_socket < 0 ? 1 : 2, on_launched, verb,
                         &verb->failure);
    }
    if (r < 0)
        launch_failed(verb);
}

/* ---- what ends a sandbox --------------------------------------------------------------------- */

static void stopped(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    seat_disconnect(verb->seat);
    verb->end.reason = verb->reason;
    verb_succeed(verb, verb->event == SESSION_EVENT_ARCHIVE ? SESSION_EVENT_ARCHIVED_NOW
                                                            : SESSION_EVENT_PARKED_NOW);
}

static void on_volume_removed(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct verb *verb = data;
    struct err why;
    if (launcher_result(reply, err, &why) < 0)
        work_again(&verb->call.work, remove_volume);
    else if (verb->event == SESSION_EVENT_CREATE)
        launch_undone(&verb->call.work);
    else
        verb_succeed(verb, SESSION_EVENT_DEAD);
}

/* While the row still holds it, so that nobody else can take it up. */
static void remove_volume(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    struct err err = {0};
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_VOLUME_REMOVE, verb->ticket.session, 1);
    snprintf(request.workspace_id, sizeof request.workspace_id, "%s", verb->call.workspace_id);
    snprintf(request.volume, sizeof request.volume, "%s", verb->volume_row.name);
    if (provider_ask(work->p, &request, NULL, 0, on_volume_removed, verb, &err) < 0)
        work_again(work, remove_volume);
}

static void torn_down(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    seat_disconnect(verb->seat);
    if (verb->has_volume)
        remove_volume(work);
    else
        verb_succeed(verb, SESSION_EVENT_DEAD);
}

static void end_it(struct verb *verb, void (*then)(struct work *work))
{
    verb->seat->ending = true;
    verb->call.work.ending.verb = session_event_name(verb->event);
    end_sandbox(&verb->call.work, verb->ticket.session, verb->row.incarnation, then);
}

/* What was printed goes with the session. A bounded number at a time: others have their turn. */
static void remove_spool(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    char path[SPEC_PATH_MAX + 64];
    provider_spool_path(work->p, path, sizeof path, verb->ticket.session, 0);
    DIR *dir = opendir(path);
    int removed = 0;
    for (struct dirent *entry; dir && removed < UNLINK_AT_ONCE && (entry = readdir(dir));)
        if (entry->d_name[0] != '.')
            removed += unlinkat(dirfd(dir), entry->d_name, 0) == 0;
    if (dir)
        closedir(dir);
    if (removed == UNLINK_AT_ONCE) {
        work_soon(work, remove_spool);
        return;
    }
    if (rmdir(path) < 0 && errno != ENOENT) {
        work_again(work, remove_spool);
        return;
    }
    verb->outcome = SESSION_EVENT_GONE;
    verb_close(verb);
}

/* ---- freeze, thaw ---------------------------------------------------------------------------- */

static void go_on_timing(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    struct agent_client *agent = verb->seat->agent;
    if (agent && agent_client_pause(agent, false) == -EAGAIN) {
        work_again(work, go_on_timing);
        return;
    }
    if (verb->failed)
        verb_give_up(verb);
    else
        verb_succeed(verb, SESSION_EVENT_RESUMED);
}

static void thawed_again(struct work *work);

static void on_thawed_again(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct verb *verb = data;
    struct err why;
    int r = launcher_result(reply, err, &why);
    /* It may be frozen by half, and nobody else would thaw what the row says is running. */
    if (!reply || (r < 0 && why.code == ERR_UNAVAILABLE && verb->call.work.tries < THAW_TRIES)) {
        work_again(&verb->call.work, thawed_again);
        return;
    }
    if (r < 0 && r != -EOPNOTSUPP)
        session_rescue(verb->call.work.p, verb->ticket.session);
    go_on_timing(&verb->call.work);
}

/* It did not freeze; some of it may have. */
static void thawed_again(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    struct err err = {0};
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_THAW, verb->ticket.session, verb->row.incarnation);
    if (provider_ask(work->p, &request, NULL, 0, on_thawed_again, verb, &err) < 0)
        work_again(work, thawed_again);
}

static void on_frozen_or_thawed(void *data, const struct launcher_reply *reply,
                                const struct err *err)
{
    struct verb *verb = data;
    struct work *work = &verb->call.work;
    bool freeze = verb->ticket.effect == SESSION_EFFECT_FREEZE;
    int r = launcher_result(reply, err, &verb->failure);
    if (r < 0 && verb->failure.code == ERR_INVALID_STATE) {
        /* Its init is dead, and the row does not say so yet: no answer that is kept (IDEM-3). */
        verb->failure.code = ERR_UNAVAILABLE;
        session_rescue(work->p, verb->ticket.session);
    }
    if (launcher_lost(reply)) {
        work_again(work, verb_effect);
    } else if (r == 0) {
        verb->end.reason = freeze ? verb->reason : "";
        if (freeze)
            verb_succeed(verb, SESSION_EVENT_FROZEN_NOW);
        else
            go_on_timing(work);
    } else if (freeze) {
        verb->failed = true;
        work->tries = 0;
        thawed_again(work);
    } else {
        verb->failed = true;
        verb->outcome = SESSION_EVENT_RESUME_FAILED;
        verb_close(verb);
    }
}

static void ask_freeze_or_thaw(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    struct err err = {0};
    struct launcher_request request = launcher_request_for(
        work->p, verb->ticket.effect == SESSION_EFFECT_FREEZE ? LAUNCHER_FREEZE : LAUNCHER_THAW,
        verb->ticket.session, verb->row.incarnation);
    verb->seat->pause_asked = 0;
    if (provider_ask(work->p, &request, NULL, 0, on_frozen_or_thawed, verb, &err) < 0)
        work_again(work, verb_effect);
}

void verb_paused(struct seat *seat, uint64_t number)
{
    struct work *work = seat->holder;
    if (number == 0 || number != seat->pause_asked || !work || !work->timer)
        return;
    loop_timer_clear(work->timer);
    ask_freeze_or_thaw(work);
}

/* SES-7: time-outs stand still from before it is frozen until after it was thawed. An init that was
 * sent the message and frozen before it read it would count the time of the freeze, so its answer
 * is awaited. One that does not answer harms its own commands only. */
static void pause_and_freeze(struct verb *verb)
{
    struct seat *seat = verb->seat;
    struct work *work = &verb->call.work;
    uint64_t number = seat->pauses + 1;
    int r = agent_client_pause(seat->agent, true);
    if (r == 0)
        r = agent_client_ping(seat->agent, number);
    if (r == -EAGAIN) {
        work_again(work, verb_effect);
        return;
    }
    if (r < 0) {
        ask_freeze_or_thaw(work);
        return;
    }
    seat->pauses = seat->pause_asked = number;
    work_later(work, PAUSED_MS, ask_freeze_or_thaw);
}

static void freeze_or_thaw(struct verb *verb)
{
    if (verb->ticket.effect == SESSION_EFFECT_FREEZE && verb->seat->agent)
        pause_and_freeze(verb);
    else
        ask_freeze_or_thaw(&verb->call.work);
}

/* ---- interrupt ------------------------------------------------------------------------------- */

static void interrupt(struct verb *verb)
{
    struct seat *seat = verb->seat;
    struct work *work = &verb->call.work;
    /* No command was ever accepted: there is nothing to end, and init has no answer for number 0.
     */
    if (verb->ticket.floor == 0 && seat->files_running == 0) {
        verb_succeed(verb, SESSION_EVENT_INTERRUPTED);
        return;
    }
    execs_interrupt(seat, verb->ticket.floor);
    /* 1 is below every number that there is, and ends file workers as any floor does. */
    uint64_t floor = verb->ticket.floor == 0 ? 1 : number_of_order(verb->ticket.floor);
    int r = seat->agent ? agent_client_interrupt(seat->agent, floor) : -EPIPE;
    if (r == -EAGAIN) {
        work_again(work, verb_effect);
        return;
    }
    /* Commands below the floor may never have been sent: what comes next stands above it. */
    if (r == 0 && seat->last_number < floor && floor > 1) {
        seat->last_number = floor;
        seat->files_count = 0;
    }
    /* Where init cannot be reached its end is told soon, and ends this too. */
    work->next = seat->interrupts;
    seat->interrupts = work;
    if (r < 0)
        session_rescue(work->p, seat->row);
}

static void interrupts_take(struct seat *seat, uint64_t floor)
{
    struct work **at = &seat->interrupts;
    while (*at) {
        struct work *work = *at;
        struct verb *verb = (struct verb *)work;
        if (number_of_order(verb->ticket.floor) > floor) {
            at = &work->next;
            continue;
        }
        *at = work->next;
        verb_succeed(verb, SESSION_EVENT_INTERRUPTED);
    }
}

void verb_interrupted(struct seat *seat, uint64_t floor)
{
    interrupts_take(seat, floor);
}

void interrupts_over(struct seat *seat)
{
    interrupts_take(seat, UINT64_MAX);
}

/* ---- all of them ----------------------------------------------------------------------------- */

void verb_effect(struct work *work)
{
    struct verb *verb = (struct verb *)work;
    struct err err = {0};
    if (point(verb->ticket.effect, "before", &err) < 0) {
        work_again(work, verb_effect);
        return;
    }
    switch (verb->ticket.effect) {
    /* Whoever writes beneath a session that does not run has ended before it runs. */
    case SESSION_EFFECT_LAUNCH:
        files_cancel(work->p, verb->ticket.session);
        launch(verb);
        break;
    case SESSION_EFFECT_STOP:
    case SESSION_EFFECT_SEAL:
        files_cancel(work->p, verb->ticket.session);
        end_it(verb, stopped);
        break;
    case SESSION_EFFECT_TEARDOWN:
        files_cancel(work->p, verb->ticket.session);
        end_it(verb, torn_down);
        break;
    case SESSION_EFFECT_FREEZE:
    case SESSION_EFFECT_THAW:
        files_cancel(work->p, verb->ticket.session);
        freeze_or_thaw(verb);
        break;
    case SESSION_EFFECT_KILL_EXECS:
        interrupt(verb);
        break;
    case SESSION_EFFECT_NETWORK:
        network_effect(verb);
        break;
    case SESSION_EFFECT_NONE:
    case SESSION_EFFECT_RELEASE:
    case SESSION_EFFECT_START:
    case SESSION_EFFECT_FILES:
    case SESSION_EFFECT_COUNT: /* no verb has these: recovery does not get here either */
        err_set(&verb->failure, ERR_INTERNAL, 0, session_event_name(verb->event), NULL,
                "It has an effect that nobody carries out. This is a defect of berth.");
        verb->failed = true;
        verb_give_up(verb);
        break;
    }
}

void verb_settled(struct verb *verb)
{
    struct seat *seat = verb->seat;
    struct work *work = &verb->call.work;
    if (verb->outcome == SESSION_EVENT_PARKED_NOW || verb->outcome == SESSION_EVENT_ARCHIVED_NOW ||
        verb->outcome == SESSION_EVENT_DEAD) {
        seat_execs_over(seat);
        interrupts_over(seat);
    }
    if (verb->outcome == SESSION_EVENT_FROZEN_NOW || verb->outcome == SESSION_EVENT_RESUMED)
        seat->frozen = verb->outcome == SESSION_EVENT_FROZEN_NOW;
    if (seat->frozen) /* init ended them; what was frozen on its way is not waited for */
        files_over(seat);
    if (verb->outcome != SESSION_EVENT_GONE)
        verb_tell(verb);
    if (verb->outcome == SESSION_EVENT_DEAD) {
        work->tries = 0;
        remove_spool(work);
        return;
    }
    verb_end(verb);
}
