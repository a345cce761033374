/* This file reads what the kernel logs of refused packets; it never opens a socket. Pure. */
#include "runtime/gateway/nflog.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

enum { IPV4_HEADER = 20, IPV6_HEADER = 40, PORTS = 4 };

static void read_port(const uint8_t *at, size_t left, struct nflog_packet *packet)
{
    bool has = packet->protocol == IPPROTO_TCP || packet->protocol == IPPROTO_UDP;
    packet->port = has && left >= PORTS ? (uint16_t)(at[2] << 8 | at[3]) : 0;
}

static bool read_packet(const uint8_t *at, size_t left, struct nflog_packet *ret)
{
    struct nflog_packet packet = {.protocol = 0};
    if (left >= IPV4_HEADER && at[0] >> 4 == 4) {
        size_t header = (size_t)(at[0] & 15) * 4;
        if (header < IPV4_HEADER || header > left)
            return false;
        packet.protocol = at[9];
        address_canonical(4, at + 16, &packet.to);
        /* A later fragment has no ports. */
        if (((at[6] & 0x1f) | at[7]) == 0)
            read_port(at + header, left - header, &packet);
    } else if (left >= IPV6_HEADER && at[0] >> 4 == 6) {
        packet.protocol = at[6];
        address_canonical(6, at + 24, &packet.to);
        read_port(at + IPV6_HEADER, left - IPV6_HEADER, &packet);
    } else {
        return false;
    }
    *ret = packet;
    return true;
}

static int read_attributes(const uint8_t *at, size_t left, struct nflog_packet *ret)
{
    struct nlattr head;
    while (left >= sizeof head) {
        memcpy(&head, at, sizeof head);
        if (head.nla_len < sizeof head || head.nla_len > left)
            return 0;
        if ((head.nla_type & NLA_TYPE_MASK) == NFULA_PAYLOAD)
            return read_packet(at + sizeof head, head.nla_len - sizeof head, ret);
        size_t whole = ((size_t)head.nla_len + 3) & ~(size_t)3;
        whole = whole < left ? whole : left;
        at += whole;
        left -= whole;
    }
    return 0;
}

int nflog_next(const void *data, size_t length, size_t *at, struct nflog_packet *ret)
{
    struct nlmsghdr head;
    size_t left = *at < length ? length - *at : 0;
    const uint8_t *here = (const uint8_t *)data + *at;
    const size_t body = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct nfgenmsg));
    if (left < sizeof head)
        return -1;
    memcpy(&head, here, sizeof head);
    if (head.nlmsg_len < NLMSG_HDRLEN || head.nlmsg_len > left)
        return -1;
    size_t whole = NLMSG_ALIGN((size_t)head.nlmsg_len);
    *at += whole < left ? whole : left;
    if (head.nlmsg_type != (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) || head.nlmsg_len < body)
        return 0;
    return read_attributes(here + body, head.nlmsg_len - body, ret);
}
