/* This file is the ruleset of a session's network namespace, as tables (docs/adr/0013); it never
 * depends on who the session is. Pure.
 */
#include "runtime/plan/network_nft.h"

#include "runtime/base/fd.h"

#include <arpa/inet.h>
#include <linux/netfilter.h>
#include <stdio.h>

const char *const nft_set_names[SET_COUNT] = {
#define X(symbol, name) name,
    NFT_SETS(X)
#undef X
};

const char *const nft_chain_names[CHAIN_COUNT] = {
#define X(symbol, name) name,
    NFT_CHAINS(X)
#undef X
};

const char *const nft_counter_names[NETWORK_COUNTER_COUNT] = {
#define X(symbol, name) name,
    NETWORK_COUNTERS(X)
#undef X
};

void nft_set_name(enum nft_set set, unsigned family, unsigned half, char ret[NFT_SET_NAME_SIZE])
{
    snprintf(ret, NFT_SET_NAME_SIZE, "%s%u_%c", nft_set_names[set], family, half ? 'b' : 'a');
}

/* Tproxy wants its packets before routing, filters theirs in between: both only need to be there.
 */
static const struct nft_base output = {"output", "filter", "drop", NF_INET_LOCAL_OUT, 0, false},
                             prerouting = {"prerouting",        "mangle", "accept",
                                           NF_INET_PRE_ROUTING, -150,     true};

const struct nft_base *nft_base_of(enum nft_chain chain)
{
    return chain == CHAIN_OUTPUT ? &output : chain == CHAIN_PREROUTING ? &prerouting : NULL;
}

enum { LOOPBACK4, LOOPBACK6, SOURCE4, SOURCE6 };

/* The last two are the source of whatever a program sends without binding: it finds them as its own
 * address, and may speak to itself there. */
const struct nft_place nft_places[] = {
    [LOOPBACK4] = {{.family = 4, .bytes = {127}}, 8, "127.0.0.0/8"},
    [LOOPBACK6] = {{.family = 6, .bytes = {[15] = 1}}, 128, "::1"},
    [SOURCE4] = {{.family = 4, .bytes = {192, 0, 2, 2}}, 32, "192.0.2.2"},
    [SOURCE6] = {{.family = 6, .bytes = {0xfd, [15] = 2}}, 128, "fd00::2"},
};

/* clang-format off */
#define GOTO(chain)  {ITEM_GOTO, CHAIN_##chain, 0}
#define ACCEPT       {ITEM_ACCEPT, 0, 0}
#define COUNT(what)  {ITEM_COUNT, NETWORK_COUNT_##what, 0}
#define TO(place)    {ITEM_TO, place, 0}
#define IN(set, family) {ITEM_IN, family, SET_##set}
#define TCP          IPPROTO_TCP
#define UDP          IPPROTO_UDP

const struct nft_rule nft_rules[] = {
    /* An error at once, never silence (NET-4). Each packet is counted; who reads the log is told of
     * the first ones of a flood, because a flood must not be his. */
    {CHAIN_REFUSE, {{ITEM_LIMIT, 0, 0}, {ITEM_LOG, 0, 0}}},
    {CHAIN_REFUSE, {{ITEM_PROTOCOL, TCP, 0}, COUNT(DENIED_TCP), {ITEM_RESET, 0, 0}}},
    {CHAIN_REFUSE, {{ITEM_PROTOCOL, UDP, 0}, COUNT(DENIED_UDP), {ITEM_PROHIBIT, 0, 0}}},
    {CHAIN_REFUSE, {COUNT(DENIED_OTHER), {ITEM_PROHIBIT, 0, 0}}},

    {CHAIN_PASS, {COUNT(PASSED), ACCEPT}},

    /* To itself: everything but the gateway's listener, which is met through tproxy only. */
    {CHAIN_OWN, {{ITEM_PORT, TCP, NETWORK_LISTENER_PORT}, GOTO(REFUSE)}},
    {CHAIN_OWN, {ACCEPT}},

    {CHAIN_OUTPUT, {{ITEM_NOT_NEW, 0, 0}, ACCEPT}},
    {CHAIN_OUTPUT, {TO(LOOPBACK4), GOTO(OWN)}},
    {CHAIN_OUTPUT, {TO(LOOPBACK6), GOTO(OWN)}},
    {CHAIN_OUTPUT, {TO(SOURCE4), GOTO(OWN)}},
    {CHAIN_OUTPUT, {TO(SOURCE6), GOTO(OWN)}},
    /* Whatever address is asked, the gateway answers; what it answers comes from that port, which no
     * program of the session can have. */
    {CHAIN_OUTPUT, {{ITEM_PORT, TCP, NETWORK_DNS_PORT}, ACCEPT}},
    {CHAIN_OUTPUT, {{ITEM_PORT, UDP, NETWORK_DNS_PORT}, ACCEPT}},
    {CHAIN_OUTPUT, {{ITEM_FROM_PORT, UDP, NETWORK_DNS_PORT}, ACCEPT}},
    {CHAIN_OUTPUT, {{ITEM_NOT_PROTOCOL, TCP, 0}, GOTO(REFUSE)}},
    {CHAIN_OUTPUT, {GOTO(DECIDE)}},

    {CHAIN_DECIDE, {IN(NAMES, 4), GOTO(PASS)}},
    {CHAIN_DECIDE, {IN(NAMES, 6), GOTO(PASS)}},
    {CHAIN_DECIDE, {IN(DENY, 4), GOTO(REFUSE)}},
    {CHAIN_DECIDE, {IN(DENY, 6), GOTO(REFUSE)}},
    {CHAIN_DECIDE, {IN(DENY_PORT, 4), GOTO(REFUSE)}},
    {CHAIN_DECIDE, {IN(DENY_PORT, 6), GOTO(REFUSE)}},
    {CHAIN_DECIDE, {IN(ALLOW, 4), GOTO(PASS)}},
    {CHAIN_DECIDE, {IN(ALLOW, 6), GOTO(PASS)}},
    {CHAIN_DECIDE, {IN(ALLOW_PORT, 4), GOTO(PASS)}},
    {CHAIN_DECIDE, {IN(ALLOW_PORT, 6), GOTO(PASS)}},
    {CHAIN_DECIDE, {GOTO(REFUSE)}},

    {CHAIN_PREROUTING, {{ITEM_NOT_PROTOCOL, TCP, 0}, ACCEPT}},
    {CHAIN_PREROUTING, {{ITEM_NOT_NEW, 0, 0}, ACCEPT}},
    {CHAIN_PREROUTING, {TO(LOOPBACK4), ACCEPT}},
    {CHAIN_PREROUTING, {TO(LOOPBACK6), ACCEPT}},
    {CHAIN_PREROUTING, {TO(SOURCE4), ACCEPT}},
    {CHAIN_PREROUTING, {TO(SOURCE6), ACCEPT}},
    {CHAIN_PREROUTING, {{ITEM_PORT, TCP, NETWORK_DNS_PORT}, ACCEPT}},
    {CHAIN_PREROUTING, {{ITEM_TPROXY, 4, 0}, ACCEPT}},
    {CHAIN_PREROUTING, {{ITEM_TPROXY, 6, 0}, ACCEPT}},
    /* Nobody serves. A program that listens on every address must not get what was for outside. */
    {CHAIN_PREROUTING, {{ITEM_PROTOCOL, TCP, 0}, {ITEM_RESET, 0, 0}}},
};
/* clang-format on */
const size_t nft_rule_count = ARRAY_LENGTH(nft_rules);
