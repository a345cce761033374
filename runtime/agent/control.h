/* This file obeys the controller: messages from the control socket. Used by init only. */
#pragma once

#include "runtime/agent/init.h"

/* Take what is there, a bounded number of messages. Sets init->shutdown, and clears
 * init->control_open at end of file. */
void control_read(struct init *init);

/* Whether the socket may be read now: no table is being sent, and an answer would have room. */
bool control_ready(const struct init *init);

/* Queue as much of a requested table as there is room for. */
void control_send_table(struct init *init);

/* One message as received, with its descriptors, which are taken over. */
void control_message(struct init *init, const struct agent_message *message, size_t length,
                     int *fds, unsigned count, bool truncated);
