/* This file proves the readers of passwd and subuid(5) and the writer of maps; no privilege. */
#include "runtime/host/userns_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

Test(userns_subid, a_name_is_found_by_uid)
{
    static const char passwd[] = "root:x:0:0::/:/bin/sh\nbroken\n:x:7:7::/:\nalice:x:1000:1000::/"
                                 ":\nbob:x:01001x:1:\nlast:x:4294967295:0:::";
    char name[16];
    cr_assert(userns_name_of(passwd, 1000, name, sizeof name));
    cr_assert_str_eq(name, "alice");
    cr_assert(userns_name_of(passwd, UINT32_MAX, name, sizeof name));
    cr_assert_str_eq(name, "last");
    cr_assert_not(userns_name_of(passwd, 7, name, sizeof name), "an empty name is none");
    cr_assert_not(userns_name_of(passwd, 1001, name, sizeof name));
    cr_assert_not(userns_name_of("", 0, name, sizeof name));
    cr_assert_not(userns_name_of(passwd, 1000, name, 5), "a name that does not fit is none");
}

Test(userns_subid, ranges_by_name_and_by_number_are_joined)
{
    struct userns_extent e[4];
    static const char text[] = "bob:1:65536\nalice:100000:40000\n1000:300000:65536\n";
    unsigned n = userns_subid_parse(text, "alice", 1000, e, 4);
    cr_assert_eq(n, 2);
    cr_assert(e[0].inside == 1 && e[0].outside == 100000 && e[0].count == 40000);
    cr_assert(e[1].inside == 40001 && e[1].outside == 300000 && e[1].count == 25535);
    cr_assert_eq(userns_extents_sum(e, n), (uint32_t)USERNS_OUTER_COUNT - 1);
}

Test(userns_subid, a_range_larger_than_needed_is_cut)
{
    struct userns_extent e[4];
    cr_assert_eq(userns_subid_parse("a:100000:1000000\na:5000000:9\n", "a", 5, e, 4), 1);
    cr_assert_eq(e[0].count, (uint32_t)USERNS_OUTER_COUNT - 1);
}

Test(userns_subid, malformed_lines_give_nothing)
{
    struct userns_extent e[4];
    static const char text[] = "a\na:\na:1\na:1:\na:x:1\na:1:0\na:-1:5\na:4294967295:2\n"
                               "a: 1:5\n:1:5\naa:1:5\n";
    cr_assert_eq(userns_subid_parse(text, "a", 5, e, 4), 0);
    cr_assert_eq(userns_subid_parse(":1:5\n", "", 5, e, 4), 0, "no name is not the empty name");
}

Test(userns_subid, a_range_given_twice_counts_once)
{
    struct userns_extent e[4];
    unsigned n = userns_subid_parse("a:1000:30000\n5:1000:30000\na:500:501\n", "a", 5, e, 4);
    cr_assert_eq(n, 1);
}

Test(userns_subid, never_more_extents_than_asked)
{
    struct userns_extent e[4];
    static const char text[] = "a:10:1\na:20:1\na:30:1\na:40:1\na:50:1\n";
    cr_assert_eq(userns_subid_parse(text, "a", 5, e, 4), 4);
    cr_assert_eq(e[3].inside, 4u);
}

Test(userns_subid, a_map_prints_as_the_kernel_reads_it)
{
    struct userns_extent e[6] = {{0, 1, 1000}, {1000, 0, 1}, {1001, 1001, 64535}};
    char text[128];
    cr_assert_eq(userns_map_print(e, 3, text, sizeof text), 0);
    cr_assert_str_eq(text, "0 1 1000\n1000 0 1\n1001 1001 64535\n");
    cr_assert_eq(userns_map_print(e, 0, text, sizeof text), -EINVAL);
    cr_assert_eq(userns_map_print(e, 6, text, sizeof text), -EINVAL);
    cr_assert_eq(userns_map_print(e, 3, text, 20), -EINVAL);
}

Test(userns_why, every_errno_has_a_reason_and_a_remedy)
{
    for (int sys = 0; sys < 134; sys++) {
        char reason[256] = "", remedy[384] = "";
        userns_why(sys, reason, sizeof reason, remedy, sizeof remedy);
        size_t a = strlen(reason), b = strlen(remedy);
        cr_expect(a > 10 && a < sizeof reason - 1 && b > 10 && b < sizeof remedy - 1, "errno %d",
                  sys);
    }
}
