/* This file is the narrow waist between those who speak to clients (api/) and the engine that keeps
 * sessions: one asynchronous call per verb of the contract. It runs in front, in the loop's thread,
 * never blocks, holds no privilege, and is the only owner of the ledger, the launcher's socket and
 * the connections to inits (docs/adr/0012).
 *
 *     provider_open(&p, &options, &err);      // opens the ledger; recovery runs in the loop
 *     provider_session_create(p, &call, &create);
 *     ... call.reply(call.data, &reply) once, later, never from inside the call itself ...
 *     provider_close(p, done, data);          // sessions go on
 *
 * A reply is a whole document, as it was (or will be) stored under the idempotency key: status and
 * JSON, rendered by the provider (provider/document.h) inside the transaction that made it true.
 * docs/api.md has the documents. Everything a call points to is copied.
 */
#pragma once

#include "provider/capability.h"
#include "provider/idempotency.h"
#include "provider/session_state.h"
#include "runtime/base/buf.h"
#include "runtime/files.h"
#include "runtime/serve.h"

struct loop;
struct provider;
struct spool_frame;

struct provider_options {
    struct loop *loop;
    const struct serve_config *config;         /* borrowed, lives as long as the provider */
    const struct capability_set *capabilities; /* borrowed */
    int launcher;                              /* taken */
    int events;                                /* of the gateway; taken; 0 and less: none yet */
    const char *ledger_vfs;                    /* tests */
    void (*recovered)(void *data,
                      const struct err *err); /* when rows and kernel agree; err NULL: ok */
    void (*idle)(void *data, bool idle); /* no session is live and nothing is under way; changes */
    void (*distrusted)(void *data, const char *why); /* the gateway said what none of ours says */
    /* Nobody may use this token any more: it was revoked, or has expired. May be NULL. */
    void (*token_over)(void *data, int64_t token);
    /* Something has happened to files whose row of the audit, or event, is lost. May be NULL. */
    void (*unwritten)(void *data, const struct err *err);
    /* So many rows of the audit went because they were too many. May be NULL. */
    void (*audit_trimmed)(void *data, uint64_t rows);
    void *data;
};

int provider_open(struct provider **ret, const struct provider_options *options, struct err *err);
/* Waits for verbs under way (at most `in_ms`), then closes the ledger and calls `done`. */
void provider_close(struct provider *p, uint64_t in_ms, void (*done)(void *data), void *data);
/* The supervisor has a new launcher. */
void provider_launcher(struct provider *p, int fd);
/* The supervisor has a new gateway, and this is the socket of its events. */
void provider_gateway(struct provider *p, int fd);

/* ---- calls ----------------------------------------------------------------------------------- */

struct provider_reply {
    int status;                     /* HTTP status: the one number that all dialects derive from */
    struct err err;                 /* status >= 400 */
    bool replayed;                  /* a stored answer */
    const char *media_type;         /* "application/json" or "application/problem+json" */
    struct buf document;            /* may be taken (buf_take) */
    const char *pointer;            /* JSON pointer into the request; NULL */
    uint32_t allowed;               /* invalid_state: bits of enum session_event */
    struct capability_mask missing; /* capability_unavailable */
    unsigned retry_after_s;
    int file; /* provider_ledger_backup(): the caller's; 0: none */
};

struct provider_call {
    const char *workspace_id, *session_id, *exec_id; /* as the route has them; NULL */
    const struct idempotency_request *key;           /* NULL: none */
    /* Of the token of who asks: he meets the sessions of this policy alone, and makes such. NULL:
     * he is bound to none. */
    const char *policy;
    const char *who; /* for the audit: "uid 1000", "token t1" */
    void (*reply)(void *data, struct provider_reply *reply); /* once; valid during the call */
    void *data;
};

/* Nobody waits any more for calls with this `data`: the work goes on, reply is not called. */
void provider_forget(struct provider *p, const void *data);

struct provider_create {
    const struct spec *spec; /* compiled, within the ceiling; ids and workspace are filled in */
    const char *owner, *labels_json;
    uint64_t ttl_ms, idle_after_ms;
    bool idle_destroys;
    bool accept_loss;  /* tmpfs and idle park */
    int client_socket; /* the asker's accepted socket (P-7); duplicated; -1: rootless */
};
void provider_session_create(struct provider *p, const struct provider_call *from,
                             const struct provider_create *create);
void provider_session_get(struct provider *p, const struct provider_call *from);
struct provider_page {
    const char *after, *state, *owner, *label; /* NULL: none */
    unsigned limit;
};
void provider_session_list(struct provider *p, const struct provider_call *from,
                           const struct provider_page *page);
struct provider_verb {
    enum session_event verb; /* PARK_STOP, PARK_FREEZE, RESUME, INTERRUPT, ARCHIVE, DESTROY */
    const char *reason;
    bool accept_loss, delete_volume;
    int client_socket; /* resume: as create */
};
void provider_session_verb(struct provider *p, const struct provider_call *from,
                           const struct provider_verb *what);
/* Other rules for the session's network, all of them (NET-6); at once where it lives. */
struct provider_network {
    const struct spec_network *network; /* compiled, within the ceiling */
    uint64_t revision;                  /* 0, or the one that is to be replaced */
};
void provider_session_network(struct provider *p, const struct provider_call *from,
                              const struct provider_network *what);
/* Its rules as they are, and this port beside those that they publish. */
void provider_session_publish(struct provider *p, const struct provider_call *from,
                              const struct spec_publish *port);
void provider_session_usage(struct provider *p, const struct provider_call *from);
/* Published ports as they are now: none where nothing lives. */
void provider_session_ports(struct provider *p, const struct provider_call *from);

/* ---- execs ----------------------------------------------------------------------------------- */

struct provider_exec {
    const char *exec_id;     /* NULL: made */
    const char *const *argv; /* NULL-terminated; or `shell` */
    const char *shell;       /* NULL */
    const char *const *env;  /* "K=V" */
    const char *cwd, *user;  /* NULL: the session's */
    bool stdin_pipe, tty, keep_children, kill_on_limit;
    uint16_t rows, cols;
    uint64_t timeout_ms, idle_timeout_ms, grace_ms; /* UINT64_MAX: the default */
    uint64_t output_limit_bytes;                    /* 0: the session's */
    uint64_t wait_ms; /* answer when it has ended or after this; 0: when accepted */
};
void provider_exec_start(struct provider *p, const struct provider_call *from,
                         const struct provider_exec *exec);
void provider_exec_get(struct provider *p, const struct provider_call *from, uint64_t wait_ms);
void provider_exec_list(struct provider *p, const struct provider_call *from,
                        const struct provider_page *page);
void provider_exec_signal(struct provider *p, const struct provider_call *from, int signo,
                          bool tree);
void provider_exec_resize(struct provider *p, const struct provider_call *from, uint16_t rows,
                          uint16_t cols);
void provider_exec_cancel(struct provider *p, const struct provider_call *from);
void provider_exec_close_stdin(struct provider *p, const struct provider_call *from);
/* The write end of a pipe whose bytes reach the command's standard input: the caller's from then
 * on, and *ret_offset how many bytes went in before. Synchronous: negative with `err` when there is
 * none, or somebody else writes. `offset` (UINT64_MAX: none) must be that number. Closing the pipe
 * does not close the command's input. */
int provider_exec_stdin(struct provider *p, const struct provider_call *from, uint64_t offset,
                        int *ret_pipe, uint64_t *ret_offset, struct err *err);
/* After each of them that gave a pipe: so many bytes went into it. */
void provider_exec_stdin_end(struct provider *p, const struct provider_call *from, uint64_t bytes);

/* ---- streams --------------------------------------------------------------------------------- */

/* A follower of an exec's output or of a session's events. `frame`/`event` give one at a time and
 * return whether it was taken; false: stop, until provider_follow_more(). `end` once, last:
 * err NULL: the stream is complete (exec ended and closed; session.deleted was told). */
struct provider_follow {
    uint64_t after; /* last number that the client has; 0: from the start */
    bool follow;    /* else: end when what is there now was given */
    bool (*frame)(void *data, const struct spool_frame *frame);
    bool (*event)(void *data, uint64_t seq, const char *type, const char *json, size_t length);
    void (*end)(void *data, const struct err *err);
    void *data;
};
struct provider_follower;
/* NULL with `err` filled when out of memory; what else is wrong comes by `end`. */
struct provider_follower *provider_output_follow(struct provider *p,
                                                 const struct provider_call *from,
                                                 const struct provider_follow *follow,
                                                 struct err *err);
struct provider_follower *provider_events_follow(struct provider *p,
                                                 const struct provider_call *from,
                                                 const struct provider_follow *follow,
                                                 struct err *err);
void provider_follow_more(struct provider_follower *follower);
void provider_follow_stop(struct provider_follower *follower); /* `end` is not called */

/* ---- files ----------------------------------------------------------------------------------- */

struct provider_files {
    const struct files_request *request;
    int data_in;  /* read end of a pipe: write, tree_write; taken; -1 */
    int data_out; /* write end of a pipe: read, list, tree_read; taken; -1 */
    /* Before bytes flow: what is read. May be NULL. */
    void (*begun)(void *data, const struct files_begin *begin);
    int client_socket; /* the asker's, for a `directory` workspace that does not run; duplicated; 0
                          and less: none */
};
struct provider_files_reply {
    const struct err *err; /* NULL: done */
    const struct files_result *result;
    uint32_t allowed; /* invalid_state: events of the session, a bit each */
    int64_t session;  /* which life of its name it was; 0: none was found */
};
/* What changes something is in the audit, and an event where much came in, before it is done.
 * `done` once; the reply of `from` is not used, its data is what provider_forget() knows it by. */
void provider_files(struct provider *p, const struct provider_call *from,
                    const struct provider_files *files,
                    void (*done)(void *data, const struct provider_files_reply *reply), void *data);
/* A collection that its caller has found good: into the audit, and an event. The reply is 200 also
 * when that could not be written down: nobody's outputs are kept from him for it. */
struct provider_collected {
    int64_t session; /* of the operation's reply */
    const char *path;
    uint64_t entries, bytes, left_out;
    enum err_code code; /* ERR_NONE; else it was no collection, and is in the audit alone */
};
void provider_collected(struct provider *p, const struct provider_call *from,
                        const struct provider_collected *collected);

/* ---- volumes, resources ---------------------------------------------------------------------- */

void provider_volume_create(struct provider *p, const struct provider_call *from, const char *name,
                            const char *owner);
void provider_volume_get(struct provider *p, const struct provider_call *from, const char *name);
void provider_volume_list(struct provider *p, const struct provider_call *from,
                          const struct provider_page *page);
void provider_volume_remove(struct provider *p, const struct provider_call *from, const char *name);
void provider_resources(struct provider *p, const struct provider_call *from, const char *owner);
void provider_reap(struct provider *p, const struct provider_call *from, const char *owner,
                   uint64_t older_than_ms, bool dry_run);
void provider_health(struct provider *p, const struct provider_call *from);
/* A copy of the ledger as it is at the answer: reply.file. */
void provider_ledger_backup(struct provider *p, const struct provider_call *from);
/* Numbers of all sessions together, in Prometheus' text format. */
void provider_metrics(struct provider *p, const struct provider_call *from);

/* ---- tokens (docs/adr/0015) ------------------------------------------------------------------ */

/* Whose text is this? The number of a token that may be used now, or 0. */
int64_t provider_token_find(struct provider *p, const char *text, size_t length);

struct provider_token {
    const char *token_id, *workspaces, *verbs; /* words, one space between; valid for this turn */
    const char *policy, *policy_hash;          /* that it is bound to, as text; NULL: to none */
    bool over;
};
/* False: there is none with this number any more. */
bool provider_token_get(const struct provider *p, int64_t token, struct provider_token *ret);
bool provider_token_lists(const char *words, const char *word);

struct provider_token_new {
    const char *name, *workspaces, *verbs; /* checked by the caller; name NULL: none */
    const char *policy;                    /* one JSON document, checked; NULL: none */
    uint64_t lives_ms;                     /* 0: until it is revoked */
};
/* The answer has the token's text, once; so it takes no key. */
void provider_token_create(struct provider *p, const struct provider_call *from,
                           const struct provider_token_new *asked);
void provider_token_list(struct provider *p, const struct provider_call *from,
                         const struct provider_page *page);
void provider_token_revoke(struct provider *p, const struct provider_call *from,
                           const char *token_id);
