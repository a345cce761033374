/* This file proves the unified layout against a directory tree of plain files that stands for a
 * cgroup file system: what is written where, and what is refused; it needs no privilege. */
#include "runtime/base/io.h"
#include "runtime/host/cgroup_internal.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char tree[64];

static void put(const char *path, const char *text)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s/%s", tree, path);
    FILE *f = fopen(whole, "we");
    cr_assert_not_null(f, "%s", whole);
    fputs(text, f);
    fclose(f);
}

static const char *get(const char *path)
{
    static char text[256];
    char whole[256];
    snprintf(whole, sizeof whole, "%s/%s", tree, path);
    cr_assert_geq(io_read_at(AT_FDCWD, whole, text, sizeof text), 0, "%s", whole);
    return text;
}

static void directory(const char *path)
{
    char whole[256];
    snprintf(whole, sizeof whole, "%s/%s", tree, path);
    cr_assert_eq(mkdir(whole, 0755), 0);
}

static void plant(void)
{
    snprintf(tree, sizeof tree, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(tree));
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void fell(void)
{
    cr_assert_eq(nftw(tree, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static struct cgroup_host open_with(const char *available, const char *root, const char *base)
{
    put("cgroup.controllers", available);
    put("cgroup.subtree_control", root);
    directory("berth");
    put("berth/cgroup.subtree_control", base);
    struct cgroup_mounts mounts = {.v2_root = "/"};
    snprintf(mounts.v2, sizeof mounts.v2, "%s", tree);
    struct cgroup_host host = {0};
    cgroup_open_root(&host, &mounts);
    return host;
}

#define ALL (SPEC_LIMIT_MEMORY | SPEC_LIMIT_CPU | SPEC_LIMIT_PIDS)

TestSuite(cgroup_unified, .init = plant, .fini = fell);

Test(cgroup_unified, enabled_controllers_give_every_limit)
{
    struct cgroup_host host =
        open_with("cpuset cpu io memory pids\n", "cpu memory pids\n", "memory cpu pids\n");
    cr_assert_eq(host.layout, RUNTIME_CGROUP_UNIFIED);
    cr_assert_eq(host.limits, (uint32_t)ALL);
    cr_assert_str_eq(host.reason, "");
    cr_assert(host.clone_into);
    cr_assert_str_eq(host.v1[0], "");
    cr_assert_str_eq(get("cgroup.subtree_control"), "cpu memory pids", "nothing was written");
}

Test(cgroup_unified, a_missing_controller_is_named_with_the_reason)
{
    struct cgroup_host host = open_with("cpu pids\n", "cpu pids\n", "cpu pids\n");
    cr_assert_eq(host.layout, RUNTIME_CGROUP_UNIFIED);
    cr_assert_eq(host.limits, (uint32_t)(SPEC_LIMIT_CPU | SPEC_LIMIT_PIDS));
    cr_assert_not_null(strstr(host.reason, "no limit of memory"), "%s", host.reason);
}

Test(cgroup_unified, a_controller_that_reads_back_as_off_is_no_limit)
{
    /* The file takes the write and forgets it, as nothing but a read-back would notice. */
    put("cgroup.controllers", "cpu memory pids\n");
    directory("berth");
    put("berth/cgroup.subtree_control", "");
    char path[128];
    snprintf(path, sizeof path, "%s/cgroup.subtree_control", tree);
    cr_assert_eq(symlink("/dev/null", path), 0);
    struct cgroup_mounts mounts = {.v2_root = "/"};
    snprintf(mounts.v2, sizeof mounts.v2, "%s", tree);
    struct cgroup_host host = {0};
    cgroup_open_root(&host, &mounts);
    cr_assert_eq(host.limits, 0);
    cr_assert_eq(host.layout, RUNTIME_CGROUP_HYBRID, "membership and kill are left");
    cr_assert_not_null(strstr(host.reason, "no limit of memory, pids, cpu"), "%s", host.reason);
}

Test(cgroup_unified, without_a_writable_v2_mount_the_layout_is_none)
{
    struct cgroup_mounts mounts = {.v2_root = "/"};
    struct cgroup_host host = {0};
    cgroup_open_root(&host, &mounts);
    cr_assert_eq(host.layout, RUNTIME_CGROUP_NONE);
    cr_assert(host.reason[0]);
    snprintf(mounts.v2, sizeof mounts.v2, "%s", tree);
    mounts.v2_read_only = true;
    cgroup_open_root(&host, &mounts);
    cr_assert_eq(host.layout, RUNTIME_CGROUP_NONE);
    cr_assert_not_null(strstr(host.reason, "read-only"));
    mounts.v2_read_only = false;
    snprintf(mounts.v2, sizeof mounts.v2, "%s", "/nonexistent");
    cgroup_open_root(&host, &mounts);
    cr_assert_eq(host.layout, RUNTIME_CGROUP_NONE);
    cr_assert_not_null(strstr(host.reason, "/nonexistent"));
}

static void plant_session(struct cgroup_host *host, struct cgroup_session *cg)
{
    struct err err;
    *host = open_with("cpu memory pids\n", "cpu memory pids\n", "cpu memory pids\n");
    cr_assert_eq(cgroup_session_create(cg, host, "s-1", &err), 0);
    cr_assert_eq(cgroup_session_complete(cg, &err), 0);
    put("berth/s-1/cgroup.subtree_control", "cpu memory pids\n");
    put("berth/s-1/run/memory.max", "max\n");
    put("berth/s-1/run/memory.swap.max", "");
    put("berth/s-1/run/memory.oom.group", "");
    put("berth/s-1/run/pids.max", "");
    put("berth/s-1/run/cpu.max", "max 100000\n");
}

Test(cgroup_unified, limits_are_written_to_run_and_read_back)
{
    struct cgroup_host host;
    struct cgroup_session cg;
    struct err err;
    plant_session(&host, &cg);
    struct spec_limits limits = {
        .memory_bytes = 1 << 20, .scratch_bytes = 4096, .cpu_millis = 1500, .pids = 64};
    cr_assert_eq(cgroup_session_limit(&cg, &limits, &err), 0);
    cr_expect_str_eq(get("berth/s-1/run/memory.max"), "1052672");
    cr_expect_str_eq(get("berth/s-1/run/memory.swap.max"), "0");
    cr_expect_str_eq(get("berth/s-1/run/memory.oom.group"), "0");
    cr_expect_str_eq(get("berth/s-1/run/pids.max"), "64");
    cr_expect_str_eq(get("berth/s-1/run/cpu.max"), "150000 100000");
    struct spec_limits has;
    uint64_t memory;
    cr_assert_eq(cgroup_session_read(&cg, &has, &memory, &err), 0);
    cr_expect_eq(memory, 1052672u);
    cr_expect_eq(has.memory_bytes, 1u << 20);
    cr_expect_eq(has.scratch_bytes, 4096u);
    cr_expect_eq(has.pids, 64u);
    cr_expect_eq(has.cpu_millis, 1500u);
    cgroup_session_fini(&cg);
}

Test(cgroup_unified, a_limit_that_reads_back_otherwise_fails)
{
    struct cgroup_host host;
    struct cgroup_session cg;
    struct err err = {0};
    plant_session(&host, &cg);
    char path[128];
    snprintf(path, sizeof path, "%s/berth/s-1/run/pids.max", tree);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(symlink("/dev/null", path), 0);
    struct spec_limits limits = {.pids = 64};
    cr_assert_lt(cgroup_session_limit(&cg, &limits, &err), 0);
    cgroup_session_fini(&cg);
}

Test(cgroup_unified, a_limit_that_reads_back_larger_fails)
{
    struct cgroup_host host;
    struct cgroup_session cg;
    struct err err = {0};
    plant_session(&host, &cg);
    /* A plain file keeps what is behind the two digits that are written. */
    put("berth/s-1/run/pids.max", "99999\n");
    struct spec_limits limits = {.pids = 64};
    cr_assert_eq(cgroup_session_limit(&cg, &limits, &err), -EIO);
    cr_assert_not_null(strstr(err.detail, "took 64 and then answered 64999"), "%s", err.detail);
    cgroup_session_fini(&cg);
}

Test(cgroup_unified, a_limit_that_the_kernel_lacks_fails)
{
    struct cgroup_host host;
    struct cgroup_session cg;
    struct err err = {0};
    plant_session(&host, &cg);
    char path[128];
    snprintf(path, sizeof path, "%s/berth/s-1/run/cpu.max", tree);
    cr_assert_eq(unlink(path), 0);
    struct spec_limits limits = {.cpu_millis = 64};
    cr_assert_eq(cgroup_session_limit(&cg, &limits, &err), -ENOENT);
    cr_assert_str_eq(err.subject, "cpu.max");
    cgroup_session_fini(&cg);
}

Test(cgroup_unified, zero_means_no_limit)
{
    struct cgroup_host host;
    struct cgroup_session cg;
    struct err err;
    plant_session(&host, &cg);
    put("berth/s-1/run/memory.max", "max\n");
    put("berth/s-1/run/pids.max", "max\n");
    put("berth/s-1/run/cpu.max", "max 100000\n");
    struct spec_limits none = {.scratch_bytes = 1 << 20}, has;
    uint64_t memory;
    cr_assert_eq(cgroup_session_limit(&cg, &none, &err), 0);
    cr_assert_eq(cgroup_session_read(&cg, &has, &memory, &err), 0);
    cr_expect_eq(memory, 0u);
    cr_expect_eq(has.memory_bytes, 0u);
    cr_expect_eq(has.pids, 0u);
    cr_expect_eq(has.cpu_millis, 0u);
    cgroup_session_fini(&cg);
}

Test(cgroup_unified, a_completion_that_fails_is_undone_by_destroy)
{
    struct cgroup_host host =
        open_with("cpu memory pids\n", "cpu memory pids\n", "cpu memory pids\n");
    struct cgroup_session cg;
    struct err err = {0};
    host.layout = RUNTIME_CGROUP_HYBRID;
    snprintf(host.v1[CGROUP_V1_PIDS], sizeof host.v1[0], "/nonexistent");
    cr_assert_eq(cgroup_session_create(&cg, &host, "s-1", &err), 0);
    cr_assert_eq(cgroup_session_complete(&cg, &err), -ENOENT);
    cr_expect(cg.run_fd >= 0, "the session's own part is there");
    char path[128];
    snprintf(path, sizeof path, "%s/berth/s-1", tree);
    cr_assert_eq(cgroup_session_destroy(&cg, 100, &err), 0);
    cr_assert_neq(access(path, F_OK), 0);
    cgroup_session_fini(&cg);
}

Test(cgroup_unified, a_create_that_fails_leaves_nothing_of_its_own)
{
    struct cgroup_host host =
        open_with("cpu memory pids\n", "cpu memory pids\n", "cpu memory pids\n");
    struct cgroup_session cg;
    struct err err = {0};
    snprintf(host.v2, sizeof host.v2, "/nonexistent");
    cr_assert_eq(cgroup_session_create(&cg, &host, "s-1", &err), -ENOENT);
    cr_assert_eq(cg.s_fd, -1);
}

Test(cgroup_unified, the_usual_places_count_only_when_they_are_what_they_seem)
{
    struct cgroup_mounts mounts;
    cr_expect_not(cgroup_mounts_usual(tree, &mounts), "directories that are no cgroup mounts");
    cr_expect_not(cgroup_mounts_usual("/nonexistent", &mounts));
}

Test(cgroup_unified, memory_and_scratch_that_overflow_are_refused)
{
    struct err err = {0};
    uint64_t sum = 7;
    struct spec_limits limits = {.memory_bytes = UINT64_MAX - 1, .scratch_bytes = 2};
    cr_assert_eq(cgroup_kernel_memory(&limits, &sum, &err), -ERANGE);
    limits.memory_bytes = INT64_MAX;
    cr_assert_eq(cgroup_kernel_memory(&limits, &sum, &err), -ERANGE);
    cr_assert_eq(sum, 7u);
}

Test(cgroup_unified, a_quota_is_never_below_what_the_kernel_takes)
{
    cr_assert_eq(cgroup_quota_us(1), 1000u);
    cr_assert_eq(cgroup_quota_us(10), 1000u);
    cr_assert_eq(cgroup_quota_us(11), 1100u);
    cr_assert_eq(cgroup_quota_us(1500), 150000u);
    cr_assert_eq(cgroup_quota_us(UINT64_MAX), UINT64_MAX);
}
