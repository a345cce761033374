/* This file starts commands: it takes AGENT_EXEC messages and either a command runs (STARTED), or
 * nothing of it is left (START_FAILED). Used by init only.
 */
#pragma once

#include "runtime/agent/init.h"

/* Handle one AGENT_EXEC, whose number is not 0; takes over all `count` descriptors at `fds`. */
void exec_request(struct init *init, const struct agent_message *message, int *fds, unsigned count);

/* The pipe of a starting command is readable or closed: the row becomes RUNNING or FAILING, or
 * stays when nothing is known yet. */
void exec_check_start(struct init *init, struct row *row);

/* A FAILING row whose tree is gone: queue START_FAILED and end it, or let it be FINISHING when it
 * was killed before it could say what failed. False when there is no room. */
bool exec_report_failure(struct init *init, struct row *row);

/* START_FAILED of berth's own doing, for an exec that has no row. */
void exec_refuse(struct init *init, uint64_t number, int sys, const char *step,
                 const char *subject);
