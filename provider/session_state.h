/* This file is the life of a session as a table: in which state which event is allowed, what it
 * leads to, how durable it must be and which side effect follows. Pure data; it never touches a
 * session.
 *
 *              start_failed ┌────────┐ create (a new life)
 *            ┌─────────────▶│ failed │──────────────┐
 *       ┌────┴─────┐        └────────┘              │
 *       │ creating │◀───────────────────────────────┤
 *       └────┬─────┘ started                        │
 *            ▼        parked, died, host_restarted  │
 *       ┌─────────┐ ───────────────────▶ ┌────────┐ │
 *       │ running │                      │ parked │ │     any ──destroy──▶ destroying
 *       └─┬───▲───┘ ◀─────────────────── └───▲────┘ │                          │ gone
 *  frozen │   │ resumed     resumed          │      │                          ▼
 *         ▼   │                              │      └────────────────────  destroyed
 *       ┌─────┴──┐  parked, died             │
 *       │ frozen │ ──────────────────────────┘     running|parked|frozen ──archived──▶ archived
 *       └────────┘
 *
 * A verb that takes time is two events: the verb (its intent is written, the state stays or becomes
 * a passing one) and its outcome (the state moves). `frozen` is shown to clients as `parked` with
 * mode `freeze`. What holds in each state:
 *
 *   creating    an intent `create` is open; kernel objects may exist; nobody was told "created"
 *   running     an incarnation row names a live init
 *   parked      no process, no kernel object, no uid range; the workspace is whole
 *   frozen      an incarnation row names a live init whose cgroup is frozen
 *   archived    as parked, and nothing is written any more
 *   destroying  an intent `destroy` is open; it may be repeated until it succeeds
 *   destroyed, failed   a tombstone: owns nothing
 */
#pragma once

#include "provider/ledger_ops.h"
#include "runtime/base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct buf;

/* symbol, name in the ledger's tables, name on the wire */
#define SESSION_STATES(X)                     \
    X(NONE, "none", "none")                   \
    X(CREATING, "creating", "creating")       \
    X(RUNNING, "running", "running")          \
    X(PARKED, "parked", "parked")             \
    X(FROZEN, "frozen", "parked")             \
    X(ARCHIVED, "archived", "archived")       \
    X(DESTROYING, "destroying", "destroying") \
    X(DESTROYED, "destroyed", "destroyed")    \
    X(FAILED, "failed", "failed")

enum session_state {
#define X(symbol, name, wire) SESSION_##symbol,
    SESSION_STATES(X)
#undef X
        SESSION_STATE_COUNT
};

/* symbol, name, kind: VERB begins something and is asked for by a client or a timer (an intent is
 * written when its effect is not NONE), USE needs a state and changes none, OUTCOME ends a verb or
 * tells what happened to the sandbox. */
#define SESSION_EVENTS(X)                      \
    X(CREATE, "create", VERB)                  \
    X(PARK_STOP, "park", VERB)                 \
    X(PARK_FREEZE, "freeze", VERB)             \
    X(RESUME, "resume", VERB)                  \
    X(INTERRUPT, "interrupt", VERB)            \
    X(ARCHIVE, "archive", VERB)                \
    X(DESTROY, "destroy", VERB)                \
    X(NETWORK, "network", VERB)                \
    X(EXEC, "exec", USE)                       \
    X(FILE_READ, "file_read", USE)             \
    X(FILE_WRITE, "file_write", USE)           \
    X(STARTED, "started", OUTCOME)             \
    X(START_FAILED, "start_failed", OUTCOME)   \
    X(PARKED_NOW, "parked", OUTCOME)           \
    X(FROZEN_NOW, "frozen", OUTCOME)           \
    X(RESUMED, "resumed", OUTCOME)             \
    X(RESUME_FAILED, "resume_failed", OUTCOME) \
    X(INTERRUPTED, "interrupted", OUTCOME)     \
    X(ARCHIVED_NOW, "archived", OUTCOME)       \
    X(NETWORK_CHANGED, "changed", OUTCOME)     \
    X(DEAD, "dead", OUTCOME)                   \
    X(GONE, "gone", OUTCOME)                   \
    X(DIED, "died", OUTCOME)                   \
    X(HOST_RESTARTED, "host_restarted", OUTCOME)

enum session_event {
#define X(symbol, name, kind) SESSION_EVENT_##symbol,
    SESSION_EVENTS(X)
#undef X
        SESSION_EVENT_COUNT
};

enum session_event_kind { SESSION_VERB, SESSION_USE, SESSION_OUTCOME };

/* What is done to the world after the transaction that allowed it. Each can be repeated. */
#define SESSION_EFFECTS(X)                                              \
    X(NONE, "none")                                                     \
    X(LAUNCH, "launch") /* a new incarnation */                         \
    X(STOP, "stop")     /* end it, release all but the workspace */     \
    X(FREEZE, "freeze")                                                 \
    X(THAW, "thaw")                                                     \
    X(KILL_EXECS, "kill_execs") /* those below the floor */             \
    X(NETWORK, "network")       /* other rules, as a new revision */    \
    X(SEAL, "seal")             /* stop, then read-only */              \
    X(TEARDOWN, "teardown")     /* everything owned */                  \
    X(RELEASE, "release")       /* what a sandbox that died has left */ \
    X(START, "start")           /* a command */                         \
    X(FILES, "files")           /* a file worker */

enum session_effect {
#define X(symbol, name) SESSION_EFFECT_##symbol,
    SESSION_EFFECTS(X)
#undef X
        SESSION_EFFECT_COUNT
};

struct session_transition {
    bool allowed;
    bool stays_open; /* an outcome that does not end its verb: the intent becomes `prepared` */
    enum session_state next;
    enum ledger_durability durability;
    enum session_effect effect;
    const char *tells; /* type of the event that is committed with it, or NULL */
};

/* The cell; one that is absent has `allowed` false. */
const struct session_transition *session_transition(enum session_state state,
                                                    enum session_event event);

/* Bit n: verb or use n is allowed in `state`: what a 409 names. Outcomes are nobody's to send. */
uint32_t session_allowed(enum session_state state);

/* "invalid_state" for a client: the state and the events that it allows. Always negative. */
int session_refuse(enum session_state state, enum session_event event, const char *session_id,
                   struct err *err);

const char *session_state_name(enum session_state state);
const char *session_state_wire(enum session_state state);
const char *session_event_name(enum session_event event);
enum session_event_kind session_event_kind(enum session_event event);
const char *session_effect_name(enum session_effect effect);
bool session_is_over(enum session_state state); /* the name may be used again (SES-7) */

/* The whole table as Markdown: docs/session-states.md. */
void session_state_document(struct buf *out);
