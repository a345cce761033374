/* This file tests who may use a `directory` at the same time (WS-2), with real directories; the
 * relation itself is tested in tests/unit/workspace_use.c. */
#define WORKSPACE_SUITE workspace_exclusive
#include "workspace_fixture.h"

#include "runtime/host/lasting.h"
#include "runtime/host/record.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static int try_open(struct workspace *ws, const struct place *p, const char *path, bool exclusive,
                    struct err *err)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    spec_directory(&s, path);
    s.workspace.exclusive = exclusive;
    memset(err, 0, sizeof *err);
    return workspace_open(ws, &s, &o, NULL, NULL, err);
}

static void pairs(const struct place *p)
{
    static const char *const names[] = {"work", "work/a", "work/a/b", "work/c"};
    struct err err;
    for (unsigned i = 1; i < 4; i++)
        make_directory(at(p->top, names[i]), ALICE);
    for (unsigned i = 0; i < 4 * 4 * 4; i++) {
        const char *first = names[i % 4], *second = names[i / 4 % 4];
        bool x = i / 16 % 2, y = i / 32 % 2;
        size_t n = strlen(first), m = strlen(second);
        bool overlap = strncmp(first, second, n < m ? n : m) == 0 &&
                       (n == m || (n < m ? second[n] : first[m]) == '/');
        struct workspace a, b;
        CHECK(try_open(&a, p, at(p->top, first), x, &err) == 0, "%s", err.detail);
        int r = try_open(&b, p, at(p->top, second), y, &err);
        CHECK((r < 0) == (overlap && (x || y)), "%s %d, then %s %d", first, x, second, y);
        CHECK(r == 0 || (err.code == ERR_WORKSPACE_IN_USE && strstr(err.detail, "session one")),
              "%s", err.detail);
        if (r == 0)
            must_close(&b);
        must_close(&a);
    }
    CHECK(entries(at(p->share, "shared")) == 0 && entries(at(p->share, "exclusive")) == 0, "gone");
}
IN_A_PLACE(every_pair_of_places_and_modes_conflicts_as_the_contract_says_ws_2, pairs)

static void dead_holder(const struct place *p)
{
    struct workspace ws;
    struct err err;
    int ready[2];
    CHECK(pipe2(ready, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(try_open(&ws, p, p->work, true, &err) == 0, "%s", err.detail);
        CHECK(write(ready[1], "x", 1) == 1, "write");
        pause();
    }
    char c;
    CHECK(read(ready[0], &c, 1) == 1, "read");
    CHECK(try_open(&ws, p, p->work, false, &err) < 0, "held");
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid, "kill");
    CHECK(try_open(&ws, p, p->work, true, &err) == 0, "%s", err.detail);
    must_close(&ws);
}
IN_A_PLACE(a_dead_holder_holds_nothing, dead_holder)

/* A session that lasted is dead, and the number of its init is that of a thread by now. */
static void *sleep_on(void *ret_tid)
{
    __atomic_store_n((pid_t *)ret_tid, (pid_t)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    pause();
    return NULL;
}

static void reused_by_a_thread(const struct place *p)
{
    struct workspace ws;
    struct spec s;
    struct workspace_options o = options_of(p);
    struct session_identity identity = {.init_start = 1};
    struct err err = {0};
    pthread_t thread;
    pid_t tid = 0;
    int status, pidfd = -1;
    CHECK(pthread_create(&thread, NULL, sleep_on, &tid) == 0, "a thread");
    while (__atomic_load_n(&tid, __ATOMIC_SEQ_CST) == 0)
        sched_yield();
    CHECK(!process_lives(tid, 1), "a thread is no process that lives");
    CHECK(lasting_boot_id(identity.boot_id, &err) == 0, "%s", err.detail);
    identity.init_pid = tid;
    CHECK(lasting_open_init(&identity, &pidfd, &err) == 1, "its init has ended: %s %s", err.step,
          err.detail);
    pid_t pid = fork();
    if (pid == 0) {
        spec_directory(&s, p->work);
        s.workspace.exclusive = true;
        o.lasting = true;
        o.run_id = "dead";
        o.init_pid = tid;
        o.init_start = 1;
        must_open(&ws, &s, &o);
        workspace_leave(&ws);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "status %x", status);
    CHECK(try_open(&ws, p, p->work, true, &err) == 0, "%s", err.detail);
    must_close(&ws);
}
IN_A_PLACE(a_dead_session_whose_number_a_thread_has_holds_nothing, reused_by_a_thread)

static void race(const struct place *p)
{
    pid_t pids[20];
    char *token = at(p->top, "token");
    for (int i = 0; i < 20; i++) {
        pids[i] = fork();
        if (pids[i] != 0)
            continue;
        for (int k = 0; k < 20; k++) {
            struct workspace ws;
            struct err err;
            if (try_open(&ws, p, p->work, true, &err) < 0) {
                CHECK(err.code == ERR_WORKSPACE_IN_USE, "%s", err.detail);
                continue;
            }
            CHECK(mkdir(token, 0700) == 0, "two at once");
            CHECK(rmdir(token) == 0, "rmdir");
            must_close(&ws);
        }
        _exit(0);
    }
    for (int i = 0; i < 20; i++) {
        int status;
        CHECK(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "process %d", i);
    }
}
IN_A_PLACE(twenty_processes_never_have_it_exclusively_at_once, race)

/* The guard is held for moments; a berth that is stopped in one of them must not be everybody's. */
static void stopped_in_the_guard(const struct place *p)
{
    int ready[2], share, status;
    struct workspace ws;
    struct err err = {0};
    CHECK(try_open(&ws, p, p->work, false, &err) == 0, "%s", err.detail); /* makes what is shared */
    must_close(&ws);
    CHECK(pipe2(ready, O_CLOEXEC) == 0, "pipe");
    pid_t pid = fork();
    if (pid == 0) {
        int guard;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        CHECK(share_open(p->share, &share, &err) == 0, "%s", err.detail);
        CHECK(share_guard(share, SHARE_GUARD_USES, true, &guard, &err) == 0, "%s", err.detail);
        CHECK(write(ready[1], "x", 1) == 1, "write");
        pause();
    }
    char c, want[48];
    CHECK(read(ready[0], &c, 1) == 1, "read");
    CHECK(kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid, "stop");
    alarm(60); /* who waits for ever is ended by it, and the test has failed */
    CHECK(try_open(&ws, p, p->work, false, &err) < 0, "opened past the guard");
    alarm(0);
    snprintf(want, sizeof want, "kill -CONT %d", (int)pid);
    CHECK(err.code == ERR_UNAVAILABLE && strstr(err.detail, want), "%s", err.detail);
    CHECK(kill(pid, SIGCONT) == 0 && kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid,
          "kill");
    CHECK(try_open(&ws, p, p->work, false, &err) == 0, "%s", err.detail);
    must_close(&ws);
}
IN_A_PLACE(who_is_stopped_in_the_guard_is_named_and_holds_nobody_up_for_ever, stopped_in_the_guard)
