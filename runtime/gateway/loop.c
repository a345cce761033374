/* This file waits for descriptors and deadlines and says who is next; it never reads or writes one.
 */
#include "runtime/gateway/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

enum {
    ROUND = 256,           /* descriptors of one round */
    TICK_MS = 5,           /* deadlines are looked at no oftener, however much there is to do */
    DIALLING_TICK_MS = 20, /* how exact the delays of a dial are */
    IDLE_TICK_MS = 1000,
};

uint64_t clock_ms(int clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int watch_add(struct gateway *g, struct watch *watch, int fd, uint32_t events,
              void (*happened)(struct gateway *g, struct watch *watch, uint32_t events))
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
        return -errno;
    watch->happened = happened;
    watch->fd = fd;
    watch->added = true;
    return 0;
}

int watch_change(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    return epoll_ctl(g->epoll, EPOLL_CTL_MOD, watch->fd, &event) < 0 ? -errno : 0;
}

/* Somebody else may hold the same open file, so that closing alone would not end the watch. */
void watch_close(struct gateway *g, struct watch *watch)
{
    if (!watch->added)
        return;
    (void)epoll_ctl(g->epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    fd_close(watch->fd);
    watch->fd = -1;
    watch->added = false;
    watch->happened = NULL;
}

void bury(struct gateway *g, void *memory)
{
    struct grave *grave = memory;
    grave->next = g->graves;
    g->graves = grave;
}

static void free_graves(struct gateway *g)
{
    while (g->graves) {
        struct grave *grave = g->graves;
        g->graves = grave->next;
        free(grave);
    }
}

static int sooner(int one, int other)
{
    return one < 0 ? other : other < 0 || one < other ? one : other;
}

/* What is due, and how long there is time until the next is. */
static int tick(struct gateway *g)
{
    int wait = resolver_tick(g);
    dial_tick(g);
    relay_tick(g);
    wait = sooner(wait, questions_tick(g));
    if (g->paused) {
        session_resume(g);
        wait = sooner(wait, g->paused ? DIALLING_TICK_MS : -1);
    }
    wait = sooner(wait, events_run(g->events, g->now_ms, false));
    control_tick(g);
    if (!list_empty(&g->dialling))
        wait = sooner(wait, DIALLING_TICK_MS);
    if (!list_empty(&g->idle))
        wait = sooner(wait, IDLE_TICK_MS);
    return wait;
}

int gateway_run(struct gateway *g)
{
    struct epoll_event events[ROUND];
    uint64_t ticked_ms = 0;
    int wait = 0;
    while (!g->over) {
        int n = epoll_wait(g->epoll, events, ROUND, wait);
        if (n < 0 && errno != EINTR)
            return -errno;
        g->now_ms = clock_ms(CLOCK_MONOTONIC);
        for (int i = 0; i < n; i++) {
            struct watch *watch = events[i].data.ptr;
            /* Closed by another event of this round; its memory is there until the round ends. */
            if (watch->happened)
                watch->happened(g, watch, events[i].events);
        }
        relay_ready(g);
        free_graves(g);
        if (g->now_ms - ticked_ms >= TICK_MS) {
            wait = tick(g);
            ticked_ms = g->now_ms;
        } else {
            wait = TICK_MS;
        }
        if (!list_empty(&g->ready))
            wait = 0;
        free_graves(g);
    }
    return 0;
}
