/* This file is a small berth around the real ledger, for the crash programs: lanes of clients that
 * send verbs with keys and send them again after a crash, a kernel that is a page of shared memory,
 * and what must hold after every restart.
 *
 * Shared memory outlives SIGKILL as the kernel does. Each lane owns one session and the fake
 * kernel's part for it; a lane's steps follow each other, so what was acknowledged is one number.
 */
#pragma once

#include "provider/coordinator.h"
#include "provider/failpoint.h"
#include "provider/recovery.h"
#include "runtime/base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { LANES = 8, STEPS_MAX = 60000, HISTORY = 16 };

/* What a lane's step does: a verb, or one of these. */
enum { STEP_EXEC = 100, STEP_DEATH, STEP_FILES };

struct lane {
    unsigned seed;
    int64_t step, acked; /* under way; answered */
    int64_t acked_full;  /* the last whose answer survives power loss */
    int kind, attempt;
    int history[HISTORY]; /* kinds of the last steps */
    int64_t marker, marker_acked, marker_full;
    bool marker_absent; /* the last one failed, and the ledger said that it is certainly absent */

    /* The fake kernel. */
    int64_t alive; /* incarnation whose init lives; 0 none */
    bool frozen;
    int64_t rules, rules_asked; /* revision of its network that is in force; that is asked for */
    int64_t rules_step;         /* the last step that asked for other rules */
    int64_t init_ord;           /* the last command that init was sent */
    int init_word;              /* enum recovery_word of it */
    unsigned char runs[STEPS_MAX];
};

struct world {
    volatile int ready;
    volatile int64_t acked_total;
    int64_t audit_trimmed; /* as every restart found it */
    char violation[512];
    struct lane lanes[LANES];
};

extern struct world *world;
extern struct ledger *ledger;
extern bool after_power_loss;

struct step {
    struct lane *lane;
    char workspace[16], key[32], answer[32], exec_id[32];
    struct idempotency_request idempotency;
    struct coordinator_request request;
    struct coordinator_ticket ticket;
    struct coordinator_end end;
    struct coordinator_exec exec;
    struct exec_row exec_row;
    struct session_row session;
    struct intent_row intents[4];
    struct exec_row execs[8];
    size_t intent_count, exec_count;
    enum session_state state;
    int64_t status, number;
    struct buf body;
    bool certain;
    struct err err;
};

typedef int step_function(struct ledger_tx *tx, void *data, struct err *err);

/* What a failed job means here; a lane gives up and leaves the rest to recovery. */
enum { LANE_GOES_ON = 0, LANE_STOPS = 1 };

/* ---- model.c: one step of a lane
 * ------------------------------------------------------------------*/

void violated(const struct lane *lane, const char *what, int64_t a, int64_t b);
void effect(struct lane *lane, enum session_effect what, int64_t incarnation);
int run_job(struct step *s, enum ledger_op op, step_function *apply);
int apply_open(struct ledger_tx *tx, void *data, struct err *err);
int apply_close(struct ledger_tx *tx, void *data, struct err *err);
int apply_lost(struct ledger_tx *tx, void *data, struct err *err);
int apply_look(struct ledger_tx *tx, void *data, struct err *err);
int apply_reopen(struct ledger_tx *tx, void *data, struct err *err);
int apply_exec_end(struct ledger_tx *tx, void *data, struct err *err);
int apply_marker(struct ledger_tx *tx, void *data, struct err *err);
int apply_trim(struct ledger_tx *tx, void *data, struct err *err);
int apply_marker_check(struct ledger_tx *tx, void *data, struct err *err);
bool is_full(int kind);
enum session_event outcome_of(enum session_event verb);
void prepare_step(struct step *s, struct lane *lane, int64_t number, int kind);
int finish_verb(struct step *s);
void rules_answered(struct lane *lane);
int lane_step(struct lane *lane);

/* ---- model_check.c: recovery, as the front will do it, and what must hold afterwards
 * ----------------*/

void recover_lane(struct lane *lane);
void check_rows(struct lane *lane);
void check_answers(struct lane *lane);
