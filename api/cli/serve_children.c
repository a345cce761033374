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

#ifndef BERTH_PREFIX
#define BERTH_PREFIX "/usr/local"
#endif

uint64_t serve_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int serve_sealed(const char *name, const void *first, size_t first_length, const void *second,
                 size_t second_length)
{
    _cleanup_fd_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int r = io_write_full(fd, first, first_length);
    if (r == 0)
        r = io_write_full(fd, second, second_length);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        return -errno;
    return take_fd(&fd);
}

/* ---- what every child begins with ---------------------------------------------------------------
 */

static void become_child(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int signo = 1; signo < 32; signo++)
        if (signo != SIGKILL && signo != SIGSTOP && signo != SIGXFSZ)
            sigaction(signo, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setsid();
    /* A descriptor for each client and each session. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static int null_stdin(void)
{
    _cleanup_fd_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return null < 0 || dup2(null, STDIN_FILENO) < 0 ? -errno : 0;
}

/* ---- the probe ----------------------------------------------------------------------------------
 */

static struct capability_set the_set;

/* In a child: opening the runtime as an ordinary user enters a namespace for good. */
static int probe(const struct serve_config *config, int memfd, struct err *err)
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
    _cleanup_buf_ struct buf text = {0};
    registry_encode(&the_set, SERVE_CAPABILITIES_KEY, &text);
    r = buf_failed(&text) ? -ENOMEM : io_write_full(memfd, buf_text(&text), text.length);
    return r < 0 ? err_set(err, ERR_INTERNAL, -r, "keep the capabilities", NULL, NULL) : 0;
}

int serve_probe(const struct serve_config *config, int *ret_memfd, struct err *err)
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
        become_child();
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        title_set("berth: probe");
        int r = probe(config, memfd, &why);
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

static int run_launcher(const struct serve_launch *launch, uint64_t number, int front,
                        int supervisor)
{
    struct err err;
    become_child();
    title_set("berth: launcher");
    const int kept[] = {front, supervisor};
    int r = null_stdin();
    if (r == 0)
        r = fd_keep_only(kept, ARRAY_LENGTH(kept));
    if (r < 0) {
        err_set(&err, ERR_INTERNAL, -r, "start the launcher", NULL, NULL);
        return cli_fail(&err);
    }
    const struct launcher_options options = {.front = front,
                                             .supervisor = supervisor,
                                             .config = &launch->plan->config,
                                             .generation = number};
    return launcher_main(&options, &err) < 0 ? cli_fail(&err) : CLI_EXIT_OK;
}

int serve_start_launcher(const struct serve_launch *launch, int launcher, struct serve_child *child,
                         struct err *err)
{
    int pipes[2];
    uint64_t number;
    int r = launcher_number(&launch->plan->config, &number, err);
    if (r < 0)
        return r;
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start the launcher", NULL, NULL);
    _cleanup_fd_ int in = pipes[0], out = pipes[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start the launcher", NULL, NULL);
    if (pid == 0)
        _exit(run_launcher(launch, number, launcher, in));
    child->pid = pid;
    child->born_ms = serve_now_ms();
    fd_replace(&child->channel, take_fd(&out));
    return 0;
}

/* ---- front
 * --------------------------------------------------------------------------------------- */

int serve_find_front(int *ret_program, struct err *err)
{
    char path[PATH_MAX] = "";
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - sizeof "-front");
    char *slash = n > 0 ? strrchr(path, '/') : NULL;
    _cleanup_fd_ int fd = -1;
    if (slash) {
        snprintf(slash, sizeof path - (size_t)(slash - path), "/berth-front");
        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0) {
        snprintf(path, sizeof path, "%s", BERTH_PREFIX "/libexec/berth/berth-front");
        fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    }
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "find the program that serves", path,
                       "It is built and installed together with berth: run `make` or `make "
                       "install` again.");
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (st.st_mode & 022) ||
        (st.st_uid != 0 && st.st_uid != geteuid()))
        return err_set(err, ERR_FORBIDDEN, 0, "use the program that serves", path,
                       "It must be a file that belongs to root or to you and that nobody else can "
                       "write.");
    *ret_program = take_fd(&fd);
    return 0;
}

/* From numbers that may overlap with the fixed ones to these. */
static int place_descriptors(int from[SERVE_FD_END])
{
    for (int to = SERVE_FD_SUPERVISOR; to < SERVE_FD_END; to++) {
        from[to] = fcntl(from[to], F_DUPFD_CLOEXEC, SERVE_FD_END);
        if (from[to] < 0)
            return -errno;
    }
    for (int to = SERVE_FD_SUPERVISOR; to < SERVE_FD_END; to++)
        if (dup2(from[to], to) < 0)
            return -errno;
    return 0;
}

static int give_up_rights(const struct serve_config *config)
{
    if (!config->rootless &&
        (syscall(SYS_setgroups, 0L, NULL) < 0 ||
         syscall(SYS_setresgid, config->front_gid, config->front_gid, config->front_gid) < 0 ||
         syscall(SYS_setresuid, config->front_uid, config->front_uid, config->front_uid) < 0))
        return -errno;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

static int exec_front(const struct serve_launch *launch, int launcher, int channel)
{
    struct err err;
    become_child();
    umask(077);
    int from[SERVE_FD_END] = {[SERVE_FD_SUPERVISOR] = channel,
                              [SERVE_FD_LAUNCHER] = launcher,
                              [SERVE_FD_CONFIG] = launch->config,
                              [SERVE_FD_LISTEN] = launch->place->listen,
                              [SERVE_FD_CAPABILITIES] = launch->capabilities};
    /* By descriptor: the user that front runs as may not be able to reach its program by path. */
    int program = fcntl(launch->program, F_DUPFD_CLOEXEC, SERVE_FD_END + SERVE_FD_END);
    const int kept[] = {3, 4, 5, 6, 7, program};
    int r = program < 0 ? -errno : null_stdin();
    if (r == 0)
        r = place_descriptors(from);
    if (r == 0)
        r = fd_keep_only(kept, ARRAY_LENGTH(kept));
    if (r == 0)
        r = give_up_rights(&launch->plan->config);
    if (r == 0) {
        char name[] = "berth: front";
        char *argv[] = {name, NULL}, *environment[] = {NULL};
        syscall(SYS_execveat, program, "", argv, environment, AT_EMPTY_PATH);
        r = -errno;
    }
    err_set(&err, ERR_UNAVAILABLE, -r, "start front", NULL, NULL);
    return cli_fail(&err);
}

int serve_start_front(const struct serve_launch *launch, int launcher, struct serve_child *child,
                      struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start front", NULL, NULL);
    _cleanup_fd_ int mine = pair[0], theirs = pair[1];
    pid_t pid = fork();
    if (pid < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "start front", NULL, NULL);
    if (pid == 0)
        _exit(exec_front(launch, launcher, theirs));
    child->pid = pid;
    child->born_ms = serve_now_ms();
    fd_replace(&child->channel, take_fd(&mine));
    return 0;
}
