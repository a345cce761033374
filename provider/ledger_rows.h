/* This file is what stands in the ledger, as plain structs, and the statements that read and write
 * them. Every function runs inside apply() of a job (ledger.h) and never outside.
 *
 * Scope (ID-1): a row id (`int64_t session`, `exec`, …) is only ever obtained from a function that
 * takes the workspace (or, for listing and reaping, the owner); what takes a row id trusts it. The
 * functions of recovery and timers see all workspaces and say so in their name: *_all, *_due.
 *
 * Times are milliseconds: `_ms` since 1970, `_boot_ms` since boot. Texts that are too long for
 * their field are -EINVAL, never cut. 0 done, LEDGER_NOT_FOUND or LEDGER_CONFLICT, or -errno with
 * `err`.
 */
#pragma once

#include "provider/ledger.h"
#include "provider/session_state.h"
#include "runtime/plan/network.h"

#include <stddef.h>

struct buf;

enum ledger_outcome {
    LEDGER_NOT_FOUND = 1,
    LEDGER_CONFLICT = 2, /* a row with this key is there already */
};

enum {
    LEDGER_ID_SIZE = 72,
    LEDGER_STEP_SIZE = 64,
    LEDGER_REASON_SIZE = 64,
    LEDGER_KEY_SIZE = 256,
    LEDGER_PATH_SIZE = 1024
};

struct ledger_blob {
    const void *data;
    size_t length;
};

/* ---- sessions
 * -----------------------------------------------------------------------------------*/

struct session_row {
    int64_t id;
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE], owner[LEDGER_ID_SIZE];
    int64_t incarnation;     /* of the last start; 0 before the first */
    int64_t last_seq;        /* of events */
    int64_t exec_order;      /* last number of acceptance that was given (EXEC-7) */
    int64_t interrupt_floor; /* execs with ord <= this were interrupted */
    int64_t created_ms, changed_ms;
    int64_t ttl_ms, idle_after_ms; /* 0: none */
    int64_t idle_action;           /* enum timer_kind: TIMER_IDLE_*; 0: none */
    int64_t network_revision;      /* of the rules in force (NET-6), from 1 in each life */
    int64_t running_execs;         /* accepted or running */
    enum session_state state;
    char reason[LEDGER_REASON_SIZE]; /* why it is in this state: "host_restart"; may be empty */
    char spec_hash[65];
    char policy[65]; /* of the token that made it (ledger_job.policy); "" none */
};

/* The newest life of this name; not found when it is not of the job's policy. */
int ledger_session_find(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                        struct session_row *ret, struct err *err);
/* The same whatever policy it is of: for names that are to be given. */
int ledger_session_taken(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                         struct session_row *ret, struct err *err);
int ledger_session_get(struct ledger_tx *tx, int64_t session, struct session_row *ret,
                       struct err *err);

/* A new life; row->id, incarnation and last_seq are set from what was kept of earlier ones.
 * LEDGER_CONFLICT when a life of this name is not over. */
int ledger_session_insert(struct ledger_tx *tx, struct session_row *row, struct ledger_blob spec,
                          const char *labels_json, struct err *err);
int ledger_session_move(struct ledger_tx *tx, int64_t session, enum session_state state,
                        const char *reason, int64_t now_ms, struct err *err);
int ledger_session_spec(struct ledger_tx *tx, int64_t session, struct buf *ret_spec,
                        struct err *err);
/* Its spec with other rules, whose revision is this. */
int ledger_session_network(struct ledger_tx *tx, int64_t session, struct ledger_blob spec,
                           const char *spec_hash, int64_t revision, struct err *err);
/* It was refused something so often. */
int ledger_session_denied(struct ledger_tx *tx, int64_t session, int64_t count, struct err *err);
int ledger_session_revision(struct ledger_tx *tx, int64_t session, int64_t revision,
                            struct err *err);

/* One page in order of session_id, those after `after` ("": from the start). Filters: `owner` ""
 * any, `state` SESSION_NONE any. Returns how many in *ret_count. */
int ledger_session_page(struct ledger_tx *tx, const char *workspace_id, const char *owner,
                        enum session_state state, const char *after, struct session_row *ret,
                        size_t max, size_t *ret_count, struct err *err);

/* Owner's lives in every workspace, created before `before_ms`, by row id after `after`: reaping.
 */
int ledger_session_page_owner(struct ledger_tx *tx, const char *owner, int64_t before_ms,
                              int64_t after, struct session_row *ret, size_t max, size_t *ret_count,
                              struct err *err);

/* Recovery: everything that is not a tombstone, by row id. */
int ledger_session_page_all(struct ledger_tx *tx, int64_t after, struct session_row *ret,
                            size_t max, size_t *ret_count, struct err *err);
/* How many are in each state; 0 of those that are over, which are not counted. */
int ledger_session_count_all(struct ledger_tx *tx, uint64_t ret[SESSION_STATE_COUNT],
                             struct err *err);

/* ---- incarnations
 * ---------------------------------------------------------------------------------*/

struct incarnation_row {
    int64_t session, incarnation;
    char boot_id[40];
    int64_t init_pid, init_start; /* clock ticks since boot, field 22 of stat */
    int64_t cgroup_inode, netns_inode;
    int64_t uid_base, uid_count;
    int64_t started_ms, ended_ms; /* ended 0: it is the living one */
    char end_reason[LEDGER_REASON_SIZE];
};

/* The next number for this session, in a row that names no kernel object yet. */
int ledger_incarnation_begin(struct ledger_tx *tx, int64_t session, int64_t now_ms,
                             int64_t *ret_incarnation, struct err *err);
/* What the kernel holds (all fields but started, ended, end_reason) and the effective isolation. */
int ledger_incarnation_set(struct ledger_tx *tx, const struct incarnation_row *row,
                           const char *effective_json, struct err *err);
int ledger_incarnation_end(struct ledger_tx *tx, int64_t session, int64_t incarnation,
                           const char *reason, int64_t now_ms, struct err *err);
int ledger_incarnation_get(struct ledger_tx *tx, int64_t session, int64_t incarnation,
                           struct incarnation_row *ret, struct err *err);

/* ---- intents
 * --------------------------------------------------------------------------------------*/

enum intent_phase { INTENT_OPEN = 1, INTENT_PREPARED = 2 };

struct intent_row {
    int64_t id, session, incarnation;
    enum session_event verb;
    enum intent_phase phase;
    int64_t idempotency; /* row id of its key; 0: none */
    int64_t floor;       /* interrupt: execs up to this number; network: the new revision */
    int64_t created_ms;
    char reason[LEDGER_REASON_SIZE];
};

/* `spec` and its hash: of a verb that changes it; empty otherwise. */
int ledger_intent_insert(struct ledger_tx *tx, struct intent_row *row, struct ledger_blob spec,
                         const char *spec_hash, struct err *err);
int ledger_intent_spec(struct ledger_tx *tx, int64_t intent, struct buf *ret_spec,
                       char ret_hash[65], struct err *err);
int ledger_intent_get(struct ledger_tx *tx, int64_t intent, struct intent_row *ret,
                      struct err *err);
/* Of this session, oldest first. */
int ledger_intent_list(struct ledger_tx *tx, int64_t session, struct intent_row *ret, size_t max,
                       size_t *ret_count, struct err *err);
int ledger_intent_prepare(struct ledger_tx *tx, int64_t intent, struct err *err);
int ledger_intent_delete(struct ledger_tx *tx, int64_t intent, struct err *err);

/* ---- execs
 * ----------------------------------------------------------------------------------------*/

enum exec_state { EXEC_ACCEPTED = 1, EXEC_RUNNING, EXEC_ENDED };

struct exec_row {
    int64_t id, session, incarnation;
    int64_t ord; /* acceptance, from 1, per session */
    int64_t exit_code, signal;
    int64_t accepted_ms, started_ms, ended_ms;
    int64_t cpu_ms, max_rss_bytes, output_bytes, oom_kills;
    int64_t idempotency;
    enum exec_state state;
    bool output_truncated, keep_children;
    char reason[LEDGER_REASON_SIZE];
    char exec_id[LEDGER_ID_SIZE];
    /* reason start_failed: what of the start failed; "": it is not known */
    char failed_step[LEDGER_STEP_SIZE];
    int64_t failed_errno;
    int64_t network_denied; /* ended: what the session was refused meanwhile; else: before */
    int64_t events_after;   /* the session's last event when it was accepted */
};

/* Gives row->id and row->ord. LEDGER_CONFLICT: this exec_id was used in this session. */
int ledger_exec_insert(struct ledger_tx *tx, struct exec_row *row, const char *command,
                       struct err *err);
int ledger_exec_find(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                     const char *exec_id, struct exec_row *ret, struct err *err);
int ledger_exec_get(struct ledger_tx *tx, int64_t exec, struct exec_row *ret, struct err *err);
/* By number of acceptance after `after`. LIVE: those that have not ended. */
enum exec_page { EXEC_PAGE_ALL, EXEC_PAGE_LIVE, EXEC_PAGE_ENDED };
int ledger_exec_page(struct ledger_tx *tx, int64_t session, int64_t after, enum exec_page which,
                     struct exec_row *ret, size_t max, size_t *ret_count, struct err *err);
int ledger_exec_started(struct ledger_tx *tx, int64_t exec, int64_t now_ms, struct err *err);
/* Writes what `row` says of its end. LEDGER_NOT_FOUND: it had ended already. */
int ledger_exec_ended(struct ledger_tx *tx, const struct exec_row *row, struct err *err);
/* EXEC-7: everything that was accepted until now is below the floor. */
int ledger_exec_floor(struct ledger_tx *tx, int64_t session, int64_t *ret_floor, struct err *err);

/* ---- events
 * ---------------------------------------------------------------------------------------*/

struct event_row {
    int64_t session, seq, time_ms;
    char type[32];
    char data[2048]; /* JSON object */
};

/* EV-1: the next number, in this transaction. `ret_seq` may be NULL. */
int ledger_event_add(struct ledger_tx *tx, int64_t session, const char *type, const char *data,
                     int64_t now_ms, int64_t *ret_seq, struct err *err);
/* Of all lives of this name that are kept, after `after`. */
int ledger_event_page(struct ledger_tx *tx, const char *workspace_id, const char *session_id,
                      int64_t after, struct event_row *ret, size_t max, size_t *ret_count,
                      struct err *err);

/* ---- idempotency (rules: idempotency.h)
 * -------------------------------------------------------------*/

struct key_row {
    int64_t id;
    char workspace_id[LEDGER_ID_SIZE], method[8], path[LEDGER_PATH_SIZE], key[LEDGER_KEY_SIZE];
    char fingerprint[65];
    int64_t status; /* 0: in progress */
    int64_t created_ms, expires_ms;
};

int ledger_key_find(struct ledger_tx *tx, const struct key_row *name, struct key_row *ret,
                    struct buf *ret_body, struct err *err);
int ledger_key_insert(struct ledger_tx *tx, struct key_row *row, struct err *err);
int ledger_key_finish(struct ledger_tx *tx, int64_t key, int64_t status, struct ledger_blob body,
                      struct err *err);
int ledger_key_release(struct ledger_tx *tx, int64_t key, struct err *err);
/* The secret of this ledger that fingerprints are keyed with: 64 hex characters. */
int ledger_key_secret(struct ledger_tx *tx, char ret_hex[65], struct err *err);

/* ---- volumes and uid ranges
 * ---------------------------------------------------------------------------*/

struct volume_row {
    int64_t id;
    char workspace_id[LEDGER_ID_SIZE], name[LEDGER_ID_SIZE], owner[LEDGER_ID_SIZE];
    int64_t created_ms;
    int64_t holder; /* a session that names it, live or parked; 0: none */
};

int ledger_volume_create(struct ledger_tx *tx, struct volume_row *row, struct err *err);
int ledger_volume_find(struct ledger_tx *tx, const char *workspace_id, const char *name,
                       struct volume_row *ret, struct err *err);
int ledger_volume_page(struct ledger_tx *tx, const char *workspace_id, const char *after,
                       struct volume_row *ret, size_t max, size_t *ret_count, struct err *err);
/* LEDGER_CONFLICT with the holder's row id when a session uses it. */
int ledger_volume_delete(struct ledger_tx *tx, const char *workspace_id, const char *name,
                         int64_t *ret_holder, struct err *err);
/* WS-2: LEDGER_CONFLICT with the holder, unless both only read. */
int ledger_volume_use(struct ledger_tx *tx, int64_t volume, int64_t session, bool read_only,
                      int64_t *ret_holder, struct err *err);
/* A parked session goes on naming its volumes (they cannot be deleted) and does not hold them:
 * leave when it parks, rejoin when it resumes (LEDGER_CONFLICT with the holder), drop when it is
 * destroyed. */
int ledger_volume_leave(struct ledger_tx *tx, int64_t session, struct err *err);
int ledger_volume_rejoin(struct ledger_tx *tx, int64_t session, int64_t *ret_holder,
                         struct err *err);
int ledger_volume_drop(struct ledger_tx *tx, int64_t session, struct err *err);

/* The lowest free range of `count` ids in [first, last]. LEDGER_NOT_FOUND: none is free. */
int ledger_uid_claim(struct ledger_tx *tx, int64_t session, int64_t incarnation, int64_t first,
                     int64_t last, int64_t count, int64_t *ret_base, struct err *err);
int ledger_uid_release(struct ledger_tx *tx, int64_t session, struct err *err);

/* ---- usage (rules: usage.h)
 * -------------------------------------------------------------------------*/

struct usage_row {
    int64_t session;
    int64_t cpu_ns, memory_byte_seconds, memory_byte_ms_rest, memory_peak_bytes, disk_bytes;
    int64_t net_tx_bytes, net_rx_bytes, exec_count, running_ms, parked_ms;
    /* What was sampled last, to add differences. */
    int64_t raw_incarnation, raw_cpu_ns, raw_net_tx_bytes, raw_net_rx_bytes;
    int64_t raw_time_ms; /* up to when running_ms, parked_ms and memory were added */
    bool raw_running;
    int64_t network[NETWORK_COUNTER_COUNT], raw_network[NETWORK_COUNTER_COUNT];
};

int ledger_usage_get(struct ledger_tx *tx, int64_t session, struct usage_row *ret, struct err *err);
/* Each total becomes the larger of what stands there and `row` (USE-1). */
int ledger_usage_put(struct ledger_tx *tx, const struct usage_row *row, struct err *err);

/* ---- timers
 * ---------------------------------------------------------------------------------------*/

enum timer_kind { TIMER_TTL = 1, TIMER_IDLE_PARK, TIMER_IDLE_DESTROY, TIMER_EXEC_DEADLINE };
enum timer_clock { TIMER_REAL = 1, TIMER_BOOT };

struct timer_row {
    int64_t id, session, exec; /* exec 0: the session's own */
    enum timer_kind kind;
    enum timer_clock clock;
    int64_t due_ms;       /* by its clock; -1: it stands still */
    int64_t remaining_ms; /* while it stands still */
};

/* Replaces the one of this session, exec and kind. TTL and idle go by real time, deadlines by boot.
 */
int ledger_timer_set(struct ledger_tx *tx, const struct timer_row *row, struct err *err);
int ledger_timer_clear(struct ledger_tx *tx, int64_t session, int64_t exec, enum timer_kind kind,
                       struct err *err);
/* All of them, or only those of its execs: when they end, or the session does. */
int ledger_timer_clear_all(struct ledger_tx *tx, int64_t session, bool execs_only, struct err *err);
/* SES-7: while a session is frozen its execs' deadlines stand still; its ttl does not. */
int ledger_timer_stop_execs(struct ledger_tx *tx, int64_t session, int64_t now_boot_ms,
                            struct err *err);
int ledger_timer_go_on_execs(struct ledger_tx *tx, int64_t session, int64_t now_boot_ms,
                             struct err *err);
/* Of every session, those that are due. */
int ledger_timer_due(struct ledger_tx *tx, int64_t now_ms, int64_t now_boot_ms,
                     struct timer_row *ret, size_t max, size_t *ret_count, struct err *err);
/* How long until the next one, by whichever clock; -1: there is none. */
int ledger_timer_next(struct ledger_tx *tx, int64_t now_ms, int64_t now_boot_ms, int64_t *ret_in_ms,
                      struct err *err);

/* ---- audit, retention
 * --------------------------------------------------------------------------------*/

int ledger_audit_add(struct ledger_tx *tx, const char *workspace_id, const char *who,
                     const char *what, const char *target, const char *outcome, int64_t now_ms,
                     struct err *err);

/* Rows that may be kept: of one workspace, and of all. */
struct ledger_audit_bound {
    int64_t workspace_rows, rows;
};
/* One piece of what is too much: at most `max` rows of the workspace that has most, the oldest of
 * files or of all others, whichever it has more of. How many went is counted in `audit_counts` with
 * them. *ret_rows 0: nothing is too much. */
int ledger_audit_trim(struct ledger_tx *tx, const struct ledger_audit_bound *bound, int64_t max,
                      int64_t *ret_rows, struct err *err);
int ledger_audit_count_all(struct ledger_tx *tx, int64_t *ret, struct err *err);

struct ledger_purged {
    int64_t keys, execs, events, sessions, audit;
};
/* Removes what is kept no longer, at most `max` rows of each kind. */
int ledger_purge(struct ledger_tx *tx, int64_t now_ms, int64_t max, struct ledger_purged *ret,
                 struct err *err);

/* ---- tokens (docs/adr/0015): the owner's, across workspaces
 * ---------------------------------------*/

enum { LEDGER_WORKSPACES_SIZE = 16 * (64 + 1), LEDGER_VERBS_SIZE = 128 };

struct token_row {
    int64_t id;
    char token_id[LEDGER_ID_SIZE], name[LEDGER_ID_SIZE];
    char hash[65]; /* SHA-256 of the token's text */
    char workspaces[LEDGER_WORKSPACES_SIZE],
        verbs[LEDGER_VERBS_SIZE];                        /* words, one space between */
    const char *policy;                                  /* a policy's text; NULL: none; not read */
    int64_t created_ms, expires_ms, revoked_ms, used_ms; /* 0: not */
};

/* Gives row->id. LEDGER_CONFLICT: this token_id is taken. */
int ledger_token_insert(struct ledger_tx *tx, struct token_row *row, struct err *err);
int ledger_token_page_all(struct ledger_tx *tx, int64_t after, struct token_row *ret, size_t max,
                          size_t *ret_count, struct err *err);
/* The text of its policy; "": none. */
int ledger_token_policy(struct ledger_tx *tx, int64_t token, struct buf *ret, struct err *err);
/* Also of one that is revoked already. */
int ledger_token_revoke(struct ledger_tx *tx, int64_t token, int64_t now_ms, struct err *err);
int ledger_token_used(struct ledger_tx *tx, int64_t token, int64_t now_ms, struct err *err);
/* Those that were revoked or have expired by then. */
int ledger_token_purge(struct ledger_tx *tx, int64_t before_ms, struct err *err);

/* ---- what documents show beside the rows
 * ------------------------------------------------------------*/

int ledger_session_labels(struct ledger_tx *tx, int64_t session, struct buf *ret, struct err *err);
/* What ledger_incarnation_set() was given. */
int ledger_incarnation_effective(struct ledger_tx *tx, int64_t session, int64_t incarnation,
                                 struct buf *ret, struct err *err);
int ledger_exec_command(struct ledger_tx *tx, int64_t exec, struct buf *ret, struct err *err);
/* The volume that a session names. */
int ledger_volume_of_session(struct ledger_tx *tx, int64_t session, struct volume_row *ret,
                             struct err *err);
/* Another session, live or parked, that names this volume. */
int ledger_volume_other(struct ledger_tx *tx, int64_t volume, int64_t session, int64_t *ret_session,
                        struct err *err);
/* The volume that this session alone names, and now has for itself, also when it only reads: its
 * files may be removed. LEDGER_NOT_FOUND: it names none; LEDGER_CONFLICT: another names it too. */
int ledger_volume_claim(struct ledger_tx *tx, int64_t session, struct volume_row *ret,
                        struct err *err);
/* Owner's volumes in every workspace, by row id after `after`. */
int ledger_volume_page_owner(struct ledger_tx *tx, const char *owner, int64_t after,
                             struct volume_row *ret, size_t max, size_t *ret_count,
                             struct err *err);

/* ---- for tests
 * ----------------------------------------------------------------------------------------*/

/* The n-th statement: its text and scope ("workspace", "owner", "row", or "all: reason"); false: no
 * more. */
bool ledger_statement_describe(unsigned n, const char **ret_name, const char **ret_sql,
                               const char **ret_scope);
