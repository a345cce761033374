/* This file tests the recovery tables as data: every row that a crash may leave has one action. */
#include "provider/recovery.h"

#include "document.h"

#include <errno.h>

Test(recovery, the_document_is_the_table)
{
    compare_document("docs/recovery.md", recovery_document);
}

Test(recovery, every_row_that_can_be_found_has_exactly_one_action_and_no_other_row_has_any)
{
    unsigned possible = 0;
    for (int s = 0; s < SESSION_STATE_COUNT; s++)
        for (int v = 0; v <= SESSION_EVENT_COUNT; v++)
            for (int p = 0; p <= INTENT_PREPARED; p++)
                for (int f = 0; f < RECOVERY_FINDING_COUNT; f++) {
                    enum session_state state = (enum session_state)s;
                    enum session_event verb = (enum session_event)v;
                    enum intent_phase phase = (enum intent_phase)p;
                    enum recovery_finding found = (enum recovery_finding)f;
                    bool can = recovery_possible(state, verb, phase);
                    enum recovery_action action = RECOVERY_ACTION_COUNT;
                    struct err err = {0};
                    possible += can;
                    cr_assert_eq(recovery_rows_that_fit(state, verb, phase, found), can ? 1 : 0,
                                 "%s, verb %d, phase %d, found %d", session_state_name(state), v, p,
                                 f);
                    int r = recovery_action(state, verb, phase, found, &action, &err);
                    cr_assert_eq(r == 0, can);
                    if (can)
                        cr_assert_lt(action, RECOVERY_ACTION_COUNT);
                    else
                        cr_assert_gt(strlen(err.detail), 0);
                }
    cr_assert_gt(possible, 80);
}

Test(recovery, a_session_whose_kernel_objects_differ_from_its_row_is_never_adopted)
{
    for (int s = 0; s < SESSION_STATE_COUNT; s++)
        for (int v = 0; v <= SESSION_EVENT_COUNT; v++)
            for (int p = 0; p <= INTENT_PREPARED; p++)
                for (int f = FOUND_ABSENT; f < RECOVERY_FINDING_COUNT; f++) {
                    enum recovery_action action;
                    if (f == FOUND_WHOLE ||
                        recovery_action((enum session_state)s, (enum session_event)v,
                                        (enum intent_phase)p, (enum recovery_finding)f, &action,
                                        NULL) < 0)
                        continue;
                    cr_assert_neq(action, RECOVERY_ADOPT);
                    if (f != FOUND_ABSENT)
                        cr_assert_neq(action, RECOVERY_NOTHING, "something would be left behind");
                }
}

Test(recovery, EXEC_7_every_exec_that_has_not_ended_has_one_action_and_none_below_the_floor_goes_on)
{
    for (int s = EXEC_ACCEPTED; s <= EXEC_RUNNING; s++)
        for (int below = 0; below < 2; below++)
            for (int w = 0; w < RECOVERY_WORD_COUNT; w++) {
                enum recovery_exec_action action;
                cr_assert_eq(
                    recovery_exec_rows_that_fit((enum exec_state)s, below, (enum recovery_word)w),
                    1, "state %d, below %d, word %d", s, below, w);
                cr_assert_eq(
                    recovery_exec((enum exec_state)s, below, (enum recovery_word)w, &action, NULL),
                    0);
                cr_assert(!below || action != EXEC_ACTION_RUNS);
                cr_assert(!below || action != EXEC_ACTION_NOT_STARTED);
            }
    enum recovery_exec_action action;
    cr_assert_lt(recovery_exec(EXEC_ENDED, false, WORD_ENDED, &action, NULL), 0);
}

Test(recovery, IDEM_4_a_key_is_reopened_only_where_nothing_can_have_run)
{
    for (int s = EXEC_ACCEPTED; s <= EXEC_RUNNING; s++)
        for (int w = 0; w < RECOVERY_WORD_COUNT; w++) {
            enum recovery_exec_action action;
            cr_assert_eq(
                recovery_exec((enum exec_state)s, false, (enum recovery_word)w, &action, NULL), 0);
            cr_assert_eq(action == EXEC_ACTION_NOT_STARTED,
                         s == EXEC_ACCEPTED && w == WORD_UNKNOWN);
        }
}
