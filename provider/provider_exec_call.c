/* This file answers calls about commands that were accepted: get, list, wait, signal, resize,
 * cancel, standard input. It never starts one.
 */
#include "provider/provider_exec.h"
#include "runtime/base/units.h"
#include "runtime/link/spool_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>

enum { PAGE = 64 };

static void exec_call_fini(struct call *call)
{
    buf_fini(&((struct exec_call *)call)->command);
}

/* What the spool knows and the row does not. */
static void add_document(struct provider *p, struct buf *out, const struct exec_row *row,
                         const struct call *call, const char *command)
{
    struct spool_status status = {0};
    struct err err;
    _cleanup_fd_ int fd = spool_open(p, row->session, row->id);
    if (fd < 0 || spool_status(fd, &status, &err) < 0)
        status = (struct spool_status){0}; /* dropped, or not begun */
    document_exec(out, &(struct document_exec){.row = row,
                                               .workspace_id = call->workspace_id,
                                               .session_id = call->session_id,
                                               .command = command,
                                               .last_seq = status.last_seq,
                                               .output_bytes = status.output_bytes});
}

static int no_exec(const struct call *call, struct err *err)
{
    return err_set(err, ERR_NOT_FOUND, ENOENT, "find the command", call->exec_id,
                   "There is no such command in this session.");
}

/* ---- one ------------------------------------------------------------------------------------- */

static int find_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct exec_call *call = (struct exec_call *)work;
    int r = ledger_exec_find(tx, call->call.workspace_id, call->call.session_id, call->call.exec_id,
                             &call->row, err);
    buf_fini(&call->command);
    if (r == 0)
        r = ledger_exec_command(tx, call->row.id, &call->command, err);
    return r;
}

static void fail(struct exec_call *call)
{
    struct err err;
    struct work *work = &call->call.work;
    if (work->job.result > 0 && call->replayed) { /* it is kept no longer; its acceptance is */
        call_replay(&call->call, call->replay_status, &call->replay);
        call_free(&call->call);
        return;
    }
    if (work->job.result > 0) {
        no_exec(&call->call, &err);
        call_refuse(&call->call, &err, NULL);
        return;
    }
    call_fail(&call->call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
    call_free(&call->call);
}

static void tell(struct exec_call *call)
{
    struct buf document = {0};
    add_document(call->call.work.p, &document, &call->row, &call->call, buf_text(&call->command));
    buf_putc(&document, '\n');
    if (call->replayed)
        call_replay(&call->call, call->status, &document);
    else
        call_answer(&call->call, call->status ? call->status : 200, &document);
    call_free(&call->call);
}

static struct exec *in_memory(const struct exec_call *call)
{
    struct seat *seat = seat_find(call->call.work.p, call->row.session);
    return seat ? exec_find(seat, call->row.ord) : NULL;
}

static void found(struct work *work)
{
    struct exec_call *call = (struct exec_call *)work;
    if (work->job.result != 0) {
        fail(call);
        return;
    }
    struct exec *exec = call->row.state == EXEC_ENDED ? NULL : in_memory(call);
    if (call->wait_ms > 0 && !call->waited && exec)
        exec_wait(call, exec);
    else
        tell(call);
}

void exec_answer(struct exec_call *call)
{
    work_job(&call->call.work, LEDGER_OP_READ, find_apply, found);
}

void exec_answer_with(struct exec_call *call, const struct exec_row *row, const char *command)
{
    call->row = *row;
    buf_fini(&call->command);
    buf_puts(&call->command, command);
    tell(call);
}

static void waited_enough(struct work *work)
{
    struct exec_call *call = (struct exec_call *)work;
    struct exec_call **at = &call->waits->waiters;
    while (*at != call)
        at = &(*at)->next_waiter;
    *at = call->next_waiter;
    call->waits = NULL;
    call->waited = true;
    work_rest(work, false);
    exec_answer(call);
}

void exec_wait(struct exec_call *call, struct exec *exec)
{
    struct work *work = &call->call.work;
    call->waits = exec;
    call->next_waiter = exec->waiters;
    exec->waiters = call;
    work_rest(work, true);
    work_later(work, call->wait_ms, waited_enough);
}

static void begin_get(struct call *call)
{
    struct err err = {0};
    if (call_check_ids(call, true, &err) < 0)
        call_refuse(call, &err, NULL);
    else
        exec_answer((struct exec_call *)call);
}

void provider_exec_get(struct provider *p, const struct provider_call *from, uint64_t wait_ms)
{
    struct exec_call *call = call_new(p, from, sizeof *call, "", begin_get, exec_call_fini);
    if (call)
        call->wait_ms = wait_ms;
}

/* ---- a list ---------------------------------------------------------------------------------- */

struct exec_list {
    struct call call; /* first */
    char after_id[LEDGER_ID_SIZE];
    enum exec_page which;
    unsigned limit;
    size_t count;
    bool more;
    struct exec_row rows[PAGE];
    struct buf commands[PAGE];
};

static void list_fini(struct call *call)
{
    struct exec_list *list = (struct exec_list *)call;
    for (size_t i = 0; i < PAGE; i++)
        buf_fini(&list->commands[i]);
}

static int list_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct exec_list *list = (struct exec_list *)work;
    struct call *call = &list->call;
    struct session_row session;
    struct exec_row after = {0};
    int r = ledger_session_find(tx, call->workspace_id, call->session_id, &session, err);
    if (r == 0 && list->after_id[0])
        r = ledger_exec_find(tx, call->workspace_id, call->session_id, list->after_id, &after, err);
    if (r == 0)
        r = ledger_exec_page(tx, session.id, after.ord, list->which, list->rows, list->limit,
                             &list->count, err);
    for (size_t i = 0; r == 0 && i < list->count; i++) {
        buf_fini(&list->commands[i]);
        r = ledger_exec_command(tx, list->rows[i].id, &list->commands[i], err);
    }
    return r;
}

static void listed(struct work *work)
{
    struct exec_list *list = (struct exec_list *)work;
    struct call *call = &list->call;
    struct err err;
    struct buf document = {0};
    if (work->job.result > 0) {
        no_session(call, &err);
        call_refuse(call, &err, NULL);
        return;
    }
    if (work->job.result < 0) {
        call_fail(call, &work->job.err, &(struct document_problem){.retry_after_s = 1});
        call_free(call);
        return;
    }
    buf_puts(&document, "{\"execs\":[");
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0)
            buf_putc(&document, ',');
        add_document(work->p, &document, &list->rows[i], call, buf_text(&list->commands[i]));
    }
    buf_puts(&document, "],\"next\":");
    document_text(&document,
                  list->count == list->limit ? list->rows[list->count - 1].exec_id : NULL);
    buf_puts(&document, "}\n");
    call_answer(call, 200, &document);
    call_free(call);
}

static void begin_list(struct call *call)
{
    struct err err = {0};
    if (call->refusal.code != ERR_NONE)
        call_refuse(call, &call->refusal, NULL);
    else if (call_check_ids(call, false, &err) < 0)
        call_refuse(call, &err, NULL);
    else
        work_job(&call->work, LEDGER_OP_READ, list_apply, listed);
}

void provider_exec_list(struct provider *p, const struct provider_call *from,
                        const struct provider_page *page)
{
    struct exec_list *list = call_new(p, from, sizeof *list, "", begin_list, list_fini);
    if (!list)
        return;
    list->limit = page_limit(page->limit) < PAGE ? page_limit(page->limit) : (unsigned)PAGE;
    snprintf(list->after_id, sizeof list->after_id, "%s", page->after ? page->after : "");
    if (page->state && strcmp(page->state, "running") == 0)
        list->which = EXEC_PAGE_LIVE;
    else if (page->state && strcmp(page->state, "ended") == 0)
        list->which = EXEC_PAGE_ENDED;
    else if (page->state && page->state[0])
        err_set(&list->call.refusal, ERR_INVALID_REQUEST, 0, "read the request", "state",
                "Must be running or ended.");
    if (list->after_id[0] && !id_valid(list->after_id))
        err_set(&list->call.refusal, ERR_INVALID_REQUEST, 0, "read the request", "after",
                "An id has 1 to 64 of A-Z a-z 0-9 _ . - and begins with a letter or digit.");
}

/* ---- what is done to a command --------------------------------------------------------------- */

static int to_init(struct exec_call *call, struct exec *exec)
{
    struct agent_client *agent = exec->seat->agent;
    switch (call->control) {
    case EXEC_SIGNAL:
        return agent_client_signal(agent, exec->number, call->signo,
                                   call->tree ? AGENT_SCOPE_TREE : AGENT_SCOPE_MAIN);
    case EXEC_RESIZE:
        return agent_client_resize(agent, exec->number, call->rows, call->cols);
    case EXEC_CANCEL:
        return agent_client_kill(agent, exec->number, AGENT_REASON_CANCELLED);
    case EXEC_CLOSE_STDIN:
        fd_closep(&exec->stdin_write);
        return agent_client_close_stdin(agent, exec->number);
    }
    return -EINVAL;
}

static void refuse_ended(struct exec_call *call)
{
    struct err err;
    err_set(&err, ERR_INVALID_STATE, ESRCH, call->call.what, call->call.exec_id,
            "The command has ended.");
    call_refuse(&call->call, &err, NULL);
}

/* Children that it keeps are still of it (EXEC-3): they can be ended, and signalled as a tree. */
static int to_children(const struct exec_call *call)
{
    const struct seat *seat = seat_find(call->call.work.p, call->row.session);
    uint64_t number = number_of_order(call->row.ord);
    if (!seat || !seat->agent || !background_has(seat, number))
        return -ESRCH;
    if (call->control == EXEC_CANCEL)
        return agent_client_kill(seat->agent, number, AGENT_REASON_CANCELLED);
    if (call->control == EXEC_SIGNAL && call->tree)
        return agent_client_signal(seat->agent, number, call->signo, AGENT_SCOPE_TREE);
    return -ESRCH;
}

static void control_again(struct work *work);

static void control_found(struct work *work)
{
    struct exec_call *call = (struct exec_call *)work;
    if (work->job.result != 0) {
        fail(call);
        return;
    }
    struct exec *exec = in_memory(call);
    bool ended = call->row.state == EXEC_ENDED;
    if (!ended && (!exec || !exec->seat->agent)) {
        refuse_ended(call);
        return;
    }
    if (!ended && exec->start && call->control == EXEC_CANCEL && !exec->ending) {
        struct err err;
        err_set(&err, ERR_INVALID_STATE, ECANCELED, "start the command", call->call.exec_id,
                "It was cancelled before it began.");
        exec_not_sent(exec, "cancelled", &err);
        tell(call);
        return;
    }
    int r = ended ? to_children(call) : exec->start ? -EAGAIN : to_init(call, exec);
    if (r == -EAGAIN)
        work_again(work, control_again);
    else if (r < 0)
        refuse_ended(call);
    else
        tell(call);
}

static void control_again(struct work *work)
{
    work_job(work, LEDGER_OP_READ, find_apply, control_found);
}

static void begin_control(struct call *call)
{
    struct err err = {0};
    if (call_check_ids(call, true, &err) < 0)
        call_refuse(call, &err, NULL);
    else
        control_again(&call->work);
}

static struct exec_call *control(struct provider *p, const struct provider_call *from,
                                 enum exec_control what)
{
    static const char *const names[] = {[EXEC_SIGNAL] = "signal",
                                        [EXEC_RESIZE] = "resize",
                                        [EXEC_CANCEL] = "cancel",
                                        [EXEC_CLOSE_STDIN] = "close_stdin"};
    struct exec_call *call =
        call_new(p, from, sizeof *call, names[what], begin_control, exec_call_fini);
    if (call)
        call->control = what;
    return call;
}

void provider_exec_signal(struct provider *p, const struct provider_call *from, int signo,
                          bool tree)
{
    struct exec_call *call = control(p, from, EXEC_SIGNAL);
    if (!call)
        return;
    call->signo = signo;
    call->tree = tree;
}

void provider_exec_resize(struct provider *p, const struct provider_call *from, uint16_t rows,
                          uint16_t cols)
{
    struct exec_call *call = control(p, from, EXEC_RESIZE);
    if (!call)
        return;
    call->rows = rows;
    call->cols = cols;
}

void provider_exec_cancel(struct provider *p, const struct provider_call *from)
{
    control(p, from, EXEC_CANCEL);
}

void provider_exec_close_stdin(struct provider *p, const struct provider_call *from)
{
    control(p, from, EXEC_CLOSE_STDIN);
}

/* ---- standard input -------------------------------------------------------------------------- */

/* Only what is in memory has an input; names are looked at here, without the ledger. */
static struct exec *exec_named(struct provider *p, const struct provider_call *from)
{
    for (unsigned i = 0; i < SEAT_HASH; i++)
        for (struct seat *seat = p->seats[i]; seat; seat = seat->next) {
            if (strcmp(seat->session_id, from->session_id ? from->session_id : "") != 0 ||
                strcmp(seat->workspace_id, from->workspace_id ? from->workspace_id : "") != 0 ||
                (from->policy && strcmp(seat->policy, from->policy) != 0))
                continue;
            for (struct exec *exec = seat->execs; exec; exec = exec->next)
                if (strcmp(exec->exec_id, from->exec_id ? from->exec_id : "") == 0)
                    return exec;
        }
    return NULL;
}

static int check_stdin(const struct exec *exec, uint64_t offset, struct err *err)
{
    static const char step[] = "write to standard input";
    const char *name = exec->exec_id;
    if (exec->attach != ATTACH_NONE)
        return err_set(err, ERR_UNAVAILABLE, EAGAIN, step, name,
                       exec->attach == ATTACH_BUSY
                           ? "berth was restarted, and the command has not read yet what it was "
                             "sent before. Try again."
                           : "berth was restarted, and the command is being connected. Try again.");
    if (exec->stdin_write < 0)
        return err_set(err, ERR_INVALID_STATE, EBADF, step, name,
                       "It has none: it was closed, or not asked for (\"stdin\": \"pipe\").");
    if (exec->stdin_busy)
        return err_set(err, ERR_IN_PROGRESS, EBUSY, step, name,
                       "Another request writes to it. One does at a time: wait for its end.");
    if (offset != UINT64_MAX && offset != exec->stdin_bytes)
        return err_set(err, ERR_PRECONDITION_FAILED, ESPIPE, step, name,
                       "%" PRIu64 " bytes went into it before, and not %" PRIu64
                       ". Send what follows them.",
                       exec->stdin_bytes, offset);
    return 0;
}

int provider_exec_stdin(struct provider *p, const struct provider_call *from, uint64_t offset,
                        int *ret_pipe, uint64_t *ret_offset, struct err *err)
{
    struct exec *exec = exec_named(p, from);
    if (!exec && p->recovering)
        return err_set(err, ERR_UNAVAILABLE, EAGAIN, "write to standard input",
                       from->exec_id ? from->exec_id : "",
                       "berth was restarted and looks at what there is. Try again.");
    if (!exec)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "write to standard input",
                       from->exec_id ? from->exec_id : "", "There is no such command running.");
    if (exec->attach == ATTACH_BUSY) { /* it may have read meanwhile */
        exec->attach = ATTACH_WANTED;
        execs_send(exec->seat);
    }
    int r = check_stdin(exec, offset, err);
    if (r < 0)
        return r;
    int fd = fcntl(exec->stdin_write, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "write to standard input", exec->exec_id, NULL);
    exec->stdin_busy = true;
    *ret_pipe = fd;
    *ret_offset = exec->stdin_bytes;
    return 0;
}

void provider_exec_stdin_end(struct provider *p, const struct provider_call *from, uint64_t bytes)
{
    struct exec *exec = exec_named(p, from);
    if (!exec)
        return;
    exec->stdin_busy = false;
    exec->stdin_bytes += bytes;
}
