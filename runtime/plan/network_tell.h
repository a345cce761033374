/* This file is what an event of the gateway says, to a person and to a program: `berth run`, the
 * ledger's events and who shows them say it in the same words. It never decides; it asks
 * network.h for the rule that would allow what was refused. Pure. Any process may call.
 */
#pragma once

#include "runtime/gateway/gateway.h"
#include "runtime/plan/network.h"

/* "other.example:443", "[2001:db8::1]:22", and without a port where none was asked for yet. */
void network_tell_name(const struct gateway_event *event, struct buf *out);
/* What the decision was about, in half a sentence: "no rule names it". */
void network_tell_why(const struct gateway_event *event, struct buf *out);
/* network_rule_to_add() for what was refused; empty where no rule can allow it. */
void network_tell_rule(const struct spec_network *net, const struct gateway_event *event,
                       struct buf *ret_line, struct buf *ret_flag);
/* The whole of what was refused: "other.example:443 was refused (2 times): no rule names it." */
void network_tell(const struct gateway_event *event, uint64_t count, struct buf *out);

/* "denied", "allowed", "closed", "dropped". */
const char *network_tell_kind(unsigned kind);
/* "protocol": … to "rule_to_add": …, the members of an object: how often and how many bytes are the
 * event's own. */
void network_tell_members(const struct spec_network *net, const struct gateway_event *event,
                          struct buf *out);
