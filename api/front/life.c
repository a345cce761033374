/* This file is front's life: loop, provider and server, and what passes between the supervisor and
 * them; it never serves a request (operations.c).
 */
#include "api/front/life.h"

#include "api/front/front.h"
#include "api/front/log.h"
#include "runtime/base/fd.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { DRAIN_MS = 5000, CLOSE_MS = 5000, QUIET_MS = 10 * 1000, LOOK_MS = 1000 };

struct life {
    struct front front;
    struct front_start *start;
    struct server *server;
    int supervisor, listener;
    struct loop_watch *watch;
    struct loop_timer *quiet;
    uint64_t quiet_since_ms, connections_seen;
    bool on_demand, idle, stopping, failed;
    struct err why;
};

/* A connection has up to four: its own, a pipe's end or a spool, and what is on its way to a
 * worker. The rest is for sessions, which have two each, and for the ledger. */
enum { DESCRIPTORS_KEPT = 1024, DESCRIPTORS_A_CONNECTION = 4, CONNECTIONS_LEAST = 64 };

/* Where few descriptors may be open, clients are refused before sessions are short of them. */
static struct http_limits limits_here(void)
{
    struct http_limits limits = http_limits_default;
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return limits;
    uint64_t room = files.rlim_cur > DESCRIPTORS_KEPT
                        ? (files.rlim_cur - DESCRIPTORS_KEPT) / DESCRIPTORS_A_CONNECTION
                        : 0;
    if (room < CONNECTIONS_LEAST)
        room = CONNECTIONS_LEAST;
    if (room < limits.connections_max) {
        limits.connections_max = (unsigned)room;
        limits.connections_per_uid_max = (unsigned)room / 4 * 3;
        limits.connections_tcp_max = limits.connections_per_uid_max;
        limits.connections_per_token_max = limits.connections_tcp_max / 2;
    }
    return limits;
}

static void tell(struct life *life, char byte)
{
    if (life->supervisor >= 0)
        (void)send(life->supervisor, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void on_closed(void *data)
{
    struct life *life = data;
    life->front.provider = NULL;
    loop_stop(life->front.loop);
}

/* No client is left. */
static void on_drained(void *owner)
{
    struct life *life = owner;
    provider_close(life->front.provider, CLOSE_MS, on_closed, life);
}

static void stop(struct life *life)
{
    if (life->stopping)
        return;
    life->stopping = true;
    front_log_event("stopping", NULL);
    loop_watch_free(life->watch);
    life->watch = NULL;
    fd_replace(&life->supervisor, -1);
    loop_timer_clear(life->quiet);
    server_drain(life->server, DRAIN_MS, on_drained, life);
}

/* ---- the supervisor -------------------------------------------------------------------------- */

/* One message. 0 is the end of the socket, -EAGAIN: none now. `ret_fd` -1 when none came. */
static ssize_t receive(int fd, char *ret_byte, int *ret_fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    char byte = 0;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = sizeof control.room};
    *ret_fd = -1;
    ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0)
        return -errno;
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(ret_fd, CMSG_DATA(header), sizeof(int));
    *ret_byte = byte;
    return n;
}

/* Nothing that is under way can be finished, as the launcher ends too; the next berth needs the
 * ledger now, and finds in it what it would find after SIGKILL. */
static void supervisor_died(struct life *life)
{
    front_log_event("stopping", "The supervisor is gone.");
    loop_watch_free(life->watch);
    life->watch = NULL;
    fd_replace(&life->supervisor, -1);
    life->failed = true;
    err_set(&life->why, ERR_UNAVAILABLE, EPIPE, "serve", NULL, "The supervisor is gone.");
    loop_stop(life->front.loop);
}

/* Large: not on a stack. */
static struct front_start read_again;

/* What is wrong with it would have been found by the supervisor: then what was in force stays so.
 */
static void take_config(struct life *life, int fd)
{
    struct err err;
    struct front_start *start = life->start;
    memset(&read_again, 0, sizeof read_again);
    if (front_start_config(fd, &read_again, &err) < 0) {
        front_log_failure(NULL, &err);
        front_start_fini(&read_again);
        start->config.reload_failed = 1;
        return;
    }
    policy_free(start->ceiling);
    start->ceiling = take_ptr(&read_again.ceiling);
    start->config = read_again.config;
    life->front.ceiling = start->ceiling;
    front_log_configure(&start->config);
    front_log_event("configuration", start->config.reload_failed
                                         ? "It is wrong; the one before stays."
                                         : "It was read again.");
}

static void on_supervisor(void *owner, unsigned events)
{
    struct life *life = owner;
    (void)events;
    for (;;) {
        char byte = 0;
        int received = -1;
        ssize_t n = receive(life->supervisor, &byte, &received);
        _cleanup_fd_ int fd = received;
        if (n == -EAGAIN || n == -EINTR)
            return;
        if (n <= 0) {
            supervisor_died(life);
            return;
        }
        if (byte == 'E') {
            stop(life);
            return;
        }
        if (byte == 'L' && fd >= 0)
            provider_launcher(life->front.provider, take_fd(&fd));
        else if (byte == 'V' && fd >= 0)
            provider_gateway(life->front.provider, take_fd(&fd));
        else if (byte == 'F' && fd >= 0)
            take_config(life, fd);
        else
            front_log_event("supervisor", "It sent a message that is not known.");
    }
}

/* ---- on demand ------------------------------------------------------------------------------- */

/* Looks once a second while no session is live: a connection that is open is a client, and so was
 * who came and went since the last look. */
static void on_quiet(void *owner)
{
    struct life *life = owner;
    uint64_t now = loop_now_ms(life->front.loop);
    if (!life->idle || life->stopping)
        return;
    uint64_t taken = server_connections_taken(life->server);
    if (server_connections(life->server) > 0 || taken != life->connections_seen)
        life->quiet_since_ms = now;
    life->connections_seen = taken;
    if (now - life->quiet_since_ms >= QUIET_MS) {
        tell(life, 'I');
        life->quiet_since_ms = now;
    }
    loop_timer_set(life->quiet, LOOK_MS);
}

static void on_idle(void *data, bool idle)
{
    struct life *life = data;
    life->idle = idle;
    if (!life->on_demand || !idle || life->stopping || !life->quiet)
        return;
    life->quiet_since_ms = loop_now_ms(life->front.loop);
    loop_timer_set(life->quiet, LOOK_MS);
}

/* ---- the beginning --------------------------------------------------------------------------- */

static void on_recovered(void *data, const struct err *err)
{
    struct life *life = data;
    if (!err) {
        front_log_event("serving", NULL);
        tell(life, 'R');
        return;
    }
    front_log_failure(NULL, err);
    life->failed = true;
    life->why = *err;
    stop(life);
}

static void on_distrusted(void *data, const char *why)
{
    (void)data;
    front_log_event("gateway", why);
}

static void on_unwritten(void *data, const struct err *err)
{
    (void)data;
    front_log_failure(NULL, err);
}

static void on_audit_trimmed(void *data, uint64_t rows)
{
    (void)data;
    front_log_audit_trimmed(rows);
}

/* The supervisor decides when we end: a terminal's or a service manager's signal to all of us must
 * not take clients their answers. */
static int ignore_signals(struct err *err)
{
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    for (unsigned i = 0; i < ARRAY_LENGTH(signals); i++)
        if (sigaction(signals[i], &ignore, NULL) < 0)
            return err_set(err, ERR_INTERNAL, errno, "ignore signals", NULL, NULL);
    return 0;
}

static void on_token_over(void *data, int64_t token)
{
    struct life *life = data;
    server_cut(life->server, token);
}

/* Those over TCP last: what is asked there is a token, and the provider knows them. */
static int listen_all(struct life *life, const struct front_start *start, struct err *err)
{
    int r = server_listen(life->server, take_fd(&life->listener), err);
    for (uint32_t i = 0; r == 0 && i < start->config.tcp_count + start->config.tcp_given; i++)
        r = server_listen(life->server, SERVE_FD_TCP + (int)i, err);
    return r;
}

static int begin(struct life *life, const struct front_start *start, int launcher, struct err *err)
{
    struct http_operations operations;
    _cleanup_fd_ int taken = launcher;
    int r = ignore_signals(err);
    if (r == 0)
        r = loop_new(&life->front.loop, err);
    if (r == 0)
        r = loop_timer_new(life->front.loop, on_quiet, life, &life->quiet, err);
    if (r == 0)
        r = loop_watch_new(life->front.loop, life->supervisor, on_supervisor, life, &life->watch,
                           err);
    if (r < 0)
        return r;
    const struct provider_options options = {
        .loop = life->front.loop,
        .config = &start->config,
        .capabilities = &start->capabilities,
        .launcher = take_fd(&taken),
        .events = start->has_events ? SERVE_FD_EVENTS : -1,
        .distrusted = on_distrusted,
        .recovered = on_recovered,
        .unwritten = on_unwritten,
        .audit_trimmed = on_audit_trimmed,
        .idle = on_idle,
        .token_over = on_token_over,
        .data = life,
    };
    const struct http_limits limits = limits_here();
    front_operations(&life->front, &operations);
    r = server_new(&life->server, life->front.loop, &operations, &limits, err);
    life->front.server = life->server;
    if (r == 0)
        r = provider_open(&life->front.provider, &options, err);
    else
        fd_close(options.launcher);
    if (r == 0)
        r = listen_all(life, start, err);
    if (r == 0 && (r = loop_watch_set(life->watch, LOOP_READ)) < 0)
        err_set(err, ERR_INTERNAL, -r, "watch the supervisor", NULL, NULL);
    return r;
}

int front_live(struct front_start *start, int supervisor, int launcher, int listener,
               struct err *err)
{
    struct life life = {
        .front = {.config = &start->config,
                  .capabilities = &start->capabilities,
                  .ceiling = start->ceiling,
                  .status = SERVE_FD_STATUS},
        .start = start,
        .supervisor = supervisor,
        .listener = listener,
        .on_demand = start->config.on_demand,
    };
    front_log_configure(&start->config);
    int r = begin(&life, start, launcher, err);
    if (r == 0)
        r = loop_run(life.front.loop, err);
    if (r == 0 && life.failed) {
        *err = life.why;
        r = life.why.sys ? -life.why.sys : -EIO;
    }
    /* A failed beginning ends the process: only then is the provider still there. */
    server_free(life.server);
    loop_watch_free(life.watch);
    loop_timer_free(life.quiet);
    if (!life.front.provider)
        loop_free(life.front.loop);
    fd_close(life.supervisor);
    fd_close(life.listener);
    return r;
}
