/* This file reads the addresses on which `berth serve` listens over TCP, and makes the sockets; it
 * never resolves a name, and listens beyond this host only where the configuration says so.
 *
 * PRIVILEGED: the supervisor's, for ports below 1024. It accepts nothing: front gets the sockets at
 * its birth, and connections wait in their queues while it is started again.
 */
#include "api/cli/serve.h"

#include "api/cli/cli.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/units.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { QUEUE = 4096 };

static bool parse_port(const char *text, uint16_t *ret)
{
    uint64_t port;
    if (strlen(text) > 5 || units_parse_u64(text, &port) < 0 || port > UINT16_MAX)
        return false;
    *ret = (uint16_t)port;
    return true;
}

int serve_address_parse(const char *text, struct serve_address *ret)
{
    char host[INET6_ADDRSTRLEN + 1];
    const char *colon = strrchr(text, ':'), *begin = text, *end = colon;
    uint16_t port;
    if (!colon || !parse_port(colon + 1, &port))
        return -EINVAL;
    bool six = text[0] == '[';
    if (six) {
        if (colon[-1] != ']')
            return -EINVAL;
        begin++;
        end--;
    }
    size_t n = (size_t)(end - begin);
    if (n == 0 || n >= sizeof host)
        return -EINVAL;
    memcpy(host, begin, n);
    host[n] = 0;
    *ret = (struct serve_address){.six = six, .port = port};
    if (inet_pton(six ? AF_INET6 : AF_INET, host, ret->bytes) != 1)
        return -EINVAL;
    ret->loopback = six ? memcmp(ret->bytes, &in6addr_loopback, 16) == 0 : ret->bytes[0] == 127;
    return 0;
}

void serve_address_format(const struct serve_address *at, char ret[SERVE_URL_SIZE])
{
    char host[INET6_ADDRSTRLEN];
    inet_ntop(at->six ? AF_INET6 : AF_INET, at->bytes, host, sizeof host);
    snprintf(ret, SERVE_URL_SIZE, at->six ? "http://[%s]:%u" : "http://%s:%u", host,
             (unsigned)at->port);
}

static socklen_t fill(const struct serve_address *at, struct sockaddr_storage *ret)
{
    *ret = (struct sockaddr_storage){0};
    if (at->six) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)ret;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(at->port);
        memcpy(&six->sin6_addr, at->bytes, 16);
        return sizeof *six;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)ret;
    four->sin_family = AF_INET;
    four->sin_port = htons(at->port);
    memcpy(&four->sin_addr, at->bytes, 4);
    return sizeof *four;
}

/* What an accepted socket inherits: small answers are not held back. SO_REUSEADDR: an address whose
 * last connections are not forgotten yet; never one that somebody listens on. */
static int set_options(int fd, bool six)
{
    const int on = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) < 0 ||
        (six && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0))
        return -errno;
    return 0;
}

/* Port 0: the kernel has chosen one. */
static int read_port(int fd, struct serve_address *at)
{
    struct sockaddr_in four = {0};
    struct sockaddr_in6 six = {0};
    socklen_t length = at->six ? sizeof six : sizeof four;
    struct sockaddr *name = at->six ? (struct sockaddr *)&six : (struct sockaddr *)&four;
    if (getsockname(fd, name, &length) < 0)
        return -errno;
    at->port = ntohs(at->six ? six.sin6_port : four.sin_port);
    return 0;
}

static int listen_one(struct serve_address *at, int *ret_fd)
{
    struct sockaddr_storage name;
    socklen_t length = fill(at, &name);
    _cleanup_fd_ int fd =
        socket(at->six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    int r = set_options(fd, at->six);
    if (r == 0 && (bind(fd, (const struct sockaddr *)&name, length) < 0 || listen(fd, QUEUE) < 0))
        r = -errno;
    if (r == 0)
        r = read_port(fd, at);
    if (r == 0)
        *ret_fd = take_fd(&fd);
    return r;
}

enum { WAIT_FOR_THE_DEAD_MS = 1000, LOOK_AGAIN_MS = 10 };

/* The front of a berth that was killed closes its copies one after the other: its address may be
 * taken for a moment after its unix socket was seen free. The kernel names nobody for it. */
static int listen_after_the_dead(struct serve_address *at, int *ret_fd)
{
    int r = listen_one(at, ret_fd);
    for (unsigned waited_ms = 0; r == -EADDRINUSE && waited_ms < WAIT_FOR_THE_DEAD_MS;
         waited_ms += LOOK_AGAIN_MS) {
        poll(NULL, 0, LOOK_AGAIN_MS);
        r = listen_one(at, ret_fd);
    }
    return r;
}

int serve_listen_tcp(const struct serve_plan *plan, struct serve_place *place, struct err *err)
{
    for (uint32_t i = 0; i < plan->config.tcp_count; i++) {
        struct serve_address at = plan->addresses[i];
        char url[SERVE_URL_SIZE];
        int r = listen_after_the_dead(&at, &place->tcp[i]);
        serve_address_format(&at, place->urls[i]);
        memcpy(url, place->urls[i], sizeof url);
        if (r < 0)
            return err_set(err, ERR_UNAVAILABLE, -r, "listen on", url, "%s",
                           r == -EADDRINUSE      ? "Somebody listens there. Choose another port."
                           : r == -EACCES        ? "Ports below 1024 are root's."
                           : r == -EADDRNOTAVAIL ? "This host has not that address."
                                                 : "");
        place->tcp_count = i + 1;
        if (!at.loopback) {
            char line[SERVE_URL_SIZE + 160];
            snprintf(line, sizeof line,
                     "warning: %s is plain HTTP and reached from beyond this host: whoever sees "
                     "its packets has its tokens. Let TLS end in front of it.",
                     url);
            cli_log("warning", "listen", line);
        }
    }
    return 0;
}
