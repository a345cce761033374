/* This file is the event loop, on libuv; it never knows what its descriptors and timers are for.
 *
 * libuv closes what it handles in a later round: each object here is freed in the callback of its
 * close, and is dead for its owner at once.
 */
#include "runtime/link/loop.h"

#include <errno.h>
#include <stdlib.h>
#include <uv.h>

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    void (*before_wait)(void *owner);
    void *before_wait_owner;
};

struct loop_watch {
    uv_poll_t uv; /* first: what libuv hands to the close callback is also this */
    void (*function)(void *owner, unsigned events);
    void *owner;
    unsigned events;
};

struct loop_timer {
    uv_timer_t uv;
    void (*function)(void *owner);
    void *owner;
};

struct loop_wake {
    uv_async_t uv;
    void (*function)(void *owner);
    void *owner;
};

static void free_handle(uv_handle_t *handle)
{
    free(handle->data);
}

static int failed(struct err *err, int code, const char *what)
{
    return err_set(err, ERR_INTERNAL, -code, what, NULL, NULL);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void on_prepare(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    if (loop->before_wait)
        loop->before_wait(loop->before_wait_owner);
}

int loop_new(struct loop **ret, struct err *err)
{
    struct loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return failed(err, -ENOMEM, "make the event loop");
    int r = uv_loop_init(&loop->uv);
    if (r < 0) {
        free(loop);
        return failed(err, r, "make the event loop");
    }
    uv_prepare_init(&loop->uv, &loop->prepare);
    loop->prepare.data = loop;
    uv_prepare_start(&loop->prepare, on_prepare);
    *ret = loop;
    return 0;
}

void loop_free(struct loop *loop)
{
    if (!loop)
        return;
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    /* Rounds in which closed handles are freed. What somebody still owns keeps the loop's memory:
     * a leak is a lesser evil than its use after it was freed. */
    int r = uv_loop_close(&loop->uv);
    for (int i = 0; i < 8 && r == UV_EBUSY; i++) {
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        r = uv_loop_close(&loop->uv);
    }
    if (r == 0)
        free(loop);
}

void loop_freep(struct loop **loop)
{
    loop_free(*loop);
    *loop = NULL;
}

int loop_run(struct loop *loop, struct err *err)
{
    int r = uv_run(&loop->uv, UV_RUN_DEFAULT);
    return r < 0 ? failed(err, r, "run the event loop") : 0;
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

void loop_step(struct loop *loop, bool wait)
{
    uv_run(&loop->uv, wait ? UV_RUN_ONCE : UV_RUN_NOWAIT);
}

void loop_before_wait(struct loop *loop, void (*function)(void *owner), void *owner)
{
    loop->before_wait = function;
    loop->before_wait_owner = owner;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return uv_now(&loop->uv);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

/* A hang-up alone is handed out as whatever was asked for; asking for POLLPRI, which neither unix
 * sockets nor pipes have, is asking for the hang-up alone. */
static const struct {
    unsigned ours;
    int uv;
} event_map[] = {
    {LOOP_READ, UV_READABLE},
    {LOOP_WRITE, UV_WRITABLE},
    {LOOP_CLOSED, UV_DISCONNECT},
    {LOOP_BROKEN, UV_PRIORITIZED},
};

static void on_poll(uv_poll_t *uv, int status, int happened)
{
    struct loop_watch *watch = (struct loop_watch *)uv;
    unsigned events = 0;
    for (unsigned i = 0; i < sizeof event_map / sizeof event_map[0]; i++)
        if (happened & event_map[i].uv)
            events |= event_map[i].ours;
    /* libuv stops watching after an error; its owner must look at the descriptor. */
    if (status < 0) {
        watch->events = 0;
        events = LOOP_READ | LOOP_WRITE | LOOP_CLOSED | LOOP_BROKEN;
    }
    watch->function(watch->owner, events);
}

int loop_watch_new(struct loop *loop, int fd, void (*function)(void *owner, unsigned events),
                   void *owner, struct loop_watch **ret, struct err *err)
{
    struct loop_watch *watch = calloc(1, sizeof *watch);
    if (!watch)
        return failed(err, -ENOMEM, "watch a descriptor");
    int r = uv_poll_init(&loop->uv, &watch->uv, fd);
    if (r < 0) {
        free(watch);
        return failed(err, r, "watch a descriptor");
    }
    watch->uv.data = watch;
    watch->function = function;
    watch->owner = owner;
    *ret = watch;
    return 0;
}

int loop_watch_set(struct loop_watch *watch, unsigned events)
{
    int wanted = 0;
    if (events == watch->events)
        return 0;
    for (unsigned i = 0; i < sizeof event_map / sizeof event_map[0]; i++)
        if (events & event_map[i].ours)
            wanted |= event_map[i].uv;
    int r = wanted ? uv_poll_start(&watch->uv, wanted, on_poll) : uv_poll_stop(&watch->uv);
    if (r == 0)
        watch->events = events;
    return r;
}

void loop_watch_free(struct loop_watch *watch)
{
    if (watch)
        uv_close((uv_handle_t *)&watch->uv, free_handle);
}

/* ---- timers and wake-ups --------------------------------------------------------------------- */

static void on_timer(uv_timer_t *uv)
{
    struct loop_timer *timer = uv->data;
    timer->function(timer->owner);
}

int loop_timer_new(struct loop *loop, void (*function)(void *owner), void *owner,
                   struct loop_timer **ret, struct err *err)
{
    struct loop_timer *timer = calloc(1, sizeof *timer);
    if (!timer)
        return failed(err, -ENOMEM, "make a timer");
    uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    timer->function = function;
    timer->owner = owner;
    *ret = timer;
    return 0;
}

void loop_timer_set(struct loop_timer *timer, uint64_t in_ms)
{
    uv_timer_start(&timer->uv, on_timer, in_ms, 0);
}

void loop_timer_clear(struct loop_timer *timer)
{
    uv_timer_stop(&timer->uv);
}

void loop_timer_free(struct loop_timer *timer)
{
    if (timer)
        uv_close((uv_handle_t *)&timer->uv, free_handle);
}

static void on_wake(uv_async_t *uv)
{
    struct loop_wake *wake = uv->data;
    wake->function(wake->owner);
}

int loop_wake_new(struct loop *loop, void (*function)(void *owner), void *owner,
                  struct loop_wake **ret, struct err *err)
{
    struct loop_wake *wake = calloc(1, sizeof *wake);
    if (!wake)
        return failed(err, -ENOMEM, "make a wake-up");
    int r = uv_async_init(&loop->uv, &wake->uv, on_wake);
    if (r < 0) {
        free(wake);
        return failed(err, r, "make a wake-up");
    }
    wake->uv.data = wake;
    wake->function = function;
    wake->owner = owner;
    *ret = wake;
    return 0;
}

void loop_wake_send(struct loop_wake *wake)
{
    uv_async_send(&wake->uv);
}

void loop_wake_free(struct loop_wake *wake)
{
    if (wake)
        uv_close((uv_handle_t *)&wake->uv, free_handle);
}
