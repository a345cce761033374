/* This file proves on the real kernel what the ruleset of a session's network does, and that nft(8)
 * and berth mean the same by it. It leaves nothing behind. */
#include "tests/kernel/network_fixture.h"

#include "runtime/plan/network.h"

#include <arpa/inet.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <sys/stat.h>

/* ---- the text and the bytes
 * ---------------------------------------------------------------------- */

enum { LIST_BYTES = 4 << 20 };

static char nft_program[] = "/usr/sbin/nft";

/* Output of nft with these arguments, in the namespace that this process is in. */
static void nft(char *ret, size_t size, char *const argv[], const char *input)
{
    int in[2], out[2];
    MUST(10, pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execv(nft_program, argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    pid_t writer = fork();
    if (writer == 0)
        _exit(io_write_full(in[1], input, strlen(input)) < 0);
    close(in[1]);
    ssize_t n = io_read_full(out[0], ret, size - 1);
    int status = -1;
    MUST(11, n >= 0);
    ret[n] = 0;
    close(out[0]);
    waitpid(writer, NULL, 0);
    MUST(12, waitpid(pid, &status, 0) == pid && status == 0);
}

static void list(int netns, char *ret)
{
    char name[] = "nft", verb[] = "list", what[] = "ruleset";
    char *const argv[] = {name, verb, what, NULL};
    MUST(13, setns(netns, CLONE_NEWNET) == 0);
    nft(ret, LIST_BYTES, argv, "");
}

static void apply_text(void)
{
    _cleanup_buf_ struct buf text = {0};
    char name[] = "nft", file[] = "-f", standard[] = "-", nothing[16];
    char *const argv[] = {name, file, standard, NULL};
    network_print(&net, &text);
    MUST(14, !buf_failed(&text));
    nft(nothing, sizeof nothing, argv, buf_text(&text));
}

static void the_same(void)
{
    static char ours[LIST_BYTES], theirs[LIST_BYTES], replaced[LIST_BYTES];
    struct network_namespace ns, other, ns_opened;
    struct spec_network empty = {.egress = SPEC_EGRESS_DENY};
    MUST(1, network_namespace_make(&net, &ns, NULL) == 0);
    MUST(2, network_namespace_make(&empty, &other, NULL) == 0);
    /* Twice: each changes to the other half of the sets. */
    MUST(3, network_namespace_replace(other.netns, &empty, NULL) == 0);
    MUST(8, network_namespace_replace(other.netns, &net, NULL) == 0);
    list(ns.netns, ours);
    list(other.netns, replaced);
    MUST(4, unshare(CLONE_NEWNET) == 0);
    apply_text();
    int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    list(here, theirs);
    MUST(5, strstr(ours, "chain output") != NULL);
    MUST(6, strcmp(ours, theirs) == 0);
    MUST(7, strcmp(ours, replaced) == 0);
    /* Given its rules after all else was there, and then others, and these again. */
    static char opened[LIST_BYTES];
    struct network_ready ready;
    MUST(20, network_ready_make(&ready, NULL) == 0);
    network_namespace_init(&ns_opened);
    MUST(21, network_ready_use(&ready, &net, &ns_opened, NULL) == 0);
    MUST(22, ready.netns < 0 && ready.rules < 0 && ready.fds[GATEWAY_ADD_TCP4] < 0);
    list(ns_opened.netns, opened);
    MUST(23, strcmp(ours, opened) == 0);
    MUST(24, network_namespace_replace(ns_opened.netns, &empty, NULL) == 0);
    MUST(25, network_namespace_replace(ns_opened.netns, &net, NULL) == 0);
    list(ns_opened.netns, opened);
    MUST(26, strcmp(ours, opened) == 0);
    network_namespace_fini(&ns_opened);
    network_namespace_fini(&ns);
    network_namespace_fini(&other);
}

static void some_rules(void)
{
    ALLOW("93.184.216.0/24", 80, 443);
    ALLOW("93.184.0.0/16", 443, 8443);
    ALLOW("10.0.0.0/8", 5432);
    ALLOW("2606:2800::/32", 443);
    ALLOW("2620:fe::fe/128");
    ALLOW("0.0.0.0/0", 22);
    DENY("93.184.216.7/32");
    DENY("2606:2800:1::/48", 443, 22);
    DENY("255.255.255.255/32");
    allow_host("api.example.com");
}

Test(network_rules, nft_makes_of_the_text_what_the_bytes_made)
{
    if (access(nft_program, X_OK) != 0)
        cr_skip_test("needs nft");
    for (int egress = SPEC_EGRESS_DENY; egress <= SPEC_EGRESS_ALLOW; egress++)
        for (int with = 0; with < 4; with++) {
            no_rules((enum spec_egress)egress);
            net.allow_private = with & 1;
            if (with & 2)
                some_rules();
            cr_assert_eq(in_child(the_same), 0, "mode %d, case %d: step %d", egress, with, last);
        }
}

/* As many as a policy may have, each with as many ports: the elements fill several messages. */
static void many_rules(void)
{
    no_rules(SPEC_EGRESS_DENY);
    for (int i = 0; i < SPEC_RULES_MAX; i++)
        for (int deny = 0; deny < 2; deny++) {
            struct spec_rule *to = deny ? &net.deny[i] : &net.allow[i];
            *to = (struct spec_rule){.family = deny || i % 2 ? 6 : 4,
                                     .port_count = SPEC_PORTS_MAX,
                                     .prefix = 24,
                                     .address = {0x26, (uint8_t)deny, (uint8_t)i}};
            for (int p = 0; p < SPEC_PORTS_MAX; p++)
                to->ports[p] = (uint16_t)(1000 + 7 * p);
        }
    net.allow_count = net.deny_count = SPEC_RULES_MAX;
}

static void as_many_as_there_can_be(void)
{
    many_rules();
    the_same();
}

/* What an ordinary user's socket takes, where nobody has raised it. */
static void count_batches(unsigned most)
{
    _cleanup_buf_ struct buf out = {0};
    struct err err = {0};
    cr_assert(network_encode(&net, &out, &err) == 0);
    unsigned batches = 0;
    size_t begin = 0;
    struct nlmsghdr head;
    for (size_t at = 0; at < out.length; at += head.nlmsg_len) {
        memcpy(&head, out.data + at, sizeof head);
        if (head.nlmsg_type == NFNL_MSG_BATCH_BEGIN)
            begin = at;
        if (head.nlmsg_type != NFNL_MSG_BATCH_END)
            continue;
        batches++;
        cr_assert_lt(at + head.nlmsg_len - begin, 200u << 10);
    }
    cr_assert(batches >= 1 && batches <= most, "%u batches", batches);
}

Test(network_rules, many_rules_are_batches_that_every_user_may_send_and_few_are_one)
{
    no_rules(SPEC_EGRESS_DENY);
    some_rules();
    count_batches(1);
    no_rules(SPEC_EGRESS_DENY);
    many_rules();
    count_batches(16);
}

Test(network_rules, as_many_rules_as_a_policy_may_have)
{
    if (access(nft_program, X_OK) != 0)
        cr_skip_test("needs nft");
    cr_assert_eq(in_child(as_many_as_there_can_be), 0, "step %d", last);
}

/* ---- what passes
 * ----------------------------------------------------------------------------------- */

static struct network_namespace ns;
static pid_t gateway;

static void begin(void)
{
    struct err err = {0};
    MUST(80, network_namespace_make(&net, &ns, &err) == 0);
    gateway = start_gateway(&ns);
}

static void end(void)
{
    stop(gateway);
    network_namespace_fini(&ns);
}

static const char *const addresses[] = {
    "93.184.216.34",
    "93.184.216.7",
    "8.8.8.8",
    "1.1.1.1",
    "10.1.2.3",
    "172.16.5.5",
    "172.32.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "100.100.100.200",
    "169.254.1.1",
    "169.254.169.254",
    "168.63.129.16",
    "168.63.129.17",
    "192.0.0.192",
    "192.0.0.8",
    "192.0.2.3",
    "198.51.100.1",
    "203.0.113.9",
    "192.88.99.1",
    "198.17.255.255",
    "198.18.0.16",
    "198.20.0.0",
    "240.0.0.1",
    "223.255.255.255",
    "0.1.2.3",
    "2606:2800:220:1::1",
    "2606:2800:1::1",
    "2620:fe::fe",
    "2001:4860::8888",
    "fd00::3",
    "fd00:ec2::254",
    "fd00:6272::10",
    "fe80::1",
    "fec0::1",
    "2002:808:808::1",
    "2001::1",
    "2001:db8::1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "3fff::1",
    "4000::1",
    "::ffff:8.8.8.8",
    "::ffff:10.1.2.3",
    "::ffff:169.254.169.254",
};
static const int ports[] = {443, 22, 5432, 3};

/* The same as the function that everybody else asks. */
static void agrees(void)
{
    for (size_t i = 0; i < ARRAY_LENGTH(addresses); i++)
        for (size_t p = 0; p < ARRAY_LENGTH(ports); p++) {
            struct network_address address;
            struct network_decision decision;
            MUST(20, address_parse(addresses[i], &address) == 0);
            network_decide_address(&net, &address, (uint16_t)ports[p], false, &decision);
            bool pool = address_to_name(&address) >= 0;
            if (pool) /* a name's: the gateway decides */
                decision.allowed = net.egress != SPEC_EGRESS_DENY || net.allow_count > 0;
            char canonical[ADDRESS_TEXT_SIZE], expected[80];
            address_print(&address, canonical);
            bool mapped = strncmp(addresses[i], "::ffff:", 7) == 0;
            snprintf(expected, sizeof expected, "to %s %d", canonical, ports[p]);
            long long begun = now_ms();
            const char *outcome = try_tcp(addresses[i], ports[p]);
            const char *wanted = decision.allowed ? expected : "ECONNREFUSED";
            if (strncmp(addresses[i], "fe80:", 5) == 0) /* without an interface it is none */
                wanted = "EINVAL";
            if (strcmp(outcome, wanted) != 0)
                say("%s %d%s: %s, and the decision is %s (%s); ", addresses[i], ports[p],
                    mapped ? " mapped" : "", outcome, decision.allowed ? "yes" : "no",
                    network_reason_name(decision.reason));
            if (now_ms() - begun >= 5000)
                say("%s %d: %s late; ", addresses[i], ports[p], outcome);
        }
}

static void kernel_and_decision(void)
{
    begin();
    MUST(1, in_session(ns.netns, agrees) == 0);
    end();
}

Test(network_rules, NET_3_the_kernel_passes_what_the_decision_allows_and_nothing_else,
     .timeout = 300)
{
    share_memory();
    for (int egress = SPEC_EGRESS_DENY; egress <= SPEC_EGRESS_ALLOW; egress++)
        for (int with = 0; with < 4; with++) {
            no_rules((enum spec_egress)egress);
            net.allow_private = with & 1;
            if (with & 2)
                some_rules();
            cr_assert_eq(in_child(kernel_and_decision), 0, "step %d", last);
            cr_assert_str_empty(shared->said, "mode %d, case %d: %s", egress, with, shared->said);
        }
}

static void special_forms(void)
{
    static const struct attempt attempts[] = {
        {"93.184.216.34", 443, NULL},
        {"::ffff:93.184.216.34", 443, "to 93.184.216.34 443"},
        {"93.184.216.34", 444, "ECONNREFUSED"},
        /* To itself, where nobody listens; and where it means itself. */
        {"127.0.0.1", 9999, "ECONNREFUSED"},
        {"127.9.9.9", 443, "ECONNREFUSED"},
        {"::1", 443, "ECONNREFUSED"},
        {"0.0.0.0", 443, "ECONNREFUSED"},
        {"::", 443, "ECONNREFUSED"},
        {"192.0.2.2", 443, "ECONNREFUSED"},
        {"fd00::2", 443, "ECONNREFUSED"},
        /* The listener itself. */
        {"127.0.0.1", 3, "ECONNREFUSED"},
        {"127.1.2.3", 3, "ECONNREFUSED"},
        {"0.0.0.0", 3, "ECONNREFUSED"},
        {"::1", 3, "ECONNREFUSED"},
        {"::", 3, "ECONNREFUSED"},
        {"::ffff:127.0.0.1", 3, "ECONNREFUSED"},
        {"192.0.2.2", 3, "ECONNREFUSED"},
        {"fd00::2", 3, "ECONNREFUSED"},
        {"93.184.216.34", 3, "ECONNREFUSED"},
        /* No connection goes to many. */
        {"255.255.255.255", 443, "ENETUNREACH"},
        {"224.0.0.1", 443, "ENETUNREACH"},
        {"ff02::1", 443, "ENETUNREACH"},
        /* The resolver's port is answered at every address. */
        {"8.8.8.8", 53, NULL},
        {"127.0.0.1", 53, NULL},
        {"2001:4860::8888", 53, NULL},
    };
    expect_tcp(attempts, ARRAY_LENGTH(attempts));
}

static void special(void)
{
    begin();
    MUST(1, in_session(ns.netns, special_forms) == 0);
    end();
}

Test(network_rules, NET_7_loopback_is_its_own_and_the_listener_is_met_by_no_address, .timeout = 120)
{
    share_memory();
    no_rules(SPEC_EGRESS_DENY);
    ALLOW("93.184.216.0/24", 443);
    cr_assert_eq(in_child(special), 0, "step %d", last);
    cr_assert_str_empty(shared->said, "%s", shared->said);
    /* What a rule lets through is met at any port, that of the listener too. */
    ALLOW("93.184.217.0/24", 3);
    cr_assert_eq(in_child(special), 0, "step %d", last);
    cr_assert_str_empty(shared->said, "%s", shared->said);
}

/* ---- counters, log
 * ----------------------------------------------------------------------------------- */

enum { DENIED = 700, PASSED = 41, DATAGRAMS = 23 };

static void knock(void)
{
    for (int i = 0; i < DENIED; i++)
        MUST(21, strcmp(try_tcp("8.8.8.8", 1 + i), "ECONNREFUSED") == 0 || i + 1 == 53);
    for (int i = 0; i < PASSED; i++)
        MUST(22, strcmp(try_tcp("93.184.216.34", 443), "to 93.184.216.34 443") == 0);
    for (int i = 0; i < DATAGRAMS; i++)
        MUST(23, strcmp(try_udp("8.8.8.8", 123, false, 0), "EPERM") == 0);
    MUST(24, strcmp(try_udp("2001:4860::8888", 123, true, 0), "EPERM") == 0);
}

static void counted(void)
{
    uint64_t counters[NETWORK_COUNTER_COUNT];
    begin();
    MUST(1, network_namespace_counters(ns.netns, counters, NULL) == 0);
    for (int i = 0; i < NETWORK_COUNTER_COUNT; i++)
        MUST(2, counters[i] == 0);
    MUST(3, in_session(ns.netns, knock) == 0);
    MUST(4, network_namespace_counters(ns.netns, counters, NULL) == 0);
    if (counters[NETWORK_COUNT_DENIED_TCP] != DENIED - 1 ||
        counters[NETWORK_COUNT_PASSED] != PASSED ||
        counters[NETWORK_COUNT_DENIED_UDP] != DATAGRAMS + 1 ||
        counters[NETWORK_COUNT_DENIED_OTHER] != 0)
        say("denied %llu tcp, %llu udp, %llu other; passed %llu",
            (unsigned long long)counters[NETWORK_COUNT_DENIED_TCP],
            (unsigned long long)counters[NETWORK_COUNT_DENIED_UDP],
            (unsigned long long)counters[NETWORK_COUNT_DENIED_OTHER],
            (unsigned long long)counters[NETWORK_COUNT_PASSED]);
    /* A replacement keeps them. */
    MUST(5, network_namespace_replace(ns.netns, &net, NULL) == 0);
    uint64_t again[NETWORK_COUNTER_COUNT];
    MUST(6, network_namespace_counters(ns.netns, again, NULL) == 0);
    MUST(7, memcmp(counters, again, sizeof again) == 0);
    end();
    /* A flood is told in part. */
    if (shared->logged < 100 || shared->logged > DENIED + DATAGRAMS + 1)
        say("%u logged", shared->logged);
}

Test(network_rules, each_refusal_is_counted_and_the_first_of_a_flood_are_told, .timeout = 120)
{
    share_memory();
    no_rules(SPEC_EGRESS_DENY);
    ALLOW("93.184.216.0/24", 443);
    cr_assert_eq(in_child(counted), 0, "step %d", last);
    cr_assert_str_empty(shared->said, "%s", shared->said);
}

/* ---- replacement
 * ------------------------------------------------------------------------------------- */

/* Both rule sets allow 93.184.216.34:443 and neither allows 8.8.8.8:443: while one replaces the
 * other the first is always reached and the second never. */
static void probe_for_ever(void)
{
    while (!shared->stop) {
        const char *outcome = try_tcp("8.8.8.8", 443);
        if (strcmp(outcome, "ECONNREFUSED") != 0)
            say("denied: %s; ", outcome);
        outcome = try_tcp("93.184.216.34", 443);
        if (strcmp(outcome, "to 93.184.216.34 443") != 0)
            say("allowed: %s (%d); ", outcome, errno);
        __atomic_add_fetch(&shared->probed, 1, __ATOMIC_SEQ_CST);
    }
}

enum { REPLACEMENTS = 300, PROBES = 100 };

static unsigned probed(void)
{
    return __atomic_load_n(&shared->probed, __ATOMIC_SEQ_CST);
}

static void replace_under_fire(void)
{
    static struct spec_network one, other;
    begin();
    one = net;
    ALLOW("93.184.216.0/24", 443, 80);
    DENY("8.8.0.0/16");
    net.egress = SPEC_EGRESS_PUBLIC_ONLY;
    other = net;
    pid_t prober = fork();
    if (prober == 0)
        _exit(in_session(ns.netns, probe_for_ever));
    int status;
    /* Until it has probed often enough while they happened. */
    for (unsigned i = 0; i < REPLACEMENTS / test_slower() || probed() < PROBES; i++) {
        MUST(1, network_namespace_replace(ns.netns, i % 2 ? &one : &other, NULL) == 0);
        MUST(2, waitpid(prober, &status, WNOHANG) == 0);
    }
    shared->stop = 1;
    MUST(3, waitpid(prober, &status, 0) == prober && status == 0);
    MUST(4, shared->accepted > 0);
    end();
}

Test(network_rules, NET_6_a_replacement_is_one_step_and_never_widens, .timeout = 120)
{
    share_memory();
    no_rules(SPEC_EGRESS_DENY);
    ALLOW("93.184.0.0/16", 443);
    cr_assert_eq(in_child(replace_under_fire), 0, "step %d", last);
    cr_assert_str_empty(shared->said, "%s", shared->said);
}

/* A ruleset without an element, as it is before it has any, refuses everything. */
static void nothing_passes(void)
{
    static const struct attempt attempts[] = {
        {"93.184.216.34", 443, "ECONNREFUSED"}, {"10.0.0.1", 443, "ECONNREFUSED"},
        {"2606::1", 443, "ECONNREFUSED"},       {"198.18.0.16", 443, "ECONNREFUSED"},
        {"fd00:6272::10", 443, "ECONNREFUSED"},
    };
    expect_tcp(attempts, ARRAY_LENGTH(attempts));
}

static void deny_all(void)
{
    begin();
    MUST(1, in_session(ns.netns, nothing_passes) == 0);
    end();
}

Test(network_rules, NET_1_deny_without_rules_reaches_nothing)
{
    share_memory();
    no_rules(SPEC_EGRESS_DENY);
    cr_assert_eq(in_child(deny_all), 0, "step %d", last);
    cr_assert_str_empty(shared->said, "%s", shared->said);
}
