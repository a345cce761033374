/* This file tests the runtime's facade on real namespaces: a session is as the spec says. */
#include "tests/kernel/session_fixture.h"

TestSuite(session, .init = setup, .fini = teardown);

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

/* For the image `host` the root is the tmpfs itself, else an overlay over it. */
static void expect_full(bool image, const char *command, uint32_t want)
{
    struct spec *spec = new_spec();
    if (image) {
        spec->image.kind = SPEC_IMAGE_DIR;
        snprintf(spec->image.path, sizeof spec->image.path, "%s/image", place);
    }
    struct outcome *o = run(spec, command, 0);
    cr_expect_eq(o->exit.scratch_full, want, "%u after '%s' (%s): %s", o->exit.scratch_full,
                 command, image ? "dir" : "host", o->out);
}

Test(session, a_scratch_that_is_full_at_the_end_is_told_and_no_other)
{
    char command[512];
    snprintf(command, sizeof command,
             "mkdir -p %s/image/bin && cd %s/image/bin && cp /bin/busybox . && "
             "for a in sh head rm truncate; do ln -s busybox $a; done",
             place, place);
    cr_assert_eq(system(command), 0); /* NOLINT: literals and a mkdtemp name */
    for (int image = 0; image < 2; image++) {
        expect_full(image, "head -c 30000000 /dev/zero >/tmp/f", AGENT_FULL_BYTES);
        expect_full(image, "i=0; while true >/tmp/$i; do i=$((i+1)); done 2>/dev/null",
                    AGENT_FULL_INODES);
        expect_full(image,
                    "i=0; while true >/tmp/$i; do i=$((i+1)); done 2>/dev/null;"
                    "head -c 30000000 /dev/zero >/tmp/0",
                    AGENT_FULL_BYTES | AGENT_FULL_INODES);
        /* There was room again when it ended; what it was refused before nobody knows. */
        expect_full(image, "head -c 30000000 /dev/zero >/tmp/f; rm /tmp/f", 0);
        expect_full(image, "head -c 30000000 /dev/zero >/tmp/f; truncate -s 10000000 /tmp/f", 0);
        expect_full(image, "exec 3>/tmp/f; rm /tmp/f; head -c 30000000 /dev/zero >&3", 0);
        expect_full(image, "head -c 10000000 /dev/zero >/tmp/f", 0);
        expect_full(image, "head -c 30000000 /dev/zero >/workspace/f; rm /workspace/f", 0);
    }
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
        struct session *s = create(rt, spec);
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
