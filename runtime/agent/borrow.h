/* This file lends init the file-system ids of a command's user, for the moment in which it makes
 * something that is to belong to that user: a pipe (else `echo >/dev/stdout`, which opens it anew,
 * is EACCES) or a terminal. init may not chown. Used by init only.
 */
#pragma once

#include "runtime/agent/init.h"

void borrow_ids(const struct init *init, const struct agent_exec *exec);

/* Always after borrow_ids(). Keeps errno. */
void borrow_end(const struct init *init);
