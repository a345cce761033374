/* This file reads what the kernel logs of packets that a session's ruleset refused (nfnetlink_log);
 * it never opens a socket. The packet in it is the session's: nothing of it is believed but that it
 * was refused. Pure. Any process may call.
 */
#pragma once

#include "runtime/plan/address.h"

#include <stddef.h>
#include <stdint.h>

struct nflog_packet {
    struct network_address to;
    uint8_t protocol; /* IPPROTO_*; an IPv6 extension header is what it is */
    uint16_t port;    /* TCP and UDP, else 0 */
};

/* Take one message from the front: `*at` moves behind it. 1: a packet. 0: something else. -1: no
 * more, or broken. */
int nflog_next(const void *data, size_t length, size_t *at, struct nflog_packet *ret);
