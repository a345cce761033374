/* This file is what the ledger has of file operations, over a fake kernel: events that tell of what
 * came in and went out, and rows of the audit. */
#include "provider_fixture.h"
#include "runtime/base/io.h"

#include <fcntl.h>
#include <stdio.h>

static void one_session(void)
{
    static struct client c;
    fixture_init();
    cr_assert_eq(client_create(&c, "w", "s", NULL)->status, 201, "%s", c.answer.text);
}

TestSuite(provider_files, .init = one_session, .fini = fixture_fini, .timeout = 60);

/* Those of files as they are in the ledger now: "type data\n". */
static struct {
    bool ended;
    size_t length;
    char text[64 * 1024];
} seen;

static bool on_event(void *data, uint64_t seq, const char *type, const char *json, size_t length)
{
    (void)data;
    (void)seq;
    (void)length;
    if (strncmp(type, "files.", 6) == 0)
        seen.length += (size_t)snprintf(seen.text + seen.length, sizeof seen.text - seen.length,
                                        "%s %s\n", type, strstr(json, "\"data\":"));
    return true;
}

static void on_end(void *data, const struct err *err)
{
    (void)data;
    cr_assert_null(err);
    seen.ended = true;
}

static const char *events(void)
{
    static struct client c;
    struct err err;
    struct provider_follow what = {.event = on_event, .end = on_end};
    memset(&seen, 0, sizeof seen);
    client_call(&c, "w", "s", NULL, "");
    cr_assert(provider_events_follow(fixture_provider, &c.call, &what, &err));
    fixture_until((const volatile bool *)&seen.ended);
    return seen.text;
}

/* Rows of the audit that end so: what, target and outcome stand behind one another in them. Nothing
 * else has these words. */
static unsigned audited(const char *end)
{
    char path[SPEC_PATH_MAX + 32];
    _cleanup_free_ char *ledger = NULL;
    size_t length = 0;
    unsigned count = 0;
    fixture_stop();
    snprintf(path, sizeof path, "%s/ledger/ledger", fixture_config.state_dir);
    cr_assert_eq(io_read_file(AT_FDCWD, path, 64 << 20, &ledger, &length), 0);
    for (const char *at = ledger;
         (at = memmem(at, length - (size_t)(at - ledger), end, strlen(end))); at++)
        count++;
    fixture_open();
    return count;
}

static struct fake_box *box(void)
{
    for (unsigned i = 0; i < fake.box_count; i++)
        if (fake.boxes[i])
            return fake.boxes[i];
    cr_assert_fail("no session");
    return NULL;
}

struct operated {
    bool came;
    int64_t session;
    struct err err;
};

static void on_done(void *data, const struct provider_files_reply *reply)
{
    struct operated *o = data;
    cr_assert_not(o->came, "told twice");
    if (reply->err)
        o->err = *reply->err;
    o->session = reply->session;
    o->came = true;
}

static void ask(struct operated *o, enum files_operation what, const char *path)
{
    static struct client c;
    struct files_request request;
    files_request_init(&request, what);
    snprintf(request.path, sizeof request.path, "%s", path);
    if (what == FILES_UPLOAD) {
        request.has_length = 1;
        request.length = 5;
        memset(request.sha256, 'a', 64);
    }
    memset(o, 0, sizeof *o);
    provider_files(fixture_provider, client_call(&c, "w", "s", NULL, ""),
                   &(struct provider_files){.request = &request, .data_in = -1, .data_out = -1},
                   on_done, o);
}

/* Its worker, inside, which says this and ends. */
static struct operated *operate(struct operated *o, enum files_operation what, const char *path,
                                struct files_result result)
{
    unsigned before = box()->exec_count;
    ask(o, what, path);
    for (unsigned i = 0; i < 500 && box()->exec_count == before; i++)
        fixture_for_ms(10);
    struct fake_exec *worker = &box()->execs[before];
    cr_assert(worker->has_files);
    result.magic = FILES_MAGIC;
    result.version = FILES_VERSION;
    cr_assert_eq(write(worker->err, &result, sizeof result), (ssize_t)sizeof result);
    fake_exec_end(box(), worker->number, AGENT_REASON_EXIT, 0);
    fixture_until(&o->came);
    return o;
}

static struct files_result failed(int sys, enum err_code code)
{
    struct files_result result = {.result = -sys};
    err_set(&result.err, code, sys, "do", "it", NULL);
    return result;
}

Test(provider_files, what_came_in_at_once_is_an_event_and_single_files_are_none)
{
    static struct operated o;
    operate(&o, FILES_WRITE, "/workspace/f", (struct files_result){.bytes = 9});
    operate(&o, FILES_MKDIR, "/workspace/d", (struct files_result){0});
    cr_assert_str_eq(events(), "");
    operate(&o, FILES_UPLOAD, FILES_UPLOADS "/a \"b\"", (struct files_result){.bytes = 5});
    cr_assert_eq(o.err.code, ERR_NONE);
    cr_assert_str_eq(events(), "files.copied_in \"data\":{\"by\":\"upload\",\"path\":"
                               "\"/mnt/session/uploads/a \\\"b\\\"\",\"entries\":1,\"bytes\":5,"
                               "\"complete\":true}}\n");
    operate(&o, FILES_UPLOAD, FILES_UPLOADS "/b", failed(ENOSPC, ERR_INSUFFICIENT_STORAGE));
    cr_assert_eq(o.err.code, ERR_INSUFFICIENT_STORAGE);
    struct files_result torn = failed(EINVAL, ERR_INVALID_REQUEST);
    torn.entries = 3;
    torn.bytes = 1000;
    operate(&o, FILES_TAR_WRITE, "/workspace/t", torn);
    cr_assert_eq(o.err.code, ERR_INVALID_REQUEST);
    torn.entries = torn.bytes = 0;
    operate(&o, FILES_TAR_WRITE, "/workspace/t", torn);
    operate(&o, FILES_TAR_WRITE, "/w\xff",
            (struct files_result){.entries = 7, .bytes = UINT64_C(5) << 30});
    cr_assert(strstr(events(), "\"by\":\"tar\",\"path\":\"/workspace/t\",\"entries\":3,"
                               "\"bytes\":1000,\"complete\":false}}\nfiles.copied_in \"data\":"
                               "{\"by\":\"tar\",\"path\":\"/w\\ufffd\",\"entries\":7,"
                               "\"bytes\":5368709120,\"complete\":true}}\n"),
              "%s", seen.text);
    static char longest[3000];
    memset(longest, 'x', sizeof longest - 1);
    longest[0] = '/';
    operate(&o, FILES_TAR_WRITE, longest, (struct files_result){.entries = 1});
    cr_assert(strstr(events(), "\"path\":null,\"entries\":1,"), "%s", seen.text);
}

static void until_seen(const char *text)
{
    for (unsigned i = 0; i < 500 && !strstr(seen.text, text); i++)
        fixture_for_ms(10);
    cr_assert(strstr(seen.text, text), "no %s: %s", text, seen.text);
}

Test(provider_files, who_follows_events_hears_of_files_when_they_have_come_and_gone)
{
    static struct operated o;
    static struct client c, follower;
    struct err err;
    const struct provider_follow what = {.follow = true, .event = on_event, .end = on_end};
    memset(&seen, 0, sizeof seen);
    client_call(&follower, "w", "s", NULL, "");
    struct provider_follower *open =
        provider_events_follow(fixture_provider, &follower.call, &what, &err);
    cr_assert(open);
    fixture_for_ms(50);
    operate(&o, FILES_UPLOAD, FILES_UPLOADS "/a", (struct files_result){.bytes = 5});
    until_seen("files.copied_in");
    const struct provider_collected collected = {.session = o.session, .path = FILES_OUTPUTS};
    provider_collected(fixture_provider, client_call(&c, "w", "s", NULL, ""), &collected);
    until_seen("files.collected");
    cr_assert_not(seen.ended);
    provider_follow_stop(open);
}

/* Its worker, inside, which ends without a word. */
static void operate_silently(struct operated *o, enum files_operation what, const char *path)
{
    unsigned before = box()->exec_count;
    ask(o, what, path);
    for (unsigned i = 0; i < 500 && box()->exec_count == before; i++)
        fixture_for_ms(10);
    fake_exec_end(box(), box()->execs[before].number, AGENT_REASON_SIGNAL, 9);
    fixture_until(&o->came);
    cr_assert_eq(o->err.code, ERR_UNAVAILABLE);
}

Test(provider_files, what_a_killed_worker_unpacked_is_told_as_not_complete)
{
    static struct operated o;
    operate_silently(&o, FILES_WRITE, "/workspace/f");
    operate_silently(&o, FILES_UPLOAD, FILES_UPLOADS "/a");
    cr_assert_str_eq(events(), "");
    operate_silently(&o, FILES_TAR_WRITE, "/workspace/t");
    cr_assert_str_eq(events(), "files.copied_in \"data\":{\"by\":\"tar\",\"path\":\"/workspace/t\","
                               "\"entries\":null,\"bytes\":null,\"complete\":false}}\n");
}

static struct err unwritten;

static void on_unwritten(void *data, const struct err *err)
{
    (void)data;
    unwritten = *err;
}

Test(provider_files, what_the_ledger_did_not_take_is_said_and_what_it_took_is_not)
{
    static struct operated o;
    struct work work = {.p = fixture_provider};
    struct err untold = {0};
    fixture_provider->options.unwritten = on_unwritten;
    operate(&o, FILES_MKDIR, "/workspace/d", (struct files_result){0});
    operate(&o, FILES_TAR_WRITE, "/workspace/t", (struct files_result){.entries = 1});
    provider_written(&work, "w", "s", NULL);
    provider_written(&work, "w", "s", &untold);
    cr_assert_eq(unwritten.code, ERR_NONE, "%s", unwritten.detail);
    err_set(&untold, ERR_UNAVAILABLE, ENOMEM, "tell an event", NULL, NULL);
    provider_written(&work, "w", "s", &untold);
    cr_assert_eq(unwritten.sys, ENOMEM);
    work.job.result = err_set(&work.job.err, ERR_UNAVAILABLE, EIO, "write the ledger", NULL, NULL);
    provider_written(&work, "w", "s", &untold);
    cr_assert_eq(unwritten.sys, EIO);
}

static uint64_t trimmed;

static void on_trimmed(void *data, uint64_t rows)
{
    (void)data;
    trimmed += rows;
}

Test(provider_files, what_is_too_much_for_the_audit_goes_and_is_counted_and_told)
{
    static struct operated o;
    static struct client c;
    for (int i = 0; i < 12; i++)
        operate(&o, FILES_MKDIR, "/workspace/d", (struct files_result){0});
    provider_metrics(fixture_provider, client_call(&c, NULL, NULL, NULL, ""));
    fixture_until(&c.answer.came);
    cr_assert(strstr(c.answer.text, "\nberth_audit_rows 13\n"), "%s", c.answer.text);
    fixture_stop();
    fixture_config.audit_workspace_rows_max = 10;
    fixture_open();
    fixture_provider->options.audit_trimmed = on_trimmed;
    for (int i = 0; i < 500 && trimmed == 0; i++)
        fixture_for_ms(10);
    cr_expect_eq(trimmed, 3);
    provider_metrics(fixture_provider, client_call(&c, NULL, NULL, NULL, ""));
    fixture_until(&c.answer.came);
    cr_expect(strstr(c.answer.text, "\nberth_audit_rows 10\n"), "%s", c.answer.text);
    cr_expect(strstr(c.answer.text, "\nberth_audit_trimmed_total 3\n"), "%s", c.answer.text);
}

Test(provider_files, all_that_is_done_to_files_is_known_to_the_audit_as_that)
{
    char quoted[64];
    unsigned count = 0;
    size_t length;
    _cleanup_free_ char *schema = NULL;
    cr_assert_eq(io_read_file(AT_FDCWD, "provider/ledger_schema.c", 1 << 20, &schema, &length), 0);
    const char *of_files = strstr(schema, "ADD COLUMN of_files");
    cr_assert(of_files);
    for (unsigned operation = 0; operation < FILES_OPERATION_END; operation++) {
        const char *name = files_record_name(operation);
        snprintf(quoted, sizeof quoted, "'%s'", name);
        count += name[0] != 0;
        cr_expect(!name[0] || strstr(of_files, quoted), "%s", name);
    }
    cr_expect_geq(count, 8u);
}

Test(provider_files, what_was_collected_is_told_of_the_life_it_was_collected_from)
{
    static struct operated o;
    static struct client c;
    operate(&o, FILES_COLLECT, FILES_OUTPUTS, (struct files_result){.entries = 2, .bytes = 8});
    cr_assert_str_eq(events(), "", "its caller has not looked at it yet");
    struct provider_collected collected = {
        .session = o.session, .path = FILES_OUTPUTS, .entries = 2, .bytes = 8, .left_out = 1};
    provider_collected(fixture_provider, client_call(&c, "w", "s", NULL, ""), &collected);
    fixture_until(&c.answer.came);
    cr_assert_eq(c.answer.status, 200);
    cr_assert_str_eq(events(), "files.collected \"data\":{\"path\":\"/mnt/session/outputs\","
                               "\"entries\":2,\"bytes\":8,\"left_out\":1}}\n");
    /* What was no collection is in the audit, and nobody is told. */
    collected.code = ERR_UNAVAILABLE;
    provider_collected(fixture_provider, client_call(&c, "w", "s", NULL, ""), &collected);
    fixture_until(&c.answer.came);
    cr_expect_eq(audited("outputs_collectsdone"), 1);
    cr_expect_eq(audited("outputs_collectsunavailable"), 1);
    collected.code = ERR_NONE;
    /* Nobody else's life, and nothing behind session.deleted. */
    collected.session++;
    provider_collected(fixture_provider, client_call(&c, "w", "s", NULL, ""), &collected);
    fixture_until(&c.answer.came);
    collected.session--;
    client_verb(&c, "w", "s", SESSION_EVENT_DESTROY, NULL);
    provider_collected(fixture_provider, client_call(&c, "w", "s", NULL, ""), &collected);
    fixture_until(&c.answer.came);
    const char *text = events();
    cr_assert(strchr(text, '\n') && !strchr(text, '\n')[1], "%s", text);
}

Test(provider_files, what_a_worker_said_before_it_was_ended_is_written_down_and_told_once)
{
    static struct operated o, gone;
    static struct client c;
    ask(&gone, FILES_UPLOAD, FILES_UPLOADS "/left");
    for (unsigned i = 0; i < 500 && box()->exec_count == 0; i++)
        fixture_for_ms(10);
    struct fake_exec *worker = &box()->execs[0];
    const struct files_result result = {.magic = FILES_MAGIC, .version = FILES_VERSION, .bytes = 5};
    /* Its word, its end and the interrupt that ends all workers, in one turn. */
    cr_assert_eq(write(worker->err, &result, sizeof result), (ssize_t)sizeof result);
    client_verb(&c, "w", "s", SESSION_EVENT_INTERRUPT, NULL);
    fixture_until(&gone.came);
    cr_assert_eq(gone.err.code, ERR_NONE, "%s", gone.err.detail);
    fixture_for_ms(50);
    cr_assert(strstr(events(), "uploads/left"), "%s", seen.text);
    operate(&o, FILES_MKDIR, "/workspace/d", (struct files_result){0});
    cr_assert_eq(o.err.code, ERR_NONE, "%s", o.err.detail);
}
