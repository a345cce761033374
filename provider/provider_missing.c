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
void exec_frame(struct seat *seat, const struct agent_frame *frame, const void *payload)
{
    (void)seat;
    (void)frame;
    (void)payload;
}
void files_frame(struct seat *seat, const struct agent_frame *frame, const void *payload)
{
    (void)seat;
    (void)frame;
    (void)payload;
}
void execs_send(struct seat *seat)
{
    (void)seat;
}
void execs_free(struct seat *seat)
{
    (void)seat;
}
void seat_execs_over(struct seat *seat)
{
    (void)seat;
}
void execs_interrupt(struct seat *seat, int64_t floor)
{
    (void)seat;
    (void)floor;
}
void exec_adopt(struct seat *seat, const struct exec_row *row, bool kill)
{
    (void)seat;
    (void)row;
    (void)kill;
}
bool number_is_files(uint64_t number)
{
    return (number & 0xffffffffff) != 0;
}
uint64_t number_of_order(int64_t ord)
{
    return (uint64_t)ord << 40;
}
void exec_row_end(struct exec_row *row, const struct agent_exit *exit)
{
    (void)exit;
    (void)row;
}
void exec_event(const struct exec_row *row, char *ret, size_t size)
{
    snprintf(ret, size, "{\"exec_id\": \"%s\"}", row->exec_id);
}
void provider_spool_path(const struct provider *p, char *ret, size_t size, int64_t row,
                         int64_t exec)
{
    int n =
        snprintf(ret, size, "%s/spool/%llx", p->options.config->state_dir, (unsigned long long)row);
    if (exec)
        snprintf(ret + n, size - (size_t)n, "/%llx", (unsigned long long)exec);
}
int timers_open(struct provider *p, struct err *err)
{
    (void)p;
    (void)err;
    return 0;
}
void timers_start(struct provider *p)
{
    (void)p;
}
void timers_look(struct provider *p)
{
    (void)p;
}
void timers_free(struct provider *p)
{
    (void)p;
}
void events_wake(struct provider *p, const char *w, const char *s)
{
    (void)p;
    (void)w;
    (void)s;
}
void followers_free(struct provider *p)
{
    (void)p;
}
void provider_session_usage(struct provider *p, const struct provider_call *call)
{
    missing(p, call);
}
void provider_exec_start(struct provider *p, const struct provider_call *call,
                         const struct provider_exec *exec)
{
    (void)exec;
    missing(p, call);
}
void provider_exec_get(struct provider *p, const struct provider_call *call, uint64_t wait_ms)
{
    (void)wait_ms;
    missing(p, call);
}
void provider_exec_list(struct provider *p, const struct provider_call *call,
                        const struct provider_page *page)
{
    (void)page;
    missing(p, call);
}
void provider_exec_signal(struct provider *p, const struct provider_call *call, int signo,
                          bool tree)
{
    (void)signo;
    (void)tree;
    missing(p, call);
}
void provider_exec_resize(struct provider *p, const struct provider_call *call, uint16_t rows,
                          uint16_t cols)
{
    (void)rows;
    (void)cols;
    missing(p, call);
}
void provider_exec_cancel(struct provider *p, const struct provider_call *call)
{
    missing(p, call);
}
void provider_exec_close_stdin(struct provider *p, const struct provider_call *call)
{
    missing(p, call);
}
int provider_exec_stdin(struct provider *p, const struct provider_call *call, int *ret_pipe,
                        struct err *err)
{
    (void)p;
    (void)call;
    (void)ret_pipe;
    return err_set(err, ERR_UNAVAILABLE, ENOSYS, "serve the request", NULL,
                   "This verb is not built yet.");
}
struct provider_follower *provider_output_follow(struct provider *p,
                                                 const struct provider_call *call,
                                                 const struct provider_follow *follow,
                                                 struct err *err)
{
    (void)p;
    (void)call;
    (void)follow;
    err_set(err, ERR_UNAVAILABLE, ENOSYS, "serve the request", NULL, "This verb is not built yet.");
    return NULL;
}
struct provider_follower *provider_events_follow(struct provider *p,
                                                 const struct provider_call *call,
                                                 const struct provider_follow *follow,
                                                 struct err *err)
{
    (void)p;
    (void)call;
    (void)follow;
    err_set(err, ERR_UNAVAILABLE, ENOSYS, "serve the request", NULL, "This verb is not built yet.");
    return NULL;
}
void provider_follow_more(struct provider_follower *follower)
{
    (void)follower;
}
void provider_follow_stop(struct provider_follower *follower)
{
    (void)follower;
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
