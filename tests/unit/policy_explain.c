/* This file tests what a policy compiles to, what `explain` answers (POL-3), the canonical form of
 * hosts (NET-2), and the verbs of the command line.
 */
#include "api/cli/policy_cmd.h"
#include "policy/arena.h"
#include "policy/json.h"
#include "policy/policy.h"
#include "policy/rule.h"
#include "runtime/plan/host_name.h"

#include "runtime/plan/landlock.h"
#include "runtime/plan/rootfs.h"
#include "runtime/plan/seccomp.h"
#include "tests/unit/policy_text.h"

#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char example[] =
    "{\n"
    "  \"version\": 1,\n"
    "  \"filesystem\": {\"read_only\": [\"/opt/toolchain\", {\"source\": \"/srv/d\", \"target\": "
    "\"/data\"}],\n"
    "    \"read_write\": [\"/opt/toolchain/cache\"], \"protect\": [\"keep/me\"]},\n"
    "  \"network\": {\"allow\": [{\"host\": \"*.Example.ORG.\"}, {\"cidr\": \"10.1.0.0/16\", "
    "\"ports\": [5432]},\n"
    "      {\"cidr\": \"169.254.169.254/32\", \"ports\": [80]}],\n"
    "    \"deny\": [{\"host\": \"bad.example.org\"}, {\"cidr\": \"10.1.9.0/24\"}]},\n"
    "  \"process\": {\"env\": {\"LANG\": \"C.UTF-8\", \"E\": \"\"}, \"seccomp_allow\": "
    "[\"userfaultfd\"], \"user\": 1234},\n"
    "  \"limits\": {\"memory\": \"2GiB\", \"cpus\": 1.5, \"pids\": \"unlimited\"},\n"
    "  \"requires\": [\"limits.memory\", \"gpu\"]\n"
    "}\n";

Test(compile, fills_every_part_of_the_spec)
{
    static struct spec s;
    struct policy *p = load(example);
    struct err err = {0};
    spec_init(&s);
    strcpy(s.workspace_id, "w");
    strcpy(s.session_id, "s");
    strcpy(s.workspace.mount_path, "/workspace");
    cr_assert(policy_compile(p, &s, &err) == 0, "%s", err.detail);
    cr_assert(spec_check(&s, &err) == 0, "%s %s", err.subject, err.detail);
    cr_expect(s.image.kind == SPEC_IMAGE_HOST);
    cr_expect(s.mount_count == 3 && s.mounts[0].read_only && !s.mounts[2].read_only);
    cr_expect_str_eq(s.mounts[1].source, "/srv/d");
    cr_expect_str_eq(s.mounts[1].target, "/data");
    cr_expect_str_eq(s.protect[0].path, ".git/hooks");
    cr_expect(s.protect[0].is_default && !s.protect[s.protect_count - 1].is_default);
    cr_expect(s.network.egress == SPEC_EGRESS_DENY && s.network.sni_match == 1);
    cr_expect(s.network.allow_count == 3 && s.network.deny_count == 2);
    cr_expect_str_eq(s.network.allow[0].host, "*.example.org");
    cr_expect(s.network.allow[0].port_count == 1 && s.network.allow[0].ports[0] == 443);
    cr_expect(s.network.deny[0].port_count == 0);
    cr_expect(s.network.allow[1].family == 4 && s.network.allow[1].prefix == 16);
    cr_expect(s.process.uid == 1234 && s.process.gid == 1234);
    cr_expect(s.process.env_count == 2 && s.process.env_bytes == 16);
    cr_expect(memcmp(s.process.env, "LANG=C.UTF-8\0E=", 16) == 0);
    cr_expect(s.process.seccomp == SPEC_SECCOMP_DEFAULT && s.process.seccomp_allow_count == 1);
    cr_expect((int)s.process.seccomp_allow[0] == seccomp_call_number("userfaultfd"));
    cr_expect(s.limits.memory_bytes == 2ull << 30 && s.limits.cpu_millis == 1500);
    cr_expect(s.limits.pids == 0 && s.limits.exec_timeout_ms == 0);
    cr_expect(s.limits.scratch_bytes == 2ull << 30 && s.limits.output_bytes == 16u << 20);
    /* What a preset says is not asked for; "unlimited" asks for nothing. */
    cr_expect(s.limits.asked == (SPEC_LIMIT_MEMORY | SPEC_LIMIT_CPU), "%x", s.limits.asked);
    cr_expect(s.requires_mask[0] != 0 || s.requires_mask[1] != 0);
    policy_free(p);
}

Test(compile, a_mount_over_or_in_a_protected_path_is_refused)
{
    static const struct {
        const char *target;
        bool fine;
    } rows[] = {{"/w/keep/me", false}, {"/w/keep/me/x", false},  {"/w/keep", false},  {"/w", false},
                {"/w/other", true},    {"/w/keep/mellow", true}, {"/elsewhere", true}};
    static struct spec s;
    for (unsigned i = 0; i < 2 * (sizeof rows / sizeof *rows); i++) {
        char text[256];
        struct err err = {0};
        snprintf(text, sizeof text,
                 "{\"version\": 1, \"filesystem\": {\"protect\": [\"%skeep/me\"], \"read_only\": "
                 "[{\"source\": \"/opt/x\", \"target\": \"%s\"}]}}",
                 i % 2 ? "" : "~/", rows[i / 2].target);
        struct policy *p = load(text);
        spec_init(&s);
        strcpy(s.workspace.mount_path, "/w");
        int r = policy_compile(p, &s, &err);
        cr_expect((r == 0) == rows[i / 2].fine, "%s: %s", rows[i / 2].target, err.detail);
        cr_expect(r == 0 || strstr(err.subject, "t:1:"), "%s", err.subject);
        cr_expect(!strchr(err.detail, '~'), "a path inside: %s", err.detail);
        policy_free(p);
    }
}

/* ---- hosts ---- */

Test(host, has_one_canonical_form)
{
    static const struct {
        const char *text, *canonical;
    } rows[] = {{"A.Example.ORG.", "a.example.org"},
                {"*.X.y", "*.x.y"},
                {"registry", "registry"},
                {"_srv.a-b.c", "_srv.a-b.c"},
                {"xn--bcher-kva.example", "xn--bcher-kva.example"},
                {"1password.com", "1password.com"}};
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        char host[SPEC_HOST_MAX], why[HOST_WHY_MAX] = "";
        cr_expect(host_canonical(rows[i].text, true, host, why) == 0, "%s: %s", rows[i].text, why);
        cr_expect_str_eq(host, rows[i].canonical);
    }
    char host[SPEC_HOST_MAX], why[HOST_WHY_MAX], name[300];
    cr_expect(host_canonical("*.x.y", false, host, why) < 0);
    memset(name, 'a', sizeof name);
    for (int i = 40; i < 253; i += 40)
        name[i] = '.';
    name[253] = 0;
    cr_expect(host_canonical(name, true, host, why) == 0, "%s", why);
    name[253] = 'a';
    name[254] = 0;
    cr_expect(host_canonical(name, true, host, why) < 0 && strstr(why, "254 bytes"));
}

Test(host, a_wildcard_is_below_its_name_and_never_the_name)
{
    cr_expect(host_matches("*.x.y", "a.x.y") && host_matches("*.x.y", "b.a.x.y"));
    cr_expect(!host_matches("*.x.y", "x.y") && !host_matches("*.x.y", "ax.y"));
    cr_expect(!host_matches("*.x.y", "a.x.y.z") && !host_matches("x.y", "a.x.y"));
    cr_expect(host_covers("*.x.y", "*.a.x.y") && !host_covers("*.a.x.y", "*.x.y"));
    cr_expect(!host_covers("*.x.y", "*.z.y") && !host_overlaps("*.x.y", "*.z.y"));
}

Test(explain, answers_for_hosts)
{
    static const struct {
        const char *target;
        int allowed;
        const char *says, *note;
    } rows[] = {
        {"api.example.org", 1, "*.example.org:443", NULL},
        {"API.example.org.:443", 1, "*.example.org:443", NULL},
        {"api.example.org:80", 0, "not with this port, and egress is \"deny\"",
         "{\"host\": \"api.example.org\", \"ports\": [80]} would allow it; so would --allow "
         "api.example.org:80."},
        {"example.org", 0, "No rule names it", "so would --allow example.org."},
        {"bad.example.org:443", 0, "deny beats allow", NULL},
        {"10.1.2.3:5432", 1, "10.1.0.0/16:5432", NULL},
        {"[::ffff:10.1.2.3]:5432", 1, "10.1.0.0/16:5432", NULL},
        {"10.1.9.3:5432", 0, "10.1.9.0/24:*", NULL},
        {"[::10.1.9.3]:5432", 0, "10.1.9.0/24:*", NULL},
        {"10.2.2.3:5432", 0, "private address",
         "{\"cidr\": \"10.2.2.3/32\", \"ports\": [5432]} would allow it; so would --allow "
         "10.2.2.3/32:5432."},
        {"[fd00::1]:22", 0, "private address", "--allow [fd00::1/128]:22."},
        {"169.254.169.254:80", 1, "169.254.169.254/32:80", NULL},
        {"169.254.169.254:443", 0, "not with this port", "--allow 169.254.169.254/32."},
        {"169.254.170.2:443", 0, "metadata address", "--allow 169.254.170.2/32."},
        {"[64:ff9b::a00:1]:443", 0, "NAT64", "--allow [64:ff9b::a00:1/128]."},
        {"8.8.8.8:53", 0, "No rule names it", "--allow 8.8.8.8/32:53."},
        {"127.0.0.1:443", 0, "never reached", NULL},
        {"0.0.0.0:443", 0, "never reached", NULL},
        {"224.0.0.251:5353", 0, "never reached", NULL},
        {"[::1]:443", 0, "never reached", NULL},
        {"[::ffff:127.0.0.1]:443", 0, "never reached", NULL},
        {"198.18.0.16:443", 0, "stands for a name", NULL},
        {"0x7f.1", -22, "IP address", NULL},
        {"a.b:99999", -22, "not a port", NULL},
        {"*.example.org", -22, "where none may be", NULL},
    };
    struct policy *p = load(example);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = {0};
        struct err err = {0};
        int r = policy_explain_host(p, rows[i].target, false, &out, &err);
        cr_expect(r == rows[i].allowed, "%s: %d", rows[i].target, r);
        cr_expect(strstr(r < 0 ? err.detail : out.data, rows[i].says), "%s: %s", rows[i].target,
                  r < 0 ? err.detail : out.data);
        cr_expect(r != 0 || !rows[i].note || strstr(out.data, rows[i].note), "%s: %s",
                  rows[i].target, out.data);
        cr_expect(r != 0 || rows[i].note || !strstr(out.data, "note:"), "%s: %s", rows[i].target,
                  out.data);
        cr_expect(r < 1 || !strstr(out.data, "note:"), "%s: %s", rows[i].target, out.data);
        buf_fini(&out);
    }
    policy_free(p);
}

Test(explain, answers_for_paths)
{
    static const struct {
        const char *path;
        int allowed;
        const char *decision;
    } rows[] = {
        {"/etc/shadow", 0, "absent"},
        {"/etc/passwd", 1, "read-only"},
        {"/usr/bin/env", 1, "read-only"},
        {"/root/.ssh/id_rsa", 0, "absent"},
        {"/home/me/x", 0, "absent"},
        {"/home/user/x", 1, "read-write"},
        {"/tmp/x", 1, "read-write"},
        {"/var/run/docker.sock", 0, "absent"},
        {"/sys/kernel", 0, "absent"},
        {"/opt/toolchain/gcc", 1, "read-only"},
        {"/opt/toolchain/cache/x", 1, "read-write"},
        {"/opt/toolchainx", 0, "absent"},
        {"/data", 1, "read-only"},
        {"/w", 1, "read-write"},
        {"/w/keep/me/x", 1, "protected"},
        {"/w/keep", 1, "read-write"},
        {"/w/.git/hooks/pre-commit", 1, "protected"},
        {"/w/.git/config", 1, "read-write"},
        {"/etc/ssl/private/key", 0, "absent"},
        {"/", 1, "read-only"},
    };
    struct policy *p = load(example);
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = {0};
        struct err err = {0};
        char wanted[64];
        int r = policy_explain_path(p, rows[i].path, "/w", true, &out, &err);
        cr_expect(r == rows[i].allowed, "%s: %d %s", rows[i].path, r, out.data);
        snprintf(wanted, sizeof wanted, "\"decision\": \"%s\"", rows[i].decision);
        cr_expect(strstr(out.data, wanted), "%s: %s", rows[i].path, out.data);
        buf_fini(&out);
    }
    struct buf out = {0};
    struct err err = {0};
    cr_expect(policy_explain_path(p, "/a/../b", NULL, false, &out, &err) < 0);
    cr_expect(policy_explain_path(p, "relative", NULL, false, &out, &err) < 0);
    policy_free(p);
}

/* What explain says of the rootfs is what the plan of the runtime makes. */
Test(explain, agrees_with_the_plan_of_the_rootfs)
{
    static struct spec s;
    static struct rootfs_plan plan;
    static struct rootfs_host host;
    struct policy *p = load("{\"version\": 1}");
    struct err err = {0};
    for (int i = 0; i < ROOTFS_TOP_COUNT; i++)
        host.tops[i].exists = true;
    spec_init(&s);
    cr_assert(policy_compile(p, &s, &err) == 0);
    rootfs_plan_make(&s, &host, &plan);
    cr_assert(plan.count > 30);
    for (uint32_t i = 0; i < plan.count; i++) {
        char path[256];
        struct buf out = {0};
        snprintf(path, sizeof path, "/%s", plan.steps[i].path);
        if (strcmp(path, "/") == 0 || strncmp(path, "/dev/", 5) == 0)
            continue;
        cr_expect(policy_explain_path(p, path, NULL, false, &out, &err) == 1,
                  "the plan makes %s and explain says: %s", path, out.data);
        /* Only what is bound is the host's. */
        bool bound = plan.steps[i].kind == ROOTFS_BIND || plan.steps[i].kind == ROOTFS_BIND_NOEXEC;
        cr_expect(bound || !out.data || !strstr(out.data, "Public configuration"), "%s", path);
        buf_fini(&out);
    }
    policy_free(p);
}

Test(explain, answers_for_system_calls)
{
    struct policy *p = load(example);
    struct buf out = {0};
    struct err err = {0};
    cr_expect(policy_explain_syscall(p, "read", false, &out, &err) == 1);
    cr_expect(policy_explain_syscall(p, "userfaultfd", false, &out, &err) == 1);
    cr_expect(strstr(out.data, "t:8:") && strstr(out.data, "process.seccomp_allow"), "%s",
              out.data);
    cr_expect(policy_explain_syscall(p, "ptrace", true, &out, &err) == 0);
    cr_expect(policy_explain_syscall(p, "mount", true, &out, &err) == 0);
    cr_expect(policy_explain_syscall(p, "no_such_call", true, &out, &err) < 0);
    buf_fini(&out);
    policy_free(p);
    cr_assert(policy_new(&p, "open", &err) == 0);
    cr_expect(policy_explain_syscall(p, "ptrace", true, &out, &err) == 1);
    buf_fini(&out);
    policy_free(p);
}

/* ---- the plan ---- */

static const char *member(const struct json_node *step, const char *name)
{
    const struct json_node *m = json_member(step, name);
    cr_assert(m, "a step has no %s", name);
    return m->kind == JSON_STRING ? m->text : NULL;
}

/* The steps of a plan, read back by berth's own strict reader. */
static const struct json_node *plan_of(struct arena *arena, const struct policy *p)
{
    struct buf out = {0};
    struct err err = {0};
    struct json_error error = {0};
    const struct json_node *root = NULL;
    cr_assert_eq(policy_explain_plan(p, "/w", true, &out, &err), 1, "%s", err.detail);
    int r = json_parse(arena, out.data, out.length, 1 << 20, false, &root, &error);
    cr_assert_eq(r, 0, "%u:%u %s", error.at.line, error.at.column, error.message);
    const struct json_node *plan = json_member(root, "plan");
    cr_assert(plan && plan->kind == JSON_ARRAY);
    buf_fini(&out);
    return plan->first;
}

static const struct json_node *find_step(const struct json_node *from, const char *action,
                                         const char *subject)
{
    while (from && !(strcmp(member(from, "action"), action) == 0 &&
                     strcmp(member(from, "subject"), subject) == 0))
        from = from->next;
    return from;
}

Test(plan, has_every_step_of_the_plans_that_the_runtime_applies)
{
    static struct rootfs_plan rootfs;
    static struct spec s;
    static struct rootfs_host host;
    static struct agent_landlock_path paths[LANDLOCK_PATHS_MAX];
    static const char *const presets[] = {"locked-down", "balanced", "open"};
    for (int i = 0; i < ROOTFS_TOP_COUNT; i++)
        host.tops[i].exists = true;
    for (size_t k = 0; k < 3; k++) {
        struct arena arena = {0};
        struct policy *p = NULL;
        struct err err = {0};
        uint32_t count = 0;
        cr_assert_eq(policy_new(&p, presets[k], &err), 0);
        spec_init(&s);
        snprintf(s.workspace.mount_path, sizeof s.workspace.mount_path, "/w");
        cr_assert_eq(policy_compile(p, &s, &err), 0);
        const struct json_node *steps = plan_of(&arena, p);
        rootfs_plan_make(&s, &host, &rootfs);
        for (uint32_t i = 0; i < rootfs.count; i++) {
            static const char *const actions[] = {
                [ROOTFS_DIRECTORY] = "mkdir", [ROOTFS_SYMLINK] = "link",
                [ROOTFS_FILE] = "write",      [ROOTFS_FILE_DEFAULT] = "write",
                [ROOTFS_BIND] = "bind",       [ROOTFS_BIND_NOEXEC] = "bind"};
            char path[256];
            snprintf(path, sizeof path, "/%s", rootfs.steps[i].path);
            const struct json_node *step = find_step(steps, actions[rootfs.steps[i].kind], path);
            cr_assert(step, "%s: nothing for %s", presets[k], path);
            cr_expect(!rootfs.steps[i].optional || member(step, "if"), "%s", path);
        }
        for (const char *const *name = rootfs_proc_masked; *name; name++) {
            char path[64];
            snprintf(path, sizeof path, "/proc/%.*s", (int)strcspn(*name, "/"), *name);
            cr_expect(find_step(steps, "mask", path), "%s", path);
        }
        for (uint32_t i = 0; i < s.protect_count; i++) {
            char path[SPEC_PROTECT_PATH_MAX + 8];
            snprintf(path, sizeof path, "/w/%s", s.protect[i].path);
            const struct json_node *step = find_step(steps, "protect", path);
            cr_assert(step, "%s", path);
            cr_expect_str_eq(member(step, "key"), "filesystem.protect");
            cr_expect(strncmp(member(step, "origin"), "preset ", 7) == 0);
        }
        cr_assert_eq(landlock_plan(&s, 7, paths, &count, &err), 0);
        cr_assert_gt(count, 5);
        for (uint32_t i = 0; i < count; i++)
            cr_expect(find_step(steps, "landlock", paths[i].path), "%s", paths[i].path);
        arena_fini(&arena);
        policy_free(p);
    }
}

/* Whoever reads it relies on the order: a mount after the root that it is in, filters at the end.
 */
Test(plan, stands_in_the_order_of_a_start)
{
    static const char *const order[][2] = {
        {"require", "limits.memory"},
        {"limit", "memory"},
        {"limit", "cpus"},
        {"make", "user"},
        {"make", "net"},
        {"mount", "/"},
        {"mkdir", "/tmp"},
        {"bind", "/usr"},
        {"mount", "/dev"},
        {"mount", "/proc"},
        {"bind", "/w"},
        {"hold", "/w/.git"},
        {"protect", "/w/.git/hooks"},
        {"hold", "/w/keep"},
        {"protect", "/w/keep/me"},
        {"protect", "/w/.git/commondir"},
        {"mask", "sockets"},
        {"bind", "/opt/toolchain"},
        {"bind", "/data"},
        {"bind", "/opt/toolchain/cache"},
        {"pivot", "/"},
        {"landlock", "/"},
        {"landlock", "/w"},
        {"filter", "base"},
        {"take", "uid 1234"},
        {"add", "userfaultfd"},
        {"filter", "default"},
        {"set", "LANG"},
        {"limit", "time"},
    };
    struct arena arena = {0};
    struct policy *p = load(example);
    const struct json_node *at = plan_of(&arena, p);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        at = find_step(at, order[i][0], order[i][1]);
        cr_assert(at, "no %s %s, or too early", order[i][0], order[i][1]);
    }
    arena_fini(&arena);
    policy_free(p);
}

Test(plan, is_one_line_for_each_step_and_hides_nothing_that_a_terminal_would_obey)
{
    struct policy *p = load("{\"version\": 1, \"limits\": {\"pids\": \"unlimited\"}, "
                            "\"filesystem\": {\"image\": \"dir:/srv/image\"}}");
    struct buf out = {0};
    struct err err = {0};
    cr_assert_eq(policy_explain_plan(p, "/w/\xc2\x9b", false, &out, &err), 1);
    cr_expect(strstr(out.data, "pids") && strstr(out.data, "  # limits.pids: t:1:"), "%s",
              out.data);
    cr_expect(strstr(out.data, "overlay of /srv/image"));
    cr_expect_null(strstr(out.data, "\xc2\x9b"));
    cr_expect(strstr(out.data, "/w/\\xc2"));
    static const char *const wrong[] = {"", "w", "/w/", "/w/../x", "/a//b", "/w\033", NULL};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        cr_expect(policy_explain_plan(p, wrong[i], false, &out, &err) < 0, "%s",
                  wrong[i] ? wrong[i] : "none");
    buf_fini(&out);
    policy_free(p);
    /* Where a mount and a protected path are in each other's way, there is no plan. */
    p = load("{\"version\": 1, \"filesystem\": {\"read_only\": [\"/w/.envrc\"]}}");
    cr_expect(policy_explain_plan(p, "/w", false, &out, &err) < 0);
    cr_expect(strstr(err.detail, "protected"), "%s", err.detail);
    policy_free(p);
    buf_fini(&out);
}

/* ---- the command line ---- */

static int run(const char *a, const char *b, const char *c, const char *d, const char *e)
{
    char *argv[] = {(char *)(uintptr_t) "policy",
                    (char *)(uintptr_t)a,
                    (char *)(uintptr_t)b,
                    (char *)(uintptr_t)c,
                    (char *)(uintptr_t)d,
                    (char *)(uintptr_t)e,
                    NULL};
    int argc = 0;
    while (argv[argc])
        argc++;
    return cli_policy(argc, argv);
}

Test(cli, exit_status_tells_allowed_denied_and_error)
{
    cr_redirect_stdout();
    cr_redirect_stderr();
    cr_expect(run("check", "balanced", "open", "locked-down", NULL) == 0);
    cr_expect(run("check", "nothing", NULL, NULL, NULL) == 125);
    cr_expect(run("check", "open", "--within", "balanced", NULL) == 125);
    cr_expect(run("check", "locked-down", "--within=balanced", "--json", NULL) == 0);
    cr_expect(run("check", NULL, NULL, NULL, NULL) == 125);
    cr_expect(run("explain", "--syscall", "ptrace", NULL, NULL) == 1);
    cr_expect(run("explain", "open", "--syscall", "ptrace", NULL) == 0);
    cr_expect(run("explain", "--path", "/etc/shadow", "--json", NULL) == 1);
    cr_expect(run("explain", "--host", "example.org", NULL, NULL) == 1);
    cr_expect(run("explain", "--host", "1.2.3.4.5", NULL, NULL) == 125);
    cr_expect(run("explain", "--host", NULL, NULL, NULL) == 125);
    cr_expect(run("explain", NULL, NULL, NULL, NULL) == 0);
    cr_expect(run("show", "open", "--json", NULL, NULL) == 0);
    cr_expect(run("show", "open", "--source", NULL, NULL) == 0);
    cr_expect(run("show", "open", "balanced", NULL, NULL) == 125);
    cr_expect(run("show", "open", "--syscall", "read", NULL) == 125);
    cr_expect(run("schema", NULL, NULL, NULL, NULL) == 0);
    cr_expect(run("shema", NULL, NULL, NULL, NULL) == 125);
    cr_expect(run("--help", NULL, NULL, NULL, NULL) == 0);
    cr_expect(run(NULL, NULL, NULL, NULL, NULL) == 125);
    cr_expect(run("check", "--wat", NULL, NULL, NULL) == 125);
}

/* Of its own: what the redirection keeps of two plans is all that fits. */
Test(cli, a_plan_is_an_answer_that_denies_nothing)
{
    cr_redirect_stdout();
    cr_redirect_stderr();
    cr_expect(run("explain", "--plan", "--workspace", "/w", NULL) == 0);
    cr_expect(run("explain", "--plan", "--workspace=/w", "--json", "open") == 0);
    cr_expect(run("explain", "--plan", "--workspace", "w", NULL) == 125);
    cr_expect(run("explain", "--plan", "--path", "/w", NULL) == 125);
    cr_expect(run("show", "--plan", NULL, NULL, NULL) == 125);
}

Test(cli, an_error_is_one_line_that_begins_with_berth)
{
    char text[512] = "";
    cr_redirect_stderr();
    cr_expect(run("check", "balenced", NULL, NULL, NULL) == 125);
    FILE *f = cr_get_redirected_stderr();
    cr_assert(fgets(text, sizeof text, f));
    cr_expect(strncmp(text, "berth: not_found: ", 18) == 0, "%s", text);
    cr_expect(strstr(text, "balanced"));
    cr_expect(!fgets(text, sizeof text, f));
}

Test(cli, help_shows_an_example_first)
{
    char text[512] = "";
    cr_redirect_stdout();
    cr_expect(run("explain", "--help", NULL, NULL, NULL) == 0);
    cr_assert(fgets(text, sizeof text, cr_get_redirected_stdout()));
    cr_expect(strncmp(text, "Example:", 8) == 0);
}
