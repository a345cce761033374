/* This file asks the kernel whether an address is the host's own (NET-7): the tables of the host
 * know, whatever the address looks like; it never changes one.
 *
 * Unprivileged: RTM_GETROUTE is everybody's.
 */
#include "runtime/gateway/internal.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>

struct question {
    struct nlmsghdr head;
    struct rtmsg route;
    struct rtattr attribute;
    uint8_t address[16];
};

struct answer {
    struct nlmsghdr head;
    union {
        struct rtmsg route;
        struct nlmsgerr error;
    } body;
    uint8_t rest[4096];
};

int route_open(void)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    return fd < 0 ? -errno : fd;
}

/* What the kernel answers before send() returns. A stale answer has another number. */
static ssize_t take_answer(int fd, uint32_t sequence, struct answer *ret)
{
    for (;;) {
        ssize_t n = recv(fd, ret, sizeof *ret, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < (ssize_t)sizeof ret->head || ret->head.nlmsg_seq == sequence)
            return n;
    }
}

/* A route that the host does not have is no address of its own. Everything else that is no plain
 * way out (local, broadcast, anycast, multicast), and no answer, is taken for one. */
bool route_is_own(struct gateway *g, const struct network_address *address)
{
    static uint32_t sequence;
    size_t length = address->family == 4 ? 4 : 16;
    struct answer answer;
    struct question question = {
        .head = {.nlmsg_len = (uint32_t)(offsetof(struct question, address) + length),
                 .nlmsg_type = RTM_GETROUTE,
                 .nlmsg_flags = NLM_F_REQUEST,
                 .nlmsg_seq = ++sequence},
        .route = {.rtm_family = address->family == 4 ? AF_INET : AF_INET6,
                  .rtm_dst_len = (uint8_t)(length * 8)},
        .attribute = {.rta_len = (uint16_t)RTA_LENGTH(length), .rta_type = RTA_DST}};
    memcpy(question.address, address->bytes, length);
    if (send(g->route, &question, question.head.nlmsg_len, MSG_DONTWAIT) < 0)
        return true;
    ssize_t n = take_answer(g->route, sequence, &answer);
    if (n < (ssize_t)(sizeof answer.head + sizeof answer.body.route) ||
        answer.head.nlmsg_len > (size_t)n)
        return true;
    if (answer.head.nlmsg_type == RTM_NEWROUTE)
        return answer.body.route.rtm_type != RTN_UNICAST;
    if (answer.head.nlmsg_type != NLMSG_ERROR ||
        n < (ssize_t)(sizeof answer.head + sizeof answer.body.error))
        return true;
    int error = -answer.body.error.error;
    return error != ENETUNREACH && error != EHOSTUNREACH && error != EACCES && error != EINVAL;
}
