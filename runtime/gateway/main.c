/* This file is `berth-gateway`, the one process that talks to the world for all sessions
 * (docs/adr/0013); it never opens a file, and decides by nothing but the rules it was given.
 *
 * What it holds: listeners and logs that were made inside the sessions' networks, their rules, and
 * the maps of their names. Whom it talks to: programs of the sessions, the servers that rules
 * allow, the resolvers of the configuration, and by fixed messages who started it, the launcher and
 * front. There is nothing to type here.
 */
#include "runtime/gateway/internal.h"

#include "runtime/base/handover.h"
#include "runtime/base/log_line.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

/* Stand where c-ares, in functions that nobody here calls, would look for the names of services,
 * which in a static program loads what the host has for that (Makefile). */
void *gateway_knows_no_service(const char *name, const char *protocol);
void *gateway_knows_no_service(const char *name, const char *protocol)
{
    (void)name, (void)protocol;
    return NULL;
}

int gateway_knows_no_port(void);
int gateway_knows_no_port(void)
{
    return ENOENT;
}

static int fail(const struct gateway *g, const struct err *err)
{
    char text[sizeof *err + 256];
    if (g && g->config.log_role) {
        struct log_line line;
        log_line_begin(&line, g->config.log_role == 2 ? LOG_LINE_TEXT : LOG_LINE_JSON, "error",
                       "gateway", "failure");
        log_line_err(&line, err);
        log_line_end(&line);
        fputs(buf_text(&line.text), stderr);
        buf_fini(&line.text);
        return EXIT_FAILURE;
    }
    err_format(err, text, sizeof text);
    fprintf(stderr, "berth-gateway: %s\n", text);
    return EXIT_FAILURE;
}

/* As one message each: the socket keeps their bounds. */
static int send_event(void *owner, const struct gateway_event *event)
{
    struct gateway *g = owner;
    if (!g->reader.added)
        return -ENOTCONN;
    ssize_t n = send(g->reader.fd, event, sizeof *event, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n == (ssize_t)sizeof *event ? 0 : n < 0 ? -errno : -EIO;
}

static int read_config(struct gateway *g, struct err *err)
{
    static const char step[] = "read the configuration";
    ssize_t n = pread(GATEWAY_FD_CONFIG, &g->config, sizeof g->config, 0);
    if (n < 0)
        return err_set(err, ERR_INTERNAL, errno, step, NULL,
                       "It takes no arguments: `berth serve` and `berth run` start it.");
    const char *wrong = gateway_config_check(&g->config, (size_t)n);
    if (wrong)
        return err_set(err, ERR_INTERNAL, EINVAL, step, NULL, "It is %s.", wrong);
    fd_close(GATEWAY_FD_CONFIG);
    return 0;
}

/* Two descriptors of each connection, and some to dial with; what is left is for sessions, pipes
 * and questions. */
static void bound_connections(struct gateway *g)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur > 1u << 30)
        return;
    uint32_t most = (uint32_t)files.rlim_cur * 9 / 20;
    if (g->config.connections_max > most)
        g->config.connections_max = most;
}

static int start(struct gateway *g, struct err *err)
{
    list_init(&g->sessions);
    list_init(&g->ready);
    list_init(&g->dialling);
    list_init(&g->idle);
    list_init(&g->pipes);
    list_init(&g->streams);
    list_init(&g->throttled);
    g->now_ms = clock_ms(CLOCK_MONOTONIC);
    int r = read_config(g, err);
    if (r == 0)
        r = gateway_rights_identity(err);
    if (r == 0)
        r = resolver_new(g, err);
    if (r < 0)
        return r;
    bound_connections(g);
    g->epoll = epoll_create1(EPOLL_CLOEXEC);
    g->route = route_open();
    if (g->epoll < 0 || g->route < 0 || events_new(&g->events, send_event, g) < 0)
        return err_set(err, ERR_INTERNAL, errno, "start the gateway", NULL, NULL);
    r = gateway_rights_drop(err);
    if (r < 0)
        return r;
    r = resolver_start(g);
    if (r == 0)
        r = control_start(g);
    return r < 0 ? err_set(err, ERR_INTERNAL, -r, "start the gateway", NULL, NULL) : 0;
}

int main(int argc, char **argv)
{
    static struct gateway g = {
        .epoll = -1, .route = -1, .life = {.fd = -1}, .control = {.fd = -1}, .reader = {.fd = -1}};
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct err err = {0};
    (void)argv;
    if (argc > 1) {
        err_set(&err, ERR_USAGE, 0, "start the gateway", NULL,
                "It takes no arguments: `berth serve` and `berth run` start it.");
        return fail(NULL, &err);
    }
    if (handover_asked() &&
        handover_take(HANDOVER_GATEWAY, GATEWAY_FD_LIFE, GATEWAY_FD_END, &err) < 0)
        return fail(NULL, &err);
    /* Nothing of the environment reaches the resolver. */
    clearenv();
    sigaction(SIGPIPE, &ignore, NULL);
    prctl(PR_SET_NAME, "berth: gateway");
    if (start(&g, &err) < 0)
        return fail(&g, &err);
    int r = gateway_run(&g);
    if (r < 0) {
        err_set(&err, ERR_INTERNAL, -r, "serve", NULL, NULL);
        return fail(&g, &err);
    }
    return EXIT_SUCCESS;
}
