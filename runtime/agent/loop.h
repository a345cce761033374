/* This file is init's loop: messages in, frames out, children reaped, timers. Used by init only. */
#pragma once

#include "runtime/agent/init.h"
#include "runtime/base/err.h"

void loop_send_ready(struct init *init);

/* Send FAILED, waiting for the pipe: nothing else will be sent. `fd` may still be blocking. */
void loop_send_failed(int fd, const struct err *err);

/* Until the session is to end: everything inside is dead when it returns. */
void loop_run(struct init *init);
