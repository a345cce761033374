/* This file is what the files of the program berth-gateway share: its state, and who calls whom. It
 * is one thread; nothing here waits but the loop.
 *
 *     loop      readiness of descriptors, deadlines         control   requests and answers
 *     session   listeners, questions, accepts               relay     bytes of an open connection
 *     dial      from an accepted connection to an open one  resolve   names to addresses
 *     publish   connections from the host into a session    route     is an address the host's own?
 *
 * What an event of one round frees is freed when the round is over: later events of the same round
 * may still name it.
 */
#pragma once

#include "runtime/base/fd.h"
#include "runtime/gateway/events.h"
#include "runtime/gateway/gateway.h"
#include "runtime/gateway/names.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- lists ----------------------------------------------------------------------------------- */

struct link {
    struct link *next, *previous;
};

static inline void list_init(struct link *list)
{
    list->next = list->previous = list;
}

static inline bool list_empty(const struct link *list)
{
    return list->next == list;
}

static inline void list_remove(struct link *link)
{
    link->next->previous = link->previous;
    link->previous->next = link->next;
    list_init(link);
}

/* At the end; a link that is in a list already moves. */
static inline void list_put(struct link *list, struct link *link)
{
    list_remove(link);
    link->previous = list->previous;
    link->next = list;
    list->previous->next = link;
    list->previous = link;
}

#define list_owner(link, type, field) ((type *)(void *)((char *)(link)-offsetof(type, field)))

/* ---- the loop -------------------------------------------------------------------------------- */

struct gateway;

struct watch {
    void (*happened)(struct gateway *g, struct watch *watch, uint32_t events);
    int fd; /* owned */
    bool added;
};

struct grave {
    struct grave *next;
};

/* EPOLL… bits of `events`, EPOLLET among them. The descriptor is the watch's when this succeeds. */
int watch_add(struct gateway *g, struct watch *watch, int fd, uint32_t events,
              void (*happened)(struct gateway *g, struct watch *watch, uint32_t events));
int watch_change(struct gateway *g, struct watch *watch, uint32_t events);
void watch_close(struct gateway *g, struct watch *watch);
/* Frees malloc()ed memory at the end of the round; its first bytes are overwritten then. */
void bury(struct gateway *g, void *memory);

/* ---- sessions -------------------------------------------------------------------------------- */

enum {
    DNS_STREAMS_MAX = 32,  /* TCP questions of one session at a time */
    LOOKUPS_MAX = 256,     /* names of one session that are being resolved */
    PIPES_OF_SESSION = 64, /* beyond, bytes are copied */
    CONNECTORS_MAX = 64,   /* sockets made inside, of each family */
    CANDIDATES_MAX = 16,
    ATTEMPTS_MAX = 4,
};

struct session {
    struct link in_gateway;
    int64_t row, incarnation;
    uint64_t generation;
    struct network_record *record;  /* owned, mapped */
    const struct spec_network *net; /* its rules */
    struct names names;
    struct listener {
        struct watch watch;
        struct session *session;
        uint16_t port, host_port; /* of a published one: inside, and on the host */
        bool paused;
    } listeners[GATEWAY_ADD_END], published[GATEWAY_PUBLISH_MAX];
    struct link in_throttled;
    struct link connections, lookups, streams, waiting; /* waiting: for a connector */
    unsigned connection_count, lookup_count, stream_count, pipe_count;
    int connectors[2][CONNECTORS_MAX]; /* IPv4, IPv6 */
    unsigned connector_count[2];
    bool asked_connectors, has_six; /* has_six: the session has IPv6 */
    bool asked_about;               /* since CONTROL came */
    bool held;                      /* frozen: nobody inside answers */
    uint64_t asked_connectors_ms;
    uint64_t questions, questions_since_ms; /* of this tenth of a second */
    int diag;                               /* owned; -1: none */
    struct diag_budget {
        unsigned left;
        uint64_t since_ms;
    } diag_budget[2]; /* enum diag_for */
};

struct end {
    struct watch watch;
    bool readable, writable, gone, failed;
};

struct pipe {
    struct link link;
    int ends[2];
};

/* One direction. */
struct flow {
    struct pipe *pipe; /* only while bytes are under way */
    uint32_t held;     /* bytes in it */
    bool ended, shut;
    uint64_t bytes;
};

enum connection_state { CONNECTION_RESOLVING = 1, CONNECTION_DIALLING, CONNECTION_OPEN };

struct connection {
    struct link in_session, in_ready, in_time; /* in_time: `dialling` or `idle` */
    struct link in_lookup;                     /* or a session's `waiting` */
    struct session *session;
    struct end near, far; /* who asked, and who was dialled */
    struct flow out, in;  /* near to far, far to near */
    struct dial *dial;    /* until it is open */
    uint64_t number, since_ms, cgroup;
    struct network_address address; /* asked for, then dialled */
    uint16_t port, host_port;       /* host_port: of a published one */
    int16_t name;                   /* of the pool; -1: asked by address */
    int16_t rule;
    uint8_t state, reason;
    bool published, sniff, own;
};

/* ---- the gateway ----------------------------------------------------------------------------- */

struct gateway {
    int epoll;
    struct gateway_config config;
    uint64_t now_ms;
    struct link sessions;
    struct link ready, dialling, idle;
    struct link pipes;     /* free ones */
    struct link streams;   /* of every session, in the order of their age */
    struct link throttled; /* sessions that ask more than they may */
    unsigned session_count, connection_count, pipe_count;
    uint64_t last_connection;
    struct grave *graves;
    struct watch life, control, reader;
    struct events *events;
    struct control *requests;
    struct resolver *resolver;
    int route;
    bool paused; /* some listener is: there were no descriptors */
    bool over;
};

/* loop.c */
uint64_t clock_ms(int clock);
int gateway_run(struct gateway *g);

/* control.c */
int control_start(struct gateway *g);
void control_need(struct gateway *g, struct session *session);
void control_tick(struct gateway *g); /* answers that waited */

/* session.c */
int session_add(struct gateway *g, const struct gateway_request *request, int *fds,
                unsigned fd_count, struct err *err);
int session_replace(struct gateway *g, struct session *session, int fd, uint32_t *ret_cut,
                    struct err *err);
uint32_t session_remove(struct gateway *g, struct session *session);
uint32_t session_sweep(struct gateway *g);
void session_doors(
    struct gateway *g); /* they are others: what goes through one that is shut is cut */
void session_hold(struct gateway *g, struct session *session, bool hold);
struct session *session_find(struct gateway *g, int64_t row, int64_t incarnation);
void session_resume(struct gateway *g); /* listeners that were paused */
/* Publish: listeners of the host for `ports`, all of them or none. */
int session_publish(struct gateway *g, struct session *session, const uint16_t *ports, int *fds,
                    unsigned count, struct err *err);
/* Bit i: there is a listener on ports[i] of the host. */
uint32_t session_publishes(const struct session *session, const uint16_t *ports, unsigned count);
/* Sockets that were made inside. What is too many is closed. */
void session_connectors(struct gateway *g, struct session *session, int *fds, unsigned count);
/* Accepts from a listener; the next one, or -1: no more now. */
int session_accept(struct gateway *g, struct listener *listener);
void session_listener(struct gateway *g, struct watch *watch, uint32_t events);

/* questions.c */
void questions_udp(struct gateway *g, struct watch *watch, uint32_t events);
void questions_tcp(struct gateway *g, struct watch *watch, uint32_t events);
void questions_close(struct gateway *g, struct session *session);
int questions_tick(struct gateway *g); /* milliseconds until the next; -1: none */
void refusals(struct gateway *g, struct watch *watch, uint32_t events); /* of the ruleset: nflog */

/* dial.c: each takes what it is given in any case */
void dial_accepted(struct gateway *g, struct listener *listener, int fd);
void dial_published(struct gateway *g, struct listener *listener, int fd);
/* `code`: errno why there are none. */
void dial_resolved(struct gateway *g, struct connection *c, const struct network_address *addresses,
                   unsigned count, int code);
void dial_sniff(struct connection *c);
void dial_tick(struct gateway *g);
bool dial_is_shut_out(const struct gateway *g, const struct connection *c); /* by the door */
void dial_kick(struct gateway *g, struct session *session);                 /* connectors came */
/* Ends what of a dial is under way. */
void dial_end(struct gateway *g, struct connection *c);

/* relay.c */
struct connection *connection_new(struct gateway *g, struct session *session, int fd);
int connection_watch_near(struct gateway *g, struct connection *c, int fd);
/* `reset`: both ends learn at once that it failed. */
void connection_close(struct gateway *g, struct connection *c, bool reset);
void connection_open(struct gateway *g, struct connection *c);
void relay_ready(struct gateway *g); /* a turn for each connection that has work */
void relay_tick(struct gateway *g);

/* resolve.c */
int resolver_new(struct gateway *g, struct err *err); /* before rights are dropped: seeds itself */
int resolver_start(struct gateway *g);
/* The configuration has others: they are asked from now on. Whoever waits for those of before has
 * their answer in a moment, or none (ECANCELED). */
void resolver_changed(struct gateway *g);
void resolver_lookup(struct gateway *g, struct connection *c, const char *host);
void resolver_forget(struct gateway *g, struct connection *c);
void resolver_session_ends(struct gateway *g, struct session *session);
int resolver_tick(struct gateway *g); /* milliseconds until the next; -1: none */

/* route.c */
int route_open(void);
/* true also when the kernel does not say. */
bool route_is_own(struct gateway *g, const struct network_address *address);

struct msghdr;
/* diag.c: the cgroup of whoever asked, 0: not known. So many at once and so many a second of each
 * session: what it costs is then nobody's to raise. */
enum diag_for { DIAG_FOR_CONNECTION, DIAG_FOR_REFUSAL };
uint64_t diag_cgroup(struct gateway *g, struct session *session, enum diag_for what, int fd);
/* The same of a datagram that was received, with where it went to in its control bytes. */
uint64_t diag_cgroup_of_datagram(struct gateway *g, struct session *session,
                                 struct msghdr *datagram);

/* events */
void tell(struct gateway *g, const struct session *session, enum gateway_event_kind kind,
          const struct gateway_event *event);
void tell_connection(struct gateway *g, const struct connection *c, enum gateway_event_kind kind,
                     const struct network_decision *decision, int sys);
/* Host of a connection; "" when it was asked by address. */
const char *connection_host(const struct connection *c);

/* rights.c */
int gateway_rights_identity(struct err *err);
int gateway_rights_drop(struct err *err);
