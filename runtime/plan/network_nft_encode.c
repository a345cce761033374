/* This file writes the ruleset as one batch of nfnetlink messages, which the kernel takes whole or
 * not at all; it never sends it, and reads no text. Pure.
 *
 * The messages are those that nft(8) makes of network_nft_text.c's text, so that both are listed
 * the same: tests/kernel/network_rules.c compares them. Numbers of messages count from 1.
 *
 * Source: linux/netfilter/nf_tables.h and nfnetlink.h; nft --debug=mnl,netlink.
 */
#include "runtime/plan/network_nft.h"

#include "runtime/base/fd.h"

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum {
    /* Types of nft(8), which the kernel only keeps: address and port, six bits each. */
    TYPE_KEY4 = 7 << 6 | 13,
    TYPE_KEY6 = 8 << 6 | 13,
    PORT_BYTES = 4, /* a field of a key takes whole words */
    ADDRESS_REGISTER = NFT_REG_1,
    /* A message of elements ends here; the length of an attribute has 16 bits. */
    ELEMENTS_BYTES = 60000,
};

/* ---- attributes ------------------------------------------------------------------------------ */

struct batch {
    struct buf *out;
    uint32_t sequence;
    size_t message; /* where the last message begins */
};

static void put(struct batch *b, uint16_t type, const void *data, size_t length)
{
    static const uint8_t zero[NLA_ALIGNTO];
    struct nlattr head = {.nla_len = (uint16_t)(sizeof head + length), .nla_type = type};
    buf_add(b->out, &head, sizeof head);
    buf_add(b->out, data, length);
    buf_add(b->out, zero, -length % sizeof zero);
}

static void put_text(struct batch *b, uint16_t type, const char *text)
{
    put(b, type, text, strlen(text) + 1);
}

static void put_u32(struct batch *b, uint16_t type, uint32_t value)
{
    uint32_t number = htonl(value);
    put(b, type, &number, sizeof number);
}

static size_t nest_begin(struct batch *b, uint16_t type)
{
    size_t at = b->out->length;
    put(b, NLA_F_NESTED | type, NULL, 0);
    return at;
}

static void nest_end(struct batch *b, size_t at)
{
    if (b->out->failed)
        return;
    uint16_t length = (uint16_t)(b->out->length - at);
    memcpy(b->out->data + at, &length, sizeof length);
}

/* ---- messages -------------------------------------------------------------------------------- */

static void begin(struct batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t resource)
{
    struct nlmsghdr head = {
        .nlmsg_type = type,
        .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags),
        .nlmsg_seq = ++b->sequence,
    };
    struct nfgenmsg general = {
        .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(resource)};
    b->message = b->out->length;
    buf_add(b->out, &head, sizeof head);
    buf_add(b->out, &general, sizeof general);
}

static void end(struct batch *b)
{
    if (b->out->failed)
        return;
    uint32_t length = (uint32_t)(b->out->length - b->message);
    memcpy(b->out->data + b->message, &length, sizeof length);
}

static void begin_nft(struct batch *b, unsigned type, uint16_t flags)
{
    begin(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_INET, 0);
}

static void limit_of_batch(struct batch *b, uint16_t type)
{
    begin(b, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    end(b);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static size_t expression_begin(struct batch *b, const char *name, size_t *ret_outer)
{
    *ret_outer = nest_begin(b, NFTA_LIST_ELEM);
    put_text(b, NFTA_EXPR_NAME, name);
    return nest_begin(b, NFTA_EXPR_DATA);
}

static void expression_end(struct batch *b, size_t outer, size_t data)
{
    nest_end(b, data);
    nest_end(b, outer);
}

static void put_data(struct batch *b, uint16_t type, const void *value, size_t length)
{
    size_t nest = nest_begin(b, type);
    put(b, NFTA_DATA_VALUE, value, length);
    nest_end(b, nest);
}

static void put_verdict(struct batch *b, int32_t code, const char *chain)
{
    size_t outer, data = expression_begin(b, "immediate", &outer);
    put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    size_t value = nest_begin(b, NFTA_IMMEDIATE_DATA), verdict = nest_begin(b, NFTA_DATA_VERDICT);
    put_u32(b, NFTA_VERDICT_CODE, (uint32_t)code);
    if (chain)
        put_text(b, NFTA_VERDICT_CHAIN, chain);
    nest_end(b, verdict);
    nest_end(b, value);
    expression_end(b, outer, data);
}

static void put_meta(struct batch *b, uint32_t key)
{
    size_t outer, data = expression_begin(b, "meta", &outer);
    put_u32(b, NFTA_META_KEY, key);
    put_u32(b, NFTA_META_DREG, NFT_REG_1);
    expression_end(b, outer, data);
}

static void put_compare(struct batch *b, uint32_t operation, const void *value, size_t length)
{
    size_t outer, data = expression_begin(b, "cmp", &outer);
    put_u32(b, NFTA_CMP_SREG, NFT_REG_1);
    put_u32(b, NFTA_CMP_OP, operation);
    put_data(b, NFTA_CMP_DATA, value, length);
    expression_end(b, outer, data);
}

static void put_payload(struct batch *b, uint32_t target, uint32_t base, uint32_t offset,
                        uint32_t length)
{
    size_t outer, data = expression_begin(b, "payload", &outer);
    put_u32(b, NFTA_PAYLOAD_DREG, target);
    put_u32(b, NFTA_PAYLOAD_BASE, base);
    put_u32(b, NFTA_PAYLOAD_OFFSET, offset);
    put_u32(b, NFTA_PAYLOAD_LEN, length);
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
    put_u32(b, NFTA_BITWISE_SREG, NFT_REG_1);
    put_u32(b, NFTA_BITWISE_DREG, NFT_REG_1);
    put_u32(b, NFTA_BITWISE_LEN, 1);
    put_data(b, NFTA_BITWISE_MASK, &syn_ack, 1);
    put_data(b, NFTA_BITWISE_XOR, &none, 1);
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

static void set_name(char ret[32], unsigned set, unsigned family)
{
    snprintf(ret, 32, "%s%u", nft_set_names[set], family);
}

/* The key stands in registers one behind the other; of 4 bytes, or of 16. */
static void put_in(struct batch *b, uint8_t family, unsigned set)
{
    char name[32];
    set_name(name, set, family);
    put_family(b, family);
    put_protocol(b, NFT_CMP_EQ, IPPROTO_TCP);
    put_address(b, family, family == 4 ? 4 : 16);
    put_payload(b, family == 4 ? NFT_REG32_01 : NFT_REG_2, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    size_t outer, data = expression_begin(b, "lookup", &outer);
    put_text(b, NFTA_LOOKUP_SET, name);
    put_u32(b, NFTA_LOOKUP_SREG, ADDRESS_REGISTER);
    expression_end(b, outer, data);
}

static void put_limit(struct batch *b)
{
    size_t outer, data = expression_begin(b, "limit", &outer);
    uint64_t rate = htobe64(LOG_PER_SECOND), unit = htobe64(1);
    put(b, NFTA_LIMIT_RATE, &rate, sizeof rate);
    put(b, NFTA_LIMIT_UNIT, &unit, sizeof unit);
    put_u32(b, NFTA_LIMIT_BURST, LOG_BURST);
    put_u32(b, NFTA_LIMIT_TYPE, NFT_LIMIT_PKTS);
    put_u32(b, NFTA_LIMIT_FLAGS, 0);
    expression_end(b, outer, data);
}

static void put_log(struct batch *b)
{
    size_t outer, data = expression_begin(b, "log", &outer);
    uint16_t group = htons(NETWORK_LOG_GROUP);
    put(b, NFTA_LOG_GROUP, &group, sizeof group);
    expression_end(b, outer, data);
}

static void put_count(struct batch *b, unsigned counter)
{
    size_t outer, data = expression_begin(b, "objref", &outer);
    put_u32(b, NFTA_OBJREF_IMM_TYPE, NFT_OBJECT_COUNTER);
    put_text(b, NFTA_OBJREF_IMM_NAME, nft_counter_names[counter]);
    expression_end(b, outer, data);
}

static void put_tproxy(struct batch *b, uint8_t family)
{
    uint16_t port = htons(NETWORK_LISTENER_PORT);
    put_protocol(b, NFT_CMP_EQ, IPPROTO_TCP);
    size_t outer, data = expression_begin(b, "immediate", &outer);
    put_u32(b, NFTA_IMMEDIATE_DREG, NFT_REG_1);
    put_data(b, NFTA_IMMEDIATE_DATA, &port, sizeof port);
    expression_end(b, outer, data);
    data = expression_begin(b, "tproxy", &outer);
    put_u32(b, NFTA_TPROXY_FAMILY, family == 4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
    put_u32(b, NFTA_TPROXY_REG_PORT, NFT_REG_1);
    expression_end(b, outer, data);
}

static void put_reject(struct batch *b, uint32_t type, uint8_t code)
{
    size_t outer, data = expression_begin(b, "reject", &outer);
    put_u32(b, NFTA_REJECT_TYPE, type);
    put(b, NFTA_REJECT_ICMP_CODE, &code, sizeof code);
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

/* ---- objects --------------------------------------------------------------------------------- */

static void add_table(struct batch *b)
{
    begin_nft(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    put_text(b, NFTA_TABLE_NAME, NFT_TABLE);
    put_u32(b, NFTA_TABLE_FLAGS, 0);
    end(b);
}

static void add_counter(struct batch *b, const char *name)
{
    static const uint64_t zero;
    begin_nft(b, NFT_MSG_NEWOBJ, NLM_F_CREATE | NLM_F_EXCL);
    put_text(b, NFTA_OBJ_TABLE, NFT_TABLE);
    put_text(b, NFTA_OBJ_NAME, name);
    put_u32(b, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
    size_t data = nest_begin(b, NFTA_OBJ_DATA);
    put(b, NFTA_COUNTER_BYTES, &zero, sizeof zero);
    put(b, NFTA_COUNTER_PACKETS, &zero, sizeof zero);
    nest_end(b, data);
    end(b);
}

static void add_field(struct batch *b, uint32_t bytes)
{
    size_t field = nest_begin(b, NFTA_LIST_ELEM);
    put_u32(b, NFTA_SET_FIELD_LEN, bytes);
    nest_end(b, field);
}

static void add_set(struct batch *b, unsigned set, unsigned family)
{
    uint32_t address = family == 4 ? 4 : 16;
    char name[32];
    set_name(name, set, family);
    begin_nft(b, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
    put_text(b, NFTA_SET_TABLE, NFT_TABLE);
    put_text(b, NFTA_SET_NAME, name);
    put_u32(b, NFTA_SET_FLAGS, NFT_SET_INTERVAL | NFT_SET_CONCAT);
    put_u32(b, NFTA_SET_KEY_TYPE, family == 4 ? TYPE_KEY4 : TYPE_KEY6);
    put_u32(b, NFTA_SET_KEY_LEN, address + PORT_BYTES);
    put_u32(b, NFTA_SET_ID, set * 2 + (family == 4 ? 1 : 2));
    size_t description = nest_begin(b, NFTA_SET_DESC);
    size_t fields = nest_begin(b, NFTA_SET_DESC_CONCAT);
    add_field(b, address);
    add_field(b, 2);
    nest_end(b, fields);
    nest_end(b, description);
    end(b);
}

static void add_chain(struct batch *b, enum nft_chain chain)
{
    const struct nft_base *base = nft_base_of(chain);
    begin_nft(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
    put_text(b, NFTA_CHAIN_TABLE, NFT_TABLE);
    put_text(b, NFTA_CHAIN_NAME, nft_chain_names[chain]);
    if (base) {
        put_text(b, NFTA_CHAIN_TYPE, "filter");
        put_u32(b, NFTA_CHAIN_POLICY, base->accept ? NF_ACCEPT : NF_DROP);
        size_t hook = nest_begin(b, NFTA_CHAIN_HOOK);
        put_u32(b, NFTA_HOOK_HOOKNUM, (uint32_t)base->number);
        put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)base->priority);
        nest_end(b, hook);
    }
    end(b);
}

static void add_rule(struct batch *b, const struct nft_rule *rule)
{
    begin_nft(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    put_text(b, NFTA_RULE_TABLE, NFT_TABLE);
    put_text(b, NFTA_RULE_CHAIN, nft_chain_names[rule->chain]);
    size_t expressions = nest_begin(b, NFTA_RULE_EXPRESSIONS);
    for (size_t i = 0; i < ARRAY_LENGTH(rule->items); i++)
        put_item(b, &rule->items[i]);
    nest_end(b, expressions);
    end(b);
}

/* ---- elements -------------------------------------------------------------------------------- */

static void put_key(struct batch *b, uint16_t type, nft_number address, uint16_t port, int family)
{
    uint8_t key[16 + PORT_BYTES] = {0};
    size_t length = family == 4 ? 4 : 16;
    nft_number_bytes(address, family, key);
    memset(key + length, 0, PORT_BYTES);
    key[length] = (uint8_t)(port >> 8);
    key[length + 1] = (uint8_t)port;
    put_data(b, type, key, length + PORT_BYTES);
}

static size_t begin_elements(struct batch *b, unsigned message, unsigned set, unsigned family)
{
    char name[32];
    set_name(name, set, family);
    begin_nft(b, message, message == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
    put_text(b, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
    put_text(b, NFTA_SET_ELEM_LIST_SET, name);
    return b->out->length;
}

static void add_elements(struct batch *b, const struct spec_network *net, enum nft_set set,
                         unsigned family)
{
    struct nft_ranges ranges;
    nft_ranges_make(net, set, (int)family, &ranges);
    b->out->failed |= ranges.failed;
    for (size_t i = 0; i < ranges.count && !b->out->failed;) {
        begin_elements(b, NFT_MSG_NEWSETELEM, set, family);
        size_t list = nest_begin(b, NFTA_SET_ELEM_LIST_ELEMENTS);
        for (; i < ranges.count && b->out->length - list < ELEMENTS_BYTES; i++) {
            const struct nft_range *range = &ranges.items[i];
            size_t element = nest_begin(b, NFTA_LIST_ELEM);
            put_key(b, NFTA_SET_ELEM_KEY, range->first, range->port_first, (int)family);
            put_key(b, NFTA_SET_ELEM_KEY_END, range->last, range->port_last, (int)family);
            nest_end(b, element);
        }
        nest_end(b, list);
        end(b);
    }
    nft_ranges_fini(&ranges);
}

static void flush_set(struct batch *b, unsigned set, unsigned family)
{
    begin_elements(b, NFT_MSG_DELSETELEM, set, family);
    end(b);
}

/* ---- batches --------------------------------------------------------------------------------- */

static void each_set(struct batch *b, void (*make)(struct batch *b, unsigned set, unsigned family))
{
    for (unsigned set = 0; set < SET_COUNT; set++) {
        make(b, set, 4);
        make(b, set, 6);
    }
}

static void add_all_elements(struct batch *b, const struct spec_network *net)
{
    for (int set = 0; set < SET_COUNT; set++) {
        add_elements(b, net, (enum nft_set)set, 4);
        add_elements(b, net, (enum nft_set)set, 6);
    }
}

/* The last message of the batch asks for an answer: it comes when everything was done. */
static int finish(struct batch *b, struct err *err)
{
    if (!b->out->failed) {
        struct nlmsghdr head;
        memcpy(&head, b->out->data + b->message, sizeof head);
        head.nlmsg_flags |= NLM_F_ACK;
        memcpy(b->out->data + b->message, &head, sizeof head);
    }
    limit_of_batch(b, NFNL_MSG_BATCH_END);
    if (b->out->failed)
        return err_set(err, ERR_INTERNAL, ENOMEM, "write the rules of the network", NULL, NULL);
    return 0;
}

int network_encode(const struct spec_network *net, struct buf *out, struct err *err)
{
    struct batch b = {.out = out};
    limit_of_batch(&b, NFNL_MSG_BATCH_BEGIN);
    add_table(&b);
    for (int i = 0; i < NETWORK_COUNTER_COUNT; i++)
        add_counter(&b, nft_counter_names[i]);
    each_set(&b, add_set);
    add_all_elements(&b, net);
    for (int chain = 0; chain < CHAIN_COUNT; chain++)
        add_chain(&b, (enum nft_chain)chain);
    for (size_t i = 0; i < nft_rule_count; i++)
        add_rule(&b, &nft_rules[i]);
    return finish(&b, err);
}

int network_encode_replace(const struct spec_network *net, struct buf *out, struct err *err)
{
    struct batch b = {.out = out};
    limit_of_batch(&b, NFNL_MSG_BATCH_BEGIN);
    each_set(&b, flush_set);
    add_all_elements(&b, net);
    return finish(&b, err);
}

/* ---- what a message was ---------------------------------------------------------------------- */

/* The text of the second attribute of a message: the name of what it makes. */
static const char *name_of(const char *message, uint32_t length)
{
    size_t at = sizeof(struct nlmsghdr) + sizeof(struct nfgenmsg);
    struct nlattr head;
    if (length < at + sizeof head)
        return "";
    memcpy(&head, message + at, sizeof head);
    at += (head.nla_len + 3u) & ~3u;
    return at + sizeof head < length ? message + at + sizeof head : "";
}

void network_message_print(const struct buf *batch, uint32_t sequence, struct buf *out)
{
    static const char *const kinds[] = {
        [NFT_MSG_NEWTABLE] = "table", [NFT_MSG_NEWOBJ] = "counter",
        [NFT_MSG_NEWSET] = "set",     [NFT_MSG_NEWSETELEM] = "elements of set",
        [NFT_MSG_NEWCHAIN] = "chain", [NFT_MSG_DELSETELEM] = "set",
    };
    size_t rule = 0;
    struct nlmsghdr head;
    for (size_t at = 0; at + sizeof head <= batch->length; at += head.nlmsg_len) {
        memcpy(&head, batch->data + at, sizeof head);
        if (head.nlmsg_len < sizeof head || head.nlmsg_len > batch->length - at)
            return;
        unsigned type = head.nlmsg_type & 0xffu;
        bool is_rule = head.nlmsg_type >> 8 == NFNL_SUBSYS_NFTABLES && type == NFT_MSG_NEWRULE;
        if (head.nlmsg_seq != sequence) {
            rule += is_rule;
            continue;
        }
        if (is_rule && rule < nft_rule_count)
            nft_rule_print(&nft_rules[rule], out);
        else if (head.nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
            buf_puts(out, "nftables");
        else if (type < ARRAY_LENGTH(kinds) && kinds[type])
            buf_printf(out, "%s %s", kinds[type],
                       type == NFT_MSG_NEWTABLE ? NFT_TABLE
                                                : name_of(batch->data + at, head.nlmsg_len));
        return;
    }
}
