/* This file writes the rules of the ruleset as the expressions that nft(8) makes of their text; it
 * never orders or chooses them. Pure.
 *
 * Source: linux/netfilter/nf_tables.h; nft --debug=netlink.
 */
#include "runtime/plan/network_nft_message.h"

#include "runtime/base/fd.h"

#include <endian.h>

enum { ADDRESS_REGISTER = NFT_REG_1 };

static size_t expression_begin(struct batch *b, const char *name, size_t *ret_outer)
{
    *ret_outer = nft_nest_begin(b, NFTA_LIST_ELEM);
    nft_put_text(b, NFTA_EXPR_NAME, name);
    return nft_nest_begin(b, NFTA_EXPR_DATA);
}

static void expression_end(struct batch *b, size_t outer, size_t data)
{
    nft_nest_end(b, data);
    nft_nest_end(b, outer);
}

static void put_verdict(struct batch *b, int32_t code, const char *chain)
{
    size_t outer, data = expression_begin(b, "immediate", &outer);
    nft_put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    size_t value = nft_nest_begin(b, NFTA_IMMEDIATE_DATA),
           verdict = nft_nest_begin(b, NFTA_DATA_VERDICT);
    nft_put_u32(b, NFTA_VERDICT_CODE, (uint32_t)code);
    if (chain)
        nft_put_text(b, NFTA_VERDICT_CHAIN, chain);
    nft_nest_end(b, verdict);
    nft_nest_end(b, value);
    expression_end(b, outer, data);
}

static void put_meta(struct batch *b, uint32_t key)
{
    size_t outer, data = expression_begin(b, "meta", &outer);
    nft_put_u32(b, NFTA_META_KEY, key);
    nft_put_u32(b, NFTA_META_DREG, NFT_REG_1);
    expression_end(b, outer, data);
}

static void put_compare(struct batch *b, uint32_t operation, const void *value, size_t length)
{
    size_t outer, data = expression_begin(b, "cmp", &outer);
    nft_put_u32(b, NFTA_CMP_SREG, NFT_REG_1);
    nft_put_u32(b, NFTA_CMP_OP, operation);
    nft_put_data(b, NFTA_CMP_DATA, value, length);
    expression_end(b, outer, data);
}

static void put_payload(struct batch *b, uint32_t target, uint32_t base, uint32_t offset,
                        uint32_t length)
{
    size_t outer, data = expression_begin(b, "payload", &outer);
    nft_put_u32(b, NFTA_PAYLOAD_DREG, target);
    nft_put_u32(b, NFTA_PAYLOAD_BASE, base);
    nft_put_u32(b, NFTA_PAYLOAD_OFFSET, offset);
    nft_put_u32(b, NFTA_PAYLOAD_LEN, length);
    expression_end(b, outer, data);
}

static void put_protocol(struct batch *b, uint32_t operation, uint8_t number)
{
    put_meta(b, NFT_META_L4PROTO);
    put_compare(b, operation, &number, sizeof number);
}

static void put_family(struct batch *b, uint8_t family)
{
    uint8_t number = family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6;
    put_meta(b, NFT_META_NFPROTO);
    put_compare(b, NFT_CMP_EQ, &number, sizeof number);
}

static void put_address(struct batch *b, uint8_t family, uint32_t length)
{
    put_payload(b, ADDRESS_REGISTER, NFT_PAYLOAD_NETWORK_HEADER, family == 4 ? 16 : 24, length);
}

static void put_port(struct batch *b, uint8_t protocol, uint32_t offset, uint16_t port)
{
    uint16_t number = htons(port);
    put_protocol(b, NFT_CMP_EQ, protocol);
    put_payload(b, NFT_REG_1, NFT_PAYLOAD_TRANSPORT_HEADER, offset, sizeof number);
    put_compare(b, NFT_CMP_EQ, &number, sizeof number);
}

static void put_not_new(struct batch *b)
{
    static const uint8_t syn = 0x02, syn_ack = 0x12, none = 0;
    put_protocol(b, NFT_CMP_EQ, IPPROTO_TCP);
    put_payload(b, NFT_REG_1, NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1);
    size_t outer, data = expression_begin(b, "bitwise", &outer);
    nft_put_u32(b, NFTA_BITWISE_SREG, NFT_REG_1);
    nft_put_u32(b, NFTA_BITWISE_DREG, NFT_REG_1);
    nft_put_u32(b, NFTA_BITWISE_LEN, 1);
    nft_put_data(b, NFTA_BITWISE_MASK, &syn_ack, 1);
    nft_put_data(b, NFTA_BITWISE_XOR, &none, 1);
    expression_end(b, outer, data);
    put_compare(b, NFT_CMP_NEQ, &syn, 1);
}

/* Every prefix of the table ends at a byte. */
static void put_to(struct batch *b, const struct nft_place *place)
{
    put_family(b, place->address.family);
    put_address(b, place->address.family, place->bits / 8u);
    put_compare(b, NFT_CMP_EQ, place->address.bytes, place->bits / 8u);
}

/* The key stands in registers one behind the other; of 4 bytes, or of 16. */
static void put_in(struct batch *b, uint8_t family, unsigned set)
{
    char name[NFT_SET_NAME_SIZE];
    nft_set_name((enum nft_set)set, family, b->half, name);
    put_family(b, family);
    put_protocol(b, NFT_CMP_EQ, IPPROTO_TCP);
    put_address(b, family, family == 4 ? 4 : 16);
    put_payload(b, family == 4 ? NFT_REG32_01 : NFT_REG_2, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    size_t outer, data = expression_begin(b, "lookup", &outer);
    nft_put_text(b, NFTA_LOOKUP_SET, name);
    nft_put_u32(b, NFTA_LOOKUP_SREG, ADDRESS_REGISTER);
    expression_end(b, outer, data);
}

static void put_limit(struct batch *b)
{
    size_t outer, data = expression_begin(b, "limit", &outer);
    uint64_t rate = htobe64(LOG_PER_SECOND), unit = htobe64(1);
    nft_put(b, NFTA_LIMIT_RATE, &rate, sizeof rate);
    nft_put(b, NFTA_LIMIT_UNIT, &unit, sizeof unit);
    nft_put_u32(b, NFTA_LIMIT_BURST, LOG_BURST);
    nft_put_u32(b, NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS);
    nft_put_u32(b, NFTA_LIMIT_FLAGS, 0);
    expression_end(b, outer, data);
}

static void put_log(struct batch *b)
{
    size_t outer, data = expression_begin(b, "log", &outer);
    uint16_t group = htons(NETWORK_LOG_GROUP);
    nft_put(b, NFTA_LOG_GROUP, &group, sizeof group);
    expression_end(b, outer, data);
}

static void put_count(struct batch *b, unsigned counter)
{
    size_t outer, data = expression_begin(b, "objref", &outer);
    nft_put_u32(b, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
    nft_put_text(b, NFTA_OBJREF_IMM_NAME, nft_counter_names[counter]);
    expression_end(b, outer, data);
}

static void put_tproxy(struct batch *b, uint8_t family)
{
    uint16_t port = htons(NETWORK_LISTENER_PORT);
    put_protocol(b, NFT_CMP_EQ, IPPROTO_TCP);
    size_t outer, data = expression_begin(b, "immediate", &outer);
    nft_put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    nft_put_data(b, NFTA_IMMEDIATE_DATA, &port, sizeof port);
    expression_end(b, outer, data);
    data = expression_begin(b, "tproxy", &outer);
    nft_put_u32(b, NFTA_TPROXY_FAMILY, family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
    nft_put_u32(b, NFTA_TPROXY_REG_PORT, NFT_REG_1);
    expression_end(b, outer, data);
}

static void put_reject(struct batch *b, uint32_t type, uint8_t code)
{
    size_t outer, data = expression_begin(b, "reject", &outer);
    nft_put_u32(b, NFTA_REJECT_TYPE, type);
    nft_put(b, NFTA_REJECT_ICMP_CODE, &code, sizeof code);
    expression_end(b, outer, data);
}

static void put_item(struct batch *b, const struct nft_item *item)
{
    switch ((enum nft_item_kind)item->kind) {
    case ITEM_END:
        break;
    case ITEM_PROTOCOL:
        put_protocol(b, NFT_CMP_EQ, item->a);
        break;
    case ITEM_NOT_PROTOCOL:
        put_protocol(b, NFT_CMP_NEQ, item->a);
        break;
    case ITEM_NOT_NEW:
        put_not_new(b);
        break;
    case ITEM_TO:
        put_to(b, &nft_places[item->a]);
        break;
    case ITEM_PORT:
        put_port(b, item->a, 2, item->b);
        break;
    case ITEM_FROM_PORT:
        put_port(b, item->a, 0, item->b);
        break;
    case ITEM_IN:
        put_in(b, item->a, item->b);
        break;
    case ITEM_LIMIT:
        put_limit(b);
        break;
    case ITEM_LOG:
        put_log(b);
        break;
    case ITEM_COUNT:
        put_count(b, item->a);
        break;
    case ITEM_TPROXY:
        put_tproxy(b, item->a);
        break;
    case ITEM_RESET:
        put_reject(b, NFT_REJECT_TCP_RST, 0);
        break;
    case ITEM_PROHIBIT:
        put_reject(b, NFT_REJECT_ICMPX_UNREACH, NFT_REJECT_ICMPX_ADMIN_PROHIBITED);
        break;
    case ITEM_GOTO:
        put_verdict(b, NFT_GOTO, nft_chain_names[item->a]);
        break;
    case ITEM_ACCEPT:
        put_verdict(b, NF_ACCEPT, NULL);
        break;
    }
}

void nft_add_rule(struct batch *b, const struct nft_rule *rule)
{
    nft_begin(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    nft_put_text(b, NFTA_RULE_TABLE, NFT_TABLE);
    nft_put_text(b, NFTA_RULE_CHAIN, nft_chain_names[rule->chain]);
    size_t expressions = nft_nest_begin(b, NFTA_RULE_EXPRESSIONS);
    for (size_t i = 0; i < ARRAY_LENGTH(rule->items); i++)
        put_item(b, &rule->items[i]);
    nft_nest_end(b, expressions);
    nft_end(b);
}
