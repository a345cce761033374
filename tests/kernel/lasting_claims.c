/* This file tests what a session that lasts holds while no process of berth lives but its init: its
 * range of ids, the use of its directory or volume, its placeholders (P-6), and what becomes of it
 * when a hostile init gives them up.
 */
#include "lasting_fixture.h"

#include <sys/file.h>

TestSuite(lasting_claims, .timeout = 120);

static bool lock_comes(int fd)
{
    for (int i = 0; i < 2000; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        usleep(10000);
    }
    return false;
}

static void ranges(void)
{
    struct shared *made[8];
    for (int i = 0; i < 8; i++) {
        made[i] = make_session(lasting_spec(), name_of(1 + i, 1));
        for (int k = 0; k < i; k++)
            cr_assert_neq(made[i]->identity.uid_base, made[k]->identity.uid_base);
    }
    /* The lock of each is init's. */
    for (int i = 0; i < 8; i++) {
        char path[64];
        snprintf(path, sizeof path, "/run/berth-share/slots/%lld",
                 (long long)(made[i]->identity.uid_base - 1879048192) / 65536);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        cr_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK);
        end(name_of(1 + i, 1));
        /* Another berth's session may have it by now, and gives it back. */
        cr_assert(lock_comes(fd), "the range is free again");
        close(fd);
    }
}
AS_ROOT_ONLY(lasting_claims, P_6_ranges_of_ids_differ_while_only_inits_live, ranges)

static void try_run(void *data)
{
    struct making *m = data;
    struct runtime *rt = open_runtime();
    struct session *s;
    m->shared->result = session_create(&s, rt, m->spec, &m->shared->err);
    if (m->shared->result == 0)
        session_destroy(s, NULL);
    runtime_close(rt);
}

static enum err_code run_with(struct spec *spec)
{
    struct making m = {.spec = spec, .shared = new_shared()};
    in_child(try_run, &m);
    return m.shared->result == 0 ? ERR_NONE : m.shared->err.code;
}

static void exclusive_directory(void)
{
    struct spec *alone = lasting_spec(), *shared = lasting_spec();
    alone->workspace.exclusive = true;
    make_session(alone, name_of(1, 1));
    cr_assert_eq(fail_session(shared, lasting_of(name_of(2, 1)))->code, ERR_WORKSPACE_IN_USE);
    cr_assert_eq(fail_session(alone, lasting_of(name_of(2, 1)))->code, ERR_WORKSPACE_IN_USE);
    assert_nothing(name_of(2, 1));
    cr_assert_eq(run_with(shared), ERR_WORKSPACE_IN_USE);
    end(name_of(1, 1));
    cr_assert_eq(run_with(alone), ERR_NONE);
    make_session(shared, name_of(2, 1));
    make_session(shared, name_of(3, 1));
    cr_assert_eq(run_with(alone), ERR_WORKSPACE_IN_USE);
    cr_assert_eq(run_with(shared), ERR_NONE);
    end(name_of(2, 1));
    cr_assert_eq(run_with(alone), ERR_WORKSPACE_IN_USE);
    end(name_of(3, 1));
    cr_assert_eq(run_with(alone), ERR_NONE);
}
AS_EACH(lasting_claims, WS_2_a_directory_is_held_while_only_init_lives, exclusive_directory)

static void exclusive_volume(void)
{
    struct spec *write = lasting_spec(), *read = lasting_spec();
    write->workspace.kind = read->workspace.kind = SPEC_WORKSPACE_VOLUME;
    write->workspace.path[0] = read->workspace.path[0] = 0;
    strcpy(write->workspace.volume, "data");
    strcpy(read->workspace.volume, "data");
    read->workspace.read_only = true;
    make_session(write, name_of(1, 1));
    cr_assert_eq(fail_session(read, lasting_of(name_of(2, 1)))->code, ERR_WORKSPACE_IN_USE);
    cr_assert_eq(run_with(read), ERR_WORKSPACE_IN_USE);
    cr_assert_eq(run_with(write), ERR_WORKSPACE_IN_USE);
    end(name_of(1, 1));
    make_session(read, name_of(2, 1));
    make_session(read, name_of(3, 1));
    cr_assert_eq(run_with(read), ERR_NONE);
    cr_assert_eq(run_with(write), ERR_WORKSPACE_IN_USE);
    end(name_of(2, 1));
    end(name_of(3, 1));
    cr_assert_eq(run_with(write), ERR_NONE);
}
AS_EACH(lasting_claims, WS_2_a_volume_is_held_while_only_init_lives, exclusive_volume)

static unsigned placeholders(void)
{
    return entries("%s/.bashrc %s/.profile", project, project);
}

static struct spec *protecting_spec(void)
{
    struct spec *spec = lasting_spec();
    strcpy(spec->protect[0].path, ".bashrc");
    strcpy(spec->protect[1].path, ".profile");
    spec->protect_count = 2;
    return spec;
}

static void placeholders_last(void)
{
    make_session(protecting_spec(), name_of(1, 1));
    cr_assert_eq(placeholders(), 2);
    /* Another that comes and goes, of each kind, in the same directory. */
    cr_assert_eq(run_with(protecting_spec()), ERR_NONE);
    cr_assert_eq(placeholders(), 2, "a run removed what init still needs");
    make_session(protecting_spec(), name_of(2, 1));
    end(name_of(2, 1));
    cr_assert_eq(placeholders(), 2);
    /* A reap, too. */
    look(name_of(1, 1), NULL);
    cr_assert_eq(placeholders(), 2);
    end(name_of(1, 1));
    cr_assert_eq(placeholders(), 0);
    cr_assert_eq(entries("%s/.berth-*", project), 0);
}
AS_EACH(lasting_claims, WS_3_placeholders_stay_as_long_as_init, placeholders_last)

static void told_what_appeared(void)
{
    struct spec *spec = protecting_spec();
    char command[256];
    strcpy(spec->protect[2].path, "none/x");
    strcpy(spec->protect[3].path, "none/y");
    spec->protect[2].is_default = spec->protect[3].is_default = true;
    spec->protect_count = 4;
    make_session(spec, name_of(1, 1));
    make_session(spec, name_of(2, 1));
    cr_assert_str_empty(end_notes(name_of(2, 1)), "nothing has");
    snprintf(command, sizeof command, "mkdir %s/none && touch %s/none/x", project, project);
    cr_assert_eq(system(command), 0); /* NOLINT: literals and a mkdtemp name */
    cr_assert_str_eq(end_notes(name_of(1, 1)),
                     "protect.appeared: none/x could not be protected and is there now: look at it "
                     "before using it\n");
    assert_nothing(name_of(1, 1));
}
AS_EACH(lasting_claims, WS_3_what_appeared_where_nothing_could_be_held_is_told_at_the_end,
        told_what_appeared)

/* What a hostile init would do: the descriptor is the same open file description as its own. */
static void give_up(pid_t init, int number)
{
    int pidfd = (int)syscall(SYS_pidfd_open, init, 0);
    int fd = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    cr_assert(pidfd >= 0 && fd >= 0, "%d: %s", number, strerror(errno));
    cr_assert_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY, "init can only read it");
    cr_assert_eq(flock(fd, LOCK_UN), 0);
    close(fd);
    close(pidfd);
}

static void unlocked(void)
{
    struct spec *alone = lasting_spec();
    alone->workspace.exclusive = true;
    struct shared *made = make_session(alone, name_of(1, 1));
    give_up((pid_t)made->identity.init_pid, AGENT_FD_HOLD + 1);
    give_up((pid_t)made->identity.init_pid, AGENT_FD_HOLD + 2);
    cr_assert_eq(fail_session(alone, lasting_of(name_of(2, 1)))->code, ERR_WORKSPACE_IN_USE,
                 "init lives, so its directory is not free");
    char path[64], text[80];
    snprintf(path, sizeof path, "/run/berth-share/slots/%lld",
             (long long)(made->identity.uid_base - 1879048192) / 65536);
    cr_assert_gt(io_read_at(AT_FDCWD, path, text, sizeof text), 0, "its range is marked");
    cr_assert_eq(look(name_of(1, 1), &made->identity), SESSION_FOUND_WHOLE);
    /* Without the lock of its record it is nobody's: the next berth ends it, and only then lets go
     * of what was its own. */
    give_up((pid_t)made->identity.init_pid, AGENT_FD_HOLD);
    make_session(alone, name_of(2, 1));
    cr_assert_not(process_is_there(made->identity.init_pid));
    assert_nothing(name_of(1, 1));
    end(name_of(2, 1));
}
AS_ROOT_ONLY(lasting_claims, P_6_an_init_that_gives_its_locks_up_gains_nothing, unlocked)

static void berth_of(const char *name)
{
    snprintf(runtime_dir, sizeof runtime_dir, "%.60s/%s", place, name);
}

static unsigned of_the_dead(const char *elsewhere)
{
    return entries("%s/.bashrc %s/.profile", elsewhere, elsewhere);
}

/* A host has a thousand sessions of other berths: an end that looked at each of theirs would wait
 * for all of their locks. */
static void own_only(void)
{
    char elsewhere[96];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", place);
    cr_assert_eq(mkdir(elsewhere, 0755), 0);
    cr_assert_eq(chown(elsewhere, who == AS_ROOT ? 2000 : tester, who == AS_ROOT ? 2000 : tester),
                 0);
    struct spec *there = protecting_spec(), *alone = lasting_spec();
    strcpy(there->workspace.path, elsewhere);
    strcpy(alone->workspace.path, elsewhere);
    alone->workspace.exclusive = true;
    berth_of("other");
    struct shared *dead = make_session(there, name_of(2, 1));
    cr_assert_eq(kill((pid_t)dead->identity.init_pid, SIGKILL), 0);
    for (int i = 0; i < 2000 && process_is_there(dead->identity.init_pid); i++)
        usleep(1000);
    berth_of("run");
    make_session(protecting_spec(), name_of(1, 1));
    end(name_of(1, 1));
    assert_nothing(name_of(1, 1));
    cr_assert_eq(placeholders(), 0);
    cr_assert_eq(of_the_dead(elsewhere), 2, "it went through what is not its own");
    /* Whoever compares himself with it finds it dead, and leaves the way to its placeholders. */
    make_session(alone, name_of(3, 1));
    end(name_of(3, 1));
    cr_assert_eq(entries("%s/lasting/s-%s-2-1", share_dir, instance), 1);
    berth_of("other");
    end(name_of(2, 1));
    assert_nothing(name_of(2, 1));
    cr_assert_eq(of_the_dead(elsewhere), 0);
    cr_assert_eq(entries("%s/.berth-* %s/.berth-*", elsewhere, project), 0);
}
AS_EACH(lasting_claims, WS_3_an_end_looks_at_the_placeholders_of_its_own_directory, own_only)

/* In `place`, by its owner. */
static struct spec *at_place(const char *name, bool exclusive)
{
    char path[128];
    struct spec *spec = lasting_spec();
    snprintf(path, sizeof path, "%s/%s", place, name);
    cr_assert(mkdir(path, 0755) == 0 || errno == EEXIST);
    uid_t owner = who == AS_ROOT ? 2000 : tester;
    cr_assert_eq(chown(path, owner, owner), 0);
    strcpy(spec->workspace.path, path);
    spec->workspace.exclusive = exclusive;
    return spec;
}

static void by_place(void)
{
    struct spec *above = at_place("a", false), *alone = at_place("a/b", true);
    make_session(alone, name_of(1, 1));
    /* A record that is no record would stop whoever compared himself with it. */
    char path[128];
    snprintf(path, sizeof path, "%s/lasting/s-%s-ff-1", share_dir, instance);
    int held = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    cr_assert(held >= 0 && flock(held, LOCK_EX) == 0 && write(held, "none", 4) == 4);

    cr_assert_eq(fail_session(above, lasting_of(name_of(2, 1)))->code, ERR_WORKSPACE_IN_USE);
    cr_assert_eq(fail_session(at_place("a/b/c", false), lasting_of(name_of(2, 1)))->code,
                 ERR_WORKSPACE_IN_USE);
    make_session(at_place("d", true), name_of(3, 1));
    end(name_of(1, 1));
    assert_nothing(name_of(1, 1));
    make_session(above, name_of(4, 1));
    cr_assert_eq(fail_session(alone, lasting_of(name_of(5, 1)))->code, ERR_WORKSPACE_IN_USE);
    make_session(at_place("a/b", false), name_of(6, 1));
    end(name_of(3, 1));
    end(name_of(4, 1));
    end(name_of(6, 1));
    assert_nothing(name_of(4, 1));
    cr_assert_eq(unlink(path), 0);
    close(held);
}
AS_EACH(lasting_claims, WS_2_sessions_that_last_are_compared_with_by_place, by_place)
