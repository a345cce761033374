/* This file makes the namespace of a session's network once, to know that it can be made. */
#include "runtime/host/probe_network.h"

#include "runtime/base/fd.h"
#include "runtime/host/network.h"

#include <stdlib.h>
#include <string.h>

int probe_network(struct err *err)
{
    /* A rule of each kind, so that each kind of set and of statement is asked for. */
    static const struct spec_rule allow[] = {
        {.host = "berth.invalid", .port_count = 1, .ports = {443}},
        {.family = 4, .prefix = 24, .address = {192, 0, 2, 0}},
        {.family = 6, .prefix = 32, .address = {0x20, 0x01, 0x0d, 0xb8}},
    };
    static const struct spec_rule deny = {.family = 4, .prefix = 32, .address = {198, 51, 100, 1}};
    static struct spec_network rules; /* large, and hardly used: not in the program's file */
    rules.egress = SPEC_EGRESS_PUBLIC_ONLY;
    rules.sni_match = 1;
    rules.allow_count = ARRAY_LENGTH(allow);
    memcpy(rules.allow, allow, sizeof allow);
    rules.deny_count = 1;
    rules.deny[0] = deny;
    struct network_namespace ns;
    network_namespace_init(&ns);
    int r = network_namespace_make(&rules, &ns, err);
    network_namespace_fini(&ns);
    return r;
}
