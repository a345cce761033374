/* This file keeps network namespaces ready for the sessions that the launcher of `berth serve` is
 * going to start; it never gives one out twice, and none that a session has seen comes back.
 * PRIVILEGED: the launcher's.
 *
 * There are two kinds. A plain one is what the stage would make: its only interface is up. A filled
 * one is for a session with rules (network.h): it has the ruleset without what differs from session
 * to session, so it refuses everything, and its sockets, which nobody serves yet. A session that
 * reaches nothing gets a plain one, so that it costs what it does and sees what it sees without a
 * pool. Filled ones are made where a gateway serves.
 *
 * A ready namespace is descriptors and nothing else: no process, no mount, no name. So whoever is
 * killed, the launcher, the child that makes them, a worker that has one, leaves nothing: the
 * kernel ends the namespace with its last descriptor. Each belongs to the launcher's user
 * namespace, as one that the stage makes does.
 *
 * Nothing relies on it. Where the pool is empty, whoever starts the session makes its namespace.
 */
#pragma once

#include "runtime/host/network.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    NETNS_POOL_SIZE = 8, /* plain ones that are ready at most; each is some 100 KiB of the kernel */
    NETNS_POOL_LOW = 4,  /* so few are there when the next ones are made */
    NETNS_POOL_FILLED = 4, /* and filled ones, each of some 600 KiB and ten descriptors */
    NETNS_POOL_FILLED_LOW = 2,
    NETNS_POOL_PATIENCE_MS = 5000, /* what the making child may take */
    NETNS_POOL_PAUSE_MS = 60000,   /* of a kind, after a child that made none of it */
};

struct netns_pool {
    struct network_ready plain[NETNS_POOL_SIZE], filled[NETNS_POOL_FILLED];
    unsigned count, filled_count;
    pid_t child; /* the last one */
    int from;    /* where new ones come from while it lives; -1 */
    /* of plain ones, and of filled ones: what fails for one kind delays that kind alone */
    bool gained[2]; /* it has made one */
    uint64_t not_before_ms[2];
};

void netns_pool_init(struct netns_pool *pool);

/* Is it time to make some, `filled` ones too? False while a child is at it. */
bool netns_pool_wants(const struct netns_pool *pool, bool filled, uint64_t now_ms);

/* Start a child that makes what is missing of each kind that is not in its pause, and is waited for
 * by the caller as any child. Then `from` becomes readable. 0 or -errno. */
int netns_pool_fill(struct netns_pool *pool, bool filled, uint64_t now_ms);

/* When `from` is readable. True while more may come; else the caller closes `from`. */
bool netns_pool_receive(struct netns_pool *pool, uint64_t now_ms);

/* One that nobody has used, which is the caller's now; a plain one where no filled one is there.
 * False: none is ready, and *ret is none. */
bool netns_pool_take(struct netns_pool *pool, bool filled, struct network_ready *ret);

/* Closes all. In a fork, too, whose copies would keep what others use. */
void netns_pool_fini(struct netns_pool *pool);
