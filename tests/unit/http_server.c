/* This file tests the HTTP server on a unix socket with raw bytes: what it answers, what it
 * refuses, and where one request ends and the next begins (attack catalogue, row 53).
 */
#include "tests/unit/http_harness.h"

#define HOST        "Host: x\r\n"
#define GET(target) "GET " target " HTTP/1.1\r\n" HOST "\r\n"
#define SESSIONS    "/v1/workspaces/w/sessions"

static char text[256 * 1024];

TestSuite(http_server, .init = harness_start, .fini = harness_stop, .timeout = 60);

static const char *ask(const char *request)
{
    client_ask(request, strlen(request), text, sizeof text);
    return text;
}

Test(http_server, answers_a_document_with_an_id_and_a_length)
{
    ask(GET("/v1/health"));
    cr_assert(strncmp(text, "HTTP/1.1 200 OK\r\n", 17) == 0, "%s", text);
    cr_assert(strstr(text, "\r\nX-Request-Id: r"), "%s", text);
    cr_assert(strstr(text, "\r\nContent-Type: application/json\r\n"), "%s", text);
    cr_assert(strstr(text, "\r\nDate: "), "%s", text);
    cr_assert(strstr(text, "\r\n\r\n{\"route\":\"HEALTH\""), "%s", text);
}

Test(http_server, hands_the_kernels_word_for_who_asks_to_the_operation)
{
    char who[64];
    snprintf(who, sizeof who, "\"uid\":%u,\"pid\":%d", getuid(), getpid());
    cr_assert(strstr(ask(GET("/v1/health")), who), "%s", text);
}

/* ---- where a request ends -------------------------------------------------------------------- */

#define PUT_      "PUT " SESSIONS "/s/files?path=f HTTP/1.1\r\n" HOST
#define GET_      "GET /v1/health HTTP/1.1\r\n" HOST
#define T(string) string, sizeof string - 1

/* Each is sent as it is. `served`: how many requests may be understood in it; 0: it is refused, and
 * what follows is not taken for another request. */
static const struct {
    const char *what, *bytes;
    size_t length;
    unsigned served;
} vectors[] = {
    {"plain", T(GET_ "\r\n"), 1},
    {"pipelined", T(GET_ "\r\n" GET_ "\r\n"), 2},
    {"body", T(PUT_ "Content-Length: 3\r\n\r\nabc"), 1},
    {"chunked", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), 1},
    {"chunk-ext", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n"), 1},
    {"CL+TE", T(PUT_ "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"), 0},
    {"TE+CL", T(PUT_ "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), 0},
    {"two CL differ", T(PUT_ "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 0},
    {"two CL same", T(PUT_ "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 0},
    {"CL list", T(PUT_ "Content-Length: 3, 3\r\n\r\nabc"), 0},
    {"CL plus", T(PUT_ "Content-Length: +3\r\n\r\nabc"), 0},
    {"CL minus", T(PUT_ "Content-Length: -3\r\n\r\nabc"), 0},
    {"CL hex", T(PUT_ "Content-Length: 0x3\r\n\r\nabc"), 0},
    {"CL overflow", T(PUT_ "Content-Length: 18446744073709551619\r\n\r\nabc"), 0},
    {"CL inner space", T(PUT_ "Content-Length: 3 3\r\n\r\nabc"), 0},
    {"CL empty", T(PUT_ "Content-Length:\r\n\r\nabc"), 0},
    {"TE xchunked", T(PUT_ "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 0},
    {"TE identity", T(PUT_ "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc"), 0},
    {"TE gzip, chunked", T(PUT_ "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 0},
    {"TE chunked, gzip", T(PUT_ "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"), 0},
    {"TE twice",
     T(PUT_ "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 0},
    {"TE vtab", T(PUT_ "Transfer-Encoding: \013chunked\r\n\r\n0\r\n\r\n"), 0},
    {"TE on 1.0",
     T("PUT /v1/workspaces/w/sessions/s/files?path=f HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\n"),
     0},
    {"space before colon", T(PUT_ "Content-Length : 3\r\n\r\nabc"), 0},
    {"space before colon TE", T(PUT_ "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 0},
    {"obs-fold", T(GET_ "X: a\r\n b\r\n\r\n"), 0},
    {"obs-fold TE", T(PUT_ "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"), 0},
    {"leading space header", T("GET /v1/health HTTP/1.1\r\n Host: x\r\n\r\n"), 0},
    {"bare LF lines", T("GET /v1/health HTTP/1.1\nHost: x\n\n"), 0},
    {"bare LF one header", T(GET_ "X: a\nY: b\r\n\r\n"), 0},
    {"bare CR in value", T(GET_ "X: a\rY: b\r\n\r\n"), 0},
    {"NUL in value", T(GET_ "X: a\000b\r\n\r\n"), 0},
    {"NUL in name", T(GET_ "X\000: a\r\n\r\n"), 0},
    {"ctl in value", T(GET_ "X: a\001b\r\n\r\n"), 0},
    {"no colon", T(GET_ "Xab\r\n\r\n"), 0},
    {"empty name", T(GET_ ": a\r\n\r\n"), 0},
    {"no host 1.1", T("GET /v1/health HTTP/1.1\r\n\r\n"), 0},
    {"two hosts", T(GET_ "Host: y\r\n\r\n"), 0},
    {"HTTP/0.9", T("GET /v1/health\r\n\r\n"), 0},
    {"HTTP/1.2", T("GET /v1/health HTTP/1.2\r\nHost: x\r\n\r\n"), 0},
    {"HTTP/2.0", T("GET /v1/health HTTP/2.0\r\nHost: x\r\n\r\n"), 0},
    {"http/1.1 lower", T("GET /v1/health http/1.1\r\nHost: x\r\n\r\n"), 0},
    {"two spaces", T("GET  /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"tab in line", T("GET\t/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"space in target", T("GET /v1/he alth HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"ctl in target", T("GET /v1/he\177alth HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"8bit in target", T("GET /v1/he\377alth HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"method junk", T("G@T /v1/health HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"chunk size +", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n"), 0},
    {"chunk size 0x", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n"), 0},
    {"chunk size overflow",
     T(PUT_ "Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n"), 0},
    {"chunk bare LF size", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n"), 0},
    {"chunk data no CRLF", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3\r\nabcXX0\r\n\r\n"), 0},
    {"chunk ext LF", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n"), 0},
    {"chunk leading space", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n"), 0},
    {"chunk trail space", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n"), 0},
    {"trailer CL",
     T(PUT_ "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n" GET_ "\r\n"), 0},
    {"absolute other host", T("GET http://evil/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"CONNECT", T("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n"), 0},
    {"upgrade h2c",
     T(GET_ "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n"),
     1},
    {"empty line before", T("\r\n" GET_ "\r\n"), 0},
    {"chunk data, another CR", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3\r\nabcX\n0\r\n\r\n"), 0},
    {"chunk data, another LF", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\rX0\r\n\r\n"), 0},
    {"last chunk, another CR", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n0\r\nX\n"), 0},
    {"last chunk, another LF", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n0\r\n\rX"), 0},
    {"chunk size alone", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n;a\r\n0\r\n\r\n"), 0},
    {"chunk with ctl in extension",
     T(PUT_ "Transfer-Encoding: chunked\r\n\r\n1;\001\r\na\r\n0\r\n\r\n"), 0},
    {"two chunks",
     T(PUT_ "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n00A\r\n0123456789\r\n0\r\n\r\n"), 1},
    {"trailer", T(PUT_ "Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n"), 0},
    {"body on a route without", T(GET_ "Content-Length: 1\r\n\r\na"), 0},
    {"body of none", T(GET_ "Content-Length: 0\r\n\r\n" GET_ "\r\n"), 2},
    {"expectation unknown", T(PUT_ "Expect: 200-ok\r\nContent-Length: 1\r\n\r\na"), 0},
    {"content encoding", T(PUT_ "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\na"), 0},
    {"body, then another", T(PUT_ "Content-Length: 2\r\n\r\nGE" GET_ "\r\n"), 2},
    {"chunks, then another",
     T(PUT_ "Transfer-Encoding: chunked\r\n\r\n2\r\nGE\r\n0\r\n\r\n" GET_ "\r\n"), 2},
    {"close, then another", T(GET_ "Connection: x, Close\r\n\r\n" GET_ "\r\n"), 1},
};

Test(http_server, a_request_ends_in_one_place_or_is_refused)
{
    for (size_t i = 0; i < ARRAY_LENGTH(vectors); i++) {
        client_ask(vectors[i].bytes, vectors[i].length, text, sizeof text);
        cr_expect(count_of(text, "HTTP/1.1 200 ") == vectors[i].served, "%s: %s", vectors[i].what,
                  text);
        if (vectors[i].served == 0)
            cr_expect(count_of(text, "HTTP/1.1 4") == 1 && strstr(text, "Connection: close"),
                      "%s: one refusal, then the end: %s", vectors[i].what, text);
    }
}

/* The same when the bytes come one at a time: no decision depends on how they are cut. */
Test(http_server, how_bytes_are_cut_into_packets_changes_nothing)
{
    for (size_t i = 0; i < ARRAY_LENGTH(vectors); i++) {
        _cleanup_fd_ int fd = client_connect();
        for (size_t at = 0; at < vectors[i].length; at++)
            if (client_send(fd, vectors[i].bytes + at, 1) != 1)
                break;
        shutdown(fd, SHUT_WR);
        client_read(fd, text, sizeof text, NULL, CLIENT_WAIT_MS);
        cr_expect(count_of(text, "HTTP/1.1 200 ") == vectors[i].served, "%s: %s", vectors[i].what,
                  text);
    }
}

Test(http_server, pipelined_requests_are_answered_in_order)
{
    ask(GET("/v1/health") GET("/v1/capabilities") GET("/v1/resources") GET("/v1/health"));
    const char *first = strstr(text, "\"HEALTH\""), *second = strstr(text, "\"CAPABILITIES\"");
    const char *third = strstr(text, "\"RESOURCES\"");
    cr_assert(first && second && third && first < second && second < third, "%s", text);
    cr_assert(count_of(text, "HTTP/1.1 200 ") == 4, "%s", text);
}

/* ---- limits of the head ---------------------------------------------------------------------- */

static const char *ask_fields(unsigned count, size_t length)
{
    _cleanup_buf_ struct buf request = {0};
    buf_puts(&request, GET_);
    for (unsigned i = 0; i < count; i++) {
        buf_printf(&request, "X-%u: ", i);
        for (size_t n = 0; n < length; n++)
            buf_putc(&request, 'v');
        buf_puts(&request, "\r\n");
    }
    buf_puts(&request, "\r\n");
    client_ask(request.data, request.length, text, sizeof text);
    return text;
}

Test(http_server, a_head_that_is_too_large_is_431)
{
    cr_expect(strstr(ask_fields(63, 10), " 200 "), "63 fields and Host: %s", text);
    cr_expect(strstr(ask_fields(64, 10), " 431 "), "%s", text);
    cr_expect(strstr(ask_fields(1, 16000), " 200 "), "%s", text);
    cr_expect(strstr(ask_fields(1, 17000), " 431 "), "%s", text);
    cr_expect(strstr(text, "\"code\":\"too_large\""), "%s", text);
    cr_expect(strstr(ask_fields(1000, 1000), " 431 "), "a flood: %s", text);
}

/* ---- refusals in front of the body ----------------------------------------------------------- */

#define CREATE(fields) "POST " SESSIONS " HTTP/1.1\r\n" HOST fields "\r\n"

Test(http_server, refuses_what_it_can_before_the_body_is_sent)
{
    static const struct {
        const char *request, *answer;
    } cases[] = {
        {CREATE("Content-Length: 1048577\r\nExpect: 100-continue\r\n"), "413"},
        {"POST /v1/nowhere HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n", "404"},
        {"PUT " SESSIONS " HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n", "405"},
        {CREATE("Content-Length: 10\r\nIdempotency-Key: a b\r\n"), "400"},
        {CREATE("Content-Length: 10\r\nContent-Type: text/plain\r\n"), "400"},
        {"POST /v1/workspaces/..x/sessions HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n", "400"},
        {"POST /v1/workspaces/foreign/sessions HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n",
         "404"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        _cleanup_fd_ int fd = client_connect();
        client_puts(fd, cases[i].request);
        client_read(fd, text, sizeof text, NULL, 1000);
        cr_expect(strncmp(text + 9, cases[i].answer, 3) == 0, "%s: %s", cases[i].request, text);
        cr_expect(count_of(text, "HTTP/1.1 ") == 1, "no 100 Continue first: %s", text);
    }
    cr_assert(harness.handled == 0);
    cr_assert(harness.refused_callers == 1);
}

Test(http_server, a_client_that_sends_its_body_anyway_can_still_read_the_refusal)
{
    static char body[2 * 1024 * 1024];
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, CREATE("Content-Length: 2097152\r\n"));
    cr_assert(client_send(fd, body, sizeof body) == sizeof body, "it was cut while it sent");
    client_read(fd, text, sizeof text, NULL, 3000);
    cr_assert(strncmp(text, "HTTP/1.1 413 ", 13) == 0, "%s", text);
}

Test(http_server, a_chunked_body_is_cut_at_the_routes_limit)
{
    static char chunk[65536];
    memset(chunk, ' ', sizeof chunk);
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, CREATE("Transfer-Encoding: chunked\r\n"));
    for (int i = 0; i < 17; i++) {
        client_puts(fd, "10000\r\n");
        client_send(fd, chunk, sizeof chunk);
        client_puts(fd, "\r\n");
    }
    client_read(fd, text, sizeof text, NULL, 3000);
    cr_assert(strncmp(text, "HTTP/1.1 413 ", 13) == 0, "%s", text);
}

Test(http_server, says_100_continue_only_to_who_waits_for_it)
{
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, CREATE("Content-Length: 2\r\nExpect: 100-continue\r\n"));
    client_read(fd, text, sizeof text, "\r\n\r\n", 2000);
    cr_assert_str_eq(text, "HTTP/1.1 100 Continue\r\n\r\n");
    client_puts(fd, "{}");
    client_read(fd, text, sizeof text, "}", 2000);
    cr_assert(strncmp(text, "HTTP/1.1 201 ", 13) == 0, "%s", text);
    cr_assert(!strstr(ask(CREATE("Content-Length: 2\r\n") "{}"), " 100 "));
}

/* ---- routes on the wire ---------------------------------------------------------------------- */

Test(http_server, a_method_that_the_path_does_not_have_is_405_with_those_that_it_has)
{
    ask("PUT " SESSIONS "/s HTTP/1.1\r\n" HOST "\r\n");
    cr_assert(strncmp(text, "HTTP/1.1 405 ", 13) == 0, "%s", text);
    cr_assert(strstr(text, "\r\nAllow: GET, DELETE\r\n"), "%s", text);
    cr_assert(strstr(text, "\"allowed\":[\"GET\",\"DELETE\"]"), "%s", text);
    ask("OPTIONS " SESSIONS "/s HTTP/1.1\r\n" HOST "\r\n");
    cr_assert(strncmp(text, "HTTP/1.1 405 ", 13) == 0, "%s", text);
}

Test(http_server, every_built_route_reaches_its_operation)
{
    unsigned built = 0;
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at((enum route_id)i);
        _cleanup_buf_ struct buf request = {0};
        buf_printf(&request, "%s ", http_method_name(route->method));
        for (const char *at = route->path; *at; at++) {
            if (*at == '{')
                buf_putc(&request, at[1]), at += 2;
            else
                buf_putc(&request, *at);
        }
        if (route->later || route->answer == ANSWER_EVENTS)
            continue;
        built++;
        buf_puts(&request, strcmp(route->query, "path") == 0 ? "?path=file" : "");
        buf_puts(&request, " HTTP/1.1\r\n" HOST);
        /* A body with a field that is required where one is. */
        static const char body[] =
            "{\"signal\":\"TERM\"}|{\"rows\":1,\"cols\":1}|{\"path\":\"a\"}|"
            "{\"from\":\"a\",\"to\":\"b\"}|{\"path\":\"a\",\"mode\":\"644\"}|{\"name\":\"n\"}|"
            "{\"owner\":\"o\"}|{\"workspaces\":[\"w\"]}|{\"port\":1}|{}";
        unsigned tried = 0;
        bool reached = false;
        for (const char *at = body; *at && !reached; tried++) {
            size_t n = strcspn(at, "|");
            _cleanup_buf_ struct buf whole = {0};
            buf_puts(&whole, request.data);
            if (route->body == BODY_OBJECT)
                buf_printf(&whole, "Content-Length: %zu\r\n\r\n%.*s", n, (int)n, at);
            else
                buf_puts(&whole, "\r\n");
            client_ask(whole.data, whole.length, text, sizeof text);
            reached = strncmp(text, "HTTP/1.1 20", 11) == 0;
            at += n + (at[n] == '|');
        }
        cr_expect(reached, "%s: %s", route->name, text);
    }
    cr_assert(built >= 30, "only %u", built);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static const char *create(const char *body)
{
    char request[4096];
    snprintf(request, sizeof request, CREATE("Content-Length: %zu\r\n") "%s", strlen(body), body);
    return ask(request);
}

Test(http_server, a_body_that_is_wrong_is_told_where)
{
    static const struct {
        const char *body, *pointer, *says;
    } cases[] = {
        {"{\"owner\":\"a\",\"owner\":\"b\"}", "/owner", "twice"},
        {"{\"labels\":{\"a/b\":{\"x\":1,\"x\":2}}}", "/labels/a~1b/x", "twice"},
        {"{\"secrets\":[{},{\"a\":nul}]}", "/secrets/1/a", "Line 1, column 21"},
        {"{\"ttl_ms\":1.5}", "/ttl_ms", "whole number"},
        {"{\"ttl_ms\":0}", "/ttl_ms", "whole number from 1"},
        {"{\"ttl_ms\":\"1\"}", "/ttl_ms", "Must be a number; it is a string"},
        {"{\"ttl_ms\":18446744073709551616}", "/ttl_ms", "Line 1"},
        {"{\"session_id\":\"-x\"}", "/session_id", "An id is"},
        {"{\"session_idd\":\"x\"}", "/session_idd", "no such field"},
        {"{\"a~b\":1}", "/a~0b", "no such field"},
        {"[]", "", "must be an object"},
        {"{} {}", "", "after the end"},
        {"{} // x", "", "Line 1, column 4"},
        {"{'owner':1}", "", "double quotes"},
        {"\xef\xbb\xbf{}", "", "byte order mark"},
        {"{\"owner\":\"\\ud800\"}", "/owner", "surrogate"},
        {"nope", "", "Line 1, column 1"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "\"pointer\":\"%s\"", cases[i].pointer);
        create(cases[i].body);
        cr_expect(strncmp(text, "HTTP/1.1 400 ", 13) == 0, "%s: %s", cases[i].body, text);
        cr_expect(strstr(text, pointer), "%s: %s", cases[i].body, text);
        cr_expect(strstr(text, cases[i].says), "%s: %s", cases[i].body, text);
        cr_expect(strstr(text, "Content-Type: application/problem+json\r\n"), "%s", text);
    }
    cr_assert(harness.handled == 0);
}

Test(http_server, a_body_of_too_many_values_is_refused)
{
    enum { COUNT = 200000 };
    static char request[COUNT * 2 + 200];
    size_t n =
        (size_t)snprintf(request, sizeof request,
                         CREATE("Content-Length: %d\r\n") "{\"requires\":[1", COUNT * 2 + 14);
    for (int i = 0; i < COUNT - 1; i++, n += 2)
        memcpy(request + n, ",1", 2);
    memcpy(request + n, "]}", 3);
    ask(request);
    cr_assert(strncmp(text, "HTTP/1.1 400 ", 13) == 0 && strstr(text, "more than 65536 values"),
              "%s", text);
}

Test(http_server, no_body_is_an_empty_object)
{
    ask(CREATE(""));
    cr_assert(strncmp(text, "HTTP/1.1 201 ", 13) == 0 && strstr(text, "\"members\":0"), "%s", text);
}

/* ---- idempotency keys ------------------------------------------------------------------------ */

static void fingerprint(const char *request, char ret_text[65])
{
    const char *at = strstr(ask(request), "\"fingerprint\":\"");
    cr_assert(at, "%s", text);
    snprintf(ret_text, 65, "%s", at + 15);
}

Test(http_server, the_fingerprint_is_of_method_path_and_body)
{
    char one[65], again[65], body[65], path[65];
    fingerprint(CREATE("Content-Length: 2\r\nIdempotency-Key: \"k-1\"\r\n") "{}", one);
    cr_assert(strstr(text, "\"key\":\"k-1\""), "quotes are taken off: %s", text);
    fingerprint(CREATE("Transfer-Encoding: chunked\r\nX: y\r\n") "2\r\n{}\r\n0\r\n\r\n", again);
    fingerprint(CREATE("Content-Length: 3\r\n") "{ }", body);
    fingerprint("POST /v1/workspaces/v/sessions HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}",
                path);
    cr_assert(strlen(one) == 64);
    cr_assert_str_eq(one, again);
    cr_assert_str_neq(one, body);
    cr_assert_str_neq(one, path);
}

Test(http_server, a_key_that_would_be_ignored_is_refused)
{
    static const char *const bad[] = {
        CREATE("Idempotency-Key:\r\n"),
        CREATE("Idempotency-Key: a,b\r\n"),
        CREATE("Idempotency-Key: a\r\nIdempotency-Key: a\r\n"),
        "GET /v1/health HTTP/1.1\r\n" HOST "Idempotency-Key: a\r\n\r\n",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        cr_expect(strncmp(ask(bad[i]), "HTTP/1.1 400 ", 13) == 0, "%s: %s", bad[i], text);
}

/* ---- limits of time and number --------------------------------------------------------------- */

static void slow_limits(void)
{
    harness.limits = http_limits_default;
    harness.limits.head_ms = harness.limits.body_ms = 300;
    harness.limits.idle_ms = 2000;
    harness.limits.bodies_bytes = 20000;
    harness.limits.connections_max = 8;
    harness.limits.connections_per_uid_max = 6;
    harness_start();
}

TestSuite(http_limits, .init = slow_limits, .fini = harness_stop, .timeout = 60);

/* No deadline comes while the bodies are being sent, however busy the machine is. */
static void slow_limits_without_deadline(void)
{
    harness.limits = http_limits_default;
    harness.limits.bodies_bytes = 20000;
    harness_start();
}

TestSuite(http_budget, .init = slow_limits_without_deadline, .fini = harness_stop, .timeout = 60);

Test(http_budget, bodies_that_are_half_sent_have_a_budget_together)
{
    static char spaces[7000];
    memset(spaces, ' ', sizeof spaces);
    int fds[4];
    unsigned refused = 0;
    for (int i = 0; i < 4; i++) {
        fds[i] = client_connect();
        client_puts(fds[i], CREATE("Content-Length: 10000\r\n"));
        client_send(fds[i], spaces, sizeof spaces);
    }
    cr_assert(harness_wait(&harness.served, 2), "nobody was refused");
    for (int i = 0; i < 4; i++) {
        client_read(fds[i], text, sizeof text, "}", 100);
        refused += strncmp(text, "HTTP/1.1 503 ", 13) == 0;
        close(fds[i]);
    }
    cr_assert(refused == 2, "20,000 bytes hold two: %u", refused);
    bool again = false;
    for (int i = 0; i < 200 && !again; i++)
        again = strncmp(create("{}"), "HTTP/1.1 201 ", 13) == 0;
    cr_assert(again, "the budget is given back: %s", text);
}

/* Drips a byte every 20 ms; how long the server bore it, in bytes. */
static size_t drip(const char *request)
{
    _cleanup_fd_ int fd = client_connect();
    size_t at = 0;
    for (; at < 200; at++) {
        char byte = request[at] ? request[at] : 'a';
        if (client_at_end(fd, 20) || client_send(fd, &byte, 1) != 1)
            break;
    }
    return at;
}

Test(http_limits, a_head_that_drips_is_cut_however_it_drips)
{
    size_t borne = drip("GET /v1/health HTTP/1.1\r\nX: ");
    cr_assert(borne >= 5 && borne < 100, "%zu bytes at 20 ms each", borne);
}

Test(http_limits, a_body_that_drips_is_cut)
{
    size_t borne = drip("POST /v1/reap HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n");
    cr_assert(borne < 150, "%zu bytes at 20 ms each", borne);
    cr_assert(harness.handled == 0);
}

Test(http_limits, a_connection_at_rest_is_closed)
{
    _cleanup_fd_ int silent = client_connect(), served = client_connect();
    client_puts(served, GET("/v1/health"));
    client_read(served, text, sizeof text, "}", 1000);
    cr_expect(client_at_end(silent, 5000));
    cr_expect(client_at_end(served, 5000));
}

Test(http_limits, one_caller_cannot_take_every_connection)
{
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = client_connect();
    for (int i = 0; i < 8; i++) {
        client_puts(fds[i], GET("/v1/health"));
        client_read(fds[i], text, sizeof text, "}", 2000);
        const char *status = i < 6 ? "HTTP/1.1 200 " : "HTTP/1.1 503 ";
        cr_expect(strncmp(text, status, 13) == 0, "%d: %s", i, text);
    }
    cr_expect(strstr(text, "\"code\":\"unavailable\""));
    for (int i = 0; i < 8; i++)
        close(fds[i]);
    bool again = false;
    for (int i = 0; i < 200 && !again; i++)
        again = strncmp(ask(GET("/v1/health")), "HTTP/1.1 200 ", 13) == 0;
    cr_assert(again, "room is given back: %s", text);
}
