/* This file is how the batches of the ruleset are written: messages of nfnetlink and the attributes
 * in them, of any depth. Only runtime/plan/network_nft*.c include it. Pure.
 */
#pragma once

#include "runtime/plan/network_nft.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

struct batch {
    struct buf *out;
    uint32_t sequence;
    size_t begin;   /* where the last batch begins */
    size_t message; /* where the last message begins */
    unsigned half;  /* which of the sets */
};

/* Attributes; numbers in network byte order, as nftables has them. */
void nft_put(struct batch *b, uint16_t type, const void *data, size_t length);
void nft_put_text(struct batch *b, uint16_t type, const char *text);
void nft_put_u32(struct batch *b, uint16_t type, uint32_t value);
void nft_put_data(struct batch *b, uint16_t type, const void *value, size_t length);
/* What is put between the two is inside; nest_end() gets what nest_begin() returned. */
size_t nft_nest_begin(struct batch *b, uint16_t type);
void nft_nest_end(struct batch *b, size_t at);

/* A message of nftables, then its end; and the two around a batch. */
void nft_begin(struct batch *b, unsigned type, uint16_t flags);
void nft_end(struct batch *b);
void nft_limit_of_batch(struct batch *b, uint16_t type);

void nft_add_rule(struct batch *b, const struct nft_rule *rule);
