/* This file takes what the supervisor gave; it never repairs what is wrong with it. */
#include "api/front/start.h"

#include "provider/registry.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

enum { SEALED_MAX = 4 << 20, CEILING_MAX = 1 << 20 };

static int refuse(struct err *err, int fd, const char *what)
{
    char subject[32];
    snprintf(subject, sizeof subject, "descriptor %d", fd);
    return err_set(err, ERR_INTERNAL, EINVAL, "take what the supervisor gave", subject, "%s", what);
}

static int unblock(int fd, struct err *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return refuse(err, fd, "Its flags cannot be set.");
    return 0;
}

static int check_socket(int fd, int type, bool listens, struct err *err)
{
    int domain = 0, kind = 0, accepts = 0;
    socklen_t size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) < 0 || domain != AF_UNIX ||
        kind != type || (accepts != 0) != listens)
        return refuse(err, fd,
                      listens ? "It is not a listening unix socket."
                              : "It is not one end of a pair of sockets.");
    return unblock(fd, err);
}

static int check_tcp(int fd, struct err *err)
{
    int domain = 0, kind = 0, accepts = 0;
    socklen_t size = sizeof(int);
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &size) < 0 ||
        (domain != AF_INET && domain != AF_INET6) || kind != SOCK_STREAM || !accepts)
        return refuse(err, fd, "It is not a listening TCP socket.");
    return unblock(fd, err);
}

/* Its bytes, with a NUL behind them. */
static int read_sealed(int fd, char **ret_data, size_t *ret_length, struct err *err)
{
    const int wanted = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & wanted) != wanted)
        return refuse(err, fd, "It is not a sealed memfd.");
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || st.st_size > SEALED_MAX)
        return refuse(err, fd, "It is empty, or too long.");
    _cleanup_free_ char *data = malloc((size_t)st.st_size + 1);
    if (!data)
        return err_set(err, ERR_INTERNAL, ENOMEM, "take what the supervisor gave", NULL, NULL);
    ssize_t n = pread(fd, data, (size_t)st.st_size, 0);
    if (n != st.st_size)
        return refuse(err, fd, "It cannot be read.");
    data[n] = 0;
    *ret_length = (size_t)n;
    *ret_data = take_ptr(&data);
    return 0;
}

static bool is_path(const char path[SPEC_PATH_MAX])
{
    return path[0] == '/' && memchr(path, 0, SPEC_PATH_MAX);
}

int front_start_config(int fd, struct front_start *ret, struct err *err)
{
    _cleanup_free_ char *data = NULL;
    size_t length = 0;
    struct serve_config *config = &ret->config;
    int r = read_sealed(fd, &data, &length, err);
    if (r < 0)
        return r;
    if (length < sizeof *config)
        return refuse(err, fd, "It is shorter than a configuration.");
    memcpy(config, data, sizeof *config);
    if (config->version != SERVE_CONFIG_VERSION || config->size != sizeof *config ||
        config->ceiling_length > CEILING_MAX || length != sizeof *config + config->ceiling_length)
        return refuse(err, fd,
                      "It is the configuration of another berth: install the programs together.");
    bool paths = is_path(config->state_dir) && is_path(config->runtime_dir) &&
                 config->root_count <= SERVE_ROOTS_MAX && config->tcp_count <= SERVE_TCP_MAX &&
                 config->tcp_given <= SERVE_TCP_MAX - config->tcp_count &&
                 config->host_count <= SERVE_HOSTS_MAX && config->door_count <= SERVE_DOOR_MAX;
    for (uint32_t i = 0; paths && i < config->root_count; i++)
        paths = is_path(config->roots[i]);
    if (!paths)
        return refuse(err, fd, "A path of the configuration is none.");
    if (config->ceiling_length == 0)
        return 0;
    return policy_load_text(&ret->ceiling, "ceiling", data + sizeof *config, config->ceiling_length,
                            err);
}

int front_start_capabilities(int fd, struct front_start *ret, struct err *err)
{
    _cleanup_free_ char *text = NULL;
    size_t length = 0;
    int r = read_sealed(fd, &text, &length, err);
    if (r == 0 && registry_decode(text, length, SERVE_CAPABILITIES_KEY, &ret->capabilities) != 0)
        return refuse(err, fd, "These are not the capabilities that this berth knows.");
    return r;
}

int front_start(struct front_start *ret, struct err *err)
{
    int r = check_socket(SERVE_FD_SUPERVISOR, SOCK_SEQPACKET, false, err);
    if (r == 0)
        r = check_socket(SERVE_FD_LAUNCHER, SOCK_SEQPACKET, false, err);
    if (r == 0)
        r = check_socket(SERVE_FD_LISTEN, SOCK_STREAM, true, err);
    ret->has_events = fcntl(SERVE_FD_EVENTS, F_GETFD) >= 0;
    if (r == 0 && ret->has_events)
        r = check_socket(SERVE_FD_EVENTS, SOCK_SEQPACKET, false, err);
    if (r == 0)
        r = front_start_config(SERVE_FD_CONFIG, ret, err);
    if (r == 0)
        r = front_start_capabilities(SERVE_FD_CAPABILITIES, ret, err);
    struct serve_status status;
    if (r == 0 && pread(SERVE_FD_STATUS, &status, sizeof status, 0) != (ssize_t)sizeof status)
        r = refuse(err, SERVE_FD_STATUS, "It is not what the supervisor counts.");
    for (uint32_t i = 0; r == 0 && i < ret->config.tcp_count + ret->config.tcp_given; i++)
        r = check_tcp(SERVE_FD_TCP + (int)i, err);
    if (r < 0)
        return r;
    int kept[5 + SERVE_TCP_MAX] = {SERVE_FD_SUPERVISOR, SERVE_FD_LAUNCHER, SERVE_FD_LISTEN,
                                   SERVE_FD_STATUS};
    unsigned count = 4;
    if (ret->has_events)
        kept[count++] = SERVE_FD_EVENTS;
    for (uint32_t i = 0; i < ret->config.tcp_count + ret->config.tcp_given; i++)
        kept[count++] = SERVE_FD_TCP + (int)i;
    r = fd_keep_only(kept, count);
    if (r < 0)
        return err_set(err, ERR_INTERNAL, -r, "close what is not front's", NULL, NULL);
    return 0;
}

void front_start_fini(struct front_start *start)
{
    policy_free(start->ceiling);
    start->ceiling = NULL;
}
