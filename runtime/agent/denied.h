/* This file is what init does with calls that filters of commands refuse, in sessions that explain
 * them (docs/adr/0014-explain-syscalls.md): it answers each with the errno of the filter, counts
 * it, and tells totals. Used by init only.
 */
#pragma once

#include "runtime/agent/init.h"

#include <sys/types.h>

/* The filter that commands load, when the session explains. A step of setup. */
struct err;
int denied_setup(struct init *init, struct err *err);

/* The next byte of what the child says of its start (row->error is a socket here), like read(2). A
 * CHILD_LISTENER comes with the listener, which is row->listener and waited for then. */
ssize_t denied_read_start(struct init *init, struct row *row, char *ret_kind);

/* Something happened at row->listener. */
void denied_take(struct init *init, struct row *row, uint32_t events);

/* Nobody is left whom the listener could hear; what still asks gets ENOSYS. */
void denied_close(struct init *init, struct row *row);

/* Tell what has doubled since it was told, now and then; denied_next_ns() says when, 0 for never.
 */
void denied_tell(struct init *init, struct row *row, uint64_t now);
uint64_t denied_next_ns(const struct init *init, const struct row *row);

/* Tell all that was not told yet. False when there is no room for it now. */
bool denied_tell_all(struct init *init, struct row *row);

/* A new reader knows nothing of what was told before. */
void denied_tell_again(struct init *init);
