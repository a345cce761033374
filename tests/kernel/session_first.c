/* This file proves on the real kernel what holds for a session that is made together with its first
 * command, and for the end of one: who fails says why, nothing is left, and init reaches no more of
 * the host's cgroups than its own. It leaves nothing behind. */
#include "tests/kernel/session_fixture.h"

TestSuite(session_first, .init = setup, .fini = teardown, .timeout = 60);

struct first {
    const struct spec *spec;
    const char *command; /* NULL: sends nothing */
    int fail;            /* errno to fail with */
    unsigned calls;
};

static int send_first(void *data, struct session *s, struct err *err)
{
    struct first *f = data;
    f->calls++;
    if (f->fail)
        return err_set(err, ERR_INTERNAL, f->fail, "send the first command", NULL, NULL);
    /* Not the one that ends the test: the stage may have failed, and init be gone, before this. */
    return f->command ? try_exec_shell(s, f->spec, 1, f->command, 0, err) : 0;
}

static struct session *create_with(struct runtime *rt, struct first *f, bool only)
{
    struct session *s;
    struct err err = {0};
    const struct session_first first = {send_first, f, only};
    if (session_create_with(&s, rt, f->spec, &first, &err) < 0)
        die("create", &err);
    return s;
}

/* The child's status: 0 is good. */
static int in_child(int (*body)(struct runtime *rt, struct spec *spec))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct runtime *rt = open_runtime();
        int r = body(rt, new_spec());
        runtime_close(rt);
        _exit(r);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void assert_nothing_left(void)
{
    cr_expect_eq(entries("%s/runs/*", runtime_dir), 0, "a run record is left");
    cr_expect_eq(entries("%s/.[a-z]*", project), 0, "a placeholder is left");
}

static void hold_names(struct spec *spec)
{
    static const char *const names[] = {".envrc", ".idea", ".vscode", ".zed"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++)
        strcpy(spec->protect[spec->protect_count++].path, names[i]);
}

static int ends_by_itself(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    static struct outcome o;
    struct first f = {.spec = spec, .command = "echo ran; exit 7"};
    hold_names(spec);
    struct session *s = create_with(rt, &f, true);
    int pidfd = (int)syscall(SYS_pidfd_open, session_effective(s)->init_pid, 0);
    follow(s, 1, &o);
    if (f.calls != 1 || o.exit.exit_code != 7 || strcmp(o.out, "ran\n") != 0)
        return 1;
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    if (poll(&p, 1, 5000) != 1)
        return 2; /* nobody has told it to */
    return session_destroy(s, &err) < 0 ? 3 : 0;
}

Test(session_first, init_of_a_session_for_one_command_ends_with_it)
{
    cr_expect_eq(in_child(ends_by_itself), 0);
    assert_nothing_left();
}

static int start_failure_ends_it_too(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    static struct outcome o;
    struct first f = {.spec = spec, .command = "true"};
    strcpy(spec->workspace.mount_path, "/not/there");
    spec->workspace.kind = SPEC_WORKSPACE_NONE;
    struct session *s = create_with(rt, &f, true);
    int pidfd = (int)syscall(SYS_pidfd_open, session_effective(s)->init_pid, 0);
    follow(s, 1, &o);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    int r = poll(&p, 1, 5000) == 1 ? 0 : 2;
    return session_destroy(s, &err) < 0 ? 3 : r;
}

Test(session_first, it_ends_when_the_command_could_not_start)
{
    cr_expect_eq(in_child(start_failure_ends_it_too), 0);
    assert_nothing_left();
}

static int others_may_follow(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    static struct outcome o;
    struct first f = {.spec = spec, .command = "true"};
    struct session *s = create_with(rt, &f, false);
    follow(s, 1, &o);
    exec_shell(s, spec, 2, "exit 5", 0);
    follow(s, 2, &o);
    int r = o.exit.exit_code == 5 ? 0 : 1;
    return session_destroy(s, &err) < 0 ? 3 : r;
}

Test(session_first, a_session_that_is_not_for_one_command_goes_on)
{
    cr_expect_eq(in_child(others_may_follow), 0);
}

static int may_send_nothing(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    static struct outcome o;
    struct first f = {.spec = spec};
    struct session *s = create_with(rt, &f, true);
    exec_shell(s, spec, 1, "exit 6", 0);
    follow(s, 1, &o);
    int r = f.calls == 1 && o.exit.exit_code == 6 ? 0 : 1;
    return session_destroy(s, &err) < 0 ? 3 : r;
}

Test(session_first, it_may_send_nothing)
{
    cr_expect_eq(in_child(may_send_nothing), 0);
}

static int its_failure_fails_the_creation(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    struct first f = {.spec = spec, .fail = EIO};
    struct session *s;
    const struct session_first first = {send_first, &f, true};
    hold_names(spec);
    if (session_create_with(&s, rt, spec, &first, &err) != -EIO)
        return 1;
    return strcmp(err.step, "send the first command") == 0 ? 0 : 2;
}

Test(session_first, its_failure_is_the_creations_and_leaves_nothing)
{
    cr_expect_eq(in_child(its_failure_fails_the_creation), 0);
    assert_nothing_left();
}

static int the_stage_says_why(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    struct first f = {.spec = spec, .command = "true"};
    struct session *s;
    const struct session_first first = {send_first, &f, true};
    struct spec_mount *m = &spec->mounts[spec->mount_count++];
    strcpy(m->source, "/usr/share");
    strcpy(m->target, "/workspace/not-there");
    m->read_only = 1;
    if (session_create_with(&s, rt, spec, &first, &err) >= 0)
        return 1;
    return err.code == ERR_INVALID_REQUEST ? 0 : 2;
}

static int a_stage_that_is_gone_says_why(struct runtime *rt, struct spec *spec)
{
    /* What send_first() meets when the stage has failed before. */
    struct err err = {0};
    struct first f = {.spec = spec, .fail = EPIPE};
    struct session *s;
    const struct session_first first = {send_first, &f, true};
    struct spec_mount *m = &spec->mounts[spec->mount_count++];
    strcpy(m->source, "/usr/share");
    strcpy(m->target, "/workspace/not-there");
    m->read_only = 1;
    if (session_create_with(&s, rt, spec, &first, &err) >= 0 || err.code != ERR_INVALID_REQUEST)
        return 1;
    /* And when it has not: then the failure to send is what there is to say. */
    spec->mount_count = 0;
    return session_create_with(&s, rt, spec, &first, &err) == -EPIPE &&
                   strcmp(err.step, "send the first command") == 0
               ? 0
               : 2;
}

Test(session_first, a_start_that_failed_is_told_by_who_failed)
{
    cr_expect_eq(in_child(the_stage_says_why), 0);
    cr_expect_eq(in_child(a_stage_that_is_gone_says_why), 0);
    assert_nothing_left();
}

static int destroy_while_it_runs(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    struct first f = {.spec = spec, .command = "trap '' TERM; sleep 1000 & sleep 1000"};
    hold_names(spec);
    struct session *s = create_with(rt, &f, false);
    usleep(100000);
    return session_destroy(s, &err) < 0 ? 3 : 0;
}

Test(session_first, a_session_that_is_destroyed_while_commands_run_leaves_nothing)
{
    cr_expect_eq(in_child(destroy_while_it_runs), 0);
    assert_nothing_left();
}

static int ends_at_its_own_cgroup(struct runtime *rt, struct spec *spec)
{
    struct err err = {0};
    struct first f = {.spec = spec};
    struct session *s = create_with(rt, &f, false);
    int pidfd = (int)syscall(SYS_pidfd_open, session_effective(s)->init_pid, 0);
    int run = (int)syscall(SYS_pidfd_getfd, pidfd, AGENT_FD_CGROUP, 0);
    struct stat own, above, far;
    int r = 0;
    if (run < 0)
        r = 1;
    else if (fstatat(run, "..", &own, 0) < 0 || fstatat(run, "../..", &above, 0) < 0 ||
             fstatat(run, "../../../../..", &far, 0) < 0)
        r = 2;
    else if (own.st_ino != above.st_ino || own.st_dev != above.st_dev || far.st_ino != own.st_ino)
        r = 4; /* the host's tree is in reach */
    else if (faccessat(run, "../init/cgroup.procs", F_OK, 0) < 0)
        r = 5; /* the control: it is the session's */
    return session_destroy(s, &err) < 0 ? 3 : r;
}

Test(session_first, inits_descriptor_of_cgroups_leads_nowhere_else)
{
    cr_expect_eq(in_child(ends_at_its_own_cgroup), 0);
}
