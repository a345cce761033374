/* This file keeps what there is to tell until it is told; it never waits for its reader. */
#include "runtime/gateway/events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 4096, OWNERS = 1024 };

/* One place of the table. `told` and count 0: only here to hold repetitions back until `due_ms`. */
struct place {
    struct gateway_event event;
    uint64_t due_ms;
    uint16_t next_free, next_same;
    bool used;
};

/* Places are numbered from 1; 0 is none. */
struct events {
    int (*send)(void *owner, const struct gateway_event *event);
    void *owner;
    bool blocked;
    unsigned used;
    uint16_t free;
    uint16_t slots[SLOTS];
    uint16_t owners[OWNERS]; /* places by row; sessions that meet share a bound */
    struct place places[EVENTS_MAX + 1];
};

int events_new(struct events **ret, int (*send)(void *owner, const struct gateway_event *event),
               void *owner)
{
    struct events *events = calloc(1, sizeof *events);
    if (!events)
        return -ENOMEM;
    events->send = send;
    events->owner = owner;
    for (unsigned i = EVENTS_MAX; i > 0; i--) {
        events->places[i].next_free = events->free;
        events->free = (uint16_t)i;
    }
    *ret = events;
    return 0;
}

void events_free(struct events *events)
{
    free(events);
}

static uint32_t mix(uint32_t h, const void *data, size_t length)
{
    for (const uint8_t *at = data; length > 0; at++, length--)
        h = (h ^ *at) * 16777619u;
    return h;
}

static unsigned slot_of(const struct gateway_event *e)
{
    uint32_t h = mix(2166136261u, &e->row, sizeof e->row);
    h = mix(h, &e->port, sizeof e->port);
    h = mix(h, e->address.bytes, sizeof e->address.bytes);
    h = mix(h, &e->connection, sizeof e->connection);
    return mix(h, e->host, strlen(e->host)) & (SLOTS - 1);
}

static bool same(const struct gateway_event *a, const struct gateway_event *b)
{
    return a->kind == b->kind && a->row == b->row && a->incarnation == b->incarnation &&
           a->connection == b->connection && a->generation == b->generation &&
           a->protocol == b->protocol && a->port == b->port && a->reason == b->reason &&
           a->rule == b->rule && a->sys == b->sys && a->cgroup == b->cgroup &&
           address_equal(&a->address, &b->address) && strcmp(a->host, b->host) == 0;
}

static unsigned find(const struct events *events, const struct gateway_event *event)
{
    unsigned i = events->slots[slot_of(event)];
    while (i && !same(&events->places[i].event, event))
        i = events->places[i].next_same;
    return i;
}

static uint16_t *owned(struct events *events, const struct gateway_event *event)
{
    return &events->owners[(uint64_t)event->row % OWNERS];
}

static void drop_place(struct events *events, unsigned i)
{
    uint16_t *at = &events->slots[slot_of(&events->places[i].event)];
    while (*at != i)
        at = &events->places[*at].next_same;
    *at = events->places[i].next_same;
    events->places[i].used = false;
    events->places[i].next_free = events->free;
    events->free = (uint16_t)i;
    events->used--;
    (*owned(events, &events->places[i].event))--;
}

static unsigned take_place(struct events *events, const struct gateway_event *event)
{
    unsigned i = events->free;
    struct place *place = &events->places[i];
    uint16_t *slot = &events->slots[slot_of(event)];
    events->free = place->next_free;
    events->used++;
    (*owned(events, event))++;
    place->event = *event;
    place->used = true;
    place->next_same = *slot;
    *slot = (uint16_t)i;
    return i;
}

/* 0: told. -EAGAIN: stays. */
static int tell(struct events *events, struct place *place)
{
    if (events->blocked)
        return -EAGAIN;
    if (events->send(events->owner, &place->event) < 0) {
        events->blocked = true;
        return -EAGAIN;
    }
    place->event.count = 0;
    place->event.sent = place->event.received = 0;
    return 0;
}

static void merge(struct gateway_event *into, const struct gateway_event *event, uint64_t real_ms)
{
    if (into->count == 0)
        into->first_ms = real_ms;
    into->last_ms = real_ms;
    into->count += event->count;
    into->sent += event->sent;
    into->received += event->received;
}

/* The one place of each session that takes what has no other. */
static void count_dropped(struct events *events, const struct gateway_event *event, uint64_t now_ms,
                          uint64_t real_ms)
{
    struct gateway_event dropped = {.magic = GATEWAY_MAGIC,
                                    .version = GATEWAY_VERSION,
                                    .kind = GATEWAY_DROPPED,
                                    .row = event->row,
                                    .incarnation = event->incarnation,
                                    .rule = -1,
                                    .count = event->count};
    unsigned i = find(events, &dropped);
    if (!i && events->free) {
        i = take_place(events, &dropped);
        events->places[i].event.first_ms = events->places[i].event.last_ms = real_ms;
        events->places[i].due_ms = now_ms + EVENTS_HOLD_MS;
    } else if (i) {
        merge(&events->places[i].event, &dropped, real_ms);
    }
}

void events_add(struct events *events, const struct gateway_event *given, uint64_t now_ms,
                uint64_t real_ms)
{
    struct gateway_event event = *given;
    event.magic = GATEWAY_MAGIC;
    event.version = GATEWAY_VERSION;
    event.count = 1;
    event.first_ms = event.last_ms = real_ms;
    unsigned i = find(events, &event);
    if (i) {
        merge(&events->places[i].event, &event, real_ms);
        return;
    }
    if (events->used + 64 >= EVENTS_MAX || *owned(events, &event) >= EVENTS_OF_SESSION_MAX) {
        count_dropped(events, &event, now_ms, real_ms);
        return;
    }
    i = take_place(events, &event);
    struct place *place = &events->places[i];
    place->due_ms = now_ms;
    if (tell(events, place) < 0)
        return;
    /* Nothing comes after an event of one connection. */
    if (event.connection)
        drop_place(events, i);
    else
        place->due_ms = now_ms + EVENTS_HOLD_MS;
}

int events_run(struct events *events, uint64_t now_ms, bool everything)
{
    uint64_t next = UINT64_MAX;
    events->blocked = false;
    for (unsigned i = 1; i <= EVENTS_MAX && events->used > 0 && !events->blocked; i++) {
        struct place *place = &events->places[i];
        if (!place->used)
            continue;
        if (everything && place->event.count > 0 && place->due_ms > now_ms)
            place->due_ms = now_ms;
        if (place->due_ms > now_ms) {
            next = place->due_ms < next ? place->due_ms : next;
            continue;
        }
        if (place->event.count == 0 || (tell(events, place) == 0 && place->event.connection)) {
            drop_place(events, i);
        } else if (place->event.count == 0) {
            place->due_ms = now_ms + EVENTS_HOLD_MS;
            next = place->due_ms < next ? place->due_ms : next;
        }
    }
    return events->blocked || next == UINT64_MAX ? -1 : (int)(next - now_ms);
}

void events_hurry(struct events *events, int64_t row, int64_t incarnation, uint64_t now_ms)
{
    for (unsigned i = 1; i <= EVENTS_MAX && events->used > 0; i++) {
        struct place *place = &events->places[i];
        if (place->used && place->event.row == row && place->event.incarnation == incarnation &&
            place->due_ms > now_ms)
            place->due_ms = now_ms;
    }
    (void)events_run(events, now_ms, false);
}

bool events_waiting(const struct events *events)
{
    for (unsigned i = 1; i <= EVENTS_MAX && events->used > 0; i++)
        if (events->places[i].used && events->places[i].event.count > 0)
            return true;
    return false;
}
