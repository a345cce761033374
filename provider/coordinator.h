/* This file is the one shape of every change of a session: intent, side effect, outcome
 * (docs/adr/0010). Its functions run inside apply() of a ledger job and write everything that
 * belongs together in that one transaction: state, intent, events with seq, usage, timers, what is
 * held, the stored answer. It never has a side effect.
 *
 *     coordinator_open()       LEDGER_OP_VERB_OPEN       checks, takes the key, writes the intent
 *       ... ticket.effect is carried out, once or several times ...
 *     coordinator_prepared()   LEDGER_OP_VERB_PREPARED   what the kernel holds now
 *     coordinator_close()      coordinator_close_op()    the outcome; then the client is answered
 *
 * A ledger that fails in between is a crash of that session: the ticket is worth nothing any more,
 * and when the ledger is back (its generation moved) the rows say what to do (recovery.h).
 *
 * One verb is under way per session, except that interrupts go together, that a park or an archive
 * may come over other rules that nobody could put in force yet, and settles them with its end
 * (coordinator_settle()), and that destroy takes the place of any. A verb that was so displaced
 * gets COORDINATOR_STALE from its next call: its owner removes what it made, and answers 409.
 */
#pragma once

#include "provider/idempotency.h"
#include "provider/ledger_rows.h"
#include "provider/usage.h"

enum coordinator_outcome {
    COORDINATOR_REPLAY = 1,    /* answer with ret->status and body, Idempotent-Replayed */
    COORDINATOR_MISMATCH,      /* 422 idempotency_mismatch */
    COORDINATOR_IN_PROGRESS,   /* 409 in_progress: this key, or another verb (ticket.intent) */
    COORDINATOR_INVALID_STATE, /* 409: ticket.state; session_refuse() words it */
    COORDINATOR_EXISTS,        /* 409 session_exists: ticket.state */
    COORDINATOR_NOT_FOUND,     /* 404 */
    COORDINATOR_VOLUME_BUSY,   /* 409 workspace_in_use: ticket.holder */
    COORDINATOR_JOIN,          /* destroy: wait for ticket.intent and give its answer */
    COORDINATOR_STALE,         /* this ticket's verb was displaced or has ended */
    COORDINATOR_EXEC_EXISTS,   /* this exec_id was used in this session */
    COORDINATOR_REVISION,      /* 412: the revision is ticket.revision */
};

struct coordinator_answer {
    int64_t status;     /* 0: no answer yet; the key is released */
    enum err_code code; /* ERR_NONE for success */
    struct ledger_blob body;
};

struct coordinator_request {
    const char *workspace_id, *session_id;
    enum session_event verb;
    const char *reason;                    /* "" none; of a park by timer: "idle" */
    const struct idempotency_request *key; /* NULL: none */
    int64_t now_ms;

    /* create, network: what the session is, or shall be */
    struct ledger_blob spec;
    const char *spec_hash;

    /* network only: which revision is to be replaced; 0: any */
    int64_t revision;

    /* create only */
    const char *owner, *labels_json;
    const char *policy; /* of the token that asks; NULL: none */
    const char *volume; /* NULL: none; made on first use */
    bool volume_read_only;
    int64_t ttl_ms, idle_after_ms;
    enum timer_kind idle_action; /* 0: none */

    /* The answer of a verb that has nothing to do: destroy of a tombstone, rules of a session that
     * does not live. */
    struct coordinator_answer answer_if_done;
};

struct coordinator_ticket {
    int64_t session, incarnation; /* the incarnation that the effect makes or ends */
    int64_t intent;               /* 0: nothing is under way, the verb is done */
    int64_t key, floor, holder;
    int64_t revision; /* of the network's rules: the new one; before the verb: the one in force */
    int64_t rules;    /* park, archive: the intent of a network verb that it settles; 0: none */
    enum session_event verb;
    enum session_state state; /* before */
    enum session_effect effect;
    int64_t volume; /* row id; 0 none */
    /* A create that made its volume: when it fails, and nobody else names that meanwhile
     * (ledger_volume_claim()), its files are removed and its row goes with `start_failed` (SES-1).
     * Stands in the intent. */
    bool volume_made;
};

/* Reason of such a create's intent. */
#define COORDINATOR_NEW_VOLUME "new_volume"

/* 0 with a ticket, or an outcome. `ret_status`, `ret_body` are for COORDINATOR_REPLAY. */
int coordinator_open(struct ledger_tx *tx, const struct coordinator_request *request,
                     struct coordinator_ticket *ret, int64_t *ret_status, struct buf *ret_body,
                     struct err *err);

/* The effect has been done so far that `row` (NULL: nothing to say) can be recorded. */
int coordinator_prepared(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                         const struct incarnation_row *row, const char *effective_json,
                         struct err *err);

struct coordinator_end {
    enum session_event outcome;
    const char *reason;     /* goes into the row: "host_restart", "idle"; "" none */
    const char *event_json; /* data of the event that the table tells */
    struct coordinator_answer answer;
    /* What the sandbox that is no more had used (USE-1). Told twice it is added once. NULL: nobody
     * knows, or none has ended. */
    const struct usage_sample *last;
    int64_t now_ms, now_boot_ms;
};

/* Which operation a job needs that closes with this outcome: as durable as the state table says. */
enum ledger_op coordinator_close_op(enum session_event outcome);
/* The same with what the ticket settles: other rules hold after power loss, whoever ends them. */
enum ledger_op coordinator_end_op(const struct coordinator_ticket *ticket,
                                  enum session_event outcome);

/* In the transaction that closes a park or an archive, before coordinator_close(): the rules of
 * `ticket->rules` are the session's, which nothing else has any more, and their key gets `answer`.
 * Nothing when that verb has ended by itself. */
int coordinator_settle(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                       const struct coordinator_answer *answer, int64_t now_ms, struct err *err);
/* What they will be: spec and revision. COORDINATOR_STALE: the verb has ended. */
int coordinator_settled_spec(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                             struct buf *ret_spec, int64_t *ret_revision, struct err *err);

/* COORDINATOR_STALE, or COORDINATOR_INVALID_STATE when the table has no such cell (a defect of the
 * caller): nothing is written. `dead` leaves the ticket open for `gone`. */
int coordinator_close(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                      const struct coordinator_end *end, struct err *err);

/* The effect could not be done and has changed nothing: the intent goes, its key gets `answer`, the
 * state stays. COORDINATOR_STALE. */
int coordinator_give_up(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                        const struct coordinator_answer *answer, struct err *err);

/* The sandbox died or the host restarted: execs that live end `lost`, verbs under way are given up
 * and their keys released, the session moves as the table says. */
int coordinator_lost(struct ledger_tx *tx, int64_t session, const struct coordinator_end *end,
                     struct err *err);

/* What the verb under way is to make of the session: its spec and its hash. COORDINATOR_STALE. */
int coordinator_spec(struct ledger_tx *tx, const struct coordinator_ticket *ticket,
                     struct buf *ret_spec, struct err *err);

/* A ticket for the intent that recovery found. COORDINATOR_STALE when it is gone. */
int coordinator_reopen(struct ledger_tx *tx, int64_t intent, struct coordinator_ticket *ret,
                       struct err *err);

/* ---- execs
 * ----------------------------------------------------------------------------------------*/

struct coordinator_exec {
    const char *workspace_id, *session_id;
    const char *exec_id; /* valid and chosen, by the client or for him */
    const char *command; /* for listings; never environment */
    bool keep_children;
    int64_t deadline_boot_ms; /* 0: none */
    const struct idempotency_request *key;
    struct coordinator_answer answer; /* IDEM-4: stored at once */
    int64_t now_ms;
};

/* Accepted: `ret->ord` is its place (EXEC-7). A key is complete from here on. */
int coordinator_exec_accept(struct ledger_tx *tx, const struct coordinator_exec *request,
                            struct exec_row *ret, enum session_state *ret_state,
                            int64_t *ret_status, struct buf *ret_body, struct err *err);

/* init says that it runs. */
/* What an ended command kept has ended too, or goes on: the idle time begins now. */
int coordinator_idle_anew(struct ledger_tx *tx, int64_t session, int64_t now_ms, struct err *err);
int coordinator_exec_running(struct ledger_tx *tx, int64_t exec, int64_t now_ms, struct err *err);

/* Its end, once: COORDINATOR_STALE when it had one. `not_started` reopens its key. */
int coordinator_exec_end(struct ledger_tx *tx, const struct exec_row *row, const char *event_json,
                         struct err *err);

/* A sample of a living session (USE-1). */
int coordinator_usage(struct ledger_tx *tx, int64_t session, const struct usage_sample *sample,
                      int64_t now_ms, struct err *err);
