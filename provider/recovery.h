/* This file says what is right for every row that a crash may leave: pure tables. It never looks at
 * the kernel and never changes a row; the caller finds out, asks here and does it.
 *
 * For each session: read its row and intents, look at the kernel (recovery_finding), ask
 * recovery_action(). ADOPT and FINISH of a session that lives then ask recovery_exec() for each of
 * its execs that has not ended. Order at start: sessions first, then kernel objects that carry this
 * ledger's instance and belong to no row: those are removed and reported.
 */
#pragma once

#include "provider/ledger_rows.h"

struct buf;

/* What the kernel holds under the name of this row and incarnation. */
#define RECOVERY_FINDINGS(X)                                                   \
    X(ABSENT, "absent") /* nothing; also: another boot */                      \
    X(WHOLE, "whole")   /* everything that the row says, and init answers */   \
    X(BROKEN, "broken") /* something, but init is dead or a part is missing */ \
    X(OTHER, "other")   /* lives, but is not what the row says: could be weaker */

enum recovery_finding {
#define X(symbol, name) FOUND_##symbol,
    RECOVERY_FINDINGS(X)
#undef X
        RECOVERY_FINDING_COUNT
};

#define RECOVERY_ACTIONS(X)                                                                      \
    X(NOTHING, "nothing", "The row is right as it is.")                                          \
    X(ADOPT, "adopt", "Connect to init with a new epoch; ask about each exec.")                  \
    X(FINISH, "finish", "Do the effect again, then close the verb with its outcome and answer.") \
    X(UNDO, "undo", "Remove what the kernel holds, take the verb back, release its key.")        \
    X(PARK, "park",                                                                              \
      "Kill and remove what the kernel holds; execs end `lost`, verbs are given up and "         \
      "their keys released, the session is parked with the reason.")                             \
    X(SWEEP, "sweep", "Remove what the kernel holds and report it; the row stays.")

enum recovery_action {
#define X(symbol, name, text) RECOVERY_##symbol,
    RECOVERY_ACTIONS(X)
#undef X
        RECOVERY_ACTION_COUNT
};

/* `verb` SESSION_EVENT_COUNT and `phase` 0 when no intent is there. Negative, with `err`: this row
 * cannot exist; the session is left alone and reported. */
int recovery_action(enum session_state state, enum session_event verb, enum intent_phase phase,
                    enum recovery_finding finding, enum recovery_action *ret, struct err *err);

/* What init's table says of an exec. */
#define RECOVERY_WORDS(X)                                   \
    X(UNKNOWN, "unknown") /* init lives and never got it */ \
    X(RUNNING, "running")                                   \
    X(ENDED, "ended")                                       \
    X(SILENT, "silent") /* there is no init to ask */

enum recovery_word {
#define X(symbol, name) WORD_##symbol,
    RECOVERY_WORDS(X)
#undef X
        RECOVERY_WORD_COUNT
};

#define RECOVERY_EXEC_ACTIONS(X)                                                                   \
    X(NOT_STARTED, "not_started", "End it as `not_started` and reopen its key: a retry runs it.")  \
    X(INTERRUPTED, "interrupted", "End it as `interrupted`: it was accepted before an interrupt.") \
    X(RUNS, "runs", "Mark it running; its output goes on.")                                        \
    X(RECORD, "record", "Write down the end that init tells.")                                     \
    X(KILL, "kill",                                                                                \
      "It lives although an interrupt came after it: kill, then record `interrupted`.")            \
    X(LOST, "lost", "End it as `lost`: it may have run. Its key stays used.")

enum recovery_exec_action {
#define X(symbol, name, text) EXEC_ACTION_##symbol,
    RECOVERY_EXEC_ACTIONS(X)
#undef X
        RECOVERY_EXEC_ACTION_COUNT
};

/* `below_floor`: an interrupt was accepted after this exec (EXEC-7). */
int recovery_exec(enum exec_state state, bool below_floor, enum recovery_word word,
                  enum recovery_exec_action *ret, struct err *err);

/* Both tables as Markdown: docs/recovery.md. */
void recovery_document(struct buf *out);

/* For tests: how many rows fit. One, for every row that can be found. */
unsigned recovery_rows_that_fit(enum session_state state, enum session_event verb,
                                enum intent_phase phase, enum recovery_finding finding);
unsigned recovery_exec_rows_that_fit(enum exec_state state, bool below_floor,
                                     enum recovery_word word);

/* Can a row of this state have an intent for this verb at all? By the state table. */
bool recovery_possible(enum session_state state, enum session_event verb, enum intent_phase phase);
