/* This file is the gateway of `berth serve` (docs/adr/0013): it is tried before anything else is
 * begun, started, and joined to the launcher and to front by sockets of which nobody keeps a copy;
 * it never reads what they say to each other, and never restarts one (serve_loop.c).
 *
 * Whoever of the three is started, again or not, gets new sockets: the gateway by its LIFE, the
 * launcher and front at their birth or by the supervisor's channel. So each sees the others' death
 * by itself.
 */
#include "api/cli/serve.h"

#include "api/cli/child.h"
#include "api/cli/gateway_child.h"
#include "runtime/base/fd.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

enum { TRY_MS = 5000 };

static const char step[] = "start the gateway";

/* ---- once, before anything is begun -------------------------------------------------------------
 */

/* It answers, by which it has read its configuration, given up its rights and begun to serve. */
static int ask(const struct gateway_child *gateway, struct err *err)
{
    const struct gateway_request request = {.magic = GATEWAY_MAGIC,
                                            .version = GATEWAY_VERSION,
                                            .type = GATEWAY_FLUSH,
                                            .ticket = 1,
                                            .row = 1,
                                            .incarnation = 1};
    struct gateway_reply reply;
    struct pollfd p = {.fd = gateway->control, .events = POLLIN};
    if (send(gateway->control, &request, sizeof request, MSG_NOSIGNAL) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, "It ended before it served.");
    int r;
    while ((r = poll(&p, 1, TRY_MS)) < 0 && errno == EINTR)
        continue;
    if (r == 0)
        return err_set(err, ERR_UNAVAILABLE, ETIMEDOUT, step, NULL, NULL);
    ssize_t n = r < 0 ? -1 : recv(gateway->control, &reply, sizeof reply, MSG_TRUNC);
    if (n <= 0 || gateway_reply_check(&reply, (size_t)n) || reply.result < 0)
        return err_set(err, ERR_UNAVAILABLE, n < 0 ? errno : 0, step, NULL,
                       "It ended before it served. What it said stands above.");
    return 0;
}

static int fill(const struct serve_plan *plan, bool log, struct gateway_config *ret,
                struct err *err)
{
    const char *resolvers[SERVE_RESOLVERS_MAX];
    for (unsigned i = 0; i < plan->resolver_count; i++)
        resolvers[i] = plan->resolvers[i];
    int r = gateway_config_fill(ret, resolvers, plan->resolver_count, step, err);
    if (r < 0)
        return r;
    _Static_assert(sizeof ret->door_ports == sizeof plan->config.door_ports, "one bound for both");
    ret->door_count = plan->config.door_count;
    memcpy(ret->door_ports, plan->config.door_ports, sizeof ret->door_ports);
    if (log)
        ret->log_role = plan->config.log_text ? 2 : 1;
    return 0;
}

static int try_unit(const struct serve_plan *plan, const char *units, struct err *err)
{
    struct gateway_config config;
    struct gateway_child gateway = {.life = -1, .control = -1, .events = -1};
    struct serve_joined joined;
    int r = fill(plan, plan->log_said, &config, err);
    if (r == 0)
        r = serve_join_unit_gateway(units, &config, plan->gateway_uid, &joined, &gateway.control,
                                    &gateway.events, err);
    if (r < 0)
        return r;
    r = ask(&gateway, err);
    serve_joined_end(&joined);
    fd_close(gateway.control);
    fd_close(gateway.events);
    return r;
}

int serve_try_gateway(const struct serve_plan *plan, const char *units, int *ret_program,
                      struct err *err)
{
    struct gateway_config config;
    struct gateway_child gateway = {.life = -1, .control = -1, .events = -1};
    _cleanup_fd_ int program = -1;
    if (units)
        return try_unit(plan, units, err);
    int r = gateway_find(&program, err);
    if (r == 0)
        r = fill(plan, plan->log_said, &config, err);
    if (r == 0)
        r = gateway_start(program, &config, plan->config.rootless, plan->gateway_uid, &gateway,
                          err);
    if (r < 0)
        return r;
    r = ask(&gateway, err);
    gateway_stop(&gateway);
    if (r == 0)
        *ret_program = take_fd(&program);
    return r;
}

/* ---- the process --------------------------------------------------------------------------------
 */

int serve_start_gateway(const struct serve_launch *launch, struct serve_child *child,
                        int *ret_control, int *ret_events, struct err *err)
{
    struct gateway_config config;
    struct gateway_child gateway = {.life = -1, .control = -1, .events = -1};
    /* The host's resolvers are looked for each time: they may be others by now. */
    int r = fill(launch->plan, true, &config, err);
    if (r == 0 && launch->units) {
        struct serve_joined joined;
        r = serve_join_unit_gateway(launch->units, &config, launch->plan->gateway_uid, &joined,
                                    ret_control, ret_events, err);
        if (r == 0)
            serve_child_joined(child, &joined);
        return r;
    }
    if (r == 0)
        r = gateway_start(launch->gateway, &config, launch->plan->config.rootless,
                          launch->plan->gateway_uid, &gateway, err);
    if (r < 0)
        return r;
    child->pid = gateway.pid;
    child->born_ms = serve_now_ms();
    fd_replace(&child->channel, gateway.life);
    *ret_control = gateway.control;
    *ret_events = gateway.events;
    return 0;
}

int serve_hand_over(int channel, char kind, int fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec part = {&kind, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    return sendmsg(channel, &message, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno : 0;
}

int serve_tell_gateway(const struct serve_launch *launch, int channel, struct err *err)
{
    struct gateway_config config;
    int r = fill(launch->plan, true, &config, err);
    if (r < 0)
        return r;
    _cleanup_fd_ int memfd = child_sealed("berth-gateway-config", &config, sizeof config, NULL, 0);
    r = memfd < 0 ? memfd : serve_hand_over(channel, 'F', memfd);
    /* One that has just died: the next one is started with it. */
    if (r < 0 && r != -EPIPE && r != -ECONNRESET)
        return err_set(err, ERR_UNAVAILABLE, -r, "tell the gateway its configuration", NULL, NULL);
    return 0;
}

int serve_join_gateway(const struct serve_child *gateway, char kind, int *ret_end)
{
    int pair[2];
    if (gateway->pid == 0)
        return 0;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return -errno;
    _cleanup_fd_ int its = pair[0], other = pair[1];
    /* One that has just died, and is not waited for yet: the next one is joined when it is born. */
    if (serve_hand_over(gateway->channel, kind, its) == 0)
        *ret_end = take_fd(&other);
    return 0;
}
