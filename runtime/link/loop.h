/* This file is the event loop of berth's unprivileged processes: descriptors, timers, and a wake-up
 * for other threads; it never knows what they are for. It stands on libuv, which only loop.c meets;
 * docs/adr/0011 says why that one.
 *
 * One thread owns a loop and everything that was made with it; only loop_wake_send() may be called
 * from elsewhere. Functions are called with `owner` when something happened. Any of them may free
 * any watch or timer, its own too.
 * Unprivileged.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_watch;
struct loop_timer;
struct loop_wake;

int loop_new(struct loop **ret, struct err *err);
void loop_free(struct loop *loop); /* when nothing made with it is left; NULL is allowed */
void loop_freep(struct loop **loop);

int loop_run(struct loop *loop, struct err *err); /* until loop_stop() */
void loop_stop(struct loop *loop);
void loop_step(struct loop *loop, bool wait); /* one round */

/* Called before each time the loop waits. At most one. */
void loop_before_wait(struct loop *loop, void (*function)(void *owner), void *owner);

/* Descriptors. The events are level-triggered: they come again until what they tell of is gone or
 * no longer asked for. LOOP_CLOSED: the peer will write no more, or there was an error; LOOP_BROKEN
 * (asked for where CLOSED is known already): both directions have ended. The descriptor stays the
 * caller's and outlives its watch. */
enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_CLOSED = 4, LOOP_BROKEN = 8 };
int loop_watch_new(struct loop *loop, int fd, void (*function)(void *owner, unsigned events),
                   void *owner, struct loop_watch **ret, struct err *err);
int loop_watch_set(struct loop_watch *watch, unsigned events); /* 0: none. 0 or -errno */
void loop_watch_free(struct loop_watch *watch);

/* A timer rings once for each loop_timer_set(). */
int loop_timer_new(struct loop *loop, void (*function)(void *owner), void *owner,
                   struct loop_timer **ret, struct err *err);
void loop_timer_set(struct loop_timer *timer, uint64_t in_ms);
void loop_timer_clear(struct loop_timer *timer);
void loop_timer_free(struct loop_timer *timer);

/* Several sends may come as one call. */
int loop_wake_new(struct loop *loop, void (*function)(void *owner), void *owner,
                  struct loop_wake **ret, struct err *err);
void loop_wake_send(struct loop_wake *wake); /* from any thread */
void loop_wake_free(struct loop_wake *wake);

uint64_t loop_now_ms(const struct loop *loop); /* monotonic, as of this round */
