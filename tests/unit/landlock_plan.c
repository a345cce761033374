/* This file tests the plan of Landlock rules, and by enforcing one in a forked child that such
 * rules do in the kernel what the plan says.
 */
#include "runtime/base/fd.h"
#include "runtime/plan/landlock.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static struct spec *make_spec(uint32_t image, uint32_t uid)
{
    static struct spec spec;
    spec_init(&spec);
    spec.image.kind = image;
    spec.process.uid = uid;
    spec.workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    strcpy(spec.workspace.mount_path, "/workspace");
    return &spec;
}

static uint32_t plan(const struct spec *spec, uint32_t abi, struct agent_landlock_path *paths)
{
    uint32_t count = 1000;
    struct err err = {0};
    cr_assert_eq(landlock_plan(spec, abi, paths, &count, &err), 0, "%s", err.detail);
    cr_assert_leq(count, LANDLOCK_PATHS_MAX);
    return count;
}

/* What the rules allow at `path`: the sum along it, as the kernel sums. */
static uint64_t allowed(const struct spec *spec, uint32_t abi, const char *path)
{
    struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    uint32_t count = plan(spec, abi, paths);
    uint64_t access = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(paths[i].path);
        bool root = length == 1;
        if (root || (strncmp(path, paths[i].path, length) == 0 &&
                     (path[length] == '/' || path[length] == '\0')))
            access |= paths[i].access;
    }
    return access;
}

#define READ_ONLY (LANDLOCK_FS_EXECUTE | LANDLOCK_FS_READ_FILE | LANDLOCK_FS_READ_DIR)
#define DEVICES   (LANDLOCK_FS_MAKE_CHAR | LANDLOCK_FS_MAKE_BLOCK)

Test(landlock_plan, handles_what_each_abi_has_and_nothing_below_2)
{
    static const uint64_t want[] = {0, 0, 0x3fff, 0x7fff, 0x7fff, 0xffff, 0xffff, 0xffff, 0xffff};
    for (uint32_t abi = 0; abi < ARRAY_LENGTH(want); abi++) {
        cr_expect_eq(landlock_handled_fs(abi), want[abi], "ABI %u", abi);
        cr_expect_eq(landlock_scoped(abi), abi >= 6 ? 3 : 0, "ABI %u", abi);
    }
}

Test(landlock_plan, never_names_a_right_that_is_not_handled_or_makes_a_device)
{
    struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    for (uint32_t abi = 0; abi <= 8; abi++)
        for (uint32_t image = SPEC_IMAGE_HOST; image <= SPEC_IMAGE_NAME; image++) {
            uint32_t count = plan(make_spec(image, SPEC_UID_ROOT), abi, paths);
            cr_assert_eq(count == 0, abi < 2);
            for (uint32_t i = 0; i < count; i++) {
                cr_expect_eq(paths[i].access & ~landlock_handled_fs(abi), 0, "%s", paths[i].path);
                cr_expect_eq(paths[i].access & DEVICES, 0, "%s", paths[i].path);
                cr_expect_neq(paths[i].access, 0, "%s", paths[i].path);
            }
        }
}

Test(landlock_plan, lets_a_host_image_be_written_only_where_the_session_owns)
{
    struct spec *spec = make_spec(SPEC_IMAGE_HOST, SPEC_UID_USER);
    static const char *const read_only[] = {"/",     "/usr/bin", "/etc/passwd",
                                            "/root", "/opt",     "/lib"};
    static const char *const writable[] = {"/tmp/x", "/home/user", "/var/tmp", "/run/shm",
                                           "/workspace/a"};
    for (size_t i = 0; i < ARRAY_LENGTH(read_only); i++)
        cr_expect_eq(allowed(spec, 7, read_only[i]), READ_ONLY, "%s", read_only[i]);
    for (size_t i = 0; i < ARRAY_LENGTH(writable); i++)
        cr_expect_eq(allowed(spec, 7, writable[i]), 0x7fff & ~(uint64_t)DEVICES, "%s", writable[i]);
}

Test(landlock_plan, allows_device_ioctl_beneath_dev_only)
{
    static const uint32_t images[] = {SPEC_IMAGE_HOST, SPEC_IMAGE_DIR};
    for (size_t i = 0; i < ARRAY_LENGTH(images); i++) {
        struct spec *spec = make_spec(images[i], SPEC_UID_ROOT);
        cr_expect(allowed(spec, 5, "/dev/pts/0") & LANDLOCK_FS_IOCTL_DEV);
        cr_expect(!(allowed(spec, 5, "/workspace") & LANDLOCK_FS_IOCTL_DEV));
        cr_expect(!(allowed(spec, 5, "/tmp") & LANDLOCK_FS_IOCTL_DEV));
    }
}

Test(landlock_plan, allows_refer_wherever_files_can_be_made)
{
    struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    uint32_t count = plan(make_spec(SPEC_IMAGE_HOST, SPEC_UID_ROOT), 2, paths);
    for (uint32_t i = 0; i < count; i++)
        cr_expect_eq((paths[i].access & LANDLOCK_FS_MAKE_REG) != 0,
                     (paths[i].access & LANDLOCK_FS_REFER) != 0, "%s", paths[i].path);
}

Test(landlock_plan, gives_the_inner_root_the_places_of_a_root)
{
    struct spec *spec = make_spec(SPEC_IMAGE_HOST, SPEC_UID_ROOT);
    cr_assert(allowed(spec, 7, "/etc/passwd") & LANDLOCK_FS_WRITE_FILE);
    cr_assert(allowed(spec, 7, "/root") & LANDLOCK_FS_MAKE_REG);
    cr_assert(!(allowed(spec, 7, "/usr/bin/cc") & LANDLOCK_FS_WRITE_FILE));
    cr_assert(allowed(make_spec(SPEC_IMAGE_DIR, SPEC_UID_USER), 7, "/usr") &
              LANDLOCK_FS_WRITE_FILE);
}

Test(landlock_plan, follows_read_only_of_workspace_and_mounts)
{
    struct spec *spec = make_spec(SPEC_IMAGE_HOST, SPEC_UID_USER);
    spec->workspace.read_only = 1;
    spec->mount_count = 2;
    strcpy(spec->mounts[0].target, "/data/in");
    spec->mounts[0].read_only = 1;
    strcpy(spec->mounts[1].target, "/data/out");
    cr_assert_eq(allowed(spec, 7, "/workspace"), READ_ONLY);
    cr_assert_eq(allowed(spec, 7, "/data/in"), READ_ONLY);
    cr_assert(allowed(spec, 7, "/data/out/x") & LANDLOCK_FS_MAKE_REG);
    cr_assert_eq(allowed(spec, 7, "/data/output"), READ_ONLY);
}

Test(landlock_plan, holds_the_most_mounts_and_the_longest_paths)
{
    struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    struct spec *spec = make_spec(SPEC_IMAGE_HOST, SPEC_UID_ROOT);
    spec->mount_count = SPEC_MOUNTS_MAX;
    for (int i = 0; i < SPEC_MOUNTS_MAX; i++)
        strcpy(spec->mounts[i].target, "/m");
    memcpy(spec->workspace.mount_path, "/home", 5);
    for (int i = 0; i < 100; i++)
        memcpy(spec->workspace.mount_path + 5 + i * 7, "/abcdef", 7);
    uint32_t count = plan(spec, 7, paths);
    bool found = false;
    for (uint32_t i = 0; i < count; i++) {
        size_t length = strlen(paths[i].path);
        cr_assert_lt(length, sizeof(paths[i].path));
        found = found || (length == 5 + 34 * 7 &&
                          strncmp(paths[i].path, spec->workspace.mount_path, length) == 0);
    }
    cr_assert(found, "the longest ancestor that fits ends at a name");
}

Test(landlock_plan, refuses_a_path_that_is_not_absolute)
{
    struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    struct spec *spec = make_spec(SPEC_IMAGE_HOST, SPEC_UID_USER);
    struct err err = {0};
    uint32_t count = 77;
    spec->workspace.mount_path[0] = '\0';
    cr_assert_eq(landlock_plan(spec, 7, paths, &count, &err), -EINVAL);
    cr_assert_eq(count, 77);
}

/* ---- the kernel's view ------------------------------------------------------------------------
 */

struct ruleset {
    uint64_t fs, net, scoped;
};

struct beneath {
    uint64_t access;
    int32_t fd;
} __attribute__((packed));

static uint32_t kernel_abi(void)
{
    long r = syscall(444 /* landlock_create_ruleset */, NULL, 0, 1u);
    return r < 0 ? 0 : (uint32_t)r;
}

static bool enforce(const struct spec *spec, uint32_t abi)
{
    struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    uint32_t count;
    struct ruleset rules = {.fs = landlock_handled_fs(abi), .scoped = landlock_scoped(abi)};
    size_t size = abi >= 6 ? sizeof(rules) : sizeof(rules.fs);
    _cleanup_fd_ int ruleset = (int)syscall(444, &rules, size, 0);
    if (ruleset < 0 || landlock_plan(spec, abi, paths, &count, NULL) != 0)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        _cleanup_fd_ int fd = open(paths[i].path, O_PATH | O_CLOEXEC);
        struct beneath rule = {.access = paths[i].access, .fd = fd};
        if (fd >= 0 && syscall(445 /* landlock_add_rule */, ruleset, 1, &rule, 0) != 0)
            return false;
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(446 /* landlock_restrict_self */, ruleset, 0) == 0;
}

/* In `work`, which is beneath /tmp: 0 when everything is as planned, else the step that was not. */
static int try_inside(const char *work)
{
    char a[128], b[128];
    snprintf(a, sizeof(a), "%s/a", work);
    snprintf(b, sizeof(b), "%s/d", work);
    int fd = open(a, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || mkdir(b, 0700) != 0)
        return 10;
    close(fd);
    snprintf(b, sizeof(b), "%s/d/a", work);
    if (rename(a, b) != 0) /* REFER: without it EXDEV */
        return 11;
    if (open("/dev/null", O_WRONLY | O_TRUNC | O_CLOEXEC) < 0)
        return 12;
    if (open("/etc/passwd", O_RDONLY | O_CLOEXEC) < 0)
        return 13;
    if (open("/etc/berth-landlock-test", O_WRONLY | O_CREAT | O_CLOEXEC, 0600) >= 0) {
        unlink("/etc/berth-landlock-test");
        return 14;
    }
    if (errno != EACCES || mknod(a, S_IFCHR | 0600, 0) == 0)
        return 15;
    if (kill(getppid(), 0) == 0 && landlock_scoped(kernel_abi()))
        return 16; /* the parent is outside of the domain */
    return 0;
}

Test(landlock_kernel, the_plan_does_in_the_kernel_what_it_says)
{
    char work[] = "/tmp/landlock-XXXXXX", path[64];
    uint32_t abi = kernel_abi();
    int status;
    if (abi < 2)
        cr_skip_test("this kernel has no Landlock of ABI 2 or later");
    cr_assert_not_null(mkdtemp(work));
    struct spec *spec = make_spec(SPEC_IMAGE_HOST, SPEC_UID_USER);
    pid_t pid = fork();
    if (pid == 0)
        _exit(enforce(spec, abi > 7 ? 7 : abi) ? try_inside(work) : 1);
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    snprintf(path, sizeof(path), "%s/d/a", work);
    unlink(path);
    snprintf(path, sizeof(path), "%s/d", work);
    rmdir(path);
    snprintf(path, sizeof(path), "%s/a", work);
    unlink(path);
    cr_assert_eq(rmdir(work), 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "step %#x", status);
}
