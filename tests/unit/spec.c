/* This file tests the shape check of a spec and the plan of a root directory. */
#include "runtime/spec.h"

#include "runtime/plan/rootfs.h"
#include "runtime/runtime.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static struct spec *good(void)
{
    struct spec *spec = malloc(sizeof *spec);
    spec_init(spec);
    strcpy(spec->workspace_id, "local");
    strcpy(spec->session_id, "s1");
    spec->image.kind = SPEC_IMAGE_HOST;
    spec->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    strcpy(spec->workspace.path, "/srv/project");
    strcpy(spec->workspace.mount_path, "/srv/project");
    spec->network.egress = SPEC_EGRESS_DENY;
    spec->process.uid = spec->process.gid = SPEC_UID_USER;
    spec->process.seccomp = SPEC_SECCOMP_DEFAULT;
    return spec;
}

static void expect_refused(const struct spec *spec, const char *subject)
{
    struct err err = {0};
    cr_assert_lt(spec_check(spec, &err), 0, "%s must be refused", subject);
    cr_assert_str_eq(err.subject, subject, "%s", err.detail);
    cr_assert_eq(err.code, ERR_INVALID_REQUEST);
}

Test(spec, a_good_one_passes)
{
    struct err err = {0};
    struct spec *spec = good();
    cr_assert_eq(spec_check(spec, &err), 0, "%s: %s", err.subject, err.detail);
    free(spec);
}

Test(spec, each_field_out_of_shape_is_refused_by_name)
{
    struct spec *s = good();
    s->version++;
    expect_refused(s, "version");
    s->version--;
    strcpy(s->session_id, "../x");
    expect_refused(s, "session_id");
    strcpy(s->session_id, "s1");
    memset(s->workspace_id, 'a', sizeof s->workspace_id);
    expect_refused(s, "workspace_id");
    strcpy(s->workspace_id, "local");
    s->image.kind = 99;
    expect_refused(s, "image");
    s->image.kind = SPEC_IMAGE_HOST;

    s->network.publish_count = 2;
    s->network.publish[0] = (struct spec_publish){8080, 3000};
    s->network.publish[1] = (struct spec_publish){8080, 3001};
    expect_refused(s, "network.publish");
    s->network.publish[1] = (struct spec_publish){8081, 53};
    expect_refused(s, "network.publish");
    s->network.publish_count = SPEC_PUBLISH_MAX + 1;
    expect_refused(s, "network.publish");
    s->network.publish_count = 0;

    static const char *const paths[] = {"relative", "/a/../b", "/a//b", "/a/./b", "/a/", ""};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        strcpy(s->workspace.path, paths[i]);
        expect_refused(s, "workspace.path");
    }
    strcpy(s->workspace.path, "/srv/project");
    s->workspace.kind = SPEC_WORKSPACE_VOLUME;
    strcpy(s->workspace.volume, "-x");
    expect_refused(s, "workspace.volume");
    s->workspace.kind = SPEC_WORKSPACE_DIRECTORY;

    s->process.uid = SPEC_UID_INIT;
    expect_refused(s, "process.user");
    s->process.uid = 4294967295u;
    expect_refused(s, "process.user");
    s->process.uid = SPEC_UID_USER;
    s->process.seccomp = 0;
    expect_refused(s, "process.seccomp");
    s->process.seccomp = SPEC_SECCOMP_DEFAULT;
    s->network.egress = 0;
    expect_refused(s, "network.egress");
    s->network.egress = SPEC_EGRESS_DENY;
    s->protect_count = SPEC_PROTECT_MAX + 1;
    expect_refused(s, "protect");
    s->protect_count = 1;
    strcpy(s->protect[0].path, "/etc/passwd");
    expect_refused(s, "protect");
    s->protect_count = 0;
    s->process.env_count = 1;
    s->process.env_bytes = 3;
    memcpy(s->process.env, "AB", 3);
    expect_refused(s, "process.env");
    free(s);
}

Test(spec, two_mounts_at_one_place_are_refused)
{
    struct spec *s = good();
    s->mount_count = 1;
    strcpy(s->mounts[0].source, "/opt");
    strcpy(s->mounts[0].target, "/srv/project");
    expect_refused(s, "/srv/project");
    s->mount_count = 2;
    strcpy(s->mounts[0].target, "/opt");
    s->mounts[1] = s->mounts[0];
    expect_refused(s, "/opt");
    free(s);
}

Test(spec, the_hash_tells_specs_apart_and_ignores_unused_bytes)
{
    struct spec *a = good(), *b = good();
    char ha[65], hb[65];
    spec_hash(a, ha);
    b->protect[5].path[0] = 'x'; /* beyond protect_count */
    spec_hash(b, hb);
    cr_assert_str_eq(ha, hb);
    b->limits.pids = 7;
    spec_hash(b, hb);
    cr_assert_str_neq(ha, hb);
    b->limits.pids = 0;
    b->protect_count = 6;
    spec_hash(b, hb);
    cr_assert_str_neq(ha, hb);
    free(a);
    free(b);
}

Test(rootfs, every_step_has_its_parent_before_it)
{
    struct rootfs_host host = {.has_bash = true};
    for (int i = 0; i < ROOTFS_TOP_COUNT; i++) {
        host.tops[i].exists = true;
        snprintf(host.tops[i].link, sizeof host.tops[i].link, "usr/%s", rootfs_top_names[i]);
    }
    for (uint32_t kind = SPEC_IMAGE_HOST; kind <= SPEC_IMAGE_DIR; kind++) {
        struct spec *spec = good();
        spec->image.kind = kind;
        struct rootfs_plan plan;
        rootfs_plan_make(spec, &host, &plan);
        cr_assert_lt(plan.count, ROOTFS_STEPS_MAX, "the table fits");
        for (uint32_t i = 0; i < plan.count; i++) {
            const char *path = plan.steps[i].path;
            cr_assert_neq(path[0], '/', "%s is relative", path);
            const char *slash = strrchr(path, '/');
            bool found = slash == NULL;
            for (uint32_t k = 0; k < i && !found; k++)
                found = plan.steps[k].kind == ROOTFS_DIRECTORY &&
                        strlen(plan.steps[k].path) == (size_t)(slash - path) &&
                        strncmp(plan.steps[k].path, path, (size_t)(slash - path)) == 0;
            cr_assert(found, "the parent of %s stands before it", path);
        }
        free(spec);
    }
}

Test(rootfs, an_image_gets_no_links_and_no_binds_of_the_host)
{
    struct rootfs_host host = {0};
    struct spec *spec = good();
    spec->image.kind = SPEC_IMAGE_DIR;
    struct rootfs_plan plan;
    rootfs_plan_make(spec, &host, &plan);
    cr_assert_not(plan.fresh);
    for (uint32_t i = 0; i < plan.count; i++)
        cr_assert(plan.steps[i].kind != ROOTFS_SYMLINK && plan.steps[i].kind != ROOTFS_BIND &&
                      plan.steps[i].kind != ROOTFS_BIND_NOEXEC,
                  "%s", plan.steps[i].path);
    free(spec);
}

Test(rootfs, nothing_secret_of_the_host_is_in_the_table)
{
    static const char *const secret[] = {"shadow",     "gshadow",     "ssh",       "sudoers",
                                         "machine-id", "environment", "gitconfig", "npmrc",
                                         "apt",        "fstab"};
    struct rootfs_host host = {0};
    struct spec *spec = good();
    struct rootfs_plan plan;
    rootfs_plan_make(spec, &host, &plan);
    for (uint32_t i = 0; i < plan.count; i++)
        for (size_t k = 0; k < sizeof secret / sizeof secret[0]; k++)
            cr_assert(!plan.steps[i].text || !strstr(plan.steps[i].path, secret[k]), "%s",
                      plan.steps[i].path);
    free(spec);
}

static const char *find(char **list, const char *name)
{
    for (; *list; list++)
        if (strncmp(*list, name, strlen(name)) == 0 && (*list)[strlen(name)] == '=')
            return *list + strlen(name) + 1;
    return NULL;
}

Test(environment, EXEC_1_holds_defaults_the_policy_and_what_was_sent_and_nothing_else)
{
    struct spec *spec = good();
    static const char policy[] = "LANG=de_DE.UTF-8\0TOOL=1";
    memcpy(spec->process.env, policy, sizeof policy);
    spec->process.env_bytes = sizeof policy;
    spec->process.env_count = 2;
    const char *const extra[] = {"TOOL=2", "X=y=z", NULL};
    setenv("LEAK", "secret", 1);
    char **env = exec_environment(spec, "xterm", extra);
    size_t count = 0;
    while (env[count])
        count++;
    cr_assert_eq(count, 8);
    cr_assert_str_eq(find(env, "LANG"), "de_DE.UTF-8");
    cr_assert_str_eq(find(env, "TOOL"), "2");
    cr_assert_str_eq(find(env, "X"), "y=z");
    cr_assert_str_eq(find(env, "TERM"), "xterm");
    cr_assert_str_eq(find(env, "HOME"), "/home/user");
    cr_assert_null(find(env, "LEAK"));
    free(env);
    free(spec);
}

/* Every byte of it is one that a caller set, or zero. */
static void use_some(struct spec *spec, unsigned count)
{
    spec->mount_count = count % SPEC_MOUNTS_MAX;
    spec->protect_count = count % SPEC_PROTECT_MAX;
    spec->network.allow_count = count;
    spec->network.deny_count = SPEC_RULES_MAX - count;
    spec->process.env_bytes = count * 3;
    memset(spec->mounts, 1, spec->mount_count * sizeof spec->mounts[0]);
    memset(spec->protect, 2, spec->protect_count * sizeof spec->protect[0]);
    memset(spec->network.publish, 3, sizeof spec->network.publish);
    memset(spec->network.allow, 4, spec->network.allow_count * sizeof spec->network.allow[0]);
    memset(spec->network.deny, 5, spec->network.deny_count * sizeof spec->network.deny[0]);
    memset(spec->process.env, 6, spec->process.env_bytes);
    memset(&spec->limits, 7, sizeof spec->limits);
    memset(spec->requires_mask, 8, sizeof spec->requires_mask);
}

Test(spec, a_copy_and_a_file_are_the_same_whatever_was_there_before)
{
    static struct spec from, to, read, empty;
    static const unsigned counts[] = {0, 256, 1, 31, 0, 255};
    spec_init_zeroed(&empty);
    for (unsigned i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        char one[65], other[65];
        spec_clear(&from);
        cr_assert(memcmp(&from, &empty, sizeof from) == 0, "something is left");
        use_some(&from, counts[i]);
        spec_copy(&to, &from);
        cr_assert(memcmp(&to, &from, sizeof to) == 0, "the copy with %u", counts[i]);
        spec_hash(&to, one);
        spec_hash(&from, other);
        cr_assert_str_eq(one, other);
        FILE *file = tmpfile();
        cr_assert(spec_write(fileno(file), 40, &from) == 0);
        cr_assert(fseek(file, 40, SEEK_SET) == 0 && fread(&read, sizeof read, 1, file) == 1);
        cr_assert(memcmp(&read, &from, sizeof read) == 0, "the file with %u", counts[i]);
        cr_assert(fgetc(file) == EOF);
        fclose(file);
    }
}

Test(spec, a_file_of_a_spec_that_uses_little_takes_few_pages)
{
    static struct spec spec;
    struct stat st;
    FILE *file = tmpfile();
    spec_init_zeroed(&spec);
    spec.network.allow_count = 3;
    cr_assert(spec_write(fileno(file), 0, &spec) == 0 && fstat(fileno(file), &st) == 0);
    cr_expect_eq(st.st_size, (off_t)sizeof spec);
    cr_expect_lt(st.st_blocks * 512, 64 << 10, "%lld blocks", (long long)st.st_blocks);
    fclose(file);
}
