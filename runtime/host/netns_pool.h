/* This file keeps network namespaces ready for the sessions that the launcher of `berth serve` is
 * going to start; it never gives one out twice, and none that a session has seen comes back.
 * PRIVILEGED: the launcher's.
 *
 * A ready namespace is one descriptor and nothing else: no process, no mount, no name. So whoever
 * is killed, the launcher, the child that makes them, a worker that has one, leaves nothing: the
 * kernel ends the namespace with its last descriptor. Each belongs to the launcher's user
 * namespace, as one that the stage makes does, and its only interface is up.
 *
 * Nothing relies on it. Where the pool is empty, the stage makes the namespace itself.
 */
#pragma once

#include "runtime/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    NETNS_POOL_SIZE = 8,           /* ready at most; each is about 100 KiB of kernel memory */
    NETNS_POOL_LOW = 4,            /* so few are there when the next ones are made */
    NETNS_POOL_PATIENCE_MS = 5000, /* what the making child may take */
    NETNS_POOL_PAUSE_MS = 60000,   /* after a child that made none */
};

struct netns_pool {
    int ready[NETNS_POOL_SIZE];
    unsigned count;
    pid_t child; /* the last one */
    int from;    /* where new ones come from while it lives; -1 */
    bool gained; /* it has made one */
    uint64_t not_before_ms;
};

void netns_pool_init(struct netns_pool *pool);

/* Is it time to make some? False while a child is at it. */
bool netns_pool_wants(const struct netns_pool *pool, uint64_t now_ms);

/* Start a child that makes what is missing, and is waited for by the caller as any child. Then
 * `from` becomes readable. 0 or -errno. */
int netns_pool_fill(struct netns_pool *pool, uint64_t now_ms);

/* When `from` is readable. True while more may come; else the caller closes `from`. */
bool netns_pool_receive(struct netns_pool *pool, uint64_t now_ms);

/* One that nobody has used, which is the caller's now; -1: none is ready. */
int netns_pool_take(struct netns_pool *pool);

/* Closes all. In a fork, too, whose copies would keep what others use. */
void netns_pool_fini(struct netns_pool *pool);
