/* This file hands a copy of the ledger to who asks for one; it never reads it. */
#include "provider/provider_internal.h"
#include "runtime/base/fd.h"

#include <stdlib.h>

struct backup_call {
    struct call call; /* first */
    struct ledger_backup backup;
};

static void fini(struct call *call)
{
    struct backup_call *own = (struct backup_call *)call;
    fd_closep(&own->backup.fd);
}

static void done(struct ledger_job *job)
{
    struct backup_call *own = job->data;
    struct call *call = &own->call;
    struct provider_reply reply = {.status = 200, .file = own->backup.fd};
    if (job->result < 0) {
        call_fail(call, &job->err, &(struct document_problem){.retry_after_s = 1});
    } else if (call->reply) {
        own->backup.fd = -1;
        call->reply(call->data, &reply);
        call->reply = NULL;
    }
    call_free(call);
}

static void begin(struct call *call)
{
    struct backup_call *own = (struct backup_call *)call;
    struct err err = {0};
    own->backup.job.done = done;
    own->backup.job.data = own;
    if (ledger_backup(call->work.p->ledger, &own->backup, &err) < 0) {
        call_fail(call, &err, &(struct document_problem){.retry_after_s = 1});
        call_free(call);
    }
}

void provider_ledger_backup(struct provider *p, const struct provider_call *from)
{
    struct backup_call *own = call_new(p, from, sizeof *own, NULL, begin, fini);
    if (own)
        own->backup.fd = -1;
}
