/* This file is what init knows of file workers, which may not stay for ever (FS-2). */
#pragma once

#include "runtime/agent/init.h"

/* False: it has not moved for its idle time. */
bool worker_moved(struct row *row, uint64_t now);

/* It was killed a while ago and has not gone: its EXIT is queued, if there is room. */
void worker_abandon(struct init *init, struct row *row);
