/* This file makes sessions with the runtime's facade for the session_*.c tests, each in a place of
 * its own and in a child process; it never decides what a test means.
 *
 * Every test forks first: the facade is for single-threaded processes, and a process that dies is
 * part of what is tested. Needs root.
 */
#pragma once

#include "runtime/runtime.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* ---- a place of its own for each test
 * ------------------------------------------------------------ */

static char place[64], runtime_dir[96], state_dir[96], project[96], init_path[4096],
    reaper_path[4096];

UNUSED static void setup(void)
{
    snprintf(place, sizeof place, "/tmp/berth-test-XXXXXX");
    cr_assert_not_null(mkdtemp(place));
    chmod(place, 0755);
    snprintf(runtime_dir, sizeof runtime_dir, "%s/run", place);
    snprintf(state_dir, sizeof state_dir, "%s/state", place);
    snprintf(project, sizeof project, "%s/project", place);
    cr_assert_eq(mkdir(project, 0755), 0);
    cr_assert_eq(chown(project, 2000, 2000), 0);
    ssize_t n = readlink("/proc/self/exe", init_path, sizeof init_path - 32);
    cr_assert_gt(n, 0);
    init_path[n] = 0;
    for (int i = 0; i < 3; i++) /* BUILD/tests/kernel/session -> BUILD */
        *strrchr(init_path, '/') = 0;
    snprintf(reaper_path, sizeof reaper_path, "%.4000s/bin/berth", init_path);
    strcat(init_path, "/bin/berth-init");
}

UNUSED static void teardown(void)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", place);
    cr_assert_eq(system(command), 0); /* NOLINT: a literal and a mkdtemp name */
}

/* ---- a session in a child process
 * ------------------------------------------------------------------ */

struct outcome {
    struct agent_exit exit;
    struct agent_start_failed failed;
    bool started, ended;
    char out[65536];
    size_t out_length;
};

UNUSED static struct spec *new_spec(void)
{
    struct spec *spec = malloc(sizeof *spec);
    spec_init(spec);
    strcpy(spec->workspace_id, "local");
    strcpy(spec->session_id, "test");
    spec->image.kind = SPEC_IMAGE_HOST;
    spec->workspace.kind = SPEC_WORKSPACE_DIRECTORY;
    strcpy(spec->workspace.path, project);
    strcpy(spec->workspace.mount_path, "/workspace");
    spec->network.egress = SPEC_EGRESS_DENY;
    spec->process.uid = spec->process.gid = SPEC_UID_USER;
    spec->process.seccomp = SPEC_SECCOMP_DEFAULT;
    spec->limits.memory_bytes = 256u << 20;
    spec->limits.scratch_bytes = 16u << 20;
    spec->limits.scratch_inodes = 2000;
    spec->limits.pids = 128;
    spec->limits.open_files = 512;
    return spec;
}

UNUSED static void die(const char *what, const struct err *err)
{
    char text[2048];
    err_format(err, text, sizeof text);
    fprintf(stderr, "%s: %s\n", what, text);
    _exit(99);
}

UNUSED static struct runtime *open_runtime_with(int gateway)
{
    struct runtime *rt;
    struct err err = {0};
    struct runtime_options options = {.state_dir = state_dir,
                                      .runtime_dir = runtime_dir,
                                      .init_path = init_path,
                                      .reaper_path = reaper_path,
                                      .gateway = gateway};
    if (runtime_open(&rt, &options, &err) < 0)
        die("open the runtime", &err);
    return rt;
}

UNUSED static struct runtime *open_runtime(void)
{
    return open_runtime_with(-1);
}

UNUSED static struct session *create(struct runtime *rt, const struct spec *spec)
{
    struct session *s;
    struct err err = {0};
    if (session_create(&s, rt, spec, &err) < 0)
        die("create", &err);
    return s;
}

UNUSED static int try_exec_shell(struct session *s, const struct spec *spec, uint64_t exec,
                                 const char *command, uint64_t timeout_ms, struct err *err)
{
    char **env = exec_environment(spec, NULL, NULL);
    const char *const argv[] = {"/bin/sh", "-c", command, NULL};
    struct exec_request request = {
        .argv = argv,
        .env = (const char *const *)env,
        .cwd = spec->workspace.mount_path,
        .uid = spec->process.uid,
        .gid = spec->process.gid,
        .stdin_fd = -1,
        .stdout_fd = -1,
        .stderr_fd = -1,
        .timeout_ms = timeout_ms,
        .grace_ms = 100,
        .open_files = spec->limits.open_files,
    };
    int r = session_exec(s, exec, &request, err);
    free(env);
    return r;
}

UNUSED static void exec_shell(struct session *s, const struct spec *spec, uint64_t exec,
                              const char *command, uint64_t timeout_ms)
{
    struct err err = {0};
    if (try_exec_shell(s, spec, exec, command, timeout_ms, &err) < 0)
        die("exec", &err);
}

/* Reads frames until the exec ended. */
UNUSED static void follow(struct session *s, uint64_t exec, struct outcome *ret)
{
    struct err err = {0};
    memset(ret, 0, sizeof *ret);
    while (!ret->ended) {
        struct agent_frame frame;
        const void *payload;
        int r = session_next_frame(s, &frame, &payload, &err);
        if (r == SESSION_FRAME_NONE) {
            struct pollfd p = {.fd = session_frames_fd(s), .events = POLLIN};
            poll(&p, 1, 30000);
            continue;
        }
        if (r != 0)
            die("frames", &err);
        if (frame.exec != exec)
            continue;
        if (frame.type == AGENT_FRAME_STARTED)
            ret->started = true;
        if (frame.type == AGENT_FRAME_DATA && ret->out_length + frame.length < sizeof ret->out) {
            memcpy(ret->out + ret->out_length, payload, frame.length);
            ret->out_length += frame.length;
        }
        if (frame.type == AGENT_FRAME_START_FAILED) {
            memcpy(&ret->failed, payload, sizeof ret->failed);
            ret->ended = true;
        }
        if (frame.type == AGENT_FRAME_EXIT) {
            memcpy(&ret->exit, payload, sizeof ret->exit);
            ret->ended = true;
        }
    }
}

/* Run one shell command in a session of `spec`, in a child; its outcome comes back over shared
 * memory. The exit status of the child is 0, or 99 with a message on stderr. */
UNUSED static struct outcome *run(struct spec *spec, const char *command, uint64_t timeout_ms)
{
    struct outcome *o =
        mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct runtime *rt = open_runtime();
        struct session *s = create(rt, spec);
        exec_shell(s, spec, 1, command, timeout_ms);
        follow(s, 1, o);
        if (session_destroy(s, &err) < 0)
            die("destroy", &err);
        runtime_close(rt);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the session's child failed");
    free(spec);
    return o;
}

UNUSED __attribute__((format(printf, 1, 2))) static unsigned entries(const char *format, ...)
{
    char command[512], pattern[256], text[32] = "";
    va_list ap;
    va_start(ap, format);
    vsnprintf(pattern, sizeof pattern, format, ap);
    va_end(ap);
    snprintf(command, sizeof command, "ls -d %s 2>/dev/null | wc -l", pattern);
    FILE *f = popen(command, "re"); /* NOLINT: literals and mkdtemp names */
    if (!fgets(text, sizeof text, f))
        text[0] = 0;
    pclose(f);
    return (unsigned)atoi(text);
}
