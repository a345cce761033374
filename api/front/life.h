/* This file is front's life after it has no rights any more: it serves, tells the supervisor, takes
 * a new launcher, and stops in order when the supervisor says so or is gone. It never starts a
 * process and never ends by itself while a client or a verb is under way.
 *
 *     'R'   to the supervisor: rows and kernel agree, clients are served
 *     'I'   on demand only: no session is live and no client was there for ten seconds
 *     'L'   from it, with a descriptor: a new launcher
 *     end   of its socket: drain, close the ledger, end; sessions go on
 */
#pragma once

#include "api/front/start.h"

/* `supervisor`, `launcher` and `listener` are taken. 0 when it stopped in order; -errno. */
int front_live(struct front_start *start, int supervisor, int launcher, int listener,
               struct err *err);
