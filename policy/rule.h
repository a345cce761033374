/* This file reads, prints and compares network rules (contract §6); it never asks the network.
 * A rule is a set of names or of addresses, and a set of ports. Two rules of different kinds, one
 * of names and one of addresses, are never compared as one covering the other. Pure. Any process
 * may call.
 */
#pragma once

#include "runtime/base/buf.h"
#include "runtime/plan/address.h"
#include "runtime/plan/host_name.h"
#include "runtime/spec.h"

#include <stdbool.h>

/* "10.0.0.0/8", "2001:db8::/32". 0, or -EINVAL with a sentence. Fills family, prefix, address. */
int rule_parse_cidr(const char *text, struct spec_rule *ret, char ret_why[HOST_WHY_MAX]);

/* Of a flag: HOST, HOST:PORT, HOST:*, CIDR, CIDR:PORT, [CIDR6]:PORT. Without a port, `port` (0
 * means every port). */
int rule_parse_flag(const char *text, uint16_t port, struct spec_rule *ret,
                    char ret_why[HOST_WHY_MAX]);

/* HOST:PORT, ADDRESS:PORT or [ADDRESS6]:PORT of a question; without a port it is 443. */
int rule_parse_target(const char *text, struct spec_rule *ret, char ret_why[HOST_WHY_MAX]);

/* Add a port, sorted and once. -ENOSPC when there are SPEC_PORTS_MAX. */
int rule_add_port(struct spec_rule *rule, uint16_t port);

bool rule_has_port(const struct spec_rule *rule, uint16_t port);
bool rule_names_cover(const struct spec_rule *wide, const struct spec_rule *narrow);

/* Could one connection belong to both? A name may have any address: of two kinds the answer is
 * yes. */
bool rule_names_overlap(const struct spec_rule *one, const struct spec_rule *other);

/* "*.example.org:443", "10.0.0.0/8:*". */
void rule_print(const struct spec_rule *rule, struct buf *out);
void rule_print_json(const struct spec_rule *rule, struct buf *out);

/* The address of a rule of one address (rule_parse_target()), canonical: a v4-mapped one is IPv4.
 */
void rule_address(const struct spec_rule *rule, struct network_address *ret);
