/* This file says which ports of the host lead into a session: as the launcher finds them when it is
 * asked, and never as anybody remembers them.
 */
#include "provider/provider_internal.h"

struct ports_call {
    struct call call; /* first */
    struct session_row row;
};

static int find_apply(struct ledger_tx *tx, struct work *work, struct err *err)
{
    struct ports_call *call = (struct ports_call *)work;
    return ledger_session_find(tx, call->call.workspace_id, call->call.session_id, &call->row, err);
}

static void tell(struct ports_call *call, const struct launcher_published *published)
{
    struct buf document = {0};
    document_ports(&document, published);
    buf_putc(&document, '\n');
    call_answer(&call->call, 200, &document);
    call_free(&call->call);
}

static void fail(struct ports_call *call, const struct err *err)
{
    call_fail(&call->call, err, &(struct document_problem){.retry_after_s = 1});
    call_free(&call->call);
}

static void on_ports(void *data, const struct launcher_reply *reply, const struct err *err)
{
    struct ports_call *call = data;
    struct err why;
    if (launcher_result(reply, err, &why) < 0)
        fail(call, &why);
    else
        tell(call, &reply->network.published);
}

static void found(struct work *work)
{
    struct ports_call *call = (struct ports_call *)work;
    struct err err = {0};
    if (work->job.result > 0) {
        no_session(&call->call, &err);
        call_refuse(&call->call, &err, NULL);
        return;
    }
    if (work->job.result < 0) {
        fail(call, &work->job.err);
        return;
    }
    const struct seat *seat = seat_find(work->p, call->row.id);
    struct launcher_request request =
        launcher_request_for(work->p, LAUNCHER_PORTS, call->row.id, call->row.incarnation);
    if (!seat || !seat->agent || seat->ending)
        tell(call, &(struct launcher_published){.count = 0});
    else if (provider_ask(work->p, &request, NULL, 0, on_ports, call, &err) < 0)
        fail(call, &err);
}

static void begin(struct call *call)
{
    struct err err = {0};
    if (call_check_ids(call, false, &err) < 0)
        call_refuse(call, &err, NULL);
    else
        work_job(&call->work, LEDGER_OP_READ, find_apply, found);
}

void provider_session_ports(struct provider *p, const struct provider_call *from)
{
    call_new(p, from, sizeof(struct ports_call), "", begin, NULL);
}
