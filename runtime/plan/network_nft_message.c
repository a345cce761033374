/* This file writes messages of nfnetlink into a buffer; it never knows what they are for. Pure. */
#include "runtime/plan/network_nft_message.h"

#include <string.h>

void nft_put(struct batch *b, uint16_t type, const void *data, size_t length)
{
    static const uint8_t zero[NLA_ALIGNTO];
    struct nlattr head = {.nla_len = (uint16_t)(sizeof head + length), .nla_type = type};
    buf_add(b->out, &head, sizeof head);
    buf_add(b->out, data, length);
    buf_add(b->out, zero, -length % sizeof zero);
}

void nft_put_text(struct batch *b, uint16_t type, const char *text)
{
    nft_put(b, type, text, strlen(text) + 1);
}

void nft_put_u32(struct batch *b, uint16_t type, uint32_t value)
{
    uint32_t number = htonl(value);
    nft_put(b, type, &number, sizeof number);
}

size_t nft_nest_begin(struct batch *b, uint16_t type)
{
    size_t at = b->out->length;
    nft_put(b, NLA_F_NESTED | type, NULL, 0);
    return at;
}

void nft_nest_end(struct batch *b, size_t at)
{
    if (b->out->failed)
        return;
    uint16_t length = (uint16_t)(b->out->length - at);
    memcpy(b->out->data + at, &length, sizeof length);
}

void nft_put_data(struct batch *b, uint16_t type, const void *value, size_t length)
{
    size_t nest = nft_nest_begin(b, type);
    nft_put(b, NFTA_DATA_VALUE, value, length);
    nft_nest_end(b, nest);
}

static void begin_any(struct batch *b, uint16_t type, uint16_t flags, uint8_t family,
                      uint16_t resource)
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

void nft_end(struct batch *b)
{
    if (b->out->failed)
        return;
    uint32_t length = (uint32_t)(b->out->length - b->message);
    memcpy(b->out->data + b->message, &length, sizeof length);
}

void nft_begin(struct batch *b, unsigned type, uint16_t flags)
{
    begin_any(b, (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type), flags, NFPROTO_INET, 0);
}

void nft_limit_of_batch(struct batch *b, uint16_t type)
{
    if (type == NFNL_MSG_BATCH_BEGIN)
        b->begin = b->out->length;
    begin_any(b, type, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
    nft_end(b);
}
