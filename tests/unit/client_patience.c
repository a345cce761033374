/* This file tests how a service is asked again that is there and busy: with pauses, and no longer
 * than it is worth. Only the least of a time is looked at: a busy machine adds to it. */
#include "api/cli/client.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static char directory[64], path[96];
static pid_t server;

/* One connection at a time, which is kept: `busy` refusals, then an answer. */
static void serve(int listener, unsigned busy, const char *retry_after)
{
    static const char body[] = "{\"code\":\"unavailable\",\"detail\":\"Busy.\"}";
    for (;;) {
        char text[4096];
        size_t have = 0;
        ssize_t n;
        int fd = accept(listener, NULL, NULL);
        while ((n = read(fd, text + have, sizeof text - 1 - have)) > 0) {
            have += (size_t)n;
            text[have] = 0;
            if (!strstr(text, "\r\n\r\n"))
                continue;
            have = 0;
            if (busy > 0)
                dprintf(fd, "HTTP/1.1 503 X\r\n%sContent-Length: %zu\r\n\r\n%s", retry_after,
                        sizeof body - 1, body);
            else
                dprintf(fd, "HTTP/1.1 200 X\r\nContent-Length: 2\r\n\r\n{}");
            busy -= busy > 0;
        }
        close(fd);
    }
}

static void begin(unsigned busy, const char *retry_after)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char host[128];
    snprintf(directory, sizeof directory, "/tmp/berth-patience-XXXXXX");
    cr_assert(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/s", directory);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(listener, 8), 0);
    server = fork();
    if (server == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve(listener, busy, retry_after);
    }
    close(listener);
    snprintf(host, sizeof host, "unix:%s", path);
    setenv("BERTH_HOST", host, 1);
}

static void finish(void)
{
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    unlink(path);
    cr_expect_eq(rmdir(directory), 0);
}

/* How long it takes until `busy` refusals are over. */
static uint64_t ask(unsigned busy, const char *retry_after)
{
    const struct client_request get = {.method = "GET", .path = "/v1/health"};
    struct client *c;
    struct err err = {0};
    begin(busy, retry_after);
    cr_assert_eq(client_new(&c, NULL, &err), 0);
    uint64_t since = client_now_ms();
    cr_expect_eq(client_call(c, &get, NULL, &err), 0, "%s", err.detail);
    uint64_t took = client_now_ms() - since;
    client_free(c);
    finish();
    return took;
}

Test(client_patience, who_is_busy_is_given_time_on_a_connection_that_is_kept_too, .timeout = 60)
{
    uint64_t took = ask(6, "Retry-After: 1\r\n");
    cr_expect_geq(took, 6 * 50u, "six refusals took %llu ms", (unsigned long long)took);
}

Test(client_patience, who_says_how_long_is_not_asked_before, .timeout = 60)
{
    uint64_t took = ask(1, "Retry-After: 2\r\n");
    cr_expect_geq(took, 2000u, "asked again after %llu ms", (unsigned long long)took);
}

/* Longer than it has patience. */
Test(client_patience, who_says_that_it_will_take_long_is_not_waited_for)
{
    const struct client_request get = {.method = "GET", .path = "/v1/health"};
    struct client *c;
    struct err err = {0};
    begin(1, "Retry-After: 60\r\n");
    cr_assert_eq(client_new(&c, NULL, &err), 0);
    cr_expect_lt(client_call(c, &get, NULL, &err), 0);
    cr_expect_eq(err.code, ERR_UNAVAILABLE);
    cr_expect_str_eq(err.detail, "Busy.");
    client_free(c);
    finish();
}
