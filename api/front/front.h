/* This file is what the parts of front share: the objects of the process, and one call of a client
 * from its request to its answer; it never meets a right of the host (rights.h gave them up before
 * the first byte of a client was read).
 *
 * A call is made for each exchange and lives in its memory. What an operation holds beyond that (a
 * follower, a pipe, a watch) it frees in `release`, which runs once, before the exchange ends, also
 * when the client has gone. A client that leaves cancels nothing (EXEC-5): provider_forget().
 *
 * Unprivileged, the loop's thread.
 */
#pragma once

#include "api/http/operations.h"
#include "api/http/server.h"
#include "policy/policy.h"
#include "provider/provider.h"
#include "runtime/link/loop.h"

/* How requests end: 2xx, 4xx, 5xx, and the client left before. */
enum { FRONT_OUTCOMES = 4 };

struct front {
    struct loop *loop;
    struct provider *provider;
    const struct serve_config *config;
    const struct capability_set *capabilities;
    const struct policy *ceiling; /* NULL: none */
    const struct server *server;  /* whose connections are counted; NULL: none yet */
    int status;                   /* SERVE_FD_STATUS; 0: none */
    struct front_metrics {
        uint64_t requests[ROUTE_COUNT + 1][FRONT_OUTCOMES]; /* the last row: no route */
        uint64_t problems[ERR_CODE_COUNT];
    } metrics;
    uint64_t spooled_bytes;   /* of writes whose length was not said, all together */
    struct file_call *spools; /* those writes */
};

/* What the HTTP layer asks of us. `front` is borrowed. */
void front_operations(struct front *front, struct http_operations *ret);

struct front_call {
    struct front *front;
    struct exchange *x;
    struct provider_call provider; /* `data` is this call */
    struct idempotency_request key;
    char who[SPEC_ID_MAX + 8], session_id[SPEC_ID_MAX + 8];
    char policy[65];         /* whose hash the token of who asks is bound to; "": to none */
    char body_hash[65 + 65]; /* with a key: and that hash, so that it is another request's */
    bool waiting;            /* the provider will call back */

    void (*room)(struct front_call *call);
    void (*body_end)(struct front_call *call, enum exchange_body how, uint64_t bytes);
    void (*release)(struct front_call *call);
    void *own; /* the operation's, in the exchange's memory */
};

/* NULL when memory was short: then the client has its answer. */
struct front_call *front_call_new(struct front *front, struct exchange *x);

/* Zeroed, as long as the exchange. NULL: out of memory, and the call has been refused. */
void *front_call_memory(struct front_call *call, size_t size);

/* For the provider: marks the call as waiting. `reply` NULL: what comes is the answer. */
const struct provider_call *front_call_ask(struct front_call *call,
                                           void (*reply)(void *data, struct provider_reply *reply));

/* ---- ends: the call is gone afterwards ------------------------------------------------------- */

void front_call_reply(struct front_call *call, struct provider_reply *reply);
void front_call_answer(struct front_call *call, int status, struct buf *document);
void front_call_refuse(struct front_call *call, const struct err *err, const char *pointer);
void front_call_refuse_missing(struct front_call *call, const struct err *err,
                               const struct capability_mask *missing);
/* P-7: the client's socket, from which the launcher reads who asks; still the connection's. -1:
 * rootless, where there is one user, and when the client has gone. */
int front_call_asker(const struct front_call *call);
void front_call_refuse_state(struct front_call *call, const struct err *err, uint32_t allowed);
/* Stops what the provider and the operation still do, and gives the exchange to who ends it. */
struct exchange *front_call_finish(struct front_call *call);
void front_call_gone(struct front_call *call);

/* ---- what a request says --------------------------------------------------------------------- */

const char *front_call_text(const struct front_call *call, const char *name); /* or NULL */
uint64_t front_call_number(const struct front_call *call, const char *name, uint64_t otherwise);
bool front_call_flag(const struct front_call *call, const char *name);

/* Query parameters. 0, or -EINVAL with the call refused. */
int front_call_query_number(struct front_call *call, const char *name, uint64_t min, uint64_t max,
                            uint64_t *ret_value);
int front_call_query_flag(struct front_call *call, const char *name, bool *ret_value);

/* ---- who asks (tokens.c) -----------------------------------------------------------------------
 */

/* May this token do that? 0, or negative with `err`. */
int front_token_authorize(const struct front *front, const struct exchange_request *request,
                          struct err *err);
/* "uid 1000", "token t-…": for the audit. */
void front_who(const struct front *front, const struct exchange_request *request, char *ret,
               size_t size);
/* Whose is what he makes, when he does not say it: "uid-1000", or the token's id. */
void front_owner(const struct front *front, const struct exchange_request *request, char *ret,
                 size_t size);

/* ---- what he may not go beyond (authority.c)
 * ---------------------------------------------------- */

#define FRONT_TOKEN_POLICY "the token's policy"

/* The text of the policy that his token is bound to; NULL: to none. Valid for this turn. */
const char *front_token_policy(const struct front *front, const struct exchange_request *request);
/* Can that be read? 0; negative: then nothing is allowed. */
int front_token_policy_check(const struct front_call *call, struct err *err);
/* POL-2: within the operator's ceiling, and the token's policy? 0; or negative with `err`. */
int front_within(const struct front_call *call, const struct policy *policy, struct err *err);
int front_network_within(const struct front_call *call, const struct policy *policy,
                         struct err *err);
/* The same of what the body of a command asks for by itself; `err` has all that is not. */
int front_exec_within(const struct front_call *call, struct err *err);

/* metrics.c */
void front_metrics_served(struct front *front, const struct http_served *served);
void metrics_handle(struct front_call *call);

void ledger_backup_handle(struct front_call *call); /* ledger.c */

void token_create_handle(struct front_call *call);
void token_list_handle(struct front_call *call);
void token_revoke_handle(struct front_call *call);

/* ---- handlers, one for each route ------------------------------------------------------------ */

void session_create_handle(struct front_call *call);
void session_list_handle(struct front_call *call);
void session_destroy_handle(struct front_call *call);
void session_park_handle(struct front_call *call);
void session_resume_handle(struct front_call *call);
void session_interrupt_handle(struct front_call *call);
void session_archive_handle(struct front_call *call);
void session_network_handle(struct front_call *call);
void session_publish_handle(struct front_call *call);

void exec_start_handle(struct front_call *call);
void exec_list_handle(struct front_call *call);
void exec_get_handle(struct front_call *call);
void exec_signal_handle(struct front_call *call);
void exec_resize_handle(struct front_call *call);
void exec_stdin_handle(struct front_call *call);

void stream_events_handle(struct front_call *call);
void stream_output_handle(struct front_call *call);
/* What answers a start whose client wants events: the exec's document, then its output. `data` is
 * the call. */
void stream_start_reply(void *data, struct provider_reply *reply);

void file_read_handle(struct front_call *call);
void file_stat_handle(struct front_call *call);
void file_write_handle(struct front_call *call);
void file_remove_handle(struct front_call *call);
void files_mkdir_handle(struct front_call *call);
void files_move_handle(struct front_call *call);
void files_chmod_handle(struct front_call *call);
void files_list_handle(struct front_call *call);
void tar_read_handle(struct front_call *call);
void tar_write_handle(struct front_call *call);
void upload_handle(struct front_call *call);
void collect_handle(struct front_call *call);
void files_watch_handle(struct front_call *call);

/* 0, or refused: a rule opens a port of the host that the operator has not, or one that he has is
 * to be published. */
int front_check_door(struct front_call *call, const struct spec_network *net, const char *pointer,
                     const char *publish_pointer);
/* The page of a list: after, state, owner, label, limit. -EINVAL: refused. */
int front_call_page(struct front_call *call, struct provider_page *ret);
