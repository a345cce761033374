/* This file says what stands in the sets of the ruleset: the rules, the mode and the classes of
 * addresses as ranges that do not meet, because the kernel takes no others; it never decides what a
 * class means (network.c). Pure.
 */
#include "runtime/plan/network_nft.h"

#include <stdlib.h>
#include <string.h>

void nft_ranges_fini(struct nft_ranges *ranges)
{
    if (ranges->items != ranges->few)
        free(ranges->items);
    ranges->items = NULL;
    ranges->count = ranges->room = 0;
}

static bool grow(struct nft_ranges *ranges)
{
    bool first = ranges->items == ranges->few;
    size_t room = ranges->room * 2;
    struct nft_range *items = realloc(first ? NULL : ranges->items, room * sizeof *items);
    if (!items)
        return false;
    if (first)
        memcpy(items, ranges->few, ranges->count * sizeof *items);
    ranges->items = items;
    ranges->room = room;
    return true;
}

static void add(struct nft_ranges *ranges, const struct nft_range *range)
{
    if (ranges->failed)
        return;
    if (ranges->count == ranges->room && !grow(ranges)) {
        ranges->failed = true;
        return;
    }
    ranges->items[ranges->count++] = *range;
}

static unsigned family_bits(int family)
{
    return family == 4 ? 32 : 128;
}

static nft_number all_of(unsigned bits)
{
    return bits == 0 ? 0 : ~(nft_number)0 >> (128 - bits);
}

void nft_number_bytes(nft_number number, int family, uint8_t ret[16])
{
    unsigned length = family_bits(family) / 8;
    memset(ret, 0, 16);
    for (unsigned i = length; i > 0; i--, number >>= 8)
        ret[i - 1] = (uint8_t)number;
}

static struct nft_range range_of(const uint8_t *bytes, int family, unsigned prefix)
{
    struct nft_range range = {.port_first = 0, .port_last = UINT16_MAX};
    unsigned bits = family_bits(family);
    nft_number rest = all_of(bits - prefix);
    for (unsigned i = 0; i < bits / 8; i++)
        range.first = range.first << 8 | bytes[i];
    range.first &= ~rest;
    range.last = range.first | rest;
    return range;
}

/* ---- order ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    const struct nft_range *x = a, *y = b;
    if (x->port_first != y->port_first)
        return x->port_first < y->port_first ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Sorted; what meets or touches is one. A set has ranges of the whole of ports or single ports, so
 * those of one first port have one last port. */
static void unite(struct nft_ranges *ranges)
{
    if (ranges->count == 0)
        return;
    qsort(ranges->items, ranges->count, sizeof ranges->items[0], compare);
    size_t kept = 0;
    for (size_t i = 1; i < ranges->count; i++) {
        struct nft_range *last = &ranges->items[kept];
        const struct nft_range *next = &ranges->items[i];
        /* The last address of all has none behind it. */
        bool touches = next->first <= last->last || next->first - 1 == last->last;
        if (next->port_first != last->port_first || !touches)
            ranges->items[++kept] = *next;
        else if (next->last > last->last)
            last->last = next->last;
    }
    ranges->count = kept + 1;
}

/* ---- classes --------------------------------------------------------------------------------- */

/* The parts of the row that no more specific row, one before it in the table, covers. */
static void add_row(struct nft_ranges *ranges, size_t index, const struct nft_range *whole,
                    int family)
{
    nft_number at = whole->first;
    for (;;) {
        /* The first of those rows that ends at or behind `at`. */
        struct nft_range next = {0};
        bool found = false;
        struct address_row row;
        for (size_t i = 0; i < index && address_row(i, &row); i++) {
            if (row.prefix.family != family)
                continue;
            struct nft_range other = range_of(row.prefix.bytes, family, row.bits);
            if (other.last < at || other.first > whole->last)
                continue;
            if (!found || other.first < next.first ||
                (other.first == next.first && other.last > next.last))
                next = other;
            found = true;
        }
        struct nft_range part = {at, found ? next.first - 1 : whole->last, 0, UINT16_MAX};
        if (!found || next.first > at)
            add(ranges, &part);
        if (!found || next.last >= whole->last)
            return;
        at = next.last + 1;
    }
}

/* Every address of a class that `wanted` says yes to. */
static void add_classes(struct nft_ranges *ranges, const struct spec_network *net, int family,
                        bool (*wanted)(const struct spec_network *net, enum address_class what))
{
    struct address_row row;
    size_t index = 0;
    for (; address_row(index, &row); index++)
        if (row.prefix.family == family && wanted(net, row.address_class)) {
            struct nft_range whole = range_of(row.prefix.bytes, family, row.bits);
            add_row(ranges, index, &whole, family);
        }
    /* What no row names. */
    struct nft_range all = {0, all_of(family_bits(family)), 0, UINT16_MAX};
    if (wanted(net, ADDRESS_PUBLIC))
        add_row(ranges, index, &all, family);
}

static bool is_reached(const struct spec_network *net, enum address_class what)
{
    return network_mode_opens(net, what);
}

static bool is_never(const struct spec_network *net, enum address_class what)
{
    (void)net;
    return network_class_is_closed(what);
}

static bool is_pool(const struct spec_network *net, enum address_class what)
{
    (void)net;
    return what == ADDRESS_POOL;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static void add_rules(struct nft_ranges *ranges, const struct spec_rule *rules, unsigned count,
                      int family, bool with_ports)
{
    for (unsigned i = 0; i < count && i < SPEC_RULES_MAX; i++) {
        const struct spec_rule *rule = &rules[i];
        if (rule->family != family || (rule->port_count > 0) != with_ports)
            continue;
        struct nft_range range = range_of(rule->address, family, rule->prefix);
        if (!with_ports)
            add(ranges, &range);
        for (unsigned p = 0; p < rule->port_count && p < SPEC_PORTS_MAX; p++) {
            range.port_first = range.port_last = rule->ports[p];
            add(ranges, &range);
        }
    }
}

static bool wants_names(const struct spec_network *net)
{
    bool wanted = net->egress != SPEC_EGRESS_DENY;
    for (unsigned i = 0; i < net->allow_count && i < SPEC_RULES_MAX && !wanted; i++)
        wanted = net->allow[i].family == 0;
    return wanted;
}

void nft_ranges_make(const struct spec_network *net, enum nft_set set, int family,
                     struct nft_ranges *ret)
{
    ret->items = ret->few;
    ret->count = 0;
    ret->room = NFT_RANGES_FEW;
    ret->failed = false;
    switch (set) {
    case SET_NAMES:
        if (wants_names(net))
            add_classes(ret, net, family, is_pool);
        break;
    case SET_DENY:
        add_classes(ret, net, family, is_never);
        add_rules(ret, net->deny, net->deny_count, family, false);
        break;
    case SET_DENY_PORT:
        add_rules(ret, net->deny, net->deny_count, family, true);
        break;
    case SET_ALLOW:
        add_classes(ret, net, family, is_reached);
        add_rules(ret, net->allow, net->allow_count, family, false);
        break;
    case SET_ALLOW_PORT:
        add_rules(ret, net->allow, net->allow_count, family, true);
        break;
    case SET_COUNT:
        break;
    }
    unite(ret);
}
