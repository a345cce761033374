/* This file tests the runtime's facade on real namespaces: a session is as the spec says, ends
 * completely, and leaves nothing behind whoever is killed.
 *
 * Every test forks first: the facade is for single-threaded processes, and a process that dies is
 * part of what is tested. Needs root.
 */
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

/* ---- a place of its own for each test
 * ------------------------------------------------------------ */

static char place[64], runtime_dir[96], state_dir[96], project[96], init_path[4096];

static void setup(void)
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
    strcat(init_path, "/bin/berth-init");
}

static void teardown(void)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf %s", place);
    cr_assert_eq(system(command), 0); /* NOLINT: a literal and a mkdtemp name */
}

TestSuite(session, .init = setup, .fini = teardown);

/* ---- a session in a child process
 * ------------------------------------------------------------------ */

struct outcome {
    struct agent_exit exit;
    struct agent_start_failed failed;
    bool started, ended;
    char out[65536];
    size_t out_length;
};

static struct spec *new_spec(void)
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

static void die(const char *what, const struct err *err)
{
    char text[2048];
    err_format(err, text, sizeof text);
    fprintf(stderr, "%s: %s\n", what, text);
    _exit(99);
}

static struct runtime *open_runtime(void)
{
    struct runtime *rt;
    struct err err = {0};
    struct runtime_options options = {
        .state_dir = state_dir, .runtime_dir = runtime_dir, .init_path = init_path};
    if (runtime_open(&rt, &options, &err) < 0)
        die("open the runtime", &err);
    return rt;
}

static void exec_shell(struct session *s, const struct spec *spec, uint64_t exec,
                       const char *command, uint64_t timeout_ms)
{
    struct err err = {0};
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
    if (session_exec(s, exec, &request, &err) < 0)
        die("exec", &err);
    free(env);
}

/* Reads frames until the exec ended. */
static void follow(struct session *s, uint64_t exec, struct outcome *ret)
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
static struct outcome *run(struct spec *spec, const char *command, uint64_t timeout_ms)
{
    struct outcome *o =
        mmap(NULL, sizeof *o, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct runtime *rt = open_runtime();
        struct session *s;
        if (session_create(&s, rt, spec, &err) < 0)
            die("create", &err);
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

__attribute__((format(printf, 1, 2))) static unsigned entries(const char *format, ...)
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

/* ---- as the spec says
 * ----------------------------------------------------------------------------- */

Test(session, a_command_runs_as_the_user_in_the_workspace_and_its_output_comes_back)
{
    struct outcome *o = run(new_spec(), "id -u; pwd; echo err >&2; exit 7", 0);
    cr_assert(o->started);
    cr_assert_eq(o->exit.reason, AGENT_REASON_EXIT);
    cr_assert_eq(o->exit.exit_code, 7);
    cr_assert(strstr(o->out, "1000\n/workspace\n"), "%s", o->out);
    cr_assert(strstr(o->out, "err\n"), "%s", o->out);
}

Test(session, WS_1_files_made_inside_belong_to_the_directorys_owner_on_the_host)
{
    struct outcome *o = run(new_spec(), "echo x > made; mkdir d; id -u", 0);
    cr_assert_eq(o->exit.exit_code, 0, "%s", o->out);
    struct stat st;
    char path[160];
    snprintf(path, sizeof path, "%s/made", project);
    cr_assert_eq(stat(path, &st), 0);
    cr_assert_eq(st.st_uid, 2000);
    cr_assert_eq(st.st_gid, 2000);
}

Test(session, WS_1_no_setuid_bit_can_be_made)
{
    struct outcome *o = run(new_spec(),
                            "cp /bin/true t; chmod 4755 t; chmod 2755 t; chmod u+s t;"
                            "install -m 4755 /bin/true t2; mkdir -m 2755 d; mknod n p -m 4666; ls",
                            0);
    cr_assert(o->started);
    char path[160];
    static const char *const names[] = {"t", "t2", "d", "n"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        struct stat st;
        snprintf(path, sizeof path, "%s/%s", project, names[i]);
        if (stat(path, &st) == 0)
            cr_assert_eq(st.st_mode & 06000, 0, "%s has mode %o", names[i], st.st_mode);
    }
}

Test(session, a_command_has_no_capability_even_as_root)
{
    struct spec *spec = new_spec();
    spec->process.uid = spec->process.gid = 0;
    struct outcome *o =
        run(spec, "id -u; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status", 0);
    cr_assert(strstr(o->out, "0\nCapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t"
                             "0000000000000000\nCapBnd:\t0000000000000000\nCapAmb:\t"
                             "0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n"),
              "%s", o->out);
}

Test(session, the_limits_hold_and_have_typed_ends)
{
    struct outcome *o =
        run(new_spec(), "x=$(head -c 500000000 /dev/zero | tr '\\0' x); echo $?", 0);
    cr_assert_gt(o->exit.oom_kills, 0, "reason %s, out %s",
                 agent_reason_name((enum agent_reason)o->exit.reason), o->out);
    o = run(new_spec(),
            "head -c 30000000 /dev/zero > /tmp/f; i=0; while mkdir /tmp/d$i; do "
            "i=$((i+1)); done 2>/dev/null; echo made $i; ulimit -n",
            0);
    cr_assert(strstr(o->out, "No space left on device"), "%s", o->out);
    cr_assert(strstr(o->out, "512\n"), "%s", o->out);
    int made = -1;
    const char *p = strstr(o->out, "made ");
    cr_assert(p && sscanf(p, "made %d", &made) == 1, "%s", o->out);
    cr_assert(made < 2000, "inodes are capped, but %d were made", made);
    o = run(new_spec(), "sleep 100 & sleep 100", 300);
    cr_assert_eq(o->exit.reason, AGENT_REASON_TIMEOUT);
}

Test(session, NET_7_there_is_no_way_out_and_it_fails_at_once)
{
    struct outcome *o = run(new_spec(),
                            "cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' ';"
                            "bash -c 'time exec 3<>/dev/tcp/192.0.2.1/80' 2>&1",
                            0);
    cr_assert(strncmp(o->out, "lo\n", 3) == 0, "%s", o->out);
    cr_assert(strstr(o->out, "Network is unreachable"), "%s", o->out);
}

/* ---- extra mounts
 * ----------------------------------------------------------------------------- */

static void in_project(const char *format)
{
    char command[512];
    snprintf(command, sizeof command, "cd %s && %s", project, format);
    cr_assert_eq(system(command), 0); /* NOLINT: literals and a mkdtemp name */
}

static void add_mount(struct spec *spec, const char *source, const char *target)
{
    struct spec_mount *m = &spec->mounts[spec->mount_count++];
    snprintf(m->source, sizeof m->source, "%s", source);
    snprintf(m->target, sizeof m->target, "%s", target);
    m->read_only = 1;
}

Test(session, sockets_in_the_workspace_and_in_extra_mounts_are_masked_row_38a)
{
    in_project("mkdir -p sub/deep top");
    static const char *const names[] = {"here.sock", "sub/deep/agent.sock"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        struct sockaddr_un a = {.sun_family = AF_UNIX};
        snprintf(a.sun_path, sizeof a.sun_path, "%s/%s", project, names[i]);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 1) == 0);
    }
    char sub[128];
    struct spec *spec = new_spec();
    snprintf(sub, sizeof sub, "%s/sub", project);
    add_mount(spec, sub, "/mnt/extra");
    /* A mount in a mount: the mask of the first must not fall on the second. */
    add_mount(spec, "/usr/share", "/mnt/extra/deep");
    add_mount(spec, sub, "/mnt/again");
    struct outcome *o = run(spec,
                            "for s in here.sock sub/deep/agent.sock /mnt/again/deep/agent.sock; do "
                            "stat -c %F $s; done; ls /mnt/extra/deep | grep -cx doc",
                            0);
    cr_assert_str_eq(o->out, "character special file\ncharacter special file\n"
                             "character special file\n1\n");
}

/* What the session says of a mount at `target`, or the code of the refusal. */
static const char *try_target(const char *target)
{
    static char text[32];
    struct spec *spec = new_spec();
    add_mount(spec, "/usr/share", target);
    int *code = mmap(NULL, sizeof *code, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    *code = -1;
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct session *s;
        struct runtime *rt = open_runtime();
        if (session_create(&s, rt, spec, &err) < 0)
            *code = (int)err.code;
        else if (session_destroy(s, &err) == 0)
            *code = 0;
        runtime_close(rt);
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    free(spec);
    snprintf(text, sizeof text, "%s",
             *code == 0                          ? "made"
             : *code == (int)ERR_INVALID_REQUEST ? "invalid_request"
                                                 : "other");
    munmap(code, sizeof *code);
    return text;
}

Test(session, a_link_in_the_workspace_is_no_place_for_a_mount)
{
    in_project("mkdir -p dir/sub && ln -s /etc abs && ln -s dir rel && ln -s /nowhere dangling && "
               "ln -s . self && touch file");
    static const char *const refused[] = {"abs",   "rel",      "dangling", "abs/x",
                                          "rel/x", "self/dir", "file"};
    static const char *const made[] = {"dir", "dir/sub"};
    char target[64];
    for (size_t i = 0; i < ARRAY_LENGTH(refused); i++) {
        snprintf(target, sizeof target, "/workspace/%s", refused[i]);
        cr_assert_str_eq(try_target(target), "invalid_request", "%s", target);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(made); i++) {
        snprintf(target, sizeof target, "/workspace/%s", made[i]);
        cr_assert_str_eq(try_target(target), "made", "%s", target);
    }
    cr_assert_str_eq(try_target("/mnt/any/where"), "made");
    cr_assert_eq(entries("%s/dir/x %s/new", project, project), 0);
}

Test(session, a_directory_image_is_writable_and_the_host_sees_nothing)
{
    char image[96], command[1024];
    snprintf(image, sizeof image, "%s/image", place);
    snprintf(command, sizeof command,
             "mkdir -p %s/bin %s/etc && cp /bin/busybox %s/bin/ && ln -s busybox %s/bin/sh && "
             "echo keep > %s/etc/kept",
             image, image, image, image, image);
    cr_assert_eq(system(command), 0); /* NOLINT: literals and mkdtemp names */
    struct spec *spec = new_spec();
    spec->image.kind = SPEC_IMAGE_DIR;
    strcpy(spec->image.path, image);
    spec->process.uid = spec->process.gid = 0;
    struct outcome *o = run(spec,
                            "/bin/busybox cat /etc/kept; echo new > /etc/new; echo over > "
                            "/etc/kept; /bin/busybox rm /bin/sh; /bin/busybox ls /",
                            0);
    cr_assert(strncmp(o->out, "keep\n", 5) == 0, "%s", o->out);
    cr_assert_eq(o->exit.exit_code, 0, "%s", o->out);
    cr_assert_eq(entries("%s/etc/new %s/proc %s/dev", image, image, image), 0);
    cr_assert_eq(entries("%s/bin/sh", image), 1);
    snprintf(command, sizeof command, "grep -qx keep %s/etc/kept", image);
    cr_assert_eq(system(command), 0); /* NOLINT: literals and mkdtemp names */
}

Test(session, an_image_with_links_in_place_of_its_directories_is_refused)
{
    static const char *const names[] = {"proc", "dev", "etc",  "tmp", "var",
                                        "run",  "sys", "home", "mnt"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        char image[96], command[1024], victim[128];
        snprintf(image, sizeof image, "%s/image%zu", place, i);
        snprintf(victim, sizeof victim, "%s/victim", place);
        snprintf(
            command, sizeof command,
            "mkdir -p %s/bin %s && cp /bin/busybox %s/bin/ && ln -s busybox %s/bin/sh && ln -s "
            "%s %s/%s",
            image, victim, image, image, victim, image, names[i]);
        cr_assert_eq(system(command), 0); /* NOLINT: literals and mkdtemp names */
        pid_t pid = fork();
        if (pid == 0) {
            struct err err = {0};
            struct session *s;
            struct spec *spec = new_spec();
            spec->image.kind = SPEC_IMAGE_DIR;
            strcpy(spec->image.path, image);
            struct runtime *rt = open_runtime();
            int r = session_create(&s, rt, spec, &err);
            _exit(r < 0 && err.code == ERR_INVALID_REQUEST ? 0 : 1);
        }
        int status;
        waitpid(pid, &status, 0);
        cr_assert_eq(status, 0, "an image whose /%s is a link", names[i]);
        cr_assert_eq(entries("%s/*", victim), 0, "nothing was made behind the link /%s", names[i]);
    }
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 0);
}

/* ---- locked mounts
 * ---------------------------------------------------------------------------------- */

/* As full root of the session's own user namespace, which no command ever is. */
static int attack_mounts(int pidfd)
{
    if (setns(pidfd, CLONE_NEWUSER | CLONE_NEWNS) < 0)
        return 1;
    if (mount(NULL, "/usr", NULL, MS_REMOUNT | MS_BIND, NULL) == 0)
        return 2; /* writable */
    if (umount2("/usr", MNT_DETACH) == 0)
        return 3;
    if (umount2("/proc/sys", MNT_DETACH) == 0)
        return 4;
    if (mount(NULL, "/workspace/.git/hooks", NULL, MS_REMOUNT | MS_BIND, NULL) == 0)
        return 5;
    if (umount2("/workspace/.git/hooks", MNT_DETACH) == 0)
        return 6;
    if (umount2("/dev", MNT_DETACH) == 0)
        return 7;
    /* The control: the namespace itself may be changed by who has the right. */
    if (mount("t", "/mnt", "tmpfs", 0, NULL) < 0)
        return 8;
    return 0;
}

Test(session, mounts_are_locked_against_full_capabilities_in_its_user_namespace)
{
    char hooks[160];
    snprintf(hooks, sizeof hooks, "%s/.git", project);
    cr_assert_eq(mkdir(hooks, 0755), 0);
    cr_assert_eq(chown(hooks, 2000, 2000), 0);
    snprintf(hooks, sizeof hooks, "%s/.git/hooks", project);
    cr_assert_eq(mkdir(hooks, 0755), 0);
    cr_assert_eq(chown(hooks, 2000, 2000), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct spec *spec = new_spec();
        spec->protect_count = 1;
        strcpy(spec->protect[0].path, ".git/hooks");
        struct runtime *rt = open_runtime();
        struct session *s;
        if (session_create(&s, rt, spec, &err) < 0)
            die("create", &err);
        int pidfd = (int)syscall(SYS_pidfd_open, session_effective(s)->init_pid, 0);
        pid_t attacker = fork();
        if (attacker == 0)
            _exit(attack_mounts(pidfd));
        int status;
        waitpid(attacker, &status, 0);
        if (session_destroy(s, &err) < 0)
            die("destroy", &err);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 98);
    }
    int status;
    waitpid(pid, &status, 0);
    cr_assert(WIFEXITED(status));
    cr_assert_eq(WEXITSTATUS(status), 0, "step %d of attack_mounts()", WEXITSTATUS(status));
}

/* ---- whoever is killed
 * ------------------------------------------------------------------------------- */

/* A process that has a session with a running command; returns its pid, init's and the reaper's. */
static pid_t start_victim(pid_t *ret_init, pid_t *ret_reaper)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct runtime *rt = open_runtime();
        struct session *s;
        struct spec *spec = new_spec();
        spec->protect_count = 1;
        strcpy(spec->protect[0].path, ".envrc");
        spec->protect[0].is_default = 1;
        if (session_create(&s, rt, spec, &err) < 0)
            die("create", &err);
        exec_shell(s, spec, 1, "setsid sleep 1000 & sleep 1000", 0);
        pid_t init = session_effective(s)->init_pid;
        if (write(ends[1], &init, sizeof init) != sizeof init)
            _exit(1);
        pause();
    }
    cr_assert_eq(read(ends[0], ret_init, sizeof *ret_init), (ssize_t)sizeof *ret_init);
    close(ends[0]);
    close(ends[1]);
    char command[512], text[32] = "";
    snprintf(command, sizeof command,
             "grep -l 'berth: reaper' /proc/[0-9]*/comm | cut -d/ -f3 | "
             "while read p; do grep -q 'PPid:.%d$' /proc/$p/status && "
             "echo $p; done",
             pid);
    FILE *f = popen(command, "re"); /* NOLINT: a literal and a pid */
    if (fgets(text, sizeof text, f))
        *ret_reaper = atoi(text);
    pclose(f);
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

Test(session, SIGKILL_of_the_launcher_leaves_nothing)
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

Test(session, SIGKILL_of_launcher_and_reaper_is_cleaned_by_the_next_command)
{
    pid_t init = 0, reaper = 0, pid = start_victim(&init, &reaper);
    kill(reaper, SIGKILL);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    cr_assert(gone_within(init, 2000), "init ends with its launcher");
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 1, "a record that nobody holds is left");
    struct outcome *o = run(new_spec(), "true", 0);
    cr_assert_eq(o->exit.exit_code, 0);
    cr_assert_eq(entries("%s/runs/*", runtime_dir), 0);
    cr_assert_eq(entries("%s/.envrc", project), 0);
}

Test(session, SIGKILL_of_the_reaper_alone_disturbs_nothing)
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

Test(session, death_of_init_is_the_end_of_the_frames_and_destroy_still_works)
{
    pid_t pid = fork();
    if (pid == 0) {
        struct err err = {0};
        struct runtime *rt = open_runtime();
        struct session *s;
        struct spec *spec = new_spec();
        if (session_create(&s, rt, spec, &err) < 0)
            die("create", &err);
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

Test(session, a_launcher_in_a_once_killed_cgroup_still_makes_sessions)
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
        struct session *s;
        struct spec *spec = new_spec();
        if (session_create(&s, rt, spec, &err) < 0)
            die("create", &err);
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
