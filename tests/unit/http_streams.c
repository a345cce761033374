/* This file tests what flows through the HTTP server: events to followers fast and slow, bodies
 * into pipes, files out, clients that leave, and the end of the server; and what all of it costs.
 */
#include "tests/unit/http_harness.h"

#include <malloc.h>

#define HOST   "Host: x\r\n"
#define S      "/v1/workspaces/w/sessions/s"
#define HEALTH "GET /v1/health HTTP/1.1\r\n" HOST "\r\n"
#define EVENTS "GET " S "/events HTTP/1.1\r\n" HOST "\r\n"

static char text[512 * 1024];

TestSuite(http_streams, .fini = harness_stop, .timeout = 60);

static void start(void)
{
    harness.limits = http_limits_default;
    harness.limits.heartbeat_ms = 100;
    harness.limits.stall_ms = 400;
    harness.limits.linger_ms = 300;
    harness_start();
}

static int follow(void)
{
    int fd = client_connect();
    client_puts(fd, EVENTS);
    client_read(fd, text, sizeof text, "\r\n\r\n", 2000);
    return fd;
}

/* ---- events ---------------------------------------------------------------------------------- */

Test(http_streams, events_are_framed_and_a_quiet_stream_has_heartbeats)
{
    start();
    _cleanup_fd_ int fd = follow();
    cr_assert(strstr(text, "\r\nContent-Type: text/event-stream\r\n"), "%s", text);
    harness.publish_id = 7;
    harness.publish_bytes = 3;
    harness_command(COMMAND_PUBLISH);
    client_read(fd, text, sizeof text, "ppp\n\n", 2000);
    cr_assert(strstr(text, "id: 7\nevent: note\ndata: ppp\n\n"), "%s", text);
    client_read(fd, text, sizeof text, "3\r\n:\n\n\r\n", 2000);
    cr_assert(strstr(text, "3\r\n:\n\n\r\n"), "%s", text);
}

Test(http_streams, a_stream_goes_on_exactly_after_the_last_event)
{
    static const struct {
        const char *request;
        unsigned first;
    } cases[] = {
        {"GET " S "/execs/e/output HTTP/1.1\r\n" HOST "\r\n", 1},
        {"GET " S "/execs/e/output?from=4 HTTP/1.1\r\n" HOST "\r\n", 4},
        {"GET " S "/execs/e/output HTTP/1.1\r\n" HOST "Last-Event-ID: 5\r\n\r\n", 6},
        /* A client that connects again repeats its first URL. */
        {"GET " S "/execs/e/output?from=2 HTTP/1.1\r\n" HOST "Last-Event-ID: 7\r\n\r\n", 8},
        {"GET " S "/execs/e/output?from=0 HTTP/1.1\r\n" HOST "\r\n", 1},
    };
    harness.last_event = 9;
    harness.data_bytes = 10;
    start();
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        client_ask(cases[i].request, strlen(cases[i].request), text, sizeof text);
        char id[16];
        for (unsigned n = 1; n <= 9; n++) {
            snprintf(id, sizeof id, "id: %u\n", n);
            cr_expect((strstr(text, id) != NULL) == (n >= cases[i].first), "%s: event %u: %s",
                      cases[i].request, n, text);
        }
        cr_expect(strstr(text, "\r\n0\r\n\r\n"), "the stream ends in order");
    }
    static const char bad[] =
        "GET " S "/execs/e/output HTTP/1.1\r\n" HOST "Last-Event-ID: 5x\r\n\r\n";
    client_ask(bad, sizeof bad - 1, text, sizeof text);
    cr_assert(strncmp(text, "HTTP/1.1 400 ", 13) == 0, "%s", text);
}

/* Reads `total` bytes at the most, slowly or not, and counts. */
static uint64_t drain(int fd, uint64_t total, int wait_ms)
{
    uint64_t seen = 0;
    while (seen < total) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n = poll(&p, 1, wait_ms) == 1 ? recv(fd, text, sizeof text, 0) : 0;
        if (n <= 0)
            break;
        seen += (uint64_t)n;
    }
    return seen;
}

Test(http_streams, a_slow_follower_gets_all_of_it_and_holds_nobody_up)
{
    harness.last_event = 4000;
    harness.data_bytes = 10000;
    harness.limits = http_limits_default;
    harness_start();
    _cleanup_fd_ int slow = client_connect();
    client_puts(slow, "GET " S "/execs/e/output HTTP/1.1\r\n" HOST "\r\n");
    poll(NULL, 0, 200);
    cr_assert(harness.pulled < 100, "the operation rests: %" PRIu64, harness.pulled);
    client_ask(HEALTH, sizeof HEALTH - 1, text, sizeof text);
    cr_assert(strncmp(text, "HTTP/1.1 200 ", 13) == 0, "%s", text);
    uint64_t seen = drain(slow, UINT64_MAX, 1000);
    cr_assert(seen > 40 * 1000 * 1000, "%" PRIu64, seen);
    cr_assert(harness.rooms > 0);
}

Test(http_streams, a_follower_that_takes_nothing_is_cut)
{
    harness.last_event = 4000;
    harness.data_bytes = 10000;
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, "GET " S "/execs/e/output HTTP/1.1\r\n" HOST "\r\n");
    cr_assert(harness_wait(&harness.gone, 1));
    uint64_t seen = drain(fd, UINT64_MAX, 1000);
    cr_assert(seen < 4 * 1024 * 1024, "what was queued for it is bounded: %" PRIu64, seen);
}

Test(http_streams, what_does_not_fit_the_queue_is_not_taken)
{
    start();
    int fd = follow();
    harness.publish_bytes = 60000;
    for (int i = 0; i < 50; i++)
        harness_command(COMMAND_PUBLISH);
    cr_assert(harness.published < 20, "%u", harness.published);
    cr_assert(harness.published + harness.unpublished == 50);
    close(fd);
}

Test(http_streams, a_follower_that_leaves_is_noticed_while_nothing_is_sent)
{
    harness.limits = http_limits_default;
    harness_start();
    int fd = follow(), unread = follow();
    close(fd);
    cr_assert(harness_wait(&harness.gone, 1));
    /* With something unread the kernel reports an error instead of an end. */
    harness.publish_bytes = 100;
    harness_command(COMMAND_PUBLISH);
    close(unread);
    cr_assert(harness_wait(&harness.gone, 2));
    cr_assert(server_connections(harness.server) == 0);
}

Test(http_streams, a_half_closed_follower_is_served_until_it_leaves)
{
    start();
    int fd = follow();
    shutdown(fd, SHUT_WR);
    poll(NULL, 0, 50);
    harness.publish_id = 3;
    harness.publish_bytes = 4;
    harness_command(COMMAND_PUBLISH);
    client_read(fd, text, sizeof text, "pppp", 2000);
    cr_assert(strstr(text, "id: 3\n"), "%s", text);
    cr_assert(harness.gone == 0);
    close(fd);
    cr_assert(harness_wait(&harness.gone, 1));
}

/* AddressSanitizer surrounds what is allocated. */
#if defined(__SANITIZE_ADDRESS__)
#define EACH_MAX (32 * 1024)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EACH_MAX (32 * 1024)
#endif
#endif
#ifndef EACH_MAX
#define EACH_MAX (8 * 1024)
#endif

static uint64_t memory_kib(void)
{
    char status[4096];
    malloc_trim(0);
    io_read_at(AT_FDCWD, "/proc/self/status", status, sizeof status);
    const char *at = strstr(status, "RssAnon:");
    return at ? strtoull(at + 8, NULL, 10) : 0;
}

Test(http_streams, a_thousand_followers_cost_little)
{
    enum { COUNT = 1000 };
    static int fds[COUNT];
    harness.limits = http_limits_default;
    harness_start();
    close(follow());
    cr_assert(harness_wait(&harness.gone, 1));
    uint64_t before = memory_kib();
    for (int i = 0; i < COUNT; i++)
        fds[i] = follow();
    uint64_t each = (memory_kib() - before) * 1024 / COUNT;
    cr_expect(each < EACH_MAX, "%" PRIu64 " bytes for each", each);
    harness.publish_id = 1;
    harness.publish_bytes = 10;
    harness_command(COMMAND_PUBLISH);
    for (int i = 0; i < COUNT; i++) {
        client_read(fds[i], text, sizeof text, "\n\n", 5000);
        cr_expect(strstr(text, "data: pppppppppp\n\n"), "%d: %s", i, text);
    }
    for (int i = 0; i < COUNT; i++)
        close(fds[i]);
    cr_assert(harness_wait(&harness.gone, COUNT + 1));
    cr_assert(server_connections(harness.server) == 0);
}

/* ---- bodies in ------------------------------------------------------------------------------- */

#define PUT   "PUT " S "/files?path=f HTTP/1.1\r\n" HOST
#define STDIN "POST " S "/execs/e/stdin HTTP/1.1\r\n" HOST

static char data[1024 * 1024];

Test(http_streams, a_body_of_known_length_arrives_whole)
{
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, PUT "Content-Length: 33554432\r\n\r\n");
    for (int i = 0; i < 32; i++)
        cr_assert(client_send(fd, data, sizeof data) == sizeof data);
    client_read(fd, text, sizeof text, "}", 5000);
    cr_assert(strstr(text, "{\"bytes\":33554432,\"how\":0"), "%s", text);
    client_puts(fd, "GET /v1/health HTTP/1.1\r\n" HOST "\r\n");
    client_read(fd, text, sizeof text, "}", 5000);
    cr_assert(strstr(text, "HEALTH"), "the connection goes on: %s", text);
}

Test(http_streams, a_body_in_chunks_arrives_whole_with_its_fingerprint)
{
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, STDIN "Idempotency-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 16; i++) {
        client_puts(fd, "100000;x=\"y\"\r\n");
        client_send(fd, data, sizeof data);
        client_puts(fd, "\r\n");
    }
    client_puts(fd, "0\r\n\r\n");
    client_read(fd, text, sizeof text, "}", 5000);
    cr_assert(strstr(text, "{\"bytes\":16777216,\"how\":0"), "%s", text);
    cr_assert(!strstr(text, "\"fingerprint\":\"\""), "%s", text);
}

Test(http_streams, a_body_waits_for_a_reader_that_does_not_read)
{
    harness.reader_sleeps = true;
    harness.limits = http_limits_default;
    harness_start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, PUT "Content-Length: 104857600\r\n\r\n");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    uint64_t sent = 0;
    for (int i = 0; i < 100; i++) {
        ssize_t n = send(fd, data, sizeof data, MSG_NOSIGNAL);
        sent += n > 0 ? (uint64_t)n : 0;
        poll(NULL, 0, 2);
    }
    cr_assert(sent < 2 * 1024 * 1024, "%" PRIu64 " bytes were taken", sent);
    harness.reader_sleeps = false;
    fcntl(fd, F_SETFL, 0);
    while (sent < 104857600) {
        size_t left = 104857600 - sent, n = left < sizeof data ? left : sizeof data;
        cr_assert(client_send(fd, data, n) == n);
        sent += n;
    }
    client_read(fd, text, sizeof text, "}", 5000);
    cr_assert(strstr(text, "{\"bytes\":104857600,\"how\":0"), "%s", text);
}

Test(http_streams, a_client_that_leaves_in_mid_body_is_told_as_cut)
{
    harness.limits = http_limits_default;
    harness_start();
    static const char *const heads[] = {PUT "Content-Length: 1000000\r\n\r\n",
                                        PUT "Transfer-Encoding: chunked\r\n\r\nfffff\r\n"};
    for (unsigned i = 0; i < 2; i++) {
        int fd = client_connect();
        client_puts(fd, heads[i]);
        client_send(fd, data, 5000);
        poll(NULL, 0, 50);
        close(fd);
        cr_assert(harness_wait(&harness.gone, i + 1));
        cr_assert(harness.body_ends == i + 1 && harness.last_how == EXCHANGE_BODY_CUT);
    }
}

/* Also while nobody takes the body, so that nobody reads the socket. */
Test(http_streams, a_client_that_leaves_a_full_pipe_is_noticed)
{
    harness.reader_sleeps = true;
    harness.limits = http_limits_default;
    harness_start();
    int fd = client_connect();
    client_puts(fd, PUT "Content-Length: 104857600\r\n\r\n");
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (int i = 0; i < 20; i++) {
        send(fd, data, sizeof data, MSG_NOSIGNAL);
        poll(NULL, 0, 2);
    }
    close(fd);
    cr_assert(harness_wait(&harness.gone, 1));
    cr_assert(harness.last_how == EXCHANGE_BODY_CUT);
}

Test(http_streams, a_body_that_nobody_wants_any_more_ends_at_once)
{
    harness.reader_sleeps = true;
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, PUT "Content-Length: 104857600\r\n\r\nabc");
    poll(NULL, 0, 50);
    harness_command(COMMAND_CLOSE_READER);
    client_send(fd, data, sizeof data);
    client_read(fd, text, sizeof text, "}", 3000);
    cr_assert(strstr(text, "\"how\":3"), "%s", text);
    cr_assert(strstr(text, "Connection: close"), "%s", text);
}

Test(http_streams, a_body_is_cut_at_the_sinks_limit)
{
    harness.sink_max = 10000;
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, PUT "Content-Length: 10001\r\n\r\n");
    client_read(fd, text, sizeof text, "}", 3000);
    cr_expect(strncmp(text, "HTTP/1.1 413 ", 13) == 0, "%s", text);
    cr_expect(harness.uploaded == 0);
    _cleanup_fd_ int chunked = client_connect();
    client_puts(chunked, PUT "Transfer-Encoding: chunked\r\n\r\n2710\r\n");
    client_send(chunked, data, 10000);
    client_puts(chunked, "\r\n1\r\nx\r\n0\r\n\r\n");
    client_read(chunked, text, sizeof text, "}", 3000);
    cr_expect(strncmp(text, "HTTP/1.1 413 ", 13) == 0, "%s", text);
}

Test(http_streams, an_upload_is_refused_before_its_body_is_sent)
{
    harness.refuse_uploads = true;
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, PUT "Content-Length: 10737418240\r\nExpect: 100-continue\r\n\r\n");
    client_read(fd, text, sizeof text, "}", 2000);
    cr_assert(strncmp(text, "HTTP/1.1 507 ", 13) == 0, "%s", text);
    cr_assert(count_of(text, "HTTP/1.1 ") == 1, "%s", text);
}

Test(http_streams, an_upload_of_nothing_is_whole)
{
    start();
    static const char request[] = PUT "Content-Length: 0\r\n\r\n";
    client_ask(request, sizeof request - 1, text, sizeof text);
    cr_assert(strstr(text, "{\"bytes\":0,\"how\":0"), "%s", text);
}

Test(http_streams, an_upload_that_rests_too_long_is_cut)
{
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, PUT "Content-Length: 100\r\n\r\nabc");
    cr_assert(harness_wait(&harness.gone, 1));
    cr_assert(harness.last_how == EXCHANGE_BODY_CUT);
}

/* ---- files out ------------------------------------------------------------------------------- */

static const char *get_file(const char *path, const char *fields)
{
    char request[512];
    snprintf(request, sizeof request, "GET " S "/files?path=%s HTTP/1.1\r\n" HOST "%s\r\n", path,
             fields);
    client_ask(request, strlen(request), text, sizeof text);
    return text;
}

Test(http_streams, ranges_of_a_file)
{
    static const struct {
        const char *range, *status, *content_range, *body;
    } cases[] = {
        {"", "200", NULL, "01234567890123"},
        {"Range: bytes=0-3\r\n", "206", "bytes 0-3/1000", "\r\n\r\n0123"},
        {"Range: bytes=998-\r\n", "206", "bytes 998-999/1000", "\r\n\r\n89"},
        {"Range: bytes=-3\r\n", "206", "bytes 997-999/1000", "\r\n\r\n789"},
        {"Range: bytes=990-5000\r\n", "206", "bytes 990-999/1000", "\r\n\r\n0123456789"},
        {"Range: bytes=1000-\r\n", "416", NULL, "1000 bytes"},
        {"Range: bytes=-0\r\n", "416", NULL, "1000 bytes"},
        {"Range: bytes=5-4\r\n", "400", NULL, "last byte"},
        {"Range: bytes=0-1,5-6\r\n", "400", NULL, "One range"},
        {"Range: lines=0-1\r\n", "400", NULL, "One range"},
    };
    start();
    for (size_t i = 0; i < ARRAY_LENGTH(cases); i++) {
        get_file("file", cases[i].range);
        cr_expect(strncmp(text + 9, cases[i].status, 3) == 0, "%s: %s", cases[i].range, text);
        cr_expect(strstr(text, cases[i].body), "%s: %s", cases[i].range, text);
        cr_expect(!cases[i].content_range || strstr(text, cases[i].content_range), "%s", text);
    }
    static const char head[] = "HEAD " S "/files?path=file HTTP/1.1\r\n" HOST "\r\n";
    client_ask(head, sizeof head - 1, text, sizeof text);
    cr_expect(strstr(text, "Content-Length: 1000\r\n"), "%s", text);
    cr_expect(strcmp(strstr(text, "\r\n\r\n"), "\r\n\r\n") == 0, "HEAD has no body: %s", text);
}

Test(http_streams, a_pipe_is_sent_to_its_length)
{
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, "GET " S "/files?path=33554432 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
    client_read(fd, text, 4096, "\r\n\r\n", 2000);
    cr_assert(strstr(text, "Content-Length: 33554432\r\n"), "%s", text);
    size_t head = (size_t)(strstr(text, "\r\n\r\n") + 4 - text), had = strlen(text);
    (void)had;
    uint64_t seen = drain(fd, UINT64_MAX, 3000);
    cr_assert(seen > 33554432 - 4096 && seen <= 33554432, "%" PRIu64 " after %zu", seen, head);
}

Test(http_streams, a_pipe_that_ends_too_early_breaks_the_answer)
{
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, "GET " S "/files?path=1000000short HTTP/1.1\r\n" HOST "\r\n");
    uint64_t seen = drain(fd, UINT64_MAX, 3000);
    cr_assert(seen > 500000 && seen < 510000, "%" PRIu64, seen);
    cr_assert(client_at_end(fd, 1000), "the connection ends: nobody takes this for whole");
}

Test(http_streams, a_reader_that_rests_holds_up_the_writer_and_not_the_server)
{
    harness.limits = http_limits_default;
    harness_start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, "GET " S "/files?path=endless HTTP/1.1\r\n" HOST "\r\n");
    poll(NULL, 0, 300);
    uint64_t written = UINT64_MAX - harness.download_left;
    cr_assert(written < 2 * 1024 * 1024, "%" PRIu64, written);
    client_ask(HEALTH, sizeof HEALTH - 1, text, sizeof text);
    cr_assert(strncmp(text, "HTTP/1.1 200 ", 13) == 0, "%s", text);
    cr_assert(drain(fd, 64 * 1024 * 1024, 2000) >= 64 * 1024 * 1024);
    close(take_fd(&fd));
    for (int i = 0; i < 2000 && harness.download_pipe >= 0; i++)
        poll(NULL, 0, 1);
    cr_assert(harness.download_pipe < 0, "the writer hears that nobody reads");
}

/* ---- late answers, and the end --------------------------------------------------------------- */

#define LATE "GET /v1/workspaces/w/sessions/late HTTP/1.1\r\n" HOST "\r\n"

Test(http_streams, an_operation_may_answer_later)
{
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, LATE);
    cr_assert(harness_wait(&harness.handled, 1));
    harness_command(COMMAND_LATE);
    client_read(fd, text, sizeof text, "}", 2000);
    cr_assert(strstr(text, "{\"late\":true}"), "%s", text);
}

/* The deadline of the rest before it must not ring into the second one's work. */
Test(http_streams, a_request_that_follows_another_at_once_may_take_its_time)
{
    harness.limits = http_limits_default;
    harness.limits.idle_ms = 300;
    harness_start();
    _cleanup_fd_ int fd = client_connect();
    poll(NULL, 0, 50);
    client_puts(fd, HEALTH LATE);
    cr_assert(harness_wait(&harness.handled, 2));
    poll(NULL, 0, 600);
    harness_command(COMMAND_LATE);
    client_read(fd, text, sizeof text, "{\"late\":true}", 2000);
    cr_assert(strstr(text, "{\"late\":true}"), "%s", text);
}

Test(http_streams, a_client_that_leaves_before_the_answer_is_noticed_at_once)
{
    start();
    int fd = client_connect();
    client_puts(fd, LATE);
    cr_assert(harness_wait(&harness.handled, 1));
    close(fd);
    cr_assert(harness_wait(&harness.gone, 1));
    cr_assert(server_connections(harness.server) == 0);
    cr_assert(harness.served == 1 && harness.last_status == 0);
}

/* Nobody could say who asks there. */
Test(http_streams, a_socket_without_credentials_is_served_only_where_callers_are_identified)
{
    struct err err;
    struct server *server = NULL;
    struct loop *loop = NULL;
    start();
    struct http_operations operations = {.authorize = harness_authorize,
                                         .room = harness_room,
                                         .body_end = harness_body_end,
                                         .gone = harness_gone};
    for (int i = 0; i < ROUTE_COUNT; i++)
        operations.handle[i] = harness_handle;
    cr_assert(loop_new(&loop, &err) == 0);
    cr_assert(server_new(&server, loop, &operations, &http_limits_default, &err) == 0);
    int fd = harness_tcp_listener();
    cr_expect(server_listen(server, fd, &err) == -EPROTOTYPE);
    cr_expect(fcntl(fd, F_GETFD) < 0, "it was taken all the same");
    server_free(server);
    operations.identify = harness_identify;
    cr_assert(server_new(&server, loop, &operations, &http_limits_default, &err) == 0);
    cr_expect(server_listen(server, harness_tcp_listener(), &err) == 0);
    fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert(fd >= 0);
    cr_expect(server_listen(server, fd, &err) == -EPROTOTYPE);
    server_free(server);
    loop_free(loop);
}

Test(http_streams, draining_answers_what_was_asked_and_ends_the_rest)
{
    start();
    _cleanup_fd_ int idle = client_connect(), late = client_connect(), stream = follow();
    client_puts(idle, "GET /v1/health HTTP/1.1\r\n" HOST "\r\n");
    client_read(idle, text, sizeof text, "}", 2000);
    client_puts(late, LATE);
    cr_assert(harness_wait(&harness.handled, 3));
    harness_command(COMMAND_DRAIN);
    cr_expect(client_at_end(idle, 1000), "an idle connection is closed");
    client_read(stream, text, sizeof text, NULL, 1000);
    cr_expect(strstr(text, "0\r\n\r\n"), "a stream ends in order: %s", text);
    cr_expect(!harness.stopped, "one is not answered yet");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", harness.path);
    _cleanup_fd_ int another = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_expect(connect(another, (struct sockaddr *)&address, sizeof address) < 0);
    harness_command(COMMAND_LATE);
    client_read(late, text, sizeof text, "}", 2000);
    cr_expect(strstr(text, "{\"late\":true}"), "%s", text);
    cr_expect(client_at_end(late, 1000));
    for (int i = 0; i < 2000 && !harness.stopped; i++)
        poll(NULL, 0, 1);
    cr_assert(harness.stopped);
}

Test(http_streams, draining_has_an_end_of_its_own)
{
    start();
    _cleanup_fd_ int fd = client_connect();
    client_puts(fd, LATE);
    cr_assert(harness_wait(&harness.handled, 1));
    harness_command(COMMAND_DRAIN);
    for (int i = 0; i < 5000 && !harness.stopped; i++)
        poll(NULL, 0, 1);
    cr_assert(harness.stopped);
    cr_assert(harness.gone == 1);
}
