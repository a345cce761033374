/* This file makes and enters the network namespace of a session that may reach something, and makes
 * the sockets in it by which the gateway serves it (docs/adr/0013); it never relays a byte, never
 * reads one that a session wrote, and never changes the namespace of its caller.
 *
 * PRIVILEGED: the launcher's or `berth run`'s, in its own user namespace, which then owns the
 * network namespace: full capabilities inside the session are none over it. Should: do what has to
 * be done inside in a worker that is gone when the function returns. Mustn't: allocate in the
 * worker, or leave a descriptor when it fails. Callers: launch.c, lasting_network.c, probes.
 *
 * The worker shares the caller's memory and descriptors, and the caller stands still until it has
 * ended (CLONE_VFORK): nothing has to be copied in or sent out, and what it has opened when it is
 * killed half way is written down where the caller closes it.
 */
#include "runtime/host/network_internal.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum {
    STACK_BYTES = 128 << 10,
    /* A full queue means that a program waits for a second: as long as the kernel's own bound. */
    BACKLOG = 4096,
};

/* By number: musl has neither. */
enum { OPTION_IP_TRANSPARENT = 19, OPTION_IPV6_TRANSPARENT = 75, OPTION_IPV6_FREEBIND = 78 };

struct worker {
    int netns; /* to enter; -1: to make */
    int (*work)(struct worker *w, struct err *err);
    struct network_namespace *made;
    const struct buf *batch;                          /* the whole ruleset */
    const struct buf *question;                       /* which half is in force */
    const struct buf *fill[2], *change[2], *clear[2]; /* by half */
    int *rules; /* where the socket for rules is kept; NULL: it is not */
    uint64_t *counters;
    int family, *connectors;
    unsigned connector_count;
    /* What came of it. */
    int result;
    const struct buf *sent; /* of it the message that was refused */
    uint32_t refused;
    struct err err;
};

/* ---- in the worker --------------------------------------------------------------------------- */

static int enter(struct worker *w)
{
    static const char step[] = "enter a session's network";
    if (w->netns >= 0)
        return setns(w->netns, CLONE_NEWNET) < 0
                   ? err_set(&w->err, ERR_UNAVAILABLE, errno, step, NULL, NULL)
                   : 0;
    if (unshare(CLONE_NEWNET) < 0)
        return err_set(&w->err, ERR_UNAVAILABLE, errno, "make a session's network", NULL,
                       errno == ENOSPC ? "As many network namespaces as this user may have are "
                                         "there (/proc/sys/user/max_net_namespaces)."
                                       : NULL);
    w->made->netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    return w->made->netns < 0
               ? err_set(&w->err, ERR_UNAVAILABLE, errno, step, "/proc/self/ns/net", NULL)
               : 0;
}

static int worker_main(void *data)
{
    struct worker *w = data;
    /* The caller waits, so it ends before this only by a signal. */
    int r = prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 ? -errno : 0;
    if (r < 0)
        err_raw(&w->err, ERR_INTERNAL, -r, "work in a session's network", NULL);
    else
        r = enter(w);
    if (r == 0)
        r = w->work(w, &w->err);
    w->result = r;
    _exit(0);
}

static int run(struct worker *w, struct err *err)
{
    static const char step[] = "work in a session's network";
    char *stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
    if (stack == MAP_FAILED)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    w->result = -EOWNERDEAD;
    /* A handler of the caller's must not run in a process that shares its memory. */
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before);
    pid_t pid = clone(worker_main, stack + STACK_BYTES, CLONE_VM | CLONE_FILES | CLONE_VFORK, w);
    int failed = errno;
    /* No signal at its end (its exit signal is none), so it is nobody else's to wait for. */
    while (pid > 0 && waitpid(pid, NULL, __WALL) < 0 && errno == EINTR)
        ;
    sigprocmask(SIG_SETMASK, &before, NULL);
    munmap(stack, STACK_BYTES);
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, failed, step, NULL, NULL);
    if (w->result == -EOWNERDEAD && w->err.code == ERR_NONE)
        return err_set(err, ERR_UNAVAILABLE, EOWNERDEAD, step, NULL,
                       "The process that was at it was killed.");
    if (w->result < 0)
        *err = w->err;
    return w->result;
}

/* ---- sockets --------------------------------------------------------------------------------- */

struct option {
    int level, name;
};

/* TCP: tproxy gives only to a transparent socket. UDP: an answer comes from the address that was
 * asked, which IPv6 wants permission for. */
static const struct {
    int family, type, port;
    struct option options[3];
} sockets[] = {
    [GATEWAY_ADD_TCP4] = {AF_INET,
                          SOCK_STREAM,
                          NETWORK_LISTENER_PORT,
                          {{SOL_SOCKET, SO_REUSEADDR}, {IPPROTO_IP, OPTION_IP_TRANSPARENT}}},
    [GATEWAY_ADD_TCP6] = {AF_INET6,
                          SOCK_STREAM,
                          NETWORK_LISTENER_PORT,
                          {{SOL_SOCKET, SO_REUSEADDR},
                           {IPPROTO_IPV6, IPV6_V6ONLY},
                           {IPPROTO_IPV6, OPTION_IPV6_TRANSPARENT}}},
    [GATEWAY_ADD_UDP4] = {AF_INET, SOCK_DGRAM, NETWORK_DNS_PORT, {{IPPROTO_IP, IP_PKTINFO}}},
    [GATEWAY_ADD_UDP6] = {AF_INET6,
                          SOCK_DGRAM,
                          NETWORK_DNS_PORT,
                          {{IPPROTO_IPV6, IPV6_V6ONLY},
                           {IPPROTO_IPV6, IPV6_RECVPKTINFO},
                           {IPPROTO_IPV6, OPTION_IPV6_FREEBIND}}},
    /* SO_REUSEADDR: connections of a gateway that died may still be ending on that port. No program
     * of the session can use it to take the port: it may bind none below NETWORK_PORTS_FIRST. */
    [GATEWAY_ADD_DNS4] = {AF_INET, SOCK_STREAM, NETWORK_DNS_PORT, {{SOL_SOCKET, SO_REUSEADDR}}},
    [GATEWAY_ADD_DNS6] = {AF_INET6,
                          SOCK_STREAM,
                          NETWORK_DNS_PORT,
                          {{SOL_SOCKET, SO_REUSEADDR}, {IPPROTO_IPV6, IPV6_V6ONLY}}},
};
_Static_assert(ARRAY_LENGTH(sockets) == GATEWAY_ADD_LOG, "a row for each, and then the log");

static int bind_any(int fd, int family, int port)
{
    struct sockaddr_in any4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 any6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    return family == AF_INET ? bind(fd, (const struct sockaddr *)&any4, sizeof any4)
                             : bind(fd, (const struct sockaddr *)&any6, sizeof any6);
}

static int make_socket(unsigned index, int *ret, struct err *err)
{
    static const char step[] = "make a socket in a session's network";
    static const int one = 1;
    int family = sockets[index].family, type = sockets[index].type, port = sockets[index].port;
    char subject[24];
    snprintf(subject, sizeof subject, "%s %d, IPv%d", type == SOCK_STREAM ? "TCP" : "UDP", port,
             family == AF_INET ? 4 : 6);
    _cleanup_fd_ int fd = socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, subject, NULL);
    for (unsigned i = 0; i < ARRAY_LENGTH(sockets[index].options); i++) {
        const struct option *option = &sockets[index].options[i];
        if (option->name && setsockopt(fd, option->level, option->name, &one, sizeof one) < 0)
            return err_set(err, ERR_CAPABILITY_UNAVAILABLE, errno, step, subject,
                           "This kernel does not have an option (%d) of this socket.",
                           option->name);
    }
    if (bind_any(fd, family, port) < 0 || (type == SOCK_STREAM && listen(fd, BACKLOG) < 0))
        return err_set(err, errno == EADDRINUSE ? ERR_IN_PROGRESS : ERR_UNAVAILABLE, errno, step,
                       subject,
                       errno == EADDRINUSE ? "Another gateway serves this session." : NULL);
    *ret = take_fd(&fd);
    return 0;
}

static int make_sockets(struct worker *w, struct err *err)
{
    int r = 0;
    for (unsigned i = GATEWAY_ADD_TCP4; i < GATEWAY_ADD_LOG && r == 0; i++)
        r = make_socket(i, &w->made->fds[i], err);
    if (r == 0)
        r = network_log_open(&w->made->fds[GATEWAY_ADD_LOG], err);
    /* Whose connection it is is only told: where the kernel has no such thing, nobody is named. */
    if (r == 0)
        w->made->fds[GATEWAY_ADD_DIAG] =
            socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
    return r;
}

/* ---- what there is to do --------------------------------------------------------------------- */

/* Where it cannot be written (a /proc/sys that is read-only) the kernel's own bound, 1024, stays:
 * fewer ports for the session's programs, and none more. */
static void lower_first_port(void)
{
    char text[8];
    int n = snprintf(text, sizeof text, "%d", NETWORK_PORTS_FIRST);
    _cleanup_fd_ int fd =
        open("/proc/sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)n) < 0)
        return;
}

static int send_batch(struct worker *w, const struct buf *batch, struct err *err)
{
    _cleanup_fd_ int rules = -1;
    int r = network_rules_open(&rules, err);
    if (r == 0 && w->rules)
        *w->rules = rules;
    w->sent = batch;
    if (r == 0)
        r = network_batch_send(rules, batch->data, batch->length, &w->refused, err);
    if (w->rules)
        (void)take_fd(&rules); /* the caller closes it, also where this process was killed */
    return r;
}

static int send_rules(struct worker *w, struct err *err)
{
    return send_batch(w, w->batch, err);
}

/* Killed between two of these, what is in force is the old or the new, and the next one begins
 * again. The routes last, as below. */
static int replace(struct worker *w, struct err *err)
{
    unsigned half = 0;
    int r = network_half_read(w->question, &half, err);
    if (r == -ENOENT) {
        r = send_rules(w, err);
    } else {
        if (r == 0)
            r = send_batch(w, w->fill[1 - half], err);
        if (r == 0)
            r = send_batch(w, w->change[1 - half], err);
        if (r == 0)
            r = send_batch(w, w->clear[half], err);
    }
    if (r == 0)
        r = network_link_make(err);
    lower_first_port();
    return r;
}

/* The rules first: until they are in force there is no route by which anything passes them. */
static int fill(struct worker *w, struct err *err)
{
    int r = send_rules(w, err);
    if (r == 0)
        r = network_link_make(err);
    lower_first_port();
    return r == 0 ? make_sockets(w, err) : r;
}

static int raise_loopback(struct worker *w, struct err *err)
{
    (void)w;
    _cleanup_fd_ int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    return s < 0 || ioctl(s, SIOCSIFFLAGS, &request) < 0
               ? err_set(err, ERR_UNAVAILABLE, errno, "raise a session's loopback", NULL, NULL)
               : 0;
}

static int read_counters(struct worker *w, struct err *err)
{
    return network_counters_read(w->counters, err);
}

static int make_connectors(struct worker *w, struct err *err)
{
    for (unsigned i = 0; i < w->connector_count; i++) {
        w->connectors[i] = socket(w->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (w->connectors[i] < 0)
            return err_set(err, ERR_UNAVAILABLE, errno, "make a socket in a session's network",
                           NULL, NULL);
    }
    return 0;
}

/* ---- for the caller -------------------------------------------------------------------------- */

void network_namespace_init(struct network_namespace *ns)
{
    ns->netns = -1;
    for (unsigned i = 0; i < ARRAY_LENGTH(ns->fds); i++)
        ns->fds[i] = -1;
}

void network_namespace_fini(struct network_namespace *ns)
{
    fd_closep(&ns->netns);
    for (unsigned i = 0; i < ARRAY_LENGTH(ns->fds); i++)
        fd_closep(&ns->fds[i]);
}

/* Says which rule it was: here, where memory may be taken. */
static void name_refused(const struct buf *batch, uint32_t sequence, struct err *err)
{
    _cleanup_buf_ struct buf what = {0};
    network_message_print(batch, sequence, &what);
    snprintf(err->subject, sizeof err->subject, "%s", buf_text(&what));
}

static int run_batch(struct worker *w, struct err *err)
{
    int r = run(w, err);
    if (r < 0 && w->refused)
        name_refused(w->sent, w->refused, err);
    return r;
}

static int make_whole(int netns, const struct spec_network *net, struct network_namespace *ret,
                      struct err *err)
{
    _cleanup_buf_ struct buf batch = {0};
    struct network_namespace made;
    struct worker w = {.netns = netns, .work = fill, .made = &made, .batch = &batch};
    network_namespace_init(&made);
    int r = network_encode(net, &batch, err);
    if (r == 0)
        r = run_batch(&w, err);
    if (r < 0) {
        network_namespace_fini(&made);
        return r;
    }
    *ret = made;
    return 0;
}

int network_namespace_make(const struct spec_network *net, struct network_namespace *ret,
                           struct err *err)
{
    return make_whole(-1, net, ret, err);
}

int network_namespace_fill(int netns, const struct spec_network *net, struct network_namespace *ret,
                           struct err *err)
{
    return make_whole(netns, net, ret, err);
}

/* ---- ready before it is wanted ----------------------------------------------------------------
 */

void network_ready_init(struct network_ready *ready)
{
    ready->netns = ready->rules = -1;
    for (unsigned i = 0; i < ARRAY_LENGTH(ready->fds); i++)
        ready->fds[i] = -1;
}

void network_ready_fini(struct network_ready *ready)
{
    fd_closep(&ready->netns);
    fd_closep(&ready->rules);
    for (unsigned i = 0; i < ARRAY_LENGTH(ready->fds); i++)
        fd_closep(&ready->fds[i]);
}

int network_plain_make(int *ret_netns, struct err *err)
{
    struct network_namespace made;
    struct worker w = {.netns = -1, .work = raise_loopback, .made = &made};
    network_namespace_init(&made);
    int r = run(&w, err);
    if (r < 0)
        network_namespace_fini(&made);
    else
        *ret_netns = take_fd(&made.netns);
    return r;
}

int network_ready_make(struct network_ready *ret, struct err *err)
{
    _cleanup_buf_ struct buf batch = {0};
    struct network_namespace made;
    struct network_ready ready;
    network_ready_init(&ready);
    network_namespace_init(&made);
    struct worker w = {
        .netns = -1, .work = fill, .made = &made, .batch = &batch, .rules = &ready.rules};
    int r = network_encode_closed(&batch, err);
    if (r == 0)
        r = run_batch(&w, err);
    ready.netns = made.netns;
    memcpy(ready.fds, made.fds, sizeof ready.fds);
    if (r < 0)
        network_ready_fini(&ready);
    else
        *ret = ready;
    return r;
}

int network_ready_use(struct network_ready *ready, const struct spec_network *net,
                      struct network_namespace *ret, struct err *err)
{
    _cleanup_buf_ struct buf batch = {0};
    uint32_t refused = 0;
    int r = network_encode_open(net, &batch, err);
    if (r == 0)
        r = network_batch_send(ready->rules, batch.data, batch.length, &refused, err);
    if (r < 0 && refused)
        name_refused(&batch, refused, err);
    if (r == 0) {
        ret->netns = take_fd(&ready->netns);
        memcpy(ret->fds, ready->fds, sizeof ret->fds);
        fd_closep(&ready->rules);
        network_ready_init(ready);
    }
    network_ready_fini(ready);
    return r;
}

/* DIAG is the last, because a kernel may have none. */
unsigned network_ready_list(const struct network_ready *ready, int ret[NETWORK_READY_FDS])
{
    unsigned count = 0;
    if (ready->netns >= 0)
        ret[count++] = ready->netns;
    if (ready->rules < 0)
        return count;
    ret[count++] = ready->rules;
    for (unsigned i = GATEWAY_ADD_TCP4; i < ARRAY_LENGTH(ready->fds); i++)
        if (ready->fds[i] >= 0)
            ret[count++] = ready->fds[i];
    return count;
}

bool network_ready_take(struct network_ready *ret, const int *fds, unsigned count)
{
    network_ready_init(ret);
    if (count != 1 && count != NETWORK_READY_FDS && count != NETWORK_READY_FDS - 1) {
        for (unsigned i = 0; i < count; i++)
            fd_close(fds[i]);
        return false;
    }
    ret->netns = fds[0];
    if (count > 1)
        ret->rules = fds[1];
    for (unsigned i = 2; i < count; i++)
        ret->fds[GATEWAY_ADD_TCP4 + i - 2] = fds[i];
    return true;
}

/* ---- of one that is there ----------------------------------------------------------------------
 */

int network_namespace_sockets(int netns, struct network_namespace *ret, struct err *err)
{
    struct network_namespace made;
    struct worker w = {.netns = netns, .work = make_sockets, .made = &made};
    network_namespace_init(&made);
    int r = run(&w, err);
    if (r < 0) {
        network_namespace_fini(&made);
        return r;
    }
    *ret = made;
    return 0;
}

int network_namespace_replace(int netns, const struct spec_network *net, struct err *err)
{
    _cleanup_buf_ struct buf whole = {0}, question = {0}, fill_a = {0}, fill_b = {0},
                             change_a = {0}, change_b = {0}, clear_a = {0}, clear_b = {0};
    struct buf *const steps[][2] = {[NETWORK_REPLACE_FILL] = {&fill_a, &fill_b},
                                    [NETWORK_REPLACE_SWITCH] = {&change_a, &change_b},
                                    [NETWORK_REPLACE_CLEAR] = {&clear_a, &clear_b}};
    struct worker w = {.netns = netns, .work = replace, .batch = &whole, .question = &question};
    int r = network_encode(net, &whole, err);
    /* For both, because the worker may not allocate. */
    for (unsigned half = 0; half < 2; half++) {
        for (unsigned step = 0; step < ARRAY_LENGTH(steps) && r == 0; step++)
            r = network_encode_replace(net, (enum network_replace_step)step, half,
                                       steps[step][half], err);
        w.fill[half] = steps[NETWORK_REPLACE_FILL][half];
        w.change[half] = steps[NETWORK_REPLACE_SWITCH][half];
        w.clear[half] = steps[NETWORK_REPLACE_CLEAR][half];
    }
    network_encode_question(&question);
    if (r == 0 && buf_failed(&question))
        r = err_set(err, ERR_INTERNAL, ENOMEM, "write the rules of the network", NULL, NULL);
    return r == 0 ? run_batch(&w, err) : r;
}

int network_namespace_counters(int netns, uint64_t ret[NETWORK_COUNTER_COUNT], struct err *err)
{
    uint64_t counted[NETWORK_COUNTER_COUNT] = {0};
    struct worker w = {.netns = netns, .work = read_counters, .counters = counted};
    int r = run(&w, err);
    if (r == 0)
        memcpy(ret, counted, sizeof counted);
    return r;
}

int network_namespace_connectors(int netns, int family, unsigned count, int *ret, struct err *err)
{
    struct worker w = {.netns = netns,
                       .work = make_connectors,
                       .family = family,
                       .connectors = ret,
                       .connector_count = count};
    for (unsigned i = 0; i < count; i++)
        ret[i] = -1;
    int r = run(&w, err);
    for (unsigned i = 0; i < count && r < 0; i++)
        fd_closep(&ret[i]);
    return r;
}
