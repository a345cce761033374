/* This file tests who is let in over TCP before the path of a request is looked at, and how long
 * and how many may wait without having shown a token (docs/adr/0015); the operations are fakes.
 */
#include "http_harness.h"

#include "api/http/connection.h"

TestSuite(http_caller, .timeout = 60);

/* ---- pure ------------------------------------------------------------------------------------ */

static const struct {
    const char *host;
    bool plain;
} hosts[] = {
    {"127.0.0.1", true},
    {"127.0.0.1:8080", true},
    {"10.1.2.3:1", true},
    {"[::1]", true},
    {"[::1]:65535", true},
    {"[fd00::2]:80", true},
    {"[::ffff:127.0.0.1]:80", true},
    {"localhost", true},
    {"LocalHost:8080", true},
    {"", false},
    {":80", false},
    {"evil.example", false},
    {"evil.example:80", false},
    {"127.0.0.1.evil.example", false},
    {"localhost.evil.example", false},
    {"127.0.0.1:", true},
    {"127.0.0.1:8a", false},
    {"127.0.0.1:123456", false},
    {"1.2.3", false},
    {"2130706433", false},
    {"0x7f.0.0.1", false},
    {"[::1", false},
    {"[]", false},
    {"[::1].evil.example", false},
    {"[evil]", false},
    {"...", false},
};

Test(http_caller, a_host_is_an_address_or_localhost_and_nothing_that_looks_like_one)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(hosts); i++)
        cr_expect_eq(caller_host_is_plain(hosts[i].host, strlen(hosts[i].host)), hosts[i].plain,
                     "\"%s\"", hosts[i].host);
}

static const struct {
    const char *value, *token;
} values[] = {
    {"Bearer abc", "abc"}, {"bearer abc", "abc"}, {"BEARER   abc", "abc"},
    {"Bearer a b", "a b"}, {"Bearer", NULL},      {"Bearer ", NULL},
    {"Bearerabc", NULL},   {"Basic abc", NULL},   {"", NULL},
    {"abc", NULL},         {"Bearer\tabc", NULL},
};

Test(http_caller, a_token_stands_behind_the_word_bearer)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(values); i++) {
        struct slice token = {NULL, 0};
        bool is = caller_token((struct slice){values[i].value, strlen(values[i].value)}, &token);
        cr_expect_eq(is, values[i].token != NULL, "\"%s\"", values[i].value);
        if (is)
            cr_expect(slice_is(token, values[i].token), "\"%s\"", values[i].value);
    }
}

/* ---- over TCP -------------------------------------------------------------------------------- */

static void start(void)
{
    harness.tcp = true;
    harness_start();
}

static const char *ask(const char *line, const char *headers)
{
    static char answer[1 << 16];
    char request[2048];
    snprintf(request, sizeof request, "%s HTTP/1.1\r\nConnection: close\r\n%s\r\n", line, headers);
    _cleanup_fd_ int fd = client_connect_tcp();
    client_puts(fd, request);
    client_read(fd, answer, sizeof answer, NULL, CLIENT_WAIT_MS);
    return answer;
}

#define HOST "Host: 127.0.0.1\r\n"
#define GOOD "Authorization: Bearer good\r\n"

static const struct {
    const char *line, *headers;
    int status;
} asked[] = {
    {"GET /v1/health", HOST GOOD, 200},
    {"GET /v1/health", "Host: berth.example:80\r\n" GOOD, 200},
    {"GET /v1/health", "Host: evil.example\r\n" GOOD, 403},
    {"GET /v1/health", "Host: berth.example.evil\r\n" GOOD, 403},
    {"GET /v1/health", HOST GOOD "Origin: http://127.0.0.1\r\n", 403},
    {"GET /v1/health", HOST GOOD "Origin: null\r\n", 403},
    {"GET /v1/health", HOST GOOD "Sec-Fetch-Mode: cors\r\n", 200},
    {"GET /v1/health", HOST, 401},
    {"GET /v1/health", HOST "Authorization: Bearer bad\r\n", 401},
    {"GET /v1/health", HOST "Authorization: Basic good\r\n", 401},
    {"GET /v1/health", HOST GOOD GOOD, 401},
    {"GET /v1/health?token=good", HOST, 401},
    {"OPTIONS /v1/health", HOST, 401},
    {"OPTIONS /v1/health", HOST "Origin: http://evil.example\r\n", 403},
    {"GET /nowhere", HOST, 401},
    {"GET /nowhere", HOST GOOD, 404},
    {"PUT /v1/health", HOST, 401},
    {"PUT /v1/health", HOST GOOD, 405},
    {"GET /v1/health", GOOD, 400},
    {"POST /v1/workspaces/w/sessions", HOST "Content-Length: 99999999\r\n", 401},
    {"POST /v1/workspaces/w/sessions", HOST GOOD "Content-Length: 99999999\r\n", 413},
};

Test(http_caller, W_1_a_token_comes_before_everything_but_the_heads_grammar, .init = start,
     .fini = harness_stop)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(asked); i++) {
        char wanted[32];
        const char *answer = ask(asked[i].line, asked[i].headers);
        snprintf(wanted, sizeof wanted, "HTTP/1.1 %d ", asked[i].status);
        cr_expect(strncmp(answer, wanted, strlen(wanted)) == 0, "%s with %s: %s", asked[i].line,
                  asked[i].headers, answer);
        cr_expect_eq(strstr(answer, "WWW-Authenticate: Bearer") != NULL, asked[i].status == 401,
                     "%s", answer);
        cr_expect(!strstr(answer, "Access-Control"), "%s", answer);
    }
}

Test(http_caller, W_1_each_request_of_a_connection_shows_its_own_token, .init = start,
     .fini = harness_stop)
{
    static char text[1 << 16];
    _cleanup_fd_ int fd = client_connect_tcp();
    client_puts(fd, "GET /v1/health HTTP/1.1\r\n" HOST GOOD "\r\n");
    client_read(fd, text, sizeof text, "members", CLIENT_WAIT_MS);
    cr_expect(strncmp(text, "HTTP/1.1 200", 12) == 0, "%s", text);
    client_puts(fd, "GET /v1/health HTTP/1.1\r\n" HOST "\r\n");
    client_read(fd, text, sizeof text, "revoked", CLIENT_WAIT_MS);
    cr_expect(strncmp(text, "HTTP/1.1 401", 12) == 0 || strstr(text, "HTTP/1.1 401"), "%s", text);
}

Test(http_caller, on_the_unix_socket_a_token_is_not_looked_at, .init = start, .fini = harness_stop)
{
    static char text[1 << 16];
    static const char request[] =
        "GET /v1/health HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\n\r\n";
    client_ask(request, strlen(request), text, sizeof text);
    cr_expect(strncmp(text, "HTTP/1.1 200", 12) == 0, "%s", text);
}

Test(http_caller, W_5_what_a_caller_has_open_is_cut_and_what_others_have_is_not, .init = start,
     .fini = harness_stop)
{
    static char text[1 << 16];
    _cleanup_fd_ int stream = client_connect_tcp(), idle = client_connect_tcp(),
                     other = client_connect_tcp(), local = client_connect();
    static const char events[] = "GET /v1/workspaces/w/sessions/s/events HTTP/1.1\r\n";
    client_puts(stream, events);
    client_puts(stream, HOST GOOD "\r\n");
    client_puts(other, events);
    client_puts(other, HOST "Authorization: Bearer other\r\n\r\n");
    client_puts(local, events);
    client_puts(local, HOST "\r\n");
    client_puts(idle, "GET /v1/health HTTP/1.1\r\n" HOST GOOD "\r\n");
    cr_assert(harness_wait(&harness.handled, 4));
    client_read(stream, text, sizeof text, "\r\n\r\n", CLIENT_WAIT_MS);
    client_read(idle, text, sizeof text, "members", CLIENT_WAIT_MS);
    harness.cut = 7;
    harness_command(COMMAND_CUT);
    cr_expect(client_read(stream, text, sizeof text, NULL, CLIENT_WAIT_MS) < 64);
    cr_expect(client_at_end(stream, CLIENT_WAIT_MS), "the stream goes on");
    while (client_read(idle, text, sizeof text, NULL, 100) > 0)
        continue;
    cr_expect(client_at_end(idle, CLIENT_WAIT_MS), "the idle connection stays");
    cr_expect(harness_wait(&harness.gone, 1));
    harness.publish_id = 5;
    harness.publish_bytes = 10;
    harness_command(COMMAND_PUBLISH);
    cr_expect_eq((unsigned)harness.published, 2u, "the other two");
}

static void start_short(void)
{
    harness.limits = http_limits_default;
    harness.limits.head_ms = 300;
    start();
}

Test(http_caller, who_shows_no_token_is_sent_away_and_who_did_stays, .init = start_short,
     .fini = harness_stop)
{
    static char text[1 << 16];
    _cleanup_fd_ int silent = client_connect_tcp(), known = client_connect_tcp();
    client_puts(known, "GET /v1/health HTTP/1.1\r\n" HOST GOOD "\r\n");
    client_read(known, text, sizeof text, "members", CLIENT_WAIT_MS);
    cr_expect(client_at_end(silent, CLIENT_WAIT_MS), "it may stay without a token");
    client_puts(known, "GET /v1/health HTTP/1.1\r\n" HOST GOOD "\r\n");
    client_read(known, text, sizeof text, "HTTP/1.1 200", CLIENT_WAIT_MS);
    cr_expect(strstr(text, "HTTP/1.1 200"), "%s", text);
}

static void start_few(void)
{
    harness.limits = http_limits_default;
    harness.limits.connections_max = 20;
    harness.limits.connections_per_uid_max = 20;
    harness.limits.connections_tcp_max = 8;
    harness.limits.connections_per_token_max = 4;
    start();
}

Test(http_caller, those_without_a_token_make_room_and_the_unix_socket_always_has_some,
     .init = start_few, .fini = harness_stop)
{
    static char text[1 << 16];
    int silent[8];
    for (unsigned i = 0; i < ARRAY_LENGTH(silent); i++)
        silent[i] = client_connect_tcp();
    const char *answer = ask("GET /v1/health", HOST GOOD);
    cr_expect(strncmp(answer, "HTTP/1.1 200", 12) == 0, "%s", answer);
    cr_expect(client_at_end(silent[0], CLIENT_WAIT_MS), "the oldest makes room");
    _cleanup_fd_ int local = client_connect();
    client_puts(local, "GET /v1/health HTTP/1.1\r\nHost: b\r\n\r\n");
    client_read(local, text, sizeof text, "members", CLIENT_WAIT_MS);
    cr_expect(strncmp(text, "HTTP/1.1 200", 12) == 0, "%s", text);
    for (unsigned i = 0; i < ARRAY_LENGTH(silent); i++)
        close(silent[i]);
}

Test(http_caller, one_token_does_not_take_the_room_of_another, .init = start_few,
     .fini = harness_stop)
{
    static char text[1 << 16];
    int held[4];
    for (unsigned i = 0; i < ARRAY_LENGTH(held); i++) {
        held[i] = client_connect_tcp();
        client_puts(held[i], "GET /v1/health HTTP/1.1\r\n" HOST GOOD "\r\n");
        client_read(held[i], text, sizeof text, "members", CLIENT_WAIT_MS);
        cr_expect(strncmp(text, "HTTP/1.1 200", 12) == 0, "%u: %s", i, text);
    }
    const char *answer = ask("GET /v1/health", HOST GOOD);
    cr_expect(strncmp(answer, "HTTP/1.1 429", 12) == 0, "%s", answer);
    answer = ask("GET /v1/health", HOST "Authorization: Bearer other\r\n");
    cr_expect(strncmp(answer, "HTTP/1.1 200", 12) == 0, "%s", answer);
    for (unsigned i = 0; i < ARRAY_LENGTH(held); i++)
        close(held[i]);
}
