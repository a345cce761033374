/* This file tests tokens behind provider.h: what is kept of them, who is let in, and when that ends
 * (docs/adr/0015).
 */
#include "provider_fixture.h"

#include "runtime/base/sha256.h"

TestSuite(provider_token, .init = fixture_init, .fini = fixture_fini, .timeout = 100);

static int64_t over[8];
static unsigned over_count;

static void on_over(void *data, int64_t token)
{
    (void)data;
    over[over_count++ % ARRAY_LENGTH(over)] = token;
}

/* The options are copied at the start, so the engine is told here. */
static void listen_for_ends(void)
{
    fixture_provider->options.token_over = on_over;
    over_count = 0;
}

static struct client client;

static struct answer *create(const char *workspaces, const char *verbs, uint64_t lives_ms)
{
    const struct provider_token_new asked = {
        .name = "n", .workspaces = workspaces, .verbs = verbs, .lives_ms = lives_ms};
    provider_token_create(fixture_provider, client_call(&client, NULL, NULL, NULL, ""), &asked);
    fixture_until(&client.answer.came);
    return &client.answer;
}

static struct answer *revoke_token(const char *token_id)
{
    provider_token_revoke(fixture_provider, client_call(&client, NULL, NULL, NULL, ""), token_id);
    fixture_until(&client.answer.came);
    return &client.answer;
}

static struct answer *list(const char *after, unsigned limit)
{
    const struct provider_page page = {.after = after, .limit = limit};
    provider_token_list(fixture_provider, client_call(&client, NULL, NULL, NULL, ""), &page);
    fixture_until(&client.answer.came);
    return &client.answer;
}

/* The text of a member of the last answer. */
static void member(const char *name, char *ret, size_t size)
{
    char key[32];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *at = strstr(client.answer.text, key);
    cr_assert(at, "no %s in %s", name, client.answer.text);
    at += strlen(key);
    snprintf(ret, size, "%.*s", (int)strcspn(at, "\""), at);
}

static int64_t find(const char *text)
{
    return provider_token_find(fixture_provider, text, strlen(text));
}

static void make(const char *workspaces, uint64_t lives_ms, char text[96], char token_id[72])
{
    cr_assert_eq(create(workspaces, "read exec", lives_ms)->status, 201, "%s", client.answer.text);
    member("token", text, 96);
    member("token_id", token_id, 72);
}

Test(provider_token, W_2_it_is_shown_once_and_only_its_hash_is_kept)
{
    char text[96], token_id[72], hash[65], path[SPEC_PATH_MAX + 32];
    make("a b", 0, text, token_id);
    cr_expect_eq(strlen(text), 6u + 64u, "%s", text);
    cr_expect(strncmp(text, "berth_", 6) == 0, "%s", text);
    struct provider_token token;
    cr_assert(provider_token_get(fixture_provider, find(text), &token));
    cr_expect_str_eq(token.workspaces, "a b");
    cr_expect_str_eq(token.verbs, "read exec");
    cr_expect(!token.over);
    cr_expect_eq(list(NULL, 0)->status, 200);
    cr_expect(strstr(client.answer.text, token_id) && !strstr(client.answer.text, text + 6), "%s",
              client.answer.text);
    fixture_stop();
    sha256_hex(text, strlen(text), hash);
    bool hash_is_there = false;
    static char bytes[4 << 20];
    static const char *const files[] = {"ledger", "ledger-wal"};
    for (unsigned i = 0; i < ARRAY_LENGTH(files); i++) {
        snprintf(path, sizeof path, "%s/ledger/%s", fixture_config.state_dir, files[i]);
        FILE *file = fopen(path, "re");
        size_t n = file ? fread(bytes, 1, sizeof bytes, file) : 0;
        if (file)
            fclose(file);
        cr_expect(!memmem(bytes, n, text + 6, 64), "%s has the token", files[i]);
        hash_is_there |= memmem(bytes, n, hash, 64) != NULL;
    }
    cr_expect(hash_is_there, "what was looked for is written another way");
    fixture_open();
    cr_expect_neq(find(text), 0, "a restart keeps it");
}

Test(provider_token, W_2_what_is_no_token_is_nobodys)
{
    char text[96], token_id[72], other[160];
    make("a", 0, text, token_id);
    cr_expect_eq(find(""), 0);
    cr_expect_eq(find("berth_"), 0);
    cr_expect_eq(find(token_id), 0);
    for (unsigned i = 0; text[i]; i++) {
        snprintf(other, sizeof other, "%s", text);
        other[i] = other[i] == '0' ? '1' : '0';
        cr_expect_eq(find(other), 0, "%s", other);
        other[i] = 0;
        cr_expect_eq(find(other), 0, "%s", other);
    }
    snprintf(other, sizeof other, "%s0", text);
    cr_expect_eq(find(other), 0);
    snprintf(other, sizeof other, "%s ", text);
    cr_expect_eq(find(other), 0);
    cr_expect_eq(provider_token_find(fixture_provider, text, strlen(text) - 1), 0);
    snprintf(other, sizeof other, "%s", text);
    for (char *at = other + 6; *at; at++)
        if (*at >= 'a' && *at <= 'f')
            *at = (char)(*at - 'a' + 'A');
    cr_expect_eq(find(other), 0, "one spelling alone");
    cr_expect_neq(find(text), 0);
}

Test(provider_token, W_5_a_revoked_one_is_over_at_once_and_after_a_restart)
{
    char text[96], token_id[72], kept[96], kept_id[72];
    make("a", 0, text, token_id);
    make("a", 0, kept, kept_id);
    listen_for_ends();
    int64_t number = find(text);
    provider_token_revoke(fixture_provider, client_call(&client, NULL, NULL, NULL, ""), token_id);
    fixture_until(&client.answer.came);
    cr_expect_eq(client.answer.status, 200, "%s", client.answer.text);
    cr_expect_eq(over_count, 1u);
    cr_expect_eq(over[0], number);
    cr_expect_eq(find(text), 0);
    cr_expect_neq(find(kept), 0);
    char at[64], again[64];
    member("revoked_at", at, sizeof at);
    cr_expect_eq(revoke_token(token_id)->status, 200, "it may be repeated");
    member("revoked_at", again, sizeof again);
    cr_expect_str_eq(at, again);
    cr_expect_eq(over_count, 1u);
    cr_expect_eq(revoke_token("t-nothing")->status, 404);
    fixture_restart();
    cr_expect_eq(find(text), 0);
    cr_expect_neq(find(kept), 0);
}

Test(provider_token, W_5_one_that_expires_is_told_of_and_over)
{
    char text[96], token_id[72];
    make("a", 1000, text, token_id);
    listen_for_ends();
    cr_expect_neq(find(text), 0);
    int64_t by = now_boot_ms() + 30000;
    while (over_count == 0 && now_boot_ms() < by)
        fixture_for_ms(10);
    cr_expect_eq(over_count, 1u, "nobody was told");
    cr_expect_eq(find(text), 0);
    fixture_restart();
    cr_expect_eq(find(text), 0);
}

Test(provider_token, a_list_has_pages_and_each_of_them_once)
{
    char text[96], token_id[72], next[72] = "";
    for (unsigned i = 0; i < 5; i++)
        make("a", 0, text, token_id);
    unsigned seen = 0, pages = 0;
    do {
        cr_assert_eq(list(next, 2)->status, 200);
        for (const char *at = client.answer.text; (at = strstr(at, "\"token_id\"")); at++)
            seen++;
        pages++;
        if (strstr(client.answer.text, "\"next\":null"))
            break;
        member("next", next, sizeof next);
    } while (pages < 9);
    cr_expect_eq(seen, 5u);
    cr_expect_eq(pages, 3u);
}

Test(provider_token, its_last_use_is_kept_coarsely)
{
    char text[96], token_id[72];
    make("a", 0, text, token_id);
    cr_expect(strstr(list(NULL, 0)->text, "\"used_at\":null"), "%s", client.answer.text);
    find(text);
    fixture_for_ms(50);
    char first[64], second[64];
    list(NULL, 0);
    member("used_at", first, sizeof first);
    find(text);
    fixture_for_ms(20);
    list(NULL, 0);
    member("used_at", second, sizeof second);
    cr_expect_str_eq(first, second, "it is written at each use");
    fixture_restart();
    list(NULL, 0);
    member("used_at", second, sizeof second);
    cr_expect_str_eq(first, second);
}

Test(provider_token, words_are_found_whole)
{
    cr_expect(provider_token_lists("a b c", "a"));
    cr_expect(provider_token_lists("a b c", "c"));
    cr_expect(!provider_token_lists("ab b c", "a"));
    cr_expect(!provider_token_lists("ab b c", "bc"));
    cr_expect(!provider_token_lists("", "a"));
    cr_expect(!provider_token_lists("files.read", "files"));
    cr_expect(!provider_token_lists("a b", "a b"));
    cr_expect(!provider_token_lists("a b", ""));
}

/* ---- bound to a policy ----------------------------------------------------------------------- */

static const char kept_policy[] = "{\"limits\": {\"pids\": 77}}";

Test(provider_token, W_8_its_policy_is_kept_whole_and_after_a_restart)
{
    char text[96];
    const struct provider_token_new asked = {
        .workspaces = "a", .verbs = "read", .policy = kept_policy};
    provider_token_create(fixture_provider, client_call(&client, NULL, NULL, NULL, ""), &asked);
    fixture_until(&client.answer.came);
    cr_assert_eq(client.answer.status, 201, "%s", client.answer.text);
    member("token", text, sizeof text);
    for (int i = 0; i < 2; i++) {
        struct provider_token token;
        char hash[65];
        sha256_hex(kept_policy, strlen(kept_policy), hash);
        cr_assert(provider_token_get(fixture_provider, find(text), &token));
        cr_expect_str_eq(token.policy, kept_policy);
        cr_expect_str_eq(token.policy_hash, hash);
        cr_expect(strstr(list(NULL, 0)->text, "\"policy\":{\"limits\": {\"pids\": 77}},"), "%s",
                  client.answer.text);
        fixture_restart();
    }
    make("a", 0, text, (char[72]){0});
    struct provider_token token;
    cr_assert(provider_token_get(fixture_provider, find(text), &token));
    cr_expect_null(token.policy);
    cr_expect_null(token.policy_hash);
}

static struct provider_call *bound_call(const char *session_id, const char *policy)
{
    struct provider_call *call = client_call(&client, "w", session_id, NULL, "");
    call->policy = policy;
    return call;
}

static int create_as(const char *session_id, const char *policy)
{
    spec_for_test(&client_spec, "w", session_id);
    const struct provider_create create = {
        .spec = &client_spec, .owner = "me", .labels_json = "{}", .client_socket = -1};
    provider_session_create(fixture_provider, bound_call(session_id, policy), &create);
    fixture_until(&client.answer.came);
    return client.answer.status;
}

static bool streamed;
static void on_end(void *data, const struct err *err)
{
    *(int *)data = err ? (int)err->code : 0;
    streamed = true;
}
static bool no_event(void *data, uint64_t seq, const char *type, const char *json, size_t length)
{
    (void)data, (void)seq, (void)type, (void)json, (void)length;
    return true;
}

static void on_files(void *data, const struct provider_files_reply *reply)
{
    *(int *)data = reply->err ? (int)reply->err->code : 0;
    streamed = true;
}

/* How each thing that names a session ends for who is bound to `policy`: an error's code, 0. */
static unsigned walk(const char *policy, int ret[16])
{
    static const enum session_event verbs[] = {SESSION_EVENT_PARK_STOP, SESSION_EVENT_RESUME,
                                               SESSION_EVENT_PARK_FREEZE, SESSION_EVENT_RESUME,
                                               SESSION_EVENT_INTERRUPT};
    static const char *const argv[] = {"true", NULL};
    struct provider *p = fixture_provider;
    unsigned n = 0;
    struct err err;
    for (unsigned i = 0; i < ARRAY_LENGTH(verbs); i++) {
        const struct provider_verb what = {.verb = verbs[i], .client_socket = -1};
        provider_session_verb(p, bound_call("s", policy), &what);
        fixture_until(&client.answer.came);
        ret[n++] = client.answer.status >= 400 ? (int)client.answer.err.code : 0;
    }
    static struct spec_network rules;
    rules.egress = SPEC_EGRESS_DENY;
    provider_session_network(p, bound_call("s", policy),
                             &(struct provider_network){.network = &rules});
    fixture_until(&client.answer.came);
    ret[n++] = client.answer.status >= 400 ? (int)client.answer.err.code : 0;
    provider_exec_start(p, bound_call("s", policy),
                        &(struct provider_exec){.argv = argv,
                                                .exec_id = policy ? policy : "free",
                                                .timeout_ms = UINT64_MAX,
                                                .idle_timeout_ms = UINT64_MAX,
                                                .grace_ms = UINT64_MAX});
    fixture_until(&client.answer.came);
    ret[n++] = client.answer.status >= 400 ? (int)client.answer.err.code : 0;
    void (*const reads[])(struct provider *, const struct provider_call *) = {
        provider_session_get, provider_session_usage, provider_session_ports};
    for (unsigned i = 0; i < ARRAY_LENGTH(reads); i++) {
        reads[i](p, bound_call("s", policy));
        fixture_until(&client.answer.came);
        ret[n++] = client.answer.status >= 400 ? (int)client.answer.err.code : 0;
    }
    provider_exec_list(p, bound_call("s", policy), &(struct provider_page){0});
    fixture_until(&client.answer.came);
    ret[n++] = client.answer.status >= 400 ? (int)client.answer.err.code : 0;
    const struct provider_follow follow = {.event = no_event, .end = on_end, .data = &ret[n]};
    streamed = false;
    cr_assert(provider_events_follow(p, bound_call("s", policy), &follow, &err));
    fixture_until(&streamed);
    n++;
    struct files_request request;
    files_request_init(&request, FILES_STAT);
    snprintf(request.path, sizeof request.path, "/workspace");
    streamed = false;
    provider_files(p, bound_call("s", policy),
                   &(struct provider_files){.request = &request, .data_in = -1, .data_out = -1},
                   on_files, &ret[n]);
    if (!policy || strcmp(policy, "mine") == 0) { /* the fake has no file worker to answer */
        provider_forget(p, &ret[n]);
        return n;
    }
    fixture_until(&streamed);
    return n + 1;
}

Test(provider_token, W_8_sessions_of_another_policy_are_not_there_for_any_verb)
{
    int found[16] = {0};
    cr_assert_eq(create_as("s", "mine"), 201, "%s", client.answer.text);
    unsigned count = walk("yours", found);
    cr_assert_eq(count, 13u);
    for (unsigned i = 0; i < count; i++)
        cr_expect_eq(found[i], ERR_NOT_FOUND, "%u: %d", i, found[i]);
    memset(found, 0, sizeof found);
    count = walk("mine", found);
    for (unsigned i = 0; i < count; i++)
        cr_expect_eq(found[i], 0, "its own: %u: %d", i, found[i]);
    memset(found, 0, sizeof found);
    count = walk(NULL, found);
    for (unsigned i = 0; i < count; i++)
        cr_expect_eq(found[i], 0, "of who is not bound: %u: %d", i, found[i]);
}

Test(provider_token, W_8_lists_have_its_sessions_alone_and_names_are_taken_all_the_same)
{
    cr_assert_eq(create_as("m", "mine"), 201, "%s", client.answer.text);
    cr_assert_eq(create_as("y", "yours"), 201, "%s", client.answer.text);
    cr_assert_eq(create_as("f", NULL), 201, "%s", client.answer.text);
    static const struct {
        const char *policy, *has[4];
    } lists[] = {{"mine", {"m"}}, {"yours", {"y"}}, {"none", {NULL}}, {NULL, {"f", "m", "y"}}};
    for (unsigned i = 0; i < ARRAY_LENGTH(lists); i++) {
        unsigned count = 0, listed = 0;
        provider_session_list(fixture_provider, bound_call(NULL, lists[i].policy),
                              &(struct provider_page){0});
        fixture_until(&client.answer.came);
        for (; lists[i].has[count]; count++) {
            char member_of[48];
            snprintf(member_of, sizeof member_of, "\"session_id\":\"%s\"", lists[i].has[count]);
            cr_expect(strstr(client.answer.text, member_of), "%s", client.answer.text);
        }
        for (const char *at = client.answer.text; (at = strstr(at, "\"session_id\":")); at++)
            listed++;
        cr_expect_eq(listed, count, "%s", client.answer.text);
    }
    cr_expect_eq(create_as("y", "mine"), 409);
    cr_expect_eq(client.answer.err.code, ERR_SESSION_EXISTS, "%s", client.answer.text);
    /* Another life of a name is of who made that one. */
    const struct provider_verb destroy = {.verb = SESSION_EVENT_DESTROY, .client_socket = -1};
    provider_session_verb(fixture_provider, bound_call("y", "yours"), &destroy);
    fixture_until(&client.answer.came);
    cr_assert_eq(client.answer.status, 200, "%s", client.answer.text);
    while (create_as("y", "mine") == 409)
        fixture_for_ms(2);
    cr_assert_eq(client.answer.status, 201, "%s", client.answer.text);
    provider_session_get(fixture_provider, bound_call("y", "yours"));
    fixture_until(&client.answer.came);
    cr_expect_eq(client.answer.status, 404);
    fixture_restart();
    provider_session_get(fixture_provider, bound_call("y", "mine"));
    fixture_until(&client.answer.came);
    cr_expect_eq(client.answer.status, 200);
}
