/* This file tests front's streams: output and events as SSE, bytes, standard input, and files
 * through pipes; the provider is a fake.
 */
#include "front_harness.h"

#include "api/front/files.h"

TestSuite(front_streams, .init = front_harness_start, .fini = front_harness_stop, .timeout = 60);

#define S "/v1/workspaces/w/sessions/s1"

Test(front_streams, output_comes_as_events_and_ends_with_the_exec)
{
    const char *answer = front_ask("GET", S "/execs/e3/output", "", NULL);
    static const char *const parts[] = {
        "text/event-stream",
        ("id: 1\nevent: stdout\ndata: {\"seq\":1,\"stream\":\"stdout\",\"time\":\"2026-01-02T03:04:"
         "05.678Z\",\"data\":\"line\\n\\\"\"}\n"),
        "id: 2\nevent: stdout\n",
        "\"data_base64\":\"//5h\"",
        "id: 3\nevent: stderr\n",
        "\"data\":\"oops\"",
        "id: 9\nevent: gap\ndata: {\"from_seq\":4,\"to_seq\":9,\"bytes\":1000}\n",
        "id: 11\nevent: exit\ndata: {\"exec_id\":\"e3\",\"state\":\"ended\",\"exit_code\":0}\n\n",
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(parts); i++)
        cr_expect(strstr(answer, parts[i]), "no %s in %s", parts[i], answer);
    cr_expect(strstr(answer, "\r\n0\r\n\r\n"), "the stream has its end: %s", answer);
}

Test(front_streams, EXEC_2_who_comes_back_goes_on_exactly_after_what_it_has)
{
    const char *answer =
        front_ask("GET", S "/execs/e3/output?from=1&follow=true", "Last-Event-ID: 3\r\n", NULL);
    cr_expect(!strstr(answer, "id: 3\n") && strstr(answer, "id: 9\nevent: gap"), "%s", answer);
    answer = front_ask("GET", S "/execs/e3/output?from=10", "", NULL);
    cr_expect(!strstr(answer, "gap") && strstr(answer, "id: 10\nevent: stdout"), "%s", answer);
    answer = front_ask("GET", S "/execs/e3/output", "Last-Event-ID: 10\r\n", NULL);
    cr_expect(!strstr(answer, "stdout") && strstr(answer, "id: 11\nevent: exit"), "%s", answer);
}

Test(front_streams, one_stream_as_bytes_is_the_bytes_alone)
{
    const char *answer = front_ask("GET", S "/execs/e3/output?stream=stderr", "", NULL);
    cr_expect(strstr(answer, "application/octet-stream") &&
                  strstr(answer, "\r\n4\r\noops\r\n0\r\n"),
              "%s", answer);
}

Test(front_streams, a_start_that_wants_events_gets_the_exec_and_then_its_output)
{
    const char *answer =
        front_ask("POST", S "/execs", "Accept: text/event-stream\r\n", "{\"shell\":\"x\"}");
    const char *exec =
        strstr(answer, "event: exec\ndata: {\"exec_id\":\"e3\",\"state\":\"running\"}");
    cr_expect(exec && strstr(exec, "id: 1\nevent: stdout") && strstr(exec, "event: exit"), "%s",
              answer);
    answer = front_ask("POST", "/v1/workspaces/w/sessions/locked/execs",
                       "Accept: text/event-stream\r\n", "{\"shell\":\"x\"}");
    cr_expect(strstr(answer, " 409 "), "a refusal has its status: %s", answer);
}

Test(front_streams, EV_1_events_go_on_after_the_last_one_and_stay_open)
{
    char text[4096];
    int fd = client_connect();
    client_puts(fd, "GET " S "/events HTTP/1.1\r\nHost: b\r\nLast-Event-ID: 1\r\n\r\n");
    client_read(fd, text, sizeof text, "id: 3\n", CLIENT_WAIT_MS);
    cr_expect(strstr(text, "id: 2\nevent: session.created\ndata: {\"seq\":2}\n") &&
                  !strstr(text, "id: 1\n"),
              "%s", text);
    cr_expect(!client_at_end(fd, 50));
    close(fd);
    cr_expect(harness_wait(&fake.stopped, 1), "a client that left is followed no more");
    const char *answer = front_ask("GET", S "/events?follow=false", "", NULL);
    cr_expect(strstr(answer, "id: 3\n") && strstr(answer, "\r\n0\r\n\r\n"), "%s", answer);
}

Test(front_streams, a_slow_follower_costs_a_queue_and_gets_all_of_it)
{
    static char text[1 << 20];
    int fd = client_connect();
    client_puts(fd, "GET " S "/execs/flood/output?follow=true HTTP/1.1\r\nHost: b\r\n\r\n");
    poll(NULL, 0, 300);
    unsigned given = fake.frames_given;
    cr_expect(given > 0 && given < 64, "%u frames were taken for a client that reads nothing",
              given);
    for (unsigned i = 0; i < 8; i++)
        client_read(fd, text, sizeof text, NULL, 100);
    cr_expect(fake.frames_given > given, "and it goes on when there is room");
    cr_expect(strstr(front_ask("GET", S, "", NULL), " 200 "), "others are served");
    close(fd);
    cr_expect(harness_wait(&fake.stopped, 1));
}

/* ---- standard input -------------------------------------------------------------------------- */

Test(front_streams, standard_input_goes_through_a_pipe)
{
    char data[16] = "";
    const char *answer = front_ask("POST", S "/execs/e1/stdin", "", "hello");
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "{\"bytes\":5,\"offset\":5}"), "%s",
              answer);
    cr_expect(read(fake.stdin_reader, data, sizeof data) == 5 && strcmp(data, "hello") == 0);
    answer = front_ask("POST", S "/execs/deaf/stdin", "", "hello");
    cr_expect(strstr(answer, " 409 ") && strstr(answer, "invalid_state"), "%s", answer);
    answer = front_ask("POST", S "/execs/ended/stdin", "", "hello");
    cr_expect(strstr(answer, " 409 "), "nobody reads it: %s", answer);
    answer = front_ask("POST", S "/execs/e1/stdin", "Idempotency-Key: k\r\n", "hello");
    cr_expect(strstr(answer, " 400 ") && strstr(answer, "Idempotency-Key"), "%s", answer);
}

/* ---- files ----------------------------------------------------------------------------------- */

Test(front_streams, a_file_is_read_whole_and_in_ranges)
{
    const char *answer = front_ask("GET", S "/files?path=/f", "", NULL);
    cr_expect(strstr(answer, "HTTP/1.1 200 ") && strstr(answer, "Content-Length: 10\r\n") &&
                  strstr(answer, "\r\n\r\n0123456789") && strstr(answer, "ETag: \""),
              "%s", answer);
    answer = front_ask("GET", S "/files?path=/f", "Range: bytes=2-4\r\n", NULL);
    cr_expect(strstr(answer, " 206 ") && strstr(answer, "Content-Range: bytes 2-4/10\r\n") &&
                  strstr(answer, "\r\n\r\n234"),
              "%s", answer);
    answer = front_ask("GET", S "/files?path=/f", "Range: bytes=10-\r\n", NULL);
    cr_expect(strstr(answer, " 416 "), "%s", answer);
    answer = front_ask("GET", S "/files?path=/empty", "", NULL);
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "Content-Length: 0\r\n"), "%s", answer);
    answer = front_ask("HEAD", S "/files?path=/f", "", NULL);
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "Content-Length: 10\r\n") &&
                  strstr(answer, "X-Berth-Type: file\r\n") && !strstr(answer, "0123"),
              "%s", answer);
}

Test(front_streams, what_a_client_has_is_not_sent_again)
{
    char line[160], tag[128];
    const char *answer = front_ask("HEAD", S "/files?path=/f", "", NULL);
    cr_assert_eq(sscanf(strstr(answer, "ETag: "), "ETag: %127s", tag), 1);
    snprintf(line, sizeof line, "If-None-Match: \"x\", W/%s\r\n", tag);
    answer = front_ask("GET", S "/files?path=/f", line, NULL);
    cr_expect(strstr(answer, " 304 ") && strstr(answer, tag) && !strstr(answer, "Content-Length") &&
                  !strstr(answer, "0123"),
              "%s", answer);
    cr_expect(
        strstr(front_ask("GET", S "/files?path=/f", "If-None-Match: \"x\"\r\n", NULL), " 200 "));
    snprintf(line, sizeof line, "If-Range: %s\r\nRange: bytes=2-4\r\n", tag);
    answer = front_ask("GET", S "/files?path=/f", line, NULL);
    cr_expect(strstr(answer, " 206 ") && strstr(answer, "\r\n\r\n234"), "%s", answer);
    answer = front_ask("GET", S "/files?path=/f", "If-Range: \"x\"\r\nRange: bytes=2-4\r\n", NULL);
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "0123456789"), "%s", answer);
    answer = front_ask("GET", S "/files?path=/f", "If-Match: \"x\"\r\n", NULL);
    cr_expect(strstr(answer, " 412 ") && strstr(answer, "precondition_failed"), "%s", answer);
    answer = front_ask("GET", S "/files?path=/mute", "", NULL);
    cr_expect(strstr(answer, " 503 "), "bytes without what stands before them: %s", answer);
}

Test(front_streams, FS_3_what_must_stand_there_and_what_comes_goes_to_the_worker)
{
    const char *answer =
        front_ask("PUT", S "/files?path=/f", "If-Match: \"a-b-c-1-2\"\r\n", "0123456789");
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "ETag: \""), "%s", answer);
    cr_expect(strstr(fake_asked(), "match=a-b-c-1-2 "), "%s", fake_asked());
    front_ask("PUT", S "/files?path=/f", "If-None-Match: *\r\n", "0123456789");
    cr_expect(strstr(fake_asked(), "match=- "), "%s", fake_asked());
    front_ask("PUT", S "/files?path=/f",
              "Content-Digest: sha-256=:hNiYd/DUBB77a/kaFvAkjy/Vc+avBcGflr7bn4gveII=:\r\n",
              "0123456789");
    cr_expect(strstr(fake_asked(), "sha256=84d89877f0d4041efb6bf91a"), "%s", fake_asked());
    front_ask("DELETE", S "/files?path=/f", "If-Match: *\r\n", NULL);
    cr_expect(strstr(fake_asked(), "match=* "), "%s", fake_asked());
    unsigned before = fake.asked_count;
    static const struct {
        const char *line, *status;
    } refused[] = {
        {"If-Match: \"-\"\r\n", " 412 "},
        {"If-Match: \"of another server\"\r\n", " 400 "},
        {"If-Match: \"another\"\r\n", " 412 "},
        {"If-Match: \"1\", \"2\"\r\n", " 400 "},
        {"If-Match: W/\"1\"\r\n", " 400 "},
        {"If-Match: 1\r\n", " 400 "},
        {"If-None-Match: \"1\"\r\n", " 400 "},
        {"If-None-Match: *\r\nIf-Match: *\r\n", " 400 "},
        {"Content-Digest: sha-256=:abc:\r\n", " 400 "},
        {"Content-Digest: md5=:hNiYd/DUBB77a/kaQWqiQQ==:\r\n", " 400 "},
        {"If-Unmodified-Since: Mon, 02 Jan 2006 15:04:05 GMT\r\n", " 400 "},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(refused); i++) {
        answer = front_ask("PUT", S "/files?path=/f", refused[i].line, "0123456789");
        cr_expect(strstr(answer, refused[i].status), "%s: %s", refused[i].line, answer);
    }
    cr_expect_eq(fake.asked_count, before, "nobody was asked");
    answer = front_ask("POST", S "/files/mkdir", "If-Match: *\r\n", "{\"path\":\"/d\"}");
    cr_expect(strstr(answer, " 400 "), "a route that does not look at it: %s", answer);
}

#define SHA_OF_DIGITS "84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"

Test(front_streams, an_upload_is_checked_before_anybody_is_asked)
{
    const char *answer =
        front_ask("POST", S "/uploads?name=d/f&size=10&sha256=" SHA_OF_DIGITS, "", "0123456789");
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "\"path\":\"" FILES_UPLOADS "/d/f\"") &&
                  strstr(answer, "\"sha256\":\"" SHA_OF_DIGITS "\""),
              "%s", answer);
    cr_expect(strstr(fake_asked(), "files upload w/s1 path=" FILES_UPLOADS "/d/f ") &&
                  strstr(fake_asked(), "length=10 ") && strstr(fake_asked(), SHA_OF_DIGITS),
              "%s", fake_asked());
    static const struct {
        const char *query, *status, *says;
    } refused[] = {
        {"name=f&size=10&sha256=00" SHA_OF_DIGITS, " 400 ", "64 hexadecimal"},
        {"name=f&size=9&sha256=" SHA_OF_DIGITS, " 400 ", "size mismatch"},
        {"name=f&size=11&sha256=" SHA_OF_DIGITS, " 400 ", "size mismatch"},
        {"name=../f&size=10&sha256=" SHA_OF_DIGITS, " 400 ", "name"},
        {"name=%0a&size=10&sha256=" SHA_OF_DIGITS, " 400 ", "name"},
        {"name=f&sha256=" SHA_OF_DIGITS, " 400 ", "size"},
        {"size=10&sha256=" SHA_OF_DIGITS, " 400 ", "name"},
        {"name=f&size=4294967297&sha256=" SHA_OF_DIGITS, " 400 ", "size mismatch"},
        {"name=f&size=10&sha256=94d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
         " 400 ", "failed integrity validation"},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(refused); i++) {
        char path[512];
        snprintf(path, sizeof path, S "/uploads?%s", refused[i].query);
        answer = front_ask("POST", path, "", "0123456789");
        cr_expect(strstr(answer, refused[i].status) && strstr(answer, refused[i].says), "%s: %s",
                  refused[i].query, answer);
        cr_expect(!strstr(fake_asked(), "uploads/f "), "%s: %s", refused[i].query, fake_asked());
    }
    cr_expect_eq(fake_front.spooled_bytes, 0, "nothing is kept of any");
}

Test(front_streams, a_collection_is_told_whole_or_not_at_all)
{
    const char *answer = front_ask("POST", S "/outputs/collect", "", "{}");
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "\"path\":\"" FILES_OUTPUTS "\"") &&
                  strstr(answer, "\"name\":\"c \\\"d\",\"size\":4,") &&
                  strstr(answer, "\"etag\":\"\\\"0-0-4-0-0\\\"\"") &&
                  strstr(answer, "\"bytes\":7,\"left_out\":[{\"name\":\"l\",\"type\":\"symlink\"}],"
                                 "\"left_out_count\":1}"),
              "%s", answer);
    cr_expect_str_eq(fake_asked(), "collected w/s1 session=7 path=" FILES_OUTPUTS
                                   " entries=2 bytes=7 left_out=1");
    /* Whether it could be written down is no matter of who collects. */
    fake.collected_status = 503;
    answer = front_ask("POST", S "/outputs/collect", "", "{}");
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "\"bytes\":7"), "%s", answer);
    static const char *const hostile[] = {"/many", "/up", "/heavy", "/twice", "/torn"};
    for (unsigned i = 0; i < ARRAY_LENGTH(hostile); i++) {
        char body[64];
        snprintf(body, sizeof body, "{\"path\":\"%s\"}", hostile[i]);
        answer = front_ask("POST", S "/outputs/collect", "", body);
        cr_expect(strstr(answer, " 503 ") && strstr(answer, "is no collection"), "%s: %s",
                  hostile[i], answer);
        cr_expect(strstr(fake_asked(), "collected w/s1 ") && strstr(fake_asked(), " refused"),
                  "told: %s", fake_asked());
    }
    answer = front_ask("POST", S "/outputs/collect", "Idempotency-Key: k\r\n", "{}");
    cr_expect(strstr(answer, " 400 "), "%s", answer);
}

Test(front_streams, changes_are_events_and_what_is_none_breaks_the_stream)
{
    const char *answer = front_ask("GET", S "/files/watch?path=/d&recursive=true", "", NULL);
    cr_expect(
        strstr(answer, " 200 ") && strstr(answer, "text/event-stream") &&
            strstr(answer, "event: ready\ndata: {\"path\":\"/d\",\"name\":\"\",\"type\":null}") &&
            strstr(answer, "\"name_base64\":\"/w==\"") && strstr(answer, "event: gone\n") &&
            strstr(answer, "event: end\ndata: {\"code\":null,") &&
            strstr(answer, "\r\n0\r\n\r\n") && !strstr(answer, "alive"),
        "%s", answer);
    cr_expect(strstr(fake_asked(), "recursive=1"), "%s", fake_asked());
    static const char *const hostile[] = {"/climbs", "/garbage", "/torn"};
    for (unsigned i = 0; i < ARRAY_LENGTH(hostile); i++) {
        char path[64];
        snprintf(path, sizeof path, S "/files/watch?path=%s", hostile[i]);
        answer = front_ask("GET", path, "", NULL);
        cr_expect(!strstr(answer, "\r\n0\r\n\r\n") && !strstr(answer, "event: end"), "%s: %s",
                  hostile[i], answer);
    }
    answer = front_ask("GET", S "/files/watch?path=/absent", "", NULL);
    cr_expect(strstr(answer, " 404 "), "%s", answer);
    answer = front_ask("GET", S "/files/watch?path=/d", "Last-Event-ID: 4\r\n", NULL);
    cr_expect(strstr(answer, " 400 "), "%s", answer);
}

Test(front_streams, P_7_the_askers_own_socket_goes_with_a_file_operation)
{
    fake.client_socket = 0;
    front_ask("GET", S "/files?path=/f", "", NULL);
    cr_expect_eq(fake.client_socket, -1, "rootless there is one user");
    fake_config.rootless = 0;
    fake_config.socket_gid = getgid();
    front_ask("GET", S "/files?path=/f", "", NULL);
    cr_expect_gt(fake.client_socket, 0);
}

Test(front_streams, FS_2_what_cannot_be_read_has_a_status_of_its_own)
{
    cr_expect(strstr(front_ask("GET", S "/files?path=/absent", "", NULL), " 404 "));
    const char *answer = front_ask("GET", S "/files?path=/dir", "", NULL);
    cr_expect(strstr(answer, " 400 ") && strstr(answer, "not_a_regular_file"), "%s", answer);
    answer = front_ask("HEAD", S "/files?path=/dir", "", NULL);
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "X-Berth-Type: directory\r\n"), "%s",
              answer);
    answer = front_ask("GET", S "/files?path=/denied", "", NULL);
    cr_expect(strstr(answer, " 403 "), "the worker says so before a byte: %s", answer);
}

Test(front_streams, FS_3_a_file_is_written_with_its_length_or_not_at_all)
{
    const char *answer = front_ask("PUT", S "/files?path=/f&mode=0600", "", "0123456789");
    cr_expect(
        strstr(answer, " 200 ") &&
            strstr(answer,
                   "{\"path\":\"/f\",\"size\":10,\"mode\":"
                   "\"0644\",\"type\":\"file\",\"modified_at\":\"2026-01-02T03:04:05.678Z\"}"),
        "%s", answer);
    cr_expect(strstr(fake_asked(), "mode=600"), "%s", fake_asked());
    answer = front_ask("PUT", S "/files?path=/full", "", "0123456789");
    cr_expect(strstr(answer, " 507 "), "%s", answer);
    answer = front_ask("PUT", S "/files?path=/empty", "", "");
    cr_expect(strstr(answer, " 200 "), "%s", answer);
    int fd = client_connect();
    client_puts(fd,
                "PUT " S "/files?path=/cut HTTP/1.1\r\nHost: b\r\nContent-Length: 10\r\n\r\n01234");
    unsigned before = fake.asked_count;
    for (int i = 0; i < 1000 && !strstr(fake_asked(), "path=/cut"); i++)
        poll(NULL, 0, 1);
    close(fd);
    for (int i = 0; i < 3000 && !strstr(fake_asked(), "cut at 5"); i++)
        poll(NULL, 0, 1);
    cr_expect(strcmp(fake_asked(), "cut at 5") == 0, "%u: %s", before, fake_asked());
}

Test(front_streams, FS_3_a_file_without_a_length_reaches_the_worker_when_it_is_whole)
{
    _cleanup_buf_ struct buf request = {0};
    static char answer[4096];
    buf_puts(&request, "PUT " S "/files?path=/f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n");
    for (unsigned i = 0; i < 20; i++) {
        buf_puts(&request, "4e20\r\n");
        for (unsigned k = 0; k < 20000; k++)
            buf_putc(&request, (char)('a' + k % 26));
        buf_puts(&request, "\r\n");
    }
    size_t whole = request.length;
    buf_puts(&request, "0\r\n\r\n");
    client_ask(request.data, request.length, answer, sizeof answer);
    cr_expect(strstr(answer, " 200 ") && strstr(answer, "\"size\":400000,"), "%s", answer);
    cr_expect(strstr(fake_asked(), "length=400000"), "%s", fake_asked());

    unsigned before = fake.asked_count;
    int fd = client_connect();
    cr_expect(client_send(fd, request.data, whole) == whole);
    close(fd);
    cr_expect(strstr(front_ask("GET", S, "", NULL), " 200 "));
    poll(NULL, 0, 100);
    cr_expect(fake.asked_count == before + 1, "a cut one reaches nobody: %s", fake_asked());
    char path[SPEC_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/spool/upload", fake_config.state_dir);
    cr_expect(access(path, F_OK) < 0, "and leaves no name");
}

Test(front_streams, FS_3_files_without_a_length_have_a_bound_together)
{
    _cleanup_buf_ struct buf request = {0};
    static char answer[4096];
    /* The others have all of it but little. */
    fake_front.spooled_bytes = FRONT_SPOOLED_MAX - 30000;
    buf_puts(&request, "PUT " S "/files?path=/f HTTP/1.1\r\nHost: b\r\nConnection: close\r\n"
                       "Transfer-Encoding: chunked\r\n\r\n");
    size_t head = request.length;
    for (unsigned i = 0; i < 2; i++) {
        buf_puts(&request, "4e20\r\n");
        for (unsigned k = 0; k < 20000; k++)
            buf_putc(&request, 'x');
        buf_puts(&request, "\r\n");
        if (i == 0)
            head = request.length;
    }
    buf_puts(&request, "0\r\n\r\n");
    client_ask(request.data, request.length, answer, sizeof answer);
    cr_expect(strstr(answer, " 507 ") && strstr(answer, "insufficient_storage"), "%s", answer);
    /* What it had is given back. */
    request.length = head;
    buf_puts(&request, "0\r\n\r\n");
    for (unsigned i = 0; i < 3; i++) {
        client_ask(request.data, request.length, answer, sizeof answer);
        cr_expect(strstr(answer, " 200 "), "%s", answer);
    }
}

Test(front_streams, a_listing_is_data_whatever_it_holds)
{
    const char *answer =
        front_ask("GET", S "/files/list?path=/d&depth=2&limit=9&after=a", "", NULL);
    cr_expect(strstr(answer,
                     "{\"entries\":[{\"name\":\"a.txt\",\"path\":\"/d/a.txt\",\"type\":\"file\","
                     "\"size\":5,\"mode\":\"0644\",\"uid\":1000,\"gid\":1000,\"modified_at\":"
                     "\"2026-01-02T03:04:05.678Z\"},") &&
                  strstr(answer, "{\"name_base64\":\"/w==\",\"path_base64\":") &&
                  strstr(answer, "],\"next\":null,\"skipped\":0}"),
              "%s", answer);
    cr_expect(strstr(fake_asked(), "path=/d path2=a") && strstr(fake_asked(), "depth=2 limit=9"),
              "%s", fake_asked());
    answer = front_ask("GET", S "/files/list?path=/more", "", NULL);
    cr_expect(strstr(answer, "\"next_base64\":"), "%s", answer);
    answer = front_ask("GET", S "/files/list?path=/garbage", "", NULL);
    cr_expect(strstr(answer, " 503 "), "%s", answer);
    answer = front_ask("GET", S "/files/list?path=/endless", "", NULL);
    cr_expect(strstr(answer, " 503 "), "%s", answer);
    answer = front_ask("GET", S "/files/list?path=/d&limit=2", "", NULL);
    cr_expect(strstr(answer, " 503 "), "more than was asked for: %s", answer);
    answer = front_ask("GET", S "/files/list?path=/absent", "", NULL);
    cr_expect(strstr(answer, " 404 "), "%s", answer);
}
