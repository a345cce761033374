/* This file feeds arbitrary bytes to the canonicaliser of host names (NET-2), the reader of rules
 * and the decisions (libFuzzer). A canonical name is its own canonical form; what a rule prints as
 * is read as the same rule; a denial is never beaten. It stops the process when one does not hold.
 */
#include "policy/rule.h"
#include "runtime/plan/host_name.h"
#include "runtime/plan/network.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds)
{
    if (!holds)
        abort();
}

static void check_name(const char *text)
{
    char host[SPEC_HOST_MAX], again[SPEC_HOST_MAX], why[HOST_WHY_MAX];
    for (int pattern = 0; pattern < 2; pattern++) {
        if (host_canonical(text, pattern, host, why) < 0) {
            demand(memchr(why, 0, sizeof why) && why[0]);
            continue;
        }
        demand(memchr(host, 0, sizeof host) && host[0]);
        demand(host_canonical(host, pattern, again, why) == 0 && strcmp(host, again) == 0);
        demand(host_matches(host, host) && host_covers(host, host) && host_overlaps(host, host));
        struct network_address address;
        demand(address_parse(host, &address) < 0);
    }
}

static void check_rule(const char *text)
{
    static struct spec_network net;
    struct spec_rule rule, again;
    struct err err;
    char why[HOST_WHY_MAX];
    if (rule_parse_flag(text, 443, &rule, why) < 0)
        return;
    struct buf shown = {0};
    rule_print(&rule, &shown);
    demand(rule_parse_flag(buf_text(&shown), 443, &again, why) == 0);
    demand(rule_names_cover(&rule, &again) && rule_names_cover(&again, &rule));
    buf_fini(&shown);
    memset(&net, 0, sizeof net);
    net.egress = SPEC_EGRESS_ALLOW;
    net.allow_count = net.deny_count = 1;
    net.allow[0] = net.deny[0] = rule;
    demand(network_check(&net, &err) == 0);
    struct network_decision d;
    uint16_t port = rule.port_count ? rule.ports[0] : 1;
    if (rule.family) {
        struct network_address address;
        address_canonical(rule.family, rule.address, &address);
        if (address.family == rule.family) {
            network_decide_address(&net, &address, port, false, &d);
            demand(!d.allowed);
        }
    } else if (rule.host[0] != '*') {
        network_decide_host(&net, rule.host, port, &d);
        demand(!d.allowed && d.reason == NETWORK_BY_DENY_RULE);
    }
}

static void check_address(const uint8_t *data, size_t size)
{
    struct network_address address, again;
    char text[ADDRESS_TEXT_SIZE];
    if (size != 4 && size != 16)
        return;
    address_canonical(size == 4 ? 4 : 6, data, &address);
    demand(address_classify(&address) < ADDRESS_CLASS_COUNT);
    address_print(&address, text);
    demand(address_parse(text, &again) == 0 && address_equal(&address, &again));
    int n = address_to_name(&address);
    if (n >= 0) {
        address_of_name((unsigned)n, address.family, &again);
        demand(address_equal(&address, &again));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[400];
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    check_name(text);
    check_rule(text);
    check_address(data, size);
    return 0;
}
