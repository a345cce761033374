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

struct question {
    struct nlmsghdr head;
    struct inet_diag_req_v2 request;
};

/* The asker's end is the other way round: its source is our peer. */
static bool fill(int fd, struct inet_diag_req_v2 *request)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } here = {0}, peer = {0};
    socklen_t size = sizeof here, peer_size = sizeof peer;
    if (getsockname(fd, &here.any, &size) < 0 || getpeername(fd, &peer.any, &peer_size) < 0)
        return false;
    request->sdiag_family = (uint8_t)here.any.sa_family;
    request->sdiag_protocol = IPPROTO_TCP;
    request->id.idiag_cookie[0] = request->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
    if (here.any.sa_family == AF_INET) {
        request->id.idiag_sport = peer.four.sin_port;
        request->id.idiag_dport = here.four.sin_port;
        memcpy(request->id.idiag_src, &peer.four.sin_addr, 4);
        memcpy(request->id.idiag_dst, &here.four.sin_addr, 4);
    } else {
        request->id.idiag_sport = peer.six.sin6_port;
        request->id.idiag_dport = here.six.sin6_port;
        memcpy(request->id.idiag_src, &peer.six.sin6_addr, 16);
        memcpy(request->id.idiag_dst, &here.six.sin6_addr, 16);
    }
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

uint64_t diag_cgroup(const struct session *session, int fd)
{
    static uint32_t sequence;
    static _Alignas(struct nlmsghdr) uint8_t bytes[4096];
    const size_t body = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct inet_diag_msg));
    struct question question = {.head = {.nlmsg_len = sizeof question,
                                         .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                                         .nlmsg_flags = NLM_F_REQUEST,
                                         .nlmsg_seq = ++sequence}};
    struct nlmsghdr head;
    if (session->diag < 0 || !fill(fd, &question.request) ||
        send(session->diag, &question, sizeof question, MSG_DONTWAIT) < 0)
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
