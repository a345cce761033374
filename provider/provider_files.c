/* This file carries one file operation to whoever may touch the workspace, and its answer back: a
 * worker inside the session while it runs, the launcher's worker else. It never touches a file of
 * a session, and believes of an answer only its shape (runtime/files.h).
 *
 * Inside, the worker is a command of init's that is no row of the ledger: not in lists, without
 * spool or events. Its number stands between those of commands (provider_exec.h). Its answer comes
 * on a pipe whose end is the end of the operation, whatever became of the worker.
 *
 * This file is long because an operation has two carriers and one life: what becomes of it when one
 * of them ends is read in one place.
 */
#include "provider/provider_exec.h"
#include "provider/spec_store.h"
#include "runtime/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of one session at a time. Its programs can stop a worker, which has their uid: what waits for
 * such workers is bounded, and each of them holds descriptors of front. */
enum { FILES_AT_ONCE_MAX = 64, WATCHES_AT_ONCE_MAX = 16 };

/* 2.5 s of pauses. */
enum { CHANGING_TRIES = 7 };

enum { ANSWER_MAX = (int)(sizeof(struct files_begin) + sizeof(struct files_result)) };

struct operation {
    struct call call; /* first */
    struct operation *next;
    struct files_request request;
    int data_in, data_out, client_socket;
    void (*begun)(void *data, const struct files_begin *begin);
    void (*done)(void *data, const struct provider_files_reply *reply);
    void *done_data;

    struct session_row row;
    struct buf spec;
    int64_t seat_row; /* init was told to run its worker; 0: not */
    uint64_t number;
    int answer_read, answer_write;
    struct loop_watch *watch;
    char answer[ANSWER_MAX];
    size_t length;
    bool waits_launcher, ended; /* its end of the pipe; `launcher` is still to answer */
    bool carried;               /* somebody was asked to do it */
    bool never_began;           /* and could not */
    bool gone;                  /* nothing more is told of its worker */
    struct files_result result;
    bool has_result, began;
    struct err why;    /* why there is no result */
    struct err untold; /* why there is no event of it */
};

static void leave_list(struct operation *op)
{
    struct operation **at = &op->call.work.p->operations;
    while (*at && *at != op)
        at = &(*at)->next;
    if (*at)
        *at = op->next;
}

/* The worker has its own copies. */
static void give_away(struct operation *op)
{
    fd_closep(&op->answer_write);
    fd_closep(&op->data_in);
    fd_closep(&op->data_out);
}

static void operation_fini(struct call *call)
{
    struct operation *op = (struct operation *)call;
    leave_list(op);
    loop_watch_free(op->watch);
    fd_close(op->answer_read);
    fd_close(op->answer_write);
    fd_close(op->data_in);
    fd_close(op->data_out);
    fd_close(op->client_socket);
    buf_fini(&op->spec);
}

/* Instead of a reply: what call_fail() says of it. */
static void told(struct call *call, struct provider_reply *reply)
{
    struct operation *op = (struct operation *)call;
    void (*done)(void *, const struct provider_files_reply *) = op->done;
    op->done = NULL;
    if (done)
        done(op->done_data, &(struct provider_files_reply){.err = &reply->err,
                                                           .allowed = reply->allowed,
                                                           .session = op->row.id});
}

static void forget(struct call *call)
{
    ((struct operation *)call)->done = NULL;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void tell_end(struct operation *op)
{
    if (!op->has_result) {
        const struct document_problem more = {
            .allowed = op->why.code == ERR_INVALID_STATE ? session_allowed(op->row.state) : 0};
        call_fail(&op->call, &op->why, &more);
    } else {
        void (*done)(void *, const struct provider_files_reply *) = op->done;
        const struct provider_files_reply reply = {.err = op->result.result < 0 ? &op->result.err
                                                                                : NULL,
                                                   .result = &op->result,
                                                   .session = op->row.id};
        op->done = NULL;
        if (done)
            done(op->done_data, &reply);
    }
    call_free(&op->call);
}

static enum err_code code_of(const struct operation *op)
{
    if (!op->has_result)
        return (enum err_code)op->why.code;
    return op->result.result < 0 ? (enum err_code)op->result.err.code : ERR_NONE;
}

/* A refusal counts, as with every verb; that berth could not, only if something may have happened.
 * A collection that its worker has made is still to be looked at (provider_collected()). */
static bool is_recorded(const struct operation *op)
{
    const enum err_code code = code_of(op);
    if (op->request.operation == FILES_COLLECT && code == ERR_NONE)
        return false;
    return op->call.what[0] && (op->carried || err_code_status(code) < 500);
}

static int record_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct operation *op = (struct operation *)work;
    const struct files_record record = {.session = op->row.id,
                                        .request = &op->request,
                                        .result = op->has_result ? &op->result : NULL,
                                        .carried = op->carried && !op->never_began,
                                        .code = code_of(op)};
    op->untold = (struct err){0};
    return files_record(tx, &op->call, &record, &op->untold, err);
}

static void recorded(struct work *work)
{
    struct operation *op = (struct operation *)work;
    provider_written(work, op->call.workspace_id, op->call.session_id, &op->untold);
    tell_end(op);
}

/* What has become of it is known, once: it is written down, and then told. */
static void settle(struct operation *op)
{
    leave_list(op);
    loop_watch_free(take_ptr(&op->watch));
    give_away(op);
    if (is_recorded(op))
        work_job(&op->call.work, LEDGER_OP_AUDIT_ADD, record_apply, recorded);
    else
        tell_end(op);
}

static void fail(struct operation *op, const struct err *err)
{
    op->why = *err;
    op->has_result = false;
    settle(op);
}

static void finish(struct operation *op)
{
    if (!op->has_result && op->why.code == ERR_NONE)
        err_set(&op->why, ERR_UNAVAILABLE, ECONNRESET, files_operation_name(op->request.operation),
                op->request.path,
                "Its worker was ended: by an interrupt, by the end of the session, or for want "
                "of memory. Try again.");
    settle(op);
}

/* ---- the answer ------------------------------------------------------------------------------ */

static const char other_version[] = "it is of another version of berth";

/* NULL, or what is wrong with what stands in `answer`. Takes whole structs out of it. */
static const char *take_answers(struct operation *op)
{
    while (op->length >= sizeof(uint32_t)) {
        uint32_t magic;
        memcpy(&magic, op->answer, sizeof magic);
        size_t size = files_message_size(magic);
        uint32_t version = FILES_VERSION;
        if (op->length >= 2 * sizeof version)
            memcpy(&version, op->answer + sizeof magic, sizeof version);
        if (size > 0 && version != FILES_VERSION)
            return other_version;
        const char *wrong = NULL;
        if (size == 0 || size > sizeof op->answer || op->has_result)
            return "it is no answer of a file worker";
        if (op->length < size)
            return NULL;
        if (size == sizeof(struct files_begin)) {
            struct files_begin begin;
            memcpy(&begin, op->answer, sizeof begin);
            wrong = op->began ? "it began twice" : files_begin_check(&begin, size);
            op->began = true;
            if (!wrong && op->begun && op->done)
                op->begun(op->done_data, &begin);
        } else {
            memcpy(&op->result, op->answer, sizeof op->result);
            wrong = files_result_check(&op->result, size);
            op->has_result = !wrong;
        }
        if (wrong)
            return wrong;
        op->length -= size;
        memmove(op->answer, op->answer + size, op->length);
    }
    return NULL;
}

static enum session_event event_of(const struct operation *op)
{
    return files_operation_changes(op->request.operation) ? SESSION_EVENT_FILE_WRITE
                                                          : SESSION_EVENT_FILE_READ;
}

/* Another version's worker stays as long as the session's init does: trying again helps nobody. */
static void tell_wrong(struct operation *op, const char *wrong)
{
    const char *name = files_operation_name(op->request.operation);
    if (wrong != other_version)
        err_set(&op->why, ERR_UNAVAILABLE, EPROTO, name, op->request.path,
                "The answer of its worker makes no sense: %s.", wrong);
    else
        err_set(&op->why, ERR_INVALID_STATE, EPROTO, name, op->request.path,
                "This session was started by another version of berth, whose answers about files "
                "this one cannot read%s. Park the session and resume it, then ask again.",
                event_of(op) == SESSION_EVENT_FILE_WRITE ? "; it may have been done" : "");
}

/* Takes what has come. False: there may be more. */
static bool read_answer(struct operation *op)
{
    for (;;) {
        ssize_t n = read(op->answer_read, op->answer + op->length, sizeof op->answer - op->length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return false;
        op->length += n > 0 ? (size_t)n : 0;
        const char *wrong = n > 0 ? take_answers(op) : NULL;
        if (n > 0 && !wrong && op->length < sizeof op->answer)
            continue;
        if (wrong || n > 0) { /* a worker inside is the session's: hostile */
            op->has_result = false;
            tell_wrong(op, wrong ? wrong : "too long");
        }
        return true;
    }
}

/* How a worker inside ended without a result, init says; the pipe ends a little earlier. */
static bool waits_for_word(const struct operation *op)
{
    return op->seat_row && !op->gone && !op->has_result && op->why.code == ERR_NONE;
}

static void on_answer(void *owner, unsigned events)
{
    struct operation *op = owner;
    (void)events;
    if (!read_answer(op))
        return;
    loop_watch_free(take_ptr(&op->watch));
    op->ended = true;
    if (!op->waits_launcher && !waits_for_word(op))
        finish(op);
}

/* Its worker is not waited for any longer: what it has said counts. */
static void finish_now(struct operation *op)
{
    op->gone = true;
    if (!op->ended)
        read_answer(op);
    loop_watch_free(take_ptr(&op->watch));
    op->ended = true;
    finish(op);
}

static int open_answer(struct operation *op, struct err *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a pipe", NULL, NULL);
    op->answer_read = ends[0];
    op->answer_write = ends[1];
    if (fcntl(op->answer_read, F_SETFL, O_NONBLOCK) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "make a pipe", NULL, NULL);
    int r = loop_watch_new(op->call.work.p->loop, op->answer_read, on_answer, op, &op->watch, err);
    return r < 0 ? r : loop_watch_set(op->watch, LOOP_READ | LOOP_CLOSED);
}

/* ---- while it runs --------------------------------------------------------------------------- */

static uint64_t next_number(struct seat *seat)
{
    uint64_t epoch = seat->p->born.epoch & ((UINT64_C(1) << NUMBER_EPOCH_BITS) - 1);
    return (seat->last_number & ~((UINT64_C(1) << NUMBER_ORDER_SHIFT) - 1)) |
           epoch << NUMBER_COUNT_BITS | ++seat->files_count;
}

unsigned files_watches(const struct seat *seat)
{
    unsigned count = 0;
    for (const struct operation *op = seat->p->operations; op; op = op->next)
        count += op->seat_row == seat->row && op->request.operation == FILES_WATCH;
    return count;
}

static void inside(struct work *work);

static void send_inside(struct work *work)
{
    struct operation *op = (struct operation *)work;
    struct provider *p = work->p;
    struct seat *seat = seat_find(p, op->row.id);
    static const char *const none[] = {NULL};
    struct files_argv argv;
    struct err err = {0};
    if (!seat || !seat->agent || seat->held || seat->ending ||
        seat->files_count >= (UINT64_C(1) << NUMBER_COUNT_BITS) - 1) {
        err_set(&err, ERR_UNAVAILABLE, EAGAIN, files_operation_name(op->request.operation),
                op->request.path, "The session is being looked at, or is ending. Try again.");
        fail(op, &err);
        return;
    }
    if (seat->files_running >= FILES_AT_ONCE_MAX) {
        err_set(&err, ERR_UNAVAILABLE, EAGAIN, files_operation_name(op->request.operation),
                op->request.path,
                "%d file operations of this session have not ended yet. Try again; those that do "
                "not move are ended after %d seconds, or by an interrupt.",
                FILES_AT_ONCE_MAX, AGENT_FILES_STILL_MS / 1000);
        fail(op, &err);
        return;
    }
    if (op->request.operation == FILES_WATCH && files_watches(seat) >= WATCHES_AT_ONCE_MAX) {
        err_set(&err, ERR_RATE_LIMITED, EAGAIN, "watch", op->request.path,
                "%d watches of this session are open. Close one, or watch what is above with "
                "recursive=true.",
                WATCHES_AT_ONCE_MAX);
        fail(op, &err);
        return;
    }
    if (files_request_to_argv(&op->request, &argv) < 0) {
        err_set(&err, ERR_INVALID_REQUEST, E2BIG, files_operation_name(op->request.operation),
                op->request.path, "The request does not fit a worker's arguments.");
        fail(op, &err);
        return;
    }
    bool upload = op->request.operation == FILES_UPLOAD;
    const struct exec_request request = {.argv = argv.argv,
                                         .env = none,
                                         .cwd = "/",
                                         .uid = upload ? SPEC_UID_NOBODY : p->scratch.process.uid,
                                         .gid = upload ? SPEC_UID_NOBODY : p->scratch.process.gid,
                                         .stdin_fd = op->data_in,
                                         .stdout_fd = op->data_out,
                                         .stderr_fd = op->answer_write,
                                         .null_stdout = op->data_out < 0,
                                         .files = true};
    op->number = next_number(seat);
    int r = agent_client_exec(seat->agent, op->number, &request, -1, NULL, &err);
    if (r == -EAGAIN) {
        seat->files_count--;
        work_again(work, inside);
        return;
    }
    if (r < 0) {
        fail(op, &err);
        return;
    }
    op->seat_row = seat->row;
    op->carried = true;
    seat->files_running++;
    trust_more(seat);
    give_away(op);
}

static void inside(struct work *work)
{
    struct operation *op = (struct operation *)work;
    struct err err = {0};
    if (spec_store_read(buf_text(&op->spec), op->spec.length, &work->p->scratch, &err) < 0)
        fail(op, &err);
    else
        send_inside(work);
}

static struct operation *operation_of(struct seat *seat, uint64_t number)
{
    struct operation *op = seat->p->operations;
    while (op && (op->seat_row != seat->row || op->number != number))
        op = op->next;
    return op;
}

static void worker_gone(struct seat *seat, uint64_t number)
{
    agent_client_forget(seat->agent, number);
    if (seat->files_running > 0)
        seat->files_running--;
}

/* Why there is no result, if there is none. */
static void explain(struct operation *op, const struct agent_exit *exit)
{
    const char *name = files_operation_name(op->request.operation), *path = op->request.path;
    if (exit->reason == AGENT_REASON_IDLE_TIMEOUT)
        err_set(&op->why, ERR_UNAVAILABLE, ETIMEDOUT, name, path,
                "Its worker did not move for %d seconds and was ended: a program of the session "
                "stopped it, its disk does not answer, or its data did not come or was not taken. "
                "Look at what is there before you try again.",
                AGENT_FILES_STILL_MS / 1000);
    else if (exit->reason == AGENT_REASON_INTERRUPTED)
        err_set(&op->why, ERR_UNAVAILABLE, ECANCELED, name, path,
                "The session was interrupted meanwhile. Look at what is there before you try "
                "again.");
    else if (exit->reason == AGENT_REASON_OOM)
        err_set(&op->why, ERR_UNAVAILABLE, ENOMEM, name, path,
                "Its worker was ended for want of memory in the session. Try again.");
}

void files_frame(struct seat *seat, const struct agent_frame *frame, const void *payload)
{
    struct operation *op = operation_of(seat, frame->exec);
    if (frame->type == AGENT_FRAME_START_FAILED && op) {
        struct agent_start_failed failed;
        memcpy(&failed, payload, sizeof failed);
        op->never_began = true;
        if (op->request.operation == FILES_UPLOAD && failed.sys == EPERM)
            err_set(&op->why, ERR_INVALID_STATE, EPERM, "upload", op->request.path,
                    "This session has one id only, so nothing in it can be kept from its commands: "
                    "give the user of this berth subordinate ids (/etc/subuid) for sessions to "
                    "come, or write the file (PUT files).");
        else
            err_set(&op->why, ERR_UNAVAILABLE, failed.sys > 0 ? failed.sys : EIO,
                    files_operation_name(op->request.operation), op->request.path,
                    "Its worker could not be started in the session.");
    }
    struct agent_exit exit = {.ended_ns = 1};
    if (frame->type == AGENT_FRAME_EXIT)
        memcpy(&exit, payload, sizeof exit);
    if (frame->type != AGENT_FRAME_EXIT && frame->type != AGENT_FRAME_START_FAILED)
        return;
    if (exit.ended_ns != 0) /* 0: it was killed and has not gone yet; a row of the table follows */
        worker_gone(seat, frame->exec);
    if (!op)
        return;
    if (op->why.code == ERR_NONE)
        explain(op, &exit);
    finish_now(op);
}

void files_told(struct seat *seat, const struct agent_table_row *row)
{
    if (row->state == AGENT_ROW_ENDED)
        worker_gone(seat, row->exec);
    else if (seat->table_left > 0) /* of an older front: it is ended soon (end_strangers) */
        seat->files_running++;
}

void files_over(struct seat *seat)
{
    for (struct operation *op = seat->p->operations, *next; op; op = next) {
        next = op->next;
        if (op->seat_row == seat->row)
            finish_now(op);
    }
}

/* ---- while it does not ----------------------------------------------------------------------- */

static void on_files(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct operation *op = data;
    struct err why;
    op->waits_launcher = false;
    int r = launcher_result(reply, err, &why);
    if (r < 0 && op->why.code == ERR_NONE)
        op->why = why;
    /* One that was killed may hold its end of the pipe, if its disk does not answer. */
    if (r < 0)
        finish_now(op);
    else if (op->ended)
        finish(op);
}

void files_cancel(struct provider *p, int64_t row)
{
    for (struct operation *op = p->operations, *next; op; op = next) {
        next = op->next;
        if (op->row.id == row && op->waits_launcher && !op->has_result)
            launcher_client_cancel(p->launcher, op);
    }
}

static int files_memfd(const struct operation *op, const struct spec *spec, int *ret,
                       struct err *err)
{
    _cleanup_fd_ int fd = memfd_create("berth-files", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r = fd < 0 ? -errno : io_write_full(fd, &op->request, sizeof op->request);
    /* struct launcher_files is the two, one after the other. */
    _Static_assert(offsetof(struct launcher_files, spec) == sizeof(struct files_request),
                   "no hole between request and spec");
    if (r == 0)
        r = spec_write(fd, sizeof op->request, spec);
    if (r == 0 &&
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        r = -errno;
    if (r < 0)
        return err_set(err, ERR_UNAVAILABLE, -r, "hand the file operation over", NULL, NULL);
    *ret = take_fd(&fd);
    return 0;
}

static void outside(struct operation *op)
{
    struct provider *p = op->call.work.p;
    _cleanup_fd_ int memfd = -1;
    struct err err = {0};
    struct launcher_request request =
        launcher_request_for(p, LAUNCHER_FILES, op->row.id, op->row.incarnation);
    request.read_only = op->row.state == SESSION_ARCHIVED;
    int r = spec_store_read(buf_text(&op->spec), op->spec.length, &p->scratch, &err);
    if (r == 0)
        r = files_memfd(op, &p->scratch, &memfd, &err);
    if (r == 0) {
        int fds[LAUNCHER_FDS_MAX] = {memfd, op->answer_write}, data = op->data_in, n = 2;
        if (data < 0)
            data = op->data_out;
        if (data >= 0)
            fds[n++] = data;
        if (op->client_socket >= 0)
            fds[n++] = op->client_socket;
        op->waits_launcher = true;
        r = provider_ask(p, &request, fds, (unsigned)n, on_files, op, &err);
        op->waits_launcher = op->carried = r >= 0;
    }
    if (r < 0)
        fail(op, &err);
    else
        give_away(op);
}

/* ---- the call -------------------------------------------------------------------------------- */

static int find_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct operation *op = (struct operation *)work;
    buf_fini(&op->spec);
    int r = ledger_session_find(tx, op->call.workspace_id, op->call.session_id, &op->row, err);
    return r == 0 ? ledger_session_spec(tx, op->row.id, &op->spec, err) : r;
}

static void found(struct work *work);

static void find(struct work *work)
{
    work_job(work, LEDGER_OP_READ, find_apply, found);
}

/* A verb is under way: what it makes of a session that does not run is not known yet, and nothing
 * is written beneath one that begins to. */
static bool is_changing(const struct operation *op)
{
    const struct seat *seat = seat_find(op->call.work.p, op->row.id);
    return op->row.state != SESSION_RUNNING && seat && seat->holder;
}

static void found(struct work *work)
{
    struct operation *op = (struct operation *)work;
    struct err err = {0};
    int r = work->job.result < 0 ? work->job.result : 0;
    if (r < 0)
        err = work->job.err;
    else if (work->job.result > 0)
        r = no_session(&op->call, &err);
    else if (!session_transition(op->row.state, event_of(op))->allowed)
        r = session_refuse(op->row.state, event_of(op), op->call.session_id, &err);
    if (r == 0 && is_changing(op)) {
        if (work->tries < CHANGING_TRIES) {
            work_again(work, find);
            return;
        }
        r = err_set(&err, ERR_UNAVAILABLE, EAGAIN, files_operation_name(op->request.operation),
                    op->request.path, "The session is being changed. Try again.");
    }
    if (r == 0)
        r = open_answer(op, &err);
    if (r < 0) {
        fail(op, &err);
        return;
    }
    op->next = work->p->operations;
    work->p->operations = op;
    if (op->row.state == SESSION_RUNNING)
        inside(work);
    else
        outside(op);
}

static void begin(struct call *call)
{
    struct operation *op = (struct operation *)call;
    if (call->refusal.code != ERR_NONE)
        fail(op, &call->refusal);
    else
        find(&call->work);
}

void provider_files(struct provider *p, const struct provider_call *from,
                    const struct provider_files *files,
                    void (*done)(void *data, const struct provider_files_reply *reply), void *data)
{
    struct provider_call plain = *from;
    plain.key = NULL; /* files have no idempotency: each of them can be repeated */
    plain.reply = NULL;
    struct operation *op = call_new(
        p, &plain, sizeof *op, files_record_name(files->request->operation), begin, operation_fini);
    struct err err;
    if (!op) {
        fd_close(files->data_in);
        fd_close(files->data_out);
        err_set(&err, ERR_UNAVAILABLE, ENOMEM, "serve the request", NULL, "Out of memory.");
        done(data, &(struct provider_files_reply){.err = &err});
        return;
    }
    op->call.told = told;
    op->call.forget = forget;
    op->request = *files->request;
    op->data_in = files->data_in;
    op->data_out = files->data_out;
    op->begun = files->begun;
    op->done = done;
    op->done_data = data;
    op->answer_read = op->answer_write = -1;
    op->client_socket =
        files->client_socket > 0 ? fcntl(files->client_socket, F_DUPFD_CLOEXEC, 3) : -1;
    const char *wrong = files_request_check(&op->request);
    call_check_ids(&op->call, false, &op->call.refusal);
    if (wrong)
        err_set(&op->call.refusal, ERR_INVALID_REQUEST, 0, "read the request", "path", "%s.",
                wrong);
}
