/* This file makes the network namespace of a session that may reach something, and the sockets in
 * it by which the gateway serves it (docs/adr/0013); it never relays a byte.
 *
 * PRIVILEGED: the launcher's, or `berth run`'s in its outer user namespace. Each function has a
 * worker that enters the namespace and is gone when it returns: the caller's own never changes.
 * One at a time, of one thread.
 */
#pragma once

#include "runtime/gateway/gateway.h"

#include <stdbool.h>

/* All -1 where there is none. */
struct network_namespace {
    int netns;
    int fds[GATEWAY_ADD_DIAG + 1]; /* TCP4 … LOG, DIAG; RECORD and NAMES are the caller's */
};
void network_namespace_init(struct network_namespace *ns);
void network_namespace_fini(struct network_namespace *ns);

/* A namespace of which nobody knows yet whose it will be, as descriptors: plain, with lo up, or
 * filled, with all that network_namespace_make() makes but what differs from session to session.
 * A filled one refuses everything. */
struct network_ready {
    int netns;                     /* -1: there is none */
    int rules;                     /* by which it is given rules; -1: it is plain */
    int fds[GATEWAY_ADD_DIAG + 1]; /* as above; all -1: it is plain */
};
enum { NETWORK_READY_FDS = 2 + GATEWAY_ADD_DIAG + 1 - GATEWAY_ADD_TCP4 };
void network_ready_init(struct network_ready *ready);
void network_ready_fini(struct network_ready *ready);
/* A plain one's namespace, and a filled one. */
int network_plain_make(int *ret_netns, struct err *err);
int network_ready_make(struct network_ready *ret, struct err *err);
/* Gives a filled one these rules: then it is what network_namespace_make() makes, and no `ready`
 * any more, whatever comes of it. Enters no namespace. */
int network_ready_use(struct network_ready *ready, const struct spec_network *net,
                      struct network_namespace *ret, struct err *err);
/* As it is handed from process to process: how many, 0 for none, and 1 for a plain one. They stay
 * where they are; what came is taken: false, and it was closed, where it is no such thing. */
unsigned network_ready_list(const struct network_ready *ready, int ret[NETWORK_READY_FDS]);
bool network_ready_take(struct network_ready *ret, const int *fds, unsigned count);

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
