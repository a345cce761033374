/* This file knows what kinds of address there are (contract NET-3, NET-7; RFC 6890 and the IANA
 * special-purpose registries); it never looks one up. Pure. Any process may call.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* IPv4 as family 4 with the first 4 bytes, IPv6 as 6 with all 16, network byte order. A v4-mapped
 * or v4-compatible IPv6 address never stands here: address_canonical() makes it IPv4. */
struct network_address {
    uint8_t family, reserved[3];
    uint8_t bytes[16];
};

/* What an address is for; the order is of no meaning. */
#define ADDRESS_CLASSES(X)                                                                           \
    X(PUBLIC, "public")                                                                              \
    X(PRIVATE, "private")         /* RFC 1918, fc00::/7 */                                           \
    X(LINK_LOCAL, "link-local")   /* 169.254/16, fe80::/10 */                                        \
    X(CGNAT, "carrier-grade NAT") /* 100.64/10 */                                                    \
    X(METADATA, "metadata") /* 169.254.169.254, fd00:ec2::254, 100.100.100.200, 168.63.129.16 … */ \
    X(LOOPBACK, "loopback")     /* 127/8, ::1; 0/8 and ::, which Linux connects to itself */         \
    X(MULTICAST, "multicast")   /* and broadcast */                                                  \
    X(RESERVED, "reserved")     /* 192.0.0/24, documentation, 240/4, what IANA keeps */              \
    X(TRANSITION, "transition") /* NAT64, 6to4, Teredo, ISATAP: another address is within */         \
    X(POOL, "pool") /* 198.18.0.0/15 and fd00:6272::/96: berth's own names, never dialled */

enum address_class {
#define X(symbol, name) ADDRESS_##symbol,
    ADDRESS_CLASSES(X)
#undef X
        ADDRESS_CLASS_COUNT
};

/* From 4 or 16 bytes in network byte order; ::ffff:a.b.c.d and ::a.b.c.d become family 4. */
void address_canonical(int family, const void *bytes, struct network_address *ret);
/* Strict text (inet_pton(3) forms only, no "127.1", no zone). 0 or -EINVAL. */
int address_parse(const char *text, struct network_address *ret);
enum { ADDRESS_TEXT_SIZE = 48 };
void address_print(const struct network_address *address, char ret[ADDRESS_TEXT_SIZE]);
bool address_equal(const struct network_address *a, const struct network_address *b);
bool address_within(const struct network_address *address, const struct network_address *prefix,
                    unsigned bits);

enum address_class address_classify(const struct network_address *address);
const char *address_class_name(enum address_class address_class);

/* The table behind it, most specific first, for the ruleset: row `index`, false behind the last. */
struct address_row {
    struct network_address prefix;
    unsigned bits;
    enum address_class address_class;
};
bool address_row(size_t index, struct address_row *ret);

/* The session's pool of names: address number n, and back (-1: none of the pool). */
enum { NETWORK_NAMES_MAX = 4096, NETWORK_POOL_FIRST = 16 };
void address_of_name(unsigned n, int family, struct network_address *ret);
int address_to_name(const struct network_address *address);
