/* This file tests the bytes of connections through the real gateway: both directions, their ends,
 * thousands at once, clients that are slow or that vanish, and names in ClientHellos.
 */
#include "tests/kernel/gateway_fixture.h"

/* ---- ends ------------------------------------------------------------------------------------ */

static void hear_first(void)
{
    char text[32];
    int fd = dial_name("four.example", 2222, DNS_TYPE_A);
    ssize_t n = recv(fd, text, 15, MSG_WAITALL);
    EXPECT(n == 15 && memcmp(text, "SSH-2.0-first\r\n", 15) == 0, "heard %zd bytes first", n);
    EXPECT(strcmp(talk(fd), "echo") == 0, "and nothing after");
}

static void server_speaks_first(void)
{
    make_all(SPEC_EGRESS_DENY, "four.example:2222", "");
    MUST(1, in_session(hear_first) == 0);
}

Test(gateway_relay, a_server_that_speaks_first_is_heard)
{
    run_in_child(server_speaks_first);
}

enum { MANY_BYTES = 32 << 20 };

static void send_much(void)
{
    static char bytes[1 << 16];
    char text[32] = "";
    int fd = dial_name("dual.example", 5000, DNS_TYPE_AAAA);
    for (size_t sent = 0; sent < MANY_BYTES;) {
        ssize_t n = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL);
        MUST(1, n > 0);
        sent += (size_t)n;
    }
    /* The server answers only when it has heard the end: half a connection goes on. */
    MUST(2, shutdown(fd, SHUT_WR) == 0);
    ssize_t n = recv(fd, text, sizeof text - 1, 0);
    EXPECT(n > 0 && atol(text) == MANY_BYTES, "it heard %s", text);
    EXPECT(recv(fd, text, 1, 0) == 0, "and its end is not heard");
    fd_close(fd);
}

static void half_close(void)
{
    struct gateway_event opened, closed;
    make_all(SPEC_EGRESS_DENY, "dual.example:5000", "");
    MUST(3, in_session(send_much) == 0);
    MUST(4, take_event(GATEWAY_ALLOWED, &opened) && take_event(GATEWAY_CLOSED, &closed));
    EXPECT(opened.connection && opened.connection == closed.connection, "two connections");
    EXPECT(closed.sent == MANY_BYTES && closed.received == 8, "%llu sent, %llu received",
           (unsigned long long)closed.sent, (unsigned long long)closed.received);
    EXPECT(strcmp(closed.host, "dual.example") == 0 && closed.port == 5000 &&
               closed.reason == NETWORK_BY_RULE && closed.rule == 0,
           "told of %s", closed.host);
}

Test(gateway_relay, each_direction_ends_by_itself_and_bytes_are_counted)
{
    run_in_child(half_close);
}

static void echo_much(void)
{
    static char out[1 << 20], in[1 << 20];
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (char)(i * 31 >> 3);
    int fd = dial_name("four.example", 443, DNS_TYPE_A);
    for (int round = 0; round < 16; round++) {
        pid_t sender = child();
        if (sender == 0)
            _exit(send(fd, out, sizeof out, MSG_NOSIGNAL) == sizeof out ? 0 : 1);
        ssize_t n = recv(fd, in, sizeof in, MSG_WAITALL);
        int status = 0;
        waitpid(sender, &status, 0);
        EXPECT(n == sizeof in && memcmp(in, out, sizeof in) == 0 && status == 0, "round %d: %zd",
               round, n);
    }
    fd_close(fd);
}

static void both_ways(void)
{
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    MUST(1, in_session(echo_much) == 0);
}

Test(gateway_relay, bytes_come_back_as_they_went)
{
    run_in_child(both_ways);
}

/* ---- many ------------------------------------------------------------------------------------ */

enum { CONNECTIONS = 2000 };

static void open_many(void)
{
    static int fds[CONNECTIONS];
    char address[ADDRESS_TEXT_SIZE], text[8];
    MUST(1, look_up("four.example", DNS_TYPE_A, address) == 0);
    for (int i = 0; i < CONNECTIONS; i++)
        MUST(2, (fds[i] = dial_address(address, 5432)) >= 0);
    for (int turn = 0; turn < 3; turn++) {
        for (int i = 0; i < CONNECTIONS; i++)
            MUST(3, send(fds[i], &i, sizeof i, MSG_NOSIGNAL) == sizeof i);
        for (int i = 0; i < CONNECTIONS; i++) {
            int back = -1;
            MUST(4, recv(fds[i], &back, sizeof back, MSG_WAITALL) == sizeof back && back == i);
        }
    }
    /* Half of them vanish at once, the others end. */
    struct linger none = {1, 0};
    for (int i = 0; i < CONNECTIONS; i++) {
        if (i % 2)
            setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &none, sizeof none);
        else
            MUST(5, shutdown(fds[i], SHUT_WR) == 0 && recv(fds[i], text, 8, 0) == 0);
        fd_close(fds[i]);
    }
    expect_address(address, 5432, "echo");
}

static long status_kib(const char *key)
{
    char path[64], line[256];
    long value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)gateway_pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            value = strtol(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static void many(void)
{
    make_all(SPEC_EGRESS_DENY, "four.example:5432", "");
    MUST(6, in_session(open_many) == 0);
    long peak = status_kib("VmHWM:");
    EXPECT(peak > 0 && peak < 64 << 10, "the gateway had %ld KiB", peak);
}

Test(gateway_relay, two_thousand_connections_are_served, .timeout = 120)
{
    run_in_child(many);
}

/* ---- hostile clients ------------------------------------------------------------------------- */

/* Until nothing of it moves any more, either way. */
static void stuff(int fd)
{
    static char bytes[1 << 16];
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    do
        while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
            ;
    while (poll(&p, 1, 100) > 0);
}

/* It opens all that it may, and reads nothing of what comes back. */
static void hog(void)
{
    static char bytes[1 << 16];
    char address[ADDRESS_TEXT_SIZE];
    MUST(1, look_up("four.example", DNS_TYPE_A, address) == 0);
    for (int i = 0; i < 200; i++) {
        int fd = dial_address(address, 5432);
        MUST(2, fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
        if (i % 50 == 0)
            stuff(fd);
        while (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
            ;
    }
    /* Still there is room for who reads. */
    for (int i = 0; i < 20; i++)
        expect_address(address, 2222, "other");
}

static void storm(void)
{
    struct linger none = {1, 0};
    char address[ADDRESS_TEXT_SIZE];
    MUST(3, look_up("four.example", DNS_TYPE_A, address) == 0);
    for (int i = 0; i < 3000; i++) {
        int fd = dial_address(address, 443);
        MUST(4, fd >= 0);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
        if (i % 3 == 0)
            (void)!send(fd, "x", 1, MSG_NOSIGNAL);
        fd_close(fd);
    }
    expect_address(address, 443, "echo");
}

static void too_many(void)
{
    int refused = 0;
    char address[ADDRESS_TEXT_SIZE];
    MUST(5, look_up("four.example", DNS_TYPE_A, address) == 0);
    for (int i = 0; i < 300; i++) {
        int fd = dial_address(address, 443);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        refused += fd < 0 || (i >= 256 && poll(&p, 1, PATIENCE_MS) > 0);
    }
    EXPECT(refused == 44, "%d of 300 refused", refused);
}

/* What went wrong may be a refusal: then the gateway said why. */
static void say_why(void)
{
    struct gateway_event event;
    for (int i = 0; i < 4 && shared->said[0] && take_event(GATEWAY_DENIED, &event); i++) {
        size_t at = strlen(shared->said);
        snprintf(shared->said + at, sizeof shared->said - at, "; %s:%u refused (%s, %s)",
                 event.host, event.port, network_reason_name(event.reason),
                 event.sys ? strerrorname_np(event.sys) : "no error");
    }
}

static void hostile(void)
{
    default_config();
    config.connections_per_session = 256;
    make_all(SPEC_EGRESS_DENY, "four.example:443 four.example:2222 four.example:5432", "");
    MUST(6, in_session(hog) == 0);
    say_why();
    MUST(7, in_session(storm) == 0);
    MUST(8, in_session(too_many) == 0);
    long peak = status_kib("VmHWM:");
    EXPECT(peak > 0 && peak < 64 << 10, "the gateway had %ld KiB", peak);
}

Test(gateway_relay, clients_that_read_nothing_vanish_or_are_too_many_harm_nobody, .timeout = 120)
{
    run_in_child(hostile);
}

static void wait_idle(void)
{
    char byte;
    int fd = dial_name("four.example", 443, DNS_TYPE_A);
    MUST(1, fd >= 0);
    EXPECT(recv(fd, &byte, 1, 0) < 0 && errno == ECONNRESET, "an idle connection stays");
    fd_close(fd);
}

static void idle(void)
{
    default_config();
    config.idle_timeout_ms = 300;
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    MUST(2, in_session(wait_idle) == 0);
}

Test(gateway_relay, a_connection_on_which_nothing_moves_ends)
{
    run_in_child(idle);
}

/* ---- names in ClientHellos ------------------------------------------------------------------- */

/* The shortest ClientHello there is, in records of `piece` bytes. */
static size_t client_hello(uint8_t *at, const char *name, size_t piece)
{
    uint8_t message[512];
    size_t n = 4, length = strlen(name);
    memset(message, 0, sizeof message);
    message[n] = message[n + 1] = 3;
    n += 2 + 32 + 1;
    message[n + 1] = 2; /* one suite */
    message[n + 2] = 0x13;
    message[n + 3] = 1;
    n += 4;
    message[n++] = 1; /* one compression: none */
    n++;
    if (length > 0) {
        const size_t list = length + 3, extension = list + 2, all = extension + 4;
        const uint8_t head[] = {(uint8_t)(all >> 8),
                                (uint8_t)all,
                                0,
                                0,
                                (uint8_t)(extension >> 8),
                                (uint8_t)extension,
                                (uint8_t)(list >> 8),
                                (uint8_t)list,
                                0,
                                (uint8_t)(length >> 8),
                                (uint8_t)length};
        memcpy(message + n, head, sizeof head);
        memcpy(message + n + sizeof head, name, length);
        n += sizeof head + length;
    }
    message[0] = 1;
    message[2] = (uint8_t)((n - 4) >> 8);
    message[3] = (uint8_t)(n - 4);
    uint8_t *to = at;
    for (size_t done = 0; done < n;) {
        size_t here = n - done < piece ? n - done : piece;
        const uint8_t head[] = {22, 3, 1, (uint8_t)(here >> 8), (uint8_t)here};
        memcpy(to, head, sizeof head);
        memcpy(to + sizeof head, message + done, here);
        to += sizeof head + here;
        done += here;
    }
    return (size_t)(to - at);
}

/* "echo", or how it ended; sent in pieces of `step` bytes. */
static const char *greet(const char *name, size_t record_bytes, size_t step, int port)
{
    static uint8_t bytes[8192], back[8192];
    size_t length = client_hello(bytes, name, record_bytes);
    int fd = dial_name("four.example", port, DNS_TYPE_A);
    if (fd < 0)
        return strerrorname_np(-fd);
    ssize_t n = 1;
    for (size_t at = 0; at < length && n > 0; at += step)
        n = send(fd, bytes + at, length - at < step ? length - at : step, MSG_NOSIGNAL);
    if (n > 0)
        n = recv(fd, back, length, MSG_WAITALL);
    const char *said = n < 0 ? "reset" : n == (ssize_t)length ? "echo" : "end";
    fd_close(fd);
    return said;
}

static void greet_all(void)
{
    static const struct {
        const char *name;
        size_t record_bytes, step;
        int port;
        const char *what;
    } table[] = {
        {"four.example", 400, 8192, 443, "echo"},
        {"FOUR.example", 400, 8192, 443, "echo"},
        {"", 400, 8192, 443, "echo"},
        {"four.example", 7, 8192, 443, "echo"},
        {"four.example", 400, 3, 443, "echo"},
        {"evil.example", 400, 8192, 443, "reset"},
        {"evil.example", 1, 8192, 443, "reset"},
        {"evil.example", 400, 1, 443, "reset"},
        {"www.four.example", 400, 99, 443, "reset"},
        {"four.example\xff", 400, 99, 443, "reset"},
        {"evil.example", 400, 8192, 80, "echo"},
    };
    for (unsigned i = 0; i < ARRAY_LENGTH(table); i++) {
        const char *said =
            greet(table[i].name, table[i].record_bytes, table[i].step, table[i].port);
        EXPECT(strcmp(said, table[i].what) == 0, "row %u (%s): %s", i, table[i].name, said);
    }
    /* What is no TLS names nobody. */
    expect_name("four.example", 443, "echo");
}

static void greetings(void)
{
    struct gateway_event event;
    make_all(SPEC_EGRESS_DENY, "four.example:443 four.example:80", "");
    MUST(1, in_session(greet_all) == 0);
    MUST(2, take_event(GATEWAY_DENIED, &event));
    EXPECT(event.reason == NETWORK_BY_SNI && strcmp(event.host, "evil.example") == 0,
           "told: %s of %s", network_reason_name(event.reason), event.host);
}

static void greet_others(void)
{
    const char *said = greet("evil.example", 400, 8192, 443);
    EXPECT(strcmp(said, "echo") == 0, "with sni off: %s", said);
}

static void greetings_off(void)
{
    make_all(SPEC_EGRESS_DENY, "four.example:443", "");
    record.generation++;
    record.network.sni_match = 0;
    int fd = memory_file(&record, sizeof record);
    MUST(3, ask(GATEWAY_REPLACE, NULL, &fd, 1) == 0);
    MUST(4, in_session(greet_others) == 0);
}

Test(gateway_relay, a_client_hello_that_names_another_host_is_cut)
{
    run_in_child(greetings);
    run_in_child(greetings_off);
}
