/* This file is what the files of the namespace's worker share: steps in the network namespace that
 * this process is in; none of them changes it or makes a session's. PRIVILEGED: as network.h.
 *
 * They run in the worker, which shares the caller's memory: they allocate nothing and keep nothing.
 */
#pragma once

#include "runtime/host/network.h"

#include <stddef.h>

/* Programs of a session may listen on ports from here on; those below it, the resolver's and the
 * gateway's listener among them, are nobody's inside, whatever capabilities he gets. */
enum { NETWORK_PORTS_FIRST = SPEC_PORT_FIRST };

/* lo up, the session's source addresses, the routes that make every address local; what is there
 * already stays. */
int network_link_make(struct err *err);

/* A socket for rules. They are those of the namespace in which it was made, wherever it is used. */
int network_rules_open(int *ret, struct err *err);
/* Send the batches of network_encode() on it, each when the one before has ended, and wait for the
 * end. On failure *ret_sequence is that of the message that the kernel refused, 0 when there is
 * none. */
int network_batch_send(int rules, const void *batches, size_t length, uint32_t *ret_sequence,
                       struct err *err);

/* Which half of the sets is in force (network_half_of()). `question`: network_encode_question(). */
int network_half_read(const struct buf *question, unsigned *ret, struct err *err);

int network_counters_read(uint64_t ret[NETWORK_COUNTER_COUNT], struct err *err);

/* A socket that gets what the ruleset logs. */
int network_log_open(int *ret, struct err *err);
