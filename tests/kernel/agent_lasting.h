/* This file is the fixture of tests of sessions that outlive their controllers: a harness whose
 * init listens, and a client of front's kind. It is included by the agent_*.c tests that need it.
 */
#pragma once

#include "tests/kernel/agent_harness.h"

#include "runtime/link/agent_client.h"

#include <sys/un.h>

static struct harness h;
static char directory[] = "/tmp/berth-agent-XXXXXX";
static char path[64];
static struct agent_client *client;

UNUSED static int bound_socket(void)
{
    cr_assert(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/control", directory);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0, "%m");
    return fd;
}

UNUSED static void start_with(struct harness_options o)
{
    int fd = bound_socket();
    o.listen_fd = fd;
    if (o.epoch == 0)
        o.epoch = 1;
    harness_start(&h, &o);
    cr_assert(h.ready_seen, "%s %s %d", h.failed.step, h.failed.subject, h.failed.sys);
    close(fd);
}

UNUSED static void start(void)
{
    start_with((struct harness_options){0});
}

UNUSED static void stop(void)
{
    agent_client_free(client);
    client = NULL;
    if (h.pid > 0) {
        int status;
        /* Through the front door, so that cgroups of commands are removed as well. */
        struct err err;
        struct agent_client *last;
        if (agent_client_open(&last, path, h.pid, UINT64_MAX, &err) == 0) {
            struct agent_message m = {.magic = AGENT_MAGIC,
                                      .version = AGENT_VERSION,
                                      .type = AGENT_SHUTDOWN,
                                      .epoch = UINT64_MAX};
            send(agent_client_control_fd(last), &m, sizeof m, MSG_NOSIGNAL);
            cr_expect(harness_ended(&h, 10000, &status));
            agent_client_free(last);
        }
        if (h.pid > 0)
            kill(h.pid, SIGKILL);
    }
    harness_stop(&h);
    unlink(path);
    rmdir(directory);
}

UNUSED static void leave_start_connection(void)
{
    fd_replace(&h.control, -1);
    fd_replace(&h.frames, -1);
}

UNUSED static void connect_with(uint64_t epoch)
{
    struct err err = {0};
    agent_client_free(client);
    client = NULL;
    cr_assert_eq(agent_client_open(&client, path, h.pid, epoch, &err), 0, "%s: %s", err.step,
                 err.detail);
}

/* The next frame of `agent`; false at its end. */
UNUSED static bool next_from(struct agent_client *agent, struct agent_frame *frame,
                             const void **payload)
{
    struct err err = {0};
    double until = harness_now_us() + HARNESS_TIMEOUT_MS * 1e3;
    for (;;) {
        int r = agent_client_next(agent, frame, payload, &err);
        if (r == 0)
            return true;
        if (r == SESSION_FRAME_END)
            return false;
        cr_assert_eq(r, SESSION_FRAME_NONE, "%s", err.detail);
        cr_assert_lt(harness_now_us(), until, "no frame came");
        struct pollfd p = {.fd = agent_client_fd(agent), .events = POLLIN};
        poll(&p, 1, 1000);
    }
}

UNUSED static struct agent_frame await(uint16_t type, uint64_t exec, const void **payload)
{
    struct agent_frame frame;
    do
        cr_assert(next_from(client, &frame, payload), "the connection ended");
    while (frame.type != type || frame.exec != exec);
    return frame;
}

UNUSED static struct agent_table_row row_of(uint64_t exec)
{
    const void *payload;
    await(AGENT_FRAME_TABLE, exec, &payload);
    return *(const struct agent_table_row *)payload;
}

UNUSED static struct exec_request shell(const char *text)
{
    static const char *argv[] = {"/bin/sh", "-c", NULL, NULL};
    static const char *const env[] = {"PATH=/usr/bin:/bin", NULL};
    argv[2] = text;
    return (struct exec_request){.argv = argv,
                                 .env = env,
                                 .cwd = "/",
                                 .uid = 1000,
                                 .gid = 1000,
                                 .stdin_fd = -1,
                                 .stdout_fd = -1,
                                 .stderr_fd = -1};
}

UNUSED static void run(uint64_t exec, const char *text)
{
    struct exec_request request = shell(text);
    struct err err = {0};
    cr_assert_eq(agent_client_exec(client, exec, &request, -1, NULL, &err), 0, "%s", err.detail);
}
