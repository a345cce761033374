/* This file speaks netlink in a session's network namespace: link, addresses and routes, a batch of
 * rules, counters, the log; it never decides what a session may reach.
 *
 * PRIVILEGED: needs CAP_NET_ADMIN over the namespace that it is called in. It reads answers of the
 * kernel alone; a message of anybody else is not taken. Callers: network.c, in its worker.
 */
#include "runtime/host/network_internal.h"

#include "runtime/base/fd.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/if_addr.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* By number: not in every libc's headers. */
#ifndef SOL_NETLINK
#define SOL_NETLINK 270
#endif

enum {
    LO = 1, /* the index of lo in every network namespace */
    ANSWER_BYTES = 16384,
    SEND_BYTES = 256 << 10, /* more than the largest batch */
    LOG_BYTES = 96,         /* of a packet: headers of IPv6 and of what is in it */
};

static int netlink_open(int protocol, int *ret, struct err *err)
{
    static const char step[] = "open netlink in a session's network";
    struct sockaddr_nl local = {.nl_family = AF_NETLINK};
    int one = 1;
    _cleanup_fd_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0)
        return err_set(err, errno == EPROTONOSUPPORT ? ERR_CAPABILITY_UNAVAILABLE : ERR_UNAVAILABLE,
                       errno, step, protocol == NETLINK_NETFILTER ? "nfnetlink" : "rtnetlink",
                       "This kernel has no netfilter: load the module nf_tables, or use a kernel "
                       "that has it.");
    /* Without it an answer carries the whole message that was refused. */
    (void)setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
    if (bind(fd, (const struct sockaddr *)&local, sizeof local) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, step, NULL, NULL);
    *ret = take_fd(&fd);
    return 0;
}

/* One datagram of the kernel's, which are there when send() returns. Its length; 0: there is none.
 */
static ssize_t receive(int fd, void *data, size_t size)
{
    struct sockaddr_nl from = {0};
    struct iovec part = {data, size};
    struct msghdr message = {
        .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1};
    for (;;) {
        ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        if (message.msg_flags & MSG_TRUNC)
            return -EMSGSIZE;
        if (from.nl_pid == 0)
            return n;
    }
}

/* The kernel answers before send() returns. Every message up to `last` asked for an answer, or the
 * last one alone: then only a refused one has another. The error `accepted` (0: none) is none. */
static int take_answers(int fd, uint32_t last, int accepted, uint32_t *ret_sequence)
{
    static _Alignas(struct nlmsghdr) char answers[ANSWER_BYTES]; /* one worker at a time */
    bool done = false;
    for (;;) {
        ssize_t n = receive(fd, answers, sizeof answers);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return done ? 0 : -EPROTO;
        size_t left = (size_t)n, at = 0;
        struct nlmsghdr head;
        struct nlmsgerr said;
        while (left >= sizeof head) {
            memcpy(&head, answers + at, sizeof head);
            if (head.nlmsg_len < sizeof head || head.nlmsg_len > left)
                return -EPROTO;
            if (head.nlmsg_type == NLMSG_ERROR && head.nlmsg_len >= sizeof head + sizeof said) {
                memcpy(&said, answers + at + sizeof head, sizeof said);
                if (said.error != 0 && said.error != accepted) {
                    *ret_sequence = head.nlmsg_seq;
                    return said.error;
                }
                done = done || head.nlmsg_seq == last;
            }
            size_t whole = NLMSG_ALIGN((size_t)head.nlmsg_len);
            at += whole;
            left -= whole < left ? whole : left;
        }
    }
}

/* ---- link, addresses, routes ----------------------------------------------------------------- */

struct link_message {
    struct nlmsghdr head;
    union {
        struct ifinfomsg link;
        struct ifaddrmsg address;
        struct rtmsg route;
    } body;
    char attributes[64];
};

static void attribute(struct link_message *m, uint16_t type, const void *data, size_t length)
{
    struct rtattr head = {.rta_type = type, .rta_len = (uint16_t)(sizeof head + length)};
    size_t at = m->head.nlmsg_len;
    memcpy((char *)m + at, &head, sizeof head);
    memcpy((char *)m + at + sizeof head, data, length);
    m->head.nlmsg_len = (uint32_t)(at + NLMSG_ALIGN(sizeof head + length));
}

static void link_begin(struct link_message *m, uint32_t sequence, uint16_t type, size_t body)
{
    memset(m, 0, sizeof *m);
    m->head.nlmsg_type = type;
    m->head.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | (type == RTM_NEWLINK ? 0 : NLM_F_CREATE);
    m->head.nlmsg_seq = sequence;
    m->head.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
}

static void raise_lo(struct link_message *m, uint32_t sequence)
{
    link_begin(m, sequence, RTM_NEWLINK, sizeof m->body.link);
    m->body.link.ifi_index = LO;
    m->body.link.ifi_flags = m->body.link.ifi_change = IFF_UP;
}

static void add_address(struct link_message *m, uint32_t sequence, int family, const void *address)
{
    size_t length = family == AF_INET ? 4 : 16;
    link_begin(m, sequence, RTM_NEWADDR, sizeof m->body.address);
    m->body.address.ifa_family = (uint8_t)family;
    m->body.address.ifa_prefixlen = (uint8_t)(length * 8);
    m->body.address.ifa_index = LO;
    m->body.address.ifa_flags = family == AF_INET6 ? IFA_F_NODAD : 0;
    attribute(m, IFA_LOCAL, address, length);
    attribute(m, IFA_ADDRESS, address, length);
}

/* "local default dev lo src `source`": a source that is not loopback's, or what goes to another
 * address would be a martian. */
static void add_route(struct link_message *m, uint32_t sequence, int family, const void *source)
{
    static const uint32_t lo = LO;
    link_begin(m, sequence, RTM_NEWROUTE, sizeof m->body.route);
    m->body.route.rtm_family = (uint8_t)family;
    m->body.route.rtm_table = RT_TABLE_LOCAL;
    m->body.route.rtm_protocol = RTPROT_STATIC;
    m->body.route.rtm_scope = RT_SCOPE_HOST;
    m->body.route.rtm_type = RTN_LOCAL;
    attribute(m, RTA_OIF, &lo, sizeof lo);
    attribute(m, RTA_PREFSRC, source, family == AF_INET ? 4 : 16);
}

int network_link_make(struct err *err)
{
    static const char *const what[] = {"netlink", "lo",        "192.0.2.2",
                                       "fd00::2", "0.0.0.0/0", "::/0"};
    static const uint8_t source4[] = {192, 0, 2, 2}, source6[16] = {0xfd, [15] = 2};
    _cleanup_fd_ int fd = -1;
    int r = netlink_open(NETLINK_ROUTE, &fd, err);
    if (r < 0)
        return r;
    struct link_message messages[ARRAY_LENGTH(what) - 1];
    struct iovec parts[ARRAY_LENGTH(messages)];
    uint32_t sequence = 0;
    raise_lo(&messages[0], 1);
    add_address(&messages[1], 2, AF_INET, source4);
    add_address(&messages[2], 3, AF_INET6, source6);
    add_route(&messages[3], 4, AF_INET, source4);
    add_route(&messages[4], 5, AF_INET6, source6);
    for (size_t i = 0; i < ARRAY_LENGTH(messages); i++)
        parts[i] = (struct iovec){&messages[i], messages[i].head.nlmsg_len};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = ARRAY_LENGTH(parts)};
    r = sendmsg(fd, &message, 0) < 0 ? -errno
                                     : take_answers(fd, ARRAY_LENGTH(messages), -EEXIST, &sequence);
    if (r == 0)
        return 0;
    bool no_ipv6 = r == -EOPNOTSUPP || r == -EAFNOSUPPORT || r == -EACCES;
    return err_set(err, no_ipv6 ? ERR_CAPABILITY_UNAVAILABLE : ERR_UNAVAILABLE, -r,
                   "set up a session's network", what[sequence < ARRAY_LENGTH(what) ? sequence : 0],
                   "%s",
                   no_ipv6 ? "IPv6 is switched off on this host: start its kernel without "
                             "ipv6.disable=1."
                           : "The session was not started.");
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* The length of the first batch; *ret_last is its message that asks for an answer. */
static size_t batch_length(const char *batches, size_t length, uint32_t *ret_last)
{
    struct nlmsghdr head = {0};
    size_t at = 0;
    *ret_last = 0;
    while (at + sizeof head <= length && head.nlmsg_type != NFNL_MSG_BATCH_END) {
        memcpy(&head, batches + at, sizeof head);
        if (head.nlmsg_len < sizeof head || head.nlmsg_len > length - at)
            break;
        if (head.nlmsg_flags & NLM_F_ACK)
            *ret_last = head.nlmsg_seq;
        at += head.nlmsg_len;
    }
    return head.nlmsg_type == NFNL_MSG_BATCH_END ? at : length;
}

static int send_one(int fd, const char *batch, size_t length, uint32_t last, uint32_t *ret_sequence)
{
    ssize_t n;
    while ((n = send(fd, batch, length, 0)) < 0 && errno == EINTR)
        ;
    return n < 0 ? -errno : take_answers(fd, last, 0, ret_sequence);
}

int network_rules_open(int *ret, struct err *err)
{
    int size = SEND_BYTES;
    int r = netlink_open(NETLINK_NETFILTER, ret, err);
    /* Root of the host may exceed the system's limit; others get as much as it allows. */
    if (r == 0 && setsockopt(*ret, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) < 0)
        (void)setsockopt(*ret, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    return r;
}

int network_batch_send(int rules, const void *batches, size_t length, uint32_t *ret_sequence,
                       struct err *err)
{
    static const char step[] = "set the rules of a session's network";
    int r = 0;
    *ret_sequence = 0;
    for (size_t at = 0, whole; at < length && r == 0; at += whole) {
        uint32_t last;
        whole = batch_length((const char *)batches + at, length - at, &last);
        r = send_one(rules, (const char *)batches + at, whole, last, ret_sequence);
    }
    if (r == 0)
        return 0;
    if (r == -EMSGSIZE)
        return err_set(err, ERR_TOO_LARGE, EMSGSIZE, step, NULL,
                       "So many rules with ports do not fit what this host lets a user send to its "
                       "kernel: raise net.core.wmem_max, or use fewer.");
    bool lacks = r == -ENOENT || r == -EOPNOTSUPP || r == -EPROTONOSUPPORT || r == -EAFNOSUPPORT ||
                 r == -EINVAL;
    return err_set(err, lacks ? ERR_CAPABILITY_UNAVAILABLE : ERR_UNAVAILABLE, -r, step, NULL, "%s",
                   lacks ? "This kernel lacks a part of nftables. Load what it has as modules: "
                           "modprobe -a nf_tables nft_tproxy nft_reject_inet nft_log nft_limit "
                           "nfnetlink_log; or use a kernel (5.10 or later) that is built with them."
                         : "Nothing of them is in force.");
}

/* ---- counters -------------------------------------------------------------------------------- */

/* What a dump said; `take` gets each message behind its head. */
struct dump {
    void (*take)(struct dump *dump, const char *data, size_t length);
    uint64_t counters[NETWORK_COUNTER_COUNT];
    unsigned seen;
    int half;
};

/* Attribute `type` of `length` bytes at `data`; NULL: there is none. */
static const char *find(const char *data, size_t length, unsigned type, size_t *ret_length)
{
    struct nlattr head;
    while (length >= sizeof head) {
        memcpy(&head, data, sizeof head);
        if (head.nla_len < sizeof head || head.nla_len > length)
            return NULL;
        if ((head.nla_type & NLA_TYPE_MASK) == type) {
            *ret_length = head.nla_len - sizeof head;
            return data + sizeof head;
        }
        size_t whole = NLMSG_ALIGN((size_t)head.nla_len);
        data += whole < length ? whole : length;
        length -= whole < length ? whole : length;
    }
    return NULL;
}

static void take_counter(struct dump *dump, const char *data, size_t length)
{
    static const char *const names[] = {
#define X(symbol, name) name,
        NETWORK_COUNTERS(X)
#undef X
    };
    size_t name_length = 0, value_length = 0, packets_length = 0;
    const char *name = find(data, length, NFTA_OBJ_NAME, &name_length);
    const char *value = find(data, length, NFTA_OBJ_DATA, &value_length);
    const char *packets =
        value ? find(value, value_length, NFTA_COUNTER_PACKETS, &packets_length) : NULL;
    if (!name || !packets || packets_length != sizeof(uint64_t))
        return;
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++)
        if (name_length == strlen(names[i]) + 1 && memcmp(name, names[i], name_length) == 0) {
            uint64_t number;
            memcpy(&number, packets, sizeof number);
            dump->counters[i] = be64toh(number);
            dump->seen |= 1u << i;
        }
}

static int read_dump(int fd, struct dump *dump)
{
    static _Alignas(struct nlmsghdr) char answers[ANSWER_BYTES];
    for (;;) {
        ssize_t n = receive(fd, answers, sizeof answers);
        if (n <= 0)
            return n < 0 ? (int)n : -EPROTO;
        size_t left = (size_t)n, at = 0;
        struct nlmsghdr head;
        while (left >= sizeof head) {
            memcpy(&head, answers + at, sizeof head);
            if (head.nlmsg_len < sizeof head || head.nlmsg_len > left)
                return -EPROTO;
            const size_t before = sizeof head + sizeof(struct nfgenmsg);
            if (head.nlmsg_type == NLMSG_DONE)
                return 0;
            if (head.nlmsg_type == NLMSG_ERROR) {
                struct nlmsgerr said;
                if (head.nlmsg_len < sizeof head + sizeof said)
                    return -EPROTO;
                memcpy(&said, answers + at + sizeof head, sizeof said);
                return said.error ? said.error : -EPROTO;
            }
            if (head.nlmsg_len > before)
                dump->take(dump, answers + at + before, head.nlmsg_len - before);
            size_t whole = NLMSG_ALIGN((size_t)head.nlmsg_len);
            at += whole;
            left -= whole < left ? whole : left;
        }
    }
}

static int ask(const void *question, size_t length, struct dump *dump, struct err *err)
{
    _cleanup_fd_ int fd = -1;
    int r = netlink_open(NETLINK_NETFILTER, &fd, err);
    if (r < 0)
        return r;
    r = send(fd, question, length, 0) < 0 ? -errno : read_dump(fd, dump);
    return r < 0 ? err_set(err, ERR_UNAVAILABLE, -r, "look at the rules of a session's network",
                           NULL, "%s", r == -ENOENT ? "It has none of berth's." : "")
                 : 0;
}

static void take_half(struct dump *dump, const char *data, size_t length)
{
    int half = network_half_of(data, length);
    if (half >= 0)
        dump->half = half;
}

int network_half_read(const struct buf *question, unsigned *ret, struct err *err)
{
    struct dump dump = {.take = take_half, .half = -1};
    int r = ask(question->data, question->length, &dump, err);
    if (r == 0 && dump.half < 0)
        return err_set(err, ERR_UNAVAILABLE, ENOENT, "look at the rules of a session's network",
                       NULL, "It has none of berth's.");
    if (r == 0)
        *ret = (unsigned)dump.half;
    return r;
}

int network_counters_read(uint64_t ret[NETWORK_COUNTER_COUNT], struct err *err)
{
    static const char step[] = "read the counters of a session's network";
    static const struct {
        struct nlmsghdr head;
        struct nfgenmsg general;
    } request = {
        .head = {.nlmsg_len = sizeof request,
                 .nlmsg_type = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETOBJ,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                 .nlmsg_seq = 1},
        .general = {.nfgen_family = 1 /* NFPROTO_INET */, .version = NFNETLINK_V0},
    };
    struct dump dump = {.take = take_counter};
    int r = ask(&request, sizeof request, &dump, err);
    if (r == 0 && dump.seen != (1u << NETWORK_COUNTER_COUNT) - 1)
        return err_set(err, ERR_UNAVAILABLE, ENOENT, step, NULL, "It has none of berth's.");
    if (r == 0)
        memcpy(ret, dump.counters, sizeof dump.counters);
    return r;
}

/* ---- log ------------------------------------------------------------------------------------- */

static int configure_log(int fd, uint32_t sequence, uint16_t type, const void *data, size_t length)
{
    struct {
        struct nlmsghdr head;
        struct nfgenmsg general;
        struct nlattr attribute;
        char data[8];
    } request = {
        .head = {.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK,
                 .nlmsg_seq = sequence,
                 .nlmsg_len = (uint32_t)(NLMSG_HDRLEN + sizeof(struct nfgenmsg) +
                                         NLMSG_ALIGN(sizeof(struct nlattr) + length))},
        .general = {.nfgen_family = AF_UNSPEC,
                    .version = NFNETLINK_V0,
                    .res_id = htons(NETWORK_LOG_GROUP)},
        .attribute = {.nla_type = type, .nla_len = (uint16_t)(sizeof(struct nlattr) + length)},
    };
    uint32_t refused;
    memcpy(request.data, data, length);
    return send(fd, &request, request.head.nlmsg_len, 0) < 0
               ? -errno
               : take_answers(fd, sequence, 0, &refused);
}

int network_log_open(int *ret, struct err *err)
{
    const struct nfulnl_msg_config_cmd bind_group = {.command = NFULNL_CFG_CMD_BIND};
    const struct nfulnl_msg_config_mode mode = {.copy_range = htonl(LOG_BYTES),
                                                .copy_mode = NFULNL_COPY_PACKET};
    const uint32_t at_once = htonl(1);
    _cleanup_fd_ int fd = -1;
    int r = netlink_open(NETLINK_NETFILTER, &fd, err);
    if (r < 0)
        return r;
    r = configure_log(fd, 1, NFULA_CFG_CMD, &bind_group, sizeof bind_group);
    if (r == 0)
        r = configure_log(fd, 2, NFULA_CFG_MODE, &mode, sizeof mode);
    if (r == 0)
        r = configure_log(fd, 3, NFULA_CFG_QTHRESH, &at_once, sizeof at_once);
    if (r < 0)
        return err_set(err, r == -EBUSY ? ERR_IN_PROGRESS : ERR_CAPABILITY_UNAVAILABLE, -r,
                       "listen to what a session's network refuses", NULL, "%s",
                       r == -EBUSY ? "Another gateway serves this session."
                                   : "Load the module nfnetlink_log.");
    *ret = take_fd(&fd);
    return 0;
}
