/* This file tests the configuration of `berth serve`: what is read, and that every mistake is told
 * at its place. */
#include "api/cli/serve.h"

#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

static struct serve_plan plan;
static struct err err;

static int parse(const char *text)
{
    memset(&plan, 0, sizeof plan);
    memset(&err, 0, sizeof err);
    return serve_config_parse("c.jsonc", text, strlen(text), &plan, &err);
}

Test(serve_config, what_is_not_said_has_its_default)
{
    cr_assert_eq(parse("{}"), 0, "%s", err.detail);
    cr_expect_eq(plan.config.version, SERVE_CONFIG_VERSION);
    cr_expect_eq(plan.config.sessions_max, 1000);
    cr_expect_eq(plan.config.start_timeout_s, 5);
    cr_expect_eq(plan.config.root_count, 0);
    cr_expect_eq(plan.config.ceiling_length, 0);
    cr_expect_eq(plan.config.rootless, geteuid() != 0);
    cr_expect_neq(plan.config.front_uid, geteuid() == 0 ? 0 : UINT32_MAX);
}

Test(serve_config, what_is_said_is_taken)
{
    cr_assert_eq(parse("{\"sessions_max\": 7, \"start_timeout_s\": 60, // few\n \"roots\": "
                       "[\"/usr/share\", \"/usr\"],"
                       "\"socket_group\": 123}"),
                 0, "%s", err.detail);
    cr_expect_eq(plan.config.sessions_max, 7);
    cr_expect_eq(plan.config.start_timeout_s, 60);
    cr_expect_eq(plan.config.root_count, 2);
    cr_expect_str_eq(plan.config.roots[1], "/usr");
    cr_expect_eq(plan.config.socket_gid, 123);
    cr_assert_eq(parse("{\"socket_group\": null}"), 0);
    cr_expect_eq(plan.config.socket_gid, SERVE_NOBODY);
}

static const struct {
    const char *text, *at, *says;
} mistakes[] = {
    {"[]", "c.jsonc:1:1", "object"},
    {"{\"sessions_max\": 1,\n  \"sessions_max\": 2}", "c.jsonc:2:3", ""},
    {"{\n \"sesions_max\": 2}", "c.jsonc:2:2: sesions_max", "sessions_max"},
    {"{\"sessions_max\": 0}", "c.jsonc:1:2: sessions_max", "from 1 to 4000"},
    {"{\"sessions_max\": 4001}", "c.jsonc:1:2", "from 1 to 4000"},
    {"{\"start_timeout_s\": 121}", "c.jsonc:1:2: start_timeout_s", "from 1 to 120"},
    {"{\"sessions_max\": -1}", "c.jsonc:1:2", "whole number"},
    {"{\"sessions_max\": 1.5}", "c.jsonc:1:2", "whole number"},
    {"{\"sessions_max\": \"9\"}", "c.jsonc:1:2", "whole number"},
    {"{\"roots\": \"/usr\"}", "c.jsonc:1:2: roots", "list"},
    {"{\"roots\": [\"/usr\", \"usr\"]}", "c.jsonc:1:20", "absolute"},
    {"{\"roots\": [\"/usr/../etc\"]}", "c.jsonc:1:12", "absolute"},
    {"{\"roots\": [\"/no/such/place\"]}", "c.jsonc:1:12", "no directory"},
    {"{\"ceiling\": \"x\"}", "c.jsonc:1:2: ceiling", "absolute"},
    {"{\"ceiling\": \"/no/such/file\"}", "c.jsonc:1:2: ceiling", "cannot be read"},
    {"{\"socket_group\": \"no-such-group\"}", "c.jsonc:1:2: socket_group", "no group"},
    {"{\"socket_group\": true}", "c.jsonc:1:2", "null"},
    {"{\"listen\": \"0.0.0.0:80\"}", "c.jsonc:1:2: listen", "unix socket only"},
    {"{} x", "c.jsonc:1:4", ""},
    {"{\"front_uid\": 0}", "c.jsonc:1:2: front_uid", ""},
};

Test(serve_config, every_mistake_is_told_at_its_place)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        cr_expect_lt(parse(mistakes[i].text), 0, "%s", mistakes[i].text);
        cr_expect_not_null(strstr(err.subject, mistakes[i].at), "%s: %s", mistakes[i].text,
                           err.subject);
        cr_expect_not_null(strstr(err.detail, mistakes[i].says), "%s: %s", mistakes[i].text,
                           err.detail);
    }
}

Test(serve_config, accounts_are_found_by_whole_names)
{
    static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\nberths:x:7:7::/:\n"
                                 "berth:x:990:991:berth:/:/bin/false\nbad:x:12a\nlast:x:5:6";
    uint32_t gid = 0;
    cr_expect_eq(serve_find_user(passwd, "berth", &gid), 990);
    cr_expect_eq(gid, 991);
    cr_expect_eq(serve_find_user(passwd, "bert", &gid), SERVE_NOBODY);
    cr_expect_eq(serve_find_user(passwd, "bad", &gid), SERVE_NOBODY);
    cr_expect_eq(serve_find_user(passwd, "root", &gid), SERVE_NOBODY, "front is never root");
    cr_expect_eq(serve_find_user(passwd, "last", &gid), 5);
    static const char group[] = "berth-x:x:1:\nberth:x:42:alice,bob\n";
    cr_expect_eq(serve_find_group(group, "berth"), 42);
    cr_expect_eq(serve_find_group(group, "none"), SERVE_NOBODY);
}
