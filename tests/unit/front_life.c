/* This file tests what passes between the supervisor and front, and what front refuses to start
 * with; the provider is a fake.
 */
#include "front_harness.h"

#include "api/front/life.h"
#include "api/front/start.h"
#include "provider/registry.h"

/* ---- the rest of the fake provider -------------------------------------------------------------
 */

static struct provider_options options;
static atomic_int launchers, gateways, closed;
static struct loop_timer *ready;
static struct err fails; /* code 0: it recovers */

static void on_ready(void *owner)
{
    (void)owner;
    options.recovered(options.data, fails.code ? &fails : NULL);
    if (!fails.code)
        options.idle(options.data, true);
}

int provider_open(struct provider **ret, const struct provider_options *asked, struct err *err)
{
    options = *asked;
    fake_note("open idle=%d", asked->idle != NULL);
    int r = loop_timer_new(asked->loop, on_ready, NULL, &ready, err);
    if (r == 0)
        r = loop_timer_new(asked->loop, fake_work, NULL, &fake.timer, err);
    loop_timer_set(ready, 1);
    *ret = (struct provider *)&options;
    return r;
}

void provider_close(struct provider *p, uint64_t in_ms, void (*done)(void *data), void *data)
{
    cr_expect(p == (struct provider *)&options && in_ms > 0);
    loop_timer_free(ready);
    loop_timer_free(fake.timer);
    fd_close(options.launcher);
    closed++;
    done(data);
}

void provider_launcher(struct provider *p, int fd)
{
    (void)p;
    fd_close(fd);
    launchers++;
}

void provider_gateway(struct provider *p, int fd)
{
    (void)p;
    fd_close(fd);
    gateways++;
}

/* ---- a life ---------------------------------------------------------------------------------- */

static struct front_start start;
static int supervisor = -1, result;
static pthread_t life;

static void *live(void *argument)
{
    const int *fds = argument;
    struct err err;
    result = front_live(&start, fds[0], fds[1], fds[2], &err);
    return NULL;
}

static void begin(void)
{
    static int fds[3];
    int control[2], launcher[2];
    cr_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control) == 0);
    cr_assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, launcher) == 0);
    fd_close(launcher[0]);
    start.config.rootless = 1;
    start.config.socket_gid = UINT32_MAX;
    supervisor = control[0];
    fds[0] = control[1];
    fds[1] = launcher[1];
    fds[2] = harness_listener();
    cr_assert(pthread_create(&life, NULL, live, fds) == 0);
}

static int end(void)
{
    cr_expect(send(supervisor, "E", 1, 0) == 1);
    pthread_join(life, NULL);
    fd_replace(&supervisor, -1);
    unlink(harness.path);
    rmdir(harness.directory);
    return result;
}

/* The supervisor's next byte; 0: the end or nothing. */
static char next_byte(int wait_ms)
{
    char byte = 0;
    struct pollfd p = {.fd = supervisor, .events = POLLIN};
    if (poll(&p, 1, wait_ms) == 1 && recv(supervisor, &byte, 1, MSG_DONTWAIT) != 1)
        byte = 0;
    return byte;
}

static void send_launcher(char byte, int fd)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd >= 0) {
        message.msg_control = control.room;
        message.msg_controllen = sizeof control.room;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    cr_assert(sendmsg(supervisor, &message, 0) == 1);
}

TestSuite(front_life, .timeout = 40);

Test(front_life, it_says_when_it_serves_and_ends_with_the_supervisor)
{
    begin();
    cr_expect_eq(next_byte(CLIENT_WAIT_MS), 'R');
    const char *answer = front_ask("GET", "/v1/health", "", NULL);
    cr_expect(strstr(answer, " 200 "), "%s", answer);
    cr_expect_eq(end(), 0);
    cr_expect(closed == 1, "the ledger is closed");
}

Test(front_life, the_events_of_a_new_gateway_are_handed_on)
{
    begin();
    cr_expect_eq(next_byte(CLIENT_WAIT_MS), 'R');
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    send_launcher('V', -1);
    send_launcher('V', fd);
    fd_close(fd);
    for (int i = 0; i < 3000 && gateways < 1; i++)
        poll(NULL, 0, 1);
    cr_expect(gateways == 1 && launchers == 0);
    cr_expect_eq(end(), 0);
}

Test(front_life, a_new_launcher_is_handed_on)
{
    begin();
    cr_expect_eq(next_byte(CLIENT_WAIT_MS), 'R');
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    send_launcher('L', fd);
    send_launcher('?', -1);
    send_launcher('L', -1);
    send_launcher('L', fd);
    fd_close(fd);
    for (int i = 0; i < 3000 && launchers < 2; i++)
        poll(NULL, 0, 1);
    cr_expect(launchers == 2, "%d: a message without a descriptor is none", (int)launchers);
    cr_expect(strstr(front_ask("GET", "/v1/health", "", NULL), " 200 "));
    cr_expect_eq(end(), 0);
}

Test(front_life, a_request_under_way_is_answered_before_the_end)
{
    char text[4096];
    begin();
    cr_expect_eq(next_byte(CLIENT_WAIT_MS), 'R');
    _cleanup_fd_ int events = client_connect(), late = client_connect();
    client_puts(events, "GET /v1/workspaces/w/sessions/s/events HTTP/1.1\r\nHost: b\r\n\r\n");
    client_read(events, text, sizeof text, "id: 3\n", CLIENT_WAIT_MS);
    client_puts(late, "GET /v1/workspaces/w/sessions/s HTTP/1.1\r\nHost: b\r\n\r\n");
    client_read(late, text, sizeof text, "session_get", CLIENT_WAIT_MS);
    cr_expect(strstr(text, " 200 "), "%s", text);
    cr_expect_eq(end(), 0);
    client_read(events, text, sizeof text, NULL, 100);
    cr_expect(strstr(text, "0\r\n\r\n"), "a stream of events has its end: %s", text);
}

Test(front_life, it_does_not_wait_when_the_supervisor_is_dead)
{
    char text[4096];
    begin();
    cr_expect_eq(next_byte(CLIENT_WAIT_MS), 'R');
    _cleanup_fd_ int events = client_connect();
    client_puts(events, "GET /v1/workspaces/w/sessions/s/events HTTP/1.1\r\nHost: b\r\n\r\n");
    client_read(events, text, sizeof text, "id: 3\n", CLIENT_WAIT_MS);
    fd_replace(&supervisor, -1);
    pthread_join(life, NULL);
    cr_expect_eq(result, -EPIPE);
    cr_expect(closed == 0, "what is under way is left as after SIGKILL");
    unlink(harness.path);
    rmdir(harness.directory);
}

Test(front_life, rows_that_do_not_agree_end_it_with_the_reason)
{
    err_set(&fails, ERR_INTERNAL, EIO, "recover", NULL, "It cannot be.");
    begin();
    pthread_join(life, NULL);
    cr_expect_eq(result, -EIO);
    cr_expect(closed == 1);
    fd_replace(&supervisor, -1);
    unlink(harness.path);
    rmdir(harness.directory);
}

Test(front_life, on_demand_it_says_that_nobody_is_there_after_ten_seconds)
{
    start.config.on_demand = 1;
    begin();
    cr_expect_eq(next_byte(CLIENT_WAIT_MS), 'R');
    cr_expect_eq(next_byte(8000), 0, "not yet");
    cr_expect_eq(next_byte(6000), 'I');
    cr_expect_eq(end(), 0);
}

/* ---- what it starts with ------------------------------------------------------------------------
 */

static int sealed(const void *data, size_t length, bool seal)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    cr_assert(fd >= 0 && io_write_full(fd, data, length) == 0);
    if (seal)
        cr_assert(
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0);
    return fd;
}

static int read_config(const struct serve_config *config, const char *ceiling, bool seal)
{
    static struct front_start taken;
    _cleanup_buf_ struct buf data = {0};
    struct err err;
    buf_add(&data, config, sizeof *config);
    buf_puts(&data, ceiling);
    _cleanup_fd_ int fd = sealed(data.data, data.length, seal);
    int r = front_start_config(fd, &taken, &err);
    cr_expect(r < 0 || !ceiling[0] == !taken.ceiling);
    front_start_fini(&taken);
    return r;
}

Test(front_life, a_configuration_is_taken_whole_and_sealed_or_not_at_all)
{
    static const char ceiling[] = "{\"version\":1,\"limits\":{\"pids\":5}}";
    struct serve_config good = {.version = SERVE_CONFIG_VERSION,
                                .size = sizeof good,
                                .root_count = 1,
                                .state_dir = "/s",
                                .runtime_dir = "/r",
                                .roots = {"/a"}},
                        bad;
    cr_expect_eq(read_config(&good, "", true), 0);
    cr_expect(read_config(&good, "", false) < 0, "it can still change");
    cr_expect(read_config(&good, "x", true) < 0, "more than it says");
    bad = good;
    bad.ceiling_length = sizeof ceiling - 1;
    cr_expect_eq(read_config(&bad, ceiling, true), 0);
    bad.ceiling_length--;
    cr_expect(read_config(&bad, ceiling, true) < 0);
    cr_expect(read_config(&bad, "{\"version\":1,\"limits\":{\"pids\":\"\"}}", true) < 0);
    bad = good;
    bad.version++;
    cr_expect(read_config(&bad, "", true) < 0, "another version");
    bad = good;
    bad.roots[0][0] = 'x';
    cr_expect(read_config(&bad, "", true) < 0, "no path");
    bad = good;
    memset(bad.state_dir, '/', sizeof bad.state_dir);
    cr_expect(read_config(&bad, "", true) < 0, "no end");
    bad = good;
    bad.root_count = SERVE_ROOTS_MAX + 1;
    cr_expect(read_config(&bad, "", true) < 0);
}

Test(front_life, capabilities_are_taken_from_a_sealed_memfd)
{
    static struct front_start taken;
    static struct capability_set set;
    _cleanup_buf_ struct buf text = {0}, other = {0};
    struct err err;
    set.status[CAP_LIMITS_PIDS].available = true;
    registry_encode(&set, SERVE_CAPABILITIES_KEY, &text);
    registry_encode(&set, "other", &other);
    _cleanup_fd_ int good = sealed(text.data, text.length, true),
                     open_one = sealed(text.data, text.length, false),
                     wrong = sealed(other.data, other.length, true);
    cr_expect_eq(front_start_capabilities(good, &taken, &err), 0);
    cr_expect(taken.capabilities.status[CAP_LIMITS_PIDS].available);
    cr_expect(front_start_capabilities(open_one, &taken, &err) < 0);
    cr_expect(front_start_capabilities(wrong, &taken, &err) < 0);
    cr_expect(front_start_capabilities(0, &taken, &err) < 0);
}
