/* This file takes a connection from the moment it was accepted to the moment it is open, or refuses
 * it: it decides by the rules (runtime/plan/network.h), dials the very address that was decided,
 * and tells what came of it. It never dials an address that is the host's own, but through the one
 * door that the operator opens.
 *
 * Addresses are tried one after another, IPv6 first and then in turns, the next one when the last
 * failed or did not answer for a moment (RFC 8305); the first that answers is taken.
 */
#include "runtime/gateway/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { NEXT_ATTEMPT_MS = 250, NEED_AGAIN_MS = 500 };

struct dial {
    struct grave grave; /* first: see bury() */
    struct network_address candidates[CANDIDATES_MAX];
    unsigned count, next;
    uint64_t next_ms, since_ms;
    int sys; /* why the last one failed */
    bool refused;
    struct network_decision refusal; /* of the first candidate that was refused */
    struct network_address refused_address;
    struct attempt {
        struct watch watch;
        struct connection *connection;
        struct network_address address;
        unsigned number; /* of the dial's candidates: the lower, the older */
        bool used;
    } attempts[ATTEMPTS_MAX];
};

const char *connection_host(const struct connection *c)
{
    const char *host = c->name >= 0 ? names_host(&c->session->names, (unsigned)c->name) : NULL;
    return host ? host : "";
}

static bool is_door(const struct connection *c)
{
    return c->name >= 0 && strcmp(connection_host(c), NETWORK_HOST_DOOR) == 0;
}

/* ---- refusing -------------------------------------------------------------------------------- */

static void refuse(struct gateway *g, struct connection *c, const struct network_decision *d,
                   int sys)
{
    if (c->cgroup == 0 && !c->published)
        c->cgroup = diag_cgroup(g, c->session, DIAG_FOR_REFUSAL, c->near.watch.fd);
    tell_connection(g, c, GATEWAY_DENIED, d, sys);
    connection_close(g, c, true);
}

static void refuse_by(struct gateway *g, struct connection *c, enum network_reason reason, int sys)
{
    struct network_decision d = {
        .reason = reason, .rule = -1, .address_class = address_classify(&c->address)};
    refuse(g, c, &d, sys);
}

/* Nothing is left to try. */
static void give_up(struct gateway *g, struct connection *c)
{
    struct dial *dial = c->dial;
    if (dial->refused && dial->sys == 0) {
        struct network_decision d = dial->refusal;
        c->address = dial->refused_address;
        refuse(g, c, &d, 0);
        return;
    }
    refuse_by(g, c, NETWORK_BY_UNREACHABLE, dial->sys ? dial->sys : EHOSTUNREACH);
}

/* ---- attempts -------------------------------------------------------------------------------- */

static void end_attempt(struct gateway *g, struct attempt *attempt)
{
    if (attempt->used)
        watch_close(g, &attempt->watch);
    attempt->used = false;
}

void dial_end(struct gateway *g, struct connection *c)
{
    resolver_forget(g, c);
    list_remove(&c->in_lookup);
    if (!c->dial)
        return;
    for (unsigned i = 0; i < ATTEMPTS_MAX; i++)
        end_attempt(g, &c->dial->attempts[i]);
    bury(g, c->dial);
    c->dial = NULL;
}

static unsigned running(const struct dial *dial)
{
    unsigned count = 0;
    for (unsigned i = 0; i < ATTEMPTS_MAX; i++)
        count += dial->attempts[i].used;
    return count;
}

static void attempt_next(struct gateway *g, struct connection *c);
static bool decide_candidate(struct gateway *g, struct connection *c,
                             const struct network_address *address);

/* The attempt's descriptor becomes the connection's; the others end. */
static void succeed(struct gateway *g, struct connection *c, struct attempt *attempt)
{
    struct network_address address = attempt->address;
    /* The rules may be others than when it was begun, and it need not be the one decided last. */
    if (!decide_candidate(g, c, &address)) {
        end_attempt(g, attempt);
        attempt_next(g, c);
        return;
    }
    int fd = fcntl(attempt->watch.fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        c->dial->sys = errno;
        give_up(g, c);
        return;
    }
    if (!c->published)
        c->address = address;
    c->far.watch.fd = fd;
    dial_end(g, c);
    connection_open(g, c);
}

static void attempt_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct attempt *attempt = list_owner(watch, struct attempt, watch);
    struct connection *c = attempt->connection;
    int sys = 0;
    socklen_t size = sizeof sys;
    (void)events;
    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &sys, &size) < 0)
        sys = errno;
    if (sys == 0 && !(events & EPOLLOUT))
        return;
    if (sys == 0) {
        succeed(g, c, attempt);
        return;
    }
    c->dial->sys = sys;
    end_attempt(g, attempt);
    attempt_next(g, c);
}

/* Published: a socket that was made inside. -EAGAIN: there is none now. */
static int socket_for(struct gateway *g, struct connection *c, int family)
{
    struct session *session = c->session;
    int six = family == 6;
    if (!c->published) {
        int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd < 0 ? -errno : fd;
    }
    if (session->connector_count[six] == 0)
        return -EAGAIN;
    int fd = session->connectors[six][--session->connector_count[six]];
    control_need(g, session);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
        fd_close(fd);
        return -EBADF;
    }
    return fd;
}

static socklen_t socket_address(const struct network_address *address, uint16_t port,
                                struct sockaddr_storage *ret)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (address->family == 4) {
        memcpy(&four.sin_addr, address->bytes, 4);
        memcpy(ret, &four, sizeof four);
        return sizeof four;
    }
    memcpy(&six.sin6_addr, address->bytes, 16);
    memcpy(ret, &six, sizeof six);
    return sizeof six;
}

/* 0: under way. -EAGAIN: it must wait for a socket. */
static int start(struct gateway *g, struct connection *c, struct attempt *attempt,
                 const struct network_address *address)
{
    struct sockaddr_storage to;
    socklen_t length = socket_address(address, c->port, &to);
    _cleanup_fd_ int fd = socket_for(g, c, address->family);
    if (fd < 0)
        return fd;
    if (connect(fd, (const struct sockaddr *)&to, length) < 0 && errno != EINPROGRESS)
        return errno == EAGAIN ? -EADDRNOTAVAIL : -errno;
    *attempt = (struct attempt){.connection = c, .address = *address};
    int r = watch_add(g, &attempt->watch, fd, EPOLLOUT | EPOLLET, attempt_happened);
    if (r < 0)
        return r;
    take_fd(&fd);
    attempt->used = true;
    return 0;
}

/* Is this very address allowed, now? (NET-3) */
static bool decide_candidate(struct gateway *g, struct connection *c,
                             const struct network_address *address)
{
    const struct spec_network *net = c->session->net;
    struct network_decision d;
    if (c->published)
        return true;
    bool own = route_is_own(g, address);
    /* For tests: a resolver and hosts of the test's own are the host's. */
    if (own && g->config.allow_local)
        for (unsigned i = 0; i < net->allow_count; i++)
            if (network_rule_address(&net->allow[i], address))
                own = false;
    if (c->name >= 0)
        network_decide_resolved(net, connection_host(c), c->port, address, own, &d);
    else
        network_decide_address(net, address, c->port, own, &d);
    if (d.allowed) {
        c->reason = (uint8_t)d.reason;
        c->rule = (int16_t)d.rule;
        c->own = own;
    } else if (!c->dial->refused) {
        c->dial->refused = true;
        c->dial->refusal = d;
        c->dial->refused_address = *address;
    }
    return d.allowed;
}

/* A free one; where there is none, the oldest makes room: it had its time. */
static struct attempt *attempt_for_next(struct gateway *g, struct dial *dial)
{
    struct attempt *oldest = &dial->attempts[0];
    for (unsigned i = 0; i < ATTEMPTS_MAX; i++) {
        struct attempt *attempt = &dial->attempts[i];
        if (!attempt->used)
            return attempt;
        if (attempt->number < oldest->number)
            oldest = attempt;
    }
    end_attempt(g, oldest);
    return oldest;
}

static void attempt_next(struct gateway *g, struct connection *c)
{
    struct dial *dial = c->dial;
    while (dial->next < dial->count) {
        const struct network_address *address = &dial->candidates[dial->next];
        if (!decide_candidate(g, c, address)) {
            dial->next++;
            continue;
        }
        struct attempt *attempt = attempt_for_next(g, dial);
        int r = start(g, c, attempt, address);
        if (r == -EAGAIN) {
            list_put(&c->session->waiting, &c->in_lookup);
            control_need(g, c->session);
            return;
        }
        attempt->number = dial->next++;
        if (r == 0) {
            dial->next_ms = g->now_ms + NEXT_ATTEMPT_MS;
            return;
        }
        dial->sys = -r;
    }
    if (running(dial) == 0)
        give_up(g, c);
}

void dial_kick(struct gateway *g, struct session *session)
{
    struct link now;
    list_init(&now);
    while (!list_empty(&session->waiting))
        list_put(&now, session->waiting.next);
    while (!list_empty(&now)) {
        struct connection *c = list_owner(now.next, struct connection, in_lookup);
        list_remove(&c->in_lookup);
        attempt_next(g, c);
    }
}

/* Who was asked for sockets may have been killed over it, or have had none. */
static void need_again(struct gateway *g, struct session *session)
{
    if (session->asked_connectors && g->now_ms - session->asked_connectors_ms < NEED_AGAIN_MS)
        return;
    session->asked_connectors = false;
    control_need(g, session);
}

void dial_tick(struct gateway *g)
{
    for (struct link *l = g->dialling.next, *next; l != &g->dialling; l = next) {
        struct connection *c = list_owner(l, struct connection, in_time);
        next = l->next;
        if (c->published && !list_empty(&c->in_lookup))
            need_again(g, c->session);
        if (g->now_ms - c->since_ms >= g->config.connect_timeout_ms) {
            refuse_by(g, c, NETWORK_BY_UNREACHABLE, ETIMEDOUT);
        } else if (c->state == CONNECTION_DIALLING && list_empty(&c->in_lookup) &&
                   c->dial->next < c->dial->count && g->now_ms >= c->dial->next_ms) {
            c->dial->next_ms = g->now_ms + NEXT_ATTEMPT_MS;
            attempt_next(g, c);
        }
    }
}

/* ---- candidates ------------------------------------------------------------------------------ */

/* IPv6 first, and then in turns. */
static void put_candidates(struct dial *dial, const struct network_address *addresses,
                           unsigned count)
{
    unsigned at[2] = {0, 0};
    static const int families[2] = {6, 4};
    for (bool any = true; any && dial->count < CANDIDATES_MAX;) {
        any = false;
        for (int f = 0; f < 2 && dial->count < CANDIDATES_MAX; f++) {
            while (at[f] < count && addresses[at[f]].family != families[f])
                at[f]++;
            if (at[f] < count) {
                dial->candidates[dial->count++] = addresses[at[f]++];
                any = true;
            }
        }
    }
}

void dial_resolved(struct gateway *g, struct connection *c, const struct network_address *addresses,
                   unsigned count, int code)
{
    if (count == 0) {
        refuse_by(g, c, NETWORK_BY_UNREACHABLE, code);
        return;
    }
    c->dial = calloc(1, sizeof *c->dial);
    if (!c->dial) {
        refuse_by(g, c, NETWORK_BY_LIMIT, ENOMEM);
        return;
    }
    put_candidates(c->dial, addresses, count);
    c->state = CONNECTION_DIALLING;
    attempt_next(g, c);
}

/* ---- accepted -------------------------------------------------------------------------------- */

static void reset(int fd)
{
    static const struct linger none = {1, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    fd_close(fd);
}

/* Where the program meant to go: tproxy left it as it was. */
static int destination(int fd, struct network_address *ret, uint16_t *ret_port)
{
    struct sockaddr_storage at = {0};
    struct sockaddr_in four;
    struct sockaddr_in6 six;
    socklen_t size = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &size) < 0)
        return -errno;
    if (at.ss_family == AF_INET) {
        memcpy(&four, &at, sizeof four);
        address_canonical(4, &four.sin_addr, ret);
        *ret_port = ntohs(four.sin_port);
        return 0;
    }
    if (at.ss_family != AF_INET6)
        return -EAFNOSUPPORT;
    memcpy(&six, &at, sizeof six);
    address_canonical(6, &six.sin6_addr, ret);
    *ret_port = ntohs(six.sin6_port);
    return 0;
}

static bool is_tls_port(uint16_t port)
{
    static const uint16_t ports[] = {443, 465, 853, 993, 995, 8443};
    for (unsigned i = 0; i < ARRAY_LENGTH(ports); i++)
        if (ports[i] == port)
            return true;
    return false;
}

/* Whether a ClientHello is looked at, by the rules that there are now: not when it has gone out. */
void dial_sniff(struct connection *c)
{
    bool waits = c->state != CONNECTION_OPEN || (c->out.bytes == 0 && c->out.held == 0);
    c->sniff = waits && c->name >= 0 && c->reason == NETWORK_BY_RULE &&
               c->session->net->sni_match && is_tls_port(c->port);
}

static bool door_is_open(const struct gateway *g, uint16_t port)
{
    for (unsigned i = 0; i < g->config.door_count; i++)
        if (g->config.door_ports[i] == port)
            return true;
    return false;
}

bool dial_is_shut_out(const struct gateway *g, const struct connection *c)
{
    return is_door(c) && !door_is_open(g, c->port);
}

/* The host's door leads to its loopback, at the ports that the operator opened. */
static void dial_door(struct gateway *g, struct connection *c)
{
    static const struct network_address loopback[2] = {{.family = 4, .bytes = {127, 0, 0, 1}},
                                                       {.family = 6, .bytes = {[15] = 1}}};
    if (!door_is_open(g, c->port)) {
        refuse_by(g, c, NETWORK_BY_OWN_ADDRESS, 0);
        return;
    }
    dial_resolved(g, c, loopback, ARRAY_LENGTH(loopback), 0);
}

static void dial_by_name(struct gateway *g, struct connection *c)
{
    const char *host = connection_host(c);
    struct network_decision d;
    if (!*host) {
        refuse_by(g, c, NETWORK_BY_NAME, 0);
        return;
    }
    network_decide_host(c->session->net, host, c->port, &d);
    if (!d.allowed) {
        refuse(g, c, &d, 0);
        return;
    }
    c->reason = (uint8_t)d.reason;
    c->rule = (int16_t)d.rule;
    dial_sniff(c);
    if (is_door(c))
        dial_door(g, c);
    else
        resolver_lookup(g, c, host);
}

void dial_accepted(struct gateway *g, struct listener *listener, int fd)
{
    struct session *session = listener->session;
    struct network_address address = {0};
    uint16_t port = 0;
    if (destination(fd, &address, &port) < 0) {
        reset(fd);
        return;
    }
    bool full = session->connection_count >= g->config.connections_per_session ||
                g->connection_count >= g->config.connections_max;
    struct connection *c = full ? NULL : connection_new(g, session, fd);
    if (!c) {
        struct gateway_event event = {.protocol = GATEWAY_TCP,
                                      .port = port,
                                      .address = address,
                                      .reason = NETWORK_BY_LIMIT,
                                      .rule = -1};
        if (full)
            reset(fd);
        tell(g, session, GATEWAY_DENIED, &event);
        return;
    }
    c->address = address;
    c->port = port;
    c->cgroup = diag_cgroup(g, session, DIAG_FOR_CONNECTION, fd);
    if (address_classify(&address) == ADDRESS_POOL) {
        c->name = (int16_t)address_to_name(&address);
        dial_by_name(g, c);
    } else {
        dial_resolved(g, c, &address, 1, 0);
    }
}

void dial_published(struct gateway *g, struct listener *listener, int fd)
{
    static const struct network_address inside[2] = {{.family = 4, .bytes = {127, 0, 0, 1}},
                                                     {.family = 6, .bytes = {[15] = 1}}};
    struct session *session = listener->session;
    bool refused = session->held ||
                   session->connection_count >= g->config.connections_per_session ||
                   g->connection_count >= g->config.connections_max;
    struct connection *c = refused ? NULL : connection_new(g, session, fd);
    if (!c) {
        if (refused)
            reset(fd);
        return;
    }
    c->published = true;
    c->port = listener->port;
    c->host_port = listener->host_port;
    c->dial = calloc(1, sizeof *c->dial);
    if (!c->dial) {
        connection_close(g, c, true);
        return;
    }
    /* IPv4 first: what programs that serve people listen on. */
    c->dial->candidates[0] = inside[0];
    c->dial->candidates[1] = inside[1];
    c->dial->count = session->has_six ? 2 : 1;
    c->state = CONNECTION_DIALLING;
    attempt_next(g, c);
}
