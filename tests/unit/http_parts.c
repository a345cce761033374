/* This file tests the pure parts of the HTTP layer: heads, chunks, targets, routes, fields, values,
 * problem documents and events. What they are together is in http_server.c and http_streams.c.
 */
#include "api/http/connection.h"
#include "api/http/fields.h"
#include "api/http/problem.h"
#include "api/http/route.h"
#include "api/http/sse.h"
#include "api/http/values.h"
#include "policy/json.h"
#include "runtime/base/fd.h"
#include "runtime/base/sha256.h"
#include "runtime/capability_names.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* ---- head ------------------------------------------------------------------------------------ */

static const char good[] = "PUT /a?b=c%20d HTTP/1.1\r\nhost: x:80\r\nX-A:  one two\t\r\n"
                           "Content-Length: 12\r\nEXPECT: 100-Continue\r\nX-Empty:\r\n\r\nbody";

Test(http_head, is_found_at_every_cut_and_never_before_its_end)
{
    size_t whole = (size_t)(strstr(good, "body") - good);
    for (size_t cut = 0; cut < sizeof good - 1; cut++) {
        size_t scanned = 0, length = 0;
        struct err err;
        int first = head_scan(good, cut, &scanned, &length, &err);
        cr_assert(first == (cut < whole ? HEAD_MORE : 0), "cut at %zu", cut);
        if (first == HEAD_MORE)
            cr_assert(head_scan(good, sizeof good - 1, &scanned, &length, &err) == 0);
        cr_assert(length == whole, "cut at %zu: %zu", cut, length);
    }
}

Test(http_head, says_what_it_holds)
{
    struct head head;
    struct err err;
    struct slice value;
    cr_assert(head_parse(good, strlen(good) - 4, &head, &err) == 0, "%s", err.detail);
    cr_assert(head.method == METHOD_PUT && head.field_count == 5);
    cr_assert(slice_is(head.target, "/a?b=c%20d"));
    cr_assert(head.has_length && head.length == 12 && head.expects_continue && !head.chunked);
    cr_assert(head_value(&head, "x-a", &value) == 0 && slice_is(value, "one two"));
    cr_assert(head_value(&head, "X-Empty", &value) == 0 && value.length == 0);
    cr_assert(head_value(&head, "x-b", &value) == HEAD_ABSENT);
}

/* Nothing but visible characters, space and tab may stand in a head, wherever it stands. */
Test(http_head, no_control_character_is_let_through)
{
    char text[sizeof good];
    for (size_t at = 0; at < strlen(good) - 4; at++)
        for (unsigned char c = 0; c < 0x20; c++) {
            if (c == '\t' || good[at] == '\r' || good[at] == '\n')
                continue;
            size_t scanned = 0, length;
            struct err err;
            memcpy(text, good, sizeof good);
            text[at] = (char)c;
            cr_assert(head_scan(text, strlen(good), &scanned, &length, &err) < 0, "%02x at %zu", c,
                      at);
        }
}

Test(http_head, lists_are_read_by_their_elements)
{
    cr_assert(slice_lists(slice_of("a, Close ,b"), "close"));
    cr_assert(slice_lists(slice_of("close"), "close"));
    cr_assert(!slice_lists(slice_of("closed, xclose"), "close"));
    cr_assert(!slice_lists(slice_of(""), "close"));
}

/* ---- chunks ---------------------------------------------------------------------------------- */

Test(http_chunk, pieces_are_the_same_however_they_are_cut)
{
    static const char text[] = "3\r\nabc\r\n0a;x=\"y z\"\r\n0123456789\r\n000\r\n\r\nrest";
    size_t whole = (size_t)(strstr(text, "rest") - text);
    for (size_t piece = 1; piece < sizeof text; piece++) {
        struct chunk_reader r = {0};
        struct err err;
        char body[64];
        size_t body_length = 0, at = 0;
        int outcome = CHUNK_MORE;
        while (outcome != CHUNK_END) {
            struct slice got;
            size_t used = 0, n = sizeof text - 1 - at < piece ? sizeof text - 1 - at : piece;
            cr_assert(n > 0, "never ended");
            outcome = chunk_next(&r, text + at, n, &used, &got, &err);
            cr_assert(outcome >= 0, "%s", err.detail);
            cr_assert(used <= n && (used > 0 || outcome == CHUNK_MORE));
            memcpy(body + body_length, got.at, got.length);
            body_length += got.length;
            at += used;
        }
        cr_assert(at == whole, "pieces of %zu: %zu", piece, at);
        cr_assert(body_length == 13 && memcmp(body, "abc0123456789", 13) == 0);
    }
}

/* ---- targets --------------------------------------------------------------------------------- */

Test(http_target, is_decoded_once_and_never_normalised)
{
    _cleanup_arena_ struct arena arena = {NULL};
    struct target target;
    struct err err;
    cr_assert(
        target_parse(slice_of("/a/%2e%2E/%252f//b/?p=%41+b%2Bc&q=&r"), &arena, &target, &err) == 0);
    static const char *const segments[] = {"a", "..", "%2f", "", "b", ""};
    cr_assert(target.segment_count == 6);
    for (unsigned i = 0; i < 6; i++)
        cr_assert_str_eq(target.segments[i], segments[i]);
    cr_assert(target.query_count == 3);
    cr_assert_str_eq(target.query[0].value, "A b+c");
    cr_assert_str_eq(target.query[1].value, "");
    cr_assert_str_eq(target.query[2].name, "r");
    /* A name of a file is bytes. */
    cr_assert(target_parse(slice_of("/a?p=%ff%0a"), &arena, &target, &err) == 0);
    cr_assert_str_eq(target.query[0].value, "\xff\n");
}

Test(http_target, what_is_ambiguous_is_refused)
{
    static const char *const bad[] = {"/%",        "/%4",  "/%4g",    "/a%00",  "/?p=%00",
                                      "/?p=1&p=2", "/?=1", "/?p=%zz", "/a?&p=1"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        _cleanup_arena_ struct arena arena = {NULL};
        struct target target;
        struct err err;
        cr_expect(target_parse(slice_of(bad[i]), &arena, &target, &err) < 0, "%s", bad[i]);
    }
}

/* ---- routes ---------------------------------------------------------------------------------- */

static int find(enum http_method method, const char *text, struct arena *arena,
                const struct route **ret_route, struct route_names *ret_names, char *ret_allow)
{
    struct target target;
    struct err err;
    int r = target_parse(slice_of(text), arena, &target, &err);
    return r == TARGET_UNKNOWN ? ROUTE_UNKNOWN
           : r < 0             ? r
                               : route_find(method, &target, ret_route, ret_names, ret_allow, &err);
}

Test(http_route, every_row_is_found_by_its_own_path_and_is_complete)
{
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        _cleanup_arena_ struct arena arena = {NULL};
        const struct route *route = route_at((enum route_id)i), *found = NULL;
        struct route_names names;
        char allow[ROUTE_ALLOW_MAX], path[128];
        size_t n = 0;
        for (const char *at = route->path; *at; at++) {
            path[n++] = *at == '{' ? 'i' : *at;
            at += *at == '{' ? 2 : 0;
        }
        path[n] = 0;
        cr_assert(find(route->method, path, &arena, &found, &names, allow) == 0, "%s", route->name);
        cr_expect(found == route, "%s is hidden by %s", route->name, found->name);
        cr_expect(route->id == i && route->name[0] && route->path[0] == '/' && route->query);
        cr_expect((names.workspace_id != NULL) == (strstr(route->path, "{w}") != NULL));
        cr_expect((names.session_id != NULL) == (strstr(route->path, "{s}") != NULL));
        cr_expect((names.exec_id != NULL) == (strstr(route->path, "{e}") != NULL));
        cr_expect((names.volume_name != NULL) == (strstr(route->path, "{n}") != NULL));
        cr_expect((names.token_id != NULL) == (strstr(route->path, "{t}") != NULL));
        /* Contract, 8: every POST takes a key, but the one whose stored answer would be a secret;
         * of the others, the one that counts revisions. */
        cr_expect((route->key == KEY_OPTIONAL) ==
                      ((route->method == METHOD_POST && i != ROUTE_TOKEN_CREATE) ||
                       i == ROUTE_SESSION_NETWORK),
                  "%s", route->name);
        cr_expect((http_scope_rule(route->scope) == SCOPE_RULE_VERB) ==
                      (strstr(route->path, "{w}") != NULL),
                  "%s: a verb is for a workspace, and what has one needs a verb", route->name);
        cr_expect((route->body == BODY_NONE) == (route->body_bytes_max == 0), "%s", route->name);
        cr_expect(route->body != BODY_OBJECT || route->body_bytes_max <= MIB, "%s", route->name);
        cr_expect(route->method == METHOD_POST || route->method == METHOD_PUT ||
                      route->body == BODY_NONE,
                  "%s", route->name);
        /* Whoever changes something needs more than to read. */
        cr_expect(route->method == METHOD_GET || route->method == METHOD_HEAD ||
                      (route->scope != SCOPE_READ && route->scope != SCOPE_PUBLIC),
                  "%s", route->name);
        cr_expect(route->body == BODY_OBJECT || !route->fields[0].name, "%s", route->name);
    }
}

Test(http_route, what_is_missing_is_a_capability_that_exists)
{
    static const char *const names[] = {
#define X(symbol, name, ...) name,
        CAPABILITIES(X)
#undef X
    };
    for (unsigned i = 0; i < ROUTE_COUNT; i++) {
        const char *later = route_at((enum route_id)i)->later;
        bool known = !later || !later[0];
        for (size_t n = 0; n < ARRAY_LENGTH(names); n++)
            known |= later && strcmp(names[n], later) == 0;
        cr_expect(known, "%s", later);
    }
}

Test(http_route, paths_that_are_nearly_right_are_unknown)
{
    static const char *const unknown[] = {"/",
                                          "/v1",
                                          "/v1/",
                                          "/v1/health/",
                                          "//v1/health",
                                          "/v1//health",
                                          "/V1/health",
                                          "/v1/workspaces",
                                          "/v1/workspaces/w",
                                          "/v1/./health",
                                          "/v1/x/../health",
                                          "/a/b/c/d/e/f/g/h/i/j/k/l/m/n"};
    for (size_t i = 0; i < ARRAY_LENGTH(unknown); i++) {
        _cleanup_arena_ struct arena arena = {NULL};
        const struct route *route;
        struct route_names names;
        char allow[ROUTE_ALLOW_MAX];
        cr_expect(find(METHOD_GET, unknown[i], &arena, &route, &names, allow) == ROUTE_UNKNOWN,
                  "%s", unknown[i]);
    }
}

/* ID-2. */
Test(http_route, an_id_that_is_none_is_refused_wherever_it_stands)
{
    static const char *const ids[] = {"-a",    "a..b", "%2e%2e", "a%2fb", "",
                                      "a%20b", "a%0a", "%c3%a9", "a%5cb"};
    static const char *const paths[] = {
        "/v1/workspaces/%s/sessions", "/v1/workspaces/w/sessions/%s",
        "/v1/workspaces/w/sessions/s/execs/%s", "/v1/workspaces/w/volumes/%s"};
    for (size_t p = 0; p < ARRAY_LENGTH(paths); p++)
        for (size_t i = 0; i < ARRAY_LENGTH(ids); i++) {
            _cleanup_arena_ struct arena arena = {NULL};
            const struct route *route;
            struct route_names names;
            char allow[ROUTE_ALLOW_MAX], path[128];
            int n = snprintf(path, 64, "%.*s%s", (int)(strstr(paths[p], "%s") - paths[p]), paths[p],
                             ids[i]);
            snprintf(path + n, sizeof path - (size_t)n, "%s", strstr(paths[p], "%s") + 2);
            cr_expect(find(METHOD_GET, path, &arena, &route, &names, allow) < 0, "%s", path);
        }
}

/* CAP-3. */
Test(http_route, a_query_parameter_that_would_be_ignored_is_refused)
{
    _cleanup_arena_ struct arena arena = {NULL};
    const struct route *route;
    struct route_names names;
    char allow[ROUTE_ALLOW_MAX];
    cr_expect(find(METHOD_GET, "/v1/health?x=1", &arena, &route, &names, allow) < 0);
    cr_expect(find(METHOD_GET, "/v1/workspaces/w/sessions?lim=1", &arena, &route, &names, allow) <
              0);
    cr_expect(find(METHOD_GET, "/v1/workspaces/w/sessions?limit=1&after=x", &arena, &route, &names,
                   allow) == 0);
}

/* ---- fields ---------------------------------------------------------------------------------- */

static int check(const struct body_field *fields, const char *text, char *pointer, struct err *err)
{
    static struct arena arena;
    const struct json_node *root;
    struct json_error error;
    arena_fini(&arena);
    cr_assert(json_parse(&arena, text, strlen(text), 1 << 20, false, &root, &error) == 0, "%s: %s",
              text, error.message);
    return fields_check(fields, root, pointer, err);
}

Test(http_fields, each_kind_is_held_to_its_bounds)
{
    static const struct {
        const struct body_field *fields;
        const char *text, *pointer; /* NULL: right */
    } cases[] = {
        {fields_of_resize, "{\"rows\":1,\"cols\":65535}", NULL},
        {fields_of_resize, "{\"rows\":0,\"cols\":1}", "/rows"},
        {fields_of_resize, "{\"rows\":1,\"cols\":65536}", "/cols"},
        {fields_of_resize, "{\"rows\":-1,\"cols\":1}", "/rows"},
        {fields_of_resize, "{\"rows\":1e0,\"cols\":1}", "/rows"},
        {fields_of_resize, "{\"rows\":1}", "/cols"},
        {fields_of_signal, "{\"signal\":\"TERM\"}", NULL},
        {fields_of_signal, "{\"signal\":15}", NULL},
        {fields_of_signal, "{\"signal\":0}", "/signal"},
        {fields_of_signal, "{\"signal\":\"\"}", "/signal"},
        {fields_of_signal, "{\"signal\":null}", "/signal"},
        {fields_of_park, "{\"mode\":\"freeze\"}", NULL},
        {fields_of_park, "{\"mode\":\"Freeze\"}", "/mode"},
        {fields_of_park, "{\"accept_loss\":1}", "/accept_loss"},
        {fields_of_exec, "{\"argv\":[]}", "/argv"},
        {fields_of_exec, "{\"argv\":[\"a\"],\"tty\":null}", NULL},
        {fields_of_exec, "{\"argv\":\"a\"}", "/argv"},
        {fields_of_exec, "{\"exec_id\":\"a..b\"}", "/exec_id"},
        {fields_of_mkdir, "{\"path\":\"\"}", "/path"},
        {fields_of_none, "{}", NULL},
        {fields_of_none, "{\"x\":1}", "/x"},
        {fields_of_reap, "{\"dry_run\":true}", "/owner"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        char pointer[FIELD_POINTER_MAX];
        struct err err;
        int r = check(cases[i].fields, cases[i].text, pointer, &err);
        cr_expect((r == 0) == !cases[i].pointer, "%s: %d", cases[i].text, r);
        if (r < 0 && cases[i].pointer)
            cr_expect(strcmp(pointer, cases[i].pointer) == 0, "%s: %s", cases[i].text, pointer);
        if (r < 0)
            cr_expect(err.code == ERR_INVALID_REQUEST && err.detail[0]);
    }
}

Test(http_fields, a_place_too_long_to_name_is_not_named)
{
    char text[512], pointer[FIELD_POINTER_MAX];
    struct err err;
    int n = snprintf(text, sizeof text, "{\"");
    memset(text + n, 'k', 300);
    snprintf(text + n + 300, sizeof text - (size_t)n - 300, "\":1}");
    cr_assert(check(fields_of_none, text, pointer, &err) < 0);
    cr_assert_str_eq(pointer, "");
}

Test(http_fields, places_in_a_text_are_pointers)
{
    static const struct {
        const char *text, *pointer;
    } cases[] = {
        {"{\"a\":{\"b/c\":[1,2,{\"~\":x}]}}", "/a/b~1c/2/~0"},
        {"[[],[[]],[1,", "/2/1"},
        {"{\"a.b\":{\"c\":1,\"c\":1}}", "/a.b/c"},
        {"x", ""},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        _cleanup_arena_ struct arena arena = {NULL};
        const struct json_node *root;
        struct json_error error;
        cr_assert(json_parse(&arena, cases[i].text, strlen(cases[i].text), 1000, false, &root,
                             &error) < 0);
        cr_expect(strcmp(error.pointer, cases[i].pointer) == 0, "%s: %s", cases[i].text,
                  error.pointer);
    }
}

/* ---- values ---------------------------------------------------------------------------------- */

Test(http_values, ranges_resolve_as_the_standard_says)
{
    static const struct {
        const char *range;
        uint64_t size, offset, length;
        int r;
    } cases[] = {
        {"bytes=0-0", 10, 0, 1, 0},
        {"bytes=0-", 10, 0, 10, 0},
        {"bytes=9-9", 10, 9, 1, 0},
        {"bytes=9-99", 10, 9, 1, 0},
        {"bytes=10-", 10, 0, 0, -ERANGE},
        {"bytes=-1", 10, 9, 1, 0},
        {"bytes=-99", 10, 0, 10, 0},
        {"bytes=-0", 10, 0, 0, -ERANGE},
        {"bytes=0-", 0, 0, 0, -ERANGE},
        {"bytes=-5", 0, 0, 0, -ERANGE},
        {"bytes=9223372036854775800-", 10, 0, 0, -ERANGE},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        struct byte_range range;
        struct err err;
        uint64_t offset = 0, length = 0;
        cr_assert(value_range(slice_of(cases[i].range), &range, &err) == 0, "%s", cases[i].range);
        cr_expect(byte_range_resolve(&range, cases[i].size, &offset, &length, &err) == cases[i].r);
        cr_expect(offset == cases[i].offset && length == cases[i].length, "%s of %" PRIu64,
                  cases[i].range, cases[i].size);
    }
}

Test(http_values, a_sequence_number_is_digits_that_fit)
{
    static const char *const bad[] = {
        "", "-1", "+1", " 1", "1 ", "0x1", "1.0", "9223372036854775808", "99999999999999999999"};
    uint64_t sequence;
    struct err err;
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++)
        cr_expect(value_sequence(slice_of(bad[i]), "from", &sequence, &err) < 0, "%s", bad[i]);
    cr_expect(value_sequence(slice_of("9223372036854775807"), "from", &sequence, &err) == 0 &&
              sequence == INT64_MAX);
}

Test(http_values, json_is_told_from_what_is_like_it)
{
    cr_expect(value_is_json(slice_of("application/json")));
    cr_expect(value_is_json(slice_of("Application/JSON ; charset=UTF-8")));
    cr_expect(!value_is_json(slice_of("application/json; charset=latin1")));
    cr_expect(!value_is_json(slice_of("application/jsonx")));
    cr_expect(!value_is_json(slice_of("text/plain")));
    cr_expect(!value_is_json(slice_of("")));
}

Test(http_values, a_date_is_the_calendars)
{
    static const char *const names[12] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                          "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static const char *const days[7] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    /* Days of 1970 to 2300, each at another second. */
    for (int64_t day = 0; day < 120536; day++) {
        time_t seconds = (time_t)(day * 86400 + day % 86400);
        struct tm tm;
        char text[HTTP_DATE_SIZE], expected[128];
        http_date(seconds, text);
        cr_assert(gmtime_r(&seconds, &tm) != NULL);
        snprintf(expected, sizeof expected, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday],
                 tm.tm_mday, names[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        cr_assert_str_eq(text, expected);
    }
}

/* ---- problems -------------------------------------------------------------------------------- */

Test(http_problem, each_code_has_its_status_and_a_title)
{
    for (unsigned code = 1; code < ERR_CODE_COUNT; code++) {
        _cleanup_buf_ struct buf out = {0};
        struct err err;
        char status[32], name[64];
        err_set(&err, (enum err_code)code, 0, "do it", "\"a\x01\xff", "Because.");
        problem_document(&err, NULL, &out);
        snprintf(status, sizeof status, "\"status\":%d,", err_code_status((enum err_code)code));
        snprintf(name, sizeof name, "\"code\":\"%s\"", err_code_name((enum err_code)code));
        cr_expect(strstr(buf_text(&out), status) && strstr(buf_text(&out), name), "%s",
                  buf_text(&out));
        _cleanup_arena_ struct arena arena = {NULL};
        const struct json_node *root;
        struct json_error error;
        cr_assert(json_parse(&arena, out.data, out.length, 1 << 20, false, &root, &error) == 0,
                  "%s: %s", out.data, error.message);
        cr_expect(json_member(root, "title")->length > 0 && json_member(root, "type"));
    }
}

Test(http_problem, an_internal_error_shows_nothing_of_the_host)
{
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    err_set(&err, ERR_INTERNAL, EIO, "open the volume", "/var/lib/secret", "See /etc/secret.");
    problem_document(&err, NULL, &out);
    cr_assert(!strstr(out.data, "secret") && strstr(out.data, "open the volume"), "%s", out.data);
    /* Nor does an error that nobody filled. */
    struct err empty = {0};
    cr_assert(problem_status(&empty, NULL) == 500);
}

Test(http_problem, lists_and_places_are_in_the_document)
{
    static const char *const missing[] = {"limits.memory", "files.tar"};
    static const char *const allowed[] = {"resume"};
    const struct problem_more more = {.pointer = "/a",
                                      .missing = missing,
                                      .missing_count = 2,
                                      .allowed = allowed,
                                      .allowed_count = 1,
                                      .retry_after_s = 3};
    _cleanup_buf_ struct buf out = {0};
    struct err err;
    err_set(&err, ERR_INVALID_STATE, 0, "park", "s1", "It is parked.");
    problem_document(&err, &more, &out);
    cr_assert(strstr(out.data, "\"detail\":\"s1: It is parked.\",\"pointer\":\"/a\",\"missing\":["
                               "\"limits.memory\",\"files.tar\"],\"allowed\":[\"resume\"],"
                               "\"retry_after\":3}"),
              "%s", out.data);
}

/* ---- events ---------------------------------------------------------------------------------- */

Test(http_sse, no_data_can_end_an_event)
{
    static const struct {
        const char *data, *text;
    } cases[] = {
        {"{}", "id: 1\nevent: e\ndata: {}\n\n"},
        {"", "id: 1\nevent: e\ndata: \n\n"},
        {"a\nb", "id: 1\nevent: e\ndata: a\ndata: b\n\n"},
        {"a\r\n\r\nid: 9", "id: 1\nevent: e\ndata: a\ndata: \ndata: id: 9\n\n"},
        {"\r", "id: 1\nevent: e\ndata: \ndata: \n\n"},
        {"a\n", "id: 1\nevent: e\ndata: a\ndata: \n\n"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        _cleanup_buf_ struct buf out = {0};
        sse_event(&out, 1, "e", cases[i].data, strlen(cases[i].data));
        cr_expect(strcmp(buf_text(&out), cases[i].text) == 0, "%s", buf_text(&out));
    }
    _cleanup_buf_ struct buf plain = {0};
    sse_event(&plain, 0, NULL, "x", 1);
    cr_expect(strcmp(plain.data, "data: x\n\n") == 0);
}

Test(http_hash, pieces_hash_as_the_whole)
{
    char whole[65], pieces[65];
    struct sha256 hash;
    sha256_hex("abcdefgh", 8, whole);
    sha256_init(&hash);
    for (int i = 0; i < 8; i++)
        sha256_update(&hash, &"abcdefgh"[i], 1);
    sha256_final_hex(&hash, pieces);
    cr_assert_str_eq(whole, pieces);
}
