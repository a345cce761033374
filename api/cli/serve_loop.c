/* This file keeps the gateway, the launcher and front of `berth serve` alive and ends them in
 * order; it reads one byte at a time from front and the launcher, and what an ordinary user's
 * launcher has kept for the next one, and nothing from anybody else.
 *
 * One pair of sockets joins each two of them; neither of its ends stays here, so each sees the
 * other's death by itself. When front dies its launcher is left to finish what it does, and both
 * are started anew at once: workers of two launchers take turns by a lock on the row
 * (runtime/host/launcher_worker.c). When the launcher dies front gets another one; when the gateway
 * dies both do.
 */
#include "api/cli/serve.h"

#include "api/cli/cli.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

enum {
    PAUSE_FIRST_MS = 10,
    PAUSE_MOST_MS = 1000,
    PAUSE_RESET_MS = 10000,
    FRONT_STOP_MS = 6000, /* it drains for 5 s */
    LAUNCHER_STOP_MS = 10000,
    GATEWAY_STOP_MS = 1000,
    GATEWAY_STILL_MS = 5000, /* the launcher asks it for longer, before it says that it is still */
    FRONT_TRIES = 20, /* a quarter of a minute: a berth that ends may hold the ledger still */
};

enum phase { SERVING, STOPPING_FRONT, STOPPING_LAUNCHER, STOPPING_GATEWAY, AT_ONCE };

struct supervisor {
    struct serve_launch *launch;
    const struct serve_options *options;
    const char *notify;
    int signals;
    struct serve_child launcher, front, gateway;
    enum phase phase;
    uint64_t deadline_ms;    /* of this phase of stopping */
    bool told;               /* that berth serves */
    unsigned front_failures; /* in a row, before it ever served */
    bool hopeless;           /* front has said so */
    bool failed;             /* it cannot serve */
};

void serve_notify(const char *socket_path, const char *text)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t length = socket_path ? strlen(socket_path) : 0;
    if (length < 2 || length >= sizeof at.sun_path)
        return;
    memcpy(at.sun_path, socket_path, length + 1);
    if (at.sun_path[0] == '@')
        at.sun_path[0] = 0;
    _cleanup_fd_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    /* Whoever started berth and does not listen any more needs no answer. */
    if (fd >= 0)
        (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT,
                     (const struct sockaddr *)&at,
                     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length));
}

/* ---- starting
 * ------------------------------------------------------------------------------------ */

static void set_due(struct serve_child *child)
{
    uint64_t now = serve_now_ms();
    if (now - child->born_ms >= PAUSE_RESET_MS || child->pause_ms == 0)
        child->pause_ms = PAUSE_FIRST_MS;
    child->due_ms = now + child->pause_ms;
    child->pause_ms = child->pause_ms * 2 > PAUSE_MOST_MS ? PAUSE_MOST_MS : child->pause_ms * 2;
    child->pid = 0;
    fd_replace(&child->pidfd, -1);
    fd_replace(&child->channel, -1);
}

/* Told once for each reason, however often it is tried again; the pauses grow. */
static void not_begun(struct serve_child *child, int reason, const struct err *err)
{
    if (child->unbegun != reason)
        cli_fail(err);
    child->unbegun = reason;
    child->born_ms = serve_now_ms();
    set_due(child);
}

static bool is_due(const struct serve_child *child, uint64_t now)
{
    return child->pid == 0 && now >= child->due_ms;
}

/* Before the others where it can be: they have its sockets from their birth then. Who lives already
 * gets them now; for who does not, there will be others. */
static void start_gateway(struct supervisor *s)
{
    struct err err;
    _cleanup_fd_ int control = -1, events = -1;
    if (s->phase != SERVING || !s->launch->carries || !is_due(&s->gateway, serve_now_ms()))
        return;
    int r = serve_start_gateway(s->launch, &s->gateway, &control, &events, &err);
    if (r < 0) {
        not_begun(&s->gateway, r, &err);
        return;
    }
    s->gateway.unbegun = 0;
    /* Whom it cannot be told is about to end, and is joined when it is there again. */
    if (s->launcher.pid)
        (void)serve_hand_over(s->launcher.channel, 'C', control);
    if (s->front.pid)
        (void)serve_hand_over(s->front.channel, 'V', events);
}

/* Now its listeners are closed, and what it was told is void: nobody else can know that. */
static void tell_launcher_of_end(const struct supervisor *s)
{
    /* Where networks are withdrawn there is none to wait for. */
    if (s->launcher.pid && s->launch->carries)
        (void)send(s->launcher.channel, "D", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void give_up(struct supervisor *s, bool exited, bool hopeless);

/* The sockets of a launcher, and of front where there is `both`. */
static int make_sockets(const struct supervisor *s, bool both, int pair[2], int *ret_control,
                        int *ret_events, struct err *err)
{
    int r = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : 0;
    if (r == 0)
        r = serve_join_gateway(&s->gateway, 'C', ret_control);
    if (r == 0 && both)
        r = serve_join_gateway(&s->gateway, 'E', ret_events);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "make the sockets of the launcher", NULL,
                           "Until it can be started, berth serves nobody. Raise the limit on open "
                           "files (LimitNOFILE, ulimit -n) where that is what is short.")
                 : 0;
}

static void start_due(struct supervisor *s)
{
    uint64_t now = serve_now_ms();
    bool both = s->front.pid == 0;
    if (s->phase != SERVING || now < s->launcher.due_ms || (both && now < s->front.due_ms) ||
        (!both && s->launcher.pid != 0))
        return;
    struct err err;
    int pair[2] = {-1, -1};
    _cleanup_fd_ int control = -1, events = -1;
    int r = make_sockets(s, both, pair, &control, &events, &err);
    _cleanup_fd_ int of_launcher = pair[0], of_front = pair[1];
    if (r == 0)
        r = serve_start_launcher(s->launch, of_launcher, control, &s->launcher, &err);
    if (r < 0) {
        not_begun(&s->launcher, r, &err);
        return;
    }
    s->launcher.unbegun = 0;
    if (s->gateway.pid == 0)
        tell_launcher_of_end(s);
    if (!both) {
        /* Where front is about to end this launcher does too, and both are started again. */
        (void)serve_hand_over(s->front.channel, 'L', of_front);
        return;
    }
    if (serve_start_front(s->launch, of_front, events, &s->front, &err) < 0) {
        cli_fail(&err);
        set_due(&s->front);
        give_up(s, true, false);
    }
}

static void stop(struct supervisor *s, bool at_once);
static void hear_front(struct supervisor *s);

static ssize_t receive_kept(int channel, struct launcher_keep *ret, int *ret_fd)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part = {ret, sizeof *ret};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    ssize_t n = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *header = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header && header->cmsg_type == SCM_RIGHTS && header->cmsg_len == CMSG_LEN(sizeof *ret_fd))
        memcpy(ret_fd, CMSG_DATA(header), sizeof *ret_fd);
    return n;
}

static void take_kept(struct supervisor *s, const struct launcher_keep *what, int *fd)
{
    struct serve_kept *kept = &s->launch->kept;
    serve_kept_take(kept, what, fd);
    if (!kept->untold)
        return;
    kept->untold = false;
    kept->told = true;
    cli_log("warning", "kept",
            "there are more sessions than networks can be kept of: when the launcher and the "
            "gateway die together, the others are not served again before they are parked and "
            "resumed. Raise the hard limit on open files (ulimit -Hn) and start berth again.");
}

/* It is gone, or has a successor: what it has said until then holds. */
static void leave_launcher(struct supervisor *s)
{
    struct launcher_keep what;
    ssize_t n = s->launcher.channel < 0 ? 0 : 1;
    while (n > 0) {
        _cleanup_fd_ int given = -1;
        n = receive_kept(s->launcher.channel, &what, &given);
        if (n == (ssize_t)sizeof what)
            take_kept(s, &what, &given);
    }
    fd_replace(&s->launcher.channel, -1);
}

/* ---- ends
 * ---------------------------------------------------------------------------------------- */

static void told_end(struct supervisor *s, enum serve_process process, int status)
{
    static const char *const names[] = {
        [SERVE_FRONT] = "front", [SERVE_LAUNCHER] = "launcher", [SERVE_GATEWAY] = "gateway"};
    const char *who = names[process];
    char text[160];
    if (s->phase != SERVING)
        return;
    serve_status_restarted(s->launch->counted, process);
    if (status < 0)
        snprintf(text, sizeof text, "the %s ended, as its unit says; it is started again.", who);
    else if (WIFSIGNALED(status))
        snprintf(text, sizeof text, "the %s died of signal %d; it is started again.", who,
                 WTERMSIG(status));
    else
        snprintf(text, sizeof text, "the %s ended with status %d; it is started again.", who,
                 WEXITSTATUS(status));
    cli_log("warning", "restart", text);
}

/* It could not even begin: again and again would be the same. What it said stands above. */
static void give_up(struct supervisor *s, bool exited, bool hopeless)
{
    s->front_failures = exited && !s->told ? s->front_failures + 1 : 0;
    if (s->phase != SERVING || (!hopeless && s->front_failures < FRONT_TRIES))
        return;
    cli_log("error", "end",
            hopeless ? "front may not use its files, as it says above, so berth ends. Give them to "
                       "the user that front runs as (chown -R, or \"front_uid\" of the "
                       "configuration), and start it again."
                     : "front could not begin to serve, as it says above, so berth ends.");
    s->failed = true;
    stop(s, false);
}

/* `status`: of wait(2); -1: a unit's, which the service manager has. */
static void gateway_ended(struct supervisor *s, int status)
{
    told_end(s, SERVE_GATEWAY, status);
    set_due(&s->gateway);
    tell_launcher_of_end(s);
}

static void front_ended(struct supervisor *s, int status)
{
    told_end(s, SERVE_FRONT, status);
    set_due(&s->front);
    bool exited = status < 0 || WIFEXITED(status);
    give_up(s, exited,
            s->hopeless || (status >= 0 && exited && WEXITSTATUS(status) == SERVE_FRONT_HOPELESS));
    /* Its launcher sees that by itself, finishes and ends; it is nobody's from now on. */
    if (s->phase == SERVING && s->launcher.pid) {
        s->launcher.pid = 0;
        leave_launcher(s);
    }
}

/* Units are no children. What front said last is read before its end is acted on. */
static void reap_units(struct supervisor *s)
{
    if (serve_child_unit_ended(&s->front)) {
        while (s->front.channel >= 0)
            hear_front(s);
        front_ended(s, -1);
    }
    if (serve_child_unit_ended(&s->gateway))
        gateway_ended(s, -1);
}

/* Inits of sessions come here too when their launcher dies: the supervisor is a subreaper, because
 * PID 1 of a container may never wait for anybody. */
static void reap(struct supervisor *s)
{
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0)
            return;
        if (pid == s->launcher.pid) {
            told_end(s, SERVE_LAUNCHER, status);
            leave_launcher(s);
            set_due(&s->launcher);
        } else if (pid == s->gateway.pid && s->gateway.pidfd < 0) {
            gateway_ended(s, status);
        } else if (pid == s->front.pid && s->front.pidfd < 0) {
            front_ended(s, status);
        }
    }
}

static void stop(struct supervisor *s, bool at_once)
{
    uint64_t now = serve_now_ms();
    if (at_once) {
        s->phase = AT_ONCE;
        if (s->front.pid)
            serve_child_kill(&s->front);
        if (s->launcher.pid)
            kill(s->launcher.pid, SIGKILL);
        if (s->gateway.pid)
            serve_child_kill(&s->gateway);
        return;
    }
    serve_notify(s->notify, "STOPPING=1");
    s->phase = STOPPING_FRONT;
    s->deadline_ms = now + FRONT_STOP_MS;
    if (s->front.channel >= 0)
        (void)send(s->front.channel, "E", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Further when what a phase waits for has ended, or its time is up. */
static void go_on_stopping(struct supervisor *s)
{
    uint64_t now = serve_now_ms();
    if (s->phase == STOPPING_FRONT) {
        if (s->front.pid && now >= s->deadline_ms)
            serve_child_kill(&s->front);
        if (s->front.pid == 0) {
            s->phase = STOPPING_LAUNCHER;
            s->deadline_ms = now + LAUNCHER_STOP_MS;
            fd_replace(&s->launcher.channel, -1);
        }
    }
    if (s->phase == STOPPING_LAUNCHER) {
        if (s->launcher.pid && now >= s->deadline_ms)
            kill(s->launcher.pid, SIGKILL);
        if (s->launcher.pid == 0) {
            s->phase = STOPPING_GATEWAY;
            s->deadline_ms = now + GATEWAY_STOP_MS;
            fd_replace(&s->gateway.channel, -1);
        }
    }
    if (s->phase == STOPPING_GATEWAY && s->gateway.pid && now >= s->deadline_ms)
        serve_child_kill(&s->gateway);
}

static bool finished(const struct supervisor *s)
{
    return s->phase != SERVING && s->front.pid == 0 && s->launcher.pid == 0 && s->gateway.pid == 0;
}

/* ---- what comes in
 * --------------------------------------------------------------------------------- */

static void hear_front(struct supervisor *s)
{
    char kind;
    ssize_t n = recv(s->front.channel, &kind, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        fd_replace(&s->front.channel, -1);
        return;
    }
    if (kind == 'R' && !s->told) {
        s->told = true;
        const struct serve_place *place = s->launch->place;
        _cleanup_buf_ struct buf text = {0}; /* in one piece: who waits for it has all of it */
        buf_printf(&text, "berth: serving on unix:%s\n", place->socket);
        for (unsigned i = 0; i < place->tcp_count; i++)
            buf_printf(&text, "berth: serving on %s\n", place->urls[i]);
        (void)io_write_full(STDOUT_FILENO, buf_text(&text), text.length);
        serve_notify(s->notify, "READY=1");
    } else if (kind == 'H') {
        s->hopeless = true;
    } else if (kind == 'I' && s->launch->plan->config.on_demand && s->phase == SERVING) {
        stop(s, false);
    }
}

/* Its end is seen by the launcher and by front; the next one is given every session. One that is
 * younger cannot be meant. */
static void end_gateway(struct supervisor *s)
{
    if (!s->gateway.pid || serve_now_ms() - s->gateway.born_ms < GATEWAY_STILL_MS)
        return;
    cli_log("warning", "still", "the gateway does not answer; it is killed, and started again.");
    serve_child_kill(&s->gateway);
}

/* 'C': the launcher has lost the gateway; where that has died too it is joined to the next one.
 * 'K': it stands still. Whole messages: what is kept for the next launcher. */
static void hear_launcher(struct supervisor *s)
{
    struct launcher_keep what = {.kind = 0};
    _cleanup_fd_ int control = -1, given = -1;
    ssize_t n = receive_kept(s->launcher.channel, &what, &given);
    uint8_t kind = what.kind;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        leave_launcher(s);
    else if (n == (ssize_t)sizeof what)
        take_kept(s, &what, &given);
    else if (kind == 'C' && serve_join_gateway(&s->gateway, 'C', &control) == 0 && control >= 0)
        (void)serve_hand_over(s->launcher.channel, 'C', control);
    else if (kind == 'K')
        end_gateway(s);
}

/* Front is told; the launcher was forked with what was in force, so there is a new one. The old one
 * finishes what it does, as when front dies. */
static void reload(struct supervisor *s)
{
    struct timespec now;
    char reloading[64];
    clock_gettime(CLOCK_MONOTONIC, &now);
    snprintf(reloading, sizeof reloading, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000);
    serve_notify(s->notify, reloading);
    int changed = serve_reload(s->launch, s->options);
    /* One that cannot be told is about to end, and is started with it. */
    if (changed >= 0 && s->front.channel >= 0)
        (void)serve_hand_over(s->front.channel, 'F', s->launch->config);
    struct err err;
    /* Without a key for it, the host's resolvers: they may be others though no key is. */
    if (changed >= 0 && s->gateway.pid &&
        serve_tell_gateway(s->launch, s->gateway.channel, &err) < 0) {
        cli_fail(&err);
        serve_child_kill(&s->gateway); /* the next one is started with what is in force */
    }
    if (changed > 0 && s->launcher.pid) {
        s->launcher.pid = 0;
        s->launcher.due_ms = 0;
        leave_launcher(s);
    }
    if (s->told)
        serve_notify(s->notify, "READY=1");
}

static void hear_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP && s->phase == SERVING)
            reload(s);
        else if (info.ssi_signo != SIGCHLD && info.ssi_signo != SIGHUP)
            stop(s, s->phase != SERVING);
    }
}

static int wait_ms(const struct supervisor *s)
{
    uint64_t now = serve_now_ms(), at = UINT64_MAX;
    if (s->phase == SERVING) {
        if (s->front.pid == 0 || s->launcher.pid == 0)
            at = s->launcher.due_ms;
        if (s->front.pid == 0 && s->front.due_ms > at)
            at = s->front.due_ms;
        if (s->launch->carries && s->gateway.pid == 0 && s->gateway.due_ms < at)
            at = s->gateway.due_ms;
    } else if (s->phase != AT_ONCE) {
        at = s->deadline_ms > now ? s->deadline_ms : now + 100;
    }
    if (at == UINT64_MAX)
        return -1;
    return at <= now ? 0 : (int)(at - now);
}

int serve_supervise(struct serve_launch *launch, const struct serve_options *options,
                    const char *notify)
{
    struct supervisor s = {.launch = launch,
                           .options = options,
                           .notify = notify,
                           .launcher = {.channel = -1, .pidfd = -1},
                           .front = {.channel = -1, .pidfd = -1},
                           .gateway = {.channel = -1, .pidfd = -1}};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    _cleanup_fd_ int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0) {
        struct err err;
        err_set(&err, ERR_UNAVAILABLE, errno, "wait for signals", NULL, NULL);
        return cli_fail(&err);
    }
    s.signals = signals;
    while (!finished(&s)) {
        start_gateway(&s);
        start_due(&s);
        struct pollfd fds[] = {{.fd = signals, .events = POLLIN},
                               {.fd = s.front.channel, .events = POLLIN},
                               {.fd = s.launcher.channel, .events = POLLIN},
                               {.fd = s.front.pidfd, .events = POLLIN},
                               {.fd = s.gateway.pidfd, .events = POLLIN}};
        if (poll(fds, ARRAY_LENGTH(fds), wait_ms(&s)) > 0) {
            if (fds[1].revents)
                hear_front(&s);
            if (fds[2].revents)
                hear_launcher(&s);
            if (fds[0].revents)
                hear_signal(&s);
        }
        reap_units(&s); /* before the launcher that ends with front */
        reap(&s);
        go_on_stopping(&s);
    }
    fd_close(s.front.channel);
    fd_close(s.launcher.channel);
    fd_close(s.gateway.channel);
    return s.failed ? CLI_EXIT_BERTH : CLI_EXIT_OK;
}
