/* This file tests what a request's body says of a policy: that each row of the schema arrives, or
 * is refused at its place.
 */
#include "policy/model.h"
#include "provider/capability.h"
#include "runtime/base/fd.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct arena arena;

static const struct json_node *parse(const char *text)
{
    const struct json_node *root = NULL;
    struct json_error error = {0};
    arena_fini(&arena);
    cr_assert(json_parse(&arena, text, strlen(text), 1 << 20, false, &root, &error) == 0, "%s: %s",
              text, error.message);
    return root;
}

/* The pointer of the error that `text` makes; "-" when it makes none. */
static const char *pointer_of(const char *text, struct err *err)
{
    static char pointer[POLICY_POINTER_MAX];
    static struct spec spec;
    struct policy *policy = NULL;
    const struct json_node *body = parse(text);
    spec_init(&spec);
    snprintf(spec.workspace.mount_path, sizeof spec.workspace.mount_path, "/workspace");
    int r = policy_load_body(&policy, body, err);
    if (r == 0)
        r = policy_compile(policy, &spec, err);
    policy_free(policy);
    if (r == 0)
        return "-";
    policy_body_pointer(body, err, pointer);
    return pointer;
}

static const struct {
    const char *body, *pointer;
} wrong[] = {
    {"{\"limits\":{\"memory\":\"lots\"}}", "/limits/memory"},
    {"{\"limits\":{\"memroy\":1}}", "/limits/memroy"},
    {"{\"limits\":\n  {\"pids\": 5,\n   \"cpus\": \"1\"}}", "/limits/cpus"},
    {"{\"network\":{\"allow\":[{\"host\":\"a.example.org\"},{\"host\":\"*\"}]}}",
     "/network/allow/1/host"},
    {"{\"network\":{\"allow\":[{\"host\":\"a.example.org\",\"ports\":[1,70000]}]}}",
     "/network/allow/0/ports/1"},
    {"{\"filesystem\":{\"read_only\":[\"/a\",\"b\"]}}", "/filesystem/read_only/1"},
    {"{\"filesystem\":{\"read_only\":[\"/a\"],\"read_write\":[\"/a\"]}}",
     "/filesystem/read_write/0"},
    {"{\"filesystem\":{\"read_only\":[{\"source\":\"/a\",\"target\":\"/workspace/.git/hooks\"}],"
     "\"protect\":[\".git/hooks\"]}}",
     "/filesystem/read_only/0"},
    {"{\"process\":{\"env\":{\"A\":\"c\",\"a/b~\":1}}}", "/process/env/a~1b~0"},
    {"{\"requires\":[\"limits.memory\",\"limits.memry\"]}", "/requires/1"},
    {"{\"image\":\"host\",\"filesystem\":{\"image\":\"host\"}}", "/image"},
    {"{\"image\":\"/etc\"}", "/image"},
    {"{\"policy\":\"balancd\"}", "/policy"},
    {"{\"policy\":\"/etc/passwd\"}", "/policy"},
    {"{\"policy\":{\"version\":1,\"limits\":{\"pids\":-1}}}", "/policy/limits/pids"},
    {"{\"policy\":{\"version\":1,\"extends\":\"./other.jsonc\"}}", "/policy/extends"},
    {"{\"policy\":{\"version\":2}}", "/policy/version"},
    {"{\"policy\":{}}", "/policy"},
};

Test(policy_body, CAP_3_what_is_wrong_is_told_as_a_pointer_into_the_body)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(wrong); i++) {
        struct err err = {0};
        const char *pointer = pointer_of(wrong[i].body, &err);
        cr_expect_str_eq(pointer, wrong[i].pointer, "%s: %s: %s", wrong[i].body, err.subject,
                         err.detail);
        cr_expect(err.code == ERR_INVALID_REQUEST, "%s", wrong[i].body);
    }
}

Test(policy_body, a_body_that_says_nothing_is_the_preset_and_asks_for_no_limit)
{
    static struct spec spec, preset;
    struct policy *policy, *balanced;
    struct err err;
    spec_init(&spec);
    spec_init(&preset);
    cr_assert(policy_load_body(&policy, parse("{\"session_id\":\"s\"}"), &err) == 0);
    cr_assert(policy_new(&balanced, "balanced", &err) == 0);
    cr_assert(policy_compile(policy, &spec, &err) == 0);
    cr_assert(policy_compile(balanced, &preset, &err) == 0);
    cr_expect(memcmp(&spec, &preset, sizeof spec) == 0);
    cr_expect(spec.limits.asked == 0);
    policy_free(policy);
    policy_free(balanced);
}

Test(policy_body, members_of_the_body_lie_over_the_policy_that_it_names)
{
    static struct spec spec;
    struct policy *policy;
    struct err err;
    spec_init(&spec);
    cr_assert(policy_load_body(&policy,
                               parse("{\"policy\":{\"version\":1,\"extends\":\"locked-down\","
                                     "\"limits\":{\"pids\":100,\"memory\":\"1GiB\"}},"
                                     "\"limits\":{\"pids\":50}}"),
                               &err) == 0);
    cr_assert(policy_compile(policy, &spec, &err) == 0);
    cr_expect(spec.limits.pids == 50 && spec.limits.memory_bytes == 1 << 30);
    cr_expect(spec.limits.asked == (SPEC_LIMIT_PIDS | SPEC_LIMIT_MEMORY));
    policy_free(policy);
}

/* What the row's own example compiles to, alone in a body. */
static void check_row(const struct schema_row *row)
{
    static struct spec with, without;
    struct policy *policy = NULL, *plain = NULL;
    struct err err = {0};
    char body[512], section[64];
    const char *dot = strchr(row->key, '.');
    snprintf(section, sizeof section, "%.*s", dot ? (int)(dot - row->key) : 0, row->key);
    if (dot)
        snprintf(body, sizeof body, "{\"%s\":{\"%s\":%s}}", section, dot + 1, row->example);
    else
        snprintf(body, sizeof body, "{\"%s\":%s}", row->key, row->example);
    cr_assert(policy_load_body(&policy, parse(body), &err) == 0, "%s: %s", body, err.detail);
    cr_assert(policy_new(&plain, "balanced", &err) == 0);
    const struct policy_value *value = &policy->values[schema_find(row->key)];
    cr_expect(value->origin.kind == ORIGIN_FILE, "%s was dropped", row->key);
    cr_expect_str_eq(value->origin.name, POLICY_BODY_NAME);
    spec_init(&with);
    spec_init(&without);
    cr_assert(policy_compile(policy, &with, &err) == 0, "%s: %s", body, err.detail);
    cr_assert(policy_compile(plain, &without, &err) == 0);
    /* An example that is the preset's value changes nothing but what was asked for by name. */
    _cleanup_buf_ struct buf mine = {0}, its = {0};
    value_print(row, value, &mine);
    value_print(row, &plain->values[schema_find(row->key)], &its);
    if (strcmp(buf_text(&mine), buf_text(&its)) != 0 || row->asked)
        cr_expect(memcmp(&with, &without, sizeof with) != 0, "%s does not arrive", body);
    policy_free(policy);
    policy_free(plain);
}

Test(policy_body, CAP_3_every_row_of_the_schema_arrives_in_the_spec)
{
    unsigned seen = 0;
    for (int i = 0; i < ROW_COUNT; i++) {
        if (schema_rows[i].within == WITHIN_META)
            continue;
        check_row(&schema_rows[i]);
        seen++;
    }
    cr_expect(seen == ROW_COUNT - 2, "version and extends are of the policy alone");
}
