/* This file tests what an event of the gateway says to a person and to a program (NET-4): the same
 * words in `berth run` and in the ledger of `berth serve`.
 */
#include "runtime/plan/network_tell.h"
#include "policy/json.h"
#include "policy/rule.h"
#include "runtime/plan/host_name.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct spec_network net;

static struct gateway_event event_of(enum network_reason reason, const char *host,
                                     const char *address, uint16_t port)
{
    struct gateway_event event = {.magic = GATEWAY_MAGIC,
                                  .version = GATEWAY_VERSION,
                                  .kind = GATEWAY_DENIED,
                                  .row = 1,
                                  .incarnation = 1,
                                  .count = 1,
                                  .protocol = GATEWAY_TCP,
                                  .port = port,
                                  .reason = (uint16_t)reason,
                                  .rule = -1};
    snprintf(event.host, sizeof event.host, "%s", host);
    if (address)
        cr_assert_eq(address_parse(address, &event.address), 0);
    return event;
}

static void setup(void)
{
    memset(&net, 0, sizeof net);
    net.egress = SPEC_EGRESS_DENY;
}
TestSuite(network_tell, .init = setup);

Test(network_tell, NET_4_a_refusal_is_a_sentence_and_names_the_rule_that_would_allow_it)
{
    struct gateway_event event = event_of(NETWORK_BY_NO_RULE, "other.example", NULL, 8443);
    struct buf sentence = {0}, line = {0}, flag = {0};
    network_tell(&event, 2, &sentence);
    network_tell_rule(&net, &event, &line, &flag);
    cr_expect_str_eq(buf_text(&sentence),
                     "other.example:8443 was refused (2 times): no rule names it.");
    cr_expect_str_eq(buf_text(&flag), "--allow other.example:8443");
    cr_expect_str_eq(buf_text(&line), "{\"host\": \"other.example\", \"ports\": [8443]}");
    buf_fini(&sentence);
    buf_fini(&line);
    buf_fini(&flag);
}

Test(network_tell, NET_4_where_no_rule_can_allow_it_none_is_named)
{
    struct gateway_event event = event_of(NETWORK_BY_OWN_ADDRESS, "", "192.0.2.9", 80);
    struct buf line = {0}, flag = {0}, members = {0};
    network_tell_rule(&net, &event, &line, &flag);
    cr_expect_eq(line.length, 0);
    cr_expect_eq(flag.length, 0);
    network_tell_members(&net, &event, &members);
    cr_expect(strstr(buf_text(&members), "\"rule_to_add\":null"), "%s", buf_text(&members));
    buf_fini(&line);
    buf_fini(&flag);
    buf_fini(&members);
}

/* Every reason and kind, with a name that must be escaped: an object that a strict reader takes. */
Test(network_tell, every_event_is_members_of_an_object)
{
    for (unsigned kind = GATEWAY_DENIED; kind <= GATEWAY_DROPPED; kind++)
        for (unsigned reason = 0; reason < NETWORK_REASON_COUNT; reason++) {
            struct gateway_event event =
                event_of((enum network_reason)reason, "a\"\\b.example", "2001:db8::1", 443);
            struct buf text = {0};
            struct arena arena = {0};
            struct json_error error;
            const struct json_node *root;
            event.kind = (uint16_t)kind;
            event.sys = ETIMEDOUT;
            buf_putc(&text, '{');
            network_tell_members(&net, &event, &text);
            buf_putc(&text, '}');
            cr_assert_eq(
                json_parse(&arena, buf_text(&text), text.length, 1 << 16, false, &root, &error), 0,
                "%s", buf_text(&text));
            cr_expect_str_eq(json_member(root, "host")->text, "a\"\\b.example");
            cr_expect_str_eq(json_member(root, "address")->text, "2001:db8::1");
            cr_expect_eq((json_member(root, "rule_to_add") != NULL), kind == GATEWAY_DENIED);
            cr_expect_eq((json_member(root, "bytes_sent") != NULL), kind == GATEWAY_CLOSED);
            arena_fini(&arena);
            buf_fini(&text);
        }
}
