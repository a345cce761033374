/* This file answers what a session asks of DNS, and tells of what its ruleset refused; it never
 * asks anybody: no packet leaves because a program asked.
 */
#include "runtime/gateway/internal.h"

#include "runtime/gateway/dns.h"
#include "runtime/gateway/nflog.h"
#include "runtime/plan/host_name.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum {
    BATCH = 64,
    TTL = 60, /* seconds: an address of the pool is the name's for the incarnation */
    THROTTLE_MS = 100,
    STREAM_IDLE_MS = 10000,
};

/* ---- one question ---------------------------------------------------------------------------- */

/* By a datagram, or by a stream. */
struct asker {
    struct session *session;
    struct msghdr *datagram;
    int stream;
};

static void deny(struct gateway *g, const struct asker *asker, const char *name,
                 enum network_reason reason, int rule)
{
    struct session *session = asker->session;
    struct gateway_event event = {.protocol = GATEWAY_DNS,
                                  .port = NETWORK_DNS_PORT,
                                  .reason = (uint16_t)reason,
                                  .rule = (int16_t)rule};
    event.cgroup = asker->datagram ? diag_cgroup_of_datagram(g, session, asker->datagram)
                                   : diag_cgroup(g, session, DIAG_FOR_REFUSAL, asker->stream);
    snprintf(event.host, sizeof event.host, "%.*s", (int)sizeof event.host - 1, name);
    tell(g, session, GATEWAY_DENIED, &event);
}

/* Programs look for the names of addresses that they log; that is no wish to reach anything. */
static bool is_reverse(const struct dns_question *q)
{
    size_t n = strlen(q->name);
    return q->type == DNS_TYPE_PTR && n > 5 && strcasecmp(q->name + n - 5, ".arpa") == 0;
}

/* RFC 6761, 6.3: loopback, which is the session's own. */
static bool is_localhost(const struct dns_question *q)
{
    size_t n = strlen(q->name);
    return q->plain && n >= 9 && strcasecmp(q->name + n - 9, "localhost") == 0 &&
           (n == 9 || q->name[n - 10] == '.');
}

/* May any port of it be reached? */
static bool is_open(struct gateway *g, const struct asker *asker, const char *host)
{
    struct network_decision d;
    network_decide_name(asker->session->net, host, &d);
    if (d.allowed && strcmp(host, NETWORK_HOST_DOOR) == 0 && g->config.door_count == 0) {
        d.allowed = false;
        d.reason = NETWORK_BY_OWN_ADDRESS;
        d.rule = -1;
    }
    if (!d.allowed)
        deny(g, asker, host, d.reason, d.rule);
    return d.allowed;
}

static enum dns_code decide(struct gateway *g, const struct asker *asker,
                            const struct dns_question *q, struct network_address *ret_address,
                            bool *ret_answers)
{
    static const uint8_t loopback4[4] = {127, 0, 0, 1}, loopback6[16] = {[15] = 1};
    char host[SPEC_HOST_MAX], why[HOST_WHY_MAX];
    bool wants = q->type == DNS_TYPE_A || q->type == DNS_TYPE_AAAA;
    int family = q->type == DNS_TYPE_A ? 4 : 6;
    *ret_answers = false;
    if (q->class != DNS_CLASS_IN)
        return DNS_REFUSED;
    if (is_reverse(q))
        return DNS_NXDOMAIN;
    if (is_localhost(q)) {
        address_canonical(family, family == 4 ? loopback4 : loopback6, ret_address);
        *ret_answers = wants;
        return DNS_NOERROR;
    }
    if (!q->plain || host_canonical(q->name, false, host, why) < 0) {
        deny(g, asker, q->name[0] ? q->name : ".", NETWORK_BY_NAME, -1);
        return DNS_REFUSED;
    }
    if (!is_open(g, asker, host))
        return DNS_REFUSED;
    if (!wants)
        return DNS_NOERROR;
    int n = names_number(&asker->session->names, host);
    if (n < 0) {
        deny(g, asker, host, n == -ENOSPC ? NETWORK_BY_NAMES_MAX : NETWORK_BY_LIMIT, -1);
        return DNS_REFUSED;
    }
    address_of_name((unsigned)n, family, ret_address);
    *ret_answers = true;
    return DNS_NOERROR;
}

/* Bytes of the answer; 0: none. */
static size_t answer(struct gateway *g, const struct asker *asker, const void *message,
                     size_t length, uint8_t ret_answer[DNS_ANSWER_MAX])
{
    struct dns_question q;
    struct network_address address;
    bool answers = false;
    int code = dns_read(message, length, &q);
    if (code < 0)
        return 0;
    if (code == DNS_NOERROR)
        code = (int)decide(g, asker, &q, &address, &answers);
    return dns_write(&q, message, (enum dns_code)code, answers ? &address : NULL, TTL, ret_answer);
}

/* ---- how many -------------------------------------------------------------------------------- */

/* Whoever asks faster than he may waits: what does not fit his socket is dropped there. */
static unsigned allowance(struct gateway *g, struct session *session)
{
    uint64_t rate = g->config.queries_per_second;
    if (rate == 0)
        return BATCH;
    if (g->now_ms - session->questions_since_ms >= THROTTLE_MS) {
        session->questions_since_ms = g->now_ms;
        session->questions = 0;
    }
    uint64_t most = rate * THROTTLE_MS / 1000 + 1;
    uint64_t left = session->questions < most ? most - session->questions : 0;
    return left < BATCH ? (unsigned)left : BATCH;
}

static void watch_questions(struct gateway *g, struct session *session, uint32_t events)
{
    for (unsigned i = GATEWAY_ADD_UDP4; i <= GATEWAY_ADD_UDP6; i++)
        if (session->listeners[i].watch.added)
            (void)watch_change(g, &session->listeners[i].watch, events);
}

/* ---- UDP ------------------------------------------------------------------------------------- */

/* Of one batch. The control bytes say which address was asked, and go back as they came: the answer
 * is sent from there. */
static struct mmsghdr received[BATCH], answers[BATCH];
static struct iovec in_parts[BATCH], out_parts[BATCH];
static struct sockaddr_storage from[BATCH];
static uint8_t in_bytes[BATCH][DNS_QUESTION_MAX + 1], out_bytes[BATCH][DNS_ANSWER_MAX];
static _Alignas(struct cmsghdr) uint8_t control[BATCH][64];

static void prepare(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        in_parts[i] = (struct iovec){in_bytes[i], sizeof in_bytes[i]};
        received[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                              .msg_namelen = sizeof from[i],
                                              .msg_iov = &in_parts[i],
                                              .msg_iovlen = 1,
                                              .msg_control = control[i],
                                              .msg_controllen = sizeof control[i]};
    }
}

/* No interface is named: every address is lo's. */
static void from_where_it_was_asked(struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
            c->cmsg_len == CMSG_LEN(sizeof(struct in_pktinfo))) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            info.ipi_spec_dst = info.ipi_addr;
            info.ipi_ifindex = 0;
            memcpy(CMSG_DATA(c), &info, sizeof info);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO &&
                   c->cmsg_len == CMSG_LEN(sizeof(struct in6_pktinfo))) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            info.ipi6_ifindex = 0;
            memcpy(CMSG_DATA(c), &info, sizeof info);
        }
    }
}

static void send_answers(int fd, unsigned count)
{
    for (unsigned at = 0; at < count;) {
        int n = sendmmsg(fd, answers + at, count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return; /* its own socket is full: it will ask again */
        at += n > 0 ? (unsigned)n : 1;
    }
}

void questions_udp(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct session *session = list_owner(watch, struct listener, watch)->session;
    unsigned most = allowance(g, session), count = 0;
    (void)events;
    if (most == 0) {
        watch_questions(g, session, 0);
        list_put(&g->throttled, &session->in_throttled);
        return;
    }
    prepare(most);
    int n = recvmmsg(watch->fd, received, most, MSG_DONTWAIT, NULL);
    for (int i = 0; i < n; i++) {
        struct msghdr *in = &received[i].msg_hdr;
        if (in->msg_flags & (MSG_TRUNC | MSG_CTRUNC))
            received[i].msg_len = DNS_QUESTION_MAX + 1;
        const struct asker asker = {session, in, -1};
        size_t length = answer(g, &asker, in_bytes[i], received[i].msg_len, out_bytes[i]);
        if (length == 0)
            continue;
        from_where_it_was_asked(in);
        out_parts[i] = (struct iovec){out_bytes[i], length};
        answers[count].msg_hdr = *in;
        answers[count].msg_hdr.msg_flags = 0;
        answers[count++].msg_hdr.msg_iov = &out_parts[i];
    }
    if (n > 0)
        session->questions += (unsigned)n;
    send_answers(watch->fd, count);
}

/* ---- TCP ------------------------------------------------------------------------------------- */

struct stream {
    struct grave grave; /* first: see bury() */
    struct link in_session, in_gateway;
    struct watch watch;
    struct session *session;
    uint64_t since_ms;
    unsigned have;
    uint8_t bytes[2 + DNS_QUESTION_MAX];
};

static void close_stream(struct gateway *g, struct stream *stream)
{
    watch_close(g, &stream->watch);
    list_remove(&stream->in_session);
    list_remove(&stream->in_gateway);
    stream->session->stream_count--;
    bury(g, stream);
}

/* Whole questions at the front of what has come. -1: the stream is to end. */
static int serve_stream(struct gateway *g, struct stream *stream)
{
    uint8_t out[2 + DNS_ANSWER_MAX];
    const struct asker asker = {stream->session, NULL, stream->watch.fd};
    while (stream->have >= 2) {
        unsigned length = (unsigned)stream->bytes[0] << 8 | stream->bytes[1];
        if (length > DNS_QUESTION_MAX)
            return -1;
        if (stream->have < 2 + length)
            return 0;
        size_t n = answer(g, &asker, stream->bytes + 2, length, out + 2);
        if (n == 0)
            return -1;
        out[0] = (uint8_t)(n >> 8);
        out[1] = (uint8_t)n;
        /* Who does not read what he asked for is not waited for. */
        if (send(stream->watch.fd, out, n + 2, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)n + 2)
            return -1;
        stream->session->questions++;
        stream->since_ms = g->now_ms;
        list_put(&g->streams, &stream->in_gateway);
        stream->have -= 2 + length;
        memmove(stream->bytes, stream->bytes + 2 + length, stream->have);
    }
    return 0;
}

static void stream_happened(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct stream *stream = list_owner(watch, struct stream, watch);
    (void)events;
    ssize_t n = recv(watch->fd, stream->bytes + stream->have, sizeof stream->bytes - stream->have,
                     MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0)
        stream->have += (unsigned)n;
    if (n <= 0 || serve_stream(g, stream) < 0)
        close_stream(g, stream);
}

static void open_stream(struct gateway *g, struct session *session, int fd)
{
    /* The oldest makes room. */
    if (session->stream_count >= DNS_STREAMS_MAX)
        close_stream(g, list_owner(session->streams.next, struct stream, in_session));
    struct stream *stream = calloc(1, sizeof *stream);
    if (!stream || watch_add(g, &stream->watch, fd, EPOLLIN, stream_happened) < 0) {
        free(stream);
        fd_close(fd);
        return;
    }
    stream->session = session;
    stream->since_ms = g->now_ms;
    list_init(&stream->in_session);
    list_init(&stream->in_gateway);
    list_put(&session->streams, &stream->in_session);
    list_put(&g->streams, &stream->in_gateway);
    session->stream_count++;
}

void questions_tcp(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct listener *listener = list_owner(watch, struct listener, watch);
    (void)events;
    for (int i = 0; i < DNS_STREAMS_MAX; i++) {
        int fd = session_accept(g, listener);
        if (fd < 0)
            return;
        open_stream(g, listener->session, fd);
    }
}

void questions_close(struct gateway *g, struct session *session)
{
    while (!list_empty(&session->streams))
        close_stream(g, list_owner(session->streams.next, struct stream, in_session));
}

/* ---- what the ruleset refused ---------------------------------------------------------------- */

static void tell_refusal(struct gateway *g, const struct session *session,
                         const struct nflog_packet *packet)
{
    struct gateway_event event = {.protocol = GATEWAY_OTHER,
                                  .reason = NETWORK_BY_PROTOCOL,
                                  .rule = -1,
                                  .address = packet->to,
                                  .port = packet->port,
                                  .address_class = address_classify(&packet->to)};
    if (packet->protocol == IPPROTO_UDP) {
        event.protocol = GATEWAY_UDP;
    } else if (packet->protocol == IPPROTO_TCP) {
        struct network_decision d;
        int n = address_to_name(&packet->to);
        const char *host = n >= 0 ? names_host(&session->names, (unsigned)n) : NULL;
        event.protocol = GATEWAY_TCP;
        if (host)
            network_decide_host(session->net, host, packet->port, &d);
        else
            network_decide_address(session->net, &packet->to, packet->port, false, &d);
        event.reason = (uint16_t)(d.allowed ? NETWORK_BY_LIMIT : d.reason);
        event.rule = (int16_t)(d.allowed ? -1 : d.rule);
        if (host)
            snprintf(event.host, sizeof event.host, "%s", host);
    }
    tell(g, session, GATEWAY_DENIED, &event);
}

void refusals(struct gateway *g, struct watch *watch, uint32_t events)
{
    struct session *session = list_owner(watch, struct listener, watch)->session;
    static _Alignas(struct nlmsghdr) uint8_t bytes[65536];
    struct sockaddr_nl sender = {0};
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_name = &sender, .msg_namelen = sizeof sender, .msg_iov = &part, .msg_iovlen = 1};
    struct nflog_packet packet;
    (void)events;
    /* ENOBUFS: the kernel lost some, and counted them. */
    ssize_t n = recvmsg(watch->fd, &message, MSG_DONTWAIT);
    if (n <= 0 || sender.nl_pid != 0)
        return;
    int r = 0;
    for (size_t at = 0; r >= 0;) {
        r = nflog_next(bytes, (size_t)n, &at, &packet);
        if (r == 1)
            tell_refusal(g, session, &packet);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

int questions_tick(struct gateway *g)
{
    for (struct link *l = g->throttled.next, *next; l != &g->throttled; l = next) {
        struct session *session = list_owner(l, struct session, in_throttled);
        next = l->next;
        if (g->now_ms - session->questions_since_ms < THROTTLE_MS)
            continue;
        list_remove(l);
        watch_questions(g, session, EPOLLIN);
    }
    while (!list_empty(&g->streams)) {
        struct stream *oldest = list_owner(g->streams.next, struct stream, in_gateway);
        if (g->now_ms - oldest->since_ms < STREAM_IDLE_MS)
            break;
        close_stream(g, oldest);
    }
    return !list_empty(&g->throttled) ? THROTTLE_MS / 10
           : list_empty(&g->streams)  ? -1
                                      : STREAM_IDLE_MS / 10;
}
