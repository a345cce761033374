/* This file knows what kinds of address there are (NET-3, NET-7); it never looks one up. Pure. */
#include "runtime/plan/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

_Static_assert(ADDRESS_TEXT_SIZE >= INET6_ADDRSTRLEN, "every address can be printed");

/* What IANA's registries of special-purpose addresses say, clouds' metadata services, and berth's
 * own pool. Most specific first: the first row that fits decides. */
#define V4(a, b, c, d, prefix_bits, what)                                              \
    {                                                                                  \
        .prefix = {.family = 4, .bytes = {(a), (b), (c), (d)}}, .bits = (prefix_bits), \
        .address_class = ADDRESS_##what                                                \
    }
#define V6(prefix_bits, what, ...)                                              \
    {                                                                           \
        .prefix = {.family = 6, .bytes = {__VA_ARGS__}}, .bits = (prefix_bits), \
        .address_class = ADDRESS_##what                                         \
    }
/* clang-format off */
static const struct address_row rows[] = {
    V4(100, 100, 100, 200, 32, METADATA),
    V4(168, 63, 129, 16, 32, METADATA),
    V4(169, 254, 0, 23, 32, METADATA),
    V4(192, 0, 0, 192, 32, METADATA),
    V4(255, 255, 255, 255, 32, MULTICAST), /* broadcast */
    V4(169, 254, 169, 0, 24, METADATA),
    V4(169, 254, 170, 0, 24, METADATA),
    V4(192, 0, 0, 0, 24, RESERVED),
    V4(192, 0, 2, 0, 24, RESERVED), /* documentation, and the session's own source address */
    V4(192, 88, 99, 0, 24, TRANSITION), /* relays of 6to4 */
    V4(198, 51, 100, 0, 24, RESERVED),
    V4(203, 0, 113, 0, 24, RESERVED),
    V4(169, 254, 0, 0, 16, LINK_LOCAL),
    V4(192, 168, 0, 0, 16, PRIVATE),
    V4(198, 18, 0, 0, 15, POOL),
    V4(172, 16, 0, 0, 12, PRIVATE),
    V4(100, 64, 0, 0, 10, CGNAT),
    V4(0, 0, 0, 0, 8, LOOPBACK), /* "this host": Linux connects 0.0.0.0 to itself */
    V4(10, 0, 0, 0, 8, PRIVATE),
    V4(127, 0, 0, 0, 8, LOOPBACK),
    V4(224, 0, 0, 0, 4, MULTICAST),
    V4(240, 0, 0, 0, 4, RESERVED),

    V6(128, LOOPBACK, 0), /* ::, which Linux connects to itself */
    V6(128, LOOPBACK, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1),
    V6(128, METADATA, 0xfd, 0x20, 0, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x54),
    V6(96, TRANSITION, 0), /* v4-compatible */
    V6(96, TRANSITION, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff), /* v4-mapped */
    V6(96, TRANSITION, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff), /* v4-translated */
    V6(96, TRANSITION, 0, 0x64, 0xff, 0x9b), /* NAT64 */
    V6(96, POOL, 0xfd, 0, 0x62, 0x72),
    V6(64, RESERVED, 0x01), /* discard */
    V6(64, RESERVED, 0x01, 0, 0, 0, 0, 0, 0, 1),
    V6(64, METADATA, 0xfd, 0, 0x0e, 0xc2),
    V6(48, TRANSITION, 0, 0x64, 0xff, 0x9b, 0, 0x01), /* NAT64 of one network */
    V6(32, TRANSITION, 0x20, 0x01), /* Teredo */
    V6(32, RESERVED, 0x20, 0x01, 0x0d, 0xb8), /* documentation */
    V6(23, RESERVED, 0x20, 0x01), /* benchmarks, ORCHID and the like */
    V6(20, RESERVED, 0x3f, 0xff), /* documentation */
    V6(16, TRANSITION, 0x20, 0x02), /* 6to4 */
    V6(10, LINK_LOCAL, 0xfe, 0x80),
    V6(10, PRIVATE, 0xfe, 0xc0), /* site-local, as it was */
    V6(8, MULTICAST, 0xff),
    V6(7, PRIVATE, 0xfc),
    /* What no registry has given out: only 2000::/3 is global. */
    V6(3, RESERVED, 0),
    V6(2, RESERVED, 0x40),
    V6(1, RESERVED, 0x80),
};
/* clang-format on */

bool address_row(size_t index, struct address_row *ret)
{
    if (index >= sizeof rows / sizeof rows[0])
        return false;
    *ret = rows[index];
    return true;
}

void address_canonical(int family, const void *bytes, struct network_address *ret)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff}, compatible[12];
    const uint8_t *from = bytes;
    struct network_address address = {.family = family == 4 ? 4 : 6};
    if (family == 4) {
        memcpy(address.bytes, from, 4);
    } else {
        /* :: and ::1 are IPv6's own. */
        bool own = memcmp(from, compatible, 12) == 0 && from[12] == 0 && from[13] == 0 &&
                   from[14] == 0 && from[15] <= 1;
        bool within = memcmp(from, mapped, 12) == 0 || memcmp(from, compatible, 12) == 0;
        if (within && !own) {
            address.family = 4;
            memcpy(address.bytes, from + 12, 4);
        } else {
            memcpy(address.bytes, from, 16);
        }
    }
    *ret = address;
}

int address_parse(const char *text, struct network_address *ret)
{
    uint8_t bytes[16];
    if (inet_pton(AF_INET, text, bytes) == 1)
        address_canonical(4, bytes, ret);
    else if (inet_pton(AF_INET6, text, bytes) == 1)
        address_canonical(6, bytes, ret);
    else
        return -EINVAL;
    return 0;
}

void address_print(const struct network_address *address, char ret[ADDRESS_TEXT_SIZE])
{
    ret[0] = 0;
    if (address->family == 4 || address->family == 6)
        inet_ntop(address->family == 4 ? AF_INET : AF_INET6, address->bytes, ret,
                  ADDRESS_TEXT_SIZE);
}

bool address_equal(const struct network_address *a, const struct network_address *b)
{
    return a->family == b->family && memcmp(a->bytes, b->bytes, a->family == 4 ? 4 : 16) == 0;
}

bool address_within(const struct network_address *address, const struct network_address *prefix,
                    unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    if (address->family != prefix->family || bits > (prefix->family == 4 ? 32u : 128u) ||
        memcmp(address->bytes, prefix->bytes, whole) != 0)
        return false;
    uint8_t mask = (uint8_t)(0xff00u >> rest);
    return rest == 0 || ((address->bytes[whole] ^ prefix->bytes[whole]) & mask) == 0;
}

/* The interface identifier of ISATAP: [02]00:5efe and an IPv4 address, beneath any prefix. */
static bool is_isatap(const struct network_address *address)
{
    const uint8_t *id = address->bytes + 8;
    return address->family == 6 && (id[0] & 0xfd) == 0 && id[1] == 0 && id[2] == 0x5e &&
           id[3] == 0xfe;
}

enum address_class address_classify(const struct network_address *address)
{
    enum address_class what = ADDRESS_PUBLIC;
    if (address->family != 4 && address->family != 6)
        return ADDRESS_RESERVED;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (address_within(address, &rows[i].prefix, rows[i].bits)) {
            what = rows[i].address_class;
            break;
        }
    if ((what == ADDRESS_PUBLIC || what == ADDRESS_PRIVATE) && is_isatap(address))
        return ADDRESS_TRANSITION;
    return what;
}

const char *address_class_name(enum address_class address_class)
{
    static const char *const names[] = {
#define X(symbol, name) [ADDRESS_##symbol] = name,
        ADDRESS_CLASSES(X)
#undef X
    };
    return (unsigned)address_class < ADDRESS_CLASS_COUNT ? names[address_class] : "unknown";
}

void address_of_name(unsigned n, int family, struct network_address *ret)
{
    uint32_t at = n + NETWORK_POOL_FIRST;
    struct network_address address = {.family = 6, .bytes = {0xfd, 0, 0x62, 0x72}};
    uint8_t *end = address.bytes + 12;
    if (family == 4) {
        address = (struct network_address){.family = 4};
        end = address.bytes;
        at += 198u << 24 | 18u << 16;
    }
    end[0] = (uint8_t)(at >> 24);
    end[1] = (uint8_t)(at >> 16);
    end[2] = (uint8_t)(at >> 8);
    end[3] = (uint8_t)at;
    *ret = address;
}

int address_to_name(const struct network_address *address)
{
    static const struct network_address pool4 = {.family = 4, .bytes = {198, 18}},
                                        pool6 = {.family = 6, .bytes = {0xfd, 0, 0x62, 0x72}};
    bool is4 = address_within(address, &pool4, 15);
    if (!is4 && !address_within(address, &pool6, 96))
        return -1;
    const uint8_t *end = address->bytes + (is4 ? 0 : 12);
    uint32_t at =
        (uint32_t)end[0] << 24 | (uint32_t)end[1] << 16 | (uint32_t)end[2] << 8 | (uint32_t)end[3];
    if (is4)
        at -= 198u << 24 | 18u << 16;
    return at >= NETWORK_POOL_FIRST && at < NETWORK_POOL_FIRST + NETWORK_NAMES_MAX
               ? (int)(at - NETWORK_POOL_FIRST)
               : -1;
}
