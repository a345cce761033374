/* This file answers GET /v1/ledger with a copy of the ledger; it never looks into it. */
#include "api/front/front.h"

#include "runtime/base/fd.h"

#include <errno.h>
#include <sys/stat.h>

static void on_copy(void *data, struct provider_reply *reply)
{
    struct front_call *call = data;
    struct stat st;
    struct err err;
    if (reply->status != 200) {
        front_call_reply(call, reply);
        return;
    }
    _cleanup_fd_ int fd = reply->file;
    call->waiting = false;
    if (fstat(fd, &st) < 0) {
        err_set(&err, ERR_INTERNAL, errno, "copy the ledger", NULL, NULL);
        front_call_refuse(call, &err, NULL);
        return;
    }
    struct exchange_file answer = {
        .fd = take_fd(&fd), .has_length = true, .length = (uint64_t)st.st_size};
    exchange_answer_file(front_call_finish(call), &answer);
}

void ledger_backup_handle(struct front_call *call)
{
    provider_ledger_backup(call->front->provider, front_call_ask(call, on_copy));
}
