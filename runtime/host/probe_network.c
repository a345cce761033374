/* This file makes the namespace of a session's network once, to know that it can be made. */
#include "runtime/host/probe_network.h"

#include "runtime/host/network.h"

#include <stdlib.h>
#include <string.h>

int probe_network(struct err *err)
{
    /* A rule of each kind, so that each kind of set and of statement is asked for. */
    static const struct spec_network rules = {
        .egress = SPEC_EGRESS_PUBLIC_ONLY,
        .sni_match = 1,
        .allow_count = 3,
        .allow = {{.host = "berth.invalid", .port_count = 1, .ports = {443}},
                  {.family = 4, .prefix = 24, .address = {192, 0, 2, 0}},
                  {.family = 6, .prefix = 32, .address = {0x20, 0x01, 0x0d, 0xb8}}},
        .deny_count = 1,
        .deny = {{.family = 4, .prefix = 32, .address = {198, 51, 100, 1}}},
    };
    struct network_namespace ns;
    network_namespace_init(&ns);
    int r = network_namespace_make(&rules, &ns, err);
    network_namespace_fini(&ns);
    return r;
}
