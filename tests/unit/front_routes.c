/* This file tests what front does with each request: what arrives at the provider, and what a
 * client gets when something is wrong; the provider is a fake.
 */
#include "front_harness.h"

TestSuite(front_routes, .init = front_harness_start, .fini = front_harness_stop, .timeout = 60);

#define S  "/v1/workspaces/w/sessions/s1"
#define E1 S "/execs/e1"

static const struct {
    const char *method, *path, *body, *asked;
    int status;
} happy[] = {
    {"GET", "/v1/health", NULL, "health -/-/-", 200},
    {"GET", "/v1/workspaces/w/sessions?state=parked&owner=me&label=k%3Dv&after=s0&limit=7", NULL,
     "session_list w/- after=s0 state=parked owner=me label=k=v limit=7", 200},
    {"GET", S, NULL, "session_get w/s1/-", 200},
    {"DELETE", S "?delete_volume=true", NULL, "verb destroy w/s1 key=- reason=- delete_volume",
     200},
    {"POST", S "/park", NULL, "verb park w/s1 key=- reason=- socket=0", 200},
    {"POST", S "/park", "{\"mode\":\"freeze\"}", "verb freeze w/s1", 200},
    {"POST", S "/park", "{\"accept_loss\":true}", "verb park w/s1 key=- reason=- accept_loss", 200},
    {"POST", S "/resume", "{\"secrets\":[]}", "verb resume w/s1 key=- reason=- socket=0", 200},
    {"POST", S "/interrupt", "{\"reason\":\"why\"}", "verb interrupt w/s1 key=- reason=why", 200},
    {"POST", S "/archive", "{}", "verb archive w/s1", 200},
    {"GET", S "/usage", NULL, "session_usage w/s1/-", 200},
    {"GET", S "/ports", NULL, "session_ports w/s1/-", 200},
    {"POST", S "/ports", "{\"port\":3000}", "publish w/s1 key=- 3000:3000", 200},
    {"POST", S "/ports", "{\"port\":3000,\"host_port\":0}", "publish w/s1 key=- 0:3000", 200},
    {"GET", S "/execs?state=ended", NULL, "exec_list w/s1 after=- state=ended", 200},
    {"GET", E1 "?wait_ms=5", NULL, "exec_get w/s1/e1 wait=5", 200},
    {"POST", E1 "/cancel", NULL, "exec_cancel w/s1/e1", 200},
    {"POST", E1 "/close-stdin", NULL, "exec_close_stdin w/s1/e1", 200},
    {"POST", E1 "/signal", "{\"signal\":\"TERM\"}", "exec_signal w/s1/e1 15 tree=0", 200},
    {"POST", E1 "/signal", "{\"signal\":\"SIGHUP\",\"tree\":true}", "exec_signal w/s1/e1 1 tree=1",
     200},
    {"POST", E1 "/signal", "{\"signal\":9}", "exec_signal w/s1/e1 9 tree=0", 200},
    {"POST", E1 "/resize", "{\"rows\":24,\"cols\":80}", "exec_resize e1 24x80", 200},
    {"GET", "/v1/workspaces/w/volumes?limit=3", NULL,
     "volume_list w/- after=- state=- owner=- "
     "label=- limit=3",
     200},
    {"POST", "/v1/workspaces/w/volumes", "{\"name\":\"v\",\"owner\":\"me\"}",
     "volume_create w/v owner=me", 201},
    {"GET", "/v1/workspaces/w/volumes/v", NULL, "volume_get w/v", 200},
    {"DELETE", "/v1/workspaces/w/volumes/v", NULL, "volume_remove w/v", 200},
    {"GET", "/v1/resources?owner=me", NULL, "resources owner=me", 200},
    {"POST", "/v1/reap", "{\"owner\":\"me\",\"older_than_ms\":5,\"dry_run\":true}",
     "reap me older=5 dry=1 key=- scope=\"-\"", 200},
    {"POST", S "/execs?wait_ms=9",
     "{\"argv\":[\"a\",\"\"],\"env\":{\"K\":\"v=w\"},\"cwd\":\"/c\",\"user\":\"root\",\"stdin\":"
     "\"pipe\",\"tty\":{\"rows\":2,\"cols\":3},\"timeout_ms\":4,\"idle_timeout_ms\":5,\"grace_ms\":"
     "0,\"output_limit_bytes\":6,\"exec_id\":\"e9\",\"on_limit\":\"kill\",\"keep_children\":true}",
     "exec_start w/s1 id=e9 key=- argv=[a][] shell=- env=[K=v=w] cwd=/c user=root stdin=1 tty=1 "
     "2x3 "
     "keep=1 kill=1 timeout=4 idle=5 grace=0 limit=6 wait=9",
     201},
    {"POST", S "/execs", "{\"shell\":\"make\",\"tty\":null}",
     "exec_start w/s1 id=- key=- argv= shell=make env= cwd=- user=- stdin=0 tty=0 0x0 keep=0 "
     "kill=0 "
     "timeout=18446744073709551615 idle=18446744073709551615 grace=18446744073709551615 limit=0 "
     "wait=0",
     201},
    {"POST", S "/files/mkdir", "{\"path\":\"/d\",\"mode\":\"0700\"}",
     "files mkdir w/s1 path=/d path2= "
     "mode=700",
     200},
    {"POST", S "/files/move", "{\"from\":\"/f\",\"to\":\"/g\"}", "files move w/s1 path=/f path2=/g",
     200},
    {"POST", S "/files/chmod", "{\"path\":\"/f\",\"mode\":\"640\"}",
     "files chmod w/s1 path=/f path2= "
     "mode=640",
     200},
    {"DELETE", S "/files?path=/f&recursive=true", NULL,
     "files remove w/s1 path=/f path2= mode=0 offset=0 "
     "length=0 depth=0 limit=0 recursive=1",
     200},
};

Test(front_routes, each_request_arrives_as_it_was_sent)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(happy); i++) {
        char line[32];
        const char *answer = front_ask(happy[i].method, happy[i].path, "", happy[i].body);
        snprintf(line, sizeof line, "HTTP/1.1 %d ", happy[i].status);
        cr_expect(strncmp(answer, line, strlen(line)) == 0, "%s: %s", happy[i].path, answer);
        cr_expect(strncmp(fake_asked(), happy[i].asked, strlen(happy[i].asked)) == 0,
                  "%s %s: \"%s\" and not \"%s\"", happy[i].method, happy[i].path, fake_asked(),
                  happy[i].asked);
    }
}

static const struct {
    const char *method, *path, *body, *code, *pointer;
} wrong[] = {
    {"POST", S "/ports", "{\"port\":0}", "400", "/port"},
    {"POST", S "/ports", "{\"port\":3000,\"host_port\":65536}", "400", "/host_port"},
    {"POST", S "/ports", "{\"host_port\":3000}", "400", "/port"},
    {"POST", S "/execs", "{}", "400", NULL},
    {"POST", S "/execs", "{\"argv\":[\"a\"],\"shell\":\"b\"}", "400", "/shell"},
    {"POST", S "/execs", "{\"argv\":[\"a\",1]}", "400", "/argv/1"},
    {"POST", S "/execs", "{\"argv\":[\"\"]}", "400", "/argv/0"},
    {"POST", S "/execs", "{\"argv\":[\"a\"],\"env\":{\"A=B\":\"\"}}", "400", "/env"},
    {"POST", S "/execs", "{\"argv\":[\"a\"],\"env\":{\"A\":1}}", "400", "/env"},
    {"POST", S "/execs", "{\"argv\":[\"a\"],\"tty\":{\"rows\":1}}", "400", "/tty/cols"},
    {"POST", S "/execs", "{\"argv\":[\"a\"],\"tty\":{\"rows\":1,\"cols\":2,\"x\":3}}", "400",
     "/tty/x"},
    {"POST", S "/execs", "{\"argv\":[\"a\"],\"stdin\":\"file\"}", "400", "/stdin"},
    {"POST", S "/execs", "{\"argv\":[\"a\"],\"output_limit_bytes\":0}", "400",
     "/output_limit_bytes"},
    {"POST", S "/execs?wait_ms=x", "{\"argv\":[\"a\"]}", "400", NULL},
    {"POST", E1 "/signal", "{\"signal\":\"TREM\"}", "400", "/signal"},
    {"POST", E1 "/signal", "{}", "400", "/signal"},
    {"POST", E1 "/resize", "{\"rows\":0,\"cols\":1}", "400", "/rows"},
    {"GET", "/v1/workspaces/w/sessions?state=frozen", NULL, "400", NULL},
    {"GET", "/v1/workspaces/w/sessions?limit=0", NULL, "400", NULL},
    {"GET", "/v1/workspaces/w/sessions?label=x", NULL, "400", NULL},
    {"GET", "/v1/workspaces/w/sessions?owner=-x", NULL, "400", NULL},
    {"GET", "/v1/resources?owner=a/b", NULL, "400", NULL},
    {"DELETE", S "?delete_volume=yes", NULL, "400", NULL},
    {"POST", "/v1/workspaces/w/volumes", "{}", "400", "/name"},
    {"POST", "/v1/workspaces/w/volumes", "{\"name\":\"v\",\"labels\":{}}", "400", "/labels"},
    {"POST", "/v1/reap", "{}", "400", "/owner"},
    {"GET", E1 "/output?stream=stdin", NULL, "400", NULL},
    {"GET", S "/files", NULL, "400", NULL},
    {"GET", S "/files/list?path=/d&depth=0", NULL, "400", NULL},
    {"POST", S "/files/mkdir", "{\"path\":\"/d\",\"mode\":\"4755\"}", "400", "/mode"},
    {"POST", S "/files/mkdir", "{\"path\":\"/d\",\"mode\":\"7x5\"}", "400", "/mode"},
    {"POST", S "/files/move", "{\"from\":\"/f\",\"to\":\"/g\",\"replace\":false}", "400",
     "/replace"},
    {"PUT", S "/files?path=/f&mode=999", "x", "400", NULL},
    {"PUT", S "/files?path=/f&mode=000", "x", "400", NULL},
    {"PUT", S "/files?path=f", "x", "400", NULL},
    {"POST", S "/files/move", "{\"from\":\"/f\",\"to\":\"g\"}", "400", "/to"},
    {"POST", S "/files/mkdir", "{\"path\":\"d\"}", "400", "/path"},
    {"GET", S "/files/list?path=/d&after=a/../b", NULL, "400", NULL},
};

Test(front_routes, what_is_wrong_is_refused_at_its_place_and_reaches_nobody)
{
    for (unsigned i = 0; i < ARRAY_LENGTH(wrong); i++) {
        char pointer[64];
        unsigned before = fake.asked_count;
        const char *answer = front_ask(wrong[i].method, wrong[i].path, "", wrong[i].body);
        cr_expect(strncmp(answer + 9, wrong[i].code, 3) == 0, "%s %s: %s", wrong[i].path,
                  TEXT(wrong[i].body), answer);
        snprintf(pointer, sizeof pointer, "\"pointer\":\"%s\"", TEXT(wrong[i].pointer));
        cr_expect(!wrong[i].pointer == !strstr(answer, "\"pointer\"") &&
                      (!wrong[i].pointer || strstr(answer, pointer)),
                  "%s: %s", wrong[i].path, answer);
        cr_expect(fake.asked_count == before, "%s: %s", wrong[i].path, fake_asked());
    }
}

Test(front_routes, a_refusal_of_the_provider_becomes_a_problem)
{
    const char *answer = front_ask("GET", "/v1/workspaces/w/sessions/none", "", NULL);
    cr_expect(strstr(answer, " 404 ") && strstr(answer, "\"code\":\"not_found\"") &&
                  strstr(answer, "application/problem+json"),
              "%s", answer);
    answer = front_ask("POST", "/v1/workspaces/w/sessions/locked/execs", "", "{\"shell\":\"x\"}");
    cr_expect(strstr(answer, " 409 ") && strstr(answer, "\"allowed\":[\"resume\",\"destroy\"]"),
              "%s", answer);
    answer = front_ask("GET", "/v1/workspaces/w/sessions/busy", "", NULL);
    cr_expect(strstr(answer, " 503 ") && strstr(answer, "Retry-After: 7\r\n") &&
                  strstr(answer, "\"retry_after\":7"),
              "%s", answer);
    answer = front_ask("GET", "/v1/workspaces/w/sessions/none/execs/e/output", "", NULL);
    cr_expect(strstr(answer, " 404 "), "a stream too: %s", answer);
    answer = front_ask("GET", "/v1/workspaces/w/sessions/none/events", "", NULL);
    cr_expect(strstr(answer, " 404 "), "%s", answer);
}

Test(front_routes, an_internal_failure_is_told_without_its_details)
{
    const char *answer = front_ask("GET", "/v1/workspaces/w/sessions/broken", "", NULL);
    cr_expect(strstr(answer, " 500 ") && !strstr(answer, "secret") && !strstr(answer, "Secret"),
              "%s", answer);
}

Test(front_routes, IDEM_1_a_stored_answer_says_so_and_the_key_arrives_with_its_scope)
{
    const char *answer =
        front_ask("POST", "/v1/workspaces/w/sessions/stored/park", "Idempotency-Key: k1\r\n", "{}");
    cr_expect(strstr(answer, "Idempotent-Replayed: true\r\n") && strstr(answer, "asked"), "%s",
              answer);
    cr_expect(strstr(fake_asked(), "key=k1"), "%s", fake_asked());
    front_ask("POST", "/v1/reap", "Idempotency-Key: k2\r\n", "{\"owner\":\"me\"}");
    cr_expect(strstr(fake_asked(), "key=k2 scope=\"\""), "%s", fake_asked());
}

Test(front_routes, CAP_3_a_change_of_files_refuses_a_key)
{
    static const char *const changes[][2] = {
        {S "/files/mkdir", "{\"path\":\"/d\"}"},
        {S "/files/move", "{\"from\":\"/f\",\"to\":\"/g\"}"},
        {S "/files/chmod", "{\"path\":\"/f\",\"mode\":\"640\"}"},
    };
    unsigned before = fake.asked_count;
    for (unsigned i = 0; i < ARRAY_LENGTH(changes); i++) {
        const char *answer =
            front_ask("POST", changes[i][0], "Idempotency-Key: k\r\n", changes[i][1]);
        cr_expect(strstr(answer, " 400 ") && strstr(answer, "Idempotency-Key"), "%s", answer);
    }
    cr_expect_eq(fake.asked_count, before);
}

Test(front_routes, what_is_refused_is_counted)
{
    const char *answer = front_ask("POST", S "/ports", "", "{\"port\":1}");
    cr_expect(strstr(answer, " 400 ") && strstr(answer, "\"pointer\":\"/port\""), "%s", answer);
    answer = front_ask("GET", "/metrics", "", NULL);
    cr_expect(strstr(answer, " 200 ") &&
                  strstr(answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n") &&
                  strstr(answer, "\nberth_http_problems_total{code=\"invalid_request\"} 1\n") &&
                  strstr(answer, "\nberth_http_requests_total{route=\"PORTS\",status=\"4xx\"} 1\n"),
              "%s", answer);
    answer = front_ask("GET", "/v1/capabilities", "", NULL);
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "\"limits.memory\""), "%s", answer);
}

Test(front_routes, a_client_that_leaves_is_forgotten_and_cancels_nothing)
{
    int fd = client_connect();
    client_puts(fd, "GET /v1/workspaces/w/sessions/never HTTP/1.1\r\nHost: b\r\n\r\n");
    cr_assert(harness_wait(&fake.asked_count, 1));
    close(fd);
    cr_expect(harness_wait(&fake.forgotten, 1));
    cr_expect(strstr(front_ask("GET", S, "", NULL), " 200 "));
}

Test(front_routes, a_body_that_is_too_large_is_413_before_it_is_read)
{
    const char *answer = front_ask("POST", S "/park", "Content-Length: 5000\r\n", NULL);
    cr_expect(strstr(answer, " 413 ") && strstr(answer, "\"code\":\"too_large\""), "%s", answer);
}

Test(front_routes, who_is_not_let_in_gets_403)
{
    fake_config.rootless = 0;
    const char *answer = front_ask("GET", S, "", NULL);
    cr_expect(strstr(answer, geteuid() == 0 ? " 200 " : " 403 "), "%s", answer);
    struct http_operations operations;
    struct err err;
    const struct peer stranger = {.local = true, .uid = 4711, .gid = 42}, network = {.uid = 0};
    struct exchange_request request = {.peer = &stranger, .route = route_at(ROUTE_SESSION_GET)};
    front_operations(&fake_front, &operations);
    cr_expect(operations.authorize(operations.context, &request, &err) < 0);
    cr_expect(err.code == ERR_FORBIDDEN);
    fake_config.socket_gid = 42;
    cr_expect(operations.authorize(operations.context, &request, &err) == 0);
    request.route = route_at(ROUTE_TOKEN_CREATE);
    cr_expect(operations.authorize(operations.context, &request, &err) < 0,
              "tokens are the owner's");
    fake_config.socket_gid = UINT32_MAX;
    request.peer = &network;
    cr_expect(operations.authorize(operations.context, &request, &err) < 0);
    cr_expect(err.code == ERR_UNAUTHORIZED);
}

/* ---- other rules -------------------------------------------------------------------------------
 */

Test(front_routes, NET_6_the_rules_of_a_put_are_read_as_those_of_a_policy)
{
    static const char path[] = "/v1/workspaces/w/sessions/s1/network";
    const char *answer =
        front_ask("PUT", path, "Idempotency-Key: k7\r\n",
                  "{\"egress\":\"public-only\",\"allow\":[{\"host\":\"A.example.\"}],\"deny\":"
                  "[{\"host\":\"*.b.example\",\"ports\":\"*\"}],\"sni\":\"off\",\"revision\":4}");
    cr_assert(strstr(answer, " 200 "), "%s", answer);
    cr_expect(strstr(fake_asked(), "network w/s1 key=k7 revision=4 egress=2 allow=1 deny=1 sni=0"),
              "%s", fake_asked());
    cr_expect_str_eq(fake.spec.network.allow[0].host, "a.example");

    /* Nothing is the default: deny. */
    answer = front_ask("PUT", path, "", "{}");
    cr_assert(strstr(answer, " 200 "), "%s", answer);
    cr_expect(strstr(fake_asked(), "revision=0 egress=1 allow=0 deny=0 sni=1"), "%s", fake_asked());
}

Test(front_routes, NET_6_wrong_rules_are_refused_with_the_place_in_the_body)
{
    static const struct {
        const char *body, *status, *wanted;
    } rows[] = {
        {"{\"egres\":\"deny\"}", " 400 ", "\"pointer\":\"/egres\""},
        {"{\"allow\":[{\"host\":\"a.example\"},{\"host\":\"127.0.0.1\"}]}", " 400 ",
         "\"pointer\":\"/allow/1"},
        {"{\"allow\":[{\"hosts\":\"a.example\"}]}", " 400 ", "\"pointer\":\"/allow/0"},
        {"{\"revision\":0}", " 400 ", "\"pointer\":\"/revision\""},
        {"{\"allow\":[{\"cidr\":\"127.0.0.0/8\"}]}", " 400 ", "\"pointer\":\"/allow/0"},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        const char *answer =
            front_ask("PUT", "/v1/workspaces/w/sessions/s1/network", "", rows[i].body);
        cr_expect(strstr(answer, rows[i].status) && strstr(answer, rows[i].wanted), "%s: %s",
                  rows[i].body, answer);
    }
}

Test(front_routes, NET_7_a_port_of_the_host_that_its_operator_has_not_opened_is_refused)
{
    static const char rule[] = "\"allow\":[{\"host\":\"host.berth.internal\",\"ports\":%s}]%s";
    static const struct {
        const char *ports;
        bool open;
    } rows[] = {{"[5432]", true}, {"[8080,5432]", true}, {"[5432,80]", false}, {"\"*\"", false}};
    char body[256];
    for (unsigned i = 0; i < 2 * ARRAY_LENGTH(rows); i++) {
        bool create = i >= ARRAY_LENGTH(rows);
        const bool open = rows[i % ARRAY_LENGTH(rows)].open;
        fake_config.door_count = 2;
        fake_config.door_ports[0] = 5432;
        fake_config.door_ports[1] = 8080;
        size_t n = (size_t)snprintf(body, sizeof body, "%s",
                                    create ? "{\"session_id\":\"d1\",\"network\":{" : "{");
        snprintf(body + n, sizeof body - n, rule, rows[i % ARRAY_LENGTH(rows)].ports,
                 create ? "}}" : "}");
        const char *answer = create ? front_ask("POST", "/v1/workspaces/w/sessions", "", body)
                                    : front_ask("PUT", S "/network", "", body);
        cr_expect(open
                      ? strstr(answer, " 20") != NULL
                      : strstr(answer, " 422 ") && strstr(answer, "\"code\":\"policy_rejected\"") &&
                            strstr(answer, create ? "\"pointer\":\"/network/allow\""
                                                  : "\"pointer\":\"/allow\""),
                  "%s: %s", body, answer);
        fake_config.door_count = 0;
    }
}

Test(front_routes, NET_7_a_port_of_the_host_that_its_operator_has_opened_is_no_sessions_to_publish)
{
    static const char *const rows[][4] = {
        {"POST", S "/ports", "{\"port\":5432}", "/host_port"},
        {"POST", S "/ports", "{\"port\":80,\"host_port\":5432}", "/host_port"},
        {"PUT", S "/network", "{\"publish\":[\"5432:80\"]}", "/publish"},
        {"POST", "/v1/workspaces/w/sessions",
         "{\"session_id\":\"d1\",\"network\":{\"publish\":[\"5432:80\"]}}", "/network/publish"},
    };
    fake_config.door_count = 1;
    fake_config.door_ports[0] = 5432;
    unsigned before = fake.asked_count;
    for (unsigned i = 0; i < ARRAY_LENGTH(rows); i++) {
        char pointer[64];
        const char *answer = front_ask(rows[i][0], rows[i][1], "", rows[i][2]);
        snprintf(pointer, sizeof pointer, "\"pointer\":\"%s\"", rows[i][3]);
        cr_expect(strstr(answer, " 422 ") && strstr(answer, "\"code\":\"policy_rejected\"") &&
                      strstr(answer, pointer),
                  "%s: %s", rows[i][2], answer);
    }
    cr_expect_eq(fake.asked_count, before);
    fake_config.door_count = 0;
}

Test(front_routes, POL_2_rules_beyond_the_ceiling_are_refused_and_nothing_else_of_it_counts)
{
    static const char ceiling[] =
        "{\"version\":1,\n "
        "\"limits\":{\"pids\":1},\"network\":{\"allow\":[{\"host\":\"a.example\"}]}}";
    static const char path[] = "/v1/workspaces/w/sessions/s1/network";
    struct err err;
    cr_assert(policy_load_text(&fake_ceiling, "ceiling", ceiling, strlen(ceiling), &err) == 0);
    fake_front.ceiling = fake_ceiling;
    const char *answer = front_ask("PUT", path, "", "{\"allow\":[{\"host\":\"a.example\"}]}");
    cr_assert(strstr(answer, " 200 "), "%s", answer);
    answer = front_ask("PUT", path, "", "{\"allow\":[{\"host\":\"b.example\"}]}");
    cr_assert(strstr(answer, " 422 ") && strstr(answer, "policy_rejected") &&
                  strstr(answer, "\"pointer\":\"/allow/0\""),
              "%s", answer);
    answer = front_ask("PUT", path, "", "{\"egress\":\"public-only\"}");
    cr_assert(strstr(answer, " 422 ") && strstr(answer, "\"pointer\":\"/egress\""), "%s", answer);
}

/* A command: by itself, and for a token that is bound to more and to less than the operator's. */
Test(front_routes, POL_2_a_command_beyond_the_ceiling_is_refused_and_all_of_it_is_named)
{
    static const char ceiling[] = "{\"version\":1,\n \"limits\":{\"exec_timeout\":\"10m\"}}";
    static const char path[] = "/v1/workspaces/a/sessions/s1/execs";
    static const char within[] = "{\"argv\":[\"id\"],\"user\":\"4\",\"timeout_ms\":600000,"
                                 "\"grace_ms\":10000,\"keep_children\":false,"
                                 "\"output_limit_bytes\":16777216}";
    static const char beyond[] = "{\"argv\":[\"id\"],\n\"user\":\"root\",\n\"timeout_ms\":600001,\n"
                                 "\"grace_ms\":10001,\n\"keep_children\":true,\n"
                                 "\"output_limit_bytes\":16777217}";
    static const char *const names[] = {
        "user: root (body:2:8), where user is allowed (preset balanced:",
        "timeout_ms: 600001ms (body:3:14), where 10m is allowed (ceiling:2:27)",
        "grace_ms: 10001ms (body:4:12), where 10s is allowed (ceiling:2:27)",
        "keep_children: true (body:5:17), where false is allowed (ceiling:2:27)",
        "output_limit_bytes: 16777217 (body:6:22), where 16MiB is allowed (preset balanced:",
        "\"pointer\":\"/user\"",
        "policy_rejected"};
    struct err err;
    unsigned before = fake.asked_count;
    const char *answer = front_ask("POST", path, "", beyond);
    cr_assert(strstr(answer, " 201 "), "without a ceiling: %s", answer);
    cr_assert(policy_load_text(&fake_ceiling, "ceiling", ceiling, strlen(ceiling), &err) == 0);
    fake_front.ceiling = fake_ceiling;
    cr_assert_eq(fake.asked_count, before + 1);
    answer = front_ask("POST", path, "", beyond);
    cr_expect(strstr(answer, " 422 "), "%s", answer);
    for (unsigned i = 0; i < ARRAY_LENGTH(names); i++)
        cr_expect(strstr(answer, names[i]), "no %s in %s", names[i], answer);
    cr_expect_eq(fake.asked_count, before + 1, "nobody was asked to start it");
    answer = front_ask("POST", path, "", within);
    cr_expect(strstr(answer, " 201 "), "%s", answer);
    answer = front_ask("POST", path, "", "{\"argv\":[\"id\"]}");
    cr_expect(strstr(answer, " 201 "), "%s", answer);
    /* Over TCP: of a token that is not bound, and of one that is, to a minute. */
    answer = front_ask_tcp("ta", "POST", path, beyond, true);
    cr_expect(strstr(answer, " 422 ") && strstr(answer, names[4]), "%s", answer);
    answer = front_ask_tcp("tp", "POST", path, "{\"argv\":[\"id\"],\"timeout_ms\":600001}", true);
    cr_expect(strstr(answer, " 422 ") && strstr(answer, "where 10m is allowed (ceiling:") &&
                  strstr(answer, "where 1m is allowed (the token's policy:"),
              "%s", answer);
    answer = front_ask_tcp("tp", "POST", path, "{\"argv\":[\"id\"],\"timeout_ms\":60001}", true);
    cr_expect(strstr(answer, " 422 ") && !strstr(answer, "(ceiling:"), "%s", answer);
}
