/* This file decides what a session may reach (contract §6) and plans the ruleset that enforces it;
 * it never touches a socket. The gateway, `policy explain`, `--learn` and the ruleset all ask here.
 * Pure. Any process may call.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/base/err.h"
#include "runtime/plan/address.h"
#include "runtime/spec.h"

/* Why; also the word of an event. */
#define NETWORK_REASONS(X)                                                                         \
    X(RULE, "rule")               /* an allow rule names it */                                     \
    X(EGRESS, "egress")           /* the mode allows it */                                         \
    X(DENY_RULE, "deny_rule")     /* a deny rule names it: deny beats allow */                     \
    X(NO_RULE, "no_rule")         /* nothing names it and the mode does not allow it */            \
    X(PORT, "port")               /* the host is named, but not with this port */                  \
    X(ADDRESS, "address")         /* of a class that is not reached: `address_class` says which */ \
    X(OWN_ADDRESS, "own_address") /* an address of the host itself */                              \
    X(PROTOCOL, "protocol")       /* UDP, ICMP, …: not carried */                                \
    X(SNI, "sni")                 /* the ClientHello names another host */                         \
    X(NAME, "name")               /* no canonical host name */                                     \
    X(NAMES_MAX, "names_max")     /* the session has used up its pool of names */                  \
    X(UNREACHABLE, "unreachable") /* allowed, but the dial failed: `sys` of the event */           \
    X(LIMIT, "limit")             /* a bound of the gateway for one session */

enum network_reason {
    NETWORK_REASON_NONE = 0,
#define X(symbol, name) NETWORK_BY_##symbol,
    NETWORK_REASONS(X)
#undef X
        NETWORK_REASON_COUNT
};
const char *network_reason_name(enum network_reason reason);

struct network_decision {
    bool allowed;
    enum network_reason reason;
    int rule; /* index in spec_network.allow (or .deny for DENY_RULE); -1: none */
    enum address_class address_class;
};

/* The one name by which a session reaches its host: only a rule that names it allows it, never a
 * wildcard or the mode, and only where the operator's ceiling opens it (gateway_config.door_ports).
 */
#define NETWORK_HOST_DOOR "host.berth.internal"

/* Whole, and of a shape that the decisions below may rely on: counts, terminated canonical names,
 * families, prefixes without host bits, ports. -EINVAL with `err->subject` naming the field. */
int network_check(const struct spec_network *net, struct err *err);

/* Does a rule speak of this port; does it name this host, or this address? */
bool network_rule_port(const struct spec_rule *rule, uint16_t port);
bool network_rule_host(const struct spec_rule *rule, const char *name);
bool network_rule_address(const struct spec_rule *rule, const struct network_address *address);

/* A name at the moment of a DNS question: may any port of it be reached? `name` is canonical. */
void network_decide_name(const struct spec_network *net, const char *name,
                         struct network_decision *ret);
/* A name and port, before it is resolved. */
void network_decide_host(const struct spec_network *net, const char *name, uint16_t port,
                         struct network_decision *ret);
/* A literal destination. `own`: a route look-up says that it is the host's own. What no rule can
 * open: loopback, multicast, the pool, the host's own. By a cidr rule alone: metadata, reserved,
 * transition forms. By a cidr rule or `allow_private`: private, link-local, CGNAT. */
void network_decide_address(const struct spec_network *net, const struct network_address *address,
                            uint16_t port, bool own, struct network_decision *ret);
/* What an allowed name resolved to, at the dial (NET-3). The name host.berth.internal is the one
 * whose address may be the host's own, when a rule names it. */
void network_decide_resolved(const struct spec_network *net, const char *name, uint16_t port,
                             const struct network_address *address, bool own,
                             struct network_decision *ret);

/* The line of a policy file that would allow it, `{"host": "a.example", "ports": [443]}`, and the
 * flag of `berth run`, `--allow a.example:8443`; empty when no rule can (loopback, own address,
 * multicast, UDP). `name` NULL: by address. `port` 0: a name was looked up, nothing dialled yet. */
void network_rule_to_add(const struct spec_network *net, const char *name,
                         const struct network_address *address, uint16_t port,
                         const struct network_decision *decision, struct buf *ret_line,
                         struct buf *ret_flag);

/* Does the mode alone reach addresses of this class; is there nothing at all that opens it? */
bool network_mode_opens(const struct spec_network *net, enum address_class what);
bool network_class_is_closed(enum address_class what);

/* Does anything of it need a gateway, names, a ruleset? false for `deny` without rules and ports.
 * Looks at what stands before the rules alone. */
bool network_wanted(const struct spec_network *net);

/* ---- the ruleset ---------------------------------------------------------------------------- */

enum { NETWORK_LISTENER_PORT = 3, NETWORK_DNS_PORT = 53, NETWORK_LOG_GROUP = 5 };

/* Named counters of the ruleset, in this order. */
#define NETWORK_COUNTERS(X) \
    X(PASSED, "passed")     \
    X(DENIED_TCP, "denied_tcp") X(DENIED_UDP, "denied_udp") X(DENIED_OTHER, "denied_other")
enum network_counter {
#define X(symbol, name) NETWORK_COUNT_##symbol,
    NETWORK_COUNTERS(X)
#undef X
        NETWORK_COUNTER_COUNT
};

/* As nft(8) reads it. */
void network_print(const struct spec_network *net, struct buf *out);
/* The whole ruleset, of a namespace that has none, as nfnetlink batches (NFNL_MSG_BATCH_BEGIN …
 * END) one after the other, sequence numbers from 1. One, where elements do not fill more; nothing
 * is in force before the last. */
int network_encode(const struct spec_network *net, struct buf *out, struct err *err);
/* The same in two parts. CLOSED: the ruleset of rules that allow nothing, one batch. OPEN: what has
 * to be done to the sets of a namespace that has it and nothing else; of many rules more than one
 * batch, of rules that differ in nothing from those none. */
int network_encode_closed(struct buf *out, struct err *err);
int network_encode_open(const struct spec_network *net, struct buf *out, struct err *err);
/* The steps of a replacement, each of batches, SWITCH of one; what is in force changes with SWITCH,
 * at one instant. `half`: 0 or 1, the one that was not in force before FILL; for CLEAR the one that
 * was. */
enum network_replace_step { NETWORK_REPLACE_FILL, NETWORK_REPLACE_SWITCH, NETWORK_REPLACE_CLEAR };
int network_encode_replace(const struct spec_network *net, enum network_replace_step step,
                           unsigned half, struct buf *out, struct err *err);
/* The question which half is in force, one message; and what an answer says: 0, 1 or -ENOENT. */
void network_encode_question(struct buf *out);
int network_half_of(const void *rules, size_t length);
/* What message `sequence` of a batch makes, for errors: "set allow4", or a rule as text. */
void network_message_print(const struct buf *batch, uint32_t sequence, struct buf *out);
