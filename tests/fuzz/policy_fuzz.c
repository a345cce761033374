/* This file feeds arbitrary bytes to the strict reader (libFuzzer). What is accepted must hold its
 * promises: it is within itself, it compiles into a spec whose shape is right, and what `show`
 * prints is a policy that means the same. It stops the process when one does not.
 */
#include "policy/json.h"
#include "policy/policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool holds, const char *what, const struct err *err)
{
    if (holds)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, err->subject, err->detail);
    abort();
}

static void check_plain_json(const char *text, size_t size)
{
    struct arena arena = {0};
    const struct json_node *root;
    struct json_error error = {0};
    struct err err = {0};
    int r = json_parse(&arena, text, size, 1 << 20, false, &root, &error);
    demand(r == 0 || (error.at.line > 0 && error.at.column > 0 && error.message[0]),
           "an error without a place or a sentence", &err);
    arena_fini(&arena);
}

static void check_shown(const struct policy *policy)
{
    struct buf once = {0}, again = {0};
    struct policy *copy = NULL;
    struct err err = {0};
    demand(policy_show(policy, true, false, &once) == 0, "show", &err);
    demand(policy_load_text(&copy, "shown", once.data, once.length, &err) == 0,
           "what was shown is no policy", &err);
    demand(policy_show(copy, true, false, &again) == 0, "show again", &err);
    demand(strcmp(once.data, again.data) == 0, "what was shown means something else", &err);
    demand(policy_within(policy, copy, &err) == 0 && policy_within(copy, policy, &err) == 0,
           "not within what was shown", &err);
    policy_free(copy);
    buf_fini(&once);
    buf_fini(&again);
}

static void check_compiled(const struct policy *policy)
{
    static struct spec spec;
    struct err err = {0};
    spec_init(&spec);
    strcpy(spec.workspace_id, "w");
    strcpy(spec.session_id, "s");
    strcpy(spec.workspace.mount_path, "/a-path-that-no-seed-names");
    if (policy_check_meaning(policy, &err) < 0) {
        demand(err.subject[0] && err.detail[0], "an error without a place or a sentence", &err);
        demand(policy_compile(policy, &spec, &err) < 0, "compiled what means nothing", &err);
        return;
    }
    int r = policy_compile(policy, &spec, &err);
    demand(r == 0 || strstr(err.detail, "protected") ||
               strstr(err.detail, "where the workspace is"),
           "compile", &err);
    if (r == 0)
        demand(spec_check(&spec, &err) == 0, "the shape of the spec", &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy *policy = NULL;
    struct err err = {0};
    check_plain_json((const char *)data, size);
    if (policy_load_text(&policy, "input", (const char *)data, size, &err) < 0) {
        demand(err.subject[0] && err.detail[0], "an error without a place or a sentence", &err);
        return 0;
    }
    demand(policy_within(policy, policy, &err) == 0, "not within itself", &err);
    check_shown(policy);
    check_compiled(policy);
    policy_free(policy);
    return 0;
}
