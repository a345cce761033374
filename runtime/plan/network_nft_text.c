/* This file writes the ruleset as nft(8) reads it, for people, documents and tests; the kernel is
 * given network_nft_encode.c's bytes, and never this text. Pure.
 */
#include "runtime/plan/network_nft.h"

#include "runtime/base/fd.h"

#include <netinet/in.h>

static void print_address(struct buf *out, nft_number number, int family)
{
    struct network_address address = {.family = (uint8_t)family};
    char text[ADDRESS_TEXT_SIZE];
    nft_number_bytes(number, family, address.bytes);
    address_print(&address, text);
    buf_puts(out, text);
}

static void print_range(struct buf *out, const struct nft_range *range, int family)
{
    print_address(out, range->first, family);
    if (range->last != range->first) {
        buf_putc(out, '-');
        print_address(out, range->last, family);
    }
    buf_printf(out, " . %u", range->port_first);
    if (range->port_last != range->port_first)
        buf_printf(out, "-%u", range->port_last);
}

static void print_set(const struct spec_network *net, enum nft_set set, int family, struct buf *out)
{
    struct nft_ranges ranges;
    char name[NFT_SET_NAME_SIZE];
    nft_ranges_make(net, set, family, &ranges);
    nft_set_name(set, (unsigned)family, 0, name);
    buf_printf(out, "\tset %s {\n\t\ttype ipv%d_addr . inet_service\n\t\tflags interval\n", name,
               family);
    for (size_t i = 0; i < ranges.count; i++) {
        buf_puts(out, i == 0 ? "\t\telements = { " : ",\n\t\t\t     ");
        print_range(out, &ranges.items[i], family);
    }
    buf_puts(out, ranges.count > 0 ? " }\n\t}\n" : "\t}\n");
    out->failed |= ranges.failed;
    nft_ranges_fini(&ranges);
}

static const char *protocol_name(uint8_t number)
{
    return number == IPPROTO_TCP ? "tcp" : "udp";
}

static const char *family_name(uint8_t family)
{
    return family == 4 ? "ip" : "ip6";
}

static void print_item(const struct nft_item *item, unsigned half, struct buf *out)
{
    char name[NFT_SET_NAME_SIZE];
    const struct nft_place *place = &nft_places[item->a];
    switch ((enum nft_item_kind)item->kind) {
    case ITEM_END:
        break;
    case ITEM_PROTOCOL:
        buf_printf(out, "meta l4proto %s", protocol_name(item->a));
        break;
    case ITEM_NOT_PROTOCOL:
        buf_printf(out, "meta l4proto != %s", protocol_name(item->a));
        break;
    case ITEM_NOT_NEW:
        buf_puts(out, "tcp flags & (syn | ack) != syn");
        break;
    case ITEM_TO:
        buf_printf(out, "%s daddr %s", family_name(place->address.family), place->text);
        break;
    case ITEM_PORT:
        buf_printf(out, "%s dport %u", protocol_name(item->a), item->b);
        break;
    case ITEM_FROM_PORT:
        buf_printf(out, "%s sport %u", protocol_name(item->a), item->b);
        break;
    case ITEM_IN:
        nft_set_name((enum nft_set)item->b, item->a, half, name);
        buf_printf(out, "%s daddr . tcp dport @%s", family_name(item->a), name);
        break;
    case ITEM_LIMIT:
        buf_printf(out, "limit rate %d/second burst %d packets", LOG_PER_SECOND, LOG_BURST);
        break;
    case ITEM_LOG:
        buf_printf(out, "log group %d", NETWORK_LOG_GROUP);
        break;
    case ITEM_COUNT:
        buf_printf(out, "counter name %s", nft_counter_names[item->a]);
        break;
    case ITEM_TPROXY:
        buf_printf(out, "meta l4proto tcp tproxy %s to :%d", family_name(item->a),
                   NETWORK_LISTENER_PORT);
        break;
    case ITEM_RESET:
        buf_puts(out, "reject with tcp reset");
        break;
    case ITEM_PROHIBIT:
        buf_puts(out, "reject with icmpx admin-prohibited");
        break;
    case ITEM_GOTO:
        buf_printf(out, "goto %s", nft_chain_names[item->a]);
        break;
    case ITEM_ACCEPT:
        buf_puts(out, "accept");
        break;
    }
}

void nft_rule_print(const struct nft_rule *rule, unsigned half, struct buf *out)
{
    for (size_t i = 0; i < ARRAY_LENGTH(rule->items) && rule->items[i].kind != ITEM_END; i++) {
        if (i > 0)
            buf_putc(out, ' ');
        print_item(&rule->items[i], half, out);
    }
}

static void print_chain(enum nft_chain chain, struct buf *out)
{
    const struct nft_base *base = nft_base_of(chain);
    buf_printf(out, "\tchain %s {\n", nft_chain_names[chain]);
    if (base)
        buf_printf(out, "\t\ttype filter hook %s priority %s; policy %s;\n", base->hook,
                   base->priority_name, base->policy);
    for (size_t i = 0; i < nft_rule_count; i++) {
        if (nft_rules[i].chain != chain)
            continue;
        buf_puts(out, "\t\t");
        nft_rule_print(&nft_rules[i], 0, out);
        buf_putc(out, '\n');
    }
    buf_puts(out, "\t}\n");
}

void network_print(const struct spec_network *net, struct buf *out)
{
    buf_printf(out, "table inet %s {\n", NFT_TABLE);
    for (int i = 0; i < NETWORK_COUNTER_COUNT; i++)
        buf_printf(out, "\tcounter %s {\n\t}\n", nft_counter_names[i]);
    for (int set = 0; set < SET_COUNT; set++) {
        print_set(net, (enum nft_set)set, 4, out);
        print_set(net, (enum nft_set)set, 6, out);
    }
    for (int chain = 0; chain < CHAIN_COUNT; chain++)
        print_chain((enum nft_chain)chain, out);
    buf_puts(out, "}\n");
}
