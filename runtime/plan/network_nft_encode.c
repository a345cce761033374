/* This file writes the ruleset as batches of nfnetlink messages, each of which the kernel takes
 * whole or not at all; it never sends one, and reads no text. Pure.
 *
 * One batch, but for sets whose elements do not fit it: those are filled by batches before it, and
 * the last one has what names them.
 *
 * The messages are those that nft(8) makes of network_nft_text.c's text, so that both are listed
 * the same: tests/kernel/network_rules.c compares them. Numbers of messages count from 1.
 *
 * Source: linux/netfilter/nf_tables.h and nfnetlink.h; nft --debug=mnl,netlink.
 */
#include "runtime/plan/network_nft_message.h"

#include "runtime/base/fd.h"

#include <string.h>

enum {
    /* Types of nft(8), which the kernel only keeps: address and port, six bits each. */
    TYPE_KEY4 = 7 << 6 | 13,
    TYPE_KEY6 = 8 << 6 | 13,
    PORT_BYTES = 4, /* a field of a key takes whole words */
    /* A message of elements ends here; the length of an attribute has 16 bits. */
    ELEMENTS_BYTES = 60000,
    /* A batch is one message of a socket, whose buffer an ordinary user cannot make larger than the
     * host allows: 208 KiB where nobody changed it. */
    BATCH_BYTES = 160 << 10,
};

/* ---- objects --------------------------------------------------------------------------------- */

static void add_table(struct batch *b)
{
    nft_begin(b, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    nft_put_text(b, NFTA_TABLE_NAME, NFT_TABLE);
    nft_put_u32(b, NFTA_TABLE_FLAGS, 0);
    nft_end(b);
}

static void add_counter(struct batch *b, const char *name)
{
    static const uint64_t zero;
    nft_begin(b, NFT_MSG_NEWOBJ, NLM_F_CREATE | NLM_F_EXCL);
    nft_put_text(b, NFTA_OBJ_TABLE, NFT_TABLE);
    nft_put_text(b, NFTA_OBJ_NAME, name);
    nft_put_u32(b, NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
    size_t data = nft_nest_begin(b, NFTA_OBJ_DATA);
    nft_put(b, NFTA_COUNTER_BYTES, &zero, sizeof zero);
    nft_put(b, NFTA_COUNTER_PACKETS, &zero, sizeof zero);
    nft_nest_end(b, data);
    nft_end(b);
}

static void add_field(struct batch *b, uint32_t bytes)
{
    size_t field = nft_nest_begin(b, NFTA_LIST_ELEM);
    nft_put_u32(b, NFTA_SET_FIELD_LEN, bytes);
    nft_nest_end(b, field);
}

static void add_set(struct batch *b, unsigned set, unsigned family)
{
    uint32_t address = family == 4 ? 4 : 16;
    char name[NFT_SET_NAME_SIZE];
    nft_set_name((enum nft_set)set, family, b->half, name);
    nft_begin(b, NFT_MSG_NEWSET, NLM_F_CREATE);
    nft_put_text(b, NFTA_SET_TABLE, NFT_TABLE);
    nft_put_text(b, NFTA_SET_NAME, name);
    nft_put_u32(b, NFTA_SET_FLAGS, NFT_SET_INTERVAL | NFT_SET_CONCAT);
    nft_put_u32(b, NFTA_SET_KEY_TYPE, family == 4 ? TYPE_KEY4 : TYPE_KEY6);
    nft_put_u32(b, NFTA_SET_KEY_LEN, address + PORT_BYTES);
    nft_put_u32(b, NFTA_SET_ID, set * 2 + (family == 4 ? 1 : 2));
    size_t description = nft_nest_begin(b, NFTA_SET_DESC);
    size_t fields = nft_nest_begin(b, NFTA_SET_DESC_CONCAT);
    add_field(b, address);
    add_field(b, 2);
    nft_nest_end(b, fields);
    nft_nest_end(b, description);
    nft_end(b);
}

static void add_chain(struct batch *b, enum nft_chain chain)
{
    const struct nft_base *base = nft_base_of(chain);
    nft_begin(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
    nft_put_text(b, NFTA_CHAIN_TABLE, NFT_TABLE);
    nft_put_text(b, NFTA_CHAIN_NAME, nft_chain_names[chain]);
    if (base) {
        nft_put_text(b, NFTA_CHAIN_TYPE, "filter");
        nft_put_u32(b, NFTA_CHAIN_POLICY, base->accept ? NF_ACCEPT : NF_DROP);
        size_t hook = nft_nest_begin(b, NFTA_CHAIN_HOOK);
        nft_put_u32(b, NFTA_HOOK_HOOKNUM, (uint32_t)base->number);
        nft_put_u32(b, NFTA_HOOK_PRIORITY, (uint32_t)base->priority);
        nft_nest_end(b, hook);
    }
    nft_end(b);
}

/* ---- a batch ----------------------------------------------------------------------------------
 */

/* The last message of the batch asks for an answer: it comes when everything was done. */
static void end_batch(struct batch *b)
{
    if (!b->out->failed) {
        struct nlmsghdr head;
        memcpy(&head, b->out->data + b->message, sizeof head);
        head.nlmsg_flags |= NLM_F_ACK;
        memcpy(b->out->data + b->message, &head, sizeof head);
    }
    nft_limit_of_batch(b, NFNL_MSG_BATCH_END);
}

static int finish(struct batch *b, struct err *err)
{
    end_batch(b);
    if (b->out->failed)
        return err_set(err, ERR_INTERNAL, ENOMEM, "write the rules of the network", NULL, NULL);
    return 0;
}

/* Elements of many rules go on in another batch. That is no instant of half a ruleset: what names
 * their sets comes in the last one. */
static void make_room(struct batch *b)
{
    if (b->out->length - b->begin <= BATCH_BYTES - ELEMENTS_BYTES)
        return;
    end_batch(b);
    nft_limit_of_batch(b, NFNL_MSG_BATCH_BEGIN);
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
    nft_put_data(b, type, key, length + PORT_BYTES);
}

static void begin_elements(struct batch *b, unsigned message, unsigned set, unsigned family)
{
    char name[NFT_SET_NAME_SIZE];
    nft_set_name((enum nft_set)set, family, b->half, name);
    nft_begin(b, message, message == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
    nft_put_text(b, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
    nft_put_text(b, NFTA_SET_ELEM_LIST_SET, name);
}

static void add_ranges(struct batch *b, const struct nft_ranges *ranges, enum nft_set set,
                       unsigned family)
{
    b->out->failed |= ranges->failed;
    for (size_t i = 0; i < ranges->count && !b->out->failed;) {
        make_room(b);
        begin_elements(b, NFT_MSG_NEWSETELEM, set, family);
        size_t list = nft_nest_begin(b, NFTA_SET_ELEM_LIST_ELEMENTS);
        for (; i < ranges->count && b->out->length - list < ELEMENTS_BYTES; i++) {
            const struct nft_range *range = &ranges->items[i];
            size_t element = nft_nest_begin(b, NFTA_LIST_ELEM);
            put_key(b, NFTA_SET_ELEM_KEY, range->first, range->port_first, (int)family);
            put_key(b, NFTA_SET_ELEM_KEY_END, range->last, range->port_last, (int)family);
            nft_nest_end(b, element);
        }
        nft_nest_end(b, list);
        nft_end(b);
    }
}

static void add_elements(struct batch *b, const struct spec_network *net, enum nft_set set,
                         unsigned family)
{
    struct nft_ranges ranges;
    nft_ranges_make(net, set, (int)family, &ranges);
    add_ranges(b, &ranges, set, family);
    nft_ranges_fini(&ranges);
}

static void flush_set(struct batch *b, unsigned set, unsigned family)
{
    begin_elements(b, NFT_MSG_DELSETELEM, set, family);
    nft_end(b);
}

static void remove_set(struct batch *b, unsigned set, unsigned family)
{
    char name[NFT_SET_NAME_SIZE];
    nft_set_name((enum nft_set)set, family, b->half, name);
    nft_begin(b, NFT_MSG_DELSET, 0);
    nft_put_text(b, NFTA_SET_TABLE, NFT_TABLE);
    nft_put_text(b, NFTA_SET_NAME, name);
    nft_end(b);
}

static void flush_chain(struct batch *b, enum nft_chain chain)
{
    nft_begin(b, NFT_MSG_DELRULE, 0);
    nft_put_text(b, NFTA_RULE_TABLE, NFT_TABLE);
    nft_put_text(b, NFTA_RULE_CHAIN, nft_chain_names[chain]);
    nft_end(b);
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

int network_encode(const struct spec_network *net, struct buf *out, struct err *err)
{
    struct batch b = {.out = out};
    nft_limit_of_batch(&b, NFNL_MSG_BATCH_BEGIN);
    add_table(&b);
    for (int i = 0; i < NETWORK_COUNTER_COUNT; i++)
        add_counter(&b, nft_counter_names[i]);
    each_set(&b, add_set);
    add_all_elements(&b, net);
    for (int chain = 0; chain < CHAIN_COUNT; chain++)
        add_chain(&b, (enum nft_chain)chain);
    for (size_t i = 0; i < nft_rule_count; i++)
        nft_add_rule(&b, &nft_rules[i]);
    return finish(&b, err);
}

static const struct spec_network nothing = {.egress = SPEC_EGRESS_DENY};

int network_encode_closed(struct buf *out, struct err *err)
{
    return network_encode(&nothing, out, err);
}

static bool same_ranges(const struct nft_ranges *a, const struct nft_ranges *b)
{
    bool same = a->count == b->count && !a->failed && !b->failed;
    for (size_t i = 0; same && i < a->count; i++) {
        const struct nft_range *x = &a->items[i], *y = &b->items[i];
        same = x->first == y->first && x->last == y->last && x->port_first == y->port_first &&
               x->port_last == y->port_last;
    }
    return same;
}

/* Elements in a set that is filled may not meet what is in it: it is emptied before. */
static void open_set(struct batch *b, const struct spec_network *net, enum nft_set set,
                     unsigned family)
{
    struct nft_ranges before, after;
    nft_ranges_make(&nothing, set, (int)family, &before);
    nft_ranges_make(net, set, (int)family, &after);
    if (!same_ranges(&before, &after)) {
        if (b->sequence == 0)
            nft_limit_of_batch(b, NFNL_MSG_BATCH_BEGIN);
        if (before.count > 0)
            flush_set(b, set, family);
        add_ranges(b, &after, set, family);
    }
    nft_ranges_fini(&before);
    nft_ranges_fini(&after);
}

int network_encode_open(const struct spec_network *net, struct buf *out, struct err *err)
{
    struct batch b = {.out = out};
    for (int set = 0; set < SET_COUNT; set++) {
        open_set(&b, net, (enum nft_set)set, 4);
        open_set(&b, net, (enum nft_set)set, 6);
    }
    return b.sequence == 0 ? 0 : finish(&b, err);
}

int network_encode_replace(const struct spec_network *net, enum network_replace_step step,
                           unsigned half, struct buf *out, struct err *err)
{
    struct batch b = {.out = out, .half = half};
    nft_limit_of_batch(&b, NFNL_MSG_BATCH_BEGIN);
    switch (step) {
    case NETWORK_REPLACE_FILL:
        /* They may be there: left by a replacement that was killed. */
        each_set(&b, add_set);
        each_set(&b, flush_set);
        add_all_elements(&b, net);
        break;
    case NETWORK_REPLACE_SWITCH:
        flush_chain(&b, CHAIN_DECIDE);
        for (size_t i = 0; i < nft_rule_count; i++)
            if (nft_rules[i].chain == CHAIN_DECIDE)
                nft_add_rule(&b, &nft_rules[i]);
        break;
    case NETWORK_REPLACE_CLEAR:
        each_set(&b, remove_set);
        break;
    }
    return finish(&b, err);
}

int network_half_of(const void *rules, size_t length)
{
    for (unsigned half = 0; half < 2; half++) {
        char name[NFT_SET_NAME_SIZE];
        nft_set_name(SET_NAMES, 4, half, name);
        if (memmem(rules, length, name, strlen(name) + 1))
            return (int)half;
    }
    return -ENOENT;
}

void network_encode_question(struct buf *out)
{
    struct batch b = {.out = out};
    nft_begin(&b, NFT_MSG_GETRULE, NLM_F_DUMP);
    nft_put_text(&b, NFTA_RULE_TABLE, NFT_TABLE);
    nft_put_text(&b, NFTA_RULE_CHAIN, nft_chain_names[CHAIN_DECIDE]);
    nft_end(&b);
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
        [NFT_MSG_DELSET] = "set",     [NFT_MSG_DELRULE] = "rules of chain",
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
            /* A replacement begins with the chain that it makes anew. */
            while (type == NFT_MSG_DELRULE && nft_rules[rule].chain != CHAIN_DECIDE)
                rule++;
            continue;
        }
        if (is_rule && rule < nft_rule_count)
            nft_rule_print(&nft_rules[rule], 0, out);
        else if (head.nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
            buf_puts(out, "nftables");
        else if (type < ARRAY_LENGTH(kinds) && kinds[type])
            buf_printf(out, "%s %s", kinds[type],
                       type == NFT_MSG_NEWTABLE ? NFT_TABLE
                                                : name_of(batch->data + at, head.nlmsg_len));
        return;
    }
}
