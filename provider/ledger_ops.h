/* This file is the table of what may be done to the ledger: one row for each kind of job, with how
 * durable it must be and how it is admitted when the queue is full. Plain data.
 *
 * A row here makes the fail points of the job (provider/failpoint.h) and its line in the metrics.
 */
#pragma once

enum ledger_durability {
    LEDGER_NORMAL, /* survives every process of berth */
    LEDGER_FULL,   /* survives power loss too, once answered */
};

enum ledger_admission {
    LEDGER_NEW,    /* begins something: refused when the queue is full */
    LEDGER_FINISH, /* records what has happened already: has a reserve */
    LEDGER_READ,   /* changes nothing; served while the ledger is read-only */
};

#define LEDGER_OPS(X)                                                                  \
    X(VERB_OPEN, "verb_open", NORMAL, NEW)                                             \
    X(VERB_NETWORK, "verb_network", FULL, NEW) /* of a parked session it is the end */ \
    X(VERB_PREPARED, "verb_prepared", NORMAL, FINISH)                                  \
    X(VERB_ANSWERED, "verb_answered", FULL,                                            \
      FINISH) /* destroy: dead, fate of the workspace decided */                       \
    X(VERB_CLOSE, "verb_close", NORMAL, FINISH)                                        \
    X(VERB_CLOSE_FULL, "verb_close_full", FULL, FINISH) /* create, archive, destroy */ \
    X(VERB_UNDO, "verb_undo", NORMAL, FINISH)                                          \
    X(SESSION_LOST, "session_lost", NORMAL, FINISH)                                    \
    X(EXEC_ACCEPT, "exec_accept", NORMAL, NEW)                                         \
    X(EXEC_RUNNING, "exec_running", NORMAL, FINISH)                                    \
    X(EXEC_END, "exec_end", NORMAL, FINISH)                                            \
    X(EVENT_ADD, "event_add", NORMAL, FINISH)                                          \
    X(KEY_TAKE, "key_take", NORMAL, NEW)                                               \
    X(KEY_FINISH, "key_finish", NORMAL, FINISH)                                        \
    X(KEY_RELEASE, "key_release", NORMAL, FINISH)                                      \
    X(VOLUME_CREATE, "volume_create", FULL, NEW)                                       \
    X(VOLUME_DELETE, "volume_delete", FULL, NEW)                                       \
    X(UID_CLAIM, "uid_claim", NORMAL, NEW)                                             \
    X(UID_RELEASE, "uid_release", NORMAL, FINISH)                                      \
    X(USAGE_SAMPLE, "usage_sample", NORMAL, FINISH)                                    \
    X(TIMER_CHANGE, "timer_change", NORMAL, FINISH)                                    \
    X(AUDIT_ADD, "audit_add", NORMAL, FINISH)                                          \
    X(AUDIT_TRIM, "audit_trim", NORMAL, NEW)                                           \
    X(TOKEN_CREATE, "token_create", FULL, NEW)                                         \
    X(TOKEN_REVOKE, "token_revoke", FULL, FINISH)                                      \
    X(TOKEN_USED, "token_used", NORMAL, NEW)                                           \
    X(PURGE, "purge", NORMAL, NEW)                                                     \
    X(READ, "read", NORMAL, READ)

enum ledger_op {
#define X(symbol, name, durability, admission) LEDGER_OP_##symbol,
    LEDGER_OPS(X)
#undef X
        LEDGER_OP_COUNT
};

const char *ledger_op_name(enum ledger_op op);
enum ledger_durability ledger_op_durability(enum ledger_op op);
enum ledger_admission ledger_op_admission(enum ledger_op op);
