/* This file resolves the names that are dialled, at the servers of the configuration alone: no file
 * of the host is read, no search list is tried, nothing is kept. It never decides about an address.
 *
 * Connections of one session that dial one name at the same time share a lookup. IPv4 addresses
 * wait a moment for the IPv6 ones (RFC 8305), and these for those: where IPv6 leads nowhere, IPv4
 * is what is left.
 *
 * There are two channels. When the configuration names other servers while those of before are
 * waited for, the second channel asks the new ones at once; the first has DRAIN_MS for the answers
 * that are under way, and what is not answered by then has failed.
 */
#include "runtime/gateway/internal.h"

#include <ares.h>
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    TIMEOUT_MS = 1500, /* of one try at one server */
    TRIES = 2,
    SECOND_FAMILY_MS = 50,
    DRAIN_MS = 2000,
    ANSWERS_MAX = 8, /* of each family */
};

struct server_socket {
    struct grave grave; /* first: see bury() */
    struct link link;
    struct watch watch; /* a copy of c-ares's descriptor: theirs is closed before they say so */
    int fd;
    struct channel *channel;
};

struct channel {
    struct gateway *g;
    ares_channel ares;
    struct link sockets;
    unsigned pending; /* questions that are not answered */
};

struct resolver {
    struct channel channels[2];
    struct channel *now, *before; /* whom is asked; whose answers are waited for still */
    struct link lookups;
    uint64_t drained_ms; /* until when; while `before` has any pending */
    bool changed;        /* other servers are to be asked */
};

struct lookup {
    struct grave grave; /* first: see bury() */
    struct link in_session, in_resolver, waiters;
    struct gateway *g;
    struct channel *channel;
    struct session *session; /* NULL: it ended */
    unsigned pending, count;
    uint64_t deliver_ms; /* 0: when both are answered */
    bool delivered;
    int code;
    struct network_address addresses[2 * ANSWERS_MAX];
    char host[SPEC_HOST_MAX];
};

/* ---- the channel ----------------------------------------------------------------------------- */

static void socket_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct server_socket *s = list_owner(watch, struct server_socket, watch);
    bool in = events & (EPOLLIN | EPOLLHUP | EPOLLERR), out = events & EPOLLOUT;
    (void)g;
    ares_process_fd(s->channel->ares, in ? s->fd : ARES_SOCKET_BAD, out ? s->fd : ARES_SOCKET_BAD);
}

static struct server_socket *find_socket(struct channel *channel, int fd)
{
    for (struct link *l = channel->sockets.next; l != &channel->sockets; l = l->next) {
        struct server_socket *s = list_owner(l, struct server_socket, link);
        if (s->fd == fd)
            return s;
    }
    return NULL;
}

static void socket_state(void *data, ares_socket_t fd, int in, int out)
{
    struct channel *channel = data;
    struct gateway *g = channel->g;
    uint32_t events = (in ? (uint32_t)EPOLLIN : 0) | (out ? (uint32_t)EPOLLOUT : 0);
    struct server_socket *s = find_socket(channel, fd);
    if (s && events == 0) {
        watch_close(g, &s->watch);
        list_remove(&s->link);
        bury(g, s);
    } else if (s) {
        (void)watch_change(g, &s->watch, events);
    } else if (events) {
        int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        s = calloc(1, sizeof *s);
        if (copy < 0 || !s || watch_add(g, &s->watch, copy, events, socket_happened) < 0) {
            /* The question then ends by its timeout. */
            fd_close(copy);
            free(s);
            return;
        }
        s->fd = fd;
        s->channel = channel;
        list_init(&s->link);
        list_put(&channel->sockets, &s->link);
    }
}

/* Everything that c-ares would look for in files and the environment is said, so that it looks for
 * nothing; its random numbers are seeded here, before the way to their source is closed. */
static int open_channel(struct channel *channel)
{
    static struct in_addr nowhere;
    static char lookups[] = "b";
    static char *no_domain[1];
    static struct apattern *no_sorting;
    struct ares_options options = {.flags =
                                       ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
                                   .timeout = TIMEOUT_MS,
                                   .tries = TRIES,
                                   .ndots = 1,
                                   .servers = &nowhere,
                                   .nservers = 1,
                                   .domains = no_domain,
                                   .ndomains = 0,
                                   .lookups = lookups,
                                   .sock_state_cb = socket_state,
                                   .sock_state_cb_data = channel,
                                   .sortlist = no_sorting,
                                   .nsort = 0,
                                   .ednspsz = 1232};
    return ares_init_options(&channel->ares, &options,
                             ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
                                 ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS |
                                 ARES_OPT_SOCK_STATE_CB | ARES_OPT_SORTLIST | ARES_OPT_EDNSPSZ |
                                 ARES_OPT_NOROTATE);
}

int resolver_new(struct gateway *g, struct err *err)
{
    struct resolver *r = calloc(1, sizeof *r);
    if (!r)
        return err_set(err, ERR_INTERNAL, ENOMEM, "start the resolver", NULL, NULL);
    list_init(&r->lookups);
    r->now = &r->channels[0];
    r->before = &r->channels[1];
    int code = ares_library_init(ARES_LIB_INIT_ALL);
    for (unsigned i = 0; i < ARRAY_LENGTH(r->channels) && code == ARES_SUCCESS; i++) {
        r->channels[i].g = g;
        list_init(&r->channels[i].sockets);
        code = open_channel(&r->channels[i]);
    }
    if (code != ARES_SUCCESS) {
        free(r);
        return err_set(err, ERR_INTERNAL, EIO, "start the resolver", NULL, "%s",
                       ares_strerror(code));
    }
    g->resolver = r;
    return 0;
}

int resolver_start(struct gateway *g)
{
    struct ares_addr_port_node nodes[GATEWAY_RESOLVERS_MAX] = {{.next = NULL}};
    for (unsigned i = 0; i < g->config.resolver_count; i++) {
        const struct network_address *address = &g->config.resolvers[i].address;
        struct ares_addr_port_node *node = &nodes[i];
        node->next = i + 1 < g->config.resolver_count ? node + 1 : NULL;
        node->family = address->family == 4 ? AF_INET : AF_INET6;
        node->udp_port = node->tcp_port = g->config.resolvers[i].port;
        memcpy(&node->addr, address->bytes, address->family == 4 ? 4 : 16);
    }
    if (g->config.resolver_count == 0)
        return 0;
    return ares_set_servers_ports(g->resolver->now->ares, nodes) == ARES_SUCCESS ? 0 : -EINVAL;
}

/* c-ares (1.18) exchanges no servers while it waits for an answer of theirs. Whoever asks from here
 * on shares no lookup with who asked before. */
static void change_channel(struct gateway *g)
{
    struct resolver *r = g->resolver;
    struct channel *next = r->before;
    if (next->pending > 0)
        ares_cancel(next->ares);
    r->before = r->now;
    r->now = next;
    r->drained_ms = g->now_ms + DRAIN_MS;
    for (struct link *l = r->lookups.next; l != &r->lookups; l = l->next)
        list_remove(&list_owner(l, struct lookup, in_resolver)->in_session);
}

static void change_servers(struct gateway *g)
{
    struct resolver *r = g->resolver;
    if (!r->changed)
        return;
    r->changed = false; /* who is told of a failure here may not begin it again */
    if (r->now->pending > 0)
        change_channel(g);
    r->changed = resolver_start(g) < 0;
}

void resolver_changed(struct gateway *g)
{
    g->resolver->changed = true;
    change_servers(g);
}

/* ---- lookups --------------------------------------------------------------------------------- */

static int code_of(int status)
{
    switch (status) {
    case ARES_ENOTFOUND:
    case ARES_ENODATA:
        return ENOENT;
    case ARES_ETIMEOUT:
        return ETIMEDOUT;
    case ARES_ECONNREFUSED:
        return ECONNREFUSED;
    case ARES_ECANCELLED:
        return ECANCELED;
    case ARES_ENOMEM:
        return ENOMEM;
    default:
        return EHOSTUNREACH;
    }
}

static void end_lookup(struct lookup *lookup)
{
    list_remove(&lookup->in_session);
    list_remove(&lookup->in_resolver);
    if (lookup->session)
        lookup->session->lookup_count--;
    bury(lookup->g, lookup);
}

/* To those who wait; who comes later makes a lookup of his own. */
static void deliver(struct lookup *lookup)
{
    struct gateway *g = lookup->g;
    list_remove(&lookup->in_session);
    lookup->delivered = true;
    while (!list_empty(&lookup->waiters)) {
        struct connection *c = list_owner(lookup->waiters.next, struct connection, in_lookup);
        list_remove(&c->in_lookup);
        dial_resolved(g, c, lookup->addresses, lookup->count, lookup->code ? lookup->code : ENOENT);
    }
}

static void add_addresses(struct lookup *lookup, int family, const unsigned char *answer,
                          int length)
{
    struct ares_addrttl four[ANSWERS_MAX];
    struct ares_addr6ttl six[ANSWERS_MAX];
    int count = ANSWERS_MAX;
    int status = family == 4 ? ares_parse_a_reply(answer, length, NULL, four, &count)
                             : ares_parse_aaaa_reply(answer, length, NULL, six, &count);
    if (status != ARES_SUCCESS) {
        lookup->code = code_of(status);
        return;
    }
    for (int i = 0; i < count && i < ANSWERS_MAX; i++)
        address_canonical(
            family, family == 4 ? (const void *)&four[i].ipaddr : (const void *)&six[i].ip6addr,
            &lookup->addresses[lookup->count++]);
}

static void answered(struct lookup *lookup, int family, int status, const unsigned char *answer,
                     int length)
{
    lookup->pending--;
    lookup->channel->pending--;
    if (status == ARES_SUCCESS && lookup->session && !lookup->delivered)
        add_addresses(lookup, family, answer, length);
    else if (status != ARES_SUCCESS)
        lookup->code = code_of(status);
    if (lookup->pending > 0 && family == 4 && lookup->count > 0)
        lookup->deliver_ms = lookup->g->now_ms + SECOND_FAMILY_MS;
    if (!lookup->delivered && lookup->pending == 0)
        deliver(lookup);
    if (lookup->pending == 0)
        end_lookup(lookup);
}

static void answered_four(void *data, int status, int timeouts, unsigned char *answer, int length)
{
    (void)timeouts;
    answered(data, 4, status, answer, length);
}

static void answered_six(void *data, int status, int timeouts, unsigned char *answer, int length)
{
    (void)timeouts;
    answered(data, 6, status, answer, length);
}

static struct lookup *find_lookup(struct session *session, const char *host)
{
    for (struct link *l = session->lookups.next; l != &session->lookups; l = l->next) {
        struct lookup *lookup = list_owner(l, struct lookup, in_session);
        if (strcmp(lookup->host, host) == 0)
            return lookup;
    }
    return NULL;
}

void resolver_lookup(struct gateway *g, struct connection *c, const char *host)
{
    struct session *session = c->session;
    struct lookup *lookup = find_lookup(session, host);
    if (lookup) {
        list_put(&lookup->waiters, &c->in_lookup);
        return;
    }
    if (g->config.resolver_count == 0) {
        dial_resolved(g, c, NULL, 0, ENXIO);
        return;
    }
    lookup = session->lookup_count < LOOKUPS_MAX ? calloc(1, sizeof *lookup) : NULL;
    if (!lookup) {
        dial_resolved(g, c, NULL, 0, EBUSY);
        return;
    }
    lookup->g = g;
    lookup->session = session;
    lookup->pending = 2;
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    list_init(&lookup->waiters);
    list_init(&lookup->in_session);
    list_init(&lookup->in_resolver);
    list_put(&session->lookups, &lookup->in_session);
    list_put(&g->resolver->lookups, &lookup->in_resolver);
    session->lookup_count++;
    list_put(&lookup->waiters, &c->in_lookup);
    change_servers(g);
    lookup->channel = g->resolver->now;
    lookup->channel->pending += 2;
    /* Either may answer before it returns; with one pending, and none held back until the tick, the
     * lookup is there until the second has answered. */
    ares_channel asked = lookup->channel->ares;
    ares_query(asked, lookup->host, ns_c_in, ns_t_aaaa, answered_six, lookup);
    ares_query(asked, lookup->host, ns_c_in, ns_t_a, answered_four, lookup);
}

void resolver_forget(struct gateway *g, struct connection *c)
{
    (void)g;
    list_remove(&c->in_lookup);
}

void resolver_session_ends(struct gateway *g, struct session *session)
{
    for (struct link *l = g->resolver->lookups.next; l != &g->resolver->lookups; l = l->next) {
        struct lookup *lookup = list_owner(l, struct lookup, in_resolver);
        if (lookup->session != session)
            continue;
        list_remove(&lookup->in_session);
        lookup->session = NULL;
        lookup->delivered = true;
    }
}

/* Its timeouts, and milliseconds until the next; -1: none. */
static int tick_channel(struct channel *channel)
{
    struct timeval most = {1, 0}, next;
    if (channel->pending > 0)
        ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (channel->pending == 0)
        return -1;
    struct timeval *in = ares_timeout(channel->ares, &most, &next);
    return in ? (int)(in->tv_sec * 1000 + in->tv_usec / 1000) + 1 : 1000;
}

static int sooner(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

int resolver_tick(struct gateway *g)
{
    struct resolver *r = g->resolver;
    int wait = -1;
    if (r->now->pending == 0 && r->before->pending == 0)
        return -1;
    if (r->before->pending > 0 && g->now_ms >= r->drained_ms)
        ares_cancel(r->before->ares);
    for (unsigned i = 0; i < ARRAY_LENGTH(r->channels); i++)
        wait = sooner(wait, tick_channel(&r->channels[i]));
    if (r->before->pending > 0)
        wait = sooner(wait, (int)(r->drained_ms - g->now_ms));
    for (struct link *l = r->lookups.next, *after; l != &r->lookups; l = after) {
        struct lookup *lookup = list_owner(l, struct lookup, in_resolver);
        after = l->next;
        if (lookup->delivered || lookup->deliver_ms == 0)
            continue;
        if (g->now_ms >= lookup->deliver_ms)
            deliver(lookup);
        else
            wait = sooner(wait, (int)(lookup->deliver_ms - g->now_ms));
    }
    return wait;
}
