/* This file tests the parts of the command line that need no session: options, what the standard
 * streams are, copying between them, exit statuses and where the record goes. */
#include "api/cli/run.h"

#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* ---- options
 * ------------------------------------------------------------------------------------- */

static int parse(struct run_options *ret, struct err *err, const char *const *words)
{
    int argc = 0;
    while (words[argc])
        argc++;
    return run_options_parse(ret, argc, (char **)(uintptr_t)words, err);
}
#define WORDS(...) ((const char *const[]){"run", __VA_ARGS__, NULL})

Test(cli_options, the_command_begins_at_the_first_word_or_after_two_dashes)
{
    struct run_options o;
    struct err err;
    const char *const *words = WORDS("--quiet", "ls", "--json");
    cr_assert_eq(parse(&o, &err, words), 0);
    cr_assert(o.quiet && !o.json);
    cr_assert_str_eq(o.command[0], "ls");
    cr_assert_str_eq(o.command[1], "--json");
    run_options_fini(&o);
    words = WORDS("--", "--json");
    cr_assert_eq(parse(&o, &err, words), 0);
    cr_assert_str_eq(o.command[0], "--json");
    run_options_fini(&o);
}

Test(cli_options, a_flag_is_a_policy_key_with_its_origin)
{
    struct run_options o;
    struct err err;
    const char *const *words = WORDS("--memory=1GiB", "--net", "deny", "x");
    cr_assert_eq(parse(&o, &err, words), 0);
    cr_assert_eq(o.setting_count, 2);
    cr_assert_str_eq(o.settings[0].key, "limits.memory");
    cr_assert_str_eq(o.settings[0].value, "1GiB");
    cr_assert_str_eq(o.settings[0].flag, "--memory");
    cr_assert_str_eq(o.settings[1].key, "network.egress");
    run_options_fini(&o);
}

Test(cli_options, bad_words_are_usage_errors_that_help)
{
    const struct {
        const char *const *words;
        const char *says;
    } rows[] = {
        {WORDS("--memroy", "1GiB", "ls"), "Did you mean \"--memory\"?"},
        {WORDS("--tty", "alway", "ls"), "Did you mean \"always\"?"},
        {WORDS("--tty", "", "ls"), "Allowed: auto, always, never."},
        {WORDS("--json=1", "ls"), "Write --json alone."},
        {WORDS("--memory"), "Write --memory SIZE."},
        {WORDS("--cwd", "a", "ls"), "an absolute path"},
        {WORDS("--idle-timeout", "10 m", "ls"), "a time like"},
        {WORDS("--env", "=x", "ls"), "NAME=VALUE"},
        {WORDS("--json"), "Write: berth run"},
        {WORDS(""), "Write: berth run"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct run_options o;
        struct err err;
        cr_expect_lt(parse(&o, &err, rows[i].words), 0, "row %zu", i);
        cr_expect_eq(err.code, ERR_USAGE, "row %zu", i);
        cr_expect(strstr(err.detail, rows[i].says), "row %zu: %s", i, err.detail);
        run_options_fini(&o);
    }
}

Test(cli_options, a_far_word_gets_no_suggestion)
{
    static const char *const names[] = {"memory", "timeout", "ro"};
    cr_assert_str_eq(cli_suggest("timeuot", names, 3, sizeof names[0]), "timeout");
    cr_assert_str_eq(cli_suggest("mem", names, 3, sizeof names[0]), "memory");
    cr_assert_null(cli_suggest("network", names, 3, sizeof names[0]));
    cr_assert_null(cli_suggest("xx", names, 3, sizeof names[0]));
}

/* ---- streams
 * ------------------------------------------------------------------------------------- */

static int pair_end(int type)
{
    int ends[2];
    return socketpair(AF_UNIX, type, 0, ends) < 0 ? -1 : ends[0];
}

static int pipe_end(void)
{
    int ends[2];
    return pipe2(ends, 0) < 0 ? -1 : ends[0];
}

static int terminal_end(void)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return -1;
    return open(ptsname(master), O_RDWR | O_NOCTTY);
}

Test(cli_stdio, only_pipes_and_regular_files_are_passed_in)
{
    const struct {
        const char *name;
        int fd;
        int kind; /* 0: refused */
    } rows[] = {
        {"pipe", pipe_end(), STDIO_PASS},
        {"regular file", open("/proc/self/exe", O_RDONLY), STDIO_PASS},
        {"memory file", memfd_create("t", 0), STDIO_PASS},
        {"/dev/null", open("/dev/null", O_RDWR), STDIO_NULL},
        {"terminal", terminal_end(), STDIO_TERMINAL},
        {"stream socket", pair_end(SOCK_STREAM), STDIO_SOCKET},
        {"file of procfs", open("/proc/self/status", O_RDONLY), STDIO_FILE},
        {"directory", open("/", O_RDONLY), 0},
        {"path descriptor", open("/proc/self/exe", O_PATH), 0},
        {"path of a pipe", open("/proc/self/fd/0", O_PATH), 0},
        {"device", open("/dev/zero", O_RDONLY), 0},
        {"datagram socket", pair_end(SOCK_DGRAM), 0},
        {"packet socket", pair_end(SOCK_SEQPACKET), 0},
        {"epoll", epoll_create1(0), 0},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        enum stdio_kind kind = (enum stdio_kind)0;
        struct err err = {0};
        cr_assert_geq(rows[i].fd, 0, "%s could not be opened", rows[i].name);
        int r = stdio_classify(rows[i].fd, 0, &kind, &err);
        cr_expect_eq(r < 0, rows[i].kind == 0, "%s", rows[i].name);
        cr_expect_eq((int)kind, rows[i].kind, "%s", rows[i].name);
        cr_expect_eq(err.code, rows[i].kind ? ERR_NONE : ERR_INVALID_REQUEST, "%s", rows[i].name);
    }
    enum stdio_kind kind;
    cr_assert_eq(stdio_classify(1000, 0, &kind, NULL), 0);
    cr_assert_eq(kind, STDIO_NULL, "a closed descriptor is /dev/null");
}

static struct relay relay;

static void relay_between(int from, int to)
{
    relay_init(&relay);
    relay.from = from;
    relay.to = to;
    relay.from_owned = relay.to_owned = true;
    fcntl(from, F_SETFL, O_NONBLOCK);
    fcntl(to, F_SETFL, O_NONBLOCK);
}

/* One wait and one step; false when nothing happened in time. */
static bool turn(int timeout_ms)
{
    struct pollfd pair[2];
    relay_poll(&relay, pair);
    if (poll(pair, 2, timeout_ms) <= 0)
        return false;
    relay_step(&relay, pair);
    return true;
}

/* How many bytes go into `in` before neither pipe nor relay takes one more. */
static size_t fill_until_it_holds_no_more(int in)
{
    char block[8192];
    size_t sent = 0;
    memset(block, 'x', sizeof block);
    fcntl(in, F_SETFL, O_NONBLOCK);
    for (;;) {
        ssize_t n = write(in, block, sizeof block);
        if (n > 0)
            sent += (size_t)n;
        if (!turn(50) && n < 0)
            return sent;
        cr_assert_lt(sent, 1 << 20, "the writer was not stopped");
    }
}

/* After the writer's end everything comes out, and then the end. */
static void take_all(int in, int out, size_t sent)
{
    char back[8192];
    size_t got = 0;
    close(in);
    for (ssize_t n; (n = read(out, back, sizeof back)) > 0; got += (size_t)n)
        while (turn(0))
            continue;
    cr_assert_eq(got, sent);
    cr_assert(relay_done(&relay), "the end was passed on");
}

Test(cli_relay, every_byte_arrives_and_a_full_reader_stops_the_writer)
{
    int in[2], out[2];
    cr_assert_eq(pipe2(in, 0), 0);
    cr_assert_eq(pipe2(out, 0), 0);
    relay_between(in[0], out[1]);
    /* Nobody reads: it ends with three full buffers and without spinning. */
    size_t sent = fill_until_it_holds_no_more(in[1]);
    cr_assert(relay_pending(&relay));
    take_all(in[1], out[0], sent);
}

Test(cli_relay, between_two_pipes_nothing_is_held_and_nothing_blocks)
{
    int in[2], out[2];
    cr_assert_eq(pipe2(in, 0), 0);
    cr_assert_eq(pipe2(out, 0), 0);
    relay_init(&relay);
    relay.from = in[0];
    relay.to = out[1]; /* as a caller's pipe: its flags say that it blocks */
    relay.from_owned = relay.to_owned = relay.spliced = true;
    size_t sent = fill_until_it_holds_no_more(in[1]);
    cr_assert_leq(sent, 2 * 65536, "two pipes and no buffer hold %zu", sent);
    take_all(in[1], out[0], sent);
}

Test(cli_relay, between_two_pipes_a_reader_that_leaves_closes_the_writers)
{
    signal(SIGPIPE, SIG_IGN);
    int in[2], out[2];
    cr_assert_eq(pipe2(in, 0), 0);
    cr_assert_eq(pipe2(out, 0), 0);
    relay_init(&relay);
    relay.from = in[0];
    relay.to = out[1];
    relay.from_owned = relay.to_owned = relay.spliced = true;
    cr_assert_not(turn(20), "nothing to do is no reason to wake up");
    close(out[0]);
    cr_assert(turn(1000), "noticed without a byte to write");
    cr_assert(relay_done(&relay) && relay.broken);
    cr_assert_eq(write(in[1], "x", 1), -1);
    cr_assert_eq(errno, EPIPE);
}

Test(cli_stdio, attack_38b_a_pipe_of_the_callers_is_copied_unless_it_is_roots_input)
{
    int ends[2];
    enum stdio_kind kind;
    cr_assert_eq(pipe2(ends, 0), 0);
    for (int number = 1; number < 3; number++) {
        cr_assert_eq(stdio_classify(ends[1], number, &kind, NULL), 0);
        cr_assert_eq(kind, STDIO_PIPE);
    }
    cr_assert_eq(stdio_classify(ends[0], 0, &kind, NULL), 0);
    cr_assert_eq(kind, geteuid() == 0 ? STDIO_PASS : STDIO_PIPE);
}

Test(cli_relay, a_reader_that_leaves_closes_the_writers_pipe)
{
    signal(SIGPIPE, SIG_IGN);
    int in[2], out[2];
    cr_assert_eq(pipe2(in, 0), 0);
    cr_assert_eq(pipe2(out, 0), 0);
    relay_between(in[0], out[1]);
    cr_assert_not(turn(20), "nothing to do is no reason to wake up");
    close(out[0]);
    cr_assert(turn(1000), "noticed without a byte to write");
    cr_assert(relay_done(&relay) && relay.broken);
    cr_assert_eq(write(in[1], "x", 1), -1);
    cr_assert_eq(errno, EPIPE);
}

/* ---- statuses and the record
 * ---------------------------------------------------------------------- */

/* The kernel keeps the end-of-file key of a line as a NUL; later a NUL is a key of its own. */
Test(cli_relay, an_end_of_file_key_that_was_typed_ahead_arrives_as_one)
{
    int from[2], to[2];
    cr_assert_eq(pipe2(from, O_CLOEXEC | O_NONBLOCK), 0);
    cr_assert_eq(pipe2(to, O_CLOEXEC | O_NONBLOCK), 0);
    relay_init(&relay);
    relay.from = from[0];
    relay.to = to[1];
    relay.ahead = 4;
    struct pollfd pair[2];
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(write(from[1], "hi\n\0a\0", 6), 6);
        relay_poll(&relay, pair);
        pair[0].revents = POLLIN;
        relay_step(&relay, pair);
        char got[8];
        cr_assert_eq(read(to[0], got, sizeof got), 6);
        cr_expect(memcmp(got, i == 0 ? "hi\n\4a\0" : "hi\n\0a\0", 6) == 0);
    }
}

Test(cli_streams, a_terminal_has_one_output_wherever_stdout_and_stderr_go)
{
    static struct streams streams;
    static const enum stdio_kind kinds[] = {STDIO_NULL, STDIO_PASS, STDIO_SOCKET};
    struct err err;
    for (size_t out = 0; out < 3; out++)
        for (size_t error = 0; error < 3; error++) {
            const struct stdio stdio = {.kind = {STDIO_NULL, kinds[out], kinds[error]}};
            struct exec_request request = {0};
            streams_init(&streams);
            cr_assert_eq(streams_open(&streams, &stdio, true, false, &err), 0);
            streams_request(&streams, &request);
            cr_expect(request.tty && request.stdout_fd == -1 && request.stderr_fd == -1 &&
                      !request.null_stdout && !request.null_stderr);
            streams_close(&streams);
        }
}

Test(cli_result, exit_statuses_are_those_of_the_contract)
{
    static const struct {
        enum agent_reason reason;
        int exit_code, signal, fault, status;
    } rows[] = {
        {AGENT_REASON_EXIT, 0, 0, 0, 0},
        {AGENT_REASON_EXIT, 137, 0, 0, 137},
        {AGENT_REASON_SIGNAL, -1, 15, 0, 143},
        {AGENT_REASON_TIMEOUT, -1, 15, 0, 124},
        {AGENT_REASON_IDLE_TIMEOUT, 0, 0, 0, 124},
        {AGENT_REASON_OOM, -1, 9, 0, 137},
        {AGENT_REASON_OUTPUT_LIMIT, -1, 9, 0, 137},
        {AGENT_REASON_INTERRUPTED, -1, 9, 0, 130},
        {AGENT_REASON_CANCELLED, -1, 9, 0, 130},
        {AGENT_REASON_LOST, 0, 0, 0, 125},
        {AGENT_REASON_NOT_STARTED, 0, 0, 0, 125},
        {AGENT_REASON_NONE, 0, 0, 0, 125},
        {AGENT_REASON_START_FAILED, 0, 0, AGENT_START_BERTH, 125},
        {AGENT_REASON_START_FAILED, 0, 0, AGENT_START_NOT_EXECUTABLE, 126},
        {AGENT_REASON_START_FAILED, 0, 0, AGENT_START_NOT_FOUND, 127},
    };
    bool seen[AGENT_REASON_END] = {false};
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct run_outcome o = {.reason = rows[i].reason,
                                .fault = (enum agent_start_fault)rows[i].fault};
        o.exit.exit_code = rows[i].exit_code;
        o.exit.signal = rows[i].signal;
        cr_expect_eq(run_result_status(&o), rows[i].status, "row %zu", i);
        seen[rows[i].reason] = true;
    }
    for (int r = 0; r < AGENT_REASON_END; r++)
        cr_expect(seen[r], "no row for reason %d", r);
}

Test(cli_result, the_record_replaces_a_planted_link_and_does_not_follow_it)
{
    char directory[] = "/tmp/berth-cli-XXXXXX", path[64], victim[64], text[16] = "";
    cr_assert_not_null(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/record", directory);
    snprintf(victim, sizeof victim, "%s/victim", directory);
    _cleanup_fd_ int fd = open(victim, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(write(fd, "old", 3), 3);
    struct run_result_file file;
    struct err err;
    cr_assert_eq(run_result_prepare(&file, "--result", path, &err), 0);
    cr_assert_eq(symlink(victim, path), 0);
    _cleanup_buf_ struct buf record = {0};
    buf_puts(&record, "new");
    cr_assert_eq(run_result_write(&file, &record, &err), 0);
    run_result_fini(&file);
    cr_assert_eq(io_read_at(AT_FDCWD, victim, text, sizeof text), 3);
    cr_expect_str_eq(text, "old");
    cr_assert_eq(io_read_at(AT_FDCWD, path, text, sizeof text), 3);
    cr_expect_str_eq(text, "new");
    unlink(path);
    unlink(victim);
    cr_assert_eq(rmdir(directory), 0, "a temporary file was left");
}

/* What a session may have left in its workspace before the run that is asked for a record there. */
Test(cli_result, what_was_planted_at_the_place_is_never_written_through)
{
    char directory[] = "/tmp/berth-cli-XXXXXX", victim[64], path[96], text[16] = "";
    cr_assert_not_null(mkdtemp(directory));
    snprintf(victim, sizeof victim, "%s/victim", directory);
    _cleanup_fd_ int fd = open(victim, O_WRONLY | O_CREAT, 0600);
    cr_assert_eq(write(fd, "old", 3), 3);
    struct run_result_file file;
    struct err err;

    snprintf(path, sizeof path, "%s/link", directory);
    cr_assert_eq(symlink(victim, path), 0);
    cr_assert_eq(run_result_prepare(&file, "--result", path, &err), 0);
    _cleanup_buf_ struct buf record = {0};
    buf_puts(&record, "new");
    cr_assert_eq(run_result_write(&file, &record, &err), 0);
    run_result_fini(&file);
    cr_assert_eq(io_read_at(AT_FDCWD, victim, text, sizeof text), 3);
    cr_expect_str_eq(text, "old");
    struct stat st;
    cr_expect(lstat(path, &st) == 0 && S_ISREG(st.st_mode), "the link was replaced");
    unlink(path);

    snprintf(path, sizeof path, "%s/fifo", directory);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_lt(run_result_prepare(&file, "--result", path, &err), 0, "nobody reads it");
    unlink(path);

    if (geteuid() == 0) {
        snprintf(path, sizeof path, "%s/away", directory);
        cr_assert_eq(symlink("/etc", path), 0);
        cr_assert_eq(lchown(path, 54321, 54321), 0);
        char beneath[128];
        snprintf(beneath, sizeof beneath, "%s/record", path);
        cr_expect_lt(run_result_prepare(&file, "--result", beneath, &err), 0,
                     "a link of somebody's");
        unlink(path);
    }
    unlink(victim);
    cr_assert_eq(rmdir(directory), 0, "something was left");
}

Test(cli_result, a_place_that_cannot_be_written_is_refused_before_anything_starts)
{
    static const char *const paths[] = {"/nowhere-at-all/record", "/tmp", "/proc/record", ""};
    for (size_t i = 0; i < ARRAY_LENGTH(paths); i++) {
        struct run_result_file file;
        struct err err;
        cr_expect_lt(run_result_prepare(&file, "--result", paths[i], &err), 0, "%s", paths[i]);
    }
}
