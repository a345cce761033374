/* This file tests sessions that last as their own makers, lookers and enders see them
 * (docs/adr/0012): made by one process, found and ended by others, as root and as two kinds of
 * ordinary user; it tests nothing of init's protocol.
 */
#include "lasting_fixture.h"

TestSuite(lasting, .timeout = 120);

static void outlives(void)
{
    struct shared *made = make_session(lasting_spec(), name_of(0x2a, 1));
    cr_assert(process_is_there(made->identity.init_pid));
    cr_assert_eq(look(name_of(0x2a, 1), &made->identity), SESSION_FOUND_WHOLE);
    end(name_of(0x2a, 1));
    cr_assert_not(process_is_there(made->identity.init_pid));
    cr_assert_eq(look(name_of(0x2a, 1), &made->identity), SESSION_FOUND_ABSENT);
    assert_nothing(name_of(0x2a, 1));
}
AS_EACH(lasting, P_3_a_session_outlives_its_maker_and_another_process_finds_and_ends_it, outlives)

static void make_and_wait(void *data)
{
    struct making *m = data;
    struct runtime *rt = open_launcher();
    struct session *s;
    if (session_create_lasting(&s, rt, m->spec, &m->lasting, &m->shared->err) < 0)
        die("create", &m->shared->err);
    m->shared->count = 1;
    kill(getpid(), SIGKILL);
}

static void outlives_kill(void)
{
    struct making m = {lasting_spec(), lasting_of(name_of(3, 7)), new_shared(), NULL};
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        become();
        make_and_wait(&m);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && m.shared->count == 1);
    cr_assert_eq(look(name_of(3, 7), NULL), SESSION_FOUND_WHOLE);
    usleep(100000);
    cr_assert_eq(look(name_of(3, 7), NULL), SESSION_FOUND_WHOLE);
    end(name_of(3, 7));
    assert_nothing(name_of(3, 7));
}
AS_EACH(lasting, a_session_outlives_the_kill_of_its_maker, outlives_kill)

static void repeat(void)
{
    end(name_of(1, 1));
    make_session(lasting_spec(), name_of(1, 1));
    end(name_of(1, 1));
    end(name_of(1, 1));
    assert_nothing(name_of(1, 1));
}
AS_EACH(lasting, ending_is_repeatable_and_of_nothing_too, repeat)

static void four_findings(void)
{
    struct shared *made = make_session(lasting_spec(), name_of(5, 2));
    struct session_identity other = made->identity;
    cr_assert_eq(look(name_of(5, 1), &other), SESSION_FOUND_ABSENT);
    cr_assert_eq(look(name_of(5, 2), &other), SESSION_FOUND_WHOLE);
    other.init_start++;
    cr_assert_eq(look(name_of(5, 2), &other), SESSION_FOUND_OTHER);
    other = made->identity;
    other.netns_inode++;
    cr_assert_eq(look(name_of(5, 2), &other), SESSION_FOUND_OTHER);
    char path[256];
    snprintf(path, sizeof path, "%s/sessions/%s-5-2/control", runtime_dir, instance);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(look(name_of(5, 2), &made->identity), SESSION_FOUND_BROKEN);
    end(name_of(5, 2));
    assert_nothing(name_of(5, 2));
}
AS_EACH(lasting, looking_tells_absent_whole_other_and_broken_apart, four_findings)

/* Of a session whose init was killed while no berth was there. */
static void reaped(void)
{
    struct shared *made = make_session(lasting_spec(), name_of(6, 1));
    cr_assert_eq(kill((pid_t)made->identity.init_pid, SIGKILL), 0);
    for (int i = 0; i < 1000 && process_is_there(made->identity.init_pid); i++)
        usleep(1000);
    cr_assert_eq(look(name_of(6, 1), &made->identity), SESSION_FOUND_ABSENT);
    assert_nothing(name_of(6, 1));
}
AS_EACH(lasting, what_a_dead_init_has_left_goes_with_the_next_berth, reaped)

static void resumed(void)
{
    static const int kinds[] = {SPEC_WORKSPACE_DIRECTORY, SPEC_WORKSPACE_VOLUME,
                                SPEC_WORKSPACE_TMPFS};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        struct spec *spec = lasting_spec();
        spec->workspace.kind = (unsigned char)kinds[i];
        spec->workspace.exclusive = kinds[i] == SPEC_WORKSPACE_DIRECTORY;
        if (kinds[i] != SPEC_WORKSPACE_DIRECTORY)
            spec->workspace.path[0] = 0;
        if (kinds[i] == SPEC_WORKSPACE_VOLUME)
            strcpy(spec->workspace.volume, "data");
        make_session(spec, name_of(8, 1));
        end(name_of(8, 1));
        make_session(spec, name_of(8, 2));
        cr_assert_eq(look(name_of(8, 1), NULL), SESSION_FOUND_ABSENT);
        cr_assert_eq(look(name_of(8, 2), NULL), SESSION_FOUND_WHOLE);
        end(name_of(8, 2));
        assert_nothing(name_of(8, 2));
    }
}
AS_EACH(lasting, SES_7_what_was_parked_is_made_again_with_the_same_workspace, resumed)

static void twice(void)
{
    struct shared *made = make_session(lasting_spec(), name_of(9, 1));
    const struct err *err = fail_session(lasting_spec(), lasting_of(name_of(9, 1)));
    cr_assert_eq(err->code, ERR_SESSION_EXISTS);
    cr_assert_eq(look(name_of(9, 1), &made->identity), SESSION_FOUND_WHOLE, "the first suffered");
    end(name_of(9, 1));
}
AS_EACH(lasting, a_name_is_made_once_and_the_second_try_harms_nothing, twice)

static int collect(void *data, const struct session_name *name)
{
    struct shared *shared = data;
    if (strcmp(name->instance, instance) == 0 && shared->count < 16)
        shared->rows[shared->count++] = name->row * 100 + name->incarnation;
    return 0;
}

static void list_one(void *data)
{
    struct shared *shared = data;
    struct runtime *rt = open_launcher();
    shared->result = session_list(rt, instance, collect, shared, &shared->err);
    runtime_close(rt);
}

static void listed(void)
{
    struct shared *shared = new_shared();
    struct session_lasting other = lasting_of(name_of(0x11, 1));
    other.name.instance[0] = '8';
    struct making m = {lasting_spec(), other, new_shared(), NULL};
    make_session(lasting_spec(), name_of(0x10, 3));
    make_session(lasting_spec(), name_of(0xf, 1));
    in_child(make_one, &m);
    in_child(list_one, shared);
    cr_assert_eq(shared->result, 0);
    cr_assert_eq(shared->count, 2);
    cr_assert_eq(shared->rows[0], 0xf * 100 + 1);
    cr_assert_eq(shared->rows[1], 0x10 * 100 + 3);
    end(name_of(0x10, 3));
    end(name_of(0xf, 1));
    end(other.name);
    assert_nothing(other.name);
}
AS_EACH(lasting, the_list_has_the_names_of_one_instance_in_order, listed)

static void longest(void)
{
    make_session(lasting_spec(), name_of(0x7fffffffffffffff, 0x7fffffffffffffff));
    cr_assert_eq(look(name_of(0x7fffffffffffffff, 0x7fffffffffffffff), NULL), SESSION_FOUND_WHOLE);
    end(name_of(0x7fffffffffffffff, 0x7fffffffffffffff));
    assert_nothing(name_of(0x7fffffffffffffff, 0x7fffffffffffffff));
}
AS_EACH(lasting, the_longest_name_fits, longest)

static void shared_directory(void)
{
    struct session_name one = name_of(3, 1), other = name_of(3, 1);
    other.instance[0] = other.instance[0] == '8' ? '9' : '8';
    make_session(lasting_spec(), one);
    make_session(lasting_spec(), other);
    cr_assert_eq(look(one, NULL), SESSION_FOUND_WHOLE);
    cr_assert_eq(look(other, NULL), SESSION_FOUND_WHOLE);
    end(one);
    assert_nothing(one);
    cr_assert_eq(look(other, NULL), SESSION_FOUND_WHOLE, "the other berth's was touched");
    end(other);
    assert_nothing(other);
}
AS_EACH(lasting, ID_3_two_berths_in_one_runtime_directory_have_sessions_of_one_name,
        shared_directory)

/* ---- the socket --------------------------------------------------------------------------------
 */

static struct sockaddr_un socket_of(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    cr_assert_lt(snprintf(a.sun_path, sizeof a.sun_path, "%s/sessions/%s-%s/control", runtime_dir,
                          instance, name),
                 (int)sizeof a.sun_path);
    return a;
}

struct connecting {
    struct sockaddr_un address;
    uid_t uid;
    int result;
    struct ucred peer;
};

static void connect_one(void *data)
{
    struct connecting *c = data;
    socklen_t size = sizeof c->peer;
    if (who == AS_ROOT)
        must(setresgid(c->uid, c->uid, c->uid) == 0 && setresuid(c->uid, c->uid, c->uid) == 0,
             "become another");
    int s = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    c->result =
        connect(s, (const struct sockaddr *)&c->address, sizeof c->address) < 0 ? -errno : 0;
    if (c->result == 0)
        must(getsockopt(s, SOL_SOCKET, SO_PEERCRED, &c->peer, &size) == 0, "peer");
}

static void reached(void)
{
    struct session_lasting lasting = lasting_of(name_of(1, 1));
    if (who == AS_ROOT)
        lasting.connect_uid = lasting.connect_gid = 2000;
    struct making m = {lasting_spec(), lasting, new_shared(), NULL};
    in_child(make_one, &m);
    cr_assert_eq(m.shared->result, 0, "%s", m.shared->err.detail);
    struct connecting *c =
        mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    c->address = socket_of("1-1");
    c->uid = 2000;
    in_child(connect_one, c);
    cr_assert_eq(c->result, 0, "%s", strerror(-c->result));
    cr_assert_eq(c->peer.pid, m.shared->identity.init_pid, "init itself listens");
    if (who == AS_ROOT) {
        c->uid = 2001;
        in_child(connect_one, c);
        cr_assert_eq(c->result, -EACCES);
    }
    end(name_of(1, 1));
}
AS_EACH(lasting, only_who_was_named_connects_and_init_answers, reached)

/* Its path is longer than the name of a socket can be. */
static void deep(void)
{
    char before[sizeof runtime_dir];
    memcpy(before, runtime_dir, sizeof before);
    snprintf(runtime_dir, sizeof runtime_dir, "%.30s/%s/%s", place,
             "0123456789012345678901234567890123456789", "runtime");
    cr_assert_gt(strlen(runtime_dir) + strlen("/sessions/7fffffff-2147483647/control"), 107);
    struct session_name name = name_of(0x7fffffff, 0x7fffffff);
    make_session(lasting_spec(), name);
    cr_assert_eq(look(name, NULL), SESSION_FOUND_WHOLE);
    end(name);
    assert_nothing(name);
    memcpy(runtime_dir, before, sizeof before);
}
AS_EACH(lasting, a_long_runtime_directory_is_no_obstacle, deep)
