/* This file tests what kinds of address there are (NET-3, NET-7) and the pool of names; it asks no
 * network.
 */
#include "runtime/plan/address.h"

#include <criterion/criterion.h>
#include <string.h>

static struct network_address parsed(const char *text)
{
    struct network_address address;
    cr_assert(address_parse(text, &address) == 0, "%s", text);
    return address;
}

Test(address, NET_3_every_kind_is_known)
{
    static const struct {
        const char *text;
        enum address_class what;
    } table[] = {
        {"93.184.216.34", ADDRESS_PUBLIC},
        {"9.255.255.255", ADDRESS_PUBLIC},
        {"11.0.0.0", ADDRESS_PUBLIC},
        {"126.255.255.255", ADDRESS_PUBLIC},
        {"128.0.0.0", ADDRESS_PUBLIC},
        {"172.15.255.255", ADDRESS_PUBLIC},
        {"172.32.0.0", ADDRESS_PUBLIC},
        {"192.167.255.255", ADDRESS_PUBLIC},
        {"192.169.0.0", ADDRESS_PUBLIC},
        {"198.17.255.255", ADDRESS_PUBLIC},
        {"198.20.0.0", ADDRESS_PUBLIC},
        {"100.63.255.255", ADDRESS_PUBLIC},
        {"100.128.0.0", ADDRESS_PUBLIC},
        {"223.255.255.255", ADDRESS_PUBLIC},
        {"2606:4700::1", ADDRESS_PUBLIC},
        {"2a00::", ADDRESS_PUBLIC},
        {"10.0.0.0", ADDRESS_PRIVATE},
        {"10.255.255.255", ADDRESS_PRIVATE},
        {"172.16.0.1", ADDRESS_PRIVATE},
        {"172.31.255.255", ADDRESS_PRIVATE},
        {"192.168.1.1", ADDRESS_PRIVATE},
        {"fc00::1", ADDRESS_PRIVATE},
        {"fdff::1", ADDRESS_PRIVATE},
        {"fec0::1", ADDRESS_PRIVATE},
        {"169.254.1.1", ADDRESS_LINK_LOCAL},
        {"fe80::1", ADDRESS_LINK_LOCAL},
        {"febf::1", ADDRESS_LINK_LOCAL},
        {"100.64.0.1", ADDRESS_CGNAT},
        {"100.127.255.255", ADDRESS_CGNAT},
        {"169.254.169.254", ADDRESS_METADATA},
        {"169.254.170.2", ADDRESS_METADATA},
        {"169.254.170.23", ADDRESS_METADATA},
        {"169.254.0.23", ADDRESS_METADATA},
        {"100.100.100.200", ADDRESS_METADATA},
        {"168.63.129.16", ADDRESS_METADATA},
        {"192.0.0.192", ADDRESS_METADATA},
        {"fd00:ec2::254", ADDRESS_METADATA},
        {"fd00:ec2::23", ADDRESS_METADATA},
        {"fd20:ce::254", ADDRESS_METADATA},
        {"127.0.0.1", ADDRESS_LOOPBACK},
        {"127.255.255.255", ADDRESS_LOOPBACK},
        {"0.0.0.0", ADDRESS_LOOPBACK},
        {"0.1.2.3", ADDRESS_LOOPBACK},
        {"::", ADDRESS_LOOPBACK},
        {"::1", ADDRESS_LOOPBACK},
        {"224.0.0.1", ADDRESS_MULTICAST},
        {"239.255.255.255", ADDRESS_MULTICAST},
        {"255.255.255.255", ADDRESS_MULTICAST},
        {"ff02::fb", ADDRESS_MULTICAST},
        {"192.0.0.8", ADDRESS_RESERVED},
        {"192.0.2.2", ADDRESS_RESERVED},
        {"198.51.100.1", ADDRESS_RESERVED},
        {"203.0.113.1", ADDRESS_RESERVED},
        {"240.0.0.1", ADDRESS_RESERVED},
        {"100::1", ADDRESS_RESERVED},
        {"2001:db8::1", ADDRESS_RESERVED},
        {"2001:2::1", ADDRESS_RESERVED},
        {"3fff::1", ADDRESS_RESERVED},
        {"4000::1", ADDRESS_RESERVED},
        {"5f00::1", ADDRESS_RESERVED},
        {"8000::1", ADDRESS_RESERVED},
        {"fe00::1", ADDRESS_RESERVED},
        {"64:ff9b::a00:1", ADDRESS_TRANSITION},
        {"64:ff9b::a9fe:a9fe", ADDRESS_TRANSITION},
        {"64:ff9b:1::1", ADDRESS_TRANSITION},
        {"2002:7f00:1::", ADDRESS_TRANSITION},
        {"2001:0:4136:e378:8000:63bf:3fff:fdd2", ADDRESS_TRANSITION},
        {"::ffff:0:10.0.0.1", ADDRESS_TRANSITION},
        {"192.88.99.1", ADDRESS_TRANSITION},
        {"2a00:1::5efe:10.0.0.1", ADDRESS_TRANSITION},
        {"2a00:1::200:5efe:10.0.0.1", ADDRESS_TRANSITION},
        {"fd12::5efe:127.0.0.1", ADDRESS_TRANSITION},
        {"198.18.0.0", ADDRESS_POOL},
        {"198.19.255.255", ADDRESS_POOL},
        {"fd00:6272::10", ADDRESS_POOL},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct network_address address = parsed(table[i].text);
        enum address_class what = address_classify(&address);
        cr_expect(what == table[i].what, "%s is %s, not %s", table[i].text,
                  address_class_name(what), address_class_name(table[i].what));
    }
}

/* Attack 42 and 43a: one address has one form, however it is dressed. */
Test(address, a_v4_address_in_v6_clothes_is_v4)
{
    static const char *const same[][2] = {
        {"::ffff:10.0.0.1", "10.0.0.1"},      {"::ffff:169.254.169.254", "169.254.169.254"},
        {"::10.0.0.1", "10.0.0.1"},           {"::ffff:7f00:1", "127.0.0.1"},
        {"::ffff:0.0.0.0", "0.0.0.0"},        {"::2", "0.0.0.2"},
        {"0:0:0:0:0:ffff:808:808", "8.8.8.8"}};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        struct network_address one = parsed(same[i][0]), other = parsed(same[i][1]);
        cr_expect(address_equal(&one, &other) && one.family == 4, "%s", same[i][0]);
    }
    struct network_address own = parsed("::1");
    cr_expect(own.family == 6);
}

Test(address, text_that_is_no_address_is_refused)
{
    static const char *const texts[] = {
        "",           "127.1", "0x7f.0.0.1", "2130706433",   "010.0.0.1", "1.2.3.4 ", "[::1]",
        "fe80::1%lo", "1.2.3", "1.2.3.4.5",  "::ffff:1.2.3", "1.2.3.256", ":::",      "a.example"};
    struct network_address address;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        cr_expect(address_parse(texts[i], &address) < 0, "\"%s\"", texts[i]);
}

Test(address, what_is_printed_is_read_as_the_same)
{
    static const char *const texts[] = {"1.2.3.4", "2a00::1", "::1", "fe80::5efe:1.2.3.4", "::"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char text[ADDRESS_TEXT_SIZE];
        struct network_address address = parsed(texts[i]), again;
        address_print(&address, text);
        again = parsed(text);
        cr_expect(address_equal(&address, &again), "%s %s", texts[i], text);
    }
}

/* The ruleset asks row after row and takes the first that fits, as address_classify() does. */
Test(address, the_table_stands_most_specific_first)
{
    struct address_row one, other;
    for (size_t i = 0; address_row(i, &one); i++) {
        cr_expect(one.bits <= (one.prefix.family == 4 ? 32u : 128u));
        for (size_t n = i + 1; address_row(n, &other); n++)
            cr_expect(
                !(one.bits <= other.bits && address_within(&other.prefix, &one.prefix, one.bits)),
                "row %zu hides row %zu", i, n);
    }
}

Test(address, a_prefix_holds_what_begins_with_it)
{
    struct network_address net = parsed("10.16.0.0"), six = parsed("2a00:8000::");
    struct network_address in = parsed("10.31.255.255"), out = parsed("10.32.0.0");
    cr_expect(address_within(&in, &net, 12) && !address_within(&out, &net, 12));
    cr_expect(address_within(&out, &net, 0) && !address_within(&six, &net, 0));
    cr_expect(!address_within(&in, &net, 33) && address_within(&six, &six, 128));
}

Test(address, every_name_of_the_pool_has_an_address_of_each_family_and_back)
{
    char text[ADDRESS_TEXT_SIZE];
    struct network_address address;
    for (unsigned n = 0; n < NETWORK_NAMES_MAX; n++)
        for (int family = 4; family <= 6; family += 2) {
            address_of_name(n, family, &address);
            cr_assert(address.family == family && address_to_name(&address) == (int)n);
            cr_assert(address_classify(&address) == ADDRESS_POOL);
        }
    address_of_name(0, 4, &address);
    address_print(&address, text);
    cr_expect_str_eq(text, "198.18.0.16");
    address_of_name(4095, 6, &address);
    address_print(&address, text);
    cr_expect_str_eq(text, "fd00:6272::100f");
    static const char *const not_there[] = {"198.18.0.15",      "198.18.16.16",    "198.19.0.16",
                                            "fd00:6272::f",     "fd00:6272::1010", "198.17.0.16",
                                            "fd00:6272::1:0:10"};
    for (size_t i = 0; i < sizeof not_there / sizeof not_there[0]; i++) {
        address = parsed(not_there[i]);
        cr_expect(address_to_name(&address) == -1, "%s", not_there[i]);
    }
}
