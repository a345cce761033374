/* This file tests the pure parts of the gateway: DNS, ClientHellos, the kernel's log, the map of
 * names, coalesced events, messages; it opens no socket.
 */
#include "runtime/gateway/client_hello.h"
#include "runtime/gateway/dns.h"
#include "runtime/gateway/events.h"
#include "runtime/gateway/gateway.h"
#include "runtime/gateway/names.h"
#include "runtime/gateway/nflog.h"
#include "runtime/plan/seccomp_gateway.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- DNS ------------------------------------------------------------------------------------- */

static size_t question(uint8_t *at, const char *wire, size_t length)
{
    static const uint8_t head[12] = {0x12, 0x34, 1, 0, 0, 1}, tail[4] = {0, 1, 0, 1};
    memcpy(at, head, sizeof head);
    memcpy(at + 12, wire, length);
    memcpy(at + 12 + length, tail, sizeof tail);
    return 12 + length + sizeof tail;
}

Test(dns, names_are_read_as_they_are_and_other_bytes_are_told_of)
{
    static const struct {
        const char *wire;
        size_t length;
        const char *name; /* NULL: no question */
        bool plain;
    } table[] = {
        {"\1a\7example", 11, "a.example", true},
        {"\1A\7eXample", 11, "A.eXample", true},
        {"\5evil\0\2ok", 10, "evil\\000.ok", false},
        {"\3a.b\2ok", 8, "a\\046b.ok", false},
        {"", 1, "", false},
        {"\xc0\x0c", 2, NULL, false},    /* to itself */
        {"\xc0\x0e\1a", 5, NULL, false}, /* forwards */
        {"\1a\xc0\x0c", 4, NULL, false}, /* round and round */
        {"\x40"
         "a",
         3, NULL, false},
        {"\x3f"
         "ab",
         4, NULL, false},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint8_t message[128];
        struct dns_question q;
        size_t length = question(message, table[i].wire, table[i].length);
        int code = dns_read(message, length, &q);
        cr_expect((code == DNS_NOERROR) == (table[i].name != NULL), "row %zu: %d", i, code);
        if (code == DNS_NOERROR && table[i].name) {
            cr_expect_str_eq(q.name, table[i].name);
            cr_expect(q.plain == table[i].plain && q.id == 0x1234 && q.type == 1);
        }
    }
}

Test(dns, what_is_no_plain_question_is_answered_with_an_error_or_not_at_all)
{
    uint8_t message[2048] = {0}, out[DNS_ANSWER_MAX];
    struct dns_question q;
    size_t length = question(message, "\1a\7example", 11);
    cr_expect(dns_read(message, 11, &q) == -1);
    for (size_t n = 12; n < length; n++)
        cr_expect(dns_read(message, n, &q) == DNS_FORMERR, "%zu bytes", n);
    cr_expect(dns_read(message, length + 1, &q) == DNS_FORMERR);
    message[2] = 0x81;
    cr_expect(dns_read(message, length, &q) == -1, "an answer is not answered");
    message[2] = 0x29;
    cr_expect(dns_read(message, length, &q) == DNS_NOTIMP);
    cr_expect(dns_write(&q, message, DNS_NOTIMP, NULL, 0, out) == 12);
    message[2] = 1;
    message[5] = 2;
    cr_expect(dns_read(message, length, &q) == DNS_FORMERR);
    cr_expect(dns_read(message, sizeof message, &q) == DNS_FORMERR);
}

Test(dns, an_answer_carries_the_question_the_address_and_edns)
{
    static const uint8_t opt[11] = {0, 0, 41, 16, 0}, four[4] = {198, 18, 0, 16};
    uint8_t message[128], out[DNS_ANSWER_MAX];
    struct dns_question q;
    struct network_address address;
    size_t length = question(message, "\1a\7example", 11);
    message[11] = 1;
    memcpy(message + length, opt, sizeof opt);
    cr_assert(dns_read(message, length + sizeof opt, &q) == DNS_NOERROR && q.edns);
    address_canonical(4, four, &address);
    size_t n = dns_write(&q, message, DNS_NOERROR, &address, 60, out);
    cr_assert(n == length + 16 + 11);
    cr_expect(out[2] == 0x81 && out[3] == 0x80 && out[7] == 1 && out[11] == 1);
    cr_expect(memcmp(out + 12, message + 12, length - 12) == 0);
    cr_expect(memcmp(out + length + 12, four, 4) == 0);
    message[length + 6] = 1; /* a version of EDNS that nobody has */
    cr_assert(dns_read(message, length + sizeof opt, &q) == DNS_BADVERS);
    n = dns_write(&q, message, DNS_BADVERS, NULL, 0, out);
    cr_expect((out[3] & 15) == 0 && out[n - 6] == 1);
}

/* ---- the kernel's log ------------------------------------------------------------------------ */

Test(nflog, a_packet_is_read_and_nothing_of_it_is_believed)
{
    struct {
        uint32_t length;
        uint16_t type, flags;
        uint32_t rest[2];
        uint8_t body[4];
        uint16_t attribute_length, attribute_type;
        uint8_t packet[44];
    } m = {.length = sizeof m,
           .type = 0x400,
           .attribute_length = 48,
           .attribute_type = 9,
           .packet = {0x45, [9] = 6, [16] = 8, 8, 4, 4, 0x80, 0, 1, 0xbb}};
    struct nflog_packet p;
    char text[ADDRESS_TEXT_SIZE];
    size_t at = 0;
    cr_assert(nflog_next(&m, sizeof m, &at, &p) == 1 && at == sizeof m);
    address_print(&p.to, text);
    cr_expect_str_eq(text, "8.8.4.4");
    cr_expect(p.protocol == 6 && p.port == 443);
    cr_expect(nflog_next(&m, sizeof m, &at, &p) == -1);
    m.packet[0] = 0x4f; /* a header longer than the packet */
    at = 0;
    cr_expect(nflog_next(&m, sizeof m, &at, &p) == 0);
    m.attribute_length = 3;
    at = 0;
    cr_expect(nflog_next(&m, sizeof m, &at, &p) == 0);
    m.length = sizeof m + 1;
    at = 0;
    cr_expect(nflog_next(&m, sizeof m, &at, &p) == -1);
}

/* ---- names ----------------------------------------------------------------------------------- */

Test(names, NET_5_the_map_outlives_its_writer_and_gives_no_number_twice)
{
    struct names names;
    struct err err;
    char host[64];
    int fd = memfd_create("names", MFD_CLOEXEC), again = dup(fd);
    cr_assert(names_open(&names, fd, &err) == 0);
    for (int i = 0; i < 1000; i++) {
        snprintf(host, sizeof host, "n%d.example", i);
        cr_assert(names_number(&names, host) == i);
    }
    cr_expect(names_number(&names, "n7.example") == 7);
    names_fini(&names);
    /* A record that is not whole keeps its number. */
    cr_assert(pwrite(again, "n1000.ex", 8, 1000 * sizeof(struct network_name)) == 8);
    cr_assert(pwrite(again, "N3", 2, 3 * sizeof(struct network_name)) == 2);
    cr_assert(names_open(&names, again, &err) == 0);
    cr_expect_str_eq(names_host(&names, 999), "n999.example");
    cr_expect(!names_host(&names, 1000) && !names_host(&names, 3) && !names_host(&names, 5000));
    cr_expect(names_number(&names, "n999.example") == 999);
    cr_expect(names_number(&names, "n3.example") == 1001);
    for (int i = 1002; i < NETWORK_NAMES_MAX; i++) {
        snprintf(host, sizeof host, "n%d.example", i);
        cr_assert(names_number(&names, host) == i);
    }
    cr_expect(names_number(&names, "one-more.example") == -ENOSPC);
    cr_expect(names_number(&names, "n999.example") == 999);
    names_fini(&names);
}

/* ---- events ---------------------------------------------------------------------------------- */

static struct gateway_event told[4096];
static unsigned told_count;
static bool blocked;

static int take(void *owner, const struct gateway_event *event)
{
    (void)owner;
    if (blocked)
        return -EAGAIN;
    cr_assert(told_count < 4096 && gateway_event_check(event, sizeof *event) == NULL);
    told[told_count++] = *event;
    return 0;
}

static struct gateway_event denial(int64_t row, const char *host)
{
    struct gateway_event event = {
        .kind = GATEWAY_DENIED, .row = row, .incarnation = 1, .rule = -1, .protocol = GATEWAY_DNS};
    snprintf(event.host, sizeof event.host, "%s", host);
    return event;
}

Test(events, a_flood_is_told_at_once_once_and_then_with_its_exact_count)
{
    struct events *events;
    struct gateway_event event = denial(1, "a.example");
    cr_assert(events_new(&events, take, NULL) == 0);
    for (int i = 0; i < 1000; i++)
        events_add(events, &event, 100, 5000);
    cr_expect(told_count == 1 && told[0].count == 1 && told[0].first_ms == 5000);
    cr_expect(events_run(events, 600, false) == 500);
    cr_expect(events_run(events, 1100, false) == EVENTS_HOLD_MS);
    cr_expect(told_count == 2 && told[1].count == 999);
    cr_expect(events_run(events, 2100, false) == -1 && told_count == 2);
    cr_expect(!events_waiting(events));
    events_free(events);
}

Test(events, what_a_session_that_ends_has_left_is_told_at_once_and_nothing_of_others)
{
    struct events *events;
    struct gateway_event ends = denial(1, "a.example"), lives = denial(2, "a.example");
    cr_assert(events_new(&events, take, NULL) == 0);
    for (int i = 0; i < 10; i++) {
        events_add(events, &ends, 100, 5000);
        events_add(events, &lives, 100, 5000);
    }
    cr_assert(told_count == 2);
    events_hurry(events, 1, 2, 110);
    cr_expect(told_count == 2, "another incarnation is another session");
    events_hurry(events, 1, 1, 120);
    cr_expect(told_count == 3 && told[2].row == 1 && told[2].count == 9);
    cr_expect(events_run(events, 1100, false) > 0);
    cr_expect(told_count == 4 && told[3].row == 2 && told[3].count == 9);
    events_free(events);
}

Test(events, what_has_no_room_is_counted_and_leaves_room_for_others)
{
    struct events *events;
    char host[64];
    uint64_t count = 0;
    cr_assert(events_new(&events, take, NULL) == 0);
    blocked = true;
    for (int i = 0; i < 10000; i++) {
        snprintf(host, sizeof host, "n%d.example", i);
        struct gateway_event event = denial(1, host);
        events_add(events, &event, 1, 1);
    }
    struct gateway_event other = denial(2, "b.example");
    events_add(events, &other, 1, 1);
    blocked = false;
    cr_expect(events_waiting(events));
    events_run(events, 2, true);
    bool seen = false;
    for (unsigned i = 0; i < told_count; i++) {
        count += told[i].row == 1 ? told[i].count : 0;
        seen = seen || told[i].row == 2;
    }
    cr_expect(count == 10000 && seen && told_count <= EVENTS_OF_SESSION_MAX + 2, "%u told",
              told_count);
    events_free(events);
}

/* ---- messages, filter ------------------------------------------------------------------------ */

Test(gateway_messages, requests_of_a_wrong_shape_are_refused)
{
    struct gateway_request good = {.magic = GATEWAY_MAGIC,
                                   .version = GATEWAY_VERSION,
                                   .type = GATEWAY_PUBLISH,
                                   .ticket = 1,
                                   .row = 1,
                                   .incarnation = 1,
                                   .port_count = 1,
                                   .ports = {80}},
                           bad;
    cr_assert(gateway_request_check(&good, sizeof good, 1) == NULL);
    cr_expect(gateway_request_check(&good, sizeof good - 1, 1));
    cr_expect(gateway_request_check(&good, sizeof good, 0));
    cr_expect(gateway_request_check(&good, sizeof good, 2));
#define REFUSED(change)                                                 \
    do {                                                                \
        bad = good;                                                     \
        change;                                                         \
        cr_expect(gateway_request_check(&bad, sizeof bad, 1), #change); \
    } while (0)
    REFUSED(bad.magic = 0);
    REFUSED(bad.version = 2);
    REFUSED(bad.type = 0);
    REFUSED(bad.type = GATEWAY_NEED_SOCKETS);
    REFUSED(bad.ticket = 0);
    REFUSED(bad.row = 0);
    REFUSED(bad.incarnation = -1);
    REFUSED(bad.port_count = 99);
    REFUSED(bad.ports[0] = 0);
    REFUSED(bad.type = GATEWAY_REMOVE);
    cr_expect_str_eq(gateway_request_name(GATEWAY_ADD), "add");
    cr_expect_str_eq(gateway_request_name(99), "unknown");
}

Test(gateway_messages, the_filter_can_be_made)
{
    struct sock_filter code[SECCOMP_GATEWAY_MAX];
    uint32_t length = 0;
    struct err err;
    cr_assert(seccomp_gateway(code, &length, &err) == 0 && length > 20);
}
