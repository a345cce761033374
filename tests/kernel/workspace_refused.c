/* This file refuses each system call of whoever opens, closes or ends a workspace, one at a time,
 * as a kernel without memory or descriptors does: what says that it is done has left nothing, and
 * what says that it is not is done when it is asked for again. WS-2, WS-3.
 */
#define WORKSPACE_SUITE workspace_refused
#include "workspace_fixture.h"

#include "runtime/host/record.h"

#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>

enum { DONE, NOT_DONE, TRIES = 3, PATIENCE_S = 60 };

static const int errors[] = {ENOMEM, EMFILE};

static void spec_held(struct spec *s, const struct place *p)
{
    spec_directory(s, p->work);
    spec_add_protect(s, ".bashrc", true);
    spec_add_protect(s, "sub/.envrc", true);
}

static struct workspace_options lasting_options(const struct place *p, const char *id, pid_t init)
{
    struct workspace_options o = options_of(p);
    o.lasting = true;
    o.run_id = id;
    o.init_pid = init;
    CHECK(process_start_time(init, &o.init_start) == 0, "start time");
    return o;
}

/* ---- refusing ---------------------------------------------------------------------------------
 */

/* Without these nothing can go on, or nothing is refused: the kernel never says no to them. */
static bool is_left_alone(uint64_t number)
{
    static const long alone_numbers[] = {SYS_exit_group, SYS_exit,   SYS_close,
                                         SYS_wait4,      SYS_waitid, SYS_rt_sigreturn,
                                         SYS_munmap,     SYS_alarm,  SYS_futex};
    for (size_t i = 0; i < sizeof alone_numbers / sizeof alone_numbers[0]; i++)
        if (number == (uint64_t)alone_numbers[i])
            return true;
    return false;
}

struct refusal {
    unsigned at; /* the number of the call, from 1 */
    int error;
    bool reached; /* answers: */
    uint64_t call;
};

/* A child that stops itself once and is refused something after that. Its status. */
static int drive(pid_t pid, struct refusal *refusal)
{
    int status;
    unsigned calls = 0;
    bool failing = false;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "status %x", status);
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0,
          "options");
    refusal->reached = false;
    for (;;) {
        struct __ptrace_syscall_info info;
        bool over = refusal->reached && !failing;
        CHECK(ptrace(over ? PTRACE_CONT : PTRACE_SYSCALL, pid, NULL, NULL) == 0, "go on");
        CHECK(waitpid(pid, &status, 0) == pid, "wait");
        if (!WIFSTOPPED(status))
            return status;
        CHECK(WSTOPSIG(status) == (SIGTRAP | 0x80), "status %x", status);
        CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0, "info");
        if (failing) {
            CHECK(ptrace(PTRACE_POKEUSER, pid, (void *)offsetof(struct user_regs_struct, rax),
                         (void *)(long)-refusal->error) == 0,
                  "refuse");
            failing = false;
        } else if (info.op == PTRACE_SYSCALL_INFO_ENTRY && !is_left_alone(info.entry.nr) &&
                   ++calls == refusal->at) {
            CHECK(ptrace(PTRACE_POKEUSER, pid, (void *)offsetof(struct user_regs_struct, orig_rax),
                         (void *)(long)SYS_getpid) == 0,
                  "take the call");
            refusal->call = info.entry.nr;
            refusal->reached = failing = true;
        }
    }
}

static void begin_traced(void)
{
    alarm(PATIENCE_S);
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0, "traceme");
    raise(SIGSTOP);
}

/* ---- what may be left -------------------------------------------------------------------------
 */

static bool has_record(const struct place *p)
{
    DIR *d = opendir(p->share);
    bool found = false;
    CHECK(d != NULL, "opendir");
    for (const struct dirent *e; (e = readdir(d));)
        found |= strncmp(e->d_name, "place-", 6) == 0;
    closedir(d);
    return found;
}

static void nothing_is_left(const struct place *p, const char *what, const struct refusal *refusal)
{
    CHECK(entries(p->work) == 1 && entries(at(p->work, "sub")) == 0 && !has_record(p),
          "%s: call %u (number %llu) was refused with %s, and left %u names, a record: %d", what,
          refusal->at, (unsigned long long)refusal->call, strerror(refusal->error),
          entries(p->work) - 1 + entries(at(p->work, "sub")), has_record(p));
    CHECK(entries(at(p->share, "lasting")) == 0, "%s: call %u: a use is left", what, refusal->at);
}

static void reap(const struct place *p)
{
    struct err err = {0};
    CHECK(workspace_reap(p->share, p->state, NULL, &err) == 0, "%s: %s", err.step, err.detail);
}

/* Everything that the two can be refused; `round` answers false when a refusal was not reached. */
static void at_every_call(const struct place *p, const char *what, unsigned least,
                          void (*round)(const struct place *p, struct refusal *refusal))
{
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        struct refusal refusal = {.at = 1, .error = errors[i]};
        for (;; refusal.at++) {
            round(p, &refusal);
            nothing_is_left(p, what, &refusal);
            if (!refusal.reached)
                break;
        }
        CHECK(refusal.at > least, "%s: only %u calls", what, refusal.at);
    }
}

/* ---- of one process ---------------------------------------------------------------------------
 */

static int close_until_done(struct workspace *ws)
{
    for (unsigned i = 0; i < TRIES; i++)
        if (workspace_close(ws, NULL, NULL, NULL) == 0)
            return DONE;
    return NOT_DONE;
}

static void round_of_close(const struct place *p, struct refusal *refusal)
{
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        struct spec s;
        struct workspace ws;
        struct workspace_options o = options_of(p);
        spec_held(&s, p);
        must_open(&ws, &s, &o);
        begin_traced();
        _exit(close_until_done(&ws));
    }
    int status = drive(pid, refusal);
    CHECK(WIFEXITED(status), "call %u: status %x", refusal->at, status);
    if (WEXITSTATUS(status) == NOT_DONE) /* a record of a run, which has it reaped */
        reap(p);
}

static void round_of_given_up(const struct place *p, struct refusal *refusal)
{
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        struct spec s;
        struct workspace ws;
        struct workspace_options o = options_of(p);
        spec_held(&s, p);
        must_open(&ws, &s, &o);
        begin_traced();
        _exit(workspace_close(&ws, NULL, NULL, NULL) == 0 ? DONE : NOT_DONE);
    }
    int status = drive(pid, refusal);
    CHECK(WIFEXITED(status), "call %u: status %x", refusal->at, status);
    if (WEXITSTATUS(status) == NOT_DONE)
        reap(p);
}

static void round_of_open(const struct place *p, struct refusal *refusal)
{
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        struct spec s;
        struct workspace ws;
        struct workspace_options o = options_of(p);
        spec_held(&s, p);
        begin_traced();
        int r = workspace_open(&ws, &s, &o, NULL, NULL, NULL);
        _exit(r < 0 && !ws.private ? DONE : close_until_done(&ws));
    }
    int status = drive(pid, refusal);
    CHECK(WIFEXITED(status), "call %u: status %x", refusal->at, status);
    if (WEXITSTATUS(status) == NOT_DONE)
        reap(p);
}

static void furnish(const struct place *p)
{
    make_directory(at(p->work, "sub"), ALICE);
}

static void of_one(const struct place *p)
{
    furnish(p);
    at_every_call(p, "closed until it was done", 20, round_of_close);
    at_every_call(p, "closed once", 20, round_of_given_up);
    at_every_call(p, "opened and closed", 80, round_of_open);
}
IN_A_PLACE(a_workspace_that_says_closed_has_left_nothing_whatever_was_refused, of_one)

/* ---- of sessions that last --------------------------------------------------------------------
 */

/* A session that was: its use and its placeholders are there, and it is dead. */
static void leave_dead(const struct place *p, const char *id)
{
    pid_t pid = fork();
    int status;
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        struct spec s;
        struct workspace ws;
        struct workspace_options o = lasting_options(p, id, getpid());
        spec_held(&s, p);
        must_open(&ws, &s, &o);
        workspace_leave(&ws);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "status %x", status);
}

static int end(const struct place *p, const char *id)
{
    return workspace_end_lasting(p->share, id, NULL, NULL, NULL) == 0 ? DONE : NOT_DONE;
}

static int end_refused(const struct place *p, const char *id, struct refusal *refusal)
{
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        begin_traced();
        _exit(end(p, id));
    }
    int status = drive(pid, refusal);
    CHECK(WIFEXITED(status), "call %u: status %x", refusal->at, status);
    return WEXITSTATUS(status);
}

static void round_of_end(const struct place *p, struct refusal *refusal)
{
    leave_dead(p, "a");
    if (end_refused(p, "a", refusal) == NOT_DONE)
        CHECK(end(p, "a") == DONE, "call %u: asked again", refusal->at);
}

/* Both are dead: one leaves it to the other or does it all. */
static void round_of_two(const struct place *p, struct refusal *refusal)
{
    leave_dead(p, "a");
    leave_dead(p, "b");
    if (end_refused(p, "a", refusal) == NOT_DONE)
        CHECK(end(p, "a") == DONE, "call %u: asked again", refusal->at);
    CHECK(end(p, "b") == DONE, "call %u: the other one", refusal->at);
}

/* A reap of any berth comes between the end that failed and the one that is asked again. */
static void round_of_reap(const struct place *p, struct refusal *refusal)
{
    leave_dead(p, "a");
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        begin_traced();
        _exit(workspace_reap(p->share, NULL, NULL, NULL) == 0 ? DONE : NOT_DONE);
    }
    int status = drive(pid, refusal);
    CHECK(WIFEXITED(status), "call %u: status %x", refusal->at, status);
    CHECK(end(p, "a") == DONE, "call %u: its end", refusal->at);
    if (WEXITSTATUS(status) == NOT_DONE)
        reap(p);
}

static void round_of_creation(const struct place *p, struct refusal *refusal)
{
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        struct spec s;
        struct workspace ws;
        struct workspace_options o = lasting_options(p, "a", getpid());
        spec_held(&s, p);
        begin_traced();
        if (workspace_open(&ws, &s, &o, NULL, NULL, NULL) == 0)
            workspace_close(&ws, NULL, NULL, NULL);
        _exit(0);
    }
    int status = drive(pid, refusal);
    CHECK(WIFEXITED(status), "call %u: status %x", refusal->at, status);
    CHECK(end(p, "a") == DONE, "call %u: undone by its name", refusal->at);
}

static void of_lasting(const struct place *p)
{
    furnish(p);
    at_every_call(p, "ended", 30, round_of_end);
    at_every_call(p, "two ended", 30, round_of_two);
}
IN_A_PLACE(an_end_that_says_done_has_left_nothing_whatever_was_refused, of_lasting)

static void of_reaped(const struct place *p)
{
    furnish(p);
    at_every_call(p, "reaped", 30, round_of_reap);
    at_every_call(p, "created", 80, round_of_creation);
}
IN_A_PLACE(a_creation_or_a_reap_that_was_refused_leaves_nothing_that_an_end_cannot_find, of_reaped)

/* One that lives needs the names, whatever the end of another is refused. */
static void beside_a_living_one(const struct place *p)
{
    struct spec s;
    struct workspace ws;
    furnish(p);
    struct workspace_options o = lasting_options(p, "living", getpid());
    spec_held(&s, p);
    must_open(&ws, &s, &o);
    int hold = ws.hold;
    ws.hold = -1;
    workspace_leave(&ws);
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        for (struct refusal refusal = {.at = 1, .error = errors[i], .reached = true};
             refusal.reached; refusal.at++) {
            leave_dead(p, "a");
            if (end_refused(p, "a", &refusal) == NOT_DONE)
                CHECK(end(p, "a") == DONE, "call %u: asked again", refusal.at);
            CHECK(exists(at(p->work, ".bashrc")) && exists(at(p->work, "sub/.envrc")),
                  "call %u was refused, and a name that another session needs is gone", refusal.at);
        }
    CHECK(close(hold) == 0 && end(p, "living") == DONE, "its own end");
    struct refusal none = {0};
    nothing_is_left(p, "the last one", &none);
}
IN_A_PLACE(a_living_session_keeps_its_names_whatever_the_end_of_another_is_refused,
           beside_a_living_one)

/* ---- a reap that others overtake --------------------------------------------------------------
 */

/* A child that stops itself once, before its call number `at` after that; false: it has ended. */
static bool stop_before(pid_t pid, unsigned at)
{
    int status;
    unsigned calls = 0;
    CHECK(waitpid(pid, &status, 0) == pid && WIFSTOPPED(status), "status %x", status);
    CHECK(ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0,
          "options");
    for (;;) {
        struct __ptrace_syscall_info info;
        CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0, "go on");
        CHECK(waitpid(pid, &status, 0) == pid, "wait");
        if (!WIFSTOPPED(status)) {
            CHECK(status == 0, "call %u: status %x", at, status);
            return false;
        }
        CHECK(WSTOPSIG(status) == (SIGTRAP | 0x80), "status %x", status);
        CHECK(ptrace(PTRACE_GET_SYSCALL_INFO, pid, (void *)sizeof info, &info) > 0, "info");
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY && ++calls == at)
            return true;
    }
}

static bool is_free(int share, uint64_t key)
{
    int guard = -1;
    int r = share_guard(share, key, false, &guard, NULL);
    CHECK(r == 0 || r == -ETIMEDOUT, "guard: %d", r);
    close(guard);
    return r == 0;
}

static unsigned links_to(const struct place *p, const char *kind, const char *use)
{
    DIR *d = opendir(at(p->share, kind));
    unsigned n = 0;
    CHECK(d != NULL, "%s", kind);
    for (const struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.' && exists(at(at(at(p->share, kind), e->d_name), use));
    closedir(d);
    return n;
}

static void must_be_whole(const struct place *p, int share, const struct stat *work, unsigned call)
{
    struct spec s;
    struct workspace_options o = options_of(p);
    CHECK(exists(at(p->share, "lasting/s-a")) && links_to(p, "roots", "s-a") == 1 &&
              links_to(p, "beneath", "s-a") >= 2,
          "call %u: a reap took the record of a living session, or links of it", call);
    CHECK(use_lasts(share, work->st_dev, work->st_ino, NULL, NULL) == 1, "call %u: lives", call);
    CHECK(exists(at(p->work, ".bashrc")) && exists(at(p->work, "sub/.envrc")),
          "call %u: a reap took names that a living session needs", call);
    spec_directory(&s, p->work);
    s.workspace.exclusive = true;
    must_refuse(&s, &o, ERR_WORKSPACE_IN_USE, "and exclusive use was asked for");
}

/* The dead one is ended by another, and a session of its name begins, before call number `at` of a
 * reap that goes on after that. False: it has not so many. */
static bool overtake(const struct place *p, int share, const struct stat *work, unsigned at,
                     unsigned *times)
{
    struct spec s;
    struct workspace ws;
    int status;
    leave_dead(p, "a");
    pid_t pid = fork();
    CHECK(pid >= 0, "fork");
    if (pid == 0) {
        begin_traced();
        _exit(workspace_reap(p->share, NULL, NULL, NULL) == 0 ? DONE : NOT_DONE);
    }
    if (!stop_before(pid, at))
        return false;
    int hold = -1;
    /* Where it has a guard, nobody overtakes it. */
    if (is_free(share, SHARE_GUARD_USES) &&
        is_free(share, share_directory_key(work->st_dev, work->st_ino))) {
        CHECK(end(p, "a") == DONE, "call %u: its end", at);
        struct workspace_options o = lasting_options(p, "a", getpid());
        spec_held(&s, p);
        must_open(&ws, &s, &o);
        hold = ws.hold;
        ws.hold = -1;
        workspace_leave(&ws);
        ++*times;
    }
    CHECK(ptrace(PTRACE_DETACH, pid, NULL, NULL) == 0, "detach");
    CHECK(waitpid(pid, &status, 0) == pid && status == 0, "call %u: status %x", at, status);
    if (hold >= 0) {
        must_be_whole(p, share, work, at);
        CHECK(close(hold) == 0 && end(p, "a") == DONE, "call %u: the end of the second", at);
    }
    return true;
}

static void while_it_reaps(const struct place *p)
{
    struct refusal none = {0};
    struct stat work;
    int share;
    unsigned calls = 1, times = 0;
    furnish(p);
    CHECK(stat(p->work, &work) == 0, "stat");
    CHECK(share_open(p->share, &share, NULL) == 0, "share");
    while (overtake(p, share, &work, calls, &times)) {
        nothing_is_left(p, "overtaken", &none);
        calls++;
    }
    nothing_is_left(p, "not overtaken", &none);
    CHECK(calls > 30 && times > 15, "%u calls, overtaken at %u", calls, times);
    close(share);
}
IN_A_PLACE(WS_2_a_reap_leaves_a_living_session_that_has_the_name_of_a_dead_one, while_it_reaps)
