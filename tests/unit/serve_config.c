/* This file tests the configuration of `berth serve`: what is read, and that every mistake is told
 * at its place. */
#include "api/cli/serve_keys.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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
    cr_expect_eq(plan.config.audit_rows_max, 1000000);
    cr_expect_eq(plan.config.audit_workspace_rows_max, 100000);
    cr_expect_eq(plan.config.root_count, 0);
    cr_expect_eq(plan.config.ceiling_length, 0);
    cr_expect_eq(plan.config.rootless, geteuid() != 0);
    cr_expect_neq(plan.config.front_uid, geteuid() == 0 ? 0 : UINT32_MAX);
}

Test(serve_config, what_is_said_is_taken)
{
    cr_assert_eq(parse("{\"sessions_max\": 7, \"start_timeout_s\": 60, // few\n \"roots\": "
                       "[\"/usr/share\", \"/usr\"],"
                       "\"audit_rows_max\": 100000000, \"audit_workspace_rows_max\": 100,"
                       "\"socket_group\": 123}"),
                 0, "%s", err.detail);
    cr_expect_eq(plan.config.sessions_max, 7);
    cr_expect_eq(plan.config.start_timeout_s, 60);
    cr_expect_eq(plan.config.audit_rows_max, 100000000);
    cr_expect_eq(plan.config.audit_workspace_rows_max, 100);
    cr_expect_eq(plan.config.root_count, 2);
    cr_expect_str_eq(plan.config.roots[1], "/usr");
    cr_expect_eq(plan.config.socket_gid, 123);
    cr_assert_eq(parse("{\"socket_group\": null}"), 0);
    cr_expect_eq(plan.config.socket_gid, SERVE_NOBODY);
}

Test(serve_config, addresses_and_names_for_callers_over_a_network_are_taken)
{
    cr_assert_eq(parse("{\"listen\": [\"127.0.0.1:8080\", \"[::1]:0\", \"10.0.0.1:65535\"],"
                       "\"listen_beyond_loopback\": true, \"hosts\": [\"berth.example.org\"]}"),
                 0, "%s: %s", err.subject, err.detail);
    cr_expect_eq(plan.config.tcp_count, 3u);
    cr_expect(!plan.addresses[0].six && plan.addresses[0].loopback);
    cr_expect_eq(plan.addresses[0].port, 8080);
    cr_expect(plan.addresses[1].six && plan.addresses[1].loopback);
    cr_expect(!plan.addresses[2].loopback);
    cr_expect_eq(plan.config.host_count, 1u);
    cr_expect_str_eq(plan.config.hosts[0], "berth.example.org");
    cr_expect_lt(serve_config_listen("localhost:80", &plan, &err), 0);
    cr_expect_eq(serve_config_listen("10.0.0.2:80", &plan, &err), 0, "the file allows it");
    cr_assert_eq(parse("{}"), 0);
    cr_expect_lt(serve_config_listen("10.0.0.2:80", &plan, &err), 0, "only a file allows it");
    cr_expect_eq(serve_config_listen("127.1.2.3:80", &plan, &err), 0);
    cr_expect_eq(plan.config.tcp_count, 1u);
}

static const struct {
    const char *text, *at, *says;
} mistakes[] = {
    {"[]", "c.jsonc:1:1", "object"},
    {"{\"sessions_max\": 1,\n  \"sessions_max\": 2}", "c.jsonc:2:3", ""},
    {"{\n \"sesions_max\": 2}", "c.jsonc:2:2: sesions_max", "sessions_max"},
    {"{\"sessions_max\": 0}", "c.jsonc:1:2: sessions_max", "from 1 to 4000"},
    {"{\"sessions_max\": 4001}", "c.jsonc:1:2", "from 1 to 4000"},
    {"{\"audit_rows_max\": 99}", "c.jsonc:1:2: audit_rows_max", "from 100 to 100000000"},
    {"{\"audit_workspace_rows_max\": 1e9}", "c.jsonc:1:2: audit_workspace_rows_max",
     "from 100 to 100000000"},
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
    {"{\"listen\": \"0.0.0.0:80\"}", "c.jsonc:1:2: listen", "list"},
    {"{\"listen\": [\"localhost:80\"]}", "c.jsonc:1:13", "an address and a port"},
    {"{\"listen\": [\"127.0.0.1\"]}", "c.jsonc:1:13", "an address and a port"},
    {"{\"listen\": [\"127.0.0.1:65536\"]}", "c.jsonc:1:13", "an address and a port"},
    {"{\"listen\": [\"[::1:80\"]}", "c.jsonc:1:13", "an address and a port"},
    {"{\"listen\": [\"::1:80\"]}", "c.jsonc:1:13", "an address and a port"},
    {"{\"listen\": [\"127.0.0.1:80\", \"0.0.0.0:80\"]}", "c.jsonc:1:29", "beyond this host"},
    {"{\"listen\": [\"[::]:80\"], \"listen_beyond_loopback\": false}", "c.jsonc:1:13",
     "listen_beyond_loopback"},
    {"{\"listen_beyond_loopback\": 1}", "c.jsonc:1:2", "true or false"},
    {"{\"hosts\": [\"a b\"]}", "c.jsonc:1:12", "name of a host"},
    {"{\"hosts\": [\"a:80\"]}", "c.jsonc:1:12", "without a port"},
    {"{\"resolver\": \"192.0.2.53\"}", "c.jsonc:1:2: resolver", "list"},
    {"{\"resolver\": [\"192.0.2.53\", \"dns.example\"]}", "c.jsonc:1:29", "no name"},
    {"{\"resolver\": [\"192.0.2.53:0\"]}", "c.jsonc:1:15", "no name"},
    {"{\"resolver\": [53]}", "c.jsonc:1:15", "an address"},
    {"{\"host_door\": 5432}", "c.jsonc:1:2: host_door", "list"},
    {"{\"host_door\": [5432, 0]}", "c.jsonc:1:22", "from 1 to 65535"},
    {"{\"host_door\": [\"*\"]}", "c.jsonc:1:16", "whole number"},
    {"{\"host_door\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "c.jsonc:1:2: host_door",
     "at most 16"},
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

/* ---- the table of keys ------------------------------------------------------------------------
 */

static const char whole[] =
    "{\"sessions_max\": 200, \"roots\": [\"/usr/share\"], \"socket\": \"/run/b.sock\","
    " \"socket_group\": 5, \"listen\": [\"127.0.0.1:8080\", \"[::1]:8080\"],"
    " \"listen_beyond_loopback\": true, \"hosts\": [\"berth.example.org\"], \"log\": \"failures\","
    " \"resolver\": [\"192.0.2.53\", \"[2001:db8::53]:5353\"], \"host_door\": [5432, 8080]}";

static void must_parse(const char *text, struct serve_plan *ret)
{
    memset(&err, 0, sizeof err);
    memset(ret, 0, sizeof *ret);
    cr_assert_eq(serve_config_parse("c.jsonc", text, strlen(text), ret, &err), 0, "%s: %s: %s",
                 text, err.subject, err.detail);
}

Test(serve_config, what_a_key_shows_is_what_was_written)
{
    for (unsigned i = 0; i < SERVE_KEY_COUNT; i++) {
        const struct serve_key *key = &serve_keys[i];
        char text[512];
        const char *value = strcmp(key->name, "roots") == 0          ? "[\"/usr/share\"]"
                            : strcmp(key->name, "socket_group") == 0 ? "7"
                                                                     : key->example;
        cr_expect(key->help[0] && key->allowed[0] && key->standard[0] && key->schema[0] == '{');
        cr_expect_eq(key->help[strlen(key->help) - 1], '.', "%s", key->name);
        if (strcmp(key->name, "ceiling") == 0 ||
            (strncmp(key->name, "front_", 6) == 0 && geteuid() != 0))
            continue;
        snprintf(text, sizeof text, "{\"%s\": %s}", key->name, value);
        must_parse(text, &plan);
        _cleanup_buf_ struct buf shown = {0};
        key->show(&plan, &shown);
        cr_expect_str_eq(buf_text(&shown), value, "%s", key->name);
    }
}

Test(serve_config, the_pages_are_made_of_the_table)
{
    static char file[64 << 10];
    const struct {
        const char *path;
        void (*make)(struct buf *out);
    } pages[] = {{"docs/config-reference.md", serve_config_reference},
                 {"docs/config.schema.json", serve_config_schema}};
    for (unsigned i = 0; i < ARRAY_LENGTH(pages); i++) {
        _cleanup_buf_ struct buf text = {0};
        _cleanup_fd_ int fd = open(pages[i].path, O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : io_read_full(fd, file, sizeof file - 1);
        cr_assert_gt(n, 0, "%s: run this from the tree's top", pages[i].path);
        file[n] = 0;
        pages[i].make(&text);
        cr_expect(strcmp(file, buf_text(&text)) == 0, "%s differs: run `make policy-docs`",
                  pages[i].path);
    }
}

/* A byte changed, left out or doubled, anywhere: it is read, or refused with a place. */
Test(serve_config, whatever_is_changed_in_a_file_is_read_or_refused_at_a_place)
{
    static const char bytes[] = "{}[]\",:\\ 0-9.e\n/*tfnu\xff";
    unsigned refused = 0, read = 0, line;
    srand(20261123);
    for (unsigned i = 0; i < 20000; i++) {
        char text[sizeof whole + 8];
        size_t n = sizeof whole - 1;
        memcpy(text, whole, sizeof whole);
        for (int changes = 1 + rand() % 3; changes > 0 && n > 1; changes--) {
            size_t at = (size_t)rand() % n;
            int kind = rand() % 3;
            if (kind == 0) {
                text[at] = bytes[(size_t)rand() % (sizeof bytes - 1)];
            } else if (kind == 1) {
                memmove(text + at, text + at + 1, n - at);
                n--;
            } else if (n + 1 < sizeof text) {
                memmove(text + at + 1, text + at, n - at + 1);
                n++;
            }
        }
        text[n] = 0;
        memset(&plan, 0, sizeof plan);
        memset(&err, 0, sizeof err);
        if (serve_config_parse("c.jsonc", text, n, &plan, &err) == 0) {
            read++;
            cr_assert_leq(plan.config.tcp_count, (unsigned)SERVE_TCP_MAX);
            cr_assert_leq(plan.config.host_count, (unsigned)SERVE_HOSTS_MAX);
            cr_assert_leq(plan.resolver_count, (unsigned)SERVE_RESOLVERS_MAX);
            cr_assert_leq(plan.config.door_count, (unsigned)SERVE_DOOR_MAX);
            cr_assert_leq(plan.config.sessions_max, 4000u);
        } else {
            refused++;
            cr_assert(sscanf(err.subject, "c.jsonc:%u:", &line) == 1 && line >= 1 && line <= 4,
                      "%s: %s", text, err.subject);
            cr_assert(err.detail[0], "%s: no reason", text);
        }
    }
    cr_expect_gt(refused, 10000u);
    cr_expect_gt(read, 100u);
}

/* Without its file every limit that stands in it would go. */
Test(serve_config, a_file_that_has_gone_is_no_configuration_without_limits)
{
    static struct serve_place place;
    static struct serve_options options;
    struct serve_launch launch = {.plan = &plan, .place = &place, .config = -1};
    strcpy(options.config_path, "/nowhere/berth.jsonc");
    cr_assert_eq(parse("{\"sessions_max\": 7}"), 0, "%s", err.detail);
    cr_assert_eq(serve_config_load(options.config_path, false, &(struct serve_plan){0}, &err), 0);
    plan.file_read = true;
    cr_expect_eq(serve_reload(&launch, &options), 0);
    cr_expect_eq(plan.config.sessions_max, 7);
    cr_expect_eq(plan.config.reload_failed, 1);
    close(launch.config);
}

Test(serve_config, a_reload_names_what_changed_and_keeps_what_cannot)
{
    static struct serve_plan now, next, again;
    char changed[SERVE_NAMES_SIZE];
    must_parse(whole, &now);
    must_parse(whole, &next);
    cr_expect_eq(serve_reload_compare(&now, &next, changed), 0u);
    cr_expect_str_eq(changed, "");
    cr_expect_str_eq(next.config.pending, "");
    must_parse("{\"socket_group\": null}", &next);
    cr_expect_eq(serve_reload_compare(&now, &next, changed), 7u, "%s", changed);
    cr_expect_str_eq(changed, "sessions_max roots socket_group hosts log resolver host_door");
    cr_expect_str_eq(next.config.pending, "socket listen listen_beyond_loopback");
    cr_expect_eq(next.config.tcp_count, 2u, "the sockets are there");
    cr_expect_eq(next.addresses[1].port, 8080);
    cr_expect_str_eq(next.socket, "/run/b.sock");
    cr_expect_eq(next.config.sessions_max, 1000u);
    cr_expect_eq(next.config.host_count, 0u);
    cr_expect(next.resolver_count == 0 && next.config.door_count == 0);
    /* The same file once more: it still waits. */
    must_parse("{\"socket_group\": null}", &again);
    cr_expect_eq(serve_reload_compare(&next, &again, changed), 0u);
    cr_expect_str_eq(again.config.pending, "socket listen listen_beyond_loopback");
}
