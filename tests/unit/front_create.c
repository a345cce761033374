/* This file tests the body of a create: that every member of it arrives in what the provider is
 * asked to build, or is refused (CAP-3), and the order of refusals; the provider is a fake.
 */
#include "front_harness.h"

#include "api/http/fields.h"

TestSuite(front_create, .init = front_harness_start, .fini = front_harness_stop, .timeout = 60);

#define SESSIONS "/v1/workspaces/w/sessions"

static const char *create(const char *body)
{
    return front_ask("POST", SESSIONS, "", body);
}

Test(front_create, an_empty_body_is_a_volume_named_after_the_session_that_is_made)
{
    const char *answer = create("{}");
    cr_assert(strstr(answer, " 201 ") && strstr(answer, "{\"session_id\":\"made\"}"), "%s", answer);
    cr_expect(fake.spec.workspace.kind == SPEC_WORKSPACE_VOLUME);
    cr_expect_str_eq(fake.spec.workspace.mount_path, "/workspace");
    cr_expect(strncmp(fake.spec.session_id, "s-", 2) == 0 && strlen(fake.spec.session_id) == 14);
    cr_expect_str_eq(fake.spec.workspace.volume, fake.spec.session_id);
    cr_expect_str_eq(fake.spec.workspace_id, "w");
    cr_expect(fake.client_socket == -1, "rootless there is one user");
    char line[64];
    snprintf(line, sizeof line, "owner=uid-%u labels={} ttl=0 idle=0 who=uid %u", getuid(),
             getuid());
    cr_expect(strstr(fake_asked(), line), "%s", fake_asked());
}

Test(front_create, P_7_the_askers_own_socket_goes_with_it)
{
    fake_config.rootless = 0;
    fake_config.socket_gid = getgid();
    cr_assert(strstr(create("{}"), " 201 "));
    cr_expect(fake.client_socket >= 0);
    front_ask("POST", SESSIONS "/s1/resume", "", "{}");
    cr_expect(strstr(fake_asked(), "socket=1"), "%s", fake_asked());
}

/* ---- every member ------------------------------------------------------------------------------
 */

static bool is_named(const char *name)
{
    return strcmp(fake.spec.session_id, name) == 0;
}
#define IN_SPEC(function, condition) \
    static bool function(void)       \
    {                                \
        return condition;            \
    }
IN_SPEC(session_id, is_named("mine"))
IN_SPEC(image, fake.spec.image.kind == SPEC_IMAGE_DIR)
IN_SPEC(limits, fake.spec.limits.pids == 77 && fake.spec.limits.asked & SPEC_LIMIT_PIDS)
IN_SPEC(filesystem, fake.spec.mount_count == 1)
IN_SPEC(process, fake.spec.process.uid == 0)
IN_SPEC(network, fake.spec.network.allow_private == 1)
IN_SPEC(requires, fake.spec.requires_mask[0] & UINT64_C(1) << CAP_LIMITS_PIDS)
IN_SPEC(policy, fake.spec.limits.pids != 4096)
IN_SPEC(owner, strstr(fake_asked(), "owner=me ") != NULL)
IN_SPEC(labels, strstr(fake_asked(), "labels={\"a\":\"b\",\"c\":\"\"}") != NULL)
IN_SPEC(ttl, strstr(fake_asked(), "ttl=60000 ") != NULL)
IN_SPEC(idle_park, strstr(fake_asked(), "idle=5 who") != NULL)
IN_SPEC(idle_destroy, strstr(fake_asked(), "idle=5 destroys who") != NULL)
IN_SPEC(idle_loss, strstr(fake_asked(), "idle=5 accept_loss who") != NULL)
IN_SPEC(mount_path, strcmp(fake.spec.workspace.mount_path, "/w") == 0)
IN_SPEC(read_only, fake.spec.workspace.read_only == 1)
IN_SPEC(volume, strcmp(fake.spec.workspace.volume, "v") == 0)
IN_SPEC(directory, fake.spec.workspace.kind == SPEC_WORKSPACE_DIRECTORY &&
                       strcmp(fake.spec.workspace.path, "/srv/projects/a") == 0 &&
                       fake.spec.workspace.exclusive && fake.spec.workspace.allow_root_owned)
IN_SPEC(tmpfs, fake.spec.workspace.kind == SPEC_WORKSPACE_TMPFS &&
                   fake.spec.workspace.size_bytes == 64 << 20)
IN_SPEC(nothing, true)

/* The member at the top that the row is for; what shows that it arrived, or the status and a part
 * of the answer. */
static const struct {
    const char *member, *body;
    bool (*arrived)(void);
    const char *refused;
} members[] = {
    {"session_id", "{\"session_id\":\"mine\"}", session_id, NULL},
    {"image", "{\"image\":\"dir:/srv/tree\"}", image, NULL},
    {"limits", "{\"limits\":{\"pids\":77}}", limits, NULL},
    {"filesystem", "{\"filesystem\":{\"read_only\":[\"/opt/x\"]}}", filesystem, NULL},
    {"process", "{\"process\":{\"user\":\"root\"}}", process, NULL},
    {"network", "{\"network\":{\"allow_private\":true,\"egress\":\"allow\"}}", network, NULL},
    {"requires", "{\"requires\":[\"limits.pids\"]}", requires, NULL},
    {"policy", "{\"policy\":\"locked-down\"}", policy, NULL},
    {"policy", "{\"policy\":{\"version\":1,\"limits\":{\"pids\":9}}}", policy, NULL},
    {"owner", "{\"owner\":\"me\"}", owner, NULL},
    {"labels", "{\"labels\":{\"a\":\"b\",\"c\":\"\"}}", labels, NULL},
    {"ttl_ms", "{\"ttl_ms\":60000}", ttl, NULL},
    {"idle", "{\"idle\":{\"after_ms\":5}}", idle_park, NULL},
    {"idle", "{\"idle\":{\"after_ms\":5,\"action\":\"destroy\"}}", idle_destroy, NULL},
    {"idle",
     "{\"workspace\":{\"persistence\":{\"kind\":\"tmpfs\",\"size\":\"64MiB\"}},\"idle\":{"
     "\"after_ms\":5,\"action\":\"park\",\"accept_loss\":true}}",
     idle_loss, NULL},
    {"workspace", "{\"workspace\":{\"mount_path\":\"/w\"}}", mount_path, NULL},
    {"workspace", "{\"workspace\":{\"read_only\":true}}", read_only, NULL},
    {"workspace", "{\"workspace\":{\"persistence\":{\"kind\":\"volume\",\"name\":\"v\"}}}", volume,
     NULL},
    {"workspace",
     "{\"workspace\":{\"persistence\":{\"kind\":\"directory\",\"path\":"
     "\"/srv/projects/a\",\"exclusive\":true,\"allow_root_owned\":true}}}",
     directory, NULL},
    {"workspace", "{\"workspace\":{\"persistence\":{\"kind\":\"tmpfs\",\"size\":67108864}}}", tmpfs,
     NULL},
    {"workspace",
     "{\"workspace\":{\"persistence\":{\"kind\":\"disk\",\"name\":\"d\",\"size\":"
     "\"1GiB\"}}}",
     NULL, "\"missing\":[\"workspace.disk\"]"},
    {"workspace", "{\"workspace\":{\"persistence\":{\"kind\":\"snapshot\",\"base\":\"b\"}}}", NULL,
     "\"missing\":[\"workspace.snapshot\"]"},
    {"secrets", "{\"secrets\":[]}", nothing, NULL},
    {"secrets",
     "{\"secrets\":[{\"name\":\"t\",\"delivery\":\"header-proxy\",\"hosts\":[]},{\"name\":"
     "\"u\",\"delivery\":\"env-plaintext\",\"enters_guest\":true}]}",
     NULL, "\"missing\":[\"secrets.env_plaintext\",\"secrets.header_proxy\"]"},
};

Test(front_create, CAP_3_every_member_arrives_or_is_refused)
{
    for (const struct body_field *field = fields_of_session; field->name; field++) {
        unsigned rows = 0;
        for (unsigned i = 0; i < ARRAY_LENGTH(members); i++)
            rows += strcmp(members[i].member, field->name) == 0;
        cr_expect(rows > 0, "no test for the member %s", field->name);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(members); i++) {
        unsigned before = fake.asked_count;
        const char *answer = create(members[i].body);
        if (members[i].arrived)
            cr_expect(strstr(answer, " 201 ") && members[i].arrived(), "%s: %s, asked %s",
                      members[i].body, answer, fake_asked());
        else
            cr_expect(strstr(answer, " 422 ") && strstr(answer, members[i].refused) &&
                          fake.asked_count == before,
                      "%s: %s", members[i].body, answer);
    }
}

static const struct {
    const char *body, *pointer;
} wrong[] = {
    {"{\"x\":1}", "/x"},
    {"{\"session_id\":\"-a\"}", "/session_id"},
    {"{\"session_id\":\"a\",\"session_id\":\"b\"}", "/session_id"},
    {"{\"workspace\":{\"path\":\"/a\"}}", "/workspace/path"},
    {"{\"workspace\":{\"persistence\":{}}}", "/workspace/persistence/kind"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"nfs\"}}}", "/workspace/persistence/kind"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"volume\",\"path\":\"/a\"}}}",
     "/workspace/persistence/path"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"volume\",\"size\":1}}}",
     "/workspace/persistence/size"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"tmpfs\"}}}", "/workspace/persistence/size"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"tmpfs\",\"size\":\"big\"}}}",
     "/workspace/persistence/size"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"volume\",\"name\":\"a/b\"}}}",
     "/workspace/persistence/name"},
    {"{\"workspace\":{\"mount_path\":\"rel\"}}", "/workspace"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"directory\",\"path\":\"/srv/projects/../x\"}}}",
     "/workspace"},
    {"{\"idle\":{}}", "/idle/after_ms"},
    {"{\"idle\":{\"after_ms\":5,\"action\":\"stop\"}}", "/idle/action"},
    {"{\"idle\":{\"after_ms\":5,\"accept_loss\":true}}", "/idle/accept_loss"},
    {"{\"workspace\":{\"persistence\":{\"kind\":\"tmpfs\",\"size\":\"1MiB\"}},\"idle\":{\"after_"
     "ms\":5}}",
     "/idle"},
    {"{\"labels\":{\"a\":1}}", "/labels"},
    {"{\"labels\":{\"a=b\":\"\"}}", "/labels"},
    {"{\"secrets\":[{\"name\":\"a\"}]}", "/secrets/0/delivery"},
    {"{\"secrets\":[{\"name\":\"a\",\"delivery\":\"mail\"}]}", "/secrets/0/delivery"},
    {"{\"limits\":{\"memory\":\"1 GiB\"}}", "/limits/memory"},
    {"{\"network\":{\"allow\":[{\"host\":\"x\",\"prots\":[1]}]}}", "/network/allow/0/prots"},
    {"{\"filesystem\":{\"image\":\"host\"},\"image\":\"host\"}", "/image"},
    {"{\"ttl_ms\":0}", "/ttl_ms"},
    {"{\"policy\":\"./mine.jsonc\"}", "/policy"},
};

Test(front_create, CAP_3_what_is_wrong_is_400_at_its_place)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(wrong); i++) {
        char pointer[128];
        unsigned before = fake.asked_count;
        const char *answer = create(wrong[i].body);
        snprintf(pointer, sizeof pointer, "\"pointer\":\"%s\"", wrong[i].pointer);
        cr_expect(strstr(answer, " 400 ") && strstr(answer, pointer), "%s: %s", wrong[i].body,
                  answer);
        cr_expect(fake.asked_count == before);
    }
}

Test(front_create, a_directory_beneath_no_root_is_403)
{
    fake_config.rootless = 0;
    fake_config.socket_gid = getgid();
    static const char *const paths[] = {"/srv/projectsx", "/etc", "/srv"};
    for (unsigned i = 0; i < ARRAY_LENGTH(paths); i++) {
        char body[128];
        snprintf(body, sizeof body,
                 "{\"workspace\":{\"persistence\":{\"kind\":\"directory\",\"path\":\"%s\"}}}",
                 paths[i]);
        const char *answer = create(body);
        cr_expect(strstr(answer, " 403 ") && strstr(answer, "/workspace/persistence/path"), "%s",
                  answer);
    }
}

Test(front_create, without_roots_a_directory_is_the_launchers_to_judge)
{
    fake_config.rootless = 0;
    fake_config.socket_gid = getgid();
    fake_config.root_count = 0;
    const char *answer =
        create("{\"workspace\":{\"persistence\":{\"kind\":\"directory\",\"path\":\"/srv/any\"}}}");
    cr_expect(strstr(answer, " 201 "), "%s", answer);
}

Test(front_create, CAP_2_all_that_is_missing_is_listed_and_a_default_is_no_request)
{
    fake_capabilities.status[CAP_LIMITS_PIDS].available = false;
    fake_capabilities.status[CAP_LIMITS_MEMORY].available = false;
    cr_expect(strstr(create("{}"), " 201 "), "limits of a preset are defaults");
    const char *answer = create("{\"limits\":{\"pids\":5},\"requires\":[\"gpu\"]}");
    cr_expect(strstr(answer, " 422 ") && strstr(answer, "\"code\":\"capability_unavailable\"") &&
                  strstr(answer, "\"missing\":[\"limits.pids\",\"gpu\"]"),
              "%s", answer);
}

Test(front_create, CAP_2_another_user_is_refused_where_a_session_has_one_id)
{
    struct capability_status *range = &fake_capabilities.status[CAP_ISOLATION_ID_RANGE];
    range->available = false;
    snprintf(range->remedy, sizeof range->remedy, "Add the user to /etc/subuid.");
    cr_expect(strstr(create("{\"process\":{\"user\":\"user\"}}"), " 201 "), "it has that one");
    static const char *const users[] = {"\"root\"", "5"};
    for (size_t i = 0; i < 2; i++) {
        char body[96];
        snprintf(body, sizeof body, "{\"process\":{\"user\":%s},\"requires\":[\"gpu\"]}", users[i]);
        const char *answer = create(body);
        cr_expect(strstr(answer, " 422 ") &&
                      strstr(answer, "\"missing\":[\"gpu\",\"isolation.id_range\"]") &&
                      strstr(answer, "/etc/subuid"),
                  "%s", answer);
    }
}

Test(front_create, POL_2_what_goes_beyond_the_ceiling_is_422_with_both_places)
{
    static const char ceiling[] = "{\"version\":1,\n \"limits\":{\"pids\":100}}";
    struct err err;
    cr_assert(policy_load_text(&fake_ceiling, "ceiling", ceiling, strlen(ceiling), &err) == 0);
    fake_front.ceiling = fake_ceiling;
    const char *answer = create("{\"limits\":{\"pids\":101}}");
    cr_expect(strstr(answer, " 422 ") && strstr(answer, "\"code\":\"policy_rejected\"") &&
                  strstr(answer, "body:1:19") && strstr(answer, "ceiling:2:19") &&
                  strstr(answer, "\"pointer\":\"/limits/pids\""),
              "%s", answer);
    cr_expect(strstr(create("{\"limits\":{\"pids\":100}}"), " 201 "));
    answer = create("{\"limits\":{\"pids\":101},\"requires\":[\"gpu\"]}");
    cr_expect(strstr(answer, "capability_unavailable"), "capabilities come first: %s", answer);
    answer = create("{\"limits\":{\"pids\":101},\"requires\":[\"gpu\"],\"x\":1}");
    cr_expect(strstr(answer, " 400 "), "and syntax before them: %s", answer);
}
