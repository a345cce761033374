/* This file starts what `berth serve` consists of: the launcher (a fork), front (a program of its
 * own) and the probe of this host; it never restarts one (serve_loop.c).
 *
 * Each child gets exactly the descriptors that it is meant to have, no environment, default signals
 * and a session of its own, so that a terminal's signals reach the supervisor alone.
 *
 * The supervisor takes front's rights away, not front itself: a program that reads bytes of clients
 * then never had others, whatever goes wrong while it starts. Front adds its filter and Landlock
 * rules when it has opened its files.
 */
#include "api/cli/serve.h"

#include "api/cli/child.h"
#include "api/cli/cli.h"
#include "provider/registry.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/base/title.h"
#include "runtime/launcher_main.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

uint64_t serve_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the probe ----------------------------------------------------------------------------------
 */

static struct capability_set the_set;

/* What this host could enforce, the service cannot carry. */
static void withdraw_network(const struct err *why)
{
    static const enum capability withdrawn[] = {CAP_NETWORK_CIDR_RULES, CAP_NETWORK_HOST_RULES,
                                                CAP_NETWORK_PUBLIC_ONLY, CAP_NETWORK_ALLOW,
                                                CAP_NETWORK_PUBLISH};
    for (size_t i = 0; i < ARRAY_LENGTH(withdrawn); i++) {
        struct capability_status *status = &the_set.status[withdrawn[i]];
        *status = (struct capability_status){0};
        snprintf(status->reason, sizeof status->reason,
                 "No gateway serves: %.40s%s%.70s%s%.40s. %.70s", why->step,
                 why->subject[0] ? ": " : "", why->subject, why->sys ? ": " : "",
                 why->sys ? strerror(why->sys) : "", why->detail);
    }
}

/* In a child: opening the runtime as an ordinary user enters a namespace for good. */
static int probe(const struct serve_config *config, const struct err *no_gateway, int memfd,
                 struct err *err)
{
    const struct runtime_options options = {.state_dir = config->state_dir,
                                            .runtime_dir = config->runtime_dir};
    struct runtime *rt;
    int r = runtime_open(&rt, &options, err);
    if (r < 0)
        return r;
    r = registry_open(rt, NULL, &the_set, err);
    runtime_close(rt);
    if (r < 0)
        return r;
    if (no_gateway)
        withdraw_network(no_gateway);
    _cleanup_buf_ struct buf text = {0};
    registry_encode(&the_set, SERVE_CAPABILITIES_KEY, &text);
    r = buf_failed(&text) ? -ENOMEM : io_write_full(memfd, buf_text(&text), text.length);
    return r < 0 ? err_set(err, ERR_INTERNAL, -r, "keep the capabilities", NULL, NULL) : 0;
}

int serve_probe(const struct serve_config *config, const struct err *no_gateway, int *ret_memfd,
                struct err *err)
{
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return err_set(err, ERR_INTERNAL, errno, "probe this host", NULL, NULL);
    _cleanup_fd_ int in = pipes[0], out = pipes[1];
    _cleanup_fd_ int memfd = memfd_create("berth-capabilities", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (memfd < 0)
        return err_set(err, ERR_INTERNAL, errno, "probe this host", NULL, NULL);
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "probe this host", NULL, NULL);
    if (pid == 0) {
        struct err why;
        child_begin();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        title_set("berth: probe");
        cli_log_begin("probe", config->log_text);
        int r = probe(config, no_gateway, memfd, &why);
        if (r < 0)
            (void)io_write_full(out, &why, sizeof why);
        _exit(r < 0);
    }
    fd_replace(&out, -1);
    struct err why;
    ssize_t n = io_read_full(in, &why, sizeof why);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    if (n == (ssize_t)sizeof why) {
        if (err)
            *err = why;
        return why.sys ? -why.sys : -EINVAL;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return err_set(err, ERR_INTERNAL, 0, "probe this host", NULL,
                       "The process that probes has ended early. `berth doctor` does the same.");
    if (fcntl(memfd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return err_set(err, ERR_INTERNAL, errno, "seal the capabilities", NULL, NULL);
    *ret_memfd = take_fd(&memfd);
    return 0;
}

/* ---- the launcher -------------------------------------------------------------------------------
 */

static void tell_failure(const struct err *err)
{
    (void)cli_fail(err);
}

static int keep_only(const struct serve_launch *launch, int front, int supervisor, int gateway)
{
    _cleanup_free_ int *fds = calloc(launch->kept.count + 4, sizeof *fds);
    unsigned count = 0;
    if (!fds)
        return -ENOMEM;
    fds[count++] = front;
    fds[count++] = supervisor;
    if (gateway >= 0)
        fds[count++] = gateway;
    if (launch->kept.outer >= 0)
        fds[count++] = launch->kept.outer;
    for (unsigned i = 0; i < launch->kept.count; i++)
        fds[count++] = launch->kept.items[i].netns;
    return fd_keep_only(fds, count);
}

static int run_launcher(const struct serve_launch *launch, uint64_t number, int front, int gateway,
                        int supervisor)
{
    struct err err;
    child_begin();
    title_set("berth: launcher");
    cli_log_begin("launcher", launch->plan->config.log_text);
    int r = child_null_stdin();
    if (r == 0)
        r = keep_only(launch, front, supervisor, gateway);
    if (r < 0) {
        err_set(&err, ERR_INTERNAL, -r, "start the launcher", NULL, NULL);
        return cli_fail(&err);
    }
    const struct launcher_options options = {.front = front,
                                             .supervisor = supervisor,
                                             .gateway = launch->carries ? gateway : 0,
                                             .tell = tell_failure,
                                             .outer = launch->kept.outer,
                                             .kept = launch->kept.items,
                                             .kept_count = launch->kept.count,
                                             .config = &launch->plan->config,
                                             .generation = number};
    return launcher_main(&options, &err) < 0 ? cli_fail(&err) : CLI_EXIT_OK;
}

int serve_start_launcher(const struct serve_launch *launch, int launcher, int gateway,
                         struct serve_child *child, struct err *err)
{
    int pair[2];
    uint64_t number;
    int r = launcher_number(&launch->plan->config, &number, err);
    if (r < 0)
        return r;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start the launcher", NULL, NULL);
    _cleanup_fd_ int mine = pair[0], theirs = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start the launcher", NULL, NULL);
    if (pid == 0)
        _exit(run_launcher(launch, number, launcher, gateway, theirs));
    child->pid = pid;
    child->born_ms = serve_now_ms();
    fd_replace(&child->channel, take_fd(&mine));
    return 0;
}

/* ---- front
 * --------------------------------------------------------------------------------------- */

int serve_find_front(int *ret_program, struct err *err)
{
    return child_find_program("berth-front", "find the program that serves", ret_program, err);
}

static void fill_front(const struct serve_launch *launch, int launcher, int events,
                       int from[SERVE_FD_END])
{
    for (int i = 0; i < SERVE_FD_END; i++)
        from[i] = -1;
    from[SERVE_FD_LAUNCHER] = launcher;
    from[SERVE_FD_CONFIG] = launch->config;
    from[SERVE_FD_LISTEN] = launch->place->listen;
    from[SERVE_FD_CAPABILITIES] = launch->capabilities;
    from[SERVE_FD_EVENTS] = events;
    from[SERVE_FD_STATUS] = launch->status;
    for (unsigned i = 0; i < launch->place->tcp_count; i++)
        from[SERVE_FD_TCP + i] = launch->place->tcp[i];
}

static int exec_front(const struct serve_launch *launch, int from[SERVE_FD_END], int channel)
{
    struct err err;
    child_begin();
    umask(077);
    from[SERVE_FD_SUPERVISOR] = channel;
    const struct child_rights rights = {.keep = launch->plan->config.rootless,
                                        .uid = launch->plan->config.front_uid,
                                        .gid = launch->plan->config.front_gid};
    int r = child_exec(launch->program, from, SERVE_FD_SUPERVISOR, SERVE_FD_END, &rights,
                       "berth: front");
    err_set(&err, ERR_UNAVAILABLE, -r, "start front", NULL, NULL);
    return cli_fail(&err);
}

int serve_start_front(const struct serve_launch *launch, int launcher, int events,
                      struct serve_child *child, struct err *err)
{
    int pair[2], from[SERVE_FD_END];
    fill_front(launch, launcher, events, from);
    if (launch->units) {
        struct serve_joined joined;
        int r = serve_join_front(launch, from, &joined, err);
        if (r == 0)
            serve_child_joined(child, &joined);
        return r;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start front", NULL, NULL);
    _cleanup_fd_ int mine = pair[0], theirs = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start front", NULL, NULL);
    if (pid == 0)
        _exit(exec_front(launch, from, theirs));
    child->pid = pid;
    child->born_ms = serve_now_ms();
    fd_replace(&child->channel, take_fd(&mine));
    return 0;
}
