/* This file is an attack program: it asks for sockets of families and types that speak to the
 * kernel or past the session's network (row 16). It never sends.
 */
#include "try.h"

#include <linux/netlink.h>
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef AF_SMC
#define AF_SMC 43
#endif
#ifndef AF_QIPCRTR
#define AF_QIPCRTR 42
#endif

static void one(const char *name, unsigned long family, unsigned long type, unsigned long protocol)
{
    long fd = syscall(SYS_socket, family, type, protocol);
    /* The filter answers as a kernel without the family would. */
    try_result(name, fd);
    if (fd >= 0)
        close((int)fd);
}

int main(void)
{
    try_begin();
    one("vsock", AF_VSOCK, SOCK_STREAM, 0);
    one("vsock_bit32", AF_VSOCK | 1ul << 32, SOCK_STREAM, 0);
    one("packet", AF_PACKET, SOCK_RAW, 0x0300);
    one("packet_dgram", AF_PACKET, SOCK_DGRAM, 0x0300);
    one("alg", AF_ALG, SOCK_SEQPACKET, 0);
    one("alg_bit32", AF_ALG | 1ul << 32, SOCK_SEQPACKET, 0);
    one("xdp", AF_XDP, SOCK_RAW, 0);
    one("can", AF_CAN, SOCK_RAW, 1);
    one("bluetooth", AF_BLUETOOTH, SOCK_RAW, 1);
    one("tipc", AF_TIPC, SOCK_SEQPACKET, 0);
    one("rds", AF_RDS, SOCK_SEQPACKET, 0);
    one("key", AF_KEY, SOCK_RAW, 2);
    one("smc", AF_SMC, SOCK_STREAM, 0);
    one("qipcrtr", AF_QIPCRTR, SOCK_DGRAM, 0);
    one("ax25", AF_AX25, SOCK_DGRAM, 0);
    one("raw_icmp", AF_INET, SOCK_RAW, IPPROTO_ICMP);
    one("raw_icmp_cloexec", AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    one("raw_type_bit32", AF_INET, SOCK_RAW | 1ul << 32, IPPROTO_ICMP);
    one("raw6", AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
    one("sock_packet", AF_INET, SOCK_PACKET, 0x0300);
    static const struct {
        const char *name;
        int protocol;
    } netlinks[] = {
        {"netlink_sock_diag", NETLINK_SOCK_DIAG},    {"netlink_netfilter", NETLINK_NETFILTER},
        {"netlink_kobject", NETLINK_KOBJECT_UEVENT}, {"netlink_audit", NETLINK_AUDIT},
        {"netlink_generic", NETLINK_GENERIC},        {"netlink_xfrm", NETLINK_XFRM},
        {"netlink_connector", NETLINK_CONNECTOR},    {"netlink_crypto", NETLINK_CRYPTO},
        {"netlink_fib_lookup", NETLINK_FIB_LOOKUP},
    };
    for (size_t i = 0; i < sizeof netlinks / sizeof *netlinks; i++) {
        one(netlinks[i].name, AF_NETLINK, SOCK_RAW, (unsigned)netlinks[i].protocol);
        char name[64];
        snprintf(name, sizeof name, "%s_dgram", netlinks[i].name);
        one(name, AF_NETLINK, SOCK_DGRAM, (unsigned)netlinks[i].protocol);
    }
    int pair[2];
    long r =
        syscall(SYS_socketpair, (unsigned long)AF_TIPC, (unsigned long)SOCK_SEQPACKET, 0ul, pair);
    try_result("socketpair_tipc", r);
    return try_end("families");
}
