/* This file makes sessions that last for the lasting*.c tests, each in a place of its own and by a
 * process of its own; it never decides what a test means.
 *
 * Works as root and as an ordinary user. What the facade does is done in a child, because it is for
 * processes with one thread, and because the maker's end is part of what is tested.
 */
#pragma once

#include "session_fixture.h"

#define INSTANCE "7f3a00112233aabb"

UNUSED static struct session_name name_of(int64_t row, int64_t incarnation)
{
    struct session_name name = {.instance = INSTANCE, .row = row, .incarnation = incarnation};
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
        .connect_uid = getuid(),
        .connect_gid = getgid(),
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
    bool killed; /* by SIGKILL, when the session is ready, without leaving it */
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
    session_leave(s, &m->shared->identity);
    runtime_close(rt);
}

/* Makes a session, in a process that is gone when this returns. */
UNUSED static struct shared *make_session(struct spec *spec, struct session_name name)
{
    struct making m = {.spec = spec, .lasting = lasting_of(name), .shared = new_shared()};
    char text[2048];
    in_child(make_one, &m);
    err_format(&m.shared->err, text, sizeof text);
    cr_assert_eq(m.shared->result, 0, "%s", text);
    return m.shared;
}

struct asking {
    struct session_name name;
    struct session_identity expected, found_identity;
    enum session_found found;
    int result;
    struct err err;
    struct launcher_sample sample;
    bool freeze;
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

UNUSED static void end_one(void *data)
{
    struct asking *a = data;
    struct runtime *rt = open_launcher();
    a->result = session_end(rt, &a->name, 10000, NULL, NULL, &a->err);
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

UNUSED static void end(struct session_name name)
{
    char text[2048];
    struct asking *a = asking_of(name);
    in_child(end_one, a);
    err_format(&a->err, text, sizeof text);
    cr_assert_eq(a->result, 0, "%s", text);
}

/* Of this name nothing is on the host. */
UNUSED static void assert_nothing(struct session_name name)
{
    char id[80];
    snprintf(id, sizeof id, "%s-%llx-%lld", name.instance, (unsigned long long)name.row,
             (long long)name.incarnation);
    cr_assert_eq(entries("%s/runs/%s", runtime_dir, id), 0, "a record is left");
    cr_assert_eq(entries("%s/sessions/%s", runtime_dir, strchr(id, '-') + 1), 0, "a directory");
    cr_assert_eq(entries("/sys/fs/cgroup/*/berth/run-%s /sys/fs/cgroup/berth/run-%s", id, id), 0,
                 "a cgroup is left");
    cr_assert_eq(entries("/run/berth-share/shared/s-%s /run/berth-share/exclusive/s-%s", id, id), 0,
                 "a use is left");
}

UNUSED static bool process_is_there(int64_t pid)
{
    return kill((pid_t)pid, 0) == 0 || errno == EPERM;
}
