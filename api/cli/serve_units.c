/* This file joins front and the gateway where they are units of a service manager (docs/adr/0021);
 * it starts no process, and never believes a unit about who it is.
 *
 * PRIVILEGED: the supervisor's. The manager listens where `--units` says and starts a unit when
 * this process connects. A unit is joined when the kernel has said that it runs as the user that it
 * is meant to; one that does not is told nothing more, and ends with its connection.
 */
#include "api/cli/serve.h"

#include "api/cli/child.h"
#include "runtime/base/fd.h"
#include "runtime/base/handover.h"
#include "runtime/gateway/gateway.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

enum { END_MS = 1000 };

static const char *const names[] = {[HANDOVER_FRONT] = "front", [HANDOVER_GATEWAY] = "gateway"};

static int failed(struct err *err, enum handover_kind kind, int sys, const char *where)
{
    return err_set(err, ERR_UNAVAILABLE, sys, "join a unit of the service manager", where,
                   "`systemctl status berth-%s.socket berth-%s.service` says more.", names[kind],
                   names[kind]);
}

/* Whoever listens there is root, or it is not the manager's. */
static int meet(const char *units, enum handover_kind kind, int *ret, struct err *err)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct ucred listener = {.uid = (uid_t)-1};
    socklen_t size = sizeof listener;
    int n = snprintf(at.sun_path, sizeof at.sun_path, "%s/%s", units, names[kind]);
    if (n < 0 || (size_t)n >= sizeof at.sun_path)
        return err_set(err, ERR_INVALID_REQUEST, ENAMETOOLONG, "--units", units, NULL);
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&at, sizeof at) < 0)
        return failed(err, kind, errno, at.sun_path);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &listener, &size) < 0 || listener.uid != 0)
        return err_set(err, ERR_FORBIDDEN, 0, "join a unit of the service manager", at.sun_path,
                       "Who listens there is not root.");
    *ret = take_fd(&fd);
    return 0;
}

static int check_user(enum handover_kind kind, const struct handover_peer *who, uint32_t uid,
                      uint32_t gid, struct err *err)
{
    char unit[32];
    if (who->uid == uid && (gid == SERVE_NOBODY ? who->gid != 0 : who->gid == gid))
        return 0;
    snprintf(unit, sizeof unit, "berth-%s.service", names[kind]);
    return err_set(
        err, ERR_FORBIDDEN, 0, "join a unit of the service manager", unit,
        "It runs as %u:%u; the configuration says that it is user %u. Give one of the two "
        "the user of the other.",
        (unsigned)who->uid, (unsigned)who->gid, uid);
}

static int join(const char *units, enum handover_kind kind, const int from[], int first, int end,
                uint32_t uid, uint32_t gid, struct serve_joined *ret, struct err *err)
{
    struct handover_peer who = {.uid = (uint32_t)-1, .gid = (uint32_t)-1};
    _cleanup_fd_ int channel = -1, pidfd = -1;
    int r = meet(units, kind, &channel, err);
    if (r < 0)
        return r;
    r = handover_give(channel, kind, from, first, end);
    if (r == 0)
        r = handover_answer(channel, kind, &who, &pidfd);
    if (r < 0)
        return failed(err, kind, -r, NULL);
    r = check_user(kind, &who, uid, gid, err);
    if (r < 0)
        return r;
    *ret = (struct serve_joined){who.pid, take_fd(&pidfd), take_fd(&channel)};
    return 0;
}

int serve_join_front(const struct serve_launch *launch, const int from[SERVE_FD_END],
                     struct serve_joined *ret, struct err *err)
{
    return join(launch->units, HANDOVER_FRONT, from, SERVE_FD_SUPERVISOR, SERVE_FD_END,
                launch->plan->config.front_uid, launch->plan->config.front_gid, ret, err);
}

static int pair(int *ret_mine, int *ret_its)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    *ret_mine = ends[0];
    *ret_its = ends[1];
    return 0;
}

int serve_join_unit_gateway(const char *units, const struct gateway_config *config, uint32_t uid,
                            struct serve_joined *ret, int *ret_control, int *ret_events,
                            struct err *err)
{
    _cleanup_fd_ int control = -1, events = -1, its_control = -1, its_events = -1;
    _cleanup_fd_ int memfd = child_sealed("berth-gateway-config", config, sizeof *config, NULL, 0);
    int r = memfd < 0 ? memfd : pair(&control, &its_control);
    if (r == 0)
        r = pair(&events, &its_events);
    if (r < 0)
        return failed(err, HANDOVER_GATEWAY, -r, NULL);
    const int from[GATEWAY_FD_END] = {[GATEWAY_FD_CONTROL] = its_control,
                                      [GATEWAY_FD_EVENTS] = its_events,
                                      [GATEWAY_FD_CONFIG] = memfd};
    r = join(units, HANDOVER_GATEWAY, from, GATEWAY_FD_LIFE, GATEWAY_FD_END, uid, SERVE_NOBODY, ret,
             err);
    if (r < 0)
        return r;
    *ret_control = take_fd(&control);
    *ret_events = take_fd(&events);
    return 0;
}

void serve_joined_end(struct serve_joined *joined)
{
    struct pollfd p = {.fd = joined->pidfd, .events = POLLIN};
    fd_replace(&joined->channel, -1);
    if (poll(&p, 1, END_MS) <= 0) {
        (void)syscall(SYS_pidfd_send_signal, joined->pidfd, SIGKILL, NULL, 0);
        (void)poll(&p, 1, END_MS);
    }
    fd_replace(&joined->pidfd, -1);
}

void serve_child_joined(struct serve_child *child, struct serve_joined *joined)
{
    child->pid = joined->pid;
    child->born_ms = serve_now_ms();
    fd_replace(&child->pidfd, take_fd(&joined->pidfd));
    fd_replace(&child->channel, take_fd(&joined->channel));
}

void serve_child_kill(const struct serve_child *child)
{
    if (child->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
    else if (child->pid > 0)
        kill(child->pid, SIGKILL);
}

bool serve_child_unit_ended(const struct serve_child *child)
{
    struct pollfd p = {.fd = child->pidfd, .events = POLLIN};
    return child->pidfd >= 0 && poll(&p, 1, 0) > 0;
}
