/* This file is an attack program: it connects to what it is told, and says what answered (rows 13,
 * 38a, 40, 44, 45). It never sends more than one byte.
 *
 *     connect SPEC…      abstract:NAME  path:PATH  tcp:ADDRESS:PORT  udp:ADDRESS:PORT
 */
#include "try.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

static int finish(int fd, const struct sockaddr *address, socklen_t length)
{
    if (connect(fd, address, length) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    if (poll(&p, 1, 1500) <= 0)
        return ETIMEDOUT; /* silence is a defect of its own: NET-4 wants an error within 1 s */
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error;
}

static int local(const char *name, bool abstract, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t n = strnlen(name, sizeof address.sun_path - 2);
    memcpy(address.sun_path + (abstract ? 1 : 0), name, n);
    socklen_t length =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (abstract ? 1u : 1u));
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    int r = connect(fd, (struct sockaddr *)&address, length) < 0 ? errno : 0;
    close(fd);
    return r;
}

static int internet(const char *text, int type)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        return EINVAL;
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    uint16_t port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = port};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = port};
    bool is4 = inet_pton(AF_INET, host, &v4.sin_addr) == 1;
    if (!is4 && inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
        return EINVAL;
    int fd = socket(is4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return errno;
    int r = is4 ? finish(fd, (struct sockaddr *)&v4, sizeof v4)
                : finish(fd, (struct sockaddr *)&v6, sizeof v6);
    if (r == 0 && type == SOCK_DGRAM && send(fd, "x", 1, MSG_NOSIGNAL) < 0)
        r = errno;
    close(fd);
    return r;
}

int main(int argc, char **argv)
{
    try_begin();
    for (int i = 1; i < argc; i++) {
        const char *spec = argv[i], *rest = strchr(spec, ':');
        char name[160];
        int r = EINVAL;
        if (!rest)
            return 2;
        rest++;
        if (strncmp(spec, "abstract:", 9) == 0) {
            r = local(rest, true, SOCK_STREAM);
            if (r == EPROTOTYPE)
                r = local(rest, true, SOCK_DGRAM);
        } else if (strncmp(spec, "path:", 5) == 0) {
            r = local(rest, false, SOCK_STREAM);
            if (r == EPROTOTYPE)
                r = local(rest, false, SOCK_DGRAM);
        } else if (strncmp(spec, "tcp:", 4) == 0) {
            r = internet(rest, SOCK_STREAM);
        } else if (strncmp(spec, "udp:", 4) == 0) {
            r = internet(rest, SOCK_DGRAM);
        }
        snprintf(name, sizeof name, "connect_%.140s", spec);
        for (char *c = name; *c; c++)
            if (*c == ':' || *c == ' ' || (unsigned char)*c < 32)
                *c = '_';
        if (r == 0)
            try_succeeded(name, "connected");
        else if (r == ETIMEDOUT || r == EINVAL)
            try_succeeded(name, "no clear refusal: %s", strerrorname_np(r));
        else
            try_denied(name, r);
    }
    return try_end("connect");
}
