/* This file makes the network namespace of a session that may reach something, and the sockets in
 * it by which the gateway serves it (docs/adr/0013); it never relays a byte.
 *
 * PRIVILEGED: the launcher's, or `berth run`'s in its outer user namespace. Each function has a
 * worker that enters the namespace and is gone when it returns: the caller's own never changes.
 * One at a time, of one thread.
 */
#pragma once

#include "runtime/gateway/gateway.h"

/* All -1 where there is none. */
struct network_namespace {
    int netns;
    int fds[GATEWAY_ADD_DIAG + 1]; /* TCP4 … LOG, DIAG; RECORD and NAMES are the caller's */
};
void network_namespace_init(struct network_namespace *ns);
void network_namespace_fini(struct network_namespace *ns);

/* lo up, addresses, routes, ruleset, sockets: all of it or nothing. Owned by this process's user
 * namespace. ERR_CAPABILITY_UNAVAILABLE names what this kernel lacks (nft, tproxy, …). */
int network_namespace_make(const struct spec_network *net, struct network_namespace *ret,
                           struct err *err);
/* The same in one that is there and has none of it. */
int network_namespace_fill(int netns, const struct spec_network *net, struct network_namespace *ret,
                           struct err *err);
/* In one that is there already (gateway started again): the sockets alone. */
int network_namespace_sockets(int netns, struct network_namespace *ret, struct err *err);
/* At one instant (NET-6): no packet is judged by parts of both. Killed in between it can be
 * repeated. In one that has no ruleset (a session whose rules were "deny"): all but the sockets. */
int network_namespace_replace(int netns, const struct spec_network *net, struct err *err);
/* Packets and connections counted by the ruleset since it was made. */
int network_namespace_counters(int netns, uint64_t ret[NETWORK_COUNTER_COUNT], struct err *err);
/* `count` TCP sockets made inside, for published ports. */
int network_namespace_connectors(int netns, int family, unsigned count, int *ret, struct err *err);
