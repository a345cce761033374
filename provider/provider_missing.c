/* This file refuses what is not built yet, in a sentence; it never pretends. */
#include "provider/provider_internal.h"
#include <errno.h>
static void begin_missing(struct call *call)
{
    struct err err;
    err_set(&err, ERR_UNAVAILABLE, ENOSYS, "serve the request", NULL,
            "This verb is not built yet.");
    call_refuse(call, &err, NULL);
}
static void missing(struct provider *p, const struct provider_call *call)
{
    call_new(p, call, sizeof(struct call), "", begin_missing, NULL);
}
void files_frame(struct seat *seat, const struct agent_frame *frame, const void *payload)
{
    (void)seat;
    (void)frame;
    (void)payload;
}
void provider_files(struct provider *p, const struct provider_call *call,
                    const struct provider_files *files,
                    void (*done)(void *data, const struct provider_files_reply *reply), void *data)
{
    struct err err;
    (void)p;
    (void)call;
    err_set(&err, ERR_UNAVAILABLE, ENOSYS, "serve the request", NULL,
            "This verb is not built yet.");
    fd_close(files->data_in);
    fd_close(files->data_out);
    done(data, &(struct provider_files_reply){.err = &err});
}
void provider_volume_create(struct provider *p, const struct provider_call *call, const char *name,
                            const char *owner)
{
    (void)name;
    (void)owner;
    missing(p, call);
}
void provider_volume_get(struct provider *p, const struct provider_call *call, const char *name)
{
    (void)name;
    missing(p, call);
}
void provider_volume_list(struct provider *p, const struct provider_call *call,
                          const struct provider_page *page)
{
    (void)page;
    missing(p, call);
}
void provider_volume_remove(struct provider *p, const struct provider_call *call, const char *name)
{
    (void)name;
    missing(p, call);
}
void provider_resources(struct provider *p, const struct provider_call *call, const char *owner)
{
    (void)owner;
    missing(p, call);
}
void provider_reap(struct provider *p, const struct provider_call *call, const char *owner,
                   uint64_t older_than_ms, bool dry_run)
{
    (void)owner;
    (void)older_than_ms;
    (void)dry_run;
    missing(p, call);
}
void provider_health(struct provider *p, const struct provider_call *call)
{
    missing(p, call);
}
