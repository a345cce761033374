/* This file tests what a token may, over TCP: the whole table of routes, with tokens of two
 * workspaces; the provider is a fake, and what is refused must not reach it (docs/adr/0015).
 */
#include "front_harness.h"

TestSuite(front_tokens, .init = front_harness_start, .fini = front_harness_stop, .timeout = 100);

/* The route's path in a workspace, with the query that it cannot do without. */
static void path_of(const struct route *route, const char *workspace, char *ret, size_t size)
{
    struct buf out = {0};
    for (const char *at = route->path; *at;) {
        if (*at != '{') {
            buf_putc(&out, *at++);
            continue;
        }
        buf_puts(&out, at[1] == 'w'   ? workspace
                       : at[1] == 's' ? "s1"
                       : at[1] == 'e' ? "e1"
                       : at[1] == 't' ? "t-1"
                                      : "v1");
        at += 3;
    }
    if (strstr(route->query, "path"))
        buf_puts(&out, "?path=/f");
    if (strstr(route->query, "follow"))
        buf_puts(&out, "?follow=false");
    snprintf(ret, size, "%s", buf_text(&out));
    buf_fini(&out);
}

static int status_of(const char *answer)
{
    return strncmp(answer, "HTTP/1.1 ", 9) == 0 ? atoi(answer + 9) : 0;
}

static const char *body_of(const char *answer)
{
    const char *end = strstr(answer, "\r\n\r\n");
    return end ? end + 4 : "";
}

static int ask(const struct route *route, const char *token, const char *workspace)
{
    char path[256];
    path_of(route, workspace, path, sizeof path);
    return status_of(front_ask_tcp(token, http_method_name(route->method), path, NULL, false));
}

Test(front_tokens, W_1_without_a_valid_token_every_route_is_401_and_nothing_is_asked)
{
    static char first[4096];
    static const char *const tokens[] = {NULL, "garbage", "TA", "t", "ta tb"};
    unsigned before = fake.asked_count;
    for (unsigned i = 0; i < ROUTE_COUNT; i++)
        for (unsigned t = 0; t < ARRAY_LENGTH(tokens); t++) {
            char path[256];
            const struct route *route = route_at((enum route_id)i);
            path_of(route, "a", path, sizeof path);
            const char *answer =
                front_ask_tcp(tokens[t], http_method_name(route->method), path, NULL, true);
            cr_expect_eq(status_of(answer), 401, "%s: %s", route->name, answer);
            cr_expect(strstr(answer, "WWW-Authenticate: Bearer"), "%s", answer);
            if (route->method == METHOD_HEAD)
                continue;
            if (!first[0])
                snprintf(first, sizeof first, "%s", body_of(answer));
            cr_expect_str_eq(body_of(answer), first, "%s says more", route->name);
        }
    cr_expect_eq(status_of(front_ask_tcp(NULL, "GET", "/nowhere", NULL, true)), 401);
    cr_expect_eq(status_of(front_ask_tcp("x", "PATCH", "/v1/health?x=1", NULL, true)), 401);
    cr_expect_eq(fake.asked_count, before);
}

Test(front_tokens, W_3_another_workspace_is_404_on_every_route_in_words_of_what_is_not_there)
{
    unsigned walked = 0;
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        if (http_scope_rule(route->scope) != SCOPE_RULE_VERB)
            continue;
        if (route->later && !route->later[0])
            continue; /* its place is kept; until it is built it is 404 to everybody */
        unsigned before = fake.asked_count;
        cr_expect_eq(ask(route, "ta", "b"), 404, "%s", route->name);
        cr_expect_eq(ask(route, "tr", "b"), 404, "%s: the verb is not told there", route->name);
        cr_expect_eq(ask(route, "tb", "a"), 404, "%s", route->name);
        cr_expect_eq(ask(route, "tb", "ot"), 404, "%s: a part of a name is no name", route->name);
        cr_expect_eq(fake.asked_count, before, "%s was asked", route->name);
        int own = ask(route, "ta", "a"), second = ask(route, "tb", "other");
        cr_expect(own != 0 && own != 401 && own != 403 && own != 404, "%s: %d", route->name, own);
        cr_expect_eq(own, second, "%s: %d and %d", route->name, own, second);
        walked++;
    }
    cr_expect_gt(walked, 35u);
    /* Byte for byte what an absent one is in a workspace of one's own. */
    static char foreign[4096], absent[4096];
    snprintf(foreign, sizeof foreign, "%s",
             body_of(front_ask_tcp("ta", "GET", "/v1/workspaces/b/sessions/none", NULL, true)));
    snprintf(absent, sizeof absent, "%s",
             body_of(front_ask_tcp("ta", "GET", "/v1/workspaces/a/sessions/none", NULL, true)));
    cr_expect(strstr(foreign, "There is no such session"), "%s", foreign);
    cr_expect(strstr(absent, "There is no such session"), "%s", absent);
}

Test(front_tokens, W_3_a_verb_that_it_has_not_is_403_and_what_crosses_workspaces_always)
{
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        unsigned before = fake.asked_count;
        int status = ask(route, "tr", "a"), all = ask(route, "ta", "a");
        switch (http_scope_rule(route->scope)) {
        case SCOPE_RULE_NONE:
            cr_expect(status == 403 && all == 403, "%s: %d, %d", route->name, status, all);
            cr_expect_eq(fake.asked_count, before, "%s was asked", route->name);
            break;
        case SCOPE_RULE_ALONE: {
            int alone = ask(route, "tm", "a");
            cr_expect(status == 403 && all == 403 && alone == 200, "%s: %d, %d, %d", route->name,
                      status, all, alone);
            break;
        }
        case SCOPE_RULE_ANY:
            cr_expect(status == all && status != 403, "%s: %d, %d", route->name, status, all);
            break;
        case SCOPE_RULE_VERB:
            cr_expect((status == 403) == (route->scope != SCOPE_READ), "%s: %d", route->name,
                      status);
            break;
        }
    }
}

Test(front_tokens, W_4_a_token_for_metrics_is_for_nothing_else)
{
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        int status = ask(route, "tm", "a");
        switch (http_scope_rule(route->scope)) {
        case SCOPE_RULE_VERB:
            cr_expect_eq(status, 404, "%s: %d", route->name, status);
            break;
        case SCOPE_RULE_NONE:
            cr_expect_eq(status, 403, "%s: %d", route->name, status);
            break;
        default:
            cr_expect_eq(status, 200, "%s: %d", route->name, status);
        }
    }
}

Test(front_tokens, W_4_the_health_of_the_berth_has_no_number_of_others)
{
    const char *body = body_of(front_ask_tcp("tr", "GET", "/v1/health", NULL, true));
    cr_expect(strstr(body, "\"version\"") && !strstr(body, "asked"), "%s", body);
}

Test(front_tokens, W_6_no_directory_of_the_host_can_be_named)
{
    static const char *const bodies[] = {
        "{\"workspace\":{\"persistence\":{\"kind\":\"directory\",\"path\":\"/srv/projects/x\"}}}",
        "{\"filesystem\":{\"read_only\":[\"/srv/projects/x\"]}}",
        "{\"filesystem\":{\"read_write\":[\"/srv/projects/x\"]}}",
        "{\"image\":\"dir:/srv/projects/x\"}",
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(bodies); i++) {
        unsigned before = fake.asked_count;
        const char *answer =
            front_ask_tcp("ta", "POST", "/v1/workspaces/a/sessions", bodies[i], true);
        cr_expect_eq(status_of(answer), 403, "%s: %s", bodies[i], answer);
        cr_expect_eq(fake.asked_count, before);
        answer = front_ask("POST", "/v1/workspaces/a/sessions", "", bodies[i]);
        cr_expect_eq(status_of(answer), 201, "%s: %s", bodies[i], answer);
    }
}

Test(front_tokens, who_asks_is_the_tokens_id_and_its_socket_is_no_askers)
{
    const char *answer = front_ask_tcp("tb", "POST", "/v1/workspaces/b/sessions", "{}", true);
    cr_expect_eq(status_of(answer), 201, "%s", answer);
    cr_expect(strstr(fake_asked(), "owner=t-b") && strstr(fake_asked(), "who=token t-b"), "%s",
              fake_asked());
    cr_expect_eq(fake.client_socket, -1);
    front_ask_tcp("tb", "POST", "/v1/workspaces/b/sessions", "{\"owner\":\"me\"}", true);
    cr_expect(strstr(fake_asked(), "owner=me"), "%s", fake_asked());
}

static const struct {
    const char *body, *asked;
    int status;
} made[] = {
    {"{\"workspaces\":[\"a\"]}",
     "token_create name=- workspaces=a verbs=read lifecycle exec files.read files.write lives=0",
     201},
    {"{\"workspaces\":[\"a\",\"b\",\"a\"],\"verbs\":[\"files\",\"read\",\"files.read\"],\"name\":"
     "\"n\",\"lives_ms\":5000}",
     "token_create name=n workspaces=a b verbs=files.read files.write read lives=5000", 201},
    {"{\"verbs\":[\"metrics\"]}", "token_create name=- workspaces= verbs=metrics lives=0", 201},
    {"{\"verbs\":[\"metrics\"],\"workspaces\":[\"a\"]}", "", 400},
    {"{\"verbs\":[\"metrics\",\"read\"]}", "", 400},
    {"{\"verbs\":[\"read\",\"metrics\"],\"workspaces\":[\"a\"]}", "", 400},
    {"{\"verbs\":[\"read\"]}", "", 400},
    {"{}", "", 400},
    {"{\"workspaces\":[]}", "", 400},
    {"{\"workspaces\":[\"a b\"]}", "", 400},
    {"{\"workspaces\":[\"*\"]}", "", 400},
    {"{\"workspaces\":[1]}", "", 400},
    {"{\"workspaces\":[\"a\"],\"verbs\":[]}", "", 400},
    {"{\"workspaces\":[\"a\"],\"verbs\":[\"operator\"]}", "", 400},
    {"{\"workspaces\":[\"a\"],\"verbs\":[\"owner\"]}", "", 400},
    {"{\"workspaces\":[\"a\"],\"verbs\":[\"read exec\"]}", "", 400},
    {"{\"workspaces\":[\"a\"],\"verbs\":[\"\"]}", "", 400},
    {"{\"workspaces\":[\"a\"],\"lives_ms\":0}", "", 400},
    {"{\"workspaces\":[\"a\"],\"secret\":\"x\"}", "", 400},
};

Test(front_tokens, a_token_is_made_as_it_was_asked_for_or_refused)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(made); i++) {
        const char *answer = front_ask("POST", "/v1/tokens", "", made[i].body);
        cr_expect_eq(status_of(answer), made[i].status, "%s: %s", made[i].body, answer);
        cr_expect(strncmp(fake_asked(), made[i].asked, strlen(made[i].asked)) == 0, "%s",
                  fake_asked());
    }
    const char *answer =
        front_ask("POST", "/v1/tokens", "Idempotency-Key: k\r\n", "{\"workspaces\":[\"a\"]}");
    cr_expect_eq(status_of(answer), 400, "a stored answer would be the token: %s", answer);
    front_ask("GET", "/v1/tokens?after=t-1&limit=3", "", NULL);
    cr_expect_str_eq(fake_asked(), "token_list after=t-1 limit=3");
    front_ask("DELETE", "/v1/tokens/t-1", "", NULL);
    cr_expect_str_eq(fake_asked(), "token_revoke t-1");
}

/* ---- bound to a policy ----------------------------------------------------------------------- */

Test(front_tokens, W_8_on_every_route_with_a_session_the_provider_is_told_which_policy_binds)
{
    unsigned walked = 0;
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        if (!strstr(route->path, "/sessions") || route->later)
            continue;
        unsigned before = fake.asked_count;
        snprintf(fake.policy, sizeof fake.policy, "not asked");
        int status = ask(route, "tp", "a");
        if (fake.asked_count == before)
            continue; /* its body or its target was refused: nobody was asked */
        cr_expect_str_eq(fake.policy, "hash", "%s (%d) says \"%s\"", route->name, status,
                         fake.policy);
        ask(route, "ta", "a");
        cr_expect_str_eq(fake.policy, "-", "%s of who is not bound", route->name);
        walked++;
    }
    cr_expect_gt(walked, 20u);
}

static const struct {
    const char *method, *path, *body, *pointer;
    int status;
} bound[] = {
    {"POST", "sessions", "{}", NULL, 201},
    {"POST", "sessions", "{\"limits\":{\"pids\":77}}", NULL, 201},
    {"POST", "sessions", "{\"limits\":{\"pids\":78}}", "/limits/pids", 422},
    {"POST", "sessions", "{\"policy\":\"open\"}", "", 422},
    {"POST", "sessions", "{\"policy\":\"balanced\"}", "", 422},
    {"POST", "sessions", "{\"policy\":{\"version\":1,\"limits\":{\"pids\":78}}}", "", 422},
    {"POST", "sessions", "{\"network\":{\"egress\":\"public-only\"}}", "/network/egress", 422},
    {"POST", "sessions", "{\"network\":{\"allow\":[{\"host\":\"a.example.org\"}]}}", NULL, 201},
    {"POST", "sessions", "{\"network\":{\"allow\":[{\"host\":\"a.example.com\"}]}}",
     "/network/allow/0", 422},
    {"POST", "sessions", "{\"process\":{\"user\":\"root\"}}", "/process/user", 422},
    {"POST", "sessions", "{\"process\":{\"seccomp\":\"debug\"}}", "/process/seccomp", 422},
    {"PUT", "sessions/s1/network", "{\"egress\":\"deny\"}", NULL, 200},
    {"PUT", "sessions/s1/network", "{\"allow\":[{\"host\":\"b.example.org\"}]}", NULL, 200},
    {"PUT", "sessions/s1/network", "{\"egress\":\"allow\"}", "/egress", 422},
    {"PUT", "sessions/s1/network", "{\"allow\":[{\"cidr\":\"192.0.2.0/24\"}]}", "/allow/0", 422},
    {"POST", "sessions/s1/ports", "{\"port\":3000}", "/port", 422},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"]}", NULL, 201},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"user\":\"1000\"}", NULL, 201},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"user\":\"root\"}", "/user", 422},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"user\":\"0\"}", "/user", 422},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"user\":\"5:0\"}", "/user", 422},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"timeout_ms\":60000}", NULL, 201},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"timeout_ms\":60001}", "/timeout_ms", 422},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"grace_ms\":10000}", NULL, 201},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"grace_ms\":10001}", "/grace_ms", 422},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"keep_children\":true}", "/keep_children",
     422},
    {"POST", "sessions/s1/execs", "{\"argv\":[\"id\"],\"output_limit_bytes\":1048577}",
     "/output_limit_bytes", 422},
};

Test(front_tokens, W_8_nothing_beyond_its_policy_is_had_by_any_member_of_any_body)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(bound); i++) {
        char path[96], pointer[64] = "";
        unsigned before = fake.asked_count;
        snprintf(path, sizeof path, "/v1/workspaces/a/%s", bound[i].path);
        const char *answer = front_ask_tcp("tp", bound[i].method, path, bound[i].body, true);
        cr_expect_eq(status_of(answer), bound[i].status, "%s %s: %s", path, bound[i].body, answer);
        if (bound[i].status < 400)
            continue;
        cr_expect_eq(fake.asked_count, before, "%s was asked", bound[i].body);
        cr_expect(strstr(answer, "policy_rejected"), "%s", answer);
        if (bound[i].pointer[0]) {
            snprintf(pointer, sizeof pointer, "\"pointer\":\"%s\"", bound[i].pointer);
            cr_expect(strstr(answer, pointer), "no %s in %s", pointer, answer);
        }
        answer = front_ask_tcp("ta", bound[i].method, path, bound[i].body, true);
        cr_expect_lt(status_of(answer), 300, "who is not bound: %s: %s", bound[i].body, answer);
    }
}

Test(front_tokens, W_8_what_a_create_leaves_out_is_the_tokens_policy)
{
    front_ask_tcp("tp", "POST", "/v1/workspaces/a/sessions", "{}", true);
    cr_expect_eq(fake.spec.limits.pids, 77u);
    cr_expect_eq(fake.spec.network.allow_count, 1u);
    front_ask_tcp("ta", "POST", "/v1/workspaces/a/sessions", "{}", true);
    cr_expect_neq(fake.spec.limits.pids, 77u);
}

Test(front_tokens, W_8_a_policy_that_this_berth_cannot_read_allows_nothing)
{
    static const struct {
        const char *method, *path, *body;
    } asked[] = {{"POST", "/v1/workspaces/a/sessions", "{}"},
                 {"POST", "/v1/workspaces/a/sessions", "{\"policy\":\"locked-down\"}"},
                 {"PUT", "/v1/workspaces/a/sessions/s1/network", "{\"egress\":\"deny\"}"},
                 {"POST", "/v1/workspaces/a/sessions/s1/execs", "{\"argv\":[\"id\"]}"}};
    for (unsigned i = 0; i < ARRAY_LENGTH(asked); i++) {
        unsigned before = fake.asked_count;
        const char *answer =
            front_ask_tcp("tx", asked[i].method, asked[i].path, asked[i].body, true);
        cr_expect_eq(status_of(answer), 403, "%s: %s", asked[i].body, answer);
        cr_expect_eq(fake.asked_count, before);
    }
}

Test(front_tokens, W_8_a_token_is_made_with_the_policy_that_was_asked_for_whole)
{
    const char *answer =
        front_ask("POST", "/v1/tokens", "", "{\"workspaces\":[\"a\"],\"policy\":" FAKE_POLICY "}");
    cr_assert_eq(status_of(answer), 201, "%s", answer);
    const char *text = strstr(fake_asked(), "policy=");
    cr_assert(text && !strchr(text, '\n'), "%s", fake_asked());
    text += strlen("policy=");
    cr_expect(strstr(text, "\"extends\": \"balanced\"") && strstr(text, "\"pids\": 77"), "%s",
              text);
    cr_expect(!strstr(text, "\"memory\""), "a default is none that was asked for: %s", text);
    /* As it is kept, it is the policy that was meant. */
    struct policy *kept = NULL, *meant = NULL;
    struct err err;
    cr_assert_eq(policy_load_text(&kept, "kept", text, strlen(text), &err), 0, "%s", err.detail);
    cr_assert_eq(policy_load_text(&meant, "meant", FAKE_POLICY, strlen(FAKE_POLICY), &err), 0);
    cr_expect_eq(policy_within(kept, meant, &err), 0, "%s", err.detail);
    cr_expect_eq(policy_within(meant, kept, &err), 0, "%s", err.detail);
    policy_free(kept);
    policy_free(meant);
    static const char *const wrong[] = {
        "{\"workspaces\":[\"a\"],\"policy\":\"nothing\"}",
        "{\"workspaces\":[\"a\"],\"policy\":{\"version\":1,\"limits\":{\"pidz\":1}}}",
        "{\"workspaces\":[\"a\"],\"policy\":1}",
        "{\"verbs\":[\"metrics\"],\"policy\":\"balanced\"}",
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(wrong); i++) {
        unsigned before = fake.asked_count;
        answer = front_ask("POST", "/v1/tokens", "", wrong[i]);
        cr_expect_eq(status_of(answer), 400, "%s: %s", wrong[i], answer);
        cr_expect(strstr(answer, "\"pointer\":\"/policy"), "%s", answer);
        cr_expect_eq(fake.asked_count, before);
    }
}
