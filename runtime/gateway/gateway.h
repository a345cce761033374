/* This file is what the gateway and its peers agree on: descriptors at birth, fixed-layout messages
 * on SOCK_SEQPACKET sockets, one per message, with descriptors attached (docs/adr/0013). Data only.
 *
 * Control: the launcher (or `berth run`) asks, the gateway answers each request once by its
 * `ticket`; it also sends NEED_SOCKETS unasked. A message that gateway_request_check() refuses ends
 * the connection. A gateway that has no room for the descriptors of a message does and answers
 * nothing; for one that brings only where to answer (REMOVE, which makes room) it keeps a place.
 * Events: the gateway sends, front (or `berth
 * run`) reads and acknowledges nothing; when the socket is full, events wait coalesced in a table
 * of bounded size.
 */
#pragma once

#include "runtime/base/err.h"
#include "runtime/plan/network.h"
#include "runtime/spec.h"

#include <stdint.h>

enum gateway_fd {
    GATEWAY_FD_LIFE = 3, /* SOCK_SEQPACKET of who started it: 'C' or 'E' + a new control or events
                            socket; 'F' + a memfd like CONFIG, of which resolvers and door are
                            taken; its end means: end */
    GATEWAY_FD_CONTROL = 4, /* may be closed at birth: then it comes by LIFE */
    GATEWAY_FD_EVENTS = 5,  /* the same */
    GATEWAY_FD_CONFIG = 6,  /* sealed memfd: struct gateway_config */
    GATEWAY_FD_END = 7,
};

enum {
    GATEWAY_VERSION = 1,
    GATEWAY_MAGIC = 0x62726777, /* "brgw" */
    GATEWAY_RESOLVERS_MAX = 8,
    GATEWAY_DOOR_MAX = 16,
    GATEWAY_PUBLISH_MAX = 2 * SPEC_PUBLISH_MAX, /* 127.0.0.1 and ::1 of each */
    GATEWAY_SOCKETS_MAX = 32,                   /* of one SOCKETS message */
    GATEWAY_FDS_MAX = GATEWAY_SOCKETS_MAX + 1,  /* and the one for the answer */
};

struct gateway_config {
    uint32_t version, size;
    uint32_t resolver_count; /* 0: names cannot be resolved: told so */
    struct {
        struct network_address address;
        uint16_t port, reserved;
    } resolvers[GATEWAY_RESOLVERS_MAX];
    uint32_t sessions_max, connections_per_session, connections_max, queries_per_second;
    uint32_t connect_timeout_ms, idle_timeout_ms;
    uint32_t log_role;   /* of `berth serve`: 1 lines of JSON, 2 of text; 0: says things plainly */
    uint32_t door_count; /* ports of the host's loopback that host.berth.internal leads to, where a
                            rule names them; 0: the name is closed */
    uint16_t door_ports[GATEWAY_DOOR_MAX];
    uint32_t allow_local; /* tests: addresses of the host itself may be dialled where a cidr rule
                             names them; berth never sets it */
};

/* The rules of one session as the launcher keeps and hands them over. */
struct network_record {
    uint32_t magic, version;
    uint64_t generation; /* rises with each replacement */
    struct spec_network network;
};

/* One name of a session's pool: record n stands at n * sizeof(struct network_name). */
struct network_name {
    char host[SPEC_HOST_MAX + 2]; /* canonical, NUL-terminated; empty: not there (yet) */
};

/* symbol, name, descriptors (fewest, most) */
#define GATEWAY_REQUESTS(X)                                                                       \
    X(ADD, "add", 9, 10)        /* enum gateway_add_fd, in that order; DIAG may be missing */     \
    X(REPLACE, "replace", 1, 1) /* sealed memfd or file of struct network_record */               \
    X(REMOVE, "remove", 0, 0)                                                                     \
    X(PUBLISH, "publish", 1, GATEWAY_PUBLISH_MAX) /* host listeners for `ports`, in that order,   \
                                                     beside those that there are */               \
    X(PUBLISHED, "published", 0, 0)               /* who listens on these `ports` of the host? */ \
    X(SOCKETS, "sockets", 1, GATEWAY_SOCKETS_MAX) /* TCP sockets made inside, not connected */    \
    X(FLUSH, "flush", 0, 0)     /* answered when every event before it was sent */                \
    X(HOLD, "hold", 0, 0)       /* it is frozen: clients of its published ports are reset */      \
    X(RELEASE, "release", 0, 0) /* it is not */                                                   \
    X(SWEEP, "sweep", 0, 0)     /* forgets every session that nothing was asked about since this  \
                                   CONTROL came: whoever brought it has named all that live */

enum gateway_request_type {
    GATEWAY_REQUEST_NONE = 0,
#define X(symbol, name, fewest, most) GATEWAY_##symbol,
    GATEWAY_REQUESTS(X)
#undef X
        GATEWAY_NEED_SOCKETS, /* gateway → launcher, unasked */
    GATEWAY_REQUEST_END
};

enum gateway_add_fd {
    GATEWAY_ADD_RECORD, /* struct network_record, read only */
    GATEWAY_ADD_NAMES,  /* struct network_name[], read and write; the map of the incarnation */
    GATEWAY_ADD_TCP4,
    GATEWAY_ADD_TCP6, /* IP_TRANSPARENT listeners on NETWORK_LISTENER_PORT */
    GATEWAY_ADD_UDP4,
    GATEWAY_ADD_UDP6, /* port 53, IP_PKTINFO / IPV6_RECVPKTINFO on */
    GATEWAY_ADD_DNS4,
    GATEWAY_ADD_DNS6, /* TCP listeners, port 53 */
    GATEWAY_ADD_LOG,  /* netlink socket bound to NETWORK_LOG_GROUP inside */
    GATEWAY_ADD_END,
    /* A NETLINK_SOCK_DIAG socket made inside: by it the gateway learns whose connection it is. */
    GATEWAY_ADD_DIAG = GATEWAY_ADD_END,
};

struct gateway_request {
    uint32_t magic;
    uint16_t version, type;
    uint64_t ticket;
    int64_t row, incarnation; /* which session; `berth run`: 1, 1 */
    uint32_t port_count;      /* PUBLISH, PUBLISHED */
    uint32_t answer;          /* 1: one descriptor more, the last one: a socket on which the answer
                                 is given instead, so that forks that share CONTROL can each ask */
    uint16_t ports[GATEWAY_PUBLISH_MAX];
};

struct gateway_reply {
    uint32_t magic;
    uint16_t version, type; /* of the request; NEED_SOCKETS: `ticket` 0 */
    uint64_t ticket;
    int64_t row, incarnation;
    int32_t result; /* 0 or -errno, then `err` */
    uint32_t count; /* REPLACE, REMOVE: connections cut; NEED_SOCKETS: how many; SWEEP: sessions;
                       PUBLISHED: bit i: the gateway listens on ports[i] for this session */
    struct err err;
};

enum gateway_event_kind { GATEWAY_DENIED = 1, GATEWAY_ALLOWED, GATEWAY_CLOSED, GATEWAY_DROPPED };
enum gateway_protocol { GATEWAY_TCP = 1, GATEWAY_UDP, GATEWAY_DNS, GATEWAY_OTHER };

struct gateway_event {
    uint32_t magic;
    uint16_t version, kind;
    int64_t row, incarnation;
    uint64_t generation; /* of the rules that decided */
    uint64_t count;      /* how often since the last event of this (kind, name, address, port);
                            DROPPED: events that had no room */
    uint64_t first_ms, last_ms; /* CLOCK_REALTIME */
    uint64_t connection;        /* ALLOWED and CLOSED of one connection carry the same; 0: none */
    uint64_t sent, received;    /* CLOSED: bytes that the session sent and received */
    uint64_t cgroup;            /* inode of the asker's exec cgroup (inet_diag); 0: not known */
    uint16_t protocol, port;
    uint16_t reason; /* enum network_reason */
    int16_t rule;
    int32_t sys; /* errno of a dial that failed */
    uint32_t address_class;
    struct network_address address; /* what was asked for or dialled; family 0: none */
    char host[SPEC_HOST_MAX + 2];   /* canonical, or escaped as it was asked; "": by address */
};

/* NULL when well-formed, else what is wrong. Pure. */
const char *gateway_request_check(const struct gateway_request *request, size_t length,
                                  unsigned fd_count);
const char *gateway_reply_check(const struct gateway_reply *reply, size_t length);
const char *gateway_event_check(const struct gateway_event *event, size_t length);
const char *gateway_request_name(unsigned type);
const char *gateway_record_check(const struct network_record *record, size_t length);
const char *gateway_config_check(const struct gateway_config *config, size_t length);
