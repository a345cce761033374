/* This file tests paths for homes ("~/NAME") from a policy's text to the spec and to what `explain`
 * says of them; comparing with a ceiling is in policy_within.c.
 */
#include "policy/policy.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct policy *load(const char *text)
{
    struct policy *policy = NULL;
    struct err err = {0};
    int r = policy_load_text(&policy, "t", text, strlen(text), &err);
    cr_assert(r == 0, "%s: %s", err.subject, err.detail);
    return policy;
}

static const struct spec_protect *protected_in(const struct spec *s, const char *path)
{
    const struct spec_protect *found = NULL;
    for (uint32_t i = 0; i < s->protect_count; i++)
        if (strcmp(s->protect[i].path, path) == 0) {
            cr_expect(!found, "%s is there twice", path);
            found = &s->protect[i];
        }
    cr_assert(found, "%s is not there", path);
    return found;
}

Test(home_paths, are_one_entry_with_the_stronger_rule)
{
    static struct spec s;
    struct err err = {0};
    struct policy *p =
        load("{\"version\": 1, \"filesystem\": {\"protect\": [\"~/one\", \"~/two/\", "
             "\"two\", \"three\", \"~/three\", \".bashrc\", \"~/.zshrc\"]}}");
    spec_init(&s);
    strcpy(s.workspace_id, "w");
    strcpy(s.session_id, "s");
    strcpy(s.workspace.mount_path, "/workspace");
    cr_assert(policy_compile(p, &s, &err) == 0, "%s", err.detail);
    cr_assert(spec_check(&s, &err) == 0, "%s %s", err.subject, err.detail);
    static const struct {
        const char *path;
        uint8_t home, sign, is_default;
    } rows[] = {
        {"one", 1, 1, 0},        {"two", 0, 1, 0},        {"three", 0, 1, 0},
        {".bashrc", 0, 1, 0}, /* the preset's "~/.bashrc" still says what is found in homes */
        {".zshrc", 1, 1, 0},     {".profile", 1, 1, 1},   {".ssh", 1, 1, 1},
        {".gitconfig", 0, 0, 1}, {".git/hooks", 0, 0, 1},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct spec_protect *protect = protected_in(&s, rows[i].path);
        cr_expect(protect->home == rows[i].home && protect->home_sign == rows[i].sign &&
                      protect->is_default == rows[i].is_default,
                  "%s: %u %u %u", rows[i].path, protect->home, protect->home_sign,
                  protect->is_default);
    }
    char one[65], other[65];
    spec_hash(&s, one);
    for (uint32_t i = 0; i < s.protect_count; i++)
        s.protect[i].home = 0;
    spec_hash(&s, other);
    cr_expect(strcmp(one, other) != 0, "a spec that holds more is another one");
    policy_free(p);
}

Test(home_paths, are_twelve_in_balanced_and_none_in_locked_down)
{
    static const struct {
        const char *preset;
        unsigned home, sign;
    } rows[] = {{"balanced", 12, 12}, {"open", 12, 12}, {"locked-down", 0, 12}};
    static struct spec s;
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct policy *p = NULL;
        struct err err = {0};
        unsigned home = 0, sign = 0;
        spec_init(&s);
        cr_assert(policy_new(&p, rows[i].preset, &err) == 0 && policy_compile(p, &s, &err) == 0);
        for (uint32_t k = 0; k < s.protect_count; k++) {
            home += s.protect[k].home;
            sign += s.protect[k].home_sign;
        }
        cr_expect(home == rows[i].home && sign == rows[i].sign, "%s: %u, %u", rows[i].preset, home,
                  sign);
        cr_expect(!protected_in(&s, ".gitconfig")->home && !protected_in(&s, ".envrc")->home);
        cr_expect(protected_in(&s, ".ssh")->home == (rows[i].home > 0));
        policy_free(p);
    }
}

Test(home_paths, explain_says_when_they_are_protected)
{
    static const struct {
        const char *path;
        const char *says, *origin;
    } rows[] = {
        {"/w/.bashrc", "only if the workspace is a home directory", "preset balanced"},
        {"/w/.ssh/config", "protected where it exists", "preset balanced"},
        {"/w/both", "when its parent directory exists", "t:1:"},
        {"/w/both/x", "when its parent directory exists", "t:1:"},
        {"/w/mine/x", "elsewhere it can be made, and that is told at the end.", "t:1:"},
    };
    struct policy *p = load("{\"version\": 1, \"filesystem\": {\"protect\": [\"~/both\", \"both\", "
                            "\"~/mine\"]}}");
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf out = {0};
        struct err err = {0};
        cr_expect(policy_explain_path(p, rows[i].path, "/w", true, &out, &err) == 1);
        cr_expect(strstr(out.data, "\"decision\": \"protected\"") &&
                      strstr(out.data, rows[i].says) && strstr(out.data, rows[i].origin),
                  "%s: %s", rows[i].path, out.data);
        buf_fini(&out);
    }
    struct buf out = {0};
    struct err err = {0};
    cr_expect(policy_explain_path(p, "/w/~/mine", "/w", true, &out, &err) == 1);
    cr_expect(strstr(out.data, "read-write"), "%s", out.data);
    buf_fini(&out);
    cr_assert_eq(policy_explain_plan(p, "/w", true, &out, &err), 1, "%s", err.detail);
    cr_expect(strstr(out.data, "\"/w/.bashrc\"") && strstr(out.data, "the workspace is a home"));
    const char *both = strstr(out.data, "\"/w/both\"");
    cr_assert(both);
    cr_expect(!strstr(both + 1, "\"/w/both\"") && !strstr(out.data, "~/"), "one step for both");
    cr_expect(strncmp(strstr(both, "\"if\": "), "\"if\": \"its parent is there\"", 27) == 0,
              "%.200s", both);
    buf_fini(&out);
    policy_free(p);
}
