/* This file proves how cgroup mounts are found in mountinfo and how the texts of cgroup files are
 * read; it needs no privilege and no cgroup. */
#include "runtime/host/cgroup_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct cgroup_mounts scan(const char *text)
{
    struct cgroup_mounts m;
    int fd = memfd_create("mountinfo", MFD_CLOEXEC);
    cr_assert_geq(fd, 0);
    cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    lseek(fd, 0, SEEK_SET);
    cr_assert_eq(cgroup_mounts_scan(fd, &m), 0);
    close(fd);
    return m;
}

Test(cgroup_detect, cpu_and_cpuacct_may_be_one_mount_or_two)
{
    struct cgroup_mounts one =
        scan("30 29 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro\n"
             "31 30 0:27 / /sys/fs/cgroup/unified rw shared:10 - cgroup2 cgroup2 rw\n"
             "33 30 0:29 / /sys/fs/cgroup/cpuset rw shared:11 - cgroup cgroup rw,cpuset\n"
             "34 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct\n"
             "35 30 0:31 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory\n"
             "36 30 0:32 / /sys/fs/cgroup/pids rw shared:14 - cgroup cgroup rw,pids\n");
    cr_assert_str_eq(one.v1[CGROUP_V1_CPU], "/sys/fs/cgroup/cpu,cpuacct");
    cr_assert_str_eq(one.v1[CGROUP_V1_MEMORY], "/sys/fs/cgroup/memory");
    cr_assert_str_eq(one.v1[CGROUP_V1_PIDS], "/sys/fs/cgroup/pids");
    cr_assert_str_eq(one.v2, "/sys/fs/cgroup/unified");

    struct cgroup_mounts two = scan("33 31 0:30 / /c/cpuacct rw - cgroup cgroup rw,cpuacct\n"
                                    "32 31 0:29 / /c/cpu rw - cgroup cgroup rw,cpu\n");
    cr_assert_str_eq(two.v1[CGROUP_V1_CPU], "/c/cpu");
    cr_assert_str_eq(two.v1[CGROUP_V1_MEMORY], "");
    cr_assert_str_eq(two.v2, "");
}

Test(cgroup_detect, a_writable_mount_is_preferred_to_a_read_only_one)
{
    struct cgroup_mounts m = scan("1 0 0:1 / /ro ro,nosuid - cgroup2 cgroup2 rw\n"
                                  "2 0 0:1 / /rw rw,nosuid - cgroup2 cgroup2 rw\n"
                                  "3 0 0:1 / /third rw,nosuid - cgroup2 cgroup2 rw\n");
    cr_assert_str_eq(m.v2, "/rw");
    cr_assert_not(m.v2_read_only);
    m = scan("1 0 0:1 / /ro ro,nosuid - cgroup2 cgroup2 rw\n");
    cr_assert_str_eq(m.v2, "/ro");
    cr_assert(m.v2_read_only);
}

Test(cgroup_detect, escaped_mount_points_are_decoded)
{
    struct cgroup_mounts m = scan("1 0 0:1 /a\\134b /odd\\040place rw - cgroup2 none rw\n");
    cr_assert_str_eq(m.v2, "/odd place");
    cr_assert_str_eq(m.v2_root, "/a\\b");
}

Test(cgroup_detect, a_line_longer_than_the_buffer_hides_no_other)
{
    static char text[60000], x[40001];
    memset(x, 'x', sizeof x - 1);
    snprintf(text, sizeof text,
             "1 0 0:1 / /%s rw - tmpfs tmpfs rw\n2 0 0:1 / /found rw - cgroup2 cgroup2 rw\n", x);
    cr_assert_str_eq(scan(text).v2, "/found");
}

Test(cgroup_detect, a_path_with_cgroup_in_it_is_no_cgroup_mount)
{
    struct cgroup_mounts m = scan("1 0 0:1 / /cgroup2 rw - tmpfs cgroup2 rw,memory\nbroken\n\n"
                                  "1 2 - cgroup2\n");
    cr_assert_str_eq(m.v2, "");
    cr_assert_str_eq(m.v1[CGROUP_V1_MEMORY], "");
}

Test(cgroup_detect, the_own_path_is_below_the_mounts_root)
{
    static const struct {
        const char *root, *text, *path;
    } rows[] = {
        {"/", "0::/\n", "/m"},
        {"/", "4:memory:/x\n0::/user.slice/a.scope\n", "/m/user.slice/a.scope"},
        {"/", "0::/user.slice/a.scope", "/m/user.slice/a.scope"},
        {"/docker/1", "0::/docker/1\n", "/m"},
        {"/docker/1", "0::/docker/1/in\n", "/m/in"},
        {"/docker/1", "0::/docker/12\n", NULL},
        {"/docker/1", "0::/other\n", NULL},
        {"/", "0::/../beside\n", NULL},
        {"/", "4:memory:/x\n", NULL},
        {"/", "", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct cgroup_mounts m = {.v2 = "/m"};
        snprintf(m.v2_root, sizeof m.v2_root, "%s", rows[i].root);
        char path[256] = "";
        int r = cgroup_own_path(rows[i].text, &m, path, sizeof path);
        if (rows[i].path)
            cr_expect(r == 0 && strcmp(path, rows[i].path) == 0, "row %zu: %d %s", i, r, path);
        else
            cr_expect_eq(r, -ENOENT, "row %zu: %d %s", i, r, path);
    }
}

Test(cgroup_detect, controllers_are_whole_words)
{
    cr_assert_eq(cgroup_limits_named("cpuset io hugetlb misc"), 0);
    cr_assert_eq(cgroup_limits_named("cpuset cpu io memory hugetlb pids rdma misc"),
                 (uint32_t)(SPEC_LIMIT_CPU | SPEC_LIMIT_MEMORY | SPEC_LIMIT_PIDS));
    cr_assert_eq(cgroup_limits_named("pids\n"), (uint32_t)SPEC_LIMIT_PIDS);
    char text[64];
    cgroup_limits_print(SPEC_LIMIT_MEMORY | SPEC_LIMIT_CPU, text, sizeof text);
    cr_assert_str_eq(text, "memory, cpu");
}

Test(cgroup_detect, a_name_is_one_component_and_no_control_file)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/", "cgroup.procs", ".hidden"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        cr_expect_not(cgroup_name_valid(bad[i]), "%s", bad[i]);
    cr_assert(cgroup_name_valid("7f3a-2"));
    char longest[200];
    memset(longest, 'a', sizeof longest);
    longest[96] = 0;
    cr_assert_not(cgroup_name_valid(longest));
    longest[95] = 0;
    cr_assert(cgroup_name_valid(longest));
}
