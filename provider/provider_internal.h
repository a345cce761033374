/* This file is what the engine's files share; nobody else includes it.
 *
 * provider.c           open, close, the loop's side of ledger and launcher
 * provider_call.c      a client's call: copied, answered once; refusals and keys
 * provider_seat.c      what front holds in memory of one session; its init's frames
 * provider_trust.c     which of those are believed
 * provider_session.c   verbs: asked for, opened
 * provider_effect.c    what they do to the kernel
 * provider_close.c     closed and told
 * provider_network.c   the verb that replaces a session's rules
 * provider_gateway.c   what the gateway tells, as events
 * provider_end.c       its end, until it is proven
 * provider_recover.c   one session's row and kernel brought together
 * provider_start.c     all of them, at the start
 * provider_exec.c      commands that live (and provider_exec_start.c, provider_exec_call.c)
 * provider_follow.c    who follows output and events (provider_output.c, provider_events.c)
 * provider_spool.c     files of output (provider_spool_watch.c: what they take of the disk)
 * provider_read.c      get and list
 * provider_timer.c     what is due, retention
 * provider_usage.c     samples
 * provider_files.c     file operations (provider_files_record.c: what the ledger has of them)
 * provider_volume.c    volumes
 * provider_reap.c      what an owner has; health
 * provider_token.c     tokens of callers over a network
 * provider_metrics.c   numbers for a monitoring system
 * provider_backup.c    a copy of the ledger
 *
 * One thread, the loop's. apply() of a job runs on the ledger's thread and touches nothing but its
 * own work object, which the loop's thread leaves alone until then() is called.
 */
#pragma once

#include "provider/coordinator.h"
#include "provider/document.h"
#include "provider/metrics.h"
#include "provider/provider.h"
#include "provider/recovery.h"
#include "runtime/agent/protocol.h"
#include "runtime/base/fd.h"
#include "runtime/link/launcher_client.h"
#include "runtime/link/loop.h"

#include <stdio.h>
#include <string.h>

struct agent_client;
struct call;
struct exec;
struct seat;

/* ---- work: steps one after another ----------------------------------------------------------- */

/* One thing at a time: a ledger job, a turn in the loop, or a pause. */
struct work {
    struct provider *p;
    struct ledger_job job;
    int (*apply)(struct ledger_tx *tx, struct work *work, struct err *err);
    void (*then)(struct work *work);
    const char *policy; /* of its jobs (ledger.h); NULL: none */
    struct loop_timer *timer;
    struct work *next; /* in a queue */
    unsigned tries;
    struct {
        int64_t row, incarnation;
        void (*then)(struct work *work);
        /* Once, when the launcher has said END_TRIES times that it cannot be ended now: who waits
         * for all ends goes on, and this one is asked for again. NULL: nobody does. */
        void (*stuck)(struct work *work);
        struct launcher_note *notes; /* that are not in the ledger yet; owned */
        unsigned note_count;
        struct usage_sample last; /* what it had used, when `measured` */
        bool measured;
        const char *verb; /* that ends it; NULL: none does */
        int64_t since_ms; /* asked for first */
        struct err why;   /* of the last refusal, while it is `refused` */
        bool refused;     /* and so in p->refused */
        struct work *next_refused;
    } ending;     /* end_sandbox() */
    bool resting; /* waits for something that is nobody's work: does not hold up the end */
    void (*free)(struct work *work);
    struct work *next_all, *previous_all;
};

/* Under way until work_end(), or until the engine closes: then `free` is called. */
void work_begin(struct work *work, struct provider *p, void (*free)(struct work *work));
void work_end(struct work *work);
void work_rest(struct work *work, bool resting);
/* `then` is called from the loop, also when the job was not even accepted: job.result says it. */
void work_job(struct work *work, enum ledger_op op,
              int (*apply)(struct ledger_tx *tx, struct work *work, struct err *err),
              void (*then)(struct work *work));
void work_soon(struct work *work, void (*then)(struct work *work));
void work_later(struct work *work, uint64_t in_ms, void (*then)(struct work *work));
/* A pause that doubles with work->tries, 20 ms to 2 s. */
void work_again(struct work *work, void (*then)(struct work *work));

struct queue {
    struct work *first, **end;
    unsigned count;
};
void queue_init(struct queue *queue);
void queue_add(struct queue *queue, struct work *work);
struct work *queue_take(struct queue *queue);

/* Ends that the launcher has refused and that are asked for again, as they were when a call began:
 * documents are made on the ledger's thread. */
struct endings {
    struct document_ending *of; /* owned */
    size_t count;
};
void endings_take(const struct provider *p, struct endings *ret); /* none where memory is short */
void ending_over(struct work *work);                              /* it is refused no more */

/* ---- a call ---------------------------------------------------------------------------------- */

struct call {
    struct work work; /* first */
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE], exec_id[LEDGER_ID_SIZE];
    char who[64], what[32]; /* for the audit; "" what: changes nothing */
    char policy[65];        /* "": bound to none */
    struct idempotency_request key;
    char *key_texts; /* what `key` points into; NULL: no key */
    void (*reply)(void *data, struct provider_reply *reply);
    void *data;
    void (*told)(struct call *call, struct provider_reply *reply); /* instead of `reply`; NULL */
    void (*forget)(struct call *call);                             /* nobody waits any more; NULL */
    void (*begin)(struct call *call);
    void (*fini)(struct call *call); /* frees what stands behind; NULL */

    /* A refusal that is stored under the key before it is told. */
    struct err refusal;
    struct document_problem problem;
    struct capability_mask missing;
    struct endings endings; /* for documents of sessions */
    struct buf answer, stored;
    int64_t status, stored_status;
    bool answered;
    uint64_t born_us; /* monotonic; 0: no client's */
};

/* Memory of `size`, a struct call first; copies what `from` says. NULL: told already. `begin` is
 * called from the loop when rows and kernel agree; at once when `what` is NULL. */
void *call_new(struct provider *p, const struct provider_call *from, size_t size, const char *what,
               void (*begin_call)(struct call *call), void (*fini)(struct call *call));
void call_begin_work(struct call *call, struct provider *p); /* of one that no client made */
void call_free(struct call *call);

/* Each tells the caller, if somebody still waits; the call stays until call_free(). `document` is
 * taken. */
void call_answer(struct call *call, int64_t status, struct buf *document);
void call_replay(struct call *call, int64_t status, struct buf *document);
void call_fail(struct call *call, const struct err *err, const struct document_problem *more);
/* call_fail() and call_free(); a refusal that is to be kept is stored under the key first. */
void call_refuse(struct call *call, const struct err *err, const struct document_problem *more);
/* The same for an answer that was another call's. */
void call_answer_stored(struct call *call, int64_t status, struct buf *document);

/* ids by grammar; negative with `err`. */
int call_check_ids(const struct call *call, bool exec, struct err *err);
int no_session(const struct call *call, struct err *err); /* fills; returns negative */

/* ---- a session in memory --------------------------------------------------------------------- */

enum { EXECS_GONE = 16 };

/* Of a session that lives, or on which somebody works. Lives as long as any of that. */
/* What is known of published ports that are closed (provider_ports_watch.c). */
struct seat_ports {
    int64_t incarnation;
    uint16_t lost[SPEC_PUBLISH_MAX]; /* ports of the host that were told */
    unsigned lost_count;
    unsigned looks; /* that found one closed, one after the other */
};

struct seat {
    struct provider *p;
    struct seat *next; /* of the same hash */
    int64_t row, incarnation;
    char workspace_id[LEDGER_ID_SIZE], session_id[LEDGER_ID_SIZE];

    /* Who changes the sandbox: one at a time, in turn. */
    struct work *holder;
    struct queue waiting;

    /* Its init, when it lives. */
    struct agent_client *agent;
    struct loop_watch *frames, *control;
    struct session_identity identity;
    bool frozen, ending; /* ending: its end is ours and no news */
    bool hello;          /* the table has been told */
    bool held;           /* no more frames until seat_go_on() */
    bool distrusted;     /* it said what no init of ours says: it must end */
    bool greeted;        /* HELLO has come */
    unsigned table_left;
    uint64_t credit, credit_ms; /* frames that it may say; when they were counted */
    uint64_t pauses,
        pause_asked; /* pauses that init was asked for; the one that is awaited, or 0 */
    void (*table)(struct seat *seat, const struct agent_table_row *row); /* NULL row: it is over */
    void *table_data;
    uint64_t last_number, files_count; /* of what was sent to init */
    unsigned files_running;            /* file workers in it, as init tells */
    unsigned gone_next;                /* place in `gone` */
    int64_t spool_bytes, spool_added;  /* of its spool files when last looked at; since */
    bool spool_hidden;                 /* some may have been dropped that init has open */
    struct exec *execs;                /* that have not ended, in order of acceptance */
    struct exec_gone {
        uint64_t cgroup;
        char exec_id[LEDGER_ID_SIZE];
    } gone[EXECS_GONE];   /* that ended last: what is told of them may come behind */
    uint64_t *background; /* numbers of those that have, and keep children */
    size_t background_count, background_size;
    struct denied *denied; /* calls that were refused, which are being gathered; NULL: none */
    uint64_t denied_left;  /* events that init may still make of them */
    bool idling;           /* the idle time is being begun anew */
    struct work *interrupts;
    struct seat_ports ports;
    bool sampling;
    char policy[65]; /* as in its row */
};

struct seat *seat_find(struct provider *p, int64_t row);
struct seat *seat_get(struct provider *p, const struct session_row *row); /* or makes; NULL: OOM */
void seat_free(struct seat *seat);
void seat_release(struct seat *seat); /* frees it when nobody needs it */
void seat_take(struct seat *seat, struct work *work, void (*then)(struct work *work));
void seat_give(struct seat *seat, struct work *work);

/* Its init: connect with our epoch. */
int seat_connect(struct seat *seat, int64_t incarnation, const struct session_identity *identity,
                 struct err *err);
void seat_go_on(struct seat *seat);
void seat_distrust(struct seat *seat); /* its init is none of ours any more: the session ends */
/* What init may say (provider_trust.c): of a connection that is new; after a command was sent; this
 * frame, in this place. */
void trust_begin(struct seat *seat);
void trust_more(struct seat *seat);
/* Calls that its filters refused, and limits that a command met, as events (provider_denied.c). */
void denied_begin(struct seat *seat); /* a new connection */
void denied_more(struct seat *seat);  /* one more command was sent */
void denied_frame(struct seat *seat, uint64_t number, const struct agent_denied *denied);
void denied_flush(struct seat *seat); /* what was gathered is written now */
/* `row` has just ended: in the same transaction. */
int exec_limits_met(struct ledger_tx *tx, const struct exec_row *row, const struct agent_exit *exit,
                    struct err *err);
bool trust_frame(struct seat *seat, const struct agent_frame *frame, const void *payload);
void seat_disconnect(struct seat *seat); /* execs stay in memory: seat_execs_over() */
/* The rows say that they have ended: tell who waits. */
void seat_execs_over(struct seat *seat);
/* Ask for the socket's writability, or no more. */
void seat_want_write(struct seat *seat, bool wanted);

/* ---- the whole ------------------------------------------------------------------------------- */

enum { SEAT_HASH = 4096, EVENT_HASH = 256, WAITING_MAX = 1024 };

struct provider {
    struct provider_options options;
    struct loop *loop;
    struct ledger *ledger;
    struct ledger_status born; /* epoch, instance */
    char boot_id[40];
    struct launcher_client *launcher;
    struct loop_watch *ledger_watch, *launcher_watch;
    struct loop_timer *soon_timer;
    struct queue soon;
    bool soon_set;
    struct work *all;
    struct seat *seats[SEAT_HASH];
    unsigned live; /* seats with an init */
    unsigned works, resting;
    uint64_t swept; /* objects that were in no row */
    bool idle, idle_known;
    struct work *refused; /* whose END is refused, and asked for again */

    /* Until rows and kernel agree. */
    bool recovering, patience_over;
    struct queue waiting;
    struct loop_timer *patience;
    struct recovery *recovery;

    struct spec scratch;        /* the loop's thread */
    struct spec ledger_scratch; /* apply() */

    struct provider_follower *events[EVENT_HASH]; /* those who follow, by session */
    struct timers *timers;
    struct audit_trim *audit;
    struct ports_watch *ports;
    struct usage_round *usage;
    struct gateway_events *gateway;
    struct spool_watch *spools;
    struct tokens *tokens;
    struct operation *operations; /* on files */
    struct verb *verbs;           /* that are under way */
    struct engine_metrics {
        struct metrics_histogram durations[METRICS_OPERATION_COUNT];
        uint64_t failures[METRICS_OPERATION_COUNT][ERR_CODE_COUNT];
        uint64_t recovered[RECOVERY_ACTION_COUNT];
        uint64_t opened_us, recovery_ms;
        uint64_t audit_trimmed;
    } metrics;

    bool closing;
    struct loop_timer *close_timer;
    void (*closed)(void *data);
    void *closed_data;
    int64_t close_by_ms;
};

int64_t now_ms(void);
int64_t now_boot_ms(void);
uint64_t now_us(void); /* monotonic */
/* A request to the launcher with what all of them have. */
struct launcher_request launcher_request_for(const struct provider *p, unsigned type, int64_t row,
                                             int64_t incarnation);
/* As launcher_client_call(); a failure comes as done(NULL, err) from the loop. */
int provider_ask(struct provider *p, const struct launcher_request *request, const int *fds,
                 unsigned fd_count, launcher_done *done, void *data, struct err *err);
/* The connection was lost: what was asked may or may not have been done. */
bool launcher_lost(const struct launcher_reply *reply);
int launcher_result(const struct launcher_reply *reply, const struct err *err, struct err *ret_err);

/* Something of this session was committed: wake who follows its events, look at the clocks. */
void provider_committed(struct provider *p, const char *workspace_id, const char *session_id);
void provider_look_idle(struct provider *p);
void provider_recovered(struct provider *p, const struct err *err);
void provider_free(struct provider *p);

/* ---- verbs (provider_session.c, provider_effect.c) ------------------------------------------- */

struct verb {
    struct call call; /* first */
    struct verb *next_verb;
    enum session_event event, outcome;
    enum timer_kind idle_action; /* create */
    int client_socket;
    bool accept_loss, delete_volume, internal;
    bool volume_read_only; /* create */
    bool has_volume;       /* volume_row is there */
    bool failed;           /* the effect: `failure` says how */

    /* create */
    struct buf spec, dropped;
    char owner[LEDGER_ID_SIZE], spec_hash[65], volume[LEDGER_ID_SIZE];
    char *labels_json;
    int64_t ttl_ms, idle_after_ms;

    char reason[LEDGER_REASON_SIZE];
    struct coordinator_request request;
    struct coordinator_ticket ticket;
    struct session_row row;
    int64_t replay_status;
    struct buf replay;
    struct volume_row volume_row; /* destroy with its volume */

    /* network; `spec` is what the session will be */
    struct spec_network *rules;
    bool adds;         /* `rules` has a port that is published beside what there is */
    struct err unable; /* it cannot be added; told unless the key has an answer */
    struct buf old_spec;
    uint32_t cut;
    char event_json[64];

    struct seat *seat;
    struct session_identity identity; /* launched */
    struct buf effective;
    struct coordinator_end end;
    struct err failure; /* of the effect: what the client is told */
    struct buf answer;
    int64_t answer_status;
    struct verb *joiners; /* destroys that wait for this one */
};

void verb_begin(struct work *work);
void verb_effect(struct work *work);  /* carries ticket.effect out; holds the seat */
void verb_close(struct verb *verb);   /* writes verb->outcome and the answer */
void verb_give_up(struct verb *verb); /* the effect has changed nothing: writes verb->failure */
void verb_settled(struct verb *verb); /* the outcome is written */
void verb_tell(struct verb *verb);
void verb_end(struct verb *verb);
struct verb *verb_new(struct provider *p, const struct provider_call *from,
                      enum session_event event, void (*begin)(struct call *call));
void verb_succeed(struct verb *verb, enum session_event outcome); /* the effect was had */
/* A sealed memfd of these bytes, for the launcher. */
int sealed_memfd(const char *name, const void *data, size_t size, int *ret, struct err *err);
/* provider_network.c */
int network_prepare(struct ledger_tx *tx, struct verb *verb, struct err *err);
int network_answer(struct verb *verb, struct spec *scratch, int64_t revision, struct err *err);
/* A park or an archive ends that came over other rules: they are the row's now. */
int network_settle(struct ledger_tx *tx, struct verb *verb, struct err *err);
int network_given_up(struct ledger_tx *tx, const struct verb *verb, struct err *err);
void network_effect(struct verb *verb);
void verb_interrupted(struct seat *seat, uint64_t floor); /* init says so */
void verb_paused(struct seat *seat, uint64_t number);     /* the same */
void interrupts_over(struct seat *seat); /* there is no init any more that could answer */
struct verb *verb_of_intent(struct provider *p, int64_t intent);
/* A verb that nobody asked for: a timer's, reap's. `ended` (may be NULL) is told at its answer. */
void verb_internal(struct provider *p, const char *workspace_id, const char *session_id,
                   enum session_event event, const char *reason,
                   void (*reply)(void *data, struct provider_reply *reply), void *data);
/* The session's document as it will be after `state` was entered; inside apply(). `endings` NULL:
 * of an answer that is kept. */
int session_document(struct ledger_tx *tx, struct spec *scratch, const struct session_row *row,
                     const char *effective, bool brief, const struct endings *endings,
                     struct buf *out, struct err *err);
/* END until it is proven: `then` with the seat's work. */
void end_sandbox(struct work *work, int64_t row, int64_t incarnation,
                 void (*then)(struct work *work));

/* ---- commands, as init tells of them ----------------------------------------------------------
 */

struct exec *exec_of_number(struct seat *seat, uint64_t number);
void exec_frame(struct seat *seat, const struct agent_frame *frame, const void *payload);
void execs_send(struct seat *seat); /* those that the socket had no room for */
void execs_free(struct seat *seat);
/* Children that an ended command keeps (EXEC-3): init says that there are any, or no more. A
 * session with any is not idle. */
void background_told(struct seat *seat, const struct agent_table_row *row);
bool background_has(const struct seat *seat, uint64_t number);
void background_forget(struct seat *seat);
/* The idle time begins now. */
void idle_anew(struct seat *seat);
void files_frame(struct seat *seat, const struct agent_frame *frame, const void *payload);
void files_told(struct seat *seat, const struct agent_table_row *row); /* one of its numbers */
/* Those in the session have ended, or are not waited for any longer. */
void files_over(struct seat *seat);
unsigned files_watches(const struct seat *seat); /* of its file workers: who only watch */
/* What the audit calls it; "": it changes nothing. */
const char *files_record_name(unsigned operation);
struct files_record {
    int64_t session;
    const struct files_request *request;
    const struct files_result *result; /* NULL: no worker has said anything */
    bool carried;                      /* but one was asked */
    enum err_code code;                /* ERR_NONE: it is done */
};
/* Part of a job: its row of the audit, and an event where it has one. The row is kept when the
 * event cannot be told: then *ret_untold says why. */
int files_record(struct ledger_tx *tx, const struct call *call, const struct files_record *record,
                 struct err *ret_untold, struct err *err);
/* The job has ended: those who follow events are woken, and what is lost (`untold` NULL: all of it
 * is in the job) is said. */
void provider_written(const struct work *work, const char *workspace_id, const char *session_id,
                      const struct err *untold);
/* The same outside of it: its workspace is about to be changed under them. */
void files_cancel(struct provider *p, int64_t row);
void exec_adopt(struct seat *seat, const struct exec_row *row, uint64_t cgroup, bool kill);
/* Whose cgroup it is, as its session's init says; NULL: nobody's that is known. */
const char *exec_of_cgroup(const struct seat *seat, uint64_t cgroup);
/* The row's end, as init tells it. */
void exec_row_end(struct exec_row *row, const struct agent_exit *exit);
/* `{"exec_id", "reason", …}`: what the event says of it. */
void exec_event(const struct exec_row *row, char *ret, size_t size);
void execs_interrupt(struct seat *seat, int64_t floor);
bool number_is_files(uint64_t number);
uint64_t number_of_order(int64_t ord);

/* ---- the others ------------------------------------------------------------------------------ */

int recovery_start(struct provider *p, struct err *err);
void recovery_free(struct provider *p);
unsigned page_limit(unsigned asked);
struct verb *verb_for_recovery(struct provider *p, const struct session_row *row,
                               const struct coordinator_ticket *ticket, const char *reason);
/* Bring one session's row and its kernel objects together again: its init died, or its ledger job
 * failed. */
void session_rescue(struct provider *p, int64_t row);
/* The same after a pause: the ledger has refused a write, and would refuse the next one too. */
void session_rescue_later(struct provider *p, int64_t row);

int timers_open(struct provider *p, struct err *err);
void timers_start(struct provider *p);
void timers_look(struct provider *p); /* the ledger's timers may have changed */
void timers_free(struct provider *p);
int ports_open(struct provider *p, struct err *err);
/* Published ports may have been lost, or will be had again: all sessions are looked at, soon. */
void ports_look(struct provider *p);
/* Bits of `found` that are to be told, and that they were. Pure. */
void ports_compare(struct seat_ports *ports, const struct launcher_published *found,
                   uint32_t *ret_lost, uint32_t *ret_restored);
/* The bound of the audit (provider_audit.c); it is among `all`, which ends it. */
int audit_open(struct provider *p, struct err *err);
void audit_start(struct provider *p);
void usage_start(struct provider *p); /* samples every ten seconds from now on */
struct usage_sample usage_of_sample(const struct launcher_sample *sample, int64_t incarnation);
/* What an END has told; NULL: nothing. For coordinator_end. */
const struct usage_sample *usage_at_end(const struct work *work);

int spool_watch_open(struct provider *p, struct err *err);
void spool_watch_now(struct provider *p); /* all sessions, at once: for tests */
void spool_watch_free(struct provider *p);

int gateway_events_open(struct provider *p, struct err *err);
void gateway_events_start(struct provider *p);
/* What the gateway has sent so far; what waits of this session (-1: of each) is told now. */
void gateway_events_take(struct provider *p, int64_t row);
void gateway_events_free(struct provider *p);
int tokens_open(struct provider *p, struct err *err);
void tokens_free(struct provider *p);

void events_wake(struct provider *p, const char *workspace_id, const char *session_id);
void followers_free(struct provider *p);

void provider_spool_path(const struct provider *p, char *ret, size_t size, int64_t row,
                         int64_t exec);
