/* This file is what the parts of the ruleset share: which sets, chains and rules there are, as
 * tables, and what stands in the sets (docs/adr/0013). It declares nothing for anybody but
 * runtime/plan/network_nft*.c and their tests. Pure.
 *
 * The ruleset is the same for every session; sessions differ in the elements of ten sets. What is
 * in no set is refused, so a ruleset with empty sets refuses everything.
 *
 * The sets are there in one of two halves, whose names end in "a" and "b". A replacement fills the
 * half that no rule names, then has the rules of the chain "decide" name it, then removes the
 * other. Elements that are exchanged in a set that is in use are not exchanged at one instant, nor
 * those of several sets (6.18: what both rule sets denied passed once in some 10,000 connections);
 * the rules of a chain are.
 */
#pragma once

#include "runtime/plan/network.h"

#include <stddef.h>

#define NFT_TABLE "berth"

/* Each for IPv4 and for IPv6. All have the type "address . port", so that there is one way to write
 * and to encode an element. */
#define NFT_SETS(X)                                                                              \
    X(NAMES, "names")           /* the pool, where names are answered: passes before a denial */ \
    X(DENY, "deny")             /* any port: classes that no rule opens, and denied networks */  \
    X(DENY_PORT, "deny_port")   /* denied networks with ports */                                 \
    X(ALLOW, "allow")           /* any port: what the mode reaches, and allowed networks */      \
    X(ALLOW_PORT, "allow_port") /* allowed networks with ports */

enum nft_set {
#define X(symbol, name) SET_##symbol,
    NFT_SETS(X)
#undef X
        SET_COUNT
};

#define NFT_CHAINS(X)   \
    X(REFUSE, "refuse") \
    X(PASS, "pass")     \
    X(OWN, "own")       \
    X(DECIDE, "decide") \
    X(OUTPUT, "output") \
    X(PREROUTING, "prerouting")

enum nft_chain {
#define X(symbol, name) CHAIN_##symbol,
    NFT_CHAINS(X)
#undef X
        CHAIN_COUNT
};

/* A chain that the kernel calls: "type filter hook `hook` priority `priority`". */
struct nft_base {
    const char *hook, *priority_name, *policy;
    int number, priority;
    bool accept;
};

/* The parts of a rule, in the order in which nft(8) writes them. */
enum nft_item_kind {
    ITEM_END = 0,
    ITEM_PROTOCOL,     /* a: number */
    ITEM_NOT_PROTOCOL, /* a: number */
    ITEM_NOT_NEW,      /* TCP, but not the first packet of a connection */
    ITEM_TO,           /* a: index in nft_places */
    ITEM_PORT,         /* a: protocol, b: destination port */
    ITEM_FROM_PORT,    /* a: protocol, b: source port */
    ITEM_IN,           /* a: family, b: enum nft_set */
    ITEM_LIMIT,
    ITEM_LOG,
    ITEM_COUNT,  /* a: enum network_counter */
    ITEM_TPROXY, /* a: family */
    ITEM_RESET,
    ITEM_PROHIBIT,
    ITEM_GOTO, /* a: enum nft_chain */
    ITEM_ACCEPT,
};

struct nft_item {
    uint8_t kind, a;
    uint16_t b;
};

struct nft_rule {
    uint8_t chain;
    struct nft_item items[4];
};

/* Addresses that rules name: the session's own. */
struct nft_place {
    struct network_address address;
    uint8_t bits;
    const char *text;
};

enum { LOG_PER_SECOND = 100, LOG_BURST = 500 };

extern const char *const nft_set_names[SET_COUNT], *const nft_chain_names[CHAIN_COUNT];
extern const char *const nft_counter_names[NETWORK_COUNTER_COUNT];
extern const struct nft_place nft_places[];
extern const struct nft_rule nft_rules[];
extern const size_t nft_rule_count;

/* "allow4_a". */
enum { NFT_SET_NAME_SIZE = 32 };
void nft_set_name(enum nft_set set, unsigned family, unsigned half, char ret[NFT_SET_NAME_SIZE]);
/* One rule as text, without indentation. */
void nft_rule_print(const struct nft_rule *rule, unsigned half, struct buf *out);
/* NULL for a chain that rules go to. */
const struct nft_base *nft_base_of(enum nft_chain chain);

/* ---- elements
 * ----------------------------------------------------------------------------------- */

__extension__ typedef unsigned __int128 nft_number; /* an address; IPv4 in the low 32 bits */

struct nft_range {
    nft_number first, last;
    uint16_t port_first, port_last;
};

/* A set has few as a rule: those need no memory of the heap, of which each piece costs a session
 * that is being made a mapping and a page fault. It stays where it was made. */
enum { NFT_RANGES_FEW = 32 };

struct nft_ranges {
    struct nft_range *items; /* `few`, or owned */
    size_t count, room;
    bool failed; /* out of memory */
    struct nft_range few[NFT_RANGES_FEW];
};

void nft_ranges_fini(struct nft_ranges *ranges);

/* What stands in one set: sorted, and no two of them meet. */
void nft_ranges_make(const struct spec_network *net, enum nft_set set, int family,
                     struct nft_ranges *ret);
void nft_number_bytes(nft_number number, int family, uint8_t ret[16]);
