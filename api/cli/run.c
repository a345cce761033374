/* This file is `berth run`: the flow from options to an exit status. It never outlives its session:
 * what it made is gone when it returns, and a reaper of the runtime's sees to it when it is killed.
 *
 * Order: everything that can be refused is refused before anything is made: options, streams, the
 * place of the result, the policy, capabilities. Pipes are made after the session, so that no
 * process of the runtime's holds an end of them.
 */
#include "api/cli/run.h"

#include "api/cli/run_plan.h"
#include "provider/registry.h"
#include "runtime/base/fd.h"
#include "runtime/base/io.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

/* Large and mostly untouched: static, so that a start costs no page that it does not use. */
static struct spec the_spec;
static struct run the_run;
static struct run_network the_network;
static struct run_denied the_denied;
static struct capability_set the_capabilities;

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static bool want_tty(const struct run *run)
{
    switch (run->options.tty) {
    case RUN_TTY_ALWAYS:
        return true;
    case RUN_TTY_NEVER:
        return false;
    case RUN_TTY_AUTO:
        break;
    }
    /* Who sent stderr elsewhere wants it there, and a terminal has one output. */
    for (int i = 0; i < 3; i++)
        if (run->stdio.kind[i] != STDIO_TERMINAL)
            return false;
    return true;
}

/* What only this exec needs is named like a `requires` line. */
static void require_for_exec(struct run *run)
{
    if (run->tty)
        capability_name_required(run->spec, CAP_EXEC_TTY);
    if (run->options.idle_timeout_ms)
        capability_name_required(run->spec, CAP_EXEC_IDLE_TIMEOUT);
}

/* CAP-2: refused with everything that is missing, or run without defaults that cannot be had. */
static int check_capabilities(struct run *run, struct err *err)
{
    int r = registry_open(run->runtime, run->spec, &the_capabilities, err);
    if (r < 0)
        return r;
    capability_drop_defaults(run->spec, &the_capabilities, &run->dropped);
    return capability_check(run->spec, &the_capabilities, &run->missing, err);
}

static int open_runtime(struct run *run, struct err *err)
{
    int r = run_network_open(run, err);
    if (r < 0)
        return r;
    const struct runtime_options options = {.gateway = run->network->gateway.control};
    r = runtime_open(&run->runtime, &options, err);
    if (r < 0) {
        err_add(err, "`berth doctor` says what is missing and what to do.");
        return r;
    }
    r = check_capabilities(run, err);
    if (r < 0)
        return r;
    run_summary_start(run);
    /* From here on there is something to take down: a signal is answered by doing so. */
    return run_loop_open(run, err);
}

struct command {
    struct run *run;
    struct exec_request request;
    bool sent;
};

/* Who has been told to end starts no command. */
static int send_command(void *data, struct session *s, struct err *err)
{
    struct command *command = data;
    if (run_loop_told_to_end(command->run))
        return 0;
    run_summary_published(command->run, s);
    int r = session_exec(s, RUN_EXEC, &command->request, err);
    command->sent = r == 0;
    return r;
}

/* The session, with its command on the way. 0: the command was sent. 1: it was not. */
static int start(struct run *run, struct err *err)
{
    _cleanup_free_ char **env = NULL;
    int r = run_plan_environment(&run->options, run->spec, run->tty, &env, err);
    const struct runtime_facts *facts = runtime_facts(run->runtime);
    if (facts->rootless && facts->landlock_abi == 0)
        stdio_copy_files(&run->stdio);
    if (r == 0)
        r = streams_open(&run->streams, &run->stdio, run->tty, run->options.idle_timeout_ms > 0,
                         err);
    if (r < 0)
        return r;
    struct command command = {
        .run = run,
        .request =
            {
                .argv = (const char *const *)run->options.command,
                .env = (const char *const *)env,
                .cwd = run->options.cwd ? run->options.cwd : run->spec->workspace.mount_path,
                .uid = run->spec->process.uid,
                .gid = run->spec->process.gid,
                .timeout_ms = run->spec->limits.exec_timeout_ms,
                .idle_timeout_ms = run->options.idle_timeout_ms,
                .grace_ms = RUN_GRACE_MS,
                .open_files = run->spec->limits.open_files,
            },
    };
    streams_request(&run->streams, &command.request);
    const struct session_first first = {send_command, &command, .only = true};
    r = session_create_with(&run->session, run->runtime, run->spec, &first, err);
    if (r < 0)
        return r;
    if (!command.sent)
        return 1;
    streams_started(&run->streams);
    return 0;
}

static void keep_for_record(struct run *run)
{
    const struct session_note *notes;
    run->effective = *session_effective(run->session);
    run->has_effective = true;
    run->note_count = session_notes(run->session, &notes);
    if (run->note_count > RUN_NOTES_MAX)
        run->note_count = RUN_NOTES_MAX;
    memcpy(run->notes, notes, run->note_count * sizeof *notes);
}

static int close_session(struct run *run, struct err *err)
{
    if (!run->session)
        return 0;
    uint64_t begin = now_us();
    int stopped = session_stop(run->session, err);
    keep_for_record(run);
    run->network->looked_out = session_unrouted(run->session) > 0;
    struct err late;
    int r = session_destroy(run->session, stopped < 0 ? &late : err);
    run->session = NULL;
    run->effective.phase_us[PHASE_TEARDOWN] = now_us() - begin;
    return stopped < 0 ? stopped : r;
}

/* From the policy to the end of the command. On failure nothing of the session is left. */
static int execute(struct run *run, struct err *err)
{
    int r = stdio_classify_all(&run->stdio, err);
    if (r == 0)
        r = run_plan_spec(&run->options, run->spec, err);
    if (r < 0)
        return r;
    run->denied = run->spec->process.explain_syscalls ? &the_denied : NULL;
    run->tty = want_tty(run);
    require_for_exec(run);
    r = open_runtime(run, err);
    if (r == 0)
        r = start(run, err);
    if (r == 0)
        run_loop(run);
    struct err late;
    int destroyed = close_session(run, r < 0 ? &late : err);
    run_network_close(run);
    if (r == 0)
        run_loop_drain(run);
    run->outcome.output_seen = run->streams.captured;
    return r < 0 ? r : destroyed;
}

static void finish(struct run *run)
{
    streams_close(&run->streams);
    run_loop_close(run);
    runtime_close(run->runtime);
    run->runtime = NULL;
}

static int write_learned(const struct run *run, const struct run_result_file *file)
{
    _cleanup_buf_ struct buf text = {0};
    struct err err;
    int r = run_network_learn(run, &text, &err);
    if (r == 0)
        r = run_result_write(file, &text, &err);
    return r < 0 ? cli_fail(&err) : CLI_EXIT_OK;
}

/* Errors, summary and record, in this order: the record is stderr's last line. */
static int tell(struct run *run, const struct run_result_file *file,
                const struct run_result_file *learned)
{
    int status = run_result_status(&run->outcome);
    if (run->outcome.failed)
        cli_fail(&run->outcome.err);
    if (run->has_effective)
        run_summary_end(run);
    /* What was learned of a run that ended early is still what it reached. */
    if (run->options.learn && run->has_effective && write_learned(run, learned) != CLI_EXIT_OK)
        status = CLI_EXIT_BERTH;
    if (!run->options.json && !run->options.result)
        return status;
    _cleanup_buf_ struct buf record = {0};
    run_result_record(run, &record);
    struct err err;
    int r = buf_failed(&record)
                ? err_set(&err, ERR_INTERNAL, 0, "make the result record", NULL, "Out of memory.")
            : run->options.result ? run_result_write(file, &record, &err)
                                  : 0;
    if (r < 0) {
        cli_fail(&err);
        status = CLI_EXIT_BERTH;
    }
    if (run->options.json)
        (void)io_write_full(STDERR_FILENO, buf_text(&record), record.length);
    return status;
}

static int run_command(struct run *run)
{
    struct run_result_file file = {.directory = -1, .direct = -1};
    struct run_result_file learned = {.directory = -1, .direct = -1};
    struct err err;
    int r =
        run->options.result ? run_result_prepare(&file, "--result", run->options.result, &err) : 0;
    if (r < 0)
        run->options.result = NULL;
    if (r == 0 && run->options.learn)
        r = run_result_prepare(&learned, "--learn", run->options.learn, &err);
    if (r == 0)
        r = run_loop_parent(run->options.parent, &run->parent, &err);
    if (r == 0)
        r = execute(run, &err);
    /* A failure after the command has ended is berth's (something may be left on the host), and
     * says so although the command had its own end. */
    if (r < 0) {
        run->outcome.failed = true;
        run->outcome.err = err;
        if (run->outcome.reason != AGENT_REASON_NONE)
            run->outcome.reason = AGENT_REASON_LOST;
    }
    finish(run);
    int status = tell(run, &file, &learned);
    run_result_fini(&file);
    run_result_fini(&learned);
    return status;
}

int cli_run(int argc, char **argv)
{
    struct run *run = &the_run;
    run->spec = &the_spec;
    run->network = &the_network;
    run->parent = run->signals = -1;
    streams_init(&run->streams);
    struct err err;
    int r = run_options_parse(&run->options, argc, argv, &err), status;
    if (r == RUN_OPTIONS_HELP) {
        _cleanup_buf_ struct buf out = {0};
        run_options_help(&out);
        status = cli_print(STDOUT_FILENO, &out);
    } else if (r < 0)
        status = cli_fail_json(&err, run->options.json);
    else
        status = run_command(run);
    run_options_fini(&run->options);
    buf_fini(&run->dropped);
    return status;
}
