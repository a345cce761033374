/* This file names every instant between two steps at which a process may die, so that a test can
 * make it die there; it never exists in a shipped program: without -DBERTH_FAILPOINTS each point is
 * the constant 0 and the compiler drops it.
 *
 * A point's name is FAMILY.NAME.STEP. Two families are made from tables, so that none can be
 * missed:
 *
 *     ledger.<operation>.<step>   each row of LEDGER_OPS x each row of FAILPOINT_LEDGER_STEPS
 *     effect.<effect>.<step>      each row of SESSION_EFFECTS x before, after
 *
 * Whoever carries an effect out writes
 *
 *     if ((r = FAILPOINT("effect", session_effect_name(effect), "before")) < 0)
 *         return err_set(err, ERR_INTERNAL, -r, ...);
 *
 * The environment arms one: BERTH_FAILPOINT=NAME[:NTH][:ACTION], where ACTION is `kill` (default:
 * SIGKILL of this process) or a number, the errno that the point then answers.
 */
#pragma once

#define FAILPOINT_LEDGER_STEPS(X)                                            \
    X("before_apply")  /* inside the transaction, nothing written */         \
    X("after_apply")   /* written, not committed */                          \
    X("before_commit") /* the batch is complete */                           \
    X("after_commit")  /* as durable as it was asked for, nobody was told */ \
    X("before_answer") /* on the thread that will tell the caller */

#ifdef BERTH_FAILPOINTS

/* 0 when not armed here, else the errno as a negative number; or does not return. */
int failpoint_hit(const char *family, const char *name, const char *step);

/* Instead of the environment; NULL disarms. `nth` from 1. -EINVAL: no such grammar. */
int failpoint_arm(const char *setting);

/* How often a point was passed since the process began, armed or not; for the test of completeness.
 */
unsigned long failpoint_count(const char *name);

#define FAILPOINT(family, name, step) failpoint_hit((family), (name), (step))
#else
#define FAILPOINT(family, name, step) ((void)(name), 0)
#endif
