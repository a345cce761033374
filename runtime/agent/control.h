/* This file obeys the controller: messages from the control socket. Used by init only. */
#pragma once

#include "runtime/agent/init.h"

struct control_received {
    struct agent_message message;
    size_t length; /* as it was sent */
    bool truncated;
    unsigned count; /* descriptors: all of them, or none */
    int fds[AGENT_FDS_MAX];
};

/* One message of a connection, with its descriptors, which are the caller's. */
enum { CONTROL_NONE = 1, CONTROL_ENDED = 2 };
int control_receive(int socket, struct control_received *ret);
void control_drop_fds(struct control_received *received);

/* Take what is there, a bounded number of messages. Sets init->shutdown, and init->control_ended at
 * end of file. */
void control_read(struct init *init);

/* Queue the answer to HELLO; the table follows as there is room. */
void control_hello(struct init *init);

/* Answer interrupts whose execs have ended. */
void control_answer_interrupts(struct init *init);

/* Whether the socket may be read now: no table is being sent, and an answer would have room. */
bool control_ready(const struct init *init);

/* Queue as much of a requested table as there is room for. */
void control_send_table(struct init *init);

/* One message as received, with its descriptors, which are taken over. */
void control_message(struct init *init, const struct agent_message *message, size_t length,
                     int *fds, unsigned count, bool truncated);
