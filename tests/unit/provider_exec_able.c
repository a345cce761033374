/* This file tests commands of sessions that lack something of the host, one id or cgroups, with a
 * launcher and inits of its own: what they cannot do is refused and leaves nothing.
 */
#include "provider_fixture.h"

static void init_with_session(void)
{
    static struct client c;
    fixture_init();
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
}

static void init_with_one_id(void)
{
    static struct client c;
    fixture_init();
    fake.one_id = true;
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
}

static void init_without_cgroup(void)
{
    static struct client c;
    fixture_init();
    fake.no_cgroups = true;
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
}

/* A test's init comes after its suite's, not in its place. */
TestSuite(provider_exec_whole, .init = init_with_session, .fini = fixture_fini, .timeout = 60);
TestSuite(provider_exec_single, .init = init_with_one_id, .fini = fixture_fini, .timeout = 60);
TestSuite(provider_exec_alone, .init = init_without_cgroup, .fini = fixture_fini, .timeout = 60);

/* Of those that are begun. */
static const char *exec_user;
static bool execs_keep_children;

static struct answer *exec_do(struct client *c, const char *exec_id, const char *program,
                              const char *key, uint64_t wait_ms)
{
    const char *argv[] = {program, "x y", NULL};
    struct provider_exec exec = {.exec_id = exec_id,
                                 .argv = argv,
                                 .user = exec_user,
                                 .keep_children = execs_keep_children,
                                 .timeout_ms = UINT64_MAX,
                                 .idle_timeout_ms = UINT64_MAX,
                                 .grace_ms = UINT64_MAX,
                                 .wait_ms = wait_ms};
    provider_exec_start(fixture_provider, client_call(c, "w", "s", key, "/execs"), &exec);
    cr_assert_not(c->answer.came, "a reply from inside the call");
    fixture_until(&c->answer.came);
    return &c->answer;
}

static int64_t status_of(const char *exec_id)
{
    static struct client c;
    client_call(&c, "w", "s", NULL, "");
    c.call.exec_id = exec_id;
    provider_exec_get(fixture_provider, &c.call, 0);
    fixture_until(&c.answer.came);
    return c.answer.status;
}

static struct fake_box *box(void)
{
    for (unsigned i = 0; i < FAKE_BOXES; i++)
        if (fake.boxes[i])
            return fake.boxes[i];
    cr_assert_fail("no session");
    return NULL;
}

#define HAS(c, wanted) cr_assert(strstr((c).answer.text, (wanted)), "%s", (c).answer.text)

static void expect_used(const char *wanted)
{
    static struct client c;
    provider_session_usage(fixture_provider, client_call(&c, "w", "s", NULL, ""));
    fixture_until(&c.answer.came);
    HAS(c, wanted);
}

static void expect_execs(unsigned count)
{
    char wanted[40];
    snprintf(wanted, sizeof wanted, "\"exec_count\":%u,", count);
    expect_used(wanted);
}

Test(provider_exec_alone,
     without_a_cgroup_one_command_at_a_time_and_the_second_is_told_of_the_first)
{
    static struct client c;
    cr_assert_eq(exec_do(&c, "e1", "true", NULL, 5000)->status, 201);
    cr_assert_eq(exec_do(&c, "e2", "sleep", NULL, 0)->status, 201);
    cr_assert_eq(exec_do(&c, "e3", "true", "k", 0)->status, 409);
    HAS(c, "invalid_state");
    HAS(c, "e2 has not ended");
    cr_expect_eq(box()->exec_count, 2, "init was not asked");
    cr_assert_eq(status_of("e3"), 404, "what was refused left no row");
    expect_execs(2);
    execs_keep_children = true;
    cr_assert_eq(exec_do(&c, "e4", "true", NULL, 0)->status, 422);
    HAS(c, "keep_children");
    expect_execs(2);
}

Test(provider_exec_single, a_user_who_cannot_be_had_is_refused_and_leaves_no_row)
{
    static struct client c, again;
    static const char *const others[] = {"root", "5", "1000:5"};
    static const char *const wrong[] = {"", "x", "65533", "5:", "1:65533", "4294967296"};
    for (unsigned i = 0; i < ARRAY_LENGTH(others); i++) {
        exec_user = others[i];
        cr_assert_eq(exec_do(&c, "e1", "true", i ? NULL : "k", 5000)->status, 422, "%s", others[i]);
        HAS(c, "\"missing\":[\"isolation.id_range\"]");
        cr_assert_eq(status_of("e1"), 404);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(wrong); i++) {
        exec_user = wrong[i];
        cr_assert_eq(exec_do(&c, "e1", "true", NULL, 5000)->status, 400, "%s", wrong[i]);
        HAS(c, "\"pointer\":\"/user\"");
        cr_assert_eq(status_of("e1"), 404);
    }
    exec_user = "root";
    cr_assert_eq(exec_do(&again, "e1", "true", "k", 5000)->status, 422);
    cr_assert(again.answer.replayed, "a 4xx is kept (IDEM-3)");
    expect_execs(0);
    cr_assert_eq(box()->exec_count, 0, "init was not asked");
    exec_user = "user";
    cr_assert_eq(exec_do(&c, "e1", "true", NULL, 5000)->status, 201, "its id is free");
    exec_user = NULL;
    cr_assert_eq(exec_do(&c, "e2", "true", NULL, 5000)->status, 201);
    expect_execs(2);
}

Test(provider_exec_alone, USE_1_where_no_cgroup_counts_what_init_tells_of_commands_is_added)
{
    static struct client c;
    fake.fail[LAUNCHER_SAMPLE] = 100;
    exec_do(&c, "e1", "true", NULL, 5000);
    exec_do(&c, "e2", "true", NULL, 5000);
    expect_used("\"cpu_ns\":10000000,");
    expect_used("\"memory_peak_bytes\":4096,");
    fixture_restart();
    expect_used("\"cpu_ns\":10000000,");
}

Test(provider_exec_whole, USE_1_where_a_cgroup_counts_commands_are_not_counted_twice)
{
    static struct client c;
    exec_do(&c, "e1", "true", NULL, 5000);
    expect_used("\"cpu_ns\":1000,");
}
