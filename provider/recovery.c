/* This file holds the recovery tables; it never acts on them. */
#include "provider/recovery.h"

#include "runtime/base/buf.h"

#include <errno.h>

/* Masks, so that "any" is one row and a test can count how many rows fit. */
#define BIT(n)  (1u << (n))
#define ANY     (~0u)
#define ALIVE   BIT(FOUND_WHOLE)
#define NOT_OK  (BIT(FOUND_ABSENT) | BIT(FOUND_BROKEN) | BIT(FOUND_OTHER))
#define REMAINS (BIT(FOUND_WHOLE) | BIT(FOUND_BROKEN) | BIT(FOUND_OTHER))
#define PHASES  (BIT(INTENT_OPEN) | BIT(INTENT_PREPARED))
#define NO_VERB SESSION_EVENT_COUNT

/* Why undo or finish: a process that was stopped does not come back, so what ends things is
 * finished; what begins things was promised to nobody, so it is undone and a retry begins anew.
 * Killing where the kernel and the row differ costs a session its processes; keeping would cost it
 * its guarantees. */
static const struct {
    enum session_state state;
    unsigned verb, phases, findings;
    enum recovery_action action;
    const char *why;
} rows[] = {
    {SESSION_CREATING, SESSION_EVENT_CREATE, PHASES, ANY, RECOVERY_UNDO,
     "nobody was told that it was created"},
    {SESSION_RUNNING, NO_VERB, 1, ALIVE, RECOVERY_ADOPT, "row, kernel and init agree"},
    {SESSION_RUNNING, NO_VERB, 1, NOT_OK, RECOVERY_PARK,
     "the workspace is whole and it can be resumed"},
    {SESSION_RUNNING, SESSION_EVENT_INTERRUPT, PHASES, ALIVE, RECOVERY_FINISH,
     "the floor stands in the row; killing again kills the same"},
    {SESSION_RUNNING, SESSION_EVENT_INTERRUPT, PHASES, NOT_OK, RECOVERY_PARK,
     "what it meant to end has ended with the sandbox"},
    {SESSION_RUNNING, SESSION_EVENT_PARK_STOP, PHASES, ANY, RECOVERY_FINISH,
     "processes may be dead already"},
    {SESSION_RUNNING, SESSION_EVENT_PARK_FREEZE, PHASES, ALIVE, RECOVERY_FINISH,
     "freezing twice is freezing"},
    {SESSION_RUNNING, SESSION_EVENT_PARK_FREEZE, PHASES, NOT_OK, RECOVERY_PARK,
     "there is nothing left to freeze"},
    {SESSION_RUNNING, SESSION_EVENT_ARCHIVE, PHASES, ANY, RECOVERY_FINISH,
     "processes may be dead already"},
    {SESSION_RUNNING, SESSION_EVENT_NETWORK, PHASES, ALIVE, RECOVERY_FINISH,
     "the rules and their revision stand in the verb's row; replacing twice is replacing"},
    {SESSION_RUNNING, SESSION_EVENT_NETWORK, PHASES, NOT_OK, RECOVERY_PARK,
     "there is nothing left that has rules; a resume uses those of before"},
    {SESSION_PARKED, NO_VERB, 1, BIT(FOUND_ABSENT), RECOVERY_NOTHING,
     "parked means that nothing is there"},
    {SESSION_PARKED, NO_VERB, 1, REMAINS, RECOVERY_SWEEP, "parked means that nothing is there"},
    {SESSION_PARKED, SESSION_EVENT_RESUME, PHASES, ANY, RECOVERY_UNDO,
     "nobody was told that it runs"},
    {SESSION_PARKED, SESSION_EVENT_ARCHIVE, PHASES, ANY, RECOVERY_FINISH,
     "sealing twice is sealing"},
    {SESSION_FROZEN, NO_VERB, 1, ALIVE, RECOVERY_ADOPT, "it stays frozen"},
    {SESSION_FROZEN, NO_VERB, 1, NOT_OK, RECOVERY_PARK,
     "the workspace is whole and it can be resumed"},
    {SESSION_FROZEN, SESSION_EVENT_RESUME, PHASES, ALIVE, RECOVERY_FINISH,
     "thawing twice is thawing"},
    {SESSION_FROZEN, SESSION_EVENT_RESUME, PHASES, NOT_OK, RECOVERY_PARK,
     "there is nothing left to thaw"},
    {SESSION_FROZEN, SESSION_EVENT_PARK_STOP, PHASES, ANY, RECOVERY_FINISH,
     "processes may be dead already"},
    {SESSION_FROZEN, SESSION_EVENT_ARCHIVE, PHASES, ANY, RECOVERY_FINISH,
     "processes may be dead already"},
    {SESSION_FROZEN, SESSION_EVENT_NETWORK, PHASES, ALIVE, RECOVERY_FINISH,
     "the rules and their revision stand in the verb's row; replacing twice is replacing"},
    {SESSION_FROZEN, SESSION_EVENT_NETWORK, PHASES, NOT_OK, RECOVERY_PARK,
     "there is nothing left that has rules; a resume uses those of before"},
    {SESSION_ARCHIVED, NO_VERB, 1, BIT(FOUND_ABSENT), RECOVERY_NOTHING, "nothing runs in it"},
    {SESSION_ARCHIVED, NO_VERB, 1, REMAINS, RECOVERY_SWEEP, "nothing may run in it"},
    {SESSION_DESTROYING, SESSION_EVENT_DESTROY, BIT(INTENT_OPEN), ANY, RECOVERY_FINISH,
     "from the beginning; then the answer"},
    {SESSION_DESTROYING, SESSION_EVENT_DESTROY, BIT(INTENT_PREPARED), ANY, RECOVERY_FINISH,
     "it was answered; what is left must go"},
    {SESSION_DESTROYED, NO_VERB, 1, BIT(FOUND_ABSENT), RECOVERY_NOTHING,
     "a tombstone owns nothing"},
    {SESSION_DESTROYED, NO_VERB, 1, REMAINS, RECOVERY_SWEEP, "a tombstone owns nothing"},
    {SESSION_FAILED, NO_VERB, 1, BIT(FOUND_ABSENT), RECOVERY_NOTHING, "a tombstone owns nothing"},
    {SESSION_FAILED, NO_VERB, 1, REMAINS, RECOVERY_SWEEP, "a tombstone owns nothing"},
};

enum { ROW_COUNT = (int)(sizeof rows / sizeof rows[0]) };

static bool fits(int i, enum session_state state, unsigned verb, unsigned phase, unsigned finding)
{
    return rows[i].state == state && rows[i].verb == verb && (rows[i].phases & BIT(phase)) &&
           (rows[i].findings & BIT(finding));
}

int recovery_action(enum session_state state, enum session_event verb, enum intent_phase phase,
                    enum recovery_finding finding, enum recovery_action *ret, struct err *err)
{
    for (int i = 0; i < ROW_COUNT; i++)
        if (fits(i, state, verb, phase, finding)) {
            *ret = rows[i].action;
            return 0;
        }
    return err_set(
        err, ERR_INTERNAL, 0, "recover a session", session_state_name(state),
        "Its row says %s, phase %d, which no berth writes. It is left alone: look at it.",
        (unsigned)verb < SESSION_EVENT_COUNT ? session_event_name(verb) : "no verb", (int)phase);
}

unsigned recovery_rows_that_fit(enum session_state state, enum session_event verb,
                                enum intent_phase phase, enum recovery_finding finding)
{
    unsigned n = 0;
    for (int i = 0; i < ROW_COUNT; i++)
        n += fits(i, state, verb, phase, finding);
    return n;
}

bool recovery_possible(enum session_state state, enum session_event verb, enum intent_phase phase)
{
    if (state == SESSION_NONE)
        return false;
    if (verb == NO_VERB) /* states that exist only while their verb is under way */
        return phase == 0 && state != SESSION_CREATING && state != SESSION_DESTROYING;
    if (phase != INTENT_OPEN && phase != INTENT_PREPARED)
        return false;
    /* A verb with an effect leaves an intent in the state that it leads to. */
    for (unsigned from = 0; from < SESSION_STATE_COUNT; from++) {
        const struct session_transition *t = session_transition((enum session_state)from, verb);
        if (session_event_kind(verb) == SESSION_VERB && t->allowed && t->next == state &&
            t->effect != SESSION_EFFECT_NONE)
            return true;
    }
    return false;
}

/* ---- execs
 * ----------------------------------------------------------------------------------------*/

#define BOTH  3u
#define ABOVE BIT(0)
#define BELOW BIT(1)

static const struct {
    enum exec_state state;
    unsigned floors, word;
    enum recovery_exec_action action;
    const char *why;
} exec_rows[] = {
    {EXEC_ACCEPTED, ABOVE, WORD_UNKNOWN, EXEC_ACTION_NOT_STARTED,
     "init discarded the older connection before it answered"},
    {EXEC_ACCEPTED, BELOW, WORD_UNKNOWN, EXEC_ACTION_INTERRUPTED,
     "the interrupt came after it was accepted"},
    {EXEC_ACCEPTED, ABOVE, WORD_RUNNING, EXEC_ACTION_RUNS,
     "init's table is the truth about what started"},
    {EXEC_ACCEPTED, BELOW, WORD_RUNNING, EXEC_ACTION_KILL, "the interrupt has not reached it"},
    {EXEC_ACCEPTED, BOTH, WORD_ENDED, EXEC_ACTION_RECORD,
     "init's table is the truth about what ended"},
    {EXEC_ACCEPTED, BOTH, WORD_SILENT, EXEC_ACTION_LOST, "nobody knows whether it ran"},
    {EXEC_RUNNING, ABOVE, WORD_RUNNING, EXEC_ACTION_RUNS, "it went on meanwhile"},
    {EXEC_RUNNING, BELOW, WORD_RUNNING, EXEC_ACTION_KILL, "the interrupt has not reached it"},
    {EXEC_RUNNING, BOTH, WORD_ENDED, EXEC_ACTION_RECORD, "it ended meanwhile"},
    {EXEC_RUNNING, BOTH, WORD_UNKNOWN, EXEC_ACTION_LOST, "an init that forgot is not believed"},
    {EXEC_RUNNING, BOTH, WORD_SILENT, EXEC_ACTION_LOST, "its end was seen by nobody"},
};

enum { EXEC_ROW_COUNT = (int)(sizeof exec_rows / sizeof exec_rows[0]) };

static bool exec_fits(int i, enum exec_state state, bool below_floor, enum recovery_word word)
{
    return exec_rows[i].state == state && exec_rows[i].word == (unsigned)word &&
           (exec_rows[i].floors & BIT(below_floor ? 1 : 0));
}

int recovery_exec(enum exec_state state, bool below_floor, enum recovery_word word,
                  enum recovery_exec_action *ret, struct err *err)
{
    for (int i = 0; i < EXEC_ROW_COUNT; i++)
        if (exec_fits(i, state, below_floor, word)) {
            *ret = exec_rows[i].action;
            return 0;
        }
    return err_set(err, ERR_INTERNAL, 0, "recover an exec", NULL,
                   "State %d needs no recovery. This is a defect of berth.", (int)state);
}

unsigned recovery_exec_rows_that_fit(enum exec_state state, bool below_floor,
                                     enum recovery_word word)
{
    unsigned n = 0;
    for (int i = 0; i < EXEC_ROW_COUNT; i++)
        n += exec_fits(i, state, below_floor, word);
    return n;
}

/* ---- the document
 * ---------------------------------------------------------------------------------*/

#define X(symbol, name, text) {name, text},
static const struct {
    const char *name, *text;
} action_texts[] = {RECOVERY_ACTIONS(X)}, exec_action_texts[] = {RECOVERY_EXEC_ACTIONS(X)};
#undef X
#define X(symbol, name) name,
static const char *const finding_names[] = {RECOVERY_FINDINGS(X)};
static const char *const word_names[] = {RECOVERY_WORDS(X)};
#undef X

static void add_findings(struct buf *out, unsigned mask)
{
    if (mask == ANY) {
        buf_puts(out, "any");
        return;
    }
    const char *comma = "";
    for (unsigned i = 0; i < RECOVERY_FINDING_COUNT; i++)
        if (mask & BIT(i)) {
            buf_printf(out, "%s%s", comma, finding_names[i]);
            comma = ", ";
        }
}

static const char *phase_text(unsigned phases)
{
    return phases == PHASES                 ? "open, prepared"
           : phases == BIT(INTENT_OPEN)     ? "open"
           : phases == BIT(INTENT_PREPARED) ? "prepared"
                                            : "";
}

static const char document_head[] =
    "# After a crash\n\n"
    "<!-- Made from provider/recovery.c; tests/unit/recovery.c compares. -->\n\n"
    "Every process of berth may be killed at any instant. At the next start each row of the ledger "
    "is\n"
    "compared with what the kernel holds under its row id and incarnation, and the tables below "
    "say the\n"
    "one right action. Every action can be repeated, so a crash during recovery is recovered the "
    "same way.\n\n"
    "What is found: `absent`: nothing, or another boot. `whole`: everything that the row says, by "
    "pid and\n"
    "start time, boot id, cgroup and namespace inode, and init answers. `broken`: something, but "
    "init is\n"
    "dead or a part is missing. `other`: it lives, but is not what the row says.\n\n"
    "Where a park or an archive came over other rules (`network`) that nobody could put in force "
    "yet,\n"
    "the row is that of the park or archive: its end makes the rules those of the session, in one\n"
    "transaction that survives power loss, and the next start has them.\n\n"
    "## Sessions\n\n| state | verb under way | phase | found | action | because "
    "|\n|---|---|---|---|---|---|\n";

static const char document_middle[] = "\nKernel objects that carry this berth's instance and "
                                      "belong to no row are removed, and reported.\n"
                                      "\n## Execs that have not ended\n\n"
                                      "init's table is asked after it has closed older "
                                      "connections. `silent`: there is no init to ask.\n\n"
                                      "| state | accepted before an interrupt | init says | action "
                                      "| because |\n|---|---|---|---|---|\n";

void recovery_document(struct buf *out)
{
    buf_puts(out, document_head);
    for (int i = 0; i < ROW_COUNT; i++) {
        buf_printf(out, "| %s | %s | %s | ", session_state_name(rows[i].state),
                   rows[i].verb < SESSION_EVENT_COUNT
                       ? session_event_name((enum session_event)rows[i].verb)
                       : "none",
                   phase_text(rows[i].phases));
        add_findings(out, rows[i].findings);
        buf_printf(out, " | %s | %s |\n", action_texts[rows[i].action].name, rows[i].why);
    }
    buf_puts(out, "\n| action | what is done |\n|---|---|\n");
    for (int i = 0; i < RECOVERY_ACTION_COUNT; i++)
        buf_printf(out, "| %s | %s |\n", action_texts[i].name, action_texts[i].text);
    buf_puts(out, document_middle);
    for (int i = 0; i < EXEC_ROW_COUNT; i++)
        buf_printf(out, "| %s | %s | %s | %s | %s |\n",
                   exec_rows[i].state == EXEC_ACCEPTED ? "accepted" : "running",
                   exec_rows[i].floors == BOTH    ? "either"
                   : exec_rows[i].floors == BELOW ? "yes"
                                                  : "no",
                   word_names[exec_rows[i].word], exec_action_texts[exec_rows[i].action].name,
                   exec_rows[i].why);
    buf_puts(out, "\n| action | what is done |\n|---|---|\n");
    for (int i = 0; i < RECOVERY_EXEC_ACTION_COUNT; i++)
        buf_printf(out, "| %s | %s |\n", exec_action_texts[i].name, exec_action_texts[i].text);
}
