/* This file asks the kernel in which cgroup the asker of a connection is (sock_diag of the
 * session's own namespace); it never decides by the answer: it is for those who read events.
 */
#include "runtime/gateway/internal.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* By number: newer than Debian 12's header knows in every libc. */
enum { DIAG_CGROUP_ID = 21 };

/* A question is some eight microseconds: a connection in a flood is not made slower by it. */
enum { AT_ONCE = 32, REFILL_MS = 50 };

struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 request;
};

union address {
    struct sockaddr any;
    struct sockaddr_in four;
    struct sockaddr_in6 six;
};

static void fill(const union address *source, const union address *destination, uint8_t protocol,
                 struct inet_diag_req_v2 *request)
{
    request->sdiag_family = (uint8_t)source->any.sa_family;
    request->sdiag_protocol = protocol;
    request->id.idiag_cookie[0] = request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    if (source->any.sa_family == AF_INET) {
        request->id.idiag_sport = source->four.sin_port;
        request->id.idiag_dport = destination->four.sin_port;
        memcpy(request->id.idiag_src, &source->four.sin_addr, 4);
        memcpy(request->id.idiag_dst, &destination->four.sin_addr, 4);
    } else {
        request->id.idiag_sport = source->six.sin6_port;
        request->id.idiag_dport = destination->six.sin6_port;
        memcpy(request->id.idiag_src, &source->six.sin6_addr, 16);
        memcpy(request->id.idiag_dst, &destination->six.sin6_addr, 16);
    }
}

/* Whether there is one to be had, and takes it. */
static bool may_ask(const struct gateway *g, struct session *session, enum diag_for what)
{
    struct diag_budget *budget = &session->diag_budget[what];
    uint64_t more = (g->now_ms - budget->since_ms) / REFILL_MS;
    if (session->diag < 0)
        return false;
    if (more > 0) {
        budget->left = more < AT_ONCE - budget->left ? budget->left + (unsigned)more : AT_ONCE;
        budget->since_ms = g->now_ms;
    }
    if (budget->left == 0)
        return false;
    budget->left--;
    return true;
}

static uint64_t find_cgroup(const uint8_t *at, size_t left)
{
    struct nlattr head;
    uint64_t id;
    while (left >= sizeof head) {
        memcpy(&head, at, sizeof head);
        if (head.nla_len < sizeof head || head.nla_len > left)
            return 0;
        if (head.nla_type == DIAG_CGROUP_ID && head.nla_len == sizeof head + sizeof id) {
            memcpy(&id, at + sizeof head, sizeof id);
            return id;
        }
        size_t whole = ((size_t)head.nla_len + 3) & ~(size_t)3;
        whole = whole < left ? whole : left;
        at += whole;
        left -= whole;
    }
    return 0;
}

static uint64_t ask(const struct session *session, const union address *source,
                    const union address *destination, uint8_t protocol)
{
    static uint32_t sequence;
    static _Alignas(struct nlmsghdr) uint8_t bytes[4096];
    const size_t body = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct inet_diag_msg));
    struct question question = {.head = {.nlmsg_len = sizeof question,
                                         .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                         .nlmsg_flags = NLM_F_REQUEST,
                                         .nlmsg_seq = ++sequence}};
    struct nlmsghdr head;
    fill(source, destination, protocol, &question.request);
    if (send(session->diag, &question, sizeof question, MSG_DONTWAIT) < 0)
        return 0;
    for (;;) {
        ssize_t n = recv(session->diag, bytes, sizeof bytes, MSG_DONTWAIT);
        if (n < (ssize_t)sizeof head)
            return 0;
        memcpy(&head, bytes, sizeof head);
        if (head.nlmsg_seq != sequence)
            continue;
        if (head.nlmsg_type != SOCK_DIAG_BY_FAMILY || head.nlmsg_len < body ||
            head.nlmsg_len > (size_t)n)
            return 0;
        return find_cgroup(bytes + body, head.nlmsg_len - body);
    }
}

uint64_t diag_cgroup(struct gateway *g, struct session *session, enum diag_for what, int fd)
{
    union address here = {0}, peer = {0};
    socklen_t size = sizeof here, peer_size = sizeof peer;
    if (!may_ask(g, session, what) || getsockname(fd, &here.any, &size) < 0 ||
        getpeername(fd, &peer.any, &peer_size) < 0)
        return 0;
    /* The asker's end is the other way round: its source is our peer. */
    return ask(session, &peer, &here, IPPROTO_TCP);
}

uint64_t diag_cgroup_of_datagram(struct gateway *g, struct session *session,
                                 struct msghdr *datagram)
{
    union address asked = {0}, from = {0};
    if (datagram->msg_namelen > sizeof from || !may_ask(g, session, DIAG_FOR_REFUSAL))
        return 0;
    memcpy(&from, datagram->msg_name, datagram->msg_namelen);
    asked.any.sa_family = from.any.sa_family;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(datagram); c; c = CMSG_NXTHDR(datagram, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO &&
            from.any.sa_family == AF_INET) {
            struct in_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            asked.four.sin_addr = info.ipi_addr;
            asked.four.sin_port = htons(NETWORK_DNS_PORT);
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO &&
                   from.any.sa_family == AF_INET6) {
            struct in6_pktinfo info;
            memcpy(&info, CMSG_DATA(c), sizeof info);
            asked.six.sin6_addr = info.ipi6_addr;
            asked.six.sin6_port = htons(NETWORK_DNS_PORT);
        }
    }
    /* Of UDP the kernel looks for who would receive it: the answer's way (seen on 6.18, and the
     * kernel's own comment calls it history). */
    return ask(session, &asked, &from, IPPROTO_UDP);
}
