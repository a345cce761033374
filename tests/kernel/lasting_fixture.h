/* This file makes sessions that last for the lasting*.c tests, each in a place of its own and by a
 * process of its own; it never decides what a test means.
 *
 * Works as root and as an ordinary user. What the facade does is done in a child, because it is for
 * processes with one thread, and because the maker's end is part of what is tested.
 */
#pragma once

#include "session_fixture.h"

/* Of this test alone: tests run beside each other, and cgroups are the host's. */
static char instance[24];

/* ---- who berth runs as
 * ---------------------------------------------------------------------------
 */

enum who { AS_ROOT, AS_SUBUID, AS_SINGLE };

/* An ordinary user of the host; no account has this id, and no other test. */
static uid_t tester;

static enum who who;
static char share_dir[64];

UNUSED static void must(bool condition, const char *what)
{
    if (condition)
        return;
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    _exit(98);
}

UNUSED static void cover(const char *path, const char *text)
{
    static int number;
    char own[64];
    snprintf(own, sizeof own, "/mnt/%d", number++);
    FILE *f = fopen(own, "we");
    must(f && fputs(text, f) >= 0 && fclose(f) == 0, own);
    must(mount(own, path, NULL, MS_BIND, NULL) == 0, path);
}

/* The files of accounts are covered in a mount namespace of this process's own. */
UNUSED static void become(void)
{
    if (who == AS_ROOT)
        return;
    must(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0,
         "unshare");
    must(mount("t", "/mnt", "tmpfs", 0, "mode=755") == 0, "/mnt");
    char accounts[128];
    snprintf(accounts, sizeof accounts, "root:x:0:0::/:/bin/sh\ntester:x:%u:%u::/:/bin/sh\n",
             tester, tester);
    cover("/etc/passwd", accounts);
    cover("/etc/subuid", who == AS_SUBUID ? "tester:340000000:65536\n" : "");
    cover("/etc/subgid", who == AS_SUBUID ? "tester:340000000:65536\n" : "");
    unsetenv("XDG_RUNTIME_DIR");
    setenv("HOME", place, 1);
    must(syscall(SYS_setgroups, 0, NULL) == 0 && setresgid(tester, tester, tester) == 0 &&
             setresuid(tester, tester, tester) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0,
         "become a user");
}

UNUSED static void setup_as(enum who as)
{
    setup();
    who = as;
    tester = 1000000 + (uid_t)getpid() % 1000000;
    snprintf(instance, sizeof instance, "7e57%012x", (unsigned)getpid());
    snprintf(share_dir, sizeof share_dir,
             as == AS_ROOT ? "/run/berth-share" : "/tmp/.berth-share-%u", tester);
    if (as != AS_ROOT) {
        cr_assert_eq(chown(place, tester, tester), 0);
        cr_assert_eq(chown(project, tester, tester), 0);
    }
}

UNUSED static void teardown_as(void)
{
    char command[96];
    teardown();
    if (who == AS_ROOT)
        return;
    snprintf(command, sizeof command, "rm -rf /tmp/.berth-share-%u", tester);
    cr_assert_eq(system(command), 0); /* NOLINT: literals */
}

/* A test for each kind of user. */
#define AS_EACH(suite, title, work)   \
    Test(suite, title##_as_root)      \
    {                                 \
        setup_as(AS_ROOT);            \
        work();                       \
        teardown_as();                \
    }                                 \
    Test(suite, title##_with_subuids) \
    {                                 \
        setup_as(AS_SUBUID);          \
        work();                       \
        teardown_as();                \
    }                                 \
    Test(suite, title##_with_one_id)  \
    {                                 \
        setup_as(AS_SINGLE);          \
        work();                       \
        teardown_as();                \
    }
#define AS_ROOT_ONLY(suite, title, work) \
    Test(suite, title)                   \
    {                                    \
        setup_as(AS_ROOT);               \
        work();                          \
        teardown_as();                   \
    }

/* A spec that can be had by each of them. */
UNUSED static struct spec *lasting_spec(void)
{
    struct spec *spec = new_spec();
    if (who != AS_ROOT)
        spec->limits.memory_bytes = spec->limits.pids = spec->limits.asked = 0;
    return spec;
}

UNUSED static struct session_name name_of(int64_t row, int64_t incarnation)
{
    struct session_name name = {.row = row, .incarnation = incarnation};
    memcpy(name.instance, instance, sizeof name.instance);
    return name;
}

UNUSED static struct runtime *open_launcher(void)
{
    struct runtime *rt;
    struct err err = {0};
    struct runtime_options options = {.state_dir = state_dir,
                                      .runtime_dir = runtime_dir,
                                      .init_path = init_path,
                                      .no_reaper = true};
    if (runtime_open(&rt, &options, &err) < 0)
        die("open the runtime", &err);
    return rt;
}

UNUSED static struct session_lasting lasting_of(struct session_name name)
{
    return (struct session_lasting){
        .name = name,
        .epoch = 1,
        .connect_uid = who == AS_ROOT ? 0 : tester,
        .connect_gid = who == AS_ROOT ? 0 : tester,
        .deadline_ms = 20000,
        .asker_uid = UINT32_MAX,
        .asker_gid = UINT32_MAX,
    };
}

struct shared {
    struct session_identity identity;
    struct session_effective effective;
    struct err err;
    int result, count;
    int64_t rows[16];
};

UNUSED static struct shared *new_shared(void)
{
    return mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                0);
}

/* `work` in a child; its exit status must be 0. */
UNUSED static void in_child(void (*work)(void *data), void *data)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        become();
        work(data);
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child failed: %x", status);
}

struct making {
    struct spec *spec;
    struct session_lasting lasting;
    struct shared *shared;
    const char *command; /* runs when the session is ready */
};

UNUSED static void make_one(void *data)
{
    struct making *m = data;
    struct runtime *rt = open_launcher();
    struct session *s;
    m->shared->result = session_create_lasting(&s, rt, m->spec, &m->lasting, &m->shared->err);
    if (m->shared->result < 0)
        return;
    m->shared->effective = *session_effective(s);
    if (m->command)
        exec_shell(s, m->spec, 1, m->command, 0);
    session_leave(s, &m->shared->identity);
    runtime_close(rt);
}

/* Makes a session, in a process that is gone when this returns. */
UNUSED static struct shared *make_session_with(struct spec *spec, struct session_name name,
                                               const char *command)
{
    struct making m = {
        .spec = spec, .lasting = lasting_of(name), .shared = new_shared(), .command = command};
    char text[2048];
    in_child(make_one, &m);
    err_format(&m.shared->err, text, sizeof text);
    cr_assert_eq(m.shared->result, 0, "%s", text);
    return m.shared;
}

UNUSED static struct shared *make_session(struct spec *spec, struct session_name name)
{
    return make_session_with(spec, name, NULL);
}

/* The error of one that must not be made. */
UNUSED static struct err *fail_session(struct spec *spec, struct session_lasting lasting)
{
    struct making m = {.spec = spec, .lasting = lasting, .shared = new_shared()};
    in_child(make_one, &m);
    cr_assert_lt(m.shared->result, 0, "it was made");
    return &m.shared->err;
}

struct asking {
    struct session_name name;
    struct session_identity expected, found_identity;
    enum session_found found;
    int result;
    struct err err;
    struct launcher_sample sample;
    struct launcher_last last; /* of an end */
    bool freeze;
    char notes[1024]; /* of an end: "key: text\n" */
};

UNUSED static struct asking *asking_of(struct session_name name)
{
    struct asking *a =
        mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    a->name = name;
    return a;
}

UNUSED static void look_one(void *data)
{
    struct asking *a = data;
    struct runtime *rt = open_launcher();
    a->result = session_look(rt, &a->name, a->expected.init_pid ? &a->expected : NULL, &a->found,
                             &a->found_identity, NULL, &a->err);
    runtime_close(rt);
}

UNUSED static void note_of_end(void *data, const char *key, const char *text)
{
    struct asking *a = data;
    size_t length = strlen(a->notes);
    snprintf(a->notes + length, sizeof a->notes - length, "%s: %s\n", key, text);
}

UNUSED static void end_one(void *data)
{
    struct asking *a = data;
    struct runtime *rt = open_launcher();
    a->result = session_end(rt, &a->name, 10000, note_of_end, a, &a->last, &a->err);
    runtime_close(rt);
}

UNUSED static enum session_found look(struct session_name name,
                                      const struct session_identity *expected)
{
    struct asking *a = asking_of(name);
    if (expected)
        a->expected = *expected;
    in_child(look_one, a);
    cr_assert_eq(a->result, 0, "%s", a->err.detail);
    return a->found;
}

/* What is told of its end. */
UNUSED static const char *end_notes(struct session_name name)
{
    char text[2048];
    struct asking *a = asking_of(name);
    in_child(end_one, a);
    err_format(&a->err, text, sizeof text);
    cr_assert_eq(a->result, 0, "%s", text);
    return a->notes;
}

UNUSED static void end(struct session_name name)
{
    (void)end_notes(name);
}

/* Of this name nothing is on the host. */
UNUSED static void assert_nothing(struct session_name name)
{
    char id[80];
    snprintf(id, sizeof id, "%s-%llx-%lld", name.instance, (unsigned long long)name.row,
             (long long)name.incarnation);
    cr_assert_eq(entries("%s/runs/%s", runtime_dir, id), 0, "a record is left");
    cr_assert_eq(entries("%s/sessions/%s", runtime_dir, id), 0, "a directory");
    cr_assert_eq(entries("/sys/fs/cgroup/*/berth/run-%s /sys/fs/cgroup/berth/run-%s", id, id), 0,
                 "a cgroup is left");
    cr_assert_eq(entries("%s/lasting/s-%s %s/exclusive/s-%s", share_dir, id, share_dir, id), 0,
                 "a use is left");
    cr_assert_eq(entries("%s/roots/*/s-%s %s/beneath/*/s-%s", share_dir, id, share_dir, id), 0,
                 "a link of a use is left");
}

/* A zombie, which waits for a parent that is not this process, is gone. */
UNUSED static bool process_is_there(int64_t pid)
{
    char path[40], text[512];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    ssize_t n = io_read_at(AT_FDCWD, path, text, sizeof text);
    return n > 0 && !strstr(text, ") Z ");
}
