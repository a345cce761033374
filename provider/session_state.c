/* This file holds the transitions of a session; it never carries one out. */
#include "provider/session_state.h"

#include "runtime/base/buf.h"

#include <errno.h>

/* [state][event] = next state, durability, effect, event that is told. An absent cell refuses.
 *
 * Why FULL: started, archived and dead are what create, archive and destroy answer with, and an
 * answer of these holds after power loss. Other rules too: a resume must not find those of before.
 * Everything else only matters while the kernel that it speaks of runs. Why `dead` stays open:
 * destroy is answered when the processes are dead and the workspace's fate is durable (SES-3), and
 * goes on until nothing is left. */
#define GO(n, d, e, t)                                                  \
    {                                                                   \
        .allowed = true, .next = SESSION_##n, .durability = LEDGER_##d, \
        .effect = SESSION_EFFECT_##e, .tells = (t)                      \
    }
#define HALF(n, d, e, t)                                                                    \
    {                                                                                       \
        .allowed = true, .stays_open = true, .next = SESSION_##n, .durability = LEDGER_##d, \
        .effect = SESSION_EFFECT_##e, .tells = (t)                                          \
    }
#define ON(event) [SESSION_EVENT_##event]

static const struct session_transition table[SESSION_STATE_COUNT][SESSION_EVENT_COUNT] =
    {
        [SESSION_NONE] =
            {
                ON(CREATE) = GO(CREATING, NORMAL, LAUNCH, "session.created"),
            },
        [SESSION_CREATING] =
            {
                ON(STARTED) = GO(RUNNING, FULL, NONE, "session.running"),
                ON(START_FAILED) = GO(FAILED, NORMAL, NONE, "session.failed"),
                ON(HOST_RESTARTED) = GO(FAILED, NORMAL, RELEASE, "session.failed"),
                ON(DESTROY) = GO(DESTROYING, NORMAL, TEARDOWN, NULL),
            },
        [SESSION_RUNNING] =
            {
                ON(EXEC) = GO(RUNNING, NORMAL, START, NULL),
                ON(FILE_READ) = GO(RUNNING, NORMAL, FILES, NULL),
                ON(FILE_WRITE) = GO(RUNNING, NORMAL, FILES, NULL),
                ON(INTERRUPT) = GO(RUNNING, NORMAL, KILL_EXECS, NULL),
                ON(INTERRUPTED) = GO(RUNNING, NORMAL, NONE, "session.interrupted"),
                ON(NETWORK) = GO(RUNNING, NORMAL, NETWORK, NULL),
                ON(NETWORK_CHANGED) = GO(RUNNING, FULL, NONE, "policy.changed"),
                ON(PARK_STOP) = GO(RUNNING, NORMAL, STOP, NULL),
                ON(PARKED_NOW) = GO(PARKED, NORMAL, NONE, "session.parked"),
                ON(PARK_FREEZE) = GO(RUNNING, NORMAL, FREEZE, NULL),
                ON(FROZEN_NOW) = GO(FROZEN, NORMAL, NONE, "session.parked"),
                ON(ARCHIVE) = GO(RUNNING, NORMAL, SEAL, NULL),
                ON(ARCHIVED_NOW) = GO(ARCHIVED, FULL, NONE, "session.archived"),
                ON(DIED) = GO(PARKED, NORMAL, RELEASE, "session.parked"),
                ON(HOST_RESTARTED) = GO(PARKED, NORMAL, RELEASE, "session.parked"),
                ON(DESTROY) = GO(DESTROYING, NORMAL, TEARDOWN, NULL),
            },
        [SESSION_PARKED] =
            {
                ON(FILE_READ) = GO(PARKED, NORMAL, FILES, NULL),
                ON(FILE_WRITE) = GO(PARKED, NORMAL, FILES, NULL),
                /* Nothing has these rules: the next start will. */
                ON(NETWORK) = GO(PARKED, FULL, NONE, "policy.changed"),
                ON(RESUME) = GO(PARKED, NORMAL, LAUNCH, NULL),
                ON(RESUMED) = GO(RUNNING, NORMAL, NONE, "session.resumed"),
                ON(RESUME_FAILED) = GO(PARKED, NORMAL, NONE, NULL),
                ON(ARCHIVE) = GO(PARKED, NORMAL, SEAL, NULL),
                ON(ARCHIVED_NOW) = GO(ARCHIVED, FULL, NONE, "session.archived"),
                ON(DESTROY) = GO(DESTROYING, NORMAL, TEARDOWN, NULL),
            },
        [SESSION_FROZEN] =
            {
                ON(FILE_READ) = GO(FROZEN, NORMAL, FILES, NULL),
                ON(FILE_WRITE) = GO(FROZEN, NORMAL, FILES, NULL),
                ON(NETWORK) = GO(FROZEN, NORMAL, NETWORK, NULL),
                ON(NETWORK_CHANGED) = GO(FROZEN, FULL, NONE, "policy.changed"),
                ON(RESUME) = GO(FROZEN, NORMAL, THAW, NULL),
                ON(RESUMED) = GO(RUNNING, NORMAL, NONE, "session.resumed"),
                ON(RESUME_FAILED) = GO(FROZEN, NORMAL, NONE, NULL),
                ON(PARK_STOP) = GO(FROZEN, NORMAL, STOP, NULL),
                ON(PARKED_NOW) = GO(PARKED, NORMAL, NONE, "session.parked"),
                ON(ARCHIVE) = GO(FROZEN, NORMAL, SEAL, NULL),
                ON(ARCHIVED_NOW) = GO(ARCHIVED, FULL, NONE, "session.archived"),
                ON(DIED) = GO(PARKED, NORMAL, RELEASE, "session.parked"),
                ON(HOST_RESTARTED) = GO(PARKED, NORMAL, RELEASE, "session.parked"),
                ON(DESTROY) = GO(DESTROYING, NORMAL, TEARDOWN, NULL),
            },
        [SESSION_ARCHIVED] =
            {
                ON(FILE_READ) = GO(ARCHIVED, NORMAL, FILES, NULL),
                ON(DESTROY) = GO(DESTROYING, NORMAL, TEARDOWN, NULL),
            },
        [SESSION_DESTROYING] =
            {
                /* A second destroy waits for the first and gets the same answer. */
                ON(DESTROY) = GO(DESTROYING, NORMAL, NONE, NULL),
                ON(DEAD) = HALF(DESTROYING, FULL, TEARDOWN, NULL),
                ON(GONE) = GO(DESTROYED, NORMAL, NONE, "session.deleted"),
            },
        [SESSION_DESTROYED] =
            {
                ON(CREATE) = GO(CREATING, NORMAL, LAUNCH, "session.created"),
                ON(DESTROY) = GO(DESTROYED, NORMAL, NONE, NULL),
            },
        [SESSION_FAILED] =
            {
                ON(CREATE) = GO(CREATING, NORMAL, LAUNCH, "session.created"),
                ON(DESTROY) = GO(DESTROYED, NORMAL, NONE, "session.deleted"),
            },
};

static const struct {
    const char *name, *wire;
} states[SESSION_STATE_COUNT] = {
#define X(symbol, name, wire) [SESSION_##symbol] = {name, wire},
    SESSION_STATES(X)
#undef X
};

static const struct {
    const char *name;
    enum session_event_kind kind;
} events[SESSION_EVENT_COUNT] = {
#define X(symbol, name, kind) [SESSION_EVENT_##symbol] = {name, SESSION_##kind},
    SESSION_EVENTS(X)
#undef X
};

static const char *const effects[SESSION_EFFECT_COUNT] = {
#define X(symbol, name) [SESSION_EFFECT_##symbol] = name,
    SESSION_EFFECTS(X)
#undef X
};

const struct session_transition *session_transition(enum session_state state,
                                                    enum session_event event)
{
    static const struct session_transition absent;
    return (unsigned)state < SESSION_STATE_COUNT && (unsigned)event < SESSION_EVENT_COUNT
               ? &table[state][event]
               : &absent;
}

uint32_t session_allowed(enum session_state state)
{
    uint32_t mask = 0;
    for (unsigned event = 0; event < SESSION_EVENT_COUNT; event++)
        if (session_transition(state, (enum session_event)event)->allowed &&
            events[event].kind != SESSION_OUTCOME)
            mask |= 1u << event;
    return mask;
}

_Static_assert(SESSION_EVENT_COUNT <= 32, "session_allowed() is a mask of 32 bits");

int session_refuse(enum session_state state, enum session_event event, const char *session_id,
                   struct err *err)
{
    _cleanup_buf_ struct buf allowed = {0};
    uint32_t mask = session_allowed(state);
    for (unsigned i = 0; i < SESSION_EVENT_COUNT; i++)
        if (mask & 1u << i)
            buf_printf(&allowed, "%s%s", allowed.length ? ", " : "", events[i].name);
    return err_set(err, ERR_INVALID_STATE, 0, events[event].name, session_id,
                   "The session is %s. What can be done now: %s.", states[state].wire,
                   allowed.length ? buf_text(&allowed) : "nothing");
}

const char *session_state_name(enum session_state state)
{
    return states[state].name;
}

const char *session_state_wire(enum session_state state)
{
    return states[state].wire;
}

const char *session_event_name(enum session_event event)
{
    return events[event].name;
}

enum session_event_kind session_event_kind(enum session_event event)
{
    return events[event].kind;
}

const char *session_effect_name(enum session_effect effect)
{
    return effects[effect];
}

bool session_is_over(enum session_state state)
{
    return state == SESSION_NONE || state == SESSION_DESTROYED || state == SESSION_FAILED;
}

/* ---- the document
 * ---------------------------------------------------------------------------------*/

static const char document_head[] =
    "# States of a session\n\n"
    "<!-- Made from provider/session_state.c; tests/unit/session_state.c compares. -->\n\n"
    "A row is a state and an event that it allows. What has no row is refused with 409 "
    "`invalid_state`,\n"
    "naming the state and what it allows. `full`: survives power loss once answered; `normal`: "
    "survives\n"
    "every process of berth. The effect comes after the row's transaction; a verb with an effect "
    "has an\n"
    "intent until its outcome. Clients see `frozen` as `parked` with mode `freeze`.\n\n"
    "| state | event | next | durability | effect | tells |\n|---|---|---|---|---|---|\n";

void session_state_document(struct buf *out)
{
    buf_puts(out, document_head);
    for (unsigned s = 0; s < SESSION_STATE_COUNT; s++)
        for (unsigned e = 0; e < SESSION_EVENT_COUNT; e++) {
            const struct session_transition *t = &table[s][e];
            if (!t->allowed)
                continue;
            buf_printf(out, "| %s | %s%s%s | %s%s | %s | %s | %s |\n", states[s].name,
                       events[e].kind == SESSION_OUTCOME ? "*" : "", events[e].name,
                       events[e].kind == SESSION_OUTCOME ? "*" : "", states[t->next].name,
                       t->stays_open ? " (prepared)" : "",
                       t->durability == LEDGER_FULL ? "full" : "normal", effects[t->effect],
                       t->tells ? t->tells : "");
        }
}
