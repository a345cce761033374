/* This file takes listening sockets that a service manager made (sd_listen_fds(3)); it never takes
 * one that would let in whom a socket of berth's own would not.
 *
 * They stay the manager's: while berth is stopped or upgraded, connections wait in their queues,
 * and berth does not remove their names.
 */
#include "api/cli/serve.h"

#include "runtime/base/fd.h"
#include "runtime/base/units.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { GIVEN_FIRST = 3, GIVEN_MAX = SERVE_TCP_MAX + 1 };

static int refuse(struct err *err, int fd, const char *what)
{
    char subject[32];
    snprintf(subject, sizeof subject, "descriptor %d", fd);
    return err_set(err, ERR_INVALID_REQUEST, 0, "take a socket of the service manager", subject,
                   "%s", what);
}

static int take_unix(int fd, struct serve_plan *plan, struct serve_place *place, struct err *err)
{
    struct serve_config *config = &plan->config;
    struct sockaddr_un at = {0};
    socklen_t length = sizeof at;
    if (place->listen >= 0)
        return refuse(err, fd, "One unix socket is served, and this is the second.");
    if (plan->socket[0])
        return refuse(err, fd, "--socket and \"socket\" say another place. Use one of the two.");
    if (getsockname(fd, (struct sockaddr *)&at, &length) < 0 ||
        length > sizeof config->listen_address || at.sun_path[0] != '/' ||
        !memchr(at.sun_path, 0, sizeof at.sun_path))
        return refuse(err, fd, "Its name must be a path: who connects to it needs a right there.");
    /* The launcher knows clients' sockets by it (P-7). */
    memcpy(config->listen_address, &at, length);
    config->listen_length = length;
    snprintf(place->socket, sizeof place->socket, "%s", at.sun_path);
    int r = serve_regroup(place, config->socket_gid, err);
    if (r == 0)
        place->listen = fd;
    return r;
}

static int take_tcp(int fd, int domain, struct serve_plan *plan, struct serve_place *place,
                    struct err *err)
{
    struct sockaddr_in four = {0};
    struct sockaddr_in6 six = {0};
    const int on = 1;
    bool is_six = domain == AF_INET6;
    socklen_t length = is_six ? sizeof six : sizeof four;
    struct sockaddr *name = is_six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    struct serve_address at = {.six = is_six};
    if (place->tcp_count == SERVE_TCP_MAX || plan->config.tcp_count == SERVE_TCP_MAX)
        return refuse(err, fd, "Too many addresses are listened on.");
    if (getsockname(fd, name, &length) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0)
        return refuse(err, fd, "It cannot be asked where it listens.");
    memcpy(at.bytes, is_six ? (void *)&six.sin6_addr : (void *)&four.sin_addr, is_six ? 16 : 4);
    at.port = ntohs(is_six ? six.sin6_port : four.sin_port);
    at.loopback =
        is_six ? memcmp(at.bytes, &in6addr_loopback, sizeof at.bytes) == 0 : at.bytes[0] == 127;
    if (!at.loopback && !plan->beyond_loopback)
        return refuse(
            err, fd,
            "It is reached from beyond this host. Say \"listen_beyond_loopback\": true in "
            "the configuration if that is meant.");
    serve_address_format(&at, place->urls[place->tcp_count]);
    place->tcp[place->tcp_count++] = fd;
    plan->config.tcp_given++;
    return 0;
}

static int take_one(int fd, struct serve_plan *plan, struct serve_place *place, struct err *err)
{
    int domain = 0, type = 0, listens = 0, flags = fcntl(fd, F_GETFL);
    socklen_t size = sizeof(int);
    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0 || type != SOCK_STREAM ||
        !listens)
        return refuse(err, fd, "It is not a listening stream socket.");
    if (domain == AF_UNIX)
        return take_unix(fd, plan, place, err);
    if (domain == AF_INET || domain == AF_INET6)
        return take_tcp(fd, domain, plan, place, err);
    return refuse(err, fd, "It is neither a unix nor a TCP socket.");
}

int serve_given(struct serve_plan *plan, struct serve_place *place, struct err *err)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t number = 0, fds = 0;
    int r = 0;
    /* For another process: it has given them to nobody here. */
    if (!pid || !count || units_parse_u64(pid, &number) < 0 || number != (uint64_t)getpid())
        return 0;
    if (units_parse_u64(count, &fds) < 0 || fds > GIVEN_MAX)
        return err_set(err, ERR_INVALID_REQUEST, 0, "take the sockets of the service manager",
                       "LISTEN_FDS", "At most %d are taken.", GIVEN_MAX);
    for (uint64_t i = 0; r == 0 && i < fds; i++)
        r = take_one(GIVEN_FIRST + (int)i, plan, place, err);
    place->given = place->listen >= 0;
    return r;
}
