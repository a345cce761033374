/* This file takes a command from a client's request to its acceptance: checked, recorded, given a
 * spool file and handed to provider_exec.c, which sends it. It never talks to init.
 *
 * A key is complete with the acceptance (IDEM-4), so its answer is made there. What is refused
 * (4xx) is refused by then, and leaves no row. What is accepted and can't be sent ends as
 * `not_started`, and its key is open again.
 */
#include "provider/provider_exec.h"
#include "provider/spec_store.h"
#include "runtime/agent/spool.h"
#include "runtime/base/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { GRACE_MS = 2000, DEADLINE_SLACK_MS = 5000, UNSENT_MAX = 64 };
#define OUTPUT_LIMIT_MAX (UINT64_C(1) << 40)
/* Below it more would be kept than was asked for: a spool keeps nine pieces of 8 KiB of the end, so
 * that who follows does not lose what was written at once (docs/spool.md). */
enum { OUTPUT_LIMIT_LEAST = 16 * SPOOL_SEGMENT_LEAST };

static void start_fini(struct call *call)
{
    struct exec_call *start = (struct exec_call *)call;
    free_strings(start->argv);
    free_strings(start->env);
    free(start->shell);
    free(start->user);
    free(start->cwd);
    buf_fini(&start->command);
    buf_fini(&start->spec);
    buf_fini(&start->accepted);
    buf_fini(&start->replay);
}

/* Beyond enum coordinator_outcome. */
enum { EXEC_UNABLE = 100 };

/* "user", "root", UID or UID:GID; NULL: the session's own. */
static int read_user(const char *user, const struct spec *spec, uint32_t *ret_uid,
                     uint32_t *ret_gid)
{
    uint64_t uid = spec ? spec->process.uid : 0, gid = spec ? spec->process.gid : 0;
    if (user && strcmp(user, "root") == 0) {
        uid = gid = SPEC_UID_ROOT;
    } else if (user && strcmp(user, "user") == 0) {
        uid = gid = SPEC_UID_USER;
    } else if (user) {
        char first[24];
        size_t n = strcspn(user, ":");
        snprintf(first, sizeof first, "%.*s", (int)(n < sizeof first ? n : 0), user);
        if (units_parse_u64(first, &uid) < 0)
            return -EINVAL;
        gid = uid;
        if (user[n] == ':' && units_parse_u64(user + n + 1, &gid) < 0)
            return -EINVAL;
    }
    if (uid >= SPEC_UID_INIT || gid >= SPEC_UID_INIT)
        return -EINVAL;
    *ret_uid = (uint32_t)uid;
    *ret_gid = (uint32_t)gid;
    return 0;
}

static int bad_user(struct err *err)
{
    return err_set(err, ERR_INVALID_REQUEST, EINVAL, "read the request", "user",
                   "It is \"user\", \"root\", or a number below 65533.");
}

/* ---- what this incarnation can do ------------------------------------------------------------ */

/* As a session whose own user is another is refused when it is made (docs/adr/0019). */
static int check_user(struct exec_call *start, const struct incarnation_row *built)
{
    uint32_t uid, gid;
    if (built->uid_count != 1 || !start->user || read_user(start->user, NULL, &uid, &gid) < 0 ||
        (uid == SPEC_UID_USER && gid == SPEC_UID_USER))
        return 0;
    start->lacking.bits[CAP_ISOLATION_ID_RANGE / 64] |= UINT64_C(1)
                                                        << (CAP_ISOLATION_ID_RANGE % 64);
    return err_set(&start->unable, ERR_CAPABILITY_UNAVAILABLE, EINVAL, "start the command", "user",
                   "This session has one id only, that of \"user\". `berth doctor` says what would "
                   "give sessions more (/etc/subuid).");
}

static int refuse_second(struct exec_call *start, const char *first)
{
    return err_set(&start->unable, ERR_INVALID_STATE, EBUSY, "start the command",
                   start->call.session_id,
                   "This session has no cgroup, so it runs one command at a time, and %s has not "
                   "ended. Wait for it or end it; `berth doctor` says what would give it a cgroup.",
                   first);
}

/* Without a cgroup init can end one command only, and only with everything that it started. It
 * would refuse by itself, but cannot say so to whoever asks: he was answered by then. 0,
 * EXEC_UNABLE with start->unable, or a failure. */
static int check_alone(struct ledger_tx *tx, struct exec_call *start,
                       const struct incarnation_row *built, struct err *err)
{
    struct exec_row rows[2]; /* it stands among them */
    size_t count = 0;
    if (built->cgroup_inode != 0)
        return 0;
    if (start->keep_children) {
        err_set(&start->unable, ERR_CAPABILITY_UNAVAILABLE, EOPNOTSUPP, "start the command",
                "keep_children",
                "This session has no cgroup, so what a command started cannot be kept when it "
                "ends. `berth doctor` says what would give it one.");
        return EXEC_UNABLE;
    }
    int r = ledger_exec_page(tx, start->row.session, 0, EXEC_PAGE_LIVE, rows, ARRAY_LENGTH(rows),
                             &count, err);
    for (size_t i = 0; r == 0 && i < count; i++)
        if (rows[i].id != start->row.id) {
            refuse_second(start, rows[i].exec_id);
            return EXEC_UNABLE;
        }
    return r;
}

/* It was accepted, in a transaction that is taken back when this refuses: no row is left. */
static int check_able(struct ledger_tx *tx, struct exec_call *start, struct err *err)
{
    struct incarnation_row built;
    start->unable = (struct err){0};
    int r = ledger_incarnation_get(tx, start->row.session, start->row.incarnation, &built, err);
    if (r != 0)
        return r < 0 ? r : 0;
    if (check_user(start, &built) < 0)
        return EXEC_UNABLE;
    return check_alone(tx, start, &built, err);
}

/* ---- accepted -------------------------------------------------------------------------------- */

/* The answer says what the row will: state, incarnation and time are known here. */
static int make_answer(struct ledger_tx *tx, struct exec_call *start, int64_t now, struct err *err)
{
    struct call *call = &start->call;
    struct session_row session;
    struct exec_row row = {.state = EXEC_ACCEPTED,
                           .accepted_ms = now,
                           .exit_code = -1,
                           .keep_children = start->keep_children};
    int r = ledger_session_find(tx, call->workspace_id, call->session_id, &session, err);
    if (r != 0)
        return r;
    row.incarnation = session.incarnation;
    snprintf(row.exec_id, sizeof row.exec_id, "%s", call->exec_id);
    buf_fini(&start->accepted);
    document_exec(&start->accepted, &(struct document_exec){.row = &row,
                                                            .workspace_id = call->workspace_id,
                                                            .session_id = call->session_id,
                                                            .command = buf_text(&start->command)});
    buf_putc(&start->accepted, '\n');
    return buf_failed(&start->accepted)
               ? err_set(err, ERR_UNAVAILABLE, ENOMEM, "write the answer", NULL, "Out of memory.")
               : 0;
}

static int64_t deadline(const struct exec_call *start)
{
    if (start->timeout_ms == 0 || start->timeout_ms > INT64_MAX / 4)
        return 0;
    return now_boot_ms() + (int64_t)start->timeout_ms + (int64_t)start->grace_ms +
           DEADLINE_SLACK_MS;
}

static int accept_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct exec_call *start = (struct exec_call *)work;
    struct call *call = &start->call;
    int64_t now = now_ms();
    buf_fini(&start->replay);
    buf_fini(&start->spec);
    int r = make_answer(tx, start, now, err);
    if (r < 0)
        return r;
    const struct coordinator_exec request = {
        .workspace_id = call->workspace_id,
        .session_id = call->session_id,
        .exec_id = call->exec_id,
        .command = buf_text(&start->command),
        .keep_children = start->keep_children,
        .deadline_boot_ms = deadline(start),
        .key = call->key_texts ? &call->key : NULL,
        .answer = {.status = 201, .body = {buf_text(&start->accepted), start->accepted.length}},
        .now_ms = now,
    };
    r = coordinator_exec_accept(tx, &request, &start->row, &start->state, &start->replay_status,
                                &start->replay, err);
    if (r == 0)
        r = check_able(tx, start, err);
    if (r == 0)
        r = ledger_session_spec(tx, start->row.session, &start->spec, err);
    if (r == 0)
        r = ledger_audit_add(tx, call->workspace_id, call->who, call->what, call->session_id,
                             "accepted", now, err);
    return r;
}

static void refuse_outcome(struct exec_call *start, int outcome)
{
    struct call *call = &start->call;
    struct document_problem more = {0};
    struct err err = {0};
    switch (outcome) {
    case COORDINATOR_MISMATCH:
        err_set(&err, ERR_IDEMPOTENCY_MISMATCH, 0, "Idempotency-Key", call->key.key,
                "It was used before with another request. Send a new key with a new request.");
        break;
    case COORDINATOR_IN_PROGRESS:
        err_set(&err, ERR_IN_PROGRESS, 0, "exec", call->session_id,
                "Something is being done with this session. Ask again when it has ended.");
        more.retry_after_s = 1;
        break;
    case COORDINATOR_INVALID_STATE:
        session_refuse(start->state, SESSION_EVENT_EXEC, call->session_id, &err);
        more.allowed = session_allowed(start->state);
        break;
    case COORDINATOR_EXEC_EXISTS:
        err_set(&err, ERR_INVALID_STATE, 0, "exec", call->exec_id,
                "This exec_id was used in this session. Choose another one, or none.");
        break;
    case EXEC_UNABLE:
        err = start->unable;
        more.missing = start->lacking.bits[0] || start->lacking.bits[1] ? &start->lacking : NULL;
        break;
    default:
        no_session(call, &err);
        break;
    }
    call_refuse(call, &err, &more);
}

/* ---- handed over ----------------------------------------------------------------------------- */

static int fill(struct exec_call *call, struct exec_start *start, struct spec *spec,
                struct err *err)
{
    static const char *const none[] = {NULL};
    uint64_t limit = call->output_limit          ? call->output_limit
                     : spec->limits.output_bytes ? spec->limits.output_bytes
                                                 : SPOOL_USUAL;
    if (limit > OUTPUT_LIMIT_MAX)
        limit = OUTPUT_LIMIT_MAX;
    if (read_user(call->user, spec, &start->uid, &start->gid) < 0)
        return bad_user(err);
    spec->process.uid = start->uid; /* HOME and USER are his */
    spec->process.gid = start->gid;
    start->env = exec_environment(spec, call->tty ? "xterm-256color" : NULL,
                                  call->env ? (const char *const *)call->env : none);
    start->cwd = strdup(call->cwd ? call->cwd : spec->workspace.mount_path);
    start->argv = take_ptr(&call->argv);
    start->tty = call->tty;
    start->rows = call->rows;
    start->cols = call->cols;
    start->keep_children = call->keep_children;
    start->kill_on_limit = call->kill_on_limit;
    start->timeout_ms =
        call->timeout_ms == UINT64_MAX ? spec->limits.exec_timeout_ms : call->timeout_ms;
    start->idle_timeout_ms = call->idle_timeout_ms == UINT64_MAX ? 0 : call->idle_timeout_ms;
    start->grace_ms = call->grace_ms;
    start->open_files = spec->limits.open_files;
    start->limits = (struct agent_spool_limits){.head = limit / 2, .tail = limit - limit / 2};
    if (!start->env || !start->cwd)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM, "start the command", NULL, "Out of memory.");
    return 0;
}

/* Everything that it needs to be sent. */
static int prepare(struct exec_call *call, struct exec *exec, struct err *err)
{
    struct provider *p = call->call.work.p;
    struct exec_start *start = exec->start;
    int ends[2];
    int r = spec_store_read(buf_text(&call->spec), call->spec.length, &p->scratch, err);
    if (r == 0)
        r = fill(call, start, &p->scratch, err);
    if (r == 0)
        r = spool_create(p, call->row.session, call->row.id, &start->spool, err);
    if (r == 0)
        r = spool_allow(p, call->row.session, call->row.id, start->limits.head + start->limits.tail,
                        err);
    if (r < 0 || !call->stdin_pipe)
        return r;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a pipe", NULL, NULL);
    start->stdin_read = ends[0];
    exec->stdin_write = ends[1];
    return 0;
}

/* The row stands, and nothing can run: what came between. */
static int no_room_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    const struct exec_call *start = (const struct exec_call *)work;
    struct exec_row end = start->row;
    end.ended_ms = now_ms();
    end.exit_code = -1;
    snprintf(end.reason, sizeof end.reason, "not_started");
    int r = coordinator_exec_end(tx, &end, "{\"reason\":\"not_started\"}", err);
    return r > 0 ? 0 : r;
}

static void no_room_again(struct work *work);

static void no_room_done(struct work *work)
{
    struct exec_call *start = (struct exec_call *)work;
    struct err err;
    if (work->job.result < 0 && !work->p->closing) {
        work_again(work, no_room_again);
        return;
    }
    err_set(&err, ERR_UNAVAILABLE, 0, "start the command", start->call.session_id,
            "The session is being looked at, or memory is short. It did not run: try again.");
    call_fail(&start->call, &err, &(struct document_problem){.retry_after_s = 1});
    call_free(&start->call);
}

static void no_room_again(struct work *work)
{
    work_job(work, LEDGER_OP_EXEC_END, no_room_apply, no_room_done);
}

/* An init that reads nothing leaves them here, each with descriptors and memory of front's. */
static int check_unsent(const struct seat *seat, struct err *err)
{
    unsigned unsent = 0;
    for (const struct exec *other = seat->execs; other; other = other->next)
        unsent += other->start && !other->ending;
    if (unsent <= UNSENT_MAX)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, EAGAIN, "start the command", seat->session_id,
                   "%d commands wait until the session's init takes them. Try again; if none is "
                   "ever taken, park and resume the session.",
                   UNSENT_MAX);
}

/* IDEM-4: it attaches to the same command. Without a wait that is the stored acceptance; with one
 * it is what the first request waits for too. The id is in what was stored, as make_answer() wrote
 * it. */
static void replay(struct exec_call *start)
{
    struct call *call = &start->call;
    char exec_id[LEDGER_ID_SIZE];
    if (start->wait_ms > 0 && start->replay_status == 201 &&
        sscanf(buf_text(&start->replay), "{\"exec_id\":\"%64[^\"]\"", exec_id) == 1) {
        snprintf(call->exec_id, sizeof call->exec_id, "%s", exec_id);
        start->replayed = true;
        exec_answer(start);
        return;
    }
    call_replay(call, start->replay_status, &start->replay);
    call_free(call);
}

static void accepted(struct work *work)
{
    struct exec_call *start = (struct exec_call *)work;
    struct call *call = &start->call;
    struct provider *p = work->p;
    struct err err = {0};
    int r = work->job.result;
    if (r < 0) {
        call_fail(call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
        call_free(call);
        return;
    }
    if (r == COORDINATOR_REPLAY) {
        replay(start);
        return;
    }
    if (r > 0) {
        refuse_outcome(start, r);
        return;
    }
    provider_committed(p, call->workspace_id, call->session_id);
    struct seat *seat = seat_find(p, start->row.session);
    struct exec *exec = seat && seat->agent && !seat->held ? exec_new(seat, &start->row) : NULL;
    if (exec && !(exec->start = calloc(1, sizeof *exec->start))) {
        exec_free(exec);
        exec = NULL;
    }
    if (!exec) {
        no_room_again(work);
        return;
    }
    exec->start->stdin_read = exec->start->spool = -1;
    exec->asker = start;
    exec->asked_us = call->born_us;
    if (check_unsent(seat, &err) < 0 || prepare(start, exec, &err) < 0)
        exec_not_sent(exec, "not_started", &err);
    else
        execs_send(seat);
}

/* ---- the request ----------------------------------------------------------------------------- */

static char **copy_strings(const char *const *from)
{
    size_t n = 0;
    while (from && from[n])
        n++;
    char **copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++)
        if (!(copy[i] = strdup(from[i]))) {
            free_strings(copy);
            return NULL;
        }
    return copy;
}

static int check(struct exec_call *start, const struct provider_exec *exec, struct err *err)
{
    if (call_check_ids(&start->call, exec->exec_id != NULL, err) < 0)
        return -EINVAL;
    if (!exec->shell == !(exec->argv && exec->argv[0]))
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the request", "argv",
                       "Say either argv, with at least the program, or shell.");
    if (exec->argv && exec->argv[0] && !exec->argv[0][0])
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the request", "argv",
                       "The program's name is empty.");
    for (size_t i = 0; exec->env && exec->env[i]; i++)
        if (exec->env[i][0] == '=' || !strchr(exec->env[i], '='))
            return err_set(err, ERR_INVALID_REQUEST, 0, "read the request", "env",
                           "Every entry must be NAME=VALUE.");
    if (exec->cwd && exec->cwd[0] != '/')
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the request", "cwd",
                       "It must be an absolute path.");
    uint32_t uid, gid;
    if (exec->user && read_user(exec->user, NULL, &uid, &gid) < 0) {
        start->call.problem.pointer = "/user";
        return bad_user(err);
    }
    if (exec->output_limit_bytes && exec->output_limit_bytes < OUTPUT_LIMIT_LEAST &&
        !exec->kill_on_limit) {
        start->call.problem.pointer = "/output_limit_bytes";
        return err_set(err, ERR_INVALID_REQUEST, 0, "read the request", "output_limit_bytes",
                       "It is %d (128 KiB) at least, unless \"on_limit\" is \"kill\".",
                       OUTPUT_LIMIT_LEAST);
    }
    return 0;
}

static void begin_start(struct call *call)
{
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, &call->problem);
    else
        work_job(&call->work, LEDGER_OP_EXEC_ACCEPT, accept_apply, accepted);
}

static void copy_request(struct exec_call *start, const struct provider_exec *exec)
{
    const char *const shell[] = {"/bin/sh", "-c", exec->shell, NULL};
    document_command(&start->command, exec->argv, exec->shell);
    start->argv = copy_strings(exec->shell ? shell : exec->argv);
    start->env = copy_strings(exec->env);
    start->user = exec->user ? strdup(exec->user) : NULL;
    start->cwd = exec->cwd ? strdup(exec->cwd) : NULL;
    start->stdin_pipe = exec->stdin_pipe;
    start->tty = exec->tty;
    start->rows = exec->rows;
    start->cols = exec->cols;
    start->keep_children = exec->keep_children;
    start->kill_on_limit = exec->kill_on_limit;
    start->timeout_ms = exec->timeout_ms;
    start->idle_timeout_ms = exec->idle_timeout_ms;
    start->grace_ms = exec->grace_ms == UINT64_MAX ? (uint64_t)GRACE_MS : exec->grace_ms;
    start->output_limit = exec->output_limit_bytes;
    start->wait_ms = exec->wait_ms;
    if (!start->argv || !start->env || (exec->user && !start->user) || (exec->cwd && !start->cwd) ||
        buf_failed(&start->command))
        err_set(&start->call.refusal, ERR_UNAVAILABLE, ENOMEM, "read the request", NULL,
                "Out of memory.");
}

void provider_exec_start(struct provider *p, const struct provider_call *from,
                         const struct provider_exec *exec)
{
    struct exec_call *start = call_new(p, from, sizeof *start, "exec", begin_start, start_fini);
    if (!start)
        return;
    struct call *call = &start->call;
    start->status = 201;
    snprintf(call->exec_id, sizeof call->exec_id, "%s", exec->exec_id ? exec->exec_id : "");
    if (check(start, exec, &call->refusal) < 0)
        return;
    int r = exec->exec_id ? 0 : id_random("e", call->exec_id, sizeof call->exec_id);
    if (r < 0)
        err_set(&call->refusal, ERR_UNAVAILABLE, -r, "make an exec_id", NULL, NULL);
    else
        copy_request(start, exec);
}
