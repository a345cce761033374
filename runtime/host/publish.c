/* This file binds the listeners of published ports and gives the gateway what it serves them with;
 * it never accepts, and never binds an address that another host could reach.
 */
#include "runtime/host/publish.h"

#include "runtime/base/fd.h"
#include "runtime/host/network.h"
#include "runtime/host/network_ask.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum {
    BACKLOG = 1024,
    ANY_TRIES = 64, /* a free port of IPv4 may be another's of IPv6 */
    SOCKETS_EACH = GATEWAY_SOCKETS_MAX / 2,
    PRIVILEGED_PORTS = 1024,
};

static const char step[] = "publish a port";

void publish_init(struct publish *publish)
{
    *publish = (struct publish){0};
    for (unsigned i = 0; i < SPEC_PUBLISH_MAX; i++)
        publish->ports[i].fds[0] = publish->ports[i].fds[1] = -1;
}

void publish_fini(struct publish *publish)
{
    for (unsigned i = 0; i < SPEC_PUBLISH_MAX; i++) {
        fd_closep(&publish->ports[i].fds[0]);
        fd_closep(&publish->ports[i].fds[1]);
    }
}

/* ---- listeners ------------------------------------------------------------------------------- */

static int bind_loopback(int fd, int family, uint16_t port)
{
    struct sockaddr_in four = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 six = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int r = family == AF_INET ? bind(fd, (const struct sockaddr *)&four, sizeof four)
                              : bind(fd, (const struct sockaddr *)&six, sizeof six);
    return r < 0 ? -errno : 0;
}

/* 0; -EADDRNOTAVAIL: the host has no such address. SO_REUSEADDR lets a port be had again while
 * connections of before are ending on it, and lets nobody listen beside somebody: the kernel gives
 * a port that is listened on to none, and refuses the second listen() of two that were bound before
 * either listened. SO_REUSEPORT would let whoever has the same uid take a share of the clients. */
static int bound_at(int family, uint16_t port, int *ret)
{
    static const int one = 1;
    _cleanup_fd_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno == EAFNOSUPPORT ? -EADDRNOTAVAIL : -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
        (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0))
        return -errno;
    int r = bind_loopback(fd, family, port);
    if (r == 0)
        *ret = take_fd(&fd);
    return r;
}

static int listen_at(int family, uint16_t port, int *ret)
{
    _cleanup_fd_ int fd = -1;
    int r = bound_at(family, port, &fd);
    if (r == 0 && listen(fd, BACKLOG) < 0)
        r = -errno;
    if (r == 0)
        *ret = take_fd(&fd);
    return r;
}

static int port_of(int fd, uint16_t *ret)
{
    struct sockaddr_in at = {0};
    socklen_t size = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &size) < 0)
        return -errno;
    *ret = ntohs(at.sin_port);
    return 0;
}

/* Both families at one port, so that "localhost" leads to one place. *ret_family: who refused. */
static int listen_both(struct publish_port *port, int *ret_family)
{
    int four = -1, six = -1;
    uint16_t number = port->host_port;
    *ret_family = AF_INET;
    int r = listen_at(AF_INET, number, &four);
    if (r == 0 && number == 0)
        r = port_of(four, &number);
    if (r == 0) {
        *ret_family = AF_INET6;
        r = listen_at(AF_INET6, number, &six);
        if (r == -EADDRNOTAVAIL)
            r = 0;
    }
    if (r < 0) {
        fd_close(four);
        return r;
    }
    port->host_port = number;
    port->fds[0] = four;
    port->fds[1] = six;
    port->six = six >= 0;
    return 0;
}

/* Ports from here on are anybody's. */
static unsigned first_port(void)
{
    char text[16] = "";
    unsigned first = PRIVILEGED_PORTS;
    _cleanup_fd_ int fd =
        open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && sscanf(text, "%u", &first) != 1)
        first = PRIVILEGED_PORTS;
    return first;
}

static int refuse_privileged(const struct publish_port *port, int sys, struct err *err)
{
    char subject[24];
    snprintf(subject, sizeof subject, "127.0.0.1:%u", port->host_port);
    return err_set(err, ERR_FORBIDDEN, sys, step, subject,
                   "Ports of the host below %u are root's. Publish it at another one: \"0:%u\" is "
                   "any that is free.",
                   first_port(), port->port);
}

static int refuse_port(const struct publish_port *port, int r, int family, struct err *err)
{
    char subject[24];
    if (r == -EACCES)
        return refuse_privileged(port, EACCES, err);
    snprintf(subject, sizeof subject, family == AF_INET ? "127.0.0.1:%u" : "[::1]:%u",
             port->host_port);
    if (r == -EADDRINUSE)
        return err_set(err, ERR_PORT_IN_USE, EADDRINUSE, step, subject,
                       "Somebody has this port of the host. Publish at another one: \"0:%u\" is "
                       "any that is free, and is told.",
                       port->port);
    return err_set(err, ERR_UNAVAILABLE, -r, step, subject, NULL);
}

static int bind_one(struct publish_port *port, bool privileged, struct err *err)
{
    int r, family, tries = port->host_port ? 1 : ANY_TRIES;
    if (port->host_port && !privileged && port->host_port < first_port())
        return refuse_privileged(port, EACCES, err);
    do {
        r = listen_both(port, &family);
    } while (r == -EADDRINUSE && --tries > 0);
    return r < 0 ? refuse_port(port, r, family, err) : 0;
}

int publish_bind_missing(const struct spec_publish *wanted, unsigned count, uint32_t mask,
                         bool privileged, struct publish *ret, struct err *err)
{
    struct publish made;
    publish_init(&made);
    made.count = count;
    /* Those that were named first: a free one could be theirs. */
    int r = 0;
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < count && r == 0; i++) {
            if ((wanted[i].host_port == 0) != (round == 1))
                continue;
            made.ports[i].host_port = wanted[i].host_port;
            made.ports[i].port = wanted[i].port;
            if (!(mask & UINT32_C(1) << i))
                r = bind_one(&made.ports[i], privileged, err);
        }
    if (r < 0) {
        publish_fini(&made);
        return r;
    }
    *ret = made;
    return 0;
}

int publish_bind(const struct spec_network *net, bool privileged, struct publish *ret,
                 struct err *err)
{
    return publish_bind_missing(net->publish, net->publish_count, 0, privileged, ret, err);
}

int publish_try(uint16_t host_port)
{
    if (host_port < first_port())
        return -EACCES;
    _cleanup_fd_ int four = -1, six = -1;
    int r = bound_at(AF_INET, host_port, &four);
    if (r == 0)
        r = bound_at(AF_INET6, host_port, &six);
    return r == -EADDRNOTAVAIL ? 0 : r;
}

void publish_had(const struct publish *publish, struct spec_publish ret[SPEC_PUBLISH_MAX])
{
    for (unsigned i = 0; i < publish->count; i++)
        ret[i] = (struct spec_publish){.host_port = publish->ports[i].host_port,
                                       .port = publish->ports[i].port};
}

bool publish_has_six(void)
{
    _cleanup_fd_ int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && bind_loopback(fd, AF_INET6, 0) == 0;
}

/* ---- the gateway ----------------------------------------------------------------------------- */

int publish_serve(int gateway, int64_t row, int64_t incarnation, int netns, unsigned count,
                  struct err *err)
{
    struct gateway_request request = {
        .type = GATEWAY_SOCKETS, .row = row, .incarnation = incarnation};
    int fds[GATEWAY_SOCKETS_MAX];
    unsigned each = count == 0 || count > SOCKETS_EACH ? SOCKETS_EACH : count;
    int r = network_namespace_connectors(netns, AF_INET, each, fds, err);
    if (r < 0)
        return r;
    unsigned made = each;
    struct err none;
    /* Without IPv6 in the kernel a session has 127.0.0.1 alone. */
    r = network_namespace_connectors(netns, AF_INET6, each, fds + made, &none);
    if (r == 0)
        made += each;
    else if (none.sys != EAFNOSUPPORT)
        *err = none;
    else
        r = 0;
    if (r == 0)
        r = network_ask(gateway, &request, fds, made, NULL, err);
    for (unsigned i = 0; i < made; i++)
        fd_close(fds[i]);
    return r;
}

int publish_give(int gateway, int64_t row, int64_t incarnation, int netns,
                 const struct publish *publish, struct err *err)
{
    struct gateway_request request = {
        .type = GATEWAY_PUBLISH, .row = row, .incarnation = incarnation};
    int fds[GATEWAY_PUBLISH_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < publish->count; i++)
        for (unsigned k = 0; k < 2; k++)
            if (publish->ports[i].fds[k] >= 0) {
                fds[count] = publish->ports[i].fds[k];
                request.ports[count++] = publish->ports[i].port;
            }
    request.port_count = count;
    if (count == 0)
        return 0;
    /* Sockets first: the first client finds one of each family. */
    int r = publish_serve(gateway, row, incarnation, netns, 0, err);
    return r == 0 ? network_ask(gateway, &request, fds, count, NULL, err) : r;
}

int publish_ask(int gateway, int64_t row, int64_t incarnation, const struct spec_publish *wanted,
                unsigned count, uint32_t *ret_mask, struct err *err)
{
    struct gateway_request request = {
        .type = GATEWAY_PUBLISHED, .row = row, .incarnation = incarnation, .port_count = count};
    struct gateway_reply reply;
    /* One that is to be any has no listener yet, and a request has no port 0. */
    for (unsigned i = 0; i < count; i++)
        request.ports[i] = wanted[i].host_port ? wanted[i].host_port : UINT16_MAX;
    if (count == 0) {
        *ret_mask = 0;
        return 0;
    }
    int r = network_ask(gateway, &request, NULL, 0, &reply, err);
    if (r < 0 && r != -ENOENT)
        return r;
    *ret_mask = r < 0 ? 0 : reply.count;
    for (unsigned i = 0; i < count; i++)
        if (wanted[i].host_port == 0)
            *ret_mask &= ~(UINT32_C(1) << i);
    return 0;
}
