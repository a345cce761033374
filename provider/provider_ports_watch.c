/* This file tells a session's events that a published port of it was lost, and that it was had
 * again. It never remembers what is open: it asks, as provider_ports.c does, and never tries to
 * have a port: the launcher does (runtime/host/launcher_network.c).
 *
 * Listeners are the gateway's, and end with it alone. So every session that publishes is looked at
 * when there is a new gateway and when this process is new, and those with a port that is closed
 * again and again, up to once a minute, until none is. A port that is closed once is no news: the
 * launcher may be about to open it. What was told is known here alone, so the next front tells a
 * port that is lost still once more.
 */
#include "provider/document.h"
#include "provider/provider_internal.h"
#include "provider/spec_store.h"

#include <errno.h>
#include <stdlib.h>

enum {
    FIRST_MS = 300,
    PAUSE_MOST_MS = 60000,
    LOOKS_AT_ONCE = 8,
    LOST_AFTER = 2,        /* looks that found it somebody else's */
    UNAVAILABLE_AFTER = 5, /* that found it nobody's: 300 ms, and 0.6, 1.2, 2.4 s later */
};

struct ports_watch {
    struct work work; /* first */
    unsigned bucket, under_way;
    uint64_t pause_ms;
    bool round, all, all_next;
};

struct look {
    struct work work; /* first */
    int64_t row, incarnation;
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE];
    bool publishes;
    struct launcher_published found;
    uint32_t lost, restored; /* ports to be told */
};

/* ---- events ---------------------------------------------------------------------------------- */

static int add_event(struct ledger_tx *tx, const struct look *look, unsigned i, bool lost,
                     struct err *err)
{
    _cleanup_buf_ struct buf data = {0};
    document_port_event(&data, &look->found, i, lost);
    if (buf_failed(&data))
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "tell an event", NULL, NULL);
    return ledger_event_add(tx, look->row, lost ? "network.port_lost" : "network.port_restored",
                            buf_text(&data), now_ms(), NULL, err);
}

static int tell_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct look *look = (const struct look *)work;
    struct session_row row;
    int r = ledger_session_get(tx, look->row, &row, err);
    /* Nothing comes behind session.deleted, and nothing of an older start. */
    if (r != 0 || row.incarnation != look->incarnation || session_is_over(row.state))
        return r < 0 ? r : 0;
    for (unsigned i = 0; r == 0 && i < look->found.count && i < SPEC_PUBLISH_MAX; i++)
        if ((look->lost | look->restored) & UINT32_C(1) << i)
            r = add_event(tx, look, i, look->lost & UINT32_C(1) << i, err);
    return r;
}

static void free_look(struct work *work)
{
    work_end(work);
    free(work);
}

static void tell(struct work *work);

static void told(struct work *work)
{
    struct look *look = (struct look *)work;
    if (work->job.result < 0 && !work->p->closing) {
        work_again(work, tell);
        return;
    }
    provider_committed(work->p, look->workspace_id, look->session_id);
    free_look(work);
}

static void tell(struct work *work)
{
    work_job(work, LEDGER_OP_EVENT_ADD, tell_apply, told);
}

/* ---- what has changed ------------------------------------------------------------------------ */

static unsigned place_of(const struct seat_ports *ports, uint16_t host_port)
{
    unsigned i = 0;
    while (i < ports->lost_count && ports->lost[i] != host_port)
        i++;
    return i;
}

/* Those that were told and are published no more: by other rules, which is no news. */
static void forget_unpublished(struct seat_ports *ports, const struct launcher_published *found)
{
    for (unsigned i = ports->lost_count; i-- > 0;) {
        bool published = false;
        for (unsigned k = 0; k < found->count; k++)
            published |= found->ports[k].host_port == ports->lost[i];
        if (!published)
            ports->lost[i] = ports->lost[--ports->lost_count];
    }
}

void ports_compare(struct seat_ports *ports, const struct launcher_published *found,
                   uint32_t *ret_lost, uint32_t *ret_restored)
{
    *ret_lost = *ret_restored = 0;
    bool closed = false;
    forget_unpublished(ports, found);
    for (unsigned i = 0; i < found->count; i++) {
        const uint32_t bit = UINT32_C(1) << i;
        unsigned at = place_of(ports, found->ports[i].host_port);
        bool was_told = at < ports->lost_count;
        if (found->open & bit) {
            if (was_told) {
                ports->lost[at] = ports->lost[--ports->lost_count];
                *ret_restored |= bit;
            }
            continue;
        }
        closed = true;
        unsigned after = (found->taken | found->barred) & bit ? LOST_AFTER : UNAVAILABLE_AFTER;
        if (!was_told && ports->looks + 1 >= after && ports->lost_count < SPEC_PUBLISH_MAX) {
            ports->lost[ports->lost_count++] = found->ports[i].host_port;
            *ret_lost |= bit;
        }
    }
    ports->looks = closed ? ports->looks + 1 : 0;
}

/* ---- one session ----------------------------------------------------------------------------- */

static void go_on(struct ports_watch *watch);

/* Of this start of it; NULL: it does not live any more. */
static struct seat *seat_of(const struct look *look)
{
    struct seat *seat = seat_find(look->work.p, look->row);
    if (!seat || !seat->agent || seat->ending || seat->incarnation != look->incarnation)
        return NULL;
    if (seat->ports.incarnation != seat->incarnation)
        seat->ports = (struct seat_ports){.incarnation = seat->incarnation};
    return seat;
}

/* It is looked at no more in this round; what is to be told of it may be told behind that. */
static void looked(struct look *look, const struct launcher_published *found)
{
    struct provider *p = look->work.p;
    struct ports_watch *watch = p->ports;
    struct seat *seat = seat_of(look);
    if (seat && found) {
        look->found = *found;
        ports_compare(&seat->ports, found, &look->lost, &look->restored);
    } else if (seat) {
        seat->ports.looks++; /* nobody said: it is asked again */
    }
    if (look->lost | look->restored)
        tell(&look->work);
    else
        free_look(&look->work);
    watch->under_way--;
    go_on(watch);
}

static void on_ports(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct err why;
    bool known = launcher_result(reply, err, &why) == 0;
    looked(data, known ? &reply->network.published : NULL);
}

static int publishes_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    _cleanup_buf_ struct buf blob = {0};
    struct look *look = (struct look *)work;
    struct spec *spec = &work->p->ledger_scratch;
    int r = ledger_session_spec(tx, look->row, &blob, err);
    if (r == 0)
        r = spec_store_read(buf_text(&blob), blob.length, spec, err);
    look->publishes = r == 0 && spec->network.publish_count > 0;
    return r < 0 ? r : 0;
}

static void ask(struct work *work)
{
    static const struct launcher_published none;
    struct look *look = (struct look *)work;
    struct err err = {0};
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_PORTS, look->row, look->incarnation);
    if (work->job.result == 0 && !look->publishes)
        looked(look, &none);
    else if (work->job.result < 0 || work->p->closing || !seat_of(look) ||
             provider_ask(work->p, &request, NULL, 0, on_ports, look, &err) < 0)
        looked(look, NULL);
}

static void look_at(struct ports_watch *watch, const struct seat *seat)
{
    struct look *look = calloc(1, sizeof *look);
    if (!look)
        return; /* at the next gateway, or not */
    look->row = seat->row;
    look->incarnation = seat->incarnation;
    memcpy(look->workspace_id, seat->workspace_id, sizeof look->workspace_id);
    memcpy(look->session_id, seat->session_id, sizeof look->session_id);
    work_begin(&look->work, seat->p, free_look);
    watch->under_way++;
    work_job(&look->work, LEDGER_OP_READ, publishes_apply, ask);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static void begin_round(struct work *work)
{
    struct ports_watch *watch = (struct ports_watch *)work;
    watch->all = watch->all_next;
    watch->all_next = false;
    watch->round = true;
    watch->bucket = 0;
    go_on(watch);
}

static bool any_closed(const struct provider *p)
{
    for (unsigned i = 0; i < SEAT_HASH; i++)
        for (const struct seat *seat = p->seats[i]; seat; seat = seat->next)
            if (seat->agent && seat->ports.looks > 0 &&
                seat->ports.incarnation == seat->incarnation)
                return true;
    return false;
}

static void go_on(struct ports_watch *watch)
{
    struct provider *p = watch->work.p;
    if (p->closing)
        return;
    while (watch->round && watch->bucket < SEAT_HASH && watch->under_way < LOOKS_AT_ONCE)
        for (struct seat *seat = p->seats[watch->bucket++]; seat; seat = seat->next)
            if (seat->agent && !seat->ending && (watch->all || seat->ports.looks > 0))
                look_at(watch, seat);
    if (!watch->round || watch->bucket < SEAT_HASH || watch->under_way > 0)
        return;
    watch->round = false;
    if (!watch->all_next && !any_closed(p))
        return;
    watch->pause_ms = watch->all_next ? FIRST_MS : watch->pause_ms * 2;
    if (watch->pause_ms > PAUSE_MOST_MS)
        watch->pause_ms = PAUSE_MOST_MS;
    work_later(&watch->work, watch->pause_ms, begin_round);
}

void ports_look(struct provider *p)
{
    struct ports_watch *watch = p->ports;
    if (p->recovering || p->closing)
        return;
    watch->all_next = true;
    watch->pause_ms = FIRST_MS;
    if (!watch->round)
        work_later(&watch->work, FIRST_MS, begin_round);
}

static void free_watch(struct work *work)
{
    work->p->ports = NULL;
    work_end(work);
    free(work);
}

int ports_open(struct provider *p, struct err *err)
{
    p->ports = calloc(1, sizeof *p->ports);
    if (!p->ports)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "watch ports", NULL, NULL);
    work_begin(&p->ports->work, p, free_watch);
    work_rest(&p->ports->work, true); /* it holds up no end */
    return 0;
}
