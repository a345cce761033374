/* This file gives a test an engine in a directory of its own, over the fakes of provider_fake.h,
 * and short ways to be its client. fixture_restart() ends the engine and opens another one on the
 * same directory; what the fake kernel holds goes on.
 */
#pragma once

#include "provider_fake.h"
#include "tests/slower.h"

#include <ftw.h>

/* ---- an engine ------------------------------------------------------------------------------- */

static struct loop *fixture_loop;
static struct provider *fixture_provider;
static struct serve_config fixture_config;
static struct capability_set fixture_capabilities;
static struct provider_options fixture_options;
static bool fixture_recovered, fixture_closed, fixture_idle;

static inline void fixture_on_recovered(void *data, const struct err *err)
{
    (void)data;
    cr_assert_null(err);
    fixture_recovered = true;
}

static inline void fixture_on_idle(void *data, bool idle)
{
    (void)data;
    fixture_idle = idle;
}

/* Rounds of the loop until `*done`, at most a minute: a machine may be busy. */
static inline void fixture_until(const volatile bool *done)
{
    int64_t by = now_boot_ms() + 60000 * (int64_t)test_slower();
    while (!*done) {
        cr_assert_lt(now_boot_ms(), by, "nothing came of it");
        loop_step(fixture_loop, false);
        struct timespec pause = {.tv_nsec = 200000};
        nanosleep(&pause, NULL);
    }
}

static inline void fixture_for_ms(int ms)
{
    int64_t by = now_boot_ms() + ms;
    while (now_boot_ms() < by) {
        loop_step(fixture_loop, false);
        struct timespec pause = {.tv_nsec = 200000};
        nanosleep(&pause, NULL);
    }
}

static inline void fixture_start(void)
{
    struct err err = {0};
    char text[2048];
    fixture_recovered = fixture_closed = fixture_idle = false;
    fixture_options = (struct provider_options){.loop = fixture_loop,
                                                .config = &fixture_config,
                                                .capabilities = &fixture_capabilities,
                                                .launcher = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                                .recovered = fixture_on_recovered,
                                                .idle = fixture_on_idle};
    int r = provider_open(&fixture_provider, &fixture_options, &err);
    err_format(&err, text, sizeof text);
    cr_assert_eq(r, 0, "%s", text);
}

static inline void fixture_open(void)
{
    fixture_start();
    fixture_until(&fixture_recovered);
}

static inline void fixture_on_closed(void *data)
{
    (void)data;
    fixture_closed = true;
}

static inline void fixture_stop(void)
{
    provider_close(fixture_provider, 0, fixture_on_closed, NULL);
    fixture_until(&fixture_closed);
    fixture_provider = NULL;
}

static inline void fixture_restart(void)
{
    fixture_stop();
    fixture_open();
}

static inline int fixture_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static inline void fixture_init(void)
{
    struct err err = {0};
    char directory[] = "/tmp/berth-provider-XXXXXX";
    memset(&fake, 0, sizeof fake);
    fake.fd = -1;
    snprintf(fake.boot_id, sizeof fake.boot_id, "this-boot");
    fake.fail_with = (struct err){.code = ERR_FORBIDDEN, .sys = EACCES};
    cr_assert(mkdtemp(directory));
    memset(&fixture_config, 0, sizeof fixture_config);
    snprintf(fixture_config.state_dir, sizeof fixture_config.state_dir, "%s", directory);
    snprintf(fixture_config.runtime_dir, sizeof fixture_config.runtime_dir, "%s", directory);
    for (unsigned c = 0; c < CAPABILITY_COUNT; c++)
        fixture_capabilities.status[c].available = true;
    cr_assert_eq(loop_new(&fixture_loop, &err), 0);
    fixture_open();
}

static inline void fixture_fini(void)
{
    if (fixture_provider)
        fixture_stop();
    loop_free(fixture_loop);
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i])
            fake_remove(fake.boxes[i]);
    nftw(fixture_config.state_dir, fixture_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a client -------------------------------------------------------------------------------- */

struct answer {
    bool came;
    int status, times;
    bool replayed;
    struct err err;
    uint32_t allowed;
    struct capability_mask missing;
    unsigned retry_after_s;
    char text[16384];
};

static inline void answer_reply(void *data, struct provider_reply *reply)
{
    struct answer *answer = data;
    answer->times++;
    answer->status = reply->status;
    answer->replayed = reply->replayed;
    answer->err = reply->err;
    answer->allowed = reply->allowed;
    answer->missing = reply->missing;
    answer->retry_after_s = reply->retry_after_s;
    snprintf(answer->text, sizeof answer->text, "%s", buf_text(&reply->document));
    answer->came = true;
}

struct client {
    struct answer answer;
    struct idempotency_request key;
    struct provider_call call;
};

static inline struct provider_call *client_call(struct client *client, const char *workspace_id,
                                                const char *session_id, const char *key,
                                                const char *path)
{
    memset(client, 0, sizeof *client);
    client->key = (struct idempotency_request){.workspace_id = workspace_id,
                                               .method = "POST",
                                               .path = path,
                                               .key = key,
                                               .body_sha256 = "00"};
    client->call = (struct provider_call){.workspace_id = workspace_id,
                                          .session_id = session_id,
                                          .key = key ? &client->key : NULL,
                                          .who = "uid 1000",
                                          .reply = answer_reply,
                                          .data = &client->answer};
    return &client->call;
}

static inline void spec_for_test(struct spec *spec, const char *workspace_id,
                                 const char *session_id)
{
    spec_init(spec);
    snprintf(spec->workspace_id, sizeof spec->workspace_id, "%s", workspace_id);
    snprintf(spec->session_id, sizeof spec->session_id, "%s", session_id);
    spec->image.kind = SPEC_IMAGE_HOST;
    spec->workspace.kind = SPEC_WORKSPACE_VOLUME;
    snprintf(spec->workspace.volume, sizeof spec->workspace.volume, "%s", session_id);
    snprintf(spec->workspace.mount_path, sizeof spec->workspace.mount_path, "/workspace");
    spec->network.egress = SPEC_EGRESS_DENY;
    spec->process.uid = spec->process.gid = SPEC_UID_USER;
    spec->process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec->limits.memory_bytes = 1 << 30;
    spec->limits.output_bytes = 16 << 20;
}

static struct spec client_spec;

static inline void client_create_begin(struct client *client, const char *workspace_id,
                                       const char *session_id, const char *key)
{
    spec_for_test(&client_spec, workspace_id, session_id);
    struct provider_create create = {
        .spec = &client_spec, .owner = "me", .labels_json = "{\"k\":\"v\"}", .client_socket = -1};
    provider_session_create(
        fixture_provider, client_call(client, workspace_id, session_id, key, "/sessions"), &create);
    cr_assert_not(client->answer.came, "a reply from inside the call");
}

static inline struct answer *client_create(struct client *client, const char *workspace_id,
                                           const char *session_id, const char *key)
{
    client_create_begin(client, workspace_id, session_id, key);
    fixture_until(&client->answer.came);
    return &client->answer;
}

static inline void client_verb_begin(struct client *client, const char *workspace_id,
                                     const char *session_id, enum session_event verb,
                                     const char *key)
{
    struct provider_verb what = {.verb = verb, .client_socket = -1};
    provider_session_verb(
        fixture_provider,
        client_call(client, workspace_id, session_id, key, session_event_name(verb)), &what);
    cr_assert_not(client->answer.came, "a reply from inside the call");
}

static inline struct answer *client_verb(struct client *client, const char *workspace_id,
                                         const char *session_id, enum session_event verb,
                                         const char *key)
{
    client_verb_begin(client, workspace_id, session_id, verb, key);
    fixture_until(&client->answer.came);
    return &client->answer;
}

static inline struct answer *client_get(struct client *client, const char *workspace_id,
                                        const char *session_id)
{
    provider_session_get(fixture_provider, client_call(client, workspace_id, session_id, NULL, ""));
    fixture_until(&client->answer.came);
    return &client->answer;
}
