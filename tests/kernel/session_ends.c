/* This file tests that a session ends completely and leaves nothing behind, whoever is killed. */
#include "tests/kernel/session_fixture.h"

TestSuite(session_ends, .init = setup, .fini = teardown);

/* ---- whoever is killed
 * ------------------------------------------------------------------------------- */

/* The child of `pid` with the reaper's name, which it gives itself some time after its birth. */
static pid_t reaper_of(pid_t pid)
{
    char command[512], text[32] = "";
    snprintf(
        command, sizeof command,
        "for i in $(seq 200); do grep -l 'berth: reaper' /proc/[0-9]*/comm 2>/dev/null | "
        "cut -d/ -f3 | while read p; do grep -q 'PPid:.%d$' /proc/$p/status && echo $p; done | "
        "grep . && break; sleep 0.01; done",
        pid);
    FILE *f = popen(command, "re"); /* NOLINT: a literal and a pid */
    pid_t reaper = fgets(text, sizeof text, f) ? atoi(text) : 0;
    pclose(f);
    return reaper;
}

/* A process that has a session with a running command; returns its pid, init's and the reaper's. */
static pid_t start_victim(pid_t *ret_init, pid_t *ret_reaper)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct runtime *rt = open_runtime();
        struct spec *spec = new_spec();
        spec->protect_count = 1;
        strcpy(spec->protect[0].path, ".envrc");
        spec->protect[0].is_default = 1;
        struct session *s = create(rt, spec);
        exec_shell(s, spec, 1, "setsid sleep 1000 & sleep 1000", 0);
        pid_t init = session_effective(s)->init_pid;
        if (write(ends[1], &init, sizeof init) != sizeof init)
            _exit(1);
        pause();
    }
    cr_assert_eq(read(ends[0], ret_init, sizeof *ret_init), (ssize_t)sizeof *ret_init);
    close(ends[0]);
    close(ends[1]);
    *ret_reaper = reaper_of(pid);
    if (*ret_reaper <= 1) {
        kill(pid, SIGKILL);
        cr_assert_fail("the reaper was not found");
    }
    return pid;
}

static bool gone_within(pid_t pid, unsigned ms)
{
    for (unsigned i = 0; i < ms; i++) {
        char path[40], text[512];
        snprintf(path, sizeof path, "/proc/%d/stat", pid);
        ssize_t n = io_read_at(AT_FDCWD, path, text, sizeof text);
        const char *state = n > 0 ? strrchr(text, ')') : NULL;
        if (!state || state[2] == 'Z')
            return true;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}

Test(session_ends, SIGKILL_of_the_launcher_leaves_nothing)
{
    pid_t init = 0, reaper = 0, pid = start_victim(&init, &reaper);
    cr_assert_eq(entries("%s/.envrc", project), 1, "the placeholder is there while it runs");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert(gone_within(init, 2000), "init ends with its launcher");
    cr_assert(gone_within(reaper, 5000), "the reaper ends when it is done");
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 0);
    cr_assert_eq(entries("%s/.envrc", project), 0);
}

Test(session_ends, SIGKILL_of_launcher_and_reaper_is_cleaned_by_the_next_command)
{
    pid_t init = 0, reaper = 0, pid = start_victim(&init, &reaper);
    kill(reaper, SIGKILL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert(gone_within(init, 2000), "init ends with its launcher");
    cr_assert(gone_within(reaper, 2000), "the reaper's lock ends with it");
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 1, "a record that nobody holds is left");
    struct outcome *o = run(new_spec(), "true", 0);
    cr_assert_eq(o->exit.exit_code, 0);
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 0);
    cr_assert_eq(entries("%s/.envrc", project), 0);
}

Test(session_ends, SIGKILL_of_the_reaper_alone_disturbs_nothing)
{
    pid_t init = 0, reaper = 0, pid = start_victim(&init, &reaper);
    kill(reaper, SIGKILL);
    cr_assert_not(gone_within(init, 50), "the session lives on");
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert(gone_within(init, 2000));
    run(new_spec(), "true", 0);
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 0);
}

Test(session_ends, death_of_init_is_the_end_of_the_frames_and_destroy_still_works)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct runtime *rt = open_runtime();
        struct spec *spec = new_spec();
        struct session *s = create(rt, spec);
        exec_shell(s, spec, 1, "sleep 1000", 0);
        kill(session_effective(s)->init_pid, SIGKILL);
        struct agent_frame frame;
        const void *payload;
        int r;
        while ((r = session_next_frame(s, &frame, &payload, &err)) != SESSION_FRAME_END) {
            struct pollfd p = {.fd = session_frames_fd(s), .events = POLLIN};
            if (r < 0 || (r == SESSION_FRAME_NONE && poll(&p, 1, 5000) == 0))
                die("frames", &err);
        }
        /* The socket may outlive the pipe by a moment; then the end of frames still says it. */
        const char *const argv[] = {"true", NULL};
        struct exec_request request = {
            .argv = argv, .cwd = "/", .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1};
        if (session_exec(s, 2, &request, &err) == 0 &&
            session_next_frame(s, &frame, &payload, &err) != SESSION_FRAME_END)
            _exit(3);
        _exit(session_destroy(s, &err) < 0 ? 4 : 0);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 0);
}

/* ---- a launcher in a cgroup that was killed once
 * ------------------------------------------------- */

Test(session_ends, a_launcher_in_a_once_killed_cgroup_still_makes_sessions)
{
    static const char *const mounts[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};
    char dir[96] = "", child[128];
    for (size_t i = 0; i < ARRAY_LENGTH(mounts) && !dir[0]; i++) {
        snprintf(child, sizeof child, "%s/cgroup.procs", mounts[i]);
        if (access(child, W_OK) == 0)
            snprintf(dir, sizeof dir, "%s/berth-test-%d", mounts[i], getpid());
    }
    cr_assert(dir[0] && mkdir(dir, 0755) == 0, "a cgroup v2 to test in");
    snprintf(child, sizeof child, "%s/inner", dir);
    cr_assert_eq(mkdir(child, 0755), 0);
    cr_assert_eq(io_write_at(AT_FDCWD, strcat(strcpy(child, dir), "/cgroup.kill"), "1"), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        char procs[160];
        snprintf(procs, sizeof procs, "%s/inner/cgroup.procs", dir);
        if (io_write_at(AT_FDCWD, procs, "0") < 0)
            _exit(5);
        struct runtime *rt = open_runtime();
        struct spec *spec = new_spec();
        struct session *s = create(rt, spec);
        struct outcome *o = malloc(sizeof *o);
        exec_shell(s, spec, 1, "exit 7", 0);
        follow(s, 1, o);
        if (session_destroy(s, &err) < 0)
            die("destroy", &err);
        _exit(o->exit.reason == AGENT_REASON_EXIT && o->exit.exit_code == 7 ? 0 : 6);
    }
    int status;
    waitpid(pid, &status, 0);
    snprintf(child, sizeof child, "%s/inner", dir);
    int inner = rmdir(child), outer = rmdir(dir);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
    cr_assert(inner == 0 && outer == 0, "the test's cgroups are gone");
}
