/* This file tests the flow of `berth run` over a fake runtime, linked in the place of the real one:
 * commands run as plain children of the test, and what the runtime answers is the test's choice. So
 * the order of things, streams, errors and the record are tested without privilege. */
#include "api/cli/cli.h"

#include "provider/registry.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"
#include "runtime/launcher_main.h"
#include "runtime/runtime.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- the fake
 * ------------------------------------------------------------------------------------ */

struct runtime {
    struct runtime_facts facts;
};

struct session {
    pid_t child;
    int frames; /* the child's pidfd: readable when it has ended */
    bool told;
    struct session_effective effective;
};

static struct {
    bool open_fails, create_fails, destroy_fails, start_fails, lost;
    bool memory_missing;
    uint32_t reason; /* instead of the true one */
    uint32_t scratch_full;
    unsigned opened, created, destroyed, killed;
    int signal_at_create;
} fake;

static struct runtime the_runtime;

int runtime_open(struct runtime **ret, const struct runtime_options *options, struct err *err)
{
    (void)options;
    fake.opened++;
    if (fake.open_fails)
        return err_set(err, ERR_UNAVAILABLE, EPERM, "make a user namespace", NULL, "Because.");
    the_runtime.facts.runtime_dir = "/nonexistent";
    *ret = &the_runtime;
    return 0;
}

/* `berth serve` is in the same archive, and is not what is tested here. */
int runtime_directories(const struct runtime_options *options, char ret_state[RUNTIME_DIR_SIZE],
                        char ret_runtime[RUNTIME_DIR_SIZE], struct err *err)
{
    (void)options;
    (void)ret_state;
    (void)ret_runtime;
    return err_set(err, ERR_INTERNAL, ENOSYS, "find the directories", NULL, NULL);
}

int launcher_main(const struct launcher_options *options, struct err *err)
{
    (void)options;
    return err_set(err, ERR_INTERNAL, ENOSYS, "be a launcher", NULL, NULL);
}

void runtime_close(struct runtime *rt)
{
    (void)rt;
}

const struct runtime_facts *runtime_facts(const struct runtime *rt)
{
    return &rt->facts;
}

int runtime_check_implicit_workspace(const char *path, const char *home, struct err *err)
{
    (void)home;
    if (strcmp(path, "/") == 0)
        return err_set(err, ERR_USAGE, 0, "workspace", path, "Not this one.");
    return 0;
}

int registry_open(struct runtime *rt, const struct spec *spec, struct capability_set *ret,
                  struct err *err)
{
    (void)rt;
    (void)spec;
    (void)err;
    for (int c = 0; c < CAPABILITY_COUNT; c++)
        ret->status[c].available = capability_version((enum capability)c) > 0;
    ret->status[CAP_LIMITS_MEMORY].available = !fake.memory_missing;
    snprintf(ret->status[CAP_LIMITS_MEMORY].reason, sizeof ret->status[0].reason, "no controller");
    return 0;
}

int registry_refresh(struct runtime *rt, const struct err *open_err, struct capability_set *ret,
                     struct err *err)
{
    (void)open_err;
    return registry_open(rt, NULL, ret, err);
}

int session_create_with(struct session **ret, struct runtime *rt, const struct spec *spec,
                        const struct session_first *first, struct err *err)
{
    (void)rt;
    (void)spec;
    fake.created++;
    if (fake.signal_at_create)
        kill(getpid(), fake.signal_at_create);
    if (fake.create_fails)
        return err_set(err, ERR_INTERNAL, ENOSPC, "mount procfs", "/proc", NULL);
    *ret = calloc(1, sizeof **ret);
    (*ret)->frames = -1;
    int r = first->call(first->data, *ret, err);
    if (r < 0) {
        fake.destroyed++;
        free(*ret);
        *ret = NULL;
    }
    return r;
}

const struct session_effective *session_effective(const struct session *s)
{
    return &s->effective;
}

unsigned session_notes(const struct session *s, const struct session_note **ret_notes)
{
    static const struct session_note notes[] = {
        {"protect.missing_parent", "said only in the record"},
        {"protect.appeared", "something appeared"}};
    (void)s;
    *ret_notes = notes;
    return 2;
}

int session_exec(struct session *s, uint64_t exec, const struct exec_request *request,
                 struct err *err)
{
    (void)exec;
    if (fake.signal_at_create)
        _exit(96); /* no command is started for who has been told to end */
    if (fake.start_fails)
        return err_set(err, ERR_INTERNAL, EIO, "send", NULL, NULL);
    s->child = fork();
    if (s->child == 0) {
        const int from[] = {request->stdin_fd, request->stdout_fd, request->stderr_fd};
        int null = open("/dev/null", O_RDWR);
        for (int i = 0; i < 3; i++)
            dup2(from[i] < 0 ? null : from[i], i);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        close_range(3, ~0u, 0);
        execvpe(request->argv[0], (char **)(uintptr_t)request->argv,
                (char **)(uintptr_t)request->env);
        _exit(99);
    }
    s->frames = (int)syscall(SYS_pidfd_open, s->child, 0);
    return 0;
}

int session_signal(struct session *s, uint64_t exec, int signo, enum agent_scope scope)
{
    (void)exec;
    (void)scope;
    return kill(s->child, signo) < 0 ? -errno : 0;
}

int session_resize(struct session *s, uint64_t exec, uint16_t rows, uint16_t cols)
{
    (void)s, (void)exec, (void)rows, (void)cols;
    return 0;
}

int session_kill(struct session *s, uint64_t exec, enum agent_reason reason)
{
    (void)exec;
    fake.killed++;
    fake.reason = reason;
    return kill(s->child, SIGKILL) < 0 ? -errno : 0;
}

int session_close_stdin(struct session *s, uint64_t exec)
{
    (void)s, (void)exec;
    return 0;
}

int session_frames_fd(const struct session *s)
{
    return s->frames;
}

int session_next_frame(struct session *s, struct agent_frame *ret_frame, const void **ret_payload,
                       struct err *err)
{
    static struct agent_exit end;
    siginfo_t info = {0};
    (void)err;
    if (s->told)
        return SESSION_FRAME_NONE;
    if (waitid(P_PID, (id_t)s->child, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0)
        return SESSION_FRAME_NONE;
    s->child = 0;
    if (fake.lost)
        return SESSION_FRAME_END;
    s->told = true;
    bool by_exit = info.si_code == CLD_EXITED;
    end = (struct agent_exit){.reason = by_exit ? AGENT_REASON_EXIT : AGENT_REASON_SIGNAL,
                              .exit_code = by_exit ? info.si_status : -1,
                              .signal = by_exit ? 0 : info.si_status,
                              .started_ns = 1700000000123000000,
                              .ended_ns = 1700000001456000000,
                              .cpu_us = 2500,
                              .max_rss_bytes = 4096,
                              .scratch_full = fake.scratch_full};
    if (fake.reason)
        end.reason = fake.reason;
    *ret_frame = (struct agent_frame){
        .magic = AGENT_MAGIC, .type = AGENT_FRAME_EXIT, .exec = 1, .length = sizeof end};
    *ret_payload = &end;
    return 0;
}

int session_stop(struct session *s, struct err *err)
{
    if (s->child > 0) {
        kill(s->child, SIGKILL);
        waitpid(s->child, NULL, 0);
    }
    s->child = 0;
    if (fake.destroy_fails)
        return err_set(err, ERR_INTERNAL, EBUSY, "remove a cgroup", "x", NULL);
    return 0;
}

int session_destroy(struct session *s, struct err *err)
{
    fake.destroyed++;
    int r = session_stop(s, err);
    fd_close(s->frames);
    free(s);
    return r;
}

unsigned session_published(const struct session *s, struct session_published *ret, unsigned room)
{
    (void)s, (void)ret, (void)room;
    return 0;
}

const struct err *runtime_kept(const struct runtime *rt)
{
    (void)rt;
    return NULL;
}

uint64_t session_unrouted(struct session *s)
{
    (void)s;
    return 0;
}

int session_publish_serve(struct session *s, struct err *err)
{
    (void)s, (void)err;
    return 1;
}

char **exec_environment(const struct spec *spec, const char *term, const char *const *extra)
{
    (void)spec, (void)term;
    static char path[] = "PATH=/usr/bin:/bin";
    size_t n = 0;
    while (extra[n])
        n++;
    char **all = calloc(n + 2, sizeof *all + 256);
    char *text = (char *)(all + n + 2);
    all[0] = path;
    for (size_t i = 0; i < n; i++, text += 250)
        all[i + 1] = strcpy(text, extra[i]);
    return all;
}

/* ---- running it
 * ----------------------------------------------------------------------------------- */

struct streams_of_test {
    int in, out, error; /* -1: /dev/null */
};

struct ran {
    int status;
    char error[8192]; /* what was on stderr */
};

/* `berth WORDS…` in a child; `fake` is as the test set it. */
static pid_t start(const struct streams_of_test *streams, const char *const *words)
{
    int argc = 0;
    while (words[argc])
        argc++;
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    const int from[] = {streams->in, streams->out, streams->error};
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(from[i] < 0 ? null : from[i], i);
    close_range(3, ~0u, 0);
    if (chdir("/tmp") < 0)
        _exit(98);
    int status = cli_main(argc, (char **)(uintptr_t)words);
    /* A session that was made is destroyed exactly once, on every path. */
    if (fake.destroyed != (fake.create_fails ? 0 : fake.created))
        _exit(97);
    _exit(status);
}

static int wait_for(pid_t pid)
{
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static struct ran run(const char *const *words)
{
    struct ran ran = {0};
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = start(&(struct streams_of_test){-1, -1, ends[1]}, words);
    close(ends[1]);
    ssize_t n = io_read_full(ends[0], ran.error, sizeof ran.error - 1);
    cr_assert_geq(n, 0);
    close(ends[0]);
    ran.status = wait_for(pid);
    return ran;
}
#define BERTH(...) ((const char *const[]){"berth", __VA_ARGS__, NULL})

Test(cli_run, the_status_of_the_command_is_berths)
{
    cr_expect_eq(run(BERTH("run", "--", "true")).status, 0);
    cr_expect_eq(run(BERTH("run", "--", "sh", "-c", "exit 42")).status, 42);
    cr_expect_eq(run(BERTH("run", "--", "sh", "-c", "kill -TERM $$")).status, 143);
}

Test(cli_run, berths_own_failures_are_125_and_say_so)
{
    struct ran r;
    fake.open_fails = true;
    r = run(BERTH("run", "true"));
    cr_expect_eq(r.status, 125);
    cr_expect(strncmp(r.error, "berth: unavailable: make a user namespace", 41) == 0, "%s",
              r.error);
    cr_expect(strstr(r.error, "berth doctor"));
    fake.open_fails = false;
    fake.create_fails = true;
    r = run(BERTH("run", "true"));
    cr_expect_eq(r.status, 125);
    cr_expect(strstr(r.error, "berth: internal: mount procfs: /proc"), "%s", r.error);
    fake.create_fails = false;
    fake.start_fails = true;
    cr_expect_eq(run(BERTH("run", "true")).status, 125);
    fake.start_fails = false;
    fake.lost = true;
    r = run(BERTH("run", "true"));
    cr_expect_eq(r.status, 125);
    cr_expect(strstr(r.error, "The session ended before its command did."), "%s", r.error);
    fake.lost = false;
    fake.destroy_fails = true;
    r = run(BERTH("run", "true"));
    cr_expect_eq(r.status, 125, "what may be left on the host is not a success");
    cr_expect(strstr(r.error, "remove a cgroup"), "%s", r.error);
}

Test(cli_run, CAP_2_what_is_missing_is_refused_before_a_session_is_made)
{
    fake.create_fails = true; /* would be seen as "mount procfs" */
    struct ran r = run(BERTH("run", "--require", "audit.network", "--require", "gpu", "true"));
    cr_expect_eq(r.status, 125);
    cr_expect(strstr(r.error, "berth: capability_unavailable: "), "%s", r.error);
    cr_expect(strstr(r.error, "gpu") && strstr(r.error, "audit.network"), "%s", r.error);
}

Test(cli_run, CAP_2_a_default_limit_is_left_out_with_one_line_and_a_request_refused)
{
    fake.memory_missing = true;
    struct ran r = run(BERTH("run", "true"));
    cr_expect_eq(r.status, 0);
    cr_expect(strstr(r.error, "berth: note: runs without limits.memory: no controller\n"), "%s",
              r.error);
    cr_expect_null(strstr(run(BERTH("run", "--quiet", "true")).error, "without"));
    cr_expect_eq(run(BERTH("run", "--memory", "1GiB", "true")).status, 125);
}

Test(cli_run, a_stream_that_may_not_go_in_is_refused_before_anything_is_made)
{
    fake.open_fails = true; /* would be seen */
    _cleanup_fd_ int directory = open("/", O_RDONLY | O_CLOEXEC);
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid = start(&(struct streams_of_test){directory, -1, ends[1]}, BERTH("run", "true"));
    close(ends[1]);
    char text[1024] = "";
    io_read_full(ends[0], text, sizeof text - 1);
    cr_expect_eq(wait_for(pid), 125);
    cr_expect(strstr(text, "stdin: It is a directory"), "%s", text);
}

Test(cli_run, a_socket_is_relayed_both_ways_and_its_end_is_passed_on)
{
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = start(&(struct streams_of_test){pair[1], pair[1], -1},
                      BERTH("run", "sh", "-c", "cat; echo end"));
    close(pair[1]);
    enum { TOTAL = 1 << 20 };
    pid_t writer = fork();
    if (writer == 0) {
        static char block[TOTAL];
        memset(block, 'x', sizeof block);
        io_write_full(pair[0], block, sizeof block);
        shutdown(pair[0], SHUT_WR);
        _exit(0);
    }
    size_t got = 0;
    char block[65536], last[4] = "";
    for (ssize_t n; (n = read(pair[0], block, sizeof block)) > 0; got += (size_t)n)
        memcpy(last, block + n - (n < 4 ? n : 4), n < 4 ? (size_t)n : 4);
    cr_expect_eq(got, TOTAL + 4);
    cr_expect(memcmp(last, "end\n", 4) == 0);
    cr_expect_eq(wait_for(pid), 0);
    wait_for(writer);
}

Test(cli_run, a_reader_that_leaves_ends_the_writer_by_sigpipe)
{
    int pair[2];
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = start(&(struct streams_of_test){-1, pair[1], -1}, BERTH("run", "yes"));
    close(pair[1]);
    char byte;
    cr_assert_eq(read(pair[0], &byte, 1), 1);
    close(pair[0]);
    cr_expect_eq(wait_for(pid), 128 + SIGPIPE);
}

Test(cli_run, a_signal_is_forwarded_and_the_second_term_ends_the_command)
{
    char go[2];
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    pid_t pid =
        start(&(struct streams_of_test){-1, ends[1], -1},
              BERTH("run", "sh", "-c", "trap 'exit 9' USR1; echo; while :; do sleep .01; done"));
    cr_assert_eq(read(ends[0], go, 1), 1);
    kill(pid, SIGUSR1);
    cr_expect_eq(wait_for(pid), 9);
    pid = start(&(struct streams_of_test){-1, ends[1], -1},
                BERTH("run", "sh", "-c", "trap '' TERM; echo; while :; do sleep .01; done"));
    cr_assert_eq(read(ends[0], go, 1), 1);
    kill(pid, SIGTERM);
    usleep(100000);
    cr_expect_eq(waitpid(pid, NULL, WNOHANG), 0, "one TERM is the command's to ignore");
    kill(pid, SIGTERM);
    cr_expect_eq(wait_for(pid), 130);
}

Test(cli_run, a_signal_before_the_command_takes_the_session_down_and_starts_nothing)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        fake.signal_at_create = signals[i];
        cr_expect_eq(run(BERTH("run", "--die-with-parent", "never", "true")).status,
                     128 + signals[i]);
    }
}

Test(cli_run, a_user_is_a_canonical_number)
{
    static const char *const wrong[] = {"00", "01", "0x0", "+0", "-0", " 0"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct ran r = run(BERTH("run", "--user", wrong[i], "true"));
        cr_expect_eq(r.status, 125, "%s", wrong[i]);
        cr_expect(strstr(r.error, "process.user"), "%s", r.error);
    }
    cr_expect_eq(run(BERTH("run", "--user", "0", "true")).status, 0);
}

Test(cli_run, the_record_is_the_last_line_of_stderr_and_has_every_field)
{
    static const char *const fields[] = {"\"exec_id\":",
                                         "\"state\":\"ended\"",
                                         "\"reason\":\"exit\"",
                                         "\"exit_code\":3,",
                                         "\"signal\":null",
                                         "\"started_at\":\"2023-11-14T22:13:20.123Z\"",
                                         "\"ended_at\":\"2023-11-14T22:13:21.456Z\"",
                                         "\"cpu_ms\":2,",
                                         "\"max_rss_bytes\":4096",
                                         "\"output_bytes\":",
                                         "\"output_truncated\":false",
                                         "\"oom_kills\":0",
                                         "\"scratch_full\":[]",
                                         "\"effective\":{\"namespaces\":[",
                                         "\"phase_us\":{",
                                         "\"limits\":{",
                                         "said only in the record"};
    struct ran r = run(BERTH("--json", "run", "--", "sh", "-c", "echo words >&2; exit 3"));
    cr_assert_eq(r.status, 3);
    size_t n = strlen(r.error);
    cr_assert(n > 0 && r.error[n - 1] == '\n');
    r.error[n - 1] = 0;
    const char *last = strrchr(r.error, '\n') + 1;
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++)
        cr_expect(strstr(last, fields[i]), "%s is not in %s", fields[i], last);
    cr_expect(strstr(r.error, "berth: note: something appeared\n"));
    cr_expect_null(strstr(r.error, "berth: note: said only in the record"));
}

Test(cli_run, a_full_scratch_is_told_with_its_limit_and_key_once)
{
    static const struct {
        uint32_t full;
        const char *bytes, *inodes, *record;
    } rows[] = {
        {0, NULL, NULL, "\"scratch_full\":[],"},
        {AGENT_FULL_BYTES, "full: filesystem.scratch 3MiB. Raise it with --scratch.\n", NULL,
         "\"scratch_full\":[\"bytes\"],"},
        {AGENT_FULL_INODES, NULL, "filesystem.scratch_inodes 400000. Raise it in a policy file.\n",
         "\"scratch_full\":[\"inodes\"],"},
        {AGENT_FULL_BYTES | AGENT_FULL_INODES, "full: filesystem.scratch 3MiB.",
         "filesystem.scratch_inodes 400000.", "\"scratch_full\":[\"bytes\",\"inodes\"],"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        fake.scratch_full = rows[i].full;
        struct ran r = run(BERTH("--json", "run", "--scratch", "3MiB", "false"));
        cr_expect_eq(r.status, 1);
        cr_expect(strstr(r.error, rows[i].record), "%s", r.error);
        cr_expect_eq(strstr(r.error, "filesystem.scratch ") != NULL, rows[i].bytes != NULL);
        cr_expect_eq(strstr(r.error, "filesystem.scratch_inodes") != NULL, rows[i].inodes != NULL);
        cr_expect(!rows[i].bytes || strstr(r.error, rows[i].bytes), "%s", r.error);
        cr_expect(!rows[i].inodes || strstr(r.error, rows[i].inodes), "%s", r.error);
        r = run(BERTH("run", "--quiet", "false"));
        cr_expect_str_eq(r.error, "");
    }
}

Test(cli_run, a_refusal_has_a_record_too)
{
    struct ran r = run(BERTH("run", "--json", "--require", "network.udp", "true"));
    cr_expect_eq(r.status, 125);
    cr_expect(strstr(r.error, "\"reason\":\"not_started\""), "%s", r.error);
    cr_expect(strstr(r.error, "\"scratch_full\":null"));
    cr_expect(strstr(r.error, "\"code\":\"capability_unavailable\""));
    cr_expect(strstr(r.error, "\"missing\":[\"network.udp\"]"));
}

Test(cli_run, a_variable_is_taken_from_here_only_by_name)
{
    setenv("BERTH_TEST_SECRET", "hidden", 1);
    cr_expect_eq(run(BERTH("run", "sh", "-c", "test -z \"$BERTH_TEST_SECRET\"")).status, 0);
    cr_expect_eq(run(BERTH("run", "-e", "BERTH_TEST_SECRET", "sh", "-c",
                           "test \"$BERTH_TEST_SECRET\" = hidden"))
                     .status,
                 0);
    cr_expect_eq(run(BERTH("run", "-e", "A=b=c", "sh", "-c", "test $A = b=c")).status, 0);
    unsetenv("BERTH_TEST_SECRET");
    struct ran r = run(BERTH("run", "-e", "BERTH_TEST_SECRET", "true"));
    cr_expect_eq(r.status, 125);
    cr_expect(strstr(r.error, "It is not set here."), "%s", r.error);
}

Test(cli_run, words_that_make_no_sense_are_told_what_was_meant)
{
    cr_expect(strstr(run(BERTH("rnu")).error, "Did you mean \"run\"?"));
    cr_expect(strstr(run(BERTH("run", "--memry", "1", "x")).error, "Did you mean \"--memory\"?"));
    cr_expect_eq(run(BERTH("--help")).status, 0);
    cr_expect_eq(run(BERTH("run", "--help")).status, 0);
    cr_expect_eq(run(BERTH("--version")).status, 0);
    static const char *const none[] = {"berth", NULL};
    cr_expect_eq(run(none).status, 125);
    /* A name can't drive the terminal that the message is printed on. */
    cr_expect(strstr(run(BERTH("\033[2J")).error, "\\x1b[2J"));
}
