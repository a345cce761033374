/* This file tests authorship (POL-2): what extends what, how lists merge, which origin is told, and
 * that a file which can't be read leaves nothing.
 */
#include "policy/model.h"
#include "policy/policy.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void)
{
    strcpy(dir, "/tmp/berth-policy-XXXXXX");
    cr_assert(mkdtemp(dir));
}

static void drop_dir(void)
{
    static const char *const names[] = {"a.jsonc", "b.jsonc", "sub/c.jsonc", "big.jsonc",
                                        "fifo",    "link",    "sub",         NULL};
    char path[128];
    for (int i = 0; names[i]; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (unlink(path) < 0)
            rmdir(path);
    }
    for (int i = 0; i < 12; i++) {
        snprintf(path, sizeof path, "%s/n%d.jsonc", dir, i);
        unlink(path);
    }
    cr_assert(rmdir(dir) == 0, "%s is not empty", dir);
}

TestSuite(merge, .init = make_dir, .fini = drop_dir);

static const char *path_of(const char *name)
{
    static char path[4][128];
    static unsigned turn;
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static const char *put(const char *name, const char *text)
{
    const char *path = path_of(name);
    FILE *f = fopen(path, "w");
    cr_assert(f && fputs(text, f) >= 0 && fclose(f) == 0);
    return path;
}

static struct policy *load(const char *path)
{
    struct policy *policy = NULL;
    struct err err = {0};
    int r = policy_load_file(&policy, path, &err);
    cr_assert(r == 0, "%s: %s", err.subject, err.detail);
    return policy;
}

/* The error of a file that must be refused. */
static struct err refusal(const char *path)
{
    struct policy *policy = NULL;
    struct err err = {0};
    cr_assert(policy_load_file(&policy, path, &err) < 0 && !policy, "%s was accepted", path);
    return err;
}

static const char *shown(const struct policy *policy, enum schema_row_id row)
{
    static struct buf out;
    buf_fini(&out);
    value_print(&schema_rows[row], &policy->values[row], &out);
    return buf_text(&out);
}

Test(merge, a_file_without_extends_stands_on_balanced)
{
    struct policy *p = load(put("a.jsonc", "{\"version\": 1, \"limits\": {\"pids\": 7}}"));
    cr_expect_str_eq(shown(p, ROW_PIDS), "7");
    cr_expect(p->values[ROW_PIDS].origin.kind == ORIGIN_FILE);
    cr_expect(p->values[ROW_MEMORY].origin.kind == ORIGIN_PRESET);
    cr_expect_str_eq(p->values[ROW_MEMORY].origin.name, "balanced");
    cr_expect(strstr(shown(p, ROW_PROTECT), ".git/hooks/"));
    policy_free(p);
}

Test(merge, files_extend_files_relative_to_themselves_and_the_later_wins)
{
    mkdir(path_of("sub"), 0755);
    put("b.jsonc", "{\"version\": 1, \"extends\": \"locked-down\", \"limits\": {\"pids\": 8, "
                   "\"memory\": \"64MiB\"}}");
    put("sub/c.jsonc", "{\"version\": 1, \"extends\": \"../b.jsonc\", \"limits\": {\"pids\": 9}}");
    struct policy *p =
        load(put("a.jsonc", "{\"version\": 1, \"extends\": \"./sub/c.jsonc\", \"process\": "
                            "{\"user\": \"root\"}}"));
    cr_expect_str_eq(shown(p, ROW_PIDS), "9");
    cr_expect_str_eq(shown(p, ROW_MEMORY), "64MiB");
    cr_expect_str_eq(shown(p, ROW_USER), "root");
    cr_expect_str_eq(shown(p, ROW_SECCOMP), "strict");
    cr_expect(strstr(p->values[ROW_PIDS].origin.name, "sub/c.jsonc"));
    policy_free(p);
}

Test(merge, lists_add_or_replace_as_their_row_says)
{
    put("b.jsonc",
        "{\"version\": 1, \"filesystem\": {\"read_only\": [\"/opt/a\"], \"protect\": [\"x\"]}, "
        "\"network\": {\"allow\": [{\"host\": \"a.b\"}], \"deny\": [{\"host\": \"c.d\"}]}, "
        "\"process\": {\"env\": {\"A\": \"1\", \"B\": \"1\"}, \"seccomp_allow\": "
        "[\"userfaultfd\"]}, \"requires\": [\"gpu\"]}");
    struct policy *p = load(put(
        "a.jsonc",
        "{\"version\": 1, \"extends\": \"b.jsonc\", \"filesystem\": {\"read_only\": [\"/opt/b\"], "
        "\"protect\": [\"y\", \"x\"]}, \"network\": {\"allow\": [{\"host\": \"e.f\"}], \"deny\": "
        "[{\"host\": \"g.h\"}]}, \"process\": {\"env\": {\"B\": \"2\", \"C\": \"2\"}, "
        "\"seccomp_allow\": []}, \"requires\": [\"limits.cpu\"]}"));
    struct err err = {0};
    cr_expect_str_eq(shown(p, ROW_READ_ONLY), "/opt/a, /opt/b");
    cr_expect(strstr(shown(p, ROW_PROTECT), ", x, y"));
    cr_expect_str_eq(shown(p, ROW_ALLOW), "e.f:443");
    cr_expect_str_eq(shown(p, ROW_DENY), "c.d:*, g.h:*");
    cr_expect_str_eq(shown(p, ROW_ENV), "A=1, B=2, C=2");
    cr_expect_str_eq(shown(p, ROW_SECCOMP_ALLOW), "none");
    cr_expect_str_eq(shown(p, ROW_REQUIRES), "gpu, limits.cpu");
    /* Flags add, also to what files replace. */
    cr_assert(policy_set(p, "network.allow", "i.j:8080", "--allow", &err) == 0);
    cr_assert(policy_set(p, "filesystem.read_only", "/opt/c", "--ro", &err) == 0);
    cr_expect_str_eq(shown(p, ROW_ALLOW), "e.f:443, i.j:8080");
    cr_expect_str_eq(shown(p, ROW_READ_ONLY), "/opt/a, /opt/b, /opt/c");
    policy_free(p);
}

Test(merge, published_ports_have_one_place_each_and_flags_add)
{
    static struct spec spec;
    struct err err = {0};
    struct policy *p =
        load(put("a.jsonc", "{\"version\": 1, \"network\": {\"publish\": [3000, \"0:3000\"]}}"));
    cr_assert(policy_set(p, "network.publish", "8080:3001", "--publish", &err) == 0);
    cr_expect_str_eq(shown(p, ROW_PUBLISH), "3000, 0:3000, 8080:3001");
    spec_init(&spec);
    cr_assert(policy_compile(p, &spec, &err) == 0);
    static const struct spec_publish want[] = {{3000, 3000}, {0, 3000}, {8080, 3001}};
    cr_assert_eq(spec.network.publish_count, 3);
    cr_expect(memcmp(spec.network.publish, want, sizeof want) == 0);
    cr_expect(policy_set(p, "network.publish", "3000:81", "--publish", &err) < 0);
    cr_expect(strstr(err.detail, "3000 of the host leads to 3000 already"), "%s", err.detail);
    policy_free(p);
}

Test(merge, naming_a_presets_path_makes_it_asked_for)
{
    static struct spec spec;
    struct policy *p =
        load(put("a.jsonc", "{\"version\": 1, \"filesystem\": {\"protect\": [\".git/hooks\"]}}"));
    struct err err = {0};
    spec_init(&spec);
    cr_assert(policy_compile(p, &spec, &err) == 0);
    unsigned hooks = 0, defaults = 0;
    for (uint32_t i = 0; i < spec.protect_count; i++) {
        if (strcmp(spec.protect[i].path, ".git/hooks") == 0 && !spec.protect[i].is_default)
            hooks++;
        defaults += spec.protect[i].is_default;
    }
    cr_expect(hooks == 1 && defaults == spec.protect_count - 1);
    policy_free(p);
}

Test(merge, a_refused_flag_leaves_the_policy_as_it_was)
{
    struct policy *p = load(put("a.jsonc", "{\"version\": 1, \"filesystem\": {\"read_only\": "
                                           "[\"/opt/a\"]}}"));
    struct err err = {0};
    cr_expect(policy_set(p, "filesystem.read_write", "/opt/a", "--rw", &err) < 0);
    cr_expect(strstr(err.subject, "--rw") && strstr(err.detail, "a.jsonc:1:"), "%s: %s",
              err.subject, err.detail);
    cr_expect_str_eq(shown(p, ROW_READ_WRITE), "none");
    cr_expect(policy_set(p, "limits.memory", "7G", "--memory", &err) < 0);
    cr_expect(strstr(err.subject, "--memory") && strstr(err.detail, "7GiB"));
    cr_expect_str_eq(shown(p, ROW_MEMORY), "4GiB");
    cr_expect(policy_set(p, "limits.nothing", "7", "--x", &err) < 0);
    policy_free(p);
}

Test(merge, two_sources_at_one_place_are_told_with_both_places)
{
    put("b.jsonc", "{\"version\": 1, \"filesystem\": {\"read_only\": [{\"source\": \"/opt/a\", "
                   "\"target\": \"/t\"}]}}");
    struct err err = refusal(put("a.jsonc", "{\"version\": 1, \"extends\": \"./b.jsonc\", "
                                            "\"filesystem\": {\"read_only\": [{\"source\": "
                                            "\"/opt/b\", \"target\": \"/t\"}]}}"));
    cr_expect(strstr(err.subject, "a.jsonc:1:") && strstr(err.detail, "b.jsonc:1:"), "%s: %s",
              err.subject, err.detail);
}

Test(merge, a_cycle_and_a_long_chain_are_refused)
{
    put("b.jsonc", "{\"version\": 1, \"extends\": \"./a.jsonc\"}");
    struct err err = refusal(put("a.jsonc", "{\"version\": 1, \"extends\": \"./b.jsonc\"}"));
    cr_expect(strstr(err.subject, "b.jsonc:1:27: extends") && strstr(err.detail, "itself"),
              "%s: %s", err.subject, err.detail);
    for (int i = 0; i < 12; i++) {
        char name[32], text[96];
        snprintf(name, sizeof name, "n%d.jsonc", i);
        snprintf(text, sizeof text, "{\"version\": 1, \"extends\": \"n%d.jsonc\"}", i + 1);
        put(name, i == 11 ? "{\"version\": 1}" : text);
    }
    err = refusal(path_of("n0.jsonc"));
    cr_expect(strstr(err.detail, "More than 8"), "%s", err.detail);
    policy_free(load(path_of("n6.jsonc")));
}

Test(merge, a_missing_base_is_told_with_the_line_that_names_it)
{
    struct err err = refusal(put("a.jsonc", "{\"version\": 1,\n \"extends\": \"./gone.jsonc\"}"));
    cr_expect(strstr(err.subject, "gone.jsonc") && strstr(err.detail, "a.jsonc:2:13"), "%s: %s",
              err.subject, err.detail);
    cr_expect(err.code == ERR_NOT_FOUND);
}

Test(merge, ten_megabytes_are_refused_before_they_are_read, .timeout = 5)
{
    const char *path = path_of("big.jsonc");
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    struct timespec begin, end;
    cr_assert(fd >= 0 && ftruncate(fd, 10 << 20) == 0 && close(fd) == 0);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    struct err err = refusal(path);
    clock_gettime(CLOCK_MONOTONIC, &end);
    cr_expect(err.code == ERR_TOO_LARGE && strstr(err.detail, "10485760"), "%s", err.detail);
    double ms =
        (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6;
    cr_expect(ms < 100, "%f ms", ms);
}

Test(merge, only_regular_files_are_read, .timeout = 5)
{
    const char *fifo = path_of("fifo");
    cr_assert(mkfifo(fifo, 0600) == 0);
    cr_expect(strstr(refusal(fifo).detail, "not a regular file"));
    cr_expect(strstr(refusal("/dev/zero").detail, "not a regular file"));
    cr_expect(strstr(refusal(dir).detail, "not a regular file"));
}

Test(merge, a_name_that_is_neither_preset_nor_file_gets_a_suggestion)
{
    struct err err = refusal("balenced");
    cr_expect(err.code == ERR_NOT_FOUND && strstr(err.detail, "Did you mean \"balanced\"?"), "%s",
              err.detail);
    cr_expect(refusal("./nothing.jsonc").sys != 0);
}

Test(merge, too_many_entries_together_are_refused)
{
    struct policy *p = load("balanced");
    struct err err = {0};
    char value[32];
    for (int i = 0; i < SPEC_MOUNTS_MAX; i++) {
        snprintf(value, sizeof value, "/opt/m%d", i);
        cr_assert(policy_set(p, i % 2 ? "filesystem.read_only" : "filesystem.read_write", value,
                             "--x", &err) == 0,
                  "%s", err.detail);
    }
    cr_expect(policy_set(p, "filesystem.read_only", "/opt/more", "--ro", &err) < 0);
    cr_expect(strstr(err.detail, "32 are the most"), "%s", err.detail);
    char *big = malloc(SPEC_ENV_MAX + 8);
    memset(big, 'x', SPEC_ENV_MAX);
    memcpy(big, "A=", 2);
    big[SPEC_ENV_MAX] = 0;
    cr_expect(policy_set(p, "process.env", big, "--env", &err) < 0);
    cr_expect(strstr(err.detail, "more than 16384 bytes"), "%s", err.detail);
    free(big);
    policy_free(p);
}

/* Of rules about how that is reached which may be reached, where nothing may. */
Test(merge, POL_1_what_means_nothing_is_refused_when_nobody_adds_to_it)
{
    static const struct {
        const char *network, *flag, *value;
        bool good;
    } rows[] = {
        {"\"sni\": \"off\"", NULL, NULL, false},
        {"\"allow_private\": true", NULL, NULL, false},
        {"\"sni\": \"match\", \"allow_private\": false", NULL, NULL, true},
        {"\"sni\": \"off\", \"egress\": \"allow\"", NULL, NULL, true},
        {"\"allow_private\": true, \"allow\": [{\"host\": \"a.example\"}]", NULL, NULL, true},
        {"\"sni\": \"off\"", "network.allow", "a.example", true},
        {"\"egress\": \"deny\"", "network.sni", "off", false},
    };
    static struct spec spec;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char text[256];
        struct policy *p = NULL;
        struct err err = {0};
        snprintf(text, sizeof text, "{\"version\": 1, \"network\": {%s}}", rows[i].network);
        cr_assert_eq(policy_load_text(&p, "file", text, strlen(text), &err), 0, "%s", err.detail);
        if (rows[i].flag)
            cr_assert_eq(policy_set(p, rows[i].flag, rows[i].value, "--x", &err), 0, "%s",
                         err.detail);
        int r = policy_compile(p, &spec, &err);
        cr_expect_eq(r == 0, rows[i].good, "%s: %s", text, err.detail);
        cr_expect(r == 0 ||
                      (strstr(err.detail, "means nothing") && strstr(err.detail, "\"allow\"")),
                  "%s", err.detail);
        policy_free(p);
    }
    /* What a preset says of reaching is no mistake of who denies. */
    struct policy *p = NULL;
    struct err err = {0};
    cr_assert_eq(policy_new(&p, "open", &err), 0);
    cr_assert_eq(policy_set(p, "network.egress", "deny", "--net", &err), 0, "%s", err.detail);
    cr_expect_eq(policy_compile(p, &spec, &err), 0, "%s", err.detail);
    policy_free(p);
}
