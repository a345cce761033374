/* This file keeps the sessions that the gateway serves, and accepts for them; it never decides what
 * one may reach.
 */
#include "runtime/gateway/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { ACCEPTS = 32 }; /* of one listener in one round: others have their turn then */

struct session *session_find(struct gateway *g, int64_t row, int64_t incarnation)
{
    for (struct link *l = g->sessions.next; l != &g->sessions; l = l->next) {
        struct session *session = list_owner(l, struct session, in_gateway);
        if (session->row == row && session->incarnation == incarnation)
            return session;
    }
    return NULL;
}

/* ---- listeners ------------------------------------------------------------------------------- */

int session_accept(struct gateway *g, struct listener *listener)
{
    for (;;) {
        int fd = accept4(listener->watch.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            return fd;
        if (errno == EINTR || errno == ECONNABORTED || errno == EPROTO)
            continue;
        /* No descriptor or no memory: the listener would be ready for ever. */
        if (errno != EAGAIN && watch_change(g, &listener->watch, 0) == 0)
            listener->paused = g->paused = true;
        return -1;
    }
}

void session_listener(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct listener *listener = list_owner(watch, struct listener, watch);
    (void)events;
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = session_accept(g, listener);
        if (fd < 0)
            return;
        if (listener->port)
            dial_published(g, listener, fd);
        else
            dial_accepted(g, listener, fd);
    }
}

static void resume(struct gateway *g, struct listener *listeners, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (listeners[i].paused && watch_change(g, &listeners[i].watch, EPOLLIN) == 0)
            listeners[i].paused = false;
}

void session_resume(struct gateway *g)
{
    g->paused = false;
    for (struct link *l = g->sessions.next; l != &g->sessions; l = l->next) {
        struct session *session = list_owner(l, struct session, in_gateway);
        resume(g, session->listeners, ARRAY_LENGTH(session->listeners));
        resume(g, session->published, ARRAY_LENGTH(session->published));
    }
}

static int listen_to(struct gateway *g, struct session *session, struct listener *listener, int *fd,
                     void (*happened)(struct gateway *g, struct watch *watch, uint32_t events))
{
    /* One that could wait would hold everybody up. */
    int flags = fcntl(*fd, F_GETFL);
    if (flags < 0 || fcntl(*fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    listener->session = session;
    int r = watch_add(g, &listener->watch, *fd, EPOLLIN, happened);
    if (r == 0)
        *fd = -1;
    return r;
}

/* ---- what is handed over --------------------------------------------------------------------- */

static const struct {
    int domain, type, protocol;
    bool listens;
    void (*happened)(struct gateway *g, struct watch *watch, uint32_t events);
} expected[] = {
    [GATEWAY_ADD_TCP4] = {AF_INET, SOCK_STREAM, IPPROTO_TCP, true, session_listener},
    [GATEWAY_ADD_TCP6] = {AF_INET6, SOCK_STREAM, IPPROTO_TCP, true, session_listener},
    [GATEWAY_ADD_UDP4] = {AF_INET, SOCK_DGRAM, IPPROTO_UDP, false, questions_udp},
    [GATEWAY_ADD_UDP6] = {AF_INET6, SOCK_DGRAM, IPPROTO_UDP, false, questions_udp},
    [GATEWAY_ADD_DNS4] = {AF_INET, SOCK_STREAM, IPPROTO_TCP, true, questions_tcp},
    [GATEWAY_ADD_DNS6] = {AF_INET6, SOCK_STREAM, IPPROTO_TCP, true, questions_tcp},
    [GATEWAY_ADD_LOG] = {AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER, false, refusals},
    [GATEWAY_ADD_DIAG] = {AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG, false, NULL},
};

static int option(int fd, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &size) < 0 ? -1 : value;
}

static bool is_expected(int fd, unsigned i)
{
    int type = option(fd, SO_TYPE);
    if (expected[i].domain == AF_NETLINK && type == SOCK_DGRAM)
        type = SOCK_RAW;
    return option(fd, SO_DOMAIN) == expected[i].domain && type == expected[i].type &&
           option(fd, SO_PROTOCOL) == expected[i].protocol &&
           (option(fd, SO_ACCEPTCONN) == 1) == expected[i].listens;
}

static void free_record(struct network_record **record)
{
    if (*record)
        munmap(*record, sizeof **record);
    *record = NULL;
}

static bool read_at(int fd, void *to, size_t length, size_t at)
{
    return pread(fd, to, length, (off_t)at) == (ssize_t)length;
}

/* Its head, and then the rules that there are. */
static bool read_used(int fd, struct network_record *record)
{
    const size_t allow = offsetof(struct network_record, network.allow);
    const size_t deny = offsetof(struct network_record, network.deny);
    struct spec_network *net = &record->network;
    return read_at(fd, record, allow, 0) && net->allow_count <= SPEC_RULES_MAX &&
           net->deny_count <= SPEC_RULES_MAX &&
           read_at(fd, net->allow, net->allow_count * sizeof net->allow[0], allow) &&
           read_at(fd, net->deny, net->deny_count * sizeof net->deny[0], deny);
}

/* Mapped, so that a session has the pages of the rules that it has, and not of those that it could
 * have: the record is 150 KiB. */
static int read_record(int fd, struct network_record **ret, struct err *err)
{
    static const char step[] = "read a session's rules";
    struct stat st;
    struct network_record *record =
        mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (record == MAP_FAILED)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    if (fstat(fd, &st) < 0 || !read_used(fd, record))
        st.st_size = 0;
    const char *wrong = gateway_record_check(record, (size_t)st.st_size);
    if (wrong) {
        free_record(&record);
        return err_set(err, ERR_INTERNAL, EINVAL, step, NULL, "They are %s.", wrong);
    }
    *ret = record;
    return 0;
}

static void use_record(struct session *session, struct network_record *record)
{
    free_record(&session->record);
    session->record = record;
    session->net = &record->network;
    session->generation = record->generation;
}

static struct session *new_session(const struct gateway_request *request)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return NULL;
    session->row = request->row;
    session->incarnation = request->incarnation;
    session->names.fd = session->diag = -1;
    session->asked_about = true;
    for (unsigned i = 0; i < GATEWAY_ADD_END; i++)
        session->listeners[i].watch.fd = -1;
    for (unsigned i = 0; i < GATEWAY_PUBLISH_MAX; i++)
        session->published[i].watch.fd = -1;
    list_init(&session->in_gateway);
    list_init(&session->in_throttled);
    list_init(&session->connections);
    list_init(&session->lookups);
    list_init(&session->streams);
    list_init(&session->waiting);
    return session;
}

static int fill_session(struct gateway *g, struct session *session, int *fds, unsigned fd_count,
                        struct err *err)
{
    static const char step[] = "serve a session's network";
    struct network_record *record;
    int r = read_record(fds[GATEWAY_ADD_RECORD], &record, err);
    if (r < 0)
        return r;
    use_record(session, record);
    r = names_open(&session->names, take_fd(&fds[GATEWAY_ADD_NAMES]), err);
    for (unsigned i = GATEWAY_ADD_TCP4; r == 0 && i < fd_count; i++) {
        if (!is_expected(fds[i], i))
            return err_set(err, ERR_INTERNAL, EINVAL, step, NULL, "Descriptor %u is another.", i);
        if (i == GATEWAY_ADD_DIAG)
            session->diag = take_fd(&fds[i]);
        else
            r = listen_to(g, session, &session->listeners[i], &fds[i], expected[i].happened);
        if (r < 0)
            err_set(err, ERR_INTERNAL, -r, step, NULL, NULL);
    }
    return r;
}

int session_add(struct gateway *g, const struct gateway_request *request, int *fds,
                unsigned fd_count, struct err *err)
{
    static const char step[] = "serve a session's network";
    if (session_find(g, request->row, request->incarnation))
        return err_set(err, ERR_INVALID_STATE, EEXIST, step, NULL, "It is served already.");
    if (g->session_count >= g->config.sessions_max)
        return err_set(err, ERR_UNAVAILABLE, EUSERS, step, NULL, "Too many sessions.");
    struct session *session = new_session(request);
    if (!session)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, step, NULL, NULL);
    list_put(&g->sessions, &session->in_gateway);
    g->session_count++;
    int r = fill_session(g, session, fds, fd_count, err);
    if (r < 0)
        session_remove(g, session);
    return r;
}

uint32_t session_remove(struct gateway *g, struct session *session)
{
    uint32_t cut = session->connection_count;
    while (!list_empty(&session->connections))
        connection_close(g, list_owner(session->connections.next, struct connection, in_session),
                         true);
    resolver_session_ends(g, session);
    questions_close(g, session);
    for (unsigned i = 0; i < GATEWAY_ADD_END; i++)
        watch_close(g, &session->listeners[i].watch);
    for (unsigned i = 0; i < GATEWAY_PUBLISH_MAX; i++)
        watch_close(g, &session->published[i].watch);
    for (int six = 0; six < 2; six++)
        while (session->connector_count[six] > 0)
            fd_close(session->connectors[six][--session->connector_count[six]]);
    names_fini(&session->names);
    free_record(&session->record);
    session->net = NULL;
    fd_close(session->diag);
    list_remove(&session->in_throttled);
    list_remove(&session->in_gateway);
    g->session_count--;
    /* Before whoever asked for it is answered: what he tells next is that it has ended. */
    events_hurry(g->events, session->row, session->incarnation, g->now_ms);
    bury(g, session);
    return cut;
}

uint32_t session_sweep(struct gateway *g)
{
    uint32_t count = 0;
    for (struct link *l = g->sessions.next, *next; l != &g->sessions; l = next) {
        struct session *session = list_owner(l, struct session, in_gateway);
        next = l->next;
        if (session->asked_about)
            continue;
        session_remove(g, session);
        count++;
    }
    return count;
}

/* ---- other rules ----------------------------------------------------------------------------- */

/* The port inside that this one of the host leads to; 0: none. A rule without a port of the host
 * has any: then the one that it led to, `port`, stands. */
static uint16_t leads_to(const struct session *session, uint16_t host_port, uint16_t port)
{
    const struct spec_network *net = session->net;
    for (unsigned i = 0; i < net->publish_count; i++)
        if (net->publish[i].host_port == host_port ||
            (net->publish[i].host_port == 0 && net->publish[i].port == port))
            return net->publish[i].port;
    return 0;
}

/* What the rules that there are now say of a connection that was allowed (NET-6). */
static void decide_again(const struct connection *c, struct network_decision *ret)
{
    const struct spec_network *net = c->session->net;
    *ret = (struct network_decision){.allowed = true, .reason = c->reason, .rule = c->rule};
    if (c->published) {
        ret->allowed = leads_to(c->session, c->host_port, c->port) == c->port;
        ret->reason = ret->allowed ? NETWORK_BY_RULE : NETWORK_BY_NO_RULE;
        ret->rule = -1;
    } else if (c->name < 0) {
        network_decide_address(net, &c->address, c->port, false, ret);
    } else if (c->state == CONNECTION_OPEN) {
        network_decide_resolved(net, connection_host(c), c->port, &c->address, c->own, ret);
    } else {
        network_decide_host(net, connection_host(c), c->port, ret);
    }
}

static void unpublish(struct gateway *g, struct listener *listener)
{
    watch_close(g, &listener->watch);
    listener->port = listener->host_port = 0;
    listener->paused = false;
}

int session_replace(struct gateway *g, struct session *session, int fd, uint32_t *ret_cut,
                    struct err *err)
{
    struct network_record *record;
    int r = read_record(fd, &record, err);
    if (r < 0)
        return r;
    if (record->generation < session->generation) {
        free_record(&record);
        return err_set(err, ERR_INVALID_STATE, ESTALE, "replace a session's rules", NULL,
                       "Those that hold are newer.");
    }
    use_record(session, record);
    for (unsigned i = 0; i < GATEWAY_PUBLISH_MAX; i++) {
        struct listener *listener = &session->published[i];
        if (listener->port)
            listener->port = leads_to(session, listener->host_port, listener->port);
        if (!listener->port)
            unpublish(g, listener);
    }
    uint32_t cut = 0;
    for (struct link *l = session->connections.next, *next; l != &session->connections; l = next) {
        struct connection *c = list_owner(l, struct connection, in_session);
        struct network_decision d;
        next = l->next;
        decide_again(c, &d);
        c->reason = (uint8_t)d.reason;
        c->rule = (int16_t)d.rule;
        if (d.allowed) {
            dial_sniff(c);
            continue;
        }
        tell_connection(g, c, GATEWAY_DENIED, &d, 0);
        connection_close(g, c, true);
        cut++;
    }
    *ret_cut = cut;
    return 0;
}

void session_doors(struct gateway *g)
{
    const struct network_decision shut = {.reason = NETWORK_BY_OWN_ADDRESS, .rule = -1};
    for (struct link *s = g->sessions.next; s != &g->sessions; s = s->next) {
        struct session *session = list_owner(s, struct session, in_gateway);
        for (struct link *l = session->connections.next, *next; l != &session->connections;
             l = next) {
            struct connection *c = list_owner(l, struct connection, in_session);
            next = l->next;
            if (!dial_is_shut_out(g, c))
                continue;
            tell_connection(g, c, GATEWAY_DENIED, &shut, 0);
            connection_close(g, c, true);
        }
    }
}

/* ---- published ports ------------------------------------------------------------------------- */

static uint16_t host_port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } at = {0};
    socklen_t size = sizeof at;
    if (getsockname(fd, &at.any, &size) < 0)
        return 0;
    return ntohs(at.any.sa_family == AF_INET ? at.four.sin_port : at.six.sin6_port);
}

static struct listener *free_listener(struct session *session)
{
    for (unsigned i = 0; i < GATEWAY_PUBLISH_MAX; i++)
        if (!session->published[i].port)
            return &session->published[i];
    return NULL;
}

static int publish_all(struct gateway *g, struct session *session, const uint16_t *ports, int *fds,
                       unsigned count)
{
    struct listener *made[GATEWAY_PUBLISH_MAX];
    int r = 0;
    for (unsigned i = 0; i < count && r == 0; i++) {
        uint16_t host_port = host_port_of(fds[i]);
        made[i] = free_listener(session);
        r = made[i] ? listen_to(g, session, made[i], &fds[i], session_listener) : -ENOSPC;
        if (r == 0) {
            made[i]->port = ports[i];
            made[i]->host_port = host_port;
            continue;
        }
        while (i > 0)
            unpublish(g, made[--i]);
        break;
    }
    return r;
}

int session_publish(struct gateway *g, struct session *session, const uint16_t *ports, int *fds,
                    unsigned count, struct err *err)
{
    static const char step[] = "publish a port";
    for (unsigned i = 0; i < count; i++) {
        int domain = option(fds[i], SO_DOMAIN);
        if ((domain != AF_INET && domain != AF_INET6) || option(fds[i], SO_ACCEPTCONN) != 1 ||
            option(fds[i], SO_TYPE) != SOCK_STREAM)
            return err_set(err, ERR_INTERNAL, EINVAL, step, NULL, "Descriptor %u is another.", i);
        if (leads_to(session, host_port_of(fds[i]), ports[i]) != ports[i])
            return err_set(err, ERR_INTERNAL, EACCES, step, NULL,
                           "The rules of the session do not publish port %u.", ports[i]);
    }
    int r = publish_all(g, session, ports, fds, count);
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, step, NULL, NULL);
    control_need(g, session);
    return 0;
}

/* The kernel would accept for a program that stands still: who waits for it, and who comes, learns
 * at once that it does not answer. What is open waits, as for any program that is stopped. */
void session_hold(struct gateway *g, struct session *session, bool hold)
{
    session->held = hold;
    for (struct link *l = session->connections.next, *next; l != &session->connections; l = next) {
        struct connection *c = list_owner(l, struct connection, in_session);
        next = l->next;
        if (hold && c->published && c->state != CONNECTION_OPEN)
            connection_close(g, c, true);
    }
}

uint32_t session_publishes(const struct session *session, const uint16_t *ports, unsigned count)
{
    uint32_t mask = 0;
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k < GATEWAY_PUBLISH_MAX; k++)
            if (session->published[k].port && session->published[k].host_port == ports[i])
                mask |= UINT32_C(1) << i;
    return mask;
}

void session_connectors(struct gateway *g, struct session *session, int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        int domain = option(fds[i], SO_DOMAIN), six = domain == AF_INET6;
        if ((domain != AF_INET && domain != AF_INET6) || option(fds[i], SO_TYPE) != SOCK_STREAM ||
            session->connector_count[six] >= CONNECTORS_MAX)
            continue;
        session->has_six |= six;
        session->connectors[six][session->connector_count[six]++] = take_fd(&fds[i]);
    }
    session->asked_connectors = false;
    dial_kick(g, session);
}
